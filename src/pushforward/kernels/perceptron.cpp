// Compiled after native.h, activations.h, which `native_library` puts before it.
//
// Forward and backward pass of a masked perceptron, plain or with skip connections, by products of blocks.
//
// Row r of a layer reads the columns before ends[r]; rows come in runs along which ends rise. A band of rows is
// multiplied by the columns that its last row reads: little more than the unmasked half of a triangular mask.
// Points come in chunks, which go through all layers while they are in the cache. Each chunk belongs to one thread, so
// the matrix library runs single-threaded inside. `perceptron.py` fills in the structures.

namespace {

template <typename T>
using Gemm = void (*)(const char*, const char*, const int*, const int*, const int*, const T*, const T*, const int*,
                      const T*, const int*, const T*, T*, const int*);

template <typename T>
struct Layer {
    const T *weight, *bias;      // (rows, columns), (rows)
    const int64_t* ends;         // (rows)
    T *sums, *units;             // (rows, points) before and after the activation; null if not stored
    T *grad_weight, *grad_bias;
    int64_t rows, columns;
    int64_t active;  // whether an activation follows
    int64_t skips;   // whether the sums of layer k - 2 are added before it
};

template <typename T>
struct Problem {
    Gemm<T> gemm;
    const T* input;         // (columns of the first layer, points)
    const T* grad_units;    // gradient of the units of the last layer
    T* grad_input;          // gradient of the input
    const Layer<T>* layers;
    int64_t num_layers, points, activation, threads;
};

constexpr int64_t BAND = 32;    // rows or columns of a triangular mask per product
constexpr int64_t CHUNK = 256;  // points per chunk at most

struct Band {
    int64_t from, to, end;  // rows, and the columns that they read
};

// Adjacent rows of one run: up to 2 BAND with the same end, about BAND if ends rise from row to row.
template <typename T>
std::vector<Band> bands_of(const Layer<T>& layer) {
    std::vector<Band> bands;
    for (int64_t r = 0; r < layer.rows; ++r) {
        const int64_t before = bands.empty() ? 0 : r - bands.back().from;
        const bool joins = before > 0 && (layer.ends[r] == bands.back().end
                                              ? before < 2 * BAND
                                              : layer.ends[r] > bands.back().end && before < 3 * BAND / 4);
        if (!joins) bands.push_back({r, r, 0});
        bands.back().to = r + 1, bands.back().end = layer.ends[r];
    }
    return bands;
}

// How points are divided: into chunks, one per thread at a time, and rounds of chunks.
struct Shares {
    int64_t chunk, round;
    Shares(int64_t points, int64_t threads) {
        const int64_t share = (points + threads - 1) / threads;
        chunk = std::clamp<int64_t>((share + 15) / 16 * 16, 16, CHUNK);
        round = chunk * std::max<int64_t>(threads, (2 * CHUNK + chunk - 1) / chunk);
    }
};

// A buffer that a thread keeps for its next call, which saves mapping its pages again.
template <typename T, int PURPOSE>
T* thread_buffer(size_t count) {
    static thread_local std::vector<T> buffer;
    if (buffer.size() < count) buffer.resize(count);
    return buffer.data();
}

// c (m, n) = a (m, k) b (k, n) + keep · c, all row-major; a and b may be stored transposed.
template <typename T>
void multiply(Gemm<T> gemm, int64_t m, int64_t n, int64_t k, const T* a, int64_t a_stride, bool a_transposed,
              const T* b, int64_t b_stride, bool b_transposed, T keep, T* c, int64_t c_stride) {
    const int rows = m, columns = n, inner = k, lda = a_stride, ldb = b_stride, ldc = c_stride;
    const T one(1);
    gemm(b_transposed ? "T" : "N", a_transposed ? "T" : "N", &columns, &rows, &inner, &one, b, &ldb, a, &lda, &keep, c,
         &ldc);
}

template <typename T, typename Act>
void each(int64_t count, const Act& act) {
    for (int64_t v = 0; v < count; v += LANES<T>) act(v, std::min<int64_t>(LANES<T>, count - v));
}

// Bands of all layers, and copies of the weights with zeros where they are masked.
template <typename T>
struct Weights {
    const Problem<T>& p;
    std::vector<std::vector<Band>> bands;
    std::vector<T*> masked;
    int64_t widest = 0, rows = 0;

    explicit Weights(const Problem<T>& problem) : p(problem) {
        size_t total = 0;
        for (int64_t k = 0; k < p.num_layers; ++k) {
            const Layer<T>& layer = p.layers[k];
            bands.push_back(bands_of(layer));
            widest = std::max(widest, layer.rows), rows += layer.rows;
            total += layer.rows * layer.columns;
        }
        T* buffer = thread_buffer<T, 0>(total);
        for (int64_t k = 0; k < p.num_layers; ++k) {
            const Layer<T>& layer = p.layers[k];
            masked.push_back(buffer);
            buffer += layer.rows * layer.columns;
        }
    }

    // Called by all threads of the team.
    void mask() {
        for (int64_t k = 0; k < p.num_layers; ++k) {
            const Layer<T>& layer = p.layers[k];
#pragma omp for schedule(static) nowait
            for (int64_t r = 0; r < layer.rows; ++r) {
                const T* row = layer.weight + r * layer.columns;
                T* out = masked[k] + r * layer.columns;
                std::fill(std::copy(row, row + layer.ends[r], out), out + layer.columns, T(0));
            }
        }
#pragma omp barrier
    }
};

// Whether the sums of layer k are added to those of layer k + 2.
template <typename T>
bool next_skips(const Problem<T>& p, int64_t k) {
    return k + 2 < p.num_layers && p.layers[k + 2].skips;
}

template <typename T, typename Act>
void forward(const Problem<T>& p) {
    Weights<T> weights(p);
    const Shares shares(p.points, p.threads);
    const bool keeps = p.layers[0].units != nullptr || p.num_layers == 1;
    // Without the region, a single thread would not count as parallel and the matrix library would start its own.
#pragma omp parallel num_threads(p.threads)
    {
        weights.mask();
        const int64_t largest = weights.widest * shares.chunk;
        T *buffer = thread_buffer<T, 1>(3 * largest), *skip_sums = buffer + 2 * largest;
#pragma omp for schedule(static)
        for (int64_t start = 0; start < p.points; start += shares.chunk) {
            const int64_t count = std::min(shares.chunk, p.points - start);
            const T* inputs = p.input + start;
            int64_t stride = p.points;
            for (int64_t k = 0; k < p.num_layers; ++k) {
                const Layer<T>& layer = p.layers[k];
                const bool stored = layer.units != nullptr;
                const int64_t out_stride = stored ? p.points : shares.chunk;
                T* units = stored ? layer.units + start : buffer + (k % 2) * largest;
                // The sums of a skip connection: stored for gradients, or in the buffer of this thread.
                const int64_t sums_stride = keeps ? p.points : shares.chunk;
                const T* before = !layer.skips ? nullptr : keeps ? p.layers[k - 2].sums + start : skip_sums;
                T* sums = layer.sums != nullptr ? layer.sums + start : next_skips(p, k) ? skip_sums : nullptr;
                for (const auto& [from, to, end] : weights.bands[k]) {
                    T* out = units + from * out_stride;
                    multiply<T>(p.gemm, to - from, count, end, weights.masked[k] + from * layer.columns, layer.columns,
                                false, inputs, stride, false, T(0), out, out_stride);
                    for (int64_t r = from; r < to; ++r, out += out_stride) {
                        const Vec<T> bias(layer.bias[r]);
                        each<T>(count, [&](int64_t v, int64_t lanes) {
                            auto h = Vec<T>::loadu(out + v, lanes) + bias;
                            if (before != nullptr) h = h + Vec<T>::loadu(before + r * sums_stride + v, lanes);
                            if (sums != nullptr) h.store(sums + r * sums_stride + v, lanes);
                            (layer.active ? Act::of(h) : h).store(out + v, lanes);
                        });
                    }
                }
                inputs = units, stride = out_stride;
            }
        }
    }
}

// grad_columns (columns, count) = maskedᵀ grad_sums of one layer.
template <typename T>
void input_gradient(const Problem<T>& p, const Layer<T>& layer, const std::vector<Band>& bands, const T* masked,
                    const T* grad_sums, int64_t stride, int64_t count, T* grad_columns, int64_t out_stride) {
    for (int64_t from = 0; from < layer.columns; from += BAND) {
        const int64_t to = std::min(from + BAND, layer.columns);
        T *out = grad_columns + from * out_stride, keep(0);
        for (size_t b = 0; b < bands.size();) {
            const int64_t first = bands[b].from;
            int64_t last = first;
            for (; b < bands.size() && bands[b].end > from; ++b) last = bands[b].to;
            if (last == first) { ++b; continue; }
            multiply<T>(p.gemm, to - from, count, last - first, masked + first * layer.columns + from, layer.columns,
                        true, grad_sums + first * stride, stride, false, keep, out, out_stride);
            keep = T(1);
        }
        if (keep == T(0))
            for (int64_t c = from; c < to; ++c, out += out_stride) std::fill_n(out, count, T(0));
    }
}

// out = grad_units · derivative of the activation, plus the gradient of the skip connection, for one chunk.
template <typename T, typename Act>
void activation_gradient(const Problem<T>& p, const Layer<T>& layer, int64_t start, int64_t count, const T* grad_units,
                         int64_t stride, const T* grad_skip, T* out, int64_t out_stride) {
    for (int64_t r = 0; r < layer.rows; ++r) {
        const T* units = layer.units + r * p.points + start;
        const T* sums = layer.sums == nullptr ? units : layer.sums + r * p.points + start;
        each<T>(count, [&](int64_t v, int64_t lanes) {
            const auto slope = Act::slope(Vec<T>::loadu(sums + v, lanes), Vec<T>::loadu(units + v, lanes));
            auto grad_sums = Vec<T>::loadu(grad_units + r * stride + v, lanes) * slope;
            if (grad_skip != nullptr) grad_sums = grad_sums + Vec<T>::loadu(grad_skip + r * out_stride + v, lanes);
            grad_sums.store(out + r * out_stride + v, lanes);
        });
    }
}

// Adds the contributions of points start .. start + count to the gradient of a band; the first round overwrites.
template <typename T>
void weight_gradient(const Problem<T>& p, int64_t k, const Band& band, int64_t start, int64_t count, const T* grad_sums,
                     int64_t stride) {
    const Layer<T>& layer = p.layers[k];
    const T* inputs = (k ? p.layers[k - 1].units : p.input) + start;
    const T* grad_rows = grad_sums + band.from * stride;
    T* out = layer.grad_weight + band.from * layer.columns;
    multiply<T>(p.gemm, band.to - band.from, band.end, count, grad_rows, stride, false, inputs, p.points, true,
                T(start > 0), out, layer.columns);
    for (int64_t r = band.from; r < band.to; ++r, out += layer.columns, grad_rows += stride) {
        std::fill(out + layer.ends[r], out + layer.columns, T(0));
        Vec<T> sum(T(0));
        each<T>(count, [&](int64_t v, int64_t lanes) { sum = sum + Vec<T>::loadu(grad_rows + v, lanes); });
        layer.grad_bias[r] = total<T>(sum) + (start > 0 ? layer.grad_bias[r] : T(0));
    }
}

template <typename T, typename Act>
void backward(const Problem<T>& p) {
    Weights<T> weights(p);
    const Shares shares(p.points, p.threads);
    const int64_t stride = std::min(shares.round, p.points);
    std::vector<std::pair<int64_t, Band>> jobs;
    std::vector<T*> grad_sums;
    T* buffer = thread_buffer<T, 2>(weights.rows * stride);
    for (int64_t k = 0; k < p.num_layers; ++k) {
        for (const auto& band : weights.bands[k]) jobs.emplace_back(k, band);
        grad_sums.push_back(buffer);
        buffer += p.layers[k].rows * stride;
    }
    const int64_t count_jobs = jobs.size(), last = p.num_layers - 1;
#pragma omp parallel num_threads(p.threads)
    {
        weights.mask();
        for (int64_t begin = 0; begin < p.points; begin += shares.round) {
            const int64_t in_round = std::min(shares.round, p.points - begin);
            const auto sums_gradient = [&](int64_t k) {
                const bool direct = k == last && !p.layers[k].active;
                return direct ? std::pair{p.grad_units + begin, p.points} : std::pair{(const T*)grad_sums[k], stride};
            };
#pragma omp for schedule(static)
            for (int64_t at = 0; at < in_round; at += shares.chunk) {
                const int64_t start = begin + at, count = std::min(shares.chunk, in_round - at);
                for (int64_t k = last; k >= 0; --k) {
                    const Layer<T>& layer = p.layers[k];
                    T* grad_here = grad_sums[k] + at;
                    const T* grad_skip = next_skips(p, k) ? grad_sums[k + 2] + at : nullptr;
                    if (layer.active) {
                        const bool top = k == last;
                        activation_gradient<T, Act>(p, layer, start, count, top ? p.grad_units + start : grad_here,
                                                    top ? p.points : stride, grad_skip, grad_here, stride);
                    }
                    const auto [sums, sums_stride] = sums_gradient(k);
                    input_gradient(p, layer, weights.bands[k], weights.masked[k], sums + at, sums_stride, count,
                                   k ? grad_sums[k - 1] + at : p.grad_input + start, k ? stride : p.points);
                }
            }
#pragma omp for schedule(dynamic)
            for (int64_t job = count_jobs - 1; job >= 0; --job) {
                const auto& [k, band] = jobs[job];
                const auto [sums, sums_stride] = sums_gradient(k);
                weight_gradient(p, k, band, begin, in_round, sums, sums_stride);
            }
        }
    }
}

template <typename T>
void run_forward(const Problem<T>& p) {
    by_activation<T>(p.activation, [&](auto act) { forward<T, decltype(act)>(p); });
}

template <typename T>
void run_backward(const Problem<T>& p) {
    by_activation<T>(p.activation, [&](auto act) { backward<T, decltype(act)>(p); });
}

}  // namespace

extern "C" void forward_float(const Problem<float>* p) { run_forward(*p); }
extern "C" void forward_double(const Problem<double>* p) { run_forward(*p); }
extern "C" void backward_float(const Problem<float>* p) { run_backward(*p); }
extern "C" void backward_double(const Problem<double>* p) { run_backward(*p); }

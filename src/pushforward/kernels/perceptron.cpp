// A masked perceptron, plain or with skip connections, in both passes of training, as products of blocks.
//
// Row r of a layer reads the columns before ends[r] alone; rows come in runs along which ends rise. A band of
// rows is multiplied by the columns that its last row reads, so of a staircase little more than the lower half is.
// Points come in chunks, each of which goes through all layers while it is in the cache, and a thread takes whole
// chunks: the matrix library, whose address is given, works alone inside them. `perceptron.py` is the other side.

namespace {

template <typename T>
using Gemm = void (*)(const char*, const char*, const int*, const int*, const int*, const T*, const T*, const int*,
                      const T*, const int*, const T*, T*, const int*);

template <typename T>
struct Layer {
    const T *weight, *bias;      // (rows, columns), (rows)
    const int64_t* ends;         // (rows)
    T *sums, *units;             // (rows, points) before and after the activation; null where nobody asks for them
    T *by_weight, *by_bias;
    int64_t rows, columns;
    int64_t active;  // whether an activation follows
    int64_t skips;   // whether the sums of the layer but one before are added before it
};

template <typename T>
struct Problem {
    Gemm<T> gemm;
    const T* input;         // (columns of the first layer, points)
    const T* by_units;      // as the units of the last layer
    T* by_input;            // as the input
    const Layer<T>* layers;
    int64_t depth, points, activation, threads;
};

constexpr int64_t BAND = 32;    // rows or columns of a staircase multiplied at once
constexpr int64_t CHUNK = 256;  // points at most

struct Band {
    int64_t from, to, end;  // rows, and the columns that they read
};

// Rows that touch, of one run: up to 2 BAND that end together, and about BAND where ends rise from row to row.
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

// How points are shared out: chunks, of which a thread takes one at a time, and rounds of them.
struct Shares {
    int64_t chunk, round;
    Shares(int64_t points, int64_t threads) {
        const int64_t share = (points + threads - 1) / threads;
        chunk = std::clamp<int64_t>((share + 15) / 16 * 16, 16, CHUNK);
        round = chunk * std::max<int64_t>(threads, (2 * CHUNK + chunk - 1) / chunk);
    }
};

// Room of a thread that stays for its next call, so that its pages need not be asked for again.
template <typename T, int PURPOSE>
T* room_for(size_t count) {
    static thread_local std::vector<T> room;
    if (room.size() < count) room.resize(count);
    return room.data();
}

// c (m, n) = a (m, k) b (k, n) + keep · c, all row by row; `turned` where a or b stands the other way round.
template <typename T>
void multiply(Gemm<T> gemm, int64_t m, int64_t n, int64_t k, const T* a, int64_t a_across, bool a_turned, const T* b,
              int64_t b_across, bool b_turned, T keep, T* c, int64_t c_across) {
    const int rows = m, columns = n, inner = k, lda = a_across, ldb = b_across, ldc = c_across;
    const T one(1);
    gemm(b_turned ? "T" : "N", a_turned ? "T" : "N", &columns, &rows, &inner, &one, b, &ldb, a, &lda, &keep, c, &ldc);
}

template <typename T, typename Act>
void each(int64_t count, const Act& act) {
    for (int64_t v = 0; v < count; v += LANES<T>) act(v, std::min<int64_t>(LANES<T>, count - v));
}

// What both passes need of the layers: bands, and weights with zeros where they are not read.
template <typename T>
struct Weights {
    const Problem<T>& p;
    std::vector<std::vector<Band>> bands;
    std::vector<T*> masked;
    int64_t widest = 0, rows = 0;

    explicit Weights(const Problem<T>& problem) : p(problem) {
        size_t total = 0;
        for (int64_t k = 0; k < p.depth; ++k) {
            const Layer<T>& layer = p.layers[k];
            bands.push_back(bands_of(layer));
            widest = std::max(widest, layer.rows), rows += layer.rows;
            total += layer.rows * layer.columns;
        }
        T* room = room_for<T, 0>(total);
        for (int64_t k = 0; k < p.depth; ++k) {
            const Layer<T>& layer = p.layers[k];
            masked.push_back(room);
            room += layer.rows * layer.columns;
        }
    }

    // Every thread of the team has to come.
    void mask() {
        for (int64_t k = 0; k < p.depth; ++k) {
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

// Whether the sums of a layer are added to those of the one after the next.
template <typename T>
bool next_skips(const Problem<T>& p, int64_t k) {
    return k + 2 < p.depth && p.layers[k + 2].skips;
}

template <typename T, typename Act>
void forward(const Problem<T>& p) {
    Weights<T> weights(p);
    const Shares shares(p.points, p.threads);
    const bool keeps = p.layers[0].units != nullptr || p.depth == 1;
    // A team of one would not count as parallel, and the matrix library would start threads of its own.
#pragma omp parallel num_threads(p.threads)
    {
        weights.mask();
        T *room = room_for<T, 1>(3 * weights.widest * shares.chunk), *carried = room + 2 * weights.widest * shares.chunk;
#pragma omp for schedule(static)
        for (int64_t start = 0; start < p.points; start += shares.chunk) {
            const int64_t count = std::min(shares.chunk, p.points - start);
            const T* known = p.input + start;
            int64_t across = p.points;
            for (int64_t k = 0; k < p.depth; ++k) {
                const Layer<T>& layer = p.layers[k];
                const bool asked = layer.units != nullptr;
                const int64_t out_across = asked ? p.points : shares.chunk;
                T* units = asked ? layer.units + start : room + (k % 2) * weights.widest * shares.chunk;
                // The sums that go past two layers: kept for gradients, or in the room of this thread.
                const int64_t sums_across = keeps ? p.points : shares.chunk;
                const T* before = !layer.skips ? nullptr : keeps ? p.layers[k - 2].sums + start : carried;
                T* sums = layer.sums != nullptr ? layer.sums + start : next_skips(p, k) ? carried : nullptr;
                for (const auto& [from, to, end] : weights.bands[k]) {
                    T* out = units + from * out_across;
                    multiply<T>(p.gemm, to - from, count, end, weights.masked[k] + from * layer.columns, layer.columns,
                                false, known, across, false, T(0), out, out_across);
                    for (int64_t r = from; r < to; ++r, out += out_across) {
                        const Vec<T> bias(layer.bias[r]);
                        each<T>(count, [&](int64_t v, int64_t lanes) {
                            auto h = Vec<T>::loadu(out + v, lanes) + bias;
                            if (before != nullptr) h = h + Vec<T>::loadu(before + r * sums_across + v, lanes);
                            if (sums != nullptr) h.store(sums + r * sums_across + v, lanes);
                            (layer.active ? Act::of(h) : h).store(out + v, lanes);
                        });
                    }
                }
                known = units, across = out_across;
            }
        }
    }
}

// by_columns (columns, count) = maskedᵀ by_sums of one layer.
template <typename T>
void send_down(const Problem<T>& p, const Layer<T>& layer, const std::vector<Band>& bands, const T* masked,
               const T* by_sums, int64_t across, int64_t count, T* by_columns, int64_t out_across) {
    for (int64_t from = 0; from < layer.columns; from += BAND) {
        const int64_t to = std::min(from + BAND, layer.columns);
        T *out = by_columns + from * out_across, keep(0);
        for (size_t b = 0; b < bands.size();) {
            const int64_t first = bands[b].from;
            int64_t last = first;
            for (; b < bands.size() && bands[b].end > from; ++b) last = bands[b].to;
            if (last == first) { ++b; continue; }
            multiply<T>(p.gemm, to - from, count, last - first, masked + first * layer.columns + from, layer.columns,
                        true, by_sums + first * across, across, false, keep, out, out_across);
            keep = T(1);
        }
        if (keep == T(0))
            for (int64_t c = from; c < to; ++c, out += out_across) std::fill_n(out, count, T(0));
    }
}

// out = by_units · slope of the activation of a layer, and what goes past it, for one chunk.
template <typename T, typename Act>
void through_activation(const Problem<T>& p, const Layer<T>& layer, int64_t start, int64_t count, const T* by_units,
                        int64_t across, const T* past, T* out, int64_t out_across) {
    for (int64_t r = 0; r < layer.rows; ++r) {
        const T* units = layer.units + r * p.points + start;
        const T* sums = layer.sums == nullptr ? units : layer.sums + r * p.points + start;
        each<T>(count, [&](int64_t v, int64_t lanes) {
            const auto slope = Act::slope(Vec<T>::loadu(sums + v, lanes), Vec<T>::loadu(units + v, lanes));
            auto by_sums = Vec<T>::loadu(by_units + r * across + v, lanes) * slope;
            if (past != nullptr) by_sums = by_sums + Vec<T>::loadu(past + r * out_across + v, lanes);
            by_sums.store(out + r * out_across + v, lanes);
        });
    }
}

// Add what the points start .. start + count say about the rows of a band, or put it there if they are the first.
template <typename T>
void gather(const Problem<T>& p, int64_t k, const Band& band, int64_t start, int64_t count, const T* by_sums,
            int64_t across) {
    const Layer<T>& layer = p.layers[k];
    const T* known = (k ? p.layers[k - 1].units : p.input) + start;
    const T* by_rows = by_sums + band.from * across;
    T* out = layer.by_weight + band.from * layer.columns;
    multiply<T>(p.gemm, band.to - band.from, band.end, count, by_rows, across, false, known, p.points, true,
                T(start > 0), out, layer.columns);
    for (int64_t r = band.from; r < band.to; ++r, out += layer.columns, by_rows += across) {
        std::fill(out + layer.ends[r], out + layer.columns, T(0));
        Vec<T> sum(T(0));
        each<T>(count, [&](int64_t v, int64_t lanes) { sum = sum + Vec<T>::loadu(by_rows + v, lanes); });
        layer.by_bias[r] = total<T>(sum) + (start > 0 ? layer.by_bias[r] : T(0));
    }
}

template <typename T, typename Act>
void backward(const Problem<T>& p) {
    Weights<T> weights(p);
    const Shares shares(p.points, p.threads);
    const int64_t across = std::min(shares.round, p.points);
    std::vector<std::pair<int64_t, Band>> jobs;
    std::vector<T*> by_sums;
    T* room = room_for<T, 2>(weights.rows * across);
    for (int64_t k = 0; k < p.depth; ++k) {
        for (const auto& band : weights.bands[k]) jobs.emplace_back(k, band);
        by_sums.push_back(room);
        room += p.layers[k].rows * across;
    }
    const int64_t count_jobs = jobs.size(), last = p.depth - 1;
#pragma omp parallel num_threads(p.threads)
    {
        weights.mask();
        for (int64_t begin = 0; begin < p.points; begin += shares.round) {
            const int64_t in_round = std::min(shares.round, p.points - begin);
            const auto find = [&](int64_t k) {
                const bool given = k == last && !p.layers[k].active;
                return given ? std::pair{p.by_units + begin, p.points} : std::pair{(const T*)by_sums[k], across};
            };
#pragma omp for schedule(static)
            for (int64_t at = 0; at < in_round; at += shares.chunk) {
                const int64_t start = begin + at, count = std::min(shares.chunk, in_round - at);
                for (int64_t k = last; k >= 0; --k) {
                    const Layer<T>& layer = p.layers[k];
                    T* own = by_sums[k] + at;
                    const T* past = next_skips(p, k) ? by_sums[k + 2] + at : nullptr;
                    if (layer.active) {
                        const bool top = k == last;
                        through_activation<T, Act>(p, layer, start, count, top ? p.by_units + start : own,
                                                   top ? p.points : across, past, own, across);
                    }
                    const auto [sums, sums_across] = find(k);
                    send_down(p, layer, weights.bands[k], weights.masked[k], sums + at, sums_across, count,
                              k ? by_sums[k - 1] + at : p.by_input + start, k ? across : p.points);
                }
            }
#pragma omp for schedule(dynamic)
            for (int64_t job = count_jobs - 1; job >= 0; --job) {
                const auto& [k, band] = jobs[job];
                const auto [sums, sums_across] = find(k);
                gather(p, k, band, begin, in_round, sums, sums_across);
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

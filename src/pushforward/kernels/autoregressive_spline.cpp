// Compiled after native.h, tile.h, spline.h, which `native_library` puts before it.
//
// The last product of a masked perceptron and the splines that read it, in both passes of training.
//
// The parameters of a feature are computed for one tile of points and used at once; the backward pass recomputes them.
// Neither the parameters nor their gradients, by far the largest tensors of a training step, are written to memory, and
// masked products are not computed. The Python module of the same name fills in the structures.

namespace {

template <typename T>
struct Problem {
    const T *x, *units;              // (features, points), (num_units, points)
    const T *weight, *bias;          // (num_params, features, num_units), (num_params, features)
    const T *grad_y, *grad_log_slope;  // as x
    T *y, *log_slope, *grad_x;       // as x
    T *grad_units, *grad_weight, *grad_bias;
    const int64_t* ends;             // feature j reads the units before ends[j]; later entries are not used
    const double* options;           // of the spline
    int64_t points, features, num_units, num_params, threads;
};

template <typename T>
using Spline = RationalQuadratic<T, TILE<T>>;

template <typename T>
int64_t valid(const Problem<T>& p, int64_t i) {
    return std::clamp<int64_t>(p.points - i, 0, LANES<T>);
}

// Copies a tile of `count` rows of length p.points; lanes after the last point are zero.
template <typename T>
void load_tile(const Problem<T>& p, const T* rows, int64_t count, int64_t from, T* tile) {
    for (int64_t r = 0; r < count; ++r)
        for (int64_t v = 0; v < TILE<T>; v += LANES<T>)
            Vec<T>::loadu(rows + r * p.points + from + v, valid(p, from + v)).store(tile + r * TILE<T> + v);
}

template <typename T>
void conditioner_params(const Problem<T>& p, int64_t j, const T* units, T* params) {
    const Rows<T> rows{p.weight + j * p.num_units, p.bias + j, p.features * p.num_units, p.features, p.ends + j, 0};
    products<T>(rows, p.num_params, units, params);
}

template <typename T>
void forward(const Problem<T>& p) {
    const Spline<T> spline(p.options);
    const int64_t tiles = (p.points + TILE<T> - 1) / TILE<T>;
#pragma omp parallel num_threads(threads_for(p.threads, tiles))
    {
        std::vector<T> buffer((p.num_units + p.num_params) * TILE<T>);
        T *units = buffer.data(), *params = units + p.num_units * TILE<T>;
#pragma omp for schedule(static)
        for (int64_t tile = 0; tile < tiles; ++tile) {
            const int64_t from = tile * TILE<T>;
            load_tile(p, p.units, p.num_units, from, units);
            for (int64_t j = 0; j < p.features; ++j) {
                conditioner_params(p, j, units, params);
                for (int64_t v = 0; v < TILE<T>; v += LANES<T>) {
                    const int64_t at = j * p.points + from + v, count = valid(p, from + v);
                    Vec<T> y, log_slope;
                    spline.forward(Vec<T>::loadu(p.x + at, count), params + v, y, log_slope);
                    y.store(p.y + at, count), log_slope.store(p.log_slope + at, count);
                }
            }
        }
    }
}

// R rows c .. c + R of grad_units += weightᵀ grad_params, for one tile.
template <typename T, int64_t R>
void add_units_gradient(const Problem<T>& p, const T* weight, const T* grad_params, T* grad_units) {
    const int64_t stride = p.features * p.num_units;
    for (int64_t start = 0; start < TILE<T>; start += WIDE * LANES<T>) {
        Vec<T> sums[R][WIDE];
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v)
                sums[r][v] = Vec<T>::loadu(grad_units + r * TILE<T> + start + v * LANES<T>);
        for (int64_t k = 0; k < p.num_params; ++k) {
            Vec<T> g[WIDE];
            for (int64_t v = 0; v < WIDE; ++v) g[v] = Vec<T>::loadu(grad_params + k * TILE<T> + start + v * LANES<T>);
            for (int64_t r = 0; r < R; ++r) {
                const Vec<T> w(weight[k * stride + r]);
                for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = at::vec::fmadd(w, g[v], sums[r][v]);
            }
        }
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v) sums[r][v].store(grad_units + r * TILE<T> + start + v * LANES<T>);
    }
}

// R rows of grad_weight += grad_params unitsᵀ, for one tile of transposed units; rows of both have length `stride`.
template <typename T, int64_t R>
void add_weight_gradient(int64_t columns, int64_t stride, const T* transposed, const T* grad_params, T* grad_weight) {
    for (int64_t c = 0; c < columns; c += WIDE * LANES<T>) {
        Vec<T> sums[R][WIDE];
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = Vec<T>::loadu(grad_weight + r * stride + c + v * LANES<T>);
        for (int64_t t = 0; t < TILE<T>; ++t) {
            Vec<T> h[WIDE];
            for (int64_t v = 0; v < WIDE; ++v) h[v] = Vec<T>::loadu(transposed + t * stride + c + v * LANES<T>);
            for (int64_t r = 0; r < R; ++r) {
                const Vec<T> g(grad_params[r * TILE<T> + t]);
                for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = at::vec::fmadd(g, h[v], sums[r][v]);
            }
        }
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v) sums[r][v].store(grad_weight + r * stride + c + v * LANES<T>);
    }
}

template <typename T>
T total(const T* row) {
    Vec<T> sum(T(0));
    for (int64_t v = 0; v < TILE<T>; v += LANES<T>) sum = sum + Vec<T>::loadu(row + v);
    return total<T>(sum);
}

template <typename T>
void backward(const Problem<T>& p) {
    const Spline<T> spline(p.options);
    const int64_t tiles = (p.points + TILE<T> - 1) / TILE<T>;
    const int64_t stride = (p.num_units + WIDE * LANES<T> - 1) / (WIDE * LANES<T>) * WIDE * LANES<T>;
    const int64_t threads = threads_for(p.threads, tiles), rows = p.num_params * p.features;
    std::vector<std::vector<T>> weights(threads), biases(threads);  // sums of each thread
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static, 1)
        for (int64_t thread = 0; thread < threads; ++thread) {
            auto &grad_weight = weights[thread], &grad_bias = biases[thread];
            grad_weight.assign(rows * stride, T(0)), grad_bias.assign(rows, T(0));
            std::vector<T> buffer((2 * p.num_units + stride + p.num_params) * TILE<T>, T(0));
            T *units = buffer.data(), *grad_units = units + p.num_units * TILE<T>;
            T *transposed = grad_units + p.num_units * TILE<T>, *params = transposed + stride * TILE<T>;
            for (int64_t tile = thread * tiles / threads; tile < (thread + 1) * tiles / threads; ++tile) {
                const int64_t from = tile * TILE<T>;
                load_tile(p, p.units, p.num_units, from, units);
                for (int64_t c = 0; c < p.num_units; ++c)
                    for (int64_t t = 0; t < TILE<T>; ++t) transposed[t * stride + c] = units[c * TILE<T> + t];
                std::fill(grad_units, grad_units + p.num_units * TILE<T>, T(0));
                for (int64_t j = 0; j < p.features; ++j) {
                    conditioner_params(p, j, units, params);
                    for (int64_t v = 0; v < TILE<T>; v += LANES<T>) {
                        const int64_t at = j * p.points + from + v, count = valid(p, from + v);
                        const auto x = Vec<T>::loadu(p.x + at, count), grad_y = Vec<T>::loadu(p.grad_y + at, count);
                        const auto grad_log_slope = Vec<T>::loadu(p.grad_log_slope + at, count);
                        spline.backward(x, params + v, grad_y, grad_log_slope).store(p.grad_x + at, count);
                        // Lanes after the last point must not reach the sums, not even as 0 · inf.
                        if (count < LANES<T>)
                            for (int64_t k = 0; k < p.num_params; ++k)
                                std::fill_n(params + k * TILE<T> + v + count, LANES<T> - count, T(0));
                    }
                    for (int64_t k = 0; k < p.num_params; ++k)
                        grad_bias[k * p.features + j] += total(params + k * TILE<T>);
                    const T* weight = p.weight + j * p.num_units;
                    in_groups(p.ends[j], [&](int64_t c, auto count) {
                        add_units_gradient<T, count()>(p, weight + c, params, grad_units + c * TILE<T>);
                    });
                    T* rows_of_j = grad_weight.data() + j * p.num_params * stride;  // feature-major, unlike the weight
                    in_groups(p.num_params, [&](int64_t k, auto count) {
                        add_weight_gradient<T, count()>(p.ends[j], stride, transposed, params + k * TILE<T>,
                                                        rows_of_j + k * stride);
                    });
                }
                for (int64_t c = 0; c < p.num_units; ++c)
                    for (int64_t v = 0; v < TILE<T>; v += LANES<T>)
                        Vec<T>::loadu(grad_units + c * TILE<T> + v)
                            .store(p.grad_units + c * p.points + from + v, valid(p, from + v));
            }
        }
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; ++row) {  // in the order of threads, so that results do not depend on timing
            const int64_t k = row / p.features, j = row % p.features;
            T *out = p.grad_weight + row * p.num_units, sum(0);
            for (const auto& thread : biases) sum += thread[row];
            p.grad_bias[row] = sum;
            std::fill(out + p.ends[j], out + p.num_units, T(0));
            for (int64_t c = 0; c < p.ends[j]; ++c) {
                sum = T(0);
                for (const auto& thread : weights) sum += thread[(j * p.num_params + k) * stride + c];
                out[c] = sum;
            }
        }
    }
}

}  // namespace

extern "C" void forward_float(const Problem<float>* p) { forward(*p); }
extern "C" void forward_double(const Problem<double>* p) { forward(*p); }
extern "C" void backward_float(const Problem<float>* p) { backward(*p); }
extern "C" void backward_double(const Problem<double>* p) { backward(*p); }

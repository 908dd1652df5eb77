// The last product of a masked perceptron and the splines that read it, in both passes of training.
//
// The parameters of a feature are computed for a tile of points, used, and forgotten; the backward pass computes them
// again. Neither they nor their cotangents, the largest tensors of a step by far, ever reach the memory, and what is
// masked is not computed. `conditional.py` is the other side of this file.

namespace {

template <typename T>
struct Problem {
    const T *x, *units;              // (features, points), (num_units, points)
    const T *weight, *bias;          // (num_params, features, num_units), (num_params, features)
    const T *by_y, *by_log_slope;    // as x
    T *y, *log_slope, *by_x;         // as x
    T *by_units, *by_weight, *by_bias;
    const int64_t* ends;             // feature j reads the units before ends[j]; further rows are not looked at
    const double* options;           // of the spline
    int64_t points, features, num_units, num_params, threads;
};

template <typename T>
using Spline = RationalQuadratic<T, TILE<T>>;

template <typename T>
int64_t valid(const Problem<T>& p, int64_t i) {
    return std::clamp<int64_t>(p.points - i, 0, LANES<T>);
}

// A tile of some rows of length p.points, zeros behind the last point.
template <typename T>
void take(const Problem<T>& p, const T* rows, int64_t count, int64_t from, T* tile) {
    for (int64_t r = 0; r < count; ++r)
        for (int64_t v = 0; v < TILE<T>; v += LANES<T>)
            Vec<T>::loadu(rows + r * p.points + from + v, valid(p, from + v)).store(tile + r * TILE<T> + v);
}

template <typename T>
void find_params(const Problem<T>& p, int64_t j, const T* units, T* params) {
    const Rows<T> rows{p.weight + j * p.num_units, p.bias + j, p.features * p.num_units, p.features, p.ends + j, 0};
    products<T>(rows, p.num_params, units, params);
}

template <typename T>
void forward(const Problem<T>& p) {
    const Spline<T> spline(p.options);
    const int64_t tiles = (p.points + TILE<T> - 1) / TILE<T>;
#pragma omp parallel num_threads(threads_for(p.threads, tiles))
    {
        std::vector<T> room((p.num_units + p.num_params) * TILE<T>);
        T *units = room.data(), *params = units + p.num_units * TILE<T>;
#pragma omp for schedule(static)
        for (int64_t tile = 0; tile < tiles; ++tile) {
            const int64_t from = tile * TILE<T>;
            take(p, p.units, p.num_units, from, units);
            for (int64_t j = 0; j < p.features; ++j) {
                find_params(p, j, units, params);
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

// R rows c .. c + R of by_units += weightᵀ by_params, for one tile.
template <typename T, int64_t R>
void send_down(const Problem<T>& p, const T* weight, const T* by_params, T* by_units) {
    const int64_t stride = p.features * p.num_units;
    for (int64_t start = 0; start < TILE<T>; start += WIDE * LANES<T>) {
        Vec<T> sums[R][WIDE];
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v)
                sums[r][v] = Vec<T>::loadu(by_units + r * TILE<T> + start + v * LANES<T>);
        for (int64_t k = 0; k < p.num_params; ++k) {
            Vec<T> g[WIDE];
            for (int64_t v = 0; v < WIDE; ++v) g[v] = Vec<T>::loadu(by_params + k * TILE<T> + start + v * LANES<T>);
            for (int64_t r = 0; r < R; ++r) {
                const Vec<T> w(weight[k * stride + r]);
                for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = at::vec::fmadd(w, g[v], sums[r][v]);
            }
        }
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v) sums[r][v].store(by_units + r * TILE<T> + start + v * LANES<T>);
    }
}

// R rows of by_weight += by_params unitsᵀ, for one tile whose units are given the other way round; rows of both are `across` long.
template <typename T, int64_t R>
void gather(int64_t columns, int64_t across, const T* turned, const T* by_params, T* by_weight) {
    for (int64_t c = 0; c < columns; c += WIDE * LANES<T>) {
        Vec<T> sums[R][WIDE];
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = Vec<T>::loadu(by_weight + r * across + c + v * LANES<T>);
        for (int64_t t = 0; t < TILE<T>; ++t) {
            Vec<T> h[WIDE];
            for (int64_t v = 0; v < WIDE; ++v) h[v] = Vec<T>::loadu(turned + t * across + c + v * LANES<T>);
            for (int64_t r = 0; r < R; ++r) {
                const Vec<T> g(by_params[r * TILE<T> + t]);
                for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = at::vec::fmadd(g, h[v], sums[r][v]);
            }
        }
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v) sums[r][v].store(by_weight + r * across + c + v * LANES<T>);
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
    const int64_t across = (p.num_units + WIDE * LANES<T> - 1) / (WIDE * LANES<T>) * WIDE * LANES<T>;
    const int64_t threads = threads_for(p.threads, tiles), rows = p.num_params * p.features;
    std::vector<std::vector<T>> weights(threads), biases(threads);  // what each thread finds
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static, 1)
        for (int64_t own = 0; own < threads; ++own) {
            auto &by_weight = weights[own], &by_bias = biases[own];
            by_weight.assign(rows * across, T(0)), by_bias.assign(rows, T(0));
            std::vector<T> room((2 * p.num_units + across + p.num_params) * TILE<T>, T(0));
            T *units = room.data(), *by_units = units + p.num_units * TILE<T>;
            T *turned = by_units + p.num_units * TILE<T>, *params = turned + across * TILE<T>;
            for (int64_t tile = own * tiles / threads; tile < (own + 1) * tiles / threads; ++tile) {
                const int64_t from = tile * TILE<T>;
                take(p, p.units, p.num_units, from, units);
                for (int64_t c = 0; c < p.num_units; ++c)
                    for (int64_t t = 0; t < TILE<T>; ++t) turned[t * across + c] = units[c * TILE<T> + t];
                std::fill(by_units, by_units + p.num_units * TILE<T>, T(0));
                for (int64_t j = 0; j < p.features; ++j) {
                    find_params(p, j, units, params);
                    for (int64_t v = 0; v < TILE<T>; v += LANES<T>) {
                        const int64_t at = j * p.points + from + v, count = valid(p, from + v);
                        const auto x = Vec<T>::loadu(p.x + at, count), by_y = Vec<T>::loadu(p.by_y + at, count);
                        const auto by_log_slope = Vec<T>::loadu(p.by_log_slope + at, count);
                        spline.backward(x, params + v, by_y, by_log_slope).store(p.by_x + at, count);
                    }
                    for (int64_t k = 0; k < p.num_params; ++k) by_bias[k * p.features + j] += total(params + k * TILE<T>);
                    const T* weight = p.weight + j * p.num_units;
                    in_groups(p.ends[j], [&](int64_t c, auto count) {
                        send_down<T, count()>(p, weight + c, params, by_units + c * TILE<T>);
                    });
                    T* found = by_weight.data() + j * p.num_params * across;  // feature by feature, unlike the weight
                    in_groups(p.num_params, [&](int64_t k, auto count) {
                        gather<T, count()>(p.ends[j], across, turned, params + k * TILE<T>, found + k * across);
                    });
                }
                for (int64_t c = 0; c < p.num_units; ++c)
                    for (int64_t v = 0; v < TILE<T>; v += LANES<T>)
                        Vec<T>::loadu(by_units + c * TILE<T> + v)
                            .store(p.by_units + c * p.points + from + v, valid(p, from + v));
            }
        }
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; ++row) {  // always in the order of threads
            const int64_t k = row / p.features, j = row % p.features;
            T *out = p.by_weight + row * p.num_units, sum(0);
            for (const auto& own : biases) sum += own[row];
            p.by_bias[row] = sum;
            std::fill(out + p.ends[j], out + p.num_units, T(0));
            for (int64_t c = 0; c < p.ends[j]; ++c) {
                sum = T(0);
                for (const auto& own : weights) sum += own[(j * p.num_params + k) * across + c];
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

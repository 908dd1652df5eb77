// An autoregressive map with a masked perceptron, and its inverse feature by feature.
//
// A tile of points goes through all features while everything known of it stays in the cache. Forwards all features
// are known, so a layer computes all of its rows; step j of the inverse computes those of degree j alone. Either way
// the lower staircase of each weight is read once: the arithmetic of one pass, without what is masked. Tiles are
// independent; threads share them out.
// `native.py` is the other side of this file: it fills in the structures and has the activations and the univariates
// under the same numbers.

namespace {

template <typename T>
struct Layer {
    const T* weight;            // (rows, columns)
    const T* bias;              // (rows,)
    const int64_t* ends;        // (rows,): row r reads the columns before ends[r]
    const int64_t* row_starts;  // rows of step j: from entry j to entry j + 1; null for the last layer
    int64_t columns;
};

template <typename T>
struct Problem {
    const T* given;          // x, or for the inverse y, (features, n)
    const T* context;        // (context, n)
    const T* free;           // (num_free, features)
    T* found;                // y, or for the inverse x, (features, n)
    T* log_slope;            // (features, n), or null for the inverse
    const Layer<T>* layers;  // depth hidden ones, then the last, whose rows are (num_params, features)
    const double* options;   // of the univariate
    int64_t points, features, num_context, depth, num_params, num_free;
    int64_t residual, activation, univariate, threads;
    double limit;  // of what the network sees
};

// Univariates of the points of a vector, whose parameters stand at `params[k * TILE]` and may be overwritten. Formulas
// and order of the parameters are those of the Python classes; `RationalQuadratic` is the third.

template <typename T>
struct Shift {
    explicit Shift(const double*) {}
    Vec<T> inverse(Vec<T> y, T* params) const { return y - Vec<T>::loadu(params); }
    void forward(Vec<T> x, T* params, Vec<T>& y, Vec<T>& log_slope) const {
        y = x + Vec<T>::loadu(params), log_slope = Vec<T>(T(0));
    }
};

template <typename T>
struct Affine {
    Vec<T> bound;
    explicit Affine(const double* options) : bound(T(options[0])) {}
    Vec<T> log_scale(const T* params) const {
        const auto bounded = (Vec<T>::loadu(params + TILE<T>) / bound).tanh();
        return at::vec::fmadd(bound, bounded, Vec<T>::loadu(params + 2 * TILE<T>));
    }
    Vec<T> inverse(Vec<T> y, T* params) const { return (y - Vec<T>::loadu(params)) / log_scale(params).exp(); }
    void forward(Vec<T> x, T* params, Vec<T>& y, Vec<T>& log_slope) const {
        log_slope = log_scale(params);
        y = at::vec::fmadd(x, log_slope.exp(), Vec<T>::loadu(params));
    }
};

// The hidden units of steps `from` .. `to`; gives those that the last layer reads. With skip connections every second
// layer adds to `sums`, and what the next one reads is the activation of the sum.
template <typename T>
const T* hidden(const Problem<T>& p, int64_t from, int64_t to, const T* known, T* units, T* sums) {
    for (int64_t k = 0; k < p.depth; ++k) {
        const Layer<T>& layer = p.layers[k];
        const int64_t first = layer.row_starts[from], count = layer.row_starts[to] - first;
        const Rows<T> all{layer.weight, layer.bias, layer.columns, 1, layer.ends, 1}, rows = all.from(first);
        T* out = units + first * TILE<T>;
        products<T>(rows, count, known, out);
        if (p.residual && k % 2 == 0) {
            for (int64_t i = 0; i < count * TILE<T>; i += LANES<T>) {
                auto h = Vec<T>::loadu(out + i);
                if (k > 0) h = h + Vec<T>::loadu(sums + i);
                h.store(sums + i), h.store(out + i);
            }
        }
        activate<T>(p.activation, out, count * TILE<T>);
        known = units;
        units += layer.row_starts[p.features] * TILE<T>;
    }
    return known;
}

// The parameters of features j .. j + count, num_params + num_free rows of a tile for each.
template <typename T>
void find_params(const Problem<T>& p, int64_t j, int64_t count, const T* known, T* params) {
    const Layer<T>& last = p.layers[p.depth];
    const Rows<T> all{last.weight, last.bias, last.columns, 1, last.ends, 1}, own = all.from(j);
    const int64_t each = (p.num_params + p.num_free) * TILE<T>;
    if (count == 1) {
        const Rows<T> rows{own.weight, own.bias, p.features * last.columns, p.features, own.ends, 0};
        products<T>(rows, p.num_params, known, params);
    } else {
        for (int64_t k = 0; k < p.num_params; ++k)
            products<T>(own.from(k * p.features), count, known, params + k * TILE<T>, each);
    }
    for (int64_t i = 0; i < count; ++i)
        for (int64_t f = 0; f < p.num_free; ++f)
            std::fill_n(params + i * each + (p.num_params + f) * TILE<T>, TILE<T>, p.free[f * p.features + j + i]);
}

template <typename T, typename Univariate>
void run(const Problem<T>& p) {
    const Univariate univariate(p.options);
    const bool forwards = p.log_slope != nullptr;
    // A few parameters make no group of rows, those of features whose ends are near do.
    const bool groups = forwards && p.num_params < ROWS && p.layers[p.depth].columns <= NEAR * p.features;
    const int64_t together = groups ? std::min(4 * ROWS, p.features) : 1;
    const int64_t each = (p.num_params + p.num_free) * TILE<T>;
    const int64_t tiles = (p.points + TILE<T> - 1) / TILE<T>;
    const int64_t inputs = p.num_context + p.features, sums = p.layers[0].row_starts[p.features];
    int64_t units = 0;
    for (int64_t k = 0; k < p.depth; ++k) units += p.layers[k].row_starts[p.features];
#pragma omp parallel num_threads(threads_for(p.threads, tiles))
    {
        std::vector<T> room((inputs + units + sums) * TILE<T> + together * each);  // rows of TILE
        T *input = room.data(), *unit = input + inputs * TILE<T>;
        T *sum = unit + units * TILE<T>, *params = sum + sums * TILE<T>;
#pragma omp for schedule(static)
        for (int64_t tile = 0; tile < tiles; ++tile) {
            const int64_t from = tile * TILE<T>;
            const auto valid = [&](int64_t v) { return std::clamp<int64_t>(p.points - from - v, 0, LANES<T>); };
            const auto take = [&](const T* row, int64_t v) { return Vec<T>::loadu(row + from + v, valid(v)); };
            const auto see = [&](int64_t i, int64_t v, Vec<T> x) {
                clamped(x, -p.limit, p.limit).store(input + i * TILE<T> + v);
            };
            const auto see_all = [&](const T* rows, int64_t count, int64_t first) {
                for (int64_t i = 0; i < count; ++i)
                    for (int64_t v = 0; v < TILE<T>; v += LANES<T>) see(first + i, v, take(rows + i * p.points, v));
            };
            see_all(p.context, p.num_context, 0);
            const T* known = nullptr;
            if (forwards) {
                see_all(p.given, p.features, p.num_context);
                known = hidden<T>(p, 0, p.features, input, unit, sum);
            }
            for (int64_t first = 0; first < p.features; first += together) {
                const int64_t count = std::min(together, p.features - first);
                if (!forwards) known = hidden<T>(p, first, first + 1, input, unit, sum);
                find_params(p, first, count, known, params);
                for (int64_t j = first; j < first + count; ++j) {
                    T* own = params + (j - first) * each;
                    for (int64_t v = 0; v < TILE<T>; v += LANES<T>) {
                        const int64_t at = j * p.points + from + v;
                        const auto given = take(p.given + j * p.points, v);
                        if (forwards) {
                            Vec<T> y, log_slope;
                            univariate.forward(given, own + v, y, log_slope);
                            y.store(p.found + at, valid(v)), log_slope.store(p.log_slope + at, valid(v));
                        } else {
                            const auto x = univariate.inverse(given, own + v);
                            x.store(p.found + at, valid(v)), see(p.num_context + j, v, x);
                        }
                    }
                }
            }
        }
    }
}

template <typename T>
void by_univariate(const Problem<T>& p) {
    if (p.univariate == 0) run<T, Shift<T>>(p);
    if (p.univariate == 1) run<T, Affine<T>>(p);
    if (p.univariate == 2) run<T, RationalQuadratic<T, TILE<T>>>(p);
}

}  // namespace

extern "C" void run_float(const Problem<float>* p) { by_univariate(*p); }
extern "C" void run_double(const Problem<double>* p) { by_univariate(*p); }

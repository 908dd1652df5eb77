// Compiled after native.h, tile.h, activations.h, spline.h, which `native_library` puts before it.
//
// An autoregressive map with a masked perceptron, and its inverse feature by feature.
//
// A tile of points goes through all features while its hidden units stay in the cache. The forward pass computes all
// rows of a layer at once, step j of the inverse only the rows of degree j. Either way each unmasked weight is used
// once per point: the arithmetic of one masked forward pass. Tiles are independent and distributed over threads.
// The Python module of the same name fills in the structures; it numbers activations and univariates as here.

namespace {

template <typename T>
struct Layer {
    const T* weight;            // (rows, columns)
    const T* bias;              // (rows,)
    const int64_t* ends;        // (rows,): row r reads the columns before ends[r]
    const int64_t* row_starts;  // rows of step j: row_starts[j] .. row_starts[j + 1]; not used for the last layer
    int64_t columns;
};

template <typename T>
struct Problem {
    const T* source;         // x, or for the inverse y, (features, n)
    const T* context;        // (context, n)
    const T* free;           // (num_free, features)
    T* target;               // y, or for the inverse x, (features, n)
    T* log_slope;            // (features, n), or null for the inverse
    const Layer<T>* layers;  // num_hidden hidden ones, then the last, whose rows are (num_params, features)
    const double* options;   // of the univariate
    int64_t points, features, num_context, num_hidden, num_params, num_free;
    int64_t residual, activation, univariate, threads;
    double limit;  // inputs of the network are clamped to -limit .. limit
};

// Univariate maps of a vector of points. Parameter k of the first point is `params[k * TILE]`; maps may overwrite the
// parameters. Formulas and order of the parameters are those of the Python classes; `RationalQuadratic`
// is in spline.h.

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

// Computes the hidden units of steps `from` .. `to` and returns the units of the last hidden layer. With skip
// connections every second layer is added to `sums`, and its units are the activation of the sum.
template <typename T>
const T* hidden(const Problem<T>& p, int64_t from, int64_t to, const T* layer_input, T* units, T* sums) {
    for (int64_t k = 0; k < p.num_hidden; ++k) {
        const Layer<T>& layer = p.layers[k];
        const int64_t first = layer.row_starts[from], count = layer.row_starts[to] - first;
        const Rows<T> all{layer.weight, layer.bias, layer.columns, 1, layer.ends, 1}, rows = all.from(first);
        T* out = units + first * TILE<T>;
        const bool adds = p.residual && k % 2 == 0;
        if (p.activation == 0 && !adds) {  // within the product: a pass of its own over the units takes noticeable time
            products<T, Relu<T>>(rows, count, layer_input, out);
        } else {
            products<T>(rows, count, layer_input, out);
            for (int64_t i = 0; adds && i < count * TILE<T>; i += LANES<T>) {
                auto h = Vec<T>::loadu(out + i);
                if (k > 0) h = h + Vec<T>::loadu(sums + i);
                h.store(sums + i), h.store(out + i);
            }
            activate<T>(p.activation, out, count * TILE<T>);
        }
        layer_input = units;
        units += layer.row_starts[p.features] * TILE<T>;
    }
    return layer_input;
}

// The parameters of features j .. j + count: num_params + num_free rows of a tile per feature.
template <typename T>
void conditioner_params(const Problem<T>& p, int64_t j, int64_t count, const T* layer_input, T* params) {
    const Layer<T>& last = p.layers[p.num_hidden];
    const Rows<T> all{last.weight, last.bias, last.columns, 1, last.ends, 1}, from_j = all.from(j);
    const int64_t each = (p.num_params + p.num_free) * TILE<T>;
    if (count == 1) {
        const Rows<T> rows{from_j.weight, from_j.bias, p.features * last.columns, p.features, from_j.ends, 0};
        products<T>(rows, p.num_params, layer_input, params);
    } else {
        for (int64_t k = 0; k < p.num_params; ++k)
            products<T>(from_j.from(k * p.features), count, layer_input, params + k * TILE<T>, each);
    }
    for (int64_t i = 0; i < count; ++i)
        for (int64_t f = 0; f < p.num_free; ++f)
            std::fill_n(params + i * each + (p.num_params + f) * TILE<T>, TILE<T>, p.free[f * p.features + j + i]);
}

template <typename T, typename Univariate>
void run(const Problem<T>& p) {
    const Univariate univariate(p.options);
    const bool forwards = p.log_slope != nullptr;
    // With few parameters per feature, products group rows over features, if their ends are near each other.
    const bool groups = forwards && p.num_params < ROWS && p.layers[p.num_hidden].columns <= NEAR * p.features;
    const int64_t features_at_once = groups ? std::min(4 * ROWS, p.features) : 1;
    const int64_t each = (p.num_params + p.num_free) * TILE<T>;
    const int64_t tiles = (p.points + TILE<T> - 1) / TILE<T>;
    const int64_t inputs = p.num_context + p.features, sums = p.layers[0].row_starts[p.features];
    int64_t units = 0;
    for (int64_t k = 0; k < p.num_hidden; ++k) units += p.layers[k].row_starts[p.features];
#pragma omp parallel num_threads(threads_for(p.threads, tiles))
    {
        std::vector<T> buffer((inputs + units + sums) * TILE<T> + features_at_once * each);  // rows of TILE
        T *input = buffer.data(), *unit = input + inputs * TILE<T>;
        T *sum = unit + units * TILE<T>, *params = sum + sums * TILE<T>;
#pragma omp for schedule(static)
        for (int64_t tile = 0; tile < tiles; ++tile) {
            const int64_t from = tile * TILE<T>;
            const auto valid = [&](int64_t v) { return std::clamp<int64_t>(p.points - from - v, 0, LANES<T>); };
            const auto load = [&](const T* row, int64_t v) { return Vec<T>::loadu(row + from + v, valid(v)); };
            const auto write_input = [&](int64_t i, int64_t v, Vec<T> x) {
                clamped(x, -p.limit, p.limit).store(input + i * TILE<T> + v);
            };
            const auto write_inputs = [&](const T* rows, int64_t count, int64_t first) {
                for (int64_t i = 0; i < count; ++i)
                    for (int64_t v = 0; v < TILE<T>; v += LANES<T>)
                        write_input(first + i, v, load(rows + i * p.points, v));
            };
            write_inputs(p.context, p.num_context, 0);
            const T* layer_input = nullptr;
            if (forwards) {
                write_inputs(p.source, p.features, p.num_context);
                layer_input = hidden<T>(p, 0, p.features, input, unit, sum);
            }
            for (int64_t first = 0; first < p.features; first += features_at_once) {
                const int64_t count = std::min(features_at_once, p.features - first);
                if (!forwards) layer_input = hidden<T>(p, first, first + 1, input, unit, sum);
                conditioner_params(p, first, count, layer_input, params);
                for (int64_t j = first; j < first + count; ++j) {
                    T* of_feature = params + (j - first) * each;
                    for (int64_t v = 0; v < TILE<T>; v += LANES<T>) {
                        const int64_t at = j * p.points + from + v;
                        const auto source = load(p.source + j * p.points, v);
                        if (forwards) {
                            Vec<T> y, log_slope;
                            univariate.forward(source, of_feature + v, y, log_slope);
                            y.store(p.target + at, valid(v)), log_slope.store(p.log_slope + at, valid(v));
                        } else {
                            const auto x = univariate.inverse(source, of_feature + v);
                            x.store(p.target + at, valid(v)), write_input(p.num_context + j, v, x);
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

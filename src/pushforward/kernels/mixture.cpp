// Compiled after native.h, which `native_library` puts before it.
//
// Quantiles of mixtures, for many values with the same parameters.
//
// The algorithm is that of `by_table` and `newton` in Python: start from inverse cubic interpolation in a table, then
// take Newton steps on the log of the smaller tail. The functions return how many values did not converge; the caller
// must solve those in another way, their outputs are meaningless.

#include <ATen/native/Math.h>

namespace {

constexpr int64_t NODES = 128;  // a power of two
constexpr int64_t CHUNK = 1024;  // values per chunk of a thread

template <typename T>
struct Problem {
    const T* y;                                      // (features, points)
    const T *weight, *location, *steepness, *rate;   // (components, features)
    const T *low, *high;                             // (features,) x of the least and of the largest y
    T* x;                                            // (features, points)
    int64_t points, features, components, threads, steps;
    double unit, reach, least, close;
};

// Distributions of a component: the tail at v (in units), the same with the density at v relative to that at zero, the
// point with a certain tail (in widths), and the density at that point.

template <typename T>
struct Gaussian {
    static Vec<T> tail(Vec<T> v) { return Vec<T>(T(0.5)) * v.erfc(); }
    static void both(Vec<T> v, Vec<T>& tail_at, Vec<T>& density) {
        density = (v * v).neg().exp();
        tail_at = tail(v);
    }
    static T point(T tail) { return -calc_ndtri(tail); }
    static T density_there(T point) { return std::exp(-point * point / 2) / std::sqrt(T(2 * M_PI)); }
};

// One exponential for both: 2 · tail = exp(-v²) t q(t) for v ≥ 0, with t = 2 / (2 + v) and the minimax polynomial q of
// degree 10, whose relative error on v ≥ 0 is at most 1.1e-8.
template <>
void Gaussian<float>::both(Vec<float> v, Vec<float>& tail_at, Vec<float>& density) {
    static constexpr float Q[] = {0.282094795f, 0.282093853f, 0.246880586f,  0.17537683f,  0.0930005918f, -0.0572325064f,
                                  0.127089515f, -0.446977502f, 0.48617889f, -0.230857656f, 0.0423525934f};
    const Vec<float> half(0.5f), one(1.0f);
    density = (v * v).neg().exp();
    const auto t = one / at::vec::fmadd(half, v.abs(), one);
    Vec<float> q(Q[10]);
    for (int k = 9; k >= 0; --k) q = at::vec::fmadd(q, t, Vec<float>(Q[k]));
    const auto smaller = half * density * t * q;
    tail_at = choose(one - smaller, smaller, v >= Vec<float>(0.0f));
}

template <typename T>
struct Logistic {
    static Vec<T> tail(Vec<T> v) {
        const Vec<T> one(T(1));
        return one / (one + v.exp());
    }
    static void both(Vec<T> v, Vec<T>& tail_at, Vec<T>& density) {
        tail_at = tail(v);
        density = Vec<T>(T(4)) * tail_at * tail(v.neg());
    }
    static T point(T tail) { return std::log1p(-tail) - std::log(tail); }
    static T density_there(T point) {
        const T e = std::exp(-std::abs(point));
        return e / ((1 + e) * (1 + e));
    }
};

// Tail and density of the mixture of one feature, on one side of x.
template <typename T, typename Component>
void mixture(const Problem<T>& p, int64_t feature, Vec<T> x, Vec<T> side, Vec<T>& tail, Vec<T>& density) {
    const Vec<T> reach{T(p.reach)};
    tail = density = Vec<T>(T(0));
    for (int64_t k = 0; k < p.components; ++k) {
        const int64_t at = k * p.features + feature;
        const auto v = at::vec::clamp((x - Vec<T>(p.location[at])) * Vec<T>(p.steepness[at]), reach.neg(), reach);
        Vec<T> component_tail, component_density;
        Component::both(v * side, component_tail, component_density);
        tail = at::vec::fmadd(Vec<T>(p.weight[at]), component_tail, tail);
        density = at::vec::fmadd(Vec<T>(p.rate[at]), component_density, density);
    }
}

template <typename T>
bool all(Vec<T> mask) {
    const auto least = [](Vec<T> a, Vec<T> b) { return at::vec::minimum(a, b); };
    return at::vec::vec_reduce_all<T>(least, choose(Vec<T>(T(0)), Vec<T>(T(1)), mask)) > 0;
}

// x as cubics of y between neighbouring nodes.
template <typename T>
struct Table {
    T value[NODES], x[NODES], rise[NODES], left[NODES], square[NODES], cube[NODES];

    // The bin of y: the last node below it, clamped to the table.
    int64_t find(T y) const {
        int64_t below = 0;
        for (int64_t step = NODES / 2; step > 0; step /= 2) below += value[below + step - 1] < y ? step : 0;
        return std::clamp<int64_t>(below, 1, NODES - 1) - 1;
    }
};

template <typename T, typename Component>
void fill(const Problem<T>& p, int64_t feature, Table<T>& table) {
    const T first = p.low[feature], run = (p.high[feature] - first) / (NODES - 1);
    const Vec<T> one(T(1)), half(T(0.5));
    T slope[NODES], tails[LANES<T>], sides[LANES<T>], densities[LANES<T>];
    for (int64_t i = 0; i < NODES; ++i) table.x[i] = first + T(i) * run;
    Vec<T> side = one.neg();  // of the smaller tail; nodes increase, so it seldom changes
    for (int64_t i = 0; i < NODES; i += LANES<T>) {
        const auto x = Vec<T>::loadu(table.x + i);
        Vec<T> tail, other, density;
        mixture<T, Component>(p, feature, x, side, tail, density);
        if (const auto smaller = tail <= half; !all<T>(smaller)) {
            mixture<T, Component>(p, feature, x, side.neg(), other, density);
            tail = choose(other, tail, smaller), side = choose(side.neg(), side, smaller);
        }
        tail.store(tails), side.store(sides);
        density.store(densities);
        for (int64_t l = 0; l < LANES<T>; ++l) {
            const T point = Component::point(std::max(tails[l], T(p.least)));
            table.value[i + l] = sides[l] * point;
            slope[i + l] = Component::density_there(point) / densities[l];  // of the inverse
        }
    }
    for (int64_t i = 0; i + 1 < NODES; ++i) {
        const T rise = table.value[i + 1] - table.value[i];
        const T left = rise * slope[i], right = rise * slope[i + 1];
        table.rise[i] = rise, table.left[i] = left;
        table.square[i] = 3 * run - 2 * left - right, table.cube[i] = left + right - 2 * run;
    }
}

// Solves for the values from `start` to `stop` of one feature; returns how many did not converge.
template <typename T, typename Component>
int64_t reach(const Problem<T>& p, int64_t feature, const Table<T>& table, int64_t start, int64_t stop) {
    const T* y_row = p.y + feature * p.points;
    T* x_row = p.x + feature * p.points;
    const Vec<T> zero(T(0)), one(T(1)), close{T(p.close)};
    Vec<T> unsolved = zero;
    for (int64_t i = start; i < stop; i += LANES<T>) {
        const int64_t count = std::min(LANES<T>, stop - i);
        T targets[LANES<T>], guess[LANES<T>];
        for (int64_t l = 0; l < LANES<T>; ++l) {
            targets[l] = y_row[i + std::min(l, count - 1)];  // a vector that is not full repeats the last value
            const int64_t bin = table.find(targets[l]);
            const T t = (targets[l] - table.value[bin]) / table.rise[bin];
            guess[l] = table.x[bin] + t * (table.left[bin] + t * (table.square[bin] + t * table.cube[bin]));
        }
        const auto y = Vec<T>::loadu(targets);
        const auto side = choose(one.neg(), one, y > zero);
        const auto target = Component::tail(y.abs() / Vec<T>(T(p.unit)));
        const auto near = target >= Vec<T>(T(p.least));
        auto x = Vec<T>::loadu(guess), close_by = zero;
        for (int64_t step = 0; step < p.steps; ++step) {
            Vec<T> tail, density;
            mixture<T, Component>(p, feature, x, side, tail, density);
            const auto move = side.neg() * (tail / target).log() * tail / density;
            close_by = move.abs() <= close * (one + x.abs());
            x = x - move;
            if (all<T>(close_by)) break;
        }
        unsolved = unsolved + one - choose(zero, one, near & close_by);
        x.store(x_row + i, count);
    }
    T counts[LANES<T>];
    unsolved.store(counts);
    int64_t total = 0;
    for (const T c : counts) total += int64_t(c);
    return total;
}

template <typename T, typename Component>
int64_t solve(const Problem<T>& p) {
    std::vector<Table<T>> tables(p.features);
    const int64_t chunks = (p.points + CHUNK - 1) / CHUNK;
    int64_t unsolved = 0;
#pragma omp parallel num_threads(threads_for(p.threads, p.features * chunks))
    {
#pragma omp for schedule(static)
        for (int64_t j = 0; j < p.features; ++j) fill<T, Component>(p, j, tables[j]);
#pragma omp for schedule(static) reduction(+ : unsolved)
        for (int64_t job = 0; job < p.features * chunks; ++job) {
            const int64_t j = job / chunks, start = job % chunks * CHUNK;
            unsolved += reach<T, Component>(p, j, tables[j], start, std::min(start + CHUNK, p.points));
        }
    }
    return unsolved;
}

}  // namespace

extern "C" int64_t gaussian_float(const Problem<float>* p) { return solve<float, Gaussian<float>>(*p); }
extern "C" int64_t gaussian_double(const Problem<double>* p) { return solve<double, Gaussian<double>>(*p); }
extern "C" int64_t logistic_float(const Problem<float>* p) { return solve<float, Logistic<float>>(*p); }
extern "C" int64_t logistic_double(const Problem<double>* p) { return solve<double, Logistic<double>>(*p); }

// Affine maps of the rows of a matrix, scales bounded, in both passes of training; `affine_native.py` is the other side.

namespace {

template <typename T>
struct Problem {
    const T* x;       // (features, points)
    const T* params;  // (2, features, points): shifts, scales
    const T* free;    // (features,)
    const T *by_y, *by_log_slope;
    T *y, *log_slope, *by_x, *by_params, *by_free;
    int64_t features, points, threads;
    double bound;

    int64_t size() const { return features * points; }
};

constexpr int64_t ENOUGH = 4096;  // numbers that are worth a thread

// Runs act(first number, how many, what tanh gives, the log-scale, sum) over all numbers; end(feature, sum) after each row.
template <typename T, typename Act, typename End>
void each(const Problem<T>& p, const Act& act, const End& end) {
    const Vec<T> bound(T(p.bound)), inverse(T(1 / p.bound));
    const int64_t threads = threads_for(p.threads, std::min(p.features, p.size() / ENOUGH));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t j = 0; j < p.features; ++j) {
        const Vec<T> free(p.free[j]);
        Vec<T> sum(T(0));
        for (int64_t v = 0; v < p.points; v += LANES<T>) {
            const int64_t i = j * p.points + v, count = std::min(LANES<T>, p.points - v);
            const auto bent = (Vec<T>::loadu(p.params + p.size() + i, count) * inverse).tanh();
            act(i, count, bent, at::vec::fmadd(bent, bound, free), sum);
        }
        end(j, sum);
    }
}

template <typename T>
void forward(const Problem<T>& p) {
    each(
        p,
        [&](int64_t i, int64_t count, Vec<T>, Vec<T> log_scale, Vec<T>&) {
            const auto x = Vec<T>::loadu(p.x + i, count), shift = Vec<T>::loadu(p.params + i, count);
            at::vec::fmadd(x, log_scale.exp(), shift).store(p.y + i, count);
            log_scale.store(p.log_slope + i, count);
        },
        [](int64_t, Vec<T>) {});
}

template <typename T>
void backward(const Problem<T>& p) {
    each(
        p,
        [&](int64_t i, int64_t count, Vec<T> bent, Vec<T> log_scale, Vec<T>& sum) {
            const auto by_y = Vec<T>::loadu(p.by_y + i, count), by_x = by_y * log_scale.exp();
            const auto by_log_scale =
                at::vec::fmadd(by_x, Vec<T>::loadu(p.x + i, count), Vec<T>::loadu(p.by_log_slope + i, count));
            sum = sum + by_log_scale;
            by_x.store(p.by_x + i, count), by_y.store(p.by_params + i, count);
            (by_log_scale * (Vec<T>(T(1)) - bent * bent)).store(p.by_params + p.size() + i, count);
        },
        [&](int64_t j, Vec<T> sum) {
            p.by_free[j] = total<T>(sum);
        });
}

}  // namespace

extern "C" void forward_float(const Problem<float>* p) { forward(*p); }
extern "C" void forward_double(const Problem<double>* p) { forward(*p); }
extern "C" void backward_float(const Problem<float>* p) { backward(*p); }
extern "C" void backward_double(const Problem<double>* p) { backward(*p); }

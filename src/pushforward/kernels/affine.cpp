// Compiled after native.h, which `native_library` puts before it.
//
// Forward and backward pass of affine maps with bounded log-scales. The Python module fills in the structure.

namespace {

template <typename T>
struct Problem {
    const T* x;       // (features, points)
    const T* params;  // (2, features, points): shifts, scales
    const T* free;    // (features,)
    const T *grad_y, *grad_log_slope;
    T *y, *log_slope, *grad_x, *grad_params, *grad_free;
    int64_t features, points, threads;
    double bound;

    int64_t size() const { return features * points; }
};

constexpr int64_t ENOUGH = 4096;  // elements per thread at least

// Runs act(first element, count, tanh(scale / bound), log-scale, sum) over all vectors, end(feature, sum) per row.
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
            const auto bounded = (Vec<T>::loadu(p.params + p.size() + i, count) * inverse).tanh();
            act(i, count, bounded, at::vec::fmadd(bounded, bound, free), sum);
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
        [&](int64_t i, int64_t count, Vec<T> bounded, Vec<T> log_scale, Vec<T>& sum) {
            const auto grad_y = Vec<T>::loadu(p.grad_y + i, count), grad_x = grad_y * log_scale.exp();
            const auto grad_log_scale =
                at::vec::fmadd(grad_x, Vec<T>::loadu(p.x + i, count), Vec<T>::loadu(p.grad_log_slope + i, count));
            // Lanes after the last point must not reach the sum, not even as 0 · inf.
            sum = sum + Vec<T>::set(Vec<T>(T(0)), grad_log_scale, count);
            grad_x.store(p.grad_x + i, count), grad_y.store(p.grad_params + i, count);
            (grad_log_scale * (Vec<T>(T(1)) - bounded * bounded)).store(p.grad_params + p.size() + i, count);
        },
        [&](int64_t j, Vec<T> sum) {
            p.grad_free[j] = total<T>(sum);
        });
}

}  // namespace

extern "C" void forward_float(const Problem<float>* p) { forward(*p); }
extern "C" void forward_double(const Problem<double>* p) { forward(*p); }
extern "C" void backward_float(const Problem<float>* p) { backward(*p); }
extern "C" void backward_double(const Problem<double>* p) { backward(*p); }

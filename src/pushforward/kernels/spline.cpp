// Compiled after native.h, spline.h, which `native_library` puts before it.
//
// Forward, inverse and backward pass of the rational-quadratic spline. The Python module fills in the structure.

namespace {

template <typename T>
struct Problem {
    const T* x;             // (points,); the inverse reads y here
    const T* params;        // (num_params, points)
    const T *grad_y, *grad_log_slope;
    T *y, *log_slope;       // the inverse writes x and minus the log-slope; log_slope may be null there
    T *grad_x, *grad_params;    // as x and params
    const double* options;
    int64_t points, num_params, threads;
};

constexpr int64_t CHUNK = 512;  // points per chunk of a thread

// Runs act(spline, first point, count, copy of their parameters) over all vectors of points.
template <typename T, typename Act>
void each(const Problem<T>& p, const Act& act) {
    const RationalQuadratic<T, LANES<T>> spline(p.options);
    const int64_t chunks = (p.points + CHUNK - 1) / CHUNK;
#pragma omp parallel num_threads(threads_for(p.threads, chunks))
    {
        std::vector<T> params(p.num_params * LANES<T>);
#pragma omp for schedule(static)
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            const int64_t stop = std::min((chunk + 1) * CHUNK, p.points);
            for (int64_t i = chunk * CHUNK; i < stop; i += LANES<T>) {
                const int64_t count = std::min(LANES<T>, stop - i);
                for (int64_t k = 0; k < p.num_params; ++k)
                    Vec<T>::loadu(p.params + k * p.points + i, count).store(params.data() + k * LANES<T>);
                act(spline, i, count, params.data());
            }
        }
    }
}

template <typename T>
void forward(const Problem<T>& p) {
    each(p, [&](const auto& spline, int64_t i, int64_t count, T* params) {
        Vec<T> y, log_slope;
        spline.forward(Vec<T>::loadu(p.x + i, count), params, y, log_slope);
        y.store(p.y + i, count), log_slope.store(p.log_slope + i, count);
    });
}

template <typename T>
void inverse(const Problem<T>& p) {
    each(p, [&](const auto& spline, int64_t i, int64_t count, T* params) {
        Vec<T> x, log_slope;
        spline.invert(Vec<T>::loadu(p.x + i, count), params, x, p.log_slope == nullptr ? nullptr : &log_slope);
        x.store(p.y + i, count);
        if (p.log_slope != nullptr) log_slope.store(p.log_slope + i, count);
    });
}

template <typename T>
void backward(const Problem<T>& p) {
    each(p, [&](const auto& spline, int64_t i, int64_t count, T* params) {
        const auto grad_y = Vec<T>::loadu(p.grad_y + i, count);
        const auto grad_log_slope = Vec<T>::loadu(p.grad_log_slope + i, count);
        spline.backward(Vec<T>::loadu(p.x + i, count), params, grad_y, grad_log_slope).store(p.grad_x + i, count);
        for (int64_t k = 0; k < p.num_params; ++k)
            Vec<T>::loadu(params + k * LANES<T>).store(p.grad_params + k * p.points + i, count);
    });
}

}  // namespace

extern "C" void forward_float(const Problem<float>* p) { forward(*p); }
extern "C" void forward_double(const Problem<double>* p) { forward(*p); }
extern "C" void inverse_float(const Problem<float>* p) { inverse(*p); }
extern "C" void inverse_double(const Problem<double>* p) { inverse(*p); }
extern "C" void backward_float(const Problem<float>* p) { backward(*p); }
extern "C" void backward_double(const Problem<double>* p) { backward(*p); }

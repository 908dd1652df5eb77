// The rational-quadratic spline of many points at once; `spline_native.py` is the other side of this file.

namespace {

template <typename T>
struct Problem {
    const T* x;             // (points,); the inverse reads y here
    const T* params;        // (num_params, points)
    const T *by_y, *by_log_slope;
    T *y, *log_slope;       // the inverse writes x and minus the log-slope; log_slope may be null there
    T *by_x, *by_params;    // as x and params
    const double* options;
    int64_t points, num_params, threads;
};

constexpr int64_t CHUNK = 512;  // points that one thread takes at a time

// Runs act(spline, first, count, parameters of these points) over all vectors of points.
template <typename T, typename Act>
void each(const Problem<T>& p, const Act& act) {
    const RationalQuadratic<T, LANES<T>> spline(p.options);
    const int64_t chunks = (p.points + CHUNK - 1) / CHUNK;
#pragma omp parallel num_threads(threads_for(p.threads, chunks))
    {
        std::vector<T> own(p.num_params * LANES<T>);
#pragma omp for schedule(static)
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            const int64_t stop = std::min((chunk + 1) * CHUNK, p.points);
            for (int64_t i = chunk * CHUNK; i < stop; i += LANES<T>) {
                const int64_t count = std::min(LANES<T>, stop - i);
                for (int64_t k = 0; k < p.num_params; ++k)
                    Vec<T>::loadu(p.params + k * p.points + i, count).store(own.data() + k * LANES<T>);
                act(spline, i, count, own.data());
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
        spline.backwards(Vec<T>::loadu(p.x + i, count), params, x, p.log_slope == nullptr ? nullptr : &log_slope);
        x.store(p.y + i, count);
        if (p.log_slope != nullptr) log_slope.store(p.log_slope + i, count);
    });
}

template <typename T>
void backward(const Problem<T>& p) {
    each(p, [&](const auto& spline, int64_t i, int64_t count, T* params) {
        const auto by_y = Vec<T>::loadu(p.by_y + i, count), by_log_slope = Vec<T>::loadu(p.by_log_slope + i, count);
        spline.backward(Vec<T>::loadu(p.x + i, count), params, by_y, by_log_slope).store(p.by_x + i, count);
        for (int64_t k = 0; k < p.num_params; ++k)
            Vec<T>::loadu(params + k * LANES<T>).store(p.by_params + k * p.points + i, count);
    });
}

}  // namespace

extern "C" void forward_float(const Problem<float>* p) { forward(*p); }
extern "C" void forward_double(const Problem<double>* p) { forward(*p); }
extern "C" void inverse_float(const Problem<float>* p) { inverse(*p); }
extern "C" void inverse_double(const Problem<double>* p) { inverse(*p); }
extern "C" void backward_float(const Problem<float>* p) { backward(*p); }
extern "C" void backward_double(const Problem<double>* p) { backward(*p); }

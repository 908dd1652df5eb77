// Activations of networks: their values, and their derivatives from input and output.

namespace {

template <typename T>
struct Relu {
    static Vec<T> of(Vec<T> h) { return at::vec::maximum(h, Vec<T>(T(0))); }
    static Vec<T> slope(Vec<T>, Vec<T> out) {
        const Vec<T> zero(T(0));
        return choose(Vec<T>(T(1)), zero, out <= zero);
    }
};

template <typename T>
struct Silu {
    static Vec<T> of(Vec<T> h) { return h / (Vec<T>(T(1)) + h.neg().exp()); }
    static Vec<T> slope(Vec<T> in, Vec<T> out) {
        const Vec<T> one(T(1)), sigmoid = one / (one + in.neg().exp());
        return sigmoid * (one + in - out);
    }
};

template <typename T>
struct Gelu {
    static Vec<T> cdf(Vec<T> h) {
        return Vec<T>(T(0.5)) * (Vec<T>(T(1)) + (h * Vec<T>(T(M_SQRT1_2))).erf());
    }
    static Vec<T> of(Vec<T> h) { return h * cdf(h); }
    static Vec<T> slope(Vec<T> in, Vec<T>) {
        const Vec<T> density = (Vec<T>(T(-0.5)) * in * in).exp() * Vec<T>(T(0.5 * M_2_SQRTPI * M_SQRT1_2));
        return at::vec::fmadd(in, density, cdf(in));
    }
};

template <typename T>
struct Elu {
    static Vec<T> of(Vec<T> h) { return choose(h.expm1(), h, h > Vec<T>(T(0))); }
    static Vec<T> slope(Vec<T>, Vec<T> out) {
        return at::vec::minimum(out, Vec<T>(T(0))) + Vec<T>(T(1));
    }
};

template <typename T>
struct Tanh {
    static Vec<T> of(Vec<T> h) { return h.tanh(); }
    static Vec<T> slope(Vec<T>, Vec<T> out) { return Vec<T>(T(1)) - out * out; }
};

// Calls run with the activation that has this number in Python.
template <typename T, typename Run>
void by_activation(int64_t number, const Run& run) {
    if (number == 0) run(Relu<T>());
    if (number == 1) run(Silu<T>());
    if (number == 2) run(Gelu<T>());
    if (number == 3) run(Elu<T>());
    if (number == 4) run(Tanh<T>());
}

// Applies an activation in place to `count` values, a multiple of the vector length.
template <typename T>
void activate(int64_t number, T* values, int64_t count) {
    by_activation<T>(number, [&](auto act) {
        for (int64_t i = 0; i < count; i += LANES<T>) act.of(Vec<T>::loadu(values + i)).store(values + i);
    });
}

}  // namespace

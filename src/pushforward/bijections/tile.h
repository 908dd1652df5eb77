// What kernels of autoregressive layers share: points in tiles, and products of a few rows with a tile.
// A tile is TILE points beside each other, so many that a few hundred rows of it stay in the cache.

namespace {

constexpr int64_t WIDE = 2;   // vectors side by side in one product
constexpr int64_t ROWS = 6;   // rows at a time: ROWS × WIDE sums, all in registers
constexpr int64_t GROUPS = 2; // of WIDE vectors in a tile

template <typename T>
constexpr int64_t TILE = LANES<T> * WIDE * GROUPS;

template <typename T>
struct Same {
    static Vec<T> of(Vec<T> h) { return h; }
};

// R rows: out[r] = act(bias[r] + weight[r] · known), for one tile.
template <typename T, typename Act, int64_t R>
void product(const T* weight, const T* bias, int64_t stride, int64_t bias_stride, int64_t columns, const T* known,
             T* out) {
    for (int64_t start = 0; start < TILE<T>; start += WIDE * LANES<T>) {
        Vec<T> sums[R][WIDE];
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = Vec<T>(bias[r * bias_stride]);
        for (int64_t c = 0; c < columns; ++c) {
            Vec<T> h[WIDE];
            for (int64_t v = 0; v < WIDE; ++v) h[v] = Vec<T>::loadu(known + c * TILE<T> + start + v * LANES<T>);
            for (int64_t r = 0; r < R; ++r) {
                const Vec<T> w(weight[r * stride + c]);
                for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = at::vec::fmadd(w, h[v], sums[r][v]);
            }
        }
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v)
                Act::of(sums[r][v]).store(out + r * TILE<T> + start + v * LANES<T>);
    }
}

// Calls act(first row, number of rows as a constant) for all rows, ROWS at a time and then the rest.
template <typename Act>
void in_groups(int64_t rows, const Act& act) {
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS) act(r, std::integral_constant<int64_t, ROWS>());
    switch (rows - r) {
        case 5: return act(r, std::integral_constant<int64_t, 5>());
        case 4: return act(r, std::integral_constant<int64_t, 4>());
        case 3: return act(r, std::integral_constant<int64_t, 3>());
        case 2: return act(r, std::integral_constant<int64_t, 2>());
        case 1: return act(r, std::integral_constant<int64_t, 1>());
    }
}

template <typename T, typename Act>
void products(const T* weight, const T* bias, int64_t rows, int64_t stride, int64_t bias_stride, int64_t columns,
              const T* known, T* out) {
    in_groups(rows, [&](int64_t r, auto count) {
        product<T, Act, count()>(weight + r * stride, bias + r * bias_stride, stride, bias_stride, columns, known,
                                 out + r * TILE<T>);
    });
}

}  // namespace

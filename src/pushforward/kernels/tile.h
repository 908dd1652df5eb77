// Matrix products for kernels of autoregressive layers, in tiles of points.
// A tile is a matrix (rows, TILE points), so narrow that a few hundred rows stay in the cache.

namespace {

constexpr int64_t WIDE = 2;    // vectors of points per product
constexpr int64_t ROWS = 6;    // rows per product at most: its ROWS × WIDE sums stay in registers
constexpr int64_t NEAR = 16;   // largest difference of the ends of rows in one product
constexpr int64_t GROUPS = 2;  // of WIDE vectors in a tile

template <typename T>
constexpr int64_t TILE = LANES<T> * WIDE * GROUPS;

// Calls act(0), ..., act(N - 1) with compile-time constants.
template <int64_t N, typename Act>
void each_of(const Act& act) {
    if constexpr (N > 0) each_of<N - 1>(act), act(std::integral_constant<int64_t, N - 1>());
}

// Rows of a masked layer: row r reads the columns before end(r). Ends do not decrease from row to row.
template <typename T>
struct Rows {
    const T *weight, *bias;
    int64_t stride, bias_stride;  // from row to row
    const int64_t* ends;
    int64_t ends_stride;  // 0 if all rows have the same end

    Rows from(int64_t r) const {
        return {weight + r * stride, bias + r * bias_stride, stride, bias_stride, ends + r * ends_stride, ends_stride};
    }
    int64_t end(int64_t r) const { return ends[r * ends_stride]; }
};

template <typename T>
struct Identity {
    static Vec<T> of(Vec<T> h) { return h; }
};

// R rows of one tile: out[r] = act(bias[r] + weight[r] · inputs). Masked weights, from the ends on, are not read.
template <typename T, typename Act, int64_t R>
void product(const Rows<T>& rows, const T* inputs, T* out, int64_t out_stride) {
    for (int64_t start = 0; start < TILE<T>; start += WIDE * LANES<T>) {
        Vec<T> sums[R][WIDE];
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = Vec<T>(rows.bias[r * rows.bias_stride]);
        // Adds the columns from .. to, which only the rows from `first` on read.
        const auto add = [&](auto first, int64_t from, int64_t to) {
            for (int64_t c = from; c < to; ++c) {
                Vec<T> h[WIDE];
                for (int64_t v = 0; v < WIDE; ++v) h[v] = Vec<T>::loadu(inputs + c * TILE<T> + start + v * LANES<T>);
                for (int64_t r = first(); r < R; ++r) {
                    const Vec<T> w(rows.weight[r * rows.stride + c]);
                    for (int64_t v = 0; v < WIDE; ++v) sums[r][v] = at::vec::fmadd(w, h[v], sums[r][v]);
                }
            }
        };
        add(std::integral_constant<int64_t, 0>(), 0, rows.end(0));
        each_of<R - 1>([&](auto r) {
            add(std::integral_constant<int64_t, r() + 1>(), rows.end(r()), rows.end(r() + 1));
        });
        for (int64_t r = 0; r < R; ++r)
            for (int64_t v = 0; v < WIDE; ++v)
                Act::of(sums[r][v]).store(out + r * out_stride + start + v * LANES<T>);
    }
}

// Calls act(count) with a compile-time constant, 1 .. ROWS.
template <typename Act>
void with_constant(int64_t count, const Act& act) {
    switch (count) {
        case 6: return act(std::integral_constant<int64_t, 6>());
        case 5: return act(std::integral_constant<int64_t, 5>());
        case 4: return act(std::integral_constant<int64_t, 4>());
        case 3: return act(std::integral_constant<int64_t, 3>());
        case 2: return act(std::integral_constant<int64_t, 2>());
        case 1: return act(std::integral_constant<int64_t, 1>());
    }
}

// Splits `count` rows into groups of ROWS and a rest: calls act(first row, size of the group as a constant).
template <typename Act>
void in_groups(int64_t count, const Act& act) {
    for (int64_t r = 0; r < count; r += ROWS)
        with_constant(std::min(ROWS, count - r), [&](auto group) { act(r, group); });
}

// How many of the next `count` rows go into one product: those with ends near that of the first, because a
// column that only some of these rows read keeps few registers busy.
template <typename T>
int64_t rows_per_product(const Rows<T>& rows, int64_t count) {
    count = std::min(count, ROWS);
    while (rows.end(count - 1) - rows.end(0) > NEAR) --count;
    return count;
}

template <typename T, typename Act = Identity<T>>
void products(Rows<T> rows, int64_t count, const T* inputs, T* out, int64_t out_stride = TILE<T>) {
    while (count > 0) {
        const int64_t rows_at_once = rows_per_product(rows, count);
        with_constant(rows_at_once, [&](auto group) { product<T, Act, group()>(rows, inputs, out, out_stride); });
        rows = rows.from(rows_at_once), out += rows_at_once * out_stride, count -= rows_at_once;
    }
}

}  // namespace

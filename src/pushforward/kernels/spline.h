// The rational-quadratic spline of the Python class of the same name, for one vector of points.

namespace {

template <typename T, int64_t STRIDE>
struct RationalQuadratic {
    int64_t bins;
    bool linear;
    T bound, min_slope, slope_offset, shared;
    const double* least;  // positions of the inner knots if all bins had the least width

    explicit RationalQuadratic(const double* options)
        : bins(int64_t(options[0])), linear(options[1] != 0), bound(T(options[2])), min_slope(T(options[3])),
          slope_offset(T(options[4])), shared(T(options[5])), least(options + 6) {}

    // The bin of each point: index, positions of its ends on both axes, raw slopes at its ends.
    struct Bin {
        Vec<T> index, left, right, bottom, top, raw_left, raw_right;
        Vec<T> over_x, over_y;  // reciprocal sums of the exponentials
    };

    // Replaces raw values by exp(raw - max); returns the reciprocal of their sum.
    Vec<T> exponentials(T* raw) const {
        Vec<T> most = Vec<T>::loadu(raw), sum(T(0));
        for (int64_t k = 1; k < bins; ++k) most = at::vec::maximum(most, Vec<T>::loadu(raw + k * STRIDE));
        for (int64_t k = 0; k < bins; ++k) {
            const auto e = (Vec<T>::loadu(raw + k * STRIDE) - most).exp();
            e.store(raw + k * STRIDE);
            sum = sum + e;
        }
        return Vec<T>(T(1)) / sum;
    }

    // Finds the bin of v in [0, 1] along x (axis 0) or y (axis 1). Overwrites widths and heights by exponentials.
    Bin locate(Vec<T> v, T* params, int axis) const {
        const Vec<T> zero(T(0)), one(T(1)), all(shared);
        T *widths = params, *heights = params + bins * STRIDE, *slopes = params + 2 * bins * STRIDE;
        Bin bin{zero, zero, one, zero, one, zero, zero, exponentials(widths), exponentials(heights)};
        const auto across = all * bin.over_x, up = all * bin.over_y;
        auto at_x = zero, at_y = zero, sum_x = zero, sum_y = zero;
        for (int64_t k = 0; k < bins; ++k) {
            sum_x = sum_x + Vec<T>::loadu(widths + k * STRIDE);
            sum_y = sum_y + Vec<T>::loadu(heights + k * STRIDE);
            const bool last = k + 1 == bins;
            const auto next_x = last ? one : at::vec::fmadd(across, sum_x, Vec<T>(T(least[k])));
            const auto next_y = last ? one : at::vec::fmadd(up, sum_y, Vec<T>(T(least[k])));
            const int64_t left = linear ? k : k - 1;  // with identity tails the end knots have no parameters
            const auto d_left = !linear && k == 0 ? zero : Vec<T>::loadu(slopes + left * STRIDE);
            const auto d_right = !linear && last ? zero : Vec<T>::loadu(slopes + (left + 1) * STRIDE);
            const auto here = k == 0 ? one == one : v >= (axis == 0 ? at_x : at_y);
            bin.index = choose(bin.index, Vec<T>(T(k)), here);
            bin.left = choose(bin.left, at_x, here), bin.right = choose(bin.right, next_x, here);
            bin.bottom = choose(bin.bottom, at_y, here), bin.top = choose(bin.top, next_y, here);
            bin.raw_left = choose(bin.raw_left, d_left, here), bin.raw_right = choose(bin.raw_right, d_right, here);
            at_x = next_x, at_y = next_y;
        }
        return bin;
    }

    Vec<T> slope(Vec<T> raw) const {
        const auto moved = raw + Vec<T>(slope_offset);
        const auto soft = choose(moved.exp().log1p(), moved, moved > Vec<T>(T(20)));
        return soft + Vec<T>(min_slope);
    }

    Vec<T> slope_by_raw(Vec<T> raw) const {
        const Vec<T> one(T(1));
        return one / (one + (raw + Vec<T>(slope_offset)).neg().exp());
    }

    // The rational-quadratic curve in one bin, as in `RationalQuadraticPiece`.
    struct Curve {
        Vec<T> t, mixed, mean, d0, d1, scale, share, inner, log_slope;
    };

    Curve curve(Vec<T> t, Vec<T> width, Vec<T> height, Vec<T> d0, Vec<T> d1) const {
        const Vec<T> one(T(1));
        const auto rest = one - t, mixed = t * rest, mean = height / width;
        const auto scale = at::vec::fmadd(d0 + d1 - mean - mean, mixed, mean);
        const auto share = at::vec::fmadd(mean, t * t, d0 * mixed) / scale;
        const auto inner = at::vec::fmadd(d0, rest * rest, at::vec::fmadd(d1, t * t, (mean + mean) * mixed));
        const auto ratio = mean / scale;
        return {t, mixed, mean, d0, d1, scale, share, inner, (inner * (ratio * ratio)).log()};
    }

    Vec<T> enter(Vec<T> boxed) const { return boxed / Vec<T>(2 * bound) + Vec<T>(T(0.5)); }
    Vec<T> leave(Vec<T> v) const { return v * Vec<T>(2 * bound) - Vec<T>(bound); }
    Vec<T> is_outside(Vec<T> x) const { return x.abs() >= Vec<T>(bound); }

    void forward(Vec<T> x, T* params, Vec<T>& y, Vec<T>& log_slope) const {
        const auto boxed = clamped(x, -bound, bound), u = enter(boxed);
        const auto bin = locate(u, params, 0);
        const auto width = bin.right - bin.left, height = bin.top - bin.bottom;
        const auto c = curve((u - bin.left) / width, width, height, slope(bin.raw_left), slope(bin.raw_right));
        const auto inside = leave(at::vec::fmadd(height, c.share, bin.bottom));
        y = linear ? at::vec::fmadd(x - boxed, c.log_slope.exp(), inside) : choose(inside, x, is_outside(x));
        log_slope = linear ? c.log_slope : choose(c.log_slope, Vec<T>(T(0)), is_outside(x));
    }

    // Returns the gradient of x; overwrites the parameters by their gradients.
    Vec<T> backward(Vec<T> x, T* params, Vec<T> grad_y, Vec<T> grad_log_slope) const {
        const Vec<T> zero(T(0)), one(T(1)), two(T(2)), side(2 * bound);
        const auto outside = is_outside(x), boxed = clamped(x, -bound, bound), u = enter(boxed);
        const auto bin = locate(u, params, 0);
        const auto width = bin.right - bin.left, height = bin.top - bin.bottom;
        const auto c = curve((u - bin.left) / width, width, height, slope(bin.raw_left), slope(bin.raw_right));
        const auto steepness = c.log_slope.exp();
        if (linear) {
            grad_log_slope = at::vec::fmadd(grad_y * (x - boxed), steepness, grad_log_slope);
        } else {
            grad_log_slope = choose(grad_log_slope, zero, outside);
        }
        const auto grad_v = (linear ? grad_y : choose(grad_y, zero, outside)) * side;

        // share = up / scale, log_slope = log inner + 2 log mean - 2 log scale
        const auto t = c.t, rest = one - t, turn = one - two * t;
        const auto grad_up = grad_v * height / c.scale;
        const auto grad_scale = (grad_up * c.share + two * grad_log_slope / c.scale).neg();
        const auto grad_inner = grad_log_slope / c.inner;
        const auto grad_mean = grad_up * t * t + grad_scale * (one - two * c.mixed) + grad_inner * two * c.mixed +
                             two * grad_log_slope / c.mean;
        const auto grad_d0 = (grad_up + grad_scale) * c.mixed + grad_inner * rest * rest;
        const auto grad_d1 = grad_scale * c.mixed + grad_inner * t * t;
        const auto grad_t = grad_up * (two * c.mean * t + c.d0 * turn) +
                          grad_scale * (c.d0 + c.d1 - two * c.mean) * turn +
                          grad_inner * two * (c.mean * turn + c.d1 * t - c.d0 * rest);
        const auto grad_u = grad_t / width;
        const auto grad_height = at::vec::fmadd(grad_v, c.share, grad_mean / width);
        const auto grad_width = ((grad_mean * c.mean + grad_t * t) / width).neg();

        // Positions of the knots: each is the sum of all shares before it. The last one is fixed.
        const auto inner_end = bin.index < Vec<T>(T(bins - 1));
        const auto grad_right = choose(zero, grad_width, inner_end), grad_top = choose(zero, grad_height, inner_end);
        const auto grad_left = (grad_u + grad_width).neg(), grad_bottom = grad_v - grad_height;
        shares_backward(params, bin.over_x, bin.index, grad_left + grad_right, grad_right);
        shares_backward(params + bins * STRIDE, bin.over_y, bin.index, grad_bottom + grad_top, grad_top);

        const auto raw0 = grad_d0 * slope_by_raw(bin.raw_left), raw1 = grad_d1 * slope_by_raw(bin.raw_right);
        T* slopes = params + 2 * bins * STRIDE;
        const int64_t first = linear ? 0 : 1, last = linear ? bins : bins - 1;
        for (int64_t k = first; k <= last; ++k) {
            const auto as_left = choose(zero, raw0, bin.index == Vec<T>(T(k)));
            const auto as_right = choose(zero, raw1, bin.index == Vec<T>(T(k - 1)));
            (as_left + as_right).store(slopes + (k - first) * STRIDE);
        }
        // With linear tails the ends of the box count as inside.
        return linear ? choose(grad_u / side, grad_y * steepness, x.abs() > Vec<T>(bound))
                      : choose(grad_u / side, grad_y, outside);
    }

    // Backward pass of the softmax: the gradient is `before` for shares of the bins before the point's bin, `here` for
    // the share of its bin and zero for the others.
    void shares_backward(T* shares, Vec<T> over, Vec<T> index, Vec<T> before, Vec<T> here) const {
        const Vec<T> zero(T(0)), all(shared);
        before = before * all, here = here * all;
        auto mean = zero;
        for (int64_t k = 0; k < bins; ++k) {
            const auto share = Vec<T>::loadu(shares + k * STRIDE) * over, at = Vec<T>(T(k));
            const auto grad = choose(choose(zero, here, index == at), before, index > at);
            mean = at::vec::fmadd(share, grad, mean);
        }
        for (int64_t k = 0; k < bins; ++k) {
            const auto share = Vec<T>::loadu(shares + k * STRIDE) * over, at = Vec<T>(T(k));
            const auto grad = choose(choose(zero, here, index == at), before, index > at);
            (share * (grad - mean)).store(shares + k * STRIDE);
        }
    }

    void invert(Vec<T> y, T* params, Vec<T>& x, Vec<T>* log_slope) const {
        const Vec<T> zero(T(0)), one(T(1));
        const auto outside = is_outside(y), boxed = clamped(y, -bound, bound), v = enter(boxed);
        const auto bin = locate(v, params, 1);
        const auto width = bin.right - bin.left, height = bin.top - bin.bottom, mean = height / width;
        const auto left = slope(bin.raw_left), right = slope(bin.raw_right), risen = v - bin.bottom;
        // From the nearer knot, see `_from_nearer_knot`.
        const auto upper = risen > Vec<T>(T(0.5)) * height;
        const auto climbed = choose(risen, height - risen, upper);
        const auto d0 = choose(left, right, upper), d1 = choose(right, left, upper);
        const auto curved = climbed * (d0 + d1 - mean - mean);
        const auto a = at::vec::fmadd(height, mean - d0, curved), b = height * d0 - curved, c = mean * climbed;
        // The smallest root of a t² + b t = c without cancellation; see `_quadratic_root`.
        const Vec<T> tiny(std::numeric_limits<T>::min());
        const auto root = at::vec::maximum(at::vec::fmadd(Vec<T>(T(4)) * a, c, b * b), tiny).sqrt();
        const auto other = at::vec::maximum(b.neg(), zero) / root;
        auto t = at::vec::fmadd(other, root - b, c + c) / at::vec::fmadd(other + other, a, root + b);
        t = clamped(t, 0.0, 1.0);
        if (linear) t = choose(t, zero, outside);  // the slope exactly at the end knot, free of rounding
        const auto inside = leave(at::vec::fmadd(choose(t, one - t, upper), width, bin.left));
        const auto end = choose(left, right, v > Vec<T>(T(0.5)));  // the slope there, with linear tails
        x = choose(inside, linear ? boxed + (y - boxed) / end : y, outside);
        if (log_slope == nullptr) return;
        const auto falling = curve(t, width, height, d0, d1).log_slope.neg();
        *log_slope = linear ? falling : choose(falling, zero, outside);
    }

    Vec<T> inverse(Vec<T> y, T* params) const {
        Vec<T> x;
        invert(y, params, x, nullptr);
        return x;
    }
};

}  // namespace

// The rational-quadratic spline of the Python class of the same name, for one vector of points.

namespace {

template <typename T, int64_t STRIDE>
struct RationalQuadratic {
    int64_t bins;
    bool linear;
    T bound, min_slope, slope_offset, free_width;
    const double* least;  // positions of the inner knots if all bins had the least width

    explicit RationalQuadratic(const double* options)
        : bins(int64_t(options[0])), linear(options[1] != 0), bound(T(options[2])), min_slope(T(options[3])),
          slope_offset(T(options[4])), free_width(T(options[5])), least(options + 6) {}

    // The bin of each point: index, positions of its ends on both axes, raw slopes at its ends.
    struct Bin {
        Vec<T> index, left, right, bottom, top, raw_left, raw_right;
        Vec<T> inv_sum_x, inv_sum_y;  // reciprocal sums of the exponentials
    };

    // Replaces raw values by exp(raw - max); returns the reciprocal of their sum.
    Vec<T> exponentials(T* raw) const {
        Vec<T> max_raw = Vec<T>::loadu(raw), sum(T(0));
        for (int64_t k = 1; k < bins; ++k) max_raw = at::vec::maximum(max_raw, Vec<T>::loadu(raw + k * STRIDE));
        for (int64_t k = 0; k < bins; ++k) {
            const auto e = (Vec<T>::loadu(raw + k * STRIDE) - max_raw).exp();
            e.store(raw + k * STRIDE);
            sum = sum + e;
        }
        return Vec<T>(T(1)) / sum;
    }

    // Finds the bin of v in [0, 1] along x (axis 0) or y (axis 1). Overwrites widths and heights by exponentials.
    Bin locate(Vec<T> v, T* params, int axis) const {
        const Vec<T> zero(T(0)), one(T(1)), free_width_v(free_width);
        T *widths = params, *heights = params + bins * STRIDE, *slopes = params + 2 * bins * STRIDE;
        Bin bin{zero, zero, one, zero, one, zero, zero, exponentials(widths), exponentials(heights)};
        const auto across = free_width_v * bin.inv_sum_x, up = free_width_v * bin.inv_sum_y;
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
        Vec<T> t, t_rest, mean, d0, d1, denominator, fraction, numerator, log_slope;
    };

    Curve curve(Vec<T> t, Vec<T> width, Vec<T> height, Vec<T> d0, Vec<T> d1) const {
        const Vec<T> one(T(1));
        const auto one_minus_t = one - t, t_rest = t * one_minus_t, mean = height / width;
        const auto denominator = at::vec::fmadd(d0 + d1 - mean - mean, t_rest, mean);
        const auto fraction = at::vec::fmadd(mean, t * t, d0 * t_rest) / denominator;
        const auto numerator =
            at::vec::fmadd(d0, one_minus_t * one_minus_t, at::vec::fmadd(d1, t * t, (mean + mean) * t_rest));
        const auto ratio = mean / denominator;
        return {t, t_rest, mean, d0, d1, denominator, fraction, numerator, (numerator * (ratio * ratio)).log()};
    }

    Vec<T> to_box(Vec<T> boxed) const { return boxed / Vec<T>(2 * bound) + Vec<T>(T(0.5)); }
    Vec<T> from_box(Vec<T> v) const { return v * Vec<T>(2 * bound) - Vec<T>(bound); }
    Vec<T> is_outside(Vec<T> x) const { return x.abs() >= Vec<T>(bound); }

    void forward(Vec<T> x, T* params, Vec<T>& y, Vec<T>& log_slope) const {
        const auto boxed = clamped(x, -bound, bound), u = to_box(boxed);
        const auto bin = locate(u, params, 0);
        const auto width = bin.right - bin.left, height = bin.top - bin.bottom;
        const auto c = curve((u - bin.left) / width, width, height, slope(bin.raw_left), slope(bin.raw_right));
        const auto inside = from_box(at::vec::fmadd(height, c.fraction, bin.bottom));
        y = linear ? at::vec::fmadd(x - boxed, c.log_slope.exp(), inside) : choose(inside, x, is_outside(x));
        log_slope = linear ? c.log_slope : choose(c.log_slope, Vec<T>(T(0)), is_outside(x));
    }

    // Returns the gradient of x; overwrites the parameters by their gradients.
    Vec<T> backward(Vec<T> x, T* params, Vec<T> grad_y, Vec<T> grad_log_slope) const {
        const Vec<T> zero(T(0)), one(T(1)), two(T(2)), side(2 * bound);
        const auto outside = is_outside(x), boxed = clamped(x, -bound, bound), u = to_box(boxed);
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

        // fraction = up / denominator, log_slope = log numerator + 2 log mean - 2 log denominator
        const auto t = c.t, one_minus_t = one - t, turn = one - two * t;
        const auto grad_up = grad_v * height / c.denominator;
        const auto grad_denominator = (grad_up * c.fraction + two * grad_log_slope / c.denominator).neg();
        const auto grad_numerator = grad_log_slope / c.numerator;
        const auto grad_mean = grad_up * t * t + grad_denominator * (one - two * c.t_rest) +
                             grad_numerator * two * c.t_rest +
                             two * grad_log_slope / c.mean;
        const auto grad_d0 = (grad_up + grad_denominator) * c.t_rest + grad_numerator * one_minus_t * one_minus_t;
        const auto grad_d1 = grad_denominator * c.t_rest + grad_numerator * t * t;
        const auto grad_t = grad_up * (two * c.mean * t + c.d0 * turn) +
                          grad_denominator * (c.d0 + c.d1 - two * c.mean) * turn +
                          grad_numerator * two * (c.mean * turn + c.d1 * t - c.d0 * one_minus_t);
        const auto grad_u = grad_t / width;
        const auto grad_height = at::vec::fmadd(grad_v, c.fraction, grad_mean / width);
        const auto grad_width = ((grad_mean * c.mean + grad_t * t) / width).neg();

        // Positions of the knots: each is the sum of all probabilities before it, scaled. The last one is fixed.
        const auto inner_end = bin.index < Vec<T>(T(bins - 1));
        const auto grad_right = choose(zero, grad_width, inner_end), grad_top = choose(zero, grad_height, inner_end);
        const auto grad_left = (grad_u + grad_width).neg(), grad_bottom = grad_v - grad_height;
        softmax_backward(params, bin.inv_sum_x, bin.index, grad_left + grad_right, grad_right);
        softmax_backward(params + bins * STRIDE, bin.inv_sum_y, bin.index, grad_bottom + grad_top, grad_top);

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

    // Backward pass of the softmax: the gradient is `before` for probabilities of the bins before the point's bin,
    // `here` for that of its bin and zero for the others.
    void softmax_backward(T* exps, Vec<T> inv_sum, Vec<T> index, Vec<T> before, Vec<T> here) const {
        const Vec<T> zero(T(0)), free_width_v(free_width);
        before = before * free_width_v, here = here * free_width_v;
        auto mean = zero;
        for (int64_t k = 0; k < bins; ++k) {
            const auto prob = Vec<T>::loadu(exps + k * STRIDE) * inv_sum, at = Vec<T>(T(k));
            const auto grad = choose(choose(zero, here, index == at), before, index > at);
            mean = at::vec::fmadd(prob, grad, mean);
        }
        for (int64_t k = 0; k < bins; ++k) {
            const auto prob = Vec<T>::loadu(exps + k * STRIDE) * inv_sum, at = Vec<T>(T(k));
            const auto grad = choose(choose(zero, here, index == at), before, index > at);
            (prob * (grad - mean)).store(exps + k * STRIDE);
        }
    }

    void invert(Vec<T> y, T* params, Vec<T>& x, Vec<T>* log_slope) const {
        const Vec<T> zero(T(0)), one(T(1));
        const auto outside = is_outside(y), boxed = clamped(y, -bound, bound), v = to_box(boxed);
        const auto bin = locate(v, params, 1);
        const auto width = bin.right - bin.left, height = bin.top - bin.bottom, mean = height / width;
        const auto left = slope(bin.raw_left), right = slope(bin.raw_right), dy_from_bottom = v - bin.bottom;
        // From the nearer knot, see `_from_nearer_knot`.
        const auto from_upper = dy_from_bottom > Vec<T>(T(0.5)) * height;
        const auto dy = choose(dy_from_bottom, height - dy_from_bottom, from_upper);
        const auto d0 = choose(left, right, from_upper), d1 = choose(right, left, from_upper);
        const auto dy_curvature = dy * (d0 + d1 - mean - mean);
        const auto a = at::vec::fmadd(height, mean - d0, dy_curvature), b = height * d0 - dy_curvature, c = mean * dy;
        // The smallest root of a t² + b t = c without cancellation; see `_quadratic_root`.
        const Vec<T> tiny(std::numeric_limits<T>::min());
        const auto root = at::vec::maximum(at::vec::fmadd(Vec<T>(T(4)) * a, c, b * b), tiny).sqrt();
        const auto k = at::vec::maximum(b.neg(), zero) / root;
        auto t = at::vec::fmadd(k, root - b, c + c) / at::vec::fmadd(k + k, a, root + b);
        t = clamped(t, 0.0, 1.0);
        if (linear) t = choose(t, zero, outside);  // the slope exactly at the end knot, free of rounding
        const auto inside = from_box(at::vec::fmadd(choose(t, one - t, from_upper), width, bin.left));
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

"""The rational-quadratic spline as Triton kernels, for points in the memory of a GPU.

The formulas are those of `univariate.spline_pieces` and of `spline.h`. A program takes a block of points, with all bins
of each beside each other; nothing but points and parameters is read, and nothing but results is written. With
``TRITON_INTERPRET=1`` in the environment before the first import, the same kernels run on the CPU, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language import constexpr

__all__ = ["launch"]

BLOCK = 128  # points of a program


@triton.jit
def _softplus(v):
    """log(1 + exp v), to the last digits also where it is small."""
    e = tl.exp(tl.minimum(v, 20.0))
    one_more = 1.0 + e
    gained = one_more - 1.0
    small = tl.where(gained == 0.0, e, tl.log(one_more) * (e / tl.where(gained == 0.0, 1.0, gained)))
    return tl.where(v > 20.0, v, small)


@triton.jit
def _clamp(v, bound: constexpr, BLOCK: constexpr):
    """v held in [-bound, bound], whose ends have all digits of v; what is not a number stays."""
    end = tl.full((BLOCK,), bound, v.dtype)
    return tl.where(v > end, end, tl.where(v < -end, -end, v))


@triton.jit
def _probs(raw, point, n, valid, k, BINS: constexpr):
    """Softmax over the bins, (bins, points)."""
    at = raw + k[:, None] * n + point[None, :]
    raw = tl.load(at, mask=(k < BINS)[:, None] & valid[None, :], other=-float("inf"))
    raw = tl.where(valid[None, :], raw, 0.0)
    e = tl.exp(raw - tl.max(raw, axis=0)[None, :])
    e = tl.where((k < BINS)[:, None], e, 0.0)
    return e / tl.sum(e, axis=0)[None, :]


@triton.jit
def _ends(probs, k, min_bin, free_width, BINS: constexpr):
    """Where each bin ends, (bins, points); the last one at 1 exactly."""
    ends = (k + 1).to(probs.dtype)[:, None] * min_bin + free_width * tl.cumsum(probs, axis=0)
    return tl.where((k >= BINS - 1)[:, None], 1.0, ends)


@triton.jit
def _pick(values, k, index):
    """For each point the value of its bin; nothing where there is no such bin."""
    return tl.sum(tl.where(k[:, None] == index[None, :], values, 0.0), axis=0)


@triton.jit
def _raw_slope(raw, knot, point, n, valid, BINS: constexpr, LINEAR: constexpr):
    """The parameter of the slope at a knot, 0 .. BINS; with identity tails those at the ends have none."""
    if LINEAR:
        return tl.load(raw + knot * n + point, mask=valid, other=0.0)
    is_inner = valid & (knot > 0) & (knot < BINS)
    return tl.load(raw + (knot - 1) * n + point, mask=is_inner, other=0.0)


@triton.jit
def _bin(place, params, point, n, valid, min_bin, free_width, min_slope, offset, k,
         BINS: constexpr, LINEAR: constexpr, AXIS: constexpr):  # fmt: skip
    """The bin of each point along x (axis 0) or y (axis 1), and all that belongs to it."""
    across = _probs(params, point, n, valid, k, BINS)
    up = _probs(params + BINS * n, point, n, valid, k, BINS)
    ends_x, ends_y = _ends(across, k, min_bin, free_width, BINS), _ends(up, k, min_bin, free_width, BINS)
    searched = ends_x if AXIS == 0 else ends_y
    passed = (place[None, :] >= searched) & (k < BINS - 1)[:, None]
    index = tl.sum(passed.to(tl.int32), axis=0)
    left, right = _pick(ends_x, k, index - 1), _pick(ends_x, k, index)
    bottom, top = _pick(ends_y, k, index - 1), _pick(ends_y, k, index)
    slopes = params + 2 * BINS * n
    raw_left = _raw_slope(slopes, index, point, n, valid, BINS, LINEAR) + offset
    raw_right = _raw_slope(slopes, index + 1, point, n, valid, BINS, LINEAR) + offset
    d0, d1 = _softplus(raw_left) + min_slope, _softplus(raw_right) + min_slope
    return across, up, index, left, right - left, bottom, top - bottom, raw_left, raw_right, d0, d1


@triton.jit
def _curve(t, width, height, d0, d1):
    """(fraction of the height, log-slope, denominator, numerator of the slope) at t in one bin."""
    one_minus_t, mean = 1.0 - t, height / width
    t_rest = t * one_minus_t
    denominator = mean + (d0 + d1 - 2.0 * mean) * t_rest
    fraction = (mean * t * t + d0 * t_rest) / denominator
    numerator = d0 * one_minus_t * one_minus_t + d1 * t * t + 2.0 * mean * t_rest
    ratio = mean / denominator
    return fraction, tl.log(numerator * ratio * ratio), denominator, numerator


@triton.jit
def _forward(x_at, params, y_at, log_slope_at, n,
             bound: constexpr, min_bin: constexpr, free_width: constexpr, min_slope: constexpr, offset: constexpr,
             BINS: constexpr, WIDE: constexpr, LINEAR: constexpr, BLOCK: constexpr):  # fmt: skip
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid, k = point < n, tl.arange(0, WIDE)
    x = tl.load(x_at + point, mask=valid, other=0.0)
    boxed = _clamp(x, bound, BLOCK)
    u = boxed / (2.0 * bound) + 0.5
    _, _, _, left, width, bottom, height, _, _, d0, d1 = _bin(
        u, params, point, n, valid, min_bin, free_width, min_slope, offset, k, BINS, LINEAR, 0
    )
    fraction, log_slope, _, _ = _curve((u - left) / width, width, height, d0, d1)
    y = (bottom + height * fraction) * (2.0 * bound) - bound
    if LINEAR:
        y += (x - boxed) * tl.exp(log_slope)
    else:
        outside = tl.abs(x) >= bound
        y, log_slope = tl.where(outside, x, y), tl.where(outside, 0.0, log_slope)
    tl.store(y_at + point, y, mask=valid)
    tl.store(log_slope_at + point, log_slope, mask=valid)


@triton.jit
def _inverse(y_at, params, x_at, log_slope_at, n,
             bound: constexpr, min_bin: constexpr, free_width: constexpr, min_slope: constexpr, offset: constexpr,
             tiny: constexpr, BINS: constexpr, WIDE: constexpr, LINEAR: constexpr, BLOCK: constexpr):  # fmt: skip
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid, k = point < n, tl.arange(0, WIDE)
    y = tl.load(y_at + point, mask=valid, other=0.0)
    outside = tl.abs(y) >= bound
    boxed = _clamp(y, bound, BLOCK)
    v = boxed / (2.0 * bound) + 0.5
    _, _, _, left, width, bottom, height, _, _, d_left, d_right = _bin(
        v, params, point, n, valid, min_bin, free_width, min_slope, offset, k, BINS, LINEAR, 1
    )
    # From the nearer knot, as in `_from_nearer_knot`.
    from_upper = v - bottom > 0.5 * height
    d0, d1 = tl.where(from_upper, d_right, d_left), tl.where(from_upper, d_left, d_right)
    # The smallest root of a t² + b t = c without differences of close numbers, as in `spline_pieces`.
    dy, mean = tl.where(from_upper, height - (v - bottom), v - bottom), height / width
    dy_curvature = dy * (d0 + d1 - 2.0 * mean)
    a, b, c = height * (mean - d0) + dy_curvature, height * d0 - dy_curvature, mean * dy
    root = tl.sqrt(tl.maximum(b * b + 4.0 * a * c, tiny))
    weight = tl.maximum(-b, 0.0) / root
    t = (weight * (root - b) + 2.0 * c) / (2.0 * weight * a + root + b)
    t = tl.where(t != t, t, tl.minimum(tl.maximum(t, 0.0), 1.0))
    if LINEAR:
        t = tl.where(outside, 0.0, t)
    _, log_slope, _, _ = _curve(t, width, height, d0, d1)
    inside = (left + tl.where(from_upper, 1.0 - t, t) * width) * (2.0 * bound) - bound
    if LINEAR:
        x = tl.where(outside, boxed + (y - boxed) / tl.where(v > 0.5, d_right, d_left), inside)
    else:
        x, log_slope = tl.where(outside, y, inside), tl.where(outside, 0.0, log_slope)
    tl.store(x_at + point, x, mask=valid)
    tl.store(log_slope_at + point, -log_slope, mask=valid)


@triton.jit
def _softmax_backward(out, probs, index, before, here, point, n, valid, k, BINS: constexpr):
    """Backward pass of the softmax. The gradient is ``before`` for the probabilities of bins before the point's bin,
    ``here`` for that of its bin, zero for later bins."""
    grad_raw = tl.where(k[:, None] < index[None, :], before[None, :], 0.0)
    grad_raw = tl.where(k[:, None] == index[None, :], here[None, :], grad_raw)
    mean = tl.sum(probs * grad_raw, axis=0)
    at = out + k[:, None] * n + point[None, :]
    tl.store(at, probs * (grad_raw - mean[None, :]), mask=(k < BINS)[:, None] & valid[None, :])


@triton.jit
def _backward(x_at, params, grad_y_at, grad_log_slope_at, grad_x_at, grad_params, n,
              bound: constexpr, min_bin: constexpr, free_width: constexpr, min_slope: constexpr, offset: constexpr,
              BINS: constexpr, WIDE: constexpr, LINEAR: constexpr, BLOCK: constexpr):  # fmt: skip
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid, k = point < n, tl.arange(0, WIDE)
    x = tl.load(x_at + point, mask=valid, other=0.0)
    grad_y = tl.load(grad_y_at + point, mask=valid, other=0.0)
    grad_log_slope = tl.load(grad_log_slope_at + point, mask=valid, other=0.0)
    outside = tl.abs(x) >= bound
    boxed = _clamp(x, bound, BLOCK)
    u = boxed / (2.0 * bound) + 0.5
    across, up, index, left, width, _, height, raw_left, raw_right, d0, d1 = _bin(
        u, params, point, n, valid, min_bin, free_width, min_slope, offset, k, BINS, LINEAR, 0
    )
    t = (u - left) / width
    fraction, log_slope, denominator, numerator = _curve(t, width, height, d0, d1)
    steepness, grad_inside = tl.exp(log_slope), grad_y
    if LINEAR:
        grad_log_slope += grad_y * (x - boxed) * steepness
    else:
        grad_log_slope, grad_inside = tl.where(outside, 0.0, grad_log_slope), tl.where(outside, 0.0, grad_y)
    grad_v = grad_inside * (2.0 * bound)

    # fraction = up / denominator, log_slope = log numerator + 2 log mean - 2 log denominator
    mean, one_minus_t, turn, t_rest = height / width, 1.0 - t, 1.0 - 2.0 * t, t * (1.0 - t)
    grad_up = grad_v * height / denominator
    grad_denominator = -(grad_up * fraction + 2.0 * grad_log_slope / denominator)
    grad_numerator = grad_log_slope / numerator
    grad_mean = (
        grad_up * t * t
        + grad_denominator * (1.0 - 2.0 * t_rest)
        + 2.0 * (grad_numerator * t_rest + grad_log_slope / mean)
    )
    grad_d0 = (grad_up + grad_denominator) * t_rest + grad_numerator * one_minus_t * one_minus_t
    grad_d1 = grad_denominator * t_rest + grad_numerator * t * t
    grad_t = grad_up * (2.0 * mean * t + d0 * turn) + grad_denominator * (d0 + d1 - 2.0 * mean) * turn
    grad_t += 2.0 * grad_numerator * (mean * turn + d1 * t - d0 * one_minus_t)
    grad_u = grad_t / width
    grad_height, grad_width = grad_v * fraction + grad_mean / width, -(grad_mean * mean + grad_t * t) / width

    # Places of the knots: each is the sum of all probabilities before it, scaled. The last one is not learned.
    ends_inside = index < BINS - 1
    grad_right, grad_top = tl.where(ends_inside, grad_width, 0.0), tl.where(ends_inside, grad_height, 0.0)
    grad_left, grad_bottom = -(grad_u + grad_width), grad_v - grad_height
    _softmax_backward(
        grad_params,
        across,
        index,
        free_width * (grad_left + grad_right),
        free_width * grad_right,
        point,
        n,
        valid,
        k,
        BINS,
    )
    _softmax_backward(
        grad_params + BINS * n,
        up,
        index,
        free_width * (grad_bottom + grad_top),
        free_width * grad_top,
        point,
        n,
        valid,
        k,
        BINS,
    )
    grad_raw0, grad_raw1 = grad_d0 / (1.0 + tl.exp(-raw_left)), grad_d1 / (1.0 + tl.exp(-raw_right))
    slopes = grad_params + 2 * BINS * n
    first = 0 if LINEAR else 1  # the first knot whose slope has a parameter
    last = BINS if LINEAR else BINS - 1
    for knot in range(first, last + 1):
        grad_raw = tl.where(index == knot, grad_raw0, 0.0) + tl.where(index + 1 == knot, grad_raw1, 0.0)
        tl.store(slopes + (knot - first) * n + point, grad_raw, mask=valid)
    if LINEAR:
        grad_x = tl.where(tl.abs(x) > bound, grad_y * steepness, grad_u / (2.0 * bound))
    else:
        grad_x = tl.where(outside, grad_y, grad_u / (2.0 * bound))
    tl.store(grad_x_at + point, grad_x, mask=valid)


_KERNELS: dict[str, Any] = {"forward": _forward, "inverse": _inverse, "backward": _backward}


def launch(name: str, options: Sequence[float], params: Tensor, **tensors: Tensor) -> None:
    """Run ``"forward"`` (x, y, log_slope), ``"inverse"`` (y, x, -log_slope) or ``"backward"`` (x, grad_y,
    grad_log_slope, grad_x, grad_params).

    Tensors are contiguous and in this order, params (num_params, *s), with options as in `spline.h`.
    """
    bins, linear, bound, min_slope, offset, free_width = options[:6]
    x, *others = tensors.values()
    numbers = [bound, (1 - free_width) / bins, free_width, min_slope, offset]
    if name == "inverse":
        numbers.append(torch.finfo(params.dtype).tiny)
    count, wide = x.numel(), triton.next_power_of_2(int(bins))
    with torch.cuda.device_of(x):  # kernels start on the device that is set, wherever their tensors are
        _KERNELS[name][triton.cdiv(count, BLOCK),](
            x, params, *others, count, *numbers, BINS=int(bins), WIDE=wide, LINEAR=bool(linear), BLOCK=BLOCK
        )

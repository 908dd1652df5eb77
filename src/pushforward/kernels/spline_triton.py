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
def _shares(raw, point, n, valid, k, BINS: constexpr):
    """Softmax over the bins, (bins, points)."""
    at = raw + k[:, None] * n + point[None, :]
    raw = tl.load(at, mask=(k < BINS)[:, None] & valid[None, :], other=-float("inf"))
    raw = tl.where(valid[None, :], raw, 0.0)
    e = tl.exp(raw - tl.max(raw, axis=0)[None, :])
    e = tl.where((k < BINS)[:, None], e, 0.0)
    return e / tl.sum(e, axis=0)[None, :]


@triton.jit
def _ends(shares, k, min_bin, shared, BINS: constexpr):
    """Where each bin ends, (bins, points); the last one at 1 exactly."""
    ends = (k + 1).to(shares.dtype)[:, None] * min_bin + shared * tl.cumsum(shares, axis=0)
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
    inner = valid & (knot > 0) & (knot < BINS)
    return tl.load(raw + (knot - 1) * n + point, mask=inner, other=0.0)


@triton.jit
def _bin(place, params, point, n, valid, min_bin, shared, min_slope, offset, k,
         BINS: constexpr, LINEAR: constexpr, AXIS: constexpr):  # fmt: skip
    """The bin of each point along x (axis 0) or y (axis 1), and all that belongs to it."""
    across = _shares(params, point, n, valid, k, BINS)
    up = _shares(params + BINS * n, point, n, valid, k, BINS)
    ends_x, ends_y = _ends(across, k, min_bin, shared, BINS), _ends(up, k, min_bin, shared, BINS)
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
    """(share of the height, log-slope, denominator, numerator of the slope) at t in one bin."""
    rest, mean = 1.0 - t, height / width
    mixed = t * rest
    scale = mean + (d0 + d1 - 2.0 * mean) * mixed
    share = (mean * t * t + d0 * mixed) / scale
    inner = d0 * rest * rest + d1 * t * t + 2.0 * mean * mixed
    ratio = mean / scale
    return share, tl.log(inner * ratio * ratio), scale, inner


@triton.jit
def _forward(x_at, params, y_at, log_slope_at, n,
             bound: constexpr, min_bin: constexpr, shared: constexpr, min_slope: constexpr, offset: constexpr,
             BINS: constexpr, WIDE: constexpr, LINEAR: constexpr, BLOCK: constexpr):  # fmt: skip
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid, k = point < n, tl.arange(0, WIDE)
    x = tl.load(x_at + point, mask=valid, other=0.0)
    boxed = _clamp(x, bound, BLOCK)
    u = boxed / (2.0 * bound) + 0.5
    _, _, _, left, width, bottom, height, _, _, d0, d1 = _bin(
        u, params, point, n, valid, min_bin, shared, min_slope, offset, k, BINS, LINEAR, 0
    )
    share, log_slope, _, _ = _curve((u - left) / width, width, height, d0, d1)
    y = (bottom + height * share) * (2.0 * bound) - bound
    if LINEAR:
        y += (x - boxed) * tl.exp(log_slope)
    else:
        outside = tl.abs(x) >= bound
        y, log_slope = tl.where(outside, x, y), tl.where(outside, 0.0, log_slope)
    tl.store(y_at + point, y, mask=valid)
    tl.store(log_slope_at + point, log_slope, mask=valid)


@triton.jit
def _inverse(y_at, params, x_at, log_slope_at, n,
             bound: constexpr, min_bin: constexpr, shared: constexpr, min_slope: constexpr, offset: constexpr,
             tiny: constexpr, BINS: constexpr, WIDE: constexpr, LINEAR: constexpr, BLOCK: constexpr):  # fmt: skip
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid, k = point < n, tl.arange(0, WIDE)
    y = tl.load(y_at + point, mask=valid, other=0.0)
    outside = tl.abs(y) >= bound
    boxed = _clamp(y, bound, BLOCK)
    v = boxed / (2.0 * bound) + 0.5
    _, _, _, left, width, bottom, height, _, _, d_left, d_right = _bin(
        v, params, point, n, valid, min_bin, shared, min_slope, offset, k, BINS, LINEAR, 1
    )
    # From the nearer knot, as in `spline`.
    upper = v - bottom > 0.5 * height
    d0, d1 = tl.where(upper, d_right, d_left), tl.where(upper, d_left, d_right)
    # The smallest root of a t² + b t = c without differences of close numbers, as in `spline_pieces`.
    climbed, mean = tl.where(upper, height - (v - bottom), v - bottom), height / width
    bent = climbed * (d0 + d1 - 2.0 * mean)
    a, b, c = height * (mean - d0) + bent, height * d0 - bent, mean * climbed
    root = tl.sqrt(tl.maximum(b * b + 4.0 * a * c, tiny))
    other = tl.maximum(-b, 0.0) / root
    t = (other * (root - b) + 2.0 * c) / (2.0 * other * a + root + b)
    t = tl.where(t != t, t, tl.minimum(tl.maximum(t, 0.0), 1.0))
    if LINEAR:
        t = tl.where(outside, 0.0, t)
    _, log_slope, _, _ = _curve(t, width, height, d0, d1)
    inside = (left + tl.where(upper, 1.0 - t, t) * width) * (2.0 * bound) - bound
    if LINEAR:
        x = tl.where(outside, boxed + (y - boxed) / tl.where(v > 0.5, d_right, d_left), inside)
    else:
        x, log_slope = tl.where(outside, y, inside), tl.where(outside, 0.0, log_slope)
    tl.store(x_at + point, x, mask=valid)
    tl.store(log_slope_at + point, -log_slope, mask=valid)


@triton.jit
def _send_to_shares(out, shares, index, before, here, point, n, valid, k, BINS: constexpr):
    """Through the softmax: ``before`` reaches the shares before the point's raw bin, ``here`` its raw."""
    grad_raw = tl.where(k[:, None] < index[None, :], before[None, :], 0.0)
    grad_raw = tl.where(k[:, None] == index[None, :], here[None, :], grad_raw)
    mean = tl.sum(shares * grad_raw, axis=0)
    at = out + k[:, None] * n + point[None, :]
    tl.store(at, shares * (grad_raw - mean[None, :]), mask=(k < BINS)[:, None] & valid[None, :])


@triton.jit
def _backward(x_at, params, grad_y_at, grad_log_slope_at, grad_x_at, grad_params, n,
              bound: constexpr, min_bin: constexpr, shared: constexpr, min_slope: constexpr, offset: constexpr,
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
        u, params, point, n, valid, min_bin, shared, min_slope, offset, k, BINS, LINEAR, 0
    )
    t = (u - left) / width
    share, log_slope, scale, inner = _curve(t, width, height, d0, d1)
    steepness, grad_inside = tl.exp(log_slope), grad_y
    if LINEAR:
        grad_log_slope += grad_y * (x - boxed) * steepness
    else:
        grad_log_slope, grad_inside = tl.where(outside, 0.0, grad_log_slope), tl.where(outside, 0.0, grad_y)
    grad_v = grad_inside * (2.0 * bound)

    # share = up / scale, log_slope = log inner + 2 log mean - 2 log scale
    mean, rest, turn, mixed = height / width, 1.0 - t, 1.0 - 2.0 * t, t * (1.0 - t)
    grad_up = grad_v * height / scale
    grad_scale = -(grad_up * share + 2.0 * grad_log_slope / scale)
    grad_inner = grad_log_slope / inner
    grad_mean = grad_up * t * t + grad_scale * (1.0 - 2.0 * mixed) + 2.0 * (grad_inner * mixed + grad_log_slope / mean)
    grad_d0 = (grad_up + grad_scale) * mixed + grad_inner * rest * rest
    grad_d1 = grad_scale * mixed + grad_inner * t * t
    grad_t = grad_up * (2.0 * mean * t + d0 * turn) + grad_scale * (d0 + d1 - 2.0 * mean) * turn
    grad_t += 2.0 * grad_inner * (mean * turn + d1 * t - d0 * rest)
    grad_u = grad_t / width
    grad_height, grad_width = grad_v * share + grad_mean / width, -(grad_mean * mean + grad_t * t) / width

    # Places of the knots: each is the sum of all shares before it. The last one is not learned.
    ends_inside = index < BINS - 1
    grad_right, grad_top = tl.where(ends_inside, grad_width, 0.0), tl.where(ends_inside, grad_height, 0.0)
    grad_left, grad_bottom = -(grad_u + grad_width), grad_v - grad_height
    _send_to_shares(
        grad_params, across, index, shared * (grad_left + grad_right), shared * grad_right, point, n, valid, k, BINS
    )
    _send_to_shares(
        grad_params + BINS * n,
        up,
        index,
        shared * (grad_bottom + grad_top),
        shared * grad_top,
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
    bins, linear, bound, min_slope, offset, shared = options[:6]
    x, *others = tensors.values()
    numbers = [bound, (1 - shared) / bins, shared, min_slope, offset]
    if name == "inverse":
        numbers.append(torch.finfo(params.dtype).tiny)
    count, wide = x.numel(), triton.next_power_of_2(int(bins))
    with torch.cuda.device_of(x):  # kernels start on the device that is set, wherever their tensors are
        _KERNELS[name][triton.cdiv(count, BLOCK),](
            x, params, *others, count, *numbers, BINS=int(bins), WIDE=wide, LINEAR=bool(linear), BLOCK=BLOCK
        )

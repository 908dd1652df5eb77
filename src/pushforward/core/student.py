r"""Density, distribution function and quantiles of Student's t, for any real degrees of freedom and far out in the
tails.

With :math:`y = \sqrt{\nu \log(1 + t^2 / \nu)}` the tail is nearly that of a normal, with a smooth factor:

.. math:: P(T > t) = \frac{e^{-y^2/2}}{2} \frac{E(y)}{E(0)}, \qquad
   E(y) = \int_0^\infty e^{-y s - s^2/2}\, h\bigl((y + s)^2 / \nu\bigr) ds, \qquad h(v) = \sqrt{v / (1 - e^{-v})}

Gauss-Legendre quadrature on the stretch that carries the mass gives log P to 10⁻¹³ in float64 for ν ≥ 0.1, to 10⁻⁹
for ν ≥ 0.001, without a gamma or beta function; P(T > 0) is 1/2 exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.core.numerics import attach_root_gradients
from pushforward.core.quadrature import gauss_legendre
from pushforward.core.special import expm1_ratio, log1p_over, log_gamma_half_step, polynomial

__all__ = ["log1p_square", "student_cdf", "student_icdf", "student_log_density"]

LOG_HALF = math.log(0.5)
NEAR = 0.05  # below, h is its Taylor series: eight terms reach float64's rounding
FACTOR_SERIES = [1, 1 / 4, 1 / 96, -1 / 384, -1 / 10240, 19 / 368640, 79 / 61931520, -55 / 49545216]


NODES, WEIGHTS = gauss_legendre(64)


def log1p_square(x: Tensor, log_df: Tensor) -> Tensor:
    """log(1 + x²/ν) also for |x| so large that x² overflows: 2 log|x| - log ν there."""
    df, size = log_df.exp(), x.abs()
    far = size > 1e3 * df.sqrt().clamp(min=1.0) / math.sqrt(torch.finfo(x.dtype).eps)
    near = torch.log1p(torch.where(far, 0.0, x).square() / df)
    return torch.where(far, 2 * torch.where(far, size, 1.0).log() - log_df, near)


def student_log_density(x: Tensor, log_df: Tensor) -> Tensor:
    r"""log-density of x at ν = exp(log_df); value and gradients keep their digits as ν grows; shapes broadcast.

    .. math:: -\tfrac12 \log 2\pi + \log\frac{\Gamma((\nu + 1) / 2)}{\Gamma(\nu / 2) \sqrt{\nu / 2}}
        - \frac{\nu + 1}{2} \log(1 + x^2 / \nu)
    """
    df = log_df.exp()
    rate, far = 1 / df, _overflows(x)
    # ν log(1 + x²/ν) as log(1 + p x²) / p with p = 1 / ν: the derivative of the product in ν would be the difference of
    # two numbers of the size of x², which is about x⁴ / ν.
    near = log1p_over(torch.where(far, 0.0, x).square(), rate)
    growth = torch.where(far, df * log1p_square(torch.where(far, x, 0.0), log_df), near)
    norm = log_gamma_half_step(0.5 * df) - 0.5 * math.log(2 * math.pi)
    return norm - 0.5 * (1 + rate) * growth


def _overflows(x: Tensor) -> Tensor:
    """Whether x² may leave the dtype, also divided by a small ν."""
    return x.abs() > 1e-4 * torch.finfo(x.dtype).max ** 0.5


def student_cdf(x: Tensor, log_df: Tensor) -> Tensor:
    """P(T ≤ x) at ν = exp(log_df), with full relative accuracy in the lower tail; shapes broadcast."""
    df = log_df.exp()
    size = torch.where(x < 0, -x, x)  # not abs: at zero its gradient would be zero
    far = _overflows(x)
    near = torch.where(far, 0.0, size)
    y = near * log1p_over(torch.ones_like(near), near.square() / df).sqrt()
    y = torch.where(far, (df * log1p_square(torch.where(far, size, 1.0), log_df)).sqrt(), y)
    tail = torch.exp(LOG_HALF - _minus_log_twice_tail(y, df)[0])
    return torch.where(x < 0, tail, 1 - tail)


def student_icdf(u: Tensor, log_df: Tensor) -> Tensor:
    r"""x with P(T ≤ x) = u for u strictly between 0 and 1; the inverse of `student_cdf`.

    E falls, so :math:`2 P \le e^{-y^2/2}` gives a start on the right of the root; from there Newton's method on the
    convex :math:`-\log 2P` cannot miss it and needs five steps.
    """
    df = log_df.exp()
    goal = -torch.where(u < 0.5, 2 * u, 2 * (1 - u)).log()
    with torch.no_grad():
        y = (2 * goal).sqrt()
        for _ in range(6):
            value, log_slope = _minus_log_twice_tail(y, df)
            y = (y - (value - goal) * torch.exp(-log_slope)).clamp(min=0.0)
    y = attach_root_gradients(lambda y: _minus_log_twice_tail(y, df), goal, y)
    v = y.square() / df
    large = v > 40
    limit = math.log(torch.finfo(u.dtype).max) - 1e-3  # beyond, the quantile overflows
    far = torch.exp((0.5 * (torch.where(large, v, 0.0) + log_df)).clamp(max=limit))
    size = torch.where(large, far, y * expm1_ratio(torch.where(large, 0.0, v)).sqrt())
    return torch.where(u < 0.5, -size, size)


def _minus_log_twice_tail(y: Tensor, df: Tensor) -> tuple[Tensor, Tensor]:
    """(-log 2P, the log of its derivative in y) for y ≥ 0; increasing and convex."""
    log_excess = _excess(y, df).log()
    value = 0.5 * y.square() - log_excess + _excess(torch.zeros_like(df), df).log()
    return value, _factor(y.square() / df).log() - log_excess


def _excess(y: Tensor, df: Tensor) -> Tensor:
    """E(y), integrated up to where the exponent y s + s²/2 is 40."""
    nodes, weights = (y.new_tensor(values).reshape(-1, *(1,) * y.ndim) for values in (NODES, WEIGHTS))
    reach = 80 / (y + (y.square() + 80).sqrt())
    # s = reach t² with t in [0, 1]: for small ν the factor changes within √ν of zero, where squares of nodes crowd.
    s = nodes.square() * reach  # (nodes, *shape of y)
    terms = torch.exp(-s * (y + 0.5 * s)) * _factor((y + s).square() / df)
    return 2 * reach * (nodes * weights * terms).sum(dim=0)


def _factor(v: Tensor) -> Tensor:
    """h(v); by its Taylor series where the derivative of the usual formula subtracts close numbers."""
    near = v < NEAR
    small, large = torch.where(near, v, 0.0), torch.where(near, 1.0, v)
    return torch.where(near, polynomial(small, FACTOR_SERIES), (large / -torch.expm1(-large)).sqrt())

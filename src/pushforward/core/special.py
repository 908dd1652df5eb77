"""Special functions that keep their digits: quotients where the usual formula reads 0 / 0, ratios of gamma functions,
tails of the normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "expm1_ratio",
    "log1p_over",
    "log_cosh",
    "log_gamma_half_step",
    "log_mills",
    "log_normal",
    "ndtr",
    "normal_point",
    "polynomial",
]

# Where series take over, for the usual derivatives subtract close numbers there. The terms reach float64's rounding.
EXP_NEAR, LOG_NEAR = 0.5, 0.1
EXP_SERIES = [1 / math.factorial(k + 1) for k in range(15)]
ATANH_SERIES = [1 / (2 * k + 1) for k in range(6)]
GAMMA_SHIFT = 16.0  # from here on, five terms of the series below reach float64's rounding
GAMMA_SERIES = [-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432]  # -(2 - 2^-n) B_(n+1) / (n (n + 1)) for odd n
HALLEY_STEPS = 3  # from the start in `normal_point`, they reach float64's rounding


def expm1_ratio(t: Tensor) -> Tensor:
    r""":math:`(e^t - 1) / t`, one at zero; for t whose exponential does not overflow."""
    near = t.abs() < EXP_NEAR
    small, large = torch.where(near, t, 0.0), torch.where(near, 1.0, t)
    return torch.where(near, polynomial(small, EXP_SERIES), torch.expm1(large) / large)


def log1p_over(t: Tensor, p: Tensor) -> Tensor:
    r""":math:`\log(1 + p\, t) / p` for :math:`t, p \ge 0`, which is t at p = 0.

    Where p t is small by :math:`\log(1 + u) = 2 \operatorname{artanh} w` with :math:`w = u / (2 + u)`, a short series.
    Nothing is divided by p t, whose square a derivative would overflow with.
    """
    product = p * t
    near = product < LOG_NEAR
    small = torch.where(near, product, 0.0)
    series = 2 / (2 + small) * polynomial((small / (2 + small)).square(), ATANH_SERIES)
    return torch.where(near, t * series, torch.log1p(torch.where(near, 1.0, product)) / torch.where(near, 1.0, p))


def log_gamma_half_step(a: Tensor) -> Tensor:
    r""":math:`\log\Gamma(a + \tfrac12) - \log\Gamma(a) - \tfrac12 \log a` for :math:`a > 0`, about -1 / (8a).

    The difference of two values of ``lgamma`` has no digits left for large a, and neither has its derivative. Here the
    asymptotic series is used from `GAMMA_SHIFT` on, and below it at a + 16, which the recurrence of the gamma function
    takes back to a.

    References:
        | NIST Digital Library of Mathematical Functions, 5.11.8
    """
    near = a < GAMMA_SHIFT
    small, far = torch.where(near, a, 1.0), torch.where(near, a + GAMMA_SHIFT, a).reciprocal()
    series = far * polynomial(far.square(), GAMMA_SERIES)
    passed = small + torch.arange(GAMMA_SHIFT, dtype=a.dtype, device=a.device).reshape(-1, *(1,) * a.ndim)
    # log Γ(a + ½) / Γ(a) = log Γ(a + 16½) / Γ(a + 16) + Σ log (a + i) / (a + i + ½)
    back = (passed / (passed + 0.5)).log().sum(dim=0) + 0.5 * torch.log1p(GAMMA_SHIFT / small)
    return series + torch.where(near, back, 0.0)


def log_cosh(t: Tensor) -> Tensor:
    r""":math:`\log \cosh t`, which grows like \|t\|: nothing overflows."""
    size = t.abs()  # even, so the kink of |t| is none: its slope at zero is taken as zero, and so is that of log cosh
    return size + torch.log1p(torch.exp(-2 * size)) - math.log(2)


def ndtr(z: Tensor) -> Tensor:
    r""":math:`\Phi(z)` with full relative accuracy in the lower tail, where torch's own returns zero below -8.3."""
    return 0.5 * torch.erfc(z * -math.sqrt(0.5))


def log_mills(v: Tensor) -> Tensor:
    r""":math:`\log\bigl(\Phi(-v) / \varphi(v)\bigr)` for :math:`v \ge 0`: the log of the Mills ratio, about -log v.

    Far out by its asymptotic series, for the usual derivative subtracts close numbers there.
    """
    start = (15 / torch.finfo(v.dtype).eps) ** (1 / 6)  # from here on, the series below is exact to rounding
    far = v > start
    inner, outer = torch.where(far, 1.0, v), torch.where(far, v, start)
    square = outer.reciprocal().square()
    series = torch.log1p(-square * (1 - 3 * square)) - outer.log()
    return torch.where(far, series, torch.special.erfcx(inner * math.sqrt(0.5)).log() + 0.5 * math.log(math.pi / 2))


def log_normal(v: Tensor, near: Tensor) -> Tensor:
    r""":math:`\log \varphi(v) + \text{near}^2 / 2`, without squares of large numbers that nearly cancel."""
    return -0.5 * (v - near) * (v + near) - 0.5 * math.log(2 * math.pi)


def normal_point(log_tail: Tensor, near: Tensor) -> Tensor:
    r"""v ≥ 0 where :math:`\log \Phi(-v) + \text{near}^2 / 2` is ``log_tail``.

    The logs of two far tails are huge and may differ by little; measured against ``near``, any number of about the
    size of v, they keep their digits at every distance. Zero gives the quantile of a log-probability.

    Args:
        log_tail: what to reach, for :math:`\Phi(-v)` at most one half.
        near: not negative, a constant.
    """
    goal, near = log_tail.detach(), near.detach()  # ``no_grad`` does not stop derivatives that travel forwards
    with torch.no_grad():
        # Φ(-v) ≤ exp(-v² / 2) / 2, so the start lies right of the root; Halley's steps cube its error.
        v = torch.hypot(near, (-2 * (goal + math.log(2))).clamp(min=0.0).sqrt())
        for _ in range(HALLEY_STEPS):
            log_ratio = log_mills(v)
            step = (log_ratio + log_normal(v, near) - goal) * log_ratio.exp()
            v = v + step / (1 + 0.5 * step * (torch.exp(-log_ratio) - v))
        slope = -log_mills(v).exp()
        bend = slope * (1 + slope * v)
    # The Taylor series of v in log_tail, about its value: derivatives are right up to the second order.
    change = log_tail - goal
    return v + slope * change + 0.5 * bend * change.square()


def polynomial(t: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The sum of coefficients[k] · t^k, by Horner's rule."""
    total = torch.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * t + coefficient
    return total

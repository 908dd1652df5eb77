"""The special functions against exact arithmetic, where double precision could not tell."""

import math
from decimal import Decimal, localcontext

import pytest
import torch

from pushforward.core.special import expm1_ratio, log1p_over, log_cosh, log_mills, log_normal, normal_point

EPS = torch.finfo(torch.float64).eps


def with_slope(function, points):
    """Values and derivatives at each point, in float64."""
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    y = function(x)
    return y.tolist(), torch.autograd.grad(y.sum(), x)[0].tolist()


def exact_expm1_ratio(t):
    e = t.exp()
    return (e - 1) / t, (t * e - e + 1) / t**2


SMALL = [1e-300, 1e-16, 1e-9, 1e-3, 0.1, 0.49, 0.5, 0.51, 1.0, 3.0, 40.0]


@pytest.mark.parametrize(
    ("function", "exact", "points"),
    [(expm1_ratio, exact_expm1_ratio, SMALL + [-t for t in SMALL])],
)
def test_ratios_and_their_slopes_are_exact_to_rounding(function, exact, points):
    values, slopes = with_slope(function, points)
    with localcontext() as context:
        context.prec = 700  # 1 + 1e-300 has that many digits
        for t, value, slope in zip(points, values, slopes, strict=True):
            for got, expected in zip((value, slope), exact(Decimal(t)), strict=True):
                assert abs(Decimal(got) / expected - 1) < 8 * EPS, f"{function.__name__} at {t}"


def test_ratios_at_zero():
    assert with_slope(expm1_ratio, [0.0]) == ([1.0], [0.5])
    t, p = torch.tensor([3.0, 0.0], dtype=torch.float64).requires_grad_(), torch.zeros(2, dtype=torch.float64)
    p.requires_grad_()
    value = log1p_over(t, p)
    assert value.tolist() == [3.0, 0.0]
    assert [g.tolist() for g in torch.autograd.grad(value.sum(), (t, p))] == [[1.0, 1.0], [-4.5, 0.0]]


@pytest.mark.parametrize("p", [1e-100, 1e-9, 0.3, 1.76])
@pytest.mark.parametrize("size", [1e-9, 0.49, 0.51, 40.0, 1e100, 1e200])
def test_logarithms_over_a_power_and_their_slopes(p, size):
    """At t with p t of the given size; 1e200 squared is no number any more."""
    t = size / p
    x, power = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (t, p))
    value = log1p_over(x, power)
    in_t, in_p = torch.autograd.grad(value, (x, power))
    with localcontext() as context:
        context.prec = 500
        t, p = Decimal(t), Decimal(p)
        logarithm = (1 + p * t).ln()
        expected = logarithm / p, 1 / (1 + p * t), (t / (1 + p * t) - logarithm / p) / p
    for got, exact in zip((value, in_t, in_p), expected, strict=True):
        assert got.item() == pytest.approx(float(exact), rel=64 * EPS)


def test_log_cosh_is_even_smooth_and_never_overflows():
    values, slopes = with_slope(log_cosh, [-2.0, 0.0, 2.0, 1e300])
    assert values[0] == values[2] == pytest.approx(math.log(math.cosh(2)), rel=1e-14)
    assert abs(values[1]) < EPS
    assert values[3] == 1e300
    assert slopes == pytest.approx([-math.tanh(2), 0.0, math.tanh(2), 1.0], rel=1e-14)


def exact_mills(v):
    """The Mills ratio as a continued fraction, v + 1/(v + 2/(v + 3/(v + ...))) upside down."""
    total = v
    for k in range(2000, 0, -1):
        total = v + k / total
    return 1 / total


@pytest.mark.parametrize("v", [1.0, 3.0, 30.0, 60.0, 100.0, 1e4, 1e8, 1e150])
def test_the_mills_ratio_far_out(v):
    """Its slope v - 1/M is a difference of close numbers, about -1/v."""
    with localcontext() as context:
        context.prec = 400
        ratio = exact_mills(Decimal(v))
        value, slope = ratio.ln(), Decimal(v) - 1 / ratio
    got, got_slope = (part[0] for part in with_slope(log_mills, [v]))
    assert got == pytest.approx(float(value), rel=4 * EPS, abs=4 * EPS)
    assert got_slope == pytest.approx(float(slope), rel=1e-11)


@pytest.mark.parametrize("v", [0.0, 1e-9, 0.3, 2.0, 30.0, 1e6, 1e100, 1e300])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_the_normal_point_comes_back(v, offset):
    """Measured against a number near v, at any distance; against zero as long as v² is a number."""
    v = torch.tensor(v, dtype=torch.float64)
    near = (v - offset).clamp(min=0.0)
    log_tail = log_mills(v) + log_normal(v, near)
    assert normal_point(log_tail, near).item() == pytest.approx(v.item(), rel=8 * EPS, abs=8 * EPS)


def test_the_normal_point_has_two_derivatives():
    log_tail = torch.tensor([-0.7, -2.0, -30.0, -1e4], dtype=torch.float64, requires_grad=True)
    near = torch.zeros(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: normal_point(t, near), (log_tail,))
    assert torch.autograd.gradgradcheck(lambda t: normal_point(t, near), (log_tail,))

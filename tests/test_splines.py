"""Splines: each kind against its formula written out another way, ends of the box, tails, digits kept."""

import math

import pytest
import torch
from cases import generator
from scipy.interpolate import CubicHermiteSpline

from pushforward.testing import univariates as properties
from pushforward.univariate import CubicSpline, InBox, LinearRational, LinearSpline, QuadraticSpline, RationalQuadratic
from pushforward.univariate.spline_pieces import CubicPiece, RationalQuadraticPiece

KINDS = [LinearSpline, QuadraticSpline, CubicSpline, LinearRational, RationalQuadratic]
SMOOTH = KINDS[1:]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_tails = pytest.mark.parametrize("tails", ["identity", "linear"])
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
FINE = {torch.float64: 1e-12}


def random_params(spline, n, size=1.0, dtype=torch.float64, seed=1):
    params = size * torch.randn(spline.num_params, n, generator=generator(seed), dtype=torch.float64)
    return params.to(dtype)


def one_map(kind, tails="identity", points=400):
    """A spline of five bins with one set of parameters, points all over its box, and its knots in the user's units."""
    spline = kind(5, bound=3.0, tails=tails).to(torch.float64)
    params = random_params(spline, 1)
    x = 6 * torch.rand(points, generator=generator(2), dtype=torch.float64) - 3
    inner, at_knots, in_bins = spline._knots(params)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)[:, None]
    places = [6 * torch.cat([ends[:1], axis, ends[1:]])[:, 0] - 3 for axis in inner]  # (bins + 1,) each
    return spline, x, params.expand(-1, points), *places, at_knots, in_bins


# --- each kind against its formula ---------------------------------------------------------------------------------


@each_tails
def test_a_linear_spline_is_a_histogram_of_equal_bins(tails):
    spline, x, params, left, bottom, _, _ = one_map(LinearSpline, tails)
    y, log_slope = spline(x, params)
    properties.close(left, torch.linspace(-3, 3, 6, dtype=torch.float64), "the knots", FINE)
    heights = bottom.diff() / left.diff()
    bin = ((x + 3) / 1.2).floor().long()
    properties.close(log_slope.exp(), heights[bin], "the slope of each bin", FINE)
    properties.close(y, bottom[bin] + heights[bin] * (x - left[bin]), "the value", FINE)


@each_tails
def test_a_quadratic_spline_is_the_integral_of_straight_lines(tails):
    spline, x, params, left, _, slopes, _ = one_map(QuadraticSpline, tails)
    y, log_slope = spline(x, params)
    bin = torch.searchsorted(left, x, right=True) - 1
    t, width = (x - left[bin]) / left.diff()[bin], left.diff()
    d = slopes[:, 0]
    properties.close(log_slope.exp(), d[bin] * (1 - t) + d[bin + 1] * t, "the slope", FINE)
    areas = torch.cat([torch.zeros(1, dtype=torch.float64), (width * (d[1:] + d[:-1]) / 2).cumsum(0)])
    properties.close(areas[-1], torch.tensor(6.0, dtype=torch.float64), "the whole rise", FINE)
    expected = -3 + areas[bin] + width[bin] * t * (d[bin] + 0.5 * (d[bin + 1] - d[bin]) * t)
    properties.close(y, expected, "the value", FINE)


@each_tails
def test_a_cubic_spline_is_hermites_with_slopes_of_steffen(tails):
    spline, x, params, left, bottom, slopes, _ = one_map(CubicSpline, tails)
    y, log_slope = spline(x, params)
    expected = CubicHermiteSpline(left.numpy(), bottom.numpy(), slopes[:, 0].numpy())
    properties.close(y, torch.as_tensor(expected(x.numpy())), "the value", FINE)
    properties.close(log_slope.exp(), torch.as_tensor(expected(x.numpy(), 1)), "the slope", {torch.float64: 1e-11})
    w, s = left.diff(), bottom.diff() / left.diff()
    parabola = (s[:-1] * w[1:] + s[1:] * w[:-1]) / (w[:-1] + w[1:])
    steffen = torch.stack([2 * s[:-1], 2 * s[1:], parabola]).amin(dim=0)
    properties.close(slopes[1:-1, 0], steffen, "slopes at inner knots", FINE)
    assert bool((slopes[[0, -1], 0] <= 3 * s[[0, -1]] * (1 + 1e-12)).all())


def test_a_rational_quadratic_is_that_of_the_paper():
    spline, x, params, left, bottom, raw, _ = one_map(RationalQuadratic)
    y, log_slope = spline(x, params)
    bin = torch.searchsorted(left, x, right=True) - 1
    d = torch.nn.functional.softplus(raw[:, 0] + spline.slope_offset) + spline.min_slope
    s = (bottom.diff() / left.diff())[bin]
    t = (x - left[bin]) / left.diff()[bin]
    d0, d1 = d[bin], d[bin + 1]
    below = s + (d1 + d0 - 2 * s) * t * (1 - t)
    expected = bottom[bin] + bottom.diff()[bin] * (s * t**2 + d0 * t * (1 - t)) / below
    slope = s**2 * (d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2) / below**2
    properties.close(y, expected, "the value", FINE)
    properties.close(log_slope, slope.log(), "the log-slope", FINE)


def test_a_linear_rational_is_that_of_the_paper():
    """Dolatabadi et al. write it with weights at both knots and at the place between."""
    spline, x, params, left, bottom, raw, places = one_map(LinearRational)
    y, _ = spline(x, params)
    bin = torch.searchsorted(left, x, right=True) - 1
    d = torch.nn.functional.softplus(raw[:, 0] + spline.slope_offset) + spline.min_slope
    lam = (0.025 + 0.95 * torch.sigmoid(places[:, 0]))[bin]
    y0, y1, d0, d1 = bottom[bin], bottom[bin + 1], d[bin], d[bin + 1]
    s = (bottom.diff() / left.diff())[bin]
    w0, w1 = torch.ones_like(d0), (d0 / d1).sqrt()
    wm = (lam * w0 * d0 + (1 - lam) * w1 * d1) / s
    ym = ((1 - lam) * w0 * y0 + lam * w1 * y1) / ((1 - lam) * w0 + lam * w1)
    t = (x - left[bin]) / left.diff()[bin]
    first = (w0 * y0 * (lam - t) + wm * ym * t) / (w0 * (lam - t) + wm * t)
    second = (wm * ym * (1 - t) + w1 * y1 * (t - lam)) / (wm * (1 - t) + w1 * (t - lam))
    properties.close(y, torch.where(t <= lam, first, second), "the value", FINE)


# --- the box and its tails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_histogram_of_rare_bins_has_all_their_digits(dtype):
    """256 bins, of which most are hardly higher than the rounding of their knots."""
    spline = InBox(LinearSpline(256, min_bin=1e-7), 0.0, 1.0, closed=True).to(dtype)
    params = 8 * torch.randn(256, 1000, dtype=torch.float64, generator=generator(0))
    bins = torch.randint(256, (1000,), generator=generator(1))
    x = (bins.double() + torch.rand(1000, dtype=torch.float64, generator=generator(2)) * 0.9 + 0.05) / 256
    y, log_slope = spline(x.to(dtype), params.to(dtype))
    expected = (1e-7 + (1 - 256e-7) * params.softmax(dim=0)).gather(0, bins[None])[0].mul(256).log()
    torch.testing.assert_close(log_slope.double(), expected, rtol=0, atol=3e-5 if dtype == torch.float32 else 1e-12)
    _, of_inverse = spline.inverse(y, params.to(dtype))
    assert of_inverse.isfinite().all()


@both_dtypes
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1.9, 2.3), (-0.7, 0.1), (3.3, 11.9), (-5.4, -1.1)])
def test_the_ends_of_a_closed_box_belong_to_it(low, high, dtype):
    spline = InBox(LinearSpline(3), low, high, closed=True).to(dtype)
    params = torch.tensor([2.0, 0.0, -1.0], dtype=dtype)[:, None].expand(3, 4)
    x = torch.tensor([low, low + 1e-3, high - 1e-3, high], dtype=dtype)
    for y, log_slope in (spline(x, params), spline.inverse(x, params)):
        assert log_slope[0] == log_slope[1] != log_slope[2] == log_slope[3]
        torch.testing.assert_close(y[[0, 3]], x[[0, 3]])


@pytest.mark.parametrize("kind", SMOOTH)
def test_identity_tails_meet_the_box_with_slope_one(kind):
    """Exactly at ±bound and next to it."""
    spline = kind(5, bound=3.0).to(torch.float64)
    inner = 3.0 - 1e-10
    x = torch.tensor([-3.0, -inner, -3.1, inner, 3.0, 3.1], dtype=torch.float64)
    y, log_slope = spline(x, random_params(spline, 6))
    assert y[[0, 2, 4, 5]].tolist() == [-3.0, -3.1, 3.0, 3.1]
    properties.close(log_slope, torch.zeros(6, dtype=torch.float64), "log-slope at the ends", {torch.float64: 1e-6})


@each_kind
def test_linear_tails_go_on_with_the_slopes_at_the_ends(kind):
    """Learned, one for each side, and the very slope that the spline has there."""
    spline = kind(5, bound=3.0, tails="linear").to(torch.float64)
    params = random_params(spline, 1).expand(-1, 6)
    x = torch.tensor([-1e6, -4.0, -3.0, 3.0, 4.0, 1e6], dtype=torch.float64)
    y, log_slope = spline(x, params)
    assert y[2:4].tolist() == [-3.0, 3.0]
    slope = log_slope.exp()
    properties.close(slope, slope[2:4].repeat_interleave(3), "the slopes beyond the box", FINE)
    assert abs(log_slope[0] - log_slope[5]) > 0.1
    properties.close(y, x.clamp(-3, 3) + (x - x.clamp(-3, 3)) * slope, "the value beyond the box", FINE)
    back, back_slope = spline.inverse(y, params)
    properties.close(back, x, "the way back", FINE)
    properties.close(back_slope, -log_slope, "its slope", FINE)


@each_kind
@each_tails
@pytest.mark.parametrize("bins", [2, 8, 64])
@both_dtypes
def test_a_spline_maps_its_box_onto_itself(kind, tails, bins, dtype):
    spline = kind(bins, tails=tails).to(dtype)
    params = random_params(spline, 200, size=4.0, dtype=dtype)
    x = torch.cat([torch.linspace(-5, 5, 198, dtype=torch.float64), torch.tensor([-5.0, 5.0])]).to(dtype)
    for direction in (spline.forward, spline.inverse):
        y = direction(x, params)[0]
        assert y.abs().max() <= 5
        assert y[-2:].tolist() == [-5.0, 5.0]


@pytest.mark.parametrize("kind", [QuadraticSpline, CubicSpline])
@both_dtypes
def test_bins_lost_in_rounding_spoil_nothing(kind, dtype):
    """Heights that are products of a small width and a small slope vanish beside one in float32."""
    spline = kind(6, min_bin=1e-4, min_slope=1e-4).to(dtype)
    params = random_params(spline, 500, size=40.0, dtype=dtype).requires_grad_()
    x = torch.linspace(-5, 5, 500, dtype=dtype, requires_grad=True)
    for direction in (spline.forward, spline.inverse):
        y, log_slope = direction(x, params)
        grads = torch.autograd.grad(y.sum() + log_slope.sum(), (x, params))
        assert all(bool(t.isfinite().all()) for t in (y, log_slope, *grads))
        assert bool((y.abs() <= 5).all())


def test_slopes_keep_their_floor():
    """In the box, with parameters of any size; a cubic dips below its mean slopes, but not below a fifth of them."""
    x = torch.linspace(-5, 5, 4001, dtype=torch.float64)
    for kind, least in ((QuadraticSpline, 0.1), (CubicSpline, 0.02)):
        for tails in ("identity", "linear"):
            spline = kind(4, tails=tails, min_slope=0.1).to(torch.float64)
            params = random_params(spline, 40, size=20.0)[:, None].expand(-1, 4001, 40)
            slopes = spline(x[:, None].expand(-1, 40), params)[1].exp()
            assert slopes.min() >= least * (1 - 1e-9)


# --- digits --------------------------------------------------------------------------------------------------------


def test_the_root_of_a_cubic_keeps_its_digits():
    """Over all pairs of end slopes that occur (one above two only beside the end of the box): leading coefficients of
    zero and double roots at an end among them."""
    ends = torch.cat([10 ** torch.linspace(-7, 0, 22, dtype=torch.float64), torch.linspace(1, 3, 17).double()])
    near = 10 ** torch.linspace(-16, -1, 40, dtype=torch.float64)
    shares = torch.cat([torch.zeros(1).double(), near, torch.linspace(0.1, 0.9, 41).double(), 1 - near, torch.ones(1)])
    a, b, share = (t.flatten() for t in torch.meshgrid(ends, ends, shares, indexing="ij"))
    a, b, share = (t[(a <= 2) | (b <= 2)] for t in (a, b, share))
    one = torch.ones_like(a)
    piece = CubicPiece(one, one, a, b)
    t = piece.solve(share)
    assert bool(((t >= 0) & (t <= 1)).all())
    assert (piece.evaluate(t)[0] - share).abs().max() < 1e-15
    # Bisection knows no cancellation.
    low, high = torch.zeros_like(share), one
    for _ in range(60):
        middle = 0.5 * (low + high)
        less = piece.evaluate(middle)[0] < share
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    steep = piece.log_slope(t).exp() > 0.1
    assert (t - high)[steep].abs().max() < 1e-14


def test_the_root_of_a_rational_quadratic_keeps_its_digits_below_a_steep_end():
    """There the linear coefficient of its quadratic is negative, and the other form of the root is the exact one."""
    t = 1 - 10 ** torch.linspace(-6, -2, 50, dtype=torch.float64)
    one = torch.ones_like(t)
    piece = RationalQuadraticPiece(one, 0.01 * one, 0.01 * one, 44 * one)
    share, log_slope = piece.evaluate(t)
    error = (piece.solve(0.01 * share) - t).abs()
    assert bool((error <= 4e-16 * (1 + 0.02 * (-log_slope).exp())).all())


@each_kind
@each_tails
def test_the_derivative_of_the_inverse_keeps_its_digits(kind, tails):
    """At the ends of the box too, beside bins and slopes that differ a millionfold."""
    spline, n = kind(3, tails=tails).to(torch.float64), 4000
    params = 100 * torch.rand(spline.num_params, n, generator=generator(3), dtype=torch.float64) - 50
    x = torch.linspace(-5, 5, n, dtype=torch.float64)
    x[::4], x[1::4] = -5.0, 5.0
    properties.slope_is_derivative(spline, x, params)


@each_kind
@each_tails
def test_a_nearly_straight_spline_loses_no_digits_in_single_precision(kind, tails):
    """Textbook roots subtract close numbers exactly there."""
    spline = kind(8, tails=tails)
    params = random_params(spline, 2000, size=1e-3, dtype=torch.float32)
    x = torch.linspace(-4.999, 4.999, 2000)
    assert (spline.inverse(spline(x, params)[0], params)[0] - x).abs().max() < 5e-6


@pytest.mark.parametrize(("kind", "tails"), [(kind, ("identity", "linear")[k % 2]) for k, kind in enumerate(KINDS)])
def test_derivatives_of_derivatives_are_right(kind, tails):
    """The numeric root of the cubic has implicit gradients; theirs are right as well."""
    spline = kind(3, bound=3.0, tails=tails).to(torch.float64)
    params = random_params(spline, 4).requires_grad_()
    x = torch.tensor([-3.7, -1.1, 0.4, 2.2], dtype=torch.float64, requires_grad=True)
    for direction in (spline.forward, spline.inverse):
        assert torch.autograd.gradcheck(direction, (x, params))
        assert torch.autograd.gradgradcheck(direction, (x, params), atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_more_bins_come_closer_to_a_smooth_map(kind):
    """Fitted to a bend, each kind is better with 16 bins than with 2: all of its parameters do something."""
    x = torch.linspace(-3, 3, 200, dtype=torch.float64)
    target = x + torch.sin(2 * x - 6) / 4 * torch.cos(math.pi * x / 6)  # keeps ±3

    def error(bins):
        spline = kind(bins, bound=3.0, tails="linear").to(torch.float64)
        params = torch.zeros(spline.num_params, 1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([params], lr=0.1)
        for _ in range(60):
            loss = (spline(x, params.expand(-1, 200))[0] - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert error(16) < 0.3 * error(2)

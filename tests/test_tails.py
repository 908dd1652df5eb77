"""Maps that change the tails: the heavy-tail map, sinh-arcsinh and Yeo-Johnson, against their published formulas."""

import math

import pytest
import torch

import pushforward as pf
from pushforward.bijections import Chain, Elementwise, Standardize
from pushforward.distributions import Flow, StandardNormal
from pushforward.univariate import SinhArcsinh, TailTransform, YeoJohnson, distribution_of

X = [-30.0, -3.0, -0.4, 0.0, 1e-9, 0.7, 5.0, 40.0]


def row(values):
    return torch.tensor(values, dtype=torch.float64)


def params(*values, points=8):
    return row(values)[:, None].expand(-1, points)


def powers(univariate, values):
    """λ of the upper and the lower side."""
    one = torch.ones(1, dtype=torch.float64)
    return univariate._side(one, values)[1], univariate._side(-one, values)[1]


def draws(df, rows=20_000, features=3, seed=0):
    """Student-t samples, (features, rows)."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(features, rows, generator=generator, dtype=torch.float64)
    scale = torch._standard_gamma(torch.full((features, rows), df / 2, dtype=torch.float64), generator=generator)
    return z / (2 * scale / df).sqrt()


# --- the heavy-tail map --------------------------------------------------------------------------------------------


def test_the_inverse_is_the_published_map():
    univariate = TailTransform()
    values = params(0.3, -0.5, 0.4, -0.2)
    y = row([-5.0, -1.0, -0.1, 0.0, 1e-6, 0.5, 2.0, 5.0])
    location, log_scale = univariate._scale(values)
    upper, lower = powers(univariate, values)
    power = torch.where(y < 0, lower, upper)
    published = location + log_scale.exp() * y.sign() / power * (torch.erfc(y.abs() / math.sqrt(2)).pow(-power) - 1)
    torch.testing.assert_close(univariate.inverse(y, values)[0], published, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(univariate(published, values)[0], y, rtol=1e-9, atol=1e-9)


def test_zero_parameters_have_slope_one_in_the_middle_and_the_given_tail():
    univariate = TailTransform(tail=0.8)
    zeros = params(0.0, 0.0, 0.0, 0.0)
    assert torch.cat(powers(univariate, zeros)).tolist() == pytest.approx([0.8] * 16, rel=1e-12)
    y, log_slope = univariate(torch.zeros(8, dtype=torch.float64), zeros)
    assert y.abs().max() < 1e-15
    assert log_slope.abs().max() < 1e-14


@pytest.mark.parametrize("power", [0.25, 1.0, 3.0])
def test_a_power_law_becomes_a_normal_tail(power):
    """P(x > t) ~ t^(-1/λ): a thousand times further out, its log falls by log(1000) / λ, and so does log Φ(-y)."""
    univariate = TailTransform(tail=power)
    x = row([1e20, 1e23])
    y = univariate(x, params(0.0, 0.0, 0.0, 0.0, points=2))[0]
    fall = torch.special.log_ndtr(-y).diff().item()
    assert fall == pytest.approx(-math.log(1e3) / power, rel=1e-6)


def test_the_limit_of_no_power_is_exponential_tails():
    """At λ = 0 exactly |x| = -log erfc(|y| / √2) σ, with finite gradients."""
    univariate = TailTransform()
    x = row(X).requires_grad_()
    values = params(0.0, 0.0, -800.0, -800.0).clone().requires_grad_()
    assert torch.cat(powers(univariate, values)).abs().max() == 0
    y, log_slope = univariate(x, values)
    size = -torch.erfc(y.abs() / math.sqrt(2)).log() * math.sqrt(math.pi / 2)
    torch.testing.assert_close(size, x.abs(), rtol=1e-9, atol=1e-9)
    (y.sum() + log_slope.sum()).backward()
    assert x.grad.isfinite().all()
    assert values.grad.isfinite().all()
    near = univariate(x, params(0.0, 0.0, -25.0, -25.0))[0]
    torch.testing.assert_close(near, y, rtol=1e-7, atol=1e-7)


def test_the_two_sides_have_powers_of_their_own():
    univariate, x = TailTransform(), row([-100.0, 100.0])
    y = univariate(x, params(0.0, 0.0, 3.0, -3.0, points=2))[0]
    changed = univariate(x, params(0.0, 0.0, 3.0, 0.0, points=2))[0]
    assert y[1] < -y[0]
    assert changed[1] == y[1]
    assert changed[0] > y[0]


def test_it_is_smooth_to_the_first_order_and_no_further():
    """The slope has no jump in the middle; the slope's slope is turned around there."""
    univariate = TailTransform()
    x = row([-1e-7, 1e-7]).requires_grad_()
    log_slope = univariate(x, params(0.0, 0.0, 1.0, 1.0, points=2))[1]
    (bend,) = torch.autograd.grad(log_slope.sum(), x)
    assert log_slope.diff().abs().item() < 1e-6
    assert bend[0].item() == pytest.approx(-bend[1].item(), rel=1e-5)
    assert bend[0] > 0.5
    assert univariate.smoothness == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("theta", [-200.0, -20.0, 0.0, 50.0])
def test_nothing_overflows(dtype, theta):
    """Forward takes whatever fits into the dtype; beyond its reach the inverse stands still."""
    far = 1e-8 * torch.finfo(dtype).max
    points = torch.tensor([-far, -1e6, 30.0, 60.0, far], dtype=dtype)
    values = torch.tensor([0.0, 0.0, theta, theta], dtype=dtype)[:, None].expand(-1, 5)
    for direction in (TailTransform().forward, TailTransform().inverse):
        start, target = points.clone().requires_grad_(), values.clone().requires_grad_()
        value, log_slope = direction(start, target)
        assert value.isfinite().all()
        assert log_slope.isfinite().all()
        (1e-3 * far**-0.1 * log_slope.sum()).backward()
        assert start.grad.isfinite().all()
        assert target.grad.isfinite().all()


@pytest.mark.parametrize(("df", "tolerance"), [(1.0, 0.1), (2.0, 0.15)])
def test_the_start_finds_the_tail(df, tolerance):
    x = 3 + 2 * draws(df)
    univariate = TailTransform()
    values = distribution_of(univariate).initial_params(x)
    upper, lower = powers(univariate, values)
    assert torch.cat([upper, lower]).mean().item() == pytest.approx(1 / df, abs=tolerance)
    assert values[0].tolist() == pytest.approx([3.0] * 3, abs=0.1)


def test_the_start_of_light_tails_has_next_to_no_power():
    values = distribution_of(TailTransform()).initial_params(
        torch.randn(2, 5000, generator=torch.Generator().manual_seed(1))
    )
    assert torch.cat(powers(TailTransform(), values.double())).max() < 0.05


@pytest.mark.parametrize("rows", [torch.ones(2, 50), torch.arange(50.0).remainder(3).expand(2, -1), torch.randn(2, 2)])
def test_any_sample_gives_a_usable_start(rows):
    univariate = TailTransform()
    values = distribution_of(univariate).initial_params(rows)
    y, log_slope = univariate(rows, values[..., None].expand(-1, *rows.shape))
    assert values.isfinite().all()
    assert y.isfinite().all()
    assert log_slope.isfinite().all()


@pytest.mark.parametrize(("df", "entropy"), [(1.0, math.log(4 * math.pi)), (2.0, 1.960288)])
def test_the_start_alone_fits_heavy_tails(df, entropy):
    """Within 0.05 nats per feature of the truth before anything is learned, in float32."""
    x = (1e3 + 50 * draws(df, features=2, rows=10_000).t()).float()
    flow = Flow(StandardNormal(2), Chain([Standardize(2, robust=True), Elementwise(TailTransform(), 2)]).inv)
    flow.initialize(x)
    with torch.no_grad():
        held_out = (1e3 + 50 * draws(df, features=2, seed=9).t()).float()
        loss = -flow.log_prob(held_out).mean().item() / 2
    assert loss == pytest.approx(entropy + math.log(50), abs=0.05)


# --- sinh-arcsinh --------------------------------------------------------------------------------------------------


def test_sinh_arcsinh_is_the_published_map():
    univariate, values = SinhArcsinh(bound=2.0), params(0.5, -0.8)
    power, lean = 2 ** math.tanh(0.5), 2 * math.tanh(-0.4)
    x = row(X)
    y, log_slope = univariate(x, values)
    inner = power * torch.asinh(x) + lean
    torch.testing.assert_close(y, torch.sinh(inner))
    torch.testing.assert_close(log_slope, (power * torch.cosh(inner) / (1 + x.square()).sqrt()).log())


@pytest.mark.parametrize(("theta", "power"), [(-50.0, 1 / 3), (50.0, 3.0)])
def test_sinh_arcsinh_grows_like_a_power(theta, power):
    y = SinhArcsinh()(row([1e20, 1e25]), params(theta, 0.0, points=2))[0]
    assert y.log().diff().item() == pytest.approx(power * math.log(1e5), rel=1e-9)


# --- Yeo-Johnson ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [-2.0, -1e-3, 0.0, 0.7, 3.0])
def test_yeo_johnson_is_the_published_map(theta):
    x, power = row(X), 1 + math.tanh(theta)
    positive, negative = x.clamp(min=0), x.clamp(max=0)
    published = torch.where(
        x >= 0, ((1 + positive) ** power - 1) / power, -((1 - negative) ** (2 - power) - 1) / (2 - power)
    )
    y, log_slope = YeoJohnson()(x, params(theta))
    torch.testing.assert_close(y, published, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(log_slope, math.tanh(theta) * x.sign() * torch.log1p(x.abs()))


@pytest.mark.parametrize("theta", [-60.0, 60.0])
def test_yeo_johnson_at_its_ends_is_a_logarithm_on_one_side(theta):
    """λ is 0 or 2 exactly, where the published formula divides zero by zero."""
    x = row(X).requires_grad_()
    values = params(theta).clone().requires_grad_()
    y, log_slope = YeoJohnson()(x, values)
    drawn_in = x.detach() * theta < 0
    torch.testing.assert_close(y.detach().abs()[drawn_in], torch.log1p(x.detach().abs())[drawn_in], rtol=1e-15, atol=0)
    stretched = ((1 + x.detach().abs()) ** 2 - 1) / 2
    torch.testing.assert_close(y.detach().abs()[~drawn_in], stretched[~drawn_in], rtol=1e-12, atol=1e-15)
    (y.sum() + log_slope.sum()).backward()
    assert x.grad.isfinite().all()
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("power", [1e-9, 1e-3])
def test_yeo_johnson_near_a_logarithm_has_the_right_slope_in_its_power(power):
    """d/dλ ((1 + x)^λ - 1) / λ tends to log(1 + x)² / 2."""
    theta = torch.tensor([[math.atanh(power - 1)]], dtype=torch.float64, requires_grad=True)
    y = YeoJohnson()(row([4.0]), theta)[0]
    (slope,) = torch.autograd.grad(y.sum(), theta)
    exact_power = 1 + math.tanh(theta.item())  # what is left of 1e-9 beside one
    expected = 0.5 * math.log(5) ** 2 * (1 + 2 / 3 * power * math.log(5))
    assert slope.item() / (1 - (exact_power - 1) ** 2) == pytest.approx(expected, rel=1e-5)


def test_the_inverse_of_a_logarithm_stands_still_where_it_would_overflow():
    for dtype in (torch.float32, torch.float64):
        y = torch.tensor([1e3, 1e6, -1e3], dtype=dtype, requires_grad=True)
        x, log_slope = YeoJohnson().inverse(y, torch.full((1, 3), -60.0, dtype=dtype))
        assert x.isfinite().all()
        assert log_slope.isfinite().all()
        assert x[0] == x[1]


# --- in named flows ------------------------------------------------------------------------------------------------


def test_named_flows_learn_heavy_tails():
    """Student t of one and two degrees of freedom: close to the truth from the start, and triangular flows stay so."""
    for df in (1.0, 2.0):
        x = draws(df, rows=4000, features=2).t()
        truth = torch.distributions.StudentT(df)
        held = draws(df, rows=4000, features=2, seed=1).t()
        flow = pf.flows.nsf(2, depth=1, mix="none", tails="heavy").double()
        flow.initialize(x)
        assert flow.bijection.is_triangular
        with torch.no_grad():
            lost = (truth.log_prob(held).sum(dim=1) - flow.log_prob(held)).mean() / 2
        assert -0.01 < lost < 0.05
    assert pf.flows.nsf(2, tails="heavy").bijection.is_triangular is False


def test_a_wrong_kind_of_tails_is_refused():
    with pytest.raises(ValueError, match=r"maf: tails must be one of 'normal', 'heavy'; got 'fat'\."):
        pf.flows.maf(2, tails="fat")

"""Mixtures of normals and of logistics: against the plain formula near, against the widest component far out."""

import math

import pytest
import torch

from pushforward.univariate import GaussianMixtureCDF, LogisticMixtureCDF, distribution_of
from pushforward.univariate.mixture import LEAST
from pushforward.univariate.mixture_fit import fit_gaussians

KINDS = [GaussianMixtureCDF, LogisticMixtureCDF]
each_kind = pytest.mark.parametrize("kind", KINDS)


def random(kind, points, components=3, size=1.0, seed=0, **options):
    """A mixture, the same parameters for every point."""
    univariate = kind(components, **options).double()
    generator = torch.Generator().manual_seed(seed)
    params = size * torch.randn(univariate.num_params, 1, generator=generator, dtype=torch.float64)
    x = torch.tensor(points, dtype=torch.float64)
    return univariate, x, params.expand(-1, len(points))


@each_kind
def test_near_the_middle_it_is_the_plain_formula(kind):
    univariate, x, params = random(kind, [-4.0, -1.5, -0.2, 0.0, 0.7, 2.0, 4.0])
    x.requires_grad_()
    y, log_slope = univariate(x, params)
    log_weight, location, log_width = univariate._prepare(params)
    u = (x - location) * torch.exp(-log_width)
    if kind is GaussianMixtureCDF:
        plain = torch.special.ndtri((log_weight.exp() * torch.special.ndtr(u)).sum(dim=0))
    else:
        plain = torch.logit((log_weight.exp() * torch.sigmoid(u)).sum(dim=0))
    (slope,) = torch.autograd.grad(plain.sum(), x)
    torch.testing.assert_close(y, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_slope, slope.log(), rtol=1e-11, atol=1e-11)


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_plain_numbers_and_logs_agree_where_both_hold(kind, dtype):
    """Values, slopes and gradients, at probabilities from one half down to where plain numbers are given up."""
    far = 2 * kind._reach(LEAST) * kind.unit
    univariate, x, params = random(kind, torch.linspace(-far, far, 801).tolist(), size=0.7)
    univariate, x, params = univariate.to(dtype), x.to(dtype).requires_grad_(), params.to(dtype).requires_grad_()
    prepared = univariate._prepare(params)
    y, log_slope = univariate._evaluate(x, prepared)
    logs = univariate._by_logs(x, y.detach() > 0, prepared)
    reached = univariate._plain_tail(y.detach().abs() / univariate.unit, torch.ones_like(y)) > LEAST
    assert 50 < reached.sum() < 750
    eps = torch.finfo(dtype).eps
    for plain, expected in zip((y, log_slope), logs, strict=True):
        one, other = (torch.autograd.grad(t[reached].sum(), (x, params), retain_graph=True) for t in (plain, expected))
        torch.testing.assert_close(plain, expected, rtol=100 * eps, atol=100 * eps)
        torch.testing.assert_close(one, other, rtol=2e4 * eps, atol=2e4 * eps)


@each_kind
@pytest.mark.parametrize("x", [1e3, 1e6, 1e100, 1e300])
@pytest.mark.parametrize("side", [-1, 1])
def test_far_out_the_widest_component_is_all_there_is(kind, x, side):
    """y = (x - μ) / s up to the weight: -log w of it for a logistic, that over y for a normal."""
    univariate, x, params = random(kind, [side * x], size=0.7)
    y, log_slope = univariate(x, params)
    log_weight, location, log_width = (part[:, 0] for part in univariate._prepare(params))
    widest = log_width.argmax()
    v = side * (x - location[widest]) * torch.exp(-log_width[widest])
    if kind is GaussianMixtureCDF:  # log w + log Φ(-v) = log Φ(-y), with y - v small
        expected = v - log_weight[widest] / v
        tolerance = 5 * v**-3
    else:
        expected, tolerance = v - log_weight[widest], 0.0
    assert ((side * y - expected).abs() <= tolerance + 4e-15 * v).all()
    torch.testing.assert_close(log_slope, -log_width[widest].expand(1), rtol=0, atol=(10 / v**2).item() + 1e-14)


@each_kind
def test_single_precision_keeps_the_far_slope(kind):
    """Logs of tails are about 10¹³ there, and single precision knows them to a million."""
    univariate, x, params = random(kind, [-1e6, -1e3, 1e3, 1e6])
    expected_y, expected_slope = univariate(x, params)
    y, log_slope = univariate.float()(x.float(), params.float())
    torch.testing.assert_close(y.double(), expected_y, rtol=1e-5, atol=0)
    torch.testing.assert_close(log_slope.double(), expected_slope, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.exhaustive) for kind in KINDS[1:])])
def test_derivatives_are_right_up_to_the_second_order(kind):
    univariate, x, params = random(kind, [-8.0, -0.3, 0.0, 1.5, 9.0])
    x.requires_grad_()
    params = params.clone().requires_grad_()
    for direction in (univariate.forward, univariate.inverse):
        assert torch.autograd.gradcheck(direction, (x, params))
        assert torch.autograd.gradgradcheck(lambda *inputs, to=direction: to(*inputs)[0], (x, params), fast_mode=True)


@each_kind
@pytest.mark.parametrize("size", [1.0, 50.0])
def test_the_bracket_holds_the_root(kind, size):
    univariate, x, params = random(kind, [-1e6, -9.0, -1.0, 0.0, 0.4, 3.0, 70.0, 1e6], size=size)
    prepared = univariate._prepare(params)
    low, high = univariate._bracket(univariate(x, params)[0], prepared)
    tolerance = 1e-9 * (1 + x.abs())  # the root of a rounded y
    flat = univariate(x, params)[1] < -20  # where x is not known from y
    assert (((low - tolerance <= x) & (x <= high + tolerance)) | flat).all()


@each_kind
def test_the_background_keeps_gaps_passable(kind):
    """Two narrow components 14 apart, and a slope in between that single precision can invert."""
    univariate = kind(2, background=1e-3)
    params = torch.tensor([0.0, 0.0, -9.0, 9.0, -50.0, -50.0])[:, None]
    x = torch.linspace(-6.5, 6.5, 53)
    params = params.expand(-1, 53)
    y, log_slope = univariate(x, params)
    assert log_slope.min() > math.log(1e-3) - 0.5 * 6.5**2 - 2
    back, back_slope = univariate.inverse(y, params)
    assert back.isfinite().all()
    assert back_slope.isfinite().all()


# --- zero parameters -----------------------------------------------------------------------------------------------


@each_kind
def test_one_component_at_zero_parameters_is_the_identity(kind):
    univariate = kind(1).double()
    x = torch.tensor([-1e6, -30.0, -1.0, 0.0, 2.0, 1e6], dtype=torch.float64)
    y, log_slope = univariate(x, torch.zeros(3, 6, dtype=torch.float64))
    torch.testing.assert_close(y, x, rtol=1e-13, atol=1e-13)
    assert log_slope.abs().max() < 1e-12


@each_kind
@pytest.mark.parametrize("components", [2, 8, 32])
def test_many_components_at_zero_parameters_stand_apart_near_the_identity(kind, components):
    univariate = kind(components).double()
    x = torch.linspace(-3, 2.5, 61, dtype=torch.float64)  # not even: mirror images would share a gradient
    params = torch.zeros(univariate.num_params, 61, dtype=torch.float64, requires_grad=True)
    y, log_slope = univariate(x, params)
    assert (y - x).abs().max() < 0.08
    location = univariate._prepare(params)[1][:-1, 0]
    assert (location.diff() > 0).all()
    (log_slope - 0.5 * y.square()).sum().backward()
    gradients = params.grad.sum(dim=1).unflatten(0, (3, components))
    assert gradients.sort(dim=1).values.diff(dim=1).min() > 1e-9


# --- starts from data ----------------------------------------------------------------------------------------------


def started(univariate, x):
    """The loss in nats per feature where nothing is learned but the start, against a standard normal."""
    params = distribution_of(univariate).initial_params(x)[..., None].expand(-1, *x.shape)
    y, log_slope = univariate(x, params)
    return (0.5 * y.square() + 0.5 * math.log(2 * math.pi) - log_slope).mean(dim=1)


def test_the_start_fits_a_mixture():
    """Two clusters of deviation 0.2: the entropy is that of one and the choice between them."""
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(2, (4000,), generator=generator) * 2 - 1
    x = (signs + 0.2 * torch.randn(4000, generator=generator))[None].double()
    entropy = math.log(2) + 0.5 * math.log(2 * math.pi * math.e) + math.log(0.2)
    assert started(GaussianMixtureCDF(8).double(), x).item() == pytest.approx(entropy, abs=0.02)


def test_the_start_leaves_normal_data_alone():
    x = torch.randn(2, 4000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    plain = (0.5 * x.square() + 0.5 * math.log(2 * math.pi)).mean(dim=1)
    assert (started(GaussianMixtureCDF(8).double(), x) < plain + 1e-3).all()


def test_a_logistic_start_gives_logistics():
    """Quartiles of a standard logistic lie at ± log 3."""
    x = 3 * torch.rand(1, 4000, generator=torch.Generator().manual_seed(3), dtype=torch.float64).square()
    univariate = LogisticMixtureCDF(8).double()
    y = univariate(x, distribution_of(univariate).initial_params(x)[..., None].expand(-1, *x.shape))[0]
    quartiles = torch.quantile(y, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    assert quartiles == pytest.approx([-math.log(3), 0, math.log(3)], abs=0.15)


def test_the_likelihood_of_the_fit_rises_with_every_step(monkeypatch):
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(1, 500, generator=generator, dtype=torch.float64).mul(6).sub(3).sin()
    scores = []
    for steps in (1, 2, 4, 8, 16):
        monkeypatch.setattr("pushforward.univariate.mixture_fit.STEPS", steps)
        weight, mean, deviation = fit_gaussians(x, 4, 1e-3, 0.01)
        u = (x - mean[..., None]) / deviation[..., None]
        inside = (weight / deviation).log()[..., None] + math.log1p(-1e-3) - 0.5 * u.square()
        outside = math.log(1e-3) - 0.5 * x.square()
        scores.append(torch.logsumexp(torch.cat([inside, outside[None]]), dim=0).mean().item())
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.01


@each_kind
@pytest.mark.parametrize(
    "x",
    [torch.ones(2, 50), torch.arange(50.0).remainder(3).expand(2, -1), torch.randn(2, 3), 1e6 * torch.randn(2, 40)],
    ids=["constant", "three values", "three rows", "huge"],
)
def test_any_sample_gives_a_usable_start(kind, x):
    univariate = kind(6)
    params = distribution_of(univariate).initial_params(x)
    assert params.shape == (18, 2)
    assert params.dtype == x.dtype
    y, log_slope = univariate(x, params[..., None].expand(-1, *x.shape))
    assert (params.isfinite().all(), y.isfinite().all(), log_slope.isfinite().all()) == (True, True, True)

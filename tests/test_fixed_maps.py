"""Elementwise maps without parameters, distribution functions, boxes and registered functions: what properties that
hold for all univariates do not show, such as the digits of far tails."""

import json
import math

import mpmath
import pytest
import torch

import pushforward as pf
from pushforward.bijections import Autoregressive, Coupling, Elementwise
from pushforward.core.config import build
from pushforward.distributions import Flow, StandardNormal, Uniform
from pushforward.univariate import (
    CDF,
    Affine,
    Composed,
    Exp,
    InBox,
    Inverted,
    LeakyReLU,
    LeakyTanh,
    Log,
    Logit,
    Monotone,
    PerFeature,
    RationalQuadratic,
    Shift,
    Sigmoid,
    SignedPower,
    Softplus,
    Tanh,
    register_monotone,
)
from pushforward.univariate.monotone import FUNCTIONS

NONE = torch.empty(0, 1, dtype=torch.float64)
mp = mpmath.mp.clone()
mp.dps = 60


def at(univariate, x, dtype=torch.float64):
    x = torch.tensor([x], dtype=dtype)
    y, log_slope = univariate(x, torch.empty(0, 1, dtype=dtype))
    return y.item(), log_slope.item()


EXACT = {
    "Exp": (Exp(), mp.exp, lambda x: x),
    "Softplus": (Softplus(), lambda x: mp.log1p(mp.exp(x)), lambda x: -mp.log1p(mp.exp(-x))),
    "Tanh": (Tanh(), mp.tanh, lambda x: -2 * mp.log(mp.cosh(x))),
    "Sigmoid": (Sigmoid(), lambda x: 1 / (1 + mp.exp(-x)), lambda x: -x - 2 * mp.log1p(mp.exp(-x))),
    "normal": (CDF("normal"), lambda x: mp.erfc(-x / mp.sqrt(2)) / 2, lambda x: -x * x / 2 - mp.log(2 * mp.pi) / 2),
    "laplace": (
        CDF("laplace"),
        lambda x: mp.exp(x) / 2 if x < 0 else 1 - mp.exp(-x) / 2,
        lambda x: -abs(x) - mp.log(2),
    ),
    "cauchy": (CDF("cauchy"), lambda x: mp.atan2(1, -x) / mp.pi, lambda x: -mp.log(mp.pi * (1 + x * x))),
    "gumbel": (CDF("gumbel"), lambda x: mp.exp(-mp.exp(-x)), lambda x: -x - mp.exp(-x)),
    "secant": (CDF("secant"), lambda x: 2 * mp.atan(mp.exp(x)) / mp.pi, lambda x: -mp.log(mp.cosh(x) * mp.pi)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_values_and_log_slopes_have_all_digits_far_out(name, dtype):
    univariate, value, log_slope = EXACT[name]
    eps = torch.finfo(dtype).eps
    for x in (-80.0, -30.0, -12.5, -3.0, -0.25, 0.0, 0.25, 3.0, 12.5, 30.0, 80.0):
        y, slope = at(univariate, x, dtype)
        expected = float(value(mp.mpf(x)))
        if torch.finfo(dtype).tiny < abs(expected) < torch.finfo(dtype).max:
            # Rounding of an argument of size |x| of an exponential is |x| roundings of its value.
            assert y == pytest.approx(expected, rel=(8 + 4 * abs(x)) * eps), (x, y, expected)
        if abs(x) < 50 or name != "gumbel":
            assert slope == pytest.approx(float(log_slope(mp.mpf(x))), rel=16 * eps, abs=16 * eps), x


@pytest.mark.parametrize("family", ["normal", "logistic", "laplace", "cauchy", "gumbel", "secant", "exponential"])
def test_quantiles_of_tiny_probabilities(family):
    """Down to 10^-300 the quantile's own distribution function gives the probability again, in relative terms."""
    univariate = CDF(family)
    u = torch.tensor([1e-300, 1e-100, 1e-20, 1e-8, 0.01, 0.2499, 0.2501, 0.5, 0.75, 0.99], dtype=torch.float64)
    x, _ = univariate.inverse(u, torch.empty(0, 10, dtype=torch.float64))
    back = univariate(x, torch.empty(0, 10, dtype=torch.float64))[0]
    torch.testing.assert_close(back, u, rtol=1e-12, atol=0.0)


def test_logit_of_numbers_near_zero():
    assert at(Logit(), 1e-300)[0] == pytest.approx(-300 * math.log(10), rel=1e-15)
    assert at(Inverted(CDF("normal")), 1e-250)[0] == pytest.approx(-33.8, abs=0.1)


def test_ends_of_intervals_stay_finite():
    for univariate in (Logit(), Logit(-1.0, 3.0), Inverted(Tanh()), Inverted(CDF("cauchy"))):
        x = torch.tensor(univariate.domain.ends, dtype=torch.float64)
        y, log_slope = univariate(x, torch.empty(0, 2, dtype=torch.float64))
        assert y.isfinite().all()
        assert log_slope.isfinite().all()
    assert at(Log(), 0.0)[0] < -700


def test_leaky_tanh_is_continuous_with_its_slope_at_the_bound():
    for tails in ("linear", "log"):
        univariate = LeakyTanh(1.5, tails=tails)
        x = torch.tensor([1.5 - 1e-9, 1.5, 1.5 + 1e-9], dtype=torch.float64)
        y, log_slope = univariate(x, torch.empty(0, 3, dtype=torch.float64))
        assert y[1] == pytest.approx(math.tanh(1.5), rel=1e-12)
        assert log_slope.diff().abs().max() < 1e-8


def test_powers_and_leaky_lines_with_known_values():
    assert at(SignedPower(3.0), -2.0) == (-8.0, pytest.approx(math.log(12.0)))
    assert at(LeakyReLU(0.1), -3.0) == (pytest.approx(-0.3), pytest.approx(math.log(0.1)))
    assert at(LeakyReLU(0.1), 3.0) == (3.0, 0.0)


def test_a_log_normal_density_integrates_and_vanishes_outside():
    flow = Flow(StandardNormal(1), Elementwise(Exp(), 1))
    x = torch.tensor([[2.0], [-1.0], [0.0]])
    expected = torch.distributions.LogNormal(0.0, 1.0).log_prob(torch.tensor(2.0))
    log_prob = flow.log_prob(x)
    assert log_prob[0] == pytest.approx(expected.item(), rel=1e-6)
    assert log_prob[1] == -torch.inf
    assert log_prob[2] < -1000


def test_a_distribution_function_makes_its_family_uniform():
    flow = Flow(Uniform([0.0], [1.0]), Elementwise(Inverted(CDF("gumbel")), 1))
    expected = torch.distributions.Gumbel(0.0, 1.0).log_prob(torch.tensor(0.7))
    assert flow.log_prob(torch.tensor([0.7])).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("layer", [Coupling, Autoregressive])
def test_maps_without_parameters_need_one_with_in_conditional_layers(layer):
    with pytest.raises(ValueError, match=r"Exp has no parameters .* Use Composed\(\[Affine\(\), Exp\(\)\]\)"):
        layer(Exp(), 3)
    with pytest.raises(ValueError, match=r"Logit has no parameters .* Use Composed\(\[Logit\(\), Affine\(\)\]\)"):
        Elementwise(Logit(), 2, context=1)
    bijection = layer(Composed([Affine(), Exp()]), 3, hidden=(8,))
    assert (bijection(torch.zeros(4, 3)).min() > 0) or layer is Coupling


# --- boxes -----------------------------------------------------------------------------------------------------------


def test_an_asymmetric_box_keeps_its_ends_and_moves_what_is_inside():
    univariate = InBox(RationalQuadratic(4), -1.0, 6.0).double()
    x = torch.tensor([-3.0, -1.0, 2.0, 6.0, 9.0], dtype=torch.float64)
    y, log_slope = univariate(x, torch.randn(11, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(y[[0, 1, 3, 4]], x[[0, 1, 3, 4]])
    assert (y[2] - 2.0).abs() > 1e-3
    assert log_slope[0] == log_slope[4] == 0


def test_bounds_per_feature_give_a_density_on_a_box():
    maps = PerFeature(
        [InBox(RationalQuadratic(4), 0.0, 1.0, closed=True), InBox(RationalQuadratic(4), -2.0, 6.0, closed=True)]
    )
    flow = Flow(Uniform([0.0, -2.0], [1.0, 6.0]), Elementwise(maps, 2)).double()
    torch.nn.init.normal_(flow.bijection.params, generator=torch.Generator().manual_seed(1))
    cells = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    grid = torch.cartesian_prod(cells, 8 * cells - 2)
    assert (flow.log_prob(grid).exp().mean() * 8).item() == pytest.approx(1.0, abs=1e-3)
    assert flow.log_prob(torch.tensor([0.5, 6.5], dtype=torch.float64)) == -torch.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InBox(Affine(), 0.0, 1.0), r"InBox: univariate must be a map that has a box; got Affine\."),
        (
            lambda: InBox(RationalQuadratic(4), 1.0, 0.0),
            r"InBox: the ends of a box must be two finite numbers in order",
        ),
        (
            lambda: InBox(pf.univariate.Bernstein(4), 0.0, 1.0, closed=True),
            r"InBox: closed needs a map of its box onto",
        ),
        (lambda: Inverted(pf.univariate.Bernstein(4)), r"Inverted: the inverse of Bernstein is a numeric search"),
        (lambda: Inverted("Exp"), r"Inverted: univariate must be one Univariate\."),
        (lambda: CDF("gauss"), r"CDF: family must be one of 'normal', .*; got 'gauss'\."),
        (lambda: Sigmoid(1.0, 0.0), r"Sigmoid: low must be a number below high; got \[1\.0, 0\.0\]\."),
        (lambda: Logit(0.0, math.inf), r"Logit: low must be a number below high"),
        (lambda: SignedPower(-1.0), r"SignedPower: power must be a positive number; got -1\.0\."),
        (lambda: SignedPower(bound=1.0), r"SignedPower: bound must be above one; got 1\.0\."),
        (lambda: LeakyReLU(0.0), r"LeakyReLU: slope must be a positive number; got 0\.0\."),
        (lambda: LeakyTanh(3.0, tails="cubic"), r"LeakyTanh: tails must be one of 'linear', 'log'; got 'cubic'\."),
    ],
)
def test_a_map_that_cannot_be_built_says_why(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- registered functions --------------------------------------------------------------------------------------------


@pytest.fixture
def cubic():
    @register_monotone("test_cubic", num_params=1)
    def cubic(x, params):
        return x + torch.nn.functional.softplus(params[0]) * x**3

    yield Monotone("test_cubic")
    del FUNCTIONS["test_cubic"]


def test_a_registered_function_is_inverted_numerically_with_gradients(cubic):
    y = torch.tensor([-3e5, -1.0, 0.0, 0.7, 1e12], dtype=torch.float64, requires_grad=True)
    params = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    x, log_slope = cubic.inverse(y, params)
    torch.testing.assert_close(cubic(x, params)[0], y, rtol=1e-12, atol=1e-12)
    a = torch.nn.functional.softplus(params[0])
    torch.testing.assert_close(log_slope, -(1 + 3 * a * x**2).log())
    (slope,) = torch.autograd.grad(x.sum(), y, retain_graph=True)
    torch.testing.assert_close(slope, (1 / (1 + 3 * a * x**2)).detach())
    (slope_in_params,) = torch.autograd.grad(x[3], params)
    expected = -torch.sigmoid(params[0]) * x[3] ** 3 / (1 + 3 * a * x[3] ** 2)
    torch.testing.assert_close(slope_in_params[0], expected.detach())


def test_a_registered_function_works_in_layers_and_round_trips(cubic):
    layer = Autoregressive(cubic, 3, hidden=(8,)).double()
    torch.nn.init.normal_(layer.conditioner.last.weight, generator=torch.Generator().manual_seed(2))
    x = torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(layer.inverse(layer(x)), x)
    assert build(json.loads(json.dumps(layer.config))).univariate.registered.num_params == 1


def test_a_value_that_a_function_does_not_reach_is_nan_for_its_row_alone():
    @register_monotone("test_bounded", image=(-1.0, 1.0))
    def bounded(x, params):
        return x / (1 + x.abs())

    try:
        x, log_slope = Monotone("test_bounded").inverse(torch.tensor([0.5, 2.0, -0.25]), torch.empty(0, 3))
    finally:
        del FUNCTIONS["test_bounded"]
    assert x[[0, 2]].tolist() == pytest.approx([1.0, -1 / 3], rel=1e-5)
    assert x[1].isnan()
    assert log_slope[1].isnan()


def test_functions_on_half_lines_and_with_formulas():
    @register_monotone("test_log", domain=(0.0, math.inf), log_slope=lambda x, p: -x.log())
    def log(x, params):
        return x.log()

    @register_monotone("test_mirrored", domain=(-math.inf, 2.0))
    def mirrored(x, params):
        return -(2 - x).log()

    @register_monotone("test_interval", domain=(0.0, 1.0))
    def interval(x, params):
        return x.log() - (-x).log1p()

    @register_monotone("test_double", inverse=lambda y, p: y / 2)
    def double(x, params):
        return 2 * x

    try:
        y = torch.tensor([-40.0, 0.0, 50.0], dtype=torch.float64)
        x, log_slope = Monotone("test_log").inverse(y, torch.empty(0, 3, dtype=torch.float64))
        torch.testing.assert_close(x.log(), y)
        torch.testing.assert_close(log_slope, y)
        for name in ("test_mirrored", "test_interval"):
            near = torch.tensor([-20.0, 0.0, 20.0], dtype=torch.float64)
            x, _ = Monotone(name).inverse(near, torch.empty(0, 3, dtype=torch.float64))
            torch.testing.assert_close(x, 2 - (-near).exp() if name == "test_mirrored" else near.sigmoid())
        doubled = Monotone("test_double")
        assert doubled.inverse_kind == "exact"
        assert doubled.inverse(y, NONE)[0].tolist() == [-20.0, 0.0, 25.0]
    finally:
        for name in ("log", "mirrored", "interval", "double"):
            del FUNCTIONS[f"test_{name}"]


def test_an_unknown_function_is_refused_when_a_model_is_loaded(tmp_path, cubic):
    flow = Flow(StandardNormal(1), Elementwise(cubic, 1))
    pf.save(flow, tmp_path / "flow.safetensors")
    x = torch.tensor([[0.3]])
    torch.testing.assert_close(pf.load(tmp_path / "flow.safetensors").log_prob(x), flow.log_prob(x))
    kept = FUNCTIONS.pop("test_cubic")
    try:
        with pytest.raises(
            ValueError, match=r"no increasing function is registered as 'test_cubic'; .* Import the mod"
        ):
            pf.load(tmp_path / "flow.safetensors")
    finally:
        FUNCTIONS["test_cubic"] = kept


def test_registration_refuses_taken_names_and_bad_arguments():
    def elsewhere(x, params):
        return x

    elsewhere.__module__ = "another"
    with pytest.raises(ValueError, match=r"register_monotone: the name 'nonlinear_squared' is taken by pushforward\."):
        register_monotone("nonlinear_squared")(elsewhere)
    with pytest.raises(ValueError, match=r"register_monotone: name must be a string; got ''\."):
        register_monotone("")
    with pytest.raises(
        ValueError, match=r"register_monotone: num_params must be a whole number of at least 0; got -1\."
    ):
        register_monotone("x", num_params=-1)
    with pytest.raises(
        ValueError, match=r"register_monotone: the ends of an interval must be in order; got \(1, 0\)\."
    ):
        register_monotone("x", domain=(1, 0))


def test_the_bump_function_increases_for_extreme_parameters():
    x = torch.linspace(-30, 30, 20001, dtype=torch.float64)
    params = 50 * torch.randn(5, 200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    y, log_slope = Monotone("nonlinear_squared")(x.expand(200, -1), params)
    assert log_slope.isfinite().all()
    assert (y.diff(dim=-1) >= 0).all()


def test_circular_beside_positive_and_real_features_in_one_layer():
    maps = PerFeature([pf.univariate.CircularShift(), Composed([Affine(), Exp()]), Shift()])
    layer = Autoregressive(maps, 3, hidden=(8,)).double()
    assert [part.ends for part in layer.codomain.parts][1] == (0.0, math.inf)
    x = layer.domain.example((5, 3))
    y, ladj = layer.forward_and_ladj(x)
    torch.testing.assert_close(ladj, y[:, 1].log())

"""Every law of univariates over every registered one, with hypothesis choosing points and parameters."""

import math

import laws_univariate as laws
import pytest
import torch
from cases import UNIVARIATES, generator, label
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.core.config import build
from pushforward.univariate import RationalQuadratic

POINTWISE = [
    laws.shapes,
    laws.round_trip,
    laws.inverse_slope,
    laws.slope_is_derivative,
    laws.gradients_are_finite,
    laws.value_path_is_pair_path,
    laws.increasing,
]
each = pytest.mark.parametrize("config", UNIVARIATES, ids=label)
each_law = pytest.mark.parametrize("law", POINTWISE, ids=lambda law: law.__name__)

N = 3
EXTREME = st.one_of(st.sampled_from([-50.0, 0.0, 50.0]), st.floats(-50.0, 50.0))
MODERATE = st.floats(-3.0, 3.0)


def points(univariate):
    """Anywhere, far out, and where splines change over: the ends of the box, evenly spaced knots, their neighbours."""
    bound = getattr(univariate, "bound", 3.0)
    knots = [bound * k / 6 for k in range(-6, 7)] + [bound * (2 * k / 5 - 1) for k in range(6)]
    near = [math.nextafter(k, to) for k in (-bound, bound) for to in (-math.inf, math.inf)]
    far = [-1e100, -1e15, 1e15, 1e100]
    return st.one_of(st.sampled_from(knots + near + far), st.floats(-1.5 * bound, 1.5 * bound), st.floats(-1e6, 1e6))


@st.composite
def situations(draw, univariate, numbers):
    x = draw(st.lists(points(univariate), min_size=N, max_size=N))
    size = univariate.num_params * N
    params = draw(st.lists(numbers, min_size=size, max_size=size))
    return torch.tensor(x, dtype=torch.float64), torch.tensor(params, dtype=torch.float64).reshape(-1, N)


@each
@each_law
@pytest.mark.parametrize("numbers", [MODERATE, EXTREME], ids=["moderate", "extreme"])
def test_every_univariate_keeps_the_law(config, law, numbers):
    univariate = build(config)

    @settings(max_examples=40, database=None)
    @given(situations(univariate, numbers))
    def holds(situation):
        law(univariate, *situation)

    holds()


@each
@each_law
def test_in_single_precision(config, law):
    """What the layers hand over in training: many points, moderate parameters, float32."""
    univariate = build(config)
    random = generator(5)
    x = 3 * torch.randn(64, generator=random)
    law(univariate, x, 0.5 * torch.randn(univariate.num_params, 64, generator=random))


@each
def test_many_axes_and_none(config):
    univariate = build(config)
    for shape in ((), (0,), (2, 3, 4)):
        x = torch.randn(shape, dtype=torch.float64)
        laws.shapes(univariate, x, torch.randn(univariate.num_params, *shape, dtype=torch.float64))


@each
@pytest.mark.parametrize("size", [0.3, 1.0])
def test_no_jumps(config, size):
    univariate = build(config)
    random = torch.randn(univariate.num_params, 6, generator=generator(6), dtype=torch.float64)
    laws.continuous(univariate, size * random)


IDENTITY = [config for config in UNIVARIATES if config["type"] in ("Affine", "RationalQuadratic", "Shift")]


@pytest.mark.parametrize("config", IDENTITY, ids=label)
def test_zero_parameters_are_the_identity(config):
    univariate = build(config)
    x = torch.linspace(-8, 8, 65, dtype=torch.float64)
    y, log_slope = univariate(x, torch.zeros(univariate.num_params, 65, dtype=torch.float64))
    laws.close(y, x, "the value at zero parameters")
    laws.close(log_slope, torch.zeros_like(x), "the log-slope at zero parameters")


def test_the_slope_of_a_spline_is_one_at_the_ends_of_its_box():
    """Inside and outside meet: slope one, exactly at ±bound and next to it."""
    spline = RationalQuadratic(5, bound=3.0).to(torch.float64)
    params = torch.randn(spline.num_params, 6, generator=generator(7), dtype=torch.float64)
    inner = 3.0 - 1e-9
    x = torch.tensor([-3.0, -inner, -3.1, inner, 3.0, 3.1], dtype=torch.float64)
    y, log_slope = spline(x, params)
    assert y[[0, 4]].tolist() == [-3.0, 3.0]
    laws.close(log_slope, torch.zeros(6, dtype=torch.float64), "log-slope at the ends", {torch.float64: 1e-6})


@pytest.mark.parametrize("bins", [2, 8, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_spline_maps_its_box_onto_itself(bins, dtype):
    spline = RationalQuadratic(bins).to(dtype)
    params = 4 * torch.randn(spline.num_params, 200, generator=generator(8), dtype=torch.float64).to(dtype)
    x = torch.cat([torch.linspace(-5, 5, 198, dtype=torch.float64), torch.tensor([-5.0, 5.0])]).to(dtype)
    for direction in (spline.forward, spline.inverse):
        y = direction(x, params)[0]
        assert y.abs().max() <= 5
        assert y[-2:].tolist() == [-5.0, 5.0]

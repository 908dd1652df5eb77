"""Every prop of univariates over every registered one, with hypothesis choosing points and parameters."""

import math

import properties_univariate as properties
import pytest
import torch
from cases import UNIVARIATES, generator, label
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.core.config import build
from pushforward.core.domain import Circle

POINTWISE = [
    properties.shapes,
    properties.round_trip,
    properties.onto,
    properties.inverse_slope,
    properties.slope_is_derivative,
    properties.gradients_are_finite,
    properties.value_path_is_pair_path,
    properties.shared_parameters,
    properties.increasing,
]
each = pytest.mark.parametrize("config", UNIVARIATES, ids=label)

N = 3
EXTREME = st.one_of(st.sampled_from([-50.0, 0.0, 50.0]), st.floats(-50.0, 50.0))
MODERATE = st.floats(-3.0, 3.0)
BOTH_SIZES = pytest.mark.parametrize("numbers", [MODERATE, EXTREME], ids=["moderate", "extreme"])


def points(univariate, dtype):
    """Anywhere, far out, and where splines change over: the ends of the box, evenly spaced knots, their neighbours.

    A map that grows faster than straight states how far out its values fit into float64, its ``reach``. What grows
    exponentially fits float32 an eighth as far.
    """
    bound = getattr(univariate, "bound", 3.0)
    circle = isinstance(univariate.domain, Circle)
    last = math.nextafter(math.pi, 0) if circle else getattr(univariate, "reach", math.inf)
    far = [10.0**k for k in (6, 15, 100)]
    if dtype == torch.float32 and not circle:
        last, far = last / 8, far[:2]
    ends = [math.nextafter(end, to) for end in (-bound, bound) for to in (-math.inf, math.inf)]
    knots = [bound * k / 6 for k in range(-6, 7)] + [bound * (2 * k / 5 - 1) for k in range(6)]
    special = [x for x in knots + ends + [sign * x for x in far for sign in (-1, 1)] if abs(x) <= last]
    wide = [st.floats(-min(size, last), min(size, last)) for size in (1.5 * bound, 1e6)]
    return st.one_of(st.sampled_from(special), *wide)


def in_domain(univariate, x):
    """Rounding to float32 may close the circle."""
    return properties.inside(univariate.domain, x)


@st.composite
def situations(draw, univariate, numbers, dtype):
    x = draw(st.lists(points(univariate, dtype), min_size=N, max_size=N))
    size = univariate.num_params * N
    params = draw(st.lists(numbers, min_size=size, max_size=size))
    return in_domain(univariate, torch.tensor(x, dtype=dtype)), torch.tensor(params, dtype=dtype).reshape(-1, N)


def calm(config, numbers):
    """What rounding does between the parts of a composition, the next part may magnify without limit."""
    if config["type"] == "Composed" and numbers is EXTREME:
        pytest.skip("its parts are tried alone")


def hold(some, univariate, numbers, dtype, examples):
    """All of these properties at each drawn situation: drawing takes longer than checking."""

    @settings(max_examples=examples, database=None)
    @given(situations(univariate, numbers, dtype))
    def check(situation):
        for prop in some:
            try:
                prop(univariate, *situation)
            except AssertionError as error:
                raise AssertionError(f"{prop.__name__}: {error}") from error

    check()


@each
@BOTH_SIZES
def test_every_univariate_keeps_the_properties(config, numbers):
    calm(config, numbers)
    hold(POINTWISE, build(config).to(torch.float64), numbers, torch.float64, 20)


@each
@BOTH_SIZES
def test_in_single_precision(config, numbers):
    calm(config, numbers)
    steep = (
        properties.inverse_slope,
        properties.slope_is_derivative,
    )  # slopes of extreme maps change between neighbours
    some = [prop for prop in POINTWISE if numbers is MODERATE or prop not in steep]
    hold(some, build(config), numbers, torch.float32, 10)


@each
@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [(MODERATE, torch.float64), (EXTREME, torch.float64), (MODERATE, torch.float32)],  # float32 resolves no more
    ids=["moderate-float64", "extreme-float64", "moderate-float32"],
)
def test_no_jumps(config, numbers, dtype):
    calm(config, numbers)
    univariate = build(config).to(dtype)
    size = univariate.num_params * N

    @settings(max_examples=5, database=None)
    @given(st.lists(numbers, min_size=size, max_size=size))
    def check(params):
        properties.continuous(univariate, torch.tensor(params, dtype=dtype).reshape(-1, N))

    check()


@each
def test_many_axes_and_none(config):
    univariate = build(config).to(torch.float64)
    for shape in ((), (0,), (2, 3, 4)):
        x = univariate.domain.example(shape, generator(5))
        properties.shapes(univariate, x, torch.randn(univariate.num_params, *shape, dtype=torch.float64))


@pytest.mark.parametrize("size", [0.7, 8.0], ids=["gentle", "wild"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "config", [config for config in UNIVARIATES if build(config).inverse_kind == "iterative"], ids=label
)
def test_many_points_with_the_same_parameters_are_inverted_as_one(config, dtype, size):
    """Their inverse starts from a table; single points start from scratch. An outlier makes the table coarse."""
    univariate = build(config).to(dtype)
    params = size * torch.randn(univariate.num_params, 3, 1, generator=generator(6), dtype=dtype)
    y = univariate.codomain.example((3, 600), generator(7)).to(dtype)
    if not isinstance(univariate.codomain, Circle):
        y[1] *= 3
        y[2, 5] = 1e4
    with torch.no_grad():
        x, log_slope = univariate.inverse(y, params)
        alone, slope_alone = univariate.inverse(y, params.expand(-1, *y.shape))
        images = univariate(x, params)[0]
    room = properties.digits(y) + properties.digits(x) * torch.exp(-torch.minimum(log_slope, slope_alone))
    assert (properties.apart(univariate.codomain, images, y).abs() <= room).all()
    room = properties.digits(x) + properties.digits(y) * torch.exp(torch.maximum(log_slope, slope_alone))
    assert (properties.apart(univariate.domain, x, alone).abs() <= room).all()


IDENTITY = {
    "Affine",
    "Bernstein",
    "CircularRationalQuadratic",
    "CircularShift",
    "CubicSpline",
    "Composed",
    "IntegratedNetwork",
    "LinearRational",
    "LinearSpline",
    "QuadraticSpline",
    "RationalQuadratic",
    "Shift",
    "SinhArcsinh",
    "SumOfSquares",
    "YeoJohnson",
}


@pytest.mark.parametrize("config", [config for config in UNIVARIATES if config["type"] in IDENTITY], ids=label)
def test_zero_parameters_are_the_identity(config):
    univariate = build(config).to(torch.float64)
    x = univariate.domain.example((65,), generator(6))
    x = x if isinstance(univariate.domain, Circle) else 4 * x
    y, log_slope = univariate(x, torch.zeros(univariate.num_params, 65, dtype=torch.float64))
    properties.close(y, x, "the value at zero parameters")
    properties.close(log_slope, torch.zeros_like(x), "the log-slope at zero parameters")


# Equal parts would get equal gradients, which vanish on standardised data: these stand apart, close to the identity.
NEARLY = ["DeepSigmoidal", "DenseDeepSigmoidal", "GaussianMixtureCDF", "LogisticMixtureCDF"]


@pytest.mark.parametrize("config", [config for config in UNIVARIATES if config["type"] in NEARLY], ids=label)
def test_zero_parameters_are_nearly_the_identity_and_no_saddle(config):
    univariate = build(config).to(torch.float64)
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    params = torch.zeros(univariate.num_params, 1, dtype=torch.float64, requires_grad=True)
    y, log_slope = univariate(x, params.expand(-1, 41))
    assert (y - x).abs().max() < 0.5
    assert log_slope.abs().max() < 0.4
    z = 0.8 * torch.randn(2000, dtype=torch.float64, generator=generator(7))
    z = torch.where(z > 0, z + 0.6, z - 0.6)  # two bumps, standardised: no affine map does better
    z = (z - z.mean()) / z.std(correction=0)
    y, log_slope = univariate(z, params.expand(-1, 2000))
    (slope,) = torch.autograd.grad((log_slope - 0.5 * y.square()).mean(), params)
    assert slope.abs().max() > 0.01

"""Every property of univariates over every registered one: ordinary and extreme parameters, trouble spots, both dtypes.

`pushforward.testing` draws a few hundred points and parameters at once; hypothesis, which searches for the smallest
counterexample, chooses some more in `make test-all`.
"""

import pytest
import torch
from cases import UNIVARIATES, exhaustive, firsts, generator, label
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.core.config import build
from pushforward.core.domain import Circle
from pushforward.testing import failures, univariate_properties, univariates
from pushforward.testing.comparison import close
from pushforward.testing.continuity import continuous
from pushforward.testing.modules import moves_whole, overrides_no_module_name
from pushforward.testing.univariate_points import EXTREME, MODERATE, random_params, random_points, trouble_spots
from pushforward.testing.univariates import difference, rounding, spread

each = pytest.mark.parametrize("config", UNIVARIATES, ids=label)
BOTH_SIZES = pytest.mark.parametrize("size", [MODERATE, EXTREME], ids=["moderate", "extreme"])

POINTS = 96
STEEP = {"inverse_slope", "slope_is_derivative", "continuous"}
"""In single precision slopes of extreme maps change between neighbouring numbers."""


def skip_steep_compositions(config, size):
    """What rounding does between the parts of a composition, the next part may magnify without limit."""
    if config["type"] == "Composed" and size == EXTREME:
        pytest.skip("its parts are tried alone")


def keeps_every_property(subtests, config, dtype, size, names=None):
    univariate = build(config).to(dtype)
    random = generator(int(size))
    x = random_points(univariate, POINTS, dtype, random)
    checks = univariate_properties(univariate, x, random_params(univariate, POINTS, size, dtype, random))
    for name, error in failures({k: v for k, v in checks.items() if names is None or k in names}).items():
        with subtests.test(name):
            raise error


MORE = [config for config in UNIVARIATES if config not in firsts(UNIVARIATES)]
SITUATIONS = [(config, size) for size in (MODERATE, EXTREME) for config in UNIVARIATES]


@pytest.mark.parametrize(
    ("config", "size"),
    [
        pytest.param(config, size, id=f"{label(config)}-{size:g}", marks=[exhaustive] * (config in MORE))
        for config, size in SITUATIONS
    ],
)
def test_every_univariate_keeps_the_properties(config, size, subtests):
    skip_steep_compositions(config, size)
    keeps_every_property(subtests, config, torch.float64, size)
    for prop in (moves_whole, overrides_no_module_name):
        with subtests.test(prop.__name__):
            prop(build(config))


@pytest.mark.parametrize("config", firsts(UNIVARIATES), ids=label)
@BOTH_SIZES
def test_in_single_precision(config, size, subtests):
    skip_steep_compositions(config, size)
    some = set(univariate_properties(build(config), torch.zeros(1), torch.zeros(build(config).num_params, 1)))
    keeps_every_property(subtests, config, torch.float32, size, some - (STEEP if size == EXTREME else set()))


# --- the same, points and parameters chosen by hypothesis ------------------------------------------------------------

N = 3
NUMBERS = {EXTREME: st.one_of(st.sampled_from([-EXTREME, 0.0, EXTREME]), st.floats(-EXTREME, EXTREME))}
NUMBERS[MODERATE] = st.floats(-MODERATE, MODERATE)


@st.composite
def situations(draw, univariate, size):
    """Points anywhere, far out, and where splines change over; and parameters."""
    spots = trouble_spots(univariate, torch.float64)
    last = max(map(abs, spots))
    wide = [st.floats(-min(end, last), min(end, last)) for end in (1.5 * getattr(univariate, "bound", 3.0), 1e6)]
    x = draw(st.lists(st.one_of(st.sampled_from(spots), *wide), min_size=N, max_size=N))
    count = univariate.num_params * N
    params = draw(st.lists(NUMBERS[size], min_size=count, max_size=count))
    x = spread(univariate.domain, torch.tensor(x, dtype=torch.float64))
    return x, torch.tensor(params, dtype=torch.float64).reshape(-1, N)


@exhaustive
@each
@BOTH_SIZES
def test_hypothesis_finds_no_counterexample(config, size):
    skip_steep_compositions(config, size)
    univariate = build(config).to(torch.float64)

    @settings(max_examples=50, database=None)
    @given(situations(univariate, size))
    def check(situation):
        for name, prop in univariate_properties(univariate, *situation).items():
            if name != "continuous":
                try:
                    prop()
                except AssertionError as error:
                    raise AssertionError(f"{name}: {error}") from error
        continuous(univariate, situation[1])

    check()


# --- shapes, tables of inverses, starts ------------------------------------------------------------------------------


@each
def test_many_axes_and_none(config):
    univariate = build(config).to(torch.float64)
    for shape in ((), (0,), (2, 3, 4)):
        x = univariate.domain.example(shape, generator(5))
        univariates.shapes(univariate, x, torch.randn(univariate.num_params, *shape, dtype=torch.float64))


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
    tolerance = rounding(y) + rounding(x) * torch.exp(-torch.minimum(log_slope, slope_alone))
    assert (difference(univariate.codomain, images, y).abs() <= tolerance).all()
    tolerance = rounding(x) + rounding(y) * torch.exp(torch.maximum(log_slope, slope_alone))
    assert (difference(univariate.domain, x, alone).abs() <= tolerance).all()


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
    close(y, x, "the value at zero parameters")
    close(log_slope, torch.zeros_like(x), "the log-slope at zero parameters")


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

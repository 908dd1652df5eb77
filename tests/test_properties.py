"""Every property over every registered part and every named flow: one test a configuration, which names what fails."""

import importlib
import inspect
import pkgutil

import pytest
import torch
from cases import (
    BIJECTIONS,
    DISTRIBUTIONS,
    FLOW_SPECS,
    GENTLE,
    MORE_LAYERS,
    THOROUGH,
    UNIVARIATES,
    all_flow_specs,
    bijection_of,
    exhaustive,
    firsts,
    inputs,
    label,
    named_flow,
    randomize,
    with_rest,
)
from torch import nn

import pushforward
from pushforward import bijections, distributions, univariate
from pushforward.bijections import Autoregressive
from pushforward.core.config import REGISTRY
from pushforward.core.domain import Real
from pushforward.distributions.context import ContextMap
from pushforward.testing import Case, bijection_properties, failures
from pushforward.testing.comparison import close
from pushforward.testing.dependence import dependence
from pushforward.testing.modules import float32_is_close
from pushforward.univariate import Affine

ROWS = 48  # a dependence through rectified units shows at some points only


def each(configs):
    return pytest.mark.parametrize("config", configs, ids=label)


def keeps_every_property(subtests, bijection, *, dtype=torch.float64, names=None):
    """One subtest for each property that fails, under its name."""
    checks = bijection_properties(bijection, *inputs(bijection, (ROWS,), dtype=dtype))
    for name, error in failures({k: v for k, v in checks.items() if names is None or k in names}).items():
        with subtests.test(name):
            raise error


@each(with_rest(BIJECTIONS, MORE_LAYERS))
def test_every_example_keeps_the_properties(config, subtests):
    keeps_every_property(subtests, bijection_of(config))


# One flow meets every pair of options; of the others the layers and univariates are tried by themselves.
SOME_FLOWS = [config for config in FLOW_SPECS if config["flow"] in (*THOROUGH, "circular_nsf", "triangular_map")]


@each(with_rest(SOME_FLOWS, [config for config in FLOW_SPECS if config not in SOME_FLOWS]))
def test_every_named_flow_keeps_the_properties(config, subtests):
    keeps_every_property(subtests, bijection_of(config))


@exhaustive
@each(list(all_flow_specs()))
def test_every_combination_of_options_keeps_the_properties(config, subtests):
    keeps_every_property(subtests, bijection_of(config))


# The dtype of a class's arithmetic does not depend on its options; with `make test-all` every configuration runs.
ONCE_A_CLASS = firsts([*BIJECTIONS, *FLOW_SPECS])
REST = [config for config in [*BIJECTIONS, *MORE_LAYERS, *FLOW_SPECS] if config not in ONCE_A_CLASS]
MANY_TIMES = with_rest(ONCE_A_CLASS, REST)


@each(MANY_TIMES)
def test_in_single_precision(config, subtests):
    keeps_every_property(subtests, bijection_of(config, torch.float32, GENTLE), dtype=torch.float32)
    double = bijection_of(config, size=GENTLE)
    float32_is_close(Case(double, *inputs(double)))


@each(MANY_TIMES)
def test_the_inverse_keeps_the_properties_too(config, subtests):
    bijection = bijection_of(config).inv
    if not isinstance(bijection.domain, Real):
        pytest.skip("its points come from the map's own side")
    names = {"shapes_and_dtypes", "round_trip", "ladj_is_slogdet", "dependence"}
    keeps_every_property(subtests, bijection, names=names)


# --- narrow networks lose nothing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [0, 1, 2])
@pytest.mark.parametrize("conditioner", ["plain", "residual"])
@pytest.mark.parametrize("hidden", [(1,), (1, 1, 1), (2, 2, 2, 2, 2, 2), (7, 7)], ids=str)
def test_no_dependence_is_lost_in_a_narrow_network(hidden, conditioner, context):
    options = {"hidden": hidden, "conditioner": conditioner, "activation": "tanh", "context": context}
    layer = randomize(Autoregressive(Affine(), 6, **options), seed=3)
    dependence(Case(layer, *inputs(layer, (ROWS,))))


# --- the registry --------------------------------------------------------------------------------------------------

ABSTRACT = {
    "Bijection",
    "Univariate",
    "UnivariateDistribution",
    "ColumnType",
    "ColumnDistribution",
    "MixedConditional",
    "ContextMap",
    "Distribution",
    "OfParts",
    "GridRest",
    "Conditional",
    "FixedContext",
    "HalfSplit",
    "Boxed",
    "Independent",
    "Iterative",
    "LinearMap",
    "Lift",
    "LikeItsPart",
    "MaskSplit",
    "MixtureCDF",
    "MixtureDistribution",
    "Parametric",
    "LocationScale",
    "ParametricQuantiles",
    "Scaled",
    "AutoregressiveDistribution",
    "AutoregressiveFixedContext",
    "OrthogonalMap",
    "ParametricMap",
    "Shaped",
    "SideBySide",
    "Sigmoidal",
    "SlopedSpline",
    "Spline",
    "Split",
    "Surjection",
}  # no constructor of their own that JSON could fill
PUBLIC = [
    (floor, name)
    for floor in (bijections, univariate, distributions)
    for name in floor.__all__
    if name not in ABSTRACT and inspect.isclass(getattr(floor, name))
]


def without_example(classes):
    return [name for name, cls in classes.items() if REGISTRY.get(name) is not cls or not getattr(cls, "examples", ())]


STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # of classes without constructor


def unseen_options(cls):
    """Constructor arguments that no example gives."""
    tried = {name for example in cls.examples for name in example}
    return [p.name for p in inspect.signature(cls).parameters.values() if p.name not in tried and p.kind not in STARRED]


def test_every_public_class_has_an_example():
    assert len(PUBLIC) >= 19
    assert without_example({name: getattr(floor, name) for floor, name in PUBLIC}) == []


@pytest.mark.parametrize(("floor", "name"), PUBLIC, ids=lambda p: p if isinstance(p, str) else "")
def test_every_option_is_in_some_example(floor, name):
    assert unseen_options(getattr(floor, name)) == []


def test_a_class_without_example_or_with_an_unseen_option_is_caught():
    class Bare(nn.Module):
        pass

    class Half(nn.Module):
        examples = ({"features": 1},)

        def __init__(self, features, bound=1.0):
            super().__init__()

    assert without_example({"Bare": Bare, "Flip": Bare}) == ["Bare", "Flip"]
    assert unseen_options(Half) == ["bound"]


def test_every_module_class_of_the_lower_floors_is_private_abstract_or_tested():
    """A part that nobody listed in ``__all__`` would escape the properties."""
    tested = {c["type"] for c in [*BIJECTIONS, *UNIVARIATES, *DISTRIBUTIONS]}
    elsewhere = (distributions.ColumnType, ContextMap)  # by `test_kinds` and `test_guidance`
    tested |= {name for name, cls in REGISTRY.items() if issubclass(cls, elsewhere)}
    tested |= {c["univariate"]["type"] for c in BIJECTIONS if "univariate" in c}
    for floor in (bijections, univariate, distributions):
        for module in pkgutil.iter_modules(floor.__path__, floor.__name__ + "."):
            if module.name.endswith("_triton"):  # holds no classes, and cannot be imported everywhere
                continue
            for name, cls in vars(importlib.import_module(module.name)).items():
                ours = inspect.isclass(cls) and issubclass(cls, nn.Module) and cls.__module__ == module.name
                if ours and not name.startswith("_") and name not in ABSTRACT:
                    assert name in tested, f"{module.name}.{name} is not tested"


def test_the_package_shows_the_floors():
    assert {"bijections", "distributions", "flows", "univariate"} <= set(pushforward.__all__)


# --- untrained flows -----------------------------------------------------------------------------------------------


# Not on circles, with heavy tails, and where components or units stand apart from the start.
APART = ("circular_nsf", "ddsf", "gaussianization", "naf", "transformer_flow")


@each([config for config in FLOW_SPECS if config["flow"] not in APART and "tails" not in config])
def test_an_untrained_flow_is_a_standard_normal(config):
    flow = named_flow(config).to(torch.float64)
    x, context = inputs(flow.bijection)
    z = x.square().sum(-1)  # a rearrangement of the features keeps the norm
    expected = -0.5 * (z + config["features"] * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64)))
    close(flow.eval().log_prob(x, context), expected, "log_prob of an untrained flow")

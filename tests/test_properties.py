"""Every prop over every registered bijection and over the bijection of every named flow."""

import importlib
import inspect
import pkgutil

import properties
import pytest
import torch
from cases import (
    BIJECTIONS,
    DISTRIBUTIONS,
    FLOW_SPECS,
    GENTLE,
    UNIVARIATES,
    bijection_of,
    inputs,
    label,
    named_flow,
    randomize,
)
from torch import nn

import pushforward
from pushforward import bijections, distributions, univariate
from pushforward.bijections import Autoregressive
from pushforward.core.config import REGISTRY, build
from pushforward.core.domain import Real
from pushforward.univariate import Affine

MATHEMATICS = [
    properties.shapes_and_dtypes,
    properties.batch_shapes,
    properties.broadcasting,
    properties.moves_points,
    properties.round_trip,
    properties.inverse_ladj,
    properties.ladj_is_slogdet,
    properties.value_path_is_pair_path,
]
ALL = [
    *MATHEMATICS,
    properties.vmap_is_batch,
    properties.gradients_reach_every_parameter,
    properties.dependence,
    properties.survives_config,
    properties.survives_copies,
    properties.moves_whole,
    properties.statistics_stay_wide,
    properties.overrides_no_module_name,
]
MANY = (48,)  # a dependence through rectified units shows at some points only


def each(configs):
    return pytest.mark.parametrize("config", configs, ids=label)


def each_property(some):
    return pytest.mark.parametrize("prop", some, ids=lambda prop: prop.__name__)


def hold(prop, bijection, dtype=torch.float64):
    batch = MANY if prop in (properties.dependence, properties.gradients_reach_every_parameter) else (7,)
    prop(bijection, *inputs(bijection, batch, dtype=dtype))


@each_property(ALL)
@each(BIJECTIONS)
def test_every_example_keeps_the_property(config, prop):
    hold(prop, bijection_of(config))


@each_property(ALL)
@each(FLOW_SPECS)
def test_every_named_flow_keeps_the_property(config, prop):
    hold(prop, bijection_of(config))


@each_property(MATHEMATICS)
@each([*BIJECTIONS, *FLOW_SPECS])
def test_in_single_precision(config, prop):
    hold(prop, bijection_of(config, torch.float32, GENTLE), torch.float32)


@each([*BIJECTIONS, *FLOW_SPECS])
def test_single_precision_is_close_to_double(config):
    hold(properties.float32_is_close, bijection_of(config, size=GENTLE))


@each([*BIJECTIONS, *FLOW_SPECS])
def test_the_inverse_keeps_the_properties_too(config):
    bijection = bijection_of(config).inv
    if not isinstance(bijection.domain, Real):
        pytest.skip("its points come from the map's own side")
    for prop in (
        properties.shapes_and_dtypes,
        properties.round_trip,
        properties.ladj_is_slogdet,
        properties.dependence,
    ):
        hold(prop, bijection)


@each(UNIVARIATES)
@each_property([properties.moves_whole, properties.overrides_no_module_name])
def test_every_univariate_is_a_good_module(config, prop):
    prop(build(config))


@each(DISTRIBUTIONS)
@each_property([properties.moves_whole, properties.statistics_stay_wide, properties.overrides_no_module_name])
def test_every_distribution_is_a_good_module(config, prop):
    prop(randomize(build(config)))


# --- narrow networks lose nothing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [0, 1, 2])
@pytest.mark.parametrize("conditioner", ["plain", "residual"])
@pytest.mark.parametrize("hidden", [(1,), (1, 1, 1), (2, 2, 2, 2, 2, 2), (7, 7)], ids=str)
def test_no_dependence_is_lost_in_a_narrow_network(hidden, conditioner, context):
    options = {"hidden": hidden, "conditioner": conditioner, "activation": "tanh", "context": context}
    hold(properties.dependence, randomize(Autoregressive(Affine(), 6, **options), seed=3))


# --- the registry --------------------------------------------------------------------------------------------------

ABSTRACT = {
    "Bijection",
    "Univariate",
    "ColumnType",
    "ColumnDistribution",
    "MixedConditional",
    "Distribution",
    "Conditional",
    "FixedContext",
    "HalfSplit",
    "Boxed",
    "Independent",
    "Iterative",
    "MaskSplit",
    "MixtureCDF",
    "Scaled",
    "AutoregressiveDistribution",
    "Shaped",
    "Sigmoidal",
    "SlopedSpline",
    "Spline",
    "Split",
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
    given = {name for example in cls.examples for name in example}
    return [p.name for p in inspect.signature(cls).parameters.values() if p.name not in given and p.kind not in STARRED]


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
    tested |= {name for name, cls in REGISTRY.items() if issubclass(cls, distributions.ColumnType)}  # by `test_kinds`
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
APART = ("circular_nsf", "ddsf", "gaussianization", "naf")


@each([config for config in FLOW_SPECS if config["flow"] not in APART and "tails" not in config])
def test_an_untrained_flow_is_a_standard_normal(config):
    flow = named_flow(config).to(torch.float64)
    x, context = inputs(flow.bijection)
    z = x.square().sum(-1)  # a rearrangement of the features keeps the norm
    expected = -0.5 * (z + config["features"] * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64)))
    properties.close(flow.eval().log_prob(x, context), expected, "log_prob of an untrained flow")

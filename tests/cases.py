"""What the properties run over: every registered example and every named flow, with weights that move points."""

import copy
import functools
import inspect
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from pairwise import pairwise
from torch import Tensor, nn

import pushforward as pf
from pushforward.core.bijection import Bijection
from pushforward.core.config import REGISTRY, build
from pushforward.core.distribution import Distribution
from pushforward.core.domain import REAL
from pushforward.core.execution_mode import execution
from pushforward.flows import FLOWS
from pushforward.testing.random_parts import (  # noqa: F401 - tests import these from here
    GENTLE,
    ORDINARY,
    context_for,
    generator,
    inputs,
    randomize,
    with_random_weights,
)
from pushforward.univariate import Univariate

Config = dict[str, Any]
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="inductor needs a C++ compiler"
)
exhaustive = pytest.mark.exhaustive
FLOW_OPTIONS: Config = {"depth": 2, "hidden": [16], "units": 5, "components": 4, "bins": 6}  # where a flow has them


class WithKernels:
    """A part whose calls run inside ``execution(kernels=True)``."""

    def __init__(self, part: nn.Module) -> None:
        self.part = part

    def __call__(self, *args: Any) -> Any:
        with execution(kernels=True):
            return self.part(*args)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.part, name)
        if not inspect.ismethod(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            with execution(kernels=True):
                result = value(*args, **options)
            return self if result is self.part else result

        return call


def steady(call: Callable[[], list[Tensor]]) -> None:
    """The same bits again with as many threads; with another number of them sums are added in another order."""
    threads, alone = torch.get_num_threads(), None
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            first, second = call(), call()
            assert all(map(torch.equal, first, second))
            alone = alone or first
            for got, expected in zip(first, alone, strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    finally:
        torch.set_num_threads(threads)


def examples(kind: type) -> list[Config]:
    """The configs of every registered example of one kind, straight from JSON."""
    return [
        {"type": name, **json.loads(json.dumps(example))}
        for name, cls in sorted(REGISTRY.items())
        if issubclass(cls, kind) and cls.__module__.startswith("pushforward.")
        for example in getattr(cls, "examples", ())
    ]


# --- named flows -----------------------------------------------------------------------------------------------------

CHOICES: Config = {
    "layer": ("autoregressive", "coupling"),
    "fast": ("density", "sampling"),
    "mix": ("lu", "permute", "flip", "none"),
    "conditioner": ("plain", "residual"),
    "tails": ("normal", "heavy"),
    "data_dtype": (None, "float64"),
}
"""Options of named flows and their values."""


def flow_factors(name: str) -> Config:
    """What can be chosen of a named flow: sizes, and the options that it has."""
    parameters = inspect.signature(FLOWS[name]).parameters
    factors: Config = {"features": (2, 1, 3), "context": (0, 2)}
    for option, values in CHOICES.items():
        if option in parameters:
            allowed = [v for v in values if not (option == "mix" and v == "lu" and name != "nsf")]
            default = parameters[option].default
            factors[option] = (default, *(v for v in allowed if v != default))
    return factors


def flow_spec(name: str, row: Config) -> Config:
    """A spec of a named flow, without what is the default anyway."""
    parameters = inspect.signature(FLOWS[name]).parameters
    spec = {"flow": name, "features": row["features"], "context": row["context"]}
    spec |= {k: v for k, v in row.items() if k not in spec and v != parameters[k].default}
    if spec.get("conditioner") == "residual":
        spec |= {k: v for k, v in {"activation": "silu", "dropout": 0.1}.items() if k in parameters}
    return spec


THOROUGH = ("nsf",)
"""The flow that all of the assembly meets in; the others differ from it in the univariate or the layer, which have
properties of their own, so that there few combinations of options do."""

LEAST: tuple[Config, ...] = (
    {"features": 2, "context": 0},
    {"features": 3, "context": 2, "fast": "sampling", "data_dtype": "float64"},
    {"features": 1, "context": 2, "mix": "none", "tails": "heavy", "conditioner": "residual"},
)


def flow_specs() -> Iterator[Config]:
    """Every named flow: pairwise combinations of sizes and options for the thorough ones, a few for the others."""
    for name in FLOWS:
        factors = flow_factors(name)
        if name in THOROUGH:
            yield from (flow_spec(name, row) for row in pairwise(factors))
        else:
            yield from (flow_spec(name, {k: v for k, v in row.items() if k in factors}) for row in LEAST)


def all_flow_specs() -> Iterator[Config]:
    """Every combination of sizes and up to two options: the exhaustive product."""
    for name in FLOWS:
        factors = flow_factors(name)
        options = {k: v for k, v in factors.items() if k not in ("features", "context")}
        for features, context in itertools.product((1, 2, 5), (0, 2)):
            base = {"features": features, "context": context}
            yield flow_spec(name, base)
            yield from (flow_spec(name, {**base, option: value}) for option in options for value in options[option][1:])
            for a, b in itertools.combinations(options, 2):
                pairs = itertools.product(options[a][1:], options[b][1:])
                yield from (flow_spec(name, {**base, a: x, b: y}) for x, y in pairs)


def label(config: Config) -> str:
    """A short readable test id."""

    def words(value: Any) -> str:
        if isinstance(value, dict):
            return label(value)
        if isinstance(value, list):
            return "+".join(map(words, value))
        return str(value)

    head = str(config.get("type", config.get("flow")))
    return "-".join([head, *(words(v) for k, v in config.items() if k not in ("type", "flow"))])


def with_rest(configs: list[Config], rest: Iterable[Config]) -> list[Any]:
    """Configurations to parametrize a test with, and further ones for `make test-all`."""
    return [*configs, *(pytest.param(config, marks=exhaustive, id=label(config)) for config in rest)]


# A map for a given number of features is tried feature by feature, and in layers of that many.
UNIVARIATES = [config for config in examples(Univariate) if config["type"] != "PerFeature"]


def firsts(configs: list[Config]) -> list[Config]:
    """The first config of each class or named flow."""
    return list({c.get("type", c.get("flow")): c for c in reversed(configs)}.values())[::-1]


def with_parameters(config: Config) -> Config:
    """A univariate; one without parameters after or before an affine map, for layers with a conditioner."""
    univariate = build(config)
    if univariate.num_params:
        return config
    if config["type"] == "CDF" and univariate.domain == REAL:
        config = {**config, "family": "cauchy"}  # with random weights others round to 0 and 1
    parts = [{"type": "Affine"}, config] if univariate.domain == REAL else [config, {"type": "Affine"}]
    if REAL not in (univariate.domain, univariate.codomain):  # from a half line
        parts = [{"type": "Log"}, {"type": "Affine"}, {"type": "Exp"}, config]
    return {"type": "Composed", "parts": parts}


def layers() -> Iterator[list[Config]]:
    """For every univariate, one layer of every kind."""
    for config in firsts(UNIVARIATES):
        inside = with_parameters(config)
        yield [
            {"type": "Autoregressive", "univariate": inside, "features": 3, "context": 1, "hidden": [12]},
            {"type": "Coupling", "univariate": inside, "features": 3, "context": 1, "hidden": [8]},
            {"type": "Elementwise", "univariate": config, "features": 2},
        ]


# Layers do the same with every univariate, so that one kind of layer for each does, in turn; `make test-all` has all.
LAYERS = [kinds[turn % 3] for turn, kinds in enumerate(layers())]
MORE_LAYERS = [config for kinds in layers() for config in kinds if config not in LAYERS]
BIJECTIONS = examples(Bijection) + LAYERS
DISTRIBUTIONS = examples(Distribution)
FLOW_SPECS = list(flow_specs())
PLAIN_FLOWS = [
    flow_spec(name, {"features": 2, "context": 2, **choice})
    for name in FLOWS
    for choice in ({}, {"layer": "coupling"}, {"fast": "sampling"} if name != "iaf" else {"fast": "density"})
    if set(choice) <= set(flow_factors(name))
]
"""Every named flow with two features and a context of two, in each direction and with each kind of layer."""


def named_flow(spec: Config) -> pf.Flow:
    """An untrained small flow from a spec of `flow_specs`."""
    parameters = inspect.signature(FLOWS[spec["flow"]]).parameters
    options = {k: v for k, v in FLOW_OPTIONS.items() if k in parameters}
    options |= {k: v for k, v in spec.items() if k not in ("flow", "features", "context")}
    if "residual" in options.values():
        options["hidden"] = [12, 12]
    return FLOWS[spec["flow"]](spec["features"], spec["context"], **options)


def part_of(config: Config) -> Any:
    """The part or flow that a config describes, as it is built."""
    return named_flow(config) if "flow" in config else build(config)


def random_part(config: Config, dtype: torch.dtype = torch.float64, size: float = ORDINARY) -> Any:
    """The part or flow that a config describes, with random weights that move points: small ones where tails are
    heavy, for powers of powers of a point leave the digits of the dtype."""
    size = 0.4 * size if config.get("tails") == "heavy" else size
    return copy.deepcopy(_random_part(json.dumps(config), dtype, size))


@functools.lru_cache(maxsize=8)  # tests of one part follow each other
def _random_part(text: str, dtype: torch.dtype, size: float) -> Any:
    config = json.loads(text)
    return with_random_weights(lambda: part_of(config), label(config), dtype, size)


def bijection_of(config: Config, dtype: torch.dtype = torch.float64, size: float = ORDINARY) -> Bijection:
    """The randomised bijection of a config; of a named flow, its bijection."""
    part = random_part(config, dtype, size)
    return part.bijection if isinstance(part, pf.Flow) else part

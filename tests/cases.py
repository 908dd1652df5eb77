"""What the properties run over: every registered example and every named flow, with weights that move points."""

import copy
import functools
import inspect
import itertools
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward.bijections import Standardize
from pushforward.core.bijection import Bijection
from pushforward.core.config import REGISTRY, build
from pushforward.core.distribution import Distribution
from pushforward.flows import FLOWS
from pushforward.univariate import Univariate

Config = dict[str, Any]
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="inductor needs a C++ compiler"
)
FLOW_OPTIONS: Config = {"depth": 2, "hidden": [16], "units": 5, "components": 4, "bins": 6}  # where a flow has them


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


def flow_specs() -> Iterator[Config]:
    """Every named flow with one and several features, with and without context, and each of its options.

    The flows that all parts of the machinery meet in go through every combination; the others differ from them by a
    univariate or a layer that has properties of its own.
    """
    for name in FLOWS:
        known = inspect.signature(FLOWS[name]).parameters
        thorough = name in ("maf", "nice", "nsf", "real_nvp")
        sizes = itertools.product((1, 2, 5), (0, 2)) if thorough else ((1, 0), (2, 0), (3, 2))
        for features, context in sizes:
            start = {"flow": name, "features": features, "context": context}
            choices = [{"layer": layer} for layer in ("coupling", "autoregressive")] if "layer" in known else [{}]
            yield from ({**start, **choice} for choice in choices)
            if "fast" in known and features == 2:
                yield from ({**start, **choice, "fast": "sampling"} for choice in choices)
            if "mix" in known and features == 2:
                yield from ({**start, "mix": mix} for mix in (("permute", "flip", "none") if thorough else ("none",)))
            if "conditioner" in known and features == 5:
                yield {**start, "conditioner": "residual", "activation": "silu", "dropout": 0.1}
            if features == 2:
                yield {**start, "data_dtype": "float64"}
                if name in ("nsf", "naf") and not context:
                    yield {**start, "tails": "heavy"}


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


UNIVARIATES = examples(Univariate)


def layers() -> Iterator[Config]:
    """Every univariate in every kind of layer."""
    seen = set()
    for config in UNIVARIATES:
        if config["type"] in seen:
            continue
        seen.add(config["type"])
        yield {"type": "Elementwise", "univariate": config, "features": 2}
        yield {"type": "Coupling", "univariate": config, "features": 3, "context": 1, "hidden": [8]}
        yield {"type": "Autoregressive", "univariate": config, "features": 3, "context": 1, "hidden": [12]}


BIJECTIONS = examples(Bijection) + list(layers())
DISTRIBUTIONS = examples(Distribution)
FLOW_SPECS = list(flow_specs())


def named_flow(spec: Config) -> pf.Flow:
    """An untrained small flow from a spec of `flow_specs`."""
    known = inspect.signature(FLOWS[spec["flow"]]).parameters
    options = {k: v for k, v in FLOW_OPTIONS.items() if k in known}
    options |= {k: v for k, v in spec.items() if k not in ("flow", "features", "context")}
    if "residual" in options.values():
        options["hidden"] = [12, 12]
    return FLOWS[spec["flow"]](spec["features"], spec["context"], **options)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def randomize(module: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float64, size: float = 0.7) -> Any:
    """The module in evaluation mode and in ``dtype``, with weights and statistics that move points.

    Layers start as the identity, which hides bugs: every parameter is drawn anew, from ``seed`` alone. The law
    `moves_points` watches over the effect; much larger weights would make maps so steep that rounding, not the law,
    decides.
    """
    random = generator(seed)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=random, dtype=torch.float64)

    for name, parameter in module.named_parameters():
        if name.endswith("weight"):
            parameter.copy_(size * draw(parameter) / math.sqrt(math.prod(parameter.shape[1:]) or 1))
        elif name.endswith("bias"):  # on the positive side, or whole layers of rectified units may be dead
            parameter.copy_(size * (0.6 * draw(parameter) + 0.5))
        else:
            parameter.add_(0.6 * size * draw(parameter))
    for part in module.modules():
        if isinstance(part, Standardize):
            part.mean.copy_(draw(part.mean))
            part.scale.copy_((0.4 * draw(part.scale)).exp())
            part.initialized.fill_(True)
    return module.eval().to(dtype)


GENTLE = 0.4
"""A size for float32 and for grids: steep maps lose many digits in one direction and make narrow peaks."""


def random_part(config: Config, dtype: torch.dtype = torch.float64, size: float = 0.7) -> Any:
    """The part or flow that a config describes, randomised; the first of a few draws that moves points enough."""
    return copy.deepcopy(_random_part(json.dumps(config), dtype, size))


@functools.lru_cache(maxsize=8)  # properties over one part follow each other
def _random_part(text: str, dtype: torch.dtype, size: float) -> Any:
    config = json.loads(text)
    start = zlib.crc32(label(config).encode())
    for seed in range(start, start + 8):
        part = randomize(named_flow(config) if "flow" in config else build(config), seed, dtype, size)
        bijection = part if isinstance(part, Bijection) else getattr(part, "bijection", None)
        if bijection is None or movement(bijection) is None or movement(bijection) > MOVES:
            break
    return part


MOVES = 0.1


@torch.no_grad()
def movement(bijection: Bijection) -> float | None:
    """How far the median point moves; None for maps without weights or statistics, which are what they are."""
    if not any(t.is_floating_point() and t.numel() for t in bijection.state_dict().values()):
        return None
    x, context = inputs(bijection, (48,), dtype=bijection.dtype or torch.float64)
    return (bijection.forward(x, context).to(x.dtype) - x).flatten(1).abs().amax(dim=1).median().item()


def bijection_of(config: Config, dtype: torch.dtype = torch.float64, size: float = 0.7) -> Bijection:
    """The randomised bijection of a config; of a named flow, its bijection."""
    part = random_part(config, dtype, size)
    return part.bijection if isinstance(part, pf.Flow) else part


def inputs(
    bijection: Bijection, batch: tuple[int, ...] = (7,), seed: int = 1, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor | None]:
    """Points of the stated domain and a context, in the dtypes that the bijection asks for."""
    random = generator(seed)
    x = bijection.domain.example((*batch, *bijection.in_shape), random).to(bijection.in_dtype or dtype)
    return x, context_for(bijection, batch, random, bijection.dtype or dtype)


def context_for(
    part: Any, batch: tuple[int, ...], random: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor | None:
    """A random context with the given batch shape; None for what takes none."""
    if part.context_shape is None:
        return None
    return torch.randn((*batch, *part.context_shape), generator=random, dtype=torch.float64).to(dtype)

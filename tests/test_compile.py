"""One graph, both directions: nothing in a pass branches on numbers, so every part compiles whole and exports.

Dynamo alone (``backend="eager"``) finds every graph break in a second; the real compiler costs many seconds a flow and
runs in `make test-all`, where there is a C++ compiler.
"""

import pytest
import torch
from cases import (
    DISTRIBUTIONS,
    LAYERS,
    MORE_LAYERS,
    PLAIN_FLOWS,
    UNIVARIATES,
    bijection_of,
    context_for,
    examples,
    exhaustive,
    firsts,
    generator,
    inputs,
    label,
    needs_compiler,
    random_part,
    with_rest,
)
from torch import nn

from pushforward.core.bijection import Bijection
from pushforward.core.config import build
from pushforward.core.distribution import Distribution
from pushforward.testing.comparison import SHARP, close

EXAMPLES = examples(Bijection)
FLOWS = firsts(PLAIN_FLOWS)
DIRECTIONS = ["forward", "inverse", "forward_and_ladj", "inverse_and_ladj"]


def each(configs):
    return pytest.mark.parametrize("config", configs, ids=label)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Only(nn.Module):
    """A module whose forward is one method of another: what ``torch.export`` takes."""

    def __init__(self, part, method):
        super().__init__()
        self.part, self.method = part, method

    def forward(self, *inputs):
        return getattr(self.part, self.method)(*inputs)


def tensors(out):
    return out if isinstance(out, tuple) else (out,)


def agree(got, expected, what):
    for a, b in zip(tensors(got), tensors(expected), strict=True):
        close(a, b, what, SHARP)


def given_to(bijection, direction):
    x, context = inputs(bijection, (5,))
    if direction.startswith("inverse"):
        x = bijection.forward(x, context).detach()
    return (x,) if context is None else (x, context)


def seeded(function):
    """What draws from torch's global generator draws the same in every call."""

    def call(*inputs):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            return function(*inputs)

    return call


def compiles(part, method, inputs):
    """One graph, with the same numbers as without compiling; pairs record gradients, values alone do not: passes may
    take another path where nothing is recorded."""
    plain = seeded(getattr(part, method))
    compiled = seeded(torch.compile(getattr(part, method), fullgraph=True, backend="eager"))
    if method in ("forward", "inverse", "to_data", "to_latent") and isinstance(part, Bijection | Distribution):
        with torch.no_grad():
            agree(compiled(*inputs), plain(*inputs), f"compiled {method}")
        return
    got, expected = compiled(*inputs), plain(*inputs)
    agree(got, expected, f"compiled {method}")
    weights = list(part.parameters())
    if weights and tensors(expected)[-1].requires_grad:
        sums = (sum(t.sum() for t in tensors(out)) for out in (got, expected))
        for a, b in zip(*(torch.autograd.grad(s, weights, allow_unused=True) for s in sums), strict=True):
            assert (a is None) == (b is None), "a gradient came or went"
            if a is not None:
                close(a, b, f"gradients of compiled {method}", SHARP)


NOT_EXPORTED = ("CurvedLift",)
"""Kinds of bijection whose ladj is made of forward-mode derivatives: torch.export leaves fake tensors of them."""


def exports(part, method, inputs):
    if type(part).__name__ in NOT_EXPORTED:
        method = method.removesuffix("_and_ladj")
    program = torch.export.export(Only(part, method), inputs, strict=False)
    agree(seeded(program.module())(*inputs), seeded(getattr(part, method))(*inputs), f"exported {method}")


# To trace a numeric search takes many seconds. By default it is traced for one bijection, and other parts in their
# closed directions; `make test-all` traces all.
SEARCHED = ("Triangular",)


def closed(part, name, directions):
    """The directions of a part that do not search for a root, or all of one that is to be traced whole."""
    if name in SEARCHED:
        return directions
    kinds = {"forward": getattr(part, "forward_kind", "exact"), "inverse": part.inverse_kind}
    return [direction for direction in directions if kinds[direction.partition("_")[0]] != "iterative"]


def directions_to_compile(bijection):
    """Both pairs, and values alone where the class computes them its own way."""
    return DIRECTIONS if type(bijection)._forward is not Bijection._forward else DIRECTIONS[2:]


# Parts that compile and export as one graph are made of operations that do: one of each way to compute is traced, and
# `make test-all` traces all.
TRACED = ("Autoregressive", "Chain", "Coupling", "Triangular")


def traced(configs, types):
    """The configurations of these types, and the others for `make test-all`."""
    return with_rest([c for c in configs if c["type"] in types], [c for c in configs if c["type"] not in types])


@each(traced(firsts(EXAMPLES), TRACED))
def test_every_bijection_compiles_as_one_graph(config, subtests):
    bijection = bijection_of(config)
    for direction in closed(bijection, config["type"], directions_to_compile(bijection)):
        with subtests.test(direction):
            compiles(bijection, direction, given_to(bijection, direction))


# Every univariate in an autoregressive layer too, whose inverse goes through the incremental pass; in the other layers
# and in the forward direction univariates do what they do alone.
INSIDE = [config | {"features": 2} for config in [*LAYERS, *MORE_LAYERS] if config["type"] == "Autoregressive"]
TRACED_INSIDE = [c for c in INSIDE if c["univariate"]["type"] in ("Affine", "RationalQuadratic")]


@each(with_rest(TRACED_INSIDE, [c for c in INSIDE if c not in TRACED_INSIDE]))
def test_every_univariate_compiles_in_a_layer(config):
    bijection = bijection_of(config)
    compiles(bijection, "inverse_and_ladj", given_to(bijection, "inverse_and_ladj"))


@each(traced(firsts(EXAMPLES), ("Chain", "Coupling")))
def test_every_bijection_exports(config, subtests):
    bijection = bijection_of(config)
    for direction in closed(bijection, "", DIRECTIONS[2:]):
        with subtests.test(direction):
            exports(bijection, direction, given_to(bijection, direction))


@each(traced(firsts(UNIVARIATES), ("Affine", "RationalQuadratic")))
def test_every_univariate_compiles(config, subtests):
    """And exports, where it is one of a few; the operations that it is made of are those of the others."""
    univariate, x, params = univariate_at_points(config)
    for direction in closed(univariate, config["type"], ["forward", "inverse"]):
        for check in (compiles, exports) if config["type"] in ("Affine", "RationalQuadratic") else (compiles,):
            with subtests.test(f"{direction} {check.__name__}"):
                check(univariate, direction, (x, params))


def univariate_at_points(config):
    univariate = build(config).to(torch.float64)
    x = torch.tensor([-9.0, -1.0, 0.0, 2.5, 9.0], dtype=torch.float64)
    x = torch.where(univariate.domain.contains(x), x, univariate.domain.anchor(x))
    return univariate, x, torch.randn(univariate.num_params, 5, dtype=torch.float64, generator=generator(1))


@exhaustive
@each([*EXAMPLES, *UNIVARIATES])
def test_every_direction_of_every_example_compiles_and_exports(config, subtests):
    for check in (compiles, exports):
        for direction in ("forward", "inverse") if config in UNIVARIATES else ("forward_and_ladj", "inverse_and_ladj"):
            with subtests.test(f"{direction} {check.__name__}"):
                if config in UNIVARIATES:
                    univariate, *inputs = univariate_at_points(config)
                    check(univariate, direction, tuple(inputs))
                else:
                    check(bijection_of(config), direction, given_to(bijection_of(config), direction))


# Parts compile by themselves; what a distribution adds is the screening, the same in all.
ALL = [*DISTRIBUTIONS, *PLAIN_FLOWS]
SCREENED = [c for c in firsts(ALL) if c.get("type") in ("MixedTypeModel", "Uniform") or c.get("flow") == "maf"]
SCREENED_FIRST = with_rest(SCREENED, [c for c in ALL if c not in SCREENED])


@each(SCREENED_FIRST)
def test_every_distribution_compiles(config):
    """The screening of bad rows and of the support included, so one row here is NaN and one infinite."""
    distribution = random_part(config)
    x = torch.randn(5, *distribution.event_shape, dtype=torch.float64, generator=generator(1))
    context = context_for(distribution, (5,), generator(2))
    inputs = (x,) if context is None else (x, context)
    compiles(distribution, "log_prob", inputs)
    x[1, 0], x[2, 0] = torch.nan, torch.inf
    compiled = torch.compile(distribution.log_prob, fullgraph=True, backend="eager")
    assert torch.equal(compiled(*inputs).isnan(), torch.tensor([False, True, False, False, False]))
    assert compiled(*inputs)[2] == -torch.inf


@exhaustive
@each(ALL)
def test_every_distribution_exports(config):
    distribution = random_part(config)
    x = torch.randn(5, *distribution.event_shape, dtype=torch.float64, generator=generator(1))
    context = context_for(distribution, (5,), generator(2))
    exports(distribution, "log_prob", (x,) if context is None else (x, context))


SAMPLED = next(c for c in PLAIN_FLOWS if label(c) == "nsf-2-2-coupling")


@each(with_rest([SAMPLED], [c for c in PLAIN_FLOWS if c != SAMPLED]))
def test_every_flow_samples_in_one_graph(config):
    flow = random_part(config)
    context = context_for(flow, (5,), generator(2))
    z = torch.randn(5, 2, dtype=torch.float64, generator=generator(3))
    compiles(flow, "to_data", (z, context))
    compiles(flow, "to_latent", (z, context))


@exhaustive
def test_one_graph_serves_every_batch_size():
    flow = random_part({"flow": "nsf", "features": 2, "context": 2})
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="eager", dynamic=True)
    for size in (4, 7, 64):
        x, context = (torch.randn(size, 2, dtype=torch.float64, generator=generator(s)) for s in (1, 2))
        agree(compiled(x, context), flow.log_prob(x, context), f"batch of {size}")


def test_a_graph_break_is_caught():
    class Branch(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    for check in (compiles, exports):
        with pytest.raises(Exception, match=r"(?i)data.dependent"):
            check(Branch(), "forward", (torch.ones(3),))


INDUCTOR = [
    {"flow": "nice", "features": 3, "context": 0, "depth": 1},
    {"flow": "real_nvp", "features": 3, "context": 0, "depth": 1},
    {"flow": "maf", "features": 3, "context": 2, "depth": 1},
    {"flow": "nsf", "features": 3, "context": 0, "layer": "coupling", "depth": 1},
    {"flow": "nsf", "features": 3, "context": 2, "layer": "autoregressive", "depth": 1},
]


# `test_fit_fast` trains one of them.
@exhaustive
@pytest.mark.slow
@needs_compiler
@each(INDUCTOR)
def test_inductor_gives_the_same_numbers(config):
    flow = random_part(config)
    x = torch.randn(6, 3, dtype=torch.float64, generator=generator(1))
    context = context_for(flow, (6,), generator(2))
    compiled = torch.compile(flow.log_prob, fullgraph=True)
    got, expected = compiled(x, context), flow.log_prob(x, context)
    close(got, expected, "log_prob compiled by inductor", SHARP)
    for a, b in zip(*(torch.autograd.grad(out.sum(), list(flow.parameters())) for out in (got, expected)), strict=True):
        close(a, b, "gradients compiled by inductor", SHARP)

"""One graph, both directions: nothing in a pass branches on numbers, so every part compiles whole and exports.

Dynamo alone (``backend="eager"``) finds every graph break in a second; the real compiler costs many seconds a flow and
runs over five of them, where there is a C++ compiler.
"""

import properties
import pytest
import torch
from cases import (
    DISTRIBUTIONS,
    FLOW_SPECS,
    UNIVARIATES,
    bijection_of,
    context_for,
    examples,
    generator,
    inputs,
    label,
    layers,
    needs_compiler,
    random_part,
)
from torch import nn

from pushforward.core.bijection import Bijection
from pushforward.core.config import build
from pushforward.core.distribution import Distribution

EXAMPLES = examples(Bijection)
FLOWS = [
    c
    for c in FLOW_SPECS
    if c["features"] == 2 and c["context"] == 2 and set(c) <= {"flow", "features", "context", "fast", "layer"}
]
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

    def forward(self, *given):
        return getattr(self.part, self.method)(*given)


def tensors(out):
    return out if isinstance(out, tuple) else (out,)


def agree(got, expected, what):
    for a, b in zip(tensors(got), tensors(expected), strict=True):
        properties.close(a, b, what, properties.SHARP)


def given_to(bijection, direction):
    x, context = inputs(bijection, (5,))
    if direction.startswith("inverse"):
        x = bijection.forward(x, context).detach()
    return (x,) if context is None else (x, context)


def compiles(part, method, given):
    """One graph, with the same numbers as without compiling; pairs record gradients, values alone do not: passes may
    take another path where nothing is recorded."""
    compiled = torch.compile(getattr(part, method), fullgraph=True, backend="eager")
    if method in ("forward", "inverse", "to_data", "to_latent") and isinstance(part, Bijection | Distribution):
        with torch.no_grad():
            agree(compiled(*given), getattr(part, method)(*given), f"compiled {method}")
        return
    got, expected = compiled(*given), getattr(part, method)(*given)
    agree(got, expected, f"compiled {method}")
    weights = list(part.parameters())
    if weights and tensors(expected)[-1].requires_grad:
        sums = (sum(t.sum() for t in tensors(out)) for out in (got, expected))
        for a, b in zip(*(torch.autograd.grad(s, weights, allow_unused=True) for s in sums), strict=True):
            assert (a is None) == (b is None), "a gradient came or went"
            if a is not None:
                properties.close(a, b, f"gradients of compiled {method}", properties.SHARP)


def exports(part, method, given):
    program = torch.export.export(Only(part, method), given, strict=False)
    agree(program.module()(*given), getattr(part, method)(*given), f"exported {method}")


FIRST = {config["type"]: config for config in reversed(UNIVARIATES)}  # example of each univariate


def is_numeric(config):
    """Whether a direction of the bijection searches for a root."""
    bijection = bijection_of(config)
    return "iterative" in (bijection.forward_kind, bijection.inverse_kind)


# To trace a numeric search takes many seconds; once for each class is enough.
NUMERIC = {config["type"]: config for config in reversed(EXAMPLES) if is_numeric(config)}


ONCE = [c for c in EXAMPLES if NUMERIC.get(c["type"], c) == c or not is_numeric(c)]
# The searches of these two are those of `GaussianMixtureCDF`, which is exported by itself.
EXPORTED = [c for c in ONCE if not (is_numeric(c) and c["type"] in ("Elementwise", "MixtureRosenblatt"))]


@pytest.mark.parametrize("direction", DIRECTIONS)
@each(ONCE)
def test_every_bijection_compiles_as_one_graph(config, direction):
    bijection = bijection_of(config)
    compiles(bijection, direction, given_to(bijection, direction))


# Every univariate in an autoregressive layer too, whose solve goes through the incremental pass; in the other layers
# univariates do what they do alone. Of those that search for a root, traced alone too, one solve is enough.
INSIDE = [c | {"features": 2} for c in layers() if c["type"] == "Autoregressive"]
SEARCHING = [c for c in INSIDE if is_numeric(c)][1:]


@pytest.mark.parametrize(
    ("config", "direction"),
    [(c, "forward_and_ladj") for c in INSIDE] + [(c, "inverse_and_ladj") for c in INSIDE if c not in SEARCHING],
    ids=lambda v: v if isinstance(v, str) else label(v),
)
def test_every_univariate_compiles_in_a_layer(config, direction):
    bijection = bijection_of(config)
    compiles(bijection, direction, given_to(bijection, direction))


@pytest.mark.parametrize("direction", ["forward_and_ladj", "inverse_and_ladj"])
@each(EXPORTED)
def test_every_bijection_exports(config, direction):
    bijection = bijection_of(config)
    exports(bijection, direction, given_to(bijection, direction))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@each(UNIVARIATES)
def test_every_univariate_compiles_and_exports(config, direction):
    univariate = build(config).to(torch.float64)
    x = torch.tensor([-9.0, -1.0, 0.0, 2.5, 9.0], dtype=torch.float64)
    x = torch.where(univariate.domain.contains(x), x, univariate.domain.anchor(x))
    params = torch.randn(univariate.num_params, 5, dtype=torch.float64, generator=generator(1))
    if univariate.inverse_kind == "exact" or direction == "forward" or FIRST[config["type"]] == config:
        compiles(univariate, direction, (x, params))
        exports(univariate, direction, (x, params))


@each([*DISTRIBUTIONS, *FLOWS])
def test_every_distribution_compiles_and_exports(config):
    """The screening of bad rows and of the support included, so one row here is NaN and one infinite."""
    distribution = random_part(config)
    x = torch.randn(5, *distribution.event_shape, dtype=torch.float64, generator=generator(1))
    context = context_for(distribution, (5,), generator(2))
    given = (x,) if context is None else (x, context)
    compiles(distribution, "log_prob", given)
    exports(distribution, "log_prob", given)
    x[1, 0], x[2, 0] = torch.nan, torch.inf
    compiled = torch.compile(distribution.log_prob, fullgraph=True, backend="eager")
    assert torch.equal(compiled(*given).isnan(), torch.tensor([False, True, False, False, False]))
    assert compiled(*given)[2] == -torch.inf


@each(FLOWS)
def test_every_flow_samples_in_one_graph(config):
    flow = random_part(config)
    context = context_for(flow, (5,), generator(2))
    z = torch.randn(5, 2, dtype=torch.float64, generator=generator(3))
    compiles(flow, "to_data", (z, context))
    compiles(flow, "to_latent", (z, context))


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


@pytest.mark.slow
@needs_compiler
@each(INDUCTOR)
def test_inductor_gives_the_same_numbers(config):
    flow = random_part(config)
    x = torch.randn(6, 3, dtype=torch.float64, generator=generator(1))
    context = context_for(flow, (6,), generator(2))
    compiled = torch.compile(flow.log_prob, fullgraph=True)
    got, expected = compiled(x, context), flow.log_prob(x, context)
    properties.close(got, expected, "log_prob compiled by inductor", properties.SHARP)
    for a, b in zip(*(torch.autograd.grad(out.sum(), list(flow.parameters())) for out in (got, expected)), strict=True):
        properties.close(a, b, "gradients compiled by inductor", properties.SHARP)

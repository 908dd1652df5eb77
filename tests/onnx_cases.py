"""What goes through ONNX, and how far a runtime is from torch: every named flow, and a flow of every example."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from cases import GENTLE, examples, generator, label, random_part
from torch import Tensor

import pushforward as pf
from pushforward.core.bijection import Bijection
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Domain
from pushforward.core.surface import Surface
from pushforward.flows import FLOWS, IMAGE_FLOWS
from pushforward.interop import to_onnx
from pushforward.testing.random_parts import randomize

METHODS = ("log_prob", "sample")
ROWS = 11
CLOSE = 1e-5
"""Largest difference between the runtime and torch, both in float32, relative to 1 + the size of the number."""

SPACES: dict[str, Callable[[], pf.Flow]] = {
    "box_flow": lambda: pf.flows.box_flow([0.0, None], [1.0, None], depth=1, hidden=(8,)),
    "cylinder_flow": lambda: pf.flows.cylinder_flow(3, [1], depth=2, hidden=(8,)),
    "simplex_flow": lambda: pf.flows.simplex_flow(3, depth=1, hidden=(8,)),
    "sphere_flow": lambda: pf.flows.sphere_flow(3, depth=1, hidden=(8,)),
    "torus_flow": lambda: pf.flows.torus_flow(2, depth=1, hidden=(8,)),
}


class Flat(Distribution):
    """Points of a space with the log-density 0 everywhere: a base for any map."""

    def __init__(self, domain: Domain, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.support, self.event_shape = domain, shape
        self.register_buffer("like", torch.zeros(()))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x.new_zeros(x.shape[: x.ndim - len(self.event_shape)])

    def _rsample(self, batch, context, generator):
        return self.support.example((*batch, *self.event_shape), generator).to(torch.float32)


class Outcome(NamedTuple):
    """Of one method of one flow."""

    difference: float | None
    """The largest one, relative to 1 + the size of the number; None where there is no graph."""
    reason: str


def flow_cases() -> Iterator[tuple[str, Callable[[], pf.Flow]]]:
    """Every named flow, initialised with data, its weights moved by normals of scale 0.1."""
    for name in FLOWS:
        yield name, lambda name=name: moved(lambda: FLOWS[name](2, **small(FLOWS[name])), (2,))
    for name in [name for name in IMAGE_FLOWS if name != "pixels"]:  # which is no flow
        yield name, lambda name=name: moved(lambda: IMAGE_FLOWS[name]((1, 4, 4), **small(IMAGE_FLOWS[name])), (1, 4, 4))
    for name, build in SPACES.items():
        yield name, lambda build=build: randomize(build(), seed=1, dtype=torch.float32, size=0.1)


def small(build: Callable[..., pf.Flow]) -> dict[str, object]:
    options = {"hidden": (8, 8), "depth": 2}
    return {name: value for name, value in options.items() if name in inspect.signature(build).parameters}


def moved(build: Callable[[], pf.Flow], shape: tuple[int, ...]) -> pf.Flow:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = build()
    flow.initialize(torch.rand(200, *shape, generator=generator(0)))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(1)))
    return flow


def example_cases() -> Iterator[tuple[str, Callable[[], pf.Flow]]]:
    """A flow of every registered example of a bijection, with random weights."""
    for config in examples(Bijection):
        yield label(config), lambda config=config: of_example(config)


def of_example(config: dict[str, object]) -> pf.Flow:
    bijection = random_part(config, torch.float32, GENTLE)
    if bijection.keeps_dimension or bijection.lifts == "forward" or bijection.log_det == "bound":
        return pf.Flow(Flat(bijection.domain, bijection.in_shape), bijection)
    return pf.Flow(Flat(bijection.codomain, bijection.out_shape), bijection.inv)


def compared(flow: pf.Flow, method: str) -> Outcome:
    """Export a method, run it, and compare; a refusal in one sentence is an outcome, anything else an error."""
    import onnxruntime

    flow.eval()
    with TemporaryDirectory() as folder:
        path = Path(folder, "flow.onnx")
        try:
            to_onnx(flow, path, method)
        except ValueError as error:
            return Outcome(None, reason_of(str(error)))
        session = onnxruntime.InferenceSession(str(path))
    context = None
    if flow.context_shape is not None:
        context = torch.randn(ROWS, *flow.context_shape, generator=generator(2))
    with torch.no_grad():
        z = flow.base.sample((ROWS,), generator=generator(1))
        rows = z if method == "sample" else flow.to_data(z, context, **seeded(flow))
        expected = flow.to_data(rows, context) if method == "sample" else flow.log_prob(rows, context)
    names = [node.name for node in session.get_inputs()]
    inputs = {name: value.numpy() for name, value in zip(names, (rows, context), strict=False)}
    (out,) = session.run(None, inputs)
    out = torch.from_numpy(out)
    if isinstance(flow.support, Surface):
        finite = expected.isfinite()
        out, expected = out[finite], expected[finite]
    return Outcome(((out - expected).abs() / (1 + expected.abs())).max().item(), "")


def seeded(flow: pf.Flow) -> dict[str, object]:
    return {"generator": generator(3)} if flow.stochastic else {}


REASONS = {
    "draws random numbers": "draws random numbers",
    "solves equations numerically": "solves equations numerically",
    "has an operation that ONNX lacks": "an operation that ONNX lacks",
    "cannot trace": "torch.export cannot trace it for any number of rows",
    "no known formula": "there is no such direction",
}


def reason_of(message: str) -> str:
    """The kind of refusal, with the operation that ONNX lacks; any other message is an error."""
    for part, reason in REASONS.items():
        if part in message:
            operation = re.search(r"aten\.(\w+)", message)
            return f"{reason}: `{operation[1]}`" if operation and "lacks" in part else reason
    raise AssertionError(f"refused for no known reason: {message}")


def is_close(outcome: Outcome) -> bool:
    return outcome.difference is None or (math.isfinite(outcome.difference) and outcome.difference <= CLOSE)

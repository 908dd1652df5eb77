"""One library in one process: builds a flow, then times single calls, as `peers.py` asks it to over standard input.

    python peer_worker.py LIBRARY

Each request and each answer is one line of JSON:

* ``{"build": KIND, "features": D, "width": W}`` gives ``{"weights": ...}``;
* ``{"run": TASK, "warm": N}`` gives ``{"ms": ...}`` for one call of ``step``, ``log_prob`` or ``sample``, after N more;
* ``{"memory": TASK}`` gives ``{"mb": ...}``, the most that one call takes beyond what is there before it (Linux only).

Every flow has five transforms, conditioners with two hidden layers and, where it has splines, eight bins.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS, LAYERS, BINS, BOUND, RATE = 512, 5, 8, 5.0, 1e-3
KINDS = ("maf", "nsf", "coupling")  # affine autoregressive, spline autoregressive, spline coupling
Tasks = dict[str, Callable[[], object]]


def torch_tasks(flow: Any, features: int, loss: Any, log_prob: Any, sample: Any) -> Tasks:
    """The three tasks of a torch module."""
    import torch

    optimizer = torch.optim.Adam(flow.parameters(), lr=RATE, fused=True)
    x = torch.randn(ROWS, features)

    def step() -> None:
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()

    def scored() -> None:
        with torch.no_grad():
            log_prob(x)

    def sampled() -> None:
        with torch.no_grad():
            sample()

    return {"step": step, "log_prob": scored, "sample": sampled}


def shake(flow: Any) -> Any:
    """Weights away from the identity, so that no path is trivial."""
    import torch

    with torch.no_grad():
        for parameter in flow.parameters():
            scale = 0.3 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.add_(scale * torch.randn_like(parameter))
    return flow


def ours(kind: str, features: int, width: int, *, native: bool = False, compiled: bool = False) -> tuple[Tasks, int]:
    import torch

    import pushforward as pf

    options: dict[str, Any] = {"hidden": (width, width), "depth": LAYERS}
    if kind == "maf":
        flow = pf.flows.maf(features, **options)
    else:
        layer = "autoregressive" if kind == "nsf" else "coupling"
        flow = pf.flows.nsf(features, layer=layer, bins=BINS, mix="flip", **options)
    shake(flow)
    flow.initialize(torch.randn(ROWS, features))
    call: Any = flow
    if native:
        flow.use_kernels()
    if compiled:
        torch._dynamo.reset()
        call = torch.compile(flow, dynamic=False)
    tasks = torch_tasks(flow, features, lambda x: -call(x).mean(), call, lambda: flow.sample((ROWS,)))
    return tasks, count(flow)


def count(flow: Any) -> int:
    return sum(p.numel() for p in flow.parameters())


def zuko(kind: str, features: int, width: int) -> tuple[Tasks, int]:
    import zuko.flows as flows

    options: dict[str, Any] = {"transforms": LAYERS, "hidden_features": (width, width)}
    if kind == "maf":
        flow = flows.MAF(features, **options)
    else:
        flow = flows.NSF(features, bins=BINS, **options, **({"passes": 2} if kind == "coupling" else {}))
    shake(flow)
    tasks = torch_tasks(
        flow,
        features,
        lambda x: -flow().log_prob(x).mean(),
        lambda x: flow().log_prob(x),
        lambda: flow().sample((ROWS,)),
    )
    return tasks, count(flow)


def nflows(kind: str, features: int, width: int) -> tuple[Tasks, int]:
    import torch
    from nflows import transforms as t
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.nn.nets.mlp import MLP

    class Network(MLP):
        def forward(self, x: Any, context: Any = None) -> Any:
            return super().forward(x)

    masked = {"hidden_features": width, "num_blocks": 1, "use_residual_blocks": False}
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
    parts: list[Any] = []
    for k in range(LAYERS):
        if kind == "maf":
            parts.append(t.MaskedAffineAutoregressiveTransform(features, **masked))
        elif kind == "nsf":
            parts.append(t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(features, **masked, **spline))
        else:
            mask = torch.arange(features) % 2 if k % 2 else 1 - torch.arange(features) % 2
            parts.append(
                t.PiecewiseRationalQuadraticCouplingTransform(
                    mask, lambda i, o: Network([i], [o], hidden_sizes=[width, width]), **spline
                )
            )
        parts.append(t.ReversePermutation(features))
    flow = shake(Flow(t.CompositeTransform(parts), StandardNormal([features])))
    return torch_tasks(
        flow, features, lambda x: -flow.log_prob(x).mean(), flow.log_prob, lambda: flow.sample(ROWS)
    ), count(flow)


def normflows(kind: str, features: int, width: int) -> tuple[Tasks, int]:
    import normflows as nf

    spline = {"num_bins": BINS, "tail_bound": BOUND}
    parts: list[Any] = []
    for k in range(LAYERS):
        if kind == "maf":
            layer = nf.flows.MaskedAffineAutoregressive(features, width, num_blocks=1, use_residual_blocks=False)
            parts.append(nf.flows.Reverse(layer))
        elif kind == "nsf":
            parts.append(
                nf.flows.AutoregressiveRationalQuadraticSpline(features, 1, width, num_bins=BINS, tail_bound=5)
            )
        else:
            parts.append(
                nf.flows.CoupledRationalQuadraticSpline(features, 1, width, reverse_mask=bool(k % 2), **spline)
            )
    flow = shake(nf.NormalizingFlow(nf.distributions.DiagGaussian(features, trainable=False), parts))
    return torch_tasks(flow, features, flow.forward_kld, flow.log_prob, lambda: flow.sample(ROWS)), count(flow)


def flowjax(kind: str, features: int, width: int) -> tuple[Tasks, int]:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax
    from flowjax import bijections, distributions, flows
    from paramax import NonTrainable, unwrap

    key = jax.random.key(0)
    options: dict[str, Any] = {"flow_layers": LAYERS, "nn_width": width, "nn_depth": 2}
    if kind != "maf":  # its knots lie inside the box: seven of them make eight bins
        options["transformer"] = bijections.RationalQuadraticSpline(knots=BINS - 1, interval=BOUND)
    make = flows.coupling_flow if kind == "coupling" else flows.masked_autoregressive_flow
    flow = make(key, base_dist=distributions.Normal(jnp.zeros(features)), **options)
    trained = lambda leaf: isinstance(leaf, NonTrainable)  # noqa: E731
    params, static = eqx.partition(flow, eqx.is_inexact_array, is_leaf=trained)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    scales = [0.3 / leaf.shape[-1] ** 0.5 if leaf.ndim > 1 else 0.1 for leaf in leaves]
    leaves = [
        leaf + scale * jax.random.normal(key, leaf.shape) for leaf, scale, key in zip(leaves, scales, keys, strict=True)
    ]
    params = jax.tree.unflatten(tree, leaves)
    optimizer = optax.adam(RATE)
    state = optimizer.init(params)
    x = jax.random.normal(jax.random.key(2), (ROWS, features))

    def loss(params: Any, x: Any) -> Any:
        return -unwrap(eqx.combine(params, static)).log_prob(x).mean()

    @eqx.filter_jit
    def update(params: Any, state: Any, x: Any) -> Any:
        gradient = eqx.filter_grad(loss)(params, x)
        changes, state = optimizer.update(gradient, state, params)
        return eqx.apply_updates(params, changes), state

    scored = eqx.filter_jit(lambda params, x: unwrap(eqx.combine(params, static)).log_prob(x))
    sampled = eqx.filter_jit(lambda params, key: unwrap(eqx.combine(params, static)).sample(key, (ROWS,)))

    def step() -> None:
        nonlocal params, state
        params, state = jax.block_until_ready(update(params, state, x))

    tasks: Tasks = {
        "step": step,
        "log_prob": lambda: jax.block_until_ready(scored(params, x)),
        "sample": lambda: jax.block_until_ready(sampled(params, key)),
    }
    return tasks, sum(leaf.size for leaf in leaves)


LIBRARIES: dict[str, Callable[[str, int, int], tuple[Tasks, int]]] = {
    "ours": ours,
    "ours-native": lambda *what: ours(*what, native=True),
    "ours-compiled": lambda *what: ours(*what, native=True, compiled=True),
    "zuko": zuko,
    "nflows": nflows,
    "normflows": normflows,
    "flowjax": flowjax,
}


def resident() -> tuple[float, float]:
    """(now, most so far) of this process's memory, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    fields = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Vm")}
    return int(fields["VmRSS"]) / 1024, int(fields["VmHWM"]) / 1024


def extra_memory(task: Callable[[], object]) -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory that is free already goes back, or the task would find its own there
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the most so far is forgotten
    before, _ = resident()
    task()
    return resident()[1] - before


def main() -> None:
    build, tasks = LIBRARIES[sys.argv[1]], {}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not come between the answers
    for line in sys.stdin:
        request = json.loads(line)
        if "build" in request:
            tasks, weights = build(request["build"], request["features"], request["width"])
            answer: dict[str, float] = {"weights": weights}
        elif "memory" in request:
            answer = {"mb": extra_memory(tasks[request["memory"]])}
        else:
            for _ in range(request.get("warm", 0)):
                tasks[request["run"]]()
            start = time.perf_counter()
            tasks[request["run"]]()
            answer = {"ms": 1e3 * (time.perf_counter() - start)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

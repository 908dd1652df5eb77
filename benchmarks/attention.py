"""Transformers as conditioners: sampling with and without kept keys and values, and densities beside masked networks.

    .venv/bin/python benchmarks/attention.py sampling [--tokens 256 --rounds 3]
    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/attention.py power [--seconds 600]

``sampling`` inverts one affine autoregressive layer feature by feature: with kept keys and values, by passes over all
tokens so far, by passes over all tokens, and by Jacobi iteration, in turn, on the same points. ``power`` trains a flow
with transformers and one with masked networks on UCI POWER for the same time, and scores its test part once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from results import machine, update_section
from torch import Tensor

import pushforward as pf
from pushforward.bijections import Autoregressive
from pushforward.testing.random_parts import randomize
from pushforward.train import Event, Validated
from pushforward.univariate import Affine

HIDDEN = (64, 64)


def by_passes(layer: Autoregressive, y: Tensor, *, all_tokens: bool) -> Tensor:
    """The inverse by one pass for each feature, which keeps nothing: over the tokens so far, or over all of them."""
    columns = y.t()
    x = torch.zeros_like(columns)
    for j in range(len(columns)):
        if all_tokens:
            params = layer.conditioner(x)[:, j : j + 1]
        else:
            params = layer.conditioner.start_blocks(x).params(x, 0, j + 1)[:, j:]
        x[j : j + 1] = layer._invert_block(columns[j : j + 1], params, j, j + 1)
    return x.t()


@torch.no_grad()
def run_sampling(tokens: int, rounds: int) -> None:
    torch.set_num_threads(1)  # two that wait for each other on cores in use tell nothing
    options: dict[str, Any] = {"hidden": HIDDEN, "conditioner": "transformer", "activation": "gelu", "block": tokens}
    layer, iterating = (
        randomize(Autoregressive(Affine(), tokens, solver=solver, **options), dtype=torch.float32, size=0.5)
        for solver in ("sequential", "jacobi")
    )
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "kept keys and values": layer.inverse,
        "passes over the tokens so far": lambda y: by_passes(layer, y, all_tokens=False),
        "passes over all tokens": lambda y: by_passes(layer, y, all_tokens=True),
        "Jacobi iteration": iterating.inverse,
    }
    lines = []
    for rows in (1, 16):
        y = torch.randn(rows, tokens, generator=torch.Generator().manual_seed(rows))
        expected = layer.inverse(y)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        errors = dict.fromkeys(ways, 0.0)
        for _ in range(rounds):
            for name, way in ways.items():
                started = time.process_time()
                x = way(y)
                seconds[name].append(time.process_time() - started)
                errors[name] = max(errors[name], (x - expected).abs().max().item())
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        kept = medians["kept keys and values"]
        for name in ways:
            lines.append(f"| {rows} | {name} | {medians[name]:.3f} | {medians[name] / kept:.1f} | {errors[name]:.0e} |")
            print(lines[-1], flush=True)
    text = [
        "## Samples from a transformer",
        "",
        f"    .venv/bin/python benchmarks/attention.py sampling --tokens {tokens} --rounds {rounds}",
        "",
        f"{machine()}, one thread, float32. One affine autoregressive layer of {tokens}",
        f"features, hidden {HIDDEN}, 4 heads, random weights; medians of {rounds} interleaved rounds.",
        "Ratio: to kept keys and values. Difference: the largest to these samples.",
        "",
        "| rows | samples by | CPU seconds | ratio | difference |",
        "|---:|---|---:|---:|---:|",
        *lines,
    ]
    update_section("attention sampling", "\n".join(text))


# --- densities -------------------------------------------------------------------------------------------------------

FLOWS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "transformer": (
        pf.flows.transformer_flow,
        {"depth": 2, "univariate": "spline", "hidden": [32, 32], "activation": "relu", "frequencies": 8},
    ),
    "masked network": (pf.flows.nsf, {"depth": 2, "mix": "flip"}),
}


def log(event: Event) -> None:
    """Print a line for each validation."""
    if isinstance(event, Validated):
        r = event.record
        print(f"{r.seconds:7.0f} s  step {r.step:7d}  {r.train:.4f}  {r.validation:.4f}", flush=True)


def run_power(seconds: float, only: str | None, options: dict[str, Any], fit: dict[str, Any]) -> None:
    from density import splits

    train, validation, test = splits()
    lines = []
    for name, (build, defaults) in FLOWS.items():
        if only not in (None, name):
            continue
        torch.manual_seed(0)
        chosen = {**defaults, **options}
        flow = build(6, **chosen)
        history = pf.fit(
            flow, train, validation=(validation[:50000],), seconds=seconds, progress=False, callbacks=log, **fit
        )
        with torch.no_grad():
            scores = flow.log_prob(torch.from_numpy(test)).double()
        weights = sum(p.numel() for p in flow.parameters())
        error = (scores.std() / len(scores) ** 0.5).item()
        lines.append(
            f"| {name} | `{json.dumps(chosen)}` | {weights:,} | {history.records[-1].step:,} | "
            f"{history.best_validation:.3f} | {scores.mean().item():.3f} | {error:.3f} |"
        )
        print(lines[-1], flush=True)
    if only is not None:
        return
    text = [
        "## POWER: transformers and masked networks at equal time",
        "",
        f"    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/attention.py power --seconds {seconds:g}",
        "",
        f"{machine()}. {seconds:g} s of training each, one after the other, on {len(train):,} rows,",
        f"fit {json.dumps(fit)}; weights chosen on 50,000 validation rows, {len(test):,} test rows scored once.",
        "",
        "| conditioner | flow | weights | steps | validation nats | test nats | standard error |",
        "|---|---|---:|---:|---:|---:|---:|",
        *lines,
    ]
    update_section("attention power", "\n".join(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sampling", "power"))
    parser.add_argument("--tokens", type=int, default=256, help="features of the layer that is sampled from")
    parser.add_argument("--rounds", type=int, default=3, help="of sampling")
    parser.add_argument("--seconds", type=float, default=600, help="time for training each flow on power")
    parser.add_argument("--only", choices=tuple(FLOWS), help="train this flow alone, and write nothing")
    parser.add_argument("--flow", type=json.loads, default={}, help="further options of the flow, as JSON")
    parser.add_argument("--fit", type=json.loads, default={"batch_size": 512}, help="options of fit, as JSON")
    arguments = parser.parse_args()
    if arguments.what == "sampling":
        run_sampling(arguments.tokens, arguments.rounds)
    else:
        run_power(arguments.seconds, arguments.only, arguments.flow, arguments.fit)


if __name__ == "__main__":
    main()

"""Images from autoregressive flows: kept keys and values against none, and iterations of parallel passes, in one run.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_sampling.py [--seconds 60 --rounds 3]

A `tarflow` with 256 tokens and a `window_flow` learn MNIST, with a margin to 32 × 32 pixels, for so many seconds each:
how many iterations a sample takes depends on what was learned. Then each way of sampling is timed in turn, round by
round, from the same latents, and the images are compared. Without kept keys and values each step passes the tokens so
far through the transformer again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from results import data_folder, machine, update_section
from torch import Tensor

import pushforward as pf
from pushforward.bijections import Autoregressive
from pushforward.bijections.chain import innermost
from pushforward.data import read_images
from pushforward.flows import tarflow, window_flow

COUNTS = (1, 16)
BLOCKS = (128, 512, 1024)


def learned(build: Callable[[], Any], seconds: float) -> Any:
    images = read_images(data_folder("mnist") / "train-images-idx3-ubyte.gz")
    x = F.pad(torch.from_numpy(images.pixels[:20_000].copy()).float(), (2, 2, 2, 2))
    torch.manual_seed(0)
    flow = build()
    pf.fit(flow, x, validation=None, seconds=seconds, batch_size=32, lr=1e-3, progress=False)
    return flow


def layers(flow: Any) -> list[Autoregressive]:
    return [part for part in flow.modules() if isinstance(part, Autoregressive)]


def by_solver(solver: str, block: int = 32) -> Callable[[Any, Tensor], Tensor]:
    def draw(flow: Any, z: Tensor) -> Tensor:
        for layer in layers(flow):
            layer.solver, layer.block = solver, block
        return flow.to_data(z)

    return draw


def without_cache(flow: Any, z: Tensor) -> Tensor:
    """Each token from one more pass over all tokens up to it."""
    x = z
    for part, backwards in innermost(flow.bijection):
        if not isinstance(part, Autoregressive):
            x = (part._inverse if backwards else part._forward)(*part._arguments(x, None, None))
            continue
        network: Any = part.conditioner
        y, x = x.t(), torch.zeros_like(x.t())
        for token in range(len(y) // network.group):
            h = network.advance(network.embed(x, None, 0, token + 1), network.new_cache(y), 0)
            start, stop = token * network.group, (token + 1) * network.group
            x[start:stop] = part._invert_block(y[start:stop], network.read_out(h[-1:], token), start, stop)
        x = x.t()
    return x


@torch.no_grad()
def measured(flow: Any, ways: dict[str, Any], count: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of CPU time for ``count`` images by each way, and the share of numbers that differ."""
    z = flow.base.sample((count,), generator=torch.Generator().manual_seed(0))
    times: dict[str, list[float]] = {name: [] for name in ways}
    images = {}
    for _ in range(rounds):
        for name, draw in ways.items():
            start = time.process_time()
            images[name] = draw(flow, z)
            times[name].append(1000 * (time.process_time() - start))
    first = next(iter(images.values()))
    return {
        name: (statistics.median(spent), (images[name] != first).double().mean().item())
        for name, spent in times.items()
    }


def iterations(flow: Any, count: int, block: int) -> str:
    """Passes of each layer over a block, on average, from the base to data; a dash where a layer gave up."""
    from pushforward.bijections import autoregressive, jacobi

    solve, passes, texts = jacobi.jacobi_inverse, [0], []

    def counted(y: Tensor, block_pass: Any, *rest: Any) -> Tensor | None:
        params = block_pass.params

        class Counted:
            def params(self, *arguments: Any) -> Tensor:
                passes[0] += 1
                return params(*arguments)

        passes[0] = 0
        x = solve(y, Counted(), *rest)
        texts.append("–" if x is None else f"{passes[0] / -(-len(y) // block):.1f}")
        return x

    autoregressive.jacobi_inverse = counted  # type: ignore[assignment]
    try:
        with torch.no_grad():
            by_solver("jacobi", block)(flow, flow.base.sample((count,), generator=torch.Generator().manual_seed(0)))
    finally:
        autoregressive.jacobi_inverse = solve
    return ", ".join(texts)


def rows_of(name: str, flow: Any, rounds: int) -> list[str]:
    transformer = name.startswith("tarflow")
    rows = []
    for count in COUNTS:
        ways: dict[str, Any] = {"one by one": by_solver("sequential")}
        if transformer:
            ways["one by one, nothing kept"] = without_cache
        for block in BLOCKS:
            ways[f"iteration, blocks of {block}"] = by_solver("jacobi", block)
        results = measured(flow, ways, count, rounds)
        base = results["one by one"][0]
        for way, (spent, differ) in results.items():
            passes = iterations(flow, count, int(way.split()[-1])) if way.startswith("iteration") else ""
            rows.append(f"| {name} | {count} | {way} | {spent:,.0f} | {base / spent:.2f} | {differ:.2%} | {passes} |")
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of training, for each model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-results", action="store_true", help="print only; leave RESULTS.md alone")
    arguments = parser.parse_args()
    shape = (1, 32, 32)
    models = {
        "tarflow, 256 tokens": lambda: tarflow(shape, values=256),
        "window_flow, 1024 numbers": lambda: window_flow(shape, values=256, univariate="affine", hidden=(32, 32)),
    }
    rows = []
    for name, build in models.items():
        rows += rows_of(name, learned(build, arguments.seconds), arguments.rounds)
    if arguments.no_results:
        return
    text = [
        "## Sampling images from autoregressive flows",
        "",
        "    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_sampling.py "
        f"--seconds {arguments.seconds:g} --rounds {arguments.rounds}",
        "",
        f"{machine()}, {torch.get_num_threads()} thread(s). MNIST in 32 × 32 pixels, {arguments.seconds:g} s of",
        f"training; medians of {arguments.rounds} rounds, all ways in turn in each. Passes: of a layer over a block,",
        "from the base to data; a dash where a layer took too many and was solved one by one after all. Differ:",
        "numbers of the images other than those drawn one by one; a latent at the edge of two values may be rounded",
        "to either.",
        "",
        "| model | images | way | CPU ms | speed against one by one | differ | passes |",
        "|---|---:|---|---:|---:|---:|---|",
        *rows,
    ]
    update_section("image sampling", "\n".join(text))


if __name__ == "__main__":
    main()

"""A million rows: what ten minutes of `FlowDensity` reach of what an hour does, and memory while scoring.

    .venv/bin/python benchmarks/large.py [--minutes 60] [--rows 10000000]

Ten columns that hang together in curves, of a known density: a normal first column, then each one a function of those
before it with a spread that depends on them, so that the largest log-likelihood there is can be computed. "Default" is
`FlowDensity().fit(rows)`; the long run has a budget of so many minutes and no early stopping.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from results import machine, update_section
from sklearn.mixture import GaussianMixture

from pushforward.estimators import FlowDensity
from pushforward.io import save

Array = NDArray[np.float64]
ROWS, COLUMNS, GROUP = 1_000_000, 10, 100_000


def made(rows: int, seed: int) -> tuple[Array, Array]:
    """Rows, and the true log-density of each."""
    random = np.random.default_rng(seed)
    x, total = np.empty((rows, COLUMNS)), np.zeros(rows)
    for j in range(COLUMNS):
        before = x[:, max(0, j - 3) : j]
        middle = np.sin(2 * before).sum(axis=1) if j else np.zeros(rows)
        spread = 0.2 + 0.3 / (1 + np.exp(-2 * before.sum(axis=1))) if j else np.ones(rows)
        z = random.normal(size=rows)
        x[:, j] = middle + spread * z
        total += -0.5 * z**2 - np.log(spread) - 0.5 * np.log(2 * np.pi)
    return x, total


def scored(rows: int) -> tuple[float, float]:
    """Peak memory in GB and seconds of scoring so many rows in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        table, model, out = (str(Path(folder, name)) for name in ("rows.parquet", "m.safetensors", "scores.parquet"))
        names = [f"x{j}" for j in range(COLUMNS)]
        writer = None
        for start in range(0, rows, GROUP):
            piece = pa.table(dict(zip(names, made(min(GROUP, rows - start), 100 + start)[0].T, strict=True)))
            writer = writer or pq.ParquetWriter(table, piece.schema)
            writer.write_table(piece)
        assert writer is not None
        writer.close()
        first = pq.ParquetFile(table).read_row_group(0)
        save(FlowDensity(order="fixed", steps=200, random_state=0).fit(first), model)  # type: ignore[arg-type]
        start_time = time.monotonic()
        command = [sys.executable, "-m", "pushforward", "score", model, table, "--out", out]
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.monotonic() - start_time
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--fit-rows", type=int, default=ROWS)
    options = parser.parse_args()
    memory, seconds = scored(options.rows)
    print(f"{options.rows:,} rows scored: {memory:.2f} GB, {seconds:.0f} s", flush=True)
    x, _ = made(options.fit_rows, 0)
    test, truth = made(20_000, 1)
    gaussian = GaussianMixture(1).fit(x).score(test)
    start = time.monotonic()
    default = FlowDensity(random_state=0).fit(x)
    used = time.monotonic() - start
    short = default.score(test)
    print(f"default {short:.3f} in {used:.0f} s, Gaussian {gaussian:.3f}, truth {truth.mean():.3f}", flush=True)
    long = FlowDensity(random_state=0, seconds=60 * options.minutes, patience=None).fit(x).score(test)
    part = (short - gaussian) / (long - gaussian)
    text = [
        "## A million rows",
        "",
        f"`.venv/bin/python benchmarks/large.py` ({machine()}).",
        "",
        f"{options.fit_rows:,} × {COLUMNS} rows: the default fit takes {used / 60:.1f} minutes and reaches {short:.3f}",
        f"nats; {options.minutes:.0f} minutes reach {long:.3f}, a Gaussian {gaussian:.3f}, the truth",
        f"{truth.mean():.3f}. That is **{part:.1%}** of the gain of the long run.",
        "",
        f"`pushforward score` of {options.rows:,} × {COLUMNS} rows with a model of one order: **{memory:.2f} GB** at",
        f"most, {seconds:.0f} s.",
    ]
    print("\n".join(text))
    if options.fit_rows == ROWS and options.minutes >= 60 and options.rows >= 10_000_000:
        update_section("large", "\n".join(text))


if __name__ == "__main__":
    main()

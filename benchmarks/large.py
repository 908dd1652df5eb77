"""A million rows: what the default fit reaches of what an hour does. Ten million rows: memory while scoring them.

    .venv/bin/python benchmarks/large.py fit [--minutes 60] [--rows 1000000]
    .venv/bin/python benchmarks/large.py score [--rows 10000000]

Ten columns that hang together in curves, of a known density: a normal first column, then each one a function of those
before it with a spread that depends on them, so that the largest log-likelihood there is can be computed. "Default" is
`FlowDensity().fit(rows)`; the long run has a budget of so many minutes and no early stopping.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from results import machine, update_section
from sklearn.mixture import GaussianMixture

from pushforward.estimators import FlowDensity
from pushforward.io import save

Array = NDArray[np.float64]
COLUMNS, GROUP = 10, 100_000
FITTED, SCORED, MINUTES = 1_000_000, 10_000_000, 60.0
PEAK = """
import sys
from pushforward.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


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


def scored(rows: int) -> list[str]:
    """Score so many rows in a process of its own, and look at its peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        table, model, out = (str(Path(folder, name)) for name in ("rows.parquet", "m.safetensors", "scores.parquet"))
        names = [f"x{j}" for j in range(COLUMNS)]
        with pq.ParquetWriter(table, pa.schema([(name, pa.float64()) for name in names])) as writer:
            for start in range(0, rows, GROUP):
                piece = made(min(GROUP, rows - start), 100 + start)[0]
                writer.write_table(pa.table(dict(zip(names, piece.T, strict=True))))
        size = Path(table).stat().st_size / 2**30
        first: Any = pq.ParquetFile(table).read_row_group(0)
        save(FlowDensity(order="fixed", steps=200, random_state=0).fit(first), model)
        start_time = time.monotonic()
        command = [sys.executable, "-c", PEAK, "score", model, table, "--out", out]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.monotonic() - start_time
        assert pq.ParquetFile(out).metadata.num_rows == rows
    return [
        "## Ten million rows scored",
        "",
        "    .venv/bin/python benchmarks/large.py score",
        "",
        f"{machine()}. `pushforward score` of a Parquet file",
        f"of {rows:,} × {COLUMNS} rows ({size:.2f} GiB) with a `FlowDensity` of one order: at most "
        f"**{int(done.stdout.split()[-1]) / 2**20:.2f} GiB** of memory,",
        f"{seconds:.0f} s.",
    ]


def fitted(rows: int, minutes: float) -> list[str]:
    """Fit by default and for so many minutes, and compare what the two reach."""
    x, _ = made(rows, 0)
    test, truth = made(20_000, 1)
    gaussian = GaussianMixture(1).fit(x).score(test)
    start = time.monotonic()
    default = FlowDensity(random_state=0).fit(x)
    used = time.monotonic() - start
    short = default.score(test)
    print(f"default {short:.3f} in {used:.0f} s, Gaussian {gaussian:.3f}, truth {truth.mean():.3f}", flush=True)
    longer = FlowDensity(random_state=0, seconds=60 * minutes, patience=None).fit(x)
    long = longer.score(test)
    part = (short - gaussian) / (long - gaussian)
    return [
        "## A million rows fitted",
        "",
        "    .venv/bin/python benchmarks/large.py fit",
        "",
        f"{machine()}. Mean log-likelihood of 20,000 new rows in nats.",
        f"{rows:,} × {COLUMNS} rows of a known density: the default fit takes **{used / 60:.1f} minutes** "
        f"({default.history_.records[-1].step:,}",
        f"steps) and reaches {short:.3f}; {minutes:.0f} minutes ({longer.history_.records[-1].step:,} steps) reach "
        f"{long:.3f}, a Gaussian {gaussian:.3f}, the",
        f"truth {truth.mean():.3f}. That is **{part:.1%}** of the gain of the long run over the Gaussian, and "
        f"{(short - gaussian) / (truth.mean() - gaussian):.1%}",
        "of the largest gain there is.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["fit", "score"])
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--rows", type=int)
    options = parser.parse_args()
    usual = FITTED if options.part == "fit" else SCORED
    rows = options.rows or usual
    text = "\n".join(fitted(rows, options.minutes) if options.part == "fit" else scored(rows))
    print(text)
    if rows >= usual and options.minutes >= MINUTES:
        update_section(f"large-{options.part}", text)


if __name__ == "__main__":
    main()

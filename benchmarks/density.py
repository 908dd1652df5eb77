"""Density estimation on UCI POWER with the published split, through the public interface.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/density.py [--seconds 2400]

On cores that something else uses as well, put OMP_WAIT_POLICY=passive in front: two threads that spin while they wait
for each other made a step 30 times as long there.

Trains on the full training part within the time given, chooses the weights on the validation part, saves the model,
and scores the test part once, in a new process, by the command line: as it is, and with the time column jittered
within its minute (a model that wins by spikes on the 1,440 values of that column loses there).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from results import data_folder, machine, update_section

import pushforward as pf
from pushforward.distributions import MultivariateNormal
from pushforward.evaluate import baselines_to_dict, fit_baselines
from pushforward.train import Event, Validated

COLUMNS = ["global_active_power", "voltage", "sub_metering_1", "sub_metering_2", "sub_metering_3", "minute_of_day"]
PUBLISHED = "published after hundreds of epochs: MADE −3.08, Real NVP 0.17, MAF(10) 0.24, FFJORD 0.46, NSF 0.66"


def splits() -> list[np.ndarray]:
    """Train, validation and test of the published split, standardised, float32."""
    path = data_folder("power") / "make_power.py"
    spec = importlib.util.spec_from_file_location("make_power", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be read.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.splits()


def gaussian_score(train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Mean test log-likelihood of a full-covariance Gaussian and twice its standard error, as published tables do."""
    gaussian = MultivariateNormal([0.0] * train.shape[1]).double()
    gaussian.initialize(torch.from_numpy(train).double())
    with torch.no_grad():
        scores = gaussian.log_prob(torch.from_numpy(test).double())
    return scores.mean().item(), 2 * (scores.std() / len(scores) ** 0.5).item()


def jittered(test: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same rows with the time moved uniformly within its minute."""
    minutes = np.unique(test[:, 5].astype(np.float64))
    minute = (minutes[-1] - minutes[0]) / 1439
    moved = test.copy()
    moved[:, 5] += (minute * np.random.default_rng(seed).random(len(test))).astype(np.float32)
    return moved


def write_table(path: Path, rows: np.ndarray) -> None:
    pq.write_table(pa.table({name: rows[:, j] for j, name in enumerate(COLUMNS)}), path)


def command_line_score(model: Path, table: Path) -> dict[str, Any]:
    """What the command line says of a table, in a new process."""
    command = [sys.executable, "-m", "pushforward", "evaluate", str(model), str(table), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def log(event: Event) -> None:
    """Print a line for each validation."""
    if isinstance(event, Validated):
        r = event.record
        print(f"{r.seconds:7.0f} s  step {r.step:7d}  {r.train:.4f}  {r.validation:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2400, help="time for training")
    parser.add_argument("--flow", type=json.loads, default={}, help="options of nsf, as JSON")
    parser.add_argument("--fit", type=json.loads, default={}, help="options of fit, as JSON")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/.power"), help="where model and tables go")
    parser.add_argument("--score-only", action="store_true", help="score the model already in the folder")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    train, validation, test = splits()
    gaussian = gaussian_score(train, test)
    print(f"full-covariance Gaussian: {gaussian[0]:.3f} ± {gaussian[1]:.3f} nats (published -7.74 ± 0.02)", flush=True)
    model_path = folder / "model.safetensors"
    if not arguments.score_only:
        torch.manual_seed(0)
        flow = pf.flows.nsf(6, **arguments.flow)
        history = pf.fit(
            flow,
            train,
            validation=(validation,),
            seconds=arguments.seconds,
            checkpoint=folder / "run.checkpoint",
            checkpoint_seconds=120,
            resume=True,
            progress=sys.stderr.isatty(),
            callbacks=log,
            **arguments.fit,
        )
        baselines = baselines_to_dict(fit_baselines(train))
        pf.save(
            flow,
            model_path,
            metadata={
                "columns": COLUMNS,
                "column_types": ["float"] * 6,
                "given": [],
                "flow": "nsf",
                "options": arguments.flow,
                "history": history.to_dict(),
                "baselines": baselines,
                "train_rows": len(train),
                "dropped": [],
            },
        )
    saved = pf.io.read_header(model_path)
    history = saved.metadata["history"]
    tables = {"test": test, "test, time jittered within its minute": jittered(test)}
    started, scores = time.monotonic(), {}
    for name, rows in tables.items():
        path = folder / ("jittered.parquet" if "jittered" in name else "test.parquet")
        write_table(path, rows)
        scores[name] = command_line_score(model_path, path)
        print(name, scores[name], flush=True)
    seconds = time.monotonic() - started
    plain, moved = (score["log_likelihood"] for score in scores.values())
    waiting = "OMP_WAIT_POLICY=passive " if os.environ.get("OMP_WAIT_POLICY") == "passive" else ""
    lines = [
        "## POWER: density estimation",
        "",
        f"    {waiting}PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/density.py",
        "",
        f"{machine()}. Full training split ({len(train):,} rows), weights chosen on {len(validation):,} validation",
        f"rows, tested once on {len(test):,} rows by `pushforward evaluate` in a new process ({seconds:.0f} s for both",
        "tables).",
        f"Options: nsf {json.dumps(arguments.flow)}, fit {json.dumps(arguments.fit)}; {saved.parameters:,} weights,",
        f"{history['records'][-1]['step']:,} steps in {history['seconds']:.0f} s, the last validation included;",
        f"best validation {history['best_validation']:.3f} nats.",
        "",
        "Course of the run (validation nats): "
        + ", ".join(f"{r['seconds'] / 60:.0f} min {r['validation']:.2f}" for r in history["records"][1::4])
        + ".",
        "",
        "| what | nats | standard error |",
        "|---|---:|---:|",
        f"| full-covariance Gaussian | {gaussian[0]:.3f} | {gaussian[1] / 2:.3f} |",
        *(f"| {name} | {s['log_likelihood']:.3f} | {s['standard_error']:.3f} |" for name, s in scores.items()),
        f"| difference by jitter | {moved - plain:+.4f} | |",
        "",
        f"For comparison, {PUBLISHED}.",
    ]
    update_section("power", "\n".join(lines))


if __name__ == "__main__":
    main()

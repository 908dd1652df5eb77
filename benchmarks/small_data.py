"""Densities learned from 100 and 300 rows of six UCI sets: `triangular_map` beside a Gaussian, a mixture and `nsf`.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/small_data.py

The joint density of inputs and target, without the columns where one value holds more than a tenth of the rows, on the
test rows of the ten given masks (at most 2,000 of them, the same for all), trained on a random 100 or 300 of the other
rows. Every score is kept in a file as soon as it is there, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import data_folder, machine, update_section

import pushforward as pf
from pushforward.evaluate.baselines import Baseline
from pushforward.train import fit_triangular

SETS = ("pendulum", "protein", "pumadyn32nm", "housing", "autompg", "concrete")
SIZES = (100, 300)
MASKS = 10
TEST_ROWS = 2_000

Rows = np.ndarray


def table(name: str) -> tuple[Rows, Rows]:
    """The columns that are kept, in standard deviations of the whole set, and the ten test masks."""
    folder = data_folder("uci")
    rows = np.loadtxt(folder / f"{name}__data.csv.gz", delimiter=",")
    masks = np.loadtxt(folder / f"{name}__test_mask.csv.gz", delimiter=",").astype(bool)
    most = [np.unique(column, return_counts=True)[1].max() / len(rows) for column in rows.T]
    rows = rows[:, np.array(most) <= 0.1]
    return (rows - rows.mean(axis=0)) / rows.std(axis=0), masks


def parts(rows: Rows, mask: Rows, size: int, seed: int) -> tuple[Rows, Rows]:
    """``size`` rows to learn from and the test rows."""
    random = np.random.default_rng([seed, size])
    test = rows[mask]
    if len(test) > TEST_ROWS:
        test = test[np.random.default_rng(seed).choice(len(test), TEST_ROWS, replace=False)]
    rest = rows[~mask]
    return rest[random.choice(len(rest), size, replace=False)], test


def gaussian(train: Rows, test: Rows) -> Rows:
    """The full Gaussian of maximum likelihood."""
    return Baseline.gaussian(train).log_prob(test)


def shrunk_gaussian(train: Rows, test: Rows) -> Rows:
    """A full Gaussian whose covariance is shrunk as much as Ledoit and Wolf (2004) say."""
    from sklearn.covariance import LedoitWolf

    shift, scale = train.mean(axis=0), train.std(axis=0)
    model = LedoitWolf().fit((train - shift) / scale)
    factor = np.linalg.cholesky(model.covariance_)
    z = np.linalg.solve(factor, (((test - shift) / scale) - model.location_).T)
    constant = -0.5 * test.shape[1] * np.log(2 * np.pi) - np.log(np.diag(factor)).sum() - np.log(scale).sum()
    return constant - 0.5 * (z * z).sum(axis=0)


def mixture(train: Rows, test: Rows) -> Rows:
    """Gaussian mixtures of one to sixteen components, the number chosen by BIC."""
    return Baseline.mixture(train, components=(1, 2, 3, 4, 6, 8, 12, 16)).log_prob(test)


def any_mixture(train: Rows, test: Rows) -> Rows:
    """Gaussian mixtures as in `mixture`, but with full, tied, diagonal and spherical covariances to choose from, and
    three starts each."""
    from sklearn.mixture import GaussianMixture

    shift, scale = train.mean(axis=0), train.std(axis=0)
    rows, best = (train - shift) / scale, (np.inf, None)
    for kind in ("full", "tied", "diag", "spherical"):
        for count in (1, 2, 3, 4, 6, 8, 12, 16):
            if kind == "full" and count > 1 and 2 * count * train.shape[1] > len(train):
                continue
            model = GaussianMixture(count, covariance_type=kind, reg_covar=1e-4, n_init=3, random_state=0, max_iter=200)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                bic = model.fit(rows).bic(rows)
            if bic < best[0]:
                best = bic, model
    return best[1].score_samples((test - shift) / scale) - np.log(scale).sum()


def nsf(train: Rows, test: Rows, **options: Any) -> Rows:
    """A neural spline flow, stopped early on a fifth of the rows."""
    torch.manual_seed(0)
    flow = pf.flows.nsf(train.shape[1], **options)
    pf.fit(flow, train, validation=0.2, progress=False)
    with torch.no_grad():
        return flow.log_prob(torch.as_tensor(test, dtype=torch.float32)).double().numpy()


def triangular_map(train: Rows, test: Rows) -> Rows:
    """`fit_triangular` as it comes."""
    flow = fit_triangular(train, dtype=torch.float64)
    with torch.no_grad():
        return flow.log_prob(torch.as_tensor(test)).numpy()


NSF_SMALL = {"depth": 3, "hidden": (32, 32), "bins": 8, "mix": "permute"}
METHODS: dict[str, Callable[[Rows, Rows], Rows]] = {
    "Gaussian": gaussian,
    "Gaussian, shrunk": shrunk_gaussian,
    "mixture": mixture,
    "mixture, any covariance": any_mixture,
    "nsf": functools.partial(nsf, **NSF_SMALL),
    "nsf, default": nsf,
    "triangular_map": triangular_map,
}
OURS = "triangular_map"
TUNING = "nsf, default"  # on the first masks alone, to choose between two sizes of nsf
TUNING_MASKS = 2

Scores = dict[str, list[float]]


def run(file: Path, masks: Sequence[int], methods: Sequence[str]) -> Scores:
    """[mean test log-likelihood, seconds] by set/size/mask/method; what the file holds is not done again."""
    recorded: Scores = json.loads(file.read_text()) if file.exists() else {}
    for mask in masks:
        for name in SETS:
            rows, tests = table(name)
            for size in SIZES:
                train, test = parts(rows, tests[:, mask], size, mask)
                for method in methods:
                    key = f"{name}/{size}/{mask}/{method}"
                    if key in recorded or (method == TUNING and mask >= TUNING_MASKS):
                        continue
                    start = time.monotonic()
                    score = float(METHODS[method](train, test).mean())
                    recorded[key] = [score, time.monotonic() - start]
                    print(f"{key}: {score:.3f} ({recorded[key][1]:.1f} s)", flush=True)
                    file.write_text(json.dumps(recorded))
    return recorded


def report(recorded: Scores, masks: Sequence[int]) -> str:
    """The section of RESULTS.md."""
    methods = [m for m in METHODS if m != TUNING]

    def scores(method: str, size: int, over: Sequence[int] = masks) -> Rows:
        """(sets, masks)"""
        return np.array([[recorded[f"{name}/{size}/{mask}/{method}"][0] for mask in over] for name in SETS])

    lines = [
        "## Small data: six UCI sets, 100 and 300 rows",
        "",
        "    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/small_data.py",
        "",
        f"{machine()}. Mean test log-likelihood in nats per row,",
        "joint density of inputs and target, columns in units of the whole set's standard deviation, averaged",
        f"over {len(masks)} masks. `triangular_map` is `fit_triangular` as it comes. nsf stops early on a fifth of",
        "the rows. The mixtures choose their components by BIC, the second one its kind of covariance too.",
    ]
    for size in SIZES:
        lines += ["", f"| N = {size} | {' | '.join(methods)} |", "|---|" + "---:|" * len(methods)]
        values = {method: scores(method, size) for method in methods}
        for k, name in enumerate(SETS):
            row = [values[m][k].mean() for m in methods]
            cells = [f"**{v:.3f}**" if v == max(row) else f"{v:.3f}" for v in row]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        average = [values[m].mean(axis=0) for m in methods]  # one number per mask
        lines.append("| average | " + " | ".join(f"{v.mean():.3f} ± {error(v):.3f}" for v in average) + " |")
        ahead = [values[OURS].mean(axis=0) - v for v in average]
        cells = ["" if m == OURS else f"{v.mean():.3f} ± {error(v):.3f}" for m, v in zip(methods, ahead, strict=True)]
        lines.append(f"| {OURS} ahead by | {' | '.join(cells)} |")
        seconds = {
            m: np.mean([v[1] for k, v in recorded.items() if k.split("/")[1::2] == [str(size), m]]) for m in methods
        }
        lines.append("| seconds a fit | " + " | ".join(f"{seconds[m]:.1f}" for m in methods) + " |")
    first = masks[:TUNING_MASKS]
    both = {m: [scores(m, size, first).mean() for size in SIZES] for m in ("nsf", TUNING)}
    lines += [
        "",
        f"± is one standard error over masks. nsf has {json.dumps(NSF_SMALL)}: on the first",
        f"{len(first)} masks that scored {both['nsf'][0]:.3f} and {both['nsf'][1]:.3f} on average at the two sizes,",
        f"its defaults {both[TUNING][0]:.3f} and {both[TUNING][1]:.3f}.",
        "Seconds were taken on cores that other programs used as well.",
    ]
    return "\n".join(lines)


def error(values: Rows) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, nargs="+", default=list(range(MASKS)), help="which of the ten masks")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), help="which methods")
    parser.add_argument("--file", type=Path, default=Path("benchmarks/small_data.json"), help="where scores are kept")
    arguments = parser.parse_args()
    recorded = run(arguments.file, arguments.masks, arguments.methods)
    if set(arguments.methods) == set(METHODS) and len(arguments.masks) > 1:
        update_section("small data", report(recorded, arguments.masks))


if __name__ == "__main__":
    main()

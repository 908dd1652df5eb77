"""Intervals and scores of `FlowRegressor` on five regression sets, beside a linear Gaussian and quantile boosting.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/intervals.py [--splits 10] [--sets airfoil protein ...]

Defaults throughout; the splits are those of the sets, a tenth of the rows held out in each. Boosting fits one model a
quantile, at 19 of them, whose mean quantile loss is its CRPS; that of the others is taken over the same ones.
"""

from __future__ import annotations

import argparse
import gzip

import numpy as np
from numpy.typing import NDArray
from results import data_folder, machine, update_section
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from pushforward.estimators import FlowRegressor

Array = NDArray[np.float64]
SETS = ("airfoil", "concrete", "energy", "housing", "protein")
LEVELS = np.arange(1, 20) / 20
CALIBRATION = 0.25
LARGE = 10_000  # rows from where on two splits say as much as ten


def read(name: str) -> tuple[Array, Array]:
    """The rows and, of each split, which are held out."""
    tables = []
    for part in ("data", "test_mask"):
        with gzip.open(data_folder("uci") / f"{name}__{part}.csv.gz", "rt") as file:
            tables.append(np.loadtxt(file, delimiter=","))
    return tables[0], tables[1] > 0


def crps(quantiles: Array, y: Array) -> float:
    """Twice the mean quantile loss at ``LEVELS``, of quantiles (rows, levels)."""
    low = y[:, None] < quantiles
    return float((2 * (low - LEVELS) * (quantiles - y[:, None])).mean())


def covered(interval: Array, y: Array) -> Array:
    return (interval[:, 0] <= y) & (y <= interval[:, 1])


def of_linear(x: Array, y: Array, at: Array) -> Array:
    """Quantiles of a linear model with normal errors of one width."""
    model = LinearRegression().fit(x, y)
    width = np.sqrt(((y - model.predict(x)) ** 2).sum() / max(1, len(x) - x.shape[1] - 1))
    return model.predict(at)[:, None] + width * norm.ppf(LEVELS)


def of_boosting(x: Array, y: Array, at: Array) -> Array:
    models = [HistGradientBoostingRegressor(loss="quantile", quantile=p, random_state=0).fit(x, y) for p in LEVELS]
    return np.sort(np.stack([model.predict(at) for model in models], axis=1), axis=1)


def measured(name: str, splits: int) -> tuple[list[str], list[float]]:
    """A row of the table; coverage without and with calibration."""
    rows, masks = read(name)
    splits = min(splits, 2) if len(rows) > LARGE else splits
    hits: dict[str, list[Array]] = {"plain": [], "calibrated": [], "boosting": []}
    scores: dict[str, list[float]] = {"flow": [], "linear": [], "boosting": []}
    widths, r2 = [], []
    for k in range(splits):
        train, test = rows[~masks[:, k]], rows[masks[:, k]]
        x, y, at, truth = train[:, :-1], train[:, -1], test[:, :-1], test[:, -1]
        model = FlowRegressor(random_state=k).fit(x, y)
        calibrated = FlowRegressor(random_state=k, calibration=CALIBRATION).fit(x, y)
        hits["plain"].append(covered(model.predict_interval(at, 0.9), truth))
        interval = calibrated.predict_interval(at, 0.9)
        hits["calibrated"].append(covered(interval, truth))
        widths.append(np.median(interval[:, 1] - interval[:, 0]) / y.std())
        r2.append(model.score(at, truth))
        boosted = of_boosting(x, y, at)
        hits["boosting"].append(covered(boosted[:, [0, -1]], truth))
        scores["flow"].append(crps(model.predict_quantiles(at, LEVELS), truth))
        scores["linear"].append(crps(of_linear(x, y, at), truth))
        scores["boosting"].append(crps(boosted, truth))
        print(name, k, *(f"{key} {values[-1].mean():.3f}" for key, values in hits.items()), scores, flush=True)
    share = {key: np.concatenate(values).mean() for key, values in hits.items()}
    mean = {key: float(np.mean(values)) for key, values in scores.items()}
    best = min(mean, key=mean.__getitem__)
    cells = [f"**{value:.3g}**" if key == best else f"{value:.3g}" for key, value in mean.items()]
    return [
        f"{name}, {len(rows):,} × {rows.shape[1] - 1}",
        *(f"{share[key]:.1%}" for key in hits),
        f"{np.mean(widths):.2f}",
        *cells,
        f"{np.mean(r2):.3f}",
    ], [share["plain"], share["calibrated"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--splits", type=int, default=10)
    options = parser.parse_args()
    results = [measured(name, options.splits) for name in options.sets]
    plain, calibrated = np.mean([shares for _, shares in results], axis=0)
    head = (
        "| set | 90 % interval covers | calibrated | boosting | width / sd | CRPS | linear Gaussian | boosting | R² |"
    )
    lines = [
        "## Intervals: five regression sets",
        "",
        "`PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/intervals.py`",
        f"({machine()}).",
        "",
        f"`FlowRegressor` with its defaults, and with `calibration={CALIBRATION}`; {options.splits} splits of each set",
        "(protein 2). The width is the median of calibrated intervals. CRPS at 19 quantiles in the units of y, smaller",
        "is better.",
        "",
        head,
        "|---" * 9 + "|",
        *("| " + " | ".join(cells) + " |" for cells, _ in results),
        "",
        f"On average over the sets the intervals cover {plain:.1%}, calibrated **{calibrated:.1%}**.",
    ]
    print("\n".join(lines))
    if list(options.sets) == list(SETS):
        update_section("intervals", "\n".join(lines))


if __name__ == "__main__":
    main()

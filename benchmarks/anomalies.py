"""Anomalies: `FlowAnomaly` on 21 sets of ADBench with and without anomalies among the training rows.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/anomalies.py [--seeds 1] [--sets pima wine ...]

Unsupervised: learn from all rows, anomalies included, and score the same rows. Semi-supervised: learn from a random
half of the normal rows, and score all others. Of sets of more than 10,000 rows so many are drawn at random. No label is
used for learning. Beside them, on the same rows, scikit-learn's isolation forest and the distance to the fifth nearest
neighbour, and results of 26 methods as published (Livernoche et al., 2023, arXiv:2305.18593), which are of up to
50,000 rows, and semi-supervised of the first half of the normal rows.

Settings of the defaults were chosen on ten of the sets (``CHOSEN_ON``).
"""

from __future__ import annotations

import argparse
import csv
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from results import data_folder, machine, update_section
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from pushforward.estimators import FlowAnomaly

Array = NDArray[np.float64]
CHOSEN_ON = (
    "cardiotocography", "hepatitis", "landsat", "lymphography", "mammography", "pageblocks", "pima", "spambase",
    "stamps", "waveform",
)  # fmt: skip
MOST, NEIGHBOURS = 10_000, 5
PROTOCOLS = {"unsup": "Unsupervised", "semi": "Semi-supervised"}


def sets() -> dict[str, str]:
    """File names by the names of the published table."""
    files = sorted(data_folder("adbench").glob("*.npz"))
    return {path.stem.split("_", 1)[1].lower(): path.name for path in files}


def published(protocol: str) -> dict[str, dict[str, float]]:
    """AUROC of each method on each set."""
    with (data_folder("adbench") / "published" / f"DTE_{protocol}_aucroc.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        row["Dataset"].lower(): {k: float(v.split("(")[0]) for k, v in row.items() if k != "Dataset"} for row in rows
    }


def parts(name: str, protocol: str, seed: int) -> tuple[Array, Array, Array]:
    """Rows to learn from, rows to score and which of them are anomalies."""
    with np.load(data_folder("adbench") / sets()[name], allow_pickle=True) as arrays:
        x, y = arrays["X"].astype(np.float64), arrays["y"]
    if len(y) > MOST:
        drawn = np.random.RandomState(0).choice(len(y), MOST, replace=False)
        x, y = x[drawn], y[drawn]
    if protocol == "unsup":
        return x, x, y
    normal = np.random.RandomState(seed).permutation(np.flatnonzero(y == 0))
    learned, others = np.split(normal, [len(normal) // 2])
    rest = np.concatenate([others, np.flatnonzero(y == 1)])
    return x[learned], x[rest], y[rest]


def of_flow(train: Array, test: Array, seed: int) -> Array:
    return -FlowAnomaly(random_state=seed).fit(train).score_samples(test)


def of_forest(train: Array, test: Array, seed: int) -> Array:
    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def of_neighbours(train: Array, test: Array, seed: int) -> Array:
    """The distance to the fifth nearest row, in standardised columns; of a training row to others as well."""
    scaler = StandardScaler().fit(train)
    count = NEIGHBOURS + (test is train)
    neighbours = NearestNeighbors(n_neighbors=count).fit(scaler.transform(train))
    return neighbours.kneighbors(scaler.transform(test))[0][:, -1]


METHODS = (of_flow, of_forest, of_neighbours)


def measured(name: str, seeds: int, protocol: str) -> list[float]:
    """Mean and standard deviation over seeds, of the flow, the forest and neighbours."""
    results: list[float] = []
    for method in METHODS:
        areas = []
        for seed in range(seeds):
            train, test, y = parts(name, protocol, seed)
            areas.append(100 * float(roc_auc_score(y, method(train, test, seed))))
        results += [float(np.mean(areas)), float(np.std(areas))]
    print(protocol, name, *(f"{value:.1f}" for value in results), flush=True)
    return results


def section(protocol: str, results: dict[str, list[float]], seeds: int) -> list[str]:
    """The lines of one protocol in RESULTS.md."""
    others, lines = published(protocol), []
    table = []
    for name, ours in results.items():
        row = others[name]
        best = max(row, key=row.__getitem__)
        table.append([ours[0], ours[2], ours[4], row["IForest"], row["HBOS"], row["KNN"], row[best]])
        spread = f" ± {ours[1]:.1f}" if seeds > 1 else ""
        mark = " †" if name in CHOSEN_ON else ""
        cells = [f"{table[-1][0]:.1f}{spread}", *(f"{value:.1f}" for value in table[-1][1:])]
        lines.append(f"| {name}{mark} | " + " | ".join(cells) + f" ({best}) |")
    values, chosen = np.array(table), np.array([name in CHOSEN_ON for name in results])
    for title, part in (("the other sets", ~chosen), ("the ten sets †", chosen), ("**all**", chosen | ~chosen)):
        if part.any():
            cells = [f"{value:.1f}" for value in values[part].mean(axis=0)]
            lines.append(f"| mean, {title} | **{cells[0]}** | " + " | ".join(cells[1:]) + " |")
    means = [np.mean([others[name][method] for name in results]) for method in next(iter(others.values()))]
    ahead = sum(mean > values[:, 0].mean() for mean in means)
    return [
        f"### {PROTOCOLS[protocol]}",
        "",
        "| set | FlowAnomaly | forest, ours | kNN, ours | forest | HBOS | kNN | best of 26 |",
        "|---|---|---|---|---|---|---|---|",
        *lines,
        "",
        f"Of the {len(means)} published methods {ahead} have a higher mean on these sets.",
        "",
    ]


def report(results: dict[str, dict[str, list[float]]], seeds: int) -> str:
    """The section of RESULTS.md."""
    names = list(results["unsup"])
    only = "" if len(names) == len(sets()) else f" --sets {' '.join(names)}"
    text = [
        f"## Anomalies: {len(names)} sets of ADBench",
        "",
        f"`PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/anomalies.py --seeds {seeds}{only}`",
        f"({machine()}).",
        "",
        f"AUROC in percent of `FlowAnomaly` with its defaults, of {'one seed' if seeds == 1 else f'{seeds} seeds'}.",
        "Unsupervised, all rows are learned from and scored, anomalies included; semi-supervised, a random half of the",
        "normal rows is learned from and all others are scored. Of larger sets 10,000 rows were drawn at random. The",
        "columns called ours are of the same rows, the others as published (arXiv:2305.18593), where sets have up to",
        "50,000 rows and the half is the first one. The best method is another one on each set. Defaults were chosen",
        "on the sets marked †; wine was a check, and donors, skin, vertebral, wdbc and yeast were seen meanwhile.",
        "",
    ]
    for protocol in PROTOCOLS:
        text += section(protocol, results[protocol], seeds)
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(sets()), choices=list(sets()))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="sets at once, each in a process with one thread")
    options = parser.parse_args()
    results, times = {}, len(options.sets)
    with ProcessPoolExecutor(options.jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for protocol in PROTOCOLS:
            areas = pool.map(measured, options.sets, [options.seeds] * times, [protocol] * times)
            results[protocol] = dict(zip(options.sets, areas, strict=True))
    text = report(results, options.seeds)
    print(text)
    if set(options.sets) == set(sets()):
        update_section("anomalies", text)


if __name__ == "__main__":
    main()

"""Do drawn rows look like the data? Detection by boosted trees, distance to held-out rows, and limits that are broken.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/draws.py [--sets airfoil ...] [--peer FOLDER]

A model is fitted with defaults to 80 % of the rows of four small sets and draws as many rows as are held out. With
--peer FOLDER the same is done for samples of ForestDiffusion: a first run writes the training rows there,
`forest_worker.py` the samples, and a second run compares both. Of Adult ("adult") the classes are declared.
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from results import data_folder, machine, update_section
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from tables import CODES, PMLB, UCI, read, split

from pushforward.estimators import FlowDensity
from pushforward.evaluate.violations import violations

Array = NDArray[np.float64]
SMALL = ("airfoil", "concrete", "energy", "autompg")
REPETITIONS, DRAWN = 5, 10_000


class Likeness(NamedTuple):
    """How drawn rows compare with held-out ones: means over repeated draws."""

    auc: float
    distance: float
    copies: float


def detection(drawn: Array, held: Array) -> float:
    """The area under the curve of boosted trees that tell drawn rows from held-out ones, five-fold."""
    x, y = np.concatenate([drawn, held]), np.repeat([1, 0], [len(drawn), len(held)])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    trees = HistGradientBoostingClassifier(random_state=0)
    return float(cross_val_score(trees, x, y, cv=folds, scoring="roc_auc").mean())


def distance(drawn: Array, held: Array, train: Array) -> float:
    """The mean L1 distance of rows to the held-out rows assigned to them, scaled by the range of the training rows."""
    low, width = train.min(axis=0), np.ptp(train, axis=0)
    width = np.where(width > 0, width, 1.0)
    cost = cdist((drawn - low) / width, (held - low) / width, "cityblock")
    return float(cost[linear_sum_assignment(cost)].mean())


def likeness(draws: list[Array], train: Array, held: Array) -> Likeness:
    seen = set(map(tuple, train.tolist()))
    return Likeness(
        float(np.mean([detection(drawn, held) for drawn in draws])),
        float(np.mean([distance(drawn, held, train) for drawn in draws])),
        float(np.mean([[tuple(row) in seen for row in drawn.tolist()] for drawn in draws])),
    )


def small(name: str, peer: Path | None, kind: str) -> list[str]:
    """Lines of the table for one of the small sets."""
    with gzip.open(data_folder("uci") / f"{name}__data.csv.gz", "rt") as file:
        x = np.loadtxt(file, delimiter=",")
    x = x[np.random.default_rng(0).permutation(len(x))]
    held_rows = len(x) - int(0.8 * len(x))
    train, held = x[:-held_rows], x[-held_rows:]
    start = time.monotonic()
    model = FlowDensity(model=kind, random_state=0).fit(train)
    seconds = time.monotonic() - start
    draws = [np.asarray(model.sample(held_rows, random_state=k), dtype=np.float64) for k in range(REPETITIONS)]
    random = np.random.default_rng(0)
    again = [train[random.choice(len(train), held_rows)] for _ in range(REPETITIONS)]
    who = "FlowDensity" if kind == "mixed" else f"FlowDensity, {kind}"
    results = [(who, likeness(draws, train, held), f"{seconds:.0f}")]
    if peer is not None:
        peer.mkdir(parents=True, exist_ok=True)
        np.save(peer / f"{name}.train.npy", train)
        (peer / f"{name}.train.rows").write_text(str(held_rows))
        if (path := peer / f"{name}.drawn.npy").exists():
            taken = (peer / f"{name}.seconds").read_text()
            results.append(("ForestDiffusion", likeness(list(np.load(path)), train, held), taken))
    results.append(("training rows", likeness(again, train, held), ""))
    return [
        f"| {name} | {who} | {means.auc:.3f} | {means.distance:.3f} | {means.copies:.1%} | {taken} |"
        for who, means, taken in results
    ]


def adult() -> str:
    names, x = read("adult")
    train, held = split(x)
    types = {f"x{j}": "categorical" for j, name in enumerate(names) if name in CODES}
    start = time.monotonic()
    model = FlowDensity(types=types, random_state=0).fit(train)
    seconds = time.monotonic() - start
    auc = detection(np.asarray(model.sample(len(held), random_state=1), dtype=np.float64), held)
    return f"| adult | FlowDensity | {auc:.3f} | | | {seconds:.0f} |"


def broken_limits(name: str, steps: int | None) -> str:
    """What 10,000 drawn rows break of what the schema states, which does not depend on how long a model learned."""
    _, x = read(name)
    train, _ = split(x[:, x.std(axis=0) > 0])
    model = FlowDensity(random_state=0, steps=steps).fit(train)
    seen = violations(model.schema_, model.schema_.encode(model.sample(DRAWN, random_state=0)))
    singles = [violation for violation in seen if violation.what != "rule"]
    kept = violations(model.schema_, model.schema_.encode(model.sample(DRAWN, random_state=0, keep_rules=True)))
    rules = sum(violation.rows for violation in seen if violation.what == "rule")
    return f"| {name} | {sum(v.rows for v in singles)} | {len(model.schema_.rules)} | {rules} | {len(kept)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=[*SMALL, "adult"], metavar="SET")
    parser.add_argument("--limits", nargs="*", default=[*PMLB, *UCI], metavar="SET", help="draw 10,000 rows of these")
    parser.add_argument("--steps", type=int, help="of the models of --limits")
    parser.add_argument("--model", default="mixed", help="of the small sets: mixed, auto or a flow")
    parser.add_argument("--peer", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    likenesses, limits = [], []
    for name in arguments.sets:
        likenesses += [adult()] if name == "adult" else small(name, arguments.peer, arguments.model)
        print(*likenesses[-3:], sep="\n", flush=True)
    for name in arguments.limits:
        limits.append(broken_limits(name, arguments.steps))
        print(limits[-1], flush=True)
    head = [
        "## Drawn rows",
        "",
        "    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/draws.py --peer <folder>",
        "",
        f"{machine()}. *AUC*: of boosted trees (five-fold) that tell drawn rows from as many held-out ones, a fifth",
        "of the rows; 0.5 if they cannot. *L1*: mean distance after optimal assignment to held-out rows, columns",
        f"scaled to their range. *Copies*: of training rows. Means of {REPETITIONS} draws. *Training rows*: drawn with",
        "replacement. Adult: all but a tenth of the rows, against the tenth.",
        "",
        "| set | rows of | AUC | L1 | copies | seconds |",
        "|---|---|---:|---:|---:|---:|",
        *likenesses,
    ]
    if limits:
        head += [
            "",
            f"Of {DRAWN:,} drawn rows: values outside of limits or with more decimals than the column; rules that the",
            "schema states, rows that break one, and rules that are broken with `keep_rules=True`.",
            "",
            "| set | limits and decimals | rules | rows that break one | with `keep_rules` |",
            "|---|---:|---:|---:|---:|",
            *limits,
        ]
    if arguments.sets == [*SMALL, "adult"]:
        update_section("draws", "\n".join(head))


if __name__ == "__main__":
    main()

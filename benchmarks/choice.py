"""Does ``auto`` choose the better of a mixed-type model and a neural spline flow, on held-out rows of real tables?

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/choice.py [--sets protein letter ...]

Both models are fitted with their defaults. Where the mixed-type model gives the values of a column probabilities, the
flow learns the column with uniform noise in the cell of each value, halfway to its neighbours: the mean log-density
plus the logarithm of the width of the cell is a lower bound on the log-probability of the value (Jensen), so that the
two compare. The flow alone, on such a column as it is, has densities that can be made arbitrarily high.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import machine, update_section
from tables import CODES, PMLB, UCI, read, split

from pushforward.data.samples import power_sample
from pushforward.data.schema import Schema
from pushforward.distributions import ColumnType
from pushforward.estimators import FlowDensity
from pushforward.estimators.choice import choose_model

Array = NDArray[np.float64]
SETS = (
    *PMLB,
    *UCI,
    "pumadyn32nm",
    "breastcancer",
    "power",
    "adult",
    "letter",
    "shuttle",
    "skillcraft",
    "autompg",
    "servo",
)
MOST, DRAWS = 5_000, 8


def table(name: str) -> tuple[Array, Array, dict[str, Any]]:
    """Training and held-out rows, at most so many, and declared types."""
    if name == "power":
        train, test = power_sample()
        return train[:MOST], test[: MOST // 4], {}
    names, x = read(name)
    codes = CODES if name == "adult" else ()
    declared = {f"x{j}": "categorical" for j, column in enumerate(names) if column in codes}
    keep = x.std(axis=0) > 0
    train, test = split(x[: MOST * 10 // 9, keep])
    return train, test, declared if keep.all() else {}


def cells(train: Array, column: Array) -> tuple[Array, Array]:
    """The ends of the cell of each value of a column: halfway to the neighbours among all values, or to the next whole
    numbers, to which a mixed-type model gives probabilities whether they occur or not."""
    values = np.unique(np.concatenate([train, column]))
    if (values == values.round()).all():
        return column - 0.5, column + 0.5
    middles = (values[1:] + values[:-1]) / 2
    first, last = values[0] - (middles[0] - values[0]), values[-1] + (values[-1] - middles[-1])
    edges = np.concatenate([[first], middles, [last]])
    place = np.searchsorted(values, column)
    return edges[place], edges[place + 1]


def with_probability(column_type: ColumnType, column: Array) -> Array:
    """The values of a column that have a probability under the mixed-type model."""
    values = np.unique(column)
    if not column_type.is_density:
        return values
    listed = getattr(column_type, "values", [])
    return values[np.isin(values, np.asarray(listed, dtype=np.float64))]


def noisy(every: Array, x: Array, discrete: dict[int, Array], random: np.random.Generator) -> tuple[Array, Array]:
    """Rows with noise in the cells of such values, and the sum of the logarithms of the widths, (rows,)."""
    out, widths = x.copy(), np.zeros(len(x))
    for j, values in discrete.items():
        low, high = cells(every[:, j], x[:, j])
        is_value = np.isin(x[:, j], values)
        out[:, j] = np.where(is_value, random.uniform(low, high), x[:, j])
        widths += np.where(is_value, np.log(high - low), 0.0)
    return out, widths


def measured(name: str) -> str:
    train, test, declared = table(name)
    every = np.concatenate([train, test])
    schema = Schema.infer(train, declared)
    auto, _ = choose_model(schema.fields, schema.encode(train))
    listed = [with_probability(f.column_type, column) for f, column in zip(schema.fields, every.T, strict=True)]
    discrete = {j: values for j, values in enumerate(listed) if len(values)}
    start = time.process_time()
    mixed = FlowDensity(types=declared, random_state=0).fit(train).score_samples(test)
    mixed_seconds, start = time.process_time() - start, time.process_time()
    random = np.random.default_rng(0)
    flow = FlowDensity(model="nsf", random_state=0).fit(noisy(every, train, discrete, random)[0])
    scores = []
    for _ in range(DRAWS if discrete else 1):
        rows, widths = noisy(every, test, discrete, random)
        scores.append(flow.score_samples(rows) + widths)
    nsf, nsf_seconds = np.mean(scores, axis=0), time.process_time() - start
    difference = mixed - nsf
    error = difference.std() / math.sqrt(len(difference))
    better = max(mixed.mean(), nsf.mean())
    lost = better - (mixed.mean() if auto == "mixed" else nsf.mean())
    return (
        f"| {name} | {len(train):,} × {train.shape[1]} | {len(discrete)} | {mixed.mean():.3f} | {nsf.mean():.3f} | "
        f"{difference.mean():.3f} ± {error:.3f} | {auto} | **{lost:.3f}** | {mixed_seconds:.0f} | {nsf_seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), metavar="SET")
    parser.add_argument("--no-results", action="store_true", help="print only; leave RESULTS.md alone")
    arguments = parser.parse_args()
    lines = []
    for name in arguments.sets:
        lines.append(measured(name))
        print(lines[-1], flush=True)
    head = [
        "## The choice of the model", "",
        f"    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/choice.py --sets {' '.join(arguments.sets)}", "",
        f"{machine()}. Mean log-likelihood of held-out rows in nats; at most {MOST:,} rows, of which columns of real",
        "numbers with frequent values have densities. *Discrete*: columns whose values have probabilities; under the",
        "flow a lower bound, by noise in the cell of each value. *Lost*: what `auto` loses to the better of the two.",
        "Seconds are of CPU.",
        "",
        "| set | rows | discrete | mixed | nsf | mixed - nsf | auto | lost | mixed s | nsf s |",
        "|---|---|---:|---:|---:|---:|---|---:|---:|---:|",
    ]  # fmt: skip
    if not arguments.no_results:
        update_section("choice", "\n".join([*head, *lines]))


if __name__ == "__main__":
    main()

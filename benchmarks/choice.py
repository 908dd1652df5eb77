"""Does ``auto`` choose the better of a mixed-type model and a neural spline flow, on held-out rows of real tables?

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/choice.py [--sets protein letter ...] [--noise]

A set may be cut to its first rows, as in housing:100. Both models are fitted with their defaults. Both give the values
of coded, repeated and counted columns probabilities: the flow learns the real columns given a mixed-type model of the
others. Whole numbers with many different values have probabilities under the mixed-type model, and densities under the
flow, where the cell of a value has width one.

With ``--noise`` a flow of all columns is fitted as well, without any probabilities: columns that have some get uniform
noise in the cell of each value, halfway to its neighbours. The mean log-density plus the logarithm of the width of the
cell is a lower bound on the log-probability of the value (Jensen).
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
from pushforward.estimators.choice import choose_model, not_for_a_flow

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
    name, _, rows = name.partition(":")
    names, x = read(name)
    x = x[: int(rows or len(x))]
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


def with_noise(schema: Schema, train: Array, test: Array) -> float:
    """The mean over rows of the bound of a flow that learns all columns with noise in their cells."""
    every = np.concatenate([train, test])
    listed = [with_probability(f.column_type, column) for f, column in zip(schema.fields, every.T, strict=True)]
    discrete = {j: values for j, values in enumerate(listed) if len(values)}
    random = np.random.default_rng(0)
    flow = FlowDensity(model="nsf", random_state=0).fit(noisy(every, train, discrete, random)[0])
    scores = []
    for _ in range(DRAWS if discrete else 1):
        rows, widths = noisy(every, test, discrete, random)
        scores.append(flow.score_samples(rows) + widths)
    return float(np.mean(scores))


def measured(name: str, noise: bool, splits: int) -> str:
    """A row of the table: scores of rows held out in several splits, of which each has a seed of its own."""
    train, test, declared = table(name)
    rows = np.concatenate([train, test])
    scores: dict[str, list[Array]] = {"mixed": [], "nsf": [], "auto": []}
    seconds, chosen, bounds = {"mixed": 0.0, "nsf": 0.0}, set(), []
    for seed in range(splits):
        if seed:
            order = np.random.default_rng(seed).permutation(len(rows))
            train, test = rows[order[: len(train)]], rows[order[len(train) :]]
        schema = Schema.infer(train, declared)
        encoded = schema.encode(train)
        auto, _ = choose_model(schema.fields, encoded)
        chosen.add(auto)
        real = sum(not_for_a_flow(f, column) is None for f, column in zip(schema.fields, encoded.T, strict=True))
        for model in ("mixed", "nsf"):
            start = time.process_time()
            fitted = FlowDensity(model=model, types=declared, random_state=seed).fit(train)
            scores[model].append(fitted.score_samples(test))
            seconds[model] += (time.process_time() - start) / splits
        scores["auto"].append(scores[auto][-1])
        bounds.append(with_noise(schema, train, test) if noise else 0.0)
    mixed, nsf, auto_scores = (np.concatenate(scores[model]) for model in ("mixed", "nsf", "auto"))
    difference = mixed - nsf
    by_split = np.array([(a - b).mean() for a, b in zip(scores["mixed"], scores["nsf"], strict=True)])
    error = difference.std() / math.sqrt(len(difference)) if splits == 1 else by_split.std(ddof=1) / math.sqrt(splits)
    lost = max(mixed.mean(), nsf.mean()) - auto_scores.mean()
    bound = f" {np.mean(bounds):.3f} |" if noise else ""
    return (
        f"| {name} | {len(train):,} × {train.shape[1]} | {splits} | {real} | {mixed.mean():.3f} | {nsf.mean():.3f} | "
        f"{difference.mean():.3f} ± {error:.3f} | {' or '.join(sorted(chosen))} | **{lost:.3f}** | "
        f"{seconds['mixed']:.0f} | {seconds['nsf']:.0f} |{bound}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), metavar="SET")
    parser.add_argument("--noise", action="store_true", help="a flow of all columns with noise in their cells as well")
    parser.add_argument("--splits", type=int, default=1, help="into rows to fit and rows held out, at random but one")
    parser.add_argument("--no-results", action="store_true", help="print only; leave RESULTS.md alone")
    arguments = parser.parse_args()
    lines = []
    for name in arguments.sets:
        lines.append(measured(name, arguments.noise, arguments.splits))
        print(lines[-1], flush=True)
    options = " --noise" if arguments.noise else ""
    options += f" --splits {arguments.splits}" if arguments.splits > 1 else ""
    extra = (" with noise |", "---:|") if arguments.noise else ("", "")
    head = [
        "## The choice of the model", "",
        "    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/choice.py "
        f"--sets {' '.join(arguments.sets)}{options}", "",
        f"{machine()}. Mean log-likelihood of held-out rows in nats; at most {MOST:,} rows. *Real*: columns that the",
        "flow learns given the others. *Lost*: what `auto` loses to the better of the two. Seconds are of CPU.",
        "",
        f"| set | rows | splits | real | mixed | nsf | mixed - nsf | auto | lost | mixed s | nsf s |{extra[0]}",
        f"|---|---|---:|---:|---:|---:|---:|---|---:|---:|---:|{extra[1]}",
    ]  # fmt: skip
    if not arguments.no_results:
        update_section("choice", "\n".join([*head, *lines]))


if __name__ == "__main__":
    main()

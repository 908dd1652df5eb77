"""Conditionals on any columns against known ones: a Gaussian, a mixture of Gaussians and a network of discrete columns.

    .venv/bin/python benchmarks/conditionals.py

For each, one model is trained by the estimator's defaults on 20,000 rows and asked for log q(rest | known) of 2,000 new
rows for every set of known columns. Lost is the mean of log p - log q, a Kullback-Leibler divergence in nats.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from results import machine, update_section
from torch import Tensor

from pushforward.estimators import FlowDensity

ROWS, HELD = 20_000, 2_000
Array = NDArray[np.float64]


class Truth(NamedTuple):
    """A joint distribution: its samples, and the log-density of any set of its columns."""

    name: str
    columns: int
    draw: Callable[[np.random.Generator, int], Array]
    log_marginal: Callable[[Array, Sequence[int]], Array]
    types: dict[str, str]


def normal_log_density(x: Array, mean: Array, covariance: Array) -> Array:
    factor = np.linalg.cholesky(covariance)
    z = np.linalg.solve(factor, (x - mean).T)
    return -0.5 * (z**2).sum(axis=0) - np.log(np.diag(factor)).sum() - 0.5 * len(mean) * math.log(2 * math.pi)


def mixture(name: str, columns: int, components: int, seed: int) -> Truth:
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.full(components, 5.0))
    means = 2.5 * random.normal(size=(components, columns)) * (components > 1)
    roots = random.normal(size=(components, columns, columns)) / math.sqrt(columns)
    covariances = roots @ roots.transpose(0, 2, 1) + 0.15 * np.eye(columns)

    def draw(random: np.random.Generator, rows: int) -> Array:
        chosen = random.choice(components, size=rows, p=weights)
        factors = np.linalg.cholesky(covariances)
        return means[chosen] + np.einsum("nij,nj->ni", factors[chosen], random.normal(size=(rows, columns)))

    def log_marginal(x: Array, some: Sequence[int]) -> Array:
        chosen = list(some)
        parts = [
            math.log(w) + normal_log_density(x[:, chosen], m[chosen], c[np.ix_(chosen, chosen)])
            for w, m, c in zip(weights, means, covariances, strict=True)
        ]
        return np.logaddexp.reduce(parts, axis=0)

    return Truth(name, columns, draw, log_marginal, {})


def network(seed: int) -> Truth:
    """Five columns with 2, 3, 2, 4 and 3 categories; each depends on the two before it."""
    random = np.random.default_rng(seed)
    levels = (2, 3, 2, 4, 3)
    table = np.ones(levels)
    for j, count in enumerate(levels):
        parents = levels[max(0, j - 2) : j]
        conditional = random.dirichlet(np.full(count, 0.7), size=parents)
        shape = [1] * len(levels)
        shape[max(0, j - 2) : j + 1] = [*parents, count]
        table = table * conditional.reshape(shape)
    table = 0.98 * table + 0.02 * table.sum() / table.size
    cells = np.array(list(itertools.product(*map(range, levels))), dtype=np.float64)

    def draw(random: np.random.Generator, rows: int) -> Array:
        return cells[random.choice(len(cells), size=rows, p=table.ravel() / table.sum())]

    def log_marginal(x: Array, some: Sequence[int]) -> Array:
        others = tuple(j for j in range(len(levels)) if j not in some)
        summed = table.sum(axis=others) / table.sum()
        return np.log(summed[tuple(x[:, j].astype(int) for j in some)])

    return Truth("discrete network", len(levels), draw, log_marginal, {f"x{j}": "categorical" for j in range(5)})


def subsets(columns: int) -> list[list[int]]:
    """All sets of columns but the whole."""
    return [list(subset) for size in range(columns) for subset in itertools.combinations(range(columns), size)]


@torch.no_grad()
def losses(model: FlowDensity, truth: Truth, x: Array) -> tuple[float, float, float]:
    """Over all sets of known columns: mean and largest loss in nats; and the largest error of the chain rule."""
    whole, differences, error = torch.as_tensor(model.schema_.encode(x)), [], 0.0
    every = list(range(truth.columns))
    for observed in subsets(truth.columns):
        right = truth.log_marginal(x, every) - (truth.log_marginal(x, observed) if observed else 0.0)
        conditional = model.model_.given({j: whole[:, j] for j in observed})
        got = conditional.log_prob(whole[:, conditional.columns])
        error = max(error, float((got - one_by_one(model, whole, observed, conditional.columns)).abs().max()))
        differences.append(float((torch.as_tensor(right) - got).mean()))
    return sum(differences) / len(differences), max(differences), error


def one_by_one(model: FlowDensity, x: Tensor, observed: Sequence[int], rest: Sequence[int]) -> Tensor:
    """log q(rest | observed) as the sum of the conditionals of single columns, each given all before it."""
    total, seen = torch.zeros(len(x), dtype=torch.float64), list(observed)
    for j in sorted(rest, key=model.model_.network.ranks.__getitem__):  # as the model has it
        total = total + model.model_.given({i: x[:, i] for i in seen}).column_marginal(j).log_prob(x[:, j])
        seen.append(j)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    arguments = parser.parse_args()
    truths = [mixture("Gaussian", 5, 1, 1), mixture("mixture of 3 Gaussians", 4, 3, 2), network(3)]
    lines = [
        "| distribution | columns | sets | lost | most | chain rule | with 30 % missing | Gaussian | part | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for truth in truths:
        random = np.random.default_rng(0)
        x, held = truth.draw(random, arguments.rows), truth.draw(random, HELD)
        start = time.monotonic()
        model = FlowDensity(types=truth.types, random_state=0).fit(x)
        seconds = time.monotonic() - start
        mean, most, error = losses(model, truth, held)
        complete = model.score(held)
        gaps = np.where(random.random(x.shape) < 0.3, np.nan, x)
        missing = FlowDensity(types=truth.types, random_state=0).fit(gaps).score(held)
        gaussian = float(normal_log_density(held, x.mean(axis=0), np.cov(x.T)).mean())
        part = f"{(complete - missing) / (complete - gaussian):.3f}" if truth.name.startswith("mix") else ""
        lines.append(
            f"| {truth.name} | {truth.columns} | {2**truth.columns - 1} | **{mean:.4f}** | {most:.4f} | {error:.0e} | "
            f"{complete - missing:.4f} | {complete - gaussian:.3f} | {part} | {seconds:.0f} |"
        )
        print(lines[-1], flush=True)
    head = [
        "## Conditionals on any columns",
        "",
        "    .venv/bin/python benchmarks/conditionals.py",
        "",
        f"{machine()}. Defaults of `FlowDensity`, {arguments.rows:,} rows; {HELD:,} new rows for every set of known",
        "columns. *Lost*: the mean of log p(rest | known) - log q(rest | known) in nats, on average over all sets, and",
        "of the worst. *Chain rule*: the largest difference to the sum of conditionals of single columns.",
        "*With 30 % missing*: what a model trained on rows with so many entries missing at random scores less on whole",
        "rows, in nats; *Gaussian*: what the maximum-likelihood Gaussian scores less; *part*: the one over the other.",
        "",
    ]
    update_section("conditionals", "\n".join(head + lines))


if __name__ == "__main__":
    main()

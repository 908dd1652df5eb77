"""Conditionals on any columns of Gaussians whose columns are strongly correlated.

    .venv/bin/python benchmarks/conditionals_gaussian.py

Covariances with 5 to 12 columns and condition numbers from 10 to 1,000 are drawn at random. For each, one model is
trained by the estimator's defaults and asked for log q(rest | observed) of new rows for random sets of observed
columns. Lost is the mean of log p - log q, a Kullback-Leibler divergence in nats; for comparison that of the Gaussian
with the moments of the training rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch
from conditionals import Array, normal_log_density
from results import machine, update_section

from pushforward.estimators import FlowDensity

ROWS, HELD, TABLES, SETS = 20_000, 1_000, 20, 30


def covariance(random: np.random.Generator, columns: int) -> Array:
    """A covariance matrix whose largest eigenvalue is 10 to 1,000 times the smallest."""
    condition = 10 ** random.uniform(1, 3)
    middle = random.uniform(size=columns - 2)
    eigenvalues = condition ** np.concatenate([[0.0, 1.0], middle])
    axes = np.linalg.qr(random.normal(size=(columns, columns)))[0]
    return (axes * eigenvalues) @ axes.T


def log_conditional(x: Array, mean: Array, covariance: Array, observed: Sequence[int]) -> Array:
    """log p(rest | observed) of a Gaussian."""
    some = list(observed)
    whole = normal_log_density(x, mean, covariance)
    return whole - normal_log_density(x[:, some], mean[some], covariance[np.ix_(some, some)]) if some else whole


@torch.no_grad()
def losses(model: FlowDensity, x: Array, truth: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """What the model and another Gaussian lose for random sets of observed columns, in nats."""
    random, columns = np.random.default_rng(1), x.shape[1]
    whole, lost, reference = torch.as_tensor(x), [], []
    for _ in range(SETS):
        observed = sorted(random.permutation(columns)[: random.integers(columns)].tolist())
        right = log_conditional(x, *truth, observed)
        conditional = model.model_.given({j: whole[:, j] for j in observed})
        lost.append(float(right.mean() - conditional.log_prob(whole[:, conditional.columns]).mean()))
        reference.append(float((right - log_conditional(x, *other, observed)).mean()))
    return np.array(lost), np.array(reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--tables", type=int, default=TABLES)
    arguments = parser.parse_args()
    lines = [
        "| columns | condition number | lost | most | Gaussian | seconds |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    means = []
    for table in range(arguments.tables):
        random = np.random.default_rng(table)
        columns = 5 + table % 8
        matrix, mean = covariance(random, columns), np.zeros(columns)
        x, held = (random.multivariate_normal(mean, matrix, size=size) for size in (arguments.rows, HELD))
        start = time.monotonic()
        model = FlowDensity(random_state=0).fit(x)
        seconds = time.monotonic() - start
        lost, reference = losses(model, held, (mean, matrix), (x.mean(axis=0), np.cov(x.T)))
        means.append(lost.mean())
        lines.append(
            f"| {columns} | {np.linalg.cond(matrix):.0f} | **{lost.mean():.4f}** | {lost.max():.4f} | "
            f"{reference.mean():.4f} | {seconds:.0f} |"
        )
        print(lines[-1], flush=True)
    head = [
        "## Conditionals on any columns of strongly correlated Gaussians",
        "",
        "    .venv/bin/python benchmarks/conditionals_gaussian.py",
        "",
        f"{machine()}. Defaults of `FlowDensity`, {arguments.rows:,} rows; {HELD:,} new rows for each of {SETS} random",
        "sets of observed columns. *Lost*: the mean of log p(rest | observed) - log q(rest | observed) in nats, on",
        "average over the sets, and of the worst. *Gaussian*: what the Gaussian with the moments of the training rows",
        "loses.",
        f"Lost on average over the tables: **{np.mean(means):.4f}** nats, at most {np.max(means):.4f}.",
        "",
    ]
    update_section("conditionals gaussian", "\n".join(head + lines))
    print(head[-2], flush=True)


if __name__ == "__main__":
    main()

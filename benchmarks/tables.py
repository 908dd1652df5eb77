"""Real tables: held-out likelihoods of `FlowDensity` beside simple densities, and how useful its samples are.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/tables.py [--sets 537_houses protein adult ...]

Defaults throughout: the types of columns are inferred. Of Adult the columns that hold codes of categories are declared.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import data_folder, machine, update_section
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pushforward.data.schema import Schema
from pushforward.distributions import Continuous, Inflated, Repeated
from pushforward.estimators import FlowDensity
from pushforward.evaluate import fit_baselines

Array = NDArray[np.float64]
PMLB, UCI = ("537_houses", "574_house_16H"), ("airfoil", "concrete", "energy", "housing", "protein")
CODES = (
    "workclass",
    "education",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "native-country",
    "target",
)
KDE_ROWS = 3_000


def read(name: str) -> tuple[list[str], Array]:
    """Column names and numbers, rows in random order."""
    if (data_folder("uci") / f"{name}__data.csv.gz").exists():
        with gzip.open(data_folder("uci") / f"{name}__data.csv.gz", "rt") as file:
            x = np.loadtxt(file, delimiter=",")
        names = [f"x{j}" for j in range(x.shape[1])]
    else:
        with gzip.open(data_folder("pmlb") / f"{name}.tsv.gz", "rt") as file:
            names, *rows = list(csv.reader(file, delimiter="\t"))
        x = np.array(rows, dtype=np.float64)
    return names, x[np.random.default_rng(0).permutation(len(x))]


def split(x: Array) -> tuple[Array, Array]:
    held = len(x) // 10 if len(x) > 2_000 else len(x) // 5
    return x[held:], x[:held]


def with_error(scores: Array) -> str:
    return f"{scores.mean():.3f} ± {scores.std() / math.sqrt(len(scores)):.3f}"


def with_densities(train: Array) -> dict[str, Any]:
    """Types of the columns of real numbers in which some values come often. By default such values have probabilities,
    with which no density at them can be compared."""
    return {
        field.name: Continuous()
        for field in Schema.infer(train).fields
        if isinstance(field.column_type, Inflated | Repeated) and field.column_type.is_density
    }


def measured(name: str) -> str:
    """A row of the table of sets without categories."""
    _, x = read(name)
    train, test = split(x[:, x.std(axis=0) > 0])
    types = with_densities(train)
    start = time.monotonic()
    model = FlowDensity(types=types, random_state=0).fit(train)
    seconds = time.monotonic() - start
    flow = model.score_samples(test)
    mean, scale = train.mean(axis=0), train.std(axis=0)
    a, b, unit = (train - mean) / scale, (test - mean) / scale, np.log(scale).sum()
    gaussian = GaussianMixture(1, reg_covar=1e-9).fit(a).score_samples(b) - unit
    mixtures = [
        GaussianMixture(k, random_state=0, reg_covar=1e-5).fit(a) for k in (2, 4, 8, 16, 32, 64) if 20 * k < len(a)
    ]
    mixture = min(mixtures, key=lambda model: model.bic(a)).score_samples(b) - unit
    search = GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.02, 1, 16)}, cv=5).fit(a[:KDE_ROWS])
    kernel = KernelDensity(**search.best_params_).fit(a).score_samples(b) - unit
    ahead = flow.mean() - max(gaussian.mean(), mixture.mean(), kernel.mean())
    title = f"{name} †" if types else name
    return (
        f"| {title} | {len(train):,} × {train.shape[1]} | {with_error(flow)} | {gaussian.mean():.3f} | "
        f"{mixture.mean():.3f} | {kernel.mean():.3f} | **{ahead:.3f}** | {seconds:.0f} |"
    )


def auc(train: Array, test: Array, names: list[str]) -> float:
    """Of a logistic regression of the last column on the others."""
    codes = [j for j, name in enumerate(names[:-1]) if name in CODES]
    numbers = [j for j in range(len(names) - 1) if j not in codes]
    inputs = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), codes), (StandardScaler(), numbers))
    model = make_pipeline(inputs, LogisticRegression(max_iter=2_000)).fit(train[:, :-1], train[:, -1])
    return float(roc_auc_score(test[:, -1], model.predict_proba(test[:, :-1])[:, 1]))


def adult() -> list[str]:
    names, x = read("adult")
    train, test = split(x)
    types: dict[str, Any] = {f"x{j}": "categorical" for j, name in enumerate(names) if name in CODES}
    start = time.monotonic()
    model = FlowDensity(types=types, random_state=0).fit(train)
    seconds = time.monotonic() - start
    flow = model.score_samples(test)
    column_types = [field.column_type for field in model.schema_.fields]
    baselines = fit_baselines(model.schema_.encode(train), types=column_types)
    encoded = model.schema_.encode(test)
    independent, tree = (baselines[name].log_prob(encoded).mean() for name in ("independent", "tree"))
    drawn = model.sample(len(train), random_state=1)
    real, made = auc(train, test, names), auc(np.asarray(drawn, dtype=np.float64), test, names)
    spread = model.order_spread(test[:500]).mean()
    return [
        f"Adult, {len(train):,} × {train.shape[1]}: FlowDensity {with_error(flow)} nats, independent columns",
        f"{independent:.3f}, the best tree of pairs (Chow and Liu) {tree:.3f}, both as `fit_baselines` makes them:",
        f"FlowDensity is ahead by **{flow.mean() - tree:.2f}**. Fitted in {seconds:.0f} s. A",
        f"logistic regression of the income class has an AUC of {real:.4f} trained on the real rows and {made:.4f}",
        f"on as many samples of the model, **{made / real:.1%}** of it. Between random orders of the columns",
        f"log-densities of a row differ by {spread:.3f} nats (standard deviation, mean over 500 rows).",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=[*PMLB, *UCI, "adult"], metavar="SET")
    arguments = parser.parse_args()
    lines = []
    for name in arguments.sets:
        if name != "adult":
            lines.append(measured(name))
            print(lines[-1], flush=True)
    last = adult() if "adult" in arguments.sets else []
    print(*last, flush=True)
    head = [
        "## Tables",
        "",
        "    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/tables.py",
        "",
        f"{machine()}. Mean log-likelihood of held-out rows (a tenth, of small sets a fifth) in nats, in the units",
        "of the columns; ± one standard error. `FlowDensity()` infers the types of the columns; of a column of whole",
        "numbers it gives probabilities, which compare with densities as its unit is one. *Mixture*: of Gaussians with",
        "full covariances, 2 to 64 components by BIC. *Kernel*: Gaussian kernel, bandwidth by five-fold",
        "cross-validation. Of the sets marked † some columns of real numbers hold single values often, to which",
        "`FlowDensity()` gives probabilities; here all their values have densities, as under the others.",
        "",
        "| set | rows | FlowDensity | Gaussian | mixture | kernel | ahead by | seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    if arguments.sets == [*PMLB, *UCI, "adult"]:
        update_section("tables", "\n".join([*head, *lines, "", *last]))


if __name__ == "__main__":
    main()

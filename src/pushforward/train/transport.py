"""`fit_triangular`: a sparse triangular map learned from little data, its terms selected by cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushforward.bijections import Bijection, Chain, Permute, Standardize, Triangular
from pushforward.core.checks import at_least
from pushforward.distributions import Flow, StandardNormal, StudentT
from pushforward.train.component import Component, Limits, PaddedRows, apply
from pushforward.train.history import TrainingError
from pushforward.train.selection import choose

__all__ = ["fit_triangular"]

BOUND = 4.0  # of the box in standard deviations; few rows lie outside
NODES = 20
# Maps of single features are smoother, since their errors enter every component that depends on the feature.
MARGINAL = Limits(degree=8, interactions=1, terms=8, patience=3, bound=BOUND, nodes=NODES)
MARGINAL_RIDGE = 3.0
MARGINAL_GAIN = 0.005  # nats per row that one more layer must gain on held-out rows
PATIENCE = 4


class Folds(NamedTuple):
    """Training and held-out rows of each fold, context first; the last member trains on all rows."""

    train: PaddedRows
    held: PaddedRows
    ladj: Tensor
    """Log-slopes of the layers so far at the held-out rows, (members, n)."""


class Start(NamedTuple):
    """Layers of maps of single features, and the folds mapped through them."""

    folds: Folds
    layers: list[list[Component]]


class Draft(NamedTuple):
    """A fitted map: one `Triangular` per layer, as its components, and the held-out log-likelihood per row."""

    layers: list[list[Component]]
    order: tuple[int, ...]
    score: float


def fit_triangular(
    x: Any,
    context: Any = None,
    *,
    degree: int = 4,
    interactions: int = 2,
    terms: int = 30,
    ridge: float | Sequence[float] = 1.0,
    marginals: int = 4,
    orders: Sequence[Sequence[int]] | None = None,
    df: float = 8.0,
    folds: int = 5,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    data_dtype: str | None = None,
) -> Flow:
    r"""Learn a density from little data: a sparse triangular map whose terms are chosen by cross-validation.

    Data are standardised, mapped feature by feature where that helps, reordered, and mapped by a `Triangular` map S to
    a base p of independent features. Maximum likelihood then decouples into one problem per component,

    .. math:: \min_{S_j}\ \frac1N \sum_i \Bigl[-\log p\bigl(S_j(x^i)\bigr) - \log \partial_j S_j(x^i)\Bigr]
       + \frac{\lambda}{2N} \sum_\alpha r_\alpha w_\alpha^2, \qquad r_\alpha = |\alpha|^2,

    which LBFGS minimises while terms are added one by one, each time the neighbour of a selected term with the largest
    predicted gain. The number of terms of each component, the maps of single features, the order and λ have the best
    likelihood on held-out rows; a component does not depend on features that occur in none of its terms. Only the folds
    are random. For a few hundred rows, fitting costs a second or two per feature, and no validation set is needed.

    Args:
        x: data, (rows, features): a tensor or an array of numbers.
        context: (rows, context), for a conditional density.
        degree: highest degree of a feature in a term.
        interactions: largest number of variables in one term.
        terms: largest number of terms of a component beyond the affine map of its last variable.
        ridge: λ, or several values to select from.
        marginals: largest number of layers of maps of single features; 0 for none.
        orders: orders of the features to select from; by default that of the columns and its reverse. With the order of
            the columns alone, the flow is triangular in x itself.
        df: degrees of freedom of the Student t base, ``math.inf`` for the standard normal. With normal
            tails, one row far outside the training data costs hundreds of nats.
        folds: number of folds of the cross-validation.
        seed: seed of the assignment of rows to folds.
        dtype: dtype of the flow; the fit itself is done in float64.
        data_dtype: ``"float64"`` if x and context are float64 although the weights are float32.

    Returns:
        A flow whose densities cost one pass.

    Raises:
        TrainingError: x or context is not a table of finite numbers, has too few rows or a constant column, or an
            option is out of range.

    References:
        | On the representation and learning of monotone triangular transport maps (Baptista, Marzouk, Zahm, 2023),
          arXiv:2009.10303

    >>> import torch
    >>> x = torch.randn(150, 2, generator=torch.Generator().manual_seed(0))
    >>> x[:, 1] += 2 * x[:, 0] ** 2  # a banana: the entropy is that of two standard normals, 2.84 nats
    >>> flow = fit_triangular(x)
    >>> round(flow.log_prob(x).mean().item(), 1)
    -2.7
    """
    table, context_size = _table(x, context)
    features = table.shape[1] - context_size
    natural = tuple(range(features))
    tried = [tuple(order) for order in ((natural, natural[::-1]) if orders is None else orders)]
    ridges = [float(ridge)] if isinstance(ridge, int | float) else [float(value) for value in ridge]
    for name, got, low in (
        ("degree", degree, 1), ("interactions", interactions, 1), ("terms", terms, 0), ("marginals", marginals, 0),
    ):  # fmt: skip
        at_least("fit_triangular", name, got, low)
    _check_options(len(table), features, tried, ridges, folds, df)
    limits = Limits(degree, interactions, terms, PATIENCE, BOUND, NODES, df)
    standard = Standardize(table.shape[1]).to(torch.float64)
    standard.initialize(table)

    plain = Start(_split(standard(table), folds, seed), [])
    mapped = _fit_marginals(plain, context_size, marginals)
    starts = [plain, mapped] if mapped.layers else [plain]
    drafts = [_fit_joint(start, context_size, tried[0], ridges, limits) for start in starts]
    start = starts[max(range(len(starts)), key=lambda k: drafts[k].score)]
    drafts += [
        _fit_joint(start, context_size, order, ridges, limits) for order in dict.fromkeys(tried[1:]) if features > 1
    ]
    best = max(drafts, key=lambda draft: draft.score)
    return _assemble(best, standard, context_size, df, data_dtype).to(dtype)


def _split(rows: Tensor, folds: int, seed: int) -> Folds:
    """Assign the rows to folds at random."""
    fold = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)) % folds
    train = PaddedRows.stack([*(rows[fold != k] for k in range(folds)), rows])
    held = PaddedRows.stack([*(rows[fold == k] for k in range(folds)), rows[:0]])
    return Folds(train, held, torch.zeros_like(held.counts))


def _fit_marginals(start: Start, context_size: int, most: int) -> Start:
    """Layers of increasing maps of single features, each kept if it raises the held-out likelihood of its feature.

    A composition of a few smooth maps represents shapes (sharp edges, long tails) for which one map needs many terms.
    """
    folds, layers = start
    width = folds.train.values.shape[-1] - context_size
    active = list(range(width))
    for _ in range(most):
        layer: dict[int, Component] = {}
        for j in active:
            column = [context_size + j]
            choice = choose(folds.train.only(column), folds.held.only(column), [MARGINAL_RIDGE], MARGINAL)
            if choice.score >= choice.affine + MARGINAL_GAIN:
                whole = choice.components[-1]
                layer[j] = Component([(*(0,) * j, *term) for term in whole.terms], whole.weights)
                folds = _map_column(folds, context_size + j, choice.components)
        if not layer:
            break
        nothing = Component([], folds.ladj.new_zeros(0))
        layers = [*layers, [layer.get(j, nothing) for j in range(width)]]
        active = sorted(layer)
    return Start(folds, layers)


def _map_column(folds: Folds, i: int, components: Sequence[Component]) -> Folds:
    """Map column i of each member by the component of that member."""
    train, _ = apply(folds.train.only([i]), components, MARGINAL)
    held, log_slope = apply(folds.held.only([i]), components, MARGINAL)
    return Folds(folds.train.replace(i, train), folds.held.replace(i, held), folds.ladj + log_slope)


def _fit_joint(
    start: Start, context_size: int, order: tuple[int, ...], ridges: Sequence[float], limits: Limits
) -> Draft:
    """Fit the components in one order of the features, after the layers of ``start``."""
    folds, layers = start
    columns = [*range(context_size), *(context_size + j for j in order)]
    score = float((folds.ladj * folds.held.counts).sum() / folds.held.counts.sum())
    components = []
    for stop in range(context_size + 1, len(columns) + 1):
        choice = choose(folds.train.only(columns[:stop]), folds.held.only(columns[:stop]), ridges, limits)
        components.append(choice.components[-1])
        score += choice.score
    return Draft([*layers, components], order, score)


def _assemble(draft: Draft, standard: Standardize, context_size: int, df: float, data_dtype: str | None) -> Flow:
    *marginals, joint = draft.layers
    features = len(joint)
    parts: list[Bijection] = [_standardize(standard, context_size, context_size + features, data_dtype)]
    parts += [_triangular(layer, 0) for layer in marginals]
    if draft.order != tuple(range(features)):
        parts.append(Permute(draft.order))
    parts.append(_triangular(joint, context_size))
    base = StandardNormal(features) if math.isinf(df) else StudentT(features, df=df)
    context_map = _standardize(standard, 0, context_size, data_dtype) if context_size else None
    return Flow(base, Chain(parts).inv, context_map=context_map)


@torch.no_grad()
def _triangular(components: Sequence[Component], context_size: int) -> Triangular:
    terms = [[list(term) for term in component.terms] for component in components]
    layer = Triangular(terms, context=context_size, bound=BOUND, nodes=NODES).to(torch.float64)
    layer.weights.copy_(torch.cat([component.weights for component in components]))
    return layer


def _standardize(whole: Standardize, start: int, stop: int, data_dtype: str | None) -> Standardize:
    """`Standardize` for the columns from ``start`` to ``stop``, with the statistics of the whole."""
    part = Standardize(stop - start, data_dtype=data_dtype)
    part.mean.copy_(whole.mean[start:stop])
    part.scale.copy_(whole.scale[start:stop])
    part.initialized.fill_(True)
    return part


def _table(x: Any, context: Any) -> tuple[Tensor, int]:
    """Context and x side by side in float64, and the number of context columns."""
    columns = {"context": context, "x": x} if context is not None else {"x": x}
    tables = {name: _numbers(name, values) for name, values in columns.items()}
    if len({len(rows) for rows in tables.values()}) > 1:
        raise TrainingError(
            f"fit_triangular: x has {len(tables['x'])} rows but context has {len(tables['context'])}; one per row of x."
        )
    for name, rows in tables.items():
        still = (rows == rows[:1]).all(dim=0)
        if name == "x" and bool(still.any()):
            raise TrainingError(
                f"fit_triangular: column {int(still.nonzero()[0])} of x is constant, so its density is infinite. "
                "Drop it."
            )
    return torch.cat(list(tables.values()), dim=1), 0 if context is None else tables["context"].shape[1]


def _numbers(name: str, values: Any) -> Tensor:
    try:
        rows = torch.as_tensor(
            values.detach().cpu() if isinstance(values, Tensor) else np.asarray(values, dtype=np.float64)
        ).to(torch.float64)
    except (TypeError, ValueError):
        raise TrainingError(
            f"fit_triangular: {name} must be a table of numbers; got {type(values).__name__}."
        ) from None
    if rows.ndim != 2 or not rows.numel():
        raise TrainingError(f"fit_triangular: {name} must have shape (rows, columns); got {tuple(rows.shape)}.")
    bad = (~rows.isfinite()).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise TrainingError(f"fit_triangular: {name} has a value that is not finite: row {row}, column {column}.")
    return rows


def _check_options(
    rows: int, features: int, orders: Sequence[tuple[int, ...]], ridges: Sequence[float], folds: int, df: float
) -> None:
    if folds < 2 or rows < 2 * folds:
        raise TrainingError(
            f"fit_triangular: {folds} folds of {rows} rows leave too few; at least two folds with two rows each are "
            "needed."
        )
    if not orders or any(sorted(order) != list(range(features)) for order in orders):
        raise TrainingError(f"fit_triangular: orders must rearrange 0 .. {features - 1} each; got {list(orders)}.")
    if not ridges or not all(value > 0 and math.isfinite(value) for value in ridges):
        raise TrainingError(f"fit_triangular: ridge must be a positive number or several; got {list(ridges)}.")
    if not df > 0:
        raise TrainingError(f"fit_triangular: df must be positive (math.inf for normal tails); got {df}.")

"""Baselines for columns of any types: independent columns, and the best tree of pairs of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from pushforward.distributions import ColumnType
from pushforward.evaluate.arrays import Floats, Rows, as_rows
from pushforward.evaluate.column_density import Codes, ColumnDensity

__all__ = ["TreeBaseline"]

BINS = (8, 16, 32, 64)  # per column, to choose from
PRIORS = (1.0, 4.0, 16.0)  # rows that count for the marginal of a column, to choose from
MAX_ROWS = 50_000  # rows that pairs of columns are counted in
MOST_COLUMNS = 128  # of a tree; more are independent
BATCH_SIZE = 8192


@dataclass(frozen=True, eq=False)
class TreeBaseline:
    r"""Columns of any types in a tree: each depends on one other column, or on none.

    .. math:: p(x) = \prod_j p_j(x_j)\, \frac{p(b_j \mid b_{\mathrm{parent}(j)})}{p(b_j)}

    with the bin :math:`b_j` of each value, and the distribution :math:`p_j` of each column by itself, which also gives
    the density within a bin. The tree has the largest sum of mutual informations. Without edges columns are
    independent. Missing entries are marginalised exactly. With a context the density is that of x given the context.

    Attributes:
        columns: the distribution of each column, context first.
        features: number of columns of x.
        rows: number of training rows.
        bins: of each column the bin of each of its cells; empty without edges.
        edges: (parent, child), parents first.
        counts: of each edge how many training rows fall into each pair of bins, (bins of parent, bins of child).
        prior: number of rows by which the marginal of a child counts in each bin of its parent.

    References:
        | Approximating Discrete Probability Distributions with Dependence Trees (Chow and Liu, 1968)
    """

    columns: tuple[ColumnDensity, ...]
    features: int
    rows: int
    bins: tuple[Codes, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    counts: tuple[Codes, ...] = ()
    prior: float = 1.0
    components: ClassVar[int] = 0
    note: ClassVar[str] = ""

    @classmethod
    def independent(
        cls,
        types: Sequence[ColumnType],
        x: Rows,
        context: Rows | None = None,
        context_types: Sequence[ColumnType] = (),
    ) -> TreeBaseline:
        """Each column by itself.

        Args:
            types: of the columns, which say where the model has densities and where probabilities.
            x: (rows, columns) training rows, NaN where an entry is missing.
            context: (rows, context columns), for a conditional model; without edges it has no influence.
            context_types: of its columns.

        Raises:
            ValueError: there are no rows, or the numbers of columns differ.
        """
        values, features = _joint(x, context)
        if (len(types), len(context_types)) != (features, values.shape[1] - features):
            raise ValueError(
                f"TreeBaseline: x has {features} columns and the context {values.shape[1] - features}; got "
                f"{len(types)} and {len(context_types)} types. Give one per column."
            )
        columns = zip((*context_types, *types), values.T, strict=True)
        return cls(tuple(ColumnDensity.fit(*column) for column in columns), features, len(values))

    def with_edges(self, x: Rows, context: Rows | None = None, *, seed: int = 0) -> TreeBaseline:
        """The best tree over these columns, from the same training rows; the number of bins and the prior are those
        that score best on a tenth of the rows."""
        values, _ = _joint(x, context)
        if not 2 <= len(self.columns) <= MOST_COLUMNS:
            return self
        values = np.random.default_rng(seed).permutation(values)[:MAX_ROWS]
        held = values[: len(values) // 10]
        best, most = (BINS[0], PRIORS[-1]), -math.inf
        for size in BINS if len(held) else ():
            tree = self._tree(values[len(held) :], size)
            for prior in PRIORS:
                score = replace(tree, prior=prior)._log_joint(held)
                if (total := float(score[np.isfinite(score)].sum())) > most:
                    best, most = (size, prior), total
        return replace(self._tree(values, best[0]), prior=best[1])

    def _tree(self, values: Floats, size: int) -> TreeBaseline:
        """The tree of columns in ``size`` bins that has the largest mutual information, less its bias."""
        bins = tuple(column.bins(size) for column in self.columns)
        cells = [column.cells(entries) for column, entries in zip(self.columns, values.T, strict=True)]
        codes = [np.where(c >= 0, part[c], -1) for part, c in zip(bins, cells, strict=True)]
        sizes = [int(part.max()) + 1 for part in bins]

        def pair(i: int, j: int) -> Codes:
            both = (codes[i] >= 0) & (codes[j] >= 0)
            flat = np.bincount(codes[i][both] * sizes[j] + codes[j][both], minlength=sizes[i] * sizes[j])
            return flat.reshape(sizes[i], sizes[j])

        # Prim's algorithm: gain[j] is what column j would add as a child of parent[j].
        gain, parent = np.full(len(sizes), -math.inf), np.zeros(len(sizes), dtype=np.int64)
        outside, edges, tables = set(range(len(sizes))), [], []
        newest = max(outside, key=lambda j: sizes[j])
        while outside:
            outside.discard(newest)
            for j in outside:
                if (information := _information(pair(newest, j))) > gain[j]:
                    gain[j], parent[j] = information, newest
            if not outside:
                break
            newest = max(outside, key=lambda j: gain[j])
            if gain[newest] > 0:
                edges.append((int(parent[newest]), newest))
                tables.append(pair(*edges[-1]))
        return replace(self, bins=bins, edges=tuple(edges), counts=tuple(tables))

    def log_prob(self, x: Rows, context: Rows | None = None) -> Floats:
        """log p(x | context) of the observed entries of every row, in nats and in the units of the rows.

        Returns:
            (rows,): ``-inf`` where a column cannot hold its value.

        Raises:
            ValueError: the number of columns is not that of the training rows.
        """
        values, features = _joint(x, context)
        if (features, values.shape[1]) != (self.features, len(self.columns)):
            raise ValueError(
                f"TreeBaseline: fitted on {self.features} columns of x and {len(self.columns) - self.features} of "
                f"context; got {features} and {values.shape[1] - features}."
            )
        batches = np.split(values, range(BATCH_SIZE, len(values), BATCH_SIZE))
        return np.concatenate([self._log_conditional(batch) for batch in batches])

    def _log_conditional(self, values: Floats) -> Floats:
        conditions = len(self.columns) - self.features
        if not self.edges:
            values = np.where(np.arange(len(self.columns)) < conditions, np.nan, values)
        if not (conditions and self.edges):
            return self._log_joint(values)
        # What a context cannot hold is unknown to the model, and so it is here.
        held = [c.cells(v) >= 0 for c, v in zip(self.columns[:conditions], values.T, strict=False)]
        values[:, :conditions] = np.where(np.stack(held, axis=1), values[:, :conditions], np.nan)
        context = np.where(np.arange(len(self.columns)) < conditions, values, np.nan)
        return self._log_joint(values) - self._log_joint(context)

    def _log_joint(self, values: Floats) -> Floats:
        """Log-density of the observed entries of rows (rows, columns): messages go from the leaves to the roots."""
        observed = ~np.isnan(values)
        terms = [column.log_prob(entries) for column, entries in zip(self.columns, values.T, strict=True)]
        total: Floats = np.where(observed, np.stack(terms, axis=1), 0.0).sum(axis=1)
        if not self.edges:
            return total
        masses = [
            np.maximum(np.bincount(b, weights=c.masses), 1e-300) for b, c in zip(self.bins, self.columns, strict=True)
        ]
        evidence = []  # p(value | bin) / p(value), up to rows outside of the support, whose total is -inf already
        for j, column in enumerate(self.columns):
            cells = column.cells(values[:, j])
            part = np.ones((len(values), len(masses[j])))
            rows = np.flatnonzero(cells >= 0)
            part[rows] = 0.0
            part[rows, self.bins[j][cells[rows]]] = 1 / masses[j][self.bins[j][cells[rows]]]
            evidence.append(part)
        for (parent, child), counts in zip(reversed(self.edges), reversed(self.counts), strict=True):
            prior = self.prior * masses[child]
            table = (counts + prior) / (counts.sum(axis=1, keepdims=True) + self.prior)
            message = evidence[child] @ table.T
            largest = message.max(axis=1, keepdims=True)
            total = total + np.log(largest[:, 0])
            evidence[parent] = evidence[parent] * (message / largest)
        children = {child for _, child in self.edges}
        roots = [j for j in range(len(self.columns)) if j not in children]
        return total + sum(np.log(evidence[j] @ masses[j]) for j in roots)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description, from which `from_dict` restores the same densities bit for bit."""
        return {
            "features": self.features,
            "rows": self.rows,
            "columns": [column.to_dict() for column in self.columns],
            "bins": [part.tolist() for part in self.bins],
            "edges": [list(edge) for edge in self.edges],
            "counts": [table.tolist() for table in self.counts],
            "prior": self.prior,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TreeBaseline:
        """The inverse of `to_dict`.

        Raises:
            ValueError: an entry is missing or has the wrong length.
        """
        try:
            columns = tuple(ColumnDensity.from_dict(column) for column in stored["columns"])
            bins, counts = (tuple(np.array(part, dtype=np.int64) for part in stored[k]) for k in ("bins", "counts"))
            edges = tuple((int(parent), int(child)) for parent, child in stored["edges"])
            sizes = [int(part.max()) + 1 for part in bins]
            shapes = [(sizes[parent], sizes[child]) for parent, child in edges]
            if shapes != [table.shape for table in counts] or not 1 <= stored["features"] <= len(columns):
                raise ValueError("lengths differ")
            numbers = int(stored["features"]), int(stored["rows"])
            return cls(columns, *numbers, bins, edges, counts, float(stored["prior"]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"TreeBaseline: the stored description cannot be read ({error}).") from None


def _joint(x: Rows, context: Rows | None) -> tuple[Floats, int]:
    """Context and x side by side, and the number of columns of x."""
    values = as_rows("TreeBaseline", "x", x)
    if context is None:
        return values, values.shape[1]
    contexts = as_rows("TreeBaseline", "context", context)
    if len(contexts) != len(values):
        raise ValueError(
            f"TreeBaseline: x has {len(values)} rows but context has {len(contexts)}; give one row of context per row "
            "of x."
        )
    return np.hstack([contexts, values]), values.shape[1]


def _information(counts: Codes) -> float:
    """Mutual information in nats of a table of counts, less its bias (Miller and Madow)."""
    total = counts.sum()
    if not total:
        return 0.0
    joint = counts / total
    rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    cells = joint > 0
    information = float((joint[cells] * np.log(joint[cells] / (rows * columns)[cells])).sum())
    return information - ((rows > 0).sum() - 1) * ((columns > 0).sum() - 1) / (2 * total)

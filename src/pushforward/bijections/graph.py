"""The autoregressive map whose dependences are those of a directed acyclic graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.layout import (
    channels,
    check_conditional,
    check_univariate,
    context_features_first,
    embed,
    free_params,
    to_batch_first,
    to_features_first,
)
from pushforward.core.bijection import Bijection, Kind
from pushforward.core.capabilities import SupportsSlopes
from pushforward.core.checks import at_least, one_of
from pushforward.core.config import configurable
from pushforward.networks import GraphMLP
from pushforward.univariate.base import Univariate

__all__ = ["GraphAutoregressive"]

Matrix = Sequence[Sequence[Any]]


@configurable
class GraphAutoregressive(Bijection, SupportsSlopes):
    r"""Transform each feature by an increasing map whose parameters are a function of its parents in a graph.

    .. math:: y_j = \tau\bigl(x_j;\ \theta_j(x_{\mathrm{pa}(j)}, c)\bigr), \qquad \log|\det| = \sum_j \log \tau'(x_j)

    The graph is directed and has no cycle: a Bayesian network of which one such map from data to latent has the
    conditional independences, exactly. (A stack of maps along one graph lets each feature see further ancestors.) In
    the order 0, 1, ..., with all earlier features as parents, the map is that of `Autoregressive`, which is faster.

    The forward direction costs one pass of the masked conditioner. The inverse solves for all features of a level at
    once, those whose parents are solved for: one pass for each level, `levels` in all, not one for each feature.

    Args:
        univariate: the map of each feature.
        features: number of features D.
        edges: the graph as pairs [parent, child] of features.
        adjacency: the graph as a matrix instead, nested lists of D rows: row j is true at the parents of feature j.
        context: number of context features.
        context_adjacency: which of them each feature depends on: D rows of ``context`` booleans; all by default.
        hidden: layer widths of the conditioner; widened where there are more different sets of parents than units.
        conditioner: ``"plain"`` or ``"residual"``.
        activation: its activation.
        dropout: its dropout probability.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: the graph has a cycle, is given twice or not at all, or names features that there are not.

    References:
        | Graphical Normalizing Flows (Wehenkel and Louppe, 2020), arXiv:2006.02548
        | Structured Conditional Continuous Normalizing Flows for Efficient Amortized Inference in Graphical Models
          (Weilbach et al., 2020)

    >>> import torch
    >>> from pushforward.univariate import Affine
    >>> star = GraphAutoregressive(Affine(), 9, edges=[[0, child] for child in range(1, 9)])
    >>> star.levels
    2
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "univariate": {"type": "Affine"},
            "features": 4,
            "edges": [[3, 0], [3, 1], [0, 2], [1, 2]],
            "context": 1,
            "hidden": [8, 8],
            "activation": "tanh",
        },
        {
            "univariate": {
                "type": "PerFeature",
                "parts": [{"type": "CircularRationalQuadratic", "bins": 3}, {"type": "Affine"}],
                "counts": [1, 2],
            },
            "features": 3,
            "adjacency": [[0, 0, 0], [1, 0, 0], [1, 0, 0]],
            "context": 2,
            "context_adjacency": [[1, 1], [0, 0], [0, 1]],
            "hidden": [8, 8],
            "conditioner": "residual",
            "dropout": 0.1,
        },
    )
    order: Tensor
    order_back: Tensor

    def __init__(
        self,
        univariate: Univariate,
        features: int,
        *,
        edges: Sequence[Sequence[int]] | None = None,
        adjacency: Matrix | None = None,
        context: int = 0,
        context_adjacency: Matrix | None = None,
        hidden: Sequence[int] = (64, 64),
        conditioner: str = "plain",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        owner = "GraphAutoregressive"
        at_least(owner, "features", features, 1)
        at_least(owner, "context", context, 0)
        one_of(owner, "conditioner", conditioner, ("plain", "residual"))
        check_univariate(owner, univariate, features)
        check_conditional(owner, univariate)
        self.parents = _graph(features, edges, adjacency)
        maps = [univariate.for_feature(j) for j in range(features)]
        order, self.groups = _by_map(_levels(self.parents), maps)
        self.context_reads = _context(features, context, context_adjacency)
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.domain, self.codomain = univariate.domain, univariate.codomain
        self.is_triangular = all(i < j for j, row in enumerate(self.parents) for i, read in enumerate(row) if read)
        kind: Kind = univariate.inverse_kind
        self.inverse_kind = "sequential" if kind == "exact" and self.levels > 1 else kind
        self.univariate = univariate
        self.add_constant("order", order, torch.int64)
        self.add_constant("order_back", sorted(range(features), key=order.__getitem__), torch.int64)
        wide = channels(self.domain)
        reads = [
            [*of_context, *(read for read in row for _ in range(wide))]
            for of_context, row in zip(self.context_reads, self.parents, strict=True)
        ]
        self.conditioner = GraphMLP(
            reads,
            univariate.num_params - univariate.num_free,
            hidden=hidden,
            residual=conditioner == "residual",
            activation=activation,
            dropout=dropout,
        )
        self.free = free_params(univariate, features)

    @property
    def levels(self) -> int:
        """The number of features on the longest path: passes of the conditioner that the inverse takes."""
        return len(self.groups)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slopes = self._forward_and_slopes(x, context)
        return y, log_slopes.sum(dim=-1)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slopes = self._inverse_and_slopes(y, context)
        return x, log_slopes.sum(dim=-1)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = to_features_first(x)
        params = self._params(rows, context_features_first(context))
        y, log_slope = self.univariate.forward_with_free(rows, params, self._free())
        return to_batch_first(y, x.shape[:-1]), to_batch_first(log_slope, x.shape[:-1])

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slopes = self._level_by_level("inverse_with_free", y, context)
        return x, log_slopes

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return self._level_by_level("inverse_value_with_free", y, context)[0]

    def _level_by_level(self, method: str, y: Tensor, context: Tensor | None) -> list[Tensor]:
        """The features of each level inverted at once by this method of their maps; x, and what the method returns
        after it, as (*batch, features)."""
        rows, context, free = to_features_first(y), context_features_first(context), self._free()
        x, results = torch.zeros_like(rows), []  # the zeros are read by outputs that are not used
        for groups in self.groups:
            params = self._params(x, context)
            for group, univariate in groups:  # features with the same kind of map
                index = self.order[group]
                free_here = None if free is None else free.index_select(1, index)
                arguments = rows.index_select(0, index), params.index_select(1, index), free_here
                result = getattr(univariate, method)(*arguments)
                results.append(result if isinstance(result, tuple) else (result,))
            solved = torch.cat([r[0] for r in results])
            x = torch.cat([solved, x.new_zeros(len(x) - len(solved), x.shape[-1])]).index_select(0, self.order_back)
        columns = [torch.cat(pieces).index_select(0, self.order_back) for pieces in zip(*results, strict=True)]
        return [to_batch_first(column, y.shape[:-1]) for column in columns]

    def _params(self, rows: Tensor, context: Tensor | None) -> Tensor:
        """Conditional parameters (num_conditional, features, n)."""
        params: Tensor = self.conditioner(embed(self.domain, rows), context)
        return params

    def _free(self) -> Tensor | None:
        """The free parameters, (num_free, features, 1)."""
        return None if self.free is None else self.free[..., None]


def _graph(features: int, edges: Sequence[Sequence[int]] | None, adjacency: Matrix | None) -> list[list[bool]]:
    """Whether each feature (row) has each other one as a parent."""
    owner = "GraphAutoregressive"
    if (edges is None) == (adjacency is None):
        what = "neither" if edges is None else "both"
        raise ValueError(f"{owner}: give the graph once, by edges or by adjacency; got {what}.")
    parents = [[False] * features for _ in range(features)]
    if edges is not None:
        for edge in edges:
            if len(edge) != 2 or not all(isinstance(k, int) and 0 <= k < features for k in edge):
                raise ValueError(
                    f"{owner}: edges must list pairs [parent, child] of features 0 .. {features - 1}; got {edge!r}."
                )
            parents[edge[1]][edge[0]] = True
    else:
        rows = _matrix("adjacency", adjacency, features, features)
        parents = [[bool(read) and i != j for i, read in enumerate(row)] for j, row in enumerate(rows)]
    return parents


def _context(features: int, context: int, matrix: Matrix | None) -> list[list[bool]]:
    """Whether each feature (row) depends on each context feature."""
    if matrix is None:
        return [[True] * context for _ in range(features)]
    return _matrix("context_adjacency", matrix, features, context)


def _matrix(name: str, matrix: Any, rows: int, columns: int) -> list[list[bool]]:
    sizes = {len(row) for row in matrix}
    if len(matrix) != rows or sizes != {columns}:
        raise ValueError(
            f"GraphAutoregressive: {name} must have {rows} rows of {columns} booleans; got {len(matrix)} rows of "
            f"{sorted(sizes)}."
        )
    return [[bool(value) for value in row] for row in matrix]


def _levels(parents: list[list[bool]]) -> list[list[int]]:
    """The features level by level, each level with parents in those before it; refuses a graph with a cycle."""
    rest, levels = set(range(len(parents))), []
    while rest:
        level = sorted(j for j in rest if not any(parents[j][i] for i in rest))
        if not level:
            raise ValueError(
                f"GraphAutoregressive: the graph must have no cycle; got {_cycle(parents, rest)}. Leave one of these "
                "edges out."
            )
        levels.append(level)
        rest -= set(level)
    return levels


Groups = list[tuple[slice, Univariate]]


def _by_map(levels: list[list[int]], maps: list[Univariate]) -> tuple[list[int], list[Groups]]:
    """The features in the order in which they are solved for, and of each level the places in it of features that have
    the same map, with that map."""
    order: list[int] = []
    groups: list[Groups] = []
    for level in levels:
        groups.append([])
        kinds = {id(maps[j]): maps[j] for j in level}
        for kind, univariate in kinds.items():
            chosen = [j for j in level if id(maps[j]) == kind]
            groups[-1].append((slice(len(order), len(order) + len(chosen)), univariate))
            order += chosen
    return order, groups


def _cycle(parents: list[list[bool]], rest: set[int]) -> str:
    """A cycle among features that all have a parent among themselves."""
    path = [min(rest)]
    while True:
        before = min(i for i in rest if parents[path[-1]][i])
        if before in path:
            return " -> ".join(map(str, [before, *reversed(path[path.index(before) :])]))
        path.append(before)

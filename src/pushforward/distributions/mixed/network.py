"""The conditional distribution of each column of a table given observed others, with parameters from one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pushforward.core.checks import common_batch
from pushforward.core.constants import HasConstants
from pushforward.core.domain import Product
from pushforward.core.entries import holds_each
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.mixed.groups import ColumnGroups
from pushforward.networks.subset import PrefixNetwork, SubsetNetwork

__all__ = ["ColumnMethod", "ConditionalNetwork", "check_rows"]

ACTIVATIONS = 2**22  # entries of the widest activation of a piece of rows that is computed at once

ColumnMethod = Literal["log_prob", "cdf", "mid_cdf"]
"""A function of values and parameters that every `ColumnType` has."""


def check_rows(name: str, x: Tensor, columns: int) -> None:
    """Refuse values of columns in another dtype than float64, or of another number of columns."""
    if x.dtype != torch.float64:
        raise ValueError(f"MixedTypeModel: {name} must be float64, as tables are; got {x.dtype}. Use {name}.double().")
    if x.ndim < 1 or x.shape[-1] != columns:
        raise ValueError(f"MixedTypeModel: {name} must have shape (*batch, {columns}); got {tuple(x.shape)}.")


class ConditionalNetwork(HasConstants):
    r"""The distributions :math:`q(x_j \mid x_S)` of all columns j, given the entries S of a row that are observed.

    With ``order="any"`` S may be any set of other columns, with ``order="fixed"`` only those before j count. The
    context is observed wherever it is not missing.

    Args:
        columns: the type of each column.
        context: the types of the columns of the context.
        order: ``"any"`` or ``"fixed"``.
        **options: hidden, activation and dropout of the network.

    Shape:
        Tables are (context and columns, n): a row of the tensor is a column of the table, the context first. Missing
        entries are NaN.
    """

    network: Any
    from_groups: Tensor

    def __init__(
        self, columns: Sequence[ColumnType], context: Sequence[ColumnType], *, order: str, **options: Any
    ) -> None:
        super().__init__()
        self.order = order
        self.context, self.columns = ColumnGroups(context), ColumnGroups(columns)
        self.support = Product(self.columns.domains)
        first = len(self.context)
        groups = [([first + j for j in group], column_type.num_params) for column_type, group in self.columns]
        network: Any = SubsetNetwork if order == "any" else PrefixNetwork
        self.network = network([column.num_inputs for column in [*context, *columns]], groups, **options)
        self.base_params = nn.ParameterList(nn.Parameter(torch.zeros(count, len(group))) for group, count in groups)
        """What is added to the network's outputs: parameters of the columns by themselves, to start with."""
        flat = [j for group in self.columns.positions for j in group]
        self.add_constant("from_groups", sorted(range(len(flat)), key=flat.__getitem__), torch.int64)

    def initialize(self, table: Tensor) -> None:
        """Measure the columns, and start from parameters that fit each by itself."""
        context, columns = self.split(table)
        for base, measured in zip(self.base_params, self.columns.initialize(columns), strict=True):
            base.copy_(measured)
        self.context.initialize(context)

    # --- tables

    def join(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Rows (*batch, context and columns) of x (*batch, columns) and a context, whose values that are missing, or
        not in the domains of their columns, become NaN."""
        first = len(self.context)
        if context is None:
            if not first:
                return x
            context = x.new_full((first,), torch.nan)
        if not first:
            raise ValueError("MixedTypeModel: built without context; got one. Leave it out, or build with context=.")
        check_rows("context", context, first)
        context = torch.where(holds_each(Product(self.context.domains), context), context, torch.nan)
        batch = common_batch("MixedTypeModel", "x", tuple(x.shape[:-1]), "context", tuple(context.shape[:-1]))
        return torch.cat([context.expand(*batch, -1), x.expand(*batch, -1)], dim=-1)

    def split(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """The context's part of a table and that of the columns."""
        return table[: len(self.context)], table[len(self.context) :]

    def fill(self, table: Tensor, observed: Tensor) -> Tensor:
        """The table with a fixed point of the domain in place of every entry that is missing or not observed."""
        anchors = torch.stack([*self.context.anchors(table), *self.columns.anchors(table)])
        return torch.where(observed & ~table.isnan(), table, anchors[:, None])

    def encode(self, table: Tensor) -> Tensor:
        """The inputs (all, n) of the network for a table without missing entries."""
        context, columns = self.split(table)
        return torch.cat([*self.context.encode(context), *self.columns.encode(columns)])

    def add_noise(self, table: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The training targets: the table, plus the noise of columns that are smoothed."""
        if not (self.context.smoothed or self.columns.smoothed):
            return table
        table = table.clone()
        for part, groups in zip(self.split(table), (self.context, self.columns), strict=True):
            groups.add_noise(part, generator)
        return table

    def piece_size(self) -> int:
        """How many rows to compute at once."""
        width = max(layer.weight.shape[0] for layer in [*self.network.layers, *self.network.last])
        return max(16, ACTIVATIONS // (width * (len(self.columns) if self.order == "any" else 1)))

    # --- distributions

    def params(self, encoded: Tensor, observed: Tensor) -> list[Tensor]:
        """Parameters of each group of columns, (num_params, columns of the group, n), given one set of observed
        entries (context and columns, n) a row."""
        outputs = self.network(encoded, observed)
        return [output + base[..., None] for output, base in zip(outputs, self.base_params, strict=True)]

    def params_of(self, j: int, encoded: Tensor, observed: Tensor) -> Tensor:
        """The parameters of one column, (num_params, 1, n)."""
        k, i = self.columns.place[j]
        output = self.network(encoded, observed, only=k)[0][:, i : i + 1]
        base: Tensor = self.base_params[k]
        return output + base[:, i : i + 1, None]

    def params_of_rows(self, j: int, rows: Tensor) -> Tensor:
        """The parameters of one column, (num_params, 1, n), given what is there of rows (*batch, context and columns)
        of n rows in all."""
        table = rows.reshape(-1, rows.shape[-1]).t()
        observed = ~table.isnan()
        return self.params_of(j, self.encode(self.fill(table, observed)), observed)

    @torch.no_grad()
    def scale_params(self, k: int, factor: Tensor, shift: Tensor) -> None:
        """Multiply the parameters of group k, for good, by factors and add shifts, each (num_params, columns)."""
        base: Tensor = self.base_params[k]
        base.copy_(base * factor + shift)
        self.network.scale_last(k, factor)

    def evaluate(
        self, method: ColumnMethod, table: Tensor, params: Sequence[Tensor], columns: Sequence[int] | None = None
    ) -> Tensor:
        """A method of the column types at the entries of a table without missing entries, (columns, n).

        Args:
            method: its name.
            table: (context and columns, n).
            params: of each group, as from `params`; where ``columns`` are given, of those alone.
            columns: where to evaluate it; the other columns are zero. All by default.
        """
        x = self.split(table)[1]
        if columns is None:
            values = [getattr(t, method)(x[group], p) for (t, group), p in zip(self.columns, params, strict=True)]
            return torch.cat(values)[self.from_groups]
        values, places = [], []
        for (column_type, group), inside, p in zip(self.columns, self._inside(columns), params, strict=True):
            if inside:
                chosen = [group[i] for i in inside]
                values.append(getattr(column_type.select(inside), method)(x[chosen], p))
                places += chosen
        whole = values[0].new_zeros(x.shape)
        return whole.index_copy(0, torch.tensor(places, device=x.device), torch.cat(values))

    def choose(self, params: Sequence[Tensor], columns: Sequence[int]) -> list[Tensor]:
        """Of the parameters of each group those of some columns."""
        return [p[:, inside] for p, inside in zip(params, self._inside(columns), strict=True)]

    def contributions(self, rows: Tensor, ranks: Sequence[int], method: ColumnMethod = "log_prob") -> Tensor:
        """log q of each entry given the observed ones of lower rank, or another method of the column types.

        Args:
            rows: (*batch, context and columns), NaN where an entry is missing.
            ranks: of the columns; -1 for those that are only conditioned on, as the context is.
            method: what to evaluate.

        Returns:
            (*batch, columns): zero at missing entries and at columns of rank -1.
        """
        batch, count = rows.shape[:-1], rows.shape[-1]
        tables = rows.reshape(-1, count).split(self.piece_size())
        pieces = [self._contributions(table.t(), ranks, method) for table in tables]
        return torch.cat(pieces, dim=-1).t().reshape(*batch, len(self.columns))

    def _contributions(self, table: Tensor, ranks: Sequence[int], method: ColumnMethod) -> Tensor:
        observed = ~table.isnan()
        columns = [j for j, rank in enumerate(ranks) if rank >= 0]
        table = self.fill(table, observed)
        encoded = self.encode(table)
        some = None if len(columns) == len(self.columns) else columns
        if self.order == "fixed":
            params = self.params(encoded, observed)
            params = params if some is None else self.choose(params, some)
        else:
            params = self._params_by_rank(encoded, observed, ranks, columns)
        values = self.evaluate(method, table, params, some)
        return torch.where(self.split(observed)[1], values, 0.0)

    def _params_by_rank(
        self, encoded: Tensor, observed: Tensor, ranks: Sequence[int], columns: Sequence[int]
    ) -> list[Tensor]:
        """Parameters of some columns, each given the observed entries of lower rank."""
        first = len(self.context)
        places = torch.tensor([*[-1] * first, *ranks], device=encoded.device)
        asked = [first + j for j in columns]
        before = places < places[asked, None]  # [k, j]: whether column asked[k] sees column j
        outputs = self.network.one_each(encoded, before[..., None] & observed, asked)
        groups = zip(outputs, self.base_params, self._inside(columns), strict=True)
        return [output + base[:, inside, None] for output, base, inside in groups]

    def _inside(self, columns: Sequence[int]) -> list[list[int]]:
        """Which columns of each group are among these, by their numbers in the group."""
        wanted = set(columns)
        return [[i for i, j in enumerate(group) if j in wanted] for group in self.columns.positions]

"""The conditional distribution of each column of a table given observed others, with parameters from one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pushforward.core.checks import common_batch, one_of
from pushforward.core.constants import HasConstants
from pushforward.core.domain import Product
from pushforward.core.entries import holds_each
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.mixed.evaluation import ColumnMethod, evaluated
from pushforward.distributions.mixed.groups import ColumnGroups
from pushforward.distributions.mixed.linear import FEWEST_ROWS, LinearPart
from pushforward.distributions.mixed.linear_inputs import MOST_INPUTS, LinearInputs
from pushforward.networks.column_attention import COLUMN_NETWORKS

__all__ = ["ConditionalNetwork", "Encoded", "check_rows"]

ACTIVATIONS = 2**22  # entries of the widest activation of a piece of rows that is computed at once


class Encoded(NamedTuple):
    """A table without missing entries as the model sees it."""

    inputs: Tensor
    """Of the network, (all, n)."""
    places: Tensor | None
    """Of the linear part, (columns that are on the real line, n); None where there is none."""


def check_rows(name: str, x: Tensor, columns: int, owner: str = "MixedTypeModel") -> None:
    """Refuse values of columns in another dtype than float64, or of another number of columns."""
    if x.dtype != torch.float64:
        raise ValueError(f"{owner}: {name} must be float64, as tables are; got {x.dtype}. Use {name}.double().")
    if x.ndim < 1 or x.shape[-1] != columns:
        raise ValueError(f"{owner}: {name} must have shape (*batch, {columns}); got {tuple(x.shape)}.")


class ConditionalNetwork(HasConstants):
    r"""The distributions :math:`q(x_j \mid x_S)` of all columns j, given the entries S of a row that are observed.

    With ``order="any"`` S may be any set of other columns, with ``order="fixed"`` only those before j count. The
    context is observed wherever it is not missing.

    What is linear is in closed form: of columns on the real line the network gives the distribution of the distance to
    the mean that a Gaussian with the same correlations has given S, in units of its deviation (see `LinearPart`).

    Args:
        columns: the type of each column.
        context: the types of the columns of the context.
        order: ``"any"`` or ``"fixed"``.
        conditioner: name of the kind of network.
        linear: ``"reals"``, ``"categories"`` or ``"all"``: what the linear part sees.
        **options: hidden, activation and dropout of the network.

    Shape:
        Tables are (context and columns, n): a row of the tensor is a column of the table, the context first. Missing
        entries are NaN.
    """

    network: Any
    from_groups: Tensor
    sequence: Tensor
    """The columns in the order in which they are given each other, for files; `order_of_columns` has it as numbers."""

    def __init__(
        self,
        columns: Sequence[ColumnType],
        context: Sequence[ColumnType],
        *,
        order: str,
        conditioner: str = "residual",
        linear: str = "reals",
        **options: Any,
    ) -> None:
        super().__init__()
        self.order = order
        self.context, self.columns = ColumnGroups(context), ColumnGroups(columns)
        self.support = Product(self.columns.domains)
        first = len(self.context)
        groups = [([first + j for j in group], column_type.num_params) for column_type, group in self.columns]
        one_of("MixedTypeModel", "conditioner", conditioner, tuple(COLUMN_NETWORKS))
        network: Any = COLUMN_NETWORKS[conditioner][order]
        self.network = network([column.num_inputs for column in [*context, *columns]], groups, **options)
        self.base_params = nn.ParameterList(nn.Parameter(torch.zeros(count, len(group))) for group, count in groups)
        """What is added to the network's outputs: parameters of the columns by themselves, or given what is linear in
        random others, to start with."""
        self.linear_inputs = inputs = LinearInputs(context, columns, linear)
        serves = inputs.targets and 2 <= len(inputs) <= MOST_INPUTS
        self.linear = LinearPart(inputs.owners, [*inputs.targets.values()], len(context)) if serves else None
        flat = [j for group in self.columns.positions for j in group]
        self.register_buffer("sequence", torch.arange(len(columns)))
        self.order_of_columns = list(range(len(columns)))
        self.register_load_state_dict_post_hook(_follow)
        self.add_constant("from_groups", sorted(range(len(flat)), key=flat.__getitem__), torch.int64)

    def initialize(self, table: Tensor) -> None:
        """Measure the columns and their correlations, and start from parameters that fit each column by itself, given
        what is linear in the others."""
        context, columns = self.split(table)
        self.context.initialize(context, fits_shape=False)  # they are seen alone
        linear = self.linear is not None and table.shape[1] >= FEWEST_ROWS
        self._start_from(self.columns.initialize(columns, fits_shape=not linear))
        if self.linear is None or not linear:
            return
        noisy = self.add_noise(table, torch.Generator(table.device).manual_seed(0))
        inputs = self.linear_inputs
        missing = table.isnan()[inputs.owners]
        places = self._places(noisy).masked_fill(missing, torch.nan)
        ranks = inputs.owners if self.order == "fixed" else None
        self.linear.measure(places, ranks)
        if self.linear.is_idle:
            self._start_from(self.columns.initialize(columns))
            return
        residuals = self.linear.residuals(places, ranks)
        for (j, i), u in zip(inputs.targets.items(), residuals, strict=True):
            u = u[~u.isnan()]
            u = u if len(u) >= FEWEST_ROWS else places[i][~places[i].isnan()]
            fitted = self.columns.column_type(j).fitted_params(u)
            if fitted is not None:
                k, column = self.columns.place[j]
                self.base_params[k][-len(fitted) :, column] = fitted

    def _start_from(self, params: Sequence[Tensor]) -> None:
        for base, measured in zip(self.base_params, params, strict=True):
            base.copy_(measured)

    def set_sequence(self, order: Sequence[int]) -> None:
        """Give the columns this order."""
        self.sequence.copy_(torch.tensor(order))
        self.order_of_columns = list(order)

    def _follow_buffers(self) -> None:
        if not self.sequence.is_meta:
            self.order_of_columns = self.sequence.tolist()

    @property
    def ranks(self) -> list[int]:
        """The place of each column in the order."""
        return sorted(range(len(self.columns)), key=self.order_of_columns.__getitem__)

    @property
    def num_params(self) -> int:
        """How many parameters the distributions of all columns have."""
        return sum(base.numel() for base in self.base_params)

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
        anchors = torch.cat([self.context.anchors, self.columns.anchors])
        return torch.where(observed & ~table.isnan(), table, anchors[:, None])

    def encode(self, table: Tensor) -> Encoded:
        """A table without missing entries as network and linear part see it."""
        context, columns = self.split(table)
        inputs = self.columns.encode(columns)
        inputs = torch.cat([self.context.encode(context), inputs]) if len(self.context) else inputs
        return Encoded(inputs, None if self.linear is None or self.linear.is_idle else self._places(table))

    def _places(self, table: Tensor) -> Tensor:
        return self.linear_inputs.of(table, self.context, self.columns)

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
        width = self.network.point_width * (len(self.columns) if self.order == "any" else 1)
        return max(16, ACTIVATIONS // width)

    # --- distributions

    def params(self, encoded: Encoded, observed: Tensor, columns: Sequence[int] | None = None) -> list[Tensor]:
        """Parameters of each group of columns, (num_params, columns of the group, n), given one set of observed
        entries (context and columns, n) a row; where ``columns`` are given, of those alone. Those of reals end with
        what is linear, where there is such a part."""
        ranks = list(range(len(observed))) if self.order == "fixed" else None
        if columns is None:
            params = self.network(encoded.inputs, observed, self.base_params)
            return self._with_linear(params, encoded, observed, ranks, self.columns.positions)
        inside = self._inside(columns)
        groups = [k for k, some in enumerate(inside) if some]
        shifts: list[Tensor] = list(self.base_params)
        outputs = iter(self.network(encoded.inputs, observed, [shifts[k] for k in groups], groups))
        params = [next(outputs)[:, some] if some else shifts[k][:, :0, None] for k, some in enumerate(inside)]
        chosen = [[group[i] for i in some] for group, some in zip(self.columns.positions, inside, strict=True)]
        return self._with_linear(params, encoded, observed, ranks, chosen)

    def params_of(self, j: int, encoded: Encoded, observed: Tensor) -> Tensor:
        """The parameters of one column, (num_params, 1, n)."""
        k, i = self.columns.place[j]
        base: Tensor = self.base_params[k]
        params = self.network.of_column(encoded.inputs, observed, k, i) + base[:, i : i + 1, None]
        if self.order == "fixed":
            observed = observed.clone()
            observed[len(self.context) + j :] = False
        return self._with_linear([params], encoded, observed, None, [[j]])[0]

    def _with_linear(
        self,
        params: list[Tensor],
        encoded: Encoded,
        observed: Tensor,
        ranks: Sequence[int] | None,
        columns: Sequence[Sequence[int]],
    ) -> list[Tensor]:
        """Parameters (num_params, columns, n) of some columns of groups, those of reals followed by the location and
        the log-scale that the linear part gives, with ranks of context and columns or without."""
        places, inputs = encoded.places, self.linear_inputs
        index = inputs.targets
        asked = [index[j] for some in columns for j in some if j in index]
        if self.linear is None or places is None or not asked:
            return params
        ranks = None if ranks is None else [ranks[place] for place in inputs.owners]
        parts = self.linear(places, observed[inputs.owners], ranks, asked)
        both = torch.stack([part.expand(-1, places.shape[1]) for part in parts])  # (2, asked, n)
        done, whole = 0, []
        for p, some in zip(params, columns, strict=True):
            if some and some[0] in index:
                p = torch.cat([p, both[:, done : done + len(some)].to(p.dtype)])
                done += len(some)
            whole.append(p)
        return whole

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
            parts = [(t, values, p) for (t, values), p in zip(self.columns.parts(x), params, strict=True)]
            return torch.cat(evaluated(method, parts)).index_select(0, self.from_groups)
        parts, places = [], []
        for (column_type, group), inside, p in zip(self.columns, self._inside(columns), params, strict=True):
            if inside:
                chosen = [group[i] for i in inside]
                parts.append((column_type.select(inside), x[chosen], p))
                places += chosen
        values = torch.cat(evaluated(method, parts))
        return values.new_zeros(x.shape).index_copy(0, torch.tensor(places, device=x.device), values)

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
            params = self.params(encoded, observed, some)
        else:
            params = self._params_by_rank(encoded, observed, ranks, columns)
        values = self.evaluate(method, table, params, some)
        return torch.where(self.split(observed)[1], values, 0.0)

    def _params_by_rank(
        self, encoded: Encoded, observed: Tensor, ranks: Sequence[int], columns: Sequence[int]
    ) -> list[Tensor]:
        """Parameters of some columns, each given the observed entries of lower rank."""
        first = len(self.context)
        places = torch.tensor([*[-1] * first, *ranks], device=observed.device)
        asked = [first + j for j in columns]
        before = places < places[asked, None]  # [k, j]: whether column asked[k] sees column j
        outputs = self.network.one_each(encoded.inputs, before[..., None] & observed, asked)
        inside = self._inside(columns)
        groups = zip(outputs, self.base_params, inside, strict=True)
        params = [output + base[:, some, None] for output, base, some in groups]
        chosen = [[group[i] for i in some] for group, some in zip(self.columns.positions, inside, strict=True)]
        return self._with_linear(params, encoded, observed, [*[-1] * first, *ranks], chosen)

    def _inside(self, columns: Sequence[int]) -> list[list[int]]:
        """Which columns of each group are among these, by their numbers in the group."""
        wanted = set(columns)
        return [[i for i, j in enumerate(group) if j in wanted] for group in self.columns.positions]


def _follow(network: ConditionalNetwork, _: object) -> None:
    """What a network does after it has loaded a state."""
    network._follow_buffers()

"""One exact autoregressive model of columns of many kinds, in one order or in any, with or without missing entries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.bijection import Kind
from pushforward.core.checks import one_of
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Product, holds_each
from pushforward.distributions.columns.column_distribution import ColumnDistribution
from pushforward.distributions.columns.discrete import ColumnType
from pushforward.distributions.mixed.calibration import calibrate_temperature, composite
from pushforward.distributions.mixed.conditional import MixedConditional
from pushforward.networks.subset import PrefixNetwork, SubsetNetwork

__all__ = ["MixedTypeModel"]

ENTRIES = 2**22  # of the widest activation of a piece of rows that is computed at once


@configurable
class MixedTypeModel(Distribution):
    r"""The joint law of the columns of a table: each column by its kind, given others through one network.

    .. math:: q(x) = \prod_{k=1}^D q(x_{\sigma(k)} \mid x_{\sigma(1)}, \dots, x_{\sigma(k-1)})

    With ``order="any"`` the network sees any set of columns and was trained on all of them: what is known comes first,
    the rest in the order of the columns. Every such order gives a normalised law; two orders agree as far as the
    network has learned to. With ``order="fixed"`` there is the one order of the columns, seen in one pass, and what is
    known can only be the first columns.

    A discrete column contributes a probability, a continuous one a density in its own units; their product is a density
    with respect to counting and length measures. Entries that are missing are left out of it: `fit` takes NaN for them,
    `log_marginal` a mask.

    One pass of the network a column gives a density with any order, one pass in all with a fixed one.

    Args:
        columns: the kind of each column, such as ``Continuous()`` or ``Categorical(3)``.
        context: kinds of columns that are always known, so that only the law of the others given them is learned. A
            value of theirs that is missing, or none that the kind can hold, is not looked at.
        order: ``"any"`` or ``"fixed"``.
        hidden: width of the network and its number of residual blocks, ``len(hidden) - 1``.
        activation: one of ``networks.ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.

    Shape:
        ``x``: (*batch, columns) in float64, ``context``: (*batch, columns of the context); categories as 0, 1, ... .

    References:
        | A Deep and Tractable Density Estimator (Uria, Murray, Larochelle, 2014), arXiv:1310.1757
        | Autoregressive Diffusion Models (Hoogeboom et al., 2022), arXiv:2110.02037

    >>> import torch
    >>> from pushforward.distributions import Categorical, Continuous, MixedTypeModel
    >>> model = MixedTypeModel([Continuous(), Categorical(2)])
    >>> model.given({0: 1.5}).log_prob(torch.tensor([[0.0], [1.0]], dtype=torch.float64)).exp().sum().item()
    1.0
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"columns": [{"type": "Continuous"}], "hidden": [8]},
        {
            "columns": [{"type": "Continuous"}, {"type": "Bounded", "univariate": {"type": "Affine"}}],
            "hidden": [12, 12],
            "activation": "silu",
            "dropout": 0.1,
        },
        {"columns": [{"type": "Continuous"}, {"type": "Circular"}], "hidden": [12, 12], "order": "fixed"},
        {
            "columns": [{"type": "Continuous"}, {"type": "Bounded", "univariate": {"type": "Affine"}}],
            "context": [{"type": "Continuous"}, {"type": "Categorical", "levels": 3}],
            "hidden": [12, 12],
        },
    )

    def __init__(
        self,
        columns: Sequence[ColumnType],
        *,
        context: Sequence[ColumnType] = (),
        order: str = "any",
        hidden: Sequence[int] = (128, 128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not columns or not all(isinstance(column, ColumnType) for column in columns):
            raise ValueError(
                f"MixedTypeModel: columns must be one or more kinds, such as Continuous(); got {columns!r}."
            )
        every = [*context, *columns]  # inside, the context comes first
        if not all(isinstance(column, ColumnType) for column in context):
            raise ValueError(f"MixedTypeModel: context must be kinds, such as Continuous(); got {context!r}.")
        if any(column.columns != 1 for column in every):
            raise ValueError("MixedTypeModel: each of columns must be one column; leave columns= of the kinds out.")
        one_of("MixedTypeModel", "order", order, ("any", "fixed"))
        self.order, self.offset = order, len(context)
        self.event_shape = (len(columns),)
        self.context_shape = (len(context),) if context else None
        self.support = Product(tuple(column.domain for column in columns))
        self.everything = Product(tuple(column.domain for column in every))
        # Columns of one kind are computed together.
        self.context_places = _together(context, 0)
        self.places = _together(columns, self.offset)
        self.context_kinds = nn.ModuleList(every[own[0]].beside(len(own)) for own in self.context_places)
        self.kinds = nn.ModuleList(every[own[0]].beside(len(own)) for own in self.places)
        self.group_of = {j: (k, i) for k, own in enumerate(self.places) for i, j in enumerate(own)}
        kinds: list[Any] = list(self.kinds)
        groups = [(own, kind.num_params) for own, kind in zip(self.places, kinds, strict=True)]
        network: Any = SubsetNetwork if order == "any" else PrefixNetwork
        self.network = network(
            [column.num_inputs for column in every], groups, hidden=hidden, activation=activation, dropout=dropout
        )
        self.starts = nn.ParameterList(nn.Parameter(torch.zeros(count, len(own))) for own, count in groups)
        # A buffer, so that a loaded model is not measured again.
        self.register_buffer("initialized", torch.tensor(False))
        flat = [j for own in self.places for j in own]
        self.add_constant("from_groups", sorted(range(len(flat)), key=flat.__getitem__), torch.int64)

    initialized: Tensor
    from_groups: Tensor
    network: Any
    reparametrized = False
    learns_from_missing = True

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def context_dtype(self) -> torch.dtype | None:
        return torch.float64 if self.context_shape else None

    @property
    def sample_kind(self) -> Kind:
        return "sequential"

    # --- densities

    def log_marginal(self, x: Tensor, observed: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Log-density of the entries that are observed, (*batch,); by default of those that are not NaN."""
        return self.contributions(x, observed, context=context).sum(dim=-1)

    def contributions(
        self,
        x: Tensor,
        observed: Tensor | None = None,
        order: Sequence[int] | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """log q of each entry given the observed ones before it, (*batch, columns): zero where it is missing,
        -inf where it is nothing that its column can hold.

        Args:
            x: (*batch, columns).
            observed: (*batch, columns), true where an entry is there; by default where it is not NaN.
            order: of the columns, where the model knows any.
            context: (*batch, columns of the context), NaN where it is missing.
        """
        self._check_rows("x", x)
        observed = ~x.isnan() if observed is None else observed & ~x.isnan()
        fits = holds_each(self.support, x)
        terms = self._in_order(self._whole(torch.where(observed & fits, x, torch.nan), context), self._ranks(order))
        return torch.where(observed, torch.where(fits, terms, -torch.inf), 0.0)

    def composite(self, x: Tensor, splits: int = 16, context: Tensor | None = None) -> Tensor:
        """log q of each entry given half of the other columns, the mean over random halves, (*batch, columns): zero
        where it is missing, -inf where it is nothing that its column can hold.

        Their sum is a composite log-likelihood. It has no order, every column is looked at in the light of many others,
        and it takes 2 ``splits`` passes of the network however many columns there are.

        References:
            | An Overview of Composite Likelihood Methods (Varin, Reid, Firth, 2011)
        """
        return composite(self, x, splits, context)

    def _check_rows(self, name: str, x: Tensor) -> None:
        if x.dtype != self.dtype:
            raise ValueError(
                f"MixedTypeModel: {name} must be float64, as tables are; got {x.dtype}. Use {name}.double()."
            )

    def _ranks(self, order: Sequence[int] | None = None) -> list[int]:
        """The place of each column in the order; the context, which all see, stands at -1."""
        (count,) = self.event_shape
        if order is not None and sorted(order) != list(range(count)):
            raise ValueError(f"MixedTypeModel: order must rearrange 0 .. {count - 1}; got {list(order)}.")
        if self.order == "fixed" and order is not None and list(order) != list(range(count)):
            raise ValueError(
                'MixedTypeModel: this model has one order of its columns. Build it with order="any" for others.'
            )
        own = range(count) if order is None else sorted(range(count), key=list(order).__getitem__)
        return [*[-1] * self.offset, *own]

    def _whole(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The context beside x; where there is none, or where it is nothing that its column can hold, NaN."""
        if not self.offset:
            return x
        if context is None:
            context = x.new_full((self.offset,), torch.nan)
        self._check_rows("context", context)
        fits = holds_each(Product(self.everything.parts[: self.offset]), context)
        context = torch.where(fits, context, torch.nan)
        batch = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
        return torch.cat([context.expand(*batch, -1), x.expand(*batch, -1)], dim=-1)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._in_order(self._whole(x, context), self._ranks()).sum(dim=-1)

    def _in_order(self, x: Tensor, ranks: Sequence[int], what: str = "log_prob") -> Tensor:
        """log q of each entry given those of lower rank, or another method of kinds: of x (*batch, context and
        columns), NaN where it is missing, (*batch, columns). Those of rank -1 are only seen, and contribute zero."""
        batch, count = x.shape[:-1], x.shape[-1]
        pieces = [self._of_piece(own.t(), ranks, what) for own in x.reshape(-1, count).split(self._rows())]
        return torch.cat(pieces, dim=-1).t().reshape(*batch, count - self.offset)

    def _rows(self) -> int:
        """How many rows are computed at once."""
        width = max(layer.weight.shape[0] for layer in [*self.network.layers, *self.network.last])
        return max(16, ENTRIES // (width * (self.event_shape[0] if self.order == "any" else 1)))

    def _of_piece(self, x: Tensor, ranks: Sequence[int], what: str) -> Tensor:
        observed = ~x.isnan()
        asked = [j for j, rank in enumerate(ranks) if rank >= 0]
        x = self._filled(x, observed)
        encoded = self._encode(x)
        if self.order == "fixed":
            params = self._only(self.network(encoded, observed), asked)
        else:
            places = torch.tensor(list(ranks), device=x.device)
            before = places < places[asked, None]  # [k, j]: whether column asked[k] sees column j
            params = self.network.one_each(encoded, before[..., None] & observed, asked)
        terms = self._terms(x, params, asked, what)
        return torch.where(observed[self.offset :], terms, 0.0)

    def _only(self, params: Sequence[Tensor], asked: Sequence[int]) -> Sequence[Tensor]:
        """Of the parameters of all columns, group by group, those of some."""
        if len(asked) == self.event_shape[0]:
            return params
        return [
            own[:, [i for i, j in enumerate(js) if j in asked]] for own, js in zip(params, self.places, strict=True)
        ]

    def _terms(self, x: Tensor, params: Sequence[Tensor], asked: Sequence[int], what: str = "log_prob") -> Tensor:
        """log q of the entries that are asked for by the parameters of their columns, or another method of their kind:
        (columns, n), zero elsewhere."""
        kinds: list[Any] = list(self.kinds)
        groups = zip(kinds, self.places, params, self.starts, strict=True)
        if len(asked) == self.event_shape[0]:
            found = [getattr(kind, what)(x[own], given + start[..., None]) for kind, own, given, start in groups]
            return torch.cat(found)[self.from_groups]
        found, at, wanted = [], [], set(asked)
        for kind, own, given, start in groups:
            inside = [i for i, j in enumerate(own) if j in wanted]
            if inside:
                which = [own[i] for i in inside]
                found.append(getattr(kind.some(inside), what)(x[which], given + start[:, inside, None]))
                at += which
        whole = found[0].new_zeros(self.event_shape[0], x.shape[1])
        return whole.index_copy(0, torch.tensor(at, device=x.device) - self.offset, torch.cat(found))

    def _filled(self, x: Tensor, observed: Tensor) -> Tensor:
        """x (columns, n) with points of the support in place of what is missing."""
        return torch.where(observed & ~x.isnan(), x, self.everything.anchor(x)[:, None])

    def _encode(self, x: Tensor) -> Tensor:
        """What the network sees of x (columns, n), column by column."""
        parts: list[Any] = [None] * len(x)
        kinds: list[Any] = [*self.context_kinds, *self.kinds]
        for kind, own in zip(kinds, [*self.context_places, *self.places], strict=True):
            for j, part in zip(own, kind.encode(x[own]).unbind(), strict=True):
                parts[j] = part
        return torch.cat(parts)

    # --- learning

    def estimate(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """With any order an unbiased estimate of the mean of `log_marginal` over all orders, in one pass: a random set
        of the observed entries is shown, and the others are asked for. NaN is missing. (*batch,)."""
        whole, batch = self._whole(x, context), x.shape[:-1]
        whole = self._disturbed(whole.reshape(-1, whole.shape[-1]).t())
        if self.order == "fixed":
            return self._in_order(whole.t(), self._ranks()).sum(dim=-1).reshape(batch)
        filled, seen, asked = self._random_sets(whole)
        params = self.network(self._encode(filled), seen)
        terms = self._terms(filled, params, range(self.offset, len(filled)))
        observed = ~whole[self.offset :].isnan()
        weight = observed.sum(dim=0) / asked.sum(dim=0).clamp(min=1)
        return (torch.where(asked, terms, 0.0).sum(dim=0) * weight).reshape(batch)

    def _random_sets(self, whole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of context and columns (all, n): filled in, what is shown of them, and which columns (columns, n) are asked
        for: those that are there and not shown, of which there is at least one."""
        there = ~whole.isnan()
        observed = there[self.offset :]
        chance = torch.rand(observed.shape, device=whole.device).masked_fill(~observed, torch.inf)
        place = chance.argsort(dim=0).argsort(dim=0)  # observed entries first, in random order
        total = observed.sum(dim=0)
        shown = (torch.rand(total.shape, device=whole.device) * total).floor().clamp(max=(total - 1).clamp(min=0))
        seen = observed & (place < shown)
        return self._filled(whole, there), torch.cat([there[: self.offset], seen]), observed & ~seen

    def _disturbed(self, x: Tensor) -> Tensor:
        """What is learned from the columns x (columns, n)."""
        kinds: list[Any] = [*self.context_kinds, *self.kinds]
        if not any(kind.smoothing for kind in kinds):
            return x
        x = x.clone()
        for kind, own in zip(kinds, [*self.context_places, *self.places], strict=True):
            x[own] = kind.add_noise(x[own])
        return x

    def calibrate_temperature(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Make each column's law less sure of itself, or surer, by one number a column, as fits rows that were not
        learned from: laws that were learned from few rows are too narrow. Gives the numbers (columns,), about the
        logarithms of how much wider the laws are; 0 where a kind cannot be changed so.

        References:
            | On Calibration of Modern Neural Networks (Guo et al., 2017), arXiv:1706.04599
        """
        return calibrate_temperature(self, x, context)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        if bool(self.initialized):
            return
        columns = self._whole(x, context).reshape(-1, len(self.everything.parts)).t()
        seen = ~columns.isnan()
        kinds: list[Any] = list(self.kinds)
        for kind, own, start in zip(kinds, self.places, self.starts, strict=True):
            start.copy_(kind.initialize(columns[own], seen[own]))
        context_kinds: list[Any] = list(self.context_kinds)
        for kind, own in zip(context_kinds, self.context_places, strict=True):
            kind.initialize(columns[own], seen[own])
        self.initialized.fill_(True)

    # --- conditionals and samples

    def given(self, known: Tensor | Mapping[int, Any], context: Tensor | None = None) -> MixedConditional:
        """The law of the other columns, given some: any of them with any order, the first ones with a fixed one.

        Args:
            known: the value of each known column by its number, numbers or tensors of shape (*batch,); or a tensor
                (*batch, k) of the first k columns.
            context: (*batch, columns of the context), where the model has one; what is missing of it is NaN.
        """
        (count,) = self.event_shape
        if isinstance(known, Tensor):
            if known.ndim < 1 or not 1 <= known.shape[-1] < count:
                raise ValueError(
                    f"MixedTypeModel: known must hold 1 to {count - 1} columns; got shape {tuple(known.shape)}."
                )
            known = dict(enumerate(known.unbind(dim=-1)))
        return MixedConditional(self, known, context)

    def column_marginal(self, j: int, context: Tensor | None = None) -> ColumnDistribution:
        """The law of one column by itself, as the model has it; given a context one for each row of that."""
        return self.given({}, context).column_marginal(j)

    def full_conditional(self, x: Tensor, j: int, context: Tensor | None = None) -> ColumnDistribution:
        """The law of column j in each row of x (*batch, columns), given all else that is there; order "any" only."""
        if self.order == "fixed":
            raise ValueError(
                'MixedTypeModel: with one order a column is known by those before it. Build it with order="any".'
            )
        return self._law(x, j, context, slice(j, j + 1))

    def next_conditional(self, x: Tensor, j: int, context: Tensor | None = None) -> ColumnDistribution:
        """The law of column j in each row of x (*batch, columns), given what is there of the columns before it."""
        return self._law(x, j, context, slice(j, None))

    def _law(self, x: Tensor, j: int, context: Tensor | None, hidden: slice) -> ColumnDistribution:
        self._check_rows("x", x)
        whole = self._whole(torch.where(holds_each(self.support, x), x, torch.nan), context)
        rows = whole.reshape(-1, whole.shape[-1]).t()
        seen = ~rows.isnan()
        seen[self.offset :][hidden] = False
        params = self._params_of(j, self._encode(self._filled(rows, seen)), seen)
        return ColumnDistribution(self.kind_of(j), params, whole.shape[:-1])

    def order_spread(self, x: Tensor, orders: Sequence[Sequence[int]], context: Tensor | None = None) -> Tensor:
        """The standard deviation of the log-density of each row of x (*batch, columns) between these orders of the
        columns, in nats, (*batch,): what order "any" leaves undecided."""
        each = [self.contributions(x, order=order, context=context).sum(dim=-1) for order in orders]
        return torch.stack(each).std(dim=0)

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """F(x_j | x_<j) of each entry, (*batch, columns): P(X ≤ x), which for a discrete column includes x itself."""
        return self._distribution(x, context, "cdf")

    def mid_cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The same with half of the probability of x itself, so that `from_middle_cdf` takes it back."""
        return self._distribution(x, context, "mid_cdf")

    def _distribution(self, x: Tensor, context: Tensor | None, what: str) -> Tensor:
        self._check_rows("x", x)
        found = self._in_order(self._whole(x, context), self._ranks(), what)
        return torch.where(x.isnan(), torch.nan, found)

    @torch.no_grad()
    def from_middle_cdf(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """The inverse of `mid_cdf`, one column after the other, (*batch, columns)."""
        (count,) = self.event_shape
        levels, eps = u.reshape(-1, count).t(), torch.finfo(self.starts[0].dtype).eps
        drawn = levels.clamp(eps, 1 - eps).to(self.starts[0].dtype)
        blank = torch.full_like(u, torch.nan)
        return self._fill_in(blank, context, lambda j, kind, params, rows: kind.icdf(drawn[j, rows][None], params)[0])

    def impute(self, x: Tensor, generator: torch.Generator | None = None, context: Tensor | None = None) -> Tensor:
        """x (*batch, columns) with its NaNs drawn given what is there, one column after the other."""
        return self._fill_in(x, context, lambda j, kind, params, rows: kind.sample(params, generator)[0])

    @torch.no_grad()
    def expected(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (*batch, columns) with the mean in place of each NaN given what is there; of whole numbers the median, of
        categories the likeliest."""

        def centre(j: int, kind: ColumnType, params: Tensor, rows: Tensor) -> Tensor:
            return ColumnDistribution(kind, params, (len(rows),)).centre()

        return self._fill_in(x, context, centre, see=False)

    def _params_of(self, j: int, encoded: Tensor, seen: Tensor) -> Tensor:
        """Parameters (num_params, 1, n) of one column given what is seen."""
        k, i = self.group_of[self.offset + j]
        params = self.network(encoded, seen, only=k)[0][:, i : i + 1]
        start: Tensor = self.starts[k]
        return params + start[:, i : i + 1, None]

    def kind_of(self, j: int) -> ColumnType:
        """The kind of one column, with what was measured of it."""
        k, i = self.group_of[self.offset + j]
        kind: Any = self.kinds[k]
        one: ColumnType = kind.one(i)
        return one

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        blank = torch.full((*batch, *self.event_shape), torch.nan, dtype=self.dtype, device=self.initialized.device)
        return self.impute(blank, generator, context)

    @torch.no_grad()
    def _fill_in(
        self,
        x: Tensor,
        context: Tensor | None,
        pick: Callable[[int, ColumnType, Tensor, Tensor], Tensor],
        *,
        see: bool = True,
    ) -> Tensor:
        """x (*batch, columns) with its NaNs replaced, one column after the other, by what ``pick`` makes of the number
        of the column, its kind, its parameters (num_params, 1, n) and the numbers of the n rows. ``see``: whether later
        columns see what was picked."""
        whole = self._whole(x, context)
        out = whole.reshape(-1, whole.shape[-1]).t().clone()
        for rows in torch.arange(out.shape[1], device=x.device).split(self._rows()):
            seen = ~out[:, rows].isnan()
            for j in range(self.event_shape[0]):
                at = self.offset + j
                blank = ~seen[at]
                if not bool(blank.any()):
                    continue
                own = rows[blank]
                encoded = self._encode(self._filled(out[:, own], seen[:, blank]))
                params = self._params_of(j, encoded, seen[:, blank])
                out[at, own] = pick(j, self.kind_of(j), params, own).to(out.dtype)
                if see:
                    seen[at] = True
        return out[self.offset :].t().reshape(*whole.shape[:-1], *self.event_shape)


def _together(columns: Sequence[ColumnType], first: int) -> list[list[int]]:
    """The numbers of the columns of each kind, counted from ``first``."""
    places: dict[str, list[int]] = {}
    for j, column in enumerate(columns, first):
        places.setdefault(json.dumps(column.config, sort_keys=True), []).append(j)
    return list(places.values())

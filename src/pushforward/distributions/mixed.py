"""One exact autoregressive model of columns of many kinds, in one order or in any, with or without missing entries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.bijection import Kind
from pushforward.core.checks import check_dtype, one_of
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Product, contains_each
from pushforward.distributions.kinds import Column
from pushforward.distributions.mixed_given import MixedConditional
from pushforward.distributions.of_column import ColumnLaw
from pushforward.networks.subset import PrefixNetwork, SubsetNetwork

__all__ = ["Mixed"]

ENTRIES = 2**22  # of the widest activation of a piece of rows that is computed at once


@configurable
class Mixed(Distribution):
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
        order: ``"any"`` or ``"fixed"``.
        hidden: width of the network and its number of residual blocks, ``len(hidden) - 1``.
        activation: one of ``networks.ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.

    Shape:
        ``x``: (*batch, columns) in float64; categories as 0, 1, ... .

    References:
        | A Deep and Tractable Density Estimator (Uria, Murray, Larochelle, 2014), arXiv:1310.1757
        | Autoregressive Diffusion Models (Hoogeboom et al., 2022), arXiv:2110.02037

    >>> import torch
    >>> from pushforward.distributions import Categorical, Continuous, Mixed
    >>> model = Mixed([Continuous(), Categorical(2)])
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
    )

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        order: str = "any",
        hidden: Sequence[int] = (128, 128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not columns or not all(isinstance(column, Column) for column in columns):
            raise ValueError(f"Mixed: columns must be one or more kinds, such as Continuous(); got {columns!r}.")
        if any(column.columns != 1 for column in columns):
            raise ValueError("Mixed: each of columns must be one column; leave columns= of the kinds out.")
        one_of("Mixed", "order", order, ("any", "fixed"))
        self.order = order
        self.event_shape = (len(columns),)
        self.support = Product(tuple(column.domain for column in columns))
        # Columns of one kind are computed together.
        places: dict[str, list[int]] = {}
        for j, column in enumerate(columns):
            places.setdefault(json.dumps(column.config, sort_keys=True), []).append(j)
        self.places = list(places.values())
        self.kinds = nn.ModuleList(columns[own[0]].beside(len(own)) for own in self.places)
        self.group_of = {j: (k, i) for k, own in enumerate(self.places) for i, j in enumerate(own)}
        kinds: list[Any] = list(self.kinds)
        groups = [(own, kind.num_params) for own, kind in zip(self.places, kinds, strict=True)]
        network: Any = SubsetNetwork if order == "any" else PrefixNetwork
        self.network = network(
            [column.num_inputs for column in columns], groups, hidden=hidden, activation=activation, dropout=dropout
        )
        self.starts = nn.ParameterList(nn.Parameter(torch.zeros(count, len(own))) for own, count in groups)
        # A buffer, so that a loaded model is not measured again.
        self.register_buffer("initialized", torch.tensor(False))
        flat = [j for own in self.places for j in own]
        self.register_buffer("from_groups", torch.tensor(flat).argsort(), persistent=False)

    initialized: Tensor
    from_groups: Tensor
    network: Any
    reparametrized = False
    learns_from_missing = True

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def sample_kind(self) -> Kind:
        return "sequential"

    # --- densities

    def log_marginal(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Log-density of the entries that are observed, (*batch,); by default of those that are not NaN."""
        return self.contributions(x, observed).sum(dim=-1)

    def contributions(self, x: Tensor, observed: Tensor | None = None, order: Sequence[int] | None = None) -> Tensor:
        """log q of each entry given the observed ones before it, (*batch, columns): zero where it is missing,
        -inf where it is nothing that its column can hold.

        Args:
            x: (*batch, columns).
            observed: (*batch, columns), true where an entry is there; by default where it is not NaN.
            order: of the columns, where the model knows any.
        """
        check_dtype("Mixed", "x", x, self.dtype)
        observed = ~x.isnan() if observed is None else observed & ~x.isnan()
        fits = contains_each(self.support, x) & (x.abs() < torch.inf)
        terms = self._in_order(torch.where(fits, x, torch.nan), observed, self._ranks(order))
        bad = observed & ~fits
        return torch.where(bad, -torch.inf, terms)

    def _ranks(self, order: Sequence[int] | None) -> Tensor:
        """The place of each column in the order."""
        (count,) = self.event_shape
        if order is None:
            return torch.arange(count)
        if sorted(order) != list(range(count)):
            raise ValueError(f"Mixed: order must rearrange 0 .. {count - 1}; got {list(order)}.")
        if self.order == "fixed" and list(order) != list(range(count)):
            raise ValueError('Mixed: this model has one order of its columns. Build it with order="any" for others.')
        return torch.tensor(list(order)).argsort()

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._in_order(x, torch.ones_like(x, dtype=torch.bool), self._ranks(None)).sum(dim=-1)

    def _in_order(
        self, x: Tensor, observed: Tensor, ranks: Tensor, known: Tensor | None = None, what: str = "log_prob"
    ) -> Tensor:
        """`contributions` of x (*batch, columns), or another method of kinds than ``log_prob``. Those of ``known``
        (columns,) are seen by all others and contribute zero."""
        batch, (count,) = x.shape[:-1], self.event_shape
        rows, masks = x.reshape(-1, count), observed.reshape(-1, count)
        pieces = [
            self._of_piece(own.t(), mask.t(), ranks.to(x.device), known, what)
            for own, mask in zip(rows.split(self._rows()), masks.split(self._rows()), strict=True)
        ]
        return torch.cat(pieces, dim=-1).t().reshape(*batch, count)

    def _rows(self) -> int:
        """How many rows are computed at once."""
        width = max(layer.weight.shape[0] for layer in [*self.network.layers, *self.network.last])
        return max(16, ENTRIES // (width * (self.event_shape[0] if self.order == "any" else 1)))

    def _of_piece(self, x: Tensor, observed: Tensor, ranks: Tensor, known: Tensor | None, what: str) -> Tensor:
        x = self._filled(x, observed)
        encoded = self._encode(x)
        if self.order == "fixed":
            params = self.network(encoded, observed)
        else:
            before = ranks[None, :] < ranks[:, None]  # [k, j]: whether column k sees column j
            if known is not None:
                before = (before & ~known[:, None]) | known
                before = before & ~torch.eye(len(ranks), dtype=torch.bool, device=ranks.device)
            params = self.network.one_each(encoded, before[..., None] & observed)
        counted = observed if known is None else observed & ~known[:, None]
        return torch.where(counted, self._terms(x, params, what), 0.0)

    def _terms(self, x: Tensor, params: Sequence[Tensor], what: str = "log_prob") -> Tensor:
        """log q of each entry by the parameters of its column, (columns, n), or another method of its kind."""
        found = [
            getattr(kind, what)(x[own], given + start[..., None])
            for kind, own, given, start in zip(self.kinds, self.places, params, self.starts, strict=True)
        ]
        return torch.cat(found)[self.from_groups]

    def _filled(self, x: Tensor, observed: Tensor) -> Tensor:
        """x (columns, n) with points of the support in place of what is missing."""
        return torch.where(observed & ~x.isnan(), x, self.support.anchor(x)[:, None])

    def _encode(self, x: Tensor) -> Tensor:
        """What the network sees of x (columns, n), column by column."""
        parts: list[Any] = [None] * len(x)
        kinds: list[Any] = list(self.kinds)
        for kind, own in zip(kinds, self.places, strict=True):
            for j, part in zip(own, kind.encode(x[own]).unbind(), strict=True):
                parts[j] = part
        return torch.cat(parts)

    # --- learning

    def estimate(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """With any order an unbiased estimate of the mean of `log_marginal` over all orders, in one pass: a random set
        of the observed entries is shown, and the others are asked for. NaN is missing. (*batch,)."""
        observed = ~x.isnan()
        if self.order == "fixed":
            return self._in_order(x, observed, self._ranks(None)).sum(dim=-1)
        batch, (count,) = x.shape[:-1], self.event_shape
        x, observed = x.reshape(-1, count).t(), observed.reshape(-1, count).t()
        chance = torch.rand(observed.shape, device=x.device).masked_fill(~observed, torch.inf)
        place = chance.argsort(dim=0).argsort(dim=0)  # observed entries first, in random order
        total = observed.sum(dim=0)
        shown = (torch.rand(total.shape, device=x.device) * total).floor().clamp(max=(total - 1).clamp(min=0))
        seen = observed & (place < shown)
        asked = observed & ~seen
        filled = self._filled(x, observed)
        terms = self._terms(filled, self.network(self._encode(filled), seen))
        weight = total / (total - shown).clamp(min=1)
        return (torch.where(asked, terms, 0.0).sum(dim=0) * weight).reshape(batch)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        if bool(self.initialized):
            return
        columns = x.reshape(-1, *self.event_shape).t()
        seen = ~columns.isnan()
        kinds: list[Any] = list(self.kinds)
        for kind, own, start in zip(kinds, self.places, self.starts, strict=True):
            start.copy_(kind.initialize(columns[own], seen[own]))
        self.initialized.fill_(True)

    # --- conditionals and samples

    def given(self, known: Tensor | Mapping[int, Any]) -> MixedConditional:
        """The law of the other columns, given some: any of them with any order, the first ones with a fixed one.

        Args:
            known: the value of each known column by its number, numbers or tensors of shape (*batch,); or a tensor
                (*batch, k) of the first k columns.
        """
        (count,) = self.event_shape
        if isinstance(known, Tensor):
            if known.ndim < 1 or not 1 <= known.shape[-1] < count:
                raise ValueError(f"Mixed: known must hold 1 to {count - 1} columns; got shape {tuple(known.shape)}.")
            known = dict(enumerate(known.unbind(dim=-1)))
        return MixedConditional(self, known)

    def law_of(self, j: int) -> ColumnLaw:
        """The law of one column by itself, as the model has it."""
        return self.given({}).law_of(j)

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """F(x_j | x_<j) of each entry, (*batch, columns): P(X ≤ x), which for a discrete column includes x itself."""
        return self._distribution(x, "cdf")

    def middle_cdf(self, x: Tensor) -> Tensor:
        """The same with half of the probability of x itself, so that `from_middle_cdf` takes it back."""
        return self._distribution(x, "middle_cdf")

    def _distribution(self, x: Tensor, what: str) -> Tensor:
        check_dtype("Mixed", "x", x, self.dtype)
        observed = ~x.isnan()
        found = self._in_order(x, observed, self._ranks(None), what=what)
        return torch.where(observed, found, torch.nan)

    @torch.no_grad()
    def from_middle_cdf(self, u: Tensor) -> Tensor:
        """The inverse of `middle_cdf`, one column after the other, (*batch, columns)."""
        (count,) = self.event_shape
        levels, eps = u.reshape(-1, count).t(), torch.finfo(self.starts[0].dtype).eps
        drawn = levels.clamp(eps, 1 - eps).to(self.starts[0].dtype)
        blank = torch.full_like(u, torch.nan)
        return self._fill_in(blank, lambda j, kind, params, rows: kind.icdf(drawn[j, rows][None], params)[0])

    def impute(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """x (*batch, columns) with its NaNs drawn given what is there, one column after the other."""
        return self._fill_in(x, lambda j, kind, params, rows: kind.sample(params, generator)[0])

    @torch.no_grad()
    def expected(self, x: Tensor) -> Tensor:
        """x (*batch, columns) with the mean in place of each NaN given what is there; of whole numbers the median, of
        categories the likeliest."""
        return self._fill_in(x, lambda j, kind, params, rows: ColumnLaw(kind, params, (len(rows),)).centre(), see=False)

    def _params_of(self, j: int, encoded: Tensor, seen: Tensor) -> Tensor:
        """Parameters (num_params, 1, n) of one column given what is seen."""
        k, i = self.group_of[j]
        params = self.network(encoded, seen, only=k)[0][:, i : i + 1]
        start: Tensor = self.starts[k]
        return params + start[:, i : i + 1, None]

    def _kind_of(self, j: int) -> Column:
        """The kind of one column, with what was measured of it."""
        k, i = self.group_of[j]
        kind: Any = self.kinds[k]
        one: Column = kind.one(i)
        return one

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        blank = torch.full((*batch, *self.event_shape), torch.nan, dtype=self.dtype, device=self.from_groups.device)
        return self.impute(blank, generator)

    @torch.no_grad()
    def _fill_in(self, x: Tensor, pick: Callable[[int, Column, Tensor, Tensor], Tensor], *, see: bool = True) -> Tensor:
        """x (*batch, columns) with its NaNs replaced, one column after the other, by what ``pick`` makes of the number
        of the column, its kind, its parameters (num_params, 1, n) and the numbers of the n rows. ``see``: whether later
        columns see what was picked."""
        (count,) = self.event_shape
        out = x.reshape(-1, count).t().clone()
        for rows in torch.arange(out.shape[1], device=x.device).split(self._rows()):
            seen = ~out[:, rows].isnan()
            for j in range(count):
                blank = ~seen[j]
                if not bool(blank.any()):
                    continue
                own = rows[blank]
                encoded = self._encode(self._filled(out[:, own], seen[:, blank]))
                params = self._params_of(j, encoded, seen[:, blank])
                out[j, own] = pick(j, self._kind_of(j), params, own).to(out.dtype)
                if see:
                    seen[j] = True
        return out.t().reshape(x.shape)

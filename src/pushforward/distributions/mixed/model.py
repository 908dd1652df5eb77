"""One exact autoregressive model of columns of many types, in one order or in any, with or without missing entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.checks import at_least, check_context
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.entries import holds_each
from pushforward.distributions.columns.column_distribution import ColumnDistribution
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.mixed import sampling
from pushforward.distributions.mixed.calibration import calibrate_temperature
from pushforward.distributions.mixed.checks import check_columns, check_order, refuse_fixed, refuse_gaps
from pushforward.distributions.mixed.conditional import MixedConditional
from pushforward.distributions.mixed.evaluation import ColumnMethod
from pushforward.distributions.mixed.network import ConditionalNetwork, check_rows
from pushforward.distributions.mixed.order import choose_order
from pushforward.distributions.mixed.random_sets import any_order_estimate, composite_values, hide_at_random

__all__ = ["MixedTypeModel"]


@configurable
class MixedTypeModel(Distribution):
    r"""The joint distribution of the columns of a table, each with its own type: one network gives the parameters of
    each column's distribution given others.

    .. math:: q(x) = \prod_{k=1}^D q(x_{\sigma(k)} \mid x_{\sigma(1)}, \dots, x_{\sigma(k-1)})

    With ``order="any"`` the network is trained with random sets of observed columns, and any columns can be given: they
    come first, then the others in one order, that of the columns unless `choose_order` finds a better one. Every order
    gives a normalised distribution; two agree as far as the network has learned to (`order_spread`). With
    ``order="fixed"`` there is one order, that of the columns, computed in one pass, and only the first columns can be
    given. Then entries may be missing before observed ones only in columns that had gaps: others were never
    marginalised.

    A discrete column contributes a probability, a continuous one a density in its own units; their product is a density
    with respect to counting and Lebesgue measures. Entries that are missing are marginalised: `fit` takes NaN for them,
    `log_marginal` a mask.

    A density costs one pass of the network for each column with any order, one pass in all with a fixed one.

    Args:
        columns: the type of each column, such as ``Continuous()`` or ``Categorical(3)``.
        context: types of columns that are always conditioned on, so that only the distribution of the others given them
            is learned. Values that are missing, or that their type cannot hold, are ignored.
        order: ``"any"`` or ``"fixed"``.
        hidden: width of the network and its number of residual blocks, ``len(hidden) - 1``.
        activation: one of ``networks.ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.
        hide_context: share of the training rows of which random entries of the context are hidden.
        conditioner: ``"residual"`` (a perceptron) or ``"attention"`` (a transformer whose tokens are the columns).
        linear: what reals are linear in before a network learns: the other ``"reals"``, ``"categories"`` as well, or
            ``"all"``, with numbers that have a probability of their own: the more, the fewer rows a table has.

    Shape:
        ``x``: (*batch, columns) in float64, ``context``: (*batch, columns of the context); categories as 0, 1, ... .

    Raises:
        ValueError: there is no column, a type stands for several columns or is none, or there is no such choice.

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
            "hidden": [12, 12], "activation": "silu", "dropout": 0.1,
        },
        {"columns": [{"type": "Continuous"}, {"type": "Circular"}], "hidden": [12, 12], "order": "fixed"},
        {"columns": [{"type": "Continuous"}, {"type": "Circular"}], "hidden": [8, 8], "conditioner": "attention"},
        {
            "columns": [{"type": "Continuous"}, {"type": "Bounded", "univariate": {"type": "Affine"}}],
            "context": [{"type": "Continuous"}, {"type": "Categorical", "levels": 3}],
            "hidden": [12, 12], "hide_context": 0.2, "linear": "all",
        },
    )  # fmt: skip

    def __init__(
        self,
        columns: Sequence[ColumnType],
        *,
        context: Sequence[ColumnType] = (),
        order: str = "any",
        hidden: Sequence[int] = (128, 128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
        hide_context: float = 0.0,
        conditioner: str = "residual",
        linear: str = "reals",
    ) -> None:
        super().__init__()
        check_columns(columns, context, hide_context, order, linear)
        options: Any = {"hidden": hidden, "activation": activation, "dropout": dropout}
        options |= {"conditioner": conditioner, "order": order, "linear": linear}
        self.order, self.event_shape, self.hide_context = order, (len(columns),), float(hide_context)
        self.context_shape = (len(context),) if context else None
        self.network = ConditionalNetwork(columns, context, **options)
        self.support = self.network.support
        self.register_buffer("initialized", torch.tensor(False))
        self.register_buffer("had_gaps", torch.zeros(len(columns), dtype=torch.bool))

    initialized: Tensor
    had_gaps: Tensor
    """Which columns had missing entries when the model was initialized."""
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

    @property
    def is_constant(self) -> bool:
        """Whether all columns are constant, so that there is nothing to learn."""
        return not any(base.numel() for base in self.network.base_params)

    def column_type(self, j: int) -> ColumnType:
        """The type of column j, with the statistics measured of it."""
        if not 0 <= j < len(self.network.columns):
            raise ValueError(f"MixedTypeModel: columns are numbered 0 .. {len(self.network.columns) - 1}; got {j!r}.")
        return self.network.columns.column_type(j)

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
        -inf where its column cannot hold it.

        Args:
            x: (*batch, columns).
            observed: (*batch, columns), true where an entry is observed; by default where it is not NaN.
            order: of the columns, where the model was built with any; by default that of the model.
            context: (*batch, columns of the context), NaN where it is missing.
        """
        check_rows("x", x, len(self.network.columns))
        ranks = self._ranks(order)
        observed = ~x.isnan() if observed is None else observed & ~x.isnan()
        refuse_gaps(self.order, observed, self.had_gaps)
        fits = holds_each(self.support, x)
        rows = self.network.join(torch.where(observed & fits, x, torch.nan), context)
        terms = self.network.contributions(rows, ranks)
        return torch.where(observed, torch.where(fits, terms, -torch.inf), 0.0)

    @torch.no_grad()
    def composite(
        self, x: Tensor, splits: int = 16, context: Tensor | None = None, method: ColumnMethod = "log_prob"
    ) -> Tensor:
        """log q (or another ``method``) of each entry given half of the other columns, the mean over random halves, or
        by itself with no split, (*batch, columns): zero where it is missing, -inf where its column cannot hold it.

        Their sum is a composite log-likelihood (Varin, Reid, Firth, 2011). It depends on no order, compares every
        column with many others, and costs 2 ``splits`` passes of the network however many columns there are.
        """
        check_rows("x", x, len(self.network.columns))
        at_least("MixedTypeModel", "splits", splits, 0)
        refuse_fixed(self.order, "composite")
        fits = holds_each(self.support, x)
        rows = self.network.join(torch.where(fits, x, torch.nan), context)
        terms = composite_values(self.network, rows, splits, method)
        return torch.where(fits | x.isnan(), terms, -torch.inf)

    def order_spread(self, x: Tensor, orders: Sequence[Sequence[int]], context: Tensor | None = None) -> Tensor:
        """The standard deviation of the log-density of each row of x (*batch, columns) between these orders, in nats,
        (*batch,): how far orders that were learned together disagree."""
        return torch.stack([self.contributions(x, order=o, context=context).sum(dim=-1) for o in orders]).std(dim=0)

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """F(x_j | x_<j) of each entry, (*batch, columns): P(X ≤ x), which for a discrete column includes x itself."""
        return self._in_order("cdf", x, context)

    def mid_cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The mid-distribution function of each entry given those before it, (*batch, columns): `cdf` less half of the
        probability of x itself, so that `from_mid_cdf` takes it back."""
        return self._in_order("mid_cdf", x, context)

    def _in_order(self, method: ColumnMethod, x: Tensor, context: Tensor | None) -> Tensor:
        check_rows("x", x, len(self.network.columns))
        values = self.network.contributions(self.network.join(x, context), self._ranks(), method)
        return torch.where(x.isnan(), torch.nan, values)

    def _ranks(self, order: Sequence[int] | None = None) -> list[int]:
        """The place of each column in the order."""
        if order is None:
            return self.network.ranks
        check_order(order, len(self.network.columns), self.order)
        return sorted(range(len(order)), key=list(order).__getitem__)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.network.contributions(self.network.join(x, context), self._ranks()).sum(dim=-1)

    # --- learning

    @property
    def draws_estimates(self) -> bool:  # type: ignore[override]
        hides = self.hide_context > 0 and self.context_shape is not None
        return self.order == "any" or hides or self.network.columns.smoothed or self.network.context.smoothed

    def _estimate_log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """`log_marginal` with a fixed order; with any order an unbiased estimate of its mean over all orders, in one
        pass. NaN is missing; columns that are smoothed get their noise."""
        rows = self.network.join(x, context)
        table = self.network.add_noise(rows.reshape(-1, rows.shape[-1]).t(), generator)
        if self.hide_context and self.context_shape and self.training:  # judged is what the whole context says
            table = hide_at_random(table, len(self.network.context), self.hide_context, generator)
        if self.order == "fixed":
            log_prob = self.network.contributions(table.t(), self._ranks()).sum(dim=-1)
        else:
            log_prob = any_order_estimate(self.network, table, generator)
        return log_prob.reshape(rows.shape[:-1])

    @torch.no_grad()
    def calibrate_temperature(self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """Make the distribution of each column less confident, or more, by one factor a column, as fits held-out rows
        x (*batch, columns) with weights (*batch,): distributions learned from few rows are too narrow.

        Returns:
            log-temperatures (columns,), about the logarithms of how much wider distributions are; 0 for fixed types.

        References:
            | On Calibration of Modern Neural Networks (Guo et al., 2017), arXiv:1706.04599
        """
        check_rows("x", x, len(self.network.columns))
        rows = self.network.join(x, context)
        at_least("MixedTypeModel", "the number of rows to calibrate with", rows[..., 0].numel(), 1)
        weights = None if weights is None else weights.to(torch.float64).expand(rows.shape[:-1]).reshape(-1)
        return calibrate_temperature(self.network, rows.reshape(-1, rows.shape[-1]), weights)

    def choose_order(self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> list[int]:
        """Give the model the order of its columns in which rows x (*batch, columns), with weights (*batch,), are
        likeliest among those that moving single columns leads to, where it was built with any; and return it."""
        if self.order == "any":
            check_rows("x", x, len(self.network.columns))
            rows = self.network.join(torch.where(holds_each(self.support, x), x, torch.nan), context)
            self.network.set_sequence(choose_order(self.network, rows, weights))
        return list(self.network.order_of_columns)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        if bool(self.initialized):
            return
        self.had_gaps |= x.isnan().reshape(-1, x.shape[-1]).any(dim=0)
        rows = self.network.join(x, context)
        self.network.initialize(rows.reshape(-1, rows.shape[-1]).t())
        self.initialized.fill_(True)

    # --- conditional distributions, and what is drawn from them

    def given(self, observed: Tensor | Mapping[int, Any], context: Tensor | None = None) -> MixedConditional:
        """The distribution of the other columns: given any of them with any order, the first ones with a fixed one.

        Args:
            observed: the value of each observed column by its number, numbers or tensors of shape (*batch,); or a
                tensor (*batch, k) of the first k columns.
            context: (*batch, columns of the context), where the model has one; NaN where it is missing.
        """
        if isinstance(observed, Tensor):
            count = len(self.network.columns)
            if observed.ndim < 1 or not 1 <= observed.shape[-1] < count:
                raise ValueError(
                    f"MixedTypeModel: observed must hold 1 to {count - 1} columns; got shape {tuple(observed.shape)}."
                )
            observed = dict(enumerate(observed.unbind(dim=-1)))
        return MixedConditional(self.network, observed, context)

    def condition(self, context: Tensor) -> MixedConditional:
        """This distribution with its context fixed; columns can be given as well: ``condition(c).given({0: 1.0})``."""
        check_context("MixedTypeModel", context, self.context_shape)
        return self.given({}, context)

    def column_marginal(self, j: int, context: Tensor | None = None) -> ColumnDistribution:
        """The distribution of one column by itself; given a context one for each of its rows. How far it agrees with
        `log_prob` is measured by `MixedConditional.marginal_discrepancy` of ``given({})``."""
        return self.given({}, context).column_marginal(j)

    def full_conditional(self, x: Tensor, j: int, context: Tensor | None = None) -> ColumnDistribution:
        """The distribution of column j in each row of x (*batch, columns) given its other entries that are not NaN;
        with order "any" only."""
        refuse_fixed(self.order, "full_conditional", ", or use next_conditional")
        return self._conditional(x, j, context, [j])

    def next_conditional(self, x: Tensor, j: int, context: Tensor | None = None) -> ColumnDistribution:
        """The distribution of column j in each row of x (*batch, columns) given the entries before it, in the
        order of the model, that are not NaN."""
        sequence = self.network.order_of_columns
        return self._conditional(x, j, context, sequence[sequence.index(j) :])

    def _conditional(self, x: Tensor, j: int, context: Tensor | None, hidden: list[int]) -> ColumnDistribution:
        check_rows("x", x, len(self.network.columns))
        column_type, observed = self.column_type(j), holds_each(self.support, x)
        observed[..., hidden] = False
        rows = self.network.join(torch.where(observed, x, torch.nan), context)
        return ColumnDistribution(column_type, self.network.params_of_rows(j, rows), tuple(rows.shape[:-1]))

    def impute(self, x: Tensor, generator: torch.Generator | None = None, context: Tensor | None = None) -> Tensor:
        """x (*batch, columns) with its NaNs drawn given what is there, one column after the other; with a fixed order
        only those after all that is there."""
        check_rows("x", x, len(self.network.columns))
        refuse_gaps(self.order, ~x.isnan())
        return sampling.impute(self.network, x, context, generator)

    def expected(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (*batch, columns) with the mean in place of each NaN given what is there; of whole numbers the median, of
        categories the likeliest; with a fixed order only of NaNs after all that is there."""
        check_rows("x", x, len(self.network.columns))
        refuse_gaps(self.order, ~x.isnan())
        return sampling.expected(self.network, x, context)

    def from_mid_cdf(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """The inverse of `mid_cdf`, one column after the other, (*batch, columns)."""
        u = u.to(torch.float64)  # probabilities come in the dtype of the weights
        check_rows("u", u, len(self.network.columns))
        return sampling.from_mid_cdf(self.network, u, context)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        blank = torch.full((*batch, *self.event_shape), torch.nan, dtype=self.dtype, device=self.initialized.device)
        return sampling.impute(self.network, blank, context, generator)

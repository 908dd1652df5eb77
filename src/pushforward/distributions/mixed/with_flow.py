"""A mixed-type model of some columns of a table and a flow of the others given these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import KINDS, Kind
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Product
from pushforward.core.entries import domain_of_each, holds_each
from pushforward.core.exactness import Exactness
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.columns.continuous import Continuous
from pushforward.distributions.flow import Flow
from pushforward.distributions.mixed.checks import refuse_unseen_gaps
from pushforward.distributions.mixed.model import MixedTypeModel
from pushforward.distributions.mixed.network import check_rows
from pushforward.distributions.mixed.random_sets import hide_at_random

__all__ = ["MixedFlow"]


@configurable
class MixedFlow(Distribution):
    r"""The joint distribution of the columns of a table: those that hold categories, counts or repeated values by a
    mixed-type model, and the real numbers given them by a flow.

    .. math:: q(x) = q_{\mathrm{mixed}}(x_A \mid c)\; q_{\mathrm{flow}}(x_B \mid x_A, c)

    Both factors are normalised, so that q is: a density with respect to counting measure where columns are discrete and
    Lebesgue measure elsewhere. The flow sees of each column of A and of the context the category or the place on the
    line, without the sines and cosines by which a mixed-type model tells near values apart: each layer of a flow would
    learn single rows by them. It also sees whether an entry is missing. Real columns have to be complete. A density
    costs one of each factor.

    Args:
        mixed: the model of the columns A, with or without context.
        real: the flow of the other columns B; its context has `embedding_size` numbers.
        places: the numbers of the columns A in a row, rising.

    Shape:
        ``x``: (*batch, columns) in float64, ``context``: (*batch, columns of the context).

    Raises:
        ValueError: ``real`` is not a flow of vectors with a context of that size, or ``places`` are not as many
            different columns as ``mixed`` has.

    >>> import torch
    >>> from pushforward.distributions import Categorical
    >>> from pushforward.flows import nsf
    >>> levels = MixedTypeModel([Categorical(3)], hidden=(8,))
    >>> flow = nsf(2, context=MixedFlow.embedding_size(levels), data_dtype="float64")
    >>> model = MixedFlow(levels, flow, places=[1])
    >>> model.log_prob(torch.tensor([[0.3, 2.0, -1.0], [0.3, 2.5, -1.0]], dtype=torch.float64)).isfinite().tolist()
    [True, False]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "mixed": {"type": "MixedTypeModel", "columns": [{"type": "Categorical", "levels": 3}], "hidden": [8]},
            "real": {
                "type": "Flow",
                "base": {"type": "StandardNormal", "features": 2},
                "bijection": {
                    "type": "Autoregressive",
                    "univariate": {"type": "Affine"},
                    "features": 2,
                    "context": 4,
                    "hidden": [8],
                },
            },
            "places": [1],
        },
    )
    reparametrized = False
    learns_from_missing = True

    def __init__(self, mixed: MixedTypeModel, real: Flow, places: Sequence[int]) -> None:
        super().__init__()
        places = [int(place) for place in places]
        size = self.embedding_size(mixed)
        if len(real.event_shape) != 1 or real.context_shape != (size,):
            raise ValueError(
                f"MixedFlow: real must be a flow of vectors with a context of {size} numbers, what "
                f"MixedFlow.embedding_size gives; got event shape {tuple(real.event_shape)} and context shape "
                f"{real.context_shape}."
            )
        count = len(mixed.network.columns) + real.event_shape[0]
        if len(places) != len(mixed.network.columns) or sorted(set(places) & set(range(count))) != places:
            raise ValueError(
                f"MixedFlow: places must be {len(mixed.network.columns)} rising numbers of columns in "
                f"0 .. {count - 1}, one for each column of the mixed-type model; got {places}."
            )
        self.mixed, self.real, self.places = mixed, real, places
        self.inputs, self.owner = _plain_inputs_of(mixed)
        """Which of the inputs of the mixed-type model the flow sees, and of which column each one is."""
        self.rest = [j for j in range(count) if j not in places]
        self.event_shape, self.context_shape = (count,), mixed.context_shape
        domains = dict(zip(places, mixed.network.columns.domains, strict=True))
        domains |= dict(zip(self.rest, domain_of_each(real.support, len(self.rest)), strict=True))
        self.support = Product(tuple(domains[j] for j in range(count)))

    @staticmethod
    def embedding_size(mixed: MixedTypeModel) -> int:
        """How many numbers stand for the columns of a model and its context, as the context of the flow."""
        network = mixed.network
        return len(_plain_inputs_of(mixed)[0]) + len(network.context) + len(network.columns)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def context_dtype(self) -> torch.dtype | None:
        return torch.float64 if self.context_shape else None

    @property
    def exactness(self) -> Exactness:
        return self.real.exactness

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.real.stochastic

    @property
    def log_prob_kind(self) -> Kind:
        return self.real.log_prob_kind

    @property
    def sample_kind(self) -> Kind:
        return max(self.mixed.sample_kind, self.real.sample_kind, key=KINDS.index)

    @property
    def draws_estimates(self) -> bool:  # type: ignore[override]
        return self.mixed.draws_estimates or self.real.draws_estimates

    def column_type(self, j: int) -> ColumnType:
        """The type of column j: real numbers where the flow has it."""
        count = self.event_shape[0]
        if not 0 <= j < count:
            raise ValueError(f"MixedFlow: columns are numbered 0 .. {count - 1}; got {j!r}.")
        return self.mixed.column_type(self.places.index(j)) if j in self.places else Continuous()

    # --- densities

    def log_marginal(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of rows x (*batch, columns) in which entries of the columns A may be missing, (*batch,)."""
        check_rows("x", x, self.event_shape[0], owner="MixedFlow")
        refuse_unseen_gaps(self.places, x[..., self.places].isnan(), self.mixed.had_gaps)
        if context is not None and not self.mixed.hide_context and bool(context.isnan().any()):
            raise ValueError(
                "MixedFlow: an entry of the context is missing, which this model has not learned. Fill it in, or build "
                "the MixedTypeModel with hide_context= and learn anew."
            )
        inside = holds_each(self.support, x) | x.isnan()
        complete = torch.where(inside, x, self.support.anchor(x))
        first, rest = self._parts(complete)
        value = self.mixed.log_marginal(first, context=context) + self._log_flow(first, rest, context, None)
        value = torch.where(inside.all(dim=-1), value, -torch.inf)
        return torch.where(rest.isnan().any(dim=-1), torch.nan, value)

    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        first, rest = self._parts(x)
        return self.mixed._log_prob(first, context) + self._log_flow(first, rest, context, generator)

    def _estimate_log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        first, rest = self._parts(x)
        mixed = self.mixed._estimate_log_prob(first, context, generator)
        if context is not None and self.mixed.hide_context:
            context = self._hidden(context, generator)
        return mixed + self.real(rest.to(self.real.dtype), self._embedded(first, context), generator=generator)

    def _hidden(self, context: Tensor, generator: torch.Generator) -> Tensor:
        """A context of which random entries are hidden, as in the training of the mixed-type model."""
        table = context.reshape(-1, context.shape[-1]).t()
        return hide_at_random(table, len(table), self.mixed.hide_context, generator).t().reshape(context.shape)

    def _log_flow(
        self, first: Tensor, rest: Tensor, context: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        return self.real.log_prob(rest.to(self.real.dtype), self._embedded(first, context), generator=generator)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The columns A and B of rows (*batch, columns)."""
        return x[..., self.places], x[..., self.rest]

    def _embedded(self, first: Tensor, context: Tensor | None) -> Tensor:
        """What the flow sees of the columns A and of the context, (*batch, embedding size)."""
        network = self.mixed.network
        rows = network.join(first, context)
        table = rows.reshape(-1, rows.shape[-1]).t()
        seen = ~table.isnan()
        inputs = network.encode(network.fill(table, seen)).inputs[self.inputs]
        shown = torch.where(seen[self.owner], inputs, 0.0)
        embedded = torch.cat([shown, seen.to(shown.dtype)])
        return embedded.t().reshape(*rows.shape[:-1], len(embedded)).to(self.real.context_dtype)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        first, rest = self._parts(x)
        self.mixed._initialize(first, context)
        self.real.initialize(rest.to(self.real.dtype), self._embedded(first, context))

    # --- samples

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        first = self.mixed._rsample(batch, context, generator)
        rest = self.real.rsample((), self._embedded(first, context), generator=generator)
        x = first.new_empty(*batch, *self.event_shape)
        x[..., self.places], x[..., self.rest] = first, rest.to(first.dtype)
        return x


def _plain_inputs_of(mixed: MixedTypeModel) -> tuple[list[int], list[int]]:
    """The inputs of a model that say what its columns and those of its context hold, and of which of them each is."""
    inputs: list[int] = []
    owners: list[int] = []
    start = 0
    groups = (mixed.network.context, mixed.network.columns)
    for column, column_type in enumerate(part.column_type(j) for part in groups for j in range(len(part))):
        plain = column_type.plain_inputs
        inputs += [start + k for k in plain]
        owners += [column] * len(plain)
        start += column_type.num_inputs
    return inputs, owners

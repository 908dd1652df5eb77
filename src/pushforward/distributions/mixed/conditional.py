"""The distribution of some columns of a mixed-type model, given others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.checks import at_least, common_batch
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Product
from pushforward.core.entries import holds_each, restrict
from pushforward.distributions.columns.column_distribution import ColumnDistribution
from pushforward.distributions.mixed.discrepancy import Discrepancy, discrepancy
from pushforward.distributions.mixed.network import ConditionalNetwork
from pushforward.distributions.mixed.sampling import impute

__all__ = ["MixedConditional"]


class MixedConditional(Distribution):
    """The distribution of some columns of a mixed-type model given the others; what `MixedTypeModel.given` returns.

    Args:
        network: the conditional distributions of the model's columns.
        observed: values of columns by number.
        context: (*batch, columns of the context), where the model has one.

    Shape:
        With observed values of shape (*batch,), samples are (*shape, *batch, columns that are not observed).

    Raises:
        ValueError: no column is left to model, there is no column of such a number, or a model of fixed order
            observes others than the first columns.
    """

    observed: Tensor
    is_observed: Tensor
    context: Tensor | None
    reparametrized = False

    def __init__(self, network: ConditionalNetwork, observed: Mapping[int, Any], context: Tensor | None = None) -> None:
        super().__init__()
        count = len(network.columns)
        for j in observed:
            if not isinstance(j, int) or not 0 <= j < count:
                raise ValueError(f"MixedTypeModel: observed columns are numbered 0 .. {count - 1}; got {j!r}.")
        self.columns = [j for j in range(count) if j not in observed]
        """The columns that are not observed, in their order: those of an event."""
        if not self.columns:
            raise ValueError("MixedTypeModel: all columns are observed, so no column is left to model. Leave one out.")
        if network.order == "fixed" and sorted(observed) != list(range(len(observed))):
            raise ValueError(
                f"MixedTypeModel: with a fixed order only the first columns can be observed; got {sorted(observed)}. "
                'Build the model with order="any" for others.'
            )
        device = network.from_groups.device
        values = {j: torch.as_tensor(value, dtype=torch.float64, device=device) for j, value in observed.items()}
        batch = _common_batch(values, context)
        missing = torch.tensor(torch.nan, dtype=torch.float64, device=device)
        row = torch.stack([values.get(j, missing).expand(batch) for j in range(count)], dim=-1)
        network.join(row, context)  # refuses a context that does not fit
        self.network, self.batch_shape, self.event_shape = network, tuple(batch), (len(self.columns),)
        self.support = Product(tuple(restrict(network.support, j, j + 1) for j in self.columns))
        self.register_buffer("observed", row)
        self.register_buffer("context", None if context is None else context.to(device))
        self.register_buffer("is_observed", torch.tensor([j in observed for j in range(count)], device=device))

    def _apply(self, fn: Any, recurse: bool = True) -> MixedConditional:
        observed, context = self.observed, self.context
        super()._apply(fn, recurse)
        self.observed = observed.to(self.observed.device)  # moved, but never narrowed
        self.context = None if context is None else context.to(self.observed.device)
        return self

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def sample_kind(self) -> Kind:
        return "sequential"

    def given(self, observed: Tensor | Mapping[int, Any]) -> MixedConditional:
        """The distribution with more columns observed, by their numbers in the whole model."""
        if isinstance(observed, Tensor):
            observed = {self.columns[k]: value for k, value in enumerate(observed.unbind(dim=-1))}
        if again := [j for j in observed if j not in self.columns and 0 <= j < len(self.is_observed)]:
            raise ValueError(f"MixedTypeModel: column {again[0]} is observed already. Leave it out.")
        before = {j: self.observed[..., j] for j in range(len(self.is_observed)) if j not in self.columns}
        return MixedConditional(self.network, before | dict(observed), self.context)

    def column_marginal(self, j: int) -> ColumnDistribution:
        """The distribution of column j, a number in the whole model, given what is observed and nothing else.

        With ``order="any"`` the network gives it in one pass. The marginal that `log_prob` and `sample` imply differs
        from it as far as the network has not learned to agree with itself: `marginal_discrepancy` measures it.
        """
        self._check_column(j)
        usable = self._fixed_rows()[0]
        params = self.network.params_of_rows(j, self.network.join(self._usable_rows(self.batch_shape), self.context))
        params = torch.where(usable.reshape(-1), params, torch.nan)
        return ColumnDistribution(self.network.columns.column_type(j), params, self.batch_shape)

    @torch.no_grad()
    def marginal_discrepancy(self, j: int, draws: int = 4000, generator: torch.Generator | None = None) -> Discrepancy:
        """How far `column_marginal` of column j is from the marginal that `log_prob` and `sample` imply.

        The latter is the mean of the distributions of column j given draws of the columns before it.

        Args:
            j: the column, a number in the whole model.
            draws: how many, for each row that is observed.
            generator: source of randomness.
        """
        at_least("MixedTypeModel", "draws", draws, 2)
        direct = self.column_marginal(j)
        rows = impute(self.network, self._usable_rows((draws, *self.batch_shape)), self.context, generator, stop=j)
        params = self.network.params_of_rows(j, self.network.join(rows, self.context))
        return discrepancy(direct, ColumnDistribution(direct.column_type, params, (draws, *self.batch_shape)))

    def _check_column(self, j: int) -> None:
        if j not in self.columns:
            raise ValueError(f"MixedTypeModel: column {j} is not among the unobserved ones, {self.columns}.")
        if self.network.order == "fixed" and j != self.columns[0]:
            raise ValueError(
                f"MixedTypeModel: with a fixed order only the next column has a marginal, {self.columns[0]}; got {j}. "
                'Build the model with order="any" for others.'
            )

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        rows = self._usable_rows(x.shape[:-1])
        rows[..., self.columns] = x
        ranks = [rank if j in self.columns else -1 for j, rank in enumerate(self.network.ranks)]
        return self.network.contributions(self.network.join(rows, self.context), ranks).sum(dim=-1)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return impute(self.network, self._usable_rows(batch), self.context, generator)[..., self.columns]

    def _usable_rows(self, batch: tuple[int, ...]) -> Tensor:
        """The observed values in a batch shape, (*batch, columns), NaN elsewhere; a fixed point of the domain in place
        of those that their column cannot hold."""
        ok = self._fixed_rows()[0][..., None]
        observed = torch.where(ok | ~self.is_observed, self.observed, self.network.support.anchor(self.observed))
        return observed.expand(*batch, -1).clone()

    def _fixed_rows(self) -> tuple[Tensor, Tensor]:
        fits = holds_each(self.network.support, self.observed)
        ok = (fits | ~self.is_observed).all(dim=-1)
        return ok, (self.observed.isnan() & self.is_observed).any(dim=-1)


def _common_batch(values: Mapping[int, Tensor], context: Tensor | None) -> tuple[int, ...]:
    """The batch shape that values of columns and the context broadcast to."""
    shapes = {f"column {j}": tuple(value.shape) for j, value in values.items()}
    if context is not None:
        shapes["context"] = tuple(context.shape[:-1])
    batch: tuple[int, ...] = ()
    first = ""
    for name, shape in shapes.items():
        batch = common_batch("MixedTypeModel", first, batch, name, shape)
        first = first or name
    return batch

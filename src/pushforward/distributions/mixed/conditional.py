"""The law of some columns of a model of mixed columns, given others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Product, holds_each, restrict
from pushforward.distributions.columns.column_distribution import ColumnDistribution

if TYPE_CHECKING:
    from pushforward.distributions.mixed.model import MixedTypeModel

__all__ = ["MixedConditional"]


class MixedConditional(Distribution):
    """The law of some columns of a `MixedTypeModel` given the others: what `MixedTypeModel.given` returns.

    ``columns`` says which ones are left, in their order: those of an event.

    Shape:
        With known values of shape (*batch,), samples are (*shape, *batch, columns left).
    """

    known: Tensor
    is_known: Tensor
    context: Tensor | None
    reparametrized = False

    def __init__(self, model: MixedTypeModel, known: Mapping[int, Any], context: Tensor | None = None) -> None:
        super().__init__()
        (count,) = model.event_shape
        for j in known:
            if not isinstance(j, int) or not 0 <= j < count:
                raise ValueError(f"MixedTypeModel: known columns are numbered 0 .. {count - 1}; got {j!r}.")
        self.columns = [j for j in range(count) if j not in known]
        if not self.columns:
            raise ValueError("MixedTypeModel: all columns are known, so nothing is left to ask for. Leave one out.")
        if model.order == "fixed" and sorted(known) != list(range(len(known))):
            raise ValueError(
                f"MixedTypeModel: with one order of the columns only the first ones can be known; got {sorted(known)}. "
                'Build the model with order="any" for others.'
            )
        device = model.initialized.device
        values = {j: torch.as_tensor(value, dtype=model.dtype, device=device) for j, value in known.items()}
        own_shape = () if context is None else context.shape[:-1]
        batch = torch.broadcast_shapes(own_shape, *(value.shape for value in values.values()))
        missing = torch.tensor(torch.nan, dtype=model.dtype, device=device)
        columns = torch.stack([values.get(j, missing).expand(batch) for j in range(count)], dim=-1)
        self.model, self.batch_shape, self.event_shape = model, tuple(batch), (len(self.columns),)
        self.support = Product(tuple(restrict(model.support, j, j + 1) for j in self.columns))
        self.register_buffer("known", columns)
        self.register_buffer("context", None if context is None else context.to(device))
        self.register_buffer("is_known", torch.tensor([j in known for j in range(count)], device=device))

    def _apply(self, fn: Any, recurse: bool = True) -> MixedConditional:
        known, context = self.known, self.context
        super()._apply(fn, recurse)
        self.known = known.to(self.known.device)  # moved, but never narrowed
        self.context = None if context is None else context.to(self.known.device)
        return self

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def sample_kind(self) -> Kind:
        return "sequential"

    def given(self, known: Tensor | Mapping[int, Any]) -> MixedConditional:
        """The law with more columns known, by their numbers in the whole model."""
        if isinstance(known, Tensor):
            known = {self.columns[k]: value for k, value in enumerate(known.unbind(dim=-1))}
        if again := [j for j in known if self.is_known[j]]:
            raise ValueError(f"MixedTypeModel: column {again[0]} is known already. Leave it out.")
        own = {j: self.known[..., j] for j in range(len(self.is_known)) if self.is_known[j]}
        return MixedConditional(self.model, own | dict(known), self.context)

    def column_marginal(self, j: int) -> ColumnDistribution:
        """The law of column j, a number in the whole model, given what is known and nothing else."""
        if j not in self.columns:
            raise ValueError(f"MixedTypeModel: column {j} is not one of those that are left, {self.columns}.")
        if self.model.order == "fixed" and j != self.columns[0]:
            raise ValueError(
                f"MixedTypeModel: a model with a fixed order knows the distribution of the next column alone, "
                f"{self.columns[0]}; got {j}. "
                'Build the model with order="any" for others.'
            )
        ok = self._fixed_rows()[0].reshape(-1)
        whole = self.model._whole(self.known, self.context)
        rows = whole.reshape(-1, whole.shape[-1]).t()
        seen = ~rows.isnan() & ok
        encoded = self.model._encode(self.model._filled(rows, seen))
        params = self.model._params_of(j, encoded, seen)
        params = torch.where(ok, params, torch.nan)
        return ColumnDistribution(self.model.kind_of(j), params, self.batch_shape)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        whole = self._usable(x.shape[:-1])
        whole[..., self.columns] = x
        ranks = self.model._ranks()
        own = [rank if rank < 0 or rank in self.columns else -1 for rank in ranks]
        return self.model._in_order(self.model._whole(whole, self.context), own).sum(dim=-1)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self.model.impute(self._usable(batch), generator, self.context)[..., self.columns]

    def _usable(self, batch: tuple[int, ...]) -> Tensor:
        """What is known of so many rows, (*batch, columns); some point in place of what no column can hold."""
        ok = self._fixed_rows()[0][..., None]
        known = torch.where(ok | ~self.is_known, self.known, self.model.support.anchor(self.known))
        return known.expand(*batch, -1).clone()

    def _fixed_rows(self) -> tuple[Tensor, Tensor]:
        fits = holds_each(self.model.support, self.known)
        ok = (fits | ~self.is_known).all(dim=-1)
        return ok, (self.known.isnan() & self.is_known).any(dim=-1)

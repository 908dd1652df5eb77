"""A model of mixed columns over many sets of seen columns: composite likelihoods, and how sure its laws may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pushforward.core.domain import holds_each

if TYPE_CHECKING:
    from pushforward.distributions.mixed.model import MixedTypeModel

__all__ = ["calibrate_temperature", "composite"]

ROWS, SETS, PRIOR = 4_096, 16, 0.5
"""To how many rows, and how many sets of seen columns of each, laws are tempered at most; standard deviation of the
numbers before."""


@torch.no_grad()
def composite(model: MixedTypeModel, x: Tensor, splits: int, context: Tensor | None) -> Tensor:
    """`MixedTypeModel.composite`."""
    model._check_rows("x", x)
    if model.order == "fixed":
        raise ValueError(
            'MixedTypeModel: composite needs any columns given any others. Build the model with order="any".'
        )
    fits = holds_each(model.support, x)
    whole = model._whole(torch.where(fits, x, torch.nan), context)
    batch, (count,) = whole.shape[:-1], model.event_shape
    random = torch.Generator().manual_seed(0)
    halves = torch.stack([torch.randperm(count, generator=random) < count // 2 for _ in range(splits)])
    shown = torch.cat([halves, ~halves]).to(x.device)  # each column is asked for as often as any other
    pieces = []
    for own in whole.reshape(-1, whole.shape[-1]).split(model._rows()):
        there = ~own.t().isnan()
        filled = model._filled(own.t(), there)
        encoded, total = model._encode(filled), torch.zeros((), device=x.device)
        for half in shown:
            seen = there.clone()
            seen[model.offset :] &= half[:, None]
            asked = [model.offset + j for j, known in enumerate(half.tolist()) if not known]
            if asked:  # of a single column nothing is in the other half
                total = total + model._terms(filled, model._only(model.network(encoded, seen), asked), asked)
        pieces.append(torch.where(there[model.offset :], total / splits, 0.0))
    terms = torch.cat(pieces, dim=-1).t().reshape(*batch, count)
    return torch.where(fits | x.isnan(), terms, -torch.inf)


@torch.no_grad()
def calibrate_temperature(model: MixedTypeModel, x: Tensor, context: Tensor | None) -> Tensor:
    """`MixedTypeModel.calibrate_temperature`. The factors are folded into
    the weights of the last layer, so that nothing else has to know of them."""
    whole = model._whole(x, context).reshape(-1, len(model.everything.parts))
    copies = min(SETS, max(1, ROWS // len(whole))) if model.order == "any" else 1
    generator = torch.Generator(whole.device).manual_seed(0)
    whole = model._disturbed(whole[:ROWS].repeat(copies, 1).t(), generator)
    filled, seen, asked = model._random_sets(whole, generator)
    if model.order == "fixed":
        seen = ~whole.isnan()
        asked = seen[model.offset :]
    asked = asked & holds_each(model.support, whole[model.offset :].t()).t()  # other values say nothing
    params = model.network(model._encode(filled), seen)
    found = x.new_zeros(model.event_shape[0])
    for k, own in enumerate(model.places):
        kind: Any = model.kinds[k]
        if kind.tempering() is None:
            continue
        places = [j - model.offset for j in own]
        slope, shift = (t.to(params[k])[:, None] for t in kind.tempering())
        gain = _Gain(kind, filled[own], params[k] + model.starts[k][..., None], asked[places], slope, shift, len(x))
        t = _largest(gain, len(own), params[k])
        model.starts[k].copy_(model.starts[k] * (-slope * t).exp() + shift * t)
        model.network.scale_last(k, (-slope * t).exp())
        found[places] = t.to(found)
    return found


@dataclass(frozen=True)
class _Gain:
    """How well tempered laws of some columns fit their values: mean log-densities of those asked for, and a prior."""

    kind: Any
    values: Tensor  # (columns, n)
    params: Tensor
    asked: Tensor
    slope: Tensor
    shift: Tensor
    rows: int

    def __call__(self, t: Tensor) -> Tensor:
        tempered = self.params * (-self.slope * t).exp()[..., None] + (self.shift * t)[..., None]
        terms = torch.where(self.asked, self.kind.log_prob(self.values, tempered).double(), 0.0)
        mean = terms.sum(dim=1) / self.asked.sum(dim=1).clamp(min=1)
        return mean - t.double().square() / (2 * PRIOR**2 * self.rows)


def _largest(gain: Callable[[Tensor], Tensor], count: int, like: Tensor) -> Tensor:
    """Where each of so many functions of one number is largest between -2 and 2: the best of a grid, then of a finer
    one around it, and again."""
    best, step = like.new_zeros(count), 0.25
    for offsets in (torch.arange(-8, 9), torch.arange(-4, 5) / 4, torch.arange(-4, 5) / 16):
        tried = best + step * offsets.to(like)[:, None]
        best = tried.gather(0, torch.stack([gain(t) for t in tried]).argmax(dim=0)[None])[0]
    return best

"""A model of mixed columns over many sets of seen columns: composite likelihoods, and how sure its laws may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pushforward.core.domain import contains_each

if TYPE_CHECKING:
    from pushforward.distributions.mixed import Mixed

__all__ = ["composite", "temper"]

ROWS, SETS, PRIOR = 4_096, 16, 0.5
"""To how many rows, and how many sets of seen columns of each, laws are tempered at most; standard deviation of the
numbers before."""


@torch.no_grad()
def composite(model: Mixed, x: Tensor, splits: int, context: Tensor | None) -> Tensor:
    """`Mixed.composite`."""
    model._check_rows("x", x)
    if model.order == "fixed":
        raise ValueError('Mixed: composite needs any columns given any others. Build the model with order="any".')
    fits = contains_each(model.support, x) & (x.abs() < torch.inf)
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
def temper(model: Mixed, x: Tensor, context: Tensor | None) -> Tensor:
    """`Mixed.temper`. The numbers end up in the weights, so that nothing else has to know of them."""
    whole = model._whole(x, context).reshape(-1, len(model.everything.parts))
    copies = min(SETS, max(1, ROWS // len(whole))) if model.order == "any" else 1
    whole = model._disturbed(whole[:ROWS].repeat(copies, 1).t())
    filled, seen, asked = model._random_sets(whole)
    if model.order == "fixed":
        seen = ~whole.isnan()
        asked = seen[model.offset :]
    params = model.network(model._encode(filled), seen)
    found = x.new_zeros(model.event_shape[0])
    for k, own in enumerate(model.places):
        kind: Any = model.kinds[k]
        tempering = kind.tempering()
        if tempering is None:
            continue
        places = [j - model.offset for j in own]
        slope, shift = (t.to(params[k])[:, None] for t in tempering)
        given, values = params[k] + model.starts[k][..., None], filled[own]
        weight = asked[places].double() / asked[places].sum(dim=1, keepdim=True).clamp(min=1)

        def mean(t: Tensor) -> Tensor:
            """Of the log-densities of each column, laws tempered by t (columns,)."""
            tempered = given * (-slope * t).exp()[..., None] + (shift * t)[..., None]  # noqa: B023 - called at once
            terms = kind.log_prob(values, tempered).double()  # noqa: B023
            return (terms * weight).nan_to_num(neginf=0.0).sum(dim=1)  # noqa: B023

        t = _largest(lambda t: mean(t) - t.double().square() / (2 * PRIOR**2 * len(x)), len(own), given)
        model.starts[k].copy_(model.starts[k] * (-slope * t).exp() + shift * t)
        model.network.scale_last(k, (-slope * t).exp())
        found[places] = t.to(found)
    return found


def _largest(gain: Callable[[Tensor], Tensor], count: int, like: Tensor) -> Tensor:
    """Where each of so many functions of one number is largest between -2 and 2: the best of a grid, then of a finer
    one around it, and again."""
    best, step = like.new_zeros(count), 0.25
    for offsets in (torch.arange(-8, 9), torch.arange(-4, 5) / 4, torch.arange(-4, 5) / 16):
        tried = best + step * offsets.to(like)[:, None]
        best = tried.gather(0, torch.stack([gain(t) for t in tried]).argmax(dim=0)[None])[0]
    return best

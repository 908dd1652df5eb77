"""Log-densities and log-probabilities of mixtures of logistics, computed together with their slopes in the parameters.

Autograd would keep some sixty tensors of the size of all components, and call as many functions twice. Logs of sums
over components are functions of one number a point, so their slopes cost little more than they do themselves.

Exponentials of numbers far below zero are avoided as well: where they underflow, torch's take up to a hundred times as
long as elsewhere, and of far components most do. Its softmax and sigmoid are written otherwise and do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.core.execution_mode import runs_eagerly
from pushforward.univariate.mixture import MixtureCDF

__all__ = ["can_run", "log_density", "log_mass", "log_tail"]

SMALLEST = -60.0
"""Exponentials of smaller numbers count as those of this one, so that neither they nor products of them underflow:
matrices with subnormal numbers are multiplied a hundred times as slowly."""

Reference = Callable[[Tensor], Tensor]


def can_run(mixture: MixtureCDF, params: Tensor, *points: Tensor) -> bool:
    """Whether the functions of this module may compute what depends on params (num_params, *s) and points (*s): the
    parameters alone have gradients, and each point has parameters of its own."""
    if mixture.reference != "logistic" or not runs_eagerly(params):
        return False
    return all(not x.requires_grad and x.shape == params.shape[1:] and x.dtype == params.dtype for x in points)


class _Components(NamedTuple):
    """A mixture, its background component last, each (components + 1, *s), and what their slopes are computed from."""

    log_weight: Tensor
    location: Tensor
    steepness: Tensor
    bend: Tensor
    """Of location and log-width: tanh of the parameters, (2, components, *s)."""


def log_density(mixture: MixtureCDF, x: Tensor, params: Tensor, reference: Reference) -> Tensor:
    """The log-density at x, with gradients; ``reference(params)`` computes the same by operations of torch, whose
    derivatives have derivatives."""
    gradients = torch.is_grad_enabled() and params.requires_grad
    with torch.no_grad():
        log_weight, location, steepness, _ = parts = _components(mixture, params)
        u = torch.sub(x, location).mul_(steepness)
        distance = u.abs()
        terms = steepness.log().add_(log_weight).sub_(distance)
        terms.add_(distance.sigmoid_().log_(), alpha=2)
        value, share = _log_sum(terms)
        if not gradients:
            return value
        slope = u.mul(-0.5).tanh_().mul_(share)  # in u
        by_log_width = torch.mul(slope, u).add_(share).neg_()
        slopes = _slopes(mixture, parts, share, slope.mul_(steepness).neg_(), by_log_width)
    return _WithSlopes.apply(params, value, slopes, reference)


def log_mass(
    mixture: MixtureCDF, low: Tensor, high: Tensor, width: Tensor, params: Tensor, reference: Reference
) -> Tensor:
    """log P(low < X ≤ high), an interval of this width, as `log_density`.

    The probability that a logistic has is the product σ(b) σ(-a) (1 - e^(a - b)), in which nothing cancels.
    """
    gradients = torch.is_grad_enabled() and params.requires_grad
    with torch.no_grad():
        log_weight, location, steepness, _ = parts = _components(mixture, params)
        below, above = (torch.sub(x, location).mul_(steepness) for x in (low, high))
        widths = torch.mul(width, steepness).clamp_(min=torch.finfo(params.dtype).tiny)
        rest = torch.expm1(-widths).neg_()
        terms = rest.log().add_(log_weight)
        _add_log_sigmoid(terms, above)
        _add_log_sigmoid(terms, below, sign=-1)
        value, share = _log_sum(terms)
        if not gradients:
            return value
        by_width = widths.mul_(rest.reciprocal_().sub_(1))  # times the width
        by_above = above.neg().clamp_(min=SMALLEST).sigmoid_()
        by_below = below.clamp(min=SMALLEST).sigmoid_().neg_()
        by_log_width = by_width.addcmul_(by_above, above).addcmul_(by_below, below).mul_(share).neg_()
        by_location = by_above.add_(by_below).mul_(share).mul_(steepness).neg_()
        slopes = _slopes(mixture, parts, share, by_location, by_log_width)
    return _WithSlopes.apply(params, value, slopes, reference)


def log_tail(mixture: MixtureCDF, x: Tensor, params: Tensor, upper: bool, reference: Reference) -> Tensor:
    """log P(X ≤ x), or log P(X > x) of the upper tail, as `log_density`."""
    gradients = torch.is_grad_enabled() and params.requires_grad
    with torch.no_grad():
        log_weight, location, steepness, _ = parts = _components(mixture, params)
        steepness = -steepness if upper else steepness
        u = torch.sub(x, location).mul_(steepness)
        terms = log_weight.clone()
        _add_log_sigmoid(terms, u)
        value, share = _log_sum(terms)
        if not gradients:
            return value
        slope = u.neg().clamp_(min=SMALLEST).sigmoid_().mul_(share)  # in u
        by_log_width = torch.mul(slope, u).neg_()
        slopes = _slopes(mixture, parts, share, slope.mul_(steepness).neg_(), by_log_width)
    return _WithSlopes.apply(params, value, slopes, reference)


def _components(mixture: MixtureCDF, params: Tensor) -> _Components:
    """`MixtureCDF.mixture`, without copies where the background is added."""
    count, shape = mixture.components, params.shape[1:]
    weight, location, width = params.unflatten(0, (3, count)).unbind()
    places = mixture.places.reshape(-1, *(1,) * (params.ndim - 1))
    bend = params.new_empty(2, count, *shape)
    torch.add(location, places, out=bend[0]).div_(mixture.bound)
    torch.div(width, mixture.log_widths, out=bend[1])
    bend.tanh_()
    whole = params.new_empty(3, count + 1, *shape)
    whole[0, :count] = torch.log_softmax(weight, dim=0).add_(math.log1p(-mixture.background))
    torch.mul(bend[0], mixture.bound, out=whole[1, :count])
    torch.mul(bend[1], -mixture.log_widths, out=whole[2, :count]).sub_(mixture.log_width).exp_()
    for part, value in zip(whole, (math.log(mixture.background), 0.0, 1.0), strict=True):
        part[count].fill_(value)
    log_weight, location, steepness = whole.unbind()
    return _Components(log_weight, location, steepness, bend)


def _add_log_sigmoid(terms: Tensor, x: Tensor, sign: int = 1) -> None:
    """Add log σ(x), or log σ(-x), in place."""
    terms.add_(x.abs().sigmoid_().log_())
    terms.add_(x.clamp(max=0.0) if sign > 0 else x.clamp(min=0.0), alpha=sign)


def _log_sum(terms: Tensor) -> tuple[Tensor, Tensor]:
    """The log of the sum of exponentials over the first axis, and the share of each term."""
    largest = terms.amax(dim=0)
    share = torch.softmax(terms.sub_(largest).clamp_(min=SMALLEST), dim=0)
    return largest.sub_(share.amax(dim=0).log_()), share


def _slopes(
    mixture: MixtureCDF, parts: _Components, share: Tensor, by_location: Tensor, by_log_width: Tensor
) -> Tensor:
    """Slopes in the parameters, (num_params, *s), from those in locations and log-widths and the shares of all
    components, (components + 1, *s)."""
    count = mixture.components
    slopes = torch.empty(3, *parts.bend.shape[1:], dtype=share.dtype, device=share.device)
    inner = share[:count].sum(dim=0).div_(1 - mixture.background)
    torch.exp(parts.log_weight[:count].clamp(min=SMALLEST), out=slopes[0]).mul_(inner).neg_().add_(share[:count])
    torch.mul(parts.bend, parts.bend, out=slopes[1:]).neg_().add_(1)
    slopes[1].mul_(by_location[:count])
    slopes[2].mul_(by_log_width[:count])
    return slopes.flatten(0, 1)


class _WithSlopes(torch.autograd.Function):
    """A value (*s) whose slopes in parameters (num_params, *s) are there already."""

    @staticmethod
    def forward(ctx: Any, params: Tensor, value: Tensor, slopes: Tensor, reference: Reference) -> Tensor:
        ctx.reference = reference
        ctx.save_for_backward(params, slopes)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        params, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # derivatives of this derivative will be asked for
            return torch.func.vjp(ctx.reference, params)[1](grad)[0], None, None, None
        return slopes * grad, None, None, None

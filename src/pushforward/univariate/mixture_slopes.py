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
    """A mixture, its background component last, each (components + 1, points), and what slopes are computed from."""

    log_weight: Tensor
    location: Tensor
    log_steepness: Tensor
    steepness: Tensor
    bend: Tensor
    """Of location and log-width: tanh of the parameters, (2, components, points)."""


def log_density(mixture: MixtureCDF, x: Tensor, params: Tensor, reference: Reference) -> Tensor:
    """The log-density at x, with gradients; ``reference(params)`` computes the same by operations of torch, whose
    derivatives have derivatives."""
    gradients = torch.is_grad_enabled() and params.requires_grad
    with torch.no_grad():
        parts = _components(mixture, params)
        u = torch.sub(x.reshape(-1), parts.location).mul_(parts.steepness)
        distance = u.abs()
        terms = torch.add(parts.log_weight, parts.log_steepness).sub_(distance)
        value, share = _log_sum(terms.add_(distance.sigmoid_().log_(), alpha=2))
        value = value.reshape(x.shape)
        if not gradients:
            return value
        by = share.new_empty(2, *share.shape)
        slope = torch.mul(u, 0.5).tanh_().mul_(share)  # in -u
        torch.mul(slope, parts.steepness, out=by[0])
        torch.mul(slope, u, out=by[1]).sub_(share)
        slopes = _slopes(mixture, parts, share, by)
    return _WithSlopes.apply(params, value, slopes, reference)


def log_mass(
    mixture: MixtureCDF, low: Tensor, high: Tensor, width: Tensor, params: Tensor, reference: Reference
) -> Tensor:
    """log P(low < X ≤ high), an interval of this width, as `log_density`.

    The probability that a logistic has is the product σ(b) σ(-a) (1 - e^(a - b)), in which nothing cancels.
    """
    gradients = torch.is_grad_enabled() and params.requires_grad
    with torch.no_grad():
        parts = _components(mixture, params)
        below, above = (torch.sub(x.reshape(-1), parts.location).mul_(parts.steepness) for x in (low, high))
        widths = torch.mul(width.reshape(-1), parts.steepness).clamp_(min=torch.finfo(params.dtype).tiny)
        rest = torch.expm1(-widths).neg_()
        terms = rest.log().add_(parts.log_weight)
        _add_log_sigmoid(terms, above)
        _add_log_sigmoid(terms, below, sign=-1)
        value, share = _log_sum(terms)
        value = value.reshape(low.shape)
        if not gradients:
            return value
        by = share.new_empty(2, *share.shape)
        by_width = widths.mul_(rest.reciprocal_().sub_(1))  # times the width
        by_above = above.neg().clamp_(min=SMALLEST).sigmoid_()
        by_below = below.clamp(min=SMALLEST).sigmoid_().neg_()
        torch.addcmul(by_width, by_above, above, out=by[1]).addcmul_(by_below, below)
        torch.add(by_above, by_below, out=by[0]).mul_(parts.steepness)
        slopes = _slopes(mixture, parts, share, by.mul_(share).neg_())
    return _WithSlopes.apply(params, value, slopes, reference)


def log_tail(mixture: MixtureCDF, x: Tensor, params: Tensor, upper: bool, reference: Reference) -> Tensor:
    """log P(X ≤ x), or log P(X > x) of the upper tail, as `log_density`."""
    gradients = torch.is_grad_enabled() and params.requires_grad
    with torch.no_grad():
        parts = _components(mixture, params)
        steepness = -parts.steepness if upper else parts.steepness
        u = torch.sub(x.reshape(-1), parts.location).mul_(steepness)
        terms = parts.log_weight.clone()
        _add_log_sigmoid(terms, u)
        value, share = _log_sum(terms)
        value = value.reshape(x.shape)
        if not gradients:
            return value
        by = share.new_empty(2, *share.shape)
        slope = u.neg().clamp_(min=SMALLEST).sigmoid_().mul_(share).neg_()  # in -u
        torch.mul(slope, steepness, out=by[0])
        torch.mul(slope, u, out=by[1])
        slopes = _slopes(mixture, parts, share, by)
    return _WithSlopes.apply(params, value, slopes, reference)


def _components(mixture: MixtureCDF, params: Tensor) -> _Components:
    """`MixtureCDF.mixture`, its points in one row, without copies where the background is added."""
    count = mixture.components
    weight, others = params.reshape(3, count, -1).tensor_split((1,))
    bend = torch.addcmul(mixture.starts, others, mixture.inverse_bounds).tanh_()
    whole = params.new_empty(3, count + 1, bend.shape[2])
    inner, background = whole.tensor_split((count,), dim=1)
    background.copy_(mixture.last_component)
    torch.add(torch.log_softmax(weight, dim=1), math.log1p(-mixture.background), out=inner[:1])
    torch.addcmul(mixture.middles, bend, mixture.signed_bounds, out=inner[1:])
    log_weight, location, log_steepness = whole.unbind()
    return _Components(log_weight, location, log_steepness, log_steepness.exp(), bend)


def _add_log_sigmoid(terms: Tensor, x: Tensor, sign: int = 1) -> None:
    """Add log σ(x), or log σ(-x), in place."""
    terms.add_(x.abs().sigmoid_().log_())
    terms.add_(x.clamp(max=0.0) if sign > 0 else x.clamp(min=0.0), alpha=sign)


def _log_sum(terms: Tensor) -> tuple[Tensor, Tensor]:
    """The log of the sum of exponentials over the first axis, and the share of each term."""
    largest = terms.amax(dim=0)
    share = torch.softmax(terms.sub_(largest).clamp_(min=SMALLEST), dim=0)
    return largest.sub_(share.amax(dim=0).log_()), share


def _slopes(mixture: MixtureCDF, parts: _Components, share: Tensor, by: Tensor) -> Tensor:
    """Slopes in the parameters, (num_params, points), from those in locations and log-widths (2, components + 1,
    points) and the shares of all components, (components + 1, points)."""
    count = mixture.components
    slopes = share.new_empty(3, count, share.shape[1])
    share, by = share[:count], by[:, :count]
    weight = parts.log_weight[:count].clamp(min=SMALLEST).exp_()
    torch.addcmul(share, weight, share.sum(dim=0), value=1 / (mixture.background - 1), out=slopes[0])
    torch.addcmul(by, by * parts.bend, parts.bend, value=-1, out=slopes[1:])
    return slopes


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
        return (slopes * grad.reshape(-1)).reshape(params.shape), None, None, None

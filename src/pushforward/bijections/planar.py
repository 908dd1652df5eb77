"""Maps that move points along one direction, by a function of one linear combination of the features."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from pushforward.bijections.bend import unbend
from pushforward.bijections.parametric import ParametricMap
from pushforward.bijections.triangular import rectified
from pushforward.core.bijection import Kind
from pushforward.core.checks import at_least, below_one
from pushforward.core.config import configurable
from pushforward.networks.context_parameters import ContextNetwork

__all__ = ["Planar"]


@configurable
class Planar(ParametricMap):
    r"""Bend space along a family of parallel planes: :math:`y = x + \hat u\, h(w^\top x + b)`.

    .. math:: \hat u = u + \bigl(g(w^\top u) - 1 - w^\top u\bigr) \frac{w}{\|w\|^2}, \qquad
        \log|\det| = \log\bigl(1 + h'(w^\top x + b)\, w^\top \hat u\bigr)

    with h = tanh, or a leaky rectifier. A positive function g with g(0) = 1 takes care that
    :math:`w^\top \hat u = g - 1 > -1`, which makes the map invertible for all parameters. It starts at u = 0, the
    identity, and at a random direction w. Forward costs two products with vectors. The inverse solves an increasing
    equation for one number, :math:`w^\top x`: by a root search inside a bracket for tanh, where a row is NaN if the
    search fails, in closed form for the leaky rectifier.

    Args:
        features: number of features D.
        negative_slope: slope of h below zero, between 0 and 1; above zero it is 1. By default h is tanh.
        **network: see `networks.context_parameters.ContextNetwork`.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no feature, or an option is out of its range.

    References:
        | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015), arXiv:1505.05770

    >>> import torch
    >>> part = Planar(2)
    >>> with torch.no_grad():
    ...     for numbers, values in ((part.direction, [1.0, 0.0]), (part.push, [0.0, 3.0])):
    ...         _ = numbers.copy_(torch.tensor(values))
    >>> part(torch.tensor([[0.0, 1.0], [9.0, 1.0]])).round(decimals=4).tolist()
    [[0.0, 1.0], [9.0, 4.0]]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {"features": 2, "negative_slope": 0.1},
        {
            "features": 2,
            "context": 1,
            "hidden": [8],
            "conditioner": "residual",
            "activation": "silu",
            "dropout": 0.1,
        },
    )

    def __init__(
        self,
        features: int,
        *,
        negative_slope: float | None = None,
        **network: Unpack[ContextNetwork],
    ) -> None:
        super().__init__()
        at_least("Planar", "features", features, 1)
        if negative_slope is not None:
            below_one("Planar", "negative_slope", negative_slope, "the slope above zero")
        self.in_shape = self.out_shape = (features,)
        self.negative_slope = negative_slope
        self.inverse_kind: Kind = "iterative" if negative_slope is None else "exact"
        # Maps of one flow must not all start in the same direction: their gradients would be the same.
        self.direction = nn.Parameter(torch.randn(features))
        self.push = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(1))
        self._read_context(sum(numbers.numel() for numbers in self.parameters()), **network)

    def _numbers(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """w and û, (*batch, features), b and g, (*batch,); without context there are no batch axes."""
        w, u, b = self._with_changes(context, self.direction, self.push, self.bias)
        product, square = (w * u).sum(dim=-1), w.square().sum(dim=-1)
        g = rectified(product)
        along = (g - 1 - product) / torch.where(square > 0, square, 1.0)
        return w, u + along[..., None] * w, b.squeeze(-1), g

    def _leaky(self, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """h(a) / a, and the log-slope along w."""
        slope = torch.where(a > 0, 1.0, self.negative_slope or 0.0).to(a.dtype)
        return slope, torch.log((1 - slope) + g * slope)  # a sum of positive terms

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        w, u, b, g = self._numbers(context)
        a = (x * w).sum(dim=-1) + b
        if self.negative_slope is None:
            h = torch.tanh(a)
            square = h.square()
            ladj = torch.log(square + g * (1 - square))  # a sum of positive terms
        else:
            slope, ladj = self._leaky(a, g)
            h = slope * a
        return x + u * h[..., None], ladj

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        w, u, b, g = self._numbers(context)
        s = (y * w).sum(dim=-1) + b  # a + (g - 1) h(a), with a = w x + b
        if self.negative_slope is not None:
            slope, log_slope = self._leaky(s, g)  # the map along w keeps signs
            return y - u * (slope * s * torch.exp(-log_slope))[..., None], -log_slope
        ones = torch.ones_like(s)
        a, ladj = unbend(s, ((g - 1) * ones, ones, torch.zeros_like(s), g * ones))
        solved = a.isfinite()
        # NaN enters by the last `where` alone: before, it would reach the gradients of parameters that all rows share.
        x = y - u * torch.tanh(torch.where(solved, a, 0.0))[..., None]
        return torch.where(solved[..., None], x, torch.nan), ladj

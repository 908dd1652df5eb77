"""Mixtures of any distributions: boxes, flows, points of a sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import REAL, Circle, Domain, Integers, Interval, Real
from pushforward.core.entries import domain_of_each, product
from pushforward.core.shapes import unsqueeze_to
from pushforward.distributions.of_parts import OfParts

__all__ = ["Mixture"]


@configurable
class Mixture(OfParts):
    r"""A mixture of distributions of any kinds over the same events, with learned weights.

    .. math:: q(x \mid c) = \sum_k w_k\, q_k(x \mid c)

    A point comes from one part, chosen with the probabilities w, so that samples carry no gradients. Densities cost
    those of all parts, and so do samples. For many normals `GaussianMixture` is faster.

    Args:
        parts: distributions of events of one shape. Where they live on different intervals, the support of the mixture
            is the smallest box around theirs, with density zero where no part has any.
        weights: one positive number per part, in proportion; equal ones by default.

    Shape:
        ``x``: (*batch, *event_shape), ``context``: (*batch, *context_shape), which parts that take one share.

    Raises:
        ValueError: there is no part, their events, contexts or supports differ, the density of one is a random
            estimate, or the weights are not one positive number per part.

    >>> import torch
    >>> from pushforward.distributions import Uniform
    >>> boxes = Mixture([Uniform([0.0], [1.0]), Uniform([2.0], [4.0])], [3.0, 1.0])
    >>> boxes.log_prob(torch.tensor([[0.5], [1.5], [3.0]])).exp().round(decimals=4).tolist()
    [0.75, 0.0, 0.125]
    """

    reparametrized = False
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "parts": [
                {"type": "Uniform", "low": [-2.0], "high": [-0.5]},
                {"type": "Truncated", "base": {"type": "StandardNormal", "features": 1}, "low": [0.0], "high": [2.0]},
            ]
        },
        {
            "parts": [
                {"type": "Laplace", "features": 2, "context": 1, "hidden": [8]},
                {"type": "Normal", "loc": [2.0, -1.0]},
            ],
            "weights": [2.0, 1.0],
        },
    )

    def __init__(self, parts: Sequence[Distribution], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        parts = list(parts)
        if not parts or not all(isinstance(part, Distribution) for part in parts):
            raise ValueError("Mixture: parts must list one or more distributions, such as Uniform([0.0], [1.0]).")
        if len({part.event_shape for part in parts}) > 1:
            raise ValueError(
                f"Mixture: all parts must have one event shape; got {[part.event_shape for part in parts]}."
            )
        contexts = {part.context_shape for part in parts} - {None}
        if len(contexts) > 1:
            raise ValueError(f"Mixture: parts that take a context must share it; got shapes {sorted(contexts)}.")  # type: ignore[type-var]
        if any(part.exactness == "unbiased" for part in parts):
            raise ValueError(
                "Mixture: the log-density of a part is a random estimate, and the logarithm of a sum of such is "
                "biased. Build the part with an exact log-determinant."
            )
        numbers = [float(w) for w in ([1.0] * len(parts) if weights is None else weights)]
        if len(numbers) != len(parts) or not all(0 < w < math.inf for w in numbers):
            raise ValueError(f"Mixture: weights must be one positive number per part; got {numbers}.")
        self.parts = nn.ModuleList(parts)
        self.logits = nn.Parameter(torch.tensor([math.log(w) for w in numbers]))
        self.event_shape = parts[0].event_shape
        self.context_shape = contexts.pop() if contexts else None
        self.support: Domain = _box([part.support for part in parts], self.event_shape)
        self._take_kinds(parts)

    def _each(self) -> list[Any]:
        return list(self.parts)

    def _context_of(self, part: Distribution, context: Tensor | None) -> Tensor | None:
        return None if part.context_shape is None else context

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        for part in self._each():
            part._initialize(x, self._context_of(part, context))

    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        # By the public method, for a point of the box may lie outside the support of a part.
        log_probs = [
            part.log_prob(x, self._context_of(part, context), generator=generator if part.stochastic else None)
            for part in self._each()
        ]
        joint = unsqueeze_to(torch.log_softmax(self.logits, dim=0), log_probs[0].ndim + 1) + torch.stack(log_probs)
        nowhere = (joint == -torch.inf).all(dim=0)  # the gradient of a sum of nothing would be NaN
        return torch.where(nowhere, -torch.inf, torch.logsumexp(torch.where(nowhere, 0.0, joint), dim=0))

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        like = self.logits
        uniform = torch.rand(batch, dtype=like.dtype, device=like.device, generator=generator)
        edges = torch.softmax(like, dim=0).cumsum(dim=0)[:-1]
        chosen = (uniform[..., None] >= edges).sum(dim=-1)
        points = [part._rsample(batch, self._context_of(part, context), generator) for part in self._each()]
        x = points[0]
        for k, other in enumerate(points[1:], start=1):
            x = torch.where(unsqueeze_to(chosen == k, x.ndim), other, x)
        return x


def _box(supports: Sequence[Domain], event_shape: tuple[int, ...]) -> Domain:
    """The support that all share, or the smallest box around intervals."""
    if len(set(supports)) == 1:
        return supports[0]
    columns = list(zip(*(domain_of_each(support, math.prod(event_shape)) for support in supports), strict=True))
    entries = [entry for column in columns for entry in column]
    if any(isinstance(entry, Circle | Integers) or not isinstance(entry, Real | Interval) for entry in entries):
        raise ValueError(f"Mixture: parts must share one support or live on intervals; got {set(supports)}.")
    ends = [(min(d.ends[0] for d in column), max(d.ends[1] for d in column)) for column in columns]
    boxes = tuple(REAL if pair == (-math.inf, math.inf) else Interval(*pair) for pair in ends)
    return product(boxes, event_shape)

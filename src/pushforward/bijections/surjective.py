"""Surjections: maps that lose something, which the other direction draws at random.

A deterministic surjection x ↦ y = f(x) comes with a distribution q(x | y) of what it lost. The direction of f counts
log q(x | f(x)), and a flow whose densities go through it is exact. The other direction draws x ~ q(· | y) and counts
-log q(x | y); a flow whose densities go through it has a lower bound on the log-density, by Jensen's inequality.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core.bijection import StochasticMap
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import REAL, Domain, Interval
from pushforward.core.entries import domain_of_each, product
from pushforward.core.exactness import Exactness
from pushforward.core.noise import normal, uniform
from pushforward.core.reference import REFERENCES
from pushforward.core.shapes import EventSize, event_axis, event_shape, sum_event

__all__ = ["Abs", "Augment", "Slice", "Surjection"]


class Surjection(StochasticMap):
    r"""A deterministic map :math:`y = f(x)` that is not one-to-one, with a distribution of what it loses.

    A subclass writes ``_forward_and_ladj``, which computes y and :math:`\log q(x \mid y)`, and ``_inverse_and_ladj``,
    which draws :math:`x \sim q(\cdot \mid y)` and gives minus that number. As the map from data to latent
    (``Flow(base, surjection.inv)``) log-densities are exact; as the map from latent to data they are a lower bound.

    References:
        | SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows (Nielsen et al., 2020), arXiv:2007.02731
    """

    log_det: Exactness = "bound"
    forward_log_det: Exactness = "exact"
    properties = frozenset({"right_inverse"})

    @abstractmethod
    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]: ...


class _Cut(StochasticMap):
    """An event cut in two along an axis, the second part of which has a distribution given the first."""

    keeps_dimension = False

    def _cut(self, whole: tuple[int, ...], kept: int, axis: int, noise: Distribution | None) -> Domain:
        """Set the sizes for an axis that is checked; the domain of the whole event."""
        owner = type(self).__name__
        self.axis = axis
        self.sizes = [kept, whole[self.axis] - kept]
        first, second = (_resized(whole, self.axis, size) for size in self.sizes)
        self.first_shape, self.second_shape, self.noise = first, second, noise
        if noise is None:
            return REAL
        if noise.event_shape != second:
            raise ValueError(f"{owner}: noise must have events of shape {second}; got {noise.event_shape}.")
        if noise.context_shape not in (None, (math.prod(first),)):
            raise ValueError(
                f"{owner}: noise may take the {math.prod(first)} other entries as its context, in a vector; got a "
                f"context of shape {noise.context_shape}."
            )
        if noise.support.event_ndim and math.prod(second) != len(domain_of_each(noise.support, 0)):
            raise ValueError(f"{owner}: the support of noise must be given entry by entry; got {noise.support}.")
        place = torch.arange(math.prod(whole), device="cpu").reshape(whole)
        domains: list[Domain] = [REAL] * place.numel()
        entries = place.narrow(self.axis, kept, self.sizes[1]).flatten().tolist()
        for entry, domain in zip(entries, domain_of_each(noise.support, math.prod(second)), strict=True):
            domains[entry] = domain
        return product(tuple(domains), whole)

    def _drop(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The first part and log q(second | first)."""
        first, second = x.split(self.sizes, dim=self.axis)
        if self.noise is None:
            return first, sum_event(REFERENCES["gaussian"].log_density(second), len(self.second_shape))
        arguments = self.noise._arguments(second, self._noise_context(first), generator)
        return first, self.noise._log_prob(*arguments)

    def _append(self, first: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The whole event with a drawn second part, and -log q(second | first)."""
        batch = tuple(first.shape[: first.ndim - len(self.first_shape)])
        if self.noise is None:
            second = normal((*batch, *self.second_shape), first, generator)
            log_q = sum_event(REFERENCES["gaussian"].log_density(second), len(self.second_shape))
        else:
            context = self._noise_context(first) if self.noise.context_shape is not None else None
            second, log_q = self.noise._rsample_and_log_prob(batch, context, generator)
        return torch.cat([first, second], dim=self.axis), -log_q

    def _noise_context(self, first: Tensor) -> Tensor:
        return first.flatten(-len(self.first_shape))


@configurable
class Slice(_Cut, Surjection):
    r"""Keep the first entries along an axis and drop the others, which have a distribution given the kept ones.

    .. math:: y = x_a, \qquad \log p(x) = \log p(y) + \log q(x_b \mid x_a)

    From data to latent the dropped entries are modelled by q alone, and densities are exact. Both directions cost one
    density or one draw of q.

    Args:
        features: number of features of x, or the shape of an event such as (3, 32, 32).
        kept: how many entries along ``axis`` are kept.
        axis: the axis that is cut; by default the first one, the channels of an image.
        noise: the distribution q of the dropped entries; it may take the kept ones, flattened, as its context. By
            default standard normal.

    Shape:
        ``x``: (*batch, *event shape), ``y``: the same with ``kept`` entries along ``axis``, ``ladj``: (*batch,).

    Raises:
        ValueError: ``kept`` leaves nothing or everything, or ``noise`` does not fit the dropped entries.

    References:
        | SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows (Nielsen et al., 2020), arXiv:2007.02731

    >>> import torch
    >>> Slice(3, 1)(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [1.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3, "kept": 2},
        {"features": [3, 2, 2], "kept": 1, "axis": 1, "noise": {"type": "StandardNormal", "features": [3, 1, 2]}},
        {
            "features": 3,
            "kept": 2,
            "noise": {
                "type": "Flow",
                "base": {"type": "StandardNormal", "features": 1},
                "bijection": {
                    "type": "Elementwise",
                    "univariate": {"type": "Affine"},
                    "features": 1,
                    "context": 2,
                    "hidden": [8],
                },
            },
        },
    )

    def __init__(self, features: EventSize, kept: int, *, axis: int = 0, noise: Distribution | None = None) -> None:
        super().__init__()
        shape = event_shape("Slice", features)
        at_least("Slice", "kept", kept, 1)
        axis = event_axis("Slice", axis, shape)
        size = shape[axis]
        if kept >= size:
            raise ValueError(f"Slice: kept must be below the {size} entries along the axis; got {kept}.")
        self.domain = self._cut(shape, kept, axis, noise)
        self.in_shape, self.out_shape = shape, self.first_shape
        self.forward_log_det: Exactness = "exact" if noise is None else noise.exactness

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._drop(x, generator)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._append(y, generator)


@configurable
class Augment(_Cut):
    r"""Append entries drawn at random, so that the layers that follow have more dimensions to work in.

    .. math:: y = (x, e), \quad e \sim q(e \mid x), \qquad \log p(x) \ge \mathbb{E}_q\bigl[\log p(x, e) - \log q(e
        \mid x)\bigr]

    As the map from data to latent (``Flow(base, Chain([Augment(2, 3), ...]).inv)``) log-densities are a lower bound,
    which averages over more draws tighten (`pushforward.distributions.ImportanceWeighted`). The inverse drops the
    entries. Both directions cost one density or one draw of q.

    Args:
        features: number of features of x, or the shape of an event such as (3, 32, 32).
        extra: how many entries are appended along ``axis``.
        axis: by default the first one, the channels of an image.
        noise: the distribution q of the new entries; it may take x, flattened, as its context. By default standard
            normal.

    Shape:
        ``x``: (*batch, *event shape), ``y``: the same with ``extra`` more entries along ``axis``, ``ladj``: (*batch,).

    Raises:
        ValueError: ``extra`` is below one, or ``noise`` does not fit the new entries.

    References:
        | Augmented Normalizing Flows: Bridging the Gap Between Generative Flows and Latent Variable Models (Huang et
          al., 2020), arXiv:2002.07101
        | VFlow: More Expressive Generative Flows with Variational Data Augmentation (Chen et al., 2020),
          arXiv:2002.09741

    >>> import torch
    >>> part = Augment(2, 3)
    >>> part.inverse(part(torch.tensor([1.0, 2.0]))).tolist()
    [1.0, 2.0]
    """

    log_det: Exactness = "exact"
    forward_log_det: Exactness = "bound"
    properties = frozenset({"left_inverse"})
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "extra": 1},
        {
            "features": [1, 2, 2],
            "extra": 1,
            "axis": 2,
            "noise": {"type": "Uniform", "low": [[[0.0], [0.0]]], "high": [[[1.0], [2.0]]]},
        },
    )

    def __init__(self, features: EventSize, extra: int, *, axis: int = 0, noise: Distribution | None = None) -> None:
        super().__init__()
        shape = event_shape("Augment", features)
        at_least("Augment", "extra", extra, 1)
        axis = event_axis("Augment", axis, shape)
        self.in_shape, self.out_shape = shape, _resized(shape, axis, shape[axis] + extra)
        self.codomain = self._cut(self.out_shape, shape[axis], axis, noise)
        self.log_det: Exactness = "exact" if noise is None else noise.exactness

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._append(x, generator)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._drop(y, generator)


@configurable
class Abs(Surjection):
    r"""The absolute value of each feature, whose sign is drawn: plus with probability :math:`\pi_j`.

    .. math:: y_j = |x_j|, \qquad \log q(x \mid y) = \sum_j \log \pi_j^{[x_j \ge 0]} (1 - \pi_j)^{[x_j < 0]}

    From data to latent (``Flow(base, Abs(D).inv)``, with a base on :math:`[0, \infty)`) densities are exact, and
    symmetric where the signs are fair. From latent to data they are a lower bound, tight if the latent density given
    :math:`|x|` has these signs. Both directions cost a few operations per feature.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        learn_signs: whether the :math:`\pi_j` are learned; otherwise, and at the start, they are one half.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    References:
        | SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows (Nielsen et al., 2020), arXiv:2007.02731

    >>> import torch
    >>> Abs(2).forward_and_ladj(torch.tensor([-1.0, 2.0]))
    (tensor([1., 2.]), tensor(-1.3863))
    """

    codomain = Interval(0.0, math.inf)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 2}, {"features": [2, 2], "learn_signs": True})

    def __init__(self, features: EventSize, *, learn_signs: bool = False) -> None:
        super().__init__()
        self.in_shape = self.out_shape = event_shape("Abs", features)
        self.sign_logits = nn.Parameter(torch.zeros(self.in_shape)) if learn_signs else None

    def _log_q(self, positive: Tensor, like: Tensor) -> Tensor:
        if self.sign_logits is None:
            constant = -math.log(2) * math.prod(self.in_shape)
            return like.new_full(like.shape[: like.ndim - len(self.in_shape)], constant)
        logits = torch.where(positive, self.sign_logits, -self.sign_logits)
        return sum_event(F.logsigmoid(logits), len(self.in_shape))

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return x.abs(), self._log_q(x >= 0, x)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        u = uniform(y.shape, y, generator)
        positive = u < (0.5 if self.sign_logits is None else torch.sigmoid(self.sign_logits))
        return torch.where(positive, y, -y), -self._log_q(positive, y)


def _resized(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    """The shape with another size along an axis."""
    sizes = list(shape)
    sizes[axis] = size
    return tuple(sizes)

"""Rows that differ from epoch to epoch: labels left out, noise added. Functions for ``fit(flow, rows_of_epoch)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pushforward.core.checks import not_negative
from pushforward.train.batches import EPOCH_STRIDE

__all__ = ["RowsOfEpoch", "with_labels_dropped", "with_noise"]

RowsOfEpoch = Callable[[int], tuple[Tensor, Tensor]]
"""Gives (x, context) of epoch 0, 1, ..., as many rows each time: what `fit` takes in place of x."""

LABELS, NOISE = 0x85EBCA6B, 0xC2B2AE35
"""Added to the seed, so that random numbers for one purpose do not depend on those for another. On the CPU generators
take no more than 32 bits."""


def with_labels_dropped(
    x: Any, context: Any = None, probability: float = 0.1, *, blank: Any = None, seed: int = 0
) -> RowsOfEpoch:
    r"""Rows of which each loses its label with some probability, other ones in each epoch.

    A model that learns from them is conditional and unconditional at once, as `distributions.guided` needs it: its
    context is the label, or ``blank``, which stands for none. An epoch depends on ``seed`` and its number alone.

    Args:
        x: (rows, *event_shape), or a function of the epoch that gives (x, context).
        context: the labels, (rows, *context_shape), such as one-hot vectors.
        probability: of losing the label, between 0 and 1.
        blank: the context that stands for no label, of the shape of one context: zeros by default. NaN in it keeps a
            number of the context.
        seed: of the draws.

    Returns:
        a function of the epoch that gives (x, context), for ``fit(flow, rows)``; validation rows are given apart.

    Raises:
        ValueError: the probability is none, there is no context, or ``blank`` has another shape.

    References:
        | Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), arXiv:2207.12598

    >>> rows = with_labels_dropped(torch.zeros(1000, 2), torch.ones(1000, 1), 0.2)
    >>> x, context = rows(0)
    >>> 150 < (context == 0).sum() < 250, torch.equal(rows(0)[1], context), torch.equal(rows(1)[1], context)
    (tensor(True), True, False)
    """
    owner = "with_labels_dropped"
    if isinstance(probability, bool) or not 0 <= probability <= 1:
        raise ValueError(f"{owner}: probability must lie between 0 and 1; got {probability!r}.")
    rows_of_epoch = _rows(owner, x, context)

    def rows(epoch: int) -> tuple[Tensor, Tensor]:
        points, labels = rows_of_epoch(epoch)
        if labels is None:
            raise ValueError(f"{owner}: drops labels, which are the context; got none.")
        shape = tuple(labels.shape[1:])
        instead = torch.zeros(shape) if blank is None else torch.as_tensor(blank)
        if tuple(instead.shape) != shape:
            raise ValueError(f"{owner}: blank must have the shape of one context, {shape}; got {tuple(instead.shape)}.")
        instead = instead.to(labels)
        drawn = torch.rand(len(labels), generator=_generator(seed, epoch, LABELS)).to(labels.device)
        dropped = (drawn < probability).reshape(-1, *(1,) * len(shape))
        return points, torch.where(dropped & ~instead.isnan(), instead.nan_to_num(), labels)

    return rows


def with_noise(x: Any, context: Any = None, noise: float | Sequence[float] = 0.1, *, seed: int = 0) -> RowsOfEpoch:
    r"""Rows with normal noise, :math:`x + \sigma \varepsilon`, and the noise level σ as a last number of the context.

    A model that learns from them is smooth where data lie on thin sets, and knows the densities of all noise levels:
    `distributions.denoise` takes noise away again by the slope of its log-density. Each row has a noise level of its
    own, and other noise in each epoch, which depends on ``seed`` and its number alone.

    Args:
        x: (rows, *event_shape), or a function of the epoch that gives (x, context), such as `with_labels_dropped`.
        context: (rows, features), if there is one.
        noise: the noise level, in units of the data; (low, high) for levels that are uniform between the two.
        seed: of the draws.

    Returns:
        a function of the epoch that gives (x, context), for ``fit(flow, rows)`` and a flow with one more context
        feature; ``validation=with_noise(x, context, noise)(0)`` makes validation rows alike.

    Raises:
        ValueError: the noise is negative, or the two levels are in the wrong order.

    References:
        | Normalizing Flows are Capable Generative Models (Zhai et al., 2024), arXiv:2412.06329

    >>> x, context = with_noise(torch.zeros(1000, 2), noise=(0.0, 0.5))(0)
    >>> context.shape, 0.5 < (x / context).std() < 1.5, bool((context <= 0.5).all())
    (torch.Size([1000, 1]), tensor(True), True)
    """
    owner = "with_noise"
    low, high = (noise, noise) if not isinstance(noise, Sequence) else tuple(noise) if len(noise) == 2 else (1.0, 0.0)
    not_negative(owner, "noise", high)
    not_negative(owner, "noise", low)
    if low > high:
        raise ValueError(f"{owner}: noise must be one level, or (low, high); got {noise!r}.")
    rows_of_epoch = _rows(owner, x, context)

    def rows(epoch: int) -> tuple[Tensor, Tensor]:
        points, labels = rows_of_epoch(epoch)
        generator = _generator(seed, epoch, NOISE)
        level = low + (high - low) * torch.rand(len(points), generator=generator, dtype=points.dtype)
        draws = torch.randn(points.shape, generator=generator, dtype=points.dtype).to(points.device)
        level = level.to(points.device)
        column = level[:, None] if labels is None else level[:, None].to(labels)
        noisy = points + level.reshape(-1, *(1,) * (points.ndim - 1)) * draws
        return noisy, column if labels is None else torch.cat([labels, column], dim=1)

    return rows


def _rows(owner: str, x: Any, context: Any) -> Callable[[int], tuple[Tensor, Tensor | None]]:
    """(x, context) of each epoch, from the same rows or from a function of the epoch."""
    if callable(x) and not isinstance(x, Tensor):
        if context is not None:
            raise ValueError(f"{owner}: a function of the epoch gives x and context; leave context out.")

        def rows(epoch: int) -> tuple[Tensor, Tensor | None]:
            values = x(epoch)
            return values if isinstance(values, tuple) else (values, None)

        return rows
    points, labels = torch.as_tensor(x), None if context is None else torch.as_tensor(context)
    if labels is not None and len(labels) != len(points):
        raise ValueError(f"{owner}: x and context must have equally many rows; got {len(points)} and {len(labels)}.")
    return lambda epoch: (points, labels)


def _generator(seed: int, epoch: int, purpose: int) -> torch.Generator:
    """On the CPU, so that rows do not depend on where the data are."""
    return torch.Generator().manual_seed((seed + EPOCH_STRIDE * (epoch + 1) + purpose) % 2**63)

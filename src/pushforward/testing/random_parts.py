"""Parts with random weights, and points for them to map.

Layers start as the identity, which hides bugs: properties are checked with weights drawn anew.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pushforward.bijections import BatchNorm, Standardize
from pushforward.core.bijection import Bijection
from pushforward.core.domain import Sphere

__all__ = [
    "GENTLE",
    "LEAST_MOVEMENT",
    "ORDINARY",
    "context_for",
    "generator",
    "inputs",
    "least_movement",
    "movement",
    "randomize",
    "with_random_weights",
]

M = TypeVar("M", bound=nn.Module)

LEAST_MOVEMENT = 0.1
"""How far random weights must move the median point; on a sphere, whose points are close together, a fifth of it."""

ORDINARY = 0.7
"""The usual size of weights. Much larger ones make maps so steep that rounding decides."""

GENTLE = 0.4
"""A size of weights for float32 and for quadrature: steep maps lose digits in one direction and have narrow peaks."""


def generator(seed: int) -> torch.Generator:
    """A generator on the CPU with this seed."""
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def randomize(module: M, seed: int = 0, dtype: torch.dtype = torch.float64, size: float = ORDINARY) -> M:
    """Draw every parameter anew, in place, and the statistics of parts that have nothing else; evaluation mode.

    Args:
        module: any part.
        seed: decides all values.
        dtype: what the module is converted to.
        size: scale of the weights.

    Returns:
        The module.
    """
    random = generator(seed)
    module.to(torch.float64)  # first, so that the values have all digits

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=random, dtype=torch.float64)

    for name, parameter in module.named_parameters():
        if name.endswith("weight"):
            parameter.copy_(size * draw(parameter) / math.sqrt(math.prod(parameter.shape[1:]) or 1))
        elif name.endswith("bias"):  # on the positive side, or whole layers of rectified units may be dead
            parameter.copy_(size * (0.6 * draw(parameter) + 0.5))
        else:
            parameter.add_(0.6 * size * draw(parameter))
    for part in module.modules():
        if isinstance(part, Standardize):
            part.mean.copy_(draw(part.mean))
            part.scale.copy_((0.4 * draw(part.scale)).exp())
            part.initialized.fill_(True)
        elif isinstance(part, BatchNorm):
            part.running_mean.copy_(draw(part.running_mean))
            part.running_var.copy_((0.4 * draw(part.running_var)).exp())
            part.initialized.fill_(True)
        elif isinstance(part, Bijection) and hasattr(part, "initialized") and not list(part.parameters()):
            # Nothing but statistics: they are measured on random data whose features are correlated.
            sample = 1 + draw(torch.empty(64, *part.in_shape))
            part.initialize((sample + sample.roll(1, dims=-1)).to(part.in_dtype or torch.float64))
    return module.eval().to(dtype)


def with_random_weights(
    make: Callable[[], M], name: str, dtype: torch.dtype = torch.float64, size: float = ORDINARY
) -> M:
    """A part with random weights: the first of eight draws that moves points by `LEAST_MOVEMENT`, or else the last.

    Args:
        make: builds the part.
        name: decides the seeds.
        dtype: of the weights.
        size: scale of the weights.
    """
    start = zlib.crc32(name.encode())
    for seed in range(start, start + 8):
        part = randomize(make(), seed, dtype, size)
        bijection = part if isinstance(part, Bijection) else getattr(part, "bijection", None)
        moved = movement(bijection) if isinstance(bijection, Bijection) else None
        if not isinstance(bijection, Bijection) or moved is None or moved > least_movement(bijection):
            break
    return part


def least_movement(bijection: Bijection) -> float:
    """How far random weights must move the median point of this map."""
    return 0.2 * LEAST_MOVEMENT if isinstance(bijection.domain, Sphere) else LEAST_MOVEMENT


@torch.no_grad()
def movement(bijection: Bijection) -> float | None:
    """How far the median point moves; None for maps without weights or statistics, which random weights cannot change,
    and for maps between different event shapes."""
    if not any(t.is_floating_point() and t.numel() for t in bijection.state_dict().values()):
        return None
    if bijection.in_shape != bijection.out_shape:
        return None
    x, context = inputs(bijection, (48,), dtype=bijection.dtype or torch.float64)
    return float((bijection.forward(x, context).to(x.dtype) - x).flatten(1).abs().amax(dim=1).median())


def inputs(
    bijection: Bijection, batch: tuple[int, ...] = (7,), seed: int = 1, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor | None]:
    """Random points of a bijection's domain and a context, in the dtypes that it asks for.

    Returns:
        x of shape (*batch, *in_shape), and a context (*batch, *context_shape) or None.
    """
    random = generator(seed)
    x = bijection.domain.example((*batch, *bijection.in_shape), random).to(bijection.in_dtype or dtype)
    return x, context_for(bijection, batch, random, bijection.dtype or dtype)


def context_for(
    part: Any, batch: tuple[int, ...], random: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor | None:
    """A random context (*batch, *context_shape) for a bijection or distribution; None for what takes none."""
    if part.context_shape is None:
        return None
    return torch.randn((*batch, *part.context_shape), generator=random, dtype=torch.float64).to(dtype)


def float64_copy(module: M) -> M:
    """A copy in float64 and in evaluation mode, with the weights as they are."""
    return copy.deepcopy(module).to(torch.float64).eval()

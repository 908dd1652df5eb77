"""Random numbers of the usual kinds, drawn from a generator in the dtype and on the device of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.core.torch_internals import standard_gamma

__all__ = ["log_gamma_draws", "normals", "uniforms"]


def uniforms(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform on (0, 1), both ends left out."""
    u = torch.rand(shape, dtype=like.dtype, device=like.device, generator=generator)
    eps = torch.finfo(like.dtype).eps
    return u.clamp(eps / 4, 1 - eps / 2)


def normals(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normals."""
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


def log_gamma_draws(shape: Tensor, generator: torch.Generator | None) -> Tensor:
    """The logs of gamma variables with these shapes and rate one, with gradients to the shapes.

    A draw for a is that for a + 1 times the a-th root of a uniform number, kept as a logarithm: for small a it would
    underflow.
    """
    u = uniforms(tuple(shape.shape), shape, generator)
    return standard_gamma(shape + 1, generator=generator).log() + u.log() / shape

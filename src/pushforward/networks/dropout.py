"""Dropout that draws from the generator of the run at hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.execution_mode import current_generator

__all__ = ["dropout"]


def dropout(h: Tensor, probability: float, training: bool) -> Tensor:
    """Set entries of h to zero with this probability and scale up the others, in training only.

    In eager mode the mask comes from the generator of the surrounding `execution` scope; without one, and in compiled
    graphs, from torch's global generator. Seeded alike, both give the same mask.
    """
    if not (probability and training):
        return h
    generator = None if torch.compiler.is_compiling() else current_generator()
    if generator is None or generator.device != h.device:
        return F.dropout(h, probability, True)
    keep = 1 - probability
    return h * torch.empty_like(h).bernoulli_(keep, generator=generator).div_(keep)

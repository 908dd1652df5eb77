"""What a map that is made of others has from them, however they are arranged."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pushforward.core.bijection import ALL_PROPERTIES, KINDS, Bijection
from pushforward.core.exactness import least_exact

__all__ = ["LikeItsPart", "inherit"]


class LikeItsPart(Bijection):
    """A map made of one other, which learns from data and computes in a dtype as that one does."""

    bijection: Bijection

    @property
    def data_dependent(self) -> bool:
        return self.bijection.data_dependent

    @property
    def in_dtype(self) -> torch.dtype | None:
        return self.bijection.in_dtype

    @property
    def out_dtype(self) -> torch.dtype | None:
        return self.bijection.out_dtype


def inherit(whole: Bijection, parts: Sequence[Bijection]) -> None:
    """Set how a map is computed, how exact it is and what it keeps: as the costliest, least exact of its parts."""
    whole.forward_kind = max((part.forward_kind for part in parts), key=KINDS.index)
    whole.inverse_kind = max((part.inverse_kind for part in parts), key=KINDS.index)
    whole.log_det = least_exact(*(part.log_det for part in parts))
    whole.forward_log_det = least_exact(*(part.forward_log_det or part.log_det for part in parts))
    whole.stochastic = any(part.stochastic for part in parts)
    whole.keeps_dimension = all(part.keeps_dimension for part in parts)
    whole.accuracy = max(part.accuracy for part in parts)
    whole.properties = ALL_PROPERTIES.intersection(*(part.properties for part in parts))

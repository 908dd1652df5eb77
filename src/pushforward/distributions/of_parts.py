"""What distributions made of several others have from them: how exact and how costly they are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pushforward.core.bijection import KINDS, Kind
from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Exactness, least_exact

__all__ = ["OfParts"]


class OfParts(Distribution):
    """A distribution that is as exact, and as costly, as the worst of its parts."""

    @abstractmethod
    def _each(self) -> list[Any]:
        """The parts."""

    def _take_kinds(self, parts: Sequence[Any]) -> None:
        """Read once what compiled graphs cannot compare: names."""
        self.stochastic = any(part.stochastic for part in parts)
        self.density_kind: Kind = max((part.log_prob_kind for part in parts), key=KINDS.index)
        self.draw_kind: Kind = max((part.sample_kind for part in parts), key=KINDS.index)

    @property
    def exactness(self) -> Exactness:
        return least_exact(*(part.exactness for part in self._each()))

    @property
    def log_prob_kind(self) -> Kind:
        return self.density_kind

    @property
    def sample_kind(self) -> Kind:
        return self.draw_kind

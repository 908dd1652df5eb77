"""What a model of images may be conditioned on: what all kinds of it have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

__all__ = ["OWNER", "Condition"]

OWNER = "FlowImages"


class Condition(ABC):
    """What a model of images is conditioned on.

    Attributes:
        size: number of context features; a context of zeros stands for a condition that is not told.
    """

    size: int

    @abstractmethod
    def encode(self, y: Any, count: int) -> Tensor | None:
        """Contexts (count, size) of ``count`` images: ``y`` is one condition for all, or one for each; None: not told.

        Raises:
            ValueError: y is no such condition, or there are more or fewer than ``count``.
        """

    def decode(self, context: Tensor | None) -> Any:
        """The numbers of the classes, or the attributes, of contexts (n, size); None where these do not tell all."""
        return None

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What `condition_from_json` reads."""

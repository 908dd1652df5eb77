"""A context beside the one that stands for no label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.config import configurable
from pushforward.core.shapes import event_shape
from pushforward.distributions.context import ContextMap, context_map_dtype, map_context

__all__ = ["ContextPair", "nested_numbers"]

Nested = Sequence[Any] | float | None


@configurable
class ContextPair(ContextMap):
    r"""A context, followed by the same one without its label: a context map of guided models.

    Args:
        context_shape: of one context, or a number of features.
        unconditional: the context that stands for no label, numbers in nested lists of that shape; None in place of a
            number keeps that of the context, such as a noise level beside a label. By default all are 0.
        context_map: a map that both contexts go through, whose weights are shared.

    Shape:
        (n, *context_shape) to (n, 2 · embedded).

    Raises:
        ValueError: ``unconditional`` has another shape.

    >>> pair = ContextPair(3, unconditional=[0.0, 0.0, None])
    >>> pair(torch.tensor([[0.0, 1.0, 0.3]])).tolist()
    [[0.0, 1.0, 0.30000001192092896, 0.0, 0.0, 0.30000001192092896]]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"context_shape": 2, "unconditional": [0.5, None], "context_map": {"type": "Standardize", "features": 2}},
    )
    takes_any_module: ClassVar[tuple[str, ...]] = ("context_map",)
    numbers: Tensor
    keeps: Tensor

    def __init__(
        self,
        context_shape: int | Sequence[int],
        *,
        unconditional: Nested = None,
        context_map: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.in_shape = event_shape("ContextPair", context_shape, name="context_shape")
        flat = [0.0] * math.prod(self.in_shape) if unconditional is None else list(_flat(unconditional))
        shape = self.in_shape if unconditional is None else _shape(unconditional)
        if shape != self.in_shape or len(flat) != math.prod(shape):
            raise ValueError(
                f"ContextPair: unconditional must have the shape of one context, {self.in_shape}; got {shape}."
            )
        self.add_constant("numbers", [0.0 if v is None else float(v) for v in flat], torch.float64)
        self.add_constant("keeps", [v is None for v in flat], torch.bool)
        self.context_map = context_map

    @property
    def in_dtype(self) -> torch.dtype | None:
        return None if self.context_map is None else context_map_dtype(self.context_map)

    def forward(self, context: Tensor) -> Tensor:
        numbers = self.numbers.to(context.dtype).view(self.in_shape)
        both = torch.cat([context, torch.where(self.keeps.view(self.in_shape), context, numbers)])
        if self.context_map is not None:
            both = map_context(self.context_map, both, self.in_shape)
        return torch.cat(both.chunk(2), dim=-1)


def nested_numbers(values: Any) -> Any:
    """Numbers of a tensor, an array or nested lists, as nested lists; None in place of NaN."""
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, list | tuple):
        return [nested_numbers(value) for value in values]
    return None if values is None or values != values else float(values)


def _flat(values: Nested) -> Sequence[float | None]:
    if isinstance(values, Sequence):
        return [number for value in values for number in _flat(value)]
    return [values]


def _shape(values: Nested) -> tuple[int, ...]:
    return (len(values), *(_shape(values[0]) if len(values) else ())) if isinstance(values, Sequence) else ()

"""Constant tensors of a module: they follow from its constructor arguments alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["HasConstants", "follow_buffers", "moved_wide", "round_constants"]


class HasConstants(nn.Module):
    """A module with constant tensors, each rounded once from exact numbers to the dtype that the module has now.

    They are buffers that are not saved: the config determines them. The exact numbers are kept beside the buffers, and
    every conversion of the module rounds them anew. So ``.double()`` of a float32 module gives the constants of one
    that was built in float64, whatever the default dtype was, and ``.to_empty(device=...)`` fills in the constants of
    a module built under ``torch.device("meta")``.
    """

    derived_constants: tuple[str, ...] = ()
    """Further buffers of this kind, which ``_round_constants`` of the class computes."""

    def add_constant(self, name: str, values: Sequence[Any] | float, dtype: torch.dtype | None = None) -> None:
        """Register a constant as the buffer ``name``.

        Args:
            name: of the buffer.
            values: numbers, in nested lists.
            dtype: a fixed dtype, such as ``torch.int64`` for indices; by default that of the module.
        """
        vars(self).setdefault("_exact_constants", {})[name] = values, dtype
        self.register_buffer(name, torch.tensor(values, dtype=dtype or torch.get_default_dtype()), persistent=False)

    @property
    def constants(self) -> frozenset[str]:
        """The names of all constants."""
        return frozenset({*vars(self).get("_exact_constants", {}), *self.derived_constants})

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._round_constants()
        return self

    def _follow_buffers(self) -> None:
        """Read from saved buffers what is kept outside of them; most parts keep nothing."""

    def _round_constants(self) -> None:
        """Set every constant to its exact numbers, in the dtype and on the device that its buffer has."""
        for name, (values, dtype) in vars(self).get("_exact_constants", {}).items():
            buffer = getattr(self, name)
            setattr(self, name, torch.tensor(values, dtype=dtype or buffer.dtype, device=buffer.device))


def follow_buffers(module: nn.Module) -> None:
    """Let a module and its parts read what they keep outside of buffers from buffers that a file has filled."""
    for part in module.modules():
        if isinstance(part, HasConstants):
            part._follow_buffers()


def round_constants(module: nn.Module) -> None:
    """Round the constants of a module and of its parts anew, after the dtype of buffers was changed in place."""
    for part in module.modules():
        if isinstance(part, HasConstants):
            part._round_constants()


def moved_wide(before: Tensor, after: Tensor) -> Tensor:
    """A tensor that a conversion of its module moves, but never narrows: ``before`` on the device of ``after``.

    From the meta device, where there are no values to move, it is ``after`` in the dtype of ``before``.
    """
    return after.to(before.dtype) if before.is_meta else before.to(after.device)

"""Which parts of a model are still to be started from data, and a warning for training loops that forget it."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from torch import Tensor, nn

from pushforward.core.execution_mode import runs_eagerly
from pushforward.core.numerics import concrete_bool

__all__ = ["awaits_data", "watch_for_training"]

LIBRARIES = ("torch", "pushforward")


def watch_for_training(model: nn.Module, density: Tensor) -> None:
    """Let the first backward pass through ``density`` warn if a part with an ``initialized`` buffer has not seen data.

    Data in raw units then meet a model built for standardised ones, which learns slowly or not at all. Densities that
    nobody differentiates draw no warning. Reading the buffers may wait for a device, so it ends as soon as all parts
    have seen data or the warning is given.

    Args:
        model: the distribution that was asked for a density.
        density: the result of ``log_prob``, with its graph.
    """
    if not density.requires_grad or not runs_eagerly(density):
        return
    waiting = _waiting_parts(model)
    if not waiting:
        _stop_watching(model)
        return

    def warn(gradient: Tensor) -> None:
        if vars(model).get("_start_checked"):
            return
        _stop_watching(model)
        warnings.warn(
            f"{_started_by_data(model)}: training begins before its data-dependent parts ({', '.join(waiting)}) have "
            "seen data. Call initialize(x) with the training data once, before the first step; fit does.",
            UserWarning,
            stacklevel=_level_of_caller(),
        )

    density.register_hook(warn)


def awaits_data(model: nn.Module) -> bool:
    """Whether `initialize` would set something: parts with a flag ``initialized`` are set once, others each time.

    A whole of parts has nothing of its own to set, so that only what it is made of counts.
    """
    for part in model.modules():
        if not getattr(part, "data_dependent", False):
            continue
        flag = dict(part.named_buffers(recurse=False)).get("initialized")
        if flag is not None:
            if concrete_bool(flag) is not True:
                return True
        elif not any(getattr(inner, "data_dependent", False) for inner in part.modules() if inner is not part):
            return True
    return False


def _waiting_parts(model: nn.Module) -> list[str]:
    """The classes of the parts that have not seen data."""
    parts: list[Any] = [part for part in model.modules() if part.training]
    flags = [(part, dict(part.named_buffers(recurse=False)).get("initialized")) for part in parts]
    return sorted({type(part).__name__ for part, flag in flags if flag is not None and concrete_bool(flag) is False})


def _stop_watching(model: nn.Module) -> None:
    parts: list[Any] = [part for part in model.modules() if hasattr(part, "_start_checked")]
    for part in parts:
        part._start_checked = True


def _started_by_data(model: nn.Module) -> str:
    """The class of the outermost distribution that `initialize` does something to: of a flow, not of its marginals."""
    for part in model.modules():
        if any("_initialize" in vars(kind) for kind in type(part).__mro__ if kind.__name__ != "Distribution"):
            return type(part).__name__
    return type(model).__name__


def _level_of_caller() -> int:
    """What ``stacklevel`` must be for the caller's line: the first one outside of torch and this library."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in LIBRARIES:
        level, frame = level + 1, frame.f_back
    return level

"""Models without memory for their weights, which come from a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from pushforward.core.config import build
from pushforward.core.constants import HasConstants, round_constants
from pushforward.core.random_state import seeded
from pushforward.core.torch_internals import buffers_of, parameters_of, unsaved_buffers

__all__ = ["assign", "entries", "skeleton"]


USUAL_WEIGHTS = 1_000
"""Parameters that take a constructor no time to speak of."""


def skeleton(config: dict[str, Any], largest: int | None = None, parameters: int | None = None) -> Any:
    """Build the model of a config with its weights and saved buffers on the meta device, its constants on the CPU.

    If a part cannot be built on the meta device, such as a user's part whose constructor reads the values of tensors,
    the whole model is built on the CPU.

    Args:
        config: of the model.
        largest: number of entries of the largest tensor of the file. A model with a larger one is refused before any
            memory is taken for it. None for a model that is in memory already.
        parameters: about how many tensors the file has. A config that asks for far more is refused before all of them
            are built; None for a model that is in memory already.

    Raises:
        ValueError: it has a larger tensor, or more of them; and whatever the constructors raise.
    """
    if parameters is not None and sum("type" in entry for entry in entries(config)) > max(
        USUAL_WEIGHTS, 20 * parameters
    ):
        raise ValueError("the config has more parts than the weights of the file can belong to")
    # Initial weights are drawn and discarded, without a trace in a fit of another thread. A model may be built twice.
    with seeded(0), _at_most(None if parameters is None else max(USUAL_WEIGHTS, 4 * parameters), largest):
        try:
            with torch.device("meta"):
                model = build(config)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise  # an error of the config, which would be the same on the CPU
        except Exception:  # something that reads values of tensors
            return build(config)
        state = model.state_dict() if isinstance(model, nn.Module) else {}
        sizes = (tensor.numel() for tensor in state.values() if isinstance(tensor, Tensor))
        if largest is not None and max(sizes, default=0) > largest:
            raise ValueError("the config asks for larger weights than the file holds")
        with suppress(Exception):
            if _fill_constants(model):
                return model
        return build(config)


def entries(config: object) -> Iterator[dict[str, Any]]:
    """The dicts of a config, however deep they are."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


@contextmanager
def _at_most(parameters: int | None, largest: int | None) -> Iterator[None]:
    """Within the block this thread creates at most so many parameters of modules, none with more than ``largest``
    numbers.

    Raises:
        ValueError: there are more, or one is larger: at once, before anything is computed for it.
    """
    if parameters is None:
        yield
        return
    count, thread = 0, threading.get_ident()

    def count_one(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > parameters:
            raise ValueError("the config asks for more weights than the file holds")
        if threading.get_ident() == thread and largest is not None and parameter.numel() > largest:
            raise ValueError("the config asks for larger weights than the file holds")

    hook = register_module_parameter_registration_hook(count_one)
    try:
        yield
    finally:
        hook.remove()


def _fill_constants(model: Any) -> bool:
    """Compute the constants of a model on the meta device; return False if it has other tensors that no file holds."""
    if not isinstance(model, nn.Module):
        return False
    for part in model.modules():
        constants = part.constants if isinstance(part, HasConstants) else frozenset()
        hidden = any(isinstance(value, Tensor) for value in vars(part).values())
        if hidden or not unsaved_buffers(part) <= constants:
            return False
        for name in unsaved_buffers(part):
            buffer = buffers_of(part)[name]
            buffers_of(part)[name] = None if buffer is None else torch.empty_like(buffer, device="cpu")
    round_constants(model)
    return True


def assign(model: nn.Module, name: str, before: Tensor, tensor: Tensor) -> None:
    """Put a tensor in the place of the weight or buffer ``before``, which may be on the meta device."""
    path, _, attribute = name.rpartition(".")
    part = model.get_submodule(path)
    if attribute in parameters_of(part):
        parameters_of(part)[attribute] = nn.Parameter(tensor, requires_grad=before.requires_grad)
    else:
        buffers_of(part)[attribute] = tensor

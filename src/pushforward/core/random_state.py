"""Torch's global random generators, borrowed for a block of code.

What is drawn inside follows states of the borrower's own, and outside nothing has changed. Torch has one global
generator a device for the whole process, so one block runs at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["States", "borrow_global_state", "seeded", "seeded_states"]

States = dict[str, Tensor]
"""States of generators by device, such as ``"cpu"`` and ``"cuda:0"``."""

_LOCK = threading.RLock()


def seeded_states(seed: int, devices: Iterable[str] = ("cpu",)) -> States:
    """The states of generators of these devices after ``manual_seed(seed)``."""
    return {device: torch.Generator(device).manual_seed(seed).get_state() for device in devices}


@contextmanager
def borrow_global_state(states: States) -> Iterator[None]:
    """Inside, torch's global generators are in these states. Afterwards they are in those of before, and ``states``
    holds where the block left them."""
    with _LOCK:
        before = {device: _get(device) for device in states}
        try:
            for device, state in states.items():
                _set(device, state)
            yield
        finally:
            for device, state in before.items():
                states[device] = _get(device)
                _set(device, state)


@contextmanager
def seeded(seed: int, devices: Iterable[str] = ("cpu",)) -> Iterator[None]:
    """Inside, torch's global generators of these devices are seeded; afterwards they are as before.

    >>> before = torch.get_rng_state()
    >>> with seeded(0):
    ...     first = torch.rand(3)
    >>> with seeded(0):
    ...     second = torch.rand(3)
    >>> torch.equal(first, second), torch.equal(torch.get_rng_state(), before)
    (True, True)
    """
    with borrow_global_state(seeded_states(seed, devices)):
        yield


def _get(device: str) -> Tensor:
    state: Tensor = torch.get_rng_state() if device == "cpu" else torch.get_device_module(device).get_rng_state(device)
    return state


def _set(device: str, state: Tensor) -> None:
    if device == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)

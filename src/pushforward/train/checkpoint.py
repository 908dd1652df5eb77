"""The whole state of a training run in one file, so that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.core.files import atomic_path
from pushforward.train.history import TrainingError

__all__ = ["fingerprint", "read_checkpoint", "write_checkpoint"]

FORMAT = "pushforward-checkpoint-1"
Tensors = dict[str, Tensor]


def fingerprint(*tensors: Tensor | None) -> str:
    """A hash of the data a run learns from: going on with other data would not be the same run."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            digest.update(b"none")
        else:
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_checkpoint(path: str | os.PathLike[str], state: dict[str, Any], groups: dict[str, Tensors]) -> None:
    """Write numbers and tensors atomically: killed at any moment, the file holds the old state or the new one.

    Args:
        path: the file.
        state: JSON-able numbers; Python writes floats so that they read back bit for bit.
        groups: named groups of tensors.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{group}/{name}": t.detach().cpu().contiguous() for group, ts in groups.items() for name, t in ts.items()
    }
    header = {"format": FORMAT, "state": json.dumps(state), "groups": json.dumps(sorted(groups))}
    with atomic_path(path) as temporary:
        # The same storage may stand under two names (best and current weights); the file wants each on its own.
        save_file({name: t.clone() for name, t in tensors.items()}, temporary, metadata=header)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensors]]:
    """The inverse of `write_checkpoint`.

    Raises:
        TrainingError: the file is not a checkpoint, or not a whole one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(path), framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise TrainingError(f"fit: {path} is not a checkpoint of this version; delete it to start afresh.")
            groups: dict[str, Tensors] = {name: {} for name in json.loads(header["groups"])}
            for key in file.keys():  # noqa: SIM118 - not a mapping
                group, _, name = key.partition("/")
                groups[group][name] = file.get_tensor(key)
            return json.loads(header["state"]), groups
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise TrainingError(
            f"fit: {path} cannot be read as a checkpoint ({error}); delete it to start afresh."
        ) from None


def clone(tensors: Tensors) -> Tensors:
    """A copy that later steps do not change."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """The optimiser's moments and step counts by parameter number."""
    state = optimizer.state_dict()["state"]
    return {f"{k}.{name}": value for k, entry in state.items() for name, value in entry.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        k, _, name = key.partition(".")
        state.setdefault(int(k), {})[name] = value.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

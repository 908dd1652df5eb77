"""The whole state of a training run in one file, from which a killed run goes on as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from pushforward.io.tensor_files import write_tensors
from pushforward.train.history import TrainingError

__all__ = ["fingerprint", "read_checkpoint", "read_step", "write_checkpoint"]

FORMAT = "pushforward-checkpoint-2"
Tensors = dict[str, Tensor]


def fingerprint(*tensors: Tensor | None) -> str:
    """A hash of the data that a run learns from: with other data a resumed run would be another one."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            digest.update(b"none")
        else:
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_checkpoint(path: str | os.PathLike[str], state: dict[str, Any], groups: dict[str, Tensors]) -> None:
    """Write numbers and tensors atomically: whenever the process is killed, the file holds the old state or the new
    one.

    Args:
        path: the file.
        state: JSON-able numbers; Python writes floats so that they read back bit for bit.
        groups: named groups of tensors.
    """
    tensors = {
        f"{group}/{name}": t.detach().cpu().contiguous() for group, ts in groups.items() for name, t in ts.items()
    }
    header = {"format": FORMAT, "state": json.dumps(state), "groups": json.dumps(sorted(groups))}
    # safetensors refuses tensors that share their storage, as the best and the current weights may.
    write_tensors(path, {name: t.clone() for name, t in tensors.items()}, header)


def read_step(path: str | os.PathLike[str]) -> int:
    """The number of steps of the run in a checkpoint, without its tensors.

    Raises:
        TrainingError: as in `read_checkpoint`.
    """
    with _opened(path) as (_, header):
        return int(json.loads(header["state"])["step"])


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensors]]:
    """The inverse of `write_checkpoint`.

    Raises:
        TrainingError: the file is not a checkpoint, or not a whole one.
    """
    with _opened(path) as (file, header):
        groups: dict[str, Tensors] = {name: {} for name in json.loads(header["groups"])}
        for key in file.keys():  # noqa: SIM118 - not a mapping
            group, _, name = key.partition("/")
            groups[group][name] = file.get_tensor(key)
        return json.loads(header["state"]), groups


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, dict[str, str]]]:
    """An open checkpoint, and its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(path), framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise TrainingError(f"fit: {path} is not a checkpoint of this version; delete it to start afresh.")
            yield file, header
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise TrainingError(
            f"fit: {path} cannot be read as a checkpoint ({error}); delete it to start afresh."
        ) from None

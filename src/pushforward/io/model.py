"""Saving and loading a model: its config says how to build it, its tensors hold what was learned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pushforward.flows  # noqa: F401 - every part that the library knows gets into the registry
from pushforward._version import __version__
from pushforward.core.bijection import Bijection
from pushforward.core.config import REGISTRY
from pushforward.core.constants import follow_buffers, round_constants
from pushforward.core.distribution import Distribution, FixedContext
from pushforward.core.torch_internals import buffers_of, unsaved_buffers
from pushforward.io.header import Document, hash_tensors, read_document, sealed
from pushforward.io.skeleton import assign, entries, skeleton
from pushforward.io.tensor_files import write_tensors

__all__ = ["Header", "load", "read_header", "save"]

FLOATING = {str(t).removeprefix("torch."): t for t in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}
"""Dtypes of buffers, by name."""


@dataclass(frozen=True)
class Header:
    """What a model file says about itself.

    Attributes:
        config: the constructor arguments of the model and its parts.
        metadata: the metadata passed to `save`.
        library_version: the version of pushforward that wrote the file.
        sha256: the hash of everything in the file, tensors included: equal for equal models and metadata.
        parameters: number of trainable parameters.
    """

    config: dict[str, Any]
    metadata: dict[str, Any]
    library_version: str
    sha256: str
    parameters: int


def save(
    model: Distribution | Bijection, path: str | os.PathLike[str], *, metadata: dict[str, Any] | None = None
) -> None:
    """Write a model to one file, atomically: killed at any moment, the file holds the old model or the new one.

    Args:
        model: a distribution or bijection made of registered parts; or an estimator, which its class's ``load`` reads
            again.
        path: the file; by custom it ends in ``.safetensors``. Its folder must exist.
        metadata: anything JSON can hold, such as column names. Tuples come back as lists.

    Raises:
        ValueError: the model is not described by its config, or metadata is not JSON.
        OSError: the file cannot be written there.

    >>> from tempfile import TemporaryDirectory
    >>> from pushforward.bijections import LU
    >>> with TemporaryDirectory() as folder:
    ...     save(LU(3), Path(folder, "lu.safetensors"), metadata={"unit": "kW"})
    ...     header = read_header(Path(folder, "lu.safetensors"))
    ...     part = load(Path(folder, "lu.safetensors"))
    >>> header.metadata, part.config
    ({'unit': 'kW'}, {'type': 'LU', 'features': 3})
    """
    if (parts := getattr(model, "as_saved", None)) is not None:
        model, columns = parts()
        metadata = {**columns, **(metadata or {})}
    config = _config_of(model)
    shared = _shared_modules(model)
    state = _state(model, shared)
    _check_rebuilds(model, config, shared, state)
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in state.items()}
    header = sealed(
        {
            "library_version": __version__,
            "config": config,
            "metadata": _as_json({} if metadata is None else metadata),
            "shared": shared,
            "dtypes": {name: str(t.dtype).removeprefix("torch.") for name, t in _computed_buffers(model)},
            "parameters": sum(p.numel() for p in model.parameters()),
            "tensors_sha256": hash_tensors(tensors),
        }
    )
    write_tensors(path, tensors, header)


def load(path: str | os.PathLike[str], *, device: torch.device | str | None = None) -> Any:
    """Read a model that `save` wrote, on any device, in evaluation mode. No code from the file is run.

    Args:
        path: the file.
        device: where the model goes; the CPU by default, wherever it was saved.

    Returns:
        The distribution or bijection, its weights and buffers as they were, bit for bit.

    Raises:
        ValueError: the file is not a model, is damaged or altered, or needs another version of the library.
        FileNotFoundError: there is no such file.
    """
    where = os.fspath(path)
    document = read_document(where)
    tensors = _read_tensors(where)
    model = _rebuild(where, document, tensors)
    _fill(where, model, document["shared"], tensors)
    if hash_tensors(tensors) != document["tensors_sha256"]:
        raise ValueError(f"{where}: the weights were altered after the file was written (their SHA-256 differs).")
    if device is not None:
        try:
            model.to(device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA fails an assertion
            reason = str(error).splitlines()[0].rstrip(".")
            raise ValueError(f"load: the model cannot be put on device {str(device)!r} ({reason}).") from None
    return model.eval()


def read_header(path: str | os.PathLike[str]) -> Header:
    """What a model file says about itself, without building the model or reading its weights.

    Raises:
        ValueError, FileNotFoundError: as in `load`, as far as the header shows it.
    """
    document = read_document(os.fspath(path))
    fields = ("config", "metadata", "library_version", "sha256", "parameters")
    return Header(**{name: document[name] for name in fields})


def _config_of(model: object) -> dict[str, Any]:
    owner = type(model).__name__
    if isinstance(model, FixedContext):
        raise ValueError(
            "save: a distribution with its context fixed holds a tensor that no config describes. Save the "
            "distribution itself, and call condition() after loading."
        )
    if not isinstance(model, Distribution | Bijection):
        raise ValueError(
            f"save: a Distribution or Bijection can be saved; got {owner}. If it wraps a model (compiled, "
            "distributed), save the model inside."
        )
    config = getattr(model, "config", None)
    if not isinstance(config, dict):
        raise ValueError(
            f"save: {owner} does not record how it was built. Put @configurable above the class, and give its "
            "constructor numbers, strings and registered parts only."
        )
    if unknown := _types(config) - REGISTRY.keys():
        raise ValueError(
            f"save: {owner} holds a {min(unknown)}, whose class is not registered. Wrap it in a class of your own that "
            "builds it from numbers and strings, and put @configurable above that class."
        )
    return config


def _as_json(metadata: object) -> Any:
    try:
        text = json.dumps(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"save: metadata must be made of dicts, lists, strings, numbers, booleans and None: {error}."
        ) from None
    if not isinstance(metadata, dict):
        raise ValueError(f"save: metadata must be a dict; got {type(metadata).__name__}.")
    return json.loads(text)


def _shared_modules(model: nn.Module) -> dict[str, str]:
    """Modules that occur more than once: each later path and the first one, outermost modules only."""
    first: dict[int, str] = {}
    shared: dict[str, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if _below(name, shared):
            continue
        if id(module) in first:
            shared[name] = first[id(module)]
        else:
            first[id(module)] = name
    return shared


def _below(name: str, shared: dict[str, str]) -> bool:
    return any(name == path or name.startswith(path + ".") for path in shared)


def _state(model: nn.Module, shared: dict[str, str]) -> dict[str, Tensor]:
    """The weights and buffers that are saved, each once."""
    state = {name: t for name, t in model.state_dict(keep_vars=True).items() if not _below(name, shared)}
    names: dict[int, str] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"save: {name} is a {type(tensor).__name__}, not a tensor. Keep it in the config instead.")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise ValueError(f"save: {name} is a sparse, quantised or meta tensor. Make it an ordinary one first.")
        if id(tensor) in names:
            raise ValueError(
                f"save: {names[id(tensor)]} and {name} are one tensor in two modules, which a config cannot say. "
                "Share the module that holds it, or give each module its own copy."
            )
        names[id(tensor)] = name
    return state


def _computed_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Floating-point buffers that the constructor computes; only their dtype is saved."""
    for prefix, module in model.named_modules():
        for name in unsaved_buffers(module):
            tensor = buffers_of(module).get(name)
            if tensor is not None and tensor.is_floating_point():
                yield (f"{prefix}.{name}" if prefix else name), tensor


def _check_rebuilds(model: nn.Module, config: dict[str, Any], shared: dict[str, str], state: dict[str, Tensor]) -> None:
    """Refuse a model that was changed after it was built, since its config would build another one."""
    twin: nn.Module = skeleton(config)
    others = dict(twin.named_modules(remove_duplicate=False))
    for name, module in model.named_modules(remove_duplicate=False):
        other = others.get(name)
        if type(other) is not type(module) or getattr(other, "config", None) != getattr(module, "config", None):
            raise ValueError(
                f"save: {name or type(model).__name__} is not what the config of {type(model).__name__} builds: it "
                "was replaced afterwards. Build the model anew from the parts that it should have."
            )
    _share(twin, shared)
    wanted = {name: t for name, t in twin.state_dict(keep_vars=True).items() if not _below(name, shared)}
    odd = sorted(wanted.keys() ^ state.keys()) or [n for n in state if state[n].shape != wanted[n].shape]
    if odd:
        raise ValueError(
            f"save: the tensor {odd[0]} of {type(model).__name__} is not what its config builds: it was added, removed "
            "or resized afterwards. Create it in the constructor, from constructor arguments."
        )


def _read_tensors(where: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(where), framework="pt") as file:
            # Copies: a view of the file would change, or crash, when the file does.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            if any(t.dtype == torch.bool and bool((t.view(torch.uint8) > 1).any()) for t in tensors.values()):
                raise ValueError("a truth value is neither 0 nor 1")  # copying it would hide that
            return {name: tensor.clone() for name, tensor in tensors.items()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{where}: the file is cut short or damaged ({str(error).rstrip('.')}).") from None


def _rebuild(where: str, document: Document, tensors: dict[str, Tensor]) -> nn.Module:
    largest = max((tensor.numel() for tensor in tensors.values()), default=0)
    try:
        model = skeleton(document["config"], largest, len(tensors) * (1 + len(document["shared"])))
    except Exception as error:  # a constructor of another version may fail in any way
        unknown = _types(document["config"]) - REGISTRY.keys()
        if unknown:
            raise ValueError(
                f"{where}: no part is called {min(unknown)!r} here. Import the module that defines it before loading."
            ) from None
        raise ValueError(
            f"{where}: pushforward {document['library_version']} wrote a model that {__version__} cannot build "
            f"({type(error).__name__}: {' '.join(str(error).split())[:1000]})."
        ) from error
    if not isinstance(model, Distribution | Bijection):
        raise ValueError(f"{where}: the config builds a {type(model).__name__}, not a distribution or bijection.")
    for name, dtype in document["dtypes"].items():
        path, _, buffer_name = name.rpartition(".")
        try:
            buffer = buffers_of(model.get_submodule(path))[buffer_name]
        except (AttributeError, KeyError):
            raise ValueError(f"{where}: this version of pushforward has no buffer {name} in such a model.") from None
        if not isinstance(dtype, str) or dtype not in FLOATING:
            raise ValueError(f"{where}: the header gives the buffer {name} a dtype that there is not.")
        if buffer is not None:
            buffer.data = buffer.data.to(FLOATING[dtype])
    round_constants(model)
    return model


def _types(config: object) -> set[str]:
    """Every part that a config names."""
    return {entry["type"] for entry in entries(config) if isinstance(entry.get("type"), str)}


def _share(model: nn.Module, shared: dict[str, str]) -> None:
    """Restore modules that occur more than once."""
    for path, first in shared.items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, model.get_submodule(first))


def _fill(where: str, model: nn.Module, shared: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Give every weight and buffer its value and dtype."""
    try:
        _share(model, shared)
    except (AttributeError, TypeError, KeyError) as error:
        raise ValueError(f"{where}: the header shares a part that the model does not have ({error}).") from None
    wanted = {name: t for name, t in model.state_dict(keep_vars=True).items() if not _below(name, shared)}
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        lacks = f"it lacks the tensor {missing[0]}" if missing else ""
        name = " ".join(extra[0].split())[:200] if extra else ""
        holds = f"it holds a tensor {name} that the model does not have" if extra else ""
        raise ValueError(
            f"{where}: the file does not fit its own config: {' and '.join(filter(None, [lacks, holds]))}."
        )
    for name, tensor in tensors.items():
        target = wanted[name]
        if tensor.shape != target.shape:
            raise ValueError(
                f"{where}: the tensor {name} has shape {tuple(tensor.shape)}, but the model needs "
                f"{tuple(target.shape)}."
            )
        assign(model, name, target, tensor)
    follow_buffers(model)

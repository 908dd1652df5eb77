"""``pushforward info``: the contents of a model file."""

from __future__ import annotations

from typing import Any

import torch

from pushforward.core.config import build
from pushforward.core.exactness import qualified
from pushforward.evaluate.metrics import TITLES
from pushforward.io import Header, read_header

__all__ = ["describe", "info_rows"]


def describe(model: str) -> tuple[dict[str, Any], Header]:
    """The header as JSON, with the parts of the model as a printed tree."""
    header = read_header(model)
    try:
        with torch.random.fork_rng(devices=[]):
            parts = str(build(header.config))
    except ValueError as error:  # a class of the user, whose module is not imported here
        parts = f"cannot be built here: {error}"
    return {
        "model": model,
        "library_version": header.library_version,
        "parameters": header.parameters,
        "sha256": header.sha256,
        "config": header.config,
        "metadata": header.metadata,
        "parts": parts,
    }, header


def info_rows(model: str, header: Header) -> list[list[str]]:
    """The main facts as rows of a table to print."""
    metadata = header.metadata
    names, types = metadata.get("columns") or [], metadata.get("column_types") or []
    typed = [f"{n} ({t})" for n, t in zip(names, types, strict=True)] if len(names) == len(types) else names
    options = ", ".join(f"{key}={value}" for key, value in (metadata.get("options") or {}).items())
    history, baselines = metadata.get("history") or {}, metadata.get("baselines") or {}
    rows = [
        ["file", model],
        ["model", " ".join(filter(None, [str(metadata.get("model", header.config.get("type"))), options]))],
        ["images", metadata.get("images") or ""],
        ["classes", ", ".join(metadata.get("classes") or [])],
        ["attributes", ", ".join(metadata.get("attributes") or [])],
        ["columns", ", ".join(typed)],
        ["given", ", ".join(metadata.get("given") or [])],
        ["left out", ", ".join(metadata.get("dropped") or [])],
        ["parameters", f"{header.parameters:,}"],
        ["training rows", f"{metadata['train_rows']:,}" if "train_rows" in metadata else ""],
        ["trained", _trained(history)],
        ["baselines", ", ".join(_baseline(name, stored) for name, stored in baselines.items())],
        ["written by", f"pushforward {header.library_version}"],
        ["sha256", header.sha256],
    ]
    return [row for row in rows if row[1]]


def _baseline(name: str, stored: dict[str, Any]) -> str:
    """A baseline as other commands call it, a mixture with the number of its components."""
    components = len(stored.get("weights", []))
    return TITLES.get(name, name) + (f" of {components}" if components > 1 else "")


def _trained(history: dict[str, Any]) -> str:
    if not history.get("records"):
        return f"{history['stopped']} in {history['seconds']:,.0f} s" if history.get("stopped") else ""
    last = history["records"][-1]
    words = f"{last['step']:,} steps in {history['seconds']:,.0f} s"
    if history.get("best_validation") is not None:
        name = qualified("validation", history.get("exactness", "exact"))
        words += f", {name} {history['best_validation']:.3f} nats at step {history['best_step']:,}"
    return f"{words}; {history['stopped']}" if history.get("stopped") else words

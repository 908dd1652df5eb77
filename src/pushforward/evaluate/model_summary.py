"""A model in a few lines: its layers, their settings, and how many parameters they have."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["summarize"]

CONTAINERS = ("Chain", "Inverse", "ModuleList")  # parts that only hold others
SHAPES = ("features", "columns", "context", "data_dtype")  # settings that follow from the table
DEFAULTS = (None, False, 0, 0.0, "plain")  # settings that change nothing


def summarize(model: nn.Module) -> list[list[str]]:
    """Rows (layer, number, settings, parameters) of a table, equal layers as one row.

    >>> from pushforward.flows import nsf
    >>> summarize(nsf(2, depth=2, hidden=(8,)))[2]
    ['Autoregressive of RationalQuadratic', '2', 'hidden 8, activation relu, bins 16, bound 5', '1,740']
    """
    rows: dict[tuple[str, str], list[int]] = {}
    for part in _parts(model):
        rows.setdefault(_described(part), []).append(sum(p.numel() for p in part.parameters()))
    return [[name, f"{len(sizes)}", settings, f"{sum(sizes):,}"] for (name, settings), sizes in rows.items()]


def _parts(module: nn.Module) -> list[nn.Module]:
    """The layers inside, in the order of the map."""
    children = list(module.children())
    if any(type(part).__name__ in CONTAINERS for part in (module, *children)):
        return [part for child in children for part in _parts(child)]
    return [module]


def _described(part: nn.Module) -> tuple[str, str]:
    """The name of a layer, with that of the scalar map inside, and its settings."""
    config = getattr(part, "config", {"type": type(part).__name__})
    inner = config.get("univariate")
    name = f"{config['type']} of {inner['type']}" if isinstance(inner, dict) else str(config["type"])
    settings = {**config, **(inner if isinstance(inner, dict) else {})}
    shown = [f"{key.replace('_', ' ')} {_shown(value)}" for key, value in settings.items() if _is_shown(key, value)]
    if "hidden" not in settings and (widths := _widths(part)):
        shown.append(f"hidden {widths}")
    return name, ", ".join(shown)


def _is_shown(key: str, value: Any) -> bool:
    return key not in ("type", *SHAPES) and value not in DEFAULTS and not isinstance(value, dict)


def _widths(part: nn.Module) -> str:
    """The outputs of linear layers, those that give the parameters of columns left out."""
    layers = [m for name, m in part.named_modules() if isinstance(m, nn.Linear) and "last" not in name.split(".")]
    return _shown([layer.out_features for layer in layers])


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " × ".join(map(_shown, value[:8])) + (" × ..." if len(value) > 8 else "")
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Normalizing flows: push a simple density through an invertible map and know the exact likelihood of every point.

What is named here is imported when it is first used, so that a command line's help does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pushforward._version import __version__

if TYPE_CHECKING:
    from pushforward import (
        batch,
        bijections,
        distributions,
        estimators,
        evaluate,
        flows,
        interop,
        io,
        lab,
        networks,
        plots,
        serve,
        testing,
        train,
        univariate,
    )
    from pushforward.core.config import build, configurable
    from pushforward.core.distribution import Distribution
    from pushforward.distributions import Flow, ensemble
    from pushforward.interop import citation
    from pushforward.io import load, save
    from pushforward.train import fit

__all__ = [
    "Distribution",
    "Flow",
    "__version__",
    "batch",
    "bijections",
    "build",
    "citation",
    "configurable",
    "distributions",
    "ensemble",
    "estimators",
    "evaluate",
    "fit",
    "flows",
    "interop",
    "io",
    "lab",
    "load",
    "networks",
    "plots",
    "save",
    "serve",
    "testing",
    "train",
    "univariate",
]

_HOMES = {
    "Distribution": "core.distribution",
    "Flow": "distributions",
    "build": "core.config",
    "citation": "interop",
    "configurable": "core.config",
    "ensemble": "distributions",
    "fit": "train",
    "load": "io",
    "save": "io",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pushforward' has no attribute {name!r}")
    import_module("pushforward.flows")  # every part that the library knows gets into the registry
    home = import_module(f"pushforward.{_HOMES.get(name, name)}")
    value = getattr(home, name) if name in _HOMES else home
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

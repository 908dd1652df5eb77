"""Config as data: a registered class remembers its constructor arguments as JSON, and ``build`` inverts it."""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from pushforward.core.shared_options import documented, expanded, shared_documentation

__all__ = ["REGISTRY", "build", "configurable", "register_adapter", "shown_config"]

REGISTRY: dict[str, type] = {}
"""Every configurable class by its name: what tests, the gallery, saved files and the command line draw from."""

ADAPTERS: dict[type, Callable[[Any], Any]] = {}
"""Classes of other libraries whose objects are taken where parts are, and what makes parts of them."""

C = TypeVar("C", bound=type[Any])


def register_adapter(kind: type, adapt: Callable[[Any], Any]) -> None:
    """Let constructors of configurable classes take objects of another library, each as the part that ``adapt`` makes
    of it."""
    ADAPTERS[kind] = adapt


def configurable(cls: C) -> C:
    """Register a class and let its instances record their constructor arguments in ``config``.

    Arguments must be JSON-able or themselves configurable. The record is made by the class that is built, not by its
    parents, so a registered class may extend another. Arguments that the class lists in ``takes_any_module`` may be
    modules of classes that are not registered: the config then names their class, and cannot be built or saved. A class
    of the same module and name takes the place of the earlier one, as when a cell of a notebook runs again.

    Raises:
        ValueError: another class is registered by this name; a built object, if an argument is not JSON-able.

    >>> from pushforward.bijections import Flip
    >>> Flip(3).config
    {'type': 'Flip', 'features': 3}
    >>> build(Flip(3).config).config == Flip(3).config
    True
    """
    if REGISTRY.get(cls.__name__, cls).__module__ != cls.__module__:
        raise ValueError(f"configurable: the name {cls.__name__} is taken by {REGISTRY[cls.__name__].__module__}.")
    owner: Any = cls
    init = owner.__init__
    shared = shared_documentation(init)
    signature = expanded(init, inspect.signature(init), {})
    if shared and owner.__doc__ is not None:  # python -OO removes docstrings
        owner.__doc__ = documented(owner.__doc__, dict(list(signature.parameters.items())[1:]), shared)

    @functools.wraps(init)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        args, kwargs = plain(args), {key: plain(value) for key, value in kwargs.items()}
        if shared:
            _check_names(cls.__name__, signature, kwargs)
        init(self, *args, **kwargs)
        if type(self) is cls:
            arguments = dict(signature.bind(self, *args, **kwargs).arguments)
            arguments.pop(next(iter(signature.parameters)))
            for key in getattr(cls, "takes_any_module", ()):
                if isinstance(arguments.get(key), list | tuple):
                    arguments[key] = [_config_or_name(value) for value in arguments[key]]
                elif arguments.get(key) is not None:
                    arguments[key] = _config_or_name(arguments[key])
            encoded = {key: encode(value, cls.__name__, key) for key, value in arguments.items()}
            self.config = {"type": cls.__name__, **encoded}

    owner.__init__ = recording
    owner.__init__.__signature__ = signature
    REGISTRY[cls.__name__] = cls
    return cls


def _config_or_name(value: Any) -> Any:
    """A part, or the name of a class that is not registered, by which saving says what it cannot write."""
    if hasattr(value, "config") or not isinstance(value, torch.nn.Module):
        return value
    return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}


def _check_names(owner: str, signature: inspect.Signature, options: dict[str, Any]) -> None:
    """Refuse keyword arguments that a constructor does not have, as Python does where no options are shared."""
    names = list(signature.parameters)[1:]
    for name in options:
        if name not in names:
            raise TypeError(f"{owner}: there is no option {name!r}. Its arguments are {', '.join(names)}.")


def plain(value: Any) -> Any:
    """NumPy's scalars as numbers of Python, which JSON knows, and objects of other libraries as parts (see
    `register_adapter`), in lists and tuples too; anything else as it is."""
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    for kind, adapt in ADAPTERS.items():
        if isinstance(value, kind):
            return adapt(value)
    is_scalar = hasattr(value, "dtype") and getattr(value, "shape", None) == () and not isinstance(value, torch.Tensor)
    return value.item() if is_scalar else value


def encode(value: Any, owner: str, name: str) -> Any:
    """A constructor argument as JSON; configurable objects become their config.

    Raises:
        ValueError: the value is neither JSON-able nor configurable.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [encode(item, owner, name) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item, owner, name) for key, item in value.items()}
    if isinstance(config := getattr(value, "config", None), dict):
        return config
    remedy = "Give the name of a registered part, or a part built by a @configurable class."
    if inspect.isroutine(value):
        remedy = "A function cannot be written to a file: register it under a name and pass the name."
    elif hasattr(value, "tolist"):
        remedy = f"Pass {name}.tolist(): numbers, not a tensor, are written to the config."
    raise ValueError(
        f"{owner}: {name} must be made of numbers, strings and parts; got {type(value).__name__}. {remedy}"
    )


def build(config: dict[str, Any]) -> Any:
    """Build the object that a config describes.

    Args:
        config: ``{"type": NAME, **arguments}``; arguments may hold further configs, in lists too.

    Raises:
        ValueError: the type is unknown, or its constructor does not take the arguments.
    """
    if not isinstance(config, dict) or not isinstance(config.get("type"), str):
        raise ValueError(f"build: a config is a dict with a 'type'; got {type(config).__name__}.")
    name = config["type"]
    cls = REGISTRY.get(name)
    if cls is None:
        names = ", ".join(sorted(REGISTRY))
        raise ValueError(f"build: no part is called {name!r}. Known parts: {names}. Import the module that defines it.")
    arguments = {key: decode(value) for key, value in config.items() if key != "type"}
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"build: {name} cannot be built from {sorted(arguments)}: {error}.") from None
    return cls(**arguments)


def decode(value: Any) -> Any:
    """The inverse of `encode`."""
    if isinstance(value, dict):
        return build(value) if "type" in value else {key: decode(item) for key, item in value.items()}
    return [decode(item) for item in value] if isinstance(value, list) else value


def shown_config(module: Any) -> str:
    """The constructor arguments of a module for its printed form, long ones cut; parts among them print themselves."""
    arguments = {key: value for key, value in getattr(module, "config", {}).items() if key != "type"}
    return ", ".join(f"{key}={reprlib.repr(value)}" for key, value in arguments.items() if not _has_parts(value))


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_parts, value)))

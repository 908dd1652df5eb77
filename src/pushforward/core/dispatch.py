"""The one seam between mathematics and fast paths: a registry of kernels, keyed by operation and types of its parts.

The body of a method marked `accelerated` is the definition of an operation. Inside ``execution(kernels=True)`` a kernel
that is registered for the operation and for exactly the types of the parts involved may run instead. Kernels live in
`pushforward.kernels`; the modules that define operations know none of them.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import product
from typing import Any, TypeVar, cast

from pushforward.core.execution_mode import current_execution

__all__ = ["Kernel", "accelerated", "definition", "kernels_for", "register"]

Method = TypeVar("Method", bound=Callable[..., Any])
KernelClass = TypeVar("KernelClass", bound="type[Kernel]")


class Kernel(ABC):
    """A faster way to compute one operation, to rounding. Arguments are those of the operation."""

    @abstractmethod
    def supports(self, part: Any, *args: Any) -> bool:
        """Whether `run` may be called with these arguments, here and now."""

    @abstractmethod
    def run(self, part: Any, *args: Any) -> Any:
        """The result of the operation, or ``NotImplemented`` where it turns out that the kernel cannot compute it."""


_KERNELS: dict[tuple[Any, ...], list[Kernel]] = {}


def accelerated(*parts: str) -> Callable[[Method], Method]:
    """Mark a method as the definition of an operation for which kernels may be registered.

    The method belongs to a module and takes positional arguments only. Without kernels it costs one call more than the
    method itself.

    Args:
        *parts: names of the submodules whose types, after that of the instance, belong to the key.
    """

    def decorate(method: Method) -> Method:
        operation = method.__qualname__

        @functools.wraps(method)
        def dispatch(self: Any, *args: Any) -> Any:
            if current_execution().kernels:
                modules = self._modules  # attributes of modules, found without `nn.Module.__getattr__`
                key = (operation, type(self), *[type(modules[name]) for name in parts])
                if key in _KERNELS:
                    for kernel in _KERNELS[key]:
                        if kernel.supports(self, *args):
                            result = kernel.run(self, *args)
                            if result is not NotImplemented:
                                return result
            return method(self, *args)

        cast(Any, dispatch).parts = parts
        return cast(Method, dispatch)

    return decorate


def definition(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The method under `accelerated`, which no kernel replaces."""
    return cast(Any, operation).__wrapped__


def register(operation: Callable[..., Any], *types: type | tuple[type, ...]) -> Callable[[KernelClass], KernelClass]:
    """Register an instance of the decorated `Kernel` class; of several kernels for one key the first to support the
    arguments runs.

    Args:
        operation: a method marked `accelerated`, as ``Class.method``.
        *types: of the instance and of the parts that the operation names. Exact types, for a subclass may compute
            something else; a tuple stands for any of its types.

    Raises:
        ValueError: there is not one type for each part.
    """
    expected = 1 + len(cast(Any, operation).parts)
    if len(types) != expected:
        raise ValueError(
            f"register: {operation.__qualname__} has {expected} parts, itself included; got {len(types)} types."
        )
    choices = [kind if isinstance(kind, tuple) else (kind,) for kind in types]

    def add(kernel: KernelClass) -> KernelClass:
        instance = kernel()
        for key in product([operation.__qualname__], *choices):
            _KERNELS.setdefault(key, []).append(instance)
        return kernel

    return add


def kernels_for(operation: Callable[..., Any], *types: type) -> list[Kernel]:
    """The kernels registered for an operation and exact types of its parts, in the order in which they are tried."""
    return list(_KERNELS.get((operation.__qualname__, *types), ()))

"""The registry of kernels, keyed by an operation and the exact types of the module and submodules involved.

The body of a method marked `accelerated` is the definition of an operation. Inside ``execution(kernels=True)``, and
in a flow after `Flow.use_kernels`, a registered kernel may run instead. Kernels live in `pushforward.kernels`; the
modules that define operations know none of them. ::

    @register(Spline.forward, RationalQuadratic)  # the method where it is marked, the class of the instance
    class SplineForward(Kernel): ...

In-place buffers of networks and tables of univariate maps are no kernels: they are part of the definitions.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import product
from typing import Any, TypeVar, cast

from pushforward.core.execution_mode import current_execution
from pushforward.core.torch_internals import submodules_of

__all__ = ["Kernel", "accelerated", "kernels_for", "register", "undecorated"]

Method = TypeVar("Method", bound=Callable[..., Any])
KernelClass = TypeVar("KernelClass", bound="type[Kernel]")


class Kernel(ABC):
    """A faster implementation of one operation, equal up to floating-point rounding. Arguments are the operation's."""

    @abstractmethod
    def supports(self, module: Any, *args: Any) -> bool:
        """Whether `run` may be called with these arguments, here and now; ``module`` is the instance of the method."""

    @abstractmethod
    def run(self, module: Any, *args: Any) -> Any:
        """The result of the operation, or ``NotImplemented`` where it turns out that the kernel cannot compute it."""


_KERNELS: dict[tuple[Any, ...], list[Kernel]] = {}


def accelerated(*submodules: str) -> Callable[[Method], Method]:
    """Mark a method as the definition of an operation for which kernels may be registered.

    The method belongs to a module and takes positional arguments only. Without kernels it costs one more Python call
    than the method itself.

    Args:
        *submodules: names of those whose types, after that of the instance, belong to the key.
    """

    def decorate(method: Method) -> Method:
        operation = method.__qualname__

        @functools.wraps(method)
        def dispatch(self: Any, *args: Any) -> Any:
            if current_execution().kernels:
                modules = submodules_of(self)
                key = (operation, type(self), *[type(modules[name]) for name in submodules])
                if key in _KERNELS:
                    for kernel in _KERNELS[key]:
                        if kernel.supports(self, *args):
                            result = kernel.run(self, *args)
                            if result is not NotImplemented:
                                return result
            return method(self, *args)

        cast(Any, dispatch).submodules = submodules
        return cast(Method, dispatch)

    return decorate


def undecorated(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The method under `accelerated`, which no kernel replaces."""
    return cast(Any, operation).__wrapped__


def register(operation: Callable[..., Any], *types: type | tuple[type, ...]) -> Callable[[KernelClass], KernelClass]:
    """Register an instance of the decorated `Kernel` class. Of several kernels for one key the first to be registered
    that supports the arguments runs.

    Args:
        operation: a method marked `accelerated`, as ``Class.method`` of the class that writes it.
        *types: of the instance and of the submodules that the operation names. Exact types, for a subclass may compute
            something else; a tuple stands for any of its types.

    Raises:
        ValueError: there is not one type for the instance and each submodule.
    """
    expected = 1 + len(cast(Any, operation).submodules)
    if len(types) != expected:
        raise ValueError(
            f"register: {operation.__qualname__} is keyed by the types of its instance and of "
            f"{expected - 1} submodules; got {len(types)} types."
        )
    choices = [kind if isinstance(kind, tuple) else (kind,) for kind in types]

    def add(kernel: KernelClass) -> KernelClass:
        instance = kernel()
        for key in product([operation.__qualname__], *choices):
            _KERNELS.setdefault(key, []).append(instance)
        return kernel

    return add


def kernels_for(operation: Callable[..., Any], *types: type) -> list[Kernel]:
    """The kernels registered for an operation and exact types, in the order in which they are tried."""
    return list(_KERNELS.get((operation.__qualname__, *types), ()))

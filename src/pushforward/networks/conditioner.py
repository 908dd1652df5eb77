"""Conditioners: networks that turn what a layer may see into the parameters of its univariate maps.

All tensors are features first, ``(features, n)`` for n points: parameters arrive with their own axis leading, and every
later operation runs along contiguous memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = [
    "DENSE",
    "MASKED",
    "AutoregressiveConditioner",
    "BlockPass",
    "Conditioner",
    "IncrementalPass",
    "ReversePass",
    "SupportsReversePass",
    "register_dense",
    "register_masked",
]


class Conditioner(nn.Module, ABC):
    """A network that gives the parameters of all univariate maps of a layer in one pass. Subclasses write `parallel`.

    Shape:
        ``x``: (in_features, n), ``context``: (context, n), parameters: (out_features, n); for an
        `AutoregressiveConditioner`, parameters: (num_params, features, n).
    """

    @abstractmethod
    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Parameters from everything that the maps may depend on; a context is read as further inputs before x."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`parallel`, by ``nn.Module.__call__``, so that hooks run."""
        return self.parallel(x, context)


class IncrementalPass(ABC):
    """The parameters of one feature after the other, each from the features before it."""

    @abstractmethod
    def step(self, previous: Tensor | None) -> Tensor:
        """The parameters of the next feature.

        Args:
            previous: the feature before it, as the network sees it, (channels, n); None in the first step.

        Returns:
            (num_params, n).
        """


class BlockPass(ABC):
    """The parameters of one block of neighbouring features after the other, as often as is wanted for each."""

    @abstractmethod
    def params(self, inputs: Tensor, start: int, stop: int) -> Tensor:
        """The parameters of the features from ``start`` to ``stop``, (num_params, features, n).

        Args:
            inputs: all features as the network sees them, (features · channels, n), finite; those after ``stop`` do not
                matter, those before ``start`` are as they were in the last call for the block that ended there.
            start: the first feature of the block: 0, that of the last call, or ``stop`` of the last call.
            stop: the feature after the last one of the block.
        """


class WholePasses(BlockPass):
    """Parallel passes, of which a block is taken."""

    def __init__(self, conditioner: Conditioner, context: Tensor | None) -> None:
        self.conditioner, self.context = conditioner, context

    def params(self, inputs: Tensor, start: int, stop: int) -> Tensor:
        return self.conditioner.parallel(inputs, self.context)[:, start:stop]


class ReversePass(ABC):
    r"""The transposed Jacobian of a parallel pass, applied from the last feature to the first.

    It gives the gradients of an autoregressive inverse by back substitution: the cotangent of feature j is complete
    once those of the features after it are. The cotangent of a tensor is the gradient of the loss with respect to it.
    """

    params: Tensor
    """The outputs of the parallel pass, (num_params, features, n). Its graph reaches the last layer's weights alone."""
    inside: Tensor
    """(features · channels, n): 0 where an input is clamped, so that nothing depends on it, 1 elsewhere."""

    @abstractmethod
    def step(self, grad_params: Tensor, scale: Tensor) -> Tensor:
        """Add the cotangents ``scale * grad_params``, (n,) and (num_params, n), of the parameters of the next feature
        j, from the last to the first. Nothing may be recorded.

        Returns:
            (channels, n): the complete cotangents of the inputs of feature j - 1; for j = 0 those of the context.
        """

    @abstractmethod
    def cotangents(self) -> list[tuple[Tensor, Tensor]]:
        """After all steps: outputs of hidden layers, whose graphs reach weights and context, and their cotangents."""


class AutoregressiveConditioner(Conditioner):
    """A network whose parameters of feature j depend on the features before it and the context alone.

    Subclasses write `parallel`, which gives (num_params, features, n), and `start`; those that drop units at random
    write `drops_units`. Those that can compute gradients of
    an inverse by back substitution inherit from `SupportsReversePass` as well; for others, autodiff goes back through
    the incremental pass.
    """

    group: int = 1
    """How many neighbouring features do not depend on each other, such as the pixels of a patch."""

    @abstractmethod
    def start(self, like: Tensor, context: Tensor | None = None) -> IncrementalPass:
        """Begin an incremental pass. ``like`` (features, n) gives dtype, device and number of points; its values are
        ignored."""

    def start_blocks(self, like: Tensor, context: Tensor | None = None) -> BlockPass:
        """Begin a pass block by block, in the dtype of the weights: whole parallel passes, unless a subclass computes
        blocks alone."""
        return WholePasses(self, context)

    @property
    def drops_units(self) -> bool:
        """Whether hidden units are dropped at random now, so that two passes differ."""
        return False


class SupportsReversePass(ABC):
    """An autoregressive conditioner that computes gradients of an inverse from the last feature to the first."""

    @property
    @abstractmethod
    def has_reverse_pass(self) -> bool:
        """Whether `start_reverse` works in the present mode of the network, such as without dropout."""

    @abstractmethod
    def start_reverse(self, x: Tensor, context: Tensor | None, like: Tensor) -> ReversePass:
        """Begin a reverse pass at the inputs x (features · channels, n), for cotangents like ``like`` (features, n)."""


DENSE: dict[str, Callable[..., nn.Module]] = {}
"""Conditioners of `Coupling` and `Elementwise` by name; see `register_dense`."""

MASKED: dict[str, Callable[..., nn.Module]] = {}
"""Conditioners of `Autoregressive` by name; see `register_masked`."""


def register_dense(name: str, factory: Callable[..., nn.Module]) -> None:
    """Make a network available as ``conditioner=name`` in `Coupling` and `Elementwise`.

    Args:
        name: a new name; saved models refer to it.
        factory: called as ``factory(in_features, out_features, hidden=, activation=, dropout=)``; returns a
            `Conditioner`.

    Raises:
        ValueError: the name is taken.
    """
    _register("register_dense", DENSE, name, factory)


def register_masked(name: str, factory: Callable[..., nn.Module]) -> None:
    """Make a network available as ``conditioner=name`` in `Autoregressive`.

    Args:
        name: a new name; saved models refer to it.
        factory: called as ``factory(features, num_params, context=, hidden=, activation=, dropout=)``, and with
            ``channels=`` where a feature is seen as several inputs, as angles are; returns an
            `AutoregressiveConditioner`.

    Raises:
        ValueError: the name is taken.
    """
    _register("register_masked", MASKED, name, factory)


def _register(owner: str, kinds: dict[str, Callable[..., nn.Module]], name: str, factory: Any) -> None:
    if name in kinds:
        raise ValueError(f"{owner}: the name {name!r} is taken. Choose another.")
    kinds[name] = factory

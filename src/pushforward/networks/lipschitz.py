"""Networks with a certified Lipschitz constant, linearised at points so that Jacobian products are plain operations.

Layout. Unlike the conditioners, these networks put the batch first: points are (n, features) with the entries of an
event in row-major order, directions at each point (n, directions, features).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core.checks import at_least, below_one, one_of
from pushforward.networks.mlp import MLP
from pushforward.networks.spectral import CONVOLVE, SpectralConv, SpectralLayer, SpectralLinear
from pushforward.networks.trunk import INPUT_LIMIT

__all__ = [
    "LIPSCHITZ",
    "LIPSCHITZ_ACTIVATIONS",
    "Linearization",
    "LipschitzConvNet",
    "LipschitzMLP",
    "LipschitzNetwork",
    "register_lipschitz",
]

START = 16.0
"""Sharpness to begin with. Weights of norm one spread their inputs over many units, where a smooth activation is almost
straight: with ordinary swish (1) two moons stayed a normal for hundreds of steps."""
SWISH_SLOPE = 1.1
"""Above the steepest slope of swish, 1.09984, which is the same for every sharpness."""

LIPSCHITZ: dict[str, Callable[..., nn.Module]] = {}
"""Networks of `Residual` by name; see `register_lipschitz`."""


def register_lipschitz(name: str, factory: Callable[..., nn.Module]) -> None:
    """Make a network available as ``conditioner=name`` in `Residual`.

    Args:
        name: a new name; saved models refer to it.
        factory: called as ``factory(shape, context=, hidden=, activation=, coefficient=)`` with the event shape;
            returns a `LipschitzNetwork` from events to events, whose Lipschitz constant is at most ``coefficient``.

    Raises:
        ValueError: the name is taken.
    """
    if name in LIPSCHITZ:
        raise ValueError(f"register_lipschitz: the name {name!r} is taken. Choose another.")
    LIPSCHITZ[name] = factory


# --- activations -----------------------------------------------------------------------------------------------------


def _lipswish(h: Tensor, sharpness: Tensor | None) -> tuple[Tensor, Tensor]:
    scaled = h if sharpness is None else sharpness * h
    s = torch.sigmoid(scaled)
    return h * s / SWISH_SLOPE, s * (1 + scaled * (1 - s)) / SWISH_SLOPE


def _tanh(h: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor]:
    t = torch.tanh(h)
    return t, 1 - t.square()


def _elu(h: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor]:
    return F.elu(h), h.clamp(max=0.0).exp()


LIPSCHITZ_ACTIVATIONS: dict[str, Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]] = {
    "lipswish": _lipswish,
    "elu": _elu,
    "softplus": lambda h, _: (F.softplus(h), torch.sigmoid(h)),
    "tanh": _tanh,
    "sin": lambda h, _: (torch.sin(h), torch.cos(h)),
    "relu": lambda h, _: (F.relu(h), (h > 0).to(h.dtype)),
}
"""Activations whose slopes lie in [-1, 1]: preactivations and a learned sharpness to (values, slopes). ``"lipswish"``
is h σ(β h) / 1.1 with a learned sharpness β for each layer; the others ignore it."""


# --- networks --------------------------------------------------------------------------------------------------------


class Layers(NamedTuple):
    """What a network computes with at some contexts: normalised weights and all that is added."""

    weights: tuple[Tensor, ...]
    shifts: tuple[Tensor, ...]
    """Of each layer, (width, *) or (n, width, *)."""
    sharpness: tuple[Tensor | None, ...]
    """Of each hidden layer."""


class Linearization(NamedTuple):
    """The derivative of a network at n points."""

    weights: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    """What each layer's input is multiplied by, (n, 1, width, *)."""

    def rows(self, index: Tensor | slice) -> Linearization:
        """The derivative at some of the points."""
        return Linearization(self.weights, tuple(slope[index] for slope in self.slopes))


class LipschitzNetwork(nn.Module, ABC):
    r"""A network :math:`g(x, c)` with :math:`\|g(x, c) - g(x', c)\| \le L \|x - x'\|` for all contexts.

    Every one of its k layers has norm at most :math:`L^{1/k}`, and activations are 1-Lipschitz. The context is free:
    an ordinary network turns it into shifts of all layers.

    A subclass fills ``layers`` and writes the three hooks, which apply a weight to directions.

    Raises:
        ValueError: an option is out of its range.
    """

    layers: nn.ModuleList
    sharpness: nn.Parameter | None
    context_net: MLP | None

    def __init__(self, owner: str, context: int, hidden: Sequence[int], activation: str, coefficient: float) -> None:
        super().__init__()
        at_least(owner, "context", context, 0)
        if not isinstance(hidden, Sequence) or not hidden:
            raise ValueError(f"{owner}: hidden must list at least one width; got {hidden!r}. Use hidden=(64, 64).")
        for width in hidden:
            at_least(owner, "hidden", width, 1)
        one_of(owner, "activation", activation, tuple(LIPSCHITZ_ACTIVATIONS))
        below_one(owner, "coefficient", coefficient, "where x + g(x) need not be invertible")
        self.activation = activation
        learned = activation == "lipswish"
        self.sharpness = nn.Parameter(torch.full((len(hidden),), START)) if learned else None

    def _finish(self, context: int, hidden: Sequence[int], widths: Sequence[int]) -> None:
        """The last layer starts at zero, and so does the network of the context."""
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)
        self.widths = list(widths)
        self.context_net = MLP(context, sum(widths), hidden=(hidden[0],), activation="silu") if context else None

    @abstractmethod
    def apply_weight(self, weight: Tensor, h: Tensor) -> Tensor:
        """(n, directions, width, *) through a layer."""

    @abstractmethod
    def apply_transposed(self, weight: Tensor, h: Tensor) -> Tensor:
        """(n, directions, width, *) through the transpose of a layer."""

    @abstractmethod
    def to_layout(self, t: Tensor) -> Tensor:
        """(*, features) as the layers take it."""

    def bound(self) -> Tensor:
        """A certified bound on the Lipschitz constant in x with the present weights, (); at most ``coefficient``."""
        layers = cast(list[SpectralLayer], list(self.layers))
        return torch.stack([layer.bound().clamp(max=layer.limit) for layer in layers]).prod()

    def prepare(self, context: Tensor | None) -> Layers:
        """Normalised weights and shifts at contexts (n, context), to be computed once for many passes."""
        layers = cast(list[SpectralLayer], list(self.layers))
        weights = tuple(layer.normalized_weight() for layer in layers)
        biases: tuple[Tensor, ...] = tuple(layer.bias for layer in layers)
        shifts = biases
        if self.context_net is not None and context is not None:
            added = self.context_net(context.t()).t().split(self.widths, dim=1)
            shifts = tuple(bias + more for bias, more in zip(biases, added, strict=True))
        shifts = tuple(shift.reshape(*shift.shape, *(1,) * (weights[0].ndim - 2)) for shift in shifts)
        sharp: tuple[Tensor | None, ...] = (None,) * (len(layers) - 1)
        if self.sharpness is not None:
            sharp = F.softplus(self.sharpness).unbind()
        return Layers(weights, shifts, sharp)

    def value(self, x: Tensor, layers: Layers) -> Tensor:
        """g at x (n, features)."""
        return self._run(x, layers)[0]

    def linearize(self, x: Tensor, layers: Layers) -> tuple[Tensor, Linearization]:
        """g at x (n, features), and its derivative there."""
        value, slopes = self._run(x, layers)
        return value, Linearization(layers.weights, tuple(slopes))

    def _run(self, x: Tensor, layers: Layers) -> tuple[Tensor, list[Tensor]]:
        act = LIPSCHITZ_ACTIVATIONS[self.activation]
        slopes = [self.to_layout((x.abs() <= INPUT_LIMIT).to(x.dtype))[:, None]]
        h = self.to_layout(x.clamp(-INPUT_LIMIT, INPUT_LIMIT))
        last = len(layers.weights) - 1
        for k, (weight, shift) in enumerate(zip(layers.weights, layers.shifts, strict=True)):
            h = self.apply_weight(weight, h[:, None])[:, 0] + shift
            if k < last:
                h, slope = act(h, layers.sharpness[k])
                slopes.append(slope[:, None])
        return h.flatten(1), slopes

    def jvp(self, point: Linearization, t: Tensor) -> Tensor:
        """J t for directions t, (n or 1, directions, features); gives (n, directions, features)."""
        h = self.to_layout(t)
        for weight, slope in zip(point.weights, point.slopes, strict=True):
            h = self.apply_weight(weight, h * slope)
        return h.flatten(2)

    def vjp(self, point: Linearization, t: Tensor) -> Tensor:
        """Jᵀ t for cotangents t, (n or 1, directions, features); gives (n, directions, features)."""
        h = self.to_layout(t)
        for weight, slope in zip(reversed(point.weights), reversed(point.slopes), strict=True):
            h = self.apply_transposed(weight, h) * slope
        return h.flatten(2)


class LipschitzMLP(LipschitzNetwork):
    """A perceptron from events to events with a certified Lipschitz constant; its last layer starts at zero.

    Args:
        shape: the event shape; events of several axes are flattened.
        context: number of context features.
        hidden: layer widths.
        activation: one of ``LIPSCHITZ_ACTIVATIONS``.
        coefficient: the largest Lipschitz constant, below 1.

    Shape:
        (n, prod(shape)) to (n, prod(shape)).

    Raises:
        ValueError: an option is out of its range.

    References:
        | Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018), arXiv:1802.05957
        | Residual Flows for Invertible Generative Modeling (Chen et al., 2019), arXiv:1906.02735
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        activation: str = "lipswish",
        coefficient: float = 0.9,
    ) -> None:
        super().__init__("LipschitzMLP", context, hidden, activation, coefficient)
        features = torch.Size(shape).numel()
        widths = [*hidden, features]
        limit = coefficient ** (1 / len(widths))
        self.layers = nn.ModuleList(SpectralLinear(i, o, limit) for i, o in pairwise([features, *widths]))
        self._finish(context, hidden, widths)

    def to_layout(self, t: Tensor) -> Tensor:
        return t

    def apply_weight(self, weight: Tensor, h: Tensor) -> Tensor:
        return h @ weight.t()

    def apply_transposed(self, weight: Tensor, h: Tensor) -> Tensor:
        return h @ weight


class LipschitzConvNet(LipschitzNetwork):
    """Convolutions of stride one from events to events with a certified Lipschitz constant; the last starts at zero.

    Args:
        shape: the event shape (channels, *spatial) with one to three spatial axes.
        context: number of context features; every cell sees all of them.
        hidden: channels of the hidden layers.
        activation: one of ``LIPSCHITZ_ACTIVATIONS``.
        coefficient: the largest Lipschitz constant, below 1.
        kernel: size of the kernel along each spatial axis, an odd number.

    Shape:
        (n, prod(shape)) to (n, prod(shape)).

    Raises:
        ValueError: the event is not of channels and one to three spatial axes, ``kernel`` is not odd, or another option
            is out of its range.

    References:
        | Invertible Residual Networks (Behrmann et al., 2018), arXiv:1811.00995
        | Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram Iteration (Delattre et al., 2023),
          arXiv:2305.16173
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        activation: str = "lipswish",
        coefficient: float = 0.9,
        kernel: int = 3,
    ) -> None:
        super().__init__("LipschitzConvNet", context, hidden, activation, coefficient)
        if len(shape) - 1 not in CONVOLVE:
            raise ValueError(
                f"LipschitzConvNet: events must have the axes (channels, *spatial) with one to three spatial ones; got "
                f"shape {tuple(shape)}. Use the dense network 'plain'."
            )
        if not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"LipschitzConvNet: kernel must be an odd whole number; got {kernel!r}.")
        self.shape, self.kernel = tuple(shape), kernel
        widths = [*hidden, shape[0]]
        options: Any = {"sizes": shape[1:], "limit": coefficient ** (1 / len(widths)), "kernel": kernel}
        self.layers = nn.ModuleList(SpectralConv(i, o, **options) for i, o in pairwise([shape[0], *widths]))
        self._finish(context, hidden, widths)

    def to_layout(self, t: Tensor) -> Tensor:
        return t.reshape(*t.shape[:-1], *self.shape)

    def apply_weight(self, weight: Tensor, h: Tensor) -> Tensor:
        return self._convolve(CONVOLVE[len(self.shape) - 1][0], weight, h)

    def apply_transposed(self, weight: Tensor, h: Tensor) -> Tensor:
        return self._convolve(CONVOLVE[len(self.shape) - 1][1], weight, h)

    def _convolve(self, convolution: Callable[..., Tensor], weight: Tensor, h: Tensor) -> Tensor:
        flat = convolution(h.flatten(0, 1), weight, padding=self.kernel // 2)
        return flat.reshape(*h.shape[:2], *flat.shape[1:])


register_lipschitz("plain", LipschitzMLP)
register_lipschitz("conv", LipschitzConvNet)

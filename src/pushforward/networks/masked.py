"""The masked perceptron of autoregressive layers, with its parallel and its incremental pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core.constants import HasConstants
from pushforward.core.execution_mode import runs_directly
from pushforward.core.native_build import Compilable
from pushforward.networks.block_triangular import BlockTriangularMatvec
from pushforward.networks.mlp import INPUT_LIMIT, check_hidden
from pushforward.networks.perceptron import native_perceptron
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.reverse_sweep import ReverseSweep
from pushforward.networks.trunk import IN_PLACE, activation_of, trunk

__all__ = ["MASKED", "IncrementalForward", "MaskedMLP", "register_masked"]

MASKED: dict[str, Callable[..., nn.Module]] = {}
"""Conditioners by name, called as ``factory(features, num_params, context=, hidden=, activation=, dropout=)``, and with
``channels=`` where features are angles. The module offers

* ``forward(x, context)``: the parameters of all features, as `MaskedMLP` gives them;
* ``prefix(x_like, context)``: an incremental pass with ``params()`` and ``push(x)``, as
  `IncrementalForward`. Where it says ``direct``, ``params(out=)`` writes into given memory;
* ``suffix(x, context, like)``, if it can: a reverse sweep with ``params``, ``inside``, ``push(by_params, g)`` and
  ``pairs()``, as `ReverseSweep`. Gradients of samples then cost one sweep instead of autodiff through the
  incremental pass.
"""


def register_masked(name: str, factory: Callable[..., nn.Module]) -> None:
    """Make a network available as ``conditioner=name`` in `Autoregressive`; its module must offer what `MaskedMLP`
    does: ``forward(x, context)`` and the incremental ``prefix(x, context)``."""
    if name in MASKED:
        raise ValueError(f"register_masked: the name {name!r} is taken. Choose another.")
    MASKED[name] = factory


class MaskedLinear(HasConstants):
    """A linear map whose output of degree d sees exactly the inputs of degree ≤ d; both degree lists are sorted.

    Because they are sorted, the rows of one degree touch, and so do the columns of one degree: the mask is a staircase,
    and inside its steps nothing is masked.
    """

    mask: Tensor
    ends: Tensor
    derived_constants = ("mask",)

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, *, copies: int = 1) -> None:
        super().__init__()
        ins, outs = len(in_degrees), len(out_degrees)
        ends = torch.searchsorted(in_degrees, out_degrees, right=True).repeat(copies)
        self.add_constant("ends", ends.tolist(), torch.int64)  # how many inputs each row reads, from the first
        self.register_buffer("mask", torch.empty(copies * outs, ins), persistent=False)
        self._round_constants()
        self.weight = nn.Parameter(torch.empty(copies * outs, ins))
        self.bias = nn.Parameter(torch.empty(copies * outs))
        # Variance-preserving for the inputs that a row really sees, not for the masked ones.
        seen = self.ends.clamp(min=1).to(self.weight.dtype).rsqrt()
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(seen[:, None])
            self.bias.uniform_(-1, 1).mul_(seen)
        degrees = torch.arange(int(torch.cat([in_degrees, out_degrees]).max()) + 2, device=in_degrees.device)
        self.out_starts: list[int] = torch.searchsorted(out_degrees, degrees).tolist()
        self.in_starts: list[int] = torch.searchsorted(in_degrees, degrees).tolist()

    def _round_constants(self) -> None:
        super()._round_constants()
        inputs = torch.arange(self.mask.shape[1], device=self.ends.device)
        self.mask = (inputs < self.ends[:, None]).to(self.mask.dtype)

    def forward(self, h: Tensor) -> Tensor:
        return torch.addmm(self.bias[:, None], self.weight * self.mask, h)

    def rows(self) -> list[slice]:
        """For each degree, where its outputs are."""
        return [slice(*pair) for pair in pairwise(self.out_starts)]

    def columns(self) -> list[slice]:
        """For each degree, where its inputs are."""
        return [slice(*pair) for pair in pairwise(self.in_starts)]


class MaskedMLP(Compilable, MixedPrecision):
    r"""Parameters of D univariate maps, those of feature j from the features before it and the context.

    Hidden units carry sorted degrees: a unit of degree d sees the context and :math:`x_1..x_d`, and feature j reads
    units of degree < j. Units of degree 0 see the context alone, so the first feature depends on it. Widths too small
    to hold every degree are widened: no dependence is lost.

    The parallel pass costs one masked forward pass. `prefix` gives the parameters feature by feature: step j computes
    only the block of each weight that feature j adds, so all D steps together cost one forward pass of arithmetic.

    Args:
        features: D, the number of features.
        num_params: parameters per feature.
        context: number of context features.
        channels: inputs that stand for one feature (2 for an angle: its cosine and sine).
        hidden: layer widths; see `MLP` for what they mean with ``residual``.
        residual: whether to add skip connections.
        activation: one of ``ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.

    Shape:
        ``x``: (features · channels, n), ``context``: (context, n), parameters: (num_params, features, n).

    References:
        | MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), arXiv:1502.03509
    """

    def __init__(
        self,
        features: int,
        num_params: int,
        *,
        context: int = 0,
        channels: int = 1,
        hidden: Sequence[int] = (64, 64),
        residual: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_hidden("MaskedMLP", hidden, residual, activation, dropout)
        self.features, self.num_params, self.context, self.channels = features, num_params, context, channels
        self.residual, self.activation, self.dropout = residual, activation, dropout
        self.depth = max(1, len(hidden) - 1) if residual else len(hidden)
        widths = [hidden[0]] * (1 + 2 * self.depth) if residual else list(hidden)
        # Degrees are read while the network is built: on the CPU, also where its weights are not.
        own = torch.arange(1, features + 1, device="cpu").repeat_interleave(channels)
        inputs = torch.cat([own.new_zeros(context), own])
        degrees = [inputs, *(hidden_degrees(width, features, context) for width in widths)]
        self.layers = nn.ModuleList(MaskedLinear(i, o) for i, o in pairwise(degrees))
        # Rows of the last layer are parameter-major: the output views as (num_params, features, n) without a copy.
        self.last = MaskedLinear(degrees[-1], torch.arange(features, device="cpu"), copies=num_params)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        inputs = self._inputs(x, context)
        with self.multiplying(x):
            found = self._natively([*self.layers, self.last], inputs)
            return self._params(self.last(self._units(inputs)).to(x.dtype) if found is None else found)

    def units(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """What the last layer reads: the hidden units, in the order of their degrees, (units, n)."""
        inputs = self._inputs(x, context)
        with self.multiplying(x):
            found = self._natively(self.layers, inputs)
            return self._units(inputs).to(x.dtype) if found is None else found

    def prefix(self, x: Tensor, context: Tensor | None = None) -> IncrementalForward:
        """Start an incremental pass for points like the columns of ``x`` (features, n), whose values are not read."""
        return IncrementalForward(self, x, context)

    def suffix(self, x: Tensor, context: Tensor | None, like: Tensor) -> ReverseSweep:
        """Start a reverse sweep at the inputs ``x`` (features · channels, n), for cotangents ``like`` (features, n)."""
        return ReverseSweep(self, x, context, like)

    def _units(self, inputs: Tensor) -> Tensor:
        return self._trunk(lambda k, h: self.layers[k](h), inputs)

    def _natively(self, layers: Iterable[Any], inputs: Tensor) -> Tensor | None:
        """What the last of the layers gives, by the native kernel; None where it cannot run or is not to."""
        if not self._native or (self.dropout > 0 and self.training):
            return None
        return native_perceptron([*layers], self.activation, len(self.layers), self.residual, inputs)

    def _params(self, outputs: Tensor) -> Tensor:
        return outputs.view(self.num_params, self.features, outputs.shape[-1])

    def _inputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        inputs = x if context is None else torch.cat([context, x])
        return inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT)

    def _trunk(self, apply: Callable[[int, Tensor], Tensor], inputs: Tensor) -> Tensor:
        act = activation_of(self.activation, self.residual)
        return trunk(apply, inputs, self.depth, self.residual, act, self._drop)

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


def hidden_degrees(width: int, features: int, context: int) -> Tensor:
    """Sorted degrees of a hidden layer: every degree from 1 to features - 1, evenly, and 0 where there is context.

    At least a few units see the context alone, whatever the number of features, for the first feature needs them.
    """
    alone = max(width // features, min(16, width // 4), 1) if context else 0
    width = max(width - alone, features - 1)
    place = torch.arange(width, device="cpu")
    spread = 1 + (place * (features - 1)) // width if features > 1 else torch.zeros_like(place)
    return torch.cat([place.new_zeros(alone), spread])


class IncrementalForward:
    """An incremental pass: ``params()`` gives the parameters of the next feature, ``push`` takes that feature."""

    __slots__ = ("arrived", "direct", "network", "products")  # see `BlockTriangularMatvec`

    def __init__(self, network: MaskedMLP, x: Tensor, context: Tensor | None) -> None:
        self.network = network
        drops = network.dropout > 0 and network.training
        self.direct = runs_directly(x) and not network.residual and not drops
        hidden: list[Any] = list(network.layers)
        steps = range(network.features)
        self.products = [
            BlockTriangularMatvec(layer.weight, layer.rows(), layer.columns()[: network.features], x, layer.bias)
            for layer in hidden
        ]
        num, last = network.num_params, network.last
        # Feature-major, so that the parameters of one feature are rows that touch.
        weight = last.weight.view(num, network.features, -1).transpose(0, 1).flatten(0, 1)
        bias = last.bias.view(num, -1).t().flatten()
        rows = [slice(j * num, (j + 1) * num) for j in steps]
        self.products.append(BlockTriangularMatvec(weight, rows, last.columns(), x, bias))
        self.arrived = x[:0] if context is None else context

    def params(self, out: Tensor | None = None) -> Tensor:
        """Parameters of the next feature, shape (num_params, n); written into ``out`` where ``direct`` holds."""
        arrived, products = self.arrived, self.products
        if not self.direct:
            inputs = arrived.clamp(-INPUT_LIMIT, INPUT_LIMIT)
            return products[-1].push(self.network._trunk(lambda k, h: products[k].push(h), inputs))
        act = IN_PLACE[self.network.activation]
        torch.clamp(arrived, -INPUT_LIMIT, INPUT_LIMIT, out=products[0].place())
        for product, then in pairwise(products):
            act(product.rows_completed(out=then.place()))
        return products[-1].rows_completed(out=out)

    def push(self, x: Tensor) -> None:
        """Add the feature just asked for, shape (channels, n)."""
        self.arrived = x


def _residual_masked(features: int, num_params: int, **options: Any) -> nn.Module:
    return MaskedMLP(features, num_params, residual=True, **options)


register_masked("plain", MaskedMLP)
register_masked("residual", _residual_masked)

"""Layers of one kind and shape, compiled as one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pushforward.bijections.chain import Chain
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.config import build, configurable
from pushforward.core.torch_internals import scan_layers

__all__ = ["Scan"]


@configurable
class Scan(Chain):
    r"""The same kind of layer ``depth`` times, each with weights of its own: a `Chain` whose body is compiled once.

    `torch.compile` and export unroll a chain, so that their time grows with its depth; of this one they see a single
    loop over stacked weights, and compile one layer whatever the depth. In eager mode both do the same. What should
    alternate from layer to layer, such as a flip of the features, belongs inside of the layer: a ``Chain`` of both.

    Args:
        bijection: the first layer; the others are built from its config, with initial weights of their own. It ends in
            the shape and the domain that it starts from.
        depth: number of layers.
        memory: what is kept for the backward pass in eager mode; see `Chain`.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    Raises:
        ValueError: the layer is no bijection with a config, ends elsewhere than it starts, or ``depth`` is below one.

    References:
        | Scan over layers, as in flowjax (Ward, 2023), https://github.com/danielward27/flowjax

    >>> from pushforward.bijections import LU
    >>> len(Scan(LU(3), 5).parts)
    5
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "bijection": {
                "type": "Chain",
                "parts": [
                    {
                        "type": "Coupling",
                        "univariate": {"type": "Affine"},
                        "features": 3,
                        "context": 1,
                        "hidden": [8],
                    },
                    {"type": "Flip", "features": 3},
                ],
            },
            "depth": 3,
        },
        {"bijection": {"type": "LU", "features": 2}, "depth": 2, "memory": "checkpoint"},
    )

    def __init__(self, bijection: Bijection, depth: int, *, memory: str = "plain") -> None:
        at_least("Scan", "depth", depth, 1)
        if not isinstance(bijection, Bijection):
            raise ValueError(f"Scan: bijection must be a Bijection; got {type(bijection).__name__}.")
        if not isinstance(getattr(bijection, "config", None), dict):
            raise ValueError(f"Scan: {type(bijection).__name__} has no config. Put @configurable above the class.")
        ends = (bijection.in_shape, bijection.domain), (bijection.out_shape, bijection.codomain)
        if ends[0] != ends[1]:
            raise ValueError(f"Scan: a layer must end where it starts; got one from {ends[0]} to {ends[1]}.")
        super().__init__([bijection, *(build(bijection.config) for _ in range(depth - 1))], memory=memory)
        # In a tuple, so that they are no children: they show the first layer as modules to `functional_call`.
        self._directions = (_Layer(bijection, inverse=False), _Layer(bijection, inverse=True))

    def _travel(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        if not self._runs_as_loop():
            return super()._travel(x, context, generator, inverse=inverse)
        y, ladjs = self._loop(x, context, inverse=inverse)
        return y, ladjs.sum(dim=0)

    def _forward(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        if self._runs_as_loop():
            return self._loop(x, context, inverse=False)[0]
        return super()._forward(x, context, generator)

    def _inverse(self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        if self._runs_as_loop():
            return self._loop(y, context, inverse=True)[0]
        return super()._inverse(y, context, generator)

    def _runs_as_loop(self) -> bool:
        """Whether the layers are one loop of a graph. Layers that draw numbers or change buffers are not."""
        if not torch.compiler.is_compiling() or len(self.parts) < 2 or self.stochastic:
            return False
        return not (self.training and any(getattr(m, "in_training_changes", False) for m in self.modules()))

    def _loop(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """The image, and the ladj of each layer, (depth, *batch)."""
        states = [_state(part) for part in self._in_order(inverse)]
        stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        module = self._directions[inverse]

        def body(x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            weights = {f"layer.{name}": value for name, value in state.items()}
            y, ladj = functional_call(module, weights, (x, context))
            # What goes round may not share memory with inputs of the body, and has one layout.
            return y.clone(memory_format=torch.contiguous_format), ladj.clone()

        return scan_layers(body, x.contiguous(), stacked)


class _Layer(nn.Module):
    """One direction of a layer as the call of a module, which `functional_call` takes."""

    def __init__(self, layer: Bijection, *, inverse: bool) -> None:
        super().__init__()
        self.layer, self.inverse = layer, inverse

    def forward(self, x: Tensor, context: Tensor | None) -> Any:
        layer: Any = self.layer
        hook = layer._inverse_and_ladj if self.inverse else layer._forward_and_ladj
        return hook(*layer._arguments(x, context, None))


def _state(layer: Bijection) -> dict[str, Tensor]:
    """The weights and the statistics of a layer: all that may differ from layer to layer."""
    kept = layer.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in kept.items() if tensor.is_floating_point() and tensor.numel()}

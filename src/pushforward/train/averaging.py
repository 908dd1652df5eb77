"""An exponential moving average of a model's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.core.torch_internals import foreach_lerp_
from pushforward.train.sharding import local

__all__ = ["WeightAverage", "clone"]

Tensors = dict[str, Tensor]


def clone(tensors: Tensors) -> Tensors:
    """A copy that later steps do not change."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


class WeightAverage:
    """The moving average of all floating tensors of a model; others, such as counters, are copied.

    Args:
        model: whose state is averaged, from its present one on.
        decay: weight of the past in each step. A young average forgets its start: the first steps weigh as in a plain
            mean.

    References:
        | Acceleration of Stochastic Approximation by Averaging (Polyak, Juditsky, 1992)
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.restore(model.state_dict())

    def restore(self, means: Tensors) -> None:
        """Go on from these averages."""
        weights = self.model.state_dict()
        self.means = {name: means[name].detach().to(tensor.device, copy=True) for name, tensor in weights.items()}
        pairs = [(local(self.means[name]), local(tensor)) for name, tensor in weights.items()]
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        self._averages, self._weights = [mean for mean, _ in floating], [weight for _, weight in floating]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights of the model after step ``step``."""
        decay = min(self.decay, step / (step + 9))
        foreach_lerp_(self._averages, self._weights, 1 - decay)
        for mean, tensor in self._copied:
            mean.copy_(tensor)

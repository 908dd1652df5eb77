"""Batch normalisation as a layer of a flow."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.bijection import TriangularMap
from pushforward.core.checks import below_one, positive
from pushforward.core.config import configurable
from pushforward.core.shapes import EventSize, event_shape

__all__ = ["BatchNorm"]


@configurable
class BatchNorm(TriangularMap):
    r"""Normalise each feature by the mean and the variance of its values, then scale and shift it.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}\, e^{\gamma} + \beta

    In evaluation mode :math:`\mu, \sigma^2` are the running statistics, buffers: a fixed affine map with an exact
    inverse and log-determinant. In training mode ``forward`` uses the mean and variance of the batch, through which
    gradients flow, and moves the running ones towards them. What it then returns is the log-determinant of this affine
    map with its statistics held fixed, as in the literature; the map depends on all rows of the batch, so that a
    training loss is not the log-likelihood of any one model. ``inverse`` uses the running statistics in both modes.
    Chains that compute activations again (``memory="checkpoint"``) move the running statistics twice in a step.

    The direction that is trained is ``forward``: from data to latent in a flow for fast densities. The first call of
    `initialize` with a sample sets the running statistics to those of the sample. Where convergence is all that is
    wanted, `Standardize` and `Elementwise` with `Affine` have exact densities in training too.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        momentum: how far one batch moves the running statistics; below 1.
        eps: :math:`\epsilon`, added to variances.
        per_channel: of an event (channels, \*spatial): one mean and variance for each channel, over all its cells.
        affine: whether to learn :math:`\gamma` and :math:`\beta`.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    Raises:
        ValueError: ``momentum`` is not between 0 and 1, or ``eps`` is not positive; in training, the batch has fewer
            than two rows.

    References:
        | Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057

    >>> import torch
    >>> layer = BatchNorm(1, eps=1e-6)
    >>> layer.train()(torch.tensor([[1.0], [3.0]])).round(decimals=3).tolist()
    [[-1.0], [1.0]]
    """

    in_training_changes = True
    """Running statistics are written in training mode."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {"features": [2, 2, 2], "per_channel": True, "momentum": 0.2, "eps": 1e-3},
        {"features": 2, "affine": False},
    )
    running_mean: Tensor
    running_var: Tensor
    initialized: Tensor

    def __init__(
        self,
        features: EventSize,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        per_channel: bool = False,
        affine: bool = True,
    ) -> None:
        super().__init__()
        below_one("BatchNorm", "momentum", momentum, "which forgets all batches but the last")
        positive("BatchNorm", "eps", eps)
        self.in_shape = self.out_shape = shape = event_shape("BatchNorm", features)
        self.momentum, self.eps, self.per_channel = momentum, eps, per_channel
        size = (shape[0], *(1,) * (len(shape) - 1)) if per_channel else shape
        self.log_gain = nn.Parameter(torch.zeros(size)) if affine else None
        self.shift = nn.Parameter(torch.zeros(size)) if affine else None
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.full(size, 1 - eps))  # starts as the identity
        # A buffer, so that a loaded model is not measured again.
        self.register_buffer("initialized", torch.tensor(False))

    @property
    def data_dependent(self) -> bool:
        return True

    @property
    def dtype(self) -> torch.dtype | None:
        return self.running_mean.dtype

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        if inverse or bool(self.initialized):
            return
        mean, var = self._moments(x)
        self.running_mean.copy_(mean)
        self.running_var.copy_(torch.where(var > 0, var, 1.0))
        self.initialized.fill_(True)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, var = (self._of_batch(x)) if self.training else (self.running_mean, self.running_var)
        log_scale = self._log_scale(var)
        y = (x - mean) * log_scale.exp()
        return y if self.shift is None else y + self.shift, log_scale.expand_as(x)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale = self._log_scale(self.running_var)
        y = y if self.shift is None else y - self.shift
        return torch.addcmul(self.running_mean, y, torch.exp(-log_scale)), -log_scale.expand_as(y)

    def _log_scale(self, var: Tensor) -> Tensor:
        log_scale = -0.5 * (var + self.eps).log()
        return log_scale if self.log_gain is None else log_scale + self.log_gain

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of a batch, towards which the running ones move."""
        rows = x.numel() // math.prod(self.in_shape)
        if rows < 2:
            raise ValueError(
                f"BatchNorm: a batch must have at least two rows in training mode; got {rows}. Use .eval() to map "
                "single rows."
            )
        mean, var = self._moments(x)
        with torch.no_grad():
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(var.detach(), self.momentum)
        return mean, var

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.reshape(-1, *self.in_shape)
        axes = (0, *range(2, flat.ndim)) if self.per_channel else (0,)
        mean = flat.mean(dim=axes, keepdim=True)
        return mean[0], (flat - mean).square().mean(dim=axes)[..., *(None,) * (len(axes) - 1)]

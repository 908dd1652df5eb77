"""Noise taken away by the slope of a log-density."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.core.checks import broadcast, common_batch
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Real
from pushforward.core.shapes import unsqueeze_to
from pushforward.distributions.row_blocks import in_row_blocks, row_width

__all__ = ["denoise"]


def denoise(model: Distribution, x: Tensor, noise: Tensor | float, context: Tensor | None = None) -> Tensor:
    r"""The mean of what x was before noise was added, in one step.

    .. math:: \mathbb E[x_0 \mid x, c] = x + \sigma^2\, \nabla_x \log q(x \mid c, \sigma), \qquad x = x_0 + \sigma
        \varepsilon

    with standard normal :math:`\varepsilon` (Tweedie's formula), for a model of noisy data whose context ends in the
    noise level, as that of a flow that learned from `train.with_noise`. It is exact where the model is. Points drawn at
    a noise level lose it alike: ``denoise(model, model.sample(n, context_and_noise), noise, context)``. It costs one
    evaluation of the log-density and its gradient; large batches go through in blocks. No gradients are recorded.

    Args:
        model: a distribution of real numbers with exact log-densities, whose context is a vector that ends in σ.
        x: (*batch, *event_shape).
        noise: σ, the standard deviation of the noise: a number, or (*batch,).
        context: the rest of the context, (*batch, features - 1), where there is one.

    Returns:
        (*batch, *event_shape); NaN in rows that are not finite.

    Raises:
        ValueError: the model is of another kind, or shapes do not fit.

    References:
        | Tweedie's Formula and Selection Bias (Efron, 2011), doi:10.1198/jasa.2011.tm11181
        | Normalizing Flows are Capable Generative Models (Zhai et al., 2024), arXiv:2412.06329

    >>> import pushforward as pf
    >>> flow = pf.flows.maf(2, context=1).eval()  # a standard normal at any noise level, before training
    >>> denoise(flow, torch.tensor([[1.0, -2.0]]), 0.5)  # the data then would have a variance of 1 - 0.5²
    tensor([[ 0.7500, -1.5000]])
    """
    owner = "denoise"
    shape = model.context_shape
    if not model.is_exact or not isinstance(model.support, Real) or shape is None or len(shape) != 1:
        raise ValueError(
            f"{owner}: needs exact log-densities of real numbers and a context that ends in the noise level, as of a "
            f"flow trained on with_noise(x, ...); got {type(model).__name__} ({model.exactness}, on {model.support}, "
            f"context of shape {shape})."
        )
    rest = (shape[0] - 1,) if shape[0] > 1 else None
    x, context = broadcast(owner, "x", x, model.event_shape, context, rest, model.dtype, model.context_dtype)
    level = torch.as_tensor(noise, dtype=x.dtype, device=x.device)
    ndim = len(model.event_shape)
    batch = common_batch(owner, "x", tuple(x.shape[: x.ndim - ndim]), "noise", tuple(level.shape))
    x, level = x.detach().expand(*batch, *model.event_shape), level.detach().expand(batch)
    contexts = level[..., None].to(model.context_dtype or x.dtype)
    if context is not None:
        contexts = torch.cat([context.detach().expand(*batch, *context.shape[-1:]), contexts], dim=-1)

    def step(x: Tensor, contexts: Tensor) -> tuple[Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            log_prob = model.log_prob(leaf, contexts)
            (slope,) = torch.autograd.grad(log_prob.sum(), leaf)
        squared = contexts[..., -1].to(x.dtype).square()
        moved = x + unsqueeze_to(squared, x.ndim) * slope
        return (torch.where(unsqueeze_to(log_prob.detach().isfinite(), x.ndim), moved, torch.nan),)

    kept = max(1, sum(1 for part in model.modules() if hasattr(part, "in_shape")))  # what gradients keep, part by part
    return in_row_blocks(step, kept * row_width(model), ndim, x, contexts)[0]

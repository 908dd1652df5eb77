"""Affine maps led away from what they would be without a label."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.checks import not_negative
from pushforward.core.config import configurable
from pushforward.univariate.base import Univariate, with_free
from pushforward.univariate.elementary import Affine, Shift

__all__ = ["AFFINE_MAPS", "GuidedAffine"]

AFFINE_MAPS = (Affine, Shift)
"""What `GuidedAffine` takes."""


@configurable
class GuidedAffine(Univariate):
    r"""The affine map whose output is normal where x has the normalised density :math:`p_c^{1+w}\, p_u^{-w}`.

    An affine map y = (x - μ) / σ to a standard normal says that x is normal with mean μ and standard deviation σ. Given
    two such maps, with :math:`\mu_c, \sigma_c` where there is a label c and :math:`\mu_u, \sigma_u` without one, this
    one has

    .. math:: \sigma = \frac{\sigma_c}{\sqrt{1 + w - w s}}, \qquad \mu = \frac{(1 + w) \mu_c - w s \mu_u}{1 + w - w s},
        \qquad s = \min\Bigl(\frac{\sigma_c}{\sigma_u}, 1\Bigr)^2

    Where :math:`\sigma_c \le \sigma_u` this is the product of powers of two normal densities. Where
    :math:`\sigma_c > \sigma_u` that product may have no integral; with s = 1 the mean alone is moved. With w = 0 it is
    the map with the label.

    Args:
        univariate: `Affine` or `Shift`. The parameters are those of one such map with the label, then those without,
            then the free ones, which both share.
        weight: w, at least 0.

    Raises:
        ValueError: the map is another one, or the weight is negative.

    References:
        | Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), arXiv:2207.12598
        | Normalizing Flows are Capable Generative Models (Zhai et al., 2024), arXiv:2412.06329
        | STARFlow: Scaling Latent Normalizing Flows for High-resolution Image Synthesis (Gu et al., 2025),
          arXiv:2506.06276

    >>> import torch
    >>> guided = GuidedAffine(Shift(), weight=2.0)  # y = x - μ with means of 1 and 0
    >>> guided(torch.zeros(1), torch.tensor([[-1.0], [0.0]]))[0]  # the mean is 3
    tensor([-3.])
    """

    smoothness = 99
    reach = 1e13
    """Farther out the values of a steep map just fit float32, and those of a guided one, which is steeper, do not."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"univariate": {"type": "Affine"}, "weight": 1.5},
        {"univariate": {"type": "Shift"}, "weight": 0.0},
    )

    def __init__(self, univariate: Univariate, *, weight: float) -> None:
        super().__init__()
        if not isinstance(univariate, AFFINE_MAPS):
            raise ValueError(
                f"GuidedAffine: guidance has a closed form for affine maps, Affine and Shift; got "
                f"{type(univariate).__name__}."
            )
        not_negative("GuidedAffine", "weight", weight)
        self.univariate: Affine | Shift = univariate
        self.weight = weight
        self.num_free = univariate.num_free
        self.num_params = 2 * univariate.num_params - univariate.num_free

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._map(params)
        return torch.addcmul(shift, x, log_scale.exp()), log_scale.expand_as(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._map(params)
        return (y - shift) / log_scale.exp(), -log_scale.expand_as(y)

    def _map(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Shift -μ / σ and log-scale -log σ of the guided map y = x exp(log-scale) + shift."""
        count = self.univariate.num_params - self.num_free
        free = params[2 * count :] if self.num_free else None
        of, w = self.univariate.shift_and_log_scale, self.weight
        shift, log_scale = of(with_free(params[:count], free))
        other_shift, other_log_scale = of(with_free(params[count : 2 * count], free))
        # With d = log(σ_c / σ_u): s = exp(2 min(d, 0)), and s σ_u / σ_c = exp(-|d|), both at most one.
        log_ratio = other_log_scale - log_scale
        widened = 1 - w * torch.expm1(2 * log_ratio.clamp(max=0.0))  # 1 + w - w s
        guided_shift = (1 + w) * shift - w * torch.exp(-log_ratio.abs()) * other_shift
        return guided_shift / widened.sqrt(), log_scale + 0.5 * widened.log()

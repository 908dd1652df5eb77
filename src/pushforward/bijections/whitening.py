"""Decorrelation of data, inside the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of
from pushforward.core.config import configurable
from pushforward.core.constants import moved_wide

__all__ = ["Whitening"]

STATISTICS = ("mean", "matrix", "inverse_matrix", "log_abs_det")
METHODS = ("pca", "zca", "cholesky")


@configurable
class Whitening(Bijection):
    r"""Make the features of the data uncorrelated, of mean zero and variance one: :math:`y = W (x - \mu)`.

    It starts as the identity; `initialize` measures mean and covariance :math:`\Sigma` of the data once. All methods
    give :math:`W^\top W = \Sigma^{-1}` and differ by a rotation. If the sample holds outputs of `forward`, the inverse
    map whitens. Directions in which the data do not vary keep their scale. Statistics are kept and used in float64,
    whatever the dtype of the model. Both directions cost one product.

    Args:
        features: number of features D.
        method: ``"pca"``: the principal axes, the widest first, each divided by its standard deviation. ``"zca"``: the
            symmetric W, which keeps y as close to x as possible. ``"cholesky"``: the lower triangular W, where y_j
            depends on x_1 to x_j alone.
        data_dtype: ``"float64"`` if x is float64 although the model is float32; by default x has the model's dtype.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no feature, or an option has no such value.

    References:
        | Optimal whitening and decorrelation (Kessy, Lewin, Strimmer, 2015), arXiv:1512.00809

    >>> import torch
    >>> x = torch.tensor([[0.0, 0.0], [2.0, 2.0], [4.0, 0.0], [2.0, -2.0]])
    >>> part = Whitening(2, method="zca")
    >>> part.initialize(x)
    >>> [[round(value, 4) for value in row] for row in part(x).t().cov(correction=0).tolist()]
    [[1.0, 0.0], [0.0, 1.0]]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {"features": 2, "method": "zca", "data_dtype": "float64"},
        {"features": 3, "method": "cholesky"},
    )
    mean: Tensor
    matrix: Tensor
    inverse_matrix: Tensor
    log_abs_det: Tensor
    initialized: Tensor
    like: Tensor

    def __init__(self, features: int, *, method: str = "pca", data_dtype: str | None = None) -> None:
        super().__init__()
        at_least("Whitening", "features", features, 1)
        one_of("Whitening", "method", method, METHODS)
        one_of("Whitening", "data_dtype", data_dtype, (None, "float64"))
        self.in_shape = self.out_shape = (features,)
        self.method, self.wide = method, data_dtype == "float64"
        self.register_buffer("mean", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("matrix", torch.eye(features, dtype=torch.float64))
        self.register_buffer("inverse_matrix", torch.eye(features, dtype=torch.float64))
        self.register_buffer("log_abs_det", torch.zeros((), dtype=torch.float64))
        # A buffer, so that a loaded model is not measured again.
        self.register_buffer("initialized", torch.tensor(False))
        self.add_constant("like", 0.0)  # has the dtype of the model; its value is not used

    @property
    def data_dependent(self) -> bool:
        return True

    @property
    def dtype(self) -> torch.dtype | None:
        return self.like.dtype

    @property
    def in_dtype(self) -> torch.dtype | None:
        return torch.float64 if self.wide else self.like.dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Whitening:
        before = {name: getattr(self, name) for name in STATISTICS}
        super()._apply(fn, recurse)
        for name, tensor in before.items():
            setattr(self, name, moved_wide(tensor, getattr(self, name)))
        return self

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        if bool(self.initialized):
            return
        flat = x.reshape(-1, x.shape[-1]).to(torch.float64)
        mean = flat.mean(dim=0)
        to_white, back, log_det = _whitening(flat - mean, self.method)
        if inverse:  # y = A x + mean, where A undoes the whitening
            to_white, back, log_det, mean = back, to_white, -log_det, -to_white @ mean
        self.mean.copy_(mean)
        self.matrix.copy_(to_white)
        self.inverse_matrix.copy_(back)
        self.log_abs_det.copy_(log_det)
        self.initialized.fill_(True)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y = (x.to(torch.float64) - self.mean) @ self.matrix.mT
        return y.to(self.like.dtype), self.log_abs_det.to(self.like.dtype).expand(x.shape[:-1])

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = y.to(torch.float64) @ self.inverse_matrix.mT + self.mean
        return x.to(self.in_dtype), -self.log_abs_det.to(self.like.dtype).expand(y.shape[:-1])


def _whitening(centred: Tensor, method: str) -> tuple[Tensor, Tensor, Tensor]:
    """W with W^T W = Σ^-1, its inverse and log|det W|, from centred data (n, features)."""
    variances, axes = torch.linalg.eigh(centred.t() @ centred / len(centred))
    variances, axes = variances.flip(0), axes.t().flip(0)
    # A row of axes is known up to its sign: its largest entry is to be positive.
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    smallest = len(axes) * torch.finfo(torch.float64).eps * variances[0]
    scales = torch.where(variances > smallest, variances, 1.0).sqrt()
    log_det = -scales.log().sum()
    if method == "pca":
        return axes / scales[:, None], axes.t() * scales, log_det
    if method == "zca":
        return axes.t() @ (axes / scales[:, None]), (axes.t() * scales) @ axes, log_det
    upper = torch.linalg.qr(scales[:, None] * axes).R  # Σ = R^T R, without squares of scales that differ much
    lower = (upper * upper.diagonal().sign()[:, None]).t()
    eye = torch.eye(len(axes), dtype=lower.dtype, device=lower.device)
    return torch.linalg.solve_triangular(lower, eye, upper=False), lower.contiguous(), log_det

"""Learned rotations that start at the principal axes of the data."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.bijections.matrices import orthogonal_exp
from pushforward.bijections.orthogonal import OrthogonalMap
from pushforward.core.cache import TensorCache
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.execution_mode import runs_eagerly_without_grad

__all__ = ["Rotation"]


@configurable
class Rotation(OrthogonalMap):
    r"""A learned rotation: an orthogonal matrix of determinant one.

    .. math:: y = \exp(A)\, Q\, x, \qquad A = -A^\top

    Q is the identity until `initialize` sees data, then the principal axes, the widest first; the entries of A below
    the diagonal are learned from zero, and reach every rotation. Both directions cost one D × D product and the
    exponential, :math:`O(D^3)`; :math:`\log|\det| = 0`.

    Args:
        features: number of features D.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features.

    References:
        | Iterative Gaussianization: from ICA to Random Rotations (Laparra et al., 2011), arXiv:1602.00229
        | Gaussianization Flows (Meng et al., 2020), arXiv:2003.01941

    >>> import torch
    >>> part = Rotation(2)
    >>> part.initialize(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    >>> [round(abs(value), 4) for value in part(torch.tensor([1.0, 1.0])).tolist()]
    [1.4142, 0.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 2}, {"features": 4})
    axes: Tensor
    initialized: Tensor
    below: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("Rotation", "features", features, 2, "One feature cannot be rotated.")
        self.in_shape = self.out_shape = (features,)
        below = [(row, column) for row in range(features) for column in range(row)]
        self.angles = nn.Parameter(torch.zeros(len(below)))
        self.add_constant("below", list(zip(*below, strict=True)), torch.int64)
        self.register_buffer("axes", torch.eye(features))
        # A buffer, so that a loaded model is not measured again.
        self.register_buffer("initialized", torch.tensor(False))
        self._cache = TensorCache()

    @property
    def data_dependent(self) -> bool:
        return True

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        if bool(self.initialized):
            return
        flat = x.reshape(-1, x.shape[-1]).to(torch.float64)
        flat = flat - flat.mean(dim=0)
        axes = torch.linalg.eigh(flat.t() @ flat).eigenvectors.t().flip(0)
        axes[-1] *= torch.linalg.det(axes).sign()
        # Outputs of `forward` want the inverse map to give principal axes: the transpose of an orthogonal matrix.
        self.axes.copy_(axes.t() if inverse else axes)
        self.initialized.fill_(True)

    def _matrix(self) -> Tensor:
        # Elsewhere comparing would wait for the device.
        if runs_eagerly_without_grad(self.angles) and self.angles.is_cpu:
            return self._cache(self._turn, self.angles, self.axes)
        return self._turn(self.angles, self.axes)

    def _turn(self, angles: Tensor, axes: Tensor) -> Tensor:
        skew = axes.new_zeros(axes.shape).index_put(self.below.unbind(), angles)
        return orthogonal_exp(skew - skew.t()) @ axes

    def _weights(self, context: Tensor | None) -> tuple[Tensor, ...]:
        return (self._matrix(),)

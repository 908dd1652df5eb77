"""What linear maps share: one matrix for all points, or one for each context."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from pushforward.bijections.parametric import ParametricMap

__all__ = ["LinearMap"]

Weights = tuple[Tensor, ...]


class LinearMap(ParametricMap, ABC):
    r"""A linear map :math:`y = W x + b` of vectors, in a form whose inverse and determinant are cheap.

    A subclass gives the tensors that describe W and b, their product with points, the inverse of it, and the
    log-determinant. All of them have leading batch axes where the context decides W, and none otherwise.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).
    """

    @abstractmethod
    def _weights(self, context: Tensor | None) -> Weights:
        """The tensors that describe W and b: of shape (*s), with context (*batch, *s)."""

    @abstractmethod
    def _multiply(self, x: Tensor, *weights: Tensor) -> Tensor:
        """W x + b of points (n, features) or, where weights have batch axes, (*batch, n, features)."""

    @abstractmethod
    def _solve(self, y: Tensor, *weights: Tensor) -> Tensor:
        """The inverse of `_multiply`."""

    @abstractmethod
    def _log_det(self, *weights: Tensor) -> Tensor:
        """log|det W|: a number, with context (*batch,)."""

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.at_points(x[..., None, :], context)[0].squeeze(-2)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return self.at_points(y[..., None, :], context, inverse=True)[0].squeeze(-2)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, ladj = self.at_points(x[..., None, :], context)
        return y.squeeze(-2), ladj

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, ladj = self.at_points(y[..., None, :], context, inverse=True)
        return x.squeeze(-2), ladj

    def at_points(self, x: Tensor, context: Tensor | None, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """The images of several points that share a context, and the log-determinant for one of them.

        Args:
            x: points, (*batch, n, features).
            context: (*batch, context), or None.
            inverse: whether to apply the inverse map.

        Returns:
            (*batch, n, features) and (*batch,).
        """
        weights = self._weights(context)
        apply = self._solve if inverse else self._multiply
        # Without context all points share the matrix: one product, or one solve, for all of them.
        points = x.reshape(-1, x.shape[-1]) if context is None else x
        log_det = self._log_det(*weights)
        return apply(points, *weights).reshape(x.shape), (-log_det if inverse else log_det).expand(x.shape[:-2])

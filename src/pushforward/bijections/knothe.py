r"""Knothe-Rosenblatt maps in closed form: increasing triangular maps are unique, so fits converge to these.

Each maps standard normals to its target, :math:`x = T(z)`; its inverse is the Rosenblatt transform followed by the
normal quantile function, :math:`z_j = \Phi^{-1}\bigl(F(x_j \mid x_{<j})\bigr)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.bijections.layout import to_batch_first, to_features_first
from pushforward.core.bijection import Kind, TriangularMap
from pushforward.core.checks import finite_numbers, one_of, positive
from pushforward.core.config import configurable
from pushforward.core.numerics import attach_root_gradients, invert_increasing
from pushforward.univariate.mixture import Components
from pushforward.univariate.mixture_kinds import GaussianMixtureCDF

__all__ = ["COVARIANCES", "Banana", "GaussianRosenblatt", "MixtureRosenblatt", "cholesky_factor", "mixture_parts"]

COVARIANCES = ("full", "tied", "diagonal", "spherical")
"""Which covariances the components of a mixture may have; tied ones are full and the same for all."""

Rows = Sequence[Sequence[float]]
Step = Callable[..., tuple[Tensor, Any]]
LOG_2PI = math.log(2 * math.pi)


def cholesky_factor(owner: str, name: str, rows: Rows | None, features: int) -> Tensor:
    """The lower triangular factor of a covariance matrix given by its rows (None: the identity)."""
    if rows is None:
        return torch.eye(features)
    # Checked and factored in double precision whatever the default dtype.
    values = [[float(value) for value in row] for row in rows]
    square = len(values) == features and all(len(row) == features for row in values)
    matrix = torch.tensor(values if square else [], dtype=torch.float64, device="cpu")
    if not square or not torch.allclose(matrix, matrix.t()):
        raise ValueError(f"{owner}: {name} must be a symmetric {features} × {features} matrix.")
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        raise ValueError(f"{owner}: {name} must be positive definite; the variance of some direction is not positive.")
    return torch.tensor(factor.tolist())


def pack(factor: Tensor) -> Tensor:
    """A triangular factor (*s, D, D) as unconstrained numbers: logarithms on the diagonal."""
    return factor.tril(-1) + torch.diag_embed(factor.diagonal(dim1=-2, dim2=-1).log())


def unpack(cholesky: Tensor) -> Tensor:
    """The inverse of `pack`; entries above the diagonal are ignored."""
    return cholesky.tril(-1) + torch.diag_embed(cholesky.diagonal(dim1=-2, dim2=-1).exp())


@configurable
class GaussianRosenblatt(TriangularMap):
    r"""The triangular map from standard normals to a normal with mean μ and covariance :math:`\Sigma = L L^T`.

    .. math:: x = \mu + L z, \qquad L \text{ lower triangular with positive diagonal}

    Forward costs one product with L, the inverse one triangular solve.

    Args:
        loc: the mean μ, one number per feature.
        covariance: rows of Σ; the identity by default. Its Cholesky factor is what is learned.

    Shape:
        ``z``, ``x``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: the covariance is not symmetric and positive definite.

    >>> import torch
    >>> GaussianRosenblatt([1.0, 0.0], [[4.0, 2.0], [2.0, 2.0]])(torch.ones(2)).tolist()
    [3.0, 2.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"loc": [0.5]},
        {"loc": [0.0, 1.0, -1.0], "covariance": [[2.0, 0.6, 0.1], [0.6, 0.5, 0.2], [0.1, 0.2, 1.0]]},
    )

    def __init__(self, loc: Sequence[float], covariance: Rows | None = None) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(finite_numbers("GaussianRosenblatt", "loc", loc)))
        self.in_shape = self.out_shape = (len(self.loc),)
        factor = cholesky_factor("GaussianRosenblatt", "covariance", covariance, len(self.loc))
        self.cholesky = nn.Parameter(pack(factor))

    @property
    def factor(self) -> Tensor:
        """The Cholesky factor L, (features, features)."""
        return unpack(self.cholesky)

    @torch.no_grad()
    def set_moments(self, loc: Tensor, factor: Tensor) -> None:
        """Set the mean and the Cholesky factor."""
        self.loc.copy_(loc)
        self.cholesky.copy_(pack(factor))

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.loc + x @ self.factor.t(), self.cholesky.diagonal().expand(x.shape)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        columns = (y - self.loc).reshape(-1, y.shape[-1]).t()  # one solve for all points
        columns = torch.linalg.solve_triangular(self.factor, columns, upper=False)
        return columns.t().reshape(y.shape), -self.cholesky.diagonal().expand(y.shape)


@configurable
class MixtureRosenblatt(TriangularMap):
    r"""The triangular map from standard normals to a mixture of normals with full covariances.

    Given the features before it, feature j follows a mixture of one-dimensional normals in closed form: component k has
    the weight :math:`w_k N(x_{<j}; k)`, normalised, and the mean and scale of its own conditional normal. So

    .. math:: z_j = \Phi^{-1}\Bigl(\sum_k \omega_k(x_{<j})\, \Phi\bigl((x_j - \mu_k(x_{<j})) / \sigma_{kj}\bigr)\Bigr)

    in log space on both tails (`GaussianMixtureCDF`). The inverse costs K D² operations; the forward direction solves
    this equation one feature at a time, between the smallest and the largest quantile of the components.

    Args:
        weights: one positive number per component, in proportion.
        means: the mean of each component.
        covariances: the covariance of each component, as rows; identities by default.
        covariance: which covariances are learned: ``"full"``, ``"tied"`` (one full one for all components),
            ``"diagonal"`` or ``"spherical"`` (multiples of the identity). Those given must be of that kind.

    Shape:
        ``z``, ``x``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: the shapes do not fit, a covariance is not symmetric and positive definite, or it is not of the
            kind ``covariance``.

    >>> import torch
    >>> rosenblatt = MixtureRosenblatt([1.0, 1.0], [[-2.0, 0.0], [2.0, 0.0]])
    >>> rosenblatt.inverse(torch.zeros(2)).abs().tolist()
    [0.0, 0.0]
    """

    forward_kind: Kind = "iterative"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "weights": [1.0, 2.0],
            "means": [[-1.0, 0.5], [1.0, -1.0]],
            "covariances": [[[1.0, 0.4], [0.4, 0.5]], [[0.5, -0.3], [-0.3, 1.0]]],
        },
        {"weights": [1.0, 2.0], "means": [[-1.0, 0.5], [1.0, -1.0]], "covariance": "diagonal"},
    )

    def __init__(
        self,
        weights: Sequence[float],
        means: Rows,
        *,
        covariances: Sequence[Rows] | None = None,
        covariance: str = "full",
    ) -> None:
        super().__init__()
        one_of("MixtureRosenblatt", "covariance", covariance, COVARIANCES)
        logits, loc, factors = mixture_parts("MixtureRosenblatt", weights, means, covariances)
        self.in_shape = self.out_shape = (loc.shape[-1],)
        self.logits = nn.Parameter(logits)  # (K,)
        self.loc = nn.Parameter(loc)  # (K, features)
        packed = pack(factors)
        self.covariance = covariance
        # (K, features, features) for full ones, (1, features, features) for a tied one, the logarithms of the scales
        # (K, features) for diagonal and (K, 1) for spherical ones.
        diagonal = packed.diagonal(dim1=-2, dim2=-1)
        learned = {"full": packed, "tied": packed[:1], "diagonal": diagonal, "spherical": diagonal[:, :1]}
        self.cholesky = nn.Parameter(learned[covariance].clone())
        if not packed.is_meta and not torch.allclose(self._packed(), packed):
            raise ValueError(f"MixtureRosenblatt: covariances must be {covariance}, as covariance={covariance!r} says.")
        self.score = GaussianMixtureCDF(len(logits))

    @property
    def factors(self) -> Tensor:
        """The Cholesky factor of each component, (K, features, features)."""
        return unpack(self._packed())

    def _packed(self) -> Tensor:
        """The factors of all components as `pack` gives them, (K, features, features)."""
        components, features = self.loc.shape
        if self.covariance in ("full", "tied"):
            return self.cholesky.expand(components, -1, -1)
        return torch.diag_embed(self.cholesky.expand(-1, features))

    def log_density(self, x: Tensor) -> Tensor:
        """The log-density of the mixture at x (*batch, features), shape (*batch,)."""
        _, log_joint = self._walk(to_features_first(x).unbind(), lambda x, mixture: (x, None))
        return torch.logsumexp(log_joint, dim=0).reshape(x.shape[:-1])

    def reparametrize(self, x: Tensor) -> Tensor:
        """Samples x of this mixture, with their gradients as T(z) at fixed z = T⁻¹(x).

        References:
            | Implicit Reparameterization Gradients (Figurnov et al., 2018), arXiv:1805.08498
        """
        with torch.no_grad():
            columns = to_features_first(x)
            z = to_features_first(self._inverse(x, None)).detach()

        def step(pair: tuple[Tensor, Tensor], mixture: Components) -> tuple[Tensor, Tensor]:
            x = attach_root_gradients(lambda x: self.score._evaluate(x, mixture), *pair)
            return x, x

        moving, _ = self._walk(list(zip(z, columns, strict=True)), step)
        return to_batch_first(torch.stack(moving), x.shape[:-1])

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        def step(z: Tensor, mixture: Components) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            x, log_slope = invert_increasing(self.score._evaluate, self.score._solve, z, mixture)
            return x, (x, log_slope)

        return self._both(x, step)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._both(y, lambda x, mixture: (x, self.score._evaluate(x, mixture)))

    def _both(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        values, log_slopes = zip(*self._walk(to_features_first(x).unbind(), step)[0], strict=True)
        return to_batch_first(torch.stack(values), x.shape[:-1]), to_batch_first(torch.stack(log_slopes), x.shape[:-1])

    def _walk(self, columns: Sequence[Any], step: Step) -> tuple[list[Any], Tensor]:
        """Call ``step(column, mixture)`` for one feature after the other.

        The mixture is the conditional distribution of feature j given the features before it; ``step`` returns x_j,
        (n,), and a result. Returns all results and log(w_k N(x; k)), (K, n).
        """
        log_joint = torch.log_softmax(self.logits, dim=0)[:, None]
        limit = math.sqrt(torch.finfo(self.loc.dtype).max) * 1e-4
        packed = self._packed()
        residuals: list[Tensor] = []
        results = []
        for j, column in enumerate(columns):
            mean, log_scale = self.loc[:, j, None], packed[:, j, j, None]
            for i, residual in enumerate(residuals):
                mean = torch.addcmul(mean, packed[:, j, i, None], residual)
            x, result = step(column, Components(torch.log_softmax(log_joint, dim=0), mean, log_scale))
            residual = ((x - mean) * torch.exp(-log_scale)).clamp(-limit, limit)  # squares of larger numbers overflow
            log_joint = log_joint - 0.5 * (residual.square() + LOG_2PI) - log_scale
            residuals.append(residual)
            results.append(result)
        return results, log_joint


def mixture_parts(
    owner: str, weights: Sequence[float], means: Rows, covariances: Sequence[Rows] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Checked log-weights (K,), means (K, features) and Cholesky factors (K, features, features)."""
    positives = finite_numbers(owner, "weights", weights)
    if min(positives) <= 0:
        raise ValueError(f"{owner}: weights must be positive, one per component; got {positives}.")
    rows = [finite_numbers(owner, "means", row) for row in means]
    features = len(rows[0]) if rows else 0
    matrices = [None] * len(rows) if covariances is None else list(covariances)
    if not len(positives) == len(rows) == len(matrices) or any(len(row) != features for row in rows):
        raise ValueError(
            f"{owner}: weights, means and covariances must have one entry per component, and all means one number per "
            f"feature; got {len(positives)} weights, means of lengths {[len(row) for row in rows]} and "
            f"{len(matrices)} covariances."
        )
    factors = [cholesky_factor(owner, "covariances", matrix, features) for matrix in matrices]
    return torch.tensor(positives).log(), torch.tensor(rows), torch.stack(factors)


@configurable
class Banana(TriangularMap):
    r"""Bend the plane along a parabola: :math:`x_1 = z_1,\; x_2 = z_2 + b\,(z_1^2 - 1)`.

    It is triangular with unit slopes, so it is the Knothe-Rosenblatt map from a standard normal to its image, a density
    of the shape of a banana. Both directions cost one square.

    Args:
        bend: the curvature b.

    Shape:
        ``z``, ``x``: (*batch, 2), ``ladj``: (*batch,).

    Raises:
        ValueError: ``bend`` is not positive.

    References:
        | Adaptive proposal distribution for random walk Metropolis algorithm (Haario et al., 1999)

    >>> import torch
    >>> Banana(0.5)(torch.tensor([3.0, 1.0])).tolist()
    [3.0, 5.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"bend": 0.7},)

    def __init__(self, bend: float = 1.0) -> None:
        super().__init__()
        positive("Banana", "bend", bend)
        self.in_shape = self.out_shape = (2,)
        self.bend = bend

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return x + self._lift(x), torch.zeros_like(x)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return y - self._lift(y), torch.zeros_like(y)

    def _lift(self, x: Tensor) -> Tensor:
        limit = math.sqrt(torch.finfo(x.dtype).max) * 1e-4  # squares of larger numbers overflow
        lift = self.bend * (x[..., :1].clamp(-limit, limit).square() - 1)
        return torch.cat([torch.zeros_like(lift), lift], dim=-1)

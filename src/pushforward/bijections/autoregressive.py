"""The increasing triangular map whose parameters a masked network gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.layout import (
    channels,
    check_univariate,
    context_columns,
    embed,
    embed_slope,
    free_params,
    from_columns,
    make_conditioner,
    to_columns,
)
from pushforward.bijections.sequential import sequential_inverse, sweeps
from pushforward.core.bijection import Kind, TriangularMap
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.dispatch import accelerated
from pushforward.networks import MASKED, AutoregressiveConditioner
from pushforward.univariate.base import Univariate, with_free

__all__ = ["Autoregressive"]


@configurable
class Autoregressive(TriangularMap):
    r"""Move each feature by a map whose parameters the features before it decide: an increasing triangular map.

    .. math:: y_j = \tau\bigl(x_j;\ \theta_j(x_{<j}, c)\bigr), \qquad \log|\det| = \sum_j \log \tau'(x_j)

    The forward direction costs one pass of the masked conditioner. The inverse solves for one feature at a time, with
    the parameters that the conditioner's incremental pass gives: about one pass of arithmetic in all. So do its
    gradients, by one reverse sweep.

    Args:
        univariate: the map of each feature.
        features: number of features D.
        context: number of context features; all D maps depend on them.
        hidden: layer widths of the conditioner; a layer too narrow for D degrees is widened.
        conditioner: its registered name, such as ``"plain"`` or ``"residual"``.
        activation: its activation.
        dropout: its dropout probability.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057
        | Triangular transformations of measures (Bogachev et al., 2005), doi:10.1070/SM2005v196n03ABEH000882

    >>> import torch
    >>> from pushforward.univariate import Affine
    >>> layer = Autoregressive(Affine(), 3, hidden=(8,))
    >>> layer.inverse(layer(torch.ones(3))).tolist()
    [1.0, 1.0, 1.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"univariate": {"type": "Affine"}, "features": 4, "hidden": [12]},
        {"univariate": {"type": "Shift"}, "features": 2, "hidden": [4, 4], "activation": "tanh"},
        {"univariate": {"type": "RationalQuadratic", "bins": 4}, "features": 3, "context": 2, "hidden": [12, 12]},
        {"univariate": {"type": "Affine"}, "features": 5, "context": 1, "hidden": [2], "activation": "silu"},
        {
            "univariate": {
                "type": "PerFeature",
                "parts": [{"type": "CircularRationalQuadratic", "bins": 3}, {"type": "Affine"}],
                "counts": [2, 1],
            },
            "features": 3,
            "context": 1,
            "hidden": [12],
        },
        {
            "univariate": {"type": "RationalQuadratic", "bins": 4},
            "features": 3,
            "context": 1,
            "hidden": [12, 12],
            "conditioner": "residual",
            "dropout": 0.1,
        },
    )

    def __init__(
        self,
        univariate: Univariate,
        features: int,
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        conditioner: str = "plain",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_univariate("Autoregressive", univariate, features)
        at_least("Autoregressive", "features", features, 2, "Use Elementwise for one feature.")
        at_least("Autoregressive", "context", context, 0)
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.domain, self.codomain = univariate.domain, univariate.codomain
        self.inverse_kind: Kind = "iterative" if univariate.inverse_kind == "iterative" else "sequential"
        self.univariate = univariate
        options = {"context": context, "hidden": hidden, "activation": activation, "dropout": dropout}
        if channels(self.domain) > 1:
            options["channels"] = channels(self.domain)
        conditional = univariate.num_params - univariate.num_free
        self.conditioner: AutoregressiveConditioner = make_conditioner(
            "Autoregressive", MASKED, conditioner, features, conditional, **options
        )
        self.free = free_params(univariate, features)

    @accelerated("univariate", "conditioner")
    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        columns = to_columns(x)  # (features, n)
        params = self.conditioner(embed(self.domain, columns), context_columns(context))  # (num_params, features, n)
        y, log_slope = self.univariate.forward_with_free(columns, params, self._free())
        return from_columns(y, x.shape[:-1]), from_columns(log_slope, x.shape[:-1])

    @accelerated("univariate", "conditioner")
    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if self._sweeps():  # a parallel pass at x gives slopes whose gradients need no second sweep
            x = self._inverse(y, context)
            return x, -self._forward_and_slopes(x, context)[1]
        x, log_slope = self._feature_by_feature(
            lambda univariate, *args: univariate.inverse_with_free(*args), to_columns(y), context_columns(context)
        )
        return from_columns(x, y.shape[:-1]), from_columns(log_slope, y.shape[:-1])

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        columns, context = to_columns(y), context_columns(context)
        x = sequential_inverse(self, columns, context) if self._sweeps() else self._solve(columns, context)
        return from_columns(x, y.shape[:-1])

    def _sweeps(self) -> bool:
        """Whether gradients of the inverse are computed by the reverse sweep."""
        return sweeps() and self.conditioner.has_reverse_pass

    @accelerated("univariate", "conditioner")
    def _solve(self, y: Tensor, context: Tensor | None) -> Tensor:
        """x (features, n) from y (features, n), without the reverse sweep."""
        return self._feature_by_feature(
            lambda univariate, *args: (univariate.inverse_value_with_free(*args),), y, context
        )[0]

    def _feature_by_feature(
        self, invert: Callable[..., tuple[Tensor, ...]], y: Tensor, context: Tensor | None
    ) -> list[Tensor]:
        """``invert(univariate, y_j, params, free)`` of each feature in turn, x_j first of its results, with the
        parameters that the features before it decide; each of the results as (features, n)."""
        y = y.contiguous()  # (features, n)
        incremental = self.conditioner.start(y, context)
        free = [None] * len(y) if self.free is None else self.free[..., None].unbind(dim=1)  # (num_free, 1) each
        block, results = None, []
        for j, (y_j, free_j) in enumerate(zip(y.unbind(), free, strict=True)):
            params = incremental.step(block)  # (num_params, n)
            results.append(invert(self.univariate.for_feature(j), y_j, params, free_j))
            block = embed(self.domain, results[-1][0][None], j)  # (channels, n)
        return [torch.stack(columns) for columns in zip(*results, strict=True)]

    def _free(self) -> Tensor | None:
        """The free parameters, (num_free, features, 1)."""
        return None if self.free is None else self.free[..., None]

    def _sweep(self, x: Tensor, context: Tensor | None, v: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        r"""Back substitution from the last feature to the first; see `sequential_inverse`.

        With :math:`g = J^{-\top} v`, :math:`g_j = \bigl(v_j - \sum_{i > j} g_i\, \partial y_i / \partial x_j\bigr) /
        \tau'_j`, where the sum is what the conditioner's reverse pass gives.
        """
        reverse = self.conditioner.start_reverse(embed(self.domain, x), context, v)
        conditional = len(reverse.params)
        x_leaf, free = x.detach().requires_grad_(), self._free()
        params = with_free(reverse.params.detach(), None if free is None else free.detach()).requires_grad_()
        y = self.univariate.value(x_leaf, params)
        slope, grad_params = torch.autograd.grad(y.sum(), (x_leaf, params), retain_graph=True)
        with torch.no_grad():
            # From cotangents of conditioner inputs to what they add to g, (features, channels, n).
            weights = -embed_slope(self.domain, x) / slope[:, None]
            weight = (weights * reverse.inside.view_as(weights)).unbind()
            scaled, per_feature = v / slope, grad_params[:conditional].transpose(0, 1).unbind()
            g_j, g = scaled[-1], [scaled[-1]]
            for j in reversed(range(1, len(x))):
                cotangents = reverse.step(per_feature[j], g_j)  # (channels, n)
                if len(cotangents) == 1:
                    g_j = torch.addcmul(scaled[j - 1], cotangents[0], weight[j - 1][0])
                else:
                    g_j = scaled[j - 1] + (cotangents * weight[j - 1]).sum(dim=0)
                g.append(g_j)
            reverse.step(per_feature[0], g_j)  # completes the cotangents of units that see the context alone
            g_all = torch.stack(g[::-1])
            grad_params = grad_params * g_all
        pairs = [(reverse.params, grad_params[:conditional]), (y, g_all), *reverse.cotangents()]
        if self.free is not None:
            pairs.append((self.free, grad_params[conditional:].sum(dim=-1)))
        return g_all, pairs

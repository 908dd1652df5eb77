"""The increasing triangular map whose parameters a masked network gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from pushforward.bijections.jacobi import jacobi_inverse
from pushforward.bijections.layout import (
    channels,
    check_conditional,
    check_univariate,
    context_features_first,
    embed,
    embed_slope,
    free_params,
    make_conditioner,
    to_batch_first,
    to_features_first,
)
from pushforward.bijections.sequential import sequential_inverse, uses_custom_backward
from pushforward.core.bijection import Kind, TriangularMap
from pushforward.core.checks import at_least, one_of
from pushforward.core.config import configurable
from pushforward.core.dispatch import accelerated
from pushforward.core.execution_mode import current_execution, resume, runs_eagerly_without_grad
from pushforward.networks import MASKED, AutoregressiveConditioner, SupportsReversePass
from pushforward.univariate.base import Univariate, with_free

__all__ = ["SOLVERS", "Autoregressive"]

SOLVERS = ("sequential", "jacobi")
"""How inverses are computed."""


@configurable
class Autoregressive(TriangularMap):
    r"""Transform feature j by an increasing univariate map whose parameters are a function of features 1..j-1.

    A masked network computes the parameters; it reads the context, too.

    .. math:: y_j = \tau\bigl(x_j;\ \theta_j(x_{<j}, c)\bigr), \qquad \log|\det| = \sum_j \log \tau'(x_j)

    The forward direction costs one pass of the masked conditioner. The inverse solves for one feature at a time, with
    the parameters that the conditioner's incremental pass gives: about one pass of arithmetic in all. Its gradients
    cost about one more: back substitution through the triangular Jacobian, without storing it.

    Args:
        univariate: the map of each feature.
        features: number of features D.
        context: number of context features; all D maps depend on them.
        hidden: layer widths of the conditioner; a layer too narrow for D degrees is widened.
        conditioner: its registered name, such as ``"plain"``, ``"residual"``, ``"transformer"`` or
            ``"window"``.
        activation: its activation.
        dropout: its dropout probability.
        conditioner_options: what else this conditioner takes, by name, such as ``{"heads": 8}`` for a transformer.
        solver: ``"sequential"``, or ``"jacobi"`` for inverses by iterations of parallel passes, which pay where a pass
            of one feature takes about as long as one of many: it solves blocks of features one after the other and the
            features of a block together, until nothing moves by more than rounding. It is used where no derivatives are
            recorded and nothing is compiled; where it takes too many iterations, features are solved one by one.
        block: number of features of a block.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057
        | Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving (Song et al., 2020),
          arXiv:2002.03629, for ``solver="jacobi"``

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
        {
            "univariate": {"type": "Affine"},
            "features": 3,
            "context": 1,
            "hidden": [8],
            "conditioner": "transformer",
            "activation": "gelu",
            "conditioner_options": {"heads": 2, "frequencies": 1},
            "solver": "jacobi",
            "block": 2,
        },
        {
            "univariate": {"type": "Affine"},
            "features": 8,
            "context": 1,
            "hidden": [6, 6],
            "conditioner": "window",
            "activation": "tanh",
            "conditioner_options": {"shape": [2, 2, 2], "above": 1, "beside": 1, "recurrent": 8},
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
        conditioner_options: Mapping[str, Any] | None = None,
        solver: str = "sequential",
        block: int = 32,
    ) -> None:
        super().__init__()
        check_univariate("Autoregressive", univariate, features)
        check_conditional("Autoregressive", univariate)
        at_least(
            "Autoregressive",
            "features",
            features,
            2,
            "Use Elementwise for one feature, Elementwise or Coupling for events of several axes.",
        )
        at_least("Autoregressive", "context", context, 0)
        one_of("Autoregressive", "solver", solver, SOLVERS)
        at_least("Autoregressive", "block", block, 1)
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.domain, self.codomain = univariate.domain, univariate.codomain
        self.inverse_kind: Kind = "iterative" if univariate.inverse_kind == "iterative" else "sequential"
        self.univariate = univariate
        options = {"context": context, "hidden": hidden, "activation": activation, "dropout": dropout}
        if channels(self.domain) > 1:
            options["channels"] = channels(self.domain)
        num_conditional = univariate.num_params - univariate.num_free
        self.conditioner: AutoregressiveConditioner = make_conditioner(
            "Autoregressive", MASKED, conditioner, features, num_conditional, extra=conditioner_options, **options
        )
        self.solver, self.block = solver, block
        # Parameters learned for each feature, not computed by the conditioner.
        self.free = free_params(univariate, features)

    @accelerated("univariate", "conditioner")
    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x_rows = to_features_first(x)  # (features, n)
        inputs = embed(self.domain, x_rows), context_features_first(context)
        params = self.conditioner(*inputs)  # (num_conditional, features, n)
        y, log_slope = self.univariate.forward_with_free(x_rows, params, self._free())
        return to_batch_first(y, x.shape[:-1]), to_batch_first(log_slope, x.shape[:-1])

    @accelerated("univariate", "conditioner")
    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if self._uses_custom_backward() or self._iterates(y):
            # With gradients x carries the custom backward of `sequential_inverse`. Log-slopes of one pass at x are
            # differentiated by ordinary autograd; their gradient reaches weights and y through that same backward.
            x = self._inverse(y, context)
            return x, -self._forward_and_slopes(x, context)[1]
        x, log_slope = self._feature_by_feature(
            "inverse_with_free", to_features_first(y), context_features_first(context)
        )
        return to_batch_first(x, y.shape[:-1]), to_batch_first(log_slope, y.shape[:-1])

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        y_rows, context = to_features_first(y), context_features_first(context)
        x = sequential_inverse(self, y_rows, context) if self._uses_custom_backward() else self._solve(y_rows, context)
        return to_batch_first(x, y.shape[:-1])

    def _uses_custom_backward(self) -> bool:
        """Whether the inverse is recorded as one custom autograd function, not as D steps."""
        if not uses_custom_backward():
            return False
        conditioner = self.conditioner
        return isinstance(conditioner, SupportsReversePass) and conditioner.has_reverse_pass

    def _iterates(self, like: Tensor) -> bool:
        """Whether inverses are found by iterations of parallel passes."""
        return self.solver == "jacobi" and runs_eagerly_without_grad(like) and not self.conditioner.drops_units

    @accelerated("univariate", "conditioner")
    def _solve(self, y: Tensor, context: Tensor | None) -> Tensor:
        """Solve for x, (features, n) to (features, n). With gradients on, autograd records the whole loop.

        `sequential_inverse` calls it inside an autograd function, where gradients are off: there the native kernel
        runs, in training as well.
        """
        if self._iterates(y):
            with resume(current_execution()._replace(matmul_dtype=None)):
                passes = self.conditioner.start_blocks(y, context)
                anchor = self.domain.anchor(y.t()).expand_as(y.t()).t()
                sizes = self.block, self.conditioner.group
                x = jacobi_inverse(y, passes, self._invert_block, partial(embed, self.domain), anchor, *sizes)
            if x is not None:
                return x
        if self.conditioner.group > 1 and channels(self.domain) == 1 and runs_eagerly_without_grad(y):
            return self._group_by_group(y, context)
        return self._feature_by_feature("inverse_value_with_free", y, context)[0]

    def _group_by_group(self, y: Tensor, context: Tensor | None) -> Tensor:
        """x, (features, n) to (features, n): features that do not depend on each other are solved together."""
        group, passes = self.conditioner.group, self.conditioner.start_blocks(y, context)
        x = self.domain.anchor(y.t()).expand_as(y.t()).t().clone()
        for start in range(0, len(y), group):
            stop = start + group
            x[start:stop] = self._invert_block(y[start:stop], passes.params(x, start, stop), start, stop)
        return x

    def _invert_block(self, y: Tensor, params: Tensor, start: int, stop: int) -> Tensor:
        """x (stop - start, n) of some neighbouring features from their y and their conditional parameters."""
        pieces = []
        for _, run in groupby(range(start, stop), key=lambda j: id(self.univariate.for_feature(j))):
            features = list(run)
            rows = slice(features[0] - start, features[-1] + 1 - start)
            free = None if self.free is None else self.free[:, features[0] : features[-1] + 1, None]
            univariate = self.univariate.for_feature(features[0])
            pieces.append(univariate.inverse_value_with_free(y[rows], params[:, rows], free))
        return torch.cat(pieces)

    def _feature_by_feature(self, method: str, y: Tensor, context: Tensor | None) -> list[Tensor]:
        """Each feature inverted in turn by this method of its univariate map, with parameters computed from the
        features before it; x, and whatever else the method returns after it, as (features, n)."""
        y = y.contiguous()  # (features, n)
        incremental = self.conditioner.start(y, context)
        free = [None] * len(y) if self.free is None else self.free[..., None].unbind(dim=1)  # (num_free, 1) each
        previous, results = None, []  # the network's input of the previous feature
        for j, (y_j, free_j) in enumerate(zip(y.unbind(), free, strict=True)):
            params = incremental.step(previous)  # (num_conditional, n)
            result = getattr(self.univariate.for_feature(j), method)(y_j, params, free_j)
            results.append(result if isinstance(result, tuple) else (result,))
            previous = embed(self.domain, results[-1][0][None], j)  # (channels, n)
        return [torch.stack(rows) for rows in zip(*results, strict=True)]

    def _free(self) -> Tensor | None:
        """The free parameters, (num_free, features, 1)."""
        return None if self.free is None else self.free[..., None]

    def _back_substitute(
        self, x: Tensor, context: Tensor | None, grad_x: Tensor
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        r"""See `SequentiallyInvertible`.

        With v for grad_x, :math:`g = J^{-\top} v` solves :math:`g_j = \bigl(v_j - \sum_{i > j} g_i\, \partial y_i /
        \partial x_j\bigr) / \tau'_j`, where the sum is what the conditioner's reverse pass gives.
        """
        reverse = cast(SupportsReversePass, self.conditioner).start_reverse(embed(self.domain, x), context, grad_x)
        num_conditional = len(reverse.params)
        x_leaf, free = x.detach().requires_grad_(), self._free()
        params = with_free(reverse.params.detach(), None if free is None else free.detach()).requires_grad_()
        y = self.univariate.value(x_leaf, params)
        # The graph is kept for parameters of the univariate map itself, see below.
        slope, dy_dparams = torch.autograd.grad(y.sum(), (x_leaf, params), retain_graph=True)
        with torch.no_grad():
            # Chain rule from the gradient with respect to conditioner inputs to g, (features, channels, n):
            # -(d embed / d x) / tau', zero where the input is clamped.
            scales = -embed_slope(self.domain, x) / slope[:, None]
            input_scale = (scales * reverse.inside.view_as(scales)).unbind()
            v_over_slope, dy_dparams_of = grad_x / slope, dy_dparams[:num_conditional].transpose(0, 1).unbind()
            g_j, g = v_over_slope[-1], [v_over_slope[-1]]
            for j in reversed(range(1, len(x))):
                grad_inputs = reverse.step(dy_dparams_of[j], g_j)  # (channels, n)
                if len(grad_inputs) == 1:
                    g_j = torch.addcmul(v_over_slope[j - 1], grad_inputs[0], input_scale[j - 1][0])
                else:
                    g_j = v_over_slope[j - 1] + (grad_inputs * input_scale[j - 1]).sum(dim=0)
                g.append(g_j)
            # Completes the cotangents of units that see the context alone; there is no feature before the first.
            reverse.step(dy_dparams_of[0], g_j)
            g_all = torch.stack(g[::-1])
            grad_params = dy_dparams * g_all
        # y: for learnable parameters inside the univariate map itself, if it has any.
        pairs = [(reverse.params, grad_params[:num_conditional]), (y, g_all), *reverse.cotangents()]
        if self.free is not None:
            pairs.append((self.free, grad_params[num_conditional:].sum(dim=-1)))
        return g_all, pairs

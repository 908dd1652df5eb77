"""The increasing triangular map whose parameters a masked network gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.conditional import native_conditional
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
from pushforward.bijections.native import native_forward, native_solve
from pushforward.bijections.sequential import sequential_inverse, sweeps
from pushforward.core.bijection import Kind, TriangularMap
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.execution_mode import runs_directly
from pushforward.core.native_build import Compilable
from pushforward.networks import MASKED
from pushforward.univariate.base import Univariate, with_free

__all__ = ["Autoregressive"]


@configurable
class Autoregressive(TriangularMap, Compilable):
    r"""Move each feature by a map whose parameters the features before it decide: an increasing triangular map.

    .. math:: y_j = \tau\bigl(x_j;\ \theta_j(x_{<j}, c)\bigr), \qquad \log|\det| = \sum_j \log \tau'(x_j)

    The forward direction costs one pass of the masked conditioner. The inverse goes one feature at a time on the
    conditioner's incremental interface, about one pass of arithmetic in all; so do its gradients, by one reverse sweep.

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
        check_univariate("Autoregressive", univariate)
        at_least("Autoregressive", "features", features, 2, "Use Elementwise for one feature.")
        at_least("Autoregressive", "context", context, 0)
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.domain, self.codomain = univariate.domain, univariate.codomain
        self.inverse_kind: Kind = "iterative" if univariate.inverse_kind == "iterative" else "sequential"
        self.univariate, self.dropout = univariate, dropout
        options = {"context": context, "hidden": hidden, "activation": activation, "dropout": dropout}
        if channels(self.domain) > 1:
            options["channels"] = channels(self.domain)
        conditional = univariate.num_params - univariate.num_free
        self.conditioner = make_conditioner("Autoregressive", MASKED, conditioner, features, conditional, **options)
        self.free = free_params(univariate, features)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        columns, known = to_columns(x), context_columns(context)  # (features, n)
        found = None
        if self._native:
            found = native_forward(self.univariate, self.conditioner, self.free, columns, known)
            found = found or native_conditional(self.univariate, self.conditioner, columns, known)
        if found is None:
            params = self.conditioner(embed(self.domain, columns), known)
            found = self.univariate.forward_from(columns, params, None if self.free is None else self.free[..., None])
        y, log_slope = found
        return from_columns(y, x.shape[:-1]), from_columns(log_slope, x.shape[:-1])

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # One parallel pass at x gives slopes whose gradients need no second sweep.
        if self._sweeps() or (self._native and runs_directly(y)):
            x = self._inverse(y, context)
            return x, -self._forward_and_slopes(x, context)[1]
        pairs = self._one_by_one(self.univariate.inverse, to_columns(y), context_columns(context))
        x_columns, log_slopes = (torch.stack(column) for column in zip(*pairs, strict=True))
        return from_columns(x_columns, y.shape[:-1]), from_columns(log_slopes, y.shape[:-1])

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        columns, known = to_columns(y), context_columns(context)
        x = sequential_inverse(self, columns, known) if self._sweeps() else self._solve(columns, known)
        return from_columns(x, y.shape[:-1])

    def _sweeps(self) -> bool:
        """Whether gradients are recorded by the reverse sweep, which not every network offers, and none that drops
        units at random."""
        return sweeps() and hasattr(self.conditioner, "suffix") and not (self.dropout > 0 and self.training)

    def _solve(self, y: Tensor, context: Tensor | None) -> Tensor:
        """x (features, n), feature by feature."""
        if self._native:
            x = native_solve(self.univariate, self.conditioner, self.free, y, context)
            if x is not None:
                return x
        step = self.univariate.step if runs_directly(y) else self.univariate.inverse_value
        pairs = self._one_by_one(lambda y, params: (step(y, params), None), y, context)
        return torch.stack([x for x, _ in pairs])

    def _one_by_one(self, invert: Callable[..., tuple[Tensor, Any]], y: Tensor, context: Tensor | None) -> list[Any]:
        columns = y.contiguous()  # (features, n)
        conditioner: Any = self.conditioner  # whatever is registered offers `prefix`
        prefix = conditioner.prefix(columns, context)
        room, filled = self._room(columns, getattr(prefix, "direct", False))
        domain, free, pairs = self.domain, self.free, []
        for j, y_j in enumerate(columns.unbind()):
            if room is None:
                params = with_free(prefix.params(), None if free is None else free[:, j, None])
            else:
                params = room[j]
                prefix.params(out=filled[j])
            pair = invert(y_j, params)
            prefix.push(embed(domain, pair[0][None]))
            pairs.append(pair)
        return pairs

    def _room(self, columns: Tensor, direct: bool) -> tuple[Any, Any]:
        """Room for the parameters of each feature, the free ones in place, and the part of it that the conditioner
        fills; (None, None) where tensors are put together instead."""
        if not direct:
            return None, None
        total = self.univariate.num_params
        room = columns.new_empty(len(columns), total, columns.shape[-1])
        filled = room[:, : total - self.univariate.num_free]
        if self.free is not None:
            room[:, filled.shape[1] :] = self.free.t()[..., None]
        return room.unbind(), filled.unbind()

    def _sweep(self, x: Tensor, context: Tensor | None, v: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Back substitution from the last feature to the first; see `sequential_inverse`."""
        conditioner: Any = self.conditioner
        suffix = conditioner.suffix(embed(self.domain, x), context, v)
        conditional = len(suffix.params)
        x_leaf = x.detach().requires_grad_()
        full = with_free(suffix.params.detach(), None if self.free is None else self.free[..., None].detach())
        full.requires_grad_()
        y = self.univariate.value(x_leaf, full)
        slope, by_params = torch.autograd.grad(y.sum(), (x_leaf, full), retain_graph=True)
        with torch.no_grad():
            steer = -embed_slope(self.domain, x) / slope[:, None]  # (features, channels, n)
            steer = (steer * suffix.inside.view_as(steer)).unbind()
            own, by_params = v / slope, by_params.transpose(0, 1)  # (features, n), (features, num_params, n)
            to_params = by_params[:, :conditional].unbind()
            g_j, found = own[-1], [own[-1]]
            for j in reversed(range(len(x))):
                sent = suffix.push(to_params[j], g_j)  # (channels, n)
                if not j:
                    break
                if len(sent) == 1:
                    g_j = torch.addcmul(own[j - 1], sent[0], steer[j - 1][0])
                else:
                    g_j = own[j - 1] + (sent * steer[j - 1]).sum(dim=0)
                found.append(g_j)
            g = torch.stack(found[::-1])
        sent_all = by_params.transpose(0, 1) * g
        pairs = [(suffix.params, sent_all[:conditional]), (y, g), *suffix.pairs()]
        if self.free is not None:
            pairs.append((self.free, sent_all[conditional:].sum(dim=-1)))
        return g, pairs

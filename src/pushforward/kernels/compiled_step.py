"""Inverses that are long formulas, compiled for the loop over features of an autoregressive inverse."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor

from pushforward.core.dispatch import Kernel, register, undecorated
from pushforward.core.execution_mode import runs_eagerly_without_grad
from pushforward.kernels.native_build import compiled
from pushforward.univariate import (
    CircularRationalQuadratic,
    CubicSpline,
    LinearRational,
    LinearSpline,
    QuadraticSpline,
    Univariate,
)
from pushforward.univariate.spline import Spline

__all__ = ["CompiledStep"]

SPLINES = (CircularRationalQuadratic, CubicSpline, LinearRational, LinearSpline, QuadraticSpline)


@cache
def _compiled(operation: Callable[..., Any]) -> Callable[..., Any]:
    return compiled(undecorated(operation))


@register(Spline.inverse_value, SPLINES)
class CompiledStep(Kernel):
    """`inverse_value` of one feature (n,) by `torch.compile`: the overhead of many small operations dominates it."""

    def supports(self, univariate: Univariate, y: Tensor, params: Tensor) -> bool:
        return y.ndim == 1 and runs_eagerly_without_grad(y)

    def run(self, univariate: Univariate, y: Tensor, params: Tensor) -> Tensor:
        x: Tensor = _compiled(type(univariate).inverse_value)(univariate, y, params)
        return x

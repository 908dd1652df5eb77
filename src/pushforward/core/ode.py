"""Explicit Runge-Kutta methods with a fixed number of steps: each method is a table of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["SOLVERS", "Tableau", "integrate"]

State = tuple[Tensor, ...]
Field = Callable[..., State]
"""The time, a number, and the tensors of the state to the slopes of these tensors."""


class Tableau(NamedTuple):
    """A Butcher tableau: stage i is computed at time ``nodes[i]`` of a step from the slopes of the stages before it."""

    order: int
    """The error of a solve falls as this power of the step."""
    nodes: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]

    @property
    def stages(self) -> int:
        """Evaluations of the field in each step."""
        return len(self.nodes)


SOLVERS: dict[str, Tableau] = {
    "midpoint": Tableau(2, (0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "rk4": Tableau(
        4,
        (0.0, 0.5, 0.5, 1.0),
        ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    ),
    "dopri5": Tableau(
        5,
        (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0),
        (
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        ),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
}
"""By name. ``"dopri5"`` is the fifth-order solution of the pair of Dormand and Prince; its error estimate, which costs
a seventh stage, is not used: errors are measured by halving the step."""


def integrate(
    field: Field,
    state: State,
    start: float,
    stop: float,
    steps: int,
    tableau: Tableau,
    run: Callable[..., State] | None = None,
) -> State:
    """The state at time ``stop``, from that at ``start``, in steps of equal length.

    The number of operations does not depend on data, so that a solve is one graph under compile, vmap and export.

    Args:
        field: slopes of the state.
        state: tensors of any shapes.
        start: the time of the state.
        stop: the time to reach, before or after ``start``.
        steps: number of steps.
        tableau: the method, such as ``SOLVERS["rk4"]``.
        run: calls a function with arguments, once for every step, such as `torch.utils.checkpoint.checkpoint`.

    References:
        | A family of embedded Runge-Kutta formulae (Dormand and Prince, 1980), doi:10.1016/0771-050X(80)90013-3
        | Solving Ordinary Differential Equations I (Hairer, Nørsett, Wanner, 1993)

    >>> import torch
    >>> (y,) = integrate(lambda t, y: (y,), (torch.ones(1),), 0.0, 1.0, 8, SOLVERS["dopri5"])
    >>> round(y.item(), 5)  # e
    2.71828
    """
    step = (stop - start) / steps

    def advance(time: float, *state: Tensor) -> State:
        slopes: list[State] = []
        for node, row in zip(tableau.nodes, tableau.matrix, strict=True):
            slopes.append(field(time + step * node, *_moved(state, slopes, row, step)))
        return _moved(state, slopes, tableau.weights, step)

    for k in range(steps):
        arguments: tuple[Any, ...] = (start + step * k, *state)
        state = advance(*arguments) if run is None else run(advance, *arguments)
    return state


def _moved(state: State, slopes: list[State], weights: tuple[float, ...], step: float) -> State:
    """The state plus the weighted sum of slopes."""
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            state = tuple(y.add(s, alpha=step * weight) for y, s in zip(state, slope, strict=True))
    return state

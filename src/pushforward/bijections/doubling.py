"""Solves of differential equations with a checked error: rows whose error is too large are solved with more steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.core.numerics import concrete_bool

__all__ = ["Adapted", "Ends", "Rows", "solve_adapted"]

ROUNDING = 16.0  # in units of eps: what rounding may change beside the tolerance, relative to the sizes of the terms


class Rows(NamedTuple):
    """Points where a solve starts, (features, n), their contexts and the probes of an estimated trace."""

    start: Tensor
    context: Tensor | None
    """(context, n)"""
    noise: Tensor | None
    """(features, probes, n)"""

    def pick(self, index: Tensor) -> Rows:
        """Some of the points."""
        return Rows(*(None if t is None else t.index_select(-1, index) for t in self))  # type: ignore[arg-type]

    def detached(self) -> Rows:
        """Without gradients."""
        return Rows(*(None if t is None else t.detach() for t in self))  # type: ignore[arg-type]


class Ends(NamedTuple):
    """Points at the end, (features, n), and log-determinants by each probe, (probes, n), or (1, n) if exact."""

    y: Tensor
    ladj: Tensor | None
    """None where values alone were asked for."""


class Adapted(NamedTuple):
    """The ends of all rows and, each (n,), how they were solved."""

    ends: Ends
    steps: Tensor
    change: Tensor
    """By how much the last halving of the step changed the log-density, in nats; without ladj the points."""
    solved: Tensor
    """Whether that is within the tolerance."""
    passes: Tensor
    """Evaluations of the field, those of longer steps included."""


def solve_adapted(
    solve: Callable[[Rows, int], Ends],
    rows: Rows,
    *,
    steps: int,
    max_steps: int,
    stages: int,
    tolerance: float,
    inverse: bool,
) -> Adapted:
    """Solve in ``steps`` steps and compare with half as many; in eager mode, double the steps of rows that fail.

    Every row is treated by itself, so that its result does not depend on the others of its batch.

    Args:
        solve: rows and a number of steps to their ends.
        rows: where to start.
        steps: of the first solve, even.
        max_steps: no row gets more.
        stages: evaluations of the field in each step.
        tolerance: of the log-density in nats, and of points relative to their size.
        inverse: whether the log-density is that of ``y`` under a standard normal plus ladj, or minus ladj alone.
    """
    with torch.no_grad():
        coarse = solve(rows.detached(), steps // 2)
    ends = solve(rows, steps)
    change, solved = _compare(ends, coarse, tolerance, inverse)
    counts = torch.full(solved.shape, steps, device=solved.device)
    passes = torch.full(solved.shape, stages * (steps + steps // 2), device=solved.device)
    while (steps := 2 * steps) <= max_steps and concrete_bool(solved.all()) is False:
        index = (~solved).nonzero()[:, 0]
        before = Ends(*(None if t is None else t.index_select(-1, index) for t in ends))  # type: ignore[arg-type]
        finer = solve(rows.pick(index), steps)
        new_change, good = _compare(finer, before, tolerance, inverse)
        y, ladj = ends
        if ladj is not None and finer.ladj is not None:
            ladj = ladj.index_copy(-1, index, finer.ladj)
        ends = Ends(y.index_copy(-1, index, finer.y), ladj)
        change, solved = change.index_copy(0, index, new_change), solved.index_copy(0, index, good)
        counts = counts.index_fill(0, index, steps)
        passes = passes.index_add(0, index, torch.full_like(index, stages * steps))
    return Adapted(ends, counts, change, solved, passes)


@torch.no_grad()
def _compare(fine: Ends, coarse: Ends, tolerance: float, inverse: bool) -> tuple[Tensor, Tensor]:
    """(how much a halving of the step changed the log-density, whether that is within the tolerance), (n,)."""
    y, before = fine.y.detach(), coarse.y.detach()
    moved = y - before
    distance = moved.abs().amax(dim=0)
    near = distance <= tolerance * (1 + y.abs().amax(dim=0))
    if fine.ladj is None or coarse.ladj is None:
        return distance, near
    ladj = fine.ladj.detach().mean(dim=0)
    change = ladj - coarse.ladj.detach().mean(dim=0)
    if inverse:  # log-density of a standard normal; as a product, so that squares of huge points cannot overflow
        change = change - 0.5 * (moved * (y + before)).sum(dim=0)
    size = len(y) + ladj.abs() + y.square().sum(dim=0)
    bound = tolerance + ROUNDING * torch.finfo(y.dtype).eps * size
    return change.abs(), near & (change.abs() <= bound)

"""The loss of a batch and its gradients: at once, piece by piece, or shared out among processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pushforward.core.processes import Processes
from pushforward.kernels.native_build import compiled
from pushforward.train.batches import Batch
from pushforward.train.losses import Objective
from pushforward.train.plan import Plan
from pushforward.train.sharding import is_part

__all__ = ["BatchGradients"]


class BatchGradients:
    """Computes the mean loss of a batch and its gradients.

    Each process takes a part of the rows, and cuts it into pieces where gradients are accumulated. The loss of a piece
    counts by its share of the batch, so that the sums over all pieces and processes are those of the whole batch.

    Args:
        objective: the model and what is minimised.
        parameters: those that learn.
        plan: says into how many pieces, and whether to compile.
        processes: of the run.
    """

    def __init__(
        self, objective: Objective, parameters: Sequence[nn.Parameter], plan: Plan, processes: Processes
    ) -> None:
        self.loss, self.parameters, self.processes, self.pieces = objective.loss, parameters, processes, plan.accumulate
        self.objective: Any = objective
        self.summed = [weights for weights in parameters if not is_part(weights)]  # shards have their sums already
        if plan.compile:
            # Batches have one shape. On a GPU the kernels of both passes are recorded once and replayed.
            mode = "reduce-overhead" if parameters[0].is_cuda else None
            self.objective = compiled(self.objective, dynamic=False, mode=mode, isolate_recompiles=True)

    def __call__(self, rows: Batch, generator: torch.Generator) -> tuple[float, Batch]:
        """Set the gradients of the parameters.

        Args:
            rows: the batch, the same in all processes.
            generator: source of what the loss draws.

        Returns:
            the loss of the batch, and rows as the loss saw them: those of this process, or the last piece of them.
        """
        for parameter in self.parameters:
            parameter.grad = None
        mine = rows.part(self.processes.part(len(rows)))
        size = -(-len(mine) // self.pieces)
        value, seen = 0.0, mine
        for piece in mine.pieces(size) if size else ():
            in_part = len(piece) < len(rows)
            mass = piece.mass if in_part else 0.0
            if in_part and mass == 0 < rows.mass:  # the mean over rows that weigh nothing is no number
                if len(self.summed) == len(self.parameters):
                    continue
                piece = replace(piece, weights=None)  # processes that share weights out wait for each other
            seen = self.loss.prepare(piece, generator)
            loss = self.objective(seen, generator)
            if in_part and rows.mass:
                loss = loss * (mass / rows.mass)
            loss.backward()
            value += float(loss.detach())
        return self.processes.sum_gradients(self.summed, value), seen

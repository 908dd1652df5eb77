"""The likely cause of a loss that is not finite."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.train.batches import Batch
from pushforward.train.losses import Objective
from pushforward.train.sharding import local

__all__ = ["diagnose"]


def diagnose(objective: Objective, batch: Batch, generator: torch.Generator) -> str:
    """The likely cause of a loss that is not finite on this batch, in words. ``generator`` draws what the loss needs;
    the model keeps its mode."""
    loss, was_training = objective.loss, objective.model.training
    objective.eval()
    with torch.no_grad():  # first, since processes that share weights out make the same calls
        values = objective(loss.prepare(batch, generator), generator, per_row=True)
    objective.train(was_training)
    for name, parameter in objective.model.named_parameters():
        if not bool(local(parameter).isfinite().all()):
            return f"parameter {name} is not finite"
    bad = ~values.isfinite()
    if bool(bad.any()):
        if batch.x is None or len(batch.x) != len(values):
            return f"the {loss.metric} of {int(bad.sum())} of {len(values)} draws is not finite"
        row, value = batch.x[bad][0].flatten(), values[bad][0].item()
        column = _farthest_column(row, batch.x.flatten(1))
        return f"a row whose column {column} is {row[column].item():.6g} has {loss.metric} {value}"
    for name, parameter in objective.model.named_parameters():
        if parameter.grad is not None and not bool(local(parameter.grad).isfinite().all()):
            return f"the gradient of parameter {name} is not finite"
    return "no single row or parameter stands out"


def _farthest_column(row: Tensor, rows: Tensor) -> int:
    """The column in which a row lies farthest from the median of all rows, in standard deviations."""
    median = rows.nanmedian(dim=0).values
    spread = (rows - median).square().nanmean(dim=0).sqrt().clamp(min=1e-30)
    return int(((row - median).abs() / spread).nan_to_num(nan=-1.0).argmax())

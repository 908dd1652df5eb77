"""What a model of mixed columns knows of each column by itself: the least that a joint density must beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.core.domain import holds_each
from pushforward.distributions import ColumnDistribution, MixedTypeModel
from pushforward.evaluate.arrays import Floats, Rows, evaluation_mode, to_model
from pushforward.evaluate.metrics import Evaluation, evaluate

__all__ = ["ColumnsAlone", "evaluate_mixed"]


def evaluate_mixed(model: MixedTypeModel, x: Rows) -> Evaluation:
    """`evaluate` of rows, of the entries that are there, beside their columns by themselves where the model knows any
    order."""
    return evaluate(model, x, baselines={"alone": ColumnsAlone(model)} if model.order == "any" else {})


AT_ONCE = 8192  # rows


class ColumnsAlone:
    """The columns as if they had nothing to do with each other: each by the law that the model gives it when nothing is
    known. A baseline for `evaluate`, of a model of any order.

    >>> import numpy as np
    >>> from pushforward.distributions import Categorical
    >>> ColumnsAlone(MixedTypeModel([Categorical(2), Categorical(2)])).log_prob(np.zeros((1, 2))).round(3).tolist()
    [-1.386]
    """

    components: ClassVar[int] = 0
    note: ClassVar[str] = ""

    def __init__(self, model: MixedTypeModel) -> None:
        self.model = model

    def log_prob(self, x: Rows, context: Rows | None = None) -> Floats:
        """Log-density of the entries that are there, (rows,)."""
        with torch.no_grad(), evaluation_mode(self.model):
            rows, _ = to_model(self.model, x, None)
            laws = [self.model.column_marginal(j) for j in range(rows.shape[1])]
            found: Floats = torch.cat([self._of(own, laws) for own in rows.split(AT_ONCE)]).cpu().double().numpy()
        return found

    def _of(self, rows: Tensor, laws: Sequence[ColumnDistribution]) -> Tensor:
        fits = holds_each(self.model.support, rows)
        usable = torch.where(fits, rows, self.model.support.anchor(rows))
        terms = torch.stack([law.log_prob(usable[:, j]) for j, law in enumerate(laws)], dim=-1)
        return torch.where(rows.isnan(), 0.0, torch.where(fits, terms, -torch.inf)).sum(dim=-1)

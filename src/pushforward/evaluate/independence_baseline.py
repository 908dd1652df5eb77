"""The independence baseline of a mixed-type model: the product of its column marginals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.core.entries import holds_each
from pushforward.distributions import ColumnDistribution, MixedTypeModel
from pushforward.evaluate.arrays import Floats, Rows, evaluation_mode, to_model
from pushforward.evaluate.metrics import Evaluation, evaluate

__all__ = ["IndependenceBaseline", "evaluate_mixed"]

BATCH_SIZE = 8192  # rows


def evaluate_mixed(model: MixedTypeModel, x: Rows) -> Evaluation:
    """`evaluate` for a table with missing entries; a model of any column order is compared with its independence
    baseline.

    Args:
        model: of the columns.
        x: (rows, columns), NaN where an entry is missing.
    """
    return evaluate(model, x, baselines={"independent": IndependenceBaseline(model)} if model.order == "any" else {})


class IndependenceBaseline:
    """The columns as if they were independent, each with the marginal distribution that the model gives it.

    A baseline for `evaluate`: the advantage of the model over it estimates the total correlation of the columns. It
    needs a model with ``order="any"``, whose marginals take one pass of the network each.

    >>> import numpy as np
    >>> from pushforward.distributions import Categorical
    >>> model = MixedTypeModel([Categorical(2), Categorical(2)])
    >>> IndependenceBaseline(model).log_prob(np.zeros((1, 2))).round(3).tolist()
    [-1.386]
    """

    components: ClassVar[int] = 0
    note: ClassVar[str] = ""

    def __init__(self, model: MixedTypeModel) -> None:
        self.model = model

    def log_prob(self, x: Rows, context: Rows | None = None) -> Floats:
        """Sum of the marginal log-densities of the observed entries of each row, (rows,)."""
        with torch.no_grad(), evaluation_mode(self.model):
            rows, _ = to_model(self.model, x, None)
            marginals = [self.model.column_marginal(j) for j in range(rows.shape[1])]
            batches = [self._log_prob(batch, marginals) for batch in rows.split(BATCH_SIZE)]
            log_prob: Floats = torch.cat(batches).cpu().double().numpy()
        return log_prob

    def _log_prob(self, rows: Tensor, marginals: Sequence[ColumnDistribution]) -> Tensor:
        inside = holds_each(self.model.support, rows)
        safe = torch.where(inside, rows, self.model.support.anchor(rows))
        terms = torch.stack([marginal.log_prob(safe[:, j]) for j, marginal in enumerate(marginals)], dim=-1)
        return torch.where(rows.isnan(), 0.0, torch.where(inside, terms, -torch.inf)).sum(dim=-1)

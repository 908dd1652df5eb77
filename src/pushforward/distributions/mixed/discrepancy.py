"""How far a learned marginal is from the one that integrating the joint density gives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.distributions.columns.column_distribution import ColumnDistribution

__all__ = ["Discrepancy", "discrepancy"]

LEVELS = 99  # of the quantiles between which distribution functions are compared


class Discrepancy(NamedTuple):
    """A distance between two distributions that was estimated from draws."""

    distance: Tensor
    """(*batch,): of categories the total variation distance, half the sum of absolute differences of probabilities;
    otherwise the largest difference of the distribution functions (Kolmogorov's distance) at 99 quantiles."""
    standard_error: Tensor
    """(*batch,): of the distance, from the number of draws."""


@torch.no_grad()
def discrepancy(direct: ColumnDistribution, draws: ColumnDistribution) -> Discrepancy:
    """The distance between a distribution of batch shape (*batch,) and the equally weighted mixture of distributions of
    batch shape (draws, *batch)."""
    if direct.column_type.levels:
        expected, terms = direct.probabilities().double(), draws.probabilities().double()  # (draws, *batch, levels)
        sign = (terms.mean(dim=0) - expected).sign()
        return _mean_and_error(0.5 * (sign * (terms - expected)).sum(dim=-1))
    at_quantiles = []
    for p in torch.linspace(0, 1, LEVELS + 2).tolist()[1:-1]:
        x = direct.quantile(p)
        at_quantiles.append(_mean_and_error((draws.cdf(x) - direct.cdf(x)).double()))
    differences, errors = (torch.stack(values) for values in zip(*at_quantiles, strict=True))
    largest = differences.abs().argmax(dim=0, keepdim=True)
    return Discrepancy(differences.abs().gather(0, largest)[0], errors.gather(0, largest)[0])


def _mean_and_error(values: Tensor) -> Discrepancy:
    return Discrepancy(values.mean(dim=0), values.std(dim=0) / len(values) ** 0.5)

"""Bugs in models of tables."""

import torch

from pushforward.core.config import build
from pushforward.distributions import MixedFlow

from .registry import bug


def category_and_reals():
    """A model with random weights of two real columns around a category, and rows."""
    torch.manual_seed(0)
    model = build({"type": "MixedFlow", **MixedFlow.examples[0]}).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return (model,)


def sums_to_one(model):
    """The density over all categories and a grid of the real columns, in whose place the categories stand as well."""
    line = torch.linspace(-15, 15, 201, dtype=torch.float64)
    grid, total = torch.cartesian_prod(line, line), 0.0
    for level in range(3):
        x = torch.stack([grid[:, 0], torch.full_like(grid[:, 0], level), grid[:, 1]], dim=1)
        total += model.log_prob(x).exp().sum().item() * 0.15**2
    assert abs(total - 1) < 0.01, f"the density sums to {total}"


def rests_on_the_category(model):
    """The real columns are distributed differently beside each category, and where it is missing."""
    x = torch.tensor([[0.3, level, -0.2] for level in (0.0, 1.0, 2.0, torch.nan)], dtype=torch.float64)
    model.mixed.had_gaps.fill_(True)
    first, rest = x[:, [1]], x[:, [0, 2]]
    densities = model.real.log_prob(rest, model._embedded(first, None))
    assert len(densities.round(decimals=9).unique()) == 4, "the real columns do not see the category"


@bug(sums_to_one, category_and_reals)
def a_category_counted_twice(patch, model):
    of_columns = model.mixed._log_prob
    patch.setattr(model.mixed, "_log_prob", lambda x, context: 2 * of_columns(x, context))


@bug(rests_on_the_category, category_and_reals)
def a_missing_category_seen_as_the_first(patch, model):
    embedded = model._embedded
    patch.setattr(model, "_embedded", lambda first, context: embedded(first.nan_to_num(), context))


@bug(rests_on_the_category, category_and_reals)
def a_flow_that_reads_whether_alone(patch, model):
    embedded = model._embedded
    patch.setattr(model, "_embedded", lambda first, context: embedded(first, context) * torch.tensor([0, 0, 0, 1]))

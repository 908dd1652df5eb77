"""How exact and how expensive the densities of continuous and stochastic flows are, row by row."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.bijections.chain import innermost
from pushforward.bijections.continuous import NeuralODE, SolverReport
from pushforward.core.checks import at_least
from pushforward.core.distribution import Distribution
from pushforward.distributions.flow import Flow

__all__ = ["LogProbEstimate", "estimate_log_prob", "solver_report"]


class LogProbEstimate(NamedTuple):
    """Log-densities, or estimates of them, with their errors, each (*batch,)."""

    log_prob: Tensor
    standard_error: Tensor
    """Zero where `Distribution.is_exact`."""


@torch.no_grad()
def estimate_log_prob(
    distribution: Distribution,
    x: Tensor,
    context: Tensor | None = None,
    *,
    draws: int = 16,
    generator: torch.Generator | None = None,
) -> LogProbEstimate:
    """The log-density of each row; where it is an estimate, the mean of several draws with its standard error.

    Args:
        distribution: what is evaluated.
        x: (*batch, *event_shape).
        context: (*batch, *context_shape).
        draws: of an estimate.
        generator: draws them.

    Raises:
        ValueError: there are fewer than two draws.

    >>> from pushforward.distributions import StandardNormal
    >>> estimate_log_prob(StandardNormal(1), torch.zeros(3, 1)).standard_error.tolist()
    [0.0, 0.0, 0.0]
    """
    at_least("estimate_log_prob", "draws", draws, 2, "A standard error needs several.")
    if not distribution.stochastic:
        log_prob = distribution.log_prob(x, context)
        return LogProbEstimate(log_prob, torch.zeros_like(log_prob))
    values = torch.stack([distribution.log_prob(x, context, generator=generator) for _ in range(draws)])
    return LogProbEstimate(values.mean(dim=0), values.std(dim=0) / math.sqrt(draws))


@torch.no_grad()
def solver_report(
    flow: Flow,
    x: Tensor,
    context: Tensor | None = None,
    *,
    probes: int = 16,
    generator: torch.Generator | None = None,
) -> SolverReport:
    """How the differential equation of a continuous flow is solved for the density of each row; see `SolverReport`.

    Args:
        flow: with one part `NeuralODE`, such as `flows.cnf`.
        x: (*batch, *event_shape).
        context: (*batch, *context_shape).
        probes: of an estimated trace.
        generator: draws them.

    Returns:
        Fields of shape (*batch,).

    Raises:
        ValueError: the flow does not hold one part `NeuralODE`.

    >>> from pushforward.flows import cnf
    >>> solver_report(cnf(2, steps=4), torch.zeros(3, 2)).passes.tolist()
    [36, 36, 36]
    """
    parts = [] if not isinstance(flow, Flow) else innermost(flow.bijection)
    places = [k for k, (part, _) in enumerate(parts) if isinstance(part, NeuralODE)]
    if len(places) != 1:
        raise ValueError(f"solver_report: a flow must hold one NeuralODE, as flows.cnf(2) does; got {len(places)}.")
    context = flow._map_context(context)
    for part, backwards in reversed(parts[places[0] + 1 :]):
        arguments = part._arguments(x, context, generator)
        x = (part._forward if backwards else part._inverse)(*arguments)
    part, backwards = parts[places[0]]
    ode: NeuralODE = part  # type: ignore[assignment]  # as found above
    context = None if ode.context_shape is None else context
    return ode.report(x, context, inverse=not backwards, probes=probes, generator=generator)

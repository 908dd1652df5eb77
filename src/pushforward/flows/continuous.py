"""Flows along a differential equation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from pushforward.bijections import NeuralODE
from pushforward.core.checks import at_least
from pushforward.core.shapes import EventSize, event_shape
from pushforward.distributions import Flow
from pushforward.flows.assembly import assemble
from pushforward.flows.options import DataOptions
from pushforward.flows.registry import data_options, named_flow

__all__ = ["cnf"]


@named_flow()
def cnf(
    features: EventSize,
    context: int = 0,
    *,
    hidden: Sequence[int] = (128, 128),
    conditioner: str = "plain",
    activation: str = "silu",
    frequencies: int = 4,
    solver: str = "dopri5",
    steps: int = 8,
    max_steps: int = 128,
    tolerance: float = 1e-3,
    trace: Literal["auto", "exact", "hutchinson"] = "auto",
    probes: int = 1,
    memory: Literal["plain", "checkpoint"] = "plain",
    **options: Unpack[DataOptions],
) -> Flow:
    r"""Continuous normalizing flow: data and latent points are joined by the paths of a differential equation.

    .. math:: \frac{dx}{dt} = v_\theta(t, x, c), \qquad x(0) = z, \qquad x(1) = x

    ``fit(flow, x)`` trains it by maximum likelihood, through the solver; ``fit(flow, x, loss=FlowMatching())`` trains
    the velocity without solving anything, which is many times faster. Either way its log-densities are those of the
    solved equation, with a checked error: see `NeuralODE`. Samples and densities cost the same number of passes,
    ``flow.bijection`` holds the part that knows it, and `solver_report` counts them row by row.

    Args:
        features: number of features, or the shape of an event such as (3, 8, 8).
        activation: ``"silu"``, ``"tanh"``, ``"gelu"`` or ``"elu"``: one whose slope does not jump.
        frequencies: the time enters the network as t and this many pairs of cosines and sines.
        solver: ``"dopri5"`` (order 5, six stages), ``"rk4"`` or ``"midpoint"``.
        steps: number of steps, even.
        max_steps: most steps of a row that is solved again because its error is too large.
        tolerance: where halving the step changes log_prob by more nats, the row is solved again, and at last NaN.
        trace: ``"exact"``, ``"hutchinson"`` (an unbiased estimate), or ``"auto"``: exact up to 64 features, and for
            networks of one or two plain hidden layers at any number of them.
        probes: random vectors of an estimated trace.
        memory: ``"checkpoint"`` to recompute each step in the backward pass of maximum likelihood.
        **options: see `DataOptions`.

    Raises:
        ValueError: an option is out of its range.

    References:
        | Neural Ordinary Differential Equations (Chen et al., 2018), arXiv:1806.07366
        | FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl et al., 2018),
          arXiv:1810.01367
        | Flow Matching for Generative Modeling (Lipman et al., 2022), arXiv:2210.02747

    >>> cnf(3).is_exact, cnf((3, 8, 8), conditioner="conv").is_exact
    (True, False)
    """
    event_shape("cnf", features)
    at_least("cnf", "context", context, 0)
    layer = NeuralODE(
        features,
        context=context,
        hidden=hidden,
        conditioner=conditioner,
        activation=activation,
        frequencies=frequencies,
        solver=solver,
        steps=steps,
        max_steps=max_steps,
        tolerance=tolerance,
        trace=trace,
        probes=probes,
        memory=memory,
    )
    return assemble("cnf", [layer.inv], features, context, **data_options("cnf", options))

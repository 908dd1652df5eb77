"""Continuous normalizing flows: the map is the flow of a differential equation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pushforward.bijections.doubling import Adapted, Ends, Rows, solve_adapted
from pushforward.bijections.layout import context_features_first, to_features_first
from pushforward.bijections.recompute import recomputes
from pushforward.core.bijection import Kind, StochasticMap
from pushforward.core.checks import at_least, one_of, positive
from pushforward.core.config import configurable
from pushforward.core.execution_mode import current_execution, resume
from pushforward.core.ode import SOLVERS, State, integrate
from pushforward.core.shapes import EventSize, event_shape
from pushforward.networks.conv import CONV
from pushforward.networks.velocity import VelocityNetwork

__all__ = ["NeuralODE", "SolverReport"]

LARGEST_EXACT = 64
"""Up to this number of features the trace is computed from all columns of the Jacobian."""


class SolverReport(NamedTuple):
    """How rows were solved, each of shape (*batch,)."""

    ladj: Tensor
    """The log-determinant, or the estimate of it."""
    standard_error: Tensor
    """Of ladj as an estimate over random probes; zero where it is exact, up to ``change``."""
    change: Tensor
    """By how much the last halving of the step changed ladj (of the inverse: log_prob, see `NeuralODE`), in nats."""
    steps: Tensor
    """Steps of the solve that was kept."""
    passes: Tensor
    """Evaluations of the velocity network in all solves of the row, those with longer steps included."""
    solved: Tensor
    """Whether the change is within the tolerance; other rows are NaN in the outputs of the map."""


@configurable
class NeuralODE(StochasticMap):
    r"""The flow of a differential equation from time 0 to time 1: a continuous normalizing flow.

    .. math:: \frac{dx}{dt} = v_\theta(t, x, c), \qquad
        \log|\det| = \int_0^1 \operatorname{tr} \frac{\partial v_\theta}{\partial x}\, dt

    A Runge-Kutta method solves both together in ``steps`` equal steps; the inverse runs from time 1 back to time 0. The
    velocity starts at zero, the map at the identity. Either direction costs (stages of the method) × ``steps`` passes
    of the network, here called n passes, and n / 2 more for the check below; see ``passes`` and `report`.

    *Error of the solver.* Each solve is compared with one of half as many steps. Where that changes the points by more
    than ``tolerance``, relative to their size, or the log-density by more than ``tolerance`` nats, the row is solved
    again with twice as many steps, up to ``max_steps``; where it still does, it is NaN, and a distribution warns. The
    log-density is that of the inverse image under a standard normal, the usual base of such flows. Rows are doubled in
    eager mode only: inside `torch.compile`, `torch.export` and `torch.func.vmap` such rows are NaN at once. In training
    mode, while gradients are recorded, rows are doubled too, for training would exploit the errors of a coarse solver;
    those whose error stays too large then keep their numbers.

    *Trace.* ``"exact"``: from products of the Jacobian with all unit vectors at once, for networks of one or two hidden
    layers (``conditioner="plain"``) by a formula that costs as much as one more layer. ``"hutchinson"``: the mean of
    :math:`e^\top (\partial v / \partial x)\, e` over random signs e, drawn once for a whole solve, an unbiased estimate
    at the cost of about one pass for each probe. ``"auto"``: exact up to 64 features and where the formula applies.

    Gradients are those of the computed numbers, by backpropagation through all steps.

    Args:
        features: number of features, or the shape of an event such as (3, 8, 8).
        context: number of context features.
        hidden: widths of the hidden layers of the velocity; for convolutions their channels.
        conditioner: registered name of the network, such as ``"plain"``, ``"residual"``, or for events of channels and
            spatial axes ``"conv"``, ``"residual_conv"``.
        activation: ``"silu"``, ``"tanh"``, ``"gelu"`` or ``"elu"``: one whose slope does not jump.
        frequencies: the time enters the network as t and this many pairs of cosines and sines.
        solver: ``"dopri5"`` (order 5, six stages), ``"rk4"`` or ``"midpoint"``.
        steps: number of steps, even.
        max_steps: most steps of a row that is solved again.
        tolerance: of the log-density in nats, and of the points; `accuracy` of the map.
        trace: ``"auto"``, ``"exact"`` or ``"hutchinson"``.
        probes: random vectors of an estimated trace.
        memory: ``"plain"``, or ``"checkpoint"`` to recompute each step in the backward pass from its start: activations
            of one step instead of all. ``execution(memory=...)`` overrides it.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: an option is out of its range.

    References:
        | Neural Ordinary Differential Equations (Chen et al., 2018), arXiv:1806.07366
        | FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl et al., 2018),
          arXiv:1810.01367

    >>> import torch
    >>> part = NeuralODE(2, steps=4)
    >>> part(torch.tensor([1.0, 2.0])).tolist(), part.passes, part.log_det
    ([1.0, 2.0], 36, 'exact')
    """

    forward_kind: Kind = "iterative"
    inverse_kind: Kind = "iterative"
    unsolved = (
        "halving the step of a differential equation still changed the result by more than the tolerance in {rows}; "
        "they are NaN. Raise max_steps or steps, or train with a smaller learning rate."
    )
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "hidden": [8, 8], "solver": "rk4", "steps": 12, "tolerance": 1e-3},
        {
            "features": 3,
            "context": 2,
            "hidden": [8, 8],
            "conditioner": "residual",
            "activation": "tanh",
            "frequencies": 2,
            "steps": 6,
            "max_steps": 24,
            "trace": "exact",
            "probes": 1,
            "memory": "plain",
        },
        {"features": 3, "trace": "hutchinson", "probes": 2, "hidden": [8, 8]},
    )

    def __init__(
        self,
        features: EventSize,
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        conditioner: str = "plain",
        activation: str = "silu",
        frequencies: int = 4,
        solver: str = "dopri5",
        steps: int = 8,
        max_steps: int = 128,
        tolerance: float = 1e-3,
        trace: str = "auto",
        probes: int = 1,
        memory: str = "plain",
    ) -> None:
        super().__init__()
        owner = "NeuralODE"
        one_of(owner, "solver", solver, tuple(SOLVERS))
        one_of(owner, "trace", trace, ("auto", "exact", "hutchinson"))
        one_of(owner, "memory", memory, ("plain", "checkpoint"))
        at_least(owner, "steps", steps, 2)
        at_least(owner, "max_steps", max_steps, steps)
        at_least(owner, "probes", probes, 1)
        positive(owner, "tolerance", tolerance)
        if steps % 2:
            raise ValueError(f"{owner}: steps must be even, to be halved for the check; got {steps}. Add one.")
        self.in_shape = self.out_shape = event_shape(owner, features)
        self.context_shape = (context,) if context else None
        self.velocity = VelocityNetwork(
            owner,
            self.in_shape,
            context=context,
            hidden=hidden,
            conditioner=conditioner,
            activation=activation,
            frequencies=frequencies,
        )
        self.tableau, self.steps, self.max_steps = SOLVERS[solver], steps, max_steps
        self.accuracy, self.probes, self.memory = float(tolerance), probes, memory
        exact = math.prod(self.in_shape) <= LARGEST_EXACT or self.velocity.has_closed_trace
        self.stochastic = trace == "hutchinson" or (trace == "auto" and not exact)
        columns = probes if self.stochastic else 1 if self.velocity.has_closed_trace else self.velocity.features
        self.point_width = max(hidden) * columns * (math.prod(self.in_shape[1:]) if conditioner in CONV else 1)
        self.log_det = "unbiased" if self.stochastic else "exact"

    @property
    def passes(self) -> int:
        """Evaluations of the network for one log-determinant, the check included, without doublings; with an estimated
        or a column-wise trace each costs more than a plain pass."""
        return self.tableau.stages * (self.steps + self.steps // 2)

    def report(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        inverse: bool = True,
        probes: int = 16,
        generator: torch.Generator | None = None,
    ) -> SolverReport:
        """How rows are solved: steps, passes, the change by the last halving, and the error of an estimated ladj.

        Args:
            x: points where the direction starts.
            context: their context.
            inverse: whether the direction is the inverse.
            probes: of an estimated trace, at least 2 for a standard error.
            generator: draws the probes.

        Raises:
            ValueError: there are fewer than two probes.
        """
        at_least("NeuralODE", "probes", probes, 2, "A standard error needs several.")
        x, context = self._checked(x, context, inverse)
        batch = x.shape[: x.ndim - len(self.in_shape)]
        with torch.no_grad():
            rows = self._rows(x, context, probes, generator)
            adapted = self._adapted(rows, inverse, traced=True)
        ladj = adapted.ends.ladj
        ladj = rows.start.new_zeros(1, rows.start.shape[1]) if ladj is None else ladj
        error = ladj.std(dim=0) / math.sqrt(probes) if self.stochastic else torch.zeros_like(ladj[0])
        fields = ladj.mean(dim=0), error, adapted.change, adapted.steps, adapted.passes, adapted.solved
        return SolverReport(*(field.reshape(batch) for field in fields))

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._pair(x, context, generator, inverse=False)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._pair(y, context, generator, inverse=True)

    def _forward(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        return self._value(x, context, inverse=False)

    def _inverse(self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        return self._value(y, context, inverse=True)

    def _pair(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        y, ladj, solved = self._ends(self._rows(x, context, self.probes, generator), inverse, traced=True)
        ladj = y[0] if ladj is None else torch.where(solved, ladj.mean(dim=0), torch.nan)
        return y.t().reshape(x.shape), ladj.reshape(x.shape[: x.ndim - len(self.in_shape)])

    def _value(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> Tensor:
        return self._ends(self._rows(x, context, 0, None), inverse, traced=False)[0].t().reshape(x.shape)

    def _rows(self, x: Tensor, context: Tensor | None, probes: int, generator: torch.Generator | None) -> Rows:
        """Points, contexts and random signs, features first.

        The signs are the same at all times of a solve and in the solves that check it: drawn anew in each step they
        would make a rough integrand, whose error does not fall with the step.
        """
        start, noise = to_features_first(x.flatten(-len(self.in_shape))), None
        if self.stochastic and probes:
            shape = (start.shape[0], probes, start.shape[1])
            noise = 2 * torch.randint(0, 2, shape, generator=generator, device=x.device).to(x.dtype) - 1
        return Rows(start, context_features_first(context), noise)

    def _ends(self, rows: Rows, inverse: bool, traced: bool) -> tuple[Tensor, Tensor | None, Tensor]:
        """(points, ladj, which rows are solved), points NaN where the solver's error is too large."""
        (y, ladj), _, _, solved, _ = self._adapted(rows, inverse, traced)
        if self.training and torch.is_grad_enabled():
            solved = torch.ones_like(solved)
        return torch.where(solved, y, torch.nan), ladj, solved

    def _adapted(self, rows: Rows, inverse: bool, traced: bool) -> Adapted:
        return solve_adapted(
            partial(self._solve, inverse=inverse, traced=traced),
            rows,
            steps=self.steps,
            max_steps=self.max_steps,
            stages=self.tableau.stages,
            tolerance=self.accuracy,
            inverse=inverse,
        )

    def _solve(self, rows: Rows, steps: int, inverse: bool, traced: bool) -> Ends:
        """One solve of all rows."""
        x, context, noise = rows
        # Rounding to bfloat16 would not be smooth in time, and a log-determinant needs all digits.
        settings = current_execution()._replace(matmul_dtype=None)
        both: Callable[..., tuple[Tensor, Tensor]] | None = None
        if traced:
            both = self.velocity.divergence() if noise is None else self.velocity.projections(noise)

        def field(time: float, *state: Tensor) -> State:
            with resume(settings):
                if both is None:
                    return (self.velocity(time, state[0], context),)
                velocity, trace = both(time, state[0], context)
                return velocity, trace if trace.ndim > 1 else trace[None]

        state: State = (x,)
        if traced:
            state = x, x.new_zeros(1 if noise is None else noise.shape[1], x.shape[1])
        memory = settings.memory or self.memory
        run = partial(checkpoint, use_reentrant=False) if recomputes(memory, x) else None
        ends = (1.0, 0.0) if inverse else (0.0, 1.0)
        state = integrate(field, state, *ends, steps, self.tableau, run)
        return Ends(state[0], state[1] if traced else None)

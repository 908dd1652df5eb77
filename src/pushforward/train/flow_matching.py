"""Flow matching: the velocity of a continuous flow learned by regression, without solving its equation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from pushforward.bijections import NeuralODE
from pushforward.bijections.chain import innermost
from pushforward.core.checks import one_of
from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow
from pushforward.train.batches import Batch
from pushforward.train.history import TrainingError
from pushforward.train.losses import Loss

__all__ = ["FlowMatching"]

Path = Literal["ot", "vp", "independent"]
Pairing = Literal["independent", "minibatch_ot"]

BLOCK = 128
"""Most points that are paired at once: the cost of an optimal assignment grows with the cube of their number."""


@dataclass(frozen=True)
class FlowMatching(Loss):
    r"""The squared error of a velocity, :math:`\mathbb E\, \|v_\theta(t, x_t, c) - u_t\|^2 / D`.

    It trains a continuous flow (`flows.cnf`) without solving its equation, at about the cost of one pass of the network
    in each step. A point z of the base and a row :math:`x_1` of the data, in the coordinates of the part `NeuralODE`,
    are joined by a path, at a random time t, stratified over the batch:

    - ``path="ot"``: :math:`x_t = (1 - (1 - \sigma) t)\, z + t\, x_1`, :math:`u_t = x_1 - (1 - \sigma) z`;
    - ``path="independent"``: :math:`x_t = (1 - t)\, z + t\, x_1 + \sigma \varepsilon`, :math:`u_t = x_1 - z`, with
      normal noise :math:`\varepsilon`;
    - ``path="vp"``: :math:`x_t = \cos(\tfrac\pi2 t)\, z + \sin(\tfrac\pi2 t)\, x_1 + \sigma \varepsilon`, whose
      variance stays one, :math:`u_t = \tfrac\pi2 \bigl(\cos(\tfrac\pi2 t)\, x_1 - \sin(\tfrac\pi2 t)\, z\bigr)`.

    The minimum is the velocity whose flow takes the base to the data; with :math:`\sigma > 0` to data with noise of
    this standard deviation, which smooths the density. Without it ``"ot"`` and ``"independent"`` are the same path. The
    loss is no likelihood: `Flow.log_prob` of the trained flow gives that.

    Args:
        path: see above.
        coupling: ``"independent"`` pairs z and :math:`x_1` at random. ``"minibatch_ot"`` pairs those of a batch so that
            the sum of squared distances is least, which makes paths straighter: fewer steps of the solver. Batches of
            more than 128 rows are paired in blocks of as many. On average over batches z and :math:`x_1` keep their own
            distributions, so that the minimum still takes the base to the data. Not for contexts and weights, of which
            z would no longer be independent.
        sigma: :math:`\sigma`, in standard deviations of the data.

    Raises:
        ValueError: an option has no such value; a flow without one `NeuralODE`, or with other parts that have weights.

    References:
        | Flow Matching for Generative Modeling (Lipman et al., 2022), arXiv:2210.02747
        | Building Normalizing Flows with Stochastic Interpolants (Albergo, Vanden-Eijnden, 2022), arXiv:2209.15571
        | Improving and generalizing flow-based generative models with minibatch optimal transport (Tong et al., 2023),
          arXiv:2302.00482

    >>> import torch, pushforward as pf
    >>> x = 3 + 2 * torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    >>> flow = pf.flows.cnf(1, hidden=(32, 32))
    >>> history = pf.fit(flow, x, loss=FlowMatching(), steps=150, lr=5e-3, progress=False)
    >>> round(flow.log_prob(x).mean().item())  # the entropy of N(3, 2²) is 2.11 nats
    -2
    """

    metric: ClassVar[str] = "flow-matching loss"

    path: Path = "ot"
    coupling: Pairing = "independent"
    sigma: float = 0.0

    def __post_init__(self) -> None:
        one_of("FlowMatching", "path", self.path, ("ot", "vp", "independent"))
        one_of("FlowMatching", "coupling", self.coupling, ("independent", "minibatch_ot"))
        if isinstance(self.sigma, bool) or not 0 <= self.sigma < 1:
            raise ValueError(f"FlowMatching: sigma must lie in [0, 1); got {self.sigma!r}.")

    def per_row(self, model: Distribution, batch: Batch, generator: torch.Generator) -> Tensor:
        flow, (before, (ode, backwards), after) = cast(Flow, model), _parts(model)
        x = cast(Tensor, batch.x)
        if self.coupling == "minibatch_ot" and (batch.context is not None or batch.weights is not None):
            what = "a context" if batch.context is not None else "weights"
            raise TrainingError(
                f"FlowMatching: coupling='minibatch_ot' pairs noise with rows whatever their context and weights; got "
                f"{what}. Use coupling='independent'."
            )
        context = flow._map_context(batch.context)
        with torch.no_grad():
            z = flow.base._rsample((len(x),), flow._for_base(context), generator)
            for part, inverse in before:
                z = (part._inverse if inverse else part._forward)(*part._arguments(z, context, generator))
            for part, inverse in reversed(after):
                x = (part._forward if inverse else part._inverse)(*part._arguments(x, context, generator))
            z, x = z.flatten(1), x.flatten(1)
            if self.coupling == "minibatch_ot":
                z = _paired(z, x)
            time = _stratified_times(x, generator)
            point, velocity = self._on_path(time[:, None], z, x, generator)
        if backwards:  # data stand at time zero
            time, velocity = 1 - time, -velocity
        columns = context.t() if context is not None and ode.context_shape is not None else None
        return (ode.velocity(time, point.t(), columns) - velocity.t()).square().mean(dim=0)

    def _on_path(self, t: Tensor, z: Tensor, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points between z and x at the times t, and their velocities, (rows, features)."""
        if self.path == "ot":
            shrunk = (1 - self.sigma) * z
            return z - t * shrunk + t * x, x - shrunk
        if self.path == "vp":
            cos, sin = (0.5 * math.pi * t).cos(), (0.5 * math.pi * t).sin()
            point, velocity = cos * z + sin * x, 0.5 * math.pi * (cos * x - sin * z)
        else:
            point, velocity = (1 - t) * z + t * x, x - z
        if self.sigma:
            noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
            point = point + self.sigma * noise
        return point, velocity


def _stratified_times(x: Tensor, generator: torch.Generator) -> Tensor:
    """One uniform time in each of as many equal intervals as there are rows, in random order, (rows,)."""
    rows = len(x)
    order = torch.randperm(rows, device=x.device, generator=generator).to(x.dtype)
    return (order + torch.rand(rows, dtype=x.dtype, device=x.device, generator=generator)) / rows


def _paired(z: Tensor, x: Tensor) -> Tensor:
    """The rows of z in the order that makes the sum of squared distances to the rows of x least, block by block."""
    from scipy.optimize import linear_sum_assignment

    blocks = []
    for some_z, some_x in zip(z.split(BLOCK), x.split(BLOCK), strict=True):
        cost = torch.cdist(some_x.double(), some_z.double()).square()
        _, columns = linear_sum_assignment(cost.cpu().numpy())
        blocks.append(some_z[torch.as_tensor(columns, device=z.device)])
    return torch.cat(blocks)


Placed = tuple[Any, bool]


def _parts(model: Distribution) -> tuple[list, Placed, list]:
    """The parts of a flow before, at and after its differential equation, from the base to the data."""
    if not isinstance(model, Flow):
        raise ValueError(
            f"FlowMatching: learns a continuous flow, such as pf.flows.cnf(2); got {type(model).__name__}."
        )
    parts = innermost(model.bijection)
    places = [k for k, (part, _) in enumerate(parts) if isinstance(part, NeuralODE)]
    if len(places) != 1:
        raise ValueError(
            f"FlowMatching: a flow must hold one NeuralODE, as pf.flows.cnf(2) does; got {len(places)}. "
            "Train it by maximum likelihood."
        )
    k = places[0]
    others: list[nn.Module] = [model.base, *(part for part, _ in parts[:k] + parts[k + 1 :])]
    if weighty := [type(part).__name__ for part in others if any(p.requires_grad for p in part.parameters())]:
        raise ValueError(
            f"FlowMatching: learns the velocity alone, but {weighty[0]} has weights of its own. "
            "Train the flow by maximum likelihood, or freeze them with requires_grad_(False)."
        )
    return list(parts[:k]), parts[k], list(parts[k + 1 :])

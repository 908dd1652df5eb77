"""What training minimises: maximum likelihood from data, reverse Kullback-Leibler divergence from a density."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Exactness, least_exact
from pushforward.core.processes import ALONE, Processes
from pushforward.train.batches import Batch
from pushforward.train.history import TrainingError

__all__ = ["Loss", "MaximumLikelihood", "Objective", "ReverseKL", "mean_metric"]


class Loss(ABC):
    """What `fit` minimises, and the number by which it judges a model on the validation rows.

    A subclass writes `per_row`. It scores rows by calling the model as a module, ``model(x, context,
    generator=generator)``, so that forward hooks see the call, and it draws with ``generator`` alone, so that a run
    repeats bit for bit. Wrappers such as ``DistributedDataParallel`` and ``torch.compile`` wrap `Objective`, model and
    loss together, and so see whatever a loss asks of the model, samples too. The rest has defaults: `prepare` for draws
    that belong to the data, such as the times and the noise of flow matching; `metric_per_row` for a validation number
    other than the loss. A loss with options is best a frozen dataclass: a checkpoint then knows them, and refuses a run
    with others.
    """

    uses_data: ClassVar[bool] = True
    """Whether it learns from rows x; otherwise batches hold the context alone, or only how many points to draw."""
    metric: ClassVar[str] = "loss"
    """Name of the validation number."""
    unit: ClassVar[str] = ""
    greater_is_better: ClassVar[bool] = False
    """Whether the validation number grows as the model improves; it then is minus the loss by default."""

    def exactness(self, model: Distribution) -> Exactness:
        """Whether the validation number of this model is exact, an estimate or a bound."""
        return "unbiased"

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch that the model sees, from rows of the data."""
        return batch

    @abstractmethod
    def per_row(self, model: Distribution, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss of each row of a prepared batch, (rows,)."""

    def metric_per_row(self, model: Distribution, batch: Batch, generator: torch.Generator) -> Tensor:
        """The validation number of each row of a prepared batch, (rows,); no gradients are recorded."""
        values = self.per_row(model, batch, generator)
        return -values if self.greater_is_better else values

    @final
    def __call__(self, model: Distribution, batch: Batch, generator: torch.Generator) -> Tensor:
        """The mean over the rows of a prepared batch, each counted by its weight."""
        values, weights = self.per_row(model, batch, generator), batch.weights
        self.check_shape("per_row", values, batch)
        return values.mean() if weights is None else (values * weights).sum() / weights.sum()

    def check_shape(self, method: str, values: Tensor, batch: Batch) -> None:
        """Refuse values of another shape than one per row."""
        if values.shape != (len(batch),):
            raise TrainingError(
                f"{type(self).__name__}: {method} must return one number per row, shape ({len(batch)},); got "
                f"{tuple(values.shape)}."
            )


class MaximumLikelihood(Loss):
    r"""Minus the log-likelihood of the data, :math:`-\frac1N \sum_i \log q(x_i \mid c_i)`, in nats per row.

    For models whose log-density is costly (``Distribution.draws_estimates``) an unbiased estimate of it, or of a bound.
    """

    metric = "log-likelihood"
    unit = "nats"
    greater_is_better = True

    def exactness(self, model: Distribution) -> Exactness:
        return least_exact(model.exactness, "unbiased" if model.draws_estimates else "exact")

    def per_row(self, model: Distribution, batch: Batch, generator: torch.Generator) -> Tensor:
        log_prob: Tensor = model(batch.x, batch.context, generator=generator)
        return -log_prob


class ReverseKL(Loss):
    r"""The divergence :math:`\mathrm{KL}(q \,\|\, p) = \mathbb E_q[\log q(x) - \log \tilde p(x)] + \log Z` without its
    constant: learns from an unnormalised density :math:`\tilde p = Z p`, without data.

    Each step draws a batch of points from the model, whose gradients travel through the samples. Fast for flows built
    with ``fast="sampling"``. The validation number is the evidence lower bound
    :math:`\mathbb E_q[\log \tilde p(x) - \log q(x)] \le \log Z`, estimated from points drawn alike at each validation.
    As it averages over q, the fit tends to cover few of several modes.

    Args:
        log_density: :math:`\log \tilde p`, from x (n, *event_shape) to (n,), differentiable. For a conditional model it
            is called with x and the context (n, *context_shape).

    Raises:
        TypeError: log_density is not a function.

    References:
        | Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), arXiv:1505.05770

    >>> import pushforward as pf
    >>> flow = pf.flows.iaf(1, depth=1)
    >>> target = lambda x: -0.5 * ((x[:, 0] - 3) / 2) ** 2  # Z = 2 √(2π), log Z = 1.61
    >>> history = pf.fit(flow, loss=ReverseKL(target), steps=500, lr=2e-2, progress=False)
    >>> round(history.best_validation, 1)
    1.6
    """

    uses_data = False
    metric = "evidence lower bound"
    unit = "nats"
    greater_is_better = True

    def __init__(self, log_density: Callable[..., Tensor]) -> None:
        if not callable(log_density):
            raise TypeError(
                f"ReverseKL: log_density must be a function of x that returns one number per row; got {log_density!r}."
            )
        self.log_density = log_density

    def exactness(self, model: Distribution) -> Exactness:
        return "bound"

    def per_row(self, model: Distribution, batch: Batch, generator: torch.Generator) -> Tensor:
        if batch.context is None:
            x, log_q = model.rsample_and_log_prob(len(batch), generator=generator)
            log_p = self.log_density(x)
        else:
            x, log_q = model.rsample_and_log_prob((), batch.context, generator=generator)
            log_p = self.log_density(x, batch.context)
        if not isinstance(log_p, Tensor) or log_p.shape != log_q.shape:
            got = tuple(log_p.shape) if isinstance(log_p, Tensor) else type(log_p).__name__
            raise TrainingError(
                f"ReverseKL: log_density must return a tensor of shape ({len(batch)},), one number per row of x; got "
                f"{got}."
            )
        return log_q - log_p


class Objective(nn.Module):
    """The loss of a batch as a module, so that a wrapper sees one forward call per step whatever the loss calls."""

    def __init__(self, model: Distribution, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch, generator: torch.Generator, *, per_row: bool = False) -> Tensor:
        """The loss of a prepared batch; with ``per_row`` the validation number of each of its rows, (rows,)."""
        if not per_row:
            return self.loss(self.model, batch, generator)
        values = self.loss.metric_per_row(self.model, batch, generator)
        self.loss.check_shape("metric_per_row", values, batch)
        return values


@torch.no_grad()
def mean_metric(
    objective: Objective,
    rows: Batch,
    generator: torch.Generator,
    batch_size: int,
    processes: Processes = ALONE,
) -> float:
    """The loss's validation number over all rows in evaluation mode, each row counted by its weight; sums in float64.
    Several processes share the rows out."""
    was_training = objective.model.training
    objective.eval()
    total = mass = 0.0
    mine = rows.part(processes.part(len(rows)))
    count = -(-len(rows) // processes.count // batch_size)  # as many in all processes, which may wait for each other
    for k in range(count):
        piece = mine.part(slice(k * len(mine) // count, (k + 1) * len(mine) // count))
        batch = objective.loss.prepare(piece, generator)
        values = objective(batch, generator, per_row=True).double()
        weights = torch.ones_like(values) if batch.weights is None else batch.weights.double()
        total += float((values * weights).sum())
        mass += float(weights.sum())
    objective.train(was_training)
    total, mass = processes.sum([total, mass])
    return total / mass

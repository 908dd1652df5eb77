"""Learning a density of each class and the classes given the data at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.checks import at_least, finite_numbers, positive
from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Exactness
from pushforward.distributions import contexts_act_on_latents, log_prob_of_each
from pushforward.train.batches import Batch
from pushforward.train.history import TrainingError
from pushforward.train.losses import Loss

__all__ = ["HybridLikelihood"]


@dataclass(frozen=True)
class HybridLikelihood(Loss):
    r"""Minus the log-likelihood of the data given their class, and of their class given the data by Bayes' rule.

    .. math:: -\log q(x \mid c) - \lambda \log \frac{\pi_c\, q(x \mid c)}{\sum_{k \in K} \pi_k\, q(x \mid k)}

    Maximum likelihood alone hardly sees the class of an image: knowing it saves at most the logarithm of the number of
    classes, out of hundreds of nats, so that a good density may be a poor classifier. The second term asks for it. K is
    the class of the row and ``others`` further ones, drawn at random for each row and step: with fewer than all the
    minimum is still at the right probabilities, and a step costs 1 + ``others`` evaluations of the density. All of them
    see the same noise, where a model dequantizes, and the same cells, where it draws some (`DiscreteGrid`); the second
    term is then that of estimates, which is larger on average. Rows whose context is that of no class, such as those
    without a label (`with_labels_dropped`), count for the first term alone.

    Args:
        classes: the context of each class, a vector each, at least two, such as ``torch.eye(10).tolist()``.
        weight: :math:`\lambda`, which is positive.
        others: number of classes with which that of a row is compared in each step, at most all others, which is the
            default where they cost little (`distributions.contexts_act_on_latents`); else it is one.
        log_prior: :math:`\log \pi_k` of each class; equally likely by default.

    Raises:
        ValueError: there are fewer than two classes, two have the same context, or an option is out of its range.

    References:
        | Training Normalizing Flows with the Information Bottleneck for Competitive Generative Classification
          (Ardizzone et al., 2020), arXiv:2001.06448
        | Understanding the Limitations of Conditional Generative Models (Fetaya et al., 2020), arXiv:1906.01171
        | Noise Contrastive Estimation and Negative Sampling for Conditional Models (Ma, Collins, 2018),
          arXiv:1809.01812, for the classes that are drawn

    >>> import torch, pushforward as pf
    >>> labels = torch.arange(400) % 2
    >>> context, x = torch.eye(2)[labels], torch.randn(400, 1) + 2.0 * labels[:, None]
    >>> flow = pf.flows.maf(1, context=2, depth=1)
    >>> loss = HybridLikelihood(torch.eye(2).tolist(), weight=2.0)
    >>> _ = pf.fit(flow, x, context, loss=loss, steps=50, progress=False)
    """

    metric: ClassVar[str] = "log-likelihood and weighted log-probability of the class"
    unit: ClassVar[str] = "nats"
    greater_is_better: ClassVar[bool] = True

    classes: Sequence[Sequence[float]]
    weight: float = 1.0
    others: int | None = None
    log_prior: Sequence[float] | None = None

    def __post_init__(self) -> None:
        owner = "HybridLikelihood"
        try:
            classes = tuple(tuple(float(value) for value in context) for context in self.classes)
        except (TypeError, ValueError):
            raise ValueError(f"{owner}: classes must list the context of each class, a vector of numbers.") from None
        if len({len(context) for context in classes}) > 1:
            raise ValueError(f"{owner}: the contexts of all classes must be equally long.")
        if len(set(classes)) < max(2, len(classes)):
            raise ValueError(f"{owner}: classes must be two or more contexts, each once; got {len(classes)}.")
        positive(owner, "weight", self.weight)
        if self.others is not None:
            at_least(owner, "others", self.others, 1)
        if self.others is not None and self.others >= len(classes):
            raise ValueError(f"{owner}: others must be below the {len(classes)} classes; got {self.others}.")
        if self.log_prior is not None and len(self.log_prior) != len(classes):
            raise ValueError(
                f"{owner}: log_prior must have a number for each of {len(classes)} classes; got {len(self.log_prior)}."
            )
        object.__setattr__(self, "classes", classes)
        if self.log_prior is not None:
            object.__setattr__(self, "log_prior", tuple(finite_numbers(owner, "log_prior", self.log_prior)))

    def exactness(self, model: Distribution) -> Exactness:
        """A quotient of bounds is no bound, and classes that are drawn are not all."""
        all_classes = self._compared(model) == len(self.classes) - 1
        exact = model.exactness == "exact" and not model.draws_estimates and all_classes
        return "exact" if exact else "consistent"

    def per_row(self, model: Distribution, batch: Batch, generator: torch.Generator) -> Tensor:
        if batch.context is None:
            raise TrainingError("HybridLikelihood: the classes are in the context; got none.")
        classes = batch.context.new_tensor(self.classes)
        prior = classes.new_tensor(self.log_prior or [0.0] * len(classes))
        if classes.shape[1:] != batch.context.shape[1:]:
            raise TrainingError(
                f"HybridLikelihood: the context of a class must have the shape {tuple(batch.context.shape[1:])} of a "
                f"row's; got {tuple(classes.shape[1:])}."
            )
        belongs = (batch.context[:, None] == classes).all(dim=-1)  # (rows, classes)
        labelled, truth = belongs.any(dim=1), belongs.int().argmax(dim=1)
        order = torch.rand(belongs.shape, generator=generator, device=generator.device).to(classes.device)
        compared = order.masked_fill(belongs, -1.0).topk(self._compared(model), dim=1).indices
        numbers = torch.cat([truth[:, None], compared], dim=1).T
        # A row without a label keeps its context, which is that of no class.
        contexts = torch.cat([batch.context[None], classes[numbers[1:]]])
        x: Any = batch.x  # a loss of data has some
        scores = log_prob_of_each(model, x, contexts, generator=generator)
        log_class = (scores + prior[numbers]).log_softmax(dim=0)[0]
        return -scores[0] - self.weight * log_class.where(labelled, 0.0)

    def _compared(self, model: Distribution) -> int:
        """How many other classes a row is compared with."""
        if self.others is not None:
            return self.others
        return len(self.classes) - 1 if contexts_act_on_latents(model) else 1

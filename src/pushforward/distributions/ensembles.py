"""Models of equal structure side by side: a mixture, and how far its members differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.cache import TensorCache
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Estimate
from pushforward.core.screening import at_screened
from pushforward.core.torch_internals import buffers_of, unsaved_buffers
from pushforward.distributions.of_parts import OfParts

__all__ = ["Ensemble", "ensemble"]

APART = {"_parameters", "_buffers", "_modules", "_row_widths", "config", "_load_state_dict_post_hooks"}
"""Attributes that members may differ in: weights and parts, which are compared otherwise, and what densities do not
depend on (a config holds numbers at which weights start)."""


class _LogDensity(nn.Module):
    """A member whose ``forward`` is its log-density, which `torch.func.functional_call` calls."""

    def __init__(self, member: Distribution) -> None:
        super().__init__()
        self.member = member

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.member._log_prob(*self.member._arguments(x, context, None))


@configurable
class Ensemble(OfParts):
    r"""The mixture of M models of equal structure with different weights, such as fits from several starts.

    .. math:: q(x) = \frac1M \sum_m q_m(x)

    Where the members agree, the data have decided the density; where they differ, it is uncertain: `mean_and_spread`
    gives both, a Bayesian average over weights whose posterior the members stand for. Densities of all members are one
    pass over stacked weights (`torch.func.vmap`) where nothing but weights tells the members apart; otherwise, and in
    compiled graphs, they are computed one after the other. Points come from members chosen at random and cost M
    samples each.

    `fit` maximises the mean of the members' log-densities, so that all of them learn at once, each as it would alone;
    members that were fitted by themselves are taken as they are.

    Args:
        members: distributions of one class with weights of equal shapes and one support. Options without weights, such
            as bounds of splines, may differ.

    Shape:
        ``x``: (*batch, *event_shape), ``context``: (*batch, *context_shape).

    Raises:
        ValueError: there are fewer than two members, they are not built alike, or their log_prob draws random numbers.

    References:
        | Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles (Lakshminarayanan et al., 2016),
          arXiv:1612.01474

    >>> import torch
    >>> from pushforward.distributions import Normal
    >>> two = Ensemble([Normal([0.0]), Normal([0.0])])
    >>> mean, spread = two.mean_and_spread(torch.zeros(1))
    >>> round(mean.item(), 4), spread.item()
    (-0.9189, 0.0)
    """

    draws_estimates = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "members": [
                {
                    "type": "Flow",
                    "base": {"type": "StandardNormal", "features": 2},
                    "bijection": {
                        "type": "Inverse",
                        "bijection": {
                            "type": "Autoregressive",
                            "univariate": {"type": "Affine"},
                            "features": 2,
                            "context": 1,
                            "hidden": [8],
                        },
                    },
                }
            ]
            * 2
        },
    )

    def __init__(self, members: Sequence[Distribution]) -> None:
        super().__init__()
        members = list(members)
        if len(members) < 2 or not all(isinstance(member, Distribution) for member in members):
            raise ValueError("Ensemble: members must list two or more distributions.")
        first = members[0]
        structure = _structure(first)
        if any(_structure(member) != structure for member in members):
            raise ValueError(
                "Ensemble: members must be built alike, with weights of equal shapes and one support; build each by "
                "the same call, or take Mixture."
            )
        if any(member.stochastic for member in members):
            raise ValueError(
                f"Ensemble: log-densities of {type(first).__name__} draw random numbers. Average them over draws."
            )
        self.members = nn.ModuleList(members)
        self.event_shape, self.context_shape, self.support = first.event_shape, first.context_shape, first.support
        self.reparametrized = all(member.reparametrized for member in members)
        self._take_kinds(members)

    def _each(self) -> list[Any]:
        return list(self.members)

    @property
    def dtype(self) -> torch.dtype | None:
        return self._each()[0].dtype

    @property
    def context_dtype(self) -> torch.dtype | None:
        return self._each()[0].context_dtype

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The log-density under each member, (members, *batch)."""
        members = self._each()
        if torch.compiler.is_compiling() or not _differ_by_weights_alone(members):
            return torch.stack([_LogDensity(member)(x, context) for member in members])
        template = _LogDensity(members[0])
        each = [dict(_saved(member)) for member in members]
        stacked = {f"member.{name}": torch.stack([weights[name] for weights in each]) for name in each[0]}

        def of_one(weights: dict[str, Tensor]) -> Tensor:
            value: Tensor = torch.func.functional_call(template, weights, (x, context))
            return value

        values: Tensor = torch.func.vmap(of_one, randomness="different")(stacked)
        return values

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return torch.logsumexp(self._log_probs(x, context), dim=0) - math.log(len(self.members))

    def _estimate_log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        return self.member_log_probs(x, context).mean(dim=0)

    def member_log_probs(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The log-density under each member, (members, *batch): -inf outside the support, NaN where x or context is."""
        x, context, ok, nan = self._screened(x, context)
        values = self._log_probs(x, context if self.context_shape is not None else None)
        return at_screened(values, ok, nan)

    def mean_and_spread(self, x: Tensor, context: Tensor | None = None) -> Estimate:
        """The mean of the members' log-densities and their standard deviation, each (*batch,).

        The mean is a lower bound on `log_prob`, the log of the mean density.
        """
        values = self.member_log_probs(x, context)
        return Estimate(values.mean(dim=0), values.std(dim=0))

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        for member in self._each():
            member._initialize(x, context)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        draws = torch.stack([member._rsample(batch, context, generator) for member in self._each()])
        chosen = torch.randint(len(draws), batch, generator=generator, device=draws.device)
        index = chosen.reshape(1, *batch, *(1,) * len(self.event_shape)).expand(1, *draws.shape[1:])
        return draws.gather(0, index)[0]


def ensemble(members: Sequence[Distribution]) -> Ensemble:
    """The mixture of models of equal structure with different weights; see `Ensemble`.

    Args:
        members: such as flows built by the same call, trained each by itself, or not yet.

    Raises:
        ValueError: as `Ensemble`.

    >>> import pushforward as pf
    >>> several = ensemble([pf.flows.maf(2, depth=1, hidden=(8,)) for _ in range(3)])
    >>> several.member_log_probs(several.sample(5)).shape
    torch.Size([3, 5])
    """
    return Ensemble(members)


def _saved(member: Distribution) -> list[tuple[str, Tensor]]:
    """What a file keeps of a member: its weights and statistics, but no constants."""
    names = set(member.state_dict())
    return [(name, value) for name, value in [*member.named_parameters(), *member.named_buffers()] if name in names]


def _structure(member: Distribution) -> tuple[Any, ...]:
    weights = [(name, tuple(value.shape), value.dtype) for name, value in _saved(member)]
    return type(member), member.event_shape, member.context_shape, member.support, weights


def _differ_by_weights_alone(members: Sequence[Distribution]) -> bool:
    """Whether the first member with the weights of another one is that other: they have weights, and beside these
    modules of the same types with equal attributes and constants."""
    parts = [list(member.named_modules()) for member in members]
    return bool(members[0].state_dict()) and all(
        len(others) == len(parts[0])
        and all(
            name == of_other and type(part) is type(other) and _equal(_attributes(part), _attributes(other))
            for (name, part), (of_other, other) in zip(parts[0], others, strict=True)
        )
        for others in parts[1:]
    )


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What a module computes with beside its weights, its parts, and constants that follow from other attributes."""
    constants = getattr(module, "constants", ())
    buffers = {name: buffers_of(module)[name] for name in sorted(unsaved_buffers(module)) if name not in constants}
    return {**{name: value for name, value in vars(module).items() if name not in APART}, "unsaved": buffers}


def _equal(a: Any, b: Any) -> bool:
    """Whether two attributes are equal for certain."""
    if type(a) is not type(b):
        return False
    if a is b or isinstance(a, TensorCache):  # what such a cache gives depends on its arguments alone
        return True
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.device == b.device and not a.is_meta and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return (a == b) is True

"""The density of the same points given several contexts."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.bijections import Elementwise
from pushforward.bijections.chain import innermost
from pushforward.bijections.recompute import step
from pushforward.core.bijection import Bijection
from pushforward.core.distribution import Distribution
from pushforward.core.execution_mode import execution
from pushforward.core.screening import at_screened
from pushforward.core.shapes import unsqueeze_to
from pushforward.core.surface import Surface
from pushforward.distributions.flow import Flow

__all__ = ["contexts_act_on_latents", "log_prob_of_each"]

Applied = list[tuple[Bijection, bool]]
"""Maps, each with whether it is applied backwards."""


class PartedFlow(NamedTuple):
    """A flow whose first parts from the latents on alone read the context."""

    flow: Flow
    conditional: Applied
    shared: Applied


def log_prob_of_each(
    distribution: Distribution, x: Tensor, contexts: Tensor, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""log q(x | c) of points (n, *event_shape) for each of ``contexts`` (k, n, *context_shape): (k, n).

    A flow whose context acts on the latent side alone, :math:`x = T(S_c(z))`, goes back through T once and through
    :math:`S_c` for each context; all other distributions are evaluated for each. All contexts see the same noise, where
    a distribution draws some, such as a dequantized one.

    >>> import torch, pushforward as pf
    >>> flow = pf.flows.maf(2, context=3)
    >>> log_prob_of_each(flow, torch.zeros(5, 2), torch.eye(3)[:, None].expand(3, 5, 3)).shape
    torch.Size([3, 5])
    """
    if generator is None and distribution.stochastic:
        generator = torch.Generator(x.device).manual_seed(int(torch.randint(2**62, ())))
    parted = _parted(distribution)
    if parted is not None:
        with execution(kernels=True) if parted.flow._kernels else nullcontext():
            return _through_shared_part(parted, x, contexts, generator)
    state = None if generator is None else generator.get_state()
    each = []
    for context in contexts:
        if generator is not None and state is not None:
            generator.set_state(state)
        each.append(distribution(x, context, generator=generator))
    return torch.stack(each)


def contexts_act_on_latents(distribution: Distribution) -> bool:
    """Whether a distribution is a flow whose context moves each latent by itself, or changes the base, and nothing
    else: the same points given other contexts cost little then."""
    return _parted(distribution) is not None


def _parted(distribution: Distribution) -> PartedFlow | None:
    """A flow as what reads the context and what does not; None where the first is more than a map of each latent."""
    if not isinstance(distribution, Flow) or distribution.context_shape is None:
        return None
    parts = innermost(distribution.bijection)
    end = max((k + 1 for k, (part, _) in enumerate(parts) if part.context_shape is not None), default=0)
    each_latent = all(isinstance(part, Elementwise) for part, _ in parts[:end])
    if not each_latent or end == len(parts) or isinstance(distribution.support, Surface):
        return None
    return PartedFlow(distribution, parts[:end], parts[end:])


def _through_shared_part(parted: PartedFlow, x: Tensor, contexts: Tensor, generator: torch.Generator | None) -> Tensor:
    flow, (k, n) = parted.flow, contexts.shape[:2]
    _, screened, ok, nan = flow._screened(x.expand(k, *x.shape), contexts)
    # As in `Distribution.log_prob`, rows that cannot be used are replaced, so that they change no other row's gradient.
    x = torch.where(unsqueeze_to(ok.any(dim=0), x.ndim), x, flow.support.anchor(x))
    h, log_det = _pulled(parted.shared, x, None, generator)
    context = flow._map_context(None if screened is None else screened.flatten(0, 1))
    z, more = _pulled(parted.conditional, h.expand(k, *h.shape).flatten(0, 1), context, None)
    base = flow.base._log_prob(*flow.base._arguments(z, context, None))
    value = (base + more).view(k, n) + log_det
    return at_screened(value, ok, nan)


def _pulled(parts: Applied, x: Tensor, context: Tensor | None, generator: torch.Generator | None) -> tuple[Any, Any]:
    """x taken back through the parts, and the log-determinant."""
    total: Tensor | float = 0.0
    for part, backwards in reversed(parts):
        x, ladj = step(part, x, context, not backwards, generator)
        total = total + ladj
    return x, total

"""Guidance and temperature: models led towards their context, and surer or less sure of what they draw."""

from __future__ import annotations

import math
from typing import Any, cast

from torch import Tensor

from pushforward.bijections import Chain, Multiscale, VariationalDequantize
from pushforward.bijections.chain import innermost
from pushforward.bijections.guided import LAYERS, FirstContext, Guided
from pushforward.bijections.scale import Scale
from pushforward.core.bijection import Bijection
from pushforward.core.checks import not_negative, positive
from pushforward.core.distribution import Distribution, FixedContext
from pushforward.core.domain import Real
from pushforward.distributions.context_pair import ContextPair, nested_numbers
from pushforward.distributions.discrete_grid import DiscreteGrid
from pushforward.distributions.flow import Flow
from pushforward.distributions.guided_grid import GuidedGrid
from pushforward.univariate.guided import AFFINE_MAPS

__all__ = ["guided", "with_temperature"]


def guided(
    model: Distribution,
    context: Tensor | None,
    weight: float,
    *,
    unconditional: Any = None,
    temperature: float = 1.0,
) -> Distribution:
    r"""A conditional model led towards its context, away from what it is without a label.

    Of a `DiscreteGrid` the logits of each number are :math:`(1 + w) \theta_c - w \theta_u`: each conditional is
    proportional to :math:`p_c^{1+w}\, p_u^{-w}` (`GuidedGrid`). Of a flow of affine layers, such as `flows.tarflow`,
    `flows.glow`, `flows.maf` and `flows.real_nvp`, the mean and the standard deviation of each layer are combined in
    closed form (`bijections.Guided`): of a flow of one autoregressive layer this is that same product, wherever the
    label makes a conditional narrower. What is returned shares the weights and is a model of the same kind: samples,
    their log-probabilities, conditionals and files follow. It needs a model that learned without labels in part, see
    `train.with_labels_dropped`.

    Args:
        model: a `DiscreteGrid` with a context, or a `Flow` whose layers with a context are affine and take data towards
            the latent (``fast="density"``).
        context: the label, (*batch, *context_shape), fixed as by `Distribution.condition`; None for a model that is
            still conditional.
        weight: w, at least 0. With 0 the result is the model; the larger, the more typical of its label is what is
            drawn, and the less diverse.
        unconditional: the context that stands for no label, of the shape of one context: zeros by default. NaN in it
            keeps a number of the context, such as a noise level.
        temperature: see `with_temperature`.

    Returns:
        the guided distribution; with a context of shape (*batch, *context_shape) its samples are
        (*shape, *batch, *event_shape).

    Raises:
        ValueError: the model has no context, or parts that guidance has no closed form for; the weight is negative; or
            the temperature is not positive.

    References:
        | Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), arXiv:2207.12598
        | Normalizing Flows are Capable Generative Models (Zhai et al., 2024), arXiv:2412.06329
        | STARFlow: Scaling Latent Normalizing Flows for High-resolution Image Synthesis (Gu et al., 2025),
          arXiv:2506.06276, for the closed form of affine layers

    >>> import torch, pushforward as pf
    >>> flow = pf.flows.tarflow((1, 4, 4), context=10, depth=2, hidden=(16, 16))
    >>> digits = guided(flow, torch.eye(10), weight=1.5, temperature=0.9)
    >>> digits.sample(3).shape, digits.log_prob(digits.sample(3)).shape
    (torch.Size([3, 10, 1, 4, 4]), torch.Size([3, 10]))
    """
    not_negative("guided", "weight", weight)
    if not isinstance(model, DiscreteGrid | Flow) or model.context_shape is None:
        got = type(model).__name__ + (" without context" if isinstance(model, DiscreteGrid | Flow) else "")
        raise ValueError(
            "guided: leads a conditional DiscreteGrid, or a conditional Flow of affine layers such as flows.tarflow, "
            f"flows.maf and flows.real_nvp; got {got}."
        )
    blank = None if unconditional is None else nested_numbers(unconditional)
    result: Distribution = model
    if weight and isinstance(model, Flow):
        result = _guided_flow(model, weight, blank)
    elif weight:
        result = GuidedGrid(cast(DiscreteGrid, model), weight=weight, unconditional=blank)
    result = with_temperature(result.train(model.training), temperature)
    return result if context is None else result.condition(context)


def with_temperature(distribution: Distribution, temperature: float) -> Distribution:
    r"""The distribution with less noise, for temperatures T below one, or with more.

    Points of a `Flow` are x = S(T z) for z drawn from the base: its density is that of the base scaled by T. Of a
    `DiscreteGrid` the logits of each number are divided by T, which raises each conditional to the power 1 / T. Both
    are distributions with exact log-probabilities where those of the model are, and share its weights.

    Args:
        distribution: a `Flow` whose base lives on the real line, a `DiscreteGrid`, or one of them with its context
            fixed.
        temperature: T, positive; 1 changes nothing.

    Raises:
        ValueError: the distribution is another one, or the temperature is not positive.

    >>> import torch, pushforward as pf
    >>> flow = pf.flows.maf(1)  # a standard normal before training
    >>> round(with_temperature(flow, 0.5).log_prob(torch.zeros(1)).exp().item() * (2 * torch.pi) ** 0.5, 4)
    2.0
    """
    positive("with_temperature", "temperature", temperature)
    if temperature == 1:
        return distribution
    if isinstance(distribution, FixedContext):
        return with_temperature(distribution.distribution, temperature).condition(distribution.context)
    if isinstance(distribution, DiscreteGrid):
        return GuidedGrid(distribution, temperature=temperature).train(distribution.training)
    if isinstance(distribution, Flow) and isinstance(distribution.base.support, Real):
        base = distribution.base
        scaled = Chain([Scale(base.event_shape, factor=temperature), distribution.bijection])
        shape = None if distribution.context_map is None else distribution.context_shape
        flow = Flow(base, scaled, context_map=distribution.context_map, context_shape=shape)
        return flow.train(distribution.training)
    got = type(distribution).__name__
    if isinstance(distribution, Flow):
        got += f" on {type(distribution.base).__name__}, which lives on {distribution.base.support}"
    raise ValueError(
        "with_temperature: scales the noise of a Flow whose base lives on the real line, such as StandardNormal, and "
        f"the logits of a DiscreteGrid; got {got}."
    )


def _guided_flow(flow: Flow, weight: float, unconditional: Any) -> Flow:
    """The flow with its layers guided, at pairs of contexts that its context map makes."""
    if flow.base.context_shape is not None:
        raise ValueError(f"guided: leads layers, and the base {type(flow.base).__name__} has a context. Give it none.")
    context = math.prod(flow.bijection.context_shape or ())
    shape = flow.context_shape or ()
    pair = ContextPair(shape, unconditional=unconditional, context_map=flow.context_map)
    bijection = _guided_chain(flow.bijection, False, weight, 2 * context)
    return Flow(flow.base, bijection, context_map=pair, context_shape=shape)


def _guided_chain(bijection: Bijection, backwards: bool, weight: float, context: int) -> Chain:
    """A map with its layers guided; ``backwards``: from the latent to data its inverse is applied."""
    parts: list[Bijection] = []
    for part, inverted in innermost(bijection):
        guided_part = _guided_part(part, backwards != inverted, weight, context)
        parts.append(guided_part.inv if inverted else guided_part)
    return Chain(parts)


def _guided_part(part: Bijection, backwards: bool, weight: float, context: int) -> Bijection:
    if part.context_shape is None:
        return part
    if isinstance(part, VariationalDequantize):  # rounds points whatever the context is
        return FirstContext(part, context=context)
    layer: Any = part
    if isinstance(part, Multiscale):
        levels = [_guided_chain(level, backwards, weight, context) for level in layer.levels]
        return Multiscale(levels, latent="event" if part.out_shape == part.in_shape else "flat")
    name = type(part).__name__
    if isinstance(part, LAYERS):
        if isinstance(layer.univariate, AFFINE_MAPS):
            if backwards:
                return Guided(part, weight=weight)
            name += " from the latent to data"
        else:
            name += f" of {type(layer.univariate).__name__}"
    raise ValueError(
        "guided: has a closed form for layers of affine maps (Affine, Shift) from data to the latent, as in "
        f"tarflow(univariate='affine'), glow, maf and real_nvp, and for DiscreteGrid; the flow holds {name}."
    )

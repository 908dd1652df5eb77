"""Properties of distributions: functions of ``(distribution, context)`` that raise AssertionError where one fails.

``context`` is one context, of the distribution's ``context_shape``, or None.
"""

from __future__ import annotations

import copy
import json
import pickle

import torch
from torch import Tensor

from pushforward.core.config import build
from pushforward.core.distribution import Distribution
from pushforward.testing.bijections import require
from pushforward.testing.comparison import Tolerances, close, same
from pushforward.testing.quadrature import draw

__all__ = [
    "condition_fixes_the_context",
    "float32_is_close",
    "log_prob_of_samples",
    "rsample_gradients",
    "rsample_gradients_are_slopes",
    "sample_shapes",
    "samples_follow_the_generator",
    "survives_config_and_copies",
]

ROUNDING: Tolerances = {torch.float64: 1e-6, torch.float32: 1e-2}


def sample_shapes(distribution: Distribution, context: Tensor | None = None) -> None:
    """Samples have shape (*shape, *batch, *event_shape), the stated dtype, and lie in the support."""
    event = distribution.event_shape
    for shape in ((), 3, (3,), (2, 3), (0,)):
        for batch in ((), (4,)) if context is not None else ((),):
            contexts = None if context is None else context.expand((*batch, *context.shape))
            full = (*((shape,) if isinstance(shape, int) else shape), *batch)
            x = distribution.sample(shape, contexts)
            require(x.dtype == distribution.dtype, f"samples are {x.dtype}, the distribution {distribution.dtype}")
            with torch.set_grad_enabled(distribution.reparametrized):
                y, log_prob = distribution.rsample_and_log_prob(shape, contexts)
                again = distribution.rsample(shape, contexts)
            for sample in (x, y, again):
                require(
                    sample.shape == (*full, *event), f"samples have shape {tuple(sample.shape)}, not {(*full, *event)}"
                )
            require(log_prob.shape == full, f"log_prob of a sample has shape {tuple(log_prob.shape)}, not {full}")
            evaluated = tuple(distribution.log_prob(x, contexts).shape)
            require(evaluated == full, f"log_prob of x has shape {evaluated}, not {full}")
            require(not x.requires_grad, "sample() records gradients")
            require(distribution.support.contains(x).all(), f"a sample lies outside the support {distribution.support}")


def log_prob_of_samples(distribution: Distribution, context: Tensor | None = None) -> None:
    """Samples have finite densities, and ``rsample_and_log_prob`` gives those of ``log_prob``."""
    with torch.set_grad_enabled(distribution.reparametrized):
        x, actual = distribution.rsample_and_log_prob((50,), context, generator=torch.Generator().manual_seed(1))
        again = distribution.rsample((50,), context, generator=torch.Generator().manual_seed(1))
    z, without = distribution.sample_and_log_prob((50,), context, generator=torch.Generator().manual_seed(1))
    require(not z.requires_grad and not without.requires_grad, "sample_and_log_prob records gradients")
    expected = distribution.log_prob(x.detach(), context)
    require(expected.isfinite().all(), "log_prob of a sample is not finite")
    close(actual, expected, "rsample_and_log_prob against log_prob", ROUNDING)
    close(again, x, "rsample against rsample_and_log_prob", ROUNDING)
    close(z, x, "sample_and_log_prob against rsample_and_log_prob", ROUNDING)
    close(without, expected, "sample_and_log_prob against log_prob", ROUNDING)


def samples_follow_the_generator(distribution: Distribution, context: Tensor | None = None) -> None:
    """The same seed gives the same points, another seed others, and torch's global generator is left alone."""
    before = torch.get_rng_state()
    a, b, other = (draw(distribution, context, 5, seed) for seed in (1, 1, 2))
    require(torch.equal(a, b), "the same seed gives other points")
    require(not torch.equal(a, other), "another seed gives the same points")
    require(torch.equal(before, torch.get_rng_state()), "a draw from a generator moves torch's global one")


def rsample_gradients(distribution: Distribution, context: Tensor | None = None) -> None:
    """Points carry finite gradients to every parameter that moves them, and to the context."""
    if not distribution.reparametrized:
        try:
            distribution.rsample(2, context)
        except ValueError:
            return
        raise AssertionError("rsample does not refuse although samples carry no gradients")
    leaf = None if context is None else context.clone().requires_grad_()
    x = distribution.rsample((64,), leaf, generator=torch.Generator().manual_seed(3))
    if not x.requires_grad:
        require(not list(distribution.parameters()), "rsample carries no gradient")
        return
    weights = torch.linspace(0.5, 1.5, x.numel(), dtype=x.dtype).reshape(x.shape)
    leaves = dict(distribution.named_parameters())
    if leaf is not None:
        leaves["context"] = leaf  # type: ignore[assignment]  # any leaf will do
    gradients = torch.autograd.grad((x * weights).tanh().sum(), list(leaves.values()), allow_unused=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        if gradient is None:
            raise AssertionError(f"rsample gives {name} no gradient")
        require(gradient.isfinite().all(), f"rsample gives {name} a gradient that is not finite")
        unused = gradient.numel() == 0 or (name.endswith("factors") and gradient.numel() == 1)  # one feature
        require(unused or (gradient != 0).any(), f"rsample gives {name} a zero gradient")


def rsample_gradients_are_slopes(distribution: Distribution, context: Tensor | None = None) -> None:
    """With the same random numbers, a small move of the weights moves the points as the gradient says.

    Not for samplers that accept or choose: their points do not follow the weights smoothly.
    """
    parameters = list(distribution.parameters())

    def value() -> Tensor:
        return distribution.rsample((16,), context, generator=torch.Generator().manual_seed(3)).tanh().sum()

    steps = [torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(4)) for p in parameters]
    gradients = torch.autograd.grad(value(), parameters)
    expected = torch.stack([(g * s).sum() for g, s in zip(gradients, steps, strict=True)]).sum()

    @torch.no_grad()
    def moved(size: float) -> Tensor:
        for p, s in zip(parameters, steps, strict=True):
            p.add_(size * s)
        out = value()
        for p, s in zip(parameters, steps, strict=True):
            p.sub_(size * s)
        return out

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    close(slope, expected.detach(), "the slope of rsample against its gradient", {torch.float64: 1e-4})


def survives_config_and_copies(distribution: Distribution, context: Tensor | None = None) -> None:
    """config → JSON → build → load_state_dict, deepcopy and pickle give the same densities bit for bit."""
    x = draw(distribution, context, 9)
    expected = distribution.log_prob(x, context)
    rebuilt = build(json.loads(json.dumps(distribution.config))).to(torch.float64).eval()
    rebuilt.load_state_dict(distribution.state_dict(), strict=True)
    require(rebuilt.config == distribution.config, "the rebuilt distribution has another config")
    for twin in (rebuilt, copy.deepcopy(distribution), pickle.loads(pickle.dumps(distribution))):
        same([twin.log_prob(x, context), draw(twin, context, 9)], [expected, x], "density and samples of a copy")


def float32_is_close(distribution: Distribution, context: Tensor | None = None) -> None:
    """The same densities in single precision; ``.to(float64)`` brings the dtype back."""
    x = draw(distribution, context, 9)
    narrow = copy.deepcopy(distribution).to(torch.float32)
    narrow_context = None if context is None else context.to(narrow.context_dtype or torch.float32)
    actual = narrow.log_prob(x.to(narrow.dtype or torch.float32), narrow_context)
    close(actual, distribution.log_prob(x, context), "float32 against float64", {**ROUNDING, torch.float64: 1e-2})
    back = narrow.to(torch.float64).dtype
    require(back == torch.float64, f".to(float32).to(float64) leaves the dtype {back}")


def condition_fixes_the_context(distribution: Distribution, context: Tensor | None = None) -> None:
    """``condition(c)`` has the densities and samples at c, for one context and for a batch of them."""
    if context is None:
        return
    for contexts in (context, context + torch.arange(3, dtype=context.dtype)[:, None]):
        fixed = distribution.condition(contexts)
        x = draw(distribution, contexts, 4)
        require(fixed.context_shape is None, "a conditioned distribution still asks for a context")
        same([draw(fixed, None, 4)], [x], "samples of condition()")
        same([fixed.log_prob(x)], [distribution.log_prob(x, contexts)], "densities of condition()")
        with torch.set_grad_enabled(distribution.reparametrized):
            y, log_prob = fixed.rsample_and_log_prob((4,), generator=torch.Generator().manual_seed(11))
        close(log_prob, fixed.log_prob(y.detach()), "rsample_and_log_prob of condition()", ROUNDING)

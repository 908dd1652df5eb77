"""Properties of distributions: functions of ``(distribution, context)`` that raise AssertionError where broken.

``context`` is one context, of the distribution's ``context_shape``, or None. Integrals are sums over a grid, so a
density and its samples are each held against something that knows nothing of how they were made.
"""

import copy
import json
import math
import pickle

import pytest
import torch
from properties import close
from torch import Tensor

from pushforward.core.config import build
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Ball, Circle, Domain, Interval, Product, Real

POINTS = {1: 8001, 2: 241}  # of the grid, along each axis
ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-2}


def draw(distribution: Distribution, context: Tensor | None, count: int = 2000, seed: int = 11) -> Tensor:
    return distribution.sample((count,), context, generator=torch.Generator().manual_seed(seed))


# --- integrals -----------------------------------------------------------------------------------------------------


def unit_grid(points: int) -> Tensor:
    """Middles of equal cells of (0, 1)."""
    return (torch.arange(points, dtype=torch.float64) + 0.5) / points


def axis(domain: Domain, sample: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on one axis: evenly on an interval, on the line denser where the sample is."""
    u = unit_grid(points)
    if isinstance(domain, Interval | Circle | Ball):
        low, high = (-domain.radius, domain.radius) if isinstance(domain, Ball) else domain.ends
        return low + (high - low) * u, torch.full_like(u, (high - low) / points)
    assert isinstance(domain, Real), f"no grid for {domain}"
    low, middle, high = torch.quantile(sample, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    angle = math.pi * (u - 0.5)
    return middle + (high - low) * angle.tan(), (high - low) * math.pi / points / angle.cos().square()


def grid(distribution: Distribution, context: Tensor | None, finer: int = 1) -> tuple[Tensor, Tensor]:
    """Nodes (m, features) and weights (m,) that cover the support."""
    (features,) = distribution.event_shape
    support, points = distribution.support, finer * POINTS[features]
    if isinstance(support, Ball) and features == 2:  # rings, for no square grid follows a round edge
        radius, angle = torch.meshgrid(unit_grid(points), 2 * math.pi * unit_grid(points), indexing="ij")
        radius, angle = support.radius * radius.flatten(), angle.flatten()
        x = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
        return x, radius * support.radius * 2 * math.pi / points**2
    sample = draw(distribution, context).to(torch.float64)
    parts = support.parts if isinstance(support, Product) else (support,) * features
    axes = [axis(part, sample[:, j], points) for j, part in enumerate(parts)]
    nodes = torch.cartesian_prod(*(nodes for nodes, _ in axes)).reshape(-1, features)
    weights = torch.cartesian_prod(*(weights for _, weights in axes)).reshape(-1, features)
    return nodes, weights.prod(dim=-1)


@torch.no_grad()
def masses(distribution: Distribution, context: Tensor | None, finer: int = 1) -> tuple[Tensor, Tensor]:
    """Nodes and the probability that belongs to each."""
    x, weights = grid(distribution, context, finer)
    log_prob = torch.cat([distribution.log_prob(part.to(distribution.dtype), context) for part in x.split(2**16)])
    return x, log_prob.to(torch.float64).exp() * weights


def integrates_to_one(distribution: Distribution, context: Tensor | None) -> None:
    """The density is that of a probability, to 1e-3; a grid that may be too coarse for a steep one is made finer."""
    for finer in (1, 4):
        total = masses(distribution, context, finer)[1].sum().item()
        if abs(total - 1) < 1e-3:
            return
    raise AssertionError(f"the density integrates to {total:.5f}")


def samples_follow_the_density(distribution: Distribution, context: Tensor | None) -> None:
    """Means of bounded functions over a sample agree with the integrals of these functions.

    The functions are first and second moments of the squashed features: they exist for every tail, and see location,
    scale and correlation.
    """
    x, mass = masses(distribution, context)
    sample = draw(distribution, context, 4000).to(torch.float64)
    centre, spread = sample.median(dim=0).values, sample.std(dim=0).clamp(max=3.0)

    def functions(points: Tensor) -> Tensor:
        squashed = torch.tanh((points - centre + 0.3 * spread) / spread)
        return torch.cat([squashed, (squashed[:, :, None] * squashed[:, None, :]).flatten(1)], dim=-1)

    values, seen = functions(x), functions(sample)
    expected = (values * mass[:, None]).sum(dim=0)
    error = (values.square() * mass[:, None]).sum(dim=0).sub(expected.square()).clamp(min=0).div(len(sample)).sqrt()
    off = ((seen.mean(dim=0) - expected).abs() / (error + 5e-4)).max().item()
    assert off < 5, f"a sample moment is {off:.1f} standard errors away from the density's"


# --- samples -------------------------------------------------------------------------------------------------------


def sample_shapes(distribution: Distribution, context: Tensor | None) -> None:
    """Samples have shape (*shape, *batch, *event_shape), the stated dtype, and lie in the support."""
    event = distribution.event_shape
    for shape in ((), 3, (3,), (2, 3), (0,)):
        for batch in ((), (4,)) if context is not None else ((),):
            known = None if context is None else context.expand((*batch, *context.shape))
            full = (*((shape,) if isinstance(shape, int) else shape), *batch)
            x = distribution.sample(shape, known)
            assert x.dtype == distribution.dtype, f"samples are {x.dtype}, not {distribution.dtype}"
            with torch.set_grad_enabled(distribution.reparametrized):
                y, log_prob = distribution.rsample_and_log_prob(shape, known)
                again = distribution.rsample(shape, known)
            assert x.shape == again.shape == y.shape == (*full, *event)
            assert log_prob.shape == full, f"log_prob of a sample has shape {tuple(log_prob.shape)}, not {full}"
            assert distribution.log_prob(x, known).shape == full, "log_prob of x has another shape"
            assert not x.requires_grad, "sample records gradients"
            assert bool(distribution.support.contains(x).all()), "a sample left the support"


def log_prob_of_samples(distribution: Distribution, context: Tensor | None) -> None:
    """Samples have finite densities, and rsample_and_log_prob gives the ones that log_prob gives."""
    with torch.set_grad_enabled(distribution.reparametrized):
        x, got = distribution.rsample_and_log_prob((50,), context, generator=torch.Generator().manual_seed(1))
        again = distribution.rsample((50,), context, generator=torch.Generator().manual_seed(1))
    expected = distribution.log_prob(x.detach(), context)
    assert bool(expected.isfinite().all()), "log_prob of a sample is not finite"
    close(got, expected, "rsample_and_log_prob against log_prob", ROUNDING)
    close(again, x, "rsample against rsample_and_log_prob", ROUNDING)


def samples_follow_the_generator(distribution: Distribution, context: Tensor | None) -> None:
    """The same seed gives the same points, another seed others, and torch's own generator is left alone."""
    before = torch.get_rng_state()
    a, b, other = (
        draw(distribution, context, 5, 1),
        draw(distribution, context, 5, 1),
        draw(distribution, context, 5, 2),
    )
    assert torch.equal(a, b), "the same seed gave other points"
    assert not torch.equal(a, other), "another seed gave the same points"
    assert torch.equal(before, torch.get_rng_state()), "a draw from a generator moved torch's own"


def rsample_gradients(distribution: Distribution, context: Tensor | None) -> None:
    """Points carry finite gradients to every parameter that moves them, and to the context."""
    if not distribution.reparametrized:
        with pytest.raises(ValueError, match="samples carry no gradients"):
            distribution.rsample(2, context)
        return
    distribution.zero_grad()
    known = None if context is None else context.clone().requires_grad_()
    x = distribution.rsample((64,), known, generator=torch.Generator().manual_seed(3))
    if not x.requires_grad:
        assert not list(distribution.parameters()), "rsample carries no gradient"
        return
    (x * torch.linspace(0.5, 1.5, x.numel(), dtype=x.dtype).reshape(x.shape)).tanh().sum().backward()
    leaves = dict(distribution.named_parameters())
    if known is not None:
        leaves["context"] = known
    for name, leaf in leaves.items():
        assert leaf.grad is not None, f"rsample gives {name} no gradient"
        assert bool(leaf.grad.isfinite().all()), f"rsample gives {name} a gradient that is not finite"
        unused = leaf.numel() == 0 or (name.endswith("factors") and leaf.numel() == 1)  # nothing off a diagonal of one
        assert unused or bool((leaf.grad != 0).any()), f"rsample gives {name} a zero gradient"


def rsample_gradients_are_slopes(distribution: Distribution, context: Tensor | None) -> None:
    """With the same random numbers, moving the weights a little moves the points as the gradient says."""
    parameters = list(distribution.parameters())

    def value() -> Tensor:
        return distribution.rsample((16,), context, generator=torch.Generator().manual_seed(3)).tanh().sum()

    steps = [torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(4)) for p in parameters]
    grads = torch.autograd.grad(value(), parameters)
    expected = sum((g * s).sum() for g, s in zip(grads, steps, strict=True))

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


# --- views and copies ----------------------------------------------------------------------------------------------


def survives_config_and_copies(distribution: Distribution, context: Tensor | None) -> None:
    """config -> JSON -> build -> load_state_dict, deepcopy and pickle give the same densities bit for bit."""
    x = draw(distribution, context, 9)
    expected = distribution.log_prob(x, context)
    rebuilt = build(json.loads(json.dumps(distribution.config))).to(torch.float64).eval()
    rebuilt.load_state_dict(distribution.state_dict(), strict=True)
    assert rebuilt.config == distribution.config, "the rebuilt distribution has another config"
    for twin in (rebuilt, copy.deepcopy(distribution), pickle.loads(pickle.dumps(distribution))):
        assert torch.equal(twin.log_prob(x, context), expected), "a copy gives other densities"
        assert torch.equal(draw(twin, context, 9), x), "a copy gives other samples"


def float32_is_close(distribution: Distribution, context: Tensor | None) -> None:
    """The same densities in single precision, and the dtype comes back."""
    x = draw(distribution, context, 9)
    narrow = copy.deepcopy(distribution).to(torch.float32)
    known = None if context is None else context.to(narrow.context_dtype or torch.float32)
    got = narrow.log_prob(x.to(narrow.dtype or torch.float32), known)
    close(got, distribution.log_prob(x, context), "float32 against float64", {**ROUNDING, torch.float64: 1e-2})
    assert narrow.to(torch.float64).dtype == torch.float64, "the dtype does not come back"


def condition_fixes_the_context(distribution: Distribution, context: Tensor | None) -> None:
    """``condition(c)`` has the densities and samples at c, for one context and for a batch of them."""
    if context is None:
        return
    for known in (context, context + torch.arange(3, dtype=context.dtype)[:, None]):
        fixed = distribution.condition(known)
        x = draw(distribution, known, 4)
        assert fixed.context_shape is None, "a conditioned distribution still asks for a context"
        assert torch.equal(draw(fixed, None, 4), x), "condition() gives other samples"
        assert torch.equal(fixed.log_prob(x), distribution.log_prob(x, known)), "condition() gives other densities"
        with torch.set_grad_enabled(distribution.reparametrized):
            y, log_prob = fixed.rsample_and_log_prob((4,), generator=torch.Generator().manual_seed(11))
        close(log_prob, fixed.log_prob(y.detach()), "rsample_and_log_prob of condition()", ROUNDING)


# --- bad rows ------------------------------------------------------------------------------------------------------


SAME = {torch.float64: 1e-12, torch.float32: 1e-3}  # the same sum over another number of rows


def results(
    distribution: Distribution, x: Tensor, context: Tensor | None, keep: Tensor
) -> tuple[Tensor, dict[str, Tensor | None]]:
    """log_prob of all rows, and the gradients that the rows in ``keep`` send to weights, x and context."""
    x = x.clone().requires_grad_()
    context = None if context is None else context.clone().requires_grad_()
    log_prob = distribution.log_prob(x, context)
    leaves = [*distribution.parameters(), x, *([] if context is None else [context])]
    names = [name for name, _ in distribution.named_parameters()] + ["x", "context"]
    loss = log_prob[keep].sum()
    grads = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else [None] * len(leaves)
    return log_prob.detach(), dict(zip(names, grads, strict=False))


def assert_same(got: Tensor | None, expected: Tensor | None, tolerance: float, what: str) -> None:
    """Both missing, or both finite and equal up to a share of the largest entry."""
    assert (got is None) == (expected is None), f"{what}: a gradient came or went"
    if got is not None:
        size = expected.abs().max().item() if expected.numel() else 0.0
        assert bool(got.isfinite().all()), f"{what} is not finite"
        torch.testing.assert_close(
            got, expected, rtol=tolerance, atol=tolerance * (1 + size), msg=lambda m: f"{what}: {m}"
        )


def bad_row_harms_nobody(
    distribution: Distribution, x: Tensor, context: Tensor | None, spoiled_x: Tensor, spoiled_context: Tensor | None
) -> float:
    """Values and gradients of the good rows, three ways: a row left out of the loss, the same with that row bad, and
    with that row absent. The first two agree bit for bit, the third to rounding. Returns the bad row's log_prob."""
    good = (spoiled_x == x).flatten(1).all(-1)
    if context is not None and spoiled_context is not None:
        good = good & (spoiled_context == context).all(-1)
    tolerance = SAME[x.dtype] if next(distribution.parameters(), x).dtype == x.dtype else SAME[torch.float32]
    value, grads = results(distribution, x, context, good)
    spoiled, spoiled_grads = results(distribution, spoiled_x, spoiled_context, good)
    absent_context = None if context is None else context[good]
    absent, absent_grads = results(distribution, x[good], absent_context, torch.ones_like(good[good]))
    assert_same(spoiled[good], value[good], 0.0, "log_prob beside a bad row")
    assert_same(absent, value[good], tolerance, "log_prob without that row")
    for name, grad in grads.items():
        if name in ("x", "context"):
            if grad is not None:
                assert_same(spoiled_grads[name][good], grad[good], 0.0, f"gradient of {name}")
                assert bool((spoiled_grads[name][~good] == 0).all()), (
                    f"the bad row's own gradient in {name} is not zero"
                )
        else:
            assert_same(spoiled_grads[name], grad, 0.0, f"gradient of {name} beside a bad row")
            assert_same(absent_grads[name], grad, tolerance, f"gradient of {name} without that row")
    return spoiled[~good].item()


# --- what is measured ----------------------------------------------------------------------------------------------


def measured_once(distribution: Distribution, x: Tensor, context: Tensor | None) -> None:
    """`initialize` measures the data once: not again when called again, after loading, or in a copy.

    Takes a distribution that has not been measured yet.
    """

    def state(part: Distribution) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in part.state_dict().items()}

    def differences(part: Distribution, before: dict[str, Tensor]) -> list[str]:
        return [name for name, tensor in part.state_dict().items() if not torch.equal(tensor, before[name])]

    loaded = build(json.loads(json.dumps(distribution.config))).to(torch.float64)
    fresh = state(distribution)
    distribution.initialize(x, context)
    assert differences(distribution, fresh), "initialize changed nothing"
    measured = state(distribution)
    loaded.load_state_dict(measured)
    for part, what in ((distribution, "called again"), (loaded, "loaded"), (copy.deepcopy(distribution), "copied")):
        part.initialize(100 * x + 7, context)
        assert not differences(part, measured), f"measured a second time when {what}: {differences(part, measured)}"

"""Properties of distributions that take data: bad rows harm no other row, and data are measured once."""

from __future__ import annotations

import copy
import json

import torch
from torch import Tensor

from pushforward.core.config import build
from pushforward.core.distribution import Distribution
from pushforward.testing.bijections import require
from pushforward.testing.comparison import Tolerances

__all__ = ["bad_row_harms_nobody", "close_gradients", "measured_once"]

SAME: Tolerances = {torch.float64: 1e-12, torch.float32: 1e-3}
"""The same sum over another number of rows."""


def _results(
    distribution: Distribution, x: Tensor, context: Tensor | None, keep: Tensor
) -> tuple[Tensor, dict[str, Tensor | None]]:
    """log_prob of all rows, and the gradients of the sum over the rows in ``keep`` in weights, x and context."""
    x = x.clone().requires_grad_()
    context = None if context is None else context.clone().requires_grad_()
    log_prob = distribution.log_prob(x, context)
    leaves = [*distribution.parameters(), x, *([] if context is None else [context])]
    names = [name for name, _ in distribution.named_parameters()] + ["x", "context"]
    loss = log_prob[keep].sum()
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else [None] * len(leaves)
    return log_prob.detach(), dict(zip(names, gradients, strict=False))


def close_gradients(actual: Tensor | None, expected: Tensor | None, tolerance: float, what: str) -> None:
    """Assert that both are missing, or that both are finite and equal up to a share of the largest entry."""
    require((actual is None) == (expected is None), f"{what}: one of the two gradients is missing")
    if actual is not None and expected is not None:
        size = expected.abs().max().item() if expected.numel() else 0.0
        require(actual.isfinite().all(), f"{what} is not finite")
        torch.testing.assert_close(
            actual, expected, rtol=tolerance, atol=tolerance * (1 + size), msg=lambda m: f"{what}: {m}"
        )


def bad_row_harms_nobody(
    distribution: Distribution, x: Tensor, context: Tensor | None, spoiled_x: Tensor, spoiled_context: Tensor | None
) -> float:
    """Values and gradients of the good rows agree three ways: with the bad row left out of the loss, with it spoiled
    too (bit for bit), and with it absent (to rounding).

    Args:
        distribution: what is evaluated.
        x: good points, (n, features).
        context: their contexts.
        spoiled_x: x with one row spoiled, or x itself.
        spoiled_context: the context with one row spoiled, or the context itself.

    Returns:
        log_prob of the bad row.
    """
    good = (spoiled_x == x).all(-1)
    if context is not None and spoiled_context is not None:
        good = good & (spoiled_context == context).all(-1)
    tolerance = SAME[x.dtype] if next(distribution.parameters(), x).dtype == x.dtype else SAME[torch.float32]
    value, gradients = _results(distribution, x, context, good)
    spoiled, spoiled_gradients = _results(distribution, spoiled_x, spoiled_context, good)
    absent_context = None if context is None else context[good]
    absent, absent_gradients = _results(distribution, x[good], absent_context, torch.ones_like(good[good]))
    close_gradients(spoiled[good], value[good], 0.0, "log_prob beside a bad row")
    close_gradients(absent, value[good], tolerance, "log_prob without that row")
    for name, gradient in gradients.items():
        beside = spoiled_gradients[name]
        if name not in ("x", "context"):
            close_gradients(beside, gradient, 0.0, f"gradient of {name} beside a bad row")
            close_gradients(absent_gradients[name], gradient, tolerance, f"gradient of {name} without that row")
        elif gradient is not None and beside is not None:
            close_gradients(beside[good], gradient[good], 0.0, f"gradient of {name}")
            require((beside[~good] == 0).all(), f"the gradient of {name} in the bad row is not zero")
    return float(spoiled[~good])


def measured_once(distribution: Distribution, x: Tensor, context: Tensor | None = None) -> None:
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
    require(differences(distribution, fresh), "initialize changes nothing")
    measured = state(distribution)
    loaded.load_state_dict(measured)
    for part, what in ((distribution, "called again"), (loaded, "loaded"), (copy.deepcopy(distribution), "copied")):
        part.initialize(100 * x + 7, context)
        changed = differences(part, measured)
        require(not changed, f"measured a second time when {what}: {changed}")

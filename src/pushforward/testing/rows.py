"""Properties of distributions that take data: bad rows harm no other row, and data are measured once."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.core.config import build
from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow
from pushforward.testing.bijections import require
from pushforward.testing.comparison import Tolerances

__all__ = ["bad_row_harms_nobody", "close_gradients", "measured_once"]

SAME: Tolerances = {torch.float64: 1e-12, torch.float32: 1e-3}
"""Relative error of a sum that is taken over another number of rows."""


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


Rows = tuple[Tensor, Tensor | None]
"""Points and their contexts."""


def bad_row_harms_nobody(
    distribution: Distribution, x: Tensor, context: Tensor | None, spoiled: Sequence[Rows]
) -> list[float]:
    """Values and gradients of the good rows agree three ways: with the bad row left out of the loss, with it spoiled
    too (bit for bit), and with it absent (to rounding).

    Args:
        distribution: what is evaluated.
        x: good points, (n, features).
        context: their contexts.
        spoiled: points and contexts in which one row is spoiled, the same row in all.

    Returns:
        log_prob of the bad row in each of ``spoiled``.
    """
    good = _unchanged(x, context, *spoiled[0])
    tolerance = SAME[x.dtype] if next(distribution.parameters(), x).dtype == x.dtype else SAME[torch.float32]
    value, gradients = _results(distribution, x, context, good)
    absent_context = None if context is None else context[good]
    absent, absent_gradients = _results(distribution, x[good], absent_context, torch.ones_like(good[good]))
    close_gradients(absent, value[good], tolerance, "log_prob without that row")
    for name, gradient in gradients.items():
        if name not in ("x", "context"):
            close_gradients(absent_gradients[name], gradient, tolerance, f"gradient of {name} without that row")
    answers = []
    for spoiled_x, spoiled_context in spoiled:
        require(torch.equal(_unchanged(x, context, spoiled_x, spoiled_context), good), "spoil the same row every time")
        beside, beside_gradients = _results(distribution, spoiled_x, spoiled_context, good)
        close_gradients(beside[good], value[good], 0.0, "log_prob beside a bad row")
        for name, gradient in gradients.items():
            actual = beside_gradients[name]
            if name not in ("x", "context"):
                close_gradients(actual, gradient, 0.0, f"gradient of {name} beside a bad row")
            elif gradient is not None and actual is not None:
                close_gradients(actual[good], gradient[good], 0.0, f"gradient of {name}")
                require((actual[~good] == 0).all(), f"the gradient of {name} in the bad row is not zero")
        answers.append(float(beside[~good]))
    return answers


def _unchanged(x: Tensor, context: Tensor | None, spoiled_x: Tensor, spoiled_context: Tensor | None) -> Tensor:
    """Which rows are equal in both."""
    same = (spoiled_x == x).flatten(1).all(-1)
    return same if context is None or spoiled_context is None else same & (spoiled_context == context).all(-1)


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
        if isinstance(part, Flow):  # which spares its parts a second pass: they themselves measure once as well
            part.bijection.initialize(100 * x + 7, part._map_context(context), inverse=True)
        changed = differences(part, measured)
        require(not changed, f"measured a second time when {what}: {changed}")

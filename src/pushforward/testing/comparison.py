"""How properties compare numbers: tolerances by dtype, equality bit for bit, Jacobians by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pushforward.core.bijection import Bijection

__all__ = ["SHARP", "TOLERANCE", "close", "jacobian", "same"]

Tolerances = dict[torch.dtype, float]

TOLERANCE: Tolerances = {torch.float64: 1e-8, torch.float32: 1e-2}
"""For two computations of one quantity."""

SHARP: Tolerances = {torch.float64: 1e-9, torch.float32: 1e-3}
"""For the same arithmetic summed in another order."""


def close(
    actual: Tensor,
    expected: Tensor,
    what: str,
    tolerance: Tolerances = TOLERANCE,
    *,
    through: Bijection | None = None,
) -> None:
    """Assert equality within the tolerance of the coarsest dtype involved; NaN equals nothing.

    Args:
        actual: computed values.
        expected: what they should be, of the same shape.
        what: name of the quantity, which starts the message.
        tolerance: relative and absolute tolerance by dtype.
        through: a bijection that computed the values, whose dtypes count too, and but for `SHARP` its ``accuracy``.

    Raises:
        AssertionError: the values differ.
    """
    dtypes = {actual.dtype, expected.dtype, *((through.in_dtype, through.out_dtype) if through is not None else ())}
    limit = max(tolerance[dtype] for dtype in dtypes if dtype is not None)
    if through is not None and tolerance is not SHARP:
        limit = max(limit, through.accuracy)
    torch.testing.assert_close(
        actual.to(torch.float64), expected.to(torch.float64), rtol=limit, atol=limit, msg=lambda m: f"{what}: {m}"
    )


def same(actual: Iterable[Tensor], expected: Iterable[Tensor], what: str) -> None:
    """Assert that tensors are pairwise equal bit for bit, in value and dtype.

    Raises:
        AssertionError: a value or dtype differs.
    """
    for a, b in zip(actual, expected, strict=True):
        if a.dtype != b.dtype:
            raise AssertionError(f"{what}: {a.dtype} instead of {b.dtype}")
        if not torch.equal(a, b):
            raise AssertionError(f"{what}: the numbers differ")


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Jacobian matrices of a function that treats the rows of a batch independently.

    Args:
        function: maps (n, *in_shape) to (n, *out_shape).
        x: (n, *in_shape).

    Returns:
        (n, outputs, inputs), events flattened.
    """
    rows = torch.autograd.functional.jacobian(lambda t: function(t).flatten(1).sum(dim=0), x, vectorize=True)
    return rows.movedim(1, 0).flatten(2)  # (outputs, n, *in_shape) -> (n, outputs, inputs)

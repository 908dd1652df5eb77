"""Gauss-Legendre quadrature.

The rule is computed here, in Python floats, instead of taken from ``numpy.polynomial.legendre``: this floor needs torch
alone, and a model has the same nodes on every machine, while the eigenvalues by LAPACK that NumPy starts from differ
between processors in the last bits. `pushforward.testing.quadrature` integrates densities by rules of this kind.
"""

from __future__ import annotations

import math

__all__ = ["gauss_legendre"]

NEWTON_STEPS = 8


def gauss_legendre(count: int) -> tuple[list[float], list[float]]:
    """Nodes and weights of the Gauss-Legendre rule on [0, 1], exact for polynomials of degree 2 count - 1.

    The nodes are the roots of the Legendre polynomial, by Newton's method from Tricomi's approximation.

    Args:
        count: number of nodes.

    >>> nodes, weights = gauss_legendre(3)
    >>> round(sum(w * x**5 for x, w in zip(nodes, weights)), 15) == round(1 / 6, 15)
    True
    """
    nodes, weights = [], []
    for k in range(count):
        x = math.cos(math.pi * (k + 0.75) / (count + 0.5))
        for _ in range(NEWTON_STEPS):
            previous, value = 1.0, x  # the Legendre polynomials of degree n - 1 and n at x
            for n in range(2, count + 1):
                previous, value = value, ((2 * n - 1) * x * value - (n - 1) * previous) / n
            slope = count * (x * value - previous) / (x * x - 1)
            x -= value / slope
        nodes.append(0.5 * (1 + x))
        weights.append(1 / ((1 - x * x) * slope * slope))
    return nodes, weights

"""The quadrature rule against numpy's and against integrals known in closed form."""

import math

import numpy as np
import pytest

from pushforward.core.quadrature import gauss_legendre


@pytest.mark.parametrize("count", [1, 2, 3, 8, 16, 31, 64, 128])
def test_nodes_and_weights_are_those_of_numpy(count):
    nodes, weights = gauss_legendre(count)
    expected_nodes, expected_weights = np.polynomial.legendre.leggauss(count)
    np.testing.assert_allclose(sorted(nodes), 0.5 * (1 + expected_nodes), atol=1e-15)
    np.testing.assert_allclose(
        [w for _, w in sorted(zip(nodes, weights, strict=True))], 0.5 * expected_weights, atol=1e-14
    )


@pytest.mark.parametrize("count", [1, 2, 5, 16, 64])
def test_a_rule_is_exact_for_constants_and_polynomials_up_to_its_degree(count):
    nodes, weights = gauss_legendre(count)
    assert math.fsum(weights) == pytest.approx(1.0, abs=3e-16 * count)
    for degree in {1, count, 2 * count - 1}:
        integral = math.fsum(w * x**degree for x, w in zip(nodes, weights, strict=True))
        assert integral == pytest.approx(1 / (degree + 1), rel=1e-13)
    off = math.fsum(w * x ** (2 * count) for x, w in zip(nodes, weights, strict=True))
    if count <= 5:
        assert abs(off - 1 / (2 * count + 1)) > 1e-9  # not beyond

r"""Hermite functions: the basis functions of one variable from which triangular maps are built.

.. math:: \phi_0 = 1, \qquad \phi_1(x) = x, \qquad \phi_k(x) = h_{k-2}(x) - h_{k-2}(0), \qquad
   h_m(x) = \frac{3}{2} \frac{\mathrm{He}_m(x)}{\sqrt{m!}}\, e^{-x^2/4}

with the probabilists' Hermite polynomials He. All but :math:`\phi_0, \phi_1` are bounded and decay beyond a few units,
so that a map learned from standardised data is affine far from all data. The factor 3/2 gives them about the standard
deviation of :math:`\phi_1` under a standard normal. All but :math:`\phi_0` vanish at zero.

References:
    | On the representation and learning of monotone triangular transport maps (Baptista, Marzouk, Zahm, 2023),
      arXiv:2009.10303, §5
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["hermite_slopes", "hermite_values"]

SPREAD = 1.5


def _functions(x: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(h_m, h_m') at x for m = 0 .. count - 1, by h_{m+1} = (x h_m - √m h_{m-1}) / √(m + 1)."""
    before, value = torch.zeros_like(x), SPREAD * torch.exp(-0.25 * x * x)
    for m in range(count):
        yield value, math.sqrt(m) * before - 0.5 * x * value
        before, value = value, (x * value - math.sqrt(m) * before) / math.sqrt(m + 1)


def hermite_values(x: Tensor, degree: int) -> list[Tensor]:
    r""":math:`\phi_1(x), \dots, \phi_K(x)` for K = ``degree``, each of the shape of x."""
    at_zero = [value for value, _ in _functions(x.new_zeros(()), degree - 1)]
    return [x, *(value - zero for (value, _), zero in zip(_functions(x, degree - 1), at_zero, strict=True))][:degree]


def hermite_slopes(x: Tensor, degree: int) -> list[Tensor]:
    r""":math:`\phi_1'(x), \dots, \phi_K'(x)` for K = ``degree``, each of the shape of x."""
    return [torch.ones_like(x), *(slope for _, slope in _functions(x, degree - 1))][:degree]

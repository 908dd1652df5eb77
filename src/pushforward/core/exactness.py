"""How exact a log-determinant or a log-density is, and how it is named where it is printed."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

__all__ = ["Estimate", "Exactness", "least_exact", "qualified"]

Exactness = Literal["exact", "unbiased", "consistent", "bound"]
"""``"exact"``: the number itself. ``"unbiased"``: a random estimate whose expectation it is. ``"consistent"``: an
estimate that comes as near to it as its effort grows, with a bias until then, such as the logarithm of an unbiased
estimate. ``"bound"``: a lower bound on a log-density, or an estimate of such a bound."""

ORDER: tuple[Exactness, ...] = ("exact", "unbiased", "consistent", "bound")
QUALIFIERS: dict[Exactness, str] = {
    "exact": "",
    "unbiased": " (estimate)",
    "consistent": " (estimate)",
    "bound": " (lower bound)",
}


def least_exact(*kinds: Exactness) -> Exactness:
    """What a sum of such numbers is: one estimate makes the sum an estimate, one bound makes it a bound."""
    return max(kinds, key=ORDER.index, default="exact")


def qualified(name: str, exactness: Exactness) -> str:
    """The name of a printed log-density, with the kind of number in brackets.

    >>> qualified("log-likelihood", "exact"), qualified("log-likelihood", "bound")
    ('log-likelihood', 'log-likelihood (lower bound)')
    """
    return name + QUALIFIERS[exactness]


class Estimate(NamedTuple):
    """A number with its standard error: zero where the number is exact."""

    value: Tensor
    error: Tensor

"""Property tests for parts of your own: every property that the library's own parts are tested for, in one line.

>>> from pushforward.testing import check_bijection
>>> from pushforward.bijections import LU
>>> check_bijection(LU(3))

Nothing here needs a test framework. Under pytest, a class with ``examples`` takes one line as well::

    def test_my_bijection():
        check_bijection(MyBijection)
"""

from pushforward.testing.case import Case
from pushforward.testing.check import (
    bijection_properties,
    check_bijection,
    check_distribution,
    check_univariate,
    distribution_properties,
    failures,
    univariate_properties,
)
from pushforward.testing.random_parts import randomize

__all__ = [
    "Case",
    "bijection_properties",
    "check_bijection",
    "check_distribution",
    "check_univariate",
    "distribution_properties",
    "failures",
    "randomize",
    "univariate_properties",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

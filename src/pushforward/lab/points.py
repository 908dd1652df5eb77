"""The data that a flow is trained on: a named distribution whose entropy is known, or the points of a user."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.core.distribution import Distribution
from pushforward.distributions import targets
from pushforward.lab.arguments import LabError

__all__ = ["FEWEST", "MOST", "NAMED", "Named", "PlaneRows", "distribution", "rows_of_points", "rows_of_target"]

FEWEST, MOST = 20, 20_000
"""Points that a user may train on."""
TRAIN, HELD_OUT = 8_000, 2_000
"""Rows drawn from a named distribution."""
SHARE = 0.2
"""Of the points of a user that are held out."""
STEPS = 8
"""Between neighbouring float64 numbers; values of a smaller range count as one."""
LEAST = 1e-140
"""Standard deviation of which float64 still holds the square."""


@dataclass(frozen=True)
class Named:
    """A distribution of the list.

    Attributes:
        title: as shown to users.
        build: makes the distribution.
        entropy: in nats; that of `entropy_on_grid`, which takes up to four seconds, is written down here, and a test
            compares them.
    """

    title: str
    build: Callable[[], Distribution]
    entropy: float


NAMED: dict[str, Named] = {
    "moons": Named("Two moons", targets.moons, 1.11304),
    "two_spirals": Named("Two spirals", targets.two_spirals, 2.69439),
    "checkerboard": Named("Checkerboard", targets.checkerboard, math.log(18.0)),
    "rings": Named("Rings", targets.rings, 2.70998),
    "pinwheel": Named("Pinwheel", targets.pinwheel, 2.26437),
    "eight_gaussians": Named("Eight Gaussians", targets.eight_gaussians, 2.13843),
    "banana": Named("Banana", targets.banana, math.log(2 * math.pi * math.e)),
}


@dataclass(frozen=True, eq=False)
class PlaneRows:
    """What is learned from, (rows, 2) each, and the rows by which models are compared."""

    train: NDArray[np.float64]
    held_out: NDArray[np.float64]
    entropy: float | None
    """Of the true distribution in nats, where it is known: no model has a lower negative log-likelihood."""

    @property
    def scale(self) -> dict[str, Any]:
        """Mean and standard deviation of each variable, in the units of the points."""
        return {"mean": self.train.mean(axis=0).tolist(), "deviation": self.train.std(axis=0).tolist()}


@cache
def distribution(name: str) -> Distribution:
    """The distribution of this name; building one takes some milliseconds."""
    return NAMED[name].build().eval()


def rows_of_target(name: str, seed: int) -> PlaneRows:
    """Rows of a named distribution."""
    generator = torch.Generator().manual_seed(seed)
    rows = distribution(name).sample(TRAIN + HELD_OUT, generator=generator).double().numpy()
    return PlaneRows(rows[:TRAIN], rows[TRAIN:], NAMED[name].entropy)


def rows_of_points(points: NDArray[np.float64], seed: int) -> PlaneRows:
    """Points of a user, a fifth of which is held out.

    Raises:
        LabError: a variable has the same value in all points, or in all but a few, as far as float64 can tell.
    """
    order = np.random.default_rng(seed).permutation(len(points))
    count = max(4, round(SHARE * len(points)))
    rows = PlaneRows(points[order[count:]], points[order[:count]], None)
    for j, name in enumerate("xy"):
        values = rows.train[:, j]
        if not np.ptp(values) > STEPS * np.spacing(abs(values).max()):
            raise LabError(f"train.start: {name} has the same value in all points, so it has no density.")
        if not values.std() > LEAST:
            raise LabError(f"train.start: {name} varies by less than {LEAST:g}. Multiply it by a number.")
    return rows

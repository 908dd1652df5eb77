"""What a user chooses for a training, and the flow that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pushforward import flows
from pushforward.distributions import Flow
from pushforward.lab.arguments import Arguments, LabError
from pushforward.train.schedule import Decay

__all__ = ["FAMILIES", "UNIVARIATES", "SlowDecay", "TrainingOptions"]

FAMILIES = ("maf", "coupling", "planar")
UNIVARIATES = ("affine", "spline")
BINS = 8
SLOWEST = 0.01
"""Steps a second."""


@dataclass(frozen=True)
class SlowDecay(Decay):
    """A rise over 50 steps, then a slow fall: for runs that a user ends. Half of the rate is left after 6,000 steps."""

    def __call__(self, done: float, step: int) -> float:
        return min(1.0, (step + 1) / 50) / math.sqrt(1 + step / 2_000)


@dataclass(frozen=True)
class TrainingOptions:
    """What decides a training, besides the points.

    Attributes:
        family: ``"maf"`` (autoregressive layers), ``"coupling"`` or ``"planar"``.
        depth: number of layers.
        univariate: ``"affine"`` or ``"spline"`` (rational-quadratic); planar layers have none.
        hidden: width of both hidden layers of each network.
        learning_rate: the highest one of AdamW.
        seed: of the weights at the start, the points that are held out, and the order of the rows.
        steps_per_second: at most so many, to watch a training slowly; 0 for as many as the machine does.
    """

    family: str = "maf"
    depth: int = 4
    univariate: str = "spline"
    hidden: int = 32
    learning_rate: float = 5e-3
    seed: int = 0
    steps_per_second: float = 0.0

    @classmethod
    def read(cls, arguments: Arguments) -> TrainingOptions:
        """The options among the arguments of a call.

        Raises:
            LabError: one of them is of another type or out of range.
        """
        return cls(
            family=arguments.choice("family", FAMILIES, cls.family),
            depth=arguments.whole("depth", 1, 8, cls.depth),
            univariate=arguments.choice("univariate", UNIVARIATES, cls.univariate),
            hidden=arguments.whole("hidden", 8, 64, cls.hidden),
            learning_rate=arguments.number("learning_rate", 1e-6, 10.0, cls.learning_rate),
            seed=arguments.whole("seed", 0, 2**31 - 1, cls.seed),
            steps_per_second=_pace(arguments, cls.steps_per_second),
        )

    def build(self) -> Flow:
        """The flow, whose weights come from torch's global generator. Points are float64, so that those far from the
        origin keep their digits."""
        if self.family == "planar":
            return flows.planar(2, depth=self.depth, data_dtype="float64")
        hidden = (self.hidden, self.hidden)
        if self.univariate == "spline":
            return flows.nsf(
                2, layer="autoregressive" if self.family == "maf" else "coupling", bins=BINS, depth=self.depth,
                hidden=hidden, data_dtype="float64",
            )  # fmt: skip
        build = flows.maf if self.family == "maf" else flows.real_nvp
        return build(2, depth=self.depth, hidden=hidden, data_dtype="float64")


def _pace(arguments: Arguments, default: float) -> float:
    """Steps a second at most; 0 for as many as the machine does."""
    pace = arguments.number("steps_per_second", 0.0, 1e6, default)
    if 0 < pace < SLOWEST:
        raise LabError(f"{arguments.call}: steps_per_second must be 0 or at least {SLOWEST:g}; got {pace:g}.")
    return pace

"""Maps of the whole space onto boxes: intervals and half lines, feature by feature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.bijection import TriangularMap
from pushforward.core.checks import one_of
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain, Interval
from pushforward.core.entries import product
from pushforward.core.reference import log1mexp

__all__ = ["Bounds"]

HALF = ("softplus", "exp")


@configurable
class Bounds(TriangularMap):
    r"""Map every feature from the real line onto its interval, half line or line.

    .. math:: y = l + (h - l)\, \sigma(x), \qquad y = l + \log(1 + e^x), \qquad y = h - \log(1 + e^{-x})

    for an interval [l, h], a half line from l on and one up to h; a feature without bounds stays as it is. Densities
    are with respect to length (Lebesgue measure). Each direction costs one exponential per feature. Near an end y
    keeps few digits, and what rounding puts on the end itself is treated as its nearest neighbour inside.

    Args:
        low: lower end of each feature, None where there is none.
        high: upper end of each feature, None where there is none.
        half: the map onto half lines: ``"softplus"``, which is linear far out, or ``"exp"``, with
            :math:`y = l + e^x`.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: the two lists differ in length, a lower end does not lie below the upper one, or ``half`` has no
            such value.

    >>> import torch
    >>> Bounds([0.0, 0.0, None], [4.0, None, None], half="exp")(torch.zeros(3)).tolist()
    [2.0, 1.0, 0.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"low": [0.0, 1.0, None, None], "high": [2.0, None, 3.0, None]},
        {"low": [0.0, None], "high": [None, -1.0], "half": "exp"},
    )
    kind: Tensor
    start: Tensor
    length: Tensor

    def __init__(self, low: Sequence[float | None], high: Sequence[float | None], *, half: str = "softplus") -> None:
        super().__init__()
        one_of("Bounds", "half", half, HALF)
        pairs = [_ends(a, b) for a, b in zip(low, high, strict=False)]
        if not pairs or len(low) != len(high) or not all(a < b for a, b in pairs):
            raise ValueError(
                f"Bounds: low must lie below high, feature by feature, with None for no bound; got {low} and {high}."
            )
        self.in_shape = self.out_shape = (len(pairs),)
        self.is_exp = half == "exp"
        self.codomain: Domain = product(
            tuple(REAL if (a, b) == (-math.inf, math.inf) else Interval(a, b) for a, b in pairs)
        )
        finite = [(math.isfinite(a), math.isfinite(b)) for a, b in pairs]
        # 0: the line, 1: a half line upwards, 2: one downwards, 3: an interval.
        self.add_constant("kind", [a + 2 * b for a, b in finite], torch.int64)
        starts = [a if below else b if above else 0.0 for (a, b), (below, above) in zip(pairs, finite, strict=True)]
        self.add_constant("start", starts)
        self.add_constant("length", [b - a if all(f) else 1.0 for (a, b), f in zip(pairs, finite, strict=True)])

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        sign = torch.where(self.kind == 2, -1.0, 1.0).to(x.dtype)
        t = sign * x  # both half lines are the same map, seen from their end
        inside, log_inside = self.length * torch.sigmoid(x), F.logsigmoid(x) + F.logsigmoid(-x) + self.length.log()
        if self.is_exp:
            t = t.clamp(max=math.log(torch.finfo(x.dtype).max) - 2)
            away, log_away = t.exp(), t
        else:
            away, log_away = F.softplus(t, threshold=50.0), F.logsigmoid(t)
        y = torch.where(self.kind == 3, self.start + inside, self.start + sign * away)
        log_slope = torch.where(self.kind == 3, log_inside, log_away)
        line = self.kind == 0
        return torch.where(line, x, y), torch.where(line, 0.0, log_slope)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        sign = torch.where(self.kind == 2, -1.0, 1.0).to(y.dtype)
        eps, tiny = torch.finfo(y.dtype).eps, torch.finfo(y.dtype).tiny
        # What is not in use goes through its formula at a harmless point: no derivative there is infinite.
        share = torch.where(self.kind == 3, (y - self.start) / self.length, 0.5).clamp(tiny, 1 - eps / 2)
        distance = torch.where((self.kind == 1) | (self.kind == 2), sign * (y - self.start), 1.0).clamp(min=tiny)
        below, above = share.log(), torch.log1p(-share)
        if self.is_exp:
            t = distance.log()
            log_away = t
        else:
            log_away = log1mexp(distance)  # the log-slope of softplus at its preimage
            t = distance + log_away
        x = torch.where(self.kind == 3, below - above, sign * t)
        log_slope = torch.where(self.kind == 3, below + above + self.length.log(), log_away)
        line = self.kind == 0
        return torch.where(line, y, x), torch.where(line, 0.0, -log_slope)


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)

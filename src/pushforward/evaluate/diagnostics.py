"""Numerical self-checks of a model on real rows: round trip, log-determinant, and float32 against float64."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow
from pushforward.evaluate.arrays import Rows, check_paired, evaluation_mode, to_model

__all__ = ["PrecisionCheck", "precision_check"]

ROUND_TRIP_LIMIT = 1e-2  # standard deviations of a column
LADJ_LIMIT = 1e-4  # nats, in float64
FLOAT32_LIMIT = 1e-2  # nats a row, on average


@dataclass(frozen=True)
class PrecisionCheck:
    """The results of `precision_check`. An entry is None where the check does not apply to the model.

    Attributes:
        rows: number of rows checked.
        round_trip: largest error of a value after data → latent → data, in standard deviations of its column.
        jacobian_rows: number of rows whose Jacobian was computed by automatic differentiation.
        ladj: largest difference in nats between the model's log-determinant and that of this Jacobian, in float64.
        float32_mean: mean absolute difference in nats between log-densities in float32 and in float64.
        float32_max: the largest such difference.
    """

    rows: int
    round_trip: float | None
    jacobian_rows: int
    ladj: float | None
    float32_mean: float
    float32_max: float

    @property
    def problems(self) -> list[str]:
        """A sentence for every check that failed."""
        problems = []
        if self.round_trip is not None and not self.round_trip <= ROUND_TRIP_LIMIT:
            problems.append(
                f"the round trip data → latent → data is off by {_small(self.round_trip)} standard deviations, "
                "so samples and densities disagree"
            )
        if self.ladj is not None and not self.ladj <= LADJ_LIMIT:
            problems.append(
                f"the log-determinant is off by {_small(self.ladj)} nats from automatic differentiation, so "
                "the density is wrong"
            )
        if not self.float32_mean <= FLOAT32_LIMIT:
            problems.append(
                f"rounding in float32 changes log-densities by {_small(self.float32_mean)} nats per row, so the model "
                "should be scored in float64"
            )
        return problems

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.ok:
            return (
                "The density can be trusted: the model agrees with independent computations to within "
                f"{_small(max(self.float32_max, self.ladj or 0.0))} nats on every row checked."
            )
        return "The density cannot be trusted as it is: " + "; ".join(self.problems) + "."

    def lines(self) -> list[tuple[str, str]]:
        """Name and result of each check, for a table."""
        lines = []
        if self.round_trip is not None:
            check = f"largest round-trip error data → latent → data, {self.rows:,} rows"
            lines.append((check, f"{_small(self.round_trip)} standard deviations"))
        if self.ladj is not None:
            check = f"log-determinant against automatic differentiation, {self.jacobian_rows:,} rows"
            lines.append((check, f"{_small(self.ladj)} nats"))
        lines.append((f"float32 against float64, mean over {self.rows:,} rows", f"{_small(self.float32_mean)} nats"))
        lines.append(("float32 against float64, largest difference", f"{_small(self.float32_max)} nats"))
        return lines

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; non-finite numbers become null."""
        entries = dataclasses.asdict(self)
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entries.items()}
        return {**finite, "ok": self.ok, "verdict": self.verdict}


def precision_check(
    model: Distribution, x: Rows, context: Rows | None = None, *, rows: int = 256, jacobian_rows: int = 8
) -> PrecisionCheck:
    """Check a model against itself: round trip, log-determinant by automatic differentiation, float32 against float64.

    Rows are taken at equal steps from ``x``; those without a finite log-density are skipped. The Jacobian costs one
    pass per column and row and is computed in float64 on the CPU, so that it tests the formula and not rounding.

    Args:
        model: any distribution; only for a `Flow` there is more to check than the two precisions.
        x: (rows, *event_shape).
        context: (rows, *context_shape), for a conditional model.
        rows: largest number of rows to check.
        jacobian_rows: largest number of rows to differentiate.

    Raises:
        ValueError: none of these rows has a finite log-density.
    """
    check_paired("precision_check", x, context)
    chosen = np.unique(np.linspace(0, len(x) - 1, min(rows, len(x))).round().astype(np.int64))
    x, context = torch.as_tensor(x)[chosen], None if context is None else torch.as_tensor(context)[chosen]
    wide = copy.deepcopy(model).cpu().double()
    weights = next((p.dtype for p in model.parameters()), model.dtype)
    narrow = model if weights in (torch.float32, None) else copy.deepcopy(model).float()
    with torch.no_grad(), evaluation_mode(model), evaluation_mode(wide), evaluation_mode(narrow):
        # Both precisions score the same numbers: x rounded to the narrower dtype.
        narrow_x, narrow_context = to_model(narrow, x, context)
        x, context = to_model(wide, narrow_x, narrow_context)
        low = narrow.log_prob(narrow_x, narrow_context).cpu().double()
        high = wide.log_prob(x, context)
        usable = low.isfinite() & high.isfinite()
        count = int(usable.sum())
        if not count:
            raise ValueError("precision_check: no row has a finite log-density, so there is nothing to compare.")
        x, context = x[usable], None if context is None else context[usable]
        usable_there = usable.to(narrow_x.device)
        narrow_x = narrow_x[usable_there]
        narrow_context = None if narrow_context is None else narrow_context[usable_there]
        difference = (low - high)[usable].abs()
        round_trip = _round_trip(narrow, narrow_x, narrow_context) if isinstance(narrow, Flow) else None
        ladj = None
        differentiated = max(0, min(jacobian_rows, count))
        if isinstance(wide, Flow) and differentiated and _has_jacobian(wide):
            ladj = max(_ladj_error(wide, x[i], None if context is None else context[i]) for i in range(differentiated))
    return PrecisionCheck(
        rows=count,
        round_trip=round_trip,
        jacobian_rows=0 if ladj is None else differentiated,
        ladj=ladj,
        float32_mean=float(difference.mean()),
        float32_max=float(difference.max()),
    )


def _round_trip(flow: Flow, x: Tensor, context: Tensor | None) -> float | None:
    """Largest error of data → latent → data in standard deviations of the column; None without both directions."""
    if (
        "none" in {flow.bijection.forward_kind, flow.bijection.inverse_kind}
        or "round_trip" not in flow.bijection.properties
    ):
        return None
    restored = flow.to_data(flow.to_latent(x, context), context).double()
    spread = x.double().std(dim=0, correction=0)
    size = x.double().abs().amax(dim=0)
    scale = torch.where(spread > 0, spread, torch.where(size > 0, size, 1.0))
    return float(((restored - x.double()).abs() / scale).max())


def _has_jacobian(flow: Flow) -> bool:
    sizes = {math.prod(flow.bijection.in_shape), math.prod(flow.bijection.out_shape)}
    return "jacobian" in flow.bijection.properties and flow.bijection.inverse_kind != "none" and len(sizes) == 1


def _ladj_error(flow: Flow, x: Tensor, context: Tensor | None) -> float:
    """Difference in nats between the log-determinant of the flow at one row and that of its autodiff Jacobian."""
    features = context if flow.context_map is None or context is None else flow.context_map(context)
    if flow.bijection.context_shape is None:
        features = None
    _, ladj = flow.bijection.inverse_and_ladj(x, features)
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(lambda row: flow.bijection.inverse(row, features), x)
    size = math.prod(flow.event_shape)
    error = abs(float(ladj) - float(torch.linalg.slogdet(jacobian.reshape(size, size)).logabsdet))
    return error if math.isfinite(error) else math.inf


def _small(value: float) -> str:
    """A small error as text, to two significant digits.

    >>> _small(0.0), _small(0.0123), _small(3.21e-7), _small(float("nan"))
    ('0', '0.012', '3.2e−7', 'nan')
    """
    if value == 0:
        return "0"
    text = f"{value:.1e}" if value < 1e-3 else f"{value:.2g}"
    return text.replace("e-0", "e-").replace("-", "−")

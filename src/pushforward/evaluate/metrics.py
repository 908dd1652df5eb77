"""How well a model fits rows that it has not seen, beside what simple models reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Exactness
from pushforward.evaluate.arrays import Floats, Rows, log_prob_in_batches

__all__ = ["TITLES", "BaselineScore", "Evaluation", "Scorer", "evaluate", "mean_and_error", "signed", "with_error"]

TITLES = {"gaussian": "Gaussian", "gmm": "Gaussian mixture", "alone": "columns by themselves"}


class Scorer(Protocol):
    """What is compared with a model, such as `Baseline`: anything that gives rows log-densities."""

    @property
    def components(self) -> int: ...
    @property
    def note(self) -> str: ...
    def log_prob(self, x: Rows, context: Rows | None = None) -> Floats: ...


@dataclass(frozen=True)
class BaselineScore:
    """A baseline on the same rows, and how far the model is ahead of it.

    Attributes:
        log_likelihood: mean log-density in nats a row.
        standard_error: its standard error.
        difference: mean of (model - baseline) in nats a row; positive where the model is better.
        difference_error: standard error of that mean. Row by row, what is hard for both cancels, so it is smaller
            than the two standard errors suggest.
        components: number of Gaussians in the baseline, 0 where there are none.
        note: a sentence where the baseline had to be made regular; empty otherwise.
    """

    log_likelihood: float
    standard_error: float
    difference: float
    difference_error: float
    components: int = 1
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        keys = ("log_likelihood", "standard_error", "difference", "difference_error")
        found = {key: _jsonable(getattr(self, key)) for key in keys}
        return {**found, "components": self.components, **({"note": self.note} if self.note else {})}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The fit of a model on held-out rows.

    Means are over *all* rows: one row to which the model gives no density (``-inf``) makes the mean ``-inf``. The
    mean over the rest is kept apart in ``log_likelihood_inside``, and ``outside`` and ``undefined`` say how many rows
    that leaves out.

    Attributes:
        rows: number of rows.
        outside: rows of density zero: outside the support, or infinite themselves.
        undefined: rows without a number for an answer, such as rows that hold NaN.
        log_likelihood: mean log-density in nats a row.
        standard_error: its standard error.
        log_likelihood_inside: mean log-density of the rows that are neither outside nor undefined.
        bits_per_dimension: -log_likelihood in bits, divided by the number of columns. It depends on the units of the
            columns, as every density does.
        baselines: the same rows under simple models, by name.
        log_densities: one log-density per row, for ``"model"`` and for every baseline.
        exactness: whether the model's numbers are log-densities, unbiased estimates of them, or lower bounds.
    """

    rows: int
    outside: int
    undefined: int
    log_likelihood: float
    standard_error: float
    log_likelihood_inside: float
    bits_per_dimension: float
    baselines: dict[str, BaselineScore]
    log_densities: dict[str, Floats] = field(repr=False)
    exactness: Exactness = "exact"

    def to_dict(self) -> dict[str, Any]:
        """As JSON; what is not finite becomes null, and ``outside`` and ``undefined`` say why."""
        return {
            "rows": self.rows,
            "outside": self.outside,
            "undefined": self.undefined,
            "log_likelihood": _jsonable(self.log_likelihood),
            "standard_error": _jsonable(self.standard_error),
            "log_likelihood_inside": _jsonable(self.log_likelihood_inside),
            "bits_per_dimension": _jsonable(self.bits_per_dimension),
            "exactness": self.exactness,
            "baselines": {name: score.to_dict() for name, score in self.baselines.items()},
        }

    def sentences(self) -> list[str]:
        """What the numbers mean, in plain words."""
        found = []
        if left_out := self.outside + self.undefined:
            found.append(
                f"{left_out:,} of {self.rows:,} rows have no finite log-density under the model ({self.outside:,} of "
                f"density zero, {self.undefined:,} undefined), so their mean is not finite either; the mean of the "
                f"others is {signed(self.log_likelihood_inside)} nats."
            )
        for name, score in self.baselines.items():
            found.append(_compare(TITLES.get(name, name), score))
        return found


def evaluate(
    model: Distribution,
    x: Rows,
    context: Rows | None = None,
    *,
    baselines: Mapping[str, Scorer] | None = None,
    batch_size: int = 8192,
) -> Evaluation:
    """The mean log-likelihood of held-out rows, with standard errors, beside simple models.

    Args:
        model: any distribution.
        x: (rows, *event_shape), in the units that the model was trained on.
        context: (rows, *context_shape), for a conditional model.
        baselines: simple models fitted on the *training* rows, as from `fit_baselines`.
        batch_size: rows scored at a time.

    Raises:
        ValueError: there are no rows, or shapes do not fit.

    >>> from pushforward.distributions import StandardNormal
    >>> evaluate(StandardNormal(1), np.array([[-1.0], [1.0]])).log_likelihood
    -1.4189385175704956
    """
    own = log_prob_in_batches(model, x, context, batch_size=batch_size)
    columns = max(1, math.prod(model.event_shape))
    densities, scores = {"model": own}, {}
    for name, baseline in (baselines or {}).items():
        densities[name] = theirs = baseline.log_prob(x, context)
        mean, error = mean_and_error(theirs)
        with np.errstate(invalid="ignore"):  # -inf for both: no difference can be stated
            difference, difference_error = mean_and_error(own - theirs)
        scores[name] = BaselineScore(mean, error, difference, difference_error, baseline.components, baseline.note)
    mean, error = mean_and_error(own)
    finite = np.isfinite(own)
    return Evaluation(
        rows=len(own),
        outside=int(np.isneginf(own).sum()),
        undefined=int((np.isnan(own) | np.isposinf(own)).sum()),
        log_likelihood=mean,
        standard_error=error,
        log_likelihood_inside=float(own[finite].mean()) if finite.any() else math.nan,
        bits_per_dimension=-mean / (columns * math.log(2)),
        baselines=scores,
        log_densities=densities,
        exactness=model.exactness,
    )


def mean_and_error(values: Floats) -> tuple[float, float]:
    """Mean and its standard error; the latter is NaN for one row and for values that are not finite."""
    with np.errstate(invalid="ignore"):
        mean = float(values.mean())
    if len(values) < 2 or not math.isfinite(mean):
        return mean, math.nan
    return mean, float(values.std(ddof=1)) / math.sqrt(len(values))


def signed(value: float, digits: int = 3) -> str:
    """A number to be read, with a true minus sign.

    >>> signed(-1.23456), signed(float("-inf")), signed(2.0, 1)
    ('−1.235', '−∞', '2.0')
    """
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.{digits}f}".replace("-", "−")


def with_error(value: float, error: float) -> str:
    """A mean with its standard error, both to the digits that the error leaves meaning.

    >>> with_error(-7.74213, 0.02412), with_error(1.5, float("nan"))
    ('−7.742 ± 0.024', '1.500')
    """
    if not math.isfinite(error) or error <= 0:
        return signed(value)
    digits = min(6, max(1, 1 - math.floor(math.log10(error))))
    return f"{signed(value, digits)} ± {error:.{digits}f}"


def _compare(title: str, score: BaselineScore) -> str:
    gap, error = score.difference, score.difference_error
    if not math.isfinite(gap):
        return f"The difference to the {title} cannot be stated: some rows have no finite log-density."
    amount = f"{with_error(abs(gap), error)} nats a row"
    if math.isfinite(error) and abs(gap) <= 2 * error:
        return f"The model and the {title} cannot be told apart on these rows: they differ by {amount}."
    times = _times(abs(gap))
    if gap > 0:
        return f"The model is better than the {title} by {amount}: a typical row is {times} as likely under it."
    return f"The model is worse than the {title} by {amount}: a typical row is {times} as likely under the {title}."


def _times(nats: float) -> str:
    """exp(nats) in words of ordinary size."""
    if nats > 13.8:
        return f"more than a million times (e to the {nats:,.0f})"
    factor = math.exp(nats)
    return f"{factor:,.0f} times" if factor >= 10 else f"{factor:.3g} times"


def _jsonable(value: float) -> float | None:
    return value if math.isfinite(value) else None

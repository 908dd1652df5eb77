"""Held-out log-likelihood of a model with standard errors, compared row by row with baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Exactness
from pushforward.evaluate.arrays import Floats, Rows, log_prob_in_batches

__all__ = [
    "TITLES",
    "BaselineScore",
    "Evaluation",
    "Scorer",
    "evaluate",
    "mean_and_error",
    "signed",
    "times",
    "with_error",
]

TITLES = {
    "independent": "independent columns",
    "tree": "tree of pairs",
    "gaussian": "Gaussian",
    "gmm": "Gaussian mixture",
}


class Scorer(Protocol):
    """A baseline: anything that gives rows log-densities, such as `Baseline`."""

    @property
    def components(self) -> int: ...
    @property
    def note(self) -> str: ...
    def log_prob(self, x: Rows, context: Rows | None = None) -> Floats: ...


@dataclass(frozen=True)
class BaselineScore:
    """The log-likelihood of a baseline on the same rows, and the advantage of the model over it.

    Attributes:
        log_likelihood: mean log-density in nats per row.
        standard_error: its standard error.
        difference: mean of (model - baseline) in nats per row; positive where the model is better.
        difference_error: standard error of that mean. The differences are paired: a row that is hard for both models
            cancels, so this is smaller than the two standard errors suggest.
        components: number of mixture components of the baseline, 0 where it is no mixture.
        note: a sentence if the covariance had to be regularised; empty otherwise.
        outside: rows without a finite log-density under the baseline.
        compared: rows with a finite log-density under both.
        log_likelihood_inside: mean log-density under the baseline of the rows that are compared.
        difference_inside, difference_inside_error: the difference over the rows that are compared.
    """

    log_likelihood: float
    standard_error: float
    difference: float
    difference_error: float
    components: int = 1
    note: str = ""
    outside: int = 0
    compared: int = 0
    log_likelihood_inside: float = math.nan
    difference_inside: float = math.nan
    difference_inside_error: float = math.nan

    @classmethod
    def of(cls, model: Floats, baseline: Floats, components: int = 1, note: str = "") -> BaselineScore:
        """From the log-densities of the same rows under both, (rows,)."""
        with np.errstate(invalid="ignore"):  # -inf under both: the difference is undefined
            difference = model - baseline
        both = np.isfinite(model) & np.isfinite(baseline)
        inside = mean_and_error(difference[both]) if both.any() else (math.nan, math.nan)
        return cls(
            *mean_and_error(baseline), *mean_and_error(difference), components, note,
            int((~np.isfinite(baseline)).sum()), int(both.sum()),
            float(baseline[both].mean()) if both.any() else math.nan, *inside,
        )  # fmt: skip

    @property
    def shown(self) -> tuple[str, str]:
        """The log-likelihood and the advantage of the model, as text; where the latter is not finite, that over the
        rows that are compared."""
        mean = with_error(self.log_likelihood, self.standard_error)
        if math.isfinite(self.difference) or not self.compared:
            return mean, with_error(self.difference, self.difference_error)
        ahead = with_error(self.difference_inside, self.difference_inside_error)
        return mean, f"{ahead} on {self.compared:,} rows"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; non-finite numbers become null."""
        keys = ["log_likelihood", "standard_error", "difference", "difference_error"]
        counts = {}
        if not math.isfinite(self.difference):  # on which rows the two can be compared
            keys += ["log_likelihood_inside", "difference_inside", "difference_inside_error"]
            counts = {"outside": self.outside, "compared": self.compared}
        numbers = {key: _jsonable(getattr(self, key)) for key in keys}
        return {**numbers, **counts, "components": self.components, **({"note": self.note} if self.note else {})}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The log-likelihood of a model on held-out rows.

    Means are over *all* rows: a single row of density zero (log-density ``-inf``) makes the mean ``-inf``. The mean
    over the rows with a finite log-density is ``log_likelihood_inside``; ``outside`` and ``undefined`` count the other
    rows.

    Attributes:
        rows: number of rows.
        outside: rows of density zero: outside the support of the model, or infinite themselves.
        undefined: rows whose log-density is no number, such as rows that hold NaN.
        log_likelihood: mean log-density in nats per row.
        standard_error: its standard error.
        log_likelihood_inside: mean log-density of the rows that are neither outside nor undefined.
        bits_per_dimension: -log_likelihood in bits, divided by the number of columns. Like every density it depends on
            the units of the columns.
        baselines: scores of the baselines on the same rows, by name.
        log_densities: the log-density of each row, under ``"model"`` and under every baseline.
        exactness: whether the model's numbers are log-densities, estimates of them, or lower bounds.
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
        """A JSON-able description; non-finite numbers become null, which ``outside`` and ``undefined`` explain."""
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
        """The meaning of the numbers in plain English, one sentence per statement."""
        sentences = []
        if excluded := self.outside + self.undefined:
            sentences.append(
                f"{excluded:,} of {self.rows:,} rows have no finite log-density under the model ({self.outside:,} of "
                f"density zero, {self.undefined:,} undefined), so the mean is not finite either; the mean over the "
                f"other rows is {signed(self.log_likelihood_inside)} nats."
            )
        return sentences + [_compare(TITLES.get(name, name), score) for name, score in self.baselines.items()]


def evaluate(
    model: Distribution,
    x: Rows,
    context: Rows | None = None,
    *,
    baselines: Mapping[str, Scorer] | None = None,
    batch_size: int = 8192,
) -> Evaluation:
    """The mean log-likelihood of held-out rows with its standard error, compared with baselines.

    Args:
        model: any distribution.
        x: (rows, *event_shape), in the units that the model was trained on.
        context: (rows, *context_shape), for a conditional model.
        baselines: simple models fitted to the *training* rows, as from `fit_baselines`.
        batch_size: rows scored at a time.

    Raises:
        ValueError: there are no rows, or shapes do not fit the model.

    >>> from pushforward.distributions import StandardNormal
    >>> evaluate(StandardNormal(1), np.array([[-1.0], [1.0]])).log_likelihood
    -1.4189385175704956
    """
    model_log_prob = log_prob_in_batches(model, x, context, batch_size=batch_size)
    columns = max(1, math.prod(model.event_shape))
    densities, scores = {"model": model_log_prob}, {}
    for name, baseline in (baselines or {}).items():
        densities[name] = baseline_log_prob = baseline.log_prob(x, context)
        scores[name] = BaselineScore.of(model_log_prob, baseline_log_prob, baseline.components, baseline.note)
    mean, error = mean_and_error(model_log_prob)
    finite = np.isfinite(model_log_prob)
    return Evaluation(
        rows=len(model_log_prob),
        outside=int(np.isneginf(model_log_prob).sum()),
        undefined=int((np.isnan(model_log_prob) | np.isposinf(model_log_prob)).sum()),
        log_likelihood=mean,
        standard_error=error,
        log_likelihood_inside=float(model_log_prob[finite].mean()) if finite.any() else math.nan,
        bits_per_dimension=-mean / (columns * math.log(2)),
        baselines=scores,
        log_densities=densities,
        exactness=model.exactness,
    )


def mean_and_error(values: Floats) -> tuple[float, float]:
    """Mean and its standard error; the latter is NaN for a single value and where the mean is not finite."""
    with np.errstate(invalid="ignore"):
        mean = float(values.mean())
    if len(values) < 2 or not math.isfinite(mean):
        return mean, math.nan
    return mean, float(values.std(ddof=1)) / math.sqrt(len(values))


def signed(value: float, digits: int = 3) -> str:
    """A number as text, with a typographic minus sign.

    >>> signed(-1.23456), signed(float("-inf")), signed(2.0, 1)
    ('−1.235', '−∞', '2.0')
    """
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.{digits}f}".replace("-", "−")


def with_error(value: float, error: float) -> str:
    """A mean with its standard error, both rounded to two significant digits of the error.

    >>> with_error(-7.74213, 0.02412), with_error(1.5, float("nan"))
    ('−7.742 ± 0.024', '1.500')
    """
    if not math.isfinite(error) or error <= 0:
        return signed(value)
    digits = min(6, max(1, 1 - math.floor(math.log10(error))))
    return f"{signed(value, digits)} ± {error:.{digits}f}"


def _compare(title: str, score: BaselineScore) -> str:
    difference, error, rows = score.difference, score.difference_error, "these rows"
    if not math.isfinite(difference):
        if not score.compared:
            return f"The model cannot be compared with the {title}: no row has a finite log-density under both."
        difference, error = score.difference_inside, score.difference_inside_error
        rows = f"the {score.compared:,} rows with a finite log-density under both"
        if score.outside:
            rows += f" ({score.outside:,} {'has' if score.outside == 1 else 'have'} none under the {title})"
    amount = f"{with_error(abs(difference), error)} nats per row"
    if math.isfinite(error) and abs(difference) <= 2 * error:
        return f"The model and the {title} cannot be told apart on {rows}: they differ by {amount}."
    amount += "" if rows == "these rows" else f" on {rows}"
    ratio = times(abs(difference))
    if difference > 0:
        return f"The model is better than the {title} by {amount}: a typical row is {ratio} as likely under the model."
    return f"The model is worse than the {title} by {amount}: a typical row is {ratio} as likely under the {title}."


def times(nats: float) -> str:
    """The likelihood ratio exp(nats), as text."""
    if nats > 13.8:
        return f"more than a million times (e to the {nats:,.0f})"
    ratio = math.exp(nats)
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.3g} times"


def _jsonable(value: float) -> float | None:
    return value if math.isfinite(value) else None

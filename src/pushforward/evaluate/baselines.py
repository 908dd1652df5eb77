"""Baselines: simple models fitted to the training rows.

Every table has independent columns; complete tables of real numbers a Gaussian and a Gaussian mixture, and tables of
other types, or with missing entries, the best tree of pairs of columns.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from pushforward.distributions import ColumnType, Constant, Continuous, Inflated, Repeated
from pushforward.evaluate.arrays import Floats, Rows, as_rows
from pushforward.evaluate.tree_baseline import TreeBaseline

__all__ = ["AnyBaseline", "Baseline", "baselines_from_dict", "baselines_to_dict", "fit_baselines"]

AnyBaseline: TypeAlias = "Baseline | TreeBaseline"

COMPONENTS = (1, 2, 4, 8, 16, 32)
LOG_2PI = math.log(2 * math.pi)
RIDGE = 1e-10  # added to each standardised variance where columns are collinear
BATCH_SIZE = 65536  # rows scored at a time


@dataclass(frozen=True, eq=False)
class Baseline:
    r"""A Gaussian mixture over the joint of context c and x, conditioned on c.

    .. math:: p(x \mid c) = \sum_k w_k(c)\, p_k(x \mid c), \qquad w_k(c) \propto w_k\, p_k(c)

    With one component and a context this is linear regression with a full residual covariance; without a context it
    is an ordinary Gaussian or Gaussian mixture. Columns are standardised internally; densities are in the units of the
    rows.

    Attributes:
        weights: (components,), summing to one.
        means: (components, context + features), of the standardised columns, context first.
        factors: lower Cholesky factors of the covariances, (components, context + features, context + features).
            With the context first, one triangular solve gives the density of c and of x given c.
        shift: means of the training columns, which standardising subtracts, (context + features,).
        scale: their standard deviations, by which it divides.
        features: number of columns of x.
        rows: number of training rows.
        note: a sentence if the covariance had to be regularised; empty otherwise.
    """

    weights: Floats
    means: Floats
    factors: Floats
    shift: Floats
    scale: Floats
    features: int
    rows: int
    note: str = ""

    @property
    def components(self) -> int:
        return len(self.weights)

    @classmethod
    def gaussian(cls, x: Rows, context: Rows | None = None) -> Baseline:
        """The maximum-likelihood Gaussian, or the linear-Gaussian p(x | context), from all rows.

        Where columns are collinear, 1e-10 of each variance is added to the diagonal, and `note` says so if a column of
        x is concerned, whose density would be infinite.

        Raises:
            ValueError: rows are too few or not finite, or a column of x is constant.
        """
        rows, features = _joint("Baseline.gaussian", x, context)
        shift, scale = _standards("Baseline.gaussian", rows, features)
        standard = (rows - shift) / scale
        covariance = standard.T @ standard / len(rows)
        factor, note = _factor(covariance, features)
        mean = np.zeros((1, rows.shape[1]))
        return cls(np.ones(1), mean, factor[None], shift, scale, features, len(rows), note)

    @classmethod
    def mixture(
        cls,
        x: Rows,
        context: Rows | None = None,
        *,
        components: Sequence[int] = COMPONENTS,
        max_rows: int = 20_000,
        seed: int = 0,
    ) -> Baseline:
        """scikit-learn's full-covariance Gaussian mixture with the number of components chosen by BIC.

        For a conditional model the mixture is fitted to context and x together, and BIC is that of the joint.

        Args:
            x: (rows, features) training rows.
            context: (rows, context columns), one per row of x.
            components: numbers of components to try; those with fewer than two rows per column and component are
                skipped.
            max_rows: larger tables are subsampled to this number of rows.
            seed: of the subsample and of the initialisation.

        Raises:
            ValueError: as in `gaussian`.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        owner = "Baseline.mixture"
        rows, features = _joint(owner, x, context)
        if len(rows) > max_rows:
            chosen = np.random.default_rng(seed).choice(len(rows), max_rows, replace=False, shuffle=False)
            rows = rows[np.sort(chosen)]
        shift, scale = _standards(owner, rows, features)
        standard = (rows - shift) / scale
        candidates = [k for k in sorted(set(components)) if k == 1 or 2 * k * rows.shape[1] <= len(rows)]
        best: Any = None
        best_bic = math.inf
        for k in candidates or [1]:
            model = GaussianMixture(k, covariance_type="full", reg_covar=1e-6, max_iter=200, random_state=seed)
            with warnings.catch_warnings():
                # Repeated rows make k-means warn; EM stopped after 200 iterations is still a normalised density.
                warnings.simplefilter("ignore", ConvergenceWarning)
                bic = float(model.fit(standard).bic(standard))
            if best is None or bic < best_bic:
                best, best_bic = model, bic
        factors = np.linalg.cholesky(best.covariances_)
        weights = best.weights_ / best.weights_.sum()
        return cls(weights, best.means_, factors, shift, scale, features, len(rows))

    def log_prob(self, x: Rows, context: Rows | None = None) -> Floats:
        """log p(x | context) of every row, in nats and in the units of the training rows.

        Returns:
            (rows,): NaN where a row holds NaN, ``-inf`` where it holds ±Inf.

        Raises:
            ValueError: the number of columns is not that of the training rows.
        """
        values = as_rows("Baseline", "x", x)
        conditions = self.means.shape[1] - self.features  # columns of the context
        contexts = np.empty((len(values), 0)) if context is None else as_rows("Baseline", "context", context)
        if values.shape[1] != self.features or contexts.shape != (len(values), conditions):
            raise ValueError(
                f"Baseline: fitted on {self.features} columns of x and {conditions} of context; got x of shape "
                f"{values.shape} and context of shape {contexts.shape}."
            )
        log_prob = np.empty(len(values))
        for start in range(0, len(values), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            log_prob[batch] = self._log_prob(np.hstack([contexts[batch], values[batch]]))
        return log_prob

    def _log_prob(self, rows: Floats) -> Floats:
        conditions = rows.shape[1] - self.features
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # non-finite rows are dealt with below
            standard = (rows - self.shift) / self.scale
            context_terms, joint_terms = [], []  # log(w_k p_k(c)) and log(w_k p_k(c, x))
            for weight, mean, factor in zip(self.weights, self.means, self.factors, strict=True):
                z = solve_triangular(factor, (standard - mean).T, lower=True, check_finite=False).T
                terms = -0.5 * (z * z + LOG_2PI) - np.log(np.diagonal(factor))  # (rows, context + features)
                context_terms.append(np.log(weight) + terms[:, :conditions].sum(axis=1))
                joint_terms.append(context_terms[-1] + terms[:, conditions:].sum(axis=1))
            value = logsumexp(joint_terms, axis=0) - logsumexp(context_terms, axis=0)
            value = value - np.log(self.scale[conditions:]).sum()
        return np.where(np.isnan(rows).any(axis=1), np.nan, np.where(np.isnan(value), -np.inf, value))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description, from which `from_dict` restores the same densities bit for bit."""
        lower = np.tril_indices(self.means.shape[1])
        return {
            "features": self.features,
            "rows": self.rows,
            "note": self.note,
            "shift": self.shift.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "means": self.means.tolist(),
            "factors": [factor[lower].tolist() for factor in self.factors],
        }

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Baseline:
        """The inverse of `to_dict`.

        Raises:
            ValueError: an entry is missing or has the wrong length.
        """
        try:
            means = np.array(description["means"], dtype=np.float64)
            count, size = means.shape
            factors = np.zeros((count, size, size))
            rows, columns = np.tril_indices(size)
            factors[:, rows, columns] = np.array(description["factors"], dtype=np.float64).reshape(count, len(rows))
            parts = {key: np.array(description[key], dtype=np.float64) for key in ("weights", "shift", "scale")}
            features = int(description["features"])
            if parts["weights"].shape != (count,) or {parts["shift"].shape, parts["scale"].shape} != {(size,)}:
                raise ValueError("lengths differ")
            if not 1 <= features <= size:
                raise ValueError(f"features is {features} of {size} columns")
            note = str(description.get("note", ""))
            return cls(
                means=means, factors=factors, features=features, rows=int(description["rows"]), note=note, **parts
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Baseline: the stored description cannot be read ({error}).") from None


def fit_baselines(
    x: Rows,
    context: Rows | None = None,
    *,
    types: Sequence[ColumnType] | None = None,
    context_types: Sequence[ColumnType] | None = None,
    components: Sequence[int] = COMPONENTS,
    max_rows: int = 20_000,
    seed: int = 0,
) -> dict[str, AnyBaseline]:
    """The baselines for a table of this kind, all densities and probabilities in the sense of these column types.

    Args:
        x: (rows, features) training rows, NaN where an entry is missing.
        context: (rows, context columns), for a conditional model.
        types: of the columns, as the model sees them, `column_types`; by default real numbers with densities.
        context_types: of the columns of the context; by default real numbers.
        components: of the mixture, as in `Baseline.mixture`.
        max_rows: that the mixture is fitted to; the Gaussian is fitted to all.
        seed: of subsamples, and of the initialisation of the mixture.

    Returns:
        ``"independent"``; ``"gaussian"`` and ``"gmm"`` for complete columns of real numbers, and ``"tree"`` for others.

    Raises:
        ValueError: there are no rows, or x, context and types differ in their numbers of rows or columns.

    >>> x = np.random.default_rng(0).normal(size=(500, 1))
    >>> {name: baseline.components for name, baseline in fit_baselines(x).items()}
    {'independent': 0, 'gaussian': 1, 'gmm': 1}
    """
    rows = as_rows("fit_baselines", "x", x)
    contexts = np.empty((len(rows), 0)) if context is None else as_rows("fit_baselines", "context", context)
    types = types if types is not None else [Continuous() for _ in range(rows.shape[1])]
    context_types = context_types if context_types is not None else [Continuous() for _ in range(contexts.shape[1])]
    independent = TreeBaseline.independent(types, rows, context, context_types)
    real = all(t.is_density and not isinstance(t, Inflated | Repeated) for t in types)
    real &= not any(t.levels or isinstance(t, Constant) for t in context_types)
    varied = len(rows) > 1 and bool((rows != rows[:1]).any(axis=0).all())
    if real and varied and np.isfinite(rows).all() and np.isfinite(contexts).all():
        mixture = Baseline.mixture(rows, context, components=components, max_rows=max_rows, seed=seed)
        return {"independent": independent, "gaussian": Baseline.gaussian(rows, context), "gmm": mixture}
    tree = independent.with_edges(rows, context, seed=seed)
    return {"independent": independent, **({"tree": tree} if tree.edges else {})}


def baselines_to_dict(baselines: Mapping[str, AnyBaseline]) -> dict[str, Any]:
    """A JSON-able description of fitted baselines, to be stored in a model file."""
    return {name: baseline.to_dict() for name, baseline in baselines.items()}


def baselines_from_dict(descriptions: Mapping[str, Any]) -> dict[str, AnyBaseline]:
    """The inverse of `baselines_to_dict`."""
    kinds = {name: TreeBaseline if "columns" in stored else Baseline for name, stored in descriptions.items()}
    return {name: kinds[name].from_dict(stored) for name, stored in descriptions.items()}


def _joint(owner: str, x: Rows, context: Rows | None) -> tuple[Floats, int]:
    """Context and x side by side, and the number of columns of x."""
    values = as_rows(owner, "x", x)
    rows = values
    if context is not None:
        contexts = as_rows(owner, "context", context)
        if len(contexts) != len(values):
            raise ValueError(
                f"{owner}: x has {len(values)} rows but context has {len(contexts)}; give one row of context per row "
                "of x."
            )
        rows = np.hstack([contexts, values])
    if len(rows) < 2:
        raise ValueError(f"{owner}: a covariance needs at least 2 rows; got {len(rows)}.")
    if not np.isfinite(rows).all():
        first = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise ValueError(f"{owner}: row {first} holds NaN or ±Inf. Leave such rows out before fitting.")
    return rows, values.shape[1]


def _standards(owner: str, rows: Floats, features: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation of every column; 1 instead of 0 for a constant column of the context."""
    shift, scale = rows.mean(axis=0), rows.std(axis=0)
    constant = (rows == rows[:1]).all(axis=0) | ~(scale > 0)
    conditions = rows.shape[1] - features
    if constant[conditions:].any():
        column = int(np.flatnonzero(constant[conditions:])[0])
        raise ValueError(f"{owner}: column {column} of x is constant, so its density is infinite. Drop it.")
    return shift, np.where(constant, 1.0, scale)


def _factor(covariance: Floats, features: int) -> tuple[Floats, str]:
    """The Cholesky factor of a covariance of standardised columns, with a small ridge where it is (nearly) singular."""
    try:
        factor: Floats = np.linalg.cholesky(covariance).astype(np.float64)
        if np.diagonal(factor).min() ** 2 > RIDGE:
            return factor, ""
    except np.linalg.LinAlgError:
        pass
    factor = np.linalg.cholesky(covariance + RIDGE * np.eye(len(covariance))).astype(np.float64)
    conditions = len(covariance) - features
    residual = np.diagonal(factor)[conditions:] ** 2  # variance of each column of x given the columns before it
    if residual.min() > 10 * RIDGE:  # only the context is collinear, which changes no density of x
        return factor, ""
    column = int(np.argmax(residual <= 10 * RIDGE))
    what = "other columns" if conditions else "the columns before it"
    return factor, (
        f"Column {column} of x is a linear combination of {what}, so its Gaussian density is infinite; "
        f"{RIDGE:g} of each variance was added to keep it finite. Drop that column for a fair comparison."
    )

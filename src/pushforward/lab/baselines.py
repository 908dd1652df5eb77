"""What simpler models reach on the same points: a kernel density estimate and a mixture of Gaussians."""

from __future__ import annotations

import hashlib
import math
import threading

import numpy as np

from pushforward.core.threads import quiet
from pushforward.evaluate.baselines import Baseline
from pushforward.lab.points import PlaneRows

__all__ = ["baseline_likelihoods"]

ROWS, MIXTURE_ROWS = 1_000, 3_000
"""Rows that decide the bandwidth, and that a mixture is fitted to."""
BANDWIDTHS = np.geomspace(0.03, 1.0, 10)
"""In standard deviations of each variable."""
COMPONENTS = (1, 2, 4, 8, 16, 24)
KEPT = 32
"""Sets of rows whose baselines are remembered."""

_LOCK = threading.Lock()
_kept: dict[bytes, dict[str, float | None]] = {}


def baseline_likelihoods(rows: PlaneRows, seed: int) -> dict[str, float | None]:
    """Mean negative log-likelihood of the held-out points in nats, in their units: ``"kde"``, Gaussian kernels whose
    bandwidth is chosen by cross-validation, and ``"mixture"``, as many Gaussians as BIC chooses. None where it is not
    finite. They take a second or two; those of rows that any session has seen are remembered."""
    key = hashlib.sha256(rows.train.tobytes() + rows.held_out.tobytes()).digest()
    with _LOCK:  # also so that twenty tabs that begin with the same rows compute them once
        if key not in _kept:
            values = {"kde": _kernel_density(rows, seed), "mixture": _mixture(rows, seed)}
            _kept[key] = {name: value if math.isfinite(value) else None for name, value in values.items()}
            while len(_kept) > KEPT:
                del _kept[next(iter(_kept))]
        return _kept[key]


def _kernel_density(rows: PlaneRows, seed: int) -> float:
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KernelDensity

    shift, scale = rows.train.mean(axis=0), rows.train.std(axis=0)
    train, held_out = (rows.train - shift) / scale, (rows.held_out - shift) / scale
    some = np.random.default_rng(seed).permutation(train)[:ROWS]
    search = GridSearchCV(KernelDensity(), {"bandwidth": BANDWIDTHS}, cv=min(5, len(some)), refit=False)
    with quiet():  # a fold of one repeated point has no likelihood; others decide then
        bandwidth = search.fit(some).best_params_["bandwidth"]
    # The best bandwidth of n points in the plane shrinks as n^(-1/6); the search saw four fifths of some of them.
    seen = 0.8 * len(some) if len(some) < len(train) else len(some)
    model = KernelDensity(bandwidth=bandwidth * (seen / len(train)) ** (1 / 6)).fit(train)
    return float(np.log(scale).sum() - model.score_samples(held_out).mean())


def _mixture(rows: PlaneRows, seed: int) -> float:
    with quiet():
        model = Baseline.mixture(rows.train, components=COMPONENTS, max_rows=MIXTURE_ROWS, seed=seed)
    return float(-model.log_prob(rows.held_out).mean())

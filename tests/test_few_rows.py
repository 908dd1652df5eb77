"""Tables of a few rows: what is learned from them is no worse than closed forms, and shares of categories are those of
the rows."""

import numpy as np
import pandas as pd
import pytest

from pushforward.estimators import FlowDensity, FlowRegressor


def covariance_analysis(rows, values=3, noise_columns=0):
    """y of a category with so many values and a number, with columns that say nothing."""
    draw = np.random.default_rng(0)
    group, x = draw.integers(values, size=rows), draw.normal(size=rows)
    y = 2.0 * group + x + 0.3 * draw.normal(size=rows)
    frame = {"group": [f"g{k}" for k in group], "x": x}
    frame |= {f"noise{k}": draw.normal(size=rows) for k in range(noise_columns)}
    return pd.DataFrame(frame), y


@pytest.mark.parametrize(("rows", "values", "noise_columns"), [(25, 3, 0), (100, 12, 0), (150, 3, 4)])
def test_categories_and_noise_columns_do_not_keep_a_regression_from_what_is_linear(rows, values, noise_columns):
    X, y = covariance_analysis(rows + 500, values, noise_columns)
    model = FlowRegressor(random_state=0).fit(X[:rows], y[:rows])
    assert model.score(X[rows:], y[rows:]) > 0.9
    covered = model.predict_interval(X[rows:], 0.9)
    inside = (covered[:, 0] <= y[rows:]) & (y[rows:] <= covered[:, 1])
    assert inside.mean() > 0.6


@pytest.mark.parametrize("values", [8, 9, 30])
def test_numbers_on_a_grid_are_numbers(values):
    draw = np.random.default_rng(0)
    a = draw.integers(0, values, 600) / values
    X, y = np.stack([a, draw.normal(size=600)], axis=1), 10 * a + 0.3 * draw.normal(size=600)
    model = FlowRegressor(random_state=0, steps=50).fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > 0.95


def test_a_category_by_itself_has_the_shares_of_all_rows_by_weight():
    draw = np.random.default_rng(0)
    group, weights = draw.choice(3, 300, p=[0.6, 0.3, 0.1]), draw.uniform(0.1, 1, 300)
    frame = pd.DataFrame({"group": [f"g{k}" for k in group], "x": group + draw.normal(size=300)})
    model = FlowDensity(random_state=0, steps=60).fit(frame, sample_weight=weights)
    shares = model.given({}).marginal("group").probabilities()
    exact = {f"g{k}": weights[group == k].sum() / weights.sum() for k in range(3)}
    assert shares == pytest.approx(exact, abs=0.01)


def test_tables_without_rows_have_no_predictions():
    X, y = covariance_analysis(30)
    model = FlowRegressor(random_state=0, steps=5).fit(X, y)
    assert model.predict(X[:0]).shape == model.predict_median(X[:0]).shape == (0,)


@pytest.mark.parametrize("features", [10, 41])
def test_intervals_of_few_rows_cover_what_they_say(features):
    """What is linear is known from the start, with its errors; a network of 90 rows adds nothing to it."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1_100, features))
    y = X[:, :10] @ rng.normal(size=10) + 2 * rng.normal(size=1_100)
    model = FlowRegressor(random_state=1).fit(X[:100], y[:100])
    low, high = model.predict_interval(X[100:], 0.9).T
    assert 0.86 < ((y[100:] >= low) & (y[100:] <= high)).mean() < 0.95
    kept = "the start is kept" in model.history_.stopped
    assert kept == (model.history_.best_step == 0)
    assert kept or features > 10


def test_what_few_rows_can_teach_is_learned():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2))
    y = np.sin(2 * X[:, 0]) * 3 + 0.3 * rng.normal(size=600)
    model = FlowRegressor(random_state=0).fit(X[:300], y[:300])
    assert "the start is kept" not in model.history_.stopped
    assert model.score(X[300:], y[300:]) > 0.8

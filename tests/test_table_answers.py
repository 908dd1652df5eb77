"""What tables are answered with: tails that keep moments, codes that keep their values, rows that keep their names."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from cases import generator

from pushforward.data.schema import Schema
from pushforward.distributions import Circular, ColumnDistribution, HeavyTailed, Inflated, Integer, Ordinal, Positive
from pushforward.estimators import FlowConditional, FlowDensity, FlowRegressor

QUICK = {"steps": 60, "hidden": (16, 16), "random_state": 0}


def measured(column_type, values):
    """The distribution that a column starts from."""
    x = torch.as_tensor(values, dtype=torch.float64)[None]
    column_type = column_type.double()
    params = column_type.initialize(x, torch.ones_like(x, dtype=torch.bool))
    return ColumnDistribution(column_type, params[..., None], ())


# --- tails ---------------------------------------------------------------------------------------------------------

SKEWED = {
    "positive": (Positive(), lambda r: r.exponential(100, 2000)),
    "many magnitudes": (Positive(), lambda r: r.gamma(0.1, 50, 2000) + 1e-30),
    "both sides": (HeavyTailed(), lambda r: r.standard_t(2.5, 2000)),
    "counts": (Integer(0, skewed=True), lambda r: np.floor(r.exponential(30, 2000))),
}


@pytest.mark.parametrize("name", SKEWED)
def test_means_and_draws_are_those_of_the_data(name):
    """A log scale alone has power tails, whose mean is far from that of any data."""
    column_type, draw = SKEWED[name]
    values = draw(np.random.default_rng(1))
    distribution = measured(column_type, values)
    scale = np.abs(values).mean()
    drawn = distribution.sample(20_000, generator(2)).numpy()
    assert abs(distribution.mean().item() - values.mean()) < 0.2 * scale
    assert abs(drawn.mean() - values.mean()) < 0.25 * scale
    assert np.abs(drawn).max() < 20 * np.abs(values).max()


@pytest.mark.parametrize("name", SKEWED)
def test_probabilities_add_up_beyond_the_largest_number_too(name):
    column_type, draw = SKEWED[name]
    distribution = measured(column_type, draw(np.random.default_rng(1)))
    largest = float(np.abs(draw(np.random.default_rng(1))).max())
    if isinstance(column_type, Integer):
        k = torch.arange(0.0, 40 * largest, dtype=torch.float64)
        assert distribution.log_prob(k).exp().sum().item() == pytest.approx(1, abs=1e-6)
        return
    for low, high in ((0.4 * largest, 1.2 * largest), (1.5 * largest, 9 * largest)):
        x = torch.linspace(low, high, 200_001, dtype=torch.float64)
        density = distribution.log_prob(x).exp()
        area = torch.trapezoid(density, x).item()
        assert area == pytest.approx((distribution.cdf(high) - distribution.cdf(low)).item(), abs=1e-6)


def test_a_mean_moves_with_the_offset():
    distribution = measured(HeavyTailed(), 1e6 + np.random.default_rng(0).normal(size=500))
    assert distribution.mean().item() == pytest.approx(1e6, abs=0.2)


# --- codes and lattices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "levels", [np.arange(1, 11) / 2, np.array([1.0, 2.0]), np.array([0.62, 0.74, 0.79, 0.9, 0.98])]
)
def test_values_that_repeat_are_drawn_as_they_are(levels):
    r = np.random.default_rng(0)
    rating = r.choice(levels, 1000)
    model = FlowDensity(**QUICK).fit(pd.DataFrame({"rating": rating, "x": rating + r.normal(size=1000)}))
    assert np.isin(model.sample(1000)["rating"].to_numpy(), levels).mean() > 0.99
    between = pd.DataFrame({"rating": [(levels[-2] + levels[-1]) / 2], "x": [0.0]})
    if (levels % 1).any():  # between whole numbers there are none
        assert np.isfinite(model.score_samples(between)).all()
    with pytest.warns(UserWarning, match="cannot hold: 1 row has probability zero"):  # as so many values are at the top
        assert np.isneginf(model.score_samples(between.assign(rating=levels[-1] + 1))).all()


def test_smooth_counts_and_measurements_stay_smooth():
    r = np.random.default_rng(0)
    schema = Schema.infer(pd.DataFrame({"age": r.integers(18, 80, 400), "x": r.normal(size=400).round(2)}))
    assert not any(isinstance(field.column_type, Inflated) for field in schema.fields)


def test_ordered_categories_keep_their_order():
    levels = ["low", "medium", "high"]
    grades = pd.Categorical(np.random.default_rng(0).choice(levels, 60), categories=levels, ordered=True)
    for types in (None, {"grade": "ordinal"}):
        field = Schema.infer(pd.DataFrame({"grade": grades}), types).fields[0]
        assert isinstance(field.column_type, Ordinal)
        assert field.labels == tuple(levels)
    assert Schema.infer(pl.DataFrame({"g": pl.Series(levels, dtype=pl.Enum(levels[::-1]))})).fields[0].labels == (
        "high",
        "medium",
        "low",
    )


@pytest.mark.parametrize(("values", "low"), [(np.arange(1, 13), 1.0), (np.linspace(-180, 179.5, 50), -180.0)])
def test_a_circle_starts_where_its_values_do(values, low):
    field = Schema.infer(pd.DataFrame({"m": values}), {"m": Circular(12 if low == 1 else 360)}).fields[0]
    circle = field.column_type.inner if isinstance(field.column_type, Inflated) else field.column_type
    assert circle.low == low
    assert isinstance(field.column_type, Inflated) == (low == 1)


# --- weights -------------------------------------------------------------------------------------------------------


def test_weights_count_in_the_calibration_too():
    k = np.where(np.arange(1000) % 2 == 0, "a", "b")
    x = np.random.default_rng(0).normal(size=(1000, 1))
    model = FlowConditional(random_state=1, steps=150, hidden=(16, 16))
    model.fit(x, k, sample_weight=np.where(k == "b", 9.0, 1.0))
    assert np.exp(model.log_prob([[0.0]], ["b"]))[0] == pytest.approx(0.9, abs=0.04)


# --- rows keep their names, columns their types --------------------------------------------------------------------


def frame():
    r = np.random.default_rng(0)
    when = pd.date_range("2023-01-01", periods=90, tz="America/New_York")
    rows = pd.DataFrame({"t": when, "x": r.normal(size=90), "n": r.integers(0, 3, 90).astype("int32")})
    rows["flag"] = pd.array([True, False, pd.NA] * 30, dtype="boolean")
    rows["c"] = pd.Categorical(r.choice(["u", "v"], 90))
    rows["wait"] = pd.to_timedelta(r.integers(1, 9, 90), unit="h")
    return rows[rows.index % 2 == 1]


def test_imputed_rows_are_like_those_that_came_in():
    rows = frame()
    holes = rows.copy()
    holes.loc[holes.index[0], "x"] = np.nan
    model = FlowDensity(steps=5, hidden=(8,), random_state=0).fit(rows)
    for filled in (model.impute(holes), *model.impute(holes, n=1)):
        assert filled.index.equals(rows.index)
        assert list(filled.columns) == list(rows.columns)
        kept = [name for name in rows.columns if name != "flag"]
        assert (filled[kept].dtypes == rows[kept].dtypes).all()
        pd.testing.assert_frame_equal(filled[["t", "n", "c", "wait"]], rows[["t", "n", "c", "wait"]])
    drawn = model.sample(5)
    assert list(drawn.columns) == list(rows.columns)
    assert (drawn[kept].dtypes == rows[kept].dtypes).all()
    assert model.intervals(rows, "x").index.equals(rows.index)


def test_names_that_are_numbers_stay_numbers():
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=[7, 9])
    model = FlowDensity(steps=5, hidden=(8,), random_state=0).fit(rows)
    assert list(model.sample(2).columns) == list(model.impute(rows).columns) == [7, 9]
    assert list(model.given({7: 0.0}).sample(2).columns) == [9]
    with pytest.raises(ValueError, match="there is no column 8"):
        model.given({8: 1})


def test_predictions_of_a_series_are_a_series():
    rows = frame()
    model = FlowConditional(steps=5, hidden=(8,), random_state=0).fit(rows[["t", "c"]], rows["x"])
    for predicted in (model.predict(rows[["t", "c"]]), *model.sample(rows[["t", "c"]])):
        assert isinstance(predicted, pd.Series)
        assert predicted.index.equals(rows.index)
        assert predicted.name == "x"


def test_types_of_polars_and_pyarrow_come_back():
    rows = pl.DataFrame(
        {
            "t": pl.Series(["2020-01-01", "2020-01-03"] * 10).str.to_datetime().dt.replace_time_zone("Europe/Zurich"),
            "n": pl.Series([1, 2] * 10, dtype=pl.Int16),
            "c": pl.Series(["a", "b"] * 10, dtype=pl.Categorical),
        }
    )
    for table in (rows, rows.to_arrow()):
        schema = Schema.infer(table)
        again = schema.decode(schema.encode(table))
        assert pl.DataFrame(again).equals(rows)
    assert schema.decode(schema.encode(rows.to_arrow())).schema.field("n").type == "int16"


# --- gaps ----------------------------------------------------------------------------------------------------------


def test_a_gap_that_a_fixed_order_has_not_learned_is_refused():
    a = np.random.default_rng(0).normal(size=200)
    x = np.stack([a, a + 0.3 * np.random.default_rng(1).normal(size=200)], axis=1)
    model = FlowDensity(order="fixed", **QUICK).fit(x)
    for answer in (model.score_samples, model.impute):
        with pytest.raises(ValueError, match="column 0 is missing in a row where later columns are observed"):
            answer([[np.nan, 1.0]])
    assert np.isfinite(model.score_samples([[1.0, np.nan]])).all()
    x[::5, 0] = np.nan
    learned = FlowDensity(order="fixed", **QUICK).fit(x)
    assert np.isfinite(learned.score_samples([[np.nan, 1.0]])).all()
    with pytest.raises(ValueError, match="column 0 is missing"):
        learned.impute([[np.nan, 1.0]])


def test_intervals_are_wide_where_a_feature_is_missing():
    r = np.random.default_rng(0)
    x, q = r.normal(size=(1500, 2)), r.normal(size=(1000, 2))
    y, t = x.sum(axis=1) + 0.3 * r.normal(size=1500), q.sum(axis=1) + 0.3 * r.normal(size=1000)
    model = FlowRegressor(random_state=0, steps=300).fit(x, y)
    for column in (0, 1):
        gaps = q.copy()
        gaps[:, column] = np.nan
        low, high = model.predict_interval(gaps, 0.9).T
        assert 0.84 < ((low <= t) & (t <= high)).mean() < 0.96


# --- arguments and values that are out of range -----------------------------------------------------------------------


def test_numbers_outside_of_a_column_are_told():
    rows = pd.DataFrame({"flag": [0, 1] * 40, "x": np.random.default_rng(0).normal(size=80)})
    model = FlowDensity(steps=5, hidden=(8,), random_state=0).fit(rows)
    with pytest.warns(UserWarning, match=r"column 'flag' holds 2 in row 2, which Boolean cannot hold: 1 row has"):
        scores = model.score_samples(pd.DataFrame({"flag": [0, 2], "x": [0.0, 0.0]}))
    assert np.isneginf(scores).tolist() == [False, True]


def test_a_generator_of_numpy_is_a_random_state():
    x = np.random.default_rng(0).normal(size=(60, 2))
    draws = [
        FlowDensity(steps=5, hidden=(8,), random_state=np.random.default_rng(3)).fit(x).sample(3) for _ in range(2)
    ]
    assert np.array_equal(*draws)

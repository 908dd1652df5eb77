"""The distribution of y given X: scikit-learn's own checks, intervals that cover, outputs of all kinds."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_flow_density import NOT_KEPT

import pushforward as pf
from pushforward.data import TableError
from pushforward.estimators import FlowConditional, FlowRegressor

QUICK = {"steps": 120, "hidden": (16, 16), "random_state": 0}


@parametrize_with_checks([FlowRegressor(steps=8, hidden=(8,))], expected_failed_checks=lambda estimator: NOT_KEPT)
def test_scikit_learn(estimator, check, request):
    if check.func.__name__ == "check_regressors_train":  # asks for an R² above 1/2
        if check.keywords.get("readonly_memmap") and not request.config.getoption("--exhaustive"):
            pytest.skip("another check fits read-only rows; --exhaustive trains on them")
        estimator = clone(estimator).set_params(steps=150, lr=2e-2)  # the object is that of every check
    keeps(estimator, check)


# A regressor is a conditional distribution that also predicts.
@pytest.mark.exhaustive
@parametrize_with_checks([FlowConditional(steps=8, hidden=(8,))], expected_failed_checks=lambda estimator: NOT_KEPT)
def test_scikit_learn_without_predictions(estimator, check):
    keeps(estimator, check)


def keeps(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def waves(rows=600, seed=0):
    """Numbers whose spread grows with x, of a known distribution."""
    random = np.random.default_rng(seed)
    x = random.uniform(-2, 2, size=(rows, 2))
    return x, 3 * x[:, 0] + (0.2 + 0.4 * (x[:, 1] > 0)) * random.normal(size=rows)


@pytest.fixture(scope="module")
def fitted():
    return FlowRegressor(steps=500, hidden=(32, 32), lr=1e-2, random_state=0, calibration=0.25).fit(*waves(1600))


def test_answers_are_those_of_one_distribution(fitted):
    x, y = waves(400, seed=1)
    assert fitted.predict(x).shape == (400,)
    assert fitted.score(x, y) > 0.97
    levels = fitted.predict_quantiles(x, [0.1, 0.5, 0.9])
    assert (np.diff(levels, axis=1) > 0).all()
    np.testing.assert_allclose(levels[:, 1], fitted.predict_median(x))
    np.testing.assert_allclose(fitted.cdf(x, levels[:, 2]), 0.9, atol=1e-5)
    # The spread is that of the rows, so wide ones are wider and far values less likely.
    wide = levels[:, 2] - levels[:, 0]
    assert 1.5 < wide[x[:, 1] > 0.2].mean() / wide[x[:, 1] < -0.2].mean() < 4
    assert fitted.log_prob(x, y).mean() > fitted.log_prob(x, y + 1).mean() + 1
    assert FlowConditional.score(fitted, x, y) == pytest.approx(fitted.log_prob(x, y).mean())
    shortest = fitted.predict_interval(x, 0.8, shortest=True)
    assert (shortest[:, 1] - shortest[:, 0] <= wide + 1e-3).all()
    with pytest.raises(ValueError, match="probability must lie between 0 and 1; got 90"):
        fitted.predict_interval(x, 90)


def test_crps_is_the_integral_over_thresholds(fitted):
    x, y = waves(3, seed=2)
    t = np.linspace(-30, 30, 60_001)
    for row, value in zip(x, y, strict=True):
        below = fitted.cdf(np.broadcast_to(row, (len(t), 2)), t)
        expected = ((below - (t >= value)) ** 2).sum() * (t[1] - t[0])
        assert fitted.crps(row[None], [value])[0] == pytest.approx(expected, rel=0.02, abs=1e-3)


def test_calibrated_intervals_hold_their_probability_with_a_bad_model():
    x, y = waves(900)
    fresh, truth = waves(2000, seed=5)
    poor = {"steps": 1, "hidden": (4,), "random_state": 0}  # knows the spread of all of y, and nothing of x
    plain = FlowRegressor(types={"y0": pf.distributions.Continuous(pf.univariate.Affine())}, **poor)
    covered = {}
    for name, model in {"plain": plain, "calibrated": plain.set_params(calibration=0.3)}.items():
        low, high = model.fit(x, y).predict_interval(fresh, 0.8).T
        covered[name] = ((low <= truth) & (truth <= high)).mean()
    assert abs(covered["calibrated"] - 0.8) < 0.05
    assert np.isinf(FlowRegressor(calibration=0.01, **QUICK).fit(x, y).predict_interval(fresh[:1], 0.95)).all()


def test_rows_without_an_output_do_not_calibrate():
    x, y = waves(200)
    outputs = pd.DataFrame({"y": np.where(np.arange(200) % 3 == 0, np.nan, y), "z": x[:, 0]})
    model = FlowConditional(calibration=0.5, **QUICK).fit(x, outputs)
    assert 40 < len(model.scores_) < 90
    assert np.isfinite(model.scores_).all()
    assert np.isfinite(model.predict_interval(x, 0.9)).all()


def test_calibration_rows_are_not_learned_from():
    x, y = waves(200)
    model = FlowRegressor(calibration=0.5, **QUICK).fit(x, y)
    assert model.scores_.shape == (100, 1)
    assert (np.diff(model.scores_[:, 0]) >= 0).all()
    assert FlowRegressor(**QUICK).fit(x, y).scores_.shape == (0, 1)
    with pytest.raises(ValueError, match="calibration must be a share between 0 and 1, or None; got 2"):
        FlowRegressor(calibration=2).fit(x, y)


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pytest.param(pl.DataFrame, marks=pytest.mark.exhaustive)], ids=["pandas", "polars"]
)
def test_outputs_of_several_kinds(make):
    x, y = waves(300)
    table = make({"a": x[:, 0], "b": np.where(x[:, 1] > 0, "wide", "narrow")})
    outputs = make({"y": y, "sign": np.where(y > 0, "up", "down")})
    model = FlowConditional(**QUICK).fit(table, outputs)
    predicted = model.predict(table)
    assert type(predicted) is type(outputs)
    assert list(predicted.columns) == ["y", "sign"]
    assert (np.asarray(predicted["sign"]) == np.asarray(outputs["sign"])).mean() > 0.85
    drawn = model.sample(table[:5], 3, random_state=0)
    assert len(drawn) == 3
    assert drawn[0].shape == (5, 2)
    # The joint density of both outputs.
    assert model.log_prob(table, drawn_from := model.sample(table, 1, random_state=1)[0]).shape == (300,)
    assert np.isfinite(model.log_prob(table, drawn_from)).all()
    with pytest.raises(ValueError, match="there is no order and so no quantiles"):
        model.predict_quantiles(table)
    with pytest.raises(TableError, match="there is no column 'y'"):
        model.log_prob(table, make({"z": y}))


def test_series_names_and_gaps():
    x, y = waves(300)
    frame = pd.DataFrame(x, columns=["a", "b"])
    model = FlowRegressor(**QUICK).fit(frame, pd.Series(y, name="height"))
    assert model.target_schema_.names == ["height"]
    gaps = frame.copy()
    gaps.loc[::2, "a"] = np.nan
    assert np.isfinite(model.predict(gaps)).all()
    width = np.diff(FlowRegressor(**QUICK | {"lr": 0.02}).fit(gaps, pd.Series(y)).predict_interval(gaps), axis=1)[:, 0]
    assert width[::2].mean() > 2 * width[1::2].mean()  # what is not known makes it wider
    with pytest.raises(ValueError, match=r"but column 'sign' holds categories\. Use FlowConditional"):
        FlowRegressor(**QUICK).fit(x, pd.Series(np.where(y > 0, "up", "down"), name="sign"))
    with pytest.raises(ValueError, match="contains NaN"):
        FlowRegressor(**QUICK).fit(x, np.where(y > 0, y, np.nan))


def test_pipelines_pickles_and_files(fitted, tmp_path, monkeypatch):
    x, y = waves(100, seed=7)
    pipe = make_pipeline(StandardScaler(), FlowRegressor(**QUICK)).fit(x, y)
    assert pipe.predict(x).shape == (100,)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(x), fitted.predict(x))
    pf.save(fitted, tmp_path / "model.safetensors")
    again = FlowRegressor.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict_interval(x), fitted.predict_interval(x))
    np.testing.assert_array_equal(again.log_prob(x, y), fitted.log_prob(x, y))
    with pytest.raises(ValueError, match="this file holds no FlowConditional"):
        FlowConditional.load(tmp_path / "model.safetensors")
    monkeypatch.setattr(FlowRegressor, "SAVED", (*FlowRegressor.SAVED, "later_"))
    with pytest.raises(ValueError, match=r"saved by an earlier version, without 'later_'\. Fit it again"):
        FlowRegressor.load(tmp_path / "model.safetensors")


def test_weights_are_repetitions_in_the_calibration():
    x, y = waves(400)
    weights = np.random.default_rng(0).integers(0, 4, 400).astype(float)
    model = FlowRegressor(calibration=0.5, **QUICK).fit(x, y, sample_weight=weights)
    assert len(model.scores_) == len(model.score_weights_) < 200  # rows of weight zero do not calibrate
    assert model.score_weights_.mean() == pytest.approx(1)
    scores, counts = model.scores_[:, 0], model.score_weights_[:, 0]
    repeated = np.repeat(scores, np.round(counts / counts.min()).astype(int))
    for probability in (0.5, 0.8, 0.95):
        rank = np.ceil(probability * (1 + 1 / len(scores)) * len(repeated))
        (half_width,) = model._half_widths(probability)
        assert half_width == (0.5 if rank > len(repeated) else repeated[int(rank) - 1])


def test_a_row_of_weight_zero_does_not_change_a_score():
    x, y = waves(100)
    model = FlowConditional(**QUICK).fit(x, np.where(y > 0, "up", "down"))
    new = np.array(["up", "other", "down"])
    with pytest.warns(UserWarning, match="1 category not seen"):
        weighted = model.score(x[:3], new, sample_weight=[1.0, 0.0, 3.0])
    up, down = model.log_prob(x[:1], ["up"])[0], model.log_prob(x[2:3], ["down"])[0]
    assert weighted == pytest.approx((up + 3 * down) / 4)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m, x, y: m.predict_quantiles(x, [0.5, 1.5]), r"quantiles must list numbers between 0 and 1"),
        (lambda m, x, y: m.predict_quantiles(x, []), r"quantiles must list numbers between 0 and 1"),
        (lambda m, x, y: m.predict_quantiles(x, 0.5), r"quantiles must list numbers between 0 and 1"),
        (lambda m, x, y: m.sample(x, 0), "n_samples must be a whole number of at least 1; got 0"),
        (lambda m, x, y: m.log_prob(x, y[:2]), "inconsistent numbers of samples"),
        (lambda m, x, y: m.crps(x, y[:2]), "inconsistent numbers of samples"),
        (lambda m, x, y: m.cdf(x, y[:2]), "inconsistent numbers of samples"),
    ],
)
def test_mistakes(fitted, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(fitted, *waves(5))

"""The anomaly detector: scikit-learn's own checks, scores, thresholds and reasons."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_flow_density import NOT_KEPT

import pushforward as pf
from pushforward.distributions import Continuous, Integer
from pushforward.estimators import FlowAnomaly
from pushforward.estimators.anomaly import _threshold
from pushforward.estimators.expected import ranges_of

MEASURES = ["surprise", "composite", "density", "p_value", "radius", "typicality"]


# What all estimators share is checked with the regressor.
@pytest.mark.exhaustive
@parametrize_with_checks(
    [FlowAnomaly(steps=8, hidden=(8,))],
    expected_failed_checks=lambda estimator: NOT_KEPT,
)
def test_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def people(rows=600, seed=0):
    """Weight follows height, a sport follows neither."""
    random = np.random.default_rng(seed)
    height = random.normal(170, 10, rows)
    weight = 0.9 * (height - 170) + 70 + 3 * random.normal(size=rows)
    return pd.DataFrame({"height": height, "weight": weight, "sport": random.choice(["chess", "judo"], rows)})


STRANGE = pd.DataFrame({"height": [150.0, 170.0], "weight": [90.0, 70.0], "sport": ["judo", "chess"]})


@pytest.fixture(scope="module")
def fitted():
    return FlowAnomaly(hidden=(32, 32), steps=400, lr=1e-2, random_state=0, contamination=0.05).fit(people())


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_is_higher_for_normal_rows(fitted, measure):
    model = pickle.loads(pickle.dumps(fitted)).set_params(measure=measure)
    odd, usual = model.score_samples(STRANGE)
    assert odd < usual
    scores = model.score_samples(people(200, seed=1))
    assert (odd < scores).mean() > 0.95
    if measure == "p_value":
        assert 0 < odd < 0.01 < scores.mean() < 1
        assert scores.max() <= 1
    if measure == "typicality":
        assert (scores <= 0).all()


def test_the_threshold_leaves_the_part_that_was_asked_for(fitted):
    assert (fitted.predict(people()) == -1).mean() == pytest.approx(0.05, abs=0.002)
    assert fitted.predict(STRANGE).tolist() == [-1, 1]
    np.testing.assert_allclose(fitted.decision_function(STRANGE), fitted.score_samples(STRANGE) - fitted.offset_)
    again = FlowAnomaly(hidden=(8,), steps=20, contamination=0.3, measure="p_value", random_state=0).fit(people())
    assert (again.predict(people()) == -1).mean() == pytest.approx(0.3, abs=0.02)


def test_reasons_name_the_odd_entries_and_what_was_expected(fitted):
    (first, second, *_), normal = fitted.explain(STRANGE)
    assert {first.column, second.column} == {"height", "weight"}
    weight = first if first.column == "weight" else second
    assert weight.value == 90.0
    assert 45 < weight.expected < 70  # of somebody of 150
    assert weight.surprise > 3 > max((reason.surprise for reason in normal), default=0)
    assert all(len(reasons) <= 1 for reasons in fitted.explain(people(20), top=1))
    np.testing.assert_allclose(fitted.contributions(STRANGE).sum(axis=1), fitted.score_samples(STRANGE))


def test_expected_values_are_possible_whatever_the_outliers():
    random = np.random.default_rng(0)
    speed = np.exp(0.5 * random.normal(size=400)).round(2)
    table = pd.DataFrame({"speed": speed, "events": random.poisson(2 * speed), "late": random.random(400) < 0.3})
    table["force"] = (0.5 * speed + 0.1 * random.normal(size=400)).round(3)
    table.loc[5, "speed"], table.loc[6, "events"], table.loc[7, "force"] = 9999.0, 50_000, -1e6
    model = FlowAnomaly(hidden=(16,), steps=60, random_state=0).fit(table)
    reasons = [reason for row in model.explain(table[:40], top=4) for reason in row]
    sane = table.drop(index=[5, 6, 7])
    for name in ("speed", "events", "force"):
        expected = [r.expected for r in reasons if r.column == name]
        assert expected
        assert sane[name].min() <= min(expected) <= max(expected) <= sane[name].max(), name
    assert all(r.expected == round(r.expected) for r in reasons if r.column == "events")
    assert {type(r.expected) for r in reasons if r.column == "late"} <= {bool}


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([*range(100), 9999, -5000], [0, 99]),
        ([*range(100), *[9999] * 5], [0, 99]),
        ([np.nan, 2.0, 3.0, 4.0], [2, 4]),
        ([0.0] * 90 + [500.0] * 10, [0, 500]),  # no scale
        (np.exp(np.random.default_rng(0).normal(size=999)), None),  # far tails, and no gap
    ],
)
def test_ranges_leave_out_what_is_far_from_all_others(values, ends):
    values = np.asarray(values, dtype=float)
    expected = [values.min(), values.max()] if ends is None else ends
    np.testing.assert_allclose(ranges_of(values[:, None])[:, 0], expected)
    np.testing.assert_allclose(ranges_of(-values[:, None])[::-1, 0], -np.array(expected))


def test_new_categories_and_gaps(fitted):
    odd = pd.DataFrame({"height": [170.0, 170.0], "weight": [70.0, np.nan], "sport": ["sumo", "judo"]})
    with pytest.warns(UserWarning, match="column 'sport' holds 1 category not seen when fitting"):
        scores = fitted.score_samples(odd)
    assert np.isfinite(scores).all()
    with pytest.warns(UserWarning, match="1 row has probability zero"):
        reason = fitted.explain(odd)[0][0]
    assert (reason.column, reason.value) == ("sport", None)  # no category that is known
    assert reason.expected in ("chess", "judo")
    assert fitted.contributions(odd[1:])[0, 1] == 0


def test_kinds_are_smoothed_unless_declared_or_asked_not_to():
    table = people(200).round()
    options = {"hidden": (8,), "steps": 10, "random_state": 0}
    kinds = [type(f.column_type).__name__ for f in FlowAnomaly(**options).fit(table).schema_.fields]
    assert kinds == ["Continuous", "Continuous", "Categorical"]
    model = FlowAnomaly(smoothing=0, **options).fit(table)
    assert isinstance(model.schema_.fields[0].column_type, Integer)
    model = FlowAnomaly(types={"height": Continuous()}, **options).fit(table)
    assert model.schema_.fields[0].column_type.smoothing == 0
    assert model.schema_.fields[1].column_type.smoothing > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"measure": "luck"}, r"FlowAnomaly: measure must be one of 'surprise', .*; got 'luck'"),
        ({"contamination": 0.9}, r'FlowAnomaly: contamination must be "auto" or a share of at most 0\.5; got 0\.9\.'),
        (
            {"contamination": "some"},
            r'FlowAnomaly: contamination must be "auto" or a share of at most 0\.5; got \'some',
        ),
        ({"smoothing": -1}, r"Continuous: smoothing must be a number of at least 0; got -1"),
    ],
)
def test_mistakes(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        FlowAnomaly(**options).fit(people(50))


def test_questions_that_cannot_be_answered_are_refused(fitted):
    with pytest.raises(ValueError, match="FlowAnomaly: top must be a whole number of at least 1; got 0"):
        fitted.explain(STRANGE, top=0)
    changed = pickle.loads(pickle.dumps(fitted)).set_params(measure="luck")
    with pytest.raises(ValueError, match="measure must be one of 'surprise'"):
        changed.score_samples(STRANGE)


def test_pipelines_and_files(fitted, tmp_path):
    x = people(100)[["height", "weight"]].to_numpy()
    pipe = make_pipeline(StandardScaler(), FlowAnomaly(hidden=(8,), steps=20, random_state=0))
    assert set(pipe.fit_predict(x)) <= {-1, 1}
    pf.save(fitted, tmp_path / "model.safetensors")
    again = FlowAnomaly.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.decision_function(STRANGE), fitted.decision_function(STRANGE))
    assert again.explain(STRANGE) == fitted.explain(STRANGE)


def crowd(columns=6, normal=200, odd=20):
    """Normal rows of independent columns, and a compact group of rows far out in each column."""
    random = np.random.default_rng(0)
    rows = [random.normal(size=(normal, columns)), 2.3 + 0.1 * random.normal(size=(odd, columns))]
    return np.concatenate(rows), np.repeat([0, 1], [normal, odd])


def test_anomalies_among_the_training_rows_are_found():
    x, odd = crowd()
    model = FlowAnomaly(hidden=(16,), lr=1e-2, steps=150, random_state=0).fit(x)
    assert roc_auc_score(odd, -model.score_samples(x)) > 0.95
    composite = model.set_params(measure="composite").score_samples(x)
    assert roc_auc_score(odd, -composite) < 0.8  # given each other, the entries of the group are likely


def test_values_by_themselves_count_less_where_columns_determine_each_other():
    random = np.random.default_rng(0)
    common, noise = random.normal(size=(400, 1)), random.normal(size=(400, 4))
    options = {"hidden": (16,), "lr": 1e-2, "steps": 80, "smoothing": 0.1, "random_state": 0}
    assert FlowAnomaly(**options).fit(noise).dependence_ == 0
    bound = FlowAnomaly(**options).fit(common + 0.05 * noise)
    assert bound.dependence_ == 1
    broken, far = bound.score_samples([[1.0, 1.0, 1.0, -1.0], [1.5, 1.5, 1.5, 1.5]])
    assert broken < far
    assert bound.contributions([[np.nan, 1.0, 1.0, 1.0]])[0, 0] == 0


def test_one_impossible_value_is_the_reason_by_its_own_surprise():
    table = people()
    table["income"] = np.random.default_rng(1).normal(3e4, 3e3, len(table))
    model = FlowAnomaly(hidden=(16,), lr=1e-2, steps=100, random_state=0).fit(table)
    table.loc[7, "income"] = -1.0
    assert model.score_samples(table).argmin() == 7
    assert model.explain(table[7:8], top=1)[0][0].column == "income"


def test_weights_are_repetitions_in_the_threshold():
    random = np.random.default_rng(0)
    scores = np.r_[random.normal(size=20), 0.5, 0.5, 0.5]
    weights = random.integers(0, 4, len(scores)).astype(float)
    weights[:2] = 1.0
    repeated = np.repeat(scores, weights.astype(int))
    for share in (0.01, 0.1, 0.25, 0.5):
        positive = weights > 0
        threshold = _threshold(scores[positive], weights[positive], share)
        again = _threshold(repeated, np.ones(len(repeated)), share)
        assert ((repeated < threshold) == (repeated < again)).all()
        assert (repeated < threshold).mean() <= share
    assert _threshold(np.zeros(5), np.ones(5), 0.5) == 0.0  # of equal rows none is an outlier
    assert (np.arange(600.0) < _threshold(np.arange(600.0), np.ones(600), 0.05)).sum() == 30


def test_rows_of_weight_zero_count_as_absent():
    normal, odd = people(200), people(40, seed=3)
    odd["weight"] += 300
    both, weights = pd.concat([normal, odd], ignore_index=True), np.r_[np.ones(200), np.zeros(40)]
    model = FlowAnomaly(hidden=(8,), steps=30, random_state=0).fit(both, sample_weight=weights)
    assert model.rows_ == 200
    assert (model.predict(normal) == -1).mean() <= 0.01
    contributions = np.average(model.contributions(normal), axis=0)
    np.testing.assert_allclose(model.usual_, contributions, rtol=1e-6)

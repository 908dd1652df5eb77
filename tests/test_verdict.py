"""The verdict on a model: each flaw is planted, and named; rows that were trained on are noticed."""

import json
import math

import numpy as np
import pytest
import torch

from pushforward.bijections import RadialSquash
from pushforward.distributions import Categorical, Continuous, Flow, MixedTypeModel, Normal, StandardNormal, Uniform
from pushforward.evaluate import TrainingRows, evaluate, fit_baselines, verdict
from pushforward.evaluate.calibration import ColumnCalibration, measure_calibration
from pushforward.evaluate.fidelity import Distance, TwoSampleTest
from pushforward.evaluate.report import model_report

NAMES = ["a", "b"]


def normal(rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 2))


def judged(model=None, x=None, baselines=None, **evidence):
    x = normal(500) if x is None else x
    model = StandardNormal(2) if model is None else model
    return verdict(evaluate(model, x, baselines=baselines), model, NAMES, x, **evidence)


def levels(result):
    """The findings by level."""
    return {
        level: " ".join(f.text for f in result.findings if f.level == level) for level in ("good", "note", "problem")
    }


def worse():
    """Baselines fitted to rows of another distribution."""
    return fit_baselines(3 * normal(300, seed=1) + 1, components=(1,))


def test_a_model_that_is_ahead_is_good():
    result = judged(baselines=worse())
    assert result.ok
    assert result.headline == "Good: better than the best simple model, with no flaw in 1 check."
    assert "Log-likelihood −2.794" in levels(result)["good"]
    assert "Ahead by" in levels(result)["good"]
    assert result.lines[1].startswith("✓ Log-likelihood")
    assert json.loads(json.dumps(result.to_dict()))["ok"] is True


@pytest.mark.parametrize(
    ("model", "level", "words", "headline"),
    [
        (
            StandardNormal(2),
            "note",
            "may be chance",
            "Undecided: on these rows the model cannot be told from the best ",
        ),
        (Normal([0.0] * 2, [3.0] * 2), "problem", "Behind by", "Not good: the model is not better than the best "),
    ],
)
def test_a_model_that_is_not_ahead_is_not_good(model, level, words, headline):
    x = normal(500)
    gaussian = fit_baselines(np.vstack([x, -x]), components=(1,))["gaussian"]
    result = judged(model, x, baselines={"gaussian": gaussian})
    assert result.ok == (level == "note")
    assert result.headline == f"{headline}simple model."
    assert words in levels(result)[level]


def test_without_baselines_nothing_is_claimed():
    result = judged()
    assert result.headline.startswith("Good: no simple model was compared")
    assert "No simple model was fitted" in levels(result)["note"]


def test_rows_that_were_trained_on_are_no_test():
    train = normal(6_000, seed=3)
    trained_on = TrainingRows.of(train)
    result = judged(x=train[:500], trained_on=trained_on, baselines=worse())
    assert result.headline.startswith("Not judged: the model was trained on these rows")
    some = judged(x=np.vstack([normal(2_000, seed=4), train[:200]]), trained_on=trained_on, baselines=worse())
    assert "of these rows equal training rows" in levels(some)["note"]
    assert judged(x=normal(2_000, seed=4), trained_on=trained_on, baselines=worse()).findings == tuple(
        judged(x=normal(2_000, seed=4), baselines=worse()).findings
    )


def test_rows_outside_of_the_support_are_counted_by_column():
    x = np.random.default_rng(0).uniform(0.01, 0.99, size=(50, 2))
    x[:3, 1] = 7.0
    result = judged(Uniform([0.0, 0.0], [1.0, 1.0]), x, baselines=fit_baselines(x, components=(1,)))
    assert "3 of 50 rows have density zero" in levels(result)["problem"]
    assert "Values outside of the support: b (3)" in levels(result)["problem"]


def test_a_support_of_whole_rows_blames_no_column():
    model = Flow(StandardNormal(2), RadialSquash(2))
    text = levels(judged(model, np.array([[0.1, 0.2], [5.0, 5.0], [0.3, -0.1]])))["problem"]
    assert "1 of 3 rows have density zero" in text
    assert "Values outside" not in text


def test_discrete_columns_with_densities_are_a_problem():
    x = normal(200)
    x[:, 1] = np.round(x[:, 1])
    assert "continuous: b (" in levels(judged(x=x))["problem"]
    x[:, 1] = np.random.default_rng(0).permutation(10_000)[:200]
    assert "Columns of whole numbers are modelled as continuous: b" in levels(judged(x=x))["note"]
    mixed = MixedTypeModel([Continuous(), Categorical(3)], hidden=(8,)).double()
    x[:, 1] = np.arange(200) % 3
    assert "continuous" not in "".join(judged(mixed, x).lines)


def calibrated(share):
    """A column of which about this share of the values lies inside 90 % intervals."""
    u = np.clip(0.5 + ((np.arange(20_000) + 0.5) / 20_000 - 0.5) * 0.9 / share, 0, 1)
    return ColumnCalibration("a", len(u), 0, u, u, None, u, None)


def test_bad_intervals_are_a_problem():
    assert "but not in a (72%)" in levels(judged(calibration=[calibrated(0.72)]))["problem"]
    assert "can be trusted" in levels(judged(calibration=[calibrated(0.9)]))["good"]
    slightly = [calibrated(0.86)] * 3
    assert "slightly off: a (" in levels(judged(calibration=slightly))["note"]


def test_columns_that_fail_their_test_are_named():
    good = Distance(("a",), 0.02, 0.02, 0.4)
    for distance, level in ((0.3, "problem"), (0.03, "note")):
        result = judged(distances=[good, Distance(("b",), distance, 0.02, 1e-6)])
        assert "1 of 2 columns of the samples differ" in levels(result)[level]
        assert f"b ({distance})" in levels(result)[level]
    assert "No column of the samples differs" in levels(judged(distances=[good]))["good"]


def test_the_classifier_is_heard():
    for auc, level in ((0.5, "good"), (0.65, "note"), (0.95, "problem")):
        test = TwoSampleTest(auc, 0.01, 0.6, 100, {"b": 0.2, "a": 0.0})
        assert f"AUC {auc:.3f}" in levels(judged(test=test))[level]


# --- rows that were trained on


def test_hashes_recognise_rows_and_no_others():
    train = normal(20_000)
    train[0, 0] = np.nan
    trained_on = TrainingRows.from_dict(json.loads(json.dumps(TrainingRows.of(train).to_dict())))
    assert len(trained_on.hashes) == 4_096
    assert trained_on.recognised(train)[0] == 1.0
    assert trained_on.recognised(normal(20_000, seed=1))[0] == 0.0
    half = np.vstack([train[:8_000], normal(8_000, seed=1)])
    share, error = trained_on.recognised(half)
    assert abs(share - 0.5) < 4 * error
    assert trained_on.recognised(train[:, ::-1])[0] == 0.0
    assert len(json.dumps(trained_on.to_dict())) < 50_000


def test_repeated_rows_are_expected_to_return():
    x = np.random.default_rng(0).integers(0, 5, (3_000, 2)) * 1.0
    trained_on = TrainingRows.of(x)
    assert trained_on.repeated == 1.0
    assert trained_on.recognised(-x[x[:, 0] > 0]) == (0.0, pytest.approx(0.01, abs=0.01))
    assert trained_on.recognised(np.where(x == 0, -0.0, x))[0] == 1.0
    assert TrainingRows.of(x, context=normal(3_000)).repeated == 0.0


def test_damaged_hashes_are_refused():
    with pytest.raises(ValueError, match="TrainingRows: the stored description cannot be read"):
        TrainingRows.from_dict({"hashes": "?", "limit": "x"})


# --- reports on models that can do more or less


def test_a_triangular_flow_has_its_distribution_functions_checked():
    x = normal(400)
    columns = measure_calibration(StandardNormal(2), x, NAMES)
    assert [column.verdict() for column in columns] == ["calibrated"] * 2
    assert [column.verdict() for column in measure_calibration(StandardNormal(2), 3 * x, NAMES)] == ["too narrow"] * 2


@pytest.mark.parametrize("context", [False, True])
def test_a_conditional_mixed_model_is_reported_too(context):
    torch.manual_seed(0)
    model = MixedTypeModel(
        [Continuous(), Categorical(2)], context=[Continuous()] if context else (), hidden=(8,)
    ).double()
    x = np.stack([normal(80)[:, 0], np.arange(80) % 2], axis=1)
    c = normal(80, seed=1)[:, :1] if context else None
    model.initialize(torch.tensor(x), None if c is None else torch.tensor(c))
    baselines = fit_baselines(
        x, c, types=[Continuous(), Categorical(2)], context_types=[Continuous()] if context else None
    )
    sections, numbers = model_report(model, NAMES, x, c, ["c"] if context else (), baselines=baselines)
    assert sections[0].title == "Is the model good?"
    assert "Can the intervals be trusted?" in [section.title for section in sections]
    assert math.isfinite(numbers["order_spread"])
    assert set(numbers["column_distances"]) == set(NAMES)

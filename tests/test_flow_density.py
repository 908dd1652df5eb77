"""The density estimator: scikit-learn's own checks, tables of several libraries, gaps, conditionals, files."""

import datetime as dt
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import pushforward as pf
from pushforward.data import TableError
from pushforward.distributions import Categorical, Circular
from pushforward.estimators import FlowDensity

QUICK = {"steps": 40, "hidden": (16, 16), "random_state": 0}

NOT_KEPT = {
    # Rows are drawn into batches and into a validation part at random: a weight of two is not the same as two rows.
    "check_sample_weight_equivalence_on_dense_data": "training is stochastic",
}


# What all estimators share is checked with the regressor.
@pytest.mark.exhaustive
@parametrize_with_checks(
    [FlowDensity(steps=8, hidden=(8,))],
    expected_failed_checks=lambda estimator: NOT_KEPT,
)
def test_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def people(rows=400, seed=0, make=pd.DataFrame):
    random = np.random.default_rng(seed)
    sex = random.choice(["F", "M"], rows)
    age = random.integers(18, 80, rows)
    income = np.exp(9 + 0.02 * age + 0.4 * (sex == "M") + 0.3 * random.normal(size=rows))
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=int(k)) for k in random.integers(0, 900, rows)]
    return make({"age": age, "sex": sex, "income": income, "since": days})


@pytest.fixture(scope="module")
def fitted():
    return FlowDensity(steps=300, hidden=(32, 32), random_state=0).fit(people())


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_tables_in_tables_out(make):
    table = people(150, make=make)
    model = FlowDensity(**QUICK).fit(table)
    scores = model.score_samples(table)
    assert scores.shape == (150,)
    assert np.isfinite(scores).all()
    drawn = model.sample(7, random_state=1)
    assert type(drawn) is type(table)
    assert model.score_samples(drawn).shape == (7,)
    same = model.sample(7, random_state=1)
    assert drawn.equals(same)
    assert model.score(table) == pytest.approx(scores.mean())


def test_gaps_are_left_out_of_the_density(fitted):
    table = people(20, seed=3)
    gaps = table.copy()
    gaps.loc[3, "income"] = np.nan
    gaps.loc[4, "sex"] = None
    whole, some = fitted.score_samples(table), fitted.score_samples(gaps)
    same = np.arange(20)[~np.isin(np.arange(20), [3, 4])]
    np.testing.assert_allclose(some[same], whole[same])
    parts = fitted.contributions(gaps)
    assert parts[3, 2] == parts[4, 1] == 0
    np.testing.assert_allclose(parts.sum(axis=1), some)


def test_imputation(fitted):
    table = people(30, seed=4)
    gaps = table.copy()
    gaps.loc[:9, "sex"] = None
    gaps.loc[5:14, "income"] = np.nan
    filled = fitted.impute(gaps)
    assert not filled.isna().any().any()
    pd.testing.assert_frame_equal(filled.loc[15:], table.loc[15:], check_dtype=False, atol=1e-6)
    draws = fitted.impute(gaps, n=3, random_state=1)
    assert len(draws) == 3
    assert not draws[0].equals(draws[1])
    assert draws[0].equals(fitted.impute(gaps, n=3, random_state=1)[0])
    assert {*draws[0]["sex"]} <= {"F", "M"}


def test_conditionals_in_the_words_of_the_table(fitted):
    conditional = fitted.given({"sex": "M", "age": 40})
    assert conditional.columns == ["income", "since"]
    income = conditional.marginal("income")
    assert income.cdf(income.median()) == pytest.approx(0.5, abs=1e-5)
    low, high = income.interval(0.9)
    assert low < np.exp(9 + 0.8 + 0.4) < high
    assert fitted.given({"age": 40, "sex": "F"}).marginal("income").median() < income.median()
    since = conditional.marginal("since").median()
    assert isinstance(since, dt.date)
    assert dt.date(2020, 1, 1) <= since <= dt.date(2022, 12, 31)
    drawn = conditional.sample(5, random_state=0)
    assert list(drawn.columns) == ["income", "since"]
    assert conditional.log_prob(drawn).shape == (5,)
    sex = fitted.given({"income": 200_000.0}).marginal("sex")
    assert sum(sex.probabilities().values()) == pytest.approx(1)
    assert sex.mode() == max(sex.probabilities(), key=sex.probabilities().get)
    assert sex.log_prob("M") == pytest.approx(np.log(sex.probabilities()["M"]))
    distance, error = fitted.given({"income": 200_000.0}).marginal_discrepancy("sex", random_state=0)
    assert 0 <= distance < 0.5
    assert 0 <= error < 0.02
    day = fitted.given({"since": "2021-05-04"})
    assert np.isfinite(day.log_prob(people(3)[["age", "sex", "income"]])).all()


def test_probabilities_have_the_values_of_the_table_as_keys():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"smokes": random.random(300) < 0.7, "grade": random.integers(1, 4, 300) / 2})
    model = FlowDensity(types={"grade": Categorical(3)}, **QUICK).fit(table)
    smokes, grade = (model.given({}).marginal(name) for name in table.columns)
    assert list(map(repr, smokes.probabilities())) == ["False", "True"]
    assert smokes.mode() in smokes.probabilities()
    assert smokes.probabilities()[True] == pytest.approx(np.exp(smokes.log_prob(True)))
    assert grade.probabilities().keys() == {0.5, 1.0, 1.5}
    assert sum(grade.probabilities().values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "FlowDensity: steps must be a whole number of at least 1; got 0"),
        ({"batch_size": 2.5}, "FlowDensity: batch_size must be a whole number of at least 1; got 2.5"),
        ({"patience": True}, "FlowDensity: patience must be a whole number of at least 1; got True"),
        ({"seconds": -1}, "FlowDensity: seconds must be a positive number; got -1"),
        ({"lr": "fast"}, "FlowDensity: lr must be a positive number; got 'fast'"),
        ({"validation": 2}, "FlowDensity: validation must be a share of the rows below 1, a table of rows, or None"),
        ({"types": ["integer"]}, "FlowDensity: types must map column names to types"),
        ({"n_jobs": "all"}, "FlowDensity: n_jobs must be a whole number of threads, or None; got 'all'"),
        ({"device": "gpu"}, "FlowDensity: the device 'gpu' is not available. Use None for the CPU"),
        ({"order": "sideways"}, "order must be one of 'any', 'fixed'; got 'sideways'"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FlowDensity(**{**QUICK, **options}).fit(people(30))


def test_numbers_of_numpy_are_numbers():
    model = FlowDensity(steps=np.int64(2), lr=np.float32(0.01), hidden=(8,), random_state=0)
    assert np.isfinite(model.fit(people(30)).score(people(5)))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.given({"ag": 4}), "there is no column 'ag'. The columns are 'age', 'sex', 'income', 'since'"),
        (lambda m: m.given({"sex": "X"}), "column 'sex': there is no category 'X'. The categories are 'F', 'M'"),
        (lambda m: m.given({"age": "old"}), "column 'age' holds text in row 1, 'old'"),
        (
            lambda m: m.given({"age": 3}).marginal("age"),
            "column 'age' is conditioned on. Ask for one of the others: 'sex', 'income', 'since'",
        ),
        (lambda m: m.given({"age": 3}).marginal("sex").mean(), "Categorical: there is no order"),
        (lambda m: m.sample(0), "n_samples must be a whole number of at least 1; got 0"),
        (lambda m: m.given({"age": 3}).sample(0), "n_samples must be a whole number of at least 1; got 0"),
        (lambda m: m.impute(people(3), n=0), "n must be a whole number of at least 1; got 0"),
        (lambda m: m.order_spread(people(3), orders=1), "orders must be a whole number of at least 2; got 1"),
        (lambda m: m.inverse_transform(np.zeros((3, 5))), r"latent points must have shape \(rows, 4\); got \(3, 5\)"),
        (lambda m: m.score(people(3)[:0]), "X has no row, so there is no mean score"),
        (lambda m: m.report(people(3)[:0], "never.html"), "X has no row to report on"),
        (lambda m: m.score_samples(people(3)[["age", "sex"]]), "feature names should match|there is no column"),
    ],
)
def test_mistakes(fitted, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(fitted)


def test_one_row_and_no_variety():
    with pytest.raises(ValueError, match="a density needs at least 2 rows"):
        FlowDensity().fit(pd.DataFrame({"a": [1.0], "b": [2.0]}))
    with pytest.warns(UserWarning, match="all columns are constant"):
        model = FlowDensity().fit(pd.DataFrame({"a": [1.0] * 5, "b": [2.0] * 5}))
    assert model.score_samples(pd.DataFrame({"a": [1.0, 3.0], "b": [2.0, 2.0]})).tolist() == [0.0, -np.inf]
    with pytest.raises(NotFittedError):
        FlowDensity().score_samples([[1.0]])
    with pytest.raises(TableError, match="types: there is no column 'hour'"):
        FlowDensity(types={"hour": Circular(24)}).fit(people(50))


def test_unseen_categories_have_no_probability(fitted):
    table = people(4)
    table.loc[2, "sex"] = "?"
    with pytest.warns(UserWarning, match="1 category not seen when fitting"):
        scores = fitted.score_samples(table)
    assert np.isinf(scores).tolist() == [False, False, True, False]


def test_latent_space_and_back(fitted):
    table = people(40, seed=6)
    z = fitted.transform(table)
    assert z.shape == (40, 4)
    back = fitted.inverse_transform(z)
    assert back["sex"].tolist() == table["sex"].tolist()
    assert back["age"].tolist() == table["age"].tolist()
    np.testing.assert_allclose(back["income"], table["income"], rtol=1e-6)
    u = fitted.cdf(people(300, seed=7))
    assert abs(u.mean() - 0.5) < 0.06
    named = clone(fitted).set_params(**QUICK).set_output(transform="pandas").fit(people(60)).transform(people(60))
    assert list(named.columns) == ["flowdensity0", "flowdensity1", "flowdensity2", "flowdensity3"]


def test_pipelines_searches_and_copies(fitted, tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 2))
    pipe = make_pipeline(StandardScaler(), FlowDensity(**QUICK)).fit(x)
    assert np.isfinite(pipe.score(x))
    search = GridSearchCV(FlowDensity(**QUICK), {"dropout": [0.0, 0.1]}, cv=2).fit(x)
    assert search.best_params_["dropout"] in (0.0, 0.1)
    table = people(10, seed=9)
    expected = fitted.score_samples(table)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).score_samples(table), expected)
    pf.save(fitted, tmp_path / "people.safetensors")
    loaded = FlowDensity.load(tmp_path / "people.safetensors")
    assert np.array_equal(loaded.score_samples(table), expected)
    assert loaded.given({"sex": "F"}).columns == ["age", "income", "since"]
    pf.save(loaded.model_, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="holds no FlowDensity"):
        FlowDensity.load(tmp_path / "model.safetensors")


def test_the_same_seed_gives_the_same_fit():
    x = np.random.default_rng(1).normal(size=(60, 2))
    a, b, other = (FlowDensity(**{**QUICK, "random_state": seed}).fit(x).score_samples(x) for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, other)


def test_weights_streams_and_warm_starts():
    random = np.random.default_rng(2)
    low, high = random.normal(size=(200, 1)), random.normal(size=(200, 1)) + 6
    both = np.concatenate([low, high])
    weights = np.r_[np.ones(200), np.zeros(200)]
    model = FlowDensity(**QUICK).fit(both, sample_weight=weights)
    assert model.score(low) > model.score(high) + 3
    stream = FlowDensity(**QUICK)
    for _ in range(3):
        stream.partial_fit(both)
    assert np.isfinite(stream.score(both))
    warm = FlowDensity(**QUICK, warm_start=True).fit(both)
    first = warm.model_
    assert warm.fit(both).model_ is first
    assert model.order_spread(low[:5]).shape == (5,)


def test_a_single_order_knows_first_columns():
    model = FlowDensity(order="fixed", **QUICK).fit(people(120))
    assert model.given({"age": 30}).columns == ["sex", "income", "since"]
    with pytest.raises(ValueError, match="only the first columns can be observed"):
        model.given({"sex": "F"})
    assert np.isfinite(model.score(people(20)))

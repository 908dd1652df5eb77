"""A model file as a model of MLflow, where that is installed."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("mlflow", reason="MLflow is not installed")

import mlflow

from pushforward.estimators import FlowDensity
from pushforward.serve.mlflow import save_mlflow


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    return pd.DataFrame({"age": random.integers(18, 80, 200), "sex": random.choice(["F", "M"], 200)})


@pytest.fixture(scope="module")
def density(table):
    return FlowDensity(steps=20, random_state=0).fit(table)


@pytest.fixture(scope="module")
def loaded(density, tmp_path_factory):
    place = tmp_path_factory.mktemp("mlflow")
    density.save(place / "m.safetensors")
    save_mlflow(place / "m.safetensors", place / "model")
    return mlflow.pyfunc.load_model(str(place / "model"))


def test_scores_are_those_of_the_estimator(loaded, density, table):
    scores = loaded.predict(table.head(20))["log_density"]
    np.testing.assert_allclose(scores, density.score_samples(table.head(20)), atol=1e-5)


def test_other_questions(loaded, table):
    gaps = table.head(5).astype({"age": "float64"})
    gaps.loc[0, "age"] = None
    assert loaded.predict(gaps, params={"question": "impute"}).notna().all(axis=None)
    reasons = loaded.predict(table.head(3), params={"question": "explain"})
    assert list(reasons.columns) == ["score", "outlier", "reasons"]
    with pytest.raises(Exception, match="question must be one of score, impute, explain; got 'more'"):
        loaded.predict(table.head(3), params={"question": "more"})

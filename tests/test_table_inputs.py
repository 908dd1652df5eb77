"""Estimators on tables as people keep them: no rows, identifiers, unseen categories, and files of a line each."""

import numpy as np
import pandas as pd
import pytest

import pushforward as pf
from pushforward.data import TableError
from pushforward.estimators import FlowAnomaly, FlowConditional, FlowDensity, FlowRegressor

TINY = {"hidden": (8,), "steps": 10, "random_state": 0}


def table(rows=60):
    random = np.random.default_rng(0)
    city, x = random.choice(["Ulm", "Bonn", "Kiel"], rows), random.normal(size=rows)
    return pd.DataFrame({"city": city, "x": x, "y": x + (city == "Ulm") + 0.1 * random.normal(size=rows)})


def test_a_table_without_rows_is_told_as_such():
    with pytest.raises(TableError, match="the table: there are no rows"):
        FlowDensity().fit(table()[:0])


@pytest.mark.parametrize("make", [FlowDensity, FlowAnomaly])
def test_identifiers_are_told(make):
    named = table().assign(name=[f"K-{k}" for k in range(60)])
    with pytest.warns(
        UserWarning, match=r"'name' differs in every row.*drop\(columns=\[\"name\"\]\)\), or declare"
    ) as seen:
        make(**TINY).fit(named)
    assert seen[0].filename == __file__
    make(types={"name": "categorical"}, **TINY).fit(named)  # an error here, if it warned


def test_remedies_are_those_of_python():
    with pytest.raises(TableError, match=r"column 'z' is constant .*Leave it out \(drop\(columns=\[\"z\"\]\)\)\.$"):
        FlowDensity(model="nsf", steps=2).fit(pd.DataFrame({"a": np.arange(60) % 7, "z": 1.5}))
    with pytest.raises(TableError, match=r"column 'e' is empty, .*Leave it out \(drop\(columns=\[\"e\"\]\)\)\.$"):
        FlowDensity(**TINY).fit(table().assign(e=np.nan))


def test_unseen_values_of_features_count_as_missing():
    rows = table()
    model = FlowRegressor(types={"x": pf.distributions.Bounded(-9, 9)}, **{**TINY, "steps": 100})
    model.fit(rows[["city", "x"]], rows["y"])
    new, gone = rows[["city", "x"]][:4].assign(city="Paris"), rows[["city", "x"]][:4].assign(city=None)
    with pytest.warns(UserWarning, match=r"not seen when fitting \('Paris'\): the value counts as missing in 4 rows\."):
        predicted = model.predict(new)
    np.testing.assert_array_equal(predicted, model.predict(gone))
    for city in ("Ulm", "Kiel", "Bonn"):  # not as any of those seen
        assert not np.allclose(predicted, model.predict(new.assign(city=city)), atol=1e-6)
    far, unknown = new.assign(city="Ulm", x=99.0), new.assign(city="Ulm", x=np.nan)
    with pytest.warns(UserWarning, match="holds 99 in row 1, which Bounded.* cannot hold: the value counts as missing"):
        np.testing.assert_array_equal(model.predict(far), model.predict(unknown))
    joint = FlowDensity(context=["city"], **TINY).fit(rows)
    with pytest.warns(UserWarning, match="counts as missing in 60 rows"):
        assert np.isfinite(joint.score_samples(rows.assign(city="Paris"))).all()


@pytest.mark.parametrize("make", [FlowDensity, FlowAnomaly, FlowConditional, FlowRegressor])
def test_estimators_save_and_load_themselves(make, tmp_path):
    rows, path = table(), tmp_path / "model.safetensors"
    model = make(**TINY)
    answer = "score_samples" if make in (FlowDensity, FlowAnomaly) else "predict"
    model.fit(*((rows,) if answer == "score_samples" else (rows[["city", "x"]], rows["y"])))
    model.save(path)
    x = rows if answer == "score_samples" else rows[["city", "x"]]
    np.testing.assert_array_equal(getattr(make.load(path), answer)(x), getattr(model, answer)(x))
    assert ".save(" in make.__doc__
    assert f"{make.__name__}.load(" in make.__doc__


def test_the_limit_that_ends_a_run_is_named():
    x = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)
    flow = pf.flows.nsf(2, depth=1, hidden=[4])
    assert pf.fit(flow, x, epochs=1, progress=False).stopped == "epoch limit reached"
    assert pf.fit(flow, x, steps=2, epochs=50, progress=False).stopped == "step limit reached"

"""Faults of tables that were found from outside: each with the value that is right."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from pushforward.data import Schema, TableError, read_arrow
from pushforward.data.frame import raw_columns
from pushforward.distributions import Repeated
from pushforward.estimators import FlowDensity
from pushforward.evaluate import column_types, evaluate, fit_baselines, verdict
from pushforward.evaluate.column_density import ColumnDensity

QUICK = {"hidden": (16, 16), "steps": 60, "random_state": 0}


def prices(rows=1800, seed=0):
    """A column of repeated prices, and one that depends on it."""
    random = np.random.default_rng(seed)
    price = random.choice(np.round(np.exp(np.linspace(0, 5, 150)), 2), rows)
    return pd.DataFrame({"price": price, "b": np.log(price) + 0.2 * random.normal(size=rows)})


def test_repeated_numbers_have_means_quantiles_and_fillings():
    frame = prices()
    model = FlowDensity(**QUICK).fit(frame)
    assert isinstance(model.schema_.fields[0].column_type, Repeated)
    conditional = model.given({"b": 2.0}).marginal("price")
    low, high = conditional.highest_density_interval(0.9)
    assert low < conditional.mean() < high
    assert conditional.mode() in frame["price"].to_numpy()
    draws = model.given({"b": 2.0}).sample(4000, 0)["price"]
    assert conditional.mean() == pytest.approx(draws.mean(), rel=0.15)
    frame.loc[::5, "price"] = np.nan
    assert model.impute(frame)["price"].notna().all()


def test_baselines_of_bounded_codes_and_of_repeated_numbers():
    random = np.random.default_rng(0)
    a = random.integers(1, 5, 1500)
    codes = pd.DataFrame({"a": a, "b": np.where(random.random(1500) < 0.7, a, random.integers(1, 5, 1500))})
    for frame in (codes, prices()):
        model = FlowDensity(**QUICK).fit(frame)
        x = model.encode(frame).x
        types = column_types(model.model_, 2)
        baselines = fit_baselines(x, types=types)
        assert set(baselines) == {"independent", "tree"}
        scores = evaluate(model.model_, x, baselines=baselines)
        assert all(np.isfinite(score.log_likelihood) for score in scores.baselines.values())
        assert not any(
            "as if they were continuous" in line for line in verdict(scores, model.model_, ["a", "b"], x).lines
        )
    for bounds in ((1, 5), (2, 5)):  # where all codes have a probability of their own, and where none is at an end
        density = ColumnDensity.fit(types_of(codes)[0], random.integers(*bounds, 400).astype(float))
        assert np.exp(density.log_prob(np.arange(-3.0, 9.0))).sum() == pytest.approx(1)
    joint = pd.crosstab(codes["a"], codes["b"]).to_numpy() / 1500
    entropy = -(joint * np.log(joint)).sum()
    tree = fit_baselines(torch.tensor(codes.to_numpy(), dtype=torch.float64), types=types_of(codes))["tree"]
    assert tree.log_prob(codes.to_numpy(dtype=float)).mean() == pytest.approx(-entropy, abs=0.05)


def types_of(frame):
    return [field.column_type for field in FlowDensity(**{**QUICK, "steps": 1}).fit(frame).schema_.fields]


def test_imputation_leaves_what_is_there_untouched():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": random.normal(10, 1, 300).round(2), "n": random.integers(0, 90, 300), "k": random.choice(["u", "v"], 300)}
    )
    frame["p"] = [f"{v:.1f} %" for v in random.uniform(0, 100, 300)]
    model = FlowDensity(**QUICK).fit(frame)
    table = pd.DataFrame({
        "x": [10.12345, np.nan, 9.999], "n": [5.5, 3.0, np.nan], "k": ["w", None, "u"], "p": ["12", "3.25%", None],
    })  # fmt: skip
    with pytest.warns(UserWarning, match="1 row has probability zero"):  # the category w, and 5.5
        filled = model.impute(table)
    assert filled["x"].tolist()[::2] == [10.12345, 9.999]
    assert filled["n"].tolist()[:2] == [5.5, 3.0]
    assert filled["k"].tolist()[::2] == ["w", "u"]
    assert filled["p"].tolist()[:2] == ["12", "3.25%"]
    assert filled.notna().all().all()
    assert model.given({"x": 10.12345}).sample(2, whole=True)["x"].tolist() == [10.12345, 10.12345]


def test_a_context_may_be_unknown():
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=200), "c": ["x", "y"] * 100})
    model = FlowDensity(context=["c"], **QUICK).fit(frame)
    assert len(model.sample(3)) == len(model.given({}).sample(3)) == 3


def test_rows_outside_of_the_types_do_not_spoil_a_training():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=300), "k": random.choice(["u", "v"], 300)})
    held_out = pd.DataFrame({"a": random.normal(size=50), "k": ["w", *random.choice(["u", "v"], 49)]})
    with pytest.warns(UserWarning, match="1 validation rows hold values that the training rows do not allow"):
        model = FlowDensity(validation=held_out, **QUICK).fit(frame)
    assert np.isfinite(model.history_.best_validation)
    flags = pd.DataFrame({"a": random.normal(size=300), "f": random.integers(0, 2, 300)})
    model = FlowDensity(**QUICK).fit(flags)
    with pytest.raises(TableError, match=r"column 'f' holds 7.* in row 2, outside Boolean"):
        model.partial_fit(flags.assign(f=[1, 7] * 150))


def test_dates_declared_as_categories_stay_dates():
    days = pd.to_datetime(["2020-01-01", "2020-02-01"] * 50)
    model = FlowDensity(types={"d": "categorical"}, **QUICK).fit(
        pd.DataFrame({"d": days, "x": np.arange(100) % 7 * 1.0})
    )
    assert set(model.sample(20)["d"]) <= set(days)


def test_rules_that_cannot_be_kept_are_told():
    random = np.random.default_rng(0)
    a = random.integers(0, 50, 500)
    frame = pd.DataFrame({"a": a, "b": a + random.integers(0, 20, 500)})
    frame["c"] = frame["b"] + random.integers(0, 20, 500)
    model = FlowDensity(**QUICK).fit(frame)
    kept = model.sample(300, 0, keep_rules=True)
    assert ((kept["a"] <= kept["b"]) & (kept["b"] <= kept["c"])).all()
    with pytest.warns(UserWarning, match="20 of 20 rows break a rule"):
        model.given({"a": 30, "c": 1}).sample(20, keep_rules=True)


def test_codes_that_are_text_in_another_table_are_the_same_codes():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"g": random.integers(1, 4, 200), "x": random.normal(size=200)})
    model = FlowDensity(types={"g": "categorical"}, **QUICK).fit(frame)
    typo = frame.astype({"g": str})
    typo.loc[0, "g"] = "typo"
    with pytest.warns(UserWarning, match="1 row has probability zero"):
        scores = model.score_samples(typo)
    np.testing.assert_array_equal(scores[1:], model.score_samples(frame)[1:])
    assert np.isneginf(scores[0])


def test_large_whole_numbers_with_gaps_are_refused_as_those_without():
    with pytest.raises(TableError, match=r"integers beyond 2\*\*53, such as 1152921504606846979"):
        raw_columns(pa.table({"n": pa.array([2**60 + 1, None, 2**60 + 3])}))


def test_decimal_commas_are_decided_over_the_whole_column(tmp_path):
    frame = pd.DataFrame({"v": ["0,5", "1,234", "2,75", "0,512"] * 10, "t": ["1,234", "5,678"] * 20})
    schema = Schema.infer(frame)
    np.testing.assert_allclose(schema.encode(frame)[:2], [[0.5, 1234], [1.234, 5678]])
    assert schema.decode(np.array([[0.25, 10.0]]))["v"].tolist() == ["0,250"]
    path = tmp_path / "t.csv"
    path.write_text("x;p\n" + "6,37;2.698\n5,25;6.37\n" * 20 + "6,37;2.698\n" * 60_000)  # several blocks
    values = read_arrow(path)["p"].to_pylist()
    assert (values[:2], set(values[40:])) == ([2.698, 6.37], {2.698})


def test_times_and_texts_that_python_cannot_hold_are_named():
    times = pa.array([0, 2**62], pa.int64()).cast(pa.timestamp("us"), safe=False)
    with pytest.raises(TableError, match=r"the table: column 'when' holds a time outside of the years 1 to 9999\."):
        Schema.infer(pa.table({"when": times}))
    texts = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    with pytest.raises(TableError, match=r"the table: column 'word' holds text that is not UTF-8\."):
        Schema.infer(pa.table({"word": texts}))

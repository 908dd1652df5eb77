"""Models in Flow Lab: marginals given columns, samples, anomalies, PIT, and a folder that nothing leads out of."""

import io
import math
import os
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
import torch
from lab_calls import Caller, in_base64

import pushforward as pf
from pushforward.data.fields import Field
from pushforward.data.json_entries import entry_json
from pushforward.distributions import Continuous, Integer
from pushforward.estimators import FlowAnomaly, FlowConditional, FlowDensity
from pushforward.estimators.model_files import read_model
from pushforward.lab.arguments import LabError
from pushforward.lab.columns import describe_column, given_values, kind_of
from pushforward.lab.folder import ModelFolder
from pushforward.lab.marginals import marginal_densities
from pushforward.lab.models import OpenModel

SMALL = {"options": {"depth": 1, "hidden": (8,)}, "steps": 5, "random_state": 0}
ROWS = 160


def table():
    """Rows of every kind of column."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=ROWS)
    days = np.datetime64("2024-01-01") + rng.integers(0, 300, ROWS).astype("timedelta64[D]")
    return pa.table(
        {
            "a": a.round(3),
            "b": (a + 0.5 * rng.normal(size=ROWS)).round(2),
            "count": rng.poisson(4, ROWS),
            "plan": rng.choice(["free", "pro", "team"], ROWS),
            "paid": rng.random(ROWS) < 0.4,
            "day": pa.array(days),
            "rain": np.where(rng.random(ROWS) < 0.5, 0.0, rng.gamma(2, 2, ROWS)).round(2),
        }
    )


def numbers():
    return table().select(["a", "b"]).append_column("c", pa.array(np.random.default_rng(1).normal(size=ROWS)))


def as_csv(rows):
    sink = io.BytesIO()
    pacsv.write_csv(rows, sink)
    return in_base64(sink.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FlowDensity(steps=15, random_state=0, hidden=(32,)).fit(table()).save(path / "mixed.safetensors")
        FlowDensity(model="maf", **SMALL).fit(numbers()).save(path / "maf.safetensors")
        FlowDensity(model="nsf", context=("a",), **SMALL).fit(numbers()).save(path / "given.safetensors")
        FlowDensity(model="nsf", options={"depth": 2, "hidden": (8,)}, steps=5, random_state=0).fit(numbers()).save(
            path / "nsf.safetensors"
        )
        rain = table().select(["a", "b", "rain"])
        FlowDensity(model="nsf", **SMALL).fit(rain).save(path / "partly.safetensors")
        FlowDensity(model="maf", **SMALL).fit(numbers().to_pandas()).save(path / "pandas.safetensors")
        FlowAnomaly(steps=5, random_state=0, hidden=(16,)).fit(table()).save(path / "detector.safetensors")
        conditional = FlowConditional(steps=5, random_state=0).fit(numbers().select(["a"]), numbers().select(["b"]))
        conditional.save(path / "conditional.safetensors")
    pf.save(pf.flows.maf(2, depth=1, hidden=(8,)), path / "plain.safetensors")
    pf.save(pf.flows.maf(2, 1, depth=1, hidden=(8,)), path / "context.safetensors")
    pf.save(pf.flows.maf(2, depth=1, hidden=(8,)), path / "columns.safetensors", metadata={"columns": ["x", "y", "z"]})
    pf.save(pf.bijections.LU(2), path / "map.safetensors")
    (path / "damaged.safetensors").write_bytes(b"nothing")
    return path


@pytest.fixture
def lab(folder):
    caller = Caller(folder)
    yield caller
    caller.session.close()


def area(column):
    x, density = np.array(column["x"]), np.array(column["density"])
    return float(((density[1:] + density[:-1]) / 2 * np.diff(x)).sum())


def test_columns_of_every_kind(lab):
    opened = lab("model.open", name="mixed.safetensors")
    kinds = {column["name"]: column["kind"] for column in opened["columns"]}
    assert kinds == {
        "a": "number", "b": "number", "count": "integer", "plan": "category", "paid": "boolean", "day": "time",
        "rain": "number",
    }  # fmt: skip
    by_name = {column["name"]: column for column in opened["columns"]}
    assert by_name["plan"]["values"] == ["free", "pro", "team"]
    assert by_name["paid"]["values"] == [False, True]
    assert by_name["b"]["decimals"] == 2
    assert 1.6e9 < by_name["day"]["low"] < by_name["day"]["high"] < 1.8e9  # seconds
    assert by_name["a"]["low"] < -1 < 1 < by_name["a"]["high"]
    assert opened["description"].startswith("mixed: 7 columns, ")


@pytest.mark.parametrize("values", [{}, {"a": 1.0, "plan": "pro"}, {"paid": True, "day": 1.71e9, "count": 3.2}])
def test_marginals_of_a_mixed_type_model(lab, values):
    lab("model.open", name="mixed.safetensors")
    columns = lab("model.marginals", given=values)["columns"]
    assert [c["name"] for c in columns] == [name for name in table().column_names if name not in values]
    for column in columns:
        total = sum(column["probabilities"]) if "values" in column else area(column)
        assert total == pytest.approx(1.0, abs=0.12), column["name"]


@pytest.mark.parametrize(
    ("name", "loader", "conditions_on_any"),
    [("mixed", FlowDensity.load, True), ("maf", FlowDensity.load, False), ("detector", FlowAnomaly.load, True),
     ("plain", pf.load, False)],
)  # fmt: skip
def test_a_model_says_how_python_loads_it(folder, monkeypatch, name, loader, conditions_on_any):
    monkeypatch.chdir(folder.parent)
    lab = Caller(folder.name)
    opened = lab("model.open", name=f"{name}.safetensors")
    lab.session.close()
    named = {"FlowDensity": FlowDensity, "FlowAnomaly": FlowAnomaly, "pushforward": pf}
    assert opened["path"] == os.path.join(folder.name, f"{name}.safetensors")
    assert named[opened["loader"].removesuffix(".load")].load == loader
    assert loader(opened["path"]) is not None
    assert opened["conditions_on_any"] is conditions_on_any


def test_marginals_are_those_of_the_library(lab, folder):
    lab("model.open", name="mixed.safetensors")
    b = next(c for c in lab("model.marginals", given={"a": 0.5, "plan": "pro"})["columns"] if c["name"] == "b")
    direct = FlowDensity.load(folder / "mixed.safetensors").given({"a": 0.5, "plan": "pro"}).marginal("b")
    k = int(np.argmax(b["density"]))
    assert math.log(b["density"][k]) == pytest.approx(direct.log_prob(b["x"][k]), abs=1e-5)


@pytest.mark.parametrize("name", ["maf", "plain", "pandas", "detector", "partly"])
def test_marginals_of_other_models(lab, name):
    lab("model.open", name=f"{name}.safetensors")
    columns = lab("model.marginals")["columns"]
    assert all(area(column) == pytest.approx(1.0, abs=0.12) for column in columns if "x" in column)


def test_a_model_given_columns(lab):
    opened = lab("model.open", name="given.safetensors")
    assert [column.get("required", False) for column in opened["columns"]] == [True, False, False]
    assert opened["columns"][0]["low"] < opened["columns"][0]["high"]
    assert "A value of 'a' is missing" in lab.error("model.marginals")
    assert [c["name"] for c in lab("model.marginals", given={"a": 0.1})["columns"]] == ["b", "c"]
    for call in ("model.pit", "model.anomalies"):
        assert "Upload a table that holds them all" in lab.error(call)
    pits = lab("model.pit", content=as_csv(numbers()))["columns"]
    assert [sum(column["counts"]) for column in pits] == [ROWS, ROWS]
    assert len(lab("model.anomalies", content=as_csv(numbers()), count=3)["rows"]) == 3


def test_samples_are_rows_of_the_table(lab):
    lab("model.open", name="mixed.safetensors")
    answer = lab("model.sample", n=50, given={"plan": "team", "a": 0.25}, seed=3)
    rows = pacsv.read_csv(io.BytesIO(answer["csv"].encode()))
    assert rows.column_names == table().column_names
    assert rows.num_rows == 50
    assert set(rows.column("plan").to_pylist()) == {"team"}
    assert set(rows.column("a").to_pylist()) == {0.25}
    assert answer["points"]["b"] == rows.column("b").to_pylist()
    assert answer == lab("model.sample", n=50, given={"plan": "team", "a": 0.25}, seed=3)
    lab("model.open", name="pandas.safetensors")
    assert lab("model.sample", n=2)["csv"].startswith("a,b,c\n")


@pytest.mark.parametrize("name", ["mixed", "detector"])
def test_anomalies_have_reasons(lab, name):
    lab("model.open", name=f"{name}.safetensors")
    rows = table().to_pylist()
    rows[7]["b"] = 60.0
    listed = lab("model.anomalies", content=as_csv(pa.Table.from_pylist(rows)), count=2)["rows"]
    assert listed[0]["number"] == 8
    assert listed[0]["row"]["b"] == 60.0
    reason = listed[0]["reasons"][0]
    assert (reason["column"], reason["value"]) == ("b", 60.0)
    assert reason["surprise"] > 1
    assert abs(reason["usual"]) < 10
    assert listed[0]["score"] <= listed[1]["score"]


def test_anomalies_of_rows_of_the_model(lab):
    lab("model.open", name="maf.safetensors")
    rows = lab("model.anomalies", count=4)["rows"]
    assert [row["reasons"] for row in rows] == [[]] * 4


def test_calibration(lab):
    lab("model.open", name="mixed.safetensors")
    pits = {column["name"]: column for column in lab("model.pit", content=as_csv(table()))["columns"]}
    assert set(pits) == {"a", "b", "count", "day", "rain"}  # categories have no order
    assert sum(pits["a"]["counts"]) == pytest.approx(ROWS)
    assert all(0 <= column["p_value"] <= 1 for column in pits.values())
    for name, names in (("maf", ["a", "b", "c"]), ("nsf", ["z1", "z2", "z3"])):
        lab("model.open", name=f"{name}.safetensors")
        assert [column["name"] for column in lab("model.pit")["columns"]] == names


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("damaged", "^damaged.safetensors: not a model file"),
        ("map", "this file holds no model of the columns of a table"),
        ("context", "this file holds no model of the columns of a table"),
        ("columns", "this file holds no model of the columns of a table"),
        ("conditional", "this file holds a FlowConditional. Use it from Python, with FlowConditional.load"),
        ("nothing", "There is no model file 'nothing.safetensors' in the folder"),
        ("../models/mixed", "There is no model file"),
        ("/etc/passwd", "There is no model file"),
    ],
)
def test_files_that_cannot_be_opened(lab, folder, name, sentence):
    error = lab.error("model.open", name=f"{name}.safetensors")
    assert sentence.removeprefix("^") in error
    assert str(folder) not in error


@pytest.mark.parametrize(
    "metadata",
    [{"estimator": value} for value in ("x", ["FlowDensity"], None, {}, {"name": 7}, {"name": "FlowAnomaly"})]
    + [{"columns": ["x", "y"], "given": 5}],
)
def test_files_with_metadata_of_another_program(tmp_path, metadata):
    pf.save(pf.flows.maf(2, depth=1, hidden=(8,)), tmp_path / "m.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=r"^m\.safetensors: this file holds no model of the columns of a table\.$"):
        read_model(tmp_path / "m.safetensors")


def test_columns_without_a_value_are_not_blamed_on_the_model(lab):
    lab("model.open", name="mixed.safetensors")
    empty = pa.table({field.name: pa.nulls(5, field.type) for field in table().schema})
    error = "No column of numbers or times in the table holds a value that this model can draw."
    assert lab.error("model.pit", content=as_csv(empty)) == error


def test_weights_that_are_nan_are_blamed_on_the_model(lab, folder, tmp_path):
    estimator = FlowDensity.load(folder / "mixed.safetensors")
    for weights in estimator.model_.parameters():
        weights.data.fill_(math.nan)
    estimator.save(tmp_path / "nan.safetensors")
    model = OpenModel(tmp_path / "nan.safetensors")
    for judged in (None, table()):
        for ask in (model.pit, lambda rows: model.anomalies(rows, 3)):
            with pytest.raises(LabError, match=r"^This model has weights that are no numbers"):
                ask(judged)
    with pytest.raises(LabError, match=r"^Rows drawn from this model hold entries that are no numbers"):
        model._usual()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"nobody": 1}, "There is no column 'nobody' in this model"),
        ({"plan": "gold"}, "Column 'plan' has no category 'gold'"),
        ({"paid": 1}, "Column 'paid' takes true or false; got 1"),
        ({"a": "much"}, "Column 'a' takes a number; got 'much'"),
        ({"day": 1e12}, "Column 'day': 1e+12 is no time of this calendar"),
        ({"a": None}, "the value of column 'a' must be a text, a number or true or false; got None"),
        ({"a": math.nan}, "the value of column 'a' must be"),
        (3, "given must be an object of values by column; got 3"),
    ],
)
def test_values_that_cannot_be_given(lab, values, sentence):
    lab("model.open", name="mixed.safetensors")
    assert sentence in lab.error("model.marginals", given=values)


def test_what_a_flow_cannot_answer(lab):
    lab("model.open", name="nsf.safetensors")
    assert "takes no value of them" in lab.error("model.marginals", given={"a": 1.0})


def test_a_flow_with_a_model_of_other_columns_beside_it(lab):
    """Half of the rain is zero, which is no matter for a flow alone."""
    lab("model.open", name="partly.safetensors")
    assert "no distribution function of a column" in lab.error("model.pit")
    assert len(lab("model.anomalies", count=2)["rows"]) == 2


def test_tables_that_do_not_fit(lab, monkeypatch):
    lab("model.open", name="maf.safetensors")
    assert "The table has no column 'b', which the model has" in lab.error(
        "model.pit", content=as_csv(table().select(["a", "paid"]))
    )
    assert "in spite of its suffix" in lab.error("model.pit", content=as_csv(numbers()), name="t.parquet")
    monkeypatch.setattr("pushforward.lab.models.MOST_ROWS", 10)
    assert "The table has 160 rows; Flow Lab judges at most 10" in lab.error("model.pit", content=as_csv(numbers()))


def test_nothing_outside_of_the_folder_is_there(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    for path in (inside / "a.safetensors", outside / "secret.safetensors", inside / "notes.txt"):
        path.write_bytes(b"x")
    (inside / "folder.safetensors").mkdir()
    os.symlink(outside / "secret.safetensors", inside / "link.safetensors")
    os.symlink(outside, inside / "way")
    os.symlink("a.safetensors", inside / "again.safetensors")
    os.symlink("nowhere", inside / "broken.safetensors")
    os.symlink(inside / "loop.safetensors", inside / "loop.safetensors")
    files = ModelFolder(inside)
    assert files.names() == ["a.safetensors", "again.safetensors"]
    for name in ("link.safetensors", "way/secret.safetensors", "../out/secret.safetensors", "a.safetensors\0", ""):
        with pytest.raises(ValueError, match="There is no model file"):
            files.file(name)
    inside.rename(tmp_path / "gone")
    assert files.names() == []


def test_times_with_hours_and_whole_numbers():
    hour = Field("at", Continuous(), "", "Datetime", form="time")
    assert kind_of(hour) == "time"
    assert given_values([hour], {"at": 3600.0})["at"].isoformat() == "1970-01-01T01:00:00"
    second = Field("at", Integer(), "", "Datetime", form="time")
    assert given_values([second], {"at": 3600.6})["at"].isoformat() == "1970-01-01T01:00:01"
    whole = Field("n", Integer(), "", "Int64")
    assert kind_of(whole) == "integer"
    assert describe_column(whole, np.full(9, 2.0)) == {"name": "n", "kind": "integer", "low": 1, "high": 3}
    assert entry_json(np.float64("nan")) is None
    assert entry_json(np.int64(3)) == 3


def test_densities_from_draws_are_near_those_of_the_flow():
    """Of a normal variable in the second column."""
    flow = pf.flows.maf(2, depth=1, hidden=(8,))
    estimator = FlowDensity(model="auto")
    estimator.model_, estimator.model_name_ = flow, "maf"
    estimator.schema_ = pf.estimators.density.Schema(
        tuple(Field(name, Continuous(), "numbers", "Float64") for name in "xy"), "pyarrow"
    )
    estimator.n_features_in_ = 2
    ranges = {name: {"kind": "number", "low": -3.0, "high": 3.0} for name in "xy"}
    y = marginal_densities(estimator.given({}), ranges)[1]
    exact = torch.distributions.Normal(0, 1).log_prob(torch.tensor(y["x"])).exp()
    assert np.abs(np.array(y["density"]) - exact.numpy()).max() < 0.05

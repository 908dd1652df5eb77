"""The command line on tables with categories, dates and missing values."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from command_line import run, run_json

import pushforward as pf
from pushforward.data import TableError, TableWriter, read_arrow, stream_arrow


def people(rows=400, seed=0):
    random = np.random.default_rng(seed)
    sex, age = random.choice(["F", "M"], rows), random.integers(18, 80, rows)
    income = np.exp(9 + 0.02 * age + 0.4 * (sex == "M") + 0.3 * random.normal(size=rows)).round(2)
    since = pd.to_datetime("2020-01-01") + pd.to_timedelta(random.integers(0, 900, rows), unit="D")
    frame = pd.DataFrame({"age": age, "sex": sex, "income": income, "since": since.strftime("%Y-%m-%d")})
    frame.loc[3:12, "income"] = np.nan
    frame.loc[8:20, "sex"] = None
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    people().to_csv(folder / "people.csv", index=False)
    run("fit", folder / "people.csv", "--out", folder / "m.safetensors", "--steps", 150)
    return folder


def test_a_table_as_it_is_fits_without_a_word_about_its_kind(folder, tmp_path):
    result = run("fit", folder / "people.csv", "--out", tmp_path / "m.safetensors", "--steps", 5, "--drop", "since")
    assert "Column 'sex' holds text: fitting a mixed-type model." in result.stderr
    assert "Categorical(levels=2)  text, 2 different values" in result.stdout
    answer = run_json("info", folder / "m.safetensors")
    assert answer["metadata"]["columns"] == ["age", "sex", "income", "since"]
    assert answer["metadata"]["column_types"] == ["Integer", "Categorical", "Continuous", "Integer"]


def test_kinds_are_declared(folder, tmp_path):
    answer = run_json(
        "fit", folder / "people.csv", "--out", tmp_path / "m.safetensors", "--steps", 5,
        "--type", "age=circular:100,income=continuous",
    )  # fmt: skip
    assert answer["column_types"] == ["Circular", "Categorical", "Continuous", "Integer"]


def test_any_columns_can_be_given_to_sample(folder, tmp_path):
    for conditions in ("sex=F,age=40", "since=2021-05-04", "income=20000.5"):
        run("sample", folder / "m.safetensors", "--given", conditions, "-n", 30, "--out", tmp_path / "new.csv")
        new = pd.read_csv(tmp_path / "new.csv")
        assert list(new.columns) == ["age", "sex", "income", "since"]
        assert len(new) == 30
        for name, value in (pair.split("=") for pair in conditions.split(",")):
            assert (new[name].astype(str) == value).all()
        assert set(new["sex"]) <= {"F", "M"}
        assert (new["age"] == new["age"].round()).all()
    run("score", folder / "m.safetensors", tmp_path / "new.csv", "--out", tmp_path / "scores.csv")
    assert np.isfinite(pd.read_csv(tmp_path / "scores.csv")["log_density"]).all()


def test_rows_with_gaps_are_scored_and_filled(folder, tmp_path):
    answer = run_json("score", folder / "m.safetensors", folder / "people.csv", "--out", tmp_path / "scores.parquet")
    assert answer["rows"] == answer["finite"] == 400
    people()[30:].to_csv(tmp_path / "whole.csv", index=False)
    mean = run_json("score", folder / "m.safetensors", tmp_path / "whole.csv", "--out", tmp_path / "s.csv")
    evaluated = run_json("evaluate", folder / "m.safetensors", tmp_path / "whole.csv")
    assert evaluated["log_likelihood"] == pytest.approx(mean["mean_log_density"])
    answer = run_json("impute", folder / "m.safetensors", folder / "people.csv", "--out", tmp_path / "filled.csv")
    filled, before = pd.read_csv(tmp_path / "filled.csv"), people()
    assert answer["filled"] == before.isna().sum().sum() == 23
    assert not filled.isna().any().any()
    there = before["income"].notna()
    np.testing.assert_allclose(filled["income"][there], before["income"][there])
    run("impute", folder / "m.safetensors", folder / "people.csv", "--out", tmp_path / "drawn.csv", "--draw")
    assert (pd.read_csv(tmp_path / "drawn.csv")["income"][~there] != filled["income"][~there]).all()


def test_intervals_of_a_column_given_the_others(folder, tmp_path):
    arguments = ("intervals", folder / "m.safetensors")
    answer = run_json(*arguments, folder / "people.csv", "--column", "income", "--out", tmp_path / "low.csv")
    assert 0.75 < answer["covered"] <= 1
    table = pd.read_csv(tmp_path / "low.csv")
    assert ((table["low"] < table["median"]) & (table["median"] < table["high"])).all()
    people().drop(columns="sex").to_csv(tmp_path / "part.csv", index=False)  # what is asked for may be absent
    run(*arguments, tmp_path / "part.csv", "--column", "sex", "--out", tmp_path / "sex.csv")
    table = pd.read_csv(tmp_path / "sex.csv")
    assert set(table["likeliest"]) <= {"F", "M"}
    assert table["probability"].between(0.5, 1).all()


def test_anomalies_are_listed_with_reasons(tmp_path):
    table = people()
    table.loc[100, "income"] = 9e6
    table.to_csv(tmp_path / "t.csv", index=False)
    common = ("--steps", 60, "--top", 3, "--out", tmp_path / "scores.csv")
    answer = run_json("anomalies", tmp_path / "t.csv", *common)
    assert answer["top"][0]["row"] == 101
    assert answer["top"][0]["reasons"][0]["column"] == "income"
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert scores["score"].idxmin() == 100
    assert scores["outlier"].sum() == answer["outliers"]
    few = ("--contamination", 0.05, "--measure", "density", "--seconds", 60)
    shown = run("anomalies", tmp_path / "t.csv", "--explain", *common, *few)
    lines = shown.stdout.splitlines()
    assert next(line for line in lines if " 101 " in line).split()[2] == "income"
    assert "9e+06" in shown.stdout or "9000000" in shown.stdout
    assert "(density) below" in shown.stderr
    assert "as a share of 0.05 of the rows of" in " ".join(shown.stderr.split())
    ends = {line.rindex(line.split()[-1][-1]) for line in lines if line[-1:].isdigit()}
    assert len(ends) == 1  # the last column is aligned


def test_a_report_says_whether_the_model_can_be_trusted(folder, tmp_path):
    people(200, seed=5).to_csv(tmp_path / "new.csv", index=False)
    common = ("report", folder / "m.safetensors", tmp_path / "new.csv", "--out", tmp_path / "r.html")
    answer = run_json(*common, "--train", folder / "people.csv")
    text = (tmp_path / "r.html").read_text()
    for title in (
        "Is the model good?", "independent columns", "Dependence between columns",
        "Can the intervals be trusted?", "Do samples look real?", "Does the model memorize training rows?",
        "Can samples replace real training rows?", "pushforward report", "--train", "2 different values",
    ):  # fmt: skip
        assert title in text, title
    assert answer["rows"] == 200
    assert answer["log_likelihood"] > answer["baselines"]["independent"]["log_likelihood"]
    assert set(answer["coverage"]) == {"age", "income", "since"}
    assert 0.6 < answer["coverage"]["income"]["90%"] <= 1
    assert 0.4 < answer["two_sample_auc"] < 0.9
    assert set(answer["utility"]) == {"age", "sex", "income", "since"}
    again = run_json(*common)
    assert again["coverage"] == answer["coverage"]
    assert "memorize training rows" not in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("rows", [1, pytest.param(6, marks=pytest.mark.exhaustive)])
def test_a_report_on_a_few_rows_says_what_it_can(folder, tmp_path, rows):
    people(rows).to_csv(tmp_path / "few.csv", index=False)
    train = ("--train", folder / "people.csv")
    answer = run_json("report", folder / "m.safetensors", tmp_path / "few.csv", "--out", tmp_path / "r.html", *train)
    assert answer["rows"] == rows
    assert answer["two_sample_auc"] is None
    assert "Can the intervals be trusted?" in (tmp_path / "r.html").read_text()


@pytest.mark.filterwarnings("default")
def test_unknown_categories_are_a_sentence_not_a_line_of_source(folder, tmp_path):
    frame = people(20)
    frame.loc[0, "sex"] = "X"
    frame.to_csv(tmp_path / "new.csv", index=False)
    result = run("evaluate", folder / "m.safetensors", tmp_path / "new.csv")
    assert "Warning: column 'sex' holds 1 category not seen when fitting ('X'): 1 row has prob" in result.stderr
    assert ".py" not in result.stderr


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            ("fit", "people.csv", "--out", "x.safetensors", "--type", "agee=ordinal"),
            "has no column 'agee'. Did you mean 'age'?",
        ),
        (("fit", "people.csv", "--out", "x.safetensors", "--type", "age"), "write COLUMN=TYPE"),
        (("fit", "people.csv", "--out", "x.safetensors", "--type", "age=circular:no"), "is not a column type"),
        (("fit", "people.csv", "--out", "x.safetensors", "--type", "age=integer:3"), "takes no numbers"),
        (("fit", "people.csv", "--out", "x.safetensors", "--type", "age=odd"), "'odd' is not a column type"),
        (("fit", "people.csv", "--out", "x.safetensors", "--model", "maf"), "column 'sex' holds text"),
        (("fit", "people.csv", "--out", "x.safetensors", "--set", "depth=3"), "--set: mixed has no option 'depth'"),
        (
            ("fit", "people.csv", "--out", "x.safetensors", "--model", "maf"),
            "or fit --model mixed, which takes it as it",
        ),
        (("fit", "people.csv", "--out", "x.safetensors", "--type", "age=odd"), "such as circular:24"),
        (("sample", "m.safetensors", "--out", "x.csv", "--given", "since=soon"), "'since' must be a date such as"),
        (("sample", "m.safetensors", "--out", "x.csv", "--given", "age=[1]"), "'age' must be a number; got '[1]'"),
        (
            ("impute", "numeric.safetensors", "people.csv", "--out", "x.csv"),
            "impute: this flow cannot condition on any columns; a mixed-type model can. Fit one with --model mixed",
        ),
        (("anomalies", "people.csv", "--drop", "age,sex,income,since"), "no column of people.csv is left"),
        (("anomalies", "people.csv", "--learn-from", "other.csv"), "there is no column 'a', which other.csv has"),
        (
            ("sample", "m.safetensors", "--out", "x.csv", "--given", "sex=Q"),
            "no category 'Q'. The categories are 'F', 'M'",
        ),
        (
            ("sample", "m.safetensors", "--out", "x.csv", "--given", "agee=4"),
            "has no column 'agee'. Did you mean 'age'?",
        ),
        (("sample", "m.safetensors", "--out", "x.csv", "--given", "age=old"), "'age' must be a number; got 'old'"),
        (("sample", "m.safetensors", "--out", "x.csv", "--given", "age=4,age=5"), "'age' has two values"),
        (("sample", "m.safetensors", "--out", "x.csv", "--given", "age"), "write COLUMN=VALUE"),
        (("score", "m.safetensors", "other.csv", "--out", "x.csv"), "there is no column 'age'"),
        (("report", "m.safetensors", "people.csv", "--out", "people.csv"), "would be overwritten"),
        (("report", "m.safetensors", "people.csv", "--train", "x.html", "--out", "x.html"), "would be overwritten"),
        (("report", "m.safetensors", "empty.csv", "--out", "x.html"), "has a header but no rows"),
        (("evaluate", "m.safetensors", "empty.csv"), "has a header but no rows"),
        (("impute", "m.safetensors", "people.csv", "--out", "people.csv"), "would be overwritten"),
        (
            ("intervals", "m.safetensors", "people.csv", "--column", "wage", "--out", "x.csv"),
            "--column: m.safetensors has no column 'wage'",
        ),
    ],
)
def test_mistakes_get_one_sentence(folder, monkeypatch, command, sentence):
    monkeypatch.chdir(folder)
    (folder / "other.csv").write_text("a,b\n1,2\n")
    (folder / "empty.csv").write_text("age,sex,income,since\n")
    pf.save(pf.flows.maf(1, depth=1, hidden=[4]), "numeric.safetensors", metadata={"columns": ["age"]})
    result = run(*command, code=1)
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert not list(folder.glob("x.*"))


def test_labels_that_look_like_numbers_stay_labels(tmp_path):
    random = np.random.default_rng(0)
    both = pd.DataFrame({"size": random.choice(["7", "7a"], 200), "x": random.normal(size=200)})
    both.to_csv(tmp_path / "both.csv", index=False)
    both.assign(size="7").to_csv(tmp_path / "one.csv", index=False)  # what a piece of a long file may look like
    run("fit", tmp_path / "both.csv", "--out", tmp_path / "m.safetensors", "--steps", 5)
    answer = run_json("score", tmp_path / "m.safetensors", tmp_path / "one.csv", "--out", tmp_path / "scores.csv")
    assert answer["finite"] == answer["rows"] == 200
    piece = next(stream_arrow(tmp_path / "one.csv", ["size"], texts=["size"]))
    assert set(piece.column("size").to_pylist()) == {"7"}
    assert set(next(stream_arrow(tmp_path / "one.csv", ["size"])).column("size").to_pylist()) == {7}


def test_arrow_tables_of_all_formats(tmp_path):
    table = pa.table({"n": [1, None, 3], "t": ["a", None, "c"], "f": [0.5, 1.5, None], "b": [True, False, None]})
    for suffix in (".csv", ".csv.gz", ".tsv", ".parquet", ".feather"):
        with TableWriter(tmp_path / f"x{suffix}", table.schema) as target:
            target.write(table)
            target.write(table)
        again = read_arrow(tmp_path / f"x{suffix}")
        assert again.to_pydict() == {name: 2 * values for name, values in table.to_pydict().items()}
        pieces = list(stream_arrow(tmp_path / f"x{suffix}", ["t", "n"], rows=4))
        assert sum(piece.num_rows for piece in pieces) == 6
        assert pieces[0].column_names == ["t", "n"]
    feather.write_feather(pa.table({"c": pa.array(["u", "v"]).dictionary_encode()}), tmp_path / "d.feather")
    assert read_arrow(tmp_path / "d.feather").column("c").to_pylist() == ["u", "v"]
    with pytest.raises(TableError, match="there is no column 'z'"):
        next(stream_arrow(tmp_path / "x.csv", ["z"]))
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    with pytest.raises(TableError, match="2 columns are named 'a'"):
        read_arrow(tmp_path / "twice.csv")
    (tmp_path / "none.csv").write_text("a,b\n")
    with pytest.raises(TableError, match="has a header but no rows"):
        read_arrow(tmp_path / "none.csv")
    pq.write_table(table, tmp_path / "y.parquet")
    assert json.dumps(read_arrow(tmp_path / "y.parquet").to_pydict()) == json.dumps(table.to_pydict())

"""One way for every table: any model, the same questions, and one sentence where a model has no answer."""

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import run, run_json
from test_cli_mixed import people

import pushforward as pf
from pushforward.data import Schema, TableError
from pushforward.estimators import FlowAnomaly, FlowDensity
from pushforward.estimators.choice import choose_model
from pushforward.estimators.learners import chosen_by

SMALL = {"depth": 1, "hidden": [8], "bins": 4}


def numbers(rows=300, seed=0):
    random = np.random.default_rng(seed)
    a, temp = random.normal(size=rows), random.uniform(0, 20, rows)
    return pd.DataFrame({"a": a, "b": a**2 + 0.3 * random.normal(size=rows), "temp": temp})


@pytest.fixture(scope="module")
def flow():
    """nsf of a and b given temp."""
    return FlowDensity(model="nsf", options=SMALL, context=["temp"], steps=30, random_state=0).fit(numbers())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """num.csv with an identifier, people.csv, and models of both."""
    folder = tmp_path_factory.mktemp("models")
    numbers().assign(id=range(300)).to_csv(folder / "num.csv", index=False)
    people().assign(key=[f"k{i}" for i in range(400)]).to_csv(folder / "people.csv", index=False)
    run("fit", folder / "num.csv", "--out", folder / "nsf", "--set", "depth=1,hidden=8,bins=4", "--steps", 20)
    run("fit", folder / "people.csv", "--out", folder / "mixed", "--set", "hidden=16,16", "--steps", 40)
    return folder


# Python


def test_a_flow_of_some_columns_given_others(flow):
    frame = numbers(50, seed=1)
    x, context = torch.tensor(frame[["a", "b"]].values), torch.tensor(frame[["temp"]].values)
    expected = flow.model_.log_prob(x, context).double().detach().numpy()
    np.testing.assert_array_equal(flow.score_samples(frame), expected)
    conditional = flow.given({"temp": 12.0})
    assert conditional.columns == ["a", "b"]
    np.testing.assert_allclose(
        conditional.log_prob(frame), flow.score_samples(frame.assign(temp=12.0)), rtol=1e-5, atol=1e-5
    )
    assert list(conditional.sample(3).columns) == ["a", "b"]
    assert (conditional.sample(3, whole=True)["temp"] == 12).all()
    z = flow.transform(frame)
    assert z.shape == (50, 2)
    np.testing.assert_allclose(flow.model_.to_data(torch.tensor(z).float(), context).double().detach(), x, atol=1e-3)


def test_a_mixed_type_model_of_some_columns_given_others(tmp_path):
    frame = people()
    model = FlowDensity(context=["sex"], hidden=(16, 16), steps=40, random_state=0).fit(frame)
    assert model.model_.event_shape == (3,)
    model = _saved(model, tmp_path)
    assert list(model.given({"sex": "F"}).sample(2, whole=True).columns) == list(frame.columns)
    both = model.given({"sex": "F", "age": 40})
    assert both.columns == ["income", "since"]
    assert both.marginal("income").interval(0.5)[0] > 0
    filled = model.impute(frame)
    assert filled["income"].notna().all()
    assert filled["sex"].isna().sum() == frame["sex"].isna().sum()  # what is conditioned on is not modelled
    low = model.intervals(frame, "income")
    assert (low["low"] < low["high"]).all()
    with pytest.raises(TableError, match="column 'sex' is conditioned on"):
        model.intervals(frame, "sex")


def _saved(model, folder):
    pf.save(model, folder / "m")
    again = type(model).load(folder / "m")
    np.testing.assert_array_equal(again.score_samples(people()), model.score_samples(people()))
    assert again.history_.stopped == model.history_.stopped
    return again


def test_a_distribution_saved_with_names_is_a_model_of_a_table(tmp_path):
    flow = pf.flows.maf(2, 1, depth=1, hidden=[4])
    pf.save(flow, tmp_path / "m", metadata={"columns": ["a", "b"], "given": ["temp"]})
    model, frame = FlowDensity.load(tmp_path / "m"), numbers(20)
    x, context = torch.tensor(frame[["a", "b"]].values).float(), torch.tensor(frame[["temp"]].values).float()
    np.testing.assert_array_equal(model.score_samples(frame), flow.eval().log_prob(x, context).double().detach())


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (lambda m: m.impute(numbers(5)), "impute: nsf cannot condition on any columns; a mixed-type model can"),
        (lambda m: m.intervals(numbers(5), "a"), "intervals: nsf cannot condition on any columns"),
        (lambda m: m.cdf(numbers(5)), "cdf: nsf cannot"),
        (lambda m: m.contributions(numbers(5)), "contributions: nsf cannot"),
        (lambda m: m.sample(3), "a value of 'temp' is missing: the model is conditioned on it"),
        (lambda m: m.given({"temp": 1.0, "a": 2.0}), "'a': nsf is a model of all its columns together"),
        (lambda m: m.given({"temp": 1.0}).marginal("a"), "marginal: this flow gives joint densities alone"),
        (lambda m: m.score_samples(numbers(5).assign(b=np.nan)), "column 'b' has 5 missing values in 5 rows, first at"),
        (lambda m: m.inverse_transform(np.zeros((2, 2))), "latent points of a conditional model"),
    ],
)
def test_what_a_flow_cannot_do_is_one_sentence(flow, question, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        question(flow)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"model": "nfs"}, "model: there is no 'nfs'. Choose one of auto, mixed"),
        ({"model": "nsf", "options": {"dept": 2}}, "options: nsf has no option 'dept'"),
        ({"model": "nsf", "types": {"a": "integer"}}, "outside Integer|types: column types are for the model 'mixed'"),
        ({"model": "maf", "context": ["tmp"]}, "there is no column 'tmp'"),
        ({"context": ["a", "b", "temp"]}, "no column is left to model"),
        ({"epochs": 0}, "epochs must be a positive number"),
    ],
)
def test_parameters_that_do_not_go_together(parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        FlowDensity(steps=2, **parameters).fit(numbers(40).round(0) if "types" in parameters else numbers(40))


def chosen(table):
    schema = Schema.infer(pd.DataFrame(table))
    return choose_model(schema.fields, schema.encode(pd.DataFrame(table)))


def test_the_model_is_chosen_from_the_schema():
    frame, index = numbers(600), np.arange(600)
    flow = "3 of 4 columns are real numbers, for a flow given the others: 'new' "
    hours = index % 24
    for columns, expected in [
        ({}, ("nsf", "All columns are real numbers without gaps")),
        ({"new": hours}, ("nsf", flow + "holds 24 different numbers")),
        ({"new": index % 2 == 0}, ("nsf", flow + "holds 2 different numbers")),
        ({"new": [f"{k / 3:.2f} %" for k in index]}, ("nsf", flow + "holds numbers stored as text")),
        ({"new": np.where(index % 2, "x", "y")}, ("mixed", "Column 'new' holds text")),
        ({"new": pd.date_range("2020-01-01", periods=600)}, ("mixed", "Column 'new' holds dates or times")),
        ({"new": np.where(index % 9, frame["a"], np.nan)}, ("mixed", "Column 'new' has missing values")),
        ({"code": hours, "new": np.where(hours, "x", "y")}, ("mixed", "Column 'new' holds text")),
    ]:
        assert chosen(frame.assign(**columns)) == expected
    codes = {f"h{k}": np.arange(550) % (k + 2) for k in range(5)}
    assert chosen(codes)[0] == "mixed"
    assert chosen({**codes, "real": np.linspace(0, 1, 550) ** 2})[0] == "nsf"


def test_a_flow_is_not_chosen_where_it_learns_less():
    """Few rows beside codes, few rows for many columns, values out of all proportion, columns that are independent."""
    frame = numbers(300)
    codes = {name: np.arange(300) // (k + 1) % 2 for k, name in enumerate("hijklmn")}
    assert chosen(frame.assign(**codes)) == ("mixed", "Column 'h' holds 2 different numbers")
    assert chosen(frame.assign(h=codes["h"]))[0] == "nsf"  # more columns are real than not
    random = np.random.default_rng(0)
    factor = random.normal(size=(400, 1))
    wide = pd.DataFrame(factor + random.normal(size=(400, 12)), columns=[f"c{k}" for k in range(12)])
    assert chosen(wide)[0] == "nsf"
    assert chosen(wide[:90]) == ("mixed", "90 rows are few for a flow of 12 columns")
    assert chosen(wide[:100])[0] == "nsf"
    beside = wide.assign(**{f"h{k}": np.arange(400) // (k + 1) % 2 for k in range(5)})
    assert chosen(beside[:200]) == ("mixed", "200 rows are few for a flow of 12 columns")
    assert chosen(beside[:210])[0] == "nsf"
    codes = pd.DataFrame(random.integers(0, 3, size=(1_200, 11)), columns=[f"k{j}" for j in range(11)])
    both = codes.assign(a=codes["k0"] + random.normal(size=1_200), b=random.normal(size=1_200))
    assert chosen(both) == ("mixed", "11 columns hold codes or counts, more than the 2 of real numbers")
    noise = pd.DataFrame(random.normal(size=(400, 12)), columns=wide.columns)
    assert chosen(noise) == ("mixed", "Columns hardly depend on each other")
    noise["c1"] = noise["c0"] ** 2 + 0.1 * noise["c1"]
    noise["c3"] = noise["c2"] ** 2 + 0.1 * noise["c3"]
    assert chosen(noise)[0] == "nsf"  # a dependence that no correlation shows
    wide.loc[7, "c3"] = 1e6
    assert chosen(wide) == ("mixed", "Column 'c3' holds values far from the rest, such as 1e+06")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"hidden": (8,), "depth": 1}, ("nsf", "Option 'depth' is one of nsf")),
        ({"hidden": (8,), "order": "fixed"}, ("mixed", "Option 'order' is one of mixed")),
        ({"hidden": (8,)}, None),
        ({"depth": 1, "order": "fixed"}, None),
        ({}, None),
    ],
)
def test_options_of_one_model_choose_it(options, expected):
    assert chosen_by(options) == expected
    if expected is not None:
        for rows, model in ((22, "mixed"), (300, "nsf")):  # which the table alone would get
            seen = []
            FlowDensity(model="auto", options=options, steps=2).fit(numbers(rows), prepared=seen.append)
            assert seen[0].model == expected[0]
            assert (seen[0].why == expected[1]) == (model != expected[0])


@pytest.mark.parametrize("model", ["nsf", "mixed", "triangular_map"])
def test_every_model_is_judged_by_the_same_rows(model):
    seen = []
    options = {"options": SMALL} if model == "nsf" else {}
    steps = {} if model == "triangular_map" else {"steps": 2}
    FlowDensity(model=model, random_state=3, **options, **steps).fit(numbers(60), prepared=seen.append)
    FlowDensity(model="maf", random_state=3, steps=2).fit(numbers(60), prepared=seen.append)
    assert torch.equal(seen[0].validation.x, seen[1].validation.x)


def test_what_is_prepared_is_told_before_training():
    seen = []
    FlowDensity(model="auto", options=SMALL, steps=5, random_state=0).fit(numbers(), prepared=seen.append)
    assert (seen[0].model, len(seen[0].train), len(seen[0].validation)) == ("nsf", 270, 30)
    FlowDensity(validation=numbers(40, seed=2), steps=5).fit(numbers(), prepared=seen.append)
    assert (seen[1].model, len(seen[1].train), len(seen[1].validation)) == ("mixed", 300, 40)


def test_an_interrupted_fit_leaves_a_model_and_a_checkpoint(tmp_path, monkeypatch):
    from pushforward.estimators import learners

    real, frame = learners.fit, people()
    options = {"hidden": (16, 16), "steps": 60, "random_state": 0, "checkpoint": tmp_path / "c"}
    whole = FlowDensity(**options).fit(frame)

    def interrupted(*args, callbacks, **kwargs):
        def stop(event):
            if event.step == 30:
                raise KeyboardInterrupt

        return real(*args, callbacks=[callbacks, stop], **kwargs)

    monkeypatch.setattr(learners, "fit", interrupted)
    model = FlowDensity(**options)
    with pytest.raises(KeyboardInterrupt):
        model.fit(frame)
    assert model.history_.stopped == "interrupted"
    assert np.isfinite(model.score_samples(frame)).all()
    monkeypatch.setattr(learners, "fit", real)
    model = FlowDensity(**options, resume=True).fit(frame)
    assert all(torch.equal(a, b) for a, b in zip(model.model_.parameters(), whole.model_.parameters(), strict=True))


def test_a_detector_of_a_fitted_model():
    frame = people()
    density = FlowDensity(hidden=(16, 16), steps=60, random_state=0).fit(frame)
    detector = FlowAnomaly.of(density, frame, contamination=0.05)
    scores = detector.score_samples(frame)
    assert (scores < detector.offset_).mean() == pytest.approx(0.05, abs=0.005)
    with pytest.raises(ValueError, match="the model must have no context"):
        FlowAnomaly.of(FlowDensity(hidden=(8,), context=["sex"], steps=2).fit(frame), frame)


# The command line


def test_every_command_on_a_flow_and_on_a_mixed_type_model(folder, tmp_path):
    for model, table in (("nsf", "num.csv"), ("mixed", "people.csv")):
        where = (folder / model, folder / table)
        assert run_json("evaluate", *where)["rows"] in (300, 400)
        run("score", *where, "--out", tmp_path / "s.csv", "--force")
        assert run_json("sample", folder / model, "-n", 5, "--out", tmp_path / "d.csv", "--force")["rows"] == 5
        for command in (
            ("impute", *where, "--out", tmp_path / "f.csv"),
            ("intervals", *where, "--column", "income", "--out", tmp_path / "i.csv"),
            ("anomalies", folder / table, "--model", folder / model),
        ):
            result = run(*command, code=1 if model == "nsf" else 0)
            assert ("nsf cannot condition on any columns" in result.stderr) == (model == "nsf")
    assert "--model mixed" in run("impute", folder / "nsf", folder / "num.csv", "--out", "x.csv", code=1).stderr


def test_identifiers_are_left_out_and_told(folder, tmp_path):
    arguments = ("fit", folder / "people.csv", "--out", tmp_path / "m", "--steps", 2, "--set", "hidden=8")
    result = run(*arguments)
    assert (
        "Column 'key' differs in every row, as identifiers do, and is left out; --keep key takes it in" in result.stderr
    )
    assert pf.io.read_header(tmp_path / "m").metadata["dropped"] == ["key"]
    assert run_json(*arguments, "--keep", "key", "--force")["columns"][-1] == "key"


def test_columns_are_carried_along(folder, tmp_path):
    out = tmp_path / "out.csv"
    run("score", folder / "mixed", folder / "people.csv", "--out", out, "--keep", "key,age")
    assert list(pd.read_csv(out).columns) == ["key", "age", "log_density"]
    answer = run_json(
        "intervals", folder / "mixed", folder / "people.csv", "--column", "sex", "--out", out, "--keep", "key"
    )
    table, frame = pd.read_csv(out), people()
    assert list(table.columns) == ["key", "likeliest", "probability"]
    known_sex = frame["sex"].notna()
    assert answer["accuracy"] == pytest.approx((table["likeliest"] == frame["sex"])[known_sex].mean())
    sure = np.where(table["likeliest"] == frame["sex"], table["probability"], 1 - table["probability"])
    assert answer["log_loss"] == pytest.approx(-np.log(sure[known_sex]).mean(), rel=1e-5)
    run("anomalies", folder / "people.csv", "--model", folder / "mixed", "--out", out, "--keep", "key")
    assert list(pd.read_csv(out).columns) == ["key", "score", "outlier"]


def test_files_of_others_are_not_replaced(folder, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("a\n1\n")
    for command in (
        ("sample", folder / "mixed", "--out", table),
        ("score", folder / "mixed", folder / "people.csv", "--out", table),
        ("schema", folder / "people.csv", "--out", table),
    ):
        assert "mine.csv exists, and is not a file that an earlier command wrote" in run(*command, code=1).stderr
    judged = ("anomalies", folder / "people.csv", "--model", folder / "mixed", "--save", table)
    assert "--save: " in run(*judged, code=1).stderr
    assert table.read_text() == "a\n1\n"
    run("sample", folder / "mixed", "--out", tmp_path / "new.csv", "-n", 3)
    run("sample", folder / "mixed", "--out", tmp_path / "new.csv", "-n", 4)  # its own file
    with (tmp_path / "new.csv").open("a") as file:
        file.write("changed\n")
    run("sample", folder / "mixed", "--out", tmp_path / "new.csv", code=1)
    run("sample", folder / "mixed", "--out", tmp_path / "new.csv", "--force")
    fit = ("fit", folder / "num.csv", "--steps", 2, "--set", "depth=1,hidden=8", "--out")
    assert "is a model of other columns, 'age', 'sex'" in run(*fit, folder / "mixed", code=1).stderr
    assert "exists and is not a model" in run(*fit, tmp_path / "new.csv", code=1).stderr
    run(*fit, folder / "nsf")


def test_a_table_on_standard_output(folder):
    lines = run("sample", folder / "mixed", "-n", 3, "--out", "-").stdout.splitlines()
    assert lines[0] == "age,sex,income,since"
    assert len(lines) == 4


def test_how_text_is_written_can_be_said(folder, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("\n".join(f"{a:.3f}!{b:.3f}".replace(".", ",") for a, b in numbers()[["a", "b"]].to_numpy()))
    said = ("--sep", "!", "--decimal", ",", "--no-header")
    answer = run_json("fit", path, "--out", tmp_path / "m", "--set", "depth=1,hidden=8", "--steps", 2, *said)
    assert answer["columns"] == ["x0", "x1"]
    assert run_json("evaluate", tmp_path / "m", path, *said)["rows"] == 300
    assert "x0  Continuous" in run("schema", path, *said).stdout
    result = run("schema", path, "--sep", "!!", code=2)
    assert "must be one character" in " ".join(result.stderr.replace("│", " ").split())


def test_auto_takes_a_constant_column() -> None:
    table = {"a": np.random.default_rng(0).normal(size=60), "b": np.full(60, 1.5)}
    model = FlowDensity(model="auto", steps=5, random_state=0).fit(pd.DataFrame(table))
    assert model.model_name_ == "nsf"
    assert set(model.sample(20, random_state=0)["b"]) == {1.5}

"""What a first use of the library meets: ends of domains, rows that were trained on, gaps in a table for a flow,
decimals of intervals, types of kept columns, warnings, and plots of heavy tails."""

import math
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import run, run_json

import pushforward as pf
from pushforward.data import read_arrow
from pushforward.data.schema import Schema
from pushforward.distributions import Continuous, StandardNormal, Uniform
from pushforward.estimators import FlowDensity
from pushforward.evaluate import TrainingRows, evaluate, fit_baselines, verdict
from pushforward.evaluate.axis_scales import SYMMETRIC_LOG, limits_and_scale
from pushforward.evaluate.column_plots import plot_columns
from pushforward.evaluate.html import Fact, HtmlTable, Section, reworded
from pushforward.evaluate.plots import plot_pairs


def hours(rows=200, seed=0):
    """Uniform hours, and what depends on them."""
    random = np.random.default_rng(seed)
    hour = random.uniform(0, 24, rows)
    return np.stack([hour, hour / 24 + random.uniform(0, 1, rows)], axis=1)


# --- the ends of a domain, and rows without a density


@pytest.mark.parametrize("low_end", [False, True])
def test_baselines_have_a_density_at_the_ends_of_a_domain(low_end):
    x = hours()
    baselines = fit_baselines(x, types=[Continuous(low=0.0, high=24.0), Continuous(low=0.0, high=2.0)])
    x[0] = (0.0, 0.0) if low_end else (24.0, 2.0)
    for name in ("independent", "gaussian"):
        assert np.isfinite(baselines[name].log_prob(x)).all(), name
    assert baselines["independent"].log_prob(np.array([[24.01, 1.0]])) == -math.inf
    tree = baselines["independent"].with_edges(x)
    assert tree.edges
    assert np.isfinite(tree.log_prob(x)).all()


def judged(model, x, baselines):
    evaluation = evaluate(model, x, baselines=baselines)
    return evaluation, verdict(evaluation, model, ["a", "b"], x)


def test_rows_without_a_density_under_the_baselines_are_counted_and_others_compared():
    x = np.random.default_rng(0).normal(size=(300, 2)).clip(-3, 3)
    types = [Continuous(low=-3.5, high=3.5)] * 2
    train = np.random.default_rng(1).uniform(-3.4, 3.4, size=(300, 2))
    baselines = {"independent": fit_baselines(train, types=types)["independent"]}
    x[:2, 0] = 5.0
    evaluation, result = judged(StandardNormal(2), x, baselines)
    text = "\n".join(result.lines)
    assert result.headline.startswith("Good: better than the best simple model")
    assert "2 rows have no density under the independent columns. On the other 298 rows the model has" in text
    assert "No simple model" not in text
    assert "Undecided" not in text
    assert "inf" not in text
    assert "is better than the independent columns by" in evaluation.sentences()[0]
    assert "298 rows with a finite log-density under both (2 have none under the ind" in evaluation.sentences()[0]
    assert evaluation.baselines["independent"].shown[1].endswith("on 298 rows")
    described = evaluation.to_dict()["baselines"]["independent"]
    assert (described["outside"], described["compared"], described["difference"]) == (2, 298, None)
    assert described["difference_inside"] > 0


def test_rows_without_a_density_under_the_model_are_named_in_the_headline():
    x = np.random.default_rng(0).uniform(0.01, 0.99, size=(500, 2))
    baselines = fit_baselines(4 * x - 2, components=(1,))
    x[:3, 1] = 7.0
    _, result = judged(Uniform([0.0, 0.0], [1.0, 1.0]), x, baselines)
    assert result.headline == "Not good: 3 of 500 rows have density zero under the model."
    assert "3 rows have no density under the model. On the other 497 rows" in "\n".join(result.lines)
    assert not result.ok


# --- rows that were trained on


@pytest.fixture(scope="module")
def fitted():
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)).cumsum(axis=1), columns=["a", "b"])
    return FlowDensity(steps=30, random_state=0).fit(x), x


def test_the_report_of_an_estimator_recognises_training_rows(fitted, tmp_path):
    model, x = fitted
    with pytest.warns(UserWarning, match=r"FlowDensity.report: Not judged: the model was trained on these rows"):
        numbers = model.report(x, tmp_path / "r.html")
    assert not numbers["verdict"]["ok"]
    assert "can be trusted" not in "".join(numbers["verdict"]["lines"])
    assert "held-out" not in (tmp_path / "r.html").read_text().lower()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = pd.DataFrame(np.random.default_rng(1).normal(size=(200, 2)).cumsum(axis=1), columns=["a", "b"])
        assert model.report(new, tmp_path / "new.html")["verdict"]["held_out"]
    assert "held-out" in (tmp_path / "new.html").read_text()


def test_saved_estimators_know_their_training_rows(fitted, tmp_path):
    model, x = fitted
    model.save(tmp_path / "m.safetensors")
    again = FlowDensity.load(tmp_path / "m.safetensors")
    assert (again.training_rows_.hashes == model.training_rows_.hashes).all()
    x.to_parquet(tmp_path / "x.parquet")
    assert run_json("evaluate", tmp_path / "m.safetensors", tmp_path / "x.parquet")["verdict"]["held_out"] is False


def test_rows_of_every_call_are_remembered(fitted):
    _, x = fitted
    model = FlowDensity(steps=2, random_state=0, validation=None)
    model.partial_fit(x[:100]).partial_fit(x[100:200])
    for rows, share in ((x[:200], 1.0), (x[200:], 0.0)):
        assert model.training_rows_.recognised(model.encode(rows).x)[0] == share
    assert model.fit(x[:50]).training_rows_.recognised(model.encode(x[100:]).x)[0] == 0.0


def test_many_hashes_are_joined():
    first, second = (np.random.default_rng(seed).normal(size=(6_000, 2)) for seed in (0, 1))
    both = TrainingRows.of(first).joined(TrainingRows.of(second))
    assert len(both.hashes) == 4_096
    assert both.recognised(np.vstack([first, second]))[0] == 1.0
    assert both.recognised(np.random.default_rng(2).normal(size=(6_000, 2)))[0] == 0.0


def test_sections_are_reworded():
    section = Section("a title", ["a text", Fact("a fact"), HtmlTable(["a head"], [["a cell"]], "a caption")])
    changed = reworded(section, str.upper)
    assert changed == Section("A TITLE", ["A TEXT", Fact("A FACT"), HtmlTable(["A HEAD"], [["a cell"]], "A CAPTION")])


# --- a named flow of a table with gaps


def test_a_flow_judges_rows_with_gaps_by_its_mixed_part(tmp_path):
    random = np.random.default_rng(0)
    income = random.normal(size=300)
    table = pd.DataFrame({"age": random.integers(0, 60, 300), "income": income, "z": income + random.normal(size=300)})
    table.loc[::10, "income"] = np.nan
    table.to_csv(tmp_path / "people.csv", index=False)
    answer = run_json(
        "fit", tmp_path / "people.csv", "--model", "nsf", "--given", "age", "--set", "depth=1,tails=heavy",
        "--steps", 4, "--out", tmp_path / "m.safetensors",
    )  # fmt: skip
    assert math.isfinite(answer["train"])
    assert math.isfinite(answer["validation"])
    assert "missing" not in "".join(answer["verdict"]["lines"])
    result = run_json("evaluate", tmp_path / "m.safetensors", tmp_path / "people.csv")
    model = FlowDensity.load(tmp_path / "m.safetensors")
    assert result["undefined"] == 0
    assert result["log_likelihood"] == pytest.approx(model.score(read_arrow(tmp_path / "people.csv")), rel=1e-9)


def test_gaps_in_every_column_are_refused_before_training(tmp_path):
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    table.iloc[3, 0] = table.iloc[5, 1] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    out = run("fit", tmp_path / "t.csv", "--model", "nsf", "--out", tmp_path / "m.safetensors", code=1).stderr
    assert "column 'a' has 1 missing value in 60 rows" in out
    assert "--drop a" in out
    assert "--model mixed" in out


# --- answers of the command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("first"), np.random.default_rng(0)
    hour = random.uniform(0, 24, 300).round(1)
    city = np.where(random.random(300) < hour / 24, "Bonn", "Köln")
    price = (100 + 7 * hour + random.normal(size=300)).round(2)
    table = pd.DataFrame({"id": np.arange(1000, 1300), "hour": hour, "city": city, "price": price})
    table.to_csv(folder / "t.csv", index=False)
    run("fit", folder / "t.csv", "--steps", 20, "--out", folder / "m.safetensors")
    return folder


@pytest.mark.filterwarnings("always")
def test_warnings_are_shown_once(folder, tmp_path):
    table = pd.read_csv(folder / "t.csv")
    table.loc[5, "hour"] = 99.0
    table.to_csv(tmp_path / "new.csv", index=False)
    out = run(
        "intervals", folder / "m.safetensors", tmp_path / "new.csv", "--column", "city", "--out", tmp_path / "i.csv"
    )
    assert out.stderr.count("column 'hour' holds 99 in row 6") == 1


def test_intervals_have_the_decimals_of_their_column(folder, tmp_path):
    run("intervals", folder / "m.safetensors", folder / "t.csv", "--column", "price", "--out", tmp_path / "i.parquet")
    rounded = pd.read_parquet(tmp_path / "i.parquet")[["low", "median", "high"]]
    assert (rounded == rounded.round(2)).all(axis=None)
    field = FlowDensity.load(folder / "m.safetensors").schema_.fields[-1]
    low, high = field.rounded_outwards(np.array([200.001, 200.29, 200.019]), np.array([200.001, 200.29, 200.019]))
    assert low.tolist() == [200.0, 200.29, 200.01]
    assert high.tolist() == [200.01, 200.29, 200.02]


def test_ends_of_intervals_stay_inside_the_limits():
    field = Schema.infer(pd.DataFrame({"x": [0.01, 0.25, 1.0]}), {"x": Continuous(low=0.005, high=1.0)}).fields[0]
    low, high = field.rounded_outwards(np.array([0.007, 0.503]), np.array([0.503, 1.0]))
    assert low.tolist() == [0.007, 0.5]
    assert high.tolist() == [0.51, 1.0]


@pytest.mark.parametrize("command", ["score", "intervals", "impute"])
def test_kept_columns_keep_their_types(folder, tmp_path, command):
    options = ["--column", "price"] if command == "intervals" else []
    for table in ("t.csv", "t.parquet"):
        frame = pd.read_csv(folder / "t.csv").assign(code=[*["7"] * 299, "7a"], size=[*range(299), 0.5], big=2**60 + 1)
        if table == "t.csv":
            frame.to_csv(tmp_path / table, index=False)
        else:
            frame.to_parquet(tmp_path / table)
        run(
            command, folder / "m.safetensors", tmp_path / table, *options, "--keep", "id,code,size,big",
            "--out", tmp_path / "out.parquet", "--force",
        )  # fmt: skip
        schema = pq.read_schema(tmp_path / "out.parquet")
        types = [schema.field(name).type for name in ("id", "code", "size", "big")]
        assert types[0] == types[3] == pa.int64()
        assert types[1] in (pa.string(), pa.large_string())
        assert types[2] == pa.float64()
        assert pd.read_parquet(tmp_path / "out.parquet")["big"].eq(2**60 + 1).all()


def test_kept_text_of_a_csv_file_is_not_changed(folder, tmp_path):
    pd.read_csv(folder / "t.csv").assign(share=["1.50"] * 300).to_csv(tmp_path / "t.csv", index=False)
    run("score", folder / "m.safetensors", tmp_path / "t.csv", "--keep", "share", "--out", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1].split(",")[0].strip('"') == "1.50"


# --- plots of heavy tails


def test_heavy_tails_get_a_symmetric_logarithmic_axis():
    random = np.random.default_rng(0)
    x = np.stack(
        [random.standard_cauchy(2_000), random.normal(size=2_000), 1e6 + 50 * random.standard_cauchy(2_000)], 1
    )
    schema = Schema.infer(pd.DataFrame(x, columns=["heavy", "normal", "offset"]))
    heavy, normal, offset = plot_columns(schema, x, x).axes[:3]
    assert heavy.get_xscale() == offset.get_xscale() == "function"
    assert normal.get_xscale() == "linear"
    assert SYMMETRIC_LOG in heavy.get_title("right")
    middle = heavy.transData.transform([(q, 0.0) for q in np.quantile(x[:, 0], [0.25, 0.75])])[:, 0]
    ends = heavy.transData.transform([(q, 0.0) for q in heavy.get_xlim()])[:, 0]
    assert np.ptp(middle) > 0.05 * np.ptp(ends)
    labels = [label.get_text() for label in offset.get_xticklabels()]
    assert "1e+06" in labels
    assert "+1000" in labels
    axes = np.reshape(plot_pairs(x, x, ["heavy", "normal", "offset"]).axes[:9], (3, 3))
    assert [ax.get_xscale() for ax in axes[2]] == ["function", "linear", "function"]
    assert [ax.get_yscale() for ax in axes[1:, 0]] == ["linear", "function"]
    assert SYMMETRIC_LOG in axes[2, 0].get_xlabel()
    assert SYMMETRIC_LOG not in axes[2, 1].get_xlabel()


def test_columns_without_width_keep_a_linear_axis():
    for values in (np.zeros(50), np.r_[np.zeros(90), 1e9], np.array([np.nan])):
        assert limits_and_scale(values)[1] is None


# --- tables as they come


def test_a_read_only_table_is_learned_without_a_warning():
    x = np.random.default_rng(0).normal(size=(64, 2))
    x.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pf.fit(pf.flows.maf(2, depth=1, hidden=(4,)), x, steps=1)
        pf.fit(pf.flows.maf(2, depth=1, hidden=(4,)), pd.DataFrame(x), steps=1)

"""Tables in shards: the same answers as at once, each row once, whatever was killed, damaged or done before."""

import json
import os
import signal
import subprocess
import sys
import time

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pushforward.batch import BatchModel, ShardPlan, run_shards
from pushforward.batch.answers import answered_in_parts
from pushforward.batch.run import on_this_machine
from pushforward.batch.spark_engine import predictor, score_udf
from pushforward.cli.app import app
from pushforward.data.storage import Storage
from pushforward.estimators import FlowDensity

ROWS = 5_000


@pytest.fixture(scope="module")
def people():
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {"id": np.arange(ROWS), "age": random.normal(50, 9, ROWS), "sex": random.choice(["F", "M"], ROWS)}
    )
    table.loc[::50, "age"] = np.nan
    return table


@pytest.fixture(scope="module")
def model(people, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "people.safetensors"
    FlowDensity(steps=30, random_state=0).fit(people[["age", "sex"]]).save(path)
    return path


@pytest.fixture
def files(people, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for k, start in enumerate(range(0, ROWS, 1_000)):
        part = pa.Table.from_pandas(people.iloc[start : start + 1_000], preserve_index=False)
        pq.write_table(part, folder / f"part-{k}.parquet", row_group_size=300)
    return folder


def run(model, source, out, **options):
    batch = BatchModel.of(model)
    making = {name: options.pop(name) for name in ("shard_rows", "question") if name in options}
    plan = ShardPlan.make(
        str(source),
        str(out),
        batch.content,
        options={"keep": ["id"]},
        skip_bad=options.get("skip_bad", False),
        **making,
    )
    return plan, run_shards(plan, batch, keep=["id"], **options)


def results(out):
    """What a reader of the folder finds; hidden files, such as a process that is killed leaves behind, do not count."""
    return pq.read_table(out).to_pandas()


def expected(model, people):
    return FlowDensity.load(model).score_samples(people[["age", "sex"]])


@pytest.mark.parametrize("shard_rows", [300, 700, 10**6])
def test_scores_are_those_of_the_whole_table_each_row_once(model, files, people, tmp_path, shard_rows):
    plan, report = run(model, files, tmp_path / "out", shard_rows=shard_rows)
    assert report.rows == plan.rows == ROWS
    assert report.bad == 0
    assert not report.errors
    scored = results(tmp_path / "out").sort_values("id")
    assert scored["id"].tolist() == list(range(ROWS))
    np.testing.assert_allclose(scored["log_density"], expected(model, people), atol=1e-5)
    assert len(list((tmp_path / "out").iterdir())) == len(plan.shards)


def test_what_is_done_is_not_done_again_and_a_broken_result_is(model, files, tmp_path):
    out = tmp_path / "out"
    run(model, files, out)
    done = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    broken, missing, *_ = done
    broken.write_bytes(b"PAR1 half")
    missing.unlink()
    _, report = run(model, files, out)
    assert report.there_before == 3
    assert report.rows == ROWS
    assert sum(path.stat().st_mtime_ns == at for path, at in done.items()) == 3
    assert len(results(out)) == ROWS


def test_another_model_or_question_has_other_files(model, files, people, tmp_path):
    other = tmp_path / "other.safetensors"
    FlowDensity(steps=31, random_state=0).fit(people[["age", "sex"]]).save(other)
    names = set()
    for path, question in ((model, "score"), (other, "score"), (model, "impute")):
        plan, report = run(path, files, tmp_path / "out", question=question)
        names |= {shard.out for shard in plan.shards}
        assert report.there_before == 0
    assert len(names) == 15


def test_files_of_one_name_and_files_that_have_changed_have_results_of_their_own(model, people, tmp_path):
    for month, rows in (("jan", slice(0, 100)), ("feb", slice(100, 250))):
        (tmp_path / month).mkdir()
        pq.write_table(pa.Table.from_pandas(people.iloc[rows], preserve_index=False), tmp_path / month / "part.parquet")
    _, january = run(model, tmp_path / "jan", tmp_path / "out")
    plan, february = run(model, tmp_path / "feb", tmp_path / "out")
    assert (january.rows, february.rows, february.there_before) == (100, 150, 0)
    assert plan.others(str(tmp_path / "out")) == 1
    assert sorted(results(tmp_path / "out")["id"]) == list(range(250))
    again = pa.Table.from_pandas(people.iloc[:120], preserve_index=False)
    pq.write_table(again, tmp_path / "jan" / "part.parquet")
    assert run(model, tmp_path / "jan", tmp_path / "out")[1].there_before == 0
    plan, _ = run(model, tmp_path, tmp_path / "out")  # which lies in the folder that is read, and is no part of it
    assert plan.rows == 270


def test_files_and_row_groups_without_rows(model, people, tmp_path):
    table = pa.Table.from_pandas(people.iloc[:10], preserve_index=False)
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        for rows in (0, 4, 0, 6):
            writer.write_table(table.slice(0, rows))
    pq.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    for question in ("score", "impute"):
        out = tmp_path / question
        plan, report = run(model, tmp_path / "*.parquet", out, question=question, shard_rows=5)
        assert report.rows == plan.rows == 10
        assert not report.errors
        assert {tuple(pq.read_schema(path).names) for path in out.iterdir()} == {
            ("id", "log_density") if question == "score" else ("age", "sex", "id")
        }


def test_where_nearly_all_rows_are_bad_the_shard_is(model, people, tmp_path, monkeypatch):
    table = people.iloc[:500].assign(age=np.inf)
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), tmp_path / "in.parquet")
    monkeypatch.setattr("pushforward.batch.answers.MOST_REFUSED", 20)
    _, report = run(model, tmp_path / "in.parquet", tmp_path / "out", skip_bad=True)
    assert "more than 20 rows cannot be answered" in report.errors[0]
    assert list((tmp_path / "out").iterdir()) == []


def test_any_error_is_that_of_its_shard(model, files, tmp_path, monkeypatch):
    answer = BatchModel.answer

    def fails(self, question, table, keep=()):
        if 1_500 in table.column("id").to_pylist():
            raise RuntimeError("no memory\nat all")
        return answer(self, question, table, keep)

    monkeypatch.setattr(BatchModel, "answer", fails)
    _, report = run(model, files, tmp_path / "out")
    assert report.rows == 4_000
    assert [error.partition("part-1.parquet: ")[2] for error in report.errors] == ["no memory (RuntimeError)"]


def test_workers_that_are_killed_are_a_sentence():
    with pytest.raises(ValueError, match=r"A worker was killed, .* fewer --workers"):
        list(on_this_machine(os._exit, [1, 1], 2))


def test_gaps_are_filled_in_shards(model, files, people, tmp_path):
    run(model, files, tmp_path / "out", question="impute")
    filled = results(tmp_path / "out").sort_values("id")
    assert filled["age"].notna().all()
    assert filled["sex"].tolist() == people["sex"].tolist()
    there = people["age"].notna().to_numpy()
    np.testing.assert_array_equal(filled["age"][there], people["age"][there])


def test_several_processes_give_the_same_bits(model, files, tmp_path):
    run(model, files, tmp_path / "one")
    run(model, files, tmp_path / "two", workers=2)
    one, two = (results(tmp_path / name).sort_values("id") for name in ("one", "two"))
    assert one["log_density"].tolist() == two["log_density"].tolist()


def test_rows_that_cannot_be_answered_stand_aside_with_reasons(model, files, tmp_path):
    table = pq.read_table(files / "part-1.parquet").to_pandas()
    table.loc[[7, 500], "age"] = np.inf
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), files / "part-1.parquet")
    (files / "part-3.parquet").write_bytes(b"PAR1 nothing else")
    with pytest.raises(ValueError, match=r"part-3\.parquet: cannot be read as Parquet .* leave it out with --skip-bad"):
        run(model, files, tmp_path / "out")
    plan, report = run(model, files, tmp_path / "out", skip_bad=True)
    assert list(plan.damaged) == [f"file://{files}/part-3.parquet"]
    assert report.rows == 3_998
    assert report.bad == 2
    assert not report.errors
    aside = pq.read_table(next((tmp_path / "out" / "_quarantine").iterdir())).to_pandas()
    assert aside["id"].tolist() == [1_007, 1_500]
    assert aside["reason"].str.contains("age").all()
    seen = [*results(tmp_path / "out")["id"], *aside["id"]]
    assert sorted(seen) == [i for i in range(ROWS) if i // 1_000 != 3]
    _, again = run(model, files, tmp_path / "out", skip_bad=True)
    assert (again.rows, again.bad, again.there_before) == (3_998, 2, 4)


def test_without_skipping_a_bad_row_leaves_its_shard_out_and_does_the_others(model, files, tmp_path):
    table = pq.read_table(files / "part-1.parquet").to_pandas()
    table.loc[7, "age"] = np.inf
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), files / "part-1.parquet")
    _, report = run(model, files, tmp_path / "out")
    assert report.rows == 4_000
    assert len(report.errors) == 1
    assert "part-1.parquet" in report.errors[0]
    assert "age" in report.errors[0]
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_halving_finds_each_bad_row():
    def answer(table):
        bad = [value for value in table.column("x").to_pylist() if value < 0]
        if bad:
            raise ValueError(f"row 1: {bad[0]} is negative")
        return table

    x = np.arange(100)
    x[[0, 41, 42, 99]] *= -1
    x[0] = -7
    answers, aside = answered_in_parts(answer, pa.table({"x": x}))
    assert pa.concat_tables(answers).column("x").to_pylist() == [v for v in x if v >= 0]
    assert pa.concat_tables(aside).to_pydict() == {
        "x": [-7, -41, -42, -99], "reason": [f"{v} is negative" for v in (-7, -41, -42, -99)],
    }  # fmt: skip


def test_addresses_of_object_stores(model, people):
    files = fsspec.filesystem("memory")
    for k in range(2):
        with files.open(f"/bucket/{k}/part.parquet", "wb") as file:
            pq.write_table(pa.Table.from_pandas(people.iloc[k::2], preserve_index=False), file)
    plan, report = run(model, "memory://bucket/*/part.parquet", "memory://scores")
    assert report.rows == ROWS
    assert len({shard.out for shard in plan.shards}) == 2
    ids = []
    for path in files.glob("/scores/*.parquet"):
        with files.open(path) as file:
            ids += pq.read_table(file).column("id").to_pylist()
    assert sorted(ids) == list(range(ROWS))
    assert not [path for path in files.find("/scores") if "/." in path]
    with pytest.raises(ValueError, match=r"nowhere://x: .*nowhere"):
        Storage("nowhere://x")


def test_samples_in_shards_depend_on_the_seed_alone(model, tmp_path):
    batch = BatchModel.of(model)
    tables = {}
    for name, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        plan = ShardPlan.of_samples(
            900, str(tmp_path / name), batch.content, seed=seed, conditions={"sex": "F"}, shard_rows=400
        )
        report = run_shards(plan, batch, workers=workers)
        assert report.rows == 900
        assert report.shards == 3
        tables[name] = results(tmp_path / name)
    assert set(tables["a"]["sex"]) == {"F"}
    assert len(tables["a"]) == 900
    assert tables["a"].equals(tables["b"])
    assert not tables["a"].equals(tables["c"])
    assert tables["a"]["age"].nunique() > 800


def test_frames_of_other_libraries(model, people):
    batch, head = BatchModel.of(model), people.head(10)
    expected_scores = expected(model, head)
    polars = pytest.importorskip("polars")
    for frame in (head, polars.from_pandas(head), pa.Table.from_pandas(head)):
        scored = batch.score_batch(frame, keep=["id"])
        assert scored.column("id").to_pylist() == head["id"].tolist()
        np.testing.assert_allclose(scored.column("log_density"), expected_scores, atol=1e-5)


def test_what_spark_calls(model, people):
    """`predict_batch_udf` gives an array for each column: numbers with NaN, texts as objects."""
    head = people.head(100)
    predict = predictor(BatchModel.of(model))
    scores = predict(head["age"].to_numpy(), head["sex"].to_numpy(object))
    np.testing.assert_allclose(scores, expected(model, head), atol=1e-5)
    try:
        import pyspark  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="score_udf: needs the package pyspark"):
            score_udf(BatchModel.of(model))


@pytest.mark.slow
def test_ray_gives_the_bits_of_one_process(model, files, tmp_path):
    ray = pytest.importorskip("ray", reason="needs the extra ray in the environment of the tests")
    run(model, files, tmp_path / "one")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    try:
        _, report = run(model, files, tmp_path / "ray", engine="ray", workers=2)
    finally:
        ray.shutdown()
    assert report.rows == ROWS
    one, several = (results(tmp_path / name).sort_values("id") for name in ("one", "ray"))
    assert one["log_density"].tolist() == several["log_density"].tolist()


# --- the command -----------------------------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_scores_a_pattern_into_a_folder(model, files, people, tmp_path):
    out = tmp_path / "scores"
    done = invoke("score", model, f"{files}/part-*.parquet", "--out", out, "--keep", "id", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == ROWS
    np.testing.assert_allclose(results(out).sort_values("id")["log_density"], expected(model, people), atol=1e-5)
    again = invoke("score", model, files, "--out", out, "--keep", "id", "--engine", "local", "--json")
    assert json.loads(again.stdout)["there_before"] == 5
    done = invoke("sample", model, "--out", tmp_path / "drawn", "-n", "500", "--engine", "local", "--given", "sex=M")
    assert done.exit_code == 0
    assert set(results(tmp_path / "drawn")["sex"]) == {"M"}
    done = invoke("impute", model, files, "--out", tmp_path / "filled", "--keep", "id", "--engine", "local")
    assert done.exit_code == 0
    assert results(tmp_path / "filled")["age"].notna().all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("*.parquet", "--engine", "rey"), "--engine: there is no 'rey'. Did you mean 'ray'?"),
        (("nothing-*.parquet",), "there is no such file. Name Parquet files, a folder of them, or a pattern."),
        (("*.parquet", "--keep", "name"), "there is no column 'name'"),
    ],
)
def test_mistakes_get_one_sentence(model, files, tmp_path, arguments, sentence):
    pattern, *options = arguments
    done = invoke("score", model, f"{files}/{pattern}", "--out", tmp_path / "out", *options)
    assert done.exit_code == 1
    assert sentence in done.output
    assert "Traceback" not in done.output


def test_engines_that_are_not_installed_are_named(model, files, tmp_path):
    for engine, package in (("ray", "ray"), ("spark", "pyspark")):
        try:
            __import__(package)
        except ImportError:
            done = invoke("score", model, files, "--out", tmp_path / "out", "--engine", engine)
            assert done.exit_code == 1
            assert f"--engine {engine}: needs the package {package}" in done.output


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(model, files, people, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pushforward", "score", str(model), f"{files}/*.parquet", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, "--keep", "id"], env=environment, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None and not list(out.glob("part*")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    subprocess.run([*command, "--keep", "id"], env=environment, check=True, capture_output=True)
    scored = results(out).sort_values("id")
    assert scored["id"].tolist() == list(range(ROWS))
    np.testing.assert_allclose(scored["log_density"], expected(model, people), atol=1e-5)

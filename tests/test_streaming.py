"""Tables larger than memory: random rows of Parquet files, and fits that see others in every pass."""

import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from command_line import run, run_json

import pushforward as pf
from pushforward.cli import large
from pushforward.data import Schema, TableError, column_survey, survey
from pushforward.data.parquet import ParquetRows, of_length
from pushforward.distributions import Continuous, MixedTypeModel
from pushforward.estimators import FlowDensity, density, files
from pushforward.train import TrainingError


def table(rows, seed=0, first=0):
    random = np.random.default_rng(seed)
    a = random.normal(size=rows)
    kind = np.where(a > 0, "up", "down")
    return pa.table({"n": np.arange(first, first + rows), "a": a, "b": 2 * a + random.normal(size=rows), "kind": kind})


@pytest.fixture
def folder(tmp_path):
    """Two files of 4,000 rows in groups of 500; one label is in the last rows only."""
    (tmp_path / "t").mkdir()
    pq.write_table(table(4000), tmp_path / "t" / "x.parquet", row_group_size=500)
    last = table(4000, 1, 4000).to_pandas()
    last.loc[3990:, "kind"] = "rare"
    pq.write_table(pa.Table.from_pandas(last), tmp_path / "t" / "y.parquet", row_group_size=500)
    return tmp_path / "t"


def test_a_survey_draws_rows_of_all_files_apart_from_those_held_out(folder):
    rows = ParquetRows(folder)
    assert rows.rows == 8000
    drawn, again, other = (ParquetRows(folder).survey(900, 100, seed) for seed in (0, 0, 1))
    n = drawn.random.column("n").to_numpy()
    assert len(n) == len(set(n)) == 900
    assert drawn.held.num_rows == 100
    assert drawn.shown.equals(again.shown)
    assert set(n) != set(other.random.column("n").to_numpy())
    assert (np.diff(n) < 0).mean() > 0.3  # not in the order of the file
    np.testing.assert_allclose(np.histogram(n, 8, (0, 8000))[0], 900 / 8, atol=45)  # of every part of the files
    whole = rows.survey(10**6, 10**6, 0)
    learned, held = ({*table.column("n").to_pylist()} for table in (whole.random, whole.held))
    assert len(held) == 800
    assert not learned & held
    assert learned | held == set(range(8000))
    assert whole.categories_of(["kind"]) == {"kind": ["down", "rare", "up"]}
    assert ParquetRows(folder, ["a"]).survey(5, 5, 0).held.column_names == ["a"]
    for (file, place), n in zip(whole.places, whole.shown.column("n").to_pylist(), strict=True):
        assert (file, place) == (str(folder / ("x.parquet" if n < 4000 else "y.parquet")), n % 4000)
    values = np.arange(6.0).reshape(3, 2)
    assert of_length(values, 2, 0).tolist() == values[:2].tolist()
    longer = of_length(values, 7, 0)
    assert longer.shape == (7, 2)
    assert {*map(tuple, longer)} == {*map(tuple, values)}


def rare(folder, **columns):
    """A table of 6,000 rows in two files, whose columns are 1 or 2 but in a row each; the path of the folder."""
    for k, name in enumerate(("a.parquet", "b.parquet")):
        rows = np.arange(3_000 * k, 3_000 * (k + 1))
        data = {}
        for j, (column, value) in enumerate(columns.items()):
            data[column] = [value if n == 4_000 + 10 * j else 1.0 + n % 2 for n in rows]
        pq.write_table(pa.table(data), folder / name, row_group_size=700)
    return folder


def test_types_are_those_of_all_rows(tmp_path):
    source = ParquetRows(rare(tmp_path, low=-7.0, high=1e6, part=1.25, none=None, nan=float("nan")))
    seen = source.survey(50, 10, 0)
    schema = seen.schema()
    low, high, part, none, nan = (field.column_type for field in schema.fields)
    assert low.holds(torch.tensor([[-7.0]])).all()
    assert high.holds(torch.tensor([[1e6]])).all()
    assert part.holds(torch.tensor([[1.25]])).all()
    assert none.holds(torch.tensor([[2.0]])).all()
    assert nan.holds(torch.tensor([[2.0]])).all()
    assert seen.missing == {"low": 0, "high": 0, "part": 0, "none": 1, "nan": 1}
    assert seen.shown.num_rows < 50 + 5 * 4
    assert np.isnan(schema.encode(seen.shown)).any(axis=0).tolist() == [False, False, False, True, True]
    with pytest.raises(TableError, match=rf"column 'low' holds -7 in row 1001 of {tmp_path}/b\.parquet, outside"):
        seen.schema({"low": "positive"})
    dates = pa.table({"day": pa.array([0, 5, 10_000, 3], pa.date32()), "word": ["a", "b", "a", None]})
    pq.write_table(dates, tmp_path / "dates.parquet")
    seen = ParquetRows(tmp_path / "dates.parquet").survey(1, 1, 0)
    assert {str(v) for v in seen.ends.column("day").to_pylist()} >= {"1970-01-01", "1997-05-19"}
    assert seen.missing == {"day": 0, "word": 1}


def odd_rows(folder, **columns):
    """A file of 4,000 rows with one odd value in each column, in rows that no small sample has; its survey."""
    pq.write_table(pa.table(columns), folder / "t.parquet", row_group_size=1_000)
    return ParquetRows(folder / "t.parquet").survey(100, 10, 1)


def with_odd(usual, odd, place=3_001):
    return [odd if k == place else usual(k) for k in range(4_000)]


def test_a_word_among_numbers_is_named_wherever_it_stands(tmp_path):
    seen = odd_rows(tmp_path, v=with_odd(lambda k: str(k % 90), "broken"))
    with pytest.raises(TableError, match=rf"holds numbers, but 'broken' in row 3002 of {tmp_path}/t\.parquet"):
        seen.schema()


def test_kinds_of_values_in_single_rows_decide_types(tmp_path):
    day = dt.datetime(2024, 5, 1)
    money = [decimal.Decimal(k % 50) for k in range(4_000)]
    money[3_001] = decimal.Decimal("50.50")
    seen = odd_rows(
        tmp_path,
        when=with_odd(lambda k: day + dt.timedelta(days=k % 300), day + dt.timedelta(hours=12)),
        money=pa.array(money, pa.decimal128(10, 2)),
        text=with_odd(lambda k: None, "urgent"),
        number=with_odd(lambda k: str(k % 30), "-4.5"),
        coded=pa.array(with_odd(lambda k: "ab"[k % 2], " c ")).dictionary_encode(),
    )
    assert len(seen.places) == len(set(seen.places)) == seen.shown.num_rows
    schema = files.file_schema(seen, None)
    when, money, text, number, coded = schema.fields
    assert when.form == "time"
    assert money.holds(np.array([50.5])).all()
    assert text.labels == ("urgent",)
    assert number.holds(np.array([-4.5])).all()
    assert coded.labels == ("a", "b", "c")
    assert seen.missing == {"when": 0, "money": 0, "text": 3_999, "number": 0, "coded": 0}


def test_infinite_texts_and_codes_are_those_of_a_table_in_memory(tmp_path):
    columns = {"a": with_odd(lambda k: str(k % 50), "1e999"), "code": with_odd(lambda k: str(k % 50), "007")}
    schema = odd_rows(tmp_path, **columns).schema()
    memory = Schema.infer(pa.table(columns))
    assert [type(f.column_type) for f in schema.fields] == [type(f.column_type) for f in memory.fields]


def test_texts_are_read_as_in_a_table_in_memory(tmp_path):
    table = pa.table({"c": ["", "red", " red", "blue ", "blue"] * 200, "a": np.random.default_rng(0).normal(size=1000)})
    pq.write_table(table, tmp_path / "t.parquet")
    seen = ParquetRows(tmp_path / "t.parquet").survey(30, 10, 0)
    assert files.file_schema(seen, None).fields[0].labels == ("blue", "red")
    assert seen.missing["c"] == 200


def test_orders_hold_in_all_rows(tmp_path):
    low = np.random.default_rng(0).normal(size=4_000)
    high, broken = low + 1 + np.random.default_rng(1).random(4_000), low + 0.5
    broken[3_001] = low[3_001] - 1
    seen = odd_rows(tmp_path, low=low, high=high, broken=broken)
    rules = {(rule.low, rule.high) for rule in seen.schema().rules}
    assert ("low", "high") in rules
    assert ("low", "broken") not in rules


def test_row_numbers_of_large_tables_are_left_out(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "t").mkdir()
    for k in range(2):
        numbers = np.arange(600 * k, 600 * (k + 1))
        columns = {"id": numbers, "name": [f"n{n}" for n in numbers], "a": random.normal(size=600)}
        pq.write_table(pa.table(columns), tmp_path / "t" / f"{k}.parquet")
    where = ("fit", f"{tmp_path}/t/*.parquet", "--out", tmp_path / "m.safetensors", "--model", "mixed", "--steps", 2)
    assert run_json(*where)["columns"] == ["a"]


def test_what_begins_with_a_dot_or_an_underscore_is_no_part_of_a_folder(folder):
    (folder / "_quarantine").mkdir()
    for name in (".half.parquet", "_quarantine/z.parquet"):
        (folder / name).write_bytes((folder / "x.parquet").read_bytes())
    assert ParquetRows(folder).rows == ParquetRows(f"{folder}/*.parquet").rows == 8_000
    assert ParquetRows(folder / "_quarantine").rows == 4_000


def test_columns_may_stand_in_another_order_and_must_have_different_names(folder):
    whole = pq.read_table(folder / "y.parquet")
    pq.write_table(whole.select(["kind", "b", "a", "n"]), folder / "y.parquet")
    assert len(set(rows_of(ParquetRows(folder), 0, 7_200))) == 7_200
    pq.write_table(pa.Table.from_arrays([whole["a"], whole["b"]], names=["a", "a"]), folder / "x.parquet")
    with pytest.raises(TableError, match="2 columns are named 'a'"):
        ParquetRows(folder / "x.parquet")


def test_a_damaged_group_of_one_small_file_is_left_out(folder, tmp_path):
    damage(folder / "y.parquet", 2)
    where = ("fit", folder / "y.parquet", "--out", tmp_path / "m.safetensors", "--model", "mixed", "--steps", 2)
    assert run_json(*where, "--drop", "n", "--skip-bad")["steps"] == 2


def test_schema_of_a_pattern_counts_all_rows(tmp_path):
    rare(tmp_path, a=None, b=-7.0)
    answer = run_json("schema", f"{tmp_path}/*.parquet", "--out", tmp_path / "s.toml")
    assert (answer["rows"], answer["missing"]) == (6_000, {"a": 1, "b": 0})
    model = tmp_path / "m.safetensors"
    where = ("fit", f"{tmp_path}/*.parquet", "--out", model, "--model", "mixed", "--steps", 3)
    assert run_json(*where, "--schema", tmp_path / "s.toml")["columns"] == ["a", "b"]


def test_too_many_categories_are_refused(tmp_path, monkeypatch):
    for module in (survey, column_survey):
        monkeypatch.setattr(module, "MOST_CATEGORIES", 30)
    names = [f"name {k % 40}" for k in range(400)]
    pq.write_table(pa.table({"a": np.random.default_rng(0).normal(size=400), "name": names}), tmp_path / "t.parquet")
    source = ParquetRows(tmp_path / "t.parquet")
    with pytest.raises(TableError, match="column 'name' holds more than 30 different texts"):
        FlowDensity(steps=2).fit(source)


def test_types_of_files_must_go_together(tmp_path):
    pq.write_table(
        pa.table({"a": pa.array([1, 2, 3] * 20), "b": pa.array([None] * 60, pa.null())}), tmp_path / "1.parquet"
    )
    pq.write_table(pa.table({"a": [0.5, 1.5] * 30, "b": ["x", "y"] * 30}), tmp_path / "2.parquet")
    both = ParquetRows(tmp_path)
    assert [str(field.type) for field in both.window(0, 108, 0).schema] == ["double", "string"]
    assert both.survey(200, 20, 0).missing == {"a": 0, "b": 60}
    pq.write_table(pa.table({"a": ["x"], "b": ["y"]}), tmp_path / "3.parquet")
    with pytest.raises(
        TableError, match=r"3\.parquet: column 'a' holds string, and double in .*1\.parquet\. Write one"
    ):
        ParquetRows(tmp_path)


@pytest.mark.exhaustive
def test_a_fit_from_files_is_as_good_as_one_from_memory(folder, monkeypatch):
    monkeypatch.setattr(density, "PASS", 1000)
    options = {"hidden": (32, 32), "steps": 250, "batch_size": 128, "random_state": 0}
    columns = ["a", "b", "kind"]
    streamed = FlowDensity(**options).fit(ParquetRows(folder, columns))
    assert streamed.schema_.fields[2].labels == ("down", "rare", "up")
    parts = [pq.read_table(folder / name) for name in ("x.parquet", "y.parquet")]
    whole = pa.concat_tables(parts, promote_options="permissive")
    fresh = table(1000, seed=9).select(columns)
    plain = FlowDensity(**options).fit(whole.select(columns))
    assert streamed.score(fresh) > plain.score(fresh) - 0.1
    assert streamed.n_features_in_ == 3


def test_the_command_streams_large_files(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(large, "IN_MEMORY", 1000)
    monkeypatch.setattr(density, "PASS", 1000)
    where = ("fit", folder / "x.parquet", "--out", tmp_path / "m.safetensors")
    answer = run_json(*where, "--model", "mixed", "--steps", 20, "--drop", "n")
    assert (answer["train_rows"], answer["validation_rows"]) == (3_600, 400)
    assert answer["columns"] == ["a", "b", "kind"]
    run("sample", tmp_path / "m.safetensors", "-n", 20_000, "--out", tmp_path / "new.parquet")
    assert pq.ParquetFile(tmp_path / "new.parquet").metadata.num_rows == 20_000


def test_passes_are_asked_for_one_after_the_other():
    seen = []

    def passes(number):
        seen.append(number)
        return torch.randn(64, 1, generator=torch.Generator().manual_seed(number), dtype=torch.float64)

    model = MixedTypeModel([Continuous()], hidden=(4,)).double()
    pf.fit(model, passes, steps=9, batch_size=32, validation=None, progress=False)
    assert seen == [0, 1, 2, 3, 4]
    with pytest.raises(TrainingError, match=r"fit: pass 1 has 63 rows; the first one had 64\."):
        pf.fit(model, lambda k: passes(k)[k:], steps=9, batch_size=32, validation=None, progress=False)
    with pytest.raises(TrainingError, match="with a function of passes, validation must be data"):
        pf.fit(model, passes, steps=9)
    with pytest.raises(TrainingError, match="a function of passes gives x, or"):
        pf.fit(model, passes, steps=9, validation=None, weights=np.ones(64))


def test_mistakes(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match=r"the folder holds no \.parquet file"):
        ParquetRows(tmp_path / "empty")
    with pytest.raises(TableError, match="there is no column 'z'"):
        ParquetRows(folder, ["z"])
    (tmp_path / "no.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="not a Parquet file, in spite of its suffix"):
        FlowDensity().fit(tmp_path / "no.parquet")
    with pytest.raises(ValueError, match="rows of a file have no sample_weight"):
        FlowDensity().fit(folder, sample_weight=[1.0])
    pq.write_table(table(5).select(["a"]), folder / "z.parquet")
    with pytest.raises(TableError, match="the columns differ from those of"):
        ParquetRows(folder)


def rows_of(source, start, count, seed=3):
    return source.window(start, count, seed).column("n").to_pylist()


def test_every_row_is_seen_once_before_one_is_seen_again(folder):
    source = ParquetRows(folder)
    learned = [n for n in range(8000) if n % 500 % 10 != 9]
    epochs = [rows_of(source, epoch * 7200, 7200) for epoch in range(3)]
    for rows in epochs:
        assert sorted(rows) == learned
    assert len({tuple(rows) for rows in epochs}) == 3  # in other orders
    # However it is cut into passes, and wherever a run goes on, the sequence is the same.
    cut = [n for start in range(0, 21_600, 1_350) for n in rows_of(ParquetRows(folder), start, 1_350)]
    assert cut == [n for rows in epochs for n in rows]
    assert rows_of(source, 7_100, 300) == epochs[0][-100:] + epochs[1][:200]
    assert rows_of(source, 0, 10, seed=4) != epochs[0][:10]


def test_passes_of_a_fit_have_every_row_once_an_epoch(folder, monkeypatch):
    source = ParquetRows(folder, ["n"])
    seen = source.survey(10**6, 800, 0)
    schema = files.file_schema(seen, {"n": "continuous"})
    passes, _random, held = files.file_passes(source, seen, schema, 1_200, 0)
    epoch = np.concatenate([passes(number)[:, 0] for number in range(6)])
    assert len(held) == 800
    assert sorted({*epoch, *held[:, 0]}) == list(range(8000))
    assert len(set(epoch)) == len(epoch) == 7_200
    again, *_ = files.file_passes(ParquetRows(folder, ["n"]), seen, schema, 1_200, 0)
    np.testing.assert_array_equal(again(4), passes(4))


def damage(path, group):
    """Overwrite a part of a row group of a file."""
    damaged = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(group).column(1).data_page_offset
    damaged[place : place + 400] = bytes(400)
    path.write_bytes(bytes(damaged))


def test_damaged_files_and_row_groups_are_named_and_left_out(folder):
    damage(folder / "y.parquet", 2)
    (folder / "z.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(TableError, match=r"z\.parquet: cannot be read as Parquet"):
        ParquetRows(folder)
    (folder / "z.parquet").unlink()
    with pytest.raises(
        TableError, match=r"y\.parquet: row group 3 cannot be read .* leave such parts out with --skip-bad"
    ):
        ParquetRows(folder).window(0, 7_200, 0)
    (folder / "z.parquet").write_bytes(b"PAR1 and nothing more")
    source = ParquetRows(folder, skip_bad=True)
    assert source.rows == 7_500
    assert len(source.left_out) == 2
    assert source.rows_left_out == 500
    assert len(set(rows_of(source, 0, 6_750))) == 6_750


def test_addresses_and_patterns(folder):
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe({f"/tables/{name}": (folder / name).read_bytes() for name in ("x.parquet", "y.parquet")})
    remote, local = ParquetRows("memory://tables/*.parquet"), ParquetRows(f"{folder}/*.parquet")
    assert remote.rows == local.rows == 8000
    assert rows_of(remote, 100, 50) == rows_of(local, 100, 50)
    model = FlowDensity(steps=3, random_state=0, options={"hidden": (8,)}).fit("memory://tables/*.parquet")
    assert model.schema_.fields[3].labels == ("down", "rare", "up")
    with pytest.raises(TableError, match=r"memory://nothing/\*\.parquet: there is no such file\. Check the pattern\."):
        ParquetRows("memory://nothing/*.parquet")


def test_the_command_fits_a_pattern(folder, tmp_path):
    (folder / "z.parquet").write_bytes(b"PAR1 and nothing more")
    where = ("fit", f"{folder}/*.parquet", "--out", tmp_path / "m.safetensors", "--model", "mixed", "--steps", 5)
    answer = run_json(*where, "--drop", "n", "--skip-bad")
    assert answer["columns"] == ["a", "b", "kind"]
    assert answer["steps"] == 5
    assert (answer["train_rows"], answer["validation_rows"]) == (7_200, 800)
    assert answer["train"] != answer["validation"]


def test_models_are_judged_on_several_files(folder, tmp_path):
    model = tmp_path / "m.safetensors"
    run("fit", f"{folder}/*.parquet", "--out", model, "--model", "mixed", "--steps", 20, "--drop", "n")
    new = tmp_path / "new"
    new.mkdir()
    for k in range(2):
        pq.write_table(table(200, seed=20 + k), new / f"{k}.parquet")
    answer = run_json("evaluate", model, f"{new}/*.parquet")
    assert answer["rows"] == 400
    result = run("intervals", model, f"{new}/*.parquet", "--column", "a", "--out", tmp_path / "i.csv", code=1)
    assert "that names several files" in result.stderr
    result = run("score", model, f"{new}/*.parquet", "--out", tmp_path / "scores.csv", code=1)
    assert "are Parquet files in a folder. Name a folder." in result.stderr

"""Tables larger than memory: random rows of Parquet files, and fits that see others in every pass."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from command_line import run, run_json

import pushforward as pf
from pushforward.cli import fit
from pushforward.data import TableError
from pushforward.data.parquet import ParquetRows, of_length
from pushforward.distributions import Continuous, MixedTypeModel
from pushforward.estimators import FlowDensity, density
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


def test_drawn_rows_are_random_and_apart_from_those_held_out(folder):
    rows = ParquetRows(folder)
    assert rows.rows == 8000
    drawn, again, other = (rows.draw(900, seed, held=False).column("n").to_numpy() for seed in (0, 0, 1))
    assert len(drawn) == len(set(drawn)) == 900
    np.testing.assert_array_equal(drawn, again)
    assert set(drawn) != set(other)
    assert (np.diff(drawn) < 0).mean() > 0.3  # not in the order of the file
    learned = set(rows.draw(10**6, 0, held=False).column("n").to_numpy())
    held = set(rows.draw(10**6, 0, held=True).column("n").to_numpy())
    assert len(held) == 800
    assert not learned & held
    assert learned | held == set(range(8000))
    assert rows.labels(["kind"]) == {"kind": ["down", "rare", "up"]}
    assert ParquetRows(folder, ["a"]).draw(5, 0, held=True).column_names == ["a"]
    values = np.arange(6.0).reshape(3, 2)
    assert of_length(values, 2, 0).tolist() == values[:2].tolist()
    longer = of_length(values, 7, 0)
    assert longer.shape == (7, 2)
    assert {*map(tuple, longer)} == {*map(tuple, values)}


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
    monkeypatch.setattr(fit, "IN_MEMORY", 1000)
    monkeypatch.setattr(density, "PASS", 1000)
    where = ("fit", folder / "x.parquet", "--out", tmp_path / "m.safetensors")
    answer = run_json(*where, "--model", "mixed", "--steps", 20, "--drop", "n")
    assert answer["validation_rows"] == 400
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
    from pushforward.estimators import files

    source = ParquetRows(folder, ["n"])
    schema, _first = files.file_schema(source, {"n": "continuous"}, 0)
    passes, held = files.file_passes(source, schema, 1_200, 0)
    epoch = np.concatenate([passes(number)[:, 0] for number in range(6)])
    assert len(held) == 800
    assert sorted({*epoch, *held[:, 0]}) == list(range(8000))
    assert len(set(epoch)) == len(epoch) == 7_200
    again, _ = files.file_passes(ParquetRows(folder, ["n"]), schema, 1_200, 0)
    np.testing.assert_array_equal(again(4), passes(4))


def test_damaged_files_and_row_groups_are_named_and_left_out(folder):
    whole = (folder / "y.parquet").read_bytes()
    damaged = bytearray(whole)
    place = pq.ParquetFile(folder / "y.parquet").metadata.row_group(2).column(1).data_page_offset
    damaged[place : place + 400] = bytes(400)
    (folder / "y.parquet").write_bytes(bytes(damaged))
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

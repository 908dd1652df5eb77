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

"""A disk that is full while something is written: the old file stays, and one sentence says why.

Commands are tried on a small disk in memory, where the superuser runs the tests. Everywhere the limit on the size of
files stands in for one: the system refuses to write on in the same way, with another number.
"""

import errno
import os
import shutil
import subprocess
from contextlib import contextmanager, nullcontext, suppress

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

import pushforward as pf
from pushforward.batch import BatchModel, ShardPlan, run_shards
from pushforward.cli.app import app
from pushforward.estimators import FlowDensity, FlowImages
from pushforward.plots import plot_density
from pushforward.train import Stepped

resource = pytest.importorskip("resource", reason="the limit on the size of files is one of Unix")


@contextmanager
def full_disk(size=150):
    """Files cannot grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table with a gap in every tenth row, and models of it and of images."""
    place = tmp_path_factory.mktemp("full")
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=300), "b": random.choice(["x", "y"], 300)})
    table.to_csv(place / "t.csv", index=False)
    table.loc[::10, "a"] = np.nan
    table.to_parquet(place / "gaps.parquet")
    FlowDensity(steps=10, random_state=0).fit(table).save(place / "m.safetensors")
    images = random.integers(0, 4, (60, 6, 6))
    FlowImages(levels=4, options={"hidden": (8, 8)}, steps=5, random_state=0).fit(images).save(place / "i.safetensors")
    np.save(place / "images.npy", images.astype(np.uint8))
    return place


COMMANDS = {
    "fit": ("fit", "t.csv", "--out", "OUT.safetensors", "--steps", "3"),
    "fit images": (
        "fit", "images.npy", "--out", "OUT.safetensors", "--steps", "2", "--levels", "4", "--set", "hidden=8,8",
    ),
    "score": ("score", "m.safetensors", "t.csv", "--out", "OUT.csv"),
    "score parquet": ("score", "m.safetensors", "t.csv", "--out", "OUT.parquet"),
    "score feather": ("score", "m.safetensors", "t.csv", "--out", "OUT.feather"),
    "score gz": ("score", "m.safetensors", "t.csv", "--out", "OUT.csv.gz"),
    "sample": ("sample", "m.safetensors", "--out", "OUT.csv", "-n", "500"),
    "sample grid": ("sample", "i.safetensors", "--grid", "OUT.png", "-n", "16"),
    "sample npy": ("sample", "i.safetensors", "--out", "OUT.npy", "-n", "16"),
    "impute": ("impute", "m.safetensors", "gaps.parquet", "--out", "OUT.csv"),
    "intervals": ("intervals", "m.safetensors", "gaps.parquet", "--column", "a", "--out", "OUT.csv"),
    "anomalies": ("anomalies", "t.csv", "--out", "OUT.csv", "--steps", "3"),
    "report": ("report", "m.safetensors", "t.csv", "--out", "OUT.html"),
    "schema": ("schema", "t.csv", "--out", "OUT.toml"),
}  # fmt: skip


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    place = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only the superuser can mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("kind", ["limit", "disk"])
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_leave_the_old_file_and_say_one_sentence(name, kind, folder, tmp_path, monkeypatch, request):
    monkeypatch.chdir(folder)
    place, reason = tmp_path, "file too large"
    if kind == "disk":
        place, reason = request.getfixturevalue("small_disk"), "no space left on device"
        for path in place.iterdir():
            path.unlink()
    arguments = [part.replace("OUT", str(place / "out")) for part in COMMANDS[name]]
    out = next(part for part in arguments if str(place) in part)
    old = b"old content " * 20
    with open(out, "wb") as file:
        file.write(old)
    if kind == "disk":
        with suppress(OSError), open(place / "filler", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    with full_disk() if kind == "limit" else nullcontext():
        done = CliRunner().invoke(app, [*arguments, "--force"])
    assert done.exit_code == 1, done.output
    last = done.output.strip().splitlines()[-1]
    assert (
        last
        == f"Error: cannot write '{last.split(chr(39))[1]}': {reason}."
        + " The file that was there is as it was." * ("'" + out + "'" in last)
    )
    assert "Traceback" not in done.output
    assert "Errno" not in done.output
    with open(out, "rb") as file:
        assert file.read() == old
    left = {path.name for path in place.iterdir()} - {os.path.basename(out), "filler"}
    assert not {name for name in left if not name.endswith(".checkpoint")}, left


def test_the_library_leaves_the_old_file(tmp_path):
    flow = pf.flows.maf(2, depth=1, hidden=(8,))
    path = tmp_path / "flow.safetensors"
    pf.save(flow, path)
    before = path.read_bytes()
    with (
        full_disk(),
        pytest.raises(OSError, match=r"cannot write '.*flow\.safetensors': file too large\. The file") as error,
    ):
        pf.save(pf.flows.maf(2), path)
    assert error.value.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["flow.safetensors"]


def test_a_checkpoint_that_cannot_be_written_is_the_old_one(tmp_path):
    flow, x = pf.flows.maf(2, depth=1, hidden=(8,)), torch.randn(100, 2)
    path = tmp_path / "run.checkpoint"
    pf.fit(flow, x, steps=5, checkpoint=path, progress=False)
    before = path.read_bytes()
    with (
        full_disk(),
        pytest.warns(RuntimeWarning, match=r"fit: cannot write .*: file too large.* The run goes on without"),
    ):
        history = pf.fit(flow, x, steps=50, checkpoint=path, resume=True, checkpoint_seconds=0.0, progress=False)
    assert history.records[-1].step == 50
    assert path.read_bytes() == before
    assert pf.fit(flow, x, steps=60, checkpoint=path, resume=True, progress=False).records[-1].step == 60


def test_a_folder_that_vanishes_does_not_end_a_run(tmp_path):
    flow, x, folder = pf.flows.maf(2, depth=1, hidden=(8,)), torch.randn(100, 2), tmp_path / "folder"
    folder.mkdir()

    def hear(event):
        if isinstance(event, Stepped) and event.step == 10:
            shutil.rmtree(folder)

    with pytest.warns(RuntimeWarning, match=r"fit: cannot write .*the folder .* does not exist.* The run goes on"):
        history = pf.fit(
            flow,
            x,
            steps=20,
            checkpoint=folder / "run.checkpoint",
            checkpoint_seconds=0.0,
            callbacks=hear,
            progress=False,
        )
    assert history.records[-1].step == 20


def test_shards_that_cannot_be_written_are_done_later(folder, tmp_path):
    batch = BatchModel.of(folder / "m.safetensors")
    assert batch.columns == ["a", "b"]  # opened while there is room
    plan = ShardPlan.make(str(folder / "gaps.parquet"), str(tmp_path / "out"), batch.content)
    with full_disk():
        report = run_shards(plan, batch)
    assert len(report.errors) == 1
    assert "ile too large" in report.errors[0]
    assert not list((tmp_path / "out").iterdir())
    assert run_shards(plan, batch).rows == 300
    assert pq.read_table(tmp_path / "out").num_rows == 300


def test_pictures_of_one_call_leave_the_old_file(tmp_path):
    figure = plot_density(pf.flows.maf(2, depth=1, hidden=(8,)))
    with full_disk(), pytest.raises(OSError, match="ile too large"):
        figure.savefig(tmp_path / "picture.png")

"""The wheel and the source archive: what is in them, and that the installed wheel works by itself."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pushforward import __version__

CHECKOUT = Path(__file__).resolve().parent.parent
SHIPPED = ("py.typed", "data/samples/", "evaluate/templates/", "lab/static/lab.js", "lab/static/lab.css", "lab/flows/")
TABLE = "a,b\n" + "\n".join(f"{k % 7 + 0.25},{(3 * k) % 11 + 0.5}" for k in range(80))


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """(wheel, source archive), built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    build = (
        "from hatchling.build import build_sdist, build_wheel\n"
        f"print(build_wheel({str(folder)!r}))\nprint(build_sdist({str(folder)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", build], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    wheel, archive = done.stdout.split()[-2:]
    return folder / wheel, folder / archive


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """A folder with the wheel alone; what it depends on is that of the tests."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--no-compile", "--quiet", "--disable-pip-version-check", "--target", folder]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, archives[0]], check=True, capture_output=True)
    return folder


def run(installed, folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_archives_have_the_version_and_what_the_package_reads(archives):
    wheel, archive = archives
    assert wheel.name == f"pushforward-{__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert [part for part in SHIPPED if not any(name.startswith(f"pushforward/{part}") for name in names)] == []
    assert not [name for name in names if "node_modules" in name or name.startswith(("tests/", "web/"))]
    with tarfile.open(archive) as source:
        assert not [name for name in source.getnames() if "node_modules" in name]


def test_the_installed_wheel_fits_scores_and_samples(installed, tmp_path):
    (tmp_path / "table.csv").write_text(TABLE, "utf-8")
    where = run(installed, tmp_path, "-c", "import pushforward; print(pushforward.__file__)")
    assert where.stdout.startswith(str(installed)), where.stderr
    commands = (
        ["fit", "table.csv", "--out", "model.safetensors", "--steps", "5"],
        ["score", "model.safetensors", "table.csv", "--out", "scores.csv"],
        ["sample", "model.safetensors", "-n", "5", "--out", "samples.csv"],
    )
    for command in commands:
        done = run(installed, tmp_path, "-m", "pushforward", *command)
        assert done.returncode == 0, done.stderr
    assert len((tmp_path / "samples.csv").read_text("utf-8").splitlines()) == 6
    assert len((tmp_path / "scores.csv").read_text("utf-8").splitlines()) == 81

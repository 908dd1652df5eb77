"""Flow Lab in headless Chromium, driven by the programs of `web/tests`."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
WEB = CHECKOUT / "web"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
MISSING = [
    name
    for name, there in {
        "node": shutil.which("node"),
        "Chromium (or its path in CHROMIUM)": CHROMIUM,
        "`npm ci` in web/": (WEB / "node_modules" / "playwright-core").exists(),
    }.items()
    if not there
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}; `make test-lab` brings them"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where a Flow Lab with a model of the sample table runs."""
    pytest.importorskip("fastapi", reason="needs the extra lab")
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, "-m", "pushforward"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    table = CHECKOUT / "src" / "pushforward" / "data" / "samples" / "power_train.parquet"
    subprocess.run(
        [*command, "fit", str(table), "--out", "power.safetensors", "--model", "mixed", "--steps", "40"],
        cwd=folder, env=environment, check=True, capture_output=True,
    )  # fmt: skip
    with subprocess.Popen(
        [*command, "lab", str(folder), "--no-browser"], env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            line = server.stdout.readline()
            link = re.search(r"http://\S+", line)
            assert link is not None, line
            yield link.group(0)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The folder for lines of Python that the panels give."""
    return tmp_path_factory.mktemp("python")


def test_panels(address, programs):
    environment = {**os.environ, "FLOW_LAB": address, "CHROMIUM": CHROMIUM, "FLOW_LAB_PYTHON": str(programs)}
    command = ["node", "--test", "--test-reporter=tap", "tests/panels.test.mjs"]
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_lines_of_python_that_panels_give_run_as_they_are(address, programs):
    files = sorted(programs.glob("*.py"))
    assert len({file.stem.split("_")[0] for file in files}) == 6, "test_panels writes them"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    for file in files:
        code = file.read_text("utf-8").replace("steps=2_000", "steps=20")  # as they are, but for the time they take
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=programs, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{file.name}\n{code}\n{done.stderr[-2000:]}"


def test_the_files_of_the_package_are_what_the_sources_build(address):
    done = subprocess.run(["node", "build.mjs", "--check"], cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code", "id": "a1", "execution_count": None, "metadata": {}, "outputs": [],
            "source": ["import pushforward as pf\n", "pf.lab.widget()"],
        }
    ],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}  # fmt: skip
APP = """import marimo

app = marimo.App(width="full")


@app.cell
def _():
    import marimo as mo

    import pushforward as pf

    mo.ui.anywidget(pf.lab.widget())
    return
"""


@contextmanager
def served(command, folder, port):
    """The address of a notebook server, when it answers."""
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.3)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def notebook_test(name, variable, address):
    environment = {**os.environ, variable: address, "CHROMIUM": CHROMIUM}
    command = ["node", "--test", f"--test-name-pattern={name}", "tests/notebook.test.mjs"]
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_widget_in_jupyterlab(tmp_path):
    pytest.importorskip("jupyterlab", reason="needs jupyterlab in the environment of the tests")
    (tmp_path / "lab.ipynb").write_text(json.dumps(NOTEBOOK), "utf-8")
    port = free_port()
    options = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.token=t",
        f"--ServerApp.root_dir={tmp_path}",
    ]
    with served([sys.executable, "-m", "jupyterlab", *options], tmp_path, port) as address:
        notebook_test("JupyterLab", "JUPYTER", f"{address}/lab/tree/lab.ipynb?token=t")


def test_the_widget_in_marimo(tmp_path):
    pytest.importorskip("marimo", reason="needs marimo in the environment of the tests")
    (tmp_path / "app.py").write_text(APP, "utf-8")
    port = free_port()
    command = [sys.executable, "-m", "marimo", "run", "app.py", "--headless", f"--port={port}", "--no-token"]
    with served(command, tmp_path, port) as address:
        notebook_test("marimo", "MARIMO", address)

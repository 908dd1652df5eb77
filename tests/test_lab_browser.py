"""Flow Lab in headless Chromium, driven by the programs of `web/tests`."""

import os
import re
import shutil
import subprocess
import sys
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
        [*command, "fit", str(table), "--out", "power.safetensors", "--steps", "40"],
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


def test_panels(address):
    environment = {**os.environ, "FLOW_LAB": address, "CHROMIUM": CHROMIUM}
    command = ["node", "--test", "--test-reporter=tap", "tests/panels.test.mjs"]
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_files_of_the_package_are_what_the_sources_build(address):
    done = subprocess.run(["node", "build.mjs", "--check"], cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

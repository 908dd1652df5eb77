"""The example of CONTRIBUTING.md, pasted into a copy of the checkout, passes what it says that it passes."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def pasted(tmp_path_factory):
    """A copy of sources and tests with the new class in it, and the line that tests a class from outside."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("src", "tests"):
        shutil.copytree(CHECKOUT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", copy)
    text = (CHECKOUT / "CONTRIBUTING.md").read_text("utf-8")
    shear, outside = (textwrap.dedent(code) for _, code in BLOCK.findall(text))
    bijections = copy / "src" / "pushforward" / "bijections"
    (bijections / "shear.py").write_text(shear, "utf-8")
    names = (bijections / "__init__.py").read_text("utf-8")
    after = "from pushforward.bijections.scan import Scan\n"
    assert after in names
    names = names.replace(after, after + "from pushforward.bijections.shear import Shear\n")
    names = names.replace('    "Scan",\n', '    "Scan",\n    "Shear",\n')
    (bijections / "__init__.py").write_text(names, "utf-8")
    (copy / "outside.py").write_text("from pushforward.bijections import Shear\n" + outside, "utf-8")
    return copy


def run(folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_it_passes_its_properties_and_the_rules_of_the_house(pasted):
    options = ["-q", "-p", "no:cacheprovider", "tests/test_properties.py", "tests/test_imports.py", "-k"]
    output = run(pasted, "-m", "pytest", *options, "Shear or shear or floor or import or lines")
    counted = re.search(r"(\d+) passed", output)
    assert counted is not None
    assert int(counted.group(1)) > 10
    assert "Shear" in run(pasted, "-m", "pytest", "--collect-only", "-q", "tests/test_properties.py", "-k", "Shear")


def test_it_is_formatted_and_breaks_no_rule(pasted):
    run(pasted, "-m", "ruff", "check", "src/pushforward/bijections")
    run(pasted, "-m", "ruff", "format", "--check", "src/pushforward/bijections")


def test_the_line_for_classes_from_outside_runs(pasted):
    run(pasted, "outside.py")

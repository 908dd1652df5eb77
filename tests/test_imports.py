"""The house rules over source text: imports go downwards, lower floors need torch only, nothing asserts.

Every rule is a function from source to complaints, and every rule is also fed a file that breaks it.
"""

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "pushforward"

FLOORS = (
    {"_version"},
    {"core"},
    {"networks"},
    {"univariate"},
    {"bijections"},
    {"kernels"},
    {"distributions"},
    {"flows"},
    {"train", "io", "interop", "data", "testing"},
    {"evaluate"},
    {"plots"},
    {"estimators"},
    {"batch"},
    {"cli", "lab", "serve", "__main__"},
)
FLOOR = {part: level for level, parts in enumerate(FLOORS) for part in parts}
TOP = len(FLOORS) - 1
SIDEWAYS = {("train", "io"), ("cli", "lab"), ("cli", "serve"), ("__main__", "cli")}
"""The only neighbours that may import each other, one way."""

LIGHT = FLOOR["flows"]  # up to here: torch and the standard library
EXCEPTIONS = {("bijections/continuous.py", "torchdiffeq"), ("kernels/spline_triton.py", "triton")}
LEAVES = {
    "accelerate",
    "anywidget",
    "fastapi",
    "fsspec",
    "jinja2",
    "matplotlib",
    "pandas",
    "prometheus_client",
    "pyarrow",
    "pyspark",
    "ray",
    "rich",
    "scipy",
    "sklearn",
    "typer",
    "uvicorn",
}


parse = functools.cache(ast.parse)
"""Several rules read the same files."""


def imported_names(tree: ast.AST, path: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of every import at any depth, `import_module("...")` included."""
    package = ["pushforward", *Path(path).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = getattr(node.func, "attr", getattr(node.func, "id", None))
            if function in {"import_module", "__import__"}:
                name = str(node.args[0].value)
                dots = len(name) - len(name.lstrip("."))
                base = ".".join(package[: len(package) - dots + 1]) + "." if dots else ""
                yield node.lineno, base + name.lstrip(".")


def part_of(path: str) -> str:
    return Path(path).parts[0].removesuffix(".py")


def upward_imports(source: str, path: str) -> list[str]:
    """Complaints about imports that do not go downwards; `path` is relative to the package."""
    part = part_of(path)
    if part == "__init__":
        return []
    if part not in FLOOR:
        return [f"{path}: '{part}' has no floor yet; give it one in tests/test_imports.py"]
    complaints = []
    for line, name in imported_names(parse(source), path):
        root, _, rest = name.partition(".")
        if root != "pushforward":
            continue
        target = "_version" if rest == "__version__" else rest.partition(".")[0]
        if target == part or (part, target) in SIDEWAYS:
            continue
        # a name that is no part (`import pushforward`, `from pushforward import fit`) needs the whole house
        if FLOOR.get(target, TOP - 1) >= FLOOR[part]:
            complaints.append(f"{path}:{line}: {part} may not import {name}")
    return complaints


def heavy_imports(source: str, path: str) -> list[str]:
    """Complaints about third parties other than torch in the lower floors."""
    if FLOOR.get(part_of(path), TOP) > LIGHT:
        return []
    complaints = []
    for line, name in imported_names(parse(source), path):
        root = name.partition(".")[0]
        if root in sys.stdlib_module_names | {"pushforward", "torch"} or (path, root) in EXCEPTIONS:
            continue
        complaints.append(f"{path}:{line}: {root} below or at flows; torch and the standard library only")
    return complaints


def asserts(source: str, path: str) -> list[str]:
    """Complaints about `assert`: it vanishes under -O, so it never validates input."""
    tree = parse(source)
    return [f"{path}:{n.lineno}: assert; raise an error" for n in ast.walk(tree) if isinstance(n, ast.Assert)]


def modules_of(statement: str) -> list[str]:
    """The modules that a statement loads in a fresh process."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{statement!r} failed in a fresh process:\n{done.stderr}")
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def loaded_by(statement: str) -> set[str]:
    """The leaf libraries that a statement loads in a fresh process."""
    return LEAVES & {name.partition(".")[0] for name in modules_of(statement)}


@pytest.mark.parametrize("rule", [upward_imports, heavy_imports, asserts])
def test_every_source_file_keeps_the_rule(rule):
    files = sorted(SOURCE.rglob("*.py"))
    assert files, f"no source in {SOURCE}"
    complaints = [c for f in files for c in rule(f.read_text("utf-8"), f.relative_to(SOURCE).as_posix())]
    assert not complaints, "\n".join(complaints)


def test_importing_pushforward_loads_no_leaf_library():
    assert loaded_by("import pushforward") == set()


def test_a_flow_waits_for_no_compiler():
    """That of torch takes as long to load as torch itself."""
    names = modules_of("import torch, pushforward as pf; pf.flows.nsf(2).log_prob(torch.zeros(1, 2))")
    assert not [name for name in names if name.startswith(("torch._dynamo", "torch._inductor"))]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/bijection.py", "from ..networks import mlp"),
        ("core/bijection.py", "from .. import networks"),
        ("core/bijection.py", "import pushforward.flows.vector"),
        ("core/config.py", "def f():\n    from pushforward.bijections import LU"),
        ("core/config.py", "import importlib\nimportlib.import_module('pushforward.flows')"),
        ("core/config.py", "from importlib import import_module\nimport_module('..flows', __package__)"),
        ("networks/__init__.py", "from ..univariate.base import Univariate"),
        ("flows/vector.py", "if TYPE_CHECKING:\n    from ..train import fit"),
        ("flows/vector.py", "import pushforward as pf"),
        ("io.py", "from .train import fit"),
        ("io.py", "from . import data"),
        ("train/fit.py", "from ..data import table"),
        ("evaluate/plots.py", "from pushforward import estimators"),
        ("estimators/density.py", "from pushforward import fit"),
        ("lab/server.py", "from ..cli import main"),
        ("attic/old.py", ""),
    ],
)
def test_an_upward_import_is_caught(path, source):
    assert len(upward_imports(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("__init__.py", "from . import flows, estimators"),
        ("core/config.py", "from .._version import __version__"),
        ("core/config.py", "from pushforward import __version__"),
        ("core/bijection.py", "from .domain import REAL\nfrom . import checks"),
        ("flows/vector.py", "from ..bijections import Chain\nfrom pushforward.core import config"),
        ("train/fit.py", "from .. import io"),
        ("cli/main.py", "import pushforward as pf\nfrom ..evaluate.report import report"),
        ("__main__.py", "from .cli import main"),
    ],
)
def test_a_downward_import_is_allowed(path, source):
    assert upward_imports(source, path) == []


def test_a_third_party_on_a_lower_floor_is_caught():
    for source in ("import numpy as np", "def f():\n    from sklearn import mixture", "import torchdiffeq"):
        assert len(heavy_imports(source, "flows/vector.py")) == 1
    assert heavy_imports("def f():\n    import torchdiffeq", "bijections/continuous.py") == []
    assert heavy_imports("import math, torch\nfrom ..core import config", "flows/vector.py") == []
    assert heavy_imports("import numpy", "evaluate/metrics.py") == []


def test_a_leaf_library_in_a_fresh_process_is_caught():
    assert loaded_by("import rich.console") == {"rich"}


def test_an_assert_is_caught():
    assert len(asserts("def f(x):\n    assert x > 0", "core/checks.py")) == 1

"""Public classes have names of their own, and what refuses arguments says so in its docstring."""

import ast
from collections import Counter
from importlib import import_module

import pytest
from test_imports import SOURCE

CHECKS = {
    node.name
    for node in ast.parse((SOURCE / "core" / "checks.py").read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef)
}
"""Functions that raise where an argument is wrong."""

BESIDE_PACKAGES = ("core/config.py", "core/domain.py", "data/formats.py", "data/schema.py", "data/reader.py")
"""Modules that users import themselves."""


def parsed(path):
    return ast.parse((SOURCE / path).read_text("utf-8"))


def exported():
    """(path in the package, name) of everything that a package exports or a module of `BESIDE_PACKAGES` holds."""
    names = {
        (node.module.removeprefix("pushforward.").replace(".", "/") + ".py", alias.name)
        for path in SOURCE.rglob("__init__.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pushforward.")
        for alias in node.names
    }
    return names | {
        (path, node.name) for path in BESIDE_PACKAGES for node in parsed(path).body if hasattr(node, "name")
    }


def may_raise(function):
    """Whether a function raises an exception of its own, or calls one of the checks that do."""
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" not in ast.dump(node.exc):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CHECKS:
            return True
    return False


def silent(tree):
    """Names of the public classes and functions of a module that refuse arguments without a section ``Raises``."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        functions = [node]
        if isinstance(node, ast.ClassDef):
            functions = [part for part in node.body if getattr(part, "name", "") in ("__init__", "__post_init__")]
        if any(map(may_raise, functions)) and "Raises:" not in (ast.get_docstring(node) or ""):
            yield node.name


def test_what_refuses_arguments_says_so():
    public = exported()
    paths = sorted({path for path, _ in public if (SOURCE / path).exists()})
    assert not [f"{path}: {name}" for path in paths for name in silent(parsed(path)) if (path, name) in public]


@pytest.mark.parametrize(
    "body",
    [
        'class A:\n    def __init__(self, x):\n        at_least("A", "x", x, 1)',
        'class A:\n    def __post_init__(self):\n        raise ValueError("A")',
        'def a(x):\n    """A.\n\n    Args:\n        x: any.\n    """\n    raise ValueError("a")',
    ],
)
def test_silence_is_caught(body):
    assert len([*silent(ast.parse(body))]) == 1


def test_other_things_may_be_silent():
    fine = 'class A:\n    """A.\n\n    Raises:\n        ValueError: x.\n    """\n'
    fine += '    def __init__(self, x):\n        positive("A", "x", x)\n\n\n'
    fine += 'class B:\n    def f(self):\n        raise ValueError("B")\n\n\ndef _b():\n    raise ValueError("b")\n\n\n'
    fine += "def c(x):\n    try:\n        x()\n    except ValueError:\n        raise\n"
    assert not [*silent(ast.parse(fine))]


def test_no_two_public_classes_share_a_name():
    classes = Counter(
        node.name
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in classes.items() if count > 1] == []


PACKAGES = [path.parent.name for path in SOURCE.glob("*/__init__.py") if "\n__all__ = " in path.read_text("utf-8")]


@pytest.mark.parametrize("name", ["", *(f".{name}" for name in PACKAGES if name != "cli")])
def test_completion_shows_public_names_alone(name):
    package = import_module(f"pushforward{name}")
    shown = [entry for entry in dir(package) if not entry.startswith("__")]
    assert shown == sorted(entry for entry in package.__all__ if not entry.startswith("__"))
    assert {"__all__", "__doc__", "__name__"} <= set(dir(package))


def test_there_are_packages_to_complete():
    assert {"bijections", "distributions", "flows", "univariate", "train"} <= set(PACKAGES)

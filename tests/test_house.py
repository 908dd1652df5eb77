"""House rules over the whole source: short files, no import circles, the field's words."""

from pathlib import Path

import pytest
import words
from test_imports import SOURCE, imported_names, parse

# --- short files -----------------------------------------------------------------------------------------------------

LONGEST = 350


def long_files(sources):
    """Number of lines by file of those that have too many."""
    lengths = {path: source.count("\n") + (not source.endswith("\n")) for path, source in sources.items()}
    return {path: length for path, length in lengths.items() if length > LONGEST}


def sources(*suffixes):
    """The text of every source file by its path in the package."""
    files = sorted(path for path in SOURCE.rglob("*") if path.suffix in suffixes)
    return {path.relative_to(SOURCE).as_posix(): path.read_text("utf-8") for path in files}


def test_no_file_is_longer_than_350_lines():
    """A file is one idea."""
    assert not long_files(sources(".py", ".cpp", ".h")), "split these into files of one idea each"


def test_a_long_file_is_caught():
    assert long_files({"a.py": "\n" * 350, "b.py": "x\n" * 350 + "x", "c.h": "\n" * 400}) == {"b.py": 351, "c.h": 400}


# --- no circles ------------------------------------------------------------------------------------------------------


def module_of(path):
    """The dotted name of a file of the package."""
    return ".".join(["pushforward", *Path(path).with_suffix("").parts]).removesuffix(".__init__")


def imports_between(files):
    """Module -> modules of the package that it imports, in functions and for type checking too."""
    modules = {module_of(path): path for path in files}
    graph = {module: set() for module in modules}
    for module, path in modules.items():
        for _, name in imported_names(parse(files[path]), path):
            while name and name not in modules:
                name = name.rpartition(".")[0]
            if name and name != module:
                graph[module].add(name)
    return graph


def circles(graph):
    """Groups of modules each of which reaches all others of its group (Tarjan's strongly connected components)."""
    index, low, stack, groups = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(groups)


def test_no_modules_import_each_other_in_a_circle():
    assert circles(imports_between(sources(".py"))) == []


@pytest.mark.parametrize(
    "late",
    ["from pushforward.core import b", "if TYPE_CHECKING:\n    from .b import B", "def f():\n    from . import b"],
)
def test_a_circle_is_caught(late):
    files = {"core/a.py": late, "core/b.py": "from pushforward.core.c import C", "core/c.py": "from . import a"}
    files |= {"core/__init__.py": "", "core/d.py": "from pushforward.core import a"}
    assert circles(imports_between(files)) == [[f"pushforward.core.{name}" for name in "abc"]]
    assert circles(imports_between({**files, "core/c.py": ""})) == []


# --- words -----------------------------------------------------------------------------------------------------------


def test_the_project_uses_the_words_of_the_field():
    assert not words.counts(), "python tests/words.py prints the places"


def test_every_folder_is_read():
    read = {path.relative_to(words.CHECKOUT).parts[0] for path in words.files(words.READ)}
    assert read >= {"src", "tests", "benchmarks", "examples", "docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"}


@pytest.mark.parametrize(
    "source",
    [
        "def f(known): ...",
        "own = 1",
        "for sent in x: ...",
        "self.law = x",
        "class Staircase: ...",
        "x = column.law_of(3)",
        "def test_the_law_of_a_column(): ...",
        "f(context_kinds=3)",
        "tempered: bool = True",
        "# the law of a column",
        '"""What is found."""',
        '"""The same, overwriting its argument."""',
        '"""Teach glibc to keep memory."""',
        'f"stopped in {n} looks"',
        'raise ValueError("the budget was used")',
    ],
)
def test_a_word_of_the_old_lists_is_caught(source):
    assert len(words.offences(source, "core/a.py")) == 1


def test_words_in_cpp_are_caught_and_others_are_left_alone():
    assert len(words.offences("// the law of x\nfloat* found = x; int known[3];", "kernels/a.cpp")) == 3
    assert words.offences("", "core/law.py") == [(1, "file name law.py")]
    fine = "def given(self, observed): ...\nflow.given(x)  # a power law, the law of large numbers\n'lawn'\n"
    fine += "def power_law(temperature): ...\ndef __deepcopy__(self, memo): ...\n"
    assert words.offences(fine, "core/a.py") == []


def test_pages_may_speak_english():
    assert words.offences("Densities given what is known: power-law tails, `flow.given(x)`.", "docs/a.md") == []
    assert len(words.offences("The law of x by `law_of`, in `core/heap.py`.\n", "docs/a.md")) == 3

"""Private names of torch stand in one file, and the installed torch has all of them."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from pushforward.core import torch_internals

SOURCE = Path(torch_internals.__file__).resolve().parent.parent
ATTRIBUTES = {"_buffers", "_modules", "_non_persistent_buffers_set", "_parameters", "_version"}
"""Of modules and tensors of torch."""
PRIVATE = re.compile(r"\btorch(?:\.\w+)*\._(?!_)\w+|_dynamo_\w+|from torch[.\w]* import _(?!_)\w+")


@pytest.mark.parametrize("name", torch_internals.PRIVATE_NAMES)
def test_this_torch_has_it(name):
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            value = import_module(".".join(parts[:k]))
        except ImportError:
            continue
        break
    for part in parts[k:]:
        value = getattr(value, part)


def private_names(text):
    return PRIVATE.findall(text) + [
        node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES
    ]


def test_they_stand_in_one_file():
    complaints = {
        path.relative_to(SOURCE).as_posix(): names
        for path in SOURCE.rglob("*.py")
        if path.name != "torch_internals.py" and (names := private_names(path.read_text("utf-8")))
    }
    assert not complaints


def test_a_private_name_elsewhere_is_caught():
    lines = ("torch._C.f()", "from torch._inductor import x", "import torch._dynamo", "from torch.nn.m import _D")
    for line in (*lines, "x._version", "self._modules['a']"):
        assert private_names(line)
    assert not private_names("torch.nn.functional.relu(x)._shape, torch.__file__")


def test_a_function_marked_constant_is_what_the_compiler_looks_for():
    import torch

    @torch_internals.constant_in_graphs
    def answer(x):
        return open.__name__ == "open"  # the compiler cannot trace what it does not know; here it does not have to

    assert torch.compile(lambda x: x + 1 if answer(x) else x, fullgraph=True, backend="eager")(torch.ones(2))[0] == 2

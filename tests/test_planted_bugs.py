"""Bugs planted on purpose: each is caught by the property named beside it, which the sound object keeps."""

from importlib import import_module
from pkgutil import iter_modules

import planted
import pytest
from cases import needs_compiler
from planted.registry import BUGS

MODULES = {f"planted.{module.name}" for module in iter_modules(planted.__path__)} - {"planted.registry"}
for module in sorted(MODULES):
    import_module(module)  # each registers its bugs


def test_enough_bugs_are_planted():
    """In every module, and caught by many properties."""
    assert len(BUGS) >= 60
    assert len({bug.prop for bug in BUGS.values()}) >= 30
    assert {bug.plant.__module__ for bug in BUGS.values()} == MODULES


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=needs_compiler if bug.needs_compiler else ()) for name, bug in BUGS.items()],
)
def test_a_planted_bug_is_caught(name, monkeypatch):
    prop, make, plant, _ = BUGS[name]
    prop(*make())
    sound, *rest = make()
    broken = plant(monkeypatch, sound)
    with pytest.raises(AssertionError):
        prop(sound if broken is None else broken, *rest)

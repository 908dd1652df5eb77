"""Bugs planted on purpose: each is caught by the property named beside it, which the sound object keeps."""

import pytest
from cases import needs_compiler
from planted import assembly, files, kernels, parts, structure, training  # noqa: F401 - each registers its bugs
from planted.registry import BUGS


def test_enough_bugs_are_planted():
    """In every module, and caught by many properties."""
    assert len(BUGS) >= 60
    assert len({planted.prop for planted in BUGS.values()}) >= 30
    assert {planted.plant.__module__ for planted in BUGS.values()} == {
        f"planted.{name}" for name in ("assembly", "files", "kernels", "parts", "structure", "training")
    }


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=needs_compiler if bug.needs_compiler else ()) for name, bug in BUGS.items()],
)
def test_a_planted_bug_is_caught(name, monkeypatch):
    prop, make, plant, _ = BUGS[name]
    prop(*make())
    sound, *rest = make()
    planted = plant(monkeypatch, sound)
    with pytest.raises(AssertionError):
        prop(sound if planted is None else planted, *rest)

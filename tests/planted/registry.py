"""The list of planted bugs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

Plant = Callable[[pytest.MonkeyPatch, Any], Any]


class Bug(NamedTuple):
    """What the property takes, made by ``make``; ``plant`` spoils its first entry, or returns a spoiled one."""

    prop: Callable[..., Any]
    make: Callable[[], tuple[Any, ...]]
    plant: Plant
    needs_compiler: bool


BUGS: dict[str, Bug] = {}


def bug(prop, make, *, needs_compiler=False):
    """Register a planted bug under its function's name."""

    def register(plant: Plant) -> Plant:
        assert plant.__name__ not in BUGS, f"two bugs are called {plant.__name__}"
        BUGS[plant.__name__] = Bug(prop, make, plant, needs_compiler)
        return plant

    return register

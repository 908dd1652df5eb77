"""Flow Lab: six panels about flows, in the browser (``pushforward lab``) or in a notebook (``pf.lab.widget()``).

What is named here is imported when it is first used: the page needs the extra ``lab``, the widget the extra
``notebook``, and a session neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pushforward.lab.open_widget import widget
    from pushforward.lab.server import serve
    from pushforward.lab.session import LabSession

__all__ = ["LabSession", "serve", "widget"]

_HOMES = {"LabSession": "session", "serve": "server", "widget": "open_widget"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pushforward.lab' has no attribute {name!r}")
    value = getattr(import_module(f"pushforward.lab.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

"""The class of the widget, apart from `widget`, since it needs packages that a plain install does not bring."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from pushforward.lab.session import LabSession

__all__ = ["LabWidget"]

STATIC = Path(__file__).parent / "static"
BYTES_PER_SECOND = 600_000
"""Of events: servers of notebooks drop what comes faster than 1 MB a second."""


class LabWidget(anywidget.AnyWidget):  # type: ignore[misc,unused-ignore]
    """Flow Lab in a notebook; see `widget`."""

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        # Read at each use, so that a page that was built anew shows without a new kernel.
        script, style = _text("lab.js"), _text("lab.css")
        # Before the notebook hears of the widget, which a folder that is not there would leave behind.
        self.session = LabSession(self.send, folder, bytes_per_second=BYTES_PER_SECOND)
        super().__init__(_esm=script, _css=style)
        self.on_msg(self._hear)

    def _hear(self, _: Any, content: Any, buffers: Any) -> None:
        self.session.handle(content)

    def close(self) -> None:
        """End the session and its training, and take the widget away."""
        session = getattr(self, "session", None)
        if session is not None:
            session.close()
        super().close()


def _text(name: str) -> str:
    try:
        return (STATIC / name).read_text("utf-8")
    except FileNotFoundError:
        raise ValueError(
            "pf.lab.widget: the page is not built. Run `npm ci && npm run build` in the folder web/."
        ) from None

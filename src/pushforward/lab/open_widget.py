"""Flow Lab in a notebook: the same page as in the browser, with messages of the widget in place of a socket."""

from __future__ import annotations

import os
from typing import Any

from pushforward.core.extras import need_packages

__all__ = ["widget"]


def widget(folder: str | os.PathLike[str] | None = None) -> Any:
    """Flow Lab as a widget of Jupyter, JupyterLab, marimo and others that show `anywidget`.

    It has a session of its own, whose training ends with ``widget.close()`` or with the kernel.

    Args:
        folder: of model files that may be opened; None for none.

    Raises:
        ImportError: the extra ``notebook`` is not installed.
        ValueError: there is no such folder, or the page was not built.
    """
    need_packages("pf.lab.widget", "notebook", "anywidget")
    from pushforward.lab.notebook import LabWidget

    return LabWidget(folder)

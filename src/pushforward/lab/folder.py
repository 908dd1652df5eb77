"""The model files of the folder that a user opened; nothing outside of it is read."""

from __future__ import annotations

import os
from pathlib import Path

from pushforward.lab.arguments import LabError, shown

__all__ = ["ModelFolder"]

SUFFIX = ".safetensors"
MOST = 500
"""Files that are listed."""


class ModelFolder:
    """The files of a folder that may hold models; not those of folders below it.

    Args:
        folder: its path; None for no folder.

    Raises:
        ValueError: there is no such folder.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.path: Path | None = None
        self._as_written = "" if folder is None else str(os.fspath(folder))
        if folder is not None:
            if not os.path.isdir(folder):
                raise ValueError(f"{os.fspath(folder)}: there is no such folder. Name the folder of your model files.")
            self.path = Path(folder).resolve()

    def names(self) -> list[str]:
        """Names of the files, in order. Links that lead out of the folder are not among them."""
        if self.path is None:
            return []
        try:
            entries = sorted(entry.name for entry in os.scandir(self.path) if entry.name.endswith(SUFFIX))
        except OSError:
            return []
        return [name for name in entries[:MOST] if self._inside(name) is not None]

    def file(self, name: str) -> Path:
        """The path of one of `names`.

        Raises:
            LabError: there is no such file in the folder.
        """
        if self.path is None:
            raise LabError("No folder of models is open. Start Flow Lab with one: pushforward lab FOLDER.")
        path = self._inside(name) if name in self.names() else None
        if path is None:
            raise LabError(f"There is no model file {shown(name)} in the folder.")
        return path

    def path_of(self, name: str) -> str:
        """A file as the user would write it in Python: the folder as it was named, and the name."""
        return os.path.join(self._as_written, name)

    def _inside(self, name: str) -> Path | None:
        """The real path of a file that lies in the folder itself, whatever links it takes to get there."""
        if self.path is None:
            return None
        try:
            real = (self.path / name).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # Python 3.11 raises the last of a link to itself
            return None
        return real if real.parent == self.path and real.is_file() else None

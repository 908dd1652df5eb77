"""Files of this machine and of object stores (``s3://``, ``gs://``, ``memory://``) alike, through fsspec."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import fsspec

__all__ = ["Storage", "is_remote"]


def is_remote(path: str) -> bool:
    """Whether a path is an address of a kind that fsspec knows, such as ``s3://bucket/file``."""
    return "://" in path


class Storage:
    """Where a path or an address leads to.

    Args:
        address: a path, or an address such as ``"s3://bucket/folder"``.

    Raises:
        ValueError: the package for this kind of address is not installed, or there is no such kind.
    """

    def __init__(self, address: str) -> None:
        try:
            self.files, self.path = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{address}: {str(error).strip().rstrip('.')}.") from None

    def matching(self) -> list[str]:
        """The files that the path names, with ``*`` and ``?``, or the Parquet files in the folder that it is, as
        addresses, in order."""
        if self.files.isdir(self.path):
            files = [file for file in self.files.find(self.path) if file.endswith(".parquet")]
        else:
            files = self.files.glob(self.path)
        return sorted(self.files.unstrip_protocol(file) for file in files)

    def exists(self) -> bool:
        """Whether there is such a file."""
        return bool(self.files.exists(self.path))

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """The open file."""
        with self.files.open(self.path, "rb") as file:
            yield file

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """A file that gets its name when the block ends, and vanishes when the block fails: whoever reads finds all of
        it or nothing."""
        folder, _, name = self.path.rpartition("/")
        self.files.makedirs(folder or ".", exist_ok=True)
        temporary = f"{folder}/.{name}.{secrets.token_hex(6)}.tmp"
        try:
            with self.files.open(temporary, "wb") as file:
                yield file
            self.files.mv(temporary, self.path)
        except BaseException:
            with suppress(OSError, FileNotFoundError):
                self.files.rm(temporary)
            raise

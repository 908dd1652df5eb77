"""Files of this machine and of object stores (``s3://``, ``gs://``, ``memory://``) alike, through fsspec."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pushforward.core.extras import install_line
from pushforward.core.files import atomic_path

__all__ = ["Storage", "is_remote", "is_several"]

STAMPS = ("etag", "ETag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
"""By which of these, the first that there is, a file system knows that a file has changed."""


def is_remote(path: str) -> bool:
    """Whether a path is an address of a kind that fsspec knows, such as ``s3://bucket/file``."""
    return "://" in path


def is_several(path: str) -> bool:
    """Whether a path may name several files: a folder, a pattern or an address."""
    is_pattern = any(sign in path for sign in "*?") and not os.path.isfile(path)
    return is_remote(path) or is_pattern or os.path.isdir(path)


EXTRAS = ("s3", "gs")
"""Kinds of addresses for whose packages there are extras of the same names."""


def _is_hidden(file: str, folder: str) -> bool:
    """Whether a part of the path below a folder begins with a dot or an underscore."""
    below = file[len(folder) :] if file.startswith(folder) else file.rpartition("/")[2]
    return any(part.startswith((".", "_")) for part in below.split("/"))


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
            kind = address.partition("://")[0]
            remedy = f" ({install_line(kind)})" if kind in EXTRAS and isinstance(error, ImportError) else ""
            raise ValueError(f"{address}: {str(error).strip().rstrip('.')}{remedy}.") from None

    def matching(self) -> list[str]:
        """The file of that name; or the Parquet files in the folder that it is; or those that the path names with ``*``
        and ``?``: as addresses, in order. What is hidden, as unfinished files are, or begins with ``_``, as rows in
        quarantine and records of other programs do, does not count."""
        folder = re.split(r"[*?\[]", self.path)[0].rpartition("/")[0]  # that the address names
        if self.files.isdir(self.path):
            folder = self.path
            files = [file for file in self.files.find(self.path) if file.endswith(".parquet")]
        else:
            files = [self.path] if self.files.isfile(self.path) else self.files.glob(self.path)
        return sorted(self.files.unstrip_protocol(file) for file in files if not _is_hidden(file, folder))

    @property
    def address(self) -> str:
        """The whole address."""
        address: str = self.files.unstrip_protocol(self.path)
        return address

    def stamp(self) -> str:
        """A short text that is another one for another file, and for this one once it has changed."""
        about = self.files.info(self.path)
        changed = next((str(about[name]) for name in STAMPS if about.get(name) is not None), "")
        return hashlib.sha256(f"{self.address} {about.get('size')} {changed}".encode()).hexdigest()[:10]

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
        if isinstance(self.files, LocalFileSystem):
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with atomic_path(self.path) as path, open(path, "wb") as file:
                yield file
            return
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

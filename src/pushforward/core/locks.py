"""A file that only one process or thread writes at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["InUseError", "held"]

fcntl: Any = import_module("fcntl") if os.name == "posix" else None
"""Other systems have no such locks: there, runs are not kept apart."""


class InUseError(ValueError):
    """Another run writes the file."""


@contextmanager
def held(path: str | os.PathLike[str]) -> Iterator[None]:
    """Within the block no other block of this kind holds the same path, in no process of this machine.

    A lock file stands beside it meanwhile. The system frees the lock of a process that is killed. Where a file system
    has no locks there are none.

    Raises:
        InUseError: another one holds it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, held(f"{folder}/run"):
    ...     with held(f"{folder}/run"):
    ...         pass
    Traceback (most recent call last):
    ...
    pushforward.core.locks.InUseError: '.../run' is in use by another run (process ...).
    """
    if fcntl is None:
        yield
        return
    target = Path(os.path.realpath(path))
    lock = target.with_name(f".{target.name[-200:]}.lock")
    descriptor = _locked(lock, path)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                lock.unlink()
            os.close(descriptor)


def _locked(lock: Path, path: str | os.PathLike[str]) -> int | None:
    """The open lock file; None where the file system has no locks."""
    while True:
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError:  # whoever writes the file will say what is wrong with its folder
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            raise InUseError(
                f"{os.fspath(path)!r} is in use by another run{f' (process {holder})' if holder else ''}."
            ) from None
        except OSError:
            os.close(descriptor)
            return None
        # Whoever held it before may have removed the file: then another one is locked by now, or will be.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                with suppress(OSError):  # on a full disk nobody learns who holds it
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
        os.close(descriptor)

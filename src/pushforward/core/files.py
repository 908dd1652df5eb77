"""Writing a file so that nobody ever sees half of it.

The new content goes into a hidden file beside the target and is moved onto it in one step, once it is safely
on the disk. A process killed at any moment leaves the old file or the new one; what it may also leave is a
hidden file (``.<pid>-<random>-<name>``) that nothing reads.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["atomic_path", "check_writable"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What the system says when a disk, or the share of a user, is full or broken."""
_WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path that becomes ``path`` when the block ends, and vanishes when the block fails.

    A symbolic link is followed: the file that it points to is replaced, the link stays. The mode of an
    existing file is kept; a new file gets the mode that the umask asks for.

    Args:
        path: the file to write. Its folder must exist.

    Yields:
        A path in the same folder, ending in the same name for writers that look at the suffix.

    Raises:
        OSError: the folder is missing or read-only, or the target is a folder, read-only or a device.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     target = Path(folder, "x.csv")
    ...     with atomic_path(target) as temporary:
    ...         _ = temporary.write_text("x")
    ...         there_before = target.exists()
    ...     there_before, target.read_text()
    (False, 'x')
    """
    target = _writable_target(path)
    temporary = _create_beside(target)
    try:
        mode = stat.S_IMODE(os.stat(target if target.exists() else temporary).st_mode)
        yield temporary
        _sync(temporary)
        # Some writers replace the file they are given, mode included, so the mode is set last.
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL:
            reason = os.strerror(error.errno).lower()
            there = " The file that was there is as it was." if target.exists() else ""
            raise OSError(error.errno, f"cannot write {os.fspath(path)!r}: {reason}.{there}") from None
        raise
    # The rename itself is on the disk only once the folder is. The content is in place by now, and some file
    # systems cannot sync a folder, so this is the one step that may fail without a word.
    with suppress(OSError):
        _sync(target.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now what :func:`atomic_path` would raise later, before hours of work end in an error.

    The folder is tried out by creating and removing an empty hidden file in it. The target is not touched.

    >>> check_writable("nowhere/x.csv")
    Traceback (most recent call last):
    ...
    FileNotFoundError: cannot write 'nowhere/x.csv': the folder '...' does not exist. Create it first.
    """
    _create_beside(_writable_target(path)).unlink()


def _writable_target(path: str | os.PathLike[str]) -> Path:
    """The real path behind ``path``, after every check that needs no writing."""
    shown = os.fspath(path)
    start = f"cannot write {shown!r}: "
    target = Path(os.path.realpath(shown))
    if os.path.isdir(target) or shown.endswith(os.sep) or not shown:
        raise IsADirectoryError(start + "that is a folder. Name a file in it.")
    folder = target.parent
    if not os.path.exists(folder):
        raise FileNotFoundError(start + f"the folder {str(folder)!r} does not exist. Create it first.")
    if not os.path.isdir(folder):
        raise NotADirectoryError(start + f"{str(folder)!r} is a file, not a folder.")
    mode: int | None = None
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        pass  # a new file
    except OSError as error:  # a name that is too long, a loop of links
        raise type(error)(start + f"{_reason(error)}.") from None
    if mode is not None and not stat.S_ISREG(mode):
        raise OSError(start + "that is a device or a pipe, not a file. Name an ordinary file.")
    # Moving a file onto another needs no permission for the other, and the superuser needs none at all. A
    # file or folder without any write bit was protected on purpose, so the bits are honoured here whoever is
    # asking.
    if mode is not None and not (mode & _WRITE_BITS and os.access(target, os.W_OK)):
        raise PermissionError(start + "the file is read-only. Choose another name, or make it writable.")
    if not (os.stat(folder).st_mode & _WRITE_BITS and os.access(folder, os.W_OK | os.X_OK)):
        raise PermissionError(start + f"the folder {str(folder)!r} is read-only. Choose another one.")
    return target


def _create_beside(target: Path) -> Path:
    """Create an empty hidden file in the folder of ``target`` (the mode follows the umask)."""
    # The end of the name carries the suffix; 50 characters of it stay below the limit of 255 bytes in any
    # script.
    temporary = target.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{target.name[-50:]}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise type(error)(f"cannot write {str(target)!r}: {_reason(error)}.") from None
    return temporary


def _sync(path: Path) -> None:
    """Return once the content of a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    """The system's own words for an error, as the end of a sentence."""
    words = error.strerror or str(error)
    return words[:1].lower() + words[1:]

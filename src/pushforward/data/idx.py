"""Files of the idx format, in which MNIST and sets like it come."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pushforward.data.image_error import ImageError

__all__ = ["read_idx"]

UNSIGNED_BYTE = 8
"""The type of entries that is read."""
MOST_AXES, LARGEST = 4, 2**33


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an idx file, compressed by gzip or not.

    Raises:
        ImageError: the file is not of this format, holds other numbers, or ends too early or too late.
    """
    try:
        with path.open("rb") as plain:
            compressed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if compressed else path.open("rb") as file:
            return _read(path, file)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(f"{path}: cannot be read as an idx file ({error or type(error).__name__}).") from error


def _read(path: Path, file: _Readable) -> NDArray[np.uint8]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise ImageError(f"{path}: is no idx file: it does not begin with two zeros. Check the path.")
    if head[2] != UNSIGNED_BYTE:
        raise ImageError(f"{path}: holds numbers of the type {head[2]:#04x}; only unsigned bytes (0x08) are read.")
    axes = head[3]
    sizes = file.read(4 * axes)
    if not 1 <= axes <= MOST_AXES or len(sizes) < 4 * axes:
        raise ImageError(f"{path}: has a damaged header of {axes} axes.")
    shape = struct.unpack(f">{axes}I", sizes)
    expected = math.prod(shape)
    if expected > LARGEST:
        raise ImageError(f"{path}: says that it holds {expected:,} bytes, which do not fit the memory.")
    content = file.read(expected + 1)  # reading stops with the file, whatever its header says
    if len(content) != expected:
        more = "more" if len(content) > expected else f"{len(content):,}"
        raise ImageError(f"{path}: holds {more} bytes, and its header says {expected:,}. Download it again.")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)

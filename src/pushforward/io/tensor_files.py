"""Files of tensors, written atomically."""

from __future__ import annotations

import errno
import os
import re

from torch import Tensor

from pushforward.core.files import atomic_path

__all__ = ["write_tensors"]


def write_tensors(path: str | os.PathLike[str], tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write tensors that share no storage, and a header, as a file of safetensors.

    Raises:
        OSError: the file cannot be written there, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=header)
        except SafetensorError as error:  # which holds the system's error as text alone
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code)) from None

"""Images beside the images on which they are conditional, such as smaller or noisier ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pushforward.data.image_error import ImageError
from pushforward.data.images import SUFFIXES, Images, read_image, read_images

__all__ = ["read_given", "with_given"]


def read_given(path: str | os.PathLike[str]) -> Images:
    """Images on which others are conditional: all those that `read_images` reads, or one PNG or JPEG file.

    Raises:
        ImageError: there is no such file, or it cannot be read.
    """
    file = Path(path)
    if file.is_file() and file.suffix.lower() in SUFFIXES:
        return Images(read_image(file)[None], names=(file.name,))
    return read_images(file)


def with_given(images: Images, source: str | os.PathLike[str], path: str | os.PathLike[str]) -> Images:
    """The images of a source beside those of another path: of two folders those of the same names, else in order.

    Raises:
        ImageError: the other path cannot be read, or lacks an image, or is of another number of images.
    """
    others = read_given(path)
    if Path(source).is_dir() and Path(path).is_dir():
        places = {name: place for place, name in enumerate(others.names)}
        if lost := [name for name in images.names if name not in places]:
            raise ImageError(f"{path}: there is no {lost[0]}, which is in {source}. Give each image under its name.")
        return replace(images, pictures=others.pixels[[places[name] for name in images.names]])
    if len(others) != len(images):
        raise ImageError(
            f"{path}: there are {len(others)} images, and {len(images)} in {source}. Give one for each, in their order."
        )
    return replace(images, pictures=others.pixels)

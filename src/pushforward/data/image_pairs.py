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
    """The images of a source beside those of another path: of two folders those of the same names, whether they are PNG
    or JPEG files, else in order.

    Raises:
        ImageError: the other path cannot be read, or lacks an image, or is of another number of images.
    """
    others = read_given(path)
    if Path(source).is_dir() and Path(path).is_dir():
        return replace(images, pictures=others.pixels[_places(images, others, source, path)])
    if len(others) != len(images):
        raise ImageError(
            f"{path}: there are {len(others)} images, and {len(images)} in {source}. Give one for each, in their order."
        )
    return replace(images, pictures=others.pixels)


def _places(images: Images, others: Images, source: str | os.PathLike[str], path: str | os.PathLike[str]) -> list[int]:
    """Where among the others the image of the same name is; without its suffix, if that says which one."""
    whole = {name: place for place, name in enumerate(others.names)}
    stems: dict[str, list[int]] = {}
    for place, name in enumerate(others.names):
        stems.setdefault(os.path.splitext(name)[0], []).append(place)
    places: dict[int, None] = {}  # in their order, and each is looked up at once
    for name in images.names:
        alike = [whole[name]] if name in whole else stems.get(os.path.splitext(name)[0], [])
        if len(alike) != 1:
            problem = f"{len(alike)} images are called like {name}" if alike else f"there is no {name}"
            raise ImageError(f"{path}: {problem}, which is in {source}. Give each image under its name.")
        if alike[0] in places:
            raise ImageError(
                f"{path}: {others.names[alike[0]]} would be for {name} and for another image of {source}. Give each "
                "image under its name."
            )
        places[alike[0]] = None
    return list(places)

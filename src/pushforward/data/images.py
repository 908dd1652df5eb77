"""Images as whole numbers: idx files, NumPy arrays, and folders of PNG and JPEG with their labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.data.formats import TableError, format_of
from pushforward.data.idx import read_idx
from pushforward.data.image_error import ImageError
from pushforward.data.image_labels import (
    ImageAttributes,
    Labels,
    class_numbers,
    first_line,
    labels_as_text,
    labels_of_array,
    labels_of_files,
    labels_of_numbers,
)
from pushforward.data.pixel_arrays import to_pixels

__all__ = ["Images", "names_images", "read_image", "read_images"]

SUFFIXES = (".png", ".jpg", ".jpeg")
PIXEL_KEYS, LABEL_KEYS = ("images", "x", "data", "pixels"), ("labels", "y", "targets")
LARGEST = 2**33
"""Bytes of pixels, beyond which images are refused instead of filling the memory."""


@dataclass(frozen=True)
class Images:
    """Images of one shape, in whole numbers from 0 to 255.

    Args:
        pixels: (n, channels, height, width), uint8.
        labels: the number of the class of each image, (n,); None where there are no labels.
        classes: the name of each class.
        names: of each image: its file, or its place in an array.
        attributes: several numbers for each image instead of a class, where there are such.
        pictures: an image for each image, on which it is conditional, (n, channels, height, width); None where there
            are none.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = field(default=(), repr=False)
    attributes: ImageAttributes | None = field(default=None, repr=False)
    pictures: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of each image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def take(self, rows: NDArray[np.int64]) -> Images:
        """The images of these numbers."""
        return Images(
            self.pixels[rows],
            None if self.labels is None else self.labels[rows],
            self.classes,
            tuple(self.names[k] for k in rows) if self.names else (),
            None if self.attributes is None else self.attributes[rows],
            None if self.pictures is None else self.pictures[rows],
        )


def read_images(path: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> Images:
    """Read images of one shape, with their labels where there are any.

    Args:
        path: an idx file such as ``train-images-idx3-ubyte.gz`` (labels are in the file beside it whose name says
            labels for images); a ``.npy`` file, or an ``.npz`` file with ``images`` and ``labels``; or a folder of PNG
            and JPEG files, whose sub-folders, if there are any, are the classes. Arrays are (n, height, width),
            (n, height, width, channels) or (n, channels, height, width), with 1 or 3 channels.
        labels: an idx or ``.npy`` file of labels, or a CSV file: of a folder, with the columns ``file`` and ``label``
            (or the only two columns); of arrays, one label a row in the column ``label``. Without that column two or
            more others hold numbers, the attributes of each image.

    Raises:
        ImageError: a file cannot be read, an image has another size than the first, or labels do not fit the images;
            one sentence with the file.

    References:
        | The MNIST database of handwritten digits (LeCun et al., 1998), http://yann.lecun.com/exdb/mnist
    """
    source = Path(path)
    if not source.exists():
        raise ImageError(f"{source}: there is no such file or folder. Check the path.")
    if source.is_dir():
        return _folder(source, None if labels is None else Path(labels))
    pixels, beside = _array(source)
    listed = beside if labels is None else labels_of_array(Path(labels))
    if listed is not None and len(listed) != len(pixels):
        where = f"{source}" if labels is None else f"{labels}"
        raise ImageError(f"{where}: there are {len(listed)} labels for {len(pixels)} images. Give one for each image.")
    return _labelled(pixels, listed, tuple(f"{source.name}[{k}]" for k in range(len(pixels))))


def _labelled(pixels: NDArray[np.uint8], listed: Labels | None, names: tuple[str, ...]) -> Images:
    if isinstance(listed, ImageAttributes):
        return Images(pixels, names=names, attributes=listed)
    numbers, classes = (None, ()) if listed is None else class_numbers(listed)
    return Images(pixels, numbers, classes, names)


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """One PNG or JPEG file as (channels, height, width), with one channel where it is gray.

    Raises:
        ImageError: there is no such file, or it cannot be read.
    """
    file = Path(path)
    if not file.is_file():
        raise ImageError(f"{file}: there is no such file. Check the path.")
    return np.ascontiguousarray(np.moveaxis(_decode(file), 2, 0))


def names_images(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of images by its name: of a folder, an idx file, ``.npy``, ``.npz``, or one image.

    A folder whose name ends as that of a table does, such as ``rows.parquet``, is one of parts of a table. A path
    without a suffix at which nothing is counts as a folder.

    >>> names_images("train-images-idx3-ubyte.gz"), names_images("x.npz"), names_images("rows.csv")
    (True, True, False)
    """
    name = Path(path).name.lower()
    if name.endswith((".npy", ".npz", *SUFFIXES)) or _is_idx(name):
        return True
    if not os.path.isdir(path) and (os.path.exists(path) or Path(path).suffix):
        return False
    return not _is_table(name)


def _is_table(name: str) -> bool:
    try:
        format_of(name)
    except TableError:
        return False
    return True


def _is_idx(name: str) -> bool:
    name = name.lower().removesuffix(".gz")
    return name.endswith("ubyte") or ".idx" in name


# --- arrays


def _array(path: Path) -> tuple[NDArray[np.uint8], Labels | None]:
    """Pixels (n, channels, height, width) of a file, and its labels."""
    name = path.name.lower().removesuffix(".gz")
    if _is_idx(name):
        pixels = read_idx(path)
        beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        labels = labels_as_text(beside, read_idx(beside)) if beside != path and beside.exists() else None
        return _checked(path, pixels), labels
    if not name.endswith((".npy", ".npz")) or path.name.lower().endswith(".gz"):
        raise ImageError(
            f"{path}: images are idx files, .npy, .npz, or a folder of {', '.join(SUFFIXES)} files. Convert it."
        )
    try:
        content: Any = np.load(path, allow_pickle=False)
        if (single := isinstance(content, np.ndarray)) != name.endswith(".npy"):
            holds, suffix = ("one array", ".npy") if single else ("several arrays", ".npz")
            raise ImageError(f"{path}: holds {holds}, in spite of its suffix. Name it {path.stem}{suffix}.")
        if single:
            return _checked(path, content), None
        with content as arrays:
            stored = _entry(path, arrays, PIXEL_KEYS)
            listed = _entry(path, arrays, LABEL_KEYS, needed=False)
        return _checked(path, stored), None if listed is None else labels_of_numbers(path, listed)
    except ImageError:
        raise
    except Exception as error:  # of damaged files NumPy and zipfile raise errors of many kinds
        raise ImageError(f"{path}: cannot be read as NumPy arrays ({first_line(error)}). Write it again.") from error


def _entry(path: Path, arrays: Any, keys: Sequence[str], *, needed: bool = True) -> NDArray[Any] | None:
    for key in keys:
        if key in arrays.files:
            return np.asarray(arrays[key])
    if needed:
        raise ImageError(
            f"{path}: there is no array called {' or '.join(keys)}; it holds {', '.join(arrays.files) or 'nothing'}. "
            f"Save the pixels as {keys[0]!r}."
        )
    return None


def _checked(path: Path, pixels: Any) -> NDArray[np.uint8]:
    """Pixels as (n, channels, height, width)."""
    return to_pixels(str(path), pixels)[0]


# --- folders


def _folder(folder: Path, labels: Path | None) -> Images:
    named_so = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if lost := [file for file in named_so if not file.exists()]:
        raise ImageError(f"{lost[0]}: is a link to a file that is not there. Remove or mend it.")
    files = [file for file in named_so if file.is_file()]
    if not files:
        there = sorted(file.name for file in folder.iterdir())
        named = [name for name in there if "images-idx3" in name] or [name for name in there if _is_table(name)]
        remedy = f"Name one of its files, such as {folder / named[0]}." if named else "Name one that has."
        raise ImageError(f"{folder}: there are no {', '.join(SUFFIXES)} files in this folder. {remedy}")
    names = [file.relative_to(folder).as_posix() for file in files]
    if labels is not None:
        listed: Labels | None = labels_of_files(labels, names)
    else:
        parents = [Path(name).parent.as_posix() for name in names]
        listed = parents if len(set(parents)) > 1 or parents[0] != "." else None
        if listed is not None and "." in listed:
            outside = names[listed.index(".")]
            raise ImageError(f"{folder}: {outside} is in no sub-folder, and sub-folders are classes. Move it into one.")
    return _labelled(_decoded(files), listed, tuple(names))


def _decoded(files: Sequence[Path]) -> NDArray[np.uint8]:
    """The pixels of all files, gray where all are."""
    first: NDArray[np.uint8] | None = None
    images: list[NDArray[np.uint8]] = []
    for file in files:
        image = _decode(file)
        if first is None:
            first = image
            if first.nbytes * len(files) > LARGEST:
                raise ImageError(f"{file}: {len(files)} images of {first.shape[:2]} pixels do not fit the memory.")
        if image.shape[:2] != first.shape[:2]:
            (height, width), (h, w) = image.shape[:2], first.shape[:2]
            raise ImageError(
                f"{file}: it has {height} × {width} pixels, and {files[0].name} has {h} × {w}. Resize all to one size."
            )
        images.append(image)
    channels = max(image.shape[2] for image in images)
    same = [image if image.shape[2] == channels else np.repeat(image, channels, axis=2) for image in images]
    return np.ascontiguousarray(np.moveaxis(np.stack(same), 3, 1))


def _decode(file: Path) -> NDArray[np.uint8]:
    """(height, width, 1 or 3)."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            gray = image.mode in ("1", "L", "LA", "I", "I;16", "F")
            if image.mode in ("I", "I;16", "F"):
                raise ImageError(f"{file}: it has more than 8 bits a channel. Convert it to 8 bits.")
            pixels = np.asarray(image.convert("L" if gray else "RGB"))
    except ImageError:
        raise
    except Exception as error:  # of damaged files Pillow raises errors of many kinds
        raise ImageError(f"{file}: cannot be read as an image ({first_line(error)}). Remove or replace it.") from error
    return pixels[..., None] if gray else pixels

"""What images are labelled with: the class of each, or several numbers, in a file of their own."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.data.idx import read_idx
from pushforward.data.image_error import ImageError

__all__ = [
    "ImageAttributes",
    "class_numbers",
    "first_line",
    "labels_as_text",
    "labels_of_array",
    "labels_of_files",
    "labels_of_numbers",
]


@dataclass(frozen=True)
class ImageAttributes:
    """Several numbers for each image, such as an age and an angle.

    Args:
        values: (n, attributes), finite.
        columns: the name of each attribute.
    """

    values: NDArray[np.float64]
    columns: tuple[str, ...]

    ndim = 2

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> ImageAttributes:
        return ImageAttributes(self.values[rows], self.columns)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype)


Labels = list[str] | ImageAttributes


def labels_of_array(path: Path) -> Labels:
    """The labels of the images of an array, in its order."""
    if not path.exists():
        raise ImageError(f"{path}: there is no such file of labels. Check the path.")
    name = path.name.lower()
    if name.removesuffix(".gz").endswith("ubyte"):
        return labels_as_text(path, read_idx(path))
    if name.endswith(".npy"):
        try:
            labels = np.load(path, allow_pickle=False)
        except Exception as error:
            raise ImageError(f"{path}: cannot be read as labels ({first_line(error)}). Write it again.") from error
        return labels_of_numbers(path, labels)
    rows, header = _rows(path)
    if len(header) > 1 and "label" not in header:
        return _attributes(path, rows, header, range(len(header)))
    column = header.index("label") if "label" in header else 0
    return [_cell(path, number, row[column]) for number, row in enumerate(rows, 2)]


def labels_of_files(path: Path, names: Sequence[str]) -> Labels:
    """The labels of image files, by their names, from a CSV file."""
    if path.suffix.lower() != ".csv" and path.is_file():
        raise ImageError(
            f"{path}: the labels of a folder are a CSV file with the columns 'file' and 'label'. Convert it."
        )
    rows, header = _rows(path)
    if len(header) == 2 and not {"file", "label"} <= set(header):
        header = ["file", "label"]
    if "file" not in header or len(header) < 2:
        raise ImageError(
            f"{path}: the columns must be 'file' and 'label', or 'file' and several of numbers; they are "
            f"{', '.join(header)}."
        )
    place = header.index("file")
    columns = [header.index("label")] if "label" in header else [k for k in range(len(header)) if k != place]
    lines: dict[str, int] = {}
    for k, row in enumerate(rows):
        name = _cell(path, k + 2, row[place]).replace("\\", "/")
        cells = [_cell(path, k + 2, row[j]) for j in columns]
        first = rows[lines.setdefault(name, k)]
        if unlike := [(first[j], cell) for j, cell in zip(columns, cells, strict=True) if first[j] != cell]:
            raise ImageError(f"{path}: {name} has two labels, {unlike[0][0]!r} and {unlike[0][1]!r}. Leave one.")
    numbers = None if "label" in header else _attributes(path, rows, header, columns)
    if missing := [name for name in names if name not in lines]:
        raise ImageError(f"{path}: there is no label for {missing[0]} ({len(missing)} of {len(names)} files).")
    chosen = [lines[name] for name in names]
    return [rows[k][columns[0]] for k in chosen] if numbers is None else numbers[chosen]


def _attributes(path: Path, rows: list[list[str]], header: list[str], columns: Sequence[int]) -> ImageAttributes:
    """These columns as numbers."""
    values = np.empty((len(rows), len(columns)))
    for k, row in enumerate(rows):
        for place, j in enumerate(columns):
            cell = _cell(path, k + 2, row[j])
            try:
                values[k, place] = float(cell)
            except ValueError:
                raise ImageError(
                    f"{path}: line {k + 2} holds {cell!r} in the column {header[j]!r}, which is no number. Name the "
                    "column of classes 'label', or leave such columns out."
                ) from None
    names = tuple(header[j] for j in columns)
    if len(set(names)) < len(names) or not all(names):
        raise ImageError(f"{path}: each column needs a name of its own; they are {', '.join(header)}.")
    return ImageAttributes(_finite(path, values), names)


def _finite(path: Path, values: NDArray[Any]) -> NDArray[np.float64]:
    numbers = values.astype(np.float64)
    if not (finite := np.isfinite(numbers).all(axis=1)).all():
        raise ImageError(f"{path}: row {finite.argmin() + 1} holds a number that is missing or infinite. Fill it in.")
    return numbers


def labels_of_numbers(path: Path, labels: NDArray[Any]) -> Labels:
    """Labels in an array: names of classes (n,), or attributes (n, k)."""
    if labels.ndim == 2 and labels.shape[1] and labels.dtype.kind in "fiub":
        return ImageAttributes(_finite(path, labels), tuple(f"x{k}" for k in range(labels.shape[1])))
    return labels_as_text(path, labels)


def labels_as_text(path: Path, labels: NDArray[Any]) -> list[str]:
    """Labels in an array, (n,), as names of classes."""
    if labels.ndim != 1:
        raise ImageError(f"{path}: labels must be one number or name an image; got an array of shape {labels.shape}.")
    listed = [str(label) for label in labels.tolist()]
    if "nan" in listed and np.issubdtype(labels.dtype, np.floating):
        raise ImageError(f"{path}: label {listed.index('nan') + 1} of {len(listed)} is missing (NaN). Fill it in.")
    return listed


def _rows(path: Path) -> tuple[list[list[str]], list[str]]:
    """The rows of a small CSV file, and its header."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{path}: cannot be read as labels ({first_line(error)}). Check the file.") from error
    if len(lines) < 2:
        raise ImageError(f"{path}: there are no labels below the header.")
    header, rows = lines[0], lines[1:]
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ImageError(f"{path}: line {number} has {len(row)} cells, and the header has {len(header)}.")
    return rows, header


def _cell(path: Path, number: int, cell: str) -> str:
    """A cell that says something."""
    if not cell or not cell.isprintable():
        raise ImageError(f"{path}: line {number} has an empty cell, or one that is no text. Fill it in.")
    return cell


def class_numbers(listed: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers of the classes, which are in the order of numbers where all names are numbers."""
    names = set(listed)
    numeric = all(name.isascii() and name.isdigit() for name in names)
    classes = sorted(names, key=int) if numeric else sorted(names)
    place = {name: k for k, name in enumerate(classes)}
    return np.array([place[name] for name in listed], dtype=np.int64), tuple(classes)


def first_line(error: BaseException) -> str:
    """The first line of a message that says something."""
    lines: Iterator[str] = (line.strip() for line in str(error).splitlines() if line.strip())
    return next(lines, type(error).__name__)[:200]

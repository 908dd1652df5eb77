"""What images are conditioned on, as the context of a model: nothing, classes, a vector of attributes, or an image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushforward.data.image_labels import ImageAttributes
from pushforward.data.images import Images
from pushforward.estimators.image_condition import OWNER, Condition
from pushforward.estimators.image_pictures import Pictures, pictures_of

__all__ = ["Attributes", "Classes", "Condition", "Nothing", "Pictures", "condition_from_json", "learn_condition"]

MOST_CLASSES = 1_000


@dataclass(frozen=True)
class Nothing(Condition):
    """No condition."""

    size = 0

    def encode(self, y: Any, count: int) -> Tensor | None:
        if y is not None:
            raise ValueError(f"{OWNER}: this model was fitted without labels and takes no y. Leave it out.")
        return None

    def to_json(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Classes(Condition):
    """One of several classes, one feature for each.

    Args:
        names: of the classes.
        frequencies: how frequent each is, which sum to one.
    """

    names: tuple[Hashable, ...]
    frequencies: tuple[float, ...]

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.names)

    @property
    def log_frequencies(self) -> Tensor:
        return torch.tensor([math.log(p) for p in self.frequencies], dtype=torch.float64)

    def place(self, label: Any) -> int:
        """The number of a class; where no name is equal to the label, of the one that reads the same."""
        label = _plain(label)
        if label in self.names:
            return self.names.index(label)
        alike = [k for k, name in enumerate(self.names) if str(name) == str(label)]
        if len(alike) != 1:
            shown = ", ".join(map(repr, self.names[:12])) + ", ..." * (len(self.names) > 12)
            raise ValueError(f"{OWNER}: there is no class {label!r}. The classes are {shown}.")
        return alike[0]

    def encode(self, y: Any, count: int) -> Tensor:
        if y is None:
            return torch.zeros(count, self.size)
        places = [self.place(label) for label in (_listed(y) if _is_several(y) else [y] * count)]
        if len(places) != count:
            raise ValueError(f"{OWNER}: y has {len(places)} labels for {count} images. Give one for each, or one.")
        return torch.nn.functional.one_hot(torch.tensor(places, dtype=torch.long), self.size).float()

    def decode(self, context: Tensor | None) -> NDArray[np.int64] | None:
        return None if context is None or not context.any(dim=1).all() else context.argmax(dim=1).numpy()

    def each(self) -> Tensor:
        """The context of each class, (classes, size)."""
        return torch.eye(self.size)

    def to_json(self) -> dict[str, Any]:
        for name in self.names:
            if not isinstance(name, str | int | float | bool | None):
                raise ValueError(f"{OWNER}: the class {name!r} cannot be written to a file. Use strings or numbers.")
        return {"classes": list(self.names), "frequencies": list(self.frequencies)}


@dataclass(frozen=True)
class Attributes(Condition):
    """A vector of numbers, standardised, beside a feature that is one where they are told.

    Args:
        mean: of each attribute.
        scale: its standard deviation.
        names: of the attributes.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    names: tuple[str, ...]

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.mean) + 1

    def encode(self, y: Any, count: int) -> Tensor:
        if y is None:
            return torch.zeros(count, self.size)
        y = named_attributes(y)
        rows = _matrix(y)
        rows = rows[None] if rows.ndim == 1 else rows
        if isinstance(y, ImageAttributes) and y.columns != self.names:
            if sorted(y.columns) != sorted(self.names):
                raise ValueError(
                    f"{OWNER}: the model was fitted to the attributes {', '.join(self.names)}; y has "
                    f"{', '.join(y.columns)}. Name its columns as those."
                )
            rows = rows[:, [y.columns.index(name) for name in self.names]]
        if rows.shape[1:] != (len(self.mean),) or len(rows) not in (1, count):
            raise ValueError(
                f"{OWNER}: y must be one vector of {len(self.mean)} attributes or a matrix of one for each of {count} "
                f"images; got shape {rows.shape}."
            )
        values = (rows - np.array(self.mean)) / np.array(self.scale)
        told = np.concatenate([values, np.ones((len(rows), 1))], axis=1)
        return torch.as_tensor(told, dtype=torch.float32).expand(count, -1).clone()

    def decode(self, context: Tensor | None) -> ImageAttributes | None:
        if context is None or not context[:, -1].all():
            return None
        values = context[:, :-1].double().numpy() * np.array(self.scale) + np.array(self.mean)
        return ImageAttributes(values, self.names)

    def to_json(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "scale": list(self.scale), "names": list(self.names)}


def learn_condition(y: Any, count: int, grid: tuple[int, int] | None = None) -> Condition:
    """What ``y`` of ``count`` images conditions on: labels (n,), attributes (n, k) or images, (n, height, width) or
    with an axis of channels.

    Args:
        y: as said.
        count: number of images.
        grid: their (height, width); by default that of the images in y.

    Raises:
        ValueError: y is of another number of images, or cannot be conditioned on.
    """
    if y is None:
        return Nothing()
    y = named_attributes(y)
    listed = isinstance(y, list) and y and getattr(y[0], "ndim", 0) > 1
    if isinstance(y, Images) or listed or getattr(y, "ndim", 1) > 2:
        pixels = pictures_of(y)
        if len(pixels) != count:
            raise ValueError(f"{OWNER}: y is of {len(pixels)} images, and there are {count}. Give one for each image.")
        channels, height, width = pixels.shape[1:]
        mean, scale = float(pixels.mean()), float(pixels.std()) or 1.0
        return Pictures((channels, height, width), grid or (height, width), mean, scale)
    if not _is_several(y):
        raise ValueError(f"{OWNER}: y must list the label of each image; got {y!r}.")
    if len(y) != count:
        raise ValueError(f"{OWNER}: y is of {len(y)} images, and there are {count}. Give one label for each image.")
    if getattr(y, "ndim", 1) > 1:
        rows = _matrix(y)
        if not rows.shape[1]:
            raise ValueError(f"{OWNER}: y must be labels (n,) or attributes (n, k); got shape {rows.shape}.")
        scale = rows.std(axis=0)
        scale[scale == 0] = 1.0
        columns = y.columns if isinstance(y, ImageAttributes) else tuple(f"x{k}" for k in range(rows.shape[1]))
        return Attributes(tuple(rows.mean(axis=0).tolist()), tuple(scale.tolist()), columns)
    labels = _listed(y)
    try:
        counts = Counter(labels)
    except TypeError:
        raise ValueError(
            f"{OWNER}: labels must be hashable; got {labels[0]!r}. Give attributes as an array (n, k)."
        ) from None
    if any(isinstance(name, float) and not name.is_integer() for name in counts):
        raise ValueError(f"{OWNER}: y holds real numbers, which are no labels. Give attributes as an array (n, k).")
    if len(counts) > MOST_CLASSES:
        raise ValueError(
            f"{OWNER}: y has {len(counts):,} classes, and at most {MOST_CLASSES:,} are learned. Give attributes "
            "(n, k) instead."
        )
    names = _sorted(list(counts))
    return Classes(tuple(names), tuple(counts[name] / count for name in names))


def condition_from_json(stored: dict[str, Any]) -> Condition:
    """The inverse of `Condition.to_json`."""
    if "classes" in stored:
        return Classes(tuple(stored["classes"]), tuple(stored["frequencies"]))
    if not stored:
        return Nothing()
    if "grid" in stored:
        return Pictures(tuple(stored["shape"]), tuple(stored["grid"]), stored["mean"], stored["scale"])
    return Attributes(*(tuple(stored[name]) for name in ("mean", "scale", "names")))


def named_attributes(y: Any) -> Any:
    """A data frame of pandas, polars or pyarrow as `ImageAttributes`; other conditions as they are."""
    frame = nw.from_native(y, eager_only=True, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        return y
    try:
        values = frame.to_numpy().astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{OWNER}: attributes must be numbers; got a table with other columns.") from None
    return ImageAttributes(values, tuple(map(str, frame.columns)))


def _is_several(y: Any) -> bool:
    """Whether y lists several conditions; a string and a tuple are one."""
    return not isinstance(y, str | bytes | tuple) and hasattr(y, "__len__") and getattr(y, "ndim", 1) > 0


def _listed(y: Sequence[Any]) -> list[Any]:
    """Labels as plain objects of Python: numbers of numpy and torch are no names of classes."""
    return [_plain(label) for label in (y.tolist() if hasattr(y, "tolist") else y)]


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") else label


def _sorted(names: list[Any]) -> list[Any]:
    """Names in their order, numbers written as text in that of numbers; names of several types as they came."""
    try:
        if all(isinstance(name, str) and name.isascii() and name.isdigit() for name in names):
            return sorted(names, key=int)
        return sorted(names)
    except TypeError:
        return names


def _matrix(y: Any) -> np.ndarray:
    try:
        rows = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{OWNER}: attributes must be numbers; got {type(y).__name__}.") from None
    if not np.isfinite(rows).all():
        raise ValueError(f"{OWNER}: attributes must be finite; y holds NaN or infinity.")
    return rows

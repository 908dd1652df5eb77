"""Transforms of ``torch.distributions`` as bijections."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch import distributions as td

from pushforward.bijections.torch_affine import AffineTransform, corrected
from pushforward.core.bijection import Bijection
from pushforward.core.config import configurable, register_adapter
from pushforward.core.domain import REAL, Domain, Interval, Product, Real
from pushforward.core.entries import domain_of_each, product
from pushforward.core.shapes import EventSize, event_shape, sum_event
from pushforward.core.torch_constraints import domain_of_constraint
from pushforward.core.torch_internals import invert_transform

__all__ = ["TorchTransform", "from_torch_transform"]

ATTRIBUTES = {"tseq": "transforms"}
"""Where a transform keeps an argument of its constructor, if not under the argument's name."""

STRUCTURE = ("in_shape", "out_shape", "lengths")
"""Lists that are no parameters with a dtype."""


class _TorchBacked(Bijection):
    """What both kinds share. Events get their shape from their neighbours in a `Chain` or `Flow` where it is not given:
    transforms of torch have none."""

    _shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @abstractmethod
    def _object(self) -> Any:
        """The transform of torch, with parameters in the present dtype."""

    def _object_on_cpu(self) -> Any:
        """The transform for questions about its spaces, which a module on the meta device is asked as well."""
        return self._object()

    def set_shape(self, shape: tuple[int, ...], *, space: Domain | None = None, output: bool = False) -> None:
        transform = self._object_on_cpu()
        name = type(transform).__name__
        if not transform.bijective:
            raise ValueError(
                f"TorchTransform: {name} is not bijective. Take a surjection such as bijections.Abs, or "
                "bijections.CentredSoftmax for shares."
            )
        if self._shapes is not None and (output or self._shapes[0] != shape):
            return  # who asks compares shapes
        try:
            with torch.device("cpu"):
                other = tuple(transform.inverse_shape(shape) if output else transform.forward_shape(shape))
                ends = (other, shape) if output else (shape, other)
                before = space if space is not None and _is_affine(transform) else _domain(transform, ends[0])
                after = None if before is None else _image(transform, before, ends[0])
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"TorchTransform: {name} does not take events of shape {shape}: {reason}.") from None
        if before is None or after is None or before.dimension(ends[0]) != after.dimension(ends[1]):
            raise ValueError(
                f"TorchTransform: {name} from {transform.domain} to {transform.codomain} is no bijection between "
                f"spaces of pushforward.core.domain for events of shapes {ends[0]} and {ends[1]}."
            )
        self._shapes, self.domain, self.codomain = ends, before, after

    @property
    def has_shape(self) -> bool:
        """Whether the event shape is decided."""
        return self._shapes is not None

    def _ends(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self._shapes is None:
            name = type(self._object()).__name__
            raise ValueError(
                f"TorchTransform: nothing tells here which shape the events of {name} have. Give it: "
                f"bijections.from_torch_transform({name}(...), features)."
            )
        return self._shapes

    @property
    def in_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self._ends()[0]

    @property
    def out_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self._ends()[1]

    @property
    def dtype(self) -> torch.dtype | None:
        return next((buffer.dtype for buffer in self.buffers() if buffer.is_floating_point()), None)

    def _ladj(self, transform: Any, x: Tensor, y: Tensor) -> Tensor:
        if not x.numel():  # no rows: torch sums over axes of size -1, which it then cannot tell
            return sum_event(x, len(self.in_shape))
        ladj: Tensor = transform.log_abs_det_jacobian(x, y)
        batch = x.ndim - len(self.in_shape)
        if ladj.ndim < x.ndim:  # one number for several entries; of StackTransform torch states one axis too few
            ladj = ladj.expand(x.shape[: x.ndim - transform.domain.event_dim])
        return sum_event(ladj, ladj.ndim - batch)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        transform = self._object()
        y = transform(x)
        return y, self._ladj(transform, x, y)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        transform = self._object()
        x = invert_transform(transform, y)
        # At an end of the space, where x is infinite, densities tend to zero; torch's log-slopes are infinite or NaN.
        ends = sum_event((~x.isfinite()).to(x.dtype), len(self.in_shape)) > 0
        return x, torch.where(ends, -torch.inf, -self._ladj(transform, x, y))

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        y: Tensor = self._object()(x)
        return y

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return invert_transform(self._object(), y)


@configurable
class TorchTransform(_TorchBacked):
    r"""A transform of ``torch.distributions`` by its name and parameters; see `from_torch_transform` for one that
    exists.

    Both directions cost what torch's cost, and are as exact.

    Args:
        name: of the class, such as ``"AffineTransform"``, or ``"inverse"`` with the parameter ``base``.
        parameters: its arguments, numbers or nested lists of them; other transforms among them as
            ``{"name": ..., "parameters": ...}``.
        features: number of features, or the shape of an event; by default it follows from the neighbours in a `Chain`
            or `Flow`.

    Shape:
        ``x``: (*batch, *event shape), ``y``: (*batch, *the transformed shape), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no such class, it does not take these parameters or this shape, it is not bijective, or
            one of its spaces is none that this library knows.

    >>> import torch
    >>> TorchTransform("AffineTransform", {"loc": 1.0, "scale": -2.0}, 2)(torch.tensor([0.0, 1.0])).tolist()
    [1.0, -1.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"name": "AffineTransform", "parameters": {"loc": [1.0, 2.0], "scale": [-2.0, 0.5]}, "features": 2},
        {
            "name": "inverse",
            "parameters": {"base": {"name": "StickBreakingTransform", "parameters": {}}},
            "features": 3,
        },
    )

    def __init__(self, name: str, parameters: Mapping[str, Any], features: EventSize | None = None) -> None:
        super().__init__()
        self.description = {"name": name, "parameters": dict(parameters)}
        for key, value in _tensors(self.description, "value"):
            self.add_constant(key, value)
        self._object()
        if features is not None:
            self.set_shape(event_shape("TorchTransform", features))

    def set_shape(self, shape: tuple[int, ...], *, space: Domain | None = None, output: bool = False) -> None:
        super().set_shape(shape, space=space, output=output)
        if hasattr(self, "config"):
            self.config = {**self.config, "features": list(self.in_shape)}

    def _object(self) -> Any:
        return self._built(self.description, "value", lambda path, _: getattr(self, path))

    def _object_on_cpu(self) -> Any:
        return self._built(self.description, "value", lambda path, value: self._number(path, value))

    def _number(self, path: str, value: Any) -> Any:
        buffer: Tensor = getattr(self, path)
        return torch.tensor(value, dtype=buffer.dtype, device="cpu") if buffer.is_meta else buffer

    def _built(self, description: Mapping[str, Any], path: str, number: Callable[[str, Any], Any]) -> Any:
        """The transform that a description describes, its tensors by their path and value."""
        name = description["name"]
        cls: Any = getattr(td.transforms, name, None) if isinstance(name, str) else None
        parameters = description["parameters"].items()
        values = {key: self._value(key, value, f"{path}_{key}", number) for key, value in parameters}
        if name == "inverse" and set(values) == {"base"}:
            return values["base"].inv
        if not (isinstance(cls, type) and issubclass(cls, td.Transform)):
            raise ValueError(f"TorchTransform: torch.distributions.transforms has no class {name!r}.")
        try:
            return (AffineTransform if cls is td.AffineTransform else cls)(**values)
        except TypeError as error:
            raise ValueError(f"TorchTransform: {name} does not take these parameters: {error}.") from None

    def _value(self, key: str, value: Any, path: str, number: Callable[[str, Any], Any]) -> Any:
        if isinstance(value, Mapping):
            return self._built(value, path, number)
        if _are_transforms(value):
            return [self._built(item, f"{path}_{k}", number) for k, item in enumerate(value)]
        return number(path, value) if _is_numbers(key, value) else value


class _AnyTorchTransform(_TorchBacked):
    """An object of torch that numbers alone do not describe. It cannot be written to a file."""

    def __init__(self, transform: td.Transform) -> None:
        super().__init__()
        self.transform = corrected(transform)

    def _object(self) -> Any:
        return self.transform


def from_torch_transform(transform: td.Transform, features: EventSize | None = None) -> Bijection:
    """A transform of ``torch.distributions`` as a bijection. `Chain` and `Flow` take such an object as well, and give
    it the shape of its neighbours: ``Flow(base, torch.distributions.transforms.ExpTransform())``.

    Where numbers describe it (most classes, and compositions and inverses of them) the result is a `TorchTransform`,
    which can be saved. Others (with a distribution inside, with parameters that are learned, of classes of your own)
    are kept as they are, with their device and dtype, and saving refuses with a sentence.

    Args:
        transform: the object.
        features: number of features, or the shape of an event; by default that of its neighbours.

    Raises:
        ValueError: it is no transform, it is not bijective, or one of its spaces is none that this library knows.

    >>> import torch
    >>> from_torch_transform(torch.distributions.transforms.ExpTransform(), 2).codomain
    Interval(low=0.0, high=inf)
    """
    if not isinstance(transform, td.Transform):
        raise ValueError(f"from_torch_transform: needs a transform of torch; got {type(transform).__name__}.")
    description = _description(transform)
    if description is not None:
        return TorchTransform(description["name"], description["parameters"], features)
    part = _AnyTorchTransform(transform)
    if features is not None:
        part.set_shape(event_shape("from_torch_transform", features))
    return part


register_adapter(td.Transform, from_torch_transform)


def _is_affine(transform: Any) -> bool:
    """Whether a transform, or the first part of it, takes intervals to intervals: torch calls the line its domain."""
    while isinstance(transform, td.IndependentTransform | td.ComposeTransform):
        parts = transform.parts if isinstance(transform, td.ComposeTransform) else [transform.base_transform]
        if not parts:
            return False
        transform = parts[0]
    return isinstance(transform, td.AffineTransform) or isinstance(transform.inv, td.AffineTransform)


def _domain(transform: Any, shape: tuple[int, ...]) -> Domain | None:
    constraint = transform.domain
    return domain_of_constraint(constraint, shape) if constraint.event_dim <= len(shape) else None


def _image(transform: Any, space: Domain, shape: tuple[int, ...]) -> Domain | None:
    """What a transform makes of a space; None where it is none of this library's, or the transform does not start
    there."""
    if isinstance(transform, td.ComposeTransform):
        image: Domain | None = space
        for part in transform.parts:
            image = None if image is None else _image(part, image, shape)
            shape = tuple(part.forward_shape(shape))
        return image
    if isinstance(transform, td.IndependentTransform):
        return _image(transform.base_transform, space, shape)
    if _is_affine(transform) and isinstance(space, Real | Interval | Product):
        each = domain_of_each(space, math.prod(shape))
        ends = [
            transform(torch.tensor([part.ends[side] for part in each], dtype=torch.float64).reshape(shape)).flatten()
            for side in (0, 1)
        ]
        pairs = zip(torch.minimum(*ends).tolist(), torch.maximum(*ends).tolist(), strict=True)
        spaces = tuple(REAL if math.isinf(a) and math.isinf(b) else Interval(a, b) for a, b in pairs)
        return product(spaces, shape)
    if _domain(transform, shape) != space:
        return None
    end = tuple(transform.forward_shape(shape))
    constraint = transform.codomain
    return domain_of_constraint(constraint, end) if constraint.event_dim <= len(end) else None


def _description(transform: td.Transform) -> dict[str, Any] | None:
    """Name and parameters of an object; None where numbers do not describe it."""
    cls = type(transform)
    if getattr(td.transforms, cls.__name__, None) is not cls:
        return None
    if cls.__name__ == "_InverseTransform":
        base = _description(transform.inv)
        return None if base is None else {"name": "inverse", "parameters": {"base": base}}
    parameters = {}
    for parameter in list(inspect.signature(cls).parameters.values()):
        if parameter.name == "cache_size" or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            continue
        held = getattr(transform, ATTRIBUTES.get(parameter.name, parameter.name), None)
        value = _plain(held)
        if value is None and held is not None:
            return None
        parameters[parameter.name] = value
    return {"name": cls.__name__, "parameters": parameters}


def _plain(value: Any) -> Any:
    """A parameter as JSON; None where it is none."""
    if isinstance(value, td.Transform):
        return _description(value)
    if isinstance(value, Tensor):
        return None if value.requires_grad else value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [_plain(item) for item in value]
        return None if any(item is None for item in items) else items
    return value if isinstance(value, int | float | str) else None


def _are_transforms(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _is_numbers(key: str, value: Any) -> bool:
    return key not in STRUCTURE and isinstance(value, float | list | tuple)


def _tensors(description: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """The parameters that are numbers, by the names of their buffers."""
    for key, value in description["parameters"].items():
        inner = f"{path}_{key}"
        if isinstance(value, Mapping):
            yield from _tensors(value, inner)
        elif _are_transforms(value):
            for k, item in enumerate(value):
                yield from _tensors(item, f"{inner}_{k}")
        elif _is_numbers(key, value):
            yield inner, value

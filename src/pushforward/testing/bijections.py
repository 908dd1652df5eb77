"""Properties of bijections: functions of a `Case` that raise AssertionError, with numbers, where a property fails.

Tolerances follow the dtype, so the same properties hold in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.core.bijection import Inverse
from pushforward.testing.case import Case, Direction
from pushforward.testing.comparison import SHARP, close, jacobian
from pushforward.testing.random_parts import least_movement, movement
from pushforward.testing.tangents import between_tangents

__all__ = [
    "batch_shapes",
    "broadcasting",
    "gradients_reach_every_parameter",
    "inverse_ladj",
    "ladj_is_slogdet",
    "moves_points",
    "round_trip",
    "shapes_and_dtypes",
    "value_path_is_pair_path",
    "vmap_is_batch",
]


def require(condition: object, message: str) -> None:
    """Raise AssertionError where the condition fails (``assert`` vanishes under ``python -O``)."""
    if not bool(condition):
        raise AssertionError(message)


# --- shapes ----------------------------------------------------------------------------------------------------------


def shapes_and_dtypes(case: Case) -> None:
    """Values and ladj have the stated shapes and dtypes, images lie in the codomain, inputs are left unchanged."""
    bijection, x, context = case.bijection, case.x, case.context
    batch = x.shape[: x.ndim - len(bijection.in_shape)]
    before = x.clone()
    y, ladj = bijection.forward_and_ladj(x, context)
    back, back_ladj = case.inverse
    require(torch.equal(x, before), "the input was changed in place")
    require(y.shape == (*batch, *bijection.out_shape), f"y has shape {tuple(y.shape)}, out_shape {bijection.out_shape}")
    require(back.shape == x.shape, f"the inverse gives shape {tuple(back.shape)}, x has {tuple(x.shape)}")
    for value in (ladj, back_ladj):
        require(value.shape == batch, f"ladj has shape {tuple(value.shape)}, the batch {tuple(batch)}")
        require(torch.finfo(value.dtype).bits >= 32, f"ladj is {value.dtype}, coarser than float32")
    require(y.dtype == (bijection.out_dtype or x.dtype), f"y is {y.dtype}, out_dtype {bijection.out_dtype}")
    require(back.dtype == (bijection.in_dtype or x.dtype), f"the inverse gives {back.dtype}, in_dtype differs")
    require(bijection.codomain.contains(y).all(), f"a point lies outside the codomain {bijection.codomain}")
    require(isinstance(bijection, Inverse) or bijection.inv.inv is bijection, "T.inv.inv is not T")


def batch_shapes(case: Case) -> None:
    """Batches of shape (), (n,), (2, 3) and (0,) and strided memory give each row the same numbers."""
    bijection = case.bijection
    count = 6
    context = case.rows(count)[1]
    for name, function, _, start, (values, ladj) in case.directions:
        start = start[:count]

        def compare(
            actual: tuple[Tensor, Tensor],
            index: int | slice,
            what: str,
            name: str = name,
            values: Tensor = values,
            ladj: Tensor = ladj,
        ) -> None:
            close(actual[0], values[index], f"{name}, {what}", SHARP, through=bijection)
            close(actual[1], ladj[index], f"{name} ladj, {what}", SHARP, through=bijection)

        compare(function(start[1], None if context is None else context[1]), 1, "batch shape ()")
        folded = function(
            start.reshape(2, 3, *start.shape[1:]),
            None if context is None else context.reshape(2, 3, *context.shape[1:]),
        )
        require(folded[1].shape == (2, 3), f"{name}: ladj of a (2, 3) batch has shape {tuple(folded[1].shape)}")
        compare((folded[0].flatten(0, 1), folded[1].flatten()), slice(count), "batch shape (2, 3)")
        empty = function(start[:0], None if context is None else context[:0])
        shapes = tuple(empty[0].shape), tuple(empty[1].shape)
        require(shapes == (tuple(values[:0].shape), (0,)), f"{name}: an empty batch gives shapes {shapes}")
        strided = start.movedim(0, -1).contiguous().movedim(-1, 0)
        compare(function(strided, context), slice(count), "a non-contiguous batch")


def broadcasting(case: Case) -> None:
    """Batch shapes of x and context broadcast: the same numbers as with both expanded."""
    if case.context is None:
        return
    bijection, context = case.bijection, case.context[:3]
    for name, function, _, start, _ in case.directions:
        event = start.shape[1:]
        pairs = [(start[:2, None], context), (start[0], context), (start[:3], context[0])]
        expanded = []
        for x, c in pairs:
            batch = torch.broadcast_shapes(x.shape[: x.ndim - len(event)], c.shape[: c.ndim - context.ndim + 1])
            expanded.append((batch, x.expand(*batch, *event), c.expand(*batch, *context.shape[1:])))
        flat = [(x.reshape(-1, *event), c.reshape(-1, *context.shape[1:])) for _, x, c in expanded]
        values, ladjs = function(torch.cat([x for x, _ in flat]), torch.cat([c for _, c in flat]))
        sizes = [len(x) for x, _ in flat]
        for (x, c), (batch, *_), value, ladj in zip(
            pairs, expanded, values.split(sizes), ladjs.split(sizes), strict=True
        ):
            actual = function(x, c)
            shape = tuple(actual[1].shape)
            require(shape == tuple(batch), f"{name}: ladj has batch shape {shape} instead of {tuple(batch)}")
            close(actual[0].reshape(value.shape), value, f"{name}, broadcast", SHARP, through=bijection)
            close(actual[1].flatten(), ladj, f"{name} ladj, broadcast", SHARP, through=bijection)


# --- the mathematics -------------------------------------------------------------------------------------------------


def moves_points(case: Case) -> None:
    """Random weights move points: other properties say little about an identity."""
    moved = movement(case.bijection)
    least = least_movement(case.bijection)
    require(moved is None or moved > least, f"random weights move the median point by {moved or 0:.3g} only")


def round_trip(case: Case) -> None:
    """inverse(forward(x)) is x, and forward(inverse(y)) is y."""
    bijection = case.bijection
    if "round_trip" not in bijection.properties:
        return
    back = case.inverse[0].detach()
    close(back, case.x, "inverse(forward(x)) against x", through=bijection)
    close(bijection.forward(back, case.context), case.y, "forward(inverse(y)) against y", through=bijection)


def inverse_ladj(case: Case) -> None:
    """The ladj of the inverse is minus that of the forward direction."""
    if "inverse_ladj" in case.bijection.properties:
        close(case.inverse[1], -case.forward[1], "ladj of the inverse", through=case.bijection)


def ladj_is_slogdet(case: Case) -> None:
    """ladj is log|det| of the Jacobian by automatic differentiation, in both directions.

    On spaces whose points have more entries than dimensions, the matrix is that of the map between tangent spaces.
    """
    if "jacobian" not in case.bijection.properties:
        return
    bijection = case.bijection
    backward = jacobian(lambda t: bijection.inverse(t, case.context), case.y)
    ends = (bijection.domain, case.x), (bijection.codomain, case.y)
    for (name, _, _, _, (_, ladj)), matrix in zip(case.directions, (case.jacobian, backward), strict=True):
        start, end = ends if name == "forward" else ends[::-1]
        expected = torch.linalg.slogdet(between_tangents(matrix.to(torch.float64), start, end))[1]
        close(ladj, expected.to(ladj.dtype), f"ladj of the {name} direction", through=case.bijection)


def value_path_is_pair_path(case: Case) -> None:
    """``forward`` gives the values of ``forward_and_ladj``, ``inverse`` those of ``inverse_and_ladj``; with gradients
    recorded or not."""
    for name, function, value, start, (expected, ladj) in case.directions:
        for recording in (True, False):
            with torch.set_grad_enabled(recording):
                actual = value(start, case.context)
            close(actual, expected, f"{name} against {name}_and_ladj", SHARP, through=case.bijection)
        with torch.no_grad():
            pair = function(start, case.context)
        close(pair[0], expected, f"{name}_and_ladj without gradients", SHARP, through=case.bijection)
        close(pair[1], ladj, f"ladj of {name}_and_ladj without gradients", SHARP, through=case.bijection)


def vmap_is_batch(case: Case) -> None:
    """``torch.func.vmap`` over rows gives what the batch gives, with gradients recorded or not."""
    for name, function, _, start, expected in case.directions:
        arguments = (start,) if case.context is None else (start, case.context)
        for recording in (True, False):
            with torch.set_grad_enabled(recording):
                try:
                    actual = torch.func.vmap(function)(*arguments)
                except RuntimeError as error:
                    raise AssertionError(f"{name} cannot be mapped over rows: {error}") from error
            for a, b in zip(actual, expected, strict=True):
                close(a, b, f"vmap of {name}", SHARP, through=case.bijection)


def gradients_reach_every_parameter(case: Case) -> None:
    """In both directions x, the context and each parameter get a gradient that is finite and not zero."""
    for direction in case.directions:
        for name, gradient in _gradients(case, direction).items():
            what = f"{direction.name}: the gradient of {name}"
            if gradient is None:
                raise AssertionError(f"{what} is missing")
            require(gradient.isfinite().all(), f"{what} is not finite")
            # One feature has no off-diagonal entries and no earlier features.
            unused = gradient.numel() == 0 or (name.endswith("factors") and gradient.numel() == 1)
            require(unused or (gradient != 0).any(), f"{what} is zero")


def _gradients(case: Case, direction: Direction) -> dict[str, Tensor | None]:
    """Gradients of a loss that weighs every value differently."""
    start = direction.start.detach().requires_grad_()
    context = None if case.context is None else case.context.detach().requires_grad_()
    value, ladj = direction.function(start, context)
    weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    loss = (weights * value).sum() + ladj.square().sum()
    leaves = {"x": start, **dict(case.bijection.named_parameters())}
    if context is not None:
        leaves["context"] = context
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), allow_unused=True), strict=True))

"""Properties of bijections: functions of a `Case` that raise AssertionError, with numbers, where a property fails.

Tolerances follow the dtype, so the same properties hold in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pushforward.core.bijection import Inverse
from pushforward.testing.case import Case, Direction, Pair, seeded
from pushforward.testing.comparison import SHARP, close, jacobian
from pushforward.testing.random_parts import least_movement, movement
from pushforward.testing.tangents import between_tangents

__all__ = [
    "batch_shapes",
    "broadcasting",
    "gradients_reach_every_parameter",
    "inverse_ladj",
    "ladj_is_slogdet",
    "left_inverse",
    "moves_points",
    "right_inverse",
    "round_trip",
    "shapes_and_dtypes",
    "value_path_is_pair_path",
    "vmap_is_batch",
]


BOTH_SIDES = frozenset({"left_inverse", "right_inverse"})
"""A map that has both keeps ``"round_trip"`` and ``"inverse_ladj"``, which say the same."""


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
    y, ladj = seeded(bijection.forward_and_ladj)(x, context)
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
    """Batches of shape (), (n,), (2, 3) and (0,) and strided memory give each row the same numbers; but for
    log-determinants that are drawn, for other batches draw other numbers."""
    bijection = case.bijection
    count = 6
    context = case.rows(count)[1]
    for name, function, _, start, (values, ladj), draws, estimates, _ in case.directions:
        start = start[:count]

        def compare(
            actual: tuple[Tensor, Tensor],
            index: int | slice,
            what: str,
            name: str = name,
            values: Tensor = values,
            ladj: Tensor = ladj,
            draws: bool = draws,
            estimates: bool = estimates,
        ) -> None:
            if draws:  # other numbers for another shape
                shapes = tuple(actual[0].shape), tuple(actual[1].shape)
                expected = tuple(values[index].shape), tuple(ladj[index].shape)
                require(shapes == expected, f"{name}, {what}: shapes {shapes} instead of {expected}")
                return
            close(actual[0], values[index], f"{name}, {what}", SHARP, through=bijection)
            if not estimates:
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
    for name, function, _, start, _, draws, estimates, _ in case.directions:
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
            if draws:
                continue
            close(actual[0].reshape(value.shape), value, f"{name}, broadcast", SHARP, through=bijection)
            if not estimates:
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
    close(seeded(bijection.forward)(back, case.context), case.y, "forward(inverse(y)) against y", through=bijection)


def left_inverse(case: Case) -> None:
    """inverse(forward(x)) is x whatever the forward direction draws, and its ladj there is minus that of it."""
    if "left_inverse" not in case.bijection.properties or case.bijection.properties >= BOTH_SIDES:
        return
    close(case.inverse[0], case.x, "inverse(forward(x)) against x", through=case.bijection)
    close(case.inverse[1], -case.forward[1], "ladj of the inverse at forward(x)", through=case.bijection)


def right_inverse(case: Case) -> None:
    """forward(inverse(y)) is y whatever the inverse draws, and its ladj there is minus that of the inverse."""
    if "right_inverse" not in case.bijection.properties or case.bijection.properties >= BOTH_SIDES:
        return
    y, ladj = seeded(case.bijection.forward_and_ladj)(case.inverse[0].detach(), case.context)
    close(y, case.y, "forward(inverse(y)) against y", through=case.bijection)
    close(ladj, -case.inverse[1], "ladj at inverse(y)", through=case.bijection)


def inverse_ladj(case: Case) -> None:
    """The ladj of the inverse is minus that of the forward direction."""
    if "inverse_ladj" in case.bijection.properties:
        close(case.inverse[1], -case.forward[1], "ladj of the inverse", through=case.bijection)


def ladj_is_slogdet(case: Case) -> None:
    """ladj is log|det| of the Jacobian by automatic differentiation, in both directions; of a lift to more dimensions
    it is ½ log det JᵀJ, and that of the way back is left to `inverse_ladj`. An unbiased estimate is so in the mean over
    many draws, within `ERRORS` of their standard error. On spaces whose points have more entries than dimensions the
    matrix is that of the map between tangent spaces."""
    bijection = case.bijection
    if "jacobian" not in bijection.properties:
        return
    backward = jacobian(lambda t: seeded(bijection.inverse)(t, case.context), case.y)
    kinds = bijection.forward_log_det or bijection.log_det, bijection.log_det
    ends = (bijection.domain, case.x), (bijection.codomain, case.y)
    for direction, matrix, kind in zip(case.directions, (case.jacobian, backward), kinds, strict=True):
        start, end = ends if direction.name == "forward" else ends[::-1]
        matrix = between_tangents(matrix.to(torch.float64), start, end)
        if matrix.shape[1] < matrix.shape[2]:
            continue
        expected, what = _log_volume(matrix), f"ladj of the {direction.name} direction"
        ladj = direction.pair[1]
        if kind == "unbiased":
            _mean_is(expected, direction.function, direction.start, case.context, what)
        else:
            close(ladj, expected.to(ladj.dtype), what, through=bijection)


ERRORS = 5.0
"""Standard errors by which the mean of an unbiased estimate may differ: by chance once in a million comparisons."""

REPEATS = 400
"""How often an estimate is drawn."""


@torch.no_grad()
def _mean_is(expected: Tensor, function: Callable[..., Pair], x: Tensor, context: Tensor | None, what: str) -> None:
    """The mean of many draws of ladj at each row is what is expected, and so is the mean over all rows."""
    context = None if context is None else context.expand(REPEATS, *context.shape)
    draws = function(x.expand(REPEATS, *x.shape), context)[1].to(torch.float64)
    for values, target, where in ((draws, expected, "of each row"), (draws.mean(dim=1), expected.mean(), "of all")):
        error = (values.std(dim=0) / REPEATS**0.5).clamp(min=1e-6)  # rounding, where nothing varies
        off = ((values.mean(dim=0) - target) / error).abs().max()
        require(off < ERRORS, f"{what}: the mean {where} of {REPEATS} draws is {off:.1f} standard errors off")


def _log_volume(matrix: Tensor) -> Tensor:
    """log|det J| of square matrices, ½ log det JᵀJ of tall ones."""
    if matrix.shape[1] == matrix.shape[2]:
        return torch.linalg.slogdet(matrix)[1]
    return 0.5 * torch.linalg.slogdet(matrix.mT @ matrix)[1]


def value_path_is_pair_path(case: Case) -> None:
    """``forward`` gives the values of ``forward_and_ladj``, ``inverse`` those of ``inverse_and_ladj``; with gradients
    recorded or not."""
    for name, function, value, start, (expected, ladj), *_ in case.directions:
        for recording in (True, False):
            with torch.set_grad_enabled(recording):
                actual = value(start, case.context)
            close(actual, expected, f"{name} against {name}_and_ladj", SHARP, through=case.bijection)
        with torch.no_grad():
            pair = function(start, case.context)
        close(pair[0], expected, f"{name}_and_ladj without gradients", SHARP, through=case.bijection)
        close(pair[1], ladj, f"ladj of {name}_and_ladj without gradients", SHARP, through=case.bijection)


def vmap_is_batch(case: Case) -> None:
    """``torch.func.vmap`` over rows gives what the batch gives, with gradients recorded or not; values alone where
    log-determinants are drawn."""
    for name, function, value, start, expected, draws, estimates, _ in case.directions:
        if draws:
            continue  # functions of rows draw from torch's global generator, other numbers
        arguments = (start,) if case.context is None else (start, case.context)
        mapped: Callable[..., tuple[Tensor, ...]] = function
        outputs: tuple[Tensor, ...] = expected
        if estimates:  # under vmap, each row would draw from another state of the generator
            mapped, outputs = partial(_alone, value), expected[:1]
        for recording in (True, False):
            with torch.set_grad_enabled(recording):
                try:
                    actual = torch.func.vmap(mapped)(*arguments)
                except RuntimeError as error:
                    raise AssertionError(f"{name} cannot be mapped over rows: {error}") from error
            for a, b in zip(actual, outputs, strict=True):
                close(a, b, f"vmap of {name}", SHARP, through=case.bijection)


def _alone(value: Callable[..., Tensor], *arguments: Tensor) -> tuple[Tensor]:
    return (value(*arguments),)


def gradients_reach_every_parameter(case: Case) -> None:
    """In both directions x, the context and each parameter get a gradient that is finite and not zero."""
    for direction in case.directions:
        for name, gradient in _gradients(case, direction).items():
            if direction.discrete and name == "x":
                continue
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
    value = value.detach() if direction.discrete else value
    weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    loss = (weights * value).sum() + ladj.square().sum()
    leaves = {"x": start, **dict(case.bijection.named_parameters())}
    if context is not None:
        leaves["context"] = context
    if not loss.requires_grad:
        return dict.fromkeys(leaves)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), allow_unused=True), strict=True))

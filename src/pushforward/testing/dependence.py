"""Which outputs depend on which inputs, for the library's own kinds of map, checked against the Jacobian."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from pushforward.bijections import (
    ActNorm,
    Angle,
    BatchNorm,
    Bounds,
    Chain,
    Convolution1x1,
    Coupling,
    Diagonal,
    Elementwise,
    Flip,
    GraphAutoregressive,
    Guided,
    Indexed,
    Inverse,
    Linear,
    LinearMap,
    NeuralODE,
    Permute,
    Planar,
    Radial,
    RadialSquash,
    Reflect,
    Reordered,
    Reshape,
    Residual,
    Scale,
    Standardize,
    Sylvester,
    Whitening,
)
from pushforward.bijections.side_by_side import SideBySide
from pushforward.core.bijection import Bijection, TriangularMap
from pushforward.networks import ConvNet, LipschitzConvNet
from pushforward.testing.case import Case
from pushforward.testing.comparison import jacobian

__all__ = ["dependence", "pattern"]

Pattern = tuple[Tensor, Tensor]
"""Whether each output depends on each input, (outputs, inputs), and whether it depends on the context, (outputs,)."""

NUMERICALLY_ZERO = 1e-12

FEATURE_BY_FEATURE = (ActNorm, Angle, BatchNorm, Bounds, Diagonal, Elementwise, Reflect, Reshape, Scale, Standardize)


def pattern(bijection: Bijection) -> Pattern | None:
    """The dependences that a map should have; None where nothing is stated about its kind."""
    size = math.prod(bijection.in_shape)
    place = torch.arange(size).reshape(bijection.in_shape)
    eye, none = torch.eye(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    on_context = none if bijection.context_shape is None else ~none
    if isinstance(bijection, FEATURE_BY_FEATURE):
        return eye, on_context
    if isinstance(bijection, Guided):
        return pattern(bijection.bijection)
    if isinstance(bijection, TriangularMap):
        return torch.ones(size, size).tril().bool(), on_context
    if isinstance(bijection, Coupling):
        moved = ~torch.tensor(bijection.split.keeps)
        return eye | moved[:, None] & ~moved[None, :] & _within_reach(bijection), on_context & moved
    if isinstance(bijection, Convolution1x1):
        position = place.flatten() % math.prod(bijection.in_shape[1:])
        return position[:, None] == position, on_context
    if isinstance(bijection, Linear):
        return torch.tensor(bijection.config["matrix"]) != 0, on_context
    if isinstance(bijection, Whitening) and bijection.method == "cholesky":
        return torch.ones(size, size).tril().bool(), on_context
    if isinstance(bijection, Residual):
        return _within_reach(bijection), on_context
    if isinstance(bijection, NeuralODE) and isinstance(bijection.velocity.network, ConvNet):
        return None  # its reach grows with the number of steps
    if isinstance(bijection, LinearMap | NeuralODE | Planar | Radial | RadialSquash | Sylvester | Whitening):
        return torch.ones(size, size).bool(), on_context
    if isinstance(bijection, Permute):
        order = torch.tensor(bijection.config["order"])
        return eye[place.index_select(bijection.config.get("axis", -1), order).flatten()], on_context
    if isinstance(bijection, Flip):
        return eye[place.flip(bijection.config.get("axis", -1)).flatten()], on_context
    if isinstance(bijection, Inverse):
        return _pattern_of_inverse(bijection.bijection)
    if isinstance(bijection, GraphAutoregressive):
        reads = torch.tensor(bijection.context_reads)
        if bijection.context_shape is not None and not reads.all():
            return None  # some depend on some of the context
        return eye | torch.tensor(bijection.parents), on_context
    if isinstance(bijection, Reordered):
        return _put_back(bijection, pattern(bijection.bijection))
    if isinstance(bijection, SideBySide):
        return _side_by_side(bijection, [pattern(part) for part in _parts(bijection)], inverse=False)
    return _compose(map(pattern, _parts(bijection))) if isinstance(bijection, Chain) else None


def _put_back(bijection: Reordered, inner: Pattern | None) -> Pattern | None:
    """The pattern of a reordered map from that of the map itself."""
    back = bijection.order_back
    return None if inner is None else (inner[0][back][:, back], inner[1][back])


def _side_by_side(bijection: SideBySide, patterns: list[Pattern | None], *, inverse: bool) -> Pattern | None:
    """The pattern of maps side by side from those of the maps."""
    shapes = (bijection.out_shape, bijection.in_shape) if inverse else (bijection.in_shape, bijection.out_shape)
    size = math.prod(shapes[0])
    start, end = (
        bijection._split(torch.arange(size).reshape(shape), output=output)
        for shape, output in zip(shapes, (inverse, not inverse), strict=True)
    )
    on_x, on_context = torch.zeros(size, size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    if isinstance(bijection, Indexed):
        on_x |= torch.eye(size, dtype=torch.bool)
    for inputs, outputs, part in zip(start, end, patterns, strict=True):
        if part is None:
            return None
        on_x[outputs.flatten()[:, None], inputs.flatten()] = part[0]
        on_context[outputs.flatten()] = part[1]
    return on_x, on_context


def _within_reach(bijection: Coupling | Residual) -> Tensor:
    """Which entries the network sees from each entry, (out, in): for a convolution the cells within reach."""
    size = math.prod(bijection.in_shape)
    network = bijection.network if isinstance(bijection, Residual) else bijection.conditioner
    if not isinstance(network, ConvNet | LipschitzConvNet):
        return torch.ones(size, size).bool()
    axes = [torch.arange(n) for n in bijection.in_shape]
    cells = torch.cartesian_prod(*axes)[:, 1:]  # of each entry; all channels of a cell are seen together
    reach = network.reach if isinstance(network, ConvNet) else len(network.layers)
    return (cells[:, None] - cells[None, :]).abs().amax(dim=-1) <= reach


def _pattern_of_inverse(bijection: Bijection) -> Pattern | None:
    """All kinds but rearrangements, fixed matrices and residual maps have an inverse with the same pattern."""
    if isinstance(bijection, Chain):
        return _compose(map(_pattern_of_inverse, reversed(_parts(bijection))))
    if isinstance(bijection, Inverse):
        return pattern(bijection.bijection)
    if isinstance(bijection, Linear):
        return None  # which entries of an inverse matrix are zero shows in its numbers alone
    if isinstance(bijection, Reordered):
        return _put_back(bijection, _pattern_of_inverse(bijection.bijection))
    if isinstance(bijection, SideBySide):
        return _side_by_side(bijection, [_pattern_of_inverse(part) for part in _parts(bijection)], inverse=True)
    stated = pattern(bijection)
    if isinstance(bijection, Residual) and stated is not None:  # a fixed point depends on everything
        return torch.ones_like(stated[0]), stated[1]
    if isinstance(bijection, GraphAutoregressive) and stated is not None:  # a feature depends on all its ancestors
        reached = torch.linalg.matrix_power(stated[0].double(), len(stated[0])) > 0
        return reached, (reached.int() @ stated[1].int()).bool()
    return (stated[0].t(), stated[1]) if stated is not None and isinstance(bijection, Permute | Flip) else stated


def _parts(whole: Chain | SideBySide) -> list[Bijection]:
    return [part for part in whole.parts if isinstance(part, Bijection)]


def _compose(patterns: Iterable[Pattern | None]) -> Pattern | None:
    total: Pattern | None = None
    for then in patterns:
        if then is None:
            return None
        if total is None:
            total = then
        else:
            on_x, on_context = total
            through = then[0].int()
            total = (through @ on_x.int()).bool(), (through @ on_context.int()).bool() | then[1]
    return total


def dependence(case: Case) -> None:
    """Every dependence that should exist does, that of the first feature on the context included, and no other.

    Needs many rows: a dependence through rectified units shows at some points only.
    """
    expected = pattern(case.bijection)
    if expected is None:
        return
    _compare("x", case.jacobian.abs().amax(dim=0), expected[0])
    if case.context is not None:
        on_context = jacobian(lambda c: case.bijection.forward(case.x, c), case.context).abs().amax(dim=0)
        _compare("the context", on_context, expected[1][:, None].expand_as(on_context))


def _compare(what: str, sizes: Tensor, expected: Tensor) -> None:
    """Largest absolute derivatives over all rows against where they may differ from zero."""
    excess, lost = (sizes != 0) & ~expected, (sizes <= NUMERICALLY_ZERO) & expected
    for wrong, says in ((excess, "depends on"), (lost, "does not depend on")):
        if bool(wrong.any()):
            output, entry = wrong.nonzero()[0].tolist()
            raise AssertionError(f"output {output} {says} entry {entry} of {what}; largest derivatives:\n{sizes}")

"""Multiscale composition: part of the event leaves after each level, the rest goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from pushforward.bijections.inherited import inherit
from pushforward.core.bijection import Bijection
from pushforward.core.checks import one_of
from pushforward.core.config import configurable
from pushforward.core.domain import Real

__all__ = ["Multiscale"]

Apply = Callable[[Any, Tensor], tuple[Tensor, ...]]


@configurable
class Multiscale(Bijection):
    r"""Levels of layers, after each of which but the last half of the channels are factored out.

    .. math:: (h_k, z_k) = T_k(h_{k-1}), \qquad y = (h_L, z_{L-1}, \dots, z_1), \qquad \log|\det| = \sum_k \log|\det
        \nabla T_k|

    Of the C channels that a level gives, the first ⌊C/2⌋ go on and the others are finished, so that later levels see
    fewer and, with a `Squeeze` in front of each, coarser entries. The finished parts are a vector, the coarsest first:
    any base of D features will do. A `Coupling` at the end of a level that keeps the first channels makes what is
    factored out depend on what goes on, which is the learned prior of Glow. Both directions cost those of the levels.

    Args:
        levels: maps with events of two or more axes or vectors; each starts where the kept half of the one before it
            ends.
        latent: ``"flat"``: y is a vector; ``"event"``: a tensor of the shape of x, filled in the same order.

    Shape:
        ``x``: (*batch, *levels[0].in_shape), ``y``: (*batch, D) or the shape of x, ``ladj``: (*batch,).

    Raises:
        ValueError: a level does not start where the one before it ends, or has no channels to factor out.

    References:
        | Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039

    >>> import torch
    >>> from pushforward.bijections import Squeeze
    >>> part = Multiscale([Squeeze([1, 4, 4]), Squeeze([2, 2, 2])])
    >>> part(torch.arange(16.0).reshape(1, 4, 4)).tolist()[:4]
    [0.0, 2.0, 8.0, 10.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "levels": [
                {
                    "type": "Chain",
                    "parts": [
                        {"type": "Squeeze", "features": [1, 4, 4]},
                        {"type": "Pointwise", "bijection": {"type": "LU", "features": 4}, "spatial": [2, 2]},
                        {
                            "type": "Coupling",
                            "univariate": {"type": "Affine"},
                            "features": [4, 2, 2],
                            "context": 1,
                            "hidden": [4],
                            "conditioner": "conv",
                        },
                    ],
                },
                {"type": "Pointwise", "bijection": {"type": "LU", "features": 2}, "spatial": [2, 2]},
            ],
        },
        {
            "levels": [{"type": "LU", "features": 5}, {"type": "LU", "features": 2}, {"type": "Flip", "features": 1}],
            "latent": "event",
        },
    )

    def __init__(self, levels: Sequence[Bijection], *, latent: str = "flat") -> None:
        super().__init__()
        one_of("Multiscale", "latent", latent, ("flat", "event"))
        levels = list(levels)
        if not levels or not all(isinstance(level, Bijection) for level in levels):
            raise ValueError("Multiscale: levels must list one or more bijections.")
        for k, (a, b) in enumerate(pairwise(levels)):
            if a.out_shape[0] < 2:
                raise ValueError(
                    f"Multiscale: levels[{k}] ({type(a).__name__}) ends in shape {a.out_shape}, with one channel, "
                    "which cannot be factored out in part. Put a Squeeze into it, or leave later levels out."
                )
            if b.in_shape != (rest := (a.out_shape[0] // 2, *a.out_shape[1:])):
                raise ValueError(
                    f"Multiscale: levels[{k + 1}] ({type(b).__name__}) starts from shape {b.in_shape} but the kept "
                    f"half of levels[{k}] ({type(a).__name__}) has shape {rest}. Build it for events of that shape."
                )
        for k, level in enumerate(levels):
            ends = [level.codomain, *([level.domain] if k else [])]
            if level.lifts != "none" or not level.keeps_dimension or not all(isinstance(end, Real) for end in ends):
                raise ValueError(
                    f"Multiscale: levels[{k}] ({type(level).__name__}) must be a bijection between unbounded spaces, "
                    "but for the start of the first. Put other maps in front of the whole."
                )
        contexts = {level.context_shape for level in levels} - {None}
        if len(contexts) > 1:
            raise ValueError(f"Multiscale: all levels must take the same context; got {sorted(map(str, contexts))}.")
        self.levels, self.context_shape = nn.ModuleList(levels), next(iter(contexts), None)
        self.in_shape, self.domain = levels[0].in_shape, levels[0].domain
        self.out_shape = self.in_shape if latent == "event" else (math.prod(self.in_shape),)
        inherit(self, levels)

    @property
    def data_dependent(self) -> bool:
        return any(level.data_dependent for level in self._each_level())

    @property
    def in_dtype(self) -> torch.dtype | None:
        return self._each_level()[0].in_dtype

    @property
    def out_dtype(self) -> torch.dtype | None:
        return next((d for level in self._each_level()[::-1] if (d := level.out_dtype) is not None), None)

    def _each_level(self) -> list[Any]:
        return list(self.levels)

    def _parts(self, level: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """What goes on after a level, and what is finished, as a vector."""
        axis = -len(level.out_shape)
        kept, done = y.split([y.shape[axis] // 2, y.shape[axis] - y.shape[axis] // 2], dim=axis)
        return kept, done.flatten(axis)

    def _joined(self, parts: list[Tensor], x: Tensor) -> Tensor:
        return torch.cat(parts[::-1], dim=-1).reshape(*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape)

    def _split(self, y: Tensor) -> list[Tensor]:
        """The finished parts of y, that of the last level first."""
        sizes = [math.prod(level.out_shape) for level in self._each_level()]
        rests = [math.prod(level.in_shape) for level in self._each_level()[1:]]
        done = [size - rest for size, rest in zip(sizes, [*rests, 0], strict=True)]
        return list(y.flatten(-len(self.out_shape)).split(done[::-1], dim=-1))

    def _whole(self, level: Any, rest: Tensor | None, part: Tensor) -> Tensor:
        """The output of a level from what went on, None after the last level, and what was finished."""
        batch = part.shape[:-1]
        if rest is None:
            return part.reshape(*batch, *level.out_shape)
        channels = level.out_shape[0] - level.out_shape[0] // 2
        return torch.cat([rest, part.reshape(*batch, channels, *level.out_shape[1:])], dim=-len(level.out_shape))

    def _down(self, apply: Apply, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """y, and what the levels give beside their values, for a function of a level and its input."""
        *levels, last = self._each_level()
        rest, parts, beside = x, [], []
        for level in levels:
            y, *more = apply(level, rest)
            rest, done = self._parts(level, y)
            parts.append(done)
            beside += more
        y, *more = apply(last, rest)
        return self._joined([*parts, y.flatten(-len(last.out_shape))], x), beside + more

    def _up(self, apply: Apply, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x, and what the levels give beside it, for a function of a level and its output."""
        rest, beside = None, []
        for level, part in zip(self._each_level()[::-1], self._split(y), strict=True):
            rest, *more = apply(level, self._whole(level, rest, part))
            beside += more
        return cast(Tensor, rest), beside  # there is a level

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None, *draws: Any) -> tuple[Tensor, Tensor]:
        y, ladjs = self._down(lambda level, h: level._forward_and_ladj(*_arguments(level, h, context, draws)), x)
        return y, reduce(torch.add, ladjs)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None, *draws: Any) -> tuple[Tensor, Tensor]:
        x, ladjs = self._up(lambda level, h: level._inverse_and_ladj(*_arguments(level, h, context, draws)), y)
        return x, reduce(torch.add, ladjs)

    def _forward(self, x: Tensor, context: Tensor | None, *draws: Any) -> Tensor:
        return self._down(lambda level, h: (level._forward(*_arguments(level, h, context, draws)),), x)[0]

    def _inverse(self, y: Tensor, context: Tensor | None, *draws: Any) -> Tensor:
        return self._up(lambda level, h: (level._inverse(*_arguments(level, h, context, draws)),), y)[0]

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        draws = torch.Generator(x.device).manual_seed(0) if self.stochastic else None

        def start_and_apply(level: Any, h: Tensor) -> tuple[Tensor]:
            arguments = level._arguments(h, context, draws)
            level._initialize(*arguments[:2], inverse=inverse)
            return ((level._inverse if inverse else level._forward)(*arguments),)

        (self._up if inverse else self._down)(start_and_apply, x)


def _arguments(level: Any, h: Tensor, context: Tensor | None, draws: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a hook of a level; ``draws`` holds a generator where the whole draws random numbers."""
    arguments: tuple[Any, ...] = level._arguments(h, context, *draws or (None,))
    return arguments

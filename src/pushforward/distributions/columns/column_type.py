"""The protocol of a column type: how a network sees the values of a column, and the distribution it gives them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.checks import at_least
from pushforward.core.config import build, shown_config
from pushforward.core.constants import HasConstants
from pushforward.core.domain import Circle, Domain
from pushforward.core.torch_internals import buffers_of, parameters_of, submodules_of
from pushforward.distributions.columns.terms import InTerms

__all__ = ["WAVES", "ColumnType", "waves"]

OCTAVES = 4
FREQUENCIES = [[0.5 * math.pi * 2.0**octave] for octave in range(OCTAVES)]
WAVES = 1 + 2 * OCTAVES
"""How many inputs `waves` makes of one number."""

SMALLEST_TAIL = 1e-7
"""Tail probabilities from here down count alike: in float32 the upper tail has no smaller ones."""


def waves(u: Tensor) -> Tensor:
    """Numbers u (columns, n) as inputs of a network, (columns, WAVES, n): u itself, and sines and cosines of it, with
    which it tells near values apart.

    References:
        | On Embeddings for Numerical Features in Tabular Deep Learning (Gorishniy et al., 2022), arXiv:2203.05556
    """
    u = u[:, None]
    angles = u * u.new_tensor(FREQUENCIES)
    return torch.cat([u, angles.sin(), angles.cos()], dim=1)


class ColumnType(HasConstants, ABC):
    """A type of column: its values as inputs of a network, and their distribution with parameters from a network.

    One module stands for ``columns`` columns of the type side by side, so that they are computed together.

    Shape:
        Values are (columns, n) in float64, whatever the dtype of the weights, in the column's own units; categories
        are numbered 0, 1, ... . Parameters lead, (num_params, columns, n), in the dtype of the weights, and so are all
        results but quantiles and samples, which are float64. `initialize` gives parameters that fit a whole column.

    Raises:
        ValueError: there is no column.
    """

    num_params: int
    num_inputs: int
    """How many inputs of a network encode one value."""
    domain: Domain
    ordered: bool = True
    """Whether values have an order, so that there are quantiles."""
    is_density: bool = True
    """Whether `log_prob` is a density, in units of one over the column's, or a probability."""
    levels: int = 0
    """The number of categories; 0 for types without."""
    is_real: bool = False
    """Whether values stand for points of the real line, `standardized`. Then parameters may be followed by two more, a
    location m and the logarithm of a scale s: the others are those of the distribution of (u - m) / s of a point u."""
    smoothing: float = 0.0
    """Bandwidth of the noise that `add_noise` adds, in standard deviations of the column."""
    fits_shape: bool = True
    """Whether `_measure` fits first parameters of a type of reals; set by `initialize`."""
    per_column: ClassVar[tuple[str, ...]] = ()
    """Names of the tensors (columns, ...) whose rows belong to one column each."""
    config: dict[str, Any]
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    def __init__(self, columns: int) -> None:
        super().__init__()
        at_least(type(self).__name__, "columns", columns, 1)
        self.columns = columns
        self.add_constant("like", 0.0)  # has the dtype of the model; its value is not used

    like: Tensor

    def holds(self, x: Tensor) -> Tensor:
        """Where x (columns, n) has a positive density or probability."""
        return self.domain.contains(x)

    @property
    def circle(self) -> Circle | None:
        """The circle that the values lie on, if they do, whose upper end is the lower one; also of an inflated type."""
        return self.domain if isinstance(self.domain, Circle) else None

    @property
    def has_ranks(self) -> bool:
        """Whether ranks of values are informative: they have an order, and there are more than two."""
        return self.ordered and self.levels != 2

    def column(self, k: int) -> ColumnType:
        """Column k alone, sharing its tensors with this module."""
        return self._select(slice(k, k + 1), 1)

    def select(self, columns: Sequence[int]) -> ColumnType:
        """These columns alone, with copies of the tensors that belong to single columns."""
        return self._select(list(columns), len(columns))

    def _select(self, which: slice | list[int], count: int) -> ColumnType:
        if self.columns == count:
            return self
        part: ColumnType = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        tensors = {**parameters_of(self), **buffers_of(self)}
        rows = {name: t[which] if name in self.per_column and t is not None else t for name, t in tensors.items()}
        modules = {
            name: m._select(which, count) if isinstance(m, ColumnType) else m for name, m in submodules_of(self).items()
        }
        part.__dict__.update(_parameters={}, _buffers=rows, _modules=modules, columns=count)
        return part

    def repeated(self, columns: int) -> ColumnType:
        """A fresh module of this type for so many columns."""
        module: ColumnType = build({**self.config, "columns": columns})
        return module

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """x as inputs of a network, (columns, num_inputs, n)."""

    @property
    def shown_values(self) -> list[float] | None:
        """The values whose presence is an input each, if inputs are these alone, followed by the `waves` of `position`
        where there is one: such inputs are computed for columns of many types at once. None for other types."""
        return None

    def number(self, x: Tensor) -> Tensor | None:
        """The points (columns, n) of the real line of all values, where `standardized` has none for those that have a
        probability of their own; None where it has them all."""
        return None

    @property
    def plain_inputs(self) -> list[int]:
        """Which of the inputs say what a value is, without the sines and cosines of `waves`."""
        return list(range(self.num_inputs))

    def position(self, x: Tensor) -> Tensor | None:
        """The numbers (columns, n) whose `waves` are inputs, in the dtype of the weights; where x is one of the values
        that are shown, these inputs are zero instead."""
        return None

    def standardized(self, x: Tensor) -> Tensor:
        """The points of the real line that x stands for, with about mean zero and deviation one, (columns, n) in
        float64; NaN where there is none."""
        return torch.full_like(x, torch.nan)

    def fitted_params(self, u: Tensor) -> Tensor | None:
        """Of a type of reals the last parameters of a single column, without location and scale, from which learning
        the distribution of points u (n,) of the line goes well; None where any do."""
        return None

    @abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Log-density or log-probability of x, (columns, n); -inf outside of the domain."""

    def in_terms(self, x: Tensor, params: Tensor, *, constant_place: bool = False) -> InTerms:
        """`log_prob` with the parts of it that take longest as terms, which can be evaluated for many columns at once;
        by default there are none. ``constant_place``: whether location and scale, where parameters end with them, are
        constants though the others have gradients; mixtures then take slopes in closed form."""
        return InTerms([], lambda _: self.log_prob(x, params))

    @abstractmethod
    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        """P(X ≤ x), (columns, n)."""

    def mid_cdf(self, x: Tensor, params: Tensor) -> Tensor:
        """The mid-distribution function P(X < x) + P(X = x) / 2, (columns, n), which `icdf` takes back to x."""
        return self.cdf(x, params) - 0.5 * self.point_mass(x, params)

    def point_mass(self, x: Tensor, params: Tensor) -> Tensor:
        """P(X = x), (columns, n); zero where there is a density."""
        return self.log_prob(x, params).exp() if not self.is_density else torch.zeros_like(x, dtype=params.dtype)

    def plausibility(self, x: Tensor, params: Tensor) -> Tensor:
        """The mean of `log_prob` and of the logarithm of the two-sided tail probability of x, (columns, n). A density
        alone says little about values far out on the side where it is flat, a tail probability nothing about gaps. Of
        values without an order and of a circle, which has no tails, `log_prob`."""
        log_prob = self.log_prob(x, params)
        if not self.ordered or self.circle is not None:
            return log_prob
        below = self.mid_cdf(x, params)
        tail = 2 * torch.minimum(below, 1 - below)
        return 0.5 * (log_prob + tail.clamp(min=SMALLEST_TAIL).log())

    @abstractmethod
    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        """The smallest x with P(X ≤ x) ≥ p, (columns, n), in float64."""

    def temperature_scaling(self) -> tuple[Tensor, Tensor] | None:
        """(a, b), each (num_params,), such that exp(-a t) params + b t is the same distribution made less confident,
        by about exp(t); None for types whose distribution cannot be changed so."""
        return None

    def add_noise(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The training target (columns, n) of the values x: x, plus noise where the type is smoothed."""
        return x

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One value for each parameter vector, (columns, n), in float64."""
        u = torch.rand(params.shape[1:], dtype=torch.float64, device=params.device, generator=generator)
        eps = torch.finfo(params.dtype).eps
        return self.icdf(u.clamp(eps, 1 - eps).to(params.dtype), params)

    def initialize(self, x: Tensor, observed: Tensor, *, fits_shape: bool = True) -> Tensor:
        """Measure statistics of each whole column, such as mean and scale, from its observed values.

        Args:
            x: values (columns, n).
            observed: (columns, n), false where an entry is missing.
            fits_shape: whether the first parameters of types of reals are fitted, which takes longest; zeros otherwise.

        Returns:
            parameters (num_params, columns) from which learning starts.
        """
        measured = []
        for k, (values, mask) in enumerate(zip(x, observed, strict=True)):
            part = self.column(k)
            for module in part.modules():
                if isinstance(module, ColumnType):
                    module.fits_shape = fits_shape
            measured.append(part._measure(values[mask]))
        return torch.stack(measured, dim=-1)

    @abstractmethod
    def _measure(self, x: Tensor) -> Tensor:
        """Measure a single column with the values (n,), where n may be zero; its first parameters (num_params,)."""

    def extra_repr(self) -> str:
        return shown_config(self)

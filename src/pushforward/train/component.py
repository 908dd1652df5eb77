r"""The objective of one component of a triangular map, for many terms at once.

Under a base of independent features with density p the components of an increasing triangular map decouple: each
minimises over its own weights

.. math:: \frac1N \sum_i \bigl[-\log p(S_j(x^i)) - \log \partial_j S_j(x^i)\bigr]
   + \frac{\lambda}{2N} \sum_\alpha r_\alpha w_\alpha^2

A term is a profile (a product of features of x_<j) times a feature of x_j. Derivatives of S_j in a weight are the
profile times a column that the degree in x_j alone decides, so the gradient for all terms, including terms not yet in
the map, is one product of profiles with a few columns.

Samples of the same kind (the folds of a cross-validation) are members of one batch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.bijections.hermite import hermite_slopes, hermite_values
from pushforward.bijections.triangular import MIN_SLOPE, rectified
from pushforward.core.quadrature import gauss_legendre
from pushforward.core.special import log_gamma_half_step

__all__ = ["Component", "Design", "Limits", "PaddedRows", "apply", "height"]

Index = tuple[int, ...]
quadrature = functools.cache(gauss_legendre)


class Limits(NamedTuple):
    """Limits of the search for terms."""

    degree: int
    """Highest degree of a feature."""
    interactions: int
    """Largest number of variables in one term."""
    terms: int
    """Largest number of terms beyond the affine start."""
    patience: int
    """Steps without a better held-out score after which the search stops."""
    bound: float
    nodes: int
    df: float = math.inf
    """Degrees of freedom of the base, a Student t; infinite for the standard normal."""

    def energy(self, value: Tensor) -> Tensor:
        """Minus the log-density of the base."""
        if math.isinf(self.df):
            return 0.5 * (value.square() + math.log(2 * math.pi))
        half = torch.tensor(0.5 * self.df, dtype=torch.float64)
        norm = 0.5 * math.log(2 * math.pi) - log_gamma_half_step(half).item()
        return norm + 0.5 * (self.df + 1) * torch.log1p(value.square() / self.df)

    def pull(self, value: Tensor) -> Tensor:
        """Derivative of the energy divided by the value: the weight of a row in its quadratic majorant."""
        return torch.ones_like(value) if math.isinf(self.df) else (self.df + 1) / (self.df + value.square())


class PaddedRows(NamedTuple):
    """The rows of each member of a batch, padded to equal numbers of rows by rows of weight zero."""

    values: Tensor
    """(members, n, variables)"""
    counts: Tensor
    """(members, n): one, or zero for padding."""

    @classmethod
    def stack(cls, samples: Sequence[Tensor]) -> PaddedRows:
        """Samples of different length as one batch."""
        values = torch.nn.utils.rnn.pad_sequence(list(samples), batch_first=True)
        counts = torch.nn.utils.rnn.pad_sequence([s.new_ones(len(s)) for s in samples], batch_first=True)
        return cls(values, counts)

    def only(self, columns: Sequence[int]) -> PaddedRows:
        """Some of the variables."""
        return PaddedRows(self.values[..., columns], self.counts)

    def replace(self, column: int, values: Tensor) -> PaddedRows:
        """Other values (members, n) for one of the variables."""
        changed = self.values.clone()
        changed[..., column] = values
        return PaddedRows(changed, self.counts)


class Component(NamedTuple):
    """S_j: multi-indices over (context, x_1, ..., x_j) and their weights."""

    terms: list[Index]
    weights: Tensor


class TermBlock(NamedTuple):
    """A list of terms for each member, of equal length, evaluated at its rows."""

    profiles: Tensor
    """(members, n, terms): the product of the features of all variables but the last."""
    degrees: Tensor
    """(members, height, terms): one where a term has that degree in the last variable, for degrees below height."""

    def spread(self, by_degree: Tensor) -> Tensor:
        """Profiles times columns (members, n, height) that depend only on the degree in the last variable."""
        return self.profiles * (by_degree @ self.degrees)

    def gather(self, weights: Tensor) -> Tensor:
        """The sum of the terms of each degree in the last variable, (members, n, height)."""
        return (self.profiles * weights[:, None]) @ self.degrees.mT


class Slopes(NamedTuple):
    """S_j at rows, and its derivatives in the weights of terms divided by their profiles, (members, n, height)."""

    value: Tensor
    log_slope: Tensor
    of_value: Tensor
    of_log_slope: Tensor
    bend: Tensor
    """Derivatives of ∂_j f_j at x_j, times the root of -(log g)'' where that is positive."""


class Design:
    """The objective of component j at rows of (context, x_1, ..., x_j)."""

    def __init__(self, rows: PaddedRows, limits: Limits) -> None:
        self.rows, self.counts = rows.values, rows.counts
        self.share = rows.counts / rows.counts.sum(dim=1, keepdim=True).clamp(min=1)
        box = self.rows.clamp(-limits.bound, limits.bound)
        last, clamped = self.rows[..., -1], box[..., -1]
        self.features = hermite_values(box, limits.degree)  # of (members, n, variables)
        nodes, weights = (box.new_tensor(values) for values in quadrature(limits.nodes))
        self.area, self.beyond = clamped[..., None] * weights, last - clamped
        self.inside = hermite_slopes(clamped[..., None] * nodes, limits.degree)  # of (members, n, nodes)
        self.at = torch.stack(hermite_slopes(clamped, limits.degree), dim=-1)  # (members, n, degree)
        self.limits = limits
        self.columns: dict[Index, Tensor] = {}

    def column(self, term: Index) -> Tensor:
        """The profile of a term, (members, n), as in `Triangular`: terms of degree one are not clamped to the box."""
        if sum(term) == 1 and not term[-1]:
            return self.rows[..., term.index(1)]
        if (degrees := term[:-1]) not in self.columns:
            active = [self.features[d - 1][..., i] for i, d in enumerate(degrees) if d]
            self.columns[degrees] = functools.reduce(torch.mul, active, torch.ones_like(self.beyond))
        return self.columns[degrees]

    def block(self, terms: Sequence[Sequence[Index]], count: int) -> TermBlock:
        """Terms of every member, of degrees below ``count`` in the last variable."""
        profiles = [torch.stack([self.column(t)[k] for t in member], dim=-1) for k, member in enumerate(terms)]
        degrees = torch.tensor([[t[-1] for t in member] for member in terms])
        ones = torch.nn.functional.one_hot(degrees, count).to(self.rows.dtype)
        return TermBlock(torch.stack(profiles), ones.mT)

    def evaluate(self, block: TermBlock, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """S_j, its slope, and ∂_j f_j at the nodes and at x_j."""
        sums = block.gather(weights)
        rising = sums[..., 1:]
        inside = torch.zeros_like(self.area)
        for k in range(rising.shape[-1]):  # one product with tables of all degrees stacked would be slower
            inside.addcmul_(rising[..., k, None], self.inside[k])
        at = (rising * self.at[..., : rising.shape[-1]]).sum(dim=-1)
        slope = rectified(at)
        value = sums[..., 0] + (self.area * rectified(inside)).sum(dim=-1) + self.beyond * slope
        return value, slope, inside, at

    def slopes(self, block: TermBlock, weights: Tensor) -> Slopes:
        value, slope, inside, at = self.evaluate(block, weights)
        scale = (1 - MIN_SLOPE) / math.log(2)
        step, step_at = scale * torch.sigmoid(inside), scale * torch.sigmoid(at)  # g'
        step = step * self.area
        highest = block.degrees.shape[1] - 1
        of_value = torch.stack([(step * table).sum(dim=-1) for table in self.inside[:highest]], dim=-1)
        slopes_at = self.at[..., :highest]
        of_value = torch.addcmul(of_value, slopes_at, (self.beyond * step_at)[..., None])
        ratio = step_at / slope
        bend = (ratio.square() - step_at * torch.sigmoid(-at) / slope).clamp(min=0).sqrt()
        zero = torch.zeros_like(value[..., None])
        return Slopes(
            value,
            slope.log(),
            torch.cat([zero + 1, of_value], dim=-1),
            torch.cat([zero, slopes_at * ratio[..., None]], dim=-1),
            torch.cat([zero, slopes_at * bend[..., None]], dim=-1),
        )

    def gradient(self, now: Slopes, block: TermBlock) -> Tensor:
        """Gradient of the unpenalised objective in the weights of terms, (members, terms)."""
        force = (self.limits.pull(now.value) * now.value)[..., None] * now.of_value - now.of_log_slope
        return block.spread(self.share[..., None] * force).sum(dim=1)

    def factors(self, now: Slopes, block: TermBlock) -> Tensor:
        """(members, 2n, terms): J with J^T J the Gauss-Newton curvature of the objective."""
        root = self.share.sqrt()[..., None]
        pull = self.limits.pull(now.value).sqrt()[..., None]
        return torch.cat([block.spread(root * pull * now.of_value), block.spread(root * now.bend)], dim=1)


def height(*lists: Sequence[Sequence[Index]]) -> int:
    """One more than the highest degree in the last variable, at least two."""
    return max(2, *(1 + t[-1] for terms in lists for member in terms for t in member))


def apply(rows: PaddedRows, components: Sequence[Component], limits: Limits) -> tuple[Tensor, Tensor]:
    """(S_j, log ∂_j S_j) of each member's component at its rows, (members, n)."""
    design, terms = Design(rows, limits), [c.terms for c in components]
    value, slope, *_ = design.evaluate(design.block(terms, height(terms)), torch.stack([c.weights for c in components]))
    return value, slope.log()

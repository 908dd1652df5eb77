"""What is linear in the columns of a table: the conditional means and deviations of a Gaussian, in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.constants import moved_wide
from pushforward.core.numerics import concrete_bool
from pushforward.core.torch_internals import buffers_of

__all__ = ["FEWEST_ROWS", "LinearPart"]

FARTHEST = 10.0
"""Standardised values count up to here, or up to twice the largest that was measured."""
SHRINKAGES = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
FOLDS, JUDGED = 4, 8_192
"""The shrinkage is chosen by cross-validation, with rows of each fold that have so many values in all, 256 at most."""
FEWEST_ROWS, FEWEST_PAIRS = 20, 10
"""With fewer rows nothing is measured, and columns that are both there in fewer rows count as uncorrelated."""
MOST_ROWS, RESIDUALS = 50_000, 100_000
"""Rows that are measured, and values of rows whose residuals are looked at, at most."""
LARGEST_RESIDUAL = 6.0
"""Up to here residuals count where the shrinkage is chosen, so that a few far values do not decide."""
LEAST_VARIANCE, LEAST_FACTOR = 1e-9, 0.05
MANY_ROWS = 1_000
"""Rows for each column from which on the errors of means are forgotten: deviations that all rows share cost less."""
ELIMINATED = 16
"""Up to so many columns are conditioned on one after the other where rows see different ones."""
ENTRIES, PIECES = 2**16, 8
"""Of the matrices that are factored at once on a CPU, so that they stay in its cache, and into how many pieces rows are
split at least, by the number of columns that they see."""


class LinearPart(nn.Module):
    r"""The Gaussian conditionals of the columns of a table that are on the real line underneath.

    .. math:: m_j = R_{jS} R_{SS}^{-1} t_S, \qquad s_j^2 = 1 - R_{jS} R_{SS}^{-1} R_{Sj}

    R is the correlation matrix and t are the standardised values; S are the observed columns of a row. R is measured by
    pairs where entries are missing and shrunk towards the identity. How far is chosen by cross-validation: not at all
    where there are many rows, and wholly, so that nothing of the linear part is left, where it predicts nothing.

    From N rows means are known with an error, of variance :math:`h s_j^2` with the leverage :math:`h = (1 + t_S
    R_{SS}^{-1} t_S) / N`: deviations of new rows are :math:`s_j \sqrt{1 + h}`. The rows that R was measured on are
    nearer to their means than new ones. In training mode they are judged by :math:`s_j \sqrt{1 - h}`, which is what
    they would be judged by if R had been measured without them. So what is learned about deviations holds for new rows,
    which evaluation mode is for. Where entries are missing, N is the mean over the other columns of how many rows have
    both.

    Args:
        columns: how many columns are on the real line.

    Shape:
        Tables are (columns, n) in float64; NaN is a value that the linear part does not see.

    References:
        | A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices (Ledoit and Wolf, 2004)
        | The Hat Matrix in Regression and ANOVA (Hoaglin and Welsch, 1978), for leverages
    """

    correlation: Tensor
    centre: Tensor
    width: Tensor
    reach: Tensor
    """Beyond it standardised values are not followed."""
    inverse_rows: Tensor
    """1 / N for each column; zero if there are so many rows that means are known."""

    def __init__(self, columns: int | Sequence[int], targets: Sequence[int] | None = None, context: int = 0) -> None:
        super().__init__()
        self.owners = list(range(columns)) if isinstance(columns, int) else list(columns)
        columns = len(self.owners)
        self.targets = list(range(columns)) if targets is None else list(targets)
        self.is_context = [owner < context for owner in self.owners]
        self.register_buffer("correlation", torch.eye(columns, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros(columns, 1, dtype=torch.float64))
        self.register_buffer("width", torch.ones(columns, 1, dtype=torch.float64))
        self.register_buffer("reach", torch.full((columns, 1), FARTHEST, dtype=torch.float64))
        self.register_buffer("inverse_rows", torch.zeros(columns, 1, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = dict(buffers_of(self))
        super()._apply(fn, recurse)
        for name, tensor in before.items():
            moved = buffers_of(self)[name]
            buffers_of(self)[name] = None if tensor is None or moved is None else moved_wide(tensor, moved)
        return self

    @property
    def is_idle(self) -> bool:
        """Whether no column is correlated with another, so that there is nothing to compute."""
        return concrete_bool(self.correlation.count_nonzero() == len(self.correlation)) is True  # the diagonal alone

    def forward(
        self,
        places: Tensor,
        seen: Tensor,
        ranks: Sequence[int] | None = None,
        targets: Sequence[int] | None = None,
        measured: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Mean and log-deviation of columns, each (targets, n), or (targets, 1) deviations that all rows share.

        Args:
            places: standardised values (columns, n); finite or NaN where they are not seen.
            seen: (columns, n), which of them are observed.
            ranks: of the columns: each is given the observed ones of lower rank. By default all are given all observed
                ones, and those of observed columns are meaningless.
            targets: the columns that are asked for; all by default.
            measured: whether these are rows that were measured; by default in training mode.
        """
        asked = list(range(len(self.correlation)) if targets is None else targets)
        t, seen = self._standardize(places), seen & ~places.isnan()
        mean, variance, distance = _condition(self.correlation, t, seen, ranks, asked)
        if concrete_bool((self.inverse_rows == 0).all()) is not True:
            leverage = self.inverse_rows[asked] * (1 + distance)
            of_measured = self.training if measured is None else measured
            variance = variance * ((1 - leverage).clamp(min=LEAST_FACTOR) if of_measured else 1 + leverage)
        log_deviation = 0.5 * variance.clamp(min=LEAST_VARIANCE).log()
        return self.centre[asked] + self.width[asked] * mean, self.width[asked].log() + log_deviation

    def _standardize(self, places: Tensor) -> Tensor:
        return torch.clamp((places - self.centre) / self.width, -self.reach, self.reach).nan_to_num()

    # --- measuring

    @torch.no_grad()
    def measure(self, places: Tensor, ranks: Sequence[int] | None) -> None:
        """Measure the correlations of standardised values (columns, n), NaN where there is none, to be used with these
        ranks of the columns, or with any sets of observed ones."""
        many = places.shape[1] >= MANY_ROWS * len(places)
        places = places[:, :: 1 + places.shape[1] // MOST_ROWS]
        present = ~places.isnan()
        count = present.sum(dim=1, keepdim=True)
        if places.shape[1] < FEWEST_ROWS:
            return
        self.centre.copy_(places.nansum(dim=1, keepdim=True) / count.clamp(min=1))
        width = ((places - self.centre).square().nansum(dim=1, keepdim=True) / count.clamp(min=1)).sqrt()
        self.width.copy_(torch.where(width > 0, width, 1.0))
        t = ((places - self.centre) / self.width).nan_to_num()
        self.reach.copy_((2 * t.abs().amax(dim=1, keepdim=True)).clamp(min=FARTHEST))
        folds = [(t[:, k::FOLDS], present[:, k::FOLDS]) for k in range(FOLDS)]
        moments = torch.stack([_moments(*fold) for fold in folds])
        total = moments.sum(dim=0)
        pairs = total[2].clone().fill_diagonal_(0.0).sum(dim=1, keepdim=True) / max(1, len(places) - 1)
        pairs = torch.where(pairs > 0, pairs, count)
        self.inverse_rows.copy_(torch.zeros_like(pairs) if many else 1 / pairs.clamp(min=1))
        shrinkage = self._choose(folds, [_correlation(total - part) for part in moments], ranks)
        self.correlation.copy_(_shrunk(_correlation(total), shrinkage))

    def _choose(
        self, folds: Sequence[tuple[Tensor, Tensor]], others: Sequence[Tensor], ranks: Sequence[int] | None
    ) -> float:
        """The shrinkage with which the correlations of the other folds predict each fold best."""
        scores = [0.0] * len(SHRINKAGES)
        for (t, present), correlation in zip(folds, others, strict=True):
            rows = min(256, JUDGED // len(t))
            t, present = t[:, :rows], present[:, :rows]
            seen, targets = self._sets(present, ranks)
            weight = present[self.targets].sum(dim=0) / targets.sum(dim=0).clamp(min=1)
            answers = t[self.targets]
            for k, shrinkage in enumerate(SHRINKAGES):
                mean, variance, distance = _condition(_shrunk(correlation, shrinkage), t, seen, ranks, self.targets)
                leverage = FOLDS / (FOLDS - 1) * self.inverse_rows[self.targets] * (1 + distance)
                variance = (variance * (1 + leverage)).clamp(min=LEAST_VARIANCE)
                z = ((answers - mean) * variance.rsqrt()).clamp(-LARGEST_RESIDUAL, LARGEST_RESIDUAL)
                scores[k] += float((torch.where(targets, z.square() + variance.log(), 0.0).sum(dim=0) * weight).sum())
        return SHRINKAGES[scores.index(min(scores))]

    @torch.no_grad()
    def residuals(self, places: Tensor, ranks: Sequence[int] | None) -> Tensor:
        """(u - m) / s of standardised values u (columns, n) that were measured, given the columns of lower rank, or
        random sets of the others; NaN where there is none."""
        places = places[:, :: 1 + places.numel() // RESIDUALS]
        seen, targets = self._sets(~places.isnan(), ranks)
        mean, log_deviation = self(places, seen, ranks, self.targets, measured=True)
        return torch.where(targets, (places[self.targets] - mean) * (-log_deviation).exp(), torch.nan)

    def _sets(self, present: Tensor, ranks: Sequence[int] | None) -> tuple[Tensor, Tensor]:
        """What is seen of each row (columns, n), and the targets (targets, n): with ranks all that is there, otherwise
        the context with a random part of the columns, and the rest."""
        if ranks is not None:
            return present, present[self.targets]
        generator = torch.Generator(present.device).manual_seed(0)
        draws, shares = (
            torch.rand(size, present.shape[1], device=present.device, generator=generator)
            for size in (1 + max(self.owners), 1)
        )
        chosen = draws[self.owners] < shares
        chosen[self.is_context] = True
        return present & chosen, (present & ~chosen)[self.targets]


def _condition(
    correlation: Tensor, t: Tensor, seen: Tensor, ranks: Sequence[int] | None, asked: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of columns ``asked`` given the seen ones, of lower rank where there are ranks, each (asked, n);
    the variance is (asked, 1) where all rows see the same columns. Third the squared distance of what is seen from the
    centre, t_S R_SS⁻¹ t_S, (asked, n) or (1, n).

    With the Cholesky factor L of the correlations of the seen columns, B = L⁻¹ R and y = L⁻¹ t the mean is Bᵀ y, the
    variance 1 - Σ B² and the distance Σ y². In the order of the ranks the first entries of a column of B and of y are
    those given the first columns alone. So one factor of each row does for all of its columns.
    """
    count, before = len(correlation), None
    if not t.shape[1]:
        return t.new_zeros(len(asked), 0), t.new_ones(len(asked), 0), t.new_zeros(1, 0)
    shared = concrete_bool((seen == seen[:, :1]).all())
    if not shared and count <= ELIMINATED:
        mean, variance, distance = _eliminate(correlation, t * seen, seen, ranks)
        return mean[asked], variance[asked], distance if len(distance) == 1 else distance[asked]
    if ranks is not None:
        order = sorted(range(count), key=ranks.__getitem__)
        correlation, t, seen = correlation[order][:, order], t[order], seen[order]
        asked = [order.index(j) for j in asked]
        before = torch.arange(count, device=t.device)[:, None] < torch.tensor(asked, device=t.device)
    if shared:
        mean, variance, distance = _solve(correlation, correlation[:, asked], before, seen[:, :1].t(), (t * seen)[None])
        return mean[0], variance.t(), distance[0]
    means, variances, distances = _by_rows(correlation, asked, before, seen.t(), (t * seen).t())
    return means.t(), variances.t(), distances.t()


def _by_rows(
    correlation: Tensor, asked: Sequence[int], before: Tensor | None, seen: Tensor, t: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What `_condition` gives, each (n, asked), distances (n, asked) or (n, 1), from sets of seen columns (n, columns)
    and values (n, columns), one set for each row.

    Rows that see about as many columns are computed together, by matrices of as many columns as one of them sees: a
    factor costs the cube of their number. Where a row sees fewer, columns that are correlated with none take the place.
    """
    n, count = seen.shape
    wide = torch.block_diag(correlation, torch.eye(count, dtype=t.dtype, device=t.device))
    t = torch.cat([t, torch.zeros_like(t)], dim=1)
    before = None if before is None else torch.cat([before, torch.zeros_like(before)])
    sizes, order = seen.sum(dim=1).sort()
    seen_first = (~seen).to(torch.uint8).argsort(dim=1, stable=True)  # in their order, then the others
    place = torch.arange(count, device=t.device)
    columns = torch.where(place < seen.sum(dim=1, keepdim=True), seen_first, count + place)
    # Without ranks only those that a row does not see are asked for.
    unseen = before is None and len(asked) == count
    targets = seen_first if unseen else torch.tensor(asked, device=t.device).expand(n, -1)
    mean, variance = t.new_zeros(n, len(asked)), t.new_ones(n, len(asked))
    distance = t.new_zeros(n, 1 if before is None else len(asked))
    least, start = sizes.tolist(), 0
    while start < n:
        size = n if t.device.type != "cpu" else max(8, min(n // PIECES, ENTRIES // max(1, least[start]) ** 2))
        stop = min(n, start + size)
        rows, most = order[start:stop], max(1, least[stop - 1])
        some, wanted = columns[rows, :most], targets[rows, least[start] if unseen else 0 :]
        lines = wide.index_select(0, some.flatten()).unflatten(0, some.shape)  # (rows, most, all columns)
        factor = torch.linalg.cholesky_ex(lines.gather(2, some[:, None].expand(-1, most, -1)))[0]
        across = lines.gather(2, wanted[:, None].expand(-1, most, -1))
        loads = torch.linalg.solve_triangular(factor, across, upper=False)
        y = torch.linalg.solve_triangular(factor, t[rows].gather(1, some)[..., None], upper=False)
        loads = loads if before is None else loads * before[some]
        squares = y.square().mT  # (rows, 1, most)
        distance[rows] = squares.sum(dim=2) if before is None else (squares @ before[some].to(t.dtype))[:, 0]
        places = wanted if unseen else place[: len(asked)].expand(len(rows), -1)
        mean[rows] = mean[rows].scatter(1, places, (loads.mT @ y)[..., 0])
        variance[rows] = variance[rows].scatter(1, places, 1 - loads.square_().sum(dim=1))
        start = stop
    return (mean[:, asked], variance[:, asked], distance) if unseen else (mean, variance, distance)


def _eliminate(
    correlation: Tensor, t: Tensor, seen: Tensor, ranks: Sequence[int] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """What `_condition` gives of all columns, by conditioning on one column after the other in all rows at once: faster
    than a factor for each row where there are few columns."""
    count, n = t.shape
    left = correlation[..., None].repeat(1, 1, n)  # the covariances given the columns so far
    mean, distance, before = torch.zeros_like(t), t.new_zeros(n), []
    order = range(count) if ranks is None else sorted(range(count), key=ranks.__getitem__)
    values, observed = t.unbind(), seen.unbind()
    for k in order:
        line, middle = left[k].clone(), mean[k]
        before.append((middle, line[k], distance))
        gain, surprise = line * (observed[k] / line[k]), values[k] - middle  # (columns, n), (n,)
        mean = torch.addcmul(mean, gain, surprise)
        distance = torch.addcmul(distance, surprise.square(), observed[k] / line[k])
        left.addcmul_(gain[:, None], line, value=-1)
    if ranks is None:
        return mean, left.diagonal().t(), distance[None]
    places = sorted(range(count), key=list(order).__getitem__)
    means, variances, distances = (torch.stack(parts)[places] for parts in zip(*before, strict=True))
    return means, variances, distances


def _solve(
    correlation: Tensor, across: Tensor, before: Tensor | None, seen: Tensor, t: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Means (sets, asked, rows of a set), variances (sets, asked) and distances (sets, asked or 1, rows), from the
    columns of the correlations that belong to those asked for, the entries of B that count for them, sets (sets,
    columns) and values (sets, columns, rows)."""
    mask = seen.to(correlation.dtype)[..., None]
    seen_only = mask * correlation * mask.mT + torch.diag_embed(1 - mask[..., 0])
    factor = torch.linalg.cholesky_ex(seen_only)[0]
    solved = torch.linalg.solve_triangular(factor, torch.cat([mask * across, t], dim=-1), upper=False)
    loads, y = solved[..., : across.shape[1]], solved[..., across.shape[1] :]
    loads = loads if before is None else loads * before
    squares = y.square()
    distance = squares.sum(dim=1, keepdim=True) if before is None else before.to(y.dtype).mT @ squares
    return loads.mT @ y, 1 - loads.square().sum(dim=1), distance


def _moments(t: Tensor, present: Tensor) -> Tensor:
    """Sums over the rows of products, of squares where the other is present, and of pairs, (3, columns, columns)."""
    there = present.to(t.dtype)
    return torch.stack([t @ t.t(), t.square() @ there.t(), there @ there.t()])


def _correlation(moments: Tensor) -> Tensor:
    """The correlation matrix by pairs; its negative eigenvalues, which pairs of different rows may give, are zero."""
    products, squares, pairs = moments
    size = (squares * squares.t()).sqrt()
    r = torch.where((pairs >= FEWEST_PAIRS) & (size > 0), products / size, 0.0)
    r.fill_diagonal_(1.0)
    values, vectors = torch.linalg.eigh(r)
    if bool(values[0] >= 0):
        return r
    r = (vectors * values.clamp(min=0.0)) @ vectors.t()
    deviation = r.diagonal().sqrt()
    r = r / (deviation * deviation[:, None])
    return r.fill_diagonal_(1.0)


def _shrunk(correlation: Tensor, shrinkage: float) -> Tensor:
    identity = torch.eye(len(correlation), dtype=correlation.dtype, device=correlation.device)
    return (1 - shrinkage) * correlation + shrinkage * identity

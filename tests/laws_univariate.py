"""The laws of univariates: functions of ``(univariate, x, params)`` that raise AssertionError where one is broken.

x has shape (*s), params (num_params, *s). Rounding is allowed for: where a map is nearly flat, one unit in the last
place of y is many units of x.
"""

import torch
from laws import SHARP, close
from torch import Tensor

from pushforward.univariate import Univariate

ULPS = 1e4  # how many units in the last place a direction may lose


def shapes(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Value and log-slope have the shape and dtype of x, in both directions, and are finite; the image is right."""
    y = univariate(x, params)[0]
    for direction, start in ((univariate.forward, x), (univariate.inverse, y)):
        for out in direction(start, params):
            assert (out.shape, out.dtype) == (x.shape, x.dtype), f"{tuple(out.shape)} {out.dtype} is not as x"
            assert bool(out.isfinite().all()), "a value is not finite"
    assert bool(univariate.codomain.contains(y).all()), "a point left the stated codomain"


def round_trip(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """There and back, from both sides."""
    y, log_slope = univariate(x, params)
    back = univariate.inverse(y, params)[0]
    unit = ULPS * torch.finfo(x.dtype).eps
    room = unit * (1 + x.abs() + (1 + y.abs()) * (-log_slope).exp())
    worst = ((back - x).abs() / room).max()
    assert worst <= 1, f"inverse(forward(x)) misses x by {worst:.3g} times what rounding allows"
    room = unit * (1 + y.abs() + (1 + x.abs()) * log_slope.exp())
    worst = ((univariate(back, params)[0] - y).abs() / room).max()
    assert worst <= 1, f"forward(inverse(y)) misses y by {worst:.3g} times what rounding allows"


def inverse_slope(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """The inverse's log-slope is minus the forward's at the point that it finds."""
    back, back_slope = univariate.inverse(univariate(x, params)[0], params)
    close(back_slope, -univariate(back, params)[1], "log-slope of the inverse")


def slope_is_derivative(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """The log-slope is the log of the derivative that autodiff finds, in both directions."""
    y = univariate(x, params)[0].detach()
    for name, direction, start in (("forward", univariate.forward, x), ("inverse", univariate.inverse, y)):
        start = start.detach().requires_grad_()
        value, log_slope = direction(start, params)
        (slope,) = torch.autograd.grad(value.sum(), start)
        close(log_slope.detach(), slope.log(), f"log-slope of the {name} direction")


def gradients_are_finite(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Value and log-slope have finite gradients in x and in every parameter, in both directions."""
    y = univariate(x, params)[0].detach()
    for name, direction, start in (("forward", univariate.forward, x), ("inverse", univariate.inverse, y)):
        start, known = start.detach().requires_grad_(), params.detach().requires_grad_()
        value, log_slope = direction(start, known)
        (value.sum() + log_slope.sum()).backward()
        for leaf, grad in (("x", start.grad), ("params", known.grad)):
            assert grad is not None, f"{name}: {leaf} gets no gradient"
            assert bool(grad.isfinite().all()), f"{name}: the gradient in {leaf} is not finite"


def value_path_is_pair_path(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """``value`` and ``inverse_value`` give the first half of ``forward`` and ``inverse``."""
    y = univariate(x, params)[0]
    close(univariate.value(x, params), y, "value against forward", SHARP)
    close(univariate.inverse_value(y, params), univariate.inverse(y, params)[0], "inverse_value", SHARP)


def increasing(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Larger x gives larger y, for the parameters of each single point; x is (n,), params (num_params, n)."""
    points = x.sort().values[:, None].expand(-1, params.shape[-1])
    y, log_slope = univariate(points, params[:, None].expand(-1, *points.shape))
    gap, rise = points.diff(dim=0), y.diff(dim=0)
    size = y.abs()[1:] + y.abs()[:-1]
    rounding = ULPS * torch.finfo(x.dtype).eps * (1 + size)
    assert bool((rise >= -rounding).all()), "y falls where x rises"
    expected = gap * torch.minimum(log_slope[1:], log_slope[:-1]).exp()
    assert bool((rise > 0)[expected > rounding].all()), "y stands still where x rises"


def continuous(univariate: Univariate, params: Tensor, reach: float = 8.0) -> None:
    """The value and, where smoothness ≥ 1, the log-slope have no jump.

    Between neighbours on a grid the value rises as its slope says, and steps of the log-slope shrink with the grid.
    params is (num_params, m): m maps, each followed over [-reach, reach].
    """

    def curves(points: int) -> tuple[Tensor, Tensor]:
        x = torch.linspace(-reach, reach, points, dtype=params.dtype)[:, None].expand(-1, params.shape[1])
        return univariate(x, params[:, None].expand(-1, *x.shape))

    points = 2**15
    y, log_slope = curves(points + 1)
    steepest = torch.maximum(log_slope[1:], log_slope[:-1]).exp()
    jump = (y.diff(dim=0) - 4 * steepest * 2 * reach / points).max()
    assert jump <= 1e-9, f"the value jumps by {jump:.3g}"
    if univariate.smoothness >= 1:
        coarse, fine = (s.diff(dim=0).abs().max() for s in (curves(2**11 + 1)[1], log_slope))
        assert fine <= coarse / 4 + 1e-9, f"the log-slope jumps by {fine:.3g}"

"""Roots of increasing functions: exact, far out too, with right gradients, and never a silent wrong number."""

import math
import warnings
from functools import partial

import pytest
import torch
from cases import generator

from pushforward.bijections import Elementwise
from pushforward.core import numerics
from pushforward.core.numerics import by_table, invert_increasing, solve_between, solve_increasing
from pushforward.distributions import Flow, StandardNormal
from pushforward.univariate import Bernstein

DTYPES = [torch.float32, torch.float64]


def cubic(x):
    return x**3 / 3 + x / 100, torch.log(x.square() + 0.01)


def staircase(x):
    """Nearly flat between steep steps: Newton's method alone would jump about for ever."""
    steep = 40.0
    steps = torch.sigmoid(steep * (x[..., None] - torch.linspace(-3, 3, 7, dtype=x.dtype)))
    slope = 1e-3 + (steep * steps * (1 - steps)).sum(-1)
    return 1e-3 * x + steps.sum(-1), slope.log()


def kink(x):
    """A slope that jumps by a factor of a thousand."""
    return torch.where(x < 0.3, x, 0.3 + 1000 * (x - 0.3)), torch.where(x < 0.3, 0.0, math.log(1000)).to(x.dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("curve", [cubic, staircase, kink], ids=lambda c: c.__name__)
def test_the_root_is_found_to_rounding(curve, dtype):
    x = 8 * torch.rand(4000, generator=generator(0), dtype=torch.float64).to(dtype) - 4
    y, log_slope = curve(x)
    solution = solve_increasing(curve, y, torch.full_like(x, -5), torch.full_like(x, 5))
    eps = torch.finfo(dtype).eps
    tolerance = 100 * eps * (1 + x.abs() + (1 + y.abs()) * (-log_slope).exp())
    assert bool(((solution - x).abs() <= tolerance).all())


@pytest.mark.parametrize("size", [1e6, 1e100])
def test_far_brackets(size):
    y = torch.tensor([-size, -1.0, 0.0, 1e-9, size], dtype=torch.float64)

    def curve(x):
        return 2 * x + torch.tanh(x), torch.log(3 - torch.tanh(x).square())

    solution = solve_increasing(curve, y, (y - 1) / 2, (y + 1) / 2)
    assert bool(((curve(solution)[0] - y).abs() <= 4e-16 * (1 + y.abs())).all())


def test_guesses_from_a_table_are_close():
    """Of 3 features with curves of their own: cubics on 128 points are a fourth power of their distance off."""
    rate = torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64)

    def curve(x):
        return x + torch.sin(rate * x) / (2 * rate), torch.log(1 + 0.5 * torch.cos(rate * x))

    x = 6 * torch.rand(3, 1000, generator=generator(3), dtype=torch.float64) - 3
    guess = by_table(curve, lambda y: (y - 1, y + 1), curve(x)[0])
    assert (guess - x).abs().max() < 1e-5
    assert (guess - x).abs().max() > 1e-12  # it is a guess


def test_a_known_answer_is_left_alone():
    y = torch.tensor([3.0, -7.0], dtype=torch.float64)
    solution = solve_increasing(lambda x: (x, torch.zeros_like(x)), y, y, y)
    assert solution.tolist() == y.tolist()


def test_gradients_of_all_orders():
    y = torch.tensor([-1.3, 0.2, 2.1], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.7, 1.0, 1.9], dtype=torch.float64, requires_grad=True)

    def inverse(y, scale):
        def curve(x, scale):
            return scale * torch.sinh(x) + x, torch.log(scale * torch.cosh(x) + 1)

        def find(y, scale):
            return solve_between(curve, lambda y, _: (torch.full_like(y, -4.0), torch.full_like(y, 4.0)), y, scale)

        return invert_increasing(curve, find, y, scale)

    torch.autograd.gradcheck(inverse, (y, scale))
    torch.autograd.gradgradcheck(inverse, (y, scale))


def test_value_with_and_without_gradients_is_the_same():
    y = torch.linspace(-3, 3, 50, dtype=torch.float64)
    low, high = torch.full_like(y, -9), torch.full_like(y, 9)
    plain = solve_increasing(cubic, y, low, high)
    find = partial(solve_between, lambda x, _: cubic(x), lambda *_: (low, high))
    inverse, _ = invert_increasing(lambda x, _: cubic(x), find, y, None)
    assert torch.equal(inverse, plain)
    assert torch.equal(torch.vmap(lambda *a: solve_increasing(cubic, *a))(y, low, high), plain)


def test_no_root_in_the_bracket_is_nan():
    y = torch.tensor([0.5, 30.0, math.nan], dtype=torch.float64)

    def rough(x):  # rises, but what it says of its slope is wrong, and 30 is out of reach
        return torch.floor(8 * x) / 8, torch.full_like(x, 30.0)

    solution = solve_increasing(rough, y, torch.zeros_like(y), torch.ones_like(y))
    assert bool(solution[2].isnan())


def test_a_row_that_does_not_converge_is_nan_and_one_warning_says_so(monkeypatch):
    flow = Flow(StandardNormal(2), Elementwise(Bernstein(8), 2).inv).to(torch.float64)
    with torch.no_grad():
        flow.bijection.bijection.params.add_(
            3 * torch.randn(flow.bijection.bijection.params.shape, generator=generator(1), dtype=torch.float64)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = flow.sample((200,), generator=generator(2))
    assert bool(whole.isfinite().all())
    monkeypatch.setattr(numerics, "STEPS", dict.fromkeys(numerics.STEPS, 7))  # too few for some rows
    with pytest.warns(RuntimeWarning, match=r"Flow: a numerical inverse did not converge in \d+ of 200 rows") as seen:
        some = flow.sample((200,), generator=generator(2))
    assert len(seen) == 1
    lost = some.isnan()
    assert 0 < lost.sum() < 200
    torch.testing.assert_close(some[~lost], whole[~lost], rtol=1e-9, atol=1e-9)

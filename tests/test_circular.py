"""Maps of the circle: once around, closed at the seam, against formulas in complex numbers."""

import math

import pytest
import torch
from cases import generator

from pushforward.core.domain import Circle
from pushforward.testing import univariates as properties
from pushforward.univariate import CircularRationalQuadratic, CircularShift, Moebius

BUILT = [CircularShift(), CircularRationalQuadratic(4), Moebius(3)]
each = pytest.mark.parametrize("univariate", BUILT, ids=lambda u: type(u).__name__)
fixing = pytest.mark.parametrize("univariate", BUILT[1:], ids=lambda u: type(u).__name__)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
SHARP = {torch.float64: 1e-12}


def random_params(univariate, n, size=1.0, seed=1):
    return size * torch.randn(univariate.num_params, n, generator=generator(seed), dtype=torch.float64)


def angles(n, seed=2):
    return Circle().example((n,), generator(seed))


def last_angle(dtype):
    """The largest below π."""
    return torch.tensor(math.pi, dtype=dtype).nextafter(torch.zeros((), dtype=dtype))


@each
@both_dtypes
def test_results_lie_on_the_half_open_circle(univariate, dtype):
    """π itself is never returned, and gradients pass where rounding was put right."""
    univariate = univariate.to(dtype)
    x = torch.cat([angles(3000).to(dtype), torch.full((500,), -math.pi, dtype=dtype), last_angle(dtype).expand(500)])
    x = properties.wrapped(Circle(), x).requires_grad_()
    params = random_params(univariate, 4000, size=5.0).to(dtype)
    for direction in (univariate.forward, univariate.inverse):
        y, log_slope = direction(x, params)
        assert bool(((y >= -math.pi) & (y < math.pi)).all())
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert bool((slope > 0).all())
        assert bool(log_slope.isfinite().all())


@fixing
def test_what_keeps_the_seam_keeps_it_exactly(univariate):
    univariate = univariate.to(torch.float64)
    x = torch.full((200,), -math.pi, dtype=torch.float64)
    for direction in (univariate.forward, univariate.inverse):
        assert (direction(x, random_params(univariate, 200))[0] == -math.pi).all()


@fixing
def test_the_slope_is_one_and_the_same_on_both_sides_of_the_seam(univariate):
    """And it is learned: not one, as that of a spline with identity tails."""
    univariate = univariate.to(torch.float64)
    params = random_params(univariate, 50)
    sides = [torch.full((50,), x, dtype=torch.float64) for x in (-math.pi, math.nextafter(math.pi, 0))]
    first, last = (univariate(x, params)[1] for x in sides)
    properties.close(first, last, "the log-slope across the seam", {torch.float64: 1e-9})
    assert first.std() > 0.1


@each
def test_once_around_is_once_around(univariate):
    """The mean slope is one: an integral over all of the circle, of functions without edges there."""
    univariate = univariate.to(torch.float64)
    x = torch.linspace(-math.pi, math.pi, 2**14 + 1, dtype=torch.float64)[:-1, None].expand(-1, 20)
    slope = univariate(x, random_params(univariate, 20)[:, None].expand(-1, *x.shape))[1].exp()
    properties.close(slope.mean(dim=0), torch.ones(20, dtype=torch.float64), "the mean slope", {torch.float64: 1e-4})


def test_shifts_add_up_modulo_a_turn():
    shift = CircularShift()
    x, a, b = angles(500), 20 * angles(500, 3), 20 * angles(500, 4)
    one_by_one = shift(shift(x, a[None])[0], b[None])[0]
    for got in (one_by_one, shift(x, (a + b)[None])[0]):
        properties.close(got.cos(), (x + a + b).cos(), "the cosine", SHARP)
        properties.close(got.sin(), (x + a + b).sin(), "the sine", SHARP)
    properties.close(shift(x, torch.zeros(1, 500, dtype=torch.float64))[0], x, "no shift", {torch.float64: 0.0})


def test_one_centre_makes_the_moebius_map_of_the_paper():
    """z to (1 - |ω|²) / |z - ω|² (z - ω) - ω, then turned so that -1 stays."""
    univariate, x = Moebius(1).to(torch.float64), angles(500)
    params = random_params(univariate, 500, size=2.0)
    w = torch.complex(params[1], params[2])
    omega = univariate.radius * w / (1 + w.abs().square()).sqrt()

    def moebius(z):
        return (1 - omega.abs() ** 2) / (z - omega).abs() ** 2 * (z - omega) - omega

    expected = -moebius(torch.exp(1j * x)) / moebius(-torch.ones_like(omega))
    y = univariate(x, params)[0]
    properties.close(y.cos(), expected.real, "the cosine", SHARP)
    properties.close(y.sin(), expected.imag, "the sine", SHARP)


def test_several_centres_are_mixed_with_their_weights():
    many, one, x = Moebius(3).to(torch.float64), Moebius(1).to(torch.float64), angles(200)
    params = random_params(many, 200)
    weights = torch.softmax(params[:3], dim=0)
    places = params[3:].unflatten(0, (2, 3)) + many.around[:, :, None]
    single = [one(x, torch.stack([weights[k], *places[:, k]]))[0] for k in range(3)]
    properties.close(many(x, params)[0], sum(w * y for w, y in zip(weights, single, strict=True)), "the mixture", SHARP)


@pytest.mark.parametrize("centres", [1, 2, 3, 8])
def test_moebius_maps_start_close_to_the_identity_and_part(centres):
    """Coinciding centres would get equal gradients and stay together."""
    univariate, x = Moebius(centres).to(torch.float64), angles(400)
    params = torch.zeros(univariate.num_params, 1, dtype=torch.float64, requires_grad=True)
    y = univariate(x, params.expand(-1, 400))[0]
    assert (y - x).abs().max() <= (0.041 if centres > 1 else 1e-15)
    (grad,) = torch.autograd.grad((y * (x - 0.3).cos()).sum(), params)
    assert grad[centres : 2 * centres].unique().numel() == centres


@fixing
def test_derivatives_of_derivatives_are_right(univariate):
    univariate = univariate.to(torch.float64)
    params = random_params(univariate, 4).requires_grad_()
    x = torch.tensor([-3.0, -1.1, 0.4, 2.9], dtype=torch.float64, requires_grad=True)
    for direction in (univariate.forward, univariate.inverse):
        assert torch.autograd.gradcheck(direction, (x, params))
        assert torch.autograd.gradgradcheck(direction, (x, params), atol=1e-4, fast_mode=True)


@each
def test_a_decreasing_map_and_one_that_goes_round_twice_are_caught(univariate):
    univariate = univariate.to(torch.float64)
    x, params = angles(3), random_params(univariate, 3)

    class Spoiled(torch.nn.Module):
        domain = codomain = univariate.domain

        def __init__(self, turns):
            super().__init__()
            self.turns = turns

        def forward(self, x, params):
            y, log_slope = univariate(x, params)
            return properties.wrapped(Circle(), self.turns * y), log_slope

    properties.increasing(Spoiled(1), x, params)
    for turns in (-1, 2):
        with pytest.raises(AssertionError, match="one turn of x makes"):
            properties.increasing(Spoiled(turns), x, params)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_turn_by_nothing_leaves_the_last_angle_where_it_is(dtype):
    last = torch.nextafter(torch.tensor(math.pi, dtype=dtype), torch.zeros((), dtype=dtype))
    x = torch.stack([last, torch.nextafter(last, torch.zeros((), dtype=dtype)), torch.tensor(-math.pi, dtype=dtype)])
    x = x[(x >= -math.pi) & (x < math.pi)]
    assert len(x) == 3
    assert torch.equal(CircularShift()(x, torch.zeros(1, 1, dtype=dtype))[0], x)

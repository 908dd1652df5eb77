"""Planar, radial and Sylvester maps: invertible for all parameters, inverses exact to rounding, rows that fail."""

import math

import pytest
import torch
from cases import generator, randomize

import pushforward as pf
from pushforward.bijections import Chain, Planar, Radial, Sylvester, bend
from pushforward.bijections.bend import slope_ratio
from pushforward.bijections.triangular import rectified

KINDS = {
    "planar": lambda features, **options: Planar(features, **options),
    "leaky": lambda features, **options: Planar(features, negative_slope=0.2, **options),
    "radial": lambda features, **options: Radial(features, **options),
    "sylvester": lambda features, **options: Sylvester(features, **options),
    "cayley": lambda features, **options: Sylvester(features, rank=max(1, features - 1), method="cayley", **options),
}
each = pytest.mark.parametrize("kind", KINDS)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def wild(kind, features, size, seed=0, **options):
    """A map with parameters of any size."""
    part = KINDS[kind](features, **options).double()
    with torch.no_grad():
        for k, numbers in enumerate(part.parameters()):
            numbers.copy_(size * normal(*numbers.shape, seed=seed + k))
    return part


@each
@pytest.mark.parametrize("features", [1, 2, 5])
def test_invertible_for_all_parameters(kind, features):
    """Large parameters, far points: the image comes back. What rounding of the image does, the inverse magnifies by
    its slopes; so the error is measured in the image."""
    for seed, size in enumerate((0.1, 1.0, 5.0, 20.0)):
        part = wild(kind, features, size, seed=10 * seed)
        x = 3 * size * normal(200, features, seed=seed)
        y, ladj = part.forward_and_ladj(x)
        back, back_ladj = part.inverse_and_ladj(y)
        again, again_ladj = part.forward_and_ladj(back)
        assert back.isfinite().all()
        scale = 1 + y.abs().max().item() + size**2 * features
        assert (again - y).abs().max() < 1e-13 * scale
        torch.testing.assert_close(back_ladj, -again_ladj, rtol=1e-9, atol=1e-9)
        if size <= 1:
            torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(back_ladj, -ladj, rtol=1e-7, atol=1e-7)


@each
def test_the_determinant_is_positive_everywhere(kind):
    """Of the Jacobian by automatic differentiation, with its sign: the maps keep orientations."""
    part = wild(kind, 3, 3.0, seed=4)
    jacobians = torch.stack([torch.autograd.functional.jacobian(part, x) for x in 2 * normal(30, 3, seed=5)])
    sign, log_det = torch.linalg.slogdet(jacobians)
    assert (sign > 0).all()
    torch.testing.assert_close(part.forward_and_ladj(2 * normal(30, 3, seed=5))[1], log_det, rtol=1e-6, atol=1e-8)


@each
def test_a_map_starts_as_the_identity_and_can_leave_it(kind):
    part, x = KINDS[kind](3).double(), normal(20, 3)
    torch.testing.assert_close(part(x), x)
    y, ladj = part.forward_and_ladj(x)
    gradients = torch.autograd.grad((y * normal(20, 3, seed=1)).sum() + ladj.sum(), list(part.parameters()))
    assert max(gradient.abs().max() for gradient in gradients) > 1e-3


@each
def test_layers_of_a_flow_start_apart(kind):
    first, second = KINDS[kind](3), KINDS[kind](3)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@each
def test_gradients_of_the_inverse_are_those_of_the_implicit_function(kind):
    part = randomize(KINDS[kind](3, context=1, hidden=(4,)), seed=3)
    y, context = normal(3, 3, seed=6).requires_grad_(), normal(3, 1, seed=7).requires_grad_()
    assert torch.autograd.gradcheck(lambda y, c: part.inverse_and_ladj(y, c), (y, context), atol=1e-6)


@pytest.mark.parametrize("kind", ["planar", "sylvester"])
def test_a_row_whose_search_fails_is_nan_and_harms_no_other(kind, monkeypatch):
    """The search is made to fail in one row."""
    part, y = randomize(KINDS[kind](3), seed=4), normal(5, 3, seed=8)
    expected, expected_ladj = part.inverse_and_ladj(y)
    keep = torch.arange(5) != 2
    loss = expected[keep].sum() + expected_ladj[keep].sum()
    expected_gradients = torch.autograd.grad(loss, list(part.parameters()))
    solve = bend.solve_between

    def failing(*arguments):
        return torch.where(keep, solve(*arguments), torch.nan)

    monkeypatch.setattr(bend, "solve_between", failing)
    x, ladj = part.inverse_and_ladj(y)
    assert x[2].isnan().all()
    assert ladj[2].isnan()
    torch.testing.assert_close(x[keep], expected[keep])
    gradients = torch.autograd.grad(x[keep].sum() + ladj[keep].sum(), list(part.parameters()))
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_radial_maps_far_and_near_their_centre(dtype):
    """A closed inverse without cancellation or overflow, from the centre itself to the end of the dtype."""
    part = Radial(2).to(dtype)
    with torch.no_grad():
        part.centre.copy_(torch.tensor([0.0, 0.0]))
    huge = torch.finfo(dtype).max ** 0.9
    directions = torch.tensor([0.6, -0.8], dtype=dtype)
    radii = torch.tensor([0.0, 1e-30, 1e-8, 1.0, 1e4, huge], dtype=dtype)
    for strength in (-20.0, -1.0, 0.0, 5.0, 80.0):
        with torch.no_grad():
            part.strength.fill_(strength)
            y, ladj = part.forward_and_ladj(radii[:, None] * directions)
            back, back_ladj = part.inverse_and_ladj(y)
        assert ladj.isfinite().all()
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(back[:, 0].hypot(back[:, 1]), radii, rtol=3000 * eps, atol=0)
        torch.testing.assert_close(back_ladj, -ladj, rtol=0, atol=3e5 * eps)


def test_the_ratio_keeps_its_digits_around_zero():
    """Against differences in higher precision."""
    a = torch.tensor([-60.0, -3.0, -0.051, -0.049, -1e-3, -1e-9, 0.0, 1e-9, 1e-3, 0.049, 0.051, 3.0, 60.0]).double()
    g = rectified(a)
    safe = torch.where(a.abs() > 1e-2, a, 1.0)
    expected = torch.where(a.abs() > 1e-2, (g - 1) / safe, slope_ratio(torch.zeros_like(a)) * (1 + a / 4))
    torch.testing.assert_close(slope_ratio(a), expected, rtol=1e-7, atol=0)
    assert slope_ratio(torch.zeros(1).double()).item() == pytest.approx(0.5 / math.log(2), rel=1e-2)
    torch.testing.assert_close(1 + a * slope_ratio(a), g, rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(slope_ratio, (a.requires_grad_(),))


def test_planar_maps_push_along_u_only():
    part = randomize(Planar(4), seed=5)
    x = normal(30, 4)
    moves = part(x) - x
    assert torch.linalg.matrix_rank(moves.detach(), rtol=1e-9) == 1


def test_sylvester_maps_of_rank_one_are_planar():
    """With one direction q: y = x + q r tanh(r̃ q·x + b)."""
    sylvester, planar = randomize(Sylvester(3, rank=1), seed=6), Planar(3).double()
    q, outer, inner, b, _ = sylvester._numbers(None)
    x = normal(10, 3)
    expected = x + (x @ q * inner[0, 0] + b).tanh() * outer[0, 0] @ q.t()
    torch.testing.assert_close(sylvester(x), expected)
    with torch.no_grad():
        planar.direction.copy_((inner * q.t())[0])
        planar.bias.copy_(b)
        # û of a planar map is u + ..., here along w: u is found from r r̃ before it was made larger than -1.
        planar.push.copy_((sylvester.diagonal[0] * q.t())[0])
    torch.testing.assert_close(planar(x), expected)


@pytest.mark.parametrize("name", ["planar", "radial", "sylvester"])
def test_a_flow_learns_two_bumps(name):
    """From a standard normal, in a few seconds: by a tenth of a nat at least, and the density integrates to one."""
    torch.manual_seed(0)
    x = 0.5 * torch.randn(200, 2)
    x[:, 0] += torch.where(torch.rand(200) < 0.5, 1.5, -1.5)
    flow = getattr(pf.flows, name)(2, depth=4)
    flow.initialize(x)
    before = flow.log_prob(x).mean().item()
    optimiser = torch.optim.Adam(flow.parameters(), lr=5e-2)
    for _ in range(60):
        optimiser.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimiser.step()
    assert -loss.item() > before + 0.1
    flow = flow.double()
    samples = flow.sample((50,), generator=generator(1))
    assert samples.isfinite().all()
    grid = torch.cartesian_prod(*[torch.linspace(-6, 6, 121, dtype=torch.float64)] * 2)
    assert flow.log_prob(grid).exp().sum().item() * 0.01 == pytest.approx(1, abs=5e-3)


def test_a_chain_of_maps_is_inverted_part_by_part():
    chain = randomize(Chain([Planar(2), Radial(2), Sylvester(2), Planar(2, negative_slope=0.3)]), seed=7)
    x = normal(20, 2)
    torch.testing.assert_close(chain.inverse(chain(x)), x, rtol=1e-9, atol=1e-9)
    assert (chain.forward_kind, chain.inverse_kind) == ("exact", "iterative")

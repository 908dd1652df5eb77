"""The block neural map: identity at the start, straight tails, brackets that hold, gradients by one reverse sweep."""

import math

import pytest
import torch
from cases import generator, randomize

from pushforward.bijections import BlockNeural
from pushforward.bijections.block import _bracket, _each
from pushforward.core.numerics import attach_root_gradients


def random_layer(features=4, context=0, size=0.8, **options):
    return randomize(BlockNeural(features, context=context, **options), seed=3, size=size)


def points(rows, features, seed=1):
    return torch.randn(rows, features, dtype=torch.float64, generator=generator(seed))


@pytest.mark.parametrize("units", [1, 4, 5])
@pytest.mark.parametrize("layers", [1, 3])
def test_it_starts_as_the_identity_although_its_units_differ(units, layers):
    layer = BlockNeural(3, context=2, units=units, layers=layers).double()
    x = points(6, 3)
    y, ladj = layer.forward_and_ladj(x, points(6, 2, 2))
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(ladj, torch.zeros_like(ladj))
    (slope,) = torch.autograd.grad(y.square().sum(), layer.bends)
    if units > 1:
        assert (slope[0].diff(dim=-1).abs() > 1e-6).all(), "units that get the same gradient stay copies"


def test_slopes_stay_between_known_bounds_and_tails_are_straight():
    layer = random_layer(2, min_slope=0.1)
    far = torch.tensor([-1e9, -1e6, 1e6, 1e9], dtype=torch.float64)
    x = torch.stack([torch.zeros_like(far), far], dim=-1)
    y, slopes = layer._forward_and_slopes(x, None)
    rates = slopes[:, 1].exp()
    torch.testing.assert_close(rates, rates[:1].expand(4))
    torch.testing.assert_close((y[1, 1] - y[0, 1]) / (far[1] - far[0]), rates[0])
    least = math.exp(-layer.bound * 3) * layer.min_slope**2  # three positive weights, two bent units
    assert (layer._forward_and_slopes(points(500, 2), None)[1].exp() > least).all()


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e6])
@pytest.mark.parametrize("size", [0.8, 3.0])
def test_the_bracket_holds_and_the_root_is_exact(size, scale):
    layer = random_layer(3, units=5, size=size)
    x = scale * points(200, 3)
    with torch.no_grad():
        y = layer(x)
        columns, blocks, offsets = x.t(), layer._blocks(), []
        h = columns[:, None]
        for k, (weight, bend) in enumerate(blocks):
            offsets.append(layer._offsets(k, h, None))
            h = weight @ h + offsets[-1]
            h = h if bend is None else torch.lerp(h, h.tanh(), bend)
        for j, each in enumerate(_each(blocks, 3)):
            low, high = _bracket(y.t()[j : j + 1], (each, [s[j : j + 1] for s in offsets]))
            slack = 1e-12 * (1 + columns[j].abs())
            assert (low <= columns[j] + slack).all()
            assert (columns[j] - slack <= high).all()
        torch.testing.assert_close(layer.inverse(y), x, rtol=1e-10, atol=1e-10)


def naive_inverse(layer, y, context):
    """Feature by feature, each by the implicit function theorem on a whole pass."""
    solution = layer.inverse(y, context).detach()
    torch.testing.assert_close(layer(solution, context), y, rtol=1e-11, atol=1e-11)
    x = solution[..., :0]
    for j in range(y.shape[-1]):

        def curve(t, x=x, j=j):
            value, slopes = layer._forward_and_slopes(torch.cat([x, t[..., None], solution[..., j + 1 :]], -1), context)
            return value[..., j], slopes[..., j]

        x = torch.cat([x, attach_root_gradients(curve, y[..., j], solution[..., j])[..., None]], dim=-1)
    return x


@pytest.mark.parametrize(("features", "context", "layers"), [(5, 0, 2), (4, 2, 1), (19, 1, 3), (1, 1, 2)])
def test_the_sweep_is_autodiff_through_naive_passes(features, context, layers):
    layer = random_layer(features, context, units=3, layers=layers)
    y = points(5, features).requires_grad_()
    c = points(5, context, 2).requires_grad_() if context else None
    leaves = [y, *([] if c is None else [c]), *layer.parameters()]
    v = points(5, features, 3)
    x = layer.inverse(y, c)
    got = torch.autograd.grad(x, leaves, v)
    expected = torch.autograd.grad(naive_inverse(layer, y, c), leaves, v)
    for a, b in zip(got, expected, strict=True):
        assert (a - b).abs().max() <= 1e-9 * (1 + b.abs().max())


def test_second_derivatives():
    layer = random_layer(3, 1, units=3)
    y, c = points(2, 3).requires_grad_(), points(2, 1, 2).requires_grad_()
    torch.autograd.gradcheck(layer.inverse, (y, c))
    torch.autograd.gradgradcheck(layer.inverse, (y, c), fast_mode=True)

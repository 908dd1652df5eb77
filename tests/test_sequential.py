"""Gradients through the inverse of an autoregressive map: the reverse sweep against autodiff through D naive passes."""

import pytest
import torch
from cases import UNIVARIATES, examples, generator, inputs, label, randomize, with_parameters
from torch.func import functional_call, jacrev, stack_module_state, vmap

from pushforward.bijections import Autoregressive
from pushforward.bijections.layout import embed, to_batch_first, to_features_first
from pushforward.core.bijection import Bijection
from pushforward.core.config import build
from pushforward.networks.block_triangular import BlockTriangularMatvec
from pushforward.univariate import Affine, RationalQuadratic
from pushforward.univariate.base import with_free

D, N = 6, 5


def naive_inverse(layer, y, context):
    """D full passes of the conditioner, each of which gives one more feature: the textbook, slow and plain."""
    columns, context_columns = to_features_first(y), None if context is None else to_features_first(context)
    x = layer.domain.example(columns.shape, generator(0)).to(y.dtype)
    for j in range(len(columns)):
        params = layer.conditioner(embed(layer.domain, x), context_columns)
        params = with_free(params, None if layer.free is None else layer.free[..., None])
        x_j = layer.univariate.inverse(columns[j], params[:, j])[0]
        x = torch.cat([x[:j], x_j[None], x[j + 1 :]])
    return to_batch_first(x, y.shape[:-1])


def case(univariate, context=0, **options):
    """A random layer with points on its out side, their contexts and cotangents of x."""
    layer = randomize(Autoregressive(univariate, D, context=context, hidden=(14, 14), **options), size=0.5)
    random = generator(1)
    x = layer.domain.example((N, D), random)
    c = torch.randn(N, context, dtype=torch.float64, generator=random) if context else None
    y = layer.forward(x, c).detach().requires_grad_()
    return layer, y, None if c is None else c.requires_grad_(), torch.randn(N, D, generator=random).double()


def gradients(x, layer, y, context, v):
    leaves = [y, *([] if context is None else [context]), *layer.parameters()]
    return torch.autograd.grad(x, leaves, v)


def assert_same_gradients(layer, y, context, v):
    expected_x = naive_inverse(layer, y, context)
    x = layer.inverse(y, context)
    torch.testing.assert_close(x, expected_x, rtol=1e-9, atol=1e-9)
    expected = gradients(expected_x, layer, y, context, v)
    for got, want in zip(gradients(x, layer, y, context, v), expected, strict=True):
        assert (got - want).abs().max() <= 1e-9 * (1 + want.abs().max())


@pytest.mark.parametrize("context", [pytest.param(0, marks=pytest.mark.exhaustive), 2])
@pytest.mark.parametrize("config", UNIVARIATES, ids=label)
def test_the_sweep_is_autodiff_through_naive_passes(config, context):
    assert_same_gradients(*case(build(with_parameters(config)), context))


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
@pytest.mark.parametrize("univariate", [Affine(), RationalQuadratic(4)], ids=["affine", "spline"])
def test_residual_networks_too(univariate, activation, context):
    assert_same_gradients(*case(univariate, context, conditioner="residual", activation=activation))


def test_more_features_than_one_block():
    layer = randomize(Autoregressive(Affine(), 21, context=1, hidden=(40, 30)), size=0.5)
    y = torch.randn(4, 21, dtype=torch.float64, generator=generator(2)).requires_grad_()
    context = torch.randn(4, 1, dtype=torch.float64, generator=generator(3)).requires_grad_()
    assert_same_gradients(layer, y, context, torch.randn(4, 21, dtype=torch.float64, generator=generator(4)))


def test_log_determinants_of_samples_have_the_same_gradients():
    layer, y, context, _ = case(RationalQuadratic(4), 2)
    ladj = layer.inverse_and_ladj(y, context)[1]
    expected = -layer.forward_and_ladj(naive_inverse(layer, y, context), context)[1]
    weight = torch.linspace(0.5, 1.5, N, dtype=torch.float64)
    for got, want in zip(
        gradients(ladj, layer, y, context, weight), gradients(expected, layer, y, context, weight), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_frozen_weights_get_none_and_change_nothing():
    layer, y, context, v = case(Affine(), 2)
    whole = torch.autograd.grad(layer.inverse(y, context), [y, context], v)
    layer.requires_grad_(False)
    y_alone = torch.autograd.grad(layer.inverse(y, context.detach()), y, v)
    torch.testing.assert_close(y_alone[0], whole[0])
    context_alone = torch.autograd.grad(layer.inverse(y.detach(), context), context, v)
    torch.testing.assert_close(context_alone[0], whole[1])


@pytest.mark.parametrize("univariate", [Affine(), RationalQuadratic(4)], ids=["affine", "spline"])
def test_second_derivatives(univariate):
    layer, y, context, _ = case(univariate, 1, activation="silu")
    torch.autograd.gradcheck(layer.inverse, (y[:2], context[:2]))
    torch.autograd.gradgradcheck(layer.inverse, (y[:2], context[:2]), fast_mode=True)


@pytest.mark.parametrize(
    "config", [c for c in examples(Bijection) if c["type"] in ("Autoregressive", "BlockNeural")], ids=label
)
def test_the_jacobian_of_samples_by_jacrev_over_vmap(config):
    layer = randomize(build(config), size=0.5)
    x, context = inputs(layer, (N,))
    y = layer.forward(x, context).detach()
    contexts = () if context is None else (context,)
    jacobians = vmap(jacrev(layer.inverse))(y, *contexts)
    for row, jacobian in enumerate(jacobians):
        one = [c[row] for c in contexts]
        expected = torch.autograd.functional.jacobian(lambda y, one=one: layer.inverse(y, *one), y[row])
        torch.testing.assert_close(jacobian, expected, rtol=1e-9, atol=1e-9)


def test_gradients_of_each_row_by_vmap():
    layer, y, context, v = case(RationalQuadratic(4), 2)
    weights = {name: p.detach() for name, p in layer.named_parameters()}

    def score(weights, y, context, v):
        return (functional_call(Inverted(layer), {f"layer.{k}": w for k, w in weights.items()}, (y, context)) * v).sum()

    rows = vmap(torch.func.grad(score), in_dims=(None, 0, 0, 0))(weights, y, context, v)
    expected = gradients(naive_inverse(layer, y, context), layer, y, context, v)[2:]
    for got, want in zip(rows.values(), expected, strict=True):
        torch.testing.assert_close(got.sum(0), want, rtol=1e-9, atol=1e-9)


def test_ensembles_by_vmap():
    """Weights mapped as well: each member gives its own points."""
    layers = [randomize(Autoregressive(Affine(), 3, hidden=(8,)), seed) for seed in (1, 2)]
    weights, buffers = stack_module_state([Inverted(layer) for layer in layers])
    y = torch.randn(N, 3, dtype=torch.float64, generator=generator(5))

    def one(weights, buffers):
        return functional_call(Inverted(layers[0]), (weights, buffers), (y,))

    torch.testing.assert_close(vmap(one)(weights, buffers), torch.stack([layer.inverse(y) for layer in layers]))


class Inverted(torch.nn.Module):
    """A layer called backwards, for tools that call modules."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, y, context=None):
        return self.layer.inverse(y, context)


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("recording", [False, True])
def test_a_block_triangular_product_is_a_masked_product(falling, recording):
    """Against the whole product with what no step may see set to zero; more steps than one block, some pieces empty."""
    random = generator(6)
    sizes = [(0, 2), (3, 1), (1, 0), *[(2, 1)] * 7, (1, 3)]  # rows and columns of each step
    rows = slices([r for r, _ in sizes], falling)
    columns = slices([c for _, c in sizes], falling)
    matrix = torch.randn(sum(r for r, _ in sizes), sum(c for _, c in sizes), dtype=torch.float64, generator=random)
    x = torch.randn(matrix.shape[1], 3, dtype=torch.float64, generator=random)
    bias = torch.randn(len(matrix), dtype=torch.float64, generator=random)
    mask = torch.zeros_like(matrix)
    for t, row in enumerate(rows):
        for column in columns[: t + 1]:
            mask[row, column] = 1
    expected = (matrix * mask) @ x + bias[:, None]
    with torch.set_grad_enabled(recording):
        product = BlockTriangularMatvec(matrix, rows, columns, x, bias)
        for row, column in zip(rows, columns, strict=True):
            torch.testing.assert_close(product.push(x[column]), expected[row])


def slices(sizes, falling):
    """Slices of the given sizes, one after the other; in falling order the first lies last."""
    stops = torch.tensor(sizes[::-1] if falling else sizes).cumsum(0).tolist()
    touching = [slice(stop - size, stop) for stop, size in zip(stops, sizes[::-1] if falling else sizes, strict=True)]
    return touching[::-1] if falling else touching

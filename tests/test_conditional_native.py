"""The native kernel of the last product and its splines: densities and gradients of the plain operations."""

import copy

import pytest
import torch
from cases import WithKernels, generator, needs_compiler, steady
from rounding import SPLINES, assert_rounded

from pushforward.bijections import Autoregressive
from pushforward.core.dispatch import kernels_for
from pushforward.kernels import autoregressive_spline
from pushforward.kernels.autoregressive_spline import SplineConditioner
from pushforward.networks import MaskedMLP
from pushforward.univariate import Affine, CircularRationalQuadratic, RationalQuadratic

CASES = [
    {"univariate": RationalQuadratic(8), "features": 6, "hidden": (40, 37)},
    {"univariate": RationalQuadratic(5, bound=3.0), "features": 3, "hidden": (9,), "context": 2, "activation": "tanh"},
    {"univariate": RationalQuadratic(3, tails="linear"), "features": 2, "hidden": (3,)},
    {"univariate": RationalQuadratic(4), "features": 7, "hidden": (20, 20), "context": 1, "conditioner": "residual"},
]
each = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['univariate'].bins}-{c['features']}-{c['hidden']}")
COUNTS = (0, 1, 33, 200)  # nothing, a part of a tile, one and a part, several


def pair(case, dtype=torch.float64):
    """(by the kernel, plain): the same layer twice, whose weights are float32 numbers in any dtype."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        plain = Autoregressive(**case)
        for parameter in plain.parameters():
            parameter.data.add_(0.5 * torch.randn_like(parameter))
    plain = plain.to(dtype)
    return WithKernels(copy.deepcopy(plain)), plain


def inputs(case, count, dtype=torch.float64):
    x = 3 * torch.randn(count, case["features"], generator=generator(4))
    size = case.get("context", 0)
    context = torch.randn(count, size, generator=generator(5)).to(dtype) if size else None
    return x.to(dtype), context


def everything(layer, x, context):
    """y, log-determinant and the gradients of both in x, context and weights."""
    leaves = [t.clone().requires_grad_() for t in (x, context) if t is not None]
    y, ladj = layer.forward_and_ladj(leaves[0], leaves[1] if len(leaves) > 1 else None)
    weights = torch.randn(y.shape, generator=generator(6)).to(y.dtype)
    return [y, ladj, *torch.autograd.grad((weights * y).sum() + ladj.square().sum(), [*leaves, *layer.parameters()])]


@pytest.fixture
def runs(monkeypatch):
    """The names of the kernels as they run."""
    seen, run = [], autoregressive_spline._Operator._call
    monkeypatch.setattr(
        autoregressive_spline._Operator,
        "_call",
        lambda self, name, *args, **others: seen.append(name) or run(self, name, *args, **others),
    )
    return seen


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@each
def test_values_and_gradients(case, dtype, runs):
    fast, plain = pair(case, dtype)
    for count in COUNTS:
        arguments = inputs(case, count, dtype)
        assert_rounded(everything(fast, *arguments), everything, plain, *arguments, times=SPLINES)
    assert runs == ["forward", "backward"] * (len(COUNTS) - 1)  # nothing to do for no points


@pytest.mark.slow
@needs_compiler
def test_weights_that_are_masked_are_neither_read_nor_moved(runs):
    case = CASES[0]
    fast, plain = pair(case)
    with torch.no_grad():
        for part in fast.modules():
            if hasattr(part, "mask"):
                part.weight.masked_fill_(part.mask == 0, 1e3)
    arguments = inputs(case, 50)
    pairs = zip(everything(fast, *arguments), everything(plain, *arguments), strict=True)
    for got, expected in pairs:
        assert (got - expected).abs().max() <= 1e-10 * (1 + expected.abs().max())
    assert runs


@pytest.mark.slow
@needs_compiler
def test_the_same_numbers_again_and_with_any_number_of_threads(runs):
    fast, _ = pair(CASES[0])
    arguments = inputs(CASES[0], 300)
    steady(lambda: everything(fast, *arguments))
    assert len(runs) == 12


@pytest.mark.slow
@needs_compiler
def test_a_wild_row_is_its_own_trouble(runs):
    fast, _ = pair(CASES[0])
    x, _ = inputs(CASES[0], 40)
    y, ladj = fast.forward_and_ladj(x)
    wild = x.clone()
    wild[7], wild[9, 0] = torch.nan, 1e300
    wild_y, wild_ladj = fast.forward_and_ladj(wild)
    calm = torch.ones(40, dtype=torch.bool)
    calm[[7, 9]] = False
    assert torch.equal(wild_y[calm], y[calm])
    assert torch.equal(wild_ladj[calm], ladj[calm])
    assert wild_y[7].isnan().all()
    assert runs == ["forward"] * 2


@pytest.mark.slow
@needs_compiler
@each
def test_derivatives_of_derivatives_and_mapped_calls(case, runs):
    x, context = inputs(case, 5)
    results = []
    for layer in pair(case):
        leaf, weight = x.clone().requires_grad_(), layer.conditioner.last.weight
        ladj = layer.forward_and_ladj(leaf, context)[1]
        first = torch.autograd.grad(ladj.sum(), [leaf, weight], create_graph=True)
        results.append([*first, *torch.autograd.grad(sum(g.square().sum() for g in first), [leaf, weight])])
    for got, expected in zip(*results, strict=True):
        assert (got - expected).norm() <= 1e-9 * (1 + expected.norm())
    assert runs == ["forward"]
    fast, plain = pair(case)
    contexts = () if context is None else (context,)
    torch.testing.assert_close(torch.vmap(fast)(x, *contexts), plain(x, context))
    assert runs == ["forward"]


def test_other_parts_have_no_such_kernel():
    operation = Autoregressive._forward_and_slopes

    class Subclass(MaskedMLP):
        pass

    def has_it(*types):
        return SplineConditioner in map(type, kernels_for(operation, *types))

    assert has_it(Autoregressive, RationalQuadratic, MaskedMLP)
    for types in (
        (Autoregressive, Affine, MaskedMLP),
        (Autoregressive, CircularRationalQuadratic, MaskedMLP),
        (Autoregressive, RationalQuadratic, Subclass),
    ):
        assert not has_it(*types)

"""Kernels of masked perceptrons and of affine maps in training: values and gradients of the plain operations."""

import copy
from functools import partial

import pytest
import torch
from cases import WithKernels, generator, needs_compiler, steady
from rounding import assert_rounded

from pushforward.core.dispatch import kernels_for
from pushforward.core.execution_mode import execution
from pushforward.kernels import affine, perceptron
from pushforward.kernels.native_build import ACTIVATION_HEADER, native_library
from pushforward.kernels.perceptron import SOURCE, hidden_units
from pushforward.networks import MaskedMLP
from pushforward.univariate import Affine

NETWORKS = [  # more units than fit into a band of rows, fewer, and ends that do not rise from copy to copy
    {"features": 6, "num_params": 3, "hidden": (70, 41)},
    {"features": 40, "num_params": 2, "hidden": (50,), "activation": "silu", "context": 2},
    {"features": 3, "num_params": 5, "hidden": (9, 9, 70), "activation": "gelu"},
    {"features": 5, "num_params": 1, "hidden": (37, 37), "activation": "elu", "residual": True, "context": 3},
    {"features": 2, "num_params": 2, "hidden": (40, 40, 40), "activation": "gelu", "residual": True},
    {"features": 4, "num_params": 2, "hidden": (6,), "activation": "tanh", "residual": True},
]
each = pytest.mark.parametrize("case", NETWORKS, ids=lambda c: "-".join(map(str, c.values())))
COUNTS = (0, 1, 77, 1500)  # nothing, a part of a chunk, several chunks and more than one round of them


def pair(case, dtype=torch.float64):
    """(by the kernel, plain): the same network twice, whose weights are float32 numbers in any dtype."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = MaskedMLP(**case)
        for parameter in plain.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    plain = plain.to(dtype)
    return WithKernels(copy.deepcopy(plain)), plain


def inputs(case, count, dtype=torch.float64):
    x = torch.randn(count, case["features"], generator=generator(4)).to(dtype)
    size = case.get("context", 0)
    context = torch.randn(size, count, generator=generator(5)).to(dtype) if size else None
    return x.t(), context  # x as layers hand it on: the transpose of rows


def units_of(network):
    """The units that the last layer reads, by the kernel or plainly."""
    if isinstance(network, WithKernels):
        return lambda x, context=None: hidden_units(network.part, x, context)
    return lambda x, context=None: network.hidden_units(network.prepare_inputs(x, context))


def everything(network, x, context, last=True):
    """Outputs with and without recording, and gradients in x, context and weights."""
    leaves = [t.clone().requires_grad_() for t in (x, context) if t is not None]
    call = network if last else units_of(network)
    out = call(*leaves)
    with torch.no_grad():
        bare = call(*leaves)
    weights = torch.randn(out.shape, generator=generator(6)).to(out.dtype)
    owners = network.parameters() if last else network.layers.parameters()
    return [out, bare, *torch.autograd.grad((weights * out).sum(), [*leaves, *owners])]


@pytest.fixture
def runs(monkeypatch):
    """The passes of the perceptron's kernel as they run."""
    seen, run = [], perceptron._Operator._call
    monkeypatch.setattr(perceptron._Operator, "_call", lambda self, name, *a: seen.append(name) or run(self, name, *a))
    return seen


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("last", [True, pytest.param(False, marks=pytest.mark.exhaustive)], ids=["whole", "units"])
@each
def test_values_and_gradients(case, last, dtype, runs):
    fast, plain = pair(case, dtype)
    for count in COUNTS:
        arguments = inputs(case, count, dtype)
        assert_rounded(everything(fast, *arguments, last), partial(everything, last=last), plain, *arguments)
    assert runs == ["forward", "forward", "backward"] * (len(COUNTS) - 1)


@pytest.mark.slow
@needs_compiler
def test_weights_that_are_masked_are_neither_read_nor_moved(runs):
    fast, _ = pair(NETWORKS[0])
    with torch.no_grad():
        for layer in (*fast.layers, fast.last):
            layer.weight.masked_fill_(layer.mask == 0, torch.nan)
    # Products by zero that are not made do not spread what is not a number.
    expected_all = everything(pair(NETWORKS[0])[1], *inputs(NETWORKS[0], 50))
    for got, expected in zip(everything(fast, *inputs(NETWORKS[0], 50)), expected_all, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12 * (1 + expected.abs().sum().item()))
    assert runs


@pytest.mark.slow
@needs_compiler
def test_the_same_numbers_again_and_with_any_number_of_threads(runs):
    fast, _ = pair(NETWORKS[3])
    arguments = inputs(NETWORKS[3], 700)
    steady(lambda: everything(fast, *arguments))
    assert len(runs) == 18


@pytest.mark.slow
@needs_compiler
def test_a_wild_point_is_its_own_trouble(runs):
    fast, plain = pair(NETWORKS[0])
    x, _ = inputs(NETWORKS[0], 40)
    wild = x.clone()
    wild[:, 7], wild[2, 9] = torch.nan, 1e300
    outputs, expected = fast(wild), plain(wild)
    assert outputs[..., 7].isnan().equal(expected[..., 7].isnan())
    torch.testing.assert_close(outputs[..., 9], expected[..., 9], rtol=1e-9, atol=1e-9)
    calm = ~torch.isin(torch.arange(40), torch.tensor([7, 9]))
    torch.testing.assert_close(outputs[..., calm], plain(x)[..., calm], rtol=1e-12, atol=1e-12)
    assert runs == ["forward"]


@pytest.mark.slow
@needs_compiler
@each
def test_derivatives_of_derivatives_and_mapped_calls(case, runs):
    x, context = inputs(case, 5)
    contexts = () if context is None else (context,)
    results = []
    for network in pair(case):
        leaf, weight = x.clone().requires_grad_(), network.last.weight
        first = torch.autograd.grad(network(leaf, *contexts).sin().sum(), [leaf, weight], create_graph=True)
        results.append([*first, *torch.autograd.grad(sum(g.square().sum() for g in first), [leaf, weight])])
    for got, expected in zip(*results, strict=True):
        assert (got - expected).norm() <= 1e-9 * (1 + expected.norm())
    assert runs == ["forward", "backward"]  # the first gradient plainly; that of the sine in it goes back once more
    fast, plain = pair(case)
    mapped = torch.vmap(lambda *arguments: fast(*(g[:, None] for g in arguments))[..., 0], in_dims=1, out_dims=2)
    torch.testing.assert_close(mapped(x, *contexts), plain(x, *contexts))
    along = torch.func.jvp(lambda x: fast(x, *contexts), (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(along, torch.func.jvp(lambda x: plain(x, *contexts), (x,), (torch.ones_like(x),))[1])
    assert len(runs) == 2


@pytest.mark.slow
@needs_compiler
def test_what_drops_units_or_is_of_two_precisions_goes_the_plain_way(runs):
    case = NETWORKS[0] | {"dropout": 0.5}
    fast, _ = pair(case)
    x, _ = inputs(case, 30)
    assert not torch.equal(fast(x), fast(x))
    assert not runs
    fast.eval()
    assert torch.equal(fast(x), fast(x))
    assert runs == ["forward"] * 2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast.float()(x.float())
    assert runs == ["forward"] * 2


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_affine_maps(dtype):
    plain = Affine(1.5)
    fast = WithKernels(plain)
    eps = torch.finfo(dtype).eps
    for features, count in ((1, 1), (3, 37), (7, 2000)):
        shapes = (features, count), (2, features, count), (1, features, 1)
        arguments = [torch.randn(shape, generator=generator(7), dtype=torch.float64).to(dtype) for shape in shapes]
        results = []
        for univariate in (fast, plain):
            leaves = [t.clone().requires_grad_() for t in arguments]
            y, log_slope = univariate.forward_with_free(*leaves)
            ran = y.grad_fn is log_slope.grad_fn
            assert ran == (univariate is fast)
            first = torch.autograd.grad((y * log_slope).sin().sum(), leaves, retain_graph=True)
            again = torch.autograd.grad(y.sin().sum() + log_slope.sum(), leaves, create_graph=True)
            second = torch.autograd.grad(sum(g.square().sum() for g in again), leaves)
            results.append([y, log_slope, *first, *second])
        for got, expected in zip(*results, strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=100 * eps * (1 + expected.abs().sum().item()))


@pytest.mark.slow
@needs_compiler
def test_the_kernels_compile_without_warnings():
    assert native_library(ACTIVATION_HEADER, SOURCE) is not None
    assert native_library(affine.SOURCE) is not None


def test_where_torch_hides_its_matrix_library_the_plain_way_is_taken(monkeypatch, runs):
    monkeypatch.setattr(perceptron, "gemm_address", lambda dtype: None)
    fast, plain = pair(NETWORKS[0])
    arguments = inputs(NETWORKS[0], 9)
    for got, expected in zip(everything(fast, *arguments), everything(plain, *arguments), strict=True):
        assert torch.equal(got, expected)
    assert not runs


@pytest.mark.slow
@needs_compiler
def test_sums_over_points_are_free_of_lanes_behind_the_last_point():
    """There the scale is exp(free), which overflows, while at the points it is exp(free - bound)."""
    affine = Affine(5.0)
    x, params, free = torch.ones(1, 3), torch.zeros(2, 1, 3), torch.full((1, 1, 1), 90.0)
    params[1] = -100.0
    leaves = [t.requires_grad_() for t in (x, params, free)]
    with execution(kernels=True):
        y, log_slope = affine.forward_with_free(*leaves)
    grad_free = torch.autograd.grad(y.sum() * 1e-30 + log_slope.sum(), leaves)[2]
    torch.testing.assert_close(grad_free, (3e-30 * torch.tensor(85.0).exp() + 3).reshape(1, 1, 1))


def test_more_points_than_the_matrix_library_can_count_go_the_plain_way():
    fast, _ = pair(NETWORKS[0], torch.float32)
    x = torch.zeros(1, 1).expand(6, 2**31)  # a single number in memory
    assert not any(kernel.supports(fast.part, x) for kernel in kernels_for(MaskedMLP.parallel, MaskedMLP))

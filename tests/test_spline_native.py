"""The native kernels of the rational-quadratic spline: values, slopes and gradients of the plain formulas."""

import copy

import pytest
import torch
from cases import WithKernels, generator, needs_compiler
from rounding import SPLINES, assert_rounded

import pushforward as pf
from pushforward.kernels import spline as kernel_module
from pushforward.kernels.native_build import SPLINE_HEADER, native_library
from pushforward.kernels.spline import SOURCE
from pushforward.univariate import RationalQuadratic

KINDS = [
    {"bins": 8},
    {"bins": 2, "bound": 3.0, "min_bin": 0.01, "min_slope": 0.01},
    {"bins": 3, "tails": "linear"},
    {"bins": 20, "tails": "linear", "bound": 1.0},
]
each = pytest.mark.parametrize("options", KINDS, ids=lambda o: "-".join(map(str, o.values())))


def pair(options, dtype=torch.float64):
    plain = RationalQuadratic(**options).to(dtype)
    return plain, WithKernels(copy.deepcopy(plain))


def points(spline, dtype=torch.float64, shape=(3, 700)):
    """Points inside and outside the box, at its ends and at its middle, and parameters, some of them wild."""
    x = 0.8 * spline.bound * torch.randn(*shape, generator=generator(1))
    bound = spline.bound
    x[0, :7] = torch.tensor([bound, -bound, 0.0, bound * (1 - 1e-7), 30 * bound, -30 * bound, 1e6])
    params = torch.randn(spline.num_params, *shape, generator=generator(2))
    params[:, 1] *= 4
    return x.to(dtype), params.to(dtype)


def everything(spline, x, params):
    """(y, log-slope, gradients in x and in the parameters)."""
    x, params = x.clone().requires_grad_(), params.clone().requires_grad_()
    y, log_slope = spline(x, params)
    weights = torch.randn(2, *x.shape, generator=generator(3)).to(x.dtype)
    return [y, log_slope, *torch.autograd.grad((weights * torch.stack([y, log_slope])).sum(), (x, params))]


@pytest.mark.slow
@needs_compiler
@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_values_slopes_and_gradients(options, dtype):
    plain, fast = pair(options, dtype)
    arguments = points(plain, dtype)
    assert_rounded(everything(fast, *arguments), everything, plain, *arguments, times=SPLINES)


@pytest.mark.slow
@needs_compiler
@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_the_inverse(options, dtype):
    plain, fast = pair(options, dtype)
    y, params = points(plain, dtype)
    with torch.no_grad():
        pair_path = fast.inverse(y, params)
        assert_rounded(pair_path, RationalQuadratic.inverse, plain, y, params, times=SPLINES)
        assert torch.equal(fast.inverse_value(y, params), pair_path[0])


@pytest.mark.slow
@needs_compiler
@each
def test_a_wild_point_is_its_own_trouble(options):
    plain, fast = pair(options)
    x, params = points(plain)
    calm = everything(fast, x, params)
    x[2, 5], x[2, 9], x[2, 11] = torch.nan, torch.inf, 1e300
    params[:, 2, 13] = torch.nan
    results = everything(fast, x, params)
    wild = torch.zeros(x.shape, dtype=torch.bool)
    wild[2, [5, 9, 11, 13]] = True
    for got, expected in zip(results, calm, strict=True):
        assert torch.equal(got[..., ~wild], expected[..., ~wild])
    assert results[0][2, 5].isnan()


@pytest.mark.slow
@needs_compiler
@each
def test_derivatives_of_derivatives(options):
    plain, fast = pair(options)
    x, params = points(plain, shape=(2, 9))
    seconds = []
    for spline in (plain, fast):
        leaf, raw = x.clone().requires_grad_(), params.clone().requires_grad_()
        y, log_slope = spline(leaf.t(), raw.mT)
        first = torch.autograd.grad(y.sum() + log_slope.sum(), (leaf, raw), create_graph=True)
        seconds.append(torch.autograd.grad(sum(g.square().sum() for g in first), (leaf, raw)))
    for got, expected in zip(*seconds, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@needs_compiler
def test_strides_shared_parameters_and_mapped_calls():
    plain, fast = pair(KINDS[0])
    x, params = points(plain, shape=(8, 8))
    for got, expected in zip(everything(fast, x.t(), params.mT), everything(plain, x.t(), params.mT), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    assert [t.shape for t in everything(fast, x[:0], params[:, :0])] == [(0, 8)] * 3 + [(23, 0, 8)]
    shared = params[..., :1]  # one set for a row of points: not what the kernel is for
    torch.testing.assert_close(fast(x, shared)[0], plain(x, shared)[0], rtol=0, atol=0)
    mapped = torch.vmap(lambda x, params: fast(x, params)[0], in_dims=(0, 1))
    torch.testing.assert_close(mapped(x, params), plain(x, params)[0], rtol=1e-12, atol=1e-12)
    slope = torch.func.jvp(lambda x: fast(x, params)[0], (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(slope, plain(x, params)[1].exp(), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("layer", ["coupling", "autoregressive"])
def test_whole_flows_train_alike(layer):
    torch.manual_seed(0)
    flow = pf.flows.nsf(3, layer=layer, depth=2, hidden=(16, 16), bins=5, context=1).double()
    for parameter in flow.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    x, context = torch.randn(40, 3, dtype=torch.float64), torch.randn(40, 1, dtype=torch.float64)
    fast = copy.deepcopy(flow)
    fast.use_kernels()
    for model in (flow, fast):
        (-model(x, context).mean()).backward()
    for (name, p), q in zip(flow.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-9, atol=1e-9, msg=name)


def test_without_a_compiler_the_plain_formulas_answer(monkeypatch):
    plain, fast = pair(KINDS[0])
    monkeypatch.setattr(kernel_module, "native_library", lambda *sources: None)
    x, params = points(plain)
    for got, expected in zip(everything(fast, x, params), everything(plain, x, params), strict=True):
        assert torch.equal(got, expected)
    with torch.no_grad():
        assert torch.equal(fast.inverse_value(x, params), plain.inverse_value(x, params))


@pytest.mark.slow
@needs_compiler
def test_the_kernels_compile_without_warnings():
    assert native_library(SPLINE_HEADER, SOURCE) is not None

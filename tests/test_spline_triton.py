"""The Triton kernels of the rational-quadratic spline, run by Triton's interpreter on the CPU, or on a GPU."""

import importlib.util

import pytest
import torch
from cases import WithKernels, generator

from pushforward.core.dispatch import kernels_for
from pushforward.core.execution_mode import execution
from pushforward.kernels.spline import spline_options
from pushforward.univariate import RationalQuadratic
from pushforward.univariate.spline import Spline

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("triton"), reason="needs triton: .venv/bin/pip install -c constraints.txt triton"
)
KINDS = [
    {"bins": 8},
    {"bins": 3, "tails": "linear"},
    {"bins": 5, "bound": 3.3, "min_bin": 0.01, "min_slope": 0.05},
]
each = pytest.mark.parametrize("options", KINDS, ids=lambda o: "-".join(map(str, o.values())))
both = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def points(spline, dtype=torch.float64, shape=(3, 100)):
    """Points inside, outside and at the ends of the box, parameters some of which are wild, and cotangents."""
    x = 0.8 * spline.bound * torch.randn(*shape, generator=generator(1), dtype=torch.float64)
    x[0, :5] = torch.tensor([spline.bound, -spline.bound, 0.0, 1e6, -spline.bound * (1 - 1e-10)])
    params = torch.randn(spline.num_params, *shape, generator=generator(2), dtype=torch.float64)
    params[:, 1] *= 4
    by = torch.randn(2, *shape, generator=generator(3), dtype=torch.float64)
    return [tensor.to(DEVICE, dtype) for tensor in (x, params, by)]


def launched(spline, x, params, by):
    """(y, log-slope, gradients in x and in the parameters, x and minus the log-slope of the inverse)."""
    from pushforward.kernels.spline_triton import launch

    y, log_slope, grad_x, back, falling = (torch.empty_like(x) for _ in range(5))
    grad_params, options = torch.empty_like(params), spline_options(spline)
    launch("forward", options, params, x=x, y=y, log_slope=log_slope)
    launch("backward", options, params, x=x, grad_y=by[0], grad_log_slope=by[1], grad_x=grad_x, grad_params=grad_params)
    launch("inverse", options, params, x=x, y=back, log_slope=falling)
    return [y, log_slope, grad_x, grad_params, back, falling]


def plainly(spline, x, params, by):
    x, params = x.clone().requires_grad_(), params.clone().requires_grad_()
    y, log_slope = spline(x, params)
    gradients = torch.autograd.grad((y, log_slope), (x, params), tuple(by))
    return [t.detach() for t in (y, log_slope, *gradients, *spline.inverse(x, params))]


@both
@each
def test_values_gradients_and_inverses(options, dtype):
    spline = RationalQuadratic(**options).to(DEVICE, dtype)
    exact = [t.double() for t in plainly(spline.double(), *points(spline))]
    spline = spline.to(dtype)
    arguments = points(spline, dtype)
    eps = torch.finfo(dtype).eps
    for got, expected, right in zip(launched(spline, *arguments), plainly(spline, *arguments), exact, strict=True):
        error, others = (got.double() - right).abs(), (expected.double() - right).abs()
        assert error.max() <= 4 * others.max() + 1e3 * eps * right.abs().max()
        assert error.mean() <= 4 * others.mean() + 20 * eps * right.abs().mean()


def test_a_wild_point_is_its_own_trouble():
    spline = RationalQuadratic(4).to(DEVICE).double()
    x, params, by = points(spline)
    x[2, 5] = 0.5
    calm = launched(spline, x, params, by)
    x[1, 3], params[:, 2, 5] = torch.nan, torch.nan
    for got, expected in zip(launched(spline, x, params, by), calm, strict=True):
        got[..., 1, 3], got[..., 2, 5] = expected[..., 1, 3], expected[..., 2, 5]
        assert torch.equal(got, expected)
    y = launched(spline, x, params, by)[0]
    assert y[1, 3].isnan()
    assert y[2, 5].isnan()


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_a_spline_on_a_gpu_uses_them():  # pragma: no cover
    plain = RationalQuadratic(8).to(DEVICE)
    fast = WithKernels(plain)
    x, params, _ = points(plain, torch.float32)
    leaves = x.requires_grad_(), params.requires_grad_()
    for got, expected in zip(fast(*leaves), plain(*leaves), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert "_Eager" in type(fast(*leaves)[0].grad_fn).__name__
    (inverse,) = kernels_for(Spline.inverse, RationalQuadratic)
    with torch.no_grad(), execution(kernels=True):
        assert inverse.supports(plain, x, params)

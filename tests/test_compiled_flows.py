"""``flow.use_kernels()``: the same numbers, copies without it, compiled steps, and no error without a compiler."""

import copy
import pickle
import warnings

import pytest
import torch
from cases import WithKernels, generator, needs_compiler, random_part, randomize

import pushforward as pf
from pushforward.bijections import Autoregressive
from pushforward.kernels import compiled_step, native_build
from pushforward.univariate import Affine, Composed, CubicSpline, LinearRational

SPECS = [
    {"flow": "nsf", "features": 3, "context": 0, "depth": 2},
    {"flow": "maf", "features": 3, "context": 2, "depth": 2},
    {"flow": "naf", "features": 2, "context": 0, "depth": 1},
]
each = pytest.mark.parametrize("spec", SPECS, ids=lambda s: s["flow"])


def flow_and_inputs(spec):
    flow = copy.deepcopy(random_part(spec))  # parts are shared between tests
    z = torch.randn(5, spec["features"], dtype=torch.float64, generator=generator(1))
    context = torch.randn(5, spec["context"], dtype=torch.float64, generator=generator(2)) if spec["context"] else None
    return flow, z, context


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    compiled_step._compiled.cache_clear()
    yield
    torch.compiler.reset()
    compiled_step._compiled.cache_clear()


@pytest.mark.slow
@needs_compiler
@each
def test_a_flow_with_kernels_gives_the_same_numbers(spec):
    flow, z, context = flow_and_inputs(spec)
    with torch.no_grad():
        x = flow.to_data(z, context)
    z_leaf = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(flow.to_data(z_leaf, context).sum(), z_leaf)
    flow.use_kernels()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with torch.no_grad():
            torch.testing.assert_close(flow.to_data(z, context), x, rtol=1e-10, atol=1e-10)
        (got,) = torch.autograd.grad(flow.to_data(z_leaf, context).sum(), z_leaf)
        torch.testing.assert_close(got, slope, rtol=1e-9, atol=1e-9)
        contexts = () if context is None else (context,)
        torch.testing.assert_close(torch.vmap(flow.to_data)(z, *contexts), x, rtol=1e-10, atol=1e-10)


def layer_of(univariate):
    layer = randomize(Autoregressive(univariate, 3, hidden=(8,)))
    return layer, torch.randn(7, 3, dtype=torch.float64, generator=generator(1))


@pytest.fixture
def steps(monkeypatch):
    """Steps compiled by a backend that needs no compiler, and the number of points of each as it runs."""
    seen, compiled = [], native_build.compiled

    def watched(function):
        fast = compiled(function, backend="eager")
        return lambda univariate, y, params: seen.append(len(y)) or fast(univariate, y, params)

    monkeypatch.setattr(compiled_step, "compiled", watched)
    return seen


@pytest.mark.parametrize(
    "univariate", [CubicSpline(4), Composed([Affine(), LinearRational(3)])], ids=["spline", "composed"]
)
def test_long_inverses_are_compiled_steps_of_samples(univariate, steps):
    layer, y = layer_of(univariate)
    with torch.no_grad():
        torch.testing.assert_close(WithKernels(layer).inverse(y), layer.inverse(y), rtol=1e-12, atol=1e-12)
    assert steps == [7] * 3
    WithKernels(layer).inverse(y)  # gradients come from the reverse sweep: the steps themselves are not recorded
    assert steps == [7] * 6
    with torch.no_grad():
        layer.inverse(y)  # outside of the scope
    assert len(steps) == 6


def test_copies_and_files_come_without_kernels(tmp_path):
    flow = flow_and_inputs(SPECS[0])[0]
    flow.use_kernels()
    pf.save(flow, tmp_path / "flow.safetensors")
    for other in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), pf.load(tmp_path / "flow.safetensors")):
        assert flow._kernels
        assert not other._kernels
    flow.use_kernels(False)
    assert not flow._kernels


def test_without_a_compiler_one_warning_says_so_and_all_goes_on(monkeypatch):
    layer, y = layer_of(CubicSpline(4))

    def broken(graph, inputs):
        raise OSError("no compiler here")

    compiled = native_build.compiled
    monkeypatch.setattr(native_build, "_warned", False)
    monkeypatch.setattr(compiled_step, "compiled", lambda function: compiled(function, backend=broken))
    with torch.no_grad():
        with pytest.warns(RuntimeWarning, match=r"compiled kernels are off: .*no compiler here"):
            got = WithKernels(layer).inverse(y)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            WithKernels(layer).inverse(y)
        assert torch.equal(got, layer.inverse(y))

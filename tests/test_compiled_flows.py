"""``flow.use_kernels()``: the same numbers, copies that are not compiled, and a way on without a compiler."""

import copy
import pickle
import warnings

import pytest
import torch
from cases import generator, needs_compiler, random_part

import pushforward as pf
from pushforward.univariate import RationalQuadratic

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


def steps(flow):
    return [part._step for part in flow.modules() if isinstance(part, RationalQuadratic)]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@each
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=[pytest.mark.slow, needs_compiler])])
def test_a_compiled_flow_gives_the_same_numbers(spec, backend):
    flow, z, context = flow_and_inputs(spec)
    with torch.no_grad():
        x = flow.to_data(z, context)
    z_leaf = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(flow.to_data(z_leaf, context).sum(), z_leaf)
    flow.use_kernels(backend=backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with torch.no_grad():
            torch.testing.assert_close(flow.to_data(z, context), x, rtol=1e-10, atol=1e-10)
        (got,) = torch.autograd.grad(flow.to_data(z_leaf, context).sum(), z_leaf)
        torch.testing.assert_close(got, slope, rtol=1e-9, atol=1e-9)
        known = () if context is None else (context,)
        torch.testing.assert_close(torch.vmap(flow.to_data)(z, *known), x, rtol=1e-10, atol=1e-10)


def test_the_compiled_step_is_the_one_that_samples_take(monkeypatch):
    flow, _, _ = flow_and_inputs(SPECS[0])
    flow.use_kernels(backend="eager")
    seen = []
    for part in flow.modules():
        if isinstance(part, RationalQuadratic):
            monkeypatch.setattr(part, "_step", lambda y, params, f=part._step: seen.append(len(y)) or f(y, params))
    flow.sample(7)
    assert seen == [7] * 6  # two layers of three features


def test_copies_and_files_are_not_compiled(tmp_path):
    flow, z, _ = flow_and_inputs(SPECS[0])
    x = flow.to_data(z)
    flow.use_kernels(backend="eager")
    assert None not in steps(flow)
    pf.save(flow, tmp_path / "flow.safetensors")
    for other in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), pf.load(tmp_path / "flow.safetensors")):
        assert steps(other) == [None, None]
        torch.testing.assert_close(other.to_data(z), x, rtol=0, atol=0)


def test_without_a_compiler_a_warning_says_so_and_all_goes_on():
    flow, z, _ = flow_and_inputs(SPECS[0])

    def broken(graph, inputs):
        raise OSError("no compiler here")

    flow.use_kernels(backend=broken)
    with torch.no_grad():
        expected = copy.deepcopy(flow).to_data(z)
        with pytest.warns(RuntimeWarning, match="not compiled.*: no compiler here"):
            got = flow.to_data(z)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            flow.to_data(z)  # one warning for each part
    assert torch.equal(got, expected)

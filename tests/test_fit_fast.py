"""`fit` with compiled steps and with networks in half the precision: the same training, but for rounding."""

import copy
import warnings

import pytest
import torch
from cases import exhaustive, generator, needs_compiler

import pushforward as pf
from pushforward.core.execution_mode import current_execution, execution
from pushforward.kernels import affine, native_build, native_operator, perceptron
from pushforward.networks.precision import MixedPrecision
from pushforward.train import TrainingError

QUICK = {"steps": 6, "progress": False, "validation": None, "ema": None}


def table(rows=300):
    return torch.randn(rows, 3, generator=generator(1)) @ torch.tensor([[1.0, 0.5, 0], [0, 1, 0.3], [0, 0, 2]])


def twice(name="maf", **options):
    flow = getattr(pf.flows, name)(3, depth=2, hidden=(16, 16), **options)
    return flow, copy.deepcopy(flow)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", [pytest.param("maf", marks=exhaustive), "nsf"])
def test_compiled_training_ends_where_training_ends(name):
    torch._dynamo.reset()
    plain, fast = twice(name)
    expected, got = (pf.fit(flow, table(), compile=c, **QUICK) for flow, c in ((plain, False), (fast, True)))
    assert got.records[-1].train == pytest.approx(expected.records[-1].train, abs=1e-4)
    for (key, p), q in zip(plain.named_parameters(), fast.named_parameters(), strict=True):
        torch.testing.assert_close(q[1], p, rtol=1e-2, atol=1e-3, msg=key)
    assert not fast._kernels
    assert not current_execution().kernels


def test_without_a_compiler_training_goes_on_with_one_warning(monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    def fails(*args):
        raise BackendCompilerFailed(lambda: None, RuntimeError("no compiler here"), None)

    monkeypatch.setattr(native_build.torch, "compile", lambda function, **options: fails)
    for module in (perceptron, affine):
        monkeypatch.setattr(module, "native_library", lambda *sources: None)
    monkeypatch.setattr(native_operator.NativeOperator, "compute", lambda *a: pytest.fail("was about to run a kernel"))
    plain, fast = twice()
    pf.fit(plain, table(), **QUICK)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        pf.fit(fast, table(), compile=True, **QUICK)
    assert ["no compiler here" in str(warning.message) for warning in seen] == [True]
    for p, q in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_networks_in_bfloat16_alone():
    for flow in (*twice(), *twice("nsf", layer="coupling"), *twice("nsf")):
        x = table()
        exact = flow(x)
        with execution(matmul_dtype="bf16"):
            density = flow(x)
            density.sum().backward()
        assert torch.equal(density, exact)  # it starts at the identity: what networks give is zero in any precision
        for parameter in flow.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
        dtypes = []
        for part in flow.modules():
            if isinstance(part, MixedPrecision):
                part.register_forward_hook(lambda part, x, out, dtypes=dtypes: dtypes.append(out.dtype))
        exact = flow(x)
        with execution(matmul_dtype="bf16"):
            density = flow(x)
        assert dtypes == [torch.float32] * 4
        assert density.dtype == torch.float32
        error = (density - exact).abs()
        assert 0 < error.median() < 0.05  # products rounded to eight bits, and nothing else
        assert torch.equal(flow(x), exact)


def test_fit_in_bfloat16_learns_as_well_and_leaves_the_flow_in_full():
    plain, half = twice()
    options = QUICK | {"steps": 80}
    expected, got = pf.fit(plain, table(), **options), pf.fit(half, table(), precision="bf16", **options)
    assert got.records[-1].train == pytest.approx(expected.records[-1].train, abs=0.05)
    assert not torch.equal(next(half.parameters()), next(plain.parameters()))
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert current_execution().matmul_dtype is None


def test_mistakes():
    flow, _ = twice()
    with pytest.raises(ValueError, match=r"fit: precision must be one of .*'bf16'; got 'fp8'"):
        pf.fit(flow, table(), precision="fp8", **QUICK)
    with pytest.raises(ValueError, match=r"fit: memory='checkpoint' recomputes .* leave one of them out"):
        pf.fit(flow, table(), memory="checkpoint", compile=True, **QUICK)
    with (
        execution(memory="invert"),
        pytest.raises(ValueError, match=r"fit: memory='invert' recomputes .* leave one of them out"),
    ):
        pf.fit(flow, table(), compile=True, **QUICK)
    for other in (copy.deepcopy(flow).double(), pf.distributions.StandardNormal(3)):
        with pytest.raises(ValueError, match=r"fit: precision='bf16' is for networks in float32, and this .* has none"):
            pf.fit(other, table(), precision="bf16", **QUICK)


def test_a_run_in_another_precision_is_another_run(tmp_path):
    flow, other = twice()
    path = tmp_path / "run.checkpoint"
    pf.fit(flow, table(), precision="bf16", checkpoint=path, **QUICK)
    with pytest.raises(TrainingError, match=r"differs in precision \(there bf16, here None\)"):
        pf.fit(other, table(), checkpoint=path, resume=True, **QUICK)

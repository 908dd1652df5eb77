"""Native kernels on every instruction set: compiled for each, run on those that this machine has."""

import platform
import shutil
import subprocess
from collections import Counter
from functools import cache

import pytest
import torch
from cases import generator, needs_compiler
from instruction_sets import SETS, SOURCES, chosen, command, cross_command, joined, runs_here, sleef_of_sve
from rounding import SPLINES, assert_conditioned, conditioned

import pushforward as pf
from pushforward.kernels.native_build import native_library

on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="instruction sets of x86")
GCC_ONLY = ("-fexcess-precision=fast", "-fno-tree-loop-vectorize")
CROSS = "aarch64-linux-gnu-g++"
CROSS_FLAGS = {
    "neon": ["-DCPU_CAPABILITY_NEON", "-march=armv8-a"],
    "sve": [
        *("-DCPU_CAPABILITY_SVE", "-DCPU_CAPABILITY_SVE256", "-D__ARM_FEATURE_BF16"),
        *("-march=armv8-a+sve+bf16", "-msve-vector-bits=256"),
    ],
}
FLOWS = {
    "affine": lambda: pf.flows.maf(5, 1, depth=2, hidden=(20, 17), activation="gelu"),
    "autoregressive spline": lambda: pf.flows.nsf(
        4, 2, depth=2, hidden=(18, 18), bins=5, conditioner="residual", activation="silu"
    ),
    "coupling spline": lambda: pf.flows.nsf(4, layer="coupling", depth=2, hidden=(12,), bins=3),
    "gaussian mixture": lambda: pf.flows.gaussianization(3, depth=1, components=4),
}
COUNTS = (1, 37, 700)  # less than a vector; part of a tile; several tiles and a rest, enough for tables of mixtures
DTYPES = {"float64": torch.float64, "float32": torch.float32}


def compile_only(line, source, text):
    """Our own lines compile, and none of them draws a warning."""
    source.write_text(text, encoding="utf-8")
    done = subprocess.run([*line, "-fsyntax-only"], capture_output=True, text=True, timeout=300)
    said = done.stderr.splitlines()  # torch's own headers draw warnings
    assert [line for line in said if "error:" in line or ("warning:" in line and "/pushforward/" in line)] == []
    assert done.returncode == 0, said[-10:]


@on_x86
@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_kernels_compile_without_warnings(name, tmp_path):
    if runs_here(name) and name != "plain":  # one is enough for warnings, and the others are compiled to be run
        pytest.skip("compiled and run below")
    source = tmp_path / "kernels.cpp"
    compile_only([*command(name, source), "-Wextra", "-Wshadow"], source, joined())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(CROSS) is None, reason=f"needs {CROSS} (Debian: apt install g++-aarch64-linux-gnu)")
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.exhaustive] * (n != "sve")) for n in CROSS_FLAGS])
def test_kernels_parse_for_aarch64(name, tmp_path):
    source, sleef = tmp_path / "kernels.cpp", tmp_path / "sleef_sve.h"
    sleef.write_text(sleef_of_sve(), encoding="utf-8")
    flags = [*CROSS_FLAGS[name], *(["-include", str(sleef)] if name == "sve" else [])]
    compile_only(cross_command(CROSS, source, flags), source, joined())


@on_x86
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("clang++") is None, reason="needs clang++ and its OpenMP (Debian: libomp-dev)")
def test_kernels_compile_with_clang(tmp_path):
    source = tmp_path / "kernels.cpp"
    line = command("avx2", source, "clang++")
    # Once torch has asked whether the compiler of this process is gcc, it keeps the answer.
    compile_only([*(part for part in line if part not in GCC_ONLY), "-Wno-unused-function"], source, joined())


class Recorded:
    """The functions of one kernel in the library of all, counted as they are looked up."""

    def __init__(self, library, name, calls):
        self.library, self.name, self.calls = library, name, calls

    def __getitem__(self, function):
        self.calls[self.name, function.rpartition("_")[0]] += 1
        return self.library[f"{self.name}__{function}"]


@pytest.fixture(params=SETS)
def calls(request, monkeypatch):
    """How often each function of a kernel is called, all of them compiled for one instruction set."""
    if not runs_here(request.param):
        pytest.skip(f"this processor has no {request.param}: only compiled")
    from torch._inductor.codecache import CppCodeCache

    quick = [] if request.config.getoption("--exhaustive") else ["-O0"]  # half the time of an optimized build
    with chosen(request.param):
        try:
            library = CppCodeCache.load(joined(), needs_vec_isa=True, extra_flags=quick)
        except RuntimeError as error:
            pytest.fail("\n".join(line for line in str(error).splitlines() if "error:" in line), pytrace=False)
    seen: Counter[tuple[str, str]] = Counter()
    texts = {path.read_text(encoding="utf-8"): name for name, path in SOURCES.items()}

    def load(text, **options):
        return Recorded(library, next(name for source, name in texts.items() if text.endswith(source)), seen)

    monkeypatch.setattr(CppCodeCache, "load", load)
    native_library.cache_clear()
    yield seen
    native_library.cache_clear()


def flow_of(name, dtype=torch.float32):
    """A flow whose weights are float32 numbers, which uses kernels unless it is copied."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        flow = FLOWS[name]()
        flow.initialize(*points(flow, 200))
        for parameter in flow.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    flow = flow.to(dtype)
    flow.use_kernels()
    return flow


def points(flow, count, dtype=torch.float32):
    x = 2 * torch.randn(count, *flow.event_shape, generator=generator(2))
    context = torch.randn(count, *flow.context_shape, generator=generator(3)) if flow.context_shape else None
    return x.to(dtype), None if context is None else context.to(dtype)


def both_directions(flow, x, context):
    """Latent and data points without recording, the density and its gradients."""
    with torch.no_grad():
        values = [flow.to_latent(x, context), flow.to_data(x, context)]
    x = x.clone().requires_grad_()
    density = flow.log_prob(x, context)
    return [*values, density, *torch.autograd.grad(density.sum(), [x, *flow.parameters()], materialize_grads=True)]


@cache
def expected(name, count):
    """What `both_directions` gives, with its condition, by plain operations."""
    flow = flow_of(name)
    return conditioned(both_directions, flow, *points(flow, count))


@on_x86
@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_values_and_gradients_on_every_instruction_set(calls, dtype):
    for name in FLOWS:
        flow = flow_of(name, dtype)
        for count in COUNTS:
            results = both_directions(flow, *points(flow, count, dtype))
            assert_conditioned(results, *expected(name, count), times=SPLINES if "spline" in name else 1.0)
    assert {name for name, _ in calls} == set(SOURCES)


@on_x86
@needs_compiler
@pytest.mark.slow
def test_strange_rows_stay_alone_on_every_instruction_set(calls):
    for name in FLOWS:
        flow = flow_of(name)
        x, context = points(flow, 70)
        wild = x.clone()
        wild[[3, 64], 0] = torch.nan
        wild[5], wild[40], wild[69] = torch.inf, -torch.inf, 1e30
        others = torch.ones(70, dtype=torch.bool)
        others[[3, 64, 5, 40, 69]] = False
        with torch.no_grad():
            for direction in (flow.to_latent, flow.to_data):
                result, expected = direction(wild, context), direction(x, context)
                torch.testing.assert_close(result[others], expected[others], rtol=1e-4, atol=1e-4)
                assert result[[3, 64], 0].isnan().all()
                assert direction(x[:0], None if context is None else context[:0]).shape == x[:0].shape
    assert calls

"""The native kernel of autoregressive layers: the numbers of the plain pass and of the solve feature by feature."""

import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from cases import WithKernels, generator, needs_compiler
from rounding import SPLINES, assert_rounded

import pushforward as pf
from pushforward.bijections import Autoregressive
from pushforward.core.dispatch import kernels_for
from pushforward.kernels import autoregressive, native_build
from pushforward.kernels.autoregressive import SOURCE, UNIVARIATES, LayerForward, LayerInverse
from pushforward.kernels.native_build import ACTIVATION_HEADER, SPLINE_HEADER, TILE_HEADER, native_library
from pushforward.kernels.perceptron import NATIVE_ACTIVATIONS
from pushforward.networks import MaskedMLP, trunk
from pushforward.univariate import Affine, CircularRationalQuadratic, RationalQuadratic, Shift

# Tiles hold 32 points of float32 or 16 of float64 (vectors of 256 bits): none, one, a part of one, several with a rest.
COUNTS = (0, 1, 19, 100)
CASES = [
    {"univariate": Affine(), "features": 5, "hidden": (12, 17)},
    {"univariate": Affine(1.5), "features": 2, "hidden": (3,), "activation": "tanh"},
    {"univariate": Shift(), "features": 4, "context": 2, "hidden": (2,), "activation": "elu"},
    {"univariate": RationalQuadratic(8), "features": 6, "hidden": (40, 40), "context": 3, "activation": "silu"},
    {"univariate": RationalQuadratic(5, bound=3.0, min_bin=0.01, min_slope=0.01), "features": 3, "activation": "gelu"},
    {"univariate": RationalQuadratic(3, tails="linear"), "features": 3, "hidden": (9, 9)},
    {
        "univariate": RationalQuadratic(4),
        "features": 7,
        "hidden": (20, 20, 20),
        "context": 1,
        "conditioner": "residual",
    },
    {"univariate": Affine(), "features": 9, "hidden": (30,), "conditioner": "residual", "activation": "tanh"},
    {"univariate": Affine(), "features": 31, "hidden": (50, 45), "context": 2},
]


def names(case):
    return "-".join([type(case["univariate"]).__name__, *(str(v) for k, v in case.items() if k != "univariate")])


def allowed(case):
    return SPLINES if isinstance(case["univariate"], RationalQuadratic) else 1.0


def layer_of(case, dtype=torch.float64):
    """A layer whose weights are float32 numbers in any dtype."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layer = Autoregressive(**case)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator(3)))
    return layer.to(dtype).eval()


def inputs(case, count, dtype=torch.float64):
    y = 3 * torch.randn(count, case["features"], generator=generator(4)).to(dtype)
    size = case.get("context", 0)
    return y, torch.randn(count, size, generator=generator(5)).to(dtype) if size else None


def both(layer, y, context):
    """(by the kernel, feature by feature); says if the kernel did not run."""
    columns = None if context is None else context.t()
    kernel = LayerInverse()
    with torch.no_grad():
        assert kernel.supports(layer, y.t(), columns)
        fast = kernel.run(layer, y.t(), columns)
        assert fast is not NotImplemented
        return fast.t(), layer.inverse(y, context)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_kernel_finds_what_the_solve_feature_by_feature_finds(case, dtype):
    layer = layer_of(case, dtype)
    for count in COUNTS:
        y, context = inputs(case, count, dtype)
        fast, _ = both(layer, y, context)
        assert_rounded([fast], lambda layer, *points: [layer.inverse(*points)], layer, y, context, times=allowed(case))


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("case", CASES, ids=names)
def test_wild_points_stay_their_own_trouble(case):
    layer = layer_of(case)
    y, context = inputs(case, 40)
    expected = both(layer, y, context)[1]
    wild = y.clone()
    wild[3], wild[17, 0], wild[20], wild[21], wild[22] = torch.nan, torch.nan, 1e300, -1e6, torch.inf
    fast, plain = both(layer, wild, context)
    calm = ~torch.isin(torch.arange(40), torch.tensor([3, 17, 20, 21, 22]))
    assert torch.isnan(fast[3]).all()
    torch.testing.assert_close(fast[calm], expected[calm], rtol=1e-9, atol=1e-9)
    finite = plain.isfinite()
    torch.testing.assert_close(fast[finite], plain[finite], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(fast.isnan(), plain.isnan())


@pytest.mark.slow
@needs_compiler
def test_strides_and_threads_do_not_matter():
    case = CASES[3]
    layer = layer_of(case)
    y, context = inputs(case, 64)
    expected = both(layer, y, context)[0]
    wide = torch.stack([y, y], dim=-1)[..., 0]
    assert not wide.is_contiguous()
    assert torch.equal(both(layer, wide, context)[0], expected)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            assert torch.equal(both(layer, y, context)[0], expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", ["maf", "nsf"])
def test_whole_flows_samples_densities_and_gradients(name, monkeypatch):
    torch.manual_seed(0)
    flow = getattr(pf.flows, name)(4, depth=2, hidden=(24, 24), context=1, fast="sampling").double()
    for parameter in flow.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    x, context = torch.randn(50, 4, dtype=torch.float64), torch.randn(50, 1, dtype=torch.float64)

    def measure():
        flow.zero_grad()
        flow.log_prob(x, context).sum().backward()
        with torch.no_grad():
            density = flow.log_prob(x, context)
        return [density, flow.to_latent(x, context).detach(), *(p.grad.clone() for p in flow.parameters())]

    plain = measure()
    flow.use_kernels()
    calls, run = [], LayerInverse.run
    monkeypatch.setattr(LayerInverse, "run", lambda *args: calls.append(1) or run(*args))
    for got, expected in zip(measure(), plain, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)
    assert len(calls) == 6
    copied = pickle.loads(pickle.dumps(flow))
    assert flow._kernels
    assert not copied._kernels


class Halved(Affine):
    def inverse_value(self, y, params):
        return super().inverse_value(y, params) / 2


def refuse(*args, **options):
    pytest.fail("was about to run the kernel")


@pytest.mark.parametrize(
    ("registered", "univariate"),
    [
        (Affine(), Halved()),
        pytest.param(CircularRationalQuadratic(4), CircularRationalQuadratic(4), marks=pytest.mark.exhaustive),
    ],
    ids=["a subclass", "another one"],
)
def test_other_univariates_have_no_such_kernel(registered, univariate):
    for operation in (Autoregressive._solve, Autoregressive._forward_and_slopes):
        assert kernels_for(operation, Autoregressive, Affine, MaskedMLP)
        assert not kernels_for(operation, Autoregressive, type(univariate), MaskedMLP)
    layer = layer_of({"univariate": registered, "features": 2})
    layer.univariate = univariate
    y = layer.codomain.example((3, 2), generator(4)).double()
    with torch.no_grad():
        assert torch.equal(WithKernels(layer).inverse(y), layer.inverse(y))


def test_an_activation_that_the_kernels_do_not_know_runs_in_python(monkeypatch):
    monkeypatch.setitem(trunk.ACTIVATIONS, "mish", F.mish)
    monkeypatch.setitem(trunk.IN_PLACE, "mish", lambda h: F.mish(h, inplace=True))
    monkeypatch.setattr(autoregressive._LayerKernel, "call", refuse)
    layer = Autoregressive(Affine(), 3, hidden=(8,), activation="mish")
    with torch.no_grad():
        assert torch.equal(WithKernels(layer).inverse(torch.ones(2, 3)), layer.inverse(torch.ones(2, 3)))
        assert torch.equal(WithKernels(layer)(torch.ones(2, 3)), layer(torch.ones(2, 3)))


def test_dropped_units_recorded_and_mapped_calls_do_not_reach_the_kernel(monkeypatch):
    monkeypatch.setattr(autoregressive._LayerKernel, "call", refuse)
    dropping = layer_of({"univariate": RationalQuadratic(4), "features": 2, "dropout": 0.5}).train()
    with torch.no_grad():
        WithKernels(dropping).inverse(torch.zeros(3, 2, dtype=torch.float64))
    layer = layer_of(CASES[0])
    y, _ = inputs(CASES[0], 3)
    with torch.no_grad():
        expected = layer.inverse(y)
        torch.testing.assert_close(torch.vmap(WithKernels(layer).inverse)(y), expected)
    torch.testing.assert_close(WithKernels(layer)._solve(y.t(), None).t(), expected)  # gradients are recorded


def test_under_autocast_products_are_those_of_torch():
    layer = layer_of({"univariate": Affine(), "features": 3, "hidden": (16, 16)}).float()
    x = torch.randn(20, 3, generator=generator(5))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(WithKernels(layer).forward(x), layer.forward(x))
        assert torch.equal(WithKernels(layer).inverse(x), layer.inverse(x))


def test_without_a_compiler_one_warning_says_so(monkeypatch, tmp_path):
    source = tmp_path / "broken.cpp"
    source.write_text("this is no C++\n")
    monkeypatch.setattr(native_build, "_warned", False)
    with pytest.warns(RuntimeWarning, match=r"compiled kernels are off: the C\+\+ compiler failed .*error:"):
        assert native_library(TILE_HEADER, ACTIVATION_HEADER, SPLINE_HEADER, source) is None
    monkeypatch.setattr(autoregressive, "SOURCES", (*autoregressive.SOURCES[:-1], source))
    layer = layer_of(CASES[0])
    y, _ = inputs(CASES[0], 3)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        torch.testing.assert_close(WithKernels(layer).inverse(y), layer.inverse(y))


def test_kernel_and_python_count_alike():
    activations = (ACTIVATION_HEADER, "number", [name.title() for name in NATIVE_ACTIVATIONS])
    for path, what, names in (activations, (SOURCE, "p.univariate", [kind.__name__ for kind in UNIVARIATES])):
        text = path.read_text(encoding="utf-8")
        for k, name in enumerate(names):
            assert f"{name}<T" in next(line for line in text.splitlines() if f"({what} == {k})" in line)
    assert set(NATIVE_ACTIVATIONS) == set(pf.networks.ACTIVATIONS)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    "dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.exhaustive)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_kernel_goes_forward_as_the_plain_pass_does(case, dtype):
    layer = layer_of(case, dtype)
    for count in COUNTS:
        x, context = inputs(case, count, dtype)
        with torch.no_grad():
            assert LayerForward().supports(layer, x, context)
            fast = LayerForward().run(layer, x, context)
        assert fast is not NotImplemented
        assert_rounded(fast, Autoregressive._forward_and_slopes, layer, x, context, times=allowed(case))


def on_double(layer):
    layer.double()


def replaced(layer):
    for parameter in layer.parameters():
        parameter.data = parameter.data + 0.1


def changed_in_place(layer):
    for parameter in layer.parameters():
        parameter.data.mul_(1.1)


def turned(layer):
    weight = layer.conditioner.layers[1].weight
    weight.data = weight.data.t().contiguous().t()  # the same numbers, in another order


def turned_and_changed(layer):
    turned(layer)
    forward(layer)
    layer.conditioner.layers[1].weight.data.mul_(1.1)


def forward(layer):
    x, context = inputs(CASES[0], 20)
    x = x.to(layer.free.dtype)
    outputs = LayerForward().run(layer, x, context)
    assert outputs is not NotImplemented
    return outputs[0]


@pytest.mark.slow
@needs_compiler
@torch.no_grad()
@pytest.mark.parametrize("change", [on_double, replaced, changed_in_place, turned, turned_and_changed])
def test_the_kernel_sees_every_change_of_the_weights(change):
    layer = layer_of({**CASES[0], "hidden": (14, 14)}, torch.float32)
    before = forward(layer)
    change(layer)
    x, _ = inputs(CASES[0], 20)
    after = forward(layer)
    torch.testing.assert_close(after, layer(x.to(after.dtype)), rtol=1e-5, atol=1e-5)
    assert change in (on_double, turned) or (before - after).abs().max() > 1e-3

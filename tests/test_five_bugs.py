"""Five bugs that flow libraries keep rediscovering, each with a test under its own name."""

import copy
import io
import pickle

import pytest
import torch
from cases import FLOW_SPECS, bijection_of, context_for, generator, inputs, label, random_part, randomize, with_rest

import pushforward as pf
from pushforward.bijections import (
    Autoregressive,
    Bijection,
    BlockNeural,
    Coupling,
    Elementwise,
    NeuralODE,
    Planar,
    Radial,
    Residual,
    Standardize,
    Sylvester,
    Triangular,
)
from pushforward.core.config import build
from pushforward.flows import FLOWS
from pushforward.testing import Case
from pushforward.testing.bijections import vmap_is_batch
from pushforward.testing.comparison import SHARP, close
from pushforward.testing.modules import moves_whole
from pushforward.univariate import Affine, RationalQuadratic

NAMED = pytest.mark.parametrize("name", sorted(FLOWS))
BOTH = pytest.mark.parametrize("direction", ["forward", "inverse"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


# --- 1. a spline evaluated outside its box and masked by where: NaN gradients for the whole batch ------------------


@DTYPES
@BOTH
def test_bug_1_a_point_outside_the_box_of_a_spline_spoils_the_gradients_of_all(direction, dtype):
    """Points far out, at both ends, next to them and on inner knots share parameters with a point inside."""
    spline = RationalQuadratic(4).to(dtype)
    end = torch.tensor([5.0], dtype=dtype)
    beyond = torch.nextafter(end, 2 * end)
    inside = torch.nextafter(end, 0 * end)
    inner = torch.tensor([-2.5, 0.0, 2.5, 0.7], dtype=dtype)
    big = torch.tensor([1e30 if dtype == torch.float32 else 1e300], dtype=dtype)
    x = torch.cat([end, beyond, inside, big])
    x = torch.cat([x, -x, inner]).requires_grad_()
    for size in (0.0, 1.0, 30.0):
        params = (size * torch.randn(spline.num_params, 1, dtype=dtype, generator=generator(1))).requires_grad_()
        y, log_slope = getattr(spline, direction)(x, params.expand(-1, len(x)))
        grads = torch.autograd.grad(y.sum() + log_slope.sum(), (x, params))
        assert all(bool(t.isfinite().all()) for t in (y, log_slope, *grads))


@DTYPES
@BOTH
def test_bug_1_the_end_knots_are_exact(direction, dtype):
    """Running sums of widths do not reach the end exactly; pinned knots do, for every parameter."""
    spline = RationalQuadratic(16).to(dtype)
    params = 5 * torch.randn(spline.num_params, 400, dtype=dtype, generator=generator(1))
    for end in (-5.0, 5.0):
        near = torch.nextafter(torch.full((400,), end, dtype=dtype), torch.zeros(400, dtype=dtype))
        y, log_slope = getattr(spline, direction)(near, params)
        assert (y - end).abs().max() < 1e4 * torch.finfo(dtype).eps
        assert bool((y.abs() <= 5).all())
        assert bool(log_slope.isfinite().all())


def test_bug_1_the_root_of_the_inverse_loses_no_digits():
    """In float32 the textbook root of the quadratic subtracts close numbers; nearly linear bins show it."""
    spline = RationalQuadratic(8)
    params = 1e-3 * torch.randn(spline.num_params, 2000, generator=generator(1))
    x = torch.linspace(-4.999, 4.999, 2000)
    back = spline.inverse(spline(x, params)[0], params)[0]
    assert (back - x).abs().max() < 5e-6


# --- 2. data-dependent initialisation that runs again after loading ------------------------------------------------


def test_bug_2_a_loaded_model_is_not_measured_again():
    part = Standardize(2)
    part.initialize(torch.tensor([[1.0, -2.0], [3.0, 8.0]]))
    file = io.BytesIO()
    torch.save(part.state_dict(), file)
    file.seek(0)
    loaded = Standardize(2)
    loaded.load_state_dict(torch.load(file))
    for twin in (part, loaded, copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        twin.initialize(torch.full((4, 2), 77.0))
        assert twin.mean.tolist() == [2.0, 3.0]
        assert twin.scale.tolist() == [1.0, 5.0]
        assert twin.initialized.item() is True


def test_bug_2_the_flag_follows_the_weights_into_every_flow():
    for name, flow in FLOWS.items():
        model = flow(2, 1)
        flags = [key for key in model.state_dict() if key.endswith("initialized")]
        parts = [part for part in model.modules() if isinstance(part, Bijection) and hasattr(part, "initialized")]
        expected = sum(part.data_dependent for part in parts)
        assert len(flags) == expected, f"{name}: each part that measures data keeps a flag in the state dict"
        assert expected >= (1 if name == "circular_nsf" else 2), f"{name}: x and context are measured"


# --- 3. one-dimensional data breaks coupling layers ----------------------------------------------------------------

ANY_FEATURES = {BlockNeural, NeuralODE, Planar, Radial, Residual, Sylvester, Triangular}
"""Layers that take a single feature as they take several."""


@NAMED
@pytest.mark.parametrize("context", [0, 2])
def test_bug_3_one_feature_falls_back_to_elementwise_visibly(name, context):
    flow = FLOWS[name](1, context)
    kinds = {type(part) for part in flow.modules()}
    assert kinds & {Elementwise, *ANY_FEATURES}
    assert not kinds & {Coupling, Autoregressive}
    assert "Elementwise(" in repr(flow) or kinds & ANY_FEATURES
    flow = randomize(flow, seed=1)
    batch = context_for(flow, (9,), generator(1))
    x = flow.sample(() if context else (9,), batch)
    assert x.shape == (9, 1)
    assert bool(flow.log_prob(x, batch).isfinite().all())


@pytest.mark.parametrize("kind", [Coupling, Autoregressive])
def test_bug_3_a_layer_that_needs_two_features_says_what_to_use(kind):
    with pytest.raises(
        ValueError, match=rf"^{kind.__name__}: features must be a whole number of at least 2; got 1\. Use"
    ):
        kind(Affine(), 1)


# --- 4. transforms that do not pickle, deepcopy or move ------------------------------------------------------------


# Densities of flows made for sampling search for roots where maps have no closed inverse: slow, and nothing new here.
EACH = [c for c in FLOW_SPECS if c["features"] == 2 and (c.get("fast") != "sampling" or c["flow"] in ("maf", "nsf"))]


SOME = [c for c in EACH if c["flow"] in ("circular_nsf", "gaussianization", "maf", "nsf", "triangular_map")]


@pytest.mark.parametrize("config", with_rest(SOME, [c for c in EACH if c not in SOME]), ids=label)
def test_bug_4_a_flow_can_be_pickled_copied_and_moved(config):
    """Also after use: nothing that a pass leaves behind may stand in the way."""
    flow = random_part(config)
    context = context_for(flow, (4,), generator(1))
    x = torch.randn(4, 2, dtype=torch.float64, generator=generator(2))
    flow.log_prob(x, context).sum().backward()
    flow.sample((), context) if context is not None else flow.sample((4,))
    expected = flow.log_prob(x, context)
    file = io.BytesIO()
    torch.save(flow, file)
    file.seek(0)
    for twin in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), torch.load(file, weights_only=False)):
        assert torch.equal(twin.log_prob(x, context), expected)
    moves_whole(flow)
    meta = copy.deepcopy(flow).to("meta")
    meta_context = None if context is None else context.to("meta")
    assert meta.log_prob(x.to("meta"), meta_context).device.type == "meta", "a tensor made on the way stays on the CPU"


# --- 5. boolean masks and branches on numbers ----------------------------------------------------------------------

STEERED = {"type": "RationalQuadratic", "bins": 4}


@pytest.mark.parametrize("direction", [pytest.param("forward", marks=pytest.mark.exhaustive), "inverse"])
def test_bug_5_splines_compile_vmap_and_export_across_their_box(direction):
    """Points on both sides of the ends in one batch: whoever selects rows by a mask fails at least one of the three."""
    config = {"type": "Coupling", "univariate": STEERED, "features": 3, "hidden": [8]}
    layer = bijection_of(config)
    x = 4 * torch.randn(20, 3, dtype=torch.float64, generator=generator(1))
    assert bool((x.abs() > 5).any(dim=0).all())
    function = getattr(layer, f"{direction}_and_ladj")
    expected = function(x)
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    ways = [compiled(x), torch.func.vmap(function)(x)]

    class Only(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return getattr(self.layer, f"{direction}_and_ladj")(x)

    ways.append(torch.export.export(Only(), (x,)).module()(x))
    for got in ways:
        for a, b in zip(got, expected, strict=True):
            close(a, b, f"{direction} of a spline", SHARP)


def test_bug_5_a_boolean_mask_is_caught():
    """The way it is usually written, and why the properties do not let it pass."""

    class Masked(RationalQuadratic):
        def forward(self, x, params):
            y, log_slope = x.clone(), torch.zeros_like(x)
            inside = x.abs() < self.bound
            y[inside], log_slope[inside] = super().forward(x[inside], params.expand(-1, *x.shape)[:, inside])
            return y, log_slope

    layer = build({"type": "Elementwise", "univariate": STEERED, "features": 2})
    layer.univariate = Masked(4)
    layer = randomize(layer, seed=1)
    x, _ = inputs(layer)
    layer(x)  # it works until someone asks for more
    with pytest.raises(AssertionError, match="forward cannot be mapped over rows: vmap"):
        vmap_is_batch(Case(layer, x))


def test_bug_5_screening_bad_rows_is_one_graph():
    flow = randomize(pf.flows.nsf(2, depth=1, hidden=(4,)), seed=1)
    x = torch.tensor([[0.1, 0.2], [float("nan"), 0.0], [float("inf"), 0.0]], dtype=torch.float64)
    torch.compiler.reset()
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="eager")(x)
    mapped = torch.func.vmap(flow.log_prob)(x)
    for got in (compiled, mapped):
        assert got.isnan().tolist() == [False, True, False]
        assert got[2] == -torch.inf
        close(got[0], flow.log_prob(x)[0], "the good row", SHARP)

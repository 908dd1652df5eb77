"""Events of several axes, such as images: bases, diagonal maps, rearrangements, couplings and flows of them."""

import json
import math

import pytest
import torch
from cases import generator, inputs, randomize
from torch import nn

import pushforward as pf
from pushforward.bijections import Angle, Chain, Coupling, Elementwise, Flip, Permute, Standardize
from pushforward.core.checks import NotInvertibleError
from pushforward.core.config import build
from pushforward.core.distribution import Distribution
from pushforward.core.domain import REAL, Circle, Interval
from pushforward.distributions import CircularUniform, Flow, Normal, StandardNormal, StudentT, Uniform
from pushforward.networks import CONV, ConvNet, register_conv
from pushforward.testing import Case, bijections, comparison, dependence, modules
from pushforward.testing import distributions as properties_distribution
from pushforward.univariate import Affine, CircularRationalQuadratic, RationalQuadratic

IMAGE = (2, 4, 4)
DRAW = [[[0.1 * i + j for i in range(4)] for j in range(4)] for _ in range(2)]


def affine(**options):
    return Coupling(Affine(), IMAGE, hidden=(6,), **options)


MAPS = {
    "channels, conv": lambda: affine(conditioner="conv"),
    "channels, conv, swap": lambda: affine(conditioner="conv", swap=True),
    "channels, dense": lambda: affine(),
    "checkerboard, conv": lambda: affine(conditioner="conv", mask="checkerboard"),
    "checkerboard, conv, swap": lambda: affine(conditioner="conv", mask="checkerboard", swap=True, context=2),
    "checkerboard, dense": lambda: affine(mask="checkerboard", context=2),
    "rows, residual conv": lambda: affine(axis=1, conditioner="residual_conv", activation="tanh", context=2),
    "columns, swapped": lambda: affine(axis=-1, swap=True),
    "a mask of cells": lambda: affine(mask=[[True, False, True, False]] * 4, conditioner="conv"),
    "splines": lambda: Coupling(RationalQuadratic(bins=3), IMAGE, hidden=(6,), conditioner="conv", context=1),
    "angles": lambda: Coupling(
        CircularRationalQuadratic(bins=3), IMAGE, hidden=(6,), conditioner="conv", mask="checkerboard"
    ),
    "a circle's own scale": lambda: Angle(IMAGE, period=2.0),
    "elementwise": lambda: Elementwise(Affine(), IMAGE, context=1, hidden=(4,)),
    "a chain": lambda: Chain(
        [
            Standardize(IMAGE),
            affine(conditioner="conv", mask="checkerboard"),
            Flip(IMAGE, axis=0),
            affine(conditioner="conv", context=1),
            Permute([2, 0, 3, 1], features=IMAGE, axis=1),
        ],
        memory="invert",
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_of_images_keep_the_properties(name):
    bijection = randomize(MAPS[name](), seed=3)
    x, context = inputs(bijection, (5,))
    case = Case(bijection, x, context)
    for prop in (
        bijections.round_trip,
        bijections.inverse_ladj,
        bijections.ladj_is_slogdet,
        bijections.vmap_is_batch,
        modules.survives_config,
    ):
        prop(case)
    bijections.batch_shapes(Case(bijection, *inputs(bijection, (7,))))
    dependence.dependence(Case(bijection, *inputs(bijection, (48,))))
    dependence.dependence(Case(bijection.inv, bijection(x, context).detach(), context))


def test_a_convolution_sees_its_neighbourhood_alone():
    """The pattern that `dependence` checks is not all ones: one hidden layer of kernel 3 sees two cells far."""
    coupling = Coupling(Affine(), (2, 7, 7), hidden=(4,), conditioner="conv")
    on_x, _ = dependence.pattern(coupling)
    corner = on_x[49]  # the first moved entry
    assert corner[:49].reshape(7, 7).int().tolist() == [[1, 1, 1, 0, 0, 0, 0]] * 3 + [[0] * 7] * 4
    dependence.dependence(Case(randomize(coupling, seed=1), *inputs(coupling, (48,))))


def test_masks():
    kept = torch.tensor(affine(mask="checkerboard").split.keeps).reshape(IMAGE)
    cells = torch.arange(4)
    assert torch.equal(kept, ((cells[:, None] + cells) % 2 == 0).expand(IMAGE))
    assert Coupling(Affine(), 5, mask="checkerboard").split.keeps == [True, False, True, False, True]
    assert Coupling(Affine(), 5, mask="checkerboard", swap=True).split.keeps == [False, True, False, True, False]
    rows = torch.tensor(Coupling(Affine(), (2, 3, 2), axis=1).split.keeps).reshape(2, 3, 2)
    assert rows[0].tolist() == rows[1].tolist() == [[True, True], [False, False], [False, False]]
    swapped = torch.tensor(Coupling(Affine(), (2, 3, 2), axis=1, swap=True).split.keeps).reshape(2, 3, 2)
    assert swapped[0].tolist() == [[False, False], [False, False], [True, True]]
    assert Coupling(Affine(), 5).split.keeps == [True, True, False, False, False]
    assert Coupling(Affine(), 5, swap=True).split.keeps == [False, False, False, True, True]


def test_a_mask_of_halves_is_the_halves():
    """The same weights give the same numbers, whichever way the split is written, but for the order of sums."""
    halves = randomize(Coupling(RationalQuadratic(bins=3), 4, hidden=(8,)))
    masked = Coupling(RationalQuadratic(bins=3), 4, hidden=(8,), mask=[True, True, False, False]).double()
    masked.load_state_dict(halves.state_dict())
    x, _ = inputs(halves)
    torch.testing.assert_close(masked.forward_and_ladj(x), halves.forward_and_ladj(x), rtol=1e-12, atol=1e-12)
    assert halves.is_triangular
    assert not masked.is_triangular


def test_slopes_of_a_coupling_of_images_sum_to_its_ladj():
    coupling = randomize(affine(conditioner="conv"))
    x, _ = inputs(coupling)
    y, ladj = coupling.forward_and_ladj(x)
    assert coupling.is_triangular
    got, slopes = coupling._forward_and_slopes(x, None)
    comparison.same((got,), (y,), "y with slopes")
    assert slopes.shape == x.shape
    torch.testing.assert_close(slopes.flatten(1).sum(-1), ladj)
    torch.testing.assert_close(coupling._inverse_and_slopes(y, None)[1], -slopes)


def test_a_convolution_starts_at_zero_and_takes_any_grid():
    for shape in ((3, 5), (3, 4, 2), (2, 2, 3, 2)):
        net = ConvNet(shape, 4, context=2, hidden=(8,)).double()
        cells = math.prod(shape[1:])
        x = torch.randn(2 + math.prod(shape), 7, dtype=torch.float64)
        assert net(x).shape == (4 * cells, 7)
        assert not net(x).any()
        last = net.layers[-1].bias
        with torch.no_grad():
            last.copy_(torch.arange(4.0))
        expected = torch.arange(4.0, dtype=torch.float64).repeat_interleave(cells)
        torch.testing.assert_close(net(x)[:, 0], expected)  # row-major (out_channels, *spatial)


def test_a_convolution_is_torchs_on_channels_first_images():
    net = randomize(ConvNet((2, 4, 5), 3, context=1, hidden=(6, 6), activation="tanh"))
    image, context = torch.randn(7, 2, 4, 5).double(), torch.randn(7, 1).double()
    inputs_ = torch.cat([context, image.flatten(1)], dim=1).t()
    stacked = torch.cat([context[:, :, None, None].expand(-1, -1, 4, 5), image], dim=1)
    first, second, last = net.layers
    torch.testing.assert_close(net(inputs_), last(second(first(stacked).tanh()).tanh()).flatten(1).t())


def test_a_registered_convolution(monkeypatch):
    monkeypatch.setattr("pushforward.networks.conv.CONV", CONV)
    register_conv("pointwise", lambda shape, out, **options: ConvNet(shape, out, kernel=1, **options))
    try:
        coupling = Coupling(Affine(), IMAGE, hidden=(4,), conditioner="pointwise")
        assert coupling.conditioner.layers[0].kernel_size == (1, 1)
        with pytest.raises(ValueError, match=r"register_conv: the name 'pointwise' is taken\. Choose another\."):
            register_conv("pointwise", ConvNet)
    finally:
        del CONV["pointwise"]


# --- distributions -------------------------------------------------------------------------------------------------


def image_flow():
    parts = [
        Standardize(IMAGE),
        affine(conditioner="conv", mask="checkerboard"),
        Flip(IMAGE, axis=0),
        affine(conditioner="conv", context=2),
    ]
    return Flow(StandardNormal(IMAGE), Chain(parts).inv)


BASES = {
    "StandardNormal": lambda: StandardNormal(IMAGE),
    "Normal": lambda: Normal(DRAW),
    "StudentT": lambda: StudentT(IMAGE, df=4.0, learn_df=True),
    "Uniform": lambda: Uniform([[[0.0] * 4] * 4] * 2, [[[1.0, 2.0, 1.0, 3.0]] * 4] * 2),
    "Uniform of one interval": lambda: Uniform([[[0.0] * 4] * 4] * 2, [[[1.0] * 4] * 4] * 2),
    "CircularUniform": lambda: CircularUniform(IMAGE),
    "a flow": image_flow,
}


@pytest.mark.parametrize("name", BASES)
def test_distributions_of_images(name):
    distribution = randomize(BASES[name](), seed=2)
    context = torch.tensor([0.3, -1.0], dtype=torch.float64) if distribution.context_shape else None
    for prop in (
        properties_distribution.sample_shapes,
        properties_distribution.log_prob_of_samples,
        properties_distribution.samples_follow_the_generator,
        properties_distribution.survives_config_and_copies,
        properties_distribution.condition_fixes_the_context,
    ):
        prop(distribution, context)


@pytest.mark.parametrize("name", [name for name in BASES if name != "a flow"])
def test_an_event_is_as_dense_as_its_entries(name):
    """A distribution of images has the densities of the same distribution of the flattened entries."""
    image = randomize(BASES[name](), seed=2)
    config = json.loads(json.dumps(image.config))
    flat = {
        key: torch.tensor(value).flatten().tolist() if isinstance(value, list) else value
        for key, value in config.items()
    }
    if "features" in flat:
        flat["features"] = math.prod(IMAGE)
    vector = build(flat).double()
    vector.load_state_dict({key: value.flatten() for key, value in image.state_dict().items()})
    x = image.sample((9,), generator=generator(1))
    torch.testing.assert_close(image.log_prob(x), vector.log_prob(x.flatten(1)), rtol=0, atol=1e-12)
    assert torch.equal(vector.sample((9,), generator=generator(1)), x.flatten(1))


def test_the_density_of_a_flow_of_images_is_the_change_of_variables():
    flow = randomize(image_flow(), seed=2)
    context = torch.zeros(2, dtype=torch.float64)
    x = flow.sample((3,), context, generator=generator(1))
    jacobian = comparison.jacobian(lambda t: flow.to_latent(t, context), x)
    expected = flow.base.log_prob(flow.to_latent(x, context)) + torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(flow.log_prob(x, context), expected)


def test_moments_of_images_are_measured_entry_by_entry():
    x = torch.randn(500, *IMAGE, generator=generator(1)).double() * 3 + torch.tensor(DRAW).double()
    part = Standardize(IMAGE).double()
    part.initialize(x)
    torch.testing.assert_close(part.mean, x.mean(0))
    torch.testing.assert_close(part.scale, x.std(0, correction=0))
    robust = Standardize(IMAGE, robust=True).double()
    robust.initialize(x)
    flat = Standardize(32, robust=True).double()
    flat.initialize(x.flatten(1))
    assert torch.equal(robust.mean.flatten(), flat.mean)
    normal = Normal(DRAW).double()
    normal.initialize(x)
    torch.testing.assert_close(normal.loc.detach(), x.mean(0))


def test_one_bad_pixel_spoils_its_own_image_alone():
    flow = randomize(image_flow(), seed=2)
    context = torch.zeros(4, 2, dtype=torch.float64)
    x = flow.sample((), context, generator=generator(1))
    spoiled = x.clone()
    spoiled[1, 0, 2, 3], spoiled[2, 1, 0, 0] = math.nan, math.inf
    log_prob = flow.log_prob(spoiled, context)
    assert log_prob[1].isnan()
    assert log_prob[2] == -math.inf
    assert torch.equal(log_prob[[0, 3]], flow.log_prob(x, context)[[0, 3]])


def test_supports_of_images():
    mixed = BASES["Uniform"]().support
    assert mixed.shape == IMAGE
    x = torch.full((5, *IMAGE), 0.5)
    x[1, 0, 0, 1], x[2, 0, 0, 0] = 1.5, 1.5  # inside [0, 2], outside [0, 1]
    assert mixed.contains(x).tolist() == [True, True, False, True, True]
    assert mixed.contains_each(x)[2].logical_not().sum() == 1
    assert mixed.anchor(x).shape == IMAGE
    assert bool(mixed.contains(mixed.example((3, *IMAGE), generator(1))).all())
    assert BASES["Uniform of one interval"]().support == Interval(0.0, 1.0)
    assert CircularUniform(IMAGE).support == Circle()


def test_a_flow_of_images_is_saved_and_learned(tmp_path):
    x = 2 + 0.5 * torch.randn(256, *IMAGE, generator=generator(1))
    flow = Flow(StandardNormal(IMAGE), Chain([Standardize(IMAGE), affine(conditioner="conv")]).inv)
    pf.fit(flow, x, steps=5, seed=1)
    pf.save(flow, tmp_path / "images.safetensors")
    assert torch.equal(pf.load(tmp_path / "images.safetensors").log_prob(x), flow.eval().log_prob(x))
    assert flow.bijection.bijection.parts[0].mean.mean().item() == pytest.approx(2, abs=0.1)


def test_images_have_no_prefix():
    match = r"StandardNormal: has no exact conditionals on part of the event, for events of shape \(2, 4, 4\) are not"
    for call in (
        lambda: StandardNormal(IMAGE).given(torch.zeros(1)),
        lambda: StandardNormal(IMAGE).marginal(1),
        lambda: StandardNormal(IMAGE).cdf(torch.zeros(IMAGE)),
        lambda: StandardNormal(IMAGE).icdf(torch.zeros(IMAGE)),
    ):
        with pytest.raises(NotInvertibleError, match=match):
            call()
    flow = Flow(StandardNormal(IMAGE), affine(conditioner="conv"))
    with pytest.raises(NotInvertibleError, match=r"Flow: has no exact conditionals.* are not vectors"):
        flow.marginal(1)


# --- any event rank ------------------------------------------------------------------------------------------------


class Laplace(Distribution):
    """A user's distribution of events of any shape, given contexts of any shape whose sum is the location."""

    support = REAL

    def __init__(self, shape, context_shape=None):
        super().__init__()
        self.event_shape, self.context_shape = shape, context_shape
        self.scale = nn.Parameter(torch.tensor(1.5))

    def _shift(self, context):
        total = context.flatten(-len(self.context_shape)).sum(-1) if self.context_shape else context
        return total.reshape((*total.shape, *(1,) * len(self.event_shape)))

    def _log_prob(self, x, context):
        centred = x if context is None else x - self._shift(context)
        entries = -(centred / self.scale).abs() - (2 * self.scale).log()
        return entries.flatten(-len(self.event_shape)).sum(-1) if self.event_shape else entries

    def _rsample(self, batch, context, generator):
        u = torch.rand((*batch, *self.event_shape), generator=generator, dtype=self.scale.dtype) - 0.5
        x = -self.scale * u.sign() * torch.log1p(-2 * u.abs())
        return x if context is None else x + self._shift(context)


@pytest.mark.parametrize("context_shape", [None, (), (2,), (1, 2, 2)], ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 2)], ids=str)
def test_events_and_contexts_of_any_rank(shape, context_shape):
    distribution = Laplace(shape, context_shape).double()
    context = None if context_shape is None else torch.full(context_shape, 0.25, dtype=torch.float64)
    properties_distribution.sample_shapes(distribution, context)
    properties_distribution.log_prob_of_samples(distribution, context)
    batch = torch.zeros(2, 1, *shape, dtype=torch.float64)
    expanded = None if context is None else context.expand(5, *context_shape)
    assert distribution.log_prob(batch, expanded).shape == ((2, 1) if context is None else (2, 5))
    fixed = distribution if context is None else distribution.condition(expanded)
    assert fixed.sample((4,)).shape == (4, *(() if context is None else (5,)), *shape)
    spoiled = batch.clone()
    spoiled[0] = math.nan
    assert distribution.log_prob(spoiled, context).isnan().flatten().tolist() == [True, False]

"""Features of different kinds in one flow: a map for each, a base for each, cosines and sines of the angles alone."""

import copy
import math
import pickle

import pytest
import torch
from cases import generator, randomize

import pushforward as pf
from pushforward.bijections import Autoregressive, Chain, Coupling, Elementwise
from pushforward.bijections.layout import channels, embed, embed_slope
from pushforward.core.config import build
from pushforward.core.domain import REAL, Circle, Interval, Product
from pushforward.distributions import CircularUniform, Flow, Joint, Normal, StandardNormal, StudentT, Uniform
from pushforward.univariate import (
    Affine,
    CircularRationalQuadratic,
    CircularShift,
    GaussianMixtureCDF,
    IntegratedNetwork,
    PerFeature,
    RationalQuadratic,
    Shift,
    SumOfSquares,
)


def mixed(*, real=RationalQuadratic, bins=4):
    return PerFeature([CircularRationalQuadratic(bins), real()])


def mixed_flow(layer):
    """An angle and a real number that depend on each other."""
    parts = {
        "Autoregressive": lambda: [
            Autoregressive(PerFeature([CircularShift(), Affine()]), 2, context=1, hidden=(8,)),
            Autoregressive(mixed(), 2, context=1, hidden=(8,)),
        ],
        "Coupling": lambda: [Coupling(mixed(), 2, context=1, hidden=(8,), swap=swap) for swap in (False, True)],
        "Elementwise": lambda: [Elementwise(mixed(real=SumOfSquares), 2, context=1, hidden=(8,))],
    }[layer]()
    return randomize(Flow(Joint([CircularUniform(1), StandardNormal(1)]), Chain(parts).inv), seed=3)


each_layer = pytest.mark.parametrize("layer", ["Autoregressive", "Coupling", "Elementwise"])


@each_layer
def test_a_flow_of_an_angle_and_a_real_number_integrates_to_one(layer):
    flow, context = mixed_flow(layer), torch.tensor([0.3], dtype=torch.float64)
    assert flow.support == Product((Circle(), REAL))
    angle = -math.pi + 2 * math.pi * (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    u = math.pi * ((torch.arange(600, dtype=torch.float64) + 0.5) / 600 - 0.5)
    x = torch.cartesian_prod(angle, 3 * u.tan())
    weights = (2 * math.pi / 400) * (3 * math.pi / 600 / u.cos().square()).repeat(400)
    total = (flow.log_prob(x, context).exp() * weights).sum()
    assert total.item() == pytest.approx(1, abs=2e-3)


@each_layer
def test_its_density_closes_around_the_circle_and_its_samples_follow_it(layer):
    flow, context = mixed_flow(layer), torch.tensor([0.3], dtype=torch.float64)
    real = torch.linspace(-2, 2, 9, dtype=torch.float64)
    ends = [
        flow.log_prob(torch.stack([torch.full_like(real, end), real], dim=-1), context)
        for end in (-math.pi, math.nextafter(math.pi, 0))
    ]
    torch.testing.assert_close(*ends)
    x = flow.sample((2000,), context, generator=generator(1))
    assert flow.support.contains(x).all()
    # The mean of a function under samples and under the density, by importance sampling from the base.
    z = flow.base.sample((20000,), generator=generator(2))
    weight = (flow.log_prob(z, context) - flow.base.log_prob(z)).exp()

    def function(x):
        return x[:, 0].cos() * (0.3 * x[:, 1]).tanh()

    expected = (weight * function(z)).sum() / weight.sum()
    assert function(x).mean().item() == pytest.approx(expected.item(), abs=0.06)


@pytest.mark.parametrize(
    "layer", ["Autoregressive", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("Coupling", "Elementwise"))]
)
def test_it_is_saved_copied_and_run_like_any_flow(layer, tmp_path):
    flow, context = mixed_flow(layer), torch.tensor([0.3], dtype=torch.float64)
    x = flow.sample((7,), context, generator=generator(1))
    expected = flow.log_prob(x, context)
    pf.save(flow, tmp_path / "mixed.safetensors")
    copies = pf.load(tmp_path / "mixed.safetensors"), copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))
    for twin in copies:
        assert torch.equal(twin.log_prob(x, context), expected)
        torch.testing.assert_close(twin.to_data(flow.to_latent(x, context), context), x)
    rows = torch.func.vmap(flow.log_prob)(x, context.expand(7, 1))
    torch.testing.assert_close(rows, expected)
    compiled = torch.compile(flow, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, context), expected)


def test_what_conditioners_see_of_features_on_different_domains():
    domain = Product((Circle(), REAL, Circle(), Interval(0.0, 1.0)))
    x = torch.tensor([[0.5], [2.0], [-1.0], [0.25]], dtype=torch.float64)
    expected = [math.cos(0.5), math.sin(0.5), 2.0, 0.0, math.cos(1.0), -math.sin(1.0), 0.25, 0.0]
    assert channels(domain) == 2
    assert embed(domain, x).flatten().tolist() == pytest.approx(expected)
    for j in range(4):
        assert torch.equal(embed(domain, x[j : j + 1], j), embed(domain, x)[2 * j : 2 * j + 2])
    slopes = torch.func.jacrev(lambda x: embed(domain, x))(x)[:, 0, :, 0].reshape(4, 2, 4)
    assert torch.equal(embed_slope(domain, x)[..., 0], slopes.diagonal(dim1=0, dim2=2).t())
    assert torch.equal(embed(Product((REAL, Interval(0.0, 1.0))), x[:2]), x[:2])


def test_each_feature_is_moved_by_its_own_map():
    """Parameters stand as for every univariate: those that a conditioner decides, then the free ones."""
    parts = [Affine(), Shift(), RationalQuadratic(3), SumOfSquares(1, 2)]
    whole = PerFeature(parts, [1, 2, 1, 1]).double()
    assert (whole.features, whole.num_free, whole.num_params) == (5, 1, 9)
    params = torch.randn(9, 5, 6, generator=generator(1), dtype=torch.float64)
    x = torch.randn(5, 6, generator=generator(2), dtype=torch.float64)
    feature_params = [params[[0, 1, 8], 0], params[:1, 1], params[:1, 2], params[:8, 3], params[:5, 4]]
    maps = [parts[0], parts[1], parts[1], parts[2], parts[3]]
    y, log_slope = whole(x, params)
    for j, (part, its) in enumerate(zip(maps, feature_params, strict=True)):
        expected = part.double()(x[j], its)
        torch.testing.assert_close((y[j], log_slope[j]), expected)
        single = whole.for_feature(j)
        torch.testing.assert_close(single.inverse(y[j], params[:, j]), (x[j], -log_slope[j]))
        torch.testing.assert_close(single.inverse_value(y[j], params[:, j]), x[j])
    torch.testing.assert_close(whole.inverse_value(y, params), x)
    assert whole.inverse_kind == "iterative"
    moved = whole.select([2, 3, 4])
    assert [type(part).__name__ for part in moved.parts] == ["Shift", "RationalQuadratic", "SumOfSquares"]
    assert moved.counts == [1, 1, 1]
    assert whole.select([1, 2]) is parts[1]
    assert whole.select([0, 3, 4, 1]).counts == [1, 1, 1, 1]


def test_a_start_from_data_reaches_the_maps_that_have_one():
    layer = Elementwise(PerFeature([Affine(), GaussianMixtureCDF(3)]), 2)
    x = torch.stack([torch.randn(500, generator=generator(1)), 3 + 0.5 * torch.randn(500, generator=generator(2))], -1)
    assert layer.data_dependent
    layer.initialize(x)
    y = layer(x)
    assert torch.equal(y[:, 0], x[:, 0])
    assert y[:, 1].mean().abs() < 0.1
    assert (y[:, 1].std() - 1).abs() < 0.1
    assert not Elementwise(PerFeature([Affine(), Shift()]), 2).data_dependent


def test_maps_with_weights_of_their_own_learn_apart():
    layer = Autoregressive(PerFeature([IntegratedNetwork(2, 3, nodes=8), IntegratedNetwork(2, 3, nodes=8)]), 2)
    assert len({id(p) for p in layer.univariate.parameters()}) == 8
    layer(torch.randn(5, 2)).sum().backward()


def test_joint_is_its_parts():
    base = Joint([Normal([1.0], [2.0]), StudentT(2, 3.0), Uniform([0.0], [0.5])]).double()
    x = torch.tensor([[0.3, -1.0, 2.0, 0.25], [0.3, -1.0, 2.0, 0.75]], dtype=torch.float64)
    expected = sum(part.log_prob(piece) for part, piece in zip(base.parts, x.split([1, 2, 1], -1), strict=True))
    torch.testing.assert_close(base.log_prob(x), expected)
    assert base.log_prob(x)[1] == -torch.inf
    u = base.cdf(x[:1])
    torch.testing.assert_close(base.icdf(u), x[:1])
    assert base.sample((3,)).shape == (3, 4)
    assert build(base.config).support == base.support == Product((REAL, REAL, REAL, Interval(0.0, 0.5)))

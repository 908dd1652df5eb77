"""Layers that start from data: mixtures at quantiles, rotations at principal axes, scales that outliers do not move."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from cases import generator

from pushforward.bijections import Chain, Elementwise, Rotation, Standardize
from pushforward.distributions import Flow, StandardNormal
from pushforward.testing.rows import measured_once
from pushforward.univariate import Affine, GaussianMixtureCDF, TailTransform


def moons(rows, seed):
    """Two interleaved half circles with some noise, float64."""
    random = generator(seed)
    angle = math.pi * torch.rand(rows, generator=random, dtype=torch.float64)
    upper = torch.rand(rows, generator=random) < 0.5
    x = torch.stack(
        [torch.where(upper, angle.cos(), 1 - angle.cos()), torch.where(upper, angle.sin(), 0.5 - angle.sin())]
    )
    return x.t() + 0.1 * torch.randn(rows, 2, generator=random, dtype=torch.float64)


def gaussianizing(depth, features=2, **options):
    layers = [Standardize(features)]
    for _ in range(depth):
        layers += [Rotation(features), Elementwise(GaussianMixtureCDF(8), features, **options)]
    return Flow(StandardNormal(features), Chain(layers).inv).double()


def loss(flow, x, context=None):
    with torch.no_grad():
        return -flow.log_prob(x, context).mean().item()


def test_every_layer_brings_the_loss_down():
    """On the sample that it starts from, for the fit of each layer is one of maximum likelihood; and held out."""
    x, held_out = moons(2000, 1), moons(2000, 2)
    seen, unseen = [], []
    for depth in range(6):
        flow = gaussianizing(depth)
        flow.initialize(x)
        seen.append(loss(flow, x))
        unseen.append(loss(flow, held_out))
    assert all(after < before for before, after in pairwise(seen)), seen
    assert unseen[-1] < unseen[0] - 0.6, unseen


def test_what_starts_from_data_is_measured_once():
    measured_once(gaussianizing(2), moons(200, 3), None)
    tail = Flow(StandardNormal(2), Chain([Standardize(2, robust=True), Elementwise(TailTransform(), 2)]).inv).double()
    measured_once(tail, moons(200, 4), None)


def test_a_loaded_start_gives_the_same_densities():
    x, flow, loaded = moons(300, 5), gaussianizing(2), gaussianizing(2)
    flow.initialize(x)
    loaded.load_state_dict(flow.state_dict())
    assert torch.equal(loaded.log_prob(x), flow.log_prob(x))
    assert torch.equal(copy.deepcopy(flow).log_prob(x), flow.log_prob(x))


def test_the_start_stands_beside_a_network_of_the_context():
    """The network begins with zeros, so its layer begins at the start, for every context."""
    x, context = moons(500, 6), torch.randn(500, 1, generator=generator(6), dtype=torch.float64)
    plain = Elementwise(GaussianMixtureCDF(4), 2).double()
    conditional = Elementwise(GaussianMixtureCDF(4), 2, context=1, hidden=(8,)).double()
    plain.initialize(x)
    conditional.initialize(x, context)
    torch.testing.assert_close(conditional.start, plain.start)
    torch.testing.assert_close(conditional(x, context), plain(x))


def test_without_a_start_nothing_is_measured():
    x = moons(50, 7)
    for layer in (Elementwise(GaussianMixtureCDF(4), 2, data_start=False), Elementwise(Affine(), 2)):
        before = {name: tensor.clone() for name, tensor in layer.double().state_dict().items()}
        layer.initialize(x)
        assert not layer.data_dependent
        assert list(before) == ["params"]
        assert torch.equal(layer.params, before["params"])


def test_data_on_the_far_side_of_a_layer_do_not_start_it():
    """The start is for what comes in; from what goes out no parameters follow."""
    layer = Elementwise(GaussianMixtureCDF(4), 2).double()
    layer.inv.initialize(moons(50, 8))
    assert not layer.initialized
    assert not layer.start.any()


# --- rotations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [2, 5])
def test_a_rotation_starts_at_the_principal_axes(features):
    mixing = torch.randn(features, features, generator=generator(9), dtype=torch.float64)
    x = torch.randn(400, features, generator=generator(10), dtype=torch.float64) @ mixing + 3
    for rotation, turned in ((Rotation(features), False), (Rotation(features).inv, True)):
        rotation.double().initialize(x)
        covariance = rotation(x).t().cov()
        off = covariance - covariance.diagonal().diag()
        assert off.abs().max() < 1e-9 * covariance.abs().max()
        assert (covariance.diagonal().diff() < 0).all(), "the widest axis comes first"
        matrix = (rotation.bijection if turned else rotation)._matrix()
        torch.testing.assert_close(matrix @ matrix.t(), torch.eye(features, dtype=torch.float64))
        assert torch.linalg.det(matrix).item() == pytest.approx(1)


def test_a_rotation_learns_any_plane_rotation():
    """A quarter turn from the identity, by the only angle that there is."""
    rotation = Rotation(2).double()
    with torch.no_grad():
        rotation.angles.fill_(math.pi / 2)
    turned = rotation(torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0], dtype=torch.float64))


# --- scales --------------------------------------------------------------------------------------------------------


def test_robust_scales_are_those_of_a_normal_and_ignore_outliers():
    x = 5 + 2 * torch.randn(20_000, 1, generator=generator(11), dtype=torch.float64)
    plain, robust, spoiled = Standardize(1), Standardize(1, robust=True), Standardize(1, robust=True)
    plain.double().initialize(x)
    robust.double().initialize(x)
    spoiled.double().initialize(torch.cat([x, torch.full((20, 1), 1e12, dtype=torch.float64)]))
    for part in (robust, spoiled):
        assert part.mean.item() == pytest.approx(plain.mean.item(), abs=0.1)
        assert part.scale.item() == pytest.approx(plain.scale.item(), rel=0.05)


def test_robust_scales_of_columns_with_one_frequent_value():
    """Quartiles that meet give way to the deviation, and that of a constant to one."""
    rare = torch.zeros(100, dtype=torch.float64)
    rare[:10] = 3.0
    part = Standardize(2, robust=True).double()
    part.initialize(torch.stack([rare, torch.full_like(rare, 7.0)], dim=1))
    assert part.mean.tolist() == [0.0, 7.0]
    assert part.scale.tolist() == pytest.approx([rare.std(correction=0).item(), 1.0])


def test_a_flow_that_has_seen_data_makes_no_pass_over_them_again(monkeypatch):
    flow, x = gaussianizing(1), moons(500, seed=1)
    passes = []
    sound = Chain._initialize

    def counted(self, x, context, *, inverse):
        passes.append(len(x))
        return sound(self, x, context, inverse=inverse)

    monkeypatch.setattr(Chain, "_initialize", counted)
    flow.initialize(x)
    before = {name: t.clone() for name, t in flow.state_dict().items()}
    flow.initialize(x + 1)
    assert passes == [500]
    assert all(torch.equal(t, before[name]) for name, t in flow.state_dict().items())
    flow.bijection.bijection.parts[-1].initialized.fill_(False)  # one part that waits is enough
    flow.initialize(x[:100])
    assert passes == [500, 100]


def test_a_part_without_a_flag_is_started_each_time():
    class Moving(Standardize):
        """A map that is set from the data whenever there are some."""

        seen = 0

        @property
        def data_dependent(self):
            return True

        def _initialize(self, x, context, *, inverse):
            self.seen += 1

    part = Moving(2)
    del part._buffers["initialized"]
    flow = Flow(StandardNormal(2), Chain([part]).inv)
    for _ in range(2):
        flow.initialize(torch.randn(5, 2))
    assert part.seen == 2

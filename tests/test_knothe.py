"""Knothe-Rosenblatt maps against the densities that they are maps of, and against each other."""

import math

import pytest
import torch
from cases import generator, random_part

from pushforward.bijections import Banana, GaussianRosenblatt, GridRosenblatt, MixtureRosenblatt
from pushforward.distributions import Flow, GaussianMixture, StandardNormal
from pushforward.distributions.targets import TARGETS, banana, clusters, moons, ring
from pushforward.testing import comparison as properties
from pushforward.testing import quadrature as properties_distribution

DTYPE = torch.float64
LOC = [0.0, 1.0, -1.0]
COVARIANCE = [[2.0, 0.6, 0.1], [0.6, 0.5, 0.2], [0.1, 0.2, 1.0]]
MIXTURE = {
    "weights": [1.0, 2.0, 1.0],
    "means": [[-1.0, 0.0, 0.5], [1.0, 1.0, 0.0], [0.0, -2.0, 0.0]],
    "covariances": [
        [[1.0, 0.4, 0.0], [0.4, 0.5, 0.1], [0.0, 0.1, 1.0]],
        [[0.5, -0.3, 0.2], [-0.3, 1.0, 0.0], [0.2, 0.0, 0.6]],
        [[2.0, 0.0, 0.3], [0.0, 0.3, 0.0], [0.3, 0.0, 0.8]],
    ],
}
TABLE = {
    "values": [[0.5, 1.0, 0.2, 1.0], [1.0, 2.0, 0.5, 0.3], [0.4, 0.1, 1.5, 0.6]],
    "low": [-1.0, 0.0],
    "high": [2.0, 1.5],
}
MAPS = {
    "gaussian": lambda: GaussianRosenblatt(LOC, COVARIANCE),
    "mixture": lambda: MixtureRosenblatt(**MIXTURE),
    "grid": lambda: GridRosenblatt(**TABLE),
    "banana": lambda: Banana(0.7),
    "moons": lambda: moons().bijection,
}


def normal(rosenblatt):
    return torch.distributions.MultivariateNormal(rosenblatt.loc, scale_tril=rosenblatt.factor)


def mixture(rosenblatt):
    parts = torch.distributions.MultivariateNormal(rosenblatt.loc, scale_tril=rosenblatt.factors)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=rosenblatt.logits), parts)


def bilinear(rosenblatt, x):
    """The interpolated density, and its integral from the four corners of each cell."""
    table = rosenblatt.table
    low, high = torch.tensor(rosenblatt.low, dtype=DTYPE), torch.tensor(rosenblatt.high, dtype=DTYPE)
    cells = torch.tensor(table.shape) - 1
    place = (x - low) / (high - low) * cells
    i, j = torch.minimum(place.floor().long(), cells - 1).unbind(-1)
    s, t = (place - torch.stack([i, j], dim=-1)).unbind(-1)
    value = (1 - s) * ((1 - t) * table[i, j] + t * table[i, j + 1])
    value = value + s * ((1 - t) * table[i + 1, j] + t * table[i + 1, j + 1])
    corners = (table[1:, 1:] + table[1:, :-1] + table[:-1, 1:] + table[:-1, :-1]).sum() / 4
    return value / (corners * ((high - low) / cells).prod())


# --- the pushforward is the target ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 5.0, 30.0])
@pytest.mark.parametrize(("name", "density"), [("gaussian", normal), ("mixture", mixture), ("moons", mixture)])
def test_the_change_of_variables_gives_the_known_density(name, density, scale):
    rosenblatt = MAPS[name]().to(DTYPE)
    flow = Flow(StandardNormal(rosenblatt.in_shape[0]), rosenblatt).to(DTYPE)
    x = scale * torch.randn(200, rosenblatt.in_shape[0], dtype=DTYPE, generator=generator(1))
    properties.close(flow.log_prob(x), density(rosenblatt).log_prob(x), "log_prob", {DTYPE: 1e-10})
    y, log_prob = flow.rsample_and_log_prob((200,), generator=generator(2))
    properties.close(log_prob, density(rosenblatt).log_prob(y), "log_prob of samples", {DTYPE: 1e-10})


@pytest.mark.parametrize(
    "config", [TABLE, {**TABLE, "values": torch.rand(9, 7, generator=generator(1)).add(0.01).tolist()}]
)
def test_a_grid_has_exactly_the_interpolated_density(config):
    rosenblatt = GridRosenblatt(**config).to(DTYPE)
    flow = Flow(StandardNormal(2), rosenblatt).to(DTYPE)
    x = rosenblatt.codomain.example((500, 2), generator(2))
    properties.close(flow.log_prob(x).exp(), bilinear(rosenblatt, x), "the density", {DTYPE: 1e-12})
    properties_distribution.integrates_to_one(flow, None)
    z = torch.randn(500, 2, dtype=DTYPE, generator=generator(3))
    y, ladj = rosenblatt.forward_and_ladj(z)
    properties.close(
        flow.base.log_prob(z) - ladj, bilinear(rosenblatt, y).log(), "the density of images", {DTYPE: 1e-11}
    )


@pytest.mark.parametrize("name", MAPS)
def test_the_maps_are_triangular_and_increasing(name):
    rosenblatt = MAPS[name]().to(DTYPE)
    assert rosenblatt.is_triangular
    z = 1.5 * torch.randn(50, *rosenblatt.in_shape, dtype=DTYPE, generator=generator(4))
    for direction, start in ((rosenblatt.forward, z), (rosenblatt.inverse, rosenblatt(z).detach())):
        matrix = properties.jacobian(direction, start)
        assert bool((matrix.triu(1) == 0).all())
        assert bool((matrix.diagonal(dim1=1, dim2=2) > 0).all())


# --- the map is unique ---------------------------------------------------------------------------------------------


def test_a_mixture_of_one_is_the_gaussian():
    one = MixtureRosenblatt([3.0], [LOC], covariances=[COVARIANCE]).to(DTYPE)
    same = GaussianRosenblatt(LOC, COVARIANCE).to(DTYPE)
    z = 3 * torch.randn(100, 3, dtype=DTYPE, generator=generator(5))
    for a, b in zip(one.forward_and_ladj(z), same.forward_and_ladj(z), strict=True):
        properties.close(a, b, "the map of one component", {DTYPE: 1e-11})


def test_equal_components_are_one():
    twice = MixtureRosenblatt([1.0, 2.0], [LOC, LOC], covariances=[COVARIANCE, COVARIANCE]).to(DTYPE)
    same = GaussianRosenblatt(LOC, COVARIANCE).to(DTYPE)
    x = 30 * torch.randn(100, 3, dtype=DTYPE, generator=generator(6))
    properties.close(twice.inverse(x), same.inverse(x), "the map of equal components", {DTYPE: 1e-11})


@pytest.mark.parametrize(("target", "margin"), [(lambda: banana(0.4), 3.0), (moons, 0.5)], ids=["banana", "moons"])
def test_a_grid_approaches_the_exact_map(target, margin):
    """Two ways to the same unique map, that share no line; the error falls with the square of the distance of nodes."""
    flow = target().to(DTYPE)
    x = flow.sample((400,), generator=generator(7))
    low, high = x.amin(dim=0) - margin, x.amax(dim=0) + margin
    errors = []
    for points in (101, 201):
        grid = GridRosenblatt.from_density(flow.log_prob, low.tolist(), high.tolist(), points).to(DTYPE)
        errors.append((grid.inverse(x) - flow.to_latent(x)).square().mean().sqrt().item())
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 3


def test_the_latent_of_a_target_is_normal():
    for name, target in TARGETS.items():
        flow = target().to(DTYPE)
        mixture = flow.bijection
        if isinstance(mixture, MixtureRosenblatt):  # sampled without its map: a component, then a normal
            parts = zip(mixture.logits.softmax(0), mixture.loc, mixture.factors, strict=True)
            weights, means, factors = (torch.stack(list(part)) for part in zip(*parts, strict=True))
            index = torch.multinomial(weights, 5000, replacement=True, generator=generator(8))
            noise = torch.randn(5000, mixture.in_shape[0], 1, dtype=DTYPE, generator=generator(9))
            x = (means[index][..., None] + factors[index] @ noise)[..., 0]
            z = flow.to_latent(x).detach()
            assert z.mean(0).abs().max() < 0.06, name
            assert (torch.cov(z.t()) - torch.eye(z.shape[1], dtype=DTYPE)).abs().max() < 0.08, name
            assert (z.pow(3).mean(0).abs().max(), z.pow(4).mean(0).sub(3).abs().max()) < (0.2, 0.4), name


# --- far out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["gaussian", "mixture", "banana", "moons"])
def test_far_points_come_back(name, dtype):
    rosenblatt = MAPS[name]().to(dtype)
    scales = (10.0, 1e3, 1e6)
    x = torch.cat([scale * torch.randn(50, *rosenblatt.in_shape, generator=generator(1)) for scale in scales]).to(dtype)
    z, ladj = rosenblatt.inverse_and_ladj(x)
    back, back_ladj = rosenblatt.forward_and_ladj(z)
    for tensor in (z, ladj, back, back_ladj):
        assert bool(tensor.isfinite().all())
    # Where components meet, the map is nearly flat; what comes back has at least the same latent.
    size = 1 + z.abs()
    again = rosenblatt.inverse(back)
    assert ((again - z).abs() / size).median() < 100 * torch.finfo(dtype).eps


def test_a_gap_between_components_has_no_hole():
    """Two components forty standard deviations apart: the map is all but vertical in between, and stays finite."""
    for dtype in (torch.float32, torch.float64):
        far = MixtureRosenblatt([0.3, 0.7], [[-20.0], [20.0]]).to(dtype)
        z = torch.linspace(-3, 3, 1001, dtype=dtype)[:, None].requires_grad_()
        x, ladj = far.forward_and_ladj(z)
        properties.close(far.inverse(x), z, "there and back", {DTYPE: 1e-12, torch.float32: 1e-5})
        x = torch.linspace(-30, 30, 1001, dtype=dtype)[:, None]
        latent, down = far.inverse_and_ladj(x)
        assert bool(latent.isfinite().all() & down.isfinite().all())
        back, up = far.forward_and_ladj(latent.detach())
        (back.sum() + up.sum() + x.sum() + ladj.sum()).backward()
        assert all(p.grad.isfinite().all() for p in far.parameters())


def test_a_grid_keeps_its_edges():
    rosenblatt = GridRosenblatt(**TABLE).to(DTYPE)
    z = torch.tensor([[40.0, -40.0], [-1e6, 1e6], [0.0, -9.0]], dtype=DTYPE)
    x, ladj = rosenblatt.forward_and_ladj(z)
    assert bool(rosenblatt.codomain.contains(x).all())
    assert bool(ladj.isfinite().all())
    edges = torch.tensor([[-1.0, 0.0], [2.0, 1.5], [-1.0, 0.7]], dtype=DTYPE, requires_grad=True)
    latent, down = rosenblatt.inverse_and_ladj(edges)
    assert bool(latent.isfinite().all() & down.isfinite().all())
    (latent.sum() + down.sum()).backward()
    assert bool(edges.grad.isfinite().all())
    # Both tails keep their digits: nine standard deviations below the median, near an edge at zero.
    properties.close(rosenblatt.inverse(x)[2], z[2], "the lower tail", {DTYPE: 1e-10})


# --- mixtures as distributions -------------------------------------------------------------------------------------


def test_points_of_a_mixture_move_with_their_latent_held_fixed():
    """The implicit gradient is that of the map at fixed z, to rounding."""
    distribution = GaussianMixture(**MIXTURE).to(DTYPE)
    x = distribution.rsample((20,), generator=generator(1))
    with torch.no_grad():
        z = distribution.rosenblatt.inverse(x)
    mapped = distribution.rosenblatt(z)
    properties.close(x, mapped, "the points", {DTYPE: 1e-11})
    parameters = list(distribution.parameters())
    grads = (torch.autograd.grad(points.sin().sum(), parameters) for points in (x, mapped))
    for a, b in zip(*grads, strict=True):
        properties.close(a, b, "the gradients", {DTYPE: 1e-9})


def test_a_mixture_learns_weights_means_and_covariances():
    """Maximum likelihood from data recovers the mixture that made them: no parameter is stuck."""
    truth = GaussianMixture([0.3, 0.7], [[-2.0, 0.0], [2.0, 1.0]], covariances=[[[1.0, 0.5], [0.5, 1.0]]] * 2)
    x = truth.sample((4000,), generator=generator(2))
    model = GaussianMixture([1.0, 1.0], [[-1.0, 0.0], [1.0, 0.0]])
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = -model.log_prob(x).mean()
        value.backward()
        return value

    optimiser.step(loss)
    assert model.log_prob(x).mean() > truth.log_prob(x).mean()
    assert (model.rosenblatt.logits.softmax(0) - torch.tensor([0.3, 0.7])).abs().max() < 0.03
    assert (model.rosenblatt.loc - torch.tensor([[-2.0, 0.0], [2.0, 1.0]])).abs().max() < 0.15


def test_a_mixture_is_the_flow_of_its_map():
    distribution = random_part({"type": "GaussianMixture", **MIXTURE})
    flow = Flow(StandardNormal(3), distribution.rosenblatt)
    x = distribution.sample((50,), generator=generator(3))
    properties.close(distribution.log_prob(x), flow.log_prob(x), "log_prob", {DTYPE: 1e-11})
    u = distribution.cdf(x)
    properties.close(u, flow.cdf(x), "cdf", {DTYPE: 1e-12})
    properties.close(distribution.icdf(u), x, "icdf", {DTYPE: 1e-8})


# --- targets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_distributions(name):
    flow = TARGETS[name]().to(DTYPE)
    x = flow.sample((2000,), generator=generator(1))
    assert x.shape == (2000, flow.event_shape[0])
    assert x.mean(0).abs().max() < 1.5
    assert 0.2 < x.std(0).min() < x.std(0).max() < 3
    if flow.event_shape == (2,):
        first = torch.arange(-4.5, 4.5, 0.05, dtype=DTYPE)
        second = torch.arange(-6, 20, 0.05, dtype=DTYPE) if name == "banana" else first
        assert abs(flow.log_prob(torch.cartesian_prod(first, second)).exp().sum().item() * 0.05**2 - 1) < 1e-3


def test_targets_look_as_they_are_called():
    ring_points, moon_points = ring().sample((1000,)), moons().sample((1000,))
    assert (ring_points.norm(dim=-1) - 2).abs().mean() < 0.25
    assert ring_points.mean(0).abs().max() < 0.3
    nearest = torch.cdist(moon_points, -moon_points).min(dim=1).values  # two moons are one another's mirror image
    assert nearest.mean() < 0.1
    assert clusters(7).event_shape == (7,)
    bent = banana(0.5).sample((2000,))
    assert torch.corrcoef(torch.stack([bent[:, 0] ** 2, bent[:, 1]]))[0, 1] > 0.4


def test_from_density_needs_no_normalised_density():
    """A factor does not matter, values next to nothing are raised, and the nodes are where they should be."""

    def log_density(x):
        return 100 - 0.5 * (x[:, 0].square() + (x[:, 1] - 1).square() / 0.25)

    grid = GridRosenblatt.from_density(log_density, [-20.0, -9.0], [20.0, 11.0], 401).to(DTYPE)
    z = torch.randn(100, 2, dtype=DTYPE, generator=generator(1))
    expected = torch.stack([z[:, 0], 1 + 0.5 * z[:, 1]], dim=-1)
    assert (grid(z) - expected).abs().max() < 0.02
    assert grid.table.min() >= 1e-30
    assert math.isfinite(grid.forward_and_ladj(100 * z)[1].sum().item())

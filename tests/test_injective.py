"""Lifts onto surfaces, and densities on and near them."""

import math

import pytest
import torch
from cases import generator, randomize

from pushforward.bijections import (
    LU,
    Chain,
    Coupling,
    CurvedLift,
    Elementwise,
    Flip,
    LinearLift,
    RadialSquash,
    Standardize,
)
from pushforward.core.domain import REAL
from pushforward.core.surface import Surface
from pushforward.distributions import Flow, ManifoldFlow, Normal, ProbabilisticPCA, StandardNormal, Uniform
from pushforward.flows import nsf
from pushforward.testing.comparison import close, jacobian
from pushforward.univariate import Affine


def numbers(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def curved(features=3, latent=1, context=0):
    layers = [
        Coupling(Affine(), features, context=context, hidden=(8,), activation="tanh", swap=k % 2 == 1) for k in range(3)
    ]
    return randomize(CurvedLift(Chain([*layers, LU(features)]), latent), seed=5, size=0.9)


def plane_data(rows=4000):
    """Two strong directions in five dimensions, and noise of size 0.1."""
    axes = torch.linalg.qr(numbers(5, 2, seed=7)).Q
    z = numbers(rows, 2) * torch.tensor([3.0, 1.5], dtype=torch.float64)
    return 4.0 + z @ axes.t() + 0.1 * numbers(rows, 5, seed=2), axes


# --- volumes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orthonormal", [False, True])
def test_the_volume_of_a_linear_lift_is_the_gram_determinant(orthonormal):
    lift = randomize(LinearLift(5, 3, orthonormal=orthonormal), seed=2)
    x = numbers(4, 3)
    y, ladj = lift.forward_and_ladj(x)
    j = jacobian(lift.forward, x)
    close(ladj, 0.5 * torch.linalg.slogdet(j.mT @ j)[1], "½ log det JᵀJ")
    singular = torch.linalg.svdvals(j).log().sum(-1)
    close(ladj, singular, "the logarithms of the singular values")
    assert (ladj.abs().max() < 1e-12) == orthonormal
    off = numbers(4, 5)
    nearest = lift(lift.inverse(off))
    assert ((off - nearest) @ j[0]).abs().max() < 1e-10, "the projection is not at right angles"
    close(lift.inverse(y), x, "round trip")


def test_the_density_on_a_curve_is_one_over_its_length():
    """Uniform z on a curve: the density with respect to arc length integrates to one along the curve."""
    lift = curved()
    flow = Flow(StandardNormal(1).double(), lift)
    z = torch.linspace(-9, 9, 40001, dtype=torch.float64)[:, None]
    y = lift(z)
    steps = (y[1:] - y[:-1]).norm(dim=-1)  # arc length by chords
    middle = flow.log_prob(lift(0.5 * (z[1:] + z[:-1]))).exp()
    assert (middle * steps).sum().item() == pytest.approx(1.0, abs=1e-3)
    assert flow.event_shape == (3,)
    assert flow.is_exact


def test_the_area_of_a_curved_surface():
    lift = curved(latent=2)
    x = numbers(6, 2)
    j = jacobian(lift.forward, x)
    close(lift.forward_and_ladj(x)[1], 0.5 * torch.linalg.slogdet(j.mT @ j)[1], "½ log det JᵀJ")


def test_a_square_map_behind_a_lift_is_refused():
    for parts in ([LinearLift(3, 2), LU(3)], [LU(3), LinearLift(3, 2).inv], [curved(3), LU(3)]):
        with pytest.raises(
            ValueError, match=r"^Chain: parts\[[01]\] \((LinearLift|Inverse|CurvedLift)\) ends on a surf"
        ):
            Chain(parts)
    chain = randomize(Chain([LU(2), LinearLift(3, 2), Flip(3)]), seed=1)
    assert (chain.lifts, chain.inv.lifts, chain.keeps_dimension) == ("forward", "inverse", False)
    x = numbers(4, 2)
    j = jacobian(chain.forward, x)
    close(chain.forward_and_ladj(x)[1], 0.5 * torch.linalg.slogdet(j.mT @ j)[1], "½ log det JᵀJ of the chain")


def test_context_moves_the_surface():
    lift = curved(context=2)
    x, context = numbers(5, 1), numbers(5, 2)
    y, ladj = lift.forward_and_ladj(x, context)
    j = jacobian(lambda t: lift.forward(t, context), x)
    close(ladj, 0.5 * torch.linalg.slogdet(j.mT @ j)[1], "½ log det JᵀJ")
    model = ManifoldFlow(StandardNormal(1).double(), lift)
    assert model.context_shape == (2,)
    assert not torch.equal(model.log_prob(y, context), model.log_prob(y, context + 1))
    close(model.reconstruction_error(y, context), torch.zeros(5, dtype=torch.float64), "on the surface")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [curved, lambda: randomize(LinearLift(3, 1), seed=3)], ids=["curved", "linear"])
def test_a_density_on_a_surface_is_zero_off_it(make, dtype):
    flow = Flow(StandardNormal(1), make()).to(dtype)
    assert flow.support == Surface(REAL, 1)
    assert (flow.support.measure, flow.support.dimension((3,)), flow.as_torch().support.event_dim) == ("surface", 1, 1)
    x = flow.sample(50)
    on, moved = flow.log_prob(x), x + torch.tensor([0.0, 0.02, -0.01], dtype=dtype)
    assert on.isfinite().all()
    assert (flow.log_prob(moved) == -torch.inf).all()
    assert flow.log_prob(flow.to_data(flow.to_latent(moved))).isfinite().all()
    with pytest.raises(ValueError, match=r"keeps the dimension, but base has dimension 1 \(Surface"):
        Flow(flow, LU(3))


# --- densities in the space ------------------------------------------------------------------------------------------


def test_linear_noise_is_at_right_angles_whatever_the_latent_is():
    """In the coordinates of a full orthonormal basis: the latent density, and normals of scale σ."""
    lift = randomize(LinearLift(3, 1), seed=3)
    latent = Normal([0.3], [1.7]).double()
    model = ManifoldFlow(latent, lift, scale=0.4).double()
    x = numbers(6, 3)
    basis = torch.linalg.svd(lift.columns, full_matrices=True).U
    off = (x - lift.bias) @ basis[:, 1:]
    z = (x - lift.bias) @ lift.columns / lift.columns.square().sum()
    expected = latent.log_prob(z) - lift.columns.norm().log()
    expected = expected + torch.distributions.Normal(0.0, model.log_scale.exp()).log_prob(off).sum(-1)
    close(model.log_prob(x), expected, "log_prob")
    close(model.reconstruction_error(x), off.norm(dim=-1), "the distance from the plane")


def test_a_curved_model_is_the_flow_of_all_coordinates():
    lift = curved(latent=2)
    model = ManifoldFlow(Normal([0.3, 0.0], [1.7, 0.5]), lift, scale=0.4).double()
    whole = Flow(Normal([0.3, 0.0, 0.0], [1.7, 0.5, 0.4]).double(), lift.bijection)
    x = numbers(6, 3)
    close(model.log_prob(x), whole.log_prob(x), "log_prob")


def test_data_near_a_plane_start_at_their_principal_axes():
    x, axes = plane_data()
    model = ManifoldFlow(StandardNormal(2), LinearLift(5, 2)).double()
    model.initialize(x)
    noise = model.log_scale.exp().item()
    assert noise == pytest.approx(0.1, rel=0.05)
    assert model.reconstruction_error(x).square().mean().sqrt().item() == pytest.approx(0.1 * 3**0.5, rel=0.05)
    q = torch.linalg.qr(model.lift.columns).Q
    assert torch.linalg.svdvals(q.t() @ axes).min() > 0.999
    z = model.lift.inverse(x)
    close(z.std(dim=0, correction=0), torch.ones(2, dtype=torch.float64), "scales of z")
    truth = torch.distributions.MultivariateNormal(
        torch.full((5,), 4.0, dtype=torch.float64),
        axes @ torch.diag(torch.tensor([9.0, 2.25], dtype=torch.float64)) @ axes.t()
        + 0.01 * torch.eye(5, dtype=torch.float64),
    )
    assert model.log_prob(x).mean().item() == pytest.approx(truth.log_prob(x).mean().item(), abs=0.02)
    before = model.lift.columns.clone()
    model.initialize(3 * x + 1)
    assert torch.equal(model.lift.columns, before), "measured twice"


def test_a_flow_as_latent_learns_what_a_normal_cannot():
    u = torch.rand(2000, 1, generator=generator(1)) * 2 * math.pi
    ring = torch.cat([u.cos(), u.sin(), torch.zeros_like(u)], dim=-1) @ torch.linalg.qr(numbers(3, 3).float()).Q
    x = ring + 0.05 * torch.randn(2000, 3, generator=generator(2))
    flow = ManifoldFlow(nsf(2, depth=2, hidden=(24,), bins=8), LinearLift(3, 2))
    flow.initialize(x)
    normal = ProbabilisticPCA(3, 2)
    normal.initialize(x)
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
    assert -loss.item() > normal.log_prob(x).mean().item() + 0.4
    sample = flow.eval().sample((1000,), generator=generator(3))
    assert flow.reconstruction_error(sample).square().mean().sqrt().item() == pytest.approx(0.05, abs=0.03)


def test_probabilistic_pca_is_its_normal_and_starts_at_the_maximum():
    model = randomize(ProbabilisticPCA(5, 2), seed=4)
    x, _ = plane_data()
    w, eye = model.columns, torch.eye(5, dtype=torch.float64)

    def expected():
        covariance = w @ w.t() + (2 * model.log_scale).exp() * eye
        return torch.distributions.MultivariateNormal(model.loc, covariance).log_prob(x)

    close(model.log_prob(x), expected(), "log_prob")
    model.initialize(x)
    close(model.log_prob(x), expected(), "log_prob after initialize")
    gradients = torch.autograd.grad(model.log_prob(x).mean(), list(model.parameters()))
    assert max(g.abs().max().item() for g in gradients) < 1e-8, "initialize is no maximum of the likelihood"
    sample = model.sample((20000,), generator=generator(1))
    close(sample.T.cov(), x.T.cov(), "covariance of samples", {torch.float64: 0.15})
    close(model.reconstruction_error(model.project(x)), torch.zeros(len(x), dtype=torch.float64), "on the plane")


def test_data_without_a_direction_leave_densities_finite():
    x = torch.zeros(50, 3)
    x[:, 0] = torch.arange(50)
    for model in (ManifoldFlow(StandardNormal(2), LinearLift(3, 2)), ProbabilisticPCA(3, 2)):
        model.initialize(x)
        assert model.log_prob(x).isfinite().all()


# --- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES = [
    (lambda: LinearLift(3, 3), r"LinearLift: latent must be below the 3 features; got 3\. Use LU for as many"),
    (lambda: LinearLift(1, 1), r"LinearLift: features must be a whole number of at least 2; got 1"),
    (lambda: CurvedLift(LU(2), 0), r"CurvedLift: latent must be a whole number of at least 1; got 0"),
    (lambda: CurvedLift(LinearLift(3, 2), 1), r"CurvedLift: bijection must be exact and keep the dimension"),
    (lambda: CurvedLift(RadialSquash(2).inv, 1), r"and start from real numbers; got Inverse"),
    (lambda: CurvedLift(None, 1), r"CurvedLift: bijection must map vectors to vectors; got NoneType"),
    (
        lambda: ManifoldFlow(StandardNormal(2), LU(2)),
        r"ManifoldFlow: lift must be a LinearLift or a CurvedLift; got LU",
    ),
    (
        lambda: ManifoldFlow(StandardNormal(1), LinearLift(3, 2)),
        r"ManifoldFlow: latent must have real events of shape \(2,\), from which lift starts; got shape \(1,\)",
    ),
    (lambda: ManifoldFlow(Uniform([0.0], [1.0]), LinearLift(3, 1)), r"latent must have real events .* on Interval"),
    (
        lambda: ManifoldFlow(StandardNormal(1), CurvedLift(RadialSquash(2), 1)),
        r"lift must end in real numbers; got Ball",
    ),
    (lambda: ManifoldFlow(StandardNormal(1), LinearLift(3, 1), scale=0), r"scale must be a positive number; got 0"),
    (
        lambda: ManifoldFlow(
            Flow(StandardNormal(1), Elementwise(Affine(), 1, context=1, hidden=(4,))), curved(context=2)
        ),
        r"ManifoldFlow: latent and lift must take the same context",
    ),
    (lambda: ProbabilisticPCA(2, 2), r"ProbabilisticPCA: latent must be below the 2 features; got 2"),
    (lambda: Flow(StandardNormal(2), Chain([LinearLift(3, 2), Standardize(3)])), r"Put that part on the side of lower"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_mistakes_are_refused_in_one_sentence(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()

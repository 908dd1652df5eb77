"""Spaces other than R^D: maps against formulas of other sources, measures, supports, poles, and files."""

import math

import pytest
import torch
from cases import GENTLE, context_for, exhaustive, generator, inputs, randomize

import pushforward as pf
from pushforward import flows
from pushforward.bijections import (
    Bounds,
    CentredSoftmax,
    Chain,
    SphereCoordinates,
    SphereExponential,
    SphereLinear,
    SphereMoebius,
    SphereRotation,
    StickBreaking,
)
from pushforward.core.domain import REAL, Circle, Interval, Simplex, Sphere
from pushforward.core.spaces import Rotations, SpaceProduct
from pushforward.distributions import (
    DiagonalNormal,
    Flow,
    ProductDistribution,
    RotationDistribution,
    SphericalUniform,
    StandardNormal,
    rotation_matrix,
)
from pushforward.testing import distribution_properties, failures
from pushforward.testing.comparison import close, jacobian
from pushforward.testing.quadrature import integrates_to_one_by_sampling
from pushforward.testing.tangents import between_tangents, tangents_of_events
from pushforward.testing.uniform_points import covering_points

SHARP = {torch.float64: 1e-12}


def on_sphere(n, features, seed=1):
    return Sphere().example((n, features), generator(seed))


# --- spaces --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "shape", "dimension", "measure"),
    [
        (Rotations(), (4,), 3, "Haar"),
        (Rotations(), (2, 4), 6, "Haar"),
        (SpaceProduct((Sphere(), REAL), (3, 2)), (5,), 4, "product"),
        (SpaceProduct((Simplex(), Circle()), (3, 1)), (4,), 3, "Lebesgue"),
    ],
    ids=str,
)
def test_dimension_and_measure(domain, shape, dimension, measure):
    assert domain.dimension(shape) == dimension
    assert domain.measure == measure
    x = domain.example((7, *shape), generator(1))
    assert domain.contains(x).all()
    assert not domain.contains(2 * x + 1).any()
    assert domain.contains(domain.anchor(x).expand_as(x)).all()
    assert tangents_of_events(domain, x).shape == (7, math.prod(shape), dimension)


def test_tangents_of_curved_spaces():
    """Orthonormal on the sphere, and with the volume that the measure has elsewhere."""
    x = on_sphere(20, 4)
    basis = Sphere().tangents(x)
    close(basis.mT @ basis, torch.eye(3, dtype=torch.float64).expand(20, 3, 3), "BᵀB", SHARP)
    close((basis.mT @ x[..., None]).squeeze(-1), torch.zeros(20, 3, dtype=torch.float64), "Bᵀx", SHARP)
    volume = Rotations().tangents(x).mT @ Rotations().tangents(x)
    close(
        0.5 * torch.logdet(volume),
        torch.full((20,), math.log(2 * math.pi**2), dtype=torch.float64),
        "the volume",
        SHARP,
    )
    shares = Simplex().example((5, 3), generator(1))
    assert Simplex().tangents(shares).sum(dim=-2).abs().max() == 0


def test_the_determinant_between_tangents_is_that_of_the_gram_matrix():
    """Of a map from the plane to the sphere: log √det(JᵀJ)."""
    layer = SphereCoordinates(4).double()
    x, _ = inputs(layer, (20,))
    matrix = jacobian(layer.forward, x)
    y = layer(x)
    expected = 0.5 * torch.logdet(matrix.mT @ matrix)
    actual = torch.linalg.slogdet(between_tangents(matrix, (layer.domain, x), (layer.codomain, y)))[1]
    close(actual, expected, "the Gram determinant", {torch.float64: 1e-9})


def test_a_derivative_that_leaves_the_space_is_caught():
    x = on_sphere(5, 3)
    matrix = torch.randn(5, 3, 3, dtype=torch.float64, generator=generator(2))
    with pytest.raises(AssertionError, match=r"of a derivative leaves the space Sphere\(\)"):
        between_tangents(matrix, (Sphere(), x), (Sphere(), x))


@pytest.mark.parametrize(
    ("domain", "features", "volume"),
    [
        (Sphere(), 3, 4 * math.pi),
        (Rotations(), 4, 1.0),
        (Simplex(), 3, 0.5),
        (Interval(-1.0, 2.0), 2, 9.0),
        (SpaceProduct((Sphere(), Circle()), (2, 1)), 3, 4 * math.pi**2),
    ],
    ids=str,
)
def test_covering_points_know_the_volume(domain, features, volume):
    sample = domain.example((50, features), generator(1))
    x, log_density = covering_points(domain, sample, generator(2))
    assert domain.contains(x).all()
    assert (-log_density).exp().mean().item() == pytest.approx(volume)


@pytest.mark.parametrize("domain", [REAL, Interval(0.0, math.inf), Interval(-math.inf, 1.0)], ids=str)
def test_covering_points_of_lines_have_their_density(domain):
    """The mean of p / q is one for any p: of another width than the sample."""
    sample = domain.example((100_000, 1), generator(1))
    x, log_density = covering_points(domain, sample, generator(2))
    away = x[:, 0] if domain == REAL else (x[:, 0] - next(end for end in domain.ends if math.isfinite(end))).abs()
    log_p = -0.5 * away.square() - 0.5 * math.log(2 * math.pi) if domain == REAL else math.log(2.0) - 2 * away
    ratio = (log_p - log_density).exp()
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(ratio) ** 0.5


# --- simplex and boxes ---------------------------------------------------------------------------------------------


def test_shares_agree_with_torch():
    """Stick-breaking with torch's transform, softmax against the last share with the log-ratios."""
    x = torch.randn(50, 3, dtype=torch.float64, generator=generator(1))
    layer, theirs = StickBreaking(4).double(), torch.distributions.StickBreakingTransform()
    y, ladj = layer.forward_and_ladj(x)
    close(y, theirs(x), "stick-breaking", SHARP)
    close(ladj, theirs.log_abs_det_jacobian(x, y), "its volume", {torch.float64: 1e-10})
    additive = CentredSoftmax(4, basis="last").double()
    close(additive.inverse(y), (y[:, :3] / y[:, 3:]).log(), "log-ratios", SHARP)


def test_the_isometric_basis_keeps_distances_of_log_ratios():
    layer = CentredSoftmax(5).double()
    x = torch.randn(2, 4, dtype=torch.float64, generator=generator(1))
    logs = layer(x).log()
    centred = logs - logs.mean(dim=-1, keepdim=True)
    close((centred[0] - centred[1]).norm(), (x[0] - x[1]).norm(), "Aitchison's distance", SHARP)


@pytest.mark.parametrize("make", [StickBreaking, CentredSoftmax], ids=lambda m: m.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_edges_of_the_simplex_are_finite(make, dtype):
    flow = Flow(StandardNormal(2), make(3)).to(dtype)
    x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.2, 0.3, 0.5], [0.5, 0.6, -0.1]], dtype=dtype)
    x.requires_grad_()
    log_prob = flow.log_prob(x)
    assert log_prob.isfinite().tolist() == [True, True, True, False]
    log_prob[:3].sum().backward()
    assert x.grad.isfinite().all()


def test_bounds_are_kept_and_ends_are_finite():
    flow = Flow(StandardNormal(4), Bounds([0.0, 1.0, None, None], [2.0, None, 3.0, None])).double()
    ends = torch.tensor([[0.0, 1.0, 3.0, 0.0], [2.0, 5.0, -5.0, 1.0]], dtype=torch.float64, requires_grad=True)
    log_prob = flow.log_prob(ends)
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert ends.grad.isfinite().all()
    for k, outside in enumerate([-0.1, 0.9, 3.1]):
        x = torch.tensor([1.0, 2.0, 2.0, 0.0], dtype=torch.float64)
        x[k] = outside
        assert flow.log_prob(x).item() == -math.inf
    far = torch.tensor([[1e3], [-1e3]], dtype=torch.float64)
    for half in ("softplus", "exp"):
        layer = Bounds([0.0], [None], half=half).double()
        assert layer.forward_and_ladj(far)[1].isfinite().all()
        assert layer(far).isfinite().all()


# --- spheres -------------------------------------------------------------------------------------------------------


def test_heights_and_angles_keep_areas_in_space():
    layer = SphereCoordinates(3).double()
    x, _ = inputs(layer, (50,))
    y, ladj = layer.forward_and_ladj(x)
    assert ladj.abs().max() == 0
    close(y[:, 2], x[:, 0], "the height", SHARP)
    close(torch.atan2(y[:, 1], y[:, 0]), x[:, 1], "the angle", {torch.float64: 1e-9})


@pytest.mark.parametrize("features", [3, 4, 6])
def test_the_area_of_a_sphere_is_the_integral_of_the_volume(features):
    """Over heights and angle, by covering them uniformly."""
    layer = SphereCoordinates(features).double()
    x, _ = inputs(layer, (40_000,))
    volume = 2 * math.pi * 2 ** (features - 2) * layer.forward_and_ladj(x)[1].exp()
    area = 2 * math.pi ** (features / 2) / math.gamma(features / 2)
    assert abs(volume.mean() - area) <= 4 * volume.std() / 200 + 1e-9


@pytest.mark.parametrize("features", [2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_poles_harm_nobody(features, dtype):
    flow = randomize(flows.sphere_flow(features, depth=2, bins=4, hidden=(8,)), seed=2, dtype=dtype)
    poles = torch.cat([torch.eye(features), -torch.eye(features)]).to(dtype).requires_grad_()
    log_prob = flow.log_prob(poles)
    assert log_prob.isfinite().all()
    gradients = torch.autograd.grad(log_prob.sum(), [poles, *flow.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_recursive_flow_learns_a_narrow_cap_at_a_pole():
    """All of it lies in one bin of the heights: without a Möbius map these steps end at -1.5 nats."""
    x = 0.05 * torch.randn(500, 3, generator=generator(0)) + torch.tensor([0.0, 0.0, 1.0])
    torch.manual_seed(0)
    flow = flows.sphere_flow(3, depth=1, bins=4, hidden=(8,))
    history = pf.fit(flow, x / x.norm(dim=-1, keepdim=True), steps=40, lr=0.05, progress=False)
    assert history.best_validation > 1.0  # the most that is possible is 3.15


@pytest.mark.parametrize(("fast", "place"), [("density", 0), ("sampling", -1)])
def test_recursive_flows_spread_caps_on_the_side_of_the_data(fast, place):
    flow = flows.sphere_flow(3, depth=2, hidden=(4,), fast=fast)
    stack = flow.bijection.inv if fast == "density" else flow.bijection
    assert isinstance(stack.parts[place], SphereMoebius)


def concentrated(features, weight, sharpness, dtype=torch.float64, odd=False):
    """One centre at the last axis, with a weight and sharpness of choice."""
    layer = SphereExponential(features, 1, strength=0.999, odd=odd)
    values = [math.log(weight / (0.999 - weight)), 4 * math.atanh(math.log(sharpness) / 4), *[0.0] * (features - 1), 1]
    with torch.no_grad():
        layer.potential.shift.copy_(torch.tensor(values) - layer.potential.start)
    return layer.to(dtype)


@pytest.mark.parametrize("features", [2, 3, 4])
@pytest.mark.parametrize(("weight", "sharpness"), [(0.3, 1.0), (0.95, 5.0), (0.6, 40.0)])
def test_one_centre_moves_points_along_meridians(features, weight, sharpness):
    """θ becomes θ - α sin θ exp(β (cos θ - 1)); across the meridians lengths change like the sine."""
    layer, x = concentrated(features, weight, sharpness), on_sphere(200, features)
    y, ladj = layer.forward_and_ladj(x)
    theta = torch.acos(x[:, -1]).requires_grad_()
    moved = theta - weight * theta.sin() * torch.exp(sharpness * (theta.cos() - 1))
    (slope,) = torch.autograd.grad(moved.sum(), theta)
    close(y[:, -1], moved.cos(), "the height", {torch.float64: 1e-6})  # log and atanh in float32
    across = (features - 2) * (moved.sin() / theta.sin()).log()
    close(ladj, (slope.log() + across).detach(), "the log-determinant", {torch.float64: 1e-4})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("odd", [False, True])
def test_steep_exponential_maps_are_inverted_everywhere(dtype, odd):
    for features, weight, sharpness in ((2, 0.95, 40.0), (3, 0.95, 40.0), (4, 0.9, 10.0), (8, 0.95, 20.0)):
        layer = concentrated(features, weight, sharpness, dtype, odd)
        y = on_sphere(500, features).to(dtype)
        x = layer.inverse(y)
        assert x.isfinite().all()
        close(layer(x), y, "T(T⁻¹(y))", {torch.float64: 1e-12, torch.float32: 1e-4})


def test_a_search_that_fails_gives_nan_for_its_row_alone(monkeypatch):
    layer, y = concentrated(3, 0.95, 40.0), on_sphere(50, 3)
    layer.potential.shift.requires_grad_()
    monkeypatch.setattr("pushforward.bijections.sphere_exponential.STEPS", 1)
    x, ladj = layer.inverse_and_ladj(y)
    failed = x.isnan().any(dim=-1)
    assert 0 < failed.sum() < 50
    assert torch.equal(ladj.isnan(), failed)
    (gradient,) = torch.autograd.grad(ladj[~failed].sum() + x[~failed].sum(), layer.potential.shift)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("odd", [False, True])
def test_derivatives_of_the_inverse_are_right(odd):
    layer = randomize(SphereExponential(3, 2, odd=odd), seed=5)
    y = on_sphere(1, 3).requires_grad_()
    weights = layer.potential.shift

    class Inverse(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, y):
            return self.layer.inverse_and_ladj(y / y.norm(dim=-1, keepdim=True))  # quotients leave the sphere

    module = Inverse()

    def call(y, shift):
        return torch.func.functional_call(module, {"layer.potential.shift": shift}, (y,))

    assert torch.autograd.gradcheck(call, (y, weights), atol=1e-6)
    assert torch.autograd.gradgradcheck(call, (y, weights), atol=1e-4, fast_mode=True)


def test_maps_of_rotations_keep_opposite_points_opposite():
    x = on_sphere(100, 4)
    for layer in (SphereExponential(4, 3, odd=True), SphereLinear(4), SphereRotation(4)):
        layer = randomize(layer, seed=3)
        close(layer(-x), -layer(x), type(layer).__name__, SHARP)
    even = randomize(SphereExponential(4, 3), seed=3)
    assert (even(-x) + even(x)).abs().max() > 0.01


def test_a_stretched_uniform_is_the_angular_central_gaussian():
    """Its density is |Λ|^(-1/2) (xᵀ Λ⁻¹ x)^(-D/2) over the area of the sphere."""
    layer = randomize(SphereLinear(4), seed=1)
    flow = Flow(SphericalUniform(4).double(), layer)
    x = on_sphere(50, 4)
    matrix = layer._factor(None).detach()
    shape = matrix @ matrix.t()
    form = (x * torch.linalg.solve(shape, x.t()).t()).sum(-1)
    expected = -0.5 * torch.logdet(shape) - 2 * form.log() - math.log(2 * math.pi**2)
    close(flow.log_prob(x), expected, "the density", SHARP)


def test_a_moebius_map_of_the_circle_has_the_poisson_kernel_as_density():
    layer = randomize(SphereMoebius(2), seed=2)
    flow = Flow(SphericalUniform(2).double(), layer)
    y, centre = on_sphere(50, 2), -layer._centre(None).detach()
    expected = ((1 - centre.square().sum()) / (y - centre).square().sum(-1)).log() - math.log(2 * math.pi)
    close(flow.log_prob(y), expected, "the density", SHARP)


# --- rotations and products ----------------------------------------------------------------------------------------


def test_rotations_have_one_density_by_the_haar_measure():
    flow = randomize(flows.rotation_flow(depth=1, components=2), seed=1, size=GENTLE)
    x = on_sphere(200, 4)
    close(flow.log_prob(x), flow.log_prob(-x), "q(u) against q(-u)", SHARP)
    close(flow.log_prob(x), flow.quaternions.log_prob(x) + math.log(2 * math.pi**2), "an odd map mixes nothing", SHARP)
    assert (flow.sample((50,), generator=generator(1))[:, 0] >= 0).all()
    assert flow.log_prob(1.01 * x[:1]).item() == -math.inf
    uniform = RotationDistribution(SphericalUniform(4)).double()
    assert uniform.log_prob(x).abs().max() < 1e-12


def test_rotating_all_rotations_keeps_the_measure():
    """The density of R S is that of R: the Haar measure has no preferred frame."""
    flow = randomize(flows.rotation_flow(kind="moebius", depth=1, hidden=(4,)), seed=1, size=GENTLE)
    integrates_to_one_by_sampling(flow)
    turned = RotationDistribution(
        Flow(flow.quaternions.base, Chain([flow.quaternions.bijection, SphereRotation(4).double()]))
    )
    integrates_to_one_by_sampling(turned)


def test_quaternions_turn_vectors():
    u = on_sphere(20, 4)
    matrix = rotation_matrix(u)
    close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3), "orthogonal", SHARP)
    close(torch.linalg.det(matrix), torch.ones(20, dtype=torch.float64), "no reflection", SHARP)
    close(rotation_matrix(-u), matrix, "of the negative", SHARP)


def test_parts_of_a_product_see_those_before_them():
    parts = [flows.sphere_flow(3, depth=1, hidden=(8,), bins=3), flows.torus_flow(1, 3, depth=1, hidden=(8,))]
    model = ProductDistribution([*parts, DiagonalNormal(2, context=5, hidden=(8,))])
    model = randomize(model, seed=3, size=GENTLE)
    integrates_to_one_by_sampling(model)
    x = model.sample((4,), generator=generator(1)).requires_grad_()
    (gradient,) = torch.autograd.grad(model.parts[2].log_prob(x[:, 4:], torch.randn(4, 5).double()).sum(), x)
    assert (gradient[:, :4] == 0).all()
    (gradient,) = torch.autograd.grad(model.log_prob(x).sum(), x)
    assert (gradient != 0).all()
    turned = x.detach().clone()
    turned[:, 3] = -math.pi
    near = turned.clone()
    near[:, 3] = math.nextafter(math.pi, 0)
    close(model.log_prob(turned), model.log_prob(near), "on both sides of the cut", {torch.float64: 1e-6})
    assert model.log_prob(x.detach() * torch.tensor([1.1, 1, 1, 1, 1, 1])).isinf().all()


# --- named flows ---------------------------------------------------------------------------------------------------

SMALL = {"hidden": (8,), "depth": 2}
NAMED = {
    "sphere": lambda: flows.sphere_flow(3, 1, bins=4, **SMALL),
    "sphere4-sampling": lambda: flows.sphere_flow(4, bins=4, fast="sampling", **SMALL),
    "exponential": lambda: flows.sphere_flow(3, kind="exponential", components=3, depth=1),
    "moebius": lambda: flows.sphere_flow(4, 1, kind="moebius", **SMALL),
    "rotation": lambda: flows.rotation_flow(1, kind="recursive", bins=4, depth=1, hidden=(8,)),
    "torus": lambda: flows.torus_flow(2, 1, bins=4, **SMALL),
    "torus-moebius": lambda: flows.torus_flow(1, map="moebius", fast="density", bins=3, **SMALL),
    "torus-sampling": lambda: flows.torus_flow(2, fast="sampling", bins=3, **SMALL),
    "cylinder": lambda: flows.cylinder_flow(2, [1], 1, period=24.0, low=0.0, bins=4, **SMALL),
    "cylinder-sampling": lambda: flows.cylinder_flow(3, [0, 2], fast="sampling", mix="permute", bins=3, **SMALL),
    "simplex": lambda: flows.simplex_flow(3, bins=4, **SMALL),
    "simplex4": lambda: flows.simplex_flow(4, 1, map="stick", bins=4, depth=1, hidden=(8,)),
    "box": lambda: flows.box_flow([0.0, None], [1.0, None], 1, bins=4, **SMALL),
    "half": lambda: flows.box_flow([0.0], [None], half="exp", bins=4, **SMALL),
}


MORE = ("cylinder-sampling", "sphere4-sampling", "torus-sampling", "torus-moebius", "half", "simplex", "rotation")


@pytest.mark.parametrize("name", [pytest.param(name, marks=exhaustive) if name in MORE else name for name in NAMED])
def test_named_flows_keep_the_properties(name, subtests):
    """Their integral over their own space is among them."""
    flow = randomize(NAMED[name](), seed=4, size=GENTLE)
    context = context_for(flow, (), generator(21))
    checks = distribution_properties(flow, context)
    assert {"integrates_to_one", "integrates_to_one_by_sampling"} & set(checks)
    for prop, error in failures(checks).items():
        with subtests.test(prop):
            raise error


@pytest.mark.parametrize("name", ["cylinder", "sphere", "moebius", "rotation", "simplex4", "box"])
def test_files_give_back_the_flow(name, tmp_path):
    flow = randomize(NAMED[name](), seed=4, dtype=torch.float32, size=GENTLE)
    context = context_for(flow, (5,), generator(1), torch.float32)
    x = flow.sample((), context, generator=generator(2)) if context is not None else flow.sample((5,))
    pf.save(flow, tmp_path / "flow.safetensors")
    assert torch.equal(pf.load(tmp_path / "flow.safetensors").log_prob(x, context), flow.log_prob(x, context))


def test_a_cylinder_closes_and_its_features_depend_on_each_other():
    flow = randomize(flows.cylinder_flow(3, [1], period=24.0, low=0.0, depth=2, bins=4, hidden=(8,)), seed=3)
    x = torch.tensor([[0.3, 0.0, -0.5], [0.3, math.nextafter(24.0, 0), -0.5]], dtype=torch.float64)
    close(flow.log_prob(x[0]), flow.log_prob(x[1]), "on both sides of the cut", {torch.float64: 1e-6})
    assert flow.log_prob(torch.tensor([0.3, 24.5, 0.0]).double()) == -math.inf
    matrix = torch.autograd.functional.jacobian(flow.to_latent, torch.tensor([0.3, 5.0, -0.5]).double())
    assert (matrix != 0).all()


@pytest.mark.parametrize("kind", ["recursive", "moebius"])
def test_a_flow_learns_points_of_the_sphere(kind):
    """Around one pole: the likelihood comes close to that of the distribution itself."""
    target = pf.distributions.VonMisesFisher([0.0, 0.6, 0.8], 8.0)
    x = target.sample((1000,), generator=generator(1))
    torch.manual_seed(0)
    flow = flows.sphere_flow(3, kind=kind, bins=6, depth=2, hidden=(16,))
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.08)
    for _ in range(25):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < -target.log_prob(x).mean().item() + 0.2

"""Bugs on spheres, simplices and boxes, in rotations and in bases."""

import torch
from cases import GENTLE, bijection_of, inputs, random_part, randomize

from pushforward import flows
from pushforward.bijections import SphereExponential
from pushforward.core.domain import Simplex, Sphere
from pushforward.distributions import RotationDistribution
from pushforward.testing import bijections, distributions, quadrature

from .parts import of_case, part
from .registry import bug

COORDINATES = {"type": "SphereCoordinates", "features": 4}
MOEBIUS = {"type": "SphereMoebius", "features": 4}
LINEAR = {"type": "SphereLinear", "features": 4}
STICK = {"type": "StickBreaking", "features": 4}
SOFTMAX = {"type": "CentredSoftmax", "features": 4}
BOUNDS = {"type": "Bounds", "low": [0.0, 1.0, None], "high": [2.0, None, 3.0]}


def exponential():
    layer = bijection_of({"type": "SphereExponential", "features": 3, "components": 2})
    return (layer, *inputs(layer, (12,)))


def sphere_flow():
    return randomize(flows.sphere_flow(4, depth=1, hidden=(8,), bins=3), seed=2, size=GENTLE), None


def rotations():
    return random_part({"type": "RotationDistribution", **RotationDistribution.examples[1]}, size=GENTLE), None


def base(name, **options):
    def make():
        return random_part({"type": name, "features": 1, **options}, size=GENTLE), None

    return make


def resampled():
    config = {"type": "Resampled", "base": {"type": "StandardNormal", "features": 1}, "hidden": [8], "attempts": 3}
    return randomize(random_part(config), seed=1, size=3.0), None


def on_pairs(patch, part, name, change):
    """Change the log-determinants of one direction."""
    hook = getattr(part, name)
    patch.setattr(part, name, lambda x, context: (hook(x, context)[0], change(x, *hook(x, context))))


@bug(of_case(bijections.ladj_is_slogdet), part(COORDINATES))
def wrong_measure_on_the_sphere(patch, layer):
    """The factor of the area is left out: right on the sphere in space alone."""
    on_pairs(patch, layer, "_forward_and_ladj", lambda x, y, ladj: torch.zeros_like(ladj))
    on_pairs(patch, layer, "_inverse_and_ladj", lambda x, y, ladj: torch.zeros_like(ladj))


@bug(quadrature.integrates_to_one_by_sampling, sphere_flow)
def wrong_measure_in_a_flow_on_the_sphere(patch, model):
    layer = model.bijection.bijection.parts[2]  # back from heights and an angle
    patch.setattr(type(layer), "_forward_and_ladj", of_another_power(type(layer)._forward_and_ladj))


def of_another_power(hook):
    def wrong(self, x, context):
        y, ladj = hook(self, x, context)
        return y, ladj + 0.5 * (1 - x[..., 0].square()).clamp(min=1e-9).log()

    return wrong


@bug(of_case(bijections.ladj_is_slogdet), part(MOEBIUS))
def moebius_ladj_of_one_dimension_more(patch, layer):
    for name in ("_forward_and_ladj", "_inverse_and_ladj"):
        on_pairs(patch, layer, name, lambda x, y, ladj: ladj * x.shape[-1] / (x.shape[-1] - 1))


@bug(of_case(bijections.ladj_is_slogdet), part(LINEAR))
def volume_of_the_space_around_the_sphere(patch, layer):
    for name in ("_forward_and_ladj", "_inverse_and_ladj"):
        on_pairs(patch, layer, name, lambda x, y, ladj: ladj * (x.shape[-1] - 1) / x.shape[-1])


@bug(of_case(bijections.shapes_and_dtypes), part(MOEBIUS))
def points_off_the_sphere(patch, layer):
    forward = layer._forward_and_ladj
    patch.setattr(layer, "_forward_and_ladj", lambda x, c: (1.001 * forward(x, c)[0], forward(x, c)[1]))


@bug(of_case(bijections.ladj_is_slogdet), exponential)
def curvature_left_out_of_an_exponential_map(patch, layer):
    """The sine of the way over the way, as on a plane, is one."""
    derivative = SphereExponential._derivative

    def flat(self, x, potential):
        y, _ = derivative(self, x, potential)
        _, _, bends = self._slopes(x, potential)
        hessian = potential.centres.mT @ (bends[..., :, None] * potential.centres)
        along = torch.eye(x.shape[-1], dtype=x.dtype) - x[..., :, None] * x[..., None, :]
        return y, torch.eye(x.shape[-1], dtype=x.dtype) + along @ hessian @ along

    patch.setattr(SphereExponential, "_derivative", flat)
    return exponential()[0]


@bug(of_case(bijections.round_trip), exponential)
def one_step_of_a_search(patch, layer):
    patch.setattr("pushforward.bijections.sphere_exponential.STEPS", 1)


@bug(of_case(bijections.ladj_is_slogdet), part(SOFTMAX))
def volume_of_the_basis_of_shares_left_out(patch, layer):
    layer.log_volume = 0.0


@bug(of_case(bijections.ladj_is_slogdet), part(STICK))
def last_share_counted_in_the_volume(patch, layer):
    for name in ("_forward_and_ladj", "_inverse_and_ladj"):
        sign = 1 if name == "_forward_and_ladj" else -1
        on_pairs(patch, layer, name, lambda x, y, ladj, s=sign: ladj + s * (y if s > 0 else x)[..., -1].log())


@bug(of_case(bijections.ladj_is_slogdet), part(BOUNDS))
def length_of_the_interval_left_out(patch, layer):
    on_pairs(patch, layer, "_forward_and_slopes", lambda x, y, slopes: slopes - layer.length.log())


@bug(of_case(bijections.ladj_is_slogdet), part(COORDINATES))
def gram_matrix_of_another_basis(patch, layer):
    """Bases of tangent spaces that are not orthonormal."""
    tangents = Sphere.tangents
    patch.setattr(Sphere, "tangents", lambda self, x: 1.1 * tangents(self, x))


@bug(quadrature.integrates_to_one_by_sampling, rotations)
def quaternions_counted_twice(patch, model):
    """Both of a rotation, each with the whole area."""
    log_prob = model._log_prob
    patch.setattr(model, "_log_prob", lambda x, c: log_prob(x, c) + 0.6931)


@bug(distributions.sample_shapes, base("Dirichlet", features=3))
def shares_that_do_not_sum_to_one(patch, model):
    rsample = model._rsample
    patch.setattr(model, "_rsample", lambda b, c, g: 0.99 * rsample(b, c, g))


@bug(quadrature.integrates_to_one, base("Dirichlet", features=3))
def dirichlet_over_the_area_of_the_triangle(patch, model):
    """The triangle of three shares in space has √3 times the area of its shadow."""
    assert isinstance(model.support, Simplex)
    log_prob = model._log_prob
    patch.setattr(model, "_log_prob", lambda x, c: log_prob(x, c) - 0.5 * 1.0986)


@bug(quadrature.samples_follow_the_density, base("VonMises", concentration=2.0))
def angles_of_another_concentration(patch, model):
    draw = model._draw
    patch.setattr(model, "_draw", lambda values, g: draw((values[0], values[1] + 0.5), g))


@bug(quadrature.integrates_to_one, base("Gamma", shape=2.0))
def density_of_the_logarithm(patch, model):
    log_probs = model._log_probs
    patch.setattr(model, "_log_probs", lambda x, c: log_probs(x, c) + x.log())


def of_classes():
    return *base("DiagonalNormal", classes=2)()[:1], torch.tensor([0.0, 1.0], dtype=torch.float64)


@bug(distributions.rsample_gradients, of_classes)
def classes_with_one_set_of_parameters(patch, model):
    patch.setattr(model, "_values", lambda c: type(model)._values(model, torch.zeros_like(c)))


@bug(quadrature.integrates_to_one, resampled)
def normaliser_left_out(patch, model):
    share = model._accepted_share
    patch.setattr(model, "_accepted_share", lambda shift: 0.8 * share(shift))


@bug(quadrature.samples_follow_the_density, resampled)
def rejected_points_returned(patch, model):
    patch.setattr(model, "_rsample", lambda b, c, g: model.base._rsample(b, None, g))

"""Bugs in parts of other libraries, in ensembles, and in densities on surfaces."""

import math

import torch
from cases import bijection_of, generator, inputs, random_part, randomize

from pushforward.bijections import LinearLift
from pushforward.bijections.torch_transform import TorchTransform
from pushforward.core import surface
from pushforward.core.domain import REAL
from pushforward.distributions import Ensemble, Flow, StandardNormal, ensembles, flow
from pushforward.flows import nsf
from pushforward.testing import Case, bijections, quadrature

from .registry import bug


def stick():
    bijection = bijection_of({"type": "TorchTransform", "name": "ExpTransform", "parameters": {}, "features": 3})
    return (bijection, *inputs(bijection, (48,)))


@bug(lambda *parts: bijections.ladj_is_slogdet(Case(*parts)), stick)
def log_determinant_of_one_entry_of_a_transform(patch, bijection):
    patch.setattr(TorchTransform, "_ladj", lambda self, transform, x, y: transform.log_abs_det_jacobian(x, y)[..., 0])


@bug(
    lambda model: quadrature.integrates_to_one(model),
    lambda: (random_part({"type": "Ensemble", "members": [{"type": "Normal", "loc": [0.0]}] * 3}),),
)
def densities_of_members_added_up(patch, model):
    whole = Ensemble._log_prob
    patch.setattr(Ensemble, "_log_prob", lambda self, x, context: whole(self, x, context) + math.log(3))


def is_the_mixture_of_members(model):
    x = model.sample(5, generator=generator(1))
    separate = torch.stack([member.log_prob(x) for member in model.members])
    assert (model.member_log_probs(x) - separate).abs().max() < 1e-9, "members are not what they are alone"


@bug(
    is_the_mixture_of_members,
    lambda: (
        Ensemble([randomize(nsf(2, depth=1, hidden=(8,), bins=4, bound=bound), size=0.5) for bound in (1.0, 6.0)]),
    ),
)
def constants_of_the_first_member(patch, model):
    patch.setattr(ensembles, "_differ_by_weights_alone", lambda members: True)


def is_zero_off_the_surface(model):
    x = model.sample(5, generator=generator(1))
    assert model.log_prob(x).isfinite().all()
    assert (model.log_prob(x + torch.tensor([0.0, 0.0, 1e-3], dtype=x.dtype)) == -torch.inf).all()


@bug(is_zero_off_the_surface, lambda: (Flow(StandardNormal(1), LinearLift(3, 1)).double(),))
def density_on_a_surface_everywhere(patch, model):
    patch.setattr(flow, "on_surface", lambda x, nearest, event_ndim: torch.ones_like(x[..., 0], dtype=torch.bool))


@bug(
    lambda model: is_of_the_surface(model),
    lambda: (Flow(StandardNormal(1), LinearLift(3, 1)).double(),),
)
def support_of_a_surface_is_its_space(patch, model):
    model.support = REAL


def is_of_the_surface(model):
    assert model.support == surface.Surface(REAL, 1), f"the support is {model.support}"

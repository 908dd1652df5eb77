"""Bugs in mixtures of any distributions, and in maps that approach a limit."""

import torch
from cases import GENTLE, random_part

from pushforward.distributions import Mixture
from pushforward.testing import quadrature, univariates
from pushforward.univariate import ELU, Softclip

from .parts import univariate
from .registry import bug


def boxes():
    return random_part({"type": "Mixture", **Mixture.examples[0]}, size=GENTLE), None


@bug(quadrature.integrates_to_one, boxes)
def weights_of_a_mixture_that_do_not_sum_to_one(patch, mixture):
    hook = mixture._log_prob
    excess = torch.logsumexp(mixture.logits.detach(), dim=0)
    patch.setattr(mixture, "_log_prob", lambda x, context: hook(x, context) + excess)


@bug(quadrature.samples_follow_the_density, boxes)
def parts_of_a_mixture_drawn_in_another_order(patch, mixture):
    each = mixture._each
    hook = mixture._rsample

    def reversed_parts(*arguments):
        with torch.no_grad():
            mixture._each = lambda: each()[::-1]
            x = hook(*arguments)
        mixture._each = each
        return x

    patch.setattr(mixture, "_rsample", reversed_parts)


@bug(univariates.slope_is_derivative, univariate(Softclip))
def slope_of_a_clip_without_its_square(patch, scalar):
    forward = scalar.forward
    patch.setattr(scalar, "forward", lambda x, params: (forward(x, params)[0], 0.5 * forward(x, params)[1]))


@bug(univariates.slope_is_derivative, univariate(ELU))
def exponential_unit_with_the_slope_of_a_rectifier(patch, scalar):
    forward = scalar.forward
    patch.setattr(scalar, "forward", lambda x, params: (forward(x, params)[0], torch.zeros_like(x)))

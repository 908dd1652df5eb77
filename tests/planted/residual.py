"""Bugs in residual maps."""

import torch
from cases import bijection_of, inputs, label

from pushforward.bijections import residual
from pushforward.networks import lipschitz
from pushforward.networks.spectral import SpectralLinear
from pushforward.testing import Case, bijections

from .parts import of_case
from .registry import bug

EXACT = {"type": "Residual", "features": 3, "hidden": [8, 8], "coefficient": 0.9}
UNBIASED = {**EXACT, "log_det": "unbiased", "terms": 1}


def steep(config):
    """A map with weights large enough for its network to come near to its Lipschitz constant."""

    def make():
        layer = bijection_of(config, size=3.0)
        return (layer, *inputs(layer, (48,)))

    make.__name__ = label(config)
    return make


def contracts(layer, x, context):
    """The Jacobian of the network is nowhere larger than the bound that it states, nor that than the coefficient."""
    eye = torch.eye(x.shape[-1], dtype=x.dtype)
    norms = torch.linalg.matrix_norm(Case(layer, x, context).jacobian - eye, 2)
    assert norms.max() <= layer.lipschitz_bound(), "a Jacobian is larger than the stated bound"
    assert layer.lipschitz_bound() <= layer.coefficient, "the stated bound is larger than the coefficient"
    assert layer.coefficient < 1


@bug(contracts, steep(EXACT))
def norms_of_single_entries_taken_for_the_norm(patch, layer):
    patch.setattr(SpectralLinear, "bound", lambda self: self.weight.abs().max())
    patch.setattr(lipschitz.LipschitzNetwork, "bound", lambda self: torch.tensor(self.layers[0].limit))


@bug(of_case(bijections.ladj_is_slogdet), steep(EXACT))
def log_det_of_the_identity_minus_the_jacobian(patch, layer):
    whole = residual.identity_plus_jacobian
    eye = torch.eye(3, dtype=torch.float64)
    patch.setattr(residual, "identity_plus_jacobian", lambda network, point: 2 * eye - whole(network, point))


@bug(of_case(bijections.ladj_is_slogdet), steep(EXACT))
def slope_of_lipswish_misses_a_term(patch, layer):
    swish = lipschitz.LIPSCHITZ_ACTIVATIONS["lipswish"]

    def wrong(h, sharpness):
        return swish(h, sharpness)[0], torch.sigmoid(sharpness * h) / 1.1

    patch.setitem(lipschitz.LIPSCHITZ_ACTIVATIONS, "lipswish", wrong)


@bug(of_case(bijections.ladj_is_slogdet), steep(UNBIASED))
def truncated_series_called_unbiased(patch, layer):
    patch.setattr(residual, "draw_counts", lambda like, terms, decay, generator: torch.ones(len(like)).long())


@bug(of_case(bijections.ladj_is_slogdet), steep(UNBIASED))
def signs_of_the_series_do_not_alternate(patch, layer):
    estimate = residual.roulette_log_det

    def wrong(network, point, *arguments, **options):
        """-log det(I - J): the derivative with the other sign, and the result too."""
        weights = (*point.weights[:-1], -point.weights[-1])
        return -estimate(network, point._replace(weights=weights), *arguments, **options)

    patch.setattr(residual, "roulette_log_det", wrong)


@bug(of_case(bijections.inverse_ladj), steep(UNBIASED))
def estimate_of_the_inverse_with_the_sign_of_the_forward(patch, layer):
    inverse = layer._inverse_and_ladj
    patch.setattr(layer, "_inverse_and_ladj", lambda *a: (inverse(*a)[0], -inverse(*a)[1]))


@bug(of_case(bijections.round_trip), steep(EXACT))
def fixed_point_iteration_stopped_early(patch, layer):
    patch.setattr(residual, "solve_contraction", lambda g, y, coefficient: y - g(y - g(y)))

"""Bugs in elementwise maps, in maps along graphs and in maps that hold others."""

import math

import torch
from cases import generator

from pushforward.testing import bijections, dependence, univariates
from pushforward.univariate import CDF, InBox, Inverted, LeakyTanh, Monotone, RationalQuadratic, SignedPower, Tanh

from .parts import of_case, part, univariate
from .registry import bug

GRAPH = {
    "type": "GraphAutoregressive",
    "univariate": {"type": "Affine"},
    "features": 4,
    "edges": [[3, 0], [3, 1], [0, 2], [1, 2]],
    "context": 1,
    "hidden": [12, 12],
    "activation": "tanh",
}
LAYER = {"type": "Autoregressive", "univariate": {"type": "Affine"}, "features": 3, "hidden": [8]}
LINEAR = {"type": "LU", "features": 2}
PIECES = {"type": "Concatenate", "parts": [LINEAR, {"type": "Standardize", "features": 2}]}
REPEATED = {"type": "Scan", "bijection": LINEAR, "depth": 3}


def boxed():
    return InBox(RationalQuadratic(4), -1.0, 4.0, image=[0.0, 1.0])


@bug(univariates.slope_is_derivative, univariate(boxed))
def a_box_of_another_size_without_its_stretch(patch, box):
    box.log_stretch = 0.0


@bug(univariates.shapes, lambda: (Tanh(), torch.tensor([40.0]).double(), torch.empty(0, 1).double()))
def log_slope_of_tanh_from_its_rounded_value(patch, tanh):
    patch.setattr(tanh, "forward", lambda x, p: (torch.tanh(x), (1 - torch.tanh(x) ** 2).log()))


@bug(univariates.slope_is_derivative, lambda: (CDF("normal"), torch.randn(8).double(), torch.empty(0, 8).double()))
def density_of_another_family(patch, cdf):
    family = CDF("logistic").family
    patch.setattr(cdf, "forward", lambda x, p: (cdf.family.cdf(x), family.log_density(x)))


@bug(univariates.round_trip, univariate(lambda: Inverted(SignedPower())))
def an_inverted_map_that_is_not_inverted(patch, inverted):
    patch.setattr(inverted, "inverse", inverted.univariate.inverse)


@bug(univariates.inverse_slope, univariate(LeakyTanh))
def tails_of_the_inverse_with_the_slope_of_the_middle(patch, leaky):
    inverse = leaky.inverse
    patch.setattr(leaky, "inverse", lambda y, p: (inverse(y, p)[0], torch.where(y.abs() > 1, 0.0, inverse(y, p)[1])))


def far_out():
    x = torch.tensor([-1e6, 1e6, 30.0], dtype=torch.float64)
    return Monotone("nonlinear_squared"), x, torch.randn(5, 3, dtype=torch.float64, generator=generator(8))


@bug(univariates.round_trip, far_out)
def a_bracket_that_does_not_grow(patch, monotone):
    patch.setattr("pushforward.univariate.monotone.EXPANSIONS", 0)


@bug(of_case(dependence.dependence), part(GRAPH))
def a_graph_read_from_child_to_parent(patch, layer):
    linear = layer.conditioner.last
    linear.mask = torch.ones_like(linear.mask)


@bug(of_case(bijections.round_trip), part(GRAPH))
def levels_of_a_graph_solved_in_one_pass(patch, layer):
    layer.groups = [[group for groups in layer.groups for group in groups]]


@bug(of_case(dependence.dependence), part({"type": "Reordered", "bijection": LAYER, "order": [2, 0, 1]}))
def results_put_back_in_the_order_of_the_inputs(patch, layer):
    patch.setattr(layer, "order_back", layer.order)


@bug(of_case(bijections.ladj_is_slogdet), part(PIECES))
def only_the_first_log_determinant_is_counted(patch, pieces):
    forward = pieces._forward_and_ladj

    def first(x, context):
        return forward(x, context)[0], pieces.parts[0]._forward_and_ladj(x[..., :2], context)[1]

    patch.setattr(pieces, "_forward_and_ladj", first)


@bug(of_case(bijections.round_trip), part(PIECES))
def pieces_joined_in_another_order(patch, pieces):
    patch.setattr(pieces, "_join", lambda parts, like, output: torch.cat(list(parts)[::-1], dim=-1))


@bug(of_case(bijections.round_trip), part(REPEATED))
def layers_of_a_scan_inverted_from_the_first(patch, scan):
    in_order = scan._in_order
    patch.setattr(scan, "_in_order", lambda backwards: in_order(False))


@bug(of_case(bijections.round_trip), part({"type": "BatchNorm", "features": 3}))
def statistics_of_the_batch_in_evaluation(patch, layer):
    patch.setattr(type(layer), "training", True, raising=False)
    del vars(layer)["training"]


@bug(of_case(bijections.ladj_is_slogdet), part({"type": "BatchNorm", "features": 3}))
def a_variance_taken_for_a_standard_deviation(patch, layer):
    forward = layer._forward_and_slopes
    patch.setattr(
        layer, "_forward_and_slopes", lambda x, c: (forward(x, c)[0], forward(x, c)[1] + 0.5 * layer.running_var.log())
    )


@bug(of_case(bijections.round_trip), part({"type": "Reflect", "signs": [[-1, 1]], "interval": [0.0, 1.0]}))
def a_reflection_about_the_wrong_point(patch, layer):
    layer.offsets = layer.offsets + math.log(2) / 10

"""Bugs in maps that change shape or dimension: grids, multiscale stacks, surjections, dequantization and lifts."""

import math

import torch
from cases import bijection_of, inputs, random_part

from pushforward.bijections import dequantize, injective, order, squeeze, surjective
from pushforward.bijections.multiscale import Multiscale
from pushforward.bijections.pointwise import Pointwise
from pushforward.distributions import Flow, StandardNormal
from pushforward.networks import GatedConvNet
from pushforward.testing import Case, bijections, dependence, quadrature

from .registry import bug


def of_case(prop):
    def check(*parts):
        return prop(Case(*parts))

    return check


SLOGDET, ROUND_TRIP = of_case(bijections.ladj_is_slogdet), of_case(bijections.round_trip)
LEFT, RIGHT = of_case(bijections.left_inverse), of_case(bijections.right_inverse)
REACH = of_case(dependence.dependence)

CELLS = {"type": "Pointwise", "bijection": {"type": "LU", "features": 2}, "spatial": [2, 2]}
SCALES = {
    "type": "Multiscale",
    "levels": [{"type": "LU", "features": 5}, {"type": "LU", "features": 2}, {"type": "LU", "features": 1}],
}
GATED = {
    "type": "Coupling",
    "univariate": {"type": "Affine"},
    "features": [2, 7],
    "hidden": [4, 4],
    "conditioner": "gated_conv",
    "activation": "tanh",
}


def part(config):
    def make():
        bijection = bijection_of(config)
        return (bijection, *inputs(bijection, (48,)))

    return make


# --- grids -----------------------------------------------------------------------------------------------------------


@bug(SLOGDET, part(CELLS))
def log_determinant_of_one_cell(patch, bijection):
    whole = Pointwise._forward_and_ladj

    def one(self, x, context):
        y, ladj = whole(self, x, context)
        return y, ladj / 4

    patch.setattr(Pointwise, "_forward_and_ladj", one)


@bug(SLOGDET, part({"type": "Haar", "features": [1, 4, 2]}))
def wavelets_not_normalised(patch, bijection):
    bijection.matrix.mul_(2)


@bug(ROUND_TRIP, part({"type": "Squeeze", "features": [2, 4, 6]}))
def blocks_put_back_in_another_order(patch, bijection):
    back = squeeze.blocks_first
    patch.setattr(squeeze, "blocks_first", lambda blocks, *sizes: back(blocks.flip(-1), *sizes))


@bug(SLOGDET, part(SCALES))
def ladj_of_the_last_level_alone(patch, bijection):
    whole = Multiscale._forward_and_ladj

    def last(self, x, context):
        return whole(self, x, context)[0], self.levels[-1].forward_and_ladj(x[..., :1])[1]

    patch.setattr(Multiscale, "_forward_and_ladj", last)


@bug(ROUND_TRIP, part(SCALES))
def finished_parts_joined_finest_first(patch, bijection):
    joined = Multiscale._joined
    patch.setattr(Multiscale, "_joined", lambda self, parts, x: joined(self, parts[::-1], x))


@bug(REACH, part(GATED))
def gated_blocks_left_out(patch, bijection):
    def trunk(net, grid):
        return net._apply_layer(0, grid).tanh()

    patch.setattr(GatedConvNet, "_trunk", trunk)


# --- surjections -----------------------------------------------------------------------------------------------------

SIGNS = {"type": "Abs", "features": 1}


@bug(RIGHT, part({"type": "Slice", "features": 3, "kept": 2}))
def dropped_entries_not_counted(patch, bijection):
    def drop(self, x, generator):
        return x[..., :2], x.new_zeros(x.shape[:-1])

    patch.setattr(surjective._Cut, "_drop", drop)


@bug(LEFT, part({"type": "Augment", "features": 2, "extra": 1}))
def density_of_the_noise_with_the_wrong_sign(patch, bijection):
    append = surjective._Cut._append

    def flipped(self, first, generator):
        whole, ladj = append(self, first, generator)
        return whole, -ladj

    patch.setattr(surjective._Cut, "_append", flipped)


@bug(RIGHT, part({"type": "Abs", "features": [2, 2], "learn_signs": True}))
def signs_drawn_with_the_probability_of_the_other(patch, bijection):
    log_q = surjective.Abs._log_q
    inverse = surjective.Abs._inverse_and_ladj

    def flipped(self, y, context, generator=None):
        x, _ = inverse(self, y, context, generator)
        return -x, -log_q(self, x >= 0, y)

    patch.setattr(surjective.Abs, "_inverse_and_ladj", flipped)


def folded():
    half_normal = Flow(StandardNormal(1), bijection_of(SIGNS))  # its bound is tight
    return Flow(half_normal, bijection_of(SIGNS).inv).double(), None


@bug(quadrature.integrates_to_one, folded)
def half_of_the_signs_forgotten(patch, flow):
    forget = type(flow.bijection.bijection)
    first = flow.base.bijection
    log_q = forget._log_q
    patch.setattr(forget, "_log_q", lambda self, *x: log_q(self, *x) * (1.0 if self is first else 0.0))


@bug(RIGHT, part({"type": "MaxPool", "features": [1, 6], "kernel": 3}))
def place_of_the_largest_not_counted(patch, bijection):
    inverse = order.MaxPool._inverse_and_ladj

    def without(self, y, context, generator=None):
        x, ladj = inverse(self, y, context, generator)
        return x, ladj - math.log(3)

    patch.setattr(order.MaxPool, "_inverse_and_ladj", without)


@bug(LEFT, part({"type": "VariationalDequantize", "features": 2, "levels": 4, "hidden": [8]}))
def learned_noise_taken_for_uniform(patch, bijection):
    inverse = dequantize.VariationalDequantize._inverse_and_ladj

    def uniform(self, y, context, generator=None):
        x, _ = inverse(self, y, context, generator)
        return x, y.new_full(y.shape[:-1], self.log_cells)

    patch.setattr(dequantize.VariationalDequantize, "_inverse_and_ladj", uniform)


@bug(LEFT, part({"type": "Dequantize", "features": 2, "levels": 4}))
def rounded_to_the_nearest(patch, bijection):
    patch.setattr(torch.Tensor, "floor", torch.Tensor.round)


# --- lifts -----------------------------------------------------------------------------------------------------------

PLANE = {"type": "LinearLift", "features": 3, "latent": 2}
CURVED = {
    "type": "CurvedLift",
    "bijection": {"type": "Chain", "parts": [{"type": "LU", "features": 3}, {"type": "LU", "features": 3}]},
    "latent": 2,
}


@bug(SLOGDET, part(PLANE))
def gram_determinant_without_the_square_root(patch, bijection):
    whole = injective.LinearLift._forward_and_ladj

    def twice(self, x, context):
        y, ladj = whole(self, x, context)
        return y, 2 * ladj

    patch.setattr(injective.LinearLift, "_forward_and_ladj", twice)


@bug(SLOGDET, part(CURVED))
def determinant_of_all_dimensions_for_the_volume(patch, bijection):
    def all_of_them(self, z, context):
        return self.bijection._forward_and_ladj(self._pad(z), context)[1]

    patch.setattr(injective.CurvedLift, "_log_volume", all_of_them)


MODEL = {
    "type": "ManifoldFlow",
    "latent": {"type": "StandardNormal", "features": 1},
    "lift": {"type": "LinearLift", "features": 2, "latent": 1},
    "scale": 0.5,
}


@bug(quadrature.integrates_to_one, lambda: (random_part(MODEL, size=0.4), None))
def noise_along_the_plane_too(patch, model):
    patch.setattr(type(model.lift), "_off_surface", lambda self: 2)

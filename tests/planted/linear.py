"""Bugs in linear maps, and in maps that bend space along a few directions."""

import torch
from cases import generator

from pushforward.bijections import (
    QR,
    ActNorm,
    Convolution1x1,
    Diagonal,
    Householder,
    Linear,
    Orthogonal,
    Planar,
    Radial,
    Sylvester,
    Whitening,
    bend,
    orthogonal,
    planar,
    sylvester,
)
from pushforward.distributions import Flow, StandardNormal
from pushforward.testing import bijections, dependence, modules, rows

from .parts import of_case, of_module, part
from .registry import bug

PLANAR = {"type": "Planar", "features": 3}
RADIAL = {"type": "Radial", "features": 3}
SYLVESTER = {"type": "Sylvester", "features": 3}
PICTURE = {"type": "Convolution1x1", "linear": {"type": "LU", "features": 2}, "size": [2, 2]}
CONTEXT = {"context": 1, "hidden": [8]}


def unmeasured(kind):
    """A flow that standardises by this part, and data."""

    def make():
        x = 2 + torch.randn(40, 2, dtype=torch.float64, generator=generator(3))
        return Flow(StandardNormal(2), kind(2).inv).to(torch.float64), x, None

    make.__name__ = kind.__name__
    return make


# --- linear --------------------------------------------------------------------------------------------------------


@bug(of_case(bijections.ladj_is_slogdet), part(PICTURE))
def convolution_that_counts_one_position(patch, layer):
    at_points = layer.linear.at_points

    def one(x, context, *, inverse=False):
        y, ladj = at_points(x, context, inverse=inverse)
        return y, ladj / x.shape[-2]

    patch.setattr(layer.linear, "at_points", one)


@bug(of_case(dependence.dependence), part({**PICTURE, "size": 4}))
def convolution_over_positions(patch, layer):
    at_positions = Convolution1x1._at_positions

    def mixed(self, x, context, *, inverse):
        return at_positions(self, x.roll(1, -1), context, inverse=inverse)

    patch.setattr(Convolution1x1, "_at_positions", mixed)


@bug(of_case(bijections.round_trip), part({"type": "PLU", "features": 3, "permutation": [1, 2, 0]}))
def permutation_of_plu_not_undone(patch, layer):
    layer.order_back = layer.order


@bug(of_case(bijections.round_trip), part({"type": "Householder", "features": 4}))
def reflections_undone_in_the_same_order(patch, layer):
    patch.setattr(Householder, "_solve", Householder._multiply)


@bug(of_case(bijections.ladj_is_slogdet), part({"type": "Householder", "features": 4}))
def reflections_along_vectors_of_any_length(patch, layer):
    reflections = orthogonal.reflections
    patch.setattr(orthogonal, "reflections", lambda v: (1.1 * reflections(v)[0], reflections(v)[1]))


@bug(of_case(bijections.ladj_is_slogdet), part({"type": "Orthogonal", "features": 3, "method": "cayley"}))
def cayley_of_a_matrix_that_is_not_skew(patch, layer):
    skew = orthogonal.skew
    patch.setattr(orthogonal, "skew", lambda below, places: skew(below, places).tril())


@bug(of_case(dependence.dependence), part({"type": "Orthogonal", "features": 3, **CONTEXT}))
def rotation_computed_once_for_all_contexts(patch, layer):
    patch.setattr(
        Orthogonal, "_with_changes", lambda self, context, *parameters: [p.expand(48, -1) for p in parameters]
    )


@bug(of_case(bijections.ladj_is_slogdet), part({"type": "QR", "features": 3}))
def log_det_of_qr_without_the_last_feature(patch, layer):
    patch.setattr(QR, "_log_det", lambda self, *weights: weights[3][..., :-1].sum(dim=-1))


@bug(of_case(bijections.round_trip), part({"type": "Diagonal", "features": 3, "signs": [1, -1, -1]}))
def sign_lost_on_the_way_back(patch, layer):
    forward = Diagonal._forward_and_slopes

    def unsigned(self, x, context):
        return forward(self, x * self.signs, context)

    patch.setattr(Diagonal, "_forward_and_slopes", unsigned)


@bug(of_case(bijections.ladj_is_slogdet), part({"type": "Linear", "matrix": [[2.0, 1.0], [0.5, -1.0]]}))
def determinant_with_its_sign(patch, layer):
    patch.setattr(Linear, "_log_det", lambda self, *weights: torch.linalg.slogdet(weights[0])[0] * weights[3])


@bug(of_module(modules.statistics_stay_wide), part({"type": "Whitening", "features": 2}))
def whitening_narrowed_with_the_model(patch, layer):
    patch.delattr(Whitening, "_apply")


@bug(rows.measured_once, unmeasured(ActNorm))
def actnorm_measured_at_every_call(patch, model):
    measure = ActNorm._initialize

    def again(self, x, context, *, inverse):
        self.initialized.fill_(False)
        measure(self, x, context, inverse=inverse)

    patch.setattr(ActNorm, "_initialize", again)


@bug(rows.measured_once, unmeasured(Whitening))
def whitening_without_a_flag(patch, model):
    measure = Whitening._initialize

    def again(self, x, context, *, inverse):
        measure(self, x, context, inverse=inverse)
        self.initialized.fill_(False)

    patch.setattr(Whitening, "_initialize", again)


# --- planar, radial, Sylvester -------------------------------------------------------------------------------------


@bug(of_case(bijections.ladj_is_slogdet), part(PLANAR))
def planar_without_the_correction_of_u(patch, layer):
    """The map moves by u, its slope is that of û."""
    numbers = Planar._numbers
    patch.setattr(
        Planar, "_numbers", lambda self, c: tuple(self.push if k == 1 else n for k, n in enumerate(numbers(self, c)))
    )


@bug(of_case(bijections.round_trip), part(PLANAR))
def planar_inverse_with_too_narrow_a_bracket(patch, layer):
    def narrow(y, shape):
        solve = bend.solve_between
        bracket = lambda y, shape: (y, y)  # noqa: E731
        return bend.invert_increasing(bend.bend, lambda y, s: solve(bend.bend, bracket, y, s), y, shape)

    patch.setattr(planar, "unbend", narrow)


@bug(of_case(bijections.ladj_is_slogdet), part(RADIAL))
def radial_ladj_across_the_radius_one_power_too_many(patch, layer):
    of_scale = Radial._scale_and_ladj

    def more(self, r, width, g):
        scale, ladj = of_scale(self, r, width, g)
        return scale, ladj + scale.log()

    patch.setattr(Radial, "_scale_and_ladj", more)


@bug(of_case(bijections.round_trip), part(SYLVESTER))
def sylvester_inverse_that_forgets_known_entries(patch, layer):
    """Off the diagonal R counts as zero on the way back."""
    numbers, inverse = Sylvester._numbers, Sylvester._inverse_and_ladj

    def diagonal(self, context):
        q, outer, *rest = numbers(self, context)
        return q, torch.diag_embed(outer.diagonal(dim1=-2, dim2=-1)), *rest

    def forgetful(self, y, context):
        with patch.context() as inner:
            inner.setattr(Sylvester, "_numbers", diagonal)
            return inverse(self, y, context)

    patch.setattr(Sylvester, "_inverse_and_ladj", forgetful)


@bug(of_case(bijections.ladj_is_slogdet), part(SYLVESTER))
def sylvester_with_directions_that_are_not_orthonormal(patch, layer):
    columns = sylvester.reflections_matrix
    patch.setattr(sylvester, "reflections_matrix", lambda vectors: columns(vectors) * 1.1)


@bug(of_case(bijections.ladj_is_slogdet), part({"type": "MatrixExponential", "features": 3}))
def trace_of_the_exponent_before_its_bound(patch, layer):
    patch.setattr(layer, "_log_det", lambda *weights: layer.exponent.diagonal().sum())


@bug(of_case(bijections.ladj_is_slogdet), part({"type": "DiscreteCosine", "features": 4}))
def cosines_that_are_not_orthonormal(patch, layer):
    """The common form without the smaller factor of frequency zero."""
    layer.matrix[0] *= 2**0.5

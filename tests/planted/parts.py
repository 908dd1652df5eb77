"""Bugs in bijections, univariates, networks and distributions."""

import math
from functools import cache

import torch
from cases import bijection_of, generator, inputs, label, named_flow, random_part, randomize

from pushforward.bijections import Autoregressive, Chain, Standardize
from pushforward.core.config import build
from pushforward.core.distribution import Distribution
from pushforward.distributions import Normal
from pushforward.networks import ConvNet, masked
from pushforward.testing import (
    Case,
    bijections,
    continuity,
    dependence,
    distributions,
    modules,
    quadrature,
    rows,
    univariates,
)
from pushforward.univariate import Affine, RationalQuadratic, Shift

from .registry import bug


@cache
def of_case(prop):
    """A property of a case as a function of (bijection, x, context)."""
    return lambda *parts: prop(Case(*parts))


@cache
def of_module(prop):
    """A property of a module as a function of (module, x, context)."""
    return lambda module, *_: prop(module)


# --- what the bugs are planted in ----------------------------------------------------------------------------------

SPLINE = {"type": "RationalQuadratic", "bins": 4}
LINEAR = {"type": "LU", "features": 3}
SQUASH = {"type": "RadialSquash", "features": 3}
ORDER = {"type": "Permute", "order": [2, 0, 3, 1]}
COUPLING = {"type": "Coupling", "univariate": SPLINE, "features": 4, "hidden": [8], "context": 2, "swap": True}
PICTURE = {
    "type": "Coupling",
    "univariate": {"type": "Affine"},
    "features": [2, 5, 5],
    "hidden": [4],
    "conditioner": "conv",
}
CHECKERS = {**PICTURE, "features": [2, 2, 2], "mask": "checkerboard"}
SCALES = {"type": "Standardize", "features": 2}
STEPS = {"type": "Chain", "parts": [LINEAR, {"type": "Flip", "features": 3}, {"type": "Standardize", "features": 3}]}


def part(config):
    def make():
        bijection = bijection_of(config)
        return (bijection, *inputs(bijection, (48,)))

    make.__name__ = label(config)
    return make


def triangular(context=2):
    layer = Autoregressive(Affine(), 4, context=context, hidden=(16,), activation="tanh")
    layer = randomize(layer, seed=2)
    return (layer, *inputs(layer, (48,)))


def univariate(kind, *, size=1.0):
    def make():
        scalar = kind().to(torch.float64)
        random = generator(3)
        x = torch.randn(32, dtype=torch.float64, generator=random)
        return scalar, 4 * x, size * torch.randn(scalar.num_params, 32, dtype=torch.float64, generator=random)

    return make


def far_out():
    spline, x, params = univariate(RationalQuadratic)()
    x[:2] = torch.tensor([1e200, -1e200])
    return spline, x, params


def curves():
    return tuple(t for t in univariate(RationalQuadratic, size=0.5)() if not (torch.is_tensor(t) and t.ndim == 1))


def flow(features=2, context=0, **options):
    def make():
        made = random_part({"flow": "nsf", "features": features, "context": context, **options}, size=0.4)
        return made, None if not context else torch.full((context,), 0.5, dtype=torch.float64)

    return make


def normal():
    return Normal([0.0, 1.0], [0.5, 2.0]).to(torch.float64), None


def beside_a_bad_row():
    made, _ = flow()()
    x = torch.randn(6, 2, dtype=torch.float64, generator=generator(4))
    spoiled = x.clone()
    spoiled[2, 0] = torch.nan
    return made, x, None, [(spoiled, None)]


def unmeasured():
    x = torch.randn(20, 2, dtype=torch.float64, generator=generator(5))
    return named_flow({"flow": "maf", "features": 2, "context": 0}).to(torch.float64), x, None


# --- log-determinants ----------------------------------------------------------------------------------------------


@bug(of_case(bijections.ladj_is_slogdet), part(LINEAR))
def sign_of_a_ladj_in_both_directions(patch, layer):
    forward, inverse = layer._forward_and_ladj, layer._inverse_and_ladj
    patch.setattr(layer, "_forward_and_ladj", lambda x, c: (forward(x, c)[0], -forward(x, c)[1]))
    patch.setattr(layer, "_inverse_and_ladj", lambda y, c: (inverse(y, c)[0], -inverse(y, c)[1]))


@bug(of_case(bijections.inverse_ladj), part(COUPLING))
def sign_of_the_inverse_ladj(patch, layer):
    inverse = layer._inverse_and_ladj
    patch.setattr(layer, "_inverse_and_ladj", lambda y, c: (inverse(y, c)[0], -inverse(y, c)[1]))


@bug(of_case(bijections.ladj_is_slogdet), part(SQUASH))
def radial_ladj_one_power_short(patch, layer):
    forward = layer._forward_and_ladj
    patch.setattr(layer, "_forward_and_ladj", lambda x, c: (forward(x, c)[0], 0.75 * forward(x, c)[1]))


@bug(of_case(bijections.shapes_and_dtypes), part(LINEAR))
def ladj_without_the_batch_shape(patch, layer):
    forward = layer._forward_and_ladj
    patch.setattr(layer, "_forward_and_ladj", lambda x, c: (forward(x, c)[0], forward(x, c)[1].mean()))


@bug(univariates.slope_is_derivative, univariate(Affine))
def log_slope_misses_a_factor(patch, affine):
    """The free part of the scale moves the point but is left out of the slope."""
    forward = affine.forward
    patch.setattr(affine, "forward", lambda x, p: (forward(x, p)[0], forward(x, p)[1] - p[2]))


@bug(
    of_case(bijections.ladj_is_slogdet), part({"type": "Elementwise", "univariate": {"type": "Affine"}, "features": 3})
)
def log_slope_misses_a_factor_in_a_layer(patch, layer):
    log_slope_misses_a_factor(patch, layer.univariate)


# --- inverses ------------------------------------------------------------------------------------------------------


@bug(univariates.round_trip, univariate(Shift))
def inverse_is_not_the_inverse(patch, shift):
    patch.setattr(shift, "inverse", shift.forward)


@bug(of_case(bijections.round_trip), part(ORDER))
def permutation_inverted_with_its_own_order(patch, layer):
    layer.order_back = layer.order


@bug(of_case(bijections.round_trip), part(STEPS))
def chain_inverted_in_forward_order(patch, chain):
    in_order = chain._in_order
    patch.setattr(chain, "_in_order", lambda backwards: in_order(False))


@bug(of_case(bijections.value_path_is_pair_path), part(STEPS))
def value_path_forgets_the_last_part(patch, chain):
    def short(self, x, context):
        for each in list(self.parts)[:-1]:
            x = each._forward(x, None)
        return x

    patch.setattr(Chain, "_forward", short)


@bug(univariates.value_path_is_pair_path, univariate(RationalQuadratic))
def value_path_of_a_spline_forgets_the_tails(patch, spline):
    patch.setattr(spline, "inverse_value", lambda y, p: spline.inverse(y.clamp(-5, 5), p)[0])


# --- who depends on whom -------------------------------------------------------------------------------------------


def remask(layer, allowed):
    """Redo every mask of a masked network by another rule between degrees; both passes read what it leaves."""
    network = layer.conditioner
    inputs = torch.cat([torch.zeros(network.context), torch.arange(1, network.features + 1)])
    degrees = [inputs, *(masked.hidden_degrees(len(p.bias), network.features, network.context) for p in network.layers)]
    for linear, ins in zip([*network.layers, network.last], degrees, strict=True):
        copies = network.num_params if linear is network.last else 1
        outs = torch.arange(network.features) if linear is network.last else degrees[1]
        linear.mask.copy_(allowed(ins[None, :], outs[:, None]).repeat(copies, 1))


def narrow_mask():
    """One hidden layer whose width survives as asked, so that its degrees can be worked out again."""
    layer = randomize(Autoregressive(Affine(), 4, hidden=(16,), activation="tanh"), seed=2)
    return (layer, *inputs(layer, (48,)))


@bug(of_case(dependence.dependence), narrow_mask)
def mask_off_by_one_lets_later_features_in(patch, layer):
    remask(layer, lambda ins, outs: ins <= outs + 1)


@bug(of_case(bijections.round_trip), narrow_mask)
def mask_off_by_one_breaks_the_sequential_inverse(patch, layer):
    remask(layer, lambda ins, outs: ins <= outs + 1)


@bug(of_case(dependence.dependence), narrow_mask)
def mask_off_by_one_loses_the_nearest_feature(patch, layer):
    remask(layer, lambda ins, outs: ins < outs)


@bug(of_case(dependence.dependence), triangular)
def context_ignored_for_the_first_feature(patch, layer):
    """Hidden units without degree 0: nothing that the first feature may read sees the context."""
    with_units = masked.hidden_degrees
    patch.setattr(masked, "hidden_degrees", lambda width, features, context: with_units(width, features, 0))
    return triangular()[0]


@bug(of_case(dependence.dependence), part(COUPLING))
def context_ignored_by_a_coupling(patch, layer):
    parts = layer._parts_and_params
    patch.setattr(layer, "_parts_and_params", lambda x, context: parts(x, torch.zeros_like(context)))


@bug(
    of_case(dependence.dependence),
    part({"type": "Elementwise", "univariate": SPLINE, "features": 3, "context": 1, "hidden": [8]}),
)
def features_mixed_by_an_elementwise_map(patch, layer):
    entries = layer._entries_and_params
    patch.setattr(layer, "_entries_and_params", lambda x, c: entries(x + 0.1 * x.roll(1, -1), c))


@bug(of_case(bijections.batch_shapes), part(COUPLING))
def conditioner_normalises_over_the_batch(patch, layer):
    read = layer.conditioner.forward
    patch.setattr(layer.conditioner, "forward", lambda seen: read(seen - seen.mean(dim=1, keepdim=True)))


@bug(of_case(bijections.batch_shapes), part(COUPLING))
def context_taken_from_the_first_row(patch, layer):
    parts = layer._parts_and_params

    def first_row(x, context):
        return parts(x, context[:1].expand_as(context) if context.ndim > 1 else context)

    patch.setattr(layer, "_parts_and_params", first_row)


# --- splines -------------------------------------------------------------------------------------------------------


@bug(continuity.continuous, curves)
def edge_slope_of_the_spline_is_not_one(patch, spline):
    spline.slope_offset_tensor += 0.3


@bug(continuity.continuous, curves)
def spline_knots_not_pinned(patch, spline):
    """The last knot falls short of the end of the box, as a running sum may."""
    forward = spline.forward

    def short(x, params):
        inside = x.abs() < spline.bound
        y, log_slope = forward(x, params)
        return torch.where(inside, 0.999 * y, y), log_slope

    patch.setattr(spline, "forward", short)


@bug(univariates.increasing, univariate(RationalQuadratic))
def bins_in_falling_order(patch, spline):
    forward = spline.forward
    patch.setattr(spline, "forward", lambda x, p: (-forward(x, p)[0], forward(x, p)[1]))


@bug(univariates.gradients_are_finite, far_out)
def spline_clamp_missing(patch, spline):
    """Points outside the box go through the bins unclipped and are masked afterwards."""

    def unclipped(self, x):
        outside, _ = to_box(self, x)
        return outside, x / (2 * self.bound) + 0.5

    to_box = RationalQuadratic._to_box
    patch.setattr(RationalQuadratic, "_to_box", unclipped)


# --- modules -------------------------------------------------------------------------------------------------------


@bug(of_module(modules.statistics_stay_wide), part(SCALES))
def statistics_narrowed_with_the_model(patch, layer):
    patch.delattr(Standardize, "_apply")


@bug(of_module(modules.moves_whole), part(ORDER))
def tensor_in_a_plain_attribute(patch, layer):
    layer.cache = torch.zeros(3)


@bug(of_module(modules.overrides_no_module_name), part(LINEAR))
def attribute_that_hides_a_name_of_module(patch, layer):
    layer.half = 0.5


@bug(of_case(modules.survives_config), part(COUPLING))
def config_that_forgets_an_option(patch, layer):
    del layer.config["swap"]


@bug(of_case(modules.survives_copies), part(SCALES))
def copies_that_share_memory(patch, layer):
    patch.setattr(Standardize, "__deepcopy__", lambda self, memo: self, raising=False)


@bug(of_case(modules.survives_config), part(LINEAR))
def state_outside_the_state_dict(patch, layer):
    weight = layer.bias.detach().clone()
    del layer.bias
    layer.register_buffer("bias", weight, persistent=False)


@bug(of_case(bijections.gradients_reach_every_parameter), part(COUPLING))
def parameter_cut_from_the_graph(patch, layer):
    read = layer.conditioner.forward
    patch.setattr(layer.conditioner, "forward", lambda seen: read(seen).detach())


@bug(of_case(bijections.vmap_is_batch), part(LINEAR))
def branch_on_a_number(patch, layer):
    forward = layer._forward_and_ladj
    patch.setattr(layer, "_forward_and_ladj", lambda x, c: forward(x if x.sum() > 0 else x * 1.0, c))


@bug(of_case(bijections.moves_points), part(LINEAR))
def weights_that_move_nothing(patch, layer):
    return build(LINEAR).to(torch.float64)


@bug(rows.measured_once, unmeasured)
def flag_missing_from_the_state_dict(patch, model):
    """A loaded model does not know that it has been measured."""
    init = Standardize.__init__

    def forgetful(self, *args, **kwargs):
        init(self, *args, **kwargs)
        del self.initialized
        self.register_buffer("initialized", torch.tensor(False), persistent=False)

    patch.setattr(Standardize, "__init__", forgetful)
    return unmeasured()[0]


@bug(rows.measured_once, unmeasured)
def statistics_measured_at_every_call(patch, model):
    measure = Standardize._initialize

    def again(self, x, context, *, inverse):
        self.initialized.fill_(False)
        measure(self, x, context, inverse=inverse)

    patch.setattr(Standardize, "_initialize", again)


# --- distributions -------------------------------------------------------------------------------------------------


@bug(quadrature.integrates_to_one, flow(features=1))
def flow_subtracts_the_ladj(patch, model):
    inverse = model.bijection._inverse_and_ladj
    patch.setattr(model.bijection, "_inverse_and_ladj", lambda y, c: (inverse(y, c)[0], -inverse(y, c)[1]))


@bug(distributions.log_prob_of_samples, flow())
def sampled_density_adds_the_ladj(patch, model):
    forward = model.bijection._forward_and_ladj
    patch.setattr(model.bijection, "_forward_and_ladj", lambda z, c: (forward(z, c)[0], -forward(z, c)[1]))


@bug(quadrature.integrates_to_one, normal)
def density_without_its_constant(patch, model):
    log_prob = model._log_prob
    patch.setattr(model, "_log_prob", lambda x, c: log_prob(x, c) + model.log_scale.sum() + 0.1)


@bug(quadrature.samples_follow_the_density, normal)
def samples_scaled_by_the_variance(patch, model):
    rsample = model._rsample
    patch.setattr(model, "_rsample", lambda b, c, g: model.loc + (rsample(b, c, g) - model.loc) * model.log_scale.exp())


@bug(distributions.samples_follow_the_generator, flow())
def generator_ignored(patch, model):
    rsample = model._rsample
    patch.setattr(model, "_rsample", lambda b, c, g: rsample(b, c, None))


@bug(distributions.rsample_gradients, flow())
def samples_cut_from_the_graph(patch, model):
    rsample = model._rsample
    patch.setattr(model, "_rsample", lambda b, c, g: rsample(b, c, g).detach().requires_grad_())


@bug(distributions.sample_shapes, flow(context=2))
def samples_in_another_dtype(patch, model):
    rsample = model._rsample
    patch.setattr(model, "_rsample", lambda b, c, g: rsample(b, c, g).float())


@bug(rows.bad_row_harms_nobody, beside_a_bad_row)
def bad_rows_masked_only_at_the_end(patch, model):
    """NaN goes through the layers and is masked afterwards: 0 × NaN reaches the gradients of every weight."""

    def unscreened(self, x, context=None):
        value = self._log_prob(x, context)
        return torch.where(x.isfinite().all(-1), value, torch.nan)

    patch.setattr(Distribution, "log_prob", unscreened)


# --- events of several axes ----------------------------------------------------------------------------------------


@bug(of_case(dependence.dependence), part(PICTURE))
def convolution_with_its_outputs_channels_last(patch, layer):
    parallel = ConvNet.parallel
    cells = math.prod(PICTURE["features"][1:])
    patch.setattr(
        ConvNet, "parallel", lambda net, *x: parallel(net, *x).unflatten(0, (-1, cells)).movedim(1, 0).flatten(0, 1)
    )


@bug(of_case(dependence.dependence), part(CHECKERS))
def mask_joined_in_the_wrong_order(patch, layer):
    layer.split.order = layer.split.order.flip(0)


@bug(of_case(bijections.ladj_is_slogdet), part(CHECKERS))
def moved_entries_read_by_the_conditioner(patch, layer):
    layer.split.kept_index = layer.split.moved_index


@bug(of_case(bijections.ladj_is_slogdet), part({"type": "Standardize", "features": [2, 2, 3]}))
def ladj_without_the_first_channel(patch, layer):
    patch.setattr("pushforward.core.bijection.sum_event", lambda slopes, ndim: slopes[:, 1:].flatten(1).sum(-1))


@bug(of_case(dependence.dependence), part({"type": "Flip", "features": [3, 2, 2], "axis": 0}))
def axis_counted_from_the_wrong_end(patch, layer):
    layer.axis = -1

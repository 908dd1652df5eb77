"""Bugs in kernels, in what they are told of a part, in when they may run, and in how they are registered."""

from functools import cache

import properties_of_kernels as properties
import torch
from cases import bijection_of, inputs

from pushforward.core import dispatch
from pushforward.core.execution_mode import execution
from pushforward.kernels import affine, autoregressive, autoregressive_spline, perceptron, spline
from pushforward.kernels.affine import AffineForward
from pushforward.kernels.autoregressive import LayerInverseAndSlopes, _LayerKernel
from pushforward.kernels.mixture import MixtureRoot
from pushforward.kernels.spline import SplineForward
from pushforward.univariate import CircularRationalQuadratic, RationalQuadratic
from pushforward.univariate.base import MANY
from pushforward.univariate.spline import Spline

from .registry import bug

LANES = 8
AFFINE = {"type": "Autoregressive", "univariate": {"type": "Affine"}, "features": 3, "context": 1, "hidden": [9, 8]}
DROPPING = {**AFFINE, "hidden": [9], "dropout": 0.5}
CURVE = {"type": "RationalQuadratic", "bins": 4}
SPLINES = {"type": "Autoregressive", "univariate": CURVE, "features": 3, "context": 1, "hidden": [9]}
COUPLED = {"type": "Coupling", "univariate": CURVE, "features": 4, "context": 1, "hidden": [8]}
CIRCLES = {
    "type": "Chain",
    "parts": [
        {"type": "Elementwise", "univariate": {"type": "CircularRationalQuadratic", "bins": 4}, "features": 2},
        {
            "type": "Coupling",
            "univariate": {"type": "CircularRationalQuadratic", "bins": 4},
            "features": 2,
            "hidden": [8],
        },
    ],
}
MIXTURES = {
    "type": "Elementwise",
    "univariate": {"type": "GaussianMixtureCDF", "components": 3},
    "features": 2,
}


def runs(kernel, config, *, rows=37, recording=False):
    """A bijection and points for which a kernel is seen to run."""

    def make():
        bijection = bijection_of(config)
        arguments = inputs(bijection, (rows,))
        calls = [function for function, _ in properties.directions(bijection, *arguments).values()]
        with properties.watched_kernels() as seen, execution(kernels=True), torch.set_grad_enabled(recording):
            for call in calls:
                call(*arguments)
        assert kernel in {name for name, _ in seen}, f"{kernel} does not run"
        return bijection, *arguments

    return make


def kernel_bug(prop, kernel, config, **options):
    return bug(prop, runs(kernel, config, **options), needs_compiler=True)


def after(patch, owner, name, change):
    """After each call of a function of the library, ``change`` gets its arguments."""
    call = getattr(owner, name)

    def changed(*args, **options):
        result = call(*args, **options)
        change(*args, **options)
        return result

    patch.setattr(owner, name, changed)


# --- when a kernel may run -----------------------------------------------------------------------------------------


@kernel_bug(properties.follows_the_settings, "PerceptronForward", DROPPING, recording=True)
def perceptron_that_never_drops_units(patch, layer):
    knows = perceptron._knows

    def always(network, x):
        training, network.training = network.training, False
        try:
            return knows(network, x)
        finally:
            network.training = training

    patch.setattr(perceptron, "_knows", always)


@kernel_bug(properties.follows_the_settings, "LayerForward", AFFINE)
def layer_that_multiplies_in_full_precision(patch, layer):
    patch.setattr(autoregressive.LayerForward, "supports", _LayerKernel.supports)


@kernel_bug(properties.gives_the_same_gradients, "LayerForward", AFFINE)
def layer_that_runs_while_gradients_are_recorded(patch, layer):
    patch.setattr(autoregressive, "runs_eagerly_without_grad", lambda like: True)


@kernel_bug(properties.gives_the_same_tangents, "LayerForward", AFFINE)
def layer_that_loses_tangents(patch, layer):
    patch.setattr(autoregressive, "runs_eagerly_without_grad", lambda like: not torch.is_grad_enabled())


@kernel_bug(properties.gives_the_same_values, "SplineForward", COUPLED)
def double_precision_taken_for_single(patch, layer):
    patch.setitem(spline.NATIVE_TYPES, torch.float64, "float")


# --- registrations -------------------------------------------------------------------------------------------------


@kernel_bug(properties.gives_the_same_values, "SplineForward", COUPLED)
def registered_for_another_operation(patch, layer):
    key = ("Spline.inverse", RationalQuadratic)
    patch.setitem(dispatch._KERNELS, key, dispatch.kernels_for(Spline.forward, RationalQuadratic))


@bug(properties.gives_the_same_values, lambda: circles(), needs_compiler=True)
def registered_for_another_spline(patch, layer):
    patch.setitem(dispatch._KERNELS, ("Spline.forward", CircularRationalQuadratic), [SplineForward()])


def circles():
    """Circular splines, which the kernel of the others does not know; beside one of these, for which it runs."""
    runs("SplineForward", COUPLED)()
    bijection = bijection_of(CIRCLES)
    return bijection, *inputs(bijection, (37,))


@kernel_bug(properties.knows_exact_types_only, "SplineForward", COUPLED)
def registered_for_subclasses_too(patch, layer):
    kernels = dispatch._KERNELS

    class Inherited(dict):
        def __missing__(self, key):
            operation, *kinds = key
            fitting = [k for k in self if k[0] == operation and all(map(issubclass, kinds, k[1:]))]
            return self[fitting[0]]

        def __contains__(self, key):
            return any(k[0] == key[0] and all(map(issubclass, key[1:], k[1:])) for k in self)

    patch.setattr(dispatch, "_KERNELS", Inherited(kernels))


# --- what a kernel is told of a part -------------------------------------------------------------------------------


@kernel_bug(properties.follows_its_weights, "LayerForward", AFFINE)
def problem_kept_after_the_weights_moved(patch, layer):
    make, kept = autoregressive._cached_problem, cache(lambda conditioner: [])

    def keep_first(univariate, conditioner, free):
        if not kept(conditioner):
            kept(conditioner).append(make(univariate, conditioner, free))
        return kept(conditioner)[0]

    patch.setattr(autoregressive, "_cached_problem", keep_first)


@kernel_bug(properties.follows_its_weights, "LayerForward", AFFINE)
def problem_kept_with_copies_of_turned_weights(patch, layer):
    """Copies that are made of weights in another order go stale when these change in place."""
    make = autoregressive._make_problem

    def keep(key, univariate, conditioner, weights):
        autoregressive._CACHE[conditioner] = problem = make(key, univariate, conditioner, weights)
        return problem

    patch.setattr(autoregressive, "_make_problem", keep)


def spoil_problems(patch, change, restore):
    """Change a conditioner while a problem is made of it."""
    make = autoregressive._make_problem
    autoregressive._CACHE.clear()

    def spoiled(key, univariate, conditioner, weights):
        change(conditioner)
        problem = make(key, univariate, conditioner, weights)
        restore(conditioner)
        return problem

    patch.setattr(autoregressive, "_make_problem", spoiled)


@kernel_bug(properties.gives_the_same_values, "LayerForward", AFFINE)
def last_column_of_each_row_not_read(patch, layer):
    kept = layer.conditioner.last.ends.clone()
    spoil_problems(
        patch,
        lambda conditioner: conditioner.last.ends.copy_((kept - 1).clamp(min=0)),
        lambda conditioner: conditioner.last.ends.copy_(kept),
    )


@kernel_bug(properties.gives_the_same_values, "LayerForward", AFFINE)
def units_of_a_degree_start_one_row_early(patch, layer):
    first = layer.conditioner.layers[0]
    kept = list(first.out_starts)

    def early(conditioner):
        first.out_starts = [kept[0], kept[1], kept[2] + 1, *kept[3:]]

    def back(conditioner):
        first.out_starts = kept

    spoil_problems(patch, early, back)


@kernel_bug(properties.gives_the_same_values, "LayerForward", AFFINE)
def activations_of_layers_permuted(patch, layer):
    patch.setattr(autoregressive, "NATIVE_ACTIVATIONS", ("tanh", "silu", "gelu", "elu", "relu"))
    autoregressive._CACHE.clear()


@kernel_bug(properties.gives_the_same_gradients, "PerceptronForward", AFFINE, recording=True)
def activations_of_the_perceptron_permuted(patch, layer):
    patch.setattr(perceptron, "NATIVE_ACTIVATIONS", ("elu", "silu", "gelu", "relu", "tanh"))


def exchanged(options):
    return lambda spline: (*options(spline)[:2], *options(spline)[3:1:-1], *options(spline)[4:])


@kernel_bug(properties.gives_the_same_values, "SplineForward", COUPLED)
def bound_and_least_slope_exchanged(patch, layer):
    patch.setattr(spline, "spline_options", exchanged(spline.spline_options))


@kernel_bug(properties.gives_the_same_values, "LayerForward", SPLINES)
def bound_and_least_slope_exchanged_in_layers(patch, layer):
    patch.setitem(autoregressive.UNIVARIATES, RationalQuadratic, exchanged(spline.spline_options))


@kernel_bug(properties.gives_the_same_values, "LayerInverse", AFFINE)
def context_ignored_by_layers(patch, layer):
    call = _LayerKernel.call
    zeros = lambda kernel, x, context, **way: call(kernel, x, torch.zeros_like(context), **way)  # noqa: E731
    patch.setattr(_LayerKernel, "call", staticmethod(zeros))


@kernel_bug(properties.gives_the_same_gradients, "SplineConditioner", SPLINES, recording=True)
def context_ignored_by_hidden_units(patch, layer):
    units = perceptron.hidden_units
    patch.setattr(autoregressive_spline, "hidden_units", lambda net, x, context: units(net, x, context * 0))


# --- what a kernel answers -----------------------------------------------------------------------------------------


@kernel_bug(properties.gives_the_same_values, "LayerInverseAndSlopes", AFFINE)
def sign_of_the_slopes_of_an_inverse(patch, layer):
    run = LayerInverseAndSlopes.run
    patch.setattr(LayerInverseAndSlopes, "run", lambda kernel, *args: (run(kernel, *args)[0], -run(kernel, *args)[1]))


@kernel_bug(properties.gives_the_same_values, "SplineForward", COUPLED)
def rest_of_the_last_vector_left_out(patch, layer):
    def rest(name, options, params, **tensors):
        points = tensors["x"].numel()
        tensors["y"].view(-1)[points // LANES * LANES :] = 0

    after(patch, spline, "_call", rest)


@kernel_bug(properties.gives_the_same_values, "SplineForward", COUPLED)
def last_lane_taken_from_its_neighbour(patch, layer):
    def copied(name, options, params, **tensors):
        if "log_slope" in tensors:
            flat = tensors["log_slope"].view(-1)
            flat[LANES - 1 :: LANES] = flat[LANES - 2 :: LANES][: len(flat[LANES - 1 :: LANES])]

    after(patch, spline, "_call", copied)


def spoil_gradient(patch, operator, index, change):
    """Change one of the gradients that the backward pass of an operator has filled in."""
    after(patch, operator, "backward", lambda kernel, out, inputs, results, grads, *rest: change(grads[index]))


@kernel_bug(properties.gives_the_same_gradients, "PerceptronForward", AFFINE, recording=True)
def gradient_of_a_bias_left_out(patch, layer):
    spoil_gradient(patch, perceptron._Operator, 2, torch.Tensor.zero_)


@kernel_bug(properties.gives_the_same_gradients, "SplineConditioner", SPLINES, recording=True)
def gradient_of_the_last_bias_counted_twice(patch, layer):
    spoil_gradient(patch, autoregressive_spline._Operator, 3, lambda gradient: gradient.mul_(2))


@kernel_bug(properties.gives_the_same_gradients, "AffineForward", AFFINE, recording=True)
def gradient_of_free_parameters_left_out(patch, layer):
    spoil_gradient(patch, affine._Operator, 2, torch.Tensor.zero_)


@kernel_bug(properties.gives_the_same_second_derivatives, "SplineConditioner", SPLINES, recording=True)
def masked_columns_off_by_one(patch, layer):
    """In the operations that give derivatives of derivatives."""
    mask = autoregressive_spline.mask_columns
    patch.setattr(autoregressive_spline, "mask_columns", lambda weight, ends: mask(weight, ends - 1))


@kernel_bug(properties.gives_the_same_values, "AffineForward", AFFINE, recording=True)
def bound_of_the_affine_map_doubled(patch, layer):
    run = AffineForward.run

    def loose(kernel, part, *args):
        bound, part.bound = part.bound, 2 * part.bound
        try:
            return run(kernel, part, *args)
        finally:
            part.bound = bound

    patch.setattr(AffineForward, "run", loose)


@kernel_bug(properties.gives_the_same_values, "MixtureRoot", MIXTURES, rows=MANY)
def last_root_taken_from_its_neighbour(patch, layer):
    run = MixtureRoot.run

    def neighbour(kernel, *args):
        x = run(kernel, *args)
        return x if x is NotImplemented else torch.cat([x[..., :-1], x[..., -2:-1]], dim=-1)

    patch.setattr(MixtureRoot, "run", neighbour)

"""Bugs in transformers as conditioners, in what they keep, and in inverses by iteration."""

import torch
from cases import bijection_of, generator, inputs

from pushforward.bijections import Flip, Permute, jacobi
from pushforward.distributions import Flow
from pushforward.flows import transformer_flow
from pushforward.networks import transformer
from pushforward.networks.transformer_passes import KeyValueCache
from pushforward.networks.transformer_reverse import TransformerReverse
from pushforward.testing import bijections, dependence
from pushforward.testing.random_parts import randomize

from .assembly import parts_of, with_parts
from .parts import of_case
from .registry import bug

LAYER = {
    "type": "Autoregressive",
    "univariate": {"type": "Affine"},
    "features": 5,
    "context": 1,
    "hidden": [8, 8],
    "conditioner": "transformer",
    "conditioner_options": {"heads": 2},
}


def layer(**options):
    def make():
        bijection = bijection_of({**LAYER, **options})
        return (bijection, *inputs(bijection, (48,)))

    return make


def solvers_agree(bijection, x, context):
    """Samples are the same feature by feature, from kept keys and values, and by iteration of each block size."""
    with torch.no_grad():
        y = bijection.forward(x, context)
        for solver, block in (("sequential", 1), ("jacobi", 1), ("jacobi", 2), ("jacobi", 5)):
            bijection.solver, bijection.block = solver, block
            error = (bijection.inverse(y, context) - x).abs().max()
            assert error < 1e-9, f"{solver} in blocks of {block}: samples are off by {error:.3g}"


def reads_in_order(flow, order):
    """The first layer takes the features in this order, and the next one in the reverse."""
    first, second = ([p for p in parts_of(flow) if p.is_triangular and p.in_shape == (4,)][k] for k in (1, 2))
    x = torch.randn(1, 4, dtype=torch.float64, generator=generator(3))
    before = [p for p in parts_of(flow)[1:] if isinstance(p, Permute | Flip)]
    assert torch.equal(before[0].forward(torch.arange(4.0)[None])[0].long(), torch.tensor(order)), "another order"
    assert torch.equal(before[1].forward(torch.arange(4.0)[None])[0].long(), torch.arange(3, -1, -1)), "not reversed"
    for part in (first, second):
        pattern = torch.autograd.functional.jacobian(lambda x, part=part: part.forward(x)[0], x)[:, 0] != 0
        assert torch.equal(pattern, torch.ones(4, 4).tril().bool())


@bug(solvers_agree, layer())
def keys_and_values_kept_one_place_too_far(patch, bijection):
    """Each step overwrites what the step before it has kept."""
    place = KeyValueCache.place

    def off(cache, start, key, value):
        return place(cache, max(start - 1, 0), key, value)

    patch.setattr(KeyValueCache, "place", off)


@bug(of_case(bijections.round_trip), layer())
def steps_that_carry_on_the_value_before_last(patch, bijection):
    embed = bijection.conditioner.embed

    def late(x, context, start, stop):
        tokens = embed(x, context, start, stop)
        return tokens.roll(1, dims=0) if stop - start > 2 else tokens

    patch.setattr(bijection.conditioner, "embed", late)


@bug(of_case(dependence.dependence), layer())
def a_causal_mask_that_lets_each_token_see_the_next(patch, bijection):
    mask = transformer.causal_mask
    patch.setattr(
        transformer, "causal_mask", lambda q, k, device: mask(q, k, device) | mask(q, k, device).roll(1, dims=1)
    )


@bug(of_case(dependence.dependence), layer())
def a_token_that_carries_the_value_of_its_feature(patch, bijection):
    embed = bijection.conditioner.embed

    def early(x, context, start, stop):
        return embed(x.roll(-1, dims=0), context, start, stop)

    patch.setattr(bijection.conditioner, "embed", early)


@bug(of_case(dependence.dependence), layer())
def a_context_that_the_first_token_does_not_carry(patch, bijection):
    first = bijection.conditioner._first_token
    patch.setattr(bijection.conditioner, "_first_token", lambda n, context: first(n, None))


@bug(solvers_agree, layer())
def an_iteration_that_ends_where_moves_are_small(patch, bijection):
    patch.setattr(jacobi, "TOLERANCE", 3e14)


@bug(solvers_agree, layer())
def an_iteration_that_ends_after_two_passes(patch, bijection):
    patch.setattr(jacobi, "concrete_bool", lambda flag: False)


@bug(solvers_agree, layer(conditioner="plain", conditioner_options=None))
def blocks_that_see_trial_values_of_blocks_before(patch, bijection):
    start_blocks = bijection.conditioner.start_blocks

    def forgetful(like, context):
        passes = start_blocks(like, context)
        params = passes.params

        def blank(inputs, start, stop):
            return params(torch.cat([0.9 * inputs[:start], inputs[start:]]), start, stop)

        passes.params = blank
        return passes

    patch.setattr(bijection.conditioner, "start_blocks", forgetful)


def ordered():
    order = [2, 0, 3, 1]
    return randomize(transformer_flow(4, univariate="affine", order=order, hidden=(8,), heads=2)), order


@bug(reads_in_order, ordered)
def an_order_that_is_undone(patch, flow):
    return with_parts(flow, [part.inv if isinstance(part, Permute) else part for part in parts_of(flow)])


@bug(reads_in_order, ordered)
def layers_in_one_order(patch, flow):
    parts = [Permute([0, 1, 2, 3]) if isinstance(part, Flip) else part for part in parts_of(flow)]
    assert isinstance(flow, Flow)
    return with_parts(flow, parts)


def gradients_of_samples(bijection, x, context):
    """Back substitution gives the gradients of the loop over features."""
    y = bijection.forward(x, context).detach().requires_grad_()
    leaves = [y, *bijection.parameters()]
    sweep = torch.autograd.grad(bijection.inverse(y, context).square().sum(), leaves)
    loop = torch.autograd.grad(
        bijection._feature_by_feature("inverse_value_with_free", y.t(), context.t())[0].square().sum(), leaves
    )
    for got, expected in zip(sweep, loop, strict=True):
        assert (got - expected).abs().max() <= 1e-8 * (1 + expected.abs().max()), "a gradient of samples is wrong"


@bug(gradients_of_samples, layer())
def cotangents_of_keys_and_values_from_the_next_token_alone(patch, bijection):
    through = TransformerReverse._through_block

    def forgetful(self, k, token, grad):
        result = through(self, k, token, grad)
        grads = self.grad_keys_values[k]
        self.grad_keys_values[k] = tuple(torch.cat([torch.zeros_like(p[:, :-1]), p[:, -1:]], dim=1) for p in grads)
        return result

    patch.setattr(TransformerReverse, "_through_block", forgetful)

"""Bugs in how flows are put together: wrong order or direction of parts, context that does not arrive, no mixing."""

import properties_of_flows as properties
import torch
from cases import generator, random_part

from pushforward.bijections import Autoregressive, Chain, Coupling, Elementwise, Inverse, Permute
from pushforward.distributions import Flow
from pushforward.testing.random_parts import randomize

from .registry import bug


def flow(name, *rest, features=3, context=0, depth=4, **options):
    """A random flow, and what else a property takes."""

    def make():
        spec = {"flow": name, "features": features, "context": context, "depth": depth, **options}
        return random_part(spec, size=0.4), *rest

    return make


def with_parts(model, parts):
    """The flow with these parts, in the order in which data meets them."""
    return Flow(model.base, Chain(parts).inv, context_map=model.context_map)


def parts_of(model):
    """The parts of a flow that is fast at densities."""
    return list(model.bijection.bijection.parts)


@bug(properties.meets_data_in_order, flow("maf"))
def standardised_at_the_latent_end(patch, model):
    first, *others = parts_of(model)
    return with_parts(model, [*others, first])


@bug(properties.meets_data_in_order, flow("nsf", tails="heavy"))
def heavy_tails_at_the_latent_end(patch, model):
    parts = parts_of(model)
    tail = next(part for part in parts if properties.is_tail(part))
    return with_parts(model, [*(part for part in parts if part is not tail), tail])


@bug(properties.tails_are_powers, flow("nsf", tails="heavy"))
def heavy_tails_turned_around(patch, model):
    parts = [part.inv if properties.is_tail(part) else part for part in parts_of(model)]
    return with_parts(model, parts)


@bug(properties.fast_in_the_stated_direction, flow("maf", "density"))
def inverse_forgotten(patch, model):
    return Flow(model.base, model.bijection.inv)


@bug(properties.fast_in_the_stated_direction, flow("maf", "sampling", fast="sampling"))
def inverse_taken_twice(patch, model):
    return Flow(model.base, model.bijection.inv)


@bug(properties.every_layer_reads_the_context, flow("maf", context=2))
def context_for_the_first_layer_only(patch, model):
    parts = parts_of(model)
    config = {k: v for k, v in parts[-1].config.items() if k not in ("type", "univariate", "context")}
    last = randomize(Autoregressive(parts[-1].univariate, **config), 3)
    return with_parts(model, [*parts[:-1], last])


@bug(
    properties.units_of_the_context_do_not_matter,
    lambda: (
        *flow("nsf", context=2)(),
        torch.randn(40, 3, dtype=torch.float64, generator=generator(1)),
        torch.randn(40, 2, dtype=torch.float64, generator=generator(2)),
    ),
)
def context_in_raw_units(patch, model):
    """Layers get the context as it is instead of the standardised one."""
    return Flow(model.base, model.bijection)


@bug(properties.latent_depends_on_every_feature, flow("maf", depth=2))
def nothing_between_two_layers(patch, model):
    layers = [part for part in parts_of(model) if isinstance(part, Autoregressive)]
    return with_parts(model, [parts_of(model)[0], *layers])


@bug(properties.latent_depends_on_every_feature, flow("real_nvp", features=4))
def couplings_that_never_take_turns(patch, model):
    parts = []
    for k, part in enumerate(parts_of(model)):
        config = {name: v for name, v in getattr(part, "config", {}).items() if name not in ("type", "univariate")}
        same_half = isinstance(part, Coupling)
        parts.append(randomize(Coupling(part.univariate, **{**config, "swap": False}), k) if same_half else part)
    return with_parts(model, parts)


@bug(properties.parts_between_layers_differ, flow("nsf", features=5, mix="permute"))
def permutations_all_drawn_with_one_seed(patch, model):
    parts = parts_of(model)
    order = next(part.config["order"] for part in parts if isinstance(part, Permute))
    return with_parts(model, [Permute(order) if isinstance(part, Permute) else part for part in parts])


@bug(properties.latent_depends_on_every_feature, flow("nsf", mix="flip", depth=2))
def rearrangement_undone_by_its_inverse(patch, model):
    """A rearrangement off by one place in the stack: two of them meet and cancel."""
    parts = []
    for part in parts_of(model):
        parts += [part] if isinstance(part, Autoregressive | Elementwise | Inverse) else [part, part.inv]
    return with_parts(model, [parts[0], *parts[2:]] if isinstance(parts[1], Inverse) else parts)

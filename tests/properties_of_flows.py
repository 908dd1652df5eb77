"""Properties of how named flows are assembled: functions of a flow that raise AssertionError where one fails."""

import torch
from cases import generator

from pushforward.bijections import (
    Angle,
    Autoregressive,
    BlockNeural,
    Chain,
    Coupling,
    Elementwise,
    Inverse,
    Residual,
    Standardize,
)
from pushforward.core.bijection import KINDS
from pushforward.testing.comparison import close, jacobian
from pushforward.univariate import TailTransform

LAYERS = (Autoregressive, BlockNeural, Coupling, Residual)


def data_to_latent(flow):
    """The parts of a flow in the order in which data meets them, each without the wrapper that turns it around."""
    whole = flow.bijection
    parts = whole.bijection.parts if isinstance(whole, Inverse) else list(whole.parts)[::-1]
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Chain) else [part])]
    return [part.bijection if isinstance(part, Inverse) else part for part in flat]


def is_tail(part):
    return isinstance(part, Elementwise) and isinstance(part.univariate, TailTransform)


def meets_data_in_order(flow):
    """Data are standardised first (angles: unrolled), and heavy tails come before every layer."""
    parts = data_to_latent(flow)
    assert isinstance(parts[0], Standardize | Angle), f"data meets {type(parts[0]).__name__} first"
    assert not any(isinstance(part, Standardize | Angle) for part in parts[1:]), "standardised more than once"
    tails = [k for k, part in enumerate(parts) if is_tail(part)]
    layers = [k for k, part in enumerate(parts) if isinstance(part, LAYERS)]
    assert not tails or not layers or max(tails) < min(layers), "a layer stands between the data and the tails"


def fast_in_the_stated_direction(flow, fast):
    """Densities are the cheaper direction with fast="density", samples with fast="sampling"."""
    density, sample = KINDS.index(flow.log_prob_kind), KINDS.index(flow.sample_kind)
    cheap, dear = (density, sample) if fast == "density" else (sample, density)
    assert cheap < dear, f"fast={fast!r}, but densities are {flow.log_prob_kind} and samples {flow.sample_kind}"


def every_layer_reads_the_context(flow):
    """Each coupling or autoregressive layer takes the context of the flow."""
    for k, part in enumerate(data_to_latent(flow)):
        if isinstance(part, LAYERS):
            assert part.context_shape == flow.bijection.context_shape, f"part {k} takes context {part.context_shape}"


def points(flow, count=64):
    return torch.randn(count, *flow.event_shape, dtype=torch.float64, generator=generator(8))


def latent_depends_on_every_feature(flow):
    """With all layers together each latent variable depends on each feature: mixing is nowhere left out."""
    x = points(flow)
    context = None if flow.context_shape is None else torch.zeros(len(x), *flow.context_shape, dtype=torch.float64)
    sizes = jacobian(lambda t: flow.to_latent(t, context), x).abs().amax(dim=0)
    assert bool((sizes > 1e-12).all()), f"a latent variable does not depend on a feature:\n{sizes}"


def parts_between_layers_differ(flow):
    """No two permutations of a stack are the same, unless there are only two orders."""
    orders = [tuple(part.config["order"]) for part in data_to_latent(flow) if "order" in part.config]
    assert len(orders) >= 2, "there are no permutations"
    assert len(set(orders)) == len(orders), f"a permutation repeats: {orders}"


def tails_are_powers(flow):
    """On both sides the density falls off like a power, not like the exponential of one."""
    far = torch.tensor([1e6, 1e7], dtype=torch.float64)
    for sign in (-1, 1):
        x = sign * far[:, None].expand(2, *flow.event_shape)
        first, second = flow.log_prob(x).tolist()
        power = (second - first) / 2.302585
        assert -1e6 < power < -1, f"the density falls like |x|^{power:.3g}"


def units_of_the_context_do_not_matter(flow, x, context):
    """Contexts in other units give the same densities, once they are measured."""
    densities = []
    for contexts in (context, 1e4 * context):
        for part in flow.modules():
            if isinstance(part, Standardize):
                part.initialized.fill_(False)
        flow.initialize(x, contexts)
        densities.append(flow.log_prob(x, contexts))
    close(*densities, "log_prob after a change of units of the context")

"""The density of the same points given several contexts: what is shared is computed once, and nothing else changes."""

import pytest
import torch

import pushforward as pf
from pushforward.bijections import LU, Chain, Elementwise
from pushforward.distributions import Flow, StandardNormal, contexts_act_on_latents, log_prob_of_each
from pushforward.flows import IMAGE_FLOWS
from pushforward.testing import randomize
from pushforward.train import Batch, HybridLikelihood
from pushforward.univariate import Affine

EYE = torch.eye(3, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pixels(n=6):
    return torch.randint(4, (n, 1, 4, 4), generator=generator()).double()


SHARED = {
    "glow": lambda: pf.flows.glow((1, 4, 4), 3, values=4, depth=1, hidden=(6, 6), condition="latents"),
    "glow, event": lambda: pf.flows.glow(
        (1, 4, 4), 3, values=4, depth=1, hidden=(6, 6), condition="latents", latent="event"
    ),
    "multiscale_real_nvp": lambda: pf.flows.multiscale_real_nvp(
        (1, 4, 4), 3, values=4, depth=1, hidden=(6, 6), condition="latents", dequantize="variational"
    ),
}
EACH = {
    "glow": lambda: pf.flows.glow((1, 4, 4), 3, values=4, depth=1, hidden=(6, 6)),
    "window_flow": lambda: pf.flows.window_flow((1, 4, 4), 3, values=4, hidden=(6, 6)),
    "pixels": lambda: IMAGE_FLOWS["pixels"]((1, 4, 4), 3, levels=4, hidden=(6, 6)),
}


@pytest.mark.parametrize("name", [*(f"shared {n}" for n in SHARED), *(f"each {n}" for n in EACH)])
def test_it_equals_the_density_given_each_context_with_the_same_noise(name):
    kind, _, which = name.partition(" ")
    flow = randomize((SHARED if kind == "shared" else EACH)[which]().double(), seed=2).eval()
    assert contexts_act_on_latents(flow) == (kind == "shared")
    x, contexts = pixels(), EYE[:, None].expand(3, 6, 3)
    each = torch.stack([flow.log_prob(x, c, generator=generator(5)) for c in contexts])
    together = log_prob_of_each(flow, x, contexts, generator=generator(5))
    torch.testing.assert_close(together, each, rtol=1e-10, atol=1e-8)
    assert each.std(dim=0).min() > 1e-6  # the context says something


def test_contexts_differ_from_row_to_row():
    flow = randomize(SHARED["glow"]().double(), seed=2).eval()
    contexts = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator())
    together = log_prob_of_each(flow, pixels(), contexts, generator=generator(5))
    torch.testing.assert_close(together[1], flow.log_prob(pixels(), contexts[1], generator=generator(5)))


def test_the_shared_part_runs_once():
    flow = SHARED["glow"]()
    calls = []
    for module in flow.modules():
        if type(module).__name__ == "Convolution1x1":
            inverse = module._forward_and_ladj
            module._forward_and_ladj = lambda *arguments, inverse=inverse: calls.append(1) or inverse(*arguments)
    once = len(calls)
    log_prob_of_each(flow, pixels().float(), EYE.float()[:, None].expand(3, 6, 3), generator=generator())
    layers = sum(type(module).__name__ == "Convolution1x1" for module in flow.modules())
    assert len(calls) - once == layers > 0


def test_flows_whose_last_part_reads_the_context_share_nothing():
    part = Elementwise(Affine(), 2, context=3, hidden=(4,))
    assert contexts_act_on_latents(Flow(StandardNormal(2), Chain([part, LU(2)])))
    assert not contexts_act_on_latents(Flow(StandardNormal(2), Chain([LU(2), part])))
    assert not contexts_act_on_latents(Flow(StandardNormal(2), LU(2)))  # no context at all


def test_training_for_classes_compares_all_of_them_where_it_costs_little():
    flow = randomize(SHARED["glow"]().double(), seed=2).eval()
    loss, context = HybridLikelihood(EYE.tolist(), weight=3.0), EYE[torch.arange(6) % 3]
    values = loss.per_row(flow, Batch(pixels(), context), generator(1))
    other = HybridLikelihood(EYE.tolist(), weight=3.0, others=2).per_row(flow, Batch(pixels(), context), generator(1))
    torch.testing.assert_close(values, other)
    assert (loss._compared(flow), loss._compared(EACH["pixels"]())) == (2, 1)


def test_samples_and_temperature_keep_the_place_of_a_class():
    """At a low temperature samples of a class are near the image of the mean of its latents."""
    flow = randomize(pf.flows.glow((1, 4, 4), 3, depth=1, hidden=(6, 6), condition="latents").double(), seed=2).eval()
    cold = pf.distributions.with_temperature(flow, 1e-12)
    context = EYE[1].to(flow.dtype)
    drawn = cold.sample((5,), context)
    middle = flow.to_data(torch.zeros(flow.base.event_shape, dtype=flow.dtype), context)
    torch.testing.assert_close(drawn, middle.expand_as(drawn), rtol=1e-3, atol=1e-3)


def test_rows_that_cannot_be_used_have_the_values_of_log_prob_and_change_no_gradient():
    flow = randomize(SHARED["glow"]().double(), seed=2).eval()
    x, contexts = pixels(), EYE[:, None].expand(3, 6, 3).clone()
    x[0, 0, 0, 0], x[1, 0, 1, 1], x[2, 0, 2, 2], contexts[1, 3, 0] = torch.nan, torch.inf, 9.0, torch.nan
    values = log_prob_of_each(flow, x, contexts, generator=generator(5))
    each = torch.stack([flow.log_prob(x, c, generator=generator(5)) for c in contexts])
    torch.testing.assert_close(values, each, equal_nan=True)
    values[:, 4:].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in flow.parameters())


def test_shapes_are_checked_as_in_log_prob():
    flow = SHARED["glow"]().double()
    with pytest.raises(ValueError, match=r"^Flow: context must have shape"):
        log_prob_of_each(flow, pixels(), torch.zeros(3, 6, 2, dtype=torch.float64))


def test_all_contexts_see_the_same_noise_without_a_generator_too():
    flow = randomize(EACH["window_flow"]().double(), seed=2).eval()
    values = log_prob_of_each(flow, pixels(), EYE[:1].expand(2, 3)[:, None].expand(2, 6, 3))
    torch.testing.assert_close(values[0], values[1])

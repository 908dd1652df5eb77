"""Guidance and temperature: closed forms of Gaussians, probabilities of all events, and what shares the weights."""

import itertools
import math

import pytest
import torch
from cases import generator

import pushforward as pf
from pushforward.bijections import Autoregressive, Chain, Elementwise, FirstContext, Guided
from pushforward.distributions import (
    ContextPair,
    DiagonalNormal,
    DiscreteGrid,
    Flow,
    GuidedGrid,
    StandardNormal,
    guided,
    with_temperature,
)
from pushforward.flows import glow, iaf, maf, nice, nsf, real_nvp, tarflow, transformer_flow, window_flow
from pushforward.testing.random_parts import randomize
from pushforward.univariate import Affine, GuidedAffine, RationalQuadratic, Shift

SMALL = {"hidden": (8, 8), "depth": 2}
FLOWS = {
    "tarflow": lambda: tarflow((1, 4, 4), 3, heads=2, **SMALL),
    "jacobi": lambda: tarflow((1, 4, 4), 3, heads=2, solver="jacobi", **SMALL),
    "window": lambda: window_flow((1, 2, 3), 3, univariate="affine", **SMALL),
    "transformer": lambda: transformer_flow(4, 3, univariate="affine", hidden=(8, 8), heads=2),
    "maf": lambda: maf(4, 3, **SMALL),
    "one feature": lambda: maf(1, 3, **SMALL),
    "real_nvp": lambda: real_nvp(4, 3, **SMALL),
    "nice": lambda: nice(4, 3, **SMALL),
    "glow": lambda: glow((1, 4, 4), 3, depth=1, hidden=(6,)),
    "glow, event": lambda: glow((2, 4, 4), 3, depth=2, hidden=(6,), latent="event", mix="flip"),
}
LABELS = torch.eye(3, dtype=torch.float64)


def random_flow(name):
    flow = randomize(FLOWS[name](), seed=1, size=0.4).eval()
    flow.initialize(2 + flow.sample(50, LABELS[0]), torch.rand(50, 3, dtype=torch.float64, generator=generator(1)))
    return flow


def normal(mean, deviation):
    return torch.distributions.Normal(mean, deviation)


def gaussian_of(params, univariate=Affine()):  # noqa: B008
    """Mean and standard deviation of x where y = τ(x; params) is standard normal."""
    y, log_slope = univariate(torch.zeros_like(params[0]), params)
    return -y * torch.exp(-log_slope), torch.exp(-log_slope)


# --- the closed form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_the_guided_gaussian_is_the_product_of_powers_where_that_has_an_integral(weight):
    """p_c^(1+w) p_u^(-w), normalised by quadrature, for σ_c ≤ σ_u; for σ_c > σ_u the mean is moved alone."""
    params = torch.randn(5, 40, dtype=torch.float64, generator=generator(0))
    (mean_c, sigma_c), (mean_u, sigma_u) = gaussian_of(params[[0, 1, 4]]), gaussian_of(params[2:])
    mean, sigma = gaussian_of(params, GuidedAffine(Affine(), weight=weight))
    narrow = sigma_c <= sigma_u
    assert 10 < narrow.sum() < 30
    x = mean + sigma * torch.linspace(-9, 9, 2001, dtype=torch.float64)[:, None]
    log_product = (1 + weight) * normal(mean_c, sigma_c).log_prob(x) - weight * normal(mean_u, sigma_u).log_prob(x)
    log_density = log_product - log_product.logsumexp(dim=0) - (x[1] - x[0]).log()
    error = (log_density.exp() - normal(mean, sigma).log_prob(x).exp()).abs().amax(dim=0) * sigma
    assert error[narrow].max() < 1e-9
    torch.testing.assert_close(sigma[~narrow], sigma_c[~narrow])
    torch.testing.assert_close(mean[~narrow], ((1 + weight) * mean_c - weight * mean_u)[~narrow])


def test_the_published_formula():
    params, w = torch.randn(5, 40, dtype=torch.float64, generator=generator(1)), 1.7
    (mean_c, sigma_c), (mean_u, sigma_u) = gaussian_of(params[[0, 1, 4]]), gaussian_of(params[2:])
    s = (sigma_c / sigma_u).clamp(max=1.0) ** 2
    mean, sigma = gaussian_of(params, GuidedAffine(Affine(), weight=w))
    torch.testing.assert_close(sigma, sigma_c / (1 + w - w * s).sqrt())
    torch.testing.assert_close(mean, ((1 + w) * mean_c - w * s * mean_u) / (1 + w - w * s))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wild_parameters_overflow_nothing(dtype):
    params = torch.tensor([[0.0], [1e9], [0.0], [-1e9], [0.0]], dtype=dtype).expand(5, 2)
    params = torch.stack([params[:, 0], params[[0, 3, 0, 1, 0], 0]], dim=1)
    y, log_slope = GuidedAffine(Affine(bound=20.0), weight=100.0)(torch.ones(2, dtype=dtype), params)
    assert y.isfinite().all()
    assert log_slope.isfinite().all()


def test_one_layer_is_a_product_in_each_conditional():
    """A flow of one layer: the density of x_j given those before is that of the combined Gaussian, number by number."""
    layer = randomize(Autoregressive(Affine(), 3, context=2, hidden=(16,)), seed=3)
    flow = Flow(StandardNormal(3), layer.inv).double().eval()
    x = torch.randn(20, 3, dtype=torch.float64, generator=generator(2))
    label, blank = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([-0.5, 0.3], dtype=torch.float64)
    led = guided(flow, label, 1.5, unconditional=blank)
    total = 0.0
    params = [layer.conditioner(x.t(), c[:, None].expand(2, 20)) for c in (label, blank)]
    for j in range(3):
        (mean_c, sigma_c), (mean_u, sigma_u) = (
            gaussian_of(torch.cat([p[:, j], layer.free[:, j, None].expand(1, 20)])) for p in params
        )
        s = (sigma_c / sigma_u).clamp(max=1.0) ** 2
        a = 2.5 - 1.5 * s
        total = total + normal((2.5 * mean_c - 1.5 * s * mean_u) / a, sigma_c / a.sqrt()).log_prob(x[:, j])
    torch.testing.assert_close(led.log_prob(x), total)


# --- flows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLOWS)
def test_weight_zero_is_the_conditional_flow_and_others_are_not(name):
    flow = random_flow(name)
    x = flow.sample(4, LABELS, generator=generator(1))
    none = guided(flow, LABELS, 0.0)
    assert torch.equal(none.sample(4, generator=generator(1)), x)
    assert torch.equal(none.log_prob(x), flow.log_prob(x, LABELS))
    parts = [part for part in guided(flow, None, 1.0).modules() if isinstance(part, GuidedAffine)]
    assert parts
    led = guided(flow, LABELS, 2.0)
    assert (led.sample(4, generator=generator(1)) - x).abs().max() > 1e-3
    for part in (part for part in led.modules() if isinstance(part, GuidedAffine)):
        part.weight = 0.0  # the whole machinery, which then changes nothing
    torch.testing.assert_close(led.sample(4, generator=generator(1)), x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(led.log_prob(x), flow.log_prob(x, LABELS), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FLOWS)
def test_a_guided_flow_is_a_flow(name, tmp_path):
    """Samples have the densities of their latents, files give it back, and gradients go to weights and context."""
    flow = random_flow(name)
    led = guided(flow, None, 1.5, temperature=0.8)
    x, log_prob = led.sample_and_log_prob(5, LABELS, generator=generator(1))
    torch.testing.assert_close(led.log_prob(x, LABELS), log_prob, rtol=1e-7, atol=1e-7)
    z = led.to_latent(x, LABELS)
    torch.testing.assert_close(led.to_data(z, LABELS), x, rtol=1e-7, atol=1e-7)
    matrix = torch.autograd.functional.jacobian(lambda z: led.to_data(z, LABELS[0]).flatten(), z[0, 0])
    ladj = torch.linalg.slogdet(matrix.reshape(x[0, 0].numel(), -1))[1]
    base = normal(0.0, 1.0).log_prob(z[0, 0]).sum()
    torch.testing.assert_close(log_prob[0, 0], base - ladj, rtol=1e-6, atol=1e-6)
    pf.save(led, tmp_path / "led.safetensors")
    assert torch.equal(pf.load(tmp_path / "led.safetensors").log_prob(x, LABELS), led.log_prob(x, LABELS))
    shared = {p.data_ptr() for p in flow.parameters()}
    assert {p.data_ptr() for p in led.parameters()} == shared
    labels = LABELS.clone().requires_grad_()
    led.rsample(2, labels, generator=generator(2)).square().sum().backward()
    assert labels.grad.abs().min() > 0


def test_gradients_of_guided_samples_are_those_of_the_loop():
    """Back substitution through both passes, against autograd through the loop over features."""
    layer = randomize(
        Guided(Autoregressive(Affine(), 4, context=1, hidden=(8, 8), conditioner="transformer"), weight=1.5), seed=5
    )
    y = torch.randn(6, 4, dtype=torch.float64, generator=generator(3)).requires_grad_()
    context = torch.randn(6, 2, dtype=torch.float64, generator=generator(4)).requires_grad_()
    leaves = [y, context, *layer.parameters()]
    sweep = torch.autograd.grad(layer.inverse(y, context).square().sum(), leaves)
    rows = layer.bijection._feature_by_feature("inverse_value_with_free", y.t(), context.t())[0]
    for got, expected in zip(sweep, torch.autograd.grad(rows.square().sum(), leaves), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["tarflow", "maf"])
def test_batches_of_contexts_and_shapes(name):
    flow = random_flow(name)
    contexts = torch.rand(2, 3, 3, dtype=torch.float64, generator=generator(5))
    led = guided(flow, contexts, 1.0)
    assert led.sample((4, 5), generator=generator(1)).shape == (4, 5, 2, 3, *flow.event_shape)
    x = led.sample(generator=generator(1))
    each = [guided(flow, c, 1.0).log_prob(row) for c, row in zip(contexts.flatten(0, 1), x.flatten(0, 1), strict=True)]
    torch.testing.assert_close(led.log_prob(x).flatten(), torch.stack(each))
    assert torch.equal(led.sample(7, generator=generator(2)), led.sample(7, generator=generator(2)))


def test_a_part_of_the_context_can_be_kept():
    """A noise level beside a label: without the label the level is the same."""
    flow = random_flow("maf")
    context = torch.tensor([[1.0, 0.0, 0.7], [0.0, 1.0, 0.2]], dtype=torch.float64)
    blank = torch.tensor([0.0, 0.0, math.nan])
    led = guided(flow, context, 1.3, unconditional=blank)
    x = led.sample(4, generator=generator(1))
    for k, level in enumerate((0.7, 0.2)):
        alone = guided(flow, context[k], 1.3, unconditional=[0.0, 0.0, level])
        torch.testing.assert_close(led.log_prob(x)[:, k], alone.log_prob(x[:, k]))
    assert (guided(flow, context, 1.3).log_prob(x) - led.log_prob(x)).abs().max() > 1e-3


def test_contexts_that_a_network_embeds():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).double()
    layer = randomize(Autoregressive(Affine(), 2, context=2, hidden=(8,)), seed=6)
    flow = Flow(StandardNormal(2), layer.inv, context_map=network, context_shape=(2, 2)).double()
    context = torch.rand(5, 2, 2, dtype=torch.float64, generator=generator(6))
    blank = torch.ones(2, 2, dtype=torch.float64)
    led, embedded = guided(flow, context, 0.7, unconditional=blank), Flow(StandardNormal(2), layer.inv).double()
    x = led.sample(3, generator=generator(1))
    expected = guided(embedded, network(context), 0.7, unconditional=network(blank[None])[0].detach())
    torch.testing.assert_close(led.log_prob(x), expected.log_prob(x))


@pytest.mark.parametrize("dequantize", ["uniform", "variational"])
def test_whole_numbers_come_out_of_guided_flows_of_dequantized_ones(dequantize):
    flow = tarflow((1, 2, 2), 3, depth=2, hidden=(8,), heads=2, values=4, dequantize=dequantize)
    led = guided(randomize(flow, seed=7).eval(), LABELS, 1.5)
    x = led.sample(20, generator=generator(1))
    assert torch.equal(x, x.round())
    assert led.exactness == "bound"
    assert led.log_prob(x, generator=generator(2)).isfinite().all()


def test_guidance_leads_away_from_the_other_label():
    """One Gaussian a label: with w the mean moves from that of the mixture through that of the label and beyond it."""
    layer = Elementwise(Shift(), 1, context=1, hidden=(16,))
    flow = Flow(StandardNormal(1), layer.inv)
    c = torch.randint(2, (400, 1), generator=generator(1)) * 2.0 - 1
    x = 2 * c + torch.randn(400, 1, generator=generator(2))
    rows = pf.train.with_labels_dropped(x, c, 0.3)
    pf.fit(flow, rows, validation=(x, c), steps=200, batch_size=100, lr=2e-2, progress=False)
    means = [guided(flow, torch.ones(1), w).sample(4000, generator=generator(3)).mean().item() for w in (0, 1, 2)]
    assert means == pytest.approx([2, 4, 6], abs=0.5)


# --- grids -----------------------------------------------------------------------------------------------------------


def every_event(shape, levels):
    return torch.tensor([*itertools.product(range(levels), repeat=math.prod(shape))], dtype=torch.float64).reshape(
        -1, *shape
    )


def random_grid(context=2, shape=(1, 2, 2), levels=4):
    return randomize(DiscreteGrid(shape, levels=levels, context=context, hidden=(8, 8), above=1, beside=1), seed=1)


@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 0.5), (1.5, 1.0), (4.0, 0.3), (0.7, 2.0)])
def test_guided_probabilities_of_all_images_sum_to_one_and_are_the_powers(weight, temperature):
    grid, events = random_grid(), every_event((1, 2, 2), 4)
    label, blank = torch.tensor([[1.0, -0.5], [0.1, 0.2]], dtype=torch.float64)
    led = guided(grid, label, weight, unconditional=blank, temperature=temperature)
    log_probs = led.log_prob(events)
    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-12)
    # Each conditional from the sums of joint probabilities over all images that begin alike.
    first = [grid.log_prob(events, c).reshape(4, 4, 16).logsumexp(dim=2).log_softmax(dim=1) for c in (label, blank)]
    floor = math.log(1e-4) * torch.ones_like(first[0])
    ratio = torch.logaddexp(first[0], floor) - torch.logaddexp(first[1], floor)
    expected = ((first[0] + weight * ratio) / temperature).log_softmax(dim=1)
    actual = log_probs.reshape(4, 4, 16).logsumexp(dim=2).log_softmax(dim=1)
    torch.testing.assert_close(actual, expected)


def test_samples_of_a_guided_grid_follow_its_probabilities():
    grid, events = random_grid(shape=(1, 1, 3), levels=3), every_event((1, 1, 3), 3)
    led = guided(grid, torch.tensor([0.5, 1.0], dtype=torch.float64), 1.5, temperature=1.3)
    drawn = led.sample(20_000, generator=generator(1))
    counts = (drawn[:, None] == events).flatten(2).all(dim=2).sum(dim=0)
    expected = led.log_prob(events).exp() * 20_000
    often = expected > 5
    assert ((counts - expected).square() / expected)[often].sum() < 54.1  # 0.999 of chi-squared with 26
    assert counts[~often].sum() <= 5 + 3 * expected[~often].sum()


def test_weight_zero_is_the_conditional_grid():
    grid = random_grid()
    contexts = torch.randn(3, 2, dtype=torch.float64, generator=generator(1))
    x = grid.sample(5, contexts, generator=generator(2))
    none = guided(grid, contexts, 0.0)
    assert torch.equal(none.sample(5, generator=generator(2)), x)
    assert torch.equal(none.log_prob(x), grid.log_prob(x, contexts))
    whole = GuidedGrid(grid, weight=1e-12)
    torch.testing.assert_close(whole.log_prob(x, contexts), grid.log_prob(x, contexts), rtol=1e-9, atol=1e-9)
    assert torch.equal(whole.sample(5, contexts, generator=generator(2)), x)


def test_the_rest_of_a_guided_image_is_the_ratio_of_probabilities():
    led = guided(random_grid(shape=(1, 2, 1), levels=3), None, 2.0, temperature=0.7)
    events, c = every_event((1, 2, 1), 3), torch.tensor([0.3, -1.0], dtype=torch.float64)
    joint = led.log_prob(events, c).reshape(3, 3)
    rest = led.given(events[::3, :, :1]).log_prob(torch.arange(3.0, dtype=torch.float64)[:, None, None, None, None], c)
    torch.testing.assert_close(rest.t(), joint.log_softmax(dim=1))


def test_guided_grids_can_be_nested():
    grid, events = random_grid(shape=(1, 1, 2)), every_event((1, 1, 2), 4)
    c = torch.tensor([0.3, -1.0], dtype=torch.float64)
    once = with_temperature(guided(grid, c, 1.0), 0.5).log_prob(events)
    torch.testing.assert_close(guided(grid, c, 1.0, temperature=0.5).log_prob(events), once)
    again = GuidedGrid(GuidedGrid(grid, weight=1.0, floor=0.0), weight=1.0, floor=0.0)
    thrice = GuidedGrid(grid, weight=3.0, floor=0.0)  # 2 (2 c - u) - (2 u - u) = 4 c - 3 u
    torch.testing.assert_close(again.log_prob(events, c), thrice.log_prob(events, c))


@pytest.mark.parametrize(("floor", "likely"), [(1e-4, False), (0.0, True)])
def test_what_neither_context_allows_stays_unlikely(floor, likely):
    """Of two levels one has the probability 6e-6 with the label and 9e-14 without: quotients say it is likely."""
    led = GuidedGrid(random_grid(levels=2), weight=1.0, floor=floor)
    log_probs = torch.tensor([0.0, -12.0, 0.0, -30.0], dtype=torch.float64)[:, None, None]
    rare = led._logits(log_probs).softmax(dim=0)[1].item()
    assert (rare > 0.9) == likely
    assert likely or rare < 1e-5


# --- temperature -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tarflow", "real_nvp"])
def test_a_temperature_scales_the_base(name):
    flow = random_flow(name)
    cool = with_temperature(flow, 0.5)
    x = flow.to_data(0.5 * flow.base.sample((6, 3), generator=generator(1)), LABELS)
    torch.testing.assert_close(cool.sample(6, LABELS, generator=generator(1)), x)
    latent = flow.to_latent(x, LABELS)
    expected = flow.log_prob(x, LABELS) + (
        normal(0.0, 0.5).log_prob(latent) - normal(0.0, 1.0).log_prob(latent)
    ).flatten(2).sum(dim=2)
    torch.testing.assert_close(cool.log_prob(x, LABELS), expected)
    fixed = with_temperature(flow.condition(LABELS), 0.5)
    assert torch.equal(fixed.log_prob(x), cool.log_prob(x, LABELS))
    assert with_temperature(flow, 1.0) is flow


def test_conditionals_of_a_flow_at_a_temperature():
    flow = randomize(maf(3, depth=1), seed=2).eval()
    cool, first = with_temperature(flow, 0.5), torch.zeros(1, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64, generator=generator(2))
    x[:, 0] = first
    rest = cool.given(first).log_prob(x[:, 1:])
    torch.testing.assert_close(rest - rest[0], cool.log_prob(x) - cool.log_prob(x)[0])
    assert cool.icdf(torch.full((1, 3), 0.9, dtype=torch.float64)).isfinite().all()


def test_a_grid_without_context_at_a_temperature():
    grid, events = random_grid(context=0, shape=(1, 1, 2)), every_event((1, 1, 2), 4)
    sharp = with_temperature(grid, 0.5)
    first = grid.log_prob(events).reshape(4, 4).logsumexp(dim=1)
    torch.testing.assert_close(sharp.log_prob(events).reshape(4, 4).logsumexp(dim=1), (2 * first).log_softmax(dim=0))
    almost = with_temperature(grid, 1e-4).sample(50, generator=generator(1))
    assert (almost == almost[0]).all()


def test_the_guided_flow_keeps_the_mode_of_the_flow():
    for flow in (random_flow("maf"), random_flow("maf").train()):
        for other in (guided(flow, None, 1.0), with_temperature(flow, 0.5), guided(flow, None, 1.0, temperature=2.0)):
            assert {part.training for part in other.modules()} == {flow.training}


# --- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES = [
    (lambda: guided(maf(2, 1), None, -0.5), r"guided: weight must be a number of at least 0; got -0\.5"),
    (lambda: guided(maf(2, 1), None, math.nan), r"guided: weight must be a number of at least 0; got nan"),
    (lambda: guided(maf(2, 1), None, 1.0, temperature=0.0), r"with_temperature: temperature must be a positive number"),
    (lambda: guided(maf(2), None, 1.0), r"guided: leads a conditional DiscreteGrid, or .*; got Flow without context\."),
    (lambda: guided(StandardNormal(2), None, 1.0), r"guided: leads a conditional .*; got StandardNormal\."),
    (
        lambda: guided(nsf(2, 1), None, 1.0),
        r"guided: has a closed form for layers of affine maps \(Affine, Shift\) .* and for DiscreteGrid; the flow "
        r"holds Autoregressive of RationalQuadratic\.",
    ),
    (lambda: guided(iaf(2, 1), None, 1.0), r"guided: .*; the flow holds Autoregressive from the latent to data\."),
    (
        lambda: guided(Flow(DiagonalNormal(2, context=1), Autoregressive(Affine(), 2, context=1).inv), None, 1.0),
        r"guided: leads layers, and the base DiagonalNormal has a context\. Give it none\.",
    ),
    (
        lambda: guided(glow((1, 4, 4), 1, levels=1, coupling="spline"), None, 1.0),
        r"guided: .*; the flow holds Coupling of RationalQuadratic\.",
    ),
    (
        lambda: guided(maf(2, 3), None, 1.0, unconditional=[0.0]),
        r"ContextPair: unconditional must have the shape of one context, \(3,\); got \(1,\)\.",
    ),
    (lambda: with_temperature(maf(2), -1.0), r"with_temperature: temperature must be a positive number; got -1\.0"),
    (lambda: with_temperature(StandardNormal(2), 2.0), r"with_temperature: scales the noise .*; got StandardNormal\."),
    (
        lambda: with_temperature(window_flow((1, 2, 2), values=4, univariate="steps", hidden=(4, 4)), 2.0),
        r"with_temperature: scales the noise .*; got Flow on Uniform, which lives on ",
    ),
    (
        lambda: GuidedAffine(RationalQuadratic(4), weight=1.0),
        r"GuidedAffine: .* affine maps, .* RationalQuadratic\.",
    ),
    (lambda: GuidedAffine(Shift(), weight=-1.0), r"GuidedAffine: weight must be a number of at least 0; got -1\.0"),
    (
        lambda: Guided(Autoregressive(Affine(), 2), weight=1.0),
        r"Guided: leads layers of affine maps .*; got Autoregressive without context of Affine\.",
    ),
    (
        lambda: Guided(Elementwise(RationalQuadratic(4), 2, context=1), weight=1.0),
        r"Guided: leads layers of affine maps .*; got Elementwise of RationalQuadratic\.",
    ),
    (lambda: Guided(Chain([Elementwise(Shift(), 2)]), weight=1.0), r"Guided: leads .*; got Chain without context\."),
    (
        lambda: FirstContext(Elementwise(Shift(), 2, context=2), context=1),
        r"FirstContext: bijection must have a context of at most 1 features; got \(2,\)\.",
    ),
    (lambda: FirstContext(Elementwise(Shift(), 2), context=1), r"FirstContext: .* at most 1 features; got none\."),
    (lambda: GuidedGrid(random_grid(), weight=-1.0), r"GuidedGrid: weight must be a number of at least 0; got -1\.0"),
    (
        lambda: GuidedGrid(random_grid(), temperature=0.0),
        r"GuidedGrid: temperature must be a positive .*; got 0\.0",
    ),
    (lambda: GuidedGrid(random_grid(), floor=-1.0), r"GuidedGrid: floor must be a number of at least 0; got -1\.0"),
    (lambda: GuidedGrid(random_grid(0), weight=1.0), r"GuidedGrid: guidance leads .*, and the grid has none\."),
    (lambda: ContextPair(0), r"ContextPair: context_shape must be a whole number of at least 1; got 0"),
    (lambda: pf.bijections.Scale(0, factor=2.0), r"Scale: features must be a whole number of at least 1; got 0"),
    (lambda: pf.bijections.Scale(2, factor=0.0), r"Scale: factor must be a positive number; got 0\.0"),
    (lambda: pf.bijections.Scale(2, factor=1.0, shift=math.inf), r"Scale: shift must be a finite number; got inf\."),
]


@pytest.mark.parametrize(("build", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_mistakes_are_one_sentence(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_guided_grid_is_fitted_like_its_grid():
    x = torch.tensor([0.0, 0.0, 3.0, 3.0]).repeat(50, 1).reshape(-1, 1, 2, 2)
    grid = DiscreteGrid((1, 2, 2), levels=4, context=5, planes=1, hidden=(8, 8), recurrent=4)
    pf.fit(guided(grid, None, 1.0), x, torch.ones(50, 5), steps=2, progress=False)
    assert grid.network.last_bias.argsort()[-2:].sort().values.tolist() == [0, 3]  # the levels that there are

"""Every property of distributions over every registered one and every named flow, untrained and with random weights."""

import copy
import math

import properties_distribution as properties
import pytest
import torch
from cases import DISTRIBUTIONS, FLOW_SPECS, GENTLE, context_for, generator, label, named_flow, random_part

from pushforward.bijections import Standardize
from pushforward.core.config import build
from pushforward.distributions import Flow, MultivariateNormal, Normal, StandardNormal, StudentT, Uniform

PROPERTIES = [
    properties.sample_shapes,
    properties.log_prob_of_samples,
    properties.samples_follow_the_generator,
    properties.rsample_gradients,
    properties.survives_config_and_copies,
    properties.float32_is_close,
    properties.condition_fixes_the_context,
]
INTEGRALS = [properties.integrates_to_one, properties.samples_follow_the_density]
ALL = [*DISTRIBUTIONS, *FLOW_SPECS]
MEASURED = [config for config in FLOW_SPECS if config["flow"] != "circular_nsf"]  # angles need no standardising


def each(configs):
    return pytest.mark.parametrize("config", configs, ids=label)


def each_property(some):
    return pytest.mark.parametrize("prop", some, ids=lambda prop: prop.__name__)


def untrained(config):
    return (named_flow(config) if "flow" in config else build(config)).eval().to(torch.float64)


def gently_random(config):
    return random_part(config, size=GENTLE)


def contexts(distribution):
    return [context_for(distribution, (), generator(seed)) for seed in (21, 22)][
        : 2 if distribution.context_shape else 1
    ]


def dimension(config):
    return config["features"] if "flow" in config else math.prod(build(config).event_shape)


@each_property(PROPERTIES)
@each(ALL)
def test_every_distribution_keeps_the_property(config, prop):
    distribution = random_part(config, size=GENTLE if prop is properties.float32_is_close else 0.7)
    prop(distribution, contexts(distribution)[0])


@each_property(INTEGRALS)
@pytest.mark.parametrize("make", [untrained, gently_random])
@each([config for config in ALL if dimension(config) <= 2])
def test_integrals(config, make, prop):
    distribution = make(config)
    for context in contexts(distribution):
        prop(distribution, context)


@each(
    [
        config
        for config in ALL
        if not config.get("learn_df") and config.get("type") not in ("GaussianMixture", "MixedTypeModel")
    ]
)
def test_rsample_gradients_are_slopes(config):
    """Not for learned degrees of freedom and for mixtures: the points of a sampler that accepts or chooses do not move
    the way its gradients say."""
    distribution = random_part(config)
    if list(distribution.parameters()):
        properties.rsample_gradients_are_slopes(distribution, contexts(distribution)[0])


def test_student_gradients_are_right_on_average():
    """d/dν E[tanh²(x)] from points against the same from integrals of the density."""

    def mean(df):
        student = StudentT(1, df=df).to(torch.float64)
        x, mass = properties.masses(student, None)
        return (x[:, 0].tanh().square() * mass).sum().item()

    expected = (mean(2.1) - mean(1.9)) / 0.2
    student = StudentT(1, df=2.0, learn_df=True).to(torch.float64)
    points = student.rsample((40000,), generator=generator(5)).tanh().square()
    (slope,) = torch.autograd.grad(points.mean(), student.log_df)
    assert slope.item() / 2.0 == pytest.approx(expected, abs=2e-3)
    assert abs(expected) > 0.01


# --- the simple ones against formulas of their own -----------------------------------------------------------------


def test_known_densities():
    x = torch.tensor([[0.3, -1.2], [2.0, 0.1]], dtype=torch.float64)
    covariance = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    pairs = [
        (
            Normal([0.0, 1.0], [0.5, 2.0]),
            torch.distributions.Normal(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 2.0])),
        ),
        (StudentT(2, df=3.5), torch.distributions.StudentT(3.5)),
        (StandardNormal(2), torch.distributions.Normal(0.0, 1.0)),
        (
            Uniform([-2.0, -2.0], [3.0, 2.0]),
            torch.distributions.Uniform(torch.tensor([-2.0, -2.0]), torch.tensor([3.0, 2.0])),
        ),
    ]
    for ours, theirs in pairs:
        properties.close(
            ours.to(torch.float64).log_prob(x), theirs.log_prob(x).sum(-1), type(ours).__name__, properties.ROUNDING
        )
    ours = MultivariateNormal([0.0, 1.0], covariance.tolist()).to(torch.float64)
    theirs = torch.distributions.MultivariateNormal(torch.tensor([0.0, 1.0], dtype=torch.float64), covariance)
    properties.close(ours.log_prob(x), theirs.log_prob(x), "MultivariateNormal", properties.ROUNDING)


def test_student_tails_neither_overflow_nor_jump():
    student = StudentT(1, df=3.0, learn_df=True)
    x = torch.tensor([[1e6], [3e6], [1e12], [1e18], [1e30]], requires_grad=True)
    log_prob = student.log_prob(x)
    slopes = log_prob.diff() / x.detach()[:, 0].log().diff()
    assert torch.allclose(slopes, torch.tensor(-4.0), rtol=1e-3)  # power -(ν + 1)
    log_prob.sum().backward()
    assert bool(x.grad.isfinite().all())
    assert bool(student.log_df.grad.isfinite().all())


@pytest.mark.parametrize("make", [Normal, MultivariateNormal])
def test_initialize_is_the_maximum_likelihood_fit(make):
    x = (
        torch.randn(500, 2, dtype=torch.float64, generator=generator(1))
        @ torch.tensor([[1.0, 0.7], [0.0, 0.4]]).double()
    )
    normal = make([0.0, 0.0]).to(torch.float64)
    normal.initialize(x)
    for parameter, grad in zip(
        normal.parameters(), torch.autograd.grad(normal.log_prob(x).mean(), list(normal.parameters())), strict=True
    ):
        assert grad.abs().max() < 1e-9, f"not at the maximum in {tuple(parameter.shape)}"


# --- flows ---------------------------------------------------------------------------------------------------------


@each(FLOW_SPECS)
def test_latent_and_data_points_belong_together(config):
    flow = random_part(config)
    context = context_for(flow, (6,), generator(3))
    z = torch.randn(6, *flow.base.event_shape, dtype=torch.float64, generator=generator(4))
    x = flow.to_data(z, context)
    properties.close(flow.to_latent(x, context), z, "to_latent(to_data(z))", properties.ROUNDING)
    assert flow.is_exact
    assert flow(x, context).equal(flow.log_prob(x, context))


@each([config for config in MEASURED if config.get("data_dtype")])
def test_wide_data_keep_their_digits_in_a_narrow_model(config):
    """Epoch seconds: float32 steps by 128 there, so a float32 path would move points by minutes."""
    flow = named_flow(config).eval()
    start = 1.7e9 + 3600 * torch.rand(400, 2, dtype=torch.float64, generator=generator(1))
    context = None if flow.context_shape is None else start + 5.0
    flow.initialize(start, context)
    assert flow.dtype == torch.float64
    assert next(flow.parameters()).dtype == torch.float32
    back = flow.to_data(flow.to_latent(start, context), context)
    assert back.dtype == torch.float64
    assert (back - start).abs().max() < 0.01
    expected = -math.log(2 * math.pi) - 1 - 2 * math.log(3600 / math.sqrt(12))  # a normal of the data's own scale
    assert flow.log_prob(start, context).mean().item() == pytest.approx(expected, abs=0.1)


def test_a_context_map_sees_raw_contexts():
    """A flow that standardises its context is blind to the context's units once both are measured."""
    flow = random_part({"flow": "nsf", "features": 2, "context": 2})
    x, context = torch.randn(50, 2, dtype=torch.float64), torch.randn(50, 2, dtype=torch.float64)
    scaled = copy.deepcopy(flow)
    for model, scale in ((flow, 1.0), (scaled, 1e4)):
        for part in model.modules():
            if isinstance(part, Standardize):
                part.initialized.fill_(False)
        model.initialize(x, scale * context)
    properties.close(
        scaled.log_prob(x, 1e4 * context), flow.log_prob(x, context), "after a change of units", properties.ROUNDING
    )


@each([config for config in MEASURED if config["features"] == 2 and "tails" not in config])
def test_initialize_measures_once(config):
    flow = untrained(config)
    x = 5 + 3 * torch.randn(200, 2, dtype=torch.float64)
    context = None if flow.context_shape is None else -1 + 2 * torch.randn(200, 2, dtype=torch.float64)
    properties.measured_once(flow, x, context)
    z = next(part for part in flow.bijection.modules() if isinstance(part, Standardize)).forward(x)
    properties.close(z.mean(0), torch.zeros(2, dtype=torch.float64), "the mean after initialize")
    properties.close(z.std(0, correction=0), torch.ones(2, dtype=torch.float64), "the scale after initialize")


def test_a_flow_on_the_ball_has_minus_infinity_outside():
    flow = random_part(next(c for c in DISTRIBUTIONS if c["type"] == "Flow" and "RadialSquash" in str(c)))
    x = torch.tensor([[0.0, 0.0], [0.9, 0.9], [1.0, 0.0]], dtype=torch.float64)
    assert flow.log_prob(x).isfinite().tolist() == [True, False, False]


def test_a_base_with_bounds_is_respected_by_the_flow():
    """Points whose latent leaves the box of the base have no density."""
    affine = build({"type": "Elementwise", "univariate": {"type": "Affine"}, "features": 1})
    with torch.no_grad():
        affine.params[0].fill_(2.0)  # x = z + 2
    flow = Flow(Uniform([0.0], [1.0]), affine)
    assert flow.log_prob(torch.tensor([[2.5], [0.5]])).tolist() == [0.0, -math.inf]

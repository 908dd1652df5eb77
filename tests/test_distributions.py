"""Every property of distributions over every registered one and every named flow, untrained and with random weights."""

import copy
import math

import pytest
import torch
from cases import (
    DISTRIBUTIONS,
    FLOW_SPECS,
    GENTLE,
    PLAIN_FLOWS,
    THOROUGH,
    all_flow_specs,
    context_for,
    exhaustive,
    firsts,
    generator,
    label,
    named_flow,
    part_of,
    random_part,
    with_rest,
)

from pushforward.bijections import Standardize
from pushforward.core.config import build
from pushforward.distributions import Flow, MultivariateNormal, Normal, StandardNormal, StudentT, Uniform
from pushforward.flows import FLOWS
from pushforward.testing import distribution_properties, failures
from pushforward.testing.comparison import close
from pushforward.testing.distributions import ROUNDING, float32_is_close, rsample_gradients_are_slopes
from pushforward.testing.quadrature import masses
from pushforward.testing.rows import measured_once

ALL = [*DISTRIBUTIONS, *FLOW_SPECS]
# What a flow adds to its bijection is the same in all, and one of them meets every pair of options.
SOME_FLOWS = [c for c in FLOW_SPECS if c in firsts(FLOW_SPECS) and c["flow"] in ("circular_nsf", "nsf", "real_nvp")]
SOME_FLOWS += [c for c in FLOW_SPECS if c["flow"] in THOROUGH and c["features"] == 1]
MORE_FLOWS = [c for c in FLOW_SPECS if c not in SOME_FLOWS]
MEASURED = [config for config in firsts(PLAIN_FLOWS) if config["flow"] != "circular_nsf"]  # angles are not standardised
INTEGRALS = ("integrates_to_one", "samples_follow_the_density")


def each(configs):
    return pytest.mark.parametrize("config", configs, ids=label)


def keeps_every_property(subtests, distribution, names=None):
    """One subtest for each property that fails, under its name."""
    for context in contexts(distribution)[: 1 if names is None else 2]:
        checks = distribution_properties(distribution, context)
        for name, error in failures({k: v for k, v in checks.items() if names is None or k in names}).items():
            with subtests.test(name):
                raise error


def contexts(distribution):
    return [context_for(distribution, (), generator(seed)) for seed in (21, 22)][
        : 2 if distribution.context_shape else 1
    ]


@each(with_rest([config for config in ALL if config not in MORE_FLOWS], MORE_FLOWS))
def test_every_distribution_keeps_the_properties(config, subtests):
    distribution = random_part(config, size=GENTLE)
    keeps_every_property(subtests, distribution)
    if distribution.reparametrized and list(distribution.parameters()) and moves_smoothly(config):
        with subtests.test("rsample_gradients_are_slopes"):
            rsample_gradients_are_slopes(distribution, contexts(distribution)[0])


def moves_smoothly(config):
    """Not so with learned degrees of freedom, for mixtures and where gamma variables are drawn: the points of a sampler
    that accepts or chooses do not move the way its gradients say."""
    choosing = ("GaussianMixture", "MixedTypeModel", "Beta", "Dirichlet", "Gamma", "GeneralizedNormal")
    parts = [config, *config.get("parts", [])]
    return not config.get("learn_df") and not any(part.get("type") in choosing for part in parts)


@exhaustive
@each(list(all_flow_specs()))
def test_every_combination_of_options_keeps_the_properties(config, subtests):
    keeps_every_property(subtests, random_part(config, size=GENTLE))


@each(firsts(ALL))
def test_single_precision_is_close_to_double(config):
    distribution = random_part(config, size=GENTLE)
    float32_is_close(distribution, contexts(distribution)[0])


@each([*firsts(DISTRIBUTIONS), *({"flow": name, "features": 1, "context": 2} for name in FLOWS)])
def test_integrals_of_untrained_ones_and_in_another_context(config, subtests):
    for distribution in (part_of(config).eval().to(torch.float64), random_part(config, size=GENTLE)):
        keeps_every_property(subtests, distribution, INTEGRALS)


def test_student_gradients_are_right_on_average():
    """d/dν E[tanh²(x)] from points against the same from integrals of the density."""

    def mean(df):
        student = StudentT(1, df=df).to(torch.float64)
        x, mass = masses(student, None)
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
        close(ours.to(torch.float64).log_prob(x), theirs.log_prob(x).sum(-1), type(ours).__name__, ROUNDING)
    ours = MultivariateNormal([0.0, 1.0], covariance.tolist()).to(torch.float64)
    theirs = torch.distributions.MultivariateNormal(torch.tensor([0.0, 1.0], dtype=torch.float64), covariance)
    close(ours.log_prob(x), theirs.log_prob(x), "MultivariateNormal", ROUNDING)


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


@each(with_rest(firsts(FLOW_SPECS), [config for config in FLOW_SPECS if config not in firsts(FLOW_SPECS)]))
def test_latent_and_data_points_belong_together(config):
    flow = random_part(config)
    context = context_for(flow, (6,), generator(3))
    z = torch.randn(6, *flow.base.event_shape, dtype=torch.float64, generator=generator(4))
    x = flow.to_data(z, context)
    close(flow.to_latent(x, context), z, "to_latent(to_data(z))", ROUNDING)
    assert flow.is_exact
    assert flow(x, context).equal(flow.log_prob(x, context))


@each([{**config, "data_dtype": "float64"} for config in MEASURED])
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
    close(scaled.log_prob(x, 1e4 * context), flow.log_prob(x, context), "after a change of units", ROUNDING)


@each(MEASURED)
def test_initialize_measures_once(config):
    flow = named_flow(config).eval().to(torch.float64)
    x = 5 + 3 * torch.randn(200, 2, dtype=torch.float64)
    context = None if flow.context_shape is None else -1 + 2 * torch.randn(200, 2, dtype=torch.float64)
    measured_once(flow, x, context)
    z = next(part for part in flow.bijection.modules() if isinstance(part, Standardize)).forward(x)
    close(z.mean(0), torch.zeros(2, dtype=torch.float64), "the mean after initialize")
    close(z.std(0, correction=0), torch.ones(2, dtype=torch.float64), "the scale after initialize")


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

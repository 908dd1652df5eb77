"""Exact conditionals, marginals and the Rosenblatt transform, held against integrals, closed forms and each other."""

import contextlib
import math

import pytest
import torch
from cases import context_for, firsts, generator, label, random_part, with_rest

from pushforward.bijections import Chain, Coupling, Elementwise, Flip, GaussianRosenblatt, Standardize
from pushforward.core.checks import NotInvertibleError
from pushforward.core.student import student_cdf, student_icdf
from pushforward.distributions import (
    CircularUniform,
    Conditional,
    Flow,
    GaussianMixture,
    MultivariateNormal,
    Normal,
    StandardNormal,
    StudentT,
    Uniform,
)
from pushforward.flows import nsf
from pushforward.testing import comparison as properties
from pushforward.testing import distributions as properties_distribution
from pushforward.testing.quadrature import integrates_to_one, samples_follow_the_density
from pushforward.univariate import Affine

DTYPE = torch.float64
SPLINE = {"type": "RationalQuadratic", "bins": 4}


def autoregressive(features, **options):
    return {"type": "Autoregressive", "univariate": SPLINE, "features": features, "hidden": [12], **options}


def flow(bijection, base="StandardNormal", **options):
    features = options.pop("features", 3)
    return {"type": "Flow", "base": {"type": base, "features": features}, "bijection": bijection, **options}


def inverse(*parts):
    return {"type": "Inverse", "bijection": {"type": "Chain", "parts": list(parts)}}


STANDARDIZE = {"type": "Standardize", "features": 3}
ELEMENTWISE = {"type": "Elementwise", "univariate": {"type": "Affine"}, "features": 3}
COUPLING = {"type": "Coupling", "univariate": {"type": "Affine"}, "features": 3, "hidden": [8]}
NORMAL = {"type": "MultivariateNormal", "loc": [0.0, 1.0], "covariance": [[2.0, 0.6], [0.6, 0.5]]}
TURN = {"type": "Elementwise", "univariate": {"type": "CircularShift"}, "features": 2}
AROUND = {
    "type": "Autoregressive",
    "univariate": {"type": "CircularRationalQuadratic", "bins": 3},
    "features": 2,
    "hidden": [8],
}
UNEQUAL = {"type": "Normal", "loc": [0.5, -1.0], "scale": [0.5, 2.0]}
PLAIN = [
    flow(inverse(STANDARDIZE, autoregressive(3)), "StudentT"),
    flow(inverse(autoregressive(3), ELEMENTWISE, autoregressive(3))),
    flow({"type": "Chain", "parts": [COUPLING, ELEMENTWISE]}),
    flow({"type": "Banana", "bend": 0.5}, features=2),
    flow({"type": "GaussianRosenblatt", "loc": [0.5, 1.0], "covariance": [[2.0, 0.6], [0.6, 0.5]]}, features=2),
    flow(
        {"type": "GridRosenblatt", "values": [[1.0, 2.0], [3.0, 0.5]], "low": [0.0, 1.0], "high": [1.0, 4.0]},
        features=2,
    ),
    {"type": "Flow", "base": NORMAL, "bijection": autoregressive(2)},
    {
        "type": "Flow",
        "base": {"type": "Uniform", "low": [0.0, 1.0], "high": [1.0, 3.0]},
        "bijection": autoregressive(2),
    },
    {"type": "GaussianMixture", "weights": [0.4, 0.6], "means": [[-1.0, 0.0, 0.3], [1.0, 1.0, 0.0]]},
    NORMAL,
    {"type": "StudentT", "features": 2, "df": 2.5},
    {"type": "Flow", "base": UNEQUAL, "bijection": autoregressive(2)},
    flow({"type": "Chain", "parts": [TURN, AROUND, TURN]}, "CircularUniform", features=2),
]
CONDITIONAL = [
    flow(inverse(autoregressive(3, context=2))),
    flow(inverse(autoregressive(3, context=2)), context_map={"type": "Standardize", "features": 2}),
    flow(autoregressive(3, context=2), "StudentT"),
]
ALL = [*PLAIN, *CONDITIONAL]
BASES = [
    {"type": "StandardNormal", "features": 2},
    UNEQUAL,
    {"type": "Uniform", "low": [-1.0, 0.0], "high": [1.0, 3.0]},
    {"type": "CircularUniform", "features": 2},
    {"type": "StudentT", "features": 2, "df": 1.7},
]


def each(configs):
    return pytest.mark.parametrize("config", configs, ids=label)


def situation(config, rows=6):
    """A randomised distribution, points that it drew itself, and their contexts."""
    distribution = random_part(config)
    context = context_for(distribution, (rows,), generator(1))
    x = distribution.sample(() if context is not None else (rows,), context, generator=generator(2))
    return distribution, x, context


def prefixes(distribution):
    return range(1, distribution.event_shape[0])


# --- the chain rule ------------------------------------------------------------------------------------------------


@each(ALL)
def test_the_chain_rule_is_exact(config):
    """log q(x) = log q(x_≤k) + log q(x_>k | x_≤k) for every k."""
    distribution, x, context = situation(config)
    whole = distribution.log_prob(x, context)
    for k in prefixes(distribution):
        first = distribution.marginal(k).log_prob(x[..., :k], context)
        rest = distribution.given(x[..., :k]).log_prob(x[..., k:], context)
        properties.close(first + rest, whole, f"the chain rule at {k}", {DTYPE: 1e-11})
    properties.close(distribution.marginal(x.shape[-1]).log_prob(x, context), whole, "the whole margin", {DTYPE: 1e-11})


@each(ALL)
def test_conditionals_of_conditionals(config):
    """Features fixed one after the other, in either order of asking, are the same as fixed together."""
    distribution, x, context = situation(config)
    if x.shape[-1] < 3:
        return
    together = distribution.given(x[..., :2]).log_prob(x[..., 2:], context)
    one = distribution.given(x[..., :1])
    properties.same([one.given(x[..., 1:2]).log_prob(x[..., 2:], context)], [together], "given of given")
    middle = one.marginal(1).log_prob(x[..., 1:2], context)
    properties.close(middle + together, one.log_prob(x[..., 1:], context), "margin of given", {DTYPE: 1e-11})
    again = distribution.marginal(2).given(x[..., :1]).log_prob(x[..., 1:2], context)
    properties.same([again], [middle], "given of a margin")


INTEGRATED = [c for c in PLAIN if "'Uniform'" not in str(c)]  # no grid sees the edges of a moved box


@each(with_rest(firsts(INTEGRATED), [c for c in INTEGRATED if c not in firsts(INTEGRATED)]))
def test_conditionals_are_distributions(config):
    """They integrate to one, and their samples follow them."""
    distribution = random_part(config, size=0.4)
    features = distribution.event_shape[0]
    x = distribution.sample((), generator=generator(4))
    views = [distribution.given(x[: features - 1]), distribution.marginal(1), distribution.marginal(2)]
    for view in views:
        integrates_to_one(view, None)
        samples_follow_the_density(view, None)
        properties_distribution.log_prob_of_samples(view, None)
        properties_distribution.samples_follow_the_generator(view, None)


@each(with_rest(CONDITIONAL[:1], CONDITIONAL[1:]))
def test_conditionals_of_conditional_flows_are_distributions(config):
    distribution, x, context = situation(config, 1)
    for view in (distribution.given(x[0, :2]), distribution.given(x[0, :1]), distribution.marginal(1)):
        if view.event_shape[0] < 3:
            integrates_to_one(view, context[0])
            samples_follow_the_density(view, context[0])
        properties_distribution.condition_fixes_the_context(view, context[0])
        properties_distribution.sample_shapes(view, context[0])


# --- the Gaussian, in closed form ----------------------------------------------------------------------------------


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("way", ["MultivariateNormal", "Flow"])
def test_a_normal_has_the_conditionals_of_the_textbook(way):
    loc = torch.tensor([1.0, -2.0, 0.5, 300.0], dtype=DTYPE)
    half = torch.tensor([[1.0, 0, 0, 0], [0.5, 2.0, 0, 0], [-0.25, 1.0, 0.5, 0], [8.0, -16.0, 4.0, 50.0]], dtype=DTYPE)
    covariance = half @ half.t()
    arguments = loc.tolist(), covariance.tolist()
    with default_dtype(DTYPE):  # lists become parameters of the default dtype
        normal = (
            MultivariateNormal(*arguments)
            if way == "MultivariateNormal"
            else Flow(StandardNormal(4), GaussianRosenblatt(*arguments))
        )
    x = loc + torch.randn(5, 4, dtype=DTYPE, generator=generator(1)) @ half.t()
    for k in (1, 2, 3):
        gain = covariance[k:, :k] @ torch.linalg.inv(covariance[:k, :k])
        mean = loc[k:] + (x[:, :k] - loc[:k]) @ gain.t()
        rest = covariance[k:, k:] - gain @ covariance[:k, k:]
        expected = torch.distributions.MultivariateNormal(mean, rest)
        conditional = normal.given(x[:, :k])
        properties.close(conditional.log_prob(x[:, k:]), expected.log_prob(x[:, k:]), "log_prob", {DTYPE: 1e-10})
        properties.close(conditional.icdf(torch.full((5, 4 - k), 0.5, dtype=DTYPE)), mean, "the median", {DTYPE: 1e-10})
        sample = conditional.sample((20000,), generator=generator(2))
        assert ((sample.mean(0) - mean) / rest.diagonal().sqrt()).abs().max() < 0.04
        assert (torch.cov(sample[:, 0].t()) - rest).div(rest.diagonal().max()).abs().max() < 0.04
        margin = torch.distributions.MultivariateNormal(loc[:k], covariance[:k, :k])
        properties.close(normal.marginal(k).log_prob(x[:, :k]), margin.log_prob(x[:, :k]), "the margin", {DTYPE: 1e-10})


# --- cdf and icdf --------------------------------------------------------------------------------------------------


@each([*ALL, *BASES])
def test_the_transform_of_own_points_is_uniform(config):
    """Each coordinate, and pairs of them: bounded by the Kolmogorov-Smirnov distance and the correlation."""
    distribution, _, context = situation(config, 1)
    n = 4000
    x = distribution.sample((n,), None if context is None else context[0], generator=generator(3))
    u = distribution.cdf(x, None if context is None else context[0])
    assert u.shape == x.shape
    assert bool(((u > 0) & (u < 1)).all())
    steps = torch.arange(1, n + 1, dtype=DTYPE)[:, None] / n
    distance = (u.sort(dim=0).values - steps).abs().max()
    assert distance < 1.95 / math.sqrt(n), f"Kolmogorov-Smirnov distance {distance:.3g}"  # one in a thousand
    if u.shape[1] > 1:
        correlation = torch.corrcoef(u.t()) - torch.eye(u.shape[1], dtype=DTYPE)
        assert correlation.abs().max() < 4 / math.sqrt(n)


@each([*ALL, *BASES])
def test_icdf_is_the_inverse_of_cdf(config):
    distribution, x, context = situation(config)
    u = distribution.cdf(x, context)
    properties.close(distribution.icdf(u, context), x, "icdf(cdf(x))", {DTYPE: 1e-7})
    u = torch.rand(x.shape, dtype=DTYPE, generator=generator(5))
    properties.close(distribution.cdf(distribution.icdf(u, context), context), u, "cdf(icdf(u))", {DTYPE: 1e-9})


@each([*ALL, *BASES])
def test_the_slope_of_the_cdf_is_the_density(config):
    """The last feature's: d/dx_D F(x_D | x_<D) = q(x_D | x_<D); all of them in the Jacobian."""
    distribution, x, context = situation(config)

    def transform(x):
        return distribution.cdf(x, context)

    matrix = properties.jacobian(transform, x)
    assert bool((matrix.triu(1) == 0).all()), "an earlier feature sees a later one"
    expected = distribution.log_prob(x, context)
    properties.close(matrix.diagonal(dim1=1, dim2=2).log().sum(-1), expected, "log of the slopes", {DTYPE: 1e-8})


@each([*ALL, *BASES])
def test_views_have_the_transform_of_the_whole(config):
    distribution, x, context = situation(config)
    u = distribution.cdf(x, context)
    for k in prefixes(distribution):
        conditional, margin = distribution.given(x[..., :k]), distribution.marginal(k)
        properties.close(conditional.cdf(x[..., k:], context), u[..., k:], "cdf of given", {DTYPE: 1e-11})
        properties.close(conditional.icdf(u[..., k:], context), x[..., k:], "icdf of given", {DTYPE: 1e-7})
        properties.close(margin.cdf(x[..., :k], context), u[..., :k], "cdf of a margin", {DTYPE: 1e-11})
        properties.close(margin.icdf(u[..., :k], context), x[..., :k], "icdf of a margin", {DTYPE: 1e-7})


def test_known_points_far_in_the_tail_keep_their_digits():
    """A probability of 1 - 10⁻⁴⁰ is one: the observed value must not pass through its cdf."""
    normal = MultivariateNormal([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]]).to(DTYPE)
    conditional = normal.given(torch.tensor([30.0], dtype=DTYPE))
    properties.close(
        conditional.icdf(torch.tensor([0.5], dtype=DTYPE)), torch.tensor([15.0], dtype=DTYPE), "median", {DTYPE: 1e-12}
    )
    assert (conditional.sample((1000,), generator=generator(1)) - 15).abs().max() < 5


# --- Student's t ---------------------------------------------------------------------------------------------------

X = torch.tensor([-1e100, -1e8, -300.0, -10.0, -2.0, -1e-9, 0.0, 1e-3, 0.5, 3.0, 40.0], dtype=DTYPE)


@pytest.mark.parametrize(
    ("df", "exact"),
    [
        (1.0, lambda x: torch.where(x < 0, torch.atan(-1 / x) / math.pi, 0.5 + torch.atan(x) / math.pi)),
        (2.0, lambda x: 0.5 + x / (2 * (2 + x * x).sqrt())),
        (4.0, lambda x: 0.5 + 0.375 * _sine(x) * (1 - _sine(x) ** 2 / 3) * 2),
    ],
)
def test_student_against_closed_forms(df, exact):
    log_df = torch.tensor(df, dtype=DTYPE).log()
    u = student_cdf(X, log_df)
    near = X if df == 1 else X[X.abs() < 1e7]  # the other formulas subtract in the tail
    properties.close(student_cdf(near, log_df), exact(near), "the cdf", {DTYPE: 1e-13})
    if df == 1:
        assert ((u - exact(X)).abs() <= 1e-12 * exact(X)).all(), "digits are lost in the tail"
    inner = X[(X.abs() > 1e-8) & (X.abs() < 30)]
    properties.close(student_icdf(student_cdf(inner, log_df), log_df), inner, "the quantile", {DTYPE: 1e-11})


def _sine(x):
    return x / (4 + x * x).sqrt()


def test_student_quantiles_of_cauchy_in_both_tails():
    u = torch.tensor([1e-300, 1e-20, 1e-5, 0.25, 0.5, 0.75, 1 - 1e-12], dtype=DTYPE)
    got = student_icdf(u, torch.zeros((), dtype=DTYPE))
    lower, upper = -1 / torch.tan(math.pi * u), 1 / torch.tan(math.pi * (1 - u))
    expected = torch.where(u < 0.5, lower, torch.where(u > 0.5, upper, 0.0))
    assert ((got - expected).abs() <= 1e-12 * expected.abs()).all()


@pytest.mark.parametrize("df", [0.1, 0.6, 1.0, 3.3, 30.0, 1e4])
def test_student_has_derivatives(df):
    """In x it is the density, in ν it is what differences say; both directions."""
    x = torch.tensor([-50.0, -2.0, -1e-3, 0.0, 0.4, 7.0], dtype=DTYPE, requires_grad=True)
    log_df = torch.tensor(math.log(df), dtype=DTYPE, requires_grad=True)
    u = student_cdf(x, log_df)
    (slope,) = torch.autograd.grad(u.sum(), x, retain_graph=True)
    density = torch.distributions.StudentT(log_df.detach().exp()).log_prob(x.detach()).exp()
    properties.close(slope, density, "the slope of the cdf", {DTYPE: 1e-10})
    assert torch.autograd.gradcheck(student_cdf, (x, log_df))
    inner = torch.tensor([0.01, 0.3, 0.5, 0.8], dtype=DTYPE, requires_grad=True)
    if df > 0.5:  # below, quantiles are so far out that differences show nothing
        assert torch.autograd.gradcheck(student_icdf, (inner, log_df))


@pytest.mark.parametrize("df", [0.1, 1.0, 5.0])
def test_student_in_single_precision(df):
    log_df = torch.tensor(math.log(df))
    u = torch.tensor([1e-38, 1e-10, 0.2, 0.5, 0.9, 1 - 2**-24])
    x = student_icdf(u, log_df)
    assert bool(x.isfinite().all())
    if df >= 1:
        assert ((student_cdf(x, log_df) - u).abs() <= 3e-5 * u).all()


# --- shapes and contexts -------------------------------------------------------------------------------------------


@each([ALL[1], ALL[8]])
def test_shapes_with_many_known_rows(config):
    distribution = random_part(config)
    x = distribution.sample((4,), generator=generator(1))
    for observed in (x[:, :1], x[0, :1], x[:, :1].reshape(2, 2, 1)):
        conditional, batch = distribution.given(observed), tuple(observed.shape[:-1])
        assert conditional.event_shape == (2,)
        assert conditional.batch_shape == batch
        for shape in ((), (3,), (2, 3), (0,)):
            assert conditional.sample(shape).shape == (*shape, *batch, 2)
            y, log_prob = conditional.rsample_and_log_prob(shape)
            assert (y.shape, log_prob.shape) == ((*shape, *batch, 2), (*shape, *batch))
            properties.close(log_prob, conditional.log_prob(y.detach()), "rsample_and_log_prob", {DTYPE: 1e-6})
        assert conditional.log_prob(x[0, 1:]).shape == batch
        assert conditional.cdf(x[0, 1:]).shape == conditional.icdf(conditional.cdf(x[0, 1:])).shape == (*batch, 2)
        assert conditional.given(x[0, 1:2]).log_prob(x[0, 2:]).shape == batch


@each(CONDITIONAL)
def test_context_before_or_after(config):
    """`condition` and `given` commute, one by one and row by row, and agree with context as an argument."""
    distribution, x, context = situation(config)
    observed, rest = x[:, :1], x[:, 1:]
    expected = distribution.given(observed).log_prob(rest, context)
    views = [distribution.condition(context).given(observed), distribution.given(observed).condition(context)]
    for view in views:
        assert torch.equal(view.log_prob(rest), expected)
        assert torch.equal(view.cdf(rest), distribution.given(observed).cdf(rest, context))
        sample = view.sample((5,), generator=generator(1))
        assert torch.equal(sample, distribution.given(observed).sample((5,), context, generator=generator(1)))
        assert sample.shape == (5, 6, 2)
    assert torch.equal(distribution.condition(context).cdf(x), distribution.cdf(x, context))
    assert torch.equal(
        distribution.condition(context).marginal(2).log_prob(x[:, :2]),
        distribution.marginal(2).log_prob(x[:, :2], context),
    )
    u = distribution.cdf(x, context)
    assert torch.equal(distribution.condition(context).icdf(u), distribution.icdf(u, context))
    one = distribution.given(observed[0])  # one known row beside six contexts, and six rows beside one context
    assert one.sample((5,), context).shape == distribution.given(observed).sample((5,), context[0]).shape == (5, 6, 2)
    wide = distribution.given(observed[:, None]).sample((5,), context)
    assert wide.shape == (5, 6, 6, 2)
    with pytest.raises(ValueError, match=r"^FixedContext: built without context; got one"):
        distribution.condition(context).cdf(x, context)


def test_a_wide_flow_keeps_wide_conditionals():
    model = nsf(2, depth=1, hidden=(8,), data_dtype="float64")
    x = 1.7e9 + 3600 * torch.rand(200, 2, dtype=DTYPE, generator=generator(1))
    model.initialize(x)
    conditional = model.given(x[:, :1])
    assert conditional.dtype == DTYPE
    assert conditional.sample(()).dtype == DTYPE
    assert ((conditional.sample((), generator=generator(1)) - 1.7e9 - 1800).abs() < 2e4).all()
    assert conditional.to(torch.float32).observed.dtype == DTYPE, "what is observed was narrowed"


def test_a_view_follows_the_model():
    """It shares the weights: one step of training shows in it. It moves and copies with them."""
    distribution = random_part(ALL[1])
    conditional = distribution.given(torch.zeros(1, dtype=DTYPE))
    x = torch.zeros(2, dtype=DTYPE)
    before = conditional.log_prob(x).item()
    with torch.no_grad():
        for parameter in distribution.parameters():
            parameter.mul_(0.9)
    assert conditional.log_prob(x).item() != before
    assert conditional.to(torch.float32).log_prob(x.float()).dtype == torch.float32
    assert {id(p) for p in conditional.parameters()} == {id(p) for p in distribution.parameters()}


# --- gradients -----------------------------------------------------------------------------------------------------


@each([*PLAIN[:3], *CONDITIONAL])
def test_gradients_of_views_are_those_of_the_whole(config):
    """log q(x) = margin + conditional has the same gradients in weights and x, and samples carry them to known."""
    distribution, x, context = situation(config)
    leaves = [*distribution.parameters(), x.requires_grad_()]
    whole = torch.autograd.grad(distribution.log_prob(x, context).sum(), leaves)
    parts = distribution.marginal(1).log_prob(x[:, :1], context) + distribution.given(x[:, :1]).log_prob(
        x[:, 1:], context
    )
    for a, b in zip(torch.autograd.grad(parts.sum(), leaves), whole, strict=True):
        properties.close(a, b, "gradients of the chain rule", {DTYPE: 1e-9})
    sample = distribution.given(x[:, :1]).rsample((), context, generator=generator(1))
    for grad in torch.autograd.grad(sample.square().sum(), leaves):
        assert bool(grad.isfinite().all())
        assert bool((grad != 0).any())


def test_the_filling_leaves_no_trace_in_gradients():
    """Far features whose filling would be a million standard deviations off."""
    parts = [Standardize(2), random_part(autoregressive(2))]
    parts[0].mean.copy_(torch.tensor([0.0, 1e9]))
    model = Flow(StandardNormal(2), random_part(autoregressive(2)).inv).to(DTYPE)
    shifted = Flow(StandardNormal(2), Chain(parts).inv).to(DTYPE)
    for distribution in (model, shifted):
        x = torch.tensor([[0.3], [1e6]], dtype=DTYPE, requires_grad=True)
        distribution.zero_grad()
        distribution.marginal(1).log_prob(x).sum().backward()
        assert bool(x.grad.isfinite().all())
        assert all(p.grad is None or p.grad.isfinite().all() for p in distribution.parameters())


def test_rsample_of_given_moves_as_its_gradient_says():
    distribution = random_part(ALL[1])
    observed = torch.tensor([0.4], dtype=DTYPE, requires_grad=True)

    def draw(observed):
        return distribution.given(observed).rsample((8,), generator=generator(1))

    assert torch.autograd.gradcheck(draw, (observed,), eps=1e-6, atol=1e-5)


# --- bad rows ------------------------------------------------------------------------------------------------------


@each([*PLAIN[:3], PLAIN[8]])
def test_a_bad_known_row_spoils_itself_only(config):
    distribution, x, _ = situation(config)
    rows = torch.arange(6)
    good_log_prob = distribution.given(x[:, :1]).log_prob(x[:, 1:])
    for value, answer in ((math.nan, math.nan), (math.inf, -math.inf), (-math.inf, -math.inf)):
        observed = x[:, :1].clone()
        observed[2] = value
        conditional = distribution.given(observed)
        log_prob = conditional.log_prob(x[:, 1:])
        properties.same([log_prob[rows != 2]], [good_log_prob[rows != 2]], "the other rows")
        assert log_prob[2].item() == answer or (math.isnan(answer) and log_prob[2].isnan())
        assert conditional.cdf(x[:, 1:]).isnan().any(-1).tolist() == (rows == 2).tolist()
        assert conditional.icdf(torch.full_like(x[:, 1:], 0.5)).isnan().any(-1).tolist() == (rows == 2).tolist()
        sample, sample_log_prob = conditional.rsample_and_log_prob((3,))
        assert sample.isnan().any(-1).any(0).tolist() == sample_log_prob.isnan().any(0).tolist() == (rows == 2).tolist()
        assert conditional.rsample(2).isnan().any(-1).any(0).tolist() == (rows == 2).tolist()
        distribution.zero_grad()
        (log_prob[rows != 2].sum() + sample[:, rows != 2].sum() + sample_log_prob[:, rows != 2].sum()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in distribution.parameters())


def test_a_known_point_outside_the_support():
    uniform = Uniform([0.0, 0.0], [1.0, 2.0])
    conditional = uniform.given(torch.tensor([[0.5], [1.5]]))
    assert conditional.log_prob(torch.tensor([1.0])).tolist() == [pytest.approx(-math.log(2)), -math.inf]
    assert conditional.support == uniform.support.parts[1]
    assert conditional.sample(()).isnan().flatten().tolist() == [False, True]


@each([c for c in ALL if "Grid" not in str(c) and "Circular" not in str(c) and c["type"] != "StudentT"])
def test_bad_entries_of_the_transform(config):
    """An infinite entry has probability 0 or 1; what comes after it has no condition; NaN stays NaN."""
    distribution, x, context = situation(config)
    u = distribution.cdf(x, context)
    x[0, 0], x[1, 0], x[2, -1], x[3, -1] = math.inf, math.nan, -math.inf, math.nan
    got = distribution.cdf(x, context)
    assert got[0, 0] == 1
    assert bool(got[0, 1:].isnan().all())
    assert bool(got[1].isnan().all())
    assert got[2, -1] == 0
    assert bool(got[3, -1].isnan())
    properties.same([got[2:, :-1], got[4:]], [u[2:, :-1], u[4:]], "good entries")
    u[0, 0], u[1, 0], u[2, -1], u[3, -1], u[4, -1] = 1.0, math.nan, 0.0, 1.5, -0.5
    back = distribution.icdf(u, context)
    low, high = -math.inf, math.inf
    assert back[0, 0] == high
    assert bool(back[0, 1:].isnan().all())
    assert bool(back[1].isnan().all())
    assert back[2, -1] == low
    assert bool(back[3:5, -1].isnan().all())
    assert bool(back[2:, :-1].isfinite().all())
    if context is not None:
        context[5, 0] = math.inf
        assert bool(distribution.cdf(x, context)[5].isnan().all())
        assert bool(distribution.icdf(u, context)[5].isnan().all())


@each(BASES)
def test_bad_entries_of_independent_features(config):
    """No condition, no spoiling: each entry answers for itself. Ends of the support are its own."""
    distribution = random_part(config)
    x = torch.tensor([[math.inf, 0.5], [-math.inf, 0.5], [math.nan, 0.5]], dtype=DTYPE)
    got = distribution.cdf(x)
    assert got[:2, 0].tolist() == [1.0, 0.0]
    assert got[2, 0].isnan()
    assert bool(((got[:, 1] > 0) & (got[:, 1] < 1)).all())
    ends = distribution.icdf(torch.tensor([[0.0, 1.0], [2.0, 0.5]], dtype=DTYPE))
    low, high = {
        "Uniform": (-1.0, 3.0),
        "CircularUniform": (-math.pi, math.pi),
    }.get(config["type"], (-math.inf, math.inf))
    assert ends[0].tolist() == [low, high]
    assert ends[1].isnan().tolist() == [True, False]


def test_a_lost_root_is_nan_and_warned_of():
    """A solver without an answer speaks up, here as everywhere."""
    mixture = GaussianMixture([1.0, 1.0], [[-1.0, 0.0], [1.0, 0.0]]).to(DTYPE)
    mixture.rosenblatt.loc.data[0, 0] = math.nan
    with pytest.warns(RuntimeWarning, match=r"^GaussianMixture: a numerical inverse did not converge in 3 of 3 rows"):
        assert bool(mixture.icdf(torch.full((3, 2), 0.5, dtype=DTYPE)).isnan().all())


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (lambda: nsf(3, depth=2, hidden=(4,)), "LU"),
        (lambda: nsf(3, depth=2, hidden=(4,), mix="flip"), "Flip"),
        (lambda: nsf(3, depth=2, hidden=(4,), mix="permute"), "Permute"),
        (lambda: Flow(StandardNormal(3), Coupling(Affine(), 3, hidden=(4,), swap=True)), "Coupling"),
        (lambda: Flow(Flow(StandardNormal(3), Flip(3)), Elementwise(Affine(), 3)), "Flip"),
        (lambda: Flow(CircularUniform(2), Flip(2)), "Flip"),
    ],
)
def test_a_flow_that_mixes_its_features_names_the_part(model, name):
    distribution = model()
    x = torch.zeros(1, distribution.event_shape[0])
    for call in (
        lambda: distribution.given(x[:, :1]),
        lambda: distribution.marginal(1),
        lambda: distribution.cdf(x),
        lambda: distribution.icdf(x),
    ):
        with pytest.raises(
            NotInvertibleError, match=rf"^Flow: has no exact conditionals .*, for {name} mixes the order"
        ):
            call()


def test_one_layer_has_conditionals():
    assert isinstance(nsf(3, depth=1, hidden=(4,)).given(torch.zeros(1)), Conditional)
    assert isinstance(nsf(3, depth=1, layer="coupling", hidden=(4,)).given(torch.zeros(2)), Conditional)
    with pytest.raises(ValueError, match=r"^Flow: observed must hold the first k of 1 features"):
        nsf(1, hidden=(4,)).given(torch.zeros(1))


# --- one graph -----------------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_views_compile_as_one_graph_and_map_over_rows():
    distribution = random_part(ALL[0])
    x = torch.randn(5, 3, dtype=DTYPE, generator=generator(1))
    x[1, 2] = math.nan
    conditional = distribution.given(x[:, :1])
    expected = conditional.log_prob(x[:, 1:])
    compiled = torch.compile(conditional.log_prob, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x[:, 1:]), expected, equal_nan=True)
    u = torch.compile(distribution.cdf, fullgraph=True, backend="eager")(x)
    torch.testing.assert_close(u, distribution.cdf(x), equal_nan=True)
    mapped = torch.func.vmap(distribution.given(x[0, :1]).log_prob)(x[:, 1:])
    torch.testing.assert_close(mapped, distribution.given(x[0, :1]).log_prob(x[:, 1:]), equal_nan=True)
    torch.compiler.reset()


def test_normal_tails_have_full_relative_accuracy():
    """Where torch's own distribution function of the normal is zero."""
    z = torch.tensor([[-10.0], [-30.0]], dtype=DTYPE)
    assert (StandardNormal(1).to(DTYPE).cdf(z)[:, 0].log() - torch.special.log_ndtr(z[:, 0])).abs().max() < 1e-12
    assert Normal([1.0], [2.0]).to(DTYPE).cdf(torch.tensor([-19.0], dtype=DTYPE)).item() == pytest.approx(
        7.619853024160495e-24, rel=1e-12
    )


def test_student_of_many_features_broadcasts():
    student = StudentT(3, df=2.0, learn_df=True).to(DTYPE)
    u = student.cdf(torch.zeros(4, 3, dtype=DTYPE))
    assert bool((u == 0.5).all())
    assert student.icdf(u).abs().max() < 1e-15

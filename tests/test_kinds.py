"""Kinds of columns: properties that add up to one, quantiles that undo distribution functions, values far out."""

import copy
import math

import pytest
import torch
from cases import generator

from pushforward.core.config import REGISTRY, build
from pushforward.distributions import (
    Categorical,
    ColumnType,
    Constant,
    Continuous,
    HeavyTailed,
    Inflated,
    Integer,
    ZeroInflated,
)
from pushforward.distributions.columns.terms import evaluate_together
from pushforward.univariate import Affine, GaussianMixtureCDF, RationalQuadratic

KINDS = sorted(name for name, cls in REGISTRY.items() if issubclass(cls, ColumnType))
CASES = [{"type": name, **example} for name in KINDS for example in REGISTRY[name].examples]


def named(case):
    return "-".join([case["type"], *(f"{k}={v}" for k, v in case.items() if k != "type")])


each = pytest.mark.parametrize("case", CASES, ids=named)
INFLATED = ("Inflated", "Repeated", "ZeroInflated")


def data_of(case, count=300):
    """Values that such a column may hold, (columns, count)."""
    kind, columns = case["type"], case.get("columns", 1)
    if kind in INFLATED:
        x = data_of({**case["inner"], "columns": columns}, count)
        for k, value in enumerate(case.get("values", [0.0])):
            x = torch.where(torch.rand(x.shape, generator=generator(80 + k)) < 0.3, value, x)
        return x
    if kind == "Constant":
        return torch.full((columns, count), case.get("value", 0.0), dtype=torch.float64)
    normal = torch.randn(columns, count, dtype=torch.float64, generator=generator(7))
    if kind == "HeavyTailed" and "low" not in case:
        return normal.mul(3).sinh()
    if kind == "Integer" and "high" not in case:
        return (case["low"] + normal.exp().floor()) if "low" in case else normal.mul(20).round() + 0.0
    return build(case).domain.example((columns, count), generator(7)).to(torch.float64)


def ready(case, dtype=torch.float64, size=1.0):
    """A kind that has seen data, and random parameters for one value of each column: (kind, (num_params, columns))."""
    kind = build(case).to(dtype)
    x = data_of(case)
    with torch.no_grad():
        start = kind.initialize(x, torch.ones_like(x, dtype=torch.bool))
    return kind, start + size * torch.randn(start.shape, dtype=dtype, generator=generator(9))


def expanded(params, x):
    return params[..., None].expand(*params.shape, x.shape[-1])


def mass(kind, params, nodes, weights):
    x = nodes.expand(kind.columns, -1)
    return (kind.log_prob(x, expanded(params, x)).double().exp() * weights).sum(dim=-1)


def line(case, kind, points=40_001):
    """Nodes (m,) and weights that cover what the kind may hold: counted, or in length."""
    low, high = kind.domain.ends
    if not kind.is_density:
        first, last = max(low, -3_000), min(high, 3_000 if not case.get("skewed") else 60_000)
        nodes = (
            torch.arange(first, last + 1, dtype=torch.float64) if case["type"] != "Constant" else torch.tensor([low])
        )
        return nodes.double(), torch.ones(len(nodes), dtype=torch.float64)
    u = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    if math.isfinite(low) and math.isfinite(high):
        if case["type"] == "Circular":
            return low + (high - low) * u, torch.full_like(u, (high - low) / points)
        v = torch.linspace(-80, 80, points, dtype=torch.float64)  # of the logit
        inside = torch.sigmoid(v) * torch.sigmoid(-v)
        return low + (high - low) * torch.sigmoid(v), (high - low) * inside * 160 / points
    v = torch.linspace(-80, 80, points, dtype=torch.float64)
    if math.isfinite(low):
        return low + v.exp(), v.exp() * 160 / points
    return v.sinh(), v.cosh() * 160 / points


@each
@torch.no_grad()
def test_the_whole_probability_is_one(case):
    kind, params = ready(case, size=0.3)
    if case["type"] in INFLATED:
        nodes, weights = line(case["inner"], kind.inner)
        if kind.is_density:
            nodes, weights = torch.cat([nodes, kind.values]), torch.cat([weights, torch.ones(len(kind.values))])
    else:
        nodes, weights = line(case, kind)
    total = mass(kind, params, nodes, weights)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-3)


@each
@torch.no_grad()
def test_what_it_holds_is_what_has_a_probability(case):
    kind, params = ready(case)
    low, high = kind.domain.ends
    edges = [data_of(case)[:1, :40], torch.tensor([[low, high, low - 1, high + 1, 0.0, 0.5, 3.0]], dtype=torch.float64)]
    x = torch.cat(edges, dim=1).nan_to_num(posinf=1e4, neginf=-1e4).expand(kind.columns, -1)
    assert torch.equal(kind.holds(x), kind.log_prob(x, expanded(params, x)).isfinite())


@each
@torch.no_grad()
def test_quantiles_undo_the_distribution_function(case):
    kind, params = ready(case, size=0.3)
    p = torch.linspace(0.01, 0.99, 57, dtype=torch.float64).expand(kind.columns, -1)
    wide = expanded(params, p)
    x = kind.icdf(p, wide)
    assert x.dtype == torch.float64
    upto = kind.cdf(x, wide)
    if kind.is_density and case["type"] not in INFLATED:
        torch.testing.assert_close(upto, p, rtol=0, atol=1e-7)
    else:  # the smallest x that reaches p
        assert (upto >= p - 1e-9).all()
        before = kind.cdf(torch.where(x == x.round(), x - (1.0 if not kind.is_density else 1e-9), x - 1e-9), wide)
        assert (before <= p + 1e-6).all()
    assert (x.diff(dim=-1) >= 0).all()


@each
@torch.no_grad()
def test_distribution_functions_are_the_sums_of_probabilities(case):
    kind, params = ready(case)
    x = data_of(case, 40).sort(dim=-1).values
    wide = expanded(params, x)
    if kind.is_density and case["type"] not in INFLATED:  # the slope of the one is the other
        h = 1e-6 * (1 + x.abs())
        rise = (kind.cdf(x + h, wide) - kind.cdf(x - h, wide)) / (2 * h)
        inside = (kind.log_prob(x + h, wide).isfinite()) & (kind.log_prob(x - h, wide).isfinite())
        density = kind.log_prob(x, wide).exp()
        torch.testing.assert_close(rise[inside], density[inside], rtol=2e-3, atol=1e-5)
    elif not kind.is_density:
        rise = kind.cdf(x, wide) - kind.cdf(x - (1 if case["type"] != "Constant" else 1e-3), wide)
        torch.testing.assert_close(rise, kind.log_prob(x, wide).exp(), rtol=1e-6, atol=1e-9)


@each
@torch.no_grad()
def test_samples_follow_the_distribution(case):
    kind, params = ready(case, size=0.3)
    params = expanded(params, torch.empty(1, 4000))
    x = kind.sample(params, generator(3))
    assert x.shape == (kind.columns, 4000)
    assert torch.equal(x, kind.sample(params, generator(3)))
    assert kind.log_prob(x, params).isfinite().all()
    for middle in data_of(case, 5).unbind(dim=-1):
        expected = kind.cdf(middle[:, None], params[..., :1])[:, 0]
        error = (expected * (1 - expected) / 4000).sqrt() + 1e-3
        assert (((x <= middle[:, None]).double().mean(dim=-1) - expected).abs() < 4.5 * error).all()


@each
def test_what_it_cannot_hold_has_no_probability_and_harms_nobody(case):
    kind, params = ready(case)
    x = data_of(case, 6)
    others = torch.tensor([-1e300, 1e300, 0.123456789, -7.5, 1e9])
    mixed = torch.cat([x, others.expand(kind.columns, -1).double()], dim=-1)
    leaf = expanded(params, mixed).clone().requires_grad_()
    log_prob = kind.log_prob(mixed, leaf)
    assert not log_prob.isnan().any()
    assert (log_prob[:, :6] > -torch.inf).all()
    outside = ~kind.domain.contains(mixed)
    assert (log_prob[outside] == -torch.inf).all()
    if kind.num_params:
        log_prob[:, :6].sum().backward()
        assert leaf.grad.isfinite().all()
    seen = kind.encode(mixed)
    assert seen.shape == (kind.columns, kind.num_inputs, mixed.shape[-1])
    assert seen.isfinite().all()


@each
@torch.no_grad()
def test_float32_is_close_and_keeps_what_was_measured(case):
    kind, params = ready(case)
    narrow = copy.deepcopy(kind).to(torch.float32)
    x = data_of(case, 30)
    got = narrow.log_prob(x, expanded(params, x).float())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), kind.log_prob(x, expanded(params, x)), rtol=2e-3, atol=2e-3)
    for name, buffer in narrow.named_buffers():
        if name.rpartition(".")[2] in ("mean", "scale", "median", "spread"):
            assert buffer.dtype == torch.float64


@each
@torch.no_grad()
def test_one_of_several_is_the_same_alone(case):
    kind, params = ready(case)
    x = data_of(case, 9)
    for k in range(kind.columns):
        one = kind.column(k)
        column_params = expanded(params, x)[:, k : k + 1]
        log_prob = kind.log_prob(x, expanded(params, x))[k : k + 1]
        torch.testing.assert_close(one.log_prob(x[k : k + 1], column_params), log_prob)
        assert torch.equal(one.encode(x[k : k + 1]), kind.encode(x)[k : k + 1])


@pytest.mark.parametrize("univariate", [None, RationalQuadratic(6), Affine()], ids=["mixture", "spline", "affine"])
@torch.no_grad()
def test_integers_far_out_keep_their_digits(univariate):
    kind, params = ready({"type": "Integer", **({"univariate": univariate.config} if univariate else {})})
    kind.mean.zero_()
    kind.scale.fill_(2.0)
    x = torch.tensor([[-60.0, -12.0, 0.0, 12.0, 60.0]], dtype=torch.float64)
    log_prob = kind.log_prob(x, expanded(params, x))
    assert log_prob.isfinite().all()
    # A sum over a finer grid of the density, which never subtracts.
    steps = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000 - 0.5
    nodes = (x[..., None] + steps).reshape(1, -1) / 2
    inner = kind.distribution.log_density(nodes, expanded(params, nodes)).unflatten(1, (5, 2000))
    expected = torch.logsumexp(inner, dim=-1) - math.log(2000) - math.log(2)
    torch.testing.assert_close(log_prob, expected, rtol=1e-4, atol=1e-4)


def test_whole_numbers_beyond_float32_are_told_apart():
    kind = Integer(low=0)
    x = torch.tensor([[16_777_216.0, 16_777_217.0, 16_777_218.0]], dtype=torch.float64)
    kind.initialize(x, torch.ones_like(x, dtype=torch.bool))
    assert kind.encode(x)[0, 0].unique().numel() == 3


@pytest.mark.parametrize("univariate", [None, RationalQuadratic(6), Affine()], ids=["mixture", "spline", "affine"])
@torch.no_grad()
def test_seconds_of_years_keep_their_probability_in_float32(univariate):
    """In standard units one second of three years is narrower than the distance between two numbers of float32."""
    kind = Integer(univariate=univariate).double()
    x = torch.randint(1_500_000_000, 1_600_000_000, (1, 300), generator=generator(3)).double()
    kind.initialize(x, torch.ones_like(x, dtype=torch.bool))
    params = torch.randn(kind.num_params, 1, 300, generator=generator(4), dtype=torch.float64)
    expected = kind.log_prob(x, params)
    torch.testing.assert_close(kind.float().log_prob(x, params.float()).double(), expected, rtol=0, atol=2e-3)


@torch.no_grad()
def test_whole_numbers_of_many_digits_keep_their_probability():
    """Beside a density: there the step of one is too small for a difference of ends."""
    for skewed, x in ((True, 1e12), (True, 4e14), (True, 2.0**52), (False, 2.0**52)):
        kind = Integer(0 if skewed else None, skewed=skewed).double()
        middle = math.log(x) if skewed else x
        kind.mean.fill_(middle)
        kind.scale.fill_(3.0 if skewed else 1e12)
        params = torch.zeros(kind.num_params, 1, 4, dtype=torch.float64)
        values = x + torch.arange(4, dtype=torch.float64)[None]
        standard = ((values + 1).log() if skewed else values) - middle
        expected = kind.distribution.log_density(standard / kind.scale, params) - kind.scale.log()
        expected = expected - (values + 1).log() if skewed else expected
        torch.testing.assert_close(kind.log_prob(values, params), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "univariate", [GaussianMixtureCDF(4), RationalQuadratic(16), None], ids=["normals", "spline", "mixture"]
)
def test_whole_numbers_where_a_map_is_flat_or_far_out_learn_on(univariate):
    kind = Integer(univariate=univariate)
    kind.mean.fill_(1000.0)
    for scale, x in ((3.0, 1e9), (50.0, 1000.0), (900.0, 1000.0)):
        kind.scale.fill_(scale)
        values = x + torch.arange(400, dtype=torch.float64)[None]
        params = (4 * torch.randn(kind.num_params, 1, 400, generator=generator(1))).requires_grad_()
        log_prob = kind.log_prob(values, params)
        assert log_prob.isfinite().all()
        assert torch.autograd.grad(log_prob.sum(), params)[0].isfinite().all()


def test_kinds_of_kinds_are_one_column_too():
    inflated = ZeroInflated(HeavyTailed())
    assert inflated.repeated(3).inner.columns == 3
    assert Constant(2.5).num_params == 0


@torch.no_grad()
def test_smoothing_inside_an_inflated_type_moves_the_other_values_alone():
    kind = Inflated(Continuous(smoothing=0.5), [0.0, 2.0])
    x = torch.tensor([[0.0, 2.0, 1.0, -3.0, 5.0]], dtype=torch.float64)
    kind.initialize(x, torch.ones_like(x, dtype=torch.bool))
    noisy = kind.add_noise(x, generator(1))
    assert (noisy != x).tolist() == [[False, False, True, True, True]]
    noise = kind.add_noise(torch.ones(1, 20_000, dtype=torch.float64), generator(1)) - 1
    assert noise.std().item() == pytest.approx(0.5 * kind.inner.scale.item(), rel=0.02)


def test_categories_together_are_categories_each():
    types = [Categorical(3), Categorical(1), Categorical(7, columns=2)]
    g = generator(9)
    x = [torch.tensor([[0.0, 2, 1, 3, -1, 0.5, 2]]), torch.tensor([[0.0, 1, 0, 0, -2, 0, 0]])]
    x = [values.double() for values in [*x, torch.tensor([[6.0, 7, 1, 3, 0, 0.5, 2], [0, 1, 2, 3, 4, 5, 6]])]]
    params = [torch.randn(t.levels, t.columns, 7, generator=g).requires_grad_() for t in types]
    parts = list(zip(types, x, params, strict=True))
    together = evaluate_together([t.in_terms(values, p) for t, values, p in parts])
    each_alone = [t.log_prob(values, p) for t, values, p in parts]
    slopes = [
        torch.autograd.grad(sum(v[v.isfinite()].square().sum() for v in values), params)
        for values in (together, each_alone)
    ]
    for one, other in zip([*together, *slopes[0]], [*each_alone, *slopes[1]], strict=True):
        torch.testing.assert_close(one, other)

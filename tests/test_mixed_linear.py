"""The linear part of the model of mixed columns: exact for Gaussians from the start, normalised whatever is given."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from cases import generator

import pushforward as pf
from pushforward.distributions import (
    Bounded,
    Categorical,
    Circular,
    Constant,
    Continuous,
    HeavyTailed,
    Inflated,
    Integer,
    MixedTypeModel,
    Positive,
    Repeated,
    ZeroInflated,
)
from pushforward.distributions.mixed.linear import LinearPart
from pushforward.distributions.mixed.linear_inputs import MOST_INPUTS
from pushforward.univariate import mixture_slopes

KINDS = (
    Continuous(),
    Integer(0, 6),
    ZeroInflated(Positive()),
    Categorical(3),
    Bounded(-1.0, 2.0),
    Circular(24.0),
    Inflated(Integer(0), [3.0]),
    HeavyTailed(),
    Constant(2.0),
    Integer(0, skewed=True),
    Positive(),
    Continuous(smoothing=0.3),
)
orders = pytest.mark.parametrize("order", ["any", "fixed"])


def correlated(rows, seed=1):
    """Rows of columns of ``KINDS`` that follow one common factor."""
    g = generator(seed)
    factor = torch.randn(rows, 1, dtype=torch.float64, generator=g)
    z = (factor + 0.3 * torch.randn(rows, len(KINDS), dtype=torch.float64, generator=g)).t() / math.sqrt(1.09)
    zero = torch.rand(rows, generator=g) < 0.3
    three = torch.rand(rows, generator=g) < 0.2
    columns = [
        z[0],
        (3 + 1.5 * z[1]).round().clamp(0, 6),
        torch.where(zero, 0.0, z[2].exp()),
        (z[3] > 0).double() + (z[3] > 1),
        3 * torch.sigmoid(z[4]) - 1,
        (12 + 5 * z[5]) % 24,
        torch.where(three, 3.0, (8 + 3 * z[6]).round().clamp(min=0)),
        z[7].sinh(),
        torch.full((rows,), 2.0, dtype=torch.float64),
        (2 + 1.5 * z[9]).exp().floor(),
        z[10].exp(),
        z[11],
    ]
    return torch.stack(columns, dim=-1)


def model_of(order="any", dtype=torch.float64, size=0.3, gaps=False):
    """A model of correlated columns with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = MixedTypeModel(KINDS, order=order, hidden=(16, 16)).to(dtype)
    x = correlated(600)
    model.initialize(with_gaps(x) if gaps else x)
    assert not model.network.linear.is_idle
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator(6), dtype=dtype))
    return model.eval()


def with_gaps(x, share=0.3):
    return x.masked_fill(torch.rand(x.shape, generator=generator(3)) < share, torch.nan)


def gaussian(columns, rows, seed=0):
    """A covariance matrix of strongly correlated columns, and rows."""
    g = generator(seed)
    root = torch.randn(columns, columns, dtype=torch.float64, generator=g)
    covariance = root @ root.t() + 0.05 * torch.eye(columns, dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance)
    return covariance, torch.randn(rows, columns, dtype=torch.float64, generator=g) @ factor.t()


def log_density(x, covariance, some):
    some = list(some)
    if not some:
        return torch.zeros(len(x), dtype=torch.float64)
    mean = torch.zeros(len(some), dtype=torch.float64)
    return torch.distributions.MultivariateNormal(mean, covariance[some][:, some]).log_prob(x[:, some])


# --- Gaussians


@pytest.mark.parametrize(("order", "dtype", "gaps"), [("any", torch.float32, 0.0), ("any", torch.float64, 0.3),
                                                      ("fixed", torch.float32, 0.0)])  # fmt: skip
@torch.no_grad()
def test_a_gaussian_is_known_from_the_start(order, dtype, gaps):
    """Without a step of training, whatever is given; all that is lost is that of mixtures of logistics."""
    covariance, x = gaussian(5, 22_000)
    train, held = x[2_000:], x[:2_000]
    model = MixedTypeModel([Continuous()] * 5, order=order).to(dtype)
    model.initialize(with_gaps(train, gaps) if gaps else train)
    for size in range(5):
        for observed in itertools.combinations(range(5), size) if order == "any" else [range(size)]:
            conditional = model.given({j: held[:, j] for j in observed})
            right = log_density(held, covariance, range(5)) - log_density(held, covariance, observed)
            assert (right - conditional.log_prob(held[:, conditional.columns])).mean() < 0.06
    drawn = model.sample((8_000,), generator=generator(5))
    assert (torch.cov(drawn.t()) - covariance).abs().max() < 0.1 * covariance.diagonal().max()


@orders
@torch.no_grad()
def test_a_gaussian_context_and_gaps_are_known_from_the_start(order):
    covariance, x = gaussian(5, 12_000, seed=2)
    model = MixedTypeModel([Continuous()] * 3, context=[Continuous()] * 2, order=order)
    train, held = x[2_000:], x[:2_000]
    model.initialize(train[:, 2:], train[:, :2])
    right = log_density(held, covariance, range(5)) - log_density(held, covariance, (0, 1))
    assert (right - model.log_prob(held[:, 2:], held[:, :2])).mean() < 0.06
    context = held[:, :2].clone()
    context[:, 1] = torch.nan
    right = log_density(held, covariance, (0, 2, 3, 4)) - log_density(held, covariance, (0,))
    assert (right - model.log_marginal(held[:, 2:], context=context)).mean() < 0.06
    if order == "any":
        some = held[:, 2:].clone()
        some[:, 0] = torch.nan
        right = log_density(held, covariance, (0, 3, 4)) - log_density(held, covariance, (0,))
        assert (right - model.log_marginal(some, context=context)).mean() < 0.06


@torch.no_grad()
def test_a_composite_is_a_mean_over_sets_of_other_columns():
    _, x = gaussian(3, 2_000, seed=2)
    model = MixedTypeModel([Continuous()] * 3, hidden=(8,)).double()
    model.initialize(x)
    composite = model.composite(x[:100])
    for j, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        each = [
            model.given({i: x[:100, i] for i in some}).column_marginal(j).log_prob(x[:100, j])
            for some in ([a], [b], [a, b])
        ]
        low, high = torch.stack(each).aminmax(dim=0)
        assert ((composite[:, j] > low - 1e-9) & (composite[:, j] < high + 1e-9)).all()


def leverage(r, t, rows):
    """Of values t (columns,) with correlations r, measured on so many rows."""
    return (1 + t @ torch.linalg.solve(r, t)) / rows


@torch.no_grad()
def test_deviations_of_rows_are_those_of_a_regression_that_has_not_seen_them():
    """New rows: the deviations of a Bayesian regression. Rows that were measured: with their deviations in training
    residuals are what they are if each row is left out of the regression."""
    g = generator(0)
    x = torch.randn(40, 6, dtype=torch.float64, generator=g) @ torch.randn(6, 6, dtype=torch.float64, generator=g)
    part = LinearPart(6)
    part.measure(x.t(), None)
    part.correlation.copy_(torch.corrcoef(x.t()))  # not shrunk
    seen = torch.tensor([True] * 5 + [False])[:, None].expand(6, 40)
    mean, log_deviation = (v[5] for v in part(x.t(), seen, None))
    ones = torch.ones(40, 1, dtype=torch.float64)
    for i in range(40):
        others = [k for k in range(40) if k != i]
        inputs = torch.cat([ones, x[:, :5]], dim=1)
        weights = torch.linalg.lstsq(inputs[others], x[others, 5:]).solution[:, 0]
        left_out = x[i, 5] - inputs[i] @ weights
        hat = inputs[i] @ torch.linalg.solve(inputs.t() @ inputs, inputs[i])
        s = (part.eval()(x.t(), seen, None)[1][5, i].exp()) / (1 + hat).sqrt()  # the deviation around the true mean
        studentised = (x[i, 5] - mean[i]) / log_deviation[i].exp()
        torch.testing.assert_close(studentised, left_out / (s / (1 - hat).sqrt()))
    new = torch.randn(6, 30, dtype=torch.float64, generator=g)
    inflated = part(new, seen[:, :30], None)[1][5].exp()
    z = torch.cat([torch.ones(1, 30, dtype=torch.float64), new[:5]])
    hats = (z * torch.linalg.solve(inputs.t() @ inputs, z)).sum(dim=0)
    torch.testing.assert_close(inflated, s * (1 + hats).sqrt())


@torch.no_grad()
def test_means_and_deviations_are_those_of_formulas():
    covariance, x = gaussian(6, 3_000)
    part = LinearPart(6).eval()
    t = (x / covariance.diagonal().sqrt()).t()
    part.measure(t, None)
    r = part.correlation
    torch.testing.assert_close(r, torch.corrcoef(t), rtol=0, atol=1e-3)
    seen = torch.rand(6, 300, generator=generator(1)) < 0.5
    values = (t[:, :300] - part.centre) / part.width
    for ranks in (None, [3, -1, 0, 2, -1, 1]):
        for shared in (False, True):
            sets = seen[:, :1].expand(6, 300) if shared else seen
            mean, log_deviation = part(t[:, :300], sets, ranks)
            log_deviation = log_deviation.expand(6, 300)
            for i, j in itertools.product(range(0, 300, 37), range(6)):
                if ranks is not None and ranks[j] < 0:
                    continue
                some = [k for k in range(6) if sets[k, i] and (k != j if ranks is None else ranks[k] < ranks[j])]
                if ranks is None and sets[j, i]:
                    continue
                weights = torch.linalg.solve(r[some][:, some], r[some, j])
                m = part.centre[j] + part.width[j] * (weights @ values[some, i])
                h = leverage(r[some][:, some], values[some, i], 3_000)
                s = part.width[j] * ((1 - weights @ r[some, j]) * (1 + h)).sqrt()
                torch.testing.assert_close(mean[j, i], m[0])
                torch.testing.assert_close(log_deviation[j, i], s.log()[0])


# --- exactness


def nodes(column, count=60_001):
    """Where to evaluate a column of ``KINDS``, and the weights of the sum."""
    inner = getattr(column, "inner", column)
    v = torch.linspace(-14, 14, count, dtype=torch.float64)
    step = 28 / (count - 1)
    if isinstance(column, Categorical | Constant):
        x = torch.arange(3, dtype=torch.float64)
        return x, torch.ones_like(x)
    if isinstance(inner, Integer):
        x = torch.arange(7 if inner.high == 6 else 20_000, dtype=torch.float64)
        return x, torch.ones_like(x)
    if isinstance(column, Circular):
        x = (torch.arange(count, dtype=torch.float64) + 0.5) * 24 / count
        return x, torch.full_like(x, 24 / count)
    if isinstance(column, Bounded):
        p = torch.sigmoid(v)
        return 3 * p - 1, 3 * p * (1 - p) * step
    if isinstance(inner, Positive):
        x, weights = v.exp(), v.exp() * step
        if column is not inner:  # zero has a probability
            x, weights = torch.cat([x, x.new_zeros(1)]), torch.cat([weights, x.new_ones(1)])
        return x, weights
    return v.sinh(), v.cosh() * step


@orders
@torch.no_grad()
def test_each_column_is_normalised_given_others_with_gaps(order):
    model, x = model_of(order, size=0.05), correlated(3, seed=9)  # wide tails would leave the nodes
    x[1, 1] = x[1, 10] = x[2, 0] = x[2, 2] = torch.nan
    x[0, 2], x[0, 6] = 0.0, 3.0
    for j, column in enumerate(KINDS):
        if isinstance(column, Constant):
            continue
        at, weights = nodes(column)
        marginal = model.full_conditional(x, j) if order == "any" else model.next_conditional(x, j)
        total = (marginal.log_prob(at[:, None]).exp() * weights[:, None]).sum(dim=0)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=2e-3)


@orders
@torch.no_grad()
def test_contributions_are_those_of_single_columns_whatever_is_missing(order):
    model, x = model_of(order), correlated(12, seed=9)
    model.had_gaps.fill_(True)
    x = with_gaps(x)
    parts = model.contributions(x)
    for j in range(len(KINDS)):
        there = ~x[:, j].isnan()
        alone = model.next_conditional(x[there], j).log_prob(x[there, j])
        torch.testing.assert_close(parts[there, j], alone, rtol=1e-7, atol=1e-7)


@torch.no_grad()
def test_quantiles_and_distribution_functions_agree():
    model, x = model_of(), correlated(40, seed=9)
    u = model.mid_cdf(x)
    back = model.from_mid_cdf(u)
    for j, column in enumerate(KINDS):
        if not isinstance(column, Categorical | Constant):
            inside = (u[:, j] > 1e-4) & (u[:, j] < 1 - 1e-4)
            torch.testing.assert_close(back[inside, j], x[inside, j], rtol=1e-5, atol=1e-5)
    assert model.log_prob(x[:0]).shape == model.full_conditional(x[:0], 1).median().shape == (0,)
    drawn = model.impute(x.masked_fill(torch.eye(40, len(KINDS)).bool(), torch.nan), generator=generator(1))
    assert model.log_prob(drawn).isfinite().all()


# --- the rest


@orders
@torch.no_grad()
def test_the_linear_part_is_saved_and_never_narrowed(order, tmp_path):
    model = model_of(order, torch.float32)
    x = correlated(20, seed=7)
    expected = model.log_prob(x)
    pf.save(model, tmp_path / "model.pf")
    for twin in (pf.load(tmp_path / "model.pf"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.log_prob(x), expected)
        assert torch.equal(twin.network.linear.correlation, model.network.linear.correlation)
    before = model.network.linear.correlation.clone()
    assert torch.equal(model.double().float().network.linear.correlation, before)


@torch.no_grad()
def test_gaps_are_measured_around():
    complete, gappy = model_of(), model_of(gaps=True)
    assert (complete.network.linear.correlation - gappy.network.linear.correlation).abs().max() < 0.2
    assert gappy.log_marginal(with_gaps(correlated(20))).isfinite().all()


@torch.no_grad()
def test_unrelated_columns_many_columns_and_few_rows_leave_nothing_linear():
    x = torch.randn(400, 4, dtype=torch.float64, generator=generator(8))
    model = MixedTypeModel([Continuous()] * 4, hidden=(8,))
    model.initialize(x)
    assert model.network.linear.correlation.fill_diagonal_(0.0).abs().max() < 0.2
    few = MixedTypeModel([Continuous()] * 4, hidden=(8,))
    few.initialize(x[:5])
    assert few.network.linear.is_idle
    assert MixedTypeModel([Continuous()] * (MOST_INPUTS + 1), hidden=(8,)).network.linear is None
    assert MixedTypeModel([Continuous(), Categorical(2)], hidden=(8,)).network.linear is None


@torch.no_grad()
def test_copies_of_a_column_and_constant_values_are_finite():
    x = torch.randn(500, 2, dtype=torch.float64, generator=generator(8))
    x = torch.stack([x[:, 0], x[:, 0], x[:, 1], torch.full((500,), 3.0).double(), 2 - 5 * x[:, 0]], dim=-1)
    model = MixedTypeModel([Continuous()] * 5, hidden=(8,))
    model.initialize(x)
    assert model.log_prob(x).isfinite().all()
    assert (model.given({0: x[:, 0]}).column_marginal(1).median() - x[:, 0]).abs().max() < 0.05
    drawn = model.sample((50,), generator=generator(2))
    assert (drawn[:, 4] - (2 - 5 * drawn[:, 0])).abs().max() < 0.5


@orders
def test_temperatures_and_gradients_pass_by_the_linear_part(order):
    model, x = model_of(order), correlated(200, seed=5)
    place = model.network.linear.correlation.clone()
    temperatures = model.calibrate_temperature(x)
    assert temperatures.isfinite().all()
    assert temperatures[0] != 0
    assert torch.equal(model.network.linear.correlation, place)
    x = x[:3].requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_prob(x).sum(), x)
    step = torch.zeros_like(x)
    step[:, 0] = 1e-6
    slope = (model.log_prob(x + step) - model.log_prob(x - step)) / 2e-6
    torch.testing.assert_close(gradient[:, 0], slope, rtol=1e-4, atol=1e-4)


@orders
def test_slopes_in_closed_form_are_those_of_torch(order, monkeypatch):
    x = correlated(400)
    model = MixedTypeModel(KINDS, order=order, hidden=(12, 12))
    model.initialize(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator(4)))
    assert not model.network.linear.is_idle
    calls = []
    together = mixture_slopes.log_mass
    monkeypatch.setattr(mixture_slopes, "log_mass", lambda *a: calls.append(1) or together(*a))
    slopes = []
    for rows in (x[:50], x[:50].clone().requires_grad_()):  # where rows have gradients, points have
        model.zero_grad()
        model._estimate_log_prob(rows, None, generator(5)).mean().backward()
        slopes.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        assert len(calls) == 1
    for closed, of_torch in zip(*slopes, strict=True):
        torch.testing.assert_close(closed, of_torch, rtol=1e-3, atol=1e-5)
    assert rows.grad.isfinite().all()
    assert (rows.grad[:, 0] != 0).any()


@pytest.mark.parametrize("columns", [6, 20])  # conditioned on one after the other, and by factors of rows
@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("asked", ["all", "mixed up", "some"])
def test_each_row_is_given_the_columns_that_it_sees_in_whatever_order_they_are_asked_for(columns, ranked, asked):
    """Beside the formula, row by row. Columns of one type are asked for together, which is not the order of a table."""
    x = gaussian(columns, 400, seed=3)[1]
    part = LinearPart(columns)
    part.measure(x.t(), None)
    g = generator(4)
    seen = torch.rand(columns, 12, generator=g) < 0.5
    order = torch.randperm(columns, generator=g).tolist()
    ranks = torch.randperm(columns, generator=g).tolist() if ranked else None
    targets = {"all": list(range(columns)), "mixed up": order, "some": order[: columns // 2]}[asked]
    mean, log_deviation = part(x[:12].t(), seen, ranks, targets)
    t = ((x[:12].t() - part.centre) / part.width).clamp(-part.reach, part.reach)
    for row in range(12):
        for k, j in enumerate(targets):
            if ranks is None and seen[j, row]:
                continue
            before = [i for i in range(columns) if seen[i, row] and (ranks is None or ranks[i] < ranks[j])]
            weights = torch.linalg.solve(part.correlation[before][:, before], part.correlation[before, j])
            expected = part.centre[j] + part.width[j] * (weights @ t[before, row])
            h = leverage(part.correlation[before][:, before], t[before, row], 400)
            variance = (1 - weights @ part.correlation[before, j]) * part.width[j].square() * (1 - h)
            assert mean[k, row].item() == pytest.approx(expected.item(), abs=1e-8)
            assert log_deviation[k, row].item() == pytest.approx(0.5 * variance.log().item(), abs=1e-8)


@torch.no_grad()
@pytest.mark.parametrize("order", ["any", "fixed"])
def test_categories_move_means_from_the_start(order):
    """y = 3 [c = 0] - 2 [c = 2] + noise: before training means given c are those of the groups, wherever c stands."""
    random = generator(0)
    c = torch.randint(0, 3, (2_000,), generator=random).double()
    y = 3.0 * (c == 0) - 2.0 * (c == 2) + torch.randn(2_000, generator=random, dtype=torch.float64)
    means = torch.tensor([y[c == k].mean() for k in range(3)])
    groups = torch.arange(3.0, dtype=torch.float64)[:, None]
    as_context = MixedTypeModel([Continuous()], context=[Categorical(3)], order=order, linear="all", hidden=(8, 8))
    as_context.initialize(y[:, None], c[:, None])
    torch.testing.assert_close(as_context.column_marginal(0, groups).mean(), means, rtol=0, atol=0.1)
    joint = MixedTypeModel([Categorical(3), Continuous()], order=order, linear="all", hidden=(8, 8))
    joint.initialize(torch.stack([c, y], dim=1))
    torch.testing.assert_close(joint.given({0: groups[:, 0]}).column_marginal(1).mean(), means, rtol=0, atol=0.1)
    blind = MixedTypeModel([Categorical(3), Continuous()], order=order, hidden=(8, 8))
    blind.initialize(torch.stack([c, y], dim=1))
    assert blind.given({0: groups[:, 0]}).column_marginal(1).mean().std() < 1e-6
    # A missing category is marginalised: the mean of all rows.
    missing = as_context.column_marginal(0, torch.full((1, 1), torch.nan, dtype=torch.float64)).mean()
    assert abs(missing.item() - y.mean().item()) < 0.1


@torch.no_grad()
def test_targets_of_the_linear_part_are_the_columns_of_the_model():
    """The shrinkage is chosen for the columns given the context, however well the context predicts itself."""
    random = generator(0)
    a = torch.randn(300, 1, generator=random, dtype=torch.float64)
    context = torch.cat([a, a + 1e-3 * torch.randn(300, 1, generator=random, dtype=torch.float64)], dim=1)
    y = torch.randn(300, 1, generator=random, dtype=torch.float64)
    model = MixedTypeModel([Continuous()], context=[Continuous(), Continuous()], hidden=(8, 8))
    model.initialize(y, context)
    slopes = model.column_marginal(0, context).mean()
    assert slopes.std() < 0.2


@torch.no_grad()
@pytest.mark.parametrize("kind", [Inflated(Continuous(), [k / 12 for k in range(12)]), Categorical(12)])
def test_values_that_repeat_move_means_from_the_start(kind):
    """Numbers of which all repeat, and more categories than eight, are seen by the linear part."""
    random = generator(0)
    k = torch.randint(0, 12, (600,), generator=random).double()
    a = k / 12 if isinstance(kind, Inflated) else k
    y = 10 * k / 12 + 0.3 * torch.randn(600, generator=random, dtype=torch.float64)
    model = MixedTypeModel([Continuous()], context=[kind], linear="all", hidden=(8, 8))
    model.initialize(y[:, None], a[:, None])
    residuals = y - model.column_marginal(0, a[:, None]).mean()
    assert residuals.var() < 0.1 * y.var()


@torch.no_grad()
def test_the_inner_distribution_of_repeated_values_is_fitted_beside_a_linear_part():
    """Single values lie where the inner type has measured them, whatever the others of the model start from."""
    random = generator(0)
    x = torch.randn(800, generator=random, dtype=torch.float64)
    y = torch.where(torch.rand(800, generator=random) < 0.8, x.round(), 3.0 * x)
    model = MixedTypeModel([Continuous(), Repeated(Continuous(), [-1.0, 0.0, 1.0])], hidden=(8, 8))
    model.initialize(torch.stack([x, y], dim=1))
    assert not model.network.linear.is_idle
    base = model.column_type(1).base
    alone = Repeated(Continuous(), [-1.0, 0.0, 1.0])
    alone.initialize(y[None], torch.ones(1, 800, dtype=torch.bool))
    torch.testing.assert_close(base, alone.base)
    assert base.abs().max() > 0.1


@torch.no_grad()
def test_errors_of_means_follow_the_rows_in_which_columns_are_there_together():
    x = gaussian(4, 1_000, seed=1)[1]
    gappy = x.clone()
    gappy[100:, 0] = torch.nan
    gappy[:60, 1] = torch.nan
    part = LinearPart(4)
    part.measure(gappy.t(), None)
    torch.testing.assert_close(part.inverse_rows[:, 0], 3 / torch.tensor([240.0, 1_920, 2_040, 2_040]).double())
    part.measure(x.t(), None)
    torch.testing.assert_close(part.inverse_rows, torch.full_like(part.inverse_rows, 1 / 1_000))
    part.measure(x.repeat(60, 1).t(), None)  # thinned to 30,000, and still many
    assert (part.inverse_rows == 0).all()

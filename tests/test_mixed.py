"""The model of mixed columns: normalised given any columns, true to its chain rule, blind to what is missing."""

import copy
import itertools
import json
import pickle

import pytest
import torch
from cases import generator

import pushforward as pf
from pushforward.core.config import build
from pushforward.distributions import (
    Bounded,
    Categorical,
    Circular,
    ColumnDistribution,
    Constant,
    Continuous,
    HeavyTailed,
    Integer,
    MixedTypeModel,
    Positive,
    ZeroInflated,
)
from pushforward.testing.random_parts import randomize
from pushforward.train import TrainingError

SMALL = (Continuous(), Categorical(3), Integer(0, 4))
WIDE = (
    Continuous(),
    Categorical(2),
    Integer(0, skewed=True),
    ZeroInflated(Positive()),
    Circular(24.0),
    Constant(2.0),
    Categorical(100),
    Bounded(-1.0, 2.0),
    HeavyTailed(),
    Continuous(),
)


def data(columns, rows=60, seed=1):
    """Rows that such columns may hold."""
    parts = []
    for j, column in enumerate(columns):
        g, inner = generator(seed + j), getattr(column, "inner", column)
        if isinstance(column, Constant):
            values = torch.full((rows,), column.value, dtype=torch.float64)
        elif isinstance(inner, Integer) and inner.high > 1000:
            values = torch.randn(rows, generator=g, dtype=torch.float64).exp().floor()
        else:
            values = inner.domain.example((rows,), g).double()
        if isinstance(column, ZeroInflated):
            values = torch.where(torch.rand(rows, generator=g) < 0.4, 0.0, values)
        parts.append(values)
    return torch.stack(parts, dim=-1)


def model_of(columns, order="any", dtype=torch.float64, size=0.4, **options):
    """A model with random weights that has seen data."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = MixedTypeModel(columns, order=order, hidden=(16, 16), **options).to(dtype)
    model.initialize(data(columns, 200, seed=20))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator(6), dtype=dtype))
        model.had_gaps.fill_(True)  # as if it had learned from rows with gaps
    return model.eval()


orders = pytest.mark.parametrize("order", ["any", "fixed"])


def grid(column, count=4_001):
    """Nodes and weights over what a column of ``SMALL`` may hold."""
    if isinstance(column, Continuous):
        v = torch.linspace(-10, 10, count, dtype=torch.float64)
        return v.sinh(), v.cosh() * 20 / (count - 1)
    nodes = torch.arange(3 if isinstance(column, Categorical) else 5, dtype=torch.float64)
    return nodes, torch.ones_like(nodes)


@orders
@torch.no_grad()
def test_probabilities_of_all_columns_add_up_to_one(order):
    model = model_of(SMALL, order)
    axes = [grid(column) for column in SMALL]
    x = torch.cartesian_prod(*(nodes for nodes, _ in axes))
    weights = torch.cartesian_prod(*(weight for _, weight in axes)).prod(dim=-1)
    assert (model.log_prob(x).exp() * weights).sum().item() == pytest.approx(1, abs=1e-3)


@torch.no_grad()
def test_probabilities_given_any_columns_add_up_to_one():
    model, point = model_of(SMALL), data(SMALL, 1)[0]
    for size in (1, 2):
        for observed in itertools.combinations(range(3), size):
            conditional = model.given({j: point[j] for j in observed})
            axes = [grid(SMALL[j], 20_001) for j in conditional.columns]
            x = torch.cartesian_prod(*(nodes for nodes, _ in axes)).reshape(-1, len(axes))
            weights = torch.cartesian_prod(*(weight for _, weight in axes)).reshape(-1, len(axes)).prod(dim=-1)
            assert (conditional.log_prob(x).exp() * weights).sum().item() == pytest.approx(1, abs=1e-3)


@torch.no_grad()
def test_the_chain_rule_holds_along_the_stated_order():
    """log q(rest | known) is the sum of the properties of single columns, known first and then in their order."""
    model, x = model_of(WIDE), data(WIDE, 7)
    for observed in ([], [0], [3, 8], [9, 1, 4], [0, 1, 2, 3, 4, 6, 7, 8, 9]):
        conditional = model.given({j: x[:, j] for j in observed})
        seen, total = list(observed), 0.0
        for j in conditional.columns:
            total = total + model.given({i: x[:, i] for i in seen}).column_marginal(j).log_prob(x[:, j])
            seen.append(j)
        torch.testing.assert_close(conditional.log_prob(x[:, conditional.columns]), total, rtol=1e-9, atol=1e-9)


@orders
@torch.no_grad()
def test_the_next_conditional_of_a_column_is_its_part_of_the_whole(order):
    model, x = model_of(WIDE, order), data(WIDE, 9)
    x[2, 3] = x[5, 0] = torch.nan
    parts = model.contributions(x)
    for j in (0, 3, 4, 9):
        log_prob = model.next_conditional(x, j).log_prob(x[:, j])
        there = ~x[:, j].isnan()
        torch.testing.assert_close(log_prob[there], parts[there, j], rtol=1e-9, atol=1e-9)


@orders
@torch.no_grad()
def test_a_prefix_and_the_rest_make_the_whole(order):
    model, x = model_of(WIDE, order), data(WIDE, 9)
    whole = model.log_prob(x)
    torch.testing.assert_close(model.contributions(x).sum(dim=-1), whole)
    for k in (1, 4, 9):
        first = model.log_marginal(torch.where(torch.arange(10) < k, x, torch.nan))
        rest = model.given(x[:, :k]).log_prob(x[:, k:])
        torch.testing.assert_close(first + rest, whole, rtol=1e-9, atol=1e-9)


@orders
@torch.no_grad()
def test_what_is_missing_is_not_seen(order):
    model, x = model_of(WIDE, order), data(WIDE, 30)
    there = torch.rand(x.shape, generator=generator(3)) < 0.6
    other = torch.where(there, x, data(WIDE, 30, seed=99))
    expected = model.log_marginal(torch.where(there, x, torch.nan))
    assert torch.equal(model.log_marginal(other, there), expected)
    assert (model.contributions(x, there)[~there] == 0).all()
    nothing = torch.full_like(x, torch.nan)
    assert (model.log_marginal(nothing) == 0).all()


@torch.no_grad()
def test_other_orders_are_other_distributions_of_the_same_columns():
    model, x = model_of(SMALL), data(SMALL, 5)
    order = [2, 0, 1]
    contributions = model.contributions(x, order=order)
    first = model.column_marginal(2).log_prob
    torch.testing.assert_close(contributions[:, 2], torch.stack([first(v) for v in x[:, 2]]))
    last = model.given({0: x[:, 0], 2: x[:, 2]}).column_marginal(1).log_prob(x[:, 1])
    torch.testing.assert_close(contributions[:, 1], last)
    with pytest.raises(ValueError, match="MixedTypeModel: order must rearrange"):
        model.contributions(x, order=[0, 0, 1])
    with pytest.raises(ValueError, match="MixedTypeModel: this model has one order"):
        model_of(SMALL, "fixed").contributions(x, order=order)


@torch.no_grad()
def test_the_estimate_is_right_on_average():
    """The mean over what it draws is the mean of log-densities over all orders."""
    model, x = model_of(SMALL), data(SMALL, 3)
    x[1, 0] = torch.nan
    every = [model.contributions(x, order=list(o)).sum(dim=-1) for o in itertools.permutations(range(3))]
    expected = torch.stack(every).mean(dim=0)
    random = torch.Generator().manual_seed(0)
    drawn = torch.stack([model(x, generator=random) for _ in range(600)])
    error = drawn.std(dim=0) / 600**0.5
    assert ((drawn.mean(dim=0) - expected).abs() < 4.5 * error + 1e-9).all()
    fixed = model_of(SMALL, "fixed")
    torch.testing.assert_close(fixed(x, generator=random), fixed.log_marginal(x))


@orders
@torch.no_grad()
def test_only_what_stands_before_is_seen(order):
    model, x = model_of(WIDE, order), data(WIDE, 6)
    before = model.contributions(x)
    for j in range(10):
        changed = x.clone()
        changed[:, j] = data(WIDE, 6, seed=70)[:, j]
        after = model.contributions(changed)
        assert torch.equal(after[:, :j], before[:, :j])
        moved = (after - before).abs().amax(dim=0)
        seen = [k for k in range(j + 1, 10) if k != 5]  # a constant has nothing to see with
        assert j == 5 or all(moved[k] > 0 for k in seen)


@orders
def test_every_weight_is_learned(order):
    model, x = model_of(WIDE, order).train(), data(WIDE, 400)
    x[::7, 2] = torch.nan
    (-model(x, generator=torch.Generator().manual_seed(2)).mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.numel() == 0 or parameter.grad is not None, name
        assert parameter.numel() == 0 or bool(parameter.grad.isfinite().all()), name
        assert parameter.numel() == 0 or bool((parameter.grad != 0).any()), name


@orders
def test_a_bad_row_harms_nobody(order):
    model, x = model_of(WIDE, order), data(WIDE, 8)
    right = model.log_prob(x).detach()
    for column, value in ((0, torch.nan), (0, torch.inf), (0, 1e300), (1, 7.0), (3, -1.0), (4, 99.0), (6, 0.5)):
        bad = x.clone()
        bad[3, column] = value
        model.zero_grad()
        log_prob = model.log_prob(bad)
        good = torch.arange(8) != 3
        torch.testing.assert_close(log_prob[good], right[good])
        assert log_prob[3].isnan() if value != value else value == 1e300 or log_prob[3] == -torch.inf
        log_prob[good].sum().backward()
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@orders
@torch.no_grad()
def test_samples_follow_the_distribution(order):
    model = model_of(SMALL, order)
    x = model.sample((20_000,), generator=generator(5))
    assert torch.equal(x, model.sample((20_000,), generator=generator(5)))
    assert model.log_prob(x).isfinite().all()
    codes, weights = grid(SMALL[1])[0], grid(SMALL[0])
    for a, b in itertools.product(codes.tolist(), range(5)):
        nodes = torch.stack([weights[0], torch.full_like(weights[0], a), torch.full_like(weights[0], b)], dim=-1)
        expected = (model.log_prob(nodes).exp() * weights[1]).sum()
        got = ((x[:, 1] == a) & (x[:, 2] == b)).double().mean()
        assert abs(got - expected) < 5 * (expected * (1 - expected) / 20_000).sqrt() + 1e-3


@torch.no_grad()
def test_conditionals_draw_the_other_columns_alone():
    model, x = model_of(WIDE), data(WIDE, 4)
    conditional = model.given({8: x[:, 8], 1: 1.0})
    assert conditional.columns == [0, 2, 3, 4, 5, 6, 7, 9]
    assert conditional.sample((3,), generator=generator(1)).shape == (3, 4, 8)
    more = conditional.given({0: 0.5})
    assert more.columns == [2, 3, 4, 5, 6, 7, 9]
    torch.testing.assert_close(
        more.log_prob(x[:, more.columns]), model.given({0: 0.5, 1: 1.0, 8: x[:, 8]}).log_prob(x[:, more.columns])
    )
    wrong = model.given({1: torch.tensor([0.0, 7.0, torch.nan], dtype=torch.float64)})
    assert wrong.log_prob(x[:3][:, wrong.columns]).isfinite().tolist() == [True, False, False]
    assert wrong.column_marginal(0).mean().isnan().tolist() == [False, True, True]
    assert wrong.sample((), generator=generator(1)).isnan().all(dim=-1).tolist() == [False, True, True]


@orders
@torch.no_grad()
def test_the_middle_of_steps_goes_there_and_back(order):
    model, x = model_of(WIDE, order, size=0.1), data(WIDE, 40)
    u = model.mid_cdf(x)
    assert ((u > 0) & (u < 1)).all()
    back = model.from_mid_cdf(u)
    sure = (model.contributions(x) > -15).all(dim=-1)  # not where the next value is as likely to rounding
    assert sure.sum() > 10
    assert torch.equal(back[sure][:, [1, 2, 5, 6]], x[sure][:, [1, 2, 5, 6]])
    torch.testing.assert_close(back[sure], x[sure], rtol=1e-5, atol=1e-6)
    assert (model.cdf(x) >= u).all()


@torch.no_grad()
def test_imputation_leaves_what_is_there_and_follows_the_distribution():
    model, x = model_of(SMALL), data(SMALL, 1).expand(8000, -1).clone()
    x[:, 1] = torch.nan
    filled = model.impute(x, generator(2))
    assert torch.equal(filled[:, [0, 2]], x[:, [0, 2]])
    expected = model.given({0: x[0, 0], 2: x[0, 2]}).column_marginal(1).probabilities()
    got = torch.bincount(filled[:, 1].long(), minlength=3) / 8000
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=0.03)
    x = data(SMALL, 1).expand(3, -1).clone()
    x[:, 0] = torch.nan
    marginal = model.given({1: x[0, 1], 2: x[0, 2]}).column_marginal(0)
    torch.testing.assert_close(model.expected(x)[:, 0], marginal.mean().expand(3))


@torch.no_grad()
def test_the_marginal_of_a_column():
    model = model_of(SMALL)
    marginal = model.given({1: 2.0}).column_marginal(0)
    draws = marginal.sample(40_000, generator(8))
    assert marginal.mean() == pytest.approx(draws.mean().item(), abs=5 * draws.std().item() / 200)
    assert marginal.cdf(marginal.quantile(0.3)) == pytest.approx(0.3, abs=1e-6)
    low, high = marginal.interval(0.8)
    assert marginal.cdf(high) - marginal.cdf(low) == pytest.approx(0.8, abs=1e-6)
    shortest = marginal.highest_density_interval(0.8)
    assert marginal.cdf(shortest[1]) - marginal.cdf(shortest[0]) == pytest.approx(0.8, abs=1e-4)
    assert shortest[1] - shortest[0] <= high - low
    categories = model.column_marginal(1)
    assert categories.probabilities().sum() == pytest.approx(1)
    assert categories.mode() == categories.probabilities().argmax()
    counted = model.column_marginal(2)
    expected = sum(k * counted.log_prob(float(k)).exp() for k in range(5))
    assert counted.mean() == pytest.approx(expected.item(), abs=0.02)
    for ask in (categories.mean, categories.median, categories.highest_density_interval):
        with pytest.raises(ValueError, match="Categorical: there is no order"):
            ask()
    with pytest.raises(ValueError, match="probabilities: Continuous has no categories"):
        marginal.probabilities()
    for wrong in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            marginal.quantile(wrong)
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            marginal.interval(wrong)


@orders
@torch.no_grad()
def test_copies_are_the_same(order, tmp_path):
    model, x = model_of(WIDE, order), data(WIDE, 5)
    expected = model.log_prob(x)
    rebuilt = build(json.loads(json.dumps(model.config))).to(torch.float64).eval()
    rebuilt.load_state_dict(model.state_dict())
    pf.save(model, tmp_path / "model.pf")
    for twin in (rebuilt, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), pf.load(tmp_path / "model.pf")):
        assert torch.equal(twin.log_prob(x), expected)
        assert torch.equal(twin.sample((3,), generator=generator(1)), model.sample((3,), generator=generator(1)))
    narrow = copy.deepcopy(model).to(torch.float32)
    torch.testing.assert_close(narrow.log_prob(x).double(), expected, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(narrow.to(torch.float64).log_prob(x), expected, rtol=1e-3, atol=1e-2)


@torch.no_grad()
def test_measuring_happens_once():
    model = model_of(SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.initialize(100 + data(SMALL))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@torch.no_grad()
def test_pieces_of_rows_make_no_difference(monkeypatch):
    model, x = model_of(WIDE), data(WIDE, 70)
    expected = model.log_prob(x)
    monkeypatch.setattr("pushforward.distributions.mixed.network.ACTIVATIONS", 1)
    torch.testing.assert_close(model.log_prob(x), expected, rtol=1e-10, atol=1e-10)
    assert model.sample((40,), generator=generator(1)).shape == (40, 10)
    assert model.log_prob(x[:0]).shape == (0,)


def test_one_order_knows_first_columns():
    assert model_of(SMALL, "fixed").given({0: 0.0}).columns == [1, 2]


def test_it_learns_from_rows_with_gaps():
    g = generator(0)
    a = torch.randn(1500, generator=g, dtype=torch.float64)
    x = torch.stack([a, (a + 0.5 * torch.randn(1500, generator=g, dtype=torch.float64) > 0).double()], dim=-1)
    gaps = torch.where(torch.rand(x.shape, generator=g) < 0.3, torch.nan, x)
    model = MixedTypeModel([Continuous(), Categorical(2)], hidden=(16, 16))
    history = pf.fit(model, gaps, steps=250, progress=False)
    assert history.best_validation is not None
    sure = model.given({0: 2.0}).column_marginal(1).probabilities()
    assert sure[1] > 0.95
    infinite = x.clone()
    infinite[3, 0] = torch.inf
    with pytest.raises(TrainingError, match="fit: x has a value that is not finite: row 3"):
        pf.fit(MixedTypeModel([Continuous(), Categorical(2)]), infinite)


# --- with a context


def with_context(order="any"):
    """A model of SMALL given three columns of other kinds, with rows of both."""
    context = (Integer(0, 4), Continuous(), Categorical(3))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = MixedTypeModel(SMALL, context=context, order=order, hidden=(16, 16)).double()
    x, c = data(SMALL, 40), data(context, 40, seed=50)
    model.initialize(x, c)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator(6), dtype=torch.float64))
    return model.eval(), x, c


@pytest.mark.parametrize("order", ["any", pytest.param("fixed", marks=pytest.mark.exhaustive)])
@torch.no_grad()
def test_a_context_is_seen_by_all_and_has_no_distribution(order):
    model, x, c = with_context(order)
    axes = [grid(column) for column in SMALL]
    nodes = torch.cartesian_prod(*(nodes for nodes, _ in axes))
    weights = torch.cartesian_prod(*(weight for _, weight in axes)).prod(dim=-1)
    for row in c[:2]:
        assert (model.log_prob(nodes, row).exp() * weights).sum().item() == pytest.approx(1, abs=1e-3)
    parts = model.contributions(x, context=c)
    for j in range(3):  # every column is looked at, by every column
        moved = c.clone()
        moved[:, j] = c.flip(0)[:, j]
        differs = model.contributions(x, context=moved) != parts
        assert differs[moved[:, j] != c[:, j]].any(dim=0).all()
    torch.testing.assert_close(parts.sum(dim=-1), model.log_prob(x, c))
    drawn = model.sample((5,), c, generator=generator(1))
    assert drawn.shape == (5, 40, 3)
    assert model.log_prob(drawn, c).isfinite().all()


@orders
@torch.no_grad()
def test_what_is_missing_of_a_context_or_strange_to_it_is_not_seen(order):
    model, x, c = with_context(order)
    gaps = c.clone()
    gaps[:, 1] = torch.nan
    strange = c.clone()
    strange[:, 1] = torch.inf
    expected = model.log_marginal(x, context=gaps)
    assert expected.isfinite().all()
    assert torch.equal(model.log_marginal(x, context=strange), expected)
    assert not torch.equal(model.log_marginal(x, context=c), expected)


@torch.no_grad()
def test_conditionals_within_a_context():
    model, x, c = with_context()
    conditional = model.given({1: x[:, 1]}, c)
    first = model.column_marginal(1, c).log_prob(x[:, 1])
    second = model.given({1: x[:, 1]}, c).column_marginal(0).log_prob(x[:, 0])
    torch.testing.assert_close(
        first + conditional.log_prob(x[:, [0, 2]]), model.contributions(x, order=[1, 0, 2], context=c).sum(-1)
    )
    third = conditional.given({0: x[:, 0]}).log_prob(x[:, 2:])
    torch.testing.assert_close(third + second, conditional.log_prob(x[:, [0, 2]]))
    filled = model.impute(torch.where(torch.arange(3) == 1, x, torch.nan), generator(2), c)
    assert torch.equal(filled[:, 1], x[:, 1])
    assert model.log_prob(filled, c).isfinite().all()
    u = model.mid_cdf(x, c)
    torch.testing.assert_close(model.from_mid_cdf(u, c), x, rtol=1e-6, atol=1e-6)


def test_smoothing_learns_the_wider_distribution():
    x = torch.randn(4000, 1, generator=generator(1), dtype=torch.float64) * 3
    model = MixedTypeModel([Continuous(smoothing=0.75)], hidden=(8,)).double()
    pf.fit(model, x, steps=60, batch_size=500, validation=None, seed=0)
    wide = torch.distributions.Normal(0.0, 3 * (1 + 0.75**2) ** 0.5)
    nodes = torch.linspace(-6, 6, 9, dtype=torch.float64)[:, None]  # without noise off by 0.5 at the ends
    torch.testing.assert_close(model.log_prob(nodes), wide.log_prob(nodes[:, 0]), rtol=0, atol=0.12)


@torch.no_grad()
def test_the_composite_is_a_mean_over_halves():
    model, x = model_of(SMALL), data(SMALL, 6)
    composite = model.composite(x, splits=400)
    others = {0: [1, 2], 1: [0, 2], 2: [0, 1]}
    for j, pair in others.items():  # of three columns one half is one column, the other two
        halves = ([pair[0]], [pair[1]], pair)
        cases = [model.given({i: x[:, i] for i in half}).column_marginal(j) for half in halves]
        one, other, both = (case.log_prob(x[:, j]) for case in cases)
        mean = (one + other) / 3 + both / 3
        torch.testing.assert_close(composite[:, j], mean, rtol=0.15, atol=0.15)
    gaps = x.clone()
    gaps[:, 1] = torch.nan
    assert (model.composite(gaps)[:, 1] == 0).all()
    alone = model_of(SMALL[:1])
    torch.testing.assert_close(alone.composite(x[:, :1])[:, 0], alone.log_prob(x[:, :1]))
    assert model.composite(torch.full_like(x, 99.0))[:, 1].isneginf().all()
    by_itself = [model.column_marginal(j).log_prob(x[:, j]) for j in range(x.shape[1])]
    torch.testing.assert_close(model.composite(x, splits=0), torch.stack(by_itself, dim=1))


@torch.no_grad()
def test_calibrating_the_temperature_undoes_overconfidence():
    columns = (Continuous(), Categorical(4), ZeroInflated(Positive()), Circular(1.0), Integer())
    model = model_of(columns, "fixed", size=0.2)
    x = model.sample(6000, generator=generator(3))
    learned, fresh = x[:4000], x[4000:]
    best = model.log_prob(fresh).mean()
    for k, (column_type, _) in enumerate(model.network.columns):
        if column_type.temperature_scaling() is not None:
            slope, shift = (t[:, None].double() for t in column_type.temperature_scaling())
            model.network.scale_params(k, slope.exp(), -shift)  # a third as wide, and logits e times as large
    narrow = model.log_prob(fresh).mean()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        temperatures = model.calibrate_temperature(learned)
    torch.testing.assert_close(temperatures[[0, 1, 2, 4]], torch.ones(4).double(), rtol=0, atol=0.35)
    assert temperatures[3] == 0
    after = model.log_prob(fresh).mean()
    assert best - after < 0.1 * (best - narrow)
    assert torch.equal(model.log_prob(fresh), copy.deepcopy(model).log_prob(fresh))


@torch.no_grad()
def test_a_full_conditional_is_that_given_all_else():
    model, x = model_of(WIDE), data(WIDE, 6)
    for j in (0, 3, 9):
        conditional = model.full_conditional(x, j)
        same = model.given({i: x[:, i] for i in range(10) if i != j}).column_marginal(j)
        torch.testing.assert_close(conditional.log_prob(x[:, j]), same.log_prob(x[:, j]))
    gaps = x.clone()
    gaps[:, 4] = torch.nan
    fewer = model.given({i: x[:, i] for i in range(10) if i not in (0, 4)}).column_marginal(0)
    torch.testing.assert_close(model.full_conditional(gaps, 0).median(), fewer.median())


@pytest.mark.parametrize("context", [pytest.param(False, marks=pytest.mark.exhaustive), True])
@torch.no_grad()
def test_the_discrepancy_of_a_marginal_is_what_integrating_the_joint_density_gives(context):
    """By a grid over the columns before: total variation of categories, Kolmogorov's distance otherwise."""
    if context:
        model, _, rows = with_context()
        conditional = model.given({}, rows[0])
    else:
        model = model_of(SMALL)
        conditional = model.given({})
    axes = [grid(column) for column in SMALL]
    x = torch.cartesian_prod(*(nodes for nodes, _ in axes))
    weights = torch.cartesian_prod(*(weight for _, weight in axes)).prod(dim=-1)
    mass = conditional.log_prob(x).exp() * weights
    for j, levels in ((1, 3), (2, 5)):
        implied = torch.stack([mass[x[:, j] == k].sum() for k in range(levels)])
        direct = conditional.column_marginal(j).log_prob(torch.arange(levels)).exp()
        off = implied - direct
        expected = 0.5 * off.abs().sum() if j == 1 else off.cumsum(0).abs().max()
        discrepancy = conditional.marginal_discrepancy(j, 4000, generator(3))
        assert 0 < discrepancy.standard_error < 0.02
        assert abs(discrepancy.distance - expected) < 4.5 * discrepancy.standard_error + 1e-3
        assert expected > 3 * discrepancy.standard_error  # else nothing would be measured here
    assert conditional.marginal_discrepancy(0, 10).distance < 1e-12  # no column stands before it
    several = model.given({2: torch.tensor([0.0, 3.0, torch.nan])}, *([rows[0]] if context else []))
    distance, error = several.marginal_discrepancy(1, 50, generator(1))
    assert distance.isnan().tolist() == error.isnan().tolist() == [False, False, True]


@torch.no_grad()
def test_a_fixed_context_is_a_conditional_with_no_column_observed():
    model, x, rows = with_context()
    fixed = model.condition(rows)
    assert torch.equal(fixed.log_prob(x), model.log_prob(x, rows))
    assert torch.equal(fixed.sample((2,), generator=generator(1)), model.sample((2,), rows, generator=generator(1)))
    assert torch.equal(fixed.given({0: x[:, 0]}).log_prob(x[:, 1:]), model.given({0: x[:, 0]}, rows).log_prob(x[:, 1:]))


@torch.no_grad()
def test_means_and_scores_move_with_the_column():
    """A quadrature is exact for constants: seconds since 1970 keep their mean, to the digits of float64."""
    shift = 1.7e9
    for column, offset in ((Continuous(), 0.0), (Continuous(), shift)):
        x = torch.randn(500, generator=generator(1), dtype=torch.float64)[None] + offset
        start = column.initialize(x, torch.ones_like(x, dtype=torch.bool)).double()
        distribution = ColumnDistribution(column.double(), start[..., None], (1,))
        assert (distribution.mean() - x.mean()).abs() < 0.02
        if not offset:
            score = distribution.crps(0.3)
    torch.testing.assert_close(distribution.crps(shift + 0.3), score, rtol=0, atol=1e-5)


def test_a_context_is_hidden_in_training_alone():
    """What is judged on held-out rows is the answer to the whole context."""
    model = MixedTypeModel(
        [Continuous()] * 2, context=[Continuous()] * 2, order="fixed", hidden=(8, 8), hide_context=0.8
    )
    model = randomize(model, seed=1)
    x, context = (torch.randn(40, 2, dtype=torch.float64, generator=generator(k)) for k in (1, 2))
    judged = model.eval()(x, context, generator=generator(0))
    torch.testing.assert_close(judged, model.log_prob(x, context))
    learned = model.train()(x, context, generator=generator(0))
    assert 10 < (learned != judged).sum() < 40

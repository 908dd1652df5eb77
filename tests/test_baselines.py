"""Baselines for columns of any types: normalised by sums and quadrature, marginals, and what trees gain."""

import json
import math

import numpy as np
import pytest

from pushforward.distributions import (
    Bounded,
    Categorical,
    Circular,
    Constant,
    Continuous,
    HeavyTailed,
    Inflated,
    Integer,
    Ordinal,
    Positive,
    ZeroInflated,
)
from pushforward.evaluate import TreeBaseline, baselines_from_dict, baselines_to_dict, fit_baselines
from pushforward.evaluate.column_density import ColumnDensity

ROWS = [1, 12, 300, 5_000]


def total(density, low, high):
    """The probability of whole numbers, or the integral of a density, from low to high."""
    if density.whole:
        return np.exp(density.log_prob(np.arange(low, high + 1.0))).sum()
    # Nodes inside of the steps, denser near the ends of the range, where tails are.
    edges = np.unique(
        np.clip(
            np.concatenate(
                [density.edges, *(density.edges[0] + s * np.geomspace(1e-14, 1, 300) * (high - low) for s in (-1, 1))]
            ),
            low,
            high,
        )
    )
    nodes, weights = np.polynomial.legendre.leggauss(8)
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    values = np.exp(density.log_prob((middle[:, None] + half[:, None] * nodes).ravel()))
    inside = (values.reshape(-1, 8) @ weights * half).sum()
    return inside + np.exp(density.log_prob(density.values)).sum()


def numbers(name, rows):
    random = np.random.default_rng(rows)
    often = np.where(random.random(rows) < 0.5, random.choice([0.0, 7.0, 500.0], rows), random.poisson(9, rows))
    return {
        "normal": lambda: random.normal(size=rows),
        "skewed": lambda: np.exp(random.normal(size=rows)),
        "zeros": lambda: np.where(random.random(rows) < 0.4, 0.0, random.exponential(size=rows)),
        "angles": lambda: random.vonmises(1.0, 2.0, rows) % (2 * math.pi),
        "shares": lambda: random.beta(0.5, 2.0, rows),
        "counts": lambda: random.poisson(4, rows) * 1.0,
        "large counts": lambda: random.negative_binomial(2, 1e-3, rows) * 1.0,
        "often": lambda: often,
        "tied": lambda: random.integers(0, 9, rows) / 4,
        "constant": lambda: np.full(rows, 3.0),
    }[name]()  # fmt: skip


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(
    ("column_type", "name", "low", "high"),
    [
        (Continuous(), "normal", -80.0, 80.0),
        (Continuous(), "tied", -80.0, 80.0),
        (Continuous(), "constant", -60.0, 60.0),
        (HeavyTailed(), "normal", -80.0, 80.0),
        (Positive(), "skewed", 0.0, 1e7),
        (ZeroInflated(Positive()), "zeros", 0.0, 400.0),
        (Inflated(Continuous(), [0.0, 3.0]), "zeros", -60.0, 400.0),
        (Circular(), "angles", 0.0, 2 * math.pi),
        (Bounded(0.0, 1.0), "shares", 0.0, 1.0),
        (Integer(0), "counts", 0, 400),
        (Integer(), "counts", -400, 400),
        (Integer(0, 20), "counts", 0, 20),
        (Integer(0, skewed=True), "large counts", 0, 2_000_000),
        (Inflated(Integer(0), [0.0, 7.0, 500.0]), "often", 0, 20_000),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "config") else str(value),
)
def test_the_density_of_a_column_is_normalised(column_type, name, low, high, rows):
    density = ColumnDensity.fit(column_type, numbers(name, rows))
    assert total(density, low, high) == pytest.approx(1.0, abs=2e-3)
    assert np.isfinite(density.log_prob(numbers(name, rows))).all()
    again = ColumnDensity.from_dict(json.loads(json.dumps(density.to_dict())))
    assert (again.log_prob(numbers(name, rows)) == density.log_prob(numbers(name, rows))).all()
    assert len(json.dumps(density.to_dict())) < 60_000


def test_categories_count_half_a_row_more():
    density = ColumnDensity.fit(Categorical(3), np.array([0.0, 0.0, 1.0, np.nan]))
    np.testing.assert_allclose(np.exp(density.log_prob(np.arange(3.0))), np.array([2.5, 1.5, 0.5]) / 4.5)
    assert density.log_prob(np.array([3.0, 0.5])).tolist() == [-math.inf, -math.inf]
    assert np.isnan(density.log_prob(np.array([np.nan])))
    assert ColumnDensity.fit(Constant(2.0), np.array([2.0])).log_prob(np.array([2.0, 1.0])).tolist() == [0, -math.inf]


@pytest.mark.parametrize(
    ("column_type", "outside"),
    [(Positive(), -1.0), (Integer(0), -1.0), (Integer(0), 0.5), (Bounded(0.0, 1.0), 1.5), (Continuous(), math.inf)],
)
def test_nothing_lies_outside_of_the_support(column_type, outside):
    density = ColumnDensity.fit(
        column_type, np.array([0.25, 0.5, 0.75] if isinstance(column_type, Bounded) else [1.0, 2, 3])
    )
    assert density.log_prob(np.array([outside])) == -math.inf


@pytest.mark.parametrize("name", ["normal", "skewed"])
def test_many_rows_come_close_to_the_entropy(name):
    density = ColumnDensity.fit(Positive() if name == "skewed" else Continuous(), numbers(name, 20_000))
    new = numbers(name, 19_999)
    z = np.log(new) if name == "skewed" else new
    truth = -0.5 * (z * z + math.log(2 * math.pi)) - (z if name == "skewed" else 0)
    assert 0 <= (truth - density.log_prob(new)).mean() < 0.02


def mixed(rows, seed=0):
    """A number, a count and a category that depend on it, and a category that does not, with gaps."""
    random = np.random.default_rng(seed)
    a = random.normal(size=rows)
    x = np.stack([a, random.poisson(np.exp(a / 2)), (a > 0) + (a > 1) * 1.0, random.integers(0, 4, rows)], axis=1)
    x[random.random(x.shape) < 0.1] = np.nan
    return x


TYPES = [Continuous(), Integer(0), Ordinal(3), Categorical(4)]


@pytest.fixture(scope="module")
def tree():
    return TreeBaseline.independent(TYPES, mixed(4_000)).with_edges(mixed(4_000))


def test_a_tree_joins_what_depends_on_each_other(tree):
    assert {frozenset(edge) for edge in tree.edges} <= {frozenset(e) for e in ((0, 1), (0, 2), (1, 2))}
    assert len(tree.edges) == 2
    new = mixed(2_000, seed=1)
    independent = TreeBaseline.independent(TYPES, mixed(4_000))
    gain = tree.log_prob(new) - independent.log_prob(new)
    assert 0.4 < gain.mean() < 0.9
    alone = np.where(np.arange(4) == 0, new, np.nan)
    np.testing.assert_allclose(tree.log_prob(alone), independent.log_prob(alone), atol=1e-9)


@pytest.mark.parametrize("column", [1, 2, 3])
def test_a_missing_entry_is_marginalised(tree, column):
    rows = mixed(40, seed=2)
    rows[:, column] = np.nan
    values = np.arange(2_000.0 if column == 1 else TYPES[column].levels)
    filled = np.repeat(rows[None], len(values), axis=0)
    filled[..., column] = values[:, None]
    each = tree.log_prob(filled.reshape(-1, 4)).reshape(len(values), -1)
    np.testing.assert_allclose(np.logaddexp.reduce(each, axis=0), tree.log_prob(rows), atol=1e-6)


def test_a_context_is_divided_by(tree):
    x = mixed(4_000)
    conditional = TreeBaseline.independent(TYPES[2:], x[:, 2:], x[:, :2], TYPES[:2]).with_edges(x[:, 2:], x[:, :2])
    new = mixed(300, seed=3)
    context = np.where(np.arange(4) < 2, new, np.nan)
    expected = tree.log_prob(new) - tree.log_prob(context)
    np.testing.assert_allclose(conditional.log_prob(new[:, 2:], new[:, :2]), expected, atol=1e-9)
    new[0, 1] = -7.0  # what a context cannot hold counts as missing
    assert np.isfinite(conditional.log_prob(new[:, 2:], new[:, :2])).all()


def test_impossible_entries_have_no_probability(tree):
    rows = mixed(3, seed=4)
    rows[0, 2], rows[1, 1] = 3.0, 0.5
    assert np.isneginf(tree.log_prob(rows)).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("types", "x", "names"),
    [
        ([Continuous()] * 2, np.random.default_rng(0).normal(size=(200, 2)), ["independent", "gaussian", "gmm"]),
        (TYPES, mixed(500), ["independent", "tree"]),
        ([Continuous()] * 2, mixed(500)[:, :2], ["independent", "tree"]),
        ([Constant(1.0), Categorical(2)], np.array([[1.0, 0.0], [1.0, 1.0]] * 9), ["independent"]),
    ],
    ids=["real", "mixed", "gaps", "nothing to pair"],
)
def test_every_kind_of_table_has_its_baselines(types, x, names):
    fitted = fit_baselines(x, types=types, components=(1, 2))
    assert list(fitted) == names
    again = baselines_from_dict(json.loads(json.dumps(baselines_to_dict(fitted))))
    for name in names:
        assert (again[name].log_prob(x) == fitted[name].log_prob(x)).all()


def test_wrong_numbers_of_columns_are_refused(tree):
    with pytest.raises(ValueError, match="x has 4 columns and the context 0; got 2 and 0 types"):
        TreeBaseline.independent(TYPES[:2], mixed(5))
    with pytest.raises(ValueError, match="fitted on 4 columns of x and 0 of context; got 2 and 0"):
        tree.log_prob(mixed(5)[:, :2])
    with pytest.raises(ValueError, match="x has 5 rows but context has 4"):
        tree.log_prob(mixed(5), mixed(4))


@pytest.mark.parametrize(
    "spoil", [{"edges": [[0, 9]]}, {"counts": []}, {"features": 7}, {"columns": [{}]}, {"rows": None}]
)
def test_a_spoiled_description_is_refused(tree, spoil):
    with pytest.raises(ValueError, match="TreeBaseline: the stored description cannot be read"):
        TreeBaseline.from_dict({**tree.to_dict(), **spoil})

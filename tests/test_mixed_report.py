"""The report on a mixed-type model: calibration, fidelity, memorization and utility, against known properties."""

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ecdf, ks_2samp
from sklearn.metrics import mutual_info_score
from test_mixed import WIDE, data, model_of

from pushforward.data.schema import Schema
from pushforward.distributions import Circular, Constant
from pushforward.estimators import FlowDensity
from pushforward.evaluate import evaluate, log_prob_in_batches
from pushforward.evaluate.calibration import coverage, measure_calibration, pit_band, pit_histogram
from pushforward.evaluate.fidelity import associations, column_distances, pair_distances, two_sample_test
from pushforward.evaluate.html import page
from pushforward.evaluate.memorization import measure_memorization
from pushforward.evaluate.ranks import mid_distribution
from pushforward.evaluate.report import model_report
from pushforward.evaluate.table_sections import fidelity_section, memorization_section
from pushforward.evaluate.utility import measure_utility

NAMES = [f"c{j}" for j in range(len(WIDE))]


def sample(model, rows, seed=0):
    with torch.no_grad():
        return model.sample(rows, generator=torch.Generator().manual_seed(seed)).numpy()


def html(section):
    return page("", [section])


@pytest.fixture(scope="module")
def correct():
    """A model of a fixed order and samples of its own, which it describes exactly."""
    model = model_of(WIDE, "fixed")
    return model, sample(model, 1_500, seed=1)


def table(rows=1_000, seed=0):
    """Two correlated numbers, a zero-inflated one, a category that follows from the first number, and a constant."""
    random = np.random.default_rng(seed)
    a = random.normal(size=rows)
    b = 0.8 * a + 0.6 * random.normal(size=rows)
    zeros = np.where(a + random.normal(size=rows) > 1.5, random.exponential(size=rows), 0.0)
    letter = np.where(a > 0.5, "high", np.where(a < -0.5, "low", "mid"))
    return pd.DataFrame({"a": a, "b": b, "zeros": zeros, "letter": letter, "one": 1.0})


@pytest.fixture(scope="module")
def tables():
    """A schema and two tables of one distribution."""
    schema = Schema.infer(table(4_000))
    return schema, *(schema.encode(table(2_000, seed)) for seed in (1, 2))


# --- calibration


def test_a_model_is_calibrated_on_its_own_samples(correct):
    model, x = correct
    columns = measure_calibration(model, x, NAMES)
    assert [column.name for column in columns] == [
        name for name, kind in zip(NAMES, WIDE, strict=True) if not isinstance(kind, Constant)
    ]
    ordered = [column for column in columns if column.lower is not None]
    assert len(ordered) == 7  # all but the two columns of categories
    for column in ordered:
        assert column.verdict() == "calibrated"
        for level in (0.5, 0.8, 0.9, 0.95):
            share, error = column.coverage(level)
            assert abs(share - level) < 4 * max(error, 0.002)
    for column in columns:
        if column.reliability is not None:
            difference = column.reliability.accuracy - column.reliability.confidence
            assert abs(difference) < 4 * math.sqrt(0.25 / column.rows)
            assert column.reliability.counts.sum() == column.rows * (2 if column.name == "c1" else 100)


def test_the_verdict_names_the_deviation(correct):
    model, x = correct
    spread = x[:, 0].std()
    for change, verdict in ((lambda v: v + spread, "higher"), (lambda v: v - spread, "lower")):
        moved = x.copy()
        moved[:, 0] = change(x[:, 0])
        assert verdict in measure_calibration(model, moved, NAMES)[0].verdict()
    centre = np.median(x[:, 0])
    for factor, verdict in ((4.0, "narrow"), (0.2, "wide")):
        moved = x.copy()
        moved[:, 0] = centre + factor * (x[:, 0] - centre)
        assert verdict in measure_calibration(model, moved, NAMES)[0].verdict()


def test_missing_entries_are_skipped_and_impossible_ones_counted(correct):
    model, x = correct
    x = x[:50].copy()
    x[:10, 0], x[:5, 1] = np.nan, 7.0
    columns = measure_calibration(model, x, NAMES)
    assert [column.rows for column in columns[:3]] == [40, 45, 50]
    assert [column.outside for column in columns[:3]] == [0, 5, 0]
    x[:3, 7] = -1.0  # an end of a bounded column, which has no density
    bounded = next(column for column in measure_calibration(model, x, NAMES) if column.name == "c7")
    assert bounded.outside == 3
    assert bounded.coverage(1.0)[0] == pytest.approx(47 / 50)
    assert columns[1].reliability.accuracy <= 0.9  # an impossible value is never the likeliest


def test_intervals_of_unordered_categories_are_refused(correct):
    model, x = correct
    column = measure_calibration(model, x[:20], NAMES)[1]
    with pytest.raises(ValueError, match="Column 'c1' has unordered categories or only two, and so no intervals"):
        column.coverage(0.9)


def test_discrete_values_are_spread_over_their_probability():
    lower, upper = np.array([0.0, 0.2]), np.array([0.2, 1.0])
    np.testing.assert_allclose(pit_histogram(lower, upper, 5), [2.5, 0.625, 0.625, 0.625, 0.625])
    assert coverage(lower, upper, 0.8)[0] == pytest.approx((0.5 + 0.7 / 0.8) / 2)
    assert coverage(lower, upper, 0.8, outside=2)[0] == pytest.approx((0.5 + 0.7 / 0.8) / 4)


def test_repeating_every_value_changes_no_share():
    random = np.random.default_rng(0)
    upper = random.random(40)
    lower = np.where(random.random(40) < 0.5, upper, upper * random.random(40))
    twice = np.repeat(lower, 2), np.repeat(upper, 2)
    np.testing.assert_allclose(pit_histogram(*twice, 7), pit_histogram(lower, upper, 7))
    assert coverage(*twice, 0.6)[0] == pytest.approx(coverage(lower, upper, 0.6)[0])
    assert pit_histogram(lower, upper, 7).mean() == pytest.approx(1.0)  # it is a density


def test_a_calibrated_histogram_stays_within_the_band_99_times_in_100():
    random, inside = np.random.default_rng(7), 0
    low, high = pit_band(300, 20)
    for _ in range(1_000):
        u = random.random(300)
        heights = pit_histogram(u, u, 20)
        inside += bool(((low <= heights) & (heights <= high)).all())
    assert 970 <= inside <= 998


def test_rows_with_gaps_have_the_density_of_the_observed_entries():
    model, x = model_of(WIDE), data(WIDE, 6)
    x[1, 4] = x[3, 0] = torch.nan
    with torch.no_grad():
        expected = model.log_marginal(x)
    np.testing.assert_allclose(log_prob_in_batches(model, x, batch_size=4), expected)
    assert evaluate(model, x).undefined == 0


# --- fidelity


def test_the_mid_distribution_function_is_the_mean_of_both_limits():
    random = np.random.default_rng(0)
    reference, values = random.integers(0, 9, 40) * 1.0, np.r_[random.integers(-2, 12, 30) * 1.0, 3.5, -np.inf, np.inf]
    upto = ecdf(reference).cdf
    expected = (upto.evaluate(values) + upto.evaluate(np.nextafter(values, -np.inf))) / 2
    np.testing.assert_allclose(mid_distribution(reference, values), expected)
    np.testing.assert_allclose(mid_distribution(np.repeat(reference, 3), values), expected)
    assert mid_distribution(np.ones(1), np.array([0.0, 1.0, 2.0])).tolist() == [0.0, 0.5, 1.0]
    assert mid_distribution(np.ones(0), np.ones(2)).tolist() == [0.5, 0.5]


def test_equal_distributions_are_as_distant_as_expected_by_chance(tables):
    schema, x, y = tables
    for distances in (column_distances(schema, x, y), pair_distances(schema, x, y)):
        assert all(entry.distance < 3 * entry.chance + 1e-9 for entry in distances)
    for entry, j in zip(column_distances(schema, x, y)[:3], range(3), strict=True):
        assert entry.distance == pytest.approx(ks_2samp(x[:, j], y[:, j]).statistic)


def test_other_distributions_are_further_apart(tables):
    schema, x, y = tables
    other = y.copy()
    other[:, 0] += 1.0
    other[:, 3] = 0.0
    distances = {entry.names[0]: entry for entry in column_distances(schema, x, other)}
    assert distances["a"].distance > 5 * distances["a"].chance
    assert distances["letter"].distance == pytest.approx((x[:, 3] != 0).mean())
    shuffled = y.copy()
    shuffled[:, 1] = np.random.default_rng(0).permutation(y[:, 1])
    worst = max(pair_distances(schema, x, shuffled), key=lambda entry: entry.distance - entry.chance)
    assert "b" in worst.names


@pytest.mark.parametrize(
    ("real", "samples", "expected"),
    [
        ([1.0, 1.0, 1.0], [1.0, 1.0], 0.0),
        ([1.0, 1.0, 1.0], [2.0], 1.0),
        ([1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 2.0, 2.0], 0.25),
        ([-np.inf, 0.0, np.inf], [-np.inf, 0.0, np.inf], 0.0),
        ([1.0, np.nan, 2.0], [np.nan, 1.0, 2.0, np.nan], 0.0),
        ([1e308, -1e308, 0.0, 0.0], [1e308, 1e308], 0.75),
    ],
    ids=["equal constants", "other constants", "ties", "infinite", "missing", "huge"],
)
def test_column_distances_of_odd_columns(real, samples, expected):
    schema = Schema.infer(pd.DataFrame({"a": np.arange(100) / 7}))
    (entry,) = column_distances(schema, np.array(real)[:, None], np.array(samples)[:, None])
    assert entry.distance == pytest.approx(expected)
    assert 0 <= entry.chance <= 1


def test_columns_without_values_have_no_distance():
    schema = Schema.infer(pd.DataFrame({"a": np.arange(100) / 7}))
    gone, one, many = np.full((3, 1), np.nan), np.zeros((1, 1)), np.zeros((5, 1))
    for real, samples in ((gone, many), (many, gone), (one, one), (one[:0], many)):
        assert column_distances(schema, real, samples) == []


def test_associations_are_about_absolute_correlations(tables):
    schema, x, y = tables
    matrix = associations(schema, x, y)
    assert matrix[0, 1] == pytest.approx(0.8, abs=0.05)
    assert matrix[0, 3] > 0.8
    assert matrix[0, 2] > 0.3  # mostly zero, but not independent
    assert (matrix[4, :4] == 0).all()
    shuffled = y.copy()
    shuffled[:, 1] = np.random.default_rng(0).permutation(y[:, 1])
    assert associations(schema, x, shuffled)[0, 1] < 0.1


def test_associations_of_few_categories_are_those_of_their_mutual_information():
    random = np.random.default_rng(0)
    a = random.integers(0, 3, 500)
    b = np.where(random.random(500) < 0.6, a, random.integers(0, 4, 500))
    schema = Schema.infer(pd.DataFrame({"a": [f"a{k}" for k in a], "b": [f"b{k}" for k in b]}))
    x = np.stack([a, b], axis=1) * 1.0
    information = mutual_info_score(a, b) - 2 * 3 / (2 * 500)
    assert associations(schema, x, x)[0, 1] == pytest.approx(math.sqrt(1 - math.exp(-2 * information)))


def test_a_classifier_finds_a_difference_and_its_column(tables):
    schema, x, y = tables
    x, y = x[:600].copy(), y[:600].copy()
    assert not two_sample_test(schema, x, y).distinguishable
    x[:, 2] = y[:, 2] = np.nan
    assert not two_sample_test(schema, x, y).distinguishable
    y[:, 1] += 0.8
    test = two_sample_test(schema, x, y)
    assert test.distinguishable
    assert test.auc > 0.7
    assert 0.6 < test.accuracy < test.auc
    assert next(iter(test.importances)) in ("a", "b")
    assert test.importances["one"] == 0
    x[:, 2], y[:, 2] = 0.0, 0.0
    section = fidelity_section(schema, x, y, column_distances(schema, x, y), test)
    assert "tell samples from real rows: an AUC of 0." in html(section)
    with pytest.raises(ValueError, match="two_sample_test: needs at least 6 rows; got 5"):
        two_sample_test(schema, x[:5], y)


@pytest.mark.exhaustive
def test_the_standard_error_of_the_area_holds_in_small_samples():
    schema, areas, errors = Schema.infer(np.random.default_rng(0).normal(size=(50, 2))), [], []
    for seed in range(16):
        random = np.random.default_rng(seed)
        test = two_sample_test(schema, random.normal(size=(60, 2)), random.normal(size=(60, 2)))
        areas.append(test.auc)
        errors.append(test.standard_error)
    spread = np.sqrt(np.mean(np.square(np.array(areas) - 0.5)))
    assert 0.6 * spread < np.mean(errors) < 1.7 * spread


@pytest.mark.parametrize("rows", [60, 600])
def test_chance_is_the_distance_of_two_sets_of_one_distribution(rows):
    """In many cells too, most of which are empty."""
    schema = Schema.infer(pd.DataFrame({"a": [str(k) for k in range(40)] * 2, "b": [f"b{k}" for k in range(20)] * 4}))
    each = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        x, y = (np.stack([random.integers(0, 40, rows), random.integers(0, 20, rows)], axis=1) * 1.0 for _ in range(2))
        each.append([*column_distances(schema, x, y), *pair_distances(schema, x, y)])
    for entries in zip(*each, strict=True):
        mean = np.mean([entry.distance for entry in entries])
        assert mean == pytest.approx(np.mean([entry.chance for entry in entries]), rel=0.15)


# --- memorization


def test_copies_are_noticed(tables):
    schema, train, held_out = tables
    fresh = schema.encode(table(1_500, seed=3))
    honest = measure_memorization(schema, train, fresh, held_out)
    assert honest.equal_samples == honest.equal_held_out == 0.0
    assert abs(honest.close[0] - 0.05) < 3 * honest.close[1]
    assert "No sign of it: " in html(memorization_section(honest))
    single = measure_memorization(schema, train, np.concatenate([fresh, train[:1]]), held_out)
    # Chance gives no equal rows of continuous columns.
    assert "Possibly: 0.07% of the samples" in html(memorization_section(single))
    copied = np.concatenate([fresh[:900], train[:600]])
    many = measure_memorization(schema, train, copied, held_out)
    assert many.equal_samples == pytest.approx(0.4)
    assert many.close[0] > 0.3
    assert "Possibly: " in html(memorization_section(many))
    near = copied.copy()
    near[:, 0] += 1e-4 * np.random.default_rng(0).normal(size=1_500)
    perturbed = measure_memorization(schema, train, near, held_out)
    assert perturbed.equal_samples == 0.0
    assert perturbed.close[0] > 0.3
    assert "more than expected by chance" in html(memorization_section(perturbed))


def test_repeated_rows_are_no_sign_of_memorization(tables):
    random = np.random.default_rng(0)
    schema = Schema.infer(random.integers(0, 30, (200, 2)))
    train, held_out, samples = (random.integers(0, 30, (size, 2)).astype(float) for size in (2_000, 500, 500))
    repeated = measure_memorization(schema, train, samples, held_out)
    assert repeated.equal_held_out > 0.5
    assert abs(repeated.close[0] - 0.05) < 0.02
    distant = measure_memorization(schema, train, 2 * samples, held_out)
    assert 0 <= distant.close[0] < 0.05
    assert "of the held-out rows equal a training row" in html(memorization_section(repeated))
    schema, train, _ = tables
    trained_on = measure_memorization(schema, train, train[:500], train[500:])  # a report on the training rows
    assert "of the held-out rows equal a training row" in html(memorization_section(trained_on))


def test_equal_rows_are_equal_in_every_entry():
    names = pd.DataFrame({"id": [f"n{k}" for k in range(900)], "a": np.arange(900.0)})
    schema = Schema.infer(names)
    x = schema.encode(names)
    unique = measure_memorization(schema, x[:300], x[300:600], x[600:])  # every identifier occurs once
    assert unique.equal_samples == unique.equal_held_out == 0.0
    assert unique.samples.min() > 0.4
    train = x[:301].copy()
    middle = train[150:151].copy()
    middle[0, 1] = np.nan  # a missing entry is not the median
    gap = measure_memorization(schema, train, middle, x[600:])
    assert gap.equal_samples == 0.0
    assert gap.samples[0] > 0.4


def test_distances_on_a_circle_have_no_end():
    rows = pd.DataFrame({"hour": np.arange(240) / 10, "half": ["a"] * 120 + ["b"] * 120})
    schema = Schema.infer(rows, {"hour": Circular(24)})
    result = measure_memorization(schema, schema.encode(rows), np.array([[23.95, 0.0]]), np.array([[18.0, 0.0]]))
    assert result.samples[0] < 0.01  # next to midnight, when the first half begins
    assert result.held_out[0] > 0.1


# --- utility


@pytest.mark.exhaustive
def test_imputed_entries_are_no_targets(tables):
    schema, train, held_out = tables
    samples, random = schema.encode(table(2_000, seed=4)), np.random.default_rng(0)
    imputed = random.random(train.shape) < 0.3, random.random(held_out.shape) < 0.3
    expected = measure_utility(schema, train, samples, held_out, imputed=imputed)
    for j in range(2):  # nonsense in the imputed entries of a column does not change how well it is predicted
        a, b = (np.where(mask, random.permutation(x), x) for mask, x in zip(imputed, (train, held_out), strict=True))
        one, other = train.copy(), held_out.copy()
        one[:, j], other[:, j] = a[:, j], b[:, j]
        assert measure_utility(schema, one, samples, other, imputed=imputed)[j] == expected[j]


@pytest.mark.exhaustive
def test_samples_of_another_distribution_are_less_useful(tables):
    schema, train, held_out = tables
    good = {
        entry.name: entry for entry in measure_utility(schema, train, schema.encode(table(2_000, seed=4)), held_out)
    }
    assert set(good) == {"a", "b", "zeros", "letter"}
    for entry in good.values():
        assert entry.samples == pytest.approx(entry.real, abs=0.08)
    assert good["b"].real == pytest.approx(0.6, abs=0.08)  # ranks of a normal pair: about its squared correlation
    assert good["letter"].real > 0.9
    random = np.random.default_rng(0)
    noise = np.stack([random.permutation(column) for column in train.T], axis=1)
    bad = {entry.name: entry for entry in measure_utility(schema, train, noise, held_out)}
    assert all(entry.samples < 0.1 for entry in bad.values())
    assert all(bad[name].real == good[name].real for name in bad)


# --- the report


@pytest.mark.exhaustive
@pytest.mark.parametrize(("order", "gap"), [("any", 0), ("any", 1), ("fixed", 1)])
def test_gaps_do_not_condemn_a_correct_model(order, gap):
    """Gaps of one column where the other one is large. A model of a fixed order is compared with complete rows only, so
    that its gaps are at random here."""
    random = np.random.default_rng(0)
    rows = table(5_000)[["a", "b"]].to_numpy()
    model = FlowDensity(order=order, random_state=0, steps=500, hidden=(32, 32)).fit(rows[:4_000])
    x = rows[4_000:]
    other = x[:, 1 - gap]
    _, complete = model_report(model.model_, model.schema_, x)
    x = x.copy()
    x[((other > np.median(other)) if order == "any" else True) & (random.random(1_000) < 0.7), gap] = np.nan
    sections, numbers = model_report(model.model_, model.schema_, x)
    assert abs(numbers["two_sample_auc"] - complete["two_sample_auc"]) < 0.08
    assert numbers["column_distances"][model.schema_.names[gap]] < 0.1
    excluded = any("rows with missing entries are left out" in html(section) for section in sections)
    assert excluded == (order == "fixed")


def test_an_estimator_writes_its_report(tmp_path):
    rows = table(400)
    rows.loc[::7, "b"] = np.nan
    model = FlowDensity(steps=30, random_state=0).fit(rows[:200])
    numbers = model.report(rows[200:], tmp_path / "r.html", train=rows[:200])
    assert numbers["log_likelihood"] == pytest.approx(model.score(rows[200:]))
    assert set(numbers["utility"]["a"]) == {"real", "samples"}
    text = (tmp_path / "r.html").read_text()
    assert "Can samples replace real training rows?" in text
    model = FlowDensity(steps=30, order="fixed", random_state=0).fit(rows[:200])
    model.report(rows[200:], tmp_path / "fixed.html")
    text = (tmp_path / "fixed.html").read_text()
    assert "given the entries before it in its row" in text
    assert "Dependence between columns" not in text


@pytest.mark.parametrize(
    ("change", "in_training"),
    [
        (lambda t: t.assign(b=np.nan), False),
        pytest.param(
            lambda t: t.assign(b=t["b"] * 1e-310, when=t["when"].max(), one=2.0), False, marks=pytest.mark.exhaustive
        ),
        pytest.param(
            lambda t: t.assign(b=t["b"] * 1e39, letter=np.where(t.index % 3 == 0, "new", t["letter"]), zeros=np.nan),
            True,
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(lambda t: t[:49], True, marks=pytest.mark.exhaustive),
        pytest.param(lambda t: t[:1], False, marks=pytest.mark.exhaustive),
    ],
    ids=["empty column", "odd values", "odd training values", "few training rows", "one row"],
)
@pytest.mark.filterwarnings("ignore:column 'letter' holds")
@pytest.mark.exhaustive
def test_odd_tables_get_a_page_without_a_warning(tmp_path, change, in_training):
    rows = table(120).assign(日本=lambda t: np.where(t["a"] > 0, "左", "右"), when=dt.datetime(9999, 12, 30))
    rows.loc[::2, "when"] = dt.datetime(1812, 5, 1)
    model = FlowDensity(steps=3, hidden=(8,), random_state=0).fit(rows)
    odd = change(rows.copy())
    model.report(rows if in_training else odd, tmp_path / "r.html", train=odd if in_training else rows)
    assert "Do samples look real?" in (tmp_path / "r.html").read_text()

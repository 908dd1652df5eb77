"""What a report says of a model of mixed columns: calibration, fidelity, copies, against properties that are known."""

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ks_2samp
from test_mixed import WIDE, data, model_of

from pushforward.data.schema import Schema
from pushforward.distributions import Circular, Constant
from pushforward.estimators import FlowDensity
from pushforward.evaluate import evaluate, log_prob_in_batches
from pushforward.evaluate.calibration import calibrate, coverage, pit_band, pit_histogram
from pushforward.evaluate.fidelity import associations, column_distances, pair_distances, two_sample_test
from pushforward.evaluate.independence_baseline import ColumnsAlone
from pushforward.evaluate.memorization import find_copies, usefulness
from pushforward.evaluate.mixed_report import mixed_report
from pushforward.evaluate.mixed_sections import copies_section, fidelity_section

NAMES = [f"c{j}" for j in range(len(WIDE))]


def drawn_from(model, rows, seed=0):
    with torch.no_grad():
        return model.sample(rows, generator=torch.Generator().manual_seed(seed)).numpy()


@pytest.fixture(scope="module")
def true():
    """A model of one order and rows of its own: nothing can be wrong with it."""
    model = model_of(WIDE, "fixed")
    return model, drawn_from(model, 1_500, seed=1)


def table(rows=1_000, seed=0):
    """Two numbers that hang together, a mostly zero one, a category that follows from the first, and a constant."""
    random = np.random.default_rng(seed)
    a = random.normal(size=rows)
    b = 0.8 * a + 0.6 * random.normal(size=rows)
    zeros = np.where(a + random.normal(size=rows) > 1.5, random.exponential(size=rows), 0.0)
    letter = np.where(a > 0.5, "high", np.where(a < -0.5, "low", "mid"))
    return pd.DataFrame({"a": a, "b": b, "zeros": zeros, "letter": letter, "one": 1.0})


@pytest.fixture(scope="module")
def known():
    schema = Schema.infer(table(4_000))
    return schema, *(schema.encode(table(2_000, seed)) for seed in (1, 2))


# --- calibration


def test_a_model_is_calibrated_on_rows_of_its_own(true):
    model, x = true
    columns = calibrate(model, x, NAMES)
    assert [own.name for own in columns] == [n for n, k in zip(NAMES, WIDE, strict=True) if not isinstance(k, Constant)]
    ordered = [own for own in columns if own.lower is not None]
    assert len(ordered) == 7  # all but the two columns of categories
    for own in ordered:
        assert own.verdict() == "as it should be"
        for level in (0.5, 0.8, 0.9, 0.95):
            part, error = own.coverage(level)
            assert abs(part - level) < 4 * max(error, 0.002)
    for own in columns:
        if own.reliability is not None:
            n = own.rows
            assert abs(own.reliability.hits - own.reliability.sure) < 4 * math.sqrt(0.25 / n)
            assert own.reliability.counts.sum() == n * (2 if own.name == "c1" else 100)


def test_laws_that_do_not_fit_are_called_what_they_are(true):
    model, x = true
    spread = x[:, 0].std()
    for change, words in ((lambda v: v + spread, "higher"), (lambda v: v - spread, "lower")):
        moved = x.copy()
        moved[:, 0] = change(x[:, 0])
        assert words in calibrate(model, moved, NAMES)[0].verdict()
    centre = np.median(x[:, 0])
    for factor, words in ((4.0, "narrow"), (0.2, "wide")):
        moved = x.copy()
        moved[:, 0] = centre + factor * (x[:, 0] - centre)
        assert words in calibrate(model, moved, NAMES)[0].verdict()


def test_gaps_and_values_that_no_column_can_hold_are_not_looked_at(true):
    model, x = true
    x = x[:50].copy()
    x[:10, 0], x[:5, 1] = np.nan, 7.0
    columns = calibrate(model, x, NAMES)
    assert [own.rows for own in columns[:3]] == [40, 45, 50]
    assert [own.outside for own in columns[:3]] == [0, 5, 0]
    x[:3, 7] = -1.0  # an end of a bounded column, which has no density
    assert next(own for own in calibrate(model, x, NAMES) if own.name == "c7").outside == 3
    assert columns[1].reliability.hits <= 0.9  # what is impossible was not foreseen


def test_steps_are_spread_over_their_probability():
    lower, upper = np.array([0.0, 0.2]), np.array([0.2, 1.0])
    np.testing.assert_allclose(pit_histogram(lower, upper, 5), [2.5, 0.625, 0.625, 0.625, 0.625])
    assert coverage(lower, upper, 0.8)[0] == pytest.approx((0.5 + 0.7 / 0.8) / 2)


def test_ninety_nine_of_a_hundred_right_models_stay_within_the_band():
    random, inside = np.random.default_rng(7), 0
    low, high = pit_band(300, 20)
    for _ in range(1_000):
        u = random.random(300)
        heights = pit_histogram(u, u, 20)
        inside += bool(((low <= heights) & (heights <= high)).all())
    assert 970 <= inside <= 998


@torch.no_grad()
def test_columns_by_themselves_are_the_rows_with_all_else_missing():
    model, x = model_of(WIDE), data(WIDE, 6)
    x[1, 4] = torch.nan
    each = [model.log_marginal(torch.where(torch.arange(len(WIDE)) == j, x, torch.nan)) for j in range(len(WIDE))]
    np.testing.assert_allclose(ColumnsAlone(model).log_prob(x), torch.stack(each).sum(dim=0), rtol=1e-9)
    x[0, 1] = 9.0
    assert ColumnsAlone(model).log_prob(x)[0] == -math.inf


def test_rows_with_gaps_have_the_density_of_what_is_there():
    model, x = model_of(WIDE), data(WIDE, 6)
    x[1, 4] = x[3, 0] = torch.nan
    with torch.no_grad():
        expected = model.log_marginal(x)
    np.testing.assert_allclose(log_prob_in_batches(model, x, batch_size=4), expected)
    found = evaluate(model, x, baselines={"alone": ColumnsAlone(model)})
    assert found.undefined == 0
    assert found.baselines["alone"].difference == pytest.approx(
        found.log_likelihood - found.baselines["alone"].log_likelihood
    )


# --- drawn rows beside real ones


def test_rows_of_one_law_lie_as_far_apart_as_chance_has_it(known):
    schema, x, y = known
    for found in (column_distances(schema, x, y), pair_distances(schema, x, y)):
        assert all(own.distance < 3 * own.chance + 1e-9 for own in found)
    for own, j in zip(column_distances(schema, x, y)[:3], range(3), strict=True):
        assert own.distance == pytest.approx(ks_2samp(x[:, j], y[:, j]).statistic)


def test_other_laws_lie_further_apart(known):
    schema, x, y = known
    other = y.copy()
    other[:, 0] += 1.0
    other[:, 3] = 0.0
    distances = {own.names[0]: own for own in column_distances(schema, x, other)}
    assert distances["a"].distance > 5 * distances["a"].chance
    assert distances["letter"].distance == pytest.approx((x[:, 3] != 0).mean())
    shuffled = y.copy()
    shuffled[:, 1] = np.random.default_rng(0).permutation(y[:, 1])
    worst = max(pair_distances(schema, x, shuffled), key=lambda own: own.distance - own.chance)
    assert "b" in worst.names


def test_associations_are_about_the_size_of_correlations(known):
    schema, x, y = known
    found = associations(schema, x, y)
    assert found[0, 1] == pytest.approx(0.8, abs=0.05)
    assert found[0, 3] > 0.8
    assert found[0, 2] > 0.3  # mostly zero, and yet not alone
    assert (found[4, :4] == 0).all()
    shuffled = y.copy()
    shuffled[:, 1] = np.random.default_rng(0).permutation(y[:, 1])
    assert associations(schema, x, shuffled)[0, 1] < 0.1


def test_a_classifier_finds_what_is_wrong_and_says_where(known):
    schema, x, y = known
    x, y = x[:600].copy(), y[:600].copy()
    assert not two_sample_test(schema, x, y).found_out
    x[:, 2] = y[:, 2] = np.nan
    assert not two_sample_test(schema, x, y).found_out
    y[:, 1] += 0.8
    found = two_sample_test(schema, x, y)
    assert found.found_out
    assert found.auc > 0.7
    assert next(iter(found.leaning)) in ("a", "b")
    x[:, 2], y[:, 2] = 0.0, 0.0
    section = fidelity_section(schema, x, y, column_distances(schema, x, y), found)
    assert "tell drawn rows from real ones: an AUC of 0." in section.html()


def test_copies_are_noticed(known):
    schema, learned, real = known
    fresh = schema.encode(table(1_500, seed=3))
    honest = find_copies(schema, learned, fresh, real)
    assert honest.same_drawn == honest.same_real == 0.0
    assert abs(honest.nearer[0] - 0.05) < 3 * honest.nearer[1]
    assert "No sign of it: " in copies_section(honest).html()
    one = find_copies(schema, learned, np.concatenate([fresh, learned[:1]]), real)
    assert "It may: 0.07% of the drawn rows" in copies_section(one).html()  # of continuous columns chance makes none
    copied = np.concatenate([fresh[:900], learned[:600]])
    found = find_copies(schema, learned, copied, real)
    assert found.same_drawn == pytest.approx(0.4)
    assert found.nearer[0] > 0.3
    assert "It may: " in copies_section(found).html()
    near = copied.copy()
    near[:, 0] += 1e-4 * np.random.default_rng(0).normal(size=1_500)
    found = find_copies(schema, learned, near, real)
    assert found.same_drawn == 0.0
    assert found.nearer[0] > 0.3


def test_a_page_of_copies_knows_ties_and_rows_that_are_no_news(known):
    random = np.random.default_rng(0)
    schema = Schema.infer(random.integers(0, 30, (200, 2)))
    learned, real, drawn = (random.integers(0, top, (size, 2)).astype(float)
                            for size, top in ((2_000, 30), (500, 30), (500, 30)))  # fmt: skip
    found = find_copies(schema, learned, drawn, real)
    assert found.same_real > 0.5
    assert abs(found.nearer[0] - 0.05) < 0.02
    further = find_copies(schema, learned, 2 * drawn, real)
    assert 0 <= further.nearer[0] < 0.05
    assert "of the held-out rows equal a training row" in copies_section(found).html()
    schema, learned, real = known
    found = find_copies(schema, learned, learned[:500], learned[500:])  # a report on the rows that were learned from
    assert "of the held-out rows equal a training row" in copies_section(found).html()


def test_equal_rows_are_equal_in_every_entry():
    names = pd.DataFrame({"id": [f"n{k}" for k in range(900)], "a": np.arange(900.0)})
    schema = Schema.infer(names)
    x = schema.encode(names)
    ids = find_copies(schema, x[:300], x[300:600], x[600:])  # of one row each
    assert ids.same_drawn == ids.same_real == 0.0
    assert ids.drawn.min() > 0.4
    gappy = x[:301].copy()
    middle = gappy[150:151].copy()
    middle[0, 1] = np.nan  # a gap is not the value in the middle
    found = find_copies(schema, gappy, middle, x[600:])
    assert found.same_drawn == 0.0
    assert found.drawn[0] > 0.4


def test_the_error_of_the_area_is_about_that_of_small_samples():
    schema, areas, errors = Schema.infer(np.random.default_rng(0).normal(size=(50, 2))), [], []
    for seed in range(16):
        random = np.random.default_rng(seed)
        found = two_sample_test(schema, random.normal(size=(60, 2)), random.normal(size=(60, 2)))
        areas.append(found.auc)
        errors.append(found.error)
    spread = np.sqrt(np.mean(np.square(np.array(areas) - 0.5)))
    assert 0.6 * spread < np.mean(errors) < 1.7 * spread


@pytest.mark.parametrize("order", ["any", "fixed"])
@pytest.mark.parametrize("gap", [0, 1])
def test_gaps_do_not_condemn_a_right_model(order, gap):
    """Gaps of one column where the other one is large; a model of one order is looked at by whole rows, whose gaps come
    by chance here."""
    random = np.random.default_rng(0)
    rows = table(5_000)[["a", "b"]].to_numpy()
    model = FlowDensity(order=order, random_state=0, steps=500, hidden=(32, 32)).fit(rows[:4_000])
    x = rows[4_000:]
    other = x[:, 1 - gap]
    _, whole = mixed_report(model.model_, model.schema_, x)
    x = x.copy()
    x[((other > np.median(other)) if order == "any" else True) & (random.random(1_000) < 0.7), gap] = np.nan
    sections, found = mixed_report(model.model_, model.schema_, x)
    assert abs(found["two_sample_auc"] - whole["two_sample_auc"]) < 0.08
    assert found["column_distances"][model.schema_.names[gap]] < 0.1
    assert any("rows with gaps are left out" in own.html() for own in sections) == (order == "fixed")


def test_what_was_filled_in_is_not_asked_for(known):
    schema, learned, real = known
    drawn, random = schema.encode(table(2_000, seed=4)), np.random.default_rng(0)
    gaps = random.random(learned.shape) < 0.3, random.random(real.shape) < 0.3
    plain = usefulness(schema, learned, drawn, real, gaps=gaps)
    worse = np.where(gaps[0], random.permutation(learned), learned), np.where(gaps[1], random.permutation(real), real)
    for j in range(2):  # entries of a column that were filled in with nonsense, where it is predicted itself
        one, other = learned.copy(), real.copy()
        one[:, j], other[:, j] = worse[0][:, j], worse[1][:, j]
        assert usefulness(schema, one, drawn, other, gaps=gaps)[j] == plain[j]


@pytest.mark.parametrize("rows", [60, 600])
def test_chance_is_what_two_sets_of_one_law_differ_by(rows):
    """In many cells too, most of which are empty."""
    schema = Schema.infer(pd.DataFrame({"a": [str(k) for k in range(40)] * 2, "b": [f"b{k}" for k in range(20)] * 4}))
    found = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        x, y = (np.stack([random.integers(0, 40, rows), random.integers(0, 20, rows)], axis=1) * 1.0 for _ in range(2))
        found.append([*column_distances(schema, x, y), *pair_distances(schema, x, y)])
    for own in zip(*found, strict=True):
        distances, chances = [d.distance for d in own], [d.chance for d in own]
        assert np.mean(distances) == pytest.approx(np.mean(chances), rel=0.15)


def test_distances_on_a_circle_have_no_end():
    rows = pd.DataFrame({"hour": np.arange(240) / 10, "half": ["a"] * 120 + ["b"] * 120})
    schema = Schema.infer(rows, {"hour": Circular(24)})
    found = find_copies(schema, schema.encode(rows), np.array([[23.95, 0.0]]), np.array([[18.0, 0.0]]))
    assert found.drawn[0] < 0.01  # next to midnight, when the first half begins
    assert found.real[0] > 0.1


def test_rows_of_another_law_are_of_less_use(known):
    schema, learned, real = known
    good = {own.name: own for own in usefulness(schema, learned, schema.encode(table(2_000, seed=4)), real)}
    assert set(good) == {"a", "b", "zeros", "letter"}
    for own in good.values():
        assert own.drawn == pytest.approx(own.real, abs=0.08)
    assert good["b"].real == pytest.approx(0.6, abs=0.08)  # ranks of a normal pair: about its squared correlation
    assert good["letter"].real > 0.9
    random = np.random.default_rng(0)
    noise = np.stack([random.permutation(column) for column in learned.T], axis=1)
    bad = {own.name: own for own in usefulness(schema, learned, noise, real)}
    assert all(bad[name].drawn < 0.1 for name in bad)
    assert all(bad[name].real == good[name].real for name in bad)


def test_an_estimator_writes_its_report(tmp_path):
    rows = table(400)
    rows.loc[::7, "b"] = np.nan
    model = FlowDensity(steps=30, random_state=0).fit(rows[:200])
    found = model.report(rows[200:], tmp_path / "r.html", learned=rows[:200])
    assert found["log_likelihood"] == pytest.approx(model.score(rows[200:]))
    text = (tmp_path / "r.html").read_text()
    assert "Can its rows stand in for real ones?" in text
    model = FlowDensity(steps=30, order="fixed", random_state=0).fit(rows[:200])
    model.report(rows[200:], tmp_path / "fixed.html")
    text = (tmp_path / "fixed.html").read_text()
    assert "knowing the entries before it in its row" in text
    assert "What the columns say about each other" not in text


@pytest.mark.parametrize(
    ("change", "learned"),
    [
        (lambda t: t.assign(b=np.nan), False),
        (lambda t: t.assign(b=t["b"] * 1e-310, when=t["when"].max(), one=2.0), False),
        (
            lambda t: t.assign(b=t["b"] * 1e39, letter=np.where(t.index % 3 == 0, "new", t["letter"]), zeros=np.nan),
            True,
        ),
        (lambda t: t[:49], True),
    ],
    ids=["gone", "odd", "odd learned", "few learned"],
)
@pytest.mark.filterwarnings("ignore:column 'letter' holds")
def test_odd_tables_get_a_page_without_a_warning(tmp_path, change, learned):
    rows = table(120).assign(日本=lambda t: np.where(t["a"] > 0, "左", "右"), when=dt.datetime(9999, 12, 30))
    rows.loc[::2, "when"] = dt.datetime(1812, 5, 1)
    model = FlowDensity(steps=3, hidden=(8,), random_state=0).fit(rows)
    odd = change(rows.copy())
    model.report(odd if not learned else rows, tmp_path / "r.html", learned=odd if learned else rows)
    assert "Do its rows look real?" in (tmp_path / "r.html").read_text()

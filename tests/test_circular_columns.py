"""Columns of a circle: their intervals are arcs, both ends of the period are one point; what looks like a circle."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import run, run_json

import pushforward as pf
from pushforward.data import Circular, TableError
from pushforward.data.fields import show_type
from pushforward.data.findings import findings
from pushforward.data.schema import Schema
from pushforward.distributions import ColumnDistribution, Inflated
from pushforward.estimators import FlowConditional, FlowDensity, FlowRegressor
from pushforward.evaluate.calibration import coverage, measure_calibration, pit_histogram

ROWS = 1_000
QUICK = {"steps": 250, "hidden": (16, 16), "random_state": 0}


def hours(rows=ROWS, seed=0, centre=22.0):
    return (centre + 3 * np.random.default_rng(seed).normal(size=rows)) % 24


def turned(column_type, shift, seed=0):
    """A distribution on a circle with random parameters, and its own points as quantiles of many levels."""
    generator = torch.Generator().manual_seed(seed + shift)
    params = torch.randn(column_type.num_params, 1, 5, generator=generator)
    return ColumnDistribution(column_type.double(), params.double(), (5,))


def length(arc, period=24.0):
    return (arc[..., 1] - arc[..., 0]) % period


def inside(arc, x):
    low, high = arc[..., 0, None], arc[..., 1, None]
    return torch.where(low <= high, (low <= x) & (x <= high), (low <= x) | (x <= high))


@pytest.fixture(scope="module")
def table():
    hour = hours()
    return pd.DataFrame({"hour": hour, "x": np.cos(hour / 24 * 2 * np.pi) + 0.1})


@pytest.fixture(scope="module")
def model(table):
    return FlowDensity(model="mixed", types={"hour": "circular:24"}, **QUICK).fit(table)


# --- arcs


TYPES = {
    "circle": Circular(24),
    "cut elsewhere": Circular(24, low=-7),
    "with whole hours": Inflated(Circular(24), [0.0, 3.0, 23.0]),
}


@pytest.mark.parametrize("column_type", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("probability", [0.3, 0.9])
def test_an_arc_holds_its_probability_and_is_no_longer_than_the_interval_from_the_cut(column_type, probability):
    distribution = turned(column_type, 1)
    x = distribution.sample(20_000, torch.Generator().manual_seed(0)).t()
    from_the_cut = distribution.quantile(0.5 + probability / 2) - distribution.quantile(0.5 - probability / 2)
    for arc in (distribution.interval(probability), distribution.highest_density_interval(probability)):
        share = inside(arc, x).double().mean(dim=1)
        assert (share > probability - 0.015).all()
        if isinstance(column_type, Circular):
            assert (share < probability + 0.015).all()
        assert (length(arc) <= from_the_cut + 0.1).all()
    share = inside(distribution.around_the_median(probability / 2), x).double().mean(dim=1)
    assert (share > probability - 0.015).all()


def test_nothing_depends_on_where_the_circle_is_cut():
    values = torch.linspace(0, 24, 2_001, dtype=torch.float64)[:-1]
    answers = []
    for low in (0.0, 9.0):
        circle = Circular(24, low=low, bins=48).double()
        log_slope = -(((values - 22 + 12) % 24 - 12) ** 2) / 18  # of a normal distribution around 22
        x = ((torch.randn(4_000, generator=torch.Generator().manual_seed(0)).double() * 3 + 22) - low) % 24 + low
        params = torch.zeros(circle.num_params, 1, 1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([params], lr=0.1)
        for _ in range(60):
            optimizer.zero_grad()
            loss = -circle.log_prob(x[None], params.expand(-1, 1, len(x))).mean()
            loss.backward()
            optimizer.step()
        distribution = ColumnDistribution(circle, params.detach(), ())
        assert log_slope.argmax() == (values - 22).abs().argmin()
        answers.append(
            [
                *distribution.interval(0.9).tolist(),
                *distribution.around_the_median(0.45).tolist(),
                distribution.mean().item(),
                distribution.median().item(),
                distribution.crps(1.0).item(),
            ]
        )
    at_zero, at_nine = np.array(answers)
    assert np.abs((at_zero[:6] - at_nine[:6] + 12) % 24 - 12).max() < 0.5
    assert at_zero[6] == pytest.approx(at_nine[6], abs=0.05)
    assert at_zero[:2] == pytest.approx([17.07, 2.93], abs=0.6)
    assert at_zero[4:6] == pytest.approx([22, 22], abs=0.3)
    assert at_zero[6] == pytest.approx(1.6, abs=0.3)  # of a normal distribution 3 hours away: 1.53


def test_uniform_points_have_their_circular_score():
    flat = ColumnDistribution(Circular(24).double(), torch.zeros(Circular(24).num_params, 1, 1).double(), ())
    for x in (0.0, 5.0, 23.9):  # E d(X, x) = 6, and half of that between two draws
        assert flat.crps(x).item() == pytest.approx(3.0, abs=0.02)
    assert length(flat.interval(0.9)).item() == pytest.approx(21.6, abs=1e-4)
    assert flat.around_the_median(0.5).tolist() == [0.0, 24.0]


def test_one_value_with_nearly_all_probability_is_an_arc_of_its_own():
    circle = Inflated(Circular(24), [3.0, 15.0]).double()
    params = torch.zeros(circle.num_params, 1, 1).double()
    params[0] = 6.0
    distribution = ColumnDistribution(circle, params, ())
    assert distribution.interval(0.9).tolist() == [3.0, 3.0]
    assert distribution.median().item() == 3.0
    params[1] = 5.9  # both ends of a longer arc are at 15, and it holds all others
    assert ColumnDistribution(circle, params, ()).around_the_median(0.4).tolist() == [0.0, 24.0]


def test_midnight_is_no_tail_and_undefined_parameters_give_no_numbers():
    circle = Inflated(Circular(24), [0.0, 12.0]).double()
    params = torch.zeros(circle.num_params, 1, 2).double()
    x = torch.tensor([[0.0, 12.0]], dtype=torch.float64)
    assert torch.equal(circle.plausibility(x, params), circle.log_prob(x, params))
    for column_type in (circle, Circular(24).double()):
        undefined = torch.full((column_type.num_params, 1, 2), torch.nan, dtype=torch.float64)
        distribution = ColumnDistribution(column_type, undefined, (2,))
        answers = distribution.interval(0.9), distribution.around_the_median(0.4), distribution.median()
        assert all(answer.isnan().all() for answer in (*answers, distribution.mean()))


def test_hours_around_22_have_an_arc_that_holds_midnight(model):
    marginal = model.given({}).marginal("hour")
    for low, high in (marginal.interval(0.9), marginal.highest_density_interval(0.9)):
        assert high < low
        assert [low, high] == pytest.approx([17.07, 2.93], abs=1.5)
    assert marginal.mean() == pytest.approx(22, abs=0.7)
    assert marginal.median() == pytest.approx(22, abs=0.7)


def test_intervals_on_the_command_line_are_arcs_and_their_coverage_is_that_of_arcs(model, table, tmp_path):
    model.save(tmp_path / "m.safetensors")
    table.to_csv(tmp_path / "t.csv", index=False)
    answer = run_json(
        "intervals", tmp_path / "m.safetensors", tmp_path / "t.csv", "--column", "hour", "--out", tmp_path / "o.csv"
    )
    out = pd.read_csv(tmp_path / "o.csv")
    assert (out["high"] < out["low"]).mean() > 0.3
    assert answer["covered"] > 0.8
    assert ((out["high"] - out["low"]) % 24).mean() < 18
    whole = model.intervals(table, "hour")
    assert np.allclose(whole[["low", "high"]], out[["low", "high"]])


def test_coverage_of_a_report_is_that_of_arcs(model, table):
    columns = measure_calibration(model.model_, torch.as_tensor(model.schema_.encode(table)), ["hour", "x"])
    share, _ = columns[0].coverage(0.9)
    distribution = model.model_.full_conditional(torch.as_tensor(model.schema_.encode(table)), 0)
    arcs = distribution.around_the_median(0.45)
    x = torch.tensor(table["hour"].to_numpy())
    assert share == pytest.approx(inside(arcs, x[:, None]).double().mean().item(), abs=0.003)
    assert columns[0].pit().mean() == pytest.approx(1)


def test_steps_that_pass_the_cut_count_once():
    assert coverage(np.array([0.9]), np.array([1.1]), 0.9)[0] == pytest.approx(0.5)  # 0.9 to 0.95, and 0.05 to 0.1
    assert pit_histogram(np.array([0.9]), np.array([1.1]), 4).tolist() == pytest.approx([2, 0, 0, 2])


def test_conformal_intervals_use_the_distance_on_the_circle():
    r = np.random.default_rng(0)
    x = r.normal(size=(1_200, 1))
    y = pd.DataFrame({"hour": (23 + x[:, 0] + 1.5 * r.normal(size=1_200)) % 24})
    options = {"types": {"hour": "circular:24"}, "calibration": 0.4, "steps": 40, "hidden": (8, 8), "random_state": 0}
    model = FlowConditional(**options).fit(x[:900], y[:900])
    assert model.scores_.max() <= 0.5
    arcs = torch.as_tensor(model.predict_interval(x[900:], 0.9))[:, 0]
    covered = inside(arcs, torch.tensor(y["hour"].to_numpy()[900:, None])).double().mean().item()
    assert covered == pytest.approx(0.9, abs=0.06)
    assert length(arcs).mean() < 14
    flat = FlowRegressor(types={"hour": Circular(24)}, steps=2, hidden=(8, 8)).fit(x[:50], y[:50])
    with pytest.raises(ValueError, match=r"FlowRegressor: column 'hour' goes around a circle, for which R² is not"):
        flat.score(x[:50], y[:50])


# --- both ends are one point


def test_hour_24_is_hour_0(model, table, tmp_path):
    rows = table.head(3).assign(hour=[0.0, 24.0, 23.5])
    scores = model.score_samples(rows)
    assert np.isfinite(scores).all()
    late = table.head(2).assign(hour=[0.0, 24.0], x=1.0)
    assert model.score_samples(late)[0] == model.score_samples(late)[1]
    assert model.given({"hour": 24}).marginal("x").mean() == model.given({"hour": 0}).marginal("x").mean()
    model.save(tmp_path / "m.safetensors")
    run("sample", tmp_path / "m.safetensors", "--given", "hour=24", "-n", 5, "--out", tmp_path / "s.csv")
    for hour in ("24.5", "-1"):
        result = run("sample", tmp_path / "m.safetensors", "--given", f"hour={hour}", "-n", 5, "--out",
                     tmp_path / "no.csv", code=1)  # fmt: skip
        assert "is outside Circular(period=24), which takes values from 0 to 24" in result.stderr
    with pytest.warns(UserWarning, match="cannot hold"):
        assert np.isneginf(model.score_samples(rows.assign(hour=24.5))).all()


@pytest.mark.parametrize(
    ("values", "low", "first"),
    [
        (np.linspace(0, 24, 97), 0, 0),
        (np.linspace(0.5, 24, 60), 0, 0.5),
        (np.arange(0, 25), 0, 0),
        (np.linspace(-12, 12, 97), -12, -12),
        (np.arange(1, 25), 1, 1),
    ],
)
def test_a_table_may_hold_both_ends(values, low, first):
    for declared in (Circular(24), "circular:24"):
        schema = Schema.infer(pd.DataFrame({"h": values}), {"h": declared})
        circle = schema.fields[0].column_type.circle
        assert circle.low == low
        x = schema.encode(pd.DataFrame({"h": values}))[:, 0]
        assert x.min() == min(first, low if values[-1] == low + 24 else first)
        assert (x < circle.high).all()
        assert x[-1] == (low if values[-1] == low + 24 else values[-1])


def test_draws_are_rounded_around_the_circle():
    schema = Schema.infer(pd.DataFrame({"h": [0.1, 12.0, 23.9]}), {"h": "circular:24"})
    assert schema.rounded(np.array([[23.98], [23.91], [0.04]]))[:, 0].tolist() == [0.0, 23.9, 0.0]


# --- how it is declared


def test_texts_declare_types_with_numbers_in_python_too():
    table = pd.DataFrame({"hour": hours(50), "p": np.linspace(0.1, 0.9, 50), "angle": np.linspace(-180, 179, 50)})
    types = {"hour": "circular:24", "p": "bounded:0:1", "angle": "Circular:360:-180"}
    assert [show_type(field.column_type) for field in Schema.infer(table, types).fields] == [
        "Circular(period=24)", "Bounded(low=0, high=1)", "Circular(period=360, low=-180)",
    ]  # fmt: skip
    with pytest.raises(TableError, match=r"types: column 'p': 'circular:no' is not a column type \(could not convert"):
        Schema.infer(table, {"p": "circular:no"})
    with pytest.raises(TableError, match=r"types: column 'p': 'integer' takes no numbers, only 'bounded', 'circular'"):
        Schema.infer(table, {"p": "integer:3"})
    with pytest.raises(
        TableError, match=r"'odd' is not a column type\. .* or a type with numbers, such as circular:24"
    ):
        Schema.infer(table, {"p": "odd"})


def test_it_is_where_users_look():
    assert pf.data.Circular is pf.estimators.Circular is pf.distributions.Circular


# --- what looks circular


def said(**columns):
    table = pd.DataFrame(columns)
    schema = Schema.infer(table)
    return [finding.sentence for finding in findings(schema.fields, schema.encode(table)) if finding.columns]


R = np.random.default_rng(0)
AROUND = {
    "hour": (R.integers(0, 24, ROWS), "hours of a day; consider circular:24,"),
    "pickup hour": (R.integers(0, 24, ROWS), "hours of a day; consider circular:24,"),
    "weekday": (R.integers(0, 7, ROWS), "days of a week; consider circular:7,"),
    "dayOfWeek": (R.integers(1, 8, ROWS), "days of a week; consider circular:7,"),
    "windDirection": (R.integers(0, 36, ROWS) * 10, "angles in degrees; consider circular:360,"),
    "bearing": (R.uniform(-180, 180, ROWS), "angles in degrees; consider circular:360:-180,"),
    "azimuth": (R.uniform(0, 2 * np.pi, ROWS), "angles in radians; consider circular:6.28"),
    "when": (hours(2_000), "hours of a day; consider circular:24,"),
    "heading": (R.vonmises(0, 1, 3_000) * 180 / np.pi % 360, "angles in degrees; consider circular:360,"),
}
STRAIGHT = {
    "percent": R.uniform(0, 100, ROWS),
    "age": R.integers(18, 90, ROWS),
    "hours": R.integers(1, 99, ROWS),
    "hours_per_day": R.integers(0, 24, ROWS),
    "hourly_wage": np.append(R.uniform(8, 24, ROWS - 1), 1.0),
    "angle": R.uniform(0, 90, ROWS),
    "triangles": R.integers(0, 340, ROWS),
    "temperature": R.normal(12, 4, ROWS).clip(0.1, 23.9),
    "rating": R.integers(1, 8, ROWS),
    "wait": R.exponential(5, ROWS).clip(0, 23.9),
    "hour_of_work": R.integers(8, 19, ROWS),
    "share": R.uniform(0, 1, ROWS),
    "month": R.integers(1, 13, ROWS),
    "minutes": R.integers(0, 25, ROWS),
}


@pytest.mark.parametrize("name", AROUND)
def test_a_column_that_looks_circular_is_named(name):
    values, sentence = AROUND[name]
    (finding,) = said(**{name: values})
    assert f"column {name!r} looks like {sentence}" in finding


@pytest.mark.parametrize("name", STRAIGHT)
def test_an_ordinary_column_does_not_look_circular(name):
    assert not any("circular" in sentence for sentence in said(**{name: STRAIGHT[name]}))


def test_nothing_is_said_where_the_type_is_declared():
    table = pd.DataFrame({"hour": R.integers(0, 24, ROWS)})
    for declared in ("integer", "circular:24"):
        schema = Schema.infer(table, {"hour": declared})
        assert not [finding for finding in findings(schema.fields, schema.encode(table)) if finding.columns]


def test_the_answers_of_a_server_are_arcs(model, tmp_path):
    pytest.importorskip("starlette", reason="the extra serve is not installed")
    from pushforward.serve.model import ServedModel

    model.save(tmp_path / "m.safetensors")
    (entry,) = ServedModel(tmp_path / "m.safetensors").conditional({"x": 0.9}, 0.9)
    assert entry["name"] == "hour"
    assert entry["high"] < entry["low"]
    assert entry["goes_around"] is True
    assert json.dumps(entry)


@pytest.mark.parametrize(
    ("values", "period", "same"),
    [
        (np.arange(1.0, 25.0), 24, [(24.0, 0.0)]),
        (R.uniform(-178.5, 178.5, 400), 360, [(-179.5, 180.5), (-90.0, 270.0)]),
        (R.uniform(6, 22, 400), 24, [(0.0, 24.0)]),
    ],
)
def test_a_cut_elsewhere_changes_no_point(values, period, same):
    schema = Schema.infer(pd.DataFrame({"c": np.resize(values, 400)}), {"c": Circular(period)})
    for a, b in same:
        encoded = schema.encode(pd.DataFrame({"c": [a, b]}))[:, 0]
        assert encoded[0] == encoded[1]
        assert schema.fields[0].holds(encoded).all()


def test_a_value_beyond_the_circle_is_refused_and_moves_no_cut():
    values = R.uniform(6, 22, 400)
    values[3] = 25.0
    with pytest.raises(TableError, match="holds 25 in row 4"):
        Schema.infer(pd.DataFrame({"c": values}), {"c": Circular(24)})


def test_an_arc_of_nearly_all_of_a_few_points_is_the_whole_circle():
    column_type = Inflated(Circular(7), [float(k) for k in range(7)])
    torch.manual_seed(1)
    params = torch.randn(column_type.num_params, 1, 300)
    params[:7] = 2 * params[:7] + 8
    distribution = ColumnDistribution(column_type, params, (300,))
    arcs = distribution.interval(0.999)
    assert (arcs[:, 0] != arcs[:, 1]).all()
    assert ((arcs[:, 0] == 0) & (arcs[:, 1] == 7)).any()

"""Rows drawn from a model look like the data: limits, decimals, repeated numbers and orders of columns."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
import torch

from pushforward.data.findings import findings
from pushforward.data.limits import decimals_of, limits_of
from pushforward.data.rules import Rule, draw_keeping
from pushforward.data.schema import Schema
from pushforward.distributions import Continuous, Integer, Positive, Repeated
from pushforward.estimators import FlowDensity
from pushforward.evaluate.violations import violations

QUICK = {"steps": 30, "hidden": (16, 16), "random_state": 0}
ROWS = 600


def random():
    return np.random.default_rng(0)


LIMITS = {
    "normal": (random().normal(size=ROWS), (None, None)),
    "far from zero": (random().normal(70, 5, ROWS), (None, None)),
    "gamma": (random().gamma(2.0, 3.0, ROWS), (0.0, None)),
    "share": (random().beta(0.8, 0.8, ROWS), (0.0, 1.0)),
    "hour": (24 * random().random(ROWS), (0.0, 24.0)),
    "percent": (100 * random().beta(1.0, 1.0, ROWS), (0.0, 100.0)),
    "negative share": (random().beta(0.8, 0.8, ROWS) - 0.5, (None, None)),
    "capped": (np.minimum(random().normal(30, 10, ROWS), 40.0), (None, 40.0)),
    "uniform": (random().uniform(-3.0, 5.0, 4_000), (-3.0, 5.0)),
    "grades": (random().integers(1, 6, ROWS).astype(float), (1.0, 5.0)),
    "counts": (random().poisson(3.0, ROWS).astype(float), (0.0, None)),
    "few": (random().random(10), (None, None)),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_those_that_the_values_show(name):
    values, expected = LIMITS[name]
    low, high = limits_of(values)
    for limit, right in ((low, expected[0]), (high, expected[1])):
        assert (limit is None) == (right is None), (low, high)
        assert right is None or abs(limit - right) < 0.1
    assert low is None or low <= values.min()
    assert high is None or high >= values.max()


@pytest.mark.parametrize(
    ("values", "stored", "decimals"),
    [
        ([1.0, 20.0, 3.0], "float64", 0),
        ([1.25, 3.5], "float64", 2),
        ([0.1 + 0.2, 0.7], "float64", 1),
        ([1 / 3, 0.5], "float64", None),
        (np.float32([0.1, 2.25]).astype(float), "float32", 2),
        (np.float32([0.1, 1 / 3]).astype(float), "float32", None),
        ([1e-7, 5e-6], "float64", 7),
    ],
)
def test_decimals_are_counted(values, stored, decimals):
    assert decimals_of(np.array(values), stored) == decimals


def shop(rows=ROWS):
    r = random()
    first = r.integers(0, 900, rows)
    last = first + r.geometric(0.01, rows)
    return pd.DataFrame(
        {
            "price": np.maximum(np.round(r.gamma(2.0, 10.0, rows), 2), 0.01),
            "share": np.round(r.beta(0.7, 0.7, rows), 3),
            "hours": np.where(r.random(rows) < 0.6, r.choice([20, 40, 60], rows), r.integers(1, 99, rows)),
            "signup": [dt.date(2020, 1, 1) + dt.timedelta(days=int(k)) for k in first],
            "last_order": [dt.date(2020, 1, 1) + dt.timedelta(days=int(k)) for k in last],
        }
    )


@pytest.fixture(scope="module")
def model():
    return FlowDensity(**QUICK).fit(shop())


def test_the_schema_states_limits_rules_and_decimals(model):
    schema = model.schema_
    types = {field.name: field.column_type for field in schema.fields}
    assert types["share"].domain.ends == (0.0, 1.0)
    assert types["price"].domain.ends[0] == 0.0
    assert isinstance(types["hours"], Repeated)
    assert [field.decimals for field in schema.fields[:3]] == [2, 3, 0]
    assert schema.rules == (Rule("signup", "last_order"),)
    assert "from 0 to 1" in schema.describe()
    sentences = [finding.sentence for finding in findings(schema.fields, schema.encode(shop()))]
    assert any("'signup' is at most 'last_order' in every row" in sentence for sentence in sentences)
    again = Schema.from_config(json.loads(json.dumps(schema.to_config())))
    assert again.rules == schema.rules
    assert [field.decimals for field in again.fields] == [field.decimals for field in schema.fields]


def test_draws_keep_limits_decimals_and_on_demand_rules(model):
    plain = model.sample(2_000, random_state=1)
    kinds = {violation.what for violation in violations(model.schema_, model.schema_.encode(plain))}
    assert kinds == {"rule"}  # a model of thirty steps does not know the rule
    kept = model.sample(2_000, random_state=1, keep_rules=True)
    assert violations(model.schema_, model.schema_.encode(kept)) == []
    assert (kept["signup"] <= kept["last_order"]).all()
    assert kept["price"].min() >= 0
    assert np.array_equal(kept["price"], kept["price"].round(2))
    some = model.given({"signup": dt.date(2022, 5, 1)}).sample(300, random_state=1, keep_rules=True)
    assert (pd.to_datetime(some["last_order"]) >= pd.Timestamp(2022, 5, 1)).all()
    assert np.isfinite(model.score_samples(plain)).all()


def test_violations_are_counted():
    schema = Schema.infer(shop())
    x = schema.encode(shop())
    assert violations(schema, x) == []
    x[:3, 0] = 1.234
    x[:2, 1] = 1.5
    x[:4, 2] = 2.5
    x[:5, 3] = x[:5, 4] + 1
    seen = {(v.columns, v.what): v.rows for v in violations(schema, x)}
    assert seen == {
        (("price",), "decimals"): 3,
        (("share",), "limits"): 2,
        (("hours",), "limits"): 4,
        (("hours",), "decimals"): 4,
        (("signup", "last_order"), "rule"): 5,
    }
    assert "2 rows have values of 'share' outside" in next(
        v.sentence for v in violations(schema, x) if v.what == "limits"
    )


def test_rules_are_not_found_where_columns_have_nothing_to_do_with_each_other():
    r = random()
    table = pd.DataFrame({"a": r.random(ROWS), "b": r.random(ROWS), "c": 5 + r.random(ROWS)})
    assert Schema.infer(table).rules == ()
    table["d"] = table["a"] + r.random(ROWS)
    table["e"] = table["d"] + r.random(ROWS)
    assert Schema.infer(table).rules == (Rule("a", "d"), Rule("d", "e"))
    assert Schema.infer(table, draws=False).rules == ()


def test_draws_that_never_keep_a_rule_end():
    r = random()
    table = pd.DataFrame({"a": r.random(ROWS), "gap": r.random(ROWS)})
    table["b"] = table["a"] + table["gap"]
    schema = Schema.infer(table)
    calls = []

    def draw(count):
        calls.append(count)
        return np.tile([0.9, 0.5, 0.1], (count, 1))

    rows = draw_keeping(draw, schema.fields, [Rule("a", "b")], 50, [0, 1, 2])
    assert len(calls) == 21
    assert (rows[:, 0] <= rows[:, 2]).all()


@pytest.mark.parametrize(
    ("column_type", "outside"),
    [(Continuous(low=0.0), -0.1), (Continuous(low=-1.0, high=2.0), 2.1), (Positive(high=3.0), 3.1)],
)
def test_limits_truncate_exactly(column_type, outside):
    x = torch.linspace(0.01, 2.0, 400, dtype=torch.float64)[None]
    params = column_type.to(torch.float64).initialize(x, torch.ones_like(x, dtype=torch.bool))[..., None]
    nodes = torch.linspace(-1.0, 40.0, 400_001, dtype=torch.float64)[None]
    density = column_type.log_prob(nodes, params.expand(-1, 1, nodes.shape[1])).exp()
    assert abs(float(torch.trapezoid(density, nodes)) - 1) < 2e-3
    point = torch.tensor([[outside]], dtype=torch.float64)
    assert column_type.log_prob(point, params) == -torch.inf
    wide = params.expand(-1, 1, 5_000)
    assert column_type.holds(column_type.sample(wide, torch.Generator().manual_seed(0))).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Continuous(low=2.0, high=1.0), "Continuous: low must be smaller than high; got 2.0 and 1.0"),
        (lambda: Continuous(low=float("nan")), "Continuous: limits must be finite numbers, or None"),
        (lambda: Continuous(low=0.0, smoothing=0.1), "Continuous: smoothing adds noise, which would leave the limits"),
        (lambda: Positive(1.0, high=0.5), "Positive: low must be smaller than high"),
        (lambda: Repeated(Continuous(), [2.0, 1.0]), "Repeated: values must be different numbers, rising"),
    ],
)
def test_limits_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_repeated_numbers_have_the_distribution_of_the_column():
    r = random()
    values = np.concatenate([r.choice([0.0, 1.5, 7.0], 700, p=[0.5, 0.3, 0.2]), r.normal(3, 2, 100)])
    x = torch.as_tensor(values)[None]
    for inner in (Continuous(), Integer()):
        column = Repeated(inner, [0.0, 1.5, 7.0]).double()
        held = x if inner.is_density else x.where((x == 1.5), x.round())
        params = column.initialize(held, torch.ones_like(held, dtype=torch.bool))[..., None].double()
        at = torch.tensor([[0.0, 1.5, 7.0]], dtype=torch.float64)
        mass = column.point_mass(at, params.expand(-1, 1, 3))[0]
        shares = torch.stack([(held == v).double().mean() for v in at[0]])
        torch.testing.assert_close(mass, shares, atol=0.03, rtol=0)

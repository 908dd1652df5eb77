"""Tables as they come: what each column is taken for, what is refused in one sentence, and the way there and back."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from pushforward.data import TableError
from pushforward.data.schema import Schema
from pushforward.distributions import Bounded, Circular, Integer, Ordinal, Positive

RANDOM = np.random.default_rng(0)
N = 400


def numbers(name):
    random = np.random.default_rng(0)  # the same numbers in any order of the tests
    return {
        "normal": random.normal(size=N),
        "skewed": np.exp(2 * random.normal(size=N)),
        "far": random.standard_cauchy(size=N) * 1e3,
        "count": random.poisson(3.0, size=N),
        "money": np.floor(np.exp(3 + 2 * random.normal(size=N))),
        "grade": random.integers(1, 6, size=N),
        "flag": random.integers(0, 2, size=N),
        "rain": np.where(random.random(N) < 0.5, 0.0, np.exp(random.normal(size=N))),
        "same": np.full(N, 7.5),
        "year": random.integers(-500, 2000, size=N),
    }[name]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("normal", "Continuous"),
        ("skewed", "Positive"),
        ("far", "HeavyTailed"),
        ("count", "Inflated(Integer, values=[0, 1, 2, ... 8 in all])"),
        ("money", "Integer(low=0, skewed=True)"),
        ("grade", "Inflated(Integer, values=[1, 2, 3, ... 5 in all])"),
        ("flag", "Boolean"),
        ("rain", "ZeroInflated(Positive)"),
        ("same", "Constant(value=7.5)"),
        ("year", "Integer"),
    ],
)
def test_what_numbers_are_taken_for(name, kind):
    schema = Schema.infer(pd.DataFrame({name: numbers(name)}))
    line = schema.describe()
    assert line.split("  ")[1] == kind, line
    assert line.split("  ")[-1]


def mixed(make):
    """A table of all kinds, made by a library."""
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=int(k)) for k in RANDOM.integers(0, 900, N)]
    return make(
        {
            "age": [None if k % 50 == 0 else int(v) for k, v in enumerate(RANDOM.integers(18, 90, N))],
            "sex": [None if k % 40 == 0 else v for k, v in enumerate(RANDOM.choice(["F", "M"], N).tolist())],
            "income": RANDOM.gamma(2.0, 2e4, N),
            "member": (RANDOM.random(N) < 0.3).tolist(),
            "since": days,
            "seen": [
                dt.datetime(2024, 1, 1, 3, 4, 5) + dt.timedelta(seconds=float(s)) for s in RANDOM.integers(0, 10**7, N)
            ],
        }
    )


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_there_and_back(make):
    table = mixed(make)
    schema = Schema.infer(table)
    kinds = [line.split()[1] for line in schema.describe().splitlines()]
    assert kinds[0].startswith("Integer")
    assert kinds[1] == "Categorical(levels=2)"
    assert kinds[3] == "Boolean"
    x = schema.encode(table)
    assert x.dtype == np.float64
    assert np.isnan(x[::50, 0]).all()
    back = schema.decode(x)
    assert type(back) is type(table)
    assert np.array_equal(schema.encode(back), x, equal_nan=True)
    again = Schema.from_config(json.loads(json.dumps(schema.to_config())))
    assert np.array_equal(again.encode(table), x, equal_nan=True)
    assert again.describe() == schema.describe()
    column = back["since"].to_pylist() if make is pa.table else list(back["since"])
    assert str(column[0])[:10] == str(next(iter(table["since"])))[:10]


def test_arrays_have_columns_x0_x1():
    x = RANDOM.normal(size=(50, 3))
    schema = Schema.infer(x)
    assert schema.names == ["x0", "x1", "x2"]
    assert np.array_equal(schema.encode(x), x)
    assert np.array_equal(schema.decode(x), x)
    objects = np.array([["a", 1.0], ["b", 2.5], ["a", None]] * 20, dtype=object)
    schema = Schema.infer(objects)
    decoded = schema.decode(schema.encode(objects))
    assert decoded[0].tolist() == ["a", 1.0]


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        ("positive", [1.0, 2.0, 0.0], r"holds 0 in row 3, outside Positive, which takes values from 0 to inf"),
        (Circular(24.0), [1.0, np.nan, 25.5], r"holds 25.5 in row 3, outside Circular\(period=24"),
        ("integer", [1.0, 2.5, 3.0], r"holds 2.5 in row 2, outside Integer"),
        (Bounded(0.0, 1.0), [0.5, 0.2, 1.0], r"holds 1 in row 3, outside Bounded"),
    ],
)
def test_a_declared_kind_must_hold_all_values(kind, values, sentence):
    with pytest.raises(TableError, match=rf"types: column 'a' {sentence}"):
        Schema.infer(pd.DataFrame({"a": values}), {"a": kind})


def test_declared_kinds_win():
    table = pd.DataFrame(
        {"hour": RANDOM.integers(0, 24, N) + 0.5, "code": RANDOM.integers(0, 5, N), "p": RANDOM.random(N)}
    )
    schema = Schema.infer(table, {"hour": Circular(24), "code": "categorical", "p": Bounded(0, 1)})
    assert [line.split()[1].split("(")[0] for line in schema.describe().splitlines()] == [
        "Circular",
        "Categorical",
        "Bounded",
    ]
    assert schema.fields[1].labels == (0, 1, 2, 3, 4)
    back = schema.decode(schema.encode(table))
    assert back["code"].tolist() == table["code"].tolist()
    assert schema.fields[1].value(3) == 3.0


SIZES = ["small", "medium", "large", "extra large"]


@pytest.mark.parametrize(
    "declared", [SIZES, tuple(SIZES), "ordinal:" + "<".join(SIZES), "Ordinal:small : medium : large:extra large"]
)
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_declared_order_of_text(declared, make):
    table = make({"size": ["large", "small", "extra large", None, "medium"]})
    schema = Schema.infer(table, {"size": declared})
    assert isinstance(schema.fields[0].column_type, Ordinal)
    np.testing.assert_equal(schema.encode(table)[:, 0], [2, 0, 3, np.nan, 1])
    assert schema.describe().endswith("declared; order: small < medium < large < extra large")
    back = Schema.from_config(json.loads(json.dumps(schema.to_config())))
    assert back.fields[0].labels == tuple(SIZES)
    assert schema.with_labels({"size": ["medium", "small"]}).fields[0].labels == tuple(SIZES)
    with pytest.raises(TableError, match="holds 'giant', which the order"):
        schema.with_labels({"size": ["giant"]})


def test_a_declared_order_of_odd_names_and_numbers():
    ages = pd.DataFrame({"age": ["18:00-65", "<18", "65<", "<18"]})
    assert Schema.infer(ages, {"age": "ordinal:<18<18:00-65<65<"}).fields[0].labels == ("<18", "18:00-65", "65<")
    grades = Schema.infer(pd.DataFrame({"g": [1, 3, 2, 1]}), {"g": "ordinal:4<3<2<1"}).fields[0]
    assert grades.labels == (4, 3, 2, 1)
    assert grades.value(3) == 1.0


def test_a_declared_order_names_every_value_once():
    table = pd.DataFrame({"size": SIZES})
    with pytest.raises(TableError, match="column 'size' holds 'extra large', which the order small < medium < large l"):
        Schema.infer(table, {"size": "ordinal:small<medium<large"})
    with pytest.raises(TableError, match="the order names 'small' twice"):
        Schema.infer(table, {"size": [*SIZES, "small"]})


def test_an_order_that_nobody_declared_is_said():
    table = pd.DataFrame({"size": SIZES, "code": [3, 1, 2, 1]})
    with pytest.warns(
        UserWarning, match="'size': text is ordered alphabetically, extra large < large < medium < small"
    ):
        schema = Schema.infer(table, {"size": "ordinal", "code": "ordinal"})  # no word about numbers
    lines = schema.describe().splitlines()
    assert lines[0].endswith("declared; order: extra large < large < medium < small")
    assert lines[1].endswith("declared; order: 1 < 2 < 3")


def test_text_that_is_dates_is_dates():
    texts = [f"2021-{m:02d}-{d:02d}" for m in range(1, 13) for d in range(1, 28)]
    schema = Schema.infer(pd.DataFrame({"day": texts}))
    assert schema.fields[0].form == "day"
    assert schema.fields[0].value("2021-01-02") - schema.fields[0].value("2021-01-01") == 1
    odd = Schema.infer(pd.DataFrame({"day": [*texts[:-1], "2021-13-45"]}))
    assert odd.fields[0].form == "label"


def repeated():
    table = pd.DataFrame(np.zeros((4, 2)))
    table.columns = ["a", "a"]
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (repeated, "2 columns are named 'a'. Rename all but one"),
        (lambda: pd.DataFrame({"a": [1, "x", 2]}), "column 'a' mixes numbers and text: row 1 holds 1, row 2 'x'"),
        (lambda: pd.DataFrame({"a": [None, None]}), "column 'a' is empty, all 2 values are missing"),
        (lambda: pd.DataFrame({"a": [np.nan, np.nan]}), "column 'a' is empty, all 2 values are missing"),
        (lambda: pd.DataFrame({"a": [1.0, np.inf]}), r"column 'a' holds an infinite value \(inf\) in row 2"),
        (lambda: pd.DataFrame({"a": [1, 2**60 + 1]}), "column 'a' holds integers beyond 2.*1152921504606846977"),
        (lambda: pl.DataFrame({"a": [1, 2**60 + 1]}), "column 'a' holds integers beyond 2"),
        (lambda: pl.DataFrame({"a": [[1], [2]]}), "column 'a' holds List.*not single values. Store it"),
        (lambda: np.zeros(3), r"an array \(rows, columns\) is needed; got shape \(3,\)"),
        (lambda: np.zeros((3, 2), dtype=complex), "Complex data not supported"),
    ],
)
def test_ugly_tables(table, message):
    with pytest.raises(TableError, match=message):
        Schema.infer(table())


def test_dictionaries_in_cells_are_refused():
    with pytest.raises(TypeError, match="argument must be a string or a number"):
        Schema.infer(pd.DataFrame({"a": [{"b": 1}, {"b": 2}]}))


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"b": Integer()}, "types: there is no column 'b'"),
        ({"a": "numeric"}, "types: 'numeric' is not a column type. Choose continuous"),
        ({"a": 3}, r"types: column 'a' needs a column type, such as Continuous\(\); got int"),
        ({"a": Positive()}, "types: column 'a' holds text, so it cannot be Positive"),
        ({"a": {"type": "Categorical"}}, "types: column 'a' needs a column type"),
    ],
)
def test_mistakes_in_types(types, message):
    with pytest.raises(TableError, match=message):
        Schema.infer(pd.DataFrame({"a": ["x", "y", "x"]}), types)


def test_another_table_is_refused_or_marked():
    schema = Schema.infer(pd.DataFrame({"a": ["x", "y", "x", "y"], "b": [1.5, 2.25, 3.0, 4.0]}))
    with pytest.raises(TableError, match=r"there is no column 'b'\. The columns are 'a'"):
        schema.encode(pd.DataFrame({"a": ["x"]}))
    with pytest.raises(TableError, match="column 'b' holds text in row 1, 'hm', but held numbers when fitting"):
        schema.encode(pd.DataFrame({"a": ["x"], "b": ["hm"]}))
    with pytest.warns(UserWarning, match=r"column 'a' holds 1 category not seen when fitting \('z'\): 2 rows"):
        x = schema.encode(pd.DataFrame({"a": ["z", "z", "y"], "b": [1.0, 2.0, 3.0]}))
    assert x[:, 0].tolist() == [2.0, 2.0, 1.0]
    with pytest.raises(TableError, match=r"column 'a': there is no category 'z'\. The categories are 'x', 'y'"):
        schema.fields[0].value("z")
    with pytest.raises(TableError, match="column 'b': an observed value must not be missing"):
        schema.fields[1].value(None)
    with pytest.raises(TableError, match="there is no column 'c'"):
        schema.place("c")
    hours = Schema.infer(pd.DataFrame({"h": [1.5, 23.0]}), {"h": Circular(24)})
    with pytest.raises(
        TableError, match=r"column 'h': 25 is outside Circular\(period=24\), which takes values from 0 to 24"
    ):
        hours.fields[0].value(25)


def test_ten_thousand_categories():
    names = [f"id{k}" for k in range(10_000)]
    schema = Schema.infer(pd.DataFrame({"a": names * 2}))
    assert len(schema.fields[0].labels or ()) == 10_000
    assert schema.decode(schema.encode(pd.DataFrame({"a": names[5:8]})))["a"].tolist() == names[5:8]

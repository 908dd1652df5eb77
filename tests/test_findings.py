"""What is said about a table before anything is learned, each with its column; and nothing about ordinary ones."""

import numpy as np
import pandas as pd
import pytest

from pushforward.data.findings import findings
from pushforward.data.schema import Schema

R = np.random.default_rng(0)
ROWS = 400


def ordinary():
    r = np.random.default_rng(1)
    group = r.choice(["a", "b", "c"], ROWS)
    return pd.DataFrame({"x": r.normal(size=ROWS), "n": r.poisson(4, ROWS), "g": group, "y": r.normal(size=ROWS)})


def said(table):
    schema = Schema.infer(table)
    return findings(schema.fields, schema.encode(table))


def test_nothing_is_said_about_an_ordinary_table():
    assert said(ordinary()) == []


CASES = {
    "id": (
        np.arange(ROWS) + 1000,
        'looks like an identifier: all 400 values differ. Leave it out \\(drop\\(columns=\\["id"\\]\\)\\)',
    ),
    "key": ([f"k{i}" for i in range(ROWS)], "looks like an identifier"),
    "city": (R.choice([f"town {i}" for i in range(150)], ROWS), r"has \d+ categories in 400 rows"),
    "one": (np.full(ROWS, 3.5), "holds the same value in all rows"),
    "rare": (np.where(np.arange(ROWS) < 9, R.normal(size=ROWS), np.nan), "is nearly empty: 9 values in 400 rows"),
    "age": (np.where(np.arange(ROWS) % 40 == 0, 999, R.integers(18, 80, ROWS)), "holds 999 in 10 rows, far from all"),
    "income": (
        np.where(np.arange(ROWS) % 40 == 0, -1.0, R.normal(5e4, 1e3, ROWS)),
        "holds -1 in 10 rows, far from all",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_column_that_stands_out_is_named(name):
    values, sentence = CASES[name]
    (finding,) = said(ordinary().assign(**{name: values}))
    assert finding.columns == (name,)
    assert pd.Series([finding.sentence]).str.contains(f"column '{name}' .*{sentence}").all()


def test_columns_that_follow_from_others_and_copies_of_rows():
    table = ordinary()
    (finding,) = said(table.assign(code=table["g"].map({"a": 1, "b": 2, "c": 3})))
    assert finding.columns in (("code", "g"), ("g", "code"))
    (finding,) = said(table.assign(metres=1000 * table["x"] + 1))
    assert set(finding.columns) == {"metres", "x"}
    assert f"{finding.columns[0]!r} is a linear function of {finding.columns[1]!r}" in finding.sentence
    (finding,) = said(pd.concat([table, table[:100]]))
    assert finding.sentence.startswith("100 of 500 rows repeat an earlier one")

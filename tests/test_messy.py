"""Tables as people have them: each file in ``messy`` is read right, or refused in one sentence (``expected.json``)."""

import datetime as dt
import json
import math
from pathlib import Path

import pytest

from pushforward.data import TableError
from pushforward.data.reader import open_source, read_arrow
from pushforward.data.schema import Schema

FOLDER = Path(__file__).parent / "messy"
CASES = json.loads((FOLDER / "expected.json").read_text("utf-8"))


def read(name):
    """The schema of a file, and its table as numbers."""
    table = read_arrow(FOLDER / name)
    schema = Schema.infer(table)
    return schema, schema.encode(table)


def number(field, code):
    """The encoded value of a field as what `expected.json` holds."""
    if math.isnan(code):
        return None
    if field.labels is not None:
        return field.labels[int(code)]
    if field.form in ("time", "day"):
        when = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=code * (86_400 if field.form == "day" else 1))
        return when.date().isoformat() if field.form == "day" else when.isoformat(timespec="minutes")
    return code


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "values" in case])
def test_a_file_is_read_right(name):
    expected = CASES[name]
    schema, x = read(name)
    got = {field.name: [number(field, v) for v in x[:, j]] for j, field in enumerate(schema.fields)}
    assert got == expected["values"]
    assert open_source(FOLDER / name).note == expected.get("note", "")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "error" in case])
def test_a_file_is_refused_in_one_sentence(name):
    with pytest.raises(TableError, match=CASES[name]["error"]) as refused:
        read(name)
    assert "\n" not in str(refused.value)


def test_units_are_written_back():
    table = read_arrow(FOLDER / "currency.csv")
    schema = Schema.infer(table)
    again = schema.decode(schema.encode(table)).to_pydict()
    assert again["q"] == ["CHF 15.76", "CHF 2.00", "CHF 7.00"]
    assert again["p"][2] == "-$3.0"
    table = read_arrow(FOLDER / "percent.csv")
    schema = Schema.infer(table)
    assert schema.decode(schema.encode(table)).to_pydict()["p"] == ["61.7%", "9.0%"]
    assert (
        Schema.from_config(json.loads(json.dumps(schema.to_config()))).fields[0].notation == schema.fields[0].notation
    )


def test_there_are_enough_and_each_has_its_file():
    assert len(CASES) >= 40
    assert {path.name for path in FOLDER.iterdir()} == {*CASES, "expected.json"}

"""Tables as people keep them, on the command line: orders of text, gaps, empty columns, identifiers, decimal commas."""

import numpy as np
import pandas as pd
import pytest
from command_line import run, run_json

ROWS = 120


def shirts():
    """Rows with an identifier, an order, decimal commas and gaps."""
    random = np.random.default_rng(0)
    size = random.choice(["S", "M", "L"], ROWS)
    price = random.normal(10, 2, ROWS) + 5 * (size == "L")
    frame = pd.DataFrame({"id": [f"K-{k}" for k in range(ROWS)], "size": size, "price": price.round(2)})
    frame["price"] = [f"{x:.2f}".replace(".", ",") for x in frame["price"]]
    frame.loc[3:12, "size"] = None
    frame.loc[8:20, "price"] = None
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    shirts().to_csv(folder / "shirts.csv", index=False, sep=";")
    run("fit", folder / "shirts.csv", "--out", folder / "m.safetensors", "--steps", 20, "--type", "size=ordinal:S:M:L")
    return folder


def test_an_order_is_declared_shown_and_kept_in_a_schema_file(folder, tmp_path):
    table, toml = folder / "shirts.csv", tmp_path / "s.toml"
    shown = run("schema", table, "--type", "size=ordinal:S<M<L", "--out", toml).stdout
    assert "declared; order: S < M < L" in shown
    assert 'type = "ordinal:S<M<L"' in toml.read_text()
    fitted = run("fit", table, "--schema", toml, "--out", tmp_path / "m.safetensors", "--steps", 2)
    assert "declared; order: S < M < L" in fitted.stdout
    assert "alphabetically" not in fitted.stderr
    short = run("schema", table, "--type", "size=ordinal:S<M", code=1).stderr
    assert "--type: column 'size' holds 'L', which the order S < M lacks." in " ".join(short.split())


@pytest.mark.filterwarnings("default")
def test_an_alphabetical_order_is_said_and_written_in_full(folder, tmp_path):
    said = run("schema", folder / "shirts.csv", "--type", "size=ordinal", "--out", tmp_path / "s.toml")
    assert "'size': text is ordered alphabetically, L < M < S." in " ".join(said.stderr.split())
    assert 'type = "ordinal:L<M<S"' in (tmp_path / "s.toml").read_text()


def test_filled_tables_keep_all_columns(folder, tmp_path):
    out = tmp_path / "f.csv"
    run("impute", folder / "m.safetensors", folder / "shirts.csv", "--out", out)
    filled, before = pd.read_csv(out), shirts()
    assert list(filled.columns) == ["id", "size", "price"]
    assert filled["id"].tolist() == before["id"].tolist()
    assert not filled.isna().any().any()
    wide = shirts().assign(note=[f"n{k % 7}" for k in range(ROWS)])
    wide[["note", "price", "id", "size"]].to_csv(tmp_path / "wide.csv", index=False, sep=";")
    run("impute", folder / "m.safetensors", tmp_path / "wide.csv", "--keep", "note", "--out", out)
    assert list(pd.read_csv(out).columns) == ["note", "price", "size"]
    refused = run("impute", folder / "m.safetensors", tmp_path / "wide.csv", "--keep", "nota", "--out", out, code=1)
    assert "--keep" in refused.stderr


def test_anomalies_show_the_columns_that_are_kept(folder):
    common = ("anomalies", folder / "shirts.csv", "--keep", "id", "--steps", 2, "--top", 2)
    shown = run(*common)
    assert "K-" in shown.stdout
    assert shown.stdout.splitlines()[2].split() == ["row", "id", "score"]
    assert "--type" not in shown.stderr
    answer = run_json(*common)
    assert [row["kept"] for row in answer["top"]] == [{"id": f"K-{row['row'] - 1}"} for row in answer["top"]]
    assert "--type id=categorical" in run("anomalies", folder / "shirts.csv", "--steps", 2).stderr  # not asked for


def test_an_empty_column_is_listed_and_left_out(tmp_path):
    table, toml, out = tmp_path / "t.csv", tmp_path / "t.toml", tmp_path / "m.safetensors"
    shirts().assign(empty=None).to_csv(table, index=False, sep=";")
    shown = run("schema", table, "--out", toml)
    assert "empty  Empty  no value in any row; left out" in shown.stdout
    assert run_json("schema", table)["missing"]["empty"] == ROWS
    fitted = run("fit", table, "--out", out, "--steps", 2)
    assert "Column 'empty' is empty in" in fitted.stderr
    assert run_json("info", out)["metadata"]["dropped"] == ["empty", "id"]
    assert "is empty in" not in run("fit", table, "--schema", toml, "--out", out, "--steps", 2).stderr  # dropped there
    assert "Column 'empty' is empty in" in run("anomalies", table, "--steps", 2).stderr
    refused = " ".join(run("fit", table, "--given", "empty", "--out", out, code=1).stderr.split())
    assert "column 'empty' is empty, all 120 values are missing. Leave it out (--drop empty)." in refused
    shirts()[["id"]].assign(id=None, b=None).to_csv(table, index=False, sep=";")
    assert "is empty, all 120 values" in " ".join(run("schema", table, code=1).stderr.split())


def test_a_flow_says_why_it_takes_no_text(folder, tmp_path):
    arguments = ("fit", folder / "shirts.csv", "--drop", "id", "--model", "nsf", "--out", tmp_path / "m.safetensors")
    refused = " ".join(run(*arguments, code=1).stderr.split())
    assert (
        "column 'size' holds text, and nsf models numbers. A mixed-type part would take it beside a column" in refused
    )
    assert "there is none: 'price' has missing values, 'size' holds text. Leave it out (--drop size)" in refused


@pytest.mark.parametrize("typed", ["10,5", "10.5", ",5"])
def test_values_with_a_decimal_comma(folder, tmp_path, typed):
    answer = run_json("sample", folder / "m.safetensors", "--given", f"price={typed}", "--out", tmp_path / "s.csv")
    assert answer["given"] == {"price": float(typed.replace(",", "."))}


@pytest.mark.parametrize(("typed", "sentence"), [("1,234", "Write 1.234 or 1234."), ("a,5", "must be a number; got")])
def test_values_that_are_no_numbers(folder, tmp_path, typed, sentence):
    arguments = ("sample", folder / "m.safetensors", "--given", f"price={typed}", "--out", tmp_path / "s.csv")
    assert sentence in " ".join(run(*arguments, code=1).stderr.split())


def test_small_words(folder, tmp_path):
    model = folder / "m.safetensors"
    assert "standard output: 3 rows of size, price." in run("sample", model, "-n", 3, "--out", "-").stderr
    assert "independent columns" in run("info", model).stdout
    assert "--seed" not in run("score", "--help").stdout
    assert run_json("info", model, "--seed", 3)["metadata"]["columns"] == ["size", "price"]
    shirts().drop(columns="size").assign(sizes="S").to_csv(tmp_path / "t.csv", index=False, sep=";")
    refused = run("score", model, tmp_path / "t.csv", "--out", tmp_path / "s.csv", code=1).stderr
    assert "Did you mean 'sizes'?" in " ".join(refused.split())
    shirts().drop(columns="price").assign(size2="S").to_csv(tmp_path / "t.csv", index=False, sep=";")
    shirts().drop(columns="size").rename(columns={"price": "siz", "id": "price"}).to_csv(tmp_path / "u.csv", sep=";")
    refused = run("score", model, tmp_path / "u.csv", "--out", tmp_path / "s.csv", code=1).stderr
    assert "Did you mean 'siz'?" in " ".join(refused.split())

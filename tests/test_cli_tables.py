"""Tables as people keep them, on the command line: orders of text, gaps, empty columns, identifiers, decimal commas."""

import warnings

import numpy as np
import pandas as pd
import pytest
from test_cli import run, run_json

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

"""What a new user tries and gets wrong: every time one clear sentence, exit code 1, no stack trace, nothing written."""

import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from tables import read_table

import pushforward as pf

TINY = ["--set", "depth=1", "--set", "hidden=8", "--set", "bins=4", "--steps", "30", "--batch-size", "64"]


def refused(*arguments, match):
    """The command ends with code 1 and one sentence on standard error that matches."""
    result = run(*arguments, code=1)
    *remarks, last = result.stderr.strip().split("\n")
    assert last.startswith("Error: "), result.stderr
    assert re.search(match, last), last
    assert all("Error" not in line and "Traceback" not in line for line in remarks), result.stderr
    assert "nats" not in result.stdout  # at most the schema
    return result


def table(path, rows=200, columns="a,b", seed=0):
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, len(columns.split(","))))
    np.savetxt(path, values, delimiter=",", header=columns, comments="")
    return path


@pytest.fixture
def out(tmp_path):
    """A model file to write; whatever is refused must not leave one, nor anything else."""
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of a and b."""
    folder = tmp_path_factory.mktemp("model")
    run("fit", table(folder / "train.csv"), "--out", folder / "model.safetensors", *TINY)
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    """A model of x given temp and hour."""
    folder = tmp_path_factory.mktemp("conditional")
    train = table(folder / "train.csv", columns="x,temp,hour")
    run("fit", train, "--out", folder / "model.safetensors", "--given", "temp,hour", *TINY)
    return folder / "model.safetensors"


def nothing_else(folder: Path, *names: str) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)


# The table


def test_a_text_column(tmp_path, out):
    path = tmp_path / "t.csv"
    path.write_text("a,city,b\n1,Ulm,2\n2,Bonn,3\n4,Kiel,1\n")
    refused(
        "fit", path, "--out", out, "--model", "nsf", match=r"t\.csv: column 'city' holds text, .*--drop city.*mixed"
    )
    nothing_else(tmp_path, "t.csv")
    table(path, columns="a,b")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",city", *(line + ",Ulm" for line in lines[1:])]))
    run("fit", path, "--out", out, "--drop", "city", *TINY)


def test_missing_values(tmp_path, out, model):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n2,\n4,1\n")
    refused(
        "fit", path, "--out", out, "--model", "nsf", match=r"column 'b' has 1 missing value in 3 rows, first at row 2"
    )
    refused("score", model, path, "--out", tmp_path / "s.csv", match=r"column 'b' has 1 missing value .*row 2")
    refused("evaluate", model, path, match=r"column 'b' has 1 missing value .*row 2")
    nothing_else(tmp_path, "t.csv")


def test_an_empty_csv(tmp_path, out, model):
    path = tmp_path / "t.csv"
    path.write_text("")
    refused("fit", path, "--out", out, match=r"t\.csv: the file is empty \(0 bytes\)\. A table needs a header and rows")
    path.write_text("a,b\n")
    refused("fit", path, "--out", out, match=r"t\.csv: the table has a header but no rows\. Add rows below it")
    refused("score", model, path, "--out", tmp_path / "s.csv", match=r"the table has a header but no rows")
    nothing_else(tmp_path, "t.csv")


def test_one_row(tmp_path, out, model):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    refused("fit", path, "--out", out, match=r"t\.csv: the table has 1 row\. A density needs at least 2 rows")
    nothing_else(tmp_path, "t.csv")
    run("score", model, path, "--out", tmp_path / "s.csv")  # one row can be scored
    assert read_table(tmp_path / "s.csv").rows == 1
    run("evaluate", model, path)
    assert run("evaluate", model, path, "--json").stdout.count("null") >= 1  # one row has no standard error


def test_two_rows(tmp_path, out):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1.5,2.5\n3.5,4.5\n")
    run("fit", path, "--out", out, "--steps", 5)
    run("fit", path, "--out", out, "--validation", "0", *TINY)


def test_one_column_works_and_is_visible(tmp_path, out):
    path = table(tmp_path / "t.csv", columns="a")
    for flow in ("nsf", "real_nvp", "nice", "maf", "iaf"):
        run("fit", path, "--out", out, "--model", flow, "--set", "depth=2", "--steps", 30)
        assert "Elementwise" in run("info", out).stdout
        run("score", out, path, "--out", tmp_path / "s.csv")
        assert np.isfinite(read_table(tmp_path / "s.csv").values).all()
        run("sample", out, "-n", 5, "--out", tmp_path / "n.csv")
        assert read_table(tmp_path / "n.csv").names == ("a",)


def test_a_constant_column(tmp_path, out):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{k + 0.5},7\n" for k in range(50)))
    result = run("fit", path, "--out", out, "--model", "nsf", *TINY)
    shown = " ".join((result.stdout + result.stderr).split())
    assert "Constant(value=7.0)" in shown
    assert "Leave it out (--drop b); there is nothing to learn" in shown
    run("fit", path, "--out", out, "--drop", "b", "--force", *TINY)
    run(
        "fit", path, "--out", out, "--given", "b", "--model", "nsf", "--force", *TINY
    )  # to condition on it is useless, but no mistake


def test_a_column_that_only_varies_where_rows_are_held_out(tmp_path, out):
    path = tmp_path / "t.csv"
    held_out = tmp_path / "held.csv"
    for name, odd in ((path, -1), (held_out, 3)):
        name.write_text("a,b\n" + "".join(f"{k + 0.5},{int(k == odd) / 3}\n" for k in range(40)))
    common = ("fit", path, "--out", out, "--model", "nsf", "--validation", held_out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run(*common, *TINY)
    assert "Warning: 1 validation rows hold values that the training rows do not allow" in result.stderr


def test_a_table_that_is_not_there(tmp_path, out, model):
    refused("fit", tmp_path / "no.csv", "--out", out, match=r"no\.csv: there is no such file\. Check the path")
    refused("evaluate", model, tmp_path / "no.csv", match=r"no\.csv: there is no such file")
    refused("score", model, tmp_path / "no.csv", "--out", tmp_path / "s.csv", match=r"no\.csv: there is no such file")
    refused("report", model, tmp_path / "no.csv", "--out", tmp_path / "r.html", match=r"no\.csv: there is no such")
    refused("fit", tmp_path, "--out", out, match=r"no \.png, .* in this folder\. Name one that has")
    refused("fit", model, "--out", out, match=r"the name of a table must end in one of \.csv")
    nothing_else(tmp_path)
    path = table(tmp_path / "t.csv")
    refused("fit", path, "--out", out, "--validation", tmp_path / "no.csv", match=r"no\.csv: there is no such file")


# The target


def test_a_read_only_target(tmp_path, out, model):
    path = table(tmp_path / "t.csv")
    out.write_text("precious")
    out.chmod(0o444)
    refused(
        "fit", path, "--out", out, match=r"cannot write .*model\.safetensors': the file is read-only\. Choose another"
    )
    refused(
        "score", model, path, "--out", chmod(tmp_path / "s.csv"), match=r"cannot write .*s\.csv': the file is read-only"
    )
    refused("sample", model, "--out", tmp_path / "s.csv", match=r"cannot write .*s\.csv': the file is read-only")
    refused(
        "report", model, path, "--out", chmod(tmp_path / "r.html"), match=r"cannot write .*r\.html': the file is read"
    )
    assert out.read_text() == "precious"
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    refused("fit", path, "--out", folder / "m", match=r"the folder .*locked' is read-only")
    folder.chmod(0o755)


def chmod(path: Path) -> Path:
    path.write_text("precious")
    path.chmod(0o444)
    return path


def test_a_target_in_no_folder_or_that_is_one(tmp_path, model):
    path = table(tmp_path / "t.csv")
    refused("fit", path, "--out", tmp_path / "no" / "m", match=r"the folder .*no' does not exist\. Create it first")
    refused("fit", path, "--out", tmp_path, match=r"that is a folder\. Name a file in it")
    refused("score", model, path, "--out", tmp_path / "no" / "s.csv", match=r"the folder .*no' does not exist")
    refused("score", model, path, "--out", tmp_path / "s.xlsx", match=r"the name of a table must end in one of \.csv")
    refused("sample", model, "--out", tmp_path / "s", match=r"the name of a table must end in one of \.csv")
    checkpoint = tmp_path / "no" / "c"
    refused("fit", path, "--out", tmp_path / "m", "--checkpoint", checkpoint, match=r"the folder .*no' does not exist")
    nothing_else(tmp_path, "t.csv")


def test_overwriting_what_is_read(tmp_path, model):
    path, csv_model = table(tmp_path / "t.csv"), tmp_path / "m.csv"
    shutil.copy(model, csv_model)
    before = path.read_bytes()
    refused("fit", path, "--out", path, match=r"--out: .*t\.csv is also read or written by this command")
    refused(
        "fit",
        path,
        "--out",
        tmp_path / "m",
        "--checkpoint",
        tmp_path / "m",
        match=r"--checkpoint: .*also read or written",
    )
    refused("score", model, path, "--out", path, match=r"--out: .*t\.csv is also read or written by this command")
    refused("sample", csv_model, "--out", csv_model, match=r"--out: .*m\.csv is also read or written by this command")
    refused("report", model, path, "--out", path, match=r"--out: .*t\.csv is also read")
    assert path.read_bytes() == before


# The model file


def test_a_model_file_that_is_a_csv(tmp_path):
    path = table(tmp_path / "model.csv")
    words = r"model\.csv: not a model file: it looks like text, such as a CSV"
    refused("info", path, match=words)
    refused("evaluate", path, path, match=words)
    refused("score", path, path, "--out", tmp_path / "s.csv", match=words)
    refused("sample", path, "--out", tmp_path / "s.csv", match=words)
    refused("report", path, path, "--out", tmp_path / "r.html", match=words)
    nothing_else(tmp_path, "model.csv")


def test_a_model_file_that_is_not_there_or_damaged(tmp_path, model):
    path = table(tmp_path / "t.csv")
    refused("info", tmp_path / "no", match=r"no: there is no such file\. Check the path")
    refused("evaluate", tmp_path / "no", path, match=r"no: there is no such file")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(model.read_bytes()[:-1])
    refused("info", damaged, match=r"damaged: the file is cut short")
    whole = bytearray(model.read_bytes())
    whole[-1] ^= 1
    damaged.write_bytes(whole)
    refused("score", damaged, path, "--out", tmp_path / "s.csv", match=r"the weights were altered after the file was")


def test_a_model_without_column_names(tmp_path):
    path = table(tmp_path / "t.csv")
    pf.save(pf.flows.maf(2, depth=1, hidden=[4]), tmp_path / "m")
    refused("score", tmp_path / "m", path, "--out", tmp_path / "s.csv", match=r"saved without the names of its columns")
    pf.save(pf.flows.maf(2, depth=1, hidden=[4]), tmp_path / "m", metadata={"columns": ["a"]})
    refused("evaluate", tmp_path / "m", path, match=r"saved without the names of its columns")


# Columns


def test_a_column_missing_at_scoring(tmp_path, model):
    path = table(tmp_path / "t.csv", columns="a,bb")
    out = tmp_path / "s.csv"
    refused(
        "score", model, path, "--out", out, match=r"t\.csv: there is no column 'b'\. Did you mean 'bb'\? The columns"
    )
    refused("evaluate", model, path, match=r"t\.csv: there is no column 'b'")
    refused("report", model, path, "--out", tmp_path / "r.html", match=r"t\.csv: there is no column 'b'")
    nothing_else(tmp_path, "t.csv")


def test_columns_in_another_order_give_the_same_numbers(tmp_path, model):
    path, turned = table(tmp_path / "t.csv"), tmp_path / "turned.csv"
    turned.write_text("".join(",".join(line.strip().split(",")[::-1]) + "\n" for line in path.open()))
    assert read_table(turned).names == ("b", "a")
    for name in (path, turned):
        result = run("score", model, name, "--out", tmp_path / f"s-{name.name}")
        assert "ignoring" not in result.stderr
    assert (tmp_path / "s-t.csv").read_bytes() == (tmp_path / "s-turned.csv").read_bytes()
    assert run("evaluate", model, path, "--json").stdout == run("evaluate", model, turned, "--json").stdout


def test_extra_columns_are_said_once_and_ignored(tmp_path, model):
    path, wide = table(tmp_path / "t.csv", rows=20_000), tmp_path / "wide.csv"
    lines = path.read_text().splitlines()
    wide.write_text("\n".join(["name," + lines[0] + ",c", *(f"x,{line},1" for line in lines[1:])]))
    run("score", model, path, "--out", tmp_path / "s.csv")
    result = run("score", model, wide, "--out", tmp_path / "w.csv")
    assert result.stderr.count("ignoring columns 'name', 'c', not part of the model") == 1
    assert (tmp_path / "s.csv").read_bytes() == (tmp_path / "w.csv").read_bytes()


def test_column_options_of_fit(tmp_path, out):
    path = table(tmp_path / "t.csv", columns="temp,hour,load")
    for option in ("--given", "--drop"):
        refused(
            "fit",
            path,
            "--out",
            out,
            option,
            "tmp",
            match=rf"{option}: .*t\.csv has no column 'tmp'\. Did you mean 'temp'",
        )
    refused(
        "fit", path, "--out", out, "--given", "temp,hour,load", match=r"no column is left to model: all 3 are named"
    )
    refused("fit", path, "--out", out, "--drop", "temp", "--given", "hour,load", match=r"no column is left to model")
    refused(
        "fit", path, "--out", out, "--drop", "temp", "--given", "temp", match=r"--given and --drop both name 'temp'"
    )
    nothing_else(tmp_path, "t.csv")


def test_a_column_name_with_a_comma(tmp_path, out):
    path = tmp_path / "t.csv"
    path.write_text('"a,b",c\n' + "".join(f"{k},{k * k}\n" for k in range(50)))
    for typed in ("a,b", '"a,b"'):
        run("fit", path, "--out", out, "--drop", typed, "--model", "nsf", *TINY)
        assert pf.io.read_header(out).metadata["columns"] == ["c"]


# Options


@pytest.mark.parametrize(
    ("typed", "match"),
    [
        (["--model", "nfs"], r"--model: there is no model 'nfs'\. Did you mean 'nsf'\? Choose one of 'auto', 'mixed'"),
        (["--set", "dept=3"], r"--set: auto has no option 'dept'\. Did you mean 'depth'\?"),
        (["--set", "depth"], r"--set: write NAME=VALUE, such as depth=5"),
        (["--set", "depth=3", "--set", "depth=4"], r"--set: 'depth' has two values"),
        (["--set", "features=3"], r"--set: auto has no option 'features'"),
        (["--set", "depth=0"], r"nsf: depth must be a whole number of at least 1; got 0"),
        (["--set", "hidden=8,x"], r"hidden must be a whole number of at least 1; got 'x'"),
        (["--set", "layer=round"], r"nsf: layer must be one of"),
        (["--model", "iaf", "--set", "bins=3"], r"--set: iaf has no option 'bins'"),
        (["--set", "bins=4,=3"], r"--set: write NAME=VALUE, such as depth=5"),
    ],
)
def test_options_of_fit(tmp_path, out, typed, match):
    refused("fit", table(tmp_path / "t.csv"), "--out", out, *typed, match=match)
    nothing_else(tmp_path, "t.csv")


@pytest.mark.parametrize(
    ("typed", "match"),
    [
        (["--validation", "1.5"], "'--validation': must be a fraction of the rows, at least 0 and below 1, or a table"),
        (["--steps", "0"], "'--steps': "),
        (["--seconds", "-1"], "'--seconds': must be positive; got -1"),
        (["--epochs", "many"], "'--epochs': must be a number; got 'many'"),
        (["--lr", "nan"], "'--lr': must be positive; got nan"),
        (["--batch-size", "0"], "'--batch-size': "),
    ],
)
def test_numbers_out_of_range_are_wrong_usage(tmp_path, out, typed, match):
    result = run("fit", table(tmp_path / "t.csv"), "--out", out, *typed, code=2)
    assert match in " ".join(result.stderr.replace("│", " ").split())
    nothing_else(tmp_path, "t.csv")


def test_resuming_another_run(tmp_path, out):
    checkpoint = tmp_path / "c"
    checkpoint.write_text("something else")
    path = table(tmp_path / "t.csv")
    typed = ["--resume", "--checkpoint", checkpoint]
    refused("fit", path, "--out", out, *typed, match=r"c cannot be read as a checkpoint .*delete it to start afresh")
    assert not out.exists()
    assert "Starting from scratch" in run("fit", path, "--out", out, "--checkpoint", checkpoint, *TINY).stderr


@pytest.mark.parametrize(
    ("typed", "match"),
    [
        ([], r"--given: a value of 'temp', 'hour' is missing\. Write --given temp=VALUE,hour=VALUE"),
        (["--given", "temp=20"], r"--given: a value of 'hour' is missing"),
        (
            ["--given", "temp=20,hours=12"],
            r"has no conditioning column 'hours'\. Did you mean 'hour'\? The conditioning columns are 'temp', 'hour'",
        ),
        (["--given", "temp=20,hour=12,x=1"], r"has no conditioning column 'x'"),
        (["--given", "temp=20,hour=noon"], r"--given: 'hour' must be a number; got 'noon'"),
        (["--given", "temp=20,hour=inf"], r"--given: 'hour' must be a finite number; got 'inf'"),
        (["--given", "temp,hour"], r"--given: write COLUMN=VALUE, several separated by commas; got 'temp,hour'"),
        (["--given", "temp=1,temp=2,hour=3"], r"--given: 'temp' has two values"),
    ],
)
def test_given_values_of_sample(tmp_path, conditional, typed, match):
    refused("sample", conditional, "--out", tmp_path / "n.csv", *typed, match=match)
    nothing_else(tmp_path)


def test_given_values_in_any_order_and_for_no_conditional_model(tmp_path, conditional, model):
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    run("sample", conditional, "--out", first, "--given", "temp=20,hour=12")
    run("sample", conditional, "--out", second, "--given", "hour=12", "--given", " temp = 20")
    assert first.read_bytes() == second.read_bytes()
    refused(
        "sample",
        model,
        "--out",
        first,
        "--given",
        "a=1",
        match=r"is a model of all its columns together .*fit with --given",
    )


# The triangular map of few terms


def test_a_triangular_map_takes_no_steps(tmp_path, out):
    path = table(tmp_path / "t.csv")
    fit = ("fit", path, "--out", out, "--model", "triangular_map")
    refused(*fit, "--steps", 5, "--lr", 0.1, match=r"--steps, --lr: triangular_map is not trained in steps; .* out\.")
    refused(*fit, "--resume", match=r"--resume: triangular_map is not trained in steps")
    refused(*fit, "--compile", match=r"--compile: triangular_map is not trained in steps")
    refused(
        *fit,
        "--set",
        "depth=3",
        match=r"triangular_map has no option 'depth'\. .*The options are 'degree', .*'folds'\.",
    )
    refused(
        *fit, "--set", "terms=many", match=r"fit_triangular: terms must be a whole number of at least 0; got 'many'"
    )
    refused(*fit, "--set", "df=x", match=r"--set: triangular_map cannot be built with df=x")
    nothing_else(tmp_path, "t.csv")


def test_a_triangular_map_of_a_table_is_told_by_info(tmp_path, out):
    run("fit", table(tmp_path / "t.csv", rows=60), "--out", out, "--model", "triangular_map", "--set", "terms=2")
    assert "terms chosen by cross-validation in" in run("info", out).stdout


def test_a_word_among_numbers(tmp_path, out):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1.5,2.5\n" * 60 + "abc,1.5\n")
    refused(
        "fit", path, "--out", out, match=r"t\.csv: column 'a' holds numbers, but 'abc' in row 61\. Correct the value"
    )
    nothing_else(tmp_path, "t.csv")


def test_a_schema_file_takes_names_with_commas(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('"a, b",c\n' + "".join(f"{k % 7},{k / 3}\n" for k in range(60)))
    run("schema", path, "--type", "a, b=categorical", "--out", tmp_path / "s.toml")
    assert '[columns."a, b"]\ntype = "categorical"' in (tmp_path / "s.toml").read_text()
    shown = run("fit", path, "--schema", tmp_path / "s.toml", "--out", tmp_path / "m", "--steps", 2).stdout
    assert "Categorical(levels=7)" in shown

"""Tables: what is read, what is refused and in which words, and what is written."""

import datetime
import decimal
import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import pushforward.data
from pushforward.data import (
    Table,
    TableError,
    TableWriter,
    check_not_constant,
    column_names,
    format_of,
    read_table,
    stream_table,
)
from pushforward.data.samples import POWER_COLUMNS, digits_sample, power_sample

SUFFIXES = [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq", ".feather", ".arrow"]


@pytest.fixture
def text(tmp_path):
    """Write a text file and give its path."""

    def write(content, name="t.csv"):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.fixture
def parquet(tmp_path):
    """Write Arrow columns to a Parquet file and give its path."""

    def write(name="t.parquet", **columns):
        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    return write


def hard_numbers(rows: int) -> np.ndarray:
    """Finite float64 of every magnitude: random bits, and the corners."""
    bits = np.random.default_rng(0).integers(0, 2**64, size=(2 * rows, 3), dtype=np.uint64).view(np.float64)
    values = bits[np.isfinite(bits).all(axis=1)][:rows]
    values[:4, 0] = 5e-324, -0.0, 1.7976931348623157e308, 0.1
    return values


# Reading and writing


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_back_the_very_numbers(tmp_path, suffix):
    values = hard_numbers(1000)
    path = tmp_path / f"t{suffix}"
    with TableWriter(path, ["a", "b c", 'd,"e"']) as writer:
        for start in range(0, 1000, 300):
            writer.write(values[start : start + 300])
    table = read_table(path)
    assert column_names(path) == table.names == ("a", "b c", 'd,"e"')
    assert table.types == ("double",) * 3
    assert table.source == path
    assert table.values.dtype == np.float64
    assert np.array_equal(table.values.view(np.int64), values.view(np.int64))  # the sign of zero included


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows", [1, 7, 1000, 65536])
def test_a_stream_is_the_table_in_equal_pieces(tmp_path, suffix, rows):
    values = np.random.default_rng(1).normal(size=(2500 if rows > 1 else 50, 2))
    path = tmp_path / f"t{suffix}"
    with TableWriter(path, ["a", "b"]) as writer:
        writer.write(values)
    pieces = list(stream_table(path, ["b", "a"], rows=rows))
    assert all(len(piece) == rows for piece in pieces[:-1])
    assert 0 < len(pieces[-1]) <= rows
    assert all(piece.dtype == np.float64 for piece in pieces)
    assert np.array_equal(np.concatenate(pieces), values[:, ::-1])


def test_columns_are_read_in_the_order_asked_for(text, parquet, tmp_path):
    csv = text("a,b,c\n1,x,3\n4,y,6\n")
    feather = tmp_path / "t.feather"
    pyarrow.feather.write_feather(pa.table({"a": [1, 4], "b": ["x", "y"], "c": [3.0, 6.0]}), feather)
    for path in (csv, parquet(a=[1, 4], b=["x", "y"], c=[3.0, 6.0]), feather):
        table = read_table(path, ["c", "a"])
        assert table.names == ("c", "a")
        assert table.values.tolist() == [[3, 1], [6, 4]]
        assert table.integers == (("c", "a") if path == csv else ("a",))


def test_float32_on_request(text):
    table = read_table(text("a\n0.1\n"), dtype=np.float32)
    assert table.values.dtype == np.float32


def test_kinds_of_text_columns_come_from_all_rows(text):
    path = text("i,f,b,m,z\n1,1,true,1,\t7\n2,2.5,False,2,8 \n3, 3 ,TRUE,1e3,+9\n")
    table = read_table(path)
    assert table.types == ("int64", "double", "bool", "double", "double")
    assert table.integers == ("i", "b")
    assert table.values.tolist() == [[1, 1, 1, 1, 7], [2, 2.5, 0, 2, 8], [3, 3, 1, 1000, 9]]


def test_kinds_of_typed_columns(parquet):
    path = parquet(
        i=pa.array([1, 2], pa.int8()),
        u=pa.array([1, 2**53], pa.uint64()),
        f=pa.array([0.5, 1.5], pa.float32()),
        h=pa.array(np.array([0.5, 1.5], np.float16)),
        b=pa.array([True, False]),
        d=pa.array([decimal.Decimal("1.25"), decimal.Decimal("-3.50")]),
    )
    table = read_table(path)
    assert table.types == ("int8", "uint64", "float", "halffloat", "bool", "decimal128(3, 2)")
    assert table.integers == ("i", "u", "b")
    assert table.values.tolist() == [[1, 1, 0.5, 0.5, 1, 1.25], [2, 2.0**53, 1.5, 1.5, 0, -3.5]]


def test_the_first_block_decides_nothing(text):
    rows = 120_000  # several blocks of text
    whole = "".join(f"{i},{i}\n" for i in range(rows))
    late = text("a,b\n" + whole + "0.5,1e300\n")
    assert late.stat().st_size > 1_000_000
    table = read_table(late)
    assert table.types == ("double", "double")
    assert table.values[:-1, 0].tolist() == list(range(rows))
    assert table.values[-1].tolist() == [0.5, 1e300]
    with pytest.raises(TableError, match=rf"column 'b' holds text: first at row {rows + 1} .*, 'Paris'"):
        for _ in stream_table(text("a,b\n" + whole + "1,Paris\n")):
            pass
    with pytest.raises(TableError, match=rf"column 'b' holds integers .* first at row {rows + 1} .*9007199254740993"):
        for _ in stream_table(text("a,b\n" + whole + "1,9007199254740993\n")):
            pass
    with pytest.raises(TableError, match=r"column 'b' mixes true/false with numbers: first at row .*, 'true'"):
        read_table(text("a,b\n" + whole + "1,true\n" * 120_000))


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\r\n1,2\r\n3,4\r\n",
        b"\xef\xbb\xbfa,b\n1,2\n3,4",
        b"\n a , b\n1,2\n\n3,4\n\n",
        b'"a","b"\n"1","2"\n3,"4"\n',
        b'a,b,c\n1,2,"two\nlines, and ""quotes"""\n3,4,\xe9\n',
    ],
    ids=["windows", "byte order mark", "blanks", "quotes", "other columns"],
)
def test_ordinary_text_files(text, content):
    assert read_table(text(content), ["a", "b"]).values.tolist() == [[1, 2], [3, 4]]


def test_names_with_dots_do_not_mix(parquet):
    path = parquet(**{"a": [1.0, 2.0], "a.b": [3.0, 4.0]})
    assert read_table(path, ["a"]).values.tolist() == [[1], [2]]
    assert read_table(path, ["a.b", "a"]).values.tolist() == [[3, 1], [4, 2]]


def test_arrow_streams_are_read_like_files(tmp_path):
    path = tmp_path / "t.arrow"
    table = pa.table({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert read_table(path, ["b"]).values.tolist() == [[3], [4]]


def test_many_columns_and_long_rows(tmp_path):
    values = np.random.default_rng(2).normal(size=(3, 20_000))
    path = tmp_path / "wide.csv"
    with TableWriter(path, [f"x{i}" for i in range(20_000)]) as writer:
        writer.write(values)
    assert len(path.read_text().splitlines()[1]) > 1 << 18
    assert np.array_equal(np.concatenate(list(stream_table(path))), values)


# What is refused, and in which words

FILES = [
    (
        "t.xlsx",
        b"PK\x03\x04",
        r"the name of a table must end in one of \.csv, \.csv\.gz, \.csv\.zst, \.tsv, .*\.arrow\. Rename",
    ),
    ("t.csv", b"", "the file is empty (0 bytes). A table needs a header and rows"),
    ("t.parquet", b"", "the file is empty (0 bytes). A table needs a header and rows"),
    ("t.csv", b"\n\n", "the file holds only blank lines"),
    ("t.csv", b"a,b\n", "the table has a header but no rows. Add rows below it"),
    ("t.csv", b"a,b", "the table has a header but no rows. Add rows below it"),
    ("t.parquet", b"a,b\n1,2\n", "not a Parquet file, in spite of its suffix; it appears to be text"),
    ("t.feather", b"a,b\n1,2\n", "not a Feather file, in spite of its suffix; it appears to be text"),
    ("t.feather", b"FEA1....", "it appears to be a Feather file of the outdated version 1"),
    ("t.csv", b"PAR1....", "not a CSV file, in spite of its suffix; it appears to be a Parquet file"),
    ("t.csv", b"\x1f\x8b..", "not a CSV file, in spite of its suffix; it appears to be a gzip file"),
    ("t.csv", b"PK\x03\x04", "it appears to be a zip file or an Excel workbook. Correct the suffix"),
    ("t.csv", b"a,b\n\x00\x01", "it appears to be binary data"),
    ("t.parquet", b"PAR1" + bytes(100), "cannot be read as Parquet; it may be damaged or incomplete ("),
    ("t.feather", b"ARROW1" + bytes(100), "cannot be read as Feather; it may be damaged or incomplete ("),
    ("t.csv", b"1.5,2\n3,4\n", "the first line holds numbers, not column names. Add a header line"),
    ("t.csv", b"a,b\n1,2\n\n3\n", "row 2 (header not counted) has 1 values where the header names 2: '3'. Correct"),
    ("t.csv", b"a,b\n1,2,3\n", "row 1 (header not counted) has 3 values where the header names 2: '1,2,3'"),
    ("t.csv", b'a,b\n1,"' + b"2\n" * 300_000, 'one row is longer than 262144 bytes. Look for a quote (") that'),
    ("t.csv", b",b\n0,1\n", "column 1 has no name (a saved row index, perhaps). Name it in the header or remove"),
    ("t.csv", b"a,b,a\n0,1,2\n", "2 columns are named 'a'. Rename all but one"),
]


def plain(message: str) -> str:
    return message if "\\" in message else "".join(f"\\{c}" if c in "().*+?[]" else c for c in message)


@pytest.mark.parametrize(("name", "content", "message"), FILES)
def test_files_that_are_no_tables(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=plain(message)) as error:
        read_table(path)
    assert str(error.value).startswith(f"{path}: ")
    with pytest.raises(TableError, match=plain(message)):
        list(stream_table(path))


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(TableError, match=r"no\.csv: there is no such file\. Check the path"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(TableError, match="that is a folder, not a table"):
        column_names(tmp_path)
    (tmp_path / "null.csv").symlink_to("/dev/null")
    with pytest.raises(TableError, match="that is a device or a pipe"):
        column_names(tmp_path / "null.csv")


def test_a_quote_that_swallows_the_rest(text):
    for content in ('a,b\n1,2\n3,"4\n5,6\n', 'a,b\n1,2\n3,"' + "4\n" * 80_000):
        with pytest.raises(TableError, match=r'a quote \("\) is opened and never closed\. Close or remove it'):
            read_table(text(content), ["a"])
    odd = text('a,b\n1,5" pipe\n2,x\n')  # no opening quote: part of the value
    assert read_table(odd, ["a"]).values.tolist() == [[1], [2]]


def test_a_gzip_file_cut_short(tmp_path):
    values = np.random.default_rng(3).normal(size=(5000, 2))
    path = tmp_path / "t.csv.gz"
    with TableWriter(path, ["a", "b"]) as writer:
        writer.write(values)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(TableError, match="cannot be read as gzipped CSV; it may be damaged or incomplete"):
        read_table(path)


def test_a_parquet_file_damaged_inside(tmp_path):
    path = tmp_path / "t.parquet"
    with TableWriter(path, ["a"]) as writer:
        writer.write(np.random.default_rng(3).normal(size=(5000, 1)))
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    path.write_bytes(data)
    with pytest.raises(TableError, match="cannot be read as Parquet; it may be damaged or incomplete"):
        read_table(path)


COLUMNS = [
    ("1\n2\nParis", "holds text: first at row 3 (header not counted), 'Paris'. Correct the value, or drop the column"),
    ("1_000", "holds text: first at row 1"),
    ("true\nfalse\nmaybe", "holds text: first at row 1 (header not counted), 'true'"),
    ("0x1F", "holds text: first at row 1 (header not counted), '0x1F'"),
    ("5\ntrue", "mixes true/false with numbers: first at row 2 (header not counted), 'true'. Write 0"),
    ("\xe9t\xe9" * 30, "...'"),
    ('1\n"2,5"', "holds numbers with a decimal comma: first at row 2 (header not counted), '2,5'. Write them with a"),
    ("2020-01-31", "holds dates or times: first at row 1 (header not counted), '2020-01-31'. Turn them into numbers"),
    ("16/12/2006 17:24:00", "holds dates or times: first at row 1"),
    ("17:24:00", "holds dates or times: first at row 1"),
    ("inf\n1", "holds an infinite value: first at row 1 (header not counted), inf. Correct the value or leave out"),
    ("1\n2\n-Infinity", "holds an infinite value: first at row 3 (header not counted), -inf"),
    ("1\n1e999", "holds an infinite value: first at row 2"),
    ("9007199254740993", "holds integers beyond 2**53, which float64 cannot represent: first at row 1"),
    ("1.5\n-99999999999999999999", "holds integers beyond 2**53, which float64 cannot represent: first at row 2"),
    ("1\n\n2\nNA\n?", "has 2 missing values in 4 rows: first at row 3 (header not counted). Fill in or leave out"),
    ("1\n ' '".replace("'", ""), "has 1 missing value in 2 rows: first at row 2"),
    ("1\nnan", "has 1 missing value in 2 rows: first at row 2"),
    (
        "NA\nNA\nNA",
        "is empty, all 3 values are missing: first at row 1 (header not counted). Drop the column (--drop x",
    ),
]


@pytest.mark.parametrize(("values", "message"), COLUMNS)
def test_values_in_text_files_that_are_no_numbers(text, values, message):
    path = text(f"x\n{values}\n".encode("latin-1"))
    with pytest.raises(TableError, match=plain(message)) as error:
        read_table(path)
    assert str(error.value).startswith(f"{path}: column 'x' ")
    assert str(error.value).endswith("rop the column (--drop x).")


DAY = datetime.datetime(2020, 1, 31, 12)
TYPED = [
    (pa.array(["1", "Paris"]), "holds text: first at row 1, '1'. Correct the value, or drop the column (--drop x)"),
    (pa.array([None, "Paris"]), "holds text: first at row 2, 'Paris'"),
    (pa.array(["Paris"], pa.large_string()), "holds text: first at row 1, 'Paris'"),
    (pa.array(["b", "a"]).dictionary_encode(), "holds categories: first at row 1, 'b'. Turn them into numbers, or"),
    (pa.array([DAY]), "holds dates or times: first at row 1, '2020-01-31 12:00:00.000000'"),
    (pa.array([1], pa.timestamp("ns")), "holds dates or times: first at row 1, '1970-01-01 00:00:00.000000001'"),
    (pa.array([DAY.date()]), "holds dates or times: first at row 1, '2020-01-31'"),
    (pa.array([datetime.timedelta(1)]), "holds dates or times: first at row 1"),
    (
        pa.array([[1.0, 2.0]]),
        "holds values that are not numbers: first at row 1, '[1.0, 2.0]'. Store them in several columns",
    ),
    (pa.array([b"x"]), "holds values that are not numbers: first at row 1"),
    (pa.array([1.0, np.nan, None]), "has 2 missing values in 3 rows: first at row 2. Fill in or leave out such rows"),
    (pa.array([1, None]), "has 1 missing value in 2 rows: first at row 2"),
    (pa.array([True, None]), "has 1 missing value in 2 rows: first at row 2"),
    (pa.array([None, None]), "is empty, all 2 values are missing: first at row 1. Drop the column"),
    (pa.array([None], pa.string()), "is empty, all 1 values are missing"),
    (pa.array([np.nan, np.nan]), "is empty, all 2 values are missing"),
    (pa.array([1.0, -np.inf]), "holds an infinite value: first at row 2, -inf"),
    (
        pa.array([1, None, 2**53 + 1]),
        "holds integers beyond 2**53, which float64 cannot represent: first at row 3, 900",
    ),
    (pa.array([-(2**60)]), "holds integers beyond 2**53, which float64 cannot represent: first at row 1, -115"),
    (pa.array([2**64 - 1], pa.uint64()), "holds integers beyond 2**53, which float64 cannot represent: first at row 1"),
    (pa.array([decimal.Decimal(10**20)]), "holds integers beyond 2**53, which float64 cannot represent"),
]


@pytest.mark.parametrize(("values", "message"), TYPED)
def test_values_in_typed_files_that_are_no_numbers(parquet, tmp_path, values, message):
    if not pa.types.is_duration(values.type):
        with pytest.raises(TableError, match=plain(f"t.parquet: column 'x' {message}")):
            read_table(parquet(x=values))
    pyarrow.feather.write_feather(pa.table({"x": values}), tmp_path / "t.feather")
    with pytest.raises(TableError, match=plain(f"t.feather: column 'x' {message}")):
        read_table(tmp_path / "t.feather")


def test_rows_are_counted_over_the_whole_file(tmp_path, parquet):
    values = np.arange(200_000.0)
    values[[150_000, 160_000]] = np.nan
    with pytest.raises(TableError, match=r"has 2 missing values in 200000 rows: first at row 150001\."):
        read_table(parquet(x=values))
    with TableWriter(tmp_path / "t.csv", ["x"]) as writer:
        writer.write(values[:, None])
    pieces = []
    with pytest.raises(TableError, match=r"has 2 missing values in 200000 rows: first at row 150001 \(header"):
        pieces.extend(stream_table(tmp_path / "t.csv", rows=1000))
    assert not pieces or len(np.concatenate(pieces)) < 150_001


def test_columns_with_the_same_trouble_are_named_together(text):
    path = text("a,my town,x,country,z\n1,Paris,2,France,\n")
    message = (
        r"column 'my town' holds text: first at row 1 \(header not counted\), 'Paris'\. "
        r"The same is true of 'country'\. Correct the value, or drop the columns \(--drop 'my town,country'\)\.$"
    )
    with pytest.raises(TableError, match=message):
        read_table(path)
    assert read_table(path, ["x", "a"]).values.tolist() == [[2, 1]]


def test_columns_that_are_not_there(text):
    path = text("voltage,power,hour\n1,2,3\n")
    with pytest.raises(TableError, match=r"there is no column 'volt'\. Did you mean 'voltage'\? The columns are 'vo"):
        read_table(path, ["volt"])
    with pytest.raises(TableError, match=r"there is no column 'q', 'r'\. The columns are 'voltage', 'power', 'hour'\."):
        stream_table(path, ["q", "hour", "r"])  # at the call, before anything is read
    with pytest.raises(TableError, match="columns must be a list of names; got the text 'hour'"):
        read_table(path, "hour")
    with pytest.raises(TableError, match="no columns are left"):
        read_table(path, [])
    with pytest.raises(TableError, match="column 'hour' is asked for more than once"):
        read_table(path, ["hour", "hour"])
    with pytest.raises(TableError, match=r"\.\.\. \(30 in all\)"):
        read_table(text(",".join(f"c{i}" for i in range(30)) + "\n"), ["nothing"])
    with pytest.raises(ValueError, match="stream_table: rows must be at least 1; got 0"):
        stream_table(path, rows=0)


def test_unused_columns_may_repeat_their_name(text):
    path = text("a,b,b\n1,x,y\n")
    assert column_names(path) == ("a", "b", "b")
    assert read_table(path, ["a"]).values.tolist() == [[1]]


def test_constant_columns():
    changing = np.arange(3.0)
    check_not_constant(Table(("a",), changing[:, None]))
    one = Table(("a", "b"), np.stack([changing, np.full(3, 3.0)], axis=1))
    message = r"^column 'b' is constant \(always 3\.0\): its density is infinite\. Drop it \(--drop b\)\.$"
    with pytest.raises(TableError, match=message):
        check_not_constant(one)
    with pytest.raises(TableError, match=r"'b' is constant \(always 0\.0\), 'c' is .*: their .* \(--drop b,c\)"):
        check_not_constant(Table(("a", "b", "c"), np.stack([changing, 0 * changing, 0 * changing], axis=1)))


def test_too_few_rows(text):
    with pytest.raises(TableError, match=r"t\.csv: the table has 1 row\. A density needs at least 2 rows"):
        check_not_constant(read_table(text("a,b\n1,2\n")))
    with pytest.raises(TableError, match="the table has no rows"):
        check_not_constant(Table(("a",), np.empty((0, 1))))


def test_tables_by_hand():
    table = Table(("a", "b"), np.array([[1.0, 2.0]]), ("int64", "double"))
    assert table.select(["b", "a"]).values.tolist() == [[2, 1]]
    assert table.select(["b", "a"]).types == ("double", "int64")
    with pytest.raises(TableError, match=r"the table: there is no column 'c'"):
        table.select(["c"])
    with pytest.raises(ValueError, match=r"Table: values must have shape \(rows, 1\), one column per name; got \(3,\)"):
        Table(("a",), np.zeros(3))
    with pytest.raises(ValueError, match="Table: types must name 1 columns; got 2"):
        Table(("a",), np.zeros((3, 1)), ("double", "double"))


# Writing


def test_text_is_short_and_exact(tmp_path):
    path = tmp_path / "t.csv"
    with TableWriter(path, ["x", "n", "a b", "c,d"], integers=["n"]) as writer:
        writer.write([[0.1, 3, 1e300, -0.0], [np.nan, -4, np.inf, -np.inf]])
    assert path.read_text() == 'x,n,a b,"c,d"\n0.1,3,1e+300,-0\nnan,-4,inf,-inf\n'


def write_whole(path, batches):
    with TableWriter(path, ["n"], integers=["n"]) as writer:
        for batch in batches:
            writer.write(batch)


def test_whole_numbers_stay_whole(tmp_path):
    for suffix in SUFFIXES:
        with TableWriter(tmp_path / f"t{suffix}", ["n", "x"], integers=["n"]) as writer:
            writer.write([[2.0**53, 1.5]])
        assert read_table(tmp_path / f"t{suffix}").types == ("int64", "double")
    for value in (1.5, np.nan, np.inf, 2.0**63):
        rows = [[[1.0]], [[1.0], [value]]]
        with pytest.raises(TableError, match=r"column 'n' is to be written as integers, but row 3 is .*\. Round it"):
            write_whole(tmp_path / "new.csv", rows)
    assert not (tmp_path / "new.csv").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_writer_leaves_the_old_file(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_text("old")

    def fail():
        with TableWriter(path, ["a"]) as writer:
            writer.write(np.zeros((100_000, 1)))
            assert path.read_text() == "old"
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_writer_keeps_no_more_than_a_group(tmp_path):
    path = tmp_path / "t.parquet"
    row = np.empty((1, 1))
    with TableWriter(path, ["a"]) as writer:
        for value in (1.0, 2.0):
            row[:] = value  # the caller's array is its own
            writer.write(row)
        writer.write(np.zeros((200_000, 1)))
        assert writer.rows == 200_002
        assert writer._held == []
    file = pq.ParquetFile(path)
    assert max(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)) == 65536
    assert read_table(path).values[:3, 0].tolist() == [1, 2, 0]


def test_the_writer_refuses(tmp_path):
    with pytest.raises(TableError, match=r"t\.xls: the name of a table must end in one of \.csv"):
        TableWriter(tmp_path / "t.xls", ["a"])
    with pytest.raises(TableError, match="at least one column, and no name twice"):
        TableWriter(tmp_path / "t.csv", ["a", "a"])
    with pytest.raises(TableError, match="at least one column, and no name twice"):
        TableWriter(tmp_path / "t.csv", [])
    with pytest.raises(TableError, match="integers names 'b', which is not among the columns"):
        TableWriter(tmp_path / "t.csv", ["a"], integers=["b"])
    with (
        pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"),
        TableWriter(tmp_path / "x" / "t.csv", ["a"]),
    ):
        pass
    with (
        pytest.raises(TableError, match=r"rows must have shape \(rows, 1\); got \(3,\)"),
        TableWriter(tmp_path / "t.csv", ["a"]) as writer,
    ):
        writer.write(np.zeros(3))
    with pytest.raises(ValueError, match=r"TableWriter: the file is not open\. Call write inside the with block"):
        TableWriter(tmp_path / "t.csv", ["a"]).write([[1.0]])
    assert not list(tmp_path.iterdir())


def test_no_rows_still_make_a_header(tmp_path):
    for suffix in SUFFIXES:
        with TableWriter(tmp_path / f"t{suffix}", ["a", "b"]):
            pass
        assert column_names(tmp_path / f"t{suffix}") == ("a", "b")


def test_formats_by_suffix():
    assert format_of("a.b.PARQUET") == ("parquet", None)
    assert format_of("x.tsv.gz") == ("tsv", "gzip")
    with pytest.raises(TableError, match=r"^model\.gz: the name of a table must end"):
        format_of("model.gz")


# Memory

# The package is stood in for by an empty one with the same folder: torch would take seconds and hide the difference.
PEAK = """
import resource, sys, types
package = types.ModuleType("pushforward")
package.__path__ = [sys.argv[1]]
sys.modules["pushforward"] = package
from pushforward.data import stream_table
for path in sys.argv[2:]:
    rows = sum(map(len, stream_table(path, rows=8192)))
    print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize(
    "suffix", [".csv", *(pytest.param(suffix, marks=pytest.mark.exhaustive) for suffix in (".parquet", ".feather"))]
)
def test_streaming_needs_no_more_memory_for_ten_times_the_rows(tmp_path, suffix):
    sizes = (50_000, 500_000)
    for rows in sizes:
        column = pa.array(np.random.default_rng(4).normal(size=rows))
        table = pa.table({f"x{i}": column for i in range(8)})
        if suffix == ".csv":
            pyarrow.csv.write_csv(table, tmp_path / f"{rows}.csv")
        elif suffix == ".parquet":  # one row group, the worst case
            pq.write_table(table, tmp_path / f"{rows}.parquet", row_group_size=rows)
        else:
            pyarrow.feather.write_feather(table, tmp_path / f"{rows}.feather")
    package = Path(pushforward.data.__file__).parent.parent
    command = [sys.executable, "-c", PEAK, package, *(tmp_path / f"{rows}{suffix}" for rows in sizes)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert output[::2] == [str(rows) for rows in sizes]
    assert int(output[3]) <= 1.1 * int(output[1])  # the longer table alone takes 32 MB, a quarter of this


# The bundled samples


def test_the_power_sample():
    train, test = power_sample()
    assert train.names == test.names == POWER_COLUMNS
    assert (len(train), len(test)) == (60_000, 10_000)
    for table in (train, test):
        check_not_constant(table)
        low, high = table.values.min(axis=0), table.values.max(axis=0)
        assert (low >= [0.07, 220, 0, 0, 0, 0]).all()
        assert (high <= [11.2, 255, 89, 81, 32, 1439]).all()
        assert (table.values[:, 5] % 1 == 0).all()
    assert train.source is not None
    files = [path for path in train.source.parent.iterdir() if path.is_file()]
    assert {"README.md", "power_train.parquet", "power_test.parquet"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < 2_000_000


def test_the_digits():
    x, labels = digits_sample()
    assert x.shape == (1797, 64)
    assert x.dtype == np.float64
    assert labels.dtype == np.int64
    assert np.bincount(labels).min() > 170

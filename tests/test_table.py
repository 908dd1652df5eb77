"""Tables: what is read, what is refused and in which words, and what is written."""

import datetime
import decimal
import gzip
import os
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
    Schema,
    TableError,
    TableFile,
    TableWriter,
    column_names,
    format_of,
    read_arrow,
    read_numbers,
    stream_arrow,
)
from pushforward.data.samples import POWER_COLUMNS, digits_sample, power_sample

SUFFIXES = [".csv", ".csv.gz", ".csv.zst", ".tsv", ".tsv.gz", ".parquet", ".pq", ".feather", ".arrow"]


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


def write(path, *tables):
    """Write Arrow tables, one after the other."""
    with TableWriter(path, tables[0].schema) as writer:
        for table in tables:
            writer.write(table)
    return path


def numbers(**columns):
    return pa.table({name: np.asarray(values, dtype=np.float64) for name, values in columns.items()})


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
    names = ["a", "b c", 'd,"e"']
    tables = [pa.table(dict(zip(names, values[k : k + 300].T, strict=True))) for k in range(0, 1000, 300)]
    path = write(tmp_path / f"t{suffix}", *tables)
    assert column_names(path) == tuple(names)
    again = read_numbers(path)
    assert again.dtype == np.float64
    assert np.array_equal(again.view(np.int64), values.view(np.int64))  # the sign of zero included


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows", [1, 7, 1000, 65536])
def test_a_stream_is_the_table_in_equal_pieces(tmp_path, suffix, rows):
    values = np.random.default_rng(1).normal(size=(2500 if rows > 1 else 50, 2))
    path = write(tmp_path / f"t{suffix}", numbers(a=values[:, 0], b=values[:, 1]))
    pieces = list(stream_arrow(path, ["b", "a"], rows=rows))
    assert all(piece.num_rows == rows for piece in pieces[:-1])
    assert 0 < pieces[-1].num_rows <= rows
    whole = pa.concat_tables(pieces)
    assert whole.column_names == ["b", "a"]
    assert np.array_equal(np.stack([whole["a"], whole["b"]], axis=1), values)


def test_columns_are_read_in_the_order_asked_for(text, parquet, tmp_path):
    csv = text("a,b,c\n1,x,3\n4,y,6\n")
    feather = tmp_path / "t.feather"
    pyarrow.feather.write_feather(pa.table({"a": [1, 4], "b": ["x", "y"], "c": [3.0, 6.0]}), feather)
    for path in (csv, parquet(a=[1, 4], b=["x", "y"], c=[3.0, 6.0]), feather):
        assert read_arrow(path, ["c", "a"]).to_pydict() == {"c": [3, 6], "a": [1, 4]}
        assert read_numbers(path, ["c", "a"]).tolist() == [[3, 1], [6, 4]]


def test_kinds_of_text_columns_come_from_all_rows(text):
    path = text("i,f,b,m,z,h,o\n1,1,true,1,\t7,0x1F,07\n2,2.5,False,2,8 ,2,8\n3, 3 ,TRUE,1e3,+9,3,9\n")
    table = read_arrow(path)
    assert list(map(str, table.schema.types)) == ["int64", "double", "bool", "double", "double", "string", "string"]
    assert table["m"].to_pylist() == [1, 2, 1000]
    assert table["h"].to_pylist() == ["0x1F", "2", "3"]  # Arrow alone would read 31
    assert table["o"].to_pylist() == ["07", "8", "9"]


def test_typed_columns(parquet, tmp_path):
    path = parquet(
        i=pa.array([1, None], pa.int8()),
        u=pa.array([1, 2**53], pa.uint64()),
        h=pa.array(np.array([0.5, 1.5], np.float16)),
        b=pa.array([True, None]),
        d=pa.array([decimal.Decimal("1.25"), decimal.Decimal("-3.50")]),
        c=pa.array(["x", "y"]).dictionary_encode(),
        t=pa.array([datetime.datetime(2020, 1, 31, 12), None]),
    )
    table = read_arrow(path)
    assert table["d"].to_pylist() == [1.25, -3.5]
    assert table["c"].to_pylist() == ["x", "y"]
    x = Schema.infer(table).encode(table)
    np.testing.assert_array_equal(x[0], [1, 1, 0.5, 1, 1.25, 0, 1580472000])
    assert np.isnan(x[1, [0, 3, 6]]).all()


def test_the_first_block_decides_nothing(text):
    rows = 120_000  # several blocks of text
    whole = "".join(f"{i},{i}\n" for i in range(rows))
    late = text("a,b\n" + whole + "0.5,1e300\n")
    assert late.stat().st_size > 1_000_000
    values = read_numbers(late)
    assert values[:-1, 0].tolist() == list(range(rows))
    assert values[-1].tolist() == [0.5, 1e300]
    assert read_arrow(text("a,b\n" + whole + "1,Paris\n"))["b"].to_pylist()[-2:] == ["119999", "Paris"]


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
    assert read_numbers(text(content), ["a", "b"]).tolist() == [[1, 2], [3, 4]]


def test_what_is_said_about_a_text_file_is_not_detected(text):
    path = text("1,5;x;-\n2,5;y;7\n")
    table = read_arrow(TableFile(path, header=False, missing=("-",)))
    assert table.to_pydict() == {"x0": [1.5, 2.5], "x1": ["x", "y"], "x2": [None, 7]}
    odd = text("a!b\n1!2\n3!4\n", "odd.csv")
    assert read_arrow(TableFile(odd, separator="!")).to_pydict() == {"a": [1, 3], "b": [2, 4]}
    german = text("a,b\n1,Stra\u00dfe\n".encode("cp850"), "cp850.csv")
    assert read_arrow(TableFile(german, encoding="cp850"))["b"].to_pylist() == ["Stra\u00dfe"]
    semicolons = text("a;b\n1.250;x\n1.300;y\n", "s.csv")
    assert read_arrow(semicolons)["a"].to_pylist() == [1.25, 1.3]
    assert read_arrow(TableFile(semicolons, decimal=","))["a"].to_pylist() == [1250, 1300]
    with pytest.raises(TableError, match=r"row 2 has 1 values where the header names 2"):
        read_arrow(TableFile(text("1,2\n3\n"), header=False))


def test_names_with_dots_do_not_mix(parquet):
    path = parquet(**{"a": [1.0, 2.0], "a.b": [3.0, 4.0]})
    assert read_numbers(path, ["a"]).tolist() == [[1], [2]]
    assert read_numbers(path, ["a.b", "a"]).tolist() == [[3, 1], [4, 2]]


def test_arrow_streams_are_read_like_files(tmp_path):
    path = tmp_path / "t.arrow"
    table = pa.table({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert read_numbers(path, ["b"]).tolist() == [[3], [4]]


def test_many_columns_and_long_rows(tmp_path):
    values = np.random.default_rng(2).normal(size=(3, 5_000))
    path = write(tmp_path / "wide.csv", pa.table({f"x{i}": column for i, column in enumerate(values.T)}))
    assert np.array_equal(read_numbers(path), values)


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
        read_arrow(path)
    assert str(error.value).startswith(f"{path}: ")
    if content[:3] == b"a,b" and b"b,a" not in content:
        with pytest.raises(TableError, match=plain(message)):
            list(stream_arrow(path, ["a", "b"]))


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(TableError, match=r"no\.csv: there is no such file\. Check the path"):
        read_arrow(tmp_path / "no.csv")
    with pytest.raises(TableError, match="that is a folder, not a table"):
        column_names(tmp_path)
    (tmp_path / "null.csv").symlink_to("/dev/null")
    with pytest.raises(TableError, match="that is a device or a pipe"):
        column_names(tmp_path / "null.csv")


def test_a_quote_that_swallows_the_rest(text):
    for content in ('a,b\n1,2\n3,"4\n5,6\n', 'a,b\n1,2\n3,"' + "4\n" * 80_000):
        with pytest.raises(TableError, match=r'a quote \("\) is opened and never closed\. Close or remove it'):
            read_arrow(text(content), ["a"])
    odd = text('a,b\n1,5" pipe\n2,x\n')  # no opening quote: part of the value
    assert read_numbers(odd, ["a"]).tolist() == [[1], [2]]


def test_a_gzip_file_cut_short(tmp_path):
    path = write(tmp_path / "t.csv.gz", numbers(a=np.random.default_rng(3).normal(size=5000)))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(TableError, match="cannot be read as gzipped CSV; it may be damaged or incomplete"):
        read_arrow(path)


def test_a_parquet_file_damaged_inside(tmp_path):
    path = write(tmp_path / "t.parquet", numbers(a=np.random.default_rng(3).normal(size=5000)))
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    path.write_bytes(data)
    with pytest.raises(TableError, match="cannot be read as Parquet; it may be damaged or incomplete"):
        read_arrow(path)


def test_tables_that_are_not_all_numbers(text):
    with pytest.raises(TableError, match=r"t\.csv: column 'b' holds text\. Leave it out"):
        read_numbers(text("a,b\n1,x\n"))
    with pytest.raises(TableError, match=r"t\.csv: column 'b' has missing values\. Leave it out"):
        read_numbers(text("a,b\n1,\n2,3\n"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([1.0, -np.inf]), "column 'x' holds an infinite value (inf) in row 2. Correct it"),
        (pa.array([1, 2**53 + 1]), "column 'x' holds integers beyond 2**53, such as 9007199254740993"),
        (pa.array([[1.0, 2.0]]), "column 'x' holds List(Float64), not single values. Store it in several columns"),
        (pa.array([None, None], pa.float64()), "column 'x' is empty, all 2 values are missing. Leave it out"),
    ],
)
def test_values_that_no_schema_has(parquet, values, message):
    with pytest.raises(TableError, match=plain(message)):
        Schema.infer(read_arrow(parquet(x=values)))


def test_columns_that_are_not_there(text):
    path = text("voltage,power,hour\n1,2,3\n")
    with pytest.raises(TableError, match=r"there is no column 'volt'\. Did you mean 'voltage'\? The columns are 'vo"):
        read_arrow(path, ["volt"])
    with pytest.raises(TableError, match=r"there is no column 'q', 'r'\. The columns are 'voltage', 'power', 'hour'\."):
        next(stream_arrow(path, ["q", "hour", "r"]))
    with pytest.raises(TableError, match="columns must be a list of names; got the text 'hour'"):
        read_arrow(path, "hour")
    with pytest.raises(TableError, match="no columns are left"):
        read_arrow(path, [])
    with pytest.raises(TableError, match="column 'hour' is asked for more than once"):
        read_arrow(path, ["hour", "hour"])
    with pytest.raises(TableError, match=r"\.\.\. \(30 in all\)"):
        read_arrow(text(",".join(f"c{i}" for i in range(30)) + "\n"), ["nothing"])


def test_unused_columns_may_repeat_their_name(text):
    path = text("a,b,b\n1,x,y\n")
    assert column_names(path) == ("a", "b", "b")
    assert read_numbers(path, ["a"]).tolist() == [[1]]


# Writing


def test_text_is_short_and_exact(tmp_path):
    table = pa.table({"x": [0.1, None], "n": [3, -4], "a b": [1e300, np.inf], "c,d": ["u", None]})
    assert write(tmp_path / "t.csv", table).read_text() == 'x,n,a b,"c,d"\n0.1,3,1e+300,"u"\n,-4,inf,\n'


def test_standard_output_is_a_table_too(tmp_path, capfdbinary):
    write("-", pa.table({"x": [0.5, 1.5]}))
    assert capfdbinary.readouterr().out == b"x\n0.5\n1.5\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_writer_leaves_the_old_file(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_text("old")
    rows = numbers(a=np.zeros(100_000))

    def fail():
        with TableWriter(path, rows.schema) as writer:
            writer.write(rows)
            assert path.read_text() == "old"
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_writer_keeps_no_more_than_a_group(tmp_path):
    path = tmp_path / "t.parquet"
    with TableWriter(path, numbers(a=[1.0]).schema) as writer:
        for value in (1.0, 2.0):
            writer.write(numbers(a=[value]))
        writer.write(numbers(a=np.zeros(200_000)))
        assert writer.rows == 200_002
        assert writer._held == []
    file = pq.ParquetFile(path)
    assert max(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)) <= 65536
    assert read_numbers(path)[:3, 0].tolist() == [1, 2, 0]


def test_the_writer_refuses(tmp_path):
    schema = numbers(a=[1.0]).schema
    with pytest.raises(TableError, match=r"t\.xls: the name of a table must end in one of \.csv"):
        TableWriter(tmp_path / "t.xls", schema)
    with pytest.raises(TableError, match="at least one column, and no name twice"):
        TableWriter(tmp_path / "t.csv", pa.schema([*schema, *schema]))
    with pytest.raises(TableError, match="at least one column, and no name twice"):
        TableWriter(tmp_path / "t.csv", pa.schema([]))
    with (
        pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"),
        TableWriter(tmp_path / "x" / "t.csv", schema),
    ):
        pass
    with pytest.raises(ValueError, match=r"TableWriter: the file is not open\. Call write inside the with block"):
        TableWriter(tmp_path / "t.csv", schema).write(numbers(a=[1.0]))
    assert not list(tmp_path.iterdir())


def test_no_rows_still_make_a_header(tmp_path):
    for suffix in SUFFIXES:
        assert column_names(write(tmp_path / f"t{suffix}", numbers(a=[], b=[]))) == ("a", "b")


def test_formats_by_suffix():
    assert format_of("a.b.PARQUET") == ("parquet", None)
    assert format_of("x.tsv.gz") == ("tsv", "gzip")
    with pytest.raises(TableError, match=r"^model\.gz: the name of a table must end"):
        format_of("model.gz")


# Memory

PEAK = """
import resource, sys
from pushforward.data import stream_arrow
for path in sys.argv[1:]:
    rows = sum(piece.num_rows for piece in stream_arrow(path, [f"x{i}" for i in range(8)]))
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
    package = Path(pushforward.data.__file__).parent.parent.parent
    command = [sys.executable, "-c", PEAK, *(tmp_path / f"{rows}{suffix}" for rows in sizes)]
    output = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(package)}
    ).stdout.split()
    assert output[::2] == [str(rows) for rows in sizes]
    assert int(output[3]) <= int(output[1]) + 25_000  # KiB; the longer table alone takes 32 MB, its text 80 MB


# The bundled samples


def test_the_power_sample():
    train, test = power_sample()
    assert (train.shape, test.shape) == ((60_000, len(POWER_COLUMNS)), (10_000, len(POWER_COLUMNS)))
    for values in (train, test):
        assert (values.std(axis=0) > 0).all()
        low, high = values.min(axis=0), values.max(axis=0)
        assert (low >= [0.07, 220, 0, 0, 0, 0]).all()
        assert (high <= [11.2, 255, 89, 81, 32, 1439]).all()
        assert (values[:, 5] % 1 == 0).all()
    files = [path for path in Path(pushforward.data.samples.__file__).parent.iterdir() if path.is_file()]
    assert {"README.md", "power_train.parquet", "power_test.parquet"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < 2_000_000


def test_the_digits():
    x, labels = digits_sample()
    assert x.shape == (1797, 64)
    assert x.dtype == np.float64
    assert labels.dtype == np.int64
    assert np.bincount(labels).min() > 170

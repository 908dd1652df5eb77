"""CSV and TSV files, plain or compressed, as columns of text."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from pushforward.data.dialect import DECIMAL_COMMA, Dialect, TableFile, detect
from pushforward.data.formats import BLOCK, Source, TableError, clipped, looks_like

__all__ = ["MISSING_WORDS", "TextSource"]

# Words for a missing value: the list of Arrow, and "?", as in the household power data of UCI.
MISSING_WORDS = frozenset(pacsv.ConvertOptions().null_values) | {"?", "None", "none", "<NA>", "NAN"}

_RAGGED = re.compile(
    r"(?:Row #(?P<row>\d+): )?Expected (?P<expected>\d+) columns, got (?P<actual>\d+): (?P<text>.*)", re.DOTALL
)
"""How Arrow tells of a row with too few or too many values."""
HEAD = 1 << 20
"""Bytes that decide on separator, decimal sign and encoding."""
UTF16 = ("UTF-16 text",)
COMPRESSED = {"gzip": "a gzip file", "zstd": "a Zstandard file"}
"""What the first bytes of a compressed file look like."""


class TextSource(Source):
    """Text with a header line. All columns are read as text, since the first rows do not determine the types.

    Separator, decimal sign and encoding are detected. Numbers with a decimal comma are given with a point.
    """

    def __init__(self, file: TableFile, head: bytes, delimiter: str, compression: str | None) -> None:
        super().__init__(os.fspath(file))
        self.has_header, self.missing = file.header, sorted({*MISSING_WORDS, *file.missing})
        self.compression = compression
        packed = {None: "", "gzip": "gzipped ", "zstd": "Zstandard-compressed "}[compression]
        self.kind = packed + ("TSV" if delimiter == "\t" else "CSV")
        self._refuse_unless(
            looks_like(head) in (COMPRESSED.get(compression or "", "text"), *UTF16[compression is not None :]), head
        )
        with self._readable(), self._open_bytes() as stream:
            first = stream.read(HEAD)
        if compression and looks_like(first) not in ("text", *UTF16):
            raise TableError(f"{self.path}: not a {self.kind} file: inside is {looks_like(first)}. Correct the suffix.")
        self.dialect: Dialect = detect(first, file, delimiter, whole=len(first) < HEAD)
        self.note = self.dialect.describe(delimiter)
        self._raw_names = self._header()
        self.names = tuple(name.strip() for name in self._raw_names)
        self.types = (None,) * len(self.names)

    def row(self, index: int) -> str:
        return f"row {index + 1}" + (" (header not counted)" if self.has_header else "")

    def _open_bytes(self) -> Any:
        return pa.input_stream(self.path, compression=self.compression)

    @contextmanager
    def _open_utf8(self) -> Iterator[Any]:
        """The bytes as UTF-8, of other encodings a copy.

        Arrow's own way to another encoding, like any stream or handler in Python, would be called from a thread that
        outlives an error, and could end the process with an abort.
        """
        if self.dialect.encoding.startswith("utf-8"):
            with self._open_bytes() as stream:
                yield stream
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "utf8.csv")
            with self._open_text() as source, copy.open("w", encoding="utf-8", newline="") as target:
                shutil.copyfileobj(source, target, BLOCK)
            with pa.input_stream(str(copy)) as stream:
                yield stream

    def _open_text(self) -> io.TextIOBase:
        encoding = self.dialect.encoding
        errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
        return io.TextIOWrapper(self._open_bytes(), encoding=encoding, errors=errors, newline="")

    def _header(self) -> list[str]:
        names: list[str] = []
        with self._readable(), self._open_text() as file:
            names = next((row for row in csv.reader(file, delimiter=self.dialect.separator) if row), [])
        if not names:
            raise TableError(f"{self.path}: the file holds only blank lines. A table needs a header and rows.")
        if any("\udc80" <= letter <= "\udcff" for name in names for letter in name):
            raise TableError(f"{self.path}: the column names are not UTF-8 text. Save the file as UTF-8.")
        if not self.has_header:
            return [f"x{j}" for j in range(len(names))]
        # A data frame without names is often saved with the header 0,1,2,...: integers may be names.
        if all(map(_is_number, names)) and not all(name.strip().isdecimal() for name in names):
            raise TableError(
                f"{self.path}: the first line holds numbers, not column names. Add a header line, or read the file "
                "with --no-header."
            )
        return names

    def batches(self, columns: Sequence[int], rows: int) -> Iterator[list[Any]]:
        names = [self._raw_names[column] for column in columns]
        block = max(BLOCK, 128 * len(self.names))
        with self._readable(), self._open_utf8() as stream:
            try:
                with pacsv.open_csv(
                    stream,
                    read_options=pacsv.ReadOptions(
                        use_threads=False,
                        block_size=block,
                        column_names=None if self.has_header else self._raw_names,
                    ),
                    parse_options=pacsv.ParseOptions(delimiter=self.dialect.separator, newlines_in_values=True),
                    convert_options=pacsv.ConvertOptions(
                        include_columns=names,
                        column_types={name: pa.string() for name in names},
                        null_values=self.missing,
                        strings_can_be_null=True,
                        check_utf8=False,  # text in another encoding is refused later, as text
                    ),
                ) as reader:
                    for batch in reader:
                        yield [
                            part if j in self.dialect.pointed else self._with_points(part)
                            for j, part in zip(columns, batch.columns, strict=True)
                        ]
            except pa.ArrowInvalid as error:
                if "Empty CSV" in str(error):
                    return  # a header and nothing below
                if (ragged := _RAGGED.search(str(error))) is not None:
                    raise self._ragged(ragged) from None
                if "straddling" in str(error):
                    raise TableError(
                        f'{self.path}: one row is longer than {block} bytes. Look for a quote (") that is never closed.'
                    ) from None
                raise
            # The parser accepts a quote that is never closed, with all rows after it in one value.
            if self._quotes() % 2 and self._ends_inside_quotes():
                raise TableError(f'{self.path}: a quote (") is opened and never closed. Close or remove it.')

    def _with_points(self, column: Any) -> Any:
        """A column of text in which numbers with decimal commas are written with points."""
        if self.dialect.decimal == ".":
            return column
        words = pc.utf8_trim_whitespace(column)
        number = pc.match_substring_regex(words, DECIMAL_COMMA)
        thousands = pc.match_substring_regex(words, r"^[+-]?\d{1,3}(\.\d{3})+$")
        plain = pc.replace_substring(pc.replace_substring(words, ".", ""), ",", ".")
        return pc.if_else(pc.fill_null(pc.or_(number, thousands), False), plain, column)

    def _ragged(self, told: re.Match[str]) -> TableError:
        where = self.row(int(told["row"]) - 1 - self.has_header) if told["row"] is not None else "a row"
        return TableError(
            f"{self.path}: {where} has {told['actual']} values where the header names {told['expected']}: "
            f"{clipped(told['text'])}. Correct that line."
        )

    def _quotes(self) -> int:
        """The number of quotes in the file: even in a well-formed one."""
        count = 0
        with self._open_bytes() as stream:
            while data := stream.read(BLOCK):
                count += data.count(b'"')
        return count

    def _ends_inside_quotes(self) -> bool:
        """Whether the file ends inside a quoted value, according to the parser of Python."""
        with self._open_text() as file:
            try:
                for _ in csv.reader(file, delimiter=self.dialect.separator, strict=True):
                    pass
            except csv.Error as error:
                return "unexpected end" in str(error) or "larger than field limit" in str(error)
        return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

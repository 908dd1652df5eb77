"""CSV and TSV files, plain or gzipped, as columns of text."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from pushforward.data.formats import BLOCK, Source, TableError, clipped, looks_like

__all__ = ["MISSING_WORDS", "TextSource"]

# Words for a missing value: the list of Arrow, and "?", as in the household power data of UCI.
MISSING_WORDS = frozenset(pacsv.ConvertOptions().null_values) | {"?", "None", "none", "<NA>", "NAN"}


class TextSource(Source):
    """Text with a header line. All columns are read as text, since the first rows do not determine the types."""

    def __init__(self, path: str, head: bytes, delimiter: str, gzipped: bool) -> None:
        super().__init__(path)
        self.delimiter = delimiter
        self.gzipped = gzipped
        self.kind = ("gzipped " if gzipped else "") + ("TSV" if delimiter == "\t" else "CSV")
        self._refuse_unless(looks_like(head) == ("a gzip file" if gzipped else "text"), head)
        self._raw_names = self._header()
        self.names = tuple(name.strip() for name in self._raw_names)
        self.types = (None,) * len(self.names)

    def row(self, index: int) -> str:
        return f"row {index + 1} (header not counted)"

    def _open_text(self) -> io.TextIOBase:
        opener: Callable[..., Any] = gzip.open if self.gzipped else open
        stream: io.TextIOBase = opener(self.path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
        return stream

    def _header(self) -> list[str]:
        names: list[str] = []
        with self._readable(), self._open_text() as file:
            names = next((row for row in csv.reader(file, delimiter=self.delimiter) if row), [])
        if not names:
            raise TableError(f"{self.path}: the file holds only blank lines. A table needs a header and rows.")
        if any("\udc80" <= letter <= "\udcff" for name in names for letter in name):
            raise TableError(f"{self.path}: the column names are not UTF-8 text. Save the file as UTF-8.")
        for other, called in ((";", "';'"), ("\t", "tabs"), (",", "','")):
            if len(names) == 1 and other in names[0] and other != self.delimiter:
                wanted = "tabs" if self.delimiter == "\t" else "commas"
                raise TableError(
                    f"{self.path}: the columns seem to be separated by {called}. Save the table with {wanted}."
                )
        # A data frame without names is often saved with the header 0,1,2,...: integers may be names.
        if all(map(_is_number, names)) and not all(name.strip().isdecimal() for name in names):
            raise TableError(f"{self.path}: the first line holds numbers, not column names. Add a header line.")
        return names

    def batches(self, columns: Sequence[int], rows: int) -> Iterator[list[Any]]:
        ragged: list[Any] = []

        def refuse(row: Any) -> str:
            ragged.append(row)
            return "error"

        names = [self._raw_names[column] for column in columns]
        block = max(BLOCK, 128 * len(self.names))
        compression = "gzip" if self.gzipped else None
        with self._readable(), pa.input_stream(self.path, compression=compression) as stream:
            counted = _QuoteCounter(stream)
            try:
                reader = pacsv.open_csv(
                    pa.PythonFile(counted, mode="r"),
                    read_options=pacsv.ReadOptions(use_threads=False, block_size=block),
                    parse_options=pacsv.ParseOptions(
                        delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=refuse
                    ),
                    convert_options=pacsv.ConvertOptions(
                        include_columns=names,
                        column_types={name: pa.string() for name in names},
                        null_values=sorted(MISSING_WORDS),
                        strings_can_be_null=True,
                        check_utf8=False,  # text in another encoding is refused later, as text
                    ),
                )
                for batch in reader:
                    yield batch.columns
            except pa.ArrowInvalid as error:
                if "Empty CSV" in str(error):
                    return  # a header and nothing below
                if ragged:
                    raise self._ragged(ragged[0]) from None
                if "straddling" in str(error):
                    raise TableError(
                        f'{self.path}: one row is longer than {block} bytes. Look for a quote (") that is never closed.'
                    ) from None
                raise
            # The parser accepts a quote that is never closed, with all rows after it in one value.
            if counted.quotes % 2 and self._ends_inside_quotes():
                raise TableError(f'{self.path}: a quote (") is opened and never closed. Close or remove it.')

    def _ragged(self, row: Any) -> TableError:
        where = self.row(row.number - 2) if row.number is not None else "a row"
        return TableError(
            f"{self.path}: {where} has {row.actual_columns} values where the header names "
            f"{row.expected_columns}: {clipped(row.text)}. Correct that line."
        )

    def _ends_inside_quotes(self) -> bool:
        """Whether the file ends inside a quoted value, according to the parser of Python."""
        with self._open_text() as file:
            try:
                for _ in csv.reader(file, delimiter=self.delimiter, strict=True):
                    pass
            except csv.Error as error:
                return "unexpected end" in str(error) or "larger than field limit" in str(error)
        return False


class _QuoteCounter(io.RawIOBase):
    """A stream that counts the quotes passing through: in a well-formed file their number is even."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self.quotes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        data: bytes = self._stream.read(BLOCK if size is None or size < 0 else size)
        self.quotes += data.count(b'"')
        return data


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

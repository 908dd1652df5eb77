"""Tables in and out: CSV, TSV, Parquet and Feather as float64 arrays, whole or streamed."""

from pushforward.data.columns import NotNumbersError
from pushforward.data.formats import TableError, format_of
from pushforward.data.table import Table, check_not_constant, column_names, read_table, stream_table
from pushforward.data.writing import TableWriter

__all__ = [
    "NotNumbersError",
    "Table",
    "TableError",
    "TableWriter",
    "check_not_constant",
    "column_names",
    "format_of",
    "read_table",
    "stream_table",
]

"""Tables in and out: CSV, TSV, Parquet and Feather, whole or streamed; what their columns are, and as numbers."""

from pushforward.data.dialect import TableFile
from pushforward.data.formats import TableError, format_of
from pushforward.data.reader import column_names, read_arrow, read_numbers, stream_arrow
from pushforward.data.schema import Schema
from pushforward.data.writing import TableWriter

__all__ = [
    "Schema",
    "TableError",
    "TableFile",
    "TableWriter",
    "column_names",
    "format_of",
    "read_arrow",
    "read_numbers",
    "stream_arrow",
]

"""Tables in and out, whole or streamed: CSV, TSV, Parquet and Feather; what their columns are. Images in."""

from pushforward.data.dialect import TableFile
from pushforward.data.formats import TableError, format_of
from pushforward.data.image_error import ImageError
from pushforward.data.images import Images, read_images
from pushforward.data.reader import column_names, read_arrow, read_numbers, stream_arrow
from pushforward.data.schema import Schema
from pushforward.data.writing import TableWriter
from pushforward.distributions import Circular

__all__ = [
    "Circular",
    "ImageError",
    "Images",
    "Schema",
    "TableError",
    "TableFile",
    "TableWriter",
    "column_names",
    "format_of",
    "read_arrow",
    "read_images",
    "read_numbers",
    "stream_arrow",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

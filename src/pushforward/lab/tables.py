"""Tables that a browser sends: read by the library's own reader, from a file that exists as long as that takes."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.data import TableError, read_arrow
from pushforward.data.formats import format_of
from pushforward.data.frame import raw_columns
from pushforward.lab.arguments import LARGEST, LabError
from pushforward.lab.unpacked import refuse_large

__all__ = ["MOST_BYTES", "MOST_POINTS", "OpenTable", "read_table"]

MOST_BYTES = 20 * 2**20
MOST_POINTS = 5_000
"""Points of two columns; of longer tables a random part."""
BAD_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOENT)
"""Errors of a system that has no file of such a name."""


def read_table(name: str, content: bytes) -> Any:
    """The table in a file, as an Arrow table.

    Args:
        name: of the file, whose suffix decides the format, and which sentences mention.
        content: of the file.

    Raises:
        TableError: the suffix is none of a table, or the content is too large or cannot be read.
    """
    plain = name.replace("\\", "/").rpartition("/")[2][-100:] or "table"
    format_of(plain)
    with tempfile.TemporaryDirectory(prefix="flow-lab-") as folder:
        path = Path(folder, plain.replace("\0", ""))
        try:
            path.write_bytes(content)
        except UnicodeEncodeError:
            raise TableError("There can be no file of this name.") from None
        except OSError as error:
            if error.errno in BAD_NAME:
                raise TableError(f"{plain}: no file of this name can be written. Rename it.") from None
            why = error.strerror or type(error).__name__
            raise TableError(f"{plain}: cannot be kept in the folder for temporary files ({why}).") from None
        try:
            refuse_large(path)
            return read_arrow(path)
        except TableError as error:
            raise TableError(str(error).replace(str(path), plain)) from None
        except OSError as error:
            raise TableError(f"{plain}: cannot be read ({error.strerror or type(error).__name__}).") from None


@dataclass(frozen=True, eq=False)
class OpenTable:
    """The numeric columns of a table.

    Attributes:
        name: of the file.
        columns: (rows,) each, NaN where an entry is missing.
        rows: number of rows.
    """

    name: str
    columns: dict[str, NDArray[np.float64]]
    rows: int

    @classmethod
    def of(cls, name: str, table: Any) -> OpenTable:
        """The columns of an Arrow table that hold more than one number.

        Raises:
            LabError: there are fewer than two of them.
        """
        columns, odd = {}, []
        for j in range(table.num_columns):
            try:
                raw = raw_columns(table.select([j]))[0]
            except (TableError, TypeError) as error:
                odd.append(str(error).replace("the table:", f"{name}:", 1))
                continue
            except (OverflowError, ValueError):  # times that no calendar has
                odd.append(f"{name}: column {table.column_names[j]!r} holds values that cannot be read. Leave it out.")
                continue
            if raw.kind == "number" and raw.values is not None and _varies(raw.values):
                columns[raw.name] = raw.values
        if len(columns) < 2:
            few = f"{name}: two columns of numbers are needed; the table has {len(columns)}."
            raise LabError(odd[0] if odd else few)
        return cls(name, columns, table.num_rows)

    def points(self, x: str, y: str) -> tuple[NDArray[np.float64], int]:
        """Two columns side by side as they are, (rows, 2), and how many rows are left out, in which one of them is
        missing or beyond `LARGEST`.

        Raises:
            LabError: there is no such column, or no row that has both.
        """
        names: Sequence[str] = list(self.columns)
        for name in (x, y):
            if name not in self.columns:
                shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
                raise LabError(f"{self.name}: there is no column {name!r} of numbers. Those are {shown}.")
        rows = np.stack([self.columns[x], self.columns[y]], axis=1)
        complete = rows[np.isfinite(rows).all(axis=1)]
        rows = complete[(np.abs(complete) <= LARGEST).all(axis=1)]
        left_out = self.rows - len(rows)
        if not len(rows):
            limit = f" from -{LARGEST:g} to {LARGEST:g}" if len(complete) else ""
            raise LabError(f"{self.name}: no row has a number{limit} in both {x!r} and {y!r}.")
        if len(rows) > MOST_POINTS:
            rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), MOST_POINTS, replace=False))]
        return rows, left_out


def _varies(values: NDArray[np.float64]) -> bool:
    usable = values[np.isfinite(values)]
    return len(usable) > 1 and bool((usable != usable[0]).any())

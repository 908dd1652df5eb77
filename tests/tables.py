"""Tables of numbers as the tests compare them."""

from typing import NamedTuple

import numpy as np

from pushforward.data import column_names, read_numbers


class Numbers(NamedTuple):
    """The columns of a table."""

    names: tuple[str, ...]
    values: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.values)


def read_table(path, columns=None) -> Numbers:
    """The numbers of a table, (rows, columns)."""
    return Numbers(tuple(columns or column_names(path)), read_numbers(path, columns))

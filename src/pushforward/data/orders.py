"""Orders of categories: declared by the user from the lowest to the highest, or alphabetical where none is."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from pushforward.data.formats import TableError
from pushforward.distributions import ColumnType

__all__ = ["ORDINAL", "TypeSpec", "declared_order", "shown_order", "warn_alphabetical"]

TypeSpec = ColumnType | str | Sequence[Any]
"""What a user may declare for a column: a type, the name of one, or all of its values from the lowest to the highest.
"""
ORDINAL = "ordinal:"
"""What a declared order begins with, where it is one text: ``"ordinal:small<medium<large"``."""
SHOWN = 12


def declared_order(name: str, declared: str | Sequence[Any], values: Iterable[Any]) -> list[Any]:
    """The categories of a column from the lowest to the highest.

    Args:
        name: of the column.
        declared: the values, or ``"ordinal:"`` and the values between colons or less-than signs. Values of the table
            may hold such signs themselves.
        values: the values of the table.

    Raises:
        TableError: a value is named twice, or one of the table is not named.

    >>> declared_order("age", "ordinal:<18<18-65<65+", ["18-65", "65+", "<18"])
    ['<18', '18-65', '65+']
    """
    by_text = {str(value): value for value in values}
    if isinstance(declared, str):
        texts = _parts(declared[len(ORDINAL) :], by_text)
    else:
        texts = [str(value) for value in declared]
    if twice := [text for k, text in enumerate(texts) if text in texts[:k]]:
        raise TableError(f"types: column {name!r}: the order names {twice[0]!r} twice. Name it once.")
    if absent := [text for text in by_text if text not in texts]:
        raise TableError(
            f"types: column {name!r} holds {', '.join(map(repr, absent[:5]))}{', ...' * (len(absent) > 5)}, which the "
            f"order {' < '.join(texts[:SHOWN])} lacks. Name all values, from the lowest to the highest, such as "
            f"{ORDINAL}{':'.join([*texts, *absent][:SHOWN])}."
        )
    # Of a column of numbers, a level that no row has is a number as well.
    numbers = by_text and not any(isinstance(value, str) for value in by_text.values())
    return [by_text.get(text, _number(text) if numbers else text) for text in texts]


def _parts(text: str, values: Iterable[str]) -> list[str]:
    """The texts between colons or less-than signs, where values of the table are taken as they are."""
    of_table = "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True) if value)
    one = re.compile(rf"\s*({of_table}|[^<:]+?)\s*(?:[<:]|$)" if of_table else r"\s*([^<:]+?)\s*(?:[<:]|$)")
    parts, place = [], 0
    while place < len(text):
        if (piece := one.match(text, place)) is None:  # an empty name
            place += 1
            continue
        parts.append(piece[1])
        place = piece.end()
    return parts


def _number(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def shown_order(labels: Sequence[Any]) -> str:
    """Categories from the lowest to the highest, as the end of a sentence."""
    shown = " < ".join(str(label) for label in labels[:SHOWN])
    return f"order: {shown}{f' < ... ({len(labels)} in all)' if len(labels) > SHOWN else ''}"


def warn_alphabetical(name: str, labels: Sequence[Any]) -> None:
    """Warn that text without a declared order was sorted, which is seldom its order."""
    if len(labels) < 2 or not any(isinstance(label, str) for label in labels):
        return
    warnings.warn(
        f"column {name!r}: text is ordered alphabetically, {' < '.join(map(str, labels[:SHOWN]))}"
        f"{' < ...' * (len(labels) > SHOWN)}. If that is wrong, declare the order from the lowest to the highest: "
        f"{ORDINAL}{':'.join(map(str, [labels[-1], *labels[:-1]][:SHOWN]))}, for instance.",
        UserWarning,
        stacklevel=6,
    )

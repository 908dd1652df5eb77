"""Numbers that are stored as text: with a currency, a percent sign or another unit, or signs between thousands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ODD_WORDS", "Quantity", "quantity_of"]

ODD_WORDS = frozenset({
    "", "-", "--", ".", "..", "n.a.", "n.a", "n/a", "na", "nan", "null", "nil", "none", "missing", "unknown",
    "undefined", "#div/0!", "#n/a", "#value!", "#ref!", "#num!", "#name?", "<na>", "?", "\u2013", "\u2014",
})  # fmt: skip
"""What stands for a missing value in a column of numbers or dates, in lower case."""
SHARE = 0.95
"""Of the values, from which on a column of text holds numbers."""
CURRENCIES = frozenset({
    "$", "€", "£", "¥", "₹", "₽", "₩", "₺", "₫", "₴", "₦", "฿", "R$", "US$", "A$", "C$", "Fr", "Fr.", "SFr.", "kr",
    "kr.", "zł", "Kč", "Ft", "USD", "EUR", "GBP", "CHF", "JPY", "CNY", "INR", "AUD", "CAD", "NZD", "SEK", "NOK",
    "DKK", "PLN",
    "CZK", "HUF", "RUB", "TRY", "BRL", "MXN", "ZAR", "KRW", "SGD", "HKD", "THB", "ILS",
})  # fmt: skip
UNITS = CURRENCIES | {
    "%", "‰", "°", "°C", "°F", "K", "kg", "g", "mg", "t", "lb", "lbs", "oz", "km", "m", "cm", "mm", "ft", "in", "mi",
    "l", "L", "ml", "h", "hrs", "min", "s", "sec", "ms", "kWh", "kW", "MW", "W", "V", "A", "Hz", "kHz", "MHz",
    "GHz", "kB",
    "MB", "GB", "TB", "km/h", "mph", "bar", "hPa", "Pa", "kPa", "ppm",
}  # fmt: skip
_SIGNS = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'"})
_SPLIT = re.compile(
    r"^(?P<before>[^\d+\-.,\s]*)(?P<gap>\s*)(?P<number>[+-]?[\d.,' ]*\d(?:[eE][+-]?\d+|\.)?)(?P<after>\s*\D*)$"
)
_THOUSANDS = re.compile(r"^[+-]?\d{1,3}(?:([,.' ])\d{3})(?:\1\d{3})*(?:([.,])\d+)?$")
_PLAIN = re.compile(r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
_COMMA = re.compile(r"^[+-]?\d*,\d+$")
_WITH_COMMA = re.compile(r"^[+-]?(?:\d{1,3}(?:([.' ])\d{3})(?:\1\d{3})*|\d*)(?:,\d+)?(?:[eE][+-]?\d+)?$")
_CODE = re.compile(r"^0\d+$")


@dataclass(frozen=True)
class Quantity:
    """How a column writes its numbers.

    Attributes:
        before: what stands before a number, such as ``"$"`` or ``"CHF "``.
        after: what stands after it, such as ``"%"``.
        decimals: the largest number of decimals seen.
        decimal: the sign between whole part and fraction, ``"."`` or ``","``.
    """

    before: str = ""
    after: str = ""
    decimals: int = 0
    decimal: str = "."

    def read(self, text: str) -> float | None:
        """The number that a text stands for, with this unit or without; None if it is none."""
        split = _split(text, self.decimal)
        if split is None:
            return None
        unit = split[0].strip(), split[2].strip()
        return split[1] if unit in ((self.before.strip(), self.after.strip()), ("", "")) else None

    def write(self, number: float) -> str:
        """A number in this notation."""
        sign = "-" if round(number, self.decimals) < 0 else ""
        digits = f"{abs(number):.{self.decimals}f}".replace(".", self.decimal)
        return f"{sign}{self.before}{digits}{self.after}"


def quantity_of(texts: Sequence[str]) -> tuple[Quantity, list[str]] | None:
    """The notation of a column of text that holds numbers, and its values that are none; None for other text."""
    words = [text for text in texts if text.lower() not in ODD_WORDS]
    decimal = "," if any(_shows_comma(text) for text in set(words)) else "."
    splits = {text: _split(text, decimal) for text in set(words)}
    counts = Counter((split[0], split[2]) for text in words if (split := splits[text]) is not None)
    if not counts or any(_CODE.match(text) for text in splits):
        return None
    before, after = max(counts, key=lambda unit: (counts[unit], unit))
    if (before, after) == ("", "") and len(counts) == 2:  # some with their unit and most without
        before, after = next(unit for unit in counts if unit != ("", ""))
    allowed = {(before, after), ("", "")}
    fits = {text: split for text, split in splits.items() if split is not None and (split[0], split[2]) in allowed}
    if sum(text in fits for text in words) < SHARE * len(words):
        return None
    decimals = max(split[3] for split in fits.values())
    return Quantity(before, after, decimals, decimal), [t for t in words if t not in fits]


def _shows_comma(text: str) -> bool:
    """Whether a number can only be written with a decimal comma: ``0,5`` or ``0,512``, but not ``1,234``."""
    match = _SPLIT.match(text.translate(_SIGNS).strip().strip("()-"))
    number = "" if match is None else match["number"].strip()
    whole, comma, fraction = number.rpartition(",")
    return bool(comma) and "." not in fraction and "," not in whole and (
        len(fraction) != 3 or whole.lstrip("+-") in ("", "0") or "." in whole
    )  # fmt: skip


def _split(text: str, decimal: str = ".") -> tuple[str, float, str, int] | None:
    """(the unit before, the number, the unit after, its decimals); None for text that is no number."""
    text = text.translate(_SIGNS).strip()
    negative = (text.startswith("(") and text.endswith(")")) or re.match(r"^-\s*[^\d.,\s]", text) is not None
    match = _SPLIT.match(text.strip("()")[text.startswith("-") :].strip() if negative else text)
    if match is None:
        return None
    before, after = match["before"], match["after"].strip()
    plain = _as_plain(match["number"].strip(), decimal)
    if plain is None or (before and before not in CURRENCIES) or (after and after not in UNITS):
        return None
    decimals = 0 if "e" in plain.lower() else len(plain.partition(".")[2])
    spaced = " " if match["after"][:1].isspace() else ""
    number = -float(plain) if negative else float(plain)
    return before + (" " if before and match["gap"] else ""), number, (spaced + after) if after else "", decimals


def _as_plain(number: str, decimal: str = ".") -> str | None:
    """A number with a decimal point and nothing between thousands."""
    if decimal == ",":  # of the whole column
        whole = _WITH_COMMA.match(number)
        return None if whole is None else re.sub(r"[.' ]", "", number).replace(",", ".")
    if _PLAIN.match(number):
        return number
    if grouped := _THOUSANDS.match(number):
        separator, decimal = grouped[1], grouped[2]
        return None if decimal == separator else number.replace(separator, "").replace(",", ".")
    return number.replace(",", ".") if _COMMA.match(number) else None

"""What a mixed-type model refuses: arguments, and gaps that a model of a fixed order has not learned to leave out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pushforward.core.checks import one_of
from pushforward.distributions.columns.column_type import ColumnType

__all__ = ["check_columns", "check_order", "refuse_fixed", "refuse_gaps", "refuse_unseen_gaps"]


def check_columns(
    columns: Sequence[ColumnType], context: Sequence[ColumnType], hide_context: float, order: str, linear: str
) -> None:
    """Refuse arguments of the model that are not types of single columns, not a share, or no choice that there is."""
    one_of("MixedTypeModel", "order", order, ("any", "fixed"))
    one_of("MixedTypeModel", "linear", linear, ("reals", "categories", "all"))
    if not 0 <= hide_context <= 1:
        raise ValueError(f"MixedTypeModel: hide_context must be a share from 0 to 1; got {hide_context!r}.")
    if not columns or not all(isinstance(column, ColumnType) for column in columns):
        raise ValueError(f"MixedTypeModel: columns must be one or more types, such as Continuous(); got {columns!r}.")
    if not all(isinstance(column, ColumnType) for column in context):
        raise ValueError(f"MixedTypeModel: context must be types, such as Continuous(); got {context!r}.")
    if any(column.columns != 1 for column in [*context, *columns]):
        raise ValueError("MixedTypeModel: each of columns must be one column; leave columns= of the types out.")


def check_order(order: Sequence[int], columns: int, kind: str) -> None:
    """Refuse what is no order of so many columns, and with ``kind="fixed"`` all but theirs."""
    if sorted(order) != list(range(columns)):
        raise ValueError(f"MixedTypeModel: order must rearrange 0 .. {columns - 1}; got {list(order)}.")
    if kind == "fixed" and list(order) != list(range(columns)):
        raise ValueError(
            'MixedTypeModel: this model has one order of its columns. Build it with order="any" for others.'
        )


def refuse_fixed(order: str, what: str, remedy: str = "") -> None:
    """Refuse a method that conditions columns on later ones where a model has one order."""
    if order == "fixed":
        raise ValueError(
            f"MixedTypeModel: {what} conditions on any columns, and with a fixed order only those before can be given. "
            f'Build the model with order="any"{remedy}.'
        )


def refuse_gaps(order: str, observed: Tensor, allowed: Tensor | None = None) -> None:
    """With a fixed order, refuse rows in which a missing entry stands before an observed one: the network has not
    learned the distributions of later columns without it.

    Args:
        order: ``"any"`` or ``"fixed"``.
        observed: (*batch, columns), false where an entry is missing.
        allowed: (columns,), true for columns whose gaps were learned from.

    Raises:
        ValueError: naming the first such column.
    """
    if order != "fixed":
        return
    followed = observed.flip(-1).cummax(dim=-1).values.flip(-1)  # an entry is observed here or after
    gaps = ~observed & followed
    gaps = gaps if allowed is None else gaps & ~allowed
    if bool(gaps.any()):
        j = int(gaps.reshape(-1, gaps.shape[-1]).any(dim=0).nonzero()[0, 0])
        raise ValueError(
            f"MixedTypeModel: column {j} is missing in a row where later columns are observed, which a model with "
            'order="fixed" has not learned. Fill it in, or build the model with order="any".'
        )


def refuse_unseen_gaps(places: Sequence[int], missing: Tensor, had_gaps: Tensor) -> None:
    """Refuse rows with a missing entry in a column that had none when its model was fitted, where what depends on the
    column was never learned without it.

    Args:
        places: the numbers of the columns, for the message.
        missing: (*batch, columns), true where an entry is missing.
        had_gaps: (columns,), true for columns that had missing entries.
    """
    unseen = missing & ~had_gaps
    if bool(unseen.any()):
        j = int(unseen.reshape(-1, unseen.shape[-1]).any(dim=0).nonzero()[0, 0])
        raise ValueError(
            f"MixedFlow: column {places[j]} is missing in a row, which no row was when the model was fitted. Fill it "
            "in, or fit a MixedTypeModel, which takes rows with any gaps."
        )

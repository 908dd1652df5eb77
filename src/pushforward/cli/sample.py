"""``pushforward sample`` for named flows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pushforward.cli.common import listed, refuse_same_file, say
from pushforward.cli.model import TableModel, block_rows
from pushforward.cli.options import parse_assignments
from pushforward.core.files import check_writable
from pushforward.data import TableWriter

__all__ = ["sample"]


def sample(model: str, out: str, rows: int, conditions: Sequence[str], seed: int) -> dict[str, Any]:
    """Write ``rows`` samples; for a conditional model, with the columns of the context."""
    refuse_same_file("--out", out, model)
    check_writable(out)
    fitted = TableModel.load(model)
    values = context_values(fitted, conditions)
    writer = TableWriter(out, fitted.names)
    generator = torch.Generator().manual_seed(seed)
    block, undefined = block_rows(fitted.flow), 0
    context = torch.tensor(list(values.values()), dtype=torch.float64) if values else None
    if context is not None:
        context = context.to(fitted.flow.context_dtype)
    with torch.no_grad(), writer as target:
        for start in range(0, rows, block):
            size = min(block, rows - start)
            x = fitted.flow.sample((size,), context, generator=generator).to(torch.float64).numpy()
            undefined += int((~np.isfinite(x).all(axis=1)).sum())
            target.write(np.hstack([x, np.tile(list(values.values()), (size, 1))]) if values else x)
    if undefined:
        say(f"{undefined} of {rows} rows hold NaN or an infinity: the inverse of the flow did not converge there.")
    return {"out": out, "rows": rows, "columns": fitted.names, "given": values, "seed": seed}


def context_values(model: TableModel, conditions: Sequence[str]) -> dict[str, float]:
    """``temp=20,hour=12`` as numbers, in the order of the context columns.

    Raises:
        ValueError: a name is unknown, missing or repeated, or a value is not a finite number.
    """
    if not model.context_columns:
        if conditions:
            raise ValueError(
                f"--given: {model.path} is a model of all its columns together and takes no values of them. "
                "To sample some columns given others, fit with --given."
            )
        return {}
    texts = parse_assignments(
        "--given",
        conditions,
        model.context_columns,
        where=model.path,
        noun="conditioning column",
        form="COLUMN=NUMBER, several separated by commas",
    )
    values: dict[str, float] = {}
    for name, text in texts.items():
        try:
            values[name] = float(text)
        except ValueError:
            raise ValueError(f"--given: {name!r} must be a number; got {text!r}.") from None
        if not math.isfinite(values[name]):
            raise ValueError(f"--given: {name!r} must be a finite number; got {text!r}.")
    missing = [name for name in model.context_columns if name not in values]
    if missing:
        every = ",".join(f"{name}=NUMBER" for name in model.context_columns)
        raise ValueError(f"--given: a value of {listed(missing)} is missing. Write --given {every}.")
    return {name: values[name] for name in model.context_columns}

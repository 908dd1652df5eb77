"""``pushforward sample``: new rows, drawn from the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pushforward.cli.common import listed, refuse_same_file, say, suggestion
from pushforward.cli.model import TableModel, block_rows
from pushforward.core.files import check_writable
from pushforward.data import TableWriter

__all__ = ["sample"]


def sample(model: str, out: str, rows: int, given: Sequence[str], seed: int) -> dict[str, Any]:
    """Write ``rows`` drawn rows; for a conditional model the given columns stand beside them."""
    refuse_same_file("--out", out, model)
    check_writable(out)
    known = TableModel.load(model)
    values = given_values(known, given)
    writer = TableWriter(out, known.names)
    generator = torch.Generator().manual_seed(seed)
    block, undefined = block_rows(known.flow), 0
    context = torch.tensor(list(values.values()), dtype=torch.float64) if values else None
    if context is not None:
        context = context.to(known.flow.context_dtype)
    with torch.no_grad(), writer as target:
        for start in range(0, rows, block):
            size = min(block, rows - start)
            x = known.flow.sample((size,), context, generator=generator).to(torch.float64).numpy()
            undefined += int((~np.isfinite(x).all(axis=1)).sum())
            target.write(np.hstack([x, np.tile(list(values.values()), (size, 1))]) if values else x)
    if undefined:
        say(f"{undefined} of {rows} rows hold a value that is not finite: the model's map has no inverse there.")
    return {"out": out, "rows": rows, "columns": known.names, "given": values, "seed": seed}


def given_values(model: TableModel, given: Sequence[str]) -> dict[str, float]:
    """``temp=20,hour=12`` as numbers in the order of the model's context.

    Raises:
        ValueError: a name is unknown, missing or repeated, or a value is no finite number.
    """
    if not model.given:
        if given:
            raise ValueError(
                f"--given: {model.path} models all its columns together and takes no given values. "
                "To draw some columns given others, fit with --given."
            )
        return {}
    found: dict[str, float] = {}
    for pair in (pair.strip() for text in given for pair in text.split(",")):
        name, equals, value = pair.rpartition("=")
        name = name.strip()
        if not equals or not name:
            raise ValueError(f"--given: write NAME=NUMBER, several with commas; got {pair!r}.")
        if name not in model.given:
            what = "is one that it draws" if name in model.columns else "is unknown to it"
            raise ValueError(
                f"--given: {model.path} was fitted given {listed(model.given)}; {name!r} {what}."
                f"{suggestion(name, model.given)}"
            )
        if name in found:
            raise ValueError(f"--given: {name!r} has two values. Give one.")
        try:
            found[name] = float(value)
        except ValueError:
            raise ValueError(f"--given: {name!r} must be a number; got {value.strip()!r}.") from None
        if not math.isfinite(found[name]):
            raise ValueError(f"--given: {name!r} must be a finite number; got {value.strip()!r}.")
    missing = [name for name in model.given if name not in found]
    if missing:
        every = ",".join(f"{name}=NUMBER" for name in model.given)
        raise ValueError(f"--given: the model needs a value of {listed(missing)} too: --given {every}.")
    return {name: found[name] for name in model.given}

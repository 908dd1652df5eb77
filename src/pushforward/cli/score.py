"""``pushforward score`` for named flows: the log-density of every row, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.cli.common import refuse_same_file, say
from pushforward.cli.model import TableModel, block_rows, note_ignored
from pushforward.core.exactness import Exactness
from pushforward.core.files import check_writable
from pushforward.data import TableWriter, stream_table

__all__ = ["score", "write_scores"]


def score(model: str, table: str, out: str) -> dict[str, Any]:
    """Write one column, ``log_density`` in nats, in the order of the rows."""
    refuse_same_file("--out", out, model, table)
    check_writable(out)
    fitted = TableModel.load(model)
    note_ignored(table, fitted.names)
    blocks = stream_table(table, fitted.names, rows=block_rows(fitted.flow))

    def densities() -> Iterator[NDArray[np.float64]]:
        with torch.no_grad():
            for values in blocks:
                x, context = fitted.tensors(values)
                yield fitted.flow.log_prob(x, context).to(torch.float64).numpy()

    return write_scores(out, densities(), fitted.flow.exactness)


def write_scores(out: str, blocks: Iterable[NDArray[np.float64]], exactness: Exactness = "exact") -> dict[str, Any]:
    """Write log-densities block by block; returns their number and mean."""
    rows, finite, total = 0, 0, 0.0
    with TableWriter(out, ["log_density"]) as target:
        for densities in blocks:
            target.write(densities[:, None])
            good = np.isfinite(densities)
            rows, finite, total = rows + len(densities), finite + int(good.sum()), total + float(densities[good].sum())
    if finite < rows:
        say(f"{rows - finite} of {rows} rows have no finite log-density.")
    mean = total / finite if finite else math.nan
    return {"out": out, "rows": rows, "finite": finite, "mean_log_density": mean, "exactness": exactness}

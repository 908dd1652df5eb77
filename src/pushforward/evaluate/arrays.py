"""Rows in and out of a model: numpy or torch, in batches, with the model left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pushforward.core.distribution import Distribution
from pushforward.distributions import MixedTypeModel

__all__ = ["Floats", "Rows", "as_rows", "evaluation_mode", "log_prob_in_batches", "sample_in_batches", "to_model"]

Floats = NDArray[np.float64]
Rows = Tensor | NDArray[Any]


def as_rows(owner: str, name: str, values: Rows) -> Floats:
    """Values as a float64 array of shape (rows, columns); further axes of an event are flattened, a vector is a column.

    Raises:
        ValueError: there is no first axis, or no row.
    """
    found = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    array = found.astype(np.float64, copy=False)
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"{owner}: {name} must have at least one row; got shape {array.shape}.")
    return array.reshape(len(array), -1)


def check_paired(owner: str, x: Rows, context: Rows | None) -> None:
    """Refuse a context that does not have one row per row of x."""
    if len(x) == 0:
        raise ValueError(f"{owner}: x must have at least one row; got shape {tuple(x.shape)}.")
    if context is not None and len(context) != len(x):
        raise ValueError(f"{owner}: x has {len(x)} rows but context has {len(context)}; give one context per row.")


def to_model(model: Distribution, x: Rows, context: Rows | None) -> tuple[Tensor, Tensor | None]:
    """x and context as tensors of the model's own dtypes, on its device."""
    device = next((t.device for t in [*model.parameters(), *model.buffers()]), torch.device("cpu"))
    moved = _moved(x, model.dtype, device)
    return moved, None if context is None else _moved(context, model.context_dtype, device)


def _moved(values: Rows, dtype: torch.dtype | None, device: torch.device) -> Tensor:
    if isinstance(values, np.ndarray) and not values.flags.writeable:
        values = values.copy()  # such as pandas gives; torch warns of them
    tensor = torch.as_tensor(values)
    if dtype is None and not tensor.is_floating_point():
        dtype = torch.get_default_dtype()
    return tensor.to(device=device, dtype=dtype or tensor.dtype)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Dropout and the like off inside the block; every part gets its own mode back, also after an error."""
    modes = [(part, part.training) for part in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode  # not part.train(mode), which would overwrite the modes of its children


def log_prob_in_batches(model: Distribution, x: Rows, context: Rows | None = None, *, batch_size: int = 8192) -> Floats:
    """The log-density of every row, in memory that does not grow with the number of rows (but for the answer).

    Args:
        model: any distribution.
        x: (rows, *event_shape), numpy or torch, of any floating dtype; batches are converted to the model's own.
        context: (rows, *context_shape), for a conditional model.
        batch_size: rows a batch.

    Returns:
        (rows,) float64, in nats: ``-inf`` outside the support and NaN where a row holds NaN; of
        `MixedTypeModel` the density of the entries that are there.

    Raises:
        ValueError: shapes do not fit the model, or x and context differ in their number of rows.

    >>> from pushforward.distributions import StandardNormal
    >>> log_prob_in_batches(StandardNormal(1), np.zeros((3, 1)), batch_size=2).round(3).tolist()
    [-0.919, -0.919, -0.919]
    """
    check_paired("log_prob_in_batches", x, context)
    if batch_size < 1:
        raise ValueError(f"log_prob_in_batches: batch_size must be at least 1; got {batch_size}.")
    answer = np.empty(len(x))
    with torch.no_grad(), evaluation_mode(model):
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            batch, known = to_model(model, x[rows], None if context is None else context[rows])
            found = (
                model.log_marginal(batch, context=known)
                if isinstance(model, MixedTypeModel)
                else model.log_prob(batch, known)
            )
            answer[rows] = found.cpu().numpy()
    return answer


def sample_in_batches(
    model: Distribution, rows: int, context: Rows | None = None, *, seed: int = 0, batch_size: int = 8192
) -> Floats:
    """Draw rows, one per row of context where there is one, the same for the same seed.

    Returns:
        (rows, *event_shape) float64.
    """
    if context is not None and len(context) != rows:
        raise ValueError(f"sample_in_batches: {rows} rows need as many contexts; got {len(context)}.")
    drawn = []
    with torch.no_grad(), evaluation_mode(model):
        device = next((t.device for t in [*model.parameters(), *model.buffers()]), torch.device("cpu"))
        generator = torch.Generator(device).manual_seed(seed)
        for start in range(0, rows, batch_size):
            stop = min(start + batch_size, rows)
            if context is None:
                piece = model.sample(stop - start, generator=generator)
            else:
                known = _moved(context[start:stop], model.context_dtype, device)
                piece = model.sample((), known, generator=generator)
            drawn.append(piece.cpu().numpy().astype(np.float64))
    return np.concatenate(drawn) if drawn else np.empty((0, *model.event_shape))

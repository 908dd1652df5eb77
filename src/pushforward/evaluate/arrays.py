"""Batched scoring and sampling of numpy or torch rows; the training mode of the model is restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pushforward.core.distribution import Distribution
from pushforward.evaluate.abilities import HasMarginals

__all__ = ["Floats", "Rows", "as_rows", "evaluation_mode", "log_prob_in_batches", "sample_in_batches", "to_model"]

Floats = NDArray[np.float64]
Rows = Tensor | NDArray[Any]


def as_rows(owner: str, name: str, values: Rows) -> Floats:
    """Values as a float64 array of shape (rows, columns); further axes of an event are flattened, a vector is a column.

    Raises:
        ValueError: the array is a scalar or has no row.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    array = array.astype(np.float64, copy=False)
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"{owner}: {name} must have at least one row; got shape {array.shape}.")
    return array.reshape(len(array), -1)


def check_paired(owner: str, x: Rows, context: Rows | None) -> None:
    """Raise a ValueError unless x has rows and the context, if any, has as many."""
    if len(x) == 0:
        raise ValueError(f"{owner}: x must have at least one row; got shape {tuple(x.shape)}.")
    if context is not None and len(context) != len(x):
        raise ValueError(
            f"{owner}: x has {len(x)} rows but context has {len(context)}; give one row of context per row of x."
        )


def to_model(model: Distribution, x: Rows, context: Rows | None) -> tuple[Tensor, Tensor | None]:
    """x and context as tensors of the model's dtypes, on its device."""
    device = _device_of(model)
    moved = _to_tensor(x, model.dtype, device)
    return moved, None if context is None else _to_tensor(context, model.context_dtype, device)


def _device_of(model: nn.Module) -> torch.device:
    return next((t.device for t in [*model.parameters(), *model.buffers()]), torch.device("cpu"))


def _to_tensor(values: Rows, dtype: torch.dtype | None, device: torch.device) -> Tensor:
    if isinstance(values, np.ndarray) and not values.flags.writeable:
        values = values.copy()  # pandas returns read-only arrays, about which torch warns
    tensor = torch.as_tensor(values)
    if dtype is None and not tensor.is_floating_point():
        dtype = torch.get_default_dtype()
    return tensor.to(device=device, dtype=dtype or tensor.dtype)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout) inside the block; every module's own mode is restored, also after an error."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode  # not module.train(mode), which would overwrite the modes of its children


def log_prob_in_batches(model: Distribution, x: Rows, context: Rows | None = None, *, batch_size: int = 8192) -> Floats:
    """The log-density of every row, computed in batches, so that memory grows with the number of rows by the result
    alone.

    Args:
        model: any distribution.
        x: (rows, *event_shape), numpy or torch, of any floating dtype; batches are converted to the model's own.
        context: (rows, *context_shape), for a conditional model.
        batch_size: rows per batch.

    Returns:
        (rows,) float64, in nats: ``-inf`` outside the support and NaN where a row holds NaN. A model that
        has marginal densities takes NaN for a missing entry and gives the marginal density of the observed ones.

    Raises:
        ValueError: shapes do not fit the model, or x and context differ in their number of rows.

    >>> from pushforward.distributions import StandardNormal
    >>> log_prob_in_batches(StandardNormal(1), np.zeros((3, 1)), batch_size=2).round(3).tolist()
    [-0.919, -0.919, -0.919]
    """
    check_paired("log_prob_in_batches", x, context)
    if batch_size < 1:
        raise ValueError(f"log_prob_in_batches: batch_size must be at least 1; got {batch_size}.")
    log_prob = np.empty(len(x))
    with torch.no_grad(), evaluation_mode(model):
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            batch, batch_context = to_model(model, x[rows], None if context is None else context[rows])
            if isinstance(model, HasMarginals):
                batch_log_prob = model.log_marginal(batch, context=batch_context)
            else:
                batch_log_prob = model.log_prob(batch, batch_context)
            log_prob[rows] = batch_log_prob.cpu().numpy()
    return log_prob


def sample_in_batches(
    model: Distribution, rows: int, context: Rows | None = None, *, seed: int = 0, batch_size: int = 8192
) -> Floats:
    """Draw samples in batches, one per row of the context if there is one; equal seeds give equal samples.

    Args:
        model: any distribution.
        rows: number of samples.
        context: (rows, *context_shape), for a conditional model.
        seed: of the random numbers.
        batch_size: rows per batch.

    Returns:
        (rows, *event_shape) float64.

    Raises:
        ValueError: the context has another number of rows.
    """
    if context is not None and len(context) != rows:
        raise ValueError(f"sample_in_batches: {rows} samples need {rows} rows of context; got {len(context)}.")
    batches = []
    with torch.no_grad(), evaluation_mode(model):
        device = _device_of(model)
        generator = torch.Generator(device).manual_seed(seed)
        for start in range(0, rows, batch_size):
            stop = min(start + batch_size, rows)
            if context is None:
                batch = model.sample(stop - start, generator=generator)
            else:
                batch_context = _to_tensor(context[start:stop], model.context_dtype, device)
                batch = model.sample((), batch_context, generator=generator)
            batches.append(batch.cpu().numpy().astype(np.float64))
    return np.concatenate(batches) if batches else np.empty((0, *model.event_shape))

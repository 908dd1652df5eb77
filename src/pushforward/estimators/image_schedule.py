"""How long and how fast models of images learn, where the user does not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pushforward.train import Soap

__all__ = ["image_rates", "image_schedule"]

DEFAULTS = {"batch_size": 64, "lr": 2e-3}
SHORT, IN_SHORT = 900.0, {"batch_size": 16, "lr": 3e-3}
"""Seconds below which steps are smaller: on a CPU they take a quarter of the time, and more of them learn more."""
WINDOWS, OF_WINDOWS = ("pixels", "window_flow"), {"batch_size": 16, "lr": 1e-2, "optimizer": Soap}
"""Models that are one network of windows, which bear a higher rate: 0.95 instead of 1.02 bits of MNIST after five
minutes. On a GPU steps are not smaller. With `Soap` `pixels` is at 0.946 bits after 500 steps, with AdamW at 0.966."""
STEPS = (1_000, 20_000)
"""Fewest and most steps of a run without a limit, which has 20 passes over the images otherwise."""


def image_rates(model: str, seconds: float | None = None, device: str | None = None) -> Mapping[str, Any]:
    """Size of a batch, learning rate and perhaps optimiser of a model of images, for so many seconds of training."""
    if model in WINDOWS:
        return OF_WINDOWS if device in (None, "cpu") else {**OF_WINDOWS, "batch_size": 64}
    return DEFAULTS if seconds is None or seconds >= SHORT else IN_SHORT


def image_schedule(model: str, images: int, device: str | None = None, **chosen: Any) -> dict[str, Any]:
    """Options of `fit` for so many training images.

    Args:
        model: name of the model.
        images: for training.
        device: of torch.
        chosen: what the user has chosen of ``steps``, ``epochs``, ``seconds``, ``batch_size``, ``lr`` and ``patience``;
            None for the default, and "auto" for that of ``patience``.
    """
    automatic, patience = chosen.get("patience") == "auto", chosen.pop("patience", None)
    rates = image_rates(model, chosen.get("seconds"), device)
    options = {**rates, **{name: value for name, value in chosen.items() if value is not None}}
    an_epoch = max(1, images // options["batch_size"])
    if all(chosen.get(limit) is None for limit in ("steps", "epochs", "seconds")):
        options["steps"] = int(np.clip(20 * an_epoch, *STEPS))
    every = int(np.clip(an_epoch, 25, 200))
    return {
        **options, "validate_every": every, "patience": max(20, 10 * an_epoch // every) if automatic else patience
    }  # fmt: skip

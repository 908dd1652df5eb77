"""Answers about maps and named distributions of two variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pushforward._version import __version__
from pushforward.distributions import Flow
from pushforward.lab.arguments import Arguments, LabError
from pushforward.lab.folder import ModelFolder
from pushforward.lab.maps import flow_json
from pushforward.lab.points import NAMED, distribution
from pushforward.lab.presets import PRESETS, preset_flow
from pushforward.lab.training_options import FAMILIES, UNIVARIATES

__all__ = ["MapAnswers"]

TRAINING = "training"
"""The name of the flow that is being trained."""
MOST_SAMPLES, FINEST = 20_000, 256


class MapAnswers:
    """Answers to ``info``, ``maps.*`` and ``data.*``.

    Args:
        files: of models, whose names are listed.
        ask_training: answers a question about the flow that is being trained, when its weights do not change.
    """

    def __init__(self, files: ModelFolder, ask_training: Callable[[Callable[[Flow], Any]], Any]) -> None:
        self._files, self._ask_training = files, ask_training

    def info(self, arguments: Arguments) -> dict[str, Any]:
        """What there is to choose from."""
        return {
            "version": __version__,
            "models": self._files.names(),
            "data": [
                {"name": name, "title": named.title, "entropy": named.entropy} for name, named in NAMED.items()
            ],
            "families": list(FAMILIES),
            "univariates": list(UNIVARIATES),
        }  # fmt: skip

    def presets(self, arguments: Arguments) -> dict[str, Any]:
        """Maps to look at, with the lines of Python that build them."""
        return {
            "presets": [
                {"name": name, "title": preset.title, "flow": flow_json(preset_flow(name)), "python": preset.lines}
                for name, preset in PRESETS.items()
            ]
        }

    def point(self, arguments: Arguments) -> dict[str, Any]:
        """Where a latent point goes, and the densities there, by the library itself."""
        name, z = arguments.choice("flow", (*PRESETS, TRAINING)), arguments.pair("z")

        def evaluate(flow: Flow) -> dict[str, Any]:
            with torch.no_grad():
                latent = torch.tensor(z, dtype=flow.base.dtype or torch.float32)
                x, ladj = flow.bijection.forward_and_ladj(latent)
                log_prob_z = float(flow.base.log_prob(latent))
                return {
                    "x": x.double().tolist(),
                    "log_prob_z": log_prob_z,
                    "ladj": float(ladj),
                    "log_prob": log_prob_z - float(ladj),
                }

        answer: dict[str, Any] = self._ask_training(evaluate) if name == TRAINING else evaluate(preset_flow(name))
        return answer

    def sample(self, arguments: Arguments) -> dict[str, Any]:
        """Points of a named distribution, and its entropy in nats."""
        name = arguments.choice("name", tuple(NAMED))
        n, seed = arguments.whole("n", 1, MOST_SAMPLES, 1_000), arguments.whole("seed", 0, 2**31 - 1, 0)
        points = distribution(name).sample(n, generator=torch.Generator().manual_seed(seed))
        return {"points": points.double().tolist(), "entropy": NAMED[name].entropy}

    def density(self, arguments: Arguments) -> dict[str, Any]:
        """The true density on a square grid, rows from below, at the middles of its cells."""
        name = arguments.choice("name", tuple(NAMED))
        low, high = arguments.pair("bounds")
        size = arguments.whole("size", 2, FINEST)
        if not low < high:
            raise LabError(f"data.density: bounds must be [low, high] with low < high; got [{low:g}, {high:g}].")
        cell = (high - low) / size
        axis = low + cell * (torch.arange(size, dtype=torch.float64) + 0.5)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        true = distribution(name)
        rows = torch.stack([x, y], dim=-1).reshape(-1, 2).to(true.dtype)
        with torch.no_grad():
            density = torch.cat([true.log_prob(some) for some in rows.split(16_384)]).exp()
        return {"density": density.double().reshape(size, size).tolist()}

"""Train the flow of the preset "Trained on two moons": ``python -m pushforward.lab.flows.make``, in about a minute."""

from __future__ import annotations

import torch

from pushforward.distributions import targets
from pushforward.io import save
from pushforward.lab.points import NAMED
from pushforward.lab.presets import TRAINED, trained_architecture
from pushforward.train import fit

__all__ = ["make"]

SECONDS = 50.0


def make() -> None:
    """Write ``moons.safetensors`` beside this file."""
    generator = torch.Generator().manual_seed(0)
    x = targets.moons().sample(10_000, generator=generator)
    flow = trained_architecture()
    history = fit(flow, x[2_000:], validation=(x[:2_000],), seconds=SECONDS, seed=0)
    save(flow, TRAINED, metadata={"columns": ["x1", "x2"], "model": "nsf"})
    held_out = -(history.best_validation or 0.0)
    print(f"{TRAINED}: {held_out:.3f} nats on held-out points; the entropy is {NAMED['moons'].entropy:.3f}.")


if __name__ == "__main__":
    make()

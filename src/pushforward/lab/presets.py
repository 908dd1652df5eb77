"""The maps that the page shows before anything is trained, each with the lines of Python that build it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from pushforward.bijections import LU, Autoregressive, Chain, Linear, Planar, RadialSquash
from pushforward.core.random_state import seeded
from pushforward.distributions import Flow, StandardNormal
from pushforward.flows import nsf
from pushforward.io import load
from pushforward.univariate import RationalQuadratic

__all__ = ["PRESETS", "TRAINED", "TRAINED_LINES", "Preset", "preset_flow", "trained_architecture"]

TRAINED = Path(__file__).parent / "flows" / "moons.safetensors"
"""Made by ``python -m pushforward.lab.flows.make``."""
START = "import torch\nimport pushforward as pf\n\n"


@dataclass(frozen=True)
class Preset:
    """A map of the list.

    Attributes:
        title: as shown to users.
        build: makes the flow.
        lines: of Python, which make the same flow under the name ``flow``.
    """

    title: str
    build: Callable[[], Flow]
    lines: str


def _squash() -> Flow:
    return Flow(StandardNormal(2), RadialSquash(2))


def _affine() -> Flow:
    return Flow(StandardNormal(2), Linear([[1.2, 0.0], [0.8, 0.6]], bias=[0.5, -0.25]))


def _spline() -> Flow:
    with seeded(3):
        layer = Autoregressive(RationalQuadratic(bins=6, bound=3.0), 2, hidden=(16,))
        _shake(layer, 0.5)
    return Flow(StandardNormal(2), layer)


def _planar() -> Flow:
    with seeded(2):
        layers = [Planar(2) for _ in range(6)]
        for layer in layers:
            _shake(layer, 1.2)
    return Flow(StandardNormal(2), Chain(layers))


def _stack() -> Flow:
    with seeded(5):
        layers = Chain([
            Autoregressive(RationalQuadratic(bins=6, bound=3.0), 2, hidden=(16,)),
            LU(2),
            Autoregressive(RationalQuadratic(bins=6, bound=3.0), 2, hidden=(16,)),
        ])  # fmt: skip
        _shake(layers, 0.35)
    return Flow(StandardNormal(2), layers)


def _shake(part: torch.nn.Module, size: float) -> None:
    """Move weights at random: layers begin as the identity."""
    with torch.no_grad():
        for weights in part.parameters():
            weights.add_(size * torch.randn_like(weights))


def trained_architecture() -> Flow:
    """The flow of the file, before its training."""
    with seeded(0):
        return nsf(2, depth=3, bins=8, hidden=(32, 32))


def _trained() -> Flow:
    flow: Flow = load(TRAINED)
    return flow


SHAKE = """with torch.no_grad():  # layers begin as the identity
    for weights in layers.parameters():
        weights.add_({size} * torch.randn_like(weights))
flow = pf.Flow(pf.distributions.StandardNormal(2), layers)
"""
SPLINE_LAYER = "pf.bijections.Autoregressive(pf.univariate.RationalQuadratic(bins=6, bound=3.0), 2, hidden=(16,))"
TRAINED_LINES = """import pushforward as pf

x = pf.distributions.targets.moons().sample(8_000)
flow = pf.flows.nsf(2, depth=3, bins=8, hidden=(32, 32))
pf.fit(flow, x, seconds=50)
"""

PRESETS: dict[str, Preset] = {
    "squash": Preset(
        "Into the disc: z / (1 + ‖z‖)",
        _squash,
        "import pushforward as pf\n\n"
        "flow = pf.Flow(pf.distributions.StandardNormal(2), pf.bijections.RadialSquash(2))\n",
    ),
    "affine": Preset(
        "Affine: a triangular matrix and a shift",
        _affine,
        "import pushforward as pf\n\n"
        "T = pf.bijections.Linear([[1.2, 0.0], [0.8, 0.6]], bias=[0.5, -0.25])\n"
        "flow = pf.Flow(pf.distributions.StandardNormal(2), T)\n",
    ),
    "spline": Preset(
        "One triangular layer of splines",
        _spline,
        f"{START}torch.manual_seed(3)\nlayers = {SPLINE_LAYER}\n{SHAKE.format(size=0.5)}",
    ),
    "planar": Preset(
        "Six planar layers",
        _planar,
        f"{START}torch.manual_seed(2)\nlayers = pf.bijections.Chain([pf.bijections.Planar(2) for _ in range(6)])\n"
        f"{SHAKE.format(size=1.2)}",
    ),
    "stack": Preset(
        "Splines, a linear map, splines",
        _stack,
        f"{START}torch.manual_seed(5)\nlayers = pf.bijections.Chain([\n    {SPLINE_LAYER},\n    pf.bijections.LU(2),\n"
        f"    {SPLINE_LAYER},\n])\n{SHAKE.format(size=0.35)}",
    ),
    "moons": Preset("Trained on two moons", _trained, TRAINED_LINES),
}


@cache
def preset_flow(name: str) -> Flow:
    """The flow of this name."""
    return PRESETS[name].build().eval()

"""Named flows: functions that assemble the parts into models the field knows."""

from pushforward.flows.attention import transformer_flow
from pushforward.flows.classic import planar, radial, sylvester
from pushforward.flows.continuous import cnf
from pushforward.flows.cylinder import cylinder_flow
from pushforward.flows.graphical import graphical
from pushforward.flows.image import glow, multiscale_real_nvp
from pushforward.flows.options import DataOptions, NetworkOptions, Options, TransformerOptions
from pushforward.flows.pixels import pixels
from pushforward.flows.registry import FLOWS, IMAGE_FLOWS, named_flow
from pushforward.flows.residual import multiscale_residual_flow, residual_flow
from pushforward.flows.spaces import box_flow, rotation_flow, simplex_flow, sphere_flow, torus_flow
from pushforward.flows.structured import bnaf, circular_nsf, gaussianization, triangular_map
from pushforward.flows.tarflow import tarflow
from pushforward.flows.triangular import bernstein, ddsf, gaussian_autoregressive, naf, sos, umnn
from pushforward.flows.vector import iaf, maf, nice, nsf, real_nvp
from pushforward.flows.window import window_flow

__all__ = [
    "FLOWS",
    "IMAGE_FLOWS",
    "DataOptions",
    "NetworkOptions",
    "Options",
    "TransformerOptions",
    "bernstein",
    "bnaf",
    "box_flow",
    "circular_nsf",
    "cnf",
    "cylinder_flow",
    "ddsf",
    "gaussian_autoregressive",
    "gaussianization",
    "glow",
    "graphical",
    "iaf",
    "maf",
    "multiscale_real_nvp",
    "multiscale_residual_flow",
    "naf",
    "named_flow",
    "nice",
    "nsf",
    "pixels",
    "planar",
    "radial",
    "real_nvp",
    "residual_flow",
    "rotation_flow",
    "simplex_flow",
    "sos",
    "sphere_flow",
    "sylvester",
    "tarflow",
    "torus_flow",
    "transformer_flow",
    "triangular_map",
    "umnn",
    "window_flow",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

"""Named flows: functions that assemble the parts into models the field knows."""

from pushforward.flows.graphical import graphical
from pushforward.flows.options import DataOptions, NetworkOptions, Options
from pushforward.flows.registry import FLOWS, named_flow
from pushforward.flows.structured import bnaf, circular_nsf, gaussianization, triangular_map
from pushforward.flows.triangular import bernstein, ddsf, gaussian_autoregressive, naf, sos, umnn
from pushforward.flows.vector import iaf, maf, nice, nsf, real_nvp

__all__ = [
    "FLOWS",
    "DataOptions",
    "NetworkOptions",
    "Options",
    "bernstein",
    "bnaf",
    "circular_nsf",
    "ddsf",
    "gaussian_autoregressive",
    "gaussianization",
    "graphical",
    "iaf",
    "maf",
    "naf",
    "named_flow",
    "nice",
    "nsf",
    "real_nvp",
    "sos",
    "triangular_map",
    "umnn",
]

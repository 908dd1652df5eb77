"""Named flows: functions that assemble the parts into models the field knows."""

from pushforward.flows.registry import FLOWS, named_flow
from pushforward.flows.triangular import bernstein, ddsf, gaussian_autoregressive, naf, sos, umnn
from pushforward.flows.vector import iaf, maf, nice, nsf, real_nvp

__all__ = [
    "FLOWS",
    "bernstein",
    "ddsf",
    "gaussian_autoregressive",
    "iaf",
    "maf",
    "naf",
    "named_flow",
    "nice",
    "nsf",
    "real_nvp",
    "sos",
    "umnn",
]

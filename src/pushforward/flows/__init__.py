"""Named flows: functions that assemble the parts into models the field knows."""

from pushforward.flows.registry import FLOWS, named_flow
from pushforward.flows.vector import iaf, maf, nice, nsf, real_nvp

__all__ = ["FLOWS", "iaf", "maf", "named_flow", "nice", "nsf", "real_nvp"]

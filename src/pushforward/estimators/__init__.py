"""scikit-learn estimators: tables or images in, scores and samples out, in the units of the table."""

# ruff: noqa: E402

from pushforward.core.waiting_threads import let_waiting_threads_sleep

let_waiting_threads_sleep()  # before the imports that follow load torch

from pushforward.distributions import Circular
from pushforward.estimators.anomaly import FlowAnomaly, Reason
from pushforward.estimators.conditional import FlowConditional, FlowRegressor
from pushforward.estimators.density import FlowDensity
from pushforward.estimators.images import FlowImages

__all__ = ["Circular", "FlowAnomaly", "FlowConditional", "FlowDensity", "FlowImages", "FlowRegressor", "Reason"]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

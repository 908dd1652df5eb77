"""scikit-learn estimators: tables in, scores and samples out, in the units of the table."""

from pushforward.estimators.anomaly import FlowAnomaly, Reason
from pushforward.estimators.conditional import FlowConditional, FlowRegressor
from pushforward.estimators.density import FlowDensity

__all__ = ["FlowAnomaly", "FlowConditional", "FlowDensity", "FlowRegressor", "Reason"]

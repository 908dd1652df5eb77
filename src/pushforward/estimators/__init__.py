"""scikit-learn's face of the library: tables in, scores and samples out, in the user's own units."""

from pushforward.estimators.conditional import FlowConditional, FlowRegressor
from pushforward.estimators.density import FlowDensity

__all__ = ["FlowConditional", "FlowDensity", "FlowRegressor"]

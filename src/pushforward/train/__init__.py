"""Learning a distribution from data."""

from pushforward.train.fit import fit
from pushforward.train.history import History, Record, TrainingError
from pushforward.train.transport import fit_triangular

__all__ = ["History", "Record", "TrainingError", "fit", "fit_triangular"]

"""Learning a distribution from data."""

from pushforward.train.fit import fit
from pushforward.train.history import History, Record, TrainingError

__all__ = ["History", "Record", "TrainingError", "fit"]

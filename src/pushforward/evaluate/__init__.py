"""Evaluation of fitted models: log-likelihood beside baselines, numerical checks, calibration, fidelity, and reports.

Only numpy, scipy and scikit-learn are imported here. Modules that plot or write pages (`plots`,
`column_plots`, `digit_grid`, `lecture`, `report`, `mixed_report`, `mixed_sections`, `html`, `style`) also need
matplotlib and jinja2; those on tables of mixed types are `calibration`, `fidelity`, `memorization` and `utility`.
"""

from pushforward.evaluate.arrays import log_prob_in_batches, sample_in_batches
from pushforward.evaluate.baselines import Baseline, baselines_from_dict, baselines_to_dict, fit_baselines
from pushforward.evaluate.diagnostics import PrecisionCheck, precision_check
from pushforward.evaluate.metrics import BaselineScore, Evaluation, evaluate

__all__ = [
    "Baseline",
    "BaselineScore",
    "Evaluation",
    "PrecisionCheck",
    "baselines_from_dict",
    "baselines_to_dict",
    "evaluate",
    "fit_baselines",
    "log_prob_in_batches",
    "precision_check",
    "sample_in_batches",
]

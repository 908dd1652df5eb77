"""Evaluation of fitted models: log-likelihood beside baselines, numerical checks, calibration, fidelity, and reports.

Only numpy, scipy and scikit-learn are imported here. Modules that plot or write pages (`plots`,
`column_plots`, `digit_grid`, `report`, `sections`, `table_sections`, `html`, `style`) also need
matplotlib and jinja2; those on tables of mixed types are `calibration`, `fidelity`, `memorization` and `utility`.
"""

from pushforward.evaluate.abilities import column_types
from pushforward.evaluate.arrays import log_prob_in_batches, sample_in_batches
from pushforward.evaluate.baselines import AnyBaseline, Baseline, baselines_from_dict, baselines_to_dict, fit_baselines
from pushforward.evaluate.diagnostics import PrecisionCheck, precision_check
from pushforward.evaluate.judgement import Verdict, verdict
from pushforward.evaluate.metrics import BaselineScore, Evaluation, evaluate
from pushforward.evaluate.training_rows import TrainingRows
from pushforward.evaluate.tree_baseline import TreeBaseline

__all__ = [
    "AnyBaseline",
    "Baseline",
    "BaselineScore",
    "Evaluation",
    "PrecisionCheck",
    "TrainingRows",
    "TreeBaseline",
    "Verdict",
    "baselines_from_dict",
    "baselines_to_dict",
    "column_types",
    "evaluate",
    "fit_baselines",
    "log_prob_in_batches",
    "precision_check",
    "sample_in_batches",
    "verdict",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

"""How well a model fits, whether its density can be trusted, and pictures of both.

Numbers are here, those about tables of mixed columns in `calibration`, `fidelity` and `learned_rows`. Pictures and
reports need matplotlib and are imported from their own files: `plots`, `column_plots`, `lecture`, `report`,
`mixed_report`, `mixed_sections`, `html`, `style`.
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

"""Learning a distribution from data or from an unnormalised density."""

from pushforward.train.augment import with_labels_dropped, with_noise
from pushforward.train.batches import Batch
from pushforward.train.events import Checkpointed, Event, RolledBack, Started, Stepped, Stop, Stopped, Validated
from pushforward.train.fit import fit
from pushforward.train.flow_matching import FlowMatching
from pushforward.train.history import History, Record, TrainingError
from pushforward.train.hybrid import HybridLikelihood
from pushforward.train.losses import Loss, MaximumLikelihood, ReverseKL
from pushforward.train.schedule import ConstantRate, CosineDecay, Decay, FixedCosine, LinearDecay, Schedule
from pushforward.train.soap import Soap
from pushforward.train.transport import fit_triangular

__all__ = [
    "Batch",
    "Checkpointed",
    "ConstantRate",
    "CosineDecay",
    "Decay",
    "Event",
    "FixedCosine",
    "FlowMatching",
    "History",
    "HybridLikelihood",
    "LinearDecay",
    "Loss",
    "MaximumLikelihood",
    "Record",
    "ReverseKL",
    "RolledBack",
    "Schedule",
    "Soap",
    "Started",
    "Stepped",
    "Stop",
    "Stopped",
    "TrainingError",
    "Validated",
    "fit",
    "fit_triangular",
    "with_labels_dropped",
    "with_noise",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

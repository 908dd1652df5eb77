"""The state of a trainer in a checkpoint, whole whatever the processes of the run hold."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from pushforward.train.checkpoint import read_checkpoint, write_checkpoint
from pushforward.train.history import History, TrainingError
from pushforward.train.sharding import whole
from pushforward.train.snapshot import Snapshot

if TYPE_CHECKING:
    from pushforward.train.engine import Trainer

__all__ = ["restore_run", "save_run"]

COUNTERS = ("step", "lr_scale", "stale_validations", "train_sum", "train_count")
LIMITS = {"steps": "step limit reached", "epochs": "epoch limit reached", "seconds": "time limit reached"}
"""Why a run stopped that had used its budget up."""


def save_run(trainer: Trainer, path: Any) -> None:
    """Write the state of a run; of several processes the first one does. With shards all of them must ask for it."""
    now, good = trainer.snapshot(), trainer.good
    groups = now.groups("now") | good.groups("good") | {"best": trainer.best, "draws": trainer.draws.state()}
    groups = {name: whole(tensors) for name, tensors in groups.items()}
    if not trainer.processes.is_first:
        return
    state: dict[str, Any] = {name: getattr(trainer, name) for name in COUNTERS}
    state |= {"epoch": trainer.batches.epoch, "row": trainer.batches.row, "elapsed": trainer.clock()}
    state |= {"history": trainer.history.to_dict(), "plan": asdict(trainer.plan)}
    state |= {"optimizer_values": [now.optimizer_values, good.optimizer_values]}
    write_checkpoint(path, state, groups)


def restore_run(trainer: Trainer, path: Any) -> None:
    """Take over the state of a checkpoint, which a run of any number of processes has written.

    Raises:
        TrainingError: it belongs to another run (other settings, data or model).
    """
    state, groups = trainer.processes.of_first(partial(read_checkpoint, path))
    other_budget = trainer.plan.check_resumes(state["plan"], path)
    if trainer.shards is not None:
        like = trainer.model.state_dict()
        of_optimizer = {key: trainer.parameters[int(key.partition(".")[0])] for key in groups["now optimizer"]}
        groups = {
            name: trainer.shards.part(tensors, of_optimizer if name.endswith("optimizer") else like)
            for name, tensors in groups.items()
        }
    now, good = (
        Snapshot.from_groups(name, groups, values)
        for name, values in zip(("now", "good"), state["optimizer_values"], strict=True)
    )
    try:
        now.put_back(trainer.model, trainer.optimizer, trainer.average)
    except RuntimeError:
        raise TrainingError(f"fit: {path} is the checkpoint of another model. Delete it first.") from None
    trainer.good, trainer.best = good, groups["best"]
    trainer.go_back_to(state["epoch"], state["row"], groups["draws"])
    trainer.history, trainer.clock.before = History.from_dict(state["history"]), state["elapsed"]
    for name in COUNTERS:
        setattr(trainer, name, state[name])
    if other_budget and trainer.history.stopped in LIMITS.values() and trainer.done() < 1:
        trainer.history.stopped = ""  # there is more to use up now

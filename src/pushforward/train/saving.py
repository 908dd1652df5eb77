"""The state of a run in a checkpoint, whole whatever the processes of the run hold."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.core.processes import Processes
from pushforward.train.averaging import WeightAverage
from pushforward.train.batches import Batches
from pushforward.train.checkpoint import read_checkpoint, write_checkpoint
from pushforward.train.clock import Clock
from pushforward.train.draws import Draws
from pushforward.train.history import History, TrainingError
from pushforward.train.plan import Plan
from pushforward.train.sharding import Shards, whole
from pushforward.train.snapshot import Snapshot

__all__ = ["restore_run", "save_run"]

COUNTERS = ("step", "lr_scale", "stale_validations", "train_sum", "train_count")
LIMITS = {"steps": "step limit reached", "epochs": "epoch limit reached", "seconds": "time limit reached"}
"""Why a run stopped that had used its budget up."""


class SavedRun(Protocol):
    """What a checkpoint holds of a run; see `Trainer`."""

    model: Distribution
    optimizer: torch.optim.Optimizer
    parameters: list[torch.nn.Parameter]
    average: WeightAverage | None
    shards: Shards | None
    processes: Processes
    batches: Batches
    clock: Clock
    plan: Plan
    history: History
    best: dict[str, Tensor]
    good: Snapshot
    draws: Draws

    def snapshot(self) -> Snapshot: ...

    def go_back_to(self, epoch: int, row: int, draws: dict[str, Tensor]) -> None: ...

    def done(self) -> float: ...


def save_run(run: SavedRun, path: Any) -> None:
    """Write the state of a run; of several processes the first one does. With shards all of them must ask for it."""
    now, good = run.snapshot(), run.good
    groups = now.groups("now") | good.groups("good") | {"best": run.best, "draws": run.draws.state()}
    gathered: dict[str, dict[str, Tensor]] = {}
    for group, tensors in groups.items():
        gathered[group] = {}
        for name, tensor in tensors.items():
            full = whole(tensor)
            if run.processes.is_first:
                gathered[group][name] = full.cpu()
    if not run.processes.is_first:
        return
    state: dict[str, Any] = {name: getattr(run, name) for name in COUNTERS}
    state |= {"epoch": run.batches.epoch, "row": run.batches.row, "elapsed": run.clock()}
    state |= {"history": run.history.to_dict(), "plan": asdict(run.plan)}
    state |= {"optimizer_values": [now.optimizer_values, good.optimizer_values]}
    write_checkpoint(path, state, gathered)


def restore_run(run: SavedRun, path: Any) -> None:
    """Take over the state of a checkpoint, which a run of any number of processes has written.

    Raises:
        TrainingError: it belongs to another run (other settings, data or model).
    """
    state, groups = run.processes.of_first(partial(read_checkpoint, path))
    other_budget = run.plan.check_resumes(state["plan"], path)
    if run.shards is not None:
        like = run.model.state_dict()
        of_optimizer = {key: run.parameters[int(key.partition(".")[0])] for key in groups["now optimizer"]}
        groups = {
            name: run.shards.part(tensors, of_optimizer if name.endswith("optimizer") else like)
            for name, tensors in groups.items()
        }
    now, good = (
        Snapshot.from_groups(name, groups, values)
        for name, values in zip(("now", "good"), state["optimizer_values"], strict=True)
    )
    try:
        now.put_back(run.model, run.optimizer, run.average)
    except RuntimeError:
        raise TrainingError(f"fit: {path} is the checkpoint of another model. Delete it first.") from None
    run.good, run.best = good, groups["best"]
    run.go_back_to(state["epoch"], state["row"], groups["draws"])
    run.history, run.clock.before = History.from_dict(state["history"]), state["elapsed"]
    for name in COUNTERS:
        setattr(run, name, state[name])
    if other_budget and run.history.stopped in LIMITS.values() and run.done() < 1:
        run.history.stopped = ""  # there is more to use up now

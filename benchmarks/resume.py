"""Do killed runs end in the bits of runs that were not, and fits in threads in those of fits one after the other?

    .venv/bin/python benchmarks/resume.py

Each kill point is a run that is killed twice by SIGKILL and resumed each time, in processes of its own, which are
forked from one that has everything loaded. Its weights and its history are compared bit for bit with those of a run
that was never killed. Checkpoints are written after every step, or as often as a hundredth of a second allows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from results import machine, update_section
from torch import Tensor, nn

import pushforward as pf
from pushforward.core import files
from pushforward.core.random_state import seeded
from pushforward.distributions import Categorical, Continuous, MixedTypeModel
from pushforward.networks.conditioner import Conditioner, register_dense
from pushforward.train import Checkpointed, Event, History, Started, Stepped

# 400 rows, 360 to learn from: 7 steps an epoch, and a validation every 10 steps.
STEPS, PER_EPOCH = 42, 7
OPTIONS: dict[str, Any] = {"batch_size": 50, "ema": 0.95, "validate_every": 10, "progress": False}


class Dropping(Conditioner):
    """A user's network, with torch's own dropout, which draws from the global generator."""

    def __init__(self, in_features: int, out_features: int, **options: object) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(in_features, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, out_features))

    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        out: Tensor = self.net(x.t()).t()
        return out


register_dense("dropping", Dropping)


def table() -> Tensor:
    """Two columns of numbers and one of categories, some of it missing."""
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 1] += x[:, 0] ** 2
    x[:, 2] = (x[:, 2] > 0).double() + (x[:, 2] > 1).double()
    x[::5, 0] = torch.nan
    return x


# Whether draws come from the run's generator in dropout, in estimates of the density, or from torch's global one.
MODELS: dict[str, Callable[[], pf.distributions.Distribution]] = {
    "flow with dropout": lambda: pf.flows.maf(2, depth=2, hidden=(16, 16), dropout=0.2),
    "mixed-type model": lambda: MixedTypeModel(
        [Continuous(smoothing=0.1), Continuous(), Categorical(3)], hidden=(16, 16), dropout=0.2
    ),
    "network with torch's dropout": lambda: pf.flows.real_nvp(2, depth=2, conditioner="dropping"),
}


def fit(name: str, **options: Any) -> str:
    """Fit one of the models; a hash of its weights and of the numbers in its history."""
    with seeded(0):
        model = MODELS[name]()
    x = table() if name == "mixed-type model" else table()[:, 1:].float()
    history = pf.fit(model, x, **{"steps": STEPS, "seed": 3} | OPTIONS | options)
    return digest(model, history)


def digest(model: nn.Module, history: History) -> str:
    sha = hashlib.sha256()
    for key, tensor in model.state_dict().items():
        sha.update(key.encode() + tensor.numpy().tobytes())
    records = [(r.step, r.epoch, r.train, r.validation, r.lr) for r in history.records]
    sha.update(json.dumps([records, history.best_step, history.best_validation, history.stopped]).encode())
    return sha.hexdigest()


# --- kills


@dataclass(frozen=True)
class Kill:
    """When a process dies: on an event at a step, between the bytes of a checkpoint and its renaming at a step, or so
    many seconds after its start."""

    how: str
    at: float

    def arm(self) -> Callable[[Event], None]:
        """Called in the process that is to die; the callback for `fit`."""
        step = [0]
        if self.how == "inside a write":
            real = os.replace

            def replace(source: Any, target: Any) -> None:
                if step[0] >= self.at:
                    os.kill(os.getpid(), signal.SIGKILL)
                real(source, target)

            files.os.replace = replace  # type: ignore[assignment]
        kinds = {"after a step": Stepped, "after a checkpoint": Checkpointed}

        def callback(event: Event) -> None:
            step[0] = event.step
            if self.how in kinds and isinstance(event, kinds[self.how]) and event.step >= self.at:
                os.kill(os.getpid(), signal.SIGKILL)

        return callback


KINDS = ("epoch boundaries", "one epoch", "any steps", "inside writes", "any moments")


def two_kills(kind: str, draw: random.Random, duration: float) -> list[Kill]:
    """The kills of one run, which takes ``duration`` seconds."""
    hows = ["after a step", "after a checkpoint"]
    if kind == "epoch boundaries":
        steps = [PER_EPOCH * k for k in sorted(draw.sample(range(1, STEPS // PER_EPOCH), 2))]
    elif kind == "one epoch":
        epoch = PER_EPOCH * draw.randrange(STEPS // PER_EPOCH)
        steps = [epoch + k for k in sorted(draw.sample(range(1, PER_EPOCH), 2))]
    elif kind == "any moments":
        return [Kill("after a time", draw.uniform(0, 0.9 * duration)) for _ in range(2)]
    else:
        steps = sorted(draw.sample(range(1, STEPS), 2))
    return [Kill("inside a write" if kind == "inside writes" else draw.choice(hows), step) for step in steps]


def forked(work: Callable[[], str], result: Path, started: Callable[[int], None] = lambda child: None) -> bool:
    """Whether the work ended, in a forked process, and its answer is in the file; False where it was killed."""
    child = os.fork()
    if child == 0:
        try:
            result.write_text(work())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    started(child)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a fit failed")
    return not os.WIFSIGNALED(status)


def killed(name: str, kill: Kill, folder: Path, every: float) -> bool:
    """Start or resume the run in the folder and kill it; whether that came before its end."""
    reader, writer = os.pipe()

    def work() -> str:
        callback = kill.arm()

        def tell(event: Event) -> None:
            if isinstance(event, Started):
                os.write(writer, b"x")
            callback(event)

        return fit(name, checkpoint=folder / "c", checkpoint_seconds=every, resume=True, callbacks=tell)

    def started(child: int) -> None:
        if kill.how == "after a time":
            os.read(reader, 1)
            time.sleep(kill.at)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    ended = forked(work, folder / "ended", started)
    os.close(reader)
    os.close(writer)
    return not ended


def kill_points(count: int, seed: int) -> dict[str, list[int]]:
    """Of each kind of kill: how many runs, kills, and runs that did not end in the same bits."""
    draw, counts = random.Random(seed), {}
    with tempfile.TemporaryDirectory() as root:
        whole, durations = {}, {}
        fit(next(iter(MODELS)), steps=1, checkpoint=Path(root, "first"))  # loads what forked processes then have
        for name in MODELS:
            start, file = time.monotonic(), Path(root, "whole")
            forked(lambda name=name: fit(name, checkpoint=Path(root, name), checkpoint_seconds=0), file)
            whole[name], durations[name] = file.read_text(), time.monotonic() - start
        for k in range(count):
            name, kind = list(MODELS)[k % len(MODELS)], KINDS[k % len(KINDS)]
            kills = two_kills(kind, draw, durations[name])
            folder, every = Path(root, str(k)), draw.choice([0.0, 0.0, 0.01])
            folder.mkdir()
            done = 0
            for kill in kills:
                while not killed(name, kill, folder, every):  # it ended first, so that there is nothing to go on with
                    (folder / "c").unlink(missing_ok=True)
                    kill = Kill(kill.how, min(0.7 * kill.at, STEPS - 1))
                done += 1
            forked(lambda: fit(name, checkpoint=folder / "c", resume=True), folder / "last")  # noqa: B023
            same = (folder / "last").read_text() == whole[name]
            entry = counts.setdefault(kind, [0, 0, 0])
            for i, more in enumerate((1, done, not same)):
                entry[i] += more
            if sys.stderr.isatty() or not same:
                print(f"{k + 1}/{count} {name}, {kind}: {'same' if same else 'OTHER'} bits", file=sys.stderr)
    return counts


# --- threads


def thread_pairs(count: int, seed: int) -> list[int]:
    """How many pairs of fits in two threads were made, and how many did not give the bits of the same fits alone."""
    draw, different = random.Random(seed), 0
    for _ in range(count):
        jobs = [
            (draw.choice(list(MODELS)), {"seed": draw.randrange(100), "steps": draw.randrange(15, STEPS)})
            for _ in range(2)
        ]
        alone = [fit(name, **options) for name, options in jobs]
        together = ["", ""]

        def run(i: int, jobs: Any = jobs, together: list[str] = together) -> None:
            together[i] = fit(jobs[i][0], **jobs[i][1])

        before = torch.get_rng_state()
        threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        different += alone != together or not torch.equal(before, torch.get_rng_state())
    return [count, different]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-results", action="store_true", help="print only; leave RESULTS.md alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    counts = kill_points(arguments.points, arguments.seed)
    pairs = thread_pairs(arguments.pairs, arguments.seed)
    rows = [f"| {kind} | {runs} | {kills} | {other} |" for kind, (runs, kills, other) in sorted(counts.items())]
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    text = "\n".join(
        [
            "## Killed runs and fits in threads",
            "",
            f"`benchmarks/resume.py --points {arguments.points} --pairs {arguments.pairs}`, "
            f"{time.monotonic() - start:.0f} s on {machine()}. Models in turn: {', '.join(MODELS)}; weight averaging "
            "on. Each run is killed twice by SIGKILL and resumed; weights and history are compared bit for bit.",
            "",
            "| where it is killed | runs | kills | not the same bits |",
            "|---|---:|---:|---:|",
            *rows,
            f"| all | {total[0]} | {total[1]} | {total[2]} |",
            "",
            f"Pairs of fits in two threads, with other models, seeds and budgets: {pairs[0]}; not the bits of the same "
            f"fits one after the other, or torch's global state changed: {pairs[1]}.",
        ]
    )
    print(text)
    if not arguments.no_results:
        update_section("resume", text)
    if total[2] or pairs[1]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

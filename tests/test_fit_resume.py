"""`fit`: checkpoints, resumed runs, interruptions and real kills."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import banana, same, small_flow, weights_of

import pushforward as pf
from pushforward.distributions import Normal
from pushforward.networks.conditioner import DENSE, Conditioner
from pushforward.train import (
    Checkpointed,
    CosineDecay,
    Event,
    FixedCosine,
    History,
    MaximumLikelihood,
    Started,
    Stepped,
    Stop,
    TrainingError,
    Validated,
    engine,
    saving,
)
from pushforward.train import checkpoint as checkpoint_module
from pushforward.train.averaging import WeightAverage
from pushforward.train.checkpoint import read_step

# 400 rows, 360 to learn from: 7 steps an epoch, validations at steps 10, 20, 30 and 35.
SETTINGS = {"steps": 35, "batch_size": 50, "seed": 3, "patience": 20, "ema": 0.95, "validate_every": 10}


def tiny_flow() -> pf.Flow:
    torch.manual_seed(0)
    return pf.flows.maf(2, depth=1, hidden=(8, 8), dropout=0.2)


@dataclass(frozen=True)
class Denoising(MaximumLikelihood):
    """A loss with an option."""

    noise: float


class CrashError(Exception):
    """Raised by callbacks."""


def numbers(history: History) -> list[tuple[float, ...]]:
    """All of the records but the time that they took."""
    return [(r.step, r.epoch, r.train, r.validation, r.lr) for r in history.records]


def crashing(limit: int, kind: type[Event] = Stepped) -> Callable[[Event], None]:
    def crash(event: Event) -> None:
        if isinstance(event, kind) and event.step >= limit:
            raise CrashError

    return crash


def stopping(limit: int) -> Callable[[Event], Stop | None]:
    return lambda event: Stop("enough") if event.step >= limit else None


@pytest.mark.parametrize(
    ("ends", "make"),
    [
        ((7, 14), crashing),  # exactly at the boundaries of epochs
        ((15, 17), crashing),  # twice in one epoch
        ((10, 30), crashing),  # after a step whose validation is still due
        ((10, 30), partial(crashing, kind=Validated)),
        ((1, 34), partial(crashing, kind=Checkpointed)),
        ((13, 25), stopping),
    ],
)
def test_a_run_that_ends_in_between_goes_on_as_if_it_had_not(
    tmp_path: Path, ends: tuple[int, int], make: Callable[[int], Any]
) -> None:
    x, path = banana(400), tmp_path / "run.checkpoint"
    whole = tiny_flow()
    reference = pf.fit(whole, x, progress=False, **SETTINGS)
    for limit in (*ends, 10**9):
        flow = tiny_flow()
        torch.manual_seed(limit % 1000)  # the state of the world does not matter
        try:
            history = pf.fit(
                flow, x, progress=False, checkpoint=path, checkpoint_seconds=0, resume=True, callbacks=make(limit),
                **SETTINGS,
            )  # fmt: skip
        except CrashError:
            assert limit < 100
    assert same(weights_of(whole), weights_of(flow))
    assert numbers(history) == numbers(reference)


class Dropping(Conditioner):
    """A user's network, which draws from torch's global generator."""

    def __init__(self, in_features: int, out_features: int, **options: object) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(in_features, 8), torch.nn.Dropout(0.3), torch.nn.ReLU(), torch.nn.Linear(8, out_features)
        )

    def parallel(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        return self.net(x.t()).t()


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    DENSE["dropping"] = Dropping
    yield
    del DENSE["dropping"]


@pytest.mark.parametrize("conditioner", ["plain", "dropping"])
def test_an_interrupted_step_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conditioner: str) -> None:
    """Ctrl-C within the gradient of a step and within a validation: the checkpoint holds the state before it."""
    x, path = banana(400), tmp_path / "run.checkpoint"

    def flow() -> pf.Flow:
        torch.manual_seed(0)
        return pf.flows.nsf(2, depth=2, hidden=(8,), bins=4, layer="coupling", conditioner=conditioner, dropout=0.2)

    whole, resumed = flow(), flow()
    reference = pf.fit(whole, x, progress=False, **SETTINGS)
    for name in ("clip_grad_norm_", "mean_metric"):
        owner: Any = torch.nn.utils if name == "clip_grad_norm_" else engine
        function, calls = getattr(owner, name), []

        def interrupted(*args: Any, function: Any = function, calls: list[int] = calls, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == (17 if function.__name__ == "clip_grad_norm_" else 1):
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                pf.fit(flow(), x, checkpoint=path, resume=True, progress=False, **SETTINGS)
    history = pf.fit(resumed, x, checkpoint=path, resume=True, progress=False, **SETTINGS)
    assert same(weights_of(whole), weights_of(resumed))
    assert numbers(history) == numbers(reference)


def test_a_step_interrupted_while_weights_change_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, path = banana(400), tmp_path / "run.checkpoint"
    pf.fit(small_flow(), x, checkpoint=path, callbacks=stopping(10), progress=False, **SETTINGS)
    before = path.read_bytes()
    monkeypatch.setattr(WeightAverage, "update", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pf.fit(small_flow(), x, checkpoint=path, resume=True, progress=False, **SETTINGS)
    assert path.read_bytes() == before


def test_a_full_disk_is_named_beside_the_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(saving, "write_checkpoint", full)
    options = {"checkpoint": tmp_path / "c", "callbacks": crashing(3), "progress": False, **SETTINGS}
    with pytest.raises(CrashError) as caught:
        pf.fit(small_flow(), banana(400), **options)
    assert caught.value.__notes__ == ["fit: the checkpoint was not written either: no space left on device"]


def test_before_the_first_validation_the_newest_weights_are_kept() -> None:
    flow = small_flow()
    start = weights_of(flow)
    with pytest.raises(CrashError):
        pf.fit(flow, banana(400), callbacks=crashing(10), progress=False, **SETTINGS)
    assert not same(start, weights_of(flow))
    assert not flow.training


def test_a_run_with_a_constant_rate_can_be_extended(tmp_path: Path) -> None:
    x, path = banana(400), tmp_path / "run.checkpoint"
    options = {"batch_size": 50, "checkpoint": path, "resume": True, "progress": False}
    first = pf.fit(small_flow(), x, steps=30, decay="constant", **options)
    longer = pf.fit(small_flow(), x, steps=60, decay="constant", **options)
    assert [r.step for r in first.records] == [25, 30]
    assert [r.step for r in longer.records] == [25, 30, 50, 60]
    assert longer.stopped == "step limit reached"
    with pytest.raises(TrainingError, match=r"differs in lr \(there 0.004, here 0.01\)\. Delete it first"):
        pf.fit(small_flow(), x, steps=90, decay="constant", lr=0.01, **options)


def test_a_run_whose_rate_depends_on_the_budget_goes_on_at_the_rate_of_the_new_one(tmp_path: Path) -> None:
    x, path = banana(400), tmp_path / "run.checkpoint"
    options = {"batch_size": 50, "checkpoint": path, "resume": True, "progress": False}
    rates: list[float] = []
    first = pf.fit(small_flow(), x, steps=30, **options)
    longer = pf.fit(
        small_flow(), x, steps=90, callbacks=lambda e: rates.append(e.lr) if isinstance(e, Stepped) else None, **options
    )
    assert longer.records[-1].step == 90
    assert longer.best_validation >= first.best_validation
    decay = CosineDecay()
    expected = [0.004 * decay((step + 0.5) / 90, step) for step in range(30, 90)]
    assert rates == pytest.approx(expected)
    shorter = pf.fit(small_flow(), x, steps=40, **options)  # its budget is used up already
    assert shorter.records[-1].step == 90


def test_a_run_with_the_rates_of_a_longer_one_can_be_given_a_budget_of_its_own(tmp_path: Path) -> None:
    x, path = banana(400), tmp_path / "run.checkpoint"
    options = {"batch_size": 50, "checkpoint": path, "resume": True, "progress": False}
    pf.fit(small_flow(), x, steps=20, decay=FixedCosine(200), **options)
    with pytest.raises(TrainingError, match="differs in decay"):
        pf.fit(small_flow(), x, steps=20, **options)
    assert pf.fit(small_flow(), x, steps=40, **options).records[-1].step == 40


def test_ctrl_c_while_a_run_is_prepared_leaves_a_checkpoint(tmp_path: Path) -> None:
    class Slow(Normal):
        def _initialize(self, x: torch.Tensor, context: torch.Tensor | None) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    path, runs = tmp_path / "run.checkpoint", []
    options = {"steps": 5, "checkpoint": path, "progress": False}
    try:
        with pytest.raises(KeyboardInterrupt):
            pf.fit(Slow([0.0], [1.0]), torch.randn(50, 1), callbacks=runs.append, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [type(event) for event in runs] == [Started]
    assert read_step(path) == 0


def test_an_extended_run_ends_as_one_that_had_that_budget_from_the_start(tmp_path: Path) -> None:
    """Where the first one was ended by a callback, and so without the validation at the end of a budget."""
    x, path = banana(400), tmp_path / "run.checkpoint"
    options = {"batch_size": 50, "decay": "constant", "progress": False}
    whole, extended = small_flow(), small_flow()
    pf.fit(whole, x, steps=60, **options)
    pf.fit(small_flow(), x, steps=40, callbacks=stopping(33), checkpoint=path, **options)
    pf.fit(extended, x, steps=60, checkpoint=path, resume=True, **options)
    assert same(weights_of(whole), weights_of(extended))


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    x, path = banana(200), tmp_path / "run.checkpoint"
    first, second = small_flow(), small_flow()
    pf.fit(first, x, steps=20, checkpoint=path, progress=False)
    history = pf.fit(second, x, steps=20, checkpoint=path, resume=True, progress=False)
    assert same(weights_of(first), weights_of(second))
    assert history.records[-1].step == 20


def test_checkpoints_of_other_runs_are_refused(tmp_path: Path) -> None:
    x, path = banana(200), tmp_path / "run.checkpoint"
    pf.fit(small_flow(), x, steps=5, checkpoint=path, progress=False)
    resume = {"steps": 5, "checkpoint": path, "resume": True, "progress": False}
    with pytest.raises(TrainingError, match=r"differs in lr \(there 0.004, here 0.1\)"):
        pf.fit(small_flow(), x, lr=0.1, **resume)
    with pytest.raises(TrainingError, match="differs in data"):
        pf.fit(small_flow(), x + 1, **resume)
    with pytest.raises(TrainingError, match="differs in data, the validation rows"):
        pf.fit(small_flow(), x, validation=0.2, **resume)
    with pytest.raises(TrainingError, match=r"differs in optimizer \(there AdamW, here torch.optim.sgd.SGD"):
        pf.fit(small_flow(), x, optimizer=partial(torch.optim.SGD, momentum=0.9), **resume)
    for noise, mine in ((0.1, Denoising(0.2)), (0.2, MaximumLikelihood())):
        pf.fit(small_flow(), x, loss=Denoising(noise), steps=5, checkpoint=path.with_suffix(".noisy"), progress=False)
        with pytest.raises(TrainingError, match=rf"differs in loss \(there .*Denoising\(noise={noise}\), here "):
            pf.fit(small_flow(), x, loss=mine, **{**resume, "checkpoint": path.with_suffix(".noisy")})
    with pytest.raises(TrainingError, match="the model or its options"):
        pf.fit(pf.flows.maf(2, depth=1), x, **resume)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        pf.fit(small_flow(), x, **resume)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match="not a checkpoint of this version"):
        pf.fit(small_flow(), x, **resume)


def test_an_interrupted_run_keeps_its_best_weights(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if event.step >= 20:
            raise KeyboardInterrupt

    x, path = banana(400), tmp_path / "run.checkpoint"
    flow = small_flow()
    start = weights_of(flow)
    with pytest.raises(KeyboardInterrupt):
        pf.fit(flow, x, callbacks=interrupt, checkpoint=path, progress=False, **SETTINGS)
    assert not same(start, weights_of(flow))
    resumed, whole = small_flow(), small_flow()
    pf.fit(resumed, x, checkpoint=path, resume=True, progress=False, **SETTINGS)
    pf.fit(whole, x, progress=False, **SETTINGS)
    assert same(weights_of(resumed), weights_of(whole))


@pytest.mark.exhaustive
@pytest.mark.parametrize("points", [1, 6])
def test_kill_9_at_any_moment_changes_nothing(points: int) -> None:
    """Runs, each killed twice: at epoch boundaries, in one epoch, at any step, inside a write, at any moment."""
    script = Path(__file__).parent.parent / "benchmarks" / "resume.py"
    options = ["--points", str(points), "--pairs", "0", "--no-results", "--seed", str(random.randrange(10**6))]
    done = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, f"{options}\n{done.stdout}\n{done.stderr}"
    assert f"| all | {points} | {2 * points} | 0 |" in done.stdout


def test_checkpoint_numbers_come_back_exactly(tmp_path: Path) -> None:
    values = {"a": 0.1 + 0.2, "b": [1e-308, 3, None]}
    tensors = {"x": {"w": torch.randn(3, dtype=torch.float64), "flag": torch.tensor(True)}, "empty": {}}
    checkpoint_module.write_checkpoint(tmp_path / "c", values, tensors)
    state, groups = checkpoint_module.read_checkpoint(tmp_path / "c")
    assert state == values
    assert same(groups["x"], tensors["x"])
    assert groups["empty"] == {}


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adagrad, torch.optim.Rprop])
def test_any_optimizer_resumes(tmp_path: Path, optimizer: type[torch.optim.Optimizer]) -> None:
    x, path = banana(200), tmp_path / "run.checkpoint"
    options = {"steps": 12, "optimizer": optimizer, "lr": 1e-3, "progress": False}
    whole, resumed = small_flow(), small_flow()
    pf.fit(whole, x, **options)
    pf.fit(small_flow(), x, checkpoint=path, callbacks=stopping(7), **options)
    pf.fit(resumed, x, checkpoint=path, resume=True, **options)
    assert same(weights_of(whole), weights_of(resumed))


def test_fingerprint_tells_data_apart() -> None:
    a, b = torch.zeros(3), torch.zeros(3)
    b[1] = 1e-30
    assert checkpoint_module.fingerprint(a) == checkpoint_module.fingerprint(a.clone())
    assert len({checkpoint_module.fingerprint(*t) for t in ((a,), (b,), (a, None), (a.double(),))}) == 4
    assert np.all(a.numpy() == 0)

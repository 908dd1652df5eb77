"""`fit`: learning, early stopping, weights, rollback, checkpoints and real kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.distributions import MultivariateNormal, Normal, StandardNormal
from pushforward.train import History, Record, TrainingError
from pushforward.train import checkpoint as checkpoint_module
from pushforward.train.engine import Plan, Rows, Trainer


def banana(rows: int = 1500, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, generator=g)
    x[:, 1] = 100 + 20 * (0.5 * x[:, 1] + x[:, 0] ** 2)
    return x


def small_flow(**options: object) -> pf.Flow:
    torch.manual_seed(0)
    return pf.flows.nsf(2, depth=2, hidden=(16, 16), bins=4, **options)


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_beats_a_gaussian_and_ends_with_the_best_weights() -> None:
    x = banana()
    flow = small_flow()
    history = pf.fit(flow, x, steps=300, progress=False)
    gaussian = MultivariateNormal([0.0, 0.0])
    gaussian.initialize(x)
    held_out = banana(seed=1)
    with torch.no_grad():
        assert flow.log_prob(held_out).mean() > gaussian.log_prob(held_out).mean() + 0.3
    assert not flow.training
    assert history.stopped == "the budget was used"
    assert history.best_validation == max(r.validation for r in history.records)
    assert history.records[-1].step == 300
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history


def test_every_part_learns_whatever_mode_it_was_in() -> None:
    ends = []
    for asleep in (False, True):
        flow = small_flow(dropout=0.5)
        for part in flow.modules():
            part.training = not asleep or part is flow
        torch.manual_seed(1)
        pf.fit(flow, banana(), steps=5, progress=False)
        ends.append(weights_of(flow))
    assert same(*ends)


def test_recovers_a_normal() -> None:
    x = 3 + 2 * torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    normal = Normal([0.0])
    pf.fit(normal, x, steps=400, lr=0.05, progress=False, validation=None)
    assert normal.loc.item() == pytest.approx(x.mean().item(), abs=0.05)
    assert normal.log_scale.exp().item() == pytest.approx(x.std().item(), abs=0.05)


def test_conditional_flow_follows_its_context() -> None:
    g = torch.Generator().manual_seed(0)
    context = torch.rand(2000, 1, generator=g) * 10
    x = context + 0.1 * torch.randn(2000, 1, generator=g)
    torch.manual_seed(0)
    flow = pf.flows.nsf(1, 1, depth=1, hidden=(32,), bins=4)
    pf.fit(flow, x, context, steps=400, progress=False)
    means = flow.sample(400, torch.tensor([[2.0], [8.0]])).mean(dim=0)
    assert means[:, 0].tolist() == pytest.approx([2.0, 8.0], abs=0.5)


def test_row_weights_count() -> None:
    x = torch.cat([torch.full((50, 1), -1.0), torch.full((50, 1), 1.0)]) + 0.1 * torch.randn(100, 1)
    weights = torch.cat([torch.full((50,), 3.0), torch.full((50,), 1.0)])
    normal = Normal([0.0])
    pf.fit(normal, x, weights=weights, steps=300, lr=0.05, batch_size=100, validation=None, progress=False)
    assert normal.loc.item() == pytest.approx(-0.5, abs=0.1)


def test_early_stopping_restores_the_best_weights() -> None:
    x = banana(60)
    flow = small_flow()
    history = pf.fit(flow, x, steps=5000, patience=3, lr=1e-2, ema=None, progress=False)
    assert "did not improve" in history.stopped
    assert history.records[-1].step < 5000
    assert history.best_step < history.records[-1].step
    _, held_out = split(x)
    with torch.no_grad():
        assert flow.log_prob(held_out).double().mean().item() == pytest.approx(history.best_validation, abs=1e-5)


def split(x: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held = round(0.1 * len(x))
    return x[order[held:]], x[order[:held]]


def test_same_seed_same_weights_and_global_randomness_untouched() -> None:
    x, results = banana(300), []
    for seed in (0, 0, 1):
        flow = small_flow(dropout=0.2)
        before = torch.get_rng_state()
        pf.fit(flow, x, steps=30, seed=seed, progress=False)
        assert torch.equal(before, torch.get_rng_state())
        results.append(weights_of(flow))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_generator_draws_the_seed() -> None:
    x, results = banana(300), []
    for _ in range(2):
        flow = small_flow()
        pf.fit(flow, x, steps=10, generator=torch.Generator().manual_seed(5), progress=False)
        results.append(weights_of(flow))
    assert same(*results)


def test_the_averaged_weights_are_kept() -> None:
    x = banana(300)
    plain, averaged = small_flow(), small_flow()
    pf.fit(plain, x, steps=30, ema=None, validation=None, progress=False)
    pf.fit(averaged, x, steps=30, ema=0.9, validation=None, progress=False)
    assert not same(weights_of(plain), weights_of(averaged))


def test_data_dependent_parts_are_measured_once() -> None:
    x = banana(300)
    flow = small_flow()
    pf.fit(flow, x, steps=2, progress=False)
    standardize = flow.bijection.inv.parts[0]
    first = standardize.mean.clone()
    pf.fit(flow, x + 50, steps=2, progress=False)
    assert torch.equal(first, standardize.mean)


def test_numpy_float64_rows_are_taken() -> None:
    history = pf.fit(small_flow(), banana(200).double().numpy(), epochs=2, progress=False)
    assert history.records


def test_budgets() -> None:
    x = banana(1000)
    history = pf.fit(small_flow(), x, epochs=2, batch_size=100, progress=False)
    assert history.records[-1].step == 18  # 900 training rows, 9 steps an epoch
    history = pf.fit(small_flow(), x, seconds=0.5, progress=False)
    assert history.stopped == "the budget was used"
    seen: list[Record] = []
    pf.fit(small_flow(), x, steps=50, epochs=1, batch_size=100, callback=seen.append, progress=False)
    assert seen[-1].step == 9


class Fragile(StandardNormal):
    """A learnable normal whose loss turns to NaN while ``breaks`` lasts."""

    def __init__(self, breaks: int) -> None:
        super().__init__(1)
        self.breaks, self.calls = breaks, 0
        self.loc = torch.nn.Parameter(torch.zeros(1))

    def _log_prob(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        self.calls += self.training
        bad = self.training and 10 < self.calls <= 10 + self.breaks
        return super()._log_prob(x - self.loc, context) * (float("nan") if bad else 1.0)


def test_a_loss_that_is_not_finite_rolls_back_and_halves_the_rate() -> None:
    x = torch.randn(200, 1) + 1
    model = Fragile(breaks=2)
    history = pf.fit(model, x, steps=200, lr=0.05, progress=False)
    assert history.rollbacks == 2
    assert model.loc.item() == pytest.approx(1.0, abs=0.25)
    plan = Plan(50, 0.1, 0.0, 5.0, 100, None, 25, None, None, 0, "")
    trainer = Trainer(Fragile(0), Rows(x), None, plan)
    trainer.step = 50
    full = trainer.rate()
    trainer._roll_back(Rows(x))
    trainer.step = 50
    assert trainer.rate() == pytest.approx(full / 2)


def test_three_rollbacks_are_the_limit_and_the_parameter_is_named() -> None:
    with pytest.raises(TrainingError, match="not finite 4 times, although the rate was halved"):
        pf.fit(Fragile(breaks=1000), torch.randn(200, 1), steps=200, progress=False)
    flow = pf.flows.maf(2, depth=1, hidden=(8,))
    with torch.no_grad():
        flow.bijection.inv.parts[1].free[0, 1] = float("nan")
    with pytest.raises(TrainingError, match=r"parameter bijection\.bijection\.parts\.1\.free is not finite"):
        pf.fit(flow, torch.randn(200, 2), steps=20, progress=False)


def test_a_row_outside_the_support_is_named_by_its_column() -> None:
    torch.manual_seed(0)
    flow = pf.Flow(Normal([0.0, 0.0]), pf.bijections.RadialSquash(2))
    x = 0.3 * torch.rand(100, 2)
    x[7, 1] = 40.0
    with pytest.raises(TrainingError, match="column 1 is 40 has log-density -inf"):
        pf.fit(flow, x, steps=50, validation=None, progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.zeros(5, 3)}, r"x must have shape \(rows, 2\); got \(5, 3\)"),
        ({"x": torch.zeros(1, 2)}, "1 row"),
        ({"x": [["a", "b"]]}, "x must be a table of numbers; this list holds something else"),
        ({"x": torch.tensor([[0.0, 1.0], [2.0, float("nan")]])}, "row 1, column 1 is nan"),
        ({"context": torch.zeros(50, 1)}, "built without context"),
        ({"weights": -torch.ones(50)}, "not negative"),
        ({"validation": 1.5}, "between 0 and 1"),
        ({"validation": (1, 2, 3, 4)}, "or \\(x, context, weights\\)"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"steps": -1}, "steps must be positive"),
        ({"ema": 1.0}, "ema must lie in"),
        ({"checkpoint": "missing-folder/run.checkpoint"}, "missing-folder"),
    ],
)
def test_mistakes_get_one_sentence(arguments: dict[str, object], message: str) -> None:
    arguments = {"x": banana(50), "steps": 2, **arguments}
    with pytest.raises((ValueError, OSError), match=message) as caught:
        pf.fit(small_flow(), arguments.pop("x"), progress=False, **arguments)
    assert "\n" not in str(caught.value)


def test_context_is_checked() -> None:
    flow = pf.flows.maf(1, 2, depth=1, hidden=(8,))
    with pytest.raises(ValueError, match="built with context"):
        pf.fit(flow, torch.zeros(10, 1), progress=False)
    with pytest.raises(TrainingError, match=r"context must have shape \(10, 2\); got \(10, 1\)"):
        pf.fit(flow, torch.zeros(10, 1), torch.zeros(10, 1), progress=False)
    with pytest.raises(TrainingError, match="no weights to learn"):
        pf.fit(StandardNormal(1), torch.zeros(10, 1), progress=False)


SETTINGS = {"steps": 60, "batch_size": 50, "seed": 3, "patience": 20, "ema": 0.95}


def test_resuming_a_stopped_run_gives_the_same_weights(tmp_path: Path) -> None:
    x = banana(400)
    whole = small_flow(dropout=0.2)
    reference = pf.fit(whole, x, progress=False, **SETTINGS)

    class StopError(Exception):
        pass

    stops = iter([25, 50])

    def stop(record: Record) -> None:
        if record.step >= limit:
            raise StopError

    path = tmp_path / "run.checkpoint"
    for _ in range(3):
        limit = next(stops, 10**9)
        flow = small_flow(dropout=0.2)
        torch.manual_seed(random.randrange(1000))  # the state of the world does not matter
        try:
            history = pf.fit(
                flow, x, progress=False, checkpoint=path, checkpoint_seconds=0, resume=True, callback=stop, **SETTINGS
            )
        except StopError:
            continue
    assert same(weights_of(whole), weights_of(flow))
    keep = lambda h: [(r.step, r.train, r.validation, r.lr) for r in h.records]  # noqa: E731
    assert keep(history) == keep(reference)


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
    with pytest.raises(TrainingError, match="another model"):
        pf.fit(pf.flows.maf(2, depth=1), x, **resume)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        pf.fit(small_flow(), x, **resume)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match="not a checkpoint of this version"):
        pf.fit(small_flow(), x, **resume)


def test_an_interrupted_run_keeps_its_best_weights(tmp_path: Path) -> None:
    def interrupt(record: Record) -> None:
        if record.step >= 50:
            raise KeyboardInterrupt

    x, path = banana(400), tmp_path / "run.checkpoint"
    flow = small_flow()
    start = weights_of(flow)
    with pytest.raises(KeyboardInterrupt):
        pf.fit(flow, x, callback=interrupt, checkpoint=path, progress=False, **SETTINGS)
    assert not same(start, weights_of(flow))
    resumed, whole = small_flow(), small_flow()
    pf.fit(resumed, x, checkpoint=path, resume=True, progress=False, **SETTINGS)
    pf.fit(whole, x, progress=False, **SETTINGS)
    assert same(weights_of(resumed), weights_of(whole))


KILLED = """
import os, signal, sys, torch, pushforward as pf
from pushforward.core import files
if sys.argv[2] == "inside a write":
    # Die between the two halves of the third checkpoint: after its bytes are written, before they take their place.
    real, calls = os.replace, []
    def replace(a, b):
        calls.append(b)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        real(a, b)
    files.os.replace = replace
torch.set_num_threads(1)
torch.manual_seed(0)
flow = pf.flows.nsf(2, depth=2, hidden=(16, 16), bins=4, dropout=0.2)
g = torch.Generator().manual_seed(0)
x = torch.randn(400, 2, generator=g) ** 3
pf.fit(flow, x, steps=100, batch_size=50, patience=10, ema=0.95, progress=False,
       checkpoint=sys.argv[1], checkpoint_seconds=0, resume=True)
torch.save(flow.state_dict(), sys.argv[1] + ".pt")
"""


def run_killed(tmp_path: Path, name: str, moment: str, delay: float | None) -> Path:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(KILLED))
    path = tmp_path / name
    process = subprocess.Popen(
        [sys.executable, str(script), str(path), moment], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if delay is not None:
        seen, limit = path.stat().st_mtime_ns, time.monotonic() + 60
        while path.stat().st_mtime_ns == seen and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    process.wait(timeout=120)
    return path


def test_kill_9_at_any_moment_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = tmp_path / "whole"
    script = textwrap.dedent(KILLED)
    monkeypatch.setattr(sys, "argv", ["train.py", str(reference), "never"])
    exec(compile(script, "train.py", "exec"), {})  # in this process: one thread, as in the others
    killed = run_killed(tmp_path, "killed", "inside a write", None)
    assert killed.exists()
    assert not Path(f"{killed}.pt").exists()
    before = killed.stat().st_mtime_ns
    run_killed(tmp_path, "killed", "from outside", 0.1)
    assert killed.stat().st_mtime_ns != before
    run_killed(tmp_path, "killed", "never", None)
    a, b = (torch.load(f"{path}.pt", weights_only=True) for path in (reference, killed))
    assert same(a, b)


def test_checkpoint_numbers_come_back_exactly(tmp_path: Path) -> None:
    values = {"a": 0.1 + 0.2, "b": [1e-308, 3, None]}
    tensors = {"x": {"w": torch.randn(3, dtype=torch.float64), "flag": torch.tensor(True)}, "empty": {}}
    checkpoint_module.write_checkpoint(tmp_path / "c", values, tensors)
    state, groups = checkpoint_module.read_checkpoint(tmp_path / "c")
    assert state == values
    assert same(groups["x"], tensors["x"])
    assert groups["empty"] == {}


def test_the_progress_bar_shows_nats(capsys: pytest.CaptureFixture[str]) -> None:
    pf.fit(small_flow(), banana(200), steps=30, progress=True)
    shown = capsys.readouterr()
    assert "validation" in shown.err
    assert shown.out == ""


def test_fingerprint_tells_data_apart() -> None:
    a, b = torch.zeros(3), torch.zeros(3)
    b[1] = 1e-30
    assert checkpoint_module.fingerprint(a) == checkpoint_module.fingerprint(a.clone())
    assert len({checkpoint_module.fingerprint(*t) for t in ((a,), (b,), (a, None), (a.double(),))}) == 4
    assert np.all(a.numpy() == 0)

"""The parts of `fit`: losses that call the model, events, and random numbers that belong to a run."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fitting import banana, same, small_flow, weights_of
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import pushforward as pf
from pushforward.core.execution_mode import current_execution, execution
from pushforward.core.random_state import seeded
from pushforward.distributions import Categorical, Continuous, MixedTypeModel, Normal, StandardNormal
from pushforward.estimators import FlowDensity
from pushforward.networks.trunk import dropped
from pushforward.train import (
    Batch,
    Checkpointed,
    Event,
    History,
    Loss,
    MaximumLikelihood,
    ReverseKL,
    RolledBack,
    Started,
    Stepped,
    Stop,
    Stopped,
    TrainingError,
    Validated,
)
from pushforward.train.batches import Batches
from pushforward.train.diagnosis import diagnose
from pushforward.train.draws import Draws
from pushforward.train.losses import Objective

QUICK = {"steps": 6, "progress": False}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- losses


def test_with_a_generator_the_model_gives_what_learning_maximises() -> None:
    flow, x = small_flow(), banana(20)
    assert torch.equal(flow(x), flow.log_prob(x))
    assert torch.equal(flow(x, generator=generator()), flow.log_prob(x))
    mixed = MixedTypeModel([Continuous(), Continuous(), Continuous()], hidden=(8,)).double()
    with torch.no_grad():
        for parameter in mixed.parameters():
            parameter.normal_(generator=generator())
    rows = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(mixed(rows), mixed.log_prob(rows))
    assert torch.equal(mixed(rows, generator=generator()), mixed(rows, generator=generator()))
    assert not torch.equal(mixed(rows, generator=generator()), mixed(rows, generator=generator(1)))
    exact = [
        MaximumLikelihood().exactness(model) for model in (flow, mixed, MixedTypeModel([Continuous()], order="fixed"))
    ]
    assert exact == ["exact", "unbiased", "exact"]


def test_hooks_of_the_model_see_every_call() -> None:
    flow, seen = small_flow(), []
    flow.register_forward_hook(lambda module, x, out: seen.append((module.training, len(out))))
    pf.fit(flow, banana(100), batch_size=30, **QUICK)
    assert seen == [(True, 30)] * 6 + [(False, 10)]


@pytest.mark.parametrize("loss", [MaximumLikelihood(), ReverseKL(lambda x: -x.square().sum(dim=-1))])
def test_gradients_travel_through_distributed_data_parallel(tmp_path: Path, loss: Loss) -> None:
    flow = small_flow()
    flow.initialize(banana(20))
    batch = Batch(banana(20))
    loss(flow, batch, generator()).backward()
    expected = [parameter.grad.clone() for parameter in flow.parameters()]
    flow.zero_grad()
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        DistributedDataParallel(Objective(flow, loss))(batch, generator()).backward()
    finally:
        torch.distributed.destroy_process_group()
    for parameter, gradient in zip(flow.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


class Denoising(MaximumLikelihood):
    """A loss with a preparation of its own: learns the distribution of rows with noise of standard deviation 2."""

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        return Batch(batch.x + 2 * torch.randn(batch.x.shape, generator=generator), batch.context, batch.weights)


class Distance(Loss):
    """A loss that knows no density: the squared distance of rows from the location of a normal."""

    metric = "squared distance"

    def per_row(self, model: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        return (batch.x - model.loc).square().sum(dim=-1)


def test_a_loss_may_prepare_its_batches() -> None:
    x = torch.randn(4000, 1, generator=generator())
    normal = Normal([0.0])
    pf.fit(normal, x, loss=Denoising(), steps=300, lr=0.05, progress=False, validation=None)
    assert normal.log_scale.exp().item() == pytest.approx(5**0.5, abs=0.1)


def test_a_loss_may_bring_its_own_number() -> None:
    x, start = torch.randn(400, 1, generator=generator()) + 3, Normal([0.0])
    history = pf.fit(start, x, loss=Distance(), steps=200, lr=0.05, progress=False)
    assert start.loc.item() == pytest.approx(3, abs=0.15)
    assert (history.metric, history.unit, history.greater_is_better, history.exactness) == (
        "squared distance", "", False, "unbiased",
    )  # fmt: skip
    values = [record.validation for record in history.records]
    assert history.best_validation == min(values)
    assert values[0] > min(values)
    assert all(record.train > 0 for record in history.records)
    assert History.from_dict(history.to_dict()) == history


def test_reverse_kl_learns_an_unnormalised_density() -> None:
    """A correlated normal, whose mean, covariance and normaliser are known."""
    covariance = torch.tensor([[2.0, 0.9], [0.9, 1.0]])
    mean, precision = torch.tensor([1.0, -2.0]), covariance.inverse()

    def log_density(x: Tensor) -> Tensor:
        return -0.5 * ((x - mean) @ precision * (x - mean)).sum(dim=-1)

    torch.manual_seed(0)
    flow = pf.flows.iaf(2, depth=1, hidden=(8,))
    history = pf.fit(flow, loss=ReverseKL(log_density), steps=300, lr=2e-2, progress=False)
    log_z = math.log(2 * math.pi) + 0.5 * torch.logdet(covariance).item()
    assert history.best_validation == pytest.approx(log_z, abs=0.02)
    assert history.best_validation < log_z + 0.01
    assert (history.metric, history.exactness) == ("evidence lower bound", "bound")
    x = flow.sample(20_000, generator=generator())
    torch.testing.assert_close(x.mean(dim=0), mean, rtol=0, atol=0.08)
    torch.testing.assert_close(x.t().cov(), covariance, rtol=0, atol=0.15)


def test_reverse_kl_of_a_conditional_density() -> None:
    context = torch.linspace(-2, 2, 300)[:, None]
    torch.manual_seed(0)
    flow = pf.flows.iaf(1, 1, depth=1, hidden=(16,))

    def log_density(x: Tensor, c: Tensor) -> Tensor:
        return -0.5 * (x - 3 * c).square().sum(dim=-1)

    pf.fit(flow, context=context, loss=ReverseKL(log_density), steps=250, lr=2e-2, progress=False)
    means = flow.sample(2000, torch.tensor([[-1.0], [1.0]]), generator=generator()).mean(dim=0)[:, 0]
    assert means.tolist() == pytest.approx([-3, 3], abs=0.4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.zeros(9, 2)}, "ReverseKL learns without data; leave x out"),
        ({"epochs": 3}, "epochs are passes over data, and this loss learns without. Use steps"),
        ({"weights": torch.ones(9)}, "weights are of rows, and ReverseKL has none here"),
        ({"loss": ReverseKL(lambda x: x)}, r"log_density must return a tensor of shape \(256,\).*; got \(256, 2\)"),
        ({"loss": ReverseKL(lambda x: 3.0)}, r"log_density must return a tensor of shape \(256,\).*; got float"),
        (
            {"loss": ReverseKL(lambda x: x[:, 0] * torch.nan)},
            r"not finite 4 times.*: the evidence lower bound of 256 of 256 draws is not finite",
        ),
    ],
)
def test_mistakes_without_data(arguments: dict[str, Any], message: str) -> None:
    arguments = {"loss": ReverseKL(lambda x: -x.square().sum(dim=-1)), "steps": 9, **arguments}
    with pytest.raises(TrainingError, match=message):
        pf.fit(pf.flows.iaf(2, depth=1, hidden=(4,)), progress=False, **arguments)


def test_a_density_that_is_no_function() -> None:
    with pytest.raises(TypeError, match=r"ReverseKL: log_density must be a function of x .* got 3"):
        ReverseKL(3)


@pytest.mark.parametrize("name", ["per_row", "metric_per_row"])
def test_a_loss_gives_one_number_per_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Distance, name, lambda self, model, batch, generator: batch.x + model.loc)
    rows = 46 if name == "per_row" else 5
    with pytest.raises(
        TrainingError, match=rf"Distance: {name} must return one number per row, shape \({rows},\); got"
    ):
        pf.fit(Normal([0.0]), torch.randn(51, 1), loss=Distance(), **QUICK)


ANGLES = torch.full((20, 2), 1.0)
OUTSIDE = {
    "angle": (
        pf.flows.torus_flow(2, depth=1),
        ANGLES,
        [1.0, 6.25],
        r"row 7: column 1 is 6\.25, outside of \[-3\.14159265, 3",
    ),
    "unit vector": (
        pf.flows.sphere_flow(3, depth=1),
        torch.tensor([0.0, 0.6, 0.8]).repeat(20, 1),
        [0.0, 3.0, 4.0],
        r"row 7: columns 0 to 2 are \(0, 3, 4\), of norm 5, where .* Divide points by their norm",
    ),
    "box": (
        pf.flows.box_flow([0.0, None], [1.0, None], depth=1),
        torch.full((20, 2), 0.5),
        [1.5, 9.0],
        r"row 7: column 0 is 1\.5, outside of \[0, 1\]\. Leave such rows out, or build the model with ends",
    ),
}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("place", ["x", "validation x", "pass"])
def test_a_row_outside_the_support_is_refused_before_training(name: str, place: str) -> None:
    flow, inside, point, message = OUTSIDE[name]
    wrong, started = inside.clone(), []
    wrong[7] = torch.tensor(point)
    x: Any = {"x": wrong, "validation x": inside, "pass": lambda epoch: wrong}[place]
    validation = (wrong,) if place == "validation x" else None
    with pytest.raises(TrainingError, match=f"fit: {place.replace('pass', 'x')} leaves the support of Flow.*{message}"):
        pf.fit(flow, x, validation=validation, callbacks=started.append, **QUICK)
    assert not started


def test_wrapped_angles_and_normed_vectors_are_learned() -> None:
    """What the refusals advise."""
    angles = (6.28 * torch.rand(100, 2, generator=generator()) + torch.pi) % (2 * torch.pi) - torch.pi
    vectors = torch.randn(100, 3, generator=generator())
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    for flow, x in ((pf.flows.torus_flow(2, depth=1), angles), (pf.flows.sphere_flow(3, depth=1), vectors)):
        assert math.isfinite(pf.fit(flow, x, **QUICK | {"steps": 2}).best_validation)


def test_several_rows_outside_the_support_are_counted() -> None:
    with pytest.raises(TrainingError, match=r"in row 0 \(20 of 20 rows do\): column 0 is 4, "):
        pf.fit(pf.flows.torus_flow(2, depth=1), ANGLES + 3, **QUICK)


def test_diagnoses() -> None:
    model, loss = Normal([0.0, 0.0]), MaximumLikelihood()
    rows = torch.randn(8, 2, generator=generator())
    assert diagnose(Objective(model, loss), Batch(rows), generator()) == "no single row or parameter stands out"
    model.loc.grad = torch.tensor([1.0, torch.inf])
    assert diagnose(Objective(model, loss), Batch(rows), generator()) == "the gradient of parameter loc is not finite"
    gaps = rows.clone()
    gaps[3] = torch.tensor([torch.nan, 7.0])
    assert (
        diagnose(Objective(model, loss), Batch(gaps), generator()) == "a row whose column 1 is 7 has log-likelihood nan"
    )
    assert model.training


# --- events


def test_the_events_of_a_run(tmp_path: Path) -> None:
    events: list[Event] = []
    others: list[Event] = []
    path = tmp_path / "c"
    history = pf.fit(
        small_flow(), banana(100), steps=4, batch_size=30, validate_every=2, callbacks=[events.append, others.append],
        checkpoint=path, checkpoint_seconds=3600, progress=False,
    )  # fmt: skip
    kinds = [Started, Stepped, Stepped, Validated, Stepped, Stepped, Validated, Checkpointed, Stopped]
    assert [type(event) for event in events] == kinds
    assert others == events
    assert [event.step for event in events] == [0, 1, 2, 2, 3, 4, 4, 4, 4]
    assert [event.done for event in events] == [0, 0.25, 0.5, 0.5, 0.75, 1, 1, 1, 1]
    started, stepped, validated, stopped = events[0], events[2], events[6], events[-1]
    assert started.history is history
    assert validated.record is history.records[-1]
    assert validated.best == history.best_validation
    assert validated.is_best == (history.best_step == 4)
    losses = [event.loss for event in events[1:3]]
    assert history.records[0].train == pytest.approx(-sum(losses) / 2)
    assert 0 < stepped.lr <= 4e-3
    assert events[-2].path == str(path)
    assert stopped.reason == history.stopped == "step limit reached"


def test_a_callback_stops_the_run() -> None:
    flow, x = small_flow(), banana(300)
    start, seen = weights_of(flow), []

    def callback(event: Event) -> object:
        seen.append(type(event))
        return Stop("loss low enough") if isinstance(event, Stepped) and event.step == 3 else True  # True is no Stop

    history = pf.fit(flow, x, steps=100, callbacks=callback, progress=False)
    assert history.stopped == "loss low enough"
    assert seen == [Started, Stepped, Stepped, Stepped, Validated, Stopped]
    assert [record.step for record in history.records] == [3]
    assert not same(start, weights_of(flow))
    assert Stop().reason == "stopped by a callback"


def test_a_rollback_is_an_event() -> None:
    class Breaking(StandardNormal):
        """A learnable normal whose third loss is NaN."""

        def __init__(self) -> None:
            super().__init__(1)
            self.loc, self.calls = nn.Parameter(torch.zeros(1)), 0

        def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
            self.calls += self.training
            return super()._log_prob(x - self.loc, context) * (torch.nan if self.calls == 3 else 1.0)

    events: list[Event] = []
    pf.fit(Breaking(), torch.randn(50, 1), steps=5, callbacks=events.append, validation=None, progress=False)
    (rollback,) = [event for event in events if isinstance(event, RolledBack)]
    assert rollback.step == 3
    assert rollback.cause.startswith("a row whose column 0 is")


def test_the_progress_bar_shows_nats(capsys: pytest.CaptureFixture[str]) -> None:
    pf.fit(small_flow(), banana(200), steps=3)
    shown = capsys.readouterr()
    assert "validation" in shown.err
    assert "nats" in shown.err
    assert "≈" not in shown.err
    assert shown.out == ""
    pf.fit(Normal([0.0]), torch.randn(50, 1), loss=Distance(), steps=3)
    shown = capsys.readouterr()
    assert "validation ≈" in shown.err
    assert "squared distance" in shown.err


# --- order of the rows


def test_an_epoch_is_a_permutation_without_an_incomplete_batch() -> None:
    rows = Batch(torch.arange(10.0)[:, None])
    batches, epochs = Batches(rows, 4, seed=5), []
    for _ in range(3):
        epochs.append([*batches.next().x.flatten().tolist(), *batches.next().x.flatten().tolist()])
        assert batches.row == 8
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    for epoch, row in ((0, 0), (1, 0), (1, 4), (0, 8), (2, 4)):  # row 8 of an epoch is the start of the next one
        again = Batches(rows, 4, seed=5)
        again.epoch, again.row = epoch, row
        expected = epochs[epoch + (row == 8)][row % 8 : row % 8 + 4]
        assert again.next().x.flatten().tolist() == expected


# --- random numbers


class Drawing(StandardNormal):
    """Uses torch's global generator in the loss."""

    def __init__(self, scale: float) -> None:
        super().__init__(1)
        self.loc, self.scale = nn.Parameter(torch.zeros(1)), scale

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        noise = self.scale * torch.randn_like(x) if self.scale else 0.0
        return super()._log_prob(x - self.loc + noise, context)


def test_global_generators_are_borrowed_where_a_model_draws_from_them() -> None:
    for model, expected in ((Drawing(1.0), True), (Drawing(0.0), False), (nn.Sequential(nn.Dropout(0.0)), True)):
        draws, before = Draws(model, 3), torch.get_rng_state()
        with draws.scope():
            if isinstance(model, Drawing):
                model.log_prob(torch.zeros(4, 1))
        assert draws.borrows == expected
        assert torch.equal(torch.get_rng_state(), before)


def test_global_draws_repeat_and_leave_no_trace() -> None:
    x, ends = torch.randn(100, 1), []
    for seed in (0, 0, 1):
        model = Drawing(1.0)
        torch.manual_seed(len(ends))
        before = torch.get_rng_state()
        pf.fit(model, x, seed=seed, **QUICK)
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(model.loc.item())
    assert ends[0] == ends[1] != ends[2]


def test_seeded_blocks() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
        with suppress(KeyError), seeded(3):
            assert torch.equal(torch.rand(2), first)
            raise KeyError
        second = torch.rand(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.cat([first, second]), torch.rand(4, generator=generator(3)))


def test_dropout_draws_from_the_scope() -> None:
    h, before = torch.randn(30, 7), torch.get_rng_state()
    with execution(generator=generator(4)):
        ours = dropped(h, 0.3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(4):
        theirs = F.dropout(h, 0.3)
    assert torch.equal(ours, theirs)
    assert 0 < (ours == 0).float().mean() < 0.6
    with seeded(4):
        assert torch.equal(dropped(h, 0.3), theirs)


def mixed() -> MixedTypeModel:
    return MixedTypeModel([Continuous(smoothing=0.1), Categorical(3)], hidden=(8, 8), dropout=0.2)


def columns() -> Tensor:
    x = banana(200).double()
    x[:, 1] = (x[:, 1] > 110).double()
    x[::9, 0] = torch.nan
    return x


JOBS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "flow": lambda: (small_flow(dropout=0.2), banana(300)),
    "mixed": lambda: (mixed(), columns()),
    "global draws": lambda: (Drawing(0.5), torch.linspace(0, 3, 300)[:, None]),
    "recomputing": lambda: (small_flow(dropout=0.2), banana(300)),
}


def weights_after(model: Any, x: Any, options: dict[str, Any]) -> dict[str, Tensor]:
    pf.fit(model, x, progress=False, **options)
    return weights_of(model)


def in_threads(functions: list[Callable[[], Any]]) -> list[Any]:
    """What functions return, each called in a thread of its own at the same time."""
    results: list[Any] = [None] * len(functions)

    def run(k: int) -> None:
        results[k] = functions[k]()

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("names", [("flow", "flow"), ("mixed", "global draws"), ("global draws", "global draws"),
                                   ("recomputing", "global draws")])  # fmt: skip
def test_fits_in_threads_give_the_bits_of_fits_one_after_the_other(names: tuple[str, str]) -> None:
    options: list[dict[str, Any]] = [{"seed": 1, "steps": 12}, {"seed": 2, "steps": 17, "lr": 1e-2}]
    if names[0] == "recomputing":
        options[0]["memory"] = "checkpoint"

    def jobs() -> list[Callable[[], dict[str, Tensor]]]:
        made = []
        for name, option in zip(names, options, strict=True):
            with seeded(5):
                model, x = JOBS[name]()
            made.append(lambda model=model, x=x, option=option: weights_after(model, x, option))
        return made

    before = torch.get_rng_state()
    alone = [job() for job in jobs()]
    together = in_threads(jobs())
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    assert current_execution().generator is None


def test_estimators_in_threads_give_the_same_bits() -> None:
    x = np.random.default_rng(0).normal(size=(120, 2))

    def scores(seed: int) -> Callable[[], Any]:
        return lambda: FlowDensity(steps=8, hidden=(8,), dropout=0.2, random_state=seed).fit(x).score_samples(x)

    alone = [scores(seed)() for seed in (0, 1)]
    together = in_threads([scores(seed) for seed in (0, 1)])
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)

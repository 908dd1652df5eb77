"""`fit`: learning, early stopping, weights, rollback, options and messages."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import torch
from fitting import banana, same, small_flow, weights_of

import pushforward as pf
from pushforward.distributions import MultivariateNormal, Normal, StandardNormal
from pushforward.train import (
    ConstantRate,
    CosineDecay,
    Decay,
    FixedCosine,
    History,
    LinearDecay,
    Schedule,
    TrainingError,
    Validated,
)
from pushforward.train.schedule import ScheduleOptions


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
    assert history.stopped == "step limit reached"
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
    assert history.stopped == "no improvement in 3 validations"
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
    assert history.stopped == "time limit reached"
    seen = []
    pf.fit(small_flow(), x, steps=50, epochs=1, batch_size=100, callbacks=seen.append, progress=False)
    assert [event.step for event in seen if isinstance(event, Validated)] == [9]


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
    rates = [record.lr for record in history.records]
    again = pf.fit(Fragile(breaks=0), x, steps=200, lr=0.05, progress=False)
    assert rates == pytest.approx([record.lr / 4 for record in again.records])


def test_three_rollbacks_are_the_limit_and_the_parameter_is_named() -> None:
    with pytest.raises(TrainingError, match="not finite 4 times, although the rate was halved"):
        pf.fit(Fragile(breaks=1000), torch.randn(200, 1), steps=200, progress=False)
    flow = pf.flows.maf(2, depth=1, hidden=(8,))
    with torch.no_grad():
        flow.bijection.inv.parts[1].free[0, 1] = float("nan")
    with pytest.raises(TrainingError, match=r"parameter bijection\.bijection\.parts\.1\.free is not finite"):
        pf.fit(flow, torch.randn(200, 2), steps=20, progress=False)


class Short(Normal):
    """Its density is zero beyond 30, which its support does not tell."""

    def _log_prob(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        return super()._log_prob(x, context).masked_fill(x.amax(dim=-1) > 30, -torch.inf)


def test_a_row_whose_density_is_zero_is_named_by_its_column() -> None:
    x = 0.3 * torch.rand(100, 2)
    x[7, 1] = 40.0
    with pytest.raises(TrainingError, match="column 1 is 40 has log-likelihood -inf"):
        pf.fit(Short([0.0, 0.0]), x, steps=50, validation=None, progress=False)


def test_numbers_without_an_axis_are_refused_with_the_remedy() -> None:
    for place in ("x", "validation x"):
        x, held_out = torch.randn(50, 1), torch.randn(9, 1)
        x, held_out = (x[:, 0], held_out) if place == "x" else (x, held_out[:, 0])
        with pytest.raises(TrainingError, match=rf"{place} must have .*; got \(\d+,\)\. .* pass x\[\.\.\., None\]"):
            pf.fit(Normal([0.0]), x, validation=(held_out,), steps=2, progress=False)


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
        ({"x": None}, "MaximumLikelihood learns from data; give x"),
        ({"lr": 0.0}, r"Schedule: lr must be a positive number; got 0\.0"),
        ({"lr": None}, "lr must be a positive number; got None"),
        ({"lr": "high"}, "lr must be a positive number; got 'high'"),
        ({"steps": -1}, "steps must be a positive whole number, or None; got -1"),
        ({"steps": 2.5}, r"steps must be a positive whole number, or None; got 2\.5"),
        ({"seconds": float("inf")}, "seconds must be a positive number, or None; got inf"),
        ({"ema": 1.0}, "ema must be a number from 0 up to 1, or None; got 1.0"),
        ({"weight_decay": -1}, "weight_decay must be a number of at least 0; got -1"),
        ({"seed": None}, "seed must be a whole number; got None"),
        ({"decay": "step"}, r"decay must be one of 'cosine', 'linear', 'constant', or a Decay; got 'step'"),
        ({"optimizer": "sgd"}, "optimizer must be called as optimizer"),
        ({"optimizer": torch.optim.LBFGS}, "whose steps need no closure, such as torch.optim.SGD; got LBFGS"),
        ({"optimizer": lambda parameters, lr: None}, "must return a torch.optim.Optimizer .* got NoneType"),
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flow": torch.nn.Linear(2, 2)}, "fit: flow must be a Distribution, such as .*; got Linear"),
        ({"loss": "nll"}, r"fit: loss must be a Loss, such as MaximumLikelihood\(\); got 'nll'"),
        ({"schedule": {"steps": 3}}, r"fit: schedule must be a Schedule, such as Schedule\(steps=1000\)"),
        ({"callbacks": [print, 3]}, "fit: callbacks must be functions of an event"),
        ({"step": 3}, "fit: there is no option 'step'. Did you mean 'steps'?"),
        ({"colour": 3}, "fit: there is no option 'colour'. Those of a Schedule are steps, epochs"),
    ],
)
def test_arguments_of_a_wrong_kind(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        pf.fit(**{"flow": small_flow(), "x": banana(50), **arguments})


def test_a_schedule_and_options_that_override_it() -> None:
    assert list(ScheduleOptions.__annotations__) == [field.name for field in fields(Schedule)]
    x, schedule = banana(300), Schedule(steps=30, lr=1e-2, ema=None)
    by_schedule, by_name, other = small_flow(), small_flow(), small_flow()
    pf.fit(by_schedule, x, schedule=schedule, progress=False)
    pf.fit(by_name, x, steps=30, lr=1e-2, ema=None, progress=False)
    history = pf.fit(other, x, schedule=schedule, steps=3, progress=False)
    assert same(weights_of(by_schedule), weights_of(by_name))
    assert history.records[-1].step == 3


def test_decays_of_the_rate() -> None:
    for decay in (CosineDecay(warmup=0.1), LinearDecay(warmup=0.1)):
        assert decay(0.05, 5) == pytest.approx(0.5 * decay(0.05 + 1e-9, 5) / 0.5)
        assert [decay(0.0, 0), decay(1.0, 100)] == pytest.approx([0.0, 0.0])
    assert [CosineDecay(0.0)(0.5, 50), LinearDecay(0.0)(0.25, 25)] == pytest.approx([0.5, 0.75])
    assert [FixedCosine(200, 0.0)(1.0, step) for step in (0, 100)] == pytest.approx([1.0, 0.5], abs=0.01)
    assert [ConstantRate(9)(0.0, 0), ConstantRate(9)(0.9, 20), ConstantRate(0)(0.0, 0)] == pytest.approx(
        [0.1, 1.0, 1.0]
    )

    class Half(Decay):
        def __call__(self, done: float, step: int) -> float:
            return 0.5

    history = pf.fit(small_flow(), banana(100), steps=5, lr=0.01, decay=Half(), progress=False)
    assert history.records[-1].lr == pytest.approx(0.005)
    for wrong, message in (
        (lambda: CosineDecay(1.0), "CosineDecay: warmup must be a part"),
        (lambda: LinearDecay(-1), "LinearDecay: warm"),
        (lambda: FixedCosine(0), "FixedCosine: steps must be a whole number of at least 1; got 0"),
    ):
        with pytest.raises(TrainingError, match=message):
            wrong()
    with pytest.raises(TrainingError, match=r"ConstantRate: warmup must be a number of steps, 0 or more; got 0\.5"):
        ConstantRate(0.5)


def test_another_optimizer_keeps_the_ratio_of_its_rates() -> None:
    """Plain gradient descent, checked against steps made by hand."""
    x = torch.randn(64, 1) + 1

    def optimizer(parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        first, second = parameters
        return torch.optim.SGD([{"params": [first]}, {"params": [second], "lr": lr / 10}], lr=lr)

    fitted, by_hand = Normal([0.0]), Normal([0.0])
    by_hand.initialize(x)
    options = {"steps": 5, "lr": 0.1, "decay": ConstantRate(0), "ema": None, "clip": None, "validation": None}
    pf.fit(fitted, x, batch_size=64, optimizer=optimizer, progress=False, **options)
    step = optimizer(list(by_hand.parameters()), 0.1)
    for _ in range(5):
        step.zero_grad()
        (-by_hand.log_prob(x).mean()).backward()
        step.step()
    for expected, got in zip(by_hand.parameters(), fitted.parameters(), strict=True):
        torch.testing.assert_close(got, expected)

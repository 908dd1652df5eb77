"""Properties of `fit`: functions of ``fit`` that raise AssertionError where one fails.

They train a `Recorder`, whose density keeps every batch that it is asked for, and watch the optimiser's steps.
"""

import contextlib
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import REAL
from pushforward.train import CosineDecay

ROWS = 12


@configurable
class Recorder(Distribution):
    """Normals of variance one with learned means; remembers the rows of each batch, with and without gradients."""

    def __init__(self, features: int = 1) -> None:
        super().__init__()
        self.event_shape, self.support = (features,), REAL
        self.loc = nn.Parameter(torch.zeros(features))
        self.trained: list[list[float]] = []
        self.validated: list[list[float]] = []
        self.interrupt_at: int | None = None

    def _log_prob(self, x, context):
        seen = self.trained if torch.is_grad_enabled() else self.validated
        if seen is self.trained and len(seen) == self.interrupt_at:
            raise KeyboardInterrupt
        seen.append(x[:, 0].tolist())
        return -0.5 * (x - self.loc).square().sum(-1)

    def _rsample(self, batch, context, generator):
        return self.loc + torch.randn(*batch, *self.event_shape, generator=generator)


def table(features=1):
    """Rows that tell themselves apart by their first feature."""
    return torch.arange(ROWS)[:, None] + torch.arange(features) / 100.0


@contextlib.contextmanager
def watched_steps(before=None, after=None):
    """Calls ``before`` and ``after`` each optimiser step with the parameters."""

    def hook(call):
        return lambda optimizer, args, kwargs: call(optimizer.param_groups[0]["params"])

    handles = [register_optimizer_step_pre_hook(hook(before))] if before else []
    handles += [register_optimizer_step_post_hook(hook(after))] if after else []
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def quick(fit, model, x, **options):
    """A short run without validation, averaging, decay or clipping, unless asked for."""
    plain = {"validation": None, "batch_size": 4, "ema": None, "weight_decay": 0.0, "clip": 1e9, "progress": False}
    return fit(model, x, **{**plain, **options})


def every_epoch_is_a_new_order_of_all_rows(fit):
    """Each epoch visits each row once, in an order of its own."""
    model, epochs = Recorder(), 5
    quick(fit, model, table(), epochs=epochs)
    per_epoch = ROWS // 4
    batches = [model.trained[k * per_epoch : (k + 1) * per_epoch] for k in range(epochs)]
    orders = [tuple(row for batch in epoch for row in batch) for epoch in batches]
    assert all(sorted(order) == list(range(ROWS)) for order in orders), f"not every row once an epoch: {orders}"
    assert len(set(orders)) == epochs, "two epochs have the same order"
    assert len({order for order in orders if list(order) == sorted(order)}) == 0, "rows are not shuffled"


def every_batch_is_whole(fit):
    """An epoch has as many whole batches as its rows fill; the rows that are left fill none."""
    model = Recorder()
    quick(fit, model, table(), steps=6, batch_size=5)
    assert [len(batch) for batch in model.trained] == [5] * 6, "a batch is not whole"
    for first, second in zip(model.trained[::2], model.trained[1::2], strict=True):
        assert len({*first, *second}) == 10, "rows of an epoch come twice"


class Pairs(Recorder):
    """Remembers the rows of each batch with their contexts."""

    def __init__(self) -> None:
        super().__init__()
        self.context_shape = (1,)

    def _log_prob(self, x, context):
        self.validated += torch.cat([x, context], dim=1).tolist()
        return -0.5 * (x - self.loc).square().sum(-1)


def rows_keep_their_context_and_weight(fit):
    """In the batches of several epochs, each row has the context that it had in the table, and its weight."""
    model, x, weights = Pairs(), table(), torch.arange(1.0, ROWS + 1)
    gradients = []
    with watched_steps(before=lambda parameters: gradients.append((model.loc.item(), parameters[0].grad.item()))):
        quick(fit, model, x, context=x + 100, weights=weights, epochs=2)
    assert all(context == row + 100 for row, context in model.validated), "a row has the context of another one"
    for k, (loc, gradient) in enumerate(gradients):
        batch = torch.tensor(model.validated[4 * k : 4 * k + 4])[:, 0]
        expected = loc - (batch * weights[batch.long()]).sum() / weights[batch.long()].sum()
        assert abs(gradient - expected) < 1e-4, "a row has the weight of another one"


def validation_rows_are_never_trained_on(fit):
    """Rows held out are validated and not trained on; the others the other way round."""
    model = Recorder()
    quick(fit, model, table(), epochs=4, validation=0.25)
    trained, validated = ({row for batch in seen for row in batch} for seen in (model.trained, model.validated))
    assert len(validated) == ROWS // 4, f"{len(validated)} rows are validated instead of {ROWS // 4}"
    assert not trained & validated, f"rows {sorted(trained & validated)} are trained on and validated"
    assert trained | validated == set(range(ROWS)), "some rows are neither trained on nor validated"


def validation_leaves_the_training_alone(fit):
    """Steps are the same with and without validations between them, which judge the average of the weights."""
    ends, history = [], None
    for validation in (None, (table(),)):
        after: list[torch.Tensor] = []
        with watched_steps(after=lambda parameters, kept=after: kept.append(parameters[0].detach().clone())):
            options = {"steps": 8, "ema": 0.8, "lr": 0.1, "validate_every": 2}
            history = quick(fit, Recorder(), table(), validation=validation, **options)
        ends.append(torch.stack(after))
    assert torch.equal(*ends), "validations change the steps"
    average = torch.zeros(1)
    for k, weights in enumerate(ends[0], start=1):
        average = average.lerp(weights, 1 - min(0.8, k / (k + 9)))
    expected = -0.5 * (table() - average).square().mean().item()
    assert abs(history.records[-1].validation - expected) < 1e-3, "other weights than the average are validated"


class Told(Recorder):
    """Its validations give numbers that are decided in advance."""

    def __init__(self, told) -> None:
        super().__init__()
        self.told, self.at_validation = list(told), []

    def _log_prob(self, x, context):
        if torch.is_grad_enabled():
            return super()._log_prob(x, context)
        self.at_validation.append(self.loc.detach().clone())
        return torch.full((len(x),), self.told[len(self.at_validation) - 1])


def stops_after_so_many_validations_without_a_better_one(fit):
    """The count starts afresh at each better validation, an equal one is none, and the best weights are kept."""
    for told, count, best in (
        ([0.0, 1.0, 0.5, 0.5, 2.0, 1.0, 2.0, 0.0, *[9.0] * 9], 8, 4),
        ([3.0, 1.0, 2.0, 2.5, *[9.0] * 9], 4, 0),
    ):
        model = Told(told)
        options = {"validation": (table(),), "validate_every": 1, "patience": 3, "steps": 12, "lr": 0.1}
        history = quick(fit, model, table(), **options)
        assert len(history.records) == count, f"stopped after {len(history.records)} validations instead of {count}"
        assert torch.equal(model.loc, model.at_validation[best]), "other weights than the best ones are kept"


def gradients_are_those_of_one_batch(fit):
    """The gradient of each step is that of its own rows at the weights before it."""
    model, gradients = Recorder(), []
    with watched_steps(before=lambda parameters: gradients.append((model.loc.item(), parameters[0].grad.item()))):
        quick(fit, model, table(), steps=4)
    for batch, (loc, gradient) in zip(model.trained, gradients, strict=True):
        expected = loc - sum(batch) / len(batch)
        assert abs(gradient - expected) < 1e-4, f"gradient {gradient} instead of {expected}"


def rates_rise_and_fall(fit):
    """The rate of each step is that of its middle: a linear rise over the warm-up times half a cosine; groups keep the
    ratios of their rates."""
    steps, warmup, rates = 20, 0.25, []

    def optimizer(parameters, lr):
        (only,) = parameters
        other = nn.Parameter(torch.zeros(1))
        return torch.optim.SGD([{"params": [only]}, {"params": [other], "lr": lr / 10}], lr=lr)

    def note(optimizer, args, kwargs):
        rates.append([group["lr"] for group in optimizer.param_groups])

    handle = register_optimizer_step_pre_hook(note)
    try:
        quick(fit, Recorder(), table(), steps=steps, lr=0.01, decay=CosineDecay(warmup), optimizer=optimizer)
    finally:
        handle.remove()
    for k, (rate, other) in enumerate(rates):
        done = (k + 0.5) / steps
        expected = 0.01 * min(1.0, done / warmup) * 0.5 * (1 + math.cos(math.pi * done))
        assert math.isclose(rate, expected, rel_tol=1e-6), f"step {k}: rate {rate} instead of {expected}"
        assert math.isclose(other, rate / 10, rel_tol=1e-6), f"step {k}: the groups lose the ratio of their rates"


def gradients_weigh_rows(fit):
    """The gradient of a step is the mean over the rows, each counted by its weight."""
    x, weights = table(), torch.linspace(0.0, 3.0, ROWS)
    gradients = []
    with watched_steps(before=lambda parameters: gradients.append(parameters[0].grad.clone())):
        quick(fit, Recorder(), x, steps=1, weights=weights, batch_size=ROWS)
    expected = -(weights * x[:, 0]).sum() / weights.sum()  # at loc = 0
    assert torch.allclose(gradients[0], expected), f"gradient {gradients[0].item()} instead of {expected.item()}"


def gradients_are_clipped_by_their_norm(fit):
    """A gradient longer than ``clip`` is shortened to that length and keeps its direction; a shorter one stays."""
    x = table(3) * torch.tensor([1.0, -4.0, 0.1])
    raw = -x.mean(dim=0)  # the gradient at loc = 0
    for clip in (0.5, 100.0):
        gradients = []
        with watched_steps(before=lambda parameters, kept=gradients: kept.append(parameters[0].grad.clone())):
            quick(fit, Recorder(3), x, steps=1, batch_size=ROWS, clip=clip)
        expected = raw * min(1.0, clip / raw.norm().item())
        assert torch.allclose(gradients[0], expected, rtol=1e-4), f"clip={clip}: {gradients[0]} instead of {expected}"


def kept_weights_are_the_average(fit):
    """With ``ema`` the weights left in the model are the exponential average of those after each step, whose first k
    steps weigh as in an average with decay k / (k + 9)."""
    decay, model = 0.8, Recorder()
    after = []
    with watched_steps(after=lambda parameters: after.append(parameters[0].detach().clone())):
        quick(fit, model, table(), steps=6, ema=decay, lr=0.1)
    average = torch.zeros(1)
    for k, weights in enumerate(after, start=1):
        average = average.lerp(weights, 1 - min(decay, k / (k + 9)))
    assert torch.allclose(model.loc, average, rtol=1e-5), f"{model.loc.item()} is kept instead of {average.item()}"


def a_resumed_run_is_the_same_run(fit):
    """Interrupted in the middle of an epoch, also twice, and resumed: the same batches and the same weights."""
    whole = Recorder()
    quick(fit, whole, table(), epochs=6, ema=0.9)
    with TemporaryDirectory() as folder:
        options = {"epochs": 6, "ema": 0.9, "checkpoint": Path(folder, "run.safetensors"), "resume": True}
        seen = []
        for interrupt_at in (4, 1, None):
            model = Recorder()
            model.interrupt_at = interrupt_at
            with contextlib.suppress(KeyboardInterrupt):
                quick(fit, model, table(), **options)
            seen += model.trained
    assert seen == whole.trained, "the resumed run saw other batches"
    assert torch.equal(model.loc, whole.loc), f"resumed: {model.loc.item()}, in one piece: {whole.loc.item()}"

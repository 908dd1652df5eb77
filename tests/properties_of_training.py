"""Properties of `fit`: functions of ``fit`` that raise AssertionError where one fails.

They train a `Recorder`, whose density keeps every batch that it is asked for, and watch the optimiser's steps.
"""

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import REAL

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


def validation_rows_are_never_trained_on(fit):
    """Rows held out are validated and not trained on; the others the other way round."""
    model = Recorder()
    quick(fit, model, table(), epochs=4, validation=0.25)
    trained, validated = ({row for batch in seen for row in batch} for seen in (model.trained, model.validated))
    assert len(validated) == ROWS // 4, f"{len(validated)} rows are validated instead of {ROWS // 4}"
    assert not trained & validated, f"rows {sorted(trained & validated)} are trained on and validated"
    assert trained | validated == set(range(ROWS)), "some rows are neither trained on nor validated"


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

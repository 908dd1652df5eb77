"""Rows that lose labels or get noise in each epoch, and noise taken away again."""

import math

import pytest
import torch
from cases import generator

import pushforward as pf
from pushforward.core.domain import REAL
from pushforward.distributions import DiscreteGrid, Distribution, denoise, row_blocks
from pushforward.flows import maf, tarflow
from pushforward.testing.random_parts import randomize
from pushforward.train import with_labels_dropped, with_noise

X, LABELS = torch.arange(4000.0)[:, None], torch.eye(5).repeat(800, 1)


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_are_dropped_in_their_share_and_others_in_each_epoch():
    rows = with_labels_dropped(X, LABELS, 0.2)
    dropped = []
    for epoch in range(3):
        x, context = rows(epoch)
        assert torch.equal(x, X)
        gone = (context == 0).all(dim=1)
        assert torch.equal(context[~gone], LABELS[~gone])
        assert abs(gone.float().mean().item() - 0.2) < 0.03
        dropped.append(gone)
    assert abs((dropped[0] & dropped[1]).float().mean().item() - 0.04) < 0.015  # independent of each other
    assert torch.equal(rows(1)[1] == 0, with_labels_dropped(X, LABELS, 0.2)(1)[1] == 0)
    assert not torch.equal(rows(1)[1], with_labels_dropped(X, LABELS, 0.2, seed=1)(1)[1])


@pytest.mark.parametrize("probability", [0, 1.0])
def test_none_or_all_labels(probability):
    assert with_labels_dropped(X, LABELS, probability)(0)[1].sum().item() == (1 - probability) * len(X)


def test_another_blank_and_numbers_that_stay():
    labels = torch.rand(1000, 2, 3, dtype=torch.float64)
    blank = torch.tensor([[-1.0, math.nan, 2.0], [0.0, 0.0, math.nan]])
    _, context = with_labels_dropped(torch.zeros(1000, 1), labels, 0.5, blank=blank)(7)
    gone = context[:, 0, 0] == -1
    assert 400 < gone.sum() < 600
    assert torch.equal(context[~gone], labels[~gone])
    stays = blank.isnan()
    assert torch.equal(context[:, stays], labels[:, stays])
    assert (context[gone][:, ~stays] == blank[~stays]).all()


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.3, (0.1, 0.7)])
def test_noise_has_the_level_that_the_context_says(noise):
    rows = with_noise(torch.zeros(4000, 2, 3), LABELS, noise)
    x, context = rows(0)
    assert torch.equal(context[:, :-1], LABELS)
    level = context[:, -1]
    low, high = (noise, noise) if isinstance(noise, float) else noise
    assert level.min() >= low
    assert level.max() <= high
    assert abs(level.mean().item() - (low + high) / 2) < 0.02
    ratio = x / level[:, None, None]
    assert abs(ratio.std().item() - 1) < 0.02
    assert abs(ratio.mean().item()) < 0.02
    assert (x[:, 0, 0].abs().gt(0.2).float() - level.gt(0.4).float()).std() > 0.1
    assert torch.equal(x, with_noise(torch.zeros(4000, 2, 3), LABELS, noise)(0)[0])
    assert not torch.equal(x, rows(1)[0])


def test_labels_dropped_then_noise():
    """One after the other, with draws that do not depend on each other."""
    rows = with_noise(with_labels_dropped(X, LABELS, 0.5, seed=3), noise=(0.0, 1.0), seed=3)
    x, context = rows(2)
    assert torch.equal(context[:, :-1], with_labels_dropped(X, LABELS, 0.5, seed=3)(2)[1])
    gone, level = (context[:, :-1] == 0).all(dim=1), context[:, -1]
    assert abs(level[gone].mean() - level[~gone].mean()) < 0.05
    alone = with_noise(lambda epoch: X + epoch, noise=0.1)
    assert alone(2)[1].shape == (4000, 1)
    assert abs((alone(2)[0] - X).mean().item() - 2) < 0.02
    assert torch.equal(x - X, x - X)


def test_fit_takes_such_rows_and_goes_on_where_it_stopped(tmp_path):
    x = torch.randn(300, 2, generator=generator(1))
    labels = (x[:, :1] > 0).float()
    results = []
    for parts in ((40,), (20, 40)):
        torch.manual_seed(0)
        flow, file = maf(2, 2, depth=1, hidden=(8,)), tmp_path / f"{len(parts)}.pt"
        for steps in parts:
            rows = with_noise(with_labels_dropped(x, labels, 0.3), noise=(0.0, 0.2))
            pf.fit(
                flow, rows, validation=rows(0), steps=steps, batch_size=100, checkpoint=file, resume=True,
                progress=False, decay="constant",
            )  # fmt: skip
        results.append(flow.log_prob(x, torch.cat([labels, torch.zeros(300, 1)], dim=1)))
    assert torch.equal(*results)


MISTAKES = [
    (lambda: with_labels_dropped(X, LABELS, 1.5), r"with_labels_dropped: probability must lie .*; got 1\.5"),
    (lambda: with_labels_dropped(X, LABELS, True), r"with_labels_dropped: probability .*; got True"),
    (lambda: with_labels_dropped(X)(0), r"with_labels_dropped: drops labels, which are the context; got none"),
    (
        lambda: with_labels_dropped(X, LABELS, blank=[0.0])(0),
        r"with_labels_dropped: blank must have the shape of one context, \(5,\); got \(1,\)",
    ),
    (lambda: with_labels_dropped(X, LABELS[:5]), r"with_labels_dropped: x and context .*; got 4000 and 5"),
    (lambda: with_labels_dropped(lambda epoch: X, LABELS), r"with_labels_dropped: a function .*; leave context out"),
    (lambda: with_noise(X, noise=-0.1), r"with_noise: noise must be a number of at least 0; got -0\.1"),
    (lambda: with_noise(X, noise=(-0.1, 0.2)), r"with_noise: noise must be a number of at least 0; got -0\.1"),
    (lambda: with_noise(X, noise=(0.3, 0.2)), r"with_noise: noise must be one level, or .*; got \(0\.3, 0\.2\)"),
    (lambda: with_noise(X, noise=(0.3,)), r"with_noise: noise must be one level, or \(low, high\); got \(0\.3,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "message"), MISTAKES, ids=[message[:50] for _, message in MISTAKES])
def test_mistakes_are_one_sentence(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# --- noise taken away ------------------------------------------------------------------------------------------------

MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
FACTOR = torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.5, 0.0], [-0.4, 0.3, 0.2]], dtype=torch.float64)


class NoisyNormal(Distribution):
    """N(shift · mean, F Fᵀ + σ²) at contexts (shift, σ)."""

    support = REAL

    def __init__(self, shift=True):
        super().__init__()
        self.event_shape, self.context_shape = (3,), (2,) if shift else (1,)
        self.register_buffer("centre", MEAN)

    def _normal(self, context):
        shift = context[..., :1] if context.shape[-1] == 2 else 1.0
        covariance = FACTOR @ FACTOR.t() + context[..., -1, None, None] ** 2 * torch.eye(3, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(shift * self.centre, covariance)

    def _log_prob(self, x, context):
        return self._normal(context).log_prob(x)

    def _rsample(self, batch, context, generator):
        return self._normal(context).rsample()


def posterior_mean(x, noise, shift=1.0):
    covariance, mean = FACTOR @ FACTOR.t(), shift * MEAN
    gain = covariance @ torch.linalg.inv(covariance + noise**2 * torch.eye(3, dtype=torch.float64))
    return mean + (x - mean) @ gain.t()


@pytest.mark.parametrize("noise", [0.0, 0.1, 2.0])
def test_denoising_a_normal_gives_its_posterior_mean(noise):
    x = torch.randn(4, 5, 3, dtype=torch.float64, generator=generator(1))
    shift = torch.tensor([[0.5], [2.0], [-1.0], [0.0], [1.0]], dtype=torch.float64)
    moved = denoise(NoisyNormal(), x, noise, shift)
    assert not moved.requires_grad
    torch.testing.assert_close(moved, torch.stack([posterior_mean(x[:, k], noise, shift[k]) for k in range(5)], dim=1))
    torch.testing.assert_close(denoise(NoisyNormal(False), x, noise), posterior_mean(x, noise))


def test_a_noise_level_for_each_row_and_rows_that_are_not_finite(monkeypatch):
    x = torch.randn(200, 3, dtype=torch.float64, generator=generator(1))
    noise = torch.rand(200, dtype=torch.float64, generator=generator(2))
    x[3, 1], x[4, 0] = math.nan, math.inf
    moved = denoise(NoisyNormal(False), x, noise)
    expected = torch.stack([posterior_mean(row, level) for row, level in zip(x, noise, strict=True)])
    torch.testing.assert_close(moved[5:], expected[5:])
    assert moved[3:5].isnan().all()
    monkeypatch.setattr(row_blocks, "CPU_BYTES", 1)  # blocks of 64 rows
    torch.testing.assert_close(denoise(NoisyNormal(False), x, noise), moved, equal_nan=True)
    assert denoise(NoisyNormal(False), x[0], noise[:7]).shape == (7, 3)


def test_the_slope_is_that_of_finite_differences():
    flow = randomize(tarflow((1, 2, 2), 2, depth=2, hidden=(8,), heads=2), seed=1).eval()
    x = torch.randn(1, 2, 2, dtype=torch.float64, generator=generator(1))
    label, noise, step = torch.tensor([0.5], dtype=torch.float64), 0.3, 1e-6
    context = torch.tensor([0.5, noise], dtype=torch.float64)
    moves = step * torch.eye(4, dtype=torch.float64).view(4, 1, 2, 2)
    slope = (flow.log_prob(x + moves, context) - flow.log_prob(x - moves, context)) / (2 * step)
    torch.testing.assert_close(denoise(flow, x, noise, label), x + noise**2 * slope.view(1, 2, 2), rtol=1e-6, atol=1e-8)
    assert all(parameter.grad is None for parameter in flow.parameters())


def test_a_flow_that_learned_from_noisy_rows_takes_noise_away():
    """Points on a line at right angles to the noise that matters: the posterior mean is known."""
    along = torch.randn(4000, 1, generator=generator(1))
    x = along * torch.tensor([1.0, 0.5])
    flow = maf(2, 1, depth=1, hidden=(32,), activation="silu")
    pf.fit(flow, with_noise(x, noise=(0.1, 0.6)), validation=None, steps=300, batch_size=400, lr=2e-2, progress=False)
    noisy = x[:1000] + 0.4 * torch.randn(1000, 2, generator=generator(2))
    direction = torch.tensor([1.0, 0.5]) / 1.25**0.5
    best = (noisy @ direction * 1.25 / (1.25 + 0.4**2))[:, None] * direction
    errors = [(points - x[:1000]).square().mean().item() for points in (noisy, denoise(flow, noisy, 0.4), best)]
    assert errors[0] == pytest.approx(0.16, abs=0.02)
    assert errors[2] < errors[1] < 1.15 * errors[2]


FLOW = maf(2, 3)
REFUSED = [
    (
        lambda: denoise(maf(2), torch.zeros(1, 2), 0.1),
        r"denoise: needs exact log-densities .*; got Flow \(exact, on .*, context of shape None\)",
    ),
    (
        lambda: denoise(DiscreteGrid((1, 2), levels=2, context=1, hidden=(4, 4)), torch.zeros(1, 2), 0.1),
        r"denoise: needs exact log-densities of real numbers .*; got DiscreteGrid \(exact, on .*Integers",
    ),
    (
        lambda: denoise(tarflow((1, 2, 2), 1, values=4, hidden=(8,), heads=2), torch.zeros(1, 2, 2), 0.1),
        r"denoise: needs exact log-densities of real numbers .*; got Flow \(bound, on",
    ),
    (
        lambda: denoise(FLOW, torch.zeros(2), 0.1, torch.zeros(3)),
        r"denoise: context must have shape \(\*batch, 2\); got \(3,\)",
    ),
    (lambda: denoise(FLOW, torch.zeros(2), 0.1), r"denoise: built with context of shape \(2,\); got none"),
    (lambda: denoise(FLOW, torch.zeros(4, 2), torch.zeros(3), torch.zeros(2)), r"denoise: .*noise"),
    (lambda: denoise(FLOW, torch.zeros(2).double(), 0.1, torch.zeros(2)), r"denoise: x is torch\.float64"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message[:50] for _, message in REFUSED])
def test_what_cannot_be_denoised(call, message):
    with pytest.raises(ValueError, match=message):
        call()

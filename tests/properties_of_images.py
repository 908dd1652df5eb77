"""Properties of models of images: functions of a `FlowImages` that raise AssertionError where one fails."""

from itertools import product

import numpy as np
import torch

LEVELS, SHAPE = 3, (2, 2)
EVERY = np.array(list(product(range(LEVELS), repeat=4)), dtype=np.uint8).reshape(-1, *SHAPE)
"""All images of 2 × 2 pixels and three levels."""


def rest_of(grid, images):
    """log q of the second row given the first."""
    x = torch.tensor(images, dtype=torch.float32)[:, None]
    return grid.given(x[:, :, :1]).log_prob(x[:, :, 1:], torch.tensor([[1.0, 0.0]]).expand(len(x), -1))


def sharpens_each_step(model):
    """At temperature T the last pixel given the others has its probabilities to the power 1 / T, made to sum to one."""
    grid = model.model_
    last = np.repeat(np.array([[[0, 2], [1, 0]]], dtype=np.uint8), LEVELS, axis=0)
    last[:, 1, 1] = range(LEVELS)
    plain, sharp = (rest_of(part, last).log_softmax(dim=0) for part in (grid, model._led(0.0, 0.5)))
    assert torch.allclose(sharp, (plain / 0.5).log_softmax(dim=0), atol=1e-5)
    assert not torch.allclose(sharp, plain, atol=1e-2)


def leads_each_step(model):
    """With guidance w the last pixel given the others has probabilities p_c (p_c + ε)^w / (p_u + ε)^w."""
    last = torch.tensor(np.repeat(np.array([[[0, 2], [1, 0]]]), LEVELS, axis=0), dtype=torch.float32)[:, None]
    last[:, 0, 1, 1] = torch.arange(LEVELS)
    each = []
    for grid, label in ((model.model_, [1.0, 0.0]), (model.model_, [0.0, 0.0]), (model._led(1.5, 1.0), [1.0, 0.0])):
        contexts = torch.tensor([label]).expand(LEVELS, -1)
        each.append(grid.given(last[:, :, :1]).log_prob(last[:, :, 1:], contexts).log_softmax(dim=0))
    label, none, led = each
    ratio = (label.exp() + 1e-4).log() - (none.exp() + 1e-4).log()
    assert torch.allclose(led, (label + 1.5 * ratio).log_softmax(dim=0), atol=1e-5)
    assert not torch.allclose(led, label, atol=1e-2)


def is_the_mixture_of_its_classes(model):
    """Without a label p(x) is the sum of p(x | c) weighted by the frequencies, and sums to one."""
    by_class = np.exp([model.score_samples(EVERY, c) for c in model.classes_])
    assert np.allclose(np.exp(model.score_samples(EVERY)), model.class_prior_ @ by_class, rtol=1e-4)
    assert abs(np.exp(model.score_samples(EVERY)).sum() - 1) < 1e-4
    posterior = model.predict_proba(EVERY)
    assert np.allclose(posterior, (model.class_prior_[:, None] * by_class / (model.class_prior_ @ by_class)).T, 1e-4)


def completes_in_proportion(model):
    """The shares of completions are those of the exact probabilities, classes drawn given the rows included."""
    top = EVERY[40][:1]
    begin_so = EVERY[(EVERY[:, :1] == top).all(axis=(1, 2))]
    exact = np.exp(model.score_samples(begin_so))
    drawn = model.complete(top, 3000, random_state=0)
    assert (drawn[:, :1] == top).all(), "the first rows are others"
    shares = np.array([(drawn == image).all(axis=(1, 2)).mean() for image in begin_so])
    assert abs(shares - exact / exact.sum()).max() < 4 * 0.5 / 3000**0.5


def hides_a_part_of_the_labels(model):
    """The share of hidden labels is that asked for, and other ones are hidden in the next epoch."""
    passes = model._passes(torch.zeros(4000, 1, *SHAPE), torch.ones(4000, 2), 0)
    first, second = (passes(epoch)[1].sum(dim=1) == 0 for epoch in range(2))
    for hidden in (first, second):
        assert abs(hidden.double().mean().item() - model.label_dropout) < 0.03
    assert not torch.equal(first, second)

"""The native kernel of mixtures: the roots that the plain solve finds, or none at all."""

import copy

import pytest
import torch
from cases import WithKernels, generator, needs_compiler
from rounding import assert_rounded

from pushforward.bijections import Elementwise
from pushforward.kernels.mixture import MixtureRoot
from pushforward.univariate import GaussianMixtureCDF, LogisticMixtureCDF

KINDS = [GaussianMixtureCDF(5), LogisticMixtureCDF(5), GaussianMixtureCDF(3, bound=4.0, background=0.02)]
each = pytest.mark.parametrize("univariate", KINDS, ids=["gaussian", "logistic", "narrow"])
MANY = 700  # rows, more than a table needs, no multiple of what fits a vector


def layers(univariate, dtype=torch.float64, scale=1.0):
    """A layer that uses kernels, and the same one without."""
    plain = Elementwise(copy.deepcopy(univariate), 3, data_start=False)
    with torch.no_grad():
        plain.params.copy_(scale * torch.randn(plain.params.shape, generator=generator(1)))
    plain = plain.to(dtype)
    return WithKernels(copy.deepcopy(plain)), plain


def normals(dtype=torch.float64):
    return torch.randn(MANY, 3, generator=generator(2)).to(dtype)


@pytest.fixture
def answers(monkeypatch):
    """What the kernel answers, in order."""
    seen, run = [], MixtureRoot.run

    def watched(*args):
        seen.append(run(*args))
        return seen[-1]

    monkeypatch.setattr(MixtureRoot, "run", watched)
    return seen


@pytest.mark.slow
@needs_compiler
@each
@pytest.mark.parametrize(
    "dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.exhaustive)], ids=["float64", "float32"]
)
def test_the_kernel_finds_the_roots(univariate, dtype, answers):
    fast, plain = layers(univariate, dtype)
    y = normals(dtype)
    with torch.no_grad():
        x = fast.inverse(y)
        assert len(answers) == 1
        assert answers[0] is not NotImplemented or univariate.bound == 4.0  # a coarse table misses narrow components
        assert_rounded([x], lambda layer, y: [layer.inverse(y)], plain, y)


@pytest.mark.slow
@needs_compiler
@each
def test_gradients_and_densities_are_those_of_the_plain_solve(univariate, answers):
    results = []
    for layer in layers(univariate):
        y = normals().requires_grad_()
        x, ladj = layer.inverse_and_ladj(y)
        results.append([x, ladj, *torch.autograd.grad(x.sum() + ladj.sum(), [y, layer.params])])
    assert len(answers) == 1
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@needs_compiler
@each
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e6, -40.0])
def test_one_value_that_the_kernel_does_not_reach_sends_all_to_the_plain_solve(univariate, value, answers):
    fast, plain = layers(univariate)
    y = normals()
    y[5, 1] = value
    with torch.no_grad():
        torch.testing.assert_close(fast.inverse(y), plain.inverse(y), rtol=0, atol=0, equal_nan=True)
    assert answers == [NotImplemented]


@pytest.mark.slow
@needs_compiler
@each
def test_steep_mixtures_are_reached_or_left_to_the_plain_solve(univariate, answers):
    for scale in (3.0, 10.0):
        fast, plain = layers(univariate, scale=scale)
        y = normals()
        with torch.no_grad():
            x = fast.inverse(y)
            torch.testing.assert_close(x, plain.inverse(y), rtol=1e-9, atol=1e-9)
    assert len(answers) == 2


def test_few_points_and_plain_calls_do_not_reach_the_kernel(answers):
    fast, plain = layers(KINDS[0])
    with torch.no_grad():
        assert torch.equal(fast.inverse(normals()[:9]), plain.inverse(normals()[:9]))
        plain.inverse(normals())
    assert answers == []

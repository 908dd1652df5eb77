"""Flows of patches: the order of patches, the same samples whichever way they are computed, mistakes."""

import pytest
import torch
from cases import generator

from pushforward.bijections import Autoregressive
from pushforward.flows import tarflow
from pushforward.testing.random_parts import randomize


def test_a_patch_depends_on_the_patches_before_it_and_not_on_itself():
    flow = randomize(tarflow((2, 4, 6), depth=1, hidden=(8,), heads=2), seed=1)
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64, generator=generator(0))
    matrix = torch.autograd.functional.jacobian(lambda x: flow.to_latent(x)[0], x)[:, 0] != 0  # (48, 2, 4, 6)
    for latent, row in enumerate(matrix):
        token, inside = divmod(latent, 8)
        patches = row.unflatten(1, (2, 2)).unflatten(3, (3, 2)).permute(1, 3, 0, 2, 4).flatten(2).flatten(0, 1)
        assert patches[:token].all()
        assert patches[token].sum() == 1
        assert patches[token, inside]
        assert not patches[token + 1 :].any()


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_cached_whole_and_jacobi_samples_are_the_same(dtype, close, scale):
    """Over several latents, ordinary and far out: iterations never overflow, and fall back where they do not settle."""
    options = {"depth": 2, "hidden": (8, 8), "heads": 2}
    one = randomize(tarflow((1, 4, 4), **options), seed=2, dtype=dtype, size=0.5)
    other = tarflow((1, 4, 4), solver="jacobi", **options).to(dtype)
    other.load_state_dict(one.state_dict())
    for seed in range(5):
        z = scale * torch.randn(3, 16, dtype=dtype, generator=generator(seed))
        with torch.no_grad():
            expected = one.to_data(z)
            size = expected.abs().max().clamp(min=1.0)
            assert ((other.to_data(z) - expected).abs() / size).max() < close
            assert ((one.to_latent(expected) - z).abs() / (1 + z.abs())).max() < 100 * close
        with_gradients = one.to_data(z)
        assert ((with_gradients.detach() - expected).abs() / size).max() < close


def test_classes_as_context_change_the_density():
    flow = randomize(tarflow((1, 2, 2), 3, depth=2, hidden=(8,), heads=2, values=4), seed=3)
    x = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
    values = flow.log_prob(x, torch.eye(3, dtype=torch.float64), generator=generator(1))
    assert values.unique().numel() == 3


def test_splines_move_patches_too():
    flow = randomize(tarflow((1, 4), univariate="spline", bins=4, depth=2, hidden=(8,), heads=2), seed=4)
    assert sum(isinstance(part, Autoregressive) for part in flow.modules()) == 2
    x = torch.randn(4, 1, 4, dtype=torch.float64, generator=generator(0))
    torch.testing.assert_close(flow.to_data(flow.to_latent(x)), x)


def mistake(options):
    return lambda: tarflow(**{"features": (1, 4, 4), **options})


MISTAKES = [
    ({"patch": 3}, r"tarflow: features must be \(channels, .* spatial sizes that patch=3 divides; got \(1, 4, 4\)"),
    ({"features": (4,)}, r"tarflow: features must be \(channels, .*; got \(4,\)"),
    ({"features": (1, 0)}, r"tarflow: features must "),
    ({"patch": 0}, r"tarflow: patch must be a whole number of at least 1; got 0"),
    ({"context": -1}, r"tarflow: context must be a whole number of at least 0; got -1"),
    ({"depth": 0}, r"tarflow: depth must be a whole number of at least 1; got 0"),
    ({"univariate": "mixture"}, r"tarflow: univariate must be one of 'affine', 'spline'; got 'mixture'"),
    ({"solver": "newton"}, r"tarflow: solver must be one of 'sequential', 'jacobi'; got 'newton'"),
    ({"bins": 1}, r"tarflow: bins must be a whole number of at least 2; got 1"),
    ({"bound": -1.0}, r"tarflow: bound must be a positive number; got -1\.0"),
    ({"heads": 3}, r"tarflow: heads must divide the width; got 3 heads and hidden widths of 64"),
    ({"values": 1}, r"tarflow: values must be a whole number of at least 2; got 1"),
]


@pytest.mark.parametrize(("build", "message"), [(mistake(options), message) for options, message in MISTAKES])
def test_mistakes_are_one_sentence(build, message):
    with pytest.raises(ValueError, match=message):
        build()

"""Autoregressive flows of images: raster order, every univariate, probabilities of whole numbers."""

import math

import pytest
import torch
from cases import generator

from pushforward.distributions import ImportanceWeighted
from pushforward.flows import window_flow
from pushforward.testing.random_parts import randomize

UNIVARIATES = ("mixture", "logistic_mixture", "spline", "affine")
TOY = {"hidden": (6, 6), "components": 3, "bins": 4, "above": 1, "beside": 1}


@pytest.mark.parametrize("depth", [1, 2])
def test_channels_of_a_cell_are_neighbours_in_raster_order(depth):
    flow = randomize(window_flow((2, 2, 2), univariate="affine", depth=depth, **{**TOY, "hidden": (8, 8)}), seed=1)
    x = torch.randn(1, 2, 2, 2, dtype=torch.float64, generator=generator(0))
    matrix = torch.autograd.functional.jacobian(lambda x: flow.to_latent(x)[0], x)[:, 0]  # (8, channel, row, column)
    in_order = matrix.movedim(1, -1).flatten(1)
    first = in_order if depth == 1 else in_order[:1]
    assert (first.triu(1) != 0).any() == (depth == 2)
    assert first.diagonal().abs().min() > 0


@pytest.mark.parametrize("univariate", UNIVARIATES)
@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 2)])
def test_every_univariate_has_the_density_of_its_map(univariate, shape):
    flow = randomize(window_flow(shape, 2, univariate=univariate, **TOY), seed=2, size=0.5)
    x, c = torch.randn(4, *shape, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    z = flow.to_latent(x, c)
    torch.testing.assert_close(flow.to_data(z, c), x, rtol=1e-8, atol=1e-8)
    rows = [
        torch.autograd.functional.jacobian(lambda t, k=k: flow.to_latent(t[None], c[k : k + 1])[0], x[k])
        for k in range(4)
    ]
    expected = flow.base.log_prob(z) + torch.stack([torch.linalg.slogdet(row.flatten(1))[1] for row in rows])
    torch.testing.assert_close(flow.log_prob(x, c), expected)


@pytest.mark.parametrize("dequantize", ["uniform", pytest.param("variational", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("univariate", ["steps", "mixture"])
def test_probabilities_of_whole_numbers_sum_to_one(univariate, dequantize):
    flow = window_flow((1, 2, 2), univariate=univariate, values=3, dequantize=dequantize, **TOY)
    flow = randomize(flow, seed=3, size=0.3)
    events = torch.cartesian_prod(*[torch.arange(3.0)] * 4).reshape(-1, 1, 2, 2).double()
    assert flow.exactness == "bound"
    bound = flow.log_prob(events.expand(300, *events.shape), generator=generator(1)).mean(dim=0).exp().sum()
    tight = ImportanceWeighted(flow, 2000).log_prob(events, generator=generator(1)).exp().sum()
    assert bound < 1.001  # of steps it hardly depends on the noise
    assert tight.item() == pytest.approx(1, abs=0.05)
    assert flow.log_prob(events[0] + 0.5) == -math.inf
    drawn = flow.sample((50,), generator=generator(2))
    assert flow.support.contains(drawn).all()


MISTAKES = [
    (
        {"features": (4,)},
        r"window_flow: features must be \(channels, \*spatial\) with one or two spatial sizes; got \(4",
    ),
    ({"features": (1, 0)}, r"window_flow: features must "),
    ({"univariate": "cubic"}, r"window_flow: univariate must be one of 'steps', 'mixture'.*; got 'cubic'"),
    (
        {"univariate": "steps"},
        r"window_flow: univariate='steps' is for whole numbers; say how many",
    ),
    ({"values": 1}, r"window_flow: values must be a whole number of at least 2; got 1"),
    ({"values": 8, "dequantize": "no"}, r"window_flow: dequantize must be one of 'uniform', 'variational'; got 'no'"),
    ({"components": 0}, r"window_flow: components must be a whole number of at least 1; got 0"),
    ({"bins": 1}, r"window_flow: bins must be a whole number of at least 2; got 1"),
    ({"bound": 0.0}, r"window_flow: bound must be a positive number; got 0\.0"),
    ({"solver": "newton"}, r"window_flow: solver must be one of 'sequential', 'jacobi'; got 'newton'"),
    ({"depth": 0}, r"window_flow: depth must be a whole number of at least 1; got 0"),
    ({"context": -1}, r"window_flow: context must be a whole number of at least 0; got -1"),
    ({"planes": -1}, r"window_flow: planes must be a whole number of at least 0; got -1"),
    ({"planes": 1, "depth": 2, "context": 4}, r"window_flow: planes are for depth=1; got depth=2"),
    ({"above": -1}, r"CausalWindow: above must be a whole number of at least 0; got -1"),
]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda options=options: window_flow(**{"features": (1, 2, 2), **options}), message)
        for options, message in MISTAKES
    ],
    ids=[message[:50] for _, message in MISTAKES],
)
def test_mistakes_are_one_sentence(build, message):
    with pytest.raises(ValueError, match=message):
        build()

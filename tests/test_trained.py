"""Densities of trained flows integrate to one: every family, one and two features, a short real training each."""

import inspect
import math

import pytest
import torch
from cases import FLOW_OPTIONS, exhaustive, generator

import pushforward as pf
from pushforward.core.domain import Circle
from pushforward.flows import FLOWS
from pushforward.testing.quadrature import integrates_to_one, samples_follow_the_density

GAIN = 0.05  # nats per feature that training must bring, at the least
LITTLE = {"radial": 0.01}  # two of its layers, which move points along lines through two centres, do not do more


def data(flow):
    """A lopsided distribution of two bumps in x_1, and x_2 bent along it; on circles the same, wound up."""
    (features,) = flow.event_shape
    random = generator(1)
    x = torch.randn(600, 2, generator=random) * torch.tensor([0.5, 0.3])
    side = torch.rand(600, generator=random) < 0.35
    x[:, 0] += torch.where(side, 1.5, -0.8)
    x[:, 1] += 0.6 * x[:, 0].square()
    x = x[:, :features]
    if isinstance(flow.support, Circle):
        return torch.remainder(x + math.pi, 2 * math.pi) - math.pi
    return 300 + 50 * x


# Two features of three kinds of layer; of the others what is new is the univariate, which one feature shows.
LAYERS = ("bnaf", "circular_nsf", "nsf")
UNIVARIATES = ("naf",)
PAIRS = [(name, features) for name in sorted(FLOWS) for features in (1, 2)]


@pytest.mark.parametrize(
    ("name", "features"),
    [
        pair if pair[0] in (UNIVARIATES if pair[1] == 1 else LAYERS) else pytest.param(*pair, marks=exhaustive)
        for pair in PAIRS
    ],
)
def test_trained_flows_integrate_to_one(name, features):
    torch.manual_seed(0)
    accepted = inspect.signature(FLOWS[name]).parameters
    flow = FLOWS[name](features, **{k: v for k, v in {**FLOW_OPTIONS, "hidden": [24]}.items() if k in accepted})
    x = data(flow)
    flow.initialize(x)
    before = flow.log_prob(x).mean().item()
    pf.fit(flow, x, steps=80, batch_size=256, lr=2e-2, validation=0, progress=False)
    flow = flow.eval().double()
    after = flow.log_prob(x.double()).mean().item()
    gaussian = name in ("nice", "gaussian_autoregressive", "maf", "iaf", "real_nvp")
    if not (features == 1 and gaussian) and name != "gaussianization":  # these are at their best from the start
        assert after > before + LITTLE.get(name, GAIN) * features
    integrates_to_one(flow, None)
    samples_follow_the_density(flow, None)

"""The examples run: each in small."""

import importlib.util
from pathlib import Path

import pytest
import torch

from pushforward.distributions.targets import TARGETS

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "family",
    ["sos", "nsf", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("bernstein", "naf", "umnn"))],
)
def test_universality_fits_come_closer_to_the_known_map(family):
    example = load("universality")
    assert family in example.FAMILIES
    torch.manual_seed(0)
    target, flow = TARGETS["banana"](), example.build(family, "small", 2)
    assert flow.bijection.is_triangular
    before = example.errors(flow, target)
    after = example.errors(example.fit(flow, target, 1000, 60), target)
    assert after["distance"] < before["distance"]
    assert after["divergence"] < before["divergence"]

"""A cache of the last result: it computes once, and again after any change."""

import copy
import pickle

import torch

from pushforward.bijections import Rotation
from pushforward.core.cache import TensorCache


def counting(calls):
    def double(tensor):
        calls.append(tensor.clone())
        return 2 * tensor

    return double


def test_it_computes_again_only_after_a_change():
    calls, cache, x = [], TensorCache(), torch.randn(3)
    function = counting(calls)
    assert torch.equal(cache(function, x), cache(function, x.clone()))
    assert len(calls) == 1
    x.data[1] += 1  # leaves no trace in the version counter of the tensor
    assert torch.equal(cache(function, x), 2 * x)
    assert cache(function, x.double()).dtype == torch.float64
    assert cache(function, x[:2]).shape == (2,)
    assert len(calls) == 4


def test_copies_start_empty():
    cache = TensorCache()
    cache(torch.neg, torch.ones(2))
    for other in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        calls = []
        other(counting(calls), torch.ones(2))
        assert len(calls) == 1


def test_a_rotation_follows_its_angles():
    part, x = Rotation(4), torch.randn(5, 4)
    with torch.no_grad():
        for _ in range(3):
            part.angles.data.normal_()
            fast = part(x)
            with torch.enable_grad():
                torch.testing.assert_close(part(x).detach(), fast, rtol=0, atol=0)
            assert not torch.equal(part(x), x)

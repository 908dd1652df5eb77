"""`Soap` against Adam, against itself matrix by matrix, on a problem that Adam finds hard, and in `fit`."""

from functools import partial

import pytest
import torch
from fitting import banana, same, small_flow, weights_of

import pushforward as pf
from pushforward.train import Soap


def gradients(shape, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(steps)]


def after(optimizer, weight, each):
    for gradient in each:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


def parameter(shape):
    return torch.nn.Parameter(torch.ones(shape, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 4, 3), ()])
def test_without_a_basis_it_is_adam(shape):
    a, b, each = parameter(shape), parameter(shape), gradients(shape, 7)
    options = {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.01}
    expected = after(torch.optim.AdamW([a], **options), a, each)
    torch.testing.assert_close(after(Soap([b], **options, largest=1), b, each), expected)


def test_several_matrices_in_one_tensor_are_each_as_by_itself():
    together, each = parameter((2, 4, 3)), gradients((2, 4, 3), 12)
    whole = after(Soap([together], lr=0.1, every=3), together, each)
    for k in range(2):
        alone = parameter((4, 3))
        expected = after(Soap([alone], lr=0.1, every=3), alone, [g[k] for g in each])
        torch.testing.assert_close(whole[k], expected)


def test_a_long_side_has_no_basis():
    weight = parameter((4, 9))
    optimizer = Soap([weight], largest=5)
    after(optimizer, weight, gradients((4, 9), 3))
    names = set(optimizer.state[weight])
    assert {"left_basis", "left_moments"} < names
    assert not {"right_basis", "right_moments"} & names


def test_turned_coordinates_change_nothing():
    """Steps are the same in coordinates that are turned, on both sides, which Adam's are not."""
    turn = [torch.linalg.qr(g).Q for g in gradients((4, 4), 1) + gradients((3, 3), 1, seed=1)]
    each = gradients((4, 3), 9, seed=2)
    turned = [turn[0] @ g @ turn[1] for g in each]
    for build, equal in ((partial(Soap, lr=0.1, every=1), True), (partial(torch.optim.Adam, lr=0.1), False)):
        a, b = (torch.nn.Parameter(torch.zeros(4, 3, dtype=torch.float64)) for _ in range(2))
        moved, expected = after(build([b]), b, turned), turn[0] @ after(build([a]), a, each) @ turn[1]
        assert torch.allclose(moved, expected, atol=1e-6) == equal


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    x, options = banana(200), {"batch_size": 50, "optimizer": Soap, "lr": 1e-2, "progress": False}
    whole, parts, path = small_flow(), small_flow(), tmp_path / "run.checkpoint"
    pf.fit(whole, x, steps=40, **options)
    pf.fit(parts, x, steps=40, **options, checkpoint=path, callbacks=StopAt(17))
    pf.fit(parts, x, steps=40, **options, checkpoint=path, resume=True)
    assert same(weights_of(whole), weights_of(parts))


class StopAt:
    def __init__(self, step):
        self.step = step

    def __call__(self, event):
        if isinstance(event, pf.train.Stepped) and event.step == self.step:
            return pf.train.Stop("enough")
        return None


MISTAKES = [
    ({"lr": 0.0}, r"lr must be a positive number; got 0\.0"),
    ({"eps": -1.0}, r"eps must be a positive number; got -1\.0"),
    ({"weight_decay": -1.0}, r"weight_decay must be a number of at least 0; got -1\.0"),
    ({"every": 0}, r"every must be a whole number of at least 1; got 0"),
    ({"largest": 0}, r"largest must be a whole number of at least 1; got 0"),
    ({"betas": (0.9, 1.0)}, r"betas must be two numbers from 0 up to 1; got \(0\.9, 1\.0\)\."),
]


@pytest.mark.parametrize(("options", "match"), MISTAKES, ids=[match for _, match in MISTAKES])
def test_mistakes(options, match):
    with pytest.raises(ValueError, match=f"^Soap: {match}"):
        Soap([parameter((2, 2))], **options)

"""`Soap` against Adam, against itself in other coordinates and dtypes, in a bent valley, and in `fit`."""

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


def test_single_precision_goes_the_same_way():
    """In float32 nothing is a quotient of two rounding errors."""
    each = gradients((32, 32), 6)
    for scale in (1.0, 100.0):
        ends = []
        for dtype in (torch.float32, torch.float64):
            weight = torch.nn.Parameter(torch.zeros(32, 32, dtype=dtype))
            ends.append(after(Soap([weight], lr=1.0, every=2), weight, [scale * g.to(dtype) for g in each]).double())
        assert torch.nn.functional.cosine_similarity(*(end.flatten() for end in ends), dim=0) > 0.999
        assert ends[0].norm() == pytest.approx(ends[1].norm().item(), rel=1e-2)


def test_the_first_step_only_starts_the_basis_and_kernels_are_matrices():
    a, b, each = parameter((4, 3, 2, 2)), parameter((4, 12)), gradients((4, 3, 2, 2), 5)
    optimizer = Soap([a])
    assert torch.equal(after(optimizer, a, each[:1]), torch.ones_like(a))
    expected = after(Soap([b]), b, [g.flatten(1) for g in each])
    torch.testing.assert_close(after(optimizer, a, each[1:]).flatten(1), expected)


def test_it_goes_down_a_bent_valley_faster_than_adam():
    """A least-squares problem whose curvature does not lie along the axes."""
    turn = torch.linalg.qr(gradients((8, 8), 1)[0]).Q
    curvature = turn @ torch.logspace(-3, 0, 8, dtype=torch.float64).diag() @ turn.T

    def end(build):
        weight = parameter((8, 4))
        optimizer = build([weight])
        for _ in range(150):
            optimizer.zero_grad()
            loss = (weight * (curvature @ weight)).sum() / 2
            loss.backward()
            optimizer.step()
        return loss.item()

    assert end(partial(Soap, lr=0.03)) < 0.5 * end(partial(torch.optim.Adam, lr=0.03))


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
    ({"damping": -1.0}, r"damping must be a number of at least 0; got -1\.0"),
    ({"weight_decay": -1.0}, r"weight_decay must be a number of at least 0; got -1\.0"),
    ({"every": 0}, r"every must be a whole number of at least 1; got 0"),
    ({"largest": 0}, r"largest must be a whole number of at least 1; got 0"),
    ({"betas": (0.9, 1.0)}, r"betas must be two numbers from 0 up to 1; got \(0\.9, 1\.0\)\."),
]


@pytest.mark.parametrize(("options", "match"), MISTAKES, ids=[match for _, match in MISTAKES])
def test_mistakes(options, match):
    with pytest.raises(ValueError, match=f"^Soap: {match}"):
        Soap([parameter((2, 2))], **options)

"""`linear_recurrence` against a loop, with gradients of two orders, forward mode and vmap."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from pushforward.networks.linear_recurrence import _Recurrence, linear_recurrence


def arguments(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    kept, new = (torch.randn(2, length, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    return kept.requires_grad_(), new.requires_grad_()


def by_hand(kept, new, lag):
    states = []
    for j in range(new.shape[1]):
        states.append(new[:, j] + (kept[:, j] * states[j - lag] if j >= lag else 0.0))
    return torch.stack(states, dim=1)


@pytest.mark.parametrize(("length", "lag"), [(6, 1), (6, 2), (7, 3), (5, 4), (4, 4), (3, 5)])
def test_it_is_the_loop_and_so_are_its_gradients(length, lag):
    kept, new = arguments(length)
    torch.testing.assert_close(linear_recurrence(kept, new, lag), by_hand(kept, new, lag))
    assert gradcheck(lambda k, u: linear_recurrence(k, u, lag), (kept, new), check_forward_ad=True)
    for backwards in (False, True):
        assert gradcheck(lambda k, u: _Recurrence.apply(k, u, lag, backwards), (kept, new))  # noqa: B023
        assert gradgradcheck(lambda k, u: _Recurrence.apply(k, u, lag, backwards), (kept, new))  # noqa: B023


def test_many_at_once_by_vmap():
    kept, new = (torch.stack([t, 2 * t]).detach() for t in arguments(7))
    states = torch.func.vmap(lambda k, u: linear_recurrence(k, u, 2))(kept, new)
    torch.testing.assert_close(states, torch.stack([by_hand(k, u, 2) for k, u in zip(kept, new, strict=True)]))
    slopes = torch.func.vmap(torch.func.grad(lambda k, u: linear_recurrence(k, u, 2).sum(), argnums=0))(kept, new)
    one = torch.func.grad(lambda k, u: by_hand(k, u, 2).sum())(kept[1], new[1])
    torch.testing.assert_close(slopes[1], one)


def test_it_compiles_as_one_graph_while_gradients_are_recorded():
    kept, new = arguments(7)
    compiled = torch.compile(lambda k, u: linear_recurrence(k, u, 2), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(kept, new), by_hand(kept, new, 2))

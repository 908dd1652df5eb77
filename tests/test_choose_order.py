"""The order of a mixed-type model: chosen by rows, kept in files, the same for densities, draws and conditionals."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

import pushforward
from pushforward.distributions import Categorical, Continuous, MixedTypeModel

LEVELS = (2, 3, 2)


def rows(n: int = 400) -> Tensor:
    """A grade, a sum that decides it and a coin, (n, 3) in float64."""
    generator = torch.Generator().manual_seed(0)
    coin, score = (torch.randint(0, k, (n,), generator=generator) for k in (2, 3))
    return torch.stack([(score > 0).long(), score, coin], dim=-1).double()


def randomized(m: MixedTypeModel) -> MixedTypeModel:
    """With random weights, so that its orders disagree."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in m.parameters():
            parameter.copy_(0.8 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return m.double().eval()


def model() -> MixedTypeModel:
    return randomized(MixedTypeModel([Categorical(k) for k in LEVELS], hidden=(8, 8)))


def cells() -> Tensor:
    return torch.tensor(list(itertools.product(*map(range, LEVELS))), dtype=torch.float64)


def test_no_exchange_of_neighbours_is_likelier() -> None:
    m, x = model(), rows()
    before = m.log_prob(x).mean()
    order = m.choose_order(x)
    assert m.log_prob(x).mean() >= before
    for i in range(len(order) - 1):
        other = [*order[:i], order[i + 1], order[i], *order[i + 2 :]]
        assert m.contributions(x, order=other).sum(dim=-1).mean() <= m.log_prob(x).mean() + 2e-3


def test_weights_and_repeated_rows_choose_alike() -> None:
    x = rows(60)
    weights = torch.randint(0, 4, (60,), generator=torch.Generator().manual_seed(1)).double()
    assert model().choose_order(x, weights=weights) == model().choose_order(x.repeat_interleave(weights.long(), dim=0))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_order_is_one_distribution(order: tuple[int, ...]) -> None:
    m = model()
    m.network.set_sequence(order)
    probability = m.log_prob(cells()).exp()
    torch.testing.assert_close(probability.sum(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(m.log_prob(cells()), m.contributions(cells(), order=order).sum(dim=-1))

    drawn = m.sample(20_000, generator=torch.Generator().manual_seed(2))
    frequency = (drawn[:, None] == cells()).all(dim=-1).double().mean(dim=0)
    torch.testing.assert_close(frequency, probability, atol=0.015, rtol=0)

    first = order[0]
    marginal = m.column_marginal(first).log_prob(cells()[:, first])
    rest = [j for j in range(3) if j != first]
    conditional = m.given({first: cells()[:, first]}).log_prob(cells()[:, rest])
    torch.testing.assert_close(marginal + conditional, m.log_prob(cells()))


def test_the_next_column_is_the_next_of_the_order() -> None:
    m, x = model(), rows(5)
    m.network.set_sequence([2, 0, 1])
    terms = m.contributions(x)
    for j in range(3):
        torch.testing.assert_close(m.next_conditional(x, j).log_prob(x[:, j]), terms[:, j])
    assert m.given({}).marginal_discrepancy(2, draws=50).distance < 1e-6


def test_ranks_and_their_inverse_follow_the_order() -> None:
    m = MixedTypeModel([Continuous(), Continuous(), Continuous()], hidden=(8,))
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    m.initialize(x)
    randomized(m)
    m.network.set_sequence([1, 2, 0])
    torch.testing.assert_close(m.from_mid_cdf(m.mid_cdf(x)), x, atol=1e-6, rtol=1e-6)


def test_a_saved_model_keeps_its_order(tmp_path: Path) -> None:
    m = model()
    m.network.set_sequence([1, 2, 0])
    pushforward.save(m, tmp_path / "m.safetensors")
    again = pushforward.load(tmp_path / "m.safetensors")
    assert again.choose_order(rows()[:0]) == [1, 2, 0]
    torch.testing.assert_close(again.log_prob(cells()), m.log_prob(cells()), rtol=0, atol=0)


def test_a_fixed_order_stays() -> None:
    fixed = MixedTypeModel([Categorical(2), Categorical(3)], hidden=(8,), order="fixed")
    assert fixed.choose_order(rows()[:, :2]) == [0, 1]


def test_a_column_passes_others_at_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last column first saves a nat, though passing one of the two others alone loses a third of one."""
    of_the_last = {(): 1.0, (0,): 1.8, (1,): 1.8, (0, 1): 1.0}

    def log_prob(piece: object, j: int, shown: Tensor) -> Tensor:
        before = tuple(k for k in range(2) if shown[k])
        return torch.full((5,), -(of_the_last[before] if j == 2 else 0.5 if shown[2] else 1.0))

    monkeypatch.setattr("pushforward.distributions.mixed.order._Piece.log_prob", log_prob)
    assert model().choose_order(rows(5))[0] == 2

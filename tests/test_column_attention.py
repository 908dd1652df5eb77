"""Attention over columns of which some are seen: what parameters depend on, and models that are made of it."""

import itertools

import pytest
import torch
from cases import generator, randomize

from pushforward.distributions import Categorical, Continuous, MixedTypeModel
from pushforward.networks.column_attention import PrefixTransformer, SubsetTransformer

INPUTS = [1, 3, 2, 1, 1]
GROUPS = [([1, 3], 2), ([2, 4], 3)]  # column 0 is only seen
N = 6


def network(kind):
    return randomize(kind(INPUTS, GROUPS, hidden=(8, 8, 8), activation="gelu", dropout=0.0))


def rows():
    encoded = torch.randn(sum(INPUTS), N, dtype=torch.float64, generator=generator(1))
    return encoded, torch.rand(len(INPUTS), N, generator=generator(2)) < 0.6


def column_params(outputs):
    """By column, (num_params, n)."""
    return {j: out[:, i] for out, (columns, _) in zip(outputs, GROUPS, strict=True) for i, j in enumerate(columns)}


@pytest.mark.parametrize("kind", [SubsetTransformer, PrefixTransformer])
def test_parameters_depend_on_exactly_the_seen_columns(kind):
    """With a fixed order, on those of them that stand before."""
    net = network(kind)
    encoded, seen = rows()
    owner = net.owner
    for j in (1, 2, 3, 4):

        def params(encoded, j=j):
            return column_params(net(encoded, seen))[j].sum(dim=0)

        grads = torch.autograd.functional.jacobian(lambda e: params(e).sum(), encoded)
        moved = torch.stack([(grads[owner == k] != 0).any(dim=0) for k in range(len(INPUTS))])  # (columns, n)
        for row in range(N):
            if kind is SubsetTransformer and seen[j, row]:
                continue  # meaningless
            before = range(j) if kind is PrefixTransformer else [k for k in range(len(INPUTS)) if k != j]
            expected = [bool(seen[k, row]) and k in before for k in range(len(INPUTS))]
            assert moved[:, row].tolist() == expected
    other = encoded.clone()
    other[~seen[owner]] = 1e9
    assert torch.equal(net(other, seen)[0], net(encoded, seen)[0])


@pytest.mark.parametrize("kind", [SubsetTransformer, PrefixTransformer])
def test_it_also_depends_on_which_columns_are_seen(kind):
    net = network(kind)
    encoded, seen = rows()
    encoded[:1], other = 0.0, seen.clone()
    other[0] = ~seen[0]
    assert (column_params(net(encoded, seen))[4] != column_params(net(encoded, other))[4]).all()


@pytest.mark.parametrize("kind", [SubsetTransformer, PrefixTransformer])
def test_parts_of_the_answer_are_the_answer(kind):
    net = network(kind)
    encoded, seen = rows()
    shifts = [torch.randn(2, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)]
    whole, moved = net(encoded, seen), net(encoded, seen, shifts)
    for k in (0, 1):
        torch.testing.assert_close(net(encoded, seen, only=[k])[0], whole[k])
        torch.testing.assert_close(moved[k], whole[k] + shifts[k][..., None])
        for i in (0, 1):
            torch.testing.assert_close(net.of_column(encoded, seen, k, i), whole[k][:, i : i + 1])
    net.scale_last(1, torch.tensor([[2.0, 3.0]] * 3).double())
    expected = whole[1] * torch.tensor([2.0, 3.0]).double()[:, None]
    torch.testing.assert_close(net(encoded, seen)[1], expected)


def test_each_column_may_have_a_set_of_its_own():
    net = network(SubsetTransformer)
    encoded, _ = rows()
    asked = [4, 1, 2]
    seen = torch.rand(3, len(INPUTS), N, generator=generator(3)) < 0.5
    outputs = net.one_each(encoded, seen, asked)
    assert [tuple(out.shape) for out in outputs] == [(2, 1, N), (3, 2, N)]
    answers = {1: outputs[0][:, 0], 2: outputs[1][:, 0], 4: outputs[1][:, 1]}
    for k, j in enumerate(asked):
        torch.testing.assert_close(answers[j], column_params(net(encoded, seen[k]))[j])


@pytest.mark.parametrize("order", ["any", "fixed"])
def test_probabilities_sum_to_one(order):
    model = MixedTypeModel(
        [Categorical(2), Categorical(3), Categorical(2)],
        context=[Continuous()],
        hidden=(8, 8),
        order=order,
        conditioner="attention",
    )
    model = randomize(model)
    table = torch.tensor(list(itertools.product(range(2), range(3), range(2))), dtype=torch.float64)
    context = torch.tensor([[0.7]], dtype=torch.float64)
    log_prob = model.log_prob(table, context)
    torch.testing.assert_close(log_prob.exp().sum(), torch.ones((), dtype=torch.float64))
    assert log_prob.std() > 0.1
    conditional = model.given({0: 1.0}, context).log_prob(table[:6, 1:])
    torch.testing.assert_close(conditional.exp().sum(), torch.ones((), dtype=torch.float64))
    drawn = model.sample((4000,), context[0], generator=generator(4))
    shares = torch.stack([(drawn == row).all(dim=-1).double().mean() for row in table])
    assert (shares - log_prob.exp()).abs().max() < 0.04


def test_another_name_is_refused():
    with pytest.raises(
        ValueError, match=r"MixedTypeModel: conditioner must be one of 'residual', 'attention'; got 'x'"
    ):
        MixedTypeModel([Continuous()], conditioner="x")

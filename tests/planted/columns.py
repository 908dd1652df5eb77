"""Bugs in attention over columns: which columns a token sees."""

import torch
from cases import generator, randomize

from pushforward.networks import column_attention
from pushforward.networks.column_attention import PrefixTransformer, SubsetTransformer

from .registry import bug

INPUTS = [1, 2, 1, 1]
GROUPS = [([0, 1, 2, 3], 2)]


def network(kind):
    return lambda: (randomize(kind(INPUTS, GROUPS, hidden=(8, 8), activation="gelu", dropout=0.0)),)


def tokens_of_unseen_columns_are_their_owners_alone(net):
    """What stands for an unseen column reaches the parameters of that column and no others."""
    seen = torch.tensor([[True], [False], [True], [False]])
    encoded = torch.randn(sum(INPUTS), 1, dtype=torch.float64, generator=generator(1))
    before = net(encoded, seen)[0]
    with torch.no_grad():
        net.unseen_weight[1] += 1.0
    moved = (net(encoded, seen)[0] != before).any(dim=0).flatten().tolist()
    assert moved == [False, True, False, False], f"an unseen column is visible: {moved}"


def reads_what_is_before(net):
    """With all columns seen, each depends on those before it, and on all of them."""
    seen = torch.ones(len(INPUTS), 1, dtype=torch.bool)
    encoded = torch.randn(sum(INPUTS), 1, dtype=torch.float64, generator=generator(1))
    jacobian = torch.autograd.functional.jacobian(lambda e: net(e, seen)[0].sum(dim=0).flatten(), encoded)
    depends = torch.stack([(jacobian[:, net.owner == k] != 0).flatten(1).any(dim=1) for k in range(4)], dim=1)
    assert torch.equal(depends, torch.ones(4, 4).tril(-1).bool()), f"columns depend on others: {depends.tolist()}"


@bug(tokens_of_unseen_columns_are_their_owners_alone, network(SubsetTransformer))
def unseen_columns_that_others_attend_to(patch, net):
    through = net._through
    patch.setattr(net, "_through", lambda h, visible: through(h, torch.ones_like(visible)))


@bug(reads_what_is_before, network(PrefixTransformer))
def a_prefix_that_is_one_column_too_long(patch, net):
    mask = column_attention.causal_mask
    patch.setattr(
        column_attention, "causal_mask", lambda q, k, device: mask(q, k, device) | mask(q, k, device).roll(1, dims=1)
    )


@bug(reads_what_is_before, network(PrefixTransformer))
def tokens_that_carry_the_column_before_last(patch, net):
    tokens = net._tokens
    patch.setattr(net, "_tokens", lambda inputs: tuple(part.roll(1, dims=0) for part in tokens(inputs)))


@bug(reads_what_is_before, network(PrefixTransformer))
def tokens_that_carry_their_own_column(patch, net):
    tokens = net._tokens
    patch.setattr(net, "_tokens", lambda inputs: tuple(part.roll(-1, dims=0) for part in tokens(inputs)))

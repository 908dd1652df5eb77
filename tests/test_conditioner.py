"""Conditioners that users register: any subclass works in its layers, and anything else is refused by name."""

import pytest
import torch
from cases import generator, randomize
from torch import nn

from pushforward.bijections import Autoregressive, Coupling, Elementwise
from pushforward.networks import (
    DENSE,
    MASKED,
    AutoregressiveConditioner,
    Conditioner,
    IncrementalPass,
    MaskedMLP,
    SupportsReversePass,
    register_dense,
    register_masked,
)
from pushforward.univariate import Affine, CircularRationalQuadratic, RationalQuadratic


class Bilinear(Conditioner):
    """Products of a linear map with its inputs."""

    def __init__(self, in_features, out_features, **options):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_features, in_features))

    def parallel(self, x, context=None):
        inputs = x if context is None else torch.cat([context, x])
        return self.weight @ inputs.tanh()


class Prefixes(AutoregressiveConditioner):
    """A weight of its own for the sum of all features before each one, without a reverse pass."""

    def __init__(self, features, num_params, *, context=0, channels=1, **options):
        super().__init__()
        self.channels = channels
        self.weight = nn.Parameter(torch.zeros(num_params, features))
        self.context_weight = nn.Parameter(torch.zeros(num_params, features, context))

    def parallel(self, x, context=None):
        by_feature = x.unflatten(0, (-1, self.channels)).tanh().sum(dim=1)
        before = torch.cat([torch.zeros_like(by_feature[:1]), by_feature.cumsum(dim=0)[:-1]])
        return self.weight[..., None] * (1 + before) + self._from_context(context)

    def start(self, like, context=None):
        return Running(self, self._from_context(context))

    def _from_context(self, context):
        return 0.0 if context is None else self.context_weight @ context


class Running(IncrementalPass):
    def __init__(self, network, from_context):
        self.network, self.from_context, self.j, self.total = network, from_context, 0, 1.0

    def step(self, previous):
        if previous is not None:
            self.total = self.total + previous.tanh().sum(dim=0)
        j, self.j = self.j, self.j + 1
        other = self.from_context if isinstance(self.from_context, float) else self.from_context[:, j]
        params = self.network.weight[:, j, None] * self.total + other
        return params.expand(-1, 5) if params.shape[-1] == 1 else params


@pytest.fixture
def registered():
    register_dense("bilinear", Bilinear)
    register_masked("prefixes", Prefixes)
    register_dense("wrong", lambda ins, outs, **options: nn.Linear(ins, outs))
    register_masked("wrong", lambda features, num_params, **options: Bilinear(features, num_params * features))
    yield
    for names, kinds in ((("bilinear", "wrong"), DENSE), (("prefixes", "wrong"), MASKED)):
        for name in names:
            del kinds[name]


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("univariate", [Affine(), RationalQuadratic(4), CircularRationalQuadratic(3)])
@pytest.mark.parametrize(
    "make",
    [
        lambda univariate, context: Coupling(univariate, 4, context=context, conditioner="bilinear"),
        lambda univariate, context: Elementwise(univariate, 4, context=context, conditioner="bilinear"),
        lambda univariate, context: Autoregressive(univariate, 4, context=context, conditioner="prefixes"),
    ],
    ids=["coupling", "elementwise", "autoregressive"],
)
def test_layers_invert_themselves_and_have_their_gradients(make, univariate, context, registered):
    layer = randomize(make(univariate, context))
    x = layer.domain.example((5, 4), generator(1)).double()
    c = torch.randn(5, context, dtype=torch.float64, generator=generator(2)) if context else None
    y, ladj = layer.forward_and_ladj(x, c)
    back, minus = layer.inverse_and_ladj(y, c)
    torch.testing.assert_close(back, x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(minus, -ladj, rtol=1e-8, atol=1e-8)
    jacobian = torch.autograd.functional.jacobian(lambda y: layer.inverse(y, c), y)
    rows = torch.stack([jacobian[k, :, k] for k in range(5)])
    torch.testing.assert_close(torch.linalg.slogdet(rows).logabsdet, minus, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "needed", "got"),
    [
        (lambda: Coupling(Affine(), 4, conditioner="wrong"), "Conditioner", "Linear"),
        (lambda: Elementwise(Affine(), 4, context=1, conditioner="wrong"), "Conditioner", "Linear"),
        (lambda: Autoregressive(Affine(), 4, conditioner="wrong"), "AutoregressiveConditioner", "Bilinear"),
    ],
    ids=["coupling", "elementwise", "autoregressive"],
)
def test_other_modules_are_refused(make, needed, got, registered):
    message = (
        rf"conditioner 'wrong' must be a networks\.{needed}; got {got}\. Subclass it and write its abstract methods"
    )
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unfinished_conditioner_cannot_be_built():
    class Unfinished(AutoregressiveConditioner):
        def parallel(self, x, context=None):
            return x

    with pytest.raises(TypeError, match="start"):
        Unfinished()


def test_a_reverse_pass_is_a_capability_that_is_declared():
    network = MaskedMLP(3, 2, hidden=(8,), dropout=0.5)
    assert not network.has_reverse_pass  # in training it drops units at random
    assert network.eval().has_reverse_pass
    assert isinstance(network, SupportsReversePass)
    assert not isinstance(Prefixes(3, 2), SupportsReversePass)

"""Derivatives that travel forwards: ``jvp``, ``jacfwd``, ``hessian`` and ``linearize`` of maps and their inverses."""

import pytest
import torch
from cases import (
    UNIVARIATES,
    bijection_of,
    firsts,
    inputs,
    label,
    with_rest,
)

SEQUENTIAL = [
    {"type": "Autoregressive", "univariate": univariate, "features": 3, "context": 1, "hidden": [6]}
    for univariate in (
        {"type": "Affine"},
        {"type": "RationalQuadratic", "bins": 3},
        {"type": "SumOfSquares", "polynomials": 2, "degree": 2},
    )
] + [{"type": "BlockNeural", "features": 3, "context": 1, "units": 3, "layers": 1}]
ELEMENTWISE = [{"type": "Elementwise", "univariate": config, "features": 2} for config in firsts(UNIVARIATES)]
ITERATIVE = [
    c for c in ELEMENTWISE if c["univariate"]["type"] in ("Bernstein", "LogisticMixtureCDF", "RationalQuadratic")
]


@pytest.mark.parametrize(
    "config", with_rest([*SEQUENTIAL, *ITERATIVE], [c for c in ELEMENTWISE if c not in ITERATIVE]), ids=label
)
def test_forward_mode_is_reverse_mode(config):
    """``jacfwd`` of both directions equals ``jacrev``, also where ``no_grad`` stops gradients, but not tangents."""
    layer = bijection_of(config)
    x, context = inputs(layer, (1,))
    y = layer.forward(x, context).detach()
    for function, start in ((layer.forward_and_ladj, x), (layer.inverse_and_ladj, y), (layer.inverse, y)):
        expected = torch.func.jacrev(lambda t, f=function: f(t, context))(start)
        for recording in (True, False) if config in SEQUENTIAL else (False,):
            with torch.set_grad_enabled(recording):
                got = torch.func.jacfwd(lambda t, f=function: f(t, context))(start)
            torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9)
    with torch.no_grad():
        again = torch.func.jacrev(lambda t: layer.inverse(t, context))(y)
    torch.testing.assert_close(again, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("config", SEQUENTIAL, ids=label)
def test_hessians_and_linear_maps_through_a_sequential_inverse(config):
    layer = bijection_of(config)
    x, context = inputs(layer, ())
    y = layer.forward(x, context).detach()

    def loss(t):
        back, ladj = layer.inverse_and_ladj(t, context)
        return back.sin().sum() + ladj

    hessian = torch.func.hessian(loss)(y)
    torch.testing.assert_close(hessian, torch.func.jacrev(torch.func.jacrev(loss))(y), rtol=1e-6, atol=1e-8)
    along = torch.ones_like(y)
    slope = torch.func.jvp(loss, (y,), (along,))[1]
    torch.testing.assert_close(slope, torch.func.grad(loss)(y) @ along)
    weights = dict(layer.named_parameters())
    tangents = {name: torch.ones_like(weight) for name, weight in weights.items()}

    def of_weights(weights):
        return torch.func.functional_call(layer, weights, (x, context)).sum() + torch.func.functional_call(
            Call(layer), {f"layer.{name}": weight for name, weight in weights.items()}, (y, context)
        )

    forwards = torch.func.jvp(of_weights, (weights,), (tangents,))[1]
    backwards = sum((grad * tangents[name]).sum() for name, grad in torch.func.grad(of_weights)(weights).items())
    torch.testing.assert_close(forwards, backwards)


class Call(torch.nn.Module):
    """The inverse of a layer as a module."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, y, context):
        return self.layer.inverse(y, context).sum()


def test_a_sequential_inverse_can_be_linearized():
    layer = bijection_of(SEQUENTIAL[0])
    x, context = inputs(layer, ())
    value, linear = torch.func.linearize(lambda t: layer.inverse(t, context), x)
    torch.testing.assert_close(value, layer.inverse(x, context))
    torch.testing.assert_close(
        linear(torch.ones_like(x)), torch.func.jacrev(lambda t: layer.inverse(t, context))(x).sum(1)
    )

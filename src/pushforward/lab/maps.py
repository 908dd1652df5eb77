"""Flows of two variables as numbers, which a browser evaluates by itself; `web/PROTOCOL.md` says what they mean."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import torch
from torch import Tensor

from pushforward.bijections import (
    LU,
    Autoregressive,
    Coupling,
    Elementwise,
    Flip,
    Linear,
    Permute,
    Planar,
    RadialSquash,
    Scale,
    Standardize,
)
from pushforward.bijections.chain import innermost
from pushforward.core.bijection import Bijection
from pushforward.distributions import Flow, StandardNormal
from pushforward.networks import MaskedMLP
from pushforward.networks.mlp import MLP
from pushforward.univariate import Affine, RationalQuadratic, Univariate

__all__ = ["flow_json"]

LINEAR = LU, Flip, Linear, Permute, Scale, Standardize
FEATURES = 2

Layers = list[tuple[Tensor, Tensor]]
"""Weights (rows, columns) and biases (rows,)."""


def flow_json(flow: Flow) -> dict[str, Any]:
    """The parts of a flow of two variables without context, from latents to data.

    Raises:
        ValueError: the flow has another number of variables, a context, another base than independent standard normals,
            or a part that has no formula here.

    >>> import pushforward as pf
    >>> [part["type"] for part in flow_json(pf.flows.nsf(2, depth=2, mix="flip"))["parts"]]
    ['triangular', 'linear', 'triangular', 'linear']
    """
    if not isinstance(flow.base, StandardNormal) or flow.event_shape != (FEATURES,) or flow.context_shape is not None:
        raise ValueError("Flow Lab shows flows of two variables from standard normals, without context.")
    with torch.no_grad():
        return {"parts": [_part(part, backwards) for part, backwards in innermost(flow.bijection)]}


def _part(part: Bijection, backwards: bool) -> dict[str, Any]:
    name = "inverse of " * backwards + type(part).__name__
    if isinstance(part, LINEAR):
        return {"name": name, "type": "linear", **_linear(part, backwards)}
    if isinstance(part, RadialSquash):
        return {"name": name, "type": "squash", "inverse": backwards}
    if isinstance(part, Planar) and part.negative_slope is None:
        w, u, b, _ = part._numbers(None)
        numbers = {"direction": w.tolist(), "push": u.tolist(), "bias": float(b)}
        return {"name": name, "type": "planar", **numbers, "inverse": backwards}
    if isinstance(part, Autoregressive | Coupling | Elementwise):
        return {"name": name, "type": "triangular", **_triangular(part), "inverse": backwards}
    raise ValueError(f"Flow Lab has no formula for {type(part).__name__} in the browser.")


def _linear(part: Bijection, backwards: bool) -> dict[str, Any]:
    """Matrix and shift of a linear map, read off its values."""
    dtype = (part.out_dtype if backwards else part.in_dtype) or part.dtype
    points = torch.cat([torch.zeros(1, FEATURES), torch.eye(FEATURES)]).to(dtype or torch.float64)
    values = (part.inverse(points) if backwards else part(points)).double()
    return {"matrix": (values[1:] - values[0]).T.tolist(), "shift": values[0].tolist()}


def _triangular(part: Autoregressive | Coupling | Elementwise) -> dict[str, Any]:
    univariate = _univariate(part.univariate)
    if isinstance(part, Elementwise):
        parameters = part.params if part.params is not None else torch.zeros(0, FEATURES)
        all_params = (parameters + (0.0 if part.start is None else part.start)).detach()
        usual = all_params[: len(all_params) - part.univariate.num_free]
        free = all_params[len(usual) :]
        return {
            "first": 0, "univariate": univariate, "start": usual[:, 0].tolist(), "free": _free(free),
            "network": _network("relu", False, [(torch.zeros(len(usual), 1), usual[:, 1])]),
        }  # fmt: skip
    if isinstance(part, Coupling):
        first = 0 if part.split.keeps[0] else 1
        moved = None if part.free is None else torch.cat([torch.zeros_like(part.free), part.free], dim=1)
        return {
            "first": first, "univariate": univariate, "start": None, "free": _free(moved),
            "network": _of_coupling(part.conditioner),
        }  # fmt: skip
    start, network = _of_autoregressive(part.conditioner)
    return {"first": 0, "univariate": univariate, "start": start, "free": _free(part.free), "network": network}


def _univariate(univariate: Univariate) -> dict[str, Any]:
    if type(univariate) is Affine:
        return {"type": "affine", "bound": univariate.bound}
    if type(univariate) is RationalQuadratic:
        return {
            "type": "spline", "bins": univariate.bins, "bound": univariate.bound, "tails": univariate.tails,
            "min_bin": univariate.min_bin, "min_slope": univariate.min_slope,
        }  # fmt: skip
    raise ValueError(f"Flow Lab has no formula for {type(univariate).__name__} in the browser.")


def _free(free: Tensor | None) -> list[float] | None:
    return None if free is None or not len(free) else free[0].tolist()


def _of_coupling(network: Any) -> dict[str, Any]:
    if not isinstance(network, MLP):
        raise ValueError(f"Flow Lab has no formula for {type(network).__name__} in the browser.")
    layers = [(layer.weight, layer.bias) for layer in _as_list(network.layers)]
    return _network(network.activation, network.residual, layers)


def _of_autoregressive(network: Any) -> tuple[list[float], dict[str, Any]]:
    """Parameters of the first variable, and the network of those of the second, which reads the first."""
    if not isinstance(network, MaskedMLP):
        raise ValueError(f"Flow Lab has no formula for {type(network).__name__} in the browser.")
    layers = [(layer.weight * layer.mask, layer.bias) for layer in [*_as_list(network.layers), network.last]]
    layers[0] = layers[0][0][:, :1], layers[0][1]
    weight, bias = layers[-1]
    layers[-1] = weight[1::FEATURES], bias[1::FEATURES]  # rows are parameters by variables
    return bias[::FEATURES].tolist(), _network(network.activation, network.residual, layers)


def _network(activation: str, residual: bool, layers: Layers) -> dict[str, Any]:
    written = [
        {"rows": weight.shape[0], "columns": weight.shape[1], "weight": _base64(weight), "bias": _base64(bias)}
        for weight, bias in layers
    ]
    return {"activation": activation, "residual": residual, "layers": written}


def _base64(numbers: Tensor) -> str:
    """Little-endian float32 numbers, rows first."""
    return b64encode(numbers.detach().cpu().numpy().astype("<f4").tobytes()).decode()


def _as_list(modules: Any) -> list[Any]:
    return list(modules)

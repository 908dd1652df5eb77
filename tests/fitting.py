"""Data and models that the tests of `fit` share."""

from __future__ import annotations

import torch

import pushforward as pf


def banana(rows: int = 1500, seed: int = 0) -> torch.Tensor:
    """Two features, the second a noisy parabola of the first, in units far from one."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, generator=g)
    x[:, 1] = 100 + 20 * (0.5 * x[:, 1] + x[:, 0] ** 2)
    return x


def small_flow(**options: object) -> pf.Flow:
    """The same flow at each call."""
    torch.manual_seed(0)
    return pf.flows.nsf(2, depth=2, hidden=(16, 16), bins=4, **options)


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the state."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two states agree bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

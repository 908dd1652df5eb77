"""Round trips through whole flows of every family, as exact as their condition numbers allow.

Going to the other side and back multiplies a relative rounding error by the condition number of the map there,
κ = ‖∇T‖ ‖∇T⁻¹‖. What is asked for is a relative error of at most max(1e-4, 50 eps κ) in single precision, and the same
number of units in the last place in double precision.
"""

import inspect

import pytest
import torch
from cases import FLOW_OPTIONS, exhaustive, generator, randomize

from pushforward.core.domain import Circle
from pushforward.flows import FLOWS

LEAST = 1e-4 / torch.finfo(torch.float32).eps  # in units of eps
FEATURES, ROWS = 4, 64
SMALL = {"hidden": [24, 24], "depth": 2, "units": 6, "data_dtype": None}
DTYPES = [torch.float32, torch.float64]

SOME = ("bnaf", "circular_nsf", "maf", "nsf", "real_nvp", "sos")
each_family = pytest.mark.parametrize(
    "name", [name if name in SOME else pytest.param(name, marks=exhaustive) for name in FLOWS]
)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_state = pytest.mark.parametrize("trained", [False, True], ids=["untrained", "random"])


def family(name, dtype, trained):
    """A flow measured on data at mean 300 and scale 50, with its start weights or with random ones."""
    accepted = inspect.signature(FLOWS[name]).parameters
    flow = FLOWS[name](FEATURES, **{k: v for k, v in {**FLOW_OPTIONS, **SMALL}.items() if k in accepted})
    if trained:
        flow = randomize(flow, 5, dtype, size=0.4)
        for part in flow.modules():  # `randomize` fills in statistics of its own
            if getattr(part, "initialized", None) is not None:
                part.initialized.fill_(False)
    flow = flow.eval().to(dtype)
    flow.initialize(data(flow, dtype))
    return flow


def data(flow, dtype):
    if isinstance(flow.support, Circle):
        return flow.support.example((ROWS, FEATURES), generator(1)).to(dtype)
    mix = torch.randn(FEATURES, FEATURES, generator=generator(2), dtype=torch.float64) / 2 + torch.eye(FEATURES)
    return (300 + 50 * torch.randn(ROWS, FEATURES, generator=generator(1), dtype=torch.float64) @ mix).to(dtype)


def jacobians(function, x):
    whole = torch.autograd.functional.jacobian(lambda t: function(t).sum(dim=0), x, vectorize=True)
    return whole.movedim(1, 0)


def assert_comes_back(there, back, start):
    """The relative error of each row against its own condition number."""
    other = there(start).detach()
    assert bool(other.isfinite().all()), "a point left the dtype"
    returned = back(other).detach()
    assert bool(returned.isfinite().all()), "a point did not come back"
    slope = jacobians(there, start).to(torch.float64)
    sizes = torch.linalg.matrix_norm(slope, ord=2), torch.linalg.matrix_norm(torch.linalg.inv(slope), ord=2)
    eps = torch.finfo(start.dtype).eps
    scale = start.norm(dim=-1).to(torch.float64) + 1
    # The condition number of the way back, relative: how errors of the other side's size come back to this side.
    condition = torch.maximum(sizes[0] * sizes[1], sizes[1] * (other.norm(dim=-1) + 1) / scale)
    error = (returned - start).norm(dim=-1).to(torch.float64) / scale
    allowed = eps * torch.maximum(torch.tensor(LEAST), 50 * condition)
    worst = (error / allowed).max().item()
    assert worst <= 1, f"{worst:.2g} times the allowed error; condition number {condition.max():.3g}"


@each_state
@each_dtype
@each_family
def test_from_data(name, dtype, trained):
    flow = family(name, dtype, trained)
    assert_comes_back(flow.to_latent, flow.to_data, data(flow, dtype))


@each_state
@each_dtype
@pytest.mark.parametrize("size", [1.0, 10.0])
@each_family
def test_from_the_base(name, size, dtype, trained):
    flow = family(name, dtype, trained)
    if isinstance(flow.support, Circle) and size > 1:
        pytest.skip("nothing on a circle is ten times as far out")
    z = size * flow.base.sample((ROWS,), generator=generator(3))
    assert_comes_back(flow.to_data, flow.to_latent, z)

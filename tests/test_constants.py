"""A model follows from its file alone: constants, the default dtype, and models built without memory for weights."""

import copy
from contextlib import contextmanager

import pytest
import torch
from cases import (
    BIJECTIONS,
    DISTRIBUTIONS,
    UNIVARIATES,
    bijection_of,
    firsts,
    generator,
    named_flow,
)

import pushforward as pf
from pushforward.core.bijection import Bijection
from pushforward.core.config import build, configurable
from pushforward.flows import FLOWS
from pushforward.io.skeleton import skeleton

# --- constants follow from the config alone, whatever the default dtype was -------------------------------------------

PARTS = [*firsts(UNIVARIATES), *BIJECTIONS, *DISTRIBUTIONS]


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def not_saved(module):
    """Buffers that no file holds, by name."""
    names = {f"{path}.{key}".lstrip(".") for path, m in module.named_modules() for key in m._non_persistent_buffers_set}
    return {name: buffer for name, buffer in module.named_buffers() if name in names}


def same_buffers(got, expected):
    assert got.keys() == expected.keys()
    for name, buffer in expected.items():
        assert got[name].dtype == buffer.dtype, f"{name} is {got[name].dtype}"
        assert torch.equal(got[name], buffer), f"{name}: {got[name]} is not {buffer}"


@pytest.mark.parametrize("configs", [PARTS[k::8] for k in range(8)])
def test_constants_are_rounded_once(configs):
    """Built in float32 and converted, or built in float64; there and back through bfloat16; from the meta device."""
    for config in configs:
        with default_dtype(torch.float64):
            expected = not_saved(build(config))
        with default_dtype(torch.float32):
            narrow = not_saved(build(config))
        same_buffers(not_saved(build(config).double()), expected)
        same_buffers(not_saved(build(config).to(torch.bfloat16).double()), expected)
        same_buffers(not_saved(build(config).to(torch.bfloat16).float()), narrow)
        with torch.device("meta"):
            empty = build(config)
        for part in empty.modules():
            assert part._non_persistent_buffers_set <= getattr(part, "constants", frozenset()), type(part).__name__
        same_buffers(not_saved(empty.to_empty(device="cpu")), narrow)


@pytest.mark.parametrize("name", ["ddsf", "naf", "nsf", "sos", "gaussianization", "triangular_map"])
def test_a_file_alone_says_what_a_model_computes(name, tmp_path):
    """A float64 ddsf loaded where the default is float32 was off by 2.7e-5."""
    with default_dtype(torch.float64):
        model = named_flow({"flow": name, "features": 2, "context": 0})
    x = torch.randn(5, 2, generator=generator(1), dtype=torch.float64)
    expected = model.eval().log_prob(x)
    pf.save(model, tmp_path / "model.safetensors")
    for dtype in (torch.float32, torch.float64):
        with default_dtype(dtype):
            assert torch.equal(pf.load(tmp_path / "model.safetensors").log_prob(x), expected), dtype


@pytest.mark.parametrize(
    ("config", "x"),
    [({"type": "Uniform", "low": [0.1], "high": [0.7]}, 0.7), ({"type": "StudentT", "features": 1, "df": 3.3}, 0.4)],
)
def test_numbers_of_base_distributions_are_exact_in_float64(config, x):
    x = torch.tensor([x], dtype=torch.float64)
    with default_dtype(torch.float64):
        expected = build(config).log_prob(x)
    assert expected.isfinite()
    assert torch.equal(build(config).double().log_prob(x), expected)


def test_integration_rules_keep_their_digits_in_a_converted_map():
    """Their nodes were float64 numbers that ``.float()`` rounded for good."""
    layer = bijection_of({"type": "Triangular", "terms": [[[1], [2], [3]]]})
    x = torch.randn(6, 1, generator=generator(1), dtype=torch.float64)
    again = copy.deepcopy(layer).float().double()
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), layer(x))


# --- models without memory for their weights --------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_flows_are_built_on_the_meta_device(name):
    flow = named_flow({"flow": name, "features": 3, "context": 2})
    with torch.device("meta"):
        empty = named_flow({"flow": name, "features": 3, "context": 2})
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(flow.state_dict())
    z, context = torch.randn(4, 3, generator=generator(1)), torch.randn(4, 2, generator=generator(2))
    if name == "circular_nsf":
        z = z.clamp(-3, 3)
    for got, expected in ((filled.eval(), flow.eval()),):
        x = expected.to_data(z, context)
        assert torch.equal(got.to_data(z, context), x)
        assert torch.equal(got.log_prob(x, context), expected.log_prob(x, context))


def test_loading_takes_no_memory_for_weights_that_a_file_replaces(tmp_path):
    flow = named_flow({"flow": "nsf", "features": 3, "context": 1})
    assert {p.device.type for p in skeleton(flow.config).parameters()} == {"meta"}
    pf.save(flow, tmp_path / "model.safetensors")
    loaded = pf.load(tmp_path / "model.safetensors")
    assert {t.device.type for t in [*loaded.parameters(), *loaded.buffers()]} == {"cpu"}
    assert all(p.requires_grad for p in loaded.parameters())


def test_parts_that_read_values_while_they_are_built_are_loaded_all_the_same(tmp_path):
    model = ReadsValues(3)
    pf.save(model, tmp_path / "model.safetensors")
    loaded = pf.load(tmp_path / "model.safetensors")
    x = torch.ones(3)
    assert torch.equal(loaded(x), model(x))


@configurable
class ReadsValues(Bijection):
    """A part of a user: its constructor reads a tensor, keeps one in a buffer that is not saved and one beside."""

    def __init__(self, features):
        super().__init__()
        self.in_shape = self.out_shape = (features,)
        self.scale = torch.nn.Parameter(torch.full((features,), 2.0))
        self.register_buffer("offset", torch.linspace(0.0, 1.0, features), persistent=False)
        self.largest = float(torch.arange(features).max())
        self.hidden = torch.arange(features)

    def _forward_and_ladj(self, x, context):
        y = x * self.scale + self.offset + self.largest + self.hidden
        return y, self.scale.log().sum().expand(x.shape[:-1])

    def _inverse_and_ladj(self, y, context):
        x = (y - self.offset - self.largest - self.hidden) / self.scale
        return x, -self.scale.log().sum().expand(y.shape[:-1])

"""``Chain(memory=...)``: the same gradients from less memory."""

import copy

import pytest
import torch
from cases import generator, needs_compiler

import pushforward as pf
from pushforward.bijections import Chain, Coupling
from pushforward.core.execution_mode import execution
from pushforward.univariate import Affine

SPECS = {
    "couplings": ("nsf", {"layer": "coupling", "bins": 4}),
    "affine couplings": ("real_nvp", {}),
    "autoregressive": ("maf", {}),
    "autoregressive, sampling fast": ("maf", {"fast": "sampling"}),
    "numeric inverse": ("naf", {"units": 4}),
    "dropout": ("nsf", {"layer": "coupling", "bins": 4, "dropout": 0.3}),
}
each = pytest.mark.parametrize("name", SPECS)


def flow_of(name, depth=3, dtype=torch.float64, hidden=(8, 8)):
    kind, options = SPECS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = getattr(pf.flows, kind)(3, context=2, depth=depth, hidden=hidden, **options).to(dtype)
        for parameter in flow.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return flow.train()


def inputs(dtype=torch.float64, rows=11):
    draw = generator(1)
    return tuple(torch.randn(rows, size, generator=draw, dtype=torch.float64).to(dtype) for size in (3, 2))


def gradients(flow, memory, dtype=torch.float64):
    """Densities and their gradients in x, context and all weights."""
    x, context = (t.requires_grad_() for t in inputs(dtype))
    with torch.random.fork_rng(), execution(memory=memory):
        torch.manual_seed(5)  # of dropout
        value = flow.log_prob(x, context)
    weights = [p for p in flow.parameters() if p.requires_grad]
    return [value, *torch.autograd.grad(value.square().sum(), [x, context, *weights], allow_unused=True)]


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_checkpointed_gradients_are_the_same_bit_for_bit(name, dtype):
    flow = flow_of(name, dtype=dtype)
    for got, expected in zip(gradients(flow, "checkpoint", dtype), gradients(flow, "plain", dtype), strict=True):
        assert (got is None and expected is None) or torch.equal(got, expected)


@each
def test_gradients_by_inversion_are_the_same_to_rounding(name):
    flow = flow_of(name)
    for got, expected in zip(gradients(flow, "invert"), gradients(flow, "plain"), strict=True):
        assert (got is None) == (expected is None)
        if got is not None:
            assert (got - expected).norm() <= 1e-9 * expected.norm()


def test_weights_that_are_frozen_stay_without_gradients():
    flow = flow_of("affine couplings")
    for k, parameter in enumerate(flow.parameters()):
        parameter.requires_grad_(k % 3 > 0)
    for got, expected in zip(gradients(flow, "invert"), gradients(flow, "plain"), strict=True):
        assert got is None or (got - expected).norm() <= 1e-9 * expected.norm()
    flow(*inputs()).sum().backward()
    assert [p.grad is None for p in flow.parameters()] == [not p.requires_grad for p in flow.parameters()]


def kept(flow, memory):
    """Bytes that are kept for the gradients of a large batch, weights apart."""
    storages = {p.data_ptr() for p in [*flow.parameters(), *flow.buffers()]}
    seen = {}

    def pack(tensor):
        if tensor.data_ptr() not in storages:
            seen[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no two share an address
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        execution(memory=memory),
    ):
        value = flow.log_prob(*inputs(rows=400))
    assert value.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


def test_what_is_kept_hardly_grows_with_depth():
    sizes = {
        memory: [kept(flow_of("couplings", depth, hidden=(64, 64)), memory) for depth in (2, 8)]
        for memory in ("plain", "checkpoint", "invert")
    }
    plain, stored, inverted = (sizes[memory] for memory in ("plain", "checkpoint", "invert"))
    assert plain[1] > 3 * plain[0]
    assert stored[1] < plain[1] / 20
    assert inverted[1] < stored[1] / 2
    assert inverted[1] < 1.2 * inverted[0]


def test_no_gradients_and_mapped_calls_go_the_plain_way():
    flow = flow_of("couplings")
    x, context = inputs()
    expected = flow.log_prob(x, context)
    with execution(memory="invert"):
        with torch.no_grad():
            assert torch.equal(flow.log_prob(x, context), expected)
        torch.testing.assert_close(torch.vmap(flow.log_prob)(x, context), expected)
        slope = torch.func.grad(lambda x: flow.log_prob(x, context[0]))(x[0])
    leaf = x[0].clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(flow.log_prob(leaf, context[0]), leaf)[0])


def test_fit_takes_it_and_leaves_the_flow_as_it_was():
    x = torch.randn(200, 3, generator=generator(2))
    options = {"steps": 6, "progress": False, "validation": None}
    flow = pf.flows.nsf(3, layer="coupling", depth=2, hidden=(8,), bins=4, mix="flip")
    other = copy.deepcopy(flow)
    pf.fit(flow, x, **options)
    pf.fit(other, x, memory="checkpoint", **options)
    for got, expected in zip(other.parameters(), flow.parameters(), strict=True):
        assert torch.equal(got, expected)
    assert {part.memory for part in other.modules() if isinstance(part, Chain)} == {"plain"}
    with pytest.raises(ValueError, match=r"fit: memory must be one of .*'invert'; got 'little'"):
        pf.fit(flow, x, memory="little", **options)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("memory", ["checkpoint", "invert"])
@pytest.mark.parametrize("name", ["couplings", "affine couplings", "autoregressive"])
def test_native_kernels_recompute_too(name, memory):
    flow = flow_of(name)
    flow.use_kernels()
    for got, expected in zip(gradients(flow, memory), gradients(flow_of(name), "plain"), strict=True):
        assert (got is None) == (expected is None)
        assert got is None or (got - expected).norm() <= 1e-9 * (1 + expected.norm())


def chain_of(memory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [Coupling(Affine(), 3, context=2, hidden=(8,), swap=k % 2 > 0) for k in range(4)]
        chain = Chain(parts, memory=memory).double()
        for parameter in chain.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return chain


@pytest.mark.parametrize("loss", ["y", "ladj", "both"])
def test_inverted_chains_can_be_asked_in_part_and_again(loss):
    results = []
    for memory in ("plain", "invert"):
        chain, (x, context) = chain_of(memory), inputs()
        y, ladj = chain.forward_and_ladj(x.requires_grad_(), context)
        value = sum({"y": [y.sin().sum()], "ladj": [ladj.sum()], "both": [y.sin().sum(), ladj.sum()]}[loss])
        asked = [x, *chain.parts[1].parameters(), *chain.parts[3].parameters()]
        first = torch.autograd.grad(value, asked, retain_graph=True, allow_unused=True)
        results.append([*first, *torch.autograd.grad(value, asked, allow_unused=True)])
    for got, expected in zip(*results, strict=True):
        assert (got is None) == (expected is None)
        assert got is None or (got - expected).norm() <= 1e-10 * (1 + expected.norm())


def test_changing_the_output_of_an_inverted_chain_is_refused():
    chain, (x, context) = chain_of("invert"), inputs()
    y, ladj = chain.forward_and_ladj(x.requires_grad_(), context)
    with torch.no_grad():
        y.zero_()
    with pytest.raises(RuntimeError, match="changed in place"):
        ladj.sum().backward()

"""Native kernels inside `torch.compile`: nodes of its graphs, with the gradients of the plain operations."""

import copy

import pytest
import torch
from cases import exhaustive, generator, needs_compiler

import pushforward as pf

FLOWS = {
    "maf": (lambda: pf.flows.maf(4, depth=2, hidden=(40, 40), context=1), {"perceptron"}),
    "nsf": (
        lambda: pf.flows.nsf(4, depth=2, hidden=(40, 40), bins=4, context=1),
        {"perceptron", "autoregressive_spline"},
    ),
    "coupling": (lambda: pf.flows.nsf(4, layer="coupling", depth=2, hidden=(40,), context=1), {"rational_quadratic"}),
}


def pair(name):
    """(by kernels, plain): the same flow twice, and data for it."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        plain = FLOWS[name][0]().double()
        for parameter in plain.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    fast = copy.deepcopy(plain)
    fast.use_kernels()
    data = torch.randn(60, 5, generator=generator(9), dtype=torch.float64)
    return fast, plain, (data[:, :4], data[:, 4:])


class Graphs:
    """A backend that keeps the names of the kernels in the graphs that it gets, in both passes of training."""

    def __init__(self):
        self.forward, self.backward = [], []

    def __call__(self, graph, example_inputs):
        from functorch.compile import make_boxed_func
        from torch._dynamo.backends.common import aot_autograd

        def keeping(names):
            def keep(graph, example_inputs):
                ops = [str(node.target) for node in graph.graph.nodes if "pushforward." in str(node.target)]
                names.extend(op.split(".")[1] for op in ops)
                return make_boxed_func(graph.forward)

            return keep

        return aot_autograd(fw_compiler=keeping(self.forward), bw_compiler=keeping(self.backward))(
            graph, example_inputs
        )


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", [pytest.param(n, marks=exhaustive) if n != "nsf" else n for n in FLOWS])
def test_kernels_are_nodes_of_the_graph(name):
    torch._dynamo.reset()
    fast, plain, inputs = pair(name)
    graphs = Graphs()
    compiled = torch.compile(fast, backend=graphs, fullgraph=True)
    densities = [flow(*inputs) for flow in (compiled, plain)]
    torch.testing.assert_close(*densities, rtol=1e-9, atol=1e-9)
    for density in densities:
        (-density.mean()).backward()
    for (operator, p), q in zip(plain.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-9, atol=1e-9, msg=operator)
    expected = FLOWS[name][1]
    assert set(graphs.forward) == expected
    assert set(graphs.backward) == {f"{operator}_backward" for operator in expected}
    assert len(graphs.forward) == len(graphs.backward) == 2 * len(expected)


@exhaustive
@pytest.mark.slow
@needs_compiler
def test_one_graph_serves_every_batch_size():
    torch._dynamo.reset()
    fast, plain, (x, context) = pair("maf")
    graphs = Graphs()
    compiled = torch.compile(fast, backend=graphs, dynamic=True)
    for count in (60, 7, 33):
        inputs = x[:count].clone(), context[:count].clone()
        with torch.no_grad():
            torch.testing.assert_close(compiled(*inputs), plain(*inputs))
    assert graphs.forward == ["perceptron"] * 2  # two layers, once


@exhaustive
@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", FLOWS)
def test_mapped_graphs_and_exports_go_the_plain_way(name):
    torch._dynamo.reset()
    fast, plain, inputs = pair(name)
    graphs = Graphs()
    mapped = torch.compile(lambda *inputs: torch.vmap(fast)(*inputs), backend=graphs)
    torch.testing.assert_close(mapped(*inputs), plain(*inputs))
    exported = torch.export.export(fast, inputs)
    torch.testing.assert_close(exported.module()(*inputs), plain(*inputs))
    assert not graphs.forward
    assert "pushforward" not in " ".join(str(node.target) for node in exported.graph.nodes)

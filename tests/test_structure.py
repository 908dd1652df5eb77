"""Maps along graphs, side by side, in other orders and shapes, scanned, and batch normalisation."""

import copy

import pytest
import torch

import pushforward as pf
from pushforward.bijections import (
    LU,
    Autoregressive,
    BatchNorm,
    Chain,
    Concatenate,
    Coupling,
    Elementwise,
    Flip,
    GraphAutoregressive,
    Indexed,
    RadialSquash,
    Reflect,
    Reordered,
    Reshape,
    Scan,
    Stack,
)
from pushforward.distributions import Flow, Joint, StandardNormal, Uniform
from pushforward.testing import check_bijection
from pushforward.testing.comparison import jacobian
from pushforward.testing.random_parts import inputs, randomize
from pushforward.train.history import History, Record
from pushforward.univariate import Affine, CircularShift, PerFeature, RationalQuadratic

DIAMOND = [[3, 0], [3, 1], [0, 2], [1, 2]]


def graph(edges=DIAMOND, features=4, **options):
    layer = GraphAutoregressive(Affine(), features, edges=edges, hidden=(16, 16), activation="tanh", **options)
    return randomize(layer, seed=1)


# --- graphs ----------------------------------------------------------------------------------------------------------


def test_the_inverse_takes_one_pass_for_each_level():
    layer = graph()
    passes = []
    layer.conditioner.register_forward_hook(lambda *_: passes.append(1))
    y = torch.randn(5, 4, dtype=torch.float64)
    x = layer.inverse(y)
    assert len(passes) == layer.levels == 3
    torch.testing.assert_close(layer(x), y)
    wide = graph([[0, child] for child in range(1, 30)], 30)
    assert wide.levels == 2


def test_context_reaches_the_features_that_it_should_and_no_other():
    reads = [[1, 0], [0, 0], [0, 1], [1, 1]]
    layer = graph(context=2, context_adjacency=reads)
    x, context = inputs(layer, (40,))
    slopes = jacobian(lambda c: layer(x, c), context).abs().amax(dim=0)
    assert ((slopes > 1e-12) == torch.tensor(reads).bool()).all()


def test_a_complete_graph_depends_on_all_earlier_features_and_is_triangular():
    layer = graph([[i, j] for j in range(4) for i in range(j)])
    x, _ = inputs(layer, (40,))
    matrix = jacobian(layer, x).abs().amax(dim=0)
    assert ((matrix > 1e-12) == torch.ones(4, 4).tril().bool()).all()
    assert layer.is_triangular
    assert not graph().is_triangular
    assert Flow(StandardNormal(4), layer.inv).double().given(x[0, :2]).event_shape == (2,)


def test_the_flow_has_the_conditional_independences_of_its_graph():
    """In a -> b -> c, c is independent of a given b: the mixed second derivative of the log-density is zero."""
    flow = pf.flows.graphical(3, edges=[[0, 1], [1, 2]], hidden=(16,), activation="tanh", univariate="affine")
    flow = randomize(flow, seed=4)
    hessian = torch.autograd.functional.hessian(flow.log_prob, torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
    assert hessian[0, 2].abs() < 1e-12
    assert hessian[0, 1].abs() > 1e-4
    assert hessian[1, 2].abs() > 1e-4


def test_narrow_networks_lose_no_dependence():
    layer = GraphAutoregressive(Affine(), 6, edges=[[i, j] for j in range(6) for i in range(j)], hidden=(1, 1))
    layer = randomize(layer, seed=2)
    x, _ = inputs(layer, (200,))
    matrix = jacobian(layer, x).abs().amax(dim=0)
    assert ((matrix > 1e-12) == torch.ones(6, 6).tril().bool()).all()


def test_gradients_of_the_inverse_are_those_of_the_implicit_function_theorem():
    layer = graph()
    y = torch.randn(3, 4, dtype=torch.float64)
    x = layer.inverse(y)
    backward, forward = jacobian(layer.inverse, y), jacobian(layer, x.detach())
    torch.testing.assert_close(backward @ forward, torch.eye(4, dtype=torch.float64).expand(3, 4, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edges": [[0, 1], [1, 2], [2, 0]]}, r"the graph must have no cycle; got 0 -> 1 -> 2 -> 0\. Leave one"),
        ({"edges": [[0, 0]]}, r"the graph must have no cycle; got 0 -> 0\."),
        ({"edges": [[0, 3]]}, r"edges must list pairs \[parent, child\] of features 0 \.\. 2; got \[0, 3\]\."),
        ({"edges": [[0, 1, 2]]}, r"edges must list pairs"),
        ({}, r"give the graph once, by edges or by adjacency; got neither\."),
        ({"edges": [], "adjacency": [[0] * 3] * 3}, r"give the graph once, by edges or by adjacency; got both\."),
        ({"adjacency": [[0, 0]] * 3}, r"adjacency must have 3 rows of 3 booleans; got 3 rows of \[2\]\."),
        ({"edges": [], "context": 1, "context_adjacency": [[1]]}, r"context_adjacency must have 3 rows of 1 booleans"),
        ({"edges": [], "conditioner": "conv"}, r"conditioner must be one of 'plain', 'residual'; got 'conv'\."),
    ],
)
def test_a_graph_that_cannot_be_used_is_refused(options, message):
    with pytest.raises(ValueError, match=r"GraphAutoregressive: " + message):
        GraphAutoregressive(Affine(), 3, **options)


# --- orders, signs, shapes -------------------------------------------------------------------------------------------


def test_a_custom_order_decides_who_depends_on_whom():
    order = [2, 0, 1]
    layer = randomize(Reordered(Autoregressive(Affine(), 3, hidden=(16,), activation="tanh"), order), seed=5)
    x, _ = inputs(layer, (40,))
    matrix = jacobian(layer, x).abs().amax(dim=0) > 1e-12
    assert matrix[order][:, order].equal(torch.ones(3, 3).tril().bool())


def test_a_reflection_before_a_scale_is_a_negative_scale():
    layer = Chain([Reflect([-1.0]), Elementwise(Affine(), 1)])
    with torch.no_grad():
        layer.parts[1].params[2] = torch.log(torch.tensor(3.0))
    assert layer(torch.tensor([2.0])).item() == pytest.approx(-6.0)
    assert Reflect([-1], interval=[0.0, 4.0])(torch.tensor([1.0])).item() == 3.0
    flow = Flow(Uniform([0.0], [4.0]), Reflect([-1], interval=[0.0, 4.0]))
    assert flow.log_prob(torch.tensor([[1.0], [5.0]])).tolist() == pytest.approx([-1.3862943, -torch.inf])


def test_reshape_lets_maps_of_vectors_serve_events_of_several_axes():
    bijection = Chain([Reshape((2, 3), 6), LU(6), Reshape(6, (2, 3))])
    check_bijection(bijection)
    assert Flow(StandardNormal((2, 3)), bijection).sample((4,)).shape == (4, 2, 3)


# --- side by side ----------------------------------------------------------------------------------------------------


def test_circular_beside_real_features_in_one_flow():
    base = Joint([pf.distributions.CircularUniform(1), StandardNormal(2)])
    layers = Chain(
        [
            Concatenate([Elementwise(CircularShift(), 1), Coupling(Affine(), 2, hidden=(8,))]),
            Autoregressive(PerFeature([CircularShift(), RationalQuadratic(4)], [1, 2]), 3, hidden=(8,)),
        ]
    )
    flow = randomize(Flow(base, layers), seed=6)
    x = flow.sample((50,))
    assert flow.support.contains(x).all()
    around = x.clone()
    around[:, 0] = torch.where(x[:, 0] > 0, -torch.pi + 1e-12, torch.pi - 1e-12)  # the same point of the circle
    there = x.clone()
    there[:, 0] = -around[:, 0]
    torch.testing.assert_close(flow.log_prob(around), flow.log_prob(there))


def test_domains_of_pieces_lie_where_the_pieces_lie():
    whole = Concatenate([Elementwise(CircularShift(), (2, 1)), Elementwise(Affine(), (2, 2))], axis=1)
    names = [type(part).__name__ for part in whole.domain.parts]
    assert names == ["Circle", "Real", "Real"] * 2
    assert Stack([RadialSquash(2), RadialSquash(2)]).codomain == pf.bijections.RadialSquash(2).codomain
    part = Indexed(Elementwise(CircularShift(), 1), [1], 3)
    assert [type(part).__name__ for part in part.domain.parts] == ["Real", "Circle", "Real"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Concatenate(LU(2)), r"Concatenate: parts must list one or more bijections; got LU\."),
        (lambda: Concatenate([]), r"Concatenate: parts must list one or more bijections; got none\."),
        (lambda: Stack([LU(2), Affine()]), r"Stack: parts must list one or more bijections; got Affine\."),
        (
            lambda: Stack([LU(2), LU(3)]),
            r"Stack: all parts must have one event shape; got \[\(2,\), \(3,\)\]\. Try Conc",
        ),
        (
            lambda: Stack([Reshape(4, (2, 2))] * 2),
            r"Stack: parts must keep the number of axes; got \(4,\) and \(2, 2\)",
        ),
        (
            lambda: Concatenate([LU(2), Flip((2, 2))]),
            r"Concatenate: the event shapes of parts may differ along one axis",
        ),
        (lambda: Concatenate([RadialSquash(2), LU(2)]), r"Concatenate: Ball.* describes whole vectors"),
        (
            lambda: Stack([Elementwise(Affine(), 1, context=c, hidden=(4,)) for c in (1, 2)]),
            r"Stack: all parts must take the same context; got shapes",
        ),
        (
            lambda: Indexed(LU(2), [0, 0], 3),
            r"Indexed: index must list different ones of the 3 entries; got \[0, 0\]\.",
        ),
        (
            lambda: Indexed(LU(2), [0, 3], 3),
            r"Indexed: index must list different ones of the 3 entries; got \[0, 3\]\.",
        ),
        (lambda: Indexed(LU(3), [0, 1], 3), r"Indexed: 2 entries of \(3,\) make events of shape \(2,\); the bijection"),
        (lambda: Reshape(4, (2, 3)), r"Reshape: both shapes must hold as many entries; got \(4,\) and \(2, 3\)\."),
        (lambda: Reflect([2.0]), r"Reflect: signs must be 1 or -1 for each feature; got \[2\.0\]\."),
        (lambda: Reflect([1], interval=[1.0, 0.0]), r"Reflect: interval must be two finite numbers in order"),
        (lambda: Reordered(LU(2), [0, 0]), r"Reordered: order must rearrange 0 \.\. features - 1; got \[0, 0\]\."),
        (
            lambda: Reordered(LU(2), [0]),
            r"Reordered: order names 1 features; the bijection maps events of shape \(2,\)",
        ),
        (lambda: Reordered("LU", [0]), r"Reordered: bijection must be a Bijection; got str\."),
        (lambda: Scan(LU(2), 0), r"Scan: depth must be a whole number of at least 1; got 0\."),
        (lambda: Scan([LU(2)], 2), r"Scan: bijection must be a Bijection; got list\."),
        (lambda: Scan(RadialSquash(2), 2), r"Scan: a layer must end where it starts; got one from"),
        (lambda: BatchNorm(2, momentum=1.0), r"BatchNorm: momentum must be below 1, which forgets all batches but the"),
        (lambda: BatchNorm(2, eps=0.0), r"BatchNorm: eps must be a positive number; got 0\.0\."),
        (
            lambda: BatchNorm(2).train()(torch.zeros(2)),
            r"BatchNorm: a batch must have at least two rows .*; got 1\. Use",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- scan ------------------------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_scan_is_the_chain_of_its_layers_and_compiles_to_one_loop():
    layer = Chain([Coupling(Affine(), 3, context=1, hidden=(8,)), Flip(3)])
    scan = randomize(Scan(layer, 6), seed=7)
    chain = Chain(list(scan.parts))
    x, context = inputs(scan, (5,))
    expected = chain.forward_and_ladj(x, context)
    graphs = []

    def backend(module, _):
        graphs.append(module)
        return module

    torch.compiler.reset()
    y, ladj = torch.compile(scan.forward_and_ladj, fullgraph=True, backend=backend)(x, context)
    torch.testing.assert_close((y, ladj), expected)
    weights = list(scan.parameters())
    loss, exact = (out.square().sum() + log_det.sum() for out, log_det in ((y, ladj), expected))
    torch.testing.assert_close(torch.autograd.grad(loss, weights), torch.autograd.grad(exact, weights))
    (module,) = graphs
    products = [n for n in module.graph.nodes if "addmm" in str(n.target)]
    assert not products, "the layers are in the body of the loop, not in the graph around it"
    assert sum("scan" in str(n.target) for n in module.graph.nodes if n.op == "call_function") == 1


def test_the_layers_of_a_scan_have_weights_of_their_own():
    scan = Scan(Coupling(Affine(), 2, hidden=(8,)), 3)
    first, second = (part.conditioner.layers[0].weight for part in list(scan.parts)[:2])
    assert not torch.equal(first, second)


# --- batch normalisation ---------------------------------------------------------------------------------------------


def test_batch_norm_in_evaluation_is_torchs_own_and_in_training_too():
    layer, other = BatchNorm(3).double(), torch.nn.BatchNorm1d(3).double()
    torch.nn.init.constant_(other.running_var, 1 - 1e-5)
    x = 2 * torch.randn(64, 3, dtype=torch.float64) + 1
    y, ladj = layer.train().forward_and_ladj(x)
    torch.testing.assert_close(y, other.train()(x))
    torch.testing.assert_close(ladj[0], -0.5 * (x.var(dim=0, correction=0) + 1e-5).log().sum())
    torch.testing.assert_close(layer.running_mean, other.running_mean)
    other.running_var.copy_(layer.running_var)  # torch's is the variance with Bessel's correction
    torch.testing.assert_close(layer.eval()(x), other.eval()(x))
    matrix = jacobian(layer, x[:2])
    torch.testing.assert_close(torch.linalg.slogdet(matrix)[1], layer.forward_and_ladj(x[:2])[1])


def test_running_statistics_are_saved_and_start_from_data():
    layer = BatchNorm((2, 3, 3), per_channel=True)
    x = torch.randn(200, 2, 3, 3) * torch.tensor([1.0, 5.0])[:, None, None] + 3
    layer.initialize(x)
    y = layer.eval()(x)
    assert y.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (y.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-2
    twin = BatchNorm((2, 3, 3), per_channel=True).eval()
    twin.load_state_dict(copy.deepcopy(layer.state_dict()))
    twin.initialize(10 * x)  # once only
    assert torch.equal(twin(x), y)


def test_a_flow_with_batch_norm_is_trained_in_its_forward_direction():
    flow = Flow(StandardNormal(2), Chain([BatchNorm(2), Elementwise(Affine(), 2)]).inv).train()
    x = 3 * torch.randn(500, 2) - 4
    for _ in range(60):
        flow.log_prob(x)
    exact = torch.distributions.Normal(x.mean(0), x.std(0, correction=0)).log_prob(x).sum(-1).mean()
    assert flow.eval().log_prob(x).mean().item() == pytest.approx(exact.item(), abs=0.05)


# --- errors and histories --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Flow(StandardNormal(2), [LU(2)]),
            r"Flow: bijection must be a Bijection of pushforward; got list\. Put",
        ),
        (lambda: Flow(StandardNormal(2), LU), r"Flow: bijection must be .*; got the class pushforward's LU\."),
        (
            lambda: Flow(torch.nn.Linear(2, 2), LU(2)),
            r"Flow: base must be .*; got torch's Linear\. Give",
        ),
        (lambda: Flow(LU(2), StandardNormal(2)), r"Flow: base must be .*; got pushforward's LU\. The base comes first"),
        (lambda: Flow(2, LU(2)), r"Flow: base must be a Distribution of pushforward; got int\."),
        (lambda: Chain(LU(2)), r"Chain: parts must list one or more bijections; got LU\. Put it in a list"),
        (lambda: Chain(3), r"Chain: parts must list one or more bijections; got 3\. Use Chain\(\[first, second\]\)\."),
        (lambda: Chain([LU]), r"Chain: parts must list .*; parts\[0\] is LU\. Give an object, not its class\."),
        (lambda: Chain([LU(2), [LU(2)]]), r"Chain: parts must list .*; parts\[1\] is list\. Wrap a univariate in Elem"),
        (lambda: Uniform(0.0, 1.0), r"Uniform: low must list one finite number per feature; got 0\.0\. Write \[0\.0\]"),
        (lambda: Uniform([0.0], 1.0), r"Uniform: high must list one finite number per feature; got 1\.0\. Write"),
        (lambda: Uniform([0.0, 0.0], [1.0]), r"Uniform: low and high must be lists of one shape; got"),
        (
            lambda: Uniform(torch.distributions.Normal(0, 1), [1.0]),
            r"Uniform: low must list one finite number per feat",
        ),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_history_is_one_line():
    record = Record(10, 1.0, 2.0, -3.3, -3.2, 1e-3)
    history = History([record] * 50, 10, -3.2, 0, 2.25, "step limit reached")
    line = "History(10 steps in 2.25 s, best validation log-likelihood -3.2 at 10, step limit reached)"
    assert repr(history) == str(history) == line
    assert repr(History()) == "History(0 steps in 0 s)"
    assert "(lower bound)" in repr(History([record], 10, -3.2, exactness="bound"))

"""Continuous flows: solvers, traces exact and estimated, checked errors, likelihood training and flow matching."""

import copy
import itertools
import math
import re
from pathlib import Path

import pytest
import torch
from cases import bijection_of, exhaustive, generator, inputs, randomize
from torch import nn

import pushforward as pf
from pushforward.bijections import LU, Chain, NeuralODE, Standardize
from pushforward.bijections.chain import innermost
from pushforward.core.execution_mode import execution
from pushforward.core.ode import SOLVERS, integrate
from pushforward.distributions import Flow, Normal, StandardNormal, estimate_log_prob, solver_report
from pushforward.networks import DENSE, Conditioner, register_dense
from pushforward.networks.velocity import VelocityNetwork
from pushforward.testing import bijections as properties
from pushforward.testing.case import Case
from pushforward.testing.comparison import jacobian
from pushforward.train import Batch, FlowMatching, TrainingError
from pushforward.train.flow_matching import _paired


class OnlyLinear(Conditioner):
    """A linear velocity, whose flow is known: a conditioner that the library has no formulas for."""

    def __init__(self, in_features, out_features, *, hidden=(1,), activation="silu", dropout=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_features, out_features))

    def parallel(self, x, context=None):
        return self.weight @ x[-len(self.weight) :]


if "only_linear" not in DENSE:
    register_dense("only_linear", OnlyLinear)


def ode(features=2, size=0.7, seed=1, **options):
    return randomize(NeuralODE(features, **{"hidden": (8, 8), **options}), seed=seed, size=size)


def points(part, rows=5):
    return inputs(part, (rows,))


# --- solvers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
def test_errors_fall_with_the_order_of_the_solver(name):
    """y' = y cos t has the solution exp(sin t); forwards and backwards in time."""
    one, tableau = torch.ones(1, dtype=torch.float64), SOLVERS[name]
    for start, stop in ((0.0, 2.0), (2.0, 0.0)):
        exact = math.exp(math.sin(stop) - math.sin(start))
        errors = [
            abs(integrate(lambda t, y: (y * math.cos(t),), (one,), start, stop, n, tableau)[0].item() - exact)
            for n in (16, 32)
        ]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(tableau.order, abs=0.4)
    assert all(sum(row) == pytest.approx(node) for row, node in zip(tableau.matrix, tableau.nodes, strict=True))
    assert sum(tableau.weights) == pytest.approx(1)


@pytest.mark.parametrize("solver", ["rk4", "dopri5"])
def test_a_linear_velocity_gives_the_matrix_exponential(solver):
    part = NeuralODE(3, conditioner="only_linear", solver=solver, steps=12, max_steps=12, tolerance=1.0).double().eval()
    matrix = torch.randn(3, 3, generator=generator(1), dtype=torch.float64)
    part.velocity.network.weight.data.copy_(matrix)
    x = torch.randn(4, 3, generator=generator(2), dtype=torch.float64)
    y, ladj = part.forward_and_ladj(x)
    accuracy = 12.0 ** -SOLVERS[solver].order * 300
    torch.testing.assert_close(y, x @ torch.linalg.matrix_exp(matrix).t(), rtol=accuracy, atol=accuracy)
    torch.testing.assert_close(ladj, matrix.trace().expand(4), rtol=accuracy, atol=accuracy)


# --- traces ----------------------------------------------------------------------------------------------------------

NETWORKS = {
    "one hidden layer": {"hidden": (7,)},
    "two hidden layers": {"hidden": (7, 5), "activation": "tanh"},
    "three hidden layers": {"hidden": (7, 5, 6), "activation": "gelu"},
    "residual": {"hidden": (6, 6, 6), "conditioner": "residual", "activation": "elu"},
    "convolutions": {"hidden": (4, 5), "conditioner": "conv"},
    "residual convolutions": {"hidden": (4, 4), "conditioner": "residual_conv", "activation": "tanh"},
    "a network of the user": {"conditioner": "only_linear"},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_divergences_are_those_of_the_brute_force_jacobian(name):
    network = randomize(VelocityNetwork("NeuralODE", (2, 2, 3), context=2, frequencies=2, **NETWORKS[name]), seed=1)
    x, c = (torch.randn(size, 4, generator=generator(size), dtype=torch.float64) for size in (12, 2))
    matrices = jacobian(lambda t: network(0.3, t.t(), c).t(), x.t()).detach()
    velocity, divergence = network.divergence()(0.3, x, c)
    torch.testing.assert_close(velocity, network(0.3, x, c))
    torch.testing.assert_close(divergence, matrices.diagonal(dim1=1, dim2=2).sum(-1), rtol=1e-9, atol=1e-10)
    probes = torch.randn(12, 3, 4, generator=generator(3), dtype=torch.float64)
    velocity, products = network.projections(probes)(0.3, x, c)
    torch.testing.assert_close(velocity, network(0.3, x, c))
    torch.testing.assert_close(
        products, torch.einsum("ikn,nij,jkn->kn", probes, matrices, probes), rtol=1e-9, atol=1e-9
    )
    times = torch.tensor([0.3, 0.1, 0.8, 0.3], dtype=torch.float64)
    torch.testing.assert_close(network(times, x, c)[:, 0], network(0.3, x, c)[:, 0])
    assert network.has_closed_trace == (name in ("one hidden layer", "two hidden layers"))


def test_far_points_stand_still_and_have_no_divergence():
    network = randomize(VelocityNetwork("NeuralODE", (2,)), seed=1)
    x = torch.tensor([[0.5, 1e7, 1.0], [0.1, 0.0, -1e300]], dtype=torch.float64)
    velocity, divergence = network.divergence()(0.5, x, None)
    assert (velocity[:, 1:] == 0).all()
    assert (divergence[1:] == 0).all()
    assert (velocity[:, 0] != 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"features": 3, "steps": 24},
        {"features": 64, "hidden": (16, 16), "size": 1.5, "steps": 6},
        pytest.param({"features": 64, "hidden": (8, 8, 8), "size": 1.5, "steps": 6}, marks=exhaustive),
        {"features": (2, 2, 3), "conditioner": "conv", "hidden": (6, 6), "context": 2, "size": 1.5, "steps": 6},
        pytest.param(
            {"features": (1, 2, 3), "conditioner": "residual_conv", "hidden": (4, 4), "size": 1.5, "steps": 6},
            marks=exhaustive,
        ),
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_the_exact_trace_gives_the_log_determinant_of_the_map(options):
    """Against slogdet of the brute-force Jacobian of the whole solve in float64, to 1e-5."""
    part = ode(**{"steps": 16, "tolerance": 1e-5, **options})
    assert part.log_det == "exact"
    assert not part.stochastic
    x, context = points(part, 2)
    y, ladj = part.forward_and_ladj(x, context)
    expected = torch.linalg.slogdet(jacobian(lambda t: part.forward(t, context), x))[1]
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)
    assert ladj.abs().max() > 0.05
    back, back_ladj = part.inverse_and_ladj(y, context)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-5)
    torch.testing.assert_close(back_ladj, -ladj, rtol=0, atol=1e-5)


def test_the_kind_of_trace_is_said_by_type():
    kinds = {
        "exact": [NeuralODE(64, hidden=(4, 4, 4)), NeuralODE(100, hidden=(4, 4)), NeuralODE(70, trace="exact")],
        "unbiased": [
            NeuralODE(65, hidden=(4, 4, 4)),
            NeuralODE(2, trace="hutchinson"),
            NeuralODE((5, 4, 4), conditioner="conv"),
        ],
    }
    for kind, parts in kinds.items():
        assert {part.log_det for part in parts} == {kind}
        assert {part.stochastic for part in parts} == {kind == "unbiased"}
        flow = Flow(StandardNormal(parts[0].in_shape), parts[0])
        assert (flow.exactness, flow.is_exact) == (kind, kind == "exact")


def test_an_estimated_trace_is_unbiased_with_its_standard_error():
    part = ode(5, trace="hutchinson", probes=2, solver="midpoint", steps=4, tolerance=0.1)
    exact = copy.deepcopy(part)
    exact.stochastic = False
    x = torch.randn(1, 5, generator=generator(2), dtype=torch.float64)
    expected = exact.inverse_and_ladj(x)[1].item()
    draws = part.inverse_and_ladj(x.expand(2000, 5), generator=generator(3))[1].detach()
    assert draws.std() > 0.02
    assert abs(draws.mean().item() - expected) < 4 * draws.std().item() / math.sqrt(2000)
    report = part.report(x.expand(50, 5), probes=200, generator=generator(4))
    assert report.standard_error.mean().item() == pytest.approx(draws.std().item() * math.sqrt(2 / 200), rel=0.1)
    assert ((report.ladj - expected).abs() < 4.5 * report.standard_error).all()
    assert (exact.report(x).standard_error == 0).all()
    flow = Flow(StandardNormal(5).double(), part)
    value, error = estimate_log_prob(flow, x, draws=100, generator=generator(5))
    truth = Flow(StandardNormal(5).double(), exact).log_prob(x).item()
    assert abs(value.item() - truth) < 4.5 * error.item()
    assert estimate_log_prob(Flow(StandardNormal(5).double(), exact), x).standard_error.item() == 0


def test_the_noise_is_the_same_all_along_a_solve():
    """Noise redrawn inside would make forward and inverse disagree, and the integrand rough."""
    part = ode(4, trace="hutchinson", steps=16)
    x = torch.randn(6, 4, generator=generator(1), dtype=torch.float64)
    y, ladj = part.forward_and_ladj(x, generator=generator(2))
    back = part.inverse_and_ladj(y.detach(), generator=generator(2))[1]
    torch.testing.assert_close(back, -ladj, rtol=0, atol=1e-5)
    assert not torch.allclose(part.forward_and_ladj(x, generator=generator(3))[1], ladj, atol=1e-3)
    # What one solve estimates is linear in the products e eᵀ: a brute-force Jacobian at each time agrees.
    signs = part._rows(x, None, 1, generator(2)).noise[:, 0]

    def field(t, state, total):
        matrices = jacobian(lambda p: part.velocity(t, p.t()).t(), state.t()).detach()
        return part.velocity(t, state).detach(), torch.einsum("in,nij,jn->n", signs, matrices, signs)

    start = x.t(), torch.zeros(6, dtype=torch.float64)
    torch.testing.assert_close(integrate(field, start, 0.0, 1.0, 16, SOLVERS["dopri5"])[1], ladj.detach())


# --- checked errors --------------------------------------------------------------------------------------------------


def steep(**options):
    """A map whose paths need many steps for some rows."""
    return ode(2, size=1.1, seed=4, solver="rk4", steps=4, **options)


def test_rows_with_a_large_error_get_more_steps_and_then_are_nan_with_a_warning():
    x = torch.randn(200, 2, generator=generator(1), dtype=torch.float64)
    base = StandardNormal(2).double()
    expected = Flow(base, steep(max_steps=256, tolerance=1e-7)).log_prob(x)
    report = steep().report(x)
    assert report.solved.all()
    assert report.steps.unique().numel() > 1
    assert (report.passes == 4 * (2 * report.steps - 4 // 2)).all()
    assert (report.change <= 1e-3 + 1e-10).all()
    few = Flow(base, steep(max_steps=int(report.steps.median()))).eval()
    with pytest.warns(RuntimeWarning, match=r"Flow: halving the step of a differential equation still changed .* in "):
        log_prob = few.log_prob(x)
    failed = log_prob.isnan()
    assert 0 < failed.sum() < 200
    assert torch.equal(failed, ~few.bijection.report(x).solved)
    assert (log_prob - expected)[~failed].abs().max() < 1e-3
    with pytest.warns(RuntimeWarning, match=r"Raise max_steps or steps"):
        assert Flow(base, steep(max_steps=4, tolerance=1e-6)).sample((9,), generator=generator(2)).isnan().any()
    gradients = torch.autograd.grad(log_prob[~failed].sum(), list(few.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_doublings_of_one_row_change_no_other():
    part, x = steep(max_steps=64), torch.randn(50, 2, generator=generator(1), dtype=torch.float64)
    together = part.inverse_and_ladj(x)[1]
    alone = torch.stack([part.inverse_and_ladj(row)[1] for row in x[:8]])
    torch.testing.assert_close(alone, together[:8], equal_nan=True)
    mapped = torch.func.vmap(part.inverse_and_ladj)(x)[1]
    assert torch.equal(mapped.isnan(), part.report(x).steps > 4)


def test_training_mode_doubles_steps_and_keeps_rows_that_still_fail():
    """Training would exploit the errors of a coarse solver; one NaN row would end it."""
    x = torch.randn(50, 2, generator=generator(1), dtype=torch.float64)
    part = steep(max_steps=4).train()
    assert part.inverse_and_ladj(x)[1].isfinite().all()
    with torch.no_grad():
        assert part.inverse_and_ladj(x)[1].isnan().any()
    doubled = steep().train()
    assert torch.equal(doubled.inverse_and_ladj(x)[1], doubled.eval().inverse_and_ladj(x)[1])


def test_passes_are_counted():
    part, calls = ode(2, solver="rk4", steps=8), []
    part.velocity.divergence, both = lambda: lambda *a: (calls.append(1), both()(*a))[1], part.velocity.divergence
    with torch.no_grad():
        part.forward_and_ladj(points(part)[0])
    assert len(calls) == part.passes == 4 * (8 + 4)


# --- execution -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", ["exact", pytest.param("hutchinson", marks=exhaustive)])
def test_one_graph_both_directions(trace):
    torch.compiler.reset()
    part = ode(2, trace=trace, solver="midpoint", steps=2, tolerance=1.0, context=1)
    x, context = points(part)
    compiled = torch.compile(part.inverse_and_ladj, fullgraph=True, backend="eager")
    torch.manual_seed(0)
    expected = part.inverse_and_ladj(x, context)
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(x, context), expected)
    if trace == "exact":
        program = torch.export.export(_Only(part, "forward_and_ladj"), (x, context), strict=False)
        torch.testing.assert_close(program.module()(x, context), part.forward_and_ladj(x, context))
    torch.compiler.reset()


class _Only(nn.Module):
    def __init__(self, part, method):
        super().__init__()
        self.part, self.method = part, method

    def forward(self, *inputs):
        return getattr(self.part, self.method)(*inputs)


def test_forward_mode_derivatives():
    part = ode(2, solver="rk4", steps=4)
    x = points(part, 1)[0]
    for recording in (True, False):
        with torch.set_grad_enabled(recording):
            got = torch.func.jacfwd(part.inverse_and_ladj)(x)
        torch.testing.assert_close(got, torch.func.jacrev(part.inverse_and_ladj)(x), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_recomputed_steps_give_the_same_gradients(trace):
    x, results = torch.randn(4, 3, generator=generator(1), dtype=torch.float64), []
    for memory, outer in (("plain", None), ("checkpoint", None), ("plain", "checkpoint")):
        part = ode(3, trace=trace, memory=memory, steps=4).train()
        with execution(memory=outer):
            y, ladj = part.inverse_and_ladj(x, generator=generator(2))
        (y.square().sum() + ladj.sum()).backward()
        results.append([y, ladj, *(p.grad for p in part.parameters())])
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_bfloat16_is_for_the_loss_of_flow_matching_alone():
    part, x = ode(2).float(), torch.randn(4, 2)
    expected = part.inverse_and_ladj(x)
    with execution(matmul_dtype="bf16"):
        torch.testing.assert_close(part.inverse_and_ladj(x), expected)
        torch.testing.assert_close(part.inverse(x), expected[0])


@pytest.mark.parametrize("config", [{"features": 3, "trace": "hutchinson", "probes": 2, "hidden": [8, 8]}])
def test_an_estimated_map_keeps_the_properties_of_its_values(config):
    part = bijection_of({"type": "NeuralODE", **config})
    case = Case(part, *inputs(part, (8,)))
    properties.shapes_and_dtypes(case)
    properties.round_trip(case)
    properties.gradients_reach_every_parameter(case)


# --- flow matching ---------------------------------------------------------------------------------------------------

PATHS = [FlowMatching(path=path, sigma=sigma) for path in ("ot", "vp", "independent") for sigma in (0.0, 0.2)]


@pytest.mark.parametrize("loss", PATHS, ids=str)
def test_velocities_are_the_derivatives_of_the_paths(loss):
    z, x = torch.randn(2, 4, 3, generator=generator(1), dtype=torch.float64)
    t = torch.tensor([[0.1], [0.4], [0.7], [0.9]], dtype=torch.float64)
    above, below = (loss._on_path(t + h, z, x, generator(2))[0] for h in (1e-6, -1e-6))
    torch.testing.assert_close(loss._on_path(t, z, x, generator(2))[1], (above - below) / 2e-6, rtol=1e-7, atol=1e-8)
    start, stop = (loss._on_path(torch.full_like(t, s), z, x, generator(3))[0] for s in (0.0, 1.0))
    noise = loss.sigma * torch.randn(4, 3, generator=generator(3), dtype=torch.float64)
    added = (torch.zeros_like(z), loss.sigma * z) if loss.path == "ot" else (noise, noise)
    torch.testing.assert_close(start, z + added[0])
    torch.testing.assert_close(stop, x + added[1])


def test_the_loss_is_the_least_squares_of_a_known_optimum():
    """For a standard normal as data the best velocity at an independent pair is (2t - 1) x / (t² + (1 - t)²)."""
    flow, ones = pf.flows.cnf(1).double(), torch.ones(20000, dtype=torch.float64)

    class Best(nn.Module):
        def forward(self, time, x, context):
            return (2 * time - 1) * x / (time**2 + (1 - time) ** 2)

    x = torch.randn(20000, 1, generator=generator(1), dtype=torch.float64)
    loss, batch = FlowMatching(), Batch(x)
    at_zero = loss.per_row(flow, batch, generator(2)).mean().item()
    _part(flow).velocity = Best()
    best = loss.per_row(flow, batch, generator(2)).mean().item()
    assert at_zero == pytest.approx(2.0, abs=0.06)  # E |x - z|²
    time = torch.linspace(0, 1, 20001, dtype=torch.float64)
    expected = (2 - (2 * time - 1) ** 2 / (time**2 + (1 - time) ** 2)).mean().item()
    assert best == pytest.approx(expected, abs=0.06)
    assert loss(flow, Batch(x, None, ones), generator(2)).item() == pytest.approx(best)


def _part(flow):
    return next(part for part, _ in innermost(flow.bijection) if isinstance(part, NeuralODE))


def test_pairs_of_a_batch_are_optimal():
    z, x = torch.randn(2, 6, 2, generator=generator(1), dtype=torch.float64)
    paired = _paired(z, x)
    least = min((z[list(order)] - x).square().sum().item() for order in itertools.permutations(range(6)))
    assert (paired - x).square().sum().item() == pytest.approx(least)
    many, rows = torch.randn(2, 600, 2, generator=generator(2))
    assert torch.equal(_paired(many, rows).sort(dim=0).values, many.sort(dim=0).values)


ROWS = 3 + 2 * torch.randn(600, 1, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "loss",
    [FlowMatching(path="vp"), FlowMatching(coupling="minibatch_ot"), FlowMatching("independent", sigma=0.05), None],
    ids=str,
)
def test_every_training_reaches_the_entropy(loss):
    torch.manual_seed(0)
    flow = pf.flows.cnf(1, hidden=(16, 16), solver="rk4", steps=2)
    pf.fit(flow, ROWS, loss=loss, steps=100 if loss else 15, batch_size=128, lr=1e-2, progress=False)
    assert flow.log_prob(ROWS).mean().item() == pytest.approx(-math.log(2) - 1.419, abs=0.1)
    assert solver_report(flow, ROWS[:5]).solved.all()


def test_flow_matching_learns_a_conditional_density_and_repeats():
    c = torch.randn(800, 1, generator=generator(3))
    x = 2 * c + 0.5 * torch.randn(800, 1, generator=generator(4))
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        flow = pf.flows.cnf(1, 1, hidden=(24, 24))
        pf.fit(flow, x, c, loss=FlowMatching(), steps=120, batch_size=200, lr=2e-2, progress=False)
        results.append(flow.log_prob(x, c))
    assert torch.equal(*results)
    assert results[0].mean().item() == pytest.approx(-math.log(0.5) - 1.419 + 0, abs=0.25)


@pytest.mark.parametrize("turned", [False, True])
def test_data_may_stand_at_either_end_of_the_equation(turned):
    torch.manual_seed(0)
    part = NeuralODE(1, hidden=(16, 16))
    flow = Flow(StandardNormal(1), Chain([part.inv if turned else part, Standardize(1).inv]))
    pf.fit(flow, ROWS, loss=FlowMatching(), steps=120, batch_size=128, lr=1e-2, progress=False)
    assert flow.log_prob(ROWS).mean().item() == pytest.approx(-math.log(2) - 1.419, abs=0.1)


def test_images_train_by_flow_matching_and_save(tmp_path):
    x = torch.randn(64, 1, 9, 9, generator=generator(1)).cumsum(-1)
    flow = pf.flows.cnf((1, 9, 9), conditioner="conv", hidden=(8,), solver="rk4", steps=4, probes=2)
    assert flow.exactness == "unbiased"
    pf.fit(flow, x, loss=FlowMatching(), steps=5, progress=False)
    pf.save(flow, tmp_path / "flow.safetensors")
    loaded = pf.load(tmp_path / "flow.safetensors")
    got, expected = (f.log_prob(x[:4], generator=generator(2)) for f in (loaded, flow))
    assert torch.equal(got, expected)
    assert flow.sample((3,)).shape == (3, 1, 9, 9)
    assert (solver_report(flow, x[:4], generator=generator(3)).standard_error > 0).all()


# --- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NeuralODE(2, steps=5), r"^NeuralODE: steps must be even, to be halved for the check; got 5\. Add one"),
        (
            lambda: NeuralODE(2, steps=8, max_steps=4),
            r"^NeuralODE: max_steps must be a whole number of at least 8; got",
        ),
        (lambda: NeuralODE(2, solver="euler"), r"^NeuralODE: solver must be one of 'midpoint', 'rk4', 'dopri5'; got"),
        (lambda: NeuralODE(2, trace="none"), r"^NeuralODE: trace must be one of 'auto', 'exact', 'hutchinson'; got"),
        (lambda: NeuralODE(2, memory="invert"), r"^NeuralODE: memory must be one of 'plain', 'checkpoint'; got"),
        (lambda: NeuralODE(2, tolerance=0.0), r"^NeuralODE: tolerance must be a positive number; got 0\.0"),
        (
            lambda: NeuralODE(2, activation="relu"),
            r"^NeuralODE: activation must be one of .*; got 'relu'\. The log-det",
        ),
        (lambda: NeuralODE(2, conditioner="none"), r"^NeuralODE: conditioner must be one of .*; got 'none'"),
        (lambda: NeuralODE(0), r"^NeuralODE: features must be a whole number of at least 1; got 0"),
        (lambda: NeuralODE(2).report(torch.zeros(1, 2), probes=1), r"^NeuralODE: probes must be .* at least 2; got 1"),
        (lambda: FlowMatching(path="straight"), r"^FlowMatching: path must be one of 'ot', 'vp', 'independent'; got"),
        (lambda: FlowMatching(coupling="ot"), r"^FlowMatching: coupling must be one of .*; got 'ot'"),
        (lambda: FlowMatching(sigma=-1.0), r"^FlowMatching: sigma must lie in \[0, 1\); got -1\.0"),
        (lambda: solver_report(pf.flows.maf(2), torch.zeros(1, 2)), r"^solver_report: a flow must hold one NeuralODE"),
        (
            lambda: estimate_log_prob(StandardNormal(1), torch.zeros(1, 1), draws=1),
            r"^estimate_log_prob: draws must be a whole number of at least 2; got 1\. A standard error needs several",
        ),
    ],
)
def test_refused_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def frozen_and_not():
    return Chain([LU(1), NeuralODE(1)])


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (
            lambda: Normal([0.0], [1.0]),
            r"^FlowMatching: learns a continuous flow, such as pf\.flows\.cnf\(2\); got Norm",
        ),
        (lambda: pf.flows.maf(1), r"^FlowMatching: a flow must hold one NeuralODE, as pf\.flows\.cnf\(2\) does; got 0"),
        (lambda: Flow(StandardNormal(1), frozen_and_not()), r"^FlowMatching: learns the velocity alone, but LU has we"),
    ],
)
def test_flows_that_flow_matching_cannot_train(flow, message):
    with pytest.raises(ValueError, match=message):
        FlowMatching().per_row(flow(), Batch(ROWS), generator(1))


def test_optimal_pairs_are_refused_where_they_would_be_wrong():
    loss, flow = FlowMatching(coupling="minibatch_ot"), pf.flows.cnf(1, 1)
    with pytest.raises(TrainingError, match=r"^FlowMatching: coupling='minibatch_ot' pairs noise .*; got a context\."):
        loss.per_row(flow, Batch(ROWS, ROWS), generator(1))
    with pytest.raises(TrainingError, match=r"got weights\. Use coupling='independent'\.$"):
        loss.per_row(pf.flows.cnf(1), Batch(ROWS, None, torch.ones(600)), generator(1))


def test_a_conditioner_of_the_wrong_kind_is_refused():
    name = "no_conditioner"
    if name not in DENSE:
        register_dense(name, lambda i, o, **options: nn.Linear(i, o))
    with pytest.raises(ValueError, match=r"^NeuralODE: conditioner 'no_conditioner' must be a networks\.Conditioner"):
        NeuralODE(2, conditioner=name)


def test_fit_and_the_first_page_name_flow_matching():
    """What `fit` can minimise is found where users look, and the line there runs."""
    assert "pf.train.FlowMatching()" in pf.fit.__doc__
    page = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (call,) = re.findall(r"`(pf\.fit\(pf\.flows\.cnf\(2\), x, loss=pf\.train\.FlowMatching\(\))\)`", page)
    history = eval(f"{call}, steps=2, progress=False)", {"pf": pf, "x": torch.randn(50, 2, generator=generator(0))})
    assert math.isfinite(history.best_validation)

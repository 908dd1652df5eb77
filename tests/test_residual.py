"""Residual maps: certified norms, inverses of contractions, and log-determinants that are right in the mean."""

import math

import pytest
import torch
import torch.nn.functional as F
from cases import exhaustive, generator, randomize

import pushforward as pf
from pushforward.bijections import Residual
from pushforward.bijections.contraction import solve_contraction
from pushforward.networks import LIPSCHITZ, LIPSCHITZ_ACTIVATIONS, LipschitzMLP, conv_norm_bound, norm_bound
from pushforward.networks import register_lipschitz as register
from pushforward.testing.comparison import close

DOUBLE = torch.float64


def normal(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(*shape, generator=generator(seed), dtype=DOUBLE).to(dtype)


# --- norms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 200), (64, 64)], ids=str)
def test_the_bound_of_a_matrix_is_above_its_norm_and_tight(shape, dtype):
    """Above for all of many matrices, those with equal singular values included, where the bound is loosest."""
    equal = torch.linalg.qr(normal(max(shape), min(shape)))[0].reshape(shape) if shape != (3, 200) else None
    spread = normal(*shape) * 10.0 ** normal(shape[1], seed=1)
    for matrix in (normal(*shape), spread, equal, 1e-12 * normal(*shape), 1e12 * normal(*shape)):
        if matrix is not None:
            matrix = matrix.to(dtype)
            norm = torch.linalg.matrix_norm(matrix.double(), 2)
            ratio = (norm_bound(matrix).double() / norm).item()
            assert 1 <= ratio <= 1.001 * min(shape) ** (1 / 128) + 1e-3


def test_power_iteration_would_not_do():
    """It approaches the norm from below: after a few steps it is below, and the bound is not."""
    matrix = normal(64, 64)
    v = normal(64, seed=1)
    for _ in range(5):
        v = matrix.t() @ (matrix @ v)
        v = v / v.norm()
    norm = torch.linalg.matrix_norm(matrix, 2)
    assert (matrix @ v).norm() < 0.999 * norm < norm < norm_bound(matrix)


def test_the_bound_of_zero_is_zero_and_gradients_are_finite():
    for matrix in (torch.zeros(3, 4), torch.eye(3), torch.zeros(2, 2, 3)):
        matrix.requires_grad_()
        norm_bound(matrix).sum().backward()
        assert matrix.grad.isfinite().all()
    matrix = normal(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(norm_bound, matrix)
    assert torch.autograd.gradgradcheck(norm_bound, matrix)


@pytest.mark.parametrize(
    ("channels", "kernel", "sizes", "looseness"),
    [
        ((3, 2), 3, (4, 5), 1.3),
        ((4, 4), 3, (8, 8), 1.2),
        ((2, 3), 5, (6, 3), 2.0),
        ((2, 2), 3, (1, 1), 9.0),  # most of the kernel meets padding alone
        ((2, 2), 3, (20, 18), 1.15),  # fewer frequencies than cells
        ((3, 1), 7, (40,), 1.3),
        ((2, 2), 3, (3, 2, 4), 2.0),
        ((4, 3), 1, (5, 5), 1.01),
    ],
    ids=str,
)
def test_the_bound_of_a_convolution_is_above_the_norm_of_its_matrix(channels, kernel, sizes, looseness):
    convolution = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(sizes)]
    for seed in range(3):
        weight = normal(*channels, *(kernel,) * len(sizes), seed=seed)
        basis = torch.eye(channels[1] * math.prod(sizes), dtype=DOUBLE).reshape(-1, channels[1], *sizes)
        norm = torch.linalg.matrix_norm(convolution(basis, weight, padding=kernel // 2).flatten(1), 2)
        for dtype in (DOUBLE, torch.float32):
            bound = conv_norm_bound(weight.to(dtype), sizes).double()
            assert norm <= bound <= looseness * norm


def test_few_frequencies_bound_all_frequencies():
    """A kernel whose largest frequency lies between those of the grid: the factor for that is needed."""
    sizes, omega = (200,), math.pi / 12  # half way between 0 and 2π / 12
    weight = torch.tensor([[[math.cos(omega), 1.0, math.cos(omega)], [-math.sin(omega), 0.0, math.sin(omega)]]])
    spectrum = torch.fft.rfft(weight.double(), n=12, dim=-1).movedim(-1, 0)
    at_grid = torch.linalg.matrix_norm(spectrum, 2).max()
    basis = torch.eye(400).reshape(-1, 2, 200)
    norm = torch.linalg.matrix_norm(F.conv1d(basis, weight, padding=1).flatten(1), 2)
    assert norm <= conv_norm_bound(weight, sizes)
    assert at_grid <= conv_norm_bound(weight, sizes)


@pytest.mark.parametrize("activation", LIPSCHITZ_ACTIVATIONS)
def test_activations_are_1_lipschitz_and_their_slopes_are_right(activation):
    h = torch.linspace(-12, 12, 20001, dtype=DOUBLE).requires_grad_()
    for sharpness in (None, torch.tensor(0.05, dtype=DOUBLE), torch.tensor(7.0, dtype=DOUBLE)):
        value, slope = LIPSCHITZ_ACTIVATIONS[activation](h, sharpness)
        assert slope.abs().max() <= 1
        close(slope, torch.autograd.grad(value.sum(), h)[0], "slope")


@pytest.mark.parametrize("config", [{}, {"conditioner": "conv"}], ids=str)
@pytest.mark.parametrize("activation", LIPSCHITZ_ACTIVATIONS)
def test_large_weights_stay_within_the_coefficient_in_every_context(config, activation):
    options = {"hidden": (6, 6), "activation": activation, "coefficient": 0.95, "context": 2, **config}
    layer = randomize(Residual((2, 3, 3), **options), seed=1)
    with torch.no_grad():
        for linear in layer.network.layers:
            linear.weight *= 30
    assert layer.lipschitz_bound() <= 0.95
    x, context = normal(50, 2, 3, 3), normal(50, 2, seed=1) * torch.linspace(0, 30, 50, dtype=DOUBLE)[:, None]
    matrices = torch.func.vmap(torch.func.jacrev(lambda x, c: layer.forward(x, c) - x))(x, context)
    norms = torch.linalg.matrix_norm(matrices.reshape(50, 18, 18), 2)
    assert norms.max() <= layer.lipschitz_bound()
    assert norms.max() > 0.02  # and the bound is not idle


def test_weights_within_the_limit_stay_as_they_are():
    network = LipschitzMLP((3,), hidden=(4,), coefficient=0.81).double()
    with torch.no_grad():
        for layer in network.layers:
            layer.weight.copy_(0.3 * torch.eye(*layer.weight.shape))
    for layer, weight in zip(network.layers, network.prepare(None).weights, strict=True):
        assert torch.equal(layer.weight, weight)
    close(network.bound(), torch.tensor(0.09, dtype=DOUBLE), "bound", {DOUBLE: 1e-2})


# --- the inverse -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
@pytest.mark.parametrize("coefficient", [0.5, 0.9, 0.97])
def test_the_hardest_contractions_are_inverted(coefficient, dtype):
    """Linear maps at the very limit: a reflection, a rotation, and a spectrum from -L to L; and kinks in rows."""
    features = 12
    turn = torch.linalg.qr(normal(features, features))[0]
    spectrum = turn @ torch.diag(torch.linspace(-1, 1, features, dtype=DOUBLE)) @ turn.t()
    eye = torch.eye(features, dtype=DOUBLE)
    maps = [lambda x, m=coefficient * m: x @ m.to(x.dtype).t() for m in (-eye, eye, turn, spectrum)]
    maps.append(lambda x: coefficient * x.abs())
    x = 3 * normal(64, features, dtype=dtype)
    for g in maps:
        back = solve_contraction(g, x + g(x), coefficient)
        unit = 1 + x.abs().max()
        assert ((back - x).abs() / unit).max() < 40 * torch.finfo(dtype).eps / (1 - coefficient)


def test_the_acceleration_saves_most_passes():
    layer = randomize(Residual(8, hidden=(32, 32), coefficient=0.97), seed=1, size=3.0)
    x = normal(128, 8)
    y, passes = layer(x).detach(), 0

    def g(t):
        nonlocal passes
        passes += 1
        return layer(t) - t

    close(solve_contraction(g, y, 0.97), x, "inverse")
    assert passes <= 25  # the guarantee needs 1,180


def test_a_row_that_does_not_converge_is_nan_and_harms_no_other():
    steep = torch.tensor([0.5, 1.5, -3.0, 0.5], dtype=DOUBLE)[:, None]  # two rows are no contractions
    x = solve_contraction(lambda x: steep * torch.sin(4 * x), normal(4, 3), 0.5)
    assert x.isnan().all(dim=1).tolist() == [False, True, True, False] or x[[0, 3]].isnan().any()
    linear = torch.tensor([0.5, -1.0, torch.nan, -0.4], dtype=DOUBLE)[:, None]
    x = solve_contraction(lambda x: linear * x, torch.ones(4, 3, dtype=DOUBLE), 0.5)
    assert x.isnan().all(dim=1).tolist() == [False, True, True, False]
    close(x[[0, 3]], torch.tensor([[1 / 1.5] * 3, [1 / 0.6] * 3], dtype=DOUBLE), "the other rows")


@pytest.mark.parametrize("log_det", ["exact", "unbiased"])
def test_gradients_of_the_inverse_are_those_of_the_implicit_function(log_det):
    layer = randomize(Residual(5, hidden=(8,), context=1, coefficient=0.8, log_det=log_det), seed=1, size=2.0)
    x, context = normal(4, 5), normal(4, 1, seed=1)
    y = layer(x, context).detach().requires_grad_()
    leaves = [y, *layer.parameters()]
    weights = normal(4, 5, seed=2)
    actual = torch.autograd.grad((layer.inverse(y, context) * weights).sum(), leaves)
    matrices = torch.func.vmap(torch.func.jacrev(layer.forward))(x, context)
    cotangent = torch.linalg.solve(matrices.mT, weights[..., None])[..., 0].detach()
    expected = torch.autograd.grad(-(layer(x, context) * cotangent).sum(), list(layer.parameters()))
    for a, b in zip(actual, [cotangent, *expected], strict=True):
        close(a, b, "gradient of the inverse")


def test_derivatives_travel_forwards_and_twice_through_the_inverse():
    layer = randomize(Residual(3, hidden=(6,), coefficient=0.5), seed=1)
    y = normal(3)

    def loss(t):
        back, ladj = layer.inverse_and_ladj(t)
        return back.sin().sum() + ladj

    close(torch.func.jacfwd(layer.inverse)(y), torch.func.jacrev(layer.inverse)(y), "jacfwd")
    twice = torch.autograd.functional.hessian(loss, y)
    close(torch.func.hessian(loss)(y), twice, "hessian")
    step = 1e-5 * normal(3, seed=1)
    slope = torch.func.grad(loss)
    close((slope(y + step) - slope(y - step)) / 2, twice @ step, "differences", {DOUBLE: 1e-6})


# --- log-determinants ------------------------------------------------------------------------------------------------


def pair(**options):
    """The same layer with an unbiased and with an exact log-determinant."""
    layers = [Residual(4, hidden=(8, 8), coefficient=0.9, log_det=kind, **options) for kind in ("unbiased", "exact")]
    estimated, exact = (randomize(layer, seed=1, size=4.0) for layer in layers)
    return estimated, exact


@pytest.mark.parametrize("draws", [4000, pytest.param(100_000, marks=exhaustive)])
@pytest.mark.parametrize("options", [{"terms": 1}, {"terms": 6}, {"terms": 2, "probes": 3}], ids=str)
def test_the_mean_of_the_estimates_is_the_log_determinant(options, draws):
    estimated, exact = pair(**options)
    x = normal(3, 4)
    with torch.no_grad():
        ladj = estimated.forward_and_ladj(x.expand(draws, 3, 4), generator=generator(2))[1]
        expected = exact.forward_and_ladj(x)[1]
        _, backwards = estimated.inverse_and_ladj(exact(x).expand(draws, 3, 4), generator=generator(3))
    for sign, values in ((1, ladj), (-1, backwards)):
        error = values.std(dim=0) / math.sqrt(draws)
        assert ((values.mean(dim=0) - sign * expected).abs() < 4 * error).all()
        assert (error > 1e-5).all()


def test_the_rows_of_a_batch_draw_independently():
    estimated, _ = pair(terms=1)
    with torch.no_grad():
        ladj = estimated.forward_and_ladj(normal(1, 4).expand(20_000, 2, 4), generator=generator(2))[1]
    assert torch.corrcoef(ladj.t())[0, 1].abs() < 4 / math.sqrt(20_000)


@pytest.mark.parametrize("gradient", ["neumann", "series"])
def test_the_mean_gradient_is_the_gradient_of_the_log_determinant(gradient):
    estimated, exact = pair(gradient=gradient, terms=2)
    x, draws = normal(1, 4), []
    for seed in range(20):
        start = x.clone().requires_grad_()
        ladj = estimated.forward_and_ladj(start.expand(300, 4), generator=generator(seed))[1]
        weights = [p for name, p in estimated.named_parameters() if not name.endswith("layers.2.bias")]
        draws.append(torch.cat([g.flatten() for g in torch.autograd.grad(ladj.mean(), [start, *weights])]))
    start = x.clone().requires_grad_()
    weights = [p for name, p in exact.named_parameters() if not name.endswith("layers.2.bias")]
    expected = torch.autograd.grad(exact.forward_and_ladj(start)[1].sum(), [start, *weights])
    expected = torch.cat([g.flatten() for g in expected])
    values = torch.stack(draws)
    error = values.std(dim=0) / math.sqrt(len(values))
    assert ((values.mean(dim=0) - expected).abs() < 5 * error + 1e-12).all()
    assert expected.abs().max() > 20 * error.mean()


def test_the_memory_saving_gradient_has_a_graph_of_one_product():
    sizes = {}
    for gradient in ("neumann", "series"):
        estimated, _ = pair(gradient=gradient, terms=20)
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t.numel()), lambda t: t):
            estimated.forward_and_ladj(normal(256, 4), generator=generator(1))
        sizes[gradient] = sum(saved)
    assert sizes["neumann"] < 0.2 * sizes["series"]


def test_a_layer_states_the_standard_error_of_its_log_determinant():
    estimated, exact = pair(terms=1)
    x = normal(300, 4)
    mean, error = estimated.estimate_ladj(x, draws=25, generator=generator(1))
    truth = exact.forward_and_ladj(x)[1]
    off = (mean - truth) / error
    assert off.square().mean().sqrt().item() == pytest.approx(1, abs=0.35)
    again = estimated.estimate_ladj(x, draws=25, generator=generator(1))
    assert torch.equal(mean, again[0])
    assert exact.estimate_ladj(x)[1].abs().max() == 0


def test_few_entries_are_exact_and_many_are_estimated():
    kinds = [Residual(n, hidden=(4,)).log_det for n in (1, 64, 65, (3, 5, 5))]
    assert kinds == ["exact", "exact", "unbiased", "unbiased"]
    assert Residual(2, hidden=(4,), log_det="unbiased").stochastic
    assert not Residual(100, hidden=(4,), log_det="exact").stochastic


# --- trained flows ---------------------------------------------------------------------------------------------------


def two_moons(n, seed):
    t, noise = math.pi * torch.rand(n, generator=generator(seed)), normal(n, 2, seed=seed + 1, dtype=torch.float32)
    side = torch.arange(n) % 2
    x = torch.stack([torch.cos(t) * (1 - 2 * side) + side, torch.sin(t) * (1 - 2 * side) + 0.5 * side], dim=1)
    return x + 0.08 * noise


@pytest.mark.parametrize(
    ("log_det", "depth", "steps", "gain"),
    [
        ("exact", 3, 60, 0.02),
        pytest.param("unbiased", 2, 25, 0.01, marks=exhaustive),
        pytest.param("exact", 6, 700, 0.8, marks=exhaustive),
    ],
)
def test_a_trained_flow_is_invertible_in_single_precision_and_certified(log_det, depth, steps, gain):
    torch.manual_seed(0)
    x = two_moons(1000, 1)
    flow = pf.flows.residual_flow(2, depth=depth, hidden=(24, 24), coefficient=0.95, log_det=log_det)
    flow.initialize(x)
    before = flow.log_prob(x, generator=generator(1)).mean().item()
    pf.fit(flow, x, steps=steps, batch_size=256, lr=1e-2, validation=0, progress=False)
    flow.eval()
    with torch.no_grad():
        assert flow.log_prob(x, generator=generator(1)).mean() > before + gain
        z = flow.to_latent(x)
        assert (flow.to_data(z) - x).abs().max() < 1e-5
        z = flow.base.sample((1000,), generator=generator(3))
        assert (flow.to_latent(flow.to_data(z)) - z).abs().max() < 1e-5 * (1 + z.abs().max())
    layers = [part for part in flow.modules() if isinstance(part, Residual)]
    for layer in layers:
        assert layer.lipschitz_bound() <= 0.95
        network = layer.network.double()
        norms = [torch.linalg.matrix_norm(weight.detach(), 2) for weight in network.prepare(None).weights]
        assert math.prod(map(float, norms)) <= 0.95
    assert max(layer.lipschitz_bound() for layer in layers) > 0.3


# --- choices and mistakes --------------------------------------------------------------------------------------------


def test_a_network_of_ones_own():
    if "double_mlp" not in LIPSCHITZ:
        register("double_mlp", lambda shape, **options: LipschitzMLP(shape, **{**options, "hidden": (7, 7)}))
    layer = randomize(Residual(3, hidden=(2,), conditioner="double_mlp"), seed=1)
    close(layer.inverse(layer(normal(5, 3))), normal(5, 3), "round trip")
    with pytest.raises(ValueError, match=r"^register_lipschitz: the name 'plain' is taken\. Choose another\.$"):
        register("plain", LipschitzMLP)


MISTAKES = [
    (lambda: Residual(0), r"^Residual: features must be a whole number of at least 1; got 0\."),
    (lambda: Residual(2, context=-1), r"^Residual: context must be a whole number of at least 0; got -1\."),
    (lambda: Residual(2, terms=0), r"^Residual: terms must be a whole number of at least 1; got 0\."),
    (lambda: Residual(2, probes=0), r"^Residual: probes must be a whole number of at least 1; got 0\."),
    (lambda: Residual(2, log_det="truncated"), r"^Residual: log_det must be one of 'auto', 'exact', 'unbiased'; got"),
    (lambda: Residual(2, gradient="none"), r"^Residual: gradient must be one of 'neumann', 'series'; got 'none'\."),
    (lambda: Residual(2, conditioner="made"), r"^Residual: conditioner must be one of 'plain', 'conv'.*; got 'made'\."),
    (lambda: Residual(2, coefficient=1.0), r"^LipschitzMLP: coefficient must be below 1, where x \+ g\(x\) need not"),
    (lambda: Residual(2, coefficient=0.0), r"^LipschitzMLP: coefficient must be a positive number; got 0\.0\."),
    (lambda: Residual(2, hidden=()), r"^LipschitzMLP: hidden must list at least one width; got \(\)\. Use hidden="),
    (lambda: Residual(2, hidden=(0,)), r"^LipschitzMLP: hidden must be a whole number of at least 1; got 0\."),
    (lambda: Residual(2, activation="gelu"), r"^LipschitzMLP: activation must be one of 'lipswish', .*; got 'gelu'\."),
    (lambda: Residual(2, conditioner="conv"), r"^LipschitzConvNet: events must have the axes \(channels, \*spatial\)"),
    (lambda: LIPSCHITZ["conv"]((2, 3), kernel=2), r"^LipschitzConvNet: kernel must be an odd whole number; got 2\."),
    (
        lambda: Residual(2, log_det="unbiased").estimate_ladj(torch.zeros(3, 2), draws=1),
        r"^Residual\.estimate_ladj: draws must be a whole number of at least 2; got 1\. One draw has no standard error",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), MISTAKES, ids=[message[:60] for _, message in MISTAKES])
def test_a_mistake_is_one_sentence(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()

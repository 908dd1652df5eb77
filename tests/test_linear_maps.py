"""Linear maps against matrices computed another way, starts from data, and orthogonality at every size."""

import json
import math

import numpy as np
import pytest
import torch
from cases import bijection_of, context_for, generator, randomize

import pushforward as pf
from pushforward.bijections import (
    LU,
    PLU,
    QR,
    ActNorm,
    Chain,
    Convolution1x1,
    Diagonal,
    Flip,
    Householder,
    Linear,
    Orthogonal,
    RandomRotation,
    Rotation,
    Whitening,
)
from pushforward.core.config import build
from pushforward.distributions import Flow, StandardNormal
from pushforward.testing.rows import measured_once


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def matrix_of(part, context=None):
    """W of y = W x + b, column by column."""
    features = part.in_shape[0]
    eye = torch.eye(features, dtype=part.dtype)
    context = None if context is None else context.expand(features, -1)
    return (part(eye, context) - part(torch.zeros_like(eye), context)).t()


def reflection(v):
    return torch.eye(len(v), dtype=v.dtype) - 2 * torch.outer(v, v) / v.dot(v)


# --- what the factors are ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 7])
def test_householder_is_the_product_of_its_reflections_in_order(count):
    part = randomize(Householder(4, reflections=count), seed=1)
    expected = torch.eye(4, dtype=torch.float64)
    for v in part.vectors.detach():
        expected = expected @ reflection(v)
    torch.testing.assert_close(matrix_of(part).detach(), expected)
    assert torch.linalg.det(expected).item() == pytest.approx((-1) ** count)


def test_householder_vectors_of_extreme_length_still_reflect():
    part = Householder(3, reflections=3).double()
    with torch.no_grad():
        part.vectors.copy_(torch.tensor([[1e-200, 2e-200, 0], [3e200, 0, -1e200], [0, 0, 0]], dtype=torch.float64))
    q = matrix_of(part).detach()
    torch.testing.assert_close(q @ q.t(), torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("reflections", [None, 1])
def test_qr_decomposes_its_matrix(reflections):
    """LAPACK's factors of the matrix are those of the map, with R's diagonal made positive."""
    part = randomize(QR(4, reflections=reflections), seed=2)
    w = matrix_of(part).detach()
    q, r = torch.linalg.qr(w)
    signs = r.diagonal().sign()
    torch.testing.assert_close((r.diagonal() * signs).log(), part.log_diagonal.detach())
    expected = torch.eye(4, dtype=torch.float64)
    for v in part.vectors.detach():
        expected = expected @ reflection(v)
    torch.testing.assert_close(q * signs, expected)


def test_plu_is_the_permutation_of_lu():
    lu, order = randomize(LU(4), seed=3), [2, 0, 3, 1]
    plu = PLU(4, permutation=order).double()
    plu.load_state_dict(lu.state_dict())
    x = normal(5, 4)
    with torch.no_grad():
        lu.bias.zero_(), plu.bias.zero_()
    torch.testing.assert_close(plu(x), lu(x)[:, order])


@pytest.mark.parametrize("method", ["cayley", "exponential"])
def test_orthogonal_follows_its_formula(method):
    part = randomize(Orthogonal(4, method=method), seed=4)
    a = torch.zeros(4, 4, dtype=torch.float64)
    rows, columns = np.tril_indices(4, -1)
    a[rows, columns] = part.angles.detach()
    a = a - a.t()
    eye = torch.eye(4, dtype=torch.float64)
    if method == "cayley":
        expected = torch.linalg.inv(eye + a) @ (eye - a)
    else:
        values, vectors = torch.linalg.eig(a)
        expected = (vectors @ values.exp().diag() @ torch.linalg.inv(vectors)).real
    torch.testing.assert_close(matrix_of(part).detach(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-3, 0.5, 30.0, 1e4])
@pytest.mark.parametrize(
    "part", [lambda: Orthogonal(24, method="cayley"), lambda: Orthogonal(24), lambda: Householder(24)]
)
def test_orthogonal_to_rounding_at_every_size(part, size, dtype):
    part = part().to(dtype)
    with torch.no_grad():
        for numbers in part.parameters():
            numbers.copy_(size * normal(*numbers.shape, seed=5))
        q = matrix_of(part)
        error = (q @ q.t() - torch.eye(24, dtype=dtype)).abs().max().item()
    assert error < 40 * torch.finfo(dtype).eps


def test_reflections_reach_every_rotation():
    """As many as by default; the factors come from LAPACK's own Householder vectors."""
    for features in (2, 3, 4, 5):
        q, _ = torch.linalg.qr(normal(features, features, seed=features))
        if torch.linalg.det(q) < 0:
            q[:, 0] *= -1
        part, rest = Householder(features).double(), q.clone()
        vectors = []
        for k in range(features - 1):  # from the left, each reflection takes column k to the unit vector
            v = rest[:, k].clone()
            v[:k] = 0
            v[k] -= 1
            vectors.append(v if v.norm() > 1e-12 else torch.zeros_like(v))
            rest = reflection(v) @ rest if v.norm() > 1e-12 else rest
        if rest[-1, -1] < 0:
            vectors.append(torch.eye(features, dtype=torch.float64)[-1])
        assert len(vectors) == len(part.vectors)
        with torch.no_grad():
            part.vectors.copy_(torch.stack(vectors))
        torch.testing.assert_close(matrix_of(part).detach(), q)


# --- context -------------------------------------------------------------------------------------------------------

CONDITIONAL = [
    {"type": "LU", "features": 3},
    {"type": "PLU", "features": 3},
    {"type": "QR", "features": 3},
    {"type": "Householder", "features": 3},
    {"type": "Orthogonal", "features": 3, "method": "exponential"},
    {"type": "Orthogonal", "features": 3, "method": "cayley"},
]


@pytest.mark.parametrize("config", CONDITIONAL, ids=lambda c: "-".join(map(str, c.values())))
def test_a_conditional_map_is_linear_for_each_context(config):
    part = bijection_of({**config, "context": 2, "hidden": [8]})
    a, b = normal(2, 2, seed=6)
    x = normal(4, 3, seed=7)
    for context in (a, b):
        y, ladj = part.forward_and_ladj(x, context)
        w, shift = matrix_of(part, context), part(torch.zeros_like(x), context)
        torch.testing.assert_close(y, x @ w.t() + shift)
        torch.testing.assert_close(ladj, torch.linalg.slogdet(w)[1].expand(4))
    assert (matrix_of(part, a) - matrix_of(part, b)).abs().max() > 0.05
    fresh = build({**config, "context": 2, "hidden": [8]}).double()
    torch.testing.assert_close(fresh(x, a), build(config).double()(x))  # begins as the unconditional map


@pytest.mark.parametrize("kind", [Diagonal, LU, QR])
def test_contexts_far_out_leave_scales_finite(kind):
    part = randomize(kind(3, context=1, hidden=(8,)), seed=8)
    x, far = normal(4, 3), torch.full((4, 1), 1e300, dtype=torch.float64)
    y, ladj = part.forward_and_ladj(x, far)
    assert y.isfinite().all()
    assert ladj.abs().max() < 3 * (3 + 2)


# --- fixed maps ----------------------------------------------------------------------------------------------------


def test_a_random_rotation_is_the_same_everywhere():
    """Pinned numbers: its seed is all that a file keeps."""
    expected = [
        [-0.28945014343825415, 0.8066705525975165, 0.5152681185903035],
        [-0.9522294275248874, -0.297418254830823, -0.06929284991262037],
        [0.0973536430710194, -0.5107102909335238, 0.8542231950230549],
    ]
    q = RandomRotation(3, seed=5).double().matrix
    torch.testing.assert_close(q, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.linalg.det(q).item() == pytest.approx(1)
    assert (RandomRotation(3, seed=6).double().matrix - q).abs().max() > 0.1


def test_random_rotations_are_uniform():
    """Entries have mean 0 and mean square 1 / D; each over 400 seeds within four standard errors."""
    q = torch.stack([RandomRotation(3, seed=seed).double().matrix for seed in range(400)])
    assert q.mean(0).abs().max() < 4 * math.sqrt(1 / 3 / 400)
    assert (q.square().mean(0) - 1 / 3).abs().max() < 4 * math.sqrt(4 / 45 / 400)  # u² of a sphere: variance 4 / 45
    torch.testing.assert_close(torch.linalg.det(q), torch.ones(400, dtype=torch.float64))


def test_a_fixed_matrix_is_kept_in_full_precision():
    matrix = [[1 / 3, 2.0], [-1.0, 1 / 7]]
    part = Linear(matrix, bias=[0.1, 0.2]).float().double()
    assert part.matrix.tolist() == matrix
    twin = build(json.loads(json.dumps(part.config))).double()
    x = normal(5, 2)
    assert torch.equal(twin(x), part(x))
    torch.testing.assert_close(twin.inverse(twin(x)), x)
    _, ladj = part.forward_and_ladj(x)
    torch.testing.assert_close(ladj, torch.full((5,), math.log(1 / 21 + 2), dtype=torch.float64))


def test_a_nearly_singular_matrix_is_taken_and_inverted():
    part = Linear([[1.0, 1.0], [1.0, 1.0 + 1e-6]]).double()
    x = normal(5, 2)
    torch.testing.assert_close(part.inverse(part(x)), x, rtol=0, atol=1e-8)


# --- whitening -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("method", ["pca", "zca", "cholesky"])
def test_whitened_data_are_white(method, inverse):
    x = 1e3 + normal(500, 3) @ torch.tensor([[2.0, 1.0, 0.0], [0.0, 1e-3, 5.0], [0.0, 0.0, 30.0]], dtype=torch.float64)
    part = Whitening(3, method=method).double()
    map_ = part.inv if inverse else part
    map_.initialize(x, inverse=False)
    y, ladj = map_.forward_and_ladj(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-7)
    torch.testing.assert_close(y.t().cov(correction=0), torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-6)
    covariance = x.t().cov(correction=0)
    torch.testing.assert_close(ladj, (-0.5 * torch.linalg.slogdet(covariance)[1]).expand(500), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(map_.inverse(y), x)
    w = matrix_of(part) if not inverse else torch.linalg.inv(matrix_of(part))
    if method == "zca":
        torch.testing.assert_close(w, w.t(), atol=1e-9, rtol=1e-9)
    if method == "cholesky":
        assert w.triu(1).abs().max() < 1e-9
    if method == "pca":
        assert (w.norm(dim=1).diff() > 0).all(), "the widest axis comes first"


@pytest.mark.parametrize("method", ["pca", "zca", "cholesky"])
def test_directions_without_spread_keep_their_scale(method):
    x = normal(50, 1) * torch.tensor([[1.0, 1.0]], dtype=torch.float64)  # on a line
    part = Whitening(2, method=method).double()
    part.initialize(x)
    y = part(x)
    assert y.isfinite().all()
    torch.testing.assert_close(part.inverse(y), x)
    spread = torch.linalg.eigvalsh(y.t().cov(correction=0))
    torch.testing.assert_close(spread, torch.tensor([0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-9)


def test_whitening_keeps_epoch_seconds_in_a_float32_model():
    x = 1.7e9 + normal(100, 2)
    part = Whitening(2, data_dtype="float64")
    part.initialize(x)
    assert part(x).dtype == torch.float32
    torch.testing.assert_close(part.inverse(part(x)), x, rtol=0, atol=1e-5)


# --- ActNorm -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(("shape", "axis", "over"), [((3,), 0, (0,)), ((3, 4, 5), 0, (0, 2, 3)), ((4, 2), -1, (0, 1))])
def test_actnorm_starts_from_data_in_both_directions(shape, axis, over, inverse):
    x = 5 + 3 * normal(60, *shape)
    part = ActNorm(shape, axis=axis).double()
    part.initialize(x, inverse=inverse)
    y = part.inverse(x) if inverse else part(x)
    torch.testing.assert_close(y.mean(over), torch.zeros(shape[axis], dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(y.var(over, correction=0), torch.ones(shape[axis], dtype=torch.float64))


def test_actnorm_measures_once_and_learns():
    model = Flow(StandardNormal(2), Chain([ActNorm(2), Flip(2)]).inv).double()
    measured_once(model, 3 + normal(30, 2), None)
    assert len(list(model.bijection.parameters())) == 2


def test_a_constant_channel_keeps_the_scale_one():
    part = ActNorm(2)
    part.initialize(torch.tensor([[7.0, 1.0], [7.0, 3.0]]))
    assert part(torch.tensor([[7.0, 1.0]])).tolist() == [[0.0, -1.0]]


# --- convolutions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "linear",
    [
        LU(3),
        PLU(3),
        QR(3),
        Householder(3),
        Orthogonal(3, method="cayley"),
        RandomRotation(3),
        LU(3, context=2, hidden=(8,)),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_convolution_is_torchs_with_the_matrix_as_its_kernel(linear):
    part = randomize(Convolution1x1(linear, (4, 5)), seed=9)
    x, context = normal(2, 3, 4, 5), context_for(part, (2,), generator(9))
    y, ladj = part.forward_and_ladj(x, context)
    for k in range(2):
        row = None if context is None else context[k]
        w, bias = matrix_of(part.linear, row), part.linear(torch.zeros(3, dtype=torch.float64), row)
        torch.testing.assert_close(y[k], torch.nn.functional.conv2d(x[k], w[:, :, None, None], bias))
        torch.testing.assert_close(ladj[k], 20 * torch.linalg.slogdet(w)[1], atol=1e-9, rtol=1e-9)


def test_a_convolution_by_a_rotation_starts_at_the_principal_axes_of_the_channels():
    x = torch.einsum("cd,ndhw->nchw", normal(3, 3, seed=1), normal(40, 3, 2, 5))
    part = Convolution1x1(Rotation(3), (2, 5)).double()
    part.initialize(x)
    covariance = part(x).movedim(1, -1).flatten(0, -2).t().cov()
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-9
    assert part.data_dependent
    assert not Convolution1x1(LU(3), (2, 5)).data_dependent


def test_a_negative_scale_makes_no_triangular_map():
    assert Diagonal(2).is_triangular
    assert not Diagonal(2, signs=[1, -1]).is_triangular
    part = Diagonal((2, 1), signs=[[-1], [1]])
    assert part(torch.tensor([[2.0], [3.0]])).tolist() == [[-2.0], [3.0]]


def test_files_of_rotations_and_lu_keep_their_names():
    """State dicts that were saved before still load."""
    assert list(LU(2).state_dict()) == ["factors", "log_diagonal", "bias"]
    assert list(Rotation(2).state_dict()) == ["angles", "axes", "initialized"]


def test_a_flow_of_images_is_measured_saved_and_loaded(tmp_path):
    """Scales from data, channels mixed by a learned and a fixed matrix: all of it comes back from the file."""
    shape = (3, 2, 2)
    layers = [
        ActNorm(shape),
        Convolution1x1(PLU(3, permutation=[1, 2, 0]), shape[1:]),
        Convolution1x1(RandomRotation(3, seed=4), shape[1:]),
        Diagonal(shape),
    ]
    flow = Flow(StandardNormal(shape), Chain(layers).inv)
    x = 4 + 2 * normal(50, *shape).float()
    flow.initialize(x)
    torch.testing.assert_close(layers[0](x).mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    pf.save(flow, tmp_path / "flow.safetensors")
    loaded = pf.load(tmp_path / "flow.safetensors")
    assert torch.equal(loaded.log_prob(x), flow.log_prob(x))
    before = flow.log_prob(x)
    loaded.initialize(100 * x)
    assert torch.equal(loaded.log_prob(x), before), "measured once, also after loading"
    assert flow.sample((3,)).shape == (3, *shape)

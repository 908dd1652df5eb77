"""Numbers that were once wrong, against 50-digit arithmetic, scipy and float64 of the same inputs."""

import copy
import math

import mpmath
import pytest
import torch
from cases import generator, named_flow
from scipy import stats

import pushforward as pf
from pushforward.bijections import LU, Rotation
from pushforward.core.config import build
from pushforward.core.student import student_cdf, student_icdf
from pushforward.distributions import StandardNormal, StudentT
from pushforward.univariate import spline_pieces

EPS = {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}
both = pytest.mark.parametrize("dtype", EPS, ids=["float32", "float64"])

# --- Student's t at any degrees of freedom ----------------------------------------------------------------------------

POINTS = (0.0, 1e-3, 0.3, 2.5, 40.0, 1e12)


def exact_student(x, log_df):
    """The log-density with 50 digits."""
    x, df = mpmath.mpf(x), mpmath.exp(log_df)
    norm = mpmath.loggamma((df + 1) / 2) - mpmath.loggamma(df / 2) - mpmath.log(mpmath.pi * df) / 2
    return norm - (df + 1) / 2 * mpmath.log1p(x * x / df)


@both
@pytest.mark.parametrize("log10_df", [-3, -1, 0, 1.5, 3, 5, 8])
def test_student_density_and_its_gradient_at_small_and_large_df(log10_df, dtype):
    """A difference of two values of ``lgamma`` was off by 0.3 nats at df = 1e7, its derivative by the factor 10⁸."""
    base = StudentT(1, df=10.0**log10_df, learn_df=True).to(dtype)
    for point in POINTS:
        x = torch.tensor([point], dtype=dtype)
        value = base.log_prob(x)
        (grad,) = torch.autograd.grad(value, base.log_df)
        with mpmath.workdps(50):
            log_df = mpmath.mpf(base.log_df.item())
            expected = exact_student(x.item(), log_df)
            slope = float(mpmath.diff(lambda t, x=x: exact_student(x.item(), t), log_df))
        assert value.item() == pytest.approx(float(expected), rel=16 * EPS[dtype], abs=16 * EPS[dtype])
        # Where the derivative changes its sign, digits are lost against the two parts that it is made of.
        assert grad.item() == pytest.approx(slope, rel=1000 * EPS[dtype]), f"x = {point}"


@both
def test_student_cdf_has_gradients_in_df_where_it_is_nearly_normal(dtype):
    u = stats.t.cdf(-2.0, 1e6)
    log_df = torch.tensor(math.log(1e6), dtype=dtype, requires_grad=True)
    x = torch.tensor(-2.0, dtype=dtype)
    value = student_cdf(x, log_df)
    assert value.item() == pytest.approx(u, rel=100 * EPS[dtype])
    # The first term of the expansion in 1 / ν: P(T ≤ x) = Φ(x) + φ(x) x (x² + 1) / (4 ν) + ..., here with x negative.
    slope = stats.norm.pdf(2.0) * -2.0 * 5.0 / 4e6
    (grad,) = torch.autograd.grad(value, log_df)
    assert grad.item() == pytest.approx(slope, rel=1e-3)


def test_student_quantiles_of_few_degrees_of_freedom():
    """Against the regularised beta function with 60 digits; scipy's own quantiles overflow here."""
    for df, tolerance in ((0.001, 1e-8), (0.01, 1e-11), (0.1, 1e-13)):
        log_df = torch.tensor(math.log(df), dtype=torch.float64)
        x = student_icdf(torch.tensor(0.49 if df == 0.001 else 0.2, dtype=torch.float64), log_df)
        with mpmath.workdps(60):
            nu = mpmath.exp(mpmath.mpf(log_df.item()))
            u = mpmath.betainc(nu / 2, 0.5, 0, nu / (nu + mpmath.mpf(x.item()) ** 2), regularized=True) / 2
            got = student_cdf(x, log_df).item()
        assert got == pytest.approx(float(u), rel=tolerance)


def test_student_quantiles_reach_the_ends_of_the_dtype():
    for dtype in EPS:
        u = torch.tensor([torch.finfo(dtype).tiny, 1e-30], dtype=dtype)
        x = student_icdf(u, torch.zeros((), dtype=dtype))  # one degree of freedom: 1 / (π u)
        assert x.isfinite().all()
        torch.testing.assert_close(
            x.double() * u.double() * -math.pi, torch.ones(2, dtype=torch.float64), rtol=1e-4, atol=0
        )


@both
def test_student_samples_of_few_degrees_of_freedom_have_their_tails(dtype):
    """Gamma numbers of shape ν / 2 underflow: of 9 in 100 samples that belong beyond 10²⁰ none was there."""
    x = StudentT(1, df=0.05).to(dtype).sample((20_000,), generator=generator(1))[:, 0]
    for point in (1.0, 1e5, 1e20, 1e30):
        expected = 2 * stats.t.sf(point, 0.05)
        assert (x.abs() > point).double().mean().item() == pytest.approx(expected, abs=0.015)
    base = StudentT(1, df=2.0, learn_df=True).double()
    value = base.rsample((200_000,), generator=generator(2)).square().tanh().mean()
    (slope,) = torch.autograd.grad(value, base.log_df)
    at = [stats.t.expect(lambda t: math.tanh(t * t), (2 * math.exp(h),)) for h in (-1e-3, 1e-3)]
    assert slope.item() == pytest.approx((at[1] - at[0]) / 2e-3, abs=2e-3)


# --- rotations --------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("features", [2, 3, 8])
def test_rotations_are_orthogonal_at_every_angle(features, dtype):
    """The exponential of a single matrix is wrong by 2e-5 for norms around 0.5 in torch 2.13."""
    part = Rotation(features).to(dtype)
    direction = torch.randn(part.angles.shape, generator=generator(1), dtype=torch.float64)
    for norm in torch.logspace(-3, 1, 41, dtype=torch.float64).tolist():
        with torch.no_grad():
            part.angles.copy_(norm * direction / direction.norm())
        wide = Rotation(features).double()
        wide.load_state_dict(part.state_dict())
        for matrix in (part(torch.eye(features, dtype=dtype)), part.inverse(torch.eye(features, dtype=dtype))):
            off = (matrix @ matrix.mT - torch.eye(features, dtype=dtype)).abs().max().item()
            assert off <= 16 * EPS[dtype], f"norm {norm}: orthogonal up to {off}"
        skew = torch.zeros(features, features, dtype=torch.float64)
        skew[torch.tril_indices(features, features, -1).unbind()] = part.angles.detach().double()
        values, vectors = torch.linalg.eigh(1j * (skew - skew.mT))  # Hermitian, which every LAPACK can solve
        exact = (vectors @ torch.diag((-1j * values).exp()) @ vectors.mH).real
        torch.testing.assert_close(
            part(torch.eye(features, dtype=dtype)).double(), exact.mT, rtol=0, atol=(1 + norm) * 40 * EPS[dtype]
        )


# --- splines whose slopes change a millionfold within a bin -----------------------------------------------------------

COUNT = 20_000


def log_uniform(random, low, high):
    return (math.log(low) + math.log(high / low) * torch.rand(COUNT, generator=random, dtype=torch.float64)).exp()


def steep_piece(kind, as_dtype):
    """Bins of one kind with sizes and slopes from all their ranges; the same numbers in every dtype."""
    random = generator(3)
    width, height = (log_uniform(random, 1e-3, 1.0).float() for _ in range(2))
    left, right = (log_uniform(random, 1e-3, 50.0).float() for _ in range(2))
    split = (0.025 + 0.95 * torch.sigmoid(6 * torch.randn(COUNT, generator=random))).float()
    if kind == "CubicPiece":
        left, right = torch.minimum(left, 2 * height / width), torch.minimum(right, 2 * height / width)
        return spline_pieces.CubicPiece(*map(as_dtype, (width, height / width, left, right))), height
    if kind == "QuadraticPiece":
        return spline_pieces.QuadraticPiece(*map(as_dtype, (width, left, right))), width * (left + right) / 2
    more = (split,) if kind == "LinearRationalPiece" else ()
    return getattr(spline_pieces, kind)(*map(as_dtype, (width, height, left, right, *more))), height


@pytest.mark.parametrize("kind", ["QuadraticPiece", "CubicPiece", "LinearRationalPiece", "RationalQuadraticPiece"])
def test_inverse_slopes_in_steep_bins(kind):
    """In float32 against float64 of the same bins, from below and from above.

    Near the upper knot of a bin 1 - t had no digits, and where two hyperbolas meet the slope changes between
    neighbouring t: log-slopes were off by up to 6.
    """
    narrow, height = steep_piece(kind, lambda t: t)
    wide, _ = steep_piece(kind, lambda t: t.double())
    share = torch.rand(COUNT, generator=generator(4)) * log_uniform(generator(5), 1e-3, 1.0).float()
    for upper in (False, True):
        side = torch.full((COUNT,), upper)
        slopes = []
        for piece, dy in ((narrow, height * share), (wide, (height * share).double())):
            seen = piece.rotated_where(side)
            slopes.append(seen.log_slope_at(seen.solve(dy).clamp(0, 1), dy).double())
        # A unit in the last place of dy moves the slope as well.
        seen, dy = wide.rotated_where(side), (height * share).double() * (1 + 2 * EPS[torch.float32])
        moved = seen.log_slope_at(seen.solve(dy).clamp(0, 1), dy)
        tolerance = 5e-3 + 4 * (moved - slopes[1]).abs()
        off = (slopes[0] - slopes[1]).abs() / tolerance
        assert off.max() <= 1, f"off by {(slopes[0] - slopes[1]).abs().max():.3g}, {off.max():.3g} times the tolerance"


@pytest.mark.parametrize("name", ["RationalQuadratic", "CircularRationalQuadratic", "LinearRational", "CubicSpline"])
def test_inverses_of_steep_splines(name):
    """Both paths of the inverse, from the same knots in float32 and float64: x as exact as a unit of y allows."""
    narrow, wide = build({"type": name}), build({"type": name}).double()
    params = 7 * torch.randn(narrow.num_params, COUNT, generator=generator(1))
    x = narrow.domain.example((COUNT,), generator(2)).float()
    y = narrow(x, params)[0]
    outside, v = narrow._to_box(y)
    knots = narrow._knots(params)
    wide._knots = lambda params: type(knots)(*(None if part is None else part.double() for part in knots))

    def exact(shift):
        wide._to_box = lambda y: (outside, v.double() * (1 + shift))
        return wide.inverse(y.double(), params.double())

    x, falling = exact(0.0)
    moved = [exact(sign * EPS[torch.float32]) for sign in (-1, 1)]
    far = torch.stack([(other[0] - x).abs() for other in moved]).amax(dim=0)
    slope_far = torch.stack([(other[1] - falling).abs() for other in moved]).amax(dim=0)
    for got in (narrow.inverse(y, params)[0], narrow.inverse_value(y, params)):
        assert ((got - x).abs() <= 1e-4 + 20 * far).all(), f"x is off by {(got - x).abs().max():.3g}"
    got = narrow.inverse(y, params)[1]
    assert ((got - falling).abs() <= 2e-2 + 4 * slope_far).all(), f"slope off by {(got - falling).abs().max():.3g}"


# --- dtypes with too few digits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("flow", ["maf", "nsf", "gaussianization"])
def test_half_precision_is_refused_in_one_sentence(flow, dtype):
    """StandardNormal gave -inf in float16, nsf and gaussianization ended in errors of torch."""
    model, x = named_flow({"flow": flow, "features": 2, "context": 0}), torch.zeros(3, 2, dtype=dtype)
    message = f"densities in {dtype} would be right to three digits at best.*float32, with .float()"
    for part, point in ((model, x), (copy.deepcopy(model).to(dtype), x), (copy.deepcopy(model).to(dtype), x.float())):
        for call in (part.log_prob, part.to_latent, part.to_data, part.bijection.inverse, part.initialize):
            with pytest.raises(ValueError, match=message):
                call(point)
    half = model.to(dtype)
    for call in (half.sample, half.rsample, half.rsample_and_log_prob):
        with pytest.raises(ValueError, match=message):
            call((4,))
    with pytest.raises(ValueError, match=message):
        StandardNormal(2).half().log_prob(x)


# --- training loops that forget the start from data -------------------------------------------------------------------


def test_a_training_loop_without_a_start_from_data_is_warned_once():
    x = 1e3 + 50 * torch.randn(64, 2, generator=generator(1))
    message = (
        r"Flow: training begins before its data-dependent parts \(Standardize\) have seen data. Call initialize\(x\)"
    )
    flow = named_flow({"flow": "maf", "features": 2, "context": 0})
    losses = [flow.log_prob(x).mean() for _ in range(3)]
    with pytest.warns(UserWarning, match=message) as caught:
        torch.autograd.grad(sum(losses) + flow.log_prob(x).mean(), list(flow.parameters()), allow_unused=True)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"\(Elementwise, Rotation, Standardize\)"):
        named_flow({"flow": "gaussianization", "features": 2, "context": 0}).log_prob(x).mean().backward()
    conditional = named_flow({"flow": "maf", "features": 2, "context": 1})
    with pytest.warns(UserWarning, match="^Flow: training begins") as caught:
        conditional.condition(torch.zeros(1)).log_prob(x).mean().backward()
    assert len(caught) == 1


@pytest.mark.filterwarnings("error")
def test_no_warning_where_the_start_was_made_or_nothing_is_learned(tmp_path):
    x = torch.randn(64, 2, generator=generator(1))
    spec = {"flow": "maf", "features": 2, "context": 0}
    started = named_flow(spec)
    started.initialize(x)
    started.log_prob(x).mean().backward()
    pf.save(started, tmp_path / "model.safetensors")
    pf.load(tmp_path / "model.safetensors").train().log_prob(x).mean().backward()
    named_flow(spec).eval().log_prob(x).mean().backward()
    unstarted = named_flow(spec | {"depth": 1})
    unstarted.log_prob(x)  # not differentiated
    unstarted.marginal(1).log_prob(x[:, :1])
    unstarted.given(x[0, :1]).log_prob(x[:, 1:])
    with torch.no_grad():
        named_flow(spec).log_prob(x)
    named_flow(spec).rsample_and_log_prob((4,))[1].mean().backward()
    pf.fit(named_flow(spec), x, steps=2)
    torch.compile(named_flow(spec), backend="eager", fullgraph=True)(x).mean().backward()
    pf.Flow(StandardNormal(2), LU(2)).log_prob(x).mean().backward()

"""`Triangular` against its definition, and `fit_triangular` on data whose density is known."""

import itertools
import math

import pytest
import torch
from cases import randomize

import pushforward as pf
from pushforward.bijections import Permute, Standardize, Triangular
from pushforward.bijections.hermite import hermite_slopes, hermite_values
from pushforward.bijections.triangular import MIN_SLOPE, rectified, total_degree
from pushforward.core.config import build
from pushforward.core.quadrature import gauss_legendre
from pushforward.train import TrainingError, fit_triangular
from pushforward.train.component import Component, Design, Limits, PaddedRows, apply, height
from pushforward.train.selection import Paths, choose

F64 = torch.float64
QUICK = {"terms": 8, "marginals": 1, "folds": 3, "dtype": F64}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def examples():
    return [{"type": "Triangular", **example} for example in Triangular.examples]


def random_layer(config, seed=1):
    return randomize(build(config), seed)


def inputs_of(layer, rows=9):
    context = None if layer.context_shape is None else draw(rows, *layer.context_shape, seed=2)
    return 1.5 * draw(rows, *layer.in_shape), context


# --- features ------------------------------------------------------------------------------------------------------


def test_features_follow_their_formula():
    x = torch.linspace(-4, 4, 41, dtype=F64)
    hermite = [torch.ones_like(x), x, x**2 - 1, x**3 - 3 * x, x**4 - 6 * x**2 + 3]

    def function(m, at):
        return 1.5 * hermite[m][at] / math.sqrt(math.factorial(m)) * torch.exp(-(x[at] ** 2) / 4)

    values = hermite_values(x, 6)
    torch.testing.assert_close(values[0], x)
    for m in range(5):
        expected = function(m, slice(None)) - function(m, 20)  # x[20] is zero
        torch.testing.assert_close(values[m + 1], expected, atol=1e-12, rtol=1e-12)


def test_feature_slopes_are_derivatives():
    x = draw(30).mul(2).requires_grad_()
    for value, slope in zip(hermite_values(x, 7), hermite_slopes(x, 7), strict=True):
        (expected,) = torch.autograd.grad(value.sum(), x, retain_graph=True)
        torch.testing.assert_close(slope, expected, atol=1e-12, rtol=1e-12)


# --- the map -------------------------------------------------------------------------------------------------------


def by_definition(config, weights, x, context, j, nodes=200):
    """S_j at one point inside the box from f_j alone, its derivative by autodiff."""
    count = config.get("context", 0)
    terms = config["terms"][j]
    before = torch.cat([context[:count], x[:j]]) if count else x[:j]

    def f(t):
        total = torch.zeros_like(t)
        for weight, alpha in zip(weights, terms, strict=True):
            product = torch.ones_like(t)
            for value, degree in zip(before, alpha[:-1], strict=True):
                product = product * ([torch.ones_like(value), *hermite_values(value, 6)][degree])
            total = total + weight * product * ([torch.ones_like(t), *hermite_values(t, 6)][alpha[-1]])
        return total

    points, shares = (torch.tensor(v, dtype=F64) for v in gauss_legendre(nodes))
    t = (points * x[j]).requires_grad_()
    (slope,) = torch.autograd.grad(f(t).sum(), t)
    return f(torch.zeros((), dtype=F64)) + x[j] * (shares * rectified(slope)).sum()


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(c, id=n, marks=[pytest.mark.exhaustive] * (n == "three"))
        for c, n in zip(examples(), ("one", "three", "context"), strict=True)
    ],
)
def test_components_are_their_definition_to_1e_10(config):
    layer = random_layer(config)
    x, context = inputs_of(layer)
    x = x.clamp(-2.9, 2.9)
    context = None if context is None else context.clamp(-2.9, 2.9)
    y = layer(x, context)
    parts = layer.weights.split([len(component) for component in config["terms"]])
    for i, j in itertools.product(range(len(x)), range(layer.in_shape[0])):
        expected = by_definition(config, parts[j], x[i], None if context is None else context[i], j)
        assert abs(y[i, j] - expected).item() <= 1e-10


def test_zero_weights_are_the_identity():
    layer = Triangular(total_degree(3, 3)).double()
    x = draw(5, 3) * torch.tensor([[1.0], [10.0], [1e3], [1e6], [1e-6]], dtype=F64)
    y, ladj = layer.forward_and_ladj(x)
    torch.testing.assert_close(y, x, rtol=1e-13, atol=0)
    torch.testing.assert_close(ladj, torch.zeros(5, dtype=F64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("size", [1.0, 1e3, 1e6, 1e12])
def test_far_points_come_back(size, dtype):
    layer = random_layer(examples()[1]).to(dtype)
    x = (size * draw(64, 3)).to(dtype)
    y, ladj = layer.forward_and_ladj(x)
    back, back_ladj = layer.inverse_and_ladj(y)
    eps = torch.finfo(dtype).eps
    assert bool(y.isfinite().all())
    assert bool(back.isfinite().all())
    scale = x.abs().amax(dim=1, keepdim=True).clamp(min=1)  # y_3 adds what x_1 is: that is where digits are lost
    assert ((back - x).abs() / scale).max() < 500 * eps
    assert (ladj + back_ladj).abs().max() < 500 * eps


@pytest.mark.parametrize("huge", [-50.0, 50.0])
def test_huge_weights_stay_increasing_and_finite(huge):
    layer = build(examples()[1]).double()
    with torch.no_grad():
        layer.weights.fill_(huge)
    x = torch.linspace(-8, 8, 65, dtype=F64)[:, None].expand(-1, 3).requires_grad_()
    y, ladj = layer.forward_and_ladj(x)
    (y.sum() + ladj.sum()).backward()
    assert bool(y.isfinite().all())
    assert bool(ladj.isfinite().all())
    assert bool(x.grad.isfinite().all())
    back = layer.inverse(y.detach())
    assert bool(back.isfinite().all())
    assert (layer(back) - y).abs().max() < 1e-8 * y.abs().max()
    assert bool((ladj >= 3 * math.log(MIN_SLOPE) - 1e-9).all())


def test_the_map_is_affine_beyond_the_box():
    layer = random_layer(examples()[1])
    start = draw(1, 3).clamp(-1, 1)
    for j in range(3):
        line = start.repeat(5, 1)
        line[:, j] = torch.tensor([5.0, 7.0, 9.0, 11.0, 13.0], dtype=F64)  # the box ends at 4
        steps = layer(line)[:, j].diff()
        torch.testing.assert_close(steps, steps[:1].expand(4))
        for k in range(j + 1, 3):  # later components see a straight line, or nothing more of x_j
            torch.testing.assert_close(layer(line)[:, k].diff(), layer(line)[:, k].diff()[:1].expand(4))


def test_features_that_no_term_names_are_never_read():
    layer = random_layer({"type": "Triangular", "terms": [[[1]], [[0, 2]], [[0, 1, 0], [0, 1, 1]]]})
    jacobian = torch.autograd.functional.jacobian(layer, draw(3))
    assert bool((jacobian.tril() != 0).sum() == 4)
    assert jacobian[1, 0] == 0
    assert jacobian[2, 0] == 0


@pytest.mark.parametrize(("features", "degree", "context"), [(1, 3, 0), (3, 2, 0), (2, 2, 2)])
def test_total_degree_counts_binomials(features, degree, context):
    counts = [math.comb(context + j + degree, degree) for j in range(1, features + 1)]
    terms = total_degree(features, degree, context=context)
    assert [len(component) for component in terms] == counts
    assert Triangular(terms, context=context).in_shape == (features,)


# --- the objective -------------------------------------------------------------------------------------------------

TERMS = [(0, 0), (0, 1), (1, 0), (2, 0), (0, 3), (1, 1), (2, 2)]


def limits(**changed):
    return Limits(degree=3, interactions=2, terms=6, patience=2, bound=4.0, nodes=32)._replace(**changed)


def as_rows(*samples):
    return PaddedRows.stack(list(samples))


@pytest.mark.parametrize("df", [math.inf, 4.0])
def test_the_gradient_is_that_of_the_likelihood_of_the_layer(df):
    x, weights = 2 * draw(25, 2), 0.5 * draw(len(TERMS), seed=3)
    layer = Triangular([[], [list(term) for term in TERMS]]).double()
    layer.weights.data.copy_(weights)
    base = torch.distributions.StudentT(torch.tensor(df, dtype=F64)) if df < math.inf else None
    base = base or torch.distributions.Normal(torch.zeros((), dtype=F64), 1.0)
    y, log_slopes = layer._forward_and_slopes(x, None)
    loss = -(base.log_prob(y[:, 1]) + log_slopes[:, 1]).mean()
    loss.backward()

    lim = limits(df=df)
    (value,), (log_slope,) = apply(as_rows(x), [Component(TERMS, weights)], lim)
    torch.testing.assert_close(value, y[:, 1].detach(), atol=1e-11, rtol=1e-11)
    torch.testing.assert_close((lim.energy(value) - log_slope).mean(), loss.detach())
    design = Design(as_rows(x), lim)
    block = design.block([TERMS], height([TERMS]))
    gradient = design.gradient(design.slopes(block, weights[None]), block)[0]
    torch.testing.assert_close(gradient, layer.weights.grad, atol=1e-11, rtol=1e-9)


def test_members_of_a_batch_do_not_see_each_other():
    short, long = draw(12, 2), draw(20, 2, seed=5)
    together = Paths(as_rows(short, long), 1.0, limits())
    alone = [Paths(as_rows(sample), 1.0, limits()) for sample in (short, long)]
    for paths in (together, *alone):
        for _ in range(3):
            assert paths.grow()
    for member, paths in enumerate(alone):
        assert together.terms[member] == paths.terms[0]
        torch.testing.assert_close(together.weights[member], paths.weights[0], atol=1e-4, rtol=1e-4)


def test_a_linear_component_is_a_regression():
    x = draw(60, 3)
    x[:, 2] = 0.5 + 2 * x[:, 0] - x[:, 1] + 0.3 * x[:, 2]
    x = x / 8  # inside the box, so that nothing but the affine map is at work
    paths = Paths(as_rows(x), 1e-9, limits(degree=1, interactions=1))
    while paths.grow():
        pass
    inputs = torch.cat([torch.ones(60, 1, dtype=F64), x[:, :2]], dim=1)
    solution = torch.linalg.lstsq(inputs, x[:, 2:]).solution[:, 0]
    spread = (x[:, 2] - inputs @ solution).square().mean().sqrt()
    (value,), (log_slope,) = apply(as_rows(x), paths.components(), limits())
    torch.testing.assert_close(log_slope, -spread.log().expand(60), atol=1e-4, rtol=0)
    torch.testing.assert_close(value, (x[:, 2] - inputs @ solution) / spread, atol=1e-3, rtol=1e-3)


def test_terms_that_matter_are_found_and_others_left_out():
    x = draw(200, 4)
    x[:, 3] = 1.5 * x[:, 1].square() + 0.5 * x[:, 3]
    folds = [slice(0, 100), slice(100, 200)]
    train = as_rows(x[folds[1]], x[folds[0]], x)
    held = as_rows(x[folds[0]], x[folds[1]], x[:0])
    choice = choose(train, held, [1.0], limits())
    terms = choice.components[-1].terms
    assert (0, 2, 0, 0) in terms
    assert choice.score > choice.affine + 0.5
    named = {i for term in terms[2:] for i, d in enumerate(term) if d}
    assert 1 in named
    assert not {0, 2} <= named


# --- fits ----------------------------------------------------------------------------------------------------------


def banana(rows, seed=0):
    """x_2 given x_1 is N(x_1², 0.5²), on a scale and at a place of its own; and the log-density."""
    z = draw(rows, 2, seed=seed)
    x = torch.stack([z[:, 0], z[:, 0].square() + 0.5 * z[:, 1]], dim=1)
    log_prob = -0.5 * z.square().sum(1) - math.log(2 * math.pi) - math.log(0.5) - math.log(10) * 2
    return 300 + 10 * x, log_prob


@pytest.fixture(scope="module")
def fitted():
    return fit_triangular(banana(150)[0], **QUICK)


def test_a_banana_is_learned_from_150_rows(fitted):
    test, truth = banana(2000, seed=9)
    with torch.no_grad():
        got = fitted.log_prob(test)
    gaussian = torch.distributions.MultivariateNormal(banana(150)[0].mean(0), banana(150)[0].T.cov())
    assert got.mean() > truth.mean() - 0.15
    assert got.mean() > gaussian.log_prob(test).mean() + 0.5


def test_the_density_integrates_to_one(fitted):
    grid = torch.cartesian_prod(torch.linspace(240, 360, 240, dtype=F64), torch.linspace(240, 500, 400, dtype=F64))
    with torch.no_grad():
        mass = fitted.log_prob(grid).exp().sum() * (120 / 239) * (260 / 399)
    assert abs(mass.item() - 1) < 2e-2  # a Student t has some mass beyond the grid


def test_samples_come_from_the_density(fitted):
    with torch.no_grad():
        x = fitted.sample((500,), generator=torch.Generator().manual_seed(0))
        z = fitted.to_latent(x)
        torch.testing.assert_close(fitted.to_data(z), x, rtol=1e-9, atol=1e-7)
    assert abs(x[:, 0].median() - 300) < 2
    assert 0.6 < (z.abs() < 1).double().mean() < 0.75


def test_the_fit_is_the_same_every_time_and_every_order_of_calls(fitted):
    again = fit_triangular(banana(150)[0].numpy(), **QUICK)
    assert again.config == fitted.config
    for a, b in zip(again.state_dict().values(), fitted.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_is_saved_and_loaded_like_any_other(fitted, tmp_path):
    pf.save(fitted, tmp_path / "model.safetensors")
    loaded = pf.load(tmp_path / "model.safetensors")
    x = banana(10, seed=2)[0]
    assert loaded.config == fitted.config
    torch.testing.assert_close(loaded.to(F64).log_prob(x), fitted.log_prob(x), rtol=1e-9, atol=1e-9)


def test_one_row_far_out_costs_little():
    x = banana(60)[0]
    far = torch.tensor([[300.0 + 1e4, 310.0], [300.0, -1e5], [1e9, 1e9]], dtype=F64)
    with torch.no_grad():
        heavy, light = (fit_triangular(x, df=df, **QUICK).log_prob(far) for df in (8.0, math.inf))
    assert bool(heavy.isfinite().all())
    assert heavy[:2].min() > -150
    assert light[:2].max() < -1e3


def test_independent_columns_stay_apart():
    flow = fit_triangular(draw(120, 4), terms=6, marginals=0, orders=[range(4)], folds=3)
    terms = flow.bijection.inv.parts[-1].config["terms"]
    crossed = sum(any(alpha[:-1]) for component in terms for alpha in component)
    assert crossed <= 3
    assert flow.dtype == torch.float32


def test_the_better_order_is_taken():
    z = draw(200, 2)
    x = torch.stack([z[:, 1].square() + 0.2 * z[:, 0], z[:, 1]], dim=1)  # easy from the second to the first only
    flow = fit_triangular(x, **QUICK)
    assert [part.config["order"] for part in flow.bijection.inv.parts if isinstance(part, Permute)] == [[1, 0]]
    kept = fit_triangular(x, orders=[(0, 1)], **QUICK)
    assert kept.bijection.is_triangular
    with torch.no_grad():
        assert flow.log_prob(x).mean() > kept.log_prob(x).mean() + 0.2


def test_skewed_marginals_are_bent():
    x = draw(200, 1).exp()
    bent, straight = (fit_triangular(x, degree=1, marginals=m, folds=3, dtype=F64) for m in (2, 0))
    test = draw(500, 1, seed=4).exp()
    with torch.no_grad():
        assert bent.log_prob(test).mean() > straight.log_prob(test).mean() + 0.3
    assert sum(isinstance(part, Triangular) for part in bent.bijection.inv.parts) >= 2


def test_a_conditional_density():
    c, z = draw(200, 1), draw(200, 1, seed=3)
    x = c.square() + 0.5 * z
    flow = fit_triangular(x, 40 + 3 * c, df=math.inf, **QUICK)  # the noise is normal
    truth = torch.distributions.Normal(c.square(), 0.5).log_prob(x).mean()
    with torch.no_grad():
        got = flow.log_prob(x, 40 + 3 * c).mean()
    assert flow.context_shape == (1,)
    assert got > truth - 0.1
    assert flow.sample((3,), 40 + 3 * c[:5]).shape == (3, 5, 1)


def test_wide_data_for_a_narrow_model():
    x = 1.7e9 + 60 * draw(60, 1)
    flow = fit_triangular(x, data_dtype="float64", terms=2, folds=3, marginals=0)
    assert flow.dtype == F64
    assert flow.bijection.dtype == torch.float32
    assert flow.log_prob(x).mean() > -6.5  # the entropy is 5.5 nats
    assert isinstance(flow.bijection.inv.parts[0], Standardize)


@pytest.mark.parametrize("odd", [2, *(pytest.param(k, marks=pytest.mark.exhaustive) for k in (1, 5))])
def test_nearly_constant_columns_survive(odd):
    """Some folds see a constant column: its slope has no optimum there."""
    x = draw(30, 2)
    x[:, 0] = 0.0
    x[:odd, 0] = 1.0
    flow = fit_triangular(x, terms=4, folds=3, marginals=1)
    assert bool(flow.log_prob(x.float()).isfinite().all())


def test_gradient_descent_fits_the_named_flow_as_any_other():
    x = banana(400)[0]
    flow = pf.flows.triangular_map(2).to(F64)
    pf.fit(flow, x, steps=150, lr=2e-2, progress=False)
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    with torch.no_grad():
        assert flow.log_prob(x).mean() > gaussian.log_prob(x).mean() + 0.3


X = draw(20, 2)
BAD = X.clone()
BAD[3, 1] = math.nan
REFUSALS = [
    ((["a", "b"],), {}, r"x must be a table of numbers; got list\."),
    ((X[:, 0],), {}, r"x must have shape \(rows, columns\); got \(20,\)\."),
    ((BAD,), {}, r"x has a value that is not finite: row 3, column 1\."),
    ((X, X[:5]), {}, r"x has 20 rows but context has 5; one per row of x\."),
    ((X * torch.tensor([1.0, 0.0]),), {}, r"column 1 of x is constant, so its density is infinite\. Drop it\."),
    ((X[:6],), {}, r"5 folds of 6 rows leave too few"),
    ((X,), {"folds": 1}, r"1 folds of 20 rows leave too few"),
    ((X,), {"orders": [(0, 0)]}, r"orders must rearrange 0 \.\. 1 each; got \[\(0, 0\)\]\."),
    ((X,), {"ridge": -1.0}, r"ridge must be a positive number or several; got \[-1\.0\]\."),
    ((X,), {"df": 0.0}, r"df must be positive \(math\.inf for normal tails\); got 0\.0\."),
    ((X,), {"degree": 0}, r"degree must be a whole number of at least 1; got 0\."),
    ((X,), {"marginals": -1}, r"marginals must be a whole number of at least 0; got -1\."),
]


@pytest.mark.parametrize(("x", "options", "message"), REFUSALS, ids=range(len(REFUSALS)))
def test_what_cannot_be_learned_from_is_refused(x, options, message):
    with pytest.raises(ValueError, match="fit_triangular: " + message):
        fit_triangular(*x, **options)


def test_refusals_about_data_are_training_errors():
    with pytest.raises(TrainingError):
        fit_triangular(BAD)

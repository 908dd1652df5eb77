"""Bases against scipy and torch: densities, distribution functions, points, gradients, means and entropies."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from cases import GENTLE, generator, randomize

import pushforward as pf
from pushforward.bijections import Elementwise
from pushforward.distributions import (
    Beta,
    Cauchy,
    DiagonalNormal,
    Dirichlet,
    Exponential,
    Flow,
    Gamma,
    GaussianMixture,
    GeneralizedNormal,
    Gumbel,
    Independent,
    Joint,
    Laplace,
    Logistic,
    LogNormal,
    Normal,
    Parametric,
    Resampled,
    StandardNormal,
    StudentT,
    TorchDistribution,
    Truncated,
    VonMises,
    VonMisesFisher,
    Weibull,
    from_torch,
)
from pushforward.testing.comparison import close
from pushforward.testing.distributions import float32_is_close
from pushforward.testing.quadrature import masses
from pushforward.univariate import Affine

SHARP = {torch.float64: 1e-9}
CASES = {
    "normal": (DiagonalNormal(1, loc=0.3, scale=0.7), scipy.stats.norm(0.3, 0.7)),
    "laplace": (Laplace(1, loc=0.3, scale=0.7), scipy.stats.laplace(0.3, 0.7)),
    "logistic": (Logistic(1, loc=0.3, scale=0.7), scipy.stats.logistic(0.3, 0.7)),
    "gumbel": (Gumbel(1, loc=0.3, scale=0.7), scipy.stats.gumbel_r(0.3, 0.7)),
    "cauchy": (Cauchy(1, loc=0.3, scale=0.7), scipy.stats.cauchy(0.3, 0.7)),
    "generalized": (GeneralizedNormal(1, loc=0.3, scale=0.7, power=1.5), scipy.stats.gennorm(1.5, 0.3, 0.7)),
    "generalized-peaked": (GeneralizedNormal(1, power=0.6), scipy.stats.gennorm(0.6)),
    "exponential": (Exponential(1, rate=2.5), scipy.stats.expon(scale=0.4)),
    "weibull": (Weibull(1, scale=2.0, shape=1.7), scipy.stats.weibull_min(1.7, scale=2.0)),
    "weibull-falling": (Weibull(1, scale=2.0, shape=0.6), scipy.stats.weibull_min(0.6, scale=2.0)),
    "lognormal": (LogNormal(1, loc=0.5, scale=0.6), scipy.stats.lognorm(0.6, scale=math.exp(0.5))),
    "gamma": (Gamma(1, shape=2.5, rate=1.5), scipy.stats.gamma(2.5, scale=1 / 1.5)),
    "gamma-falling": (Gamma(1, shape=0.3, rate=1.5), scipy.stats.gamma(0.3, scale=1 / 1.5)),
    "beta": (Beta(1, a=2.5, b=1.5), scipy.stats.beta(2.5, 1.5)),
    "beta-at-the-ends": (Beta(1, a=0.5, b=0.4), scipy.stats.beta(0.5, 0.4)),
    "von-mises": (VonMises(1, loc=0.5, concentration=2.0), scipy.stats.vonmises(2.0, loc=0.5)),
    "von-mises-wide": (VonMises(1, loc=0.0, concentration=0.1), scipy.stats.vonmises(0.1)),
    "von-mises-narrow": (VonMises(1, loc=0.0, concentration=5000.0), scipy.stats.vonmises(5000.0)),
    "student": (StudentT(1, df=2.5, learn_df=True), scipy.stats.t(2.5)),
}
each = pytest.mark.parametrize(("ours", "theirs"), CASES.values(), ids=CASES)


def sharp(part):
    """In float64, with start values that were not rounded to float32."""
    return type(part)(**{k: v for k, v in part.config.items() if k != "type"}).double() if part.config else part


@pytest.fixture(autouse=True)
def _float64():
    """Start values keep all of their digits: parameters begin in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def points_of(theirs, n=200):
    return torch.from_numpy(theirs.ppf(np.linspace(1e-6, 1 - 1e-6, n)))


@each
def test_densities_are_those_of_scipy(ours, theirs):
    x = points_of(theirs)
    inside = ours.support.contains(x)
    expected = torch.from_numpy(theirs.logpdf(x.numpy()))
    close(sharp(ours).log_prob(x[:, None])[inside], expected[inside], "log_prob", SHARP)


@each
def test_distribution_functions_and_quantiles_are_those_of_scipy(ours, theirs):
    if not isinstance(ours, Independent):
        assert isinstance(ours, Beta | Gamma | GeneralizedNormal)  # theirs have no derivatives in torch
        return
    part, u = sharp(ours), torch.linspace(0.001, 0.999, 99)
    x = torch.from_numpy(theirs.ppf(u.numpy()))
    if isinstance(ours, VonMises):  # from the point opposite to the mode, as scipy does
        inside = ours.support.contains(x)
        x, u = x[inside], u[inside]
    close(part.cdf(x[:, None])[:, 0], u, "cdf", {torch.float64: 1e-7})
    close(part.icdf(u[:, None])[:, 0], x, "icdf", {torch.float64: 1e-6})
    if not isinstance(ours, VonMises):
        tail = torch.tensor([[1e-30]])
        close(part.icdf(tail)[0], torch.from_numpy(theirs.ppf(tail[0].numpy())), "far out", {torch.float64: 1e-6})


@each
def test_points_follow_the_distribution(ours, theirs):
    """By the Kolmogorov-Smirnov test; on circles after unrolling at the mode."""
    for dtype in (torch.float32, torch.float64):
        x = ours.to(dtype).sample((4000,), generator=generator(3))[:, 0].double()
        if isinstance(ours, VonMises):
            loc = float(ours.mean().value.double())
            x = torch.remainder(x - loc + math.pi, 2 * math.pi) - math.pi + loc
        assert scipy.stats.kstest(x.numpy(), theirs.cdf).pvalue > 1e-3


@each
def test_means_and_entropies_are_those_of_scipy(ours, theirs):
    part = sharp(ours)
    entropy = part.entropy(samples=4000, generator=generator(1))
    expected = float(theirs.entropy())
    assert abs(entropy.value.item() - expected) <= 5 * entropy.error.item() + 1e-6
    mean = part.mean(samples=4000, generator=generator(1))
    assert mean.value.shape == (1,)
    if math.isfinite(theirs.mean()) and not isinstance(ours, StudentT):
        assert abs(mean.value.item() - float(theirs.mean())) <= 5 * mean.error.item() + 1e-9


@each
def test_gradients_of_densities_are_right(ours, theirs):
    part = sharp(ours)
    x = torch.from_numpy(theirs.ppf([0.1, 0.4, 0.9]))[:, None].requires_grad_()
    names = [name for name, _ in part.named_parameters()]

    class Density(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.part = part

        def forward(self, x):
            return self.part.log_prob(x)

    module = Density()

    def call(x, *values):
        named = {f"part.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(module, named, (x,))

    assert torch.autograd.gradcheck(call, (x, *part.parameters()), atol=1e-5)


@pytest.mark.parametrize("name", ["generalized", "gamma", "gamma-falling", "beta", "weibull", "von-mises"])
def test_gradients_of_points_are_right_on_average(name):
    """d/dθ E[f(x)] from points against differences of integrals of the density, within 4 standard errors."""
    part = sharp(CASES[name][0])
    weights = part.source.shift
    direction = torch.randn(weights.shape, generator=generator(7))

    def f(x):
        return torch.sin(x + 0.4).squeeze(-1)  # also once around a circle

    @torch.no_grad()
    def mean(step):
        weights.add_(step * direction)
        x, mass = masses(part, None)
        weights.sub_(step * direction)
        return float((f(x) * mass).sum())

    expected = (mean(1e-3) - mean(-1e-3)) / 2e-3
    blocks = []
    for seed in range(20):
        (gradient,) = torch.autograd.grad(f(part.rsample((1000,), generator=generator(seed))).mean(), weights)
        blocks.append(float(gradient @ direction))
    blocks = torch.tensor(blocks)
    assert abs(blocks.mean() - expected) < 4 * blocks.std() / 20**0.5 + 1e-4


def test_shares_and_directions_are_those_of_scipy():
    dirichlet = Dirichlet(3, [1.5, 2.0, 3.0])
    theirs = scipy.stats.dirichlet([1.5, 2.0, 3.0])
    x = dirichlet.sample((4000,), generator=generator(1))
    expected = torch.from_numpy(theirs.logpdf((x / x.sum(-1, keepdim=True))[:50].T.numpy()))
    close(dirichlet.log_prob(x[:50]), expected, "Dirichlet", {torch.float64: 1e-8})
    close(dirichlet.mean().value, torch.from_numpy(theirs.mean()), "its mean", SHARP)
    assert dirichlet.entropy().value.item() == pytest.approx(theirs.entropy())
    assert scipy.stats.kstest(x[:, 0].detach().numpy(), scipy.stats.beta(1.5, 5.0).cdf).pvalue > 1e-3

    fisher = VonMisesFisher([0.0, 3.0, 4.0], 2.5)
    theirs = scipy.stats.vonmises_fisher([0.0, 0.6, 0.8], 2.5)
    x = fisher.sample((4000,), generator=generator(1))
    close(fisher.log_prob(x[:50]), torch.from_numpy(theirs.logpdf(x[:50].numpy())), "von Mises-Fisher", SHARP)
    assert fisher.entropy().value.item() == pytest.approx(float(theirs.entropy()), abs=1e-5)
    mean = x.mean(dim=0) - fisher.mean().value
    assert (mean.abs() < 5 * x.std(dim=0) / 4000**0.5).all()


# --- parameters of a class or from a context -----------------------------------------------------------------------


def test_every_class_has_parameters_of_its_own():
    part = randomize(DiagonalNormal(2, classes=3), seed=1)
    labels = torch.tensor([0, 2, 1, 2])
    one_hot = torch.nn.functional.one_hot(labels, 3).double()
    x = torch.randn(4, 2, generator=generator(1))
    raw = part.source.start + part.source.shift + part.of_class[labels]
    loc, log_scale = raw.unflatten(-1, (2, 2)).unbind(1)
    expected = torch.distributions.Normal(loc, log_scale.exp()).log_prob(x).sum(-1)
    close(part.log_prob(x, one_hot), expected, "log_prob", {torch.float64: 1e-3})  # logarithms are bounded smoothly
    draws = part.sample((20_000,), one_hot, generator=generator(2))
    assert (draws.mean(0) - loc).abs().max() < 0.1


@pytest.mark.parametrize("cls", [DiagonalNormal, Gumbel, Gamma, VonMises], ids=lambda c: c.__name__)
def test_a_conditional_base_serves_a_conditional_flow(cls):
    base = cls(1, context=2, hidden=(8,))
    flow = randomize(
        Flow(base, Elementwise(Affine(), 1)) if base.support == pf.distributions.StandardNormal(1).support else base,
        seed=1,
    )
    contexts = torch.randn(3, 2, generator=generator(1))
    x = flow.sample((), contexts, generator=generator(2))
    values = [flow.log_prob(x[k], contexts[k]) for k in range(3)]
    close(flow.log_prob(x, contexts), torch.stack(values), "row by row", SHARP)
    if isinstance(base, Independent) and base.icdf_kind == "exact":
        close(flow.icdf(flow.cdf(x, contexts), contexts), x, "icdf(cdf(x))", SHARP)


def test_start_values_are_kept():
    for config in ({"features": 2, "loc": [0.5, -1.0]}, {"features": [2, 1], "loc": [[0.5], [-1.0]]}):
        assert DiagonalNormal(**config).mean().value.flatten().tolist() == [0.5, -1.0]
    assert issubclass(DiagonalNormal, Parametric)


# --- mixtures, cut and resampled bases -----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "learned"), [("full", 18), ("tied", 9), ("diagonal", 6), ("spherical", 2)])
def test_mixtures_have_the_covariances_that_they_learn(kind, learned):
    mixture = randomize(GaussianMixture.spread(3, 2, covariance=kind), seed=1)
    assert mixture.rosenblatt.cholesky.numel() == learned
    covariances = mixture.rosenblatt.factors @ mixture.rosenblatt.factors.mT
    components = torch.distributions.MultivariateNormal(mixture.rosenblatt.loc, covariances)
    weights = torch.distributions.Categorical(logits=mixture.rosenblatt.logits)
    theirs = torch.distributions.MixtureSameFamily(weights, components)
    x = mixture.sample((50,), generator=generator(1))
    close(mixture.log_prob(x), theirs.log_prob(x), "log_prob", SHARP)
    close(mixture.mean().value, theirs.mean, "mean", SHARP)
    first, second = covariances
    off = first - torch.diag(first.diagonal())
    if kind == "tied":
        close(first, second, "both covariances", SHARP)
    if kind in ("diagonal", "spherical"):
        assert off.abs().max() == 0
    if kind == "spherical":
        assert first.diagonal().unique().numel() == 1
    assert mixture.given(x[:, :1]).log_prob(x[:, 1:]).isfinite().all()


def test_a_truncated_normal_is_that_of_scipy():
    part = Truncated(Normal([0.5], [2.0]), [-1.0], [3.0])
    theirs = scipy.stats.truncnorm(-0.75, 1.25, loc=0.5, scale=2.0)
    x = torch.linspace(-0.99, 2.99, 50)
    close(part.log_prob(x[:, None]), torch.from_numpy(theirs.logpdf(x.numpy())), "log_prob", SHARP)
    close(part.cdf(x[:, None])[:, 0], torch.from_numpy(theirs.cdf(x.numpy())), "cdf", SHARP)
    assert scipy.stats.kstest(part.sample((4000,), generator=generator(1))[:, 0].numpy(), theirs.cdf).pvalue > 1e-3
    assert part.log_prob(torch.tensor([[-1.1], [3.1]])).tolist() == [-math.inf, -math.inf]


def test_a_resampled_base_knows_its_normaliser():
    part = randomize(Resampled(StandardNormal(2), hidden=(8,), attempts=4), seed=3, size=3.0)
    x, mass = masses(StandardNormal(2).double(), None)
    exact = float((torch.sigmoid(part._logits(x)) * mass).sum().detach())
    assert not 0.45 < exact < 0.55, "the network must not be constant"
    estimate = part.normaliser(generator=generator(1))
    assert estimate.error < 0.003
    assert abs(estimate.value - exact) < 5 * estimate.error + 1e-6
    close(part._accepted_share(None), torch.tensor(exact), "the lattice of densities", {torch.float64: 2e-3})
    assert (part.exactness, part.is_exact) == ("consistent", False)
    assert Flow(part, Elementwise(Affine(), 2).double()).exactness == "consistent"


def test_one_attempt_in_a_few_is_the_last():
    """What is returned after ``attempts`` follows the formula: a share r of points is taken whatever they are."""
    part = randomize(Resampled(StandardNormal(1), hidden=(8,), attempts=2), seed=1, size=3.0)
    draws = part.sample((40_000,), generator=generator(1))[:, 0]
    x, mass = masses(part, None)
    for power in (1, 2):
        expected = float((x[:, 0].tanh() ** power * mass).sum())
        values = draws.tanh() ** power
        assert abs(values.mean() - expected) < 5 * values.std() / 200 + 2e-3


def test_with_a_generator_the_lattice_moves():
    part = randomize(Resampled(StandardNormal(1), hidden=(8,), points=16), seed=1, size=3.0)
    x = torch.zeros(1, 1)
    values = torch.stack([part.log_prob(x, generator=generator(seed)) for seed in range(200)])
    assert values.std() > 1e-4
    assert torch.equal(part.log_prob(x), part.log_prob(x))
    assert (values.mean() - part.log_prob(x)).abs() < 0.05


# --- torch's own ---------------------------------------------------------------------------------------------------

OBJECTS = [
    torch.distributions.HalfCauchy(torch.tensor([1.0, 2.0])),
    torch.distributions.Pareto(torch.tensor([1.0]), torch.tensor([3.0])),
    torch.distributions.Uniform(torch.tensor([0.0, -1.0]), torch.tensor([1.0, 2.0])),
    torch.distributions.Bernoulli(logits=torch.tensor([0.3, -1.0])),
    torch.distributions.Poisson(torch.tensor([3.0])),
    torch.distributions.VonMises(torch.tensor([0.5]), torch.tensor([2.0])),
    torch.distributions.Dirichlet(torch.tensor([1.0, 2.0, 3.0])),
    torch.distributions.Normal(0.5, 2.0),
    torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[2.0, 0.5], [0.5, 1.0]])),
    torch.distributions.Independent(torch.distributions.Gumbel(torch.zeros(2, 3), torch.ones(2, 3)), 1),
    torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.3, 0.7])),
        torch.distributions.Normal(torch.tensor([-1.0, 1.0]), torch.tensor([0.5, 1.0])),
    ),
    torch.distributions.LogNormal(torch.zeros(2), torch.ones(2)),
]


@pytest.mark.parametrize("theirs", OBJECTS, ids=lambda d: type(d).__name__)
def test_any_object_of_torch_is_a_base(theirs, tmp_path):
    ours = from_torch(theirs).double()
    before = torch.get_rng_state()
    x = ours.sample((5,), generator=generator(1))
    assert torch.equal(x, ours.sample((5,), generator=generator(1)))
    assert torch.equal(before, torch.get_rng_state())
    assert ours.support.contains(x).all()
    plain = x.double() if x.shape[1:] == theirs.batch_shape + theirs.event_shape else x[:, 0].double()
    value = theirs.log_prob(plain)
    expected = value.flatten(1).sum(-1) if value.ndim > 1 else value
    close(ours.log_prob(x).double(), expected.double(), "log_prob", {torch.float64: 1e-6})
    if isinstance(ours, TorchDistribution):
        pf.save(ours, tmp_path / "base.safetensors")
        assert torch.equal(pf.load(tmp_path / "base.safetensors").log_prob(x), ours.log_prob(x))
    else:
        with pytest.raises(ValueError, match=r"^save: .*_AnyTorchDistribution"):
            pf.save(ours, tmp_path / "base.safetensors")


def test_a_base_of_torch_is_learned_inside_its_constraints():
    part = from_torch(torch.distributions.Weibull(torch.tensor([2.0]), torch.tensor([1.5])), learn=True)
    x = part.sample((200,), generator=generator(1))
    optimizer = torch.optim.SGD(part.parameters(), lr=1e-3)
    before = part.log_prob(x).mean()
    (-before).backward()
    optimizer.step()
    assert part.log_prob(x).mean() > before
    assert sum(p.numel() for p in part.parameters()) == 2
    flow = Flow(from_torch(torch.distributions.Laplace(torch.zeros(2), torch.ones(2))), Elementwise(Affine(), 2))
    assert flow.log_prob(flow.sample((3,), generator=generator(1))).isfinite().all()
    float32_is_close(part.double())


# --- means and entropies -------------------------------------------------------------------------------------------


def test_a_flow_has_estimates_with_errors():
    flow = randomize(pf.flows.nsf(1, depth=1, hidden=(8,), bins=4), seed=1, size=GENTLE)
    x, mass = masses(flow, None)
    mean, entropy = flow.mean(generator=generator(1)), flow.entropy(generator=generator(1))
    assert abs(mean.value - (x * mass[:, None]).sum(0)) < 4 * mean.error
    log_mass = torch.where(mass > 0, flow.log_prob(x), 0.0)
    assert abs(entropy.value + (mass * log_mass).sum()) < 4 * entropy.error
    assert 0 < entropy.error < 0.02
    assert torch.equal(mean.value, flow.mean(generator=generator(1)).value)


def test_errors_are_those_of_repetitions():
    part = randomize(pf.flows.nsf(1, 1, depth=1, hidden=(8,), bins=4), seed=1, size=GENTLE)
    context = torch.randn(3, 1, generator=generator(1))
    runs = [part.mean(context, samples=400, generator=generator(seed)) for seed in range(60)]
    values = torch.stack([run.value for run in runs])
    assert values.shape == (60, 3, 1)
    ratio = values.std(dim=0) / torch.stack([run.error for run in runs]).mean(dim=0)
    assert ((ratio > 0.7) & (ratio < 1.4)).all()


def test_the_mean_of_angles_is_a_direction():
    """Around the cut, where the mean of the numbers would lie on the other side."""
    part = Joint([VonMises(1, loc=3.1, concentration=20.0), StandardNormal(1)])
    mean = part.mean(generator=generator(1))
    apart = torch.remainder(mean.value[0] - 3.1 + math.pi, 2 * math.pi) - math.pi
    assert apart.abs() < 5 * mean.error[0] < 0.02
    assert mean.value[1].abs() < 5 * mean.error[1]
    fixed = DiagonalNormal(1, context=1, hidden=(4,)).condition(torch.zeros(1))
    assert fixed.mean().error.item() == 0


def test_a_flow_takes_a_distribution_of_torch():
    flow = pf.Flow(torch.distributions.Laplace(torch.zeros(2), torch.ones(2)), pf.bijections.LU(2))
    assert flow.config["base"] == {
        "type": "TorchDistribution",
        "name": "Laplace",
        "parameters": {"loc": [0.0, 0.0], "scale": [1.0, 1.0]},
    }
    x = torch.tensor([[0.5, -2.0]])
    expected = torch.distributions.Laplace(0.0, 1.0).log_prob(x).sum(dim=-1)
    torch.testing.assert_close(flow.log_prob(x), expected)
    again = pf.build(flow.config)
    torch.testing.assert_close(again.log_prob(x), expected)


def test_parameters_that_are_learned_elsewhere_stay_so():
    loc = torch.zeros(2, requires_grad=True)
    flow = pf.Flow(torch.distributions.Normal(loc, 1.0), pf.bijections.LU(2))
    flow.log_prob(torch.tensor([1.0, 2.0])).backward()
    torch.testing.assert_close(loc.grad, torch.tensor([1.0, 2.0]))

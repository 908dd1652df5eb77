"""Surjections and dequantization: what is exact is exact, and bounds lie below and are tight where they can be."""

import math

import pytest
import torch
from cases import generator, randomize
from torch import Tensor

import pushforward as pf
from pushforward.bijections import (
    LU,
    Abs,
    Ascending,
    Augment,
    Autoregressive,
    Chain,
    Dequantize,
    Elementwise,
    Flip,
    MaxPool,
    Slice,
    Sort,
    Standardize,
    VariationalDequantize,
)
from pushforward.core.config import configurable
from pushforward.core.sorted import Sorted
from pushforward.distributions import Flow, ImportanceWeighted, Normal, StandardNormal, Uniform
from pushforward.testing import bijection_properties, failures
from pushforward.testing.comparison import close
from pushforward.univariate import Affine, GaussianMixtureCDF


def numbers(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def plane(reach=9.0, points=240) -> tuple[Tensor, float]:
    """Midpoints of a grid over a square, and the area of a cell."""
    axis = (torch.arange(points, dtype=torch.float64) + 0.5) * (2 * reach / points) - reach
    return torch.cartesian_prod(axis, axis), (2 * reach / points) ** 2


def noise_given_one():
    layer = Elementwise(Affine(), 1, context=1, hidden=(8,), activation="tanh")
    return Flow(StandardNormal(1), layer)


# --- exact where data go to the latent side without a draw -----------------------------------------------------------

EXACT = {
    "slice": lambda: Flow(Normal([0.5], [0.7]), Slice(2, 1, noise=noise_given_one()).inv),
    "abs": lambda: Flow(Normal([1.0, 0.0]), Chain([Abs(2, learn_signs=True), SoftplusInverse(2), LU(2)]).inv),
    "max-pool": lambda: Flow(StandardNormal((1, 1)), MaxPool((1, 2)).inv),
}


@configurable
class SoftplusInverse(pf.bijections.Bijection):
    domain = Abs(1).codomain

    def __init__(self, features):
        super().__init__()
        self.in_shape = self.out_shape = (features,)

    def _forward_and_ladj(self, x, context):
        rest = torch.log(-torch.expm1(-x))
        return x + rest, -rest.sum(-1)

    def _inverse_and_ladj(self, y, context):
        return torch.nn.functional.softplus(y), torch.nn.functional.logsigmoid(y).sum(-1)


@pytest.mark.parametrize("name", EXACT)
def test_densities_that_go_through_no_draw_are_exact(name):
    flow = randomize(EXACT[name](), seed=3, size=0.5)
    assert flow.is_exact
    x, area = plane()
    density = flow.log_prob(x.reshape(-1, *flow.event_shape)).exp()
    assert (density.sum() * area).item() == pytest.approx(1.0, abs=2e-3)
    sample, log_prob = flow.rsample_and_log_prob((4000,), generator=generator(4))
    close(log_prob, flow.log_prob(sample.detach()), "the density of a sample")
    squashed = torch.tanh(x)
    for mean, expected in zip(
        torch.tanh(sample.flatten(1)).mean(dim=0),
        (squashed * density.flatten()[:, None]).sum(dim=0) * area,
        strict=True,
    ):
        assert mean.item() == pytest.approx(expected.item(), abs=0.05)


def test_a_density_of_pairs_is_exact():
    """Integrated over the smaller entry and the logarithm of the gap, for it is steep beside the diagonal."""
    flow = randomize(Flow(StandardNormal(2), Chain([Sort(2), Ascending(2).inv, LU(2)]).inv), seed=3, size=0.5)
    grid, area = plane(12.0, 300)
    x = torch.stack([grid[:, 0], grid[:, 0] + grid[:, 1].exp()], dim=-1)
    mass = flow.log_prob(x.flip(-1)).exp() * grid[:, 1].exp()
    assert (2 * mass.sum() * area).item() == pytest.approx(1.0, abs=1e-3)
    sample, log_prob = flow.rsample_and_log_prob((1000,), generator=generator(4))
    close(log_prob, flow.log_prob(sample.detach()), "the density of a sample")
    assert (sample[:, 0] > sample[:, 1]).double().mean().item() == pytest.approx(0.5, abs=0.07)


def test_a_density_of_sets_does_not_depend_on_the_order():
    flow = randomize(Flow(StandardNormal(4), Chain([Sort(4), Ascending(4).inv, LU(4)]).inv), seed=2)
    x = numbers(5, 4)
    close(flow.log_prob(x[:, [2, 0, 3, 1]]), flow.log_prob(x), "another order")
    latent_first = Flow(StandardNormal(3), Chain([Ascending(3), Sort(3).inv]))
    assert latent_first.log_prob(torch.zeros(2, 3) + torch.tensor([0.3, 0.1, 0.2])).isfinite().all()


def test_signs_of_a_symmetric_density_are_free():
    """Fair signs are the posterior of a symmetric latent density: the bound is the folded normal's log-density."""
    flow = Flow(StandardNormal(2).double(), Abs(2))
    assert flow.exactness == "bound"
    x = numbers(20, 2).abs()
    expected = 2 * math.log(2) + StandardNormal(2).double().log_prob(x)
    close(flow.log_prob(x, generator=generator(1)), expected, "folded normal")
    assert flow.log_prob(-x[0]) == -math.inf


def test_sorted_uniforms_have_density_n_factorial():
    flow = Flow(Uniform([0.0] * 4, [1.0] * 4).double(), ToSorted(4))
    x = torch.rand(6, 4, generator=generator(2), dtype=torch.float64).sort(dim=-1).values
    close(flow.log_prob(x), torch.full((6,), math.log(24), dtype=torch.float64), "log n!")
    assert flow.log_prob(x.flip(-1)).max() == -math.inf
    assert Sorted().dimension((4,)) == 4
    with pytest.raises(ValueError, match=r"Sorted: a point has 1 or more axes"):
        Sorted().dimension(())


@configurable
class ToSorted(Sort):
    """On the unit cube."""

    domain = pf.core.domain.Interval(0.0, 1.0)


# --- bounds ----------------------------------------------------------------------------------------------------------


def augmented(noise):
    layers = Chain([Augment(1, 1, noise=noise), LU(2), Autoregressive(Affine(), 2, hidden=(8,)), Flip(2)])
    return randomize(Flow(Normal([0.0, 0.3]), layers.inv), seed=6, size=0.45)


def test_a_bound_lies_below_and_importance_weights_close_the_gap():
    """The marginal density of x by quadrature over the augmented dimension, which knows nothing of draws."""
    flow = augmented(Normal([0.0], [4.0]))  # wide, so that weights have a variance
    assert (flow.exactness, ImportanceWeighted(flow).exactness) == ("bound", "bound")
    inner = Flow(flow.base, Chain(list(flow.bijection.bijection.parts)[1:]).inv)
    e = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    for value in (-1.0, 0.2, 1.5):
        pairs = torch.stack([torch.full_like(e, value), e], dim=-1)
        exact = (inner.log_prob(pairs).logsumexp(0) + math.log(80 / 8000)).item()
        x = torch.full((4000, 1), value, dtype=torch.float64)
        one = flow.log_prob(x, generator=generator(1)).mean().item()
        ten = ImportanceWeighted(flow, 10).log_prob(x, generator=generator(2)).mean().item()
        many = ImportanceWeighted(flow, 4000).log_prob(x[:20], generator=generator(3)).mean().item()
        assert one < ten < exact + 0.01
        assert exact - one > 0.02
        assert many == pytest.approx(exact, abs=0.05)


def test_learning_closes_the_gap_of_a_bound():
    flow = augmented(noise_given_one())
    x = flow.sample((256,), generator=generator(1))

    def gap():
        tight = ImportanceWeighted(flow, 200).log_prob(x, generator=generator(2)).mean()
        return (tight - flow.log_prob(x.repeat(8, 1), generator=generator(3)).mean()).item()

    before = gap()
    noise = flow.bijection.bijection.parts[0].noise
    optimizer = torch.optim.Adam(noise.parameters(), 0.03)
    for step in range(60):
        optimizer.zero_grad()
        loss = -flow.log_prob(x, generator=generator(100 + step)).mean()
        loss.backward()
        optimizer.step()
    assert gap() < 0.3 * before


def test_importance_weights_change_no_exact_density():
    flow = randomize(Flow(StandardNormal(2), LU(2)), 1)
    x = numbers(5, 2)
    close(ImportanceWeighted(flow, 7).log_prob(x), flow.log_prob(x), "exact densities")
    assert ImportanceWeighted(flow, 7).is_exact


# --- dequantization --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 3, 100, 256, 1000])
@pytest.mark.parametrize("kind", [Dequantize, VariationalDequantize])
def test_whole_numbers_come_back_exactly(kind, levels, dtype):
    for logit in (False, True):
        options = {} if kind is Dequantize else {"hidden": (8,)}
        part = kind(2, levels=levels, logit=logit, **options).to(dtype)
        if kind is VariationalDequantize:
            randomize(part, 2, dtype, size=1.5)
        x = torch.arange(levels, dtype=dtype)[:, None].expand(-1, 2).repeat(max(1, 20000 // levels), 1)
        y = part(x, generator=generator(1))
        assert part.codomain.contains(y).all()
        assert y.isfinite().all()
        assert torch.equal(part.inverse(y), x)


def test_uniform_dequantization_of_a_uniform_is_tight():
    flow = Flow(Uniform([0.0, 0.0], [1.0, 1.0]).double(), Dequantize(2, levels=5).inv)
    x = torch.randint(5, (50, 2), generator=generator(1)).double()
    close(flow.log_prob(x), torch.full((50,), -2 * math.log(5), dtype=torch.float64), "-log 25")
    assert flow.log_prob(x + 0.5).max() == -math.inf
    assert flow.log_prob(torch.tensor([5.0, 0.0], dtype=torch.float64)) == -math.inf
    assert flow.log_prob(torch.tensor([math.nan, 0.0], dtype=torch.float64)).isnan()


def test_a_density_of_steps_is_exact_the_other_way_round():
    """Noise added to a discrete base has a density that is constant in every cell."""
    inner = Flow(Uniform([0.0], [1.0]).double(), Dequantize(1, levels=4).inv)
    y = torch.tensor([[0.1], [0.9]], dtype=torch.float64)
    part = Dequantize(1, levels=4)
    assert (part.log_det, part.forward_log_det, part.inv.log_det) == ("exact", "bound", "bound")
    x, ladj = part.inverse_and_ladj(y)
    close(inner.log_prob(x) + ladj, torch.zeros(2, dtype=torch.float64), "the uniform density of y")


def test_variational_noise_starts_uniform_and_can_be_better():
    """P(0), P(1) of a steep density: uniform noise bounds them loosely, learned noise closely."""
    steep = Elementwise(GaussianMixtureCDF(2), 1)
    base = randomize(Flow(StandardNormal(1), Chain([Standardize(1), steep]).inv), 3, size=0.8)
    variational = VariationalDequantize(1, levels=3, hidden=(16,), logit=True).double()
    flows = [Flow(base, part.inv) for part in (Dequantize(1, levels=3, logit=True), variational)]
    x = torch.arange(3.0).double()[:, None].repeat(2000, 1)
    start = [flow.log_prob(x, generator=generator(1)).detach().mean() for flow in flows]
    assert (start[0] - start[1]).abs() < 0.05
    exact = ImportanceWeighted(flows[0], 4000).log_prob(x[:3], generator=generator(2)).detach()
    assert exact.exp().sum().item() == pytest.approx(1.0, abs=0.05)
    optimizer = torch.optim.Adam(variational.parameters(), 0.02)
    for step in range(100):
        optimizer.zero_grad()
        (-flows[1].log_prob(x[:300], generator=generator(10 + step)).mean()).backward()
        optimizer.step()
    learned = flows[1].log_prob(x, generator=generator(1)).detach().mean()
    assert exact.mean() - learned < 0.5 * (exact.mean() - start[0])
    assert learned < exact.mean() + 0.02


def test_a_start_from_whole_numbers_leaves_torchs_generator_alone():
    flows = [Flow(StandardNormal(2), Chain([Dequantize(2, levels=8, logit=True), Standardize(2)]).inv) for _ in "ab"]
    x = torch.randint(8, (100, 2), generator=generator(1)).float()
    before = torch.get_rng_state()
    for flow in flows:
        flow.initialize(x)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(flows[0].bijection.bijection.parts[1].mean, flows[1].bijection.bijection.parts[1].mean)


# --- kinds and mistakes ----------------------------------------------------------------------------------------------


def test_kinds_follow_the_direction():
    part = Chain([LU(3), Slice(3, 2), Flip(2)])
    assert (part.log_det, part.forward_log_det, part.inv.log_det, part.inv.inv.log_det) == (
        "bound",
        "exact",
        "exact",
        "bound",
    )
    assert not part.keeps_dimension
    assert part.properties == {"right_inverse"}
    assert part.inv.properties == {"left_inverse"}
    augmented = Chain([Augment(2, 1), LU(3)])
    assert (augmented.log_det, augmented.forward_log_det, augmented.properties) == ("exact", "bound", {"left_inverse"})
    assert Chain([Augment(2, 1), Slice(3, 2)]).log_det == Chain([Augment(2, 1), Slice(3, 2)]).forward_log_det == "bound"
    assert not failures(bijection_properties(part.double(), numbers(8, 3)))


@configurable
class Drawn(pf.core.bijection.StochasticMap):
    log_det = "unbiased"

    def __init__(self):
        super().__init__()
        self.in_shape = self.out_shape = (1,)

    def _forward_and_ladj(self, x, context, generator=None):
        return x, x.new_zeros(x.shape[:-1])

    _inverse_and_ladj = _forward_and_ladj


MISTAKES = [
    (lambda: Slice(3, 3), r"Slice: kept must be below the 3 entries along the axis; got 3"),
    (lambda: Slice(3, 0), r"Slice: kept must be a whole number of at least 1; got 0"),
    (lambda: Slice(3, 1, noise=StandardNormal(1)), r"Slice: noise must have events of shape \(2,\); got \(1,\)"),
    (lambda: Slice(3, 2, noise=noise_given_one()), r"Slice: noise may take the 2 other entries as its context"),
    (lambda: Augment(3, 0), r"Augment: extra must be a whole number of at least 1; got 0"),
    (lambda: Augment(3, 1, axis=1), r"Augment: axis must be one of the axes of events of shape \(3,\)"),
    (lambda: MaxPool((1, 3)), r"MaxPool: kernel=2 must divide the spatial sizes"),
    (lambda: Ascending(0), r"Ascending: features must be a whole number of at least 1; got 0"),
    (lambda: Dequantize(2, levels=1), r"Dequantize: levels must be a whole number of at least 2; got 1"),
    (lambda: VariationalDequantize(2, depth=0), r"VariationalDequantize: depth must be a whole number of at least 1"),
    (lambda: Flow(StandardNormal(2), Abs(2).inv), r"Flow: base lives on Real\(\) but bijection starts from Interval"),
    (lambda: ImportanceWeighted(StandardNormal(2), 0), r"ImportanceWeighted: samples must be .* at least 1; got 0"),
    (
        lambda: ImportanceWeighted(Flow(StandardNormal(1), Drawn())),
        r"ImportanceWeighted: log-densities of Flow are estimates",
    ),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_mistakes_are_refused_in_one_sentence(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()

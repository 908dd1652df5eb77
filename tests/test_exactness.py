"""How exact log-determinants are: maps that estimate or bound them, and what is made of such maps."""

import math

import pytest
import torch
from cases import generator
from torch import Tensor, nn

from pushforward.bijections import LU, Chain, Elementwise, Flip, Permute
from pushforward.core.bijection import StochasticMap
from pushforward.core.config import configurable
from pushforward.core.domain import Integers, Interval
from pushforward.core.exactness import least_exact, qualified
from pushforward.distributions import Flow, StandardNormal, Uniform
from pushforward.evaluate import evaluate
from pushforward.univariate import Affine


@configurable
class StochasticExponential(StochasticMap):
    """y = exp(A) x, whose log-determinant tr A is estimated by Hutchinson's vᵀ A v with random signs v."""

    log_det = "unbiased"
    properties = frozenset({"round_trip"})

    def __init__(self, features: int) -> None:
        super().__init__()
        self.in_shape = self.out_shape = (features,)
        self.matrix = nn.Parameter(torch.randn(features, features, generator=generator(7)) / features)

    def _trace(self, x: Tensor, draw: torch.Generator | None) -> Tensor:
        signs = torch.randint(0, 2, x.shape, generator=draw, dtype=x.dtype) * 2 - 1
        return (signs @ self.matrix * signs).sum(-1)

    def _forward_and_ladj(self, x, context, generator=None):
        return x @ torch.linalg.matrix_exp(self.matrix).t(), self._trace(x, generator)

    def _inverse_and_ladj(self, y, context, generator=None):
        return y @ torch.linalg.matrix_exp(-self.matrix).t(), -self._trace(y, generator)


@configurable
class Floor(StochasticMap):
    """Round down to whole numbers in 0 .. count - 1: a surjection, whose inverse adds uniform noise. The ladj of the
    inverse, zero, is that of a bound: E log p(x + u) ≤ log P(x)."""

    log_det = "bound"
    properties = frozenset()

    def __init__(self, features: int, count: int) -> None:
        super().__init__()
        self.in_shape = self.out_shape = (features,)
        self.domain, self.codomain = Interval(0.0, float(count)), Integers(0, count - 1)

    def _forward_and_ladj(self, x, context, generator=None):
        return x.floor().clamp(max=self.codomain.high), x.new_zeros(x.shape[:-1])

    def _inverse_and_ladj(self, y, context, generator=None):
        noise = torch.rand(y.shape, generator=generator, dtype=y.dtype)
        return y + noise, y.new_zeros(y.shape[:-1])


def estimated(features=3):
    layers = [StochasticExponential(features), LU(features), StochasticExponential(features).inv, Flip(features)]
    return Chain(layers).double()


def test_kinds_combine_to_the_worst():
    assert least_exact() == least_exact("exact", "exact") == "exact"
    assert least_exact("exact", "unbiased") == "unbiased"
    assert least_exact("bound", "unbiased", "exact", "consistent") == "bound"
    assert least_exact("unbiased", "consistent") == "consistent"
    assert LU(2).log_det == Chain([LU(2), Flip(2)]).inv.log_det == "exact"
    assert estimated().log_det == estimated().inv.log_det == "unbiased"
    assert Chain([Floor(2, 4), Permute([1, 0])]).log_det == "bound"
    assert (LU(2).stochastic, estimated().stochastic, estimated().inv.stochastic) == (False, True, True)


def test_flows_follow_their_parts():
    plain = Flow(StandardNormal(3), LU(3))
    flow = Flow(StandardNormal(3).double(), estimated())
    dequantised = Flow(Uniform([0.0, 0.0], [4.0, 4.0]), Floor(2, 4))
    assert [f.exactness for f in (plain, flow, dequantised)] == ["exact", "unbiased", "bound"]
    assert [f.is_exact for f in (plain, flow, dequantised)] == [True, False, False]
    assert [f.stochastic for f in (plain, flow, dequantised)] == [False, True, True]
    assert Flow(flow, Flip(3)).exactness == "unbiased"
    assert Flow(flow, Flip(3)).stochastic


def test_an_unbiased_log_determinant_has_the_right_mean():
    flow = Flow(StandardNormal(3).double(), Chain([StochasticExponential(3), StochasticExponential(3)]).double())
    x = torch.randn(1, 3, generator=generator(1), dtype=torch.float64)
    matrix = torch.linalg.matrix_exp(2 * flow.bijection.parts[0].matrix.detach())
    expected = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), matrix @ matrix.t())
    drawn = flow.log_prob(x.expand(20000, 3), generator=generator(2)).detach()
    error = drawn.std() / math.sqrt(len(drawn))
    assert drawn.std() > 0.1
    assert abs(drawn.mean() - expected.log_prob(x[0])) < 4 * error


def test_a_bound_lies_below_and_is_tight_for_a_uniform():
    base = Uniform([0.0, 0.0], [4.0, 4.0]).double()
    x = base.sample((2000,), generator=generator(3)).floor()
    tight = Flow(base, Floor(2, 4)).log_prob(x, generator=generator(4))
    torch.testing.assert_close(tight, torch.full_like(tight, -2 * math.log(4)))

    @configurable
    class Triangle(Uniform):
        """Density z / 8 on [0, 4]."""

        def _log_probs(self, x, context):
            return (x / 8).log()

    flow = Flow(Triangle([0.0], [4.0]).double(), Floor(1, 4))
    for value in range(4):
        exact = math.log((2 * value + 1) / 16)  # the integral of the density over [value, value + 1]
        expected = 0.125 * 8 * (_xlogx(value + 1) - _xlogx(value) - 1) - math.log(8)
        x = torch.full((20000, 1), float(value), dtype=torch.float64)
        mean = flow.log_prob(x, generator=generator(5)).mean().item()
        assert mean == pytest.approx(expected, abs=0.03)
        assert mean < exact


def _xlogx(x):
    return x * math.log(x) if x else 0.0


def test_a_seed_decides_every_number_and_leaves_torchs_generator_alone():
    flow = Flow(StandardNormal(3).double(), estimated())
    x = torch.randn(5, 3, generator=generator(1), dtype=torch.float64)
    before = torch.get_rng_state()

    def numbers(seed):
        draw = generator(seed)
        y, ladj = flow.bijection.forward_and_ladj(x, generator=draw)
        ladj_back = flow.bijection.inverse_and_ladj(y, generator=draw)[1]
        sample, log_prob = flow.rsample_and_log_prob((5,), generator=draw)
        return ladj, ladj_back, flow.log_prob(x, generator=draw), flow(x, generator=draw), sample, log_prob

    first, second, other = numbers(1), numbers(1), numbers(2)
    assert all(map(torch.equal, first, second))
    assert not any(map(torch.equal, first, other))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(0)
    drawn = flow.log_prob(x)  # without a generator: torch's own
    torch.manual_seed(0)
    assert torch.equal(flow.log_prob(x), drawn)
    torch.testing.assert_close(flow.to_data(flow.to_latent(x, generator=draw_any()), generator=draw_any()), x)


def draw_any():
    return generator(9)


def test_chains_that_recompute_keep_the_draws():
    plain = estimated()
    kept = Chain(list(plain.parts), memory="checkpoint")
    x = torch.randn(5, 3, generator=generator(1), dtype=torch.float64)
    grads = []
    for chain in (plain, kept):
        chain.zero_grad()
        y, ladj = chain.forward_and_ladj(x, generator=generator(3))
        (y.square().sum() + ladj.sum()).backward()
        grads.append([p.grad.clone() for p in chain.parameters()])
    assert all(map(torch.equal, *grads))


def test_a_fixed_context_passes_the_generator_on():
    layers = [StochasticExponential(2), Elementwise(Affine(), 2, context=1, hidden=(4,))]
    flow = Flow(StandardNormal(2), Chain(layers)).double()
    x, context = torch.zeros(5, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    fixed = flow.condition(context)
    assert fixed.exactness == "unbiased"
    expected = flow.log_prob(x, context, generator=generator(1))
    assert torch.equal(fixed.log_prob(x, generator=generator(1)), expected)
    assert not torch.equal(fixed.log_prob(x, generator=generator(2)), expected)


def test_a_bound_scores_its_own_samples_by_the_bound():
    flow = Flow(Uniform([0.0], [4.0]).double(), Floor(1, 4))
    x, log_prob = flow.rsample_and_log_prob((100,), generator=generator(1))
    assert set(x.flatten().tolist()) == {0.0, 1.0, 2.0, 3.0}
    torch.testing.assert_close(log_prob, torch.full_like(log_prob, -math.log(4)))
    assert flow.log_prob(torch.tensor([[0.5], [4.0]], dtype=torch.float64)).tolist() == [-math.inf, -math.inf]


def test_what_is_printed_says_so():
    assert qualified("log-likelihood", "exact") == "log-likelihood"
    assert qualified("log-likelihood", "unbiased") == "log-likelihood (estimate)"
    x = torch.tensor([[0.0], [3.0]], dtype=torch.float64).numpy()
    evaluation = evaluate(Flow(Uniform([0.0], [4.0]).double(), Floor(1, 4)), x)
    assert evaluation.exactness == evaluation.to_dict()["exactness"] == "bound"
    from pushforward.cli.evaluate import evaluation_rows
    from pushforward.evaluate.sections import likelihood_section

    assert evaluation_rows(evaluation)[0][0] == "this model (lower bound)"
    assert "this model (lower bound)" in str(likelihood_section(evaluation))
    exact = evaluate(StandardNormal(1).double(), x)
    assert evaluation_rows(exact)[0][0] == "this model"

"""Distributions of this library as those of torch: shapes, use inside torch's own compositions, and Pyro."""

from __future__ import annotations

import pytest
import torch
import torch.distributions as td

import pushforward as pf
from pushforward.core.torch_view import TorchView
from pushforward.distributions import Categorical, Continuous, MixedTypeModel, MultivariateNormal, StandardNormal

MEAN, COVARIANCE = torch.tensor([1.0, -0.5]), torch.tensor([[1.0, 0.5], [0.5, 0.8]])
CONTEXT = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def flow():
    return pf.flows.maf(2, context=3, depth=1, hidden=(8,))


@pytest.fixture(scope="module")
def normal():
    """A normal with a mean and correlated entries."""
    return MultivariateNormal(MEAN.tolist(), COVARIANCE.tolist())


def test_it_has_the_shapes_of_torch(flow):
    view = flow.as_torch(CONTEXT)
    assert isinstance(view, td.Distribution)
    assert (view.batch_shape, view.event_shape, view.has_rsample) == ((5,), (2,), True)
    wide = view.expand((4, 5))
    assert wide.rsample((3,)).shape == (3, 4, 5, 2)
    assert wide.log_prob(torch.zeros(2)).shape == (4, 5)
    torch.testing.assert_close(wide.log_prob(torch.ones(2))[2], flow.log_prob(torch.ones(2), CONTEXT))
    assert repr(view) == "TorchView(Flow, batch_shape=(5,), event_shape=(2,))"


def test_without_context_the_batch_is_drawn_independently(normal):
    view = normal.as_torch().expand((3,))
    assert view.sample((7,)).shape == (7, 3, 2)
    assert view.log_prob(torch.zeros(7, 1, 2)).shape == (7, 3)
    assert view.sample().unique(dim=0).shape == (3, 2)


def test_its_support_is_that_of_the_distribution():
    ball = pf.Flow(StandardNormal(2), pf.bijections.RadialSquash(2)).as_torch()
    assert ball.support.check(torch.tensor([[0.5, 0.5], [0.9, 0.9]])).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"Expected value argument .* to be within the support"):
        TorchView(ball.distribution, validate_args=True).log_prob(torch.tensor([2.0, 0.0]))
    assert td.Independent(ball.expand((4,)), 1).support.event_dim == 2


def test_it_works_inside_the_compositions_of_torch(normal):
    view, x = normal.as_torch(), torch.randn(6, 4, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(td.Independent(view.expand((4,)), 1).log_prob(x), view.log_prob(x).sum(dim=-1))
    mixture = td.MixtureSameFamily(td.Categorical(torch.ones(3)), view.expand((3,)))
    assert mixture.sample((9,)).shape == (9, 2)
    torch.testing.assert_close(mixture.log_prob(x), view.log_prob(x))
    moved = td.TransformedDistribution(view, [td.AffineTransform(1.0, 2.0, event_dim=1)])
    expected = view.log_prob((x - 1) / 2) - 2 * torch.tensor(2.0).log()
    torch.testing.assert_close(moved.log_prob(x), expected)
    assert moved.rsample((8,)).shape == (8, 2)


def test_the_divergence_is_that_of_the_closed_form(normal):
    view = normal.as_torch()
    other = td.MultivariateNormal(torch.zeros(2), 2 * torch.eye(2))
    same = td.MultivariateNormal(MEAN, COVARIANCE)
    exact = td.kl_divergence(same, other)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert abs(td.kl_divergence(view, other).item() - exact) < 0.06
        assert abs(td.kl_divergence(same, view).item()) < 1e-5
        assert abs(td.kl_divergence(view, view).item()) < 1e-6


def test_discrete_events_are_drawn_without_gradients():
    view = MixedTypeModel([Continuous(), Categorical(2)], hidden=(8,)).as_torch()
    assert not view.has_rsample
    assert view.support.is_discrete
    assert view.sample((4,)).shape == (4, 2)


def test_a_context_that_does_not_fit_is_one_sentence(flow, normal):
    with pytest.raises(ValueError, match=r"Flow: needs a context\. Pass as_torch\(c\)\."):
        flow.as_torch()
    with pytest.raises(ValueError, match=r"MultivariateNormal: takes no context; got one\. Leave it out\."):
        normal.as_torch(CONTEXT)
    with pytest.raises(ValueError, match=r"Flow: context must have shape \(\*batch, 3\); got \(5, 2\)\."):
        flow.as_torch(CONTEXT[:, :2])


def test_pyro_trains_a_model_with_a_flow_as_guide():
    pyro = pytest.importorskip("pyro")
    guide_flow = pf.flows.maf(2, depth=1, hidden=(8,), fast="sampling")
    guide_flow.initialize(torch.randn(500, 2, generator=torch.Generator().manual_seed(0)))

    def model():
        correlated = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
        z = pyro.sample("z", pyro.distributions.MultivariateNormal(torch.zeros(2), correlated))
        pyro.sample("x", pyro.distributions.Normal(z[..., 0], 0.5), obs=torch.tensor(1.0))

    def guide():
        pyro.module("flow", guide_flow)
        pyro.sample("z", guide_flow.as_torch())

    with torch.random.fork_rng():
        pyro.set_rng_seed(0)
        loss = pyro.infer.Trace_ELBO(num_particles=64, vectorize_particles=True, max_plate_nesting=1)
        svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), loss)
        for _ in range(150):
            svi.step()
        mean = guide_flow.sample(4_000).mean(dim=0)
    # The posterior mean of z₁ is 1 / (1 + 0.25), and 0.9 times that of z₂.
    torch.testing.assert_close(mean, torch.tensor([0.8, 0.72]), atol=0.06, rtol=0)
    assert isinstance(guide_flow.as_torch(), TorchView)

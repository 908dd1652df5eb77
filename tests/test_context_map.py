"""Maps of the context: bijections, and networks of any kind that embed it."""

import copy
import math

import pytest
import torch
from cases import generator
from torch import nn

import pushforward as pf
from pushforward.bijections import Coupling, Elementwise, Standardize
from pushforward.core.config import REGISTRY, build, configurable
from pushforward.distributions import Flow, StandardNormal
from pushforward.univariate import Affine

PICTURE = (1, 6, 6)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, 2)
    )


def flow_of(context_map, **options):
    flow = Flow(StandardNormal(2), Elementwise(Affine(), 2, context=2, hidden=(8,)), context_map=context_map, **options)
    for parameter in flow.bijection.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator(1))
    return flow


def pictures(*batch):
    return torch.randn(*batch, *PICTURE, generator=generator(2))


def test_an_embedding_network_reads_contexts_of_its_own_shape():
    flow = flow_of(network(), context_shape=PICTURE).eval()
    assert flow.context_shape == PICTURE
    context = pictures(2, 3)
    x = flow.sample((4,), context)
    assert x.shape == (4, 2, 3, 2)
    log_prob = flow.log_prob(x, context)
    embedded = flow.context_map(context.flatten(0, 1))
    plain = Flow(flow.base, flow.bijection)
    expected = plain.log_prob(x.flatten(1, 2), embedded).reshape(4, 2, 3)
    torch.testing.assert_close(log_prob, expected)
    torch.testing.assert_close(flow.log_prob(x[0, 0, 0], context[0, 0]), log_prob[0, 0, 0])
    torch.testing.assert_close(flow.to_data(flow.to_latent(x, context), context), x)
    assert torch.equal(flow.condition(context).log_prob(x), log_prob)


def test_a_context_of_many_points_goes_through_the_network_once():
    counts = []

    class Counting(torch.nn.Flatten):
        def forward(self, x):
            counts.append(len(x))
            return super().forward(x)

    layer = pf.bijections.Autoregressive(pf.univariate.Affine(), 2, context=4)
    flow = pf.Flow(pf.distributions.StandardNormal(2), layer.inv, context_map=Counting(), context_shape=(2, 2)).eval()
    context = torch.randn(3, 2, 2)
    counts.clear()
    x = flow.sample((5, 7), context)
    assert (x.shape, counts) == ((5, 7, 3, 2), [3])
    log_prob = flow.log_prob(x, context)
    assert counts == [3, 105]
    torch.testing.assert_close(log_prob[4, 6], flow.log_prob(x[4, 6], context))
    flow.train().sample(5, context)  # units dropped at random differ from point to point
    assert counts[-1] == 15


def test_gradients_reach_the_network():
    flow = flow_of(network(), context_shape=PICTURE)
    x, context = torch.randn(5, 2, generator=generator(3)), pictures(5)
    flow.log_prob(x, context).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in flow.context_map[5].parameters())
    history = pf.fit(flow, x.repeat(30, 1), pictures(5).repeat(30, 1, 1, 1), steps=5, seed=0)
    assert math.isfinite(history.records[-1].train)


def test_building_a_flow_leaves_the_network_alone():
    context_map = network()
    context_map[3].eval()
    before = copy.deepcopy(context_map.state_dict())
    state = torch.get_rng_state()
    flow_of_map = Flow(
        StandardNormal(2),
        Elementwise(Affine(), 2, context=2, hidden=(8,)),
        context_map=context_map,
        context_shape=PICTURE,
    )
    assert [m.training for m in context_map] == [True, True, True, False, True, True]
    assert all(torch.equal(before[name], value) for name, value in context_map.state_dict().items())
    assert flow_of_map.context_map is context_map
    Flow(StandardNormal(2), Elementwise(Affine(), 2, context=2), context_map=nn.Linear(3, 2), context_shape=3)
    assert not torch.equal(state, torch.get_rng_state())  # by the new layers alone; see the next line
    state = torch.get_rng_state()
    Flow(flow_of_map.base, flow_of_map.bijection, context_map=context_map, context_shape=PICTURE)
    assert torch.equal(state, torch.get_rng_state())


def test_a_bad_context_spoils_its_own_row_alone():
    flow = flow_of(network(), context_shape=PICTURE).eval()
    x, context = torch.zeros(4, 2), pictures(4)
    spoiled = context.clone()
    spoiled[1, 0, 2, 2], spoiled[2, 0, 0, 0] = math.nan, math.inf
    log_prob = flow.log_prob(x, spoiled)
    assert log_prob[1].isnan()
    assert log_prob[2] == -math.inf
    assert torch.equal(log_prob[[0, 3]], flow.log_prob(x, context)[[0, 3]])


def test_a_bijection_states_its_shape():
    flow = flow_of(Standardize(2), context_shape=2)
    assert flow.context_shape == (2,)
    flow.initialize(torch.randn(50, 2), 3 + torch.randn(50, 2))
    assert flow.context_map.mean.mean().item() == pytest.approx(3, abs=0.5)


@pytest.fixture
def embedding():
    """A registered network, which the registry forgets afterwards."""

    @configurable
    class Averages(nn.Module):
        """Means and maxima of a series, in a class of the user's own."""

        def __init__(self, length: int) -> None:
            super().__init__()
            self.in_shape = (length,)
            self.layer = nn.Linear(length, 2)

        def forward(self, x):
            return self.layer(x).tanh()

    yield Averages
    del REGISTRY["Averages"]


def test_a_registered_network_is_saved(tmp_path, embedding):
    flow = flow_of(embedding(4)).eval()
    assert flow.context_shape == (4,)
    assert flow.config["context_map"] == {"type": "Averages", "length": 4}
    pf.save(flow, tmp_path / "flow.safetensors")
    x, context = torch.randn(5, 2), torch.randn(5, 4)
    assert torch.equal(pf.load(tmp_path / "flow.safetensors").log_prob(x, context), flow.log_prob(x, context))
    twin = build(flow.config)
    twin.load_state_dict(flow.state_dict())
    assert torch.equal(twin.eval().log_prob(x, context), flow.log_prob(x, context))


def test_a_network_that_is_not_registered_is_copied_but_not_saved(tmp_path):
    flow = flow_of(network(), context_shape=PICTURE).eval()
    twin = copy.deepcopy(flow)
    x, context = torch.zeros(3, 2), pictures(3)
    assert torch.equal(twin.log_prob(x, context), flow.log_prob(x, context))
    match = (
        r"^save: Flow holds a torch\.nn\.modules\.container\.Sequential, whose class is not registered\. Wrap it in a "
        r"class of your own that builds it from numbers and strings, and put @configurable above that class\."
    )
    with pytest.raises(ValueError, match=match):
        pf.save(flow, tmp_path / "flow.safetensors")
    outer = Flow(flow, Coupling(Affine(), 2))
    with pytest.raises(ValueError, match=r"^save: Flow holds a torch\.nn"):
        pf.save(outer, tmp_path / "flow.safetensors")

"""One bad row harms nobody else, and a wrong call is refused in the caller's own words."""

import itertools
import math

import properties_distribution as properties
import pytest
import torch
from cases import DISTRIBUTIONS, FLOW_SPECS, context_for, generator, label, random_part

import pushforward as pf
from pushforward.core.domain import Ball

ALL = [*DISTRIBUTIONS, *FLOW_SPECS]
HUGE = {torch.float64: 1e300, torch.float32: 1e30}
# In double precision everywhere, in single precision where two features show all that there is to see.
SITUATIONS = [(c, torch.float64) for c in ALL] + [(c, torch.float32) for c in ALL if c.get("features", 2) == 2]
ROWS, BAD = 6, 2  # one row of the batch is spoiled


def each(configs):
    return pytest.mark.parametrize("config", configs, ids=label)


def each_situation(pairs):
    return pytest.mark.parametrize(("config", "dtype"), pairs, ids=[f"{label(c)}-{dtype}" for c, dtype in pairs])


def conditional(configs):
    return [c for c in configs if c.get("context") or "context_map" in c]


def situation(config, dtype):
    """A randomised distribution, points that it drew itself, and their contexts."""
    distribution = random_part(config, dtype, size=0.4)
    context = context_for(distribution, (ROWS,), generator(1), distribution.context_dtype or dtype)
    x = distribution.sample(() if context is not None else (ROWS,), context, generator=generator(2))
    return distribution, x.to(distribution.dtype or dtype), context


def bad_values(dtype):
    return [math.nan, math.inf, -math.inf, HUGE[dtype], -HUGE[dtype]]


@each_situation(SITUATIONS)
def test_a_bad_row_of_x_changes_nothing_else(config, dtype):
    distribution, x, context = situation(config, dtype)
    for value, feature in itertools.product(bad_values(dtype), sorted({0, x.shape[-1] - 1})):
        spoiled = x.clone()
        spoiled[BAD, ..., feature] = value
        answer = properties.bad_row_harms_nobody(distribution, x, context, spoiled, context)
        if math.isnan(value):
            assert math.isnan(answer), "NaN in x does not stay NaN"
        elif math.isinf(value):
            assert answer == -math.inf, "log_prob at infinity is not -inf"
        else:
            assert answer < -50, f"log_prob of a huge point is {answer}"


@each_situation([(c, dtype) for c, dtype in SITUATIONS if c in conditional(ALL)])
def test_a_bad_row_of_context_changes_nothing_else(config, dtype):
    distribution, x, context = situation(config, dtype)
    for value, feature in itertools.product(bad_values(dtype), range(context.shape[-1])):
        spoiled = context.clone()
        spoiled[BAD, feature] = value
        answer = properties.bad_row_harms_nobody(distribution, x, context, x, spoiled)
        if math.isnan(value):
            assert math.isnan(answer), "NaN in the context does not stay NaN"
        elif math.isinf(value):
            assert answer == -math.inf, "an infinite context does not give -inf"
        else:
            assert not math.isnan(answer), "a huge context gives NaN"


@each(ALL)
def test_rows_of_nan_and_infinity_everywhere_still_answer(config):
    """Whole bad rows, a batch of nothing else, and no batch at all."""
    distribution, x, context = situation(config, torch.float64)
    x[0], x[1], x[2] = math.nan, math.inf, torch.tensor(math.inf).copysign(torch.tensor(-1.0))
    first = distribution.log_prob(x, context)
    assert first.isnan().tolist() == [True] + [False] * (ROWS - 1)
    assert (first[1:3] == -math.inf).all()
    mixed = x[0].clone()
    mixed[-1] = math.inf  # with one feature: only that; otherwise beside a NaN, which wins
    known = None if context is None else context[0]
    alone = distribution.log_prob(mixed, known)
    assert alone.shape == ()
    assert alone.isnan().item() == (x.shape[-1] > 1)


@each(ALL)
def test_a_huge_point_in_the_loss_leaves_gradients_finite_or_its_own(config):
    """Outliers are data: 10⁶ standard deviations away the loss is large, and nothing is NaN."""
    distribution, x, context = situation(config, torch.float64)
    x[BAD] = 1e6
    log_prob = distribution.log_prob(x, context)
    inside = log_prob.isfinite()
    assert inside.sum() >= ROWS - 1
    if log_prob.requires_grad:
        log_prob[inside].sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in distribution.parameters())


@each(conditional(ALL))
def test_a_bad_context_spoils_its_own_samples_only(config):
    distribution, _, context = situation(config, torch.float64)
    for value in (math.nan, math.inf):
        spoiled = context.clone()
        spoiled[BAD, 0] = value
        with torch.set_grad_enabled(distribution.reparametrized):
            x, log_prob = distribution.rsample_and_log_prob((3,), spoiled, generator=generator(3))
            expected = distribution.rsample((3,), context, generator=generator(3))
        good = torch.arange(ROWS) != BAD
        properties.assert_same(x[:, good], expected[:, good], 1e-12, "samples beside a bad context")
        assert x[:, BAD].isnan().all()
        assert log_prob[:, BAD].isnan().all()
        assert log_prob[:, good].isfinite().all()
        if distribution.reparametrized:
            (torch.where(good, log_prob, 0.0).sum() + x[:, good].sum()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in distribution.parameters())


@each([c for c in DISTRIBUTIONS if c["type"] == "Uniform" or "RadialSquash" in str(c)])
def test_a_point_outside_the_support_changes_nothing_else(config):
    distribution, x, context = situation(config, torch.float64)
    edge = distribution.support
    for value in (7.0, 1.0 if isinstance(edge, Ball) else -3.0):
        spoiled = x.clone()
        spoiled[BAD] = value
        assert properties.bad_row_harms_nobody(distribution, x, context, spoiled, context) == -math.inf


@each(ALL)
def test_memory_layout_does_not_matter(config):
    distribution, x, context = situation(config, torch.float64)
    expected = distribution.log_prob(x, context)
    wide = x.repeat_interleave(2, dim=-1)[..., ::2]
    turned = x.movedim(0, -1).contiguous().movedim(-1, 0)
    known = None if context is None else context.t().contiguous().t()
    for view in (wide, turned):
        properties.assert_same(
            distribution.log_prob(view, known).detach(), expected.detach(), 1e-12, "a non-contiguous batch"
        )


# --- wrong calls ---------------------------------------------------------------------------------------------------


def calls(flow, x, context):
    """Every public way in."""
    given = {"context": context}
    return {
        "log_prob": lambda: flow.log_prob(x, context),
        "forward": lambda: flow(x, context),
        "sample": lambda: flow.sample((2,), **given),
        "rsample": lambda: flow.rsample((2,), **given),
        "rsample_and_log_prob": lambda: flow.rsample_and_log_prob((2,), **given),
        "to_latent": lambda: flow.to_latent(x, context),
        "to_data": lambda: flow.to_data(x, context),
        "initialize": lambda: flow.initialize(x, context),
    }


@pytest.mark.parametrize("way", calls(None, None, None))
@each([c for c in FLOW_SPECS if c["features"] == 2])
def test_a_forgotten_or_unexpected_context_is_refused_by_flow(config, way):
    flow = random_part(config)
    x = torch.zeros(3, 2, dtype=torch.float64)
    if flow.context_shape is None:
        with pytest.raises(ValueError, match=r"^Flow: built without context; got one\. Leave it out, or build with"):
            calls(flow, x, torch.zeros(3, 2, dtype=torch.float64))[way]()
    else:
        with pytest.raises(ValueError, match=r"^Flow: built with context of shape \(2,\); got none\. Pass context=\."):
            calls(flow, x, None)[way]()


@each([c for c in DISTRIBUTIONS if c["type"] != "Flow" and "context" not in c])
def test_an_unexpected_context_is_refused_by_every_distribution(config):
    distribution = random_part(config)
    x = torch.zeros(distribution.event_shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"^{config['type']}: built without context; got one"):
        distribution.log_prob(x, torch.zeros(1))
    with pytest.raises(ValueError, match=f"^{config['type']}: built without context; got one"):
        distribution.condition(torch.zeros(1))


@each(ALL)
def test_another_dtype_is_refused_naming_both(config):
    distribution, x, context = situation(config, torch.float64)
    owner = type(distribution).__name__
    with pytest.raises(
        ValueError, match=rf"^{owner}: x is torch\.float32 but the weights are torch\.float64\. Convert"
    ):
        distribution.log_prob(x.float(), context)
    if context is not None:
        with pytest.raises(
            ValueError, match=rf"^{owner}: context is torch\.float32 but the weights are torch\.float64"
        ):
            distribution.log_prob(x, context.float())
        with pytest.raises(
            ValueError, match=rf"^{owner}: context is torch\.float32 but the weights are torch\.float64"
        ):
            distribution.sample((), context.float())


@pytest.mark.parametrize("way", ["log_prob", "to_latent", "to_data"])
def test_a_wrong_shape_is_refused_by_flow(way):
    flow = pf.flows.nsf(3, 2, depth=1, hidden=(4,))
    with pytest.raises(ValueError, match=r"^Flow: [xz] must have shape \(\*batch, 3\); got \(5, 4\)\.$"):
        calls(flow, torch.zeros(5, 4), torch.zeros(5, 2))[way]()
    with pytest.raises(ValueError, match=r"^Flow: context must have shape \(\*batch, 2\); got \(5, 3\)\.$"):
        calls(flow, torch.zeros(5, 3), torch.zeros(5, 3))[way]()
    with pytest.raises(
        ValueError, match=r"^Flow: the batch shapes of [xz] \(5,\) and context \(4,\) do not broadcast\.$"
    ):
        calls(flow, torch.zeros(5, 3), torch.zeros(4, 2))[way]()

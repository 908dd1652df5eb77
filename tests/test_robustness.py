"""One bad row harms nobody else, and a wrong call is refused in the caller's own words."""

import math

import pytest
import torch
from cases import DISTRIBUTIONS, FLOW_SPECS, PLAIN_FLOWS, context_for, exhaustive, firsts, generator, label, random_part

import pushforward as pf
from pushforward.core.domain import Ball
from pushforward.testing.rows import bad_row_harms_nobody, close_gradients

# Bad rows are screened where distributions are called, the same way in all: one flow of each name, without context and
# with it, in double precision, and one of each name in single precision.
# (the other examples of distributions and the other flows without context in `make test-all`).
SITUATIONS = [
    *((c, torch.float64) for c in [*firsts(DISTRIBUTIONS), *firsts(PLAIN_FLOWS)]),
    *((c, torch.float32) for c in firsts(PLAIN_FLOWS) if c["flow"] in ("circular_nsf", "maf", "nsf", "sos")),
]
ALL_SITUATIONS = [
    *((c, torch.float64) for c in [*DISTRIBUTIONS, *firsts(FLOW_SPECS), *firsts(PLAIN_FLOWS)]),
    *((c, torch.float32) for c in firsts(PLAIN_FLOWS)),
]
HUGE = {torch.float64: 1e300, torch.float32: 1e30}
ROWS, BAD = 6, 2  # one row of the batch is spoiled
GOOD = torch.arange(ROWS) != BAD


def each(configs):
    return pytest.mark.parametrize("config", configs, ids=label)


def situation(config, dtype):
    """A randomised distribution, points that it drew itself, and their contexts."""
    distribution = random_part(config, dtype, size=0.4)
    context = context_for(distribution, (ROWS,), generator(1), distribution.context_dtype or dtype)
    x = distribution.sample(() if context is not None else (ROWS,), context, generator=generator(2))
    return distribution, x.to(distribution.dtype or dtype), context


def spoiled(rows, value, feature):
    rows = rows.clone()
    rows[BAD, ..., feature] = value
    return rows


def bad_x(distribution, x, context):
    """NaN stays NaN, infinities have no density, huge points next to none; nobody else notices."""
    huge = HUGE[x.dtype]
    places = [(math.nan, 0), (math.nan, -1), (math.inf, 0), (-math.inf, -1), (huge, 0), (-huge, -1)]
    rows = [(spoiled(x, value, feature), context) for value, feature in places]
    for (value, _), answer in zip(places, bad_row_harms_nobody(distribution, x, context, rows), strict=True):
        if math.isnan(value):
            assert math.isnan(answer), "NaN in x does not stay NaN"
        elif math.isinf(value):
            assert answer == -math.inf, "log_prob at infinity is not -inf"
        else:
            assert answer < -50, f"log_prob of a huge point is {answer}"


def bad_context(distribution, x, context):
    """The same for a context, but that a huge one may give any density."""
    huge = HUGE[context.dtype]
    places = [(math.nan, 0), (math.inf, -1), (-math.inf, 0), (huge, -1), (-huge, 0)]
    rows = [(x, spoiled(context, value, feature)) for value, feature in places]
    for (value, _), answer in zip(places, bad_row_harms_nobody(distribution, x, context, rows), strict=True):
        if math.isnan(value):
            assert math.isnan(answer), "NaN in the context does not stay NaN"
        elif math.isinf(value):
            assert answer == -math.inf, "an infinite context does not give -inf"
        else:
            assert not math.isnan(answer), "a huge context gives NaN"


def only_bad_rows(distribution, x, context):
    """Whole bad rows, a batch of nothing else, and no batch at all."""
    x = x.clone()
    x[0], x[1], x[2] = math.nan, math.inf, -math.inf
    first = distribution.log_prob(x, context)
    assert first.isnan().tolist() == [True] + [False] * (ROWS - 1)
    assert (first[1:3] == -math.inf).all()
    mixed = x[0].clone()
    mixed[(-1,) * mixed.ndim] = math.inf  # with one feature: only that; otherwise beside a NaN, which wins
    alone = distribution.log_prob(mixed, None if context is None else context[0])
    assert alone.shape == ()
    assert alone.isnan().item() == (mixed.numel() > 1)


def an_outlier_in_the_loss(distribution, x, context):
    """Outliers are data: 10⁶ standard deviations away the loss is large, and no gradient is NaN."""
    log_prob = distribution.log_prob(spoiled(x, 1e6, slice(None)), context)
    inside = log_prob.isfinite()
    assert inside.sum() >= ROWS - 1
    if log_prob.requires_grad:
        weights = list(distribution.parameters())
        gradients = torch.autograd.grad(log_prob[inside].sum(), weights, allow_unused=True)
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def samples_beside_a_bad_context(distribution, x, context):
    """A bad context spoils its own samples only."""
    for value in (math.nan, math.inf):
        with torch.set_grad_enabled(distribution.reparametrized):
            y, log_prob = distribution.rsample_and_log_prob((3,), spoiled(context, value, 0), generator=generator(3))
            expected = distribution.rsample((3,), context, generator=generator(3))
        close_gradients(y[:, GOOD], expected[:, GOOD], 1e-12, "samples beside a bad context")
        assert y[:, BAD].isnan().all()
        assert log_prob[:, BAD].isnan().all()
        assert log_prob[:, GOOD].isfinite().all()
        if distribution.reparametrized:
            loss = torch.where(GOOD, log_prob, 0.0).sum() + y[:, GOOD].sum()
            gradients = torch.autograd.grad(loss, list(distribution.parameters()), allow_unused=True)
            assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def memory_layout(distribution, x, context):
    """Strides do not matter."""
    expected = distribution.log_prob(x, context).detach()
    wide = x.repeat_interleave(2, dim=-1)[..., ::2]
    turned = x.movedim(0, -1).contiguous().movedim(-1, 0)
    strided = None if context is None else context.t().contiguous().t()
    for view in (wide, turned):
        actual = distribution.log_prob(view, strided).detach()
        close_gradients(actual, expected, 1e-12 if x.dtype == torch.float64 else 1e-5, "a non-contiguous batch")


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        pytest.param(c, dtype, id=f"{label(c)}-{dtype}", marks=[exhaustive] * ((c, dtype) not in SITUATIONS))
        for c, dtype in ALL_SITUATIONS
    ],
)
def test_a_bad_row_changes_nothing_else(config, dtype, subtests):
    distribution, x, context = situation(config, dtype)
    checks = [bad_x, only_bad_rows, an_outlier_in_the_loss, memory_layout]
    checks += [bad_context, samples_beside_a_bad_context] if context is not None and dtype == torch.float64 else []
    for check in checks:
        with subtests.test(check.__name__):
            check(distribution, x, context)


@each([c for c in DISTRIBUTIONS if c["type"] == "Uniform" or "RadialSquash" in str(c)])
def test_a_point_outside_the_support_changes_nothing_else(config):
    distribution, x, context = situation(config, torch.float64)
    for value in (7.0, 1.0 if isinstance(distribution.support, Ball) else -3.0):
        rows = [(spoiled(x, value, slice(None)), context)]
        assert bad_row_harms_nobody(distribution, x, context, rows) == [-math.inf]


# --- wrong calls ---------------------------------------------------------------------------------------------------


def calls(flow, x, context):
    """Every public way in."""
    options = {"context": context}
    return {
        "log_prob": lambda: flow.log_prob(x, context),
        "forward": lambda: flow(x, context),
        "sample": lambda: flow.sample((2,), **options),
        "rsample": lambda: flow.rsample((2,), **options),
        "rsample_and_log_prob": lambda: flow.rsample_and_log_prob((2,), **options),
        "to_latent": lambda: flow.to_latent(x, context),
        "to_data": lambda: flow.to_data(x, context),
        "initialize": lambda: flow.initialize(x, context),
    }


@pytest.mark.parametrize("way", calls(None, None, None))
@pytest.mark.parametrize("context", [0, 2])
def test_a_forgotten_or_unexpected_context_is_refused_by_flow(context, way):
    flow = random_part({"flow": "nsf", "features": 2, "context": context})
    x = torch.zeros(3, 2, dtype=torch.float64)
    if flow.context_shape is None:
        with pytest.raises(ValueError, match=r"^Flow: built without context; got one\. Leave it out, or build with"):
            calls(flow, x, torch.zeros(3, 2, dtype=torch.float64))[way]()
    else:
        with pytest.raises(ValueError, match=r"^Flow: built with context of shape \(2,\); got none\. Pass context=\."):
            calls(flow, x, None)[way]()


@each([c for c in DISTRIBUTIONS if c["type"] != "Flow" and random_part(c).context_shape is None])
def test_an_unexpected_context_is_refused_by_every_distribution(config):
    distribution = random_part(config)
    x = torch.zeros(distribution.event_shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"^{config['type']}: built without context; got one"):
        distribution.log_prob(x, torch.zeros(1))
    with pytest.raises(ValueError, match=f"^{config['type']}: built without context; got one"):
        distribution.condition(torch.zeros(1))


@each([*firsts(DISTRIBUTIONS), *firsts(PLAIN_FLOWS)[:2]])
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

"""Transformers as conditioners, kept keys and values, inverses by Jacobi iteration, and the flows made of them."""

import pytest
import torch
from cases import generator, randomize
from torch import nn

from pushforward.bijections import Autoregressive, jacobi
from pushforward.bijections.jacobi import jacobi_inverse
from pushforward.bijections.layout import embed
from pushforward.core.execution_mode import execution
from pushforward.distributions.row_blocks import row_width
from pushforward.flows import maf, transformer_flow
from pushforward.networks import BlockPass, CausalTransformer, attention
from pushforward.univariate import Affine, CircularRationalQuadratic, LogisticMixtureCDF, PerFeature, RationalQuadratic

OPTIONS = [
    {"features": 5, "heads": 1},
    {"features": 6, "context": 2, "channels": 2, "group": 2, "frequencies": 2},
    {"features": 6, "group": 3, "expansion": 1},
    {"features": 4, "group": 4, "context": 1},
]


OPTIONS_THAT_ARE_NONE = [
    ({"heads": 3}, r"^transformer_flow: heads must divide the width; got 3 heads and hidden widths of 64\."),
    ({"frequencies": -5}, r"^transformer_flow: frequencies must be a whole number of at least 0; got -5\."),
    ({"hidden": (64, 32)}, r"^transformer_flow: all blocks need equal widths; got hidden=\(64, 32\)\."),
    ({"solver": "zzz"}, r"^transformer_flow: solver must be one of 'sequential', 'jacobi'; got 'zzz'\."),
    ({"bins": -3}, r"^transformer_flow: bins must be a whole number of at least 2; got -3\."),
    (
        {"univariate": "spline", "components": 0},
        r"^transformer_flow: components must be a whole number of at least 1; got 0\.",
    ),
    ({"univariate": "affine", "bound": -1.0}, r"^transformer_flow: bound must be a positive number; got -1\.0\."),
    ({"dropout": 2.0}, r"^transformer_flow: dropout must lie in \[0, 1\); got 2\.0\."),
    ({"activation": "sine"}, r"^transformer_flow: activation must be one of 'relu', .*; got 'sine'\."),
    ({"hidden": ()}, r"^transformer_flow: hidden must list at least one layer width; got \(\)\."),
]


def network(options):
    return randomize(CausalTransformer(num_params=3, hidden=(8, 8), **{"heads": 2, **options}))


def points(net, n=5):
    x = torch.randn(net.features * net.channels, n, dtype=torch.float64, generator=generator(1))
    c = torch.randn(net.context, n, dtype=torch.float64, generator=generator(2)) if net.context else None
    return x, c


def by_steps(net, x, context):
    steps, inputs = net.start(x[: net.features], context), x.split(net.channels)
    return torch.stack([steps.step(None), *[steps.step(piece) for piece in inputs[:-1]]], dim=1)


def by_blocks(net, x, context, size, repeats=2):
    """Each block more than once, first with wrong values of its features."""
    passes, pieces = net.start_blocks(x[: net.features], context), []
    for start in range(0, net.features, size):
        stop = min(start + size, net.features)
        wrong = torch.cat([x[: start * net.channels], torch.randn_like(x[start * net.channels :])])
        passes.params(wrong, start, stop)
        for _ in range(repeats - 1):
            last = passes.params(x, start, stop)
        pieces.append(last)
    return torch.cat(pieces, dim=1)


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_steps_and_blocks_are_the_parallel_pass(options, recording):
    net = network(options)
    x, context = points(net)
    with torch.set_grad_enabled(recording):
        expected = net(x, context)
        torch.testing.assert_close(by_steps(net, x, context), expected, rtol=1e-12, atol=1e-12)
        for size in (1, 2, 4, net.features):
            torch.testing.assert_close(by_blocks(net, x, context, size), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS)
def test_features_depend_on_the_groups_before_theirs_and_on_the_context(options):
    net = network(options)
    x, context = points(net, 1)
    size = torch.autograd.functional.jacobian(lambda x: net(x, context), x)[..., 0].abs().sum(dim=(0, 2))
    depends = size.unflatten(1, (-1, net.channels)).sum(dim=-1) > 0  # (features, features)
    group = torch.arange(net.features) // net.group
    assert torch.equal(depends, group[:, None] > group)
    if context is not None:
        on_context = torch.autograd.functional.jacobian(lambda c: net(x, c), context)[..., 0].abs().sum(dim=(0, 2))
        assert (on_context > 0).all()


def test_it_starts_where_other_conditioners_start():
    layer = Autoregressive(RationalQuadratic(4), 3, context=1, hidden=(8,), conditioner="transformer")
    x = torch.randn(4, 3, generator=generator(1))
    y, ladj = layer.forward_and_ladj(x, torch.randn(4, 1))
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(ladj, torch.zeros(4), atol=1e-6, rtol=0)


def test_huge_entries_of_one_row_spoil_no_gradient():
    layer = randomize(Autoregressive(Affine(), 3, hidden=(8,), conditioner="transformer"), dtype=torch.float32)
    x = torch.tensor([[1e30, -1e30, 1e30], [0.1, 0.2, 0.3]])
    y, ladj = layer.forward_and_ladj(x)
    assert ladj.isfinite().all()
    grads = torch.autograd.grad(y[1].sum() + ladj.sum(), list(layer.parameters()))
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("mask", [None, (3, 4), (7, 3, 4)])
def test_fused_attention_gets_no_more_points_than_it_can_take(mask, monkeypatch):
    query, key, value = (torch.randn(7, k, 2, generator=generator(k)) for k in (3, 4, 4))
    visible = None if mask is None else torch.ones(mask, dtype=torch.bool).tril(1)
    whole, sizes = attention._plainly(query, key, value, visible), []
    fused = attention.F.scaled_dot_product_attention

    def counted(query, *args, **kwargs):
        sizes.append(query.shape[1])
        return fused(query, *args, **kwargs)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", counted)
    monkeypatch.setattr(attention, "MOST_ROWS", 3, raising=False)
    torch.testing.assert_close(attention._fused(query, key, value, visible), whole)
    assert sizes == [3, 3, 1]


def test_fused_attention_has_the_derivatives_of_plain_products():
    leaves = [
        torch.randn(3, attention.MANY_TOKENS, 4, dtype=torch.float64, generator=generator(k)).requires_grad_()
        for k in range(3)
    ]
    visible = attention.causal_mask(attention.MANY_TOKENS, attention.MANY_TOKENS, leaves[0].device)
    weight = torch.randn(3, attention.MANY_TOKENS, 4, dtype=torch.float64, generator=generator(4))
    results = []
    for function in (attention.attend, attention._plainly):
        out = function(*leaves, visible)
        assert ("Fused" in type(out.grad_fn).__name__) == (function is attention.attend)
        first = torch.autograd.grad((weight * out).sum(), leaves, retain_graph=True)
        graph = torch.autograd.grad((weight * out).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in graph), leaves)
        results.append([out, *first, *second])
    with torch.no_grad():
        results.append([attention.attend(*leaves, visible), *results[0][1:]])
    for other in results[1:]:
        for got, expected in zip(results[0], other, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_exponentials_are_in_float32_where_products_are_not():
    net = network(OPTIONS[0]).float()
    x = points(net)[0].float()
    with execution(matmul_dtype="bf16"), torch.no_grad():
        half = net(x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, net(x).detach(), rtol=0.05, atol=0.05)
    query, key, value = (3 * torch.randn(2, 40, 8, generator=generator(k)) for k in range(3))
    exact = attention._plainly(*(t.bfloat16().double() for t in (query, key, value)), None)
    rounded = attention._plainly(*(t.bfloat16().requires_grad_() for t in (query, key, value)), None)
    assert (rounded.double() - exact).abs().max() < 0.04 * exact.abs().max()


def test_memory_counts_the_tokens():
    layer = Autoregressive(Affine(), 64, hidden=(16, 16, 16), conditioner="transformer")
    assert row_width(layer) >= 64 * 16 * 6


# --- samples ---------------------------------------------------------------------------------------------------------

MAPS = {
    "affine": lambda: Affine(),
    "spline": lambda: RationalQuadratic(4),
    "angles beside reals": lambda: PerFeature([CircularRationalQuadratic(3), Affine()], [2, 5]),
}


def naive_inverse(layer, y, context):
    """One parallel pass for each feature."""
    x = layer.domain.anchor(y).expand_as(y).clone()
    for j in range(y.shape[-1]):
        params = layer.conditioner(embed(layer.domain, x.t()), context.t())[:, j : j + 1]
        x[:, j : j + 1] = layer._invert_block(y.t()[j : j + 1], params, j, j + 1).t()
    return x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("conditioner", ["plain", "transformer"])
@pytest.mark.parametrize("name", MAPS)
def test_samples_are_the_same_with_kept_keys_without_and_by_jacobi(name, conditioner, dtype):
    layer = Autoregressive(MAPS[name](), 7, context=2, hidden=(16, 16), conditioner=conditioner)
    layer = randomize(layer, dtype=dtype, size=0.4)
    x = layer.domain.example((20, 7), generator(1)).to(dtype)
    context = torch.randn(20, 2, generator=generator(2)).to(dtype)
    with torch.no_grad():
        y = layer(x, context)
        kept, without = layer.inverse(y, context), naive_inverse(layer, y, context)
        layer.solver, limit = "jacobi", 1e-5 if dtype == torch.float32 else 1e-12
        for layer.block in (1, 3, 7):
            solved, ladj = layer.inverse_and_ladj(y, context)
            torch.testing.assert_close(solved, without, rtol=limit, atol=limit)
            torch.testing.assert_close(-ladj, layer.forward_and_ladj(solved, context)[1], rtol=10 * limit, atol=limit)
    torch.testing.assert_close(kept, without, rtol=limit, atol=limit)


class Shifts(BlockPass):
    """The parameter of each feature is a function of the one before it."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def params(self, inputs, start, stop):
        assert inputs.isfinite().all(), "the network sees values that are not finite"
        self.calls += 1
        before = torch.cat([torch.zeros_like(inputs[:1]), inputs[:-1]])
        return self.function(before)[None, start:stop]


def solved(y, function, invert, block, start=0.0):
    passes = Shifts(function)
    x = jacobi_inverse(y, passes, lambda y, p, *_: invert(y, p[0]), lambda x: x, torch.full_like(y, start), block)
    return x, passes.calls


def one_by_one(y, function, invert):
    rows = [invert(y[0], function(torch.zeros_like(y[0])))]
    for y_j in y[1:]:
        rows.append(invert(y_j, function(rows[-1])))
    return torch.stack(rows)


@pytest.mark.parametrize("block", [1, 3, 8])
def test_the_iteration_ends_only_where_every_equation_holds(block):
    """An error far below any loose tolerance grows tenfold from each feature to the next."""
    y = torch.zeros(8, 2, dtype=torch.float64)
    y[0, 1] = 1e-9
    x, _ = solved(y, lambda before: 10 * before, torch.add, block)
    torch.testing.assert_close(x, one_by_one(y, lambda before: 10 * before, torch.add), rtol=1e-12, atol=0)
    assert x[-1, 1] > 0.009


@pytest.mark.parametrize("block", [3, 8])
def test_trial_values_that_overflow_spoil_nothing(block):
    """Trial values are far from the answer: their exponentials are infinite and their differences NaN."""

    def steep(before):
        return torch.where(before.isnan(), torch.nan, torch.where(before.abs() < 0.5, 0.0, 1e3))

    def invert(y, rate):
        return y * rate.exp() - torch.expm1(rate)  # y where the rate is 0, -inf or NaN where it is 1000

    y = 0.4 * torch.rand(8, 6, generator=generator(3)) - 0.2
    x, _ = solved(y, steep, invert, block, start=5.0)
    torch.testing.assert_close(x, y, rtol=0, atol=1e-7)
    y[2, :3], y[4, 3:5] = 0.7, torch.nan  # where the answers overflow as well
    expected = one_by_one(y, steep, invert)
    assert not expected[:, :5].isfinite().all(dim=0).any()
    x, _ = solved(y, steep, invert, block, start=5.0)
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-7, equal_nan=True)


def test_weak_dependences_take_few_passes_and_strong_ones_none_too_many():
    y = torch.randn(64, 3, dtype=torch.float64, generator=generator(4))
    x, calls = solved(y, lambda before: 0.01 * before.sin(), torch.add, 64)
    assert calls < 12
    torch.testing.assert_close(x, one_by_one(y, lambda before: 0.01 * before.sin(), torch.add), rtol=1e-14, atol=1e-14)
    x, calls = solved(y, lambda before: 1.5 * before, torch.add, 64)
    assert (x, calls) == (None, 16)


def test_what_takes_too_many_iterations_is_solved_one_by_one(monkeypatch):
    layer = randomize(Autoregressive(Affine(), 8, hidden=(16,), conditioner="transformer", solver="jacobi", block=8))
    y = torch.randn(5, 8, dtype=torch.float64, generator=generator(5))
    monkeypatch.setattr(jacobi, "LEAST_ITERATIONS", 0)
    with torch.no_grad():
        x = layer.inverse(y)
        layer.solver = "sequential"
        assert torch.equal(x, layer.inverse(y))


def test_a_row_that_is_nan_leaves_the_others_alone():
    layer = randomize(Autoregressive(Affine(), 5, hidden=(16,), conditioner="transformer", solver="jacobi"))
    y = torch.randn(4, 5, dtype=torch.float64, generator=generator(6))
    spoiled = y.clone()
    spoiled[1, 2], spoiled[2, 1] = torch.nan, torch.inf
    with torch.no_grad():
        x, whole = layer.inverse(spoiled), layer.inverse(y)
        layer.solver = "sequential"
        expected = layer.inverse(spoiled)
    torch.testing.assert_close(x[[0, 3]], whole[[0, 3]])
    torch.testing.assert_close(x, expected, equal_nan=True)
    assert x[1].isnan().tolist() == [False, False, True, True, True]


def test_units_dropped_at_random_are_not_iterated_over():
    layer = Autoregressive(Affine(), 3, hidden=(8,), conditioner="transformer", dropout=0.5, solver="jacobi")
    like = torch.zeros(3, 1)
    with torch.no_grad():
        assert not layer.train()._iterates(like)
        assert layer.eval()._iterates(like)
    assert not layer._iterates(like)  # gradients are recorded


@pytest.mark.parametrize("options", [{"heads": 2}, {"heads": 1, "group": 2, "frequencies": 1}])
@pytest.mark.parametrize("name", MAPS)
def test_gradients_token_by_token_are_those_of_the_loop(name, options, monkeypatch):
    """Of samples and of log-determinants, whatever the solver."""
    univariate, features = MAPS[name](), 6 if name != "angles beside reals" else 7
    options = {**options, "group": 7 if features == 7 and "group" in options else options.get("group", 1)}
    layer = Autoregressive(
        univariate, features, context=2, hidden=(8, 8), conditioner="transformer", conditioner_options=options
    )
    layer = randomize(layer, size=0.5)
    x = layer.domain.example((5, features), generator(7)).double()
    context = torch.randn(5, 2, dtype=torch.float64, generator=generator(8)).requires_grad_()
    y = layer(x, context).detach().requires_grad_()
    grads = []
    for layer.solver, reverse in (("sequential", True), ("jacobi", True), ("sequential", False)):
        monkeypatch.setattr(CausalTransformer, "has_reverse_pass", reverse)
        values, ladj = layer.inverse_and_ladj(y, context)
        loss = (values * torch.linspace(0.5, 1.5, features, dtype=torch.float64)).sum() + ladj.square().sum()
        grads.append(torch.autograd.grad(loss, [y, context, *layer.parameters()], allow_unused=True))
    for sweep, jacobi_sweep, loop in zip(*grads, strict=True):
        if loop is not None and loop.numel():  # with one token for all features there are no keys
            torch.testing.assert_close(sweep, loop, rtol=1e-7, atol=1e-7)
            torch.testing.assert_close(jacobi_sweep, loop, rtol=1e-7, atol=1e-7)


# --- flows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("univariate", "family"),
    [("mixture", torch.distributions.Normal), ("logistic_mixture", None)],
)
def test_one_layer_of_mixtures_has_mixtures_as_conditionals(univariate, family):
    """log q(x_j | x_<j) written out with 50 components, and with kernels too."""
    flow = transformer_flow(3, depth=1, univariate=univariate, components=50, hidden=(16,), heads=2)
    layer = next(part for part in flow.modules() if isinstance(part, Autoregressive))
    randomize(layer)
    flow.double()
    x = torch.randn(20, 3, dtype=torch.float64, generator=generator(8))
    flow.initialize(x)
    standardized = (x - x.mean(dim=0)) / x.std(dim=0, correction=0)
    ladj = -x.std(dim=0, correction=0).log().sum()
    parts = layer.univariate.mixture(layer.conditioner(standardized.t()))
    v = (standardized.t() - parts.location) / parts.log_width.exp()
    if family is None:
        log_density = nn.functional.logsigmoid(v) + nn.functional.logsigmoid(-v)
        assert isinstance(layer.univariate, LogisticMixtureCDF)
    else:
        log_density = family(0.0, 1.0).log_prob(v)
    expected = (parts.log_weight + log_density - parts.log_width).logsumexp(dim=0).sum(dim=0) + ladj
    torch.testing.assert_close(flow.log_prob(x), expected, rtol=1e-9, atol=1e-9)
    drawn = flow.sample((40,), generator=generator(9))
    flow.use_kernels()
    torch.testing.assert_close(flow.log_prob(x), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(flow.sample((40,), generator=generator(9)), drawn, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(flow.to_data(flow.to_latent(x)), x, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("fast", ["density", "sampling"])
def test_the_first_layer_takes_the_features_in_their_order(fast):
    """Each feature is distributed given those before it in the order, and no others."""
    order = [2, 0, 3, 1]
    flow = transformer_flow(4, depth=1, univariate="affine", order=order, hidden=(8,), heads=2, fast=fast)
    randomize(flow)
    x = torch.randn(1, 4, dtype=torch.float64, generator=generator(10))
    depends = torch.autograd.functional.jacobian(lambda x: flow.to_latent(x)[0], x)[:, 0] != 0
    if fast == "density":
        assert torch.equal(depends[:, order], torch.ones(4, 4).tril().bool())
    else:
        back = torch.autograd.functional.jacobian(lambda z: flow.to_data(z)[0], x)[:, 0] != 0
        assert torch.equal(back[order], torch.ones(4, 4).tril().bool())


def test_layers_alternate_their_order():
    flow = randomize(transformer_flow(3, depth=2, univariate="affine", hidden=(8,), heads=2))
    x = torch.randn(1, 3, dtype=torch.float64, generator=generator(11))
    assert (torch.autograd.functional.jacobian(lambda x: flow.to_latent(x)[0], x)[:, 0] != 0).all()


def test_every_flow_of_autoregressive_layers_takes_it():
    flow = maf(3, 1, depth=2, hidden=(8,), conditioner="transformer")
    assert sum(isinstance(part, CausalTransformer) for part in flow.modules()) == 2
    assert (
        maf(1, 1, hidden=(8,), conditioner="transformer")
        .log_prob(torch.zeros(2, 1), torch.zeros(2, 1))
        .isfinite()
        .all()
    )


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda: CausalTransformer(4, 2, hidden=(8, 4)),
            r"CausalTransformer: all blocks need equal widths; got hidden=",
        ),
        (lambda: CausalTransformer(4, 2, hidden=()), r"CausalTransformer: hidden must list at least one layer width"),
        (
            lambda: CausalTransformer(4, 2, hidden=(6,)),
            r"CausalTransformer: heads must divide the width; got 4 heads and hidden widths of 6\. Give a width",
        ),
        (lambda: CausalTransformer(4, 2, heads=0), r"CausalTransformer: heads must be a whole number of at least 1"),
        (lambda: CausalTransformer(4, 2, expansion=0), r"CausalTransformer: expansion must be a whole number of at"),
        (lambda: CausalTransformer(4, 2, frequencies=-1), r"CausalTransformer: frequencies must be a whole number"),
        (lambda: CausalTransformer(4, 2, group=0), r"CausalTransformer: group must be a whole number of at least 1"),
        (
            lambda: CausalTransformer(4, 2, group=3),
            r"CausalTransformer: group must divide the features; got groups of 3 of 4 features\.",
        ),
        (
            lambda: Autoregressive(Affine(), 2, conditioner_options={"heads": 2}),
            r"Autoregressive: conditioner 'plain' has no option 'heads' of its own; conditioner_options may name",
        ),
        (
            lambda: Autoregressive(Affine(), 2, conditioner="transformer", conditioner_options={"context": 2}),
            r"Autoregressive: conditioner 'transformer' has no option 'context' of its own; .* heads, expansion, gro",
        ),
        (
            lambda: Autoregressive(Affine(), 2, solver="newton"),
            r"Autoregressive: solver must be one of 'sequential', 'jacobi'; got 'newton'\.",
        ),
        (lambda: Autoregressive(Affine(), 2, block=0), r"Autoregressive: block must be a whole number of at least 1"),
        (lambda: transformer_flow(2, univariate="cubic"), r"transformer_flow: univariate must be one of 'mixture', "),
        (
            lambda: transformer_flow(3, order=[0, 1, 1]),
            r"transformer_flow: order must rearrange 0 \.\. 2; got \[0, 1, 1\]\.",
        ),
        *(
            (lambda options=options, features=features: transformer_flow(features, 1, **options), match)
            for features in (1, 2)
            for options, match in OPTIONS_THAT_ARE_NONE
        ),
    ],
)
def test_mistakes_are_refused_in_a_sentence(make, match):
    with pytest.raises(ValueError, match=match):
        make()

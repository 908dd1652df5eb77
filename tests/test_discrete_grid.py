"""Models of whole numbers on grids: probabilities of all events sum to one, and a window sees what came before."""

import itertools
import math

import pytest
import torch
from cases import generator

from pushforward.bijections import Autoregressive
from pushforward.distributions import DiscreteGrid, GuidedGrid
from pushforward.networks import CausalWindow
from pushforward.testing.random_parts import randomize
from pushforward.train import fit
from pushforward.univariate import Affine


def every_event(shape, levels):
    return torch.tensor([*itertools.product(range(levels), repeat=math.prod(shape))], dtype=torch.float64).reshape(
        -1, *shape
    )


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 3), (3, 1, 1), (1, 3, 2)])
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("flat", [None, 0.5])
def test_probabilities_of_all_events_sum_to_one(shape, context, flat):
    grid = randomize(
        DiscreteGrid(shape, levels=3, context=context, hidden=(6, 6), above=1, beside=1, recurrent=8, flat_share=flat),
        seed=1,
    )
    events = every_event(shape, 3)
    c = torch.randn(context, dtype=torch.float64, generator=generator(0)) if context else None
    log_probs = grid.log_prob(events, c)
    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert log_probs.std() > 0.1  # the weights are no start, at which all are alike


def test_samples_follow_the_probabilities():
    grid = randomize(DiscreteGrid((2, 1, 2), levels=2, hidden=(6, 6), beside=1), seed=2)
    events = every_event((2, 1, 2), 2)
    drawn = grid.sample(20_000, generator=generator(1))
    counts = (drawn[:, None] == events).flatten(2).all(dim=2).sum(dim=0)
    expected = grid.log_prob(events).exp() * 20_000
    assert ((counts - expected).square() / expected).sum() < 37.7  # 0.999 of chi-squared with 15 degrees of freedom


def test_what_is_no_level_has_probability_zero():
    grid = DiscreteGrid((1, 1, 2), levels=4, hidden=(4, 4))
    x = torch.tensor([[0.0, 3.0], [0.0, 4.0], [-1.0, 0.0], [0.5, 0.0], [math.nan, 0.0]])[:, None, None]
    assert grid.log_prob(x).exp().tolist() == pytest.approx([1 / 16, 0, 0, 0, math.nan], nan_ok=True)


def test_weights_that_are_no_numbers_give_no_numbers():
    grid = DiscreteGrid((1, 1, 2), levels=4, hidden=(4, 4))
    torch.nn.init.constant_(grid.network.last_bias, math.nan)
    assert grid.sample(3).isnan().all()


def test_it_starts_at_the_frequencies_of_levels_and_once():
    x = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 0]]).float()[:, None].repeat(100, 2, 1)
    x[:, 1] += 1
    grid = DiscreteGrid((2, 4), levels=4, hidden=(4, 4))
    grid.initialize(x)
    per_channel = torch.tensor([0.5, 0.375, 0.125]).log()
    expected = per_channel[x[:2, 0].long()].sum(-1) * 2
    torch.testing.assert_close(grid.log_prob(x[:2]), expected, rtol=0, atol=0.05)
    grid.initialize(3 - x)
    torch.testing.assert_close(grid.log_prob(x[:2]), expected, rtol=0, atol=0.05)


def test_it_learns_a_checkerboard():
    """Two images, which the first pixel tells apart: one bit."""
    board = torch.arange(16).reshape(4, 4) % 2 != torch.arange(4)[:, None] % 2
    x = torch.stack([board, ~board]).float()[torch.arange(256) % 2][:, None] * 3
    grid = DiscreteGrid((1, 4, 4), levels=4, hidden=(16, 16), above=1, beside=1)
    fit(grid, x, steps=60, batch_size=64, lr=3e-2, progress=False)
    assert -grid.log_prob(x[:2]).mean().item() / math.log(2) == pytest.approx(1, abs=0.1)
    drawn = grid.sample(50, generator=generator(0))
    assert (drawn[:, None] == x[:2]).flatten(2).all(dim=2).any(dim=1).sum() >= 48


@pytest.mark.parametrize("shape", [[3, 4], [2, 3, 2], [12]])
def test_parameters_depend_on_the_window_alone(shape):
    """Checked by derivatives: of cells above within reach, of those to the left, and of the first values in a cell."""
    network = randomize(CausalWindow(12, 1, hidden=(12, 12), shape=shape, above=1, beside=1), seed=3)
    x = torch.randn(12, 1, dtype=torch.float64, generator=generator(0))
    reads = torch.autograd.functional.jacobian(lambda x: network(x)[0, :, 0], x)[..., 0] != 0
    _, width, values = {1: (1, *shape, 1), 2: (*shape, 1), 3: tuple(shape)}[len(shape)]
    for j, k in itertools.product(range(12), repeat=2):
        (row, column), (row_k, column_k) = (divmod(feature // values, width) for feature in (j, k))
        above = row_k == row - 1 and abs(column_k - column) <= 1
        left = row_k == row and (column_k == column - 1 or (column_k == column and k < j))
        assert reads[j, k].item() == (above or left), (j, k)


@pytest.mark.parametrize("shape", [[4, 5], [3, 4, 2], [5, 2], [5, 1], [12]])
@pytest.mark.parametrize("passes_flat", [False, True])
def test_recurrent_units_carry_what_lies_beyond_the_window(shape, passes_flat):
    """Checked by derivatives: of all cells before but those too far to the right, and of nothing after."""
    features = math.prod(shape)
    options = {"hidden": (12, 12, 12), "shape": shape, "above": 1, "beside": 1, "recurrent": 16}
    options["passes_flat"] = passes_flat  # random numbers are flat nowhere
    network = randomize(CausalWindow(features, 1, **options), seed=3)
    x = torch.randn(features, 1, dtype=torch.float64, generator=generator(0))
    reads = torch.autograd.functional.jacobian(lambda x: network(x)[0, :, 0], x)[..., 0] != 0
    _, width, values = {1: (1, *shape, 1), 2: (*shape, 1), 3: tuple(shape)}[len(shape)]
    for j, k in itertools.product(range(features), repeat=2):
        (row, column), (row_k, column_k) = (divmod(feature // values, width) for feature in (j, k))
        assert reads[j, k].item() == (k < j and column_k - column <= row - row_k), (j, k)


@pytest.mark.parametrize("recurrent", [28, 56, 64])
def test_recurrent_units_forget_at_all_paces(recurrent):
    network = CausalWindow(12, 1, hidden=(8, 8), shape=[3, 4], recurrent=recurrent)
    kept = network.recurrences[0].in_bias[:recurrent].sigmoid().unflatten(0, (4, -1)).sort(dim=1).values
    assert (kept.diff(dim=1) > 1e-4).all()
    assert (kept[:, 0] < 0.6).all()
    assert (kept[:, -1] > 0.9).all()


def test_planes_are_read_on_all_sides():
    options = {"hidden": (8, 8), "shape": [3, 4], "above": 1, "beside": 1, "context": 26, "planes": 2}
    network = randomize(CausalWindow(12, 1, **options), seed=3)
    x, context = (torch.randn(size, 1, dtype=torch.float64, generator=generator(size)) for size in (12, 26))
    reads = torch.autograd.functional.jacobian(lambda c: network(x, c)[0, :, 0], context)[..., 0] != 0
    assert reads[:, :2].all()  # features of no place
    for j, k in itertools.product(range(12), repeat=2):
        near = all(abs(a - b) <= 1 for a, b in zip(divmod(j, 4), divmod(k, 4), strict=True))
        assert reads[j, 2 + k].item() == reads[j, 14 + k].item() == near, (j, k)


@pytest.mark.parametrize("shape", [[4, 3], [2, 3, 2], [3, 2, 2], [12, 1], [12]])
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("passes_flat", [False, True])
def test_states_go_on_in_steps_and_blocks(shape, recorded, passes_flat):
    """Cell after cell, from a cell on, block after block with wrong values first: as in one parallel pass."""
    cells = math.prod(shape[:2])
    options = {"context": 2 + cells, "planes": 1, "shape": shape, "above": 1, "beside": 1, "recurrent": 9}
    options["passes_flat"] = passes_flat
    network = randomize(CausalWindow(12, 2, hidden=(8, 8, 8), **options), seed=4)
    x, context = (torch.randn(size, 3, dtype=torch.float64, generator=generator(size)) for size in (12, 2 + cells))
    if passes_flat:  # few values, so that there are flat cells
        x, context[2:] = (x > 0.8).double(), 0.0
    whole = network(x, context)
    with torch.set_grad_enabled(recorded):
        for skipped in (0, 5):
            steps = network.start(x, context)
            steps.skip([x[j : j + 1] for j in range(skipped)])
            inputs = [None if j == 0 else x[j - 1 : j] for j in range(skipped, 12)]
            torch.testing.assert_close(torch.stack([steps.step(i) for i in inputs], dim=1), whole[:, skipped:])
        blocks = network.start_blocks(x, context)
        for start, stop in ((0, 5), (5, 10), (10, 12)):
            blocks.params(torch.cat([x[:start], x[start:].flip(0)]), start, stop)
            torch.testing.assert_close(blocks.params(x, start, stop), whole[:, start:stop])
        torch.testing.assert_close(network.after(x, context, 1), whole[:, network.values :])


@pytest.mark.parametrize("solver", ["sequential", "jacobi"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("recurrent", [0, 8])
def test_a_layer_with_a_window_is_inverted_both_ways(solver, dtype, recurrent):
    options = {"shape": [4, 3, 2], "above": 1, "beside": 1, "recurrent": recurrent}
    layer = Autoregressive(
        Affine(), 24, context=1, hidden=(8, 8, 8), conditioner="window", conditioner_options=options, solver=solver
    )
    layer = randomize(layer, seed=4, dtype=dtype)
    x, context = (torch.randn(5, size, dtype=dtype, generator=generator(size)) for size in (24, 1))
    y, ladj = layer.forward_and_ladj(x, context)
    close = 1e-4 if dtype == torch.float32 else 1e-10
    with torch.no_grad():
        torch.testing.assert_close(layer.inverse(y, context), x, rtol=close, atol=close)
    back, inverse_ladj = layer.inverse_and_ladj(y, context)  # with gradients
    torch.testing.assert_close(back, x, rtol=close, atol=close)
    torch.testing.assert_close(inverse_ladj, -ladj, rtol=close, atol=close)


@pytest.mark.parametrize(("shape", "rows"), [((1, 3, 2), 1), ((2, 2, 2), 1), ((2, 4), 3)])
def test_the_rest_given_the_first_rows_is_the_ratio_of_probabilities(shape, rows):
    grid = randomize(DiscreteGrid(shape, levels=2, context=1, hidden=(6, 6), above=1, beside=1, recurrent=8), seed=5)
    events, c = every_event(shape, 2), torch.tensor([0.3], dtype=torch.float64)
    first, rest = events.split([rows, shape[1] - rows], dim=2)
    log_joint = grid.log_prob(events, c)
    same = (first[:, None] == first).flatten(2).all(dim=2)  # events with the same first rows
    expected = log_joint - torch.stack([log_joint[row].logsumexp(dim=0) for row in same])
    torch.testing.assert_close(grid.given(first).log_prob(rest, c), expected)
    drawn = grid.given(first[5]).condition(c).sample(4_000, generator=generator(1))
    counts = (drawn[:, None] == rest[same[5]]).flatten(2).all(dim=2).sum(dim=0)
    wanted = expected[same[5]].exp() * 4_000
    assert counts.sum() == 4_000
    assert ((counts - wanted).square() / wanted).sum() < 2 * len(wanted) + 20


def test_observed_rows_that_are_no_levels():
    grid = DiscreteGrid((1, 2, 1), levels=4, hidden=(4, 4))
    observed = torch.tensor([0.0, 4.0, 0.5, math.nan])[:, None, None, None]
    rest = grid.given(observed)
    assert rest.log_prob(torch.zeros(1, 1, 1)).exp().tolist() == pytest.approx([0.25, 0, 0, math.nan], nan_ok=True)
    assert rest.sample().isnan().flatten().tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("observed", "got"),
    [
        (torch.zeros(1, 2, 3), r"\(1, 2, 3\)"),
        (torch.zeros(1, 0, 3), r"\(1, 0, 3\)"),
        (torch.zeros(2, 1, 3), r"\(2, 1, 3\)"),
        (torch.zeros(1, 1, 2), r"\(1, 1, 2\)"),
        (torch.zeros(3), r"\(3,\)"),
        ([[0.0]], "list"),
    ],
)
def test_observed_rows_of_another_shape_are_refused(observed, got):
    with pytest.raises(ValueError, match=rf"DiscreteGrid: observed must be the first k of the 2 rows .*; got {got}"):
        DiscreteGrid((1, 2, 3), levels=4, hidden=(4, 4)).given(observed)


def flat_images(shape, count=6):
    """Images of one value each, but for a few cells in some."""
    x = torch.randint(3, (count, *(1 for _ in shape)), generator=generator(3)).double().expand(count, *shape).clone()
    x[::2, ..., -1, 2] = 1
    return x


@pytest.mark.parametrize("shape", [(1, 6, 9), (2, 5, 9)])
@pytest.mark.parametrize("recurrent", [0, 8])
def test_training_sees_a_sample_of_flat_cells_that_is_right_on_average(shape, recurrent):
    sizes = {"hidden": (6, 6, 6), "above": 1, "beside": 2, "recurrent": recurrent}
    grid = randomize(DiscreteGrid(shape, levels=3, context=2, flat_share=0.5, **sizes), seed=1).train()
    x = flat_images(shape)
    c = torch.randn(len(x), 2, dtype=torch.float64, generator=generator(0))
    exact = grid.log_prob(x, c)
    draws = torch.stack([grid(x, c, generator=generator(seed)) for seed in range(400)])
    assert (draws[0] != draws[1]).all()
    errors = (draws.mean(dim=0) - exact) / (draws.std(dim=0) / 20)
    assert errors.abs().max() < 4
    assert grid.eval()(x, c, generator=generator(0)).equal(grid.log_prob(x, c))


@pytest.mark.parametrize("shape", [(1, 6, 9), (2, 5, 9), (1, 40)])
@pytest.mark.parametrize("planes", [0, 1])
def test_training_at_all_cells_is_exact_with_its_gradients(shape, planes):
    cells = math.prod(shape[1:])
    sizes = {"hidden": (6, 6, 6), "above": 1, "beside": 2, "recurrent": 8, "context": 2 + planes * cells}
    grid = randomize(DiscreteGrid(shape, levels=3, planes=planes, flat_share=1, **sizes), seed=1).train()
    x = flat_images(shape) if len(shape) > 2 else flat_images((1, 1, 40))[:, :, 0]
    c = torch.randn(len(x), 2 + planes * cells, dtype=torch.float64, generator=generator(0))
    results = []
    for log_probs in (grid.log_prob(x, c), grid(x, c, generator=generator(0))):
        grid.zero_grad()
        log_probs.sum().backward()
        results.append([log_probs, *(p.grad for p in grid.parameters())])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("shape", [(1, 4, 5), (2, 4, 6), (1, 9, 3)])
def test_units_pass_flat_cells_by(shape):
    """Nothing changes the states there, and drawing sees them as scoring does."""
    features, (values, *spatial) = math.prod(shape), shape
    options = {"shape": [*spatial, values], "above": 1, "beside": 1, "recurrent": 8, "hidden": (8, 8, 8)}
    network = randomize(CausalWindow(features, 2, passes_flat=True, **options), seed=3)
    x = torch.zeros(features, 1, dtype=torch.float64)
    flat, around = network.flat_cells(x, None)
    assert flat.view(spatial)[1:].all()
    assert not flat.view(spatial)[0].any()  # a single neighbour says nothing about change
    assert around[:, 1:].eq(0).all()
    grid = randomize(
        DiscreteGrid(shape, levels=2, hidden=(6, 6, 6), above=1, beside=1, recurrent=8, flat_share=0.5), seed=5
    )
    drawn = grid.sample(200, generator=generator(0))
    index = grid._to_features(drawn)
    assert grid.network.flat_cells(grid.seen_as[0][index], None)[0].any()
    steps = grid.network.start(drawn.new_empty(features, 200))
    logits = [steps.step(None if j == 0 else grid.seen_as[:, index[j - 1]]) for j in range(features)]
    log_probs = torch.stack(logits, dim=1).log_softmax(dim=0).gather(0, index[None])[0].sum(dim=0)
    torch.testing.assert_close(log_probs, grid.log_prob(drawn))


def test_flat_cells_do_not_lie_where_planes_change():
    network = CausalWindow(20, 1, shape=[4, 5], recurrent=8, hidden=(8, 8), context=20, planes=1, beside=1, above=1)
    context = torch.zeros(20, 1)
    context[12] = 1.0
    x = torch.zeros(20, 1)
    flat, _ = network.flat_cells(x, network.seen_of(context).image)
    near = [[abs(i - 2) <= 1 and abs(j - 2) <= 1 for j in range(5)] for i in range(4)]
    assert flat.view(4, 5)[1:].tolist() == [[not at for at in row] for row in near[1:]]


def test_guided_grids_and_grids_without_rows_pass_flat_cells_by():
    grid = randomize(
        DiscreteGrid((1, 3, 3), levels=2, context=2, hidden=(6, 6), above=1, beside=1, recurrent=8, flat_share=0.5),
        seed=1,
    )
    events = every_event((1, 3, 3), 2)
    c = torch.tensor([0.5, -1.0], dtype=torch.float64)
    guided = GuidedGrid(grid, weight=0.7, temperature=0.8)
    assert guided.log_prob(events, c).exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert grid.log_prob(events[:0], c).shape == grid.condition(c).sample(0).shape[:1] == (0,)
    assert grid.train()(events[:0], c, generator=generator(0)).shape == (0,)
    assert grid.draws_estimates
    assert not guided.draws_estimates


def test_a_grid_of_one_number():
    grid = randomize(DiscreteGrid((1, 1, 1), levels=3, hidden=(4, 4), flat_share=0.5), seed=1)
    x = torch.arange(3, dtype=torch.float64).view(3, 1, 1, 1)
    assert grid.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(grid.train()(x, generator=generator(0)), grid.log_prob(x))
    assert grid.sample(5).shape == (5, 1, 1, 1)


def test_cells_that_are_not_flat_are_always_seen():
    grid = randomize(
        DiscreteGrid((1, 3, 12), levels=3, hidden=(6, 6), above=1, beside=1, flat_share=0.1), seed=1
    ).train()
    x = torch.ones(5, 1, 3, 12, dtype=torch.float64)
    x[:, 0, 1, 5] = 2.0
    log_probs = grid(x.requires_grad_(False), generator=generator(0))
    assert (log_probs != grid.log_prob(x)).all()
    stripes = torch.arange(12, dtype=torch.float64).remainder(2).expand(5, 1, 3, 12)
    torch.testing.assert_close(grid(stripes, generator=generator(0)), grid.log_prob(stripes))
    outside = torch.cat([x[:1] + 5, x[:1] * math.nan])
    assert grid(outside, generator=generator(0)).tolist() == pytest.approx([-math.inf, math.nan], nan_ok=True)

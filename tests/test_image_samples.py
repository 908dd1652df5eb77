"""Samples of autoregressive flows of images: the same cached, uncached and by iteration, and in bounded memory."""

from functools import partial

import pytest
import torch
from cases import exhaustive, generator
from test_row_blocks import PeakMemory

from pushforward.bijections import Autoregressive, autoregressive, jacobi
from pushforward.bijections.chain import innermost
from pushforward.bijections.guided import Guided
from pushforward.bijections.layout import context_features_first, embed
from pushforward.distributions import DiscreteGrid, guided, row_blocks
from pushforward.flows import tarflow, window_flow
from pushforward.testing.random_parts import randomize

SMALL = {"depth": 2, "hidden": (8, 8)}
FLOWS = {
    "tarflow": lambda: tarflow((1, 4, 4), heads=2, **SMALL),
    "tarflow of splines": lambda: tarflow((1, 4, 4), univariate="spline", bins=4, heads=2, **SMALL),
    "window_flow, affine": lambda: window_flow((1, 4, 4), univariate="affine", **SMALL),
    "window_flow, spline": lambda: window_flow((1, 4, 4), univariate="spline", bins=4, **SMALL),
    "window_flow, mixture": lambda: window_flow((1, 4, 4), components=3, hidden=(8, 8)),
    "window_flow, steps": lambda: window_flow((1, 4, 4), values=4, univariate="steps", hidden=(8, 8)),
    "guided tarflow": lambda: tarflow((1, 4, 4), 2, heads=2, **SMALL),
    "guided window_flow": lambda: window_flow((1, 4, 4), 2, univariate="affine", **SMALL),
}
CLOSE = {torch.float32: 1e-5, torch.float64: 1e-10}


def layers(flow):
    return [part for part in flow.modules() if isinstance(part, Autoregressive)]


def random_flow(name, seed, dtype, size):
    flow = randomize(FLOWS[name](), seed=seed, dtype=dtype, size=size).eval()
    return guided(flow, None, 1.5) if name.startswith("guided") else flow


def uncached(flow, z, context):
    """One parallel pass of the network for each feature."""
    x, context = z, flow._map_context(context)
    for part, backwards in innermost(flow.bijection):
        layer = part.bijection if isinstance(part, Guided) else part
        if not isinstance(layer, Autoregressive):
            x = (part._inverse if backwards else part._forward)(*part._arguments(x, context, None))
            continue
        y, x = x, layer.domain.anchor(x).expand_as(x).clone()
        for j in range(y.shape[-1]):
            params = layer.conditioner(embed(layer.domain, x.t()), context_features_first(context))[:, j : j + 1]
            x[:, j : j + 1] = layer._invert_block(y.t()[j : j + 1], params, j, j + 1).t()
    return x


def samples_agree(monkeypatch, name, dtype, seeds, sizes, scales, blocks, close):
    """Cached, uncached and iterated samples; how often an iteration was given up."""
    iterate, gave_up = jacobi.jacobi_inverse, []

    def from_start(start, y, passes, invert, embed, anchor, *sizes):
        anchor = anchor if start is None else torch.full_like(anchor, start)
        assert anchor.isfinite().all()
        x = iterate(y, passes, invert, embed, anchor, *sizes)
        gave_up.append(x is None)
        return x

    for seed in seeds:
        for size, scale in zip(sizes, scales, strict=True):
            flow = random_flow(name, seed, dtype, size)
            context = None
            if flow.context_shape is not None:
                context = torch.rand(4, 2, dtype=dtype, generator=generator(seed))
            z = flow.base.sample((4,), generator=generator(seed))
            z = z if "steps" in name else scale * z
            for layer in layers(flow):
                layer.solver = "sequential"
            with torch.no_grad():
                expected = uncached(flow, z, context)
                agree(flow.to_data(z, context), expected, close)
                for layer in layers(flow):
                    layer.solver = "jacobi"
                for block, start in blocks:
                    for layer in layers(flow):
                        layer.block = block
                    monkeypatch.setattr(autoregressive, "jacobi_inverse", partial(from_start, start))
                    agree(flow.to_data(z, context), expected, close)
    return sum(gave_up), len(gave_up)


def agree(x, expected, close):
    assert torch.equal(x.isfinite(), expected.isfinite())
    error = (x - expected).abs() / (1 + expected.abs())
    assert error.nan_to_num(posinf=0.0).max() < close


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", FLOWS)
def test_cached_uncached_and_iterated_samples_are_the_same(name, dtype, monkeypatch):
    blocks = [(16, None), (4, 1e6)]
    steep = 3 if name.startswith("guided") else 1  # guided maps are, and rounding grows
    samples_agree(monkeypatch, name, dtype, range(2), (0.3,), (1.0,), blocks, steep * CLOSE[dtype])


@exhaustive
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", FLOWS)
def test_they_are_the_same_over_seeds_starts_blocks_and_latents_far_out(name, dtype, monkeypatch):
    blocks = [(4, None), (16, 1e6), (16, -1e30)]
    samples_agree(monkeypatch, name, dtype, range(20), (0.1, 0.3), (1.0, 30.0), blocks, CLOSE[dtype])


@pytest.mark.parametrize("name", ["tarflow", "window_flow, affine"])
@pytest.mark.parametrize("dtype", CLOSE)
def test_networks_with_large_weights_overflow_nothing(name, dtype, monkeypatch):
    """Digits are lost where weights are large, by all three alike; nothing is infinite for one of them alone."""
    close = 1000 * CLOSE[dtype]
    count, _ = samples_agree(
        monkeypatch, name, dtype, range(2), (1.0, 10.0), (1.0, 30.0), [(16, None), (8, 1e6)], close
    )
    assert count > 0 or name == "tarflow"  # solved one by one after all: four tokens never take too many passes


@exhaustive
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", FLOWS)
def test_large_weights_over_seeds_and_starts(name, dtype, monkeypatch):
    blocks = [(8, None), (16, 1e6)]
    samples_agree(monkeypatch, name, dtype, range(20), (1.0, 10.0), (1.0, 30.0), blocks, 1000 * CLOSE[dtype])


def test_a_window_flow_is_sampled_by_iteration():
    options = {"univariate": "affine", **SMALL}
    one = randomize(window_flow((2, 3, 2), **options), seed=1, size=0.2).eval()
    other = window_flow((2, 3, 2), solver="jacobi", **options).double().eval()
    other.load_state_dict(one.state_dict())
    assert {layer.solver for layer in layers(other)} == {"jacobi"}
    torch.testing.assert_close(other.sample(5, generator=generator(1)), one.sample(5, generator=generator(1)))


# --- memory ----------------------------------------------------------------------------------------------------------

IMAGES = {
    "tarflow": lambda: tarflow((1, 4, 4), 2, depth=1, hidden=(32,), heads=2),
    "tarflow by iteration": lambda: tarflow((1, 4, 4), 2, depth=1, hidden=(32,), heads=2, solver="jacobi"),
    "window_flow": lambda: window_flow((1, 4, 4), 2, hidden=(32, 32), components=5),
    "guided tarflow": lambda: guided(tarflow((1, 4, 4), 2, depth=1, hidden=(32,), heads=2), None, 1.0),
    "DiscreteGrid": lambda: DiscreteGrid((1, 4, 4), context=2, hidden=(32, 32)),
    "guided DiscreteGrid": lambda: guided(DiscreteGrid((1, 4, 4), context=2, hidden=(32, 32)), None, 1.0),
}
COUNTS = [(name, 2_000, 4) for name in ("tarflow", "window_flow", "DiscreteGrid")]
MORE = [(name, 10_000, labels) for name in IMAGES for labels in (1, 4)]


@pytest.mark.parametrize(("name", "count", "labels"), [*COUNTS, *(pytest.param(*c, marks=exhaustive) for c in MORE)])
def test_many_images_are_drawn_in_bounded_memory(name, count, labels, monkeypatch):
    """Beside the images, their noise and their contexts there are never more than the results of a block."""
    model, images = IMAGES[name]().eval(), count * 16 * 4
    monkeypatch.setattr(row_blocks, "CPU_BYTES", 1 << 40)
    unbounded = peak_of_samples(model, count, labels)
    monkeypatch.setattr(row_blocks, "CPU_BYTES", 1 << 20)
    peak = peak_of_samples(model, count, labels)
    assert peak < 5 * images + row_blocks.CPU_BYTES
    assert peak < 0.7 * unbounded


def peak_of_samples(model, count, labels):
    with PeakMemory() as memory:
        x = model.sample(count // labels, torch.zeros(labels, 2))
    assert x.shape == (count // labels, labels, *model.event_shape)
    return memory.peak


def test_blocks_change_no_sample(monkeypatch):
    grid = randomize(DiscreteGrid((1, 2, 2), levels=4, context=2, hidden=(8, 8)), seed=1)
    context = torch.randn(70, 2, dtype=torch.float64, generator=generator(1))
    whole = grid.sample(3, context, generator=generator(2))
    monkeypatch.setattr(row_blocks, "CPU_BYTES", 1)
    assert torch.equal(grid.sample(3, context, generator=generator(2)), whole)
    first = whole[..., :1, :]
    rest = grid.given(first).sample((), context, generator=generator(3))
    assert torch.equal(rest[1], grid.given(first).sample((), context, generator=generator(3))[1])

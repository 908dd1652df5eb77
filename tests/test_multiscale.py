"""Events on grids: squeezing, wavelets, maps at every cell, multiscale composition, and the flows made of them."""

import copy
import inspect
import json
import math
import re

import pytest
import torch
from cases import generator, randomize

import pushforward as pf
from pushforward.bijections import (
    LU,
    Abs,
    Augment,
    Chain,
    Coupling,
    Dequantize,
    Flip,
    Haar,
    LinearLift,
    Multiscale,
    Pointwise,
    RadialSquash,
    Residual,
    Squeeze,
    Standardize,
)
from pushforward.core.config import build
from pushforward.distributions import Flow, ImportanceWeighted, StandardNormal
from pushforward.flows import IMAGE_FLOWS, glow, multiscale_real_nvp, multiscale_residual_flow
from pushforward.networks import ConvNet, GatedConvNet, GlowConvNet
from pushforward.testing.comparison import close, jacobian
from pushforward.univariate import Affine


def numbers(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def event(*shape):
    return torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)


# --- space to channels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 6), (3, 4, 6), (2, 2, 4, 6)], ids=str)
def test_squeeze_puts_each_block_into_channels(shape):
    """Against `unfold`, which knows nothing of reshapes and permutations."""
    x = event(*shape)
    blocks = x
    for axis in range(1, len(shape)):
        blocks = blocks.unfold(axis, 2, 2)
    blocks = blocks.reshape(*blocks.shape[: len(shape)], -1)  # (channels, *coarse, cells)
    expected = blocks.movedim(-1, 1).flatten(0, 1)
    assert torch.equal(Squeeze(shape)(x), expected)


def test_squeeze_is_pixel_unshuffle():
    x = numbers(5, 3, 6, 9)
    assert torch.equal(Squeeze((3, 6, 9), factor=3)(x), torch.nn.functional.pixel_unshuffle(x, 3))


@pytest.mark.parametrize("shape", [(2, 6), (3, 4, 6), (1, 2, 4, 2)], ids=str)
def test_haar_is_orthogonal_and_starts_with_averages(shape):
    haar = Haar(shape).double()
    x = numbers(4, *shape)
    matrix = jacobian(haar.forward, x)[0]
    close(matrix @ matrix.t(), torch.eye(len(matrix), dtype=torch.float64), "H Hᵀ")
    pool = {2: torch.nn.functional.avg_pool1d, 3: torch.nn.functional.avg_pool2d, 4: torch.nn.functional.avg_pool3d}
    means = pool[len(shape)](x, 2) * math.sqrt(2 ** (len(shape) - 1))
    close(haar(x)[:, : shape[0]], means, "the first channels")
    flat = haar(torch.ones(shape, dtype=torch.float64))
    assert flat[shape[0] :].abs().max() < 1e-12, "an even image has differences"


# --- maps at every cell ----------------------------------------------------------------------------------------------


def test_a_pointwise_lu_is_a_convolution_of_size_one():
    layer = randomize(Pointwise(LU(3), (4, 5)), seed=2)
    x = numbers(2, 3, 4, 5)
    matrix = layer.bijection(torch.eye(3, dtype=torch.float64)).t() - layer.bijection.bias[:, None]
    expected = torch.nn.functional.conv2d(x, matrix[:, :, None, None], layer.bijection.bias)
    y, ladj = layer.forward_and_ladj(x)
    close(y, expected, "a 1 × 1 convolution")
    close(ladj, torch.linalg.slogdet(matrix)[1].expand(2) * 20, "its ladj")


def test_statistics_of_channels_are_those_of_all_cells():
    layer = Pointwise(Standardize(2), (3, 4)).double()
    x = 5 + 3 * numbers(50, 2, 3, 4)
    layer.initialize(x)
    y = layer(x)
    close(y.mean(dim=(0, 2, 3)), torch.zeros(2, dtype=torch.float64), "means")
    close(y.var(dim=(0, 2, 3), correction=0), torch.ones(2, dtype=torch.float64), "variances")


def test_domains_are_those_of_every_cell():
    assert Pointwise(Abs(2), (3,)).codomain == Abs(2).codomain
    assert Pointwise(Augment(2, 1), (3,)).out_shape == (3, 3)
    assert (Pointwise(Abs(2), (3,)).log_det, Pointwise(Abs(2), (3,)).forward_log_det) == ("bound", "exact")


# --- multiscale composition ------------------------------------------------------------------------------------------


def two_levels(latent="flat"):
    first = Chain([Squeeze((1, 4, 4)), Pointwise(LU(4), (2, 2))])
    second = Chain([Coupling(Affine(), (2, 2, 2), hidden=(4,), conditioner="conv"), Pointwise(LU(2), (2, 2))])
    return randomize(Multiscale([first, second], latent=latent), seed=4)


def test_multiscale_is_what_its_levels_do_by_hand():
    part = two_levels()
    x = numbers(6, 1, 4, 4)
    first, ladj = part.levels[0].forward_and_ladj(x)
    second, more = part.levels[1].forward_and_ladj(first[:, :2])
    y, total = part.forward_and_ladj(x)
    assert torch.equal(y, torch.cat([second.flatten(1), first[:, 2:].flatten(1)], dim=1))
    assert torch.equal(total, ladj + more)
    as_event = two_levels("event")
    assert as_event.out_shape == (1, 4, 4)
    assert torch.equal(as_event(x).flatten(1), y)


def test_later_levels_do_not_move_what_was_factored_out():
    part = two_levels()
    x = numbers(6, 1, 4, 4)
    before = part(x)
    with torch.no_grad():
        for parameter in part.levels[1].parameters():
            parameter.add_(0.3)
    moved = (part(x) != before).any(dim=0)
    assert moved[:8].all()
    assert not moved[8:].any()


def test_a_start_from_data_reaches_every_level_in_both_directions():
    for inverse in (False, True):
        levels = [Chain([Standardize(4), Flip(4)]), Chain([Standardize(2), Flip(2)])]
        levels = [level.inv for level in levels] if inverse else levels
        part = Multiscale(levels).double()
        x = 5 + 2 * numbers(200, 4)
        part.initialize(x, inverse=inverse)
        y = part.inverse(x) if inverse else part(x)
        if not inverse:
            close(y.mean(dim=0), torch.zeros(4, dtype=torch.float64), "means after all levels")
        assert all(m.initialized for m in part.modules() if isinstance(m, Standardize))
        assert y.isfinite().all()


def test_levels_that_draw_pass_the_generator_on():
    flow = Flow(StandardNormal(16), Chain([Dequantize((1, 4, 4), levels=4, logit=True), two_levels()]).inv).double()
    x = flow.sample((5,), generator=generator(1))
    assert torch.equal(flow.log_prob(x, generator=generator(2)), flow.log_prob(x, generator=generator(2)))
    assert not torch.equal(flow.log_prob(x, generator=generator(2)), flow.log_prob(x, generator=generator(3)))


# --- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ConvNet, GatedConvNet, GlowConvNet])
def test_networks_see_as_far_as_they_say(kind):
    net = randomize(kind((2, 13), 3, context=1, hidden=(6, 6), activation="tanh"))
    x = numbers(27, 1)
    rows = torch.autograd.functional.jacobian(lambda t: net(t)[:, 0], x)[:, 1:, 0]  # (3 · 13, 2 · 13)
    seen = rows.reshape(3, 13, 2, 13).abs().sum(dim=(0, 2))
    distance = (torch.arange(13)[:, None] - torch.arange(13)).abs()
    assert torch.equal(seen > 0, distance <= net.reach)
    context = torch.autograd.functional.jacobian(lambda t: net(t)[:, 0], x)[:, 0, 0]
    assert (context != 0).all()


@pytest.mark.parametrize("conditioner", ["gated_conv", "glow_conv", "residual_conv"])
@pytest.mark.parametrize("mask", [None, "checkerboard"])
def test_couplings_take_every_network(conditioner, mask):
    layer = Coupling(Affine(), (2, 4, 4), hidden=(6, 6), conditioner=conditioner, mask=mask)
    x = numbers(3, 2, 4, 4)
    assert torch.equal(layer.double()(x), x)  # starts as the identity
    layer = randomize(layer, seed=3)
    y, ladj = layer.forward_and_ladj(x)
    close(layer.inverse(y), x, "round trip")
    close(ladj, torch.linalg.slogdet(jacobian(layer.forward, x))[1], "ladj")


# --- flows -----------------------------------------------------------------------------------------------------------

SMALL = {"depth": 1, "hidden": (6, 6), "heads": 2}
OPTIONS = [
    {},
    {"coupling": "spline", "bins": 3, "squeeze": "haar", "mix": "permute", "latent": "event"},
    {"coupling": "mixture", "bins": 2, "conditioner": "gated_conv", "learn_prior": True, "memory": "checkpoint"},
    {"coupling": "additive", "mix": "flip", "learn_prior": False},
    {"values": 4, "dequantize": "variational"},
    {"values": 4},
]


def small(name, options, context=0, features=(1, 4, 4)):
    accepted = inspect.signature(IMAGE_FLOWS[name]).parameters
    return IMAGE_FLOWS[name](features, context, **{k: v for k, v in {**SMALL, **options}.items() if k in accepted})


@pytest.mark.parametrize("name", sorted(IMAGE_FLOWS.keys() - {"pixels"}))
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_image_flows_are_exact_in_what_they_say(name, options):
    flow = randomize(small(name, options, context=2), seed=5, size=0.3)
    x = flow.support.example((4, 1, 4, 4), generator(3)).double()
    context = numbers(4, 2)
    z = flow.to_latent(x, context, generator=generator(1))
    close(flow.to_data(z, context), x, "round trip")
    assert flow.exactness == ("bound" if "values" in options else "exact")
    sample = flow.sample((3,), context, generator=generator(4))
    assert sample.shape == (3, 4, 1, 4, 4)
    assert flow.support.contains(sample).all()
    if flow.is_exact:
        matrix = jacobian(lambda t: flow.to_latent(t, context).flatten(1), x)
        base = StandardNormal(16).double().log_prob(z.flatten(1))
        close(flow.log_prob(x, context), base + torch.linalg.slogdet(matrix)[1], "log_prob")
    again = build(json.loads(json.dumps(flow.config))).double().eval()
    again.load_state_dict(flow.state_dict())
    pair = [f.log_prob(x, context, generator=generator(7)) for f in (flow, again, copy.deepcopy(flow))]
    assert torch.equal(pair[0], pair[1])
    assert torch.equal(pair[0], pair[2])
    assert not torch.equal(pair[0], flow.log_prob(x, context + 1, generator=generator(7)))


@pytest.mark.parametrize("name", sorted(IMAGE_FLOWS.keys() - {"pixels"}))
def test_an_image_flow_that_saw_data_has_white_latents_and_learns(name):
    flow = small(name, {"depth": 1}, features=(2, 4, 4))
    ramp = torch.linspace(0, 3, 16).reshape(4, 4)
    x = 7 + 2 * (torch.randn(256, 1, 1, 1, generator=generator(1)) * ramp + torch.randn(256, 2, 4, 4))
    flow.initialize(x)
    z = flow.to_latent(x)
    assert z.mean().abs() < 0.2
    assert 0.8 < z.std() < 1.2
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    before = flow.log_prob(x).mean().item()
    for _ in range(30):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
    assert -loss.item() > before + 3


def test_a_residual_flow_of_images_is_right_in_the_mean_and_certified():
    options = {"levels": 2, "depth": 1, "hidden": (4,), "coefficient": 0.7}
    exact, drawn = (multiscale_residual_flow((1, 4, 4), log_det=kind, **options) for kind in ("exact", "unbiased"))
    exact = randomize(exact, seed=2)
    drawn.double().load_state_dict(exact.state_dict())
    assert (exact.exactness, drawn.exactness, drawn.stochastic) == ("exact", "unbiased", True)
    x = numbers(3, 1, 4, 4)
    values = drawn.log_prob(x.expand(500, *x.shape), generator=generator(1))
    error = values.std(dim=0) / 500**0.5
    assert ((values.mean(dim=0) - exact.log_prob(x)).abs() < 5 * error).all()
    layers = [part for part in exact.modules() if isinstance(part, Residual)]
    assert len(layers) == 2
    assert all(0 < layer.lipschitz_bound() <= 0.7 * (1 + 1e-5) for layer in layers)


def test_image_flows_take_events_of_one_and_three_spatial_axes():
    for features in ((2, 8), (1, 4, 4, 4)):
        x = numbers(2, *features)
        flow = glow(features, depth=1, hidden=(6, 6)).double().eval()
        close(flow.to_data(flow.to_latent(x)), x, f"round trip {features}")


def test_a_flow_of_whole_numbers_is_saved_and_bounds_probabilities(tmp_path):
    flow = randomize(multiscale_real_nvp((1, 2, 2), levels=1, depth=1, hidden=(4,), conditioner="conv", values=2), 3)
    grid = torch.cartesian_prod(*[torch.arange(2.0)] * 4).reshape(-1, 1, 2, 2).double()
    bound = flow.log_prob(grid.expand(500, *grid.shape), generator=generator(1)).mean(dim=0).exp().sum()
    tight = ImportanceWeighted(flow, 2000).log_prob(grid, generator=generator(1)).exp().sum()
    assert bound < 0.98
    assert tight.item() == pytest.approx(1.0, abs=0.05)
    assert flow.log_prob(grid[0] + 0.5) == -math.inf
    assert flow.log_prob(grid[0] + 2) == -math.inf
    pf.save(flow, tmp_path / "model.safetensors")
    loaded = pf.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.log_prob(grid, generator=generator(2)), flow.log_prob(grid, generator=generator(2)))


# --- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES = [
    (lambda: Squeeze((1, 3, 4)), r"Squeeze: factor=2 must divide the spatial sizes of events of shape \(1, 3, 4\)"),
    (lambda: Squeeze(4), r"Squeeze: events must have the axes \(channels, \*spatial\) .* got shape \(4,\)"),
    (lambda: Haar((1, 5)), r"Haar: block=2 must divide"),
    (lambda: Pointwise(Squeeze((1, 2)), (2,)), r"Pointwise: bijection must map vectors of channels .* \(1, 2\) to \(2"),
    (lambda: Pointwise(LU(2), ()), r"Pointwise: spatial must list at least one size; got none"),
    (lambda: Pointwise(LinearLift(3, 2), (2,)), r"Pointwise: bijection must not end on a surface; got LinearLift"),
    (lambda: Pointwise(RadialSquash(2), (2,)), r"Pointwise: a domain must be given entry by entry; got Ball"),
    (lambda: Multiscale([]), r"Multiscale: levels must list one or more bijections"),
    (
        lambda: Multiscale([LU(4), LU(3)]),
        r"levels\[1\] \(LU\) starts from shape \(3,\) but the kept half",
    ),
    (lambda: Multiscale([LU(1), LU(1)]), r"levels\[0\] \(LU\) ends in shape \(1,\), with one channel"),
    (lambda: Multiscale([LU(4), Abs(2)]), r"levels\[1\] \(Abs\) must be a bijection between unbounded spaces"),
    (lambda: Multiscale([LU(4)], latent="image"), r"Multiscale: latent must be one of 'flat', 'event'; got 'image'"),
    (
        lambda: glow((3, 6, 6)),
        r"glow: features must be \(channels, .* sizes that 4 divides; got \(3, 6, 6\)",
    ),
    (lambda: glow((3, 4, 4), levels=0), r"glow: levels must be a whole number of at least 1; got 0"),
    (lambda: glow((3, 4, 4), depth=0), r"glow: depth must be a whole number of at least 1; got 0"),
    (lambda: glow((3, 4, 4), coupling="cubic"), r"glow: coupling must be one of 'affine', 'additive', 'spline'"),
    (lambda: glow((3, 4, 4), mix="none"), r"glow: mix must be one of 'lu', 'permute', 'flip'; got 'none'"),
    (lambda: glow((3, 4, 4), squeeze="db4"), r"glow: squeeze must be one of 'cells', 'haar'; got 'db4'"),
    (lambda: glow((3, 4, 4), values=1), r"glow: values must be a whole number of at least 2; got 1"),
    (lambda: glow((3, 4, 4), values=8, dequantize="no"), r"glow: dequantize must be one of 'uniform', 'variational'"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_mistakes_are_refused_in_one_sentence(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_an_option_that_is_none_is_refused():
    with pytest.raises(TypeError, match=r"^glow: there is no option 'hiden'\. Did you mean 'hidden'\?$"):
        glow((1, 4, 4), hiden=(8,))


@pytest.mark.parametrize("name", sorted(IMAGE_FLOWS))
def test_help_describes_every_parameter_once(name):
    text, parameters = inspect.getdoc(IMAGE_FLOWS[name]), inspect.signature(IMAGE_FLOWS[name]).parameters
    section = text.split("Args:\n")[1].split("\n\n")[0]
    assert re.findall(r"^ {4}(\w+): ", section, re.MULTILINE) == list(parameters)
    assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    assert all(part in text for part in (".. math::", " cost ", "\nRaises:\n", "\nReferences:\n"))
    defaults = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    build = IMAGE_FLOWS[name]
    assert build((1, 4, 4), 2).config == build((1, 4, 4), 2, **defaults).config

"""Bugs in guidance and temperature, in rows that differ by epoch, in denoising and in blocks of samples."""

import itertools

import torch
from cases import generator

from pushforward.bijections import Autoregressive, Scale
from pushforward.bijections.guided import Guided
from pushforward.distributions import DiscreteGrid, Flow, StandardNormal, denoise, guided, row_blocks, with_temperature
from pushforward.distributions.guided_grid import GuidedGrid
from pushforward.flows import maf
from pushforward.networks.paired import PairedReverse
from pushforward.testing import bijections
from pushforward.testing.random_parts import randomize
from pushforward.train import augment, with_labels_dropped, with_noise
from pushforward.univariate import Affine, GuidedAffine

from .parts import of_case
from .registry import bug

# --- guidance --------------------------------------------------------------------------------------------------------


def product_of_normals(univariate):
    """The guided map against quadrature of p_c^(1+w) p_u^(-w), where the label has the smaller standard deviation."""
    params = torch.tensor([[0.5], [0.8], [-0.7], [-0.3], [0.1]], dtype=torch.float64)  # σ_c < σ_u
    x = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    labelled, blank = (Affine()(x, p.expand(3, len(x)))[0] for p in (params[[0, 1, 4]], params[2:]))
    w = univariate.config["weight"]
    log_product = -0.5 * ((1 + w) * labelled.square() - w * blank.square())
    expected = (log_product - log_product.logsumexp(dim=0)).exp() / (x[1] - x[0])
    y, log_slope = univariate(x, params.expand(5, len(x)))
    density = (-0.5 * y.square() + log_slope).exp() / (2 * torch.pi) ** 0.5
    assert (density - expected).abs().max() < 1e-6, "another density than the product of powers"
    wide = params[[2, 3, 0, 1, 4]]  # σ_c > σ_u: the scale stays
    assert torch.allclose(univariate(x[:1], wide)[1], Affine()(x[:1], wide[[0, 1, 4]])[1]), "the scale is led as well"


def guided_affine():
    return (GuidedAffine(Affine(), weight=1.5),)


@bug(product_of_normals, guided_affine)
def a_ratio_of_scales_upside_down(patch, univariate):
    combine = univariate._map
    patch.setattr(univariate, "_map", lambda params: combine(params[[2, 3, 0, 1, 4]]))


@bug(product_of_normals, guided_affine)
def a_ratio_of_scales_that_may_exceed_one(patch, univariate):
    patch.setattr(torch.Tensor, "clamp", lambda x, **_: x)


@bug(product_of_normals, guided_affine)
def a_weight_of_one_more(patch, univariate):
    patch.setattr(univariate, "weight", univariate.weight + 1)


def guided_layer():
    layer = Autoregressive(Affine(), 4, context=1, hidden=[8, 8], conditioner="transformer")
    layer = randomize(Guided(layer, weight=1.5), seed=1)
    return layer, *(torch.randn(5, k, dtype=torch.float64, generator=generator(k)) for k in (4, 2))


@bug(of_case(bijections.round_trip), guided_layer)
def steps_with_the_contexts_in_the_other_order(patch, layer):
    start = layer.bijection.conditioner.start
    patch.setattr(layer.bijection.conditioner, "start", lambda like, context: start(like, context.flip(0)))


def gradients_of_guided_samples(layer, y, context):
    """Back substitution gives the gradients of the loop over features."""
    y = y.requires_grad_()
    sweep = torch.autograd.grad(layer.inverse(y, context).square().sum(), y)[0]
    rows = layer.bijection._feature_by_feature("inverse_value_with_free", y.t(), context.t())[0]
    error = (sweep - torch.autograd.grad(rows.square().sum(), y)[0]).abs().max()
    assert error < 1e-9, f"gradients of samples are off by {error:.3g}"


@bug(gradients_of_guided_samples, guided_layer)
def cotangents_of_the_label_alone(patch, layer):
    step = PairedReverse.step

    def half(self, grad_params, scale):
        count = len(grad_params) // 2
        return step(self, torch.cat([grad_params[:count], torch.zeros_like(grad_params[count:])]), scale)

    patch.setattr(PairedReverse, "step", half)


def keeps_the_rest_of_a_context(model):
    """A number of the context that is none of the label's is the same without the label."""
    context = torch.tensor([1.0, 0.4], dtype=torch.float64)
    x = model.sample(5, context, generator=generator(1))
    kept = guided(model, context, 1.0, unconditional=[0.0, float("nan")]).log_prob(x)
    said = guided(model, context, 1.0, unconditional=[0.0, 0.4]).log_prob(x)
    assert torch.allclose(kept, said), "a number that stays is taken away"


@bug(keeps_the_rest_of_a_context, lambda: (randomize(maf(2, 2, depth=1, hidden=(8,)), seed=1, size=1.0).eval(),))
def numbers_of_the_context_that_do_not_stay(patch, model):
    patch.setattr(
        "pushforward.distributions.guidance.nested_numbers", lambda values: [v if v == v else 0.0 for v in values]
    )


def sums_and_powers(grid):
    """Probabilities of all events sum to one, and the first conditional is the product of powers."""
    events = torch.tensor([*itertools.product(range(3), repeat=2)], dtype=torch.float64).view(9, 1, 1, 2)
    label, blank = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    log_probs = guided(grid, label, 1.5, temperature=0.5).log_prob(events)
    assert abs(log_probs.exp().sum().item() - 1) < 1e-12, "probabilities do not sum to one"
    first = [grid.log_prob(events, c).view(3, 3).logsumexp(dim=1) for c in (label, blank)]
    ratio = (first[0].exp() + 1e-4).log() - (first[1].exp() + 1e-4).log()
    expected = ((first[0] + 1.5 * ratio) / 0.5).log_softmax(dim=0)
    assert torch.allclose(log_probs.view(3, 3).logsumexp(dim=1), expected), "another conditional than the powers give"


def small_grid():
    return (randomize(DiscreteGrid((1, 1, 2), levels=3, context=1, hidden=(6, 6), beside=1), seed=1),)


@bug(sums_and_powers, small_grid)
def a_temperature_of_the_label_alone(patch, grid):
    logits = GuidedGrid._logits

    def wrong(self, outputs):
        if self.contexts is None:  # the part with the temperature
            return self.grid._logits(outputs) / self.temperature**0.5
        return logits(self, outputs)

    patch.setattr(GuidedGrid, "_logits", wrong)


@bug(sums_and_powers, small_grid)
def weights_of_w_instead_of_one_and_w(patch, grid):
    def wrong(self, outputs):
        if self.contexts is None:
            return self.grid._logits(outputs) / self.temperature
        labelled, blank = outputs.chunk(2)
        return self.weight * (labelled - blank)

    patch.setattr(GuidedGrid, "_logits", wrong)


# --- temperature -----------------------------------------------------------------------------------------------------


def scales_the_base(flow):
    cool = with_temperature(flow, 0.5)
    x = cool.sample(5, generator=generator(1))
    assert torch.allclose(x, flow.to_data(0.5 * flow.base.sample(5, generator=generator(1)))), "samples"
    points = torch.linspace(-20, 20, 4001, dtype=torch.float64)[:, None]
    assert abs(cool.log_prob(points).exp().sum().item() * 0.01 - 1) < 1e-6, "the density does not integrate to one"


@bug(scales_the_base, lambda: (Flow(StandardNormal(1), Scale(1, factor=3.0)).double(),))
def a_temperature_whose_density_is_that_of_the_flow(patch, flow):
    patch.setattr(Scale, "_inverse_and_slopes", lambda self, y, context: (y / self.factor, torch.zeros_like(y)))


# --- rows that differ by epoch ---------------------------------------------------------------------------------------


def independent_draws(_):
    """Labels dropped and noise levels do not go together, nor do two epochs."""
    x, labels = torch.zeros(4000, 1), torch.ones(4000, 1)
    rows = with_noise(with_labels_dropped(x, labels, 0.5), noise=(0.0, 1.0))
    (_, first), (_, second) = rows(0), rows(1)
    for a, b in ((first[:, 0], first[:, 1]), (first[:, 0], second[:, 0]), (first[:, 1], second[:, 1])):
        correlation = torch.corrcoef(torch.stack([a, b]))[0, 1].abs()
        assert correlation < 0.07, f"draws are correlated, {correlation:.2f}"


@bug(independent_draws, lambda: (None,))
def one_stream_for_labels_and_noise(patch, _):
    patch.setattr(augment, "NOISE", augment.LABELS)


@bug(independent_draws, lambda: (None,))
def the_same_rows_in_each_epoch(patch, _):
    patch.setattr(augment, "EPOCH_STRIDE", 0)


# --- denoising -------------------------------------------------------------------------------------------------------


def shrinks_a_normal(flow):
    """A standard normal at noise level σ: the posterior mean is (1 - σ²) x."""
    x = torch.randn(5, 2, dtype=torch.float64, generator=generator(1))
    assert torch.allclose(denoise(flow, x, 0.5), 0.75 * x), "another mean than that of the posterior"


def standard():
    return (maf(2, 1, depth=1, hidden=(4,)).double().eval(),)


@bug(shrinks_a_normal, standard)
def a_slope_times_the_standard_deviation(patch, flow):
    patch.setattr(torch.Tensor, "square", lambda x: x)


# --- blocks ----------------------------------------------------------------------------------------------------------


def bounded_blocks(flow):
    """Points of two batch axes go through in blocks as those of one do."""
    sizes = []
    inverse = Autoregressive._inverse

    def counted(self, y, context):
        sizes.append(y[..., 0].numel())
        return inverse(self, y, context)

    Autoregressive._inverse, memory, row_blocks.CPU_BYTES = counted, row_blocks.CPU_BYTES, 1
    try:
        flow.sample((20, 10))
    finally:
        Autoregressive._inverse, row_blocks.CPU_BYTES = inverse, memory
    assert max(sizes) == row_blocks.LEAST_ROWS, f"blocks of {max(sizes)} rows"


@bug(bounded_blocks, lambda: (maf(2, depth=1, hidden=(4,)).eval(),))
def blocks_along_the_first_axis_alone(patch, flow):
    blocks = row_blocks.in_row_blocks
    patch.setattr(
        "pushforward.distributions.flow.in_row_blocks", lambda f, width, ndim, x, c: blocks(f, width, ndim + 1, x, c)
    )

"""Pictures: the numbers that they show, what they draw, what they refuse, and the page that shows them."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import StepPatch

import pushforward as pf
from pushforward import plots
from pushforward.bijections import Banana, BatchNorm, RadialSquash, Scale
from pushforward.distributions import (
    Categorical,
    Continuous,
    Flow,
    MixedTypeModel,
    Normal,
    StandardNormal,
    StudentT,
    Uniform,
)
from pushforward.testing import randomize

DOCS = Path(__file__).resolve().parents[1] / "docs"


def flow_of(features, **options):
    return randomize(pf.flows.maf(features, hidden=(8,), **options), seed=features)


def texts(figure):
    return " ".join(text.get_text() for ax in figure.axes for text in [*ax.texts, ax.title])


# --- change of variables


def wave(z):
    return z + 0.9 * torch.sin(z)


MAPS = [
    (wave, None, 1 + 0.9 * math.exp(-0.5)),  # E[T'(z)]: the integral of p(T⁻¹(x))
    (torch.exp, None, math.exp(0.5)),
    (Scale(1, factor=2.0, shift=1.0), Uniform([0.0], [1.0]), 2.0),
    (Scale(1, factor=0.25), StudentT(1, df=5.0), 0.25),
    (lambda z: z**3, None, 3.0),  # the slope is zero at zero
]


@pytest.mark.parametrize(("push", "base", "naive"), MAPS)
def test_areas_are_equal_and_the_density_without_slopes_does_not_integrate_to_one(push, base, naive):
    numbers = plots.change_of_variables(push, base, intervals=5)
    assert numbers.integral == pytest.approx(1, abs=2e-3)
    assert numbers.naive_integral == pytest.approx(naive, rel=2e-3)
    assert numbers.masses == pytest.approx(numbers.image_masses, abs=2e-3)
    assert len(numbers.masses) == 5
    levels = (StandardNormal(1) if base is None else base).cdf(torch.tensor(numbers.edges).float()[:, None])[:, 0]
    assert numbers.masses == pytest.approx(levels.diff().numpy(), abs=1e-4)
    shown = texts(plots.plot_change_of_variables(push, base, intervals=5))
    assert f"∫ q dx = {numbers.integral:.3f}" in shown
    assert f"integral is {numbers.naive_integral:.3f}" in shown


def test_rectangles_have_the_areas_of_the_numbers():
    figure = plots.plot_change_of_variables(wave, intervals=4)
    numbers = plots.change_of_variables(wave, intervals=4)
    _, left, below, _ = figure.axes
    levels = StandardNormal(1).double().cdf(torch.tensor(numbers.edges)[:, None])[:, 0]
    for patches in (below.patches, left.patches):
        areas = [patch.get_width() * patch.get_height() for patch in patches]
        assert areas == pytest.approx(levels.diff().tolist(), abs=1e-5)
    assert [patch.get_y() for patch in left.patches] == pytest.approx(wave(torch.tensor(numbers.edges))[:-1].tolist())


def test_a_flow_of_one_feature_shows_its_density():
    flow = flow_of(1)
    numbers = plots.change_of_variables(flow)
    expected = flow.log_prob(torch.tensor(numbers.x)[:, None].to(flow.dtype)).exp().detach().numpy()
    middle = slice(1000, 3000)
    assert numbers.q[middle] == pytest.approx(expected[middle], rel=1e-3)


# --- the plane


def test_the_push_forward_shows_exact_densities_and_log_determinants():
    figure = plots.plot_push_forward(points=50)
    latent, pushed = (ax.images[0].get_array() for ax in figure.axes[:2])
    assert float(latent.max()) == pytest.approx(1 / (2 * math.pi), rel=1e-2)
    (low, high), (bottom, top) = figure.axes[1].get_xlim(), figure.axes[1].get_ylim()
    area = (high - low) * (top - bottom) / pushed.size
    assert float(np.nansum(pushed.filled(0))) * area == pytest.approx(0.985, abs=0.015)  # of what is shown
    lines = figure.axes[1].collections[0]
    ends = torch.tensor(np.array(lines.get_segments())).mean(dim=1)
    expected = -3 * torch.log1p(RadialSquash(2).inverse(ends).norm(dim=-1))
    assert np.asarray(lines.get_array()) == pytest.approx(expected.numpy(), abs=0.1)


def test_points_go_through_a_conditional_flow():
    flow, told = flow_of(2, context=1), torch.tensor([0.7], dtype=torch.float64)
    figure = plots.plot_push_forward(flow, context=told, points=20)
    z = flow.base.sample(20, generator=torch.Generator().manual_seed(0))
    x = flow.to_data(z, told.expand(20, 1)).detach().numpy()
    assert np.stack(figure.axes[1].lines[0].get_data(), axis=1) == pytest.approx(x, abs=1e-5)


def test_steps_end_at_the_data_and_their_log_determinants_add_up():
    flow = flow_of(2, depth=3)
    z = torch.randn(30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps = flow.steps(z)
    x = flow.to_data(z)
    torch.testing.assert_close(steps[-1].x, x)
    total = torch.stack([step.ladj for step in steps]).sum(dim=0)
    torch.testing.assert_close(flow.base.log_prob(z) - total, flow.log_prob(x))
    figure = plots.plot_layers(flow, z)
    drawn = [ax for ax in figure.axes if ax.collections]
    assert len(drawn) == len(steps) + 1
    assert np.asarray(drawn[-1].collections[0].get_offsets()) == pytest.approx(x.detach().numpy(), abs=1e-6)
    assert f"mean log|det| {steps[0].ladj.mean():+.2f}" in texts(figure)


# --- triangular maps


def test_the_jacobian_is_triangular_and_its_determinant_is_that_of_the_flow():
    flow = flow_of(4, depth=1)
    z = flow.base.sample(generator=torch.Generator().manual_seed(0))
    matrix = plots.jacobian(flow, z)
    assert (matrix.triu(1) == 0).all()
    of_flow = flow.base.log_prob(z) - flow.log_prob(flow.to_data(z))
    assert matrix.diagonal().log().sum().item() == pytest.approx(of_flow.item(), abs=1e-6)
    shown = texts(plots.plot_jacobian(flow))
    assert "triangular: its diagonal is enough" in shown
    assert f"of the matrix {of_flow:.4f}, of the flow {of_flow:.4f}" in shown
    assert "not triangular" in texts(plots.plot_jacobian(flow_of(3, depth=2)))
    same = texts(plots.plot_jacobian(flow, at=flow.to_data(z).detach()))
    assert f"of the flow {of_flow:.4f}" in same


def test_conditionals_multiply_to_the_density_and_a_chain_of_gaussians_lies_on_its_normals():
    banana = Flow(StandardNormal(2), Banana(2))
    at = torch.tensor([0.4, -0.8])
    figure = plots.plot_conditionals(banana, at=at)
    product = 1.0
    for ax, value in zip(figure.axes, at.tolist(), strict=True):
        curve, normal, _ = ax.lines
        assert curve.get_ydata() == pytest.approx(normal.get_ydata(), abs=2e-3)
        product *= np.interp(value, *curve.get_data())
    assert product == pytest.approx(banana.log_prob(at).exp().item(), rel=2e-3)


def test_conditionals_of_a_spline_flow_have_its_moments():
    flow = randomize(pf.flows.nsf(3, depth=1, hidden=(8,), context=1), seed=0)
    told = torch.tensor([0.3], dtype=torch.float64)
    at = flow.sample((), told, generator=torch.Generator().manual_seed(1))
    figure = plots.plot_conditionals(flow, at=at, context=told, names=["a", "b", "c"])
    drawn = flow.given(at[:2]).sample(20_000, told, generator=torch.Generator().manual_seed(2))
    name, mean, deviation = figure.axes[2].get_title().replace(",", "").split(" = ")
    assert name.startswith("c")
    assert float(mean.split()[0]) == pytest.approx(drawn.mean().item(), abs=0.05 * drawn.std().item())
    assert float(deviation) == pytest.approx(drawn.std().item(), rel=0.05)


# --- densities and samples


def test_densities_and_samples():
    one, two, three = flow_of(1), flow_of(2), flow_of(3, depth=1)
    rows = two.sample(200, generator=torch.Generator().manual_seed(0))
    x, y = plots.plot_density(one, limits=(-2, 2)).axes[0].lines[0].get_data()
    expected = one.log_prob(torch.tensor(x)[:, None].to(one.dtype)).exp().detach().numpy()
    assert y == pytest.approx(expected, rel=1e-4)
    assert len(plots.plot_density(two, rows).axes[0].lines[0].get_xdata()) == 200
    assert [ax.get_title() for ax in plots.plot_samples(two, rows).axes] == ["data", "samples of the model"]
    matrix = plots.plot_samples(three)
    assert len(matrix.axes) == 9
    assert not matrix.legends
    labels = [text.get_text() for text in plots.plot_samples(three, three.sample(300)).legends[0].get_texts()]
    assert labels == ["data", "samples"]
    assert len(plots.plot_samples(one).axes) == len(plots.plot_samples(one, one.sample(50)).axes) == 1


def test_a_histogram_counts_all_rows_also_those_outside_of_the_picture():
    rows = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    figure = plots.plot_density(StandardNormal(1), rows, limits=(0, 2))
    heights = figure.axes[0].patches[0].get_data().values
    assert heights[:3].mean() == pytest.approx(1 / math.sqrt(2 * math.pi), abs=0.03)


def test_calibration_is_that_of_the_distribution_functions():
    flow = flow_of(2, depth=1)
    rows = flow.sample(400, generator=torch.Generator().manual_seed(0))
    figure = plots.plot_pit(flow, pd.DataFrame(rows.numpy(), columns=["a", "b"]), names=["a", "b"])
    (heights,) = [patch.get_data().values for patch in figure.axes[1].patches if isinstance(patch, StepPatch)]
    counts = np.histogram(flow.cdf(rows)[:, 1].detach().numpy(), np.linspace(0, 1, len(heights) + 1))[0]
    assert heights == pytest.approx(counts * len(heights) / 400, abs=1e-6)


# --- any model


class Embedding(torch.nn.Module):
    def forward(self, context):
        return torch.stack([context.sum(dim=-1), context[..., 0]], dim=-1)


def test_contexts_go_through_the_map_of_the_flow_to_its_base():
    base = flow_of(2, context=2)
    flow = Flow(base, Scale(2, factor=2.0), context_map=Embedding(), context_shape=3).double()
    figure = plots.plot_push_forward(flow, context=[0.1, 0.2, 0.3], points=30)
    image = figure.axes[0].images[0]
    left, right, bottom, top = image.get_extent()
    middle = [left + 100.5 / 240 * (right - left), bottom + 120.5 / 240 * (top - bottom)]
    context = torch.tensor([0.6, 0.1], dtype=torch.float64)
    expected = base.log_prob(torch.tensor(middle, dtype=torch.float64), context).exp().item()
    assert float(image.get_array()[120, 100]) == pytest.approx(expected, rel=1e-5)
    for draw in (plots.plot_layers, plots.plot_jacobian, plots.plot_density, plots.plot_samples):
        assert draw(flow, context=np.array([0.1, 0.2, 0.3])).axes


def test_pictures_leave_the_model_as_it_is():
    flow = Flow(StandardNormal(2), BatchNorm(2).inv)
    flow.initialize(torch.randn(50, 2) + 3)
    before = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
    flow.train()
    for draw in (plots.plot_push_forward, plots.plot_layers, plots.plot_jacobian, plots.plot_density):
        draw(flow)
    assert flow.training
    assert all(torch.equal(before[name], tensor) for name, tensor in flow.state_dict().items())


def test_dropout_does_not_make_pictures_of_two_different_maps():
    flow = randomize(pf.flows.maf(2, depth=1, dropout=0.5), seed=0).train()
    shown = texts(plots.plot_jacobian(flow)).replace(",", "").split()
    assert shown[shown.index("matrix") + 1] == shown[-1]


@pytest.mark.parametrize("base", [Uniform([0.0, 0.0], [1.0, 1.0]), Normal([100.0, 5.0], [1.0, 2.0])])
def test_the_grid_lies_where_the_latents_are(base):
    figure = plots.plot_push_forward(Scale(2, factor=2.0), base)
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    segments = np.array(figure.axes[0].collections[0].get_segments()).reshape(-1, 2)
    assert ((segments >= [left, bottom]) & (segments <= [right, top])).all()
    cell = figure.axes[0].patches[0].get_xy()
    assert base.log_prob(torch.tensor(cell).float()).isfinite().all()


def test_a_base_in_a_disc():
    flow = Flow(StandardNormal(2), RadialSquash(2))
    figure = plots.plot_push_forward(RadialSquash(2).inv, flow)
    z = torch.tensor(np.array(figure.axes[0].collections[0].get_segments())).mean(dim=1)
    ladj = np.asarray(figure.axes[0].collections[0].get_array(), dtype=float)
    assert ladj == pytest.approx((-3 * torch.log1p(-z.norm(dim=-1))).numpy(), abs=0.3)


def test_small_densities_have_a_readable_scale():
    figure = plots.plot_density(Flow(StandardNormal(2), Scale(2, factor=1000.0)))
    figure.canvas.draw()
    ticks = {label.get_text() for label in figure.axes[-1].get_yticklabels()}
    assert len(ticks) > 2


def test_large_units_and_saturating_maps_increase():
    flow = pf.flows.maf(1, depth=1, hidden=(8,)).float()
    flow.initialize(torch.randn(500, 1, generator=torch.Generator().manual_seed(0)) + 1e5)
    assert plots.change_of_variables(flow).integral == pytest.approx(1, abs=1e-3)
    assert plots.change_of_variables(lambda z: torch.tanh(4 * z)).integral == pytest.approx(1, abs=2e-2)


def test_a_conditional_flow_of_one_feature():
    flow = flow_of(1, context=1)
    numbers = plots.change_of_variables(flow, context=[0.4])
    middle = slice(1000, 3000)
    x = torch.tensor(numbers.x)[middle, None].to(flow.dtype)
    expected = flow.log_prob(x, torch.tensor([0.4], dtype=flow.dtype)).exp().detach().numpy()
    assert numbers.q[middle] == pytest.approx(expected, rel=1e-3)


# --- mistakes

MISTAKES = [
    (lambda: plots.plot_change_of_variables(lambda z: -z), r"plot_change_of_variables: the map must increase; at z ="),
    (lambda: plots.plot_change_of_variables(torch.zeros_like), r"plot_change_of_variables: the map must increase; at"),
    (lambda: plots.plot_change_of_variables(lambda z: z[:1]), r"plot_change_of_variables: the function must return a"),
    (lambda: plots.plot_change_of_variables(RadialSquash(2)), r"plot_change_of_variables: shows maps of one feature;"),
    (lambda: plots.plot_change_of_variables(flow_of(2)), r"plot_change_of_variables: shows maps of one feature; got"),
    (lambda: plots.plot_change_of_variables(flow_of(1), StandardNormal(1)), r"plot_change_of_variables: a flow has i"),
    (lambda: plots.plot_change_of_variables(3), r"plot_change_of_variables: T must be a bijection, a flow or a funct"),
    (lambda: plots.plot_change_of_variables(wave, intervals=0), r"plot_change_of_variables: intervals must be a whol"),
    (lambda: plots.plot_change_of_variables(StandardNormal(1)), r"plot_change_of_variables: T must be a bijection, a"),
    (lambda: plots.plot_change_of_variables(flow_of(1, context=1)), r"plot_change_of_variables: the model is condi"),
    (lambda: plots.plot_push_forward(RadialSquash(3)), r"plot_push_forward: shows maps of two features; got events"),
    (lambda: plots.plot_push_forward(flow_of(3)), r"plot_push_forward: shows maps of two features; got \(3,\) to \(3,"),
    (lambda: plots.plot_push_forward(flow_of(2, context=1)), r"plot_push_forward: the model is conditional\. Pass con"),
    (lambda: plots.plot_push_forward(flow_of(2), StandardNormal(2)), r"plot_push_forward: a flow has its own base"),
    (lambda: plots.plot_push_forward(wave), r"plot_push_forward: shows a bijection or a flow; got function"),
    (lambda: plots.plot_push_forward(points=0), r"plot_push_forward: points must be a whole number of at least 1; go"),
    (lambda: plots.plot_layers(RadialSquash(2)), r"plot_layers: shows the layers of a Flow; got RadialSquash\. Use F"),
    (lambda: plots.plot_layers(flow_of(2, depth=20)), r"plot_layers: shows 24 layers at most; the flow has"),
    (lambda: plots.plot_jacobian(StandardNormal(2)), r"plot_jacobian: shows flows of a vector of features; got Stand"),
    (lambda: plots.plot_jacobian(flow_of(2), at=torch.zeros(3)), r"plot_jacobian: at must have the shape \(2\); got"),
    (lambda: plots.plot_jacobian(Flow(StandardNormal(201), Scale(201, factor=2.0))), r"plot_jacobian: shows 200 feat"),
    (lambda: plots.plot_conditionals(pf.flows.pixels((1, 2, 2)), at=torch.zeros(4)), r"plot_conditionals: shows auto"),
    (lambda: plots.plot_conditionals(flow_of(2, depth=2), at=torch.zeros(2)), r"Flow: .* mixes the order of the feat"),
    (lambda: plots.plot_conditionals(flow_of(13, depth=1), at=torch.zeros(13)), r"plot_conditionals: shows 12 featur"),
    (
        lambda: plots.plot_conditionals(flow_of(2, depth=1), at=torch.zeros(2), names=["a"]),
        r"plot_conditionals: names must be one for each of 2 features; got 1\.",
    ),
    (lambda: plots.plot_density(flow_of(3)), r"plot_density: shows one or two features; the model has \(3,\)\. Try p"),
    (lambda: plots.plot_density(flow_of(2), limits=(0, 1)), r"plot_density: limits must be 2 times a lower and a hig"),
    (lambda: plots.plot_density(flow_of(2), np.zeros((3, 1))), r"plot_density: data must have 2 columns; got 1\."),
    (lambda: plots.plot_density(flow_of(2, context=1)), r"plot_density: the model is conditional\. Pass context=, one"),
    (lambda: plots.plot_density(flow_of(2), context=[1.0]), r"plot_density: the model is not conditional\. Leave"),
    (lambda: plots.plot_density(flow_of(2, context=1), context=[1, 2]), r"plot_density: context must be one of shape"),
    (lambda: plots.plot_density(flow_of(2), samples=0), r"plot_density: samples must be a whole number of at least 1"),
    (lambda: plots.plot_density(MixedTypeModel([Continuous(), Categorical(3)])), r"plot_density: shows densities of"),
    (lambda: plots.plot_samples(flow_of(2), samples=0), r"plot_samples: samples must be a whole number of at least 1"),
    (lambda: plots.plot_layers(flow_of(2), points=0), r"plot_layers: points must be a whole number of at least 1; got"),
    (lambda: plots.plot_layers(flow_of(2), np.zeros((3, 1))), r"plot_layers: z must have the shape \(n, 2\); got"),
    (lambda: plots.jacobian(StandardNormal(2), [0.0, 0.0]), r"jacobian: shows flows of a vector of features; got"),
    (lambda: plots.plot_pit(flow_of(2, depth=1), torch.zeros(5, 2), names=["a"]), r"plot_pit: the model has 2 featur"),
    (lambda: plots.plot_pit(flow_of(2, depth=1), np.full((5, 2), np.nan)), r"plot_pit: x holds no number\."),
    (lambda: plots.plot_pit(MixedTypeModel([Categorical(3)]), np.ones((5, 1))), r"plot_pit: no column is ordered; cat"),
    (lambda: plots.plot_samples(pf.flows.pixels((1, 2, 2))), r"plot_samples: shows models of a vector of features; g"),
    (lambda: plots.plot_samples(flow_of(2), np.zeros((3, 1))), r"plot_samples: the model has 2 features; names and d"),
    (lambda: plots.plot_pit(flow_of(2, depth=2), torch.zeros(5, 2)), r"plot_pit: the distribution functions of the f"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "match"), MISTAKES, ids=[match for _, match in MISTAKES])
def test_mistakes_are_one_sentence(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# --- the page


def test_every_picture_of_the_page_is_made_by_the_lines_before_it():
    spec = importlib.util.spec_from_file_location("make_pictures", DOCS / "make_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = {name for name in plots.__all__ if name.startswith("plot_")}
    made = list(module.figures())
    assert all(path.is_file() for path, _ in made)
    assert all(figure.axes for _, figure in made)
    page = (DOCS / "pictures.md").read_text("utf-8")
    assert [name for name in sorted(shown) if f"plots.{name}(" not in page] == []

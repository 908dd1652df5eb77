"""Evaluation: numbers against closed forms, the precision check against planted errors, reports that stand alone."""

import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from pushforward import flows
from pushforward.bijections import LU, Chain, RadialSquash
from pushforward.core.bijection import Bijection
from pushforward.data.schema import Field, Schema
from pushforward.distributions import Continuous, Flow, MultivariateNormal, Normal, StandardNormal, Uniform
from pushforward.evaluate import (
    Baseline,
    baselines_from_dict,
    baselines_to_dict,
    evaluate,
    fit_baselines,
    log_prob_in_batches,
    precision_check,
    sample_in_batches,
)
from pushforward.evaluate.column_plots import plot_columns
from pushforward.evaluate.digit_grid import plot_digit_grid
from pushforward.evaluate.html import Checks, Code, Contents, Fact, HtmlTable, Section, page, picture, write_report
from pushforward.evaluate.metrics import signed, with_error
from pushforward.evaluate.plots import (
    plot_learning_curves,
    plot_log_densities,
    plot_pairs,
)
from pushforward.evaluate.report import model_report
from pushforward.evaluate.style import figure_to_png_uri, robust_limits


def correlated(rows=400, seed=0):
    """Three columns of very different units, far from independent."""
    z = np.random.default_rng(seed).normal(size=(rows, 3))
    mix = np.array([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-300.0, 80.0, 40.0]])
    return z @ mix.T + np.array([1.0, -5.0, 1e6])


def bimodal(rows=600, seed=0):
    """y in two narrow clumps whose weight and place depend on c."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(-1, 1, size=(rows, 1))
    side = np.where(rng.random((rows, 1)) < 0.5 + 0.4 * c, 1.0, -1.0)
    return 10 * (2 * side + c) + rng.normal(size=(rows, 1)), c


# Baselines.


def test_the_gaussian_is_the_maximum_likelihood_normal():
    x = correlated()
    reference = MultivariateNormal([0.0] * 3).double()
    reference.initialize(torch.tensor(x))
    new = correlated(50, seed=1)
    expected = reference.log_prob(torch.tensor(new)).detach().numpy()
    np.testing.assert_allclose(Baseline.gaussian(x).log_prob(new), expected, atol=1e-6)


def test_the_linear_gaussian_is_least_squares_with_the_full_residual_covariance():
    rows = correlated()
    y, c = rows[:, :2], rows[:, 2:]
    design = np.hstack([np.ones((len(c), 1)), c - 1e6])
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    residual = y - design @ coefficients
    covariance = residual.T @ residual / len(y)
    solved = np.einsum("ni,ij,nj->n", residual, np.linalg.inv(covariance), residual)
    expected = -0.5 * (solved + np.linalg.slogdet(2 * np.pi * covariance)[1])
    np.testing.assert_allclose(Baseline.gaussian(y, c).log_prob(y, c), expected, atol=1e-6)


@pytest.mark.parametrize("at", [-0.9, 0.0, 0.7, 25.0])
def test_the_conditional_mixture_integrates_to_one(at):
    y, c = bimodal()
    mixture = Baseline.mixture(y, c, components=(4,))
    assert mixture.components == 4
    grid = np.linspace(-2000, 2000, 400_001)[:, None]
    density = np.exp(mixture.log_prob(grid, np.full_like(grid, at)))
    assert np.trapezoid(density, grid.ravel()) == pytest.approx(1.0, abs=1e-6)


def test_the_conditional_mixture_is_the_joint_divided_by_the_context():
    y, c = bimodal()
    joint = Baseline.mixture(np.hstack([c, y]), components=(3,))
    conditional = Baseline.mixture(y, c, components=(3,))
    alone = Baseline(
        joint.weights, joint.means[:, :1], joint.factors[:, :1, :1], joint.shift[:1], joint.scale[:1], 1, joint.rows
    )
    expected = joint.log_prob(np.hstack([c, y])) - alone.log_prob(c)
    np.testing.assert_allclose(conditional.log_prob(y, c), expected, atol=1e-9)


def test_the_mixture_is_in_the_units_of_the_rows():
    y, _ = bimodal()
    one, other = (Baseline.mixture(rows, components=(2,)) for rows in (y, 1000 * y + 7))
    np.testing.assert_allclose(other.log_prob(1000 * y + 7), one.log_prob(y) - math.log(1000), atol=1e-6)


def test_bic_finds_two_clumps_and_no_third():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((800, 1)) < 0.5, -4.0, 4.0) + rng.normal(size=(800, 2))
    assert Baseline.mixture(x).components == 2
    assert Baseline.mixture(rng.normal(size=(800, 2))).components == 1


def test_many_rows_are_thinned_the_same_way_each_time():
    x = correlated(900)
    one, other = (Baseline.mixture(x, components=(1, 2), max_rows=300, seed=3) for _ in range(2))
    assert one.rows == 300
    assert one.to_dict() == other.to_dict()
    assert one.to_dict() != Baseline.mixture(x, components=(1, 2), max_rows=300, seed=4).to_dict()


@pytest.mark.parametrize("conditional", [False, True])
def test_baselines_survive_json_bit_for_bit(conditional):
    y, c = bimodal()
    context = c if conditional else None
    fitted = fit_baselines(y, context, components=(2,))
    again = baselines_from_dict(json.loads(json.dumps(baselines_to_dict(fitted))))
    assert list(again) == ["independent", "gaussian", "gmm"]
    for name in fitted:
        assert (again[name].log_prob(y, context) == fitted[name].log_prob(y, context)).all()


@pytest.mark.parametrize(
    "spoil", [{"weights": [0.5, 0.5, 0.0]}, {"features": 3}, {"means": None}, {"factors": [[1.0]]}]
)
def test_a_spoiled_description_is_refused(spoil):
    described = Baseline.mixture(bimodal()[0], components=(2,)).to_dict()
    with pytest.raises(ValueError, match="Baseline: the stored description cannot be read"):
        Baseline.from_dict({**described, **spoil})


def test_a_missing_entry_is_refused():
    described = Baseline.gaussian(correlated()).to_dict()
    del described["scale"]
    with pytest.raises(ValueError, match=r"cannot be read .*scale"):
        Baseline.from_dict(described)


def test_collinear_columns_are_made_regular_and_said():
    x = correlated()
    both = Baseline.gaussian(np.hstack([x, x[:, :1] + x[:, 1:2]]))
    assert "Column 3 of x is a linear combination" in both.note
    assert np.isfinite(both.log_prob(np.hstack([x, x[:, :1] + x[:, 1:2]]))).all()
    assert Baseline.gaussian(x).note == ""


def test_collinear_context_changes_nothing():
    rows = correlated()
    y, c = rows[:, :1], rows[:, 1:2]
    twice = np.hstack([c, 3 * c, np.ones_like(c)])
    doubled = Baseline.gaussian(y, twice)
    assert doubled.note == ""
    np.testing.assert_allclose(doubled.log_prob(y, twice), Baseline.gaussian(y, c).log_prob(y, c), atol=1e-5)


def test_rows_that_are_not_finite_stay_their_own_business():
    x = correlated()
    fitted = Baseline.gaussian(x)
    rows = x[:5].copy()
    rows[1, 0], rows[2, 1], rows[3, 2] = np.nan, np.inf, 1e300
    log_prob = fitted.log_prob(rows)
    assert np.isnan(log_prob[1])
    assert np.isneginf(log_prob[[2, 3]]).all()
    assert (log_prob[[0, 4]] == fitted.log_prob(x[:5])[[0, 4]]).all()


@pytest.mark.parametrize(
    ("x", "context", "match"),
    [
        (np.ones((5, 1)), None, "column 0 of x is constant, so its density is infinite. Drop it"),
        (np.array([[1.0], [np.nan]]), None, "row 1 holds NaN or ±Inf"),
        (np.zeros((0, 2)), None, "x must have at least one row"),
        (np.zeros((1, 2)), None, "needs at least 2 rows; got 1"),
        (np.arange(3.0)[:, None], np.zeros((2, 1)), "x has 3 rows but context has 2"),
    ],
)
@pytest.mark.parametrize("fit", [Baseline.gaussian, Baseline.mixture])
def test_training_rows_that_cannot_be_fitted_are_refused(fit, x, context, match):
    with pytest.raises(ValueError, match=match):
        fit(x, context)


def test_a_forgotten_context_is_refused():
    y, c = bimodal()
    with pytest.raises(ValueError, match="fitted on 1 columns of x and 1 of context"):
        Baseline.gaussian(y, c).log_prob(y)


# Metrics.


def test_the_numbers_are_means_with_their_errors():
    x = correlated(200)
    model = Normal([0.0, 0.0, 1e6], [3.0, 10.0, 500.0])
    baselines = fit_baselines(correlated(300, seed=5), components=(1,))
    evaluation = evaluate(model, x, baselines=baselines, batch_size=64)
    model_log_prob = model.log_prob(torch.tensor(x).float()).detach().double().numpy()
    baseline_log_prob = baselines["gaussian"].log_prob(x)
    assert (evaluation.rows, evaluation.outside, evaluation.undefined) == (200, 0, 0)
    assert evaluation.log_likelihood == pytest.approx(model_log_prob.mean())
    assert evaluation.standard_error == pytest.approx(model_log_prob.std(ddof=1) / math.sqrt(200))
    assert evaluation.bits_per_dimension == pytest.approx(-model_log_prob.mean() / 3 / math.log(2))
    score = evaluation.baselines["gaussian"]
    assert score.log_likelihood == pytest.approx(baseline_log_prob.mean())
    assert score.difference == pytest.approx((model_log_prob - baseline_log_prob).mean())
    assert score.difference_error == pytest.approx((model_log_prob - baseline_log_prob).std(ddof=1) / math.sqrt(200))
    assert "worse than the Gaussian by" in evaluation.sentences()[1]
    described = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert set(described) >= {"rows", "log_likelihood", "standard_error", "bits_per_dimension", "baselines"}
    assert described["baselines"]["gmm"]["components"] == 1


def test_rows_outside_are_counted_and_never_dropped():
    x = torch.tensor([[0.5], [0.25], [3.0], [math.nan]])
    evaluation = evaluate(Uniform([0.0], [2.0]), x[:3])
    assert (evaluation.outside, evaluation.undefined) == (1, 0)
    assert evaluation.log_likelihood == -math.inf
    assert math.isnan(evaluation.standard_error)
    assert evaluation.log_likelihood_inside == pytest.approx(-math.log(2))
    assert "1 of 3 rows have no finite log-density" in evaluation.sentences()[0]
    described = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert described["log_likelihood"] is None
    assert described["outside"] == 1
    with_nan = evaluate(Uniform([0.0], [2.0]), x)
    assert (with_nan.outside, with_nan.undefined) == (1, 1)
    assert math.isnan(with_nan.log_likelihood)


def test_one_row_has_a_mean_and_no_error():
    evaluation = evaluate(StandardNormal(2), np.zeros((1, 2)))
    assert evaluation.log_likelihood == pytest.approx(-math.log(2 * math.pi))
    assert math.isnan(evaluation.standard_error)
    assert evaluation.to_dict()["standard_error"] is None


def test_equal_models_cannot_be_told_apart():
    x = np.random.default_rng(0).normal(size=(500, 2))
    evaluation = evaluate(StandardNormal(2), x, baselines={"gaussian": Baseline.gaussian(np.vstack([x, -x]))})
    assert "cannot be told apart" in evaluation.sentences()[0]


def test_batches_make_no_difference_and_the_model_is_left_as_it_was():
    model = flows.maf(3, context=1, depth=2, hidden=(8,), dropout=0.5, data_dtype="float64")
    model.train()
    model.bijection.eval()
    modes = [part.training for part in model.modules()]
    x, context = correlated(70), np.linspace(0, 1, 70)[:, None]
    whole = log_prob_in_batches(model, x, context)
    np.testing.assert_allclose(log_prob_in_batches(model, x, context, batch_size=16), whole, rtol=1e-6)
    assert [part.training for part in model.modules()] == modes
    with pytest.raises(ValueError, match="built with context"):
        log_prob_in_batches(model, x)
    assert [part.training for part in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dropout_is_off_while_scoring():
    model = flows.maf(2, depth=1, hidden=(32,), dropout=0.5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.train()
    x = np.random.default_rng(0).normal(size=(20, 2))
    assert (log_prob_in_batches(model, x) == log_prob_in_batches(model, x)).all()


@pytest.mark.parametrize(
    ("x", "context", "match"),
    [
        (np.zeros((0, 2)), None, "at least one row"),
        (np.zeros((3, 2)), np.zeros((2, 1)), "x has 3 rows but context has 2"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused(x, context, match):
    with pytest.raises(ValueError, match=match):
        evaluate(StandardNormal(2), x, context)


def test_samples_repeat_with_their_seed_and_follow_their_context():
    model = flows.nsf(2, context=1, depth=1, hidden=(8,), data_dtype="float64")
    context = np.linspace(-1, 1, 30)[:, None]
    one = sample_in_batches(model, 30, context, seed=1, batch_size=7)
    assert one.shape == (30, 2)
    assert (one == sample_in_batches(model, 30, context, seed=1, batch_size=7)).all()
    assert (one != sample_in_batches(model, 30, context, seed=2, batch_size=7)).all()
    with pytest.raises(ValueError, match="29 samples need 29 rows of context; got 30"):
        sample_in_batches(model, 29, context)


def test_numbers_are_written_to_be_read():
    assert with_error(-7.74213, 0.02412) == "−7.742 ± 0.024"
    assert with_error(3.14159, 1.2) == "3.1 ± 1.2"
    assert signed(math.nan) == "undefined"
    assert signed(-math.inf) == "−∞"


# The precision check.


class Planted(Bijection):
    """y = 2x, but the log-determinant, the inverse or the rounding is as wrong as asked for."""

    def __init__(self, features=2, *, ladj=0.0, shift=0.0, cancel=False):
        super().__init__()
        self.in_shape = self.out_shape = (features,)
        self.config = {"type": "Planted"}  # as if it were registered, where other tests would find it
        self.wrong_ladj, self.shift, self.cancel = ladj, shift, cancel
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def _forward_and_ladj(self, x, context):
        ladj = self.weight.log() * x.shape[-1] + self.wrong_ladj
        return x * self.weight, ladj.expand(x.shape[:-1])

    def _inverse_and_ladj(self, y, context):
        x = y / self.weight + self.shift * y.detach().abs()
        if self.cancel:
            x = (x + 1e7) - 1e7  # rounds in float32 only
        return x, -(self.weight.log() * y.shape[-1] + self.wrong_ladj).expand(y.shape[:-1])


def checked(**planted):
    x = np.random.default_rng(0).normal(size=(100, 2))
    return precision_check(Flow(StandardNormal(2), Planted(**planted)), x)


def test_a_sound_flow_passes():
    check = checked()
    assert check.ok
    assert (check.rows, check.jacobian_rows) == (100, 8)
    assert check.round_trip < 1e-6
    assert check.ladj < 1e-12
    assert check.float32_max < 1e-5
    assert "can be trusted" in check.verdict
    json.dumps(check.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("planted", "match"),
    [
        ({"ladj": 0.01}, "log-determinant is off by 0.01 nats"),
        ({"shift": 0.1}, "round trip data → latent → data is off by"),
        ({"cancel": True}, "rounding in float32"),
    ],
)
def test_a_planted_error_is_caught(planted, match):
    check = checked(**planted)
    assert not check.ok
    assert match in check.verdict
    assert "cannot be trusted" in check.verdict


def test_a_map_that_returns_nan_is_no_sound_map():
    class Nan(Planted):
        def _forward_and_ladj(self, x, context):
            y, ladj = super()._forward_and_ladj(x, context)
            return y * math.nan, ladj

    check = precision_check(Flow(StandardNormal(2), Nan()), np.random.default_rng(0).normal(size=(10, 2)))
    assert not check.ok
    assert check.to_dict()["round_trip"] is None


@pytest.mark.parametrize("data_dtype", [None, "float64"])
def test_real_flows_pass_with_context_and_wide_data(data_dtype):
    model = flows.nsf(3, context=2, depth=2, hidden=(8,), data_dtype=data_dtype)
    x, context = correlated(80), np.random.default_rng(1).normal(size=(80, 2))
    if data_dtype is None:
        x = x - np.array([0.0, 0.0, 1e6])
    tensors = [torch.tensor(v, dtype=torch.float64 if data_dtype else torch.float32) for v in (x, context)]
    model.initialize(*tensors)
    for name, parameter in model.named_parameters():
        if "conditioner" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    check = precision_check(model, x, context)
    assert check.ok, check.verdict
    assert check.jacobian_rows == 8


def test_the_weights_are_not_touched():
    model = flows.real_nvp(2, depth=2, hidden=(8,)).double().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    precision_check(model, np.random.default_rng(0).normal(size=(20, 2)))
    assert model.training
    after = model.state_dict()
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())


def test_rows_without_a_density_are_passed_over():
    model = Flow(StandardNormal(2), Chain([LU(2), RadialSquash(2)]))
    x = np.array([[0.1, 0.2], [5.0, 5.0], [np.nan, 0.0], [-0.3, 0.4]])
    assert precision_check(model, x).rows == 2
    with pytest.raises(ValueError, match="no row has a finite log-density"):
        precision_check(model, x[1:3])


def test_a_plain_distribution_has_only_its_two_precisions_compared():
    check = precision_check(Normal([0.0], [1.0]), np.linspace(-1, 1, 5)[:, None])
    assert (check.round_trip, check.ladj, check.jacobian_rows) == (None, None, 0)
    assert check.ok


# Pictures and pages.


def history(validation=True):
    records = [
        SimpleNamespace(step=s, epoch=s / 10, seconds=float(s), train=-9.0 / s, validation=-10.0 / s, lr=1e-3)
        for s in range(1, 30)
    ]
    if not validation:
        for record in records:
            record.validation = None
    return SimpleNamespace(records=records, best_step=20, stopped="step limit reached")


def drawn_text(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


@pytest.mark.parametrize("validation", [True, False])
def test_learning_curves_mark_what_was_kept(validation):
    texts = " ".join(drawn_text(plot_learning_curves(history(validation))))
    assert ("kept: step 20" in texts) == validation
    assert "training rows" in texts
    with pytest.raises(ValueError, match="holds no record"):
        plot_learning_curves(SimpleNamespace(records=[], best_step=0))


@pytest.mark.exhaustive
def test_pictures_survive_awkward_columns():
    rng = np.random.default_rng(0)
    rows = 300
    data = np.column_stack([
        1e9 + rng.normal(size=rows),
        rng.integers(0, 3, rows),
        np.where(rng.random(rows) < 0.9, 0.0, rng.exponential(size=rows)),
        np.full(rows, 7.0),
        rng.standard_cauchy(rows),
    ])  # fmt: skip
    samples = data[::-1].copy()
    samples[:5] = np.nan
    samples[5:20] = 1e30
    names = ["$x$", "<b>", "a_long_name_" * 9, "ü\n", "_hidden"]
    schema = Schema(tuple(Field(name, Continuous(), "", "float64") for name in names))
    for figure in (plot_columns(schema, data, samples), plot_pairs(data, samples, names)):
        assert figure_to_png_uri(figure, dpi=40).startswith("data:image/png;base64,")
    assert any("of samples" in text for text in drawn_text(plot_columns(schema, data, samples)))


def test_columns_must_agree():
    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match="must have equal numbers of columns; got 2, 2 and 1"):
        plot_pairs(x, x, ["a"])
    with pytest.raises(ValueError, match="needs at least two columns"):
        plot_pairs(x[:, :1], x[:, :1], ["a"])


def test_one_far_value_does_not_blind_a_picture():
    low, high = robust_limits(np.r_[np.linspace(0, 1, 10_000), 1e12, np.nan, np.inf])
    assert -0.1 < low < 0 < 1 < high < 1.1
    assert robust_limits(np.full(5, 3.0)) == (1.5, 4.5)
    assert robust_limits(np.array([np.nan])) == (0.0, 1.0)


def test_log_densities_say_what_is_left_out():
    evaluation = evaluate(Uniform([0.0], [1.0]), np.linspace(0.005, 1.2, 100)[:, None])
    assert any("rows outside the plot" in text for text in drawn_text(plot_log_densities(evaluation)))
    nothing = evaluate(Uniform([0.0], [1.0]), np.full((3, 1), 2.0))
    with pytest.raises(ValueError, match="no row has a finite log-density"):
        plot_log_densities(nothing)


def test_digits_stand_in_their_rows():
    samples = np.repeat(np.arange(100.0), 64).reshape(100, 64)
    figure = plot_digit_grid(samples)
    canvas = figure.axes[0].images[0].get_array()
    assert float(canvas[5, 5]) == 0.0
    assert float(canvas[5, 14]) == 1.0
    assert float(canvas[14, 5]) == 10.0
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [str(i) for i in range(10)]
    with pytest.raises(ValueError, match="square number of square images"):
        plot_digit_grid(np.zeros((99, 64)))


def small_report(columns=("<script>alert(1)</script>",), **options):
    y, c = bimodal(80)
    model = flows.nsf(1, context=1, depth=1, hidden=(8,), data_dtype="float64")
    model.initialize(torch.tensor(y), torch.tensor(c))
    baselines = fit_baselines(y, c, components=(1, 2))
    return model_report(model, columns, y, c, ['"c" & $d$'], baselines=baselines, **options)


def test_a_report_is_one_file_that_asks_nobody_for_anything(tmp_path):
    target = tmp_path / "report.html"
    sections, numbers = small_report(
        history=history(), facts={"flow": "<i>nsf</i>"}, commands="pushforward fit <a> && b"
    )
    write_report(target, "A <model>", sections, lead="x < y")
    text = target.read_text("utf-8")
    assert list(tmp_path.iterdir()) == [target]
    assert not re.search(r"https?:|<script|<link|<iframe|@import|url\(|<i>", text)
    assert set(re.findall(r'src="(.{22})', text)) == {"data:image/png;base64,"}
    links = re.findall(r'href="#([^"]*)"', text)
    assert links
    assert set(links) < set(re.findall(r'id="([^"]*)"', text))
    assert numbers["verdict"]["headline"] in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&#34;c&#34; &amp; $d$" in text
    assert "pushforward fit &lt;a&gt; &amp;&amp; b" in text
    assert text.count("<img") == 6  # densities, calibration, columns, associations, pairs, learning curves
    assert "Module" not in text  # layers are summarised, not printed
    for word in (
        "Gaussian mixture",
        "can be trusted",
        "29 seconds: step limit reached.",
        "parameters",
        "A &lt;model&gt;",
    ):
        assert word in text


def test_a_report_repeats_itself():
    one, other = (page("t", small_report()[0]) for _ in range(2))
    assert one == other


def test_a_report_needs_a_name_a_column():
    with pytest.raises(ValueError, match="x has 1 columns and context 1; got 2 and 1 names"):
        small_report(["a", "b"])


def test_every_string_on_a_page_is_escaped():
    parts = ["<p1>", Fact("<f>"), Code("<c>"), Code("<d>", "<s>"), HtmlTable(["<h>"], [["<r>", "<t>"]], "<k>")]
    parts += [Checks([("note", "<n>")]), Contents("<o>", "<m>")]
    text = page("<x>", [Section("<y>", [*parts, picture(Figure((1, 1)), '"><b>', dpi=20)]), Section("<z>")], lead="<l>")
    body = text[text.index("</style>") :]
    tags = "body|main|h1|p|section|h2|pre|code|details|summary|figure|figcaption|table|thead|tr|th|tbody|td|img|div"
    tags += "|ul|li|b|span|nav|ol|a"
    assert set(re.findall(r"<(\w+)", body)) == set(tags.split("|"))
    for escaped in ("p1", "f", "c", "d", "s", "h", "r", "t", "k", "x", "y", "l", "n", "o", "m", "z"):
        assert f"&lt;{escaped}&gt;" in body
    assert 'alt="&#34;&gt;&lt;b&gt;"' in body


def test_tables_and_folded_code_have_their_markup():
    parts = [
        HtmlTable(["a", "b"], [["x", "1"]], "A caption."),
        HtmlTable([], [["x", "words"]], words=True),
        Code("c", "fold"),
    ]
    text = page("t", [Section("s", parts)])
    assert '<th scope="col">b</th>' in text
    assert '<tr><th scope="row">x</th><td>1</td></tr>' in text
    assert "<figcaption>A caption.</figcaption>" in text
    assert text.count("<thead>") == 1
    assert text.count('<table class="words">') == 1
    assert '<details><summary>fold</summary><pre tabindex="0"><code>c</code></pre></details>' in text


def test_a_report_is_not_left_half_written(tmp_path):
    with pytest.raises(OSError, match="does not exist"):
        write_report(tmp_path / "no" / "report.html", "t", [])
    write_report(tmp_path / "odd.html", "half a surrogate: \ud800", [])
    assert "half a surrogate: ?" in (tmp_path / "odd.html").read_text("utf-8")

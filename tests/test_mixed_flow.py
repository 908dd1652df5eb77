"""A mixed-type model of some columns and a flow of the others given them: alone, in estimator and commands."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import run

import pushforward as pf
from pushforward.data.formats import TableError
from pushforward.data.rules import draw_within
from pushforward.distributions import Bounded, Categorical, Continuous, Flow, Integer, MixedFlow, MixedTypeModel
from pushforward.estimators import FlowDensity
from pushforward.flows import maf, nsf

SMALL = {"depth": 2, "hidden": [16]}


def table(rows: int = 400) -> pd.DataFrame:
    """Real columns around places that hang on a category, which has gaps."""
    rng = np.random.default_rng(0)
    kind = rng.choice(list("abc"), rows)
    a = np.array([0.0, 2.0, -1.0])[pd.Categorical(kind).codes] + 0.3 * rng.normal(size=rows)
    frame = pd.DataFrame({"a": a, "kind": kind, "b": a**2 + 0.1 * rng.normal(size=rows)})
    frame.loc[::17, "kind"] = None
    return frame


def model_of(places=(1,), count: int = 1) -> MixedFlow:
    """A model with random weights of a category, or two discrete columns, and two real ones."""
    torch.manual_seed(0)
    types = [Categorical(3), Integer(0, high=4)][:count]
    mixed = MixedTypeModel(types, hidden=(8,))
    model = MixedFlow(mixed, maf(2, MixedFlow.embedding_size(mixed), depth=2, hidden=[8], data_dtype="float64"), places)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double()


@pytest.fixture(scope="module")
def fitted() -> FlowDensity:
    return FlowDensity(model="nsf", options=SMALL, steps=200, random_state=0).fit(table())


def test_the_density_sums_to_one_over_categories_and_a_grid_of_numbers():
    model = model_of()
    line = torch.linspace(-12, 12, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    total = 0.0
    for level in range(3):
        x = torch.stack([grid[:, 0], torch.full((len(grid),), float(level)).double(), grid[:, 1]], dim=1)
        total += model.log_prob(x).exp().sum().item() * 0.1**2
    assert total == pytest.approx(1, abs=2e-3)


def test_the_density_is_that_of_the_parts_wherever_the_columns_stand():
    model = model_of(places=(0, 2), count=2)
    x = torch.tensor([[1.0, 0.3, 4.0, -0.5], [2.0, 0.3, 0.0, 1.5]], dtype=torch.float64)
    first, rest = x[:, [0, 2]], x[:, [1, 3]]
    network = model.mixed.network
    inputs = network.encode(first.t()).inputs[:4]  # the category, and of the whole number its place alone
    seen = torch.cat([inputs, torch.ones(2, 2).double()]).t()
    expected = model.mixed.log_prob(first) + model.real.log_prob(rest, seen)
    torch.testing.assert_close(model.log_prob(x), expected)
    assert [type(model.column_type(j)) for j in range(4)] == [Categorical, Continuous, Integer, Continuous]
    assert model.log_prob(torch.tensor([[3.0, 0.3, 4.0, -0.5]]).double()).item() == -torch.inf


def test_draws_have_the_frequencies_and_the_places_of_the_densities():
    model = model_of()
    x = model.sample((4000,), generator=torch.Generator().manual_seed(0))
    probabilities = model.mixed.given({}).column_marginal(0).probabilities()
    counts = torch.bincount(x[:, 1].long(), minlength=3) / len(x)
    assert (counts - probabilities).abs().max() < 4 * 0.5 / len(x) ** 0.5
    of_each = [x[x[:, 1] == level][:, [0, 2]].mean(dim=0) for level in range(3)]
    for level, mean in enumerate(of_each):
        seen = model._embedded(torch.tensor([[float(level)]]).double(), None)
        expected = model.real.sample((4000,), seen, generator=torch.Generator().manual_seed(1)).mean(dim=(0, 1))
        assert (mean - expected).abs().max() < 0.3


def test_a_flow_learns_a_table_with_categories_and_gaps(fitted, tmp_path):
    frame = table()
    assert isinstance(fitted.model_, MixedFlow)
    independent = FlowDensity(model="nsf", options=SMALL, steps=200, random_state=0).fit(
        frame.assign(kind=frame["kind"].sample(frac=1, random_state=0).to_numpy())
    )
    assert fitted.score(frame) > independent.score(frame) + 0.3
    draws = fitted.sample(500, random_state=0)
    assert set(draws["kind"].dropna()) == {"a", "b", "c"}
    assert abs(draws.groupby("kind")["a"].mean()["b"] - 2) < 0.3
    pf.save(fitted, tmp_path / "m.safetensors")
    loaded = FlowDensity.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.score_samples(frame), fitted.score_samples(frame))


def test_a_context_may_hold_categories_and_gaps_where_there_are_discrete_columns():
    frame = table().assign(code=np.arange(400) % 2)
    model = FlowDensity(model="nsf", options=SMALL, context=["kind"], steps=200, random_state=0).fit(frame)
    means = {kind: model.given({"kind": kind}).sample(300, 0)["a"].mean() for kind in "abc"}
    assert means["b"] > means["a"] + 1 > means["c"] + 1.3
    assert np.isfinite(model.score_samples(frame)).all()
    assert len(model.given({}).sample(3)) == 3  # a missing context was learned
    with pytest.raises(TableError, match="column 'kind' holds text, and nsf models numbers"):
        FlowDensity(model="nsf", options=SMALL, context=["kind"]).fit(table())


def test_the_mixed_type_part_has_the_options_of_the_estimator():
    model = FlowDensity(model="nsf", options=SMALL, order="fixed", hidden=(24, 24), dropout=0.3, steps=2).fit(table())
    mixed = model.model_.mixed
    assert (mixed.order, mixed.config["hidden"], mixed.config["dropout"]) == ("fixed", [24, 24], 0.3)


def test_a_declared_real_number_is_for_the_flow_and_a_declared_bound_is_kept():
    options = {"model": "nsf", "options": SMALL, "steps": 2}
    assert FlowDensity(**options, types={"a": "continuous"}).fit(table()).model_.places == [1]
    bounded = FlowDensity(**options, types={"a": Bounded(-8, 8)}).fit(table())
    assert bounded.model_.places == [0, 1]
    assert np.isneginf(bounded.score_samples(table(5).assign(a=9.0, kind="a"))).all()
    held_out = table(60).assign(kind="a")
    held_out.loc[3, "a"] = 9.0
    with pytest.warns(UserWarning, match="1 validation rows hold values that the training rows do not allow"):
        FlowDensity(**options, types={"a": Bounded(-8, 8)}, validation=held_out).fit(table())


def test_codes_alone_are_learned_as_numbers_only_where_that_is_asked_for():
    codes = pd.DataFrame({f"h{k}": np.arange(450) % (k + 2) for k in range(3)})
    assert isinstance(FlowDensity(model="nsf", options=SMALL, steps=2).fit(codes).model_, Flow)
    real = codes.assign(real=np.linspace(0, 1, 450) ** 2)
    assert FlowDensity(model="auto", context=["real"], steps=2).fit(real).model_name_ == "mixed"


def test_a_table_without_discrete_columns_is_one_flow():
    model = FlowDensity(model="nsf", options=SMALL, steps=5).fit(table()[["a", "b"]])
    assert isinstance(model.model_, pf.distributions.Flow)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (lambda m: m.impute(table()), "impute: nsf cannot condition on any columns"),
        (lambda m: m.score_samples(table().assign(b=np.nan)), "column 'b' has 400 missing values"),
        (lambda m: m.given({"kind": "a"}), "'kind': nsf is a model of all its columns together"),
        (lambda m: FlowDensity(model="nsf", options=SMALL).fit(table()[["kind"]]), "column 'kind' holds text"),
        (
            lambda m: FlowDensity(model="nsf", types={"kind": "categorical"}).fit(
                pd.DataFrame({"kind": [0, 1] * 20}),
            ),
            "categories|column types are for the model 'mixed'",
        ),
    ],
)
def test_what_such_a_model_cannot_do_is_one_sentence(fitted, question, sentence):
    with pytest.raises((TableError, ValueError), match=sentence):
        question(fitted)


def test_gaps_that_were_never_learned_are_refused(fitted):
    frame = table().dropna()
    model = FlowDensity(model="nsf", options=SMALL, steps=5, random_state=0).fit(frame)
    with pytest.raises(ValueError, match="MixedFlow: column 1 is missing in a row, which no row was"):
        model.score_samples(frame.assign(kind=None))
    gap = table().assign(b=lambda t: t["b"].where(t.index != 7))
    for refused in (lambda: model.partial_fit(gap), lambda: FlowDensity(model="nsf", validation=gap).fit(table())):
        with pytest.raises(TableError, match="column 'b' has 1 missing value in 400 rows, first at row 8"):
            refused()
    x = torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"MixedFlow: x must have shape \(\*batch, 3\); got \(2, 2\)"):
        fitted.model_.log_marginal(x[:, :2])
    with pytest.raises(ValueError, match="MixedFlow: x must be float64"):
        fitted.model_.log_marginal(x.float())
    mixed = MixedTypeModel([Categorical(3)], context=[Categorical(2)], hidden=(8,))
    conditional = MixedFlow(mixed, nsf(2, MixedFlow.embedding_size(mixed), depth=1, hidden=[8]), [0])
    with pytest.raises(ValueError, match="MixedFlow: an entry of the context is missing, which this model"):
        conditional.log_marginal(x, x[:, :1] * torch.nan)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda mixed: MixedFlow(mixed, nsf(2), [0]), "MixedFlow: real must be a flow of vectors with a context of 4"),
        (lambda mixed: MixedFlow(mixed, nsf(2, 4), [3]), r"MixedFlow: places must be 1 rising numbers of columns in 0"),
        (lambda mixed: MixedFlow(mixed, nsf(2, 4), [0]).column_type(3), r"columns are numbered 0 \.\. 2; got 3"),
    ],
)
def test_parts_that_do_not_fit(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(MixedTypeModel([Categorical(3)], hidden=(8,)))


def test_the_commands_take_such_a_model(tmp_path):
    path, out, report = tmp_path / "t.csv", tmp_path / "m.safetensors", tmp_path / "report.html"
    table().to_csv(path, index=False)
    options = ["--model", "nsf", "--set", "depth=1,hidden=8,bins=4", "--steps", "30"]
    for arguments in (
        ["fit", path, "--out", out, *options],
        ["score", out, path, "--out", tmp_path / "scores.csv"],
        ["sample", out, "-n", "50", "--out", tmp_path / "drawn.csv"],
        ["evaluate", out, path],
        ["report", out, path, "--out", report],
    ):
        run(*arguments)
    assert set(pd.read_csv(tmp_path / "drawn.csv")["kind"].dropna()) <= {"a", "b", "c"}
    sentence = "Discrete columns are modelled as if they were continuous"
    assert sentence not in report.read_text()
    codes, plain = tmp_path / "codes.csv", tmp_path / "plain.html"
    pd.DataFrame({f"h{k}": np.arange(300) % (k + 2) for k in range(2)}).to_csv(codes, index=False)
    for arguments in (["fit", codes, "--out", out, "--force", *options], ["report", out, codes, "--out", plain]):
        run(*arguments)
    assert sentence in plain.read_text()


def test_draws_keep_the_limits_of_the_columns():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"share": rng.uniform(0, 1, 400).clip(0.1, 0.9), "kind": rng.choice(list("ab"), 400)})
    frame["paid"] = np.exp(2 * rng.normal(size=400)).round(2)
    model = FlowDensity(model="nsf", options=SMALL, steps=20, random_state=0).fit(frame)
    draws = model.sample(2000, random_state=1)
    assert draws["share"].between(0.1, 0.9).all()
    assert (draws["paid"] >= 0).all()
    ends = np.array([[-1.0, -np.inf], [1.0, np.inf]])
    assert (np.abs(draw_within(lambda count: rng.normal(size=(count, 2)), ends, 50)[:, 0]) <= 1).all()
    assert (
        draw_within(lambda count: rng.normal(size=(count, 2)) + 99, ends, 50)[:, 0] == 1
    ).all()  # where none lies inside

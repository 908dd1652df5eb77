"""`FlowImages`: toys whose probabilities can be summed, and what it refuses."""

import itertools
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone

import pushforward as pf
from pushforward.data import Images, read_images
from pushforward.data.image_labels import ImageAttributes
from pushforward.estimators import FlowImages
from pushforward.estimators.image_conditions import (
    Attributes,
    Classes,
    Nothing,
    Pictures,
    condition_from_json,
    learn_condition,
)
from pushforward.estimators.image_schedule import image_schedule
from pushforward.evaluate.images import evaluate_images, judge_classes

SMALL = {"options": {"hidden": (8, 8), "above": 2, "beside": 2}, "levels": 4, "lr": 0.02, "random_state": 0}
TINY_FLOW = {"options": {"hidden": (8, 8), "depth": 1}, "levels": 4, "steps": 4, "random_state": 0}


def toy(count=120, side=3, seed=0):
    """Dark images of class "dark" and bright ones of class "bright", of levels 0 .. 3."""
    draw = np.random.default_rng(seed)
    bright = draw.integers(2, size=count)
    images = draw.integers(0, 2, (count, side, side)) + 2 * bright[:, None, None]
    return images.astype(np.uint8), np.array(["dark", "bright"])[bright]


@pytest.fixture(scope="module")
def fitted():
    images, y = toy()
    return FlowImages(steps=60, **SMALL).fit(images, y)


def test_training_may_ask_for_the_classes_as_well():
    """Two classes that differ in the last pixel alone, and not always: few steps of likelihood hardly see it."""
    draw = np.random.default_rng(0)
    images, y = draw.integers(0, 4, (300, 3, 3)), draw.integers(2, size=300)
    images[:, 2, 2] = np.where(draw.random(300) < 0.9, 3 * y, images[:, 2, 2])
    losses = []
    for weight in (0.0, 20.0):
        model = FlowImages(steps=40, classification=weight, **SMALL).fit(images, y)
        assert (model.history_.metric == "log-likelihood") == (weight == 0)
        losses.append(judge_classes(model.predict_proba(images), y).log_loss)
    assert losses[1] < losses[0] - 0.02
    assert clone(model).classification == 20.0


def test_what_users_choose_goes_before_the_default_schedule():
    chosen = image_schedule("pixels", 1000, steps=30, lr=0.1, patience="auto")
    assert (chosen["steps"], chosen["lr"], chosen["batch_size"], chosen["optimizer"]) == (30, 0.1, 16, pf.train.Soap)
    assert image_schedule("window_flow", 1000, "cuda")["batch_size"] == 64
    assert image_schedule("tarflow", 64_000)["steps"] == 20_000
    assert image_schedule("tarflow", 640, patience=7) == {
        "batch_size": 64, "lr": 2e-3, "steps": 1000, "validate_every": 25, "patience": 7,
    }  # fmt: skip
    assert image_schedule("tarflow", 64_000, seconds=60.0)["lr"] == 3e-3
    assert image_schedule("tarflow", 64_000, patience="auto")["patience"] == 50


# --- probabilities ---------------------------------------------------------------------------------------------------


def test_probabilities_of_all_images_sum_to_one_with_labels_and_without():
    draw = np.random.default_rng(1)
    images, y = draw.integers(0, 3, (60, 2, 2), dtype=np.uint8), draw.integers(5, 7, 60)
    model = FlowImages(steps=20, **{**SMALL, "levels": 3}).fit(images, y)
    every = np.array(list(itertools.product(range(3), repeat=4)), dtype=np.uint8).reshape(-1, 2, 2)
    assert model.exactness == "exact"
    by_class = [np.exp(model.score_samples(every, c)) for c in (5, 6)]
    assert [p.sum() for p in by_class] == pytest.approx([1, 1], abs=1e-5)
    mixture = np.exp(model.score_samples(every))
    assert mixture == pytest.approx(model.class_prior_ @ np.array(by_class), rel=1e-5)
    posterior = model.predict_proba(every)
    assert posterior[:, 1] == pytest.approx(model.class_prior_[1] * by_class[1] / mixture, rel=1e-5)
    assert model.bits_per_dim(every) == pytest.approx(-np.log2(mixture) / 4, rel=1e-5)
    assert model.score(every) == pytest.approx(np.log(mixture).mean(), rel=1e-5)


def test_completions_keep_the_rows_and_follow_the_exact_conditional_distribution():
    draw = np.random.default_rng(2)
    images = draw.integers(0, 2, (100, 2, 2), dtype=np.uint8)
    images[:, 1] = np.where(draw.random((100, 2)) < 0.8, images[:, 0], 1 - images[:, 0])
    y = np.where(draw.random(100) < 0.8, images[:, 0, 0], 1 - images[:, 0, 0])
    model = FlowImages(steps=60, **{**SMALL, "levels": 2}).fit(images, y)
    top = np.array([[1, 0]], dtype=np.uint8)
    completed = model.complete(top, 4000, random_state=1)
    assert completed.shape == (4000, 2, 2)
    assert completed.dtype == np.uint8
    assert (completed[:, :1] == top).all()
    every = np.array([[*top[0], a, b] for a, b in itertools.product(range(2), repeat=2)]).reshape(-1, 2, 2)
    for given_y in (None, 1):
        joint = np.exp(model.score_samples(every, given_y))
        exact = joint / joint.sum()
        seen = model.complete(top, 4000, given_y, random_state=3)[:, 1]
        shares = [(seen == image[1]).all(axis=1).mean() for image in every]
        assert shares == pytest.approx(exact, abs=4 * 0.5 / 4000**0.5)


def test_classes_are_found_and_asked_for(fitted):
    images, y = toy(80, seed=5)
    assert (fitted.predict(images) == y).mean() > 0.95
    assert fitted.classes_.tolist() == ["bright", "dark"]
    assert fitted.class_prior_.sum() == pytest.approx(1)
    for name, low, high in (("dark", 0, 1), ("bright", 2, 3)):
        drawn = fitted.sample(40, name)
        assert drawn.shape == (40, 3, 3)
        assert ((drawn >= low) & (drawn <= high)).mean() > 0.95
    drawn = fitted.sample(30, ["dark", "bright"] * 15)
    assert (fitted.predict(drawn) == ["dark", "bright"] * 15).mean() > 0.9
    mixed = fitted.predict(fitted.sample(300))
    assert (mixed == "dark").mean() == pytest.approx(fitted.class_prior_[1], abs=0.12)


def test_a_tenth_of_the_labels_is_hidden_another_in_each_epoch():
    model = FlowImages(label_dropout=0.1)
    x, context = torch.zeros(5000, 1, 2, 2), torch.ones(5000, 3)
    passes = model._passes(x, context, 0)
    hidden = [passes(epoch)[1].sum(dim=1) == 0 for epoch in range(2)]
    assert [h.double().mean().item() for h in hidden] == pytest.approx([0.1, 0.1], abs=0.02)
    assert (hidden[0] & hidden[1]).double().mean().item() == pytest.approx(0.01, abs=0.005)
    assert torch.equal(hidden[0], passes(0)[1].sum(dim=1) == 0)
    assert model._passes(x, None, 0) is x


def test_low_temperatures_give_the_most_usual_images():
    draw = np.random.default_rng(3)
    images = (draw.random((200, 3, 3)) < 0.2).astype(np.uint8)  # mostly zeros
    fitted = FlowImages(steps=60, **SMALL).fit(images, np.array(["dark", "bright"])[draw.integers(2, size=200)])
    usual = fitted.sample(100, "dark", temperature=0.3, random_state=1)
    plain = fitted.sample(100, "dark", random_state=1)
    assert fitted.score(usual, "dark") > fitted.score(plain, "dark") + 1
    sharp = fitted._led(0.0, 0.5)
    x, c = torch.tensor(plain[:4]).float()[:, None], torch.tensor([[0.0, 1.0]]).expand(4, -1)
    first = [m.given(x[:, :, :2]).log_prob(x[:, :, 2:], c) for m in (fitted.model_, sharp)]
    assert not torch.allclose(first[0], first[1])
    every = np.array(list(itertools.product(range(4), repeat=3)), dtype=np.float32).reshape(-1, 1, 1, 3)
    whole = torch.cat([x[:1, :, :2].expand(len(every), -1, -1, -1), torch.tensor(every)], dim=2)
    rest = sharp.given(whole[:, :, :2]).log_prob(whole[:, :, 2:], c[:1].expand(len(every), -1))
    assert rest.exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_guidance_leads_samples_and_completions(fitted):
    """What it does to each step is a property, `leads_each_step`; here that it arrives, and none changes nothing."""
    plain, led = (fitted.sample(200, "dark", guidance=w, random_state=1) for w in (0.0, 8.0))
    assert np.array_equal(plain, fitted.sample(200, "dark", random_state=1))
    assert not np.array_equal(plain, led)
    top = plain[0, :1]
    completed = fitted.complete(top, 5, "dark", guidance=8.0, temperature=0.5, random_state=0)
    assert (completed[:, :1] == top).all()
    both = fitted.sample(200, "dark", guidance=8.0, temperature=0.3, random_state=1)
    assert len(np.unique(both, axis=0)) < len(np.unique(led, axis=0))


# --- shapes, labels and attributes -----------------------------------------------------------------------------------


def test_images_come_back_with_the_axes_that_they_have(tmp_path):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 4, (40, 3, 4, 5), dtype=np.uint8)
    cases = [
        (pixels[:, 0], (4, 5)), (np.moveaxis(pixels, 1, 3), (4, 5, 3)), (pixels, (3, 4, 5)), (pixels[:, :1], (1, 4, 5)),
        (Images(pixels), (3, 4, 5)), (pixels[:, 0].astype(float), (4, 5)),
    ]  # fmt: skip
    scores = []
    for images, shape in cases:
        model = FlowImages(steps=1, **SMALL).fit(images)
        assert model.sample(2).shape == (2, *shape)
        top = model.sample(1)[0]
        rows = top[:, :2] if len(shape) == 3 and shape[0] != 4 else top[:2]
        assert model.complete(rows, 3).shape == (3, *shape)
        scores.append(model.score_samples(images))
    assert np.array_equal(scores[1], scores[2])
    np.savez(tmp_path / "x.npz", images=pixels, labels=np.arange(40) % 2)
    model = FlowImages(steps=1, **SMALL).fit(tmp_path / "x.npz")
    assert model.classes_.tolist() == ["0", "1"]
    assert model.score_samples(tmp_path / "x.npz").shape == (40,)
    assert model.score_samples(read_images(tmp_path / "x.npz"), 1).shape == (40,)  # the number of a class is its name


def test_attributes_are_standardised_and_may_be_hidden():
    draw = np.random.default_rng(0)
    level = draw.uniform(size=200)
    images = (draw.random((200, 3, 3)) < level[:, None, None]).astype(np.uint8)
    model = FlowImages(steps=150, **{**SMALL, "levels": 2, "label_dropout": 0.3})
    model.fit(images, np.stack([1000 * level, np.full(200, 7.0)], axis=1))
    bright, dark = model.sample(100, [950.0, 7.0]).mean(), model.sample(100, [50.0, 7.0]).mean()
    assert bright > dark + 0.4
    assert dark < model.sample(200).mean() < bright
    assert model.score(images, np.stack([1000 * level, np.full(200, 7.0)], axis=1)) > model.score(images)


@pytest.mark.parametrize("model", ["pixels", "window_flow"])
def test_images_are_restored_from_smaller_ones(model, tmp_path):
    """Each pixel of a 2 x 2 image decides about four pixels of a 4 x 4 image, up to a coin."""
    draw = np.random.default_rng(0)
    small = draw.integers(0, 2, (300, 2, 2)).astype(np.uint8)
    images = 2 * small.repeat(2, axis=1).repeat(2, axis=2) + draw.integers(0, 2, (300, 4, 4)).astype(np.uint8)
    options = {**SMALL["options"], **({"univariate": "steps"} if model == "window_flow" else {})}
    options |= {"hidden": (16, 16), "recurrent": 4}
    estimator = FlowImages(model=model, **{**SMALL, "options": options}, steps=150).fit(images, small)
    told, hidden = estimator.bits_per_dim(images, small).mean(), estimator.bits_per_dim(images).mean()
    assert told == pytest.approx(1, abs=0.1)  # the coin
    assert hidden > told + 0.1
    drawn = estimator.sample(300, small, random_state=1)
    assert (drawn[:, ::2, ::2] // 2 == small).mean() > 0.98
    assert (estimator.sample(20, small[0]) // 2 == images[0] // 2).mean() > 0.95
    estimator.save(tmp_path / "m.safetensors")
    loaded = FlowImages.load(tmp_path / "m.safetensors").set_params(random_state=0)
    expected = estimator.score_samples(images[:5], small[:5])
    np.testing.assert_allclose(loaded.score_samples(images[:5], Images(small[:5, None])), expected, rtol=1e-5)


def test_images_that_are_given_in_other_forms():
    images, _ = toy(20)
    as_list = FlowImages(steps=1, **SMALL).fit(images, list(images))
    assert as_list.condition_ == FlowImages(steps=1, **SMALL).fit(images, images[:, None]).condition_
    flow = FlowImages(model="window_flow", steps=1, levels=4, options={"hidden": (8, 8)}).fit(images, images)
    with pytest.raises(ValueError, match=r"mean_latents: needs labels of classes, and these are images"):
        flow.mean_latents(images, images)
    assert [*flow.mean_latents(images)] == [None]


def test_an_image_is_laid_over_the_grid():
    small = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    condition = learn_condition(small, 2, (4, 3))
    assert condition == Pictures((1, 2, 2), (4, 3), 3.5, small.std()) == condition_from_json(condition.to_json())
    assert learn_condition(small, 2).encode(small, 2)[:, 1:].mean().abs() < 1e-6
    context = condition.encode(small, 2)
    np.testing.assert_array_equal(condition.laid(small[:, None])[:, 0], small[:, [0, 0, 1, 1]][:, :, [0, 0, 1]])
    np.testing.assert_array_equal(condition.decode(context), small[:, None])
    large = np.arange(50, dtype=np.uint8).reshape(2, 5, 5)
    thinned = learn_condition(large, 2, (2, 3))
    left = thinned.decode(thinned.encode(large, 2))
    np.testing.assert_array_equal(left[:, 0], large[:, [0, 2]][:, :, [0, 1, 3]])
    torch.testing.assert_close(thinned.encode(left, 2), thinned.encode(large, 2))
    assert condition.decode(condition.encode(None, 2)) is None
    colours = learn_condition(np.zeros((2, 4, 4, 3), np.uint8), 2, (4, 4))
    assert colours.shape == (3, 4, 4)
    assert colours.encode(np.full((4, 4, 3), 255), 5)[:, 1:].eq(255).all()


def test_attributes_are_told_by_their_names():
    """Columns of data frames of all kinds in any order; and what is not told is not made up."""
    rows = np.arange(12.0).reshape(6, 2) ** 2
    condition = learn_condition(pd.DataFrame(rows, columns=["age", "angle"]), 6)
    assert condition.names == ("age", "angle")
    context = condition.encode(rows, 6)
    for frame in (
        pd.DataFrame({"angle": rows[:, 1], "age": rows[:, 0]}),
        pl.DataFrame({"angle": rows[:, 1], "age": rows[:, 0]}),
        pa.table({"angle": rows[:, 1], "age": rows[:, 0]}),
        ImageAttributes(rows[:, ::-1], ("angle", "age")),
    ):
        assert torch.equal(condition.encode(frame, 6), context)
    np.testing.assert_allclose(condition.decode(context), rows, atol=1e-4)
    assert condition.decode(condition.encode(None, 6)) is None
    classes = learn_condition(["a", "b"], 2)
    assert classes.decode(classes.encode(None, 2)) is None
    with pytest.raises(
        ValueError, match=r"was fitted to the attributes age, angle; y has age, size\. Name its columns"
    ):
        condition.encode(pd.DataFrame(rows, columns=["age", "size"]), 6)
    with pytest.raises(ValueError, match="attributes must be numbers; got a table with other columns"):
        learn_condition(pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}), 2)


def test_conditions_survive_their_file():
    for condition in (
        Nothing(),
        learn_condition(["b", "a", "b"], 3),
        learn_condition([3, 1, None], 3),
        learn_condition(np.array([[1.0, 2.0], [3.0, 2.0]]), 2),
    ):
        assert condition_from_json(condition.to_json()) == condition
    assert learn_condition(["10", "9", "10"], 3).names == ("9", "10")
    assert learn_condition(np.array([True, False]), 2).names == (False, True)
    assert learn_condition([("a", 1), ("b", 2)], 2).encode(("b", 2), 1).tolist() == [[0, 1]]
    assert isinstance(learn_condition(np.ones((2, 1)), 2), Attributes)
    assert isinstance(learn_condition(torch.tensor([1, 2]), 2), Classes)


# --- flows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["glow", "tarflow", "window_flow"])
def test_flows_bound_probabilities_and_interpolate(name):
    images, y = toy(60, side=4)
    options = {**TINY_FLOW["options"], **({"levels": 1} if name == "glow" else {})}
    model = FlowImages(model=name, **{**TINY_FLOW, "options": options}).fit(images, y)
    assert model.exactness == "bound"
    assert np.array_equal(model.score_samples(images), model.score_samples(images))
    assert model.predict_proba(images).sum(axis=1) == pytest.approx(np.ones(60))
    way = model.interpolate(images[0], images[1], 5, y="dark")
    assert np.array_equal(way[0], images[0])
    assert np.array_equal(way[-1], images[1])
    assert way.shape == (5, 4, 4)
    assert model.sample(3, "dark", temperature=0.5).max() < 4
    means = model.mean_latents(images, y)
    assert list(means) == ["bright", "dark"]
    assert means["dark"].shape == (4, 4)
    one = model.mean_latents(images[:1], y[:1])  # of one image the image itself
    assert np.array_equal(one[y[0]], images[0])
    with pytest.raises(ValueError, match=rf"^FlowImages\.complete: {name} has no exact distribution .*'pixels' has\.$"):
        model.complete(images[0, :2])


def test_mean_latents_group_by_labels_that_the_flow_does_not_know():
    images, y = toy(30, side=4)
    model = FlowImages(model="window_flow", **TINY_FLOW).fit(images)
    both = model.mean_latents(images, y)
    for name in ("bright", "dark"):
        alone = model.mean_latents(images[y == name])[None]
        assert (np.abs(both[name].astype(int) - alone) <= 1).mean() > 0.9  # but for the noise
    with pytest.raises(ValueError, match=r"FlowImages\.mean_latents: needs labels of classes, and these are"):
        model.mean_latents(images, np.ones((30, 2)))


# --- scikit-learn, files, repeats -------------------------------------------------------------------------------------


def test_it_is_an_estimator_of_scikit_learn(fitted):
    assert clone(fitted).get_params() == fitted.get_params()
    assert FlowImages().set_params(model="glow", steps=3).model == "glow"
    images, y = toy()
    again = FlowImages(steps=60, **SMALL).fit(images, y)
    assert np.array_equal(again.score_samples(images), fitted.score_samples(images))
    assert np.array_equal(again.sample(5), fitted.sample(5))
    assert not np.array_equal(fitted.sample(5, random_state=1), fitted.sample(5, random_state=2))
    assert again.history_.records[-1].step == 60


def test_saved_and_loaded_it_answers_as_before(tmp_path, fitted):
    images, _ = toy()
    for write in (fitted.save, lambda path: pf.save(fitted, path, metadata={"by": "me"})):
        write(tmp_path / "m.safetensors")
        loaded = FlowImages.load(tmp_path / "m.safetensors")
        assert np.array_equal(loaded.score_samples(images), fitted.score_samples(images))
        assert np.array_equal(loaded.predict(images), fitted.predict(images))
        assert np.array_equal(loaded.sample(3, random_state=1), fitted.sample(3, random_state=1))
        assert (loaded.layout_, loaded.shape_, loaded.levels) == ("hw", (1, 3, 3), 4)
    pf.save(fitted.model_, tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match=r"plain\.safetensors: this file holds no FlowImages"):
        FlowImages.load(tmp_path / "plain.safetensors")


def test_training_goes_on_from_a_checkpoint_and_ctrl_c_leaves_a_model(tmp_path, monkeypatch):
    images, y = toy()
    whole = FlowImages(steps=50, **SMALL).fit(images, y)
    path = tmp_path / "c"
    FlowImages(steps=25, checkpoint=path, **SMALL).fit(images, y)
    longer = FlowImages(steps=50, checkpoint=path, resume=True, **SMALL).fit(images, y)
    assert longer.history_.records[-1].step == whole.history_.records[-1].step == 50

    from pushforward.train import Validated
    from pushforward.train.progress import ProgressBar

    def stop(self, event):
        if isinstance(event, Validated):
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "__call__", stop)
    model = FlowImages(steps=5000, verbose=True, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        model.fit(images, y)
    assert model.history_.stopped == "interrupted"
    assert model.sample(2).shape == (2, 3, 3)


def test_validation_images_may_be_named(tmp_path):
    images, y = toy()
    held = toy(20, seed=9)
    seen = []
    for validation in (held, 0.25, None):
        FlowImages(steps=2, validation=validation, **SMALL).fit(images, y, prepared=seen.append)
    assert [None if p.validation is None else len(p.validation) for p in seen] == [20, 30, None]
    assert [len(p.train) for p in seen] == [120, 90, 120]
    assert [seen[0].model.classes_[k] for k in seen[0].labels] == held[1].tolist()


# --- judging ---------------------------------------------------------------------------------------------------------


def test_simple_models_of_images_are_what_they_say():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 4, (4000, 1, 2, 2), dtype=np.uint8)
    bits = np.full(4000, 2.0)
    for train in (None, images):
        judged = evaluate_images(bits, "exact", images, train, levels=4)
        assert judged.others["independent pixels"].bits == pytest.approx(2, abs=0.01)
        variance = 1.25 + 1 / 12  # of four equally likely levels and of the noise
        gaussian = 0.5 * math.log2(2 * math.pi * variance) + 0.5 / math.log(2)
        assert judged.others["Gaussian, dequantized"].bits == pytest.approx(gaussian, abs=0.01)
        assert judged.others["Gaussian, dequantized"].exactness == "bound"
        assert judged.model.error == pytest.approx(0)
        assert judged.others["zlib -9, each image"].ahead > 0
    assert set(evaluate_images(bits[:5], "bound", images[:5]).others) == {
        "PNG, each image", "zlib -9, each image", "zlib -9, all at once",
    }  # fmt: skip


def test_the_judge_of_classes_knows_calibrated_probabilities():
    draw = np.random.default_rng(0)
    p = draw.uniform(size=20_000)
    truth = (draw.random(20_000) < p).astype(np.int64)
    judge = judge_classes(np.stack([1 - p, p], axis=1), truth)
    assert judge.calibration_error < 0.02
    assert judge.accuracy == pytest.approx(0.75, abs=0.01)
    assert judge.log_loss == pytest.approx(0.5, abs=0.01)  # the mean entropy of a uniform probability
    sure = np.where(p > 0.5, 0.999, 0.001)
    assert judge_classes(np.stack([1 - sure, sure], axis=1), truth).calibration_error > 0.2


# --- mistakes --------------------------------------------------------------------------------------------------------

X, Y = toy(20)


def unlabelled():
    return FlowImages(steps=1, **SMALL).fit(X)


def labelled(**options):
    return FlowImages(steps=1, **{**SMALL, **options}).fit(X, Y)


def with_attributes(**options):
    return FlowImages(steps=1, **{**SMALL, **options}).fit(X, np.ones((20, 2)))


def given_images(**options):
    return FlowImages(steps=1, **{**SMALL, **options}).fit(X, X)


MISTAKES = [
    (lambda: FlowImages(model="nsf").fit(X), r"FlowImages: model must be one of 'glow'"),
    (lambda: FlowImages(steps=0).fit(X), r"FlowImages: steps must be a whole number of at least 1; got 0"),
    (lambda: FlowImages(seconds=-1).fit(X), r"FlowImages: seconds must be a positive number"),
    (lambda: FlowImages(levels=1).fit(X), r"FlowImages: levels must be between 2 and 256; got 1\."),
    (lambda: FlowImages(levels=3).fit(X), r"FlowImages: levels=3 is for pixels of 0 \.\. 2; the images hold 3\."),
    (lambda: FlowImages(label_dropout=1).fit(X), r"FlowImages: label_dropout must be at least 0 and below 1; got 1\."),
    (lambda: FlowImages(classification=-1).fit(X, Y), r"FlowImages: classification must be a number of at least 0"),
    (lambda: FlowImages(classification=1).fit(X), r"FlowImages: classification is for images of two or more labels\."),
    (lambda: FlowImages(validation=1.5).fit(X), r"FlowImages: validation must be a share below 1, images, or None"),
    (lambda: FlowImages(validation=X[:, :2], **SMALL).fit(X), r"FlowImages: the validation images have 2 × 3 pixels"),
    (lambda: FlowImages(options={"hiden": 3}).fit(X), r"options: pixels: there is no option 'hiden'\. Did you mean"),
    (lambda: FlowImages(model="glow").fit(X), r"glow: features must be .* that 4 divides; got \(1, 3, 3\)"),
    (lambda: FlowImages().fit(X[:1]), r"FlowImages: 1 training image is not enough; at least two are needed\."),
    (lambda: FlowImages().fit(X / 3), r"FlowImages: pixels must be whole numbers from 0 to 255; got float64"),
    (lambda: FlowImages().fit(X[0]), r"FlowImages: images must have the shape \(n, height, width\)"),
    (lambda: FlowImages().fit("no.npz"), r"no\.npz: there is no such file or folder"),
    (lambda: FlowImages().fit(X, Y[:3]), r"FlowImages: y is of 3 images, and there are 20\. Give one label for each"),
    (lambda: FlowImages().fit(X, "dark"), r"FlowImages: y must list the label of each image; got 'dark'\."),
    (lambda: FlowImages().fit(X, np.full(20, 0.5)), r"FlowImages: y holds real numbers, which are no labels"),
    (lambda: FlowImages().fit(X, np.ones((20, 0))), r"FlowImages: y must be labels \(n,\) or attributes \(n, k\)"),
    (lambda: FlowImages().fit(X, np.ones((20, 2, 2, 2))), r"FlowImages: y: images must have the shape \(n, height"),
    (lambda: FlowImages().fit(X, X[:3]), r"FlowImages: y is of 3 images, and there are 20\. Give one for each image\."),
    (lambda: FlowImages(model="glow").fit(X, X), r"FlowImages: model='glow' is not conditional on images\. Take pix"),
    (lambda: given_images().sample(2, X[:3]), r"FlowImages: the model is given images of shape \(1, 3, 3\), one f"),
    (lambda: given_images().sample(1, np.zeros((6, 6))), r"FlowImages: the model is given images of shape \(1, 3, 3"),
    (lambda: FlowImages().fit(X, [X[0]] * 19 + [X[0, :2]]), r"FlowImages: the images in y differ in shape\. Resize"),
    (lambda: given_images().sample(1, X[0, :2]), r"FlowImages: the model is given images of shape \(1, 3, 3\), one f"),
    (lambda: FlowImages().fit(X, np.full((20, 1), np.nan)), r"FlowImages: attributes must be finite; y holds NaN"),
    (lambda: FlowImages().fit(X, np.full((20, 1), "a")), r"FlowImages: attributes must be numbers; got ndarray\."),
    (lambda: FlowImages().fit(X, [[1]] * 20), r"FlowImages: labels must be hashable; got \[1\]\. Give attributes as"),
    (lambda: learn_condition(range(2000), 2000), r"FlowImages: y has 2,000 classes, and at most 1,000 are learned"),
    (lambda: learn_condition([("a",)], 1).to_json(), r"FlowImages: the class \('a',\) cannot be written to a file"),
    (lambda: unlabelled().sample(2, "dark"), r"FlowImages: this model was fitted without labels and takes no y"),
    (lambda: unlabelled().predict(X), r"FlowImages\.predict_proba: this model was fitted without labels and knows no"),
    (lambda: unlabelled().score_samples(X[:, :2]), r"FlowImages: the model is of images of 3 × 3 pixels; got 2 × 3"),
    (lambda: unlabelled().mean_latents(X), r"FlowImages\.mean_latents: pixels has no latent space\. The flows have"),
    (lambda: unlabelled().interpolate(X[0], X[1]), r"FlowImages\.interpolate: pixels has no latent space\. The flows"),
    (lambda: unlabelled().complete(X[0]), r"FlowImages: top_rows must be the first 1 to 2 rows of one image with 1"),
    (lambda: unlabelled().complete(X[0, :1] + 9), r"FlowImages: levels=4, and top_rows holds 1[0-2]\."),
    (lambda: unlabelled().sample(0), r"FlowImages: n must be a whole number of at least 1; got 0"),
    (lambda: unlabelled().sample(1, temperature=0.0), r"FlowImages: temperature must be a positive number"),
    (lambda: labelled().sample(2, "grey"), r"FlowImages: there is no class 'grey'\. The classes are 'bright', 'dark'"),
    (lambda: labelled().sample(2, ["dark"]), r"FlowImages: y has 1 labels for 2 images\. Give one for each, or one\."),
    (lambda: with_attributes().sample(2, [1.0]), r"FlowImages: y must be one vector of 2 attributes or a matrix of"),
    (lambda: with_attributes(label_dropout=0).sample(2), r"FlowImages\.sample: the model is conditional, and y is"),
    (
        lambda: FlowImages(
            model="window_flow", options={"hidden": (8, 8), "univariate": "steps"}, levels=4, steps=1
        ).fit(X).sample(1, temperature=0.5),
        r"with_temperature: scales the noise of a Flow whose base lives on the real line",
    ),
    (lambda: pf.flows.pixels((4,)), r"DiscreteGrid: shape must be \(channels, \*spatial\)"),
    (lambda: unlabelled().sample(1, guidance=1.0), r"FlowImages: guidance leads towards a label, and the model has"),
    (lambda: labelled().sample(1, "dark", guidance=-1.0), r"FlowImages: guidance must be a number of at least 0"),
    (
        lambda: with_attributes(label_dropout=0).sample(1, [1.0, 1.0], guidance=1.0),
        r"FlowImages: guidance needs what the model is without labels\. Fit with label_dropout above 0\.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[message[:50] for _, message in MISTAKES])
def test_mistakes_are_refused_in_one_sentence(mistake, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        mistake()


def test_long_draws_show_how_far_they_are(fitted, monkeypatch, capfd):
    monkeypatch.setattr("pushforward.estimators.image_answers.NUMBERS", 40)
    quiet = fitted.sample(20, random_state=0)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(fitted, "verbose", True)
    fitted.sample(20, random_state=0)
    assert capfd.readouterr().err == ""  # no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert (fitted.sample(20, random_state=0) == quiet).all()
    shown = capfd.readouterr()
    assert "draw" in shown.err
    assert shown.out == ""


def test_probabilities_of_classes_are_means_over_draws_of_noise():
    flow = FlowImages(
        model="glow", levels=4, options={"levels": 1, "depth": 1, "hidden": (4, 4)}, steps=5, random_state=0
    )
    images = np.random.default_rng(0).integers(0, 4, (40, 4, 4))
    flow.fit(images, np.arange(40) % 2)
    one, four = flow.predict_proba(images), flow.predict_proba(images, draws=4)
    np.testing.assert_allclose(one, flow.score_by_class(images).probabilities)
    assert np.abs(four.sum(axis=1) - 1).max() < 1e-12
    assert np.abs(four - one).max() > 0
    with pytest.raises(ValueError, match=r"FlowImages: draws must be a whole number of at least 1; got 0"):
        flow.predict_proba(images, draws=0)

"""The command line for images: real files of toys, most of it in this process, and Ctrl-C in one of its own."""

import csv
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import run, run_json
from PIL import Image
from typer.main import get_command

from pushforward.cli.app import app
from pushforward.data import read_images
from pushforward.data.images import read_image
from pushforward.estimators import FlowImages
from pushforward.flows import IMAGE_FLOWS

TINY = ["--set", "hidden=8,8,above=2,beside=2", "--levels", "4", "--lr", "0.02"]


def refused(*arguments, match, code=1):
    """The command ends with one sentence on standard error that matches."""
    last = run(*arguments, code=code).stderr.strip().split("\n")[-1]
    assert re.search(rf"^Error: {match}", last), last


def toy(count, seed=0):
    draw = np.random.default_rng(seed)
    bright = draw.integers(2, size=count)
    return (draw.integers(0, 2, (count, 4, 4)) + 2 * bright[:, None, None]).astype(np.uint8), bright


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """images/ with labels.csv, test.npz, flat.npy, a table, and models: digits, plain (no labels), flow, table."""
    folder = tmp_path_factory.mktemp("images")
    images, bright = toy(80)
    (folder / "images").mkdir()
    names = ["dark", "bright"]
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label"])
        for k, image in enumerate(images):
            Image.fromarray(image).save(folder / "images" / f"{k:03d}.png")
            rows.writerow([f"{k:03d}.png", names[bright[k]]])
    test, truth = toy(60, seed=1)
    np.savez(folder / "test.npz", images=test, labels=np.array(names)[truth])
    np.save(folder / "flat.npy", test)
    (folder / "t.csv").write_text("a,b\n" + "".join(f"{k},{k * k % 7}\n" for k in range(60)))
    fit = ("fit", folder / "images", "--seed", 1, *TINY)
    run(*fit, "--labels", folder / "labels.csv", "--out", folder / "m.safetensors", "--steps", 60)
    run("fit", folder / "flat.npy", "--out", folder / "plain.safetensors", "--steps", 5, *TINY)
    run(
        "fit", folder / "test.npz", "--no-labels", "--model", "window_flow", "--levels", 4, "--steps", 3,
        "--set", "hidden=8,8", "--out", folder / "flow.safetensors",
    )  # fmt: skip
    run("fit", folder / "t.csv", "--out", folder / "t.safetensors", "--steps", 20, "--set", "hidden=8")
    return folder


def test_fit_says_what_it_learns_and_compares_it(folder, tmp_path):
    out = tmp_path / "m.safetensors"
    arguments = ("fit", folder / "images", "--labels", folder / "labels.csv", "--out", out, "--steps", 60, *TINY)
    result = run(*arguments, "--seed", 1)
    assert "72 training and 8 validation images of 4 × 4 pixels, of 2 classes: 'bright', 'dark'." in result.stderr
    assert "Fitting pixels, whose bits per dimension are exact." in result.stderr
    for line in ("this model", "independent pixels", "PNG, each image"):
        assert line in result.stdout
    assert "Bayes' rule is right about 100.0%" in result.stderr
    assert not (tmp_path / "m.safetensors.checkpoint").exists()
    answer = run_json(*arguments, "--seed", 1)
    assert answer["evaluation"]["model"]["bits"] < 1.5
    assert (answer["model"], answer["images"], answer["classes"]) == ("pixels", "1 × 4 × 4", ["bright", "dark"])
    assert FlowImages.load(out).score_samples(toy(5)[0]) == pytest.approx(
        FlowImages.load(folder / "m.safetensors").score_samples(toy(5)[0])
    )
    (option,) = [option for option in get_command(app).commands["fit"].params if option.name == "model"]
    assert all(name in option.help for name in IMAGE_FLOWS)


def test_evaluate_prints_bits_marked_exact_or_bound(folder):
    shown = run("evaluate", folder / "m.safetensors", folder / "test.npz")
    assert re.search(r"this model +\d\.\d+ ± 0\.\d+ +exact", shown.stdout)
    assert re.search(r"Gaussian, dequantized +\d\.\d+ ± \d\.\d+ +bound", shown.stdout)
    assert "fitted to halves of these images" in shown.stderr
    assert "Bayes' rule is right about" in shown.stderr
    answer = run_json("evaluate", folder / "m.safetensors", folder / "test.npz", "--train", folder / "flat.npy")
    model = FlowImages.load(folder / "m.safetensors")
    assert answer["model"]["bits"] == pytest.approx(model.bits_per_dim(toy(60, seed=1)[0]).mean())
    assert answer["classifier"]["accuracy"] > 0.95
    told = model.bits_per_dim(toy(60, seed=1)[0], [("dark", "bright")[k] for k in toy(60, seed=1)[1]])
    assert answer["conditional"]["bits"] == pytest.approx(told.mean())
    assert answer["condition"] == "class"
    assert re.search(r"given the class +\d\.\d+ ± 0\.\d+ +exact", shown.stdout)
    assert answer["note"] == "the training images"
    assert run_json("evaluate", folder / "m.safetensors", folder / "flat.npy", "--limit", 7)["images"] == 7
    bound = run_json("evaluate", folder / "flow.safetensors", folder / "flat.npy")
    assert (bound["model"]["exactness"], bound["classifier"]) == ("bound", None)


def test_score_writes_a_table_of_images(folder, tmp_path):
    run("score", folder / "m.safetensors", folder / "images", "--out", tmp_path / "s.csv")
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    assert list(rows[0]) == ["file", "bits_per_dimension", "log_probability", "p_bright", "p_dark"]
    assert [rows[0]["file"], len(rows)] == ["000.png", 80]
    assert float(rows[0]["p_bright"]) + float(rows[0]["p_dark"]) == pytest.approx(1)
    model = FlowImages.load(folder / "m.safetensors")
    expected = model.score_samples(read_images(folder / "images"))
    assert [float(row["log_probability"]) for row in rows] == pytest.approx(expected.tolist())
    answer = run_json("score", folder / "plain.safetensors", folder / "flat.npy", "--out", tmp_path / "p.csv")
    assert next(csv.DictReader((tmp_path / "p.csv").open())).keys() == {
        "file", "bits_per_dimension", "log_probability",
    }  # fmt: skip
    assert answer["exactness"] == "exact"


def test_sample_writes_grids_folders_and_arrays(folder, tmp_path):
    model, grid = folder / "m.safetensors", tmp_path / "g.png"
    result = run("sample", model, "--grid", grid)
    assert "16 images, one class a row: 'bright', 'dark'." in result.stderr
    bright, dark = np.split(np.asarray(Image.open(grid))[4:-4].astype(float), 2)
    assert bright.mean() > dark.mean() + 60
    run(
        "sample",
        model,
        "--given",
        "label=dark",
        "-n",
        9,
        "--grid",
        grid,
        "--temperature",
        "0.5",
        "--guidance",
        "1",
        "--seed",
        3,
    )
    assert Image.open(grid).size == (3 * 60 + 4, 3 * 60 + 4)
    run("sample", model, "-n", 12, "--out", tmp_path / "folder")
    again = read_images(tmp_path / "folder")
    assert (len(again), again.shape) == (12, (1, 4, 4))
    assert set(again.classes) <= {"bright", "dark"}
    refused("sample", model, "-n", 12, "--out", tmp_path / "folder", match=r"--out: the folder .* is not empty")
    run("sample", model, "-n", 12, "--out", tmp_path / "folder", "--force")
    run("sample", model, "-n", 6, "--out", tmp_path / "x.npz", "--given", "label=bright")
    assert read_images(tmp_path / "x.npz").classes == ("bright",)
    run("sample", folder / "flow.safetensors", "-n", 6, "--out", tmp_path / "x.npy")
    assert np.load(tmp_path / "x.npy").shape == (6, 1, 4, 4)
    twice = [run("sample", model, "-n", 5, "--out", tmp_path / f"{k}.npy", "--seed", 4) for k in range(2)]
    assert len(twice) == 2
    assert np.array_equal(np.load(tmp_path / "0.npy"), np.load(tmp_path / "1.npy"))


def test_completions_begin_like_the_image(folder, tmp_path):
    half = toy(1, seed=3)[0][0][:2]
    Image.fromarray(half).save(tmp_path / "half.png")
    arguments = ("sample", folder / "m.safetensors", "--complete", tmp_path / "half.png")
    run(*arguments, "-n", 7, "--grid", tmp_path / "g.png", "--out", tmp_path / "x.npy")
    completed = np.load(tmp_path / "x.npy")
    assert completed.shape == (7, 1, 4, 4)
    assert (completed[:, 0, :2] == half).all()
    assert Image.open(tmp_path / "g.png").size == (3 * 60 + 4, 3 * 60 + 4)
    Image.fromarray(toy(1, seed=3)[0][0]).save(tmp_path / "whole.png")
    result = run("sample", folder / "m.safetensors", "--complete", tmp_path / "whole.png", "--out", tmp_path / "y.npy")
    assert "is a whole image: its first 2 of 4 rows are kept." in result.stderr
    assert np.load(tmp_path / "y.npy").shape == (16, 1, 4, 4)
    refused(
        "sample", folder / "flow.safetensors", "--complete", tmp_path / "half.png", "--grid", tmp_path / "g.png",
        match=r"window_flow has no exact distribution of the other rows given the first\. --model pixels has\.$",
    )  # fmt: skip


def test_long_scorings_are_announced(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("pushforward.cli.image_files.MANY", 50)
    shown = run("evaluate", folder / "m.safetensors", folder / "flat.npy", "--limit", 40).stderr
    assert "Scoring 40 images under each of 2 classes; --limit takes fewer." in shown
    shown = run("score", folder / "plain.safetensors", folder / "flat.npy", "--out", tmp_path / "s.csv").stderr
    assert "Scoring 60 images." in shown


def test_report_shows_pictures(folder, tmp_path):
    out = tmp_path / "r.html"
    run("report", folder / "m.safetensors", folder / "test.npz", "--train", folder / "images", "--out", out)
    page = out.read_text("utf-8")
    for title in (
        "draw?",
        "fit the images?",
        "know the classes?",
        "copies?",
        "rare?",
        "complete an image?",
        "Training",
    ):
        assert title in page
    assert page.count("data:image/png") == 7
    assert "the length of a code" in page
    assert "--train" in page
    run("report", folder / "flow.safetensors", folder / "test.npz", "--limit", 9, "--out", out, "--force")
    assert "The image at the mean latent of each class" in out.read_text()
    run("report", folder / "flow.safetensors", folder / "flat.npy", "--limit", 9, "--out", out)
    assert "What lies between images?" in out.read_text()
    page = out.read_text("utf-8")
    assert "a bound on it" in page
    assert "complete an image?" not in page


def test_info_shows_images_and_classes(folder):
    shown = run("info", folder / "m.safetensors").stdout
    assert re.search(r"images +1 × 4 × 4", shown)
    assert re.search(r"classes +bright, dark", shown)
    assert re.search(r"training rows +72", shown)


def test_training_is_resumed(folder, tmp_path):
    out = tmp_path / "m.safetensors"
    arguments = ("fit", folder / "flat.npy", "--out", out, *TINY)
    code = (
        "import sys\nfrom pushforward.cli import main\n"
        f"sys.argv = {['pushforward', *map(str, arguments), '--steps', '1000000']!r}\nmain()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while "Fitting pixels" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5)  # of training, which begins at once
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "The best weights so far are in" in said
    assert "continue with --resume" in said
    assert FlowImages.load(out).sample(1).shape == (1, 1, 4, 4)
    result = run(*arguments, "--steps", 30, "--resume")
    assert "Going on from step" in result.stderr
    assert not (tmp_path / "m.safetensors.checkpoint").exists()


MISTAKES = [
    (["fit", "images", "--model", "nsf"], r"--model: there is no model of images 'nsf'\. That one is of tables\."),
    (["fit", "images", "--model", "pixel"], r"--model: there is no model of images 'pixel'\. Did you mean 'pixels'\?"),
    (["fit", "images", "--set", "deph=3"], r"--set: pixels has no option 'deph'"),
    (["fit", "images", "--drop", "a"], r"--drop: this option is for tables, and .*images is of images\. Leave it out"),
    (["fit", "images", "--type", "a=circular:3"], r"--type: this option is for tables"),
    (["fit", "images", "--labels", "no.csv"], r".*no\.csv: cannot be read as labels"),
    (["fit", "images", "--labels", "labels.csv", "--no-labels"], r"--labels and --no-labels: give one of them"),
    (["fit", "images", "--levels", "3"], r".*images: --levels 3 is for pixels of 0 \.\. 2; the images hold 3\."),
    (["fit", "images", "--precision", "fp8", "--levels", "4"], r"--precision must be one of None, 'bf16'; got 'fp8'"),
    (["fit", "flat.npy", "--classification", "1"], r"--classification is for images of two or more labels\. Name them"),
    (["fit", "images", "--model", "glow", "--set", "levels=3"], r"glow: features must be .* that 8 divides"),
    (["fit", "t.csv", "--labels", "labels.csv"], r"'--labels': for images only, and .*t\.csv is of a table\."),
    (["fit", "t.csv", "--model", "pixels"], r"--model: there is no model 'pixels'\. .*of images"),
    (["fit", "nothing"], r"nothing: there is no such file or folder"),
    (["fit", "images/000.png"], r".*000\.png: images are idx files, \.npy, \.npz, or a folder of"),
]


@pytest.mark.parametrize(("arguments", "match"), MISTAKES, ids=[" ".join(a[1:]) for a, _ in MISTAKES])
def test_mistakes_of_fit_are_refused_in_one_sentence(folder, tmp_path, arguments, match):
    typed = [folder / a if (folder / a).exists() and a else a for a in arguments]
    refused(*typed, "--out", tmp_path / "x.safetensors", match=match)
    assert not (tmp_path / "x.safetensors").exists()


OTHERS = [
    (["sample", "m.safetensors"], r"sample: name a PNG for all images by --grid, or a folder, \.npy or \.npz file by"),
    (["sample", "m.safetensors", "--grid", "x.jpg"], r"--grid: the picture is a PNG; got x\.jpg"),
    (["sample", "m.safetensors", "--out", "x.jpg"], r"--out: images are written to a folder, which has no suffix"),
    (["sample", "m.safetensors", "--out", "-"], r"--out: images are not written to standard output\. Name a folder"),
    (["sample", "m.safetensors", "--given", "label=9", "--grid", "x.png"], r"--given: there is no class '9'\. The"),
    (["sample", "m.safetensors", "--given", "lable=9", "--grid", "x.png"], r"--given: .* has no condition 'lable'\."),
    (
        ["sample", "plain.safetensors", "--given", "label=9", "--grid", "x.png"],
        r"--given: .* was fitted without labels",
    ),
    (["sample", "m.safetensors", "--keep-rules", "--grid", "x.png"], r"--keep-rules: this option is for tables"),
    (["sample", "m.safetensors", "--complete", "no.png", "--grid", "x.png"], r"no\.png: there is no such file"),
    (["sample", "t.safetensors", "--out", "x.csv", "--grid", "x.png"], r"'--grid': for images only, and .* is of a"),
    (["impute", "m.safetensors", "t.csv", "--out", "x.csv"], r"impute: .* is of images, and this is for tables\. Comp"),
    (["intervals", "m.safetensors", "t.csv", "--column", "a", "--out", "x.csv"], r"intervals: .* is of images"),
    (["anomalies", "images"], r"anomalies: .*images is of images, and this is for tables\. Fit a model"),
    (["anomalies", "t.csv", "--model", "m.safetensors"], r"anomalies: .* is of images"),
    (["schema", "flat.npy"], r"schema: .* is of images, and this is for tables\. They have no columns"),
    (["score", "m.safetensors", "t.csv", "--out", "x.csv"], r".*t\.csv: images are idx files"),
    (["score", "m.safetensors", "images", "--keep", "a", "--out", "x.csv"], r"--keep: this option is for tables"),
    (["evaluate", "t.safetensors", "images"], r".*images: "),
    (["evaluate", "t.safetensors", "t.csv", "--limit", "3"], r"'--limit': for images only"),
]


@pytest.mark.parametrize(("arguments", "match"), OTHERS, ids=[" ".join(a) for a, _ in OTHERS])
def test_mistakes_of_other_commands_are_refused_in_one_sentence(folder, tmp_path, monkeypatch, arguments, match):
    monkeypatch.chdir(tmp_path)
    typed = [folder / a if (folder / a).exists() else a for a in arguments]
    refused(*typed, match=match)
    assert not list(tmp_path.iterdir())


def test_images_of_another_size_are_refused(folder, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 5, 5), np.uint8))
    np.save(tmp_path / "y.npy", np.full((3, 4, 4), 9, np.uint8))
    for command in (["evaluate"], ["score", "--out", tmp_path / "s.csv"], ["report", "--out", tmp_path / "r.html"]):
        name, *rest = command
        refused(
            name, folder / "m.safetensors", tmp_path / "x.npy", *rest,
            match=r".*x\.npy: the images have 5 × 5 pixels, and the model is of 4 × 4",
        )  # fmt: skip
    refused("evaluate", folder / "m.safetensors", tmp_path / "y.npy", match=r".*the model is of pixels 0 \.\. 3, and")
    np.savez(tmp_path / "z.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.array(["dark", "grey", "dark"]))
    refused("evaluate", folder / "m.safetensors", tmp_path / "z.npz", match=r"there is no class 'grey'\.")
    assert "Missing option '--out'" in run("sample", folder / "t.safetensors", code=2).stderr


def test_an_image_to_complete_must_fit(folder, tmp_path):
    arguments = ("sample", folder / "m.safetensors", "--grid", tmp_path / "g.png", "--complete", tmp_path / "x.png")
    for pixels, said in (
        (np.zeros((2, 5), np.uint8), r"has 2 × 5 pixels; the model takes up to 4 rows of 4 pixels of a gray image\."),
        (np.arange(24, dtype=np.uint8).reshape(2, 4, 3), r"has 2 × 4 pixels in colour; the model takes up to 4 rows"),
        (np.full((2, 4), 9, np.uint8), r"levels=4, and top_rows holds 9\."),
    ):
        Image.fromarray(pixels).save(tmp_path / "x.png")
        refused(*arguments, match=rf"(--complete: .*x\.png )?{said}")


def test_an_image_model_does_not_replace_that_of_a_table(folder, tmp_path):
    (tmp_path / "t.safetensors").write_bytes((folder / "t.safetensors").read_bytes())
    arguments = ("fit", folder / "flat.npy", "--out", tmp_path / "t.safetensors", "--steps", 2, *TINY)
    refused(*arguments, match=r"--out: .* is a model of other columns, 'b'")
    run(*arguments, "--force")
    refused(
        "fit", folder / "t.csv", "--out", tmp_path / "t.safetensors", "--steps", 2, match=r"--out: .* of something else"
    )


def test_images_given_attributes(folder, tmp_path):
    """Numbers for each image instead of a class: as learned from a file as those of the estimator, told and not."""
    images, bright = toy(80)
    numbers = np.column_stack([bright, np.arange(80) % 3])
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["light", "file", "turn"])
        rows.writerows([bright[k], f"{k:03d}.png", k % 3] for k in range(80))
    out, labels = tmp_path / "m.safetensors", tmp_path / "labels.csv"
    fit = ("fit", folder / "images", "--labels", labels, "--seed", 1, "--out", out, "--steps", 80, *TINY)
    shown = run(*fit)
    assert "of 4 × 4 pixels, given 'light', 'turn'." in shown.stderr
    assert re.search(r"given the attributes +\d\.\d+", shown.stdout)
    assert run_json(*fit)["attributes"] == ["light", "turn"]

    model = FlowImages.load(out)
    read = read_images(folder / "images", labels)
    assert read.attributes.columns == ("light", "turn")
    np.testing.assert_array_equal(read.attributes, numbers)
    assert re.search(r"attributes +light, turn", run("info", out).stdout)
    answer = run_json("evaluate", out, folder / "images", "--labels", labels)
    assert answer["condition"] == "attributes"
    assert answer["conditional"]["bits"] == pytest.approx(model.bits_per_dim(images, numbers).mean())
    assert answer["conditional"]["bits"] < answer["model"]["bits"] - 0.02
    few = run_json("evaluate", out, folder / "images", "--labels", labels, "--limit", 20)
    assert few["conditional"]["bits"] == pytest.approx(answer["conditional"]["bits"], abs=0.1)

    for light in (0, 1):
        run(
            "sample", out, "--given", f"light={light},turn=1", "-n", 30, "--out", tmp_path / f"{light}.npy", "--seed", 2
        )
        drawn = np.load(tmp_path / f"{light}.npy")[:, 0]
        assert ((drawn >= 2).mean(axis=(1, 2)).round() == light).mean() > 0.9

    np.save(tmp_path / "labels.npy", numbers)
    np.save(tmp_path / "images.npy", images)
    assert read_images(tmp_path / "images.npy", tmp_path / "labels.npy").attributes.columns == ("x0", "x1")
    refused(
        "sample", out, "--given", "light=1", "--grid", tmp_path / "g.png", match="--given: a value of 'turn' is missing"
    )
    refused(
        "evaluate", out, tmp_path / "images.npy", "--labels", tmp_path / "labels.npy",
        match="the model was fitted to the attributes light, turn; y has x0, x1. Name its columns as those",
    )  # fmt: skip
    refused(
        "evaluate", folder / "m.safetensors", folder / "images", "--labels", labels,
        match="--labels: .*labels.csv holds attributes, and the model was fitted to classes. Leave --labels out",
    )  # fmt: skip
    refused(
        "evaluate", folder / "plain.safetensors", folder / "images", "--labels", folder / "labels.csv",
        match="--labels: .*labels.csv holds classes, and the model was fitted without labels. Leave --labels out",
    )  # fmt: skip
    np.savez(tmp_path / "both.npz", images=images, labels=numbers)
    assert read_images(tmp_path / "both.npz").attributes.columns == ("x0", "x1")
    drawn = run_json("sample", out, "--given", "light=1,turn=0", "-n", 2, "--out", tmp_path / "two.npy")
    assert drawn["given"] == {"light": 1.0, "turn": 0.0}


def test_images_given_images(folder, tmp_path):
    """Each image is given the brightness of its upper left pixel, as an image of one pixel."""
    pictures = tmp_path / "given"
    pictures.mkdir()
    images = read_images(folder / "images")
    bright = (images.pixels[:, 0, 0, 0] >= 2).astype(np.uint8)
    for name, value in zip(images.names, bright, strict=True):
        Image.fromarray(np.full((1, 1), 255 * value, np.uint8)).save(pictures / name)
    out, told = tmp_path / "m.safetensors", ("--given-images", pictures)
    fit = ("fit", folder / "images", *told, "--out", out, "--steps", 60, *TINY)
    assert "images of 4 × 4 pixels, given images of 1 × 1 pixels." in run(*fit).stderr
    assert read_images(folder / "images").names == images.names
    model = FlowImages.load(out)
    answer = run_json("evaluate", out, folder / "images", *told)
    assert (answer["condition"], answer["images"]) == ("other images", 80)
    assert answer["conditional"]["bits"] == pytest.approx(
        model.bits_per_dim(images, 255 * bright[:, None, None]).mean(), abs=1e-5
    )
    run("score", out, folder / "images", *told, "--out", tmp_path / "s.csv")
    with (tmp_path / "s.csv").open() as file:
        bits = [float(row["bits_per_dimension"]) for row in csv.DictReader(file)]
    assert np.mean(bits) == pytest.approx(answer["conditional"]["bits"], abs=1e-5)
    assert run_json("report", out, folder / "images", *told, "--out", tmp_path / "r.html")["images"] == 80

    one = pictures / images.names[0]
    drawn = run_json("sample", out, "--given-images", one, "--grid", tmp_path / "g.png", "--out", tmp_path / "d.npy")
    assert drawn["images"] == 7
    assert ((np.load(tmp_path / "d.npy") >= 2) == bright[0]).mean() > 0.9
    assert read_image(tmp_path / "g.png").shape[2] >= 8 * 4  # the given one, then those that were drawn
    assert run_json("sample", out, *told, "-n", 2, "--out", tmp_path / "all.npy")["images"] == 160
    colours = tmp_path / "colours"
    colours.mkdir()
    for name in images.names:
        Image.fromarray(np.full((4, 4, 3), (200, 10, 90), np.uint8)).save(colours / name)
    fit_colours = ("fit", folder / "images", "--given-images", colours, "--out", tmp_path / "c.safetensors")
    hint = run_json(*fit_colours, "--steps", 2, *TINY)["next"]
    assert "--given-images IMAGE" in hint
    run("sample", tmp_path / "c.safetensors", "--given-images", colours / images.names[0], "--grid", tmp_path / "c.png")
    nothing = run("sample", tmp_path / "c.safetensors", "--grid", tmp_path / "n.png")
    assert "Without --given-images these are draws of images that are given nothing." in nothing.stderr
    command = ("sample", out, "--grid", tmp_path / "h.png")
    refused(*command, "--given", "label=3", match="--given: .* is conditional on images. Give one by --given-images")
    refused(*command, *told, "--complete", one, match="--complete: it completes one image, and .* holds 80. Give one")
    refused(
        "sample", folder / "m.safetensors", *told, "--grid", tmp_path / "h.png",
        match="--given-images: .* is for models that were fitted with this option. Leave it out",
    )  # fmt: skip
    refused("score", tmp_path / "no.safetensors", *told, "x.npy", "--out", "s.csv", match=".*there is no such file")
    labels = ("--labels", folder / "labels.csv")
    refused(*fit, *labels, "--force", match="--labels and --given-images: a model is conditional on one of them")
    refused(*fit, "--validation", folder / "flat.npy", "--force", match="--validation: with --given-images it is a sha")
    few = ("fit", folder / "flat.npy", "--out", tmp_path / "f.safetensors")
    refused(*few, *told, match=".*there are 80 images, and 60 in .*. Give one for each, in their order")
    one.unlink()
    refused(*fit, "--force", match=".*there is no 000.png, which is in .*. Give each image under its name")


def test_validation_images_without_labels_get_none(folder, tmp_path):
    fit = ("fit", folder / "images", "--labels", folder / "labels.csv", "--validation", folder / "flat.npy")
    answer = run_json(*fit, "--out", tmp_path / "m.safetensors", "--steps", 3, *TINY)
    assert (answer["evaluation"]["classifier"], answer["evaluation"]["conditional"]) == (None, None)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "file,a,b\n000.png,1,x\n",
            ".*line 2 holds 'x' in the column 'b', which is no number. Name the column of classes",
        ),
        ("file,a,a\n000.png,1,2\n", ".*each column needs a name of its own; they are file, a, a"),
        ("file,a,b\n000.png,1,nan\n", ".*row 1 holds a number that is missing or infinite. Fill it in"),
        ("file,a,b\n000.png,1,2\n000.png,1,3\n", ".*000.png has two labels, '2' and '3'. Leave one"),
        ("file,a,b\n000.png,1,2\n", r".*there is no label for 001.png \(79 of 80 files\)"),
    ],
)
def test_attributes_with_mistakes(folder, tmp_path, text, match):
    (tmp_path / "l.csv").write_text(text)
    command = ("fit", folder / "images", "--labels", tmp_path / "l.csv", "--out", tmp_path / "m.safetensors")
    refused(*command, "--steps", 1, match=match)

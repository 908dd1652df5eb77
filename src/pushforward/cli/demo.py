"""`pushforward demo`: a real table, digits and the lecture's two pictures, without downloads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from pushforward.bijections import Scale
from pushforward.cli.evaluate import evaluation_rows
from pushforward.cli.image_files import judged
from pushforward.core.files import check_writable
from pushforward.data.samples import POWER_COLUMNS, digits_sample, power_sample
from pushforward.distributions import Uniform
from pushforward.estimators import FlowImages
from pushforward.evaluate import Evaluation, baselines_to_dict, evaluate, fit_baselines
from pushforward.evaluate.digit_grid import plot_digit_grid
from pushforward.evaluate.html import Section, picture, write_report
from pushforward.evaluate.images import BayesClassifier, CodeLength
from pushforward.evaluate.plots import plot_learning_curves
from pushforward.evaluate.report import model_report
from pushforward.flows import nsf
from pushforward.io import save
from pushforward.plots import plot_change_of_variables, plot_push_forward
from pushforward.train import fit

__all__ = ["Demo", "run_demo"]

CLASSES = 10


class Digits(NamedTuple):
    """How good the model of digits is on images that were held out, given their classes.

    Attributes:
        log_likelihood: nats an image.
        bits: for each pixel.
        accuracy: share of the classes that Bayes' rule finds.
    """

    log_likelihood: float
    bits: float
    accuracy: float


@dataclass(frozen=True)
class Demo:
    """The files and numbers of a demo."""

    report: Path
    model: Path
    power: Evaluation
    digits: Digits
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "report": str(self.report),
            "model": str(self.model),
            "power": self.power.to_dict(),
            "digits": self.digits._asdict(),
            "seconds": self.seconds,
        }


def run_demo(
    folder: str | Path = ".",
    *,
    seed: int = 0,
    seconds: float = 80.0,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Demo:
    """Fit the bundled power sample and scikit-learn's digits, and write ``report.html`` with all pictures.

    Args:
        folder: where ``report.html`` and the model ``power.safetensors`` go.
        seed: of both fits and of all samples.
        seconds: training time of both fits together.
        progress: show progress bars.
        say: called with each line of the output.
    """
    start = time.monotonic()
    report, model = Path(folder, "report.html"), Path(folder, "power.safetensors")
    for path in (report, model):
        check_writable(path)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        say(f"1/3  Household power: the density of six columns, trained for {0.6 * seconds:.0f} seconds.")
        evaluation, sections = _power(model, 0.6 * seconds, seed, progress)
        say(f"     {evaluation.rows:,} held-out rows, nats per row (higher is better):")
        for name, likelihood, ahead in evaluation_rows(evaluation):
            say(f"       {name:<20}{likelihood:>16}" + (f"   this model is ahead by {ahead}" if ahead else ""))
        say(f"2/3  Digits: the distribution of 64 pixels for each class, trained for {0.4 * seconds:.0f} seconds.")
        digits, section = _digits(0.4 * seconds, seed, progress)
        say(
            f"     {digits.bits:.2f} bits per pixel (exact), the class found for {digits.accuracy:.1%}; ten samples of "
            "each class are in the report."
        )
        say("3/3  Plots.")
    lead = "Three things a normalizing flow does, on real data, each made by the command at the end of this page."
    write_report(report, "pushforward demo", [*sections, section, _lecture()], lead=lead)
    seconds = time.monotonic() - start
    say(f"{report}: open it in a browser. {model}: the model of the table. {seconds:.0f} seconds in all.")
    return Demo(report, model, evaluation, digits, seconds)


def _power(path: Path, seconds: float, seed: int, progress: bool) -> tuple[Evaluation, list[Section]]:
    train, test = power_sample()
    flow = nsf(train.shape[1], data_dtype="float64")
    history = fit(flow, train, seconds=seconds, seed=seed, progress=progress)
    baselines = fit_baselines(train, seed=seed)
    evaluation = evaluate(flow, test, baselines=baselines)
    metadata = {
        "columns": list(POWER_COLUMNS),
        "given": [],
        "model": "nsf",
        "options": {},
        "baselines": baselines_to_dict(baselines),
        "history": history.to_dict(),
        "train_rows": len(train),
        "dropped": [],
    }
    save(flow, path, metadata=metadata)
    sections, _ = model_report(
        flow,
        POWER_COLUMNS,
        test,
        baselines=baselines,
        history=history,
        facts={"flow": "nsf", "training rows": len(train), "source": "UCI household power, CC BY 4.0"},
        seed=seed,
    )
    for section in sections:
        section.title = f"Household power: {section.title[0].lower()}{section.title[1:]}"
    return evaluation, sections


def _digits(seconds: float, seed: int, progress: bool) -> tuple[Digits, Section]:
    pixels, labels = digits_sample()
    images = pixels.reshape(-1, 8, 8).astype(np.uint8)  # of 17 grey values
    held: list[Any] = []  # a `PreparedImages`
    model = FlowImages(
        levels=17, options={"hidden": (64, 64), "dropout": 0.2}, seconds=seconds,
        random_state=seed, verbose=progress,
    ).fit(images, labels, prepared=held.append)  # fmt: skip
    evaluation, _ = judged(model, held[0].validation, held[0].labels, None)
    conditional, classifier = cast(CodeLength, evaluation.conditional), cast(BayesClassifier, evaluation.classifier)
    digits = Digits(-conditional.bits * images[0].size * math.log(2), conditional.bits, classifier.accuracy)
    drawn = (
        "None of these images is in the data: every row was drawn from the distribution of the class it is named after."
    )
    curves = (
        f"{len(images):,} images; those held out reach {digits.log_likelihood:.1f} nats, which is "
        f"{digits.bits:.2f} bits a pixel, the exact length of a code. By Bayes' rule the probabilities of an image "
        f"under each class find the class of {digits.accuracy:.1%} of them."
    )
    each = model.sample(10 * CLASSES, [k for k in range(CLASSES) for _ in range(10)], random_state=seed)
    grid = plot_digit_grid(each.reshape(10 * CLASSES, -1), labels=[str(k) for k in range(CLASSES)])
    parts = [picture(grid, drawn), picture(plot_learning_curves(model.history_), curves)]
    return digits, Section("Digits: one distribution for each class", parts)


def _lecture() -> Section:
    mass = (
        "A uniform z on [0, 1] pushed through x = T(z): the probability of an interval travels with it, "
        "p(z) dz = q(x) dx, so where T stretches, the density thins."
    )
    squash = (
        "Gaussian points and a grid pushed through z / (1 + ‖z‖), with the exact density: the whole plane fits into "
        "the open unit disc."
    )
    stretch = plot_change_of_variables(Scale(1, factor=2.0, shift=1.0), Uniform([0.0], [1.0]))
    parts = [picture(stretch, mass), picture(plot_push_forward(), squash)]
    return Section("What a flow is: densities under invertible maps", parts)

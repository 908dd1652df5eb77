"""Models of images in bits per dimension of whole-numbered pixels: MNIST and Fashion-MNIST.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/images.py pixels [--seconds 3600 --set mnist]
    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/images.py window_flow [--seconds 3600 --set mnist]

``pixels`` trains `DiscreteGrid`, which gives each pixel a probability given those before it, so that its number is the
length of a code; the name of a flow trains that flow on dequantized pixels, whose number is a bound on that length. All
10,000 test images are scored once. With ``--labels`` the model is conditional on the class, a tenth of the classes
hidden in training; the number is that of the mixture over classes, and Bayes' rule classifies the test images. With
``--classification 20`` training asks for the classes as well (`HybridLikelihood`), and ``--start FILE`` goes on from a
model that an earlier run saved. Beside the models stand codes of general programs for the same images. With ``--curve
FILE`` the bits of validation images are written against seconds of training, and drawn beside it as PNG;
``--calibration FILE`` draws the calibration of the classes. With ``torchrun --nproc-per-node 2`` in place of ``python``
two processes share each batch out, each on a core of its own.
"""

from __future__ import annotations

import argparse
import bz2
import io
import json
import lzma
import math
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from results import data_folder, machine, update_section
from torch import Tensor

import pushforward as pf
from pushforward.core.allocator import keep_memory_of_steps
from pushforward.core.processes import joined_processes
from pushforward.core.rank import is_first_process
from pushforward.data import read_images
from pushforward.distributions import log_prob_of_each
from pushforward.estimators.image_schedule import image_rates
from pushforward.evaluate.image_sections import plot_class_calibration
from pushforward.evaluate.images import judge_classes
from pushforward.evaluate.style import COLORS, new_figure, save_figure
from pushforward.flows import IMAGE_FLOWS
from pushforward.train import Event, HybridLikelihood, Validated, with_labels_dropped

VALIDATION = 500
HIDDEN = 0.1


def png(pixels: bytes, shape: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(shape)).save(out, "png", optimize=True)
    return out.getvalue()


def codes(images: NDArray[np.uint8]) -> dict[str, float]:
    """Bits a pixel of codes of general programs: of each image by itself, and of all of them in one piece."""
    shape = images.shape[-2:]
    alone = [image.tobytes() for image in images[:, 0]]
    whole = images.tobytes()
    programs: dict[str, Callable[[bytes], bytes]] = {
        "zlib -9": lambda b: zlib.compress(b, 9), "bzip2 -9": bz2.compress, "xz": lzma.compress,
    }  # fmt: skip
    bits = {"PNG, each image": sum(len(png(b, shape)) for b in alone)}
    bits |= {f"{name}, all images": len(compress(whole)) for name, compress in programs.items()}
    return {name: 8 * count / images.size for name, count in bits.items()}


def independent_pixels(train: NDArray[np.uint8], test: NDArray[np.uint8]) -> float:
    """Bits a pixel of a table of frequencies for each place, one half added to each."""
    places = train.reshape(len(train), -1)
    counts = np.stack([np.bincount(column, minlength=256) for column in places.T]) + 0.5
    log_probs = np.log2(counts / counts.sum(axis=1, keepdims=True))
    return -float(np.mean(log_probs[np.arange(places.shape[1]), test.reshape(len(test), -1)]))


class Curve:
    """Bits of validation images against seconds of training."""

    def __init__(self, numbers: int) -> None:
        self.points: list[tuple[float, int, float]] = []
        self.scale = numbers * math.log(2)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Validated):
            r = event.record
            self.points.append((r.seconds, r.step, -r.validation / self.scale))
            print(f"{r.seconds:7.0f} s  step {r.step:7d}  {-r.validation / self.scale:.4f} bits", flush=True)


@torch.no_grad()
def scored(model: Any, test: Tensor) -> Tensor:
    """-log q(x) of each image, in float64."""
    return -torch.cat([model.log_prob(rows) for rows in test.split(250)]).double().cpu()


@torch.no_grad()
def of_classes(model: Any, test: Tensor, draw: int = 0) -> Tensor:
    """log q(x | c) of each image and class, (n, classes), in float64, with one draw of noise where pixels have some."""
    classes = torch.eye(model.context_shape[0], device=test.device)[:, None]
    rows = [
        log_prob_of_each(
            model,
            images,
            classes.expand(-1, len(images), -1),
            generator=torch.Generator(test.device).manual_seed(k + 10**6 * draw),
        ).T
        for k, images in enumerate(test.split(250))
    ]
    return torch.cat(rows).double().cpu()


def draw_curve(points: list[tuple[float, int, float]], path: Path) -> None:
    """Bits of validation images against the time of training."""
    minutes, bits = [seconds / 60 for seconds, _, _ in points], [number for *_, number in points]
    figure, ((ax,),) = new_figure()
    ax.plot(minutes, bits, marker="o", markersize=3, color=COLORS["model"])
    ax.set(xscale="log", xlabel="minutes of training", ylabel="bits a pixel of validation images")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1440) if minutes[0] <= tick <= minutes[-1]]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    save_figure(figure, path)


def model_of(name: str, shape: tuple[int, ...], options: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return IMAGE_FLOWS[name](shape, **({} if name == "pixels" else {"values": 256}), **options)


def run(arguments: argparse.Namespace) -> None:
    sets = [read_images(data_folder(arguments.set) / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")]
    train, test = (images.pixels for images in sets)
    x, held_out = torch.from_numpy(train.copy()).float(), torch.from_numpy(test.copy()).float()
    labels, truth = (torch.from_numpy(images.labels.copy()) for images in sets)
    if arguments.test:
        held_out, truth = held_out[: arguments.test], truth[: arguments.test]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, labels = x[order].to(arguments.device), labels[order].to(arguments.device)
    held_out = held_out.to(arguments.device)
    options, data, validation = arguments.model, x[VALIDATION:], (x[:VALIDATION],)
    if arguments.labels:
        context = torch.nn.functional.one_hot(labels).float()
        options = {**options, "context": context.shape[-1]}
        data, validation = (
            with_labels_dropped(data, context[VALIDATION:], HIDDEN),
            (x[:VALIDATION], context[:VALIDATION]),
        )
    keep_memory_of_steps()
    classes = torch.eye(len(labels.unique())).tolist()
    model = pf.load(arguments.start) if arguments.start else model_of(arguments.what, tuple(x.shape[1:]), options)
    model = model.to(arguments.device)
    processes = joined_processes().count
    curve, start = Curve(x[0].numel()), time.process_time()
    history = None if not arguments.seconds else pf.fit(
        model, data, validation=validation, seconds=arguments.seconds, precision=arguments.precision,
        progress=False, callbacks=curve, checkpoint=arguments.checkpoint, resume=arguments.checkpoint is not None,
        loss=HybridLikelihood(classes, arguments.classification) if arguments.classification else None,
        **{**image_rates(arguments.what, arguments.seconds), **arguments.fit},
    )  # fmt: skip
    cpu = time.process_time() - start
    if not is_first_process():  # torchrun has started several, which have learned one model
        return
    if processes > 1:
        cpu *= processes
        torch.set_num_threads(os.cpu_count() or 1)
    numbers, judge = held_out[0].numel() * math.log(2), None
    if arguments.labels:
        by_class = of_classes(model, held_out)
        # Bayes' rule for an image with noise, on average over the noise.
        further_draws = [of_classes(model, held_out, draw) for draw in range(1, arguments.draws)]
        posterior = torch.stack([scores.softmax(dim=-1) for scores in (by_class, *further_draws)]).mean(dim=0)
        judge = judge_classes(posterior.numpy(), truth.numpy())
        bits = (math.log(by_class.shape[-1]) - by_class.logsumexp(dim=-1)) / numbers
    else:
        bits = scored(model, held_out) / numbers
    mean, error = bits.mean().item(), bits.std().item() / len(bits) ** 0.5
    if arguments.save:
        pf.save(model, arguments.save)
    if arguments.curve:
        Path(arguments.curve).write_text(json.dumps(curve.points), "utf-8")
        draw_curve(curve.points, Path(arguments.curve).with_suffix(".png"))
    weights = sum(p.numel() for p in model.parameters())
    steps = history.records[-1].step if history else 0
    spent = f"{weights:,} weights, {steps:,} steps, {cpu:.0f} s of processor time"
    if judge is not None:
        spent += f"; Bayes' rule finds the class of {judge.accuracy:.2%} ± {judge.error:.2%}"
        spent += f" (log loss {judge.log_loss:.3f}, calibration error {judge.calibration_error:.3f})"
        if arguments.calibration:
            plot_class_calibration(judge).savefig(arguments.calibration, dpi=120)
    print(f"{mean:.4f} ± {error:.4f} bits ({model.exactness}), {spent}")
    if arguments.no_results:
        return
    launch = "python" if processes == 1 else f"torchrun --nproc-per-node {processes}"
    others = {"independent pixels": independent_pixels(train, test), **codes(test)}
    text = [
        f"## {arguments.set}: {arguments.what}",
        "",
        f"    PUSHFORWARD_DATA=<folder> .venv/bin/{launch} benchmarks/images.py {arguments.what} "
        f"--set {arguments.set} --seconds {arguments.seconds:g}{further(arguments)}",
        "",
        f"{machine()}. {spent}; {len(held_out):,} test",
        "images scored once. Bits for each pixel of 256 levels, which are lengths of codes, or of dequantized pixels",
        "bounds on them.",
        "",
        "| model | bits a pixel |",
        "|---|---:|",
        f"| {arguments.what} ({model.exactness}) | **{mean:.4f} ± {error:.4f}** |",
        *(f"| {name} | {bits:.3f} |" for name, bits in others.items()),
    ]
    update_section(f"{arguments.what} {arguments.set}{' labels' * arguments.labels}", "\n".join(text))


def further(arguments: argparse.Namespace) -> str:
    """Options as they were typed, but for those that say where things are written."""
    options = {"model": arguments.model, "fit": arguments.fit}
    text = "".join(f" --{name} '{json.dumps(value)}'" for name, value in options.items() if value)
    text += " --labels" if arguments.labels else ""
    text += f" --classification {arguments.classification:g}" if arguments.classification else ""
    text += f" --start {Path(arguments.start).name}" if arguments.start else ""
    text += f" --test {arguments.test}" if arguments.test else ""
    text += f" --draws {arguments.draws}" if arguments.draws > 1 else ""
    text += f" --device {arguments.device}" if arguments.device != "cpu" else ""
    return text + (f" --precision {arguments.precision}" if arguments.precision else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(IMAGE_FLOWS))
    parser.add_argument("--set", default="mnist", choices=("mnist", "fashion-mnist"))
    parser.add_argument(
        "--seconds", type=float, default=3600, help="time for training; 0 to score a model of --start alone"
    )
    parser.add_argument("--model", type=json.loads, default={}, help="options of the model, as JSON")
    parser.add_argument("--labels", action="store_true", help="the class is the context")
    parser.add_argument("--fit", type=json.loads, default={}, help="of fit, as JSON")
    parser.add_argument("--classification", type=float, default=0.0, help="weight of the class in training")
    parser.add_argument(
        "--draws", type=int, default=1, help="draws of noise over which probabilities of classes are means"
    )
    parser.add_argument("--start", help="a model of an earlier run, from which training goes on")
    parser.add_argument("--calibration", help="PNG of the calibration of the classes")
    parser.add_argument("--device", default="cpu", help="where to train and score, such as cuda")
    parser.add_argument("--precision", choices=("bf16",), help="of products of matrices in training")
    parser.add_argument("--test", type=int, help="score so many test images")
    parser.add_argument("--checkpoint", help="file from which training goes on")
    parser.add_argument("--save", help="file for the model")
    parser.add_argument("--curve", help="file for validation bits against seconds, as JSON")
    parser.add_argument("--no-results", action="store_true", help="print only; leave RESULTS.md alone")
    run(parser.parse_args())


if __name__ == "__main__":
    main()

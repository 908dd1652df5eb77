"""Images given a part of them: lower halves, larger ones from smaller ones, clean ones from noisy ones.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_restoration.py halves pixels.safetensors [--grid a.png]
    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_restoration.py enlarge --seconds 300 [--grid b.png]
    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_restoration.py denoise --seconds 300 [--grid c.png]

``halves`` takes a model that `images.py pixels --save` wrote, and completes test images from their upper halves. Its
bits of the lower half given the upper one of the same image stand beside those given the upper half of another image
and beside half of the bits of whole images. ``enlarge`` learns images given every second pixel of every second row,
``denoise`` given images with Gaussian noise of standard deviation 80; the bits of test images are printed with and
without these, and how much of them the draws keep. Each row of a grid is an image, its condition, and draws.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from results import data_folder, machine, update_section

import pushforward as pf
from pushforward.data import read_images
from pushforward.distributions import DiscreteGrid
from pushforward.estimators import FlowImages
from pushforward.evaluate.image_grid import image_grid
from pushforward.evaluate.images import encode_png
from pushforward.evaluate.metrics import with_error

SHOWN, DRAWS = 16, 8
NOISE = 80.0
Pixels = NDArray[np.uint8]


def described(values: torch.Tensor | Pixels) -> str:
    """Mean and standard error."""
    v = np.asarray(values, dtype=np.float64)
    return with_error(v.mean(), v.std() / len(v) ** 0.5)


def noisy(images: Pixels, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, NOISE, images.shape)
    return np.rint(images + noise).clip(0, 255).astype(np.uint8)


@torch.no_grad()
def halves(model: DiscreteGrid, test: Pixels) -> tuple[list[list[str]], Pixels]:
    """Rows of a table, and images, their upper halves and completions, (images, columns, 1, height, width)."""
    x = torch.from_numpy(test.copy()).float()
    height = x.shape[2] // 2
    top, bottom = x[:, :, :height], x[:, :, height:]
    none = torch.zeros(len(x), model.context_shape[0]) if model.context_shape else None
    scale = -math.log(2) * bottom[0].numel()
    same = model.given(top).log_prob(bottom, none) / scale
    other = model.given(top.roll(1, 0)).log_prob(bottom, none) / scale
    whole = model.log_prob(x, none) / (2 * scale)
    rows = [
        ["lower half, given the upper half", described(same)],
        ["lower half, given the upper half of another image", described(other)],
        ["whole image", described(whole)],
        ["upper half", described(2 * whole - same)],
    ]
    generator = torch.Generator().manual_seed(0)
    shown = top[:SHOWN]
    size, contexts = (DRAWS,), None if none is None else none[:SHOWN]
    drawn = model.given(shown).sample(size, contexts, generator=generator).transpose(0, 1)
    tops = shown[:, None].expand(-1, DRAWS, -1, -1, -1)
    completed = torch.cat([tops, drawn], dim=3)
    kept = torch.cat([shown, torch.full_like(bottom[:SHOWN], 128)], dim=2)[:, None]
    return rows, torch.cat([x[:SHOWN, None], kept, completed], dim=1).byte().numpy()


def restored(what: str, seconds: float, name: str, count: int) -> tuple[list[list[str]], Pixels]:
    """Rows of a table, and images, their conditions and draws."""
    train, test = (read_images(data_folder(name) / f"{p}-images-idx3-ubyte.gz").pixels[:, 0] for p in ("train", "t10k"))
    test = test[:count]
    degraded = [x[:, ::2, ::2] if what == "enlarge" else noisy(x, seed) for seed, x in enumerate((train, test))]
    model = FlowImages(seconds=seconds, random_state=0).fit(train, degraded[0])
    told, hidden = model.bits_per_dim(test, degraded[1]), model.bits_per_dim(test)
    rows = [["given it", described(told)], ["without", described(hidden)]]
    few = degraded[1][:SHOWN]
    drawn = model.sample(SHOWN * DRAWS, few.repeat(DRAWS, axis=0), random_state=0)
    each = drawn.reshape(SHOWN, DRAWS, *test.shape[1:])
    if what == "enlarge":
        kept = each[:, :, ::2, ::2] == few[:, None]
        rows.append(["pixels that are given, kept by the draws", f"{kept.mean():.2%}"])
        laid = few.repeat(2, axis=1).repeat(2, axis=2)
    else:
        errors = [np.sqrt(np.square(y.astype(float) - test[:SHOWN]).mean()) for y in (few, each.mean(axis=1))]
        rows += [["error of a noisy pixel", f"{errors[0]:.1f}"], ["error of a mean of draws", f"{errors[1]:.1f}"]]
        laid = few
    return rows, np.concatenate([test[:SHOWN, None], laid[:, None], each], axis=1)[:, :, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("halves", "enlarge", "denoise"))
    parser.add_argument("model", nargs="?", help="of images.py pixels --save, for halves")
    parser.add_argument("--set", default="mnist", choices=("mnist", "fashion-mnist"))
    parser.add_argument("--seconds", type=float, default=300.0, help="of training")
    parser.add_argument("--images", type=int, default=1_000, help="test images that are scored")
    parser.add_argument("--grid", help="PNG of images, their conditions and draws")
    arguments = parser.parse_args()
    if (arguments.what == "halves") != (arguments.model is not None):
        parser.error("halves needs a model, and the others learn one.")
    if arguments.what == "halves":
        test = read_images(data_folder(arguments.set) / "t10k-images-idx3-ubyte.gz").pixels[: arguments.images]
        rows, images = halves(pf.load(arguments.model), test)
    else:
        rows, images = restored(arguments.what, arguments.seconds, arguments.set, arguments.images)
    if arguments.grid:
        Path(arguments.grid).write_bytes(encode_png(image_grid(images, gap=2)))
    for name, value in rows:
        print(f"{name}: {value}")
    call = "halves MODEL" if arguments.what == "halves" else f"{arguments.what} --seconds {arguments.seconds:g}"
    text = [
        f"## {arguments.set}: images given a part of them, {arguments.what}",
        "",
        f"    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_restoration.py {call} --set {arguments.set}",
        "",
        f"{machine()}. {arguments.images:,} test images; bits for each pixel of 256 levels, exact.",
        "",
        "| | bits a pixel |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    update_section(f"image restoration {arguments.set} {arguments.what}", "\n".join(text))


if __name__ == "__main__":
    main()

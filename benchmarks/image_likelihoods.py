"""Are images of another set less likely? Bits of MNIST and Fashion-MNIST under models of each of them.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_likelihoods.py mnist.safetensors fashion.safetensors

The models are those of `images.py pixels --save` for ``mnist`` and ``fashion-mnist``, in this order; conditional ones
are told no class. The share of pairs in which an image of the own set is the likelier one is the area under the ROC
curve of a detector that goes by the likelihood: 0.5 says that it knows nothing, less that it is misled.
"""

from __future__ import annotations

import argparse
import math

import torch
from results import data_folder, machine, update_section
from torch import Tensor

import pushforward as pf
from pushforward.data import read_images
from pushforward.evaluate.metrics import with_error

SETS = ("mnist", "fashion-mnist")


@torch.no_grad()
def bits(model: pf.Distribution, x: Tensor) -> Tensor:
    """Bits a pixel of images (n, 1, 28, 28) without their class, (n,)."""
    none = torch.zeros(len(x), model.context_shape[0]) if model.context_shape else None
    return model.log_prob(x, none).double() / (-math.log(2) * x[0].numel())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2, help="of mnist and of fashion-mnist")
    parser.add_argument("--images", type=int, default=1_000, help="test images of each set")
    arguments = parser.parse_args()
    files = [data_folder(name) / "t10k-images-idx3-ubyte.gz" for name in SETS]
    images = [torch.from_numpy(read_images(file).pixels[: arguments.images].copy()).float() for file in files]
    lines = []
    for k, (name, path) in enumerate(zip(SETS, arguments.models, strict=True)):
        model = pf.load(path)
        each = [bits(model, x) for x in images]
        near, far = each[k], each[1 - k]
        share = (near[:, None] < far).double().mean().item()
        shown = [with_error(b.mean().item(), b.std().item() / len(b) ** 0.5) for b in each]
        lines.append(f"| {name} | {shown[0]} | {shown[1]} | {share:.3f} |")
        print(lines[-1])
    text = [
        "## Likelihoods of images of another set",
        "",
        "    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_likelihoods.py mnist.safetensors "
        f"fashion.safetensors --images {arguments.images}",
        "",
        f"{machine()}. {arguments.images:,} test images of each set; bits for each pixel, exact.",
        "",
        "| model of | MNIST | Fashion-MNIST | an image of its own set is likelier |",
        "|---|---:|---:|---:|",
        *lines,
    ]
    update_section("likelihoods of images", "\n".join(text))


if __name__ == "__main__":
    main()

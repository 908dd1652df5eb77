"""Do images that a model draws of a class look like that class to a classifier that was trained on real ones?

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_classes.py pixels.safetensors [--set mnist]
        [--guidance 0 0.5 1 2] [--temperature 1 0.9] [--grid digits.png]

The model is one that `images.py --labels --save` wrote. A convolutional network of about 100,000 weights learns the
training images; its accuracy on the test images is printed first. Then, for each weight of guidance and each
temperature, the share of drawn images to which it gives the class that was asked for. ``--grid`` writes draws of the
first guidance and temperature, one class a row.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from results import data_folder, machine, update_section
from torch import Tensor, nn

import pushforward as pf
from pushforward.data import read_images
from pushforward.distributions import guided
from pushforward.evaluate.image_grid import image_grid
from pushforward.evaluate.images import encode_png


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 24, 5, padding=2), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(48, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 9, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def classifier(x: Tensor, labels: Tensor, epochs: int) -> nn.Sequential:
    """A network trained on images (n, 1, 28, 28) of 256 levels, which are moved by up to two pixels."""
    torch.manual_seed(0)
    net, batch = network(), 128
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    net.train()
    orders = [torch.randperm(len(x)) for _ in range(epochs)]
    for step in range(steps):
        epoch, place = divmod(step, len(x) // batch)
        rows = orders[epoch][place * batch : (place + 1) * batch]
        shift = torch.randint(-2, 3, (2,)).tolist()
        images = x[rows].roll(shift, dims=(2, 3)) / 255
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def classes(net: nn.Sequential, x: Tensor) -> Tensor:
    return torch.cat([net(rows / 255).argmax(dim=1) for rows in x.split(500)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--set", default="mnist", choices=("mnist", "fashion-mnist"))
    parser.add_argument("--each", type=int, default=50, help="images of each class")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--guidance", nargs="+", type=float, default=[0.0, 0.5, 1.0, 2.0])
    parser.add_argument("--temperature", nargs="+", type=float, default=[1.0, 0.9])
    parser.add_argument("--grid", help="PNG of the first draws")
    parser.add_argument("--no-results", action="store_true", help="print only; leave RESULTS.md alone")
    arguments = parser.parse_args()
    parts = [read_images(data_folder(arguments.set) / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")]
    (x, labels), (test, truth) = (
        (torch.from_numpy(p.pixels.copy()).float(), torch.from_numpy(p.labels.copy())) for p in parts
    )
    start = time.process_time()
    net = classifier(x, labels, arguments.epochs)
    accuracy = (classes(net, test) == truth).double().mean().item()
    print(f"classifier: {accuracy:.2%} of the test images, {time.process_time() - start:.0f} s", flush=True)
    model, asked = pf.load(arguments.model), torch.arange(10).repeat(arguments.each)
    lines = []
    for temperature in arguments.temperature:
        shares = []
        for weight in arguments.guidance:
            start = time.process_time()
            led = guided(model, None, weight, temperature=temperature)
            generator = torch.Generator().manual_seed(0)
            drawn = led.sample(arguments.each, torch.eye(10), generator=generator).flatten(0, 1)
            if arguments.grid and not lines and not shares:
                rows = drawn[:100].reshape(10, 10, 1, 28, 28).transpose(0, 1).to(torch.uint8).numpy()
                Path(arguments.grid).write_bytes(encode_png(image_grid(rows, gap=2)))
            shares.append((classes(net, drawn) == asked).double().mean().item())
            spent = time.process_time() - start
            print(f"temperature {temperature:g}, guidance {weight:g}: {shares[-1]:.1%}, {spent:.0f} s", flush=True)
        lines.append(f"| {temperature:g} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    if arguments.no_results:
        return
    text = [
        f"## {arguments.set}: drawn images, as a classifier sees them", "",
        f"    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/image_classes.py {Path(arguments.model).name} "
        f"--set {arguments.set} --each {arguments.each}", "",
        f"{machine()}. A network trained on the real training images, which is right about {accuracy:.2%} of the test",
        f"images, gives so many of {10 * arguments.each} drawn images the class that was asked for, by temperature",
        "and weight of guidance.", "",
        "| temperature | " + " | ".join(f"guidance {w:g}" for w in arguments.guidance) + " |",
        "|---:|" + "---:|" * len(arguments.guidance), *lines,
    ]  # fmt: skip
    update_section(f"image classes {arguments.set}", "\n".join(text))


if __name__ == "__main__":
    main()

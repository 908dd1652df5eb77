"""A variational autoencoder bounds what a flow computes: both on the same pixels, with about as many weights and time.

    PUSHFORWARD_DATA=<folder> python examples/vae_versus_flow.py                     # trains all, writes docs/
    PUSHFORWARD_DATA=<folder> python examples/vae_versus_flow.py --set fashion-mnist --seconds 60 --out <folder>

The folder has mnist/ with the four idx files. All models give probabilities of pixels of 256 levels, so that their bits
compare:

* an autoencoder: z ~ p(z), then each pixel by itself given z. Its p(x) is an integral over z that nobody can compute.
  A second network q(z | x) gives a lower bound, the ELBO; averaging K draws as densities, a tighter one (IWAE);
* the same whose prior p(z) is a flow, trained with the rest, and one whose posterior q(z | x) is a flow;
* ``pixels``, each pixel given those before it: exact. ``glow``, a flow of dequantized pixels: the density is exact, the
  probability of the whole numbers bounded, by the noise alone.

References:
    | Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114
    | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015), arXiv:1505.05770
    | Importance Weighted Autoencoders (Burda et al., 2015), arXiv:1509.00519
    | Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), arXiv:1606.04934
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward.core.allocator import keep_memory_of_steps
from pushforward.core.domain import Integers
from pushforward.core.exactness import Exactness
from pushforward.data import read_images
from pushforward.distributions import Distribution, ImportanceWeighted, StandardNormal
from pushforward.evaluate.image_grid import image_grid
from pushforward.evaluate.images import encode_png

DOCS = Path(__file__).resolve().parent.parent / "docs"
LEVELS, LATENT, FEATURES, WIDTH = 256, 24, 64, 27
FIT = {"batch_size": 64, "lr": 2e-3, "progress": False}
FIT_OF = {"pixels": {"batch_size": 16, "lr": 1e-2}}
VALIDATION, GRID = 500, (4, 12)


class Posterior(nn.Module):
    """q(z | x) with independent normals, of which `VAE` asks what it asks of a conditional flow."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, 2 * LATENT)

    def rsample_and_log_prob(
        self, shape: tuple[int, ...], context: Tensor, *, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """A draw for each row of ``context`` (n, features), (n, latent), and its log-density (n,)."""
        mean, log_scale = self.linear(context).chunk(2, dim=-1)
        noise = torch.empty_like(mean).normal_(generator=generator)
        log_prob = -0.5 * (noise.square() + math.log(2 * math.pi)) - log_scale
        return mean + log_scale.exp() * noise, log_prob.sum(dim=-1)


class VAE(Distribution):
    """A convolutional variational autoencoder of images (1, 28, 28) of 256 levels, whose ``log_prob`` draws the ELBO.

    Args:
        prior: p(z), a distribution of vectors.
        posterior: q(z | features of x): a conditional distribution, or `Posterior`.
        width: channels of the convolutions.
    """

    stochastic = True
    reparametrized = False
    event_shape, context_shape, support = (1, 28, 28), None, Integers(0, LEVELS - 1)

    def __init__(self, prior: Distribution, posterior: Any, width: int) -> None:
        super().__init__()
        self.prior, self.posterior = prior, posterior
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(), nn.Linear(49 * width, FEATURES), nn.SiLU(),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 49 * width), nn.SiLU(), nn.Unflatten(1, (width, 7, 7)),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), nn.SiLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, LEVELS, 1),
        )  # fmt: skip

    @property
    def exactness(self) -> Exactness:
        return "bound"

    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        images = x.reshape(-1, *self.event_shape)
        features = self.encoder(images / 127.5 - 1)
        z, log_q = self.posterior.rsample_and_log_prob((), features, generator=generator)
        log_pixels = -nn.functional.cross_entropy(self.decoder(z), images[:, 0].long(), reduction="none")
        elbo = log_pixels.sum(dim=(1, 2)) + self.prior.log_prob(z) - log_q
        return elbo.reshape(x.shape[:-3])

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        logits = self.decoder(self.prior.sample((math.prod(batch),), generator=generator)).movedim(1, -1)
        pixels = torch.multinomial(logits.softmax(dim=-1).reshape(-1, LEVELS), 1, generator=generator)
        return pixels.reshape(*batch, *self.event_shape).to(logits.dtype)


def flow_prior() -> Distribution:
    """A spline flow of latents, which begin about like standard normal ones."""
    prior = pf.flows.nsf(LATENT, depth=2, hidden=(32,), bins=4)
    prior.initialize(torch.randn(1_000, LATENT))
    return prior


MODELS: dict[str, Callable[[], Distribution]] = {
    "VAE": lambda: VAE(StandardNormal(LATENT), Posterior(), WIDTH),
    "VAE, flow as prior": lambda: VAE(flow_prior(), Posterior(), WIDTH),
    "VAE, flow as posterior": lambda: VAE(
        StandardNormal(LATENT), pf.flows.iaf(LATENT, context=FEATURES, depth=2, hidden=(64, 64)), WIDTH
    ),
    "glow": lambda: pf.flows.glow((1, 28, 28), values=LEVELS, depth=6, hidden=(96,)),
    "pixels": lambda: pf.flows.pixels((1, 28, 28)),
}


@torch.no_grad()
def bits(model: Distribution, images: Tensor, draws: int) -> tuple[float, float]:
    """Bits a pixel, mean and standard error over images, with so many draws averaged as densities."""
    averaged = ImportanceWeighted(model, draws) if draws > 1 else model
    generator = torch.Generator().manual_seed(1)
    each = max(1, 500 // draws)
    values = [averaged.log_prob(rows, generator=generator) for rows in images.split(each)]
    nats = -torch.cat(values).double() / images[0].numel() / math.log(2)
    return nats.mean().item(), nats.std().item() / len(nats) ** 0.5


def fitted(name: str, train: Tensor, validation: Tensor, seconds: float) -> tuple[Distribution, dict[str, Any]]:
    """A model trained for so many seconds of wall time, and what was spent."""
    torch.manual_seed(0)
    model = MODELS[name]()
    start = time.process_time()
    history = pf.fit(
        model, train, validation=(validation,), seconds=seconds, patience=None, **FIT | FIT_OF.get(name, {})
    )
    weights = sum(p.numel() for p in model.parameters())
    spent = {"weights": weights, "steps": history.records[-1].step, "cpu": round(time.process_time() - start)}
    return model.eval(), spent


def picture(model: Distribution) -> bytes:
    rows, columns = GRID
    drawn = model.sample(rows * columns, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return encode_png(image_grid(drawn.reshape(rows, columns, 1, 28, 28).numpy(), gap=2))


def table(results: dict[str, dict[str, Any]], draws: int, count: int) -> list[str]:
    """The lines of the table: one number, or two, for each model."""
    lines = [
        f"| model | weights | steps | one draw | {draws} draws, {count} images | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, r in results.items():
        tight = f"≤ {r['tight'][0]:.4f} ± {r['tight'][1]:.4f}" if r["kind"] == "bound" else ""
        sign = "≤ " if r["kind"] == "bound" else ""
        one = f"{sign}{r['bits'][0]:.4f} ± {r['bits'][1]:.4f}"
        lines.append(f"| {name} | {r['weights']:,} | {r['steps']:,} | {one} | {tight} | {r['kind']} |")
    return lines


def run(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    folder = Path(os.environ.get("PUSHFORWARD_DATA", "data")) / arguments.set
    parts = [read_images(folder / f"{part}-images-idx3-ubyte.gz").pixels for part in ("train", "t10k")]
    x, test = (torch.from_numpy(part.copy()).float() for part in parts)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, validation = x[order[VALIDATION:]], x[order[:VALIDATION]]
    keep_memory_of_steps()
    results, out = {}, Path(arguments.out)
    for name in arguments.models:
        model, result = fitted(name, train, validation, arguments.seconds)
        result["kind"] = model.exactness
        result["bits"] = bits(model, test[: arguments.test], 1)
        if result["kind"] == "bound":
            result["tight"] = bits(model, test[: arguments.images], arguments.draws)
        results[name] = result
        print(name, result, flush=True)
        slug = name.replace(", ", "_").replace(" ", "_").lower()
        (out / "images").mkdir(parents=True, exist_ok=True)
        (out / "images" / f"{arguments.set.replace('-', '_')}_{slug}.png").write_bytes(picture(model))
    facts = {"seconds": arguments.seconds, "draws": arguments.draws, "images": arguments.images, "models": results}
    (out / f"vae_{arguments.set}.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    print("\n".join(table(results, arguments.draws, arguments.images)))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="mnist", choices=("mnist", "fashion-mnist"))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seconds", type=float, default=300.0, help="of training for each model")
    parser.add_argument("--draws", type=int, default=500, help="that a bound averages")
    parser.add_argument("--images", type=int, default=200, help="test images for that bound")
    parser.add_argument("--test", type=int, default=10_000, help="test images for one draw")
    parser.add_argument("--out", default=str(DOCS), help="folder of the numbers and of images/")
    run(parser.parse_args())


if __name__ == "__main__":
    main()

"""Write gallery.md and its pictures: what every registered map does to the same grid and the same density.

    .venv/bin/python docs/make_gallery.py [--page] [--sheets linear images ...]

Maps are taken from the registry with the first of their examples that acts in the plane, or can be made to by setting
its features to two, and with random weights. Others stand in a list here, or in words on the page. --page writes the
text without drawing.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import pushforward.flows  # noqa: F401 - every part that the library knows gets into the registry
from pushforward.core.bijection import Bijection
from pushforward.core.config import REGISTRY, build
from pushforward.core.domain import Real
from pushforward.distributions.targets import moons
from pushforward.evaluate.style import INK, save_figure
from pushforward.testing.random_parts import context_for, generator, with_random_weights
from pushforward.univariate import Univariate

HERE = Path(__file__).resolve().parent
Config = dict[str, Any]

GROUPS = {
    "linear": (
        "Linear maps and normalisation",
        "actnorm batch_norm convolution diagonal exponential fixed linear orthogonal qr rearrange rotation standardize "
        "whitening",
    ),
    "networks": (
        "Layers with networks, bends, contractions, differential equations",
        "autoregressive block continuous coupling elementwise graph planar power_series radial residual sylvester "
        "triangular",
    ),
    "given": (
        "Compositions, maps with a formula, surjections",
        "",  # all others
    ),
}
"""Sheets of maps of the plane: their title and the modules whose maps they show."""

AFFINE = {"type": "Affine"}
BY_HAND: dict[str, Config] = {
    "Concatenate": {
        "parts": [
            {"type": "Elementwise", "univariate": {"type": "RationalQuadratic", "bins": 4}, "features": 1},
            {"type": "Elementwise", "univariate": {"type": "SinhArcsinh"}, "features": 1},
        ]
    },
    "Diagonal": {"features": 2, "signs": [1, -1]},
    "GaussianRosenblatt": {"loc": [0.3, 0.0], "covariance": [[1.0, 0.7], [0.7, 1.0]]},
    "GraphAutoregressive": {
        "univariate": {"type": "RationalQuadratic", "bins": 4},
        "features": 2,
        "edges": [[1, 0]],
        "hidden": [8],
    },
    "Indexed": {
        "bijection": {"type": "Elementwise", "univariate": {"type": "RationalQuadratic", "bins": 4}, "features": 1},
        "index": [1],
        "features": 2,
    },
    "Linear": {"matrix": [[1.0, 0.6], [-0.2, 0.8]]},
    "MixtureRosenblatt": {"weights": [1.0, 1.0], "means": [[-1.0, 0.5], [1.0, -0.5]]},
    "Permute": {"order": [1, 0]},
    "PLU": {"features": 2, "permutation": [1, 0]},
    "Reflect": {"signs": [1, -1]},
    "Reordered": {
        "bijection": {"type": "Autoregressive", "univariate": AFFINE, "features": 2, "hidden": [8]},
        "order": [1, 0],
    },
    "Coupling": {"univariate": {"type": "RationalQuadratic", "bins": 4}, "features": 2, "hidden": [8]},
    "Autoregressive": {"univariate": AFFINE, "features": 2, "hidden": [8]},
    "Elementwise": {"univariate": {"type": "RationalQuadratic", "bins": 4}, "features": 2},
    "NeuralODE": {"features": 2, "hidden": [16, 16], "solver": "rk4", "steps": 12},
    "Residual": {"features": 2, "hidden": [16], "coefficient": 0.95, "activation": "sin"},
    "Multiscale": {
        "levels": [
            {"type": "Coupling", "univariate": AFFINE, "features": 2, "hidden": [8]},
            {"type": "Elementwise", "univariate": AFFINE, "features": 1},
        ],
        "latent": "event",
    },
    "Triangular": {"terms": [[[1], [2]], [[1, 0], [2, 0], [0, 1], [0, 2], [1, 1]]]},
}
"""Arguments of maps in the plane, where no example gives good ones."""

IMAGES: dict[str, Config] = {
    "Squeeze": {"features": [1, 8, 8]},
    "Haar": {"features": [1, 8, 8]},
    "MaxPool": {"features": [1, 8, 8]},
    "Convolution1x1": {"linear": {"type": "PLU", "features": 3}, "size": [8, 8]},
    "Pointwise": {"bijection": {"type": "Householder", "features": 3}, "spatial": [8, 8]},
}
"""Arguments of maps of images."""

SPHERES = ("SphereExponential", "SphereLinear", "SphereMoebius", "SphereRotation")
LIFTED: dict[str, Config] = {
    "SphereCoordinates": {"features": 3},
    "StickBreaking": {"features": 3},
    "CentredSoftmax": {"features": 3},
    "LinearLift": {"features": 3, "latent": 2},
    "CurvedLift": {
        "bijection": {
            "type": "Chain",
            "parts": [
                {"type": "Coupling", "univariate": AFFINE, "features": 3, "hidden": [8], "activation": "tanh"},
                {"type": "LU", "features": 3},
            ],
        },
        "latent": 2,
    },
}
"""Arguments of maps from the plane to surfaces in space."""

NOT_SHOWN = {
    "Angle": "turns numbers into angles by a shift and a factor: the picture would be its input",
    "Augment": "adds random entries to an event and leaves the others as they are",
    "Dequantize": "adds uniform noise to whole numbers: a picture of it is noise",
    "FirstContext": "is the map that it holds, with a part of the context",
    "Guided": "is a layer of affine maps, as `Autoregressive` is, whose parameters two contexts decide",
    "Reshape": "changes the shape of an event, no number in it",
    "Slice": "leaves out entries of an event, and draws them again on the way back",
    "Stack": "applies one map to each slice of an event with two axes, as `Concatenate` does side by side",
    "VariationalDequantize": "adds learned noise to whole numbers: a picture of it is noise",
}
"""Maps without a picture, and why."""

EXTENT, GRID_COLOURS = 2.6, ("#0072B2", "#D55E00")


def names(kind: type) -> list[str]:
    """The registered parts of one kind, by name."""
    return [n for n, c in sorted(REGISTRY.items()) if issubclass(c, kind) and c.__module__.startswith("pushforward.")]


def with_two_features(value: Any) -> Any:
    """A config with two features in place of any other number of them."""
    if isinstance(value, dict):
        return {k: 2 if k == "features" and isinstance(v, int) else with_two_features(v) for k, v in value.items()}
    return [with_two_features(v) for v in value] if isinstance(value, list) else value


def in_the_plane(name: str) -> Config | None:
    """A config of this map in the plane, or None where there is none."""
    examples = [BY_HAND[name]] if name in BY_HAND else REGISTRY[name].examples  # type: ignore[attr-defined]
    for example in examples:
        for change in (lambda config: config, with_two_features):
            config = {"type": name, **change(json.loads(json.dumps(example)))}
            try:
                part = build(config)
            except ValueError:
                continue
            if part.in_shape == part.out_shape == (2,):
                return config
    return None


def group_of(name: str) -> str:
    module = REGISTRY[name].__module__.rpartition(".")[2]
    return next((group for group, (_, modules) in GROUPS.items() if module in modules.split()), "given")


def plane_maps() -> dict[str, list[str]]:
    """The maps of each sheet of the plane."""
    elsewhere = {*IMAGES, *SPHERES, *LIFTED, *NOT_SHOWN}
    sheets: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in names(Bijection):
        if name not in elsewhere and in_the_plane(name) is not None:
            sheets[group_of(name)].append(name)
    return sheets


def missing() -> list[str]:
    """Registered maps that are neither drawn nor named among those that are not."""
    drawn = {name for sheet in plane_maps().values() for name in sheet}
    return [n for n in names(Bijection) if n not in {*drawn, *IMAGES, *SPHERES, *LIFTED, *NOT_SHOWN}]


# --- drawing ---------------------------------------------------------------------------------------------------------


STRONG = {"Multiscale": 0.4, "NeuralODE": 1.4, "Radial": 1.8, "Residual": 1.5, "Sylvester": 1.2, "CurvedLift": 1.2}
"""Sizes of random weights of maps that do little with the usual ones."""


def random_map(config: Config, seed: int = 0) -> Any:
    size = STRONG.get(config["type"], 0.7)
    return with_random_weights(lambda: build(config), f"{json.dumps(config)}{seed}", torch.float64, size)


def map_with_context(part: Bijection) -> Callable[[str, Tensor], tuple[Tensor, Tensor]]:
    """A direction by name, at one random context where the map takes one."""
    context = context_for(part, (), generator(0))

    @torch.no_grad()
    def apply(direction: str, x: Tensor) -> tuple[Tensor, Tensor]:
        y, ladj = getattr(part, f"{direction}_and_ladj")(x, context)
        return y, ladj

    return apply


def grid_lines(count: int = 13, points: int = 161, extent: float = EXTENT) -> list[tuple[Tensor, str]]:
    """Lines along both axes with their colours, darker in the middle."""
    t = torch.linspace(-extent, extent, points, dtype=torch.float64)
    out = []
    for place in torch.linspace(-extent, extent, count, dtype=torch.float64):
        fixed = torch.full_like(t, float(place))
        out += [(torch.stack([fixed, t], -1), GRID_COLOURS[0]), (torch.stack([t, fixed], -1), GRID_COLOURS[1])]
    return out


def bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_color("#c8c8c8")
        side.set_linewidth(0.6)


def window(y: Tensor) -> tuple[float, float, float, float]:
    """A square around most of the points."""
    y = y[y.isfinite().all(-1)]
    ends = torch.quantile(y, torch.tensor([0.005, 0.995], dtype=y.dtype), dim=0)
    middle, half = ends.mean(0), 0.62 * float((ends[1] - ends[0]).max())
    x0, y0 = middle.tolist()
    return x0 - half, x0 + half, y0 - half, y0 + half


def draw_plane(top: Axes, bottom: Axes, name: str) -> None:
    """The image of the grid, and below it that of the density."""
    config = in_the_plane(name)
    assert config is not None
    part = random_map(config)
    apply = map_with_context(part)
    points = moons().double().sample((60_000,), generator=generator(1)) * 1.3
    into = to_domain(part.domain)
    moved, _ = apply("forward", into(points))
    box = window(moved)
    for line, colour in grid_lines():
        y, _ = apply("forward", into(line))
        y = without_jumps(y, 0.35 * (box[1] - box[0]))
        top.plot(*y.T.numpy(), color=colour, linewidth=0.7, alpha=0.85)
    counts, _, _ = np.histogram2d(*moved.T.numpy(), bins=110, range=[box[:2], box[2:]])
    values = density_at(part, apply, box) if real(part) and part.inverse_kind != "none" else counts.T
    limit = np.nanquantile(values[values > 0], 0.985)
    bottom.imshow(values, extent=box, origin="lower", cmap="magma_r", vmin=0, vmax=limit, interpolation="bilinear")
    for ax in (top, bottom):
        ax.set_xlim(*box[:2])
        ax.set_ylim(*box[2:])
        ax.set_aspect("equal")
        bare(ax)
    top.set_title(name, fontsize=8, color=INK, pad=3)


def real(part: Bijection) -> bool:
    plain = part.keeps_dimension and not part.stochastic and part.log_det == "exact"
    return isinstance(part.domain, Real) and isinstance(part.codomain, Real) and plain


def density_at(part: Bijection, apply: Callable[..., tuple[Tensor, Tensor]], box: Any, points: int = 130) -> Any:
    """The density of the image, by the inverse and its log-determinant."""
    first, second = (torch.linspace(a, b, points, dtype=torch.float64) for a, b in (box[:2], box[2:]))
    y = torch.stack(torch.meshgrid(first, second, indexing="xy"), -1).reshape(-1, 2)
    x, ladj = apply("inverse", y)
    with torch.no_grad():
        log_prob = moons().double().log_prob(x / 1.3) + ladj
    return np.nan_to_num(log_prob.exp().reshape(points, points).numpy())


def to_domain(domain: Any) -> Callable[[Tensor], Tensor]:
    """From the plane into the domain of a map, entry by entry: as it is where that is the plane."""
    if isinstance(domain, Real):
        return lambda x: x
    ends = [d.ends for d in domain.parts] if hasattr(domain, "parts") else [domain.ends] * 2

    def into(x: Tensor) -> Tensor:
        columns = []
        for value, (low, high) in zip(x.unbind(-1), ends, strict=True):
            if math.isfinite(low) and math.isfinite(high):
                value = low + (high - low) * torch.sigmoid(2 * value)
            elif math.isfinite(low):
                value = low + value.exp()
            elif math.isfinite(high):
                value = high - value.exp()
            columns.append(value)
        return torch.stack(columns, -1)

    return into


def sheet(count: int, *, panels: int = 2, size: float = 1.25) -> tuple[Figure, list[Any]]:
    """A figure with a cell for each of ``count`` maps, each of panels above one another."""
    rows = max(1, round(count / 8))
    columns = -(-count // rows)
    figure = Figure(figsize=(columns * size * 1.06, rows * (panels * size * 1.02 + 0.34)), facecolor="white")
    outer = figure.add_gridspec(rows, columns, left=0.01, right=0.99, top=1 - 0.22 / (rows * 2.9), bottom=0.01)
    outer.update(wspace=0.06, hspace=0.14)
    cells = []
    for k in range(count):
        inner = outer[k // columns, k % columns].subgridspec(panels, 1, hspace=0.04)
        cells.append([figure.add_subplot(inner[j]) for j in range(panels)])
    return figure, cells


def finish(figure: Figure, name: str) -> None:
    from PIL import Image

    path = HERE / "images" / f"gallery_{name}.png"
    save_figure(figure, path, dpi=110)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(96, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def draw_univariates() -> None:
    """Each map with three draws of its parameters, and the densities of a normal behind it."""
    maps = names(Univariate)
    figure, cells = sheet(len(maps))
    t = torch.linspace(-3, 3, 601, dtype=torch.float64)
    for name, (top, bottom) in zip(maps, cells, strict=True):
        univariate = {"type": name, **json.loads(json.dumps(REGISTRY[name].examples[0]))}  # type: ignore[attr-defined]
        features = 2 if name == "PerFeature" else 1
        univariate |= {"counts": [1, 1]} if name == "PerFeature" else {}
        layer = {"type": "Elementwise", "univariate": univariate, "features": features}
        for seed, colour in enumerate((*GRID_COLOURS, "#009E73")):
            part = random_map(layer, seed)
            x, log_slope = into_with_slope(part, t)
            with torch.no_grad():
                y, ladj = part.forward_and_ladj(x[:, :features])
            for a, b in zip(x.unbind(-1), y.unbind(-1), strict=False):
                top.plot(a.numpy(), without_jumps(b[:, None], 1.5)[:, 0].numpy(), color=colour, linewidth=1.0)
            if features == 1:
                density = (-0.5 * t.square() - log_slope - ladj).exp()
                order = y[:, 0].argsort()
                bottom.plot(y[order, 0].numpy(), density[order].numpy(), color=colour, linewidth=1.0)
            if not list(part.parameters()):
                break
        top.set_title(name, fontsize=6.2 if len(name) > 20 else 7.2, color=INK, pad=3)
        for ax in (top, bottom):
            bare(ax)
        if features == 1:
            bottom.set_ylim(bottom=0, top=min(bottom.get_ylim()[1], 6.0))
        else:
            bottom.set_axis_off()
    finish(figure, "univariates")


def into_with_slope(part: Bijection, t: Tensor) -> tuple[Tensor, Tensor]:
    """Points of the domain for the numbers t, in two equal columns, and the log-slope of the way there."""
    leaf = t.clone().requires_grad_()
    x = to_domain(part.domain)(torch.stack([leaf, leaf], -1))
    (slope,) = torch.autograd.grad(x[:, 0].sum(), leaf)
    return x.detach(), slope.log()


def without_jumps(y: Tensor, size: float) -> Tensor:
    """A curve (n, features) with NaN where it jumps."""
    jumps = (y[1:] - y[:-1]).norm(dim=-1) > size
    return torch.where(torch.cat([jumps, torch.zeros_like(jumps[:1])])[:, None], torch.nan, y)


def draw_images() -> None:
    """A small picture, and what each map makes of it, channel by channel."""
    axis = torch.linspace(-1, 1, 8, dtype=torch.float64)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    disc = torch.sigmoid(8 * (0.75 - (rows.square() + columns.square()).sqrt())) * (1.2 + 0.8 * columns)
    stripe = torch.sigmoid(6 * (rows - columns))
    picture = torch.stack([disc, stripe, 0.5 + 0.5 * (4 * rows).sin()])
    figure = Figure(figsize=(9.4, 1.15 * len(IMAGES)), facecolor="white")
    grid = figure.add_gridspec(len(IMAGES), 9, left=0.13, right=0.99, top=0.97, bottom=0.02, wspace=0.08, hspace=0.12)
    for i, (name, config) in enumerate(IMAGES.items()):
        part = random_map({"type": name, **config})
        x = picture[: part.in_shape[0]]
        with torch.no_grad():
            y = part.forward(x)
        panels = [*x, None, *y]
        for j, channel in enumerate(panels):
            ax = figure.add_subplot(grid[i, j + 3 - len(x)])
            bare(ax)
            if channel is None:
                ax.set_axis_off()
                ax.text(0.5, 0.5, "→", ha="center", va="center", fontsize=18, color=INK)
                continue
            ax.imshow(channel.numpy(), cmap="magma_r", interpolation="nearest")
        figure.text(0.01, 0.97 - (i + 0.5) * 0.95 / len(IMAGES), name, fontsize=9, color=INK, va="center")
    finish(figure, "images")


def draw_surfaces() -> None:
    """Spheres before and after, and the plane on surfaces in space."""
    shown = [*SPHERES, *LIFTED]
    figure = Figure(figsize=(9.4, 4.3), facecolor="white")
    grid = figure.add_gridspec(2, 5, left=0.01, right=0.99, top=0.94, bottom=0.02, wspace=0.08, hspace=0.16)
    for j, name in enumerate(shown):
        ax = figure.add_subplot(grid[j // 5, j % 5])
        config = {"features": 3} if name in SPHERES else LIFTED[name]
        part = random_map({"type": name, **config})
        apply = map_with_context(part)
        points = []
        for line, colour in sphere_lines() if name in SPHERES else surface_lines(part):
            flat, front = seen(apply("forward", line)[0], name)
            points.append(flat)
            for visible, alpha in ((front, 0.95), (~front, 0.18)):
                visible_part = torch.where(visible[:, None], flat, torch.nan)
                ax.plot(*visible_part.T.numpy(), color=colour, linewidth=0.8, alpha=alpha)
        ends = torch.stack([torch.cat(points).amin(0), torch.cat(points).amax(0)])
        middle, half = ends.mean(0), 0.54 * float((ends[1] - ends[0]).max())
        ax.set_xlim(float(middle[0]) - half, float(middle[0]) + half)
        ax.set_ylim(float(middle[1]) - half, float(middle[1]) + half)
        ax.set_aspect("equal")
        ax.set_title(name, fontsize=8, color=INK, pad=3)
        bare(ax)
    finish(figure, "surfaces")


def sphere_lines() -> list[tuple[Tensor, str]]:
    """Circles of latitude and of longitude."""
    turn = torch.linspace(0, 2 * math.pi, 181, dtype=torch.float64)
    out = []
    for latitude in torch.linspace(-75, 75, 11, dtype=torch.float64) * math.pi / 180:
        height, radius = latitude.sin(), latitude.cos()
        out.append(
            (torch.stack([radius * turn.cos(), radius * turn.sin(), height.expand_as(turn)], -1), GRID_COLOURS[0])
        )
    for longitude in torch.linspace(0, 165, 12, dtype=torch.float64) * math.pi / 180:
        circle = torch.stack([turn.cos() * longitude.cos(), turn.cos() * longitude.sin(), turn.sin()], -1)
        out.append((circle, GRID_COLOURS[1]))
    return out


def surface_lines(part: Bijection) -> list[tuple[Tensor, str]]:
    lines = grid_lines(11, 121, 2.2)
    into = to_domain(part.domain)
    return [(into(line), colour) for line, colour in lines]


def seen(y: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Points in space as they are seen from the front and a little above, and which are in front."""
    a, b = 0.5, 0.45
    right = torch.tensor([-math.sin(a), math.cos(a), 0.0], dtype=y.dtype)
    towards = torch.tensor([math.cos(a) * math.cos(b), math.sin(a) * math.cos(b), math.sin(b)], dtype=y.dtype)
    up = torch.linalg.cross(towards, right)
    flat = torch.stack([y @ right, y @ up], -1)
    front = y @ towards > 0 if name.startswith("Sphere") else torch.ones_like(y[:, 0], dtype=torch.bool)
    return flat, front


# --- the page --------------------------------------------------------------------------------------------------------


def listed(parts: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in parts)


def page() -> str:
    sheets = plane_maps()
    lines = [
        "# What every map does",
        "",
        "All registered maps with random weights, from the registry, by `python docs/make_gallery.py`; do not edit.",
        "",
        "In the plane the upper picture of each shows where a grid of straight lines goes (blue: upright, orange:",
        "level; the same grid for all), the lower one the image of one density, that of two moons. Where a map takes",
        "the plane to itself the density is the exact one, by its inverse and log-determinant; else it is a histogram",
        "of points. Maps of intervals or angles get the grid through a sigmoid, maps of half lines through an",
        "exponential.",
        "",
        "## The grid and the density before any map",
        "",
        "![The grid and the density](images/gallery_start.png)",
    ]
    for group, (title, _) in GROUPS.items():
        lines += ["", f"## {title}", "", listed(sheets[group]), "", f"![{title}](images/gallery_{group}.png)"]
    lines += [
        "",
        "## Maps of one variable",
        "",
        "Above the map itself with three draws of its parameters (one where it has none), below the density of a",
        "normal behind it. `PerFeature` has another map for each feature, and no density of its own.",
        "",
        listed(names(Univariate)),
        "",
        "![Maps of one variable](images/gallery_univariates.png)",
        "",
        "## Images",
        "",
        "A picture of one or three channels on the left, the channels of its image on the right.",
        "",
        listed(list(IMAGES)),
        "",
        "![Maps of images](images/gallery_images.png)",
        "",
        "## Spheres, simplex, surfaces",
        "",
        "Of maps of the sphere the images of circles of latitude (blue) and longitude (orange), the far side pale. The",
        "others take the grid in the plane, or one of angles, to the sphere, the simplex or a surface in space.",
        "",
        listed([*SPHERES, *LIFTED]),
        "",
        "![Maps of spheres and onto surfaces](images/gallery_surfaces.png)",
        "",
        "## Without a picture",
        "",
        *[f"* `{name}`: {reason}." for name, reason in NOT_SHOWN.items()],
    ]
    return "\n".join(lines) + "\n"


def draw_group(group: str) -> None:
    maps = plane_maps()[group]
    figure, cells = sheet(len(maps))
    for name, (top, bottom) in zip(maps, cells, strict=False):
        draw_plane(top, bottom, name)
    finish(figure, group)


def draw_start() -> None:
    figure, ((top, bottom),) = sheet(1, size=1.6)
    draw_identity(top, bottom)
    finish(figure, "start")


def draw_identity(top: Axes, bottom: Axes) -> None:
    for line, colour in grid_lines():
        top.plot(*line.T.numpy(), color=colour, linewidth=0.7, alpha=0.85)
    box = (-2.6, 2.6, -2.6, 2.6)
    axis = torch.linspace(-2.6, 2.6, 130, dtype=torch.float64)
    y = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    with torch.no_grad():
        values = moons().double().log_prob(y / 1.3).exp().numpy()
    bottom.imshow(values, extent=box, origin="lower", cmap="magma_r", interpolation="bilinear")
    for ax in (top, bottom):
        ax.set_xlim(*box[:2])
        ax.set_ylim(*box[2:])
        ax.set_aspect("equal")
        bare(ax)
    top.set_title("before", fontsize=8, color=INK, pad=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write the text alone")
    parser.add_argument("--sheets", nargs="*", help="draw these alone: start, images, ..., or a group")
    arguments = parser.parse_args()
    if left := missing():
        raise SystemExit(f"neither drawn nor named in NOT_SHOWN: {', '.join(left)}")
    (HERE / "gallery.md").write_text(page(), encoding="utf-8")
    if arguments.page:
        return
    torch.set_num_threads(1)
    drawers: dict[str, Callable[[], None]] = {
        "start": draw_start,
        **{group: functools.partial(draw_group, group) for group in GROUPS},
        "univariates": draw_univariates,
        "images": draw_images,
        "surfaces": draw_surfaces,
    }
    for name, draw in drawers.items():
        if not arguments.sheets or name in arguments.sheets:
            draw()


if __name__ == "__main__":
    main()

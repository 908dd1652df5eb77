"""The exact model of pixels by name: a probability of each whole number given those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from pushforward.distributions import DiscreteGrid
from pushforward.flows.options import PlainOptions
from pushforward.flows.registry import IMAGE_FLOWS, named_flow, network_options

__all__ = ["pixels"]


@named_flow(IMAGE_FLOWS, hidden=(96, 96, 96), activation="silu")
def pixels(
    features: Sequence[int],
    context: int = 0,
    *,
    levels: int = 256,
    above: int = 2,
    beside: int = 3,
    recurrent: int = 64,
    planes: int = 0,
    embedding: int = 16,
    flat_share: float | None = 0.125,
    **options: Unpack[PlainOptions],
) -> DiscreteGrid:
    r"""Exact probabilities of whole numbers on a grid, such as the pixels of an image, each given those before it.

    .. math:: q(x) = \prod_j q(x_j \mid x_{<j}, c), \qquad
        q(x_j = v \mid x_{<j}, c) = \operatorname{softmax}_v \theta_j(x_{<j}, c)

    This is `distributions.DiscreteGrid`, and no flow: nothing is dequantized, so that its numbers are **exact** lengths
    of codes, where those of the flows with ``values=256`` are bounds on them. It has no latent space, but exact
    completions of images whose first rows are there (`DiscreteGrid.given`). Log-probabilities cost one pass of the
    network, samples one small step for each number, in all about one pass as well.

    Args:
        features: the shape (channels, *spatial) of an event, with one or two spatial axes.
        context: number of context features, those of planes included.
        levels: how many values a number has: they are 0 .. levels - 1.
        above: rows of the window above a cell.
        beside: cells of the window on each side of it.
        recurrent: units that carry what lies beyond the window from cell to cell, before each residual block; 0 for
            none.
        planes: of an image over the grid that the context ends with, in row-major order of (planes, *spatial); each
            cell sees it in the window on all sides. Such a model restores, enlarges or colours images.
        embedding: learned numbers that stand for each value, but no more than there are levels.
        flat_share: the share of cells amid equal values that a training step draws, see `distributions.DiscreteGrid`;
            None for recurrent units that have a say there as well, which gives another model.

    Raises:
        ValueError: the shape has no channels or more than two spatial axes, or an option is out of its range.

    References:
        | Pixel Recurrent Neural Networks (van den Oord et al., 2016), arXiv:1601.06759
        | Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), arXiv:1606.05328

    >>> model = pixels((1, 4, 4), levels=4, hidden=(8, 8))
    >>> model.event_shape, model.exactness
    ((1, 4, 4), 'exact')
    """
    network: Any = network_options("pixels", options)
    return DiscreteGrid(
        features, levels=levels, context=context, above=above, beside=beside, recurrent=recurrent, planes=planes,
        embedding=embedding, flat_share=flat_share, **network,
    )  # fmt: skip

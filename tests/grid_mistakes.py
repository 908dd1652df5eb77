"""Refusals of models of grids, for `test_messages`."""

import torch

from pushforward.bijections import Autoregressive
from pushforward.distributions import DiscreteGrid
from pushforward.univariate import Affine


def window(features=6, hidden=(4,), **options):
    return Autoregressive(Affine(), features, hidden=hidden, conditioner="window", conditioner_options=options)


def rest(observed):
    return DiscreteGrid((1, 2, 3), levels=4, hidden=(4, 4)).given(observed)


MISTAKES = [
    (
        lambda: window(shape=[2, 2]),
        r"CausalWindow: shape must have as many values as there are features, 6; got \[2, 2",
    ),
    (lambda: window(shape=[]), r"CausalWindow: shape must be \(width,\), \(height, width\) or .*; got \[\]"),
    (lambda: window(shape=[2, 0]), r"CausalWindow: shape must be \(width,\), .*; got \[2, 0\]"),
    (lambda: window(above=-1), r"CausalWindow: above must be a whole number of at least 0; got -1"),
    (lambda: window(beside=0), r"CausalWindow: beside must be a whole number of at least 1; got 0"),
    (lambda: window(recurrent=-1), r"CausalWindow: recurrent must be a whole number of at least 0; got -1"),
    (
        lambda: window(shape=[1, 3, 2], recurrent=1),
        r"CausalWindow: recurrent must be 0 or at least 2, one for each direction and value; got 1",
    ),
    (lambda: window(planes=-1), r"CausalWindow: planes must be a whole number of at least 0; got -1"),
    (lambda: window(planes=2), r"CausalWindow: the context must hold 2 numbers for each of 6 cells; got 0"),
    (lambda: window(hidden=(2,), shape=[1, 2, 3]), r"CausalWindow: hidden layers need a unit for each of the 3 values"),
    (lambda: window(hidden=(4, 5)), r"CausalWindow: a residual network needs equal widths; got hidden=\(4, 5\)"),
    (lambda: DiscreteGrid((3,)), r"DiscreteGrid: shape must be \(channels, \*spatial\) with one or two spatial sizes"),
    (lambda: DiscreteGrid(()), r"DiscreteGrid: "),
    (lambda: DiscreteGrid((1, 2, 2), levels=1), r"DiscreteGrid: levels must be a whole number of at least 2; got 1"),
    (
        lambda: DiscreteGrid((1, 2, 2), context=-1),
        r"DiscreteGrid: context must be a whole number of at least 0",
    ),
    (
        lambda: rest(torch.zeros(1, 2, 3)),
        r"DiscreteGrid: observed must be the first k of the 2 rows .*; got \(1, 2, 3\)",
    ),
    (lambda: rest([[0.0]]), r"DiscreteGrid: observed must be the first k of the 2 rows .*; got list"),
    (lambda: rest(torch.zeros(1, 1, 3).double()), r"DiscreteGrid: observed is torch.float64 but the weights"),
    (lambda: DiscreteGrid((1, 2, 2), embedding=0), r"DiscreteGrid: embedding must be a whole number of at least 1"),
    (
        lambda: DiscreteGrid((1, 2, 2), flat_share=0),
        r"DiscreteGrid: flat_share must be from 0\.0001 to 1, or None; got 0\.",
    ),
]

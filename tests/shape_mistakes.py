"""Refusals about event shapes, domains and maps of the context, for `test_messages`."""

import torch
from torch import nn

from pushforward.bijections import Chain, Coupling, Elementwise, Flip, Permute, Standardize
from pushforward.core.domain import REAL, Product, Sphere
from pushforward.distributions import Flow, Normal, StandardNormal, Uniform
from pushforward.networks import ConvNet, register_conv
from pushforward.univariate import Affine

IMAGE = (2, 4, 4)


def affine(**options):
    return Coupling(Affine(), IMAGE, hidden=(6,), **options)


def flow_of(context_map, **options):
    bijection = Elementwise(Affine(), 2, context=2, hidden=(8,))
    return Flow(StandardNormal(2), bijection, context_map=context_map, **options)


class Sloppy(nn.Module):
    """A network that gives one number for a whole batch."""

    def forward(self, x):
        return x.sum()


class OnSphere(StandardNormal):
    """A base of too few dimensions, for all that is checked when a flow is built."""

    support = Sphere()


MISTAKES = [
    (
        lambda: StandardNormal(()),
        r"StandardNormal: features must be a whole number of at least 1; got \(\)\. An",
    ),
    (lambda: StandardNormal((3, 0)), r"StandardNormal: features must be a whole number of at least 1; got 0\."),
    (lambda: StandardNormal("3"), r"StandardNormal: features must be a whole number of at least 1; got '3'\."),
    (lambda: Standardize((2, 2.0)), r"Standardize: features must be a whole number of at least 1; got 2\.0\."),
    (
        lambda: Normal([[0.0], [1.0, 2.0]]),
        r"Normal: loc must list one finite number per feature; got .* lengths\.",
    ),
    (lambda: Normal([[0.0, 1.0]], [1.0, 1.0]), r"Normal: scale must be 2 positive numbers; got \[1\.0, 1\.0\]\."),
    (lambda: Uniform([[0.0]], [[0.0]]), r"Uniform: low must lie below high, feature by feature; got"),
    (lambda: Flip((2, 3), axis=2), r"Flip: axis must be one of the axes of events of shape \(2, 3\); got 2\."),
    (lambda: Flip((2, 3), axis=True), r"Flip: axis must be one of the axes of events of shape \(2, 3\); got True\."),
    (
        lambda: Permute([1, 0], features=(2, 3)),
        r"Permute: order must list the 3 entries along axis -1; got 2\.",
    ),
    (
        lambda: affine(mask="stripes"),
        r"Coupling: mask must be 'checkerboard' or a nested list of booleans; got '",
    ),
    (lambda: affine(mask=[True, False]), r"Coupling: mask must be a nested list of booleans that broadcasts to events"),
    (lambda: affine(mask=[[True], [True, False]]), r"Coupling: mask must be a nested list of booleans that broadcasts"),
    (lambda: affine(mask=[[[True]]]), r"Coupling: mask must keep some entries of an event and move the others; got"),
    (lambda: affine(mask="checkerboard", axis=0), r"Coupling: split by mask or along axis, not both; got mask="),
    (
        lambda: Coupling(Affine(), (1, 4, 4)),
        r"Coupling: axis 0 of events of shape \(1, 4, 4\) has one entry and cannot be cut in two\. Choose another axis",
    ),
    (lambda: affine(axis=3), r"Coupling: axis must be one of the axes of events of shape \(2, 4, 4\); got 3\."),
    (
        lambda: Coupling(Affine(), 4, conditioner="conv"),
        r"ConvNet: events must have the axes \(channels, \*spatial\) with one to three spatial ones; got shape \(2,\)",
    ),
    (lambda: affine(conditioner="cnn"), r"Coupling: conditioner must be one of 'plain', .*'conv'.*; got 'cnn'\."),
    (lambda: ConvNet(IMAGE, 2, kernel=2), r"ConvNet: kernel must be an odd whole number; got 2\."),
    (
        lambda: Flow(StandardNormal((2, 8)), affine()),
        r"Flow: base has events of shape \(2, 8\) but bijection starts from \(2, 4, 4\)\. Build both for events of the",
    ),
    (
        lambda: Chain([Flip(IMAGE), Flip(32)]),
        r"Chain: parts\[0\] \(Flip\) ends in shape \(2, 4, 4\) but parts\[1\] \(Flip\) starts from \(32,\)\. Build",
    ),
    (
        lambda: StandardNormal(IMAGE).log_prob(torch.zeros(4, 4)),
        r"StandardNormal: x must have shape \(\*batch, 2, 4, 4\); got \(4, 4\)\.",
    ),
    (lambda: Sphere().dimension(()), r"Sphere: a point has 1 or more axes; got events of shape \(\)\."),
    (lambda: Product((REAL, REAL)).dimension((3,)), r"Product: describes 2 entries; got events of shape \(3,\)\."),
    (lambda: Product((REAL, REAL), (1, 3)), r"Product: shape \(1, 3\) must hold one entry per part; got 2 parts\."),
    (
        lambda: flow_of(nn.Sequential(nn.Flatten(), nn.Linear(36, 2))),
        r"Flow: context_map \(Sequential\) does not state the shape of its input\. Pass the shape of one context",
    ),
    (
        lambda: flow_of(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), context_shape=(5,)),
        r"Flow: context_map \(Sequential\) cannot be applied to contexts of shape \(2, 5\): ",
    ),
    (
        lambda: flow_of(nn.Linear(5, 3), context_shape=5),
        r"Flow: context_map ends in shape \(3,\) but the context has \(2,\)\.",
    ),
    (
        lambda: flow_of(Sloppy(), context_shape=5),
        r"Flow: context_map \(Sloppy\) must give one embedding per context, \(n, \.\.\.\) for",
    ),
    (
        lambda: flow_of(Standardize(2), context_shape=3),
        r"Flow: context_map \(Standardize\) takes contexts of shape \(2,\); got context_shape=\(3,\)\.",
    ),
    (lambda: flow_of(None, context_shape=3), r"Flow: context_shape is that of the input of a context_map; got no"),
    (lambda: flow_of(torch.tanh), r"Flow: context_map must be a bijection or another torch\.nn\.Module; got"),
    (
        lambda: flow_of(nn.Linear(5, 2), context_shape=0),
        r"Flow: context_shape must be a whole number of at least 1; got 0",
    ),
    (
        lambda: flow_of(Elementwise(Affine(), 2, context=1)),
        r"Flow: context_map \(Elementwise\) must not ask for a context itself\. Build it with context=0\.",
    ),
    (lambda: register_conv("conv", ConvNet), r"register_conv: the name 'conv' is taken\. Choose another\."),
    (
        lambda: Flow(OnSphere(3), Flip(3)),
        r"Flow: a change of variables keeps the dimension, but base has dimension 2 \(Sphere\(\)\) and bijection ends",
    ),
    (lambda: Coupling(Affine(), (2, -1)), r"Coupling: features must be a whole number of at least 1; got -1\."),
    (lambda: Permute([0], features=(1, 0)), r"Permute: features must be a whole number of at least 1; got 0\."),
    (lambda: Permute([0], axis=1), r"Permute: axis must be one of the axes of events of shape \(1,\); got 1\."),
    (lambda: ConvNet(IMAGE, 2, hidden=()), r"ConvNet: hidden must list at least one layer width; got \(\)\."),
]

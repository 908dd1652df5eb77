"""Refusals of continuous, graphical and surjective maps, of shapes and of registries, for `test_messages`."""

import torch

from pushforward.bijections import (
    Abs,
    Augment,
    BatchNorm,
    Bijection,
    Concatenate,
    Coupling,
    Dequantize,
    Elementwise,
    Flip,
    GraphAutoregressive,
    Indexed,
    LinearLift,
    MaxPool,
    Multiscale,
    NeuralODE,
    Pointwise,
    Reflect,
    Reshape,
    Scan,
    Slice,
    Sort,
    Squeeze,
    Stack,
)
from pushforward.core.sorted import Sorted
from pushforward.distributions import Dirichlet, ManifoldFlow, ProbabilisticPCA, StandardNormal
from pushforward.flows import cnf, glow, graphical, maf, multiscale_real_nvp
from pushforward.networks import DENSE, LipschitzMLP, register_dense, register_lipschitz
from pushforward.univariate import Affine, LeakyReLU, LeakyTanh, Monotone, SignedPower, Softclip, register_monotone

FLAT = torch.zeros(3, 2)
NO_FEATURE = r"features must be a whole number of at least 1; got 0\."
NO_CONTEXT = r"context must be a whole number of at least 0; got -1\."


class Unnamed(Bijection):
    """A map that its author forgot to make configurable."""

    in_shape = out_shape = (2,)

    def _forward_and_ladj(self, x, context):
        return x, x.new_zeros(x.shape[:-1])

    def _inverse_and_ladj(self, y, context):
        return y, y.new_zeros(y.shape[:-1])


def graph(features=2, univariate=None, **options):
    return GraphAutoregressive(Affine() if univariate is None else univariate, features, **options)


def no_conditioner():
    """A velocity from a network that is no conditioner."""
    register_dense("layer", lambda ins, outs, **options: torch.nn.Linear(ins, outs))
    try:
        return NeuralODE(2, conditioner="layer")
    finally:
        del DENSE["layer"]


def two_contexts():
    first = Coupling(Affine(), 2, context=1, hidden=(4,))
    return Multiscale([first, Elementwise(Affine(), 1, context=2, hidden=(4,))])


MISTAKES = [
    (lambda: Softclip(0.0), r"Softclip: bound must be a positive number; got 0\.0\."),
    # shapes and axes
    (lambda: BatchNorm(0), rf"BatchNorm: {NO_FEATURE}"),
    (lambda: Dequantize(0), rf"Dequantize: {NO_FEATURE}"),
    (lambda: Sort(0), rf"Sort: {NO_FEATURE}"),
    (lambda: MaxPool(0), rf"MaxPool: {NO_FEATURE}"),
    (lambda: MaxPool((1, 4), kernel=1), r"MaxPool: kernel must be a whole number of at least 2; got 1\."),
    (lambda: Squeeze((3, 0)), rf"Squeeze: {NO_FEATURE}"),
    (lambda: Reshape(0, 1), rf"Reshape: {NO_FEATURE}"),
    (lambda: Reshape(1, 0), r"Reshape: shape must be a whole number of at least 1; got 0\."),
    (lambda: Reflect(1), r"Reflect: signs must list one finite number per feature; got 1\. Write \[1\] for"),
    (lambda: Pointwise(Flip(2), (0,)), r"Pointwise: spatial must be a whole number of at least 1; got 0\."),
    (
        lambda: Concatenate([Flip(2)], axis=1),
        r"Concatenate: axis must be one of the axes of events of shape \(2,\); got 1\.",
    ),
    (lambda: Stack([Flip(2)], axis=2), r"Stack: axis must be one of the axes of events of shape \(2, 1\); got 2\."),
    (lambda: Indexed(Flip(2), [0, 1], 0), rf"Indexed: {NO_FEATURE}"),
    (
        lambda: Indexed(Flip(2), [0, 1], 3, axis=1),
        r"Indexed: axis must be one of the axes of events of shape \(3,\); got 1\.",
    ),
    (lambda: Indexed(Flip(2), [-1, 0], 3), r"Indexed: index must be a whole number of at least 0; got -1\."),
    # maps of maps
    (two_contexts, r"Multiscale: all levels must take the same context; got \['\(1,\)', '\(2,\)'\]\."),
    (lambda: Scan(Unnamed(), 2), r"Scan: Unnamed has no config\. Put @configurable above the class\."),
    # surjections
    (lambda: Slice(0, 1), rf"Slice: {NO_FEATURE}"),
    (lambda: Slice(3, 1, axis=1), r"Slice: axis must be one of the axes of events of shape \(3,\); got 1\."),
    (
        lambda: Slice(3, 1, noise=Dirichlet(2)),
        r"Slice: the support of noise must be given entry by entry; got Simplex\(.*\)\.",
    ),
    (lambda: Augment(0, 1), rf"Augment: {NO_FEATURE}"),
    (lambda: Abs(0), rf"Abs: {NO_FEATURE}"),
    (lambda: Sorted().dimension(()), r"Sorted: a point has 1 or more axes; got events of shape \(\)\."),
    # graphs
    (lambda: graph(0, edges=[]), rf"GraphAutoregressive: {NO_FEATURE}"),
    (lambda: graph(edges=[], context=-1), rf"GraphAutoregressive: {NO_CONTEXT}"),
    (
        lambda: graph(edges=[], conditioner="conv"),
        r"GraphAutoregressive: conditioner must be one of 'plain', 'residual'; got 'conv'\.",
    ),
    (
        lambda: graph(univariate=Affine, edges=[]),
        r"GraphAutoregressive: univariate must be a Univariate; got <class .*>\. Try univariate\.Affine\(\)\.",
    ),
    (
        lambda: graph(univariate=LeakyTanh(), edges=[]),
        r"GraphAutoregressive: univariate LeakyTanh has no parameters that a conditioner could decide\. Use Composed",
    ),
    (graph, r"GraphAutoregressive: give the graph once, by edges or by adjacency; got neither\."),
    (
        lambda: graph(edges=[[0, 1]], adjacency=[[0, 0], [1, 0]]),
        r"GraphAutoregressive: give the graph once, by edges or by adjacency; got both\.",
    ),
    (
        lambda: graph(edges=[[0, 2]]),
        r"GraphAutoregressive: edges must list pairs \[parent, child\] of features 0 \.\. 1; got \[0, 2\]\.",
    ),
    (
        lambda: graph(adjacency=[[0, 0]]),
        r"GraphAutoregressive: adjacency must have 2 rows of 2 booleans; got 1 rows of \[2\]\.",
    ),
    (
        lambda: graph(edges=[], context=1, context_adjacency=[[1, 1], [1, 0]]),
        r"GraphAutoregressive: context_adjacency must have 2 rows of 1 booleans; got 2 rows of \[2\]\.",
    ),
    (
        lambda: graph(edges=[[0, 1], [1, 0]]),
        r"GraphAutoregressive: the graph must have no cycle; got .*\. Leave one of these edges out\.",
    ),
    (lambda: graph(edges=[], hidden=()), r"GraphMLP: hidden must list at least one layer width; got \(\)\."),
    (lambda: graphical(2, univariate="affine", bins=-3), r"graphical: bins must be a whole number of at least 2; got"),
    (lambda: graphical(2, univariate="affine", bound=0), r"graphical: bound must be a positive number; got 0\."),
    (
        lambda: glow((1, 4, 4), 2, condition="base"),
        r"glow: condition must be one of 'layers', 'latents'; got 'base'",
    ),
    (lambda: glow((1, 4, 4), bins=0), r"glow: bins must be a whole number of at least 1; got 0\."),
    (lambda: glow((1, 4, 4), bound=-1), r"glow: bound must be a positive number; got -1\."),
    (
        lambda: graphical(2, univariate="cubic"),
        r"graphical: univariate must be one of 'spline', 'affine', 'integrated'; got 'cubic'\.",
    ),
    # differential equations and Lipschitz networks
    (lambda: NeuralODE(2, steps=1), r"NeuralODE: steps must be a whole number of at least 2; got 1\."),
    (lambda: NeuralODE(2, probes=0), r"NeuralODE: probes must be a whole number of at least 1; got 0\."),
    (lambda: NeuralODE(2, context=-1), rf"NeuralODE: {NO_CONTEXT}"),
    (lambda: NeuralODE(2, frequencies=-1), r"NeuralODE: frequencies must be a whole number of at least 0; got -1\."),
    (
        no_conditioner,
        r"NeuralODE: conditioner 'layer' must be a networks\.Conditioner; got Linear\. Subclass it and write its",
    ),
    (lambda: cnf(0), rf"cnf: {NO_FEATURE}"),
    (lambda: cnf(2, -1), rf"cnf: {NO_CONTEXT}"),
    (lambda: LipschitzMLP((2,), context=-1), rf"LipschitzMLP: {NO_CONTEXT}"),
    (
        lambda: register_lipschitz("plain", torch.nn.Identity),
        r"register_lipschitz: the name 'plain' is taken\. Choose another\.",
    ),
    # images
    (lambda: glow((1, 0, 4)), rf"glow: {NO_FEATURE}"),
    (lambda: multiscale_real_nvp((1, 4, 4), -1), rf"multiscale_real_nvp: {NO_CONTEXT}"),
    # distributions
    (
        lambda: ManifoldFlow(StandardNormal(1), LinearLift(2, 1)).project(torch.zeros(3)),
        r"ManifoldFlow: x must have shape \(\*batch, 2\); got \(3,\)\.",
    ),
    (lambda: ProbabilisticPCA(1, 1), r"ProbabilisticPCA: features must be a whole number of at least 2; got 1\."),
    (lambda: ProbabilisticPCA(2, 0), r"ProbabilisticPCA: latent must be a whole number of at least 1; got 0\."),
    (
        lambda: ProbabilisticPCA(2, 1).project(torch.zeros(3)),
        r"ProbabilisticPCA: x must have shape \(\*batch, 2\); got \(3,\)\.",
    ),
    (lambda: StandardNormal(2).as_torch(FLAT), r"StandardNormal: takes no context; got one\. Leave it out\."),
    (lambda: maf(2, 1, hidden=(4,)).as_torch(), r"Flow: needs a context\. Pass as_torch\(c\)\."),
    (
        lambda: maf(2, 1, hidden=(4,)).as_torch(FLAT),
        r"Flow: context must have shape \(\*batch, 1\); got \(3, 2\)\.",
    ),
    # univariates
    (lambda: SignedPower(bound=0.0), r"SignedPower: bound must be a positive number; got 0\.0\."),
    (lambda: LeakyTanh(0.0), r"LeakyTanh: bound must be a positive number; got 0\.0\."),
    (lambda: LeakyReLU(bound=0.0), r"LeakyReLU: bound must be a positive number; got 0\.0\."),
    (lambda: register_monotone(""), r"register_monotone: name must be a string; got ''\."),
    (
        lambda: register_monotone("line", num_params=-1),
        r"register_monotone: num_params must be a whole number of at least 0; got -1\.",
    ),
    (
        lambda: register_monotone("line", domain=(1.0, 0.0)),
        r"register_monotone: the ends of an interval must be in order; got \(1\.0, 0\.0\)\.",
    ),
    (
        lambda: register_monotone("nonlinear_squared")(lambda x, params: x),
        r"register_monotone: the name 'nonlinear_squared' is taken by pushforward\.",
    ),
    (
        lambda: Monotone("square"),
        r"Monotone: no increasing function is registered as 'square'; there are .*'nonlinear_squared'.*\. Import the",
    ),
]

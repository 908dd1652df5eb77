"""Every sentence with which a part refuses: who, what, what it got and, where there is one, the way out.

The last tests read the source: each ``raise`` and each use of a checking function must be reached by some case.
"""

import ast
import inspect
import json
import re
import traceback
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from grid_mistakes import MISTAKES as GRID_MISTAKES
from linear_mistakes import MISTAKES as LINEAR_MISTAKES
from mixed_mistakes import MISTAKES
from shape_mistakes import MISTAKES as SHAPE_MISTAKES
from space_mistakes import MISTAKES as SPACE_MISTAKES
from torch import nn
from zoo_mistakes import MISTAKES as ZOO_MISTAKES

import pushforward as pf
from pushforward.bijections import (
    LU,
    Angle,
    Autoregressive,
    Banana,
    Bijection,
    BlockNeural,
    Chain,
    Coupling,
    Elementwise,
    Flip,
    GaussianRosenblatt,
    GridRosenblatt,
    MixtureRosenblatt,
    Permute,
    RadialSquash,
    Rotation,
    Standardize,
    Triangular,
    total_degree,
)
from pushforward.core import checks
from pushforward.core.checks import NotInvertibleError
from pushforward.core.config import build, configurable, encode
from pushforward.core.dispatch import register
from pushforward.core.domain import REAL, Ball, Circle, Interval, Product
from pushforward.core.execution_mode import execution
from pushforward.distributions import (
    CircularUniform,
    Distribution,
    Flow,
    GaussianMixture,
    Joint,
    MultivariateNormal,
    Normal,
    StandardNormal,
    StudentT,
    Uniform,
    targets,
)
from pushforward.flows import bnaf, circular_nsf, gaussianization, iaf, maf, nice, nsf, real_nvp, triangular_map
from pushforward.networks import DENSE, MLP, MaskedMLP, register_dense, register_masked
from pushforward.univariate import (
    Affine,
    Bernstein,
    CircularShift,
    Composed,
    CubicSpline,
    DeepSigmoidal,
    DenseDeepSigmoidal,
    GaussianMixtureCDF,
    IntegratedNetwork,
    LinearRational,
    LinearSpline,
    Moebius,
    PerFeature,
    QuadraticSpline,
    RationalQuadratic,
    SinhArcsinh,
    SumOfSquares,
    TailTransform,
)

NAN = float("nan")


def wrong_conditioner(call):
    """The call while a module that is no conditioner is registered as ``"wrong"``."""
    register_dense("wrong", lambda ins, outs, **options: torch.nn.Linear(ins, outs))
    try:
        return call()
    finally:
        del DENSE["wrong"]


@configurable
class OneWay(Bijection):
    """A map without a known inverse."""

    def __init__(self, forward_kind="exact", inverse_kind="exact"):
        super().__init__()
        self.in_shape = self.out_shape = (2,)
        self.forward_kind, self.inverse_kind = forward_kind, inverse_kind

    def _forward_and_ladj(self, x, context):
        return x, x.sum(-1)

    def _inverse_and_ladj(self, y, context):
        return y, y.sum(-1)


class MixedTypeModel(OneWay):
    """Ends in features that live on different domains."""

    codomain = Product((REAL, Interval(0.0, 1.0)))


@configurable
class Lump(Distribution):
    """A distribution of which only the density is known."""

    event_shape, support = (2,), REAL

    def __init__(self):
        super().__init__()

    def _log_prob(self, x, context):
        return x.sum(-1)

    def _rsample(self, batch, context, generator):
        return torch.zeros(*batch, 2)


def one_layer(context):
    return nsf(2, context, depth=1, hidden=(4,))


def standing_in_for_flip():
    """A class of a name that is taken."""
    configurable(type("Flip", (nn.Module,), {"__module__": "elsewhere", "__init__": lambda self: None}))


def context_of(size):
    return Elementwise(Affine(), 2, context=size, hidden=(4,))


FLAT = torch.zeros(3, 2)


def changed_in_place():
    chain = Chain([Flip(2), Flip(2)], memory="invert")
    y, _ = chain.forward_and_ladj(torch.ones(1, 2, requires_grad=True))
    with torch.no_grad():
        y.zero_()
    y.sum().backward()


CASES = [
    (lambda: pf.flows.nsf(2, dept=3), r"nsf: there is no option 'dept'\. Did you mean 'depth'\?"),
    # calls
    (lambda: Flip(2)([1.0, 2.0]), r"Flip: x must be a torch\.Tensor; got list\. Use torch\.as_tensor\."),
    (lambda: Flip(2)(torch.zeros(3)), r"Flip: x must have shape \(\*batch, 2\); got \(3,\)\."),
    (lambda: Flip(2).inverse(torch.zeros(())), r"Flip: y must have shape \(\*batch, 2\); got \(\)\."),
    (
        lambda: Flow(torch.distributions.Normal(0.0, 1.0), torch.distributions.ExpTransform()).log_prob(torch.ones(3)),
        r"Flow: x must have shape \(\*batch, 1\); got \(3,\)\. For single numbers pass x\[\.\.\., None\]\.",
    ),
    (
        lambda: LU(2)(FLAT.double()),
        r"LU: x is torch\.float64 but the weights are torch\.float32\. Convert one of them: "
        r"x\.to\(torch\.float32\) or model\.to\(torch\.float64\)\.",
    ),
    (lambda: Flip(2)(FLAT.long()), r"Flip: x must be a floating-point tensor; got torch\.int64\. Use x\.float\(\)\."),
    (lambda: context_of(2)(FLAT), r"Elementwise: built with context of shape \(2,\); got none\. Pass context=\."),
    (lambda: Flip(2)(FLAT, FLAT), r"Flip: built without context; got one\. Leave it out, or build with context=\."),
    (
        lambda: context_of(2)(FLAT, FLAT.double()),
        r"Elementwise: context is torch\.float64 but the weights are torch\.float32\.",
    ),
    (
        lambda: context_of(2)(FLAT, torch.zeros(3, 4)),
        r"Elementwise: context must have shape \(\*batch, 2\); got \(3, 4\)\.",
    ),
    (
        lambda: context_of(2)(FLAT, torch.zeros(4, 2)),
        r"Elementwise: the batch shapes of x \(3,\) and context \(4,\) do not broadcast\.",
    ),
    (
        lambda: OneWay(inverse_kind="none").inverse(FLAT),
        r"OneWay: this direction has no known formula\. Flip the map with \.inv\.",
    ),
    (
        lambda: OneWay(forward_kind="none")(FLAT),
        r"OneWay: this direction has no known formula\. Flip the map with \.inv\.",
    ),
    (
        lambda: OneWay(inverse_kind="none").inv(FLAT),
        r"Inverse: this direction has no known formula\. Flip the map with \.inv\.",
    ),
    (
        lambda: StandardNormal(2).log_prob(torch.zeros(3)),
        r"StandardNormal: x must have shape \(\*batch, 2\); got \(3,\)\.",
    ),
    (
        lambda: StandardNormal(2).initialize(torch.zeros(3)),
        r"StandardNormal: x must have shape \(\*batch, 2\); got \(3,\)\.",
    ),
    (lambda: StandardNormal(2).sample((-1,)), r"StandardNormal: the sample shape must be whole numbers of at"),
    (lambda: StandardNormal(2).sample("3"), r"StandardNormal: the sample shape must be whole numbers of at least 0"),
    (
        lambda: LU(2)(torch.ones(3, 2, dtype=torch.int64)),
        r"LU: x is torch\.int64 but .*Convert it: x\.to\(torch\.float32\)\.$",
    ),
    (lambda: StandardNormal(2).sample((), FLAT), r"StandardNormal: built without context; got one\."),
    (lambda: maf(2, 1, hidden=(4,)).sample(3), r"Flow: built with context of shape \(1,\); got none\. Pass context=\."),
    (lambda: maf(2, 1, hidden=(4,)).sample(3, FLAT), r"Flow: context must have shape \(\*batch, 1\); got \(3, 2\)\."),
    (lambda: maf(2, hidden=(4,)).to_latent(torch.zeros(3)), r"Flow: x must have shape \(\*batch, 2\); got \(3,\)\."),
    (lambda: maf(2, hidden=(4,)).steps(torch.zeros(3)), r"Flow: z must have shape \(\*batch, 2\); got \(3,\)\."),
    (lambda: maf(2, hidden=(4,)).to_data(torch.zeros(3)), r"Flow: z must have shape \(\*batch, 2\); got \(3,\)\."),
    (lambda: StandardNormal(2).condition(FLAT), r"StandardNormal: built without context; got one\."),
    *(
        (
            call,
            r"Lump: has no exact conditionals on part of the event\. To condition on columns, model them as context: "
            r"build with context= and use condition\(\)\.",
        )
        for call in (lambda: Lump().given(FLAT),)
    ),
    (
        lambda: nsf(2, hidden=(4,)).given(FLAT[:, :1]),
        r"Flow: has no exact conditionals on part of the event, for LU mixes the order of the features\. Build the "
        r"flow from triangular parts alone: one layer \(depth=1\), or layers with nothing between them "
        r"\(mix='none'\)\. To condition on columns, model them as context: build with context= and use condition\(\)\.",
    ),
    *(
        (
            lambda way=way: getattr(Flow(Lump(), Elementwise(Affine(), 2)), way)(FLAT),
            r"Flow: has no exact conditionals on part of the event, for its base Lump has none\. To condition",
        )
        for way in ("given", "marginal", "cdf", "icdf")
    ),
    (
        lambda: StandardNormal(2).given(FLAT),
        r"StandardNormal: observed must hold the first k of 2 features, \(\*batch, k\) with 1 ≤ k < 2; got \(3, 2\)\.",
    ),
    (lambda: StandardNormal(2).given([0.0]), r"StandardNormal: observed must hold .*; got list\."),
    (
        lambda: StandardNormal(2).given(FLAT[:, :1].double()),
        r"StandardNormal: observed is torch\.float64 but the weights are torch\.float32\.",
    ),
    (lambda: StandardNormal(2).marginal(0), r"StandardNormal: features must be a whole number of at least 1; got 0\."),
    (lambda: StandardNormal(2).marginal(3), r"StandardNormal: there are 2 features; got 3\."),
    (lambda: StandardNormal(2).cdf(FLAT[:, :1]), r"StandardNormal: x must have shape \(\*batch, 2\); got \(3, 1\)\."),
    (lambda: StandardNormal(2).icdf(FLAT[:, :1]), r"StandardNormal: u must have shape \(\*batch, 2\); got \(3, 1\)\."),
    (
        lambda: StandardNormal(2).given(FLAT[:, :1]).log_prob(torch.zeros(4, 1)),
        r"Conditional: the batch shapes of x \(4,\) and observed \(3,\) do not broadcast\.",
    ),
    (
        lambda: StandardNormal(3).given(FLAT[:, :1]).given(torch.zeros(4, 1)),
        r"Conditional: the batch shapes of observed \(4,\) and what is observed already \(3,\) do not broadcast\.",
    ),
    (
        lambda: one_layer(1).given(FLAT[:, :1]).sample((), torch.zeros(4, 1)),
        r"Conditional: the batch shapes of context \(4,\) and observed \(3,\) do not broadcast\.",
    ),
    (
        lambda: one_layer(1).condition(torch.zeros(1)).cdf(FLAT, torch.zeros(1)),
        r"FixedContext: built without context; got one\.",
    ),
    (
        lambda: one_layer(1).condition(torch.zeros(1)).icdf(FLAT, torch.zeros(1)),
        r"FixedContext: built without context; got one\.",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0]).initialize(FLAT),
        r"MultivariateNormal: the data lie in a lower-dimensional plane \(a column is constant or a sum of "
        r"others\); drop one of those columns\.",
    ),
    # config
    (standing_in_for_flip, r"configurable: the name Flip is taken by pushforward\.bijections\.rearrange\."),
    (
        lambda: StandardNormal(features=2) and encode(torch.tanh, "Coupling", "activation"),
        r"Coupling: activation must be made of numbers, strings and parts; got builtin_function_or_method\. "
        r"A function cannot be written to a file: register it under a name and pass the name\.",
    ),
    (
        lambda: Normal(torch.zeros(2)),
        r"Normal: loc must be made of numbers, strings and parts; got Tensor\. Pass loc\.tolist\(\): "
        r"numbers, not a tensor, are written to the config\.",
    ),
    (
        lambda: encode({1}, "Chain", "parts"),
        r"Chain: parts must be made of numbers, strings and parts; got set\. Give the name of a registered "
        r"part, or a part built by a @configurable class\.",
    ),
    (lambda: build("LU"), r"build: a config is a dict with a 'type'; got str\."),
    (lambda: build({"features": 2}), r"build: a config is a dict with a 'type'; got dict\."),
    (
        lambda: build({"type": "Glow"}),
        r"build: no part is called 'Glow'\. Known parts: .*LU.*\. Import the module that defines it\.",
    ),
    (lambda: build({"type": "LU", "width": 3}), r"build: LU cannot be built from \['width'\]: .*\."),
    # domains
    (lambda: Interval(1.0, 1.0), r"Interval: low must be smaller than high; got \[1\.0, 1\.0\]\."),
    (lambda: Product(()), r"Product: parts must be one or more entry-wise domains, such as Real or Interval\."),
    (
        lambda: Product((REAL, Ball())),
        r"Product: parts must be one or more entry-wise domains, such as Real or Interval\.",
    ),
    # networks
    (lambda: register_dense("plain", MLP), r"register_dense: the name 'plain' is taken\. Choose another\."),
    (lambda: register_masked("plain", MaskedMLP), r"register_masked: the name 'plain' is taken\. Choose another\."),
    (
        lambda: MLP(2, 2, hidden=()),
        r"MLP: hidden must list at least one layer width; got \(\)\. Use hidden=\(64, 64\)\.",
    ),
    (
        lambda: MaskedMLP(2, 2, hidden=8),
        r"MaskedMLP: hidden must list at least one layer width; got 8\. Use hidden=\(64, 64\)\.",
    ),
    (lambda: MLP(2, 2, hidden=(4, 0)), r"MLP: hidden must be a whole number of at least 1; got 0\."),
    (
        lambda: MLP(2, 2, hidden=(4, 8), residual=True),
        r"MLP: a residual network needs equal widths; got hidden=\(4, 8\)\.",
    ),
    (lambda: MLP(2, 2, activation="sine"), r"MLP: activation must be one of 'relu', .*'tanh'; got 'sine'\."),
    (lambda: MaskedMLP(2, 2, dropout=1.0), r"MaskedMLP: dropout must lie in \[0, 1\); got 1\.0\."),
    (
        lambda: wrong_conditioner(lambda: Coupling(Affine(), 2, conditioner="wrong")),
        r"Coupling: conditioner 'wrong' must be a networks\.Conditioner; got Linear\. Subclass it",
    ),
    # execution
    (lambda: execution(matmul_dtype="fp8"), r"execution: matmul_dtype must be one of 'bf16'; got 'fp8'\."),
    (lambda: execution(memory="little"), r"execution: memory must be one of 'plain', .*; got 'little'\."),
    (
        lambda: register(MaskedMLP.parallel, MaskedMLP, Affine),
        r"register: MaskedMLP\.parallel is keyed by the types of its instance and of 0 submodules; got 2 types\.",
    ),
    # univariates
    (lambda: Affine(0.0), r"Affine: bound must be a positive number; got 0\.0\."),
    (lambda: Affine(NAN), r"Affine: bound must be a positive number; got nan\."),
    (lambda: RationalQuadratic(1), r"RationalQuadratic: bins must be a whole number of at least 2; got 1\."),
    (lambda: RationalQuadratic(True), r"RationalQuadratic: bins must be a whole number of at least 2; got True\."),
    (lambda: RationalQuadratic(4.0), r"RationalQuadratic: bins must be a whole number of at least 2; got 4\.0\."),
    (lambda: RationalQuadratic(bound=-1), r"RationalQuadratic: bound must be a positive number; got -1\."),
    (lambda: RationalQuadratic(min_bin=0), r"RationalQuadratic: min_bin must be a positive number; got 0\."),
    (
        lambda: RationalQuadratic(min_slope=float("inf")),
        r"RationalQuadratic: min_slope must be a positive number; got inf\.",
    ),
    (
        lambda: RationalQuadratic(10, min_bin=0.1),
        r"RationalQuadratic: 10 bins of at least 0\.1 of the box leave no room; lower min_bin below 1 / bins\.",
    ),
    (
        lambda: CubicSpline(min_slope=1.0),
        r"CubicSpline: min_slope must be below 1, the mean slope in the box; got 1\.0\.",
    ),
    (
        lambda: QuadraticSpline(min_slope=2.0),
        r"QuadraticSpline: min_slope must be below 1, the mean slope in the box; got 2\.0\.",
    ),
    (
        lambda: LinearSpline(tails="circular"),
        r"LinearSpline: tails must be one of 'identity', 'linear'; got 'circular'\.",
    ),
    (lambda: LinearRational(min_split=0), r"LinearRational: min_split must be a positive number; got 0\."),
    (lambda: LinearRational(min_split=0.5), r"LinearRational: min_split must be below 1/2; got 0\.5\."),
    (lambda: Moebius(0), r"Moebius: centres must be a whole number of at least 1; got 0\."),
    (lambda: Moebius(radius=-1), r"Moebius: radius must be a positive number; got -1\."),
    (
        lambda: Moebius(radius=1.0),
        r"Moebius: radius must be below 1, where a map of the circle would be flat; got 1\.0\.",
    ),
    # bijections
    (lambda: Flip(0), r"Flip: features must be a whole number of at least 1; got 0\."),
    (lambda: LU(0), r"LU: features must be a whole number of at least 1; got 0\."),
    (lambda: RadialSquash(0), r"RadialSquash: features must be a whole number of at least 1; got 0\."),
    (lambda: Standardize("2"), r"Standardize: features must be a whole number of at least 1; got '2'\."),
    (
        lambda: Standardize(2, data_dtype="int8"),
        r"Standardize: data_dtype must be one of None, 'float64'; got 'int8'\.",
    ),
    (lambda: Permute([0, 2]), r"Permute: order must rearrange 0 \.\. features - 1; got \[0, 2\]\."),
    (lambda: Permute([]), r"Permute: order must rearrange 0 \.\. features - 1; got \[\]\."),
    (lambda: Chain([]), r"Chain: parts must list one or more bijections; got an empty list\."),
    (lambda: Chain([Affine()]), r"Chain: parts must list one or more bijections; parts\[0\] is Affine\. Wrap a univ"),
    (
        changed_in_place,
        r"Chain: its output was changed in place, but its gradients are computed from it\. Copy the output first\.",
    ),
    (lambda: Chain([Flip(2)], memory="none"), r"Chain: memory must be one of 'plain', .*; got 'none'\."),
    (
        lambda: Chain([Flip(2), Flip(3)]),
        r"Chain: parts\[0\] \(Flip\) ends in shape \(2,\) but parts\[1\] \(Flip\) starts from \(3,\)\. Build "
        r"both for events of the same shape\.",
    ),
    (
        lambda: Chain([RadialSquash(2), LU(2)]),
        r"Chain: parts\[0\] \(RadialSquash\) ends in Ball\(radius=1\.0\) but parts\[1\] \(LU\) starts from "
        r"Real\(\)\. Put a map between these two domains there\.",
    ),
    (
        lambda: Chain([context_of(1), context_of(2)]),
        r"Chain: all parts must take the same context; got shapes \['\(1,\)', '\(2,\)'\]\.",
    ),
    *(
        case
        for kind, least in ((Elementwise, 1), (Coupling, 2), (Autoregressive, 2))
        for case in (
            (
                lambda kind=kind: kind("Affine", 3),
                rf"{kind.__name__}: univariate must be a Univariate; got 'Affine'\. Try univariate\.Affine\(\)\.",
            ),
            (
                lambda kind=kind, least=least: kind(Affine(), least - 1),
                rf"{kind.__name__}: features must be a whole number of at least {least}; got {least - 1}\."
                + " Use Elementwise for one feature" * (least > 1),
            ),
            (
                lambda kind=kind: kind(Affine(), 3, context=-1),
                rf"{kind.__name__}: context must be a whole number of at least 0; got -1\.",
            ),
            (
                lambda kind=kind: kind(Affine(), 3, context=1, conditioner="deep"),
                rf"{kind.__name__}: conditioner must be one of 'plain', 'residual'.*; got 'deep'\.",
            ),
        )
    ),
    # distributions
    (lambda: StandardNormal(0), r"StandardNormal: features must be a whole number of at least 1; got 0\."),
    (lambda: StudentT(0), r"StudentT: features must be a whole number of at least 1; got 0\."),
    (lambda: StudentT(1, df=0), r"StudentT: df must be a positive number; got 0\."),
    (lambda: Normal([]), r"Normal: loc must list one finite number per feature; got \[\]\."),
    (lambda: Normal([0.0], [NAN]), r"Normal: scale must list one finite number per feature; got \[nan\]\."),
    (lambda: Normal([0.0], [-1.0]), r"Normal: scale must be 1 positive numbers; got \[-1\.0\]\."),
    (lambda: Normal([0.0], [1.0, 1.0]), r"Normal: scale must be 1 positive numbers; got \[1\.0, 1\.0\]\."),
    (
        lambda: MultivariateNormal([NAN]),
        r"MultivariateNormal: loc must list one finite number per feature; got \[nan\]\.",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]),
        r"MultivariateNormal: covariance must be a symmetric 2 × 2 matrix\.",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], [[1.0]]),
        r"MultivariateNormal: covariance must be a symmetric 2 × 2 matrix\.",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]),
        r"MultivariateNormal: covariance must be positive definite; the variance of some direction is not positive\.",
    ),
    (lambda: Uniform([], []), r"Uniform: low must list one finite number per feature; got \[\]\."),
    (lambda: Uniform([0.0], [float("inf")]), r"Uniform: high must list one finite number per feature; got \[inf\]\."),
    (
        lambda: Uniform([0.0, 1.0], [1.0, 1.0]),
        r"Uniform: low must lie below high, feature by feature; got \[0\.0, 1\.0\] and \[1\.0, 1\.0\]\.",
    ),
    (
        lambda: Flow(StandardNormal(2), Flip(3)),
        r"Flow: base has events of shape \(2,\) but bijection starts from \(3,\)\. Build both for events "
        r"of the same shape\.",
    ),
    (
        lambda: Flow(StandardNormal(2), RadialSquash(2).inv),
        r"Flow: base lives on Real\(\) but bijection starts from Ball\(radius=1\.0\)\. Choose a base with "
        r"that support, or turn the bijection around with \.inv\.",
    ),
    (
        lambda: Flow(Flow(StandardNormal(2), context_of(1)), context_of(2)),
        r"Flow: base and bijection must take the same context; got \['\(1,\)', '\(2,\)'\]\.",
    ),
    (
        lambda: Flow(StandardNormal(2), context_of(2), context_map=Flip(3)),
        r"Flow: context_map ends in shape \(3,\) but the context has \(2,\)\.",
    ),
    (
        lambda: CircularUniform(0),
        r"CircularUniform: features must be a whole number of at least 1; got 0\.",
    ),
    (
        lambda: GaussianMixture([1.0, -1.0], [[0.0], [1.0]]),
        r"GaussianMixture: weights must be positive, one per component; got \[1\.0, -1\.0\]\.",
    ),
    # Knothe-Rosenblatt maps
    (lambda: GaussianRosenblatt([]), r"GaussianRosenblatt: loc must list one finite number per feature; got \[\]\."),
    (
        lambda: GaussianRosenblatt([0.0, 0.0], [[1.0, 0.0], [0.0]]),
        r"GaussianRosenblatt: covariance must be a symmetric 2 × 2 matrix\.",
    ),
    (
        lambda: MixtureRosenblatt([1.0], [[0.0], [1.0]]),
        r"MixtureRosenblatt: weights, means and covariances must have one entry per component, and all means one "
        r"number per feature; got 1 weights, means of lengths \[1, 1\] and 2 covariances\.",
    ),
    (
        lambda: MixtureRosenblatt([1.0, NAN], [[0.0], [1.0]]),
        r"MixtureRosenblatt: weights must list one finite number per feature; got \[1\.0, nan\]\.",
    ),
    (
        lambda: MixtureRosenblatt([1.0], [[NAN]]),
        r"MixtureRosenblatt: means must list one finite number per feature; got \[nan\]\.",
    ),
    (
        lambda: MixtureRosenblatt([1.0], [[0.0]], covariances=[[[-1.0]]]),
        r"MixtureRosenblatt: covariances must be positive definite; the variance of some direction is not positive\.",
    ),
    (lambda: Banana(0.0), r"Banana: bend must be a positive number; got 0\.0\."),
    (
        lambda: GridRosenblatt([[1.0, 1.0]], [0.0, 0.0], [1.0, 1.0]),
        r"GridRosenblatt: values must be a table of two or more rows and columns, all rows equally long; got rows of "
        r"lengths \[2\]\.",
    ),
    (
        lambda: GridRosenblatt([[1.0, NAN]], [0.0, 0.0], [1.0, 1.0]),
        r"GridRosenblatt: values must list one finite number per feature; got \[1\.0, nan\]\.",
    ),
    (
        lambda: GridRosenblatt([[1.0, 0.0], [1.0, 1.0]], [0.0, 0.0], [1.0, 1.0]),
        r"GridRosenblatt: values must be positive; where a density is zero there is no map\.",
    ),
    (
        lambda: GridRosenblatt([[1.0, 1.0], [1.0, 1.0]], [], [1.0, 1.0]),
        r"GridRosenblatt: low must list one finite number per feature; got \[\]\.",
    ),
    (
        lambda: GridRosenblatt([[1.0, 1.0], [1.0, 1.0]], [0.0, 0.0], [1.0, NAN]),
        r"GridRosenblatt: high must list one finite number per feature; got \[1\.0, nan\]\.",
    ),
    (
        lambda: GridRosenblatt([[1.0, 1.0], [1.0, 1.0]], [0.0, 1.0], [1.0, 1.0]),
        r"GridRosenblatt: low must lie below high, in two features; got \[0\.0, 1\.0\] and \[1\.0, 1\.0\]\.",
    ),
    (
        lambda: GridRosenblatt.from_density(lambda x: x, [0.0, 0.0], [1.0, 1.0], 3),
        r"GridRosenblatt: log_density must give one number, not NaN or inf, for each of 9 points; got shape \(9, 2\)\.",
    ),
    (
        lambda: GridRosenblatt.from_density(lambda x: x[:, 0], [0.0, 0.0], [1.0, 1.0], 1),
        r"GridRosenblatt: points must be a whole number of at least 2; got 1\.",
    ),
    (lambda: targets.moons(1), r"moons: components must be a whole number of at least 2; got 1\."),
    (lambda: targets.ring(2), r"ring: components must be a whole number of at least 3; got 2\."),
    (lambda: targets.clusters(1), r"clusters: features must be a whole number of at least 2; got 1\."),
    # named flows
    *(
        case
        for flow in (iaf, maf, nice, nsf, real_nvp)
        for name in [flow.__name__]
        for case in (
            (lambda flow=flow: flow(0), rf"{name}: features must be a whole number of at least 1; got 0\."),
            (lambda flow=flow: flow(2, -1), rf"{name}: context must be a whole number of at least 0; got -1\."),
            (lambda flow=flow: flow(2, depth=0), rf"{name}: depth must be a whole number of at least 1; got 0\."),
        )
    ),
    (lambda: maf(2, fast="both"), r"maf: fast must be one of 'density', 'sampling'; got 'both'\."),
    (lambda: nsf(2, layer="dense"), r"nsf: layer must be one of 'coupling', 'autoregressive'; got 'dense'\."),
    # univariates and their layers
    *(
        (lambda make=make, words=words: make(**words), rf"{make.__name__}: {next(iter(words))} must be {match}")
        for make, words, match in (
            (Rotation, {"features": 1}, r"a whole number of at least 2; got 1\. One feature cannot be rotated\."),
            (SinhArcsinh, {"bound": -1.0}, r"a positive number; got -1\.0\."),
            (SinhArcsinh, {"bound": 1.0}, r"above one; got 1\.0\."),
            (IntegratedNetwork, {"embedding": 0}, r"a whole number of at least 1; got 0\."),
            (IntegratedNetwork, {"units": 0}, r"a whole number of at least 1; got 0\."),
            (IntegratedNetwork, {"nodes": 2}, r"a whole number of at least 3; got 2\."),
            (GaussianMixtureCDF, {"components": 0}, r"a whole number of at least 1; got 0\."),
            (GaussianMixtureCDF, {"bound": 0.0}, r"a positive number; got 0\.0\."),
            (GaussianMixtureCDF, {"background": 0.0}, r"a positive number; got 0\.0\."),
            (GaussianMixtureCDF, {"background": 1.0}, r"below 1, the whole weight; got 1\.0\."),
            (SumOfSquares, {"bound": 0.0}, r"a positive number; got 0\.0\."),
            (SumOfSquares, {"min_slope": 0.0}, r"a positive number; got 0\.0\."),
            (SumOfSquares, {"polynomials": 0}, r"a whole number of at least 1; got 0\."),
            (SumOfSquares, {"degree": 0}, r"a whole number of at least 1; got 0\."),
            (Bernstein, {"degree": 1}, r"a whole number of at least 2; got 1\."),
            (Bernstein, {"degree": 1000}, r"at most \d+; got 1000\. Stack two maps of a lower degree\."),
            (DeepSigmoidal, {"units": 0}, r"a whole number of at least 1; got 0\."),
            (DeepSigmoidal, {"bound": 0.0}, r"a positive number; got 0\.0\."),
            (DeepSigmoidal, {"min_slope": 0.0}, r"a positive number; got 0\.0\."),
            (DenseDeepSigmoidal, {"units": 0}, r"a whole number of at least 1; got 0\."),
            (DenseDeepSigmoidal, {"depth": 0}, r"a whole number of at least 1; got 0\."),
            (DenseDeepSigmoidal, {"bound": 0.0}, r"a positive number; got 0\.0\."),
            (TailTransform, {"tail": 0.0}, r"a positive number; got 0\.0\."),
        )
    ),
    (lambda: Composed([]), r"Composed: parts must list one or more univariates\."),
    (
        lambda: Composed([Affine(), CircularShift()]),
        r"Composed: Affine ends in Real\(\) but CircularShift starts",
    ),
    (lambda: BlockNeural(0), r"BlockNeural: features must be a whole number of at least 1; got 0\."),
    (lambda: BlockNeural(2, context=-1), r"BlockNeural: context must be a whole number of at least 0; got -1\."),
    (lambda: BlockNeural(2, units=0), r"BlockNeural: units must be a whole number of at least 1; got 0\."),
    (lambda: BlockNeural(2, layers=0), r"BlockNeural: layers must be a whole number of at least 1; got 0\."),
    (lambda: BlockNeural(2, bound=0.0), r"BlockNeural: bound must be a positive number; got 0\.0\."),
    (lambda: BlockNeural(2, min_slope=0.0), r"BlockNeural: min_slope must be a positive number; got 0\.0\."),
    (lambda: bnaf(2, -1), r"bnaf: context must be a whole number of at least 0; got -1\."),
    (lambda: maf(2, tails="fat"), r"maf: tails must be one of 'normal', 'heavy'; got 'fat'\."),
    (lambda: BlockNeural(2, min_slope=1.0), r"BlockNeural: min_slope must be below 1, the slope of the identity"),
    (lambda: bnaf(0), r"bnaf: features must be a whole number of at least 1; got 0\."),
    (lambda: bnaf(2, depth=0), r"bnaf: depth must be a whole number of at least 1; got 0\."),
    (lambda: DeepSigmoidal(min_slope=1.0), r"DeepSigmoidal: min_slope must be below 1, the slope of the identity"),
    (lambda: SumOfSquares(min_slope=1.0), r"SumOfSquares: min_slope must be below 1, the mean slope of the shape"),
    (lambda: Triangular([]), r"Triangular: terms must list the multi-indices of at least one component; got none\."),
    (lambda: Triangular([[[1]]], context=-1), r"Triangular: context must be a whole number of at least 0; got -1\."),
    (lambda: Triangular([[[1]]], bound=0.0), r"Triangular: bound must be a positive number; got 0\.0\."),
    (lambda: Triangular([[[1]]], nodes=1), r"Triangular: nodes must be a whole number of at least 2; got 1\."),
    (
        lambda: Triangular([[[1, 0]]]),
        r"Triangular: terms\[0\] must hold different lists of 1 degrees, .* got \[1, 0\]\.",
    ),
    (lambda: total_degree(0, 1), r"total_degree: features must be a whole number of at least 1; got 0\."),
    (lambda: total_degree(1, 0), r"total_degree: degree must be a whole number of at least 1; got 0\."),
    (lambda: triangular_map(0), r"triangular_map: features must be a whole number of at least 1; got 0\."),
    (lambda: triangular_map(1, -1), r"triangular_map: context must be a whole number of at least 0; got -1\."),
    (lambda: circular_nsf(2, mix="lu"), r"circular_nsf: mix must be one of 'permute', 'flip', 'none'; got 'lu'\."),
    (lambda: circular_nsf(2, fast="no"), r"circular_nsf: fast must be one of 'density', 'sampling'; got 'no'\."),
    (lambda: circular_nsf(2, depth=0), r"circular_nsf: depth must be a whole number of at least 1; got 0\."),
    (lambda: gaussianization(2, depth=0), r"gaussianization: depth must be a whole number of at least 1; got 0\."),
    (lambda: nsf(2, mix="swap"), r"nsf: mix must be one of 'lu', 'permute', 'flip', 'none'; got 'swap'\."),
    # triangular maps
    (lambda: Circle(1.0, 0.0), r"Circle: low must be finite and smaller than high; got \[1\.0, 0\.0\)\."),
    (lambda: Angle(0), r"Angle: features must be a whole number of at least 1; got 0\."),
    (lambda: Angle(1, period=-1.0), r"Angle: period must be a positive number; got -1\.0\."),
    (lambda: Angle(1, data_dtype="int"), r"Angle: data_dtype must be one of None, 'float64'; got 'int'\."),
    (
        lambda: Chain([Angle(2), Flip(2), LU(2)]),
        r"Chain: parts\[0\] \(Angle\) ends in .*Circle.* but parts\[2\] \(LU\) starts from .* Put a map between",
    ),
    (
        lambda: Chain([MixedTypeModel(), Flip(2)]),
        r"Chain: parts\[1\] \(Flip\) reorders features that live on different domains",
    ),
    (
        lambda: Elementwise(PerFeature([Affine(), Affine()]), 3),
        r"Elementwise: univariate has maps for 2 features; got 3 features\. Give both the same number\.",
    ),
    (lambda: PerFeature([]), r"PerFeature: parts must list one or more univariates, none of which is a PerFeature\."),
    (lambda: PerFeature([PerFeature([Affine()])]), r"PerFeature: parts must list one or more univariates, none of"),
    (lambda: PerFeature([Affine()], [1, 2]), r"PerFeature: counts must list one number per part; got 2 for 1\."),
    (lambda: PerFeature([Affine()], [0]), r"PerFeature: counts must be a whole number of at least 1; got 0\."),
    (lambda: Composed([PerFeature([Affine()])]), r"Composed: parts must .*Put it inside of a PerFeature, not around\."),
    (lambda: Joint([]), r"Joint: parts must list one or more distributions of vectors of independent features"),
    (
        lambda: StandardNormal(2).half().log_prob(FLAT.half()),
        r"StandardNormal: densities in torch\.float16 would be right to three digits at best\. Keep points and",
    ),
    (lambda: StandardNormal(2).to(torch.bfloat16).sample(), r"StandardNormal: densities in torch\.bfloat16 would be"),
    *MISTAKES,
    *LINEAR_MISTAKES,
    *SHAPE_MISTAKES,
    *SPACE_MISTAKES,
    *GRID_MISTAKES,
    *ZOO_MISTAKES,
]


@pytest.mark.parametrize(("call", "match"), CASES, ids=[re.sub(r"[^\w .:-]", "", match)[:60] for _, match in CASES])
def test_the_refusal_says(call, match):
    with pytest.raises((ValueError, TypeError, NotImplementedError, RuntimeError), match=f"^{match}"):
        call()


def test_a_map_without_inverse_has_an_error_of_its_own():
    for call in (lambda: OneWay(inverse_kind="none").inverse(FLAT), lambda: Lump().given(FLAT)):
        with pytest.raises(NotInvertibleError):
            call()


def test_a_name_stays_with_its_class_after_a_refusal():
    with pytest.raises(ValueError, match="is taken"):
        standing_in_for_flip()
    assert build({"type": "Flip", "features": 2}).config == {"type": "Flip", "features": 2}


# --- every sentence is reached -------------------------------------------------------------------------------------

SOURCE = Path(pf.__file__).parent
OF_OTHER_TESTS = ("extras.py", "files.py", "json_values.py", "locks.py", "processes.py")
"""Packages, files and processes: tested with real ones."""
FILES = sorted(
    path
    for floor in ("core", "networks", "univariate", "bijections", "distributions", "flows")
    for path in (SOURCE / floor).glob("*.py")
    if path.name not in OF_OTHER_TESTS
)
CHECKS = {
    *checks.__all__,
    "check_hidden",
    "check_univariate",
    "make_conditioner",
    "event_axis",
    "event_numbers",
    "event_shape",
    "cholesky_factor",
    "mixture_parts",
} - {"Tensor", "NotInvertibleError", "_after", "for_single_numbers"}  # which refuse nothing


def sites(path):
    """Lines of every ``raise`` of an error and of every use of a function that checks."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        raised = isinstance(node, ast.Raise) and node.exc is not None
        checked = isinstance(node, ast.Call) and getattr(node.func, "id", None) in CHECKS
        if raised or checked:
            yield range(node.lineno, node.end_lineno + 1)


def reached(calls):
    """Every (file, line) that was active when one of the calls was refused."""
    lines = set()
    for call in calls:
        try:
            call()
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            lines |= {(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)}
    return lines


def refusals_elsewhere():
    """Calls that tests of other files expect to be refused: first in the rows of a parametrised test that uses
    ``pytest.raises``."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        text = path.read_text("utf-8")
        if path.stem == Path(__file__).stem or "pytest.raises(" not in text:
            continue
        for function in vars(import_module(path.stem)).values():
            marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
            if marks and "pytest.raises(" in inspect.getsource(function):
                rows = [getattr(row, "values", row) for mark in marks for row in mark.args[1]]
                yield from (row[0] for row in rows if isinstance(row, tuple | list) and row and callable(row[0]))


def test_no_sentence_is_left_untested():
    lines = reached([*(call for call, _ in CASES), *refusals_elsewhere()])
    missed = [
        f"{path.relative_to(SOURCE)}:{site.start}"
        for path in FILES
        for site in sites(path)
        if not any((path, line) in lines for line in site)
    ]
    assert missed == [], "no case reaches these"


def test_an_untested_sentence_is_noticed():
    places = list(sites(SOURCE / "bijections" / "chain.py"))
    assert len(places) == 10
    lines = reached([lambda: Chain([])])
    assert sum(any((SOURCE / "bijections" / "chain.py", line) in lines for line in site) for site in places) == 1


def test_numbers_of_numpy_are_numbers():
    """And are written to the config as Python's, so that the model can be saved."""
    layer = Coupling(Affine(np.float32(2.0)), np.int64(4), hidden=[np.int32(8)], swap=np.bool_(True))
    assert json.loads(json.dumps(layer.config)) == layer.config
    assert build(layer.config).config == layer.config
    assert pf.flows.nsf(np.int64(3), depth=np.int64(1), bins=np.int64(4)).event_shape == (3,)
    for wrong in (np.bool_(True), np.float64(3.0), np.int64(0)):
        with pytest.raises(ValueError, match="features must be a whole number of at least"):
            Elementwise(Affine(), wrong)

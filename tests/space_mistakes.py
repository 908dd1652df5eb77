"""Refusals about spaces and bases, for `test_messages`."""

from typing import ClassVar

import torch

from pushforward.bijections import (
    Bounds,
    CentredSoftmax,
    MixtureRosenblatt,
    Residual,
    SphereCoordinates,
    SphereExponential,
    SphereLinear,
    SphereMoebius,
    SphereRotation,
    StickBreaking,
)
from pushforward.core.domain import REAL
from pushforward.core.spaces import SpaceProduct
from pushforward.distributions import (
    Beta,
    CircularUniform,
    DiagonalNormal,
    Dirichlet,
    Exponential,
    Flow,
    Gamma,
    GaussianMixture,
    Joint,
    Mixture,
    ProductDistribution,
    Resampled,
    RotationDistribution,
    SphericalUniform,
    StandardNormal,
    TorchDistribution,
    Truncated,
    VonMisesFisher,
    from_torch,
    targets,
)
from pushforward.flows import box_flow, cylinder_flow, rotation_flow, simplex_flow, sphere_flow, torus_flow

PLANE = [[0.0, 0.0], [1.0, 1.0]]
TILTED = [[[1.0, 0.5], [0.5, 1.0]]] * 2


class Mystery(torch.distributions.Distribution):
    """An object of torch with a support that is not known here."""

    arg_constraints: ClassVar = {}
    support = torch.distributions.constraints.lower_cholesky


def mystery():
    return Mystery(torch.Size(()), torch.Size((2, 2)))


def mixture():
    components = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(2)), components)


MISTAKES = [
    # spaces
    (lambda: SpaceProduct((), ()), r"SpaceProduct: sizes must list one positive number per part; got \(\)\."),
    (
        lambda: SpaceProduct((REAL,), (2,)).dimension((3,)),
        r"SpaceProduct: describes 2 entries; got events of shape \(3,\)\.",
    ),
    # maps
    (lambda: Bounds([0.0], [1.0], half="log"), r"Bounds: half must be one of 'softplus', 'exp'; got 'log'\."),
    (lambda: Bounds([1.0], [0.0]), r"Bounds: low must lie below high, feature by feature, with None for no bound; got"),
    (lambda: Bounds([0.0, 0.0], [1.0]), r"Bounds: low must lie below high, feature by feature"),
    (lambda: StickBreaking(1), r"StickBreaking: features must be .* at least 2; got 1\. One share is always one\."),
    (lambda: CentredSoftmax(1), r"CentredSoftmax: features must be .* at least 2; got 1\. One share is always one\."),
    (
        lambda: CentredSoftmax(3, basis="first"),
        r"CentredSoftmax: basis must be one of 'isometric', 'last'; got 'first'\.",
    ),
    (lambda: SphereCoordinates(1), r"SphereCoordinates: features must be .* at least 2; got 1\. The circle in the"),
    (lambda: SphereRotation(1), r"SphereRotation: features must be .* at least 2; got 1\. The circle in the plane"),
    (lambda: SphereMoebius(1), r"SphereMoebius: features must be .* at least 2; got 1\."),
    (lambda: SphereMoebius(3, radius=1.0), r"SphereMoebius: radius must be below 1, where all points but one"),
    (lambda: SphereMoebius(3, context=-1), r"SphereMoebius: context must be a whole number of at least 0; got -1\."),
    (lambda: SphereLinear(1), r"SphereLinear: features must be .* at least 2; got 1\."),
    (lambda: SphereExponential(1), r"SphereExponential: features must be .* at least 2; got 1\."),
    (lambda: SphereExponential(3, 0), r"SphereExponential: components must be a whole number of at least 1; got 0\."),
    (lambda: SphereExponential(3, strength=1.0), r"SphereExponential: strength must be below 1, beyond which points"),
    (
        lambda: MixtureRosenblatt([1.0, 1.0], PLANE, covariance="round"),
        r"MixtureRosenblatt: covariance must be one of 'full', 'tied', 'diagonal', 'spherical'; got 'round'\.",
    ),
    (
        lambda: MixtureRosenblatt([1.0, 1.0], PLANE, covariances=TILTED, covariance="diagonal"),
        r"MixtureRosenblatt: covariances must be diagonal, as covariance='diagonal' says\.",
    ),
    # mixtures of any distributions, and targets
    (
        lambda: Mixture([]),
        r"Mixture: parts must list one or more distributions, such as Uniform\(\[0\.0\], \[1\.0\]\)\.",
    ),
    (lambda: Mixture([REAL]), r"Mixture: parts must list one or more distributions, such as Uniform"),
    (
        lambda: Mixture([StandardNormal(1), StandardNormal(2)]),
        r"Mixture: all parts must have one event shape; got \[\(1,\), \(2,\)\]\.",
    ),
    (
        lambda: Mixture([DiagonalNormal(1, context=1), DiagonalNormal(1, context=2)]),
        r"Mixture: parts that take a context must share it; got shapes \[\(1,\), \(2,\)\]\.",
    ),
    (
        lambda: Mixture([Flow(StandardNormal(2), Residual(2, hidden=(4,), log_det="unbiased"))]),
        r"Mixture: the log-density of a part is a random estimate, .* Build the part with an exact log-determinant\.",
    ),
    (lambda: Mixture([StandardNormal(1)], [-1.0]), r"Mixture: weights must be one positive number per part; got"),
    (lambda: Mixture([StandardNormal(1)], [1.0, 1.0]), r"Mixture: weights must be one positive number per part; got"),
    (
        lambda: Mixture([CircularUniform(1), StandardNormal(1)]),
        r"Mixture: parts must share one support or live on intervals; got",
    ),
    (
        lambda: Mixture([SphericalUniform(3), StandardNormal(3)]),
        r"Mixture: parts must share one support or live on intervals; got",
    ),
    (lambda: targets.eight_gaussians(0.0), r"eight_gaussians: scale must be a positive number; got 0\.0\."),
    (lambda: targets.two_spirals(9), r"two_spirals: components must be a whole number of at least 10; got 9\."),
    (lambda: targets.pinwheel(1), r"pinwheel: blades must be a whole number of at least 2; got 1\."),
    (lambda: targets.pinwheel(5, 3), r"pinwheel: components must be a whole number of at least 4; got 3\."),
    (lambda: targets.rings(0), r"rings: count must be a whole number of at least 1; got 0\."),
    (lambda: targets.checkerboard(1), r"checkerboard: squares must be a whole number of at least 2; got 1\."),
    (lambda: targets.checkerboard(4, 0.0), r"checkerboard: side must be a positive number; got 0\.0\."),
    # bases
    (
        lambda: GaussianMixture([1.0, 1.0], PLANE, covariance="round"),
        r"GaussianMixture: covariance must be one of 'full', 'tied', 'diagonal', 'spherical'; got 'round'\.",
    ),
    (lambda: GaussianMixture.spread(0, 2), r"GaussianMixture: features must be a whole number of at least 1; got 0\."),
    (lambda: GaussianMixture.spread(2, 0), r"GaussianMixture: components must be a whole number of at least 1; got"),
    (
        lambda: DiagonalNormal(2, context=1, classes=2),
        r"DiagonalNormal: give context or classes; got 1 and 2\. To use both, append the one-hot vectors to the",
    ),
    (lambda: DiagonalNormal(2, context=-1), r"DiagonalNormal: context must be a whole number of at least 0; got -1\."),
    (lambda: Gamma(2, classes=-1), r"Gamma: classes must be a whole number of at least 0; got -1\."),
    (lambda: Exponential(2, rate=0.0), r"Exponential: rate must be a positive number, or one for each feature; got"),
    (lambda: DiagonalNormal(2, loc=[1.0] * 3), r"DiagonalNormal: loc must be a finite number, or one for each feature"),
    (lambda: Beta(0), r"Beta: features must be a whole number of at least 1; got 0\."),
    (lambda: Dirichlet(1), r"Dirichlet: features must be .* at least 2; got 1\. One share is always one\."),
    (lambda: Dirichlet(3, [1.0]), r"Dirichlet: concentration must list one number per share; got 1\."),
    (lambda: Dirichlet(2, [1.0, 0.0]), r"Dirichlet: concentration must be a positive number; got 0\.0\."),
    (lambda: SphericalUniform(1), r"SphericalUniform: features must be .* at least 2; got 1\. The circle in the plane"),
    (lambda: VonMisesFisher([0.0, 0.0, 0.0]), r"VonMisesFisher: direction must be three numbers, not all zero; got"),
    (lambda: VonMisesFisher([0.0, 0.0, 1.0], 0.0), r"VonMisesFisher: concentration must be a positive number; got"),
    (
        lambda: Joint([DiagonalNormal(1, context=2)]),
        r"Joint: parts must list .* independent features without context, .* ProductDistribution takes others\.",
    ),
    (
        lambda: Truncated(SphericalUniform(3), [0.0] * 3, [1.0] * 3),
        r"Truncated: base must be a vector of independent features .* got SphericalUniform\.",
    ),
    (lambda: Truncated(CircularUniform(1), [0.0], [1.0]), r"Truncated: base must live on intervals of the real line"),
    (lambda: Truncated(StandardNormal(2), [0.0], [1.0]), r"Truncated: low and high must list 2 bounds; got 1 and 1\."),
    (lambda: Truncated(StandardNormal(1), [1.0], [0.0]), r"Truncated: the bounds 1\.0 and 0\.0 leave nothing of Real"),
    (
        lambda: Resampled(DiagonalNormal(2, context=1)),
        r"Resampled: base must be a vector of independent features .* got DiagonalNormal\.",
    ),
    (
        lambda: Resampled(StandardNormal(2), attempts=1),
        r"Resampled: attempts must be .* at least 2; got 1\. With one, every point is taken\.",
    ),
    (
        lambda: Resampled(StandardNormal(2), points=1),
        r"Resampled: points must be .* at least 2; got 1\.",
    ),
    (
        lambda: Resampled(StandardNormal(2), hidden=(4,)).normaliser(shifts=1),
        r"Resampled: shifts must be a whole number of at least 2; got 1\.",
    ),
    (lambda: ProductDistribution([]), r"ProductDistribution: parts must list one or more distributions of vectors\."),
    (
        lambda: ProductDistribution([CircularUniform(1), DiagonalNormal(2, context=1)]),
        r"ProductDistribution: parts\[1\] \(DiagonalNormal\) takes contexts of shape \(1,\); those before it and the "
        r"context are 2 numbers\. Build it with context=2\.",
    ),
    (
        lambda: RotationDistribution(SphericalUniform(3)),
        r"RotationDistribution: quaternions must be a distribution of unit vectors of four entries, .* got Spherical",
    ),
    # torch's own
    (lambda: TorchDistribution("Normaal", {}), r"TorchDistribution: torch\.distributions has no class 'Normaal'\."),
    (
        lambda: TorchDistribution("Gumbel", {"loc": [0.0]}),
        r"TorchDistribution: Gumbel does not take these parameters: .*scale",
    ),
    (
        lambda: TorchDistribution("Uniform", {"low": [0.0], "high": [1.0]}, learn=True),
        r"TorchDistribution: the parameters of Uniform decide its support; they cannot be learned\.",
    ),
    (lambda: from_torch(StandardNormal(1)), r"from_torch: distribution must be a torch\.distributions\.Distribution"),
    (lambda: from_torch(mixture(), learn=True), r"from_torch: MixtureSameFamily has parts that are not numbers; they"),
    (lambda: from_torch(mystery()), r"TorchDistribution: the support .* of Mystery is none of the spaces of pushforw"),
    # named flows
    (lambda: sphere_flow(1), r"sphere_flow: features must be a whole number of at least 2; got 1\."),
    (lambda: sphere_flow(3, depth=0), r"sphere_flow: depth must be a whole number of at least 1; got 0\."),
    (lambda: sphere_flow(3, kind="flat"), r"sphere_flow: kind must be one of 'recursive', 'exponential', 'moebius'"),
    (lambda: sphere_flow(3, fast="no"), r"sphere_flow: fast must be one of 'density', 'sampling'; got 'no'\."),
    (
        lambda: sphere_flow(3, conditioner="conv"),
        r"Autoregressive: conditioner must be one of .* got 'conv'\.",
    ),
    (lambda: rotation_flow(depth=0), r"rotation_flow: depth must be a whole number of at least 1; got 0\."),
    (lambda: rotation_flow(kind="flat"), r"rotation_flow: kind must be one of 'exponential', 'recursive', 'moebius'"),
    (lambda: rotation_flow(fast="no"), r"rotation_flow: fast must be one of 'density', 'sampling'; got 'no'\."),
    (lambda: cylinder_flow(0, [0]), r"cylinder_flow: features must be a whole number of at least 1; got 0\."),
    (lambda: cylinder_flow(2, [0], depth=0), r"cylinder_flow: depth must be a whole number of at least 1; got 0\."),
    (lambda: cylinder_flow(2, []), r"cylinder_flow: circular must name some of the features 0 .. 1, not all; got \[\]"),
    (lambda: cylinder_flow(2, [0, 1]), r"cylinder_flow: circular must name some .* Use torus_flow for angles alone"),
    (lambda: cylinder_flow(2, [0], mix="none"), r"cylinder_flow: mix must be one of 'flip', 'permute'; got 'none'"),
    (
        lambda: sphere_flow(3, kind="moebius", bins=-3),
        r"sphere_flow: bins must be a whole number of at least 1; got -3",
    ),
    (lambda: sphere_flow(3, components=0), r"sphere_flow: components must be a whole number of at least 1; got 0\."),
    (lambda: rotation_flow(bins=-3), r"rotation_flow: bins must be a whole number of at least 1; got -3\."),
    (
        lambda: rotation_flow(kind="recursive", components=0),
        r"rotation_flow: components must be a whole number of at least 1; got 0\.",
    ),
    (lambda: torus_flow(0), r"torus_flow: features must be a whole number of at least 1; got 0\."),
    (lambda: torus_flow(1, depth=0), r"torus_flow: depth must be a whole number of at least 1; got 0\."),
    (lambda: torus_flow(1, map="flat"), r"torus_flow: map must be one of 'spline', 'moebius'; got 'flat'\."),
    (lambda: torus_flow(1, fast="no"), r"torus_flow: fast must be one of 'both', 'density', 'sampling'; got 'no'\."),
    (lambda: simplex_flow(1), r"simplex_flow: features must be a whole number of at least 2; got 1\."),
    (lambda: simplex_flow(3, map="flat"), r"simplex_flow: map must be one of 'isometric', 'last', 'stick'; got 'flat"),
    (lambda: box_flow([1.0], [0.0]), r"Bounds: low must lie below high, feature by feature"),
]

"""Refusals of linear, planar, radial and Sylvester maps, for `test_messages`."""

import torch

from pushforward.bijections import (
    PLU,
    QR,
    ActNorm,
    Convolution1x1,
    Diagonal,
    DiscreteCosine,
    Flip,
    Householder,
    Linear,
    MatrixExponential,
    Orthogonal,
    Planar,
    Radial,
    RandomRotation,
    Sylvester,
    Whitening,
)
from pushforward.flows import planar, radial, sylvester

NO_FEATURE = r"features must be a whole number of at least 1; got 0\."
ONE_FEATURE = r"features must be a whole number of at least 2; got 1\."

MISTAKES = [
    *((lambda kind=kind: kind(0), f"{kind.__name__}: {NO_FEATURE}") for kind in (PLU, Planar, Radial, Sylvester)),
    *((lambda kind=kind: kind(0), f"{kind.__name__}: {NO_FEATURE}") for kind in (ActNorm, Diagonal, Whitening)),
    *((lambda kind=kind: kind(0), f"{kind.__name__}: {NO_FEATURE}") for kind in (DiscreteCosine, MatrixExponential)),
    (lambda: MatrixExponential(2, bound=0.0), r"MatrixExponential: bound must be a positive number; got 0\.0\."),
    (lambda: MatrixExponential(2, context=-1), r"MatrixExponential: context must be a whole number of at least 0; got"),
    (lambda: QR(1), rf"QR: {ONE_FEATURE} For one feature use Diagonal\."),
    (lambda: RandomRotation(1), rf"RandomRotation: {ONE_FEATURE} One feature cannot be rotated\."),
    (lambda: Householder(1), rf"Householder: {ONE_FEATURE} One feature cannot be turned\."),
    (lambda: Orthogonal(1), rf"Orthogonal: {ONE_FEATURE} One feature cannot be turned\."),
    (lambda: QR(3, reflections=0), r"QR: reflections must be a whole number of at least 1; got 0\."),
    (lambda: Householder(3, reflections=0), r"Householder: reflections must be a whole number of at least 1; got 0\."),
    (lambda: Orthogonal(3, method="qr"), r"Orthogonal: method must be one of 'cayley', 'exponential'; got 'qr'\."),
    (lambda: RandomRotation(3, seed=-1), r"RandomRotation: seed must be a whole number of at least 0; got -1\."),
    (lambda: Planar(3, context=-1), r"Planar: context must be a whole number of at least 0; got -1\."),
    (
        lambda: Planar(3, context=1, conditioner="none"),
        r"Planar: conditioner must be one of 'plain', 'residual'.*; got 'none'\.",
    ),
    (
        lambda: PLU(3, permutation=[0, 1, 1]),
        r"PLU: permutation must list the numbers 0 to 2, each once; got \[0, 1, 1\]\. Leave it out for the reversed",
    ),
    (lambda: Diagonal(2, signs=[1, 2]), r"Diagonal: signs must be 1 or -1 for each entry of \(2,\); got \[1, 2\]\."),
    (lambda: Diagonal(2, signs=[1]), r"Diagonal: signs must be 1 or -1 for each entry of \(2,\); got \[1\]\."),
    (lambda: Diagonal(2, signs="no"), r"Diagonal: signs must list one finite number per feature; got 'no'\."),
    (lambda: ActNorm((3, 2), axis=2), r"ActNorm: axis must be one of the axes of events of shape \(3, 2\); got 2\."),
    (
        lambda: Linear([[1.0, 2.0], [2.0, 4.0]]),
        r"Linear: matrix must be invertible; got one of size 2 and rank 1\. Leave out features that depend on the",
    ),
    (lambda: Linear([[1.0, 2.0]]), r"Linear: matrix must be square, a list of D rows of D numbers; got \(1, 2\)\."),
    (lambda: Linear([[1.0, float("nan")]]), r"Linear: matrix must list one finite number per feature; got"),
    (lambda: Linear([[1.0]], bias=[0.0, 1.0]), r"Linear: bias must list 1 numbers, one a row; got shape \(2,\)\."),
    (lambda: Linear([[1.0]], bias=["a"]), r"Linear: bias must list one finite number per feature; got \['a'\]\."),
    (lambda: Linear([[1.0]])(torch.zeros(1, 1).double()), r"Linear: x is torch\.float64 but the weights are"),
    (
        lambda: Convolution1x1(Flip(3), (2, 2)),
        r"Convolution1x1: linear must be a linear map of the channels; got Flip\. Try bijections\.LU\(3\)\.",
    ),
    (
        lambda: Convolution1x1(PLU(3), (2, 0)),
        r"Convolution1x1: size must be a whole number of at least 1; got 0\.",
    ),
    (
        lambda: Whitening(2, method="ica"),
        r"Whitening: method must be one of 'pca', 'zca', 'cholesky'; got 'ica'\.",
    ),
    (
        lambda: Whitening(2, data_dtype="float16"),
        r"Whitening: data_dtype must be one of None, 'float64'; got 'float16'\.",
    ),
    (lambda: Planar(2, negative_slope=0.0), r"Planar: negative_slope must be a positive number; got 0\.0\."),
    (lambda: Planar(2, negative_slope=1.0), r"Planar: negative_slope must be below 1, the slope above zero; got 1\.0"),
    (lambda: Sylvester(2, rank=0), r"Sylvester: rank must be a whole number of at least 1; got 0\."),
    (lambda: Sylvester(2, rank=3), r"Sylvester: rank must be at most the number of features, 2; got 3\."),
    (
        lambda: Sylvester(2, method="svd"),
        r"Sylvester: method must be one of 'householder', 'cayley', 'exponential'; got 'svd'\.",
    ),
    *(
        (lambda flow=flow: flow(2, depth=0), rf"{flow.__name__}: depth must be a whole number of at least 1; got 0\.")
        for flow in (planar, radial, sylvester)
    ),
]

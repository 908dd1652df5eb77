"""Fast paths. Importing this package registers them; inside ``execution(kernels=True)`` they replace definitions.

Each kernel names the operation (a method marked `core.dispatch.accelerated`) and the exact types of the parts that it
knows. Adding one touches this folder alone. C++ is compiled at the first use by the machine's own compiler; without
one, a `RuntimeWarning` says so and the definitions run.

==========================  =========================================================  ====================
module                      replaces                                                   where
==========================  =========================================================  ====================
`autoregressive`            `Autoregressive` of a `MaskedMLP`, both directions         C++, no gradients
`autoregressive_spline`     `Autoregressive` with splines: the last product onwards    C++, with gradients
`perceptron`                `MaskedMLP.parallel`                                       C++, with gradients
`affine`                    `Affine`, forward                                          C++, with gradients
`spline`                    `RationalQuadratic`, both directions                       C++ and Triton
`mixture`                   the inverse of mixtures of Gaussians and logistics         C++, no gradients
`compiled_step`             inverses of other splines, one feature at a time           ``torch.compile``
==========================  =========================================================  ====================
"""

from pushforward.kernels import (  # noqa: F401
    affine,
    autoregressive,
    autoregressive_spline,
    compiled_step,
    mixture,
    perceptron,
    spline,
)

__all__: list[str] = []

"""Fast paths. Importing this package registers them; inside ``execution(kernels=True)`` they replace definitions.

Each kernel names the operation (a method marked `core.dispatch.accelerated`) and the exact types of the parts that it
knows. C++ is compiled at the first use by the machine's own compiler; without one, a `RuntimeWarning` says so and the
definitions run.

To add one, write a module here that registers a `Kernel` class, and name it in the import and the table below. The
operation must be marked `accelerated` where it is defined. So far these are: ``Autoregressive._forward_and_slopes``,
``_inverse_and_slopes`` and ``_solve``, ``MaskedMLP.parallel``, ``Affine.forward_with_free``, ``Spline.forward``,
``inverse`` and ``inverse_value``, and ``Iterative._root``.

=======================  ======================================================  ======================  =========
module                   operation                                               where                   gradients
=======================  ======================================================  ======================  =========
`autoregressive`         `Autoregressive` of a `MaskedMLP`, both directions      CPU, C++                off
`autoregressive_spline`  the same of splines, forward: the last product onwards  CPU, C++                on or off
`perceptron`             `MaskedMLP.parallel`                                    CPU, C++                on or off
`affine`                 `Affine`, forward                                       CPU, C++                on or off
`spline`                 `RationalQuadratic`, forward                            CPU, C++; CUDA, Triton  on or off
`spline`                 `RationalQuadratic`, inverse                            CPU, C++; CUDA, Triton  off
`mixture`                the inverse of mixtures of Gaussians and logistics      CPU, C++                off
`compiled_step`          inverses of other splines, one feature at a time        ``torch.compile``       off
=======================  ======================================================  ======================  =========
"""

# The order of import is that in which kernels of one operation are tried: `autoregressive` comes before
# `autoregressive_spline`, which computes the same with gradients.
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

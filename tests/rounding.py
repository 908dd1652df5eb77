"""Tolerances of native kernels: rounding times a measured condition number, not what one processor happened to give.

The plain operations run in float32 at inputs that are moved by one rounding, up or down at random, several times. Their
largest distance from the same function in float64, per unit of float32's rounding, is the condition of each output:
what the problem and its usual algorithm make of a rounding. A kernel may be off by `ROUNDINGS` times that in units of
its own rounding, on every instruction set.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

# Networks, affine maps and mixtures need 3 (worst of all cases; AVX-512). In float64 the reference is rounded as well,
# which narrow bins of splines make 5,000 of: still 1e-11, so that numbers of float32 inside a kernel of float64 show.
ROUNDINGS = {torch.float32: 32.0, torch.float64: 65536.0}
SPLINES = 8.0  # times as many: bins are differences of knots that are rounded, and kernels add in another order (45)
DRAWS = 8

Function = Callable[..., Sequence[Tensor]]


def assert_rounded(
    got: Sequence[Tensor], function: Function, module: nn.Module, *inputs: Tensor | None, times: float = 1.0
) -> None:
    """Check that ``got``, of a kernel, differs from ``function(module, *inputs)`` by rounding alone.

    Args:
        got: what the kernel gives, in its own dtype.
        function: computes the same by plain operations, in the dtype of the module and its inputs.
        module: its parameters are float32 numbers, in whatever dtype.
        inputs: float32 numbers, too, or None.
        times: how many times `ROUNDINGS` are allowed.
    """
    assert_conditioned(got, *conditioned(function, module, *inputs), times=times)


def assert_conditioned(
    got: Sequence[Tensor], exact: Sequence[Tensor], condition: Sequence[Tensor], *, times: float = 1.0
) -> None:
    """Check ``got`` against outputs in float64 with the condition of each."""
    for k, (value, expected, amplified) in enumerate(zip(got, exact, condition, strict=True)):
        assert value.shape == expected.shape, f"output {k}"
        error = (value.detach().double() - expected).abs() / torch.finfo(value.dtype).eps
        wrong = ~(error <= times * ROUNDINGS[value.dtype] * amplified)  # NaN counts as wrong
        assert not wrong.any(), (
            f"output {k}: {int(wrong.sum())} of {wrong.numel()} are wrong, one of them by {error[wrong].max():.3g} "
            f"roundings, where its condition is {amplified[wrong][error[wrong].argmax()]:.3g}"
        )


def conditioned(function: Function, module: nn.Module, *inputs: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
    """(outputs in float64, condition of each)."""
    eps = torch.finfo(torch.float32).eps
    generator = torch.Generator().manual_seed(0)

    def outputs(dtype: torch.dtype, change: Callable[[Tensor], Tensor]) -> list[Tensor]:
        near = copy.deepcopy(module).to(dtype)
        with torch.no_grad():
            for parameter in near.parameters():
                parameter.copy_(change(parameter))
        results = function(near, *(None if t is None else change(t.to(dtype)) for t in inputs))
        return [t.detach().double() for t in results]

    def moved(t: Tensor) -> Tensor:
        return t * (1 + eps * (2 * torch.randint(2, t.shape, generator=generator) - 1))

    exact = outputs(torch.float64, lambda t: t)
    condition = [t.abs() + (t.abs().mean() if t.numel() else 0) for t in exact]  # of a rounding of the output itself
    for _ in range(DRAWS):
        condition = [
            torch.maximum(most, (value - center).abs() / eps)
            for most, value, center in zip(condition, outputs(torch.float32, moved), exact, strict=True)
        ]
    return exact, [t + t.median() if t.numel() else t for t in condition]

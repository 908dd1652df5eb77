"""Densities and samples of a flow as one graph: for `torch.export` and for ONNX runtimes."""

from __future__ import annotations

import os
import re
import warnings
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pushforward.core.checks import one_of
from pushforward.core.extras import install_line
from pushforward.core.files import atomic_path
from pushforward.core.random_state import seeded
from pushforward.core.torch_internals import TorchDispatchMode
from pushforward.distributions import Flow

__all__ = ["Method", "to_export", "to_onnx"]

Method = Literal["log_prob", "sample"]
"""``"log_prob"``: log q(x) from x. ``"sample"``: x = T(z) from draws z of the base."""
PACKAGES = ("onnx", "onnxscript")
SOLVE: Any = torch.ops.aten.linalg_solve_triangular.default
EXPONENTIAL: Any = torch.ops.aten.linalg_matrix_exp.default
HALVINGS, TERMS = 24, 18
"""Of matrix exponentials: for norms up to 2^24. The first term left out, 1 / 19!, is then 1e-10 after squaring, and
rounding in float64 some 1e-8."""
SEED = 0
"""Of the rows with which a graph is traced and checked."""


class _Method(nn.Module):
    """One method of a flow, which is what an exporter takes."""

    def __init__(self, flow: Flow, method: Method) -> None:
        super().__init__()
        self.flow, self.method = flow, method

    def forward(self, rows: Tensor, context: Tensor | None = None) -> Tensor:
        return self.flow.log_prob(rows, context) if self.method == "log_prob" else self.flow.to_data(rows, context)


def to_export(flow: Flow, method: Method = "log_prob") -> torch.export.ExportedProgram:
    """A method of a flow as a graph of `torch.export`, for any number of rows.

    Args:
        flow: in evaluation mode or not; it is left as it is, and the graph is that of evaluation.
        method: ``"log_prob"``: rows x (batch, *event_shape) to their log-densities (batch,).
            ``"sample"``: draws z (batch, *base event shape) of the base to rows x, so that who calls decides on the
            random numbers. A conditional flow takes its context (batch, *context_shape) as second input.

    Raises:
        ValueError: the method solves equations numerically, or draws random numbers, which no graph can hold; or
            torch.export cannot trace one of its operations for any number of rows.
    """
    one_of("to_export", "method", method, ("log_prob", "sample"))
    if not isinstance(flow, Flow):
        raise ValueError(f"to_export: flow must be a Flow; got {type(flow).__name__}.")
    kind = flow.log_prob_kind if method == "log_prob" else flow.sample_kind
    if flow.stochastic:
        raise ValueError(f"to_export: {method} of this flow draws random numbers, which a graph cannot hold.")
    if kind == "iterative":
        raise ValueError(
            f"to_export: {method} of this flow solves equations numerically, which a graph cannot hold. Export the "
            "other method, or build the flow with fast= the other way round."
        )
    rows = _rows(flow, method, 4)
    batch = torch.export.Dim("batch")
    training = flow.training
    try:
        with torch.no_grad():
            program = torch.export.export(
                _Method(flow.eval(), method), rows, dynamic_shapes=tuple({0: batch} for _ in rows), strict=False
            )
            return program.run_decompositions({})  # nothing is written in place, which gradients would forbid
    except RuntimeError as error:
        reason = re.split(r"[.!\n]", str(error).strip())[0] or type(error).__name__
        raise ValueError(
            f"to_export: torch.export cannot trace {method} of this flow for any number of rows ({reason})."
        ) from error
    finally:
        flow.train(training)


def to_onnx(flow: Flow, path: str | os.PathLike[str], method: Method = "log_prob") -> None:
    """Write a method of a flow as an ONNX file, for any number of rows.

    Its inputs are called ``x`` or ``z``, and ``context``; its output is called ``log_prob`` or ``x``.

    ONNX has no matrix exponential; it becomes products of matrices, right to 1e-6 for norms up to 1.6e7. Weights with a
    larger norm are refused. Where a context decides the matrix, it is for the context to stay within that bound.

    Args:
        flow: as for `to_export`.
        path: of the file, which is replaced at once or not at all.
        method: as for `to_export`.

    Raises:
        ValueError: as `to_export`, or ONNX has no counterpart of an operation, or the exponential of a matrix of norm
            above 1.6e7 is wanted.
        ImportError: the packages onnx and onnxscript are not installed.
    """
    for package in PACKAGES:
        try:
            import_module(package)
        except ImportError:
            raise ImportError(f"to_onnx: needs the package {package}. Install with: {install_line('onnx')}") from None
    program = to_export(flow, method)
    _check_exponents(flow, method)
    program = program.run_decompositions({SOLVE: _substituted, EXPONENTIAL: _exponential})
    inputs = ["x" if method == "log_prob" else "z", *(["context"] if flow.context_shape else [])]
    outputs = ["log_prob" if method == "log_prob" else "x"]
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch, about its own packages
            written: Any = torch.onnx.export(
                program, dynamo=True, input_names=inputs, output_names=outputs, verbose=False, optimize=True
            )
    except torch.onnx.errors.OnnxExporterError as error:
        operation = re.search(r"aten\.\w+", f"{error} {error.__cause__}")
        name = operation[0] if operation else str(error).strip().splitlines()[0]
        raise ValueError(f"to_onnx: {method} of this flow has an operation that ONNX lacks ({name}).") from error
    with atomic_path(path) as target:
        target.write_bytes(written.model_proto.SerializeToString())


def _substituted(
    matrix: Tensor, right: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """A triangular system, which ONNX has no operation for, by substitution: one row after the other."""
    if not left:
        return _substituted(matrix.mT, right.mT, upper=not upper, unitriangular=unitriangular).mT
    size = matrix.shape[-1]
    rows: dict[int, Tensor] = {}
    for i in reversed(range(size)) if upper else range(size):
        row = right[..., i : i + 1, :]
        if rows:
            solved = torch.cat([rows[j] for j in sorted(rows)], dim=-2)
            beside = matrix[..., i : i + 1, i + 1 :] if upper else matrix[..., i : i + 1, :i]
            row = row - beside @ solved
        rows[i] = row if unitriangular else row / matrix[..., i : i + 1, i : i + 1]
    return torch.cat([rows[j] for j in range(size)], dim=-2)


def _exponential(matrix: Tensor) -> Tensor:
    """The exponential of a matrix, which ONNX has no operation for, by its series at a small multiple, then squared; in
    float64, for squaring doubles what rounding did."""
    small = matrix.to(torch.float64) / 2**HALVINGS
    eye = torch.eye(matrix.shape[-1], dtype=torch.float64, device=matrix.device)
    result = eye.expand(matrix.shape)
    for k in range(TERMS, 0, -1):
        result = eye + (small @ result) / k
    for _ in range(HALVINGS):
        result = result @ result
    return result.to(matrix.dtype)


class _Exponents(TorchDispatchMode):
    """Records the largest norm of a matrix whose exponential is computed."""

    largest = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is EXPONENTIAL:
            self.largest = max(self.largest, float(args[0].abs().sum(dim=-2).max()))
        return func(*args, **(kwargs or {}))


def _check_exponents(flow: Flow, method: Method) -> None:
    """Refuse exponentials of matrices that the series in the file is not made for, of those that some rows need."""
    training, rows = flow.training, _rows(flow, method, 4)
    try:
        with torch.no_grad(), _Exponents() as exponents:
            _Method(flow.eval(), method)(*rows)
    finally:
        flow.train(training)
    if exponents.largest > 2**HALVINGS:
        raise ValueError(
            f"to_onnx: {method} of this flow has the exponential of a matrix of norm {exponents.largest:.3g}, and "
            f"exponentials in ONNX files are right up to {2**HALVINGS:.2g}. Train with smaller weights."
        )


def _rows(flow: Flow, method: Method, count: int) -> tuple[Tensor, ...]:
    """Inputs of a method to trace it with."""
    with torch.no_grad(), seeded(SEED):
        context = None
        if flow.context_shape is not None:
            context = torch.randn(count, *flow.context_shape, dtype=flow.context_dtype or torch.get_default_dtype())
        z = flow.base.sample((count,)) if flow.base.context_shape is None else flow.base.sample((), context)
        rows = z if method == "sample" else flow.to_data(z, context)
    return (rows,) if context is None else (rows, context)

"""Networks that multiply in a smaller dtype while everything around them keeps its own."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from pushforward.core.execution_mode import MATMUL_DTYPES, current_execution

__all__ = ["MixedPrecision"]


class MixedPrecision(nn.Module):
    """A network whose matrix products have the ``matmul_dtype`` of the `execution` scope.

    A conditioner may be any function of its inputs, so rounding inside it gives another model, not a wrong one; the
    maps that it conditions and their log-determinants need full precision and keep it. Only the parallel pass uses the
    smaller dtype: incremental passes multiply in the dtype of the weights. So the log-slopes of an inverse that a
    parallel pass computes are those of the bfloat16 network, at an x solved with the full-precision one: the two agree
    to bfloat16 rounding only.
    """

    def matmul_scope(self, x: Tensor) -> AbstractContextManager[object]:
        """A context in which matrix products have the dtype that is set."""
        name = current_execution().matmul_dtype
        return nullcontext() if name is None else torch.autocast(x.device.type, dtype=MATMUL_DTYPES[name])

"""Networks that multiply in half the precision while all around them stays as it is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

__all__ = ["PRECISIONS", "MixedPrecision"]

PRECISIONS: dict[str, torch.dtype] = {"bf16": torch.bfloat16}


class MixedPrecision(nn.Module):
    """A network whose products may be of another dtype than its weights, its input and what it gives.

    A conditioner may be any function of what it sees, so rounding inside it makes another model, not a wrong one; what
    it steers and its log-determinants need all digits and keep them.
    """

    products: str | None = None
    """One of ``PRECISIONS`` for the products of the parallel pass, None for the dtype of the weights. It is not saved:
    the incremental pass and a loaded flow multiply in full."""

    def multiplying(self, x: Tensor) -> AbstractContextManager[object]:
        """Inside, products are of the dtype asked for."""
        if self.products is None:
            return nullcontext()
        return torch.autocast(x.device.type, dtype=PRECISIONS[self.products])

"""Attention, and the blocks that transformers are made of. Tokens come first: (tokens, n, width) for n points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core.checks import at_least
from pushforward.core.execution_mode import needs_derivatives, runs_eagerly
from pushforward.core.torch_internals import is_legacy_batched
from pushforward.networks.trunk import ACTIVATIONS, dropped

__all__ = ["TransformerBlock", "attend", "causal_mask", "check_attention"]

MANY_TOKENS = 32
"""From so many tokens on gradients are recorded by torch's fused attention: below, they cost more that way."""

MOST_ROWS = 65_535
"""Points times heads that one call of torch's fused attention takes: CUDA starts no more blocks along an axis."""


def check_attention(owner: str, hidden: Sequence[int], heads: int, expansion: int = 1) -> None:
    """Refuse sizes of blocks that cannot be built."""
    width = hidden[0]
    if len(set(hidden)) > 1:
        raise ValueError(f"{owner}: all blocks need equal widths; got hidden={tuple(hidden)}.")
    at_least(owner, "heads", heads, 1)
    at_least(owner, "expansion", expansion, 1)
    if width % heads:
        raise ValueError(
            f"{owner}: heads must divide the width; got {heads} heads and hidden widths of {width}. "
            "Give a width that is a multiple of the heads, or other heads."
        )


def causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """Which keys each query may see, (queries, keys): the queries are the last of the tokens, and each sees those up to
    its own."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def attend(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None) -> Tensor:
    r"""Means of the values weighted by how well keys fit a query, :math:`\operatorname{softmax}(Q K^\top / \sqrt d) V`.

    Exponentials are computed in float32 or wider. Without derivatives, and for many tokens with first derivatives,
    torch's fused kernels run; everything else goes through plain products, which are differentiable any number of
    times, map and compile.

    Args:
        query: (m, queries, d), m standing for points and heads.
        key: (m, keys, d).
        value: (m, keys, d).
        visible: which keys a query sees: (queries, keys) for all points, or (m, queries, keys); None: all. Each query
            sees at least one.

    Returns:
        (m, queries, d).
    """
    if query.shape[1] == 1 or not query.numel() or not runs_eagerly(query):
        return _plainly(query, key, value, visible)
    if not needs_derivatives():
        return _fused(query, key, value, visible)
    if key.shape[1] < MANY_TOKENS:
        return _plainly(query, key, value, visible)
    return _Fused.apply(query, key, value, visible)


def _plainly(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    scores = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2))  # (m, queries, keys)
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    weights = torch.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    return torch.bmm(weights.to(value.dtype), value)


def _fused(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    if len(query) > MOST_ROWS:
        n = -(-len(query) // MOST_ROWS)
        masks = [visible] * n if visible is None or visible.ndim == 2 else visible.split(MOST_ROWS)
        parts = zip(query.split(MOST_ROWS), key.split(MOST_ROWS), value.split(MOST_ROWS), masks, strict=True)
        return torch.cat([_fused(*part) for part in parts])
    mask = None if visible is None else visible[None] if visible.ndim == 3 else visible
    return F.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=mask)[0]


class _Fused(torch.autograd.Function):
    """Fused attention whose second derivatives, which torch's kernels lack, come from plain products."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
        return _fused(query, key, value, visible)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, value, visible = ctx.saved_tensors
        leaves = [query, key, value]
        again = torch.is_grad_enabled()  # a second derivative is wanted
        if not again:
            leaves = [t.detach().requires_grad_() for t in leaves]
        with torch.enable_grad():
            function = _plainly if again or is_legacy_batched(grad) else _fused
            out = function(leaves[0], leaves[1], leaves[2], visible)
        grads = torch.autograd.grad(out, leaves, grad, create_graph=again)
        return (*grads, None)


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each behind a normalisation and beside a skip connection.

    Args:
        width: of a token.
        heads: number of attention heads.
        expansion: hidden units of the perceptron for each unit of a token.
        activation: of the perceptron, one of ``ACTIVATIONS``.
        dropout: probability of dropping a unit in training: of what attention gives, and of the perceptron.

    References:
        | Attention Is All You Need (Vaswani et al., 2017), arXiv:1706.03762
        | On Layer Normalization in the Transformer Architecture (Xiong et al., 2020), arXiv:2002.04745
    """

    def __init__(self, width: int, heads: int, *, expansion: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.heads, self.activation, self.dropout = heads, activation, dropout
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)

    def split(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of each token, (n · heads, tokens, width / heads)."""
        tokens, n, width = h.shape
        each = self.project(self.before_attention(h)).reshape(tokens, n * self.heads, 3 * width // self.heads)
        query, key, value = each.transpose(0, 1).chunk(3, dim=-1)
        return query, key, value

    def join(self, h: Tensor, attended: Tensor) -> Tensor:
        """The tokens after the block, from what they were before it and what they attend to."""
        h = h + self._drop(self.merge(attended.transpose(0, 1).reshape(h.shape)))
        act = ACTIVATIONS[self.activation]
        return h + self.narrow(self._drop(act(self.widen(self.before_mlp(h)))))

    def forward(self, h: Tensor, visible: Tensor | None = None) -> Tensor:
        """All tokens at once; see `attend` for ``visible``."""
        return self.join(h, attend(*self.split(h), visible))

    def _drop(self, h: Tensor) -> Tensor:
        return dropped(h, self.dropout) if self.dropout > 0 and self.training else h

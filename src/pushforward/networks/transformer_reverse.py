"""The reverse pass through a causal transformer, from the last token to the first, for back substitution."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from pushforward.networks.attention import attend
from pushforward.networks.conditioner import ReversePass
from pushforward.networks.trunk import INPUT_LIMIT

__all__ = ["TransformerReverse"]


class ReversibleTransformer(Protocol):
    """What the reverse pass needs of a causal transformer; see `CausalTransformer`."""

    features: int
    group: int
    channels: int
    blocks: Any

    def embed(self, x: Tensor, context: Tensor | None, start: int, stop: int) -> Tensor: ...

    def read_out(self, h: Tensor, start: int) -> Tensor: ...


class TransformerReverse(ReversePass):
    """The `ReversePass` of a causal transformer.

    Later tokens reach a token through its keys and values alone. So the cotangents of a token are complete once those
    after it are done, and each step is the backward pass of one token, given the cotangents of its keys and values. All
    steps together cost one backward pass.

    Args:
        network: the transformer.
        x: features as the network sees them, (features · channels, n).
        context: (context, n), or None.
    """

    def __init__(self, network: ReversibleTransformer, x: Tensor, context: Tensor | None) -> None:
        self.network, self.x, self.context = network, x.detach(), context
        self.tokens = network.features // network.group
        visible = torch.ones(self.tokens, self.tokens, dtype=torch.bool, device=x.device).tril()
        with torch.enable_grad():
            # Each graph reaches the weights of its own part alone: the steps find the cotangents of all of them.
            self.outputs = [network.embed(self.x, context, 0, self.tokens)]
            for block in network.blocks:
                self.outputs.append(block(self.outputs[-1].detach(), visible))
            self.params = network.read_out(self.outputs[-1].detach(), 0)
        with torch.no_grad():
            pairs = zip(network.blocks, self.outputs[:-1], strict=True)
            self.keys_values = [block.split(h.detach())[1:] for block, h in pairs]
        self.inside = (self.x.abs() <= INPUT_LIMIT).to(x.dtype)
        self.position = network.features
        self.grad_params_of_token: list[Tensor] = []  # cotangents of the parameters of features of one token
        self.grad_inputs: list[Tensor] = []  # complete cotangents of the inputs of features of one group
        self.grad_tokens: list[list[Tensor]] = [[] for _ in self.outputs]  # from the last token to the first
        self.grad_keys_values: list[tuple[Tensor, Tensor] | None] = [None for _ in self.keys_values]
        """Of each block, what later tokens give to the keys and values of those up to the next one."""

    def step(self, grad_params: Tensor, scale: Tensor) -> Tensor:
        self.position -= 1
        self.grad_params_of_token.append(grad_params * scale)
        if self.position % self.network.group == 0:
            self._process(self.position // self.network.group)
        # Nothing depends on the features of the last group.
        return self.grad_inputs.pop() if self.grad_inputs else torch.zeros_like(scale).expand(self.network.channels, -1)

    def _process(self, token: int) -> None:
        """Go back through one token, to the inputs that it carries."""
        network = self.network
        grad_params = torch.stack(self.grad_params_of_token[::-1], dim=1)  # (num_params, features of the token, n)
        self.grad_params_of_token = []
        with torch.enable_grad():
            h = self._leaf(-1, token)
            (grad,) = torch.autograd.grad(network.read_out(h, token), h, grad_params)
        self.grad_tokens[-1].append(grad)
        for k in reversed(range(len(self.keys_values))):
            grad = self._through_block(k, token, grad)
            self.grad_tokens[k].append(grad)
        if token == 0:
            return
        rows = network.group * network.channels
        with torch.enable_grad():
            carried = self.x[(token - 1) * rows : token * rows].clone().requires_grad_()
            (grad_inputs,) = torch.autograd.grad(network.embed(carried, None, token, token + 1), carried, grad)
        self.grad_inputs = list(grad_inputs.split(network.channels))

    def _through_block(self, k: int, token: int, grad: Tensor) -> Tensor:
        """The complete cotangent of a token before block k, from that of it after the block."""
        block, before = self.network.blocks[k], [part[:, :token].detach() for part in self.keys_values[k]]
        with torch.enable_grad():
            h = self._leaf(k, token)
            leaves = [part.requires_grad_() for part in before]
            query, *new = block.split(h)
            key, value = (torch.cat([old, one], dim=1) for old, one in zip(leaves, new, strict=True))
            out = block.join(h, attend(query, key, value))
            outputs, grads, earlier = [out], [grad], []
            if (later := self.grad_keys_values[k]) is not None:
                pairs = [part.split_with_sizes([token, 1], dim=1) for part in later]
                earlier, of_new = ([pair[i] for pair in pairs] for i in (0, 1))
                outputs, grads = [out, *new], [grad, *of_new]
            grad_h, *grad_before = torch.autograd.grad(outputs, [h, *leaves], grads)
        if earlier:
            grad_before = [part + more for part, more in zip(earlier, grad_before, strict=True)]
        self.grad_keys_values[k] = grad_before[0], grad_before[1]
        return grad_h

    def _leaf(self, k: int, token: int) -> Tensor:
        """A token before block k, or after the last one, that gradients go back to."""
        return self.outputs[k][token : token + 1].detach().requires_grad_()

    def cotangents(self) -> list[tuple[Tensor, Tensor]]:
        grads = [torch.cat(parts[::-1]) for parts in self.grad_tokens]
        return list(zip(self.outputs, grads, strict=True))

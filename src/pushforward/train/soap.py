"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from pushforward.core.checks import at_least, not_negative, positive

__all__ = ["Soap"]

MATRIX, STACK = 2, 3
"""Axes of a matrix and of a stack of matrices."""


class Soap(torch.optim.Optimizer):
    r"""Adam in a basis that follows the gradients of each matrix of weights.

    For a matrix of weights with gradients G the averages :math:`L = \mathbb E\, G G^\top` and :math:`R = \mathbb E\,
    G^\top G` have eigenvectors :math:`Q_L, Q_R`; Adam's second moments are those of :math:`Q_L^\top G\, Q_R`, whose
    numbers are less correlated, so that steps fit the curvature better. Eigenvectors follow by one step of power
    iteration and a QR decomposition now and then. The first step only starts them. Vectors, and sides of matrices that
    are too long or of length one, are as in Adam. A tensor of three axes is a stack of matrices; one of four or more,
    such as a kernel of a convolution, is the matrix of its first axis and all others.

    A step costs some products of matrices of the size of the weights, which is little beside a pass of many points
    through them. ``pf.fit(flow, x, optimizer=pf.train.Soap)``, with options
    ``functools.partial(pf.train.Soap, every=5)``.

    Args:
        params: as of every optimiser of torch.
        lr: the learning rate.
        betas: decay of the averages of gradients, and of all second moments.
        eps: added to the root of second moments.
        damping: in a basis, this share of the root of their mean is added as well. Without it directions in which
            gradients are tiny, such as those in which a softmax is sure already, go on at full speed, and activations
            grow without end.
        weight_decay: decoupled, as in AdamW.
        every: steps between two updates of the eigenvectors.
        largest: the longest side of a matrix with eigenvectors.

    Raises:
        ValueError: an option is out of its range.

    References:
        | SOAP: Improving and Stabilizing Shampoo using Adam (Vyas et al., 2024), arXiv:2409.11321

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.ones(3, 2))
    >>> optimizer = Soap([weight], lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     weight.square().sum().backward()
    ...     optimizer.step()
    >>> bool(weight.abs().max() < 0.05)
    True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        damping: float = 0.01,
        weight_decay: float = 0.0,
        every: int = 10,
        largest: int = 512,
    ) -> None:
        positive("Soap", "lr", lr)
        positive("Soap", "eps", eps)
        not_negative("Soap", "damping", damping)
        not_negative("Soap", "weight_decay", weight_decay)
        at_least("Soap", "every", every, 1)
        at_least("Soap", "largest", largest, 1)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"Soap: betas must be two numbers from 0 up to 1; got {betas}.")
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "damping": damping, "weight_decay": weight_decay,
                "every": every, "largest": largest,
            },
        )  # fmt: skip

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the weights from their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        return loss

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta, beta_squares) = self.state[weight], group["betas"]
        shape, gradient = gradient.shape, gradient.flatten(1) if gradient.ndim > STACK else gradient
        if not state:
            state["step"] = 0
            state["average"], state["squares"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
            _start_basis(state, gradient, group["largest"])
            if _has_basis(state):
                # In its own singular basis a gradient is diagonal, and Adam would divide noise by noise elsewhere.
                return
        state["step"] += 1
        count, average, squares = state["step"], state["average"], state["squares"]
        average.lerp_(gradient, 1 - beta)
        squares.lerp_(_rotated(gradient, state).square(), 1 - beta_squares)
        variance = squares / (1 - beta_squares**count)
        deviation = variance.sqrt() + group["eps"]
        if _has_basis(state):
            deviation += group["damping"] * variance.mean((-2, -1), keepdim=True).sqrt()
        direction = _rotated(_rotated(average, state) / deviation, state, back=True)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(direction.reshape(shape), alpha=-group["lr"] / (1 - beta**count))
        _follow(state, gradient, 1 - beta_squares, turn=count % group["every"] == 0)


def _has_basis(state: dict[str, Any]) -> bool:
    """Whether a tensor has eigenvectors of a side; else it is as in Adam."""
    return "left_basis" in state or "right_basis" in state


def _start_basis(state: dict[str, Any], gradient: Tensor, largest: int) -> None:
    """Eigenvectors of the first gradient, of each side of a matrix that is neither too long nor a single number."""
    if gradient.ndim < MATRIX:
        return
    for side, axis, moments in (("left", -2, _left), ("right", -1, _right)):
        if 1 < gradient.shape[axis] <= largest:
            state[f"{side}_moments"] = moments(gradient)
            # From the largest on: the decompositions that follow begin with what varies most.
            state[f"{side}_basis"] = torch.linalg.eigh(state[f"{side}_moments"]).eigenvectors.flip(-1)


def _follow(state: dict[str, Any], gradient: Tensor, share: float, *, turn: bool) -> None:
    """Let second moments, and now and then their eigenvectors, follow a gradient."""
    for side, moments in (("left", _left), ("right", _right)):
        if f"{side}_moments" in state:
            products, basis = state[f"{side}_moments"], f"{side}_basis"
            products.lerp_(moments(gradient), share)
            if turn:
                state[basis] = torch.linalg.qr(products @ state[basis]).Q


def _left(gradient: Tensor) -> Tensor:
    return gradient @ gradient.mT


def _right(gradient: Tensor) -> Tensor:
    return gradient.mT @ gradient


def _rotated(gradient: Tensor, state: dict[str, Any], back: bool = False) -> Tensor:
    """A gradient in the basis of eigenvectors, or back."""
    if (basis := state.get("left_basis")) is not None:
        gradient = (basis if back else basis.mT) @ gradient
    if (basis := state.get("right_basis")) is not None:
        gradient = gradient @ (basis.mT if back else basis)
    return gradient

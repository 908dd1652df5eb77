"""Weights of which each process keeps a part, as FSDP2 of torch does, for models that are large for one device."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pushforward.core.processes import Processes
from pushforward.core.torch_internals import buffers_of, unsaved_buffers
from pushforward.train.history import TrainingError
from pushforward.train.losses import Loss, MaximumLikelihood
from pushforward.train.plan import Plan

__all__ = ["LARGE", "Shards", "check_shards", "copy_with_constants", "give_back", "is_part", "local", "whole"]

LARGE = 2**16
"""Weights from which on a conditioner is gathered by itself, when a layer needs it; smaller ones are together."""
Tensors = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)


class Shards:
    """The weights of a loss and its model, cut into as many parts as there are processes.

    Weights, gradients and the state of the optimiser are `DTensor` objects that hold one part. All weights of a
    conditioner are in one place while it runs, forwards and backwards; gradients are summed over the processes and
    handed out in parts. All processes make the same calls in the same order.

    Args:
        objective: whose forward pass is a step; its parameters are replaced.
        processes: of the run.

    References:
        | PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel (Zhao et al., 2023), arXiv:2304.11277
    """

    def __init__(self, objective: nn.Module, processes: Processes) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        device = next(objective.parameters()).device.type
        self._mesh = init_device_mesh(device, (processes.count,))
        for network in _conditioners(objective):
            network.register_forward_hook(_without_view)  # before those of FSDP
            fully_shard(network, mesh=self._mesh)
        fully_shard(objective, mesh=self._mesh)
        for module in objective.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # the loss of each part of a batch has its share already
                module.set_force_sum_reduction_for_comms(True)  # gloo has no other

    def part(self, tensors: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """The parts of whole tensors, cut as those of the same name in ``like``."""
        from torch.distributed.tensor import distribute_tensor

        parts = dict(tensors)
        for name, tensor in tensors.items():
            other: Any = like.get(name)
            if is_part(other) and other.shape == tensor.shape:
                whole_tensor = tensor.to(other.device)
                parts[name] = distribute_tensor(whole_tensor, self._mesh, other.placements, src_data_rank=None)
        return parts


def _conditioners(objective: nn.Module) -> list[nn.Module]:
    """The large conditioners, none inside of another."""
    networks: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for name, module in objective.named_modules():
        is_large = sum(weights.numel() for weights in module.parameters()) >= LARGE
        if name.rpartition(".")[2] == "conditioner" and is_large and module not in inside:
            networks.append(module)
            inside |= set(module.modules())
    return networks


def _without_view(module: nn.Module, inputs: Any, output: Any) -> Any:
    """An output in memory of its own: whoever writes into a view would take the hooks away that gather weights."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def is_part(tensor: Any) -> bool:
    """Whether a tensor is one of `Shards`, without loading the package that has their class."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """A whole tensor from its parts; another one is left as it is."""
    return tensor.full_tensor() if is_part(tensor) else tensor  # type: ignore[attr-defined]


def copy_with_constants(model: M) -> M:
    """A copy of a model, but for what it computes from its config, which both share."""
    constants = [
        buffers_of(part)[name] for part in model.modules() for name in unsaved_buffers(part) if name in buffers_of(part)
    ]
    return copy.deepcopy(model, {id(constant): constant for constant in constants if constant is not None})


@torch.no_grad()
def give_back(learner: nn.Module, model: nn.Module) -> None:
    """Copy the weights of a learner in parts to a whole model, one after the other, and leave that ready for use."""
    parts = learner.state_dict()
    for name, tensor in model.state_dict().items():
        tensor.copy_(whole(parts[name]))
    model.eval()


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process has, in the same memory."""
    return tensor.to_local() if is_part(tensor) else tensor  # type: ignore[attr-defined]


def check_shards(model: nn.Module, loss: Loss, plan: Plan, processes: Processes) -> None:
    """Refuse what cannot be learned in shards.

    Raises:
        TrainingError: see above.
    """
    if processes.count == 1:
        raise TrainingError("fit: shard=True, but there is one process. Start several by torchrun.")
    if not isinstance(loss, MaximumLikelihood):
        raise TrainingError(
            f"fit: shard=True is for maximum likelihood; {type(loss).__name__} uses weights outside of the forward "
            "pass. Leave shard out."
        )
    if plan.compile:
        raise TrainingError("fit: compile=True needs whole weights; leave compile or shard out.")
    if odd := [name for name, weights in model.named_parameters() if not weights.ndim or not weights.numel()]:
        raise TrainingError(f"fit: shard=True: {odd[0]} is a single number, which has no parts. Leave shard out.")
    least = plan.batch_size // processes.count
    counts = {_pieces(rows, plan.accumulate) for rows in (least, -(-plan.batch_size // processes.count))}
    if least == 0 or len(counts) > 1:
        raise TrainingError(
            f"fit: shard=True: a batch of {plan.batch_size} rows has not as many pieces in each of {processes.count} "
            f"processes. Let batch_size be a multiple of {processes.count * plan.accumulate}."
        )


def _pieces(rows: int, most: int) -> int:
    return -(-rows // -(-rows // most)) if rows else 0

"""The processes that learn one model together, as ``torchrun`` starts them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["ALONE", "ProcessLostError", "Processes", "joined_processes"]

T = TypeVar("T")


class ProcessLostError(RuntimeError):
    """Another process of the run ended, or does not answer."""


class Processes:
    """This process among those of a run. The first one, of rank 0, decides what a clock or a file decides.

    All processes make the same calls in the same order. Sums come out the same on all of them, bit for bit.

    Args:
        rank: number of this process, from 0.
        count: how many there are.
    """

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def part(self, length: int) -> slice:
        """Which of so many rows this process takes: neighbours, as many as the others take, or one more."""
        return slice(self.rank * length // self.count, (self.rank + 1) * length // self.count)

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """The sums of numbers over all processes."""
        if self.count == 1:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64, device=_device())
        with _lost_processes():
            torch.distributed.all_reduce(total)
        return [float(number) for number in total]

    def of_first(self, function: Callable[[], T]) -> T:
        """What a function returns, or raises, in the first process, in all of them; the others do not call it."""
        if self.count == 1:
            return function()
        answer: list[Any] = [None, None]
        if self.is_first:
            try:
                answer[0] = function()
            except Exception as error:
                answer[1] = error
        with _lost_processes():
            torch.distributed.broadcast_object_list(answer, src=0)
        if answer[1] is not None:
            raise answer[1]
        value: T = answer[0]
        return value

    @torch.no_grad()
    def share_state(self, model: nn.Module) -> None:
        """Give all processes the weights and buffers of the first one's model."""
        if self.count == 1:
            return
        with _lost_processes():
            for tensor in model.state_dict().values():
                if isinstance(tensor, Tensor) and tensor.numel():
                    whole = tensor.contiguous()
                    torch.distributed.broadcast(whole, src=0)
                    tensor.copy_(whole)

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[nn.Parameter], value: float) -> float:
        """Replace the gradients by their sums over all processes, in one message for each dtype; the sum of ``value``
        is returned. A parameter that no process has a gradient of keeps none."""
        if self.count == 1:
            return value
        has_gradient = [float(parameter.grad is not None) for parameter in parameters]
        value, *counts = self.sum([value, *has_gradient])
        groups: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
        for parameter, count in zip(parameters, counts, strict=True):
            if count:
                groups.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for group in groups.values():
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
            flat = torch.cat([part.reshape(-1) for part in parts])
            with _lost_processes():
                torch.distributed.all_reduce(flat)
            for parameter, total in zip(group, flat.split([p.numel() for p in group]), strict=True):
                parameter.grad = total.view_as(parameter)
        return value


ALONE = Processes(0, 1)


def joined_processes() -> Processes:
    """The processes of the group of ``torch.distributed``, which is joined first where ``torchrun`` has started this
    process; `ALONE` elsewhere.

    The group uses NCCL where there are as many GPUs as processes of this machine, else gloo.
    """
    group = torch.distributed
    if not group.is_available():
        return ALONE
    if not group.is_initialized():
        if not group.is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return ALONE
        store = _store_of_attempt()
        local, of_machine = (int(os.environ.get(name, "1")) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        if torch.cuda.is_available() and torch.cuda.device_count() >= of_machine:
            torch.cuda.set_device(local)
            group.init_process_group("cpu:gloo,cuda:nccl", **store)
        else:
            group.init_process_group("gloo", **store)
        atexit.register(_leave_group)
    count = group.get_world_size()
    return ALONE if count == 1 else Processes(group.get_rank(), count)


def _leave_group() -> None:
    """Leave the group before the interpreter ends, whose threads would abort the process else."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _store_of_attempt() -> dict[str, Any]:
    """Where the processes find each other, as arguments of ``init_process_group``.

    On one machine torchrun keeps its store when it starts processes again, with the addresses of those that are dead;
    each attempt therefore has keys of its own. With several machines torchrun makes another store.
    """
    environment = os.environ
    if environment.get("GROUP_WORLD_SIZE") != "1" or environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    rank, count = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    shared = torch.distributed.TCPStore(host, port, count, is_master=False)
    attempt = f"pushforward attempt {environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return {"store": torch.distributed.PrefixStore(attempt, shared), "rank": rank, "world_size": count}


def _device() -> str:
    """Where numbers are that processes exchange: gloo takes those of the CPU, NCCL those of a GPU."""
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"


@contextmanager
def _lost_processes() -> Iterator[None]:
    """Errors of the connection as one sentence."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ProcessLostError(
            f"another process of this run has ended or does not answer ({str(error).strip().splitlines()[-1][:200]})"
        ) from error

"""The random numbers of a run: they repeat bit for bit, and fits in other threads do not change them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from pushforward.core.random_state import borrow_global_state, seeded_states
from pushforward.core.torch_internals import is_dropout

__all__ = ["Draws"]

# Odd constants: no step of a process gets the seed of another one's.
STEP_STRIDE, PROCESS_STRIDE = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F


class Draws:
    """Generators that belong to one run.

    Losses, distributions and our own networks draw from ``generator``. Modules of other libraries and compiled graphs
    know torch's global generators only. For them these are borrowed, one step at a time, and returned as they were.
    Whether a model needs that shows in its first step: the states have moved, or they have not.

    Args:
        model: what is trained.
        seed: of all generators.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        device = tensors[0].device if tensors else torch.device("cpu")
        self.seed = seed
        self.devices = sorted({"cpu", *(str(t.device) for t in tensors)})
        self.generator = torch.Generator(device).manual_seed(seed)
        self.shared = seeded_states(seed, self.devices)
        self.borrows = True
        # Whatever the first step does: dropout may be zero in it.
        self.always = any(is_dropout(part) for part in model.modules())

    def restart(self) -> None:
        """Draw the same numbers again."""
        self.generator.manual_seed(self.seed)
        self.shared = seeded_states(self.seed, self.devices)

    def begin_step(self, step: int, rank: int) -> None:
        """Draw what belongs to this step and process: a run of several processes needs no state of their generators to
        go on, and other numbers of processes can go on with it."""
        seed = (self.seed + STEP_STRIDE * (step + 1) + PROCESS_STRIDE * rank) % 2**63
        self.generator.manual_seed(seed)
        self.shared = seeded_states(seed, self.devices)

    def scope(self) -> AbstractContextManager[None]:
        """Around everything that may draw from torch's global generators."""
        return self._borrowed() if self.borrows else nullcontext()

    @contextmanager
    def _borrowed(self) -> Iterator[None]:
        before = dict(self.shared)
        with borrow_global_state(self.shared):
            yield
        self.borrows = self.always or any(not torch.equal(state, before[d]) for d, state in self.shared.items())

    def state(self) -> dict[str, Tensor]:
        """The states of all generators, for a checkpoint."""
        return {f"run {self.generator.device}": self.generator.get_state()} | self.shared

    def restore(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`. Generators of devices that the state knows nothing of keep theirs."""
        name = f"run {self.generator.device}"
        if name in state:
            self.generator.set_state(state[name])
        self.shared = {device: state.get(device, before) for device, before in self.shared.items()}

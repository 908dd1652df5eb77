"""Large batches without gradients, in blocks of rows."""

import weakref

import pytest
import torch
from cases import (
    generator,
    label,
    random_part,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pushforward.distributions import row_blocks
from pushforward.flows import FLOWS


@pytest.mark.parametrize(
    "config", [{"flow": "nsf"}, {"flow": "sos"}, {"flow": "bnaf"}, {"flow": "circular_nsf"}], ids=label
)
def test_blocks_of_rows_give_what_the_whole_batch_gives(config, monkeypatch):
    flow = random_part({"features": 2, "context": 1, **config})
    x, context = (
        flow.sample((3, 40), torch.zeros(1, dtype=torch.float64), generator=generator(1)),
        torch.randn(40, 1, generator=generator(2), dtype=torch.float64),
    )
    calls = {
        "log_prob": lambda: flow.log_prob(x, context),
        "sample": lambda: flow.sample((3,), context, generator=generator(3)),
        "both": lambda: torch.cat(
            [t.flatten() for t in flow.rsample_and_log_prob((3,), context, generator=generator(3))]
        ),
        "to_latent": lambda: flow.to_latent(x, context),
        "to_data": lambda: flow.to_data(flow.base.sample((3, 40), generator=generator(4)), context),
        "scalar": lambda: flow.log_prob(x[0, 0], context[0]),
        "none": lambda: flow.log_prob(x[:, :0], context[:0]),
    }
    with torch.no_grad():
        expected = {name: call() for name, call in calls.items()}
        sizes = []
        inverse = flow.bijection._inverse_and_ladj
        monkeypatch.setattr(flow.bijection, "_inverse_and_ladj", lambda x, c: sizes.append(len(x)) or inverse(x, c))
        monkeypatch.setattr(row_blocks, "CPU_BYTES", 1)
        for name, call in calls.items():
            torch.testing.assert_close(call(), expected[name], rtol=1e-12, atol=1e-12, msg=name)
        assert sizes[:2] == [64, 56], f"blocks of {sizes}"
    sizes.clear()
    flow.log_prob(x, context)  # gradients are recorded: all at once
    assert sizes == [3]


class PeakMemory(TorchDispatchMode):
    """The largest number of bytes that new tensors hold at once."""

    def __init__(self):
        super().__init__()
        self.held = self.peak = 0
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage.data_ptr() not in self.seen:
                self.seen.add(storage.data_ptr())
                self.held += storage.nbytes()
                weakref.finalize(storage, self.freed, storage.data_ptr(), storage.nbytes())
        self.peak = max(self.peak, self.held)
        return out

    def freed(self, address, size):
        self.seen.discard(address)
        self.held -= size


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_the_width_of_rows_says_what_a_flow_allocates(name):
    """Counted from weights and univariates, against the memory that densities really take."""
    flow, rows = FLOWS[name](6).eval(), 512
    with torch.no_grad(), PeakMemory() as memory:
        flow.log_prob(torch.zeros(rows, 6))
    copies = memory.peak / (rows * row_blocks.row_width(flow) * 4)
    assert 1 <= copies <= 3 * row_blocks.COPIES, f"{name}: {copies:.1f} times the widest result of a row"

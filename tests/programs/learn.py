"""What tests/test_processes.py lets torchrun start several times: learns a flow and writes what happened.

    learn.py FOLDER OPTIONS

Each process appends to FOLDER/rows.<rank> the rows of each batch, to FOLDER/pids its number, and the first one writes
FOLDER/result.json. OPTIONS is JSON for `fit`, with "dtype", "model" and "rows" for this program.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

import pushforward as pf
from pushforward.train import Checkpointed, Stepped, Stop, sharding
from pushforward.train.batches import Batches

RANK = int(os.environ.get("RANK", "0"))
folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
dtype, name, count = (
    getattr(torch, options.pop("dtype", "float32")),
    options.pop("model", "nsf"),
    options.pop("rows", 600),
)
interrupt = options.pop("interrupt", 0)
pause, stop = options.pop("pause", 0.0), options.pop("stop_at_checkpoint", False)

torch.set_num_threads(1)
x = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
x[:, 1] += x[:, 0] ** 2
if options.pop("other_rows", False):
    x = x + RANK

torch.manual_seed(RANK)  # the first process's weights count
flow = getattr(pf.flows, name)(2, depth=2, hidden=(16, 16)).to(dtype)
sharding.LARGE = options.pop("large", sharding.LARGE)

with (folder / "pids").open("a") as file:
    print(RANK, os.getpid(), file=file)
rows_file = (folder / f"rows.{RANK}").open("a")
next_batch = Batches.next


def noted(batches: Batches):
    """The batch, after a line (epoch, first row, numbers of all its rows) is in the file."""
    batch = next_batch(batches)
    numbers = batches._order[batches.row - batches.size : batches.row].tolist()
    print(json.dumps([batches.epoch, batches.row - batches.size, numbers]), file=rows_file, flush=True)
    time.sleep(pause)
    return batch


Batches.next = noted
losses: dict[int, float] = {}


def hear(event):
    if isinstance(event, Stepped):
        losses[event.step] = event.loss
        if event.step == interrupt and RANK == 0:
            os.kill(os.getpid(), signal.SIGINT)
    return Stop("a checkpoint was written") if stop and isinstance(event, Checkpointed) else None


try:
    history = pf.fit(flow, x, callbacks=hear, progress=False, **options)
except KeyboardInterrupt:
    history = pf.train.History(stopped="interrupted")
weights = hashlib.sha256(b"".join(t.numpy().tobytes() for t in flow.state_dict().values())).hexdigest()
(folder / f"weights.{RANK}").write_text(weights)
if RANK == 0:
    result = {
        "losses": losses, "weights": weights, "stopped": history.stopped,
        "steps": history.records[-1].step if history.records else 0,
        "sum": sum(float(t.double().abs().sum()) for t in flow.state_dict().values()),
        "validation": [record.validation for record in history.records],
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))

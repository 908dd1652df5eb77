"""Model files from hostile hands: each is loaded as it was, or refused in one sentence, in bounded time and memory.

    .venv/bin/python benchmarks/mutated_models.py --files 100000

Small models lose, double, swap and overwrite bytes; their headers get other numbers, lists, names, depths, shapes and
offsets, with hashes computed anew, as somebody who means harm would. What counts as a fault: any error but a
`ValueError` of one line, a model that differs from the one that was saved although the file was changed by bytes alone,
a file that takes a second or more of processor time, or a gibibyte or more of memory, and an exit code other than 0.
"""

from __future__ import annotations

import json
import random
import resource
import struct
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutations import run
from results import machine

import pushforward as pf
from pushforward.core.bijection import Bijection
from pushforward.core.distribution import Distribution
from pushforward.estimators import FlowDensity
from pushforward.io.header import sealed

MOST_SECONDS, MOST_BYTES = 1.0, 2**30
ODD: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 7, 10**3, 10**6, 10**9, 10**18, 10**40, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), True,
    None, "",
    "x" * 1000, [], {}, [[]], "Chain", {"type": "Chain", "parts": []}, {"type": "os.system"}, "\ud800", [1] * 5000,
    [0.0] * 3,
)  # fmt: skip


def models(folder: Path) -> list[bytes]:
    """Files of a few kinds."""
    torch.manual_seed(0)
    flows = {
        "maf": pf.flows.maf(2, depth=1, hidden=(4,)),
        "nsf": pf.flows.nsf(2, depth=1, hidden=(4,), bins=3, context=1),
        "coupling": pf.flows.real_nvp(3, depth=2, hidden=(4,)),
        "planar": pf.flows.planar(2, depth=2),
        "glow": pf.flows.glow((1, 4, 4), levels=1, depth=1, hidden=(4,), values=4),
        "pixels": pf.flows.pixels((1, 3, 3), levels=4, hidden=(4, 4), recurrent=4),
    }
    for name, flow in flows.items():
        pf.save(flow, folder / f"{name}.safetensors", metadata={"columns": ["a", "b"][: flow.event_shape[0]]})
    table = np.random.default_rng(0).normal(size=(60, 2))
    FlowDensity(steps=2, random_state=0, options={"hidden": (8,)}).fit(table).save(folder / "mixed.safetensors")
    return [path.read_bytes() for path in sorted(folder.glob("*.safetensors"))]


def damaged(data: bytes, dice: random.Random) -> bytes:
    """One to four random changes of bytes."""
    content = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(max(1, len(content)))
        kind = dice.randrange(6)
        if kind == 0 and content:
            content[place] = dice.randrange(256)
        elif kind == 1:
            content[place : place + dice.randint(1, 64)] = b""
        elif kind == 2:
            content[place:place] = dice.randbytes(dice.randint(1, 16))
        elif kind == 3:
            other = dice.randrange(max(1, len(content)))
            content[place : place + 8] = content[other : other + 8]
        elif kind == 4:
            content[:8] = struct.pack(
                "<Q", dice.choice([0, 1, 2**20, 2**31, 2**40, 2**63, len(content), len(content) * 2])
            )
        else:
            content = content[:place]
    return bytes(content)


def forged(data: bytes, dice: random.Random) -> bytes:
    """Another header, with hashes that fit it."""
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    document = json.loads(header.pop("__metadata__")["pushforward"])
    for _ in range(dice.randint(1, 3)):
        target = document if dice.random() < 0.7 or not header else header
        change(target, dice)
    fields = {name: value for name, value in document.items() if name not in ("format", "format_version", "sha256")}
    try:
        whole = {"__metadata__": sealed(fields), **header}
        text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError, UnicodeError):
        return data
    return struct.pack("<Q", len(text)) + text + body


def change(value: Any, dice: random.Random) -> None:
    """Replace, remove, rename, repeat or nest one entry somewhere in it."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = dice.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and dice.random() < 0.85:
            value = value[key]
            continue
        break
    kind = dice.randrange(6)
    if kind <= 2:
        value[key] = dice.choice(ODD)
    elif kind == 3:
        del value[key]
    elif kind == 4 and isinstance(value, dict):
        value[dice.choice(("features", "type", "x", "hidden", "shape", "data_offsets"))] = value.pop(key)
    elif kind == 4:
        value += [value[key]] * dice.choice((1, 100, 5_000))
    else:
        nested: Any = value[key]
        for _ in range(dice.choice((1, 5, 200, 900))):
            nested = [nested] if dice.random() < 0.5 else {"type": "Inverse", "bijection": nested}
        value[key] = nested


def outcome(path: Path, original: bytes, content: bytes) -> str:
    """What became of one file."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings(action="ignore"):
            model = pf.load(path)
        result = "read"
        if not isinstance(model, Distribution | Bijection):
            result = f"FAULT: loaded a {type(model).__name__}"
    except ValueError as error:
        lines = str(error).strip().encode().decode().splitlines()
        result = "refused" if len(lines) == 1 else f"FAULT: {len(lines)} lines: {error!r:.200}"
    except BaseException as error:
        result = f"FAULT: {type(error).__name__}: {error!r:.300}"
    seconds = time.process_time() - began  # other programs may have the cores
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if seconds >= MOST_SECONDS:
        result = f"FAULT: {seconds:.1f} s, then {result:.200}"
    if grown >= MOST_BYTES:
        result = f"FAULT: {grown / 2**30:.1f} GiB, then {result:.200}"
    return result.replace("\n", " ")


def work(seed: int, files: int) -> None:
    """Load so many files."""
    torch.set_num_threads(1)
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        originals = models(Path(place))
        path = Path(place, "damaged.safetensors")
        # What is not refused must not take the machine down: allocations beyond this fail.
        pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (pages + 8 * MOST_BYTES, resource.RLIM_INFINITY))
        for original in originals:  # the first ones load what is loaded late
            path.write_bytes(original)
            pf.load(path)
        for k in range(files):
            original = dice.choice(originals)
            by_bytes = dice.random() < 0.5
            content = damaged(original, dice) if by_bytes else forged(original, dice)
            path.write_bytes(content)
            result = outcome(path, original, content)
            if result == "read" and by_bytes and content != original:
                result = "FAULT: loaded although its bytes were changed"
            print(f"{result} (seed {seed}, file {k})" if result.startswith("FAULT") else result, flush=True)


def text(files: int, outcomes: Counter[str]) -> str:
    counts = (f"{outcomes[name]:,}" for name in ("read", "refused", "fault", "aborted process"))
    return "\n".join([
        "## Model files from hostile hands",
        "",
        f"    .venv/bin/python benchmarks/mutated_models.py --files {files}",
        "",
        f"{machine()}. Half of the files have other bytes, half other headers with hashes that fit.",
        "",
        "| loaded | refused in one sentence | faults | aborted processes |",
        "|---:|---:|---:|---:|",
        f"| {' | '.join(counts)} |",
    ])  # fmt: skip


if __name__ == "__main__":
    run(__doc__, __file__, work, "mutated models", text, files=100_000, each=2_000)

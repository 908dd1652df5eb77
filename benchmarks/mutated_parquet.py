"""Parquet files with random damage: each is read or refused in one sentence, in bounded time and memory.

    .venv/bin/python benchmarks/mutated_parquet.py --files 10000

Small Parquet files of several encodings and compressions lose, double, swap and overwrite bytes, half of the time in
the footer that describes them. Each is read as a table with a schema, and as rows of a large file. What counts as a
fault: any error but a `TableError` of one line, a second or more, a gibibyte or more, and an exit code of a process
other than 0.
"""

from __future__ import annotations

import datetime as dt
import io
import random
import resource
import struct
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mutations import run
from results import machine

from pushforward.data import Schema, TableError, read_arrow
from pushforward.data.parquet import ParquetRows

MOST_SECONDS, MOST_BYTES = 1.0, 2**30


def originals() -> list[bytes]:
    """Files of several encodings."""
    dice = np.random.default_rng(0)
    table = pa.table({
        "x": dice.normal(size=300),
        "n": dice.integers(0, 50, 300),
        "g": dice.choice(["north", "south", "east"], 300),
        "when": [dt.datetime(2024, 1, 1) + dt.timedelta(hours=int(h)) for h in dice.integers(0, 9000, 300)],
        "gap": pa.array([None if k % 7 else k / 3 for k in range(300)]),
    })  # fmt: skip
    files = []
    for options in (
        {}, {"compression": "none"}, {"compression": "zstd"}, {"compression": "gzip", "use_dictionary": False},
        {"data_page_version": "2.0"}, {"row_group_size": 50},
        {"column_encoding": "DELTA_BINARY_PACKED", "use_dictionary": False},
    ):  # fmt: skip
        sink = io.BytesIO()
        part = table.select(["n"]) if "column_encoding" in options else table
        pq.write_table(part, sink, **options)
        files.append(sink.getvalue())
    return files


def damaged(data: bytes, dice: random.Random) -> bytes:
    """One to four random changes, in the whole file or in its footer."""
    content = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        footer = struct.unpack("<I", data[-8:-4])[0]
        first = max(0, len(content) - 8 - footer) if dice.random() < 0.5 else 0
        place = dice.randrange(first, max(first + 1, len(content)))
        kind = dice.randrange(5)
        if kind == 0 and place < len(content):
            content[place] = dice.randrange(256)
        elif kind == 1:
            content[place : place + dice.randint(1, 32)] = b""
        elif kind == 2:
            content[place:place] = dice.randbytes(dice.randint(1, 8))
        elif kind == 3:
            content[place : place + 8] = dice.choice([b"\xff" * 8, b"\x7f" + b"\xff" * 7, bytes(8), b"\x80" * 8])
        else:
            other = dice.randrange(max(1, len(content)))
            content[place : place + 16] = content[other : other + 16]
    return bytes(content)


def read(path: Path) -> None:
    table = read_arrow(path)
    schema = Schema.infer(table)
    schema.decode(schema.encode(table))
    ParquetRows(path).window(0, 40, 0)


def work(seed: int, files: int) -> None:
    """Read so many damaged files, and print what came of each."""
    warnings.simplefilter("ignore")
    dice, sources = random.Random(seed), originals()
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + 8 * MOST_BYTES, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.parquet")
        for k in range(files):
            path.write_bytes(damaged(dice.choice(sources), dice))
            began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                read(path)
                outcome = "read"
            except TableError as error:
                outcome = "refused" if "\n" not in str(error) else f"FAULT {seed} {k}: several lines: {error}"
            except Exception as error:
                outcome = f"FAULT {seed} {k}: {type(error).__name__}: {str(error)[:200]}"
            if (seconds := time.monotonic() - began) > MOST_SECONDS:
                outcome = f"FAULT {seed} {k}: {seconds:.1f} s, then {outcome}"
            if (grown := 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)) > MOST_BYTES:
                outcome = f"FAULT {seed} {k}: {grown / 2**30:.1f} GiB, then {outcome}"
            print(outcome.replace("\n", " "), flush=True)


def text(files: int, outcomes: Counter[str]) -> str:
    return f"""## Damaged Parquet files

    .venv/bin/python benchmarks/mutated_parquet.py --files {files}

On {machine()}: {outcomes["read"]:,} files read, {outcomes["refused"]:,} refused in one sentence,
{outcomes["fault"]:,} with another error, a second or more, or a gibibyte or more, {outcomes["aborted process"]} aborted
processes.
"""


if __name__ == "__main__":
    run(__doc__, __file__, work, "mutated parquet", text, files=10_000, each=500)

"""Tables with random damage: each is read or refused in one sentence, and no process aborts or hangs.

    .venv/bin/python benchmarks/mutated_tables.py --files 10000

The files of ``tests/messy`` and some longer ones lose, double, swap and overwrite bytes, lines, separators and quotes.
Each is opened, read, given a schema and encoded in processes of 500 files. What counts as a fault: any error but a
`TableError` of one line, an exit code of a process other than 0, and a file that takes more than ten seconds.
"""

from __future__ import annotations

import random
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mutations import SECONDS, run
from results import machine

MESSY = Path(__file__).resolve().parent.parent / "tests" / "messy"
PIECES = (
    b",",
    b";",
    b"\t",
    b"|",
    b'"',
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"NA",
    b"1e999",
    b"-",
    b"1.5",
    "é".encode(),
    b"''",
)


def sources() -> list[tuple[str, bytes]]:
    """(suffix, content) of the files to damage."""
    originals = [(path.name[path.name.index(".") :], path.read_bytes()) for path in sorted(MESSY.iterdir())]
    originals = [(suffix, data) for suffix, data in originals if suffix != ".json" and data]
    rows = "".join(f"{k},{k / 7:.3f},{'ab'[k % 2]},2020-01-{1 + k % 28:02d},{k % 5 or ''}\n" for k in range(400))
    return [*originals, (".csv", ("id,x,g,when,n\n" + rows).encode())]


def damage(data: bytes, dice: random.Random) -> bytes:
    """One to five random changes."""
    for _ in range(dice.randint(1, 5)):
        data = change(data, dice)
    return data


def change(data: bytes, dice: random.Random) -> bytes:
    """One random change of bytes, lines or separators."""

    def place(size: int) -> int:
        return dice.randrange(max(1, size))

    def of_lines(edit: Callable[[list[bytes]], object]) -> bytes:
        rows = data.splitlines(keepends=True)
        if rows:
            edit(rows)
        return b"".join(rows)

    i, j = sorted((place(len(data)), place(len(data))))
    piece = dice.choice(PIECES)
    changes: list[Callable[[], bytes]] = [
        lambda: data[:i] + piece + data[i:],
        lambda: data[:i] + piece + data[i + len(piece) :],
        lambda: data[:i] + data[min(j, i + 40) :],
        lambda: data[:j],
        lambda: data[:i] + bytes([dice.randrange(256)]) + data[i + 1 :],
        lambda: data.replace(dice.choice(PIECES), piece, dice.randint(1, 3)),
        lambda: of_lines(dice.shuffle),
        lambda: of_lines(lambda rows: rows.pop(place(len(rows)))),
        lambda: of_lines(lambda rows: rows.insert(place(len(rows)), rows[place(len(rows))])),
    ]
    return dice.choice(changes)()


def work(seed: int, files: int) -> None:
    """Read damaged files in this process, and print what came of each."""
    from pushforward.data import TableError, read_arrow
    from pushforward.data.schema import Schema

    warnings.simplefilter("ignore")
    dice, originals = random.Random(seed), sources()
    with tempfile.TemporaryDirectory() as folder:
        for k in range(files):
            suffix, data = dice.choice(originals)
            path = Path(folder, f"t{suffix}")
            path.write_bytes(damage(data, dice))
            start = time.monotonic()
            try:
                table = read_arrow(path)
                schema = Schema.infer(table)
                schema.decode(schema.encode(table))
                outcome = "read"
            except TableError as error:
                outcome = "refused" if "\n" not in str(error) else f"FAULT {seed} {k}: several lines: {error}"
            except Exception as error:
                outcome = f"FAULT {seed} {k}: {type(error).__name__}: {str(error)[:200]}"
            if time.monotonic() - start > SECONDS:
                outcome = f"FAULT {seed} {k}: took {time.monotonic() - start:.0f} s"
            print(outcome.replace("\n", " "), flush=True)


def text(files: int, outcomes: Counter[str]) -> str:
    return f"""## Damaged tables

    .venv/bin/python benchmarks/mutated_tables.py --files {files}

On {machine()}: {outcomes["read"]:,} files read, {outcomes["refused"]:,} refused in one sentence,
{outcomes["fault"]:,} with another error or more than {SECONDS:.0f} seconds, {outcomes["aborted process"]} aborted
processes.
"""


if __name__ == "__main__":
    run(__doc__, __file__, work, "mutated", text, files=10_000, each=500)

"""The loop around files with random damage: processes that read some each, their outcomes counted, and the result."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

from results import update_section

SECONDS = 10.0
"""A file that takes longer is a fault."""


def run(
    doc: str | None,
    script: str,
    work: Callable[[int, int], None],
    section: str,
    text: Callable[[int, Counter[str]], str],
    *,
    files: int,
    each: int,
) -> None:
    """Parse the options of a script, read ``files`` damaged files in processes of ``each``, and write what came of it.

    Args:
        doc: the docstring of the script.
        script: its path, which is run again with ``--worker`` for each process.
        work: given a seed and a number of files, prints a line for each: ``"read"``, ``"refused"`` or one that starts
            with ``"FAULT"``.
        section: the part of RESULTS.md.
        text: its content, for a number of files and the outcomes: read, refused, fault and aborted process.
        files: how many by default.
        each: how many in a process.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=files)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--no-results", action="store_true", help="do not write RESULTS.md")
    options = parser.parse_args()
    if options.worker is not None:
        work(options.worker, options.files)
        return
    outcomes: Counter[str] = Counter()
    for k in range(-(-options.files // each)):
        count = min(each, options.files - k * each)
        command = [sys.executable, script, "--worker", str(options.seed + k), "--files", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=count * SECONDS)
        lines = done.stdout.splitlines()
        outcomes.update(line if line in ("read", "refused") else "fault" for line in lines)
        for line in lines:
            if line.startswith("FAULT"):
                print(line)
        if done.returncode or len(lines) < count:
            outcomes["aborted process"] += 1
            print(f"process {options.seed + k}: code {done.returncode}, {len(lines)} files: {done.stderr[-300:]}")
    print(dict(outcomes))
    if not options.no_results:
        update_section(section, text(options.files, outcomes))
    sys.exit(bool(outcomes["fault"] or outcomes["aborted process"]))

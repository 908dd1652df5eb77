"""The command line. This file and the help load neither torch nor anything else that takes long."""

import os
import sys

from pushforward.core.rank import is_first_process
from pushforward.core.waiting_threads import let_waiting_threads_sleep

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments ask for, and leave the process with its exit code."""
    let_waiting_threads_sleep()
    if not is_first_process():  # torchrun has started several, of which one speaks; all may have errors
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    try:
        from pushforward.cli.app import app

        app(prog_name="pushforward")
    except KeyboardInterrupt:  # before the command began; `common.command` answers it from there on
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)

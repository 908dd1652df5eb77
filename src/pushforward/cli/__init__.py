"""The command line. This file and the help load neither torch nor anything else that takes long."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments ask for, and leave the process with its exit code."""
    # Torch's threads wait for each other by spinning. Where another program takes one of their cores, they mostly spin:
    # a step of training then takes ten to thirty times as long. OpenMP reads this once, when torch loads.
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        from pushforward.cli.app import app

        app(prog_name="pushforward")
    except KeyboardInterrupt:  # before the command began; `common.command` answers it from there on
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)

"""The command line. This file and the help load neither torch nor anything else that takes long."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments ask for, and leave the process with its exit code."""
    try:
        from pushforward.cli.app import app

        try:
            app(prog_name="pushforward")
        finally:
            sys.stdout.flush()  # here, where a closed pipe can still be handled
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has gone (`| head`). Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)

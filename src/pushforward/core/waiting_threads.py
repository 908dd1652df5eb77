"""How threads of torch wait for each other. This file loads nothing, for it counts before torch is loaded only."""

import os
import sys

__all__ = ["let_waiting_threads_sleep"]

SETTINGS = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
"""Variables of the environment by which users decide themselves."""


def let_waiting_threads_sleep() -> None:
    """Let threads of OpenMP sleep while they wait, unless the environment says otherwise or torch is loaded already.

    By default they spin. Where another program takes one of their cores, they mostly spin: a step of training then
    takes ten to thirty times as long. OpenMP reads the environment once, when torch loads.
    """
    if "torch" not in sys.modules and not SETTINGS & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

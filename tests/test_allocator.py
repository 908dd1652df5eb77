"""The memory of a training step serves the next one."""

import ctypes
import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from pushforward.core.allocator import keep_memory_of_steps

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(6):
        step = [torch.zeros(40 << 20, dtype=torch.uint8) for _ in range(3)]
        del step
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

without = faults()
keep_memory_of_steps()
faults()
print(without, faults())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="malloc of glibc"
)
def test_large_blocks_are_kept_from_step_to_step():
    printed = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    without, kept = map(int, printed.split())
    assert kept < without / 10 or without < 20, printed  # huge pages make few faults without it as well

"""One thread, one seed per test, and a check that torch's global state is kept."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded; child processes inherit it
if not os.path.exists("/dev/nvidiactl"):
    os.environ.setdefault("TRITON_INTERPRET", "1")  # without a GPU of NVIDIA its kernels run in Triton's interpreter

import random
import tempfile
import zlib
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest
import torch

torch.set_num_threads(1)
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()  # what commands remember about the files that they wrote

hypothesis.settings.register_profile("pushforward", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("pushforward")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="run products of options too, as `make test-all` does")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--exhaustive"):
        return
    kept = [item for item in items if item.get_closest_marker("exhaustive") is None]
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("exhaustive") is not None])
    items[:] = kept


@pytest.fixture(autouse=True, scope="session")
def coarse_pictures() -> Iterator[None]:
    """Pictures of reports have few pixels: drawing them takes most of the time of a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pushforward.evaluate.style.DPI", 40)
        yield


def stable_seed(name: str) -> int:
    """The same number for the same name in every process (Python's own hash is salted)."""
    return zlib.crc32(name.encode())


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Each test starts from a seed made of its own name: alone, in any order and on any worker alike."""
    seed = stable_seed(request.node.nodeid)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def torch_state() -> dict[str, object]:
    return {
        "default dtype": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "gradients enabled": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
    }


def restore_torch_state(state: dict[str, object]) -> None:
    torch.set_default_dtype(state["default dtype"])
    torch.set_num_threads(state["number of threads"])
    torch.set_grad_enabled(state["gradients enabled"])
    torch.use_deterministic_algorithms(state["deterministic algorithms"])
    torch.set_float32_matmul_precision(state["float32 matmul precision"])


@pytest.fixture(autouse=True)
def torch_left_alone(seeded: None) -> Iterator[None]:
    """Nothing may change torch's global state for whoever comes next; what leaks is named and put back."""
    before = torch_state()
    yield
    after = torch_state()
    if after != before:
        restore_torch_state(before)
        leaked = ", ".join(f"{k}: {before[k]} -> {after[k]}" for k in before if after[k] != before[k])
        pytest.fail(f"the test left torch's global state changed ({leaked})")

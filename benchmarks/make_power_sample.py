"""Rebuild the household power sample that travels with the library, from the full data set.

Run ``PUSHFORWARD_DATA=<folder> python benchmarks/make_power_sample.py`` to write the two files anew, and with
``--check`` to compare the files of the checkout with what would be written. The folder holds ``power/``, whose
``make_power.py`` makes the split that published tables use.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pushforward.core.files import atomic_path
from pushforward.data.samples import POWER_COLUMNS, POWER_TEST, POWER_TRAIN

ROWS = {POWER_TRAIN: 60_000, POWER_TEST: 10_000}


def published_split(maker: ModuleType) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The published training and test rows in physical units.

    ``splits()`` returns them standardised, as float32. The same recipe is followed here up to that step, and the
    result is compared with what ``splits()`` gives.
    """
    random = np.random.RandomState(42)
    data = maker.raw()
    random.shuffle(data)
    data = np.delete(data, (1, 3), axis=1)  # reactive power and intensity
    rows = len(data)
    voltage, power, metering = random.rand(rows, 1), random.rand(rows, 1), random.rand(rows, 3)
    data += np.hstack([0.001 * power, 0.01 * voltage, metering, np.zeros((rows, 1))])
    tenth = int(0.1 * rows)
    rest, test = data[:-tenth], data[-tenth:]
    train = rest[: -int(0.1 * len(rest))]
    center, scale = rest.mean(axis=0), rest.std(axis=0)
    published = maker.splits()
    for ours, theirs in ((train, published[0]), (test, published[2])):
        if not np.allclose((ours - center) / scale, theirs, rtol=0.0, atol=1e-5):  # theirs is float32
            raise SystemExit("make_power.py makes another split than this script expects; nothing was written.")
    return train, test


def sample(rows: NDArray[np.float64], count: int) -> pa.Table:
    """The first ``count`` rows, which are in random order already, as float32."""
    columns = [pa.array(rows[:count, i].astype(np.float32)) for i in range(rows.shape[1])]
    return pa.table(columns, names=list(POWER_COLUMNS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; compare values and exit 1 if they differ")
    check = parser.parse_args().check
    folder = os.environ.get("PUSHFORWARD_DATA")
    if not folder:
        raise SystemExit("Set PUSHFORWARD_DATA to the folder that holds power/make_power.py.")
    path = Path(folder, "power", "make_power.py")
    spec = importlib.util.spec_from_file_location("make_power", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"{path} does not exist: set PUSHFORWARD_DATA to the folder that holds power/make_power.py.")
    maker = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True  # the data folder is not ours to write into
    spec.loader.exec_module(maker)
    same = True
    for target, rows in zip((POWER_TRAIN, POWER_TEST), published_split(maker), strict=True):
        table = sample(rows, ROWS[target])
        if check:
            same = same and pq.read_table(target).equals(table)
            continue
        with atomic_path(target) as temporary:
            # Splitting floats into their bytes before compressing makes the files a third smaller.
            pq.write_table(
                table,
                temporary,
                compression="zstd",
                compression_level=19,
                use_dictionary=False,
                use_byte_stream_split=True,
            )
        print(f"{target.name}: {len(table)} rows, {target.stat().st_size / 1e6:.2f} MB")
    if check:
        print("the sample files hold what this script makes" if same else "the sample files hold something else")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

"""Samples of ForestDiffusion for `draws.py`, in an environment of its own, which the library does not depend on.

    python -m venv forest && forest/bin/pip install -c constraints.txt ForestDiffusion==1.0.6
    forest/bin/python benchmarks/forest_worker.py FOLDER [SET ...]

FOLDER holds the training rows that `draws.py --peer FOLDER` wrote, SET.train.npy; the samples become SET.drawn.npy,
(repetitions, rows, columns), with the number of rows from SET.train.rows.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from ForestDiffusion import ForestDiffusionModel

REPETITIONS = 5


def main() -> None:
    folder = Path(sys.argv[1])
    names = sys.argv[2:] or sorted(path.name.removesuffix(".train.npy") for path in folder.glob("*.train.npy"))
    for name in names:
        train, rows = np.load(folder / f"{name}.train.npy"), int((folder / f"{name}.train.rows").read_text())
        start = time.monotonic()
        model = ForestDiffusionModel(train, n_t=25, duplicate_K=20, diffusion_type="flow", n_jobs=1, seed=0)
        seconds = time.monotonic() - start
        np.random.seed(1)  # which is where it draws from
        drawn = np.stack([model.generate(batch_size=rows) for _ in range(REPETITIONS)])
        np.save(folder / f"{name}.drawn.npy", drawn)
        (folder / f"{name}.seconds").write_text(f"{seconds:.0f}")
        print(f"{name}: {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()

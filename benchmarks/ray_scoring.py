"""Ten million rows scored by a Ray cluster of two nodes, one of which is killed in the middle; and what Ray costs.

    pip install 'ray[data]' && .venv/bin/python benchmarks/ray_scoring.py killed [--rows 10000000 --files 40]
    .venv/bin/python benchmarks/ray_scoring.py overhead

The two nodes are processes of this machine (`ray.cluster_utils`), with a CPU each. Rows are numbered; afterwards each
must be there once, with the log-density that scoring in a loop gives, bit for bit. The overhead is the time of Ray with
two workers against that of two local processes, in turn, both without a kill, on ten files.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from results import machine, update_section

from pushforward.batch import BatchModel, ShardPlan, run_shards
from pushforward.estimators import FlowDensity

ROUNDS = 3


def rows_of(seed: int, first: int, rows: int) -> pa.Table:
    random = np.random.default_rng(seed)
    a = random.normal(size=rows)
    return pa.table({
        "id": np.arange(first, first + rows), "a": a, "b": a**2 + random.normal(size=rows),
        "c": random.normal(size=rows),
    })  # fmt: skip


class Job:
    """Files of rows, a model, and the time that it takes to score them.

    Args:
        place: folder for all of it.
        rows: of all files.
        files: how many.
    """

    def __init__(self, place: Path, rows: int, files: int) -> None:
        self.place, self.source, self.each = place, place / "in", rows // files
        self.source.mkdir()
        for k in range(files):
            pq.write_table(rows_of(k, k * self.each, self.each), self.source / f"part-{k:03d}.parquet")
        train = rows_of(10**6, 0, 20_000).to_pandas()[["a", "b", "c"]]
        FlowDensity(model="nsf", steps=200, random_state=0).fit(train).save(place / "m.safetensors")
        self.model = BatchModel.of(place / "m.safetensors")

    def timed(self, name: str, files: str, engine: str, workers: int) -> tuple[float, float]:
        """Seconds, and the most memory of all processes of Python and Ray on this machine, in GB."""
        plan = ShardPlan.make(files, str(self.place / name), self.model.content)
        highest, ends = [0.0], threading.Event()

        def watch() -> None:
            while not ends.wait(0.5):
                used = 0
                for process in psutil.process_iter(["name", "memory_info"]):
                    if "ray" in (process.info["name"] or "") or "python" in (process.info["name"] or ""):
                        used += process.info["memory_info"].rss
                highest[0] = max(highest[0], used / 2**30)

        watching = threading.Thread(target=watch)
        watching.start()
        began = time.monotonic()
        report = run_shards(plan, self.model, engine=engine, workers=workers, keep=["id"])
        seconds = time.monotonic() - began
        ends.set()
        watching.join()
        if report.errors:
            raise SystemExit(report.errors[0])
        return seconds, highest[0]

    def scored(self, name: str) -> pd.DataFrame:
        """What a run wrote, in the order of the rows."""
        paths = sorted((self.place / name).glob("*.parquet"))
        return pa.concat_tables([pq.read_table(path) for path in paths]).to_pandas().sort_values("id")


@contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """A cluster of two nodes of one CPU each, and the second of them."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 200 * 2**20})
    second = cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def killed(job: Job, files: int) -> list[str]:
    loop, _ = job.timed("loop", str(job.source), "local", 1)
    with two_nodes() as (cluster, second):
        job.timed("warm", str(job.source / "part-000.parquet"), "ray", 2)
        killer = threading.Timer(max(5.0, 0.25 * loop), cluster.remove_node, (second,), {"allow_graceful": False})
        killer.start()
        seconds, memory = job.timed("killed", str(job.source), "ray", 2)
        killer.join()
    expected, got = job.scored("loop"), job.scored("killed")
    once = got["id"].tolist() == list(range(files * job.each))
    equal = once and bool((expected["log_density"].to_numpy() == got["log_density"].to_numpy()).all())
    return [
        f"| rows, in files | {files * job.each:,}, {files} |",
        f"| local loop | {loop:.0f} s |",
        f"| Ray, two nodes, one killed on the way | {seconds:.0f} s |",
        f"| every row once | **{'yes' if once else 'no'}** |",
        f"| log-densities equal to those of the loop, bit for bit | **{'yes' if equal else 'no'}** |",
        f"| most memory of all processes | {memory:.1f} GB |",
    ]


def overhead(job: Job, files: int) -> list[str]:
    few = str(job.source / "part-00*.parquet")  # ten files
    local, by_ray = [], []
    with two_nodes():
        job.timed("warm", str(job.source / "part-000.parquet"), "ray", 2)
        for k in range(ROUNDS):
            local.append(job.timed(f"local{k}", few, "local", 2)[0])
            by_ray.append(job.timed(f"ray{k}", few, "ray", 2)[0])
    ratio = float(np.median(np.array(by_ray) / np.array(local)))
    return [
        f"| rows | {min(10, files) * job.each:,} |",
        f"| two local processes, medians of {ROUNDS} | {np.median(local):.1f} s |",
        f"| Ray with two workers | {np.median(by_ray):.1f} s |",
        f"| overhead, median of ratios | **{ratio - 1:+.1%}** |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("killed", "overhead"))
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--no-results", action="store_true")
    arguments = parser.parse_args()
    import ray

    with tempfile.TemporaryDirectory(prefix="ray-scoring-") as place:
        job = Job(Path(place), arguments.rows, arguments.files)
        lines = {"killed": killed, "overhead": overhead}[arguments.what](job, arguments.files)
    title = {"killed": "Scoring by a cluster, one node of which dies", "overhead": "What Ray costs"}[arguments.what]
    text = [
        f"## {title}",
        "",
        f"    .venv/bin/python benchmarks/ray_scoring.py {arguments.what} --rows {arguments.rows} "
        f"--files {arguments.files}",
        "",
        f"{machine()}, Ray {ray.__version__}; both nodes are of this machine.",
        "",
        "| | |",
        "|---|---:|",
        *lines,
    ]
    print("\n".join(text))
    if not arguments.no_results:
        update_section(f"ray scoring {arguments.what}", "\n".join(text))


if __name__ == "__main__":
    main()

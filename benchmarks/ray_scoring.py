"""Ten million rows scored by a Ray cluster of two nodes, one of which is killed in the middle.

    pip install 'ray[data]' && .venv/bin/python benchmarks/ray_scoring.py [--rows 10000000 --files 40]

The two nodes are processes of this machine (`ray.cluster_utils`), with a CPU each. Rows are numbered; afterwards each
must be there once, with the log-density that scoring in a loop gives, bit for bit. The overhead is the time of Ray with
two workers against that of two local processes, both without a kill, on a part of the files.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from results import machine, update_section

from pushforward.batch import BatchModel, ShardPlan, run_shards
from pushforward.estimators import FlowDensity


def rows_of(seed: int, first: int, rows: int) -> pa.Table:
    random = np.random.default_rng(seed)
    a = random.normal(size=rows)
    return pa.table({
        "id": np.arange(first, first + rows), "a": a, "b": a**2 + random.normal(size=rows),
        "c": random.normal(size=rows),
    })  # fmt: skip


def scored(folder: Path) -> pd.DataFrame:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]).to_pandas()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--no-results", action="store_true")
    arguments = parser.parse_args()
    import ray
    from ray.cluster_utils import Cluster

    place = Path(tempfile.mkdtemp(prefix="ray-scoring-"))
    source, each = place / "in", arguments.rows // arguments.files
    source.mkdir()
    for k in range(arguments.files):
        pq.write_table(rows_of(k, k * each, each), source / f"part-{k:03d}.parquet")
    train = rows_of(10**6, 0, 20_000).to_pandas()[["a", "b", "c"]]
    FlowDensity(model="nsf", steps=200, random_state=0).fit(train).save(place / "m.safetensors")
    model = BatchModel.of(place / "m.safetensors")
    few = source / "part-00*.parquet"

    def timed(name: str, files: str, engine: str, workers: int) -> tuple[float, float]:
        """Seconds, and the most memory of all processes of this machine that belong to it, in GB."""
        plan = ShardPlan.make(files, str(place / name), model.content)
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
        report = run_shards(plan, model, engine=engine, workers=workers, keep=["id"])
        seconds = time.monotonic() - began
        ends.set()
        watching.join()
        if report.errors:
            raise SystemExit(report.errors[0])
        return seconds, highest[0]

    loop, _ = timed("loop", str(source), "local", 1)
    pair, _ = timed("pair", str(few), "local", 2)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 200 * 2**20})
    second = cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)
    ray.init(address=cluster.address, log_to_driver=False)
    timed("warm", str(source / "part-000.parquet"), "ray", 2)
    by_ray, _ = timed("ray", str(few), "ray", 2)

    def kill() -> None:
        time.sleep(max(5.0, 0.25 * loop))
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    killed, memory = timed("killed", str(source), "ray", 2)
    killer.join()
    ray.shutdown()
    cluster.shutdown()
    expected, got = scored(place / "loop").sort_values("id"), scored(place / "killed").sort_values("id")
    once = got["id"].tolist() == list(range(arguments.files * each))
    equal = once and bool((expected["log_density"].to_numpy() == got["log_density"].to_numpy()).all())
    shutil.rmtree(place)
    text = [
        "## Scoring by a cluster, one node of which dies",
        "",
        f"    .venv/bin/python benchmarks/ray_scoring.py --rows {arguments.rows} --files {arguments.files}",
        "",
        f"{machine()}, Ray {ray.__version__}; both nodes are of this machine.",
        "",
        "| | |",
        "|---|---:|",
        f"| rows, in files | {arguments.files * each:,}, {arguments.files} |",
        f"| local loop | {loop:.0f} s |",
        f"| Ray, two nodes, one killed on the way | {killed:.0f} s |",
        f"| every row once | **{'yes' if once else 'no'}** |",
        f"| log-densities equal to those of the loop, bit for bit | **{'yes' if equal else 'no'}** |",
        f"| most memory of all processes | {memory:.1f} GB |",
        f"| ten files by two local processes, by Ray with two workers | {pair:.1f}, {by_ray:.1f} s |",
        f"| overhead | **{by_ray / pair - 1:+.1%}** |",
    ]
    print("\n".join(text))
    if not arguments.no_results:
        update_section("ray scoring", "\n".join(text))


if __name__ == "__main__":
    main()

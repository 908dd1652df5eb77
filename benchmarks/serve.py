"""A served model under load: latencies at a steady rate, what happens at ten times too much, and at the end.

    .venv/bin/python benchmarks/serve.py [--rate 200 --seconds 60]

A mixed-type model of ten columns is served by `pushforward serve` in a process of its own. Requests of one row start at
fixed times, whether or not earlier ones are answered, over connections that are kept. Then as many clients as the
server bears requests ask as fast as they can, ten times over; then one asks until it is answered; then SIGTERM comes
while clients ask.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from results import machine, update_section

from pushforward.estimators import FlowDensity

TOKEN = "benchmark-token"
COLUMNS = 10


def table(rows: int) -> pd.DataFrame:
    """Seven numbers that depend on each other, and three columns of categories."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(rows, 7)) @ random.normal(size=(7, 7))
    frame = pd.DataFrame(numbers, columns=[f"x{k}" for k in range(7)])
    for k in range(3):
        frame[f"c{k}"] = random.choice(list("abcd"), rows)
    return frame


def resident(process: psutil.Process) -> int:
    """Bytes in memory of a process and those that it has started."""
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


class Client:
    """One kept connection; sends a request and reads the whole answer."""

    def __init__(self, port: int) -> None:
        self.port, self.reader, self.writer = port, None, None

    async def ask(self, body: bytes) -> int:
        """The status of the answer; -1 where the connection could not be made, 0 where it broke after the request."""
        if self.writer is None or self.reader.at_eof():  # the server closes connections that rest for long
            try:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return -1
        reader: Any = self.reader
        try:
            self.writer.write(
                f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            self.writer = None
            return 0
        if b"connection: close" in head.lower():
            self.writer.close()
            self.writer = None
        return int(head.split(b" ", 2)[1])


async def steady(port: int, bodies: list[bytes], rate: float, seconds: float) -> tuple[list[float], Counter[int]]:
    """Latencies in milliseconds, from the time at which each request was due, and statuses."""
    free, latencies, statuses = [Client(port) for _ in range(64)], [], Counter()

    async def one(due: float, body: bytes) -> None:
        client = free.pop() if free else Client(port)
        status = await client.ask(body)
        statuses[status] += 1
        latencies.append(1000 * (time.perf_counter() - due))
        free.append(client)

    began, tasks = time.perf_counter() + 0.2, []
    for k in range(int(rate * seconds)):
        due = began + k / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due, bodies[k % len(bodies)])))
    await asyncio.gather(*tasks)
    return latencies, statuses


async def flood(port: int, bodies: list[bytes], rate: float, seconds: float, memory: psutil.Process) -> dict[str, Any]:
    """So many requests a second as new tasks, and how long it takes afterwards until one is answered in 50 ms."""
    statuses: Counter[int] = Counter()
    free: list[Client] = []
    highest = resident(memory)

    async def one(body: bytes) -> None:
        client = free.pop() if free else Client(port)
        status = await client.ask(body)
        statuses[status] += 1
        free.append(client)

    began, tasks, k = time.perf_counter(), set(), 0
    while time.perf_counter() < began + seconds:
        while k < rate * (time.perf_counter() - began) and len(tasks) < 1_900:
            task = asyncio.create_task(one(bodies[k % len(bodies)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            k += 1
        highest = max(highest, resident(memory))
        await asyncio.sleep(0.002)
    ended, client = time.perf_counter(), Client(port)
    while True:
        asked = time.perf_counter()
        if await client.ask(bodies[0]) == 200 and time.perf_counter() - asked < 0.05:
            break
        await asyncio.sleep(0.01)
    recovery = time.perf_counter() - ended
    await asyncio.gather(*tasks)
    return {"statuses": dict(statuses), "recovery": recovery, "megabytes": highest / 2**20}


async def ending(port: int, bodies: list[bytes], process: subprocess.Popen[str]) -> Counter[int]:
    """Statuses of twenty clients that ask without a pause while SIGTERM comes, until no connection can be made."""
    statuses: Counter[int] = Counter()

    async def ask_on() -> None:
        client = Client(port)
        while (status := await client.ask(bodies[0])) != -1:
            statuses[status] += 1

    clients = [asyncio.create_task(ask_on()) for _ in range(20)]
    await asyncio.sleep(2)
    process.send_signal(signal.SIGTERM)
    await asyncio.gather(*clients)
    return statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--no-results", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        frame = table(4_000)
        FlowDensity(steps=300, random_state=0).fit(frame).save(path)
        bodies = [json.dumps({"rows": [row]}).encode() for row in frame.head(500).to_dict("records")]
        environment = {**os.environ, "PUSHFORWARD_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pushforward", "serve", str(path), "--port", "0"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            output: Any = process.stdout
            port = int(re.search(r"127\.0\.0\.1:(\d+)", output.readline())[1])
            memory = psutil.Process(process.pid)
            gc.freeze()  # the clients must not stop to look at the objects of libraries
            asyncio.run(steady(port, bodies, 50, 2))  # the first requests load what is loaded late
            latencies, statuses = asyncio.run(steady(port, bodies, arguments.rate, arguments.seconds))
            most, before = asyncio.run(capacity(port, bodies)), resident(memory) / 2**20
            flooded = asyncio.run(flood(port, bodies, 10 * most, 10, memory))
            at_the_end = asyncio.run(ending(port, bodies, process))
    p50, p99 = (float(np.quantile(latencies, q)) for q in (0.5, 0.99))
    text = [
        "## A served model",
        "",
        f"    .venv/bin/python benchmarks/serve.py --rate {arguments.rate:g} --seconds {arguments.seconds:g}",
        "",
        f"{machine()}. A mixed-type model of {COLUMNS} columns; the clients run on the same cores.",
        "",
        "| | |",
        "|---|---:|",
        f"| one-row requests a second, for {arguments.seconds:g} s | {arguments.rate:g} |",
        f"| answered with status 200 | {statuses[200]:,} of {sum(statuses.values()):,} |",
        f"| median latency, 99th percentile, largest | {p50:.1f}, **{p99:.1f}**, {max(latencies):.1f} ms |",
        f"| most requests a second of 64 clients that never pause | {most:,.0f} |",
        f"| ten times as many for 10 s: answered, refused with 503 | {flooded['statuses'].get(200, 0):,}, "
        f"{flooded['statuses'].get(503, 0):,} |",
        f"| other outcomes | {sum(n for s, n in flooded['statuses'].items() if s not in (200, 503)):,} |",
        f"| memory before, and at most meanwhile | {before:.0f}, {flooded['megabytes']:.0f} MB |",
        f"| time until a request is answered within 50 ms again | **{flooded['recovery']:.2f} s** |",
        f"| SIGTERM while 20 clients ask: answered with 200, other outcomes | {at_the_end[200]:,}, "
        f"**{sum(at_the_end.values()) - at_the_end[200]:,}** |",
    ]
    print("\n".join(text))
    if not arguments.no_results:
        update_section("serve", "\n".join(text))


async def capacity(port: int, bodies: list[bytes], seconds: float = 5) -> float:
    """Requests a second of 64 clients that ask without a pause."""
    count, end = 0, time.perf_counter() + seconds

    async def ask_on() -> None:
        nonlocal count
        client = Client(port)
        while time.perf_counter() < end:
            status = await client.ask(bodies[0])
            count += status == 200

    await asyncio.gather(*(ask_on() for _ in range(64)))
    return count / seconds


if __name__ == "__main__":
    main()

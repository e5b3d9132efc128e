#!/usr/bin/env python3
"""What tables are worth to a Python client, beside points: the btrdb package, both ways, against a server of its own.

    .venv/bin/python benches/btrdb/compare.py [--runs N] [--streams N] [--points N] [--long N] [--windows N]

The server is BTRDB_FLIGHT_BIN, default target/debug/btrdb-flight; take a release build for figures that mean something.
Everything is measured twice: with the embedded engine, and with a second server in front of it that is its client. Each
figure is the fastest of the runs.
"""

import argparse
import os
import re
import subprocess
import tempfile
import threading
import time
import uuid
import warnings
from pathlib import Path

import btrdb
import numpy as np
import pyarrow as pa
from btrdb.stream import StreamSet

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("BTRDB_FLIGHT_BIN", ROOT / "target/debug/btrdb-flight")).resolve()
KEY = "E666A2D61103FEB2235441FD68879440"
FIRST = 1_500_000_000_000_000_000
STEP = 33_333_333


class Server:
    def __init__(self, folder, *flags):
        command = [BINARY, "serve", *flags, "--listen", "127.0.0.1:0", "--require-api-key", KEY]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BTRDB_")}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        lines = []
        for line in map(bytes.decode, self.process.stderr):
            lines.append(line)
            if found := re.search(r"listening on (\S+:\d+)", line):
                self.address = found.group(1)
                break
        else:
            raise SystemExit("the server did not start:\n" + "".join(lines))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def connect(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return btrdb.connect(self.address, apikey=KEY)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


def fill(db, collection, name, points):
    stream = db.create(uuid.uuid4(), collection, {"name": name})
    times = pa.array(FIRST + np.arange(points) * STEP).cast(pa.timestamp("ns", tz="UTC"))
    stream.arrow_insert(pa.table({"time": times, "value": np.random.default_rng(points).normal(120, 1, points)}))
    return stream


def seconds(runs, call, expected):
    """The time of the fastest run. `call` answers how many rows it got."""
    best = float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        rows = call()
        best = min(best, time.perf_counter() - started)
        assert rows == expected, f"{rows} rows, not {expected}"
    return best


def measure(db, options):
    """What is measured: a name, the seconds by points, the seconds by tables, the goal."""
    collection = f"compare/{uuid.uuid4().hex[:8]}"
    end = FIRST + STEP * options.points
    streams = [fill(db, collection, str(number), options.points) for number in range(options.streams)]
    together = StreamSet(streams).filter(start=FIRST, end=end)
    yield (
        f"{options.streams} streams x {options.points:,} points: values of each, arrow_values of the set",
        seconds(options.runs, lambda: sum(len(each.values(FIRST, end)) for each in streams), options.streams * options.points),
        seconds(options.runs, lambda: together.arrow_values().num_rows, options.points),
        10,
    )
    long = fill(db, collection, "long", options.long)
    end = FIRST + STEP * options.long
    yield (
        f"{options.long:,} points: values, arrow_values",
        seconds(options.runs, lambda: len(long.values(FIRST, end)), options.long),
        seconds(options.runs, lambda: long.arrow_values(FIRST, end).num_rows, options.long),
        5,
    )
    width = (end - FIRST) // options.windows
    end = FIRST + width * options.windows
    yield (
        f"{options.windows:,} windows: windows, arrow_windows",
        seconds(options.runs, lambda: len(long.windows(FIRST, end, width)), options.windows),
        seconds(options.runs, lambda: long.arrow_windows(FIRST, end, width).num_rows, options.windows),
        5,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in [("runs", 3), ("streams", 100), ("points", 10_000), ("long", 1_000_000), ("windows", 100_000)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = Server(folder)
        # The second server is its client. A folder of its own, in case it keeps something there.
        loop = Server(tempfile.mkdtemp(dir=folder), "--btrdb", engine.address, "--api-key", KEY)
        try:
            print(f"{'server':8} {'points':>9} {'tables':>9} {'faster':>8} {'goal':>6}  what")
            for name, server in [("engine", engine), ("loop", loop)]:
                for what, points, tables, goal in measure(server.connect(), options):
                    verdict = "" if points >= goal * tables else "  MISSED"
                    figures = f"{points:8.3f}s {tables:8.3f}s {points / tables:7.1f}x {goal:5}x"
                    print(f"{name:8} {figures}  {what}{verdict}", flush=True)
        finally:
            loop.stop()
            engine.stop()


if __name__ == "__main__":
    main()

"""The same questions here and in DuckDB, side by side, as ratios of medians.

    .venv/bin/python benches/duckdb/compare.py --binary target/release/btrdb-flight

One stream of regular 120 Hz voltage, of float32 precision, with noise and one spike, is put into a server of its own by DoPut, loaded
into an in-memory table of DuckDB, and written from there as Parquet (zstd, row groups as they come). A second collection has 10,000
streams of 100 points.

Ours is measured end to end from Python: SQL over Flight on loopback, planning and both round trips included. DuckDB works inside this
process, on all cores, without a network, and is asked in the way that suits it: it divides integers for buckets, and its Parquet
metadata stays cached. Both hand over Arrow tables and are hot: each question is asked twice before it is timed.

Answers are compared before anything is reported: counts, extremes, times and values exactly, averages within 1e-9 of the greatest
ordinary value. A difference ends the run.

The scan of raw points is compared in process on both sides, because the network is the same for everyone: ours is the time that
`EXPLAIN ANALYZE` reports for a scan of 5 M points that are in the cache, as Arrow batches; DuckDB's is the same range into an Arrow table.

With 100 million points this process takes 2.4 GiB, most of it DuckDB's table, and the server less than 0.5 GiB.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

ROOT = Path(__file__).resolve().parents[2]
START = 1_700_000_000 * 1_000_000_000
STEP = 8_333_333  # 120 Hz
SPIKE = 1e6
ORDINARY_MAX = 7_500.0
CHUNK_ROWS = 5_000_000
BATCH_ROWS = 256 * 1024  # 4 MiB, the most that a message may have by default
STREAMS, POINTS_PER_STREAM = 10_000, 100
SCAN_ROWS = 5_000_000
UTC = pa.timestamp("ns", tz="UTC")


class Question(NamedTuple):
    title: str
    sql: str
    duckdb: str
    # The columns that must agree exactly; all others must be close. Columns of neither kind are left out.
    exact: tuple
    close: tuple = ()


def questions(points):
    """Of the stream; DuckDB's text reads the relation `{points}`."""
    end = START + points * STEP
    width_ms = -(-points * STEP // 1_000_000_000)  # a thousandth of the whole, rounded up
    width = width_ms * 1_000_000
    low, high = START + 1_234_567_891, end - 987_654_321
    return [
        Question(
            "1,000 time buckets: count, min, avg, max",
            f"SELECT date_bin(INTERVAL '{width_ms} milliseconds', time) AS bucket, count(*) AS n, min(value) AS low,"
            f" avg(value) AS mean, max(value) AS high FROM bench.voltage GROUP BY bucket ORDER BY bucket",
            f"SELECT make_timestamp_ns(epoch_ns(time) // {width} * {width}) AS bucket, count(*) AS n, min(value) AS low,"
            f" avg(value) AS mean, max(value) AS high FROM {{points}} GROUP BY epoch_ns(time) // {width} ORDER BY bucket",
            ("bucket", "n", "low", "high"),
            ("mean",),
        ),
        Question(
            "count, min, avg, max of a range with ragged edges",
            f"SELECT count(*) AS n, min(value) AS low, avg(value) AS mean, max(value) AS high FROM bench.voltage"
            f" WHERE time >= to_timestamp_nanos({low}) AND time < to_timestamp_nanos({high})",
            f"SELECT count(*) AS n, min(value) AS low, avg(value) AS mean, max(value) AS high FROM {{points}}"
            f" WHERE time >= make_timestamp_ns({low}) AND time < make_timestamp_ns({high})",
            ("n", "low", "high"),
            ("mean",),
        ),
        Question(
            "the last 10 points",
            "SELECT time, value FROM bench.voltage ORDER BY time DESC LIMIT 10",
            "SELECT time, value FROM {points} ORDER BY time DESC LIMIT 10",
            ("time", "value"),
        ),
        Question(
            "the one value above a bound",
            f"SELECT time, value FROM bench.voltage WHERE value > {SPIKE / 2}",
            f"SELECT time, value FROM {{points}} WHERE value > {SPIKE / 2}",
            ("time", "value"),
        ),
        Question(
            "the 10 greatest values",
            "SELECT time, value FROM bench.voltage ORDER BY value DESC LIMIT 10",
            "SELECT time, value FROM {points} ORDER BY value DESC LIMIT 10",
            ("value",),  # of equal values either may name either time
        ),
    ]


def chunks(points):
    """The stream, in tables of `CHUNK_ROWS`, with times in the type that DuckDB keeps."""
    random = np.random.default_rng(5)
    spike = points * 618 // 1000
    for first in range(0, points, CHUNK_ROWS):
        index = np.arange(first, min(first + CHUNK_ROWS, points), dtype=np.int64)
        slow = 60 * np.sin(index * (2 * np.pi / 120 / 3600))
        values = (7_200 + slow + random.normal(0, 1.5, len(index))).astype("float32").astype("float64")
        if first <= spike < first + len(index):
            values[spike - first] = SPIKE
        yield pa.table({"time": pa.array(START + index * STEP).cast(pa.timestamp("ns")), "value": values})


def small_streams():
    """10,000 streams in long form, round by round, as they would arrive."""
    random = np.random.default_rng(6)
    names = pa.array([f"s{number:05}" for number in range(STREAMS)])
    rounds = np.repeat(np.arange(POINTS_PER_STREAM, dtype=np.int64), STREAMS)
    rows = len(rounds)
    return pa.table(
        {
            "collection": pa.array(["fleet"] * rows),
            "name": names.take(pa.array(np.tile(np.arange(STREAMS), POINTS_PER_STREAM))),
            "time": pa.array(START + rounds * 1_000_000_000).cast(UTC),
            "value": random.normal(60, 0.02, rows),
        }
    )


@contextmanager
def server(binary, folder):
    """The address of a server whose store is in `folder`."""
    process = subprocess.Popen(
        [binary, "serve", "--listen", "127.0.0.1:0", "--data", folder / "store"],
        env={name: value for name, value in os.environ.items() if not name.startswith("BTRDB_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                break
        else:
            raise SystemExit("the server did not start:\n" + "".join(lines))
        # Read on, so that a chatty server never blocks.
        threading.Thread(target=lambda: list(process.stderr), daemon=True).start()
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(timeout=120)


def put(client, path, table):
    writer, answers = client.do_put(fl.FlightDescriptor.for_path(*path), table.schema)
    versions = {}
    with writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
        writer.done_writing()
        while (answer := answers.read()) is not None:
            versions |= json.loads(answer.to_pybytes())
    return versions


def load(client, duck, points, parquet):
    duck.execute("CREATE TABLE points (time TIMESTAMP_NS, value DOUBLE)")
    put_seconds = 0.0
    for chunk in chunks(points):
        duck.execute("INSERT INTO points SELECT * FROM chunk")
        chunk = chunk.set_column(0, "time", chunk["time"].cast(UTC))
        began = time.perf_counter()
        put(client, ["bench", "voltage"], chunk)
        put_seconds += time.perf_counter() - began
    duck.execute(f"COPY points TO '{parquet}' (FORMAT parquet, COMPRESSION zstd)")
    print(f"put {points:,} points in {put_seconds:.1f} s; Parquet has {parquet.stat().st_size:,} bytes", flush=True)


def ask_flight(client, sql):
    info = client.get_flight_info(fl.FlightDescriptor.for_command(sql))
    (endpoint,) = info.endpoints
    return client.do_get(endpoint.ticket).read_all()


def median_ms(ask, repeats):
    """The answer, and the median of `repeats` after two that are not counted."""
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        answer = ask()
        times.append((time.perf_counter() - began) * 1e3)
    return answer, statistics.median(times[2:])


def check(question, ours, theirs, peer):
    if len(ours) != len(theirs) or not len(ours):
        raise SystemExit(f"{question.title}: {len(ours)} rows here, {len(theirs)} in DuckDB's {peer}")
    for name in question.exact + question.close:
        left, right = (
            column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in (ours[name], theirs[name])
        )
        left, right = left.to_numpy(), right.to_numpy()
        if name in question.exact:
            agree = np.array_equal(left, right)
        else:
            agree = np.allclose(left, right, rtol=0, atol=1e-9 * ORDINARY_MAX)
        if not agree:
            raise SystemExit(f"{question.title}: {name} is {left} here, {right} in DuckDB's {peer}")


def compare(client, duck, question, repeats):
    """One row of the table, once all three agree."""
    ours, ours_ms = median_ms(lambda: ask_flight(client, question.sql), repeats)
    cells = [question.title, f"{ours_ms:.2f}"]
    for peer in ("parquet", "points"):
        sql = question.duckdb.format(points=peer)
        theirs, theirs_ms = median_ms(lambda: duck.sql(sql).to_arrow_table(), repeats)
        check(question, ours, theirs, peer)
        cells += [f"{theirs_ms:.2f}", f"{theirs_ms / ours_ms:,.1f}x"]
    return cells


def compare_scan(client, duck, points, repeats):
    """Points in a range, as Arrow, without a network."""
    rows = min(points, SCAN_ROWS)
    end = START + rows * STEP
    times = []
    for _ in range(repeats + 2):
        plan = ask_flight(client, f"EXPLAIN ANALYZE SELECT time, value FROM bench.voltage WHERE time < to_timestamp_nanos({end})")
        text = plan.column(1)[0].as_py()
        number, unit = re.search(r"time_reading=([0-9.]+)(ns|µs|ms|s)", text).groups()
        times.append(float(number) * {"ns": 1e-6, "µs": 1e-3, "ms": 1, "s": 1e3}[unit])
    ours_ms = statistics.median(times[2:])
    cells = [f"scan {rows:,} points into Arrow, in process", f"{ours_ms:.2f}"]
    for peer in ("parquet", "points"):
        sql = f"SELECT time, value FROM {peer} WHERE time < make_timestamp_ns({end})"
        theirs, theirs_ms = median_ms(lambda: duck.sql(sql).to_arrow_table(), repeats)
        assert len(theirs) == rows
        cells += [f"{theirs_ms:.2f}", f"{theirs_ms / ours_ms:,.1f}x"]
    return cells


def compare_small_streams(client, duck, rows, repeats):
    question = Question(f"avg by name over {STREAMS:,} streams", "", "", ("name",), ("mean",))
    sql = "SELECT name, avg(value) AS mean FROM points WHERE collection = 'fleet' GROUP BY name"
    ours, ours_ms = median_ms(lambda: ask_flight(client, sql), repeats)
    expected = duck.sql("SELECT name, avg(value) AS mean FROM rows GROUP BY name ORDER BY name").to_arrow_table()
    check(question, ours.sort_by("name"), expected, "table")
    return [question.title, f"{ours_ms:.2f}", "", "", "", ""]


def markdown(rows):
    header = ["question", "ours, ms", "DuckDB Parquet, ms", "ratio", "DuckDB table, ms", "ratio"]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=lambda text: int(text.replace(",", "").replace("_", "")), default=100_000_000)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/debug/btrdb-flight")
    parser.add_argument("--repeats", type=int, default=7, help="timed repeats of each question")
    parser.add_argument("--scratch", type=Path, help="where the store and the Parquet file go for the time of the run")
    return parser.parse_args()


def main():
    given = arguments()
    folder = Path(tempfile.mkdtemp(prefix="btrdb-duckdb-", dir=given.scratch))
    try:
        with server(given.binary.resolve(), folder) as address, fl.connect(f"grpc://{address}") as client:
            duck = duckdb.connect(config={"threads": os.cpu_count(), "memory_limit": "5GiB", "temp_directory": str(folder / "spill")})
            duck.execute("SET parquet_metadata_cache = true")
            parquet = folder / "points.parquet"
            load(client, duck, given.points, parquet)
            duck.execute(f"CREATE VIEW parquet AS SELECT * FROM read_parquet('{parquet}')")
            small = small_streams()
            put(client, ["points"], small)
            rows = [compare(client, duck, question, given.repeats) for question in questions(given.points)]
            rows.append(compare_scan(client, duck, given.points, given.repeats))
            rows.append(compare_small_streams(client, duck, small, given.repeats))
        print(f"\nmedians of {given.repeats}, {os.cpu_count()} cores, DuckDB {duckdb.__version__}; answers agree\n")
        print(markdown(rows))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

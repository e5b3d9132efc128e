"""Raw scans and small answers as Python clients get them, beside the floor in the same run.

    cargo build && cargo bench --profile dev --bench flight --no-run
    .venv/bin/python benches/flight/compare.py

The floor is a server of stock parts that sends one batch again and again (`benches/flight.rs floor`, found among the built benches unless
--floor names it). Ours scans a stream out of its cache, over loopback TCP and over a Unix socket. They take turns; medians are compared.

Then a query of 1,000 time buckets over the same stream, end to end and planning included: by pyarrow in two calls (GetFlightInfo, DoGet) and
in one (a ticket of SQL text), over TCP and the socket, and by a cursor of ADBC. Repeated buckets are the same statement again; new ones have
another text and another grid each time. `SELECT 1` beside them is what the calls themselves take.
"""

import argparse
import itertools
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_flightsql.dbapi
import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

ROOT = Path(__file__).resolve().parents[2]
BATCH = 64 * 1024
START = 1_700_000_000 * 1_000_000_000
STEP = 8_333_333  # 120 Hz
BUCKETS = 1_000
# gRPC's C++ library names the socket's path as the host it asks, which is no host name: servers of other make refuse that.
LOCAL = [("grpc.default_authority", "localhost")]


@contextmanager
def process(*command, listening):
    """What `listening` finds in the lines that a server begins with, and the number of its process."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in server.stdout:
            if found := re.search(listening, line):
                break
        else:
            raise SystemExit(f"{command[0]} did not start")
        threading.Thread(target=server.stdout.read, daemon=True).start()
        yield found.group(1), server.pid
    finally:
        server.terminate()
        server.wait()


def newest_floor():
    built = (ROOT / "target/debug/deps").glob("flight-*")
    built = [path for path in built if not path.suffix]
    if not built:
        raise SystemExit("no floor was built: cargo bench --profile dev --bench flight --no-run")
    return max(built, key=lambda path: path.stat().st_mtime)


def fill(client, points):
    random = np.random.default_rng(11)
    values = (7000 + random.normal(0, 1, BATCH)).astype(np.float32).astype(np.float64)
    schema = pa.schema([pa.field("time", pa.timestamp("ns", "UTC"), False), pa.field("value", pa.float64(), False)])
    writer, answers = client.do_put(fl.FlightDescriptor.for_path("bench", "voltage"), schema)

    def read():
        while answers.read() is not None:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    for first in range(0, points, BATCH):
        times = START + np.arange(first, first + BATCH, dtype=np.int64) * STEP
        writer.write_batch(pa.record_batch([pa.array(times).cast(schema[0].type), pa.array(values)], schema=schema))
    writer.done_writing()
    reader.join()
    writer.close()


def scan(client, ticket, points):
    started = time.perf_counter()
    rows = sum(chunk.data.num_rows for chunk in client.do_get(fl.Ticket(ticket)))
    took = time.perf_counter() - started
    assert rows == points, rows
    return took


def scans(floor, tcp, unix, points, rounds):
    sql = "SELECT time, value FROM bench.voltage"
    cases = [
        ("floor, TCP", fl.connect(f"grpc://{floor}"), str(points)),
        ("raw scan, TCP", fl.connect(f"grpc://{tcp}"), sql),
        ("raw scan, Unix socket", fl.connect(f"grpc+unix://{unix}", generic_options=LOCAL), sql),
    ]
    took = {what: [] for what, _, _ in cases}
    for turn in range(rounds + 1):
        for what, client, ticket in cases:
            elapsed = scan(client, ticket, points)
            if turn > 0:
                took[what].append(elapsed)
    rates = {what: points / statistics.median(times) / 1e6 for what, times in took.items()}
    base = rates[cases[0][0]]
    for what, rate in rates.items():
        print(f"{what:<40} {rate:>10.1f} M points/s {rate / base:>8.2f} of the floor")


def processor_seconds(pid):
    """What a process took so far, in the system's ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def buckets(tcp, unix, pid, points, repeats):
    width_ms = -(-points * STEP // BUCKETS // 1_000_000)

    def report(what, ask, rows=(BUCKETS - 2, BUCKETS + 1)):
        began = processor_seconds(pid)
        took = []
        for _ in range(repeats):
            started = time.perf_counter()
            table = ask()
            took.append((time.perf_counter() - started) * 1e3)
        cpu = (processor_seconds(pid) - began) / repeats * 1e3
        assert rows[0] <= table.num_rows <= rows[1], table.num_rows
        took.sort()
        print(
            f"{what:<45} {statistics.median(took):>8.2f} ms median {took[0]:>8.2f} ms least {took[-len(took) // 20]:>8.2f} ms at 95 %"
            f" {cpu:>8.2f} ms of the server's processors"
        )

    def buckets_from(origin):
        return (
            f"SELECT date_bin(INTERVAL '{width_ms} milliseconds', time, to_timestamp_nanos({origin})) AS bucket, count(*) AS n,"
            " min(value) AS low, avg(value) AS mean, max(value) AS high FROM bench.voltage GROUP BY bucket ORDER BY bucket"
        )

    sql = buckets_from(START)
    # Another text and another grid each time: nothing of an earlier answer helps.
    grids = itertools.count(START + 1_000_000, 1_000_000)
    ways = [("TCP", fl.connect(f"grpc://{tcp}")), ("Unix socket", fl.connect(f"grpc+unix://{unix}", generic_options=LOCAL))]
    for way, client in ways:

        def two_calls(text):
            info = client.get_flight_info(fl.FlightDescriptor.for_command(text))
            return client.do_get(info.endpoints[0].ticket).read_all()

        def one_call(text):
            return client.do_get(fl.Ticket(text)).read_all()

        report(f"SELECT 1, two calls, {way}", lambda: two_calls("SELECT 1"), rows=(1, 1))
        report(f"1,000 buckets, two calls, {way}", lambda: two_calls(sql))
        report(f"1,000 new buckets, two calls, {way}", lambda: two_calls(buckets_from(next(grids))))
        report(f"SELECT 1, one call, {way}", lambda: one_call("SELECT 1"), rows=(1, 1))
        report(f"1,000 buckets, one call, {way}", lambda: one_call(sql))
        client.close()
    with adbc_driver_flightsql.dbapi.connect(f"grpc://{tcp}", autocommit=True) as connection:
        with connection.cursor() as cursor:

            def by_adbc():
                cursor.execute(sql)
                return cursor.fetch_arrow_table()

            report("1,000 buckets, ADBC cursor", by_adbc)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/debug/btrdb-flight")
    parser.add_argument("--floor", type=Path)
    parser.add_argument("--points", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=300)
    arguments = parser.parse_args()
    points = arguments.points // BATCH * BATCH
    floor = arguments.floor or newest_floor()
    with tempfile.TemporaryDirectory() as folder:
        unix = f"{folder}/socket"
        listen = ["--listen", f"unix:{unix}", "--listen", "127.0.0.1:0"]
        serve = [arguments.binary, "serve", "--data", "memory:", "--chunk-cache", "2GiB", *listen]
        with (
            process(floor, "floor", listening=r"listens on (\S+)") as (floor_address, _),
            process(*serve, listening=r"listening on (127\.0\.0\.1:\d+)") as (tcp, pid),
        ):
            with fl.connect(f"grpc://{tcp}") as client:
                fill(client, points)
            scans(floor_address, tcp, unix, points, arguments.rounds)
            buckets(tcp, unix, pid, points, arguments.repeats)


if __name__ == "__main__":
    main()

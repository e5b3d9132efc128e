"""How long tools wait for lists of tables: ADBC's objects, information_schema, SHOW and ListFlights, beside many streams.

    cargo build
    .venv/bin/python benches/flight/listing.py

A thousand collections of a hundred streams each, in memory, without points. Medians of three.
"""

import argparse
import statistics
import time
from pathlib import Path

import adbc_driver_flightsql.dbapi
import pyarrow as pa
import pyarrow.flight as fl
from compare import ROOT, process

PER_COLLECTION = 100
SCHEMA = pa.schema([("collection", pa.string()), ("name", pa.string()), ("unit", pa.string())])

STATEMENTS = [
    "SELECT count(*) FROM streams",
    "SELECT collection, name, unit FROM streams",
    "SELECT * FROM streams WHERE collection = 'site3/pmu' AND name = 's5'",
    "SELECT * FROM collections",
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'site7/pmu'",
    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'site7/pmu' AND table_name = 's3'",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM information_schema.columns",
    "SHOW SCHEMAS",
    "SHOW TABLES LIKE 's99'",
    "SHOW TABLES",
]


def create(client, streams):
    writer, answers = client.do_put(fl.FlightDescriptor.for_path("streams"), SCHEMA)
    for first in range(0, streams, 10_000):
        rows = range(first, min(first + 10_000, streams))
        columns = [
            [f"site{row // PER_COLLECTION}/pmu" for row in rows],
            [f"s{row % PER_COLLECTION}" for row in rows],
            ["V"] * len(rows),
        ]
        writer.write_batch(pa.record_batch([pa.array(column) for column in columns], schema=SCHEMA))
    writer.done_writing()
    while answers.read() is not None:
        pass
    writer.close()


def report(what, ask):
    took = []
    for _ in range(3):
        started = time.perf_counter()
        ask()
        took.append((time.perf_counter() - started) * 1e3)
    print(f"{what:<110} {statistics.median(took):>9.1f} ms")


def objects(connection):
    def get(**wanted):
        return lambda: connection.adbc_get_objects(**wanted).read_all()

    report("GetObjects, schemas", get(depth="db_schemas"))
    report("GetObjects, tables of one schema", get(depth="tables", db_schema_filter="site7/pmu"))
    report("GetObjects, columns of one schema", get(depth="all", db_schema_filter="site7/pmu"))
    report("GetObjects, all tables", get(depth="tables"))
    report("GetObjects, all columns", get(depth="all"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/debug/btrdb-flight")
    parser.add_argument("--streams", type=int, default=100_000)
    arguments = parser.parse_args()
    serve = [arguments.binary, "serve", "--data", "memory:", "--listen", "127.0.0.1:0"]
    with process(*serve, listening=r"listening on (127\.0\.0\.1:\d+)") as address, fl.connect(f"grpc://{address}") as client:
        create(client, arguments.streams)
        with adbc_driver_flightsql.dbapi.connect(f"grpc://{address}", autocommit=True) as connection:
            objects(connection)
        for sql in STATEMENTS:
            report(sql, lambda: client.do_get(fl.Ticket(sql)).read_all())
        for what, criteria in [("ListFlights, one prefix", b"site7/"), ("ListFlights, all", b"")]:
            report(what, lambda: sum(1 for _ in client.list_flights(criteria)))


if __name__ == "__main__":
    main()

"""A server for the tests, and ways to talk to it."""

import os
import re
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import adbc_driver_flightsql.dbapi
import pyarrow as pa
import pyarrow.flight as fl
import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("BTRDB_FLIGHT_BIN", ROOT / "target/debug/btrdb-flight")).resolve()
# The tests in folders have their fixtures in modules of these folders: a conftest.py there would take the place of this one
# in `from conftest import ...`.
sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("btrdb", "adbc")]
pytest_plugins = ["btrdb_servers", "adbc_servers"]

ADDRESS = re.compile(r"listening on (127\.0\.0\.1:\d+)")

UTC = pa.timestamp("ns", tz="UTC")
POINTS = pa.schema([pa.field("time", UTC, False), pa.field("value", pa.float64(), False)])


def clean_environment():
    """The environment without what configures BTrDB's clients and servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BTRDB_")}


class Server:
    """A server process on a port of its own. Its data is in `folder`, in the default store, unless `flags` name another."""

    def __init__(self, folder, *flags):
        self.lines = []
        self.process = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0", *flags],
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := ADDRESS.search(line):
                self.address = found.group(1)
                break
        assert self.address, "the server did not start:\n" + "".join(self.lines)
        # Read on, so that a chatty server never blocks.
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self):
        self.lines.extend(self.process.stderr)

    @property
    def uri(self):
        return f"grpc://{self.address}"

    def resident_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def stop(self):
        assert self.process.poll() is None, "the server ended by itself:\n" + "".join(self.lines)
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, "".join(self.lines)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server; with BTRDB_TEST_BACKEND=loop one that stands before another, and speaks BTrDB's protocol to it."""
    servers = [Server(tmp_path_factory.mktemp("server"))]
    if os.environ.get("BTRDB_TEST_BACKEND") == "loop":
        servers.append(Server(tmp_path_factory.mktemp("gateway"), "--btrdb", servers[0].address))
    yield servers[-1]
    for server in reversed(servers):
        server.stop()


@pytest.fixture
def flight(server):
    with fl.connect(server.uri) as client:
        yield client


@pytest.fixture
def adbc(server):
    with adbc_driver_flightsql.dbapi.connect(server.uri, autocommit=True) as connection:
        yield connection


@pytest.fixture
def collection():
    """A collection that no other test uses."""
    return f"test/{uuid.uuid4().hex[:12]}"


def query(client, sql, **options):
    """The rows of `sql`, and a check that they have the schema that was declared."""
    info = client.get_flight_info(fl.FlightDescriptor.for_command(sql), **options)
    assert len(info.endpoints) == 1
    table = client.do_get(info.endpoints[0].ticket, **options).read_all()
    assert table.schema == info.schema
    return table


def put(client, path, table, **options):
    """Puts `table`; answers the versions, newest for each stream, and how many commits there were."""
    import json

    descriptor = fl.FlightDescriptor.for_path(*path)
    writer, answers = client.do_put(descriptor, table.schema, **options)
    versions, commits = {}, 0
    with writer:
        writer.write_table(table, max_chunksize=256 * 1024)
        writer.done_writing()
        while (answer := answers.read()) is not None:
            versions.update(json.loads(answer.to_pybytes()))
            commits += 1
    return versions, commits


def points(times, values):
    """A table of one stream's points."""
    return pa.table([pa.array(times, UTC), pa.array(values, pa.float64())], schema=POINTS)

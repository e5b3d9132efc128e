"""Servers and connections for the tests of the btrdb package.

There are two servers: `engine` keeps the streams itself, `loop` stands in front of it and speaks to it as a client. Each
listens in plain text and over TLS, and demands an API key. The client speaks TLS only to port 4411, so the TLS listeners
have loopback addresses of their own.
"""

import os
import random
import re
import secrets
import subprocess
import threading
import uuid
import warnings

import btrdb
import pyarrow as pa
import pytest
import trustme
from btrdb.stream import StreamSet
from conftest import BINARY

ENGINE_KEY = "E666A2D61103FEB2235441FD68879440"
LOOP_KEY = "D976A2D61103FEB2235441FD6887955C"

FIRST = 1_500_000_000_000_000_000
TENTH = 100_000_000
SECOND = 1_000_000_000
MINIMUM = -(2**60)
# The exclusive end of all time. The last point that can be stored is two nanoseconds before it.
END = 3 * 2**60

TIME = pa.field("time", pa.timestamp("ns", tz="UTC"), nullable=False)
RAW_SCHEMA = pa.schema([TIME, pa.field("value", pa.float64(), nullable=False)])
STAT_SCHEMA = pa.schema(
    [
        TIME,
        pa.field("min", pa.float64(), nullable=False),
        pa.field("mean", pa.float64(), nullable=False),
        pa.field("max", pa.float64(), nullable=False),
        pa.field("count", pa.uint64(), nullable=False),
        pa.field("stddev", pa.float64(), nullable=False),
    ]
)

# Ten values, a tenth of a second apart.
TEN = [(FIRST + i * TENTH, float(i + 1)) for i in range(10)]


def pytest_configure(config):
    """What must be settled before the tests are imported."""
    # Ray reads this when it is imported. Without a token it makes one, and leaves it in the home directory.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    # The client warns at every connection and every lookup that another one is to come, and calls old forms of pandas.
    config.addinivalue_line("filterwarnings", "ignore:This API is deprecated:FutureWarning")
    config.addinivalue_line("filterwarnings", "ignore:The inplace keyword in DataFrame.rename")
    config.addinivalue_line("filterwarnings", "ignore:StreamSet will be the default:FutureWarning")


class Listening:
    """A server process with a plain and a TLS listener. It demands `key`."""

    def __init__(self, folder, key, authority, *flags):
        self.key = key
        self.lines = []
        certificate, private_key = folder / "cert.pem", folder / "key.pem"
        for _ in range(20):
            # Anyone may use these addresses, so one that is taken is left for another.
            tls = f"127.{random.randint(2, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}:4411"
            issued = authority.issue_cert(tls.split(":")[0])
            issued.private_key_pem.write_to_path(private_key)
            issued.cert_chain_pems[0].write_to_path(certificate)
            command = [BINARY, "serve", *flags, "--listen", "127.0.0.1:0", "--require-api-key", key]
            command += ["--tls-listen", tls, "--tls-cert", certificate, "--tls-key", private_key]
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={name: value for name, value in os.environ.items() if not name.startswith("BTRDB_")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.endpoints = self._wait(tls)
            if len(self.endpoints) == 2:
                threading.Thread(target=self._drain, daemon=True).start()
                return
            self.process.kill()
            self.process.wait()
        pytest.fail("the server did not start:\n" + "".join(self.lines))

    def _wait(self, tls):
        found = {}
        for line in self.process.stderr:
            self.lines.append(line)
            if address := re.search(r"listening on (127\.[\d.]+:\d+)", line):
                found["tls" if address.group(1) == tls else "plain"] = address.group(1)
            if len(found) == 2:
                break
        return found

    def _drain(self):
        self.lines.extend(self.process.stderr)

    def stop(self):
        assert self.process.poll() is None, "the server ended by itself:\n" + "".join(self.lines)
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, "".join(self.lines)
        assert not any("panicked" in line for line in self.lines), "".join(self.lines)


class Endpoint:
    """Where to connect to, and with which key."""

    def __init__(self, server, transport):
        self.address = server.endpoints[transport]
        self.key = server.key
        self.transport = transport

    def connect(self):
        return btrdb.connect(self.address, apikey=self.key)


@pytest.fixture(scope="session")
def btrdb_servers(tmp_path_factory):
    authority = trustme.CA()
    bundle = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    os.environ["BTRDB_CA_BUNDLE"] = str(bundle)
    engine = Listening(tmp_path_factory.mktemp("engine"), ENGINE_KEY, authority)
    flags = ["--btrdb", engine.endpoints["plain"], "--api-key", ENGINE_KEY]
    loop = Listening(tmp_path_factory.mktemp("loop"), LOOP_KEY, authority, *flags)
    yield {"engine": engine, "loop": loop}
    del os.environ["BTRDB_CA_BUNDLE"]
    loop.stop()
    engine.stop()


@pytest.fixture(scope="session", params=["engine-plain", "engine-tls", "loop-plain", "loop-tls"])
def endpoint(request, btrdb_servers):
    server, transport = request.param.split("-")
    return Endpoint(btrdb_servers[server], transport)


@pytest.fixture(scope="session")
def db(endpoint):
    """A connection. The client has no way to close one, so the tests share it."""
    return endpoint.connect()


@pytest.fixture(scope="session", params=["engine", "loop"])
def plain_endpoint(request, btrdb_servers):
    """For what takes long and has nothing to do with the transport."""
    return Endpoint(btrdb_servers[request.param], "plain")


@pytest.fixture(scope="session")
def plain_db(plain_endpoint):
    return plain_endpoint.connect()


@pytest.fixture
def stream(db, collection):
    """A stream without a point."""
    return make(db, collection)


@pytest.fixture
def ten(db, collection):
    """A stream with `TEN`."""
    return make(db, collection, points=TEN, unit="volts")


def make(db, collection, name="a", points=None, annotations=None, **tags):
    """Creates a stream with a UUID of its own, and inserts `points`."""
    stream = db.create(uuid.uuid4(), collection, {"name": name, **tags}, annotations)
    if points:
        stream.insert(points)
    return stream


def make_set(db, collection, *points, **tags):
    """A set of streams named a, b, c..., one for each list of points."""
    return StreamSet([make(db, collection, chr(ord("a") + i), each, **tags) for i, each in enumerate(points)])


def pairs(materialized):
    """The times and values of what `Stream.values` answered."""
    return [(point.time, point.value) for point, _ in materialized]


def everything(stream, version=0):
    """All points of a stream as pairs."""
    return pairs(stream.values(MINIMUM, END, version=version))


def stats(materialized):
    """The fields of what `Stream.windows` or `Stream.aligned_windows` answered."""
    return [tuple(point[i] for i in range(6)) for point, _ in materialized]


def rows(table):
    """The rows of a table as tuples, times as integers."""
    table = table.set_column(0, table.column_names[0], table.column(0).cast(pa.int64()))
    return list(zip(*[column.to_pylist() for column in table.columns], strict=True))


def table(points):
    """Points as a table that `arrow_insert` takes as it is."""
    times, values = zip(*points, strict=True) if points else ((), ())
    return pa.table([pa.array(times, TIME.type), pa.array(values, pa.float64())], schema=RAW_SCHEMA)


def assert_says(raised, text):
    """The message is `text`, or `text` and then what exactly was wrong. Control characters are escaped in it."""
    message, text = str(raised.value), text.replace("\0", "\\0")
    assert message == text or message.startswith(f"{text}: "), message


def connect_quietly(*arguments, **options):
    """For processes other than the one of the tests, whose warnings nobody filters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return btrdb.connect(*arguments, **options)

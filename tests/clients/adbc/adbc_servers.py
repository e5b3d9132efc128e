"""Servers, connections and a listener on the wire for the tests of the ADBC driver.

Most tests take the `server` of `conftest.py`, and connect to it as a user would: with the driver's defaults. `guarded` is a
second server, which demands a key and speaks TLS and over a Unix socket too; `wire` stands between driver and server.
"""

import re
import subprocess
import threading
import time
import uuid

import adbc_driver_flightsql.dbapi
import pytest
import trustme
from adbc_wire import Wire
from conftest import BINARY, clean_environment, points, put

KEY = "A1C9-one-of-the-keys"

SECOND = 1_000_000_000


class Guarded:
    """A server that demands `KEY`, on a plain port, a TLS port and a Unix socket."""

    def __init__(self, folder):
        authority = trustme.CA()
        self.root = authority.cert_pem.bytes().decode()
        self.client = authority.issue_cert("analyst@example.org")
        # Not the address that it listens on, so that a name can be overridden.
        certificate = authority.issue_cert("127.0.0.1", "btrdb.example.org")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        self.socket = str(folder / "socket")
        self.lines = []
        command = [BINARY, "serve", "--data", "memory:", "--require-api-key", KEY]
        command += ["--listen", "127.0.0.1:0", "--listen", f"unix:{self.socket}", "--tls-listen", "127.0.0.1:0"]
        command += ["--tls-cert", folder / "cert.pem", "--tls-key", folder / "key.pem"]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        found = {}
        for line in self.process.stderr:
            self.lines.append(line)
            if address := re.search(r"listening on (127\.0\.0\.1:\d+)( \(TLS\))?", line):
                found["tls" if address.group(2) else "tcp"] = address.group(1)
            if "listening on unix:" in line:
                found["unix"] = self.socket
            if len(found) == 3:
                break
        assert len(found) == 3, "the server did not start:\n" + "".join(self.lines)
        self.tcp, self.tls = found["tcp"], found["tls"]
        threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True).start()

    def stop(self):
        assert self.process.poll() is None, "the server ended by itself:\n" + "".join(self.lines)
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, "".join(self.lines)
        assert not any("panicked" in line for line in self.lines), "".join(self.lines)


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    server = Guarded(tmp_path_factory.mktemp("guarded"))
    yield server
    server.stop()


@pytest.fixture
def wire(server):
    """The server, through a proxy that remembers each call."""
    with Wire(server.address) as wire:
        yield wire


@pytest.fixture
def cursor(adbc):
    """A cursor of a connection that commits by itself."""
    with adbc.cursor() as cursor:
        yield cursor


def connect(uri, **options):
    """A connection with the driver's defaults, but for what `options` say."""
    return adbc_driver_flightsql.dbapi.connect(getattr(uri, "uri", uri), **options)


def ask(connection, sql, parameters=None):
    """The rows of `sql`, as tuples."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def one(connection, sql, parameters=None):
    """The only value of the only row of `sql`."""
    ((value,),) = ask(connection, sql, parameters)
    return value


def fresh_uuid():
    return str(uuid.uuid4())


def cpu_ticks(process):
    """The processor time that `process` has had, in hundredths of a second."""
    with open(f"/proc/{process.pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def seconds_until_rest(process, patience=10):
    """How long it takes until `process` has nothing more to do: a tenth of a second in which it worked less than a third."""
    started = time.monotonic()
    while time.monotonic() - started < patience:
        ticks = cpu_ticks(process)
        time.sleep(0.1)
        if cpu_ticks(process) - ticks <= 3:
            return time.monotonic() - started
    pytest.fail(f"the server still works after {patience} seconds")

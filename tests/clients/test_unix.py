"""A Unix socket: what each client must be told to use it."""

import subprocess

import adbc_driver_flightsql.dbapi
import pyarrow.flight as fl
import pytest
from conftest import BINARY, Server, points, put, query

SQL = "SELECT time, value FROM local.a ORDER BY time"

# gRPC's C++ library names the percent-encoded path as the host it asks, which is no host name; HTTP/2 servers that check it,
# as this one's library does, refuse the call.
LOCAL = [("grpc.default_authority", "localhost")]


@pytest.fixture(scope="module")
def socket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unix")
    path = folder / "socket"
    server = Server(folder, "--listen", f"unix:{path}")
    with fl.connect(server.uri) as client:
        put(client, ["local", "a"], points([1, 2, 3], [0.5, 1.5, 2.5]))
    yield path
    server.stop()
    assert not path.exists()


def test_pyarrow_with_an_authority(socket):
    with fl.connect(f"grpc+unix://{socket}", generic_options=LOCAL) as client:
        assert query(client, SQL)["value"].to_pylist() == [0.5, 1.5, 2.5]
        put(client, ["local", "b"], points([4], [4.5]))
        assert query(client, "SELECT value FROM local.b")["value"].to_pylist() == [4.5]


def test_adbc(socket):
    with adbc_driver_flightsql.dbapi.connect(f"grpc+unix://{socket}", autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute(SQL)
            assert cursor.fetch_arrow_table()["value"].to_pylist() == [0.5, 1.5, 2.5]


def test_the_command_line(socket):
    answer = subprocess.run(
        [BINARY, "sql", "--connect", f"unix:{socket}", "--format", "csv", "-c", SQL],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.returncode == 0, answer.stderr
    assert "2.5" in answer.stdout


def test_pyarrow_without_an_authority_fails_at_once(socket):
    with fl.connect(f"grpc+unix://{socket}") as client:
        with pytest.raises(fl.FlightInternalError, match="RST_STREAM"):
            query(client, SQL)

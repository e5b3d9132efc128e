"""Readers that stop reading, signs of life, and messages of every size, as Python's clients see them."""

import time

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi
import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from conftest import UTC, Server, put, query

READERS = 50
ROWS = 3_000_000
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("pausing"), "--keep-alive", "20ms", "--idle-timeout", "4s")
    times = np.arange(ROWS, dtype=np.int64) * 1_000_000
    with fl.connect(server.uri) as client:
        put(client, ["paused", "a"], pa.table({"time": pa.array(times).cast(UTC), "value": np.arange(ROWS, dtype=np.float64)}))
        query(client, "SELECT time, value FROM paused.a")
    yield server
    server.stop()


def test_fifty_readers_who_pause_take_little_memory(server):
    before = server.resident_bytes()
    # A connection each: readers that share one share its window.
    clients = [
        fl.connect(server.uri, generic_options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(READERS)
    ]
    readers = []
    for client in clients:
        reader = client.do_get(fl.Ticket("SELECT time, value FROM paused.a"))
        # A busy server may show signs of life before its first rows.
        while reader.read_chunk().data.num_rows == 0:
            pass
        readers.append(reader)
    time.sleep(1)
    grown = server.resident_bytes() - before
    print(f"{READERS} readers who pause: {grown / READERS / MIB:.2f} MiB each")
    assert grown < READERS * 6 * MIB
    for client in clients:
        client.close()


SLOW = "SELECT sum(a.value * b.value) AS total FROM small.a AS a JOIN small.a AS b ON a.value < b.value + 1e9"


@pytest.fixture(scope="module")
def small(server):
    rows = 6_000
    times = np.arange(rows, dtype=np.int64)
    with fl.connect(server.uri) as client:
        put(client, ["small", "a"], pa.table({"time": pa.array(times).cast(UTC), "value": np.ones(rows)}))
    return rows


def test_signs_of_life_are_empty_batches(flight, small):
    info = flight.get_flight_info(fl.FlightDescriptor.for_command(SLOW))
    reader = flight.do_get(info.endpoints[0].ticket)
    batches = [chunk.data for chunk in reader]
    assert any(batch.num_rows == 0 for batch in batches)
    assert pa.Table.from_batches(batches)["total"].to_pylist() == [small**2]


def test_cursors_do_not_see_them(adbc, small):
    with adbc.cursor() as cursor:
        cursor.execute(SLOW)
        assert cursor.fetchone() == (small**2,)
        assert cursor.fetchone() is None
        cursor.execute(SLOW)
        assert cursor.fetchall() == [(small**2,)]
        cursor.execute(SLOW)
        assert cursor.fetch_arrow_table()["total"].to_pylist() == [small**2]


def test_pandas_and_polars_do_not_see_them(adbc, server, small):
    import polars

    with adbc.cursor() as cursor:
        cursor.execute(SLOW)
        assert cursor.fetch_df()["total"].tolist() == [small**2]
    frame = polars.read_database(SLOW, adbc)
    assert frame["total"].to_list() == [small**2]


@pytest.mark.parametrize("mebibytes", [5, 20, 100])
def test_messages_of_any_size_are_taken(flight, mebibytes):
    rows = mebibytes * MIB // 16
    times = pa.array(np.arange(rows, dtype=np.int64)).cast(UTC)
    table = pa.table({"time": times, "value": np.arange(rows, dtype=np.float64)})
    writer, answers = flight.do_put(fl.FlightDescriptor.for_path("sizes", f"m{mebibytes}"), table.schema)
    with writer:
        # One batch, one message.
        writer.write_table(table, max_chunksize=rows)
        writer.done_writing()
        while answers.read() is not None:
            pass
    assert query(flight, f"SELECT count(*) AS n FROM sizes.m{mebibytes}")["n"].to_pylist() == [rows]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_bodies_go_both_ways(flight, codec):
    rows = 200_000
    times = pa.array(np.arange(rows, dtype=np.int64)).cast(UTC)
    table = pa.table({"time": times, "value": np.ones(rows)})
    options = fl.FlightCallOptions(write_options=pa.ipc.IpcWriteOptions(compression=codec))
    put(flight, ["compressed", codec], table, options=options)
    asked = fl.FlightCallOptions(headers=[(b"x-btrdb-compression", codec.encode())])
    answer = query(flight, f"SELECT time, value FROM compressed.{codec}", options=asked)
    assert answer.equals(table.cast(answer.schema))


def test_adbc_reads_endpoints_in_order(server):
    options = {adbc_driver_flightsql.DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + "x-btrdb-endpoints": "4"}
    with adbc_driver_flightsql.dbapi.connect(server.uri, db_kwargs=options, autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT value FROM paused.a ORDER BY time")
            values = cursor.fetch_arrow_table()["value"].to_numpy()
    np.testing.assert_array_equal(values, np.arange(ROWS, dtype=np.float64))

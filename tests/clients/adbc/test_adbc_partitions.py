"""Partitions: results in parts that any connection can read."""

import os
import pickle
import subprocess
import sys

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from adbc_driver_flightsql.dbapi import Error, ProgrammingError
from adbc_driver_manager import AdbcStatusCode
from adbc_servers import KEY, connect
from adbc_stream import stream  # noqa: F401
from conftest import POINTS, points, put

LOOP = os.environ.get("BTRDB_TEST_BACKEND") == "loop"


def read(connection, partitions):
    """The rows of `partitions`, one after the other."""
    tables = []
    for partition in partitions:
        with connection.cursor() as cursor:
            cursor.adbc_read_partition(partition)
            tables.append(cursor.fetch_arrow_table())
    return pa.concat_tables(tables)


def test_partitions_are_read_by_another_connection(server, cursor, stream):
    partitions, schema = cursor.adbc_execute_partitions(f"SELECT time, value FROM {stream} ORDER BY time")
    assert schema == POINTS and len(partitions) >= 1
    with connect(server, autocommit=True) as other:
        table = read(other, partitions)
    assert table.schema == schema
    assert table["value"].to_pylist() == [float(value) for value in range(10)]


READER = """
import pickle, sys
import adbc_driver_flightsql.dbapi as dbapi
uri, partitions = pickle.loads(sys.stdin.buffer.read())
with dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
    rows = []
    for partition in partitions:
        cursor.adbc_read_partition(partition)
        rows += cursor.fetchall()
sys.stdout.write(repr(sorted(value for _, value in rows)))
"""


def test_partitions_are_read_by_another_process_when_their_connection_is_gone(server, stream):
    with connect(server) as connection, connection.cursor() as cursor:
        partitions, _ = cursor.adbc_execute_partitions(f"SELECT time, value FROM {stream}")
    sent = pickle.dumps((server.uri, partitions))
    reader = subprocess.run([sys.executable, "-c", READER], input=sent, capture_output=True, check=True)
    assert reader.stdout.decode() == repr([float(value) for value in range(10)])


@pytest.mark.skipif(LOOP, reason="a BTrDB elsewhere numbers no states, and a stream that is read once is read as it is")
def test_a_partition_is_read_again_and_reads_the_same(flight, adbc, cursor, stream, collection):
    partitions, _ = cursor.adbc_execute_partitions(f"SELECT count(*) FROM {stream}")
    before = read(adbc, partitions)
    put(flight, [collection, "a"], points([99], [99.0]))
    assert read(adbc, partitions) == before, "what is in the ticket is the state of when it was given out"


def test_parameters_travel_in_partitions(server, cursor, stream):
    partitions, _ = cursor.adbc_execute_partitions(f"SELECT value FROM {stream} WHERE value > ?", (6.5,))
    with connect(server, autocommit=True) as other:
        assert sorted(read(other, partitions)["value"].to_pylist()) == [7.0, 8.0, 9.0]


def test_a_partition_of_a_transaction_reads_its_snapshot(flight, server, stream, collection):
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {stream}")
        assert cursor.fetchone() == (10,)
        put(flight, [collection, "a"], points([99], [99.0]))
        partitions, _ = cursor.adbc_execute_partitions(f"SELECT count(*) AS n FROM {stream}")
        assert read(connection, partitions)["n"].to_pylist() == [10]
        connection.commit()
        with connect(server, autocommit=True) as other:
            assert read(other, partitions)["n"].to_pylist() == [10]


def test_an_empty_result_has_its_schema_in_every_partition(adbc, cursor, stream):
    partitions, schema = cursor.adbc_execute_partitions(f"SELECT time, value FROM {stream} WHERE false")
    assert schema == POINTS
    for partition in partitions:
        table = read(adbc, [partition])
        assert table.schema == POINTS and table.num_rows == 0


def test_partitions_need_the_key_as_everything_does(guarded):
    uri = f"grpc://{guarded.tcp}"
    with connect(uri, db_kwargs={"username": "analyst", "password": KEY}) as connection, connection.cursor() as cursor:
        partitions, _ = cursor.adbc_execute_partitions("SELECT 1")
    with connect(uri, autocommit=True) as stranger, pytest.raises(Error, match="invalid api key") as raised:
        read(stranger, partitions)
    assert raised.value.status_code == AdbcStatusCode.UNAUTHENTICATED
    with connect(uri, db_kwargs={"username": "somebody else", "password": KEY}) as other:
        assert read(other, partitions).num_rows == 1


def test_tickets_that_were_tampered_with_are_refused(adbc, cursor, stream):
    partitions, _ = cursor.adbc_execute_partitions(f"SELECT value FROM {stream}")
    info = fl.FlightInfo.deserialize(partitions[0])
    ticket = info.endpoints[0].ticket.ticket
    for position in (len(ticket) // 2, len(ticket) - 1):
        changed = bytearray(ticket)
        changed[position] ^= 1
        forged = fl.FlightInfo(info.schema, info.descriptor, [fl.FlightEndpoint(bytes(changed), [])], -1, -1)
        with pytest.raises(ProgrammingError) as raised:
            read(adbc, [forged.serialize()])
        assert raised.value.status_code in (AdbcStatusCode.INVALID_ARGUMENT, AdbcStatusCode.UNAUTHORIZED)
    assert read(adbc, partitions).num_rows == 10


def test_garbage_is_no_partition(adbc):
    with pytest.raises(ProgrammingError):
        read(adbc, [b"garbage"])


def test_one_endpoint_is_what_clients_get_that_ask_for_nothing(flight, cursor, stream):
    """Several read only the first."""
    partitions, _ = cursor.adbc_execute_partitions(f"SELECT value FROM {stream}")
    assert len(partitions) == 1


SEVERAL = {"adbc.flight.sql.rpc.call_header.x-btrdb-endpoints": "4"}


@pytest.fixture
def long(flight, collection):
    """The table of a stream that is worth dividing."""
    count = 200_000
    put(flight, [collection, "long"], points(range(count), [float(number) for number in range(count)]))
    return f'"{collection}".long'


@pytest.mark.skipif(LOOP, reason="a BTrDB elsewhere numbers no states, and what it answers is not divided")
@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_several_endpoints_are_the_result_in_order(adbc, cursor, long, order):
    sql = f"SELECT time, value FROM {long} WHERE value > 100 ORDER BY time {order}"
    cursor.execute(sql)
    expected = cursor.fetch_arrow_table().combine_chunks()
    with adbc.cursor(adbc_stmt_kwargs=SEVERAL) as divided:
        partitions, schema = divided.adbc_execute_partitions(sql)
        assert schema == expected.schema and 2 <= len(partitions) <= 4
        parts = [read(adbc, [partition]) for partition in partitions]
        assert sum(part.num_rows > 0 for part in parts) >= 2, "the work is divided, and not only the list"
        assert pa.concat_tables(parts).combine_chunks() == expected
        # The driver reads them side by side, and hands them on one after the other.
        divided.execute(sql)
        assert divided.fetch_arrow_table().combine_chunks() == expected


def test_what_cannot_be_divided_has_one_endpoint(adbc, long):
    with adbc.cursor(adbc_stmt_kwargs=SEVERAL) as divided:
        for sql in (f"SELECT count(*), median(value) FROM {long}", "SELECT 1"):
            partitions, _ = divided.adbc_execute_partitions(sql)
            assert len(partitions) == 1


@pytest.mark.skipif(LOOP, reason="a BTrDB elsewhere numbers no states, and what it answers is not divided")
def test_several_endpoints_read_one_snapshot(flight, adbc, long, collection):
    with adbc.cursor(adbc_stmt_kwargs=SEVERAL) as divided:
        partitions, _ = divided.adbc_execute_partitions(f"SELECT time, value FROM {long}")
        put(flight, [collection, "long"], points([5], [-1.0]))
        assert read(adbc, partitions).num_rows == 200_000

"""Incremental execution: polling for a result that is not yet there, with progress."""

import threading
import time

import adbc_driver_flightsql
import adbc_driver_manager
import grpc
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from adbc_driver_flightsql.dbapi import Error, OperationalError, ProgrammingError
from adbc_driver_manager import AdbcStatusCode, StatementOptions
from adbc_servers import connect, one, seconds_until_rest
from adbc_stream import stream  # noqa: F401
from adbc_wire import encoded, fields
from conftest import points, put

INCREMENTAL = {StatementOptions.INCREMENTAL.value: "true"}
LAST_INFO = adbc_driver_flightsql.StatementOptions.LAST_FLIGHT_INFO.value


def progress(cursor):
    return cursor.adbc_statement.get_option_float(StatementOptions.PROGRESS.value)


def poll_to_the_end(cursor, sql, parameters=None):
    """All partitions of `sql`, its schema, and how far it was each time that there were some."""
    partitions, schema, reached = [], None, []
    for _ in range(1000):
        more, told = cursor.adbc_execute_partitions(sql, parameters)
        schema = told or schema
        if not more:
            return partitions, schema, reached
        partitions += more
        reached.append(progress(cursor))
    pytest.fail("the statement has a thousand partitions")


def read(connection, partitions):
    tables = []
    for partition in partitions:
        with connection.cursor() as cursor:
            cursor.adbc_read_partition(partition)
            tables.append(cursor.fetch_arrow_table())
    return pa.concat_tables(tables)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS one",
        "SELECT time, value FROM {stream} ORDER BY time",
        "SELECT time, value FROM {stream} WHERE false",
        "SELECT count(*), avg(value) FROM {stream}",
        "SELECT a.value + b.value AS total FROM {stream} a CROSS JOIN {stream} b ORDER BY total",
    ],
)
def test_a_polled_statement_answers_what_it_answers_otherwise(adbc, cursor, stream, sql):
    sql = sql.format(stream=stream)
    cursor.execute(sql)
    expected = cursor.fetch_arrow_table()
    with adbc.cursor(adbc_stmt_kwargs=INCREMENTAL) as polled:
        partitions, schema, reached = poll_to_the_end(polled, sql)
        assert schema == expected.schema
        assert all(0 <= earlier <= later <= 1 for earlier, later in zip(reached, reached[1:]))
        assert read(adbc, partitions) == expected
        assert progress(polled) == 0.0, "ready for the next"


def test_what_is_done_at_once_says_so(adbc):
    with adbc.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor:
        for _ in range(2):
            partitions, schema, reached = poll_to_the_end(cursor, "SELECT 1 AS one")
            assert len(partitions) == 1 and schema.names == ["one"] and reached == [1.0]


def test_parameters_are_polled_with(adbc, stream):
    with adbc.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor:
        partitions, _, _ = poll_to_the_end(cursor, f"SELECT value FROM {stream} WHERE value > ?", (7.5,))
        assert sorted(read(adbc, partitions)["value"].to_pylist()) == [8.0, 9.0]


def test_a_statement_that_was_not_prepared_is_polled_too(adbc, stream):
    with adbc_driver_manager.AdbcStatement(adbc.adbc_connection) as statement:
        statement.set_options(**INCREMENTAL)
        statement.set_sql_query(f"SELECT count(*) AS n FROM {stream}")
        partitions, schema, _ = statement.execute_partitions()
        assert pa.schema(schema).names == ["n"]
        assert read(adbc, partitions)["n"].to_pylist() == [10]
        assert statement.execute_partitions()[0] == []


def test_a_polled_statement_belongs_to_its_transaction(flight, server, stream, collection):
    with connect(server) as connection, connection.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor:
        assert one(connection, f"SELECT count(*) FROM {stream}") == 10
        put(flight, [collection, "a"], points([99], [99.0]))
        partitions, _, _ = poll_to_the_end(cursor, f"SELECT count(*) AS n FROM {stream}")
        assert read(connection, partitions)["n"].to_pylist() == [10]
        connection.commit()
        partitions, _, _ = poll_to_the_end(cursor, f"SELECT count(*) AS n FROM {stream}")
        assert read(connection, partitions)["n"].to_pylist() == [11]


def test_a_mistake_is_told_and_the_cursor_goes_on(adbc, stream):
    with adbc.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor:
        with pytest.raises(ProgrammingError, match="nothing_here"):
            cursor.adbc_execute_partitions("SELECT * FROM nothing_here")
        partitions, _, _ = poll_to_the_end(cursor, f"SELECT count(*) AS n FROM {stream}")
        assert read(adbc, partitions)["n"].to_pylist() == [10]


def test_the_last_info_can_be_looked_at(adbc, stream):
    with adbc.cursor() as cursor:
        assert cursor.adbc_statement.get_option_bytes(LAST_INFO) == b""
        cursor.adbc_statement.set_options(**INCREMENTAL)
        cursor.adbc_execute_partitions(f"SELECT value FROM {stream}")
        info = fl.FlightInfo.deserialize(cursor.adbc_statement.get_option_bytes(LAST_INFO))
        assert info.schema.names == ["value"]
        assert len(info.endpoints) >= 1


def test_an_insert_is_polled_once(adbc, collection):
    with adbc.cursor() as cursor:
        cursor.execute(f"INSERT INTO streams (collection, name) VALUES ('{collection}', 'a')")
    with adbc.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor:
        partitions, _, _ = poll_to_the_end(cursor, f'INSERT INTO "{collection}".a VALUES (to_timestamp_nanos(1), 1)')
        if partitions:
            read(adbc, partitions)
    assert one(adbc, f'SELECT count(*) FROM "{collection}".a') == 1


SLOW = """
    SELECT sum(a.value * b.value) AS total
    FROM {stream} a CROSS JOIN {stream} b CROSS JOIN {stream} c CROSS JOIN {stream} d CROSS JOIN {stream} e CROSS JOIN {stream} f
"""


def test_polls_keep_their_contract(wire, stream):
    """Every answer has an info; endpoints only ever get more; the last one has nothing to ask again with."""
    with connect(wire, autocommit=True) as connection:
        with connection.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor:
            partitions, _, _ = poll_to_the_end(cursor, SLOW.format(stream=stream))
        assert read(connection, partitions)["total"].to_pylist() == [45.0 * 45.0 * 10_000]
    polls = [fields(call.answers[0]) for call in wire.of("PollFlightInfo")]
    assert polls and all(1 in poll for poll in polls)
    endpoints = [fields(poll[1][0]).get(3, []) for poll in polls]
    for earlier, later in zip(endpoints, endpoints[1:]):
        assert later[: len(earlier)] == earlier
    assert [2 in poll for poll in polls] == [True] * (len(polls) - 1) + [False]


def test_a_poll_can_be_repeated(wire, flight, stream):
    """A client that lost an answer asks again with what it asked before."""
    with connect(wire, autocommit=True) as connection:
        with connection.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor:
            poll_to_the_end(cursor, SLOW.format(stream=stream))
    with grpc.insecure_channel(wire.uri.removeprefix("grpc://")) as channel:
        poll = channel.unary_unary("/arrow.flight.protocol.FlightService/PollFlightInfo")
        for call in wire.of("PollFlightInfo"):
            again = fields(poll(call.requests[0]))
            assert len(fields(again[1][0]).get(3, [])) >= len(fields(fields(call.answers[0])[1][0]).get(3, []))


@pytest.fixture
def endless(adbc, stream, collection):
    """A write that takes for ever to find nothing."""
    with adbc.cursor() as cursor:
        cursor.execute(f"INSERT INTO streams (collection, name) VALUES ('{collection}', 'target')")
    joins = "".join(f" CROSS JOIN {stream} {name}" for name in "bcdefghijklm")
    return f'INSERT INTO "{collection}".target SELECT a.time, a.value FROM {stream} a{joins} WHERE sqrt(a.value + m.value) < 0'


def test_a_poll_is_cancelled(server, flight, adbc, endless):
    with adbc.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor:
        timer = threading.Timer(1, cursor.adbc_cancel)
        timer.start()
        started = time.monotonic()
        # The server has no result yet, and keeps the driver polling.
        with pytest.raises(OperationalError, match="(?i)cancel") as raised:
            poll_to_the_end(cursor, endless)
        timer.join()
        assert raised.value.status_code == AdbcStatusCode.CANCELLED
        # The driver waits longer and longer between two polls, and looks up only then.
        assert time.monotonic() - started < 5
        info = cursor.adbc_statement.get_option_bytes(LAST_INFO)
    # What is polled for outlives its polls, for a client that comes back. The driver does not say that it will not.
    (answer,) = flight.do_action(fl.Action("CancelFlightInfo", encoded(1, info)))
    assert fields(answer.body.to_pybytes())[1][0] in (1, 2), "cancelled, or about to be"
    seconds_until_rest(server.process)
    assert one(adbc, "SELECT 1") == 1


def test_the_mode_is_left_only_between_statements(adbc, stream):
    with adbc.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor:
        poll_to_the_end(cursor, f"SELECT count(*) FROM {stream}")
        cursor.adbc_statement.set_options(**{StatementOptions.INCREMENTAL.value: "false"})
        cursor.execute(f"SELECT count(*) FROM {stream}")
        assert cursor.fetchone() == (10,)


def test_a_failure_at_run_time_reaches_the_one_who_polls(adbc, stream):
    sql = f"SELECT 1 / (CAST(value AS BIGINT) - 5) FROM {stream}"
    with adbc.cursor(adbc_stmt_kwargs=INCREMENTAL) as cursor, pytest.raises(Error, match="(?i)divide by zero"):
        partitions, _, _ = poll_to_the_end(cursor, sql)
        read(adbc, partitions)

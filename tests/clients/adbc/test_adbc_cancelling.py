"""Cancelling, leaving, and deadlines: the work stops, the client is told, and the connection goes on."""

import threading
import time

import adbc_driver_flightsql
import numpy as np
import pyarrow.flight as fl
import pytest
from adbc_driver_flightsql.dbapi import Error, OperationalError
from adbc_driver_manager import AdbcStatusCode
from adbc_servers import connect, one, seconds_until_rest
from conftest import Server, points, put

OPTIONS = adbc_driver_flightsql.StatementOptions

POINTS_COUNT = 100_000

# Ten thousand million rows, so that neither ends by itself.
ROWS = 'SELECT a.time, a.value, b.value AS other FROM "work".a a CROSS JOIN "work".a b'
# No pair passes, so the join never hands a row on.
NO_PAIR = 'SELECT count(*) FROM "work".a a JOIN "work".a b ON sqrt(a.value + b.value) < 0'
NO_ROWS = 'SELECT sum(sqrt(a.value * b.value)) AS total FROM "work".a a CROSS JOIN "work".a b CROSS JOIN "work".a c'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One of its own: its processors are watched."""
    server = Server(tmp_path_factory.mktemp("cancelling"), "--data", "memory:")
    with fl.connect(server.uri) as client:
        put(client, ["work", "a"], points(np.arange(POINTS_COUNT), np.arange(POINTS_COUNT, dtype=float)))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def at_rest(server):
    """Each test starts with a server that has nothing to do, and leaves it so within a second or so."""
    seconds_until_rest(server.process)
    yield
    seconds_until_rest(server.process)


def later(seconds, act):
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def assert_cancelled(raised):
    assert isinstance(raised.value, OperationalError)
    assert raised.value.status_code == AdbcStatusCode.CANCELLED


def test_a_result_is_cancelled_while_it_is_read(server):
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(ROWS)
        assert len(cursor.fetchmany(10)) == 10
        cursor.adbc_cancel()
        with pytest.raises(Error) as raised:
            cursor.fetch_arrow_table()
        assert_cancelled(raised)
        assert seconds_until_rest(server.process) < 1.5
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize("sql", [NO_ROWS, NO_PAIR], ids=["sums", "no pair"])
def test_a_statement_that_answers_nothing_yet_is_cancelled(server, sql):
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        timer = later(0.5, cursor.adbc_cancel)
        started = time.monotonic()
        with pytest.raises(Error) as raised:
            cursor.fetchone()
        assert_cancelled(raised)
        assert time.monotonic() - started < 1.5
        timer.join()
        assert seconds_until_rest(server.process) < 1.5
        assert one(connection, 'SELECT count(*) FROM "work".a') == POINTS_COUNT


def test_closing_a_cursor_stops_its_work(server):
    with connect(server) as connection:
        for sql in (ROWS, NO_ROWS, NO_PAIR):
            cursor = connection.cursor()
            cursor.execute(sql)
            time.sleep(0.3)
            cursor.close()
            assert seconds_until_rest(server.process) < 1.5


def test_closing_a_connection_stops_its_work(server):
    connection = connect(server)
    with connection.cursor() as cursor:
        cursor.execute(ROWS)
        assert len(cursor.fetchmany(10)) == 10
    connection.close()
    assert seconds_until_rest(server.process) < 1.5


def test_executing_the_next_statement_stops_the_one_before(server):
    with connect(server) as connection, connection.cursor() as cursor:
        for _ in range(5):
            cursor.execute(ROWS)
            assert len(cursor.fetchmany(10)) == 10
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
        assert seconds_until_rest(server.process) < 1.5


def test_a_cancelled_result_frees_its_memory(server):
    with connect(server) as connection, connection.cursor() as cursor:
        before = server.resident_bytes()
        for _ in range(5):
            cursor.execute('SELECT a.value, b.value FROM "work".a a JOIN "work".a b ON a.value < b.value ORDER BY 1, 2')
            time.sleep(0.5)
            cursor.adbc_cancel()
            with pytest.raises(Error):
                cursor.fetchall()
            seconds_until_rest(server.process)
        assert seconds_until(lambda: server.resident_bytes() < before + (64 << 20)) < 5, "given back to the system"


def seconds_until(is_so, patience=10):
    started = time.monotonic()
    while not is_so() and time.monotonic() - started < patience:
        time.sleep(0.1)
    return time.monotonic() - started


def test_a_reader_that_pauses_costs_no_work_and_little_memory(server):
    with connect(server) as connection, connection.cursor() as cursor:
        before = server.resident_bytes()
        cursor.execute(ROWS)
        assert len(cursor.fetchmany(10)) == 10
        assert seconds_until_rest(server.process) < 3, "nothing is made ahead without bounds"
        assert server.resident_bytes() - before < 128 << 20
        rest = cursor.fetch_record_batch()
        assert sum(rest.read_next_batch().num_rows for _ in range(50)) > 0, "and it goes on"


def test_cancelling_what_is_over_is_harmless(server):
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.adbc_cancel()
        cursor.execute("SELECT 1")
        cursor.fetchall()
        cursor.adbc_cancel()
        connection.adbc_cancel()
        cursor.execute("SELECT 2")
        assert cursor.fetchone() == (2,)


# Deadlines


def test_a_fetch_that_takes_too_long_is_a_timeout(server):
    with connect(server) as connection:
        with connection.cursor(adbc_stmt_kwargs={OPTIONS.TIMEOUT_FETCH.value: "0.5"}) as cursor:
            started = time.monotonic()
            cursor.execute(NO_ROWS)
            with pytest.raises(Error) as raised:
                cursor.fetchone()
            assert raised.value.status_code == AdbcStatusCode.TIMEOUT
            assert time.monotonic() - started < 2
        assert seconds_until_rest(server.process) < 1.5
        assert one(connection, "SELECT 1") == 1


def test_a_long_result_is_cut_by_its_deadline_too(server):
    with connect(server) as connection:
        with connection.cursor(adbc_stmt_kwargs={OPTIONS.TIMEOUT_FETCH.value: "0.5"}) as cursor:
            cursor.execute(ROWS)
            with pytest.raises(Error) as raised:
                cursor.fetch_arrow_table()
            assert raised.value.status_code == AdbcStatusCode.TIMEOUT


COPY = """
    INSERT INTO "work".b
    SELECT a.time, a.value FROM "work".a a CROSS JOIN "work".a b CROSS JOIN "work".a c WHERE sqrt(b.value + c.value) < 0
"""


@pytest.fixture
def target(flight):
    """A second stream, into which a statement writes that takes for ever to find nothing."""
    put(flight, ["work", "b"], points([0], [0.0]))


# A statement of which the server says that it writes is an update to the driver, however it is given.
@pytest.mark.parametrize("path", ["execute", "executemany"])
def test_a_write_that_takes_too_long_is_a_timeout(server, target, path):
    with connect(server) as connection:
        with connection.cursor(adbc_stmt_kwargs={OPTIONS.TIMEOUT_UPDATE.value: "0.5"}) as cursor:
            started = time.monotonic()
            with pytest.raises(Error) as raised:
                cursor.execute(COPY) if path == "execute" else cursor.executemany(COPY, None)
            assert raised.value.status_code == AdbcStatusCode.TIMEOUT
            assert time.monotonic() - started < 2
    assert seconds_until_rest(server.process) < 1.5


@pytest.mark.parametrize("path", ["execute", "executemany"])
def test_a_write_is_cancelled(server, target, path):
    with connect(server) as connection, connection.cursor() as cursor:
        timer = later(0.5, cursor.adbc_cancel)
        started = time.monotonic()
        with pytest.raises(Error) as raised:
            cursor.execute(COPY) if path == "execute" else cursor.executemany(COPY, None)
        assert_cancelled(raised)
        assert time.monotonic() - started < 2
        timer.join()
        assert seconds_until_rest(server.process) < 1.5


def test_deadlines_of_every_kind_reach_the_server(wire, flight):
    put(flight, ["work", "c"], points([0], [0.0]))
    limits = {OPTIONS.TIMEOUT_QUERY.value: "100", OPTIONS.TIMEOUT_FETCH.value: "200", OPTIONS.TIMEOUT_UPDATE.value: "300"}
    with connect(wire, db_kwargs=limits, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute('SELECT value FROM "work".c WHERE value > ?', (1,))
        cursor.fetchall()
        cursor.executemany('INSERT INTO "work".c VALUES (to_timestamp_nanos(?), 1)', [(1,), (2,)])
    for method, limit in (("GetFlightInfo", 100), ("DoGet", 200), ("DoPut", 300), ("DoAction", 300)):
        calls = wire.of(method)
        assert calls and all(limit - 50 < call.deadline <= limit for call in calls), method


def test_enough_time_is_no_timeout(server):
    limits = {OPTIONS.TIMEOUT_QUERY.value: "30", OPTIONS.TIMEOUT_FETCH.value: "30", OPTIONS.TIMEOUT_UPDATE.value: "30"}
    with connect(server, db_kwargs=limits) as connection:
        assert one(connection, 'SELECT count(*) FROM "work".a') == POINTS_COUNT

"""Errors: the class, the code, a sentence, and details."""

import threading
import time

import pytest
from adbc_driver_flightsql.dbapi import DatabaseError, Error, InternalError, NotSupportedError, OperationalError, ProgrammingError
from adbc_driver_manager import AdbcStatusCode
from adbc_servers import ask, connect, fresh_uuid, one
from conftest import Server, points, put

MISTAKES = {
    "SELECT": "INVALID_ARGUMENT",
    "SELEC 1": "INVALID_ARGUMENT",
    "SELECT nothing FROM streams": "INVALID_ARGUMENT",
    "SELECT * FROM nothing_here": "INVALID_ARGUMENT or NOT_FOUND",
    'SELECT * FROM "nothing/here".a': "NOT_FOUND",
    "SELECT * FROM raw_values('nothing/here/a')": "NOT_FOUND",
    "SELECT * FROM raw_values('00000000-0000-0000-0000-000000000001')": "NOT_FOUND",
    "SELECT * FROM raw_values()": "INVALID_ARGUMENT",
    "SELECT nothing_here(1)": "INVALID_ARGUMENT",
    "SELECT 1 + 'text'": "INVALID_ARGUMENT",
    "SELECT CAST('text' AS BIGINT)": "INVALID_ARGUMENT",
    "SELECT 1 / 0": "INVALID_ARGUMENT",
    "SELECT * FROM streams TABLESAMPLE BERNOULLI (10)": "NOT_IMPLEMENTED",
    "SET btrdb.pushdown = 'maybe'": "INVALID_ARGUMENT",
    "SELECT " + "(" * 3000 + "1" + ")" * 3000: "INVALID_ARGUMENT",
    "SELECT '" + "x" * (2 << 20) + "'": "INTERNAL",  # what the driver calls ResourceExhausted
}


@pytest.mark.parametrize("sql", MISTAKES, ids=lambda sql: sql[:40])
def test_a_mistake_has_its_code_and_a_short_sentence(cursor, sql):
    with pytest.raises(Error) as raised:
        cursor.execute(sql)
        cursor.fetchall()
    error, codes = raised.value, MISTAKES[sql]
    assert error.status_code.name in codes.split(" or ")
    kinds = {"NOT_IMPLEMENTED": NotSupportedError, "INTERNAL": InternalError}
    assert isinstance(error, kinds.get(codes, ProgrammingError))
    text = str(error)
    assert text.startswith(f"{error.status_code.name}: [FlightSQL] ")
    assert len(text) < 600
    for noise in ("DataFusionError", "Context(", "Plan(", "SchemaError", "panicked", "External", "backtrace", "src/"):
        assert noise not in text
    cursor.execute("SELECT 1")
    assert cursor.fetchall() == [(1,)]


def test_the_sentence_says_what_was_wrong(cursor):
    for sql, said in (
        ("SELECT nothing FROM streams", "nothing"),
        ("SELECT * FROM nothing_here", "nothing_here"),
        ("SELECT * FROM raw_values('some/where/a')", "some/where"),
        ("SELECT no_function(1)", "no_function"),
        ("SELECT CAST('text' AS BIGINT)", "text"),
    ):
        with pytest.raises(Error, match=said):
            cursor.execute(sql)
            cursor.fetchall()


def test_the_code_of_grpc_is_told(cursor):
    for sql, code in (("SELECT", "InvalidArgument"), ("SELECT * FROM raw_values('nothing/here/a')", "NotFound")):
        with pytest.raises(Error, match=rf"\({code}; Prepare\)"):
            cursor.execute(sql)


def test_btrdbs_number_of_a_mistake_is_a_detail(cursor):
    with pytest.raises(ProgrammingError) as raised:
        cursor.execute("SELECT * FROM raw_values('00000000-0000-0000-0000-000000000001')")
    assert dict(raised.value.details)[b"x-btrdb-code"] == b"404"


def test_a_statement_without_a_number_has_no_such_detail(cursor):
    with pytest.raises(ProgrammingError) as raised:
        cursor.execute("SELECT nothing FROM streams")
    assert b"x-btrdb-code" not in dict(raised.value.details)


@pytest.mark.parametrize("ask_for", ["prepare", "execute", "partitions", "schema", "update"])
def test_a_mistake_is_the_same_whatever_was_asked(cursor, ask_for):
    sql = "SELECT * FROM raw_values('nothing/here/a')"
    calls = {
        "prepare": lambda: cursor.adbc_prepare(sql),
        "execute": lambda: cursor.execute(sql),
        "partitions": lambda: cursor.adbc_execute_partitions(sql),
        "schema": lambda: cursor.adbc_execute_schema(sql),
        "update": lambda: cursor.executescript(sql),
    }
    with pytest.raises(ProgrammingError, match="nothing/here") as raised:
        calls[ask_for]()
    assert raised.value.status_code == AdbcStatusCode.NOT_FOUND


def test_a_failure_in_the_middle_of_a_result_is_told_when_it_is_reached(flight, cursor, collection):
    count = 300_000
    put(flight, [collection, "a"], points(range(count), [float(number) for number in range(count)]))
    cursor.execute(f'SELECT 1 / (CAST(value AS BIGINT) - {count - 1}) FROM "{collection}".a')
    with pytest.raises(ProgrammingError, match="(?i)divide by zero") as raised:
        cursor.fetch_arrow_table()
    assert raised.value.status_code == AdbcStatusCode.INVALID_ARGUMENT
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)


GREEDY = [
    "array_agg(a.value)",
    "string_agg(repeat(CAST(a.value AS VARCHAR), 100), ',')",
]


@pytest.mark.parametrize("columns", GREEDY)
def test_more_than_memory_holds_fails_alone(server, flight, cursor, collection, columns):
    """The statement is refused by its size, and the server stays, and stays small."""
    count = 200_000
    put(flight, [collection, "a"], points(range(count), [float(number) for number in range(count)]))
    before = server.resident_bytes()
    cursor.execute(f'SELECT {columns} FROM "{collection}".a a CROSS JOIN "{collection}".a b')
    ended = threading.Event()

    def watch():
        while not ended.wait(0.1):
            if server.resident_bytes() - before > 3 << 30:
                cursor.adbc_cancel()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(Error) as raised:
            cursor.fetch_arrow_table()
    finally:
        ended.set()
        watcher.join()
    # ResourceExhausted, which the driver calls internal.
    assert "(ResourceExhausted;" in str(raised.value) and raised.value.status_code == AdbcStatusCode.INTERNAL
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)


def test_what_is_there_already_is_told_apart(adbc, cursor, collection):
    uuid = fresh_uuid()
    cursor.execute("INSERT INTO streams (uuid, collection, name) VALUES (?, ?, 'a')", (uuid, collection))
    with pytest.raises(DatabaseError, match=uuid) as raised:
        cursor.execute("INSERT INTO streams (uuid, collection, name) VALUES (?, ?, 'b')", (uuid, collection))
    assert dict(raised.value.details)[b"x-btrdb-code"] == b"417"
    with pytest.raises(DatabaseError, match="exists"):
        cursor.adbc_ingest("a", points([0], [1.0]), mode="create", db_schema_name=collection)
    assert ask(adbc, "SELECT name FROM streams WHERE collection = ?", (collection,)) == [("a",)]


def test_a_write_that_fails_half_way_says_what_was_applied(adbc, cursor, collection):
    cursor.execute("INSERT INTO streams (collection, name) VALUES (?, 'a')", (collection,))
    rows = [(1, 1.0), (2, 2.0), (3, None)]
    with pytest.raises(Error) as raised:
        cursor.executemany(f'INSERT INTO "{collection}".a VALUES (to_timestamp_nanos(?), ?)', rows)
    stored = one(adbc, f'SELECT count(*) FROM "{collection}".a')
    assert stored == 0 or str(stored) in str(raised.value)


def test_a_server_that_is_gone_is_an_operational_error(tmp_path):
    server = Server(tmp_path, "--data", "memory:")
    connection = connect(server, autocommit=True)
    try:
        assert one(connection, "SELECT 1") == 1
        server.process.kill()
        server.process.wait()
        with pytest.raises(OperationalError) as raised:
            one(connection, "SELECT 1")
        assert raised.value.status_code == AdbcStatusCode.IO
    finally:
        connection.close()


def test_a_server_that_comes_back_is_found_by_an_open_connection(tmp_path):
    """Nothing but a transaction lives in the process that answered before."""
    first = Server(tmp_path)
    with connect(first, autocommit=True) as connection:
        assert one(connection, "SELECT 1") == 1
        first.stop()
        second = Server(tmp_path, "--listen", first.address)
        try:
            for _ in range(20):
                try:
                    assert one(connection, "SELECT 2") == 2
                    break
                except OperationalError:
                    time.sleep(0.2)
            else:
                pytest.fail("the connection did not find the server again")
        finally:
            second.stop()

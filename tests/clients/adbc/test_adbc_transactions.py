"""Transactions: the driver opens one at once, and reads one snapshot in it; what it writes is applied when it is written."""

import pytest
from adbc_driver_flightsql.dbapi import Error
from adbc_servers import ask, connect, one
from adbc_stream import stream  # noqa: F401
from conftest import points, put


def count(connection, stream):
    return one(connection, f"SELECT count(*) FROM {stream}")


def test_a_transaction_reads_one_snapshot(flight, server, stream, collection):
    with connect(server) as connection:
        assert count(connection, stream) == 10
        put(flight, [collection, "a"], points([99], [99.0]))
        assert count(connection, stream) == 10
        connection.commit()
        assert count(connection, stream) == 11


def test_its_snapshot_is_that_of_the_first_statement(flight, server, stream, collection):
    with connect(server) as connection:
        put(flight, [collection, "a"], points([99], [99.0]))
        assert count(connection, stream) == 11


def test_all_cursors_of_a_connection_are_in_its_transaction(flight, server, stream, collection):
    with connect(server) as connection, connection.cursor() as first, connection.cursor() as second:
        first.execute(f"SELECT count(*) FROM {stream}")
        assert first.fetchone() == (10,)
        put(flight, [collection, "a"], points([99], [99.0]))
        second.execute(f"SELECT count(*) FROM {stream}")
        assert second.fetchone() == (10,)


def test_a_snapshot_spans_streams(flight, server, collection):
    put(flight, [collection, "a"], points([0], [0.0]))
    put(flight, [collection, "b"], points([0], [0.0]))
    with connect(server) as connection:
        sql = f"SELECT count(*) FROM points WHERE collection = '{collection}'"
        assert one(connection, sql) == 2
        put(flight, [collection, "b"], points([1], [1.0]))
        assert one(connection, sql) == 2


def test_autocommit_sees_the_newest_in_every_statement(flight, adbc, stream, collection):
    for more in range(1, 4):
        put(flight, [collection, "a"], points([more * 99], [1.0]))
        assert count(adbc, stream) == 10 + more
    adbc.commit()
    adbc.rollback()


def test_autocommit_is_switched_on_an_open_connection(flight, server, stream, collection):
    with connect(server) as connection:
        assert count(connection, stream) == 10
        put(flight, [collection, "a"], points([99], [1.0]))
        assert count(connection, stream) == 10
        connection.adbc_connection.set_autocommit(True)
        assert count(connection, stream) == 11
        connection.adbc_connection.set_autocommit(False)
        assert count(connection, stream) == 11
        put(flight, [collection, "a"], points([100], [1.0]))
        assert count(connection, stream) == 11


def test_a_rollback_without_a_write_is_a_new_beginning(flight, server, stream, collection):
    with connect(server) as connection:
        assert count(connection, stream) == 10
        put(flight, [collection, "a"], points([99], [1.0]))
        connection.rollback()
        assert count(connection, stream) == 11


def test_commits_and_rollbacks_without_statements_are_harmless(server):
    with connect(server) as connection:
        for _ in range(5):
            connection.commit()
            connection.rollback()
        assert one(connection, "SELECT 1") == 1


def test_a_prepared_statement_outlives_commits(flight, server, stream, collection):
    with connect(server) as connection, connection.cursor() as cursor:
        for more in range(5):
            cursor.execute(f"SELECT count(*) FROM {stream} WHERE time >= ?", ("1960-01-01T00:00:00Z",))
            assert cursor.fetchone() == (10 + more,)
            put(flight, [collection, "a"], points([99 + more], [1.0]))
            cursor.execute(f"SELECT count(*) FROM {stream} WHERE time >= ?", ("1960-01-01T00:00:00Z",))
            assert cursor.fetchone() == (10 + more,)
            connection.commit()


def test_a_mistake_does_not_end_the_transaction(flight, server, stream, collection):
    with connect(server) as connection:
        assert count(connection, stream) == 10
        put(flight, [collection, "a"], points([99], [1.0]))
        with pytest.raises(Error):
            one(connection, "SELECT * FROM nothing_here")
        assert count(connection, stream) == 10


WRITES = {
    "query": lambda cursor, stream: cursor.execute(f"INSERT INTO {stream} VALUES (to_timestamp_nanos(?), 1)", (1,)),
    "update": lambda cursor, stream: cursor.executemany(f"INSERT INTO {stream} VALUES (to_timestamp_nanos(?), 1)", [(1,)]),
    "ingest": lambda cursor, stream: cursor.adbc_ingest(
        "a", points([1], [1.0]), mode="append", db_schema_name=stream.split('"')[1]
    ),
}


@pytest.fixture(params=WRITES)
def write(request):
    """Writes one point in one of the ways that the driver has."""
    return WRITES[request.param]


def test_a_transaction_sees_what_it_writes_and_nothing_of_others(flight, server, stream, collection, write):
    put(flight, [collection, "b"], points([0], [0.0]))
    with connect(server) as connection, connection.cursor() as cursor:
        sql = f"SELECT count(*) FROM points WHERE collection = '{collection}'"
        assert one(connection, sql) == 11
        put(flight, [collection, "b"], points([1], [1.0]))
        write(cursor, stream)
        assert one(connection, sql) == 12, "its own point, and not the other client's"
        connection.commit()
        assert one(connection, sql) == 13


def test_others_see_a_write_before_the_commit(server, adbc, stream, write):
    with connect(server) as connection, connection.cursor() as cursor:
        write(cursor, stream)
        assert count(adbc, stream) == 11
        connection.commit()
        assert count(adbc, stream) == 11


def test_a_rollback_after_a_write_says_what_stays(wire, adbc, stream, write):
    """The driver tells a user of an answer only when it is an error, and an error would hide why the user rolls back."""
    with connect(wire) as connection, connection.cursor() as cursor:
        write(cursor, stream)
        connection.rollback()
        ends = [call for call in wire.of("DoAction") if call.action() == "EndTransaction"]
        (said,) = [value for value in ends[-1].answer_headers.values() if "stays" in value]
        assert "1 rows" in said or "1 row" in said
        assert count(connection, stream) == 11
        # Nothing was written since, and nothing is said.
        connection.rollback()
        ends = [call for call in wire.of("DoAction") if call.action() == "EndTransaction"]
        assert not any("stays" in value for value in ends[-1].answer_headers.values())
    assert count(adbc, stream) == 11


def test_a_connection_that_closes_in_a_transaction_keeps_what_it_wrote(server, adbc, stream, write):
    with connect(server) as connection, connection.cursor() as cursor:
        write(cursor, stream)
    assert count(adbc, stream) == 11


def test_writes_of_several_statements_are_all_seen(server, collection):
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO streams (collection, name) VALUES (?, 'new')", (collection,))
        assert one(connection, "SELECT count(*) FROM streams WHERE collection = ?", (collection,)) == 1
        for number in range(3):
            cursor.execute(f'INSERT INTO "{collection}".new VALUES (to_timestamp_nanos(?), 1)', (number,))
        assert count(connection, f'"{collection}".new') == 3
        cursor.execute(f"UPDATE streams SET unit = 'V' WHERE collection = '{collection}'")
        assert one(connection, "SELECT unit FROM streams WHERE collection = ?", (collection,)) == "V"
        connection.commit()
        assert count(connection, f'"{collection}".new') == 3


def test_a_setting_of_the_transaction_governs_its_writes(server, adbc, stream):
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("SET btrdb.merge = 'replace'")
        for value in (1.0, 2.0):
            cursor.execute(f"INSERT INTO {stream} VALUES (to_timestamp_nanos(1), ?)", (value,))
        connection.commit()
    assert ask(adbc, f"SELECT value FROM {stream} WHERE time = to_timestamp_nanos(1)") == [(2.0,)]


def test_many_connections_have_their_own_snapshots(flight, server, stream, collection):
    connections = []
    try:
        for more in range(10):
            connection = connect(server)
            connections.append(connection)
            assert count(connection, stream) == 10 + more
            put(flight, [collection, "a"], points([99 + more], [1.0]))
        for more, connection in enumerate(connections):
            assert count(connection, stream) == 10 + more
    finally:
        for connection in connections:
            connection.close()


def test_transactions_that_clients_leave_open_are_no_burden(server):
    """Every connection opens one, and none is committed."""
    for _ in range(300):
        with connect(server) as connection:
            assert one(connection, "SELECT 1") == 1

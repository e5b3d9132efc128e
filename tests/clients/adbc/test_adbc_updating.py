"""Executing statements that write: by either path of the driver, and exactly once.

The driver executes what a cursor is given as a query, whatever it is: GetFlightInfo, then DoGet. What `executemany` and
`executescript` are given it executes as an update, with DoPut. The merge policy `never`, which is the default, keeps points
beside those of the same time, so that a statement that ran twice shows.
"""

import adbc_driver_manager
import pyarrow as pa
import pytest
from adbc_driver_flightsql.dbapi import Error, NotSupportedError, ProgrammingError
from adbc_servers import ask, connect, fresh_uuid, one
from adbc_stream import stream  # noqa: F401
from conftest import UTC, points, put


@pytest.fixture
def empty(adbc, collection):
    """The table of a stream without points."""
    with adbc.cursor() as cursor:
        cursor.execute(f"INSERT INTO streams (collection, name, unit) VALUES ('{collection}', 'a', 'V')")
    return f'"{collection}".a'


def test_an_insert_through_a_cursor_runs_once(adbc, cursor, empty):
    sql = f"INSERT INTO {empty} VALUES ('2024-01-01T00:00:00Z', 1.5)"
    cursor.execute(sql)
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 1
    cursor.fetchall()
    cursor.close()
    assert ask(adbc, f"SELECT value FROM {empty}") == [(1.5,)]


def test_an_insert_is_done_when_execute_returns(server, empty):
    """A later statement on the same connection sees it, and nothing of its result need have been read."""
    with connect(server, autocommit=True) as connection:
        for count in range(1, 21):
            with connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {empty} VALUES (to_timestamp_nanos({count}), {count})")
            assert one(connection, f"SELECT count(*) FROM {empty}") == count


def test_an_insert_answers_how_many_rows(cursor, empty):
    cursor.execute(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), 1), (to_timestamp_nanos(2), 2)")
    assert cursor.rowcount in (2, -1), "unknown, or how many it changed; never how many rows tell of it"
    assert cursor.fetchall() in ([], [(2,)]), "a driver that knows of updates executes it as one, and fetches nothing"


def test_executing_again_inserts_again(adbc, cursor, empty):
    sql = f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), 1)"
    for times in (1, 2, 3):
        cursor.execute(sql)
        assert one(adbc, f"SELECT count(*) FROM {empty}") == times


def test_preparing_an_insert_or_asking_for_its_schema_writes_nothing(adbc, cursor, empty):
    sql = f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), 1)"
    cursor.adbc_prepare(sql)
    cursor.adbc_execute_schema(sql)
    with adbc_driver_manager.AdbcStatement(adbc.adbc_connection) as statement:
        statement.set_sql_query(sql)
        statement.execute_schema()
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 0


def test_an_insert_by_the_query_path_without_preparation_runs_once(adbc, empty):
    with adbc_driver_manager.AdbcStatement(adbc.adbc_connection) as statement:
        statement.set_sql_query(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), 1)")
        handle, _ = statement.execute_query()
        pa.RecordBatchReader._import_from_c(handle.address).read_all()
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 1


def test_an_update_without_preparation_answers_how_many_rows(adbc, empty):
    with adbc_driver_manager.AdbcStatement(adbc.adbc_connection) as statement:
        statement.set_sql_query(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), 1), (to_timestamp_nanos(2), 2)")
        assert statement.execute_update() == 2
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 2


def test_a_prepared_update_without_parameters_runs_once(adbc, cursor, empty):
    cursor.executemany(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), 1)", None)
    assert cursor.rowcount == 1
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 1


def test_a_script_is_one_statement(adbc, cursor, empty):
    cursor.executescript(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), 1)")
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 1


def test_many_rows_are_inserted_by_one_call(adbc, cursor, empty):
    rows = [(number, float(number)) for number in range(1000)]
    cursor.executemany(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(?), ?)", rows)
    assert cursor.rowcount == 1000
    assert ask(adbc, f"SELECT count(*), sum(value) FROM {empty}") == [(1000, 499500.0)]


def test_many_rows_come_as_an_arrow_table(adbc, cursor, empty):
    rows = pa.table({"when": pa.array(range(5000), UTC), "what": pa.array(range(5000), pa.float64())})
    cursor.executemany(f"INSERT INTO {empty} VALUES ($1, $2)", rows)
    assert cursor.rowcount == 5000
    assert ask(adbc, f"SELECT count(*), min(time), max(value) FROM {empty}")[0][::2] == (5000, 4999.0)


def test_many_rows_come_in_several_batches(adbc, cursor, empty):
    batches = [pa.record_batch([pa.array([number], UTC), pa.array([1.0])], names=["0", "1"]) for number in range(20)]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    cursor.executemany(f"INSERT INTO {empty} VALUES (?, ?)", reader)
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 20


def test_no_rows_insert_nothing(adbc, cursor, empty):
    rows = pa.table({"when": pa.array([], UTC), "what": pa.array([], pa.float64())})
    cursor.executemany(f"INSERT INTO {empty} VALUES (?, ?)", rows)
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 0


def test_one_row_is_bound_by_execute(adbc, cursor, empty):
    for number in range(3):
        cursor.execute(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(?), ?)", (number, float(number)))
    assert ask(adbc, f"SELECT value FROM {empty} ORDER BY time") == [(0.0,), (1.0,), (2.0,)]


def test_rows_of_the_shared_table_go_to_their_streams(adbc, cursor, collection):
    for name in ("a", "b"):
        cursor.execute("INSERT INTO streams (collection, name) VALUES (?, ?)", (collection, name))
    rows = [(collection, name, number, float(number)) for number in range(10) for name in ("a", "b")]
    cursor.executemany("INSERT INTO points (collection, name, time, value) VALUES (?, ?, to_timestamp_nanos(?), ?)", rows)
    assert cursor.rowcount == 20
    sql = "SELECT name, count(*), sum(value) FROM points WHERE collection = ? GROUP BY name ORDER BY name"
    assert ask(adbc, sql, (collection,)) == [("a", 10, 45.0), ("b", 10, 45.0)]


def test_points_never_make_a_stream(adbc, cursor, collection):
    with pytest.raises(Error, match="no stream"):
        cursor.execute(
            "INSERT INTO points (collection, name, time, value) VALUES (?, 'none', to_timestamp_nanos(1), 1)", (collection,)
        )
    assert one(adbc, "SELECT count(*) FROM streams WHERE collection = ?", (collection,)) == 0


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_finite_number_is_never_stored(adbc, cursor, empty, value):
    with pytest.raises(ProgrammingError):
        cursor.execute(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), CAST('{value}' AS DOUBLE))")
    with pytest.raises(ProgrammingError):
        cursor.executemany(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(?), ?)", [(1, 1.0), (2, float(value))])
    with pytest.raises(ProgrammingError):
        cursor.execute(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), NULL)")
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 0


def test_a_stream_is_created_changed_and_removed(adbc, cursor, collection):
    cursor.execute(f"INSERT INTO streams (collection, name, unit) VALUES ('{collection}', 'a', 'V')")
    sql = f"SELECT unit, property_version FROM streams WHERE collection = '{collection}' AND name = 'a'"
    ((unit, before),) = ask(adbc, sql)
    assert unit == "V"
    cursor.execute(f"UPDATE streams SET unit = 'A' WHERE collection = '{collection}' AND name = 'a'")
    assert ask(adbc, sql) == [("A", before + 1)], "once"
    cursor.execute(f"DELETE FROM streams WHERE collection = '{collection}' AND name = 'a'")
    assert ask(adbc, sql) == []


def test_a_stream_can_be_given_its_uuid(adbc, cursor, collection):
    uuid = fresh_uuid()
    cursor.execute("INSERT INTO streams (uuid, collection, name) VALUES (?, ?, 'a')", (uuid, collection))
    assert ask(adbc, "SELECT uuid FROM streams WHERE collection = ?", (collection,)) == [(uuid,)]
    with pytest.raises(Error, match=uuid):
        cursor.execute("INSERT INTO streams (uuid, collection, name) VALUES (?, ?, 'b')", (uuid, collection))
    assert one(adbc, "SELECT count(*) FROM streams WHERE collection = ?", (collection,)) == 1


def test_streams_are_changed_row_by_row(adbc, cursor, collection):
    for name in ("a", "b", "c"):
        cursor.execute("INSERT INTO streams (collection, name) VALUES (?, ?)", (collection, name))
    rows = [("V", "a"), ("A", "b"), ("Hz", "c")]
    cursor.executemany(f"UPDATE streams SET unit = ? WHERE collection = '{collection}' AND name = ?", rows)
    assert cursor.rowcount == 3
    sql = f"SELECT unit FROM streams WHERE collection = '{collection}' ORDER BY name"
    assert ask(adbc, sql) == [("V",), ("A",), ("Hz",)]


def test_points_of_a_range_are_deleted(adbc, cursor, stream, collection):
    cursor.execute(
        f"DELETE FROM points WHERE collection = '{collection}' AND name = 'a'"
        " AND time >= '1970-01-01T00:00:02Z' AND time < '1970-01-01T00:00:05Z'"
    )
    assert cursor.fetchall() in ([], [(3,)]), "points that were there"
    assert ask(adbc, f"SELECT count(*), sum(value) FROM {stream}") == [(7, 36.0)]


def test_a_delete_without_a_range_of_time_that_could_be_told_is_refused_before_anything_is_deleted(adbc, cursor, stream):
    with pytest.raises(Error, match="value"):
        cursor.execute(f"DELETE FROM {stream} WHERE value > 3")
    assert one(adbc, f"SELECT count(*) FROM {stream}") == 10


def test_points_are_not_updated_in_place(adbc, cursor, stream):
    with pytest.raises(Error):
        cursor.execute(f"UPDATE {stream} SET value = 0")
    assert one(adbc, f"SELECT sum(value) FROM {stream}") == 45.0


@pytest.mark.parametrize(("policy", "values"), [("never", [1.0, 2.0]), ("retain", [1.0]), ("replace", [2.0])])
def test_the_merge_policy_of_a_call_is_heeded(adbc, empty, policy, values):
    header = {"adbc.flight.sql.rpc.call_header.x-btrdb-merge": policy}
    for value in (1.0, 2.0):
        with adbc.cursor(adbc_stmt_kwargs=header) as cursor:
            cursor.execute(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(1), ?)", (value,))
    assert sorted(ask(adbc, f"SELECT value FROM {empty}")) == [(value,) for value in values]


def test_points_are_copied_from_a_query(adbc, cursor, stream, collection):
    cursor.execute("INSERT INTO streams (collection, name) VALUES (?, 'copy')", (collection,))
    cursor.execute(f'INSERT INTO "{collection}".copy SELECT time, value * 2 FROM {stream} WHERE value >= 5')
    assert ask(adbc, f'SELECT count(*), sum(value) FROM "{collection}".copy') == [(5, 70.0)]


def test_a_message_of_rows_larger_than_four_mebibytes_is_taken(adbc, cursor, empty):
    count = 400_000
    rows = pa.table({"0": pa.array(range(count), UTC), "1": pa.array(range(count), pa.float64())})
    cursor.executemany(f"INSERT INTO {empty} VALUES (?, ?)", rows.combine_chunks())
    assert one(adbc, f"SELECT count(*) FROM {empty}") == count


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (a INT)",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE points",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/copied.csv'",
        "TRUNCATE TABLE points",
    ],
)
def test_other_statements_are_refused_whichever_way_they_come(adbc, cursor, sql):
    for execute in (cursor.execute, lambda sql: cursor.executemany(sql, None), cursor.executescript):
        with pytest.raises((NotSupportedError, ProgrammingError)) as raised:
            execute(sql)
        assert len(str(raised.value)) < 400


def test_a_query_is_no_update(cursor):
    with pytest.raises(Error, match="query"):
        cursor.executemany("SELECT 1", None)


def test_an_update_that_changes_nothing_answers_zero(cursor, collection):
    cursor.executemany(f"UPDATE streams SET unit = 'V' WHERE collection = '{collection}'", None)
    assert cursor.rowcount == 0


def test_writes_show_in_every_way_of_reading(flight, adbc, cursor, empty, collection):
    put(flight, [collection, "a"], points([1], [1.0]))
    cursor.execute(f"INSERT INTO {empty} VALUES (to_timestamp_nanos(2), 2)")
    assert one(adbc, f"SELECT count(*) FROM {empty}") == 2
    assert one(adbc, f"SELECT sum(value) FROM points WHERE collection = '{collection}'") == 3.0
    assert one(adbc, f"SELECT point_count FROM streams WHERE collection = '{collection}'") == 2

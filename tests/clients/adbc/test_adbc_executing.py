"""Executing statements that read: schemas, results of every size, and values of every type."""

import datetime
import decimal
from concurrent.futures import ThreadPoolExecutor

import adbc_driver_flightsql
import adbc_driver_manager
import numpy as np
import pyarrow as pa
import pytest
from adbc_driver_flightsql.dbapi import ProgrammingError
from adbc_servers import SECOND, ask, connect, one
from adbc_stream import stream  # noqa: F401
from conftest import POINTS, UTC, points, put


def test_rows_come_in_the_order_of_the_statement(cursor, stream):
    cursor.execute(f"SELECT value FROM {stream} ORDER BY time DESC")
    assert [value for (value,) in cursor.fetchall()] == [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]


def test_rows_can_be_fetched_one_by_one_and_in_portions(cursor, stream):
    cursor.execute(f"SELECT value FROM {stream} ORDER BY time")
    assert cursor.fetchone() == (0.0,)
    assert cursor.fetchmany(3) == [(1.0,), (2.0,), (3.0,)]
    assert len(cursor.fetchall()) == 6
    assert cursor.fetchone() is None


def test_the_columns_are_described(cursor, stream):
    cursor.execute(f"SELECT time, value FROM {stream}")
    assert [column[0] for column in cursor.description] == ["time", "value"]
    assert cursor.fetch_arrow_table().schema == POINTS


def test_an_empty_result_has_its_schema(cursor, stream):
    cursor.execute(f"SELECT time, value FROM {stream} WHERE value > 100")
    table = cursor.fetch_arrow_table()
    assert table.num_rows == 0 and table.schema == POINTS
    cursor.execute(f"SELECT time, value FROM {stream} WHERE false")
    assert cursor.fetchall() == []


STATEMENTS = [
    "SELECT time, value FROM {stream}",
    "SELECT count(*), min(value), max(value), avg(value), sum(value), stddev(value) FROM {stream}",
    "SELECT min(time), max(time), first_value(value ORDER BY time) FROM {stream}",
    "SELECT date_bin(INTERVAL '2 seconds', time) AS bin, count(*) AS n, avg(value) FROM {stream} GROUP BY bin ORDER BY bin",
    "SELECT count(*), max(value) FROM {stream} WHERE value > 3",
    "SELECT count(value) FILTER (WHERE value > 3), median(value) FROM {stream}",
    "SELECT value, row_number() OVER (ORDER BY time), lag(value) OVER (ORDER BY time) FROM {stream}",
    "SELECT a.value, b.value FROM {stream} a LEFT JOIN {stream} b ON a.time = b.time AND b.value > 4",
    "SELECT 1 AS a UNION ALL SELECT value FROM {stream} UNION ALL SELECT NULL",
    "SELECT CASE WHEN value > 4 THEN value END, NULL, 'text', upper('text'), true, DATE '2024-01-01' FROM {stream}",
    "SELECT * FROM streams",
    "SELECT uuid, tags, annotations, version, point_count, earliest, latest FROM streams",
    "SELECT * FROM collections",
    "SELECT * FROM points WHERE collection = '{collection}'",
    "SELECT unit, name, count(*) FROM points WHERE collection = '{collection}' GROUP BY unit, name",
    "SELECT * FROM windows('{collection}/a', INTERVAL '2 seconds')",
    "SELECT * FROM aligned_windows('{collection}/a', 31)",
    "SELECT * FROM multi_values('{collection}/a')",
    "SELECT * FROM sampled_values(INTERVAL '1 second', '{collection}/a')",
    "SELECT * FROM nearest('{collection}/a', '1970-01-01T00:00:05Z')",
    "SELECT * FROM changes('{collection}/a', 0, 0)",
    "SELECT array_agg(value ORDER BY time), named_struct('a', 1, 'b', 'text') FROM {stream}",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM information_schema.columns WHERE table_name = 'points'",
    "VALUES (1, 'a'), (2.5, NULL)",
    "SHOW btrdb.pushdown",
    "EXPLAIN SELECT avg(value) FROM {stream}",
    "DESCRIBE streams",
]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_what_is_declared_is_delivered(adbc, cursor, stream, collection, sql):
    """The driver refuses a stream whose schema is not the declared one, to the nullability."""
    sql = sql.format(stream=stream, collection=collection)
    cursor.execute(sql)
    delivered = cursor.fetch_arrow_table()
    assert delivered.num_rows > 0
    delivered.validate(full=True)
    for field, column in zip(delivered.schema, delivered.columns):
        assert field.nullable or column.null_count == 0, field
    # Without execution: of a prepared statement, which is asked nothing more, and of a plain one.
    assert cursor.adbc_execute_schema(sql).remove_metadata() == delivered.schema.remove_metadata()
    with adbc_driver_manager.AdbcStatement(adbc.adbc_connection) as statement:
        statement.set_sql_query(sql)
        plain = pa.schema(statement.execute_schema())
    assert plain.remove_metadata() == delivered.schema.remove_metadata()


def test_a_schema_comes_without_execution(wire, stream):
    sql = f"SELECT a.time, b.value FROM {stream} a CROSS JOIN {stream} b CROSS JOIN {stream} c"
    with connect(wire, autocommit=True) as connection:
        before = len(wire.of("DoGet"))
        with connection.cursor() as cursor:
            assert cursor.adbc_execute_schema(sql) == POINTS
        with adbc_driver_manager.AdbcStatement(connection.adbc_connection) as statement:
            statement.set_sql_query(sql)
            assert pa.schema(statement.execute_schema()) == POINTS
        assert len(wire.of("GetSchema")) == 1, "a statement that was prepared knows its schema"
        assert not wire.of("GetFlightInfo")[before:] and len(wire.of("DoGet")) == before


def test_types_are_ones_that_every_client_knows(cursor):
    cursor.execute(
        "SELECT CAST('a' AS VARCHAR) AS text, arrow_cast('a', 'Utf8View') AS view,"
        " arrow_cast('a', 'Dictionary(Int32, Utf8)') AS word, arrow_cast('a', 'BinaryView') AS bytes"
    )
    schema = cursor.fetch_arrow_table().schema
    assert schema.types == [pa.string(), pa.string(), pa.string(), pa.binary()]


def test_values_of_every_type_arrive_as_they_are(cursor):
    cursor.execute(
        "SELECT CAST(-128 AS TINYINT), CAST(18446744073709551615 AS BIGINT UNSIGNED), CAST(-9223372036854775808 AS BIGINT),"
        " CAST(1.5 AS REAL), CAST('-0.0' AS DOUBLE), CAST(12.345 AS DECIMAL(10, 3)), true, 'ünï', X'00ff', DATE '2024-02-29',"
        " to_timestamp_nanos(1700000000123456789), CAST(NULL AS DOUBLE), CAST('4.9406564584124654e-324' AS DOUBLE)"
    )
    (row,) = cursor.fetch_arrow_table().to_pylist()
    values = list(row.values())
    assert values[:4] == [-128, 18446744073709551615, -9223372036854775808, 1.5]
    assert values[4] == 0 and np.signbit(values[4])
    assert values[5:10] == [decimal.Decimal("12.345"), True, "ünï", b"\x00\xff", datetime.date(2024, 2, 29)]
    assert values[10].value == 1700000000123456789
    assert values[11] is None
    assert values[12] == 5e-324


def test_points_come_back_bit_by_bit(flight, cursor, collection):
    values = [0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 0.1, 1 / 3]
    times = [-(2**60), -1, 0, 1, 2, 1700000000123456789, 2**61, 3 * 2**60 - 2]
    put(flight, [collection, "a"], points(times, values))
    cursor.execute(f'SELECT time, value FROM "{collection}".a')
    table = cursor.fetch_arrow_table()
    assert table.schema == POINTS
    assert table["time"].cast(pa.int64()).to_pylist() == times
    assert np.array(table["value"]).tobytes() == np.array(values).tobytes()


def test_a_long_result_is_whole_with_the_default_limit_on_messages(flight, cursor, collection):
    count = 2_500_000  # 40 MB: the driver takes messages of 16 MiB at most
    random = np.random.default_rng(5)
    table = points(np.arange(count) * SECOND, random.normal(size=count))
    put(flight, [collection, "a"], table)
    cursor.execute(f'SELECT time, value FROM "{collection}".a')
    answered = cursor.fetch_arrow_table()
    assert answered.combine_chunks() == table.combine_chunks()


def test_messages_fit_clients_that_take_four_mebibytes(server, flight, collection):
    count = 600_000
    put(flight, [collection, "a"], points(np.arange(count), np.ones(count)))
    limit = {adbc_driver_flightsql.DatabaseOptions.WITH_MAX_MSG_SIZE.value: str(4 << 20)}
    with connect(server, db_kwargs=limit) as connection, connection.cursor() as cursor:
        for columns in ("time, value", "time, value, repeat('text', 100)", "repeat('long', CASE WHEN value > 0 THEN 2000 END)"):
            cursor.execute(f'SELECT {columns} FROM "{collection}".a LIMIT 20000')
            assert cursor.fetch_arrow_table().num_rows == 20000
        cursor.execute(f'SELECT time, value FROM "{collection}".a')
        assert cursor.fetch_arrow_table().num_rows == count


def test_one_row_that_no_message_can_carry_fails_alone(cursor):
    cursor.execute("SELECT repeat('x', 3000000)")
    assert len(cursor.fetchone()[0]) == 3_000_000
    cursor.execute("SELECT repeat('x', 20000000)")
    with pytest.raises(Exception, match="larger than max"):
        cursor.fetchone()
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)


def test_results_arrive_while_the_statement_runs(server, flight, collection):
    """A result that nobody could hold: the first rows are there at once."""
    count = 100_000
    put(flight, [collection, "a"], points(np.arange(count), np.arange(count, dtype=float)))
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(f'SELECT a.time, a.value, b.value FROM "{collection}".a a CROSS JOIN "{collection}".a b')
        before = server.resident_bytes()
        assert len(cursor.fetchmany(1000)) == 1000
        assert server.resident_bytes() - before < 256 << 20


def test_several_cursors_of_a_connection_read_side_by_side(adbc, stream):
    with adbc.cursor() as first, adbc.cursor() as second:
        first.execute(f"SELECT value FROM {stream} ORDER BY time")
        second.execute(f"SELECT value FROM {stream} ORDER BY time DESC")
        pairs = [(first.fetchone(), second.fetchone()) for _ in range(10)]
        assert pairs == [((float(value),), (float(9 - value),)) for value in range(10)]


def test_a_cursor_is_used_again_before_its_rows_are_read(cursor, stream):
    for limit in range(1, 6):
        cursor.execute(f"SELECT value FROM {stream} ORDER BY time LIMIT {limit}")
        assert cursor.fetchone() == (0.0,)


def test_connections_are_cheap_and_can_be_cloned(server, stream):
    with connect(server) as connection, connection.adbc_clone() as clone:
        assert one(connection, f"SELECT count(*) FROM {stream}") == 10
        assert one(clone, f"SELECT count(*) FROM {stream}") == 10


def test_a_statement_that_answers_nothing_has_no_columns(server):
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("SET btrdb.pushdown = false")
        assert cursor.fetchall() == []
        assert cursor.fetch_arrow_table().num_columns == 0


def test_several_statements_in_one_text_are_refused(cursor):
    with pytest.raises(ProgrammingError, match="(?i)one statement"):
        cursor.execute("SELECT 1; SELECT 2")
    with pytest.raises(ProgrammingError):
        cursor.execute("")


def test_times_compare_as_instants(adbc, stream):
    berlin = "time >= '1970-01-01T01:00:03+01:00'"
    assert ask(adbc, f"SELECT min(value) FROM {stream} WHERE {berlin}") == [(3.0,)]
    with adbc.cursor() as cursor:
        cursor.execute(f"SELECT time FROM {stream} LIMIT 1")
        assert cursor.fetch_arrow_table().schema.field("time").type == UTC


def test_a_statement_may_end_with_semicolons(cursor):
    for sql in ("SELECT 1;", "SELECT 1;;", "SELECT 1; \n", "SELECT 1; -- done"):
        cursor.execute(sql)
        assert cursor.fetchall() == [(1,)]


@pytest.mark.parametrize("size", ["1", "50"])
def test_results_arrive_whole_whatever_the_driver_reads_ahead(adbc, flight, collection, size):
    count = 300_000
    put(flight, [collection, "a"], points(range(count), [1.0] * count))
    with adbc.cursor(adbc_stmt_kwargs={adbc_driver_flightsql.StatementOptions.QUEUE_SIZE.value: size}) as cursor:
        cursor.execute(f'SELECT time FROM "{collection}".a')
        assert cursor.fetch_arrow_table().num_rows == count


def test_connections_are_used_by_threads_side_by_side(server, stream):
    def count(_):
        with connect(server) as connection:
            return [one(connection, f"SELECT count(*) FROM {stream} WHERE value < {limit}") for limit in range(10)]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(count, range(16))) == [list(range(10))] * 16


def test_a_result_is_read_after_its_cursor_went_on_to_others(adbc, stream):
    """What was fetched belongs to the client."""
    with adbc.cursor() as cursor:
        cursor.execute(f"SELECT value FROM {stream} ORDER BY time")
        table = cursor.fetch_arrow_table()
        cursor.execute("SELECT 1")
    assert table["value"].to_pylist() == [float(value) for value in range(10)]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_bodies_are_read(wire, flight, collection, codec):
    count = 200_000
    table = points(range(count), [float(number % 10) for number in range(count)])
    put(flight, [collection, "a"], table)
    sizes = {}
    for headers in ({}, {"adbc.flight.sql.rpc.call_header.x-btrdb-compression": codec}):
        with connect(wire, autocommit=True) as connection, connection.cursor(adbc_stmt_kwargs=headers) as cursor:
            cursor.execute(f'SELECT time, value FROM "{collection}".a')
            assert cursor.fetch_arrow_table().combine_chunks() == table.combine_chunks()
        sizes[len(headers)] = sum(map(len, wire.of("DoGet")[-1].answers))
    assert sizes[1] < sizes[0] / 2


def test_columns_without_a_name_are_called_as_they_are_written(cursor, stream):
    def names(sql):
        cursor.execute(sql)
        return cursor.fetch_arrow_table().column_names

    assert names(f"SELECT 1, max(value), COUNT(*), value FROM {stream} GROUP BY value LIMIT 1") == ["1", "max(value)", "count(*)", "value"]
    assert names(f"SELECT time, time::text, time, 1, 1 FROM {stream}") == ["time", "time::TEXT", "time_1", "1", "1_1"]
    bucket = "date_bin(INTERVAL '1 minute', time)"
    assert names(f"SELECT {bucket}, count(*) FROM {stream} GROUP BY {bucket} ORDER BY {bucket}") == [bucket, "count(*)"]
    day = "time::DATE"
    assert names(f"SELECT {day}, count(*) FROM {stream} GROUP BY {day} ORDER BY {day}") == [day, "count(*)"]
    assert names(f"SELECT {day}, count(*) FROM {stream} GROUP BY ALL ORDER BY {day}") == [day, "count(*)"]
    assert names(f"FROM {stream} LIMIT 1") == ["time", "value"]


def test_the_present_is_in_utc(adbc, cursor, stream):
    cursor.execute(f"SELECT now() AS now, current_timestamp AS current, max(time) AS last, '2026-01-01T00:00:00Z'::timestamptz AS then FROM {stream}")
    table = cursor.fetch_arrow_table()
    assert [str(kind) for kind in table.schema.types] == ["timestamp[ns, tz=UTC]"] * 4
    ages = table.to_pandas()
    assert ((ages.now - ages["last"]).dt.days > 365).all()
    assert one(adbc, f"SELECT count(*) FROM {stream} WHERE time > now() - INTERVAL '1 hour'") == 0
    assert one(adbc, f"SELECT count(*) FROM {stream} WHERE time > now() - ?", (datetime.timedelta(hours=1),)) == 0


def test_no_call_makes_more_than_the_server_has(cursor):
    for call in ("array_repeat(1, 800000000)", "array_resize([1], 800000000)", "range(0, 500000000)", "generate_series(1, 900000000)"):
        with pytest.raises(adbc_driver_manager.Error, match="would make .* at most"):
            cursor.execute(f"SELECT cardinality({call})")
            cursor.fetchall()
    cursor.execute("SELECT cardinality(range(0, 1000))")
    assert cursor.fetchone() == (1000,)

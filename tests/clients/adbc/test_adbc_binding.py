"""Parameters: their schema, their order, their types, and what becomes of bad ones."""

import datetime
import decimal

import pyarrow as pa
import pytest
from adbc_driver_flightsql.dbapi import NotSupportedError, ProgrammingError
from adbc_driver_manager import AdbcStatusCode
from adbc_servers import ask, connect, one
from adbc_stream import stream  # noqa: F401


def parameters(cursor, sql):
    """The types of the parameters of `sql`, in order. They have no names, or those by which SQL knows them."""
    schema = cursor.adbc_prepare(sql)
    for ordinal, field in enumerate(schema, start=1):
        assert field.name in ("", f"${ordinal}") and field.nullable
    return schema.types


def test_the_types_of_parameters_are_told_in_order(cursor, stream):
    sql = f"SELECT * FROM {stream} WHERE value > ? AND time < ? AND value < ?"
    assert parameters(cursor, sql) == [pa.float64(), pa.timestamp("ns", tz="UTC"), pa.float64()]
    sql = "SELECT CAST($3 AS BIGINT) AS a, CAST($1 AS VARCHAR) AS b, CAST($2 AS DOUBLE) AS c, CAST($1 AS VARCHAR) AS d"
    assert parameters(cursor, sql) == [pa.string(), pa.float64(), pa.int64()]


def test_a_parameter_whose_type_nothing_tells_is_of_the_null_type(cursor):
    assert parameters(cursor, "SELECT $1") == [pa.null()]
    assert parameters(cursor, "SELECT ?, ?") == [pa.null(), pa.null()]
    # A number that is left out is a parameter too: values are bound by position.
    assert parameters(cursor, "SELECT CAST($3 AS BIGINT)") == [pa.null(), pa.null(), pa.int64()]


def test_a_statement_without_parameters_says_so(cursor):
    assert parameters(cursor, "SELECT '?', '$1' AS \"?\" -- ?") == []


@pytest.mark.parametrize("value", [1, 2.5, "text", True, b"\x00\xff", datetime.date(2024, 2, 29), None])
def test_an_untyped_parameter_takes_the_type_of_its_value(adbc, value):
    assert one(adbc, "SELECT $1", (value,)) == value
    assert one(adbc, "SELECT ?", (value,)) == value


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        ("? + ?", (1.5, 2.5), 4.0),
        ("? + ?", (1, 2.5), 3.5),
        ("coalesce(?, 2)", (1.5,), 1.5),
        ("greatest(?, 1)", (1.5,), 1.5),
        ("? IN (1, 2)", (1.5,), False),
        ("CASE WHEN true THEN ? ELSE 0 END", (0.5,), 0.5),
    ],
)
def test_a_value_is_not_cut_to_the_type_of_what_stands_beside_it(adbc, expression, values, expected):
    assert one(adbc, f"SELECT {expression}", values) == expected


def test_a_value_is_not_cut_to_the_type_of_another_row(adbc):
    assert sorted(ask(adbc, "SELECT ? AS x UNION ALL SELECT 2", (1.5,))) == [(1.5,), (2.0,)]


TWELVE = [1, 2.5, "three", None, 5, None, "seven", 8.125, True, 10, "eleven", -12]


@pytest.mark.parametrize("mark", ["?", "$"])
def test_twelve_parameters_keep_their_order_nulls_included(adbc, mark):
    types = [
        "BIGINT",
        "DOUBLE",
        "VARCHAR",
        "VARCHAR",
        "BIGINT",
        "DOUBLE",
        "VARCHAR",
        "DOUBLE",
        "BOOLEAN",
        "BIGINT",
        "VARCHAR",
        "BIGINT",
    ]
    marks = ["?" if mark == "?" else f"${ordinal}" for ordinal in range(1, 13)]
    columns = ", ".join(f"CAST({one} AS {kind}) AS c{number}" for number, (one, kind) in enumerate(zip(marks, types)))
    assert ask(adbc, f"SELECT {columns}", TWELVE) == [tuple(TWELVE)]
    # And without a hint of their types.
    columns = ", ".join(f"{one} AS c{number}" for number, one in enumerate(marks))
    assert ask(adbc, f"SELECT {columns}", TWELVE) == [tuple(TWELVE)]


def test_numbered_parameters_may_be_repeated_and_out_of_order(adbc):
    assert ask(adbc, "SELECT $2 AS a, $1 AS b, $2 AS c", ("one", "two")) == [("two", "one", "two")]


def test_names_of_columns_do_not_matter(cursor):
    row = pa.record_batch([pa.array(["first"]), pa.array(["second"])], names=["param_1", "param_0"])
    cursor.execute("SELECT ?, ?", row)
    assert cursor.fetchall() == [("first", "second")]
    row = pa.record_batch([pa.array([1]), pa.array([2])], names=["same", "same"])
    cursor.execute("SELECT $2, $1", row)
    assert cursor.fetchall() == [(2, 1)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3], pa.int8()),
        pa.array([3], pa.uint16()),
        pa.array([3], pa.uint64()),
        pa.array([3.0], pa.float32()),
        pa.array([3.0], pa.float16()),
        pa.array([decimal.Decimal("3.00")], pa.decimal128(10, 2)),
        pa.array(["3"]),
        pa.array(["3"], pa.large_string()),
        pa.array(["3"], pa.string_view()),
        pa.array(["3"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_a_value_is_compared_as_its_column_is(cursor, stream, column):
    for sql in (
        f"SELECT value FROM {stream} WHERE value = ?",
        f"SELECT value FROM {stream} WHERE value >= ? ORDER BY time LIMIT 1",
    ):
        cursor.execute(sql, pa.record_batch([column], names=["0"]))
        assert cursor.fetchall() == [(3.0,)]


@pytest.mark.parametrize(
    "when",
    [
        datetime.datetime(1970, 1, 1, 0, 0, 3, tzinfo=datetime.UTC),
        datetime.datetime(1970, 1, 1, 2, 0, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
        "1970-01-01T00:00:03Z",
        pa.record_batch([pa.array([3_000_000_000], pa.timestamp("ns", tz="UTC"))], names=["0"]),
        pa.record_batch([pa.array([3], pa.timestamp("s", tz="Europe/Berlin"))], names=["0"]),
        pa.record_batch([pa.array([3_000], pa.timestamp("ms"))], names=["0"]),
    ],
)
def test_times_are_instants_in_every_unit_and_zone(cursor, stream, when):
    cursor.execute(f"SELECT value FROM {stream} WHERE time = ?", when if isinstance(when, pa.RecordBatch) else (when,))
    assert cursor.fetchall() == [(3.0,)]


def test_nulls_are_bound_as_nulls(cursor, stream):
    sql = f"SELECT count(*) FROM {stream} WHERE value > coalesce(?, 6.5)"
    for row in (
        (None,),
        pa.record_batch([pa.nulls(1)], names=["0"]),
        pa.record_batch([pa.array([None], pa.float64())], names=["0"]),
    ):
        cursor.execute(sql, row)
        assert cursor.fetchall() == [(3,)]


def test_dense_unions_are_bound_as_what_is_in_them(cursor):
    """flightsql-dbapi binds every value so."""

    def union(value, kind):
        children = [pa.array(["" if kind else value]), pa.array([value if kind else 0], pa.int64())]
        return pa.UnionArray.from_dense(pa.array([kind], pa.int8()), pa.array([0], pa.int32()), children)

    row = pa.record_batch([union("text", 0), union(7, 1)], names=["param_0", "param_1"])
    cursor.execute("SELECT ?, ?", row)
    assert cursor.fetchall() == [("text", 7)]


def test_parameters_name_streams(adbc, cursor, stream, collection):
    assert one(adbc, "SELECT count(*) FROM raw_values(?)", (f"{collection}/a",)) == 10
    assert one(adbc, "SELECT count(*) FROM windows($1, INTERVAL '2 seconds')", (f"{collection}/a",)) == 5
    assert parameters(cursor, "SELECT * FROM raw_values(?) WHERE value > ?") == [pa.string(), pa.float64()]
    with pytest.raises(ProgrammingError, match="none") as raised:
        one(adbc, "SELECT count(*) FROM raw_values(?)", (f"{collection}/none",))
    assert raised.value.status_code == AdbcStatusCode.NOT_FOUND


def test_a_prepared_statement_is_executed_with_new_values_each_time(cursor, stream):
    sql = f"SELECT count(*) FROM {stream} WHERE value < ?"
    cursor.adbc_prepare(sql)
    for limit in (3, 0, 10, 7.5):
        cursor.execute(sql, (limit,))
        assert cursor.fetchone() == (len([value for value in range(10) if value < limit]),)


def test_it_is_prepared_once(wire, stream):
    sql = f"SELECT count(*) FROM {stream} WHERE value < ?"
    with connect(wire, autocommit=True) as connection, connection.cursor() as cursor:
        for limit in range(5):
            cursor.execute(sql, (limit,))
            assert cursor.fetchone() == (limit,)
    assert wire.actions().count("CreatePreparedStatement") == wire.actions().count("ClosePreparedStatement") == 1
    assert len(wire.of("DoPut")) == 5


def test_values_are_never_text_of_the_statement(adbc, stream):
    nasty = "'; DROP TABLE points; --"
    assert one(adbc, "SELECT ?", (nasty,)) == nasty
    assert one(adbc, "SELECT count(*) FROM streams WHERE name = ?", (nasty,)) == 0


def test_limits_can_be_bound(adbc, stream):
    assert len(ask(adbc, f"SELECT value FROM {stream} ORDER BY time LIMIT ? OFFSET ?", (3, 2))) == 3


@pytest.mark.parametrize("row", [(), (1,), (1, 2, 3)])
def test_too_few_and_too_many_values_are_counted(cursor, row):
    with pytest.raises(ProgrammingError, match="2 parameters") as raised:
        cursor.execute("SELECT CAST(? AS BIGINT) + CAST(? AS BIGINT)", row)
    assert raised.value.status_code == AdbcStatusCode.INVALID_ARGUMENT


def test_a_value_that_does_not_fit_is_refused_with_a_sentence(adbc, cursor, stream):
    with pytest.raises(ProgrammingError, match="no number"):
        cursor.execute(f"SELECT value FROM {stream} WHERE value > CAST(? AS DOUBLE)", ("no number",))
        cursor.fetchall()
    assert one(adbc, f"SELECT count(*) FROM {stream}") == 10


def test_dictionaries_are_refused_by_the_driver(cursor):
    with pytest.raises(NotSupportedError, match="bind_by_name"):
        cursor.execute("SELECT ?", {"a": 1})


def test_several_rows_of_a_query_are_answered_row_by_row(cursor, stream):
    rows = pa.record_batch([pa.array([8.0, 9.0, None, 5.0])], names=["0"])
    cursor.execute(f"SELECT value FROM {stream} WHERE value = ?", rows)
    assert cursor.fetchall() == [(8.0,), (9.0,), (5.0,)]
    batches = [pa.record_batch([pa.array([limit])], names=["0"]) for limit in (1, 2)]
    cursor.execute(f"SELECT value FROM {stream} WHERE value < ? ORDER BY time", pa.Table.from_batches(batches))
    assert cursor.fetchall() == [(0.0,), (0.0,), (1.0,)]


def test_a_parameter_may_stand_in_several_places(adbc, cursor, stream):
    bounds = f"SELECT count(*) FROM {stream} WHERE time >= $1 AND time < $1 + INTERVAL '1 minute'"
    assert parameters(cursor, bounds) == [pa.timestamp("ns", tz="UTC")]
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    everything = one(adbc, f"SELECT count(*) FROM {stream}")
    for since in (epoch, "1970-01-01T00:00:00Z"):
        assert one(adbc, bounds, (since,)) == everything
    assert parameters(cursor, f"SELECT * FROM {stream} WHERE time < ? + INTERVAL '1 minute'") == [pa.timestamp("ns", tz="UTC")]
    assert one(adbc, f"SELECT count(*) FROM {stream} WHERE value > $1 AND $1 < 5", (-1.5,)) == one(
        adbc, f"SELECT count(*) FROM {stream} WHERE value > -1.5"
    )
    # Nothing fits both: what is bound decides.
    assert parameters(cursor, "SELECT $1 + 1, $1 || 'a'") == [pa.null()]


def test_a_span_of_time_is_the_width_of_a_bucket(adbc, cursor, stream):
    buckets = f"SELECT date_bin(?, time) AS bucket, count(*) AS n FROM {stream} GROUP BY bucket ORDER BY bucket"
    assert parameters(cursor, buckets) == [pa.month_day_nano_interval()]
    written = buckets.replace("?", "INTERVAL '1 second'")
    assert ask(adbc, buckets, (datetime.timedelta(seconds=1),)) == ask(adbc, written)

"""The same questions over the same points, in SQL here and in DuckDB, with push-down and without: the answers agree.

Counts, extremes, times and text agree exactly. Columns named as in `TOLERANCES` are computed in floating point and may differ in the
order of their additions.
"""

import re
import time
from contextlib import ExitStack
from decimal import Decimal

import adbc_driver_flightsql.dbapi
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from conftest import UTC, Server, points, put, query
from duckdb_questions import QUESTIONS, TELLS_ZEROS_APART

SECOND = 1_000_000_000
YEAR = 366 * 24 * 3600 * SECOND
START = 1_700_000_000 * SECOND  # 2023-11-14T22:13:20Z
TIME_MIN, TIME_MAX = -(16 << 56), (48 << 56) - 2

# What the name of a column begins with, and its tolerance, given the greatest |value| and what DuckDB answers.
TOLERANCES = {
    "mean": lambda high, answer: 1e-9 * high,
    "median": lambda high, answer: 1e-9 * high,
    "stddev": lambda high, answer: 1e-9 * high,
    "var": lambda high, answer: 1e-9 * high**2,
    "square": lambda high, answer: 1e-9 * max(high**2, abs(answer)),
    # Stricter than 1e-9 * sum |x|, and needs no second query.
    "total": lambda high, answer: 1e-9 * max(high, abs(answer)),
}

# DuckDB rounds nanoseconds to the nearest microsecond before it buckets; these round down, as a bucket does.
MACROS = """
CREATE MACRO floor_to(x, width) AS x - ((x % width) + width) % width;
CREATE MACRO to_timestamp_nanos(x) AS make_timestamp_ns(x);
CREATE MACRO micros(t) AS make_timestamp(floor_to(epoch_ns(t), 1000) // 1000);
CREATE MACRO nanos_bin(width, t) AS make_timestamp_ns(floor_to(epoch_ns(t), width));
CREATE MACRO date_bin
    (width, t) AS time_bucket(width, micros(t), TIMESTAMP '1970-01-01'),
    (width, t, origin) AS time_bucket(width, micros(t), origin);
CREATE MACRO shift(t, nanoseconds) AS make_timestamp_ns(epoch_ns(t) + nanoseconds);
"""


def streams_of_points():
    """`collection, name, unit, times, values` of each stream that has points."""
    random = np.random.default_rng(23)

    # 30 Hz with jitter, and a gap of 100 s.
    times = START + np.arange(8000) * 33_333_333 + random.integers(-1000, 1000, 8000)
    times[5000:] += 100 * SECOND
    yield "duck/north", "voltage", "V", times, 120 + np.cumsum(random.normal(0, 0.05, 8000))

    # 10 Hz, of either sign; every 25th value is a zero of one sign or the other.
    times = START + np.arange(3000) * SECOND // 10
    values = 5 * np.sin(np.arange(3000) / 40) + random.normal(0, 0.1, 3000)
    values[::25], values[::50] = 0.0, -0.0
    yield "duck/north", "current", "A", times, values

    # Every other time is one of the current's, the rest are a nanosecond beside.
    yield "duck/south", "voltage", "V", times - np.arange(3000) % 2, random.normal(118, 2, 3000)

    # Four years at random; every tenth point has the time of its predecessor.
    times = np.sort(1_577_836_800 * SECOND + random.integers(0, 4 * YEAR, 4000))
    times[10::10] = times[9:-1:10]
    yield "duck/south", "frequency", "Hz", times, 60 + random.normal(0, 0.02, 4000)

    # All of time, its ends, and both sides of 1970.
    times = np.concatenate([[TIME_MIN, TIME_MIN, TIME_MAX, TIME_MAX], np.arange(-6, 6), random.integers(TIME_MIN, TIME_MAX, 484)])
    yield "duck/edge", "odd", "A", np.sort(times), np.round(random.normal(-3, 30, 500))

    # The last 25 hours by the minute, half a minute from where a test will look.
    times = time.time_ns() - 30 * SECOND - np.arange(1500)[::-1] * 60 * SECOND
    yield "duck/edge", "recent", "Hz", times, 50 + random.normal(0, 0.01, 1500)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One of its own, since questions are about all streams of the store."""
    server = Server(tmp_path_factory.mktemp("duckdb"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def duck(server):
    """DuckDB with the points that the server got, in the relations that it has. Its times do not say that they are UTC."""
    duck = duckdb.connect()
    duck.execute(MACROS)
    duck.execute("CREATE TABLE streams (uuid VARCHAR, collection VARCHAR, name VARCHAR, unit VARCHAR)")
    duck.execute("CREATE TABLE samples (uuid VARCHAR, time TIMESTAMP_NS, value DOUBLE)")
    duck.execute("CREATE VIEW points AS SELECT uuid, collection, name, unit, time, value FROM samples JOIN streams USING (uuid)")

    def create(uuid, collection, name, unit):
        duck.execute("INSERT INTO streams VALUES (?, ?, ?, ?)", [uuid, collection, name, unit])
        duck.execute(f'CREATE SCHEMA IF NOT EXISTS "{collection}"')
        duck.execute(f"""CREATE VIEW "{collection}".{name} AS SELECT time, value FROM samples WHERE uuid = '{uuid}'""")

    with fl.connect(server.uri) as client:
        for collection, name, unit, times, values in streams_of_points():
            rows = points(times, values)
            long = rows
            for position, (column, text) in enumerate({"collection": collection, "name": name, "unit": unit}.items()):
                long = long.add_column(position, column, pa.array([text] * len(rows)))
            (uuid,) = put(client, ["points"], long)[0]
            create(uuid, collection, name, unit)
            nanoseconds = rows.set_column(0, "time", rows["time"].cast(pa.int64()))  # noqa: F841, DuckDB finds it by name
            duck.execute("INSERT INTO samples SELECT ?, make_timestamp_ns(time), value FROM nanoseconds", [uuid])
        # A wide batch creates the streams of all its columns, also of those without a point.
        wide = {"time": pa.array([START], UTC), "duck/edge/single": [7.5], "duck/edge/empty": pa.array([None], pa.float64())}
        put(client, ["points"], pa.table(wide))
        for name in ("single", "empty"):
            (uuid,) = query(client, f"SELECT uuid FROM streams WHERE name = '{name}'")["uuid"].to_pylist()
            create(uuid, "duck/edge", name, "")
            if name == "single":
                duck.execute("INSERT INTO samples VALUES (?, make_timestamp_ns(?), 7.5)", [uuid, START])
    return duck


@pytest.fixture(scope="module")
def magnitude(duck):
    ((magnitude,),) = duck.sql("SELECT max(abs(value)) FROM points").fetchall()
    return magnitude


@pytest.fixture(scope="module")
def connections(server):
    """By what they say of push-down."""
    connections = {}
    with ExitStack() as stack:
        for pushdown in ("true", "false"):
            headers = {"adbc.flight.sql.rpc.call_header.x-btrdb-pushdown": pushdown}
            connection = adbc_driver_flightsql.dbapi.connect(server.uri, db_kwargs=headers, autocommit=True)
            connections[pushdown] = stack.enter_context(connection)
        yield connections


def rows_of(table):
    """Rows as tuples, times in nanoseconds since 1970."""
    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
        columns.append([int(value) if isinstance(value, Decimal) else value for value in column.to_pylist()])
    return list(zip(*columns, strict=True))


def is_ordered(sql):
    """Whether the statement itself, not something in parentheses, has an ORDER BY."""
    while (outer := re.sub(r"\([^()]*\)", "", sql)) != sql:
        sql = outer
    return "ORDER BY" in sql


def ask(connection, question):
    with connection.cursor() as cursor:
        cursor.execute(question.sql, parameters=question.parameters or None)
        return cursor.fetch_arrow_table()


def compare(table, expected, magnitude, ordered):
    answer = rows_of(table)
    assert len(answer) == len(expected)
    tolerances = [next((TOLERANCES[kind] for kind in TOLERANCES if name.startswith(kind)), None) for name in table.column_names]
    if not ordered:
        # By the exact columns first: the others may differ in their last digits.
        positions = sorted(range(len(tolerances)), key=lambda position: tolerances[position] is not None)
        answer, expected = (
            sorted(rows, key=lambda row: [(row[position] is None, row[position]) for position in positions])
            for rows in (answer, expected)
        )
    for ours, theirs in zip(answer, expected, strict=True):
        for value, other, tolerance in zip(ours, theirs, tolerances, strict=True):
            if tolerance and other is not None:
                other = pytest.approx(other, rel=0, abs=tolerance(magnitude, other))
            assert value == other, f"{ours} here, {theirs} in DuckDB"


def parameter(question):
    known = pytest.mark.xfail(raises=AssertionError, strict=True, reason="-0.0 is not 0.0 there")
    return pytest.param(question, id=question.id, marks=[known] if question.id in TELLS_ZEROS_APART else [])


@pytest.mark.parametrize("question", [parameter(question) for question in QUESTIONS])
def test_question(connections, duck, magnitude, question):
    expected = rows_of(duck.sql(question.duckdb, params=list(question.parameters) or None).to_arrow_table())
    assert bool(expected) != question.id.endswith("nothing"), "a question that asks nothing by accident"
    for pushdown, connection in connections.items():
        try:
            compare(ask(connection, question), expected, magnitude, is_ordered(question.sql))
        except Exception as error:
            error.add_note(f"with push-down {pushdown}")
            raise


def test_the_header_turns_push_down_off(connections):
    for pushdown, connection in connections.items():
        with connection.cursor() as cursor:
            cursor.execute("SHOW btrdb.pushdown")
            assert cursor.fetchone()[1] == pushdown


def test_every_question_has_a_name_of_its_own():
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS)
    assert len({question.sql for question in QUESTIONS}) == len(QUESTIONS) >= 70

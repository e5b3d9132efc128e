"""Results in pandas, polars and DuckDB: the same types and values as Arrow has."""

import adbc_driver_flightsql
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from adbc_servers import ask, connect
from conftest import UTC, points, put

# To the nanosecond, both ends of what can be stored, and values that formats like to lose.
TIMES = [-(2**60), -1, 0, 1700000000123456789, 3 * 2**60 - 2]
VALUES = [-0.0, 5e-324, 1.7976931348623157e308, 0.1, -1 / 3]


@pytest.fixture
def table(flight, cursor, collection):
    """A stream of difficult points, which has annotations."""
    put(flight, [collection, "a"], points(TIMES, VALUES))
    cursor.execute(
        f"UPDATE streams SET unit = 'V', annotations = MAP {{'site': 'north', 'note': 'ünï'}} WHERE collection = '{collection}'"
    )
    return f'"{collection}".a'


@pytest.fixture
def everything(table, collection):
    """A statement with a column of every type that our tables have, and nulls in some."""
    return f"""
        SELECT p.time, p.value, CASE WHEN p.value > 0 THEN p.value END AS maybe, s.uuid, s.name, s.unit, s.version,
               s.point_count, s.tags, s.annotations, s.earliest, CASE WHEN p.value > 0 THEN s.latest END AS late,
               s.version > 10 AS changed, CAST(NULL AS VARCHAR) AS nothing
        FROM points p JOIN streams s ON p.uuid = s.uuid WHERE s.collection = '{collection}' ORDER BY p.time
    """


SCHEMA = {
    "time": UTC,
    "value": pa.float64(),
    "maybe": pa.float64(),
    "uuid": pa.string(),
    "name": pa.string(),
    "unit": pa.string(),
    "version": pa.uint64(),
    "point_count": pa.int64(),
    "tags": pa.map_(pa.string(), pa.string()),
    "annotations": pa.map_(pa.string(), pa.string()),
    "earliest": UTC,
    "late": UTC,
    "changed": pa.bool_(),
    "nothing": pa.string(),
}


@pytest.fixture
def arrow(cursor, everything):
    cursor.execute(everything)
    return cursor.fetch_arrow_table()


def nanoseconds(column):
    return column.cast(pa.int64()).to_pylist()


def bits(values):
    """Floating point numbers as what they are made of, so that -0.0 is not 0.0."""
    return np.asarray(values, dtype=np.float64).tobytes()


def test_arrow(arrow):
    assert {field.name: field.type for field in arrow.schema} == SCHEMA
    assert nanoseconds(arrow["time"]) == TIMES
    assert bits(arrow["value"]) == bits(VALUES)
    assert arrow["maybe"].to_pylist() == [None, 5e-324, 1.7976931348623157e308, 0.1, None]
    assert nanoseconds(arrow["earliest"]) == [TIMES[0]] * 5
    assert nanoseconds(arrow["late"]) == [None] + [TIMES[-1]] * 3 + [None]
    assert arrow["point_count"].to_pylist() == [5] * 5
    assert arrow["changed"].to_pylist() == [True] * 5
    assert arrow["nothing"].null_count == 5
    assert dict(arrow["tags"][0].as_py())["unit"] == "V"
    assert sorted(arrow["annotations"][0].as_py()) == [("note", "ünï"), ("site", "north")]


def assert_polars(frame, arrow):
    assert frame.schema == pl.from_arrow(arrow).schema
    assert frame.schema["time"] == pl.Datetime("ns", "UTC") and frame.schema["version"] == pl.UInt64
    assert frame["time"].to_physical().to_list() == TIMES
    assert bits(frame["value"].to_numpy()) == bits(VALUES)
    assert frame["maybe"].to_list() == arrow["maybe"].to_pylist()
    assert frame["late"].to_physical().to_list() == nanoseconds(arrow["late"])
    assert frame["uuid"].to_list() == arrow["uuid"].to_pylist()
    assert frame["nothing"].null_count() == 5
    assert frame.equals(pl.from_arrow(arrow))


def test_polars_reads_from_a_connection(adbc, everything, arrow):
    assert_polars(pl.read_database(everything, adbc), arrow)


def test_polars_reads_from_a_cursor(cursor, everything, arrow):
    cursor.execute(everything)
    assert_polars(cursor.fetch_polars(), arrow)


def test_polars_reads_from_an_address(server, everything, arrow):
    uri = f"flightsql://{server.address}?transport=tcp"
    assert_polars(pl.read_database_uri(everything, uri, engine="adbc"), arrow)


def test_polars_binds_parameters(adbc, server, table):
    sql = f"SELECT value FROM {table} WHERE value > ? ORDER BY time"
    expected = [5e-324, 1.7976931348623157e308, 0.1]
    assert pl.read_database(sql, adbc, execute_options={"parameters": [0.0]})["value"].to_list() == expected
    uri = f"flightsql://{server.address}?transport=tcp"
    frame = pl.read_database_uri(sql, uri, engine="adbc", execute_options={"parameters": [0.0]})
    assert frame["value"].to_list() == expected


def test_polars_reads_in_batches(adbc, table):
    batches = list(pl.read_database(f"SELECT time, value FROM {table}", adbc, iter_batches=True, batch_size=2))
    assert pl.concat(batches)["time"].to_physical().to_list() == TIMES


def test_polars_gets_the_schema_of_nothing(adbc, table):
    frame = pl.read_database(f"SELECT time, value FROM {table} WHERE false", adbc)
    assert frame.is_empty() and frame.schema == {"time": pl.Datetime("ns", "UTC"), "value": pl.Float64}


def test_polars_writes_points(adbc, collection, table):
    frame = pl.DataFrame({"time": [1, 2, 3], "value": [1.0, 2.0, -0.0]}).with_columns(
        pl.col("time").cast(pl.Datetime("ns", "UTC"))
    )
    assert frame.write_database(f'"{collection}".b', adbc, engine="adbc", if_table_exists="append") in (3, -1)
    assert bits([value for (value,) in ask(adbc, f'SELECT value FROM "{collection}".b ORDER BY time')]) == bits([1.0, 2.0, -0.0])


def test_pandas_reads_a_query(adbc, everything, arrow):
    frame = pd.read_sql(everything, adbc)
    assert frame["time"].dtype == pd.DatetimeTZDtype("ns", "UTC")
    assert frame["time"].astype("int64").to_list() == TIMES
    assert bits(frame["value"]) == bits(VALUES)
    assert frame["maybe"].isna().to_list() == [True, False, False, False, True]
    assert frame["version"].dtype == np.uint64 and frame["point_count"].dtype == np.int64
    assert frame["changed"].dtype == bool
    assert frame["late"].isna().to_list() == [True, False, False, False, True]
    assert frame["uuid"].to_list() == arrow["uuid"].to_pylist()
    assert dict(frame["tags"][0])["unit"] == "V"


def test_pandas_reads_with_types_of_arrow(adbc, everything, arrow):
    frame = pd.read_sql_query(everything, adbc, dtype_backend="pyarrow")
    for name, data_type in SCHEMA.items():
        if pa.types.is_string(data_type):
            continue  # pandas has a type of its own for text
        assert frame.dtypes[name] == pd.ArrowDtype(data_type), name
    assert frame["value"].to_list() == VALUES


@pytest.fixture
def at_home(server, collection):
    """A connection whose session is in the collection: pandas reads tables by their names alone."""
    cookies = {adbc_driver_flightsql.DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true"}
    with connect(server, db_kwargs=cookies, autocommit=True) as connection:
        connection.adbc_current_db_schema = collection
        yield connection


def test_pandas_reads_a_table(adbc, at_home, collection, table):
    frame = pd.read_sql_table("a", at_home)
    assert frame["time"].astype("int64").to_list() == TIMES
    frame = pd.read_sql_table("a", at_home, columns=["value"], index_col="time")
    assert frame.index.name == "time" and list(frame.columns) == ["value"]
    streams = pd.read_sql_table("streams", adbc)
    assert collection in set(streams["collection"])


def test_pandas_gets_the_schema_of_nothing(adbc, table):
    frame = pd.read_sql(f"SELECT time, value FROM {table} WHERE false", adbc)
    assert frame.empty and frame["time"].dtype == pd.DatetimeTZDtype("ns", "UTC") and frame["value"].dtype == np.float64


@pytest.mark.parametrize("autocommit", [True, False])
def test_pandas_writes_points(server, collection, autocommit):
    frame = pd.DataFrame({"time": pd.to_datetime([1, 2, 3], utc=True), "value": [1.0, 2.0, 3.0]})
    with connect(server, autocommit=autocommit) as connection:
        assert frame.to_sql("new", connection, schema=collection, index=False) == 3
        with pytest.raises(ValueError, match="exists"):
            frame.to_sql("new", connection, schema=collection, index=False)
        frame["time"] += pd.Timedelta(1, "s")
        assert frame.to_sql("new", connection, schema=collection, index=False, if_exists="append") == 3
        assert len(pd.read_sql(f'SELECT * FROM "{collection}".new', connection)) == 6


def test_duckdb_takes_results_as_they_are(arrow):
    relation = duckdb.sql("SELECT * FROM arrow")
    types = dict(zip(relation.columns, map(str, relation.types)))
    assert types["time"] == types["late"] == "TIMESTAMPTZ_NS"
    assert (types["value"], types["version"], types["point_count"]) == ("DOUBLE", "UBIGINT", "BIGINT")
    assert types["tags"] == types["annotations"] == "MAP(VARCHAR, VARCHAR)"
    assert (types["uuid"], types["changed"]) == ("VARCHAR", "BOOLEAN")
    rows = duckdb.sql("SELECT epoch_ns(time), value, maybe, epoch_ns(late), version, tags, nothing FROM arrow").fetchall()
    times, values, maybe, late, version, tags, nothing = zip(*rows)
    assert list(times) == TIMES and bits(values) == bits(VALUES)
    assert list(maybe) == arrow["maybe"].to_pylist()
    assert list(late) == nanoseconds(arrow["late"])
    assert list(version) == arrow["version"].to_pylist()
    assert tags[0] == dict(arrow["tags"][0].as_py())
    assert set(nothing) == {None}


def test_duckdb_reads_a_stream_of_batches(cursor, table):
    cursor.execute(f"SELECT time, value FROM {table}")
    reader = cursor.fetch_record_batch()
    assert duckdb.sql("SELECT count(*), max(value) FROM reader").fetchall() == [(5, 1.7976931348623157e308)]


def test_duckdb_gets_the_schema_of_nothing(cursor, table):
    cursor.execute(f"SELECT time, value FROM {table} WHERE false")
    empty = cursor.fetch_arrow_table()
    relation = duckdb.sql("SELECT * FROM empty")
    assert [str(kind) for kind in relation.types] == ["TIMESTAMPTZ_NS", "DOUBLE"] and relation.fetchall() == []


def test_what_duckdb_and_polars_compute_is_what_sql_answers_here(adbc, flight, cursor, collection):
    random = np.random.default_rng(3)
    count = 10_000
    put(flight, [collection, "big"], points(np.sort(random.integers(0, 10**13, count)), random.normal(size=count)))
    sql = f"""
        SELECT date_bin(INTERVAL '1 hour', time) AS bin, count(*) AS n, min(value) AS low, max(value) AS high
        FROM "{collection}".big GROUP BY bin ORDER BY bin
    """
    here = pl.read_database(sql, adbc)
    cursor.execute(f'SELECT time, value FROM "{collection}".big')
    raw = cursor.fetch_arrow_table()
    duck = duckdb.sql(
        "SELECT epoch_ns(time) // 3600000000000 AS bin, count(*), min(value), max(value) FROM raw GROUP BY bin ORDER BY bin"
    ).fetchall()
    assert duck == list(zip((here["bin"].to_physical() // 3_600_000_000_000).to_list(), here["n"], here["low"], here["high"]))
    polars = (
        pl.from_arrow(raw)
        .group_by(pl.col("time").dt.truncate("1h").alias("bin"))
        .agg(pl.len().cast(pl.Int64).alias("n"), pl.col("value").min().alias("low"), pl.col("value").max().alias("high"))
    )
    assert polars.sort("bin").equals(here)


def test_python_rows_are_the_values_of_arrow(cursor, everything, arrow):
    cursor.execute(everything)
    rows = cursor.fetchall()
    assert len(rows) == 5
    for position, name in ((1, "value"), (2, "maybe"), (3, "uuid"), (6, "version"), (7, "point_count"), (12, "changed")):
        assert [row[position] for row in rows] == arrow[name].to_pylist()
    assert [row[0].value for row in rows] == TIMES
    assert [row[11] if row[11] is None else row[11].value for row in rows] == nanoseconds(arrow["late"])

"""ADBC's bulk ingest: four modes into each kind of table, with the driver's defaults."""

import adbc_driver_flightsql.dbapi
import pyarrow as pa
import pytest
from conftest import UTC, points, put

Error = adbc_driver_flightsql.dbapi.Error


def connect(server, **options):
    return adbc_driver_flightsql.dbapi.connect(server.uri, **options)


def long(collection, names, times):
    names = [names[row % len(names)] for row in range(len(times))]
    values = [float(time) for time in times]
    return pa.table({"collection": [collection] * len(times), "name": names, "time": pa.array(times, UTC), "value": values})


def described(collection, *names):
    return pa.table(
        {
            "collection": [collection] * len(names),
            "name": names,
            "unit": ["V"] * len(names),
            "annotations": [{"phase": "A", "line": name} for name in names],
        }
    )


def count(cursor, collection, name):
    cursor.execute(f'SELECT count(*) FROM "{collection}"."{name}"')
    return cursor.fetchone()[0]


def test_four_modes_into_a_stream(adbc, collection):
    with adbc.cursor() as cursor:

        def ingest(times, mode, name="a"):
            rows = points(times, [1.0] * len(times))
            return cursor.adbc_ingest(name, rows, mode=mode, db_schema_name=collection)

        with pytest.raises(Error, match="no stream"):
            ingest([1], "append")
        assert ingest([1, 2, 3], "create") == 3
        with pytest.raises(Error, match="exists: ingest with mode append"):
            ingest([4], "create")
        assert ingest([4], "append") == 1
        assert ingest([5, 6], "create_append") == 2
        assert count(cursor, collection, "a") == 6
        assert ingest([7, 8], "replace") == 2
        assert count(cursor, collection, "a") == 2
        assert ingest([1], "replace", "b") == 1
        assert ingest([1], "create_append", "c") == 1


@pytest.mark.parametrize("mode", ["append", "create_append"])
def test_rows_go_into_the_shared_tables(adbc, collection, mode):
    with adbc.cursor() as cursor:
        assert cursor.adbc_ingest("streams", described(collection, "a", "b"), mode=mode) == 2
        cursor.execute(f"SELECT name, unit, annotations['line'] FROM streams WHERE collection = '{collection}' ORDER BY name")
        assert cursor.fetchall() == [("a", "V", "a"), ("b", "V", "b")]
        assert cursor.adbc_ingest("points", long(collection, ["a", "b"], range(6)), mode=mode) == 6
        assert count(cursor, collection, "a") == 3


@pytest.mark.parametrize("table", ["points", "streams"])
def test_shared_tables_are_neither_created_nor_replaced(adbc, collection, table):
    rows = described(collection, "a") if table == "streams" else long(collection, ["a"], [1])
    with adbc.cursor() as cursor:
        with pytest.raises(Error, match=f"table {table} exists: ingest with mode append"):
            cursor.adbc_ingest(table, rows, mode="create")
        with pytest.raises(Error, match="replacing it would empty the store"):
            cursor.adbc_ingest(table, rows, mode="replace")


def test_names_of_catalogs_and_schemas(adbc, collection):
    rows = points([1], [1.0])
    with adbc.cursor() as cursor:
        assert cursor.adbc_ingest("a", rows, mode="create", catalog_name="btrdb", db_schema_name=collection) == 1
        assert cursor.adbc_ingest("points", long(collection, ["a"], [2]), mode="append", db_schema_name="public") == 1
        assert cursor.adbc_ingest(f"{collection}/b", rows, mode="create") == 1
    # A cursor keeps catalog, schema and kind of table for its next ingest, so each of these has its own.
    for said, table, options in [
        ("no catalog .*btrdb", "a", {"mode": "append", "catalog_name": "other", "db_schema_name": collection}),
        ("temporary", "t", {"mode": "create", "db_schema_name": collection, "temporary": True}),
        ("no table", "mine", {"mode": "create"}),
        ("collections", "collections", {"mode": "append"}),
    ]:
        with adbc.cursor() as cursor, pytest.raises(Error, match=said):
            cursor.adbc_ingest(table, rows, **options)


def test_a_reader_is_ingested_as_it_is_read(adbc, collection):
    schema = long(collection, ["a"], [0]).schema
    batches = (long(collection, ["a", "b"], range(part * 1_000, part * 1_000 + 1_000)).to_batches()[0] for part in range(50))
    with adbc.cursor() as cursor:
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        assert cursor.adbc_ingest("points", reader, mode="append") == 50_000
        assert count(cursor, collection, "b") == 25_000


def test_a_partial_failure_says_what_stays(adbc, collection):
    many = 1 << 20
    good = points(range(many), [1.0] * many).to_batches(max_chunksize=many // 4)
    bad = points([1], [float("nan")]).to_batches()
    with adbc.cursor() as cursor:
        reader = pa.RecordBatchReader.from_batches(good[0].schema, good + bad)
        with pytest.raises(Error, match=f"row {many}: the value is NaN.*{many} points of this put were applied before, and stay"):
            cursor.adbc_ingest("a", reader, mode="create", db_schema_name=collection)
        assert count(cursor, collection, "a") == many


def test_a_replacement_that_fails_names_the_version_with_the_old_points(adbc, flight, collection):
    versions, _ = put(flight, [collection, "a"], points([1, 2, 3], [1.0, 2.0, 3.0]))
    ((uuid, version),) = versions.items()
    many = 1 << 20
    good = points(range(many), [1.0] * many).to_batches(max_chunksize=many // 4)
    bad = points([1], [float("nan")]).to_batches()
    reader = pa.RecordBatchReader.from_batches(good[0].schema, good + bad)
    with adbc.cursor() as cursor:
        with pytest.raises(Error, match=f"{uuid}@{version}"):
            cursor.adbc_ingest("a", reader, mode="replace", db_schema_name=collection)
        cursor.execute(f"SELECT count(*) FROM raw_values('{uuid}@{version}')")
        assert cursor.fetchone() == (3,)


def test_a_transaction_sees_what_it_ingests_and_replaces(server, flight, collection):
    put(flight, [collection, "a"], points([1, 2, 3], [1.0, 2.0, 3.0]))
    with connect(server) as connection, connection.cursor() as cursor:
        assert count(cursor, collection, "a") == 3
        put(flight, [collection, "a"], points([4], [4.0]))
        assert cursor.adbc_ingest("a", points([7], [7.0]), mode="replace", db_schema_name=collection) == 1
        assert count(cursor, collection, "a") == 1
        assert cursor.adbc_ingest("streams", described(collection, "b"), mode="append", db_schema_name="public") == 1
        assert cursor.adbc_ingest("b", points([8], [8.0]), mode="append", db_schema_name=collection) == 1
        assert count(cursor, collection, "b") == 1
        connection.commit()
        assert count(cursor, collection, "a") == 1


def test_types_of_other_programs(adbc, collection):
    rows = pa.table(
        {
            "collection": pa.array([collection] * 2, pa.large_string()),
            "name": pa.array(["a", "b"], pa.string_view()),
            "time": pa.array([1, 2], pa.timestamp("us", "America/Chicago")),
            "value": pa.array(["60.01", "59.99"]).cast(pa.decimal128(38, 2)),
        }
    )
    with adbc.cursor() as cursor:
        assert cursor.adbc_ingest("points", rows, mode="append") == 2
        cursor.execute(f"SELECT name, value, CAST(time AS BIGINT) FROM points WHERE collection = '{collection}' ORDER BY name")
        assert cursor.fetchall() == [("a", 60.01, 1_000), ("b", 59.99, 2_000)]
        narrow = pa.table({"time": pa.array([3], pa.int64()), "value": pa.array([True])})
        assert cursor.adbc_ingest("a", narrow, mode="append", db_schema_name=collection) == 1
        unclear = pa.table({"time": pa.array([3], pa.int32()), "value": pa.array([1.0])})
        with pytest.raises(Error, match='"time" is Int32'):
            cursor.adbc_ingest("a", unclear, mode="append", db_schema_name=collection)


def test_a_table_without_rows_changes_nothing(adbc, collection):
    empty = pa.table({"time": pa.array([], UTC), "value": pa.array([], pa.float64())})
    with adbc.cursor() as cursor:
        cursor.adbc_ingest("a", pa.table({"time": pa.array([1], UTC), "value": [1.0]}), mode="create", db_schema_name=collection)
        for nothing in (empty.schema.empty_table(), empty.to_reader(), pa.Table.from_batches(empty.to_batches(), empty.schema)):
            assert cursor.adbc_ingest("a", nothing, mode="append", db_schema_name=collection) == 0
        assert count(cursor, collection, "a") == 1


def test_nothing_is_ingested_into_the_schema_about_schemas(adbc):
    with adbc.cursor() as cursor, pytest.raises(Error, match="nothing is ingested into information_schema"):
        cursor.adbc_ingest("a", pa.table({"time": pa.array([1], UTC), "value": [1.0]}), mode="create", db_schema_name="information_schema")

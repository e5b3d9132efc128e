"""ADBC: connecting, browsing, executing, binding, ingesting, with the driver's defaults."""

import warnings

import adbc_driver_flightsql.dbapi
import pyarrow as pa
import pytest
from conftest import UTC, points, put


def connect(server, **options):
    return adbc_driver_flightsql.dbapi.connect(server.uri, **options)


def test_defaults_connect_and_execute_without_a_warning(server):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with connect(server) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 AS one, 'a' AS text")
            assert cursor.fetchall() == [(1, "a")]
            connection.commit()
            cursor.execute("SELECT 2")
            assert cursor.fetchone() == (2,)
            connection.rollback()


def test_a_password_is_exchanged_for_a_token(server):
    login = {"username": "analyst", "password": "secret"}
    with connect(server, db_kwargs=login) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_infos(adbc):
    info = adbc.adbc_get_info()
    assert info["vendor_name"] == "btrdb-flight"
    assert info["vendor_version"]


def test_objects_at_every_depth(flight, adbc, collection):
    put(flight, [collection, "a"], points([0], [1.0]))
    (catalog,) = adbc.adbc_get_objects(depth="catalogs").read_all().to_pylist()
    assert catalog["catalog_name"] == "btrdb"
    schemas = adbc.adbc_get_objects(depth="db_schemas").read_all().to_pylist()[0]["catalog_db_schemas"]
    names = {schema["db_schema_name"] for schema in schemas}
    assert {"public", collection} <= names
    filtered = adbc.adbc_get_objects(depth="tables", db_schema_filter=collection).read_all().to_pylist()
    (schema,) = filtered[0]["catalog_db_schemas"]
    assert [table["table_name"] for table in schema["db_schema_tables"]] == ["a"]
    everything = adbc.adbc_get_objects(depth="all", db_schema_filter=collection, table_name_filter="a")
    (table,) = everything.read_all().to_pylist()[0]["catalog_db_schemas"][0]["db_schema_tables"]
    columns = table["table_columns"]
    assert [column["column_name"] for column in columns] == ["time", "value"]
    assert [column["xdbc_type_name"] for column in columns] == ["TIMESTAMP WITH TIME ZONE", "DOUBLE"]


def test_table_schema_and_types(flight, adbc, collection):
    put(flight, [collection, "a"], points([0], [1.0]))
    schema = adbc.adbc_get_table_schema("a", db_schema_filter=collection)
    assert schema.field("time").type == UTC and not schema.field("time").nullable
    assert schema.field("value").type == pa.float64()
    assert adbc.adbc_get_table_types() == ["TABLE", "VIEW"]


def test_parameters(flight, adbc, collection):
    put(flight, [collection, "a"], points(range(100), [float(number) for number in range(100)]))
    with adbc.cursor() as cursor:
        sql = f'SELECT count(*), max(value) FROM "{collection}".a WHERE value >= ? AND value < ?'
        cursor.execute(sql, parameters=(10, 20))
        assert cursor.fetchone() == (10, 19.0)
        cursor.execute(f'SELECT count(*) FROM "{collection}".a WHERE value < $1', parameters=(5.5,))
        assert cursor.fetchone() == (6,)


def test_settings_last_for_the_transaction(server):
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("SET btrdb.pushdown = false")
        cursor.execute("SHOW btrdb.pushdown")
        assert cursor.fetchone()[1] == "false"
        connection.commit()
        cursor.execute("SHOW btrdb.pushdown")
        assert cursor.fetchone()[1] == "true"


def test_a_setting_that_would_not_last_is_refused_with_a_hint(adbc):
    with adbc.cursor() as cursor, pytest.raises(Exception, match="x-btrdb-pushdown"):
        cursor.execute("SET btrdb.pushdown = false")


def test_a_transaction_reads_one_snapshot(flight, server, collection):
    put(flight, [collection, "a"], points([0, 1], [0.0, 1.0]))
    with connect(server) as connection, connection.cursor() as cursor:
        sql = f'SELECT count(*) FROM "{collection}".a'
        cursor.execute(sql)
        assert cursor.fetchone() == (2,)
        put(flight, [collection, "a"], points([2], [2.0]))
        cursor.execute(sql)
        assert cursor.fetchone() == (2,)
        connection.commit()
        cursor.execute(sql)
        assert cursor.fetchone() == (3,)


def test_a_transaction_sees_what_it_ingests(flight, server, collection):
    put(flight, [collection, "a"], points([0], [0.0]))
    put(flight, [collection, "b"], points([0], [0.0]))
    with connect(server) as connection, connection.cursor() as cursor:
        sql = f"SELECT count(*) FROM points WHERE collection = '{collection}'"
        cursor.execute(sql)
        assert cursor.fetchone() == (2,)
        put(flight, [collection, "b"], points([1], [1.0]))
        cursor.adbc_ingest("a", points([1, 2], [1.0, 2.0]), mode="append", db_schema_name=collection)
        cursor.execute(sql)
        assert cursor.fetchone() == (4,), "its own two points, and not the other client's"
        connection.commit()
        cursor.execute(sql)
        assert cursor.fetchone() == (5,)


def test_ingest_of_long_batches(adbc, collection):
    rows = pa.table(
        {
            "collection": [collection] * 6,
            "name": ["a", "b"] * 3,
            "time": pa.array(range(6), UTC),
            "value": [float(number) for number in range(6)],
        }
    )
    with adbc.cursor() as cursor:
        assert cursor.adbc_ingest("points", rows, mode="append") == 6
        cursor.execute(f"SELECT name, sum(value) FROM points WHERE collection = '{collection}' GROUP BY name ORDER BY name")
        assert cursor.fetchall() == [("a", 6.0), ("b", 9.0)]
        with pytest.raises(Exception, match="append"):
            cursor.adbc_ingest("points", rows, mode="create")


def test_ingest_into_a_stream(adbc, collection):
    rows = points([1, 2, 3], [1.0, 2.0, 3.0])
    with adbc.cursor() as cursor:
        assert cursor.adbc_ingest("a", rows, mode="create", db_schema_name=collection) == 3
        with pytest.raises(Exception, match="exists"):
            cursor.adbc_ingest("a", rows, mode="create", db_schema_name=collection)
        with pytest.raises(Exception, match="no stream"):
            cursor.adbc_ingest("b", rows, mode="append", db_schema_name=collection)
        cursor.execute(f'SELECT count(*) FROM "{collection}".a')
        assert cursor.fetchone() == (3,)


def test_partitions_are_read_by_another_connection(flight, server, adbc, collection):
    put(flight, [collection, "a"], points(range(10), [1.0] * 10))
    with adbc.cursor() as cursor:
        partitions, schema = cursor.adbc_execute_partitions(f'SELECT value FROM "{collection}".a')
    assert schema.names == ["value"]
    with connect(server, autocommit=True) as other, other.cursor() as cursor:
        rows = 0
        for partition in partitions:
            cursor.adbc_read_partition(partition)
            rows += len(cursor.fetchall())
    assert rows == 10


def test_schema_without_execution(flight, adbc, collection):
    put(flight, [collection, "a"], points([0], [1.0]))
    with adbc.cursor() as cursor:
        schema = cursor.adbc_execute_schema(f'SELECT time, value FROM "{collection}".a')
    assert schema.names == ["time", "value"]


def test_errors_carry_their_class_and_a_sentence(adbc):
    with adbc.cursor() as cursor:
        with pytest.raises(adbc_driver_flightsql.dbapi.ProgrammingError, match="nothing_here"):
            cursor.execute("SELECT * FROM nothing_here")
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)

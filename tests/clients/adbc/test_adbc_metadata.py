"""Browsing: catalogs, schemas, tables, columns; with patterns, and with no catalog, as the driver asks."""

import numpy as np
import pyarrow as pa
import pytest
from adbc_driver_flightsql.dbapi import Error, ProgrammingError
from adbc_driver_manager import AdbcStatusCode
from conftest import POINTS, UTC, points, put


@pytest.fixture
def names(flight, collection):
    """Two collections, whose names and streams a pattern could take for each other."""
    plain, other = f"{collection}/a_b", f"{collection}/axb"
    for path in ([plain, "s_1"], [plain, "sx1"], [plain, "s%1"], [plain, "Mixed Case"], [other, "s_1"]):
        put(flight, path, points([0], [1.0]))
    return plain, other


def objects(adbc, **filters):
    """Schemas of the only catalog, with their tables, and these with their columns."""
    (catalog,) = adbc.adbc_get_objects(**filters).read_all().to_pylist()
    assert catalog["catalog_name"] == "btrdb"
    return {
        schema["db_schema_name"]: {table["table_name"]: table for table in schema["db_schema_tables"] or []}
        for schema in catalog["catalog_db_schemas"]
    }


def test_catalogs(adbc):
    (catalog,) = adbc.adbc_get_objects(depth="catalogs").read_all().to_pylist()
    assert catalog["catalog_name"] == "btrdb" and catalog["catalog_db_schemas"] is None


def test_schemas(adbc, names):
    found = objects(adbc, depth="db_schemas")
    assert {"public", *names} <= set(found)
    (catalog,) = adbc.adbc_get_objects(depth="db_schemas").read_all().to_pylist()
    assert all(schema["db_schema_tables"] is None for schema in catalog["catalog_db_schemas"])


def test_tables(adbc, names):
    found = objects(adbc, depth="tables")
    plain, other = names
    assert {"streams", "points", "collections"} <= set(found["public"])
    assert set(found[plain]) == {"s_1", "sx1", "s%1", "Mixed Case"} and set(found[other]) == {"s_1"}
    assert {table["table_type"] for table in found[plain].values()} == {"TABLE"}
    assert all(table["table_columns"] is None for table in found[plain].values())


def test_columns(adbc, names):
    plain, _ = names
    found = objects(adbc, depth="all")
    columns = found[plain]["s_1"]["table_columns"]
    assert [column["column_name"] for column in columns] == ["time", "value"]
    assert [column["ordinal_position"] for column in columns] == [1, 2]
    assert [column["column_name"] for column in found["public"]["points"]["table_columns"]] == [
        "uuid",
        "collection",
        "name",
        "unit",
        "time",
        "value",
    ]


def test_columns_are_told_as_xdbc_tells_them(adbc, names):
    plain, _ = names
    time, value = objects(adbc, depth="all", db_schema_filter=plain)[plain]["s_1"]["table_columns"]
    for column, type_name in ((time, "TIMESTAMP WITH TIME ZONE"), (value, "DOUBLE")):
        assert column["xdbc_type_name"] == type_name
        assert column["xdbc_is_autoincrement"] is False
        assert column["xdbc_scope_catalog"] == "btrdb"
        assert column["xdbc_scope_schema"] == plain
        assert column["xdbc_scope_table"] == "s_1"
    streams = {column["column_name"]: column for column in objects(adbc)["public"]["streams"]["table_columns"]}
    assert {streams[name]["xdbc_type_name"] for name in ("uuid", "collection", "unit")} == {"VARCHAR"}
    assert streams["point_count"]["xdbc_type_name"] == "BIGINT"
    assert all(column["xdbc_scope_table"] == "streams" for column in streams.values())


def escaped(name):
    return name.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")


def test_patterns_of_schemas(adbc, names):
    plain, other = names
    assert set(objects(adbc, depth="db_schemas", db_schema_filter=plain)) == {plain, other}, "_ is any one character"
    assert set(objects(adbc, depth="db_schemas", db_schema_filter=escaped(plain))) == {plain}
    assert set(objects(adbc, depth="db_schemas", db_schema_filter=plain[:-3] + "%")) == {plain, other}
    assert set(objects(adbc, depth="db_schemas", db_schema_filter="nothing/here")) == set()
    assert set(objects(adbc, depth="db_schemas", db_schema_filter="PUBLIC")) == set(), "names keep their case"


def test_patterns_of_tables(adbc, names):
    plain, _ = names

    def tables(pattern):
        return set(objects(adbc, depth="tables", db_schema_filter=escaped(plain), table_name_filter=pattern)[plain])

    assert tables("s_1") == {"s_1", "sx1", "s%1"}
    assert tables("s\\_1") == {"s_1"} and tables("s\\%1") == {"s%1"}
    assert tables("s%") == {"s_1", "sx1", "s%1"}
    assert tables("%ase") == {"Mixed Case"}
    assert tables("none") == set() and tables("") == set()


def test_types_of_tables(adbc, names):
    plain, _ = names
    assert "TABLE" in adbc.adbc_get_table_types()
    for wanted, seen in ((["TABLE"], 4), (["BASE TABLE", "VIEW"], 4), (["VIEW"], 0)):
        found = objects(adbc, depth="tables", db_schema_filter=escaped(plain), table_types_filter=wanted)
        assert len(found[plain]) == seen


def test_patterns_of_columns(adbc, names):
    plain, _ = names
    tables = objects(adbc, db_schema_filter=escaped(plain), table_name_filter="sx1", column_name_filter="val%")
    assert [column["column_name"] for column in tables[plain]["sx1"]["table_columns"]] == ["value"]


def test_a_catalog_that_there_is_not_has_nothing(adbc, names):
    assert adbc.adbc_get_objects(depth="all", catalog_filter="other").read_all().num_rows in (0, 1)
    for catalog in adbc.adbc_get_objects(depth="all", catalog_filter="other").read_all().to_pylist():
        assert catalog["catalog_name"] != "btrdb"
    assert "public" in objects(adbc, depth="db_schemas", catalog_filter="btrdb")


def test_the_schema_of_a_table(adbc, names):
    plain, other = names
    for schema in (plain, escaped(plain), other):
        assert adbc.adbc_get_table_schema("s_1", db_schema_filter=schema).remove_metadata() == POINTS
    assert adbc.adbc_get_table_schema("s_1", catalog_filter="btrdb", db_schema_filter=plain).names == ["time", "value"]
    assert adbc.adbc_get_table_schema("Mixed Case", db_schema_filter=plain).field("time").type == UTC
    streams = adbc.adbc_get_table_schema("streams")
    assert streams.field("version").type == pa.uint64() and streams.field("uuid").type == pa.string()
    assert streams.field("tags").type == pa.map_(pa.string(), pa.string())
    assert streams.field("earliest").nullable and not streams.field("uuid").nullable


def test_the_schema_of_a_table_is_that_of_its_rows(adbc, cursor, names):
    plain, _ = names
    for table, schema in (("streams", "public"), ("points", "public"), ("collections", "public"), ("s_1", plain)):
        cursor.execute(f'SELECT * FROM "{schema}"."{table}" LIMIT 1')
        rows = cursor.fetch_arrow_table().schema
        told = adbc.adbc_get_table_schema(table, db_schema_filter=escaped(schema))
        assert told.remove_metadata() == pa.schema([field.remove_metadata() for field in rows])


def test_a_table_that_there_is_not_is_not_found(adbc, names):
    for name, schema in (("none", None), ("s_", names[0]), ("S_1", names[0]), ("s_1", "nothing/here")):
        with pytest.raises(Error) as raised:
            adbc.adbc_get_table_schema(name, db_schema_filter=schema)
        assert raised.value.status_code == AdbcStatusCode.NOT_FOUND
        assert isinstance(raised.value, ProgrammingError)


def test_the_schema_of_the_last_of_many_tables(flight, adbc, collection):
    """The driver looks at the first batch only."""
    count = 5_000
    rows = pa.table(
        {
            "collection": pa.array([collection] * count),
            "name": pa.array([f"s{number:05}" for number in range(count)]),
            "time": pa.array(np.zeros(count, np.int64), UTC),
            "value": np.zeros(count),
        }
    )
    put(flight, ["points"], rows)
    for name in ("s00000", f"s{count - 1:05}"):
        assert adbc.adbc_get_table_schema(name, db_schema_filter=collection).remove_metadata() == POINTS
    # Every one of these is like the name, and only one is it.
    assert adbc.adbc_get_table_schema("s00000", db_schema_filter="%").names == ["time", "value"]
    found = objects(adbc, depth="all", db_schema_filter=collection)
    assert len(found[collection]) == count
    assert all(len(table["table_columns"]) == 2 for table in found[collection].values())


def test_streams_that_share_a_name_are_tables_by_uuid(flight, adbc, cursor, collection):
    put(flight, [collection, "twin"], points([0], [1.0]))
    cursor.execute(f"INSERT INTO streams (collection, name, unit) VALUES ('{collection}', 'twin', 'A')")
    cursor.execute(f"SELECT uuid FROM streams WHERE collection = '{collection}'")
    uuids = {uuid for (uuid,) in cursor.fetchall()}
    assert len(uuids) == 2
    assert uuids <= set(objects(adbc, depth="tables", db_schema_filter="public")["public"])
    for uuid in uuids:
        assert adbc.adbc_get_table_schema(uuid, db_schema_filter="public").names == ["time", "value"]


def test_what_browsing_finds_can_be_queried(adbc, cursor, names):
    found = objects(adbc, depth="tables", db_schema_filter=escaped(names[0]))
    for schema, tables in found.items():
        for table in tables:
            cursor.execute(f'SELECT count(*) FROM btrdb."{schema}"."{table}"')
            assert cursor.fetchone() == (1,)

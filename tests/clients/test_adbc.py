"""ADBC: bulk ingest, with the driver's defaults."""

import pyarrow as pa
import pytest
from conftest import UTC, points


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

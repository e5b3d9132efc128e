"""SQLAlchemy over flightsql-dbapi, as Superset uses it: reflection, queries, parameters."""

from contextlib import closing

import pandas as pd
import pyarrow.flight as fl
import pytest
import sqlalchemy as sa
from conftest import points, put
from sqlalchemy.engine import reflection

PREPARED = "feature-sqlalchemy-prepared-statements=on"
KEYS = "feature-sqlalchemy-primary-keys=on"


def engine(server, *options):
    # The options that are not the dialect's own are sent as headers of every call.
    options = "&".join(["insecure=true", *options])
    return sa.create_engine(f"datafusion://{server.address}?{options}")


@pytest.fixture(scope="module")
def stored(server):
    """A collection with two streams, `volts` and `volts_peak`, of a hundred points a second apart."""
    collection = "sqlalchemy/site"
    with fl.connect(server.uri) as client:
        for name, factor in [("volts", 1.0), ("volts_peak", 2.0)]:
            times = [number * 1_000_000_000 for number in range(100)]
            put(client, [collection, name], points(times, [number * factor for number in range(100)]))
    return collection


def test_schemas_and_tables_are_reflected(server, stored):
    inspector = sa.inspect(engine(server))
    assert {"public", "information_schema", stored} <= set(inspector.get_schema_names())
    assert inspector.get_table_names(schema=stored) == ["volts", "volts_peak"]
    assert {"collections", "points", "streams"} <= set(inspector.get_table_names(schema="public"))
    assert inspector.has_table("volts", schema=stored)
    assert not inspector.has_table("amperes", schema=stored)


def test_columns_are_those_of_the_table_asked_for(server, stored):
    inspector = sa.inspect(engine(server))
    columns = inspector.get_columns("volts", schema=stored)
    assert [(column["name"], column["nullable"]) for column in columns] == [("time", False), ("value", False)]
    assert [type(column["type"]) for column in columns] == [sa.TIMESTAMP, sa.FLOAT]
    names = [column["name"] for column in inspector.get_columns("streams", schema="public")]
    assert names[:4] == ["uuid", "collection", "name", "unit"]
    # The client trusts the first row of an answer to a pattern: no other table may come before.
    columns = inspector.get_columns("volts_peak", schema=stored)
    assert [column["name"] for column in columns] == ["time", "value"]


def test_keys_are_reflected_where_the_dialect_asks_for_them(server):
    inspector = sa.inspect(engine(server, KEYS))
    assert inspector.get_pk_constraint("streams", schema="public") == {
        "constrained_columns": ["uuid"],
        "name": "streams_pkey",
    }
    assert inspector.get_pk_constraint("points", schema="public")["constrained_columns"] == []
    assert inspector.get_foreign_keys("points", schema="public") == []


def test_a_reflected_table_is_queried(server, stored):
    bound = engine(server)
    table = sa.Table("volts", sa.MetaData(), schema=stored, autoload_with=bound)
    busy = sa.select(sa.func.count(), sa.func.max(table.c.value)).where(table.c.value >= 90)
    with bound.connect() as connection:
        assert connection.execute(busy).one() == (10, 99.0)


def test_buckets_are_grouped_and_limited_as_charts_do(server, stored):
    text = f"""
        SELECT date_trunc('minute', time) AS __timestamp, AVG(value) AS "AVG(value)"
        FROM "{stored}".volts
        WHERE time >= '1970-01-01 00:00:00.000000' AND time < '1970-01-01 00:02:00.000000'
        GROUP BY date_trunc('minute', time)
        ORDER BY "AVG(value)" DESC
        LIMIT 10000"""
    with engine(server).connect() as connection:
        rows = connection.execute(sa.text(text)).all()
    assert [row[1] for row in rows] == [79.5, 29.5]
    assert [pd.Timestamp(row[0]).minute for row in rows] == [1, 0]


@pytest.mark.parametrize("options", [[], [PREPARED]], ids=["inlined", "prepared"])
def test_parameters(server, stored, options):
    text = sa.text(f'SELECT count(*) FROM "{stored}".volts WHERE value >= :low AND value < :high')
    named = sa.text("SELECT unit FROM streams WHERE collection = :collection AND name = :name")
    with engine(server, *options).connect() as connection:
        assert connection.execute(text.bindparams(low=10, high=20.5)).scalar() == 11
        assert connection.execute(named.bindparams(collection=stored, name="volts")).all() == [("",)]


def test_parameters_of_every_type_that_the_client_sends(server):
    with closing(engine(server, PREPARED).raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT ? + 1, CAST(? AS DOUBLE) / 2, ? || '!', ?", (1, 3.0, "a", True))
        assert cursor.fetchall() == [[2, 1.5, "a!", True]]


def test_values_are_those_bound_last(server):
    """The client executes the handle that it bound, and not the one that binding answers."""
    with closing(engine(server, PREPARED).raw_connection()) as connection:
        cursor = connection.cursor()
        for number in (1, 2, 3):
            cursor.execute("SELECT ? * 10", (number,))
            assert cursor.fetchall() == [[number * 10]]


def test_infos_that_the_dialect_needs(server):
    with engine(server).connect() as connection:
        dialect = connection.dialect
        assert dialect.sql_info[0] == "btrdb-flight"
        assert dialect.sql_info[3] is False
        assert dialect.identifier_preparer.quote_identifier("a/b") == '"a/b"'
        assert isinstance(sa.inspect(connection), reflection.Inspector)


def test_errors_are_sentences(server):
    with engine(server).connect() as connection, pytest.raises(Exception, match="did you mean streams"):
        connection.execute(sa.text("SELECT * FROM stream"))

"""The dialect that Superset uses, without Superset: reflection and queries."""

import flightsql.sqlalchemy  # noqa: F401  Without it there is no dialect datafusion+flightsql, only datafusion.
import pandas as pd
import pytest
import sqlalchemy as sa

from conftest import API_KEY

SCHEMA = "demo/substation_a/pmu_1"


@pytest.fixture(scope="module")
def engine(uri):
    engine = sa.create_engine(uri)
    yield engine
    engine.dispose()


def test_the_key_goes_as_a_password_or_as_a_token(server, uri):
    for url in (uri, f"datafusion+flightsql://{server}?insecure=True&token={API_KEY}"):
        with sa.create_engine(url).connect() as connection:
            assert connection.execute(sa.text("SELECT 1")).scalar() == 1


def test_a_wrong_key_is_refused(server):
    for url in (f"datafusion+flightsql://u:wrong@{server}?insecure=True", f"datafusion+flightsql://{server}?insecure=True"):
        with pytest.raises(Exception, match="(?i)unauthenticated"):
            sa.create_engine(url).connect()


def test_schemas_tables_and_columns_are_reflected(engine):
    inspector = sa.inspect(engine)
    assert SCHEMA in inspector.get_schema_names()
    tables = inspector.get_table_names(SCHEMA)
    assert tables == sorted(["FREQ", "IA.ANG", "IA.MAG", "VA.ANG", "VA.MAG", "VB.ANG", "VB.MAG", "VC.ANG", "VC.MAG"])
    columns = {column["name"]: column for column in inspector.get_columns("FREQ", SCHEMA)}
    assert isinstance(columns["time"]["type"], sa.TIMESTAMP)
    assert isinstance(columns["value"]["type"], sa.FLOAT)
    assert inspector.has_table("FREQ", SCHEMA)
    assert not inspector.has_table("GREQ", SCHEMA)


def test_a_table_is_reflected_and_asked(engine):
    table = sa.Table("FREQ", sa.MetaData(), schema=SCHEMA, autoload_with=engine)
    bucket = sa.func.date_bin(sa.text("interval '1 minute'"), table.c.time).label("bucket")
    query = sa.select(bucket, sa.func.count().label("points"), sa.func.avg(table.c.value).label("mean"))
    query = query.where(table.c.value > 59.0).group_by(bucket).order_by(bucket)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    assert len(rows) == 60
    assert rows[0].bucket == pd.Timestamp("2026-01-01T00:00:00Z")


def test_pandas_reads_through_it(engine):
    frame = pd.read_sql(sa.text(f'SELECT time, value FROM "{SCHEMA}"."FREQ" ORDER BY time LIMIT 1000'), engine)
    assert len(frame) == 1000
    assert frame["time"].is_monotonic_increasing
    assert frame["value"].between(59, 61).all()


def test_placeholders_are_bound_by_the_server(server, uri):
    prepared = sa.create_engine(f"{uri}&feature-sqlalchemy-prepared-statements=on")
    with prepared.connect() as connection:
        sql = f'SELECT count(*) FROM "{SCHEMA}"."FREQ" WHERE value BETWEEN ? AND ?'
        within = connection.exec_driver_sql(sql, (59.9, 60.1)).scalar()
        everything = connection.exec_driver_sql(sql, (0.0, 100.0)).scalar()
    assert 0 < within < everything

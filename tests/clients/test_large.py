"""Ten million points, put and queried; what SQL answers equals what pandas and DuckDB compute from the same arrays."""

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import UTC, Server, put, query

STREAMS = 5
ROWS = 2_000_000
START = 1_700_000_000_000_000_000
STEP = 8_333_333  # 120 Hz
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One of its own: what a join may take is counted over all points of the store, and other tests put as many as they can."""
    server = Server(tmp_path_factory.mktemp("large"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def data(server):
    """The points of each stream, as they were put."""
    import pyarrow.flight as fl

    random = np.random.default_rng(7)
    frames = {}
    with fl.connect(server.uri) as client:
        for stream in range(STREAMS):
            times = START + np.arange(ROWS, dtype=np.int64) * STEP + random.integers(-300, 300, ROWS)
            values = 60 + np.cumsum(random.normal(0, 1e-3, ROWS))
            frame = pd.DataFrame({"time": times, "value": values})
            table = pa.table({"time": pa.array(times).cast(UTC), "value": values})
            versions, commits = put(client, ["large", f"s{stream}"], table)
            assert len(versions) == 1 and commits >= 2
            frames[f"s{stream}"] = frame
    return frames


def test_everything_arrived(flight, data):
    table = query(
        flight,
        "SELECT name, count(*) AS n, min(value) AS low, max(value) AS high, avg(value) AS mean, stddev(value) AS dev"
        " FROM points WHERE collection = 'large' GROUP BY name ORDER BY name",
    ).to_pandas()
    assert list(table["name"]) == sorted(data)
    for row in table.itertuples():
        values = data[row.name]["value"]
        scale = values.abs().max()
        assert (row.n, row.low, row.high) == (ROWS, values.min(), values.max())
        assert row.mean == pytest.approx(values.mean(), abs=1e-9 * scale)
        assert row.dev == pytest.approx(values.std(), abs=1e-9 * scale)


def test_raw_range(flight, data):
    low, high = START + 100 * SECOND, START + 400 * SECOND
    table = query(
        flight,
        f"SELECT time, value FROM large.s1 WHERE time >= to_timestamp_nanos({low}) AND time < to_timestamp_nanos({high})",
    )
    frame = data["s1"]
    expected = frame[(frame.time >= low) & (frame.time < high)]
    np.testing.assert_array_equal(table["time"].cast(pa.int64()).to_numpy(), expected.time)
    np.testing.assert_array_equal(table["value"].to_numpy(), expected.value)


def test_whole_stream(flight, data):
    table = query(flight, "SELECT time, value FROM raw_values('large/s2')")
    np.testing.assert_array_equal(table["time"].cast(pa.int64()).to_numpy(), data["s2"].time)
    np.testing.assert_array_equal(table["value"].to_numpy(), data["s2"].value)


def test_buckets(flight, data):
    table = query(
        flight,
        "SELECT date_bin(INTERVAL '10 seconds', time) AS bin, count(*) AS n, avg(value) AS mean, min(value) AS low,"
        " max(value) AS high FROM large.s3 GROUP BY bin ORDER BY bin",
    ).to_pandas()
    frame = data["s3"]
    expected = frame.groupby(frame.time // (10 * SECOND) * (10 * SECOND)).value.agg(["count", "mean", "min", "max"])
    np.testing.assert_array_equal(table.bin.astype("datetime64[ns, UTC]").astype("int64"), expected.index)
    np.testing.assert_array_equal(table.n, expected["count"])
    np.testing.assert_array_equal(table.low, expected["min"])
    np.testing.assert_array_equal(table.high, expected["max"])
    np.testing.assert_allclose(table["mean"], expected["mean"], rtol=0, atol=1e-9 * frame.value.abs().max())


def test_pushdown_changes_no_answer(flight, data):
    import pyarrow.flight as fl

    sql = "SELECT date_bin(INTERVAL '1 minute', time) AS bin, count(*) AS n, max(value) AS high FROM large.s4 GROUP BY bin ORDER BY bin"
    options = fl.FlightCallOptions(headers=[(b"x-btrdb-pushdown", b"false")])
    assert query(flight, sql) == query(flight, sql, options=options)


def test_multi_values(flight, collection):
    base = START // SECOND * SECOND
    left = pd.DataFrame({"time": base + np.arange(0, 1000, 2), "a": np.arange(500.0)})
    right = pd.DataFrame({"time": base + np.arange(0, 1000, 3), "b": np.arange(334.0)})
    for name, frame in (("a", left), ("b", right)):
        put(flight, [collection, name], pa.table({"time": pa.array(frame.time).cast(UTC), "value": frame[name]}))
    table = query(flight, f"SELECT * FROM multi_values('{collection}/a', '{collection}/b')")
    expected = left.merge(right, on="time", how="outer").sort_values("time")
    assert table.column_names[0] == "time"
    np.testing.assert_array_equal(table["time"].cast(pa.int64()).to_numpy(), expected.time)
    for position, name in ((1, "a"), (2, "b")):
        np.testing.assert_array_equal(table.column(position).to_pandas(), expected[name])


def test_join_of_points_with_streams(flight, collection, data):
    random = np.random.default_rng(11)
    rows = 20_000
    names = np.array([f"c{number}" for number in range(20)])[random.integers(0, 20, rows)]
    units = np.where(np.char.str_len(names) == 2, "V", "A")
    times = START + np.arange(rows, dtype=np.int64)
    values = random.normal(size=rows)
    long = pa.table(
        {
            "collection": pa.array([collection] * rows).dictionary_encode(),
            "name": pa.array(names).cast(pa.large_string()),
            "unit": pa.array(units),
            "time": pa.array(times).cast(UTC),
            "value": values,
        }
    )
    versions, _ = put(flight, ["points"], long)
    assert len(versions) == 20
    table = query(
        flight,
        "SELECT s.unit, count(*) AS n, sum(p.value) AS total FROM points AS p JOIN streams AS s ON p.uuid = s.uuid"
        f" WHERE s.collection = '{collection}' GROUP BY s.unit ORDER BY s.unit",
    )
    expected = duckdb.sql("SELECT unit, count(*) AS n, sum(value) AS total FROM long GROUP BY unit ORDER BY unit").fetchall()
    answered = table.to_pydict()
    for position, (unit, count, total) in enumerate(expected):
        assert answered["unit"][position] == unit
        assert answered["n"][position] == count
        assert answered["total"][position] == pytest.approx(total, abs=1e-9 * np.abs(values).sum())


def test_duckdb_and_polars_take_results_as_they_are(flight, data):
    import polars

    answer = query(flight, "SELECT time, value FROM large.s0 LIMIT 100000")
    assert duckdb.sql("SELECT count(*) FROM answer").fetchall() == [(100_000,)]
    frame = polars.from_arrow(answer)
    assert frame["value"].to_numpy() == pytest.approx(data["s0"].value.to_numpy()[:100_000], abs=0)

"""Recorded ground motion, from the files that obspy carries: put in, queried, compared with numpy."""

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import UTC, put, query

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import obspy


def mseed(name):
    return obspy.read(Path(obspy.__file__).parent / "io/mseed/tests/data" / name)


def columns(trace):
    """Times in nanoseconds and values of a trace."""
    step = round(1e9 / trace.stats.sampling_rate)
    times = trace.stats.starttime.ns + np.arange(trace.stats.npts, dtype=np.int64) * step
    return times, trace.data.astype(np.float64)


@pytest.fixture(scope="module")
def traces():
    """Three components of an earthquake, a record with gaps, and two days of slow channels."""
    return [*obspy.read(), *mseed("gaps.mseed"), *mseed("CH.BALST..LH_two_channels")]


@pytest.fixture
def stored(flight, collection, traces):
    """What each channel holds: times ascending, and values."""
    channels = {}
    for trace in traces:
        times, values = columns(trace)
        put(flight, [collection, trace.id], pa.table({"time": pa.array(times).cast(UTC), "value": values}))
        known_times, known_values = channels.get(trace.id, (np.array([], np.int64), np.array([])))
        channels[trace.id] = (np.concatenate([known_times, times]), np.concatenate([known_values, values]))
    return channels


def test_every_sample_is_kept(flight, collection, stored):
    assert len(stored) == 6
    for name, (times, values) in stored.items():
        table = query(flight, f'SELECT time, value FROM "{collection}"."{name}"')
        np.testing.assert_array_equal(table["time"].cast(pa.int64()).to_numpy(), times)
        np.testing.assert_array_equal(table["value"].to_numpy(), values)


def test_aggregates_of_all_channels(flight, collection, stored):
    table = query(
        flight,
        "SELECT name, count(*) AS n, min(value) AS low, max(value) AS high, avg(value) AS mean, stddev_pop(value) AS dev"
        f" FROM points WHERE collection = '{collection}' GROUP BY name ORDER BY name",
    ).to_pylist()
    assert [row["name"] for row in table] == sorted(stored)
    for row in table:
        _, values = stored[row["name"]]
        scale = np.abs(values).max()
        assert (row["n"], row["low"], row["high"]) == (len(values), values.min(), values.max())
        assert row["mean"] == pytest.approx(values.mean(), abs=1e-9 * scale)
        assert row["dev"] == pytest.approx(values.std(), abs=1e-9 * scale)


def test_gaps_show_as_missing_windows(flight, collection, stored):
    times, values = stored["BW.BGLD..EHE"]
    table = query(
        flight,
        f"SELECT time, count, min, max FROM windows('{collection}/BW.BGLD..EHE', INTERVAL '1 second')",
    )
    second = times // 1_000_000_000
    expected, counts = np.unique(second, return_counts=True)
    np.testing.assert_array_equal(table["time"].cast(pa.int64()).to_numpy(), expected * 1_000_000_000)
    np.testing.assert_array_equal(table["count"].to_numpy(), counts)
    assert len(expected) < second[-1] - second[0] + 1, "the record has gaps"
    for position in (0, len(expected) // 2):
        inside = values[second == expected[position]]
        assert table["min"][position].as_py() == inside.min()
        assert table["max"][position].as_py() == inside.max()


def test_peak_ground_motion_over_components(flight, collection, stored):
    names = [name for name in stored if name.startswith("BW.RJOB")]
    arguments = ", ".join(f"'{collection}/{name}'" for name in names)
    table = query(flight, f"SELECT * FROM multi_values({arguments})")
    motion = np.sqrt(sum(np.square(table.column(position).to_numpy()) for position in (1, 2, 3)))
    expected = np.sqrt(sum(np.square(stored[name][1]) for name in names))
    np.testing.assert_allclose(motion, expected, rtol=1e-15)

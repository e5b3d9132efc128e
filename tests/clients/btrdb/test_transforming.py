"""Series, frames, arrays, dictionaries and text made of sets of streams, the plain way and by tables."""

import csv
import io

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from btrdb_servers import FIRST, SECOND, TEN, TENTH, make_set

TIMES = [time for time, _ in TEN]
EVEN = [2.0, 4.0, 6.0, 8.0, 10.0]
ODD = [1.0, 3.0, 5.0, 7.0, 9.0]
FIELDS = ["min", "mean", "max", "count", "stddev"]


@pytest.fixture
def halves(db, collection):
    """The streams of the tour: the even values in `a`, the odd ones in `b`."""
    return make_set(db, collection, TEN[1::2], TEN[::2]).filter(start=FIRST, end=FIRST + SECOND)


@pytest.fixture
def windows(db, collection):
    """Three windows of two full streams."""
    streams = make_set(db, collection, TEN, [(time, -value) for time, value in TEN], unit="volts")
    return streams.filter(start=FIRST, end=FIRST + SECOND).windows(3 * TENTH)


@pytest.fixture
def names(collection):
    return [f"{collection}/a", f"{collection}/b"]


def by_uuid(stream):
    return str(stream.uuid)


def nanoseconds(index):
    return pd.DatetimeIndex(index).as_unit("ns").asi8.tolist()


def joined(every):
    """The values of one half at all ten times."""
    offset = int(every is EVEN)
    return [every[i // 2] if i % 2 == offset else None for i in range(10)]


def without_nan(values):
    return [None if value is None or value is pd.NA or np.isnan(value) else float(value) for value in values]


def test_to_series(halves, names):
    even, odd = halves.to_series()
    assert (even.name, odd.name) == tuple(names)
    assert even.tolist() == EVEN and odd.tolist() == ODD
    assert even.index.dtype == "datetime64[ns]" and even.index.name == "time"
    assert nanoseconds(even.index) == TIMES[1::2] and nanoseconds(odd.index) == TIMES[::2]
    even, _ = halves.to_series(datetime64_index=False, name_callable=by_uuid)
    assert even.index.tolist() == TIMES[1::2]
    assert even.name == str(halves[0].uuid)


def test_series_of_windows(windows):
    means, negative = windows.to_series()
    assert means.tolist() == [2.0, 5.0, 8.0] and negative.tolist() == [-2.0, -5.0, -8.0]
    for field, expected in [("min", [1.0, 4.0, 7.0]), ("max", [3.0, 6.0, 9.0]), ("count", [3, 3, 3])]:
        assert windows.to_series(agg=field)[0].tolist() == expected
    with pytest.raises(AttributeError):
        windows.to_series(agg="all")


def test_arrow_to_series(halves, windows, names):
    even, odd = halves.arrow_to_series()
    assert (even.name, odd.name) == tuple(names)
    assert without_nan(even) == joined(EVEN) and without_nan(odd) == joined(ODD)
    assert nanoseconds(even.index) == TIMES
    series = windows.arrow_to_series(agg=["mean", "count"])
    assert [each.tolist() for each in series] == [[2.0, 5.0, 8.0], [3, 3, 3], [-2.0, -5.0, -8.0], [3, 3, 3]]
    assert [each.name for each in series] == [f"{name}/{field}" for name in names for field in ("mean", "count")]
    with pytest.raises(ValueError):
        halves.arrow_to_series(agg="mean")


def test_to_dataframe(halves, names):
    frame = halves.to_dataframe()
    assert list(frame.columns) == names
    assert frame.index.name == "time" and frame.index.tolist() == TIMES
    assert without_nan(frame[names[0]]) == joined(EVEN)
    assert without_nan(frame[names[1]]) == joined(ODD)
    assert list(halves.to_dataframe(name_callable=by_uuid).columns) == [by_uuid(stream) for stream in halves]


def test_frames_of_windows(windows, collection, names):
    frame = windows.to_dataframe(agg="max")
    assert list(frame.columns) == names and frame[names[0]].tolist() == [3.0, 6.0, 9.0]
    frame = windows.to_dataframe(agg="all")
    assert list(frame.columns) == [(collection, name, field) for name in "ab" for field in FIELDS]
    assert frame[(collection, "b", "min")].tolist() == [-3.0, -6.0, -9.0]
    assert frame[(collection, "a", "count")].tolist() == [3, 3, 3]
    with pytest.raises(AttributeError):
        windows.to_dataframe(agg="all", name_callable=by_uuid)


def test_arrow_to_dataframe(halves, names):
    frame = halves.arrow_to_dataframe()
    assert list(frame.columns) == names and frame.index.name == "time"
    assert nanoseconds(frame.index) == TIMES
    assert "UTC" in str(frame.index.dtype)
    plain = halves.to_dataframe()
    for name in names:
        assert without_nan(frame[name]) == without_nan(plain[name])
    assert list(halves.arrow_to_dataframe(name_callable=by_uuid).columns) == [by_uuid(stream) for stream in halves]


def test_arrow_frames_of_windows(windows, names):
    frame = windows.arrow_to_dataframe()
    assert list(frame.columns) == [f"{name}/mean" for name in names]
    for fields in (["min"], ["mean", "count"], ["stddev", "max"]):
        frame = windows.arrow_to_dataframe(agg=fields)
        assert sorted(frame.columns) == sorted(f"{name}/{field}" for name in names for field in fields)
        for field in fields:
            plain = windows.to_dataframe(agg=field)
            for name in names:
                assert frame[f"{name}/{field}"].tolist() == plain[name].tolist()
    frame = windows.arrow_to_dataframe(agg=["all"])
    assert list(frame.columns) == [f"{name}/{field}" for name in names for field in FIELDS]


def test_to_polars(halves, names):
    frame = halves.to_polars()
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["time", *names]
    assert frame["time"].dt.epoch("ns").to_list() == TIMES
    assert without_nan(frame[names[0]]) == joined(EVEN)
    assert halves.to_polars(name_callable=by_uuid).columns == ["time", *[by_uuid(stream) for stream in halves]]


def test_polars_of_windows(windows, names):
    assert windows.to_polars()[names[0]].to_list() == [2.0, 5.0, 8.0]
    assert windows.to_polars(agg="stddev")[names[1]].to_list() == [0.816496580927726] * 3


def test_arrow_to_polars(halves, windows, names):
    frame = halves.arrow_to_polars()
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["time", *names]
    assert frame["time"].dt.epoch("ns").to_list() == TIMES
    assert without_nan(frame[names[1]]) == joined(ODD)
    frame = windows.arrow_to_polars(agg=["all"])
    assert frame.columns == ["time", *[f"{name}/{field}" for name in names for field in FIELDS]]
    assert frame[f"{names[0]}/count"].to_list() == [3, 3, 3]


def test_to_array(halves, windows):
    even, odd = halves.to_array()
    assert list(even) == EVEN and list(odd) == ODD
    assert [list(each) for each in windows.to_array(agg="max")] == [[3.0, 6.0, 9.0], [-1.0, -4.0, -7.0]]
    with pytest.raises(AttributeError):
        windows.to_array(agg="all")


def test_arrow_to_numpy(halves, windows):
    array = halves.arrow_to_numpy()
    assert array.shape == (10, 2)
    assert without_nan(array[:, 0]) == joined(EVEN)
    assert windows.arrow_to_numpy(agg=["mean"]).tolist() == [[2.0, -2.0], [5.0, -5.0], [8.0, -8.0]]


def test_to_dict(halves, windows, names):
    rows = halves.to_dict()
    assert [list(row) for row in rows] == [["time", *names]] * 10
    assert [row["time"] for row in rows] == TIMES
    assert [row[names[0]] for row in rows] == joined(EVEN)
    assert list(halves.to_dict(name_callable=by_uuid)[0]) == ["time", *[by_uuid(stream) for stream in halves]]
    assert windows.to_dict(agg="count")[1] == {"time": FIRST + 3 * TENTH, names[0]: 3, names[1]: 3}
    assert len(windows.to_dict(agg="all")[0]) == 11


def test_arrow_to_dict(halves, windows, names):
    rows = halves.arrow_to_dict()
    assert nanoseconds(list(rows)) == TIMES
    assert without_nan(row[names[1]] for row in rows.values()) == joined(ODD)
    rows = windows.arrow_to_dict(agg=["min", "count"])
    assert [row[f"{names[0]}/min"] for row in rows.values()] == [1.0, 4.0, 7.0]
    assert [row[f"{names[1]}/count"] for row in rows.values()] == [3, 3, 3]


def test_to_csv(halves, windows, names, tmp_path):
    path = tmp_path / "export.csv"
    halves.to_csv(str(path))
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["time", *names]
    assert [row[0] for row in rows] == [str(time) for time in TIMES]
    assert [row[2] for row in rows] == ["" if value is None else str(value) for value in joined(ODD)]
    text = io.StringIO()
    windows.to_csv(text, dialect="excel-tab", agg="count")
    assert text.getvalue().splitlines()[1] == f"{FIRST}\t3\t3"


def test_to_table(halves, windows, names):
    lines = halves.to_table().splitlines()
    assert lines[0].split() == ["time", *names]
    assert len(lines) == 12
    assert lines[3].split() == [str(TIMES[1]), "2"]
    assert windows.to_table(agg="count").splitlines()[2].split() == [str(FIRST), "3", "3"]


def test_to_arrow_table(halves, windows):
    answer = halves.arrow_to_arrow_table()
    assert isinstance(answer, pa.Table) and answer.num_rows == 10
    assert answer.column_names == ["time", *[by_uuid(stream) for stream in halves]]
    assert windows.arrow_to_arrow_table().column_names == [
        "time",
        *[f"{by_uuid(stream)}/{field}" for stream in windows for field in FIELDS],
    ]


def test_gaps_are_nan_and_never_null(halves):
    answer = halves.arrow_to_arrow_table()
    for column in answer.columns[1:]:
        assert column.null_count == 0
        assert sum(np.isnan(column.to_numpy())) == 5


def test_sets_without_points(db, collection):
    streams = make_set(db, collection, [], []).filter(start=FIRST, end=FIRST + SECOND)
    assert streams.to_dict() == [] and streams.rows() == []
    assert streams.to_dataframe().empty
    assert [len(series) for series in streams.to_series()] == [0, 0]
    assert streams.arrow_to_dataframe().shape == (0, 2)
    assert streams.arrow_to_dict() == {}

"""Sets of streams: pinning, narrowing, windows, rows, inserting into all of them."""

import re
import uuid

import pandas as pd
import pyarrow as pa
import pytest
from btrdb.exceptions import BTRDBTypeError, BTRDBValueError, InvalidOperation, InvalidTimeRange
from btrdb.point import RawPoint
from btrdb.stream import StreamSet
from btrdb.utils.timez import currently_as_ns, ns_delta
from btrdb_servers import END, FIRST, SECOND, TEN, TENTH, make, make_set, rows, table


@pytest.fixture
def halves(db, collection):
    """Every other value in the one stream, the rest in the other."""
    return make_set(db, collection, TEN[1::2], TEN[::2])


@pytest.fixture
def whole(halves):
    return halves.filter(start=FIRST, end=FIRST + SECOND)


@pytest.fixture
def mixed(db, collection):
    """Streams that differ in collection, name, unit, tags and annotations."""
    return StreamSet(
        [
            make(db, f"{collection}/west", "L1MAG", unit="volts", annotations={"state": "WA"}),
            make(db, f"{collection}/west", "L1ANG", unit="deg", ingress="pmu"),
            make(db, f"{collection}/east", "C1MAG", unit="amps", annotations={"state": "WA", "bus": "x7"}),
        ]
    )


def raw(points):
    return [RawPoint(time, value) for time, value in points]


def test_a_sequence_of_streams(halves):
    first, second = halves
    assert len(halves) == 2
    assert halves[0] is first and halves[first.uuid] is first and halves[str(second.uuid)] is second
    assert first in halves
    assert halves.index(second) == 1
    assert str(halves) == "StreamSet with 2 streams" and repr(halves) == "<StreamSet(2 streams)>"
    with pytest.raises(KeyError):
        halves[uuid.uuid4()]
    with pytest.raises(ValueError):
        StreamSet([])
    with pytest.raises(BTRDBTypeError):
        StreamSet([first.uuid])


def test_values(whole):
    assert whole.values() == [raw(TEN[1::2]), raw(TEN[::2])]


def test_values_end_before_the_end(halves):
    assert halves.filter(start=FIRST + TENTH, end=FIRST + 9 * TENTH).values() == [raw(TEN[1:9:2]), raw(TEN[2:9:2])]


def test_rows(whole):
    expected = [(None, point) if i % 2 == 0 else (point, None) for i, point in enumerate(raw(TEN))]
    assert whole.rows() == expected


def test_rows_of_the_four_streams_of_a_tour(db, collection):
    third = [TEN[i] for i in (0, 1, 3, 4, 6, 7, 8, 9)]
    streams = make_set(db, collection, TEN[1::2], TEN[::2], third, TEN).filter(start=FIRST, end=FIRST + SECOND)
    assert [len(each) for each in streams.values()] == [5, 5, 8, 10]
    for i, (a, b, c, d) in enumerate(streams.rows()):
        time, value = TEN[i]
        point = RawPoint(time, value)
        assert (a == point, b == point) == (i % 2 == 1, i % 2 == 0)
        assert c == (point if (time, value) in third else None)
        assert d == point


def test_counts(halves, whole):
    assert halves.count() == whole.count(precise=True) == halves.count(precise=True) == 10
    assert halves.filter(start=FIRST, end=FIRST + 3 * TENTH).count(precise=True) == 3
    assert halves.filter(start=FIRST + 9 * TENTH).count(precise=True) == 1


def test_versions_and_pins(halves):
    first, second = (stream.uuid for stream in halves)
    assert halves.versions() == {first: 11, second: 11}
    halves[0].insert([(1, 1.0)])
    assert halves.versions() == {first: 12, second: 11}
    assert halves.pin_versions() is halves
    halves[1].insert([(1, 1.0)])
    assert halves.versions() == {first: 12, second: 11}
    assert halves.count(precise=True) == 11
    assert halves.earliest() == (RawPoint(1, 1.0), RawPoint(*TEN[0]))
    assert halves.pin_versions({first: 10, second: 12}).versions() == {first: 10, second: 12}
    assert halves.count(precise=True) == 6
    assert halves.earliest() == (None, RawPoint(1, 1.0))
    with pytest.raises(BTRDBTypeError):
        halves.pin_versions([11, 12])
    with pytest.raises(BTRDBTypeError):
        halves.pin_versions({str(first): 11})


def test_pinned_windows(halves, whole):
    pinned = whole.pin_versions()
    for stream in halves:
        stream.insert([(FIRST + 1, 100.0)])
    for window in (lambda streams: streams.windows(SECOND), lambda streams: streams.aligned_windows(27)):
        before, after = window(pinned.clone()), window(halves.filter(start=FIRST, end=FIRST + SECOND))
        assert sum(point.count for each in before.values() for point in each) + 2 == sum(
            point.count for each in after.values() for point in each
        )
        assert max(point.max for each in before.values() for point in each) <= 10.0
        assert max(point.max for each in after.values() for point in each) == 100.0
        for streams in (before, after):
            counts = [name for name in streams.arrow_values().column_names if name.endswith("/count")]
            answered = [sum(n or 0 for n in streams.arrow_values()[name].to_pylist()) for name in counts]
            assert answered == [sum(point.count for point in each) for each in streams.values()]


def test_earliest_and_latest(halves):
    assert halves.earliest() == (RawPoint(*TEN[1]), RawPoint(*TEN[0]))
    assert halves.latest() == (RawPoint(*TEN[9]), RawPoint(*TEN[8]))
    narrowed = halves.filter(start=FIRST + 2 * TENTH, end=FIRST + 5 * TENTH)
    assert narrowed.earliest() == (RawPoint(*TEN[3]), RawPoint(*TEN[2]))
    assert narrowed.latest() == (RawPoint(*TEN[3]), RawPoint(*TEN[4]))


def test_earliest_and_latest_of_empty_streams(db, collection):
    streams = make_set(db, collection, [], TEN)
    assert streams.earliest() == (None, RawPoint(*TEN[0]))
    assert streams.latest() == (None, RawPoint(*TEN[9]))
    assert streams.current() == (None, RawPoint(*TEN[9]))


def test_current(db, collection):
    future = currently_as_ns() + ns_delta(days=100)
    streams = make_set(db, collection, [*TEN, (future, 1.0)], TEN[:3])
    assert streams.current() == (RawPoint(*TEN[9]), RawPoint(*TEN[2]))
    assert streams.filter(start=FIRST, end=future).current() == streams.current()
    for outside in ({"end": FIRST}, {"start": future}):
        with pytest.raises(BTRDBValueError):
            streams.filter(**outside).current()


def test_filters_of_time(halves):
    narrowed = halves.filter(start="2017-07-14 02:40:00.3").filter(end=FIRST + 5 * TENTH)
    assert narrowed.values() == [raw(TEN[3:5:2]), raw(TEN[4:5:2])]
    assert len(halves.filters) == 0
    for start, end in [(FIRST, FIRST), (FIRST + 1, FIRST)]:
        with pytest.raises(BTRDBValueError):
            halves.filter(start=start, end=end)
    with pytest.raises(InvalidTimeRange):
        halves.filter(start=FIRST).filter(end=FIRST - 1).values()


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ({"unit": "volts"}, ["L1MAG"]),
        ({"unit": "VOLTS"}, ["L1MAG"]),
        ({"unit": re.compile("volts|amps")}, ["L1MAG", "C1MAG"]),
        ({"name": "l1ang"}, ["L1ANG"]),
        ({"name": re.compile("MAG$")}, ["L1MAG", "C1MAG"]),
        ({"collection": re.compile("/west$")}, ["L1MAG", "L1ANG"]),
        ({"tags": {"ingress": "pmu"}}, ["L1ANG"]),
        ({"annotations": {"state": "WA"}}, ["L1MAG", "C1MAG"]),
        ({"annotations": {"state": "WA", "bus": "x7"}}, ["C1MAG"]),
        ({"name": re.compile("1"), "unit": "deg"}, ["L1ANG"]),
    ],
)
def test_filters_of_metadata(db, mixed, condition, names):
    again = db.streams(*[stream.uuid for stream in mixed])
    assert [stream.name for stream in again.filter(**condition)] == names
    assert len(again) == 3


def test_a_filter_of_the_collection(mixed):
    assert [stream.name for stream in mixed.filter(collection=mixed[2].collection.upper())] == ["C1MAG"]
    assert len(mixed.filter(collection="nothing")) == 0
    for wrong in ({"collection": 1}, {"name": 1}, {"unit": 1}):
        with pytest.raises(BTRDBTypeError):
            mixed.filter(**wrong)


def test_a_clone_is_independent(whole):
    clone = whole.clone()
    assert [stream.uuid for stream in clone] == [stream.uuid for stream in whole]
    clone.windows(SECOND)
    clone.pin_versions({stream.uuid: 10 for stream in clone})
    assert whole.allow_window and not clone.allow_window
    assert whole.values() == [raw(TEN[1::2]), raw(TEN[::2])]
    assert [[point.count for point in each] for each in clone.values()] == [[0], [0]]


def test_windows(db, collection):
    streams = make_set(db, collection, TEN, TEN[:9]).filter(start=FIRST, end=FIRST + SECOND)
    assert streams.windows(width=3 * TENTH) is streams
    for each in streams.values():
        assert [(p.time - FIRST, p.min, p.mean, p.max, p.count) for p in each] == [
            (0, 1.0, 2.0, 3.0, 3),
            (3 * TENTH, 4.0, 5.0, 6.0, 3),
            (6 * TENTH, 7.0, 8.0, 9.0, 3),
        ]
    assert [tuple(point.mean for point in row) for row in streams.rows()] == [(2.0, 2.0), (5.0, 5.0), (8.0, 8.0)]
    with pytest.raises(InvalidOperation):
        streams.windows(SECOND)
    with pytest.raises(InvalidOperation):
        streams.aligned_windows(28)


def test_a_depth_is_overridden(whole):
    with pytest.warns(UserWarning, match="only valid value for `depth` is now 0"):
        whole.windows(SECOND, depth=20)
    assert [[point.count for point in each] for each in whole.values()] == [[5], [5]]


def test_aligned_windows(db, collection):
    streams = make_set(db, collection, TEN, []).filter(start=FIRST, end=FIRST + SECOND)
    assert streams.aligned_windows(pointwidth=28) is streams
    first, second = streams.values()
    assert [(point.time, point.count) for point in first] == [
        (1499999999814008832, 1),
        (1500000000082444288, 3),
        (1500000000350879744, 3),
        (1500000000619315200, 2),
    ]
    assert second == []
    assert [row[1] for row in streams.rows()] == [None] * 4
    with pytest.raises(InvalidOperation):
        streams.windows(SECOND)


def test_tables_of_windows(db, collection):
    streams = make_set(db, collection, TEN, TEN[5:]).filter(start=FIRST, end=FIRST + SECOND)
    a, b = (str(stream.uuid) for stream in streams)
    fields = ["min", "mean", "max", "count", "stddev"]
    for windowed in (streams.clone().windows(3 * TENTH), streams.clone().aligned_windows(28)):
        answer = windowed.arrow_values()
        assert answer.column_names == ["time", *[f"{a}/{each}" for each in fields], *[f"{b}/{each}" for each in fields]]
        for uu, points in zip((a, b), windowed.values(), strict=True):
            present = {point.time: point for point in points if point.count}
            for time, count, mean in zip(
                answer["time"].cast(pa.int64()).to_pylist(),
                answer[f"{uu}/count"].to_pylist(),
                answer[f"{uu}/mean"].to_pylist(),
                strict=True,
            ):
                assert (count or 0) == (present[time].count if time in present else 0)
                assert not count or mean == present[time].mean


def test_tables_of_windows_of_empty_streams(db, collection):
    streams = make_set(db, collection, [], []).filter(start=FIRST, end=FIRST + SECOND)
    assert streams.aligned_windows(28).arrow_values().num_rows == 0


def test_tables_of_values(whole):
    answer = whole.arrow_values()
    assert answer.column_names == ["time", *[str(stream.uuid) for stream in whole]]
    assert answer["time"].cast(pa.int64()).to_pylist() == [time for time, _ in TEN]


def test_insert(db, collection):
    streams = make_set(db, collection, [], [])
    data = {
        streams[0].uuid: pd.DataFrame({"time": [time for time, _ in TEN], "value": [value for _, value in TEN]}),
        streams[1].uuid: pd.DataFrame({"time": [FIRST], "value": [7]}),
        uuid.uuid4(): pd.DataFrame({"time": [1], "value": [1.0]}),
    }
    first, second = (stream.uuid for stream in streams)
    assert streams.insert(data) == {first: 11, second: 11}
    assert streams.insert(data, merge="replace") == {first: 12, second: 12}
    assert streams.filter(start=FIRST, end=END).values() == [raw(TEN), raw([(FIRST, 7.0)])]


def test_arrow_insert(db, collection):
    streams = make_set(db, collection, [], [])
    first, second = (stream.uuid for stream in streams)
    data = {first: table(TEN), second: table(TEN[:1])}
    assert streams.arrow_insert(data) == {first: 11, second: 11}
    assert streams.arrow_insert(data, merge="retain") == {first: 12, second: 12}
    nan = pytest.approx(float("nan"), nan_ok=True)
    assert rows(streams.filter(start=FIRST, end=END).arrow_values()) == [
        (time, value, value if i == 0 else nan) for i, (time, value) in enumerate(TEN)
    ]
    with pytest.raises(KeyError):
        streams.arrow_insert({first: table(TEN)})

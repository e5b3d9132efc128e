"""Raw values, the points nearest to a time, deleting, and the versions that all of them read."""

import random
import struct
import uuid
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from btrdb.exceptions import InvalidTimeRange, NoSuchPoint, StreamNotFoundError, VersionNotAvailable
from btrdb.point import RawPoint
from btrdb.utils.timez import currently_as_ns, ns_delta
from btrdb_servers import (
    END,
    FIRST,
    MINIMUM,
    RAW_SCHEMA,
    SECOND,
    TEN,
    TENTH,
    assert_says,
    everything,
    make,
    pairs,
    rows,
    stats,
)

FIVE = [(100, 0.0), (105, 1.0), (110, 2.0), (115, 3.0), (120, 4.0)]


def test_start_is_in_and_end_is_out(db, collection):
    stream = make(db, collection, points=FIVE)
    assert pairs(stream.values(100, 121)) == FIVE
    assert pairs(stream.values(100, 120)) == FIVE[:4]
    assert pairs(stream.values(101, 120)) == FIVE[1:4]
    assert stream.values(101, 105) == []
    assert stream.values(121, 122) == []


def test_points_come_with_the_version(ten):
    ten.insert([(1, 1.0)])
    values = ten.values(FIRST, FIRST + SECOND)
    assert values == [(RawPoint(time, value), 12) for time, value in TEN]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (FIRST, FIRST + SECOND),
        (float(FIRST), float(FIRST + SECOND)),
        (str(FIRST), str(FIRST + SECOND)),
        (datetime(2017, 7, 14, 2, 40), datetime(2017, 7, 14, 2, 40, 1)),
        (
            datetime(2017, 7, 14, 4, 40, tzinfo=timezone(timedelta(hours=2))),
            datetime(2017, 7, 14, 2, 40, 1, tzinfo=timezone.utc),
        ),
        (np.datetime64("2017-07-14T02:40:00"), np.datetime64("2017-07-14T02:40:01")),
        ("2017-07-14 02:40:00", "2017-07-14T02:40:01Z"),
        ("2017-07-14 02:40:00.000000+0000", "2017-07-14 02:40:01.000000"),
        ("2017-07-14T02:40:00.000Z", "2017-07-14T02:40:01.000"),
    ],
)
def test_times_have_many_forms(ten, start, end):
    assert pairs(ten.values(start, end)) == TEN
    assert rows(ten.arrow_values(start, end)) == TEN
    assert ten.count(start, end, precise=True) == 10


def test_a_day_as_text(db, collection):
    stream = make(db, collection, points=[(1_499_990_400 * SECOND, 1.0), (1_500_076_800 * SECOND - 1, 2.0)])
    assert len(stream.values("2017-07-14", "2017-07-15")) == 2


def test_long_answers(db, collection):
    points = [(FIRST + i * TENTH, i / 7) for i in range(23_456)]
    stream = make(db, collection, points=points)
    assert everything(stream) == points


def test_arrow_values_are_the_same_bits(db, collection):
    generator = random.Random(7)
    points = [(FIRST + generator.randrange(10**12), generator.gauss(120, 0.01)) for _ in range(5_000)]
    stream = make(db, collection, points=points)
    plain = everything(stream)
    arrow = stream.arrow_values(MINIMUM, END)
    assert arrow.schema.equals(RAW_SCHEMA)
    assert arrow["time"].cast(pa.int64()).to_pylist() == [time for time, _ in plain]
    packed = struct.pack("5000d", *[value for _, value in plain])
    assert np.asarray(arrow["value"]).tobytes() == packed
    assert plain == sorted(points, key=lambda point: point[0])


def test_empty_and_backward_ranges(ten):
    for start, end in [(FIRST, FIRST), (FIRST + 1, FIRST), (END, MINIMUM)]:
        for read in (ten.values, ten.arrow_values):
            with pytest.raises(InvalidTimeRange) as raised:
                read(start, end)
            assert_says(raised, "start time >= end time")


def test_ranges_beyond_all_time(ten):
    assert pairs(ten.values(MINIMUM, END)) == TEN
    for start, end in [(MINIMUM - 1, END), (MINIMUM, END + 1), (-(2**63), 2**63 - 1)]:
        for read in (ten.values, ten.arrow_values):
            with pytest.raises(InvalidTimeRange) as raised:
                read(start, end)
            assert_says(raised, "time range out of bounds")


def test_nearest(db, collection):
    stream = make(db, collection, points=FIVE)
    for time, forward, backward in [
        (100, 100, None),
        (101, 105, 100),
        (105, 105, 100),
        (120, 120, 115),
        (121, None, 120),
        (MINIMUM, 100, None),
        (END - 1, None, 120),
    ]:
        found = stream.nearest(time, 0)
        assert (found and found[0].time) == forward
        found = stream.nearest(time, version=11, backward=True)
        assert (found and found[0].time) == backward
        assert found is None or found[1] == 11
    assert stream.nearest("1970-01-01", 0) == (RawPoint(100, 0.0), 11)


def test_nearest_of_equal_times(db, collection):
    stream = make(db, collection, points=[(100, 3.0), (100, 1.0), (100, 2.0)])
    assert stream.nearest(100, 0)[0].value == 3.0
    assert stream.nearest(101, 0, backward=True)[0].value == 2.0


def test_nearest_across_long_gaps(db, collection):
    times = [MINIMUM, -(2**58), -1, 2**20, FIRST, 2**61 + 5, END - 2]
    stream = make(db, collection, points=[(time, float(i)) for i, time in enumerate(times)])
    for i, time in enumerate(times):
        assert stream.nearest(time, 0)[0] == RawPoint(time, float(i))
        if i:
            assert stream.nearest(times[i - 1] + 1, 0)[0].time == time
            assert stream.nearest(time, 0, backward=True)[0].time == times[i - 1]


def test_nearest_beyond_all_time(ten):
    for time in (MINIMUM - 1, END, 2**63 - 1):
        for backward in (False, True):
            with pytest.raises(InvalidTimeRange) as raised:
                ten.nearest(time, 0, backward)
            assert_says(raised, "nearest time out of range")


def test_no_such_point(db, stream, ten):
    for uu, time, backward in [(stream.uuid, FIRST, False), (ten.uuid, FIRST, True), (ten.uuid, FIRST + SECOND, False)]:
        with pytest.raises(NoSuchPoint) as raised:
            db.ep.nearest(uu, time, 0, backward)
        assert isinstance(raised.value, ValueError)


def test_earliest_latest_and_current(db, collection):
    future = currently_as_ns() + ns_delta(days=1000)
    stream = make(db, collection, points=[*TEN, (future, 7.0)])
    assert stream.earliest() == (RawPoint(*TEN[0]), 11)
    assert stream.latest() == (RawPoint(future, 7.0), 11)
    assert stream.current() == (RawPoint(*TEN[-1]), 11)
    stream.insert([(FIRST - 1, 5.0)])
    assert stream.earliest() == (RawPoint(FIRST - 1, 5.0), 12)
    assert stream.earliest(version=11) == (RawPoint(*TEN[0]), 11)
    assert stream.latest(version=10) is None
    assert stream.current(version=12)[1] == 12


def test_delete(ten):
    assert ten.delete(FIRST + 2 * TENTH, FIRST + 5 * TENTH) == 12
    assert everything(ten) == TEN[:2] + TEN[5:]
    assert ten.count(precise=True) == 7
    assert everything(ten, version=11) == TEN
    assert ten.delete(start="2017-07-14 02:40:00", end="2017-07-14 02:40:01") == 13
    assert everything(ten) == []
    assert ten.earliest() is None
    assert ten.insert(TEN[:1]) == 14
    assert everything(ten) == TEN[:1]


def test_a_deletion_of_nothing_is_a_version(stream):
    assert stream.delete(0, 1) == 11
    assert stream.delete(MINIMUM, END) == 12
    assert stream.version() == 12


def test_deletions_that_are_refused(ten):
    for start, end in [(5, 5), (6, 5)]:
        with pytest.raises(InvalidTimeRange):
            ten.delete(start, end)
    for start, end in [(MINIMUM - 1, 5), (5, END + 1)]:
        with pytest.raises(InvalidTimeRange) as raised:
            ten.delete(start, end)
        assert_says(raised, "delete time range out of bounds")
    assert ten.version() == 11


def test_a_flush_makes_no_version(ten):
    assert ten.flush() is None
    ten.flush()
    assert ten.version() == 11
    ten.insert([(1, 1.0)])
    ten.flush()
    assert ten.version() == 12


def test_versions_stay_as_they_were(db, collection):
    generator = random.Random(3)
    stream = make(db, collection)
    states, points = {10: []}, []
    for version in range(11, 21):
        if version % 4 == 0:
            start = FIRST + generator.randrange(500)
            points = [point for point in points if not start <= point[0] < start + 200]
            assert stream.delete(start, start + 200) == version
        else:
            batch = [(FIRST + time, float(version)) for time in generator.sample(range(1000), 300)]
            points = sorted(points + batch, key=lambda point: point[0])
            assert stream.insert(batch) == version
        states[version] = points
    for version, state in states.items():
        assert everything(stream, version) == state
        assert rows(stream.arrow_values(MINIMUM, END, version=version)) == state
        assert stream.count(version=version) == len(state)
        assert stream.count(precise=True, version=version) == len(state)
        assert {each for _, each in stream.values(FIRST, END, version=version)} <= {version}
        assert sum(each[4] for each in stats(stream.aligned_windows(MINIMUM, END, 8, version=version))) == len(state)
        first = stream.earliest(version=version)
        assert first == ((RawPoint(*state[0]), version) if state else None)
    assert everything(stream) == states[20]


def reads(stream, version):
    yield lambda: stream.values(FIRST, END, version=version)
    yield lambda: stream.arrow_values(FIRST, END, version=version)
    yield lambda: stream.windows(FIRST, END, SECOND * 10**9, version=version)
    yield lambda: stream.arrow_windows(FIRST, END, SECOND * 10**9, version=version)
    yield lambda: stream.aligned_windows(FIRST, END, 56, version=version)
    yield lambda: stream.arrow_aligned_windows(FIRST, END, 56, version=version)
    yield lambda: stream.nearest(FIRST, version)
    yield lambda: stream.earliest(version=version)
    yield lambda: stream.count(version=version)
    yield lambda: stream.count(precise=True, version=version)
    yield lambda: list(stream.btrdb.ep.changes(stream.uuid, 0, version, 0))
    yield lambda: list(stream.btrdb.ep.changes(stream.uuid, version, 0, 0)) if version < 10 else stream.nearest(0, version)
    yield lambda: list(stream.btrdb.ep.arrowMultiValues([stream.uuid], FIRST, END, [version], 0))


@pytest.mark.parametrize("version", [2, 9, 12, 13, 2**63])
def test_versions_that_are_not_there(ten, version):
    for read in reads(ten, version):
        with pytest.raises(VersionNotAvailable):
            read()
    for read in reads(ten, 11):
        read()


def test_a_stream_that_is_not_there(db):
    for read in reads(db.stream_from_uuid(uuid.uuid4()), 0):
        with pytest.raises(StreamNotFoundError, match="^stream does not exist$"):
            read()
    nobody = db.stream_from_uuid(uuid.uuid4())
    for call in (nobody.flush, nobody.obliterate, nobody.latest, nobody.current, lambda: nobody.delete(0, 1)):
        with pytest.raises(StreamNotFoundError, match="^stream does not exist$"):
            call()

"""Many streams side by side in one table, as they are or moved to a grid of times."""

import math
import random
import uuid

import pyarrow as pa
import pytest
from btrdb.exceptions import BTRDBServerError, InvalidTimeRange, StreamNotFoundError, VersionNotAvailable
from btrdb.grpcinterface import btrdb_pb2
from btrdb_servers import END, FIRST, MINIMUM, SECOND, TEN, TENTH, make_set, rows, table


def columns(table):
    """The times, and the values of each stream with None where there is none."""
    times, *values = [column.to_pylist() for column in table.set_column(0, "time", table[0].cast(pa.int64())).columns]
    return times, *[[None if math.isnan(value) else value for value in each] for each in values]


def multi(db, streams, start, end, period=0, versions=None):
    """One call to the server."""
    uuids = [stream.uuid for stream in streams]
    answers = list(db.ep.arrowMultiValues(uuids, start, end, versions or [0] * len(uuids), period))
    return columns(pa.concat_tables(answers))


def test_an_outer_join_on_time(db, collection):
    streams = make_set(db, collection, TEN[1::2], TEN[::2], TEN[3:5])
    answer = streams.filter(start=FIRST, end=FIRST + SECOND).arrow_values()
    assert answer["time"].null_count == 0 and all(column.null_count == 0 for column in answer.columns)
    times, a, b, c = columns(answer)
    assert times == [time for time, _ in TEN]
    assert a == [None, 2.0] * 1 + [None, 4.0, None, 6.0, None, 8.0, None, 10.0]
    assert b == [1.0, None, 3.0, None, 5.0, None, 7.0, None, 9.0, None]
    assert c == [None] * 3 + [4.0, 5.0] + [None] * 5


def test_one_stream_is_what_it_is_alone(db, collection):
    streams = make_set(db, collection, TEN)
    answer = streams.filter(start=FIRST, end=END).arrow_values()
    assert answer.rename_columns(["time", "value"]).equals(table(TEN))


def test_start_is_in_and_end_is_out(db, collection):
    streams = make_set(db, collection, TEN, TEN)
    answer = streams.filter(start=FIRST + TENTH, end=FIRST + 3 * TENTH).arrow_values()
    assert rows(answer) == [(time, value, value) for time, value in TEN[1:3]]


def test_a_time_has_one_row(db, collection):
    streams = make_set(db, collection, [(100, 1.0), (100, 3.0), (100, 2.0)], [(100, 7.0), (101, 8.0), (101, 9.0)])
    assert multi(db, streams, 0, 1000) == ([100, 101], [2.0, None], [7.0, 9.0])


def test_the_same_stream_twice(db, collection):
    (stream,) = make_set(db, collection, TEN)
    times, a, b = multi(db, [stream, stream], FIRST, END)
    assert times == [time for time, _ in TEN] and a == b == [value for _, value in TEN]


def test_versions_side_by_side(db, collection):
    (stream,) = make_set(db, collection, TEN[:5])
    stream.insert(TEN[5:])
    times, old, new, latest, empty = multi(db, [stream] * 4, FIRST, END, versions=[11, 12, 0, 10])
    assert times == [time for time, _ in TEN]
    assert old == [1.0, 2.0, 3.0, 4.0, 5.0] + [None] * 5
    assert new == latest == [value for _, value in TEN]
    assert empty == [None] * 10


def test_pinned_versions(db, collection):
    streams = make_set(db, collection, TEN[:3], TEN[:3]).pin_versions()
    for stream in streams:
        stream.insert(TEN[3:])
    assert streams.filter(start=FIRST, end=END).arrow_values().num_rows == 3
    assert streams.pin_versions().filter(start=FIRST, end=END).arrow_values().num_rows == 10


def test_long_joins(db, collection):
    generator = random.Random(5)
    models = [{generator.randrange(200_000): float(i) for i in range(20_000)} for _ in range(3)]
    streams = make_set(db, collection, *[[(FIRST + t, v) for t, v in model.items()] for model in models])
    times, *values = multi(db, streams, MINIMUM, END)
    expected = sorted(set().union(*models))
    assert times == [FIRST + time for time in expected]
    assert values == [[model.get(time) for time in expected] for model in models]


def test_a_hundred_streams(db, collection):
    points = [[(FIRST + i * TENTH, float(number * 100 + i)) for i in range(20)] for number in range(100)]
    streams = make_set(db, collection, *points)
    times, *values = columns(streams.filter(start=FIRST, end=END).arrow_values())
    assert len(times) == 20
    assert values == [[value for _, value in each] for each in points]


def test_times_are_moved_to_the_nearest_of_the_grid(db, collection):
    half = SECOND // 2
    streams = make_set(
        db,
        collection,
        [(half, 0.5), (2 * SECOND, 2.0)],
        [(half - 1, 0.5), (2 * SECOND, 2.0)],
        [(SECOND, 1.0), (2 * SECOND, 2.0)],
    )
    answer = streams.filter(start=SECOND, end=3 * SECOND, sampling_frequency=1).arrow_values()
    assert columns(answer) == ([SECOND, 2 * SECOND], [0.5, 2.0], [None, 2.0], [1.0, 2.0])


def test_a_point_that_is_moved_past_the_end_is_left_out(db, collection):
    streams = make_set(db, collection, [(SECOND, 1.0), (2 * SECOND, 2.0), (2_750_000_000, 2.75)])
    answers = [streams.filter(start=SECOND, end=end, sampling_frequency=1).arrow_values() for end in (3 * SECOND, 2_900_000_000)]
    assert columns(answers[0]) == ([SECOND, 2 * SECOND], [1.0, 2.0])
    assert answers[0].equals(answers[1])


def test_thirty_times_a_second(db, collection):
    period = 33_333_333
    points = [(FIRST + i * period, i / 18_000) for i in range(18_000)]
    streams = make_set(db, collection, points, points)
    for frequency, expected in [(30, 18_000), (15, 9_000), (1, 600), (0.1, 60)]:
        narrowed = streams.filter(start=FIRST, end=FIRST + 600 * SECOND, sampling_frequency=frequency)
        number = narrowed.arrow_values().num_rows
        assert abs(number - expected) <= expected / 1000, frequency
        if frequency == 0.1:
            assert number == 60
        if frequency == 30:
            assert rows(narrowed.arrow_values()) == [(time, value, value) for time, value in points]


def test_the_nearest_point_wins_then_the_earliest(db, collection):
    streams = make_set(
        db,
        collection,
        [(1_004, 1.0), (998, 2.0), (1_001, 3.0)],
        [(1_003, 4.0), (997, 5.0)],
        [(1_005, 6.0), (1_004, 7.0)],
    )
    assert multi(db, streams, 1_000, 1_020, 10) == ([1_000, 1_010], [3.0, None], [5.0, None], [7.0, 6.0])


def test_the_grid_is_that_of_the_start(db, collection):
    streams = make_set(db, collection, [(1_003, 1.0), (1_013, 2.0), (1_030, 3.0)])
    assert multi(db, streams, 1_003, 1_100, 10) == ([1_003, 1_013, 1_033], [1.0, 2.0, 3.0])
    assert multi(db, streams, 1_000, 1_100, 10) == ([1_000, 1_010, 1_030], [1.0, 2.0, 3.0])


def test_points_at_the_end_are_never_read(db, collection):
    streams = make_set(db, collection, [(1_000, 1.0), (1_021, 2.0)])
    assert multi(db, streams, 1_000, 1_021, 10) == ([1_000], [1.0])
    assert multi(db, streams, 1_000, 1_022, 10) == ([1_000, 1_020], [1.0, 2.0])


def snapped(points, start, end, period):
    """What the grid holds of one stream."""
    best = {}
    for time, value in points:
        if start - period // 2 <= time < end:
            grid = start + (time - start + period // 2) // period * period
            if grid < end:
                best[grid] = min(best.get(grid, (period, 0, 0.0)), (abs(time - grid), time, value))
    return {grid: value for grid, (_, _, value) in best.items()}


@pytest.mark.parametrize("period", [1, 2, 7, 10, 333, 100_000])
def test_grids_of_any_period(db, collection, period):
    generator = random.Random(period)
    points = [[(FIRST + t, float(t)) for t in sorted(generator.sample(range(5_000), 300))] for _ in range(3)]
    streams = make_set(db, collection, *points)
    for start, end in [(FIRST, FIRST + 5_000), (FIRST + 1_234, FIRST + 4_321)]:
        expected = [snapped(each, start, end, period) for each in points]
        grid = sorted(set().union(*expected))
        assert multi(db, streams, start, end, period) == (grid, *[[each.get(t) for t in grid] for each in expected])


def test_a_frequency_needs_a_range(db, collection):
    streams = make_set(db, collection, TEN)
    with pytest.raises(ValueError):
        streams.filter(sampling_frequency=30)
    assert streams.filter(start=FIRST, end=END, sampling_frequency=0).arrow_values().num_rows == 10


def code(db, **request):
    (answer,) = db.ep.stub.ArrowMultiValues(btrdb_pb2.ArrowMultiValuesParams(**request))
    return answer.stat.code


def test_requests_that_are_refused(db, ten):
    one = ten.uuid.bytes
    whole = {"start": FIRST, "end": END}
    assert code(db, uuid=[one], versionMajor=[0], **whole) == 0
    assert code(db, uuid=[], versionMajor=[], **whole) == 438
    assert code(db, uuid=[one], versionMajor=[], **whole) == 438
    assert code(db, uuid=[one], versionMajor=[0, 0], **whole) == 438
    assert code(db, uuid=[one[:15]], versionMajor=[0], **whole) == 438
    assert code(db, uuid=[one], versionMajor=[0], snapPeriodNs=-1, **whole) == 438
    assert code(db, uuid=[one], versionMajor=[0], start=FIRST, end=FIRST) == 413
    assert code(db, uuid=[one], versionMajor=[0], start=MINIMUM - 1, end=END) == 413
    assert code(db, uuid=[one, uuid.uuid4().bytes], versionMajor=[0, 0], **whole) == 404
    assert code(db, uuid=[one, one], versionMajor=[0, 99], **whole) == 450


def test_refusals_as_exceptions(db, collection):
    streams = make_set(db, collection, TEN)
    uuids = [streams[0].uuid]
    with pytest.raises(StreamNotFoundError, match="^stream does not exist$"):
        db.streams(uuids[0], uuid.uuid4()).filter(start=FIRST, end=END).arrow_values()
    with pytest.raises(VersionNotAvailable):
        streams.pin_versions({uuids[0]: 12}).filter(start=FIRST, end=END).arrow_values()
    with pytest.raises(InvalidTimeRange):
        list(db.ep.arrowMultiValues(uuids, FIRST, FIRST, [0], 0))
    with pytest.raises(BTRDBServerError, match="^438: "):
        list(db.ep.arrowMultiValues(uuids, FIRST, END, [0], -5))

"""Windows of any width, windows aligned to the tree, and counts made of them."""

import math
import random

import numpy as np
import pyarrow as pa
import pytest
from btrdb.exceptions import InvalidPointWidth, InvalidTimeRange
from btrdb.utils.general import pointwidth as pw
from btrdb_servers import END, FIRST, MINIMUM, SECOND, STAT_SCHEMA, TENTH, assert_says, everything, make, stats

THIRD = 0.816496580927726


def aligned(stream, *arguments, **options):
    """The aligned windows, after a look at whether both ways to ask for them give the same bits."""
    return both_ways(
        lambda: stats(stream.aligned_windows(*arguments, **options)),
        lambda: stream.arrow_aligned_windows(*arguments, **options),
    )


def windows(stream, start, end, width, depth=0):
    """The windows, after a look at whether both ways to ask for them give the same bits."""
    return both_ways(
        lambda: stats(stream.windows(start, end, width, depth)),
        lambda: stream.arrow_windows(start, end, width),
    )


def both_ways(ask, ask_for_table):
    # Fresh points are folded into the tree in the background, and sums in another order round otherwise: what is compared must
    # have been asked for on one side of that.
    for _ in range(20):
        before, table, after = ask(), ask_for_table(), ask()
        if before == after:
            same_bits(after, table)
            return after
    pytest.fail("windows of one version never settle")


def same_bits(plain, table):
    assert table.schema.equals(STAT_SCHEMA)
    assert table["time"].cast(pa.int64()).to_pylist() == [window[0] for window in plain]
    assert table["count"].to_pylist() == [window[4] for window in plain]
    for column, index in [("min", 1), ("mean", 2), ("max", 3), ("stddev", 5)]:
        expected = np.array([window[index] for window in plain], np.float64)
        assert np.asarray(table[column]).tobytes() == expected.tobytes(), column


def test_aligned_windows_begin_before_the_start_and_drop_the_last_part(ten):
    assert aligned(ten, FIRST, FIRST + SECOND, 28) == [
        (1499999999814008832, 1.0, 1.0, 1.0, 1, 0.0),
        (1500000000082444288, 2.0, 3.0, 4.0, 3, THIRD),
        (1500000000350879744, 5.0, 6.0, 7.0, 3, THIRD),
        (1500000000619315200, 8.0, 8.5, 9.0, 2, 0.5),
    ]


def test_the_first_aligned_window_has_the_points_before_the_start(ten):
    ten.insert([(1499999999814008832, 5.0), (1499999999814008831, 9.0)])
    assert aligned(ten, FIRST, FIRST + SECOND, 28)[0] == (1499999999814008832, 1.0, 3.0, 5.0, 2, 2.0)


def test_small_aligned_windows(db, collection):
    stream = make(db, collection, points=[(100, 0.0), (105, 1.0), (110, 2.0), (115, 3.0), (120, 4.0)])
    assert aligned(stream, 100, 121, 3) == [
        (96, 0.0, 0.0, 0.0, 1, 0.0),
        (104, 1.0, 1.5, 2.0, 2, 0.5),
        (112, 3.0, 3.0, 3.0, 1, 0.0),
    ]


def test_aligned_windows_without_points_are_left_out(db, collection):
    stream = make(db, collection, points=[(101, 5.0), (106, 6.0), (110, 7.0), (132, 8.0), (140, 9.0)])
    found = aligned(stream, 100, 141, 3)
    assert [(window[0], window[4]) for window in found] == [(96, 1), (104, 2), (128, 1)]
    assert [window[2] for window in found] == [5.0, 6.5, 8.0]


def test_aligned_windows_of_one_nanosecond(ten):
    found = aligned(ten, FIRST, FIRST + SECOND, 0)
    assert found == [(FIRST + i * TENTH, i + 1.0, i + 1.0, i + 1.0, 1, 0.0) for i in range(10)]


def test_aligned_windows_before_the_epoch(db, collection):
    stream = make(db, collection, points=[(-9, 1.0), (-8, 2.0), (-1, 3.0), (0, 4.0), (7, 5.0)])
    assert [(window[0], window[4]) for window in aligned(stream, -16, 8, 3)] == [(-16, 1), (-8, 2), (0, 2)]
    assert [(window[0], window[4]) for window in aligned(stream, -9, 1, 3)] == [(-16, 1), (-8, 2)]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (60, [(-(2**60), 2), (0, 1), (2**60, 2)]),
        (61, [(-(2**61), 2), (0, 3)]),
        (62, [(-(2**62), 2)]),
        (63, [(-(2**63), 2)]),
    ],
)
def test_the_widest_aligned_windows(db, collection, width, expected):
    times = [MINIMUM, -5, 0, FIRST, FIRST + 1, 2**61 + 1, END - 2]
    stream = make(db, collection, points=[(time, float(i)) for i, time in enumerate(times)])
    assert [(window[0], window[4]) for window in aligned(stream, MINIMUM, END - 1, width)] == expected


def test_every_point_is_in_the_aligned_windows_of_all_time(db, collection):
    times = [MINIMUM, -5, 0, FIRST, 2**61 + 1, END - 2]
    stream = make(db, collection, points=[(time, 1.0) for time in times])
    for width in range(30, 61):
        assert sum(window[4] for window in aligned(stream, MINIMUM, END, width)) == len(times), width


def test_an_aligned_range_without_a_whole_window(ten):
    assert aligned(ten, FIRST, FIRST + 1000, 28) == []
    assert aligned(ten, FIRST, FIRST + SECOND, 40) == []


def test_windows_begin_at_the_start_and_drop_the_last_part(ten):
    width = 3 * TENTH
    expected = [
        (FIRST, 1.0, 2.0, 3.0, 3, THIRD),
        (FIRST + width, 4.0, 5.0, 6.0, 3, THIRD),
        (FIRST + 2 * width, 7.0, 8.0, 9.0, 3, THIRD),
    ]
    assert windows(ten, FIRST, FIRST + SECOND, width, 20) == expected
    for depth in (0, 30, 63):
        assert stats(ten.windows(FIRST, FIRST + SECOND, width, depth)) == expected, "always exact"


def test_small_windows(db, collection):
    stream = make(db, collection, points=[(100, 0.0), (105, 1.0), (110, 2.0), (115, 3.0), (120, 4.0)])
    assert windows(stream, 100, 121, 10) == [(100, 0.0, 0.5, 1.0, 2, 0.5), (110, 2.0, 2.5, 3.0, 2, 0.5)]


def test_windows_without_points_have_a_count_of_zero(db, collection):
    stream = make(db, collection, points=[(100, 0.0), (105, 1.0), (135, 2.0)])
    found = stream.windows(100, 141, 10)
    assert [(window.time, window.count) for window, _ in found] == [(100, 2), (110, 0), (120, 0), (130, 1)]
    table = stream.arrow_windows(100, 141, 10)
    assert table["count"].to_pylist() == [2, 0, 0, 1]
    assert [window.count for window, _ in stream.windows(60, 100, 10)] == [0, 0, 0, 0]
    assert [window.time for window, _ in stream.windows(136, 166, 10)] == [136, 146, 156]


def test_windows_of_an_empty_stream(stream):
    assert [(window.time, window.count) for window, _ in stream.windows(0, 30, 10)] == [(0, 0), (10, 0), (20, 0)]
    assert stream.aligned_windows(0, 1024, 4) == ()


def test_many_windows_without_points(db, collection):
    stream = make(db, collection, points=[(50_005, 1.0)])
    found = stream.windows(0, 120_000, 10)
    assert [window.time for window, _ in found] == list(range(0, 120_000, 10))
    assert [window.time for window, _ in found if window.count] == [50_000]
    assert stream.arrow_windows(0, 120_000, 10)["count"].to_pylist() == [window.count for window, _ in found]


def test_a_range_shorter_than_a_window(ten):
    assert windows(ten, FIRST, FIRST + 5, 6) == []
    assert windows(ten, FIRST, FIRST + 5, 2**63) == []


def test_a_window_of_all_time(db, collection):
    stream = make(db, collection, points=[(MINIMUM, 1.0), (FIRST, 2.0), (END - 2, 6.0)])
    ((time, low, mean, high, count, stddev),) = windows(stream, MINIMUM, END, END - MINIMUM)
    assert (time, low, mean, high, count) == (MINIMUM, 1.0, 3.0, 6.0, 3)
    assert stddev == pytest.approx(np.std([1.0, 2.0, 6.0]), abs=1e-12)


def test_widths_that_are_refused(db, ten):
    for width in (64, 65, 1000):
        for read in (ten.aligned_windows, ten.arrow_aligned_windows):
            with pytest.raises(InvalidPointWidth) as raised:
                read(FIRST, FIRST + SECOND, width)
            assert_says(raised, "pointwidth invalid")
    for read in (ten.windows, ten.arrow_windows):
        with pytest.raises(InvalidPointWidth):
            read(FIRST, FIRST + SECOND, 0)
        with pytest.raises(InvalidPointWidth) as raised:
            read(FIRST, FIRST + SECOND, 2**63 + 1)
        assert_says(raised, "window width is absurd")
    with pytest.raises(InvalidPointWidth) as raised:
        ten.windows(FIRST, FIRST + SECOND, SECOND, 64)
    assert_says(raised, "window depth invalid")
    with pytest.raises(InvalidPointWidth) as raised:
        list(db.ep.arrowWindows(ten.uuid, FIRST, FIRST + SECOND, SECOND, 64))
    assert_says(raised, "window depth invalid")


def test_ranges_that_are_refused(ten):
    calls = [
        lambda start, end: ten.aligned_windows(start, end, 20),
        lambda start, end: ten.arrow_aligned_windows(start, end, 20),
        lambda start, end: ten.windows(start, end, SECOND),
        lambda start, end: ten.arrow_windows(start, end, SECOND),
    ]
    for call in calls:
        for start, end in [(FIRST, FIRST), (FIRST + 1, FIRST)]:
            with pytest.raises(InvalidTimeRange) as raised:
                call(start, end)
            assert_says(raised, "start time >= end time")
        for start, end in [(MINIMUM - 1, 0), (FIRST, END + 1)]:
            with pytest.raises(InvalidTimeRange) as raised:
                call(start, end)
            assert_says(raised, "time range out of bounds")


@pytest.fixture
def scattered(db, collection):
    """Points about 120, dense in places and with gaps, several at one time."""
    generator = random.Random(11)
    points = [
        (FIRST + cluster * 10**15 + generator.randrange(10**7), generator.gauss(120, 3))
        for cluster in (0, 1, 5)
        for _ in range(3_000)
    ]
    points += points[:100]
    stream = make(db, collection)
    for part in range(0, len(points), 1_000):
        stream.insert(points[part : part + 1_000])
    return stream, sorted(points, key=lambda point: point[0])


def check(found, start, width, points):
    for time, low, mean, high, count, stddev in found:
        assert (time - start) % width == 0
        inside = [value for t, value in points if time <= t < time + width]
        assert count == len(inside)
        if count:
            assert (low, high) == (min(inside), max(inside))
            assert abs(mean - math.fsum(inside) / count) <= 1e-9
            assert abs(stddev - np.std(inside)) <= 1e-9


def test_statistics_are_exact(scattered):
    stream, points = scattered
    span = 6 * 10**15
    for width in (10**15, 777_777_777_777_777, 5 * 10**15 + 12_345):
        found = windows(stream, FIRST + 4_999, FIRST + span, width)
        assert len(found) == (span - 4_999) // width
        check(found, FIRST + 4_999, width, points)
    for width in (20, 21, 24, 30, 50, 56):
        found = aligned(stream, FIRST, FIRST + span, width)
        check(found, 0, 2**width, points)
        whole = FIRST + span >> width << width
        assert sum(window[4] for window in found) == sum(time < whole for time, _ in points)


def test_statistics_of_large_values_do_not_cancel(db, collection):
    values = [1e9 + i % 2 for i in range(5_000)]
    stream = make(db, collection, points=[(FIRST + i * 1000, value) for i, value in enumerate(values)])
    ((_, low, mean, high, count, stddev),) = windows(stream, FIRST, FIRST + 5_000_000, 5_000_000)
    assert (low, high, count) == (1e9, 1e9 + 1, 5_000)
    assert mean == pytest.approx(1e9 + 0.5, abs=1e-6)
    assert stddev == pytest.approx(0.5, abs=1e-6)


def test_count(scattered):
    stream, points = scattered
    assert stream.count() == len(points) == len(everything(stream))
    assert stream.count(precise=True) == len(points)
    start, end = points[100][0], points[4_000][0]
    assert stream.count(start, end, precise=True) == sum(start <= time < end for time, _ in points)
    low, high = start >> 16 << 16, end >> 16 << 16
    assert stream.count(start, end, pointwidth=16) == sum(low <= time < high for time, _ in points)


def test_the_default_count_ends_in_2043(db, collection):
    stream = make(db, collection, points=[(2**61 - 1, 1.0), (2**61, 1.0)])
    assert stream.count() == 1, "the windows that the client asks for end there"
    assert stream.count(precise=True) == 2


def test_the_client_knows_the_aligned_windows(ten):
    for width in (20, 25, 28):
        first, last, number = pw(width).for_aligned_windows(FIRST, FIRST + SECOND)
        found = [window[0] for window in aligned(ten, FIRST, FIRST + SECOND, width)]
        assert first <= found[0] and found[-1] <= last and len(found) <= number
        assert {(time - first) % 2**width for time in found} == {0}

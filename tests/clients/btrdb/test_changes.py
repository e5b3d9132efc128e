"""Which times differ between two versions of a stream."""

import bisect
import random

import pytest
from btrdb.exceptions import BTRDBServerError, InvalidPointWidth, StreamNotFoundError, VersionNotAvailable
from btrdb_servers import END, FIRST, MINIMUM, TEN, assert_says, everything, make


def changes(stream, since, until=0, resolution=0):
    """The ranges, after a look at whether they are in order and apart."""
    answers = list(stream.btrdb.ep.changes(stream.uuid, since, until, resolution))
    assert answers, "the version comes with the first message"
    ranges = [(each.start, each.end) for part, _ in answers for each in part]
    assert all(start < end for start, end in ranges)
    assert all(before[1] < after[0] for before, after in zip(ranges, ranges[1:], strict=False))
    return ranges


def covers(ranges, time):
    at = bisect.bisect_right(ranges, time, key=lambda each: each[0])
    return at > 0 and time < ranges[at - 1][1]


def test_a_single_point(db, collection):
    stream = make(db, collection, points=[(100, 1.0)])
    ranges = changes(stream, 10, 11)
    assert covers(ranges, 100)
    assert changes(stream, 10) == changes(stream, 0) == changes(stream, 0, 11) == ranges


def test_nothing_between_equal_versions(db, collection):
    stream = make(db, collection)
    assert changes(stream, 10, 10) == changes(stream, 10) == changes(stream, 0) == []
    stream.insert(TEN)
    assert changes(stream, 11, 11) == changes(stream, 11) == []


def test_a_deletion_is_a_change(ten):
    ten.delete(FIRST, FIRST + 1)
    assert covers(changes(ten, 11), FIRST)
    ten.delete(MINIMUM, END)
    ranges = changes(ten, 11)
    assert all(covers(ranges, time) for time, _ in TEN)


def test_the_version_that_was_looked_at(db, ten):
    ten.insert([(1, 1.0)])
    for until, answered in [(0, 12), (11, 11), (12, 12)]:
        assert {version for _, version in db.ep.changes(ten.uuid, 10, until, 0)} == {answered}


@pytest.mark.parametrize("resolution", [0, 10, 30, 63])
def test_every_difference_is_covered(db, collection, resolution):
    generator = random.Random(resolution)
    stream = make(db, collection)
    states = {10: set()}
    for version in range(11, 19):
        base = FIRST + generator.randrange(20) * 10**12
        if version % 3:
            stream.insert([(base + generator.randrange(10**9), float(version)) for _ in range(1_500)])
        else:
            stream.delete(base, base + 5 * 10**12)
        states[version] = set(everything(stream))
    for since in range(10, 19):
        for until in range(since, 19):
            ranges = changes(stream, since, until, resolution)
            for time, _ in states[since] ^ states[until]:
                assert covers(ranges, time), (since, until, time)


def test_ranges_are_whole_slots(db, collection):
    stream = make(db, collection, points=[(FIRST + i * 10**6, 1.0) for i in range(5_000)])
    stream.insert([(FIRST + 2 * 10**9, 5.0)])
    fine, coarse = changes(stream, 11, 12, 0), changes(stream, 11, 12, 30)
    assert covers(fine, FIRST + 2 * 10**9) and covers(coarse, FIRST + 2 * 10**9)
    assert all(start % 2**26 == 0 and end % 2**26 == 0 for start, end in coarse)
    assert sum(end - start for start, end in fine) <= sum(end - start for start, end in coarse)


def test_what_is_refused(db, ten):
    with pytest.raises(BTRDBServerError) as raised:
        changes(ten, 11, 10)
    assert_says(raised, "427: start version after end version")
    with pytest.raises(InvalidPointWidth):
        changes(ten, 10, 11, 64)
    for since, until in [(10, 12), (10, 5)]:
        with pytest.raises((VersionNotAvailable, BTRDBServerError)):
            changes(ten, since, until)
    with pytest.raises(VersionNotAvailable):
        changes(ten, 11, 12)
    gone = make(db, ten.collection, "gone")
    gone.obliterate()
    with pytest.raises(StreamNotFoundError):
        changes(gone, 10)

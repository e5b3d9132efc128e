"""`generateCSV`: rows of text that the server writes."""

import uuid

import pytest
from btrdb.exceptions import InvalidPointWidth, InvalidTimeRange, StreamNotFoundError, VersionNotAvailable
from btrdb.grpcinterface import btrdb_pb2
from btrdb_servers import FIRST, SECOND, TEN, TENTH, make, make_set

NAMES = {"aligned": 0, "windows": 1, "raw": 2}
HEADER = ["Timestamp (ns)", "Human-Readable Time (UTC)"]
CLOCK = "2017-07-14T02:40:00Z"


class Kind:
    """What the client takes for a kind of query."""

    def __init__(self, name):
        self.name = name

    def to_proto(self):
        return NAMES[self.name]


def csv(db, kind, streams, start=FIRST, end=FIRST + SECOND, width=0, depth=0, versions=False):
    """The rows. A stream is a stream, or a version, a label and a stream."""
    streams = [each if isinstance(each, tuple) else (0, each.name, each) for each in streams]
    streams = [(version, label, stream.uuid) for version, label, stream in streams]
    return [list(row) for row in db.ep.generateCSV(Kind(kind), start, end, width, depth, versions, *streams)]


def test_values_of_two_streams(db, collection):
    a, b = make_set(db, collection, TEN[1:3], TEN[:2])
    header, *rows = csv(db, "raw", [a, b])
    assert header == [*HEADER, "a", "b"]
    assert rows == [
        [str(FIRST), CLOCK, "", "1.000000"],
        [str(FIRST + TENTH), CLOCK, "2.000000", "2.000000"],
        [str(FIRST + 2 * TENTH), CLOCK, "3.000000", ""],
    ]


def test_only_the_first_message_is_a_header(db, ten):
    request = btrdb_pb2.GenerateCSVParams(
        queryType=2,
        startTime=FIRST,
        endTime=FIRST + SECOND,
        streams=[btrdb_pb2.StreamCSVConfig(label="x", uuid=ten.uuid.bytes)],
    )
    assert [message.isHeader for message in db.ep.stub.GenerateCSV(request)] == [True] + [False] * 10


def test_windows(db, ten):
    header, *rows = csv(db, "windows", [ten], width=3 * TENTH, depth=20)
    assert header == [*HEADER, "a (Min)", "a (Mean)", "a (Max)", "a (Count)"]
    assert rows == [
        [str(FIRST), CLOCK, "1.000000", "2.000000", "3.000000", "3"],
        [str(FIRST + 3 * TENTH), CLOCK, "4.000000", "5.000000", "6.000000", "3"],
        [str(FIRST + 6 * TENTH), CLOCK, "7.000000", "8.000000", "9.000000", "3"],
    ]


def test_aligned_windows_take_their_width_from_the_depth(db, collection):
    a, b = make_set(db, collection, TEN, TEN[:1])
    _, *rows = csv(db, "aligned", [a, b], width=12345, depth=28)
    assert rows == [
        ["1499999999814008832", "2017-07-14T02:39:59Z"] + ["1.000000"] * 3 + ["1"] + ["1.000000"] * 3 + ["1"],
        ["1500000000082444288", CLOCK, "2.000000", "3.000000", "4.000000", "3", "", "", "", ""],
        ["1500000000350879744", CLOCK, "5.000000", "6.000000", "7.000000", "3", "", "", "", ""],
        ["1500000000619315200", CLOCK, "8.000000", "8.500000", "9.000000", "2", "", "", "", ""],
    ]


def test_versions_beside_the_labels(db, ten):
    ten.insert([(FIRST + 1, 1 / 3)])
    header, *rows = csv(db, "raw", [(11, "old", ten), (12, "new", ten)], versions=True)
    assert header == [*HEADER, "old, ver. 11", "new, ver. 12"]
    assert len(rows) == 11
    assert rows[1] == [str(FIRST + 1), CLOCK, "", "0.333333"]
    header = csv(db, "windows", [(11, "old", ten)], width=SECOND, versions=True)[0]
    assert header == [*HEADER, *[f"old, ver. 11 ({each})" for each in ("Min", "Mean", "Max", "Count")]]


def test_equal_times_are_rows_one_after_the_other(db, collection):
    stream = make(db, collection, points=[(FIRST, 2.0), (FIRST, 1.0), (FIRST, -3.5)])
    _, *rows = csv(db, "raw", [stream])
    assert rows == [[str(FIRST), CLOCK, value] for value in ("2.000000", "1.000000", "-3.500000")]


def test_no_points(db, stream):
    assert csv(db, "raw", [stream]) == [[*HEADER, "a"]]


def test_times_before_the_epoch(db, collection):
    stream = make(db, collection, points=[(-1, 1.0), (-SECOND, 2.0)])
    _, *rows = csv(db, "raw", [stream], start=-2 * SECOND, end=1)
    assert [row[:2] for row in rows] == [[str(-SECOND), "1969-12-31T23:59:59Z"], ["-1", "1969-12-31T23:59:59Z"]]


def test_what_is_refused(db, ten):
    with pytest.raises(InvalidTimeRange):
        csv(db, "raw", [ten], end=FIRST)
    with pytest.raises(InvalidPointWidth):
        csv(db, "aligned", [ten], depth=64)
    with pytest.raises(InvalidPointWidth):
        csv(db, "windows", [ten], width=0)
    with pytest.raises(VersionNotAvailable):
        csv(db, "raw", [(12, "a", ten)])
    with pytest.raises(StreamNotFoundError):
        csv(db, "raw", [ten, (0, "b", db.stream_from_uuid(uuid.uuid4()))])

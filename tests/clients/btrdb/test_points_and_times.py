"""Points as the client hands them out, and its helpers for times, on what the server answers."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from btrdb.grpcinterface import btrdb_pb2
from btrdb.point import RawPoint, StatPoint
from btrdb.stream import MAXIMUM_TIME, MINIMUM_TIME
from btrdb.utils.general import pointwidth
from btrdb.utils.timez import currently_as_ns, datetime_to_ns, ns_delta, ns_to_datetime, to_nanoseconds
from btrdb_servers import END, FIRST, MINIMUM, SECOND, TEN, TENTH


def test_raw_points(ten):
    point, version = ten.values(FIRST, END)[0]
    assert isinstance(point, RawPoint) and version == 11
    assert (point.time, point.value) == (point[0], point[1]) == TEN[0]
    assert str(point) == repr(point) == f"RawPoint({FIRST}, 1.0)"
    assert point == RawPoint(*TEN[0]) and point != RawPoint(*TEN[1]) and point != 1.0
    with pytest.raises(IndexError):
        point[2]
    with pytest.raises(AttributeError):
        point.value = 2.0


def test_stat_points(ten):
    point, version = ten.windows(FIRST, FIRST + SECOND, 3 * TENTH)[0]
    assert isinstance(point, StatPoint) and version == 11
    fields = (point.time, point.min, point.mean, point.max, point.count, point.stddev)
    assert fields == tuple(point[i] for i in range(6)) == (FIRST, 1.0, 2.0, 3.0, 3, 0.816496580927726)
    assert str(point) == repr(point) == f"StatPoint({FIRST}, 1.0, 2.0, 3.0, 3, 0.816496580927726)"
    assert point == StatPoint(*fields) and point != RawPoint(FIRST, 2.0)
    with pytest.raises(IndexError):
        point[6]
    with pytest.raises(AttributeError):
        point.mean = 2.0


def test_points_of_messages(db, ten):
    (message,) = db.ep.stub.RawValues(btrdb_pb2.RawValuesParams(uuid=ten.uuid.bytes, start=FIRST, end=END))
    points = RawPoint.from_proto_list(message.values)
    assert points == [RawPoint(*each) for each in TEN]
    assert RawPoint.from_proto(message.values[3]) == points[3]
    assert RawPoint.to_proto_list(points) == list(message.values)
    assert RawPoint.to_proto(points[0]) == message.values[0]
    request = btrdb_pb2.WindowsParams(uuid=ten.uuid.bytes, start=FIRST, end=FIRST + SECOND, width=TENTH)
    (message,) = db.ep.stub.Windows(request)
    points = StatPoint.from_proto_list(message.values)
    assert [point.mean for point in points] == [value for _, value in TEN]
    assert StatPoint.from_proto(message.values[9]) == points[9]


def test_the_constants_are_those_of_the_server(stream):
    assert (MINIMUM_TIME, MAXIMUM_TIME) == (MINIMUM, END - 1)
    stream.insert([(MINIMUM_TIME, 1.0), (MAXIMUM_TIME - 1, 2.0)])
    assert len(stream.values(MINIMUM_TIME, MAXIMUM_TIME)) == 2
    assert (stream.earliest()[0].time, stream.latest()[0].time) == (MINIMUM_TIME, MAXIMUM_TIME - 1)


def test_times(ten):
    moment = datetime(2017, 7, 14, 2, 40, tzinfo=timezone.utc)
    assert datetime_to_ns(moment) == to_nanoseconds(moment) == to_nanoseconds(np.datetime64("2017-07-14T02:40")) == FIRST
    assert ns_to_datetime(ten.earliest()[0].time) == moment
    assert abs(ns_to_datetime(ten.latest()[0].time) - moment - timedelta(seconds=0.9)) < timedelta(milliseconds=1)
    span = ns_delta(milliseconds=300)
    assert span == 3 * TENTH
    assert ns_delta(days=1, hours=1, minutes=1, seconds=1, milliseconds=1, microseconds=1, nanoseconds=1) == (90_061_001_001_001)
    assert len(ten.values(FIRST, FIRST + span)) == 3
    assert ten.nearest(currently_as_ns(), 0, backward=True)[0] == RawPoint(*TEN[9])


def test_pointwidths(ten):
    width = pointwidth.from_timedelta(timedelta(seconds=0.3))
    assert int(width) == 28 and width.nanoseconds == 268_435_456
    assert pointwidth.from_nanoseconds(268_435_456) == width
    assert len(ten.aligned_windows(FIRST, FIRST + SECOND, width)) == 4
    assert len(ten.aligned_windows(FIRST, FIRST + SECOND, width.decr())) > 4

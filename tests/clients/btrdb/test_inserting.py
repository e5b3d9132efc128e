"""`insert` and `arrow_insert`: merge policies, limits of time and value, and what is refused as a whole."""

import math
import struct
import uuid

import pyarrow as pa
import pytest
from btrdb.exceptions import BadValue, BTRDBServerError, InvalidTimeRange, StreamNotFoundError
from btrdb.grpcinterface import btrdb_pb2
from btrdb_servers import END, FIRST, MINIMUM, SECOND, TEN, TIME, assert_says, everything, make, table


@pytest.fixture(params=["insert", "arrow_insert"])
def insert(request):
    """Inserts points the one or the other way."""
    if request.param == "insert":
        return lambda stream, points, **options: stream.insert(points, **options)
    return lambda stream, points, **options: stream.arrow_insert(table(points), **options)


def test_every_insert_is_a_version(stream, insert):
    assert insert(stream, TEN[:3]) == 11
    assert insert(stream, TEN[3:]) == 12
    assert stream.version() == 12
    assert everything(stream) == TEN


def test_points_need_no_order(stream, insert):
    insert(stream, TEN[::-1])
    insert(stream, [(FIRST - 5, 0.0), (FIRST + 20 * SECOND, 7.0), (FIRST + 5, 3.0)])
    assert everything(stream) == sorted([*TEN, (FIRST - 5, 0.0), (FIRST + 20 * SECOND, 7.0), (FIRST + 5, 3.0)])


MERGED = {
    "never": ([1.0, 2.0, 3.0, 1.0], [2.0, 3.0]),
    "equal": ([1.0, 2.0, 3.0], [2.0, 3.0]),
    "retain": ([1.0, 2.0], [2.0]),
    "replace": ([1.0], [3.0]),
}


@pytest.mark.parametrize("policy", MERGED)
def test_merge_policies(stream, insert, policy):
    over_stored, into_empty = MERGED[policy]
    insert(stream, [(10, 1.0), (10, 2.0)])
    assert insert(stream, [(10, 3.0), (10, 1.0)], merge=policy) == 12
    assert everything(stream) == [(10, value) for value in over_stored]
    assert insert(stream, [(110, 2.0), (110, 3.0)], merge=policy) == 13
    assert everything(stream)[len(over_stored) :] == [(110, value) for value in into_empty]
    assert stream.count(precise=True) == len(over_stored) + len(into_empty)


@pytest.mark.parametrize(("policy", "left"), [("never", 4), ("equal", 3), ("retain", 2), ("replace", 2)])
def test_duplicates_across_inserts(stream, insert, policy, left):
    insert(stream, [(100, 0.0), (110, 2.0)], merge=policy)
    insert(stream, [(100, 0.0), (110, 3.0)], merge=policy)
    points = everything(stream)
    assert len(points) == left
    assert (110, {"retain": 2.0}.get(policy, 3.0)) in points
    assert (len({time for time, _ in points}) == left) == (policy in ("retain", "replace"))


def test_never_is_the_default(stream, insert):
    insert(stream, [(10, 1.0)])
    insert(stream, [(10, 1.0)])
    assert everything(stream) == [(10, 1.0), (10, 1.0)]


def test_an_insert_that_merges_into_nothing_is_a_version(stream, insert):
    insert(stream, [(10, 1.0)])
    assert insert(stream, [(10, 1.0)], merge="equal") == 12
    assert insert(stream, [(10, 2.0)], merge="retain") == 13
    assert everything(stream) == [(10, 1.0)]


def test_zeros_of_both_signs_are_equal(stream, insert):
    insert(stream, [(10, 0.0)])
    insert(stream, [(10, -0.0)], merge="equal")
    assert everything(stream) == [(10, 0.0)]
    assert math.copysign(1, everything(stream)[0][1]) == 1


def test_an_unknown_policy_is_refused(db, stream):
    with pytest.raises(KeyError):
        stream.insert([(1, 1.0)], merge="sometimes")
    request = btrdb_pb2.InsertParams(uuid=stream.uuid.bytes, merge_policy=7, values=[btrdb_pb2.RawPoint(time=1, value=1.0)])
    assert db.ep.stub.Insert(request).stat.code == 438
    assert stream.version() == 10


def test_nothing_to_insert(db, stream):
    assert stream.insert([]) == 0, "the client asks nobody"
    assert stream.arrow_insert(table([])) == 10
    assert db.ep.insert(stream.uuid, [], "never") == 10
    stream.insert(TEN)
    assert stream.arrow_insert(table([]), merge="replace") == 11
    assert db.ep.insert(stream.uuid, [], "retain") == 11
    assert stream.version() == 11


def test_the_ends_of_time(stream, insert):
    insert(stream, [(MINIMUM, 1.0), (END - 2, 2.0)])
    assert everything(stream) == [(MINIMUM, 1.0), (END - 2, 2.0)]
    assert stream.earliest()[0].time == MINIMUM
    assert stream.latest()[0].time == END - 2


@pytest.mark.parametrize("time", [MINIMUM - 1, END - 1, END, -(2**63), 2**63 - 1])
def test_beyond_the_ends_of_time(stream, insert, time):
    with pytest.raises(InvalidTimeRange) as raised:
        insert(stream, [(FIRST, 1.0), (time, 2.0), (FIRST + 1, 3.0)])
    assert_says(raised, "insert contains points outside valid time interval")
    assert stream.version() == 10
    assert everything(stream) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers(stream, insert, value):
    insert(stream, [(FIRST, 1.0)])
    with pytest.raises(BadValue) as raised:
        insert(stream, [(FIRST + 1, 1.0), (FIRST + 2, value), (FIRST + 3, 1.0)])
    assert_says(raised, f"insert contains {'NaN' if math.isnan(value) else 'Inf'} values")
    assert everything(stream) == [(FIRST, 1.0)]
    assert stream.version() == 11


def test_values_keep_every_bit(stream, insert):
    values = [-0.0, 5e-324, -5e-324, 2.2250738585072009e-308, 1.7976931348623157e308, 0.1, 1 / 3, -1e-300]
    insert(stream, [(FIRST + i, value) for i, value in enumerate(values)])
    stored = [value for _, value in everything(stream)]
    assert struct.pack("8d", *stored) == struct.pack("8d", *values)


def test_a_missing_value_is_zero(stream):
    stream.insert([(FIRST, None)])
    assert everything(stream) == [(FIRST, 0.0)], "the message has no way to say that there is none"


def test_whole_numbers_become_values(stream):
    stream.insert([(FIRST, 3), (FIRST + 1, True)])
    assert everything(stream) == [(FIRST, 3.0), (FIRST + 1, 1.0)]


def test_many_points_at_one_time(stream, insert):
    points = [(FIRST, float(i)) for i in range(10_000)]
    insert(stream, points)
    assert everything(stream) == points
    assert stream.count() == 10_000
    assert stream.count(precise=True) == 10_000
    ((window, _),) = stream.windows(FIRST, FIRST + 1, 1)
    assert (window.count, window.min, window.max, window.mean) == (10_000, 0.0, 9_999.0, 4_999.5)


def test_points_of_equal_time_stay_in_the_order_they_came(stream, insert):
    insert(stream, [(FIRST, 5.0), (FIRST - 1, 0.0), (FIRST, 4.0)])
    insert(stream, [(FIRST, 9.0), (FIRST, 1.0)])
    assert everything(stream) == [(FIRST - 1, 0.0), (FIRST, 5.0), (FIRST, 4.0), (FIRST, 9.0), (FIRST, 1.0)]


def test_long_inserts_come_in_parts(stream, insert):
    points = [(FIRST + i * 1000, float(i % 17)) for i in range(60_000)]
    assert insert(stream, points) == 12
    assert everything(stream) == points


def test_the_longest_insert(db, collection):
    stream = make(db, collection)
    points = table([(FIRST + i, 1.0) for i in range(250_001)])
    with pytest.raises(BTRDBServerError) as raised:
        db.ep.arrowInsertValues(stream.uuid, points, "never")
    assert_says(raised, "414: Insert too big")
    assert stream.version() == 10
    db.ep.arrowInsertValues(stream.uuid, points.slice(1), "never")
    assert stream.count(precise=True) == 250_000


def test_the_longest_insert_of_plain_points(db, stream):
    points = [(FIRST + i, 1.0) for i in range(250_001)]
    with pytest.raises(BTRDBServerError) as raised:
        db.ep.insert(stream.uuid, points, "never")
    assert_says(raised, "414: Insert too big")
    assert stream.version() == 10


def test_a_stream_that_is_not_there(db, insert):
    with pytest.raises(StreamNotFoundError, match="^stream does not exist$"):
        insert(db.stream_from_uuid(uuid.uuid4()), [(1, 1.0)])


def test_tables_of_other_types_are_cast_by_the_client(stream):
    times = pa.array([1, 2, 3], pa.timestamp("ms", tz="Europe/Berlin"))
    assert stream.arrow_insert(pa.table({"when": times, "what": pa.array([1, 2, 3], pa.int16())})) == 11
    assert stream.arrow_insert(pa.table({"t": pa.array([7], pa.int64()), "v": pa.array([0.5], pa.float32())})) == 12
    assert everything(stream) == [(7, 0.5), (1_000_000, 1.0), (2_000_000, 2.0), (3_000_000, 3.0)]


@pytest.mark.parametrize(
    "columns",
    [
        {"time": pa.array([7], pa.int64()), "value": pa.array([0.5], pa.float64())},
        {"time": pa.array([7], pa.timestamp("ns")), "value": pa.array([0.5], pa.float32())},
        {"a": pa.array([7], pa.timestamp("ns", tz="+01:00")), "b": pa.array([0.5], pa.float64())},
    ],
)
def test_tables_are_read_by_position(db, stream, columns):
    assert db.ep.arrowInsertValues(stream.uuid, pa.table(columns), "never") == 11
    assert everything(stream) == [(7, 0.5)]


def test_coarser_times_and_whole_numbers_are_taken(db, stream):
    columns = {"time": pa.array([7], pa.timestamp("s", tz="UTC")), "value": pa.array([3], pa.int32())}
    db.ep.arrowInsertValues(stream.uuid, pa.table(columns), "never")
    assert everything(stream) == [(7 * SECOND, 3.0)]


def test_several_batches_in_one_message(db, stream):
    parts = pa.concat_tables([table(TEN[:4]), table(TEN[4:5]), table([]), table(TEN[5:])])
    db.ep.arrowInsertValues(stream.uuid, parts, "never")
    assert everything(stream) == TEN


@pytest.mark.parametrize(
    "columns",
    [
        {"time": pa.array([7], pa.int64())},
        {"time": pa.array([7], pa.int64()), "value": pa.array(["a"])},
        {"time": pa.array(["a"]), "value": pa.array([1.0])},
        {"time": pa.array([7], pa.int64()), "value": pa.array([1.0]), "more": pa.array([1.0])},
    ],
)
def test_tables_of_other_shapes_are_refused(db, stream, columns):
    with pytest.raises(BTRDBServerError, match="^438: "):
        db.ep.arrowInsertValues(stream.uuid, pa.table(columns), "never")
    assert stream.version() == 10


def test_bytes_that_are_no_table_are_refused(db, stream):
    for garbage in (b"", b"garbage", b"\xff\xff\xff\xff\x10\0\0\0"):
        answer = db.ep.stub.ArrowInsert(btrdb_pb2.ArrowInsertParams(uuid=stream.uuid.bytes, arrowBytes=garbage))
        assert answer.stat.code == 438, garbage
    assert stream.version() == 10


def test_nulls_are_refused(db, stream):
    for time, value in [([7, None], [1.0, 2.0]), ([7, 8], [1.0, None])]:
        columns = {"time": pa.array(time, TIME.type), "value": pa.array(value, pa.float64())}
        with pytest.raises(BadValue):
            db.ep.arrowInsertValues(stream.uuid, pa.table(columns), "never")
    assert stream.version() == 10


def rounded(value, bits):
    """The value with its lowest bits zero, halves to even."""
    (pattern,) = struct.unpack("<Q", struct.pack("<d", value))
    unit = 1 << bits
    low, pattern = pattern % unit, pattern - pattern % unit
    if low > unit // 2 or (low == unit // 2 and bits and (pattern // unit) % 2):
        pattern += unit
    return struct.unpack("<d", struct.pack("<Q", pattern))[0]


def insert_rounded(db, stream, bits, values):
    points = [btrdb_pb2.RawPoint(time=FIRST + i, value=value) for i, value in enumerate(values)]
    rounding = btrdb_pb2.RoundSpec(bits=bits)
    return db.ep.stub.Insert(btrdb_pb2.InsertParams(uuid=stream.uuid.bytes, rounding=rounding, values=points)).stat.code


@pytest.mark.parametrize("bits", [0, 1, 8, 40, 51, 52])
def test_values_are_rounded_to_a_bit(db, stream, bits):
    values = [1.0, 1 / 3, -2 / 3, 120.123456789, 1.5, 2.5]
    assert insert_rounded(db, stream, bits, values) == 0
    assert [value for _, value in everything(stream)] == [rounded(value, bits) for value in values]


def test_roundings_that_are_refused(db, stream):
    assert insert_rounded(db, stream, -1, [1.0]) == 438
    assert insert_rounded(db, stream, 53, [1.0]) == 438
    assert insert_rounded(db, stream, 52, [1.0, 1.7976931348623157e308]) == 425
    assert stream.version() == 10

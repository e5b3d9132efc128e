"""Tables: their schemas, also when they are empty, and casts to a schema of the client's choice."""

import math

import pyarrow as pa
import pytest
from btrdb.exceptions import BTRDBServerError
from btrdb.grpcinterface import btrdb_pb2
from btrdb_servers import END, FIRST, MINIMUM, RAW_SCHEMA, SECOND, STAT_SCHEMA, TEN, TIME, make_set, rows, table


def multi_schema(streams):
    return pa.schema([TIME, *[pa.field(str(stream.uuid), pa.float64(), nullable=False) for stream in streams]])


def test_schemas(ten):
    assert ten.arrow_values(FIRST, END).schema.equals(RAW_SCHEMA)
    assert ten.arrow_windows(FIRST, FIRST + SECOND, SECOND).schema.equals(STAT_SCHEMA)
    assert ten.arrow_aligned_windows(FIRST, FIRST + SECOND, 20).schema.equals(STAT_SCHEMA)


def test_schemas_of_empty_answers(stream):
    for answer, schema in [
        (stream.arrow_values(FIRST, END), RAW_SCHEMA),
        (stream.arrow_windows(FIRST, FIRST + 5, SECOND), STAT_SCHEMA),
        (stream.arrow_aligned_windows(FIRST, END, 40), STAT_SCHEMA),
        (stream.arrow_aligned_windows(FIRST, FIRST + 1, 40), STAT_SCHEMA),
    ]:
        assert answer.num_rows == 0
        assert answer.schema.equals(schema)


def test_schemas_of_several_streams(db, collection):
    streams = make_set(db, collection, TEN, TEN[:3], [])
    answer = streams.filter(start=FIRST, end=END).arrow_values()
    assert answer.schema.equals(multi_schema(streams)) and answer.num_rows == 10
    answer = streams.filter(start=1, end=2).arrow_values()
    assert answer.schema.equals(multi_schema(streams)) and answer.num_rows == 0
    (empty,) = db.ep.arrowMultiValues([streams[2].uuid], FIRST, END, [0], SECOND)
    assert empty.schema.equals(multi_schema(streams[2:])) and empty.num_rows == 0


def test_the_zone_is_written_utc(ten):
    assert str(ten.arrow_values(FIRST, END).schema.field("time").type) == "timestamp[ns, tz=UTC]"


def test_a_table_can_be_put_back(db, collection, ten):
    read = ten.arrow_values(FIRST, END)
    (copy,) = make_set(db, f"{collection}/copy", [])
    assert copy.arrow_insert(read) == 11
    assert copy.arrow_values(FIRST, END).equals(read)
    assert read.equals(table(TEN))


def test_names_and_types_of_ones_own(ten):
    schema = pa.schema([pa.field("t", pa.int64(), nullable=False), pa.field("v", pa.float32(), nullable=False)])
    answer = ten.arrow_values(FIRST, END, schema=schema)
    assert answer.schema.equals(schema)
    assert answer.to_pydict() == {"t": [time for time, _ in TEN], "v": [value for _, value in TEN]}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.int64(), [-1_500_000_001, -1, 1_500_000_001]),
        (pa.timestamp("s", tz="UTC"), [-2, -1, 1]),
        (pa.timestamp("ms"), [-1501, -1, 1500]),
        (pa.timestamp("us", tz="UTC"), [-1_500_001, -1, 1_500_000]),
        (pa.timestamp("ns"), [-1_500_000_001, -1, 1_500_000_001]),
        (pa.timestamp("ns", tz="Europe/Berlin"), [-1_500_000_001, -1, 1_500_000_001]),
        (pa.timestamp("us", tz="+05:30"), [-1_500_001, -1, 1_500_000]),
    ],
)
def test_times_of_another_unit_or_zone(db, collection, kind, expected):
    streams = make_set(db, collection, [(-1_500_000_001, 1.0), (-1, 2.0), (1_500_000_001, 3.0)])
    schema = pa.schema([pa.field("when", kind, nullable=False), pa.field("value", pa.float64(), nullable=False)])
    for answer in (
        streams[0].arrow_values(MINIMUM, END, schema=schema),
        streams.filter(start=MINIMUM, end=END, schema=schema).arrow_values(),
    ):
        assert answer.schema.equals(schema)
        assert answer["when"].cast(pa.int64()).to_pylist() == expected
        assert answer["value"].to_pylist() == [1.0, 2.0, 3.0]


def test_values_of_single_precision(db, collection):
    streams = make_set(db, collection, [(1, 0.1), (2, 1e300), (3, -2.5)])
    schema = pa.schema([TIME, pa.field("value", pa.float32(), nullable=False)])
    answer = streams[0].arrow_values(0, 10, schema=schema)
    assert answer.schema.equals(schema)
    assert answer["value"].to_pylist() == pa.array([0.1, math.inf, -2.5], pa.float32()).to_pylist()


def test_nullability_is_that_of_the_schema(ten):
    schema = pa.schema([pa.field("time", TIME.type, nullable=True), pa.field("value", pa.float64(), nullable=True)])
    answer = ten.arrow_values(FIRST, END, schema=schema)
    assert answer.schema.equals(schema) and answer.num_rows == 10


def test_several_streams_cast_by_position(db, collection):
    streams = make_set(db, collection, TEN[:2], TEN[1:3])
    schema = pa.schema(
        [
            pa.field("t", TIME.type, nullable=False),
            pa.field("a", pa.float64(), nullable=False),
            pa.field("b", pa.float32(), nullable=False),
        ]
    )
    answer = streams.filter(start=FIRST, end=END, schema=schema).arrow_values()
    assert answer.schema.equals(schema)
    assert answer["t"].cast(pa.int64()).to_pylist() == [time for time, _ in TEN[:3]]
    assert answer["a"].to_pylist()[:2] == [1.0, 2.0] and math.isnan(answer["a"][2].as_py())
    assert answer["b"].to_pylist()[1:] == [2.0, 3.0] and math.isnan(answer["b"][0].as_py())
    assert all(column.null_count == 0 for column in answer.columns)


def test_an_empty_answer_has_the_schema_too(db, collection):
    streams = make_set(db, collection, [], [])
    schema = pa.schema([pa.field("t", pa.int64()), pa.field("a", pa.float32()), pa.field("b", pa.float64())])
    assert streams.filter(start=1, end=2, schema=schema).arrow_values().schema.equals(schema)
    schema = pa.schema([pa.field("t", pa.int64()), pa.field("a", pa.float32())])
    assert streams[0].arrow_values(1, 2, schema=schema).schema.equals(schema)


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([pa.field("t", pa.int64())]),
        pa.schema([pa.field("t", pa.int64()), pa.field("a", pa.float64()), pa.field("b", pa.float64())]),
        pa.schema([]),
        pa.schema([pa.field("t", pa.int64()), pa.field("a", pa.struct([pa.field("x", pa.float64())]))]),
        pa.schema([pa.field("t", pa.list_(pa.int64())), pa.field("a", pa.float64())]),
    ],
)
def test_schemas_that_are_refused(ten, schema):
    with pytest.raises(BTRDBServerError, match="^438: "):
        ten.arrow_values(FIRST, END, schema=schema)


def test_templates_that_are_no_schema_are_refused(db, ten):
    for template in (b"garbage", b"\xff\xff\xff\xff\x08\0\0\0"):
        request = btrdb_pb2.ArrowRawValuesParams(uuid=ten.uuid.bytes, start=FIRST, end=END, templateBytes=template)
        (answer,) = db.ep.stub.ArrowRawValues(request)
        assert answer.stat.code == 438
        request = btrdb_pb2.ArrowMultiValuesParams(
            uuid=[ten.uuid.bytes], versionMajor=[0], start=FIRST, end=END, templateBytes=template
        )
        (answer,) = db.ep.stub.ArrowMultiValues(request)
        assert answer.stat.code == 438


def test_windows_have_no_schema_to_choose(db, collection):
    streams = make_set(db, collection, TEN).filter(start=FIRST, end=END, schema=RAW_SCHEMA)
    with pytest.raises(NotImplementedError):
        streams.clone().windows(SECOND).arrow_values()
    with pytest.raises(NotImplementedError):
        streams.clone().aligned_windows(30).arrow_values()


def test_rows_of_the_plain_and_the_table_form(ten):
    assert rows(ten.arrow_values(FIRST, END)) == TEN

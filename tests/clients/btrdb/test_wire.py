"""Messages as they are sent: what other clients than this one rely on."""

import uuid

import btrdb
import grpc
import pyarrow as pa
import pytest
from btrdb.exceptions import BTRDBServerError, InvalidTimeRange, StreamNotFoundError
from btrdb.grpcinterface import btrdb_pb2
from btrdb_servers import END, FIRST, SECOND, TEN, assert_says, everything, make, table


def unary(stream, collection):
    """Calls with one answer, none of them a refusal."""
    uu = stream.uuid.bytes
    pair = btrdb_pb2.KeyOptValue(key="unit", val=btrdb_pb2.OptValue(value="volts"))
    other = uuid.uuid4().bytes
    ipc = pa.BufferOutputStream()
    with pa.ipc.new_stream(ipc, table(TEN).schema) as writer:
        writer.write_table(table(TEN))
    yield "Info", btrdb_pb2.InfoParams()
    yield "Create", btrdb_pb2.CreateParams(uuid=other, collection=collection, tags=[pair])
    yield "StreamInfo", btrdb_pb2.StreamInfoParams(uuid=uu)
    yield "SetStreamTags", btrdb_pb2.SetStreamTagsParams(uuid=other, collection=collection, tags=[pair])
    yield "SetStreamAnnotations", btrdb_pb2.SetStreamAnnotationsParams(uuid=uu, changes=[pair])
    yield "Insert", btrdb_pb2.InsertParams(uuid=uu, sync=True, values=[btrdb_pb2.RawPoint(time=FIRST, value=1.0)])
    yield "ArrowInsert", btrdb_pb2.ArrowInsertParams(uuid=uu, sync=True, arrowBytes=ipc.getvalue().to_pybytes())
    yield "Nearest", btrdb_pb2.NearestParams(uuid=uu, time=FIRST)
    yield "Delete", btrdb_pb2.DeleteParams(uuid=uu, start=1, end=2)
    yield "Flush", btrdb_pb2.FlushParams(uuid=uu)
    yield "GetMetadataUsage", btrdb_pb2.MetadataUsageParams(prefix=collection)
    yield "Obliterate", btrdb_pb2.ObliterateParams(uuid=other)


def versioned(stream):
    """Calls with a stream of answers, each of which names a version."""
    uu = stream.uuid.bytes
    yield "RawValues", btrdb_pb2.RawValuesParams(uuid=uu, start=FIRST, end=END)
    yield "ArrowRawValues", btrdb_pb2.ArrowRawValuesParams(uuid=uu, start=FIRST, end=END)
    yield "AlignedWindows", btrdb_pb2.AlignedWindowsParams(uuid=uu, start=FIRST, end=END, pointWidth=20)
    yield "ArrowAlignedWindows", btrdb_pb2.AlignedWindowsParams(uuid=uu, start=FIRST, end=END, pointWidth=20)
    yield "Windows", btrdb_pb2.WindowsParams(uuid=uu, start=FIRST, end=FIRST + 5, width=10)
    yield "ArrowWindows", btrdb_pb2.WindowsParams(uuid=uu, start=FIRST, end=FIRST + 5, width=10)
    yield "Changes", btrdb_pb2.ChangesParams(uuid=uu, fromMajor=0)


def unversioned(stream):
    uu = stream.uuid.bytes
    yield "ArrowMultiValues", btrdb_pb2.ArrowMultiValuesParams(uuid=[uu], versionMajor=[0], start=FIRST, end=END)
    yield "LookupStreams", btrdb_pb2.LookupStreamsParams(collection="nothing", isCollectionPrefix=False)
    yield "LookupStreams", btrdb_pb2.LookupStreamsParams(collection=stream.collection)
    config = btrdb_pb2.StreamCSVConfig(label="a", uuid=uu)
    yield "GenerateCSV", btrdb_pb2.GenerateCSVParams(queryType=2, startTime=FIRST, endTime=END, streams=[config])


def test_success_has_no_status(db, stream, collection):
    for name, request in unary(stream, collection):
        assert not getattr(db.ep.stub, name)(request).HasField("stat"), name
    calls = [*versioned(stream), *unversioned(stream)]
    calls.append(("ListCollections", btrdb_pb2.ListCollectionsParams(prefix=collection)))
    calls.append(("SQLQuery", btrdb_pb2.SQLQueryParams(query="select uuid from streams limit 1")))
    for name, request in calls:
        assert not any(message.HasField("stat") for message in getattr(db.ep.stub, name)(request)), name


def test_every_stream_of_answers_has_one_even_without_data(db, stream):
    for name, request in [*versioned(stream), *unversioned(stream)]:
        messages = list(getattr(db.ep.stub, name)(request))
        assert messages, name
        if hasattr(messages[0], "versionMajor"):
            assert [(message.versionMajor, message.versionMinor) for message in messages] == [(10, 0)] * len(messages)


def test_every_answer_names_the_version(db, collection):
    stream = make(db, collection, points=[(FIRST + i * SECOND, 1.0) for i in range(12_345)])
    stream.insert([(1, 1.0)])
    for name, request in versioned(stream):
        for version, answered in [(0, 12), (11, 11), (10, 10)]:
            if name == "Changes":
                request.toMajor = version
            else:
                request.versionMajor = version
            messages = list(getattr(db.ep.stub, name)(request))
            assert {(message.versionMajor, message.versionMinor) for message in messages} == {(answered, 0)}, name


def test_messages_stay_small(db, collection):
    points = [(FIRST + i * 4096, float(i)) for i in range(48_000)]
    stream = make(db, collection, points=points)
    for name, request in versioned(stream):
        if name.endswith("AlignedWindows"):
            request.pointWidth = 12
        elif name.endswith("Windows"):
            request.width, request.end = 4096, FIRST + 48_000 * 4096
        messages = list(getattr(db.ep.stub, name)(request))
        assert all(message.ByteSize() < 4 << 20 for message in messages), name
        if name in ("RawValues", "Windows", "AlignedWindows"):
            assert all(0 < len(message.values) <= 5_000 for message in messages), name
            assert sum(len(message.values) for message in messages) == 48_000, name
        if name.startswith("Arrow"):
            tables = [pa.ipc.open_stream(message.arrowBytes).read_all() for message in messages]
            assert all(part.num_rows <= 65_536 for part in tables), name
            assert sum(part.num_rows for part in tables) == 48_000, name
            assert {part.schema for part in tables} == {tables[0].schema}


def test_what_a_description_leaves_out(db, ten):
    def info(**options):
        return db.ep.stub.StreamInfo(btrdb_pb2.StreamInfoParams(uuid=ten.uuid.bytes, **options))

    whole = info()
    assert (whole.versionMajor, whole.versionMinor) == (11, 0)
    assert whole.descriptor.uuid == ten.uuid.bytes
    assert (whole.descriptor.collection, whole.descriptor.propertyVersion) == (ten.collection, 1)
    assert {tag.key for tag in whole.descriptor.tags} == {"name", "unit", "ingress", "distiller"}
    assert info(omitVersion=True).versionMajor == 0
    assert info(omitVersion=True).descriptor == whole.descriptor
    assert info(omitDescriptor=True).versionMajor == 11
    assert info(omitDescriptor=True).descriptor.collection == ""
    with pytest.raises(BTRDBServerError) as raised:
        db.ep.streamInfo(ten.uuid, True, True)
    assert_says(raised, "421: you cannot omit descriptor and version")
    nobody = uuid.uuid4()
    for options in [(True, False), (False, True), (False, False)]:
        with pytest.raises(StreamNotFoundError):
            db.ep.streamInfo(nobody, *options)


def test_info_names_a_proxy(db):
    info = db.ep.info()
    assert info.HasField("proxy") and not info.HasField("mash")


def test_uuids_have_sixteen_bytes(db, stream, collection):
    for name, request in [*unary(stream, collection), *versioned(stream)]:
        if not hasattr(request, "uuid"):
            continue
        for length in (0, 15, 17):
            request.uuid = b"\1" * length
            answer = getattr(db.ep.stub, name)(request)
            message = answer if hasattr(answer, "stat") else next(answer)
            assert message.stat.code == 438, name


def test_any_sixteen_bytes_are_a_uuid(db, collection):
    for text in (uuid.uuid4().bytes, b"\xff" + uuid.uuid4().bytes[1:], b"\0" + uuid.uuid4().bytes[1:]):
        stream = db.create(uuid.UUID(bytes=text), collection, {"name": text.hex()})
        assert stream.insert(TEN) == 11


def test_a_refusal_ends_the_call_in_good_order(db):
    call = db.ep.stub.RawValues(btrdb_pb2.RawValuesParams(uuid=uuid.uuid4().bytes, start=0, end=1))
    (message,) = call
    assert (message.stat.code, message.stat.msg) == (404, "stream does not exist")
    assert call.code() == grpc.StatusCode.OK


def test_bounds_are_checked_before_the_stream_is_looked_for(db):
    nobody = db.stream_from_uuid(uuid.uuid4())
    with pytest.raises(InvalidTimeRange):
        nobody.values(2, 1)
    with pytest.raises(StreamNotFoundError):
        nobody.values(1, 2, version=99)


def test_fault_injection_is_disabled(db):
    for kind in (1, 2, 3):
        with pytest.raises(BTRDBServerError) as raised:
            db.ep.faultInject(kind, b"")
        assert_says(raised, "424: Fault injection is disabled on this node")


def test_calls_that_nobody_implements(plain_endpoint):
    channel = btrdb.Connection(plain_endpoint.address, apikey=plain_endpoint.key).channel
    for name in ("SetCompactionConfig", "GetCompactionConfig", "MultiRawValues"):
        call = channel.unary_unary(f"/v5api.BTrDB/{name}", request_serializer=None, response_deserializer=None)
        with pytest.raises(grpc.RpcError) as raised:
            call(b"")
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_requests_may_be_compressed(db, stream):
    request = btrdb_pb2.InsertParams(
        uuid=stream.uuid.bytes, values=[btrdb_pb2.RawPoint(time=time, value=value) for time, value in TEN]
    )
    assert db.ep.stub.Insert(request, compression=grpc.Compression.Gzip).versionMajor == 11
    assert everything(stream) == TEN


def test_a_role_is_taken_and_ignored(db, stream):
    role = btrdb_pb2.Role(name="somebody")
    answer = db.ep.stub.StreamInfo(btrdb_pb2.StreamInfoParams(uuid=stream.uuid.bytes, role=role))
    assert answer.descriptor.collection == stream.collection


def test_a_cancelled_read_disturbs_nobody(db, collection):
    stream = make(db, collection, points=[(FIRST + i, 1.0) for i in range(50_000)])
    for _ in range(20):
        call = db.ep.stub.RawValues(btrdb_pb2.RawValuesParams(uuid=stream.uuid.bytes, start=FIRST, end=END))
        next(call)
        call.cancel()
    assert stream.count(precise=True) == 50_000

"""Every call asks for the key, not only the first one."""

import uuid

import btrdb
import grpc
import pytest
from btrdb.grpcinterface import btrdb_pb2, btrdb_pb2_grpc

ANY = uuid.UUID(int=1).bytes

# Each call with a request that would be answered if the key were right.
UNARY = {
    "StreamInfo": btrdb_pb2.StreamInfoParams(uuid=ANY),
    "SetStreamAnnotations": btrdb_pb2.SetStreamAnnotationsParams(uuid=ANY),
    "SetStreamTags": btrdb_pb2.SetStreamTagsParams(uuid=ANY),
    "Create": btrdb_pb2.CreateParams(uuid=ANY, collection="authentication"),
    "Nearest": btrdb_pb2.NearestParams(uuid=ANY),
    "Insert": btrdb_pb2.InsertParams(uuid=ANY),
    "ArrowInsert": btrdb_pb2.ArrowInsertParams(uuid=ANY),
    "Delete": btrdb_pb2.DeleteParams(uuid=ANY, end=1),
    "Info": btrdb_pb2.InfoParams(),
    "FaultInject": btrdb_pb2.FaultInjectParams(),
    "Flush": btrdb_pb2.FlushParams(uuid=ANY),
    "Obliterate": btrdb_pb2.ObliterateParams(uuid=ANY),
    "GetMetadataUsage": btrdb_pb2.MetadataUsageParams(),
}
STREAMING = {
    "RawValues": btrdb_pb2.RawValuesParams(uuid=ANY, end=1),
    "ArrowRawValues": btrdb_pb2.ArrowRawValuesParams(uuid=ANY, end=1),
    "ArrowMultiValues": btrdb_pb2.ArrowMultiValuesParams(uuid=[ANY], versionMajor=[0], end=1),
    "AlignedWindows": btrdb_pb2.AlignedWindowsParams(uuid=ANY, end=1),
    "ArrowAlignedWindows": btrdb_pb2.AlignedWindowsParams(uuid=ANY, end=1),
    "Windows": btrdb_pb2.WindowsParams(uuid=ANY, end=1, width=1),
    "ArrowWindows": btrdb_pb2.WindowsParams(uuid=ANY, end=1, width=1),
    "ListCollections": btrdb_pb2.ListCollectionsParams(),
    "LookupStreams": btrdb_pb2.LookupStreamsParams(isCollectionPrefix=True),
    "Changes": btrdb_pb2.ChangesParams(uuid=ANY),
    "GenerateCSV": btrdb_pb2.GenerateCSVParams(queryType=2, endTime=1),
    "SQLQuery": btrdb_pb2.SQLQueryParams(query="SELECT uuid FROM streams"),
}


@pytest.fixture(params=["a wrong key", "no key"])
def stranger(request, endpoint):
    key = "BOGUS_KEY" if request.param == "a wrong key" else None
    return btrdb_pb2_grpc.BTrDBStub(btrdb.Connection(endpoint.address, apikey=key).channel)


def refused(call):
    with pytest.raises(grpc.RpcError) as raised:
        call()
    assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
    return raised.value.details()


def test_every_call_is_refused(stranger):
    for name, request in UNARY.items():
        assert refused(lambda: getattr(stranger, name)(request)), name
    for name, request in STREAMING.items():
        assert refused(lambda: list(getattr(stranger, name)(request))), name
    assert refused(lambda: list(stranger.Subscribe(iter([]))))


def test_these_are_all_calls():
    (service,) = btrdb_pb2.DESCRIPTOR.services_by_name.values()
    assert {method.name for method in service.methods} == {*UNARY, *STREAMING, "Subscribe"}


def test_the_scheme_is_read_in_any_case(plain_endpoint):
    stub = btrdb_pb2_grpc.BTrDBStub(grpc.insecure_channel(plain_endpoint.address))
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = stub.Info(btrdb_pb2.InfoParams(), metadata=[("authorization", f"{scheme} {plain_endpoint.key}")])
        assert answer.majorVersion == 5
    for header in (plain_endpoint.key, f"Basic {plain_endpoint.key}", "Bearer", "Bearer "):
        refused(lambda: stub.Info(btrdb_pb2.InfoParams(), metadata=[("authorization", header)]))


def test_a_refused_create_creates_nothing(db, stranger):
    stranger_uuid = uuid.uuid4()
    request = btrdb_pb2.CreateParams(uuid=stranger_uuid.bytes, collection=f"test/{stranger_uuid}")
    refused(lambda: stranger.Create(request))
    assert not db.stream_from_uuid(stranger_uuid).exists()

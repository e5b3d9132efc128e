"""Tags, annotations and collections of a stream, and how `update` changes them."""

import json
import uuid
from datetime import datetime, timezone

import numpy as np
import pytest
from btrdb.exceptions import (
    AmbiguousStream,
    BTRDBServerError,
    BTRDBTypeError,
    BTRDBValueError,
    InvalidCollection,
    InvalidTagKey,
    InvalidTagValue,
    StreamNotFoundError,
)
from btrdb.grpcinterface import btrdb_pb2
from btrdb_servers import TEN, assert_says, make


def fresh(db, stream):
    """The stream as another client sees it."""
    return db.stream_from_uuid(stream.uuid)


def test_annotations_from_creation_to_removal(db, collection):
    stream = make(db, collection, annotations={"foo": "bar"})
    assert stream.annotations(refresh=True) == ({"foo": "bar"}, 1)
    second = stream.update(annotations={"foo": "baz"})
    assert second == 2
    assert stream.annotations(refresh=True) == ({"foo": "baz"}, 2)
    third = stream.update(annotations={}, replace=True)
    assert third == 3
    assert stream.annotations(refresh=True) == ({}, 3)


def test_an_upsert_keeps_what_it_does_not_name(db, collection):
    stream = make(db, collection, annotations={"owner": "Salvatore McFesterson", "state": "NH"})
    stream.update(annotations={"state": "VT", "created": "2018-01-01 12:42:03 -0500"})
    annotations, version = fresh(db, stream).annotations()
    assert annotations == {"owner": "Salvatore McFesterson", "state": "VT", "created": "2018-01-01 12:42:03 -0500"}
    assert version == 2


def test_replace_removes_what_it_does_not_name(db, collection):
    stream = make(db, collection, annotations={"keep": "1", "key_to_delete": "2"})
    annotations, _ = stream.annotations(refresh=True)
    del annotations["key_to_delete"]
    stream.update(annotations=annotations, replace=True)
    assert fresh(db, stream).annotations() == ({"keep": 1}, 2)


def test_values_are_encoded_as_json(db, stream):
    when = datetime(2018, 1, 1, 12, 42, 3, tzinfo=timezone.utc)
    uu = uuid.uuid4()
    stream.update(
        annotations={
            "text": "plain",
            "number": 7,
            "float": 2.5,
            "flag": True,
            "nothing": None,
            "list": [1, "a"],
            "map": {"a": 1},
            "uuid": uu,
            "datetime": when,
            "datetime64": np.datetime64("2018-01-01T12:42:03.000001"),
            "set": {3},
        }
    )
    annotations, _ = fresh(db, stream).annotations()
    assert annotations == {
        "text": "plain",
        "number": 7,
        "float": 2.5,
        "flag": True,
        "nothing": None,
        "list": [1, "a"],
        "map": {"a": 1},
        "uuid": str(uu),
        "datetime": "2018-01-01 12:42:03.000000+0000",
        "datetime64": "2018-01-01 12:42:03.000001+0000",
        "set": [3],
    }


def test_encoders_of_ones_own_and_none(db, stream):
    class Shouting(json.JSONEncoder):
        def encode(self, value):
            return str(value).upper()

    stream.update(annotations={"a": "loud"}, encoder=Shouting)
    stream.update(annotations={"b": '"quoted"', "c": "{not json"}, encoder=None)
    rows = db.query("select annotations from streams where uuid = $1", [str(stream.uuid)])
    assert rows == [{"annotations": {"a": "LOUD", "b": '"quoted"', "c": "{not json"}}]
    assert fresh(db, stream).annotations()[0] == {"a": "LOUD", "b": "quoted", "c": "{not json"}


def test_keys_are_case_sensitive(db, stream):
    stream.update(annotations={"EventId": "1a", "eventid": "2a", "FailedEquipmentCode": "x"})
    assert stream.annotations(refresh=True)[0] == {"EventId": "1a", "eventid": "2a", "FailedEquipmentCode": "x"}


def test_tags_are_upserted(db, collection):
    stream = make(db, collection, "L1MAG", unit="volts", ingress="pmu")
    assert stream.update(tags={"name": "L1ANG", "unit": "deg"}) == 2
    assert stream.tags() == {"name": "L1ANG", "unit": "deg", "ingress": "pmu", "distiller": ""}
    assert (fresh(db, stream).name, fresh(db, stream).unit) == ("L1ANG", "deg")
    assert stream.update(tags={"ingress": None}) == 3
    assert fresh(db, stream).tags() == {"name": "L1ANG", "unit": "deg", "ingress": "", "distiller": ""}


def test_a_stream_moves(db, collection):
    stream = make(db, collection, points=TEN)
    assert stream.update(collection=f"{collection}/VERMONT") == 2
    assert stream.collection == f"{collection}/VERMONT"
    assert stream.tags() == {"name": "a", "unit": "", "ingress": "", "distiller": ""}
    assert db.list_collections(collection) == [f"{collection}/VERMONT"]
    assert stream.count() == 10


def test_everything_at_once(db, collection):
    stream = make(db, collection, annotations={"old": "x"})
    version = stream.update(tags={"unit": "volts"}, collection=f"{collection}/b", annotations={"new": "y"}, replace=True)
    assert version == 3
    found = fresh(db, stream)
    assert (found.collection, found.unit, found.annotations()) == (f"{collection}/b", "volts", ({"new": "y"}, 3))


def test_the_property_version_counts_metadata_only(db, stream):
    assert stream.insert(TEN) == 11
    assert stream.annotations(refresh=True)[1] == 1
    assert [stream.update(annotations={"n": n}) for n in range(3)] == [2, 3, 4]
    assert stream.update(annotations={}) == 5, "a change of nothing is a change"
    assert stream.delete(0, 1) == 12
    stream.flush()
    assert stream.annotations(refresh=True)[1] == 5
    assert stream.version() == 12


def test_what_is_cached_and_what_is_refreshed(db, collection):
    stream = make(db, collection, annotations={"foo": "bar"})
    other = fresh(db, stream)
    assert other.annotations() == ({"foo": "bar"}, 1)
    assert other.tags()["unit"] == ""
    stream.update(tags={"unit": "volts"}, annotations={"foo": "baz"})
    assert other.annotations() == ({"foo": "bar"}, 1)
    assert other.unit == ""
    assert other.annotations(refresh=True) == ({"foo": "baz"}, 3)
    assert other.unit == "volts"
    stream.update(tags={"unit": "amps"})
    assert other.tags()["unit"] == "volts"
    assert other.tags(refresh=True)["unit"] == "amps"
    stream.update(tags={"unit": "deg"})
    other.refresh_metadata()
    assert other.unit == "deg"


def test_what_is_returned_is_a_copy(db, collection):
    stream = make(db, collection, annotations={"foo": "bar"})
    stream.annotations()[0]["foo"] = "changed"
    stream.tags()["name"] = "changed"
    assert stream.annotations()[0] == {"foo": "bar"}
    assert stream.name == "a"


@pytest.mark.parametrize("change", [{"annotations": {"a": 1}}, {"tags": {"unit": "a"}}, {"collection": "test/moved"}])
def test_a_stale_version_is_refused(db, stream, change):
    stale = fresh(db, stream)
    stale.refresh_metadata()
    stream.update(annotations={"other": "client"})
    with pytest.raises(BTRDBServerError) as raised:
        stale.update(**change)
    assert_says(raised, "423: stream annotation version does not match")
    assert fresh(db, stream).annotations() == ({"other": "client"}, 2), "nothing has changed"
    stale.refresh_metadata()
    assert stale.update(annotations={"now": "it works"}) == 3


def test_a_handle_that_has_read_nothing_checks_nothing(db, collection):
    stream = make(db, collection)
    stream.update(annotations={"a": 1})
    handle = fresh(db, stream)
    assert handle.update(annotations={"b": 2}) == 3
    for n in range(3):
        db.ep.setStreamAnnotations(stream.uuid, 0, {"c": str(n)}, [])
        db.ep.setStreamTags(stream.uuid, 0, {"unit": str(n)}, collection)
    assert fresh(db, stream).annotations() == ({"a": 1, "b": 2, "c": 2}, 9)


def test_a_key_that_is_changed_and_removed_is_gone(db, collection):
    stream = make(db, collection, annotations={"a": "1"})
    db.ep.setStreamAnnotations(stream.uuid, 1, {"a": "2", "b": "3"}, ["a", "absent"])
    assert fresh(db, stream).annotations() == ({"b": 3}, 2)


def test_a_removed_tag_is_empty(db, collection):
    stream = make(db, collection, unit="volts", ingress="pmu")
    pair = btrdb_pb2.KeyOptValue(key="ingress", val=btrdb_pb2.OptValue(value="x"))
    request = btrdb_pb2.SetStreamTagsParams(uuid=stream.uuid.bytes, tags=[pair], remove=["unit", "ingress"])
    assert not db.ep.stub.SetStreamTags(request).HasField("stat")
    assert fresh(db, stream).tags() == {"name": "a", "unit": "", "ingress": "", "distiller": ""}


def test_an_empty_collection_means_the_present_one(db, collection, stream):
    db.ep.setStreamTags(stream.uuid, 0, {"unit": "volts"}, "")
    assert (fresh(db, stream).collection, fresh(db, stream).unit) == (collection, "volts")


def test_an_update_cannot_make_two_streams_alike(db, collection):
    a, b, elsewhere = make(db, collection, "a"), make(db, collection, "b"), make(db, f"{collection}/x", "a")
    with pytest.raises(AmbiguousStream):
        b.update(tags={"name": "a"})
    with pytest.raises(AmbiguousStream):
        elsewhere.update(collection=collection)
    assert fresh(db, b).name == "b"
    assert fresh(db, elsewhere).collection == f"{collection}/x"
    a.update(tags={"name": "c"})
    b.refresh_metadata()
    assert b.update(tags={"name": "a"}) == 2
    assert a.update(tags={"name": "c"}) == 3, "a stream may stay as it is"


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"tags": {"color": "red"}}, InvalidTagKey, 'tag key "color" is invalid'),
        ({"tags": {"unit": "a" * 256}}, InvalidTagValue, 'tag value for key "unit" is invalid'),
        ({"collection": "a" * 257}, InvalidCollection, f'collection "{"a" * 257}" is invalid'),
        ({"annotations": {"": 1}}, InvalidTagKey, 'annotation key "" is invalid'),
        ({"annotations": {"a": "b" * 256}}, InvalidTagValue, 'annotation value for key "a" is invalid'),
    ],
)
def test_invalid_changes(db, stream, change, error, text):
    with pytest.raises(error) as raised:
        stream.update(**change)
    assert_says(raised, text)
    assert fresh(db, stream).annotations() == ({}, 1)


def test_changes_that_the_client_refuses(stream):
    with pytest.raises(BTRDBValueError):
        stream.update()
    with pytest.raises(BTRDBTypeError):
        stream.update(tags=[("name", "a")])
    with pytest.raises(BTRDBTypeError):
        stream.update(annotations="a")
    with pytest.raises(InvalidCollection):
        stream.update(collection=7)


def test_a_stream_that_is_not_there(db):
    nobody = db.stream_from_uuid(uuid.uuid4())
    for call in [
        lambda: nobody.tags(),
        lambda: nobody.annotations(),
        lambda: nobody.name,
        lambda: nobody.version(),
        lambda: nobody.update(annotations={"a": 1}),
        lambda: db.ep.setStreamTags(nobody.uuid, 0, {}, "a"),
    ]:
        with pytest.raises(StreamNotFoundError, match="^stream does not exist$"):
            call()

"""Finding streams by UUID, by collection and name, by tags and annotations."""

import uuid

import pytest
from btrdb.exceptions import InvalidCollection, InvalidTagKey, StreamNotFoundError
from btrdb.stream import StreamSet
from btrdb_servers import make


@pytest.fixture
def grid(db, collection):
    """Three collections; `west/x` starts with the name of `west`."""
    return {
        (place, name): make(db, f"{collection}/{place}", name, unit=unit, annotations=annotations)
        for place, name, unit, annotations in [
            ("west", "L1MAG", "volts", {"state": "WA", "bus": "7"}),
            ("west", "L1ANG", "deg", {"state": "WA"}),
            ("west/x", "L1MAG", "volts", {"state": "OR", "Phase": ""}),
            ("east", "C1MAG", "amps", None),
        ]
    }


def keys(grid, streams):
    uuids = {stream.uuid: key for key, stream in grid.items()}
    return [uuids[stream.uuid] for stream in streams]


def test_a_uuid_as_object_or_text(db, stream):
    for identifier in (stream.uuid, str(stream.uuid)):
        assert db.stream_from_uuid(identifier).uuid == stream.uuid
        assert db.stream_from_uuid(identifier).exists()


def test_a_handle_is_not_yet_a_stream(db):
    stream = db.stream_from_uuid(uuid.uuid4())
    assert not stream.exists()
    with pytest.raises(StreamNotFoundError, match="^stream does not exist$"):
        stream.refresh_metadata()
    with pytest.raises(StreamNotFoundError):
        stream.collection


def test_streams_by_uuid(db, grid):
    uuids = [stream.uuid for stream in grid.values()]
    streams = db.streams(*uuids)
    assert isinstance(streams, StreamSet)
    assert [stream.uuid for stream in streams] == uuids
    assert [stream.uuid for stream in db.streams(*map(str, uuids))] == uuids
    assert [stream.name for stream in streams] == ["L1MAG", "L1ANG", "L1MAG", "C1MAG"]


def test_streams_by_collection_and_name(db, collection, grid):
    streams = db.streams(f"{collection}/west/L1MAG", f"{collection}/west/x/L1MAG", grid["east", "C1MAG"].uuid)
    assert keys(grid, streams) == [("west", "L1MAG"), ("west/x", "L1MAG"), ("east", "C1MAG")]


def test_streams_by_a_prefix_of_the_collection(db, collection, grid):
    (stream,) = db.streams(f"{collection}/ea/C1MAG", is_collection_prefix=True)
    assert stream.uuid == grid["east", "C1MAG"].uuid
    with pytest.raises(StreamNotFoundError, match="Could not identify stream"):
        db.streams(f"{collection}/ea/C1MAG")
    with pytest.raises(StreamNotFoundError, match="Could not identify stream"):
        db.streams(f"{collection}/west/L1MAG", is_collection_prefix=True)


def test_streams_that_cannot_be_identified(db, collection, grid):
    make(db, f"{collection}/east", "C1MAG", unit="volts")
    for name in ("nothing", "c1mag", "C1MAG"):
        with pytest.raises(StreamNotFoundError):
            db.streams(f"{collection}/east/{name}")
    with pytest.raises(ValueError, match="Identifier must be UUID or collection/name"):
        db.streams("L1MAG")


def test_streams_at_versions(db, collection):
    a, b = make(db, collection, "a", [(1, 1.0)]), make(db, collection, "b", [(1, 1.0)])
    assert db.streams(a.uuid, b.uuid, versions=[10, 11]).versions() == {a.uuid: 10, b.uuid: 11}
    with pytest.raises(TypeError):
        db.streams(a.uuid, versions=11)
    with pytest.raises(ValueError):
        db.streams(a.uuid, versions=[10, 11])


def test_a_prefix_or_a_whole_collection(db, collection, grid):
    find = db.streams_in_collection
    assert keys(grid, find(f"{collection}/west")) == [("west", "L1ANG"), ("west", "L1MAG"), ("west/x", "L1MAG")]
    assert keys(grid, find(f"{collection}/west", is_collection_prefix=False)) == [("west", "L1ANG"), ("west", "L1MAG")]
    assert len(find(collection)) == 4
    assert find(collection, is_collection_prefix=False) == []
    assert find(f"{collection}/WEST") == []
    assert keys(grid, find(f"{collection}/west/")) == [("west/x", "L1MAG")]


def test_several_collections(db, collection, grid):
    found = db.streams_in_collection(f"{collection}/east", f"{collection}/west/x")
    assert keys(grid, found) == [("east", "C1MAG"), ("west/x", "L1MAG")]


def test_every_stream_and_none(db, grid):
    assert {stream.uuid for stream in grid.values()} <= {stream.uuid for stream in db.streams_in_collection()}
    assert db.streams_in_collection(is_collection_prefix=False) == []


def test_what_is_found_is_described(db, collection, grid):
    (stream,) = db.streams_in_collection(f"{collection}/west/x")
    assert stream.exists()
    assert stream.collection == f"{collection}/west/x"
    assert stream.tags() == {"name": "L1MAG", "unit": "volts", "ingress": "", "distiller": ""}
    assert stream.annotations() == ({"state": "OR", "Phase": ""}, 1)


def test_tags_and_annotations_narrow(db, collection, grid):
    def find(**conditions):
        return keys(grid, db.streams_in_collection(collection, **conditions))

    assert find(tags={"unit": "volts"}) == [("west", "L1MAG"), ("west/x", "L1MAG")]
    assert find(tags={"unit": "volts"}, annotations={"state": "OR"}) == [("west/x", "L1MAG")]
    assert find(tags={"unit": "volts", "name": "L1ANG"}) == []
    assert find(tags={"unit": "Volts"}) == []
    assert find(annotations={"state": "WA", "bus": "7"}) == [("west", "L1MAG")]
    assert find(annotations={"State": "WA"}) == []
    assert find(annotations={"Phase": ""}) == [("west/x", "L1MAG")]


def test_a_condition_without_a_value_asks_for_the_key(db, collection, grid):
    def find(**conditions):
        return keys(grid, db.streams_in_collection(collection, **conditions))

    assert find(annotations={"bus": None}) == [("west", "L1MAG")]
    assert len(find(annotations={"state": None})) == 3
    assert len(find(tags={"distiller": None})) == 4, "all four tags are always there"


def test_an_annotation_without_a_value_is_found_by_its_key_only(db, collection):
    stream = make(db, collection)
    db.ep.setStreamAnnotations(stream.uuid, 0, {"flag": None}, [])
    assert len(db.streams_in_collection(collection, annotations={"flag": None})) == 1
    assert db.streams_in_collection(collection, annotations={"flag": ""}) == []


def test_conditions_compare_the_stored_text(db, collection):
    stream = make(db, collection)
    stream.update(annotations={"flag": True, "number": 7, "list": [1, 2]})
    for condition in ({"flag": "true"}, {"number": "7"}, {"list": "[1, 2]"}):
        assert len(db.streams_in_collection(collection, annotations=condition)) == 1
    assert db.streams_in_collection(collection, annotations={"flag": "True"}) == []


def test_unknown_tags_are_refused(db, collection):
    with pytest.raises(InvalidTagKey):
        db.streams_in_collection(collection, tags={"color": "red"})


def test_list_collections(db, collection, grid):
    listed = [f"{collection}/east", f"{collection}/west", f"{collection}/west/x"]
    assert db.list_collections(starts_with=collection) == listed
    assert db.list_collections(f"{collection}/west") == listed[1:]
    assert db.list_collections(f"{collection}/WEST") == []
    assert db.list_collections(collection[:-1] + "%") == []
    everything = db.list_collections()
    assert set(listed) <= set(everything)
    assert everything == sorted(everything, key=str.encode)
    assert len(everything) == len(set(everything))


def test_invalid_prefixes(db):
    with pytest.raises(InvalidCollection):
        db.list_collections("a\0b")
    with pytest.raises(InvalidCollection):
        db.streams_in_collection("a\0b")


def test_a_collection_goes_with_its_last_stream(db, collection, grid):
    grid["west", "L1MAG"].obliterate()
    assert f"{collection}/west" in db.list_collections(collection)
    grid["west", "L1ANG"].obliterate()
    assert db.list_collections(collection) == [f"{collection}/east", f"{collection}/west/x"]


def test_many_streams_of_one_collection(db, collection):
    uuids = {make(db, collection, f"s{i:04}").uuid for i in range(250)}
    found = db.streams_in_collection(collection)
    assert {stream.uuid for stream in found} == uuids
    assert [stream.name for stream in found] == sorted(stream.name for stream in found)


def test_collection_metadata(db, collection, grid):
    tags, annotations = db.collection_metadata(collection)
    assert list(tags.items()) == [("name", 0), ("unit", 0), ("ingress", 0), ("distiller", 0)]
    assert list(annotations.items()) == [("Phase", 1), ("bus", 1), ("state", 3)]
    assert db.collection_metadata(f"{collection}/east") == (tags, {})
    assert db.collection_metadata(f"{collection}/nothing")[1] == {}


def test_unique_names_units_and_annotations(db, collection, grid):
    assert sorted(db.list_unique_names(collection)) == ["C1MAG", "L1ANG", "L1MAG"]
    assert sorted(db.list_unique_units(collection)) == ["amps", "deg", "volts"]
    assert sorted(db.list_unique_annotations(collection)) == ["Phase", "bus", "state"]
    assert sorted(db.list_unique_names(f"{collection}/west")) == ["L1ANG", "L1MAG"]
    assert db.list_unique_annotations(f"{collection}/east") == []
    assert db.list_unique_units(f"{collection}/nothing") == []
    assert {"C1MAG", "L1ANG", "L1MAG"} <= set(db.list_unique_names())
    assert {"amps", "deg", "volts"} <= set(db.list_unique_units())
    assert {"Phase", "bus", "state"} <= set(db.list_unique_annotations())

"""Creating and obliterating streams: what is stored, what is refused, and with which words."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from btrdb.exceptions import (
    AmbiguousStream,
    BTRDBValueError,
    InvalidCollection,
    InvalidOperation,
    InvalidTagKey,
    InvalidTagValue,
    RecycledUUID,
    StreamExists,
    StreamNotFoundError,
)
from btrdb_servers import END, FIRST, MINIMUM, assert_says, make

TAGS = {"name": "L1MAG", "unit": "volts", "ingress": "", "distiller": ""}


def test_a_stream_knows_what_it_was_created_with(db, collection):
    uu = uuid.uuid4()
    stream = db.create(
        uuid=uu, collection=collection, tags={"name": "L1MAG", "unit": "volts"}, annotations={"poc": "Salvatore McFesterson"}
    )
    assert (stream.uuid, stream.collection, stream.name, stream.unit) == (uu, collection, "L1MAG", "volts")
    assert stream.btrdb is db
    assert stream.exists()
    assert repr(stream) == f"<Stream collection={collection} name=L1MAG>"

    found = db.stream_from_uuid(uu)
    assert found.exists()
    assert (found.collection, found.name, found.unit) == (collection, "L1MAG", "volts")
    assert found.tags() == TAGS
    assert found.annotations() == ({"poc": "Salvatore McFesterson"}, 1)


def test_a_fresh_stream_is_empty(db, stream):
    assert stream.version() == 10
    assert stream.earliest() is None
    assert stream.latest() is None
    assert stream.current() is None
    assert stream.nearest(FIRST, 0) is None
    assert stream.nearest(FIRST, 0, backward=True) is None
    assert stream.count() == 0
    assert stream.count(precise=True) == 0
    assert stream.values(MINIMUM, END) == []


def test_all_four_tags_are_always_there(db, collection):
    nameless = db.create(uuid.uuid4(), collection, {})
    assert nameless.tags(refresh=True) == {"name": "", "unit": "", "ingress": "", "distiller": ""}
    full = {"name": "a", "unit": "b", "ingress": "c", "distiller": "d"}
    assert db.create(uuid.uuid4(), collection, full).tags(refresh=True) == full


@pytest.mark.parametrize("ending", ["/", "//x//", "/[x]-!", " ", "/\u00e9\u4e16\U0001f600", "/'; DROP TABLE streams"])
def test_collections_are_plain_text(db, collection, ending):
    stream = make(db, collection + ending)
    assert stream.collection == collection + ending
    assert db.list_collections(collection) == [collection + ending]
    assert [each.uuid for each in db.streams_in_collection(collection + ending, is_collection_prefix=False)] == [stream.uuid]


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\U0001f600"])
def test_the_longest_texts(db, collection, letter):
    longest = collection + letter * (256 - len(collection))
    stream = db.create(uuid.uuid4(), longest, {"name": letter * 255, "unit": letter * 255}, {letter * 255: letter * 255})
    assert stream.tags(refresh=True)["name"] == letter * 255
    assert stream.annotations(refresh=True) == ({letter * 255: letter * 255}, 1)
    assert stream.collection == longest


@pytest.mark.parametrize("name", ["", "a" * 257, "a\0b", "\u00e9" * 257])
def test_invalid_collections(db, name):
    with pytest.raises(InvalidCollection) as raised:
        db.create(uuid.uuid4(), name, {"name": "a"})
    assert_says(raised, f'collection "{name}" is invalid')
    assert isinstance(raised.value, (BTRDBValueError, ValueError))


@pytest.mark.parametrize("key", ["Name", "color", "", "collection"])
def test_tags_have_four_keys(db, collection, key):
    with pytest.raises(InvalidTagKey) as raised:
        db.create(uuid.uuid4(), collection, {"name": "a", key: "b"})
    assert_says(raised, f'tag key "{key}" is invalid')


@pytest.mark.parametrize("value", ["a" * 256, "a\0b", "\u00e9" * 256])
def test_invalid_tag_values(db, collection, value):
    with pytest.raises(InvalidTagValue) as raised:
        db.create(uuid.uuid4(), collection, {"name": "a", "unit": value})
    assert_says(raised, 'tag value for key "unit" is invalid')


@pytest.mark.parametrize("key", ["", "a" * 256, "a\0b"])
def test_invalid_annotation_keys(db, collection, key):
    with pytest.raises(InvalidTagKey) as raised:
        db.create(uuid.uuid4(), collection, {"name": "a"}, {key: "b"})
    assert_says(raised, f'annotation key "{key}" is invalid')


def test_invalid_annotation_values(db, collection):
    with pytest.raises(InvalidTagValue) as raised:
        db.create(uuid.uuid4(), collection, {"name": "a"}, {"note": "b" * 256})
    assert_says(raised, 'annotation value for key "note" is invalid')


def test_a_uuid_is_taken_only_once(db, collection):
    stream = make(db, collection)
    for other_collection, name in [(collection, "a"), (collection + "/other", "b")]:
        with pytest.raises(StreamExists) as raised:
            db.create(stream.uuid, other_collection, {"name": name})
        assert str(raised.value) == f"a stream already exists with uuid {stream.uuid}"
        assert isinstance(raised.value, InvalidOperation)
    assert db.list_collections(collection) == [collection]


def test_collection_and_tags_are_taken_only_once(db, collection):
    make(db, collection, "a", unit="volts")
    with pytest.raises(AmbiguousStream) as raised:
        make(db, collection, "a", unit="volts", annotations={"other": "annotations"})
    assert_says(raised, "a stream already exists in that collection with identical tags")
    for other in [{"unit": "amps"}, {"unit": "volts", "ingress": "x"}, {"unit": "volts", "distiller": "x"}, {}]:
        make(db, collection, "a", **other)
    make(db, collection, "A", unit="volts")
    make(db, collection + "/b", "a", unit="volts")


def test_missing_tags_are_empty_tags(db, collection):
    make(db, collection)
    with pytest.raises(AmbiguousStream):
        make(db, collection, unit="", ingress="", distiller="")


def test_the_order_of_the_checks(db, collection):
    stream = make(db, collection)
    long = "a" * 257
    with pytest.raises(InvalidCollection):
        db.create(stream.uuid, long, {"color": long}, {"": long})
    with pytest.raises(InvalidTagKey, match="tag key"):
        db.create(stream.uuid, collection, {"color": "a"}, {"": long})
    with pytest.raises(InvalidTagValue, match="tag value"):
        db.create(stream.uuid, collection, {"name": long}, {"": long})
    with pytest.raises(InvalidTagKey, match="annotation key"):
        db.create(stream.uuid, collection, {"name": "a"}, {"": long})
    with pytest.raises(InvalidTagValue, match="annotation value"):
        db.create(stream.uuid, collection, {"name": "a"}, {"a": long})
    with pytest.raises(StreamExists):
        db.create(stream.uuid, collection, {"name": "a"})
    with pytest.raises(AmbiguousStream):
        db.create(uuid.uuid4(), collection, {"name": "a"})


def test_obliterate(db, collection):
    stream, kept = make(db, collection, points=[(1, 1.0)]), make(db, collection + "/kept")
    stream.obliterate()
    assert not db.stream_from_uuid(stream.uuid).exists()
    assert db.list_collections(collection) == [kept.collection]
    assert [each.uuid for each in db.streams_in_collection(collection)] == [kept.uuid]
    assert db.query("select uuid from streams where collection = $1", [collection]) == []
    with pytest.raises(StreamNotFoundError) as raised:
        stream.obliterate()
    assert str(raised.value) == "stream does not exist"
    with pytest.raises(StreamNotFoundError):
        stream.values(0, 1, version=11)


def test_the_uuid_of_an_obliterated_stream_is_not_used_again(db, collection):
    stream = make(db, collection)
    stream.obliterate()
    for _ in range(2):
        with pytest.raises(RecycledUUID) as raised:
            db.create(stream.uuid, collection, {"name": "other"})
        assert_says(raised, f'uuid "{stream.uuid}" has been used before with a (now deleted) stream')


def test_the_names_of_obliterated_streams_are_free_at_once(db, collection):
    def again(number):
        for _ in range(3):
            make(db, collection, f"stream{number}").obliterate()
        return make(db, collection, f"stream{number}")

    with ThreadPoolExecutor(10) as pool:
        streams = list(pool.map(again, range(10)))
    assert {each.uuid for each in db.streams_in_collection(collection)} == {each.uuid for each in streams}


def test_one_of_many_wins_a_uuid(db, collection):
    uu = uuid.uuid4()

    def create(number):
        try:
            return db.create(uu, collection, {"name": str(number)})
        except StreamExists:
            return None

    with ThreadPoolExecutor(10) as pool:
        created = [stream for stream in pool.map(create, range(10)) if stream]
    assert len(created) == 1
    assert db.stream_from_uuid(uu).name == created[0].name

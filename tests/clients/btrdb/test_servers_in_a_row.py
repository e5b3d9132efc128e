"""A server that is a client of another one shows the same streams, and is told of the same inserts."""

import uuid

import pytest
from btrdb.exceptions import RecycledUUID, StreamExists
from btrdb.stream import StreamSet
from btrdb_servers import END, FIRST, SECOND, TEN, Endpoint, everything, make, make_set, rows, stats, table
from test_subscribing import ADD, Subscription


@pytest.fixture(scope="module")
def engine(btrdb_servers):
    return Endpoint(btrdb_servers["engine"], "plain").connect()


@pytest.fixture(scope="module")
def loop(btrdb_servers):
    return Endpoint(btrdb_servers["loop"], "plain").connect()


@pytest.fixture(params=["from the engine", "through the loop"])
def both(request, engine, loop):
    """The server that is written to, and the one that is read from."""
    return (loop, engine) if request.param == "from the engine" else (engine, loop)


def test_writes_of_the_one_are_read_from_the_other(both, collection):
    written, read = both
    stream = make(written, collection, points=TEN, unit="volts", annotations={"state": "WA"})
    other = read.stream_from_uuid(stream.uuid)
    assert (other.collection, other.name, other.unit) == (collection, "a", "volts")
    assert other.annotations() == ({"state": "WA"}, 1)
    assert everything(other) == TEN and other.version() == 11
    assert stream.insert([(1, 1.0)]) == 12 == other.version()
    assert stream.delete(0, 2) == 13 == other.version()
    assert everything(other, version=12) == [(1, 1.0), *TEN]
    stream.update(annotations={"state": "OR"}, collection=collection + "/x")
    assert read.list_collections(collection) == [collection + "/x"]
    assert other.annotations(refresh=True) == ({"state": "OR"}, 3)
    stream.obliterate()
    assert not read.stream_from_uuid(stream.uuid).exists()
    with pytest.raises(RecycledUUID):
        read.create(stream.uuid, collection, {"name": "a"})


def test_a_uuid_is_taken_on_both(both, collection):
    written, read = both
    uu = make(written, collection).uuid
    with pytest.raises(StreamExists, match=f"^a stream already exists with uuid {uu}$"):
        read.create(uu, collection + "/x", {"name": "b"})


def test_answers_are_the_same_bits(both, collection):
    written, read = both
    points = [[(FIRST + i * 7_654_321, (i * 37 % 101) / 7) for i in range(start, 5_000, 3)] for start in range(3)]
    streams = make_set(written, collection, *points)
    others = read.streams(*[stream.uuid for stream in streams])
    window = {"start": FIRST + 1_000, "end": FIRST + 30 * SECOND}
    assert others.filter(**window).arrow_values().schema == streams.filter(**window).arrow_values().schema
    for options in ({}, {"sampling_frequency": 50}):
        tables = [each.filter(**window, **options).arrow_values() for each in (streams, others)]
        assert repr(rows(tables[0])) == repr(rows(tables[1]))
    for a, b in zip(streams, others, strict=True):
        assert everything(a) == everything(b)
        assert a.arrow_values(FIRST, END).equals(b.arrow_values(FIRST, END))
        width = 123_456_789
        assert stats(a.windows(**window, width=width)) == stats(b.windows(**window, width=width))
        for pointwidth in (20, 25, 30, 40):
            assert stats(a.aligned_windows(FIRST, END, pointwidth)) == stats(b.aligned_windows(FIRST, END, pointwidth))
        assert (a.earliest(), a.latest()) == (b.earliest(), b.latest())


def test_queries_are_the_same(both, collection):
    written, read = both
    make_set(written, collection, [], [], [])
    statement = "select * from streams where collection = $1 order by name"
    assert written.query(statement, [collection]) == read.query(statement, [collection])
    assert [row["name"] for row in read.query(statement, [collection])] == ["a", "b", "c"]


def test_inserts_into_the_one_are_told_by_the_other(both, collection):
    written, read = both
    stream = make(written, collection)
    subscription = Subscription(read)
    subscription.update(ADD, stream)
    stream.insert(TEN)
    stream.arrow_insert(table(TEN[:2]))
    assert rows(subscription.next()[1]) == TEN
    assert rows(subscription.next()[1]) == TEN[:2]
    subscription.end()


def test_many_streams_through_both(both, collection):
    written, read = both
    uuids = [written.create(uuid.uuid4(), collection, {"name": f"{i:03}"}).uuid for i in range(120)]
    found = read.streams_in_collection(collection)
    assert [stream.uuid for stream in found] == uuids
    assert set(StreamSet(found).versions().values()) == {10}

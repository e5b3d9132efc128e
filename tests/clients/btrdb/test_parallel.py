"""Many threads on one connection, many processes with one each, and calls that are tried again."""

import json
import math
import multiprocessing
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from btrdb.exceptions import StreamNotFoundError
from btrdb.utils.timez import ns_delta
from btrdb_servers import END, FIRST, SECOND, TEN, connect_quietly, everything, make, make_set

HOUR = 3_600 * SECOND


def test_threads_share_a_connection(db, collection):
    def work(number):
        generator = random.Random(number)
        stream, points = make(db, collection, str(number)), []
        for version in range(11, 16):
            batch = [(FIRST + generator.randrange(10**9), generator.random()) for _ in range(200)]
            assert stream.insert(batch) == version
            points = sorted(points + batch, key=lambda point: point[0])
            assert everything(stream) == points
            assert stream.count(precise=True) == len(points)
            assert stream.arrow_values(FIRST, END).num_rows == len(points)
        return stream.uuid

    with ThreadPoolExecutor(16) as pool:
        uuids = list(pool.map(work, range(16)))
    assert {stream.uuid for stream in db.streams_in_collection(collection)} == set(uuids)


def test_writers_of_one_stream_take_turns(db, stream):
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda i: stream.insert([(FIRST + i, float(i))]), range(40)))
    assert sorted(versions) == list(range(11, 51))
    assert everything(stream) == [(FIRST + i, float(i)) for i in range(40)]
    for version in range(10, 51):
        assert stream.count(version=version) == version - 10


def test_readers_see_whole_inserts(db, stream):
    done = threading.Event()
    seen = []

    def read():
        while not done.is_set():
            seen.append(len(stream.values(FIRST, END)))

    reader = threading.Thread(target=read)
    reader.start()
    for part in range(20):
        stream.insert([(FIRST + part * 100 + i, 1.0) for i in range(100)])
    done.set()
    reader.join()
    assert all(number % 100 == 0 for number in seen)
    assert seen == sorted(seen)


def test_sets_of_many_streams(db, collection):
    streams = make_set(db, collection, *[[(FIRST + i, float(number)) for i in range(5)] for number in range(64)])
    assert streams.count(precise=True) == 320
    assert set(streams.versions().values()) == {11}
    assert [point.value for point in streams.latest()] == [float(number) for number in range(64)]
    narrowed = streams.filter(start=FIRST, end=FIRST + 5)
    assert [[point.value for point in each] for each in narrowed.values()] == [[float(n)] * 5 for n in range(64)]
    assert narrowed.arrow_values().num_rows == 5


def time_ranges(stream):
    """All ranges of twelve hours of a stream."""
    earliest = stream.earliest()[0].time
    latest = stream.latest()[0].time
    hours = int(math.ceil((latest - earliest) / 3.6e12))
    for i in range(0, hours, 12):
        start = earliest + ns_delta(hours=i)
        yield start, start + ns_delta(hours=12)


def stream_quality(uu):
    """What a process of the pool does: connects with the credentials of the environment, and looks at a stream."""
    db = connect_quietly()
    stream = db.stream_from_uuid(uu)
    version = stream.version()
    quality = []
    for start, end in time_ranges(stream):
        quality.append(len(stream.values(start=start, end=end, version=version)))
    return json.dumps({"uuid": str(uu), "version": version, "quality": quality})


def test_a_pool_of_processes(plain_endpoint, plain_db, collection, monkeypatch):
    monkeypatch.setenv("BTRDB_ENDPOINTS", plain_endpoint.address)
    monkeypatch.setenv("BTRDB_API_KEY", plain_endpoint.key)
    points = [(FIRST + hour * HOUR, float(hour)) for hour in range(30)]
    made = make_set(plain_db, collection, points, points[:20], points[:5])
    streams = plain_db.streams_in_collection(collection)
    # A forked child would share the connection of its parent.
    with multiprocessing.get_context("spawn").Pool(processes=2) as pool:
        results = [json.loads(result) for result in pool.imap_unordered(stream_quality, [s.uuid for s in streams])]
    assert {result["uuid"]: (result["version"], result["quality"]) for result in results} == {
        str(made[0].uuid): (11, [12, 12, 6]),
        str(made[1].uuid): (11, [12, 8]),
        str(made[2].uuid): (11, [5]),
    }


def test_a_call_is_tried_again(db, collection):
    uu = uuid.uuid4()
    creation = threading.Timer(0.2, lambda: db.create(uu, collection, {"name": "late"}))
    creation.start()
    stream = db.stream_from_uuid(uu)
    assert stream.version(auto_retry=True, retries=100, retry_delay=0.02, retry_backoff=1) == 10
    creation.join()


def test_a_call_is_not_tried_again_unless_asked(db):
    started = time.monotonic()
    with pytest.raises(StreamNotFoundError):
        db.stream_from_uuid(uuid.uuid4()).version()
    assert time.monotonic() - started < 1


def test_every_call_that_can_be_tried_again_takes_the_argument(db, collection):
    again = {"auto_retry": True, "retries": 2, "retry_delay": 0.01, "retry_backoff": 1}
    stream = db.create(uuid.uuid4(), collection, {"name": "a"}, **again)
    stream.insert(TEN)
    window = (FIRST, FIRST + SECOND)
    assert len(stream.values(*window, **again)) == stream.arrow_values(*window, **again).num_rows == 10
    assert len(stream.windows(*window, SECOND, **again)) == stream.arrow_windows(*window, SECOND, **again).num_rows == 1
    assert len(stream.aligned_windows(*window, 28, **again)) == 4
    assert stream.arrow_aligned_windows(*window, 28, **again).num_rows == 4
    assert stream.earliest(**again)[0].value == 1.0
    assert stream.latest(**again)[0].value == stream.current(**again)[0].value == 10.0
    assert stream.nearest(FIRST, 0, **again)[0].value == 1.0
    assert stream.tags(refresh=True, **again)["name"] == "a"
    assert stream.annotations(refresh=True, **again) == ({}, 1)
    assert stream.update(annotations={"a": 1}, **again) == 2
    assert stream.delete(*window, **again) == stream.version(**again) == 12
    assert stream.flush(**again) is None
    assert db.query("select name from streams where collection = $1", [collection], **again) == [{"name": "a"}]
    assert len(db.streams_in_collection(collection, **again)) == 1
    assert db.collection_metadata(collection, **again)[1] == {"a": 1}
    assert stream.obliterate(**again) is None
    assert not db.stream_from_uuid(stream.uuid).exists()

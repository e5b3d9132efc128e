"""Subscriptions: the points of every insert, as they were sent, to whoever asked for them."""

import contextlib
import queue
import threading
import time
import uuid

import grpc
import pyarrow as pa
import pytest
from btrdb.exceptions import StreamNotFoundError
from btrdb.grpcinterface import btrdb_pb2
from btrdb_servers import FIRST, RAW_SCHEMA, TEN, make, make_set, rows, table

ADD, REMOVE = 0, 1


class Subscription:
    """A call whose answers are collected by a thread."""

    def __init__(self, db):
        self.updates, self.answers = queue.Queue(), queue.Queue()
        self.call = db.ep.stub.Subscribe(iter(self.updates.get, None))
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        with contextlib.suppress(grpc.RpcError):
            for answer in self.call:
                self.answers.put(answer)
        self.answers.put(None)

    def update(self, op, *streams):
        """Changes what is subscribed to, and returns when the server has read the change.

        A stream that does not exist is answered at once, and after everything that was asked for before it.
        """
        self.updates.put(btrdb_pb2.SubscriptionUpdate(op=op, uuid=[stream.uuid.bytes for stream in streams]))
        nobody = uuid.uuid4()
        self.updates.put(btrdb_pb2.SubscriptionUpdate(op=ADD, uuid=[nobody.bytes]))
        answer = self.answers.get(timeout=10)
        assert (answer.stat.code, answer.uuid) == (404, nobody.bytes)

    def next(self):
        answer = self.answers.get(timeout=10)
        assert not answer.HasField("stat")
        with pa.ipc.open_stream(answer.arrowBytes) as reader:
            return uuid.UUID(bytes=answer.uuid), reader.read_all()

    def end(self):
        """Says that nothing more is to come, and sees how the server ends the call."""
        self.updates.put(None)
        assert self.answers.get(timeout=10) is None
        assert self.call.code().name == "OK"


@pytest.fixture
def subscription(db):
    subscription = Subscription(db)
    yield subscription
    subscription.call.cancel()


def test_points_come_as_they_were_sent(subscription, stream):
    stream.insert(TEN)
    subscription.update(ADD, stream)
    sent = [(FIRST + 3, 3.0), (FIRST + 1, 1.0), (FIRST + 1, 1.0), (FIRST + 2, 2.0)]
    stream.insert(sent, merge="replace")
    uu, points = subscription.next()
    assert uu == stream.uuid
    assert points.schema.equals(RAW_SCHEMA)
    assert rows(points) == sent
    stream.arrow_insert(table(TEN[:2]))
    assert rows(subscription.next()[1]) == TEN[:2]
    subscription.end()


def test_several_streams_and_fewer(subscription, db, collection):
    a, b, c = make_set(db, collection, [], [], [])
    subscription.update(ADD, a, b)
    subscription.update(ADD, c, a)
    for stream in (c, a, b):
        stream.insert(TEN[:1])
    assert [subscription.next()[0] for _ in range(3)] == [c.uuid, a.uuid, b.uuid]
    subscription.update(REMOVE, a)
    subscription.update(REMOVE, a)
    a.insert(TEN[1:2])
    b.insert(TEN[1:2])
    assert subscription.next()[0] == b.uuid
    subscription.end()


def test_every_subscriber_is_told(db, stream):
    both = [Subscription(db), Subscription(db)]
    for each in both:
        each.update(ADD, stream)
    stream.insert(TEN)
    for each in both:
        assert rows(each.next()[1]) == TEN
        each.end()


def test_refused_inserts_are_not_told(subscription, stream):
    subscription.update(ADD, stream)
    with pytest.raises(ValueError):
        stream.insert([(FIRST, float("nan"))])
    stream.insert(TEN)
    assert rows(subscription.next()[1]) == TEN


def test_a_subscription_to_nothing_ends_too(subscription):
    subscription.end()


def test_a_client_that_goes_away_disturbs_nobody(db, stream):
    gone, stays = Subscription(db), Subscription(db)
    gone.update(ADD, stream)
    stays.update(ADD, stream)
    gone.call.cancel()
    for number in range(5):
        stream.insert([(FIRST, float(number))])
        assert rows(stays.next()[1]) == [(FIRST, float(number))]
    stays.end()


def test_the_way_of_the_client(db, stream):
    updates, received = queue.Queue(), queue.Queue()
    updates.put(([stream.uuid], []))

    def receive():
        for each in db.ep.subscribe(updates):
            received.put(each)
        received.put(None)

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    # The client does not say when the server has read its request.
    deadline = time.monotonic() + 10
    while received.empty() and time.monotonic() < deadline:
        stream.insert([(FIRST, 0.5)])
        time.sleep(0.02)
    uu, points = received.get(timeout=10)
    assert uu == stream.uuid and rows(points) == [(FIRST, 0.5)]
    updates.put(([], [stream.uuid]))
    updates.put(None)
    while received.get(timeout=10) is not None:
        pass
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_stream_that_is_not_there(db, collection):
    updates = queue.Queue()
    gone = make(db, collection)
    gone.obliterate()
    updates.put(([gone.uuid], []))
    with pytest.raises(StreamNotFoundError, match="^stream does not exist$"):
        next(db.ep.subscribe(updates))
    updates.put(None)

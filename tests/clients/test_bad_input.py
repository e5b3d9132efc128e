"""What is refused, how, and what stays when a client dies."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from conftest import POINTS, UTC, points, put, query


def rows(client, collection, name="a"):
    return query(client, f"SELECT count(*) AS n FROM raw_values('{collection}/{name}')")["n"][0].as_py()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"time": pa.array([0, 1], UTC)}), '"value" is missing'),
        (pa.table({"time": ["a"], "value": [1.0]}), '"time" is'),
        (pa.table({"time": pa.array([0], UTC), "value": ["a"]}), '"value" is'),
        (pa.table({"time": pa.array([0], UTC), "value": [1.0], "extra": [1]}), '"extra"'),
        (pa.table({"time": pa.array([0, 1], UTC), "value": [1.0, None]}), '"value", row 1'),
        (pa.table({"time": pa.array([0, None], UTC), "value": [1.0, 2.0]}), '"time", row 1'),
        (pa.table({"time": pa.array([0, 1], UTC), "value": [1.0, float("nan")]}), '"value", row 1'),
        (pa.table({"time": pa.array([0, 1 << 62]), "value": [1.0, 2.0]}), '"time", row 1'),
    ],
)
def test_bad_columns_and_rows_are_named(flight, collection, table, said):
    with pytest.raises(pa.ArrowInvalid, match=said) as raised:
        put(flight, [collection, "a"], table)
    assert "nothing of this put was applied" in str(raised.value)
    with pytest.raises(pa.ArrowKeyError if hasattr(pa, "ArrowKeyError") else KeyError):
        query(flight, f"SELECT * FROM raw_values('{collection}/a')")


def test_bad_paths(flight):
    for path, error in [
        (["a", "b", "c"], pa.ArrowInvalid),
        (["no-uuid"], pa.ArrowInvalid),
        (["00000000-0000-0000-0000-000000000001"], KeyError),
    ]:
        with pytest.raises(error):
            put(flight, path, points([0], [1.0]))


def test_creation_can_be_forbidden(flight, collection):
    options = fl.FlightCallOptions(headers=[(b"x-btrdb-create", b"false")])
    with pytest.raises(KeyError, match="no stream"):
        put(flight, [collection, "a"], points([0], [1.0]), options=options)


def test_garbage_tickets(flight):
    for ticket in (b"\xff\xfe", b"", b"\x0a\x03abc"):
        with pytest.raises(pa.ArrowInvalid):
            flight.do_get(fl.Ticket(ticket)).read_all()


def test_units_and_widths_are_taken(flight, collection):
    table = pa.table(
        {
            "value": pa.array([1, 2, 3], pa.int16()),
            "time": pa.array([1, 2, 3], pa.timestamp("ms", tz="Europe/Berlin")),
        }
    )
    put(flight, [collection, "a"], table)
    answered = query(flight, f"SELECT time, value FROM raw_values('{collection}/a')")
    assert answered["time"].cast(pa.int64()).to_pylist() == [1_000_000, 2_000_000, 3_000_000]
    assert answered["value"].to_pylist() == [1.0, 2.0, 3.0]


def test_a_message_larger_than_four_mebibytes_is_taken(flight, collection):
    count = 1_000_000
    table = points(np.arange(count), np.ones(count))
    descriptor = fl.FlightDescriptor.for_path(collection, "a")
    writer, _ = flight.do_put(descriptor, table.schema)
    with writer:
        writer.write_batch(table.combine_chunks().to_batches()[0])
    assert rows(flight, collection) == count


def test_half_closed_puts_are_answered(flight, collection):
    writer, answers = flight.do_put(fl.FlightDescriptor.for_path(collection, "a"), POINTS)
    writer.write_table(points([1, 2, 3], [1.0, 2.0, 3.0]))
    writer.done_writing()
    assert len(json.loads(answers.read().to_pybytes())) == 1
    assert answers.read() is None
    writer.close()


def _put_for_ever(uri, collection, acknowledged):
    with fl.connect(uri) as client:
        writer, answers = client.do_put(fl.FlightDescriptor.for_path(collection, "a"), POINTS)
        batch = 0
        while True:
            times = np.arange(batch * 100_000, (batch + 1) * 100_000)
            writer.write_table(points(times, np.ones(100_000)))
            batch += 1
            if batch % 20 == 0:
                answers.read()
                acknowledged.value += 1


def test_a_client_killed_half_way_keeps_what_was_acknowledged(server, flight, collection):
    context = multiprocessing.get_context("spawn")
    acknowledged = context.Value("i", 0)
    child = context.Process(target=_put_for_ever, args=(server.uri, collection, acknowledged))
    child.start()
    deadline = time.monotonic() + 60
    while acknowledged.value < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    count = acknowledged.value
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert count >= 3
    stored = rows(flight, collection)
    # A BTrDB elsewhere takes batches in parts.
    whole = 50_000 if os.environ.get("BTRDB_TEST_BACKEND") == "loop" else 100_000
    assert stored >= count * 1_000_000 // 2 and stored % whole == 0
    assert server.process.poll() is None
    assert not any("panicked" in line for line in server.lines)


def _read_slowly(uri, sql):
    with fl.connect(uri) as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(sql))
        reader = client.do_get(info.endpoints[0].ticket)
        reader.read_chunk()
        time.sleep(600)


def test_a_reader_killed_half_way_stops_its_query(server, flight, collection):
    count = 1_000_000
    put(flight, [collection, "a"], points(np.arange(count), np.ones(count)))
    context = multiprocessing.get_context("spawn")
    sql = f'SELECT a.value FROM "{collection}".a AS a CROSS JOIN "{collection}".a AS b'
    child = context.Process(target=_read_slowly, args=(server.uri, sql))
    child.start()
    time.sleep(3)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    # The server has time for others at once, and its processors come to rest.
    assert rows(flight, collection) == count
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        before = _cpu_ticks(server.process.pid)
        time.sleep(0.5)
        if _cpu_ticks(server.process.pid) - before < 10:
            return
    pytest.fail("the server still works for a client that is gone")


def _cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])

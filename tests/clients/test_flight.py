"""Plain Flight by pyarrow: listing, describing, reading, putting, following, acting."""

import json
import threading

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from conftest import POINTS, UTC, points, put, query


def act(client, action, **body):
    """The JSON that an action answers, its results as one."""
    answers = {}
    for result in client.do_action(fl.Action(action, json.dumps(body).encode())):
        answers.update(json.loads(result.body.to_pybytes()))
    return answers


def read(client, ticket):
    return client.do_get(fl.Ticket(ticket) if isinstance(ticket, (str, bytes)) else ticket).read_all()


# Listing and describing


def test_flights_are_listed_by_prefix_and_by_json(flight, collection):
    streams = pa.table({"collection": [collection] * 3, "name": ["a", "b", "c"], "unit": ["V", "A", "V"]})
    put(flight, ["streams"], streams)
    for name in ["a", "b", "c"]:
        put(flight, [collection, name], points([1_000], [1.0]))

    def listed(criteria):
        return list(flight.list_flights(criteria.encode()))

    assert len(listed(collection)) == 3
    assert len(listed(json.dumps({"collection": collection}))) == 3
    assert len(listed(json.dumps({"collection_prefix": collection[:-1], "name": "b"}))) == 1
    volts = listed(json.dumps({"collection": collection, "tags": {"unit": "V"}}))
    assert [info.descriptor.path for info in volts] == [[collection.encode(), b"a"], [collection.encode(), b"c"]]
    for info in volts:
        assert info.schema == POINTS
        assert json.loads(info.app_metadata)["unit"] == "V"
        assert read(flight, info.endpoints[0].ticket).num_rows == 1
        assert flight.get_flight_info(info.descriptor).schema == POINTS
    with pytest.raises(pa.ArrowInvalid, match="colour"):
        listed('{"colour": "red"}')


def test_descriptors_and_tickets_name_the_same_things(flight, collection):
    versions, _ = put(flight, [collection, "a"], points([1, 2, 3], [1.0, 2.0, 3.0]))
    ((uuid, version),) = versions.items()
    put(flight, [collection, "a"], points([4], [4.0]))
    for path, rows in [
        ([collection, "a"], 4),
        ([f"{collection}/a"], 4),
        ([uuid], 4),
        ([collection, f"a@{version}"], 3),
        ([f"{uuid}@{version}"], 3),
        ([f"{collection}/*"], 4),
    ]:
        descriptor = fl.FlightDescriptor.for_path(*path)
        info = flight.get_flight_info(descriptor)
        table = read(flight, info.endpoints[0].ticket)
        assert table.num_rows == rows, path
        assert table.schema == info.schema == flight.get_schema(descriptor).schema
        if len(path) == 1:
            assert read(flight, path[0]).equals(table)
    assert read(flight, f'SELECT max(value) FROM "{collection}".a').to_pylist()[0].popitem()[1] == 4.0
    for relation in ["points", "streams", "collections"]:
        descriptor = fl.FlightDescriptor.for_path(relation)
        assert flight.get_schema(descriptor).schema == read(flight, relation).schema


# Putting, three ways


def rows_of(client, collection):
    sql = f"SELECT name, time, value FROM points WHERE collection = '{collection}' ORDER BY name, time"
    table = query(client, sql)
    return list(zip(table["name"].to_pylist(), table["time"].cast(pa.int64()).to_pylist(), table["value"].to_pylist()))


def test_puts_by_path_long_and_wide_store_the_same(flight, collection):
    expected = [("a", 1_000, 1.0), ("a", 2_000, 2.0), ("b", 2_000, 3.0)]
    by_path, long, wide = (f"{collection}/{form}" for form in ["path", "long", "wide"])
    put(flight, [by_path, "a"], points([1_000, 2_000], [1.0, 2.0]))
    put(flight, [f"{by_path}/b"], points([2_000], [3.0]))
    table = pa.table(
        {
            "collection": [long] * 3,
            "name": pa.array(["a", "b", "a"]).dictionary_encode(),
            "time": pa.array([1_000, 2_000, 2_000], UTC),
            "value": [1.0, 3.0, 2.0],
        }
    )
    put(flight, ["points"], table)
    table = pa.table({"time": pa.array([1_000, 2_000], UTC), f"{wide}/a": [1.0, 2.0], f"{wide}/b": [None, 3.0]})
    put(flight, ["points"], table)
    for form in [by_path, long, wide]:
        assert rows_of(flight, form) == expected, form


def test_rows_that_were_read_can_be_put_back(flight, collection):
    put(flight, [collection, "a"], points([1_000, 2_000], [1.0, 2.0]))
    put(flight, [collection, "b"], points([1_000], [3.0]))
    rows = query(flight, f"SELECT * FROM points WHERE collection = '{collection}' ORDER BY time, name")
    assert rows.column_names == ["uuid", "collection", "name", "unit", "time", "value"]
    later = pa.compute.add(rows["time"].cast(pa.int64()), 10_000).cast(UTC)
    put(flight, ["points"], rows.set_column(4, "time", later))
    stored = [("a", 1_000, 1.0), ("a", 2_000, 2.0), ("a", 11_000, 1.0), ("a", 12_000, 2.0), ("b", 1_000, 3.0), ("b", 11_000, 3.0)]
    assert rows_of(flight, collection) == stored
    # What says nothing contradicts nothing.
    silent = rows.set_column(1, "collection", pa.nulls(3, pa.string())).drop_columns(["name"]).slice(0, 1)
    put(flight, ["points"], silent)
    stored.insert(1, ("a", 1_000, 1.0))
    swapped = rows.set_column(2, "name", pa.array(["a", "a", "a"]))
    with pytest.raises(pa.ArrowInvalid, match=f"row 1: .* is {collection}/b, .* and the row says otherwise.*nothing"):
        put(flight, ["points"], swapped)
    assert rows_of(flight, collection) == stored


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_bodies_and_growing_dictionaries(flight, collection, codec):
    options = pa.ipc.IpcWriteOptions(compression=codec, emit_dictionary_deltas=True, unify_dictionaries=False)
    words = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("collection", pa.string()), ("name", words), ("time", UTC), ("value", pa.float64())])
    descriptor = fl.FlightDescriptor.for_path("points")
    writer, answers = flight.do_put(descriptor, schema, fl.FlightCallOptions(write_options=options))
    with writer:
        for part, dictionary in enumerate([["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]]):
            names = pa.DictionaryArray.from_arrays(pa.array([0, len(dictionary) - 1], pa.int32()), dictionary)
            times = pa.array([2 * part, 2 * part + 1], UTC)
            writer.write_batch(pa.record_batch([[collection] * 2, names, times, [0.0, float(part)]], schema=schema))
        writer.done_writing()
        while answers.read() is not None:
            pass
    names = [name for name, _, _ in rows_of(flight, collection)]
    assert names == ["a", "a", "a", "b", "c", "d"]


def test_messages_up_to_the_limit_and_what_to_do_beyond(flight, collection):
    rows = 5_000_000
    table = points(range(rows), [0.5] * rows).combine_chunks()
    descriptor = fl.FlightDescriptor.for_path(collection, "a")

    def put_at_once(table):
        writer, answers = flight.do_put(descriptor, POINTS)
        with writer:
            writer.write_batch(table.to_batches()[0])
            writer.done_writing()
            while answers.read() is not None:
                pass

    put_at_once(table)
    count = f'SELECT count(*) AS n FROM "{collection}".a'
    assert query(flight, count).to_pylist() == [{"n": rows}]
    with pytest.raises(Exception, match="smaller batches"):
        put_at_once(pa.concat_tables([table] * 2).combine_chunks())
    assert query(flight, count).to_pylist() == [{"n": rows}]


def test_types_that_could_mean_several_things_are_refused_with_a_remedy(flight, collection):
    time, value = pa.array([1], UTC), pa.array([1.0])
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [value])
    for columns, said in [
        ({"time": pa.array([1], pa.int32()), "value": value}, '"time" is Int32.*nanoseconds'),
        ({"time": pa.array(["2024-01-01"]), "value": value}, '"time" is Utf8.*cast'),
        ({"time": time, "value": pa.array(["1"])}, '"value" is Utf8.*cast'),
        ({"time": time, "value": pa.array([2**53 + 1])}, "9007199254740993.*cast the column to float64"),
        ({"time": time, "value": pa.array([[1.0]])}, '"value" is List'),
        ({"time": time, "value": union}, '"value" is Union'),
    ]:
        with pytest.raises(pa.ArrowInvalid, match=said):
            put(flight, [collection, "a"], pa.table(columns))


# Results in other libraries


def test_results_have_the_same_types_and_values_everywhere(flight, collection):
    times = [1_700_000_000_000_000_000 + 8_333_000 * row for row in range(1_000)]
    values = [row / 7 for row in range(1_000)]
    put(flight, [collection, "a"], points(times, values))
    table = query(flight, f"SELECT uuid, name, time, value, unit FROM points WHERE collection = '{collection}' ORDER BY time")

    frame = table.to_pandas()
    assert frame["time"].dtype == pd.DatetimeTZDtype("ns", "UTC")
    assert frame["value"].dtype == "float64"
    assert frame["time"].astype("int64").tolist() == times
    assert frame["value"].tolist() == values

    frame = pl.from_arrow(table)
    assert frame.schema["time"] == pl.Datetime("ns", "UTC")
    assert frame.schema["value"] == pl.Float64
    assert frame.schema["name"] == pl.String
    assert frame["time"].to_physical().to_list() == times
    assert frame["value"].to_list() == values

    connection = duckdb.connect()
    connection.register("result", table)
    columns = {name: kind for name, kind, *_ in connection.sql("DESCRIBE result").fetchall()}
    assert columns["time"] in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"), columns
    assert (columns["value"], columns["name"]) == ("DOUBLE", "VARCHAR")
    rows = connection.sql("SELECT epoch_us(CAST(time AS TIMESTAMPTZ)), value FROM result").fetchall()
    assert rows == [(time // 1_000, value) for time, value in zip(times, values)]

    # And back again.
    again = f"{collection}/again"
    put(flight, [again, "polars"], pl.DataFrame({"time": times, "value": values}).to_arrow())
    frame = pd.DataFrame({"time": pd.to_datetime(times, utc=True), "value": values})
    put(flight, [again, "pandas"], pa.Table.from_pandas(frame, preserve_index=False))
    put(flight, [again, "duckdb"], connection.sql("SELECT time, value FROM result").to_arrow_table())
    for name in ["polars", "pandas", "duckdb"]:
        copied = query(flight, f'SELECT * FROM "{again}".{name}')
        assert copied["time"].cast(pa.int64()).to_pylist() == times, name
        assert copied["value"].to_pylist() == values, name


# Following


class Tail:
    """An exchange, and somebody who inserts until something arrives: over a wire nobody says when it began."""

    def __init__(self, client, descriptor):
        self.writer, self.reader = client.do_exchange(descriptor)

    def rows(self):
        while True:
            chunk = self.reader.read_chunk().data
            if chunk.num_rows:
                return chunk

    def rows_while(self, insert):
        arrived = threading.Event()

        def keep_inserting():
            while not arrived.is_set():
                insert()
                arrived.wait(0.05)

        inserting = threading.Thread(target=keep_inserting)
        inserting.start()
        try:
            return self.rows()
        finally:
            arrived.set()
            inserting.join()

    def close(self):
        """Half-closes, and reads to the end."""
        self.writer.done_writing()
        with pytest.raises(StopIteration):
            while True:
                self.reader.read_chunk()
        self.writer.close()


def test_new_points_are_followed_through_a_filter(server, flight, collection):
    put(flight, [collection, "a"], points([0], [0.0]))
    put(flight, [collection, "b"], points([0], [0.0]))
    sql = f"SELECT name, value * 2 AS twice, time FROM points WHERE collection = '{collection}' AND name LIKE 'a%' AND value > 60.1"
    tail = Tail(flight, fl.FlightDescriptor.for_command(sql))
    assert tail.reader.schema == query(flight, sql).schema
    with fl.connect(server.uri) as other:
        moment = iter(range(1, 1_000_000))

        def insert():
            time = next(moment)
            put(other, [collection, "b"], points([time], [100.0]))
            put(other, [collection, "a"], points([time, time], [60.0, 61.0]))

        rows = tail.rows_while(insert).to_pylist()
    assert {(row["name"], row["twice"]) for row in rows} == {("a", 122.0)}
    tail.close()


def test_a_stream_is_followed_by_path(server, flight, collection):
    put(flight, [collection, "a"], points([0], [0.0]))
    tail = Tail(flight, fl.FlightDescriptor.for_path(collection, "a"))
    assert tail.reader.schema == POINTS
    with fl.connect(server.uri) as other:
        rows = tail.rows_while(lambda: put(other, [collection, "a"], points([7], [7.0])))
    assert set(rows.column("value").to_pylist()) == {7.0}
    tail.close()


def test_what_cannot_be_followed_says_why(flight):
    for sql, said in [
        ("SELECT avg(value) FROM points", "an aggregate"),
        ("SELECT * FROM points ORDER BY time", "ORDER BY"),
        ("SELECT * FROM streams", "it follows points"),
        ("INSERT INTO streams (collection, name) VALUES ('lab', 'a')", "a tail follows a SELECT"),
    ]:
        with pytest.raises(pa.ArrowNotImplementedError, match=said):
            _, reader = flight.do_exchange(fl.FlightDescriptor.for_command(sql))
            reader.read_chunk()


def test_an_exchange_takes_no_rows(flight, collection):
    put(flight, [collection, "a"], points([0], [0.0]))
    writer, reader = flight.do_exchange(fl.FlightDescriptor.for_path(collection, "a"))
    writer.begin(POINTS)
    with pytest.raises(pa.ArrowInvalid, match="rows go to DoPut"):
        while True:
            reader.read_chunk()


# Actions


def test_actions_are_listed_and_answer(flight, collection):
    versions, _ = put(flight, [collection, "a"], points([1, 2], [1.0, 2.0]))
    listed = {action.type: action.description for action in flight.list_actions()}
    assert {"btrdb.Info", "btrdb.Versions", "btrdb.Flush", "btrdb.MetadataUsage"} <= listed.keys()
    assert all("Message:" in description for description in listed.values())
    assert act(flight, "btrdb.Info")["server"] == "btrdb-flight"
    assert act(flight, "btrdb.Versions", streams=[f"{collection}/a"]) == versions
    assert act(flight, "btrdb.Flush", streams=[f"{collection}/*"]) == versions
    assert act(flight, "btrdb.MetadataUsage", collection_prefix=collection)["tags"][0] == "name"
    with pytest.raises(pa.ArrowInvalid, match="streams.* is missing"):
        act(flight, "btrdb.Flush")

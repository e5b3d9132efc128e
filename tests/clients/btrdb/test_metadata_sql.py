"""`query`: SQL over the table of streams."""

import uuid

import pytest
from btrdb.exceptions import BadSQLValue
from btrdb_servers import make

COLUMNS = ["uuid", "collection", "name", "unit", "ingress", "distiller", "property_version", "annotations"]


@pytest.fixture
def west(db, collection):
    """Three streams, ordered by name."""
    return [
        make(db, collection, "L1ANG", unit="deg", annotations={"k": "x", "state": "WA"}),
        make(db, collection, "L1MAG", unit="volts", annotations={"k": "y"}),
        make(db, collection, "L2MAG", unit="volts", ingress="pmu", distiller="none"),
    ]


def test_names_as_parameters(db, collection):
    a, b = f"Boston_{uuid.uuid4()}", f"Boston_{uuid.uuid4()}"
    streams = [make(db, collection, a), make(db, collection, b)]
    rows = db.query("select uuid from streams where name = $1 or name = $2", [a, b])
    assert sorted(row["uuid"] for row in rows) == sorted(str(stream.uuid) for stream in streams)
    assert all(list(row) == ["uuid"] for row in rows)
    assert len(db.query("select uuid from streams where name = $1 or name = $2", (a, "nobody"))) == 1


def test_the_uuids_lead_to_the_streams(db, collection, west):
    rows = db.query("select uuid, name from streams where collection = $1 order by name", [collection])
    assert [stream.name for stream in db.streams(*[row["uuid"] for row in rows])] == ["L1ANG", "L1MAG", "L2MAG"]


def test_a_semicolon_and_an_order(db, collection, west):
    rows = db.query("select name from streams where collection = $1 order by name;", [collection])
    assert rows == [{"name": "L1ANG"}, {"name": "L1MAG"}, {"name": "L2MAG"}]
    rows = db.query("SELECT name FROM streams WHERE collection = $1 ORDER BY name DESC LIMIT 2", [collection])
    assert rows == [{"name": "L2MAG"}, {"name": "L1MAG"}]


def test_counts(db, collection, west):
    (row,) = db.query("SELECT COUNT(uuid) FROM streams")
    assert list(row) == ["count"] and isinstance(row["count"], int) and row["count"] >= 3
    assert db.query("SELECT COUNT(uuid) FROM streams WHERE collection=$1::text", params=[collection]) == [{"count": 3}]
    assert db.query("SELECT count(*) FROM streams WHERE collection=$1", [collection]) == [{"count": 3}]


def test_annotations_that_are_not_null(db, collection, west):
    key = uuid.uuid4().hex
    statement = "SELECT COUNT(uuid) FROM streams WHERE annotations->$1::text IS NOT NULL"
    assert db.query(statement, params=[key]) == [{"count": 0}]
    west[0].update(annotations={key: "value"})
    db.ep.setStreamAnnotations(west[1].uuid, 0, {key: None}, [])
    assert db.query(statement, params=[key]) == [{"count": 1}]


def test_distinct_names_units_and_annotation_keys(db, collection, west):
    like = [f"{collection}%"]
    rows = db.query("select distinct(name) as name from streams where collection like $1", like)
    assert sorted(row["name"] for row in rows) == ["L1ANG", "L1MAG", "L2MAG"]
    rows = db.query("select distinct(unit) as unit from streams where collection like $1", like)
    assert sorted(row["unit"] for row in rows) == ["deg", "volts"]
    statement = "select distinct(skeys(annotations)) as annotations from streams"
    rows = db.query(statement + " where collection like $1", like)
    assert sorted(row["annotations"] for row in rows) == ["k", "state"]
    assert {"k", "state"} <= {row["annotations"] for row in db.query(statement)}


def test_patterns_lists_and_annotations(db, collection, west):
    statement = "select * from streams where collection similar to $1 and name in ($2,$3) and annotations -> 'k' in ($4)"
    (row,) = db.query(statement, [f"{collection}(/x)?", "L1ANG", "L1MAG", "y"])
    assert row == {
        "uuid": str(west[1].uuid),
        "collection": collection,
        "name": "L1MAG",
        "unit": "volts",
        "ingress": "",
        "distiller": "",
        "property_version": 1,
        "annotations": {"k": "y"},
    }
    assert db.query(statement, [collection[:-1], "L1ANG", "L1MAG", "y"]) == []


def test_a_literal_beside_a_parameter(db, collection, west):
    statement = "SELECT uuid, name, unit from streams WHERE collection LIKE $1 and unit='volts'"
    rows = db.query(statement, [f"{collection}%"])
    assert sorted(row["name"] for row in rows) == ["L1MAG", "L2MAG"]
    assert all(list(row) == ["uuid", "name", "unit"] for row in rows)


def test_keys_are_in_the_order_of_the_projection(db, collection, west):
    statement = "select unit, name, annotations, uuid, property_version, distiller, ingress, collection from streams"
    rows = db.query(statement + " where collection = $1 order by name", [collection])
    assert list(rows[2]) == statement.removeprefix("select ").removesuffix(" from streams").split(", ")
    assert rows[2]["ingress"] == "pmu" and rows[2]["distiller"] == "none" and rows[2]["annotations"] == {}
    everything = db.query("select * from streams where collection = $1", [collection])
    assert all(set(row) == set(COLUMNS) for row in everything)


def test_parameters_are_typed_by_their_place(db, collection, west):
    west[0].update(tags={"unit": "radians"})
    assert db.query("select name from streams where uuid = $1", [str(west[1].uuid)]) == [{"name": "L1MAG"}]
    statement = "select name from streams where property_version > $1 and collection = $2"
    assert db.query(statement, ["1", collection]) == [{"name": "L1ANG"}]


def test_annotations_are_objects_of_texts(db, collection):
    stream = make(db, collection)
    stream.update(annotations={"text": 'say "hi" \\ \u4e16', "number": 7, "nothing": None})
    db.ep.setStreamAnnotations(stream.uuid, 0, {"null": None}, [])
    (row,) = db.query("select annotations from streams where uuid = $1", [str(stream.uuid)])
    stored = row["annotations"]
    assert stored["number"] == "7" and stored["nothing"] == "null" and stored["null"] is None
    assert "hi" in stored["text"]


def test_metadata_changes_are_seen_at_once(db, collection):
    stream = make(db, collection)
    statement = "select collection, unit, property_version, annotations from streams where uuid = $1"
    stream.update(collection=collection + "/moved", tags={"unit": "volts"}, annotations={"a": "b"})
    (row,) = db.query(statement, [str(stream.uuid)])
    assert row == {
        "collection": collection + "/moved",
        "unit": "volts",
        "property_version": 3,
        "annotations": {"a": "b"},
    }


def test_no_rows(db, collection):
    assert db.query("select uuid from streams where collection = $1", [collection]) == []


def test_parameters_are_never_read_as_sql(db, collection):
    name = "x'; DROP TABLE streams; --"
    stream = make(db, collection, name)
    assert db.query("select uuid from streams where name = $1 and collection = $2", [name, collection]) == [
        {"uuid": str(stream.uuid)}
    ]


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("selekt uuid from streams", []),
        ("select uuid from", []),
        ("", []),
        ("insert into streams (name) values ('a')", []),
        ("update streams set name = 'a'", []),
        ("delete from streams", []),
        ("drop table streams", []),
        ("create table other (a int)", []),
        ("select uuid from streams; delete from streams", []),
        ("select * from points", []),
        ("select * from information_schema.tables", []),
        ("select color from streams", []),
        ("select uuid from streams where name = $1", []),
        ("select uuid from streams where name = $2", ["a"]),
        ("select uuid from streams where name = $1", ["a", "b"]),
        ("select uuid from streams where uuid = $1", ["not a uuid"]),
        ("select uuid from streams where property_version > $1", ["many"]),
        ("select nothing_like_it(uuid) from streams", []),
    ],
)
def test_bad_statements_and_parameters(db, statement, parameters):
    with pytest.raises(BadSQLValue) as raised:
        db.query(statement, parameters)
    assert str(raised.value)
    assert isinstance(raised.value, ValueError)

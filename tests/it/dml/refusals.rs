//! What is refused before anything is written, and what it says to do instead.

use std::sync::Arc;

use btrdb_flight::backend::observed::{Observed, Operation};
use btrdb_flight::error::ErrorKind;
use btrdb_flight::query::SessionOptions;

use super::{gateway, outcome, read};
use crate::sql::fixture;

const WRITES: [Operation; 6] = [
    Operation::Create,
    Operation::SetTags,
    Operation::SetAnnotations,
    Operation::Obliterate,
    Operation::Insert,
    Operation::Delete,
];

#[tokio::test]
async fn what_is_no_operation_of_btrdb_is_refused_with_what_to_do_instead() {
    use ErrorKind::{Invalid, Unsupported};
    let observed = Observed::new(fixture().await);
    let counts = observed.counts();
    let gateway = gateway(Arc::new(observed));
    let cases = [
        ("DELETE FROM points", Unsupported, "WHERE true"),
        ("DELETE FROM streams", Unsupported, "WHERE true"),
        ("DELETE FROM lab.odd", Unsupported, "WHERE true"),
        ("UPDATE streams SET unit = 'V'", Unsupported, "WHERE true"),
        (
            "TRUNCATE TABLE points",
            Unsupported,
            "DELETE FROM points WHERE",
        ),
        ("TRUNCATE lab.odd", Unsupported, "DELETE FROM points WHERE"),
        (
            "MERGE INTO points USING streams ON true WHEN MATCHED THEN DELETE",
            Unsupported,
            "btrdb.merge",
        ),
        (
            "INSERT INTO points VALUES (1, 1, 1) ON CONFLICT DO NOTHING",
            Unsupported,
            "btrdb.merge",
        ),
        (
            "INSERT INTO points VALUES (1, 1, 1) RETURNING time",
            Unsupported,
            "RETURNING",
        ),
        (
            "INSERT OVERWRITE points VALUES (1, 1, 1)",
            Unsupported,
            "btrdb.merge = replace",
        ),
        (
            "REPLACE INTO points VALUES (1, 1, 1)",
            Unsupported,
            "btrdb.merge",
        ),
        ("INSERT INTO points DEFAULT VALUES", Unsupported, "VALUES"),
        (
            "INSERT INTO lab.\"odd@11\" VALUES (1, 1)",
            Unsupported,
            "leave out @11",
        ),
        (
            "DELETE FROM lab.\"odd@11\" WHERE true",
            Unsupported,
            "leave out @11",
        ),
        (
            "UPDATE points SET value = 1 WHERE true",
            Unsupported,
            "btrdb.merge = replace",
        ),
        (
            "UPDATE lab.odd SET value = 1 WHERE time = 1",
            Unsupported,
            "btrdb.merge = replace",
        ),
        (
            "UPDATE streams SET uuid = '1' WHERE true",
            Unsupported,
            "a stream is its uuid",
        ),
        (
            "UPDATE streams SET version = 1 WHERE true",
            Unsupported,
            "follows from the points",
        ),
        (
            "UPDATE streams SET point_count = 1 WHERE true",
            Unsupported,
            "follows from the points",
        ),
        (
            "UPDATE streams SET property_version = 1 WHERE true",
            Unsupported,
            "guards",
        ),
        (
            "UPDATE streams SET colour = 1 WHERE true",
            Invalid,
            "no column colour",
        ),
        (
            "UPDATE streams SET unit = 'a', unit = 'b' WHERE true",
            Invalid,
            "stands twice",
        ),
        (
            "UPDATE streams SET (unit, name) = ('a', 'b') WHERE true",
            Unsupported,
            "one by one",
        ),
        (
            "UPDATE streams SET annotations.site = 'a' WHERE true",
            Unsupported,
            "as a whole",
        ),
        (
            "UPDATE streams SET unit = p.unit FROM points p WHERE true",
            Unsupported,
            "sub-query",
        ),
        (
            "UPDATE streams SET unit = 'a' WHERE true RETURNING uuid",
            Unsupported,
            "RETURNING",
        ),
        (
            "UPDATE collections SET collection = 'a' WHERE true",
            Unsupported,
            "UPDATE streams SET collection",
        ),
        (
            "INSERT INTO collections VALUES ('a', 1)",
            Unsupported,
            "INSERT INTO streams",
        ),
        (
            "DELETE FROM collections WHERE true",
            Unsupported,
            "UPDATE streams",
        ),
        (
            "INSERT INTO information_schema.tables VALUES ('a')",
            Unsupported,
            "streams, points",
        ),
        ("INSERT INTO windows VALUES (1)", Unsupported, "a function"),
        (
            "DELETE FROM raw_values('lab/odd') WHERE true",
            Unsupported,
            "a function",
        ),
        (
            "INSERT INTO streams VALUES ('a', 'b')",
            Invalid,
            "names its columns",
        ),
        (
            "INSERT INTO streams (name) VALUES ('a')",
            Invalid,
            "name the column collection",
        ),
        (
            "INSERT INTO streams (collection, version) VALUES ('a', 1)",
            Unsupported,
            "follows from the points",
        ),
        (
            "INSERT INTO streams (collection, property_version) VALUES ('a', 1)",
            Unsupported,
            "counts changes",
        ),
        (
            "INSERT INTO streams (collection, colour) VALUES ('a', 1)",
            Invalid,
            "no column colour",
        ),
        (
            "INSERT INTO streams (collection, annotations) VALUES ('a', 'b')",
            Invalid,
            "",
        ),
        (
            "INSERT INTO points (time, value) VALUES (1, 1)",
            Invalid,
            "which stream",
        ),
        (
            "INSERT INTO points (uuid, time) VALUES ('a', 1)",
            Invalid,
            "a time and a value",
        ),
        (
            "INSERT INTO points (uuid, time, value, colour) VALUES ('a', 1, 1, 1)",
            Invalid,
            "no column colour",
        ),
        (
            "INSERT INTO points (uuid, time, time, value) VALUES ('a', 1, 1, 1)",
            Invalid,
            "stands twice",
        ),
        ("INSERT INTO points VALUES (1)", Invalid, "here are 1"),
        (
            "INSERT INTO points VALUES ('a', 1, 1), ('a', 1)",
            Invalid,
            "",
        ),
        ("INSERT INTO points SELECT 1, 2", Invalid, "here are 2"),
        (
            "INSERT INTO lab.odd SELECT value, time FROM lab.odd",
            Invalid,
            "whole nanoseconds",
        ),
        ("INSERT INTO lab.odd VALUES (1, 2, 3)", Invalid, ""),
        (
            "WITH a AS (INSERT INTO lab.odd VALUES (1, 1)) SELECT 1",
            Unsupported,
            "one by one",
        ),
        (
            "INSERT INTO lab.odd WITH a AS (DELETE FROM lab.odd WHERE true) SELECT 1, 1",
            Unsupported,
            "one by one",
        ),
        (
            "WITH a AS (SELECT 1) DELETE FROM lab.odd WHERE true",
            Unsupported,
            "one by one",
        ),
        (
            "DELETE FROM points WHERE value > 5",
            Unsupported,
            "whatever the values",
        ),
        (
            "DELETE FROM points WHERE name = 'odd' AND value > 5",
            Unsupported,
            "whatever the values",
        ),
        (
            "DELETE FROM lab.odd WHERE time > to_timestamp(0) AND value IS NULL OR value = 1",
            Unsupported,
            "whatever the values",
        ),
        (
            "DELETE FROM points WHERE (name = 'odd' AND time < to_timestamp(0)) OR name = 'twin'",
            Unsupported,
            "joined to those on streams by AND",
        ),
        (
            "DELETE FROM points WHERE random() < 0.5",
            Unsupported,
            "neither",
        ),
        (
            "DELETE FROM lab.odd WHERE time IN (SELECT time FROM lab.twin2)",
            ErrorKind::NotFound,
            "twin2",
        ),
        (
            "DELETE FROM lab.odd WHERE time IN (SELECT time FROM \"pmu/north\".\"voltage\")",
            Unsupported,
            "constants",
        ),
        (
            "DELETE FROM lab.odd WHERE date_part('hour', time) = 5",
            Unsupported,
            "constants",
        ),
        (
            "DELETE FROM lab.odd WHERE time > (SELECT time FROM \"pmu/north\".\"voltage\")",
            Invalid,
            "more than one row",
        ),
        (
            "DELETE FROM points USING streams WHERE true",
            Unsupported,
            "sub-query",
        ),
        (
            "DELETE FROM points WHERE true RETURNING time",
            Unsupported,
            "RETURNING",
        ),
        ("DELETE FROM points WHERE colour = 1", Invalid, "colour"),
        ("DELETE FROM points WHERE name", Invalid, ""),
        (
            "EXPLAIN ANALYZE DELETE FROM points WHERE true",
            Unsupported,
            "would have to write",
        ),
        (
            "DESCRIBE DELETE FROM points WHERE true",
            Unsupported,
            "EXPLAIN",
        ),
        (
            "EXPLAIN DELETE FROM points WHERE value > 5",
            Unsupported,
            "whatever the values",
        ),
    ];
    for (sql, kind, hint) in cases {
        let error = match sql.starts_with("EXPLAIN DELETE") {
            true => {
                let statement = gateway
                    .prepare(sql, &SessionOptions::default())
                    .await
                    .expect(sql);
                statement.execute().await.map(drop).expect_err(sql)
            }
            false => {
                let failed = outcome(&gateway, sql, &SessionOptions::default(), &[]).await;
                failed.error.expect(sql)
            }
        };
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        assert!(error.message().contains(hint), "{sql}: {error}");
        for operation in WRITES {
            assert_eq!(counts.calls(operation), 0, "{sql}: {operation:?}");
        }
    }
}

#[tokio::test]
async fn a_session_that_only_reads_refuses_to_write() {
    let gateway = gateway(fixture().await);
    let session = SessionOptions {
        read_only: true,
        ..SessionOptions::default()
    };
    for sql in [
        "INSERT INTO lab.odd VALUES (1, 1)",
        "INSERT INTO points VALUES (?, ?, ?)",
        "UPDATE streams SET unit = 'V' WHERE true",
        "DELETE FROM points WHERE true",
        "DELETE FROM streams WHERE true",
    ] {
        // Also when the plan is kept from a session that may.
        gateway
            .prepare(sql, &SessionOptions::default())
            .await
            .expect(sql);
        let error = gateway.prepare(sql, &session).await.expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::Denied, "{sql}");
        assert!(error.message().contains("read-only"), "{error}");
        if !sql.contains('?') {
            let explained = gateway.prepare(&format!("EXPLAIN {sql}"), &session).await;
            assert!(!explained.expect(sql).is_update());
        }
    }
}

#[tokio::test]
async fn explain_says_what_would_be_done_and_does_nothing() {
    let observed = Observed::new(fixture().await);
    let counts = observed.counts();
    let gateway = gateway(Arc::new(observed));
    let cases = [
        (
            "INSERT INTO lab.odd SELECT * FROM lab.odd WHERE time < to_timestamp(0)",
            "Insert, into=lab/odd, merge=never",
            "RawValues",
        ),
        (
            "INSERT INTO points VALUES ('a', 1, 1)",
            "Insert, into=the streams of the rows",
            "Values",
        ),
        (
            "INSERT INTO streams (collection) VALUES ('a')",
            "Create",
            "Values",
        ),
        (
            "UPDATE streams SET unit = 'V', annotations = NULL WHERE name = 'odd' AND property_version = 1",
            "SetStreamTags [unit], then SetStreamAnnotations, guard=the statement's",
            "LookupStreams, streams=1",
        ),
        (
            "UPDATE streams SET collection = 'V' WHERE unit = 'V'",
            "SetStreamTags [collection], guard=the property_version read",
            "LookupStreams, streams=4",
        ),
        (
            "DELETE FROM streams WHERE unit = 'V' AND point_count = 0",
            "Obliterate, one call for each row, guard=the version read",
            "LookupStreams, streams=4",
        ),
        (
            "DELETE FROM points WHERE unit = 'A' AND time < '2024-01-01T00:00:10Z'",
            "Delete, streams=2 [lab/twin, pmu/north/current], range=[-inf, 2024-01-01T00:00:10Z), points=12, calls=2",
            "Delete",
        ),
        (
            "DELETE FROM lab.odd WHERE time = to_timestamp_nanos(1) OR time = to_timestamp_nanos(3)",
            "range=[1970-01-01T00:00:00.000000001Z, 1970-01-01T00:00:00.000000002Z), [1970-01-01T00:00:00.000000003Z, 1970-01-01T00:00:00.000000004Z), points=3, calls=1",
            "",
        ),
        (
            "DELETE FROM lab.odd WHERE false",
            "streams=1 [lab/odd], range=none, points=0, calls=0",
            "",
        ),
    ];
    for (sql, operation, plan) in cases {
        let rows = read(&gateway, &format!("EXPLAIN {sql}")).await;
        assert_eq!(rows[0][0], "write_plan", "{sql}");
        assert!(rows[0][1].contains(operation), "{sql}: {}", rows[0][1]);
        assert!(rows.concat().join("\n").contains(plan), "{sql}: {rows:?}");
    }
    for operation in WRITES {
        assert_eq!(counts.calls(operation), 0, "{operation:?}");
    }
}

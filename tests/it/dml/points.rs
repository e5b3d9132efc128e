//! INSERT and DELETE of points.

use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::{Observed, Operation};
use btrdb_flight::error::ErrorKind;
use btrdb_flight::model::{MergePolicy, Snapshot, Version};
use btrdb_flight::query::SessionOptions;

use super::meddled::Meddled;
use super::{gateway, merging, one, outcome, read, read_with, write, write_with};
use crate::sql::{create, fixture, id, insert};
use crate::subject;

const ODD: &str = "SELECT count(*) FROM lab.odd";

#[tokio::test]
async fn rows_go_where_they_say() {
    let gateway = gateway(fixture().await);
    let empty = "00000000-0000-0000-0000-000000000004";
    let cases = [
        (
            format!("INSERT INTO points (uuid, time, value) VALUES ('{empty}', '2024-01-01', 1)"),
            1,
        ),
        (
            format!("INSERT INTO points VALUES ('{}', 1704067201000000000, '2.5')", empty.to_uppercase()),
            1,
        ),
        (
            "INSERT INTO points VALUES ('pmu/south', 'empty', TIMESTAMP '2024-01-01T00:00:02', 3.0)"
                .to_owned(),
            1,
        ),
        (
            "INSERT INTO points (value, time, name, collection) VALUES (4, DATE '2024-01-02', 'empty', 'pmu/south')"
                .to_owned(),
            1,
        ),
        (
            "INSERT INTO \"pmu/south\".\"empty\" VALUES ('2024-01-03T01:00:00+01:00', 5), ('2024-01-04', -6 * 2)"
                .to_owned(),
            2,
        ),
        (
            format!("INSERT INTO \"{empty}\" (value, time) SELECT 7, to_timestamp_nanos(1704412800000000000)"),
            1,
        ),
        (
            "WITH late AS (SELECT TIMESTAMP '2024-01-06' AS time) INSERT INTO \"pmu/south\".\"empty\" SELECT time, 8 FROM late"
                .to_owned(),
            1,
        ),
    ];
    for (sql, rows) in cases {
        let written = write(&gateway, &sql).await.expect(&sql);
        assert_eq!(written.rows, rows, "{sql}");
        assert_eq!(written.versions.len(), 1, "{sql}");
        assert_eq!(written.versions[0].0, id(4), "{sql}");
    }
    let points = read(
        &gateway,
        "SELECT * FROM \"pmu/south\".\"empty\" ORDER BY time",
    )
    .await;
    let expected = [
        ["2024-01-01T00:00:00Z", "1.0"],
        ["2024-01-01T00:00:01Z", "2.5"],
        ["2024-01-01T00:00:02Z", "3.0"],
        ["2024-01-02T00:00:00Z", "4.0"],
        ["2024-01-03T00:00:00Z", "5.0"],
        ["2024-01-04T00:00:00Z", "-12.0"],
        ["2024-01-05T00:00:00Z", "7.0"],
        ["2024-01-06T00:00:00Z", "8.0"],
    ];
    assert_eq!(points, expected);
}

#[tokio::test]
async fn many_streams_are_one_call() {
    let observed = Observed::new(fixture().await);
    let counts = observed.counts();
    let gateway = gateway(Arc::new(observed));
    let sql = "INSERT INTO points (collection, name, time, value) VALUES \
               ('lab', 'odd', 5, 1), ('pmu/south', 'empty', 5, 1), ('lab', 'odd', 6, 2), ('pmu/north', 'current', 5, 3)";
    let written = write(&gateway, sql).await.expect("inserts");
    assert_eq!(written.rows, 4);
    let streams: Vec<_> = written.versions.iter().map(|(id, _)| *id).collect();
    assert_eq!(streams, [id(2), id(4), id(7)], "each once");
    assert_eq!(counts.calls(Operation::Insert), 1);
}

#[tokio::test]
async fn what_a_row_says_of_its_stream_must_be_true() {
    let gateway = gateway(fixture().await);
    // Twins differ in their units.
    let sql = "INSERT INTO points (collection, name, unit, time, value) VALUES ('lab', 'twin', 'A', 9, 9)";
    let written = write(&gateway, sql).await.expect("one has that unit");
    assert_eq!(written.versions[0].0, id(6));
    let sql = "INSERT INTO points SELECT * FROM points WHERE collection = 'lab' AND name = 'twin'";
    assert_eq!(write(&gateway, sql).await.expect("all six columns").rows, 4);
    for (sql, kind, hint) in [
        (
            "INSERT INTO points (collection, name, time, value) VALUES ('lab', 'twin', 9, 9)",
            ErrorKind::Invalid,
            "ambiguous, 2 streams",
        ),
        (
            "INSERT INTO points (collection, name, unit, time, value) VALUES ('lab', 'odd', 'A', 9, 9)",
            ErrorKind::NotFound,
            "with unit \"A\"",
        ),
        (
            "INSERT INTO points (uuid, name, time, value) VALUES ('00000000-0000-0000-0000-000000000007', 'even', 9, 9)",
            ErrorKind::Invalid,
            "is lab/odd",
        ),
        (
            "INSERT INTO points (collection, name, time, value) VALUES ('lab', 'odd', 1, 1), (NULL, 'odd', 2, 2)",
            ErrorKind::Invalid,
            "row 2: it does not say which stream",
        ),
    ] {
        let error = write(&gateway, sql).await.expect_err(sql);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(hint), "{error}");
        assert!(error.message().ends_with("nothing was written"), "{error}");
    }
}

#[tokio::test]
async fn rows_of_values_are_all_checked_before_the_first_is_written() {
    let gateway = gateway(fixture().await);
    let good = "('00000000-0000-0000-0000-000000000007', 5, 5)";
    for (bad, kind, hint) in [
        (
            "('00000000-0000-0000-0000-000000000007', NULL, 1)",
            ErrorKind::Invalid,
            "row 2: time is NULL",
        ),
        (
            "('00000000-0000-0000-0000-000000000007', 1, NULL)",
            ErrorKind::Invalid,
            "row 2: value is NULL",
        ),
        (
            "('00000000-0000-0000-0000-000000000007', 1, 'NaN')",
            ErrorKind::Invalid,
            "row 2: value is NaN",
        ),
        (
            "('00000000-0000-0000-0000-000000000007', 1, CAST('-inf' AS DOUBLE))",
            ErrorKind::Invalid,
            "row 2: value is -inf",
        ),
        (
            "('00000000-0000-0000-0000-000000000007', '1900-01-01', 1)",
            ErrorKind::Invalid,
            "outside of BTrDB's",
        ),
        (
            "('00000000-0000-0000-0000-000000000007', 'noon', 1)",
            ErrorKind::Invalid,
            "noon",
        ),
        (
            "('00000000-0000-0000-0000-000000000007', 1.5, 1)",
            ErrorKind::Invalid,
            "whole nanoseconds",
        ),
        (
            "('00000000-0000-0000-0000-000000000007', 1, now())",
            ErrorKind::Invalid,
            "takes a number",
        ),
        ("('odd', 1, 1)", ErrorKind::Invalid, "\"odd\" is not a uuid"),
        (
            "('00000000-0000-0000-0000-0000000000ff', 1, 1)",
            ErrorKind::NotFound,
            "row 2: no stream has the uuid 00000000-0000-0000-0000-0000000000ff",
        ),
    ] {
        let sql = format!("INSERT INTO points VALUES {good}, {bad}");
        let error = write(&gateway, &sql).await.expect_err(&sql);
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        assert!(error.message().contains(hint), "{sql}: {error}");
        assert_eq!(one(&gateway, ODD).await, "9", "{sql}");
    }
    let missing = write(&gateway, "INSERT INTO lab.even VALUES (1, 1)").await;
    let error = missing.expect_err("no such stream");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("lab/even"), "{error}");
    assert!(error.message().contains("INSERT INTO streams"), "{error}");
    assert_eq!(one(&gateway, "SELECT count(*) FROM streams").await, "7");
}

#[tokio::test]
async fn the_setting_says_what_becomes_of_taken_times() {
    let gateway = gateway(fixture().await);
    let sql = "INSERT INTO \"pmu/south\".\"empty\" VALUES (1, 1), (2, 2)";
    let again = "INSERT INTO \"pmu/south\".\"empty\" VALUES (1, 1), (2, 3), (3, 3)";
    write(&gateway, sql).await.expect("inserts");
    let points = "SELECT value FROM \"pmu/south\".\"empty\" ORDER BY time, value";
    for (merge, expected) in [
        (MergePolicy::Retain, vec!["1.0", "2.0", "3.0"]),
        (MergePolicy::Equal, vec!["1.0", "2.0", "3.0", "3.0"]),
        (MergePolicy::Replace, vec!["1.0", "3.0", "3.0"]),
        (
            MergePolicy::Never,
            vec!["1.0", "1.0", "3.0", "3.0", "3.0", "3.0"],
        ),
    ] {
        let written = write_with(&gateway, again, &merging(merge), &[]).await;
        assert_eq!(written.expect("inserts").rows, 3, "as many as were brought");
        let found: Vec<String> = read(&gateway, points).await.into_iter().flatten().collect();
        assert_eq!(found, expected, "{merge:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_inserted_into_itself_is_read_as_it_was() {
    let gateway = gateway(fixture().await);
    let voltage = "\"pmu/north\".\"voltage\"";
    for round in 0..3 {
        let sql =
            format!("INSERT INTO {voltage} SELECT time + INTERVAL '1 hour', value FROM {voltage}");
        let written = write(&gateway, &sql).await.expect("ends");
        assert_eq!(written.rows, 3000 << round);
    }
    let sql = "INSERT INTO points (uuid, time, value) SELECT uuid, time, -value FROM points WHERE unit = 'V'";
    let before: u64 = one(&gateway, "SELECT count(*) FROM points WHERE unit = 'V'")
        .await
        .parse()
        .unwrap();
    assert_eq!(write(&gateway, sql).await.expect("ends").rows, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_insert_commits_as_it_goes_and_says_how_far_it_came() {
    let gateway = gateway(fixture().await);
    let empty = "\"pmu/south\".\"empty\"";
    let select = "SELECT to_timestamp_nanos(value), value FROM generate_series(1, 1200000)";
    let written = write(&gateway, &format!("INSERT INTO {empty} {select}"))
        .await
        .expect("inserts");
    assert_eq!(written.rows, 1_200_000);
    let commits = written.versions[0].1.0 - Version::CREATED.0;
    assert!(commits >= 2, "{commits} commits");
    let bad = "SELECT to_timestamp_nanos(value), CASE WHEN value < 1199999 THEN value END FROM generate_series(1, 1200000)";
    let sql = format!("INSERT INTO {empty} {bad}");
    let failed = outcome(&gateway, &sql, &SessionOptions::default(), &[]).await;
    let error = failed.error.expect("a NULL among the last");
    assert!(error.message().contains("value is NULL"), "{error}");
    let rows = failed.written.rows;
    assert!((1_000_000..1_199_998).contains(&rows), "{rows}");
    let said = format!("{rows} points were inserted before, and that stays");
    assert!(error.message().contains(&said), "{error}");
    let count = one(&gateway, &format!("SELECT count(*) FROM {empty}")).await;
    assert_eq!(count, (1_200_000 + rows).to_string());
}

#[tokio::test]
async fn some_streams_of_a_call_may_fail_and_the_others_stay() {
    let meddled = Arc::new(Meddled::new(fixture().await));
    let gateway = gateway(Arc::clone(&meddled) as Arc<dyn Backend>);
    meddled.fail_after(1);
    let sql = "INSERT INTO points VALUES ('pmu/south', 'empty', 5, 1), ('lab', 'odd', 5, 1), ('lab', 'odd', 6, 1)";
    let failed = outcome(&gateway, sql, &SessionOptions::default(), &[]).await;
    let error = failed.error.expect("one fails");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.message().contains("1 points were inserted before"),
        "{error}"
    );
    assert_eq!(failed.written.rows, 1);
    assert_eq!(failed.written.versions, [(id(4), Version(11))]);
    meddled.fail_after(i64::MAX);
    meddled.fail_after(2);
    let sql = "DELETE FROM points WHERE unit = 'V' AND time >= '2024-01-01'";
    let failed = outcome(&gateway, sql, &SessionOptions::default(), &[]).await;
    let error = failed.error.expect("the third fails");
    assert_eq!(failed.written.versions.len(), 2);
    let said = format!("{} points were deleted before", failed.written.rows);
    assert!(error.message().contains(&said), "{error}");
}

#[tokio::test]
async fn deletes_are_streams_times_ranges() {
    let gateway = gateway(fixture().await);
    let north = "\"pmu/north\".\"voltage\"";
    let cases = [
        (format!("DELETE FROM {north} WHERE time >= '2024-01-01T00:04:00Z'"), 600, 1),
        (format!("DELETE FROM {north} WHERE time < '1990-01-01'"), 0, 0),
        (
            format!("DELETE FROM {north} AS v WHERE v.time < '2024-01-01T00:00:01Z' OR v.time BETWEEN '2024-01-01T00:01:00Z' AND '2024-01-01T00:01:00.9Z'"),
            20,
            1,
        ),
        (format!("DELETE FROM {north} WHERE date_trunc('minute', time) = '2024-01-01T00:02:00Z'"), 600, 1),
        ("DELETE FROM points WHERE collection LIKE 'pmu/%' AND unit = 'V' AND time < '2024-01-01T00:00:10Z'".to_owned(), 100, 2),
        ("DELETE FROM points WHERE uuid IN (SELECT uuid FROM streams WHERE annotations['site'] = 'pmu/south') AND time >= '2024-01-01T00:00:50Z'".to_owned(), 10, 1),
        ("DELETE FROM points p WHERE EXISTS (SELECT 1 FROM streams s WHERE s.uuid = p.uuid AND s.unit = 'A') AND p.time > '2024-01-01T00:04:49Z' AND p.collection = 'pmu/north'".to_owned(), 10, 1),
        ("DELETE FROM points WHERE name = 'current' AND time >= (SELECT max(time) - INTERVAL '9 seconds' FROM \"pmu/north\".\"current\")".to_owned(), 10, 1),
        ("DELETE FROM lab.odd WHERE time IN (to_timestamp_nanos(0), to_timestamp_nanos(1)) OR CAST(time AS DATE) < DATE '1950-01-01'".to_owned(), 5, 1),
        ("DELETE FROM points WHERE name = 'odd' AND time > now()".to_owned(), 1, 1),
        ("DELETE FROM points WHERE time < '1600-01-01' OR time > '9999-12-31'".to_owned(), 0, 0),
        ("DELETE FROM points WHERE value = value AND name = 'twin'".to_owned(), 3, 2),
        ("DELETE FROM points WHERE false".to_owned(), 0, 0),
    ];
    for (sql, rows, streams) in cases {
        let before: u64 = one(&gateway, "SELECT count(*) FROM points")
            .await
            .parse()
            .unwrap();
        let written = write(&gateway, &sql).await.expect(&sql);
        assert_eq!(written.rows, rows, "{sql}");
        assert_eq!(written.versions.len(), streams, "{sql}");
        let after: u64 = one(&gateway, "SELECT count(*) FROM points")
            .await
            .parse()
            .unwrap();
        assert_eq!(before - after, rows, "{sql}");
    }
    let written = write(&gateway, "DELETE FROM points WHERE true").await;
    assert!(written.expect("deliberate").rows > 0);
    assert_eq!(one(&gateway, "SELECT count(*) FROM points").await, "0");
    assert_eq!(one(&gateway, "SELECT count(*) FROM streams").await, "7");
    let old = one(
        &gateway,
        "SELECT count(*) FROM \"pmu/north\".\"voltage@12\"",
    )
    .await;
    assert_eq!(old, "3000", "old versions stay");
}

#[tokio::test]
async fn only_ranges_that_hold_points_are_deleted() {
    let observed = Observed::new(fixture().await);
    let counts = observed.counts();
    let gateway = gateway(Arc::new(observed));
    let sql = "DELETE FROM points WHERE time < '2000-01-01' OR time >= '2024-01-01T00:04:00Z'";
    let written = write(&gateway, sql).await.expect("deletes");
    // Two ranges of lab/odd, and one of each stream of pmu/north.
    assert_eq!(counts.calls(Operation::Delete), 4);
    assert_eq!((written.rows, written.versions.len()), (9 + 600 + 60, 3));
    assert_eq!(counts.calls(Operation::Stats), 1);
    assert_eq!(counts.calls(Operation::Points), 0);
}

/// In a transaction, reads are as of its first statement, and of what it wrote itself.
#[tokio::test]
async fn deletes_see_what_the_transaction_wrote() {
    if subject::is_loop() {
        return;
    }
    let backend = fixture().await;
    let gateway = gateway(Arc::clone(&backend));
    let session = SessionOptions {
        snapshot: backend.snapshot().await.expect("a number"),
        ..SessionOptions::default()
    };
    assert_ne!(session.snapshot, Snapshot::Latest);
    let empty = "\"pmu/south\".\"empty\"";
    let sql = format!("INSERT INTO {empty} VALUES (1, 1), (2, 2), (3, 3)");
    let written = write_with(&gateway, &sql, &session, &[])
        .await
        .expect("inserts");
    session.pins.set(&written.versions).expect("room");
    let sql = format!("DELETE FROM {empty} WHERE time = (SELECT max(time) FROM {empty})");
    let written = write_with(&gateway, &sql, &session, &[])
        .await
        .expect("deletes");
    assert_eq!(written.rows, 1);
    session.pins.set(&written.versions).expect("room");
    let count = format!("SELECT count(*) FROM {empty}");
    assert_eq!(read_with(&gateway, &count, &session).await, [["2"]]);
    // A new stream is the transaction's own too.
    let sql = "INSERT INTO streams (collection, name) VALUES ('lab', 'new')";
    let written = write_with(&gateway, sql, &session, &[])
        .await
        .expect("creates");
    session.pins.set(&written.versions).expect("room");
    assert_eq!(
        read_with(&gateway, "SELECT count(*) FROM lab.new", &session).await,
        [["0"]]
    );
    // What others wrote is not read, and yet deleted: a delete is applied to what there is.
    insert(backend.as_ref(), 7, vec![(40, 4.0)]).await;
    assert_eq!(read_with(&gateway, ODD, &session).await, [["9"]]);
    let sql = "DELETE FROM lab.odd WHERE time = to_timestamp_nanos(40)";
    assert_eq!(
        write_with(&gateway, sql, &session, &[])
            .await
            .expect("deletes")
            .rows,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_writes_what_it_read_when_it_was_prepared() {
    if subject::is_loop() {
        return;
    }
    let backend = subject::memory().await;
    create(backend.as_ref(), 1, "a", "origin", "").await;
    create(backend.as_ref(), 2, "a", "copy", "").await;
    insert(backend.as_ref(), 1, vec![(1, 1.0)]).await;
    let gateway = gateway(Arc::clone(&backend));
    let sql = "INSERT INTO a.copy SELECT * FROM a.origin";
    let session = SessionOptions::default();
    let statement = gateway.prepare(sql, &session).await.expect("plans");
    insert(backend.as_ref(), 1, vec![(2, 2.0)]).await;
    let outcome = statement.write(&[]).await;
    assert_eq!(outcome.written.rows, 1);
    assert_eq!(write(&gateway, sql).await.expect("planned before").rows, 2);
}

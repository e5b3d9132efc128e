//! INSERT, UPDATE and DELETE of streams.

use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::error::{Code, ErrorKind};
use btrdb_flight::model::Version;
use btrdb_flight::query::SessionOptions;

use super::meddled::Meddled;
use super::{gateway, one, outcome, read, write};
use crate::sql::{fixture, id};

#[tokio::test]
async fn rows_become_streams() {
    let gateway = gateway(fixture().await);
    let sql = "INSERT INTO streams (uuid, collection, name, unit, ingress, distiller, annotations) VALUES \
               ('00000000-0000-0000-0000-000000000064', 'new', 'a', 'V', 'i', 'd', MAP {'site': 'here', 'rack': NULL}), \
               (NULL, 'new', 'b', NULL, NULL, NULL, NULL)";
    let written = write(&gateway, sql).await.expect("creates");
    assert_eq!(written.rows, 2);
    assert_eq!(written.versions.len(), 2);
    assert!(written.versions.contains(&(id(100), Version::CREATED)));
    let told = "SELECT collection, name, unit, ingress, distiller, property_version, annotations['site'], version, point_count \
                FROM streams WHERE collection = 'new' ORDER BY name";
    let expected = [
        ["new", "a", "V", "i", "d", "1", "here", "10", "0"],
        [
            "new", "b", "(empty)", "(empty)", "(empty)", "1", "NULL", "10", "0",
        ],
    ];
    assert_eq!(read(&gateway, told).await, expected);
    let sql = "INSERT INTO streams (collection, tags, unit) VALUES ('new', MAP {'name': 'c', 'ingress': 'x'}, 'A')";
    write(&gateway, sql).await.expect("creates");
    let told = "SELECT tags['name'], tags['unit'], tags['ingress'], tags['distiller'] FROM streams WHERE name = 'c'";
    assert_eq!(read(&gateway, told).await, [["c", "A", "x", "(empty)"]]);
    let sql = "INSERT INTO streams (collection, name, unit) SELECT 'copy/' || collection, name, unit FROM streams WHERE collection LIKE 'pmu/%'";
    assert_eq!(write(&gateway, sql).await.expect("creates").rows, 4);
    let count = "SELECT stream_count FROM collections WHERE collection = 'copy/pmu/north'";
    assert_eq!(one(&gateway, count).await, "2");
}

#[tokio::test]
async fn streams_are_all_checked_before_the_first_is_created() {
    let gateway = gateway(fixture().await);
    let long = "x".repeat(300);
    let bad = [
        (
            "(collection, name) VALUES ('a', 'b'), (NULL, 'c')",
            ErrorKind::Invalid,
            "row 2: collection is NULL".to_owned(),
        ),
        (
            "(collection, name) VALUES ('a', 'b'), ('', 'c')",
            ErrorKind::Invalid,
            "row 2".to_owned(),
        ),
        (
            "(collection, name) VALUES ('a', 'b'), ('a', 'b')",
            ErrorKind::Conflict,
            "row 2: row 1 has the collection a and the same tags".to_owned(),
        ),
        (
            "(collection, name, unit) VALUES ('a', 'b', ''), ('lab', 'twin', 'A')",
            ErrorKind::Conflict,
            "00000000-0000-0000-0000-000000000006 has the collection".to_owned(),
        ),
        (
            "(uuid, collection) VALUES ('00000000-0000-0000-0000-000000000001', 'a')",
            ErrorKind::Conflict,
            "exists".to_owned(),
        ),
        (
            "(uuid, collection) VALUES ('00000000-0000-0000-0000-0000000000aa', 'a'), ('00000000-0000-0000-0000-0000000000AA', 'b')",
            ErrorKind::Conflict,
            "stands twice".to_owned(),
        ),
        (
            "(uuid, collection) VALUES ('a', 'a')",
            ErrorKind::Invalid,
            "\"a\" is not a uuid".to_owned(),
        ),
        (
            "(collection, name, tags) VALUES ('a', 'b', MAP {'name': 'c'})",
            ErrorKind::Invalid,
            "column name says \"b\" and tags say \"c\"".to_owned(),
        ),
        (
            "(collection, tags) VALUES ('a', MAP {'colour': 'c'})",
            ErrorKind::Invalid,
            "colour".to_owned(),
        ),
        (
            "(collection, tags) VALUES ('a', MAP {'unit': NULL})",
            ErrorKind::Invalid,
            "tag unit is NULL".to_owned(),
        ),
        (
            "(collection, annotations) VALUES ('a', MAP {'': 'c'})",
            ErrorKind::Invalid,
            "annotation key".to_owned(),
        ),
    ];
    let long = format!("(collection, name) VALUES ('a', 'b'), ('a', '{long}')");
    let long = (
        long.as_str(),
        ErrorKind::Invalid,
        "row 2: tag value".to_owned(),
    );
    for (rest, kind, hint) in bad.into_iter().chain([long]) {
        let sql = format!("INSERT INTO streams {rest}");
        let error = write(&gateway, &sql).await.expect_err(&sql);
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        assert!(error.message().contains(&hint), "{sql}: {error}");
        assert!(
            error.message().ends_with("nothing was written"),
            "{sql}: {error}"
        );
        assert_eq!(
            one(&gateway, "SELECT count(*) FROM streams").await,
            "7",
            "{sql}"
        );
    }
}

#[tokio::test]
async fn what_was_created_before_a_failure_is_told() {
    let gateway = gateway(fixture().await);
    let sql = "DELETE FROM streams WHERE uuid = '00000000-0000-0000-0000-000000000004'";
    assert_eq!(write(&gateway, sql).await.expect("obliterates").rows, 1);
    // That its uuid is burnt shows only when it is used.
    let sql = "INSERT INTO streams (uuid, collection, name) VALUES (NULL, 'a', 'b'), ('00000000-0000-0000-0000-000000000004', 'a', 'c')";
    let failed = outcome(&gateway, sql, &SessionOptions::default(), &[]).await;
    let error = failed.error.expect("the uuid is burnt");
    assert_eq!(error.code(), Some(Code::ReusedUuid), "{error:?}");
    assert!(error.message().contains("stream a/c"), "{error}");
    assert!(
        error
            .message()
            .ends_with("1 streams were created before, and that stays"),
        "{error}"
    );
    assert_eq!(failed.written.rows, 1);
    assert_eq!(
        one(&gateway, "SELECT name FROM streams WHERE collection = 'a'").await,
        "b"
    );
}

#[tokio::test]
async fn properties_change_together_or_one_by_one() {
    let gateway = gateway(fixture().await);
    let told = "SELECT collection, name, unit, property_version, annotations['site'], annotations['new'] FROM streams WHERE uuid = '00000000-0000-0000-0000-000000000002'";
    let cases = [
        (
            "UPDATE streams SET unit = 'kA' WHERE name = 'current'",
            ["pmu/north", "current", "kA", "2", "pmu/north", "NULL"],
        ),
        (
            "UPDATE streams s SET name = s.name || '_1', collection = upper(collection) WHERE s.unit = 'kA'",
            ["PMU/NORTH", "current_1", "kA", "3", "pmu/north", "NULL"],
        ),
        (
            "UPDATE streams SET annotations = MAP {'new': unit} WHERE unit = 'kA'",
            ["PMU/NORTH", "current_1", "kA", "4", "NULL", "kA"],
        ),
        (
            "UPDATE streams SET tags = MAP {'name': 'x', 'unit': 'A'}, \"annotations\" = MAP {'site': 'there'} WHERE unit = 'kA'",
            ["PMU/NORTH", "x", "A", "6", "there", "NULL"],
        ),
        (
            "UPDATE streams SET annotations = NULL WHERE name = 'x'",
            ["PMU/NORTH", "x", "A", "7", "NULL", "NULL"],
        ),
        (
            "UPDATE streams SET unit = (SELECT max(unit) FROM streams) WHERE uuid IN (SELECT uuid FROM points WHERE name = 'x')",
            ["PMU/NORTH", "x", "V", "8", "NULL", "NULL"],
        ),
        (
            "UPDATE streams SET unit = '' WHERE name = 'x' AND point_count = 300 AND property_version = 8",
            ["PMU/NORTH", "x", "(empty)", "9", "NULL", "NULL"],
        ),
    ];
    for (sql, expected) in cases {
        let written = write(&gateway, sql).await.expect(sql);
        assert_eq!((written.rows, written.versions.len()), (1, 0), "{sql}");
        assert_eq!(read(&gateway, told).await, [expected], "{sql}");
    }
    let sql = "UPDATE streams SET unit = 'x' WHERE name = 'x' AND property_version = 8";
    assert_eq!(write(&gateway, sql).await.expect("finds none").rows, 0);
    let sql = "UPDATE streams SET distiller = 'd' WHERE true";
    assert_eq!(write(&gateway, sql).await.expect("changes all").rows, 7);
}

#[tokio::test]
async fn changes_are_all_checked_before_the_first() {
    let gateway = gateway(fixture().await);
    for (sql, kind, hint) in [
        (
            "UPDATE streams SET name = 'same', unit = 'same' WHERE collection = 'pmu/north'",
            ErrorKind::Conflict,
            "the same tags",
        ),
        (
            "UPDATE streams SET unit = 'A' WHERE collection = 'lab' AND unit = 'V'",
            ErrorKind::Conflict,
            "00000000-0000-0000-0000-000000000006",
        ),
        (
            "UPDATE streams SET unit = NULL WHERE name = 'odd'",
            ErrorKind::Invalid,
            "unit is set to NULL",
        ),
        (
            "UPDATE streams SET collection = NULL WHERE name = 'odd'",
            ErrorKind::Invalid,
            "collection is set to NULL",
        ),
        (
            "UPDATE streams SET collection = CASE name WHEN 'odd' THEN '' ELSE collection END WHERE true",
            ErrorKind::Invalid,
            "lab/odd",
        ),
        (
            "UPDATE streams SET tags = MAP {'name': 'a'}, name = 'b' WHERE name = 'odd'",
            ErrorKind::Invalid,
            "give one of them",
        ),
        (
            "UPDATE streams SET annotations = MAP {'': 'x'} WHERE name = 'odd'",
            ErrorKind::Invalid,
            "annotation key",
        ),
    ] {
        let error = write(&gateway, sql).await.expect_err(sql);
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        assert!(error.message().contains(hint), "{sql}: {error}");
        assert!(
            error.message().ends_with("nothing was written"),
            "{sql}: {error}"
        );
        assert_eq!(
            one(&gateway, "SELECT max(property_version) FROM streams").await,
            "1",
            "{sql}"
        );
    }
}

#[tokio::test]
async fn a_change_of_somebody_else_is_never_overwritten() {
    let meddled = Arc::new(Meddled::new(fixture().await));
    let gateway = gateway(Arc::clone(&meddled) as Arc<dyn Backend>);
    // Guarded by the statement: told.
    meddled.overtake(1);
    let sql = "UPDATE streams SET unit = 'x' WHERE name = 'odd' AND property_version = 1";
    let error = write(&gateway, sql).await.expect_err("it changed");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.code(), Some(Code::AnnotationVersionMismatch));
    assert_eq!(
        one(&gateway, "SELECT unit FROM streams WHERE name = 'odd'").await,
        "(empty)"
    );
    // Not guarded: looked at again.
    meddled.overtake(3);
    let sql = "UPDATE streams SET name = name || '!' WHERE name LIKE 'odd%'";
    assert_eq!(write(&gateway, sql).await.expect("in the end").rows, 1);
    let told = "SELECT name, property_version, cardinality(annotations) FROM streams WHERE name LIKE 'odd%'";
    assert_eq!(
        read(&gateway, told).await,
        [["odd!", "6", "4"]],
        "one rival came twice"
    );
    // For ever: given up.
    meddled.overtake(1_000_000);
    let error = write(&gateway, sql).await.expect_err("never");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // Between the two calls of one stream.
    meddled.overtake(0);
    meddled.fail_after(1);
    let sql = "UPDATE streams SET unit = 'y', annotations = MAP {'a': 'b'} WHERE name = 'odd!'";
    let error = write(&gateway, sql).await.expect_err("half way");
    assert!(
        error
            .message()
            .contains("the tags and collection were changed and the annotations were not"),
        "{error}"
    );
    assert_eq!(
        one(&gateway, "SELECT unit FROM streams WHERE name = 'odd!'").await,
        "y"
    );
}

#[tokio::test]
async fn streams_go_with_all_they_have() {
    let meddled = Arc::new(Meddled::new(fixture().await));
    let gateway = gateway(Arc::clone(&meddled) as Arc<dyn Backend>);
    let sql = "DELETE FROM streams AS s WHERE s.collection LIKE 'pmu/south%' AND s.point_count = 0";
    // Its points are not what they were: it is not for us to say whether it still should go.
    meddled.insert_before(2);
    let error = write(&gateway, sql).await.expect_err("it has a point now");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    meddled.insert_before(0);
    assert_eq!(write(&gateway, sql).await.expect("finds none").rows, 0);
    let sql =
        "DELETE FROM streams WHERE uuid IN (SELECT uuid FROM points WHERE time < '1950-01-01')";
    assert_eq!(write(&gateway, sql).await.expect("obliterates").rows, 1);
    let written = write(&gateway, "DELETE FROM streams WHERE name LIKE 't%'").await;
    let written = written.expect("obliterates");
    assert_eq!((written.rows, written.versions.len()), (2, 0));
    assert_eq!(one(&gateway, "SELECT count(*) FROM streams").await, "4");
    meddled.fail_after(1);
    let sql = "DELETE FROM streams WHERE true";
    let failed = outcome(&gateway, sql, &SessionOptions::default(), &[]).await;
    let error = failed.error.expect("the store goes away");
    assert!(
        error
            .message()
            .ends_with("1 streams were obliterated before, and that stays"),
        "{error}"
    );
    meddled.fail_after(i64::MAX);
    assert_eq!(write(&gateway, sql).await.expect("deliberate").rows, 3);
    assert_eq!(one(&gateway, "SELECT count(*) FROM streams").await, "0");
}

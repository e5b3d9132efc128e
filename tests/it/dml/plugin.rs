//! Writing in somebody else's DataFusion session.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use btrdb_flight::query::register;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::sql::{cells, fixture};

async fn context() -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(2);
    let context = SessionContext::new_with_config(config);
    register(&context, fixture().await).expect("registers");
    context
}

async fn count(context: &SessionContext, sql: &str) -> u64 {
    let frame = context.sql(sql).await.expect(sql);
    let rows = frame.collect().await.expect(sql);
    rows[0].column(0).as_primitive::<UInt64Type>().value(0)
}

async fn failure(context: &SessionContext, sql: &str) -> String {
    match context.sql(sql).await {
        Ok(frame) => frame.collect().await.expect_err(sql).to_string(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inserts_go_into_the_store() {
    let context = context().await;
    for (sql, rows) in [
        ("INSERT INTO btrdb.lab.odd VALUES (10, 1), (11, 2)", 2),
        ("INSERT INTO btrdb.lab.odd SELECT * FROM btrdb.lab.odd", 11),
        (
            "INSERT INTO btrdb.public.points (collection, name, time, value) VALUES ('lab', 'odd', '2024-01-01', 3)",
            1,
        ),
        (
            "INSERT INTO btrdb.public.points SELECT * FROM btrdb.public.points WHERE name = 'twin'",
            3,
        ),
        (
            "INSERT INTO btrdb.public.streams (collection, name, annotations) VALUES ('new', 'a', MAP {'x': 'y'}), ('new', 'b', MAP {'x': 'z'})",
            2,
        ),
    ] {
        assert_eq!(count(&context, sql).await, rows, "{sql}");
    }
    let frame = context
        .sql("SELECT (SELECT count(*) FROM btrdb.lab.odd) AS odd, (SELECT count(*) FROM btrdb.new.a) AS new")
        .await
        .expect("both are there");
    assert_eq!(cells(&frame.collect().await.expect("reads")), [["23", "0"]]);
    context
        .sql("SET btrdb.merge = replace")
        .await
        .expect("known");
    count(&context, "INSERT INTO btrdb.lab.odd VALUES (10, 7)").await;
    let frame = context
        .sql("SELECT value FROM btrdb.lab.odd WHERE time = to_timestamp_nanos(10)")
        .await;
    let rows = frame.expect("plans").collect().await.expect("reads");
    assert_eq!(cells(&rows), [["7.0"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_certain_is_refused() {
    let context = Arc::new(context().await);
    for (sql, hint) in [
        (
            "DELETE FROM btrdb.public.points WHERE uuid IN (SELECT uuid FROM btrdb.public.streams) AND time < '2024-01-01'",
            "Gateway",
        ),
        ("DELETE FROM btrdb.lab.odd", "Gateway"),
        (
            "DELETE FROM btrdb.public.streams WHERE name = 'odd'",
            "Gateway",
        ),
        (
            "UPDATE btrdb.public.streams SET unit = 'V' WHERE name = 'odd'",
            "Gateway",
        ),
        ("UPDATE btrdb.lab.odd SET value = 1", "Gateway"),
        ("TRUNCATE TABLE btrdb.lab.odd", "Gateway"),
        (
            "INSERT OVERWRITE btrdb.lab.odd VALUES (1, 1)",
            "btrdb.merge",
        ),
        (
            "INSERT INTO btrdb.lab.\"odd@11\" VALUES (1, 1)",
            "leave out @11",
        ),
        ("INSERT INTO btrdb.lab.even VALUES (1, 1)", "lab/even"),
        (
            "INSERT INTO btrdb.public.streams (collection, point_count) VALUES ('a', 1)",
            "point_count cannot be given",
        ),
        (
            "INSERT INTO btrdb.public.points (uuid, time, value) VALUES ('00000000-0000-0000-0000-0000000000ff', 1, 1)",
            "no stream has the uuid",
        ),
        (
            "INSERT INTO btrdb.lab.odd VALUES (1, 'NaN')",
            "value is NaN",
        ),
    ] {
        let error = failure(&context, sql).await;
        assert!(error.contains(hint), "{sql}: {error}");
    }
    let frame = context
        .sql("SELECT count(*) FROM btrdb.public.points")
        .await;
    let rows = frame.expect("plans").collect().await.expect("reads");
    assert_eq!(cells(&rows), [["3372"]]);
}

//! BTrDB in somebody else's DataFusion session.

use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use btrdb_flight::backend::Backend;
use btrdb_flight::query::register;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::sql::{fixture, insert};

async fn context() -> (SessionContext, Arc<dyn Backend>) {
    let backend = fixture().await;
    let config = SessionConfig::new()
        .with_target_partitions(2)
        .with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    register(&context, Arc::clone(&backend)).expect("registers");
    (context, backend)
}

async fn text(context: &SessionContext, sql: &str) -> String {
    let frame = context
        .sql(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let rows = frame
        .collect()
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    pretty_format_batches(&rows).expect("printable").to_string()
}

#[tokio::test]
async fn tables_functions_and_views_answer_from_statistics() {
    let (context, _) = context().await;
    context
        .sql(
            "CREATE VIEW minutes AS SELECT date_bin(INTERVAL '1 minute', time) AS minute, name, avg(value) AS mean \
             FROM btrdb.public.points GROUP BY minute, name",
        )
        .await
        .expect("a view over points");
    let cases = [
        (
            "SELECT count(*) FROM btrdb.\"pmu/north\".voltage",
            "3000",
            "Statistics",
        ),
        (
            "SELECT max(time) FROM raw_values('pmu/north/' || 'voltage')",
            "00:04:59.900",
            "Nearest",
        ),
        (
            "SELECT mean FROM minutes WHERE name = 'current' AND minute >= '2024-01-01T00:04:00Z'",
            "26.95",
            "Windows, streams=1 [pmu/north/current], range=[2024-01-01T00:04:00Z",
        ),
        (
            "SELECT s.unit, count(*) FROM btrdb.public.points p JOIN btrdb.public.streams s USING (uuid) \
             WHERE s.annotations['site'] = 'pmu/south' GROUP BY s.unit",
            "60",
            "Statistics, streams=2",
        ),
        (
            "SELECT * FROM sampled_values(1000000000, 'lab/odd') WHERE time = '1970-01-01T00:00:01Z'",
            "5.0",
            "sampled",
        ),
    ];
    for (sql, answer, operation) in cases {
        let rows = text(&context, sql).await;
        assert!(rows.contains(answer), "{sql}\n{rows}");
        let plan = text(&context, &format!("EXPLAIN {sql}")).await;
        assert!(plan.contains(operation), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn each_statement_reads_a_state_of_its_own() {
    let (context, backend) = context().await;
    let counts = "SELECT (SELECT count(*) FROM btrdb.\"pmu/south\".empty) AS a, (SELECT count(*) FROM windows('pmu/south/empty', 1)) AS b";
    assert!(text(&context, counts).await.contains("| 0 "));
    insert(backend.as_ref(), 4, vec![(0, 1.0)]).await;
    let rows = text(&context, counts).await;
    assert_eq!(rows.matches("| 1 ").count(), 2, "{rows}");
    let plan = text(&context, &format!("EXPLAIN {counts}")).await;
    assert_eq!(plan.matches("snapshot=16").count(), 2, "{plan}");
    // What was planned once reads anew each time it runs.
    let frame = context
        .sql("SELECT count(*) FROM btrdb.\"pmu/south\".empty")
        .await
        .expect("plans");
    insert(backend.as_ref(), 4, vec![(1, 1.0)]).await;
    let rows = frame.clone().collect().await.expect("reads");
    assert!(
        pretty_format_batches(&rows)
            .expect("printable")
            .to_string()
            .contains("| 2 ")
    );
}

#[tokio::test]
async fn settings_and_listings_are_the_sessions() {
    let (context, _) = context().await;
    let sql = "EXPLAIN SELECT count(*) FROM btrdb.lab.odd";
    assert!(text(&context, sql).await.contains("Statistics"));
    context
        .sql("SET btrdb.pushdown = false")
        .await
        .expect("known");
    assert!(text(&context, sql).await.contains("RawValues"));
    assert!(
        text(&context, "SHOW btrdb.pushdown")
            .await
            .contains("false")
    );
    context
        .sql("SET btrdb.pushdown = maybe")
        .await
        .expect_err("no bool");
    let tables = text(
        &context,
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = 'btrdb'",
    );
    let tables = tables.await;
    for name in ["| lab ", "| odd ", "| points ", "| pmu/north "] {
        assert!(tables.contains(name), "{name} in\n{tables}");
    }
}

#[tokio::test]
async fn mistakes_say_what_would_help() {
    let (context, _) = context().await;
    let cases = [
        (
            "SELECT * FROM btrdb.\"pmu/north\".voltag",
            "did you mean \"voltage\"",
        ),
        (
            "SELECT * FROM raw_values('pmu/north/voltag')",
            "did you mean \"voltage\"",
        ),
        ("SELECT * FROM btrdb.lab.twin", "ambiguous"),
        (
            "SELECT * FROM nearest('lab/odd')",
            "nearest(stream, time [, backward])",
        ),
    ];
    for (sql, hint) in cases {
        let error = context.sql(sql).await.expect_err(sql).to_string();
        assert!(error.contains(hint), "{sql}: {error}");
    }
    // Whatever else the session has is still there.
    assert!(text(&context, "SELECT 1 + 1 AS two").await.contains("| 2 "));
}

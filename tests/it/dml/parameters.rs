//! Parameters of statements that write: their types, and many rows of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, TimeUnit};
use btrdb_flight::backend::observed::{Observed, Operation};
use btrdb_flight::error::ErrorKind;
use btrdb_flight::query::SessionOptions;
use datafusion::common::ScalarValue;

use super::{gateway, one, outcome, read, write_with};
use crate::sql::{fixture, id};

const EMPTY: &str = "00000000-0000-0000-0000-000000000004";

fn text(text: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(text.to_owned()))
}

fn int(value: i64) -> ScalarValue {
    ScalarValue::Int64(Some(value))
}

fn float(value: f64) -> ScalarValue {
    ScalarValue::Float64(Some(value))
}

#[tokio::test]
async fn parameters_have_the_types_of_their_columns() {
    let gateway = gateway(fixture().await);
    let time = || DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let (text, float) = (DataType::Utf8, DataType::Float64);
    let cases = [
        (
            "INSERT INTO points VALUES (?, ?, ?)",
            vec![text.clone(), time(), float.clone()],
        ),
        (
            "INSERT INTO points (value, time, name, collection) VALUES ($4, $3, $2, $1)",
            vec![text.clone(), text.clone(), time(), float.clone()],
        ),
        (
            "INSERT INTO \"pmu/north\".\"voltage\" VALUES (?, ? * 2)",
            vec![time(), DataType::Int64],
        ),
        (
            "INSERT INTO points (uuid, time, value) SELECT ?, time, value FROM raw_values(?) WHERE time < ?",
            vec![text.clone(), text.clone(), time()],
        ),
        (
            "INSERT INTO streams (uuid, collection, name) VALUES (?, ?, ?)",
            vec![text.clone(), text.clone(), text.clone()],
        ),
        (
            "UPDATE streams SET unit = ?, name = ? WHERE uuid = ? AND property_version = ?",
            vec![text.clone(), text.clone(), text.clone(), DataType::UInt64],
        ),
        (
            "DELETE FROM points WHERE uuid = ? AND time >= ? AND time < ?",
            vec![text.clone(), time(), time()],
        ),
        (
            "DELETE FROM streams WHERE collection = ?",
            vec![text.clone()],
        ),
    ];
    for (sql, expected) in cases {
        let statement = gateway
            .prepare(sql, &SessionOptions::default())
            .await
            .expect(sql);
        let parameters = statement.parameters();
        let types: Vec<DataType> = parameters
            .fields()
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        assert_eq!(types, expected, "{sql}");
        let schema = statement.schema();
        assert_eq!(schema.fields().len(), 1, "{sql}");
        assert_eq!(schema.field(0).name(), "count");
        assert_eq!(schema.field(0).data_type(), &DataType::Int64);
        assert!(!schema.field(0).is_nullable());
        statement
            .execute()
            .await
            .map(drop)
            .expect_err("it is no query");
    }
    let annotations = "INSERT INTO streams (collection, annotations) VALUES (?, ?)";
    let statement = gateway
        .prepare(annotations, &SessionOptions::default())
        .await;
    let parameters = statement.expect("plans").parameters();
    assert!(matches!(parameters.field(1).data_type(), DataType::Map(..)));
}

/// Ten thousand rows of parameters are one call of the backend, and are not planned one by one.
#[tokio::test]
async fn many_rows_are_one_commit() {
    let observed = Observed::new(fixture().await);
    let counts = observed.counts();
    let gateway = gateway(Arc::new(observed));
    let ids = [EMPTY, "00000000-0000-0000-0000-000000000007"];
    let rows: Vec<Vec<ScalarValue>> = (0..10_000)
        .map(|i| vec![text(ids[i % 2]), int(100 + i as i64), float(i as f64)])
        .collect();
    let start = Instant::now();
    let written = write_with(
        &gateway,
        "INSERT INTO points VALUES (?, ?, ?)",
        &SessionOptions::default(),
        &rows,
    )
    .await
    .expect("inserts");
    let took = start.elapsed();
    eprintln!("10,000 rows of parameters took {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(written.rows, 10_000);
    assert_eq!(written.versions.len(), 2);
    assert_eq!(counts.calls(Operation::Insert), 1);
    let sum = format!("SELECT count(*), sum(value) FROM points WHERE uuid = '{EMPTY}'");
    assert_eq!(read(&gateway, &sum).await, [["5000", "24995000.0"]]);
}

#[tokio::test]
async fn each_row_of_parameters_runs_the_statement() {
    let gateway = gateway(fixture().await);
    let session = SessionOptions::default();
    // Two rows of VALUES for each row of parameters, in their order.
    let sql = format!(
        "INSERT INTO points VALUES ('{EMPTY}', $1, $2), ('{EMPTY}', $1 + INTERVAL '1 nanosecond', $2 * 2)"
    );
    let rows = [vec![int(1), float(1.0)], vec![int(3), float(5.0)]];
    let written = write_with(&gateway, &sql, &session, &rows).await;
    assert_eq!(written.expect("inserts").rows, 4);
    let values = format!("SELECT value FROM points WHERE uuid = '{EMPTY}' ORDER BY time");
    assert_eq!(
        read(&gateway, &values).await.concat(),
        ["1.0", "2.0", "5.0", "10.0"]
    );
    // Streams that table functions name.
    let sql = format!(
        "INSERT INTO points (uuid, time, value) SELECT '{EMPTY}', time, value FROM raw_values(?) WHERE time < ?"
    );
    let rows = [
        vec![text("lab/twin"), int(0)],
        vec![text("lab/odd"), int(0)],
    ];
    let error = write_with(&gateway, &sql, &session, &rows)
        .await
        .expect_err("twins");
    assert!(error.message().starts_with("row 1 of 2: "), "{error}");
    let rows = [
        vec![
            text("lab/odd"),
            ScalarValue::TimestampNanosecond(Some(0), Some("UTC".into())),
        ],
        vec![text("lab/odd"), int(2)],
    ];
    let written = write_with(&gateway, &sql, &session, &rows).await;
    assert_eq!(written.expect("inserts").rows, 3 + 7);
    // Deletes and updates, row by row.
    let sql = "DELETE FROM points WHERE uuid = ? AND time >= ? AND time < ?";
    let rows = [
        vec![text(EMPTY), int(1), int(3)],
        vec![
            text("00000000-0000-0000-0000-000000000005"),
            int(0),
            int(i64::MAX),
        ],
        vec![text(EMPTY), int(-5), int(-4)],
    ];
    let written = write_with(&gateway, sql, &session, &rows)
        .await
        .expect("deletes");
    assert_eq!(written.rows, 2 + 3 + 1);
    assert_eq!(written.versions.len(), 2);
    let sql = "UPDATE streams SET unit = ? WHERE uuid = ? AND property_version = ?";
    let rows = [
        vec![text("kV"), text(EMPTY), int(1)],
        vec![text("MV"), text(EMPTY), int(2)],
        vec![text("no"), text(EMPTY), int(2)],
    ];
    assert_eq!(
        write_with(&gateway, sql, &session, &rows)
            .await
            .expect("updates")
            .rows,
        2
    );
    let unit = format!("SELECT unit FROM streams WHERE uuid = '{EMPTY}'");
    assert_eq!(one(&gateway, &unit).await, "MV");
    let sql = "INSERT INTO streams (collection, name, unit) VALUES (?, ?, ?)";
    let rows: Vec<_> = (0..500)
        .map(|i| vec![text("many"), text(&format!("s{i}")), ScalarValue::Null])
        .collect();
    let written = write_with(&gateway, sql, &session, &rows)
        .await
        .expect("creates");
    assert_eq!((written.rows, written.versions.len()), (500, 500));
    let sql = "DELETE FROM streams WHERE name = ?";
    let rows: Vec<_> = (0..20).map(|i| vec![text(&format!("s{i}"))]).collect();
    assert_eq!(
        write_with(&gateway, sql, &session, &rows)
            .await
            .expect("obliterates")
            .rows,
        20
    );
    assert_eq!(
        write_with(&gateway, sql, &session, &[])
            .await
            .expect("no rows")
            .rows,
        0
    );
}

#[tokio::test]
async fn values_of_other_types_are_cast_or_refused_by_the_row() {
    let gateway = gateway(fixture().await);
    let session = SessionOptions::default();
    let sql = "INSERT INTO points VALUES (?, ?, ?)";
    let bytes = ScalarValue::FixedSizeBinary(16, Some(id(4).0.as_bytes().to_vec()));
    let rows = [
        vec![bytes, text("2024-01-01T00:00:00Z"), int(1)],
        vec![
            text(EMPTY),
            ScalarValue::TimestampMicrosecond(Some(1_704_067_201_000_000), None),
            ScalarValue::Float32(Some(0.5)),
        ],
        vec![text(EMPTY), ScalarValue::Date32(Some(19_724)), text("2.5")],
    ];
    assert_eq!(
        write_with(&gateway, sql, &session, &rows)
            .await
            .expect("casts")
            .rows,
        3
    );
    let points = "SELECT * FROM \"pmu/south\".\"empty\"";
    let expected = [
        ["2024-01-01T00:00:00Z", "1.0"],
        ["2024-01-01T00:00:01Z", "0.5"],
        ["2024-01-02T00:00:00Z", "2.5"],
    ];
    assert_eq!(read(&gateway, points).await, expected);
    let good = vec![text(EMPTY), int(1), float(1.0)];
    let bad = [
        (
            vec![text(EMPTY), text("noon"), float(1.0)],
            ErrorKind::Invalid,
            "row 2: the value of $2",
        ),
        (
            vec![text(EMPTY), ScalarValue::Null, float(1.0)],
            ErrorKind::Invalid,
            "row 2: time is NULL",
        ),
        (
            vec![text(EMPTY), int(1), ScalarValue::Null],
            ErrorKind::Invalid,
            "row 2: value is NULL",
        ),
        (
            vec![text(EMPTY), int(1), float(f64::NAN)],
            ErrorKind::Invalid,
            "row 2: value is NaN",
        ),
        (
            vec![ScalarValue::Null, int(1), float(1.0)],
            ErrorKind::Invalid,
            "row 2: it does not say which stream",
        ),
        (
            vec![text("lab/odd"), int(1), float(1.0)],
            ErrorKind::Invalid,
            "row 2: \"lab/odd\" is not a uuid",
        ),
        (
            vec![text(EMPTY), int(1)],
            ErrorKind::Invalid,
            "row 2 has 2 values",
        ),
    ];
    for (row, kind, hint) in bad {
        let rows = [good.clone(), row];
        let failed = outcome(&gateway, sql, &session, &rows).await;
        let error = failed.error.expect(hint);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(hint), "{hint}: {error}");
        assert_eq!(failed.written.rows, 0);
    }
    assert_eq!(
        one(&gateway, "SELECT count(*) FROM \"pmu/south\".\"empty\"").await,
        "3"
    );
}

#[tokio::test]
async fn bound_statements_are_written_too() {
    let gateway = gateway(fixture().await);
    let sql = "INSERT INTO points VALUES (?, ?, ?)";
    let statement = gateway
        .prepare(sql, &SessionOptions::default())
        .await
        .expect("plans");
    let row = [
        text(EMPTY),
        ScalarValue::TimestampNanosecond(Some(1), Some("UTC".into())),
        float(1.0),
    ];
    let bound = statement.bind(&row).await.expect("binds");
    assert!(bound.is_update());
    let outcome = bound.write(&[]).await;
    assert_eq!(
        (outcome.written.rows, outcome.error.map(|e| e.to_string())),
        (1, None)
    );
    assert_eq!(
        one(&gateway, "SELECT count(*) FROM \"pmu/south\".\"empty\"").await,
        "1"
    );
}

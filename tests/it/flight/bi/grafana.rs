//! Grafana: the Flight SQL plugin and the InfluxDB source of the core, which expand the same macros and read the same types.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use arrow_flight::sql::CommandGetTables;

use super::*;

/// Whether the data frames of Grafana have the type.
fn is_read(data_type: &DataType) -> bool {
    match data_type {
        // Read as nanoseconds, whatever the unit.
        DataType::Timestamp(unit, _) => *unit == TimeUnit::Nanosecond,
        DataType::Utf8
        | DataType::Boolean
        | DataType::Float32
        | DataType::Float64
        | DataType::Duration(_) => true,
        other => other.is_integer(),
    }
}

const FROM: &str = "cast('2024-01-01T00:01:00Z' as timestamp)";
const TO: &str = "cast('2024-01-01T00:03:00Z' as timestamp)";
const BIN: &str = "date_bin(interval '30 second', time, timestamp '1970-01-01T00:00:00Z')";

#[tokio::test]
async fn macros_expand_to_statements_that_run() {
    let server = site().await;
    let mut client = server.sql().await;
    let voltage = "\"pmu/north\".\"voltage\"";
    let parts = "datepart('minute', time),datepart('hour', time),datepart('day', time),datepart('month', time),datepart('year', time)";
    let named_parts = "datepart('minute', time) as time_minute,datepart('hour', time) as time_hour,datepart('day', time) as time_day,datepart('month', time) as time_month,datepart('year', time) as time_year";
    for (sql, rows) in [
        ("select 1".to_owned(), 1),
        // $__timeRange, $__timeRangeFrom, $__timeRangeTo
        (
            format!("SELECT time, value FROM {voltage} WHERE time >= '2024-01-01T00:01:00Z' AND time <= '2024-01-01T00:02:00Z'"),
            61,
        ),
        // $__timeFrom, $__timeTo
        (
            format!("SELECT time, value FROM {voltage} WHERE time >= {FROM} AND time < {TO}"),
            120,
        ),
        // $__dateBin
        (
            format!("SELECT {BIN} AS time, avg(value) FROM {voltage} WHERE time >= {FROM} AND time < {TO} GROUP BY {BIN} ORDER BY time"),
            4,
        ),
        // $__dateBinAlias
        (
            format!("SELECT {BIN} as time_binned, max(value) FROM {voltage} GROUP BY time_binned ORDER BY time_binned"),
            20,
        ),
        // $__interval
        (
            format!("SELECT count(*) FROM {voltage} WHERE time < {FROM} + interval '30 second'"),
            1,
        ),
        // $__timeGroup, $__timeGroupAlias
        (
            format!("SELECT {parts}, avg(value) FROM {voltage} GROUP BY {parts}"),
            10,
        ),
        (
            format!("SELECT {named_parts}, avg(value) FROM {voltage} GROUP BY {parts}"),
            10,
        ),
        // A panel of several series, and what fills a variable.
        (
            format!("SELECT {BIN} AS time, name, avg(value) AS value FROM points WHERE collection = 'pmu/north' AND time >= {FROM} AND time < {TO} GROUP BY 1, 2 ORDER BY 1"),
            8,
        ),
        ("SELECT DISTINCT collection FROM streams".to_owned(), 2),
        ("SELECT uuid, name, version, point_count, latest, latest - earliest AS span FROM streams".to_owned(), 4),
    ] {
        let (schema, batches) = answer(&mut client, &sql).await;
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(found, rows, "{sql}");
        for field in schema.fields() {
            assert!(is_read(field.data_type()), "{sql}: {field}");
        }
    }
}

#[tokio::test]
async fn buckets_are_answered_from_statistics() {
    let server = site().await;
    let mut client = server.sql().await;
    let points = server.backend.counts().points();
    let sql = format!(
        "SELECT {BIN} AS time, avg(value) AS mean FROM \"pmu/north\".\"voltage\" WHERE time >= {FROM} AND time < {TO} GROUP BY 1 ORDER BY 1"
    );
    let (schema, batches) = answer(&mut client, &sql).await;
    assert_eq!(schema.field(0).name(), "time");
    let times = batches[0]
        .column(0)
        .as_primitive::<TimestampNanosecondType>();
    assert_eq!(times.value(0), NEW_YEAR + 60 * SECOND);
    assert_eq!(server.backend.counts().points(), points);
}

#[tokio::test]
async fn the_query_builder_finds_tables_and_columns() {
    let server = site().await;
    let mut client = server.sql().await;
    let info = client
        .get_tables(CommandGetTables {
            table_types: vec!["BASE TABLE".to_owned(), "table".to_owned()],
            ..CommandGetTables::default()
        })
        .await
        .expect("tables");
    let tables = browse::fetch(&mut client, info).await;
    assert_eq!(
        browse::column(&tables, "table_name"),
        [
            "current",
            "voltage",
            "00000000-0000-0000-0000-000000000003",
            "00000000-0000-0000-0000-000000000004",
            "collections",
            "points",
            "streams"
        ]
    );
    let info = client
        .get_tables(CommandGetTables {
            table_name_filter_pattern: Some("voltage".to_owned()),
            include_schema: true,
            ..CommandGetTables::default()
        })
        .await
        .expect("tables");
    let tables = browse::fetch(&mut client, info).await;
    let columns = browse::table_schema(&tables, 0);
    let names: Vec<_> = columns.fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["time", "value"]);
    assert!(
        columns
            .fields()
            .iter()
            .all(|field| is_read(field.data_type()))
    );
}

//! SQL over the engine: the files under `sql/`, push-down on against off, and how often the backend is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::{Counts, Observed, Operation};
use btrdb_flight::error::{Error, ErrorKind, Result};
use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Version, Write};
use btrdb_flight::query::{Gateway, GatewaySettings, SessionOptions, Statement, from_datafusion};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use uuid::Uuid;

use crate::subject;

pub(crate) const SECOND: i64 = 1_000_000_000;

/// 2024-01-01T00:00:00Z.
pub(crate) const NEW_YEAR: i64 = 1_704_067_200 * SECOND;

pub(crate) fn id(number: u128) -> StreamId {
    StreamId(Uuid::from_u128(number))
}

pub(crate) async fn create(
    backend: &dyn Backend,
    number: u128,
    collection: &str,
    name: &str,
    unit: &str,
) {
    let stream = StreamDescriptor {
        id: id(number),
        collection: collection.to_owned(),
        tags: Tags {
            name: name.to_owned(),
            unit: unit.to_owned(),
            ..Tags::default()
        },
        annotations: [("site".to_owned(), Some(collection.to_owned()))].into(),
        property_version: 0,
    };
    backend.create(stream).await.expect("the stream is new");
}

pub(crate) async fn insert(backend: &dyn Backend, number: u128, points: Vec<(i64, f64)>) {
    let (times, values): (Vec<i64>, Vec<f64>) = points.into_iter().unzip();
    let write = Write {
        stream: id(number),
        times: times.into(),
        values: values.into(),
    };
    for version in backend.insert(vec![write], InsertOptions::default()).await {
        version.expect("the points are storable");
    }
}

/// A small store in which everything can be counted by hand.
///
/// | stream | points |
/// | --- | --- |
/// | `pmu/north/voltage` | ten a second for five minutes of 2024, the last minute in a second version; value = number modulo 100 |
/// | `pmu/north/current` | one a second for the same time; value = number / 10 |
/// | `pmu/south/voltage` | one a second for one minute; value = -number |
/// | `pmu/south/empty` | none |
/// | `lab/twin`, twice | one and two |
/// | `lab/odd` | both sides of 1970, times that repeat, the ends of time |
pub(crate) async fn fixture() -> Arc<dyn Backend> {
    let engine = subject::memory().await;
    let store = engine.as_ref();
    create(store, 1, "pmu/north", "voltage", "V").await;
    create(store, 2, "pmu/north", "current", "A").await;
    create(store, 3, "pmu/south", "voltage", "V").await;
    create(store, 4, "pmu/south", "empty", "V").await;
    create(store, 5, "lab", "twin", "V").await;
    create(store, 6, "lab", "twin", "A").await;
    create(store, 7, "lab", "odd", "").await;
    let tenth = |i: i64| (NEW_YEAR + i * SECOND / 10, (i % 100) as f64);
    insert(store, 1, (0..2400).map(tenth).collect()).await;
    insert(store, 1, (2400..3000).map(tenth).collect()).await;
    let whole = |i: i64| (NEW_YEAR + i * SECOND, i as f64 / 10.0);
    insert(store, 2, (0..300).map(whole).collect()).await;
    insert(
        store,
        3,
        (0..60)
            .map(|i| (NEW_YEAR + i * SECOND, -i as f64))
            .collect(),
    )
    .await;
    insert(store, 5, vec![(NEW_YEAR, 1.0)]).await;
    insert(store, 6, vec![(NEW_YEAR, 1.0), (NEW_YEAR + 1, 2.0)]).await;
    let odd = vec![
        (-(1 << 60), -7.5),
        (-SECOND - 1, 1.0),
        (-1, 2.0),
        (0, -0.0),
        (1, 3.0),
        (1, 4.0),
        (1, 4.0),
        (SECOND, 5.0),
        ((3 << 60) - 2, 6.0),
    ];
    insert(store, 7, odd).await;
    engine
}

pub(crate) struct Fixture {
    pub(crate) gateway: Gateway,
    counts: Arc<Counts>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let observed = Observed::new(fixture().await);
        let counts = observed.counts();
        let settings = GatewaySettings {
            // As many everywhere, because EXPLAIN tells.
            target_partitions: 2,
            ..GatewaySettings::default()
        };
        Self {
            gateway: Gateway::new(Arc::new(observed), settings).expect("a gateway"),
            counts,
        }
    }

    async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.query_with(sql, &SessionOptions::default(), &[]).await
    }

    /// Rows of a statement; everything delivered has the schema that was declared.
    pub(crate) async fn query_with(
        &self,
        sql: &str,
        session: &SessionOptions,
        values: &[ScalarValue],
    ) -> Result<Vec<RecordBatch>> {
        let statement = self.gateway.prepare(sql, session).await?;
        let statement = statement.bind(values).await?;
        let rows = statement.execute().await?;
        assert_eq!(rows.schema(), statement.schema());
        let batches: Vec<RecordBatch> = rows.try_collect().await.map_err(from_datafusion)?;
        for batch in &batches {
            assert_eq!(batch.schema(), statement.schema(), "{sql}");
        }
        Ok(batches)
    }

    async fn text(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        Ok(cells(&self.query(sql).await?))
    }

    async fn error(&self, sql: &str) -> Error {
        match self.query(sql).await {
            Ok(rows) => panic!("{sql} must fail, and answered {rows:?}"),
            Err(error) => error,
        }
    }
}

pub(crate) fn cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            columns
                .iter()
                .map(|column| match column.value(row).to_string() {
                    text if text.is_empty() => "(empty)".to_owned(),
                    text => text,
                })
                .collect()
        }));
    }
    rows
}

/// The gateway as sqllogictest sees a database: a session, whose settings `SET` changes.
struct Database {
    fixture: Fixture,
    session: SessionOptions,
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>> {
        let statement = self.fixture.gateway.prepare(sql, &self.session).await?;
        if let Some(command) = statement.command() {
            command.apply(&mut self.session)?;
            return Ok(DBOutput::StatementComplete(0));
        }
        if statement.is_update() {
            return written(&statement).await.map(DBOutput::StatementComplete);
        }
        let types = statement
            .schema()
            .fields()
            .iter()
            .map(|field| match field.data_type() {
                data_type if data_type.is_integer() => DefaultColumnType::Integer,
                data_type if data_type.is_floating() => DefaultColumnType::FloatingPoint,
                _ => DefaultColumnType::Text,
            })
            .collect();
        let batches = self.fixture.query_with(sql, &self.session, &[]).await?;
        let mut rows = cells(&batches);
        if sql.trim_start().to_lowercase().starts_with("explain") {
            if subject::is_loop() {
                rows.iter_mut().flatten().for_each(as_of_engine);
            }
            rows = rows.into_iter().flat_map(plan_lines).collect();
        }
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}

/// How many rows a statement wrote, all of it or none.
async fn written(statement: &Statement) -> Result<u64> {
    let outcome = statement.write(&[]).await;
    match outcome.error {
        Some(error) => Err(error),
        None => Ok(outcome.written.rows),
    }
}

/// What a plan says of the state it reads, as it would say over the engine: a remote numbers no states.
fn as_of_engine(plan: &mut String) {
    for shown in ["snapshot=unpinned", "snapshot=pinned"] {
        *plan = plan.replace(shown, "snapshot=15");
    }
}

/// A plan as one row a line, indented by dots, because the file format trims lines.
fn plan_lines(row: Vec<String>) -> Vec<Vec<String>> {
    let [kind, plan] = row.as_slice() else {
        return vec![row];
    };
    plan.lines()
        .map(|line| {
            let text = line.trim_start();
            let indent = line.len() - text.len();
            vec![kind.clone(), format!("{}{text}", ".".repeat(indent))]
        })
        .collect()
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no .{extension} in {}", folder.display());
    files
}

/// `BTRDB_SQL_COMPLETE=1` writes the answers into the files instead of comparing.
#[tokio::test]
async fn sql_files_answer_as_written() {
    let complete = std::env::var_os("BTRDB_SQL_COMPLETE").is_some();
    for file in files("sql/tests", "slt") {
        let mut runner = sqllogictest::Runner::new(|| async {
            Ok(Database {
                fixture: Fixture::new().await,
                session: SessionOptions::default(),
            })
        });
        if complete {
            runner
                .update_test_file(
                    &file,
                    " ",
                    sqllogictest::default_validator,
                    sqllogictest::default_normalizer,
                    sqllogictest::default_column_validator,
                )
                .await
                .expect("written");
        } else if let Err(error) = runner.run_file_async(&file).await {
            panic!("{}", error.display(false));
        }
    }
}

#[tokio::test]
async fn every_recipe_of_the_cookbook_answers() {
    for file in files("sql/cookbook", "sql") {
        // Recipes that write change what those of their own file see.
        let fixture = Fixture::new().await;
        let mut session = SessionOptions::default();
        let text = std::fs::read_to_string(&file).expect("readable");
        for sql in text.split(";\n").filter(|sql| !is_blank(sql)) {
            match recipe(&fixture, &mut session, sql).await {
                Ok(count) => assert!(count > 0, "{} does nothing:\n{sql}", file.display()),
                Err(error) => panic!("{}: {error}\n{sql}", file.display()),
            }
        }
    }
}

/// Rows that a recipe answers, or writes.
async fn recipe(fixture: &Fixture, session: &mut SessionOptions, sql: &str) -> Result<u64> {
    let statement = fixture.gateway.prepare(sql, session).await?;
    if let Some(command) = statement.command() {
        assert!(command.apply(session)?, "{sql} is about settings");
        return Ok(1);
    }
    if statement.is_update() {
        return written(&statement).await;
    }
    let rows = fixture.query_with(sql, session, &[]).await?;
    Ok(rows.iter().map(|batch| batch.num_rows() as u64).sum())
}

fn is_blank(sql: &str) -> bool {
    sql.lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with("--"))
}

#[tokio::test]
async fn mistakes_are_answered_with_what_would_help() {
    let fixture = Fixture::new().await;
    let cases = [
        (
            "SELECT * FROM \"pmu/north\".\"voltag\"",
            ErrorKind::NotFound,
            "did you mean \"voltage\"",
        ),
        (
            "SELECT * FROM \"pmu/nort\".\"voltage\"",
            ErrorKind::NotFound,
            "did you mean \"pmu/north\"",
        ),
        (
            "SELECT * FROM stream",
            ErrorKind::NotFound,
            "did you mean streams",
        ),
        (
            "SELECT * FROM \"pmu/north/voltage\"",
            ErrorKind::NotFound,
            "\"pmu/north\".\"voltage\"",
        ),
        (
            "SELECT * FROM raw_values('nothing')",
            ErrorKind::Invalid,
            "neither a uuid nor",
        ),
        (
            "SELECT * FROM raw_values('pmu/north/*')",
            ErrorKind::Invalid,
            "takes one",
        ),
        (
            "SELECT * FROM raw_values(voltage)",
            ErrorKind::Invalid,
            "voltage",
        ),
        (
            "SELECT * FROM \"lab\".\"twin\"",
            ErrorKind::Invalid,
            "00000000-0000-0000-0000-000000000005",
        ),
        (
            "SELECT * FROM \"pmu/north\".\"voltage@99\"",
            ErrorKind::NotFound,
            "versions are 10 to 12",
        ),
        (
            "SELECT * FROM \"00000000-0000-0000-0000-0000000000ff\"",
            ErrorKind::NotFound,
            "ff",
        ),
        (
            "SELECT * FROM windows('lab/odd', 0)",
            ErrorKind::Invalid,
            "width",
        ),
        (
            "SELECT * FROM windows('lab/odd', INTERVAL '1 month')",
            ErrorKind::Invalid,
            "width",
        ),
        (
            "SELECT * FROM aligned_windows('lab/odd', 64)",
            ErrorKind::Invalid,
            "64",
        ),
        (
            "SELECT * FROM multi_values('lab/odd', 'lab/odd')",
            ErrorKind::Invalid,
            "two columns",
        ),
        ("SELECT nothing FROM points", ErrorKind::Invalid, "nothing"),
        (
            "SET btrdb.nothing = 1",
            ErrorKind::Invalid,
            "btrdb.pushdown",
        ),
        (
            "TRUNCATE TABLE points",
            ErrorKind::Unsupported,
            "DELETE FROM points WHERE",
        ),
        (
            "SELECT * FROM other.public.points",
            ErrorKind::NotFound,
            "btrdb",
        ),
        ("SELECT $1", ErrorKind::Invalid, "1 parameter,"),
    ];
    for (sql, kind, evidence) in cases {
        let error = fixture.error(sql).await;
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        assert!(error.message().contains(evidence), "{sql}: {error}");
    }
}

#[tokio::test]
async fn parameters_bind_everywhere() {
    let fixture = Fixture::new().await;
    let session = SessionOptions::default();
    let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
    let time = |time| ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into()));
    let sql = "SELECT count(*) FROM raw_values(?) WHERE time >= ? AND time < ?";
    let statement = fixture
        .gateway
        .prepare(sql, &session)
        .await
        .expect("prepares");
    let types: Vec<DataType> = statement
        .parameters()
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    assert_eq!(types[0], DataType::Utf8);
    assert!(matches!(types[1], DataType::Timestamp(..)), "{types:?}");
    let values = [
        text("pmu/north/voltage"),
        time(NEW_YEAR),
        time(NEW_YEAR + 10 * SECOND),
    ];
    let rows = fixture
        .query_with(sql, &session, &values)
        .await
        .expect("answers");
    assert_eq!(cells(&rows), [["100"]]);
    let wide = fixture
        .query_with(
            "SELECT * FROM multi_values($2, $1) LIMIT 1",
            &session,
            &[text("pmu/north/voltage"), text("pmu/north/current")],
        )
        .await
        .expect("answers");
    assert_eq!(wide[0].schema().field(1).name(), "pmu/north/current");
    let statement = fixture
        .gateway
        .prepare(sql, &session)
        .await
        .expect("prepares");
    let error = statement
        .bind(&values[..1])
        .await
        .expect_err("two are missing");
    assert!(error.message().contains("3 parameters"), "{error}");
}

#[tokio::test]
async fn a_statement_reads_the_snapshot_it_was_prepared_under() {
    let fixture = Fixture::new().await;
    let statement = fixture
        .gateway
        .prepare(
            "SELECT count(*) FROM \"pmu/south\".\"empty\"",
            &SessionOptions::default(),
        )
        .await
        .expect("prepares");
    insert(fixture.gateway.backend().as_ref(), 4, vec![(0, 1.0)]).await;
    let rows = statement.execute().await.expect("reads");
    let rows: Vec<_> = rows.try_collect().await.expect("reads");
    // A store that numbers no states is read as it is when its turn comes.
    let seen = if subject::is_loop() { "1" } else { "0" };
    assert_eq!(cells(&rows), [[seen]]);
    let again = fixture
        .text("SELECT count(*) FROM \"pmu/south\".\"empty\"")
        .await;
    assert_eq!(again.expect("reads"), [["1"]]);
    let pinned = SessionOptions {
        pins: [(id(4), Version::CREATED)].into_iter().collect(),
        ..SessionOptions::default()
    };
    let sql = "SELECT count(*) FROM \"pmu/south\".\"empty\"";
    let rows = fixture.query_with(sql, &pinned, &[]).await.expect("reads");
    assert_eq!(cells(&rows), [["0"]]);
}

/// A silent fallback gives right answers too, so the calls are counted.
#[tokio::test]
async fn the_backend_is_asked_no_more_than_needed() {
    let fixture = Fixture::new().await;
    let voltage = "FROM \"pmu/north\".\"voltage\"";
    // Statement, points delivered at most, windows delivered at most.
    let cases = [
        (format!("SELECT count(*), avg(value), stddev(value) {voltage}"), 0, 1),
        (format!("SELECT max(value) {voltage} WHERE time >= '2024-01-01T00:01:00Z'"), 0, 1),
        (format!("SELECT date_bin(INTERVAL '1 minute', time) AS m, avg(value) {voltage} GROUP BY m ORDER BY m"), 0, 5),
        (format!("SELECT * {voltage} WHERE time > '2025-01-01' AND time < '2024-01-01'"), 0, 0),
        (format!("SELECT * {voltage} WHERE time < '2024-01-01T00:00:01Z'"), 10, 0),
        (format!("SELECT * {voltage} ORDER BY time DESC LIMIT 5"), 5, 0),
        (format!("SELECT * {voltage} ORDER BY time LIMIT 5"), 5, 0),
        ("SELECT * FROM points WHERE name = 'odd'".to_owned(), 9, 0),
        ("SELECT * FROM points WHERE collection LIKE 'pmu/s%'".to_owned(), 60, 0),
        ("SELECT uuid, count(*) FROM points WHERE unit = 'V' GROUP BY uuid".to_owned(), 0, 3),
        ("SELECT collection, avg(value) FROM points GROUP BY collection".to_owned(), 0, 6),
        ("SELECT * FROM windows('pmu/north/voltage', INTERVAL '1 minute') WHERE time >= '2024-01-01T00:04:00Z'".to_owned(), 0, 1),
    ];
    for (sql, points_max, windows_max) in cases {
        let (points, windows) = (fixture.counts.points(), fixture.counts.windows());
        fixture.query(&sql).await.expect("answers");
        let points = fixture.counts.points() - points;
        let windows = fixture.counts.windows() - windows;
        assert!(points <= points_max, "{sql} read {points} points");
        assert!(windows <= windows_max, "{sql} read {windows} windows");
    }
    let before = fixture.counts.calls(Operation::Points);
    fixture
        .gateway
        .prepare(&format!("SELECT * {voltage}"), &SessionOptions::default())
        .await
        .expect("prepares");
    assert_eq!(
        fixture.counts.calls(Operation::Points),
        before,
        "planning reads no points"
    );
}

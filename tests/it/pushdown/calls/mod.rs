//! How often the backend is asked, and how much it delivers: a case or more for every row of the table of what is pushed down.
//!
//! The answers are compared too, with those that DataFusion computes from raw points.

use std::sync::Arc;

use arrow::array::RecordBatch;
use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::{Counts, Observed, Operation};
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Write};
use btrdb_flight::query::{Gateway, SessionOptions};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use uuid::Uuid;

mod ranges;
mod statistics;
mod streams;

use super::compare::{Near, Row, Scale, difference, rows, sorted};
use super::{answer, gateway, plain, pushed};
use crate::sql::{NEW_YEAR, SECOND};
use crate::subject;

const TENTH: i64 = SECOND / 10;
const HOUR: i64 = 3_600 * SECOND;

/// Points of `big/walk`.
const WALK: i64 = 200_000;

/// The one point of `big/walk` that is higher than all others.
const RARE: i64 = 150_000;

/// What the answers here are compared by: wide enough for the sums and variances of values up to 1,000. The random queries are
/// compared as closely as is promised.
const SCALE: f64 = 1e6;

/// Parts that a statement may read side by side; each may make the call once.
const PARTITIONS: u64 = 2;

/// A store in which everything can be counted by hand.
///
/// | stream | points |
/// | --- | --- |
/// | `pmu/north/voltage`, V | ten a second for five minutes of 2024; value = number modulo 100 |
/// | `pmu/north/current`, A | one a second for the same time |
/// | `pmu/south/voltage`, V | one a second for one minute |
/// | `pmu/south/empty`, V | none |
/// | `lab/twin`, V and A | one and two |
/// | `lab/level`, m | one an hour for ten days |
/// | `big/walk`, Hz | ten a second, 200,000; waves that fade, and one point that towers above them |
struct Store {
    gateway: Gateway,
    counts: Arc<Counts>,
}

async fn create(
    backend: &dyn Backend,
    number: u128,
    (collection, name, unit): (&str, &str, &str),
    points: impl Iterator<Item = (i64, f64)>,
) {
    let id = StreamId(Uuid::from_u128(number));
    let stream = StreamDescriptor {
        id,
        collection: collection.to_owned(),
        tags: Tags {
            name: name.to_owned(),
            unit: unit.to_owned(),
            ..Tags::default()
        },
        annotations: [].into(),
        property_version: 0,
    };
    backend.create(stream).await.expect("the stream is new");
    let points: Vec<(i64, f64)> = points.collect();
    for part in points.chunks(50_000) {
        let (times, values): (Vec<i64>, Vec<f64>) = part.iter().copied().unzip();
        let write = Write {
            stream: id,
            times: times.into(),
            values: values.into(),
        };
        for version in backend.insert(vec![write], InsertOptions::default()).await {
            version.expect("the points are storable");
        }
    }
}

fn walk(i: i64) -> f64 {
    if i == RARE {
        return 1_000.0;
    }
    let wave = (i as f64 / 40_000.0 * std::f64::consts::TAU).sin();
    100.0 * (-(i as f64) / 100_000.0).exp() * wave + (i * 7_919 % 1_000) as f64 / 1e4
}

impl Store {
    async fn new() -> Self {
        let engine = Engine::memory();
        let store: &dyn Backend = engine.as_ref();
        let every = |step: i64, count: i64| (0..count).map(move |i| (NEW_YEAR + i * step, i));
        let north = every(TENTH, 3_000).map(|(time, i)| (time, (i % 100) as f64));
        create(store, 1, ("pmu/north", "voltage", "V"), north).await;
        let current = every(SECOND, 300).map(|(time, i)| (time, i as f64 / 10.0));
        create(store, 2, ("pmu/north", "current", "A"), current).await;
        let south = every(SECOND, 60).map(|(time, i)| (time, -i as f64));
        create(store, 3, ("pmu/south", "voltage", "V"), south).await;
        create(store, 4, ("pmu/south", "empty", "V"), [].into_iter()).await;
        let twin = |count: i64| every(1, count).map(|(time, i)| (time, i as f64));
        create(store, 5, ("lab", "twin", "V"), twin(1)).await;
        create(store, 6, ("lab", "twin", "A"), twin(2)).await;
        let level = every(HOUR, 240).map(|(time, i)| (time, i as f64));
        create(store, 7, ("lab", "level", "m"), level).await;
        let big = every(TENTH, WALK).map(|(time, i)| (time, walk(i)));
        create(store, 8, ("big", "walk", "Hz"), big).await;
        // What was just inserted need not be in the tree yet, whose extremes rule out subtrees.
        engine.fold().await.expect("folded");
        let observed = Observed::new(subject::behind(engine).await);
        let counts = observed.counts();
        Self {
            gateway: gateway(Arc::new(observed)),
            counts,
        }
    }

    /// Runs a case, and says what it should not have done.
    async fn run(&self, case: &Case) -> Vec<String> {
        let before = Seen::of(&self.counts);
        let answered = self.answer(case, &pushed()).await;
        let seen = Seen::of(&self.counts).since(&before);
        let mut wrong = Vec::new();
        let pushed = match answered {
            Ok(pushed) => pushed,
            Err(error) => return vec![error],
        };
        if seen.points > case.points {
            wrong.push(format!(
                "{} points delivered, {} at most",
                seen.points, case.points
            ));
        }
        if seen.windows > case.windows {
            wrong.push(format!(
                "{} windows delivered, {} at most",
                seen.windows, case.windows
            ));
        }
        for (operation, calls) in seen.calls {
            let most = case.most(operation);
            if calls > most {
                wrong.push(format!(
                    "{operation:?} called {calls} times, {most} at most"
                ));
            }
        }
        match self.answer(case, &plain()).await {
            Ok(plain) => wrong.extend(difference(&pushed, &plain, Scale::new(SCALE, 0.0))),
            Err(error) => wrong.push(format!("without push-down: {error}")),
        }
        if pushed.len() != case.rows {
            wrong.push(format!("{} rows, not {}", pushed.len(), case.rows));
        }
        wrong
    }

    async fn answer(&self, case: &Case, session: &SessionOptions) -> Result<Vec<Row>, String> {
        let batches = answer(&self.gateway, &case.sql, session, &case.values)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let columns = batches.first().map_or(0, RecordBatch::num_columns);
        Ok(sorted(rows(&batches, &vec![Near::Mean; columns])))
    }
}

/// What the backend was asked.
struct Seen {
    points: u64,
    windows: u64,
    calls: Vec<(Operation, u64)>,
}

impl Seen {
    fn of(counts: &Counts) -> Self {
        let calls = Operation::ALL.map(|operation| (operation, counts.calls(operation)));
        Self {
            points: counts.points(),
            windows: counts.windows(),
            calls: calls.to_vec(),
        }
    }

    fn since(self, before: &Self) -> Self {
        let calls = self.calls.into_iter().zip(&before.calls);
        Self {
            points: self.points - before.points,
            windows: self.windows - before.windows,
            calls: calls
                .map(|((operation, now), (_, then))| (operation, now - then))
                .collect(),
        }
    }
}

/// A statement, what it answers, and what it may ask for that at most.
struct Case {
    sql: String,
    values: Vec<ScalarValue>,
    rows: usize,
    points: u64,
    windows: u64,
    calls: Vec<(Operation, u64)>,
}

/// A statement that answers `rows` rows, and may read nothing until more is said.
fn case(rows: usize, sql: impl Into<String>) -> Case {
    Case {
        sql: sql.into(),
        values: Vec::new(),
        rows,
        points: 0,
        windows: 0,
        calls: Vec::new(),
    }
}

impl Case {
    fn bind(mut self, values: impl IntoIterator<Item = ScalarValue>) -> Self {
        self.values = values.into_iter().collect();
        self
    }

    fn may(mut self, operation: Operation, calls: u64) -> Self {
        self.calls.push((operation, calls));
        self
    }

    /// One read of so many points.
    fn points(self, points: u64) -> Self {
        self.parts_of_points(1, points)
    }

    /// Some reads of so many points together.
    fn parts_of_points(mut self, calls: u64, points: u64) -> Self {
        self.points = points;
        self.may(Operation::Points, calls)
    }

    /// One read of so many windows.
    fn windows(self, windows: u64) -> Self {
        self.parts_of_windows(1, windows)
    }

    /// Some reads of so many windows together.
    fn parts_of_windows(mut self, calls: u64, windows: u64) -> Self {
        self.windows = windows;
        self.may(Operation::Stats, calls)
    }

    fn nearest(self, calls: u64) -> Self {
        self.may(Operation::Nearest, calls)
    }

    /// How often `operation` may be called. A look-up of streams or versions costs no points, and a statement may need a few.
    fn most(&self, operation: Operation) -> u64 {
        let said = self.calls.iter().find(|(known, _)| *known == operation);
        match (said, operation) {
            (Some((_, most)), _) => *most,
            (None, Operation::Snapshot) => 1,
            // Where a store numbers no states, a stream that is asked about twice is read at a version of its own.
            (None, Operation::Flush) if subject::is_loop() => PARTITIONS,
            (None, Operation::Find | Operation::Describe | Operation::Versions) => 4,
            (None, _) => 0,
        }
    }
}

/// Runs all `cases` on one store, and names every one that asks for too much.
async fn run(cases: impl IntoIterator<Item = Case>) {
    let store = Store::new().await;
    let mut report = String::new();
    for case in cases {
        for wrong in store.run(&case).await {
            report.push_str(&format!("{}\n    {wrong}\n", case.sql));
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

const VOLTAGE: &str = "FROM \"pmu/north\".\"voltage\"";
const LEVEL: &str = "FROM \"lab\".\"level\"";
const WALKED: &str = "FROM \"big\".\"walk\"";

fn time(nanos: i64) -> ScalarValue {
    ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into()))
}

fn view(text: &str) -> ScalarValue {
    ScalarValue::Utf8View(Some(text.to_owned()))
}

/// Without this, a counter that stands still would pass every case.
#[tokio::test]
async fn without_pushdown_every_point_is_read() {
    let store = Store::new().await;
    for sql in [
        format!("SELECT count(*) {VOLTAGE}"),
        format!("SELECT * {VOLTAGE} WHERE time < '2024-01-01T00:00:01Z'"),
        format!("SELECT * {VOLTAGE} ORDER BY time LIMIT 5"),
    ] {
        let before = store.counts.points();
        answer(&store.gateway, &sql, &plain(), &[])
            .await
            .expect("answers");
        assert_eq!(store.counts.points() - before, 3_000, "{sql}");
    }
}

#[tokio::test]
async fn planning_reads_no_points() {
    let store = Store::new().await;
    for sql in [
        format!("SELECT * {VOLTAGE}"),
        format!("SELECT avg(value) {VOLTAGE}"),
        format!("EXPLAIN SELECT * {VOLTAGE} WHERE time > (SELECT max(time) {VOLTAGE})"),
        "EXPLAIN SELECT uuid, max(time), avg(value) FROM points GROUP BY uuid".to_owned(),
    ] {
        let before = Seen::of(&store.counts);
        let statement = store.gateway.prepare(&sql, &pushed()).await;
        let statement = statement.expect("prepares");
        if sql.starts_with("EXPLAIN") {
            let rows = statement.execute().await.expect("explains");
            let rows: Vec<_> = rows.try_collect().await.expect("explains");
            assert!(!rows.is_empty());
        }
        let reads = [
            Operation::Points,
            Operation::Stats,
            Operation::Nearest,
            Operation::MultiValues,
        ];
        for (operation, calls) in Seen::of(&store.counts).since(&before).calls {
            assert!(
                calls == 0 || !reads.contains(&operation),
                "{sql} calls {operation:?}"
            );
        }
    }
}

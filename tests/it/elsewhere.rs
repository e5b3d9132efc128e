//! SQL over a BTrDB elsewhere: which calls arrive there, and at which versions streams are read.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::{Counts, Operation};
use btrdb_flight::engine::Engine;
use btrdb_flight::query::{Gateway, GatewaySettings, SessionOptions, from_datafusion};
use futures::TryStreamExt;

use crate::sql::{NEW_YEAR, SECOND, create, insert};
use crate::subject;

/// Points of `grid/a`, one a second; `grid/b` has one.
const POINTS: i64 = 100_000;

struct Elsewhere {
    engine: Arc<Engine>,
    gateway: Gateway,
    /// What arrives at the other side.
    counts: Arc<Counts>,
}

impl Elsewhere {
    async fn new() -> Self {
        let engine = Engine::memory();
        create(engine.as_ref(), 1, "grid", "a", "V").await;
        create(engine.as_ref(), 2, "grid", "b", "V").await;
        let point = |i: i64| (NEW_YEAR + i * SECOND, (i % 1_000) as f64);
        insert(engine.as_ref(), 1, (0..POINTS).map(point).collect()).await;
        insert(engine.as_ref(), 2, vec![point(0)]).await;
        let (remote, counts) = subject::looped(Arc::clone(&engine)).await;
        let settings = GatewaySettings {
            target_partitions: 2,
            ..GatewaySettings::default()
        };
        Self {
            engine,
            gateway: Gateway::new(remote as Arc<dyn Backend>, settings).expect("a gateway"),
            counts,
        }
    }

    /// The rows of a statement, as text; and what arrived for it.
    async fn ask(&self, sql: &str, session: &SessionOptions) -> (String, Arrived) {
        let before = Arrived::now(&self.counts);
        let statement = self.gateway.prepare(sql, session).await.expect(sql);
        let rows = statement.execute().await.expect(sql);
        let rows: Vec<_> = rows
            .try_collect()
            .await
            .map_err(from_datafusion)
            .expect(sql);
        let text = arrow::util::pretty::pretty_format_batches(&rows).expect("printable");
        (text.to_string(), Arrived::now(&self.counts).since(before))
    }

    async fn count(&self, sql: &str, session: &SessionOptions) -> i64 {
        let statement = self.gateway.prepare(sql, session).await.expect(sql);
        let rows = statement.execute().await.expect(sql);
        let rows: Vec<_> = rows
            .try_collect()
            .await
            .map_err(from_datafusion)
            .expect(sql);
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    async fn add(&self, number: u128) {
        let later = NEW_YEAR + 1_000_000 * SECOND;
        insert(self.engine.as_ref(), number, vec![(later, 1.0)]).await;
    }
}

/// Reads that arrived, and the raw points they took.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Arrived {
    points: u64,
    stats: u64,
    multi: u64,
    nearest: u64,
    /// Calls that find a version to read at.
    pins: u64,
    delivered: u64,
}

impl Arrived {
    fn now(counts: &Counts) -> Self {
        Self {
            points: counts.calls(Operation::Points),
            stats: counts.calls(Operation::Stats),
            multi: counts.calls(Operation::MultiValues),
            nearest: counts.calls(Operation::Nearest),
            pins: counts.calls(Operation::Flush),
            delivered: counts.points(),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            points: self.points - before.points,
            stats: self.stats - before.stats,
            multi: self.multi - before.multi,
            nearest: self.nearest - before.nearest,
            pins: self.pins - before.pins,
            delivered: self.delivered - before.delivered,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_question_about_a_stream_is_one_call_and_no_pin() {
    let there = Elsewhere::new().await;
    let session = SessionOptions::default();
    let range = "WHERE time >= '2024-01-01T00:00:10.5Z' AND time < '2024-01-01T01:00:00.5Z'";
    let (_, seen) = there
        .ask(&format!("SELECT * FROM grid.a {range}"), &session)
        .await;
    assert_eq!(
        (seen.points, seen.pins, seen.delivered),
        (1, 0, 3_590),
        "{seen:?}"
    );
    let (_, seen) = there
        .ask(
            "SELECT * FROM multi_values('grid/a', 'grid/b') WHERE time < '2024-01-01T00:01:00Z'",
            &session,
        )
        .await;
    assert_eq!((seen.multi, seen.points, seen.pins), (1, 0, 0), "{seen:?}");
    let (_, seen) = there
        .ask(
            &format!("SELECT count(*), min(value), avg(value) FROM grid.a {range}"),
            &session,
        )
        .await;
    assert_eq!((seen.stats, seen.points, seen.pins), (1, 0, 0), "{seen:?}");
    // A ragged end, whole minutes, a ragged end.
    let (rows, seen) = there
        .ask(
            &format!("SELECT date_bin(INTERVAL '1 minute', time) AS minute, count(*) FROM grid.a {range} GROUP BY minute"),
            &session,
        )
        .await;
    assert_eq!(rows.matches("| 60 ").count(), 59, "{rows}");
    assert!(
        seen.stats <= 3 && seen.points == 0 && seen.pins == 0,
        "{seen:?}"
    );
    let (plan, _) = there
        .ask(&format!("EXPLAIN SELECT * FROM grid.a {range}"), &session)
        .await;
    assert!(plan.contains("snapshot=unpinned"), "{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_from_the_end_takes_about_what_it_hands_on() {
    let there = Elsewhere::new().await;
    let session = SessionOptions::default();
    let (rows, seen) = there
        .ask(
            "SELECT value FROM grid.a ORDER BY time DESC LIMIT 3",
            &session,
        )
        .await;
    assert!(rows.contains("999.0") && rows.contains("997.0"), "{rows}");
    assert!(seen.delivered <= 4_096 && seen.pins <= 1, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_asked_about_twice_is_read_at_one_version() {
    let there = Elsewhere::new().await;
    let session = SessionOptions::default();
    let joined = "SELECT count(*) FROM grid.a AS x JOIN grid.a AS y USING (time)";
    let (rows, seen) = there.ask(joined, &session).await;
    assert!(rows.contains("100000"), "{rows}");
    assert_eq!((seen.pins, seen.points), (1, 2), "{seen:?}");
    let (plan, _) = there.ask(&format!("EXPLAIN {joined}"), &session).await;
    assert_eq!(plan.matches("snapshot=pinned").count(), 2, "{plan}");
    let apart = "EXPLAIN SELECT count(*) FROM grid.a AS x JOIN grid.b AS y USING (time)";
    let (plan, _) = there.ask(apart, &session).await;
    assert_eq!(plan.matches("snapshot=unpinned").count(), 2, "{plan}");
    let (_, seen) = there
        .ask("SELECT min(time), max(time) FROM grid.a", &session)
        .await;
    assert_eq!(
        (seen.pins, seen.nearest, seen.points),
        (1, 2, 0),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_pins_reads_goes_on_reading_what_it_read() {
    let there = Elsewhere::new().await;
    let pinning = SessionOptions {
        pins_reads: true,
        ..SessionOptions::default()
    };
    let count = |name: &str| format!("SELECT count(*) FROM grid.{name}");
    assert_eq!(there.count(&count("a"), &pinning).await, POINTS);
    there.add(1).await;
    there.add(2).await;
    assert_eq!(
        there.count(&count("a"), &pinning).await,
        POINTS,
        "pinned when it was first read"
    );
    assert_eq!(
        there.count(&count("b"), &pinning).await,
        2,
        "read for the first time"
    );
    assert_eq!(
        there.count(&count("a"), &SessionOptions::default()).await,
        POINTS + 1
    );
    let (_, seen) = there.ask(&count("a"), &pinning).await;
    assert_eq!(seen.pins, 0, "once is enough: {seen:?}");
    let (plan, _) = there.ask("EXPLAIN SELECT * FROM grid.a", &pinning).await;
    assert!(plan.contains("snapshot=pinned"), "{plan}");
}

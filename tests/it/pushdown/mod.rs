//! Push-down is invisible, and it happens.
//!
//! Invisible: random queries answer the same with it and without, over random data. `BTRDB_PUSHDOWN_SEED` says at which seed
//! to start, and a failure prints its own; `BTRDB_PUSHDOWN_CASES` sets how many queries there are.
//!
//! It happens: a silent fall-back gives right answers too, so [`calls`] counts what the backend is asked, statement by
//! statement.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::Observed;
use btrdb_flight::error::Result;
use btrdb_flight::query::{Gateway, GatewaySettings, SessionOptions, from_datafusion};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;

mod calls;
mod compare;
mod data;
mod groups;
mod predicates;
mod queries;
mod relations;

use compare::{difference, rows, sorted};
use data::World;
use queries::{Draw, Query};

use crate::subject;

/// Queries of a run.
const CASES: u64 = 2_400;

/// Queries of one store.
const CASES_A_ROUND: u64 = 150;

/// Tests that the rounds are divided among, so that several cores can work on them.
const SHARES: u64 = 2;

/// How long a query over some ten thousand points may take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a round found.
#[derive(Debug, Default)]
struct Tally {
    asked: u64,
    /// Queries that answered with rows.
    answered: u64,
    /// Queries that answered without a raw point from the backend.
    spared: u64,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.spared += other.spared;
        self.failures.extend(other.failures);
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A gateway as the tests here want it: as parallel on every machine.
fn gateway(backend: Arc<dyn Backend>) -> Gateway {
    let settings = GatewaySettings {
        target_partitions: 2,
        ..GatewaySettings::default()
    };
    Gateway::new(backend, settings).expect("a gateway")
}

fn pushed() -> SessionOptions {
    SessionOptions::default()
}

fn plain() -> SessionOptions {
    SessionOptions {
        pushdown: false,
        ..SessionOptions::default()
    }
}

/// All rows of a statement.
async fn answer(
    gateway: &Gateway,
    sql: &str,
    session: &SessionOptions,
    values: &[ScalarValue],
) -> Result<Vec<RecordBatch>> {
    let statement = gateway.prepare(sql, session).await?.bind(values).await?;
    let rows = statement.execute().await?;
    rows.try_collect().await.map_err(from_datafusion)
}

/// Fills an empty `backend` with what `seed` says, and asks `queries` of it, each with push-down and without.
async fn check(backend: Arc<dyn Backend>, seed: u64, queries: u64) -> Tally {
    let world = World::fill(backend.as_ref(), seed).await;
    let observed = Observed::new(backend);
    let counts = observed.counts();
    let gateway = gateway(Arc::new(observed));
    let mut draw = Draw::new(&world, seed);
    let mut tally = Tally::default();
    for number in 0..queries {
        let query = draw.query();
        let sql = query.sql.as_str();
        let blame = Blame { seed, number, sql };
        let (on, off) = (pushed(), plain());
        let before = counts.points();
        let with = tokio::time::timeout(PATIENCE, answer(&gateway, sql, &on, &[])).await;
        let delivered = counts.points() - before;
        let without = tokio::time::timeout(PATIENCE, answer(&gateway, sql, &off, &[])).await;
        let (Ok(with), Ok(without)) = (with, without) else {
            tally.failures.push(format!("{blame}\ntakes too long"));
            continue;
        };
        tally.asked += 1;
        if let (Ok(_), Ok(without)) = (&with, &without) {
            let count: usize = without.iter().map(RecordBatch::num_rows).sum();
            tally.answered += u64::from(count > 0);
            tally.spared += u64::from(delivered == 0);
        }
        if let Some(difference) = verdict(&query, with, without) {
            tally.failures.push(format!("{blame}\n{difference}"));
        }
    }
    tally
}

/// What is wrong with the two answers, if anything is.
fn verdict(
    query: &Query,
    pushed: Result<Vec<RecordBatch>>,
    plain: Result<Vec<RecordBatch>>,
) -> Option<String> {
    match (pushed, plain) {
        (Ok(pushed), Ok(plain)) => {
            let (mut pushed, mut plain) =
                (rows(&pushed, &query.columns), rows(&plain, &query.columns));
            if !query.ordered {
                (pushed, plain) = (sorted(pushed), sorted(plain));
            }
            difference(&pushed, &plain, query.scale)
        }
        (Err(pushed), Err(plain)) if pushed.kind() == plain.kind() => None,
        (pushed, plain) => {
            let outcome = |answer: Result<Vec<RecordBatch>>| match answer {
                Ok(batches) => format!("{} batches", batches.len()),
                Err(error) => format!("{error:?}"),
            };
            Some(format!(
                "pushed: {}\nplain:  {}",
                outcome(pushed),
                outcome(plain)
            ))
        }
    }
}

/// Which query it was; said also when that query panics somewhere inside.
struct Blame<'a> {
    seed: u64,
    number: u64,
    sql: &'a str,
}

impl std::fmt::Display for Blame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, number, sql } = self;
        write!(f, "BTRDB_PUSHDOWN_SEED={seed}, query {number}: {sql}")
    }
}

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{self}");
        }
    }
}

/// Failures that are printed; one mistake makes many.
const FAILURES_SHOWN: usize = 10;

async fn run_share(share: u64) {
    let first = setting("BTRDB_PUSHDOWN_SEED", 0);
    let rounds = setting("BTRDB_PUSHDOWN_CASES", CASES).div_ceil(CASES_A_ROUND);
    let mut tally = Tally::default();
    for seed in (first..first + rounds).filter(|seed| seed % SHARES == share) {
        eprintln!("BTRDB_PUSHDOWN_SEED={seed}");
        tally.add(check(subject::memory().await, seed, CASES_A_ROUND).await);
    }
    let Tally {
        asked,
        answered,
        spared,
        failures,
    } = tally;
    eprintln!("{asked} asked, {answered} answered with rows, {spared} without raw points");
    let mut report = format!("{} of {asked} queries failed\n", failures.len());
    for failure in failures.iter().take(FAILURES_SHOWN) {
        let _ = writeln!(report, "{failure}\n");
    }
    assert!(failures.is_empty(), "{report}");
    assert!(
        answered * 10 >= asked * 6,
        "of {asked} queries only {answered} answered with rows: the comparison is about nothing"
    );
    assert!(
        spared * 3 >= asked,
        "of {asked} queries only {spared} were answered without raw points: push-down gives up too often"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_queries_answer_the_same_with_pushdown_on_and_off_0() {
    run_share(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_queries_answer_the_same_with_pushdown_on_and_off_1() {
    run_share(1).await;
}

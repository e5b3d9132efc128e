//! One store has one writer. Writers are paused, succeeded, and resumed: whatever any of them acknowledged is in the one
//! history that is left, and who has been succeeded finds out instead of acknowledging.
//!
//! The simulated part runs against a real store too, in real time, if `BTRDB_TEST_STORE` names one. A failing case prints
//! `BTRDB_FENCING_CASE`, which runs that case alone.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::{Engine, Settings};
use btrdb_flight::error::{ErrorKind, Result};
use btrdb_flight::model::{
    Cuts, Direction, NearestQuery, Snapshot, StreamId, StreamRead, TimeRange,
};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use tokio::time::Instant;
use uuid::Uuid;

use super::disk::Disk;
use super::faulty::{Fault, Writer};
use super::ledger::Ledger;
use super::reads::{rows, stats};
use super::scenario::{
    Actor, Outcome, Step, annotate, create, delete, insert, points, set_unit, settle, steps,
};
use super::workload::{Op, numbered};
use super::{case, eager, patiently, remote, seeds, simulate};

/// Against a real store, every how manieth call is slept in.
const STRIDE_REMOTE: usize = 12;

#[test]
fn who_slept_before_an_effect_acknowledges_nothing_that_others_do_not_have() {
    every_call("before", |call, seed, disk| {
        sleep_in_call(call, Fault::Pause, seed, disk)
    });
}

#[test]
fn who_slept_after_an_effect_acknowledges_nothing_that_others_do_not_have() {
    every_call("after", |call, seed, disk| {
        sleep_in_call(call, Fault::PauseAfter, seed, disk)
    });
}

#[test]
fn who_slept_while_opening_is_the_writer_or_none() {
    every_call("opening", |call, seed, disk| {
        sleep_while_opening(call, Fault::Pause, seed, disk)
    });
    every_call("opening-after", |call, seed, disk| {
        sleep_while_opening(call, Fault::PauseAfter, seed, disk)
    });
}

#[test]
fn a_store_without_conditional_creates_is_refused() {
    simulate(async {
        let disk = Disk::memory();
        disk.be_lax();
        let store = Arc::new(disk.writer(0));
        let error = Engine::open_on(store, eager()).await;
        assert_eq!(error.expect_err("lax").kind(), ErrorKind::Unsupported);
    });
}

#[test]
fn a_living_writer_is_left_alone_and_a_dead_one_is_succeeded_after_its_lease() {
    simulate(async {
        let lease = Duration::from_secs(15);
        let settings = Settings { lease, ..eager() };
        let disk = Disk::memory();
        let ledger = Ledger::default();
        let writer = disk.writer(0);
        let open = |writer: &Writer| Engine::open_on(Arc::new(writer.clone()), settings.clone());
        let first = open(&writer).await.expect("opened");
        ledger.acknowledged(0, &first, &create(1)).await;
        for seed in 1..4 {
            // It has nothing to say, and says so.
            let refused = open(&disk.writer(seed)).await;
            assert_eq!(refused.expect_err("it lives").kind(), ErrorKind::Conflict);
        }
        let op = insert(vec![(1, points(0, 3, 1))]);
        ledger.acknowledged(0, &first, &op).await;

        writer.kill();
        drop(first);
        settle().await;
        let since = Instant::now();
        let second = open(&disk.writer(4)).await.expect("the first is dead");
        assert!(since.elapsed() >= lease, "after {:?}", since.elapsed());
        ledger.verify(&second, || true).await;

        second.close().await.expect("closed");
        let since = Instant::now();
        let third = open(&disk.writer(5)).await.expect("the second has closed");
        assert!(since.elapsed() < lease, "after {:?}", since.elapsed());
        ledger.verify(&third, || true).await;
    });
}

#[tokio::test]
async fn a_directory_has_one_writer_at_a_time() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let location = folder.path().to_str().expect("a path in UTF-8");
    let ledger = Ledger::default();
    let first = Engine::open(location, eager()).await.expect("opened");
    ledger.acknowledged(0, &first, &create(1)).await;
    let refused = Engine::open(location, eager()).await;
    assert_eq!(refused.expect_err("taken").kind(), ErrorKind::Conflict);
    let op = insert(vec![(1, points(0, 50, 1))]);
    ledger.acknowledged(0, &first, &op).await;

    first.close().await.expect("closed");
    drop(first);
    let second = Engine::open(location, eager())
        .await
        .expect("closed before");
    let op = insert(vec![(1, points(50, 3, 1))]);
    ledger.acknowledged(0, &second, &op).await;

    // Dropped is dead: the lock goes with it, and the next one takes over.
    drop(second);
    let third = Engine::open(location, eager())
        .await
        .expect("dropped before");
    ledger.verify(&third, || true).await;
    let op = insert(vec![(1, points(20, 3, 2))]);
    ledger.acknowledged(0, &third, &op).await;
    ledger.verify(&third, || true).await;
}

pub(super) fn only_case() -> Option<String> {
    std::env::var("BTRDB_FENCING_CASE").ok()
}

/// Runs `future` in simulated time, or in real time if the store is real.
pub(super) fn live<T>(future: impl Future<Output = T>) -> T {
    if remote().is_none() {
        return simulate(future);
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// An empty disk, in memory or in a folder of its own of the real store.
pub(super) fn disk() -> Arc<Disk> {
    let Some(location) = remote() else {
        return Disk::memory();
    };
    // Whoever came first has chosen the same.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let bucket = location.strip_prefix("s3://").expect("s3://bucket/prefix");
    let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
    let folder = Path::from(prefix).join(format!("fencing-{}", Uuid::new_v4()));
    let store = PrefixStore::new(store.expect("AWS_* variables that fit"), folder);
    Disk::over(Arc::new(store))
}

/// Runs a case for every call that it has: it answers whether it has that one.
fn every_call<F: Future<Output = bool>>(name: &str, run: impl Fn(u64, u64, Arc<Disk>) -> F) {
    let only = only_case();
    let (seed_count, stride) = match remote() {
        Some(_) => (1, STRIDE_REMOTE),
        None => (2, 1),
    };
    for seed in seeds(seed_count, 5 * seed_count) {
        let mut has_call = true;
        for call in (0..).step_by(stride) {
            let value = format!("{name}:{call}:{seed}");
            if only.as_ref().is_none_or(|only| *only == value) {
                case("BTRDB_FENCING_CASE", &value, || {
                    has_call = live(run(call, seed, disk()));
                });
            }
            if !has_call || call > CALLS_MAX {
                break;
            }
        }
    }
}

/// More calls than any case has.
const CALLS_MAX: u64 = 1000;

/// A writer goes through the scenario and is paused in one call. Another takes over, writes, and cleans the log. The first wakes
/// up. Answers whether the scenario has such a call.
async fn sleep_in_call(call: u64, fault: Fault, seed: u64, disk: Arc<Disk>) -> bool {
    let ledger = Ledger::default();
    let writer = disk.writer(seed);
    writer.plan(call, fault);
    let mut sleeper = Actor::new(writer.clone(), 0, &ledger);
    let mut rival = Actor::new(disk.writer(seed + 1), 1, &ledger);
    let mut slept_in = None;
    for step in steps() {
        let mut taking = pin!(sleeper.take(&step));
        // Neither is lost if the other comes first: the step goes on, and a pause lasts.
        tokio::select! {
            biased;
            () = writer.paused() => {
                sleep_on(&disk, seed).await;
                take_over(&mut rival).await;
                sleep_on(&disk, seed).await;
                writer.resume();
                let outcome = taking.await;
                assert!(matches!(outcome, Outcome::Ended(_)), "{step:?} does not end");
                slept_in = Some(step.clone());
                break;
            }
            outcome = &mut taking => {
                let is_good = matches!(&outcome, Outcome::Ended(errors) if errors.is_empty());
                assert!(is_good, "{step:?} fails, though nobody sleeps");
            }
        }
    }
    let Some(step) = slept_in else {
        return false;
    };
    match step {
        // It was not a writer yet, and takes over from the rival, or not: either is good.
        Step::Open => {
            for actor in [&mut sleeper, &mut rival] {
                if actor.engine.is_some() {
                    actor
                        .take(&Step::Calls(vec![actor.insert_into_all(300, 60)]))
                        .await;
                }
            }
        }
        Step::Close => assert_refuses_all(&mut sleeper, &ledger, false).await,
        _ => assert_refuses_all(&mut sleeper, &ledger, true).await,
    }
    if !matches!(step, Step::Open) {
        let op = rival.insert_into_all(300, 61);
        rival.must(Step::Calls(vec![op])).await;
        rival.must(Step::Read).await;
    }
    writer.kill();
    rival.writer.kill();
    drop((sleeper, rival));
    settle().await;
    finish(&disk, seed + 2, &ledger).await;
    true
}

/// A writer opens the store and is paused in one call, while the one before it lives, writes, and cleans the log. One of them is
/// the writer then. Answers whether opening has such a call.
async fn sleep_while_opening(call: u64, fault: Fault, seed: u64, disk: Arc<Disk>) -> bool {
    let ledger = Ledger::default();
    let mut first = Actor::new(disk.writer(seed), 0, &ledger);
    first.must(Step::Open).await;
    let streams = Step::Calls((1..=3).map(create).collect());
    first.must(streams).await;
    press_on(&mut first).await;

    let writer = disk.writer(seed + 1);
    writer.plan(call, fault);
    let mut sleeper = Actor::new(writer.clone(), 1, &ledger);
    {
        let mut opening = pin!(sleeper.take(&Step::Open));
        // Neither is lost if the other comes first: the opening goes on, and a pause lasts.
        tokio::select! {
            biased;
            () = writer.paused() => {
                // It may have lost the store by now, and then fails.
                for step in pressing_on(&first) {
                    first.take(&step).await;
                }
                writer.resume();
                let outcome = opening.await;
                assert!(matches!(outcome, Outcome::Ended(_)), "opening does not end");
            }
            _ = &mut opening => return false,
        }
    }
    let (alone, other) = match sleeper.engine {
        Some(_) => (&mut sleeper, &mut first),
        None => (&mut first, &mut sleeper),
    };
    let op = alone.insert_into_all(300, 60);
    alone.must(Step::Calls(vec![op])).await;
    if let Some(engine) = &other.engine {
        let op = other.insert_into_all(300, 61);
        let answers = patiently(ledger.run(2, engine, &op)).await;
        for answer in answers.expect("an answer") {
            let kind = answer.expect_err("two writers").kind();
            assert_eq!(kind, ErrorKind::Conflict);
        }
    }
    for actor in [&first, &sleeper] {
        actor.writer.kill();
    }
    drop((first, sleeper));
    settle().await;
    finish(&disk, seed + 2, &ledger).await;
    true
}

/// Opens the store when all writers are gone: there is one history, and it goes on.
pub(super) async fn finish(disk: &Arc<Disk>, seed: u64, ledger: &Ledger) {
    let mut last = Actor::new(disk.writer(seed), u64::MAX, ledger);
    last.must(Step::Open).await;
    disk.land().await;
    last.verify().await;
    last.go_on().await;
}

/// With every other seed, so long that whatever waits gives up waiting, and what it gave up arrives.
async fn sleep_on(disk: &Disk, seed: u64) {
    if remote().is_none() && seed % 2 == 1 {
        tokio::time::sleep(Duration::from_secs(40)).await;
        if seed % 4 == 1 {
            disk.land().await;
        }
    }
}

/// Opens, writes to all streams there are, and cleans the log behind it.
async fn take_over(rival: &mut Actor<'_>) {
    rival.must(Step::Open).await;
    rival.must(Step::Calls(vec![create(8)])).await;
    press_on(rival).await;
}

/// Writes to all streams there are, and cleans the log behind it.
async fn press_on(rival: &mut Actor<'_>) {
    for step in pressing_on(rival) {
        rival.must(step).await;
    }
}

/// What it takes to clean the log of everything that is there now.
fn pressing_on(rival: &Actor<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for round in 0..4 {
        for salt in 0..3 {
            let tick = 200 + 5 * i64::from(round);
            let op = rival.insert_into_all(tick, 40 + 3 * round + salt);
            steps.push(Step::Calls(vec![op]));
        }
        steps.push(Step::Checkpoint);
    }
    steps.extend([Step::Fold, Step::Read]);
    steps
}

/// A writer that has been succeeded: nothing it is asked to do is acknowledged, and it no longer says what is latest.
async fn assert_refuses_all(sleeper: &mut Actor<'_>, ledger: &Ledger, is_open: bool) {
    let engine = Arc::clone(sleeper.engine.as_ref().expect("opened"));
    let calls = [
        create(7),
        insert(vec![(1, points(400, 2, 70))]),
        insert(vec![(1, points(402, 50, 71)), (2, points(402, 1, 72))]),
        delete(1, 0, 500),
        set_unit(2, "refused"),
        annotate(3, "refused"),
        Op::Obliterate(numbered(3).id),
    ];
    for (number, op) in calls.iter().enumerate() {
        let answers = patiently(ledger.run(0, &engine, op)).await;
        for answer in answers.expect("an answer") {
            let error = match answer {
                Ok(number) => panic!("{op:?} is acknowledged, with {number}"),
                Err(error) => error,
            };
            // The first may be one whose fate it cannot find out, and streams it never created it does not know.
            let is_good = match error.kind() {
                ErrorKind::Conflict | ErrorKind::NotFound => true,
                ErrorKind::Unavailable => number == 0 || !is_open,
                _ => !is_open,
            };
            assert!(is_good, "{op:?}: {error:?}");
        }
    }
    if is_open {
        for (what, answer) in reads_of_latest(&engine, numbered(1).id).await {
            let error = answer.expect_err(what);
            let is_good = matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound);
            assert!(is_good, "{what}: {error:?}");
        }
    }
    // Whatever these answer, they must do no harm.
    for step in [Step::Checkpoint, Step::Fold] {
        sleeper.take(&step).await;
    }
}

async fn reads_of_latest(engine: &Engine, id: StreamId) -> Vec<(&'static str, Result<()>)> {
    let read = StreamRead::latest(id);
    let nearest = NearestQuery::new(vec![read], 0, Direction::Forward);
    let points = rows(engine, read, Snapshot::Latest).await;
    let whole = stats(engine, read, Cuts::whole(TimeRange::ALL)).await;
    let versions = engine.versions(&[id], Snapshot::Latest).await;
    vec![
        ("points", points.map(drop)),
        ("stats", whole.map(drop)),
        ("nearest", engine.nearest(nearest).await.map(drop)),
        ("versions", versions.map(drop)),
        ("a snapshot", engine.snapshot().await.map(drop)),
    ]
}

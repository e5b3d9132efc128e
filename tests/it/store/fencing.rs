//! One store has one writer. Writers are paused, succeeded, and resumed: whatever any of them acknowledged is in the one
//! history that is left, and who has been succeeded finds out instead of acknowledging.
//!
//! The simulated part runs against a real store too, in real time, if `BTRDB_TEST_STORE` names one. A failing case prints
//! `BTRDB_FENCING_CASE`, which runs that case alone.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::error::{Error, ErrorKind, Result};
use btrdb_flight::model::{
    Cuts, Direction, NearestQuery, Snapshot, StreamId, StreamRead, TimeRange,
};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::faulty::{Disk, Fault, Writer};
use super::ledger::Ledger;
use super::reads::{rows, stats};
use super::scenario::{
    Actor, Outcome, Step, annotate, create, delete, insert, points, set_unit, settle, steps,
};
use super::workload::{Op, numbered};
use super::{case, eager, patiently, remote, seeds, simulate};

/// Against a real store, every how manieth call is slept in.
const STRIDE_REMOTE: u64 = 12;

#[test]
fn who_slept_before_an_effect_acknowledges_nothing_that_others_do_not_have() {
    sleep_in_every_call("before", Fault::Pause);
}

#[test]
fn who_slept_after_an_effect_acknowledges_nothing_that_others_do_not_have() {
    sleep_in_every_call("after", Fault::PauseAfter);
}

#[test]
fn any_number_of_writers_leave_one_history() {
    interleave_all("any", 0.0);
}

#[test]
fn any_number_of_writers_leave_one_history_on_a_store_that_fails() {
    interleave_all("failing", 0.05);
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
    let second = Engine::open(location, eager()).await.expect("closed before");
    let op = insert(vec![(1, points(50, 3, 1))]);
    ledger.acknowledged(0, &second, &op).await;

    // Dropped is dead: the lock goes with it, and the next one takes over.
    drop(second);
    let third = Engine::open(location, eager()).await.expect("dropped before");
    ledger.verify(&third, || true).await;
    let op = insert(vec![(1, points(20, 3, 2))]);
    ledger.acknowledged(0, &third, &op).await;
    ledger.verify(&third, || true).await;
}

fn only_case() -> Option<String> {
    std::env::var("BTRDB_FENCING_CASE").ok()
}

/// Runs `future` in simulated time, or in real time if the store is real.
fn live<T>(future: impl Future<Output = T>) -> T {
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
fn disk() -> Arc<Disk> {
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

fn interleave_all(name: &str, flakiness: f64) {
    let only = only_case();
    let (few, full) = match remote() {
        Some(_) => (5, 50),
        None => (400, 10_000),
    };
    for seed in seeds(few, full) {
        let value = format!("{name}:{seed}");
        if only.as_ref().is_none_or(|only| *only == value) {
            case("BTRDB_FENCING_CASE", &value, || {
                live(async { interleave(seed, flakiness, disk()).await });
            });
        }
    }
}

fn sleep_in_every_call(name: &str, fault: Fault) {
    let only = only_case();
    let few = if remote().is_some() { 1 } else { 2 };
    for seed in seeds(few, 5 * few) {
        for call in 0.. {
            let stride = match remote() {
                Some(_) => STRIDE_REMOTE,
                None => 1,
            };
            let value = format!("{name}:{call}:{seed}");
            let is_chosen = match &only {
                Some(only) => *only == value,
                None => call % stride == seed % stride,
            };
            let mut has_slept = true;
            if is_chosen {
                case("BTRDB_FENCING_CASE", &value, || {
                    has_slept = live(sleep_in_call(call, fault, seed, disk()));
                });
            }
            if !has_slept || call > 2000 {
                break;
            }
        }
    }
}

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
                    actor.take(&Step::Calls(vec![actor.insert_into_all(300, 60)])).await;
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

    let mut last = Actor::new(disk.writer(seed + 2), 2, &ledger);
    last.must(Step::Open).await;
    disk.land().await;
    last.verify().await;
    last.go_on().await;
    true
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
    for round in 0..4 {
        for salt in 0..3 {
            let op = rival.insert_into_all(200 + 5 * i64::from(round), 40 + 3 * round + salt);
            rival.must(Step::Calls(vec![op])).await;
        }
        rival.must(Step::Checkpoint).await;
    }
    rival.must(Step::Fold).await;
    rival.must(Step::Read).await;
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
    let nearest = NearestQuery {
        streams: vec![read],
        time: 0,
        direction: Direction::Forward,
        snapshot: Snapshot::Latest,
    };
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

/// One of several writers, asleep or not.
struct Rival {
    writer: Writer,
    engine: Arc<Engine>,
}

/// Steps of an interleaving.
const MOVES: usize = 60;

/// Writers that may be alive at once.
const RIVALS_MAX: usize = 4;

/// Writers come, sleep, wake up and write, in any order.
async fn interleave(seed: u64, flakiness: f64, disk: Arc<Disk>) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let ledger = Arc::new(Ledger::default());
    let mut rivals = Vec::new();
    let mut tasks = JoinSet::new();
    let mut lanes = 1..;
    rivals.extend(succeed(&disk, rng, 0.0).await);
    for number in 1..=3 {
        let op = create(number);
        ledger.acknowledged(0, &rivals[0].engine, &op).await;
    }
    for turn in 0..MOVES {
        match rng.random_range(0..20) {
            0..2 if rivals.len() < RIVALS_MAX => {
                rivals.extend(succeed(&disk, rng, flakiness).await);
            }
            0..5 => rivals.choose(rng).expect("not empty").writer.pause(),
            5..9 => rivals.choose(rng).expect("not empty").writer.resume(),
            9..12 => tend(&mut tasks, rivals.choose(rng).expect("not empty"), rng),
            _ => {
                let engine = Arc::clone(&rivals.choose(rng).expect("not empty").engine);
                let op = random_op(rng, turn as u32);
                let (ledger, lane) = (Arc::clone(&ledger), lanes.next().expect("endless"));
                tasks.spawn(async move { drop(ledger.run(lane, &engine, &op).await) });
            }
        }
        for _ in 0..rng.random_range(0..40) {
            tokio::task::yield_now().await;
        }
    }
    for rival in &rivals {
        rival.writer.resume();
        rival.writer.be_flaky(0.0);
    }
    let ends = patiently(async { while tasks.join_next().await.transpose().expect("no panic").is_some() {} });
    ends.await.expect("every call is answered");

    // The last one to come is the writer, and nobody else is.
    let last = rivals.len() - 1;
    for (number, rival) in rivals.iter().enumerate() {
        let op = insert(vec![(1, points(900, 2, 900 + number as u32))]);
        let lane = lanes.next().expect("endless");
        let answer = patiently(ledger.run(lane, &rival.engine, &op)).await;
        let answer = answer.expect("an answer").remove(0);
        if flakiness == 0.0 {
            assert_eq!(answer.is_ok(), number == last, "{number} of {last}: {answer:?}");
        }
    }
    for rival in rivals {
        rival.writer.kill();
    }
    settle().await;
    let mut end = Actor::new(disk.writer(seed + 1), 0, &ledger);
    end.must(Step::Open).await;
    disk.land().await;
    end.verify().await;
    end.go_on().await;
}

/// Takes over from whoever writes, if the store does not fail just then.
async fn succeed(disk: &Arc<Disk>, rng: &mut StdRng, flakiness: f64) -> Option<Rival> {
    let writer = disk.writer(rng.random());
    writer.be_flaky(flakiness);
    let engine = patiently(Engine::open_on(Arc::new(writer.clone()), eager())).await;
    match engine {
        Some(Ok(engine)) => Some(Rival { writer, engine }),
        failed if flakiness == 0.0 => panic!("{failed:?}"),
        _ => None,
    }
}

/// Folds, or writes a checkpoint; who has been succeeded may fail at either.
fn tend(tasks: &mut JoinSet<()>, rival: &Rival, rng: &mut StdRng) {
    let engine = Arc::clone(&rival.engine);
    let is_fold = rng.random_bool(0.3);
    tasks.spawn(async move {
        let result = match is_fold {
            true => engine.fold().await,
            false => engine.checkpoint().await.map(drop),
        };
        let is_trouble =
            |error: &Error| matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal);
        if let Err(error) = result {
            assert!(!is_trouble(&error), "{error:?}");
        }
    });
}

/// Something that no other call can be taken for: `turn` is in its values.
fn random_op(rng: &mut StdRng, turn: u32) -> Op {
    let number = rng.random_range(1..=3);
    let tick = rng.random_range(0..500);
    match rng.random_range(0..10) {
        0 => delete(number, tick, tick + rng.random_range(1..30)),
        1 => insert(vec![(number, points(tick, 40, turn))]),
        2..5 => insert((1..=3).map(|number| (number, points(tick, 2, turn))).collect()),
        _ => insert(vec![(number, points(tick, 1, turn))]),
    }
}

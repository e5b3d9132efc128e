//! Writers come, sleep, wake up and write in any order, on a store that works or fails now and then: there is one history.
//!
//! Runs against a real store as [`fencing`](super::fencing) does, and a failing case is repeated the same way.

use std::sync::Arc;

use btrdb_flight::engine::Engine;
use btrdb_flight::error::{Error, ErrorKind};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use super::disk::Disk;
use super::faulty::Writer;
use super::fencing::{disk, finish, live, only_case};
use super::ledger::Ledger;
use super::scenario::{create, delete, insert, points, settle};
use super::workload::Op;
use super::{case, eager, patiently, remote, seeds};

#[test]
fn any_number_of_writers_leave_one_history() {
    interleave_all("any", 0.0);
}

#[test]
fn any_number_of_writers_leave_one_history_on_a_store_that_fails() {
    interleave_all("failing", 0.05);
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
    let ends = patiently(async {
        while tasks
            .join_next()
            .await
            .transpose()
            .expect("no panic")
            .is_some()
        {}
    });
    ends.await.expect("every call is answered");

    // The last one to come is the writer, and nobody else is.
    let last = rivals.len() - 1;
    for (number, rival) in rivals.iter().enumerate() {
        let op = insert(vec![(1, points(900, 2, 900 + number as u32))]);
        let lane = lanes.next().expect("endless");
        let answer = patiently(ledger.run(lane, &rival.engine, &op)).await;
        let answer = answer.expect("an answer").remove(0);
        if flakiness == 0.0 {
            assert_eq!(
                answer.is_ok(),
                number == last,
                "{number} of {last}: {answer:?}"
            );
        }
    }
    for rival in rivals {
        rival.writer.kill();
    }
    settle().await;
    finish(&disk, seed + 1, &ledger).await;
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
        2..5 => insert(
            (1..=3)
                .map(|number| (number, points(tick, 2, turn)))
                .collect(),
        ),
        _ => insert(vec![(number, points(tick, 1, turn))]),
    }
}

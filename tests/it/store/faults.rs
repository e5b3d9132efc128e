//! Every store call of a scenario goes wrong, in every way a call can; afterwards the store is opened by somebody else, and
//! tells the story that the first writer was told.
//!
//! A failing case prints `BTRDB_FAULT_CASE=<fault>:<call>:<seed>`, which runs that case alone.

use std::sync::Arc;
use std::time::Duration;

use btrdb_flight::error::{Error, ErrorKind};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::disk::Disk;
use super::faulty::{Call, Fault, Writer};
use super::ledger::Ledger;
use super::scenario::{Actor, Outcome, Step, settle, steps};
use super::{case, seeds, simulate};

/// What goes wrong, and what becomes of the rest.
#[derive(Clone, Copy)]
struct Trouble {
    fault: Fault,
    /// Calls it makes sense for.
    calls: &'static [Call],
    /// Whether one more try gets through, so that a client need not notice.
    is_passing: bool,
    aftermath: Aftermath,
}

/// What happens between the end of one writer and the next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aftermath {
    /// What was under way never arrives.
    Forgotten,
    /// It arrives before the next writer opens the store.
    Lands,
    /// It arrives when the next writer has opened the store.
    LandsLater,
    /// The power fails.
    PowerLoss,
}

use Aftermath::{Forgotten, Lands, LandsLater, PowerLoss};

const CHANGES: &[Call] = &[Call::Put, Call::Delete];
const ALL: &[Call] = &[Call::Put, Call::Delete, Call::Get, Call::List];

/// Makes a test of each fault.
macro_rules! faults {
    ($($name:ident: $fault:expr, $calls:expr, passing $is_passing:expr, $aftermath:expr;)*) => {$(
        #[test]
        fn $name() {
            run_all(stringify!($name), Trouble {
                fault: $fault,
                calls: $calls,
                is_passing: $is_passing,
                aftermath: $aftermath,
            });
        }
    )*};
}

faults! {
    nothing_happens_but_the_end: Fault::Fail, &[], passing true, PowerLoss;
    it_fails: Fault::Fail, ALL, passing true, Forgotten;
    it_fails_after_its_effect: Fault::FailAfter, ALL, passing true, Forgotten;
    it_lands_two_calls_later: Fault::Late(2), CHANGES, passing true, Forgotten;
    it_lands_after_the_next_open: Fault::Late(u64::MAX), CHANGES, passing true, LandsLater;
    its_own_success_looks_like_anothers: Fault::OwnSuccess, &[Call::Put], passing true, Forgotten;
    a_race_stores_nothing: Fault::Race, &[Call::Put], passing true, Forgotten;
    it_hangs: Fault::Hang, ALL, passing false, Forgotten;
    it_hangs_and_lands: Fault::Hang, CHANGES, passing false, Lands;
    it_hangs_and_lands_after_the_next_open: Fault::Hang, CHANGES, passing false, LandsLater;
    all_fail_for_a_while: Fault::Outage, ALL, passing false, Forgotten;
    all_fail_after_their_effect_for_a_while: Fault::OutageAfter, CHANGES, passing false, Forgotten;
    the_writer_dies: Fault::Die, ALL, passing false, Forgotten;
    the_writer_dies_and_it_lands: Fault::Die, CHANGES, passing false, Lands;
    the_writer_dies_and_it_lands_after_the_next_open: Fault::Die, CHANGES, passing false, LandsLater;
    the_power_fails: Fault::Die, CHANGES, passing false, PowerLoss;
    the_power_fails_after_an_effect_without_answer: Fault::FailAfter, CHANGES, passing true, PowerLoss;
}

/// Many calls go wrong, and then the writer dies, and the power fails or not.
#[test]
fn any_call_may_go_wrong() {
    for seed in seeds(300, 10_000) {
        case("BTRDB_TEST_SEED", &seed.to_string(), || {
            simulate(run_flaky(seed));
        });
    }
}

async fn run_flaky(seed: u64) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let (disk, ledger) = (Disk::memory(), Ledger::default());
    let writer = disk.writer(seed);
    writer.be_flaky(*[0.02, 0.1, 0.3].choose(rng).expect("not empty"));
    writer.plan(rng.random_range(0..200), Fault::Die);
    let mut actor = Actor::new(writer.clone(), 0, &ledger);
    for step in steps() {
        if take(&mut actor, &step, false).await.is_none() {
            break;
        }
    }
    drop(actor);
    let aftermath = *[Forgotten, Lands, LandsLater, PowerLoss]
        .choose(rng)
        .expect("not empty");
    succeed(&disk, &writer, &ledger, aftermath, seed).await;
}

fn run_all(name: &str, trouble: Trouble) {
    if let Ok(only) = std::env::var("BTRDB_FAULT_CASE") {
        let mut parts = only.split(':');
        if parts.next() == Some(name) {
            let mut number = || parts.next().and_then(|part| part.parse().ok());
            let (Some(call), Some(seed)) = (number(), number()) else {
                panic!("BTRDB_FAULT_CASE={only} is not fault:call:seed");
            };
            simulate(run(Some((call, trouble)), seed));
        }
        return;
    }
    let seeds = match trouble.aftermath {
        PowerLoss => seeds(4, 40),
        _ => seeds(2, 20),
    };
    for seed in seeds {
        let calls = simulate(run(None, seed));
        for (call, kind) in calls.into_iter().enumerate() {
            if trouble.calls.contains(&kind) {
                let number = call as u64;
                case("BTRDB_FAULT_CASE", &format!("{name}:{call}:{seed}"), || {
                    simulate(run(Some((number, trouble)), seed));
                });
            }
        }
    }
}

/// Runs the scenario with one call going wrong, then opens the store and compares. Answers the calls of the scenario.
async fn run(trouble: Option<(u64, Trouble)>, seed: u64) -> Vec<Call> {
    let disk = Disk::memory();
    let ledger = Ledger::default();
    let writer = disk.writer(seed);
    if let Some((call, trouble)) = trouble {
        writer.plan(call, trouble.fault);
    }
    let mut is_healthy = trouble.is_none_or(|(_, trouble)| trouble.is_passing);
    let is_outage = trouble
        .is_some_and(|(_, trouble)| matches!(trouble.fault, Fault::Outage | Fault::OutageAfter));
    let mut steps_left = steps_after(trouble.map_or(0, |(call, _)| call) + seed);
    let mut actor = Actor::new(writer.clone(), 0, &ledger);
    for step in steps() {
        match take(&mut actor, &step, is_healthy).await {
            None => break,
            // Over once it has been noticed.
            Some(false) => is_healthy |= is_outage,
            Some(true) => {}
        }
        if trouble.is_some() && writer.is_past_plan() {
            match steps_left.checked_sub(1) {
                Some(left) => steps_left = left,
                None => break,
            }
        }
    }
    let calls = writer.calls();
    drop(actor);
    let aftermath = trouble.map_or(PowerLoss, |(_, trouble)| trouble.aftermath);
    succeed(&disk, &writer, &ledger, aftermath, seed).await;
    calls
}

/// How many steps are taken after the trouble: a checkpoint hides what is wrong with the log before it, so some runs end at once.
fn steps_after(number: u64) -> usize {
    [0, 1, 3, usize::MAX][(number % 4) as usize]
}

/// The writer is gone; another opens the store, finds what was promised, and goes on.
async fn succeed(
    disk: &Arc<Disk>,
    writer: &Writer,
    ledger: &Ledger,
    aftermath: Aftermath,
    seed: u64,
) {
    writer.kill();
    // The engine's tasks end when they are next scheduled; what they were waiting for is then under way.
    settle().await;
    match aftermath {
        Forgotten => disk.forget(),
        Lands => disk.land().await,
        LandsLater => {}
        PowerLoss => disk.lose_power(&mut StdRng::seed_from_u64(seed)).await,
    }
    let mut next = Actor::new(disk.writer(seed + 1), 1, ledger);
    next.must(Step::Open).await;
    if aftermath == LandsLater {
        disk.land().await;
    }
    next.verify().await;
    next.go_on().await;
}

/// Takes a step, which must succeed if the store is healthy; answers whether it did, none if there is no writer any more.
async fn take(actor: &mut Actor<'_>, step: &Step, is_healthy: bool) -> Option<bool> {
    let Outcome::Ended(errors) = actor.take(step).await else {
        assert!(!is_healthy, "{step:?} does not end");
        return None;
    };
    if matches!(step, Step::Calls(_)) && is_healthy {
        assert!(errors.is_empty(), "{step:?}: {errors:?}");
    }
    let may_be_unknown = |error: &Error| {
        // A stream that nobody knows to exist may not.
        error.kind() == ErrorKind::Unavailable || !is_healthy && error.kind() == ErrorKind::NotFound
    };
    assert!(errors.iter().all(may_be_unknown), "{step:?}: {errors:?}");
    if errors.is_empty() {
        return Some(true);
    }
    // The store works again, and the engine has time to notice.
    actor.writer.recover();
    tokio::time::sleep(Duration::from_secs(5)).await;
    if matches!(step, Step::Open) {
        let again = actor.take(step).await;
        let is_open = matches!(again, Outcome::Ended(errors) if errors.is_empty());
        return is_open.then_some(false);
    }
    Some(false)
}

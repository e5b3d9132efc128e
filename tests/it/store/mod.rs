//! What the durable engine promises, held against crashes, faults, rivals and time.
//!
//! ```text
//! faults         every call of a scenario goes wrong in every way; power fails    simulated, in memory
//! fencing        a writer sleeps in any call, is succeeded, and wakes up          simulated, or on a real store
//! interleaving   any number of writers do so in any order: one history            simulated, or on a real store
//! versions       what was read is read again after every fold, checkpoint, open   simulated, in memory
//! damage         one stream is damaged, and the others go on                  a directory
//! crash          a process is killed under load, again and again                  a real process, a real store
//!
//! disk, faulty   the object store that fails        ledger, story     what was sent and answered, and whether a store agrees
//! scenario       one of everything, step by step    workload, reads   random calls; reads, and what they must agree with
//! ```
//!
//! Simulated time runs only while nothing else can, so that back-off and patience cost none.
//!
//! | variable | |
//! | --- | --- |
//! | `BTRDB_TEST_FULL` | 1: many more seeds, and a hundred kills |
//! | `BTRDB_TEST_SEED` | this seed alone; a failure prints what repeats it |
//! | `BTRDB_TEST_STORE` | `s3://bucket/prefix` for the suites that can use a real store; the usual `AWS_*` variables say how |

mod crash;
mod damage;
pub(crate) mod disk;
mod faults;
mod faulty;
mod fencing;
mod interleaving;
mod ledger;
mod reads;
mod scenario;
mod story;
mod versions;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use btrdb_flight::engine::Settings;

/// Limits so small that a few calls reach each of them.
pub(crate) fn eager() -> Settings {
    Settings {
        node_cache_bytes: 32 << 10,
        chunk_cache_bytes: 32 << 10,
        checkpoint_log_bytes: 64 << 10,
        checkpoint_log_objects: 12,
        checkpoint_mutations: 40,
        fold_points: 16,
        direct_points: 32,
        checkpoints_kept: 2,
        lease: Duration::ZERO,
        ..Settings::default()
    }
}

/// How long anything may take, in simulated time: longer than the engine's own patience with a store.
const PATIENCE: Duration = Duration::from_secs(300);

/// What `future` answers, none if it takes too long.
async fn patiently<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, future).await.ok()
}

/// Runs `future` on one thread, in simulated time.
fn simulate<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Runs one case; prints how to repeat it if it fails.
fn case(name: &str, value: &str, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        eprintln!("{name}={value} repeats this");
        resume_unwind(panic);
    }
}

/// Whether every case is to be run.
fn is_full() -> bool {
    std::env::var("BTRDB_TEST_FULL").is_ok_and(|value| value == "1")
}

/// The seeds of a run: so many, or another number when every case is to be run.
fn seeds(few: u64, full: u64) -> std::ops::Range<u64> {
    let first = std::env::var("BTRDB_TEST_SEED").ok();
    match first.map(|seed| seed.parse().expect("BTRDB_TEST_SEED is a number")) {
        Some(seed) => seed..seed + 1,
        None if is_full() => 0..full,
        None => 0..few,
    }
}

/// Where suites that can use a real store are to use one.
fn remote() -> Option<String> {
    std::env::var("BTRDB_TEST_STORE").ok()
}

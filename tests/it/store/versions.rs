//! What was read once is read again: after every fold, checkpoint, close and crash, each version and each commit has the rows
//! it had, and each window the statistics.
//!
//! A failing case prints its seed.

use std::sync::Arc;

use btrdb_flight::engine::Engine;
use btrdb_flight::model::time::{MAX_TIME, MIN_TIME};
use btrdb_flight::model::{Cuts, Stat, StreamId, StreamRead, Version};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::disk::Disk;
use super::faulty::Writer;
use super::ledger::Ledger;
use super::reads::{assert_part, stats};
use super::scenario::settle;
use super::workload::{Load, Op, numbered};
use super::{case, eager, seeds, simulate};

/// Mutations of a case.
const OPS: usize = 150;

#[test]
fn versions_and_commits_never_change() {
    for seed in seeds(20, 400) {
        case("BTRDB_TEST_SEED", &seed.to_string(), || {
            simulate(run(seed));
        });
    }
}

/// Statistics that were answered once.
struct Remembered {
    id: StreamId,
    version: Version,
    cuts: Cuts,
    windows: Vec<(i64, Stat)>,
    /// The greatest magnitude of any value.
    scale: f64,
}

async fn run(seed: u64) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let disk = Disk::memory();
    let ledger = Ledger::default();
    let mut writer = disk.writer(seed);
    let mut engine = open(&writer).await;
    let mut own = Vec::new();
    for number in 1..=3 {
        let stream = numbered(number);
        own.push(stream.id);
        let op = Op::Create(stream);
        ledger.acknowledged(0, &engine, &op).await;
    }
    let batch_max = *[5, 40, 400, 2500].choose(rng).expect("not empty");
    // Late points lie close together, or scattered over an hour before everything else.
    let start = *[0, 100_000].choose(rng).expect("not empty");
    let mut load = Load::new(seed, &own, &[], batch_max, start, 100);
    let mut remembered: Vec<Remembered> = Vec::new();
    for _ in 0..OPS {
        let op = load.next();
        for answer in ledger.run(0, &engine, &op).await {
            let answer = answer.unwrap_or_else(|error| panic!("{op:?}: {error:?}"));
            if let Op::Insert { writes, .. } = &op {
                let id = writes.choose(rng).expect("not empty").0;
                remembered.extend(remember(&engine, id, Version(answer), rng).await);
            }
        }
        ledger.observe(&engine).await.expect("observed");
        if rng.random_bool(0.2) {
            (writer, engine) = tend(&disk, writer, engine, rng).await;
            ledger.verify(&engine, || true).await;
            let living = ledger.streams();
            remembered.retain(|remembered| living.contains(&remembered.id));
            for remembered in &remembered {
                remembered.assert_again(&engine).await;
            }
            read_parts(&engine, &ledger, rng).await;
        }
    }
}

async fn open(writer: &Writer) -> Arc<Engine> {
    let engine = Engine::open_on(Arc::new(writer.clone()), eager()).await;
    engine.expect("opened")
}

/// Some of what happens to a store in its life.
async fn tend(
    disk: &Arc<Disk>,
    writer: Writer,
    engine: Arc<Engine>,
    rng: &mut StdRng,
) -> (Writer, Arc<Engine>) {
    let kind = rng.random_range(0..6);
    if kind < 4 && rng.random_bool(0.6) {
        engine.fold().await.expect("folded");
    }
    if kind < 4 {
        engine.checkpoint().await.expect("a checkpoint");
    }
    match kind {
        3 | 4 => engine.close().await.expect("closed"),
        // Without a word.
        5 => writer.kill(),
        _ => return (writer, engine),
    }
    drop(engine);
    settle().await;
    if rng.random_bool(0.5) {
        disk.lose_power(rng).await;
    }
    let writer = disk.writer(rng.random());
    let engine = open(&writer).await;
    (writer, engine)
}

/// Asks for the windows of a version of a stream. `version` may be another stream's, and need not be there.
async fn remember(
    engine: &Engine,
    id: StreamId,
    version: Version,
    rng: &mut StdRng,
) -> Option<Remembered> {
    let cuts = match rng.random_range(0..4) {
        0 => Cuts::At([MIN_TIME, MAX_TIME].into()),
        1 => Cuts::Every {
            origin: 0,
            width: 1 << rng.random_range(24..36),
        },
        2 => Cuts::Every {
            origin: rng.random_range(-1000..1000),
            width: rng.random_range(20_000_000..9_000_000_000),
        },
        _ => {
            let mut cuts: Vec<i64> = (0..8)
                .map(|_| 1_500_000_000_000_000_000 + rng.random_range(-10..30_000_000_000))
                .collect();
            cuts.sort_unstable();
            cuts.dedup();
            Cuts::At(cuts.into())
        }
    };
    let read = StreamRead {
        id,
        version: Some(version),
    };
    let windows = stats(engine, read, cuts.clone()).await.ok()?;
    let extremes = windows
        .iter()
        .map(|(_, stat)| stat.max.abs().max(stat.min.abs()));
    Some(Remembered {
        id,
        version,
        cuts,
        scale: extremes.fold(0.0, f64::max),
        windows,
    })
}

impl Remembered {
    async fn assert_again(&self, engine: &Engine) {
        let read = StreamRead {
            id: self.id,
            version: Some(self.version),
        };
        let found = stats(engine, read, self.cuts.clone()).await;
        let what = format!("{} version {}, {}", self.id, self.version, self.cuts);
        let found = found.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let exact = |windows: &[(i64, Stat)]| -> Vec<(i64, u64, u64, u64)> {
            let exact = |(time, stat): &(i64, Stat)| {
                (*time, stat.count, stat.min.to_bits(), stat.max.to_bits())
            };
            windows.iter().map(exact).collect()
        };
        assert_eq!(exact(&found), exact(&self.windows), "{what}");
        for ((time, now), (_, then)) in found.iter().zip(&self.windows) {
            let tolerance = 1e-12 * self.scale;
            assert!(
                (now.mean - then.mean).abs() <= tolerance
                    && (now.stddev() - then.stddev()).abs() <= tolerance,
                "{what}, window {time}: {now:?} was {then:?}"
            );
        }
    }
}

/// Parts of some versions, in both directions, are what a list would give.
async fn read_parts(engine: &Engine, ledger: &Ledger, rng: &mut StdRng) {
    let streams = ledger.streams();
    for _ in 0..20 {
        let &id = streams.choose(rng).expect("not empty");
        let version = Version(rng.random_range(Version::CREATED.0..=ledger.latest(id).0));
        let rows = ledger.rows(id, version);
        assert_part(engine, id, version, &rows, rng).await;
    }
}

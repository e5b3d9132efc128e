//! What the benches of the engine share: points as a synchrophasor makes them, a scratch store, and rows of a table.

#![allow(dead_code, reason = "each bench uses its part")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::{Engine, Settings};
use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Write};

/// Points a second of each stream.
pub(crate) const HERTZ: i64 = 120;

/// A store in a folder of its own, removed at the end. `BTRDB_BENCH_DIR` says where; the disk there is what is measured.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let parent =
            std::env::var_os("BTRDB_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = parent.join(format!("btrdb-bench-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self { path }
    }

    pub(crate) async fn open(&self) -> Arc<Engine> {
        let location = self.path.to_str().expect("a path in UTF-8");
        Engine::open(location, Settings::default())
            .await
            .expect("the store opens")
    }

    /// What the store takes on the disk, and in how many objects.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let mut folders = vec![self.path.clone()];
        let (mut bytes, mut files) = (0, 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(data) if data.is_dir() => folders.push(entry.path()),
                    Ok(data) => {
                        bytes += data.len();
                        files += 1;
                    }
                    Err(_) => {}
                }
            }
        }
        (bytes, files)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A number from the environment, for runs larger or smaller than the usual one.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The time of a point: a clock of 120 Hz in whole nanoseconds, with the thirds rounded off.
pub(crate) fn time(i: i64) -> i64 {
    i * 1_000_000_000 / HERTZ
}

/// A voltage as a synchrophasor sends it: single precision, a slow swing, and noise of about one volt.
pub(crate) fn voltage(i: i64) -> f64 {
    let mut bits = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut noise = 0.0;
    for _ in 0..4 {
        bits ^= bits >> 29;
        bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        noise += (bits >> 40) as f64 / f64::from(1 << 24) - 0.5;
    }
    f64::from((7_000.0 + 5.0 * (i as f64 * 1e-5).sin() + 1.7 * noise) as f32)
}

pub(crate) fn write(stream: StreamId, first: i64, points: i64) -> Write {
    Write {
        stream,
        times: (first..first + points).map(time).collect::<Vec<_>>().into(),
        values: (first..first + points)
            .map(voltage)
            .collect::<Vec<_>>()
            .into(),
    }
}

pub(crate) fn id(number: u64) -> StreamId {
    StreamId(uuid::Uuid::from_u128(u128::from(number) + 1))
}

pub(crate) async fn create(engine: &Engine, streams: std::ops::Range<u64>) {
    let made = streams.map(|number| {
        engine.create(StreamDescriptor {
            id: id(number),
            collection: "bench".into(),
            tags: Tags {
                name: number.to_string(),
                unit: "V".into(),
                ..Tags::default()
            },
            annotations: Default::default(),
            property_version: 1,
        })
    });
    futures::future::try_join_all(made).await.expect("created");
}

pub(crate) async fn insert(engine: &Engine, writes: Vec<Write>) {
    for answer in engine.insert(writes, InsertOptions::default()).await {
        answer.expect("inserted");
    }
}

/// Points of one stream, a million at a time, two writes under way.
pub(crate) async fn fill(engine: &Arc<Engine>, number: u64, points: i64) {
    use futures::StreamExt;
    const BATCH: i64 = 1_000_000;
    let starts = (0..points).step_by(BATCH as usize);
    futures::stream::iter(starts.map(|first| write(id(number), first, BATCH.min(points - first))))
        .for_each(|write| insert(engine, vec![write]))
        .await;
}

/// Bytes that this process has handed to the system for writing.
pub(crate) fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    field(&text, "wchar:")
}

/// The most memory this process has had, in bytes.
pub(crate) fn memory_peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    1024 * field(&text, "VmHWM:")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Runs `work` several times and answers the median.
pub(crate) fn median(runs: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[runs / 2]
}

/// A row: what, how fast, and the share of the floor.
pub(crate) fn rate(what: &str, points: i64, took: Duration, floor: Option<f64>) -> f64 {
    let rate = points as f64 / took.as_secs_f64() / 1e6;
    match floor {
        Some(floor) => println!(
            "{what:<62} {rate:>10.2} M points/s {:>8.3} of the floor",
            rate / floor
        ),
        None => println!("{what:<62} {rate:>10.2} M points/s"),
    }
    rate
}

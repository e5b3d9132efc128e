//! How long a store takes to open: 100 million points in 10,000 streams, after a clean end and after a crash. Floor: reading the
//! newest checkpoint and the log behind it from the same disk.
//!
//! `BTRDB_BENCH_POINTS` is how many points (100 million), in 10,000 streams.

mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{PointQuery, StreamRead, TimeRange, Write};
use futures::TryStreamExt;
use load::{Scratch, create, id, insert, runtime, setting, time, voltage, write};

const STREAMS: u64 = 10_000;

fn main() {
    let points = setting("BTRDB_BENCH_POINTS", 100_000_000) as i64;
    let scratch = Scratch::new("recovery");
    let each = points / STREAMS as i64;
    runtime().block_on(async {
        let engine = scratch.open().await;
        create(&engine, 0..STREAMS).await;
        let started = Instant::now();
        for first in (0..STREAMS).step_by(100) {
            let writes = (first..first + 100)
                .map(|number| write(id(number), 0, each))
                .collect();
            insert(&engine, writes).await;
        }
        println!(
            "{points} points in {STREAMS} streams, filled in {:?}",
            started.elapsed()
        );
        engine.close().await.expect("closed");
    });
    report("after a clean end", &scratch, each);
    runtime().block_on(async {
        let engine = scratch.open().await;
        for round in 0..100 {
            insert(&engine, one_each(each + round)).await;
        }
        // Dropped without a word, with a million points of small writes in the log.
    });
    report(
        "after a crash, with 1 M small writes since",
        &scratch,
        each + 100,
    );
    let (bytes, objects) = scratch.usage();
    println!("store: {bytes} bytes, {objects} objects");
}

fn one_each(round: i64) -> Vec<Write> {
    let streams = 0..STREAMS;
    let write = |number: u64| Write {
        stream: id(number),
        times: vec![time(round)].into(),
        values: vec![voltage(round + number as i64)].into(),
    };
    streams.map(write).collect()
}

fn report(what: &str, scratch: &Scratch, each: i64) {
    let runtime = runtime();
    let started = Instant::now();
    let engine = runtime.block_on(scratch.open());
    let took = started.elapsed();
    let first = Instant::now();
    runtime.block_on(read_one(&engine, each));
    println!(
        "{what:<50} open {:>8.1} ms, first read {:>6.2} ms, floor {:>8.1} ms",
        took.as_secs_f64() * 1e3,
        first.elapsed().as_secs_f64() * 1e3,
        floor(scratch).as_secs_f64() * 1e3
    );
}

async fn read_one(engine: &Arc<Engine>, expected: i64) {
    let query = PointQuery::new(vec![StreamRead::latest(id(7))], TimeRange::ALL);
    let points = engine
        .points(query)
        .try_fold(0, |sum, batch| async move { Ok(sum + batch.len()) });
    assert_eq!(points.await.expect("read") as i64, expected);
}

/// Reads what opening has to read, and nothing else.
fn floor(scratch: &Scratch) -> Duration {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(scratch.path.join(folder)).into_iter();
        let mut paths: Vec<_> = entries
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        paths
    };
    let started = Instant::now();
    let newest = names("checkpoint").pop();
    let after = newest
        .as_ref()
        .and_then(|path| path.file_name())
        .map(ToOwned::to_owned);
    for path in newest.into_iter().chain(names("log")) {
        let in_log = path.parent().is_some_and(|folder| folder.ends_with("log"));
        if !in_log || path.file_name().map(ToOwned::to_owned) > after {
            std::fs::read(path).expect("read");
        }
    }
    started.elapsed()
}

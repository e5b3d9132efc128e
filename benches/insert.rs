//! How fast points go into the store, durably, and what they cost on the disk. Floors: copying the same points in memory, and
//! forcing the same bytes to the same disk in plain appends.
//!
//! `BTRDB_BENCH_POINTS` is how many points each case writes (20 million), `BTRDB_BENCH_ROUNDS` how many rounds of 10,000 streams
//! with one point each (1,000), `BTRDB_BENCH_DIR` where.

mod load;

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{PointQuery, StreamRead, TimeRange, Write};
use futures::TryStreamExt;
use load::{Scratch, create, id, insert, rate, runtime, setting, time, voltage, write, written};

/// Streams of the workload of many small writes.
const STREAMS: u64 = 10_000;

fn main() {
    let runtime = runtime();
    let points = setting("BTRDB_BENCH_POINTS", 20_000_000) as i64;
    let rounds = setting("BTRDB_BENCH_ROUNDS", 1_000) as i64;

    let sample = write(id(0), 0, 1_000_000);
    let took = load::median(5, || {
        black_box((sample.times.to_vec(), sample.values.to_vec()));
    });
    rate("floor: copy in memory", 1_000_000, took, None);
    let disk = disk_floor(&sample, points);

    for batch in [1_000_000, 50_000] {
        for at_once in [1, 4] {
            runtime.block_on(bulk("memory", None, points, batch, at_once, disk));
            let scratch = Scratch::new("insert");
            runtime.block_on(bulk("disk", Some(&scratch), points, batch, at_once, disk));
        }
    }
    runtime.block_on(many_streams(rounds, disk));
    runtime.block_on(mixed(Duration::from_secs(setting(
        "BTRDB_BENCH_SECONDS",
        10,
    ))));
}

/// The same bytes, 16 MB at a time, each forced to the disk.
fn disk_floor(sample: &Write, points: i64) -> f64 {
    let scratch = Scratch::new("floor");
    std::fs::create_dir_all(&scratch.path).expect("a folder");
    let mut file = std::fs::File::create(scratch.path.join("raw")).expect("a file");
    let mut bytes: Vec<u8> = Vec::new();
    bytes.extend(sample.times.iter().flat_map(|time| time.to_le_bytes()));
    bytes.extend(sample.values.iter().flat_map(|value| value.to_le_bytes()));
    let started = Instant::now();
    for _ in 0..points / 1_000_000 {
        file.write_all(&bytes).expect("written");
        file.sync_data().expect("forced to the disk");
    }
    rate(
        "floor: append 16 bytes a point, fsync every million",
        points,
        started.elapsed(),
        None,
    )
}

async fn bulk(
    kind: &str,
    scratch: Option<&Scratch>,
    points: i64,
    batch: i64,
    at_once: u64,
    floor: f64,
) {
    let engine = match scratch {
        Some(scratch) => scratch.open().await,
        None => Engine::memory(),
    };
    create(&engine, 0..at_once).await;
    let share = points / at_once as i64;
    // Made beforehand, so that only inserting is measured; a sixteenth at a time, so that memory is not the limit.
    let mut took = Duration::ZERO;
    let part = (share / 16).max(batch).div_euclid(batch) * batch;
    let mut done = 0;
    while done < share {
        let until = share.min(done + part);
        let writes: Vec<Vec<Write>> = (0..at_once)
            .map(|number| {
                let starts = (done..until).step_by(batch as usize);
                starts
                    .map(|first| write(id(number), first, batch))
                    .collect()
            })
            .collect();
        let started = Instant::now();
        let streams = writes.into_iter().map(|writes| {
            let engine = Arc::clone(&engine);
            async move {
                for write in writes {
                    insert(&engine, vec![write]).await;
                }
            }
        });
        // Tasks, so that both cores work.
        let mut tasks = tokio::task::JoinSet::new();
        for stream in streams {
            tasks.spawn(stream);
        }
        tasks.join_all().await;
        took += started.elapsed();
        done = until;
    }
    let what = format!("{kind}: batches of {batch}, {at_once} streams at once");
    rate(&what, points, took, Some(floor));
    if let Some(scratch) = scratch {
        engine.close().await.expect("closed");
        let (bytes, objects) = scratch.usage();
        println!(
            "{:<62} {:>10.2} bytes kept a point, {objects} objects",
            "",
            bytes as f64 / points as f64
        );
    }
}

/// One point of each of many streams in a call, as a long batch brings them.
async fn many_streams(rounds: i64, floor: f64) {
    let scratch = Scratch::new("rounds");
    let engine = scratch.open().await;
    create(&engine, 0..STREAMS).await;
    let before = written();
    let started = Instant::now();
    for round in 0..rounds {
        let writes = (0..STREAMS).map(|number| Write {
            stream: id(number),
            times: vec![time(round)].into(),
            values: vec![voltage(round + 1000 * number as i64)].into(),
        });
        insert(&engine, writes.collect()).await;
    }
    let took = started.elapsed();
    let points = rounds * STREAMS as i64;
    let what = format!("disk: {STREAMS} streams x 1 point a call");
    rate(&what, points, took, Some(floor));
    engine.fold().await.expect("folded");
    engine.checkpoint().await.expect("a checkpoint");
    engine.close().await.expect("closed");
    let wrote = written() - before;
    let (bytes, objects) = scratch.usage();
    println!(
        "{:<62} {:>10.2} bytes written a point, {:.2} kept, {objects} objects",
        "",
        wrote as f64 / points as f64,
        bytes as f64 / points as f64
    );
    println!("{}", engine.usage().await.expect("counted"));
}

/// A thousand synchrophasors of twelve streams at 120 Hz would bring 1.4 million points a second; five times as many are read.
async fn mixed(length: Duration) {
    const PER_SECOND: i64 = 1_440_000;
    const STREAMS: u64 = 120;
    let scratch = Scratch::new("mixed");
    let engine = scratch.open().await;
    create(&engine, 0..STREAMS).await;
    let started = Instant::now();
    let writer = {
        let engine = Arc::clone(&engine);
        async move {
            // A tenth of a second's points at each tick, in one call.
            let each = PER_SECOND / 10 / STREAMS as i64;
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            let mut slowest = Duration::ZERO;
            let mut inserted = 0;
            while started.elapsed() < length {
                tick.tick().await;
                let first = inserted / STREAMS as i64;
                let writes = (0..STREAMS)
                    .map(|number| write(id(number), first, each))
                    .collect();
                let call = Instant::now();
                insert(&engine, writes).await;
                slowest = slowest.max(call.elapsed());
                inserted += each * STREAMS as i64;
            }
            (inserted, slowest, started.elapsed())
        }
    };
    let reader = {
        let engine = Arc::clone(&engine);
        async move {
            let mut read = 0_i64;
            let mut number = 0;
            while started.elapsed() < length {
                let query = PointQuery::new(
                    vec![StreamRead::latest(id(number % STREAMS))],
                    TimeRange::ALL,
                );
                let sum = engine
                    .points(query)
                    .try_fold(0, |sum, batch| async move { Ok(sum + batch.len()) });
                read += sum.await.expect("read") as i64;
                number += 1;
            }
            (read, started.elapsed())
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    let reads = tasks.spawn(async move {
        let (read, took) = reader.await;
        rate(
            "mixed: points read beside 1.44 M inserts a second",
            read,
            took,
            None,
        );
    });
    let (inserted, slowest, took) = writer.await;
    while tasks.join_next().await.is_some() {}
    drop(reads);
    rate("mixed: points inserted, aim 1.44", inserted, took, None);
    println!(
        "{:<62} {:>10.1} ms",
        "mixed: slowest durable insert call",
        slowest.as_secs_f64() * 1e3
    );
}

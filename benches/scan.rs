//! How fast raw points come out: from memory, from the disk after a fresh opening, many streams side by side; and how much
//! memory reading takes. Floor: summing a column of plain memory.
//!
//! `BTRDB_BENCH_POINTS` is how many points the long scan reads (100 million; 1,000 million shows that memory stays where it is).

mod load;

use std::hint::black_box;
use std::time::Instant;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{Direction, MultiQuery, PointQuery, StreamRead, TimeRange};
use futures::TryStreamExt;
use load::{Scratch, create, fill, id, insert, median, memory_peak, rate, runtime, setting, write};

/// Points that the cache keeps: a scan larger than half of it does not enter.
const HOT: i64 = 5_000_000;

fn main() {
    let runtime = runtime();
    let points = setting("BTRDB_BENCH_POINTS", 100_000_000) as i64;
    let column: Vec<f64> = (0..HOT).map(|i| i as f64).collect();
    let took = median(20, || {
        black_box(column.iter().sum::<f64>());
    });
    drop(column);
    let floor = rate("floor: sum a column in memory", HOT, took, None);

    let scratch = Scratch::new("scan");
    let engine = runtime.block_on(async {
        let engine = scratch.open().await;
        create(&engine, 0..102).await;
        fill(&engine, 0, HOT).await;
        fill(&engine, 1, points).await;
        for number in 2..102 {
            insert(&engine, vec![write(id(number), 0, 10_000)]).await;
        }
        engine.close().await.expect("closed");
        drop(engine);
        scratch.open().await
    });
    println!(
        "memory, at most, after filling: {} MiB",
        memory_peak() >> 20
    );

    let started = Instant::now();
    runtime.block_on(read(&engine, 1, points, Direction::Forward));
    rate(
        "a long scan, from the disk, ascending",
        points,
        started.elapsed(),
        Some(floor),
    );
    println!(
        "memory, at most, after the long scan: {} MiB",
        memory_peak() >> 20
    );

    let started = Instant::now();
    runtime.block_on(read(&engine, 0, HOT, Direction::Forward));
    rate(
        "5 M points, the first time",
        HOT,
        started.elapsed(),
        Some(floor),
    );
    for direction in [Direction::Forward, Direction::Backward] {
        let took = median(10, || runtime.block_on(read(&engine, 0, HOT, direction)));
        rate(
            &format!("5 M points, hot, {direction:?}"),
            HOT,
            took,
            Some(floor),
        );
    }
    let took = median(5, || runtime.block_on(side_by_side(&engine)));
    rate(
        "100 streams x 10,000 points side by side",
        1_000_000,
        took,
        Some(floor),
    );
}

async fn read(engine: &Engine, number: u64, expected: i64, direction: Direction) {
    let query = PointQuery {
        direction,
        ..PointQuery::new(vec![StreamRead::latest(id(number))], TimeRange::ALL)
    };
    let points = engine
        .points(query)
        .try_fold(0, |sum, batch| async move { Ok(sum + batch.len()) })
        .await
        .expect("read");
    assert_eq!(points as i64, expected);
}

async fn side_by_side(engine: &Engine) {
    let query = MultiQuery::new(
        (2..102)
            .map(|number| StreamRead::latest(id(number)))
            .collect(),
        TimeRange::ALL,
        0,
    );
    let rows = engine
        .multi_values(query)
        .try_fold(0, |sum, batch| async move { Ok(sum + batch.times.len()) })
        .await
        .expect("read");
    assert_eq!(rows, 10_000);
}

//! What statistics cost: 1,000 windows over 1 million to 100 million points (1,000 million with `BTRDB_BENCH_POINTS`), and
//! whole ranges, hot and after a fresh opening. Floor: reading as many finished statistics from an array.

mod load;

use std::hint::black_box;
use std::time::Instant;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{Cuts, Stat, StatQuery, StreamRead, TimeRange};
use futures::TryStreamExt;
use load::{Scratch, create, fill, id, median, runtime, setting, time};

const WINDOWS: i64 = 1_000;

fn main() {
    let runtime = runtime();
    let most = setting("BTRDB_BENCH_POINTS", 100_000_000) as i64;
    let stats: Vec<Stat> = (0..WINDOWS).map(|i| Stat::of(&[i as f64])).collect();
    let floor = median(100, || {
        black_box(stats.to_vec());
    });
    println!(
        "{:<62} {:>10.1} us",
        "floor: copy 1,000 statistics",
        floor.as_secs_f64() * 1e6
    );
    let sizes = [1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
    for points in sizes.into_iter().filter(|&points| points <= most) {
        let scratch = Scratch::new("windows");
        runtime.block_on(async {
            let engine = scratch.open().await;
            create(&engine, 0..1).await;
            let started = Instant::now();
            fill(&engine, 0, points).await;
            let rate = points as f64 / started.elapsed().as_secs_f64() / 1e6;
            println!("{points} points, filled at {rate:.1} M points/s, generator included");
            engine.close().await.expect("closed");
        });
        let engine = runtime.block_on(scratch.open());
        let end = time(points);
        for (name, windows) in [
            ("1,000 windows, ragged", WINDOWS),
            ("whole range, ragged ends", 1),
        ] {
            let width = (end / windows + 1) as u64;
            let ragged = StatQuery::new(
                vec![StreamRead::latest(id(0))],
                TimeRange::new(3, end - 3),
                Cuts::Every { origin: 3, width },
            );
            let started = Instant::now();
            runtime.block_on(read(&engine, ragged.clone(), windows));
            let cold = started.elapsed();
            let hot = median(50, || {
                runtime.block_on(read(&engine, ragged.clone(), windows))
            });
            print(name, hot, cold);
        }
        let all = StatQuery::new(
            vec![StreamRead::latest(id(0))],
            TimeRange::ALL,
            Cuts::whole(TimeRange::ALL),
        );
        let hot = median(50, || runtime.block_on(read(&engine, all.clone(), 1)));
        print("everything", hot, hot);
    }
}

fn print(name: &str, hot: std::time::Duration, cold: std::time::Duration) {
    let (hot, cold) = (hot.as_secs_f64() * 1e6, cold.as_secs_f64() * 1e6);
    println!("  {name:<60} {hot:>10.1} us hot {cold:>12.1} us cold");
}

async fn read(engine: &Engine, query: StatQuery, expected: i64) {
    let found = engine
        .stats(query)
        .try_fold(0, |sum, batch| async move { Ok(sum + batch.times.len()) })
        .await
        .expect("read");
    assert_eq!(found as i64, expected);
}

//! How fast points come out of the engine, raw and as windows. Floors: a pass over the same columns in plain Arrow memory.

use std::hint::black_box;
use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{
    Cuts, Direction, InsertOptions, MultiQuery, PointQuery, Snapshot, StatQuery, StreamDescriptor,
    StreamId, StreamRead, Tags, TimeRange, Write,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::TryStreamExt;

const POINTS: i64 = 10_000_000;

/// 120 Hz.
const STEP: i64 = 8_333_333;

fn id(number: u128) -> StreamId {
    StreamId(uuid::Uuid::from_u128(number + 1))
}

async fn fill(engine: &Arc<dyn Backend>, stream: StreamId, points: i64) {
    let tags = Tags {
        name: stream.to_string(),
        ..Tags::default()
    };
    let collection = "bench".into();
    let descriptor = StreamDescriptor {
        id: stream,
        collection,
        tags,
        annotations: Default::default(),
        property_version: 1,
    };
    engine.create(descriptor).await.expect("created");
    for first in (0..points).step_by(50_000) {
        let rows = first..(first + 50_000).min(points);
        let times: Vec<i64> = rows.clone().map(|i| i * STEP).collect();
        let values: Vec<f64> = rows.map(|i| (i as f64 * 0.001).sin()).collect();
        let write = Write {
            stream,
            times: times.into(),
            values: values.into(),
        };
        for answer in engine.insert(vec![write], InsertOptions::default()).await {
            answer.expect("inserted");
        }
    }
}

fn scan(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .build()
        .expect("a runtime");
    let engine: Arc<dyn Backend> = Engine::memory();
    runtime.block_on(fill(&engine, id(0), POINTS));
    let end = POINTS * STEP;
    let mut group = criterion.benchmark_group("scan");
    group
        .sample_size(20)
        .throughput(Throughput::Elements(POINTS as u64));
    let values: Vec<f64> = (0..POINTS).map(|i| i as f64).collect();
    group.bench_function("floor: sum a column in memory", |bencher| {
        bencher.iter(|| black_box(values.iter().sum::<f64>()));
    });
    for direction in [Direction::Forward, Direction::Backward] {
        group.bench_function(format!("raw, {direction:?}"), |bencher| {
            bencher.iter(|| {
                let query = PointQuery {
                    direction,
                    ..PointQuery::new(vec![StreamRead::latest(id(0))], TimeRange::new(0, end))
                };
                let points: usize = runtime.block_on(async {
                    engine
                        .points(query)
                        .try_fold(0, |sum, batch| async move { Ok(sum + batch.len()) })
                        .await
                        .expect("read")
                });
                assert_eq!(points as i64, POINTS);
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    for (name, windows) in [
        ("whole range", 1),
        ("1,000 windows", 1000),
        ("100,000 windows", 100_000),
    ] {
        let width = (end / windows + 1) as u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let query = StatQuery {
                    streams: vec![StreamRead::latest(id(0))],
                    range: TimeRange::new(3, end - 3),
                    cuts: Cuts::Every { origin: 3, width },
                    limit: None,
                    snapshot: Snapshot::Latest,
                };
                let found: usize = runtime.block_on(async {
                    engine
                        .stats(query)
                        .try_fold(0, |sum, batch| async move { Ok(sum + batch.times.len()) })
                        .await
                        .expect("read")
                });
                assert_eq!(found as i64, windows);
            });
        });
    }
    for number in 1..=100 {
        runtime.block_on(fill(&engine, id(number), 10_000));
    }
    group.bench_function("100 streams x 10,000 points side by side", |bencher| {
        bencher.iter(|| {
            let streams = (1..=100)
                .map(|number| StreamRead::latest(id(number)))
                .collect();
            let query = MultiQuery {
                streams,
                range: TimeRange::ALL,
                snap_period: 0,
                snapshot: Snapshot::Latest,
            };
            let rows: usize = runtime.block_on(async {
                engine
                    .multi_values(query)
                    .try_fold(0, |sum, batch| async move { Ok(sum + batch.times.len()) })
                    .await
                    .expect("read")
            });
            assert_eq!(rows, 10_000);
        });
    });
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);

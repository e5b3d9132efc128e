//! How fast points go into the engine, beside the floor: copying the same points once.

use std::hint::black_box;
use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Write};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Points of one measurement.
const POINTS: usize = 1_000_000;

/// 30 Hz.
const STEP: i64 = 33_333_333;

fn write(stream: StreamId, first: usize, points: usize) -> Write {
    let times: Vec<i64> = (first..first + points).map(|i| i as i64 * STEP).collect();
    let values: Vec<f64> = (first..first + points)
        .map(|i| (i as f64 * 0.01).sin())
        .collect();
    Write {
        stream,
        times: times.into(),
        values: values.into(),
    }
}

fn stream(number: usize) -> StreamDescriptor {
    StreamDescriptor {
        id: StreamId(uuid::Uuid::from_u128(number as u128 + 1)),
        collection: "bench".into(),
        tags: Tags {
            name: number.to_string(),
            ..Tags::default()
        },
        annotations: Default::default(),
        property_version: 1,
    }
}

fn insert(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("insert");
    group
        .throughput(Throughput::Elements(POINTS as u64))
        .sample_size(10);
    let id = stream(0).id;
    group.bench_function("floor: copy", |bencher| {
        let write = write(id, 0, POINTS);
        bencher.iter(|| black_box((write.times.to_vec(), write.values.to_vec())));
    });
    for batch in [50_000, 1000, 10] {
        group.bench_function(format!("one stream, batches of {batch}"), |bencher| {
            bencher.iter_batched(
                || {
                    let engine: Arc<dyn Backend> = Engine::memory();
                    runtime.block_on(engine.create(stream(0))).expect("created");
                    let writes: Vec<Write> = (0..POINTS / batch)
                        .map(|i| write(id, i * batch, batch))
                        .collect();
                    (engine, writes)
                },
                |(engine, writes)| {
                    runtime.block_on(async {
                        for write in writes {
                            let answers =
                                engine.insert(vec![write], InsertOptions::default()).await;
                            black_box(answers);
                        }
                    });
                    engine
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("10,000 streams, one point each a call", |bencher| {
        bencher.iter_batched(
            || {
                let engine: Arc<dyn Backend> = Engine::memory();
                runtime.block_on(async {
                    for number in 0..10_000 {
                        engine.create(stream(number)).await.expect("created");
                    }
                });
                let rounds: Vec<Vec<Write>> = (0..POINTS / 10_000)
                    .map(|round| {
                        (0..10_000)
                            .map(|number| write(stream(number).id, round, 1))
                            .collect()
                    })
                    .collect();
                (engine, rounds)
            },
            |(engine, rounds)| {
                runtime.block_on(async {
                    for writes in rounds {
                        black_box(engine.insert(writes, InsertOptions::default()).await);
                    }
                });
                engine
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, insert);
criterion_main!(benches);

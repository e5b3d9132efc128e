//! A bucketed aggregate over 10 M points in SQL: answered from statistics, and, as its peer in the same run, with push-down
//! switched off, where DataFusion reads and groups every point.

use std::hint::black_box;
use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Write};
use btrdb_flight::query::{Gateway, GatewaySettings, SessionOptions};
use criterion::{Criterion, criterion_group, criterion_main};
use futures::TryStreamExt;

const POINTS: i64 = 10_000_000;

/// 120 Hz, so that the stream is a day long, all but an hour.
const STEP: i64 = 8_333_333;

async fn fill(engine: &Arc<dyn Backend>) {
    let stream = StreamId(uuid::Uuid::from_u128(1));
    let descriptor = StreamDescriptor {
        id: stream,
        collection: "bench".into(),
        tags: Tags {
            name: "voltage".into(),
            unit: "V".into(),
            ..Tags::default()
        },
        annotations: Default::default(),
        property_version: 1,
    };
    engine.create(descriptor).await.expect("created");
    for first in (0..POINTS).step_by(50_000) {
        let rows = first..(first + 50_000).min(POINTS);
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

async fn rows(gateway: &Gateway, sql: &str, session: &SessionOptions) -> usize {
    let statement = gateway.prepare(sql, session).await.expect("planned");
    let stream = statement.execute().await.expect("started");
    let batches: Vec<_> = stream.try_collect().await.expect("answered");
    batches.iter().map(|batch| batch.num_rows()).sum()
}

fn buckets(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let engine: Arc<dyn Backend> = {
        let _guard = runtime.enter();
        Engine::memory()
    };
    runtime.block_on(fill(&engine));
    let gateway = Gateway::new(engine, GatewaySettings::default()).expect("a gateway");
    let mut group = criterion.benchmark_group("buckets");
    group.sample_size(10);
    let queries = [
        (
            "100 buckets",
            "SELECT date_bin(INTERVAL '15 minutes', time) AS bucket, count(*), min(value), avg(value), max(value) \
             FROM bench.voltage GROUP BY bucket ORDER BY bucket",
            93,
        ),
        (
            "1,400 buckets",
            "SELECT date_bin(INTERVAL '1 minute', time) AS bucket, count(*), min(value), avg(value), max(value) \
             FROM bench.voltage GROUP BY bucket ORDER BY bucket",
            1389,
        ),
        (
            "whole range",
            "SELECT count(*), min(value), avg(value), max(value), stddev(value) FROM bench.voltage",
            1,
        ),
    ];
    for (name, sql, expected) in queries {
        for pushdown in [true, false] {
            let session = SessionOptions {
                pushdown,
                ..SessionOptions::default()
            };
            group.bench_function(format!("{name}, push-down {pushdown}"), |bencher| {
                bencher.iter(|| {
                    let found = runtime.block_on(rows(&gateway, sql, &session));
                    assert_eq!(black_box(found), expected);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, buckets);
criterion_main!(benches);

//! What SQL costs over the bare engine call, in process: a bucketed query the first time, repeated, and prepared with
//! parameters. Floor: the call that it comes down to. One stream of 10 M points at 120 Hz, everything hot.

mod load;

use std::sync::Arc;
use std::time::Duration;

use btrdb_flight::backend::Backend;
use btrdb_flight::model::{Cuts, StatQuery, StreamId, StreamRead, TimeRange};
use btrdb_flight::query::{Gateway, GatewaySettings, SessionOptions, Statement};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use load::{Scratch, create, fill, id, median, runtime, setting};

const MINUTE: u64 = 60_000_000_000;

fn bucketed(from: &str, to: &str) -> String {
    format!(
        "SELECT date_bin(INTERVAL '1 minute', time) AS minute, count(*), min(value), avg(value), max(value) \
         FROM \"{}\" WHERE time >= {from} AND time < {to} GROUP BY minute ORDER BY minute",
        id(0)
    )
}

async fn rows(statement: &Statement) -> usize {
    let batches: Vec<_> = statement
        .execute()
        .await
        .expect("starts")
        .try_collect()
        .await
        .expect("answers");
    batches.iter().map(|batch| batch.num_rows()).sum()
}

fn show(what: &str, took: Duration, floor: Duration) {
    let (took, floor) = (took.as_secs_f64() * 1e3, floor.as_secs_f64() * 1e3);
    println!(
        "  {what:<44} {took:>8.3} ms, {:>7.3} ms over the floor",
        took - floor
    );
}

fn main() {
    let points = setting("BTRDB_BENCH_POINTS", 10_000_000) as i64;
    let runtime = runtime();
    let scratch = Scratch::new("overhead");
    let (engine, gateway) = runtime.block_on(async {
        let engine = scratch.open().await;
        create(&engine, 0..1).await;
        fill(&engine, 0, points).await;
        let backend: Arc<dyn Backend> = Arc::clone(&engine) as _;
        let gateway = Gateway::new(backend, GatewaySettings::default()).expect("a gateway");
        (engine, gateway)
    });
    let session = SessionOptions::default();
    for windows in [10_i64, 100, 1_000] {
        let (first, last) = (MINUTE as i64, (windows + 1) * MINUTE as i64);
        let stream: StreamId = id(0);
        let floor = median(200, || {
            let query = StatQuery::new(
                vec![StreamRead::latest(stream)],
                TimeRange::new(first, last),
                Cuts::Every {
                    origin: 0,
                    width: MINUTE,
                },
            );
            let found = runtime.block_on(
                engine
                    .stats(query)
                    .try_fold(0, |sum, batch| async move { Ok(sum + batch.times.len()) }),
            );
            assert_eq!(found.expect("read") as i64, windows);
        });
        println!(
            "{windows} buckets: the engine alone {:.3} ms",
            floor.as_secs_f64() * 1e3
        );
        let time = |nanos: i64| format!("to_timestamp_nanos({nanos})");
        let mut shift = 0;
        let run = |sql: String| {
            runtime.block_on(async {
                let statement = gateway.prepare(&sql, &session).await.expect("prepares");
                assert!((windows..=windows + 1).contains(&(rows(&statement).await as i64)));
            });
        };
        let took = median(200, || {
            // Another text each time, so that no plan is kept of it.
            shift += 1;
            run(bucketed(&time(first + shift), &time(last)));
        });
        show("the first time", took, floor);
        let took = median(200, || run(bucketed(&time(first), &time(last))));
        show("repeated", took, floor);
        let took = median(200, || {
            runtime.block_on(async {
                let sql = bucketed("$1", "$2");
                let statement = gateway.prepare(&sql, &session).await.expect("prepares");
                let utc = |time| ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into()));
                let statement = statement
                    .bind(&[utc(first), utc(last)])
                    .await
                    .expect("binds");
                assert_eq!(rows(&statement).await as i64, windows);
            });
        });
        show("prepared, parameters bound", took, floor);
    }
}

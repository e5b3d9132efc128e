//! Durable `DoPut` over loopback, beside its floor in the same run: a Flight server that decodes the same messages, counts their
//! rows, and keeps nothing.
//!
//! `BTRDB_BENCH_POINTS` is how many points each case sends (20 million), `BTRDB_BENCH_DIR` where the store is.

#[path = "load/floor.rs"]
mod floor;
mod load;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightClient, FlightDescriptor};
use btrdb_flight::backend::Backend;
use btrdb_flight::query::{Gateway, GatewaySettings};
use btrdb_flight::serve::{self, Listener, ServeSettings};
use floor::{BATCH, WINDOW_BYTES};
use futures::TryStreamExt;
use load::{Scratch, rate, runtime, setting};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

fn main() {
    let runtime = runtime();
    let batches = setting("BTRDB_BENCH_POINTS", 20_000_000) as i64 / BATCH;
    // Made once, sent again with later times each round, so that making them is not measured.
    let values = floor::values();
    let columns: Vec<RecordBatch> = (0..batches)
        .map(|number| floor::batch(number * BATCH, &values))
        .collect();
    let points = batches * BATCH;
    for streams in [1, 2] {
        let floor = runtime.block_on(async {
            let (address, _running) = floor::over_tcp("127.0.0.1:0").await;
            let started = Instant::now();
            put_all(&address, &columns, streams).await;
            let what = format!("floor: decode and count, {streams} puts at once");
            rate(&what, points * streams, started.elapsed(), None)
        });
        runtime.block_on(async {
            let scratch = Scratch::new("put");
            let engine = scratch.open().await;
            let gateway = Gateway::new(
                Arc::clone(&engine) as Arc<dyn Backend>,
                GatewaySettings::default(),
            )
            .expect("a gateway");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound").to_string();
            let mut running = tokio::task::JoinSet::new();
            running.spawn(async move {
                let listeners = vec![Listener::from(listener)];
                let never = std::future::pending();
                serve::run(listeners, gateway, ServeSettings::default(), never)
                    .await
                    .expect("served");
            });
            let started = Instant::now();
            put_all(&address, &columns, streams).await;
            let what = format!("durable DoPut into {streams} streams at once");
            rate(&what, points * streams, started.elapsed(), Some(floor));
        });
    }
}

async fn put_all(address: &str, batches: &[RecordBatch], streams: i64) {
    let puts = (0..streams).map(|number| put(address, number, batches.to_vec()));
    let mut tasks = tokio::task::JoinSet::new();
    for put in puts {
        tasks.spawn(put);
    }
    tasks.join_all().await;
}

fn put(
    address: &str,
    number: i64,
    batches: Vec<RecordBatch>,
) -> impl Future<Output = ()> + Send + use<> {
    let address = format!("http://{address}");
    async move {
        let channel = Endpoint::from_shared(address)
            .expect("an address")
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect()
            .await
            .expect("connected");
        let descriptor = FlightDescriptor::new_path(vec!["bench".into(), number.to_string()]);
        let schema = batches[0].schema();
        let batches = futures::stream::iter(batches.into_iter().map(Ok::<_, FlightError>));
        let data = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .with_max_flight_data_size(usize::MAX)
            .with_flight_descriptor(Some(descriptor))
            .build(batches);
        let answers = FlightClient::new(channel).do_put(data).await;
        let answers = answers.expect("taken").try_collect::<Vec<_>>().await;
        answers.expect("stored");
    }
}

//! A long scan through the remote backend, beside a bare client of the same calls in the same process, and what one more hop
//! over Flight costs.
//!
//! The server is this process too, over a store in memory, so that the network and the server's work are the same for all.
//! `BTRDB_BENCH_POINTS` is how many points are scanned (20 million). Each way is run in turn, and the best of the rounds counts.

mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::{FlightClient, FlightDescriptor};
use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{
    InsertOptions, PointQuery, StreamDescriptor, StreamId, StreamRead, TimeRange, Write,
};
use btrdb_flight::query::{Gateway, GatewaySettings};
use btrdb_flight::remote::{self, Remote};
use btrdb_flight::serve::{self, Listener, ServeSettings};
use btrdb_flight::wire;
use btrdb_flight::wire::proto::ArrowRawValuesParams;
use btrdb_flight::wire::proto::b_tr_db_client::BTrDbClient;
use futures::TryStreamExt;
use load::{rate, runtime, setting, time, voltage};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

/// As the remote backend's own: of a call, and of a connection.
const WINDOW_BYTES: [u32; 2] = [4 << 20, (1 << 31) - 1];

/// Likewise. With the default of 16 KiB both are half as fast.
const FRAME_BYTES_MAX: u32 = 256 * 1024;

const ROUNDS: usize = 5;

fn main() {
    runtime().block_on(run());
}

async fn run() {
    let points = setting("BTRDB_BENCH_POINTS", 20_000_000) as i64;
    let engine = Engine::memory();
    let id = fill(engine.as_ref(), points).await;
    let (address, _server) = serve(engine).await;
    let remote = Remote::connect(remote::Settings::new(address.clone())).await;
    let remote = remote.expect("connected");
    let (gateway, _gateway) = serve(Arc::clone(&remote) as Arc<dyn Backend>).await;
    let bare = channel(&address).await;
    let flight = channel(&gateway).await;
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        let started = Instant::now();
        assert_eq!(scan_bare(bare.clone(), id).await, points);
        best[0] = best[0].min(started.elapsed());
        let started = Instant::now();
        assert_eq!(scan(remote.as_ref(), id).await, points);
        best[1] = best[1].min(started.elapsed());
        let started = Instant::now();
        assert_eq!(scan_flight(flight.clone(), id).await, points);
        best[2] = best[2].min(started.elapsed());
    }
    let floor = rate(
        "floor: bare client, messages decoded",
        points,
        best[0],
        None,
    );
    rate("remote backend", points, best[1], Some(floor));
    rate(
        "remote backend, SQL and Flight behind it",
        points,
        best[2],
        Some(floor),
    );
}

async fn fill(engine: &Engine, points: i64) -> StreamId {
    let id = StreamId(Uuid::from_u128(1));
    let stream = StreamDescriptor {
        id,
        collection: "bench".to_owned(),
        tags: Default::default(),
        annotations: Default::default(),
        property_version: 0,
    };
    engine.create(stream).await.expect("created");
    let mut first = 0;
    while first < points {
        let end = (first + 1_000_000).min(points);
        let write = Write {
            stream: id,
            times: (first..end).map(time).collect::<Vec<_>>().into(),
            values: (first..end).map(voltage).collect::<Vec<_>>().into(),
        };
        for version in engine.insert(vec![write], InsertOptions::default()).await {
            version.expect("inserted");
        }
        first = end;
    }
    engine.fold().await.expect("folded");
    id
}

async fn serve(backend: Arc<dyn Backend>) -> (String, JoinSet<()>) {
    let gateway = Gateway::new(backend, GatewaySettings::default()).expect("a gateway");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut running = JoinSet::new();
    running.spawn(async move {
        let listeners = vec![Listener::from(listener)];
        let never = std::future::pending();
        serve::run(listeners, gateway, ServeSettings::default(), never)
            .await
            .expect("served");
    });
    (address, running)
}

async fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("an address")
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES[0])
        .initial_connection_window_size(WINDOW_BYTES[1])
        .max_frame_size(FRAME_BYTES_MAX)
        .connect()
        .await
        .expect("connected")
}

/// What anybody would write against the protocol: every message decoded to columns.
async fn scan_bare(channel: Channel, id: StreamId) -> i64 {
    let request = ArrowRawValuesParams {
        uuid: wire::streams::uuid(id),
        start: TimeRange::ALL.start,
        end: TimeRange::ALL.end,
        ..ArrowRawValuesParams::default()
    };
    let mut client = BTrDbClient::new(channel).max_decoding_message_size(usize::MAX);
    let answers = client.arrow_raw_values(request).await.expect("answered");
    let mut answers = answers.into_inner();
    let mut count = 0;
    while let Some(answer) = answers.message().await.expect("a message") {
        wire::status::check(answer.stat).expect("points");
        for batch in wire::arrow::decode(answer.arrow_bytes).expect("Arrow").1 {
            let (times, _) = wire::arrow::points_of(&batch).expect("points");
            count += times.len() as i64;
        }
    }
    count
}

async fn scan(backend: &dyn Backend, id: StreamId) -> i64 {
    let query = PointQuery::new(vec![StreamRead::latest(id)], TimeRange::ALL);
    let counted = backend
        .points(query)
        .try_fold(0, async |count, batch| Ok(count + batch.len() as i64));
    counted.await.expect("points")
}

async fn scan_flight(channel: Channel, id: StreamId) -> i64 {
    let mut client = FlightClient::new(channel);
    let descriptor = FlightDescriptor::new_path(vec![id.to_string()]);
    let info = client.get_flight_info(descriptor).await.expect("a flight");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let rows = client.do_get(ticket).await.expect("rows");
    let counted = rows.try_fold(0, async |count, batch| Ok(count + batch.num_rows() as i64));
    counted.await.expect("rows")
}

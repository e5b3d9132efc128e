//! Flight and Flight SQL, over the engine, by Rust clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{FlightClient, FlightDescriptor};
use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::Observed;
use btrdb_flight::error::Result;
use btrdb_flight::query::{Gateway, GatewaySettings};
use btrdb_flight::serve::{self, ServeSettings};
use futures::TryStreamExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::subject;

mod bi;
mod browse;
mod cancelling;
mod encoding;
mod endpoints;
mod exchange;
mod ingest;
mod listing;
mod logins;
mod operations;
mod pausing;
mod polling;
mod puts;
mod reads;
mod replicas;
mod sessions;
mod statements;
mod transactions;
mod updates;

/// A server on a port of its own, over an engine in memory.
struct Server {
    address: SocketAddr,
    backend: Arc<Observed>,
    gateway: Gateway,
    stop: Option<oneshot::Sender<()>>,
    running: JoinSet<Result<()>>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(ServeSettings::default()).await
    }

    async fn start_with(settings: ServeSettings) -> Self {
        Self::over(subject::memory().await, settings).await
    }

    async fn over(backend: Arc<dyn Backend>, settings: ServeSettings) -> Self {
        let backend = Arc::new(Observed::new(backend));
        let gateway = Gateway::new(
            Arc::clone(&backend) as Arc<dyn Backend>,
            GatewaySettings::default(),
        )
        .expect("a gateway");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let mut running = JoinSet::new();
        let served = gateway.clone();
        running.spawn(serve::run(vec![listener], served, settings, async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        Self {
            address,
            backend,
            gateway,
            stop: Some(stop),
            running,
        }
    }

    /// Stops, and answers how serving ended.
    async fn stop(mut self) -> Result<()> {
        self.stop
            .take()
            .expect("stopped once")
            .send(())
            .expect("running");
        self.running
            .join_next()
            .await
            .expect("one task")
            .expect("no panic")
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address))
            .expect("an address")
            .connect()
            .await
            .expect("a connection")
    }

    async fn flight(&self) -> FlightClient {
        FlightClient::new(self.channel().await)
    }

    async fn sql(&self) -> FlightSqlServiceClient<Channel> {
        FlightSqlServiceClient::new(self.channel().await)
    }
}

/// `[collection, name]` as a descriptor.
fn path(parts: &[&str]) -> FlightDescriptor {
    FlightDescriptor::new_path(parts.iter().map(|part| (*part).to_owned()).collect())
}

/// Points a millisecond apart whose values are their numbers.
fn points(numbers: std::ops::Range<i64>) -> RecordBatch {
    let times = numbers.clone().map(|number| number * 1_000_000);
    let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
    let values = Float64Array::from_iter_values(numbers.map(|number| number as f64));
    RecordBatch::try_from_iter([
        ("time", Arc::new(times) as ArrayRef),
        ("value", Arc::new(values)),
    ])
    .expect("columns of one length")
}

/// The same as long batches: number n goes to stream n modulo the number of names.
fn long(collection: &str, names: &[&str], numbers: std::ops::Range<i64>) -> RecordBatch {
    let narrow = points(numbers.clone());
    let collections = StringArray::from_iter_values(numbers.clone().map(|_| collection));
    let names =
        StringArray::from_iter_values(numbers.map(|number| names[number as usize % names.len()]));
    RecordBatch::try_from_iter([
        ("collection", Arc::new(collections) as ArrayRef),
        ("name", Arc::new(names)),
        ("time", Arc::clone(narrow.column(0))),
        ("value", Arc::clone(narrow.column(1))),
    ])
    .expect("columns of one length")
}

/// Puts `batches`; answers the versions of each commit.
async fn put(
    client: &mut FlightClient,
    descriptor: FlightDescriptor,
    batches: Vec<RecordBatch>,
) -> Result<Vec<Value>, FlightError> {
    let data = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor))
        .with_schema(batches[0].schema())
        .build(futures::stream::iter(batches.into_iter().map(Ok)));
    client
        .do_put(data)
        .await?
        .map_ok(|result| serde_json::from_slice(&result.app_metadata).expect("JSON"))
        .try_collect()
        .await
}

/// Runs SQL text through plain Flight.
async fn rows(client: &mut FlightClient, sql: &str) -> Result<Vec<RecordBatch>, FlightError> {
    let info = client
        .get_flight_info(FlightDescriptor::new_cmd(sql.to_owned()))
        .await?;
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    client.do_get(ticket).await?.try_collect().await
}

/// The single number that `sql` answers.
async fn number(client: &mut FlightClient, sql: &str) -> i64 {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    let batches = rows(client, sql).await.expect("valid SQL");
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// The gRPC code and message of a failed call.
fn failure<T: std::fmt::Debug>(outcome: Result<T, FlightError>) -> (tonic::Code, String) {
    match outcome.expect_err("must fail") {
        FlightError::Tonic(status) => (status.code(), status.message().to_owned()),
        other => panic!("not a status: {other}"),
    }
}

#[tokio::test]
async fn shutdown_ends_serving_and_idle_connections_do_not_delay_it() {
    let server = Server::start().await;
    let _idle = server.flight().await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), server.stop()).await;
    stopped.expect("in time").expect("no error");
}

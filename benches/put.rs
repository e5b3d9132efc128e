//! Durable `DoPut` over loopback, beside its floor in the same run: a Flight server that decodes the same messages, counts their
//! rows, and keeps nothing.
//!
//! `BTRDB_BENCH_POINTS` is how many points each case sends (20 million), `BTRDB_BENCH_DIR` where the store is.

mod load;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightClient, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use btrdb_flight::backend::Backend;
use btrdb_flight::query::{Gateway, GatewaySettings};
use btrdb_flight::serve::{self, Listener, ServeSettings};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use load::{Scratch, rate, runtime, setting, time, voltage};
use tokio::net::TcpListener;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// Rows of a batch: a MiB of times and values.
const BATCH: i64 = 64 * 1024;

/// As the server's own, so that both have room for bulk data.
const WINDOW_BYTES: u32 = 16 << 20;

fn main() {
    let runtime = runtime();
    let batches = setting("BTRDB_BENCH_POINTS", 20_000_000) as i64 / BATCH;
    // Made once, sent again with later times each round, so that making them is not measured.
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..BATCH).map(voltage)));
    let columns: Vec<RecordBatch> = (0..batches)
        .map(|batch| {
            let first = batch * BATCH;
            let times = (first..first + BATCH).map(time);
            let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
            let columns = [
                ("time", Arc::new(times) as ArrayRef),
                ("value", Arc::clone(&values)),
            ];
            RecordBatch::try_from_iter(columns).expect("a batch")
        })
        .collect();
    let points = batches * BATCH;
    for streams in [1, 2] {
        let floor = runtime.block_on(async {
            let (address, _running) = counting_server().await;
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

async fn counting_server() -> (String, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move {
        let service = FlightServiceServer::new(Counter).max_decoding_message_size(usize::MAX);
        Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .add_service(service)
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener))
            .await
            .expect("served");
    });
    (address, running)
}

/// Decodes what is put and keeps nothing.
struct Counter;

type Answer<T> = Result<Response<BoxStream<'static, Result<T, Status>>>, Status>;

fn no<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this server only counts"))
}

#[tonic::async_trait]
impl FlightService for Counter {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<PutResult> {
        let data = request.into_inner().map_err(FlightError::from);
        let rows = FlightRecordBatchStream::new_from_flight_data(data)
            .try_fold(0, |sum, batch| async move { Ok(sum + batch.num_rows()) })
            .await
            .map_err(Status::from)?;
        let answer = PutResult {
            app_metadata: rows.to_string().into(),
        };
        Ok(Response::new(futures::stream::iter([Ok(answer)]).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<HandshakeResponse> {
        no()
    }
    async fn list_flights(&self, _: Request<Criteria>) -> Answer<FlightInfo> {
        no()
    }
    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        no()
    }
    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        no()
    }
    async fn get_schema(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        no()
    }
    async fn do_get(&self, _: Request<Ticket>) -> Answer<FlightData> {
        no()
    }
    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<FlightData> {
        no()
    }
    async fn do_action(&self, _: Request<Action>) -> Answer<arrow_flight::Result> {
        no()
    }
    async fn list_actions(&self, _: Request<Empty>) -> Answer<ActionType> {
        no()
    }
}

//! The floor under Flight: what the stock parts cost, with a server that does nothing of its own. It sends one batch again and
//! again, and it decodes what is put, counts the rows, and keeps nothing.

#![allow(dead_code, reason = "each bench uses its part")]

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

use super::load::{time, voltage};

/// Rows of a batch: a MiB of times and values.
pub(crate) const BATCH: i64 = 64 * 1024;

/// As the server's own, so that both have room for bulk data.
pub(crate) const WINDOW_BYTES: u32 = 16 << 20;

/// As the server's own.
pub(crate) const FRAME_BYTES_MAX: u32 = 1 << 20;

/// The points from `first` on, as many as a batch has.
pub(crate) fn batch(first: i64, values: &ArrayRef) -> RecordBatch {
    let times = (first..first + BATCH).map(time);
    let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
    let columns = [
        ("time", Arc::new(times) as ArrayRef),
        ("value", Arc::clone(values)),
    ];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

/// Values for every batch: making them is not measured.
pub(crate) fn values() -> ArrayRef {
    Arc::new(Float64Array::from_iter_values((0..BATCH).map(voltage)))
}

fn router() -> Router {
    let service = FlightServiceServer::new(Floor::new()).max_decoding_message_size(usize::MAX);
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .add_service(service)
}

/// Serves the floor over TCP; answers where. It ends with what is returned.
pub(crate) async fn over_tcp(address: &str) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind(address).await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut running = JoinSet::new();
    running.spawn(async move {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let served = router().serve_with_incoming(incoming).await;
        served.expect("served");
    });
    (address, running)
}

/// Serves the floor over a Unix socket.
pub(crate) fn over_unix(listener: UnixListener) -> JoinSet<()> {
    let mut running = JoinSet::new();
    running.spawn(async move {
        let incoming = UnixListenerStream::new(listener);
        let served = router().serve_with_incoming(incoming).await;
        served.expect("served");
    });
    running
}

struct Floor {
    batch: RecordBatch,
}

impl Floor {
    fn new() -> Self {
        Self {
            batch: batch(0, &values()),
        }
    }
}

type Answer<T> = Result<Response<BoxStream<'static, Result<T, Status>>>, Status>;

fn no<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this server only sends and counts"))
}

#[tonic::async_trait]
impl FlightService for Floor {
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
    /// The ticket is the number of points, as text.
    async fn do_get(&self, request: Request<Ticket>) -> Answer<FlightData> {
        let points = std::str::from_utf8(&request.get_ref().ticket)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or_else(|| Status::invalid_argument("a ticket is a number of points"))?;
        let batch = self.batch.clone();
        let batches = (0..points / BATCH).map(move |_| Ok(batch.clone()));
        let messages = FlightDataEncoderBuilder::new()
            .with_schema(self.batch.schema())
            .with_max_flight_data_size(usize::MAX)
            .build(futures::stream::iter(batches));
        Ok(Response::new(messages.map_err(Status::from).boxed()))
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

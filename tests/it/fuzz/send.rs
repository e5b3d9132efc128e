//! A server to send messages to, and the calls they go to.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampNanosecondArray};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    Any, Command, CommandPreparedStatementQuery, CommandPreparedStatementUpdate, ProstMessageExt,
    TicketStatementQuery,
};
use arrow_flight::{Action, Criteria, FlightData, FlightDescriptor, Ticket};
use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::model::{Annotations, InsertOptions, StreamDescriptor, StreamId, Tags, Write};
use btrdb_flight::query::{Gateway, GatewaySettings};
use btrdb_flight::serve::{self, ServeSettings};
use futures::{Stream, StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{Input, Kind};

/// What the server signs with.
const KEY: [u8; 32] = [7; 32];

/// Before the payload of signed bytes: version, purpose, expiry.
const SEAL_HEADER_BYTES: usize = 10;

/// The purpose of tickets.
const TICKET: u8 = 1;

/// The purpose of handles of prepared statements.
const HANDLE: u8 = 2;

const SIGNATURE_BYTES: usize = 32;

/// As the server's threads have.
const STACK_BYTES: usize = 64 << 20;

/// Messages of an answer that are read before the client leaves.
const READ_MAX: usize = 16;

/// A server, and a client of it.
pub(super) struct Target {
    /// Kept running; dropped without waiting, because a statement may be at work.
    server: Option<Runtime>,
    client: Runtime,
    channel: Channel,
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

impl Target {
    pub(super) fn start(thread: &str) -> Self {
        let server = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(thread)
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .expect("threads");
        let address = server.block_on(async {
            let engine = Engine::memory();
            fill(engine.as_ref()).await;
            let gateway = Gateway::new(engine, GatewaySettings::default()).expect("a gateway");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("bound");
            let settings = ServeSettings {
                ticket_key: Some(KEY),
                ..ServeSettings::default()
            };
            #[expect(clippy::disallowed_methods, reason = "it ends with its runtime")]
            tokio::spawn(async move {
                let never = std::future::pending();
                serve::run(vec![listener], gateway, settings, never)
                    .await
                    .expect("served");
            });
            address
        });
        let client = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a thread");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = client.block_on(endpoint.connect()).expect("a connection");
        Self {
            server: Some(server),
            client,
            channel,
        }
    }

    pub(super) fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.client.block_on(work)
    }

    pub(super) fn flight(&self) -> FlightServiceClient<Channel> {
        FlightServiceClient::new(self.channel.clone())
    }

    /// Sends `input` to the calls it is for; answers the first thing that went wrong.
    pub(super) fn send(&self, input: &Input, within: Duration) -> Result<(), Status> {
        let call = self.call(input);
        let answer = self.block_on(async { tokio::time::timeout(within, call).await });
        answer.unwrap_or_else(|_| Err(Status::unknown(format!("no answer within {within:?}"))))
    }

    async fn call(&self, input: &Input) -> Result<(), Status> {
        let mut client = self.flight();
        let first = input.messages.first().map_or(&[][..], Vec::as_slice);
        match input.kind {
            Kind::Descriptor => describe(&mut client, decoded(first)).await,
            Kind::Ticket => get(&mut client, decoded(first)).await,
            Kind::SealedTicket => {
                let ticket = TicketStatementQuery {
                    statement_handle: seal(TICKET, first).into(),
                };
                let ticket = ticket.as_any().encode_to_vec().into();
                get(&mut client, Ticket { ticket }).await
            }
            Kind::SealedHandle => {
                let handle = seal(HANDLE, first);
                let query = CommandPreparedStatementQuery {
                    prepared_statement_handle: handle.clone().into(),
                };
                let command = query.as_any().encode_to_vec();
                let query = describe(&mut client, FlightDescriptor::new_cmd(command)).await;
                let update = CommandPreparedStatementUpdate {
                    prepared_statement_handle: handle.into(),
                };
                let command = update.as_any().encode_to_vec();
                let put = FlightData::new().with_descriptor(FlightDescriptor::new_cmd(command));
                let puts = client.do_put(stream::iter([put])).await;
                query.and(drain(puts?.into_inner()).await)
            }
            Kind::Action => {
                let results = client.do_action(decoded::<Action>(first)).await?;
                drain(results.into_inner()).await
            }
            Kind::Criteria => {
                let flights = client.list_flights(decoded::<Criteria>(first)).await?;
                drain(flights.into_inner()).await
            }
            Kind::Put => {
                let messages: Vec<FlightData> = all_decoded(input);
                let results = client.do_put(stream::iter(messages)).await?;
                drain(results.into_inner()).await
            }
            Kind::Exchange => {
                let messages: Vec<FlightData> = all_decoded(input);
                let results = client.do_exchange(stream::iter(messages)).await?;
                drain(results.into_inner()).await
            }
        }
    }
}

/// Whether the status is the client's own report of a connection that ended, and not the server's answer.
pub(super) fn is_broken(status: &Status) -> bool {
    let message = status.message();
    matches!(
        status.code(),
        Code::Unavailable | Code::Internal | Code::Cancelled
    ) && [
        "h2 protocol error",
        "transport error",
        "connection",
        "operation was canceled",
    ]
    .iter()
    .any(|report| message.to_ascii_lowercase().contains(report))
}

/// What the bytes say, as far as they say it.
fn decoded<M: Message + Default>(bytes: &[u8]) -> M {
    let mut message = M::default();
    // A message that breaks off keeps what was read of it, which is as good an input as any.
    let _ = message.merge(bytes);
    message
}

fn all_decoded(input: &Input) -> Vec<FlightData> {
    input.messages.iter().map(|bytes| decoded(bytes)).collect()
}

async fn describe(
    client: &mut FlightServiceClient<Channel>,
    descriptor: FlightDescriptor,
) -> Result<(), Status> {
    let schema = client.get_schema(descriptor.clone()).await;
    let polled = client.poll_flight_info(descriptor.clone()).await;
    let info = client.get_flight_info(descriptor).await?.into_inner();
    for endpoint in info.endpoint {
        get(client, endpoint.ticket.unwrap_or_default()).await?;
    }
    polled?;
    schema.map(drop)
}

async fn get(client: &mut FlightServiceClient<Channel>, ticket: Ticket) -> Result<(), Status> {
    drain(client.do_get(ticket).await?.into_inner()).await
}

async fn drain<T>(answers: impl Stream<Item = Result<T, Status>>) -> Result<(), Status> {
    let mut answers = std::pin::pin!(answers.take(READ_MAX));
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

/// The payload behind its header, signed.
fn seal(purpose: u8, payload: &[u8]) -> Vec<u8> {
    let mut sealed = vec![1, purpose];
    sealed.extend(i64::MAX.to_be_bytes());
    sealed.extend(payload);
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(&KEY).expect("a key of any length");
    mac.update(&sealed);
    sealed.extend(mac.finalize().into_bytes());
    sealed
}

/// What stands inside signed bytes.
pub(super) fn payload(sealed: &[u8]) -> Vec<u8> {
    sealed[SEAL_HEADER_BYTES..sealed.len() - SIGNATURE_BYTES].to_vec()
}

/// What stands inside a ticket, if it is signed.
pub(super) fn payload_of_ticket(ticket: &Ticket) -> Option<Vec<u8>> {
    let any = Any::decode(ticket.ticket.clone()).ok()?;
    match Command::try_from(any).ok()? {
        Command::TicketStatementQuery(ticket) => Some(payload(&ticket.statement_handle)),
        _ => None,
    }
}

/// Three streams with a few points each.
async fn fill(engine: &dyn Backend) {
    for (number, collection, name) in [
        (1, "pmu/west", "voltage"),
        (2, "pmu/west", "angle"),
        (3, "pmu/east", "voltage"),
    ] {
        let stream = StreamId(Uuid::from_u128(number));
        let described = StreamDescriptor {
            id: stream,
            collection: collection.to_owned(),
            tags: Tags {
                name: name.to_owned(),
                unit: "V".to_owned(),
                ..Tags::default()
            },
            annotations: Annotations::default(),
            property_version: 1,
        };
        engine.create(described).await.expect("a new stream");
        let write = Write {
            stream,
            times: (0..300_i64).map(|row| row * 100_000_000).collect(),
            values: (0..300).map(|row| f64::from(row) / 7.0).collect(),
        };
        for answer in engine.insert(vec![write], InsertOptions::default()).await {
            answer.expect("storable");
        }
    }
}

/// A batch of `time` and `value`, and its streams' names beside it if it is long.
pub(super) fn batch(long: bool) -> arrow::array::RecordBatch {
    let times = TimestampNanosecondArray::from_iter_values((0..64).map(|row| row * 1_000_000));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("time", Arc::new(times.with_timezone("UTC"))),
        (
            "value",
            Arc::new(Float64Array::from_iter_values((0..64).map(f64::from))),
        ),
    ];
    if long {
        columns.push((
            "collection",
            Arc::new(StringArray::from(vec!["pmu/west"; 64])),
        ));
        columns.push(("name", Arc::new(StringArray::from(vec!["voltage"; 64]))));
    }
    arrow::array::RecordBatch::try_from_iter(columns).expect("columns of one length")
}

//! BTrDB's own protocol, over the engine, by the client that its description generates: what is on the wire, to the bit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::Observed;
use btrdb_flight::engine::Engine;
use btrdb_flight::query::{Gateway, GatewaySettings};
use btrdb_flight::serve::btrdb::{BtrdbSettings, service};
use btrdb_flight::wire::proto::b_tr_db_client::BTrDbClient;
use btrdb_flight::wire::proto::*;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Streaming};
use uuid::Uuid;

mod calls;
mod csv;
mod inserts;
mod multi;
mod points;
mod pressure;
mod streams;
mod subscribe;
mod windows;

/// Ends of time.
const MIN_TIME: i64 = -(1 << 60);
const MAX_TIME: i64 = 3 << 60;

/// A server on a port of its own, over an engine in memory, and a client of it.
struct Server {
    address: SocketAddr,
    backend: Arc<Observed>,
    client: BTrDbClient<Channel>,
    _running: JoinSet<()>,
}

/// A code and the words beside it.
type Failure = (u32, String);

/// What a call answered, or how it failed.
type Outcome<T> = Result<T, Failure>;

/// A message that may say what went wrong.
trait Reply {
    fn stat(&self) -> Option<&Status>;
}

macro_rules! replies {
    ($($message:ident),* $(,)?) => {
        $(impl Reply for $message {
            fn stat(&self) -> Option<&Status> {
                self.stat.as_ref()
            }
        })*
    };
}

replies!(
    AlignedWindowsResponse,
    ArrowAlignedWindowsResponse,
    ArrowMultiValuesResponse,
    ArrowRawValuesResponse,
    ArrowWindowsResponse,
    ChangesResponse,
    CreateResponse,
    DeleteResponse,
    FaultInjectResponse,
    FlushResponse,
    GenerateCsvResponse,
    InfoResponse,
    InsertResponse,
    ListCollectionsResponse,
    LookupStreamsResponse,
    MetadataUsageResponse,
    NearestResponse,
    ObliterateResponse,
    RawValuesResponse,
    SetStreamAnnotationsResponse,
    SetStreamTagsResponse,
    SqlQueryResponse,
    StreamInfoResponse,
    WindowsResponse,
);

/// The one answer of a call.
fn one<R: Reply>(answer: Result<Response<R>, tonic::Status>) -> Outcome<R> {
    let reply = answer.expect("errors are in the answer").into_inner();
    match reply.stat() {
        None => Ok(reply),
        Some(stat) => Err((stat.code, stat.msg.clone())),
    }
}

/// All answers of a call: one at least; a failure comes last, and alone in its message.
async fn many<R: Reply + Default + PartialEq + std::fmt::Debug>(
    answer: Result<Response<Streaming<R>>, tonic::Status>,
) -> Outcome<Vec<R>> {
    let mut answers = answer.expect("errors are in the answer").into_inner();
    let mut replies = Vec::new();
    while let Some(reply) = answers.message().await.expect("errors are in the answer") {
        if let Some(stat) = reply.stat() {
            let failure = (stat.code, stat.msg.clone());
            assert_eq!(
                answers.message().await.expect("OK"),
                None,
                "the last message"
            );
            return Err(failure);
        }
        replies.push(reply);
    }
    assert!(!replies.is_empty(), "one message at least");
    Ok(replies)
}

impl Server {
    async fn start() -> Self {
        Self::start_with(BtrdbSettings::default()).await
    }

    async fn start_with(settings: BtrdbSettings) -> Self {
        let backend = Arc::new(Observed::new(Engine::memory()));
        let gateway = Gateway::new(
            Arc::clone(&backend) as Arc<dyn Backend>,
            GatewaySettings::default(),
        )
        .expect("a gateway");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut running = JoinSet::new();
        running.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service(gateway, settings))
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
                .await
                .expect("serving");
        });
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .expect("an address")
            .connect()
            .await
            .expect("a connection");
        Self {
            address,
            backend,
            client: BTrDbClient::new(channel).max_decoding_message_size(usize::MAX),
            _running: running,
        }
    }

    /// A connection, for which calls take `&mut`.
    fn client(&self) -> BTrDbClient<Channel> {
        self.client.clone()
    }

    /// A new stream, named after its number.
    async fn stream(&self, number: u128) -> Bytes {
        let uuid = id(number);
        one(self
            .client()
            .create(CreateParams {
                uuid: uuid.clone(),
                collection: "grid/west".to_owned(),
                tags: vec![pair("name", Some(&format!("s{number}")))],
                annotations: Vec::new(),
            })
            .await)
        .expect("a new stream");
        uuid
    }

    /// A new stream with points.
    async fn stream_of(&self, number: u128, points: &[(i64, f64)]) -> Bytes {
        let uuid = self.stream(number).await;
        self.insert(&uuid, points).await.expect("inserted");
        uuid
    }

    /// Adds points; answers the version.
    async fn insert(&self, uuid: &Bytes, points: &[(i64, f64)]) -> Outcome<u64> {
        self.merge(uuid, MergePolicy::Never, points).await
    }

    async fn merge(
        &self,
        uuid: &Bytes,
        policy: MergePolicy,
        points: &[(i64, f64)],
    ) -> Outcome<u64> {
        let params = InsertParams {
            uuid: uuid.clone(),
            sync: false,
            values: rows(points),
            merge_policy: policy.into(),
            rounding: None,
        };
        let answer = one(self.client().insert(params).await)?;
        assert_eq!(answer.version_minor, 0);
        Ok(answer.version_major)
    }

    /// All points of a stream.
    async fn points(&self, uuid: &Bytes, version: u64) -> Outcome<Vec<(i64, f64)>> {
        let params = raw(uuid, MIN_TIME, MAX_TIME, version);
        let answers = many(self.client().raw_values(params).await).await?;
        let values = answers.into_iter().flat_map(|answer| answer.values);
        Ok(values.map(|point| (point.time, point.value())).collect())
    }
}

/// A uuid by number.
fn id(number: u128) -> Bytes {
    Bytes::copy_from_slice(Uuid::from_u128(number).as_bytes())
}

fn pair(key: &str, value: Option<&str>) -> KeyOptValue {
    KeyOptValue {
        key: key.to_owned(),
        val: value.map(|value| OptValue {
            value: value.to_owned(),
        }),
    }
}

fn rows(points: &[(i64, f64)]) -> Vec<RawPoint> {
    let rows = points.iter();
    rows.map(|&(time, value)| RawPoint {
        time,
        value: Some(value),
    })
    .collect()
}

fn raw(uuid: &Bytes, start: i64, end: i64, version_major: u64) -> RawValuesParams {
    RawValuesParams {
        uuid: uuid.clone(),
        start,
        end,
        version_major,
    }
}

fn arrow_raw(uuid: &Bytes, start: i64, end: i64, template: Bytes) -> ArrowRawValuesParams {
    ArrowRawValuesParams {
        uuid: uuid.clone(),
        start,
        end,
        version_major: 0,
        template_bytes: template,
    }
}

fn aligned(uuid: &Bytes, start: i64, end: i64, point_width: u32) -> AlignedWindowsParams {
    AlignedWindowsParams {
        uuid: uuid.clone(),
        start,
        end,
        version_major: 0,
        point_width,
    }
}

fn regular(uuid: &Bytes, start: i64, end: i64, width: u64) -> WindowsParams {
    WindowsParams {
        uuid: uuid.clone(),
        start,
        end,
        version_major: 0,
        width,
        depth: 0,
    }
}

fn time() -> Field {
    let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Field::new("time", utc, false)
}

fn float(name: impl Into<String>) -> Field {
    Field::new(name, DataType::Float64, false)
}

fn points_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![time(), float("value")]))
}

fn windows_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        time(),
        float("min"),
        float("mean"),
        float("max"),
        Field::new("count", DataType::UInt64, false),
        float("stddev"),
    ]))
}

/// What some messages hold together; each of them has `schema`, and is whole.
fn table(schema: &SchemaRef, messages: impl IntoIterator<Item = Bytes>) -> RecordBatch {
    let mut batches = Vec::new();
    for bytes in messages {
        assert!(bytes.len() < 4 << 20, "{} bytes", bytes.len());
        let reader = StreamReader::try_new(bytes.as_ref(), None).expect("a stream");
        assert_eq!(&reader.schema(), schema);
        batches.extend(reader.map(|batch| batch.expect("a batch")));
    }
    concat_batches(schema, &batches).expect("one schema")
}

/// A schema and batches as one IPC stream.
fn ipc(schema: &Schema, batches: &[RecordBatch]) -> Bytes {
    let mut writer = StreamWriter::try_new(Vec::new(), schema).expect("a schema");
    for batch in batches {
        writer.write(batch).expect("a batch");
    }
    writer.into_inner().expect("an end").into()
}

/// Points as a batch.
fn points_batch(points: &[(i64, f64)]) -> RecordBatch {
    let times = TimestampNanosecondArray::from_iter_values(points.iter().map(|point| point.0));
    let values = Float64Array::from_iter_values(points.iter().map(|point| point.1));
    let columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC")), Arc::new(values)];
    RecordBatch::try_new(points_schema(), columns).expect("a batch")
}

/// Waits until `is_so`, for at most ten seconds.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

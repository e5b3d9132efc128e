//! A server that answers what a test wants, and counts what it is asked.

use std::collections::HashMap;
use std::sync::Arc;

use btrdb_flight::model::Point;
use btrdb_flight::wire::points::row;
use btrdb_flight::wire::proto::b_tr_db_server::{BTrDb, BTrDbServer};
use btrdb_flight::wire::proto::*;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Streaming};

/// A gRPC status, not BTrDB's.
pub(super) type Refusal = tonic::Status;

/// Answers a call: how often it was called before, and what is asked.
pub(super) type One<Q, A> =
    Option<Box<dyn Fn(usize, Q) -> BoxFuture<'static, Result<A, Refusal>> + Send + Sync>>;

/// Answers a call with a stream.
pub(super) type Many<Q, A> =
    Option<Box<dyn Fn(usize, Q) -> BoxStream<'static, Result<A, Refusal>> + Send + Sync>>;

/// A call with one answer, given at once.
pub(super) fn one<Q: 'static, A: Send + 'static>(
    answer: impl Fn(usize, Q) -> Result<A, Refusal> + Send + Sync + 'static,
) -> One<Q, A> {
    Some(Box::new(move |before, ask| {
        std::future::ready(answer(before, ask)).boxed()
    }))
}

/// A call with many answers, given at once.
pub(super) fn many<Q: 'static, A: Send + 'static>(
    answer: impl Fn(usize, Q) -> Vec<A> + Send + Sync + 'static,
) -> Many<Q, A> {
    Some(Box::new(move |before, ask| {
        stream::iter(answer(before, ask)).map(Ok).boxed()
    }))
}

macro_rules! script {
    (
        one { $($one:ident($one_ask:ident) -> $one_answer:ident;)* }
        many { $($many:ident($many_ask:ident) -> $many_answer:ident, $stream:ident;)* }
    ) => {
        /// What to answer; calls that are left out are ones that the server does not have.
        #[derive(Default)]
        pub(super) struct Script {
            pub(super) log: Mutex<Log>,
            $(pub(super) $one: One<$one_ask, $one_answer>,)*
            $(pub(super) $many: Many<$many_ask, $many_answer>,)*
        }

        #[tonic::async_trait]
        impl BTrDb for Service {
            $(async fn $one(
                &self,
                request: Request<$one_ask>,
            ) -> Result<Response<$one_answer>, Refusal> {
                let before = self.0.log.lock().note(stringify!($one), &request);
                match &self.0.$one {
                    Some(answer) => answer(before, request.into_inner()).await.map(Response::new),
                    None => Err(Refusal::unimplemented(stringify!($one))),
                }
            })*
            $(
                type $stream = BoxStream<'static, Result<$many_answer, Refusal>>;

                async fn $many(
                    &self,
                    request: Request<$many_ask>,
                ) -> Result<Response<Self::$stream>, Refusal> {
                    let before = self.0.log.lock().note(stringify!($many), &request);
                    match &self.0.$many {
                        Some(answer) => Ok(Response::new(answer(before, request.into_inner()))),
                        None => Err(Refusal::unimplemented(stringify!($many))),
                    }
                }
            )*

            type SubscribeStream = BoxStream<'static, Result<SubscriptionResp, Refusal>>;

            async fn subscribe(
                &self,
                _request: Request<Streaming<SubscriptionUpdate>>,
            ) -> Result<Response<Self::SubscribeStream>, Refusal> {
                Err(Refusal::unimplemented("subscribe"))
            }
        }
    };
}

script! {
    one {
        stream_info(StreamInfoParams) -> StreamInfoResponse;
        set_stream_annotations(SetStreamAnnotationsParams) -> SetStreamAnnotationsResponse;
        set_stream_tags(SetStreamTagsParams) -> SetStreamTagsResponse;
        create(CreateParams) -> CreateResponse;
        nearest(NearestParams) -> NearestResponse;
        insert(InsertParams) -> InsertResponse;
        arrow_insert(ArrowInsertParams) -> InsertResponse;
        delete(DeleteParams) -> DeleteResponse;
        info(InfoParams) -> InfoResponse;
        fault_inject(FaultInjectParams) -> FaultInjectResponse;
        flush(FlushParams) -> FlushResponse;
        obliterate(ObliterateParams) -> ObliterateResponse;
        get_metadata_usage(MetadataUsageParams) -> MetadataUsageResponse;
    }
    many {
        raw_values(RawValuesParams) -> RawValuesResponse, RawValuesStream;
        arrow_raw_values(ArrowRawValuesParams) -> ArrowRawValuesResponse, ArrowRawValuesStream;
        arrow_multi_values(ArrowMultiValuesParams) -> ArrowMultiValuesResponse, ArrowMultiValuesStream;
        aligned_windows(AlignedWindowsParams) -> AlignedWindowsResponse, AlignedWindowsStream;
        arrow_aligned_windows(AlignedWindowsParams) -> ArrowAlignedWindowsResponse, ArrowAlignedWindowsStream;
        windows(WindowsParams) -> WindowsResponse, WindowsStream;
        arrow_windows(WindowsParams) -> ArrowWindowsResponse, ArrowWindowsStream;
        list_collections(ListCollectionsParams) -> ListCollectionsResponse, ListCollectionsStream;
        lookup_streams(LookupStreamsParams) -> LookupStreamsResponse, LookupStreamsStream;
        changes(ChangesParams) -> ChangesResponse, ChangesStream;
        generate_csv(GenerateCsvParams) -> GenerateCsvResponse, GenerateCSVStream;
        sql_query(SqlQueryParams) -> SqlQueryResponse, SQLQueryStream;
    }
}

/// What was asked so far.
#[derive(Default)]
pub(super) struct Log {
    counts: HashMap<&'static str, usize>,
    /// The keys that calls came with.
    keys: Vec<Option<String>>,
}

impl Log {
    fn note<T>(&mut self, call: &'static str, request: &Request<T>) -> usize {
        let key = request.metadata().get("authorization");
        let key = key.map(|key| key.to_str().expect("text").to_owned());
        self.keys.push(key);
        let count = self.counts.entry(call).or_default();
        *count += 1;
        *count - 1
    }
}

struct Service(Arc<Script>);

/// A running script.
pub(super) struct Scripted {
    pub(super) address: String,
    script: Arc<Script>,
    running: Option<Runtime>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown_background();
        }
    }
}

impl Script {
    /// Serves it on a port of its own.
    pub(super) async fn start(self) -> Scripted {
        self.start_at("127.0.0.1:0").await
    }

    pub(super) async fn start_at(self, address: &str) -> Scripted {
        self.run(address, Server::builder())
    }

    /// Serves it by TLS; answers the certificate to trust, too.
    pub(super) async fn start_with_tls(self) -> (Scripted, String) {
        let names = vec!["127.0.0.1".to_owned()];
        let signed = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let certificate = signed.cert.pem();
        let identity = Identity::from_pem(&certificate, signed.signing_key.serialize_pem());
        let server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity));
        (self.run("127.0.0.1:0", server.expect("TLS")), certificate)
    }

    fn run(self, address: &str, mut server: Server) -> Scripted {
        // A runtime of its own: dropped, it takes open connections along.
        let running = Runtime::new().expect("a runtime");
        let guard = running.enter();
        let incoming = TcpIncoming::bind(address.parse().expect("an address"));
        let incoming = incoming.expect("a free port").with_nodelay(Some(true));
        drop(guard);
        let address = incoming.local_addr().expect("bound").to_string();
        let script = Arc::new(self);
        let service =
            BTrDbServer::new(Service(Arc::clone(&script))).max_decoding_message_size(64 << 20);
        running.spawn(async move {
            let server = server.add_service(service);
            server.serve_with_incoming(incoming).await.expect("served");
        });
        Scripted {
            address,
            script,
            running: Some(running),
        }
    }
}

impl Scripted {
    /// How often a call was made.
    pub(super) fn count(&self, call: &str) -> usize {
        self.script
            .log
            .lock()
            .counts
            .get(call)
            .copied()
            .unwrap_or(0)
    }

    /// The keys that calls came with, in order.
    pub(super) fn keys(&self) -> Vec<Option<String>> {
        self.script.log.lock().keys.clone()
    }
}

/// BTrDB's way to say that something went wrong.
pub(super) fn stat(code: u32, msg: &str) -> Option<Status> {
    Some(Status {
        code,
        msg: msg.to_owned(),
        mash: None,
    })
}

/// Points of one message.
pub(super) fn raw(version_major: u64, points: &[(i64, f64)]) -> RawValuesResponse {
    RawValuesResponse {
        version_major,
        values: points
            .iter()
            .map(|&(time, value)| row(Point { time, value }))
            .collect(),
        ..RawValuesResponse::default()
    }
}

/// A window of points that are all `mean`.
pub(super) fn window(time: i64, count: u64, mean: f64, stddev: f64) -> StatPoint {
    StatPoint {
        time,
        min: Some(mean),
        mean: Some(mean),
        max: Some(mean + 1.0),
        count,
        stddev: Some(stddev),
    }
}

/// Windows of one message.
pub(super) fn of_windows(version_major: u64, values: Vec<StatPoint>) -> WindowsResponse {
    WindowsResponse {
        version_major,
        values,
        ..WindowsResponse::default()
    }
}

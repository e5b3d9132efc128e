//! The calls of the protocol as types: what each one sends and what is answered.

use futures::FutureExt;
use futures::future::BoxFuture;
use tonic::{Request, Response, Status, Streaming};

use super::pool::Client;
use crate::error::Code;
use crate::wire::proto;

/// A message of an answer.
pub(super) trait Answer: Send + 'static {
    /// What it says went wrong; taken out of it.
    fn refusal(&mut self) -> Option<proto::Status>;
}

/// A call.
pub(super) trait Call {
    /// What is sent.
    type Ask: Clone + Send + Sync + 'static;
    /// What is answered, once or many times.
    type Answer: Answer;
}

/// A call with one answer.
pub(super) trait Unary: Call {
    fn call(
        client: Client,
        ask: Request<Self::Ask>,
    ) -> BoxFuture<'static, Result<Response<Self::Answer>, Status>>;
}

/// A call with many answers.
pub(super) trait Streamed: Call {
    fn call(
        client: Client,
        ask: Request<Self::Ask>,
    ) -> BoxFuture<'static, Result<Response<Streaming<Self::Answer>>, Status>>;
}

macro_rules! answers {
    ($($answer:ident),* $(,)?) => {$(
        impl Answer for proto::$answer {
            fn refusal(&mut self) -> Option<proto::Status> {
                self.stat.take()
            }
        }
    )*};
}

macro_rules! calls {
    ($kind:ident<$reply:ty>: $($call:ident = $method:ident($ask:ident) -> $answer:ident;)*) => {$(
        pub(super) struct $call;

        impl Call for $call {
            type Ask = proto::$ask;
            type Answer = proto::$answer;
        }

        impl $kind for $call {
            fn call(
                mut client: Client,
                ask: Request<Self::Ask>,
            ) -> BoxFuture<'static, Result<Response<$reply>, Status>> {
                async move { client.$method(ask).await }.boxed()
            }
        }
    )*};
}

answers! {
    ArrowAlignedWindowsResponse,
    AlignedWindowsResponse,
    ArrowMultiValuesResponse,
    ArrowRawValuesResponse,
    ArrowWindowsResponse,
    ChangesResponse,
    CreateResponse,
    DeleteResponse,
    FlushResponse,
    InfoResponse,
    InsertResponse,
    ListCollectionsResponse,
    LookupStreamsResponse,
    MetadataUsageResponse,
    ObliterateResponse,
    RawValuesResponse,
    SetStreamAnnotationsResponse,
    SetStreamTagsResponse,
    StreamInfoResponse,
    SubscriptionResp,
    WindowsResponse,
}

calls! { Unary<Self::Answer>:
    ArrowInsert = arrow_insert(ArrowInsertParams) -> InsertResponse;
    Create = create(CreateParams) -> CreateResponse;
    Delete = delete(DeleteParams) -> DeleteResponse;
    Flush = flush(FlushParams) -> FlushResponse;
    GetMetadataUsage = get_metadata_usage(MetadataUsageParams) -> MetadataUsageResponse;
    Info = info(InfoParams) -> InfoResponse;
    Insert = insert(InsertParams) -> InsertResponse;
    Nearest = nearest(NearestParams) -> NearestResponse;
    Obliterate = obliterate(ObliterateParams) -> ObliterateResponse;
    SetStreamAnnotations = set_stream_annotations(SetStreamAnnotationsParams) -> SetStreamAnnotationsResponse;
    SetStreamTags = set_stream_tags(SetStreamTagsParams) -> SetStreamTagsResponse;
    StreamInfo = stream_info(StreamInfoParams) -> StreamInfoResponse;
}

calls! { Streamed<Streaming<Self::Answer>>:
    AlignedWindows = aligned_windows(AlignedWindowsParams) -> AlignedWindowsResponse;
    ArrowAlignedWindows = arrow_aligned_windows(AlignedWindowsParams) -> ArrowAlignedWindowsResponse;
    ArrowMultiValues = arrow_multi_values(ArrowMultiValuesParams) -> ArrowMultiValuesResponse;
    ArrowRawValues = arrow_raw_values(ArrowRawValuesParams) -> ArrowRawValuesResponse;
    ArrowWindows = arrow_windows(WindowsParams) -> ArrowWindowsResponse;
    Changes = changes(ChangesParams) -> ChangesResponse;
    ListCollections = list_collections(ListCollectionsParams) -> ListCollectionsResponse;
    LookupStreams = lookup_streams(LookupStreamsParams) -> LookupStreamsResponse;
    RawValues = raw_values(RawValuesParams) -> RawValuesResponse;
    Windows = windows(WindowsParams) -> WindowsResponse;
}

/// That there is no such point is an answer, and stays in it: it may tell the version.
impl Answer for proto::NearestResponse {
    fn refusal(&mut self) -> Option<proto::Status> {
        self.stat
            .take_if(|stat| stat.code != Code::NoSuchPoint as u32)
    }
}

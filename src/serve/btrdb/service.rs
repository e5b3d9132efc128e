//! The calls of BTrDB, each decoded and passed on.

use tonic::{Request, Response, Streaming};

use super::Shared;
use super::answer::{Answer, Answers, many, one};
use super::node::info;
use crate::wire::proto::b_tr_db_server::BTrDb;
use crate::wire::proto::{
    AlignedWindowsParams, AlignedWindowsResponse, ArrowAlignedWindowsResponse, ArrowInsertParams,
    ArrowMultiValuesParams, ArrowMultiValuesResponse, ArrowRawValuesParams, ArrowRawValuesResponse,
    ArrowWindowsResponse, ChangesParams, ChangesResponse, CreateParams, CreateResponse,
    DeleteParams, DeleteResponse, FaultInjectParams, FaultInjectResponse, FlushParams,
    FlushResponse, GenerateCsvParams, GenerateCsvResponse, InfoParams, InfoResponse, InsertParams,
    InsertResponse, ListCollectionsParams, ListCollectionsResponse, LookupStreamsParams,
    LookupStreamsResponse, MetadataUsageParams, MetadataUsageResponse, NearestParams,
    NearestResponse, ObliterateParams, ObliterateResponse, RawValuesParams, RawValuesResponse,
    SetStreamAnnotationsParams, SetStreamAnnotationsResponse, SetStreamTagsParams,
    SetStreamTagsResponse, SqlQueryParams, SqlQueryResponse, StreamInfoParams, StreamInfoResponse,
    SubscriptionResp, SubscriptionUpdate, WindowsParams, WindowsResponse,
};

/// BTrDB's protocol over a gateway.
#[derive(Debug)]
pub struct BtrdbServer {
    shared: Shared,
}

impl BtrdbServer {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl BTrDb for BtrdbServer {
    type RawValuesStream = Answers<RawValuesResponse>;
    type ArrowRawValuesStream = Answers<ArrowRawValuesResponse>;
    type ArrowMultiValuesStream = Answers<ArrowMultiValuesResponse>;
    type AlignedWindowsStream = Answers<AlignedWindowsResponse>;
    type ArrowAlignedWindowsStream = Answers<ArrowAlignedWindowsResponse>;
    type WindowsStream = Answers<WindowsResponse>;
    type ArrowWindowsStream = Answers<ArrowWindowsResponse>;
    type ListCollectionsStream = Answers<ListCollectionsResponse>;
    type LookupStreamsStream = Answers<LookupStreamsResponse>;
    type ChangesStream = Answers<ChangesResponse>;
    type GenerateCSVStream = Answers<GenerateCsvResponse>;
    type SQLQueryStream = Answers<SqlQueryResponse>;
    type SubscribeStream = Answers<SubscriptionResp>;

    async fn raw_values(&self, request: Request<RawValuesParams>) -> Answer<Self::RawValuesStream> {
        many(self.shared.raw_values(request.get_ref()))
    }

    async fn arrow_raw_values(
        &self,
        request: Request<ArrowRawValuesParams>,
    ) -> Answer<Self::ArrowRawValuesStream> {
        many(self.shared.arrow_raw_values(request.into_inner()))
    }

    async fn arrow_multi_values(
        &self,
        request: Request<ArrowMultiValuesParams>,
    ) -> Answer<Self::ArrowMultiValuesStream> {
        many(self.shared.arrow_multi_values(request.into_inner()))
    }

    async fn aligned_windows(
        &self,
        request: Request<AlignedWindowsParams>,
    ) -> Answer<Self::AlignedWindowsStream> {
        many(self.shared.aligned_windows(request.get_ref()))
    }

    async fn arrow_aligned_windows(
        &self,
        request: Request<AlignedWindowsParams>,
    ) -> Answer<Self::ArrowAlignedWindowsStream> {
        many(self.shared.arrow_aligned_windows(request.get_ref()))
    }

    async fn windows(&self, request: Request<WindowsParams>) -> Answer<Self::WindowsStream> {
        many(self.shared.windows(request.get_ref()))
    }

    async fn arrow_windows(
        &self,
        request: Request<WindowsParams>,
    ) -> Answer<Self::ArrowWindowsStream> {
        many(self.shared.arrow_windows(request.get_ref()))
    }

    async fn stream_info(&self, request: Request<StreamInfoParams>) -> Answer<StreamInfoResponse> {
        one(self.shared.stream_info(request.get_ref()).await)
    }

    async fn set_stream_annotations(
        &self,
        request: Request<SetStreamAnnotationsParams>,
    ) -> Answer<SetStreamAnnotationsResponse> {
        one(self
            .shared
            .set_stream_annotations(request.into_inner())
            .await)
    }

    async fn set_stream_tags(
        &self,
        request: Request<SetStreamTagsParams>,
    ) -> Answer<SetStreamTagsResponse> {
        one(self.shared.set_stream_tags(request.into_inner()).await)
    }

    async fn create(&self, request: Request<CreateParams>) -> Answer<CreateResponse> {
        one(self.shared.create(request.into_inner()).await)
    }

    async fn list_collections(
        &self,
        request: Request<ListCollectionsParams>,
    ) -> Answer<Self::ListCollectionsStream> {
        many(self.shared.list_collections(request.get_ref()).await)
    }

    async fn lookup_streams(
        &self,
        request: Request<LookupStreamsParams>,
    ) -> Answer<Self::LookupStreamsStream> {
        many(self.shared.lookup_streams(request.into_inner()).await)
    }

    async fn nearest(&self, request: Request<NearestParams>) -> Answer<NearestResponse> {
        one(self.shared.nearest(request.get_ref()).await)
    }

    async fn changes(&self, request: Request<ChangesParams>) -> Answer<Self::ChangesStream> {
        many(self.shared.changes(request.get_ref()).await)
    }

    async fn insert(&self, request: Request<InsertParams>) -> Answer<InsertResponse> {
        one(self.shared.insert(request.into_inner()).await)
    }

    async fn arrow_insert(&self, request: Request<ArrowInsertParams>) -> Answer<InsertResponse> {
        one(self.shared.arrow_insert(request.into_inner()).await)
    }

    async fn delete(&self, request: Request<DeleteParams>) -> Answer<DeleteResponse> {
        one(self.shared.delete(request.get_ref()).await)
    }

    async fn info(&self, _request: Request<InfoParams>) -> Answer<InfoResponse> {
        one(Ok(info()))
    }

    async fn fault_inject(
        &self,
        request: Request<FaultInjectParams>,
    ) -> Answer<FaultInjectResponse> {
        one(self.shared.fault_inject(request.get_ref()))
    }

    async fn flush(&self, request: Request<FlushParams>) -> Answer<FlushResponse> {
        one(self.shared.flush(request.get_ref()).await)
    }

    async fn obliterate(&self, request: Request<ObliterateParams>) -> Answer<ObliterateResponse> {
        one(self.shared.obliterate(request.get_ref()).await)
    }

    async fn get_metadata_usage(
        &self,
        request: Request<MetadataUsageParams>,
    ) -> Answer<MetadataUsageResponse> {
        one(self.shared.get_metadata_usage(request.get_ref()).await)
    }

    async fn generate_csv(
        &self,
        request: Request<GenerateCsvParams>,
    ) -> Answer<Self::GenerateCSVStream> {
        many(self.shared.generate_csv(request.into_inner()).await)
    }

    async fn sql_query(&self, request: Request<SqlQueryParams>) -> Answer<Self::SQLQueryStream> {
        many(self.shared.sql_query(request.get_ref()).await)
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscriptionUpdate>>,
    ) -> Answer<Self::SubscribeStream> {
        let answers = self.shared.subscribe(request.into_inner());
        Ok(Response::new(answers))
    }
}

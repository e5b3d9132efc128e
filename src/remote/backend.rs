//! A remote behind the seam: each method is the call, or calls, of its name.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{Remote, lookups, metadata, multi, points, stats, subscribe, writes};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::{
    AnnotationUpdate, Changes, ChangesQuery, InsertOptions, MetadataUsage, MultiBatch, MultiQuery,
    NearestQuery, Point, PointBatch, PointQuery, Snapshot, StatBatch, StatQuery, StreamDescriptor,
    StreamFilter, StreamId, SubscriptionUpdate, TagUpdate, TimeRange, Version, Write,
};

#[async_trait]
impl Backend for Remote {
    async fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot::Latest)
    }

    async fn create(&self, stream: StreamDescriptor) -> Result<()> {
        metadata::create(&self.link, stream).await
    }

    async fn find(&self, filter: StreamFilter) -> Result<Vec<Arc<StreamDescriptor>>> {
        metadata::find(&self.link, filter).await
    }

    async fn describe(&self, streams: &[StreamId]) -> Result<Vec<Arc<StreamDescriptor>>> {
        metadata::describe(&self.link, streams).await
    }

    async fn versions(&self, streams: &[StreamId], snapshot: Snapshot) -> Result<Vec<Version>> {
        lookups::versions(&self.link, streams, snapshot).await
    }

    async fn set_tags(&self, update: TagUpdate) -> Result<u64> {
        metadata::set_tags(&self.link, update).await
    }

    async fn set_annotations(&self, update: AnnotationUpdate) -> Result<u64> {
        metadata::set_annotations(&self.link, update).await
    }

    async fn obliterate(&self, stream: StreamId) -> Result<()> {
        metadata::obliterate(&self.link, stream).await
    }

    async fn collections(&self, prefix: &str) -> Result<Vec<String>> {
        metadata::collections(&self.link, prefix).await
    }

    async fn metadata_usage(&self, prefix: &str) -> Result<MetadataUsage> {
        metadata::usage(&self.link, prefix).await
    }

    async fn insert(&self, writes: Vec<Write>, options: InsertOptions) -> Vec<Result<Version>> {
        writes::insert(&self.link, writes, options).await
    }

    async fn delete(&self, stream: StreamId, range: TimeRange) -> Result<Version> {
        lookups::delete(&self.link, stream, range).await
    }

    async fn flush(&self, streams: &[StreamId]) -> Result<Vec<Version>> {
        lookups::flush(&self.link, streams).await
    }

    fn points(&self, query: PointQuery) -> BoxStream<'static, Result<PointBatch>> {
        points::points(Arc::clone(&self.link), query)
    }

    fn stats(&self, query: StatQuery) -> BoxStream<'static, Result<StatBatch>> {
        stats::stats(Arc::clone(&self.link), query)
    }

    fn multi_values(&self, query: MultiQuery) -> BoxStream<'static, Result<MultiBatch>> {
        multi::multi_values(Arc::clone(&self.link), query)
    }

    async fn nearest(&self, query: NearestQuery) -> Result<Vec<(Version, Option<Point>)>> {
        lookups::nearest(&self.link, query).await
    }

    async fn changes(&self, query: ChangesQuery) -> Result<Changes> {
        lookups::changes(&self.link, query).await
    }

    fn subscribe(
        &self,
        updates: BoxStream<'static, SubscriptionUpdate>,
    ) -> BoxStream<'static, Result<Write>> {
        subscribe::subscribe(Arc::clone(&self.link), updates)
    }
}

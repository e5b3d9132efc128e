//! The seam: protocol above, storage below.
//!
//! [`Backend`] has one method for each BTrDB operation, with its options in a struct. What is a composition of these (a
//! count, a CSV, SQL over metadata) is not a method. Reads are set-at-a-time: they take many streams, and large ones answer
//! with streams of columnar batches. No method has a default body: defaults please callers and betray wrappers.
//!
//! Wrappers are adjectives: [`observed::Observed`] puts a span around every call.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::model::{
    AnnotationUpdate, Changes, ChangesQuery, InsertOptions, MetadataUsage, MultiBatch, MultiQuery,
    NearestQuery, Point, PointBatch, PointQuery, Snapshot, StatBatch, StatQuery, StreamDescriptor,
    StreamFilter, StreamId, SubscriptionUpdate, TagUpdate, TimeRange, Version, Write,
};

pub mod observed;

/// A BTrDB: a real one, or one in this process.
///
/// All time ranges are half-open, in nanoseconds since 1970 UTC. An unknown stream is
/// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) with code 404, a version that cannot be had `NotFound` with
/// code 450, on every method that names one. An empty or reversed range is
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with code 413.
#[async_trait]
pub trait Backend: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// The state of the store now, for reads that must all see the same one: everything acknowledged so far.
    ///
    /// A backend without store-wide commits answers [`Snapshot::Latest`].
    async fn snapshot(&self) -> Result<Snapshot>;

    /// Creates a stream at [`Version::CREATED`], with no points, and property version 1 whatever the descriptor says.
    ///
    /// # Errors
    /// Codes 407 to 409 for what BTrDB does not store, 417 if the uuid lives, 429 if it was obliterated, 418 if another stream
    /// has the same collection and tags; in that order.
    async fn create(&self, stream: StreamDescriptor) -> Result<()>;

    /// The streams that match, ascending by collection, name, uuid.
    async fn find(&self, filter: StreamFilter) -> Result<Vec<Arc<StreamDescriptor>>>;

    /// The descriptors of `streams`, in their order.
    async fn describe(&self, streams: &[StreamId]) -> Result<Vec<Arc<StreamDescriptor>>>;

    /// The versions that a read of `streams` under `snapshot` sees, in their order.
    async fn versions(&self, streams: &[StreamId], snapshot: Snapshot) -> Result<Vec<Version>>;

    /// Changes tags and collection; answers the new property version.
    ///
    /// # Errors
    /// Codes 407 and 409 for what BTrDB does not store, 423 if the property version is not the one expected, 418 if another
    /// stream has the resulting collection and tags.
    async fn set_tags(&self, update: TagUpdate) -> Result<u64>;

    /// Changes annotations; answers the new property version.
    ///
    /// # Errors
    /// Codes 408 and 409 for what BTrDB does not store, 423 if the property version is not the one expected.
    async fn set_annotations(&self, update: AnnotationUpdate) -> Result<u64>;

    /// Removes a stream, all its versions and its metadata, and burns its uuid.
    async fn obliterate(&self, stream: StreamId) -> Result<()>;

    /// The names of collections that hold a stream and begin with `prefix`, ascending by bytes.
    ///
    /// # Errors
    /// Code 407 for a prefix that no collection can have.
    async fn collections(&self, prefix: &str) -> Result<Vec<String>>;

    /// Which tag and annotation keys the streams of collections that begin with `prefix` use.
    async fn metadata_usage(&self, prefix: &str) -> Result<MetadataUsage>;

    /// Adds points, each write a new version of its stream; one answer a write, in order.
    ///
    /// A write is applied whole or not at all. One without points answers the current version. A backend with store-wide
    /// commits makes all writes of a call visible in one. When the call returns, what it answered `Ok` is durable (as far as
    /// the store is), and visible to every read of the latest state.
    ///
    /// # Errors
    /// Of each write: code 413 or 425 for points that BTrDB does not store, 414 for more points than the store takes at once.
    async fn insert(&self, writes: Vec<Write>, options: InsertOptions) -> Vec<Result<Version>>;

    /// Removes the points of `range` in a new version, which it answers, even if there were none.
    async fn delete(&self, stream: StreamId, range: TimeRange) -> Result<Version>;

    /// Makes buffered points part of a version; answers the versions, in the order of `streams`.
    async fn flush(&self, streams: &[StreamId]) -> Result<Vec<Version>>;

    /// Raw points. Each stream of the query answers with a batch at least, which tells the version even if it holds nothing.
    fn points(&self, query: PointQuery) -> BoxStream<'static, Result<PointBatch>>;

    /// Statistics between cut points: windows, aligned windows, time buckets and whole ranges alike. Each stream of the query
    /// answers with a batch at least, which tells the version even if it holds nothing.
    ///
    /// # Errors
    /// Code 415 for windows of no or too much width.
    fn stats(&self, query: StatQuery) -> BoxStream<'static, Result<StatBatch>>;

    /// Streams side by side.
    fn multi_values(&self, query: MultiQuery) -> BoxStream<'static, Result<MultiBatch>>;

    /// The nearest points, in the order of the query's streams, with the versions read; none where there is no such point.
    async fn nearest(&self, query: NearestQuery) -> Result<Vec<(Version, Option<Point>)>>;

    /// What may differ between two versions.
    ///
    /// # Errors
    /// Code 427 if the first version comes after the second, 415 for a resolution beyond 63.
    async fn changes(&self, query: ChangesQuery) -> Result<Changes>;

    /// Points as they are inserted, one answer an accepted write, rows in the order sent, before any merge policy.
    ///
    /// Ends when `updates` ends. An unknown stream gives one error and does not end it; a reader that falls behind gets code
    /// 426, and that ends it.
    fn subscribe(
        &self,
        updates: BoxStream<'static, SubscriptionUpdate>,
    ) -> BoxStream<'static, Result<Write>>;
}

//! A wrapper that makes every call across the seam visible: one span and one count each, in this one place.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tracing::{Instrument, Span, debug_span};

use super::Backend;
use crate::error::Result;
use crate::model::{
    AnnotationUpdate, Changes, ChangesQuery, InsertOptions, MetadataUsage, MultiBatch, MultiQuery,
    NearestQuery, Point, PointBatch, PointQuery, Snapshot, StatBatch, StatQuery, StreamDescriptor,
    StreamFilter, StreamId, SubscriptionUpdate, TagUpdate, TimeRange, Version, Write,
};

/// A [`Backend`] whose calls are traced and counted.
#[derive(Debug)]
pub struct Observed {
    inner: Arc<dyn Backend>,
    counts: Arc<Counts>,
}

/// How often each operation was called, and how many rows the reads delivered.
#[derive(Debug, Default)]
pub struct Counts {
    calls: [AtomicU64; Operation::ALL.len()],
    points: AtomicU64,
    windows: AtomicU64,
}

/// An operation of the seam, as a name to count under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method of the same name")]
pub enum Operation {
    Snapshot,
    Create,
    Find,
    Describe,
    Versions,
    SetTags,
    SetAnnotations,
    Obliterate,
    Collections,
    MetadataUsage,
    Insert,
    Delete,
    Flush,
    Points,
    Stats,
    MultiValues,
    Nearest,
    Changes,
    Subscribe,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Snapshot,
        Self::Create,
        Self::Find,
        Self::Describe,
        Self::Versions,
        Self::SetTags,
        Self::SetAnnotations,
        Self::Obliterate,
        Self::Collections,
        Self::MetadataUsage,
        Self::Insert,
        Self::Delete,
        Self::Flush,
        Self::Points,
        Self::Stats,
        Self::MultiValues,
        Self::Nearest,
        Self::Changes,
        Self::Subscribe,
    ];
}

impl Counts {
    /// Calls of one operation so far.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.calls[operation as usize].load(Ordering::Relaxed)
    }

    /// Raw points delivered so far.
    pub fn points(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }

    /// Windows delivered so far.
    pub fn windows(&self) -> u64 {
        self.windows.load(Ordering::Relaxed)
    }

    fn count(&self, operation: Operation) {
        self.calls[operation as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Observed {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            counts: Arc::default(),
        }
    }

    /// The counters, which go on counting.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Counts the rows of a stream, and polls it inside `span`.
    fn watch<T: 'static>(
        &self,
        stream: BoxStream<'static, Result<T>>,
        span: Span,
        count: impl Fn(&Counts, &T) + Send + 'static,
    ) -> BoxStream<'static, Result<T>> {
        let counts = Arc::clone(&self.counts);
        let mut stream = stream;
        futures::stream::poll_fn(move |context| {
            let next = span.in_scope(|| stream.poll_next_unpin(context));
            if let std::task::Poll::Ready(Some(Ok(batch))) = &next {
                count(&counts, batch);
            }
            next
        })
        .boxed()
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Observed {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.counts.count(Operation::Snapshot);
        self.inner
            .snapshot()
            .instrument(debug_span!("snapshot"))
            .await
    }

    async fn create(&self, stream: StreamDescriptor) -> Result<()> {
        self.counts.count(Operation::Create);
        let span = debug_span!("create", stream = %stream.id, collection = stream.collection);
        self.inner.create(stream).instrument(span).await
    }

    async fn find(&self, filter: StreamFilter) -> Result<Vec<Arc<StreamDescriptor>>> {
        self.counts.count(Operation::Find);
        let span = debug_span!("find", ?filter);
        self.inner.find(filter).instrument(span).await
    }

    async fn describe(&self, streams: &[StreamId]) -> Result<Vec<Arc<StreamDescriptor>>> {
        self.counts.count(Operation::Describe);
        self.inner
            .describe(streams)
            .instrument(debug_span!("describe", streams = streams.len()))
            .await
    }

    async fn versions(&self, streams: &[StreamId], snapshot: Snapshot) -> Result<Vec<Version>> {
        self.counts.count(Operation::Versions);
        let span = debug_span!("versions", streams = streams.len(), %snapshot);
        self.inner
            .versions(streams, snapshot)
            .instrument(span)
            .await
    }

    async fn set_tags(&self, update: TagUpdate) -> Result<u64> {
        self.counts.count(Operation::SetTags);
        let span = debug_span!("set_tags", stream = %update.stream);
        self.inner.set_tags(update).instrument(span).await
    }

    async fn set_annotations(&self, update: AnnotationUpdate) -> Result<u64> {
        self.counts.count(Operation::SetAnnotations);
        let span = debug_span!("set_annotations", stream = %update.stream);
        self.inner.set_annotations(update).instrument(span).await
    }

    async fn obliterate(&self, stream: StreamId) -> Result<()> {
        self.counts.count(Operation::Obliterate);
        self.inner
            .obliterate(stream)
            .instrument(debug_span!("obliterate", %stream))
            .await
    }

    async fn collections(&self, prefix: &str) -> Result<Vec<String>> {
        self.counts.count(Operation::Collections);
        self.inner
            .collections(prefix)
            .instrument(debug_span!("collections", prefix))
            .await
    }

    async fn metadata_usage(&self, prefix: &str) -> Result<MetadataUsage> {
        self.counts.count(Operation::MetadataUsage);
        self.inner
            .metadata_usage(prefix)
            .instrument(debug_span!("metadata_usage", prefix))
            .await
    }

    async fn insert(&self, writes: Vec<Write>, options: InsertOptions) -> Vec<Result<Version>> {
        self.counts.count(Operation::Insert);
        let points: usize = writes.iter().map(|write| write.times.len()).sum();
        let span = debug_span!(
            "insert",
            streams = writes.len(),
            points,
            merge = options.merge.as_str()
        );
        self.inner.insert(writes, options).instrument(span).await
    }

    async fn delete(&self, stream: StreamId, range: TimeRange) -> Result<Version> {
        self.counts.count(Operation::Delete);
        self.inner
            .delete(stream, range)
            .instrument(debug_span!("delete", %stream, %range))
            .await
    }

    async fn flush(&self, streams: &[StreamId]) -> Result<Vec<Version>> {
        self.counts.count(Operation::Flush);
        self.inner
            .flush(streams)
            .instrument(debug_span!("flush", streams = streams.len()))
            .await
    }

    fn points(&self, query: PointQuery) -> BoxStream<'static, Result<PointBatch>> {
        self.counts.count(Operation::Points);
        let span = debug_span!("points", streams = query.streams.len(), ranges = ?query.ranges, snapshot = %query.snapshot);
        self.watch(
            self.inner.points(query),
            span,
            |counts, batch: &PointBatch| {
                counts
                    .points
                    .fetch_add(batch.len() as u64, Ordering::Relaxed);
            },
        )
    }

    fn stats(&self, query: StatQuery) -> BoxStream<'static, Result<StatBatch>> {
        self.counts.count(Operation::Stats);
        let (ranges, cuts) = (&query.ranges, &query.cuts);
        let span = debug_span!("stats", streams = query.streams.len(), ?ranges, %cuts, snapshot = %query.snapshot);
        self.watch(
            self.inner.stats(query),
            span,
            |counts, batch: &StatBatch| {
                counts
                    .windows
                    .fetch_add(batch.times.len() as u64, Ordering::Relaxed);
            },
        )
    }

    fn multi_values(&self, query: MultiQuery) -> BoxStream<'static, Result<MultiBatch>> {
        self.counts.count(Operation::MultiValues);
        let span = debug_span!("multi_values", streams = query.streams.len(), range = %query.range, snapshot = %query.snapshot);
        self.watch(
            self.inner.multi_values(query),
            span,
            |counts, batch: &MultiBatch| {
                counts.points.fetch_add(
                    (batch.times.len() * batch.columns.len()) as u64,
                    Ordering::Relaxed,
                );
            },
        )
    }

    async fn nearest(&self, query: NearestQuery) -> Result<Vec<(Version, Option<Point>)>> {
        self.counts.count(Operation::Nearest);
        let span = debug_span!("nearest", streams = query.streams.len(), time = query.time);
        self.inner.nearest(query).instrument(span).await
    }

    async fn changes(&self, query: ChangesQuery) -> Result<Changes> {
        self.counts.count(Operation::Changes);
        let span = debug_span!("changes", stream = %query.stream, from = %query.from);
        self.inner.changes(query).instrument(span).await
    }

    fn subscribe(
        &self,
        updates: BoxStream<'static, SubscriptionUpdate>,
    ) -> BoxStream<'static, Result<Write>> {
        self.counts.count(Operation::Subscribe);
        self.watch(
            self.inner.subscribe(updates),
            debug_span!("subscribe"),
            |_, _| (),
        )
    }
}

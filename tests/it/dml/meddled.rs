//! A store in which a call fails when the test says so, or in which somebody else is faster.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use btrdb_flight::backend::Backend;
use btrdb_flight::error::{Error, ErrorKind, Result};
use btrdb_flight::model::{
    AnnotationUpdate, Changes, ChangesQuery, InsertOptions, MetadataUsage, MultiBatch, MultiQuery,
    NearestQuery, Point, PointBatch, PointQuery, Snapshot, StatBatch, StatQuery, StreamDescriptor,
    StreamFilter, StreamId, SubscriptionUpdate, TagUpdate, TimeRange, Version, Write,
};
use futures::stream::BoxStream;

/// A backend with faults to come.
#[derive(Debug)]
pub(super) struct Meddled {
    inner: Arc<dyn Backend>,
    /// Changes that are still let through before one fails; none fails below zero.
    changes_left: AtomicI64,
    /// How many times somebody else changes a stream's annotations just before a property is changed.
    rivals: AtomicI64,
    /// Whether somebody else inserts a point whenever versions are asked for.
    inserts: AtomicI64,
}

impl Meddled {
    pub(super) fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            changes_left: AtomicI64::new(i64::MAX),
            rivals: AtomicI64::new(0),
            inserts: AtomicI64::new(0),
        }
    }

    /// Lets `count` changes through, and fails all others.
    pub(super) fn fail_after(&self, count: i64) {
        self.changes_left.store(count, Ordering::SeqCst);
    }

    /// Changes the next `count` streams whose properties are changed, just before.
    pub(super) fn overtake(&self, count: i64) {
        self.rivals.store(count, Ordering::SeqCst);
    }

    /// Inserts a point into the next `count` streams whose versions are asked for, just before.
    pub(super) fn insert_before(&self, count: i64) {
        self.inserts.store(count, Ordering::SeqCst);
    }

    fn admit(&self) -> Result<()> {
        if self.changes_left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, "the store is away"))
    }

    async fn rival(&self, stream: StreamId) {
        let left = self.rivals.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            let update = AnnotationUpdate {
                stream,
                expected: None,
                changes: [(format!("rival {left}"), Some("was here".to_owned()))].into(),
                removals: Vec::new(),
            };
            self.inner.set_annotations(update).await.expect("changes");
        }
    }
}

impl fmt::Display for Meddled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meddled({})", self.inner)
    }
}

#[async_trait]
impl Backend for Meddled {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.inner.snapshot().await
    }

    async fn create(&self, stream: StreamDescriptor) -> Result<()> {
        self.admit()?;
        self.inner.create(stream).await
    }

    async fn find(&self, filter: StreamFilter) -> Result<Vec<Arc<StreamDescriptor>>> {
        self.inner.find(filter).await
    }

    async fn describe(&self, streams: &[StreamId]) -> Result<Vec<Arc<StreamDescriptor>>> {
        self.inner.describe(streams).await
    }

    async fn versions(&self, streams: &[StreamId], snapshot: Snapshot) -> Result<Vec<Version>> {
        if self.inserts.fetch_sub(1, Ordering::SeqCst) > 0 && snapshot == Snapshot::Latest {
            let write = Write {
                stream: streams[0],
                times: vec![77].into(),
                values: vec![7.0].into(),
            };
            let inserted = self.inner.insert(vec![write], InsertOptions::default());
            inserted.await.remove(0).expect("inserts");
        }
        self.inner.versions(streams, snapshot).await
    }

    async fn set_tags(&self, update: TagUpdate) -> Result<u64> {
        self.rival(update.stream).await;
        self.admit()?;
        self.inner.set_tags(update).await
    }

    async fn set_annotations(&self, update: AnnotationUpdate) -> Result<u64> {
        self.rival(update.stream).await;
        self.admit()?;
        self.inner.set_annotations(update).await
    }

    async fn obliterate(&self, stream: StreamId) -> Result<()> {
        self.admit()?;
        self.inner.obliterate(stream).await
    }

    async fn collections(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.collections(prefix).await
    }

    async fn metadata_usage(&self, prefix: &str) -> Result<MetadataUsage> {
        self.inner.metadata_usage(prefix).await
    }

    async fn insert(&self, writes: Vec<Write>, options: InsertOptions) -> Vec<Result<Version>> {
        let mut answers = Vec::new();
        for write in writes {
            answers.push(match self.admit() {
                Ok(()) => self.inner.insert(vec![write], options).await.remove(0),
                Err(error) => Err(error),
            });
        }
        answers
    }

    async fn delete(&self, stream: StreamId, range: TimeRange) -> Result<Version> {
        self.admit()?;
        self.inner.delete(stream, range).await
    }

    async fn flush(&self, streams: &[StreamId]) -> Result<Vec<Version>> {
        self.inner.flush(streams).await
    }

    fn points(&self, query: PointQuery) -> BoxStream<'static, Result<PointBatch>> {
        self.inner.points(query)
    }

    fn stats(&self, query: StatQuery) -> BoxStream<'static, Result<StatBatch>> {
        self.inner.stats(query)
    }

    fn multi_values(&self, query: MultiQuery) -> BoxStream<'static, Result<MultiBatch>> {
        self.inner.multi_values(query)
    }

    async fn nearest(&self, query: NearestQuery) -> Result<Vec<(Version, Option<Point>)>> {
        self.inner.nearest(query).await
    }

    async fn changes(&self, query: ChangesQuery) -> Result<Changes> {
        self.inner.changes(query).await
    }

    fn subscribe(
        &self,
        updates: BoxStream<'static, SubscriptionUpdate>,
    ) -> BoxStream<'static, Result<Write>> {
        self.inner.subscribe(updates)
    }
}

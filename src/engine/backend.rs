//! The engine behind the seam.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::read::next_points;
use super::{Engine, join, read, subscribe, walk};
use crate::backend::Backend;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::stream::check_collection;
use crate::model::time::{MAX_TIME, MIN_TIME};
use crate::model::{
    AnnotationUpdate, Changes, ChangesQuery, Direction, InsertOptions, MetadataUsage, MultiBatch,
    MultiQuery, NearestQuery, Point, PointBatch, PointQuery, Snapshot, StatBatch, StatQuery,
    StreamDescriptor, StreamFilter, StreamId, StreamRead, SubscriptionUpdate, TagUpdate, TimeRange,
    Version, Write,
};

/// Points that are inserted on the calling thread; more are worked out on one that may take its time.
const INLINE_POINTS_MAX: usize = 16 * 1024;

#[async_trait]
impl Backend for Engine {
    async fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot::Commit(self.store.committed()))
    }

    async fn create(&self, stream: StreamDescriptor) -> Result<()> {
        self.store.catalogue.create(stream)
    }

    async fn find(&self, filter: StreamFilter) -> Result<Vec<Arc<StreamDescriptor>>> {
        Ok(self.store.catalogue.find(&filter))
    }

    async fn describe(&self, streams: &[StreamId]) -> Result<Vec<Arc<StreamDescriptor>>> {
        self.store.catalogue.describe(streams)
    }

    async fn versions(&self, streams: &[StreamId], snapshot: Snapshot) -> Result<Vec<Version>> {
        // One state of all of them: a commit may be made between two streams.
        let snapshot = self.store.pin(snapshot);
        self.store.catalogue.versions(streams, snapshot)
    }

    async fn set_tags(&self, update: TagUpdate) -> Result<u64> {
        self.store.catalogue.set_tags(update)
    }

    async fn set_annotations(&self, update: AnnotationUpdate) -> Result<u64> {
        self.store.catalogue.set_annotations(update)
    }

    async fn obliterate(&self, stream: StreamId) -> Result<()> {
        self.store.catalogue.obliterate(stream)
    }

    async fn collections(&self, prefix: &str) -> Result<Vec<String>> {
        if !prefix.is_empty() {
            check_collection(prefix)?;
        }
        Ok(self.store.catalogue.collections(prefix))
    }

    async fn metadata_usage(&self, prefix: &str) -> Result<MetadataUsage> {
        Ok(self.store.catalogue.metadata_usage(prefix))
    }

    async fn insert(&self, writes: Vec<Write>, options: InsertOptions) -> Vec<Result<Version>> {
        let points: usize = writes.iter().map(|write| write.times.len()).sum();
        if points <= INLINE_POINTS_MAX {
            return self.store.insert(writes, options);
        }
        let store = Arc::clone(&self.store);
        let count = writes.len();
        match tokio::task::spawn_blocking(move || store.insert(writes, options)).await {
            Ok(answers) => answers,
            Err(error) => {
                let message = format!("the insert did not finish: {error}");
                (0..count)
                    .map(|_| Err(Error::internal(message.clone())))
                    .collect()
            }
        }
    }

    async fn delete(&self, stream: StreamId, range: TimeRange) -> Result<Version> {
        self.store.delete(stream, range)
    }

    async fn flush(&self, streams: &[StreamId]) -> Result<Vec<Version>> {
        // Nothing is ever buffered: what was acknowledged has its version.
        self.store.catalogue.versions(streams, Snapshot::Latest)
    }

    fn points(&self, query: PointQuery) -> BoxStream<'static, Result<PointBatch>> {
        read::points(Arc::clone(&self.store), query)
    }

    fn stats(&self, query: StatQuery) -> BoxStream<'static, Result<StatBatch>> {
        read::stats(Arc::clone(&self.store), query)
    }

    fn multi_values(&self, query: MultiQuery) -> BoxStream<'static, Result<MultiBatch>> {
        join::multi_values(Arc::clone(&self.store), query)
    }

    async fn nearest(&self, query: NearestQuery) -> Result<Vec<(Version, Option<Point>)>> {
        if !TimeRange::ALL.contains(query.time) {
            return Err(Error::invalid(format!(
                "nearest time out of range: {} is not in {:?}",
                query.time,
                TimeRange::ALL
            ))
            .with_code(Code::InvalidTimeRange));
        }
        let range = match query.direction {
            Direction::Forward => TimeRange::new(query.time, MAX_TIME),
            Direction::Backward => TimeRange::new(MIN_TIME, query.time),
        };
        let points = PointQuery {
            direction: query.direction,
            limit: Some(1),
            snapshot: self.store.pin(query.snapshot),
            ..PointQuery::new(query.streams, range)
        };
        let nearest = |&read: &StreamRead| {
            let (version, mut walk) = self.store.walk_points(&points, read)?;
            let point = next_points(&mut walk, 1).map(|(times, values)| Point {
                time: times[0],
                value: values[0],
            });
            Ok((version, point))
        };
        points.streams.iter().map(nearest).collect()
    }

    async fn changes(&self, query: ChangesQuery) -> Result<Changes> {
        if query.resolution > 63 {
            return Err(Error::invalid(format!(
                "resolution {} is not between 0 and 63",
                query.resolution
            ))
            .with_code(Code::InvalidPointWidth));
        }
        let stream = self.store.catalogue.stream(query.stream)?;
        let view = stream.view(
            StreamRead {
                id: query.stream,
                version: query.to,
            },
            Snapshot::Latest,
        )?;
        if query.from > view.version {
            let message = format!(
                "start version after end version: {} > {}",
                query.from, view.version
            );
            return Err(Error::invalid(message).with_code(Code::InvalidVersions));
        }
        if query.from.0 != 0 && query.from < Version::CREATED {
            let message = format!(
                "stream {}: version {} is not available",
                query.stream, query.from
            );
            return Err(
                Error::new(ErrorKind::NotFound, message).with_code(Code::VersionNotAvailable)
            );
        }
        let ranges = if query.from == view.version {
            Vec::new()
        } else {
            walk::changes(&view, query.from, query.resolution)
        };
        Ok(Changes {
            version: view.version,
            ranges,
        })
    }

    fn subscribe(
        &self,
        updates: BoxStream<'static, SubscriptionUpdate>,
    ) -> BoxStream<'static, Result<Write>> {
        subscribe::subscribe(Arc::clone(&self.store), updates)
    }
}

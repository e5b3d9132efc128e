//! The engine behind the seam.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::fetch::Fetcher;
use super::read::{STREAMS_PER_TURN, next_points};
use super::walk::ChangeWalk;
use super::{Engine, join, read, subscribe};
use crate::backend::Backend;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::stream::check_collection;
use crate::model::time::{MAX_TIME, MIN_TIME};
use crate::model::{
    AnnotationUpdate, Changes, ChangesQuery, Direction, InsertOptions, MetadataUsage, MultiBatch,
    MultiQuery, NearestQuery, Point, PointBatch, PointQuery, Probe, Snapshot, StatBatch, StatQuery,
    StreamDescriptor, StreamFilter, StreamId, StreamRead, SubscriptionUpdate, TagUpdate, TimeRange,
    Version, Write,
};

#[async_trait]
impl Backend for Engine {
    async fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot::Commit(self.store.pin(Snapshot::Latest)?))
    }

    async fn create(&self, stream: StreamDescriptor) -> Result<()> {
        self.store.create(stream).await
    }

    async fn find(&self, filter: StreamFilter) -> Result<Vec<Arc<StreamDescriptor>>> {
        Ok(self.store.catalogue.find(&filter))
    }

    async fn describe(&self, streams: &[StreamId]) -> Result<Vec<Arc<StreamDescriptor>>> {
        self.store.catalogue.describe(streams)
    }

    async fn versions(&self, streams: &[StreamId], snapshot: Snapshot) -> Result<Vec<Version>> {
        // One state of all of them: a commit may be made between two streams.
        let commit = self.store.pin(snapshot)?;
        let mut versions = Vec::with_capacity(streams.len());
        for &id in streams {
            let stream = self.store.catalogue.stream(id)?;
            versions.push(
                self.store
                    .version_at(&stream, commit, &Probe::default())
                    .await?,
            );
        }
        Ok(versions)
    }

    async fn set_tags(&self, update: TagUpdate) -> Result<u64> {
        let change = || self.store.catalogue.set_tags(update);
        self.store.change_properties(change).await
    }

    async fn set_annotations(&self, update: AnnotationUpdate) -> Result<u64> {
        let change = || self.store.catalogue.set_annotations(update);
        self.store.change_properties(change).await
    }

    async fn obliterate(&self, stream: StreamId) -> Result<()> {
        self.store.obliterate(stream).await
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
        self.store.insert(writes, options).await
    }

    async fn delete(&self, stream: StreamId, range: TimeRange) -> Result<Version> {
        self.store.delete(stream, range).await
    }

    async fn flush(&self, streams: &[StreamId]) -> Result<Vec<Version>> {
        // Nothing is ever buffered: what was acknowledged has its version.
        self.versions(streams, Snapshot::Latest).await
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
        let commit = self.store.pin(query.snapshot)?;
        let points = PointQuery {
            direction: query.direction,
            limit: Some(1),
            probe: query.probe,
            ..PointQuery::new(query.streams, range)
        };
        let mut nearest = Vec::with_capacity(points.streams.len());
        for (begun, &read) in points.streams.iter().enumerate() {
            if begun % STREAMS_PER_TURN == STREAMS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            let (version, mut walk, mut fetcher) =
                self.store.walk_points(&points, read, commit).await?;
            let point = next_points(&mut walk, &mut fetcher, 1).await?;
            let point = point.map(|(times, values)| Point {
                time: times[0],
                value: values[0],
            });
            nearest.push((version, point));
        }
        Ok(nearest)
    }

    async fn changes(&self, query: ChangesQuery) -> Result<Changes> {
        if query.resolution > 63 {
            return Err(Error::invalid(format!(
                "resolution {} is not between 0 and 63",
                query.resolution
            ))
            .with_code(Code::InvalidPointWidth));
        }
        let read = StreamRead {
            id: query.stream,
            version: query.to,
        };
        let commit = self.store.pin(Snapshot::Latest)?;
        let view = self.store.view(read, commit, &Probe::default()).await?;
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
            let mut fetcher = Fetcher::new(&self.store, query.stream, &Probe::default());
            let mut walk = ChangeWalk::new(&view, query.from, query.resolution);
            loop {
                let links = walk.wants();
                if links.is_empty() {
                    break walk.finish();
                }
                walk.supply(fetcher.nodes(&links).await?);
            }
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

//! A BTrDB that is there already, with whatever else it holds: `$BTRDB_TEST_ENDPOINT`, `$BTRDB_TEST_API_KEY`.
//!
//! Each check gets collections of its own by a prefix that it does not see, and what it created is removed afterwards, as far as
//! the server lets us.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use btrdb_flight::backend::Backend;
use btrdb_flight::error::Result;
use btrdb_flight::model::stream::check_collection;
use btrdb_flight::model::{
    AnnotationUpdate, Changes, ChangesQuery, CollectionMatch, InsertOptions, MetadataUsage,
    MultiBatch, MultiQuery, NearestQuery, Point, PointBatch, PointQuery, Snapshot, StatBatch,
    StatQuery, StreamDescriptor, StreamFilter, StreamId, SubscriptionUpdate, TagUpdate, TimeRange,
    Version, Write,
};
use btrdb_flight::remote::{self, Remote};
use futures::stream::BoxStream;
use parking_lot::Mutex;

use super::Subject;

/// Checks that cannot hold over somebody else's store, and why.
const SKIPPED: [(&str, &str); 5] = [
    (
        "collections_take_1_to_256_characters",
        "the prefix makes them longer",
    ),
    (
        "a_live_uuid_is_refused_in_exact_words",
        "a fixed uuid can be created once",
    ),
    (
        "a_quarter_of_a_million_points_at_once",
        "takes several inserts, and so several versions",
    ),
    (
        "a_slow_reader_is_cut_off",
        "half a gigabyte for somebody else's queue",
    ),
    (
        "every_read_honours_the_snapshot",
        "needs commits of the whole store",
    ),
];

/// Runs a check, if there is a server for it and the check is fit for one.
pub(super) async fn run<F: Future<Output = ()>>(name: &str, check: fn(Subject) -> F) {
    let Ok(endpoint) = std::env::var("BTRDB_TEST_ENDPOINT") else {
        panic!("BTRDB_TEST_ENDPOINT is not set");
    };
    if let Some((_, why)) = SKIPPED.iter().find(|(skipped, _)| *skipped == name) {
        eprintln!("skipped: {why}");
        return;
    }
    let settings = remote::Settings {
        api_key: std::env::var("BTRDB_TEST_API_KEY").ok(),
        ..remote::Settings::new(endpoint)
    };
    let fenced = Arc::new(Fenced {
        inner: Remote::connect(settings).await.expect("connected"),
        prefix: format!("conformance/{}/", uuid::Uuid::new_v4()),
        created: Mutex::default(),
    });
    let subject = Subject {
        store_wide_commits: false,
        ..Subject::new(Arc::clone(&fenced) as Arc<dyn Backend>)
    };
    super::run(check(subject)).await;
    let created = std::mem::take(&mut *fenced.created.lock());
    for stream in created {
        // The check may have done it, or the server may not.
        let _ = fenced.inner.obliterate(stream).await;
    }
}

/// A backend whose collections all begin with a prefix that nobody sees.
#[derive(Debug)]
struct Fenced {
    inner: Arc<Remote>,
    prefix: String,
    created: Mutex<Vec<StreamId>>,
}

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fenced({}, {})", self.prefix, self.inner)
    }
}

impl Fenced {
    fn inside(&self, collection: &str) -> String {
        format!("{}{collection}", self.prefix)
    }

    fn outside(&self, stream: &StreamDescriptor) -> Arc<StreamDescriptor> {
        let collection = stream.collection.strip_prefix(&self.prefix);
        Arc::new(StreamDescriptor {
            collection: collection.expect("a stream of this check").to_owned(),
            ..stream.clone()
        })
    }
}

#[async_trait]
impl Backend for Fenced {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.inner.snapshot().await
    }

    async fn create(&self, stream: StreamDescriptor) -> Result<()> {
        check_collection(&stream.collection)?;
        let id = stream.id;
        let inside = StreamDescriptor {
            collection: self.inside(&stream.collection),
            ..stream
        };
        self.inner.create(inside).await?;
        self.created.lock().push(id);
        Ok(())
    }

    async fn find(&self, filter: StreamFilter) -> Result<Vec<Arc<StreamDescriptor>>> {
        let collection = match &filter.collection {
            CollectionMatch::Any => CollectionMatch::Prefix(self.prefix.clone()),
            CollectionMatch::Prefix(prefix) => CollectionMatch::Prefix(self.inside(prefix)),
            CollectionMatch::Exact(name) if name.is_empty() => return Ok(Vec::new()),
            CollectionMatch::Exact(name) => CollectionMatch::Exact(self.inside(name)),
        };
        let inside = StreamFilter {
            collection,
            ..filter
        };
        let found = self.inner.find(inside).await?;
        Ok(found.iter().map(|stream| self.outside(stream)).collect())
    }

    async fn describe(&self, streams: &[StreamId]) -> Result<Vec<Arc<StreamDescriptor>>> {
        let found = self.inner.describe(streams).await?;
        Ok(found.iter().map(|stream| self.outside(stream)).collect())
    }

    async fn versions(&self, streams: &[StreamId], snapshot: Snapshot) -> Result<Vec<Version>> {
        self.inner.versions(streams, snapshot).await
    }

    async fn set_tags(&self, update: TagUpdate) -> Result<u64> {
        if let Some(collection) = &update.collection {
            check_collection(collection)?;
        }
        let collection = update.collection.as_deref();
        let inside = TagUpdate {
            collection: collection.map(|collection| self.inside(collection)),
            ..update
        };
        self.inner.set_tags(inside).await
    }

    async fn set_annotations(&self, update: AnnotationUpdate) -> Result<u64> {
        self.inner.set_annotations(update).await
    }

    async fn obliterate(&self, stream: StreamId) -> Result<()> {
        self.inner.obliterate(stream).await
    }

    async fn collections(&self, prefix: &str) -> Result<Vec<String>> {
        if !prefix.is_empty() {
            check_collection(prefix)?;
        }
        let found = self.inner.collections(&self.inside(prefix)).await?;
        let outside = found
            .iter()
            .filter_map(|name| name.strip_prefix(&self.prefix));
        Ok(outside.map(str::to_owned).collect())
    }

    async fn metadata_usage(&self, prefix: &str) -> Result<MetadataUsage> {
        self.inner.metadata_usage(&self.inside(prefix)).await
    }

    async fn insert(&self, writes: Vec<Write>, options: InsertOptions) -> Vec<Result<Version>> {
        self.inner.insert(writes, options).await
    }

    async fn delete(&self, stream: StreamId, range: TimeRange) -> Result<Version> {
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

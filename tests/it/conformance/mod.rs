//! What any [`Backend`] must do: every check runs on every subject, each with an empty store of its own.
//!
//! A test is named `conformance::<subject matter>::<check>::<subject>`. The checks are written from BTrDB's behaviour and from
//! the contract of the seam, never from an implementation. What only some backends can do is said by their [`Subject`].

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::{Engine, Settings};
use btrdb_flight::error::{Code, ErrorKind, Result};
use btrdb_flight::model::{
    AnnotationUpdate, Annotations, ChangesQuery, Cuts, Direction, InsertOptions, MergePolicy,
    MultiBatch, MultiQuery, NearestQuery, Point, PointBatch, PointQuery, Snapshot, Stat, StatBatch,
    StatQuery, StreamDescriptor, StreamId, StreamRead, TagUpdate, Tags, TimeRange, Version, Write,
};
use btrdb_flight::query::{Gateway, GatewaySettings};
use btrdb_flight::remote::{self, Remote};
use btrdb_flight::serve::btrdb;
use futures::TryStreamExt;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use uuid::Uuid;

use crate::store::{disk::Disk, eager};

/// Makes a test of each check on each subject.
macro_rules! checks {
    ($($check:ident),* $(,)?) => {$(
        mod $check {
            use crate::conformance::{Subject, run};
            use btrdb_flight::engine::Engine;

            // The subjects, a line each.
            checks!(@ $check, memory: Subject::new(Engine::memory()));
            checks!(@ $check, disk: Subject::on_disk().await);
            checks!(@ $check, eager: Subject::eager().await);
            checks!(@ $check, faulty: Subject::faulty().await);
            checks!(@ $check, remote: Subject::remote(true).await);
            checks!(@ $check, remote_plain: Subject::remote(false).await);

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            #[ignore = "takes a BTrDB: set BTRDB_TEST_ENDPOINT, and BTRDB_TEST_API_KEY"]
            async fn external() {
                crate::conformance::external::run(stringify!($check), super::$check).await;
            }
        }
    )*};
    (@ $check:ident, $subject:ident: $new:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $subject() {
            run(super::$check($new)).await;
        }
    };
}

mod bounds;
mod changes;
mod external;
mod insert;
mod multi;
mod nearest;
mod obliterate;
mod points;
mod streams;
mod subscribe;
mod values;
mod versions;
mod windows;

/// One point, as tests like to write it: time and value.
type Row = (i64, f64);

/// Fails a check that hangs.
async fn run(check: impl Future<Output = ()>) {
    let patience = std::time::Duration::from_secs(120);
    tokio::time::timeout(patience, check)
        .await
        .expect("the check does not hang");
}

/// A backend over an empty store.
#[derive(Clone)]
struct Subject {
    backend: Arc<dyn Backend>,
    /// Whether the store numbers its commits, so that a snapshot is one state of all streams.
    store_wide_commits: bool,
    /// What must outlive the backend: a scratch folder, a server.
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Deref for Subject {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        self.backend.as_ref()
    }
}

impl Subject {
    fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            store_wide_commits: true,
            _keep: None,
        }
    }

    /// The engine in a directory.
    async fn on_disk() -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let location = folder.path().to_str().expect("a path in UTF-8");
        let engine = Engine::open(location, Settings::default())
            .await
            .expect("the store opens");
        Self {
            _keep: Some(Arc::new(folder)),
            ..Self::new(engine)
        }
    }

    /// The engine with limits so small that it folds, spills and evicts all the time.
    async fn eager() -> Self {
        let engine = Engine::open("memory:", eager()).await;
        Self::new(engine.expect("the store opens"))
    }

    /// The engine over a store whose calls fail now and then, beneath its retries.
    async fn faulty() -> Self {
        let writer = Disk::memory().writer(0);
        writer.be_flaky_briefly(0.01);
        let settings = Settings {
            direct_points: 64,
            lease: std::time::Duration::ZERO,
            ..Settings::default()
        };
        let engine = Engine::open_on(Arc::new(writer), settings).await;
        Self::new(engine.expect("the store opens"))
    }

    /// The remote backend, over a server, over the engine in memory; with the calls that answer in Arrow, or without.
    async fn remote(arrow: bool) -> Self {
        let (address, server) = serve(Engine::memory()).await;
        let settings = remote::Settings {
            arrow,
            // What the server takes at once: a write is then one call, and one version.
            insert_points: 250_000,
            ..remote::Settings::new(address)
        };
        let remote = Remote::connect(settings).await.expect("connected");
        Self {
            store_wide_commits: false,
            _keep: Some(Arc::new(server)),
            ..Self::new(remote)
        }
    }

    /// Creates a stream from `collection/name`.
    async fn stream(&self, path: &str) -> StreamId {
        let stream = descriptor(path);
        let id = stream.id;
        self.create(stream).await.expect("created");
        id
    }

    /// Creates a stream and writes `points` into it, at version 11.
    async fn stream_of(&self, path: &str, points: &[Row]) -> StreamId {
        let id = self.stream(path).await;
        self.write(id, points).await;
        id
    }

    /// Inserts, keeping everything.
    async fn write(&self, stream: StreamId, points: &[Row]) -> Version {
        self.merge(stream, points, MergePolicy::Never).await
    }

    async fn merge(&self, stream: StreamId, points: &[Row], merge: MergePolicy) -> Version {
        let options = InsertOptions {
            merge,
            rounding_bits: 0,
        };
        self.try_write(stream, points, options)
            .await
            .expect("inserted")
    }

    async fn try_write(
        &self,
        stream: StreamId,
        points: &[Row],
        options: InsertOptions,
    ) -> Result<Version> {
        let mut answers = self.insert(vec![write(stream, points)], options).await;
        assert_eq!(answers.len(), 1, "one answer a write");
        answers.remove(0)
    }

    /// The current version of one stream.
    async fn version(&self, stream: StreamId) -> Version {
        self.versions(&[stream], Snapshot::Latest)
            .await
            .expect("versions")
            .remove(0)
    }

    async fn descriptor(&self, stream: StreamId) -> StreamDescriptor {
        self.describe(&[stream])
            .await
            .expect("described")
            .remove(0)
            .as_ref()
            .clone()
    }

    /// All points of the latest version.
    async fn read(&self, stream: StreamId) -> Vec<Row> {
        self.rows(PointQuery::new(
            vec![StreamRead::latest(stream)],
            TimeRange::ALL,
        ))
        .await
    }

    async fn read_range(&self, stream: StreamId, start: i64, end: i64) -> Vec<Row> {
        let range = TimeRange::new(start, end);
        self.rows(PointQuery::new(vec![StreamRead::latest(stream)], range))
            .await
    }

    /// All points of one version.
    async fn read_at(&self, stream: StreamId, version: Version) -> Vec<Row> {
        self.rows(PointQuery::new(vec![at(stream, version)], TimeRange::ALL))
            .await
    }

    async fn try_points(&self, query: PointQuery) -> Result<Vec<PointBatch>> {
        self.points(query).try_collect().await
    }

    /// The points of all streams of the query, one after the other.
    async fn rows(&self, query: PointQuery) -> Vec<Row> {
        let batches = self.try_points(query).await.expect("points");
        batches.iter().flat_map(rows_of).collect()
    }

    /// The points of each stream of the query.
    async fn rows_by_stream(&self, query: PointQuery) -> Vec<Vec<Row>> {
        let mut by_stream = vec![Vec::new(); query.streams.len()];
        for batch in self.try_points(query).await.expect("points") {
            by_stream[batch.stream].extend(rows_of(&batch));
        }
        by_stream
    }

    async fn try_stats(&self, query: StatQuery) -> Result<Vec<StatBatch>> {
        self.stats(query).try_collect().await
    }

    /// The windows of all streams of the query, one after the other.
    async fn windows(&self, query: StatQuery) -> Vec<Window> {
        let batches = self.try_stats(query).await.expect("stats");
        batches.iter().flat_map(windows_of).collect()
    }

    async fn try_multi(&self, query: MultiQuery) -> Result<Vec<MultiBatch>> {
        self.multi_values(query).try_collect().await
    }

    /// The nearest point of one stream's latest version.
    async fn nearest_to(&self, stream: StreamId, time: i64, direction: Direction) -> Option<Row> {
        let query = nearest_query(StreamRead::latest(stream), time, direction);
        let mut answers = self.nearest(query).await.expect("nearest");
        assert_eq!(answers.len(), 1, "one answer a stream");
        answers
            .remove(0)
            .1
            .map(|Point { time, value }| (time, value))
    }
}

/// A server of BTrDB's protocol on a port of its own, until the tasks are dropped; and its address.
pub(crate) async fn serve(backend: Arc<dyn Backend>) -> (String, JoinSet<()>) {
    let gateway = Gateway::new(backend, GatewaySettings::default()).expect("a gateway");
    let service = btrdb::service(gateway, btrdb::BtrdbSettings::default());
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a free port")
        .with_nodelay(Some(true));
    let address = incoming.local_addr().expect("bound").to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let server = Server::builder().add_service(service);
        server.serve_with_incoming(incoming).await.expect("served");
    });
    (address, tasks)
}

/// A uuid nobody had before.
fn fresh_id() -> StreamId {
    StreamId(Uuid::new_v4())
}

/// A stream nobody has yet, from `collection/name`.
pub(crate) fn descriptor(path: &str) -> StreamDescriptor {
    let (collection, name) = path.rsplit_once('/').expect("collection/name");
    StreamDescriptor {
        id: fresh_id(),
        collection: collection.to_owned(),
        tags: Tags {
            name: name.to_owned(),
            ..Tags::default()
        },
        annotations: Annotations::new(),
        property_version: 0,
    }
}

fn write(stream: StreamId, points: &[Row]) -> Write {
    let (times, values): (Vec<i64>, Vec<f64>) = points.iter().copied().unzip();
    Write {
        stream,
        times: times.into(),
        values: values.into(),
    }
}

/// `count` points from `start`, `step` apart, whose values count up from 0.
fn ramp(start: i64, step: i64, count: usize) -> Vec<Row> {
    (0..count)
        .map(|i| (start + step * i as i64, i as f64))
        .collect()
}

fn at(id: StreamId, version: Version) -> StreamRead {
    StreamRead {
        id,
        version: Some(version),
    }
}

fn latest(streams: &[StreamId]) -> Vec<StreamRead> {
    streams.iter().copied().map(StreamRead::latest).collect()
}

fn nearest_query(stream: StreamRead, time: i64, direction: Direction) -> NearestQuery {
    NearestQuery::new(vec![stream], time, direction)
}

fn stat_query(streams: Vec<StreamRead>, range: TimeRange, cuts: Cuts) -> StatQuery {
    StatQuery::new(streams, range, cuts)
}

fn multi_query(streams: Vec<StreamRead>, range: TimeRange, snap_period: u64) -> MultiQuery {
    MultiQuery::new(streams, range, snap_period)
}

fn rows_of(batch: &PointBatch) -> Vec<Row> {
    assert_eq!(
        batch.times.len(),
        batch.values.len(),
        "columns of one length"
    );
    let (times, values) = (batch.times.iter(), batch.values.iter());
    times.copied().zip(values.copied()).collect()
}

/// What BTrDB tells about a window.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    time: i64,
    min: f64,
    mean: f64,
    max: f64,
    count: u64,
    stddev: f64,
}

fn windows_of(batch: &StatBatch) -> Vec<Window> {
    assert_eq!(
        batch.times.len(),
        batch.stats.len(),
        "columns of one length"
    );
    let window = |(&time, stat): (&i64, &Stat)| Window {
        time,
        min: stat.min,
        mean: stat.mean,
        max: stat.max,
        count: stat.count,
        stddev: stat.stddev(),
    };
    batch.times.iter().zip(&batch.stats).map(window).collect()
}

/// Asserts that an answer is the refusal `code` stands for, of the kind that the contract gives it.
#[track_caller]
fn assert_refused<T>(answer: Result<T>, code: Code, what: &str) {
    let Err(error) = answer else {
        panic!("{what}: accepted, not refused with {code:?}");
    };
    assert_eq!(error.code(), Some(code), "{what}: {error:?}");
    let kind = match code {
        Code::NoSuchStream | Code::VersionNotAvailable => ErrorKind::NotFound,
        Code::SameStream | Code::AmbiguousStream | Code::AnnotationVersionMismatch => {
            ErrorKind::Conflict
        }
        Code::ReusedUuid | Code::ResourceDepleted => return,
        _ => ErrorKind::Invalid,
    };
    assert_eq!(error.kind(), kind, "{what}: {error:?}");
}

/// Every call that names a stream, made on `id`, each with the method's name.
async fn every_call(db: &Subject, id: StreamId) -> Vec<(&'static str, Result<()>)> {
    let point = db
        .try_write(id, &[(1, 1.0)], InsertOptions::default())
        .await;
    let nothing = db.try_write(id, &[], InsertOptions::default()).await;
    let tags = TagUpdate {
        stream: id,
        expected: None,
        collection: None,
        tags: Vec::new(),
    };
    let annotations = AnnotationUpdate {
        stream: id,
        expected: None,
        changes: Annotations::new(),
        removals: Vec::new(),
    };
    let mut calls = vec![
        ("describe", db.describe(&[id]).await.map(drop)),
        (
            "versions",
            db.versions(&[id], Snapshot::Latest).await.map(drop),
        ),
        ("set_tags", db.set_tags(tags).await.map(drop)),
        (
            "set_annotations",
            db.set_annotations(annotations).await.map(drop),
        ),
        ("insert", point.map(drop)),
        ("insert of nothing", nothing.map(drop)),
        ("flush", db.flush(&[id]).await.map(drop)),
    ];
    calls.extend(every_read(db, StreamRead::latest(id)).await);
    calls.extend(every_ranged_call(db, id, TimeRange::new(0, 1)).await);
    calls.push(("obliterate", db.obliterate(id).await));
    calls
}

/// Every call that can name a version, made on `stream`.
async fn every_read(db: &Subject, stream: StreamRead) -> Vec<(&'static str, Result<()>)> {
    let (streams, range) = (vec![stream], TimeRange::ALL);
    let points = PointQuery::new(streams.clone(), range);
    let stats = stat_query(streams.clone(), range, Cuts::whole(range));
    let changes = ChangesQuery {
        stream: stream.id,
        from: Version(0),
        to: stream.version,
        resolution: 0,
    };
    let (joined, snapped) = (
        multi_query(streams.clone(), range, 0),
        multi_query(streams, range, 10),
    );
    let nearest = nearest_query(stream, 0, Direction::Forward);
    vec![
        ("points", db.try_points(points).await.map(drop)),
        ("stats", db.try_stats(stats).await.map(drop)),
        ("multi_values", db.try_multi(joined).await.map(drop)),
        (
            "multi_values, snapped",
            db.try_multi(snapped).await.map(drop),
        ),
        ("nearest", db.nearest(nearest).await.map(drop)),
        ("changes", db.changes(changes).await.map(drop)),
    ]
}

/// Every call that names a range, made on the latest version of `id`.
async fn every_ranged_call(
    db: &Subject,
    id: StreamId,
    range: TimeRange,
) -> Vec<(&'static str, Result<()>)> {
    let streams = latest(&[id]);
    let every = Cuts::Every {
        origin: 0,
        width: 1 << 62,
    };
    let cut = Cuts::At([-100, 100].into());
    let points = PointQuery::new(streams.clone(), range);
    vec![
        ("points", db.try_points(points).await.map(drop)),
        (
            "stats of a grid",
            db.try_stats(stat_query(streams.clone(), range, every))
                .await
                .map(drop),
        ),
        (
            "stats between cuts",
            db.try_stats(stat_query(streams.clone(), range, cut))
                .await
                .map(drop),
        ),
        (
            "multi_values",
            db.try_multi(multi_query(streams.clone(), range, 0))
                .await
                .map(drop),
        ),
        (
            "multi_values, snapped",
            db.try_multi(multi_query(streams, range, 10))
                .await
                .map(drop),
        ),
        ("delete", db.delete(id, range).await.map(drop)),
    ]
}

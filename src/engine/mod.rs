//! BTrDB's tree in this process: the default store, which needs nothing installed.
//!
//! ```text
//! backend      impl Backend: thin glue
//! read, ahead  views and walks -> streams of batches         join         many streams side by side
//! write        validate, sort, lock, work out, sequence      subscribe    who is told of inserts
//! catalogue    names, tags, uuids                            history      every version of one stream
//! walk         descent, level by level                       fetch        links -> nodes, through the caches
//! tree         nodes as values; synchronous and pure         pack         nodes -> blocks in a segment
//! log          the only commit point                         recover      opening, takeover
//! checkpoint   everything up to a commit, in one object      fold         runs into trees, in the background
//! check        is it all there and whole                     usage        where the bytes are
//! block, codec, segment   bytes                              store        named objects; the only file over object_store
//! ```
//!
//! Invariants:
//! - nothing is acknowledged before the log entry that holds it, and every object that entry speaks of, is durable;
//! - a node is never changed once a view can reach it, so readers never wait for writers;
//! - locks are taken in one order: upkeep, write locks of streams by uuid, the sequencer, names, a history; the last three for moments;
//! - what is sequenced is taken into the histories at once, and read from its commit on, which is not shown before it is
//!   durable. Names are the exception: a stream can be found while its creation is on its way to the disk.
//!
//! The bytes are specified here:
#![doc = include_str!("FORMAT.md")]

mod ahead;
mod backend;
mod block;
mod cache;
mod catalogue;
mod check;
mod checkpoint;
mod codec;
mod divide;
mod fetch;
mod fold;
mod history;
mod join;
mod log;
mod marks;
mod pack;
mod read;
mod ready;
mod recover;
mod segment;
mod settings;
mod store;
mod subscribe;
mod tree;
mod usage;
mod walk;
mod work_out;
mod write;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

use crate::error::{Error, ErrorKind, Result};
use cache::Caches;
use catalogue::{Catalogue, Stream};
use log::Log;
use log::record::Record;
use segment::Segments;
use store::{Access, Objects};
use subscribe::Subscribers;

pub use check::CheckReport;
pub use settings::Settings;
pub use usage::Usage;

/// A BTrDB in this process, over a store of its own.
///
/// There is one writer a store; a second is refused, or takes over from a dead one and fences it. Dropping the engine without
/// [`close`](Self::close) loses nothing that was acknowledged.
///
/// ```
/// use btrdb_flight::backend::Backend;
/// use btrdb_flight::engine::Engine;
/// use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Version, Write};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let engine = Engine::memory();
/// let id: StreamId = "6c0fbd1f-8a5f-4a0d-9a2e-3a1f6c2b7d11".parse()?;
/// engine
///     .create(StreamDescriptor {
///         id,
///         collection: "grid/west".into(),
///         tags: Tags { name: "voltage".into(), unit: "V".into(), ..Tags::default() },
///         annotations: Default::default(),
///         property_version: 1,
///     })
///     .await?;
/// let write = Write { stream: id, times: vec![1, 2, 3].into(), values: vec![7.0, 8.0, 9.0].into() };
/// let versions = engine.insert(vec![write], InsertOptions::default()).await;
/// assert_eq!(versions[0].as_ref().ok(), Some(&Version(11)));
/// # Ok::<(), btrdb_flight::error::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine {
    store: Arc<Store>,
    /// What writes the log and keeps house; ends with the engine.
    _tasks: JoinSet<()>,
}

/// What reads that outlive a call share with the engine.
#[derive(Debug)]
struct Store {
    objects: Objects,
    settings: Settings,
    log: Log,
    catalogue: Catalogue,
    caches: Caches,
    segments: Segments,
    /// Commits that took the store over: their log entries are kept for ever.
    takeovers: Mutex<Vec<u64>>,
    /// The commit of the newest checkpoint.
    checkpointed: AtomicU64,
    /// What it takes in the store.
    checkpoint_bytes: AtomicU64,
    /// Bytes on their way into the store.
    writing: Semaphore,
    /// Bytes on their way out of it.
    fetching: Semaphore,
    /// Bytes that wait beside trees.
    live_bytes: AtomicU64,
    live_room: Notify,
    /// There may be something to fold or to checkpoint.
    housekeeping: Notify,
    fold_due: Mutex<Vec<Arc<Stream>>>,
    /// Held while folding or checkpointing.
    upkeep: tokio::sync::Mutex<()>,
    subscribers: Subscribers,
    clock: fn() -> i64,
}

impl Engine {
    /// An empty store in memory, gone when dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers, on which it keeps house.
    pub fn memory() -> Arc<Self> {
        let opening = recover::open(Objects::memory(), Settings::default(), wall_clock);
        // A store in memory answers at once, so nothing here waits.
        let store = futures::executor::block_on(opening).expect("an empty store in memory opens");
        Self::start(store)
    }

    /// Opens the store at `location` for writing: `memory:`, a directory, which is created when missing, or
    /// `s3://bucket/prefix`.
    ///
    /// Takes as long as the log behind the last checkpoint is, whatever the number of points. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another process writes it, [`ErrorKind::Unsupported`] if it cannot create objects only if
    /// they are absent, [`ErrorKind::Corrupt`] naming the object that is damaged, and what the store beneath refuses.
    pub async fn open(location: &str, settings: Settings) -> Result<Arc<Self>> {
        let objects = Objects::open(location, Access::Write, settings.fsync).await?;
        let store = recover::open(objects, settings, wall_clock).await?;
        Ok(Self::start(store))
    }

    /// Opens a store that the caller brings, as [`open`](Self::open) does.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub async fn open_on(store: Arc<dyn ObjectStore>, settings: Settings) -> Result<Arc<Self>> {
        let store = recover::open(Objects::over(store), settings, wall_clock).await?;
        Ok(Self::start(store))
    }

    /// Opens the store at `location` for looking at it: reads, [`check`](Self::check) and [`usage`](Self::usage). What a living
    /// writer does from now on is not seen, and the writer notices nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no store, [`ErrorKind::Corrupt`] if neither checkpoint nor log can be read.
    pub async fn inspect(location: &str, settings: Settings) -> Result<Arc<Self>> {
        let objects = Objects::open(location, Access::Read, settings.fsync).await?;
        let store = recover::inspect(objects, settings, wall_clock).await?;
        Ok(Arc::new(Self {
            store: Arc::new(store),
            _tasks: JoinSet::new(),
        }))
    }

    fn start(store: Store) -> Arc<Self> {
        let store = Arc::new(store);
        let mut tasks = JoinSet::new();
        tasks.spawn(log::run(Arc::clone(&store)));
        tasks.spawn(fold::run(Arc::clone(&store)));
        Arc::new(Self {
            store,
            _tasks: tasks,
        })
    }

    /// Moves the points that wait beside the trees of all streams into them. Changes no version.
    ///
    /// # Errors
    /// Whatever kept it from reading or writing the store.
    pub async fn fold(&self) -> Result<()> {
        fold::fold_all(&self.store).await
    }

    /// Writes everything up to now into one object, so that opening need not read the log before it, and removes the log
    /// before the oldest such object that is kept. Answers the commit it stands for.
    ///
    /// # Errors
    /// Whatever kept it from writing the store.
    pub async fn checkpoint(&self) -> Result<u64> {
        checkpoint::checkpoint(&self.store).await
    }

    /// Ends writing: waits for what is under way, writes down that the writer is gone, and refuses mutations from then on.
    ///
    /// # Errors
    /// Whatever kept it from writing the store.
    pub async fn close(&self) -> Result<()> {
        let store = &self.store;
        let _upkeep = store.upkeep.lock().await;
        let (_, commit) = store
            .log
            .sequence(|records, _| records.push(&Record::Closed))?;
        store.log.durable(commit).await?;
        store.log.end(
            ErrorKind::Unavailable,
            "the store is closed in this process",
        );
        store.objects.release();
        Ok(())
    }

    /// Reads the whole store and reports what is wrong with it.
    ///
    /// # Errors
    /// What kept it from reading at all; damage is part of the report.
    pub async fn check(&self) -> Result<CheckReport> {
        check::check(&self.store).await
    }

    /// Where the bytes of the store are.
    ///
    /// # Errors
    /// What kept it from reading.
    pub async fn usage(&self) -> Result<Usage> {
        usage::usage(&self.store).await
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Reads that go on keep the store, but nothing is written any more.
        self.store.log.end(
            ErrorKind::Unavailable,
            "the store is closed in this process",
        );
        self.store.objects.release();
    }
}

impl Store {
    /// Room for so many bytes on their way into the store.
    async fn room_to_write(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        permits(&self.writing, bytes, self.settings.write_bytes_max).await
    }

    /// Room for so many bytes on their way out of the store.
    async fn room_to_fetch(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        permits(&self.fetching, bytes, self.settings.fetch_bytes_max).await
    }
}

/// Bytes that a permit of the semaphores stands for.
const PERMIT_BYTES: u64 = 1024;

/// A semaphore over so many bytes.
fn semaphore(bytes: u64) -> Semaphore {
    Semaphore::new(permit_count(bytes) as usize)
}

fn permit_count(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// Whoever wants more than there can be takes everything.
async fn permits(semaphore: &Semaphore, bytes: u64, most: u64) -> Result<SemaphorePermit<'_>> {
    semaphore
        .acquire_many(permit_count(bytes.min(most)))
        .await
        .map_err(|_| Error::internal("a semaphore is closed that never closes"))
}

/// Nanoseconds since 1970 by the machine's clock. It is written beside what happened; nothing depends on it.
fn wall_clock() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.store.objects)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("streams", &self.store.catalogue.len())
            .field("committed", &self.store.log.committed())
            .finish()
    }
}

//! BTrDB's tree in this process: the default store, which needs nothing installed.
//!
//! ```text
//! backend      impl Backend: thin glue
//! read         views and walks -> streams of batches; the only place that fetches nodes
//! write        validate, sort, lock, work out, commit
//! join         many streams side by side          subscribe    who is told of inserts
//! catalogue    names, tags, uuids                 history      every version of one stream
//! walk         descent, level by level: results, or every link needed next
//! tree         nodes as values: insert, delete; synchronous and pure
//! ```
//!
//! Invariants:
//! - a node is never changed once a view can reach it, so readers never wait for writers;
//! - a stream's mutations are worked out one at a time, under its own lock; only making them visible takes the store's;
//! - everything a commit number includes is in the histories before that number is published.
//!
//! The store is memory: it is gone when the process ends.

mod backend;
mod catalogue;
mod history;
mod join;
mod read;
mod subscribe;
mod tree;
mod walk;
mod write;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use catalogue::Catalogue;
use subscribe::Subscribers;

/// A BTrDB in this process.
///
/// ```
/// use btrdb_flight::backend::Backend;
/// use btrdb_flight::engine::Engine;
/// use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Version, Write};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
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
}

/// What reads that outlive a call share with the engine.
struct Store {
    catalogue: Catalogue,
    /// Held while a commit is given its number and its mutations are made visible.
    sequencer: Mutex<()>,
    /// The newest commit that is wholly visible.
    committed: AtomicU64,
    subscribers: Subscribers,
}

impl Engine {
    /// An empty store in memory.
    pub fn memory() -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(Store {
                catalogue: Catalogue::default(),
                sequencer: Mutex::new(()),
                committed: AtomicU64::new(0),
                subscribers: Subscribers::default(),
            }),
        })
    }
}

impl Store {
    fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine(memory:)")
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("streams", &self.store.catalogue.len())
            .field("committed", &self.store.committed())
            .finish()
    }
}

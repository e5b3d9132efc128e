//! The objects that all writers of a test share, what was done to them, and what is still on its way.
//!
//! A [`Disk`] knows of each effect whether it was acknowledged, so that a loss of power can take away what nobody was promised,
//! and keeps what was given up but may still land: a put that was cancelled completes on its thread, a request that was sent
//! arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, PutResult, Result};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

/// The objects that all writers share.
pub(crate) struct Disk {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// What happened since the last loss of power; not kept of a store elsewhere, which has its own power.
    journal: Option<Mutex<Vec<Effect>>>,
    /// Given up by their callers, but not yet without effect for certain.
    underway: Mutex<Vec<Underway>>,
    /// Whether a conditional create lets a second one succeed, as in some stores that claim to be S3.
    is_lax: AtomicBool,
    /// Ways in, so far.
    writers: AtomicU64,
}

/// A change of an object.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put {
        path: Path,
        payload: PutPayload,
        mode: PutMode,
    },
    Delete {
        path: Path,
    },
}

impl Change {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Put { path, .. } | Self::Delete { path } => path,
        }
    }
}

/// A change that has happened.
struct Effect {
    path: Path,
    before: Option<Bytes>,
    after: Option<Bytes>,
    is_acknowledged: bool,
}

/// A change that may yet happen.
struct Underway {
    change: Change,
    /// Lands when this writer has made so many calls.
    due: Option<(u64, u64)>,
}

impl Disk {
    /// Empty, in memory.
    pub(crate) fn memory() -> Arc<Self> {
        Self::new(Arc::new(InMemory::new()), Some(Mutex::default()))
    }

    /// Over the objects of a store elsewhere.
    pub(crate) fn over(objects: Arc<dyn ObjectStore>) -> Arc<Self> {
        Self::new(objects, None)
    }

    fn new(objects: Arc<dyn ObjectStore>, journal: Option<Mutex<Vec<Effect>>>) -> Arc<Self> {
        Arc::new(Self {
            objects,
            journal,
            underway: Mutex::default(),
            is_lax: AtomicBool::new(false),
            writers: AtomicU64::new(0),
        })
    }

    /// From now on a conditional create overwrites.
    pub(crate) fn be_lax(&self) {
        self.is_lax.store(true, Ordering::Relaxed);
    }

    /// Everything that was given up takes effect now, where it still can.
    pub(crate) async fn land(&self) {
        let underway = std::mem::take(&mut *self.underway.lock());
        for Underway { change, .. } in underway {
            self.apply(change).await.ok();
        }
    }

    /// Nothing of what was given up takes effect any more.
    pub(crate) fn forget(&self) {
        self.underway.lock().clear();
    }

    /// The power goes and comes back: of what happened since the last loss or is under way, any part of what was not
    /// acknowledged is gone, and any part of the deletes, which nobody syncs.
    pub(crate) async fn lose_power(&self, rng: &mut StdRng) {
        self.land().await;
        let journal = self.journal.as_ref().expect("a disk in memory");
        let effects = std::mem::take(&mut *journal.lock());
        for effect in effects.into_iter().rev() {
            let is_certain = effect.is_acknowledged && effect.after.is_some();
            if is_certain
                || rng.random_bool(0.5)
                || self.content(&effect.path).await != effect.after
            {
                continue;
            }
            let undone = match effect.before {
                Some(bytes) => self.objects.put(&effect.path, bytes.into()).await.map(drop),
                None => self.objects.delete(&effect.path).await,
            };
            undone.expect("memory does not fail");
        }
    }

    async fn content(&self, path: &Path) -> Option<Bytes> {
        let found = self.objects.get(path).await.ok()?;
        Some(found.bytes().await.expect("memory does not fail"))
    }

    /// Does it; answers also where in the journal it stands.
    pub(super) async fn apply(&self, change: Change) -> Result<(Option<PutResult>, usize)> {
        let path = change.path().clone();
        let before = match self.journal {
            Some(_) => self.content(&path).await,
            None => None,
        };
        let (result, after) = match change {
            Change::Put {
                payload, mut mode, ..
            } => {
                if self.is_lax.load(Ordering::Relaxed) && mode == PutMode::Create {
                    mode = PutMode::Overwrite;
                }
                let bytes = Bytes::from(payload.clone());
                let result = self.objects.put_opts(&path, payload, mode.into()).await?;
                (Some(result), Some(bytes))
            }
            Change::Delete { .. } => {
                self.objects.delete(&path).await?;
                (None, None)
            }
        };
        let Some(journal) = &self.journal else {
            return Ok((result, 0));
        };
        let mut journal = journal.lock();
        journal.push(Effect {
            path,
            before,
            after,
            is_acknowledged: false,
        });
        Ok((result, journal.len() - 1))
    }

    /// What a store shows is there to stay. (A directory shows more than that, and the engine syncs what it finds there.)
    pub(super) fn was_read(&self, path: &Path) {
        if let Some(journal) = &self.journal {
            let mut journal = journal.lock();
            let effects = journal.iter_mut().filter(|effect| effect.path == *path);
            effects.for_each(|effect| effect.is_acknowledged = true);
        }
    }

    pub(super) fn acknowledge(&self, effect: usize) {
        if let Some(journal) = &self.journal {
            journal.lock()[effect].is_acknowledged = true;
        }
    }

    /// A number for another writer.
    pub(super) fn next_writer(&self) -> u64 {
        self.writers.fetch_add(1, Ordering::Relaxed)
    }

    /// A change that its caller has given up: it lands when writer `due.0` has made `due.1` calls, if that is known.
    pub(super) fn give_up(&self, change: Change, due: Option<(u64, u64)>) {
        self.underway.lock().push(Underway { change, due });
    }

    /// Lands what is due now that `writer` has made `calls`.
    pub(super) async fn land_due(&self, writer: u64, calls: u64) {
        let due: Vec<Underway> = self
            .underway
            .lock()
            .extract_if(.., |underway| {
                underway
                    .due
                    .is_some_and(|(whose, when)| whose == writer && when <= calls)
            })
            .collect();
        for Underway { change, .. } in due {
            self.apply(change).await.ok();
        }
    }
}

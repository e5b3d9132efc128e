//! The log: the only commit point, and the lock of the store.
//!
//! ```text
//! mutation ──▶ sequence ──▶ open entry ──▶ log/<n>, created only if absent ──▶ committed = n ──▶ acknowledged
//! ```
//!
//! One entry is on its way at a time; whatever is sequenced meanwhile shares the next one, so a busy store commits in large
//! groups and an idle one at once. The number of an entry is the commit of everything in it. A writer that finds its number
//! taken has been fenced: it acknowledges nothing from then on, and does not answer for the latest state either.
//!
//! An entry whose outcome is not known is put again, byte for byte the same, until it is; nothing goes on before.

pub(crate) mod entry;
pub(crate) mod record;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::Store;
use super::fold::EndsWriting;
use super::store::Created;
use crate::error::{Error, ErrorKind, Result};
use entry::Header;
use record::Records;

/// How long a writer that cannot write waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);

/// A store's log, open for writing.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) epoch: u64,
    pub(crate) writer: u128,
    sequencer: Mutex<Sequencer>,
    /// The newest commit that is durable: [`Progress::committed`], for readers.
    committed: AtomicU64,
    progress: watch::Sender<Progress>,
    filled: Notify,
    /// What lies behind the last checkpoint.
    pub(crate) tail: Tail,
}

#[derive(Debug)]
struct Sequencer {
    /// The number of the open entry.
    next: u64,
    open: Records,
    /// Entries that nothing is added to any more, oldest first.
    sealed: VecDeque<(u64, Records)>,
}

#[derive(Clone, Debug)]
struct Progress {
    committed: u64,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Writing,
    /// The last attempt to write failed; the same bytes are tried again.
    Stuck(Arc<str>),
    /// Nothing is written any more.
    Ended(ErrorKind, Arc<str>),
}

/// Counts of the log behind the last checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pub(crate) bytes: AtomicU64,
    pub(crate) objects: AtomicU64,
    pub(crate) mutations: AtomicU64,
}

impl Tail {
    pub(crate) fn add(&self, bytes: u64, mutations: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.mutations.fetch_add(mutations, Ordering::Relaxed);
    }

    /// What is counted now: bytes, objects, mutations.
    pub(crate) fn seen(&self) -> [u64; 3] {
        [&self.bytes, &self.objects, &self.mutations].map(|count| count.load(Ordering::Relaxed))
    }

    /// Takes away what was counted at some time before.
    pub(crate) fn subtract(&self, seen: [u64; 3]) {
        for (count, seen) in [&self.bytes, &self.objects, &self.mutations]
            .into_iter()
            .zip(seen)
        {
            count.fetch_sub(seen, Ordering::Relaxed);
        }
    }
}

impl Log {
    /// A log whose last entry, `committed`, is this writer's takeover.
    pub(crate) fn new(epoch: u64, writer: u128, committed: u64) -> Self {
        let (progress, _) = watch::channel(Progress {
            committed,
            state: State::Writing,
        });
        Self {
            epoch,
            writer,
            sequencer: Mutex::new(Sequencer {
                next: committed + 1,
                open: Records::default(),
                sealed: VecDeque::new(),
            }),
            committed: AtomicU64::new(committed),
            progress,
            filled: Notify::new(),
            tail: Tail::default(),
        }
    }

    /// The newest durable commit.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Adds records to the open entry and makes what they say visible to the commit's readers, in one step for all writers.
    ///
    /// Answers what `add` does, and the commit to wait for.
    pub(crate) fn sequence<T>(&self, add: impl FnOnce(&mut Records, u64) -> T) -> Result<(T, u64)> {
        let mut sequencer = self.sequencer.lock();
        self.writable()?;
        let commit = sequencer.next;
        let made = add(&mut sequencer.open, commit);
        drop(sequencer);
        self.filled.notify_one();
        Ok((made, commit))
    }

    /// Ends the open entry and looks at the state that it leaves, before anything else is sequenced.
    pub(crate) fn seal<T>(&self, look: impl FnOnce() -> T) -> (u64, T) {
        let mut sequencer = self.sequencer.lock();
        sequencer.seal();
        let seen = look();
        let last = sequencer.next - 1;
        drop(sequencer);
        self.filled.notify_one();
        (last, seen)
    }

    /// Waits until `commit` is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store cannot be written now: whether the commit will be is not known then.
    /// [`ErrorKind::Conflict`] if another writer has taken over.
    pub(crate) async fn durable(&self, commit: u64) -> Result<()> {
        if self.committed() >= commit {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        let seen = progress
            .wait_for(|progress| {
                progress.committed >= commit || !matches!(progress.state, State::Writing)
            })
            .await
            .map_err(|_| Error::internal("the log ended without a word"))?;
        if seen.committed >= commit {
            return Ok(());
        }
        match &seen.state {
            State::Writing => Ok(()),
            State::Stuck(message) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("whether commit {commit} is stored is not known yet: {message}"),
            )),
            State::Ended(kind, message) => Err(Error::new(*kind, message.as_ref())),
        }
    }

    /// Refuses mutations that could not be acknowledged.
    pub(crate) fn writable(&self) -> Result<()> {
        match &self.progress.borrow().state {
            State::Writing => Ok(()),
            State::Stuck(message) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("the store cannot be written at the moment: {message}"),
            )),
            State::Ended(kind, message) => Err(Error::new(*kind, message.as_ref())),
        }
    }

    /// Refuses reads of the latest state once another writer may have made a later one.
    pub(crate) fn readable(&self) -> Result<()> {
        match &self.progress.borrow().state {
            State::Ended(ErrorKind::Conflict, message) => {
                Err(Error::new(ErrorKind::Conflict, message.as_ref()))
            }
            _ => Ok(()),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.progress.borrow().state, State::Ended(..))
    }

    /// Nothing is acknowledged any more.
    pub(crate) fn end(&self, kind: ErrorKind, message: &str) {
        self.progress.send_modify(|progress| {
            if !matches!(progress.state, State::Ended(..)) {
                progress.state = State::Ended(kind, message.into());
            }
        });
        self.filled.notify_one();
    }

    fn stuck(&self, message: &str) {
        self.progress.send_modify(|progress| {
            if !matches!(progress.state, State::Ended(..)) {
                progress.state = State::Stuck(message.into());
            }
        });
    }

    fn written(&self, commit: u64) {
        self.committed.store(commit, Ordering::Release);
        self.progress.send_modify(|progress| {
            progress.committed = commit;
            if matches!(progress.state, State::Stuck(_)) {
                progress.state = State::Writing;
            }
        });
    }

    /// The next entry to write; `idle` asks for one even if it says nothing.
    fn take(&self, idle: bool) -> Option<(u64, Records)> {
        let mut sequencer = self.sequencer.lock();
        if sequencer.sealed.is_empty() {
            if sequencer.open.is_empty() && !idle {
                return None;
            }
            sequencer.seal_even_empty();
        }
        sequencer.sealed.pop_front()
    }
}

impl Sequencer {
    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.seal_even_empty();
        }
    }

    fn seal_even_empty(&mut self) {
        let records = std::mem::take(&mut self.open);
        self.sealed.push_back((self.next, records));
        self.next += 1;
    }
}

/// Writes entries until the log ends.
pub(crate) async fn run(store: Arc<Store>) {
    let _ends = EndsWriting(Arc::clone(&store));
    let log = &store.log;
    let heartbeat = (store.objects.is_shared() && !store.settings.lease.is_zero())
        .then_some(store.settings.lease / 3);
    loop {
        let mut taken = log.take(false);
        if taken.is_none() {
            if log.has_ended() {
                return;
            }
            // Cancel safety: a notification that comes while nobody waits is kept.
            let filled = log.filled.notified();
            match heartbeat {
                None => filled.await,
                Some(pause) => {
                    if tokio::time::timeout(pause, filled).await.is_err() {
                        taken = log.take(true);
                    }
                }
            }
        }
        let Some((number, records)) = taken else {
            continue;
        };
        let mutations = records.mutations();
        let header = Header {
            number,
            epoch: log.epoch,
            writer: log.writer,
            wall_clock: (store.clock)(),
        };
        let bytes: Bytes = entry::encode(header, &records.finish()).into();
        if !write(&store, number, &bytes).await {
            return;
        }
        log.tail.add(bytes.len() as u64, mutations);
        log.written(number);
        store.housekeeping.notify_one();
    }
}

/// Puts one entry, however long it takes; answers whether this writer may go on.
async fn write(store: &Store, number: u64, bytes: &Bytes) -> bool {
    let name = entry::name(number);
    loop {
        match store.objects.create(&name, bytes.clone()).await {
            Ok(Created::Now) => return true,
            Ok(Created::Taken(other)) => {
                let by = entry::decode(&other).map_or_else(
                    |_| "another writer".to_owned(),
                    |(header, _)| format!("writer {:032x}", header.writer),
                );
                let message = format!(
                    "{by} has taken over the store {}: this process no longer writes it, nor reads its latest state",
                    store.objects
                );
                tracing::error!("{message}");
                store.log.end(ErrorKind::Conflict, &message);
                return false;
            }
            Err(error) => {
                tracing::warn!(?error, "log entry {number} is not written yet");
                let cause = std::error::Error::source(&error);
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                store.log.stuck(&format!("{}{cause}", error.message()));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

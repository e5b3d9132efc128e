//! Versions that streams are read at, whatever the snapshot says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::session::SessionOptions;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Snapshot, StreamId, StreamRead, Version};

/// Streams that one transaction can pin: pins travel in tickets, and 64 Ki of them are 1.5 MiB.
const COUNT_MAX: usize = 64 * 1024;

/// The versions at which a transaction reads streams: those it wrote, and on a backend without store-wide commits those it
/// has read before. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Pins(Arc<Mutex<HashMap<StreamId, Version>>>);

impl Pins {
    /// All of them, in no order.
    pub fn list(&self) -> Vec<(StreamId, Version)> {
        self.0.lock().iter().map(|(id, at)| (*id, *at)).collect()
    }

    /// Where `id` is pinned.
    pub fn get(&self, id: StreamId) -> Option<Version> {
        self.0.lock().get(&id).copied()
    }

    /// Pins streams to these versions, or moves their pins there.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] if they get too many; those of `versions` are pinned all the same.
    pub fn set(&self, versions: &[(StreamId, Version)]) -> Result<()> {
        let mut pins = self.0.lock();
        pins.extend(versions.iter().copied());
        check_count(pins.len())
    }

    /// Moves the pins of those streams that have one.
    pub fn move_to(&self, versions: &[(StreamId, Version)]) {
        let mut pins = self.0.lock();
        for (id, version) in versions {
            if let Some(pin) = pins.get_mut(id) {
                *pin = *version;
            }
        }
    }

    /// Pins a stream unless it is pinned; answers where it is now.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] if they get too many.
    pub(super) fn keep(&self, id: StreamId, version: Version) -> Result<Version> {
        let mut pins = self.0.lock();
        let pin = *pins.entry(id).or_insert(version);
        check_count(pins.len()).map(|()| pin)
    }
}

fn check_count(count: usize) -> Result<()> {
    if count <= COUNT_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Exhausted,
        format!(
            "one transaction can pin at most {COUNT_MAX} streams: commit and begin another, or connect with autocommit"
        ),
    ))
}

impl FromIterator<(StreamId, Version)> for Pins {
    fn from_iter<Pairs: IntoIterator<Item = (StreamId, Version)>>(pairs: Pairs) -> Self {
        Self(Arc::new(Mutex::new(pairs.into_iter().collect())))
    }
}

impl PartialEq for Pins {
    fn eq(&self, other: &Self) -> bool {
        // Not both locks at once: it may be one lock.
        let theirs = other.0.lock().clone();
        *self.0.lock() == theirs
    }
}

/// How often a scan asks the backend about each of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    One,
    Several,
}

impl Calls {
    pub(super) fn several(several: bool) -> Self {
        if several { Self::Several } else { Self::One }
    }
}

/// The pins of one statement: those it began with, and those it makes.
#[derive(Debug)]
pub(super) struct StatementPins {
    /// Where streams are read from now on; a write beside the statement moves the transaction's pins, not these.
    at: Mutex<HashMap<StreamId, Version>>,
    /// Where other statements find what this one pins, if every stream that is read is pinned.
    shared: Option<Pins>,
    /// Whether every stream that is read is to be pinned, even where no other statement sees the pin.
    pins_all: AtomicBool,
    /// How many scans read each stream.
    touched: Mutex<HashMap<StreamId, u32>>,
    /// One at a time: two that pin one stream must not find two versions.
    settling: tokio::sync::Mutex<()>,
}

impl StatementPins {
    pub(super) fn new(options: &SessionOptions) -> Self {
        Self {
            at: Mutex::new(options.pins.list().into_iter().collect()),
            shared: options.pins_reads.then(|| options.pins.clone()),
            pins_all: AtomicBool::new(false),
            touched: Mutex::default(),
            settling: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn get(&self, id: StreamId) -> Option<Version> {
        self.at.lock().get(&id).copied()
    }

    /// From now on, pins every stream that is read.
    pub(super) fn pin_all(&self) {
        self.pins_all.store(true, Ordering::Relaxed);
    }

    pub(super) fn touch(&self, id: StreamId) {
        *self.touched.lock().entry(id).or_default() += 1;
    }

    /// Whether a stream is to be read at a version of its own.
    pub(super) fn wants(&self, id: StreamId, calls: Calls) -> bool {
        calls == Calls::Several
            || self.shared.is_some()
            || self.pins_all.load(Ordering::Relaxed)
            || self.touched.lock().get(&id).is_some_and(|scans| *scans > 1)
    }

    /// `reads` with versions where they are wanted.
    pub(super) async fn settle(
        &self,
        backend: &dyn Backend,
        mut reads: Vec<StreamRead>,
        calls: Calls,
    ) -> Result<Vec<StreamRead>> {
        let is_open = |read: &StreamRead| read.version.is_none() && self.wants(read.id, calls);
        if !reads.iter().any(is_open) {
            return Ok(reads);
        }
        let _one_at_a_time = self.settling.lock().await;
        let mut new: Vec<StreamId> = reads
            .iter()
            .filter(|read| is_open(read) && self.get(read.id).is_none())
            .map(|read| read.id)
            .collect();
        if let Some(shared) = &self.shared {
            new.retain(|&id| match shared.get(id) {
                Some(version) => self.at.lock().insert(id, version).is_some(),
                None => true,
            });
        }
        if !new.is_empty() {
            let versions = versions(backend, &new).await?;
            for (id, version) in new.into_iter().zip(versions) {
                let version = match &self.shared {
                    Some(shared) => shared.keep(id, version)?,
                    None => version,
                };
                self.at.lock().insert(id, version);
            }
        }
        for read in &mut reads {
            if is_open(read) {
                read.version = self.get(read.id);
            }
        }
        Ok(reads)
    }
}

/// The versions of now. What is buffered is in none: it is made part of one first, where that is allowed.
async fn versions(backend: &dyn Backend, streams: &[StreamId]) -> Result<Vec<Version>> {
    match backend.flush(streams).await {
        Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported) => {
            backend.versions(streams, Snapshot::Latest).await
        }
        flushed => flushed,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_pin_stays_until_it_is_moved() {
        let id = |number| StreamId(Uuid::from_u128(number));
        let pins = Pins::default();
        assert_eq!(pins.keep(id(1), Version(11)).expect("room"), Version(11));
        assert_eq!(pins.keep(id(1), Version(12)).expect("room"), Version(11));
        pins.move_to(&[(id(1), Version(13)), (id(2), Version(13))]);
        assert_eq!(
            (pins.get(id(1)), pins.get(id(2))),
            (Some(Version(13)), None)
        );
        pins.set(&[(id(2), Version(14))]).expect("room");
        assert_eq!(
            pins.clone(),
            pins,
            "clones share, and comparing does not wait for itself"
        );
        let many: Vec<_> = (0..COUNT_MAX as u128 + 1)
            .map(|n| (id(n), Version(11)))
            .collect();
        assert_eq!(
            pins.set(&many).expect_err("too many").kind(),
            ErrorKind::Exhausted
        );
    }
}

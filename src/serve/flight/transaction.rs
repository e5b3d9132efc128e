//! Transactions: read snapshots with a name.
//!
//! The first statement inside a transaction takes a snapshot, and all later ones read it. A `SET` inside lasts as long as the
//! transaction. What an ingest inside writes is applied at once, and the transaction sees it: it pins the new versions. They
//! live in this process, and one that nobody uses ends by itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Snapshot, StreamId, Version};
use crate::query::SessionOptions;

/// Streams that one transaction can pin: pins travel in tickets, and 64 Ki of them are 1.5 MiB.
const PIN_COUNT_MAX: usize = 64 * 1024;

/// The transactions open in this process.
#[derive(Debug)]
pub(super) struct Transactions {
    open: Mutex<HashMap<Uuid, Transaction>>,
    count_max: usize,
    idle_max: Duration,
}

#[derive(Debug)]
struct Transaction {
    session: SessionOptions,
    /// Whether the first statement came and took the snapshot.
    began: bool,
    used: Instant,
}

impl Transactions {
    pub(super) fn new(count_max: usize, idle_max: Duration) -> Self {
        Self {
            open: Mutex::new(HashMap::new()),
            count_max,
            idle_max,
        }
    }

    /// Opens one, and answers its id.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] if too many are open.
    pub(super) fn begin(&self) -> Result<Bytes> {
        self.begin_at(Instant::now())
    }

    fn begin_at(&self, now: Instant) -> Result<Bytes> {
        let mut open = self.open.lock();
        if open.len() >= self.count_max {
            open.retain(|_, transaction| now.duration_since(transaction.used) <= self.idle_max);
        }
        if open.len() >= self.count_max {
            return Err(Error::new(
                ErrorKind::Exhausted,
                format!(
                    "{} transactions are open, which is the limit: end some, or connect with autocommit",
                    open.len()
                ),
            ));
        }
        let id = Uuid::new_v4();
        let transaction = Transaction {
            session: SessionOptions::default(),
            began: false,
            used: now,
        };
        open.insert(id, transaction);
        Ok(Bytes::copy_from_slice(id.as_bytes()))
    }

    /// Ends one. Writes inside were applied when they were made, so ending is forgetting.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction is open.
    pub(super) fn end(&self, id: &[u8]) -> Result<()> {
        let ended = parse(id).and_then(|id| self.open.lock().remove(&id));
        ended.map(|_| ()).ok_or_else(unknown)
    }

    /// What a statement inside the transaction reads and how; the first call takes the snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction is open.
    pub(super) async fn session(&self, id: &[u8], backend: &dyn Backend) -> Result<SessionOptions> {
        let began = self.with(id, |transaction| {
            transaction.began.then(|| transaction.session.clone())
        })?;
        if let Some(session) = began {
            return Ok(session);
        }
        let snapshot = backend.snapshot().await?;
        // Of two first statements at once, one wins, and both read the same.
        self.with(id, |transaction| {
            if !transaction.began {
                transaction.began = true;
                transaction.session.snapshot = snapshot;
            }
            transaction.session.clone()
        })
    }

    /// Changes a setting for the rest of the transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no such setting or value, [`ErrorKind::NotFound`] if no such transaction is open.
    pub(super) fn set(&self, id: &[u8], name: &str, value: &str) -> Result<()> {
        self.with(id, |transaction| transaction.session.set(name, value))?
    }

    /// Makes the transaction see what it wrote.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction is open, [`ErrorKind::Exhausted`] if it would pin too many streams.
    pub(super) fn pin(&self, id: &[u8], written: &[(StreamId, Version)]) -> Result<()> {
        self.with(id, |transaction| {
            if !transaction.began || transaction.session.snapshot == Snapshot::Latest {
                // It reads, or will read, a state that has the write in it.
                return Ok(());
            }
            let pins = &mut transaction.session.pins;
            let mut positions: HashMap<_, _> = pins
                .iter()
                .enumerate()
                .map(|(position, (stream, _))| (*stream, position))
                .collect();
            for (stream, version) in written {
                match positions.get(stream) {
                    Some(position) => pins[*position].1 = *version,
                    None => {
                        positions.insert(*stream, pins.len());
                        pins.push((*stream, *version));
                    }
                }
            }
            if pins.len() <= PIN_COUNT_MAX {
                return Ok(());
            }
            Err(Error::new(
                ErrorKind::Exhausted,
                format!(
                    "one transaction can write to at most {PIN_COUNT_MAX} streams: commit and begin another"
                ),
            ))
        })?
    }

    fn with<T>(&self, id: &[u8], act: impl FnOnce(&mut Transaction) -> T) -> Result<T> {
        self.with_at(Instant::now(), id, act)
    }

    fn with_at<T>(
        &self,
        now: Instant,
        id: &[u8],
        act: impl FnOnce(&mut Transaction) -> T,
    ) -> Result<T> {
        let id = parse(id).ok_or_else(unknown)?;
        let mut open = self.open.lock();
        let transaction = open.get_mut(&id).ok_or_else(unknown)?;
        if now.duration_since(transaction.used) > self.idle_max {
            open.remove(&id);
            return Err(unknown());
        }
        transaction.used = now;
        Ok(act(transaction))
    }
}

fn parse(id: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(id).ok()
}

fn unknown() -> Error {
    Error::not_found(
        "no such transaction is open here: it ended, was idle too long, or belongs to another server process; roll back \
         and begin again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_transactions_end_and_make_room() {
        let transactions = Transactions::new(1, Duration::from_secs(60));
        let start = Instant::now();
        let first = transactions.begin_at(start).expect("room for one");
        let full = transactions.begin_at(start).expect_err("full");
        assert_eq!(full.kind(), ErrorKind::Exhausted);
        let later = start + Duration::from_secs(61);
        let idle = transactions.with_at(later, &first, |_| ());
        assert_eq!(idle.expect_err("ended").kind(), ErrorKind::NotFound);
        let second = transactions.begin_at(later).expect("room again");
        let later = later + Duration::from_secs(61);
        transactions
            .begin_at(later)
            .expect("the idle one made room");
        let gone = transactions.end(&second).expect_err("ended");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        assert!(transactions.end(b"garbage").is_err());
    }
}

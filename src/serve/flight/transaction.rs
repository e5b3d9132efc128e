//! Transactions: read snapshots with a name.
//!
//! The first statement inside a transaction takes a snapshot, and all later ones read it; where the backend has none that
//! spans streams, each stream is pinned when it is first read. A `SET` inside lasts as long as the transaction. What an ingest
//! inside writes is applied at once, and the transaction sees it: it pins the new versions. Transactions live in this process,
//! and one that nobody uses ends by itself.
//!
//! Some messages of the protocol do not say which transaction they belong to: executing a statement that was prepared in an
//! earlier one, and in practice ingest. Such a message belongs to the one that was begun on the same connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{MergePolicy, Snapshot, StreamId, Version};
use crate::query::{Pins, SessionOptions};

/// Ended transactions that are remembered, for the prepared statements that outlive them.
const ENDED_COUNT_MAX: usize = 64 * 1024;

/// The transactions open in this process.
#[derive(Debug)]
pub(super) struct Transactions {
    open: Mutex<HashMap<Uuid, Transaction>>,
    ended: Mutex<Ended>,
    count_max: usize,
    idle_max: Duration,
}

/// The latest transactions that clients ended.
#[derive(Debug, Default)]
struct Ended {
    order: VecDeque<Uuid>,
    ids: HashSet<Uuid>,
}

#[derive(Debug)]
struct Transaction {
    session: SessionOptions,
    /// Where it was begun.
    connection: Option<SocketAddr>,
    /// Whether the first statement came and took the snapshot.
    began: bool,
    used: Instant,
}

impl Transactions {
    pub(super) fn new(count_max: usize, idle_max: Duration) -> Self {
        Self {
            open: Mutex::new(HashMap::new()),
            ended: Mutex::new(Ended::default()),
            count_max,
            idle_max,
        }
    }

    /// Opens one, and answers its id.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] if too many are open.
    pub(super) fn begin(&self, connection: Option<SocketAddr>) -> Result<Bytes> {
        self.begin_at(Instant::now(), connection)
    }

    fn begin_at(&self, now: Instant, connection: Option<SocketAddr>) -> Result<Bytes> {
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
            connection,
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
        let id = parse(id).ok_or_else(unknown)?;
        self.open.lock().remove(&id).ok_or_else(unknown)?;
        let mut ended = self.ended.lock();
        if ended.order.len() == ENDED_COUNT_MAX
            && let Some(oldest) = ended.order.pop_front()
        {
            ended.ids.remove(&oldest);
        }
        ended.order.push_back(id);
        ended.ids.insert(id);
        Ok(())
    }

    /// Whether a client ended this transaction here, not long ago.
    pub(super) fn has_ended(&self, id: &[u8]) -> bool {
        parse(id).is_some_and(|id| self.ended.lock().ids.contains(&id))
    }

    /// The only open transaction that was begun on `connection`; empty if there is none, or several.
    ///
    /// With several it is a proxy's connection, whose clients cannot be told apart.
    pub(super) fn of_connection(&self, connection: Option<SocketAddr>) -> Bytes {
        if connection.is_none() {
            return Bytes::new();
        }
        let open = self.open.lock();
        let mut begun = open
            .iter()
            .filter(|(_, transaction)| transaction.connection == connection);
        match (begun.next(), begun.next()) {
            (Some((id, _)), None) => Bytes::copy_from_slice(id.as_bytes()),
            _ => Bytes::new(),
        }
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
                transaction.session.pins_reads = snapshot == Snapshot::Latest;
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

    /// The merge policy that was set inside the transaction, if it is open and has one of its own.
    pub(super) fn merge(&self, id: &[u8]) -> Option<MergePolicy> {
        let set = self.with(id, |transaction| transaction.session.merge).ok();
        set.filter(|merge| *merge != MergePolicy::default())
    }

    /// Where the transaction reads streams, shared with it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction is open.
    pub(super) fn pins(&self, id: &[u8]) -> Result<Pins> {
        self.with(id, |transaction| transaction.session.pins.clone())
    }

    /// Makes the transaction see what it wrote.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction is open, [`ErrorKind::Exhausted`] if it would pin too many streams.
    pub(super) fn pin(&self, id: &[u8], written: &[(StreamId, Version)]) -> Result<()> {
        self.with(id, |transaction| {
            let session = &transaction.session;
            match session.snapshot {
                // It will read a state that has the write in it.
                _ if !transaction.began => Ok(()),
                Snapshot::Latest => {
                    session.pins.move_to(written);
                    Ok(())
                }
                Snapshot::Commit(_) => session.pins.set(written),
            }
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
        let first = transactions.begin_at(start, None).expect("room for one");
        let full = transactions.begin_at(start, None).expect_err("full");
        assert_eq!(full.kind(), ErrorKind::Exhausted);
        let later = start + Duration::from_secs(61);
        let idle = transactions.with_at(later, &first, |_| ());
        assert_eq!(idle.expect_err("ended").kind(), ErrorKind::NotFound);
        let second = transactions.begin_at(later, None).expect("room again");
        let later = later + Duration::from_secs(61);
        transactions
            .begin_at(later, None)
            .expect("the idle one made room");
        let gone = transactions.end(&second).expect_err("ended");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        assert!(transactions.end(b"garbage").is_err());
    }

    #[test]
    fn a_connection_has_one_transaction_or_none_that_can_be_told() {
        let transactions = Transactions::new(9, Duration::from_secs(60));
        let here = Some(SocketAddr::from(([127, 0, 0, 1], 4_410)));
        let first = transactions.begin(here).expect("room");
        transactions.begin(None).expect("room");
        assert_eq!(transactions.of_connection(here), first);
        assert_eq!(transactions.of_connection(None), "");
        let second = transactions.begin(here).expect("room");
        assert_eq!(transactions.of_connection(here), "");
        transactions.end(&first).expect("open");
        assert_eq!(transactions.of_connection(here), second);
        assert!(transactions.has_ended(&first) && !transactions.has_ended(&second));
    }
}

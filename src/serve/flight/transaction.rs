//! Transactions: read snapshots with a name.
//!
//! The first statement inside a transaction takes a snapshot, and all later ones read it; where the backend has none that
//! spans streams, each stream is pinned when it is first read. A `SET` inside lasts as long as the transaction. What is written
//! inside is applied at once, and the transaction sees it: it pins the new versions. A rollback takes nothing back, and says so.
//! Transactions live in this process, and one that nobody uses ends by itself.
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
use crate::model::{Snapshot, StreamId, Version};
use crate::query::{Command, Pins, SessionOptions};

/// Ended transactions that are remembered, for the prepared statements that outlive them.
const ENDED_COUNT_MAX: usize = 64 * 1024;

/// Streams that a rollback names before it says how many more there are.
const NAMED_MAX: usize = 8;

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

/// How a transaction is begun.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Begin {
    /// Where, if later messages that do not name it may belong to it.
    pub(super) connection: Option<SocketAddr>,
    /// Whether it refuses statements that write.
    pub(super) read_only: bool,
}

#[derive(Debug)]
struct Transaction {
    begin: Begin,
    /// The state that it reads, once the first statement came and took it.
    snapshot: Option<Snapshot>,
    pins: Pins,
    /// What was `SET` inside.
    settings: Vec<Command>,
    wrote: Wrote,
    used: Instant,
}

/// What a transaction wrote, and a rollback leaves.
#[derive(Debug, Default)]
struct Wrote {
    rows: u64,
    /// The last versions, of as many streams as are named.
    versions: Vec<(StreamId, Version)>,
    /// Versions beyond those.
    more: u64,
}

impl Wrote {
    fn add(&mut self, rows: u64, versions: &[(StreamId, Version)]) {
        self.rows = self.rows.saturating_add(rows);
        for (stream, version) in versions {
            let known = self.versions.iter_mut().find(|(known, _)| known == stream);
            if let Some((_, last)) = known {
                *last = *version;
            } else if self.versions.len() < NAMED_MAX {
                self.versions.push((*stream, *version));
            } else {
                self.more += 1;
            }
        }
    }

    fn sentence(&self) -> Option<String> {
        if self.rows == 0 && self.versions.is_empty() {
            return None;
        }
        let mut text = format!(
            "what was written in the transaction was applied when it was written, and stays: {} rows",
            self.rows
        );
        for (position, (stream, version)) in self.versions.iter().enumerate() {
            let joint = if position == 0 { "; streams " } else { ", " };
            text.push_str(&format!("{joint}{stream}@{version}"));
        }
        if self.more > 0 {
            text.push_str(&format!(", and {} versions more", self.more));
        }
        Some(text)
    }
}

impl Transaction {
    /// What a statement inside reads and how: `base` is how it would outside.
    fn session(&self, base: SessionOptions, snapshot: Snapshot) -> Result<SessionOptions> {
        let mut session = SessionOptions {
            snapshot,
            pins: self.pins.clone(),
            pins_reads: snapshot == Snapshot::Latest,
            read_only: self.begin.read_only,
            ..base
        };
        for setting in &self.settings {
            setting.apply(&mut session)?;
        }
        Ok(session)
    }
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
    pub(super) fn begin(&self, begin: Begin) -> Result<Bytes> {
        self.begin_at(Instant::now(), begin)
    }

    fn begin_at(&self, now: Instant, begin: Begin) -> Result<Bytes> {
        let mut open = self.open.lock();
        // Those that were abandoned; there are never many, and this costs less than the call.
        open.retain(|_, transaction| now.duration_since(transaction.used) <= self.idle_max);
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
            begin,
            snapshot: None,
            pins: Pins::default(),
            settings: Vec::new(),
            wrote: Wrote::default(),
            used: now,
        };
        open.insert(id, transaction);
        Ok(Bytes::copy_from_slice(id.as_bytes()))
    }

    /// Ends one; answers what a rollback has to say. Writes inside were applied when they were made, so ending is forgetting.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction is open.
    pub(super) fn end(&self, id: &[u8]) -> Result<Option<String>> {
        let id = parse(id).ok_or_else(unknown)?;
        let transaction = self.open.lock().remove(&id).ok_or_else(unknown)?;
        let mut ended = self.ended.lock();
        if ended.order.len() == ENDED_COUNT_MAX
            && let Some(oldest) = ended.order.pop_front()
        {
            ended.ids.remove(&oldest);
        }
        ended.order.push_back(id);
        ended.ids.insert(id);
        Ok(transaction.wrote.sentence())
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
            .filter(|(_, transaction)| transaction.begin.connection == connection);
        match (begun.next(), begun.next()) {
            (Some((id, _)), None) => Bytes::copy_from_slice(id.as_bytes()),
            _ => Bytes::new(),
        }
    }

    /// What a statement inside the transaction reads and how, where `base` is how it would outside; the first call takes the
    /// snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction is open.
    pub(super) async fn session(
        &self,
        id: &[u8],
        base: SessionOptions,
        backend: &dyn Backend,
    ) -> Result<SessionOptions> {
        let taken = self.with(id, |transaction| transaction.snapshot)?;
        let snapshot = match taken {
            Some(snapshot) => snapshot,
            None => backend.snapshot().await?,
        };
        self.with(id, |transaction| {
            // Of two first statements at once, one wins, and both read the same.
            let snapshot = *transaction.snapshot.get_or_insert(snapshot);
            transaction.session(base, snapshot)
        })?
    }

    /// Changes a setting for the rest of the transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no such setting or value, [`ErrorKind::NotFound`] if no such transaction is open.
    pub(super) fn set(&self, id: &[u8], setting: &Command) -> Result<()> {
        setting.apply(&mut SessionOptions::default())?;
        self.with(id, |transaction| {
            // One of each, so that a transaction in which a setting changes often does not grow.
            transaction
                .settings
                .retain(|other| other.setting() != setting.setting());
            transaction.settings.push(setting.clone());
        })
    }

    /// `base` with what was `SET` inside the transaction, if it is open.
    pub(super) fn settings(&self, id: &[u8], base: SessionOptions) -> Result<SessionOptions> {
        let snapshot = base.snapshot;
        self.with(id, |transaction| transaction.session(base, snapshot))?
    }

    /// Where the transaction reads streams, shared with it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction is open.
    pub(super) fn pins(&self, id: &[u8]) -> Result<Pins> {
        self.with(id, |transaction| transaction.pins.clone())
    }

    /// Makes the transaction see the `rows` that it wrote, and remember them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such transaction is open, [`ErrorKind::Exhausted`] if it would pin too many streams.
    pub(super) fn wrote(
        &self,
        id: &[u8],
        rows: u64,
        versions: &[(StreamId, Version)],
    ) -> Result<()> {
        self.with(id, |transaction| {
            transaction.wrote.add(rows, versions);
            match transaction.snapshot {
                // It will read a state that has the write in it.
                None => Ok(()),
                Some(Snapshot::Latest) => {
                    transaction.pins.move_to(versions);
                    Ok(())
                }
                Some(Snapshot::Commit(_)) => transaction.pins.set(versions),
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
        let first = transactions
            .begin_at(start, Begin::default())
            .expect("room for one");
        let full = transactions
            .begin_at(start, Begin::default())
            .expect_err("full");
        assert_eq!(full.kind(), ErrorKind::Exhausted);
        let later = start + Duration::from_secs(61);
        let idle = transactions.with_at(later, &first, |_| ());
        assert_eq!(idle.expect_err("ended").kind(), ErrorKind::NotFound);
        let second = transactions
            .begin_at(later, Begin::default())
            .expect("room again");
        let later = later + Duration::from_secs(61);
        transactions
            .begin_at(later, Begin::default())
            .expect("the idle one made room");
        let gone = transactions.end(&second).expect_err("ended");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        assert!(transactions.end(b"garbage").is_err());
    }

    #[test]
    fn a_connection_has_one_transaction_or_none_that_can_be_told() {
        let transactions = Transactions::new(9, Duration::from_secs(60));
        let here = Some(SocketAddr::from(([127, 0, 0, 1], 4_410)));
        let begun_here = || {
            transactions
                .begin(Begin {
                    connection: here,
                    read_only: false,
                })
                .expect("room")
        };
        let first = begun_here();
        transactions.begin(Begin::default()).expect("room");
        assert_eq!(transactions.of_connection(here), first);
        assert_eq!(transactions.of_connection(None), "");
        let second = begun_here();
        assert_eq!(transactions.of_connection(here), "");
        let said = transactions.end(&first).expect("open");
        assert_eq!(said, None, "nothing was written");
        assert_eq!(transactions.of_connection(here), second);
        assert!(transactions.has_ended(&first) && !transactions.has_ended(&second));
    }

    #[test]
    fn a_rollback_tells_what_stays() {
        let transactions = Transactions::new(9, Duration::from_secs(60));
        let id = transactions.begin(Begin::default()).expect("room");
        let stream = |number| StreamId(Uuid::from_u128(number));
        transactions
            .wrote(
                &id,
                3,
                &[(stream(1), Version(11)), (stream(2), Version(12))],
            )
            .expect("open");
        transactions
            .wrote(&id, 4, &[(stream(1), Version(13))])
            .expect("open");
        let said = transactions.end(&id).expect("open").expect("a sentence");
        assert!(said.contains("7 rows"), "{said}");
        assert!(said.contains("000000000001@13, "), "{said}");
        assert!(!said.contains("more"), "{said}");
        let id = transactions.begin(Begin::default()).expect("room");
        for number in 0..20 {
            transactions
                .wrote(&id, 1, &[(stream(number), Version(11))])
                .expect("open");
        }
        let said = transactions.end(&id).expect("open").expect("a sentence");
        assert!(said.ends_with("and 12 versions more"), "{said}");
    }
}

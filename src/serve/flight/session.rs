//! Sessions: settings, and a transaction begun by SQL text, of clients that keep cookies.
//!
//! A session is there from the first thing that is set in it. It lives in this process, ends when the client closes it, and by
//! itself when nobody uses it: sooner if its cookie never came back, because then nobody can.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use super::cookie::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::query::SessionOptions;

/// How long a session waits for its cookie to come back.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(60);

/// The sessions open in this process.
#[derive(Debug)]
pub(super) struct Sessions {
    open: Mutex<HashMap<Uuid, Session>>,
    count_max: usize,
    idle_max: Duration,
}

/// What is kept for a client.
#[derive(Debug)]
pub(super) struct Session {
    /// Its settings; what it reads is the statement's or the transaction's.
    pub(super) options: SessionOptions,
    /// Begun by SQL text; empty is none.
    pub(super) transaction: Bytes,
    /// Whether the client has sent its cookie.
    confirmed: bool,
    used: Instant,
}

impl Session {
    fn is_idle(&self, now: Instant, idle_max: Duration) -> bool {
        let limit = if self.confirmed {
            idle_max
        } else {
            idle_max.min(UNCONFIRMED_MAX)
        };
        now.duration_since(self.used) > limit
    }
}

impl Sessions {
    pub(super) fn new(count_max: usize, idle_max: Duration) -> Self {
        Self {
            open: Mutex::new(HashMap::new()),
            count_max,
            idle_max,
        }
    }

    /// Reads the client's session; none if it has not begun one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it began one that is gone.
    pub(super) fn read<T>(
        &self,
        client: Client,
        read: impl FnOnce(&Session) -> T,
    ) -> Result<Option<T>> {
        self.read_at(Instant::now(), client, read)
    }

    fn read_at<T>(
        &self,
        now: Instant,
        client: Client,
        read: impl FnOnce(&Session) -> T,
    ) -> Result<Option<T>> {
        let Some(id) = client.id() else {
            return Ok(None);
        };
        let mut open = self.open.lock();
        if open
            .get(&id)
            .is_some_and(|session| session.is_idle(now, self.idle_max))
        {
            open.remove(&id);
        }
        match (open.get_mut(&id), client) {
            (Some(session), _) => {
                session.used = now;
                session.confirmed = true;
                Ok(Some(read(session)))
            }
            (None, Client::Session(_)) => Err(gone()),
            (None, _) => Ok(None),
        }
    }

    /// Changes the session `id`, which is begun if it is not there; answers whether it was begun.
    ///
    /// # Errors
    /// Those of `change`, and then nothing is begun; [`ErrorKind::Exhausted`] if too many are open.
    pub(super) fn change<T>(
        &self,
        id: Uuid,
        change: impl FnOnce(&mut Session) -> Result<T>,
    ) -> Result<(T, bool)> {
        self.change_at(Instant::now(), id, change)
    }

    fn change_at<T>(
        &self,
        now: Instant,
        id: Uuid,
        change: impl FnOnce(&mut Session) -> Result<T>,
    ) -> Result<(T, bool)> {
        let mut open = self.open.lock();
        if let Some(session) = open.get_mut(&id) {
            session.used = now;
            return change(session).map(|changed| (changed, false));
        }
        let mut session = Session {
            options: SessionOptions::default(),
            transaction: Bytes::new(),
            confirmed: false,
            used: now,
        };
        let changed = change(&mut session)?;
        open.retain(|_, session| !session.is_idle(now, self.idle_max));
        if open.len() >= self.count_max {
            return Err(Error::new(
                ErrorKind::Exhausted,
                format!(
                    "{} sessions are open, which is the limit: close some, or send settings as headers of each call",
                    open.len()
                ),
            ));
        }
        open.insert(id, session);
        Ok((changed, true))
    }

    /// Closes the client's session; answers its transaction, and none if it has not begun a session.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it began one that is gone.
    pub(super) fn close(&self, client: Client) -> Result<Option<Bytes>> {
        let Some(id) = client.id() else {
            return Ok(None);
        };
        match (self.open.lock().remove(&id), client) {
            (Some(session), _) => Ok(Some(session.transaction)),
            (None, Client::Session(_)) => Err(gone()),
            (None, _) => Ok(None),
        }
    }
}

fn gone() -> Error {
    Error::not_found(
        "the session is not open here: it was closed, was idle too long, or belongs to another server process; what was set in \
         it is gone, and the next call begins anew",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(600);

    fn set(session: &mut Session) -> Result<()> {
        session.options.set("btrdb.pushdown", "false")
    }

    #[test]
    fn sessions_end_when_nobody_uses_them_and_say_that_they_did() {
        let sessions = Sessions::new(9, IDLE);
        let start = Instant::now();
        let id = Uuid::from_u128(1);
        sessions.change_at(start, id, set).expect("room");
        let client = Client::Session(id);
        let later = start + Duration::from_secs(59);
        let pushdown = |at| sessions.read_at(at, client, |session| session.options.pushdown);
        assert_eq!(pushdown(later).expect("there"), Some(false));
        let later = later + IDLE;
        assert_eq!(pushdown(later).expect("its cookie came"), Some(false));
        let later = later + IDLE + Duration::from_secs(1);
        let error = pushdown(later).expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let offered = sessions.read_at(later, Client::Offered(id), |_| ());
        assert_eq!(offered.expect("never begun, as far as it knows"), None);
    }

    #[test]
    fn a_session_whose_cookie_never_came_back_makes_room() {
        let sessions = Sessions::new(1, IDLE);
        let start = Instant::now();
        sessions
            .change_at(start, Uuid::from_u128(1), set)
            .expect("room for one");
        let full = sessions.change_at(start, Uuid::from_u128(2), set);
        assert_eq!(full.expect_err("full").kind(), ErrorKind::Exhausted);
        let later = start + UNCONFIRMED_MAX + Duration::from_secs(1);
        let (_, begun) = sessions
            .change_at(later, Uuid::from_u128(2), set)
            .expect("the first made room");
        assert!(begun);
    }

    #[test]
    fn what_cannot_be_set_begins_no_session() {
        let sessions = Sessions::new(9, IDLE);
        let id = Uuid::from_u128(1);
        sessions
            .change(id, |session| session.options.set("btrdb.merge", "perhaps"))
            .expect_err("no policy");
        assert_eq!(sessions.close(Client::Offered(id)).expect("nothing"), None);
        sessions.change(id, set).expect("room");
        assert!(sessions.close(Client::Session(id)).expect("open").is_some());
        sessions.close(Client::Session(id)).expect_err("closed");
    }
}

//! Statements about the session, obeyed: SET and RESET, BEGIN, COMMIT and ROLLBACK.
//!
//! A transaction keeps what is set in it; outside of one, a session does. A client that has neither is refused: what it sets would
//! be forgotten with the call.

use bytes::Bytes;
use uuid::Uuid;

use super::Shared;
use super::call::CallOptions;
use super::session::Session;
use super::transaction::Begin;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::query::Command;

impl Shared {
    /// Does what `command` says. `transaction` is the one that it is in, which the message names or the session has.
    pub(super) fn obey(
        &self,
        command: &Command,
        transaction: &Bytes,
        is_named: bool,
        call: &CallOptions,
    ) -> Result<()> {
        match command {
            Command::Set { .. } | Command::Reset { .. } if !transaction.is_empty() => {
                self.transactions.set(transaction, command)
            }
            Command::Set { name, value } => {
                let id = self.lasting(call, || would_not_last(name, value))?;
                self.change_session(id, call, |session| {
                    command.apply(&mut session.options).map(drop)
                })
            }
            // To a client without a session every setting has its default.
            Command::Reset { .. } => match call.client.id() {
                Some(id) => self.change_session(id, call, |session| {
                    command.apply(&mut session.options).map(drop)
                }),
                None => Ok(()),
            },
            Command::Begin { read_only } => self.begin_text(*read_only, transaction, call),
            Command::Commit | Command::Rollback if is_named => Err(wrong(format!(
                "{} does not end this transaction: it was begun by a call of Flight SQL, and is ended by one, as drivers do \
                 for commit() and rollback()",
                command.verb()
            ))),
            Command::Commit | Command::Rollback if transaction.is_empty() => Err(wrong(format!(
                "there is no transaction for {} to end",
                command.verb()
            ))),
            Command::Commit => self.end_text(transaction, call).map(drop),
            Command::Rollback => self.rolled_back(self.end_text(transaction, call), call),
        }
    }

    /// Ends the session's transaction, which is gone, if `sql` asks for no more than that; answers whether it does.
    pub(super) fn ends_lost(
        &self,
        sql: &str,
        transaction: &Bytes,
        call: &CallOptions,
    ) -> Result<bool> {
        let is_end = matches!(Command::of_text(sql), Some(Command::Rollback));
        if is_end && !transaction.is_empty() {
            self.rolled_back(self.end_text(transaction, call), call)?;
        }
        Ok(is_end)
    }

    /// What a rollback answers: that a transaction is gone is no reason to fail, and what was written in it stays.
    pub(super) fn rolled_back(
        &self,
        ended: Result<Option<String>>,
        call: &CallOptions,
    ) -> Result<()> {
        match ended {
            Ok(stays) => {
                if let Some(stays) = stays {
                    tracing::info!(stays, "a transaction was rolled back");
                    call.reply.warn(&stays);
                }
                Ok(())
            }
            // A client that lost its transaction must be able to begin another.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn begin_text(&self, read_only: bool, transaction: &Bytes, call: &CallOptions) -> Result<()> {
        if !transaction.is_empty() {
            return Err(wrong(
                "a transaction is open already: end it before another begins".to_owned(),
            ));
        }
        let id = self.lasting(call, || {
            wrong(
                "BEGIN would not last: transactions of SQL text are kept for clients that keep cookies (ADBC: \
                 adbc.flight.sql.rpc.with_cookie_middleware=true); others begin them by the call of Flight SQL, as drivers do \
                 where autocommit is off"
                    .to_owned(),
            )
        })?;
        let begun = self.transactions.begin(Begin {
            connection: None,
            read_only,
        })?;
        let kept = self.change_session(id, call, |session| {
            if !session.transaction.is_empty() {
                return Err(wrong("a transaction began at the same time".to_owned()));
            }
            session.transaction = begun.clone();
            Ok(())
        });
        if kept.is_err() {
            // Nobody knows of it.
            self.transactions.end(&begun)?;
        }
        kept
    }

    fn end_text(&self, transaction: &Bytes, call: &CallOptions) -> Result<Option<String>> {
        if let Some(id) = call.client.id() {
            self.change_session(id, call, |session| {
                session.transaction = Bytes::new();
                Ok(())
            })?;
        }
        self.transactions.end(transaction)
    }

    fn lasting(&self, call: &CallOptions, refusal: impl FnOnce() -> Error) -> Result<Uuid> {
        call.client.id().ok_or_else(refusal)
    }

    /// Changes the session, and gives the client its cookie if that is where it begins.
    pub(super) fn change_session<T>(
        &self,
        id: Uuid,
        call: &CallOptions,
        change: impl FnOnce(&mut Session) -> Result<T>,
    ) -> Result<T> {
        let (changed, is_new) = self.sessions.change(id, change)?;
        if is_new {
            self.give_cookie(call, id, true);
        }
        Ok(changed)
    }
}

fn would_not_last(name: &str, value: &str) -> Error {
    let header = name.rsplit('.').next().unwrap_or(name);
    wrong(format!(
        "SET {name} would not last: there is no transaction to keep it, and no session, which only clients that keep cookies \
         have (ADBC: adbc.flight.sql.rpc.with_cookie_middleware=true); send a call header instead, as in x-btrdb-{header}: \
         {value}"
    ))
}

fn wrong(message: String) -> Error {
    Error::invalid(message).with_code(Code::InvalidParameter)
}

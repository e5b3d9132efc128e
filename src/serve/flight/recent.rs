//! Statements planned for a FlightInfo, kept for the DoGet that usually follows at once.
//!
//! Planning costs more than most queries here; this halves it, and does the rest of it while the client reads its FlightInfo.
//! Nothing depends on it: a ticket that is not found is planned again.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;

use super::crew::Begun;
use crate::query::Statement;

/// Plans are small, but they are not counted in bytes, so they are kept few.
const COUNT_MAX: usize = 64;

/// The latest statements, by sealed ticket.
#[derive(Default)]
pub(super) struct Recent {
    statements: Mutex<VecDeque<(Bytes, Begun<Statement>)>>,
}

impl Recent {
    /// Keeps a statement, which is being made ready.
    pub(super) fn put(&self, ticket: Bytes, statement: Begun<Statement>) {
        let mut statements = self.statements.lock();
        if statements.len() == COUNT_MAX {
            statements.pop_front();
        }
        statements.push_back((ticket, statement));
    }

    /// Takes the statement out: a ticket is rarely redeemed twice.
    pub(super) fn take(&self, ticket: &Bytes) -> Option<Begun<Statement>> {
        let mut statements = self.statements.lock();
        let position = statements.iter().position(|(kept, _)| kept == ticket)?;
        statements.remove(position).map(|(_, statement)| statement)
    }
}

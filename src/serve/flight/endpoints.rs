//! One answer in several endpoints, for a client that reads them side by side.
//!
//! Each ticket carries the statement, the snapshot and its span of time, and can be redeemed by any process with the key. The
//! endpoints are in order: their rows one after the other are the rows of the statement.

use arrow_flight::FlightInfo;

use super::Shared;
use super::statement::{endpoint, statement_ticket};
use super::ticket::Ticket;
use crate::query::Division;

impl Shared {
    /// `info` of `ticket`, in as many endpoints as the division has parts.
    pub(super) fn divided(
        &self,
        mut info: FlightInfo,
        ticket: &Ticket,
        division: &Division,
    ) -> FlightInfo {
        if let Some(rows) = division.rows.and_then(|rows| i64::try_from(rows).ok()) {
            info.total_records = rows;
        }
        if division.spans.len() > 1 {
            let parts = division.spans.iter().map(|span| {
                let (sealed, expiry) = self.seal_ticket(&ticket.clone().within(*span));
                endpoint(statement_ticket(sealed), Some(expiry))
            });
            info.endpoint = parts.collect();
        }
        info
    }
}

//! Queries that run, so that another call can end them; and endpoints, whose time can be renewed.
//!
//! A ticket carries the uuid of its query. Whatever redeems it is known by that while it runs, with the [`Stop`] of its call. A
//! query that was cancelled before its ticket was redeemed does not run afterwards either.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::sql::{ActionCancelQueryRequest, ActionCancelQueryResult, Command};
use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightEndpoint, FlightInfo,
    RenewFlightEndpointRequest,
};
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::Shared;
use super::descriptor::Target;
use super::metadata::is_metadata;
use super::seal::Purpose;
use super::statement::{endpoint, statement_ticket};
use super::stop::{Reason, Stop};
use super::ticket::Ticket;
use crate::error::{Error, ErrorKind, Result};

/// Queries that are over and remembered, for whoever cancels them too late, or redeems a ticket after it was cancelled.
const ENDED_COUNT_MAX: usize = 16 * 1024;

/// How long a cancellation waits until nothing of the query runs any more, before it answers that this takes a while.
const WAIT_MAX: Duration = Duration::from_millis(900);

/// The queries of this process.
#[derive(Debug)]
pub(super) struct Queries {
    state: Arc<Mutex<State>>,
    /// Tells this process from others with the same key.
    process: Uuid,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<Uuid, Query>,
    ended: HashMap<Uuid, End>,
    /// Of the ended, oldest first.
    order: VecDeque<Uuid>,
}

/// A query that runs, once for each ticket that is being redeemed.
#[derive(Debug, Default)]
struct Query {
    stops: Vec<Arc<Stop>>,
    /// Told when the last of them is over.
    over: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Cancelled,
}

/// Counts as running until it is dropped.
#[derive(Debug)]
pub(super) struct Running {
    state: Arc<Mutex<State>>,
    query: Option<Uuid>,
    stop: Arc<Stop>,
}

impl Queries {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            process: Uuid::new_v4(),
        }
    }

    /// A name for a query.
    pub(super) fn name(&self) -> Uuid {
        Uuid::new_v4()
    }

    pub(super) fn process(&self) -> Uuid {
        self.process
    }

    /// The query of `ticket` runs, in a call that `stop` ends.
    ///
    /// # Errors
    /// If it was cancelled: the call ends for that reason.
    pub(super) fn begin(&self, ticket: &Ticket, stop: &Arc<Stop>) -> Result<Running> {
        self.begin_named(ticket.query(), stop)
    }

    pub(super) fn begin_named(&self, query: Option<Uuid>, stop: &Arc<Stop>) -> Result<Running> {
        if let Some(query) = query {
            let mut state = self.state.lock();
            if state.ended.get(&query) == Some(&End::Cancelled) {
                stop.trip(Reason::Cancelled);
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "the query was cancelled before its ticket was redeemed",
                ));
            }
            let running = state.running.entry(query).or_default();
            running.stops.push(Arc::clone(stop));
        }
        Ok(Running {
            state: Arc::clone(&self.state),
            query,
            stop: Arc::clone(stop),
        })
    }

    /// Ends the query, and keeps its tickets from being redeemed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not run here and `is_ours` is not so: another process may run it.
    pub(super) async fn cancel(&self, query: Uuid, is_ours: bool) -> Result<CancelStatus> {
        let over = {
            let mut state = self.state.lock();
            let over = state.running.get(&query).map(|running| {
                for stop in &running.stops {
                    stop.trip(Reason::Cancelled);
                }
                Arc::clone(&running.over)
            });
            let ended = state.ended.get(&query).copied();
            match (&over, ended) {
                (None, Some(End::Done)) => return Ok(CancelStatus::NotCancellable),
                (None, None) if !is_ours => {
                    return Err(Error::not_found(
                        "the query does not run in this process, which did not give out its ticket: it may run in another \
                         one behind the same address, or not at all",
                    ));
                }
                _ => state.end(query, End::Cancelled),
            }
            over
        };
        let Some(over) = over else {
            return Ok(CancelStatus::Cancelled);
        };
        let limit = Instant::now() + WAIT_MAX;
        loop {
            // Listened for before it is looked at, so that nothing is missed in between.
            let told = over.notified();
            if !self.state.lock().running.contains_key(&query) {
                return Ok(CancelStatus::Cancelled);
            }
            if timeout_at(limit, told).await.is_err() {
                return Ok(CancelStatus::Cancelling);
            }
        }
    }

    #[cfg(test)]
    fn running_count(&self) -> usize {
        self.state.lock().running.len()
    }
}

impl State {
    fn end(&mut self, query: Uuid, end: End) {
        if self.ended.insert(query, end).is_some() {
            return;
        }
        self.order.push_back(query);
        if self.order.len() > ENDED_COUNT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(query) = self.query else {
            return;
        };
        let mut state = self.state.lock();
        let Some(running) = state.running.get_mut(&query) else {
            return;
        };
        running.stops.retain(|stop| !Arc::ptr_eq(stop, &self.stop));
        if running.stops.is_empty() {
            running.over.notify_waiters();
            state.running.remove(&query);
            if !state.ended.contains_key(&query) {
                state.end(query, End::Done);
            }
        }
    }
}

impl Shared {
    /// Ends what a FlightInfo stands for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a FlightInfo that is not of this server, [`ErrorKind::NotFound`] for one of another process.
    pub(super) async fn cancel(
        &self,
        request: CancelFlightInfoRequest,
    ) -> Result<CancelFlightInfoResult> {
        let info = request
            .info
            .ok_or_else(|| Error::invalid("there is no FlightInfo in the request"))?;
        let status = self.cancel_info(&info).await?;
        Ok(CancelFlightInfoResult {
            status: status.into(),
        })
    }

    /// The same by the deprecated action.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub(super) async fn cancel_query(
        &self,
        request: ActionCancelQueryRequest,
    ) -> Result<ActionCancelQueryResult> {
        let info = FlightInfo::decode(request.info).map_err(|error| {
            Error::invalid("the request holds no FlightInfo").with_source(error)
        })?;
        // The two enumerations have the same numbers.
        let status = self.cancel_info(&info).await?;
        Ok(ActionCancelQueryResult {
            result: status.into(),
        })
    }

    async fn cancel_info(&self, info: &FlightInfo) -> Result<CancelStatus> {
        let mut queries: Vec<(Uuid, bool)> = Vec::new();
        for endpoint in &info.endpoint {
            if let Some(query) = self.query_of(endpoint)?
                && !queries.contains(&query)
            {
                queries.push(query);
            }
        }
        // An answer to a poll has no endpoints yet, and its name beside them.
        if info.endpoint.is_empty() {
            if info.app_metadata.is_empty() {
                return Err(Error::invalid(
                    "the FlightInfo has neither endpoints nor the metadata that came with it",
                ));
            }
            queries.push(self.polled_query(&info.app_metadata)?);
        }
        let mut worst = CancelStatus::NotCancellable;
        for (query, is_ours) in queries {
            worst = match (self.queries.cancel(query, is_ours).await?, worst) {
                (CancelStatus::Cancelling, _) | (_, CancelStatus::Cancelling) => {
                    CancelStatus::Cancelling
                }
                (CancelStatus::Cancelled, _) | (_, CancelStatus::Cancelled) => {
                    CancelStatus::Cancelled
                }
                (status, _) => status,
            };
        }
        Ok(worst)
    }

    /// The query of an endpoint, and whether this process gave it out; none if it has run, or runs while it is asked for.
    fn query_of(&self, endpoint: &FlightEndpoint) -> Result<Option<(Uuid, bool)>> {
        let ticket = ticket_of(endpoint)?;
        match Target::parse_bytes(ticket, "ticket")? {
            Target::Command(Command::TicketStatementQuery(ticket)) => {
                let ticket = self.open_ticket(&ticket.statement_handle)?;
                let is_ours = ticket.is_of(self.queries.process());
                Ok(ticket.query().map(|query| (query, is_ours)))
            }
            Target::Command(command) if is_metadata(&command) => Ok(None),
            _ => Err(Error::invalid(
                "the FlightInfo is not one of this server: its ticket is no statement's",
            )),
        }
    }

    /// A new ticket, and a new time, for an endpoint that can still be read.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an endpoint that is not of this server, [`ErrorKind::NotFound`] for one that has expired.
    pub(super) fn renew(&self, request: RenewFlightEndpointRequest) -> Result<FlightEndpoint> {
        let old = request
            .endpoint
            .ok_or_else(|| Error::invalid("there is no endpoint in the request"))?;
        match Target::parse_bytes(ticket_of(&old)?, "ticket")? {
            Target::Command(Command::TicketStatementQuery(ticket)) => {
                let ticket = self.open_ticket(&ticket.statement_handle)?;
                let (sealed, expiry) = self.seal_ticket(&ticket);
                let renewed = endpoint(statement_ticket(sealed), Some(expiry));
                Ok(renewed.with_app_metadata(old.app_metadata))
            }
            // It does not expire.
            Target::Command(command) if is_metadata(&command) => Ok(old),
            _ => Err(Error::invalid(
                "the endpoint is not one of this server: its ticket is no statement's",
            )),
        }
    }

    /// The name of a query that is polled for, as [`cancel`](Self::cancel) takes it.
    pub(super) fn seal_query(&self, query: Uuid) -> Bytes {
        let ticket = Ticket::told(None).named(query, self.queries.process());
        let lifetime = self.settings.ticket_lifetime;
        self.seal_message(Purpose::Query, &ticket, lifetime).0
    }

    fn polled_query(&self, sealed: &Bytes) -> Result<(Uuid, bool)> {
        let ticket: Ticket = self.open_message(Purpose::Query, sealed)?;
        let query = ticket
            .query()
            .ok_or_else(|| Error::internal("a query was sealed without its name"))?;
        Ok((query, ticket.is_of(self.queries.process())))
    }
}

fn ticket_of(endpoint: &FlightEndpoint) -> Result<&Bytes> {
    match &endpoint.ticket {
        Some(ticket) => Ok(&ticket.ticket),
        None => Err(Error::invalid("the endpoint has no ticket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn cancelling_waits_for_what_runs_and_says_so_if_that_takes_long() {
        let queries = Queries::new();
        let query = queries.name();
        let stops = [Arc::new(Stop::default()), Arc::new(Stop::default())];
        let running = stops.each_ref().map(|stop| {
            queries
                .begin_named(Some(query), stop)
                .expect("not cancelled")
        });
        let status = queries.cancel(query, true).await.expect("it runs");
        assert_eq!(status, CancelStatus::Cancelling);
        assert!(stops.iter().all(|stop| stop.reason().is_some()));
        let (status, ()) = tokio::join!(queries.cancel(query, true), async { drop(running) });
        assert_eq!(status.expect("it ran"), CancelStatus::Cancelled);
        let late = queries.begin_named(Some(query), &Arc::default());
        late.expect_err("cancelled for good");
        assert_eq!(queries.running_count(), 0);
    }

    #[tokio::test]
    async fn what_is_done_cannot_be_cancelled_and_what_is_unknown_may_run_elsewhere() {
        let queries = Queries::new();
        let query = queries.name();
        let running = queries.begin_named(Some(query), &Arc::default());
        drop(running.expect("not cancelled"));
        let status = queries.cancel(query, true).await.expect("known");
        assert_eq!(status, CancelStatus::NotCancellable);
        let foreign = queries.cancel(queries.name(), false).await;
        assert_eq!(foreign.expect_err("unknown").kind(), ErrorKind::NotFound);
        let unread = queries.cancel(queries.name(), true).await.expect("ours");
        assert_eq!(unread, CancelStatus::Cancelled);
    }

    #[test]
    fn what_is_over_is_forgotten_in_time() {
        let queries = Queries::new();
        for _ in 0..ENDED_COUNT_MAX + 10 {
            drop(queries.begin_named(Some(queries.name()), &Arc::default()));
        }
        let state = queries.state.lock();
        assert_eq!(
            (state.ended.len(), state.order.len()),
            (ENDED_COUNT_MAX, ENDED_COUNT_MAX)
        );
    }
}

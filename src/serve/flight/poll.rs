//! PollFlightInfo: statements that may take longer than a call should.
//!
//! The first poll begins the statement and waits a moment; most are planned by then, and the first answer is the last. Where it
//! is not, as for an INSERT of many rows, the answer has a descriptor to ask again with. Asking again begins nothing, however
//! often it is done, and until the time in the answer the result can be had again. A statement that nobody asks about any more
//! is given up after that.

use std::collections::HashMap;
use std::time::Duration;

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::Command;
use arrow_flight::{FlightDescriptor, FlightInfo, PollInfo};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::Status;
use uuid::Uuid;

use super::Shared;
use super::call::CallOptions;
use super::descriptor::Target;
use super::seal::{Purpose, Seal};
use super::status::status;
use crate::error::{Error, ErrorKind, Result};
use crate::query::Veil;

/// How long a poll waits for news.
const WAIT: Duration = Duration::from_millis(250);

/// How long a statement goes on that nobody asks about, and its result is kept.
const UNASKED_MAX: Duration = Duration::from_secs(120);

/// Statements that are polled for at a time.
const COUNT_MAX: usize = 256;

type Outcome = Option<std::result::Result<FlightInfo, Status>>;

/// The statements that are polled for.
#[derive(Debug, Default)]
pub(super) struct Polls(Mutex<HashMap<Uuid, Polled>>);

#[derive(Debug)]
struct Polled {
    descriptor: FlightDescriptor,
    outcome: watch::Receiver<Outcome>,
    asked: Instant,
    /// The statement: given up when this is dropped.
    _task: JoinSet<()>,
}

impl Polls {
    fn keep(&self, id: Uuid, polled: Polled) -> Result<()> {
        let mut polls = self.0.lock();
        polls.retain(|_, polled| polled.asked.elapsed() <= UNASKED_MAX);
        if polls.len() >= COUNT_MAX {
            return Err(Error::new(
                ErrorKind::Exhausted,
                format!(
                    "{COUNT_MAX} statements are polled for, which is the limit: use GetFlightInfo"
                ),
            ));
        }
        polls.insert(id, polled);
        Ok(())
    }

    fn forget(&self, id: Uuid) {
        self.0.lock().remove(&id);
    }

    fn ask(&self, id: Uuid) -> Result<(FlightDescriptor, watch::Receiver<Outcome>)> {
        let mut polls = self.0.lock();
        let polled = polls.get_mut(&id).ok_or_else(|| {
            Error::not_found(
                "the statement is not polled for here: it was not asked about for too long, or runs in another server process",
            )
        })?;
        polled.asked = Instant::now();
        Ok((polled.descriptor.clone(), polled.outcome.clone()))
    }
}

impl Shared {
    /// How far the statement of a descriptor is.
    ///
    /// # Errors
    /// Those of the statement, as statuses.
    pub(super) fn poll<'a>(
        shared: &'a Veil<Self>,
        descriptor: FlightDescriptor,
        call: &'a CallOptions,
    ) -> BoxFuture<'a, std::result::Result<PollInfo, Status>> {
        async move {
            let failed = |error: Error| status(&error);
            if descriptor.r#type() == DescriptorType::Cmd && Seal::is_sealed(&descriptor.cmd) {
                let id = shared.seal.open(Purpose::Poll, &descriptor.cmd);
                let id = id.and_then(|payload| {
                    Uuid::from_slice(&payload)
                        .map_err(|_| Error::internal("a poll was sealed without its name"))
                });
                return shared.news(id.map_err(failed)?).await;
            }
            if !runs(&descriptor).map_err(failed)? {
                let info = shared.describe(descriptor, call).await.map_err(failed)?;
                return Ok(done(info));
            }
            let id = shared.queries.name();
            let polled = Self::begin(shared, id, descriptor, call).map_err(failed)?;
            shared.polls.keep(id, polled).map_err(failed)?;
            let news = shared.news(id).await;
            let is_underway = matches!(&news, Ok(poll) if poll.flight_descriptor.is_some());
            if !is_underway {
                // Nobody was told how to ask again.
                shared.polls.forget(id);
            }
            news
        }
        .boxed()
    }

    /// Begins the statement in a task of its own, which the poll outlives.
    fn begin(
        shared: &Veil<Self>,
        id: Uuid,
        descriptor: FlightDescriptor,
        call: &CallOptions,
    ) -> Result<Polled> {
        // The deadline of the poll is not the statement's.
        let call = call.apart();
        let running = shared.queries.begin_named(Some(id), &call.stop)?;
        let (sender, outcome) = watch::channel(None);
        let shared = shared.clone();
        let asked_for = descriptor.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let described = async {
                let info = shared.describe(asked_for, &call).await;
                info.map_err(|error| status(&error))
            };
            let outcome = call.until_stopped(described).await;
            // Over before that is told: who hears of the end may cancel, and learn that it is too late.
            drop(running);
            sender.send_replace(Some(outcome));
        });
        Ok(Polled {
            descriptor,
            outcome,
            asked: Instant::now(),
            _task: task,
        })
    }

    async fn news(&self, id: Uuid) -> std::result::Result<PollInfo, Status> {
        let (descriptor, mut outcome) = self.polls.ask(id).map_err(|error| status(&error))?;
        let news = timeout(WAIT, outcome.wait_for(Option::is_some)).await;
        match news {
            Ok(Ok(outcome)) => match outcome.as_ref() {
                Some(Ok(info)) => Ok(done(info.clone())),
                Some(Err(status)) => Err(status.clone()),
                None => Err(status(&Error::internal("a poll ended without an outcome"))),
            },
            Ok(Err(_)) => Err(status(&Error::internal(
                "the statement met a defect of the server, which is logged",
            ))),
            Err(_) => Ok(self.underway(id, descriptor)),
        }
    }

    /// Not done: no endpoint yet. How far it is nobody can tell, except that it has begun.
    fn underway(&self, id: Uuid, descriptor: FlightDescriptor) -> PollInfo {
        let (sealed, _) = self.seal.seal(
            Purpose::Poll,
            id.as_bytes(),
            self.settings.statement_lifetime,
        );
        let info = FlightInfo::new()
            .with_descriptor(descriptor)
            .with_total_records(-1)
            .with_total_bytes(-1)
            .with_app_metadata(self.seal_query(id));
        let mut poll = PollInfo::new()
            .with_info(info)
            .with_descriptor(FlightDescriptor::new_cmd(sealed));
        poll.progress = Some(0.0);
        let expiry = self.seal.expiry(UNASKED_MAX);
        poll.expiration_time.get_or_insert_default().seconds = expiry;
        poll
    }
}

fn done(info: FlightInfo) -> PollInfo {
    let mut poll = PollInfo::new().with_info(info);
    poll.progress = Some(1.0);
    poll
}

/// Whether the descriptor is a statement's; others are answered at once.
fn runs(descriptor: &FlightDescriptor) -> Result<bool> {
    Ok(match Target::parse(descriptor)? {
        Target::Sql(_) => true,
        Target::Command(command) => matches!(
            command,
            Command::CommandStatementQuery(_) | Command::CommandPreparedStatementQuery(_)
        ),
        Target::Path(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
    use bytes::Bytes;
    use prost::Message;

    use super::*;

    #[test]
    fn statements_run_and_paths_do_not() {
        let command = CommandStatementQuery {
            query: "select 1".into(),
            transaction_id: None,
        };
        let bytes = Bytes::from(command.as_any().encode_to_vec());
        assert!(!Seal::is_sealed(&bytes), "a message is no poll");
        assert!(runs(&FlightDescriptor::new_cmd(bytes)).expect("a command"));
        assert!(runs(&FlightDescriptor::new_cmd("select 1")).expect("text"));
        let path = FlightDescriptor::new_path(vec!["lab".into(), "a".into()]);
        assert!(!runs(&path).expect("a path"));
    }
}

//! When a call must end before it is done: its deadline, its statement's limit, or because somebody cancels it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// A client's deadline is met this much sooner, as a part of it and at most: it gives up by its own clock, and would not hear
/// why.
const MARGIN_PART: u32 = 10;
const MARGIN_MAX: Duration = Duration::from_millis(50);

/// Why a call ends before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The action CancelFlightInfo, or the deprecated CancelQuery.
    Cancelled,
    /// The client's `grpc-timeout`.
    Deadline(Duration),
    /// The limit of the statement.
    Timeout(Duration),
}

impl Reason {
    pub(super) fn status(self) -> Status {
        match self {
            Self::Cancelled => Status::cancelled("the statement was cancelled by another call"),
            Self::Deadline(limit) => Status::deadline_exceeded(format!(
                "the call was to take {limit:?} at most, and is not done: what it was doing was stopped"
            )),
            Self::Timeout(limit) => Status::deadline_exceeded(format!(
                "the statement ran for {limit:?}, which is its limit, and was stopped: the limit is the smaller one of the \
                 server's and of btrdb.timeout, or of the header x-btrdb-timeout"
            )),
        }
    }
}

/// Stops one call, from wherever it is seen that it must stop.
#[derive(Debug, Default)]
pub(super) struct Stop(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// The soonest limit.
    limit: Option<(Instant, Reason)>,
    tripped: Option<Reason>,
}

impl Stop {
    /// Ends the call when the client's deadline is near.
    pub(super) fn at_deadline(&self, timeout: Duration) {
        let margin = (timeout / MARGIN_PART).min(MARGIN_MAX);
        self.lower(timeout.saturating_sub(margin), Reason::Deadline(timeout));
    }

    /// Ends the call when its statement has run for so long.
    pub(super) fn at_timeout(&self, timeout: Duration) {
        self.lower(timeout, Reason::Timeout(timeout));
    }

    fn lower(&self, after: Duration, reason: Reason) {
        // What is further away than the clock can tell is no limit.
        let Some(at) = Instant::now().checked_add(after) else {
            return;
        };
        self.0.send_if_modified(|state| {
            let sooner = state.limit.is_none_or(|(limit, _)| at < limit);
            if sooner {
                state.limit = Some((at, reason));
            }
            sooner
        });
    }

    /// Ends the call now. What came first stays the reason.
    pub(super) fn trip(&self, reason: Reason) {
        self.0.send_if_modified(|state| {
            let first = state.tripped.is_none();
            state.tripped.get_or_insert(reason);
            first
        });
    }

    /// Why the call has to end, if it has to.
    pub(super) fn reason(&self) -> Option<Reason> {
        self.0.borrow().tripped
    }

    /// Waits until the call has to end.
    ///
    /// Cancel safe: nothing is lost when it is dropped.
    pub(super) async fn tripped(&self) -> Reason {
        let mut states = self.0.subscribe();
        loop {
            let state = *states.borrow_and_update();
            if let Some(reason) = state.tripped {
                return reason;
            }
            let limited = async {
                match state.limit {
                    Some((at, reason)) => {
                        sleep_until(at).await;
                        reason
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                reason = limited => self.trip(reason),
                // The sender is `self`, which outlives this.
                _ = states.changed() => {}
            }
        }
    }
}

/// A stream of answers that ends with the reason when its call has to end.
pub(super) struct Stoppable<S> {
    answers: Option<S>,
    stop: Arc<Stop>,
    tripped: BoxFuture<'static, Reason>,
}

impl<S> Stoppable<S> {
    pub(super) fn new(stop: Arc<Stop>, answers: S) -> Self {
        let waiting = Arc::clone(&stop);
        Self {
            answers: Some(answers),
            stop,
            tripped: async move { waiting.tripped().await }.boxed(),
        }
    }
}

impl<S, T> Stream for Stoppable<S>
where
    S: Stream<Item = Result<T, Status>> + Unpin,
{
    type Item = Result<T, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<T, Status>>> {
        let Some(answers) = self.answers.as_mut() else {
            return Poll::Ready(None);
        };
        let next = answers.poll_next_unpin(context);
        // Also behind the last answer: work that was stopped ends as work that is done does.
        let reason = match (&next, self.stop.reason()) {
            (_, Some(reason)) => reason,
            (Poll::Ready(_), None) => {
                if !matches!(next, Poll::Ready(Some(Ok(_)))) {
                    self.answers = None;
                }
                return next;
            }
            (Poll::Pending, None) => match self.tripped.poll_unpin(context) {
                Poll::Ready(reason) => reason,
                Poll::Pending => return Poll::Pending,
            },
        };
        // Dropped now and not with the call: what it holds is free at once.
        self.answers = None;
        Poll::Ready(Some(Err(reason.status())))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_soonest_limit_ends_the_call() {
        let stop = Arc::new(Stop::default());
        stop.at_timeout(Duration::from_secs(9));
        stop.at_deadline(Duration::from_secs(5));
        stop.at_timeout(Duration::from_secs(7));
        let begun = Instant::now();
        let reason = stop.tripped().await;
        assert_eq!(reason, Reason::Deadline(Duration::from_secs(5)));
        assert_eq!(
            begun.elapsed().as_secs(),
            4,
            "a little before the client gives up"
        );
        stop.trip(Reason::Cancelled);
        assert_eq!(stop.reason(), Some(reason), "the first stays the reason");
    }

    #[tokio::test]
    async fn limits_that_come_later_count_too() {
        let stop = Arc::new(Stop::default());
        let waiting = stop.tripped();
        let lowered = async { stop.at_timeout(Duration::from_millis(1)) };
        let (reason, ()) = tokio::join!(waiting, lowered);
        assert_eq!(reason, Reason::Timeout(Duration::from_millis(1)));
        Stop::default().at_timeout(Duration::MAX);
    }

    #[tokio::test]
    async fn what_was_stopped_never_looks_done() {
        let stop = Arc::new(Stop::default());
        let answers = stream::iter([Ok(1), Ok(2)]);
        let mut answers = Stoppable::new(Arc::clone(&stop), answers);
        assert_eq!(answers.next().await.expect("one").expect("answered"), 1);
        stop.trip(Reason::Cancelled);
        let status = answers.next().await.expect("an end").expect_err("stopped");
        assert_eq!(status.code(), tonic::Code::Cancelled);
        assert!(answers.next().await.is_none());
    }
}

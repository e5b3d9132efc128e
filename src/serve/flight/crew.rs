//! Threads that plan and run statements, apart from those that speak to clients.
//!
//! Some operators work for as long as they like without giving their thread back, and nothing can stop them from outside. On
//! threads of their own they hold up statements at worst, and never the calls that cancel, time out or ask about health.
//! Whoever waits for the work owns it: dropping the wait stops the work the next time that it pauses.

use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinError, JoinSet};

use super::belt::{Maker, Taker, belt};
use super::stop::Stop;
use crate::error::{Error, ErrorKind, Result};

/// Threads for each processor: a statement that keeps its thread leaves others for the rest.
const THREADS_PER_CORE: usize = 4;

/// Threads at least.
const THREADS_MIN: usize = 8;

/// Deep expressions are planned by recursion, which the limits on statements leave room for in a stack of this size.
const STACK_BYTES: usize = 64 << 20;

/// The threads.
#[derive(Debug)]
pub(super) struct Crew {
    /// There until it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Crew {
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the system gives no threads.
    pub(super) fn new() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS_MIN.max(cores * THREADS_PER_CORE))
            .thread_name("statements")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| {
                let message = "the threads that run statements do not start";
                Error::new(ErrorKind::Unavailable, message).with_source(error)
            })?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Does `work` on a thread of the crew.
    ///
    /// # Errors
    /// Those of `work`; [`ErrorKind::Internal`] if it panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.begin(work).done().await
    }

    /// Begins `work` on a thread of the crew.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Begun<T> {
        let mut task = JoinSet::new();
        task.spawn_on(work, &self.handle);
        Begun(task)
    }

    /// Does `work` until `stop` says otherwise; what it makes is the stream, which ends when it does. `held` is dropped when
    /// nothing of the work is left. `bytes` tells what an item holds, for the limit of what waits for a slow reader.
    pub(super) fn stream<T, W, H>(
        &self,
        stop: Arc<Stop>,
        held: H,
        bytes: fn(&T) -> usize,
        work: impl FnOnce(Maker<T>) -> W,
    ) -> Working<T>
    where
        T: Send + 'static,
        W: Future<Output = ()> + Send + 'static,
        H: Send + 'static,
    {
        let (maker, made) = belt(bytes);
        let work = work(maker);
        let mut task = JoinSet::new();
        task.spawn_on(
            async move {
                // Declared first, so that it is dropped last.
                let _held = held;
                // Cancel safety: work that is stopped is dropped with all that it holds.
                tokio::select! {
                    _ = stop.tripped() => {}
                    () = work => {}
                }
            },
            &self.handle,
        );
        Working { made, task }
    }
}

/// Work that was begun. Dropping it stops the work the next time that it pauses.
#[derive(Debug)]
pub(super) struct Begun<T>(JoinSet<Result<T>>);

impl<T: 'static> Begun<T> {
    /// Waits for what comes of it.
    ///
    /// # Errors
    /// Those of the work; [`ErrorKind::Internal`] if it panics.
    pub(super) async fn done(mut self) -> Result<T> {
        match self.0.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => Err(died(error)),
            None => Err(Error::internal("the statement was not begun")),
        }
    }
}

/// Without waiting: work that keeps its thread would hold the process up.
impl Drop for Crew {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What work on the crew has made so far.
#[derive(Debug)]
pub(super) struct Working<T> {
    made: Taker<T>,
    task: JoinSet<()>,
}

impl<T> Stream for Working<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if let Some(item) = ready!(self.made.poll_next_unpin(context)) {
            return Poll::Ready(Some(Ok(item)));
        }
        // Nothing more comes; whether that is the end, the task says.
        Poll::Ready(match ready!(self.task.poll_join_next(context)) {
            Some(Err(error)) => Some(Err(died(error))),
            Some(Ok(())) | None => None,
        })
    }
}

fn died(error: JoinError) -> Error {
    let message = if error.is_panic() {
        "the statement met a defect of the server, which is logged; others are not concerned"
    } else {
        "the statement was given up: the server is shutting down"
    };
    let kind = if error.is_panic() {
        ErrorKind::Internal
    } else {
        ErrorKind::Unavailable
    };
    Error::new(kind, message).with_source(io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::TryStreamExt;
    use tokio::sync::oneshot;

    use super::*;
    use crate::serve::flight::stop::Reason;

    /// A number that fills the belt.
    fn large<T>(_: &T) -> usize {
        1 << 30
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_work_only() {
        let crew = Crew::new().expect("threads");
        let error = crew
            .run(async { Err::<(), _>(panics()) })
            .await
            .expect_err("panicked");
        assert_eq!(error.kind(), ErrorKind::Internal);
        let sent = crew.stream(Arc::default(), (), large, |maker| async move {
            maker.put(1).await.expect("read");
            panics();
        });
        let sent: Vec<_> = sent.collect().await;
        assert_eq!(sent.len(), 2);
        assert!(sent[0].is_ok() && sent[1].is_err(), "{sent:?}");
        assert_eq!(crew.run(async { Ok(2) }).await.expect("still there"), 2);
    }

    fn panics() -> Error {
        panic!("as it is meant to")
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_stops_and_lets_go() {
        let crew = Crew::new().expect("threads");
        let (held, gone) = oneshot::channel::<()>();
        let mut numbers = crew.stream(Arc::default(), held, large, |maker| async move {
            for number in 0_u64.. {
                if maker.put(number).await.is_err() {
                    break;
                }
            }
        });
        assert_eq!(numbers.next().await.expect("one").expect("sent"), 0);
        drop(numbers);
        let gone = tokio::time::timeout(Duration::from_secs(5), gone).await;
        gone.expect("in time").expect_err("nothing was sent");
    }

    #[tokio::test]
    async fn what_is_stopped_ends_though_nobody_reads() {
        let crew = Crew::new().expect("threads");
        let (held, gone) = oneshot::channel::<()>();
        let stop = Arc::new(Stop::default());
        let numbers = crew.stream(Arc::clone(&stop), held, large, |maker| async move {
            for number in 0_u64.. {
                maker.put(number).await.expect("somebody may read");
            }
        });
        stop.trip(Reason::Cancelled);
        let gone = tokio::time::timeout(Duration::from_secs(5), gone).await;
        gone.expect("in time").expect_err("nothing was sent");
        let sent: Vec<u64> = numbers.try_collect().await.expect("an end");
        assert!(sent.len() <= 2, "{sent:?}");
    }
}

//! Signs of life while a statement computes.
//!
//! Proxies and load balancers cut a stream on which nothing moves for a minute or so, whatever the connection beneath it does:
//! HTTP/2's own pings end at the proxy. An empty batch moves, and says nothing: clients of every language pass over it.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{BoxStream, Stream, StreamExt};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep};

use crate::error::Result;

/// `batches`, and an empty one whenever none came for `interval`.
pub(super) fn keep_alive<S>(batches: S, schema: SchemaRef, interval: Duration) -> KeepAlive
where
    S: Stream<Item = Result<RecordBatch>> + Send + 'static,
{
    KeepAlive {
        batches: batches.boxed(),
        sign: RecordBatch::new_empty(schema),
        interval,
        timer: Box::pin(sleep(interval)),
        is_awaited: false,
    }
}

/// See [`keep_alive`].
pub(super) struct KeepAlive {
    batches: BoxStream<'static, Result<RecordBatch>>,
    sign: RecordBatch,
    interval: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether somebody waits, and the timer runs: a reader that asks for nothing needs no sign.
    is_awaited: bool,
}

impl Stream for KeepAlive {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Poll::Ready(next) = this.batches.poll_next_unpin(context) {
            this.is_awaited = false;
            return Poll::Ready(next);
        }
        if !this.is_awaited {
            this.is_awaited = true;
            this.timer.as_mut().reset(Instant::now() + this.interval);
        }
        // A busy plan has used up the task's budget, and a timer that asks for some would never be heard.
        let timer = pin!(unconstrained(this.timer.as_mut()));
        timer.poll(context).map(|()| {
            this.is_awaited = false;
            Some(Ok(this.sign.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use futures::stream;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn batch() -> RecordBatch {
        let numbers = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
        RecordBatch::try_from_iter([("number", numbers)]).expect("a batch")
    }

    /// A batch after each of so many seconds.
    fn after(seconds: Vec<u64>) -> KeepAlive {
        let batches = stream::iter(seconds).then(|seconds| async move {
            sleep(Duration::from_secs(seconds)).await;
            Ok(batch())
        });
        keep_alive(batches, batch().schema(), INTERVAL)
    }

    async fn rows(mut batches: KeepAlive) -> Vec<usize> {
        let mut rows = Vec::new();
        while let Some(batch) = batches.next().await {
            rows.push(batch.expect("no error").num_rows());
        }
        rows
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_statement_shows_signs_of_life() {
        assert_eq!(rows(after(vec![11, 4, 6])).await, [0, 0, 2, 2, 0, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_one_shows_none() {
        assert_eq!(rows(after(vec![4; 10])).await, [2; 10]);
        assert!(rows(after(vec![])).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_reader_took_its_time_for_is_no_silence() {
        let mut batches = after(vec![1, 1]);
        batches.next().await.expect("a batch").expect("no error");
        sleep(INTERVAL * 10).await;
        assert_eq!(rows(batches).await, [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_plan_that_never_rests_is_heard_of_too() {
        let end = Instant::now() + INTERVAL * 3;
        // Always ready to go on, as a plan that computes and yields is; time goes by all the same.
        let busy = stream::poll_fn(move |context: &mut Context<'_>| {
            if Instant::now() >= end {
                return Poll::Ready(None);
            }
            while tokio::task::coop::has_budget_remaining() {
                let mut spent = pin!(tokio::task::coop::consume_budget());
                if spent.as_mut().poll(context).is_pending() {
                    break;
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let batches = keep_alive(busy, batch().schema(), INTERVAL);
        let clock = async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        };
        let (rows, ()) = tokio::join!(rows(batches), clock);
        assert!((2..=3).contains(&rows.len()), "{rows:?}");
        assert!(rows.iter().all(|&rows| rows == 0));
    }
}

//! Answers that nobody reads any more, given up.
//!
//! A client that goes away says so, and its answer is dropped. One that merely stops reading says nothing: HTTP/2 stops asking
//! for messages once the windows are full, and the statement behind them would keep its snapshot, its memory and its place for
//! as long as the client lives. So the answer lies in a place that two can reach: whoever sends it, and a watchdog, which
//! empties the place when no message was taken for too long.
//!
//! Only the reader's time counts. While it waits for the next message, however long that takes, it is not idle. It is once
//! that message is ready: the transport may have asked for it, and lost the room for it since.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::encode::DataStream;
use super::message::Message;

/// How often the watchdog looks in the time that a reader may pause: it is given up a quarter late at most.
const LOOKS: u32 = 4;

/// `messages`, until none was taken for `idle_max`.
///
/// Then what they hold is dropped, and whoever asks for the next one after all is told so.
pub(super) fn while_read(messages: DataStream, idle_max: Duration) -> DataStream {
    let clock = Arc::new(Clock {
        idle_since: Mutex::new(Some(Instant::now())),
        reader: AtomicWaker::new(),
    });
    let place = Arc::new(Mutex::new(Place {
        messages: Some(messages),
        is_given_up: false,
    }));
    let mut watchdog = JoinSet::new();
    watchdog.spawn(watch(Arc::downgrade(&place), Arc::clone(&clock), idle_max));
    WhileRead {
        place,
        waker: Waker::from(Arc::clone(&clock)),
        clock,
        idle_max,
        watchdog,
    }
    .boxed()
}

/// Since when it is the reader who lets the other wait.
struct Clock {
    /// None while the reader waits.
    idle_since: Mutex<Option<Instant>>,
    reader: AtomicWaker,
}

/// The next message is ready: the reader is woken, and its time runs until it asks.
impl Wake for Clock {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.idle_since.lock().get_or_insert_with(Instant::now);
        self.reader.wake();
    }
}

/// An answer on its way.
struct Place {
    /// None when it is over.
    messages: Option<DataStream>,
    is_given_up: bool,
}

struct WhileRead {
    place: Arc<Mutex<Place>>,
    clock: Arc<Clock>,
    /// Wakes through the clock.
    waker: Waker,
    idle_max: Duration,
    /// Ends with the answer.
    watchdog: JoinSet<()>,
}

impl Stream for WhileRead {
    type Item = Result<Message, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut place = this.place.lock();
        let Some(messages) = &mut place.messages else {
            let is_news = std::mem::take(&mut place.is_given_up);
            return Poll::Ready(is_news.then(|| Err(too_long(this.idle_max))));
        };
        this.clock.reader.register(context.waker());
        *this.clock.idle_since.lock() = None;
        let next = messages.poll_next_unpin(&mut Context::from_waker(&this.waker));
        match &next {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(_))) => *this.clock.idle_since.lock() = Some(Instant::now()),
            Poll::Ready(Some(Err(_)) | None) => {
                // What it held is free before the client has taken leave.
                place.messages = None;
                this.watchdog.abort_all();
            }
        }
        next
    }
}

async fn watch(place: Weak<Mutex<Place>>, clock: Arc<Clock>, idle_max: Duration) {
    loop {
        sleep(idle_max / LOOKS).await;
        let Some(place) = place.upgrade() else {
            return;
        };
        // Taken means that a message is being made this moment, for somebody who asked.
        let Some(mut place) = place.try_lock() else {
            continue;
        };
        let idle_since = *clock.idle_since.lock();
        if idle_since.is_none_or(|since| since + idle_max > Instant::now()) {
            continue;
        }
        let messages = place.messages.take();
        place.is_given_up = true;
        drop(place);
        drop(messages);
        tracing::info!(?idle_max, "an answer that nobody read was given up");
        return;
    }
}

/// A deadline and not a lack of resources: nothing is wrong with the statement, and it may be asked again.
fn too_long(idle_max: Duration) -> Status {
    Status::deadline_exceeded(format!(
        "nobody read this answer for {} s, so it was given up: execute the statement again, and read without such pauses",
        idle_max.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(600);

    /// Messages without end, each after `pause`, and what tells whether they are still there.
    fn endless(pause: Duration) -> (DataStream, Weak<()>) {
        let alive = Arc::new(());
        let weak = Arc::downgrade(&alive);
        let messages = stream::repeat(()).then(move |()| {
            let held = Arc::clone(&alive);
            async move {
                if !pause.is_zero() {
                    sleep(pause).await;
                }
                drop(held);
                Ok(Message::default())
            }
        });
        (while_read(messages.boxed(), LIMIT), weak)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_is_dropped_and_the_late_reader_told() {
        let (mut messages, alive) = endless(Duration::ZERO);
        messages.next().await.expect("more").expect("a message");
        sleep(LIMIT - Duration::from_secs(1)).await;
        assert!(alive.upgrade().is_some(), "not yet");
        sleep(LIMIT / LOOKS + Duration::from_secs(2)).await;
        assert!(alive.upgrade().is_none(), "dropped without being asked");
        let told = messages.next().await.expect("told").expect_err("an error");
        assert_eq!(told.code(), tonic::Code::DeadlineExceeded);
        assert!(told.message().contains("600 s"), "{told}");
        assert!(messages.next().await.is_none(), "told once");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_never_asked_for_is_dropped_too() {
        let (_messages, alive) = endless(Duration::ZERO);
        sleep(LIMIT + LIMIT / LOOKS + Duration::from_secs(1)).await;
        assert!(alive.upgrade().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_asked_for_and_not_fetched_when_it_was_ready_is_dropped_too() {
        let (mut messages, alive) = endless(LIMIT * 5);
        assert!(messages.next().now_or_never().is_none(), "not ready yet");
        sleep(LIMIT * 5 + LIMIT / 2).await;
        assert!(alive.upgrade().is_some(), "it was the statement's time");
        sleep(LIMIT).await;
        assert!(alive.upgrade().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_idle() {
        let (mut messages, _alive) = endless(Duration::ZERO);
        for _ in 0..20 {
            sleep(LIMIT - Duration::from_secs(1)).await;
            messages.next().await.expect("more").expect("a message");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_waits_for_a_slow_statement_is_not_idle() {
        let (mut messages, _alive) = endless(LIMIT * 5);
        messages.next().await.expect("more").expect("a message");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_frees_what_the_answer_held() {
        let held = Arc::new(());
        let alive = Arc::downgrade(&held);
        let messages = stream::iter([Ok(Message::default())]).chain(
            stream::once(async move { drop(held) }).filter_map(|()| std::future::ready(None)),
        );
        let mut messages = while_read(messages.boxed(), LIMIT);
        assert!(messages.next().await.expect("one").is_ok());
        assert!(messages.next().now_or_never().expect("at once").is_none());
        assert!(alive.upgrade().is_none());
        assert!(messages.next().await.is_none());
    }
}

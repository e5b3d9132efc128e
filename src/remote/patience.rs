//! How long to wait, and how often to try.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use super::settings::Settings;

/// Before the second attempt; twice as long before each other one.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A deadline that is seen so late was not waited for: whoever asks for results was busy with the ones it had. On a machine that is
/// busy itself this gives more time than was asked for, which does no harm.
const UNATTENDED: Duration = Duration::from_millis(50);

/// What `future` comes to, if it comes to it in `patience`; none otherwise.
///
/// Only time in which somebody waits counts. Calls are begun before their turn, and a reader that takes its time must not find
/// that those have run out of theirs.
pub(super) async fn within<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    // The last quarter begins when the others have run out and somebody is seen to wait, so that a reader who comes back just
    // then still finds some time left.
    let last = patience / 4;
    let mut is_last = false;
    let mut deadline = pin!(sleep(patience - last));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        while deadline.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let is_attended = now.duration_since(deadline.deadline()) < UNATTENDED;
            if is_attended && is_last {
                return Poll::Ready(None);
            }
            is_last = is_attended;
            let left = if is_last { last } else { patience - last };
            deadline.as_mut().reset(now + left);
        }
        Poll::Pending
    })
    .await
}

/// Pauses between attempts, until attempts or patience run out.
pub(super) struct Backoff<'a> {
    random: &'a Mutex<StdRng>,
    attempts_left: u32,
    total: Duration,
    deadline: Option<Instant>,
    pause: Duration,
}

impl<'a> Backoff<'a> {
    pub(super) fn new(settings: &Settings, random: &'a Mutex<StdRng>) -> Self {
        Self {
            random,
            attempts_left: settings.retries,
            total: settings.retry_total,
            deadline: None,
            pause: PAUSE,
        }
    }

    /// Waits before another attempt, at least for `least`, or says at once that there is none.
    pub(super) async fn pause(&mut self, least: Duration) -> bool {
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + self.total);
        // Between half and all of it, so that many who failed together do not come back together.
        let share = self.random.lock().random_range(0.5..=1.0);
        let pause = self.pause.mul_f64(share).max(least);
        if self.attempts_left == 0 || now + pause > deadline {
            return false;
        }
        self.attempts_left -= 1;
        sleep(pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_ends() {
        let patience = Duration::from_secs(5);
        let start = Instant::now();
        assert!(
            within(patience, std::future::pending::<()>())
                .await
                .is_none()
        );
        assert_eq!(start.elapsed(), patience);
        let quick = within(patience, sleep(Duration::from_secs(4))).await;
        assert!(quick.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waited_does_not_count() {
        let patience = Duration::from_secs(5);
        let mut wait = pin!(within(patience, std::future::pending::<()>()));
        assert!(futures::poll!(wait.as_mut()).is_pending());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(
            futures::poll!(wait.as_mut()).is_pending(),
            "the reader was away"
        );
        let start = Instant::now();
        assert!(wait.await.is_none(), "and now it waits");
        assert_eq!(start.elapsed(), patience);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_and_patience_run_out() {
        let random = Mutex::new(StdRng::seed_from_u64(1));
        let settings = Settings::default();
        let mut backoff = Backoff::new(&settings, &random);
        let mut attempts = 0;
        while backoff.pause(Duration::ZERO).await {
            attempts += 1;
        }
        assert_eq!(attempts, settings.retries);
        let hasty = Settings {
            retry_total: Duration::from_millis(100),
            ..settings
        };
        let mut backoff = Backoff::new(&hasty, &random);
        assert!(!backoff.pause(Duration::from_millis(300)).await);
    }
}

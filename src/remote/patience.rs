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

/// The longest pause: who waits for a server that starts again is not to wait much longer than it takes.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Longer than anybody waits, and short enough to be added to a point in time.
const TOTAL_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

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

/// Since when a server has been out of reach.
///
/// One that starts again is waited for, by everybody who asks meanwhile. Once it has been away for longer than that takes, callers
/// are told after a few attempts, because to wait as long again would help none of them.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// The first failure and the last one.
    seen: Mutex<Option<(Instant, Instant)>>,
}

impl Outage {
    /// A call found the server out of reach: since when it has been. Failures more than `total` apart are outages of their own.
    fn goes_on(&self, total: Duration) -> Instant {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        let first = match *seen {
            // Nobody asked in between: it may have been there.
            Some((_, last)) if now.duration_since(last) > total => now,
            Some((first, _)) => first,
            None => now,
        };
        *seen = Some((first, now));
        first
    }

    /// A call was answered.
    pub(super) fn is_over(&self) {
        *self.seen.lock() = None;
    }
}

/// Pauses between attempts, until attempts or patience run out.
pub(super) struct Backoff<'a> {
    random: &'a Mutex<StdRng>,
    outage: &'a Outage,
    attempts_left: u32,
    total: Duration,
    begun: Instant,
    attempts: u32,
    deadline: Option<Instant>,
    pause: Duration,
}

/// Why another attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The server is out of reach.
    Away,
    /// It answered that it cannot for now, and is to be left in peace for so long.
    Declined(Duration),
}

impl<'a> Backoff<'a> {
    pub(super) fn new(settings: &Settings, random: &'a Mutex<StdRng>, outage: &'a Outage) -> Self {
        Self {
            random,
            outage,
            attempts_left: settings.retries,
            total: settings.retry_total.min(TOTAL_MAX),
            begun: Instant::now(),
            attempts: 1,
            deadline: None,
            pause: PAUSE,
        }
    }

    /// How often was tried in how long, where it was more than once.
    pub(super) fn tried(&self) -> Option<(u32, Duration)> {
        (self.attempts > 1).then(|| (self.attempts, self.begun.elapsed()))
    }

    /// Waits before another attempt, or says at once that there is none.
    pub(super) async fn pause(&mut self, reason: Reason) -> bool {
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + self.total);
        // Between half and all of it, so that many who failed together do not come back together.
        let share = self.random.lock().random_range(0.5..=1.0);
        let mut pause = self.pause.mul_f64(share);
        let may_return = match reason {
            Reason::Away => now + pause <= self.outage.goes_on(self.total) + self.total,
            Reason::Declined(least) => {
                pause = pause.max(least);
                false
            }
        };
        let has_attempts = self.attempts_left > 0 && now + pause <= deadline;
        if !may_return && !has_attempts {
            return false;
        }
        self.attempts_left = self.attempts_left.saturating_sub(1);
        self.attempts += 1;
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

    /// Attempts of a call that never succeeds, and how long they took.
    async fn attempts(settings: &Settings, outage: &Outage, reason: Reason) -> (u32, Duration) {
        let random = Mutex::new(StdRng::seed_from_u64(1));
        let start = Instant::now();
        let mut backoff = Backoff::new(settings, &random, outage);
        while backoff.pause(reason).await {}
        (backoff.attempts, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_declines_is_asked_a_few_times() {
        let settings = Settings::default();
        let reason = Reason::Declined(Duration::from_millis(300));
        let (tried, took) = attempts(&settings, &Outage::default(), reason).await;
        assert_eq!(tried, 1 + settings.retries);
        assert!(took >= 4 * Duration::from_millis(300), "{took:?}");
        let hasty = Settings {
            retry_total: Duration::from_millis(100),
            ..settings
        };
        let (tried, _) = attempts(&hasty, &Outage::default(), reason).await;
        assert_eq!(tried, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_waited_for_once() {
        let settings = Settings::default();
        let outage = Outage::default();
        let (_, took) = attempts(&settings, &outage, Reason::Away).await;
        let range = settings.retry_total - PAUSE_MAX..=settings.retry_total + PAUSE_MAX;
        assert!(range.contains(&took), "{took:?}");
        let (tried, took) = attempts(&settings, &outage, Reason::Away).await;
        assert_eq!(tried, 1 + settings.retries, "it is known to be away");
        assert!(took < Duration::from_secs(1), "{took:?}");
        outage.is_over();
        let (_, took) = attempts(&settings, &outage, Reason::Away).await;
        assert!(range.contains(&took), "{took:?}, another time");
        sleep(2 * settings.retry_total).await;
        let (_, took) = attempts(&settings, &outage, Reason::Away).await;
        assert!(
            range.contains(&took),
            "{took:?}, for it may have been there"
        );
    }
}

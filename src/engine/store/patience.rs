//! How long to go on in spite of errors, and the pauses in between.

use std::time::Duration;

use tokio::time::{Instant, sleep};

#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// From the first failure of a create to its last attempt. Reads give up sooner, after [`READS_MAX`].
    pub(super) total: Duration,
    /// After the first failure; doubled after each other one.
    pub(super) pause: Duration,
    pub(super) pause_max: Duration,
    /// A put that takes longer has an unknown outcome.
    pub(super) put_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(10),
            pause: Duration::from_millis(20),
            pause_max: Duration::from_secs(1),
            put_max: Duration::from_secs(30),
        }
    }
}

/// Attempts of anything that changes nothing, or can be repeated without a look: enough for a dropped connection.
pub(super) const READS_MAX: u32 = 4;

/// Pauses between attempts, each twice as long as the one before, until attempts or patience run out.
pub(super) struct Backoff {
    patience: Patience,
    attempts_left: u32,
    deadline: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    pub(super) fn new(patience: Patience, attempts_max: u32) -> Self {
        Self {
            patience,
            attempts_left: attempts_max,
            deadline: None,
            pause: patience.pause,
        }
    }

    /// Waits before another attempt, or says at once that there is none.
    pub(super) async fn pause(&mut self) -> bool {
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + self.patience.total);
        self.attempts_left = self.attempts_left.saturating_sub(1);
        if self.attempts_left == 0 || now + self.pause > deadline {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(self.patience.pause_max);
        true
    }
}

//! Streams of results one after the other, the next ones begun before their turn.
//!
//! Calls for thousands of streams would take a round trip each; so many are begun at once, and their first results wait here.
//! What waits is bounded: a stream of results is read ahead up to a bound in bytes, and what its server sends beyond that fills
//! the window of its call, and stops. Where streams turn out to be large, fewer are begun.

use std::collections::VecDeque;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesOrdered, try_unfold};
use futures::{FutureExt, StreamExt};

use super::room::{Room, Taken};
use crate::error::Result;

/// Results of one stream that wait for their turn.
pub(super) const READ_AHEAD_BYTES: usize = 256 * 1024;

/// Room for the results of one stream: what is read ahead, and the message that exceeds it.
const RESULTS_BYTES: usize = READ_AHEAD_BYTES + (1 << 20);

/// Streams begun at once before anything is known about their size.
const WIDTH_FIRST: usize = 8;

/// ... and where they are larger than what is read ahead.
const WIDTH_LARGE: usize = 4;

/// A stream of results.
pub(super) type Results<T> = BoxStream<'static, Result<T>>;

/// Bytes that a result takes.
pub(super) trait Bytes {
    fn bytes(&self) -> usize;
}

/// A stream of results that was begun.
struct Begun<T> {
    ready: VecDeque<Result<T>>,
    /// What was not read ahead.
    rest: Option<Results<T>>,
    is_large: bool,
    /// For what is ready.
    room: Option<Taken>,
}

struct InOrder<I, T> {
    jobs: I,
    begun: FuturesOrdered<BoxFuture<'static, Begun<T>>>,
    current: Option<Begun<T>>,
    width: usize,
    width_max: usize,
    ahead_bytes: usize,
    room: Room,
}

/// The results of `jobs`, job by job, at most `width` of them begun at any time, of each of which about `ahead_bytes` are read
/// before their turn, as far as there is `room`. Ends with the first error.
pub(super) fn in_order<T: Bytes + Send + 'static>(
    jobs: impl Iterator<Item = Results<T>> + Send + 'static,
    width: usize,
    ahead_bytes: usize,
    room: &Room,
) -> Results<T> {
    let state = InOrder {
        jobs,
        begun: FuturesOrdered::new(),
        current: None,
        width: WIDTH_FIRST.min(width.max(1)),
        width_max: width.max(1),
        ahead_bytes,
        room: room.clone(),
    };
    try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|result| (result, state)))
    })
    .boxed()
}

impl<I: Iterator<Item = Results<T>>, T: Bytes + Send + 'static> InOrder<I, T> {
    async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(result) = current.ready.pop_front() {
                    return result.map(Some);
                }
                current.room = None;
                if let Some(rest) = &mut current.rest
                    && let Some(result) = rest.next().await
                {
                    return result.map(Some);
                }
                self.current = None;
            }
            self.begin_jobs();
            let Some(begun) = self.begun.next().await else {
                return Ok(None);
            };
            self.width = match begun.is_large {
                false => (self.width * 2).min(self.width_max),
                true => self.width.min(WIDTH_LARGE),
            };
            self.current = Some(begun);
        }
    }

    /// Begins what may be begun. The one whose turn is next needs no room for that.
    fn begin_jobs(&mut self) {
        while self.begun.len() < self.width {
            let room = self.room.for_results(RESULTS_BYTES);
            if room.is_none() && !self.begun.is_empty() {
                return;
            }
            let Some(job) = self.jobs.next() else {
                return;
            };
            let begun = begin(job, self.ahead_bytes, room);
            self.begun.push_back(begun.boxed());
        }
    }
}

/// Reads a stream ahead, as far as that goes; without room, to its first result.
async fn begin<T: Bytes>(
    mut job: Results<T>,
    ahead_bytes: usize,
    mut room: Option<Taken>,
) -> Begun<T> {
    let ahead_bytes = if room.is_some() { ahead_bytes } else { 1 };
    let mut ready = VecDeque::new();
    let mut bytes = 0;
    let mut rest = None;
    while let Some(result) = job.next().await {
        bytes += result.as_ref().map_or(ahead_bytes, T::bytes);
        ready.push_back(result);
        if bytes >= ahead_bytes {
            rest = Some(job);
            break;
        }
    }
    if let Some(room) = &mut room {
        room.shrink(bytes);
    }
    Begun {
        ready,
        is_large: rest.is_some() && bytes >= READ_AHEAD_BYTES,
        rest,
        room,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::TryStreamExt;
    use futures::stream;

    use super::*;
    use crate::error::Error;

    #[derive(Debug, PartialEq)]
    struct Piece(usize, usize);

    fn plenty() -> Room {
        Room::new(1 << 30)
    }

    impl Bytes for Piece {
        fn bytes(&self) -> usize {
            self.1
        }
    }

    /// Ten pieces of `bytes` for each job, with a pause before the first; counts what is produced.
    fn jobs(
        count: usize,
        bytes: usize,
        produced: &Arc<AtomicUsize>,
    ) -> impl Iterator<Item = Results<Piece>> + Send + use<> {
        let produced = Arc::clone(produced);
        (0..count).map(move |job| {
            let produced = Arc::clone(&produced);
            stream::iter(0..10)
                .then(move |_| {
                    let produced = Arc::clone(&produced);
                    async move {
                        tokio::task::yield_now().await;
                        produced.fetch_add(1, Ordering::Relaxed);
                        Ok(Piece(job, bytes))
                    }
                })
                .boxed()
        })
    }

    #[tokio::test]
    async fn results_keep_the_order_of_their_jobs() {
        let produced = Arc::default();
        let all: Vec<Piece> = in_order(jobs(100, 1, &produced), 64, READ_AHEAD_BYTES, &plenty())
            .try_collect()
            .await
            .expect("no errors");
        let expected: Vec<Piece> = (0..1000).map(|i| Piece(i / 10, 1)).collect();
        assert_eq!(all, expected);
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let produced = Arc::default();
        let jobs = jobs(100, READ_AHEAD_BYTES, &produced);
        let mut results = in_order(jobs, 64, READ_AHEAD_BYTES, &plenty());
        for taken in 1..=500 {
            results.next().await.expect("more").expect("no errors");
            let waiting = produced.load(Ordering::Relaxed) - taken;
            assert!(waiting <= WIDTH_FIRST, "{waiting} after {taken}");
        }
    }

    #[tokio::test]
    async fn without_room_one_waits_at_a_time() {
        let none = Room::new(0);
        let produced = Arc::default();
        let mut results = in_order(jobs(100, 1, &produced), 64, READ_AHEAD_BYTES, &none);
        for taken in 1..=1000 {
            let piece = results.next().await.expect("more").expect("no errors");
            assert_eq!(piece, Piece((taken - 1) / 10, 1));
            let waiting = produced.load(Ordering::Relaxed) - taken;
            assert_eq!(waiting, 0, "after {taken}");
        }
        assert!(results.next().await.is_none());
    }

    #[tokio::test]
    async fn readers_share_the_room() {
        let room = Room::new(4 * 2 * RESULTS_BYTES as u64);
        let produced = Arc::default();
        let mut readers = Vec::new();
        for reader in 1..=20 {
            let jobs = jobs(100, READ_AHEAD_BYTES, &produced);
            let mut results = in_order(jobs, 64, READ_AHEAD_BYTES, &room);
            results.next().await.expect("more").expect("no errors");
            readers.push(results);
            let waiting = produced.load(Ordering::Relaxed) - reader;
            let held = waiting * READ_AHEAD_BYTES;
            assert!(held <= 4 * RESULTS_BYTES, "{waiting} for {reader} readers");
        }
        // Those who left make room for those who stay.
        let last = readers.pop().expect("the last");
        drop(readers);
        let rest: Vec<Piece> = last.try_collect().await.expect("no errors");
        assert_eq!(rest.len(), 999);
    }

    #[tokio::test]
    async fn the_first_error_ends_it() {
        let fails = stream::iter([Ok(Piece(0, 1)), Err(Error::internal("broken"))]).boxed();
        let never = stream::iter([Ok(Piece(1, 1))]).boxed();
        let mut results = in_order([fails, never].into_iter(), 8, READ_AHEAD_BYTES, &plenty());
        assert_eq!(
            results.next().await.expect("one").expect("fine"),
            Piece(0, 1)
        );
        results.next().await.expect("two").expect_err("broken");
        assert!(results.next().await.is_none());
    }
}

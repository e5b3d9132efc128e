//! Who is told of inserts as they happen.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Store;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{StreamId, SubscriptionUpdate, Write};

/// Writes that wait for one subscriber before it counts as too slow: more than a round of one point each for ten thousand streams.
const QUEUE_WRITES_MAX: usize = 16 * 1024;

/// Points that wait for one subscriber before it counts as too slow: 64 MiB of them. One write may go beyond it.
const QUEUE_POINTS_MAX: usize = 4 << 20;

/// All subscriptions of a store.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    all: Mutex<Vec<Subscriber>>,
}

#[derive(Debug)]
struct Subscriber {
    streams: Arc<Mutex<HashSet<StreamId>>>,
    /// Dropped once the queue runs over: its end tells the reader.
    queue: mpsc::Sender<Write>,
    /// Points in the queue.
    waiting: Arc<AtomicUsize>,
}

impl Subscriber {
    /// Whether the write found room.
    fn offer(&self, write: &Write) -> bool {
        let points = write.times.len();
        if self.waiting.fetch_add(points, Ordering::Relaxed) >= QUEUE_POINTS_MAX {
            return false;
        }
        self.queue.try_send(write.clone()).is_ok()
    }
}

impl Subscribers {
    /// Hands a write to whoever wants it. Never waits.
    pub(crate) fn publish(&self, write: Write) {
        self.all.lock().retain(|subscriber| {
            !subscriber.streams.lock().contains(&write.stream) || subscriber.offer(&write)
        });
    }

    fn add(&self) -> Queue {
        let (queue, receiver) = mpsc::channel(QUEUE_WRITES_MAX);
        let subscriber = Subscriber {
            streams: Arc::default(),
            queue,
            waiting: Arc::default(),
        };
        let added = Queue {
            streams: Arc::clone(&subscriber.streams),
            writes: receiver,
            waiting: Arc::clone(&subscriber.waiting),
        };
        self.all.lock().push(subscriber);
        added
    }
}

/// What waits for a reader.
struct Queue {
    streams: Arc<Mutex<HashSet<StreamId>>>,
    writes: mpsc::Receiver<Write>,
    waiting: Arc<AtomicUsize>,
}

impl Queue {
    /// The next write; none once the queue ran over.
    ///
    /// Cancel safe: a write is counted out when it is handed on.
    async fn next(&mut self) -> Option<Write> {
        let write = self.writes.recv().await?;
        self.waiting.fetch_sub(write.times.len(), Ordering::Relaxed);
        Some(write)
    }
}

/// A reader's side of a subscription.
struct Reader {
    store: Arc<Store>,
    updates: BoxStream<'static, SubscriptionUpdate>,
    queue: Queue,
    /// Answers to updates that named unknown streams.
    unknown: Vec<Error>,
    ended: bool,
}

pub(crate) fn subscribe(
    store: Arc<Store>,
    updates: BoxStream<'static, SubscriptionUpdate>,
) -> BoxStream<'static, Result<Write>> {
    let queue = store.subscribers.add();
    let reader = Reader {
        store,
        updates,
        queue,
        unknown: Vec::new(),
        ended: false,
    };
    futures::stream::unfold(reader, |mut reader| async move {
        let next = reader.next().await?;
        Some((next, reader))
    })
    .boxed()
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Write>> {
        loop {
            if let Some(error) = self.unknown.pop() {
                return Some(Err(error));
            }
            if self.ended {
                return None;
            }
            // Both branches are cancel safe: a stream's next and a channel's receive lose nothing when dropped.
            tokio::select! {
                biased;
                update = self.updates.next() => match update {
                    Some(update) => self.update(update),
                    None => self.ended = true,
                },
                write = self.queue.next() => match write {
                    Some(write) => return Some(Ok(write)),
                    None => {
                        self.ended = true;
                        let message = format!(
                            "the reader fell more than {QUEUE_WRITES_MAX} writes or {QUEUE_POINTS_MAX} points behind"
                        );
                        return Some(Err(Error::new(ErrorKind::Exhausted, message).with_code(Code::ResourceDepleted)));
                    }
                },
            }
        }
    }

    fn update(&mut self, update: SubscriptionUpdate) {
        match update {
            SubscriptionUpdate::Add(ids) => {
                for id in ids {
                    match self.store.catalogue.stream(id) {
                        Ok(_) => {
                            self.queue.streams.lock().insert(id);
                        }
                        Err(error) => self.unknown.push(error),
                    }
                }
            }
            SubscriptionUpdate::Remove(ids) => {
                let mut streams = self.queue.streams.lock();
                for id in ids {
                    streams.remove(&id);
                }
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut all = self.store.subscribers.all.lock();
        all.retain(|subscriber| !Arc::ptr_eq(&subscriber.streams, &self.queue.streams));
    }
}

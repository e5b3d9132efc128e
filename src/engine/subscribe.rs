//! Who is told of inserts as they happen.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Store;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::{StreamId, SubscriptionUpdate, Write};

/// Writes that wait for one subscriber before it counts as too slow.
const QUEUE_WRITES_MAX: usize = 1024;

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
}

impl Subscribers {
    /// Hands a write to whoever wants it. Never waits.
    pub(crate) fn publish(&self, write: Write) {
        self.all.lock().retain(|subscriber| {
            !subscriber.streams.lock().contains(&write.stream)
                || subscriber.queue.try_send(write.clone()).is_ok()
        });
    }

    fn add(&self) -> (Arc<Mutex<HashSet<StreamId>>>, mpsc::Receiver<Write>) {
        let (queue, receiver) = mpsc::channel(QUEUE_WRITES_MAX);
        let streams = Arc::default();
        self.all.lock().push(Subscriber {
            streams: Arc::clone(&streams),
            queue,
        });
        (streams, receiver)
    }
}

/// A reader's side of a subscription.
struct Reader {
    store: Arc<Store>,
    streams: Arc<Mutex<HashSet<StreamId>>>,
    updates: BoxStream<'static, SubscriptionUpdate>,
    queue: mpsc::Receiver<Write>,
    /// Answers to updates that named unknown streams.
    unknown: Vec<Error>,
    ended: bool,
}

pub(crate) fn subscribe(
    store: Arc<Store>,
    updates: BoxStream<'static, SubscriptionUpdate>,
) -> BoxStream<'static, Result<Write>> {
    let (streams, queue) = store.subscribers.add();
    let reader = Reader {
        store,
        streams,
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
                write = self.queue.recv() => match write {
                    Some(write) => return Some(Ok(write)),
                    None => {
                        self.ended = true;
                        let message = format!("the reader fell more than {QUEUE_WRITES_MAX} writes behind");
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
                            self.streams.lock().insert(id);
                        }
                        Err(error) => self.unknown.push(error),
                    }
                }
            }
            SubscriptionUpdate::Remove(ids) => {
                let mut streams = self.streams.lock();
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
        all.retain(|subscriber| !Arc::ptr_eq(&subscriber.streams, &self.streams));
    }
}

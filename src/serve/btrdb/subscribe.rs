//! Points as they are inserted.
//!
//! The backend says of an unknown stream that there is none, and not which; clients are told which. So what a client adds is
//! looked up on its way to the backend, and what is wrong with it goes past the backend to the answers. At most a few such
//! answers wait: then no more is read of what the client sends.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tonic::Status;

use super::Shared;
use super::answer::{Answers, stat};
use crate::backend::Backend;
use crate::error::{Code, Error, Result};
use crate::model::{StreamId, SubscriptionUpdate as Update, Write};
use crate::wire::proto::{SubscriptionResp, SubscriptionUpdate, SubscriptionUpdateOp};
use crate::wire::{arrow, streams};

/// Answers to updates that wait for the client.
const ASIDES_MAX: usize = 16;

/// What is answered without the backend; a status ends the call.
type Aside = std::result::Result<SubscriptionResp, Status>;

/// A client's updates on their way to the backend.
struct Incoming<S> {
    backend: Arc<dyn Backend>,
    updates: S,
    asides: mpsc::Sender<Aside>,
}

/// Answers on their way to the client.
struct Outgoing {
    /// None once the backend has no more.
    writes: Option<BoxStream<'static, Result<Write>>>,
    asides: mpsc::Receiver<Aside>,
    /// A write of which rows from the number on are not told yet.
    rest: Option<(Write, usize)>,
    is_broken: bool,
}

impl Shared {
    /// Answers until the client has no more updates, or is too slow.
    pub(super) fn subscribe<S>(&self, updates: S) -> Answers<SubscriptionResp>
    where
        S: Stream<Item = std::result::Result<SubscriptionUpdate, Status>> + Send + Unpin + 'static,
    {
        let (asides, waiting) = mpsc::channel(ASIDES_MAX);
        let incoming = Incoming {
            backend: Arc::clone(self.backend()),
            updates,
            asides,
        };
        let updates = stream::unfold(incoming, |mut incoming| async {
            let update = incoming.next().await?;
            Some((update, incoming))
        });
        let outgoing = Outgoing {
            writes: Some(self.backend().subscribe(updates.boxed())),
            asides: waiting,
            rest: None,
            is_broken: false,
        };
        stream::unfold(outgoing, |mut outgoing| async {
            let answer = outgoing.next().await?;
            Some((answer, outgoing))
        })
        .boxed()
    }
}

impl<S> Incoming<S>
where
    S: Stream<Item = std::result::Result<SubscriptionUpdate, Status>> + Unpin,
{
    async fn next(&mut self) -> Option<Update> {
        loop {
            let update = match self.updates.next().await? {
                Ok(update) => update,
                Err(status) => {
                    self.answer(Err(status)).await;
                    return None;
                }
            };
            let Ok(operation) = SubscriptionUpdateOp::try_from(update.op) else {
                let message = format!("operation {} is unknown: 0 adds, 1 removes", update.op);
                let error = Error::invalid(message).with_code(Code::InvalidParameter);
                self.refuse(Bytes::new(), &error).await;
                continue;
            };
            let mut ids = Vec::with_capacity(update.uuid.len());
            for uuid in update.uuid {
                match streams::id(&uuid) {
                    Ok(id) => ids.push(id),
                    Err(error) => self.refuse(uuid, &error).await,
                }
            }
            return Some(match operation {
                SubscriptionUpdateOp::AddUuids => Update::Add(self.known(ids).await),
                SubscriptionUpdateOp::RemoveUuids => Update::Remove(ids),
            });
        }
    }

    /// Those of `ids` that can be added; the others are answered.
    async fn known(&mut self, ids: Vec<StreamId>) -> Vec<StreamId> {
        if self.backend.describe(&ids).await.is_ok() {
            return ids;
        }
        let mut known = Vec::with_capacity(ids.len());
        for id in ids {
            match self.backend.describe(&[id]).await {
                Ok(_) => known.push(id),
                Err(error) => self.refuse(streams::uuid(id), &error).await,
            }
        }
        known
    }

    async fn refuse(&mut self, uuid: Bytes, error: &Error) {
        self.answer(Ok(SubscriptionResp {
            stat: Some(stat(error)),
            uuid,
            arrow_bytes: Bytes::new(),
        }))
        .await;
    }

    async fn answer(&mut self, aside: Aside) {
        // Without a receiver there is no client any more, and the next update is never asked for.
        let _gone = self.asides.send(aside).await;
    }
}

impl Outgoing {
    async fn next(&mut self) -> Option<Aside> {
        loop {
            if let Some((write, from)) = self.rest.take() {
                return Some(self.tell(write, from));
            }
            if self.is_broken {
                return None;
            }
            let Some(writes) = &mut self.writes else {
                return self.asides.try_recv().ok();
            };
            // Both branches are cancel safe: a channel's receive and a stream's next lose nothing when dropped.
            tokio::select! {
                biased;
                Some(aside) = self.asides.recv() => {
                    self.is_broken = aside.is_err();
                    return Some(aside);
                }
                write = writes.next() => match write {
                    Some(Ok(write)) => self.rest = Some((write, 0)),
                    Some(Err(error)) => {
                        return Some(Ok(SubscriptionResp {
                            stat: Some(stat(&error)),
                            ..SubscriptionResp::default()
                        }));
                    }
                    None => self.writes = None,
                },
            }
        }
    }

    /// The rows of a write from one on, as many as a message takes.
    fn tell(&mut self, write: Write, from: usize) -> Aside {
        let rows = (write.times.len() - from).min(arrow::MESSAGE_ROWS);
        let batch = arrow::points_batch(
            arrow::points_schema(),
            write.times.slice(from, rows),
            write.values.slice(from, rows),
        );
        let encoded = batch.and_then(|batch| arrow::encode(&batch));
        let uuid = streams::uuid(write.stream);
        if from + rows < write.times.len() {
            self.rest = Some((write, from + rows));
        }
        Ok(match encoded {
            Ok(arrow_bytes) => SubscriptionResp {
                stat: None,
                uuid,
                arrow_bytes,
            },
            Err(error) => SubscriptionResp {
                stat: Some(stat(&error)),
                uuid,
                arrow_bytes: Bytes::new(),
            },
        })
    }
}

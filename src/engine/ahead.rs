//! Long reads, whose next batches are made beside their reader.

use futures::stream::{BoxStream, StreamExt, try_unfold};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::{Error, Result};

/// What reads batches, one after the other.
pub(crate) trait Read: Send + 'static {
    /// Of points, or of windows.
    type Batch: Send + 'static;

    /// Batches that wait for the reader, beside the one being made.
    const AHEAD: usize;

    /// The next batch; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Batch>>> + Send;

    /// Whether the next batches can be worked on while the reader is busy with the last of so many.
    fn may_read_ahead(&self, given: u32) -> bool;
}

/// The batches of a read.
pub(crate) fn batches<R: Read>(read: R) -> BoxStream<'static, Result<R::Batch>> {
    try_unfold(Source::Here(Box::new(read), 0), |mut source| async move {
        Ok(source.next().await?.map(|batch| (batch, source)))
    })
    .boxed()
}

/// Where the batches of a read come from.
enum Source<R: Read> {
    /// Read when asked for, so many until now: short reads pay for nothing else.
    Here(Box<R>, u32),
    /// Read ahead by a task, which ends with the reader.
    Ahead(mpsc::Receiver<Result<R::Batch>>, JoinSet<()>),
}

impl<R: Read> Source<R> {
    async fn next(&mut self) -> Result<Option<R::Batch>> {
        match self {
            Self::Here(read, given) => {
                let batch = read.next().await?;
                *given += 1;
                if batch.is_some() && read.may_read_ahead(*given) {
                    self.read_ahead();
                }
                Ok(batch)
            }
            Self::Ahead(batches, task) => match batches.recv().await {
                Some(batch) => batch.map(Some),
                // The end, unless the task broke off.
                None => match task.join_next().await {
                    Some(Err(error)) => {
                        Err(Error::internal(format!("a read did not finish: {error}")))
                    }
                    _ => Ok(None),
                },
            },
        }
    }

    fn read_ahead(&mut self) {
        let (sender, batches) = mpsc::channel(R::AHEAD);
        let ahead = Self::Ahead(batches, JoinSet::new());
        let here = std::mem::replace(self, ahead);
        if let (Self::Here(mut read, _), Self::Ahead(_, task)) = (here, self) {
            task.spawn(async move {
                while let Some(batch) = read.next().await.transpose() {
                    let is_last = batch.is_err();
                    if sender.send(batch).await.is_err() || is_last {
                        break;
                    }
                }
            });
        }
    }
}

//! Streams on their way into being: the rows of a put into `streams`.

use std::collections::VecDeque;

use arrow_flight::PutResult;
use futures::{StreamExt, stream};
use tonic::Status;

use super::descriptions::{check_columns, streams_of};
use super::received::Received;
use super::{Reply, Work, count, failed, versions};
use crate::error::{Error, Result};
use crate::model::{StreamDescriptor, StreamId, Version};
use crate::query::Veil;
use crate::serve::flight::Shared;

/// Streams created at a time: enough for their commits to be grouped.
const CREATE_CONCURRENCY: usize = 256;

/// A put of streams.
///
/// They are created some hundreds at a time, in the order of the rows. Of the rows beside one that fails some may be created
/// too: the answers say which, the count says how many.
pub(in super::super) struct StreamsPut {
    shared: Veil<Shared>,
    rows: Received,
    reply: Reply,
    is_checked: bool,
    /// With the number of the row.
    queue: VecDeque<(u64, StreamDescriptor)>,
    /// Rows seen, for errors.
    row_count: u64,
    created_count: u64,
    ended: bool,
    /// The count was told.
    answered: bool,
    /// What failed, after the answer to what did not.
    error: Option<Error>,
}

impl StreamsPut {
    pub(super) fn new(shared: Veil<Shared>, rows: Received, reply: Reply) -> Self {
        Self {
            shared,
            rows,
            reply,
            is_checked: false,
            queue: VecDeque::new(),
            row_count: 0,
            created_count: 0,
            ended: false,
            answered: false,
            error: None,
        }
    }

    fn wants_count(&self) -> bool {
        matches!(self.reply, Reply::Count { .. }) && !self.answered
    }

    fn counted(&mut self) -> PutResult {
        self.answered = true;
        count(i64::try_from(self.created_count).unwrap_or(i64::MAX))
    }

    async fn receive(&mut self) -> Result<()> {
        let batch = self.rows.next().await?;
        if !self.is_checked
            && let Some(schema) = self.rows.schema()
        {
            check_columns(schema)?;
            self.is_checked = true;
        }
        let Some(batch) = batch else {
            self.ended = true;
            return Ok(());
        };
        let streams = streams_of(&batch, self.row_count)?;
        self.queue.extend((self.row_count..).zip(streams));
        self.row_count += batch.num_rows() as u64;
        Ok(())
    }

    /// Creates the first of those that wait; answers which it did.
    async fn create(&mut self) -> Result<Vec<(StreamId, Version)>> {
        let rows = self.queue.len().min(CREATE_CONCURRENCY);
        let backend = self.shared.gateway.backend();
        let outcomes: Vec<_> = stream::iter(self.queue.drain(..rows))
            .map(|(row, stream)| async move {
                let id = stream.id;
                (row, id, backend.create(stream).await)
            })
            .buffered(CREATE_CONCURRENCY)
            .collect()
            .await;
        let mut created = Vec::with_capacity(outcomes.len());
        for (row, id, outcome) in outcomes {
            match outcome {
                Ok(()) => created.push((id, Version::CREATED)),
                Err(error) if self.error.is_none() => self.error = Some(of_row(row, error)),
                Err(_) => {}
            }
        }
        self.created_count += created.len() as u64;
        if let Reply::Count { transaction } = &self.reply
            && !transaction.is_empty()
        {
            let transactions = &self.shared.transactions;
            transactions.wrote(transaction, created.len() as u64, &created)?;
        }
        Ok(created)
    }
}

impl Work for StreamsPut {
    async fn step(&mut self) -> Result<Option<PutResult>> {
        loop {
            if let Some(error) = self.error.take() {
                // A client that wants the count gets it even if the put fails.
                if self.wants_count() && self.created_count > 0 {
                    self.error = Some(error);
                    return Ok(Some(self.counted()));
                }
                return Err(error);
            }
            if !self.queue.is_empty() {
                let created = self.create().await?;
                if matches!(self.reply, Reply::Versions) && !created.is_empty() {
                    return Ok(Some(versions(&created)));
                }
            } else if !self.ended {
                if let Err(error) = self.receive().await {
                    self.error = Some(error);
                }
            } else if self.wants_count() {
                return Ok(Some(self.counted()));
            } else {
                return Ok(None);
            }
        }
    }

    fn failure(&self, error: &Error) -> Status {
        let created = match self.created_count {
            0 => "no stream of this put was created".to_owned(),
            count => format!("{count} streams of this put were created, and stay"),
        };
        let message = format!("{}; {created}", error.message());
        failed(
            error,
            message,
            "x-btrdb-created-streams",
            self.created_count,
        )
    }
}

fn of_row(row: u64, error: Error) -> Error {
    let mut described = Error::new(error.kind(), format!("row {row}: {}", error.message()));
    if let Some(code) = error.code() {
        described = described.with_code(code);
    }
    described.with_source(error)
}

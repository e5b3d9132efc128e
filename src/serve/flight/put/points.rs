//! Points on their way into the store, commit by commit.

use std::collections::VecDeque;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::PutResult;
use tokio::time::timeout_at;
use tonic::Status;

use super::columns::Layout;
use super::pending::{COMMIT_POINTS, Pending};
use super::received::Received;
use super::targets::Targets;
use super::{Reply, Shared, Work, count, failed, versions};
use crate::error::{Error, Result};
use crate::model::{InsertOptions, MergePolicy, StreamId, TimeRange, Version};
use crate::query::Veil;

/// Streams whose versions go into one answer: about a mebibyte of JSON, well under what the smallest clients take.
const ANSWER_STREAMS: usize = 16 * 1024;

/// Points wait no longer than this for others to commit with.
const LINGER: Duration = Duration::from_millis(250);

/// What a put that replaces points does about them.
enum Replacing {
    /// Nothing: it adds.
    No,
    /// They are deleted when the first rows were checked.
    Wanted,
    /// They were, and this version still has them.
    Done(StreamId, Version),
}

/// A put of points.
pub(in super::super) struct PointsPut {
    shared: Veil<Shared>,
    rows: Received,
    targets: Targets,
    reply: Reply,
    replacing: Replacing,
    /// What the call's header asks for; the schema's metadata may ask otherwise.
    merge: Option<MergePolicy>,
    /// Known with the schema.
    layout: Option<Layout>,
    /// The streams of the columns of wide batches; none if the batches are not wide.
    columns: Vec<usize>,
    /// What arrived in one message, in pieces of at most a commit.
    queue: VecDeque<RecordBatch>,
    pending: Pending,
    /// Made by the last commit, and not yet sent.
    answers: VecDeque<PutResult>,
    /// Rows seen, for errors.
    row_count: u64,
    applied_points: u64,
    /// No more rows will come.
    ended: bool,
    /// Everything was answered.
    answered: bool,
    /// What failed, after the answer to what did not.
    error: Option<Error>,
}

impl PointsPut {
    pub(super) fn new(
        shared: Veil<Shared>,
        rows: Received,
        targets: Targets,
        merge: Option<MergePolicy>,
        reply: Reply,
    ) -> Self {
        Self {
            shared,
            rows,
            targets,
            reply,
            replacing: Replacing::No,
            merge,
            layout: None,
            columns: Vec::new(),
            queue: VecDeque::new(),
            pending: Pending::default(),
            answers: VecDeque::new(),
            row_count: 0,
            applied_points: 0,
            ended: false,
            answered: false,
            error: None,
        }
    }

    /// The same, which first deletes what the stream has.
    pub(super) fn replacing(mut self) -> Self {
        self.replacing = Replacing::Wanted;
        self
    }

    async fn advance(&mut self) -> Result<Option<PutResult>> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(Some(answer));
            }
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            if self.pending.is_due() || (self.ended && !self.pending.is_empty()) {
                self.commit().await?;
            } else if let Some(batch) = self.queue.pop_front() {
                self.accept(&batch)?;
            } else if !self.ended {
                self.receive().await?;
            } else if self.wants_count() && !self.answered {
                // A table without rows is there, and empty, all the same.
                self.make_ready().await?;
                self.answered = true;
                return Ok(Some(self.counted()));
            } else {
                return Ok(None);
            }
        }
    }

    fn wants_count(&self) -> bool {
        matches!(self.reply, Reply::Count { .. }) && !self.answered
    }

    fn counted(&self) -> PutResult {
        count(i64::try_from(self.applied_points).unwrap_or(i64::MAX))
    }

    /// Takes the next message, or finds that it is time to commit.
    ///
    /// Cancel safe: a message is either in the queue or still unread.
    async fn receive(&mut self) -> Result<()> {
        let next = self.rows.next();
        let next = match self.pending.since() {
            None => next.await,
            Some(since) => match timeout_at(since + LINGER, next).await {
                Ok(next) => next,
                Err(_) => {
                    self.pending.overdue();
                    return Ok(());
                }
            },
        };
        let batch = next?;
        if let Some(schema) = self.rows.schema().cloned() {
            self.learn(&schema)?;
        }
        let Some(batch) = batch else {
            self.ended = true;
            return Ok(());
        };
        let step = (COMMIT_POINTS / self.columns.len().max(1)).max(1);
        for row in (0..batch.num_rows()).step_by(step) {
            let rows = step.min(batch.num_rows() - row);
            self.queue.push_back(batch.slice(row, rows));
        }
        Ok(())
    }

    /// Finds the columns and the merge policy in the schema, the first time.
    fn learn(&mut self, schema: &Schema) -> Result<()> {
        if self.layout.is_some() {
            return Ok(());
        }
        let layout = Layout::of(schema, self.targets.is_long())?;
        self.columns = self.targets.columns(&layout.stream_names(schema))?;
        self.layout = Some(layout);
        if self.merge.is_none()
            && let Some(merge) = schema.metadata().get("btrdb.merge")
        {
            self.merge = Some(merge.parse()?);
        }
        Ok(())
    }

    /// Checks the rows of `batch`, and puts them aside for the next commit.
    fn accept(&mut self, batch: &RecordBatch) -> Result<()> {
        let layout = self
            .layout
            .as_ref()
            .ok_or_else(|| Error::internal("rows came before their schema"))?;
        let first = self.row_count;
        let times = layout.times(batch, first)?;
        if self.columns.is_empty() {
            let values = layout.values(batch, first)?;
            let keys = layout.keys(batch, first)?;
            let runs = self.targets.runs(&keys, batch.num_rows(), first)?;
            let mut row = 0;
            for (slot, rows) in runs {
                self.pending
                    .push(slot, times.slice(row, rows), values.slice(row, rows));
                row += rows;
            }
        } else {
            let points = layout.wide_points(batch, &times, first)?;
            for (slot, (times, values)) in self.columns.iter().zip(points) {
                if !times.is_empty() {
                    self.pending.push(*slot, times, values);
                }
            }
        }
        self.row_count += batch.num_rows() as u64;
        Ok(())
    }

    /// Looks streams up, creates them, and empties the one whose points are replaced: no sooner, so that rows that are refused
    /// change nothing.
    async fn make_ready(&mut self) -> Result<()> {
        let backend = self.shared.gateway.backend().as_ref();
        self.targets.resolve(backend).await?;
        if !matches!(self.replacing, Replacing::Wanted) {
            return Ok(());
        }
        let stream = self.targets.id(0)?;
        // What is buffered is deleted too, and must be in the version that is named if things go wrong.
        let before = backend.flush(&[stream]).await?;
        let before = before.first().copied().unwrap_or_default();
        let emptied = backend.delete(stream, TimeRange::ALL).await?;
        self.replacing = Replacing::Done(stream, before);
        self.wrote(0, &[(stream, emptied)])
    }

    /// Lets the transaction see what was written.
    fn wrote(&self, rows: u64, written: &[(StreamId, Version)]) -> Result<()> {
        match &self.reply {
            Reply::Count { transaction } if !transaction.is_empty() => {
                self.shared.transactions.wrote(transaction, rows, written)
            }
            Reply::Count { .. } | Reply::Versions => Ok(()),
        }
    }

    /// Applies what was put aside.
    async fn commit(&mut self) -> Result<()> {
        self.make_ready().await?;
        let backend = self.shared.gateway.backend().as_ref();
        let writes = self.pending.take(&self.targets)?;
        let sizes: Vec<(StreamId, u64)> = writes
            .iter()
            .map(|write| (write.stream, write.times.len() as u64))
            .collect();
        let options = InsertOptions {
            merge: self.merge.unwrap_or_default(),
            rounding_bits: 0,
        };
        let outcomes = backend.insert(writes, options).await;
        let mut written: Vec<(StreamId, Version)> = Vec::with_capacity(sizes.len());
        let applied_before = self.applied_points;
        let mut failures = Vec::new();
        for ((stream, points), outcome) in sizes.into_iter().zip(outcomes) {
            match outcome {
                Ok(version) => {
                    self.applied_points += points;
                    written.push((stream, version));
                }
                Err(error) => failures.push((stream, error)),
            }
        }
        let failure_count = failures.len();
        self.error = failures
            .into_iter()
            .next()
            .map(|(stream, error)| describe(stream, error, failure_count));
        if matches!(self.reply, Reply::Versions) {
            let answers = written.chunks(ANSWER_STREAMS).map(versions);
            self.answers.extend(answers);
        }
        self.wrote(self.applied_points - applied_before, &written)
    }
}

impl Work for PointsPut {
    async fn step(&mut self) -> Result<Option<PutResult>> {
        match self.advance().await {
            // A client that wants the count gets it even if the put fails.
            Err(error) if self.wants_count() && self.applied_points > 0 => {
                self.answered = true;
                self.error = Some(error);
                Ok(Some(self.counted()))
            }
            outcome => outcome,
        }
    }

    fn failure(&self, error: &Error) -> Status {
        let mut applied = match self.applied_points {
            0 => "nothing of this put was applied".to_owned(),
            points => format!("{points} points of this put were applied before, and stay"),
        };
        if self.targets.created_count() > 0 {
            let count = self.targets.created_count();
            applied.push_str(&format!("; {count} streams were created"));
        }
        if let Replacing::Done(stream, version) = self.replacing {
            applied.push_str(&format!(
                "; the points that were to be replaced are deleted, and version {version} still has them: SELECT * FROM \
                 raw_values('{stream}@{version}')"
            ));
        }
        let message = format!("{}; {applied}", error.message());
        failed(
            error,
            message,
            "x-btrdb-applied-points",
            self.applied_points,
        )
    }
}

fn describe(stream: StreamId, error: Error, failure_count: usize) -> Error {
    let others = match failure_count {
        1 => String::new(),
        count => format!(", and {} other streams failed", count - 1),
    };
    let mut described = Error::new(
        error.kind(),
        format!("stream {stream}: {}{others}", error.message()),
    );
    if let Some(code) = error.code() {
        described = described.with_code(code);
    }
    described.with_source(error)
}

//! Points on their way into the store, commit by commit.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::Schema;
use arrow_flight::PutResult;
use arrow_flight::decode::FlightRecordBatchStream;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::columns::Layout;
use super::targets::Targets;
use super::{Shared, count, failed, unreadable};
use crate::error::{Error, Result};
use crate::model::{InsertOptions, MergePolicy, StreamId, Version, Write};

/// Points that make a commit: 16 MiB.
const COMMIT_POINTS: usize = 1 << 20;

/// Streams whose versions go into one answer: about a mebibyte of JSON, well under what the smallest clients take.
const ANSWER_STREAMS: usize = 16 * 1024;

/// Points wait no longer than this for others to commit with.
const LINGER: Duration = Duration::from_millis(250);

/// How a put is answered.
pub(super) enum Reply {
    /// The versions of each commit.
    Versions,
    /// The number of rows, once, as Flight SQL wants it.
    Count {
        /// The transaction that must see the points; empty is none.
        transaction: Bytes,
    },
}

/// A put of points.
pub(in super::super) struct PointsPut {
    shared: Arc<Shared>,
    batches: FlightRecordBatchStream,
    targets: Targets,
    reply: Reply,
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
        shared: Arc<Shared>,
        batches: FlightRecordBatchStream,
        targets: Targets,
        merge: Option<MergePolicy>,
        reply: Reply,
    ) -> Self {
        Self {
            shared,
            batches,
            targets,
            reply,
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

    /// Works until there is something to answer; none is the end.
    pub(super) async fn step(&mut self) -> Result<Option<PutResult>> {
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

    /// The status that ends a put which failed with `error`.
    pub(super) fn failure(&self, error: &Error) -> Status {
        let mut applied = match self.applied_points {
            0 => "nothing of this put was applied".to_owned(),
            points => format!("{points} points of this put were applied before, and stay"),
        };
        if self.targets.created_count() > 0 {
            let count = self.targets.created_count();
            applied.push_str(&format!("; {count} streams were created"));
        }
        failed(
            error,
            format!("{}; {applied}", error.message()),
            self.applied_points,
        )
    }

    /// Takes the next message, or finds that it is time to commit.
    ///
    /// Cancel safe: a message is either in the queue or still unread.
    async fn receive(&mut self) -> Result<()> {
        // Arrow's decoder checks much of what it reads and asserts the rest: a message made to trip it ends its put, no more.
        let next = AssertUnwindSafe(self.batches.next()).catch_unwind();
        let next = match self.pending.since {
            None => next.await,
            Some(since) => match timeout_at(since + LINGER, next).await {
                Ok(next) => next,
                Err(_) => {
                    self.pending.overdue = true;
                    return Ok(());
                }
            },
        };
        let next = next.map_err(|_| Error::invalid("the data of the put is damaged"))?;
        match next {
            Some(batch) => {
                let batch = batch.map_err(unreadable)?;
                self.learn(&batch.schema())?;
                let step = (COMMIT_POINTS / self.columns.len().max(1)).max(1);
                for row in (0..batch.num_rows()).step_by(step) {
                    let rows = step.min(batch.num_rows() - row);
                    self.queue.push_back(batch.slice(row, rows));
                }
            }
            None => {
                self.ended = true;
                let schema = self
                    .batches
                    .schema()
                    .cloned()
                    .ok_or_else(|| Error::invalid("the put ended before it had a schema"))?;
                self.learn(&schema)?;
            }
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

    /// Applies what was put aside. Streams are looked up, and created, no sooner: rows that are refused leave none behind.
    async fn commit(&mut self) -> Result<()> {
        let backend = self.shared.gateway.backend().as_ref();
        self.targets.resolve(backend).await?;
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
        match &self.reply {
            Reply::Versions => self
                .answers
                .extend(written.chunks(ANSWER_STREAMS).map(versions)),
            Reply::Count { transaction } if !transaction.is_empty() => {
                let rows = self.applied_points - applied_before;
                let transactions = &self.shared.transactions;
                transactions.wrote(transaction, rows, &written)?;
            }
            Reply::Count { .. } => {}
        }
        Ok(())
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

fn versions(written: &[(StreamId, Version)]) -> PutResult {
    let versions: serde_json::Map<_, _> = written
        .iter()
        .map(|(stream, version)| (stream.to_string(), version.0.into()))
        .collect();
    PutResult {
        app_metadata: serde_json::Value::Object(versions).to_string().into(),
    }
}

/// Rows that were checked and wait for their commit.
#[derive(Default)]
struct Pending {
    points: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// They waited long enough.
    overdue: bool,
    /// The points of each slot.
    streams: Vec<(usize, Gathered)>,
    positions: HashMap<usize, usize>,
}

/// The points of one stream.
enum Gathered {
    /// As they came: no copy is made.
    Whole(ScalarBuffer<i64>, ScalarBuffer<f64>),
    /// From several places.
    Parts(Vec<i64>, Vec<f64>),
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.points == 0
    }

    fn is_due(&self) -> bool {
        self.points >= COMMIT_POINTS || (self.overdue && self.points > 0)
    }

    fn push(&mut self, slot: usize, times: ScalarBuffer<i64>, values: ScalarBuffer<f64>) {
        self.points += times.len();
        self.since.get_or_insert_with(Instant::now);
        match self.positions.get(&slot) {
            Some(position) => self.streams[*position].1.extend(&times, &values),
            None => {
                self.positions.insert(slot, self.streams.len());
                self.streams.push((slot, Gathered::Whole(times, values)));
            }
        }
    }

    fn take(&mut self, targets: &Targets) -> Result<Vec<Write>> {
        let pending = std::mem::take(self);
        pending
            .streams
            .into_iter()
            .map(|(slot, gathered)| {
                let (times, values) = match gathered {
                    Gathered::Whole(times, values) => (times, values),
                    Gathered::Parts(times, values) => (times.into(), values.into()),
                };
                Ok(Write {
                    stream: targets.id(slot)?,
                    times,
                    values,
                })
            })
            .collect()
    }
}

impl Gathered {
    fn extend(&mut self, times: &[i64], values: &[f64]) {
        if let Self::Whole(first_times, first_values) = self {
            *self = Self::Parts(first_times.to_vec(), first_values.to_vec());
        }
        if let Self::Parts(all_times, all_values) = self {
            all_times.extend_from_slice(times);
            all_values.extend_from_slice(values);
        }
    }
}

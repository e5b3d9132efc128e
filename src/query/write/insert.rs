//! INSERT of points: rows are checked and put aside, and applied in commits of about a million.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, TimestampNanosecondType};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;

use super::targets::Targets;
use super::values::evaluate;
use super::{Destination, Ledger, bound, of_row, reworded};
use crate::backend::Backend;
use crate::error::{Code, Error, Result};
use crate::model::time::{MAX_POINT_TIME, MIN_TIME};
use crate::model::{InsertOptions, MergePolicy, StreamId, Write};
use crate::query::errors::from_datafusion;
use crate::query::points::time_type;
use crate::query::statement::Statement;

/// Points that make a commit: 16 MiB.
pub(super) const COMMIT_POINTS: usize = 1 << 20;

/// Inserts what the statement's query delivers for each of `rows`.
///
/// Rows of VALUES are checked, all of them, before the first is written. Those of a query are as many as it delivers, and so
/// are checked and written as they come.
pub(super) async fn insert(
    statement: &Statement,
    to: &Destination,
    rows: &[Vec<ScalarValue>],
    ledger: &mut Ledger,
) -> Result<()> {
    let backend = Arc::clone(&statement.frame().backend);
    let mut sink = Sink::new(backend, to, statement.merge(), ledger);
    let parameters = statement.parameters();
    if let Some(batch) = evaluate(statement.state(), statement.plan(), &parameters, rows)? {
        sink.accept(&batch).await?;
        return sink.commit().await;
    }
    for (at, row) in rows.iter().enumerate() {
        let rows_of_one = async {
            let statement = bound(statement, row).await?;
            let mut batches = statement.query(statement.plan()).await?;
            while let Some(batch) = batches.try_next().await.map_err(from_datafusion)? {
                sink.take(&batch).await?;
            }
            Ok(())
        };
        rows_of_one.await.map_err(|error| of_row(error, at, rows))?;
    }
    sink.commit().await
}

/// Points on their way into the store.
pub(super) struct Sink<'a> {
    backend: Arc<dyn Backend>,
    /// The one stream that takes them all.
    only: Option<StreamId>,
    targets: Targets,
    merge: MergePolicy,
    /// Rows seen, for errors; people count from 1.
    row_count: u64,
    pending: Pending,
    ledger: &'a mut Ledger,
}

/// Points that wait for their commit, by stream, in the order of the rows.
#[derive(Default)]
struct Pending {
    points: usize,
    streams: Vec<(StreamId, Vec<i64>, Vec<f64>)>,
    positions: HashMap<StreamId, usize>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        to: &Destination,
        merge: MergePolicy,
        ledger: &'a mut Ledger,
    ) -> Self {
        ledger.what = "points were inserted";
        Self {
            backend,
            only: match to {
                Destination::Points => None,
                Destination::Stream(stream) => Some(stream.id),
            },
            targets: Targets::default(),
            merge,
            row_count: 0,
            pending: Pending::default(),
            ledger,
        }
    }

    /// Takes rows of which there may be any number, and writes once a commit of them is there.
    pub(super) async fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        self.accept(batch).await?;
        if self.pending.points >= COMMIT_POINTS {
            self.commit().await?;
        }
        Ok(())
    }

    /// Checks rows, finds their streams, and puts them aside.
    async fn accept(&mut self, batch: &RecordBatch) -> Result<()> {
        let first = self.row_count + 1;
        let times = times_of(batch, first)?;
        let values = values_of(batch, first)?;
        let rows = batch.num_rows();
        match self.only {
            Some(_) if rows == 0 => {}
            Some(id) => self.pending.push(id, &times, &values),
            None => {
                let runs = self.targets.runs(self.backend.as_ref(), batch, first);
                let mut row = 0;
                for (id, count) in runs.await? {
                    let run = row..row + count;
                    self.pending.push(id, &times[run.clone()], &values[run]);
                    row += count;
                }
            }
        }
        self.row_count += rows as u64;
        Ok(())
    }

    /// Writes what was put aside, in calls of at most a commit's points.
    pub(super) async fn commit(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let mut writes = Vec::new();
        let mut points = 0;
        for (stream, times, values) in pending.streams {
            let (times, values) = (ScalarBuffer::from(times), ScalarBuffer::from(values));
            let mut done = 0;
            while done < times.len() {
                let count = (times.len() - done).min(COMMIT_POINTS - points);
                writes.push(Write {
                    stream,
                    times: times.slice(done, count),
                    values: values.slice(done, count),
                });
                done += count;
                points += count;
                if points == COMMIT_POINTS {
                    self.apply(std::mem::take(&mut writes)).await?;
                    points = 0;
                }
            }
        }
        if !writes.is_empty() {
            self.apply(writes).await?;
        }
        Ok(())
    }

    async fn apply(&mut self, writes: Vec<Write>) -> Result<()> {
        let sizes: Vec<(StreamId, u64)> = writes
            .iter()
            .map(|write| (write.stream, write.times.len() as u64))
            .collect();
        let options = InsertOptions {
            merge: self.merge,
            rounding_bits: 0,
        };
        let answers = self.backend.insert(writes, options).await;
        let mut failures = Vec::new();
        for ((stream, points), answer) in sizes.into_iter().zip(answers) {
            match answer {
                Ok(version) => {
                    self.ledger.rows += points;
                    self.ledger.note(stream, version);
                }
                Err(error) => failures.push((stream, error)),
            }
        }
        let others = match failures.len() {
            0 | 1 => String::new(),
            count => format!(", and {} other streams failed", count - 1),
        };
        match failures.into_iter().next() {
            None => Ok(()),
            Some((stream, error)) => {
                let message = format!("stream {stream}: {}{others}", error.message());
                Err(reworded(error, message))
            }
        }
    }
}

impl Pending {
    fn push(&mut self, stream: StreamId, times: &[i64], values: &[f64]) {
        self.points += times.len();
        let position = *self.positions.entry(stream).or_insert_with(|| {
            self.streams.push((stream, Vec::new(), Vec::new()));
            self.streams.len() - 1
        });
        let (_, all_times, all_values) = &mut self.streams[position];
        all_times.extend_from_slice(times);
        all_values.extend_from_slice(values);
    }
}

/// The times of a batch, whose first row has the number `first`.
fn times_of(batch: &RecordBatch, first: u64) -> Result<ScalarBuffer<i64>> {
    let column = numbers::<TimestampNanosecondType>(batch, "time", &time_type(), first)?;
    let times = column.values();
    let outside = times
        .iter()
        .position(|time| !(MIN_TIME..=MAX_POINT_TIME).contains(time));
    match outside {
        None => Ok(times.clone()),
        Some(row) => Err(Error::invalid(format!(
            "row {}: time is {} ns, outside of BTrDB's, which goes from {MIN_TIME} ns to {MAX_POINT_TIME} ns (1933-06-20 to \
             2079-08-08)",
            first + row as u64,
            times[row]
        ))
        .with_code(Code::InvalidTimeRange)),
    }
}

/// The values of a batch.
fn values_of(batch: &RecordBatch, first: u64) -> Result<ScalarBuffer<f64>> {
    let column = numbers::<Float64Type>(batch, "value", &DataType::Float64, first)?;
    let values = column.values();
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values.clone()),
        Some(row) => Err(Error::invalid(format!(
            "row {}: value is {}, which BTrDB does not store: leave the row out",
            first + row as u64,
            values[row]
        ))
        .with_code(Code::BadValue)),
    }
}

/// A column without nulls, of one type.
fn numbers<T: ArrowPrimitiveType>(
    batch: &RecordBatch,
    name: &str,
    data_type: &DataType,
    first: u64,
) -> Result<PrimitiveArray<T>> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| Error::internal(format!("rows to insert have no column {name}")))?;
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let column = cast_with_options(column, data_type, &options)
        .map_err(|error| from_datafusion(error.into()))?;
    if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
        let row = nulls.iter().position(|valid| !valid).unwrap_or_default();
        return Err(Error::invalid(format!(
            "row {}: {name} is NULL, and a point has a time and a value: leave the row out",
            first + row as u64
        ))
        .with_code(if name == "time" {
            Code::InvalidTimeRange
        } else {
            Code::BadValue
        }));
    }
    Ok(column.as_primitive::<T>().clone())
}

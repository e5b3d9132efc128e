//! Rows into batches: what is a point goes on, what is not is counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{
    ArrayRef, Float64Builder, RecordBatch, StringBuilder, TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tokio::sync::mpsc;

use super::Progress;
use super::columns::Stream;
use super::time::Parsed;
use crate::error::{Error, Result};
use crate::model::stream::{check_collection, check_tag};
use crate::model::{StreamId, TagKey};

/// Rows of one batch: with its texts a few megabytes.
pub(super) const BATCH_ROWS: usize = 64 * 1024;

/// Why a row is not a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    Malformed,
    StreamMissing,
    StreamInvalid,
    TimeMissing,
    TimeUnreadable,
    TimeOutOfRange,
    ValueMissing,
    ValueUnreadable,
    ValueNotFinite,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "wrong number of fields, or not UTF-8",
            Self::StreamMissing => "no stream",
            Self::StreamInvalid => "no valid uuid, collection, name or unit",
            Self::TimeMissing => "no time",
            Self::TimeUnreadable => "time not understood",
            Self::TimeOutOfRange => "time outside 1933-06-20 to 2079-08-08",
            Self::ValueMissing => "no value",
            Self::ValueUnreadable => "value is not a number",
            Self::ValueNotFinite => "value is NaN or infinite",
        }
    }
}

/// How many rows were rejected for each reason, with the first example of each. Printed, it is one line a reason.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<Reason, (u64, String)>);

impl Tally {
    /// `example` says where the row is and what it holds.
    fn add(&mut self, reason: Reason, example: impl FnOnce() -> String) {
        self.0
            .entry(reason)
            .and_modify(|(count, _)| *count += 1)
            .or_insert_with(|| (1, example()));
    }

    pub(super) fn rejected(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, (count, example)) in &self.0 {
            writeln!(
                f,
                "  {count} rejected: {}, first {example}",
                reason.as_str()
            )?;
        }
        Ok(())
    }
}

/// A value, or why there is none.
pub(super) type Value = std::result::Result<f64, Reason>;

/// A row as a file has it.
pub(super) struct Row<'a> {
    /// One text for each of [`Sink::begin`]'s stream columns; none is null.
    pub(super) stream: [Option<&'a str>; 3],
    pub(super) time: Parsed,
    pub(super) value: Value,
}

/// Whether anybody wants more rows.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    More,
    /// The put failed.
    Nothing,
}

/// Takes rows, sends batches.
pub(super) struct Sink {
    batches: mpsc::Sender<RecordBatch>,
    progress: Arc<Progress>,
    tally: Tally,
    schema: SchemaRef,
    is_uuid: bool,
    keys: Vec<StringBuilder>,
    /// The stream of the row before, checked: most rows have the same again.
    last: Option<[String; 3]>,
    times: TimestampNanosecondBuilder,
    values: Float64Builder,
    rows: usize,
    read: u64,
}

impl Sink {
    pub(super) fn new(batches: mpsc::Sender<RecordBatch>, progress: Arc<Progress>) -> Self {
        Self {
            batches,
            progress,
            tally: Tally::default(),
            schema: Arc::new(Schema::empty()),
            is_uuid: false,
            keys: Vec::new(),
            last: None,
            times: TimestampNanosecondBuilder::new(),
            values: Float64Builder::new(),
            rows: 0,
            read: 0,
        }
    }

    /// Says what names streams, before the first row.
    pub(super) fn begin(&mut self, stream: &Stream) {
        let names: &[&str] = match stream {
            Stream::Uuid(_) => &["uuid"],
            Stream::Path { unit: None, .. } => &["collection", "name"],
            Stream::Path { unit: Some(_), .. } => &["collection", "name", "unit"],
        };
        self.is_uuid = matches!(stream, Stream::Uuid(_));
        self.keys = names.iter().map(|_| StringBuilder::new()).collect();
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let fields = (names.iter().map(|name| (*name, DataType::Utf8)))
            .chain([("time", time), ("value", DataType::Float64)])
            .map(|(name, data_type)| Field::new(name, data_type, false));
        self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    }

    /// Takes one row; `place` says where it is and what it holds.
    pub(super) fn push(&mut self, row: &Row<'_>, place: impl FnOnce() -> String) -> Result<Demand> {
        self.read += 1;
        match self.check(row) {
            Ok((time, value)) => {
                for (builder, key) in self.keys.iter_mut().zip(row.stream) {
                    builder.append_value(key.unwrap_or_default());
                }
                self.times.append_value(time);
                self.values.append_value(value);
                self.rows += 1;
                if self.rows == BATCH_ROWS {
                    return self.send();
                }
            }
            Err(reason) => self.tally.add(reason, place),
        }
        Ok(Demand::More)
    }

    /// Counts a row that is none.
    pub(super) fn reject(&mut self, reason: Reason, place: impl FnOnce() -> String) {
        self.read += 1;
        self.tally.add(reason, place);
    }

    /// Sends what is left.
    pub(super) fn finish(mut self) -> Result<Tally> {
        // Nobody is told if the put failed: its own error says why.
        let _ = self.send()?;
        Ok(self.tally)
    }

    fn check(&mut self, row: &Row<'_>) -> std::result::Result<(i64, f64), Reason> {
        let keys = row.stream.map(Option::unwrap_or_default);
        if self.last.as_ref().is_none_or(|last| *last != keys) {
            self.check_stream(row.stream)?;
            self.last = Some(keys.map(str::to_owned));
        }
        let time = row.time?;
        let value = row.value?;
        if value.is_finite() {
            Ok((time, value))
        } else {
            Err(Reason::ValueNotFinite)
        }
    }

    /// What the server would refuse, and the whole put with it.
    fn check_stream(&self, stream: [Option<&str>; 3]) -> std::result::Result<(), Reason> {
        let first = stream[0].unwrap_or_default();
        if first.is_empty() {
            return Err(Reason::StreamMissing);
        }
        if self.is_uuid {
            let id = first.parse::<StreamId>();
            return id.map(|_| ()).map_err(|_| Reason::StreamInvalid);
        }
        let Some(name) = stream[1].filter(|name| !name.is_empty()) else {
            return Err(Reason::StreamMissing);
        };
        check_collection(first)
            .and_then(|()| check_tag(TagKey::Name, name))
            .and_then(|()| check_tag(TagKey::Unit, stream[2].unwrap_or_default()))
            .map_err(|_| Reason::StreamInvalid)
    }

    fn send(&mut self) -> Result<Demand> {
        self.progress.read.store(self.read, Ordering::Relaxed);
        if self.rows == 0 {
            return Ok(Demand::More);
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.keys.len() + 2);
        for key in &mut self.keys {
            columns.push(Arc::new(key.finish()));
        }
        columns.push(Arc::new(self.times.finish().with_timezone("UTC")));
        columns.push(Arc::new(self.values.finish()));
        self.rows = 0;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| Error::internal("a batch of rows is uneven").with_source(error))?;
        Ok(match self.batches.blocking_send(batch) {
            Ok(()) => Demand::More,
            Err(_) => Demand::Nothing,
        })
    }
}

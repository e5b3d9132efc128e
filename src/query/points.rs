//! Raw points: one stream as a table of `time, value`, and all streams as one long table.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::stats::Precision;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalSortExpr;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::catalogue::StreamColumn;
use super::errors::to_datafusion;
use super::narrow::Narrowing;
use super::ordered::OrderedRead;
use super::pins::Calls;
use super::scan::{Ask, Read, ShownRanges, ShownStreams, batch_of, sort_key};
use super::session::Frame;
use super::time_set::TimeSet;
use crate::model::query::BATCH_ROWS;
use crate::model::{
    Direction, PointBatch, PointQuery, Snapshot, StreamDescriptor, StreamRead, TimeRange,
};

/// Rows of a batch where each batch may teach the reader what else it need not see.
const BATCH_ROWS_MOVING: usize = 4 * 1024;

/// The zone of every time column.
pub(super) const ZONE: &str = "UTC";

/// The type of every time column.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(ZONE.into()))
}

/// Times as a column.
pub(super) fn time_column(times: TimestampNanosecondArray) -> ArrayRef {
    Arc::new(times.with_timezone(ZONE))
}

/// A column of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PointColumn {
    /// What can be told of the stream, on each of its points. Texts are views: a batch repeats one string, and a view of it
    /// is 16 bytes whatever its length.
    Stream(StreamColumn),
    Time,
    Value,
}

impl PointColumn {
    /// The columns of a single stream's table.
    pub(super) const OF_STREAM: [Self; 2] = [Self::Time, Self::Value];

    /// The columns of `points`.
    pub(super) const OF_ALL: [Self; 6] = [
        Self::Stream(StreamColumn::Uuid),
        Self::Stream(StreamColumn::Collection),
        Self::Stream(StreamColumn::Name),
        Self::Stream(StreamColumn::Unit),
        Self::Time,
        Self::Value,
    ];

    /// The columns of `points` and all of `streams` beside them.
    pub(super) fn of_joined() -> Vec<Self> {
        let streams = StreamColumn::ALL.into_iter().map(Self::Stream);
        streams.chain(Self::OF_STREAM).collect()
    }

    pub(super) fn field(self) -> Field {
        match self {
            Self::Stream(column) => column.field(),
            Self::Time => Field::new("time", time_type(), false),
            Self::Value => Field::new("value", DataType::Float64, false),
        }
    }

    pub(super) fn schema(columns: &[Self]) -> SchemaRef {
        Arc::new(Schema::new(
            columns
                .iter()
                .map(|column| column.field())
                .collect::<Vec<_>>(),
        ))
    }
}

/// Raw points of some streams, whole streams per partition, one stream after the other.
#[derive(Clone, Debug)]
pub(super) struct PointRead {
    pub(super) frame: Arc<Frame>,
    /// One entry a partition; streams ascend by uuid through all of them.
    pub(super) groups: Arc<[Group]>,
    /// Of all partitions together, for people.
    pub(super) shown: Arc<Group>,
    pub(super) ranges: Vec<TimeRange>,
    pub(super) direction: Direction,
    pub(super) columns: Vec<PointColumn>,
    pub(super) schema: SchemaRef,
}

/// Streams that are read one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) descriptors: Vec<Arc<StreamDescriptor>>,
    pub(super) reads: Vec<StreamRead>,
}

impl PointRead {
    pub(super) fn new(
        frame: Arc<Frame>,
        mut streams: Vec<(Arc<StreamDescriptor>, StreamRead)>,
        ranges: Vec<TimeRange>,
        columns: Vec<PointColumn>,
    ) -> Self {
        streams.sort_by_key(|(_, read)| read.id);
        Self {
            groups: Group::divide(&streams, frame.partitions).into(),
            frame,
            shown: Arc::new(Group::of(&streams)),
            ranges,
            direction: Direction::Forward,
            schema: PointColumn::schema(&columns),
            columns,
        }
    }

    /// The order of time, and of streams within one time.
    pub(super) fn by_time(&self) -> Vec<Vec<PhysicalSortExpr>> {
        let uuid = sort_key(
            &self.schema,
            StreamColumn::Uuid.as_str(),
            Direction::Forward,
        );
        let time = sort_key(&self.schema, "time", self.direction);
        time.into_iter()
            .map(|time| std::iter::once(time).chain(uuid.clone()).collect())
            .collect()
    }

    /// How often each stream is asked about.
    fn calls(&self) -> Calls {
        let asks = |column: &PointColumn| match column {
            PointColumn::Stream(column) => !column.is_told(),
            PointColumn::Time | PointColumn::Value => false,
        };
        Calls::several(self.columns.iter().any(asks))
    }

    /// Whether no partition has more than one stream.
    fn is_one_by_one(&self) -> bool {
        self.groups.iter().all(|group| group.reads.len() <= 1)
    }
}

impl Group {
    pub(super) fn of(streams: &[(Arc<StreamDescriptor>, StreamRead)]) -> Self {
        let (descriptors, reads) = streams.iter().cloned().unzip();
        Self { descriptors, reads }
    }

    /// So many neighbouring parts, of about the same number of streams.
    pub(super) fn divide(
        streams: &[(Arc<StreamDescriptor>, StreamRead)],
        parts: usize,
    ) -> Vec<Self> {
        let parts = parts.clamp(1, streams.len().max(1));
        let size = streams.len().div_ceil(parts).max(1);
        streams.chunks(size).map(Self::of).collect()
    }

    pub(super) fn select(&self, places: &[usize]) -> Self {
        Self {
            descriptors: places
                .iter()
                .map(|&place| Arc::clone(&self.descriptors[place]))
                .collect(),
            reads: places.iter().map(|&place| self.reads[place]).collect(),
        }
    }
}

impl fmt::Display for PointRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = ShownStreams {
            descriptors: &self.shown.descriptors,
            reads: &self.shown.reads,
        };
        let ranges = ShownRanges(&self.ranges);
        let snapshot = ShownSnapshot::of(&self.frame, &self.shown.reads, self.calls());
        write!(f, "RawValues, {streams}, {ranges}, {snapshot}")?;
        if self.direction == Direction::Backward {
            f.write_str(", backward")?;
        }
        Ok(())
    }
}

/// The state that a scan reads, as EXPLAIN names it: a commit of the store, or where it numbers none, whether each stream is
/// read at a version of its own.
pub(super) enum ShownSnapshot {
    Commit(u64),
    Pinned,
    Unpinned,
}

impl ShownSnapshot {
    /// Of a scan of `reads` that asks so often.
    pub(super) fn of(frame: &Frame, reads: &[StreamRead], calls: Calls) -> Self {
        let is_named = !reads.is_empty() && reads.iter().all(|read| read.version.is_some());
        match frame.snapshot() {
            Snapshot::Commit(commit) => Self::Commit(commit),
            Snapshot::Latest if is_named || frame.is_settling(reads, calls) => Self::Pinned,
            Snapshot::Latest => Self::Unpinned,
        }
    }
}

impl fmt::Display for ShownSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(commit) => write!(f, "snapshot={commit}"),
            Self::Pinned => f.write_str("snapshot=pinned"),
            Self::Unpinned => f.write_str("snapshot=unpinned"),
        }
    }
}

/// The streams of a partition that can have a row, the ranges that can, and what stands beside their points.
pub(super) struct Opened {
    pub(super) narrowing: Narrowing,
    pub(super) group: Group,
    pub(super) ranges: Vec<TimeRange>,
    columns: Vec<PointColumn>,
    /// One array a column, one row a stream; none for times and values.
    beside: Vec<Option<ArrayRef>>,
    schema: SchemaRef,
}

impl Opened {
    pub(super) async fn new(read: &PointRead, partition: usize, ask: &Ask) -> Result<Self> {
        let narrowing = Narrowing::new(&ask.filters);
        let group = read.groups.get(partition).cloned().unwrap_or_default();
        let kept = narrowing.streams(&group.descriptors)?;
        let mut group = if kept.len() < group.reads.len() {
            group.select(&kept)
        } else {
            group
        };
        let reads = read.frame.settle(group.reads, read.calls()).await;
        group.reads = reads.map_err(to_datafusion)?;
        let ranges = TimeSet::of_ranges(&read.ranges).intersect(&narrowing.times());
        let mut beside = Vec::with_capacity(read.columns.len());
        for column in &read.columns {
            beside.push(match column {
                PointColumn::Stream(column) => {
                    let (descriptors, reads) = (&group.descriptors, &group.reads);
                    Some(column.column(&read.frame, descriptors, reads).await?)
                }
                PointColumn::Time | PointColumn::Value => None,
            });
        }
        Ok(Self {
            narrowing,
            group,
            ranges: ranges.ranges(),
            columns: read.columns.clone(),
            beside,
            schema: Arc::clone(&read.schema),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.group.reads.is_empty() || self.ranges.is_empty()
    }

    /// The query for all streams and ranges.
    pub(super) fn query(&self, read: &PointRead, ask: &Ask) -> PointQuery {
        let rows_max = if self.narrowing.is_moving() {
            BATCH_ROWS_MOVING
        } else {
            BATCH_ROWS
        };
        PointQuery {
            streams: self.group.reads.clone(),
            ranges: self.ranges.clone(),
            direction: read.direction,
            limit: None,
            snapshot: read.frame.snapshot(),
            batch_rows: read.frame.batch_rows.min(rows_max),
            values: self.narrowing.values(),
            probe: ask.probe.clone(),
        }
    }

    pub(super) fn rows(&self, batch: &PointBatch) -> Result<RecordBatch> {
        let arrays = self.columns.iter().zip(&self.beside);
        let arrays = arrays
            .map(|(column, beside)| match (column, beside) {
                (PointColumn::Time, _) => Ok(time_column(TimestampNanosecondArray::new(
                    batch.times.clone(),
                    None,
                ))),
                (PointColumn::Value, _) => {
                    Ok(Arc::new(Float64Array::new(batch.values.clone(), None)) as ArrayRef)
                }
                (PointColumn::Stream(_), Some(beside)) => repeat(beside, batch.stream, batch.len()),
                (PointColumn::Stream(column), None) => Err(DataFusionError::Internal(format!(
                    "{} was not looked up",
                    column.as_str()
                ))),
            })
            .collect::<Result<Vec<_>>>()?;
        batch_of(&self.schema, arrays, batch.len())
    }
}

/// One row of `array`, so many times.
pub(super) fn repeat(array: &ArrayRef, row: usize, times: usize) -> Result<ArrayRef> {
    let one = array.slice(row, 1);
    take(&one, &UInt32Array::from(vec![0; times]), None).map_err(DataFusionError::from)
}

/// What is guessed of a stream's points where nothing is known: more than of streams, so that joins hash the smaller side.
const STREAM_ROWS_GUESS: usize = 1_000_000;

impl Read for PointRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn partitions(&self) -> usize {
        self.groups.len().max(1)
    }

    fn orderings(&self) -> Vec<Vec<PhysicalSortExpr>> {
        if self.is_one_by_one() {
            return self.by_time();
        }
        let time = sort_key(&self.schema, "time", self.direction);
        let uuid = sort_key(
            &self.schema,
            StreamColumn::Uuid.as_str(),
            Direction::Forward,
        );
        uuid.into_iter()
            .map(|uuid| std::iter::once(uuid).chain(time.clone()).collect())
            .collect()
    }

    fn reordered(&self, direction: Direction) -> Option<Arc<dyn Read>> {
        let turned = Self {
            direction,
            ..self.clone()
        };
        Some(if self.is_one_by_one() {
            Arc::new(turned)
        } else {
            Arc::new(OrderedRead(turned))
        })
    }

    fn pushdown(&self) -> bool {
        self.frame.pushdown
    }

    fn narrows(&self) -> bool {
        true
    }

    fn rows(&self) -> Precision<usize> {
        if self.ranges.is_empty() || self.shown.reads.is_empty() {
            return Precision::Exact(0);
        }
        Precision::Inexact(self.shown.reads.len().saturating_mul(STREAM_ROWS_GUESS))
    }

    fn open(&self, partition: usize, ask: &Ask) -> BoxStream<'static, Result<RecordBatch>> {
        let (read, ask) = (self.clone(), ask.clone());
        let opened = async move {
            let mut opened = Opened::new(&read, partition, &ask).await?;
            if opened.is_empty() {
                return Ok(stream::empty().boxed());
            }
            ask.calls.add(1);
            let batches = read.frame.backend.points(PointQuery {
                limit: ask.limit.map(|limit| limit as u64),
                ..opened.query(&read, &ask)
            });
            // One that only tells the version is of no use here.
            let batches = batches.try_filter(|batch| ready(!batch.is_empty()));
            let rows = batches.map(move |batch| {
                opened.narrowing.refresh();
                opened.rows(&batch.map_err(to_datafusion)?)
            });
            Ok::<_, DataFusionError>(rows.boxed())
        };
        stream::once(opened).try_flatten().boxed()
    }
}

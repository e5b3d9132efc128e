//! Raw points: one stream as a table of `time, value`, and all streams as one long table.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringViewArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalSortExpr;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::errors::to_datafusion;
use super::scan::{Read, ShownRanges, ShownStreams, batch_of, sort_key};
use super::session::Frame;
use crate::model::query::BATCH_ROWS;
use crate::model::{
    Direction, PointBatch, PointQuery, Snapshot, StreamDescriptor, StreamRead, TimeRange,
};

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
    Label(Label),
    Time,
    Value,
}

/// What tells streams apart, as a column beside their points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Label {
    Uuid,
    Collection,
    Name,
    Unit,
}

impl Label {
    pub(super) const ALL: [Self; 4] = [Self::Uuid, Self::Collection, Self::Name, Self::Unit];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Collection => "collection",
            Self::Name => "name",
            Self::Unit => "unit",
        }
    }

    /// The label of that column name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.as_str() == name)
    }

    pub(super) fn of(self, stream: &StreamDescriptor) -> String {
        match self {
            Self::Uuid => stream.id.to_string(),
            Self::Collection => stream.collection.clone(),
            Self::Name => stream.tags.name.clone(),
            Self::Unit => stream.tags.unit.clone(),
        }
    }

    /// Views, not copies: a batch of one stream repeats one string, and a view of it is 16 bytes whatever its length.
    pub(super) fn field(self) -> Field {
        Field::new(self.as_str(), DataType::Utf8View, false)
    }

    /// The label of one stream, `rows` times.
    pub(super) fn column(self, stream: &StreamDescriptor, rows: usize) -> Result<ArrayRef> {
        let one = StringViewArray::from(vec![self.of(stream)]);
        take(&one, &UInt32Array::from(vec![0; rows]), None).map_err(DataFusionError::from)
    }
}

impl PointColumn {
    /// The columns of a single stream's table.
    pub(super) const OF_STREAM: [Self; 2] = [Self::Time, Self::Value];

    /// The columns of `points`.
    pub(super) const OF_ALL: [Self; 6] = [
        Self::Label(Label::Uuid),
        Self::Label(Label::Collection),
        Self::Label(Label::Name),
        Self::Label(Label::Unit),
        Self::Time,
        Self::Value,
    ];

    fn field(self) -> Field {
        match self {
            Self::Label(label) => label.field(),
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

    fn column(self, stream: &StreamDescriptor, batch: &PointBatch) -> Result<ArrayRef> {
        Ok(match self {
            Self::Label(label) => label.column(stream, batch.len())?,
            Self::Time => time_column(TimestampNanosecondArray::new(batch.times.clone(), None)),
            Self::Value => Arc::new(Float64Array::new(batch.values.clone(), None)),
        })
    }
}

/// Raw points of some streams, whole streams per partition.
#[derive(Clone, Debug)]
pub(super) struct PointRead {
    frame: Arc<Frame>,
    /// One entry a partition; streams ascend by uuid through all of them.
    groups: Arc<[Group]>,
    /// Of all partitions together, for people.
    shown: Arc<Group>,
    ranges: Vec<TimeRange>,
    direction: Direction,
    columns: Vec<PointColumn>,
    schema: SchemaRef,
}

/// Streams that are read one after the other.
#[derive(Debug, Default)]
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
        let partitions = frame.partitions.clamp(1, streams.len().max(1));
        let groups: Vec<Group> = streams
            .chunks(streams.len().div_ceil(partitions).max(1))
            .map(Group::of)
            .collect();
        Self {
            frame,
            groups: groups.into(),
            shown: Arc::new(Group::of(&streams)),
            ranges,
            direction: Direction::Forward,
            schema: PointColumn::schema(&columns),
            columns,
        }
    }
}

impl Group {
    pub(super) fn of(streams: &[(Arc<StreamDescriptor>, StreamRead)]) -> Self {
        let (descriptors, reads) = streams.iter().cloned().unzip();
        Self { descriptors, reads }
    }
}

impl fmt::Display for PointRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = ShownStreams {
            descriptors: &self.shown.descriptors,
            reads: &self.shown.reads,
        };
        let ranges = ShownRanges(&self.ranges);
        write!(
            f,
            "RawValues, {streams}, {ranges}, {}",
            ShownSnapshot(self.frame.snapshot)
        )?;
        if self.direction == Direction::Backward {
            f.write_str(", backward")?;
        }
        Ok(())
    }
}

/// The snapshot for people.
pub(super) struct ShownSnapshot(pub(super) Snapshot);

impl fmt::Display for ShownSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // A backend without store-wide commits: each stream is read as it is when its turn comes.
            Snapshot::Latest => f.write_str("snapshot=unpinned"),
            Snapshot::Commit(commit) => write!(f, "snapshot={commit}"),
        }
    }
}

impl Read for PointRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn partitions(&self) -> usize {
        self.groups.len().max(1)
    }

    fn orderings(&self) -> Vec<Vec<PhysicalSortExpr>> {
        let time = sort_key(&self.schema, "time", self.direction);
        if self.groups.iter().all(|group| group.reads.len() <= 1) {
            return time.into_iter().map(|time| vec![time]).collect();
        }
        let uuid = sort_key(&self.schema, Label::Uuid.as_str(), Direction::Forward);
        uuid.into_iter()
            .map(|uuid| std::iter::once(uuid).chain(time.clone()).collect())
            .collect()
    }

    fn reordered(&self, direction: Direction) -> Option<Arc<dyn Read>> {
        self.groups
            .iter()
            .all(|group| group.reads.len() <= 1)
            .then(|| {
                Arc::new(Self {
                    direction,
                    ..self.clone()
                }) as _
            })
    }

    fn pushdown(&self) -> bool {
        self.frame.pushdown
    }

    fn open(
        &self,
        partition: usize,
        limit: Option<u64>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let Some(group) = self.groups.get(partition) else {
            return stream::empty().boxed();
        };
        if self.ranges.is_empty() || group.reads.is_empty() {
            return stream::empty().boxed();
        }
        let batches = self.frame.backend.points(PointQuery {
            streams: group.reads.clone(),
            ranges: self.ranges.clone(),
            direction: self.direction,
            limit,
            snapshot: self.frame.snapshot,
            batch_rows: self.frame.batch_rows.min(BATCH_ROWS),
        });
        let (columns, schema) = (self.columns.clone(), Arc::clone(&self.schema));
        let descriptors = group.descriptors.clone();
        batches
            .map(move |batch| {
                let batch = batch.map_err(to_datafusion)?;
                let stream = &descriptors[batch.stream];
                let arrays = columns
                    .iter()
                    .map(|column| column.column(stream, &batch))
                    .collect::<Result<Vec<_>>>()?;
                batch_of(&schema, arrays, batch.len())
            })
            .boxed()
    }
}

//! Statistics of windows: what `windows`, `aligned_windows` and pushed-down aggregates read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalSortExpr;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::errors::to_datafusion;
use super::points::{Group, Label, ShownSnapshot, time_column, time_type};
use super::scan::{Read, ShownRanges, ShownStreams, batch_of};
use super::session::Frame;
use crate::error::{Error, ErrorKind};
use crate::model::{
    Cuts, Direction, Stat, StatBatch, StatQuery, StreamDescriptor, TimeRange, Timestamp,
};

/// A column made of the statistics of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatColumn {
    Start,
    Label(Label),
    Count,
    Min,
    Max,
    Mean,
    Sum,
    StddevPopulation,
    StddevSample,
    VariancePopulation,
    VarianceSample,
}

impl StatColumn {
    /// The columns of `windows` and `aligned_windows`.
    pub(super) const OF_WINDOWS: [Self; 6] = [
        Self::Start,
        Self::Min,
        Self::Mean,
        Self::Max,
        Self::Count,
        Self::StddevPopulation,
    ];

    /// The schema of `windows` and `aligned_windows`: a window that is there has points, so nothing is null.
    pub(super) fn windows_schema() -> SchemaRef {
        let names = ["time", "min", "mean", "max", "count", "stddev"];
        let fields = names
            .iter()
            .zip(Self::OF_WINDOWS)
            .map(|(name, column)| Field::new(*name, column.data_type(), false));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Start => time_type(),
            Self::Label(_) => DataType::Utf8View,
            Self::Count => DataType::Int64,
            _ => DataType::Float64,
        }
    }

    /// The column over `rows`. Without points there is a count of 0, and nothing else.
    fn column(self, stream: Option<&StreamDescriptor>, rows: &StatBatch) -> Result<ArrayRef> {
        let stats = &rows.stats;
        let value = match self {
            Self::Start => {
                return Ok(time_column(TimestampNanosecondArray::from(
                    rows.times.clone(),
                )));
            }
            Self::Label(label) => {
                let stream = stream.ok_or_else(|| {
                    DataFusionError::Internal("statistics of an unknown stream".to_owned())
                })?;
                return label.column(stream, stats.len());
            }
            Self::Count => {
                return Ok(Arc::new(Int64Array::from_iter_values(
                    stats.iter().map(|stat| stat.count as i64),
                )));
            }
            Self::Min => |stat: &Stat| Some(stat.min),
            Self::Max => |stat: &Stat| Some(stat.max),
            Self::Mean => |stat: &Stat| Some(stat.mean),
            Self::Sum => |stat: &Stat| Some(stat.total()),
            Self::StddevPopulation => |stat: &Stat| Some(stat.stddev()),
            Self::VariancePopulation => |stat: &Stat| Some(stat.variance_population()),
            Self::StddevSample => |stat: &Stat| stat.variance_sample().map(f64::sqrt),
            Self::VarianceSample => Stat::variance_sample,
        };
        let values = stats
            .iter()
            .map(|stat| if stat.count == 0 { None } else { value(stat) });
        Ok(Arc::new(values.collect::<Float64Array>()))
    }
}

/// How the windows of several streams become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Each window of each stream is a row.
    PerStream,
    /// Windows with the same start and the same labels are one row; without labels, of all streams together.
    Merged(Vec<Label>),
    /// One row of everything, even of nothing.
    Whole,
}

/// Statistics of some streams between cut points.
#[derive(Clone, Debug)]
pub(super) struct StatRead {
    pub(super) frame: Arc<Frame>,
    pub(super) streams: Arc<Group>,
    /// `None` reads nothing.
    pub(super) range: Option<TimeRange>,
    pub(super) cuts: Cuts,
    pub(super) grouping: Grouping,
    pub(super) columns: Vec<StatColumn>,
    pub(super) schema: SchemaRef,
}

impl fmt::Display for StatRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match &self.cuts {
            Cuts::Every { origin, width }
                if width.is_power_of_two() && i128::from(*origin) % i128::from(*width) == 0 =>
            {
                "AlignedWindows"
            }
            Cuts::Every { .. } => "Windows",
            Cuts::At(cuts) if cuts.len() > 2 => "Windows",
            Cuts::At(_) => "Statistics",
        };
        let streams = ShownStreams {
            descriptors: &self.streams.descriptors,
            reads: &self.streams.reads,
        };
        let ranges = ShownRanges(self.range.as_slice());
        let snapshot = ShownSnapshot(self.frame.snapshot);
        write!(f, "{operation}, {streams}, {ranges}, {snapshot}")?;
        if operation != "Statistics" {
            write!(f, ", {}", self.cuts)?;
        }
        Ok(())
    }
}

impl Read for StatRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn orderings(&self) -> Vec<Vec<PhysicalSortExpr>> {
        let merged = matches!(&self.grouping, Grouping::Merged(labels) if labels.is_empty());
        if self.streams.reads.len() > 1 && !merged {
            return Vec::new();
        }
        let start = self
            .columns
            .iter()
            .position(|column| *column == StatColumn::Start);
        start
            .and_then(|index| {
                let name = self.schema.field(index).name();
                super::scan::sort_key(&self.schema, name, Direction::Forward)
            })
            .map(|key| vec![key])
            .into_iter()
            .collect()
    }

    fn pushdown(&self) -> bool {
        self.frame.pushdown
    }

    fn open(
        &self,
        _partition: usize,
        limit: Option<u64>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let batches = match self.range {
            Some(range) if !self.streams.reads.is_empty() => self.frame.backend.stats(StatQuery {
                streams: self.streams.reads.clone(),
                range,
                cuts: self.cuts.clone(),
                limit: limit.filter(|_| self.grouping == Grouping::PerStream),
                snapshot: self.frame.snapshot,
            }),
            _ => stream::empty().boxed(),
        };
        let read = self.clone();
        match &self.grouping {
            Grouping::PerStream => batches
                .map(move |batch| read.rows(&batch.map_err(to_datafusion)?))
                .boxed(),
            Grouping::Merged(labels) => {
                let labels = labels.clone();
                stream::once(async move { read.merged(batches.boxed(), &labels).await })
                    .map_ok(|batches| stream::iter(batches).map(Ok))
                    .try_flatten()
                    .boxed()
            }
            Grouping::Whole => {
                let stat = batches.map_err(to_datafusion).try_fold(
                    Stat::EMPTY,
                    |mut whole, batch| async move {
                        batch.stats.iter().for_each(|stat| whole.merge(stat));
                        Ok(whole)
                    },
                );
                stream::once(async move {
                    read.rows(&StatBatch {
                        times: vec![0],
                        stats: vec![stat.await?],
                        ..StatBatch::default()
                    })
                })
                .boxed()
            }
        }
    }
}

/// Windows that are held while streams are merged: about 400 MiB of them.
const MERGED_WINDOWS_MAX: usize = 4 << 20;

impl StatRead {
    fn rows(&self, batch: &StatBatch) -> Result<RecordBatch> {
        let stream = self.streams.descriptors.get(batch.stream).map(Arc::as_ref);
        let arrays = self
            .columns
            .iter()
            .map(|column| column.column(stream, batch))
            .collect::<Result<Vec<_>>>()?;
        batch_of(&self.schema, arrays, batch.stats.len())
    }

    /// Rows of the same labels and window, added up; in memory, because there are as many as answers.
    async fn merged(
        self,
        mut batches: BoxStream<'static, crate::error::Result<StatBatch>>,
        labels: &[Label],
    ) -> Result<Vec<RecordBatch>> {
        let mut held = 0;
        let mut groups: BTreeMap<Vec<String>, (usize, BTreeMap<Timestamp, Stat>)> = BTreeMap::new();
        while let Some(batch) = batches.try_next().await.map_err(to_datafusion)? {
            let stream = self
                .streams
                .descriptors
                .get(batch.stream)
                .ok_or_else(|| DataFusionError::Internal("a batch of no stream".to_owned()))?;
            let key = labels.iter().map(|label| label.of(stream)).collect();
            let (_, windows) = groups
                .entry(key)
                .or_insert_with(|| (batch.stream, BTreeMap::new()));
            let before = windows.len();
            for (&time, stat) in batch.times.iter().zip(&batch.stats) {
                windows.entry(time).or_default().merge(stat);
            }
            held += windows.len() - before;
            if held > MERGED_WINDOWS_MAX {
                let message = format!(
                    "the answer has more than {MERGED_WINDOWS_MAX} windows that several streams share: take wider \
                     windows or a shorter range, or group by uuid too"
                );
                return Err(to_datafusion(Error::new(ErrorKind::Exhausted, message)));
            }
            // A store in memory is always ready, and would never let go of the thread.
            tokio::task::consume_budget().await;
        }
        groups
            .into_values()
            .map(|(stream, windows)| {
                let (times, stats) = windows.into_iter().unzip();
                self.rows(&StatBatch {
                    stream,
                    times,
                    stats,
                    ..StatBatch::default()
                })
            })
            .collect()
    }
}

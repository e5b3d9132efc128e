//! `multi_values(stream, ...)` and `sampled_values(period, stream, ...)`: streams side by side, joined on time.
//!
//! A sampled table has a row at whole multiples of its period since 1970, whatever part of it is asked for.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalSortExpr;
use futures::FutureExt;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::errors::to_datafusion;
use super::filter::time_set;
use super::pins::Calls;
use super::points::{Group, ShownSnapshot, time_column, time_type};
use super::provider::{Planning, scan_by_plan};
use super::scan::{Ask, Read, ScanExec, ShownRanges, ShownStreams, batch_of, sort_key};
use super::session::Frame;
use super::table::{NamedStream, accepted_times, exact_if, is_time_column};
use super::time_set::TimeSet;
use crate::error::Error;
use crate::model::window::Span;
use crate::model::{Cuts, Direction, MultiQuery, TimeRange};

/// Some streams as one wide table: `time`, and a column for each, null where it has no point.
#[derive(Debug)]
pub(super) struct MultiTable {
    pub(super) frame: Arc<Frame>,
    streams: Vec<NamedStream>,
    /// Nanoseconds of the grid that times move to; 0 leaves them where they are.
    period: u64,
    schema: SchemaRef,
}

impl MultiTable {
    /// Streams with the names of their columns.
    ///
    /// # Errors
    /// Invalid if two columns would have the same name.
    pub(super) fn new(
        frame: Arc<Frame>,
        period: u64,
        streams: Vec<(String, NamedStream)>,
    ) -> crate::error::Result<Self> {
        let mut names = std::collections::HashSet::from(["time"]);
        if let Some((twice, _)) = streams.iter().find(|(name, _)| !names.insert(name)) {
            return Err(crate::error::Error::invalid(format!(
                "the table would have two columns named \"{twice}\": name each stream once"
            )));
        }
        let fields: Vec<Field> = std::iter::once(Field::new("time", time_type(), false))
            .chain(
                streams
                    .iter()
                    .map(|(name, _)| Field::new(name, DataType::Float64, true)),
            )
            .collect();
        Ok(Self {
            frame,
            period,
            schema: Arc::new(Schema::new(fields)),
            streams: streams.into_iter().map(|(_, stream)| stream).collect(),
        })
    }
}

impl MultiTable {
    /// What tells it from other calls.
    pub(super) fn arguments(&self) -> String {
        let streams: Vec<String> = self.streams.iter().map(ToString::to_string).collect();
        format!("{}, {}", self.period, streams.join(", "))
    }

    pub(super) fn with_frame(&self, frame: Arc<Frame>) -> Self {
        Self {
            frame,
            period: self.period,
            streams: self.streams.clone(),
            schema: Arc::clone(&self.schema),
        }
    }

    /// The ranges to ask for, so that just the rows at `times` come. A grid starts where its range does, and the last row of
    /// a range takes points from half a period beyond it.
    fn ranges(&self, times: &TimeSet) -> Vec<TimeRange> {
        if self.period == 0 {
            return times.ranges();
        }
        let grid = Cuts::Every {
            origin: 0,
            width: self.period,
        };
        let period = self.period as i64;
        let on_grid = |range: TimeRange| {
            let late = range.start.rem_euclid(period);
            let start = range.start + if late == 0 { 0 } else { period - late };
            TimeRange::new(start, range.end)
        };
        let ranges = times.windows(&grid).ranges().into_iter().map(on_grid);
        ranges.filter(|range| !range.is_empty()).collect()
    }
}

impl TableProvider for MultiTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(exact_if(filters, |filter| {
            self.frame.pushdown && time_set(filter, &is_time_column).is_some()
        }))
    }

    scan_by_plan!();
}

impl MultiTable {
    fn plan_scan<'a>(
        &'a self,
        _state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let frame = self.frame.pinned().await.map_err(to_datafusion)?;
            let streams: Vec<_> = self
                .streams
                .iter()
                .map(|stream| (Arc::clone(&stream.descriptor), stream.read(&frame)))
                .collect();
            let columns: Vec<usize> = match projection {
                Some(indices) => indices.clone(),
                None => (0..self.schema.fields().len()).collect(),
            };
            let read = MultiRead {
                frame,
                streams: Arc::new(Group::of(&streams)),
                ranges: self.ranges(&accepted_times(filters)?),
                period: self.period,
                schema: Arc::new(self.schema.project(&columns)?),
                columns,
            };
            Ok(ScanExec::planned(read, limit))
        }
        .boxed()
    }
}

/// All streams of a wide table, even those whose column is not wanted: which rows there are depends on every one.
#[derive(Debug)]
struct MultiRead {
    frame: Arc<Frame>,
    streams: Arc<Group>,
    ranges: Vec<TimeRange>,
    period: u64,
    /// Positions among `time` and the streams.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl MultiRead {
    /// How often each stream is asked about.
    fn calls(&self) -> Calls {
        Calls::several(self.ranges.len() > 1)
    }
}

impl fmt::Display for MultiRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = ShownStreams {
            descriptors: &self.streams.descriptors,
            reads: &self.streams.reads,
        };
        let ranges = ShownRanges(&self.ranges);
        let snapshot = ShownSnapshot::of(&self.frame, &self.streams.reads, self.calls());
        write!(f, "ArrowMultiValues, {streams}, {ranges}, {snapshot}")?;
        if self.period > 0 {
            write!(f, ", sampled every {}", Span(self.period))?;
        }
        Ok(())
    }
}

impl Read for MultiRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn orderings(&self) -> Vec<Vec<PhysicalSortExpr>> {
        sort_key(&self.schema, "time", Direction::Forward)
            .map(|key| vec![key])
            .into_iter()
            .collect()
    }

    fn pushdown(&self) -> bool {
        self.frame.pushdown
    }

    fn open(&self, _partition: usize, ask: &Ask) -> BoxStream<'static, Result<RecordBatch>> {
        let (frame, reads) = (Arc::clone(&self.frame), self.streams.reads.clone());
        let (period, ask) = (self.period, ask.clone());
        let (ranges, calls) = (self.ranges.clone(), self.calls());
        let settled = async move {
            let reads = frame.settle(reads, calls).await?;
            let batches = stream::iter(ranges).flat_map(move |range| {
                ask.calls.add(1);
                frame.backend.multi_values(MultiQuery {
                    streams: reads.clone(),
                    range,
                    snap_period: period,
                    snapshot: frame.snapshot(),
                    probe: ask.probe.clone(),
                })
            });
            Ok::<_, Error>(batches)
        };
        let batches = stream::once(settled).try_flatten();
        let (columns, schema) = (self.columns.clone(), Arc::clone(&self.schema));
        batches
            .map(move |batch| {
                let batch = batch.map_err(to_datafusion)?;
                let arrays = columns
                    .iter()
                    .map(|&column| match column {
                        0 => time_column(TimestampNanosecondArray::new(batch.times.clone(), None)),
                        _ => Arc::new(batch.columns[column - 1].clone()) as ArrayRef,
                    })
                    .collect();
                batch_of(&schema, arrays, batch.times.len())
            })
            .boxed()
    }
}

//! `nearest(stream, time [, backward])` and `changes(stream, from_version, to_version [, resolution])`: BTrDB's own calls as
//! tables of few rows.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::errors::to_datafusion;
use super::pins::Calls;
use super::points::{Group, ShownSnapshot, time_column, time_type};
use super::provider::{Planning, scan_by_plan};
use super::scan::{Ask, Read, ScanExec, ShownStreams, batch_of};
use super::session::Frame;
use super::table::NamedStream;
use crate::error::Error;
use crate::model::{
    Changes, ChangesQuery, Direction, NearestQuery, StreamRead, Timestamp, Version,
};

/// The point nearest to a time, and the version it was read at: one row, or none.
#[derive(Debug)]
pub(super) struct NearestTable {
    pub(super) frame: Arc<Frame>,
    pub(super) stream: NamedStream,
    pub(super) time: Timestamp,
    pub(super) direction: Direction,
}

impl NearestTable {
    pub(super) fn columns() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("time", time_type(), false),
            Field::new("value", DataType::Float64, false),
            Field::new("version", DataType::UInt64, false),
        ]))
    }

    /// What tells it from other calls.
    pub(super) fn arguments(&self) -> String {
        format!("{}, {}, {:?}", self.stream, self.time, self.direction)
    }

    pub(super) fn with_frame(&self, frame: Arc<Frame>) -> Self {
        Self {
            frame,
            stream: self.stream.clone(),
            ..*self
        }
    }
}

impl TableProvider for NearestTable {
    fn schema(&self) -> SchemaRef {
        Self::columns()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    scan_by_plan!();
}

impl NearestTable {
    fn plan_scan<'a>(
        &'a self,
        _state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let frame = self.frame.pinned().await.map_err(to_datafusion)?;
            let read = self.stream.read(&frame);
            lookup(
                Self::columns(),
                projection,
                limit,
                Lookup {
                    frame,
                    streams: Group::of(&[(Arc::clone(&self.stream.descriptor), read)]),
                    call: Call::Nearest {
                        read,
                        time: self.time,
                        direction: self.direction,
                    },
                },
            )
        }
        .boxed()
    }
}

/// The parts of time that may differ between two versions, ends outside, and the version that was the later one.
#[derive(Debug)]
pub(super) struct ChangesTable {
    pub(super) frame: Arc<Frame>,
    pub(super) stream: NamedStream,
    pub(super) from: Version,
    /// None is the latest of the statement's snapshot.
    pub(super) to: Option<Version>,
    pub(super) resolution: u8,
}

impl ChangesTable {
    pub(super) fn columns() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("start_time", time_type(), false),
            Field::new("end_time", time_type(), false),
            Field::new("version", DataType::UInt64, false),
        ]))
    }

    /// What tells it from other calls.
    pub(super) fn arguments(&self) -> String {
        let to = self.to.unwrap_or_default();
        format!("{}, {}, {to}, {}", self.stream, self.from, self.resolution)
    }

    pub(super) fn with_frame(&self, frame: Arc<Frame>) -> Self {
        Self {
            frame,
            stream: self.stream.clone(),
            ..*self
        }
    }
}

impl TableProvider for ChangesTable {
    fn schema(&self) -> SchemaRef {
        Self::columns()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    scan_by_plan!();
}

impl ChangesTable {
    fn plan_scan<'a>(
        &'a self,
        _state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let frame = self.frame.pinned().await.map_err(to_datafusion)?;
            let read = self.stream.read(&frame);
            lookup(
                Self::columns(),
                projection,
                limit,
                Lookup {
                    frame,
                    streams: Group::of(&[(Arc::clone(&self.stream.descriptor), read)]),
                    call: Call::Changes {
                        read,
                        from: self.from,
                        to: self.to,
                        resolution: self.resolution,
                    },
                },
            )
        }
        .boxed()
    }
}

fn lookup(
    schema: SchemaRef,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
    lookup: Lookup,
) -> Result<Arc<dyn ExecutionPlan>> {
    let columns: Vec<usize> = match projection {
        Some(indices) => indices.clone(),
        None => (0..schema.fields().len()).collect(),
    };
    let read = LookupRead {
        lookup: Arc::new(lookup),
        schema: Arc::new(schema.project(&columns)?),
        columns,
    };
    Ok(ScanExec::planned(read, limit))
}

#[derive(Debug)]
struct Lookup {
    frame: Arc<Frame>,
    streams: Group,
    call: Call,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Nearest {
        read: StreamRead,
        time: Timestamp,
        direction: Direction,
    },
    Changes {
        read: StreamRead,
        from: Version,
        to: Option<Version>,
        resolution: u8,
    },
}

impl Lookup {
    /// All columns of the answer.
    async fn ask(&self, ask: &Ask) -> crate::error::Result<Vec<ArrayRef>> {
        ask.calls.add(1);
        let backend = &self.frame.backend;
        let settled = |read| async move {
            let settled = self.frame.settle(vec![read], Calls::One).await?;
            Ok::<_, Error>(settled.first().copied().unwrap_or(read))
        };
        match self.call {
            Call::Nearest {
                read,
                time,
                direction,
            } => {
                let query = NearestQuery {
                    streams: vec![settled(read).await?],
                    time,
                    direction,
                    snapshot: self.frame.snapshot(),
                    probe: ask.probe.clone(),
                };
                let found: Vec<_> = backend
                    .nearest(query)
                    .await?
                    .into_iter()
                    .filter_map(|(version, point)| Some((version, point?)))
                    .collect();
                let times = found.iter().map(|(_, point)| point.time);
                let values = found.iter().map(|(_, point)| point.value);
                let versions = found.iter().map(|(version, _)| version.0);
                Ok(vec![
                    time_column(TimestampNanosecondArray::from_iter_values(times)),
                    Arc::new(Float64Array::from_iter_values(values)),
                    Arc::new(UInt64Array::from_iter_values(versions)),
                ])
            }
            Call::Changes {
                read,
                from,
                to,
                resolution,
            } => {
                let read = settled(read).await?;
                let latest = match to.or(read.version) {
                    Some(version) => Some(version),
                    // What was acknowledged after the snapshot is not part of this statement.
                    None => {
                        let versions = backend.versions(&[read.id], self.frame.snapshot()).await?;
                        versions.first().copied()
                    }
                };
                let Changes { version, ranges } = backend
                    .changes(ChangesQuery {
                        stream: read.id,
                        from,
                        to: latest,
                        resolution,
                    })
                    .await?;
                let starts = ranges.iter().map(|range| range.start);
                let ends = ranges.iter().map(|range| range.end);
                let versions = ranges.iter().map(|_| version.0);
                Ok(vec![
                    time_column(TimestampNanosecondArray::from_iter_values(starts)),
                    time_column(TimestampNanosecondArray::from_iter_values(ends)),
                    Arc::new(UInt64Array::from_iter_values(versions)),
                ])
            }
        }
    }
}

#[derive(Clone, Debug)]
struct LookupRead {
    lookup: Arc<Lookup>,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl fmt::Display for LookupRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lookup {
            frame,
            streams,
            call,
        } = self.lookup.as_ref();
        let streams = ShownStreams {
            descriptors: &streams.descriptors,
            reads: &streams.reads,
        };
        let snapshot = ShownSnapshot::of(frame, streams.reads, Calls::One);
        match call {
            Call::Nearest {
                time, direction, ..
            } => {
                let time = chrono::DateTime::from_timestamp_nanos(*time);
                let time = time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
                write!(f, "Nearest, {streams}, time={time}, {snapshot}")?;
                if *direction == Direction::Backward {
                    f.write_str(", backward")?;
                }
                Ok(())
            }
            Call::Changes {
                from,
                to,
                resolution,
                ..
            } => {
                write!(f, "Changes, {streams}, {snapshot}, versions {from} to ")?;
                match to {
                    Some(to) => write!(f, "{to}")?,
                    None => f.write_str("latest")?,
                }
                write!(f, ", resolution={resolution}")
            }
        }
    }
}

impl Read for LookupRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn pushdown(&self) -> bool {
        self.lookup.frame.pushdown
    }

    fn open(&self, _partition: usize, ask: &Ask) -> BoxStream<'static, Result<RecordBatch>> {
        let (read, ask) = (self.clone(), ask.clone());
        stream::once(async move {
            let all = read.lookup.ask(&ask).await.map_err(to_datafusion)?;
            let rows = all[0].len();
            let arrays = read.columns.iter().map(|&column| Arc::clone(&all[column]));
            batch_of(&read.schema, arrays.collect(), rows)
        })
        .boxed()
    }
}

//! Tables of points: they describe, and never read.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;

use super::errors::to_datafusion;
use super::filter::{time_set, time_set_of_all};
use super::points::{PointColumn, PointRead, ZONE};
use super::provider::{Planning, refuse_changes, scan_by_plan};
use super::scan::ScanExec;
use super::selection::{is_about_streams, select};
use super::session::Frame;
use super::time_set::TimeSet;
use super::write::Destination;
use super::write::foreign::{self, Takes};
use crate::model::{StreamDescriptor, StreamRead, Version};

/// A stream as a statement names it.
#[derive(Clone, Debug)]
pub(super) struct NamedStream {
    pub(super) descriptor: Arc<StreamDescriptor>,
    /// The version in the name, after `@`.
    pub(super) version: Option<Version>,
}

impl NamedStream {
    pub(super) fn read(&self, frame: &Frame) -> StreamRead {
        frame.read(self.descriptor.id, self.version)
    }
}

/// Uuid and version: what no other stream and no other state of it has.
impl fmt::Display for NamedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.descriptor.id)?;
        match self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

/// Whether `expr` is the time column of the table that is being asked.
pub(super) fn is_time_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(Column { name, .. }) if name == "time")
}

/// Whether `expr` is that column, its zone named or not: the nanoseconds are the same.
pub(super) fn is_time_of_any_zone(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => {
            let nanos = match cast.field.data_type() {
                DataType::Timestamp(TimeUnit::Nanosecond, None) => true,
                DataType::Timestamp(TimeUnit::Nanosecond, Some(zone)) => zone.as_ref() == ZONE,
                _ => false,
            };
            nanos && is_time_column(&cast.expr)
        }
        expr => is_time_column(expr),
    }
}

/// One answer per predicate: whether `understood` takes it over for good.
pub(super) fn exact_if(
    filters: &[&Expr],
    understood: impl Fn(&Expr) -> bool,
) -> Vec<TableProviderFilterPushDown> {
    filters
        .iter()
        .map(|filter| {
            if understood(filter) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        })
        .collect()
}

/// The times that all of `filters` allow.
///
/// # Errors
/// Internal for a predicate that was never accepted: DataFusion dropped it from the plan, so passing over it would add rows.
pub(super) fn accepted_times(filters: &[Expr]) -> Result<TimeSet> {
    let times = filters.iter().filter(|filter| !is_about_streams(filter));
    time_set_of_all(times, &is_time_column).ok_or_else(|| not_accepted(filters))
}

/// The defect of a scan that was handed a predicate which it had not taken over.
pub(super) fn not_accepted(filters: &[Expr]) -> DataFusionError {
    let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
    DataFusionError::Internal(format!(
        "a scan was given predicates that it did not accept: {}",
        filters.join(", ")
    ))
}

/// The columns asked for, of all there are.
pub(super) fn project<T: Copy>(all: &[T], projection: Option<&Vec<usize>>) -> Vec<T> {
    match projection {
        Some(indices) => indices.iter().map(|&index| all[index]).collect(),
        None => all.to_vec(),
    }
}

/// The points of one stream: `"collection"."name"`, `"uuid"`, and `raw_values(stream)`.
#[derive(Debug)]
pub(super) struct StreamTable {
    pub(super) frame: Arc<Frame>,
    pub(super) stream: NamedStream,
    schema: SchemaRef,
}

impl StreamTable {
    pub(super) fn with_frame(&self, frame: Arc<Frame>) -> Self {
        Self {
            frame,
            stream: self.stream.clone(),
            schema: Arc::clone(&self.schema),
        }
    }

    pub(super) fn new(frame: Arc<Frame>, stream: NamedStream) -> Self {
        Self {
            frame,
            stream,
            schema: PointColumn::schema(&PointColumn::OF_STREAM),
        }
    }
}

#[async_trait]
impl TableProvider for StreamTable {
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

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(version) = self.stream.version {
            let why = format!(
                "version {version} stays as it is; leave out @{version} to write the stream"
            );
            return foreign::refuse("INSERT into a version", &why);
        }
        let takes = Takes::Points(Destination::Stream(Arc::clone(&self.stream.descriptor)));
        foreign::insert_into(&self.frame.backend, takes, state, input, operation)
    }

    refuse_changes!();
}

impl StreamTable {
    fn plan_scan<'a>(
        &'a self,
        _state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let frame = self.frame.pinned().await.map_err(to_datafusion)?;
            let stream = (
                Arc::clone(&self.stream.descriptor),
                self.stream.read(&frame),
            );
            let read = PointRead::new(
                frame,
                vec![stream],
                accepted_times(filters)?.ranges(),
                project(&PointColumn::OF_STREAM, projection),
            );
            Ok(ScanExec::planned(read, limit))
        }
        .boxed()
    }
}

/// The points of every stream, with what tells the streams apart beside them.
#[derive(Debug)]
pub(super) struct PointsTable {
    pub(super) frame: Arc<Frame>,
    columns: Vec<PointColumn>,
    schema: SchemaRef,
}

impl PointsTable {
    /// The table `points`.
    pub(super) fn new(frame: Arc<Frame>) -> Self {
        Self::of(frame, PointColumn::OF_ALL.to_vec())
    }

    /// `points` joined with `streams` on the uuid: each stream has one row there, so that nothing is lost or doubled.
    pub(super) fn joined(frame: Arc<Frame>) -> Self {
        Self::of(frame, PointColumn::of_joined())
    }

    fn of(frame: Arc<Frame>, columns: Vec<PointColumn>) -> Self {
        Self {
            frame,
            schema: PointColumn::schema(&columns),
            columns,
        }
    }

    pub(super) fn with_frame(&self, frame: Arc<Frame>) -> Self {
        Self::of(frame, self.columns.clone())
    }
}

#[async_trait]
impl TableProvider for PointsTable {
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
            self.frame.pushdown
                && (is_about_streams(filter) || time_set(filter, &is_time_column).is_some())
        }))
    }

    scan_by_plan!();

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let takes = Takes::Points(Destination::Points);
        foreign::insert_into(&self.frame.backend, takes, state, input, operation)
    }

    refuse_changes!();
}

impl PointsTable {
    fn plan_scan<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let frame = self.frame.pinned().await.map_err(to_datafusion)?;
            let streams = select(&frame, state, filters)
                .await?
                .into_iter()
                .map(|descriptor| {
                    let read = frame.read(descriptor.id, None);
                    (descriptor, read)
                })
                .collect();
            let read = PointRead::new(
                frame,
                streams,
                accepted_times(filters)?.ranges(),
                project(&self.columns, projection),
            );
            Ok(ScanExec::planned(read, limit))
        }
        .boxed()
    }
}

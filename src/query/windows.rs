//! `windows(stream, width [, origin])` and `aligned_windows(stream, pointwidth)` as tables.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use futures::FutureExt;

use super::errors::to_datafusion;
use super::filter::time_set;
use super::provider::{Planning, scan_by_plan};
use super::scan::ScanExec;
use super::session::Frame;
use super::stat_column::StatColumn;
use super::stats::StatRead;
use super::table::{NamedStream, accepted_times, exact_if, is_time_column, project};
use crate::model::{Cuts, TimeRange};

/// The windows of one stream on one grid.
#[derive(Debug)]
pub(super) struct WindowsTable {
    pub(super) frame: Arc<Frame>,
    stream: NamedStream,
    origin: i64,
    width: u64,
    schema: SchemaRef,
}

impl WindowsTable {
    /// # Errors
    /// Code 415 for windows of no or too much width, 413 for a grid that does not fit into time.
    pub(super) fn new(
        frame: Arc<Frame>,
        stream: NamedStream,
        origin: i64,
        width: u64,
    ) -> crate::error::Result<Self> {
        Cuts::Every { origin, width }.check(TimeRange::ALL)?;
        Ok(Self {
            frame,
            stream,
            origin,
            width,
            schema: StatColumn::windows_schema(),
        })
    }
}

impl WindowsTable {
    /// What tells it from other calls.
    pub(super) fn arguments(&self) -> String {
        format!("{}, {}, {}", self.stream, self.width, self.origin)
    }

    pub(super) fn with_frame(&self, frame: Arc<Frame>) -> Self {
        Self {
            frame,
            stream: self.stream.clone(),
            schema: Arc::clone(&self.schema),
            ..*self
        }
    }
}

impl TableProvider for WindowsTable {
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

impl WindowsTable {
    fn plan_scan<'a>(
        &'a self,
        _state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let frame = self.frame.pinned().await.map_err(to_datafusion)?;
            let cuts = Cuts::Every {
                origin: self.origin,
                width: self.width,
            };
            let stream = (
                Arc::clone(&self.stream.descriptor),
                self.stream.read(&frame),
            );
            let schema = match projection {
                Some(indices) => Arc::new(self.schema.project(indices)?),
                None => Arc::clone(&self.schema),
            };
            let read = StatRead {
                ranges: accepted_times(filters)?.windows(&cuts).ranges(),
                cuts,
                columns: project(&StatColumn::OF_WINDOWS, projection),
                schema,
                ..StatRead::of(frame, &[stream])
            };
            Ok(ScanExec::planned(read, limit))
        }
        .boxed()
    }
}

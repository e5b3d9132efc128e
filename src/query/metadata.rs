//! `streams` and `collections`: the catalogue as tables.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::catalogue::StreamColumn;
use super::errors::to_datafusion;
use super::pins::Calls;
use super::points::ShownSnapshot;
use super::provider::{Planning, refuse_changes, scan_by_plan};
use super::scan::{Ask, Read, ScanExec, batch_of};
use super::selection::{is_about_streams, select};
use super::session::Frame;
use super::table::{exact_if, project};
use super::write::foreign::{self, Takes};
use crate::model::{StreamDescriptor, StreamRead};

/// Every stream: what the catalogue says, and what its points say where that is asked for.
#[derive(Debug)]
pub(super) struct StreamsTable {
    pub(super) frame: Arc<Frame>,
    schema: SchemaRef,
}

impl StreamsTable {
    pub(super) fn new(frame: Arc<Frame>) -> Self {
        let fields: Vec<Field> = StreamColumn::ALL
            .iter()
            .map(|column| column.field())
            .collect();
        Self {
            frame,
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

impl StreamsTable {
    pub(super) fn with_frame(&self, frame: Arc<Frame>) -> Self {
        Self {
            frame,
            schema: Arc::clone(&self.schema),
        }
    }
}

#[async_trait]
impl TableProvider for StreamsTable {
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
            self.frame.pushdown && is_about_streams(filter)
        }))
    }

    scan_by_plan!();

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let takes = Takes::Streams;
        foreign::insert_into(&self.frame.backend, takes, state, input, operation)
    }

    refuse_changes!();
}

impl StreamsTable {
    fn plan_scan<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let frame = self.frame.pinned().await.map_err(to_datafusion)?;
            let mut streams = select(&frame, state, filters).await?;
            if let Some(limit) = limit.filter(|_| frame.pushdown) {
                streams.truncate(limit);
            }
            let columns = project(&StreamColumn::ALL, projection);
            // The catalogue tells most columns; only for the others are the streams themselves asked.
            let reads = if columns.iter().all(|column| column.is_told()) {
                Vec::new()
            } else {
                let reads = streams.iter().map(|stream| frame.read(stream.id, None));
                reads.collect()
            };
            let fields: Vec<Field> = columns.iter().map(|column| column.field()).collect();
            let read = StreamsRead {
                frame,
                streams,
                reads,
                columns,
                schema: Arc::new(Schema::new(fields)),
            };
            Ok(ScanExec::planned(read, limit))
        }
        .boxed()
    }
}

/// The rows of `streams` that were chosen.
#[derive(Clone, Debug)]
struct StreamsRead {
    frame: Arc<Frame>,
    streams: Vec<Arc<StreamDescriptor>>,
    /// One for each stream, if a column takes any.
    reads: Vec<StreamRead>,
    columns: Vec<StreamColumn>,
    schema: SchemaRef,
}

impl StreamsRead {
    /// How often each stream is asked about.
    fn calls(&self) -> Calls {
        let asked = self.columns.iter().filter(|column| !column.is_told());
        Calls::several(asked.count() > 1)
    }
}

impl fmt::Display for StreamsRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = ShownSnapshot::of(&self.frame, &self.reads, self.calls());
        write!(
            f,
            "LookupStreams, streams={}, {snapshot}",
            self.streams.len()
        )
    }
}

impl Read for StreamsRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn pushdown(&self) -> bool {
        self.frame.pushdown
    }

    fn rows(&self) -> Precision<usize> {
        Precision::Exact(self.streams.len())
    }

    fn open(&self, _partition: usize, ask: &Ask) -> BoxStream<'static, Result<RecordBatch>> {
        let mut read = self.clone();
        if let Some(limit) = ask.limit {
            read.streams.truncate(limit);
            read.reads.truncate(limit);
        }
        stream::once(async move {
            let calls = read.calls();
            let reads = read.frame.settle(read.reads, calls).await;
            let reads = reads.map_err(to_datafusion)?;
            let mut arrays = Vec::with_capacity(read.columns.len());
            for &column in &read.columns {
                arrays.push(column.column(&read.frame, &read.streams, &reads).await?);
            }
            batch_of(&read.schema, arrays, read.streams.len())
        })
        .boxed()
    }
}

/// Every collection that holds a stream, and how many it holds.
#[derive(Debug)]
pub(super) struct CollectionsTable {
    pub(super) frame: Arc<Frame>,
    schema: SchemaRef,
}

impl CollectionsTable {
    pub(super) fn new(frame: Arc<Frame>) -> Self {
        Self {
            frame,
            schema: Arc::new(Schema::new(Self::columns())),
        }
    }

    pub(super) fn columns() -> Fields {
        Fields::from(vec![
            Field::new("collection", DataType::Utf8View, false),
            Field::new("stream_count", DataType::Int64, false),
        ])
    }
}

impl CollectionsTable {
    pub(super) fn with_frame(&self, frame: Arc<Frame>) -> Self {
        Self {
            frame,
            schema: Arc::clone(&self.schema),
        }
    }
}

impl TableProvider for CollectionsTable {
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
            self.frame.pushdown && is_about_streams(filter)
        }))
    }

    scan_by_plan!();
}

impl CollectionsTable {
    fn plan_scan<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let frame = self.frame.pinned().await.map_err(to_datafusion)?;
            let mut counts = BTreeMap::<String, i64>::new();
            for stream in select(&frame, state, filters).await? {
                *counts.entry(stream.collection.clone()).or_default() += 1;
            }
            let names: StringViewArray = counts.keys().map(Some).collect();
            let arrays: Vec<ArrayRef> = vec![
                Arc::new(names),
                Arc::new(Int64Array::from_iter_values(counts.into_values())),
            ];
            let mut batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
            if let Some(indices) = projection {
                batch = batch.project(indices)?;
            }
            let read = CollectionsRead {
                pushdown: frame.pushdown,
                schema: batch.schema(),
                batch,
            };
            Ok(ScanExec::planned(read, limit))
        }
        .boxed()
    }
}

#[derive(Debug)]
struct CollectionsRead {
    pushdown: bool,
    schema: SchemaRef,
    batch: RecordBatch,
}

impl fmt::Display for CollectionsRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListCollections, collections={}", self.batch.num_rows())
    }
}

impl Read for CollectionsRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn pushdown(&self) -> bool {
        self.pushdown
    }

    fn rows(&self) -> Precision<usize> {
        Precision::Exact(self.batch.num_rows())
    }

    fn open(&self, _partition: usize, _ask: &Ask) -> BoxStream<'static, Result<RecordBatch>> {
        let batch = self.batch.clone();
        stream::once(async move { Ok(batch) }).boxed()
    }
}

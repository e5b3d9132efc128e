//! `streams` and `collections`: the catalogue as tables.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringBuilder, StringViewArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::errors::to_datafusion;
use super::points::{ShownSnapshot, time_column, time_type};
use super::scan::{Read, ScanExec, batch_of};
use super::selection::{is_about_streams, select, text_column};
use super::session::Frame;
use super::table::{exact_if, project};
use crate::model::time::{MAX_TIME, MIN_TIME};
use crate::model::{
    Cuts, Direction, NearestQuery, StatQuery, StreamDescriptor, StreamRead, TagKey, TimeRange,
    Timestamp,
};

/// A column of `streams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamColumn {
    Text(&'static str),
    PropertyVersion,
    Tags,
    Annotations,
    Version,
    PointCount,
    Earliest,
    Latest,
}

impl StreamColumn {
    const ALL: [Self; 13] = [
        Self::Text("uuid"),
        Self::Text("collection"),
        Self::Text("name"),
        Self::Text("unit"),
        Self::Text("ingress"),
        Self::Text("distiller"),
        Self::PropertyVersion,
        Self::Tags,
        Self::Annotations,
        Self::Version,
        Self::PointCount,
        Self::Earliest,
        Self::Latest,
    ];

    fn field(self) -> Field {
        match self {
            Self::Text(name) => Field::new(name, DataType::Utf8View, false),
            Self::PropertyVersion => Field::new("property_version", DataType::UInt64, false),
            Self::Tags => Field::new("tags", map_type(), false),
            Self::Annotations => Field::new("annotations", map_type(), false),
            Self::Version => Field::new("version", DataType::UInt64, false),
            Self::PointCount => Field::new("point_count", DataType::Int64, false),
            Self::Earliest => Field::new("earliest", time_type(), true),
            Self::Latest => Field::new("latest", time_type(), true),
        }
    }
}

/// Every stream: what the catalogue says, and what its points say where that is asked for.
#[derive(Debug)]
pub(super) struct StreamsTable {
    frame: Arc<Frame>,
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

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut streams = select(&self.frame, state, filters).await?;
        if let Some(limit) = limit.filter(|_| self.frame.pushdown) {
            streams.truncate(limit);
        }
        let columns = project(&StreamColumn::ALL, projection);
        let fields: Vec<Field> = columns.iter().map(|column| column.field()).collect();
        let read = StreamsRead {
            frame: Arc::clone(&self.frame),
            streams,
            columns,
            schema: Arc::new(Schema::new(fields)),
        };
        Ok(Arc::new(ScanExec::new(Arc::new(read), limit)))
    }
}

/// The rows of `streams` that were chosen.
#[derive(Clone, Debug)]
struct StreamsRead {
    frame: Arc<Frame>,
    streams: Vec<Arc<StreamDescriptor>>,
    columns: Vec<StreamColumn>,
    schema: SchemaRef,
}

impl fmt::Display for StreamsRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = ShownSnapshot(self.frame.snapshot);
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

    fn open(
        &self,
        _partition: usize,
        limit: Option<u64>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let mut read = self.clone();
        if let Some(limit) = limit {
            read.streams.truncate(limit as usize);
        }
        stream::once(async move {
            let mut arrays = Vec::with_capacity(read.columns.len());
            for &column in &read.columns {
                arrays.push(read.column(column).await?);
            }
            batch_of(&read.schema, arrays, read.streams.len())
        })
        .boxed()
    }
}

impl StreamsRead {
    async fn column(&self, column: StreamColumn) -> Result<ArrayRef> {
        let streams = &self.streams;
        Ok(match column {
            StreamColumn::Text(name) => text_column(streams, name),
            StreamColumn::PropertyVersion => Arc::new(UInt64Array::from_iter_values(
                streams.iter().map(|stream| stream.property_version),
            )),
            StreamColumn::Tags => {
                map_column(streams.iter().map(|stream| {
                    TagKey::ALL.map(|key| (key.as_str(), Some(stream.tags.get(key))))
                }))?
            }
            StreamColumn::Annotations => map_column(streams.iter().map(|stream| {
                stream
                    .annotations
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_deref()))
            }))?,
            StreamColumn::Version => Arc::new(UInt64Array::from(self.versions().await?)),
            StreamColumn::PointCount => Arc::new(Int64Array::from(self.counts().await?)),
            StreamColumn::Earliest => {
                let times = self.nearest(MIN_TIME, Direction::Forward).await?;
                time_column(TimestampNanosecondArray::from(times))
            }
            StreamColumn::Latest => {
                // Backward is before the time, and the last nanosecond of the domain holds no point.
                let times = self.nearest(MAX_TIME - 1, Direction::Backward).await?;
                time_column(TimestampNanosecondArray::from(times))
            }
        })
    }

    fn reads(&self) -> Vec<StreamRead> {
        self.streams
            .iter()
            .map(|stream| self.frame.read(stream.id, None))
            .collect()
    }

    async fn versions(&self) -> Result<Vec<u64>> {
        let ids: Vec<_> = self.streams.iter().map(|stream| stream.id).collect();
        let versions = self
            .frame
            .backend
            .versions(&ids, self.frame.snapshot)
            .await
            .map_err(to_datafusion)?;
        // A transaction's own writes are newer than its snapshot.
        let pinned = self.reads().into_iter().zip(versions);
        Ok(pinned
            .map(|(read, version)| read.version.unwrap_or(version).0)
            .collect())
    }

    async fn counts(&self) -> Result<Vec<i64>> {
        let mut counts = vec![0; self.streams.len()];
        if counts.is_empty() {
            return Ok(counts);
        }
        let mut batches = self.frame.backend.stats(StatQuery {
            streams: self.reads(),
            range: TimeRange::ALL,
            cuts: Cuts::whole(TimeRange::ALL),
            limit: None,
            snapshot: self.frame.snapshot,
        });
        while let Some(batch) = batches.try_next().await.map_err(to_datafusion)? {
            for stat in &batch.stats {
                counts[batch.stream] += stat.count as i64;
            }
        }
        Ok(counts)
    }

    async fn nearest(
        &self,
        time: Timestamp,
        direction: Direction,
    ) -> Result<Vec<Option<Timestamp>>> {
        if self.streams.is_empty() {
            return Ok(Vec::new());
        }
        let points = self
            .frame
            .backend
            .nearest(NearestQuery {
                streams: self.reads(),
                time,
                direction,
                snapshot: self.frame.snapshot,
            })
            .await
            .map_err(to_datafusion)?;
        Ok(points
            .into_iter()
            .map(|(_, point)| point.map(|point| point.time))
            .collect())
    }
}

/// The type of tags and annotations: text to text, where a key may stand without a value.
fn map_type() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(entries), false)),
        false,
    )
}

fn map_column<'a, Entries>(rows: impl Iterator<Item = Entries>) -> Result<ArrayRef>
where
    Entries: IntoIterator<Item = (&'a str, Option<&'a str>)>,
{
    let names = MapFieldNames {
        entry: "entries".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in row {
            builder.keys().append_value(key);
            builder.values().append_option(value);
        }
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}

/// Every collection that holds a stream, and how many it holds.
#[derive(Debug)]
pub(super) struct CollectionsTable {
    frame: Arc<Frame>,
    schema: SchemaRef,
}

impl CollectionsTable {
    pub(super) fn new(frame: Arc<Frame>) -> Self {
        let fields = vec![
            Field::new("collection", DataType::Utf8View, false),
            Field::new("stream_count", DataType::Int64, false),
        ];
        Self {
            frame,
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

#[async_trait]
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

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut counts = BTreeMap::<String, i64>::new();
        for stream in select(&self.frame, state, filters).await? {
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
            pushdown: self.frame.pushdown,
            schema: batch.schema(),
            batch,
        };
        Ok(Arc::new(ScanExec::new(Arc::new(read), limit)))
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

    fn open(
        &self,
        _partition: usize,
        _limit: Option<u64>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let batch = self.batch.clone();
        stream::once(async move { Ok(batch) }).boxed()
    }
}

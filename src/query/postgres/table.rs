//! The table `streams` as BTrDB's users know it.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Like, Operator, TableProviderFilterPushDown, TableType,
};
use futures::FutureExt;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::super::catalogue::StreamColumn;
use super::super::errors::to_datafusion;
use super::super::scan::{Ask, Read, ScanExec, batch_of};
use super::super::selection::text_of;
use super::super::table::project;
use super::{STREAMS, rows, types};
use crate::backend::Backend;
use crate::error::ErrorKind;
use crate::model::stream::check_collection;
use crate::model::{CollectionMatch, StreamDescriptor, StreamFilter, StreamId, TagKey};
use crate::query::provider::{Planning, scan_by_plan};

/// The columns, in BTrDB's order.
const COLUMNS: [StreamColumn; 8] = [
    StreamColumn::Uuid,
    StreamColumn::Collection,
    StreamColumn::Name,
    StreamColumn::Unit,
    StreamColumn::Ingress,
    StreamColumn::Distiller,
    StreamColumn::PropertyVersion,
    StreamColumn::Annotations,
];

fn field(column: StreamColumn) -> Field {
    match column {
        StreamColumn::Uuid => types::uuid_field(column.field()),
        // A bigint: PostgreSQL has no numbers without a sign.
        StreamColumn::PropertyVersion => column.field().with_data_type(DataType::Int64),
        column => column.field(),
    }
}

fn array(column: StreamColumn, streams: &[Arc<StreamDescriptor>]) -> Result<ArrayRef> {
    match column {
        StreamColumn::PropertyVersion => {
            let versions = streams
                .iter()
                .map(|stream| i64::try_from(stream.property_version).unwrap_or(i64::MAX));
            Ok(Arc::new(Int64Array::from_iter_values(versions)))
        }
        column => column.told_column(streams),
    }
}

/// Every stream, and what the catalogue says of it.
#[derive(Debug)]
pub(super) struct StreamsTable {
    backend: Arc<dyn Backend>,
    schema: SchemaRef,
}

impl StreamsTable {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        let fields: Vec<Field> = COLUMNS.into_iter().map(field).collect();
        Self {
            backend,
            schema: Arc::new(Schema::new(fields)),
        }
    }

    pub(super) fn column_names() -> impl Iterator<Item = &'static str> {
        COLUMNS.into_iter().map(StreamColumn::as_str)
    }

    async fn find(&self, wanted: Wanted) -> Result<Vec<Arc<StreamDescriptor>>> {
        let found = match wanted {
            Wanted::None => Ok(Vec::new()),
            Wanted::One(id) => self.backend.describe(&[id]).await,
            Wanted::Filter(filter) => self.backend.find(filter).await,
        };
        match found {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            found => found.map_err(to_datafusion),
        }
    }
}

impl TableProvider for StreamsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// What is understood narrows what is fetched; DataFusion looks at the rows again.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    scan_by_plan!();
}

impl StreamsTable {
    fn plan_scan<'a>(
        &'a self,
        _state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> Planning<'a> {
        async move {
            let streams = self.find(Wanted::of(filters)).await?;
            let columns = project(&COLUMNS, projection);
            let fields: Vec<Field> = columns.iter().map(|&column| field(column)).collect();
            let read = StreamsRead {
                streams: streams.into(),
                columns,
                schema: Arc::new(Schema::new(fields)),
            };
            Ok(ScanExec::planned(read, limit))
        }
        .boxed()
    }
}

/// Which streams may satisfy a predicate.
#[derive(Debug, PartialEq)]
enum Wanted {
    None,
    One(StreamId),
    Filter(StreamFilter),
}

impl Wanted {
    /// What all of `filters` together leave.
    fn of(filters: &[Expr]) -> Self {
        let mut filter = StreamFilter::all();
        for condition in filters.iter().flat_map(split_conjunction) {
            match condition {
                Expr::BinaryExpr(BinaryExpr {
                    left,
                    op: Operator::Eq,
                    right,
                }) => {
                    let sides = column_and_text(left, right);
                    let Some((column, text)) = sides.or_else(|| column_and_text(right, left))
                    else {
                        continue;
                    };
                    match column {
                        StreamColumn::Uuid => {
                            return match text.parse() {
                                Ok(id) => Self::One(id),
                                Err(_) => Self::None,
                            };
                        }
                        StreamColumn::Collection if check_collection(&text).is_ok() => {
                            filter.collection = CollectionMatch::Exact(text);
                        }
                        StreamColumn::Collection => return Self::None,
                        column => {
                            let key = column.as_str().parse::<TagKey>();
                            filter.tags.extend(key.ok().map(|key| (key, Some(text))));
                        }
                    }
                }
                Expr::Like(Like {
                    negated: false,
                    expr,
                    pattern,
                    escape_char: None,
                    case_insensitive: false,
                }) if filter.collection == CollectionMatch::Any => {
                    if let Some((StreamColumn::Collection, pattern)) =
                        column_and_text(expr, pattern)
                        && let prefix = pattern.split(['%', '_', '\\']).next().unwrap_or_default()
                        && check_collection(prefix).is_ok()
                    {
                        filter.collection = CollectionMatch::Prefix(prefix.to_owned());
                    }
                }
                _ => {}
            }
        }
        Self::Filter(filter)
    }
}

/// A column of text beside a literal.
fn column_and_text(column: &Expr, text: &Expr) -> Option<(StreamColumn, String)> {
    let column = match text_column(column)? {
        StreamColumn::PropertyVersion | StreamColumn::Annotations => return None,
        column => column,
    };
    match text {
        Expr::Literal(value, _) => Some((column, text_of(value)?)),
        _ => None,
    }
}

fn text_column(expr: &Expr) -> Option<StreamColumn> {
    match expr {
        Expr::Column(column) => COLUMNS
            .into_iter()
            .find(|known| known.as_str() == column.name),
        Expr::Cast(cast) if cast.field.data_type().is_string() => text_column(&cast.expr),
        _ => None,
    }
}

/// The rows of the streams that were found.
#[derive(Clone, Debug)]
struct StreamsRead {
    streams: Arc<[Arc<StreamDescriptor>]>,
    columns: Vec<StreamColumn>,
    schema: SchemaRef,
}

impl fmt::Display for StreamsRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STREAMS}={}", self.streams.len())
    }
}

impl StreamsRead {
    fn batch(&self, from: usize) -> Result<RecordBatch> {
        let until = self.streams.len().min(from + rows::ROWS_MAX);
        let streams = &self.streams[from..until];
        let arrays = self
            .columns
            .iter()
            .map(|&column| array(column, streams))
            .collect::<Result<Vec<_>>>()?;
        batch_of(&self.schema, arrays, streams.len())
    }
}

impl Read for StreamsRead {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn pushdown(&self) -> bool {
        true
    }

    fn rows(&self) -> Precision<usize> {
        Precision::Exact(self.streams.len())
    }

    fn open(&self, _partition: usize, ask: &Ask) -> BoxStream<'static, Result<RecordBatch>> {
        let read = self.clone();
        let rows = ask.limit.unwrap_or(usize::MAX).min(read.streams.len());
        stream::iter((0..rows).step_by(rows::ROWS_MAX))
            .map(move |from| read.batch(from))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn equalities_and_prefixes_narrow_what_is_fetched() {
        let all = StreamFilter::all();
        let within = |collection| StreamFilter::collection(collection);
        let exact = CollectionMatch::Exact("a/b".to_owned());
        let prefix = |text: &str| CollectionMatch::Prefix(text.to_owned());
        let like = |pattern| col("collection").like(lit(pattern));
        for (filter, expected) in [
            (col("collection").eq(lit("a/b")), within(exact.clone())),
            (lit("a/b").eq(col("collection")), within(exact.clone())),
            (
                like("a%").and(col("collection").eq(lit("a/b"))),
                within(exact.clone()),
            ),
            (
                col("collection").eq(lit("a/b")).and(like("a%")),
                within(exact),
            ),
            (like("a%"), within(prefix("a"))),
            (like("a/b"), within(prefix("a/b"))),
            (like("a_b%"), within(prefix("a"))),
            (like("a\\%%"), within(prefix("a"))),
            (like("%a"), all.clone()),
            (like(""), all.clone()),
            (col("collection").ilike(lit("a%")), all.clone()),
            (col("collection").not_like(lit("a%")), all.clone()),
            (like("a%").or(col("name").eq(lit("x"))), all.clone()),
            (col("property_version").eq(lit(1_i64)), all.clone()),
            (
                col("name").eq(lit("x")).and(col("unit").eq(lit("V"))),
                StreamFilter {
                    tags: vec![
                        (TagKey::Name, Some("x".to_owned())),
                        (TagKey::Unit, Some("V".to_owned())),
                    ],
                    ..all
                },
            ),
        ] {
            let wanted = Wanted::of(std::slice::from_ref(&filter));
            assert_eq!(wanted, Wanted::Filter(expected), "{filter}");
        }
        let nothing = [
            col("collection").eq(lit("")),
            col("uuid").eq(lit("no uuid")),
        ];
        for filter in nothing {
            assert_eq!(Wanted::of(&[filter]), Wanted::None);
        }
    }
}

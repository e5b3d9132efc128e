//! `tables`, `views` and `schemata`; and how a view says what its columns are.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;

use crate::query::listing::ListedTable;
use crate::query::resolve::CATALOG;
use crate::query::scan::batch_of;

/// A column of a view over rows of `R`.
#[derive(Debug)]
pub(super) struct Column<R> {
    pub(super) name: &'static str,
    pub(super) value: Value<R>,
}

/// How the values of a column come from rows.
#[derive(Debug)]
pub(super) enum Value<R> {
    /// Never NULL.
    Name(fn(&R) -> Cow<'_, str>),
    Text(fn(&R) -> Option<Cow<'_, str>>),
    /// Never NULL.
    Position(fn(&R) -> i32),
    Number(fn(&R) -> Option<i32>),
    /// NULL in every row, of text.
    Nothing,
}

impl<R> Column<R> {
    pub(super) const fn new(name: &'static str, value: Value<R>) -> Self {
        Self { name, value }
    }

    fn field(&self) -> Field {
        let (data_type, nullable) = match self.value {
            Value::Name(_) => (DataType::Utf8, false),
            Value::Text(_) | Value::Nothing => (DataType::Utf8, true),
            Value::Position(_) => (DataType::Int32, false),
            Value::Number(_) => (DataType::Int32, true),
        };
        Field::new(self.name, data_type, nullable)
    }

    fn values(&self, rows: &[R]) -> ArrayRef {
        match self.value {
            Value::Name(value) => Arc::new(StringArray::from_iter_values(rows.iter().map(value))),
            Value::Text(value) => Arc::new(rows.iter().map(value).collect::<StringArray>()),
            Value::Position(value) => {
                Arc::new(Int32Array::from_iter_values(rows.iter().map(value)))
            }
            Value::Number(value) => Arc::new(rows.iter().map(value).collect::<Int32Array>()),
            Value::Nothing => Arc::new(StringArray::new_null(rows.len())),
        }
    }
}

/// The schema of a view.
pub(super) fn schema<R>(columns: &[Column<R>]) -> SchemaRef {
    let fields: Vec<Field> = columns.iter().map(Column::field).collect();
    Arc::new(Schema::new(fields))
}

/// `rows`, in the columns at `projection`, whose schema is `schema`.
pub(super) fn batch<R>(
    columns: &[Column<R>],
    rows: &[R],
    projection: &[usize],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let arrays = projection.iter().map(|&index| columns[index].values(rows));
    batch_of(schema, arrays.collect(), rows.len())
}

pub(super) fn yes_or_no(yes: bool) -> Cow<'static, str> {
    Cow::Borrowed(if yes { "YES" } else { "NO" })
}

pub(super) const TABLES: &[Column<ListedTable>] = &[
    Column::new("table_catalog", Value::Name(|table| table.catalog().into())),
    Column::new("table_schema", Value::Name(|table| table.schema().into())),
    Column::new("table_name", Value::Name(|table| table.name().into())),
    Column::new(
        "table_type",
        Value::Name(|table| {
            Cow::Borrowed(if table.is_view() {
                "VIEW"
            } else {
                "BASE TABLE"
            })
        }),
    ),
    Column::new(
        "is_insertable_into",
        Value::Name(|table| yes_or_no(table.is_writable())),
    ),
    Column::new("table_comment", Value::Text(|table| Some(table.comment()))),
];

/// Of views that somebody defined, of which there are none.
pub(super) const VIEWS: &[Column<ListedTable>] = &[
    Column::new("table_catalog", Value::Name(|table| table.catalog().into())),
    Column::new("table_schema", Value::Name(|table| table.schema().into())),
    Column::new("table_name", Value::Name(|table| table.name().into())),
    Column::new("view_definition", Value::Nothing),
    // As DataFusion calls it.
    Column::new("definition", Value::Nothing),
];

pub(super) const SCHEMATA: &[Column<String>] = &[
    Column::new("catalog_name", Value::Name(|_| CATALOG.into())),
    Column::new("schema_name", Value::Name(|schema| schema.into())),
    Column::new("schema_owner", Value::Nothing),
    Column::new("default_character_set_catalog", Value::Nothing),
    Column::new("default_character_set_schema", Value::Nothing),
    Column::new("default_character_set_name", Value::Nothing),
    Column::new("sql_path", Value::Nothing),
];

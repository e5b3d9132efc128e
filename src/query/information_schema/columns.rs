//! `columns`: one row for each column of each table.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::Result;

use super::tables::{Column, Value, batch, schema, yes_or_no};
use crate::query::listing::{ListedColumn, ListedTable};
use crate::query::resolve::CATALOG;
use crate::query::sql_types::SqlType;

/// A column of a table.
#[derive(Debug)]
pub(super) struct ColumnRow {
    schema: Arc<str>,
    table: Arc<str>,
    /// From 1, as the standard counts.
    position: i32,
    column: ListedColumn,
    sql: SqlType,
}

impl ColumnRow {
    pub(super) fn of(table: &ListedTable) -> Vec<Self> {
        rows(table.schema(), table.name(), table.columns())
    }
}

fn rows(schema: &str, table: &str, columns: Vec<ListedColumn>) -> Vec<ColumnRow> {
    let (schema, table) = (Arc::<str>::from(schema), Arc::<str>::from(table));
    let rows = columns.into_iter().zip(1..);
    rows.map(|(column, position)| ColumnRow {
        schema: Arc::clone(&schema),
        table: Arc::clone(&table),
        position,
        sql: SqlType::of(column.field.data_type()),
        column,
    })
    .collect()
}

/// The rows of one table that no listing need have, as a version of a stream.
pub(in crate::query) fn columns_of(
    schema_name: &str,
    table: &str,
    columns: &SchemaRef,
) -> Result<RecordBatch> {
    let columns = columns.fields().iter().map(|field| ListedColumn {
        field: Arc::clone(field),
        comment: None,
        is_read_only: false,
        is_computed: false,
    });
    let rows = rows(schema_name, table, columns.collect());
    let projection: Vec<usize> = (0..COLUMNS.len()).collect();
    batch(COLUMNS, &rows, &projection, &schema(COLUMNS))
}

impl ColumnRow {
    /// Bytes that a value of text may take; there is no limit but that of a message.
    fn text_length_max(&self) -> Option<i32> {
        (*self.column.field.data_type() == DataType::Utf8).then_some(i32::MAX)
    }
}

pub(super) const COLUMNS: &[Column<ColumnRow>] = &[
    Column::new("table_catalog", Value::Name(|_| CATALOG.into())),
    Column::new("table_schema", Value::Name(|row| (&*row.schema).into())),
    Column::new("table_name", Value::Name(|row| (&*row.table).into())),
    Column::new(
        "column_name",
        Value::Name(|row| row.column.field.name().into()),
    ),
    Column::new("ordinal_position", Value::Position(|row| row.position)),
    Column::new("column_default", Value::Nothing),
    Column::new(
        "is_nullable",
        Value::Name(|row| yes_or_no(row.column.field.is_nullable())),
    ),
    Column::new("data_type", Value::Name(|row| row.sql.name.as_ref().into())),
    Column::new(
        "character_maximum_length",
        Value::Number(ColumnRow::text_length_max),
    ),
    Column::new(
        "character_octet_length",
        Value::Number(ColumnRow::text_length_max),
    ),
    Column::new("numeric_precision", Value::Number(|row| row.sql.precision)),
    Column::new(
        "numeric_precision_radix",
        Value::Number(|row| row.sql.radix),
    ),
    Column::new("numeric_scale", Value::Number(|row| row.sql.scale)),
    Column::new("datetime_precision", Value::Number(|row| row.sql.fraction)),
    Column::new("interval_type", Value::Nothing),
    Column::new("is_identity", Value::Name(|_| "NO".into())),
    Column::new(
        "is_generated",
        Value::Name(|row| {
            if row.column.is_computed {
                "ALWAYS".into()
            } else {
                "NEVER".into()
            }
        }),
    ),
    Column::new(
        "is_updatable",
        Value::Name(|row| yes_or_no(!row.column.is_read_only)),
    ),
    Column::new(
        "column_comment",
        Value::Text(|row| row.column.comment.as_deref().map(Into::into)),
    ),
];

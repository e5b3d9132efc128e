//! What clients are given: types that every client knows, whatever a plan computes with.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;

/// The schema of the plan in plain types, without DataFusion's own metadata; named as `titles` says where it does.
pub(super) fn delivered(plan: &LogicalPlan, titles: &[Option<Cow<'_, str>>]) -> SchemaRef {
    let mut fields: Vec<FieldRef> = plan.schema().fields().iter().map(plain_field).collect();
    if titles.len() == fields.len() {
        for (field, title) in fields.iter_mut().zip(titles) {
            let name = match title {
                // `COUNT(*)` goes on to be `count(*)`, as it is wherever it is referred to.
                Some(Cow::Owned(text)) if text.eq_ignore_ascii_case(field.name()) => continue,
                Some(name) => name.as_ref(),
                None => continue,
            };
            *field = Arc::new(field.as_ref().clone().with_name(name));
        }
    }
    Arc::new(Schema::new(fields))
}

/// The field in [plain](plain) types.
pub(super) fn plain_field(field: &FieldRef) -> FieldRef {
    let data_type = plain(field.data_type());
    if data_type == *field.data_type() {
        return Arc::clone(field);
    }
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The type that every client knows: no views, no dictionaries, no run ends, at any depth.
pub(super) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        DataType::List(field) | DataType::ListView(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => {
            DataType::LargeList(plain_field(field))
        }
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain_field(field), *size),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(plain_field).collect::<Fields>())
        }
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        other => other.clone(),
    }
}

/// The batch as the schema says: types made plain, names and nullability as declared.
pub(super) fn conform(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, DataFusionError> {
    // A value that does not fit is an error, not a NULL.
    let exactly = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast_with_options(column, field.data_type(), &exactly)
            }
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
